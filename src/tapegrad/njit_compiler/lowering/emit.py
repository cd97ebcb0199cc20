"""The code of an operation on active scalars: it appends a statement to a recorder.

`record` is the code of one append; `record_unary` and `record_binary` choose the statement: an operand may be
passive when the code runs, even if its type is active.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ...native import abi as nt
from ...native import machine_code
from ...native.words import globals_variable
from ...scalar_tape import abi as sf
from ...scalar_tape.recorder import NO_MEMORY
from ..numba_api import Flags, cgutils
from ..types import ACTIVE, ActiveScalar

__all__ = [
    "Scalar", "active_scalar", "call_entry", "call_native", "choose", "is_on_strip",
    "operand_word", "record", "record_all", "record_binary", "record_constant", "record_unary",
]  # fmt: skip

_I64 = ir.IntType(64)
_F64 = ir.DoubleType()
_I16 = ir.IntType(16)


# --------------------------------------------------------------------------- compiled in
def call_native(
    context: Any, builder: Any, function: Callable[..., Any], sig: Any, args: Any
) -> Any:
    """Call a function that numba compiles into the caller: IEEE division, nothing baked in."""
    flags = Flags()
    flags.nrt = True
    flags.error_model = "numpy"
    compiled = context.compile_subroutine(builder, function, sig, flags=flags)
    native = context.declare_function(builder.module, compiled.fndesc)
    status, result = context.call_conv.call_function(
        builder, native, sig.return_type, sig.args, args
    )
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)
    return result


#: addresses of functions that are compiled once for all (scalar_tape/native_recorder.py,
#: scalar_tape/native_sums.py), in the order of `E_*`
_ENTRY_NAMES = (
    "sums_entry", "room_entry", "push_passive", "mixed_entry", "block_entry", "called_entry",
)  # fmt: skip
_ENTRIES = np.array([machine_code.entry(name) for name in _ENTRY_NAMES], np.int64)
machine_code.keep_for_ever(_ENTRIES)
nt.GLOBALS[nt.G_NJIT] = _ENTRIES.ctypes.data


def call_entry(
    context: Any, builder: Any, number: int, args: list[Any], message: str = NO_MEMORY
) -> Any:
    """Call an entry point by the address that it has in this process; raises MemoryError if it says so."""
    table = builder.load(
        builder.gep(globals_variable(builder.module), [ir.Constant(_I64, nt.G_NJIT)])
    )
    place = builder.gep(builder.inttoptr(table, _I64.as_pointer()), [ir.Constant(_I64, number)])
    kind = ir.FunctionType(_I64, [x.type for x in args])
    call = builder.call(builder.inttoptr(builder.load(place), kind.as_pointer()), args)
    failed = builder.icmp_signed("==", call, ir.Constant(_I64, sf.E_NO_MEMORY))
    with builder.if_then(failed, likely=False):
        context.call_conv.return_user_exc(builder, MemoryError, (message,))
    return call


class _Words:
    """A recorder's words and arrays, as LLVM sees them.

    LLVM is told that counts, other words and arrays are in different places, and that growing changes no
    count. So counts stay in registers from one statement to the next; a load just behind a store would take
    as long as a statement.
    """

    def __init__(self, builder: Any, recorder: Any) -> None:
        self.builder, module = builder, builder.module
        self.words = builder.inttoptr(recorder, _I64.as_pointer())
        domain = module.add_metadata(["tapegrad recorder"])
        names = ("tapegrad words", "tapegrad arrays", "tapegrad counts")
        self.scopes = [module.add_metadata([name, domain]) for name in names]

    def _marked(self, instruction: Any, scope_number: int) -> Any:
        others = [scope for i, scope in enumerate(self.scopes) if i != scope_number]
        module = self.builder.module
        instruction.set_metadata("alias.scope", module.add_metadata([self.scopes[scope_number]]))
        instruction.set_metadata("noalias", module.add_metadata(others))
        return instruction

    def _word(self, index: int) -> Any:
        return self.builder.gep(self.words, [ir.Constant(_I64, index)])

    def get(self, index: int) -> Any:
        """Load a word."""
        scope_number = 2 if index in _COUNTS else 0
        return self._marked(self.builder.load(self._word(index)), scope_number)

    def set(self, index: int, value: Any) -> None:
        """Store a word."""
        scope_number = 2 if index in _COUNTS else 0
        self._marked(self.builder.store(value, self._word(index)), scope_number)

    def put(self, array: int, kind: Any, index: Any, value: Any) -> None:
        """Store an element of the array whose address is in a word."""
        pointer = self.builder.inttoptr(self.get(array), kind.as_pointer())
        self._marked(self.builder.store(value, self.builder.gep(pointer, [index])), 1)

    def keeps_counts(self, call: Any) -> None:
        """Say that a call changes no count."""
        call.set_metadata("noalias", self.builder.module.add_metadata([self.scopes[2]]))


_COUNTS = (sf.W_COUNT, sf.W_TABLE_COUNT)


def _room(context: Any, builder: Any, words: _Words, *, table: bool, size: int = 1) -> Any:
    """The next number of a statement or constant, with room for it and `size` - 1 more."""
    number = words.get(sf.W_TABLE_COUNT if table else sf.W_COUNT)
    last = builder.add(number, ir.Constant(_I64, size))
    full = builder.icmp_signed(
        ">", last, words.get(sf.W_TABLE_CAPACITY if table else sf.W_CAPACITY)
    )
    with builder.if_then(full, likely=False):
        args = [builder.ptrtoint(words.words, _I64), ir.Constant(_I64, int(table))]
        words.keeps_counts(call_entry(context, builder, sf.E_ROOM, args))
    return number


def operand_word(builder: Any, low: Any, high: Any) -> Any:
    """Two numbers as a word of operands (`pack_word` of scalar_tape/native_recorder.py)."""
    return builder.or_(low, builder.shl(high, ir.Constant(_I64, 32)))


def record(context: Any, builder: Any, recorder: Any, value: Any, word: Any, code: int) -> Any:
    """Append a statement to a recorder; its number."""
    return record_all(context, builder, recorder, [value], [word], [code])


def record_all(
    context: Any,
    builder: Any,
    recorder: Any,
    values: list[Any],
    operand_words: list[Any],
    codes: list[int],
) -> Any:
    """Append statements at once, fewer than a recorder has room for at first; the first one's number."""
    words, count = _Words(builder, recorder), len(values)
    number = _room(context, builder, words, table=False, size=count)
    for i, (value, word, code) in enumerate(zip(values, operand_words, codes, strict=True)):
        index = builder.add(number, ir.Constant(_I64, i))
        words.put(sf.W_VALUES, _F64, index, value)
        words.put(sf.W_ARGS, _I64, index, word)
        words.put(sf.W_CODES, _I16, index, ir.Constant(_I16, code))
    words.set(sf.W_COUNT, builder.add(number, ir.Constant(_I64, count)))
    return number


def record_constant(context: Any, builder: Any, recorder: Any, value: Any) -> Any:
    """Append a constant to a recorder; its number."""
    words = _Words(builder, recorder)
    number = _room(context, builder, words, table=True)
    words.put(sf.W_TABLE, _F64, number, value)
    words.set(sf.W_TABLE_COUNT, builder.add(number, ir.Constant(_I64, 1)))
    return number


class Scalar:
    """An operand: an active scalar's parts, or a number."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self.is_active = isinstance(kind, ActiveScalar)
        if self.is_active:
            parts = cgutils.create_struct_proxy(kind)(context, builder, value=value)
            self.value, self.recorder = parts.value, parts.recorder
            self.number = builder.not_(parts.mark)
        else:
            self.value = context.cast(builder, value, kind, types.float64)


def active_scalar(context: Any, builder: Any, value: Any, number: Any, recorder: Any) -> Any:
    """An active scalar of its parts."""
    scalar = cgutils.create_struct_proxy(ACTIVE)(context, builder)
    scalar.value, scalar.mark, scalar.recorder = value, builder.not_(number), recorder
    return scalar._getvalue()


def is_on_strip(builder: Any, number: Any) -> Any:
    """A bit that is 1 for the number of a statement, and 0 for that of a passive value."""
    return builder.icmp_signed(">=", number, ir.Constant(_I64, 0))


def choose(builder: Any, condition: Any, then: Any, other: Any) -> Any:
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
    number = choose(
        builder, is_on_strip(builder, x.number),
        lambda: record(context, builder, x.recorder, value, x.number, code),
        lambda: ir.Constant(_I64, -1),
    )  # fmt: skip
    return active_scalar(context, builder, value, number, x.recorder)


def record_binary(context: Any, builder: Any, code: int, value: Any, x: Any, y: Any) -> Any:
    """Record an op on two operands; `code` is that of kinds "ab", followed by "ak" and "ka"."""
    if x.is_active and y.is_active:
        recorder = builder.or_(x.recorder, y.recorder)
        both = builder.icmp_signed(">=", builder.or_(x.number, y.number), ir.Constant(_I64, 0))

        def mixed() -> Any:
            code_word = ir.Constant(_I64, code)
            args = [recorder, value, x.number, x.value, y.number, y.value, code_word]
            return call_entry(context, builder, sf.E_MIXED, args)

        def plain() -> Any:
            word = operand_word(builder, x.number, y.number)
            return record(context, builder, recorder, value, word, code)

        number = choose(builder, both, plain, mixed)
        return active_scalar(context, builder, value, number, recorder)
    active, other = (x, y) if x.is_active else (y, x)

    def with_constant() -> Any:
        constant = record_constant(context, builder, active.recorder, other.value)
        if x.is_active:
            word = operand_word(builder, active.number, constant)
        else:
            word = operand_word(builder, constant, active.number)
        return record(
            context, builder, active.recorder, value, word, code + (1 if x.is_active else 2)
        )

    number = choose(
        builder, is_on_strip(builder, active.number), with_constant,
        lambda: ir.Constant(_I64, -1),
    )  # fmt: skip
    return active_scalar(context, builder, value, number, active.recorder)
