"""The opcodes of strips as LLVM code: a switch with a case each, which the sweeps' kernels call (sweeps.py).

A case reads the operands of a statement of the strip, and runs the row (`write_primals`), or its rule
(`write_cotangents`), through the emitter of ops/emitter.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from ..ops.emitter import emit
from ..ops.table import Op
from . import abi as sf
from .opcodes import Code, Rule, codes, is_truth

__all__ = ["write_cotangents", "write_primals"]

_I64, _F64 = ir.IntType(64), ir.DoubleType()


class _Statement:
    """A statement of a strip that a sweep has come to.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    words : llvmlite.ir.Value
        Address of the word of its operands; the word before has a third operand, or attributes.
    number : llvmlite.ir.Value
        Its own number.
    values, table : llvmlite.ir.Value
        Addresses of the strip's values and constants.
    """

    def __init__(self, builder: Any, *places: Any) -> None:
        words, number, values, table = places
        self.builder, self.number = builder, number
        self._words = builder.inttoptr(words, _I64.as_pointer())
        self._values, self._table = self.pointer(values), self.pointer(table)
        self._halves = self._halves_of(0)

    def pointer(self, address: Any) -> Any:
        """An address of numbers as a pointer."""
        return self.builder.inttoptr(address, _F64.as_pointer())

    def _halves_of(self, offset: int) -> tuple[Any, Any]:
        """The two numbers in a word of operands."""
        builder = self.builder
        word = builder.load(builder.gep(self._words, [ir.Constant(_I64, offset)]))
        low = builder.and_(word, ir.Constant(_I64, 0xFFFFFFFF))
        return low, builder.lshr(word, ir.Constant(_I64, 32))

    def numbers(self, code: Code) -> tuple[Any, ...]:
        """The numbers of its operands."""
        if len(code.kinds) < 3:
            return self._halves
        return (*self._halves, self._halves_of(-1)[0])

    def attributes(self, code: Code) -> tuple[Any, ...]:
        """Its attributes, as words."""
        count = len(code.op.parameters)
        return self._halves_of(-1)[:count] if count else ()

    def adder(self, word: Any) -> Callable[[int], Any]:
        """Return a function that adds a number to a word."""
        return lambda n: self.builder.add(word, ir.Constant(_I64, n))

    def value(self, number: Any) -> Any:
        """The strip's value of a number."""
        return self.builder.load(self.builder.gep(self._values, [number]))

    def operand(self, code: Code, i: int, number: Any) -> Any:
        """The value of an operand as its row takes it."""
        if code.kinds[i] == "k":
            x = self.builder.load(self.builder.gep(self._table, [number]))
        else:
            x = self.value(number)
        if code.op.result == "bits" or (code.op.name == "where" and i == 0):
            return self.builder.fcmp_unordered("!=", x, ir.Constant(_F64, 0.0))
        return x

    def store(self, value: Any) -> None:
        """Make a number the strip's value of this statement."""
        self.builder.store(value, self.builder.gep(self._values, [self.number]))

    def copy_constant(self) -> None:
        """Make a constant the strip's value of this statement."""
        self.store(self.builder.load(self.builder.gep(self._table, [self._halves[0]])))

    def emit(self, entry: Op, values: list[Any], attributes: Any = ()) -> Any:
        """Write the primal of a row."""
        return emit(self.builder, entry, values, attributes)


def _switch(builder: Any, code: Any, cases: dict[int, Callable[[], None]]) -> None:
    """Write a switch over opcodes, with a jump table; other codes do nothing."""
    end = builder.append_basic_block("end")
    switch = builder.switch(code, end)
    for number, write in cases.items():
        block = builder.append_basic_block(f"code.{number}")
        switch.add_case(ir.Constant(code.type, number), block)
        builder.position_at_end(block)
        write()
        builder.branch(end)
    builder.position_at_end(end)


def _cases(write: Callable[[Code], None]) -> dict[int, Callable[[], None]]:
    def case(code: Code) -> Callable[[], None]:
        return lambda: write(code)

    return {number: case(code) for number, code in enumerate(codes()) if code is not None}


def write_primals(builder: Any, *args: Any) -> None:
    """Write the switch of the forward sweep.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    *args : llvmlite.ir.Value
        Opcode, then what `_Statement` takes.
    """
    statement = _Statement(builder, *args[1:])

    def write(code: Code) -> None:
        numbers = statement.numbers(code)
        values = [statement.operand(code, i, numbers[i]) for i in range(len(code.kinds))]
        result = statement.emit(code.op, values, statement.attributes(code))
        statement.store(builder.uitofp(result, _F64) if is_truth(code.op) else result)

    cases = _cases(write)
    cases[sf.CODE_CONSTANT] = statement.copy_constant
    _switch(builder, args[0], cases)


def write_cotangents(builder: Any, *args: Any, exact: bool) -> None:
    """Write the switch of a reverse sweep.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    *args : llvmlite.ir.Value
        Opcode, what `_Statement` takes, the statement's cotangent, and the address of all of them.
    exact : bool
        True to add 0.0 to each part, which so is never -0.0.
    """
    code_number, *places, ct, adjoints = args
    statement = _Statement(builder, *places)
    adjoints = statement.pointer(adjoints)

    def write(code: Code) -> None:
        rule = Rule(code)
        if not rule.results:
            return
        numbers = statement.numbers(code)
        parts = rule.cotangents(
            statement.emit, ct, lambda: statement.value(statement.number),
            lambda i: statement.operand(code, i, numbers[i]), lambda x: ir.Constant(_F64, x),
            attributes=list(map(statement.adder, statement.attributes(code))),
        )  # fmt: skip
        for i, part in parts.items():
            value = builder.fadd(part, ir.Constant(_F64, 0.0)) if exact else part
            place = builder.gep(adjoints, [numbers[i]])
            builder.store(builder.fadd(builder.load(place), value), place)

    _switch(builder, code_number, _cases(write))
