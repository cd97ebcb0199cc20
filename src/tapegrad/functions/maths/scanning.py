"""Scans and the softmax family, with PyTorch's arguments."""

from __future__ import annotations

from typing import Any

from ...base.dtypes import as_dtype
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import wrap_dim
from ..operands import check_floating
from ..registry import FUNCTIONS, declared
from ..signature import Dims, Dtype, Tensor
from .reduction import as_float, as_summand, dims_of

__all__ = ["cumprod", "cumsum", "log_softmax", "logcumsumexp", "logsumexp", "softmax"]


def _scan(name: str, x: Any, dim: Any) -> Any:
    return record.apply(TABLE[name], (x,), dim=wrap_dim(dim, layout_of(x).ndim), reverse=False)


@declared()
def cumsum(input: Tensor, dim: int, *, dtype: Dtype | None = None) -> Tensor:
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
    return _scan("cumsum", as_summand(input, dtype), dim)


@declared()
def cumprod(input: Tensor, dim: int, *, dtype: Dtype | None = None) -> Tensor:
    """Cumulative product along a dimension; arguments as for `cumsum`."""
    return _scan("cumprod", as_summand(input, dtype), dim)


@declared()
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """Logarithm of the cumulative sum of exponentials along a dimension."""
    check_floating("logcumsumexp_out_cpu", layout_of(input).dtype)
    return _scan("logcumsumexp", input, dim)


@declared()
def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
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
    x = as_float(input)
    dims = dims_of(dim, layout_of(x).ndim)
    if x.dtype.is_complex:
        return _complex_logsumexp(x, dims, keepdim=keepdim)
    return record.apply(TABLE["logsumexp"], (x,), dim=dims, keepdim=keepdim)


def _complex_logsumexp(x: Any, dims: tuple[int, ...], *, keepdim: bool) -> Any:
    """The logarithm of a sum of exponentials, divided by the largest, which is what its real part says."""
    dims = dims or tuple(range(x.ndim))
    if not dims:
        return x.clone()
    largest = FUNCTIONS["amax"](x.real.detach(), dims, True)
    largest = largest.where(largest.isfinite(), 0.0)
    total = (x - largest).exp().sum(dims, keepdim=True).log() + largest
    return total if keepdim else total.squeeze(dims)


def _softmax(name: str, input: Any, dim: Any, dtype: Any) -> Any:
    if dtype is not None:
        input = record.cast(input, as_dtype(dtype))
    layout = layout_of(input)
    d = wrap_dim(dim, layout.ndim)
    check_floating(f"{name}_lastdim_kernel_impl", layout.dtype)
    return record.apply(TABLE[name], (input,), dim=d)


@declared()
def softmax(input: Tensor, dim: int, dtype: Dtype | None = None) -> Tensor:
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


@declared()
def log_softmax(input: Tensor, dim: int, dtype: Dtype | None = None) -> Tensor:
    """Logarithm of the softmax along a dimension, without overflow; arguments as for `softmax`."""
    return _softmax("log_softmax", input, dim, dtype)
