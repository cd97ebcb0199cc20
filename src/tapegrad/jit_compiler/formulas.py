"""Code of scalar formulas, and the kernels that are formulas.

A `Formula` is a row of the op table, a ufunc, a cast or a copy. `write` writes its LLVM code, by the one
emitter (ops/emitter.py); `kernels` knows the ufunc that a kernel of a step is the loop of.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from ..base.dtypes import (
    bool_,
    dtype,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)  # fmt: skip
from ..native.ufunc_loops import fastest_loop, ufunc_loop
from ..ops.emitter import UFUNCS, emit_ufunc, emit_with
from ..ops.kernels.vectorised import ELEMENTARY
from ..ops.scalar_code import Scalar, Untraceable
from ..ops.table import TABLE, copy_loop
from .loops import Formula

__all__ = [
    "ADD", "COPY", "F32", "F64", "I1", "I8", "I64", "has_code", "kernels", "may_leave",
    "value_type", "write",
]  # fmt: skip

F64, F32, I64, I8, I1 = (
    ir.DoubleType(),
    ir.FloatType(),
    ir.IntType(64),
    ir.IntType(8),
    ir.IntType(1),
)
_TYPES = {float64: F64, float32: F32, int64: I64, bool_: I1}
#: of what is only moved
_MOVED = {
    int32: ir.IntType(32),
    int16: ir.IntType(16),
    int8: I8,
    uint8: I8,
    float16: ir.IntType(16),
}
COPY = Formula("copy")
ADD = Formula("ufunc:add")


def value_type(kind: dtype) -> Any:
    """LLVM's type of a value of a dtype."""
    return _TYPES.get(kind) or _MOVED[kind]


@cache
def kernels() -> dict[tuple[int, int], tuple[np.ufunc, tuple[dtype, ...]]]:
    """Ufuncs that the emitter knows, by their loops' address and data."""
    known: dict[tuple[int, int], tuple[np.ufunc, tuple[dtype, ...]]] = {}
    for ufunc in UFUNCS:
        for kind in _TYPES:
            for result in (kind, bool_):
                types = (kind,) * ufunc.nin + (result,)
                try:
                    known[ufunc_loop(ufunc, types)] = ufunc, types
                    known.setdefault(fastest_loop(ufunc, types), (ufunc, types))
                except TypeError:
                    continue
    for kind in _TYPES:
        known[copy_loop(kind)] = np.positive, (kind, kind)
    return known


@cache
def has_code(formula: Formula, kinds: tuple[dtype, ...], result: dtype) -> bool:
    """Return True if the emitter has code of a formula for operands and result of dtypes."""
    if not all(k in _TYPES for k in (*kinds, result)):
        return False
    module = ir.Module("trial")
    function = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [_TYPES[k] for k in kinds]), "trial"
    )
    builder = ir.IRBuilder(function.append_basic_block())
    try:
        return write(builder, formula, function.args).type == _TYPES[result]
    except Untraceable:
        return False


def may_leave(formula: Formula) -> bool:
    """Return True if a formula may be written so that it does not hold for all numbers (`write`)."""
    kind, _, name = formula.name.partition(":")
    if kind == "row":
        loop = TABLE[name].loop
        return loop is None or loop.__name__ in ELEMENTARY
    return name in ELEMENTARY


def write(
    builder: Any, formula: Formula, values: Sequence[Any], inside: list[Any] | None = None
) -> Any:
    """Write the code of a formula; `inside` as for `emit` of ops/emitter.py.

    Raises
    ------
    Untraceable
        If there is none.
    """
    if formula.name == "copy":
        return values[0]
    kind, _, name = formula.name.partition(":")
    if kind == "row":
        return emit_with(builder, TABLE[name], values, dict(formula.attributes), inside)
    if kind == "power":
        return _product(Scalar(builder, values[0]), **dict(formula.attributes)).value
    if kind == "cast":
        return _cast(builder, values[0], _TYPES[_BY_NAME[name]])
    return emit_ufunc(builder, getattr(np, name), values, inside)


_BY_NAME = {kind.name: kind for kind in _TYPES}


def _product(x: Scalar, factor: float, exponent: int) -> Scalar:
    """``factor * x ** exponent``, squares and cubes as eager code has them."""
    power: Scalar | None = None
    square = x
    if exponent == 3:
        power = x * x * x
    else:
        while exponent:
            if exponent & 1:
                power = square if power is None else power * square
            exponent >>= 1
            if exponent:
                square = square * square
    assert power is not None
    return power if factor == 1 else factor * power


def _cast(builder: Any, value: Any, target: Any) -> Any:
    source = value.type
    if source == target:
        return value
    if target == I1:
        zero = ir.Constant(source, 0 if source == I64 else 0.0)
        if source == I64:
            return builder.icmp_signed("!=", value, zero)
        return builder.fcmp_unordered("!=", value, zero)
    if source == I1:
        return builder.zext(value, I64) if target == I64 else builder.uitofp(value, target)
    if source == I64:
        return builder.sitofp(value, target)
    if target == I64:
        raise Untraceable  # of NaN and large numbers: as the kernel has it
    return builder.fptrunc(value, target) if target == F32 else builder.fpext(value, target)
