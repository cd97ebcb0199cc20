"""The code that records a block, and the block's reverse pass (block.py defines blocks).

Both are generated from the rows of the op table, statement by statement, as LLVM code. The reverse pass is
a separate function in the same module. Its address, and that of a table which describes the block
(`D_*` of scalar_tape/abi.py), are entered into the table of this process's blocks when it first records,
so that no address is in code that numba keeps on disk.
"""

from __future__ import annotations

import hashlib
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types

from ...ops import emitter
from ...ops.table import TABLE
from ...scalar_tape import abi as sf
from ...scalar_tape.opcodes import code_of, codes_of, template_words
from ..numba_api import cgutils
from . import emit
from .emit import Scalar, active_scalar

if TYPE_CHECKING:
    from .block import BlockOperand, ScalarBlock

__all__ = ["BlockLowering"]

_I8, _I32, _I64 = map(ir.IntType, (8, 32, 64))
_F64 = ir.DoubleType()
_TOO_MANY = "too many functions under tg.njit in one process"


def _integer(value: int) -> Any:
    return ir.Constant(_I64, value)


def _number(value: float) -> Any:
    return ir.Constant(_F64, value)


# --------------------------------------------------------------------------- values
class _BlockValues:
    """Values of a block's statements, computed where they are first needed."""

    def __init__(self, context: Any, builder: Any, block: ScalarBlock, ins: list[Any]) -> None:
        self.context, self.builder, self.block, self.ins = context, builder, block, ins
        self.known: dict[int, Any] = {}

    def of(self, x: BlockOperand) -> Any:
        """The value of an operand."""
        if x.kind == "number":
            return _number(x.value)
        return self.ins[x.value] if x.kind == "in" else self.statement(x.value)

    def statement(self, j: int) -> Any:
        """The value of a statement."""
        if j not in self.known:
            s = self.block.statements[j]
            values = [self.of(x) for x in s.operands]
            self.known[j] = emitter.emit(self.builder, TABLE[s.name], values)
        return self.known[j]


# --------------------------------------------------------------------------- the reverse pass
class _Adjoint:
    """A cotangent so far, and (where it matters) a bit that is 1 if it is touched."""

    def __init__(self) -> None:
        self.value: Any = None
        self.touched: Any = None


class _Reverse:
    """Generator of a block's reverse pass.

    With `careful`, statements that are not reached from the seeds add nothing, whatever their derivatives
    (see scalar_tape/sweeps.py on NaN).
    """

    def __init__(
        self, context: Any, builder: Any, block: ScalarBlock, args: list[Any], *, careful: bool
    ) -> None:
        self.context, self.builder, self.block, self.careful = context, builder, block, careful
        values, cts, constants, words, first, touched = args
        self.cts = self._pointer(cts, _F64)
        primal, numbers = self._pointer(values, _F64), self._pointer(words, _I32)
        table, marks = self._pointer(constants, _F64), self._pointer(touched, _I8)
        self.numbers = [
            builder.zext(builder.load(builder.gep(numbers, [_integer(j)])), _I64)
            for j in range(len(block.active))
        ]
        ins = [
            builder.load(builder.gep(primal if active else table, [number]))
            for active, number in zip(block.active, self.numbers, strict=True)
        ]
        self.values = _BlockValues(context, builder, block, ins)
        self.adjoints = [_Adjoint() for _ in block.statements]
        self.operands = [_Adjoint() for _ in block.active]
        for i, j in enumerate(block.outs):
            number = builder.add(first, _integer(i))
            self.values.known[j] = builder.load(builder.gep(primal, [number]))
            # A kept result has a cotangent, too, where the reverse pass is differentiated.
            ct, mark = builder.load(builder.gep(self.cts, [number])), None
            if careful:
                byte = builder.load(builder.gep(marks, [number]))
                mark = builder.icmp_unsigned("!=", byte, ir.Constant(_I8, 0))
            self._add(self.adjoints[j], ct, mark)

    def _pointer(self, address: Any, kind: Any) -> Any:
        return self.builder.inttoptr(address, kind.as_pointer())

    def _add(self, adjoint: _Adjoint, part: Any, touched: Any) -> None:
        builder = self.builder
        if self.careful:
            part = builder.select(touched, part, _number(-0.0))  # neutral in a sum
            known = adjoint.touched
            adjoint.touched = touched if known is None else builder.or_(known, touched)
        adjoint.value = part if adjoint.value is None else builder.fadd(adjoint.value, part)

    def generate(self) -> None:
        """Generate the pass."""
        for j in reversed(range(len(self.block.statements))):
            if self.adjoints[j].value is not None:
                self._statement(j)
        builder = self.builder
        for number, adjoint in zip(self.numbers, self.operands, strict=True):
            if adjoint.value is not None:
                place = builder.gep(self.cts, [number])
                builder.store(builder.fadd(builder.load(place), adjoint.value), place)

    def _statement(self, j: int) -> None:
        rule, s, adjoint = self.block.rules[j], self.block.statements[j], self.adjoints[j]
        parts = rule.cotangents(  # code is generated where a value is needed
            partial(emitter.emit, self.builder), adjoint.value,
            lambda: self.values.statement(j), lambda i: self.values.of(s.operands[i]), _number,
            {slot: self.values.statement(k) for slot, k in self.block.shared[j].items()},
        )  # fmt: skip
        for i, part in parts.items():
            x = s.operands[i]
            if self.block.is_active(x):
                group = self.adjoints if x.kind == "statement" else self.operands
                self._add(group[x.value], part, adjoint.touched)


# --------------------------------------------------------------------------- description
def _description(block: ScalarBlock) -> list[int]:
    """The words of the table (``D_*``)."""
    numbers: list[float] = []

    def reference(x: BlockOperand) -> int:
        if x.kind == "in":
            return int(x.value)
        if x.kind == "statement":
            return sf.D_STATEMENT + int(x.value)
        numbers.append(x.value)
        return sf.D_NUMBER + len(numbers) - 1

    rows: list[int] = []
    place = {j: i for i, j in enumerate(block.outs)}
    for j, s in enumerate(block.statements):
        rows += template_words(codes_of(TABLE[s.name]), [reference(x) for x in s.operands])
        rows += [code_of(s.name, block.code(s).kinds), place.get(j, -1)]
    passive = [0, 0]
    for i, active in enumerate(block.active):
        passive[i >> 6] |= (not active) << (i & 63)
    sizes = block.slots, len(block.active), len(block.outs), len(block.statements)
    bits = [struct.unpack("<q", struct.pack("<d", x))[0] for x in numbers]
    masks = _dependent(block)
    return [*sizes, *map(_signed, passive), *masks, *rows, *bits]


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word


def _dependent(block: ScalarBlock) -> list[int]:
    """For each operand, as bits, the results that have a derivative by it."""
    masks = [0] * len(block.statements)
    for i, j in enumerate(block.outs):
        masks[j] |= 1 << i
    ins = [0] * len(block.active)
    for j in reversed(range(len(block.statements))):
        for i in block.rules[j].results:
            x = block.statements[j].operands[i]
            if x.kind == "statement":
                masks[x.value] |= masks[j]
            elif x.kind == "in" and block.active[x.value]:
                ins[x.value] |= masks[j]
    return ins


# --------------------------------------------------------------------------- recording
class BlockLowering:
    """Generator of a block's code, which numba calls."""

    def __init__(self, block: ScalarBlock) -> None:
        self.block = block

    def __call__(self, context: Any, builder: Any, sig: Any, args: Any) -> Any:
        """Generate the code that computes and records the block."""
        block = self.block
        ins = [Scalar(context, builder, k, v) for k, v in zip(sig.args, args, strict=True)]
        values = _BlockValues(context, builder, block, [x.value for x in ins])
        results = [values.statement(j) for j in block.outs]
        active = [x for x in ins if x.is_active]
        recorder, some, lowest = active[0].recorder, None, active[0].number
        for x in active:
            on = emit.is_on_strip(builder, x.number)
            some = on if some is None else builder.or_(some, on)
        for x in active[1:]:
            recorder = builder.or_(recorder, x.recorder)
            lowest = builder.or_(lowest, x.number)
        first = emit.choose(
            builder, some,
            lambda: self._record(context, builder, recorder, ins, lowest, results),
            lambda: _integer(-1),
        )  # fmt: skip
        passive = builder.icmp_signed("<", first, _integer(0))
        parts = []
        for i in range(len(block.live)):
            number = builder.select(passive, first, builder.add(first, _integer(i)))
            parts.append(active_scalar(context, builder, results[i], number, recorder))
        return context.make_tuple(builder, sig.return_type, parts)

    def _record(
        self, context: Any, builder: Any, recorder: Any, ins: list[Any], lowest: Any,
        results: list[Any],
    ) -> Any:  # fmt: skip
        """Append the block to the recorder; the number of its first result."""
        block = self.block
        places = [cgutils.alloca_once(builder, _I64) for _ in ins]
        for place, x in zip(places, ins, strict=True):
            if x.is_active:
                builder.store(x.number, place)
        with builder.if_then(builder.icmp_signed("<", lowest, _integer(0)), likely=False):
            for place, x in zip(places, ins, strict=True):
                if x.is_active:
                    self._give_number(context, builder, recorder, place, x)
        numbers = []
        for place, x in zip(places, ins, strict=True):
            if x.is_active:
                numbers.append(builder.load(place))
            else:
                numbers.append(self._constant(context, builder, recorder, x.value))
        numbers += [_integer(0)] * (2 * block.slots - 1 - len(ins))
        numbers.append(self._block_number(context, builder))
        words = [
            emit.operand_word(builder, numbers[2 * i], numbers[2 * i + 1])
            for i in range(block.slots)
        ]
        values = results + [_number(0.0)] * (block.slots - len(results))
        codes = [sf.CODE_EXTRA] * (block.slots - 1) + [sf.CODE_BLOCK]
        return emit.record_all(context, builder, recorder, values, words, codes)

    @staticmethod
    def _give_number(context: Any, builder: Any, recorder: Any, place: Any, x: Any) -> None:
        absent = builder.icmp_signed("<", x.number, _integer(0))
        with builder.if_then(absent, likely=False):
            number = emit.call_entry(context, builder, sf.E_PASSIVE, [recorder, x.value])
            builder.store(number, place)

    @staticmethod
    def _constant(context: Any, builder: Any, recorder: Any, value: Any) -> Any:
        """The number of a passive operand: that of the last round of a loop, if it is still the same."""
        known = cgutils.alloca_once(builder, _I64)  # a number, plus 1; 0 at entry
        last = cgutils.alloca_once(builder, _I64)
        bits = builder.bitcast(value, _I64)
        before = builder.load(known)
        is_known = builder.icmp_signed("!=", before, _integer(0))
        same = builder.icmp_signed("==", bits, builder.load(last))

        def record() -> Any:
            number = emit.record_constant(context, builder, recorder, value)
            builder.store(builder.add(number, _integer(1)), known)
            builder.store(bits, last)
            return number

        return emit.choose(
            builder, builder.and_(is_known, same),
            lambda: builder.sub(before, _integer(1)), record,
        )  # fmt: skip

    # ------------------------------------------------------------------ for the sweep
    def _block_number(self, context: Any, builder: Any) -> Any:
        """The block's number in this process, which the module keeps once it is known."""
        module = builder.module
        words = _description(self.block)
        digest = hashlib.sha256(repr(words).encode()).hexdigest()[:24]
        name = f"tapegrad.block.{digest}"
        place = module.globals.get(name)
        if place is None:
            place = ir.GlobalVariable(module, _I64, name)
            place.linkage, place.initializer = "internal", _integer(-1)
        function = self._reverse_function(context, module, f"{name}.reverse")
        description = module.globals.get(f"{name}.description")
        if description is None:
            kind = ir.ArrayType(_I64, len(words))
            description = ir.GlobalVariable(module, kind, f"{name}.description")
            description.linkage, description.global_constant = "internal", True
            description.initializer = ir.Constant(kind, words)
        slot = cgutils.alloca_once(builder, _I64)
        builder.store(builder.load(place), slot)
        unknown = builder.icmp_signed("<", builder.load(slot), _integer(0))
        with builder.if_then(unknown, likely=False):
            addresses = [builder.ptrtoint(function, _I64), builder.ptrtoint(description, _I64)]
            number = emit.call_entry(context, builder, sf.E_BLOCK, addresses, _TOO_MANY)
            builder.store(number, place)
            builder.store(number, slot)
        return builder.load(slot)

    def _reverse_function(self, context: Any, module: Any, name: str) -> Any:
        """``(values, cotangents, constants, words, first result, touched)``, in numba's convention."""
        known = module.globals.get(name)
        if known is not None:
            return known
        kind = context.call_conv.get_function_type(types.int64, (types.int64,) * 6)
        function = ir.Function(module, kind, name)
        function.linkage = "internal"
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        args = list(function.args[2:])
        quick = builder.icmp_signed("==", args[5], _integer(0))
        with builder.if_else(quick, likely=True) as (then, otherwise):
            with then:
                _Reverse(context, builder, self.block, args, careful=False).generate()
            with otherwise:
                _Reverse(context, builder, self.block, args, careful=True).generate()
        context.call_conv.return_value(builder, _integer(0))
        return function
