"""Templates: VJPs traced once from one Python text an op.

`template` calls an instruction's rule with Tensors on a small tape of its own, whose leaves have the
layouts of the cotangent, the operands and the result. What it records is the template. It serves twice:

- replay (replay.py) appends a template's statements to the tape, with real slots in the place of
  leaves;
- vjp_programs.py makes of it, for each operand, the program that the reverse sweep runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import native as nt
from .errors import UnsupportedError
from .handle import new_handle_object
from .instructions import Instruction, instruction
from .layouts import Layout, contiguous
from .ops.table import TABLE, elementwise
from .tape import Tape, slot_of
from .threads import recording_on

__all__ = ["Statement", "Template", "is_elementwise", "template"]


class Statement(NamedTuple):
    """A statement of a template; slots count from 1, the leaves first."""

    slot: int
    instruction: Instruction
    args: tuple[int, ...]
    offset: int


class Template(NamedTuple):
    """What a VJP records.

    Attributes
    ----------
    inputs : dict
        Slot of the template -> "ct", "out", or the number of an operand.
    constants : dict
        Slot -> 0-d ndarray.
    statements : tuple of Statement
    results : tuple of (int or None)
        For each operand the slot of its cotangent.
    tape : Tape
        Where it was recorded (kept for its constants' memory).
    """

    inputs: dict[int, str | int]
    constants: dict[int, np.ndarray]
    statements: tuple[Statement, ...]
    results: tuple[int | None, ...]
    tape: Tape

    def needed(self, result: int) -> list[Statement]:
        """The statements that `result` depends on, in order."""
        wanted = {result}
        bases = set()
        chosen = []
        base = self.tape.base
        bases.add(int(base[result]))
        for statement in reversed(self.statements):
            writes = statement.instruction.op.kind in (nt.WRITE, nt.ACCUMULATE)
            if statement.slot in wanted or (writes and int(base[statement.slot]) in bases):
                chosen.append(statement)
                wanted.update(statement.args)
                bases.update(int(base[a]) for a in statement.args)
        return chosen[::-1]


def _masked(tape: Tape, ct: int, result: int) -> int:
    """Append that a result counts as zero where the cotangent is zero."""
    layouts = tuple(tape.instruction_of(slot).out for slot in (ct, result))
    return tape.append(instruction(TABLE["mask_zero"], layouts), (ct, result))


def is_elementwise(made: Instruction) -> bool:
    """Whether each element of the result depends on one element of each operand."""
    return made.op.lower is elementwise or bool(made.op.extras.get("elementwise"))


def template(made: Instruction, variant: int = 0) -> Template:
    """Trace the VJP of an instruction.

    Parameters
    ----------
    made : Instruction
    variant : int
        With MASKED, the cotangents that an elementwise op's rule gives are zero where ``ct`` is.

    Raises
    ------
    UnsupportedError
        If the op has no derivative.
    """
    masked = bool(variant & nt.MASKED) and is_elementwise(made)
    found: Template | None = made.masked_vjp if masked else made.vjp
    if found is not None:
        return found
    rule = made.op.vjp
    if rule is None:
        raise UnsupportedError(
            f"{made.op.name} has no derivative; use .detach() on its result if none is meant"
        )
    tape = Tape(64 + 4 * len(made.layouts), abstract=True)
    tape.state[nt.S_PENDING_LIMIT] = 1 << 62
    inputs: dict[int, str | int] = {}
    zero = np.zeros(1)

    def leaf(layout: Layout, name: str | int) -> Any:
        slot = tape.bind(zero, layout, active=False)
        inputs[slot] = name
        tape.make_room()  # a handle, too
        return new_handle_object(tape.pointer, slot, layout.id)

    with recording_on(tape):
        ct = leaf(contiguous(made.out.dtype, made.out.shape), "ct")
        operands = [leaf(x, i) for i, x in enumerate(made.layouts)]
        out = leaf(made.out, "out")
        attrs = {k: v for k, v in made.attrs.items() if k != "layout"}
        given = rule(ct, *operands, out, **attrs)
        cotangents = given if isinstance(given, tuple) else (given,)
        assert len(cotangents) == len(operands), f"{made.op.name}: one cotangent an operand"
        results = tuple(None if c is None else slot_of(tape, c) for c in cotangents)
        if masked:
            own = slot_of(tape, ct)
            results = tuple(r if r in (None, own) else _masked(tape, own, r) for r in results)
    constants = {slot: array for slot, array in tape.owned.items() if slot not in inputs}
    statements = []
    for slot in range(1, tape.count):
        if slot in inputs or slot in constants:
            continue
        step = tape.instruction_of(slot)
        offset = 0
        if step.op.kind == nt.VIEW:
            start = int(tape.arg_start[slot])
            offset = int(np.frombuffer(tape.arg[start + 1 : start + 3].tobytes(), np.int64)[0])
        statements.append(Statement(slot, step, tuple(tape.args_of(slot)), offset))
    traced = Template(inputs, constants, tuple(statements), results, tape)
    if masked:
        made.masked_vjp = traced
    else:
        made.vjp = traced
    return traced
