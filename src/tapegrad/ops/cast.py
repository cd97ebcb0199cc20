"""Conversion of dtypes, and the copy."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

from ..base.dtypes import bool_, dtype, real_of
from ..native.ufunc_loops import native_kernel, native_kernel_address, ufunc_loop
from ..native.words import KINDS, bits_float, float_bits, helper, number, p16, p64
from .layout import Layout, contiguous
from .program import Operand, Step, address_operand, arg, constant
from .table import Lowered, Op, copy_loop, op, out_operand

__all__: list[str] = []

#: open in the kernel: pointers to both operands, and the type of a number
source: Any = None
target: Any = None


def cast(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Convert as NumPy does: floats round to nearest, integers towards zero."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        target(b + i * s[1])[0] = number(source(a + i * s[0])[0])


def is_true(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Convert to bool: whether a number is not zero."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        target(b + i * s[1])[0] = number(source(a + i * s[0])[0] != 0)


@helper
def half_value(bits):  # type: ignore[no-untyped-def]
    """Return the number that 16 bits are as a float."""
    exponent, fraction = (bits >> 10) & 31, bits & 1023
    if exponent == 0:
        value = fraction * 5.960464477539063e-08  # 2**-24
    elif exponent == 31:
        value = bits_float((0x7FF << 52) | (fraction << 42))
    else:
        value = bits_float(((exponent + 1008) << 52) | (fraction << 42))
    return -value if bits & 0x8000 else value


@helper
def half_bits(x):  # type: ignore[no-untyped-def]
    """Return the 16 bits of a number, rounded to nearest, half to even."""
    bits = float_bits(x)
    sign, size = (bits >> 48) & 0x8000, bits & 0x7FFFFFFFFFFFFFFF
    if x != x:
        return sign | 0x7E00
    if size >= 0x40EFFE0000000000:  # 65520, and infinity
        return sign | 0x7C00
    if size < 0x3F10000000000000:  # below 2**-14: a multiple of 2**-24
        whole = bits_float(size) * 16777216.0 + 4503599627370496.0
        return sign | (float_bits(whole) & 0x7FF)
    size += 0x1FFFFFFFFFF + ((size >> 42) & 1)
    return sign | (((size >> 42) & 0xFFFFFF) - (1008 << 10))


def from_half(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Convert from numbers of 16 bits."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        target(b + i * s[1])[0] = number(half_value(p16(a + i * s[0])[0]))


def half_is_true(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Convert numbers of 16 bits to bool."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        target(b + i * s[1])[0] = number((p16(a + i * s[0])[0] & 0x7FFF) != 0)


def to_half(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Convert to numbers of 16 bits."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        p16(b + i * s[1])[0] = half_bits(np.float64(source(a + i * s[0])[0]))


_REAL = "f64", "f32", "i64", "bool", "i32", "i16", "i8", "u8"
for _from, _to in permutations(_REAL, 2):
    native_kernel(
        is_true if _to == "bool" else cast, f"cast_{_from}_{_to}", source=KINDS[_from]["element"],
        target=KINDS[_to]["element"], number=KINDS[_to]["number"],
    )  # fmt: skip
for _kind in _REAL:
    native_kernel(to_half, f"cast_{_kind}_f16", source=KINDS[_kind]["element"])
    native_kernel(
        half_is_true if _kind == "bool" else from_half, f"cast_f16_{_kind}", target=KINDS[_kind]["element"],
        number=KINDS[_kind]["number"],
    )  # fmt: skip


def _conversion(x: dtype, out: dtype) -> tuple[int, int]:
    """Kernel that converts real numbers."""
    return copy_loop(x) if x is out else (native_kernel_address("cast", x, out), 0)


def conversion_steps(x: Layout, kind: dtype, source: Operand, target: Operand) -> tuple[Step, ...]:
    """Steps that convert elements to another dtype; of a complex number to a real one its real part.

    Parameters
    ----------
    x : Layout
        Of the elements.
    kind : dtype
        Dtype of the results.
    source, target : Operand
        Where they are.
    """
    if x.dtype.is_complex and kind is bool_:
        zero = address_operand(constant(0, x.dtype.np), x.ndim)
        loop = ufunc_loop(np.not_equal, (x.dtype, x.dtype, bool_))
        return (Step(loop, x.shape, (source, zero, target)),)
    from_part, to_part = real_of(x.dtype), real_of(kind)
    first = Step(_conversion(from_part, to_part), x.shape, (source, target))
    if not kind.is_complex:
        return (first,)
    behind = target._replace(offset=target.offset + to_part.itemsize)
    if x.dtype.is_complex:
        part = source._replace(offset=source.offset + from_part.itemsize)
        return first, Step(_conversion(from_part, to_part), x.shape, (part, behind))
    zero = address_operand(constant(0, to_part.np), x.ndim)
    return first, Step(copy_loop(to_part), x.shape, (zero, behind))


def lower_cast(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Convert to ``attrs["dtype"]``."""
    (x,) = layouts
    out = contiguous(attrs["dtype"], x.shape)
    steps = conversion_steps(x, attrs["dtype"], arg(0, x.strides), out_operand(1, out))
    return Lowered((out,), steps)


op(
    "to",
    of_complex="plain",
    lower=lower_cast,
    grad_fn="ToCopyBackward0",
    torch=None,
    parts=True,
    vjp=lambda ct, x, out, dtype: ct._apply("to", dtype=x.dtype),
)
op(
    "clone",
    of_complex="plain",
    loop=np.positive,
    in_place=False,
    cheap=True,
    vjp=lambda ct, x, out: ct,
)
