"""The four dtypes of tapegrad, the default dtype, and `Size`.

Everything here needs no tape: the class `dtype` with its singletons `float64`, `float32`, `int64` and
`bool_`, the way from NumPy's dtypes to them, their promotion, `finfo` and `iinfo`, and `Size`, the
tuple that a tensor's shape is. Names and texts are PyTorch's, so that they print the same.

`dtype.code` is the number that stands for a dtype in the tape's arrays. The codes fall as the
dtypes rank in promotion, so promoting is taking the smaller code.

Start reading at `dtype`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, SupportsIndex, overload

# Not `as np`: `dtype` has a field of that name.
import numpy

from .symbolic import SizeLost

__all__ = [
    "Size",
    "as_dtype",
    "bool_",
    "c_name",
    "double",
    "dtype",
    "dtype_of",
    "float32",
    "float64",
    "float_",
    "from_numpy_dtype",
    "get_default_dtype",
    "int64",
    "legacy_name",
    "long",
    "result_type",
    "scalar_name",
    "set_default_dtype",
    "type_name",
]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class dtype:
    """A tensor's element type: one of `float64`, `float32`, `int64`, `bool_`.

    The four instances are singletons, compared with ``is``; no others are made.

    Attributes
    ----------
    name : str
        Name without a prefix, e.g. ``"float64"``.
    np : numpy.dtype
        The NumPy dtype of the buffers.
    code : int
        Number in the tape's arrays: 0 float64, 1 float32, 2 int64, 3 bool.
    itemsize : int
        Bytes an element.
    is_floating_point, is_signed, is_complex : bool
        As in PyTorch. Only floating-point tensors are ever active; none is complex.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.float32.itemsize, tg.float32.is_floating_point
    (4, True)
    >>> tg.ones(2, dtype=tg.int64).dtype
    torch.int64
    """

    name: str
    np: numpy.dtype[Any]
    code: int
    itemsize: int = field(init=False)
    is_floating_point: bool = field(init=False)
    is_signed: bool = field(init=False)
    is_complex: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        derived = {
            "itemsize": self.np.itemsize,
            "is_floating_point": self.np.kind == "f",
            "is_signed": self.np.kind in "fi",
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __eq__(self, other: object) -> bool:
        """Return True for the dtype itself, and for what NumPy takes for its dtype."""
        return self is other or (isinstance(other, type | numpy.dtype) and bool(self.np == other))

    __hash__ = object.__hash__

    # NumPy takes an object with these where it takes a dtype.

    @property
    def dtype(self) -> numpy.dtype[Any]:
        """The NumPy dtype: ``np.zeros(3, dtype=x.dtype)`` and ``np.finfo(x.dtype)`` look here."""
        return self.np

    @property
    def type(self) -> Any:
        """NumPy's type of a number of this dtype, as of NumPy's dtypes."""
        return self.np.type

    @property
    def kind(self) -> str:
        """NumPy's letter for the kind of numbers: f, i or b."""
        return self.np.kind

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and unpickled dtypes are the singletons again.
        return from_numpy_dtype, (self.name,)


float64 = dtype("float64", numpy.dtype(numpy.float64), 0)
float32 = dtype("float32", numpy.dtype(numpy.float32), 1)
int64 = dtype("int64", numpy.dtype(numpy.int64), 2)
bool_ = dtype("bool", numpy.dtype(numpy.bool_), 3)

# PyTorch's aliases; the package exports `float_` as `float` and `bool_` as `bool`.
double = float64
float_ = float32
long = int64

_BY_NUMPY: dict[numpy.dtype[Any], dtype] = {d.np: d for d in (float64, float32, int64, bool_)}

# Remedies for arrays of other kinds, by `numpy.dtype.kind`.
_REMEDY = {
    "f": "convert with .astype(np.float64)",
    "i": "convert with .astype(np.int64)",
    "u": "convert with .astype(np.int64)",
    "b": "convert with .astype(np.bool_)",
    "c": "differentiate the parts .real and .imag as separate tensors",
    "m": "convert with .astype(np.int64)",
    "M": "convert with .astype(np.int64)",
}
_NOT_NUMBERS = "make an array of numbers first, e.g. with .astype(np.float64)"


def dtype_of(array: numpy.ndarray[Any, Any]) -> dtype:
    """Return the element type of an array."""
    return from_numpy_dtype(array.dtype)


def from_numpy_dtype(source: numpy.dtype[Any] | type | str) -> dtype:
    """Return the dtype of a NumPy dtype.

    Parameters
    ----------
    source : numpy.dtype, type or str
        Anything that names a NumPy dtype: ``array.dtype``, ``np.float32``, ``float``, ``"int64"``.

    Returns
    -------
    dtype
        The singleton.

    Raises
    ------
    TypeError
        If tapegrad has no such dtype; the text says what to convert to.

    Examples
    --------
    >>> from_numpy_dtype("float32")
    torch.float32
    """
    # np.dtype(None) is float64, which is never meant.
    if source is None:
        raise TypeError("expected a NumPy dtype, got None")
    source = numpy.dtype(source)
    known = _BY_NUMPY.get(source)
    if known is not None:
        return known
    order = "" if source.isnative else " in non-native byte order"
    raise TypeError(
        f"can't convert np.ndarray of type numpy.{source.type.__name__}{order}. The only supported "
        f"types are: float64, float32, int64, and bool; {_REMEDY.get(source.kind, _NOT_NUMBERS)}"
    )


def as_dtype(obj: object) -> dtype:
    """Return `obj` as a dtype.

    Parameters
    ----------
    obj : dtype, numpy.dtype or type
        A dtype, a NumPy dtype or scalar type, or Python's ``float`` (float64), ``int`` (int64) or
        ``bool``.

    Returns
    -------
    dtype
        The singleton.

    Raises
    ------
    TypeError
        If `obj` is none of these, or a NumPy dtype that tapegrad does not have.
    """
    if isinstance(obj, dtype):
        return obj
    if obj is float or obj is int or obj is bool:
        return from_numpy_dtype(obj)
    if isinstance(obj, numpy.dtype) or (isinstance(obj, type) and issubclass(obj, numpy.generic)):
        return from_numpy_dtype(obj)
    shown = obj.__name__ if isinstance(obj, type) else repr(obj)
    raise TypeError(
        f"dtype must be one of float64, float32, int64, bool, or the NumPy or Python type for it, "
        f"not {shown}"
    )


def result_type(a: dtype, b: dtype) -> dtype:
    """Return the dtype that `a` and `b` promote to: bool < int64 < float32 < float64.

    This is PyTorch's promotion of two operands of equal standing (both with dimensions, both 0-d,
    or both Python scalars). An operand of lower standing counts only if its kind (bool, integer,
    floating) is higher; that is the caller's to decide.

    Examples
    --------
    >>> result_type(int64, float32)
    torch.float32
    """
    return a if a.code <= b.code else b


_default_dtype = float64


def get_default_dtype() -> dtype:
    """Return the dtype of tensors made from Python floats: float64, unless it was changed.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.get_default_dtype()
    torch.float64
    """
    return _default_dtype


def set_default_dtype(d: dtype, /) -> None:
    """Make `d` the dtype of tensors made from Python floats.

    Parameters
    ----------
    d : dtype
        `float64` or `float32`.

    Raises
    ------
    TypeError
        If `d` is not a floating-point dtype.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.set_default_dtype(tg.float32)
    >>> tg.ones(2).dtype
    torch.float32
    >>> tg.set_default_dtype(tg.float64)
    """
    global _default_dtype
    message = "only floating-point types are supported as the default type"
    if not isinstance(d, dtype):
        raise TypeError(f"invalid dtype object: {message}")
    if not d.is_floating_point:
        raise TypeError(message)
    _default_dtype = d


_SCALAR_NAMES = "Double", "Float", "Long", "Bool"
_C_NAMES = "double", "float", "long int", "bool"


def scalar_name(d: dtype) -> str:
    """Return PyTorch's other name of `d`, which most of its error messages show: ``Double``."""
    return _SCALAR_NAMES[d.code]


def c_name(d: dtype) -> str:
    """Return the C++ type of `d`, which some of PyTorch's error messages show: ``double``."""
    return _C_NAMES[d.code]


def legacy_name(d: dtype) -> str:
    """Return the legacy type of tensors of `d`: ``torch.DoubleTensor``."""
    return f"torch.{scalar_name(d)}Tensor"


def type_name(d: dtype) -> str:
    """Return the legacy type of tensors of `d` as PyTorch's error messages show it.

    The default dtype is called ``torch.FloatTensor``, be it float64 or float32: it stands where PyTorch's
    default, ``torch.float32``, stands in those messages.
    """
    return "torch.FloatTensor" if d is _default_dtype else legacy_name(d)


class Size(tuple[int, ...]):
    """A tensor's shape: a tuple of ints that prints as PyTorch's.

    Slices, sums and multiples of a Size are Sizes; it equals the plain tuple.

    Parameters
    ----------
    sizes : iterable of int, optional
        Lengths of the dimensions. NumPy integers become Python's.

    Examples
    --------
    >>> Size([4, 3])
    torch.Size([4, 3])
    >>> Size([4, 3])[1:]
    torch.Size([3])
    """

    __slots__ = ()

    def __new__(cls, sizes: Iterable[SupportsIndex] = ()) -> Size:
        """Check and convert the sizes."""
        sizes = tuple(sizes)
        try:
            return tuple.__new__(cls, map(operator.index, sizes))
        except SizeLost:
            if isinstance(sizes, tuple | list):
                return tuple.__new__(cls, sizes)
            raise
        except TypeError:
            for i, size in enumerate(sizes):
                if not hasattr(type(size), "__index__"):
                    raise TypeError(
                        f"torch.Size() takes an iterable of 'int' "
                        f"(item {i} is '{type(size).__name__}')"
                    ) from None
            raise

    def numel(self) -> int:
        """Return the number of elements of a tensor of this shape."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    # `tuple.__new__` skips the check where the parts come from a Size.

    @overload
    def __getitem__(self, key: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> Size: ...
    def __getitem__(self, key: SupportsIndex | slice, /) -> int | Size:
        item = tuple.__getitem__(self, key)
        return tuple.__new__(Size, item) if isinstance(item, tuple) else item

    def __add__(self, other: tuple[Any, ...], /) -> Size:
        if not isinstance(other, tuple):
            if hasattr(other, "__radd__"):
                return NotImplemented
            raise TypeError(
                f"can only concatenate tuple (not {type(other).__name__}) to torch.Size"
            )
        return Size(tuple.__add__(self, other))

    def __radd__(self, other: tuple[Any, ...], /) -> Size:
        if not isinstance(other, tuple):
            return NotImplemented
        return Size(tuple.__add__(other, self))

    def __mul__(self, times: SupportsIndex, /) -> Size:
        return tuple.__new__(Size, tuple.__mul__(self, times))

    __rmul__ = __mul__
