"""Reductions and scans of the standard."""

from __future__ import annotations

from typing import Any

from ..numpy import reductions, selection, statistics
from ..numpy.operands import as_tensor
from .data_types import numpy_kind

__all__ = [
    "all", "any", "cumulative_prod", "cumulative_sum", "diff", "max", "mean", "min", "prod", "std", "sum",
    "var",
]  # fmt: skip


def sum(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: Any = False) -> Any:
    """Return sums; of small whole numbers as int64."""
    return reductions.sum(x, axis, numpy_kind(dtype), keepdims=keepdims)


def prod(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: Any = False) -> Any:
    """Return products; of small whole numbers as int64."""
    return reductions.prod(x, axis, numpy_kind(dtype), keepdims=keepdims)


def max(x: Any, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Return the largest elements; equal ones share the derivative."""
    return reductions.max(x, axis, keepdims=keepdims)


def min(x: Any, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Return the smallest elements; equal ones share the derivative."""
    return reductions.min(x, axis, keepdims=keepdims)


def mean(x: Any, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Return means."""
    return reductions.mean(x, axis, keepdims=keepdims)


def std(x: Any, /, *, axis: Any = None, correction: Any = 0.0, keepdims: Any = False) -> Any:
    """Return standard deviations."""
    return reductions.std(x, axis, correction=correction, keepdims=keepdims)


def var(x: Any, /, *, axis: Any = None, correction: Any = 0.0, keepdims: Any = False) -> Any:
    """Return variances."""
    return reductions.var(x, axis, correction=correction, keepdims=keepdims)


def cumulative_sum(
    x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: Any = False
) -> Any:
    """Return sums up to each element."""
    return statistics.cumulative_sum(
        x, axis=axis, dtype=numpy_kind(dtype), include_initial=include_initial
    )


def cumulative_prod(
    x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: Any = False
) -> Any:
    """Return products up to each element."""
    return statistics.cumulative_prod(
        x, axis=axis, dtype=numpy_kind(dtype), include_initial=include_initial
    )


def all(x: Any, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Return True where all elements are true."""
    return reductions.all(x, axis, keepdims=keepdims)


def any(x: Any, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Return True where an element is true."""
    return reductions.any(x, axis, keepdims=keepdims)


def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Any:
    """Return differences of neighbours."""
    return selection.diff(as_tensor(x, "diff"), n, axis, prepend, append)
