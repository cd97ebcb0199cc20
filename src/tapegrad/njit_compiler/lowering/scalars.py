"""Operators and functions on active scalars.

Each row of the op table that has an operator or a function of NumPy or `math` gets a typing rule and a
lowering here: it computes the row's primal (`emit` of ops/emitter.py) and appends a statement to the recorder
(`record`). Comparisons read values.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import lower_builtin, lower_cast

from ...ops.emitter import emit
from ...ops.table import TABLE, Op
from ...scalar_tape import opcodes as strip_code
from ..numba_api import AbstractTemplate, cgutils, infer_global, signature
from ..types import ACTIVE, ActiveScalar, refuse_threads
from .emit import (
    Scalar,
    active_scalar,
    call_native,
    choose,
    is_on_strip,
    operand_word,
    record,
    record_binary,
    record_unary,
)

__all__ = ["IN_PLACE", "NUMPY_FUNCTIONS", "OPERATORS", "ROWS"]

_I64 = ir.IntType(64)
_F64 = ir.DoubleType()
_SCALARS = (types.Integer, types.Float, types.Boolean)


def _value(builder: Any, name: str, operands: list[Any]) -> Any:
    """The primal of a row on scalars."""
    return emit(builder, TABLE[name], [x.value for x in operands])


# --------------------------------------------------------------------------- rows and their names
def _in_place(name: str) -> Any:
    """Make a function that stands for an in-place operator; see `IN_PLACE`."""

    def stand_in(x, y):  # type: ignore[no-untyped-def]
        raise TypeError(name)

    stand_in.__name__ = stand_in.__qualname__ = f"in_place_{name}"
    globals()[stand_in.__name__] = stand_in  # numba looks for it there
    return stand_in


#: functions that stand for in-place operators where arguments are active: numba's own
#: rules for ``x += y`` fail on arrays that they do not know, before any other is asked
IN_PLACE: dict[Any, Any] = {
    f: _in_place(f.__name__)
    for f in (
        operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv,
        operator.imod, operator.ipow,
    )
}  # fmt: skip

OPERATORS: dict[str, tuple[Any, ...]] = {
    "add": (operator.add, IN_PLACE[operator.iadd]), "sub": (operator.sub, IN_PLACE[operator.isub]),
    "mul": (operator.mul, IN_PLACE[operator.imul]), "div": (operator.truediv, IN_PLACE[operator.itruediv]),
    "floor_divide": (operator.floordiv, IN_PLACE[operator.ifloordiv]),
    "remainder": (operator.mod, IN_PLACE[operator.imod]), "pow": (operator.pow, IN_PLACE[operator.ipow], pow),
    "neg": (operator.neg,), "abs": (abs,), "lt": (operator.lt,), "le": (operator.le,),
    "eq": (operator.eq,), "ne": (operator.ne,), "gt": (operator.gt,), "ge": (operator.ge,),
}  # fmt: skip

#: functions of `math` that have another name than the row, or another meaning
_MATH = {"fabs": "abs"}
_NOT_MATH = {"floor", "ceil", "trunc", "fmod_", "round", "remainder"}


def _has_codes(entry: Op) -> bool:
    kinds = {1: "a", 2: "ab"}.get(entry.arity)
    try:
        strip_code.code_of(entry.name, kinds or "")
    except KeyError:
        return False
    return entry.result != "bits"


def _functions() -> dict[str, list[Any]]:
    """NumPy's and `math`'s functions, by row."""
    functions: dict[str, list[Any]] = {}
    for entry in TABLE.values():
        if not _has_codes(entry):
            continue
        row_functions = functions.setdefault(entry.name, [])
        if entry.loop is not None and all(entry.loop is not f for f in NUMPY_FUNCTIONS):
            row_functions.append(entry.loop)
            NUMPY_FUNCTIONS[entry.loop] = entry.name
        name = next((m for m, row in _MATH.items() if row == entry.name), entry.name)
        if hasattr(math, name) and name not in _NOT_MATH:
            row_functions.append(getattr(math, name))
    functions["sinc"].append(np.sinc)
    NUMPY_FUNCTIONS[np.sinc] = "sinc"
    return functions


#: NumPy's function -> row
NUMPY_FUNCTIONS: dict[Any, str] = {}


def _as_number(kind: Any) -> Any:
    return kind if isinstance(kind, ActiveScalar) else types.float64


#: function or operator -> row
ROWS: dict[Any, str] = {}


def _define(name: str, function: Any) -> None:
    """Let a function or operator take active scalars."""
    entry = TABLE[name]
    ROWS[function] = name
    truth = strip_code.is_truth(entry)

    class Typing(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            if kws or len(args) != entry.arity:
                return None
            if not any(isinstance(a, ActiveScalar) for a in args):
                return None
            if not all(isinstance(a, (ActiveScalar, *_SCALARS)) for a in args):
                return None
            refuse_threads()
            return signature(types.boolean if truth else ACTIVE, *map(_as_number, args))

    Typing.key = function
    Typing.__name__ = f"Active_{name}"
    infer_global(function)(Typing)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        operands = [Scalar(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)]
        if name == "pow":
            return _lower_power(context, builder, operands)
        value = _value(builder, name, operands)
        if truth:
            return value
        if entry.arity == 1:
            return record_unary(context, builder, strip_code.code_of(name, "a"), value, operands[0])
        return record_binary(context, builder, strip_code.code_of(name, "ab"), value, *operands)

    for kinds in _active_kinds(entry.arity):
        lower_builtin(function, *kinds)(lower)


def _active_kinds(arity: int) -> list[tuple[Any, ...]]:
    if arity == 1:
        return [(ActiveScalar,)]
    number = types.Float
    return [(ActiveScalar, ActiveScalar), (ActiveScalar, number), (number, ActiveScalar)]


def _lower_power(context: Any, builder: Any, operands: list[Any]) -> Any:
    """A square of an active scalar is a product, also for its derivative."""
    x, y = operands
    code = strip_code.code_of("pow", "ab")
    if y.is_active:
        return record_binary(context, builder, code, _value(builder, "pow", operands), x, y)
    slot = cgutils.alloca_once(builder, context.get_value_type(ACTIVE))
    square = builder.fcmp_ordered("==", y.value, ir.Constant(_F64, 2.0))
    with builder.if_else(square) as (yes, no):
        with yes:
            value = builder.fmul(x.value, x.value)
            product = strip_code.code_of("mul", "ab")
            number = choose(
                builder, is_on_strip(builder, x.number),
                lambda: record(
                    context, builder, x.recorder, value,
                    operand_word(builder, x.number, x.number), product,
                ),
                lambda: ir.Constant(_I64, -1),
            )  # fmt: skip
            builder.store(active_scalar(context, builder, value, number, x.recorder), slot)
        with no:
            value = _value(builder, "pow", operands)
            builder.store(record_binary(context, builder, code, value, x, y), slot)
    return builder.load(slot)


for _name, _keys in OPERATORS.items():
    for _key in _keys:
        _define(_name, _key)
for _name, _list in _functions().items():
    for _key in _list:
        _define(_name, _key)


# --------------------------------------------------------------------------- functions with passive results
def _type_of_one(function: Any, result: Any) -> None:
    """The type of a function of an active scalar, which no number is taken for."""

    class Typing(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            if kws or len(args) != 1 or not isinstance(args[0], ActiveScalar):
                return None
            return signature(result, ACTIVE)

    Typing.key = function
    infer_global(function)(Typing)


def _reads(function: Any, result: Any, read: Callable[..., Any]) -> None:
    """Let a function of one active scalar give something passive."""
    _type_of_one(function, result)

    @lower_builtin(function, ActiveScalar)  # type: ignore[untyped-decorator]
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = Scalar(context, builder, ACTIVE, args[0]).value
        return call_native(context, builder, read, signature(result, types.float64), [value])


def _floor(x):  # type: ignore[no-untyped-def]
    return math.floor(x)


def _ceil(x):  # type: ignore[no-untyped-def]
    return math.ceil(x)


def _trunc(x):  # type: ignore[no-untyped-def]
    return math.trunc(x)


def _int(x):  # type: ignore[no-untyped-def]
    return int(x)


def _truth(x):  # type: ignore[no-untyped-def]
    return x != 0.0


def _false(x):  # type: ignore[no-untyped-def]
    return x == 0.0


_reads(operator.not_, types.boolean, _false)
_reads(math.floor, types.int64, _floor)
_reads(math.ceil, types.int64, _ceil)
_reads(math.trunc, types.int64, _trunc)
_reads(int, types.int64, _int)
_reads(bool, types.boolean, _truth)
_reads(operator.truth, types.boolean, _truth)


@lower_cast(ActiveScalar, types.Boolean)
def _as_boolean(context: Any, builder: Any, source: Any, target: Any, value: Any) -> Any:
    x = Scalar(context, builder, source, value)
    return builder.fcmp_unordered("!=", x.value, ir.Constant(_F64, 0.0))


# --------------------------------------------------------------------------- identities
def _same(function: Any) -> None:
    _type_of_one(function, ACTIVE)

    @lower_builtin(function, ActiveScalar)  # type: ignore[untyped-decorator]
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return args[0]


for _key in (operator.pos, float):
    _same(_key)
