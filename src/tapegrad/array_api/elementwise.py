"""Elementwise functions of the standard: each calls the function that tapegrad.numpy has for NumPy's ufunc.

Operands have one standing, with dimensions or without, so that dtypes alone decide the result's dtype;
Python's numbers take the dtype of the array beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..numpy import selection
from ..numpy.operands import (
    as_operand,
    as_tensor,
    function,
    is_given,
    promoted_operands,
    with_dtype,
)
from ..numpy.ufuncs import UFUNCS
from ..tape import recording as record

__all__ = ["clip", "expm1", "floor_divide", "imag", "real", "round"]

UNARY = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "bitwise_invert", "ceil", "conj", "cos", "cosh",
    "exp", "floor", "isfinite", "isinf", "isnan", "log", "log10", "log1p", "log2", "logical_not",
    "negative", "positive", "reciprocal", "sign", "signbit", "sin", "sinh", "sqrt", "square", "tan", "tanh",
    "trunc",
)  # fmt: skip
BINARY = (
    "add", "atan2", "bitwise_and", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "copysign", "divide", "equal", "greater", "greater_equal", "hypot", "less", "less_equal",
    "logaddexp", "logical_and", "logical_or", "logical_xor", "maximum", "minimum", "multiply", "nextafter",
    "not_equal", "pow", "remainder", "subtract",
)  # fmt: skip


def _unary(name: str) -> Callable[..., Any]:
    compute = UFUNCS[getattr(np, name)]

    def call(x: Any, /) -> Any:
        return compute(as_tensor(x, name))

    return _named(call, name)


def _binary(name: str) -> Callable[..., Any]:
    compute = UFUNCS[getattr(np, name)]

    def call(x1: Any, x2: Any, /) -> Any:
        return compute(*promoted_operands(name, x1, x2))

    return _named(call, name)


def _named(call: Any, name: str) -> Callable[..., Any]:
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Compute `numpy.{name}` for each element, as the standard's function."
    globals()[name] = call
    __all__.append(name)
    result: Callable[..., Any] = call
    return result


for _name in UNARY:
    _unary(_name)
for _name in BINARY:
    _binary(_name)


def expm1(x: Any, /) -> Any:
    """Compute ``exp(x) - 1``; of infinite complex numbers, too, where NumPy's loop has NaN."""
    array = as_tensor(x, "expm1")
    result = function("expm1")(array)
    if not array.dtype.is_complex:
        return result
    return function("where")(function("isfinite")(array), result, function("exp")(array) - 1)


def floor_divide(x1: Any, x2: Any, /) -> Any:
    """Compute the quotient rounded down; of infinite numbers, too, where NumPy and PyTorch have NaN or -1."""
    x, y = promoted_operands("floor_divide", x1, x2)
    result = function("floor_divide")(x, y)
    if not result.dtype.is_inexact:
        return result
    quotient = x / y
    is_exact = function("isfinite")(as_tensor(x, "floor_divide") * 0 + y)
    return function("where")(is_exact, result, function("floor")(quotient))


def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    """Limit elements to a range, whose ends may be arrays; the dtype stays."""
    array = as_tensor(x, "clip")
    ends = [as_operand(end, "clip") if is_given(end) else None for end in (min, max)]
    ends = [with_dtype(e, array.dtype) if record.is_tensor(e) else e for e in ends]
    return selection.clip(array, *ends)


def round(x: Any, /) -> Any:
    """Round half to even; complex numbers part by part."""
    array = as_tensor(x, "round")
    if array.dtype.is_complex:
        return function("complex")(round(array.real), round(array.imag))
    return selection.round(array) if array.dtype.is_inexact else array.clone()


def real(x: Any, /) -> Any:
    """Return the real part."""
    return selection.real(x)


def imag(x: Any, /) -> Any:
    """Return the imaginary part: zeros of real numbers."""
    return selection.imag(x)
