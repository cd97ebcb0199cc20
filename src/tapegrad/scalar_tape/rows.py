"""Strips: one statement of the tape that holds many scalar statements.

A call of a `@tg.njit` function records its scalar operations natively, as a flat Wengert list of its
own, a *strip*. Its parts are three passive values on the tape (``strip_data``, in memory that was the
recorder's): a *table* of words (``B_*``), constants and places of results; operands, two numbers
in a word; and opcodes, 16 bits each. Statements:

- ``strip_head`` joins the inputs;
- ``strip`` takes a contiguous float64 vector (the inputs, the *head*) and those; its value is the vector
  of all values: the head, then the result of each scalar statement;
- ``strip_result`` takes that vector and the table; it copies out one result.

So a strip's size and contents are data, and instructions (which are interned for ever) depend on sizes
only, which `rounded` makes few. Scalar statement ``j`` has number ``head + j``; its operands are numbers
of values, or of words of the table where the code says so (opcodes.py).

In a strip's vector of adjoints, -0.0 stands for *untouched*: it is neutral in a sum. What is touched never
is -0.0 there, as 0.0 is added wherever a cotangent enters such a vector: from a result's tensor, or from a
reverse pass in whose head the vector is. (A result of that pass is such a vector, an ``inner`` one, as well.)
So the numbers that cotangents were added to are those that are reached, whatever the cotangents are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..base.dtypes import float64, int64
from ..native import abi as nt
from ..ops.layout import Layout, contiguous
from ..ops.program import ADJOINT, CT, POOL, SCRATCH, Operand, Step, arg, packed
from ..ops.table import Lowered, Op, copy_loop, op, out_operand

__all__ = ["KERNELS", "rounded"]

#: functions that load a generated kernel and return its address; sweeps.py puts them here
KERNELS: dict[str, Callable[[], int]] = {}


def _reverse(adds: int, recorded: bool) -> tuple[int, int]:
    """The kernel of the reverse sweep and its data: 1 if it adds, and tables by opcode (and of blocks)."""
    if not recorded:
        return KERNELS["exact"](), POOL.put((adds, KERNELS["simple"]()))
    words = adds, KERNELS["active_operands"](), KERNELS["simple"](), KERNELS["blocks"]()
    return KERNELS["reverse"](), POOL.put(words)


def rounded(count: int) -> int:
    """The next of a few sizes: multiples of 8, eight between powers of two."""
    if count <= 64:
        return max(-(-count // 8) * 8, 8)
    step = 1 << (count - 1).bit_length() - 4
    return -(-count // step) * step


def _vector(number: int) -> Operand:
    return arg(number, ())


def _lower_data(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    return Lowered((contiguous(int64, (attrs["words"],)),), ())


def _result(nargs: int, layout: Layout) -> Operand:
    return Operand(out_operand(nargs, layout).ref, 0, ())


def _lower_strip(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    out = contiguous(float64, (layouts[0].size + layouts[2].size,))
    if attrs["recorded"]:  # the values are there
        return Lowered((out,), ())
    operands = *map(_vector, range(4)), _result(4, out)
    return Lowered((out,), (Step((KERNELS["forward"](), 0), (), operands),))


def _lower_result(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    out = contiguous(float64, attrs["shape"])
    kernel = KERNELS["result"](), POOL.put((attrs["number"], out.size))
    operands = _vector(0), _vector(1), _result(2, out)
    return Lowered((out,), (Step(kernel, (), operands),))


def _spread(attrs: dict[str, Any], size: int, count: int, clears: bool) -> tuple[int, int]:
    """The kernel that adds a result's cotangents, `size` numbers, to a strip's, `count`, and its data."""
    words = attrs["number"], size, int(clears), count, int(attrs["inner"])
    return KERNELS["spread"](), POOL.put(words)


def _lower_spread(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    out = layouts[1]
    kernel = _spread(attrs, layouts[0].size, out.size, clears=True)
    operands = _vector(0), _vector(2), _result(3, out)
    return Lowered((out,), (Step(kernel, (), operands),))


def _lower_adjoint(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Like the sweep of `_strip_programs`, on a copy."""
    ct, head = layouts[:2]
    copy = Operand(SCRATCH, 0, (8,))
    operands = Operand(SCRATCH, 0, ()), *map(_vector, (5, 2, 3, 4)), _result(6, head)
    kernel = _reverse(0, attrs["recorded"])
    steps = (
        Step(copy_loop(float64), ct.shape, (arg(0, ct.strides), copy)),
        Step(kernel, (), operands),
    )
    return Lowered((contiguous(float64, head.shape),), steps, ct.span)


def _strip_programs(instruction: Any, rows: Any) -> None:
    """The sweep of a strip: in place over its adjoints, then those of the head go to the operand."""
    row = rows[0]
    row[nt.V_EXISTS] = 1
    operands = Operand(CT, 0, ()), *map(_vector, (4, 1, 2, 3)), Operand(ADJOINT, 0, ())
    for column, adds in ((nt.V_ASSIGN, 0), (nt.V_ACCUMULATE, 1)):
        kernel = _reverse(adds, instruction.attrs["recorded"])
        row[column] = packed([Step(kernel, (), operands)])
    row[nt.V_MASK] = 0b11110  # all but the head


def _result_programs(instruction: Any, rows: Any) -> None:
    """The cotangent of a result goes to its place among the strip's adjoints."""
    row = rows[0]
    row[nt.V_EXISTS] = 1
    operands = Operand(CT, 0, ()), _vector(1), Operand(ADJOINT, 0, ())
    for column, clears in ((nt.V_ASSIGN, True), (nt.V_ACCUMULATE, False)):
        kernel = _spread(
            instruction.attrs, instruction.out.size, instruction.layouts[0].size, clears
        )
        row[column] = packed([Step(kernel, (), operands)])
    row[nt.V_MASK] = 0b10


def _lower_head(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """All operands, flat, one behind the other."""
    out = contiguous(float64, (sum(x.size for x in layouts),))
    steps, start = [], 0
    for i, x in enumerate(layouts):
        strides = contiguous(float64, x.shape).strides
        place = Operand(out_operand(len(layouts), out).ref, 8 * start, strides)
        steps.append(Step(copy_loop(float64), x.shape, (arg(i, x.strides), place)))
        start += x.size
    return Lowered((out,), tuple(steps))


def _head_vjp(ct: Any, *operands: Any) -> tuple[Any, ...]:
    parts, start = [], 0
    for x in operands[:-1]:  # the last is the result
        parts.append(ct[start : start + x.numel()].reshape(x.shape))
        start += x.numel()
    return tuple(parts)


op("strip_head", lower=_lower_head, arity=0, torch=None, vjp=_head_vjp, grad_fn="NjitBackward",
   private=True, lift="never")  # fmt: skip
op("strip_data", lower=_lower_data, arity=0, torch=None, private=True, lift="never")
op("strip_adjoint", lower=_lower_adjoint, arity=0, torch=None, private=True, lift="never")
op(
    "strip", lower=_lower_strip, arity=0, torch=None, grad_fn="NjitBackward",
    vjp=lambda ct, head, table, args, codes, out, recorded: (
        ct._strip_adjoint(head, table, args, codes, out, recorded=recorded), None, None, None,
    ),
    private=True, lift="never", programs=_strip_programs,
)  # fmt: skip
op(
    "strip_result", lower=_lower_result, arity=0, torch=None, grad_fn="NjitBackward",
    vjp=lambda ct, values, table, out, number, shape, inner: (
        ct._strip_spread(values, table, number, inner), None,
    ),
    private=True, lift="never", programs=_result_programs,
)  # fmt: skip
op(
    "strip_spread", lower=_lower_spread, arity=0, torch=None, grad_fn="NjitBackward",
    vjp=lambda ct, part, values, table, out, number, inner: (
        ct._strip_result(table, number, part.shape, inner), None, None,
    ),
    private=True, lift="never",
)  # fmt: skip
