"""Extremes, positions, sorting and the median, with PyTorch's arguments and named results."""

from __future__ import annotations

from typing import Any

from ...base.dtypes import bool_, int64, scalar_name
from ...ops.layout import Layout
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_int, check_bool, wrap_dim
from ..operands import check_binary
from ..registry import public
from . import return_types
from .reduction import UNSET, dims_of, no_overload, one_dim

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
    record.check_tensors(name, (input,))
    layout = layout_of(input)
    check_bool(name, "keepdim", 2, keepdim)
    dims = dims_of(name, dim, layout.ndim)
    if dim is None or (isinstance(dim, tuple) and not dim):
        _check_whole(name, layout)
    _check_dims(name, layout, dims)
    return record.apply(TABLE[row], (input,), dim=dims, keepdim=keepdim)


@public(method=True)
def amax(input: Any, dim: Any = (), keepdim: bool = False) -> Any:
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


@public(method=True)
def amin(input: Any, dim: Any = (), keepdim: bool = False) -> Any:
    """Minimum over dimensions; arguments as for `amax`."""
    return _amax("amin", "amin", input, dim, keepdim)


@public(method=True)
def aminmax(input: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    """Minimum and maximum of everything, or along one dimension, as ``(min, max)``."""
    record.check_tensors("aminmax", (input,))
    layout = layout_of(input)
    if dim is None:
        if not layout.size:
            raise RuntimeError(
                "aminmax(): cannot compute aminmax over an empty dimension as the operation has "
                "no identity."
            )
    else:
        dim = one_dim("aminmax", dim, layout.ndim)
    low, high = (
        _amax("aminmax", f"aminmax_{which}", input, dim, keepdim) for which in ("min", "max")
    )
    return return_types.aminmax(low, high)


_EXTREME_FORMS = "()", "(Tensor other)", "(int dim, bool keepdim = False)"


def _extreme(name: str, input: Any, dim: Any, keepdim: Any, other: Any) -> Any:
    record.check_tensors(name, (input,))
    if other is None and record.is_tensor(dim):
        dim, other = UNSET, dim
    if other is not None:
        if dim is not UNSET or keepdim is not False:
            raise no_overload(name, _EXTREME_FORMS, other, keepdim=keepdim)
        check_binary(name, input, other)
        return record.binary(TABLE[f"{name}imum"], input, other)
    layout = layout_of(input)
    if dim is UNSET:
        if keepdim is not False:
            raise no_overload(name, _EXTREME_FORMS, keepdim=keepdim)
        _check_whole(name, layout)
        return record.apply(TABLE[f"{name}_all"], (input,))
    check_bool(name, "keepdim", 2, keepdim)
    d = one_dim(name, dim, layout.ndim, _EXTREME_FORMS)
    _check_dims(name, layout, (d,))
    index = record.apply(
        TABLE[f"arg{name}"], (input,), dim=(d,) if layout.ndim else (), keepdim=keepdim
    )
    values = record.apply(TABLE[f"pick_{name}"], (input, index), dim=d, keepdim=keepdim)
    return getattr(return_types, name)(values, index)


@public(method=True)
def max(input: Any, dim: Any = UNSET, keepdim: bool = False, *, other: Any = None) -> Any:
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


@public(method=True)
def min(input: Any, dim: Any = UNSET, keepdim: bool = False, *, other: Any = None) -> Any:
    """Minimum; arguments as for `max`."""
    return _extreme("min", input, dim, keepdim, other)


def _arg(name: str, input: Any, dim: Any, keepdim: Any) -> Any:
    record.check_tensors(name, (input,))
    check_bool(name, "keepdim", 2, keepdim)
    layout = layout_of(input)
    if layout.dtype is bool_:
        raise RuntimeError(f"{name}(): does not support bool input")
    if dim is None:
        if not layout.size:
            raise IndexError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0."
            )
        dims = tuple(range(layout.ndim))
    else:
        d = one_dim(name, dim, layout.ndim)
        dims = (d,) if layout.ndim else ()
        _check_dims(name, layout, dims)
    return record.apply(TABLE[name], (input,), dim=dims, keepdim=keepdim)


@public(method=True)
def argmax(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Index of the first maximum, of the flattened tensor or along a dimension."""
    return _arg("argmax", input, dim, keepdim)


@public(method=True)
def argmin(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Index of the first minimum, of the flattened tensor or along a dimension."""
    return _arg("argmin", input, dim, keepdim)


# --------------------------------------------------------------------------- sorting
_SORT_FORMS = (
    "(*, bool stable, int dim = -1, bool descending = False)",
    "(int dim = -1, bool descending = False)",
)


def _order(name: str, input: Any, dim: Any, descending: Any, stable: Any) -> tuple[Any, int]:
    """Positions that sort, and the dimension."""
    record.check_tensors(name, (input,))
    if not isinstance(descending, bool) or not isinstance(stable, bool | None):
        named = {} if stable is None else {"stable": stable}
        raise no_overload(name, _SORT_FORMS, dim, descending, **named)
    d = one_dim(name, dim, layout_of(input).ndim, _SORT_FORMS)
    index = record.apply(TABLE["argsort"], (input,), dim=d, descending=descending)
    return index, d


@public(method=True)
def sort(input: Any, dim: int = -1, descending: bool = False, *, stable: bool | None = None) -> Any:
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
    index, d = _order("sort", input, dim, descending, stable)
    row = TABLE["pick_sort" if stable is None else "pick_stable_sort"]
    return return_types.sort(record.apply(row, (input, index), dim=d, keepdim=True), index)


@public(method=True)
def argsort(input: Any, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
    """Find the indices that sort along a dimension; arguments as for `sort`."""
    return _order("argsort", input, dim, descending, stable)[0]


@public(method=True)
def topk(
    input: Any, k: Any = UNSET, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Any:
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
    record.check_tensors("topk", (input,))
    if k is UNSET:
        raise TypeError('topk() missing 1 required positional arguments: "k"')
    k = as_int("topk", "k", 1, k)
    layout = layout_of(input)
    d = wrap_dim(as_int("topk", "dim", 2, dim), layout.ndim)
    check_bool("topk", "largest", 3, largest)
    check_bool("topk", "sorted", 4, sorted)
    if not 0 <= k <= (layout.shape[d] if layout.ndim else 1):
        raise RuntimeError("selected index k out of range")
    if layout.dtype is bool_:
        raise RuntimeError("topk does not support bool dtypes on CPU")
    index = record.apply(TABLE["argtopk"], (input,), dim=d, descending=largest, k=k)
    values = record.apply(TABLE["pick_topk"], (input, index), dim=d, keepdim=True)
    return return_types.topk(values, index)


@public(method=True)
def median(input: Any, dim: Any = UNSET, keepdim: bool = False) -> Any:
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
    record.check_tensors("median", (input,))
    layout = layout_of(input)
    if layout.dtype is bool_:
        raise NotImplementedError(f"\"median_cpu\" not implemented for '{scalar_name(bool_)}'")
    if dim is UNSET:
        if keepdim is not False:
            raise TypeError('median() missing 1 required positional arguments: "dim"')
        if not layout.size:
            return input.mean()
        index = record.apply(TABLE["argmedian"], (input,))
        return record.apply(TABLE["median_all"], (input, index))
    check_bool("median", "keepdim", 2, keepdim)
    d = one_dim("median", dim, layout.ndim)
    _check_dims("median", layout, (d,))
    index = record.apply(TABLE["argmedian"], (input,), dim=d, keepdim=keepdim)
    values = record.apply(TABLE["pick_median"], (input, index), dim=d, keepdim=keepdim)
    return return_types.median(values, index)


@public(method=True)
def nanmedian(input: Any, dim: Any = UNSET, keepdim: bool = False) -> Any:
    """Find the lower median of what is not NaN; arguments and results as for `median`.

    Examples
    --------
    >>> import math, tapegrad as tg
    >>> tg.nanmedian(tg.tensor([3.0, math.nan, 1.0]))
    tensor(1.)
    """
    record.check_tensors("nanmedian", (input,))
    layout = layout_of(input)
    if not layout.dtype.is_floating_point or (dim is UNSET and not layout.size):
        return median(input, dim, keepdim)
    if dim is UNSET:
        if keepdim is not False:
            raise TypeError('nanmedian() missing 1 required positional arguments: "dim"')
        place = _nanmedian_place(input.detach().reshape(-1), 0)
        return record.apply(TABLE["nanmedian_all"], (input, place.reshape(())))
    check_bool("nanmedian", "keepdim", 2, keepdim)
    d = one_dim("nanmedian", dim, layout.ndim)
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
