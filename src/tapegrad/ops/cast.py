"""Conversion of dtypes, and the copy."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

from ..native.ufunc_loops import native_kernel, native_kernel_address
from ..native.words import KINDS, number, p64
from .layout import Layout, contiguous
from .program import Step, arg
from .table import Lowered, Op, op, out_operand

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


for _from, _to in permutations(("f64", "f32", "i64", "bool"), 2):
    native_kernel(
        is_true if _to == "bool" else cast, f"cast_{_from}_{_to}", source=KINDS[_from]["element"],
        target=KINDS[_to]["element"], number=KINDS[_to]["number"],
    )  # fmt: skip


def lower_cast(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Convert to ``attrs["dtype"]``."""
    (x,) = layouts
    out = contiguous(attrs["dtype"], x.shape)
    address = native_kernel_address("cast", x.dtype, out.dtype)
    operands = (arg(0, x.strides), out_operand(1, out))
    return Lowered((out,), (Step((address, 0), x.shape, operands),))


op(
    "to",
    lower=lower_cast,
    grad_fn="ToCopyBackward0",
    torch=None,
    vjp=lambda ct, x, out, dtype: ct.to(x.dtype),
)
op("clone", loop=np.positive, in_place=False, cheap=True, vjp=lambda ct, x, out: ct)
