"""Templates of VJPs in the form that native replay reads.

`build` writes, for each operand of an instruction, the statements that its cotangent takes (those of
the traced rule, then the sums over broadcast dimensions) into the table ``G_REPLAY``, once an
instruction. A template with in-place writes or several results stays with Python (replay.py).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from . import native as nt
from .constants import Constants
from .instructions import ITAB, RTAB, Instruction, instruction, view_instruction
from .layouts import Layout, contiguous
from .ops.table import TABLE, is_float
from .programs import POOL, holding
from .tape import Tape
from .traced_rule import Template, template

__all__ = ["Unary", "append_sums", "build", "sums_to", "write"]


class Unary(NamedTuple):
    """A statement on one operand: a view at offset 0, or an op."""

    instruction: Instruction
    is_view: bool


def sums_to(layout: Layout, shape: tuple[int, ...]) -> list[Unary]:
    """The statements that sum a cotangent over the dimensions along which `shape` was broadcast."""
    steps: list[Unary] = []
    own = layout.shape
    if own == shape:
        return steps

    def then(made: Instruction, *, is_view: bool) -> None:
        nonlocal layout
        steps.append(Unary(made, is_view))
        layout = made.out

    extra = len(own) - len(shape)  # negative where the rule left a smaller cotangent
    dims = tuple(range(extra)) + tuple(
        i + extra for i, n in enumerate(shape) if i + extra >= 0 and n == 1 and own[i + extra] != 1
    )
    if dims:
        then(instruction(TABLE["sum"], (layout,), dim=dims, keepdim=True), is_view=False)
    if layout.shape == shape:
        return steps
    size = 1
    for n in shape:
        size *= n
    if layout.size == size:
        if not layout.is_contiguous:
            then(instruction(TABLE["clone"], (layout,)), is_view=False)
        strides = contiguous(layout.dtype, shape).strides
        then(view_instruction(TABLE["as_strided"], layout, shape, strides), is_view=True)
    else:  # the rule left a smaller cotangent, meant for every element
        missing = len(shape) - layout.ndim
        strides = (0,) * missing + tuple(
            0 if n == 1 and m != 1 else s
            for n, s, m in zip(layout.shape, layout.strides, shape[missing:], strict=True)
        )
        then(view_instruction(TABLE["expand"], layout, shape, strides), is_view=True)
    return steps


def append_sums(tape: Tape, slot: int, shape: tuple[int, ...]) -> int:
    """Append the sums of `sums_to`; the slot of their result."""
    for step in sums_to(tape.instruction_of(slot).out, shape):
        if step.is_view:
            slot = tape.append_view(step.instruction, slot, 0)
        else:
            slot = tape.append(step.instruction, (slot,))
    return slot


def build(made: Instruction, variant: int = 0) -> None:
    """Write the templates of an instruction, plain or masked, unless they are there."""
    traced = template(made, variant)
    column = nt.I_REPLAY + (variant >> 1)
    with holding(made.holdings):
        if ITAB.rows[made.id, column] >= 0:
            return
        nt.GLOBALS[nt.G_ADD], nt.GLOBALS[nt.G_CLONE] = TABLE["add"].code, TABLE["clone"].code
        count = max(len(made.layouts), 1)
        first = RTAB.reserve(count)
        RTAB.rows[first : first + count] = 0
        for i, result in enumerate(traced.results):
            if result is not None and is_float(made.layouts[i]):
                write(made, first + i, traced, result, made.layouts[i].shape)
        RTAB.rows[first : first + count, nt.Q_CT] = contiguous(made.out.dtype, made.out.shape).id
        # A pass of another thread may look at these rows from now on.
        ITAB.rows[made.id, column] = first


def write(
    made: Instruction, number: int, traced: Template, result: int, shape: tuple[int, ...]
) -> None:
    """Write a template of an instruction into a row: the statements of a result, summed to a shape."""
    RTAB.rows[number, nt.Q_EXISTS] = 1
    statements = traced.needed(result)
    references: dict[int, int] = {}
    keys: list[int] = []
    last_operand = 0
    for slot in {a for s in statements for a in s.args} | {result}:
        name = traced.inputs.get(slot)
        if slot in traced.constants:
            references[slot] = nt.REF_CONSTANT + len(keys) // 2
            keys += Constants.key(traced.constants[slot], traced.layouts[slot].dtype)
        elif name == "ct":
            references[slot] = nt.REF_CT
        elif name == "out":
            references[slot] = nt.REF_OUT
        elif isinstance(name, int):
            references[slot] = nt.REF_OPERAND + name
            last_operand = max(last_operand, name)
    words: list[int] = []
    args = 0

    def add(step: Instruction, inputs: list[int], offset: int | None) -> None:
        nonlocal args
        low, high = (0, 0) if offset is None else struct.unpack("<ii", struct.pack("<q", offset))
        extra = 0 if offset is None else 2
        words.extend((step.id, len(inputs), extra, low, high, *inputs))
        args += len(inputs) + extra

    count = 0
    for s in statements:
        kind = s.instruction.op.kind
        plain = kind == nt.VIEW or (kind == nt.COMPUTE and len(s.instruction.outs) == 1)
        if not plain or len(s.args) > nt.MAX_OPERANDS_OF_TEMPLATE:
            return
        add(s.instruction, [references[a] for a in s.args], s.offset if kind == nt.VIEW else None)
        references[s.slot] = nt.REF_STATEMENT + count
        count += 1
    last, layout = references[result], traced.layouts[result]
    sums = sums_to(layout, shape)
    for step in sums:
        add(step.instruction, [last], 0 if step.is_view else None)
        last, layout = nt.REF_STATEMENT + count, step.instruction.out
        count += 1
    too_many_operands = last_operand >= nt.REF_STATEMENT - nt.REF_OPERAND
    if count > nt.MAX_TEMPLATE or len(keys) > 2 * nt.MAX_CONSTANTS or too_many_operands:
        return
    made.needs += tuple([step.instruction.id for step in sums])
    row = RTAB.rows[number]
    row[nt.Q_STATEMENTS], row[nt.Q_COUNT] = POOL.put(words), count
    row[nt.Q_ARGS], row[nt.Q_RESULT], row[nt.Q_LAYOUT] = args, last, layout.id
    row[nt.Q_CONSTANTS], row[nt.Q_CONSTANT_COUNT] = POOL.put(keys), len(keys) // 2
    row[nt.Q_NATIVE] = 1
