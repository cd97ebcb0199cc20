"""Calls of NumPy's functions in the form that nearly all have: Tensors, and an axis at most.

Those are calls of functions of Tensors, with nothing to convert: ``np.sum(t, axis=0)`` is ``t.sum(0)``.
Anything else (other options, several dtypes, what would be an error) is for the functions with all
of NumPy's arguments, which take some microseconds more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensors.tensor import Tensor
from .operands import function

__all__ = ["PLAIN"]


class OtherCallError(Exception):
    """Raised for a call in another form."""


def _reduction(name: str) -> Callable[..., Any]:
    reduce = function(name)

    def call(x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
        if type(x) is not Tensor or type(keepdims) is not bool:
            raise OtherCallError
        if axis is None and not keepdims:
            return reduce(x)
        if type(axis) is not int and not (type(axis) is tuple and axis):
            raise OtherCallError
        return reduce(x, axis, keepdims) if keepdims else reduce(x, axis)

    return call


def product(x: Any, y: Any) -> Any:
    """Multiply two Tensors of the same dtype, of which the second has at most two dimensions."""
    if type(x) is not Tensor or type(y) is not Tensor or x.dtype is not y.dtype or y.ndim > 2:
        raise OtherCallError
    return x @ y


def _reshape(x: Any, shape: Any) -> Any:
    if type(x) is not Tensor or type(shape) not in (int, tuple):
        raise OtherCallError
    return x.reshape(shape)


def _transpose(x: Any) -> Any:
    if type(x) is not Tensor or x.ndim != 2:
        raise OtherCallError
    return x.T


PLAIN: dict[Callable[..., Any], Callable[..., Any]] = {
    np.sum: _reduction("sum"), np.mean: _reduction("mean"), np.max: _reduction("amax"),
    np.min: _reduction("amin"), np.dot: product, np.reshape: _reshape, np.transpose: _transpose,
}  # fmt: skip
