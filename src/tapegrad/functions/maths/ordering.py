"""Extremes, positions, sorting and the median, with PyTorch's arguments and named results."""

from __future__ import annotations

from typing import Any

from ...base.dtypes import bool_, int64
from ...ops.layout import Layout
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_int, wrap_dim
from ..operands import no_kernel
from ..registry import declared
from ..signature import UNSET, Dims, Tensor
from . import return_types
from .reduction import dims_of

__all__ = [
    "amax",
    "amin",
    "argmax",
    "argmin",
    "argsort",
    "max",
    "median",
    "min",
    "nanmedian",
    "sort",
    "topk",
]


def _check_whole(name: str, layout: Layout) -> None:
    if not layout.size:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the "
            "reduction dim with the 'dim' argument."
        )


def _check_dims(name: str, layout: Layout, dims: tuple[int, ...]) -> None:
    for d in dims:
        if layout.ndim and layout.shape[d] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


# --------------------------------------------------------------------------- extremes
def _amax(name: str, row: str, input: Any, dim: Any, keepdim: bool) -> Any:
    layout = layout_of(input)
    dims = dims_of(dim, layout.ndim)
    if dim is None or (isinstance(dim, tuple) and not dim):
        _check_whole(name, layout)
    _check_dims(name, layout, dims)
    return record.apply(TABLE[row], (input,), dim=dims, keepdim=keepdim)


@declared()
def amax(input: Tensor, dim: Dims | None = (), keepdim: bool = False) -> Tensor:
    """Maximum over dimensions; where several elements are it, they share the gradient evenly.

    Parameters
    ----------
    input : Tensor
    dim : int or tuple of int
        Dimensions to reduce; everything by default.
    keepdim : bool
        Keep them, with length 1.

    Returns
    -------
    Tensor
    """
    return _amax("amax", "amax", input, dim, keepdim)


@declared()
def amin(input: Tensor, dim: Dims | None = (), keepdim: bool = False) -> Tensor:
    """Minimum over dimensions; arguments as for `amax`."""
    return _amax("amin", "amin", input, dim, keepdim)


@declared()
def aminmax(
    input: Tensor, *, dim: int | None = None, keepdim: bool = False
) -> return_types.aminmax:
    """Minimum and maximum of everything, or along one dimension, as ``(min, max)``."""
    if dim is None and not layout_of(input).size:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no "
            "identity."
        )
    low, high = (
        _amax("aminmax", f"aminmax_{which}", input, dim, keepdim) for which in ("min", "max")
    )
    return return_types.aminmax(low, high)


_EXTREME_FORMS = (
    "(*, Tensor? out=None)",
    "(Tensor other, *, Tensor? out=None)",
    "(int dim, bool keepdim=False, *, Tensors? out=None)",
)


def _extreme(name: str, input: Any, dim: Any, keepdim: Any, other: Any) -> Any:
    other = dim if record.is_tensor(dim) else other
    if other is not None:
        return record.binary(TABLE[f"{name}imum"], input, other)
    layout = layout_of(input)
    if dim is UNSET:
        _check_whole(name, layout)
        return record.apply(TABLE[f"{name}_all"], (input,))
    d = wrap_dim(dim, layout.ndim)
    _check_dims(name, layout, (d,))
    index = record.apply(
        TABLE[f"arg{name}"], (input,), dim=(d,) if layout.ndim else (), keepdim=keepdim
    )
    values = record.apply(TABLE[f"pick_{name}"], (input, index), dim=d, keepdim=keepdim)
    return getattr(return_types, name)(values, index)


@declared(*_EXTREME_FORMS)
def max(input: Tensor, dim: Any = UNSET, keepdim: bool = False, *, other: Tensor = None) -> Any:
    """Maximum of everything; along a dimension with its indices; or of two tensors.

    Parameters
    ----------
    input : Tensor
    dim : int or Tensor, optional
        The dimension, or the other tensor.
    keepdim : bool
        Keep the dimension, with length 1.
    other : Tensor, optional

    Returns
    -------
    Tensor, or named tuple (values, indices)
        The index is that of the first maximum. Only values are differentiated.
    """
    return _extreme("max", input, dim, keepdim, other)


@declared(*_EXTREME_FORMS)
def min(input: Tensor, dim: Any = UNSET, keepdim: bool = False, *, other: Tensor = None) -> Any:
    """Minimum; arguments as for `max`."""
    return _extreme("min", input, dim, keepdim, other)


def _arg(name: str, input: Any, dim: Any, keepdim: Any) -> Any:
    layout = layout_of(input)
    if layout.dtype is bool_:
        raise RuntimeError(f"{name}(): does not support bool input")
    if dim is None and not layout.size:
        raise IndexError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0."
        )
    dims = dims_of(dim, layout.ndim)
    if dim is not None:
        _check_dims(name, layout, dims)
    return record.apply(TABLE[name], (input,), dim=dims, keepdim=keepdim)


@declared()
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first maximum, of the flattened tensor or along a dimension."""
    return _arg("argmax", input, dim, keepdim)


@declared()
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first minimum, of the flattened tensor or along a dimension."""
    return _arg("argmin", input, dim, keepdim)


# --------------------------------------------------------------------------- sorting
_SORT_FORMS = (
    "(*, bool? stable, int dim=-1, bool descending=False, Tensors? out=None)",
    "(int dim=-1, bool descending=False, *, Tensors? out=None)",
)


def _order(input: Any, dim: int, descending: bool) -> tuple[Any, int]:
    """Positions that sort, and the dimension."""
    d = wrap_dim(dim, layout_of(input).ndim)
    return record.apply(TABLE["argsort"], (input,), dim=d, descending=descending), d


@declared(*_SORT_FORMS)
def sort(
    input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None
) -> return_types.sort:
    """Sort along a dimension.

    Parameters
    ----------
    input : Tensor
    dim : int
    descending : bool
    stable : bool, optional
        Sorting is stable in any case. NaN counts as the largest value.

    Returns
    -------
    named tuple (values, indices)
    """
    index, d = _order(input, dim, descending)
    row = TABLE["pick_sort" if stable is None else "pick_stable_sort"]
    return return_types.sort(record.apply(row, (input, index), dim=d, keepdim=True), index)


@declared(
    _SORT_FORMS[0].replace("Tensors", "Tensor").replace("bool?", "bool"),
    "(int dim=-1, bool descending=False)",
)
def argsort(
    input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> Tensor:
    """Find the indices that sort along a dimension; arguments as for `sort`."""
    return _order(input, dim, descending)[0]


@declared()
def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> return_types.topk:
    """Find the `k` largest (or smallest) values along a dimension, in order.

    Parameters
    ----------
    input : Tensor
    k : int
    dim : int
    largest : bool
        Whether the largest are wanted.
    sorted : bool
        They are sorted in any case.

    Returns
    -------
    named tuple (values, indices)
    """
    layout = layout_of(input)
    d, k = wrap_dim(dim, layout.ndim), as_int("topk", "k", 1, k)
    if not 0 <= k <= (layout.shape[d] if layout.ndim else 1):
        raise RuntimeError("selected index k out of range")
    if layout.dtype is bool_:
        raise RuntimeError("topk does not support bool dtypes on CPU")
    index = record.apply(TABLE["argtopk"], (input,), dim=d, descending=largest, k=k)
    values = record.apply(TABLE["pick_topk"], (input, index), dim=d, keepdim=True)
    return return_types.topk(values, index)


@declared("()", "(int dim, bool keepdim=False, *, Tensors? out=None)")
def median(input: Tensor, dim: int = UNSET, keepdim: bool = False) -> Any:
    """Find the lower median of everything, or along a dimension with its indices; NaN wins.

    Parameters
    ----------
    input : Tensor
    dim : int, optional
    keepdim : bool
        Keep the dimension, with length 1.

    Returns
    -------
    Tensor, or named tuple (values, indices)
    """
    layout = layout_of(input)
    if layout.dtype is bool_:
        raise no_kernel("median_cpu", bool_)
    if dim is UNSET:
        if not layout.size:
            return input.mean()
        index = record.apply(TABLE["argmedian"], (input,))
        return record.apply(TABLE["median_all"], (input, index))
    d = wrap_dim(dim, layout.ndim)
    _check_dims("median", layout, (d,))
    index = record.apply(TABLE["argmedian"], (input,), dim=d, keepdim=keepdim)
    values = record.apply(TABLE["pick_median"], (input, index), dim=d, keepdim=keepdim)
    return return_types.median(values, index)


@declared("()", "(int dim, bool keepdim=False, *, Tensors? out=None)")
def nanmedian(input: Tensor, dim: int = UNSET, keepdim: bool = False) -> Any:
    """Find the lower median of what is not NaN; arguments and results as for `median`.

    Examples
    --------
    >>> import math, tapegrad as tg
    >>> tg.nanmedian(tg.tensor([3.0, math.nan, 1.0]))
    tensor(1.)
    """
    layout = layout_of(input)
    if not layout.dtype.is_floating_point or (dim is UNSET and not layout.size):
        return median(input, dim, keepdim)
    if dim is UNSET:
        place = _nanmedian_place(input.detach().reshape(-1), 0)
        return record.apply(TABLE["nanmedian_all"], (input, place.reshape(())))
    d = wrap_dim(dim, layout.ndim)
    _check_dims("nanmedian", layout, (d,))
    index = _nanmedian_place(input.detach(), d)
    index = index if keepdim or not layout.ndim else index.squeeze(d)
    values = record.apply(TABLE["pick_nanmedian"], (input, index), dim=d, keepdim=keepdim)
    return return_types.nanmedian(values, index)


def _nanmedian_place(input: Any, d: int) -> Any:
    """Return the positions of the medians of what is not NaN, the dimension kept."""
    if not layout_of(input).ndim:
        return input.new_zeros((), dtype=int64)
    numbers = (input == input).sum(d, keepdim=True)
    place = (numbers - 1).clamp(min=0).div(2, rounding_mode="floor")
    return argsort(input, d, stable=True).gather(d, place)
