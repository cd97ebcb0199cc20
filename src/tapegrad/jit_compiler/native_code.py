"""LLVM code of C functions that run compiled tapes.

A C function takes numbers and addresses, makes a table of addresses and memory for temporaries (on the
stack, or from ``malloc`` if they are large), and calls the code of a tape. So any number of threads may be
in it. What it needs of this process is behind one symbol, its *context*: the address of the code, of slower
code for numbers outside of the range of formulas, of the C function itself and of the one of another way that
the function may go, and the table as it is before addresses are put in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from llvmlite import ir

from ..base.dtypes import bool_, dtype
from .code import OUTSIDE
from .formulas import F64, I1, I8, I64, value_type

__all__ = [
    "CALL",
    "CODE",
    "CONTEXT_HEAD",
    "FORMS",
    "NEXT",
    "OTHER_WAY",
    "SLOW",
    "STATEMENT_FAILED",
    "WITHOUT_MEMORY",
    "Guard",
    "Plan",
    "Value",
    "c_types",
    "write_call",
    "write_form",
]  # fmt: skip

#: what a C function returns but 0
OTHER_WAY, STATEMENT_FAILED, WITHOUT_MEMORY = 1, 2, 3
#: words of a context in front of the table
CODE, SLOW, CALL, NEXT, CONTEXT_HEAD = range(5)
#: bytes of the stack for a table and temporaries, which threads have little of
STACK = 1 << 14
I32 = ir.IntType(32)
_P8, _P64, _F64P = (x.as_pointer() for x in (I8, I64, F64))


class Value(NamedTuple):
    """An argument or a result of a C function.

    Attributes
    ----------
    kind : dtype
    shape : tuple of int
    word : int
        Of the table, for its address.
    """

    kind: dtype
    shape: tuple[int, ...]
    word: int

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for n in self.shape:
            size *= n
        return size


class Guard(NamedTuple):
    """A value that has to be what it was: words of the table and the context for both, and its bytes."""

    word: int
    known: int
    span: int


class Plan(NamedTuple):
    """All that the code of a C function depends on.

    Attributes
    ----------
    words : int
        Length of the table.
    size : int
        Bytes of memory for temporaries.
    arguments, results : tuple of Value
    guards : tuple of Guard
    """

    words: int
    size: int
    arguments: tuple[Value, ...]
    results: tuple[Value, ...]
    guards: tuple[Guard, ...]


def memory_type(kind: dtype) -> Any:
    """LLVM's type of a number in memory, and as an argument."""
    return I8 if kind is bool_ else value_type(kind)


def _number(x: int) -> Any:
    return ir.Constant(I64, x)


def _at(builder: Any, pointer: Any, number: int) -> Any:
    return builder.gep(pointer, [_number(number)])


def _external(module: Any, name: str, result: Any, *arguments: Any) -> Any:
    known = module.globals.get(name)
    return known or ir.Function(module, ir.FunctionType(result, arguments), name)


def _context(builder: Any, name: str) -> Any:
    module = builder.module
    value = module.globals.get(name) or ir.GlobalVariable(module, I64, name)
    return builder.bitcast(value, _P64)


def c_types(plan: Plan) -> list[Any]:
    """LLVM's types of the operands of the C function: numbers by value, the rest by address."""
    kinds = [memory_type(x.kind) for x in plan.arguments]
    given = [
        k if not x.shape else k.as_pointer() for k, x in zip(kinds, plan.arguments, strict=True)
    ]
    return given + [memory_type(x.kind).as_pointer() for x in plan.results]


def write_call(module: Any, symbol: str, plan: Plan, context_symbol: str) -> None:
    """Write the C function of a compiled tape: arguments, then addresses for results; a status."""
    function = ir.Function(module, ir.FunctionType(I32, c_types(plan)), symbol)
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("start"))
    context = _context(builder, context_symbol)
    spans = [(guard.span + 63) & ~63 for guard in plan.guards]
    memory_size = plan.size + sum(spans)
    whole = 8 * plan.words + memory_size + 64
    block = None
    if whole <= STACK:
        table = builder.alloca(I64, plan.words)
        memory = builder.alloca(I8, memory_size + 64)
    else:
        malloc = _external(module, "malloc", _P8, I64)
        block = builder.call(malloc, [_number(whole)])
        is_missing = builder.icmp_unsigned("==", block, ir.Constant(_P8, None))
        with builder.if_then(is_missing, likely=False):
            builder.ret(ir.Constant(I32, WITHOUT_MEMORY))
        table = builder.bitcast(block, _P64)
        memory = _at(builder, block, 8 * plan.words)
    start = builder.and_(builder.add(builder.ptrtoint(memory, I64), _number(63)), _number(~63))
    _copy(builder, table, _at(builder, context, CONTEXT_HEAD), plan.words)

    def put(word: int, value: Any) -> None:
        if value.type != I64:
            value = builder.ptrtoint(value, I64)
        builder.store(value, _at(builder, table, word))

    put(1, start)
    arguments = function.args[: len(plan.arguments)]
    for x, value in zip(plan.arguments, arguments, strict=True):
        if not x.shape:
            place = builder.alloca(value.type)
            builder.store(value, place)
            value = place
        put(x.word, value)
    for x, value in zip(plan.results, function.args[len(arguments) :], strict=True):
        put(x.word, value)
    offset, values = plan.size, []
    for guard, span in zip(plan.guards, spans, strict=True):
        values.append(builder.add(start, _number(offset)))
        put(guard.word, values[-1])
        offset += span
    status = builder.alloca(I32)
    builder.store(_run(builder, context, table), status)
    _compare(builder, context, plan.guards, values, status)
    if block is not None:
        builder.call(_external(module, "free", ir.VoidType(), _P8), [block])
    if plan.guards:
        _go_on(builder, context, function, status)
    builder.ret(builder.load(status))


def _copy(builder: Any, target: Any, source: Any, words: int) -> None:
    copy = builder.module.declare_intrinsic("llvm.memcpy", [_P8, _P8, I64])
    places = [builder.bitcast(x, _P8) for x in (target, source)]
    builder.call(copy, [*places, _number(8 * words), ir.Constant(I1, 0)])


def _run(builder: Any, context: Any, table: Any) -> Any:
    """Run the code, and the slower code where that is needed; the status."""
    kind = ir.FunctionType(I64, [_P64]).as_pointer()

    def call(word: int) -> Any:
        code = builder.load(_at(builder, context, word))
        return builder.call(builder.inttoptr(code, kind), [table])

    report = builder.alloca(I64)
    builder.store(call(CODE), report)
    outside = builder.icmp_signed("==", builder.load(report), _number(OUTSIDE))
    with builder.if_then(outside, likely=False):
        builder.store(call(SLOW), report)
    fine = builder.icmp_signed("==", builder.load(report), _number(0))
    return builder.select(fine, ir.Constant(I32, 0), ir.Constant(I32, STATEMENT_FAILED))


def _compare(
    builder: Any, context: Any, guards: Sequence[Guard], values: Sequence[Any], status: Any
) -> None:
    """Compare the values that the function read with those that it had."""
    if not guards:
        return
    compare = _external(builder.module, "memcmp", I32, I64, I64, I64)
    for guard, value in zip(guards, values, strict=True):
        known = builder.load(_at(builder, context, guard.known))
        order = builder.call(compare, [value, known, _number(guard.span)])
        differs = builder.icmp_signed("!=", order, ir.Constant(I32, 0))
        fine = builder.icmp_signed("==", builder.load(status), ir.Constant(I32, 0))
        with builder.if_then(builder.and_(differs, fine), likely=False):
            builder.store(ir.Constant(I32, OTHER_WAY), status)


def _go_on(builder: Any, context: Any, function: Any, status: Any) -> None:
    """Call the function of another way, if there is one and this was not the right one."""
    other, code_status = builder.load(_at(builder, context, NEXT)), builder.load(status)
    failed = builder.icmp_signed("!=", code_status, ir.Constant(I32, 0))
    is_there = builder.icmp_signed("!=", other, _number(0))
    with builder.if_then(builder.and_(failed, is_there), likely=False):
        other = builder.inttoptr(other, function.type)
        result = builder.call(other, function.args)
        is_right = builder.icmp_signed("==", result, ir.Constant(I32, 0))
        is_larger = builder.icmp_signed(
            ">", result, code_status
        )  # a failure may be the reason, then
        builder.store(builder.select(builder.or_(is_right, is_larger), result, code_status), status)


# --------------------------------------------------------------------------- what SciPy calls
#: forms of the functions that SciPy takes, and the types of their operands: the numbers come first
FORMS: dict[str, tuple[Any, ...]] = {
    "double (double)": (F64,),
    "double (double, void *)": (F64, _P8),
    "double (int, double *)": (I32, _F64P),
    "double (int, double *, void *)": (I32, _F64P, _P8),
    "int (double *, npy_intp, double *, void *)": (_F64P, I64, _F64P, _P8),
    "int (double *, npy_intp, double *, npy_intp, void *)": (_F64P, I64, _F64P, I64, _P8),
    "int (npy_intp *, double *, int, int, void *)": (_P64, _F64P, I32, I32, _P8),
}


def write_form(
    module: Any, symbol: str, plan: Plan, context_symbol: str, *, form: str, with_data: bool
) -> None:
    """Write a function of a form: numbers, one behind the other, are the arguments of the C function.

    It returns NaN, or 0 in the place of 1, where that one returns a status, or where there are more or fewer
    numbers than the arguments have elements. With data, the last argument is there.
    """
    types = FORMS[form]
    returns_number = form.startswith("double")
    function = ir.Function(module, ir.FunctionType(F64 if returns_number else I32, types), symbol)
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("start"))
    failure = ir.Constant(F64, math.nan) if returns_number else ir.Constant(I32, 0)
    given = [*function.args]
    data = given.pop() if types[-1] == _P8 else None
    arguments = plan.arguments[:-1] if with_data else plan.arguments
    lengths = [(x, sum(y.size for y in arguments)) for x in given if x.type in (I32, I64)]
    pointers = [x for x in given if x.type not in (F64, I32, I64)]
    if given[0].type == F64:
        pointers = [builder.alloca(F64)]
        builder.store(given[0], pointers[0])
    if len(lengths) == 2:  # of the numbers and of the result, in either order
        places = (0, 1) if types[1] == I64 else (1, 0)
        lengths[places[1]] = lengths[places[1]][0], plan.results[0].size
    for x, length in lengths:
        differs = builder.icmp_signed("!=", x, ir.Constant(x.type, length))
        with builder.if_then(differs, likely=False):
            builder.ret(failure)
    offset, operands = 0, []
    for value in plan.arguments:
        place = _at(builder, pointers[0], offset) if value in arguments else data
        place = builder.bitcast(place, memory_type(value.kind).as_pointer())
        operands.append(place if value.shape else builder.load(place))
        offset += value.size
    result = pointers[1] if len(pointers) > 1 else builder.alloca(F64)
    kind = ir.FunctionType(I32, c_types(plan)).as_pointer()
    code = builder.load(_at(builder, _context(builder, context_symbol), CALL))
    status = builder.call(builder.inttoptr(code, kind), [*operands, result])
    fine = builder.icmp_signed("==", status, ir.Constant(I32, 0))
    success = builder.load(result) if returns_number else ir.Constant(I32, 1)
    builder.ret(builder.select(fine, success, failure))
