"""Scans and the softmax family, with PyTorch's arguments."""

from __future__ import annotations

from typing import Any

from ...base.dtypes import as_dtype, scalar_name
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import check_bool
from ..registry import public
from .reduction import UNSET, as_float, as_summand, dims_of, one_dim

__all__ = ["cumprod", "cumsum", "log_softmax", "logcumsumexp", "logsumexp", "softmax"]


def _scan(name: str, x: Any, dim: Any) -> Any:
    d = one_dim(name, dim, layout_of(x).ndim)
    return record.apply(TABLE[name], (x,), dim=d, reverse=False)


@public(method=True)
def cumsum(input: Any, dim: Any = UNSET, *, dtype: Any = None) -> Any:
    """Cumulative sum along a dimension.

    Parameters
    ----------
    input : Tensor
    dim : int
    dtype : dtype, optional
        Convert first; integers and bools are summed in int64 otherwise.

    Returns
    -------
    Tensor
    """
    return _scan("cumsum", as_summand("cumsum", input, dtype), dim)


@public(method=True)
def cumprod(input: Any, dim: Any = UNSET, *, dtype: Any = None) -> Any:
    """Cumulative product along a dimension; arguments as for `cumsum`."""
    return _scan("cumprod", as_summand("cumprod", input, dtype), dim)


@public(method=True)
def logcumsumexp(input: Any, dim: Any = UNSET) -> Any:
    """Logarithm of the cumulative sum of exponentials along a dimension."""
    record.check_tensors("logcumsumexp", (input,))
    kind = layout_of(input).dtype
    if not kind.is_floating_point:
        raise NotImplementedError(
            f"\"logcumsumexp_out_cpu\" not implemented for '{scalar_name(kind)}'"
        )
    return _scan("logcumsumexp", input, dim)


@public(method=True)
def logsumexp(input: Any, dim: Any = UNSET, keepdim: bool = False) -> Any:
    """Logarithm of the sum of exponentials over dimensions, without overflow.

    Parameters
    ----------
    input : Tensor
    dim : int or tuple of int
    keepdim : bool
        Keep them, with length 1.

    Returns
    -------
    Tensor
    """
    record.check_tensors("logsumexp", (input,))
    if dim is UNSET:
        raise TypeError('logsumexp() missing 1 required positional arguments: "dim"')
    if dim is None:
        raise TypeError("logsumexp(): argument 'dim' must be tuple of ints, not NoneType")
    x = as_float(input)
    check_bool("logsumexp", "keepdim", 2, keepdim)
    dims = dims_of("logsumexp", dim, layout_of(x).ndim)
    return record.apply(TABLE["logsumexp"], (x,), dim=dims, keepdim=keepdim)


def _softmax(name: str, input: Any, dim: Any, dtype: Any) -> Any:
    record.check_tensors(name, (input,))
    if dtype is not None:
        input = record.cast(input, as_dtype(dtype))
    layout = layout_of(input)
    d = one_dim(name, dim, layout.ndim)
    if not layout.dtype.is_floating_point:
        raise NotImplementedError(
            f"\"{name}_lastdim_kernel_impl\" not implemented for '{scalar_name(layout.dtype)}'"
        )
    return record.apply(TABLE[name], (input,), dim=d)


@public(method=True)
def softmax(input: Any, dim: Any = UNSET, dtype: Any = None) -> Any:
    """Exponentials over their sum along a dimension.

    Parameters
    ----------
    input : Tensor
    dim : int
    dtype : dtype, optional
        Convert first.

    Returns
    -------
    Tensor
    """
    return _softmax("softmax", input, dim, dtype)


@public(method=True)
def log_softmax(input: Any, dim: Any = UNSET, dtype: Any = None) -> Any:
    """Logarithm of the softmax along a dimension, without overflow; arguments as for `softmax`."""
    return _softmax("log_softmax", input, dim, dtype)
