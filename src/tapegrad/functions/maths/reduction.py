"""Reductions with PyTorch's arguments: sums, means, products, logic, counting.

Variances and norms are in moments.py, extremes, sorting and the median in ordering.py, scans and
the softmax family in scanning.py. Arguments are normalised here, for all of them: see `dims_of` and
`as_summand`; signatures have checked their types.
"""

from __future__ import annotations

from typing import Any

from ...base.dtypes import FLOATING, as_dtype, category, get_default_dtype, int64, scalar_name
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_ints, distinct, wrap_dim
from ..registry import declared
from ..signature import UNSET, Dims, Dtype, Ints, Tensor

__all__ = ["as_float", "as_summand", "dims_of"]


# --------------------------------------------------------------------------- arguments
def dims_of(dim: Dims | None, ndim: int) -> tuple[int, ...]:
    """Dimensions to reduce, ascending and counted from the front; all if `dim` is None or empty."""
    if type(dim) is int and -ndim <= dim < ndim:
        return (dim if dim >= 0 else dim + ndim,)
    if dim is None:
        return tuple(range(ndim))
    if not isinstance(dim, tuple | list):
        return (wrap_dim(dim, ndim),)[:ndim]
    if not dim:
        return tuple(range(ndim))
    return tuple(sorted(distinct(dim, ndim)))[:ndim]


def as_summand(input: Any, kind: Any) -> Any:
    """Convert what is summed to the dtype asked for, or integers to int64."""
    input_kind = layout_of(input).dtype
    if kind is None:
        return record.cast(input, int64) if category(input_kind) < FLOATING else input
    kind = as_dtype(kind)
    if not kind.is_inexact and input.requires_grad:
        raise RuntimeError(f"Autograd not support dtype: {scalar_name(kind)}")
    return record.cast(input, kind)


def as_float(input: Any) -> Any:
    """Integers in the default dtype."""
    is_whole = category(layout_of(input).dtype) < FLOATING
    return record.cast(input, get_default_dtype()) if is_whole else input


# --------------------------------------------------------------------------- sums, means, products
_SUM_FORMS = (
    "(*, Dtype? dtype=None)",
    "(Dims? dim, bool keepdim=False, *, Dtype? dtype=None, Tensor? out=None)",
)


def _total(name: str, x: Any, dim: Any, keepdim: Any) -> Any:
    """Sum or mean of everything (a row of its own, as in PyTorch), or over dimensions."""
    if dim is UNSET:
        return record.apply_as(f"{name}_all", TABLE[f"{name}_all"], (x,))
    dims = dims_of(dim, layout_of(x).ndim)
    return record.apply(TABLE[name], (x,), dim=dims, keepdim=keepdim)


@declared(*_SUM_FORMS)
def sum(
    input: Tensor, dim: Dims | None = UNSET, keepdim: bool = False, *, dtype: Dtype | None = None
) -> Tensor:
    """Sum over dimensions.

    Parameters
    ----------
    input : Tensor
    dim : int or tuple of int, optional
        Dimensions to sum over; everything if not given.
    keepdim : bool
        Keep them, with length 1.
    dtype : dtype, optional
        Convert first; integers and bools are summed in int64 otherwise.

    Returns
    -------
    Tensor
    """
    return _total("sum", as_summand(input, dtype), dim, keepdim)


@declared(function=False)
def sum_to_size(input: Tensor, size: Ints) -> Tensor:
    """Sum over the dimensions along which a shape was broadcast to the tensor's.

    Parameters
    ----------
    input : Tensor
    size : sequence of int
        The shape, which may also come as several arguments.

    Raises
    ------
    RuntimeError
        If the shape does not broadcast to the tensor's.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.ones(4, 2, 3).sum_to_size(2, 1)
    tensor([[12.],
            [12.]])
    """
    wanted, shape = as_ints(size), tuple(input.shape)
    more = len(shape) - len(wanted)
    pairs = list(zip(wanted, shape[more:], strict=True)) if more >= 0 else []
    if more < 0 or [n for n, m in pairs if n not in (1, m)]:
        raise RuntimeError(f"size {{{list(wanted)}}} is not expandable to size {{{list(shape)}}}.")
    repeated = tuple(more + i for i, (n, m) in enumerate(pairs) if n != m)
    dims = (*range(more), *repeated)
    total = sum(input, dims, True) if dims else input
    return total.reshape(wanted) if more else total


@declared()
def nansum(
    input: Tensor, dim: Dims | None = None, keepdim: bool = False, *, dtype: Dtype | None = None
) -> Tensor:
    """Sum over dimensions, NaN counting as 0; arguments as for `sum`."""
    x = as_summand(input, dtype)
    if x.dtype.is_complex:
        raise RuntimeError("nansum on CPU does not support complex inputs")
    dims = dims_of(dim, layout_of(x).ndim)
    row = "nansum" if layout_of(x).dtype.is_floating_point else "sum"
    return record.apply(TABLE[row], (x,), dim=dims, keepdim=keepdim)


def _mean_operand(name: str, input: Any, kind: Any) -> Any:
    source, result_kind = "Input", layout_of(input).dtype
    if kind is not None:
        source, result_kind = "Optional", as_dtype(kind)
    if category(result_kind) < FLOATING:
        raise RuntimeError(
            f"{name}(): could not infer output dtype. {source} dtype must be either a floating point "
            f"or complex dtype. Got: {scalar_name(result_kind)}"
        )
    return record.cast(input, result_kind)


@declared("(*, Dtype? dtype=None, Tensor? out=None)", _SUM_FORMS[1])
def mean(
    input: Tensor, dim: Dims | None = UNSET, keepdim: bool = False, *, dtype: Dtype | None = None
) -> Tensor:
    """Mean over dimensions; arguments as for `sum`.

    Raises
    ------
    RuntimeError
        For integers, unless a floating `dtype` is given.
    """
    return _total("mean", _mean_operand("mean", input, dtype), dim, keepdim)


@declared()
def nanmean(
    input: Tensor, dim: Dims | None = None, keepdim: bool = False, *, dtype: Dtype | None = None
) -> Tensor:
    """Mean of what is not NaN; arguments as for `sum`."""
    kind = layout_of(input).dtype
    if not kind.is_floating_point:
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got "
            f"{scalar_name(kind)}"
        )
    count = (input == input).sum(dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / count


@declared(
    _SUM_FORMS[0],
    "(int dim, bool keepdim=False, *, Dtype? dtype=None, Tensor? out=None)",
)
def prod(
    input: Tensor, dim: int = UNSET, keepdim: bool = False, *, dtype: Dtype | None = None
) -> Tensor:
    """Product of all elements, or along one dimension; arguments as for `sum`."""
    x = as_summand(input, dtype)
    if dim is UNSET:
        return record.apply(TABLE["prod_all"], (x,))
    return record.apply(TABLE["prod"], (x,), dim=dims_of(dim, layout_of(x).ndim), keepdim=keepdim)


# --------------------------------------------------------------------------- logic, counting, trace
_ALL_FORMS = (
    "(*, Tensor? out=None)",
    "(Dims? dim=None, bool keepdim=False, *, Tensor? out=None)",
    "(int dim, bool keepdim=False, *, Tensor? out=None)",
)


def _logic(name: str, input: Any, dim: Any, keepdim: Any) -> Any:
    none = isinstance(dim, tuple) and not dim  # which stands for no dimension here, as in PyTorch
    dims = () if none else dims_of(dim, layout_of(input).ndim)
    if input.dtype.is_complex:
        input = input != 0
    return record.apply(TABLE[name], (input,), dim=dims, keepdim=keepdim)


@declared(*_ALL_FORMS)
def all(input: Tensor, dim: Dims | None = None, keepdim: bool = False) -> Tensor:
    """Return True where all elements are nonzero, over everything or over dimensions."""
    return _logic("all", input, dim, keepdim)


@declared(*_ALL_FORMS)
def any(input: Tensor, dim: Dims | None = None, keepdim: bool = False) -> Tensor:
    """Return True where any element is nonzero, over everything or over dimensions."""
    return _logic("any", input, dim, keepdim)


@declared("(int? dim=None)", "(Dims dim)")
def count_nonzero(input: Tensor, dim: Dims | None = None) -> Tensor:
    """Count the elements that are nonzero, over everything or over dimensions."""
    dims = dims_of(dim, layout_of(input).ndim)
    if input.dtype.is_complex:
        input = input != 0
    return record.apply(TABLE["count_nonzero"], (input,), dim=dims, keepdim=False)


@declared()
def trace(input: Tensor) -> Tensor:
    """Sum of a matrix's diagonal."""
    layout = layout_of(input)
    if layout.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {layout.ndim}")
    return record.apply(TABLE["trace"], (as_summand(input, None),))
