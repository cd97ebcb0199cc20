"""Conversion of dtypes, and the copy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import bool_, float32, float64, int64
from ..kernels import native_kernel, native_kernel_address
from ..layouts import Layout, contiguous
from ..native import p8, p64, pf32, pf64
from ..programs import Step, arg
from .table import Lowered, Op, op, out_operand

__all__: list[str] = []

# One kernel a pair of dtypes. They are short, and spelt out because a compiled function takes its
# pointer types from its text.


@native_kernel
def cast_f64_f32(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """float64 to float32, as NumPy rounds."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        pf32(b + i * s[1])[0] = np.float32(pf64(a + i * s[0])[0])


@native_kernel
def cast_f32_f64(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """float32 to float64."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        pf64(b + i * s[1])[0] = np.float64(pf32(a + i * s[0])[0])


@native_kernel
def cast_i64_f64(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """int64 to float64."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        pf64(b + i * s[1])[0] = np.float64(p64(a + i * s[0])[0])


@native_kernel
def cast_i64_f32(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """int64 to float32."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        pf32(b + i * s[1])[0] = np.float32(p64(a + i * s[0])[0])


@native_kernel
def cast_f64_i64(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """float64 to int64, towards zero."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        p64(b + i * s[1])[0] = np.int64(pf64(a + i * s[0])[0])


@native_kernel
def cast_f32_i64(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """float32 to int64, towards zero."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        p64(b + i * s[1])[0] = np.int64(pf32(a + i * s[0])[0])


@native_kernel
def cast_bool_f64(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Bool to float64."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        pf64(b + i * s[1])[0] = np.float64(p8(a + i * s[0])[0])


@native_kernel
def cast_bool_f32(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Bool to float32."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        pf32(b + i * s[1])[0] = np.float32(p8(a + i * s[0])[0])


@native_kernel
def cast_bool_i64(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Bool to int64."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        p64(b + i * s[1])[0] = np.int64(p8(a + i * s[0])[0])


@native_kernel
def cast_f64_bool(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """float64 to bool: whether it is not zero."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        p8(b + i * s[1])[0] = np.uint8(pf64(a + i * s[0])[0] != 0)


@native_kernel
def cast_f32_bool(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """float32 to bool: whether it is not zero."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        p8(b + i * s[1])[0] = np.uint8(pf32(a + i * s[0])[0] != 0)


@native_kernel
def cast_i64_bool(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """int64 to bool: whether it is not zero."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        p8(b + i * s[1])[0] = np.uint8(p64(a + i * s[0])[0] != 0)


_SHORT = {float64: "f64", float32: "f32", int64: "i64", bool_: "bool"}


def lower_cast(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Convert to ``attrs["dtype"]``."""
    (source,) = layouts
    out = contiguous(attrs["dtype"], source.shape)
    address = native_kernel_address(f"cast_{_SHORT[source.dtype]}_{_SHORT[out.dtype]}")
    operands = (arg(0, source.strides), out_operand(1, out))
    return Lowered((out,), (Step((address, 0), source.shape, operands),))


op(
    "to",
    lower=lower_cast,
    grad_fn="ToCopyBackward0",
    torch=None,
    vjp=lambda ct, x, out, dtype: ct.to(x.dtype),
)
op("clone", loop=np.positive, torch="clone", vjp=lambda ct, x, out: ct)
