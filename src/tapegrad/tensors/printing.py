"""The text of a tensor, to the character as PyTorch 2.13 prints it.

Everything here is a function of a NumPy array, the dtypes, the two facts ``requires_grad`` and
``grad_fn``, and the print options. The text is made in three steps:

1. `_corners` picks the elements to show (all of them, or the edges of a large array);
2. `ElementFormat.of` looks at those elements and decides on one format and one width for all;
3. `_contents` nests and wraps them, and `_append_suffixes` adds ``dtype=...`` and the like.

Start reading at `format_tensor`. Where PyTorch does something odd (a line counted two columns too
long, NaN and zero not counted in the width), so does this module, with a comment.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..base import dtypes

__all__ = [
    "ElementFormat",
    "PrintOptions",
    "format_spec",
    "format_tensor",
    "get_printoptions",
    "printoptions",
    "set_printoptions",
]


@dataclass(frozen=True, slots=True)
class PrintOptions:
    """Options of printing tensors; see `set_printoptions` for the meaning of each field."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: float = 80
    sci_mode: bool | None = None


# A profile says everything except `sci_mode`.
_PROFILES = {
    "default": PrintOptions(),
    "short": PrintOptions(precision=2, edgeitems=2),
    "full": PrintOptions(threshold=math.inf),
}

_current = PrintOptions()


def _count_option(name: str, value: Any) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if count < 0:
        raise ValueError(f"{name} must not be negative, got {count}")
    return count


def _real_option(name: str, value: Any) -> float:
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if math.isnan(value):
        raise ValueError(f"{name} must not be NaN")
    return value  # type: ignore[return-value]


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: float | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are printed. An option left out stays as it is, except `sci_mode`.

    Parameters
    ----------
    precision : int, optional
        Digits after the point of floating-point numbers (4 at first).
    threshold : float, optional
        Tensors of more elements than this are summarised (1000 at first).
    edgeitems : int, optional
        Elements shown at both ends of a summarised dimension (3 at first).
    linewidth : float, optional
        Columns after which lines break (80 at first); ``math.inf`` for never.
    profile : {'default', 'short', 'full'}, optional
        Sets the four options above together; those also given win.
    sci_mode : bool, optional
        Whether floating-point numbers are printed in scientific notation. None, which is also
        the default, decides by the values.

    Raises
    ------
    TypeError, ValueError
        If an option is not of its kind. No option has changed then.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.set_printoptions(precision=2)
    >>> tg.tensor([1.2345])
    tensor([1.23])
    >>> tg.set_printoptions(profile="default")
    """
    global _current
    options = _current
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(f"profile must be 'default', 'short' or 'full', not {profile!r}")
        options = _PROFILES[profile]
    if sci_mode is not None and not isinstance(sci_mode, (bool, np.bool_)):
        raise TypeError(f"sci_mode must be a bool or None, not {type(sci_mode).__name__}")
    _current = replace(
        options,
        precision=options.precision if precision is None else _count_option("precision", precision),
        threshold=options.threshold if threshold is None else _real_option("threshold", threshold),
        edgeitems=options.edgeitems if edgeitems is None else _count_option("edgeitems", edgeitems),
        linewidth=options.linewidth if linewidth is None else _real_option("linewidth", linewidth),
        sci_mode=sci_mode,
    )


def get_printoptions() -> dict[str, Any]:
    """Return the print options as keyword arguments for `set_printoptions`."""
    return asdict(_current)


@contextmanager
def printoptions(**options: Any) -> Iterator[None]:
    """Set print options (those of `set_printoptions`) for the length of a ``with`` block."""
    global _current
    before = _current
    set_printoptions(**options)
    try:
        yield
    finally:
        _current = before


@dataclass(frozen=True, slots=True)
class ElementFormat:
    """The one format of all elements of a tensor.

    Attributes
    ----------
    spec : str
        Format specification of an element, for `format`.
    width : int
        Columns that elements are padded to; longer ones (NaN beside ``1.``) stick out.
    point : bool
        Whether finite elements get a final point: whole floating-point numbers print as ``27.``.
    """

    spec: str
    width: int
    point: bool = False

    @classmethod
    def of(cls, values: np.ndarray[Any, Any], options: PrintOptions) -> ElementFormat:
        """Return the format that PyTorch chooses for `values`.

        Floating-point numbers are judged by those that are finite and not zero. They are
        scientific if the largest magnitude is more than 1000 times the smallest or above 1e8, or
        the smallest below 1e-4; else they have a bare point if all are whole. Only those numbers
        count in the width.
        """
        if values.dtype.kind != "f":
            return cls("", max((len(str(v)) for v in values.ravel().tolist()), default=1))
        finite = values[np.isfinite(values)]
        counted = finite[finite != 0].astype(np.float64)
        if counted.size == 0:
            return cls(".0f", 1, point=True)
        scientific = options.sci_mode
        if scientific is None:
            magnitudes = np.abs(counted)
            # As Python floats, because their quotient may overflow without a warning.
            smallest, largest = float(magnitudes.min()), float(magnitudes.max())
            scientific = largest / smallest > 1000.0 or largest > 1e8 or smallest < 1e-4
        whole = bool((counted == np.ceil(counted)).all())
        point = whole and not scientific
        spec = f".{options.precision}e" if scientific else f".{0 if whole else options.precision}f"
        longest = max(len(format(v, spec)) for v in counted.tolist())
        return cls(spec, longest + point, point)

    def __call__(self, value: float) -> str:
        """Return the text of one element."""
        text = format(value, self.spec)
        if self.point and math.isfinite(value):
            text += "."
        return text.rjust(self.width)


@dataclass(frozen=True, slots=True)
class ComplexFormat:
    """The format of complex elements: one of their real parts, one of their imaginary parts."""

    real: ElementFormat
    imag: ElementFormat

    @property
    def width(self) -> int:
        """Columns of an element, as PyTorch counts them: without the sign between the parts."""
        return self.real.width + self.imag.width + 1

    def __call__(self, value: complex) -> str:
        """Return the text of one element."""
        imag = (self.imag(value.imag) + "j").lstrip()
        return self.real(value.real) + ("" if imag[0] in "+-" else "+") + imag


def _format_of(
    values: np.ndarray[Any, Any], options: PrintOptions
) -> ElementFormat | ComplexFormat:
    """Return the one format of all elements."""
    if values.dtype.kind != "c":
        return ElementFormat.of(values, options)
    return ComplexFormat(
        ElementFormat.of(values.real, options), ElementFormat.of(values.imag, options)
    )


def _corners(array: np.ndarray[Any, Any], cut: list[bool], edge: int) -> np.ndarray[Any, Any]:
    """Return the first and last `edge` items of `array` along every axis that is `cut`."""
    if not any(cut):
        return array
    kept = [
        np.r_[:edge, length - edge : length] if is_cut else np.arange(length)
        for length, is_cut in zip(array.shape, cut, strict=True)
    ]
    # One gather for all axes, so that a large array is not copied an axis at a time.
    corners: np.ndarray[Any, Any] = array[np.ix_(*kept)]
    return corners


def _contents(array: np.ndarray[Any, Any], indent: int, options: PrintOptions) -> str:
    """Return the nested brackets; lines after the first are indented by `indent` and more."""
    ndim, edge = array.ndim, options.edgeitems
    summarised = array.size > options.threshold
    cut = [summarised and length > 2 * edge for length in array.shape]
    shown = _corners(array, cut, edge)
    element = _format_of(shown, options)
    # Two columns for the comma and the space after each element.
    room = (options.linewidth - (indent + ndim - 1)) / (element.width + 2)
    per_line = math.floor(max(1, min(room, array.size)))

    def nest(items: Any, axis: int) -> str:
        if axis == ndim:
            return element(items)
        parts = [nest(item, axis + 1) for item in items]
        innermost = axis == ndim - 1
        if cut[axis]:
            parts.insert(edge, " ..." if innermost and edge else "...")
        if innermost:
            parts = [", ".join(parts[i : i + per_line]) for i in range(0, len(parts), per_line)]
        # A line break between rows, one more for every axis above.
        breaks = "\n" * max(1, ndim - 1 - axis)
        return "[" + ("," + breaks + " " * (indent + axis + 1)).join(parts) + "]"

    return nest(shown.tolist(), 0)


def _append_suffixes(text: str, suffixes: list[str], indent: int, linewidth: float) -> str:
    """Append each suffix to the last line, or on a line of its own where it does not fit."""
    # PyTorch counts two columns more than the last line of the contents has.
    column = len(text) - (text.rfind("\n") + 1) + 2
    for suffix in suffixes:
        if column + len(suffix) + 2 > linewidth:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += len(suffix) + 2
    return text


def format_tensor(
    array: np.ndarray[Any, Any],
    *,
    dtype: dtypes.dtype,
    default_dtype: dtypes.dtype,
    requires_grad: bool = False,
    grad_fn: str | None = None,
    name: str = "tensor",
    options: PrintOptions | None = None,
) -> str:
    """Return the ``repr`` of a tensor, as PyTorch prints it.

    Parameters
    ----------
    array : numpy.ndarray
        The values. Never changed.
    dtype : dtype
        The tensor's dtype. It is shown unless it goes without saying: the default dtype, int64
        and bool do, but in a tensor without elements only the default dtype does.
    default_dtype : dtype
        The default dtype, as `get_default_dtype` returns it.
    requires_grad : bool, optional
        Whether to show ``requires_grad=True``; `grad_fn` is shown in its place if given.
    grad_fn : str, optional
        Name of the tensor's ``grad_fn``, e.g. ``"AddBackward0"``; None for a leaf.
    name : str, optional
        Word before the bracket: the class name, if it is a subclass of Tensor.
    options : PrintOptions, optional
        The print options; those of `set_printoptions` if left out.

    Returns
    -------
    str
        The text, without a final newline.

    Examples
    --------
    >>> from tapegrad.base.dtypes import float32, float64
    >>> format_tensor(np.array([1.0, 2.5]), dtype=float64, default_dtype=float64)
    'tensor([1.0000, 2.5000])'
    >>> format_tensor(np.float32([1, 2]), dtype=float32, default_dtype=float64)
    'tensor([1., 2.], dtype=torch.float32)'
    """
    if options is None:
        options = _current
    suffixes = []
    empty = array.size == 0
    if (empty and array.ndim != 1) or (not empty and options.edgeitems == 0):
        suffixes.append(f"size={tuple(array.shape)}")
    goes_without = default_dtype, dtypes.complex_of(default_dtype)
    if dtype not in goes_without and (empty or dtype not in (dtypes.int64, dtypes.bool_)):
        suffixes.append(f"dtype={dtype}")
    if grad_fn is not None:
        suffixes.append(f"grad_fn=<{grad_fn}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    opening = name + "("
    indent = len(opening)
    text = opening + ("[]" if empty else _contents(array, indent, options))
    return _append_suffixes(text, suffixes, indent, options.linewidth) + ")"


def format_spec(
    array: np.ndarray[Any, Any],
    spec: str,
    *,
    dtype: dtypes.dtype,
    default_dtype: dtypes.dtype,
    requires_grad: bool = False,
    grad_fn: str | None = None,
    name: str = "tensor",
) -> str:
    """Return the text that ``format(tensor, spec)`` and f-strings print.

    A 0-d tensor formats its Python number. Any other prints its ``repr`` and takes no `spec`.

    Parameters
    ----------
    array : numpy.ndarray
        The values.
    spec : str
        Format specification, e.g. ``".3f"``.
    dtype, default_dtype, requires_grad, grad_fn, name
        As for `format_tensor`.

    Returns
    -------
    str
        The text.

    Raises
    ------
    TypeError
        If `spec` is not empty and the tensor is not 0-d.
    """
    if array.ndim == 0:
        return format(array.item(), spec)
    if spec:
        raise TypeError("unsupported format string passed to Tensor.__format__")
    return format_tensor(
        array,
        dtype=dtype,
        default_dtype=default_dtype,
        requires_grad=requires_grad,
        grad_fn=grad_fn,
        name=name,
    )
