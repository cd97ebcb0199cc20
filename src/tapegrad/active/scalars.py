"""Operators and functions on active scalars.

Each row of the op table that has an operator or a function of NumPy or `math` gets a typing rule and a
lowering here: it computes the row's primal (`strip_code.text_of`) and appends a statement to the recorder
(`record`). Comparisons read values.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.ir import instructions
from numba.core import cgutils, compiler, types
from numba.core.typing.templates import AbstractTemplate, ConcreteTemplate, infer_global, signature
from numba.extending import lower_builtin, lower_cast

from .. import native as nt
from .. import strip_code
from ..nopython import strips
from ..ops import pointwise_kernels
from ..ops.table import TABLE, Op
from ..words import resolve
from .types import ACTIVE, ActiveScalar, passive

__all__ = ["IN_PLACE", "NUMPY_FUNCTIONS", "OPERATORS"]

_I64 = ir.IntType(64)
_F64 = ir.DoubleType()
_I16 = ir.IntType(16)

_SCALARS = (types.Integer, types.Float, types.Boolean)


# --------------------------------------------------------------------------- compiled in
def call_native(
    context: Any, builder: Any, function: Callable[..., Any], sig: Any, args: Any, *, inline: bool = True
) -> Any:
    """Call a function that numba compiles into the caller: IEEE division, nothing baked in."""
    flags = compiler.Flags()
    flags.nrt = True
    flags.error_model = "numpy"
    compiled = context.compile_subroutine(builder, function, sig, flags=flags)
    native = context.declare_function(builder.module, compiled.fndesc)
    attributes = () if inline else ("noinline",)
    status, result = context.call_conv.call_function(
        builder, native, sig.return_type, sig.args, args, attrs=attributes
    )
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)
    return result


_grow, _grow_table = strips.grow, strips.grow_table
_push, _push_constant = strips.push, strips.push_constant


def _grow_or_raise(recorder):  # type: ignore[no-untyped-def]
    if _grow(recorder) != 0:
        raise MemoryError("no memory for what a @tg.njit function records; see tg.checkpointed_loop")
    return 0


def _grow_table_or_raise(recorder):  # type: ignore[no-untyped-def]
    if _grow_table(recorder) != 0:
        raise MemoryError("no memory for what a @tg.njit function records; see tg.checkpointed_loop")
    return 0


def _record_constant(recorder, value):  # type: ignore[no-untyped-def]
    """Append a constant; its number."""
    number = _push_constant(recorder, value)
    if number < 0:
        raise MemoryError("no memory for what a @tg.njit function records; see tg.checkpointed_loop")
    return number


def _record_mixed(recorder, value, a, x, b, y, code):  # type: ignore[no-untyped-def]
    """Record an op on two operands one of which may be passive; its number, -1 if both are."""
    if a < 0 and b < 0:
        return -1
    if a < 0:
        word, code = _record_constant_of(recorder, x) | b << 32, code + 2
    elif b < 0:
        word, code = a | _record_constant_of(recorder, y) << 32, code + 1
    else:
        word = a | b << 32
    number = _push(recorder, value, word, code)
    if number < 0:
        raise MemoryError("no memory for what a @tg.njit function records; see tg.checkpointed_loop")
    return number


_record_constant_of = strips.helper(_record_constant)


class _Words:
    """A recorder's words and arrays, as LLVM sees them.

    LLVM is told that counts, other words and arrays are in different places, and that growing changes no
    count. So counts stay in registers from one statement to the next; through memory, the time it takes
    to load what was just stored would be that of a statement.
    """

    def __init__(self, builder: Any, recorder: Any) -> None:
        self.builder, module = builder, builder.module
        self.words = builder.inttoptr(recorder, _I64.as_pointer())
        domain = module.add_metadata(["tapegrad recorder"])
        names = ("tapegrad words", "tapegrad arrays", "tapegrad counts")
        self.scopes = [module.add_metadata([name, domain]) for name in names]

    def _marked(self, instruction: Any, own: int) -> Any:
        others = [scope for i, scope in enumerate(self.scopes) if i != own]
        module = self.builder.module
        instruction.set_metadata("alias.scope", module.add_metadata([self.scopes[own]]))
        instruction.set_metadata("noalias", module.add_metadata(others))
        return instruction

    def _word(self, index: int) -> Any:
        return self.builder.gep(self.words, [ir.Constant(_I64, index)])

    def get(self, index: int) -> Any:
        """Load a word."""
        own = 2 if index in _COUNTS else 0
        return self._marked(self.builder.load(self._word(index)), own)

    def set(self, index: int, value: Any) -> None:
        """Store a word."""
        own = 2 if index in _COUNTS else 0
        self._marked(self.builder.store(value, self._word(index)), own)

    def put(self, array: int, kind: Any, at: Any, value: Any) -> None:
        """Store an element of the array whose address is in a word."""
        pointer = self.builder.inttoptr(self.get(array), kind.as_pointer())
        self._marked(self.builder.store(value, self.builder.gep(pointer, [at])), 1)

    def keeps_counts(self, call: Any) -> None:
        """Say that a call changes no count."""
        call.set_metadata("noalias", self.builder.module.add_metadata([self.scopes[2]]))


_COUNTS = (nt.W_COUNT, nt.W_TABLE_COUNT)


def _room(context: Any, builder: Any, words: _Words, count: int, capacity: int, grow: Any) -> Any:
    """The next number, with room for it."""
    number = words.get(count)
    full = builder.icmp_signed(">=", number, words.get(capacity))
    with builder.if_then(full, likely=False):
        sig = signature(types.int64, types.int64)
        block = builder.block
        call_native(
            context, builder, grow, sig, [builder.ptrtoint(words.words, _I64)], inline=False
        )
        words.keeps_counts(next(x for x in block.instructions if isinstance(x, instructions.CallInstr)))
    return number


def record(context: Any, builder: Any, recorder: Any, value: Any, word: Any, code: int) -> Any:
    """Append a statement to a recorder; its number."""
    words = _Words(builder, recorder)
    number = _room(context, builder, words, nt.W_COUNT, nt.W_CAPACITY, _grow_or_raise)
    words.put(nt.W_VALUES, _F64, number, value)
    words.put(nt.W_ARGS, _I64, number, word)
    words.put(nt.W_CODES, _I16, number, ir.Constant(_I16, code))
    words.set(nt.W_COUNT, builder.add(number, ir.Constant(_I64, 1)))
    return number


def record_constant(context: Any, builder: Any, recorder: Any, value: Any) -> Any:
    """Append a constant to a recorder; its number."""
    words = _Words(builder, recorder)
    number = _room(
        context, builder, words, nt.W_TABLE_COUNT, nt.W_TABLE_CAPACITY, _grow_table_or_raise
    )
    words.put(nt.W_TABLE, _F64, number, value)
    words.set(nt.W_TABLE_COUNT, builder.add(number, ir.Constant(_I64, 1)))
    return number


class _Scalar:
    """An operand: an active scalar's parts, or a number."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self.is_active = isinstance(kind, ActiveScalar)
        if self.is_active:
            parts = cgutils.create_struct_proxy(kind)(context, builder, value=value)
            self.value, self.number, self.recorder = parts.value, parts.number, parts.recorder
        else:
            self.value = context.cast(builder, value, kind, types.float64)


def _made(context: Any, builder: Any, value: Any, number: Any, recorder: Any) -> Any:
    made = cgutils.create_struct_proxy(ACTIVE)(context, builder)
    made.value, made.number, made.recorder = value, number, recorder
    return made._getvalue()


def _is_on_strip(builder: Any, number: Any) -> Any:
    return builder.icmp_signed(">=", number, ir.Constant(_I64, 0))


def _choose(context: Any, builder: Any, condition: Any, then: Any, other: Any) -> Any:
    """The result of one of two pieces of code; the first is the likely one."""
    slot = cgutils.alloca_once(builder, _I64)
    with builder.if_else(condition, likely=True) as (yes, no):
        with yes:
            builder.store(then(), slot)
        with no:
            builder.store(other(), slot)
    return builder.load(slot)


def record_unary(context: Any, builder: Any, code: int, value: Any, x: Any) -> Any:
    """Record an op on one operand."""
    number = _choose(
        context, builder, _is_on_strip(builder, x.number),
        lambda: record(context, builder, x.recorder, value, x.number, code),
        lambda: ir.Constant(_I64, -1),
    )  # fmt: skip
    return _made(context, builder, value, number, x.recorder)


def record_binary(context: Any, builder: Any, code: int, value: Any, x: Any, y: Any) -> Any:
    """Record an op on two operands; `code` is that of kinds "ab", followed by "ak" and "ka"."""
    thirty_two = ir.Constant(_I64, 32)
    if x.is_active and y.is_active:
        recorder = builder.or_(x.recorder, y.recorder)
        both = builder.icmp_signed(">=", builder.or_(x.number, y.number), ir.Constant(_I64, 0))

        def mixed() -> Any:
            sig = signature(
                types.int64, types.int64, types.float64, types.int64, types.float64, types.int64,
                types.float64, types.int64,
            )  # fmt: skip
            given = [recorder, value, x.number, x.value, y.number, y.value, ir.Constant(_I64, code)]
            return call_native(context, builder, _record_mixed, sig, given, inline=False)

        def plain() -> Any:
            word = builder.or_(x.number, builder.shl(y.number, thirty_two))
            return record(context, builder, recorder, value, word, code)

        number = _choose(context, builder, both, plain, mixed)
        return _made(context, builder, value, number, recorder)
    own, other = (x, y) if x.is_active else (y, x)

    def with_constant() -> Any:
        constant = record_constant(context, builder, own.recorder, other.value)
        if x.is_active:
            word = builder.or_(own.number, builder.shl(constant, thirty_two))
        else:
            word = builder.or_(constant, builder.shl(own.number, thirty_two))
        return record(
            context, builder, own.recorder, value, word, code + (1 if x.is_active else 2)
        )

    number = _choose(
        context, builder, _is_on_strip(builder, own.number), with_constant,
        lambda: ir.Constant(_I64, -1),
    )  # fmt: skip
    return _made(context, builder, value, number, own.recorder)


# --------------------------------------------------------------------------- primals
@cache
def primal(name: str) -> Callable[..., Any]:
    """A row's primal as a Python function of numbers that numba can compile."""
    entry = TABLE[name]
    inputs = list("xyz")[: entry.arity]
    scope: dict[str, Any] = {"np": np, "math": math, "differentiate_sinc": pointwise_kernels.differentiate_sinc}
    resolve(scope)
    text = f"def primal({', '.join(inputs)}):\n    return {strip_code.text_of(entry, inputs)}\n"
    exec(compile(text, f"<primal of {name}>", "exec"), scope)
    return scope["primal"]  # type: ignore[no-any-return]


def _value(context: Any, builder: Any, name: str, operands: list[Any]) -> Any:
    plain = {"add": builder.fadd, "sub": builder.fsub, "mul": builder.fmul, "div": builder.fdiv}
    values = [x.value for x in operands]
    if name in plain:
        return plain[name](*values)
    truth = strip_code._is_truth(TABLE[name])
    sig = signature(types.boolean if truth else types.float64, *[types.float64] * len(values))
    return call_native(context, builder, primal(name), sig, values)


# --------------------------------------------------------------------------- rows and their names
def _in_place(name: str) -> Any:
    """Make a function that stands for an in-place operator; see `IN_PLACE`."""

    def stands_for(x, y):  # type: ignore[no-untyped-def]
        raise TypeError(name)

    stands_for.__name__ = stands_for.__qualname__ = f"in_place_{name}"
    globals()[stands_for.__name__] = stands_for  # numba looks for it there
    return stands_for


#: what stands for in-place operators in functions that are compiled for active arguments: numba's own
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
_NOT_MATH = {"floor", "ceil", "trunc", "fmod_", "round"}


def _has_codes(entry: Op) -> bool:
    kinds = {1: "a", 2: "ab"}.get(entry.arity)
    try:
        strip_code.code_of(entry.name, kinds or "")
    except KeyError:
        return False
    return not entry.name.startswith("bitwise_")


def _functions() -> dict[str, list[Any]]:
    """NumPy's and `math`'s functions, by row."""
    found: dict[str, list[Any]] = {}
    for entry in TABLE.values():
        if not _has_codes(entry):
            continue
        own = found.setdefault(entry.name, [])
        if entry.loop is not None and all(entry.loop is not f for f in NUMPY_FUNCTIONS):
            own.append(entry.loop)
            NUMPY_FUNCTIONS[entry.loop] = entry.name
        name = next((m for m, row in _MATH.items() if row == entry.name), entry.name)
        if hasattr(math, name) and name not in _NOT_MATH:
            own.append(getattr(math, name))
    found["sinc"].append(np.sinc)
    NUMPY_FUNCTIONS[np.sinc] = "sinc"
    return found


#: NumPy's function -> row
NUMPY_FUNCTIONS: dict[Any, str] = {}


def _as_number(kind: Any) -> Any:
    return kind if isinstance(kind, ActiveScalar) else types.float64


def _define(name: str, function: Any) -> None:
    """Let a function or operator take active scalars."""
    entry = TABLE[name]
    truth = strip_code._is_truth(entry)

    class Typing(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            if kws or len(args) != entry.arity:
                return None
            if not any(isinstance(a, ActiveScalar) for a in args):
                return None
            if not all(isinstance(a, (ActiveScalar, *_SCALARS)) for a in args):
                return None
            return signature(types.boolean if truth else ACTIVE, *map(_as_number, args))

    Typing.key = function
    Typing.__name__ = f"Active_{name}"
    infer_global(function)(Typing)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        operands = [_Scalar(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)]
        if name == "pow":
            return _lower_power(context, builder, operands)
        value = _value(context, builder, name, operands)
        if truth:
            return value
        if entry.arity == 1:
            return record_unary(
                context, builder, strip_code.code_of(name, "a"), value, operands[0]
            )
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
        return record_binary(
            context, builder, code, _value(context, builder, "pow", operands), x, y
        )
    slot = cgutils.alloca_once(builder, context.get_value_type(ACTIVE))
    square = builder.fcmp_ordered("==", y.value, ir.Constant(_F64, 2.0))
    with builder.if_else(square) as (yes, no):
        with yes:
            value = builder.fmul(x.value, x.value)
            product = strip_code.code_of("mul", "ab")
            number = _choose(
                context, builder, _is_on_strip(builder, x.number),
                lambda: record(
                    context, builder, x.recorder, value,
                    builder.or_(x.number, builder.shl(x.number, ir.Constant(_I64, 32))), product,
                ),
                lambda: ir.Constant(_I64, -1),
            )  # fmt: skip
            builder.store(_made(context, builder, value, number, x.recorder), slot)
        with no:
            value = _value(context, builder, "pow", operands)
            builder.store(record_binary(context, builder, code, value, x, y), slot)
    return builder.load(slot)


for _name, _keys in OPERATORS.items():
    for _key in _keys:
        _define(_name, _key)
for _name, _list in _functions().items():
    for _key in _list:
        _define(_name, _key)


# --------------------------------------------------------------------------- what reads the value
def _reads(function: Any, result: Any, read: Callable[..., Any]) -> None:
    """Let a function of one active scalar give something passive."""

    class Typing(ConcreteTemplate):  # type: ignore[misc]
        cases = [signature(result, ACTIVE)]  # noqa: RUF012

    Typing.key = function
    infer_global(function)(Typing)

    @lower_builtin(function, ActiveScalar)  # type: ignore[untyped-decorator]
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = _Scalar(context, builder, ACTIVE, args[0]).value
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


_reads(math.floor, types.int64, _floor)
_reads(math.ceil, types.int64, _ceil)
_reads(math.trunc, types.int64, _trunc)
_reads(int, types.int64, _int)
_reads(bool, types.boolean, _truth)
_reads(operator.truth, types.boolean, _truth)


@lower_cast(ActiveScalar, types.Boolean)
def _as_boolean(context: Any, builder: Any, source: Any, target: Any, value: Any) -> Any:
    x = _Scalar(context, builder, source, value)
    return builder.fcmp_unordered("!=", x.value, ir.Constant(_F64, 0.0))


# --------------------------------------------------------------------------- what gives it back
def _same(function: Any) -> None:
    class Typing(ConcreteTemplate):  # type: ignore[misc]
        cases = [signature(ACTIVE, ACTIVE)]  # noqa: RUF012

    Typing.key = function
    infer_global(function)(Typing)

    @lower_builtin(function, ActiveScalar)  # type: ignore[untyped-decorator]
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return args[0]


for _key in (operator.pos, float):
    _same(_key)

__all__ += ["passive"]
