"""Traces: a function's run recorded without values.

A `Trace` is a tape like any other, but for what it does not know: values. A function runs on it once, on
leaves that have a layout and no memory. Reverse passes inside of the function are replayed, which takes no
values either. What is made of it then is up to the kind of trace: statements for all slices of a batch
(batch_trace.py), or a closed tape (closing.py).

What a tensor of the surroundings is on a trace: a leaf that stands for it (`Trace.capture`). While the trace
records, the tape around does not record natively, so that all that the function does comes here.

A function that does what cannot be recorded so is refused: `NotLifted` is raised inside of it, and remembered
in `refused`, for the function may catch it.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from ..base.dtypes import dtype
from ..base.errors import TapeError
from ..native import abi as nt
from ..native.exchange import Exchange, Exchanged
from ..native.handle_type import AnyTensor, TensorHandle
from ..ops.layout import Layout
from ..tape import current as threads
from ..tape import recording as record
from ..tape.leaf_storage import Storage
from ..tape.tape import TAPES, Tape
from .batch_plan import Lifted, Slices

__all__ = ["NotLifted", "Trace", "private_copy"]

#: where values of a trace seem to be; nothing reads there, but views are known by their offsets
NOWHERE = 1 << 40
_ZERO = np.zeros(2)


class NotLifted(TapeError):
    """A function did something that a trace cannot record."""


class Trace(Lifted):
    """A tape that records a function's run without values.

    Parameters
    ----------
    outer : Tape
        The tape around it.
    size : int
        Number of slices that results are made for.

    Attributes
    ----------
    copies : dict
        Leaf that transforms made (`private_copy`) -> slot whose value it has.
    refused : str
        Why the function cannot be recorded; empty if it can.
    """

    #: True while nothing records here: before `begin` (which an interrupt may keep from coming), after `end`
    closed = True
    #: what records the function, in errors
    recorder = "vmap"
    #: what happens now, or what the user may do
    remedy = "so that it runs once a slice"

    def __init__(self, outer: Tape, size: int = 0) -> None:
        _drop_closed()
        super().__init__(256, abstract=True)
        self.outer, self.size = outer, size
        self.state[nt.S_PENDING_LIMIT] = 1 << 62
        self.state[nt.S_GRAD_MODE] = outer.grad_mode
        self.state[nt.S_MASKS_ZEROS] = outer.masks_zeros
        self.lifting = Slices(self, outer, size)
        self.copies: dict[int, int] = {}
        #: statement -> the source line that recorded it and those behind it, where that is noted (closing.py)
        self.lines: dict[int, str] = {}
        #: leaves that have no values of their own
        self._stand_ins: set[int] = set()
        self.refused = ""
        #: the refusal that the caller is told in any case
        self.error: Exception | None = None
        #: the state around the trace that `begin` changed
        self._before: tuple[int, int, bool] | None = None
        self._known: dict[int, int] = {}
        self._settled = 1

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self.address[:] = 0  # nothing there is to be given back
        super().__del__()

    # ------------------------------------------------------------------ one run
    def begin(self) -> None:
        """Let this thread record here; whatever happens then, `end` follows."""
        outer, self.closed = self.outer, False
        self.busy[nt.BUSY_LIFTED] = False
        outer.make_room()
        self._before = outer.counted, outer.busy[nt.BUSY_LIFTED], outer.grad_mode
        outer.counted += 1  # slots are known by number: they stay
        outer.busy[nt.BUSY_LIFTED] = True
        threads.record_on(self)

    def end(self) -> None:
        """Let the thread record around the trace again, as it did before `begin`, even if that failed."""
        self.closed = True
        self.busy[nt.BUSY_LIFTED] = (
            True  # what native code knows how to record is refused here, too
        )
        if self._before is not None:
            outer = self.outer
            threads.record_on(outer)
            counted, lifted, mode = self._before
            outer.counted, outer.busy[nt.BUSY_LIFTED] = counted, lifted
            outer.state[nt.S_GRAD_MODE] = mode
        for book in (self.contexts, self.hooks, self.retained):
            book.clear()

    def refuse(self, why: str) -> NoReturn:
        """Raise that the function cannot be recorded."""
        self.refused = self.refused or why
        if self.closed:
            raise TapeError(
                f"a tensor of a function that {self.recorder} ran was used after it; let the function "
                "return it"
            )
        raise NotLifted(f"{self.recorder}: the function {why}, {self.remedy}")

    def fail(self, error: str) -> NoReturn:
        """Raise a RuntimeError that the caller is told in any case."""
        self.error = RuntimeError(error)
        raise self.error

    def evaluate(self) -> None:
        """Raise: there are no values."""
        self.refuse("reads a value")

    def _outside(self, slot: int) -> int:
        """Slot on the tape around of a value that is the same for all slices, if it is."""
        if self.closed:
            self.evaluate()
        self._check()
        mode = self.outer.grad_mode
        try:
            self.lifting.run([slot])
        finally:
            self.outer.state[nt.S_GRAD_MODE] = mode
        if slot in self.lifting.batched:
            self.evaluate()
        return self.lifting.at(slot)

    def number(self, slot: int, kind: dtype) -> complex | float | int | bool:
        """The first element of a slot's value, if it does not depend on the slice."""
        return self.outer.number(self._outside(slot), kind)

    def value(self, slot: int, layout: Layout) -> np.ndarray:
        """A copy of a slot's value, if it does not depend on the slice."""
        return self.outer.value(self._outside(slot), layout)

    def settle(self) -> None:
        """Give the statements addresses from which the places of views in their bases are seen."""
        address = self.address
        for slot in range(self._settled, self.count):
            kind = self.instruction_of(slot).op.kind
            if kind in (nt.VIEW, nt.WRITE, nt.ACCUMULATE):
                target = self.arg[self.arg_start[slot]]
                address[slot] = address[target] + self.view_offset(slot)
            elif kind != nt.LEAF:
                address[slot] = NOWHERE
        self._settled = self.count

    def offset_in_memory(self, slot: int) -> int:
        """As on another tape; for what it was given, with the offset of what that is a slice of."""
        if self.closed:
            self.evaluate()
        around = self.stands_for(int(self.base[slot]))
        before = 0 if around is None else self.outer.offset_in_memory(around)
        return before + super().offset_in_memory(slot)

    # ------------------------------------------------------------------ tensors of the surroundings
    def _leaf(self, layout: Layout, *, active: bool, keep: Any = None) -> int:
        keep = keep if keep is not None else Storage(_ZERO, leaf=True)
        leaf = self.bind(_ZERO, layout, active=active, keep=keep)
        self._stand_ins.add(leaf)
        return leaf

    def capture(self, tensor: TensorHandle) -> int:
        """Slot that stands for a tensor of the surroundings."""
        return self.capture_slot(record.operand(self.outer, tensor))

    def capture_slot(self, slot: int) -> int:
        """Slot that stands for one of the tape around."""
        outer, leaf = self.outer, self._known.get(slot)
        if leaf is None:
            layout = outer.instruction_of(slot).out
            active = outer.is_active(slot)
            leaf = self._leaf(layout, active=active, keep=outer.leaves.get(slot))
            self.lifting.bind(leaf, slot, batched=False)
            self._known[slot] = leaf
        return leaf

    def undo(self, count: int) -> None:
        """Take back statements from slot `count` on, and forget what was captured there."""
        super().undo(count)
        count = self.count  # as it is, if there is a tensor of them by now
        self._known = {outer: leaf for outer, leaf in self._known.items() if leaf < count}
        for book in (self.lifting.slots, self.copies):
            for slot in [slot for slot in book if slot >= count]:
                del book[slot]
        self.lines = {slot: line for slot, line in self.lines.items() if slot <= count}
        self.lifting.batched -= {slot for slot in self.lifting.batched if slot >= count}

    def stands_for(self, slot: int) -> int | None:
        """Slot of the tape around that a leaf stands for; None for a leaf that was made here."""
        return self.lifting.slots.get(slot) if slot not in self.copies else None

    def copy(self, tensor: TensorHandle) -> AnyTensor:
        """A leaf that requires grad and has a tensor's value."""
        slot = record.operand(self, tensor)
        layout = self.instruction_of(slot).out
        leaf = self._leaf(layout, active=True)
        self.copies[leaf] = slot
        copied = record.new_tensor(self, leaf, layout)
        copied._meta = self.leaves[leaf]
        return copied

    def around(self) -> Exchange:
        """Return a context manager: record on the tape around."""
        assert self._before is not None
        outer, lifted, mode = self.outer, nt.BUSY_LIFTED, nt.S_GRAD_MODE
        return Exchanged(
            (outer.busy, lifted, outer.busy[lifted], self._before[1]),
            (outer.state, mode, outer.state[mode], self.grad_mode),
            *threads.recording_on(outer).changes()[0],
        )

    def _check(self) -> None:
        """Raise for what would be lost, or act on the surroundings."""
        if self.retained or any(self.hooks.values()):
            self.refuse("has hooks that wait for another pass")
        around = self._stand_ins & self.lifting.slots.keys()  # what was read is among these, too
        if not around.isdisjoint(self.versions):
            self.refuse("writes into its arguments or its surroundings")

    def may_collect(self) -> bool:
        """Return False: slots are known by number here, and may not be renumbered."""
        return False


def private_copy(x: TensorHandle) -> AnyTensor:
    """A leaf that requires grad and has a copy of a tensor's value."""
    tape = threads.current_tape()
    if isinstance(tape, Trace):
        return tape.copy(x)
    return record.leaf_tensor(x._array(), x.dtype, requires_grad=True)


def _drop_closed() -> None:
    """Forget the traces that no tensor is on any more."""
    for pointer, tape in TAPES.copy().items():
        if isinstance(tape, Trace) and tape.closed and not tape.state[nt.S_HANDLE_COUNT]:
            TAPES.pop(pointer, None)
