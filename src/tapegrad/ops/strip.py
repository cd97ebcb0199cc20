"""Strips: one statement of the tape that holds many scalar statements.

A call of a `@tg.njit` function records its scalar operations natively, as a flat Wengert list of its
own, a *strip*. What was recorded (opcodes, operands and constants, laid out as the words ``B_*`` say)
is a passive leaf on the tape, the *body*. Statements:

- ``strip`` takes a contiguous float64 vector (the inputs, the *head*) and a body; its value is the
  vector of all values: the head, then the result of each scalar statement;
- ``strip_result`` takes that vector and the body; it copies out one result, whose place is in the body.

So a strip's size and contents are data, and instructions (which are interned for ever) depend on sizes
only, which `rounded` makes few. Scalar statement ``j`` has number ``head + j``; its operands are numbers
of values, or numbers of constants where the code says so (strip_code.py).

In a strip's vector of adjoints, -0.0 stands for *untouched*: it is neutral in a sum, and the sweep adds
0.0 to what it accumulates, so that nothing that was touched is -0.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import native as nt
from ..dtypes import float64
from ..layouts import Layout, contiguous
from ..programs import ADJOINT, CT, POOL, SCRATCH, Operand, Step, arg, packed
from .table import Lowered, Op, copy_loop, op, out_operand

__all__ = ["KERNELS", "rounded"]

#: the generated kernels: what loads one and returns its address; strip_code.py puts them here
KERNELS: dict[str, Callable[[], int]] = {}


def rounded(count: int) -> int:
    """The next size of which there are few: eight between a power of two and the next."""
    if count <= 64:
        return max(count, 1)
    step = 1 << (count - 1).bit_length() - 4
    return -(-count // step) * step


def _vector(number: int) -> Operand:
    return arg(number, ())


def _lower_strip(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    out = contiguous(float64, (attrs["count"],))
    if attrs["recorded"]:  # the values are there
        return Lowered((out,), ())
    operands = _vector(0), _vector(1), Operand(out_operand(2, out).ref, 0, ())
    return Lowered((out,), (Step((KERNELS["forward"](), 0), (), operands),))


def _lower_result(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    out = contiguous(float64, attrs["shape"])
    kernel = KERNELS["result"](), POOL.put((attrs["number"], out.size))
    operands = _vector(0), _vector(1), Operand(out_operand(2, out).ref, 0, ())
    return Lowered((out,), (Step(kernel, (), operands),))


def _lower_spread(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    out = layouts[1]
    kernel = KERNELS["spread"](), POOL.put((attrs["number"], layouts[0].size, 1, out.size))
    operands = _vector(0), _vector(2), Operand(out_operand(3, out).ref, 0, ())
    return Lowered((out,), (Step(kernel, (), operands),))


def _lower_adjoint(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Like the sweep of `_strip_programs`, on a copy."""
    ct, head, body, _values = layouts
    copy = Operand(SCRATCH, 0, (8,))
    kernel = KERNELS["reverse"](), POOL.put((0,))
    operands = (
        Operand(SCRATCH, 0, ()), _vector(3), _vector(2),
        Operand(out_operand(4, head).ref, 0, ()),
    )  # fmt: skip
    steps = (
        Step(copy_loop(float64), ct.shape, (arg(0, ct.strides), copy)),
        Step(kernel, (), operands),
    )
    return Lowered((contiguous(float64, head.shape),), steps, ct.span)


def _strip_programs(made: Any, row: Any) -> None:
    """The sweep of a strip: in place over its adjoints, then those of the head go to the operand."""
    operands = Operand(CT, 0, ()), _vector(2), _vector(1), Operand(ADJOINT, 0, ())
    for column, adds in ((nt.V_ASSIGN, 0), (nt.V_ACCUMULATE, 1)):
        row[column] = packed([Step((KERNELS["reverse"](), POOL.put((adds,))), (), operands)])
    row[nt.V_MASK] = 0b110  # the body and the values


def _result_programs(made: Any, row: Any) -> None:
    """The cotangent of a result goes to its place among the strip's adjoints."""
    number, size, count = made.attrs["number"], made.out.size, made.layouts[0].size
    operands = Operand(CT, 0, ()), _vector(1), Operand(ADJOINT, 0, ())
    for column, clears in ((nt.V_ASSIGN, 1), (nt.V_ACCUMULATE, 0)):
        data = POOL.put((number, size, clears, count))
        row[column] = packed([Step((KERNELS["spread"](), data), (), operands)])
    row[nt.V_MASK] = 0b10


op(
    "strip", lower=_lower_strip, arity=0, torch=None, grad_fn="NjitBackward",
    vjp=lambda ct, head, body, out, count, recorded: (ct._strip_adjoint(head, body, out), None),
    extras={"private": True, "programs": _strip_programs},
)  # fmt: skip
op("strip_adjoint", lower=_lower_adjoint, arity=0, torch=None, extras={"private": True})
op(
    "strip_result", lower=_lower_result, arity=0, torch=None, grad_fn="NjitBackward",
    vjp=lambda ct, values, body, out, number, shape: (ct._strip_spread(values, body, number), None),
    extras={"private": True, "programs": _result_programs},
)  # fmt: skip
op(
    "strip_spread", lower=_lower_spread, arity=0, torch=None, grad_fn="NjitBackward",
    vjp=lambda ct, part, values, body, out, number: (
        ct._strip_result(body, number, part.shape), None, None,
    ),
    extras={"private": True},
)  # fmt: skip
