"""Recording a function's run as a closed tape.

`ClosedTrace` records the run, and `ClosedTrace.close` makes a closed tape of what the results need: the
statements go to a tape that has nothing but the inputs, and are cut out of it as a segment.

A value that the function reads is computed on the tape around, if the inputs have values there, and noted in
`ClosedTrace.reads`: the closed tape is that of a run with just these values.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import dtype
from ..native import abi as nt
from ..native.handle_type import AnyTensor, TensorHandle
from ..ops.instruction import INSTRUCTIONS, Instruction, instruction, view_instruction
from ..ops.layout import Layout, contiguous
from ..ops.table import TABLE
from ..tape import recording as record
from ..tape.anomaly import source_line
from ..tape.current import current_tape
from ..tape.leaf_storage import Storage
from ..tape.segment import Segment, cut
from ..tape.tape import Tape
from .batch_plan import Slices
from .closed_tape import ClosedTape, structure
from .cutting import cut_trace
from .trace import Trace

__all__ = ["Batch", "ClosedTrace", "Read", "recorded"]


class Read(NamedTuple):
    """A value that a function read: its slot on the trace, what it was, and the source line."""

    slot: int
    value: np.ndarray
    line: str


class Batch(NamedTuple):
    """Examples that are traced as one: their number, and the axis along which each input has them."""

    size: int
    axes: tuple[int | None, ...]


class _Reading(Slices):
    """The lifting of a trace onto the tape around, for values that the function reads."""

    def leaf(self, slot: int) -> int:
        """The counterpart of a leaf that was not bound: a copy, as the closed tape begins with the leaf."""
        counterpart = super().leaf(slot)
        return counterpart if slot in self.source.copies else self.op("clone", counterpart)


class _Closing(Slices):
    """A lifting that notes from which statement each of the target comes."""

    def __init__(self, source: Trace, target: Tape, size: int, *, shares: bool) -> None:
        super().__init__(source, target, size)
        #: True if memory that others see is read at each run
        self.shares = shares
        #: slot of the target -> that of the source
        self.origins: dict[int, int] = {}
        self._slot = 0

    def mode(self, slot: int) -> None:
        """Set the grad mode in which the counterpart of a slot is recorded."""
        self._slot = slot
        super().mode(slot)

    def result(self, slot: int) -> int:
        """The counterpart of a result, with the batch as first dimension."""
        self.mode(slot)
        return self.whole(slot)

    def append(
        self, instruction: Instruction, slots: Sequence[int], offset: int | None = None
    ) -> int:
        """Append a statement to the target."""
        slot = super().append(instruction, slots, offset)
        self.origins[slot] = self._slot
        return slot

    def leaf(self, slot: int) -> int:
        """The counterpart of a leaf that was not bound: a constant, be it memory that others see."""
        source = self.source
        if slot in source.copies:
            return super().leaf(slot)
        if slot in source.versions:
            if source.flags[slot] & nt.VISIBLE:
                source.refuse("writes into memory that others can see")
            counterpart = super().leaf(slot)
            if source.instruction_of(slot).out.ndim:  # else it is one already
                counterpart = self.op("clone", counterpart)  # as every run begins with it
            return counterpart
        if not (source.leaves.get(slot) or source.flags[slot] & nt.VISIBLE):
            return super().leaf(slot)
        owner, target = source.owned[slot], self.target
        array, layout = getattr(owner, "array", owner), source.instruction_of(slot).out
        if layout.is_contiguous or self.shares:
            return target.bind(array, layout, active=False)
        # Statements that read it go by its strides, and a tape's own arrays have none but those of a shape.
        memory = _memory_of(array)
        flat = contiguous(layout.dtype, memory.shape)
        view = view_instruction(TABLE["as_strided"], flat, layout.shape, layout.strides)
        return self.append(view, [target.bind(memory, flat, active=False)], 0)


_NOTHING = np.zeros(1)


class ClosedTrace(Trace):
    """A trace of a function's run on its arguments, which becomes a closed tape.

    Parameters
    ----------
    outer : Tape
        The tape around it.
    recorder, remedy : str
        What records, for errors, and what the user may do where it cannot.
    may_read : bool
        Whether values may be read, and noted.
    notes_lines : bool
        Whether the source line of each statement is noted.
    """

    def __init__(
        self, outer: Tape, recorder: str, remedy: str, *, may_read: bool = False,
        notes_lines: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(outer)
        self.notes_lines = notes_lines
        if notes_lines:
            self.busy[nt.BUSY_TRACED] = True  # statements come by way of `append`
        self.lifting = _Reading(self, outer, 0)
        self.recorder, self.remedy, self.may_read = recorder, remedy, may_read
        #: memory of which the function has arrays
        self.exposed: set[int] = set()
        self.inputs: list[int] = []
        self.reads: list[Read] = []
        #: calls of Python functions that are statements (njit_compiler/python_call.py), by what they are of
        self.calls: dict[Any, Any] = {}
        #: tensors of the surroundings, with the leaves that stand for them
        self.captured: dict[int, TensorHandle] = {}

    # ------------------------------------------------------------------ what the function is given
    def input(self, layout: Layout, *, active: bool, outer: int | None = None) -> AnyTensor:
        """Add an input, and return it.

        Parameters
        ----------
        layout : Layout
        active : bool
            Whether results can be differentiated with respect to it.
        outer : int, optional
            Slot on the tape around that has its value.
        """
        leaf = self._leaf(layout, active=active)
        self.inputs.append(leaf)
        if outer is not None:
            self.lifting.bind(leaf, outer, batched=False)
        return record.new_tensor(self, leaf, layout)

    def argument(self, layout: Layout, *, active: bool, outer: int | None = None) -> AnyTensor:
        """Add an input, and return a view of it: a function of the user's does not get a leaf."""
        leaf = record.operand(self, self.input(layout, active=active, outer=outer))
        view = view_instruction(TABLE["alias"], layout, layout.shape, layout.strides)
        return record.new_tensor(self, self.append_view(view, leaf, 0), layout)

    def stands_for(self, slot: int) -> int | None:
        """Slot of the tape around that a leaf stands for; an input stands for itself."""
        return None if slot in self.inputs else super().stands_for(slot)

    def append(
        self, instruction: Instruction, slots: Sequence[int], extra: Sequence[int] = ()
    ) -> int:
        """Append a statement, and note the line that does so."""
        slot = super().append(instruction, slots, extra)
        if self.notes_lines:
            self.lines[slot] = source_line()
        return slot

    def undo(self, count: int) -> None:
        """Take back statements from slot `count` on, and forget what was captured there."""
        super().undo(count)
        self.captured = {leaf: x for leaf, x in self.captured.items() if leaf < self.count}

    def settle(self) -> None:
        """Place views; a pass begins here, whose statements native code may append."""
        super().settle()
        if self.notes_lines:
            self.lines.setdefault(self.count, source_line())

    def capture(self, tensor: TensorHandle) -> int:
        """Slot that stands for a tensor of the surroundings."""
        leaf = super().capture(tensor)
        self.captured.setdefault(leaf, tensor)
        return leaf

    # ------------------------------------------------------------------ values
    def number(self, slot: int, kind: dtype) -> float | int | bool:
        """The first element of a slot's value, which is noted."""
        layout = self.instruction_of(slot).out
        return self.value(slot, layout).reshape(-1)[0].item()

    def value(self, slot: int, layout: Layout) -> np.ndarray:
        """A copy of a slot's value, which is noted."""
        if not self.may_read or self.closed:
            self.refuse("reads a value")
        value = self.outer.value(self._outside(slot), layout)
        self.reads.append(Read(slot, np.array(value), source_line()))
        return value

    @property
    def has_values(self) -> bool:
        """True if there are values in this run, as the inputs have."""
        around = self.outer.has_values if isinstance(self.outer, ClosedTrace) else True
        return around and not self.closed and self.lifting.slots.keys() >= {*self.inputs}

    def example(self, slot: int, layout: Layout) -> np.ndarray:
        """A copy of a slot's value in this run, of which nothing but shapes may be kept: it is not noted."""
        outer, outside = self.outer, self._outside(slot)
        if isinstance(outer, ClosedTrace):
            return outer.example(outside, layout)
        return np.array(outer.value(outside, layout))

    def expose(self, slot: int, layout: Layout) -> np.ndarray:
        """A copy of a slot's value, which is noted; nothing may be written into the memory, then."""
        value = self.value(slot, layout)
        self.exposed.add(int(self.base[slot]))
        value.flags.writeable = False
        return value

    # ------------------------------------------------------------------ results
    def close(
        self, tensors: Sequence[TensorHandle], in_spec: Any, out_spec: Any, *,
        more: Iterable[int] = (), batch: Batch | None = None,
    ) -> ClosedTape:  # fmt: skip
        """Make a closed tape of the statements that results need.

        Parameters
        ----------
        tensors : sequence of Tensor
            The results.
        in_spec, out_spec : Spec
            Structure of the arguments and of the results.
        more : iterable of int
            Slots that are wanted behind the results.
        batch : Batch, optional
            What the trace is one example of.
        """
        if self.refused:
            self.refuse(self.refused)
        self._check()
        if not self.exposed.isdisjoint(self.versions):
            self.refuse("writes into memory of which it has an array")
        results = [*map(self._result, tensors), *more]
        direct = (
            None
            if batch or self.lines
            else cut_trace(self, [*self.inputs, *self.captured], results)
        )
        if direct is not None and (
            self.may_read or all(self.instruction_of(slot).out.is_contiguous for slot in direct[1])
        ):
            names = [*self.inputs, *self.captured]
            return ClosedTape(
                direct[0], tuple([self.instruction_of(k).out for k in names]),
                tuple(map(self.is_active, names)),
                tuple([self._constant(self.owned[slot]) for slot in direct[1]]), in_spec, out_spec,
            )  # fmt: skip
        target = Tape(256, abstract=True)
        target.state[nt.S_PENDING_LIMIT] = 1 << 62
        lifting = _Closing(self, target, batch.size if batch else 0, shares=self.may_read)
        names = [*self.inputs, *self.captured]
        axes = batch.axes if batch else (None,) * len(names)
        inputs = [self._bind(lifting, leaf, axis) for leaf, axis in zip(names, axes, strict=True)]
        lifting.run(results)
        outputs = [lifting.result(slot) if batch else lifting.at(slot) for slot in results]
        places: dict[int, int] = {}
        segment = cut(target, outputs, 1, with_modes=True, places=places)
        numbers = {slot: i for i, slot in enumerate(inputs)}
        arrays: list[np.ndarray] = []
        for slot in segment.inputs:
            if slot not in numbers:
                numbers[slot] = len(inputs) + len(arrays)
                arrays.append(self._constant(target.owned[slot]))
        return ClosedTape(
            renamed(segment, numbers), tuple([target.instruction_of(k).out for k in inputs]),
            tuple(map(self.is_active, names)), tuple(arrays), in_spec, out_spec,
            self._lines_of(segment, places, lifting.origins),
        )  # fmt: skip

    def _result(self, tensor: TensorHandle) -> int:
        """Slot of a result: a copy of a constant, which is every run's."""
        slot = record.operand(self, tensor)
        base = int(self.base[slot])
        is_constant = self.instruction_of(base).op.kind == nt.LEAF and base not in self._stand_ins
        is_number = not self.may_read and not self.instruction_of(base).out.ndim
        if not is_constant or is_number or base in self.copies:
            return slot
        clone = instruction(TABLE["clone"], (self.instruction_of(slot).out,))
        return self.append(clone, (slot,))

    def _constant(self, owner: Any) -> np.ndarray:
        """Memory that the tape uses: of its own, but where what others write there is to be seen."""
        array = np.asarray(getattr(owner, "array", owner))
        return array if self.may_read else np.array(array, order="C")

    def _lines_of(
        self, segment: Segment, places: dict[int, int], origins: dict[int, int]
    ) -> tuple[str, ...]:
        """The source line of each statement; nothing if none is known."""
        if not self.lines:
            return ()
        lines, known = [""] * len(segment.steps), sorted(self.lines)
        for slot, place in places.items():
            before = bisect.bisect(known, origins.get(slot, 0))
            if place >= 0 and before:
                lines[place] = self.lines[known[before - 1]]
        for k, step in enumerate(segment.steps):
            if INSTRUCTIONS[step.number].op.kind == nt.OUTPUT:
                lines[k] = lines[k - 1]
        return tuple(lines)

    def _bind(self, lifting: Slices, leaf: int, axis: int | None) -> int:
        """Bind what stands on the target for an input, with examples along an axis; its slot there."""
        target, layout = lifting.target, self.instruction_of(leaf).out
        if axis is not None:
            shape = [*layout.shape]
            shape.insert(axis, lifting.size)
            layout = contiguous(layout.dtype, tuple(shape))
        keep = Storage(_NOTHING, leaf=True)
        slot = target.bind(_NOTHING, layout, active=self.is_active(leaf), keep=keep)
        whole = slot
        if axis:
            order = [axis, *(i for i in range(layout.ndim) if i != axis)]
            shape, strides = ([part[i] for i in order] for part in (layout.shape, layout.strides))
            view = view_instruction(TABLE["permute"], layout, tuple(shape), tuple(strides))
            whole = lifting.op("clone", target.append_view(view, slot, 0))
        lifting.bind(leaf, whole, batched=axis is not None)
        return slot


def renamed(segment: Segment, numbers: dict[int, int]) -> Segment:
    """The segment with other names of its inputs."""
    leaves = [
        leaf._replace(value=numbers[leaf.value]) if leaf.code == nt.SEG_INPUT else leaf
        for leaf in segment.leaves
    ]
    return Segment(segment.steps, tuple(leaves), segment.results, segment.noted)


def _memory_of(array: np.ndarray) -> np.ndarray:
    """A copy of an array's memory, from its first element to its last one."""
    count = (
        1
        + sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))
        // array.itemsize
    )
    memory: np.ndarray = np.zeros(max(count, 0), array.dtype)
    np.lib.stride_tricks.as_strided(memory, array.shape, array.strides)[...] = array
    return memory


@contextmanager
def recording(trace: ClosedTrace) -> Iterator[None]:
    """Record on a trace."""
    try:
        trace.begin()
        yield
    finally:
        try:
            trace.end()
        finally:  # an interrupt may have come in between
            trace.end()


def recorded(
    function: Callable[[list[Any]], Sequence[Any]], inputs: Sequence[Layout], active: Sequence[bool],
    in_spec: Any, out_spec: Any, batch: Batch | None = None,
) -> ClosedTape:  # fmt: skip
    """Record a function of flat inputs, without values.

    Parameters
    ----------
    function : callable
        Takes a list of tensors, and returns a sequence of them.
    inputs : sequence of Layout
    active : sequence of bool
    in_spec, out_spec : Spec
        The structure that the tape's arguments and results have; None for a list.
    batch : Batch, optional
        What inputs and results of the tape are, whose examples the function computes.
    """
    trace = ClosedTrace(current_tape(), "a transform of a tape", "which a tape cannot")
    with recording(trace):
        trace.state[nt.S_GRAD_MODE] = True
        results = function([trace.input(x, active=a) for x, a in zip(inputs, active, strict=True)])
        if out_spec is None:
            out_spec = structure([0] * len(results))[1]
        return trace.close(results, in_spec, out_spec, batch=batch)
