"""The lifting of a trace (batch_trace.py), and plans: what a lifting did, to do it again.

A function under `vmap` mostly records the same at each call. What its lifting appends depends on the
statements of the trace and on the layouts of what is bound, and on nothing else. So it is noted as a `Plan`,
and the next trace that looks the same is lifted by appending the same segment, in one call, without looking
at its statements.

Start reading at `Slices.results`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import dtype
from ..base.fast_paths import REFUSED
from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS, Instruction, view_instruction
from ..ops.layout import Layout
from ..ops.table import TABLE
from ..tape.constants import Constants
from ..tape.segment import Draft, Segment, append
from ..tape.tape import Tape
from .batched_statement import Lifting

__all__ = ["Lifted", "Result", "Slices"]

#: plans that are kept, and the number of statements from which on none is made
PLANS_AT_MOST, LONGEST_PLAN = 256, 1 << 14


class Result(NamedTuple):
    """A result on the tape around: its slot and layout, and whether it depends on the slice."""

    slot: int
    layout: Layout
    is_batched: bool


class _Checked(NamedTuple):
    """A constant of indices that are checked anew each time."""

    slot: int
    instruction: Instruction
    indices: int


class _Constant(NamedTuple):
    """A constant over the memory of a leaf of the trace."""

    slot: int
    leaf: int


class _Run(NamedTuple):
    """Statements that follow each other, and the slots of their results."""

    segment: Segment
    slots: tuple[int, ...]
    instructions: tuple[Instruction, ...]


class Plan(NamedTuple):
    """Steps of a lifting, and its results. All slots are those that the first such lifting had.

    Attributes
    ----------
    bound : tuple of int
        Slots of what was bound.
    steps : tuple
    results : tuple of Result
    """

    bound: tuple[int, ...]
    steps: tuple[_Run | _Checked | _Constant, ...]
    results: tuple[Result, ...]


def _plan(
    bound: Sequence[int], notes: Sequence[Draft | _Checked | _Constant], results: Sequence[Result]
) -> Plan | None:  # fmt: skip
    """Make a plan of what a lifting did; None where a number is at a slot that was bound."""
    steps: list[_Run | _Checked | _Constant] = []
    wanted = {r.slot for r in results}
    for note in reversed(notes):
        if isinstance(note, Draft):
            inputs = {leaf.value for leaf in note.leaves if leaf.code == nt.SEG_INPUT}
            if any(note.references.get(slot, 0) < 0 and slot not in inputs for slot in bound):
                return None
            slots = tuple(sorted(wanted & note.references.keys() - inputs))
            steps.append(_Run(note.segment(slots), slots, tuple(note.instructions)))
            wanted |= inputs
        else:
            steps.append(note)
            if isinstance(note, _Checked):
                wanted.add(note.indices)
    return Plan(tuple(bound), tuple(steps[::-1]), tuple(results))


_plans: dict[Any, Plan] = {}


class Lifted(Tape):
    """The tape of one example, whose statements go to the tape around it."""

    #: slots of the tape around it, by the slot that stands for each here
    copies: dict[int, int]


class Slices(Lifting):
    """The lifting of a trace."""

    source: Lifted

    def __init__(self, source: Lifted, target: Any, size: int) -> None:
        super().__init__(source, target, size)
        #: what has been done so far; None where it cannot be repeated
        self._notes: list[Draft | _Checked | _Constant] | None = []
        self._is_running = False

    def run(self, results: Iterable[int]) -> None:
        """Record what results need; no plan is made of a run inside of which a signal handler has run."""
        if self._is_running:
            self._notes = None
        self._is_running = True
        try:
            super().run(results)
        finally:
            self._is_running = False

    # ------------------------------------------------------------------ results
    def results(self, slots: Sequence[int], whole: Sequence[bool]) -> list[Result]:
        """Record what results need.

        Parameters
        ----------
        slots : sequence of int
            Slots of the trace.
        whole : sequence of bool
            Whether a result is to have the batch as first dimension even if it does not depend on it.
        """
        source = self.source
        # As it is now: a signal handler that reads a value records on the trace, and has that lifted.
        bound, count = self.slots.copy(), source.count
        # A value that is bound twice counts once.
        distinct = list(dict.fromkeys(bound.values()))
        simple = not (REFUSED or source.contexts or source.versions or source.count > LONGEST_PLAN)
        if not simple or self._notes:
            self._notes = None
        if self._notes is not None:
            key = self._key(slots, whole, bound, distinct, count)
            plan = _plans.get(key)
            if plan is not None:
                return self._follow(plan, distinct)
        self.run(slots)
        results = []
        for slot, is_whole in zip(slots, whole, strict=True):
            self.mode(slot)
            counterpart = self.whole(slot) if is_whole else self.at(slot)
            results.append(Result(counterpart, self.layout(counterpart), slot in self.batched))
        notes = self._notes
        if notes is not None and source.count == count:
            plan = _plan(distinct, notes, results)
            if plan is not None:
                if len(_plans) >= PLANS_AT_MOST:
                    del _plans[next(iter(_plans))]
                _plans[key] = plan
        return results

    def _key(
        self, slots: Sequence[int], whole: Sequence[bool], bound: dict[int, int], distinct: list[int],
        n: int,
    ) -> Any:  # fmt: skip
        """All that the lifting of the first `n` statements depends on, with what was `bound` before."""
        source, target = self.source, self.target
        places = {k: i for i, k in enumerate(distinct)}
        m = int(source.state[nt.S_ARG_COUNT])
        bound_layouts = [
            (slot, places[k], slot in self.batched,
             INSTRUCTIONS[target.instruction[k]].out.id, target.is_active(k))
            for slot, k in bound.items()
        ]  # fmt: skip
        numbers = [
            (slot, getattr(owner, "array", owner).tobytes())
            for slot, owner in source.owned.copy().items()
            if slot < n and slot not in bound and slot not in source.copies
            and not source.instruction_of(slot).out.ndim
        ]  # fmt: skip
        arrays = source.instruction[1:n], source.arg[:m], source.flags[1:n], source.root[1:n]
        return (
            self.size, tuple(slots), tuple(whole), tuple(bound_layouts), tuple(source.copies.items()),
            tuple(numbers), tuple(source.leaves), target.abstract, *[a.tobytes() for a in arrays],
        )  # fmt: skip

    def _follow(self, plan: Plan, bound: Sequence[int]) -> list[Result]:
        """Append what was appended before."""
        target, self._notes = self.target, None
        now = dict(zip(plan.bound, bound, strict=True))
        with target.lock:
            for step in plan.steps:
                if type(step) is _Run:
                    inputs = [now[slot] for slot in step.segment.inputs]
                    now |= zip(step.slots, append(target, step.segment, inputs), strict=True)
                elif type(step) is _Checked:
                    now[step.slot] = super().checked(step.instruction, now[step.indices])
                else:
                    now[step.slot] = super().leaf(step.leaf)  # type: ignore[union-attr]
        return [Result(now[slot], layout, batched) for slot, layout, batched in plan.results]

    # ------------------------------------------------------------------ what is noted
    def _draft(self, notes: list[Draft | _Checked | _Constant]) -> Draft:
        if not notes or not isinstance(notes[-1], Draft):
            notes.append(Draft())
        return notes[-1]  # type: ignore[return-value]

    def append(
        self, instruction: Instruction, slots: Sequence[int], offset: int | None = None
    ) -> int:
        """Append a statement to the target."""
        slot, notes = super().append(instruction, slots, offset), self._notes
        if notes is not None:
            mode = int(self.target.grad_mode)
            self._draft(notes).append(slot, instruction, slots, offset, mode)
        return slot

    def constant(self, value: float, kind: dtype) -> int:
        """Slot of a Python scalar on the target."""
        slot, notes = super().constant(value, kind), self._notes
        if notes is not None:
            draft = self._draft(notes)
            if slot not in draft.references:
                bits, code = Constants.key(np.asarray(value, kind.np), kind)
                draft.leaf(slot, code, bits)
        return slot

    def checked(self, inner: Instruction, counterpart: int) -> int:
        """A constant of indices that were checked, and wrapped; without values still a statement."""
        slot, notes = super().checked(inner, counterpart), self._notes
        if notes is not None and not self.target.abstract:
            notes.append(_Checked(slot, inner, counterpart))
        return slot

    # ------------------------------------------------------------------ statements of a trace
    def operands(self, slot: int, inner: Instruction) -> list[int]:
        """The slots that a statement's counterpart is made of."""
        source = self.source
        copied = source.copies.get(slot)
        if copied is not None:
            return [copied]
        args = source.args_of(slot)
        if inner.op.name == "function_output":  # its value, which `forward` computed
            (value,) = args[1:]
            if source.instruction_of(value).op.name == "detach":
                (value,) = source.args_of(value)
            return [value]
        return args

    def mode(self, slot: int) -> None:
        """Set the grad mode in which the counterpart of a slot is recorded."""
        self.target.state[nt.S_GRAD_MODE] = self.source.is_active(slot)

    def leaf(self, slot: int) -> int:
        """The counterpart of a leaf that was not bound: a copy's original, or a constant."""
        source = self.source
        copied = source.copies.get(slot)
        if copied is None:
            if slot in source.leaves or source.flags[slot] & nt.VISIBLE:
                source.refuse("makes a tensor that others can see or that requires grad")
            counterpart, notes = super().leaf(slot), self._notes
            if notes is not None and source.instruction_of(slot).out.ndim:
                notes.append(_Constant(counterpart, slot))
            return counterpart
        if copied in self.batched:
            self.batched.add(slot)
        counterpart = self.at(copied)
        if int(source.base[copied]) in source.versions:
            return self.op("clone", counterpart)
        if not self.target.is_active(counterpart):
            return counterpart
        layout = self.layout(counterpart)
        view = view_instruction(TABLE["detach"], layout, layout.shape, layout.strides)
        return self.append_view(view, counterpart, 0)

    def statement(
        self, slot: int, inner: Instruction, args: Sequence[int], offset: int = 0
    ) -> None:
        """Record the counterpart of a statement."""
        if inner.op.name == "function_output":
            anchor = self.source.args_of(slot)[0]
            ctx = self.source.contexts[anchor]
            if not ctx._has_rule and any(map(self.target.is_active, self.slots.values())):
                self.source.refuse("calls a Function whose derivative is wanted")
            self.bind(slot, self.at(args[0]), batched=args[0] in self.batched)
        else:
            super().statement(slot, inner, args, offset)
