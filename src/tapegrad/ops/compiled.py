"""Statements whose kernel is a compiled tape, which jit_compiler/routine.py makes.

The attribute `routine` says where the tape's code is and what it needs: its operands may be more than a step
has, so steps of their own write addresses into scratch memory. All results lie in one, flat where they are
several. The derivative is a statement of the same kind, with the compiled pullback: it gives the cotangents
of all operands at once, which the reverse sweep asks for one by one. So code that has run for a statement
already, with its result in scratch memory, does not run again (`T_ONCE`).

A tape whose one result is a number is run with its gradient, as that of a loss will be asked for. Then
``compiled_number`` takes the operands, and behind them number and gradients: it is the number, and the sweep
multiplies its cotangent with the gradients. Passes that are recorded have the compiled pullback.

``python_call`` is the same with a function of Python's in the place of a tape (njit_compiler/python_call.py).
It may raise, so its step is a checked one, and the routine knows the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..native import abi as nt
from ..native.ufunc_loops import native_kernel, native_kernel_address, ufunc_loop
from ..native.words import call_code, call_void, helper, p64
from .layout import Layout, contiguous
from .program import ADJOINT, CT, ONCE, POOL, SCRATCH, Operand, Step, arg, packed, padded
from .table import Failure, Lowered, Op, copy_loop, op, out_operand

__all__ = ["OUTSIDE", "parts_of"]

#: returned where a number was outside of the range of a formula: slower code has to do it all again
OUTSIDE = -1

#: what `run_routine` reads: code, and code that is right for all numbers, the table that a run copies,
#: its words
#: and bytes, inputs, the word of the first one, results, where to report a failure, then two words for each
CODE, SLOW, TABLE_AT, WORDS, BYTES, INPUTS, FIRST, RESULTS, REPORT, PLACES = range(10)
#: operands of a step, beside the place that addresses are written to
_BOUND = nt.MAX_OPERANDS - 1


@native_kernel
def bind_addresses(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Write addresses of operands to the first one; `data`: the first number, and how many."""
    d, a = p64(data), p64(args)
    for i in range(d[1]):
        p64(a[0])[d[0] + i] = a[1 + i]


@native_kernel
def run_routine(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Run a compiled tape on the addresses of `bind_addresses`, the memory behind them, and a result.

    `data`: CODE and what follows it, then for each result its word of the table and its offset in the result.
    """
    d, memory = p64(data), p64(args)[2]
    if is_to_run(args, data) and call_code(d[CODE], memory) != 0:
        call_code(d[SLOW], memory)


def run_checked(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Run a compiled tape with statements that may fail, as `run_routine` does; 0, or 1 if one has failed.

    Then the code's status and the number of the statement's word are where `data` says.
    """
    d, memory = p64(data), p64(args)[2]
    if is_to_run(args, data):
        status = call_code(d[CODE], memory)
        if status == OUTSIDE:
            status = call_code(d[SLOW], memory)
        if status != 0:
            report, once = p64(d[REPORT]), p64(args)[0]
            report[0], report[1] = status, p64(memory)[0]
            if once != 0:
                p64(once)[0] = 0
            return np.int64(1)
    return np.int64(0)


native_kernel(run_checked, checked=True)


def run_python(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Call a function of Python's, as `run_routine` does; 0, or 1 if it has raised an error.

    It sets the first word of the table to 0 at its end.
    """
    memory = p64(args)[2]
    if is_to_run(args, data):
        call_void(p64(data)[CODE], memory)
        if p64(memory)[0] != 0:
            return np.int64(1)
    return np.int64(0)


native_kernel(run_python, checked=True)


@helper
def is_to_run(args, data):  # type: ignore[no-untyped-def]
    """Fill the table; 0 if the result is there already."""
    d, a = p64(data), p64(args)
    once = a[0]
    if once != 0:
        if p64(once)[0] == data:
            return False
        p64(once)[0] = data
    inputs, memory, out = p64(a[1]), a[2], a[3]
    table, words = p64(memory), p64(d[TABLE_AT])
    for i in range(d[WORDS]):
        table[i] = words[i]
    table[1] = memory + d[BYTES]
    for i in range(d[INPUTS]):
        table[d[FIRST] + i] = inputs[i]
    for i in range(d[RESULTS]):
        table[d[PLACES + 2 * i]] = out + d[PLACES + 2 * i + 1]
    return True


_KERNELS = {
    "compiled": "run_routine",
    "compiled_checked": "run_checked",
    "python_call": "run_python",
}


def _lower(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    routine = attrs["routine"]
    assert layouts == routine.inputs
    addresses = Operand(SCRATCH, 0, ())
    kernel = native_kernel_address("bind_addresses")
    steps = []
    for first in range(0, len(layouts), _BOUND):
        numbers = range(first, min(first + _BOUND, len(layouts)))
        data = POOL.put((first, len(numbers)))
        steps.append(Step((kernel, data), (), (addresses, *[arg(i, ()) for i in numbers])))
    start = padded(8 * len(layouts))
    operands = (
        Operand(ONCE, 0, ()), addresses, Operand(SCRATCH, start, ()),
        out_operand(len(layouts), routine.out)._replace(strides=()),
    )  # fmt: skip
    may_fail = entry.failure is not None
    run = native_kernel_address(_KERNELS[entry.name])
    steps.append(Step((run, routine.address), (), operands, checked=may_fail))
    return Lowered((routine.out,), tuple(steps), start + routine.bytes)


def parts_of(whole: Any, layouts: Sequence[Layout]) -> list[Any]:
    """Return the parts of a routine's result, which is flat if they are several."""
    if len(layouts) == 1:
        return [whole]
    parts, start = [], 0
    for x in layouts:
        parts.append(whole[start : start + x.size].reshape(x.shape))
        start += x.size
    return parts


def _vjp(ct: Any, *operands: Any, routine: Any) -> tuple[Any, ...]:
    operands = operands[:-1]  # the last is the result
    pullback = routine.pullback
    if pullback is None:
        return (None,) * len(operands)
    given = (*operands, *parts_of(ct, routine.results))
    whole = given[0]._apply(pullback.row, *given[1:], routine=pullback)
    cotangents = dict(zip(routine.reached, parts_of(whole, pullback.results), strict=True))
    return tuple([cotangents.get(i) for i in range(len(operands))])


# --------------------------------------------------------------------------- numbers
def _lower_number(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    out = contiguous(layouts[-1].dtype, ())
    place = out_operand(len(layouts), out)
    return Lowered((out,), (Step(copy_loop(out.dtype), (), (arg(len(layouts) - 1, ()), place)),))


def _number_programs(instruction: Any, rows: Any) -> None:
    """Cotangents of the operands: gradients times that of the number."""
    routine, kind = instruction.attrs["routine"], instruction.out.dtype
    last = len(instruction.layouts) - 1
    add, start = native_kernel_address("muladd", kind), kind.itemsize
    product = ufunc_loop(np.multiply, (kind,) * 3)
    for number in routine.reached:
        x, row = instruction.layouts[number], rows[number]
        gradient = arg(last, contiguous(kind, x.shape).strides, start)
        start += x.size * kind.itemsize
        ct, adjoint = Operand(CT, 0, (0,) * x.ndim), Operand(ADJOINT, 0, x.strides)
        row[nt.V_ASSIGN] = packed([Step(product, x.shape, (ct, gradient, adjoint))])
        row[nt.V_ACCUMULATE] = packed([Step((add, 0), x.shape, (ct, gradient, adjoint, adjoint))])
        row[nt.V_MASK] = (1 << len(instruction.layouts)) - 1  # a recorded pass reads the operands
        row[nt.V_REDUCES], row[nt.V_EXISTS] = x.overlaps, 1


op(
    "compiled_number", lower=_lower_number, arity=0, torch=None, private=True, lift="never",
    vjp=lambda ct, *operands, routine: (*_vjp(ct, *operands[:-2], None, routine=routine), None),
    grad_fn="CompiledFunctionBackward", has_code=True, programs=_number_programs,
)  # fmt: skip
op(
    "compiled", lower=_lower, arity=0, of_complex="plain", torch=None, vjp=_vjp, private=True, lift="never",
    grad_fn="CompiledFunctionBackward", has_code=True,
)  # fmt: skip
op(
    "compiled_checked", lower=_lower, arity=0, of_complex="plain", torch=None, vjp=_vjp, private=True,
    lift="never",
    grad_fn="CompiledFunctionBackward", has_code=True,
    failure=Failure("a statement of compiled code failed", attribute="routine"),
)  # fmt: skip


# --------------------------------------------------------------------------- Python
op(
    "python_call", lower=_lower, arity=0, of_complex="plain", torch=None, vjp=_vjp, private=True,
    lift="call", grad_fn="PythonCallBackward", has_code=True,
    failure=Failure("the function raised an error", attribute="routine"),
)  # fmt: skip
