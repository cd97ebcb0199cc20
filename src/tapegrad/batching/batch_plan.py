"""The lifting of a trace (batch_trace.py), and plans: what a lifting did, to do it again.

A function under `vmap` mostly records the same at each call. What its lifting appends depends on the
statements of the trace and on the layouts of what is bound, and on nothing else. So it is noted as a `Plan`,
and the next trace that looks the same is lifted by appending the same statements, at about a microsecond
each, without looking at them.

Start reading at `Slices.results`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..base.dtypes import dtype
from ..base.fast_paths import REFUSED
from ..native import abi as nt
from ..native import handle_type as handle
from ..ops.instruction import INSTRUCTIONS, Instruction, view_instruction
from ..ops.layout import Layout
from ..ops.table import TABLE
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


class _Statement(NamedTuple):
    """A statement of a plan; what it refers to is counted: what is bound first, then what was appended."""

    instruction: Instruction
    references: tuple[int, ...]
    extra: tuple[int, ...]
    active: bool
    pack: Callable[..., bytes]


class _Number(NamedTuple):
    """A number that an instruction of the trace implies."""

    value: float
    kind: dtype


class _Checked(NamedTuple):
    """A constant of indices that are checked anew each time."""

    instruction: Instruction
    reference: int


#: statements, constants, and leaves of the trace whose counterparts are constants
_Step = _Statement | _Number | _Checked | int


class Plan(NamedTuple):
    """The statements that a lifting appends, and its results."""

    steps: tuple[_Step, ...]
    results: tuple[tuple[int, Layout, bool], ...]
    words: int


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
        #: the steps so far; None where they cannot be repeated
        self._steps: list[_Step] | None = []
        self._references: dict[int, int] = {}
        self._words = 0

    def bind(self, slot: int, counterpart: int, *, batched: bool) -> None:
        """Say what stands on the target for a slot of the source."""
        super().bind(slot, counterpart, batched=batched)
        self._references.setdefault(counterpart, len(self._references))

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
        simple = not (REFUSED or source.contexts or source.versions or source.count > LONGEST_PLAN)
        if simple and self._steps == []:
            key = self._key(slots, whole, bound, count)
            plan = _plans.get(key)
            if plan is not None:
                return self._follow(plan, bound)
        self.run(slots)
        results = []
        for slot, is_whole in zip(slots, whole, strict=True):
            self.mode(slot)
            counterpart = self.whole(slot) if is_whole else self.at(slot)
            results.append(Result(counterpart, self.layout(counterpart), slot in self.batched))
        if key is not None and self._steps is not None and source.count == count:
            if len(_plans) >= PLANS_AT_MOST:
                del _plans[next(iter(_plans))]
            references = [(self._references[r.slot], r.layout, r.is_batched) for r in results]
            _plans[key] = Plan(tuple(self._steps), tuple(references), self._words)
        return results

    def _key(
        self, slots: Sequence[int], whole: Sequence[bool], bound: dict[int, int], n: int
    ) -> Any:
        """All that the lifting of the first `n` statements depends on, with what was `bound` before."""
        source, target = self.source, self.target
        m = int(source.state[nt.S_ARG_COUNT])
        bound_layouts = [
            (slot, self._references[k], slot in self.batched,
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

    def _follow(self, plan: Plan, bound: dict[int, int]) -> list[Result]:
        """Append what was appended before."""
        target, self._steps = self.target, None
        known = list(dict.fromkeys(bound.values()))
        target.make_room(2 * len(plan.steps) + 64, plan.words + 64, collect=False)
        append, pointer, state = handle.append_statement, target.pointer, target.state
        with target.lock:
            for step in plan.steps:
                if type(step) is _Statement:
                    instruction, references, extra, active, pack = step
                    state[nt.S_GRAD_MODE] = active
                    slots = [known[r] for r in references]
                    slot = -1
                    if not instruction.outputs:
                        words = pack(*slots, *extra)
                        slot = append(pointer, instruction.id, words, len(slots) + len(extra), 0)
                    if slot < 0:
                        slot = target.append(instruction, slots, extra)
                    known.append(slot)
                    known.extend(range(slot + 1, slot + 1 + len(instruction.outputs)))
                elif type(step) is _Number:
                    known.append(target.constant(step.value, step.kind))
                elif type(step) is _Checked:
                    known.append(super().checked(step.instruction, known[step.reference]))
                else:
                    known.append(super().leaf(step))  # type: ignore[arg-type]
        return [Result(known[r], layout, batched) for r, layout, batched in plan.results]

    # ------------------------------------------------------------------ what is noted
    def append(
        self, instruction: Instruction, slots: Sequence[int], extra: Sequence[int] = ()
    ) -> int:
        """Append a statement to the target."""
        slot = super().append(instruction, slots, extra)
        at = self._references
        count = len(slots) + len(extra)
        if self._steps is not None:
            self._steps.append(_Statement(
                instruction, tuple([at[s] for s in slots]), tuple(extra), self.target.grad_mode,
                struct.Struct(f"<{count}i").pack,
            ))  # fmt: skip
        self._words += count + len(instruction.outputs)
        for j in range(1 + len(instruction.outputs)):
            at[slot + j] = len(at)
        return slot

    def constant(self, value: float, kind: dtype) -> int:
        """Slot of a Python scalar on the target."""
        slot = super().constant(value, kind)
        self._note(slot, _Number(value, kind))
        return slot

    def checked(self, inner: Instruction, counterpart: int) -> int:
        """A constant of indices that were checked, and wrapped; without values still a statement."""
        slot = super().checked(inner, counterpart)
        if not self.target.abstract:
            self._note(slot, _Checked(inner, self._references[counterpart]))
        return slot

    def _note(self, slot: int, step: _Step) -> None:
        """Note where a constant stands; the same number has the same slot."""
        if slot not in self._references:
            self._references[slot] = len(self._references)
            if self._steps is not None:
                self._steps.append(step)

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
            self._note(counterpart, slot)  # unless it is a number
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
