"""Segments: runs of statements that are appended again, to any tape, in one call.

A segment is a value: numbers of instructions and relative references, and nothing of a tape. What it refers
to is one of its own statements (0, 1, ...) or one of its *leaves* (-1, -2, ...). A leaf is a number, or an
input, for which whoever appends the segment gives a slot. Statements may write in place and have several
results; there is no limit on their number. The rules that replay and forward mode append are segments
(rules/replay_table.py), and so is what a lifting appends (transforms/batch_plan.py).

`append` appends one: by native code (runtime/segments.py reads `Segment.words`), or statement by statement
where each has to be looked at (hooks for saved tensors, anomaly detection, inference tensors; writes that
count as new versions, unlike those into a buffer that a recorded pass has made for itself).

Who keeps a segment keeps its instructions as well: by `Instruction.needs`, or as `Segment.instructions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from struct import Struct
from typing import Any, NamedTuple

import numpy as np

from ..base.fast_paths import REFUSED
from ..native import abi as nt
from ..native.builtin_calls import native_call
from ..ops.instruction import INSTRUCTIONS, Instruction
from ..ops.layout import Layout
from ..ops.program import offset_words
from . import versions
from .memory_views import address_of
from .tape import Tape

__all__ = ["AS_IT_IS", "Draft", "Leaf", "Segment", "Step", "append", "cut", "needed"]

_append_natively = native_call("segment_entry")
#: grad mode of a statement that is recorded in that which there is
AS_IT_IS = -1


class Step(NamedTuple):
    """A statement of a segment.

    Attributes
    ----------
    number : int
        Of its instruction.
    references : tuple of int
        What its operands are: a statement of the segment, or -1 - i for leaf i.
    offset : int or None
        That of a view, in bytes.
    mode : int
        Grad mode in which it is recorded, or `AS_IT_IS`.
    """

    number: int
    references: tuple[int, ...]
    offset: Any = None
    mode: int = AS_IT_IS


class Leaf(NamedTuple):
    """An input, or a number, that statements of a segment refer to.

    Attributes
    ----------
    code : int
        Of a number's dtype; `abi.SEG_INPUT` for an input.
    value : int
        The number's bits (`Constants.key`), or the name of the input, which means something to its user only.
    """

    code: int
    value: Any


@dataclass(frozen=True)
class Segment:
    """Statements that can be appended to any tape.

    Attributes
    ----------
    steps : tuple of Step
        Further results of a statement are steps behind it.
    leaves : tuple of Leaf
    results : tuple of int
        References.
    noted : tuple of int
        Steps whose in-place writes count, as residuals may be older.
    """

    steps: tuple[Step, ...]
    leaves: tuple[Leaf, ...]
    results: tuple[int, ...]
    noted: tuple[int, ...] = ()

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """Names of the inputs, in the order in which `append` takes slots for them."""
        return tuple([leaf.value for leaf in self.leaves if leaf.code == nt.SEG_INPUT])

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions of the statements."""
        return tuple([INSTRUCTIONS[step.number] for step in self.steps])

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Statements that run even if nothing needs their results."""
        return tuple([k for k, x in enumerate(self.instructions) if x.is_kept])

    @cached_property
    def words(self) -> np.ndarray:
        """The segment as native code reads it: counts, leaves, statements."""
        words: list[int] = [len(self.steps), 0, len(self.leaves)]
        for leaf in self.leaves:
            words += leaf
        args = 0
        for number, references, offset, mode in self.steps:
            extra = () if offset is None else offset_words(offset)
            words += (number, mode, len(references), len(extra), *references, *extra)
            args += len(references) + len(extra)
        words[nt.SEG_ARGS] = args
        return np.array(words, np.int64)

    @cached_property
    def address(self) -> int:
        """Address of the words, which the segment owns."""
        return address_of(self.words)

    @cached_property
    def pack(self) -> Callable[..., bytes]:
        """Function that makes the words of the inputs' slots."""
        return Struct(f"<{len(self.inputs)}i").pack

    def layout(self, reference: int) -> Layout | None:
        """Layout of a statement's result or of a number; None for an input, which may have any."""
        return None if reference < 0 else INSTRUCTIONS[self.steps[reference].number].out

    def verify(self) -> None:
        """Check that references come before their use and have the layouts that statements expect."""
        known: dict[int, Layout] = {}
        for place, step in enumerate(self.steps):
            instruction = INSTRUCTIONS[step.number]
            kind = instruction.op.kind
            assert instruction.id == step.number, "the instruction of a step has ended"
            assert len(step.references) == len(instruction.layouts), "an operand for each layout"
            assert (step.offset is not None) == (kind == nt.VIEW), "views alone have an offset"
            for reference, layout in zip(step.references, instruction.layouts, strict=True):
                assert -len(self.leaves) <= reference < place, "an operand comes before its use"
                shown = self.layout(reference) or known.setdefault(reference, layout)
                assert shown is layout, "an operand has the layout that its statement expects"
            for j, output in enumerate(instruction.outputs, 1):
                further = self.steps[place + j]
                assert (further.number, further.references) == (output.id, (place,)), (
                    "a further result"
                )
        assert all(-len(self.leaves) <= r < len(self.steps) for r in self.results)


class Draft:
    """A segment that is being put together of statements of a tape, which are known by their slots there.

    It holds the instructions meanwhile; who keeps the segment keeps them.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.leaves: list[Leaf] = []
        self.instructions: list[Instruction] = []
        #: by slot
        self.references: dict[int, int] = {}

    def leaf(self, slot: int, code: int, value: Any) -> int:
        """Let a leaf stand for a slot; reference to it."""
        self.leaves.append(Leaf(code, value))
        self.references[slot] = -len(self.leaves)
        return -len(self.leaves)

    def append(
        self, slot: int, instruction: Instruction, operands: Iterable[int], offset: Any = None,
        mode: int = AS_IT_IS,
    ) -> None:  # fmt: skip
        """Add the statement at a slot, with its further results.

        An operand that is not here becomes an input, which has its slot for a name.
        """
        known = self.references
        references = tuple(
            [known[s] if s in known else self.leaf(s, nt.SEG_INPUT, s) for s in operands]
        )
        first = len(self.steps)
        self.instructions.append(instruction)
        self.steps.append(Step(instruction.id, references, offset, mode))
        self.steps += [Step(output.id, (first,)) for output in instruction.outputs]
        known |= {slot + j: first + j for j in range(len(instruction.outs))}

    def segment(self, results: Iterable[int], noted: Iterable[int] = ()) -> Segment:
        """The segment with the results at some slots, where some statements' writes are noted."""
        at = self.references
        return Segment(
            tuple(self.steps), tuple(self.leaves), tuple([at[s] for s in results]),
            tuple([at[s] for s in noted]),
        )  # fmt: skip


def needed(
    tape: Tape, results: Iterable[int], first: int,
    operands_of: Callable[[int, Instruction], list[int]] | None = None,
) -> list[tuple[int, Instruction, list[int]]]:  # fmt: skip
    """Find the statements from slot `first` on that results need: slot, instruction, operands.

    Those are what they depend on, and what writes into the memory of that; and those that are kept.
    """
    base = tape.base
    wanted = {r for r in results if r >= first}
    bases = {int(base[r]) for r in wanted}
    statements = []
    for slot in range(tape.count - 1, first - 1, -1):
        instruction = tape.instruction_of(slot)
        writes = instruction.op.kind in (nt.WRITE, nt.ACCUMULATE)
        is_wanted = slot in wanted or (writes and int(base[slot]) in bases)
        if not (is_wanted or instruction.is_kept):
            continue
        operands = operands_of(slot, instruction) if operands_of else tape.args_of(slot)
        statements.append((slot, instruction, operands))
        wanted.update(operands)
        bases.update([int(base[a]) for a in operands])
    return statements[::-1]


def cut(
    tape: Tape, results: Sequence[int], first: int, *, with_modes: bool = False,
    places: dict[int, int] | None = None,
) -> Segment:  # fmt: skip
    """Make a segment of the statements from slot `first` on that results need.

    Its inputs, leaves and what was before `first`, have their slots for names. All is recorded in the grad
    mode that there is when it is appended; `with_modes`, what is passive though it has active operands is
    recorded without gradients. `places` is filled with the references of slots.
    """
    draft, noted = Draft(), []
    keys = {slot: key for key, slot in tape.constants.slots.items()}
    for slot, instruction, operands in needed(tape, results, first):
        kind = instruction.op.kind
        if kind in (nt.LEAF, nt.OUTPUT):  # an output is with the statement of the first result
            continue
        for operand in operands:
            if operand in keys and operand not in draft.references:
                draft.leaf(operand, *keys[operand][::-1])
        offset = tape.view_offset(slot) if kind == nt.VIEW else None
        mode = AS_IT_IS
        outs = range(slot, slot + len(instruction.outs))
        if with_modes and any(map(tape.is_active, operands)) and not any(map(tape.is_active, outs)):
            mode = 0
        draft.append(slot, instruction, operands, offset, mode)
        writes = tape.writes.get(int(tape.base[slot]), ())
        if kind in (nt.WRITE, nt.ACCUMULATE) and versions.mark_of(slot) in writes:
            noted.append(slot)
    for slot in results:
        if slot not in draft.references:
            draft.leaf(slot, nt.SEG_INPUT, slot)
    if places is not None:
        places |= draft.references
    return draft.segment(results, noted)


def append(tape: Tape, segment: Segment, inputs: Sequence[int]) -> list[int]:
    """Append the statements of a segment, all of them or, where there is an error, none.

    Never collects, so slots keep their numbers.

    Parameters
    ----------
    tape : Tape
    segment : Segment
    inputs : sequence of int
        A slot for each of the segment's inputs.

    Returns
    -------
    list of int
        Slots of the results.
    """
    if Tape.check is not None:
        segment.verify()
    watched = tape.saving is not None or tape.busy[nt.BUSY_TRACED] or tape.inference
    if REFUSED or watched or segment.noted:  # before such writes, targets may have to be settled
        return _append_singly(tape, segment, inputs)
    words = segment.pack(*inputs)
    with tape.lock:
        while (first := _append_natively(tape.pointer, segment.address, words)) < 0:
            _make_way(tape, segment)
    return [
        first + reference if reference >= 0 else _leaf_slot(tape, segment, ~reference, inputs)
        for reference in segment.results
    ]


def _make_way(tape: Tape, segment: Segment) -> None:
    """Make room for a segment, and its numbers."""
    _, args, leaves = segment.words[: nt.SEG_HEADER].tolist()
    for leaf in segment.leaves:
        if leaf.code != nt.SEG_INPUT:
            tape.constant_of(leaf.value, leaf.code)
    tape._make_room(len(segment.steps), args + leaves, False)


def _leaf_slot(tape: Tape, segment: Segment, number: int, inputs: Sequence[int]) -> int:
    leaf = segment.leaves[number]
    if leaf.code != nt.SEG_INPUT:
        return tape.constant_of(leaf.value, leaf.code)
    return inputs[segment.inputs.index(leaf.value)]


def _append_singly(tape: Tape, segment: Segment, inputs: Sequence[int]) -> list[int]:
    """Append the statements one by one, as if they were recorded so."""
    leaves = [_leaf_slot(tape, segment, i, inputs) for i in range(len(segment.leaves))]
    slots: list[int] = []
    before, mode = tape.count, tape.state[nt.S_GRAD_MODE]
    try:
        for place, step in enumerate(segment.steps):
            instruction = INSTRUCTIONS[step.number]
            if instruction.op.kind == nt.OUTPUT:
                slots.append(slots[-1] + 1)
                continue
            tape.state[nt.S_GRAD_MODE] = mode if step.mode == AS_IT_IS else step.mode
            operands = [slots[r] if r >= 0 else leaves[~r] for r in step.references]
            offset = () if step.offset is None else offset_words(step.offset)
            slots.append(tape.append(instruction, operands, offset))
            if place in segment.noted:
                versions.note_write(tape, slots[-1])
    except BaseException:
        if segment.noted:  # a write that is recorded and not noted would go unseen
            versions.note_missing(tape, before)
        tape.undo(before)
        raise
    finally:
        tape.state[nt.S_GRAD_MODE] = mode
    return [slots[r] if r >= 0 else leaves[~r] for r in segment.results]
