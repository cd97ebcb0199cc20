"""Reductions with PyTorch's arguments: sums, means, products, logic, counting.

Variances and norms are in moments.py, extremes, sorting and the median in ordering.py, scans and
the softmax family in scanning.py. Arguments are checked and normalised here, for all of them: see
`dims_of` and `as_summand`.
"""

from __future__ import annotations

import operator
from typing import Any

from ...base.dtypes import as_dtype, bool_, get_default_dtype, int64, scalar_name
from ...base.errors import must_be
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import check_bool, distinct, varargs, wrap_dim
from ..registry import public

__all__ = [
    "UNSET", "as_float", "as_summand", "dims_of", "no_overload",
]  # fmt: skip

#: an argument that was not given, where None says something else
UNSET: Any = type("_Unset", (), {"__repr__": lambda self: "unset"})()


# --------------------------------------------------------------------------- arguments
def no_overload(name: str, forms: tuple[str, ...], *args: Any, **named: Any) -> TypeError:
    """PyTorch's error for arguments that fit none of a method's forms."""
    given = ", ".join(type(a).__name__ for a in args)
    if named:
        words = [f"{key}={type(v).__name__}" for key, v in named.items()]
        given = ", ".join([given, *words] if given else words) + ", "
    listed = "".join(f" * {form}\n" for form in forms)
    return TypeError(
        f"{name}() received an invalid combination of arguments - got ({given}), "
        f"but expected one of:\n{listed}"
    )


def dims_of(name: str, dim: Any, ndim: int, forms: tuple[str, ...] = ()) -> tuple[int, ...]:
    """Dimensions to reduce, ascending and counted from the front; all if `dim` is None or empty."""
    if dim is None:
        return tuple(range(ndim))
    if type(dim) is int and ndim:
        return (wrap_dim(dim, ndim),)
    many = isinstance(dim, tuple | list)
    try:
        if isinstance(dim, bool):
            raise TypeError
        dims = [operator.index(d) for d in dim] if many else [operator.index(dim)]
    except TypeError:
        if forms:
            raise no_overload(name, forms, dim) from None
        raise must_be(name, "dim", 1, "tuple of ints", dim) from None
    if not dims:
        return tuple(range(ndim))
    chosen = distinct(dims, ndim)
    return tuple(sorted(chosen)) if ndim else ()


def one_dim(name: str, dim: Any, ndim: int, forms: tuple[str, ...] = ()) -> int:
    """Check the dimension of a function that takes one."""
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        if forms:
            raise no_overload(name, forms, dim)
        if dim is UNSET:
            raise TypeError(f'{name}() missing 1 required positional arguments: "dim"')
        raise must_be(name, "dim", 1, "int", dim)
    return wrap_dim(operator.index(dim), ndim)


def as_summand(name: str, input: Any, kind: Any) -> Any:
    """Convert what is summed to the dtype asked for, or integers to int64."""
    record.check_tensors(name, (input,))
    own = layout_of(input).dtype
    if kind is None:
        return record.cast(input, int64) if own is bool_ else input
    kind = as_dtype(kind)
    if not kind.is_floating_point and input.requires_grad:
        raise RuntimeError(f"Autograd not support dtype: {scalar_name(kind)}")
    return record.cast(input, kind)


def as_float(input: Any) -> Any:
    """Integers in the default dtype."""
    return input if layout_of(input).dtype.is_floating_point else record.cast(
        input, get_default_dtype()
    )  # fmt: skip


# --------------------------------------------------------------------------- sums, means, products
_SUM_FORMS = (
    "(*, torch.dtype dtype = None)",
    "(tuple of ints dim, bool keepdim = False, *, torch.dtype dtype = None)",
)
_PROD_FORMS = (_SUM_FORMS[0], "(int dim, bool keepdim = False, *, torch.dtype dtype = None)")


def _total(name: str, x: Any, dim: Any, keepdim: Any) -> Any:
    """Sum or mean of everything (a row of its own, as in PyTorch), or over dimensions."""
    if dim is UNSET:
        if keepdim is not False:
            raise no_overload(name, _SUM_FORMS, keepdim=keepdim)
        return record.apply_as(f"{name}_all", TABLE[f"{name}_all"], (x,))
    check_bool(name, "keepdim", 2, keepdim)
    dims = dims_of(name, dim, layout_of(x).ndim, _SUM_FORMS)
    return record.apply(TABLE[name], (x,), dim=dims, keepdim=keepdim)


@public(method=True)
def sum(input: Any, dim: Any = UNSET, keepdim: bool = False, *, dtype: Any = None) -> Any:
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
    return _total("sum", as_summand("sum", input, dtype), dim, keepdim)


@public(method=True, function=False)
def sum_to_size(input: Any, *size: Any) -> Any:
    """Sum over the dimensions along which a shape was broadcast to the tensor's.

    Parameters
    ----------
    input : Tensor
    *size : int or sequence of int
        The shape.

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
    wanted, own = varargs("sum_to_size", "size", size, {}), tuple(input.shape)
    more = len(own) - len(wanted)
    pairs = list(zip(wanted, own[more:], strict=True)) if more >= 0 else []
    if more < 0 or [n for n, m in pairs if n not in (1, m)]:
        raise RuntimeError(f"size {{{list(wanted)}}} is not expandable to size {{{list(own)}}}.")
    repeated = tuple(more + i for i, (n, m) in enumerate(pairs) if n != m)
    dims = (*range(more), *repeated)
    total = sum(input, dims, True) if dims else input
    return total.reshape(wanted) if more else total


@public(method=True)
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Sum over dimensions, NaN counting as 0; arguments as for `sum`."""
    x = as_summand("nansum", input, dtype)
    check_bool("nansum", "keepdim", 2, keepdim)
    dims = dims_of("nansum", dim, layout_of(x).ndim)
    row = "nansum" if layout_of(x).dtype.is_floating_point else "sum"
    return record.apply(TABLE[row], (x,), dim=dims, keepdim=keepdim)


def _mean_operand(name: str, input: Any, kind: Any) -> Any:
    record.check_tensors(name, (input,))
    what, found = "Input", layout_of(input).dtype
    if kind is not None:
        what, found = "Optional", as_dtype(kind)
    if not found.is_floating_point:
        raise RuntimeError(
            f"{name}(): could not infer output dtype. {what} dtype must be either a floating point "
            f"or complex dtype. Got: {scalar_name(found)}"
        )
    return record.cast(input, found)


@public(method=True)
def mean(input: Any, dim: Any = UNSET, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Mean over dimensions; arguments as for `sum`.

    Raises
    ------
    RuntimeError
        For integers, unless a floating `dtype` is given.
    """
    return _total("mean", _mean_operand("mean", input, dtype), dim, keepdim)


@public(method=True)
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Mean of what is not NaN; arguments as for `sum`."""
    record.check_tensors("nanmean", (input,))
    kind = layout_of(input).dtype
    if not kind.is_floating_point:
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got "
            f"{scalar_name(kind)}"
        )
    count = (input == input).sum(dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / count


@public(method=True)
def prod(input: Any, dim: Any = UNSET, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Product of all elements, or along one dimension; arguments as for `sum`."""
    x = as_summand("prod", input, dtype)
    if dim is UNSET:
        if keepdim is not False:
            raise no_overload("prod", _PROD_FORMS, keepdim=keepdim)
        return record.apply(TABLE["prod_all"], (x,))
    check_bool("prod", "keepdim", 2, keepdim)
    ndim = layout_of(x).ndim
    d = one_dim("prod", dim, ndim, _PROD_FORMS)
    return record.apply(TABLE["prod"], (x,), dim=(d,) if ndim else (), keepdim=keepdim)


# --------------------------------------------------------------------------- logic, counting, trace
_ALL_FORMS = (
    "()",
    "(tuple of ints dim = None, bool keepdim = False)",
    "(int dim, bool keepdim = False)",
)


def _logic(name: str, input: Any, dim: Any, keepdim: Any) -> Any:
    record.check_tensors(name, (input,))
    check_bool(name, "keepdim", 2, keepdim)
    none = isinstance(dim, tuple) and not dim  # which stands for no dimension here, as in PyTorch
    dims = () if none else dims_of(name, dim, layout_of(input).ndim, _ALL_FORMS)
    return record.apply(TABLE[name], (input,), dim=dims, keepdim=keepdim)


@public(method=True)
def all(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether all elements are nonzero, over everything or over dimensions."""
    return _logic("all", input, dim, keepdim)


@public(method=True)
def any(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Whether any element is nonzero, over everything or over dimensions."""
    return _logic("any", input, dim, keepdim)


@public(method=True)
def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements are nonzero, over everything or over dimensions."""
    record.check_tensors("count_nonzero", (input,))
    dims = dims_of("count_nonzero", dim, layout_of(input).ndim)
    return record.apply(TABLE["count_nonzero"], (input,), dim=dims, keepdim=False)


@public(method=True)
def trace(input: Any) -> Any:
    """Sum of a matrix's diagonal."""
    record.check_tensors("trace", (input,))
    layout = layout_of(input)
    if layout.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {layout.ndim}")
    return record.apply(TABLE["trace"], (as_summand("trace", input, None),))
