"""The lifting of a trace (batch_trace.py), and plans: what a lifting did, to do it again.

A function under `vmap` mostly records the same at each call. What its lifting appends depends on the
statements of the trace and on the layouts of what is bound, and on nothing else. So it is noted as a `Plan`,
and the next trace that looks the same is lifted by appending the same segment, in one call, without looking
at its statements.

Start reading at `Slices.results`.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """A constant of indices that are checked anew each time: its name, and that of the indices."""

    name: int
    instruction: Instruction
    indices: int


class _Constant(NamedTuple):
    """A constant of the trace: its name, and the leaf there."""

    name: int
    slot: int


class _Run(NamedTuple):
    """Statements that follow each other.

    Attributes
    ----------
    segment : Segment
    instructions : tuple of Instruction
        Which the segment needs.
    names : tuple of int
        Those of its results.
    """

    segment: Segment
    instructions: tuple[Instruction, ...]
    names: tuple[int, ...]


class Plan(NamedTuple):
    """What a lifting appends, and its results.

    Slots have names here: what is bound has the first numbers, then what is appended, in order.
    """

    steps: tuple[_Run | _Checked | _Constant, ...]
    results: tuple[tuple[int, Layout, bool], ...]


class _Notes:
    """What a lifting does, to become a plan."""

    def __init__(self) -> None:
        #: name of each slot
        self.names: dict[int, int] = {}
        self._steps: list[tuple[Draft, dict[int, int]] | _Checked | _Constant] = []
        self._draft: Draft | None = None
        #: reference of each name in the run that is being noted
        self._references: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def name(self, slot: int) -> int:
        """The name of a slot, a new one unless it has one."""
        return self.names.setdefault(slot, len(self.names))

    def _reference(self, name: int) -> int:
        if name not in self._references:
            assert self._draft is not None
            self._references[name] = self._draft.leaf(nt.SEG_INPUT, name)
        return self._references[name]

    def _run(self) -> Draft:
        if self._draft is None:
            self._draft, self._references = Draft(), {}
            self._steps.append((self._draft, self._references))
        return self._draft

    def statement(
        self, slot: int, instruction: Instruction, slots: Sequence[int], offset: int | None, mode: bool
    ) -> None:  # fmt: skip
        """Note that a statement was appended at `slot`."""
        draft = self._run()
        references = [self._reference(self.names[s]) for s in slots]
        first = draft.append(instruction, references, offset, int(mode))
        for j in range(len(instruction.outs)):
            self._references[self.name(slot + j)] = first + j

    def number(self, slot: int, value: float, kind: dtype) -> None:
        """Note a number, whose slot is the same each time that it is asked for."""
        if slot not in self.names:
            key = Constants.key(np.asarray(value, kind.np), kind)
            self._references[self.name(slot)] = self._run().leaf(*key[::-1])

    def step(self, slot: int, step: type[_Checked | _Constant], *parts: Any) -> None:
        """Note a constant that is made anew each time; runs end there."""
        if slot not in self.names:
            self._draft = None
            self._steps.append(step(self.name(slot), *parts))

    def plan(self, results: Sequence[Result]) -> Plan:
        """The plan, now that all has been noted."""
        steps: list[_Run | _Checked | _Constant] = []
        wanted = {self.names[r.slot] for r in results}
        for step in reversed(self._steps):
            if isinstance(step, tuple) and isinstance(step[0], Draft):
                draft, references = step
                inputs = {x.value for x in draft.leaves if x.code == nt.SEG_INPUT}
                names = tuple(sorted(wanted & references.keys() - inputs))
                segment = draft.segment([references[name] for name in names])
                steps.append(_Run(segment, tuple(draft.instructions), names))
                wanted |= inputs
            else:
                steps.append(step)
                if isinstance(step, _Checked):
                    wanted.add(step.indices)
        places = tuple([(self.names[r.slot], r.layout, r.is_batched) for r in results])
        return Plan(tuple(steps[::-1]), places)


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
        self._notes: _Notes | None = _Notes()

    def bind(self, slot: int, counterpart: int, *, batched: bool) -> None:
        """Say what stands on the target for a slot of the source."""
        super().bind(slot, counterpart, batched=batched)
        if self._notes is not None:
            self._notes.name(counterpart)

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
        bound, count, key = self.slots.copy(), source.count, None
        notes = self._notes
        if REFUSED or source.contexts or source.versions or source.count > LONGEST_PLAN or notes:
            notes = self._notes = None
        if notes is not None:
            key = self._key(slots, whole, bound, count)
            plan = _plans.get(key)
            if plan is not None:
                return self._follow(plan, notes)
        self.run(slots)
        results = []
        for slot, is_whole in zip(slots, whole, strict=True):
            self.mode(slot)
            counterpart = self.whole(slot) if is_whole else self.at(slot)
            results.append(Result(counterpart, self.layout(counterpart), slot in self.batched))
        if notes is not None and source.count == count:
            if len(_plans) >= PLANS_AT_MOST:
                del _plans[next(iter(_plans))]
            _plans[key] = notes.plan(results)
        return results

    def _key(
        self, slots: Sequence[int], whole: Sequence[bool], bound: dict[int, int], n: int
    ) -> Any:
        """All that the lifting of the first `n` statements depends on, with what was `bound` before."""
        assert self._notes is not None
        source, target, names = self.source, self.target, self._notes.names
        m = int(source.state[nt.S_ARG_COUNT])
        bound_layouts = [
            (slot, names[k], slot in self.batched,
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

    def _follow(self, plan: Plan, notes: _Notes) -> list[Result]:
        """Append what was appended before."""
        target, self._notes = self.target, None
        slots = {name: slot for slot, name in notes.names.items()}
        with target.lock:
            for step in plan.steps:
                if type(step) is _Run:
                    inputs = [slots[name] for name in step.segment.inputs]
                    slots |= zip(step.names, append(target, step.segment, inputs), strict=True)
                elif type(step) is _Checked:
                    slots[step.name] = super().checked(step.instruction, slots[step.indices])
                else:
                    slots[step.name] = super().leaf(step.slot)  # type: ignore[union-attr]
        return [Result(slots[name], layout, batched) for name, layout, batched in plan.results]

    # ------------------------------------------------------------------ what is noted
    def append(
        self, instruction: Instruction, slots: Sequence[int], offset: int | None = None
    ) -> int:
        """Append a statement to the target."""
        slot = super().append(instruction, slots, offset)
        if self._notes is not None:
            self._notes.statement(slot, instruction, slots, offset, self.target.grad_mode)
        return slot

    def constant(self, value: float, kind: dtype) -> int:
        """Slot of a Python scalar on the target."""
        slot = super().constant(value, kind)
        if self._notes is not None:
            self._notes.number(slot, value, kind)
        return slot

    def checked(self, inner: Instruction, counterpart: int) -> int:
        """A constant of indices that were checked, and wrapped; without values still a statement."""
        slot = super().checked(inner, counterpart)
        if self._notes is not None and not self.target.abstract:
            self._notes.step(slot, _Checked, inner, self._notes.names[counterpart])
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
            counterpart = super().leaf(slot)
            if self._notes is not None:  # and it is no number
                self._notes.step(counterpart, _Constant, slot)
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
