"""Traces: the run of a function on one slice, recorded without values, to be lifted.

A `Trace` is a tape like any other, but for what it does not know: values. The function that `vmap` maps
runs on it once, on leaves with the layout of a slice. Reverse passes inside of the function are replayed,
which takes no values either. Then `Trace.results` records what the results need on the tape around it, for
all slices at once (batched_statement.py), and that tape may be the trace of another `vmap`.

What a tensor of the surroundings is on a trace: a leaf that stands for it (`Trace.capture`). While the trace
records, the tape around does not record natively, so that all that the function does comes here.

A function that wants to know a value, or writes into its surroundings, cannot be lifted. Then `NotLifted` is
raised inside of it, and remembered in `refused`, for the function may catch it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from ..base.dtypes import dtype
from ..base.errors import TapeError
from ..native import abi as nt
from ..native.exchange import Exchange, Exchanged
from ..native.handle_type import AnyTensor, TensorHandle
from ..ops.instruction import view_instruction
from ..ops.layout import Layout, intern
from ..ops.table import TABLE
from ..tape import current as threads
from ..tape import recording as record
from ..tape.leaf_storage import Storage
from ..tape.tape import TAPES, Tape
from .batch_plan import Lifted, Result, Slices

__all__ = ["NotLifted", "Trace", "private_copy"]

#: where values of a trace seem to be; nothing reads there, but views are known by their offsets
NOWHERE = 1 << 40
_ZERO = np.zeros(2)


class NotLifted(TapeError):
    """A function under `vmap` did something that cannot be done for all slices at once."""


class Trace(Lifted):
    """A tape that records a function's run on one slice.

    Parameters
    ----------
    outer : Tape
        The tape around it, where the results will be.
    size : int
        Number of slices.
    randomness : str
        The mode of `vmap`, for Functions that ask.

    Attributes
    ----------
    copies : dict
        Leaf that transforms made (`private_copy`) -> slot whose value it has.
    refused : str
        Why the function cannot be lifted; empty if it can.
    """

    #: True while nothing records here: before `begin` (which an interrupt may keep from coming), after `end`
    closed = True

    def __init__(self, outer: Tape, size: int, randomness: str = "error") -> None:
        _drop_closed()
        super().__init__(256, abstract=True)
        self.outer, self.size, self.randomness = outer, size, randomness
        self.state[nt.S_PENDING_LIMIT] = 1 << 62
        self.state[nt.S_GRAD_MODE] = outer.grad_mode
        self.state[nt.S_MASKS_ZEROS] = outer.masks_zeros
        self.lifting = Slices(self, outer, size)
        self.copies: dict[int, int] = {}
        self.refused = ""
        #: the refusal that the caller of `vmap` is told in any case
        self.error: Exception | None = None
        #: the state around the trace that `begin` changed
        self._before: tuple[int, int, bool] | None = None
        self._known: dict[int, int] = {}
        #: leaf -> what it is a slice of, and along which dimension
        self._sliced: dict[int, tuple[TensorHandle, int]] = {}
        self._settled = 1

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self.address[:] = 0  # nothing there is to be given back
        super().__del__()

    # ------------------------------------------------------------------ one run
    def begin(self) -> None:
        """Let this thread record here; whatever happens then, `end` follows."""
        outer, self.closed = self.outer, False
        outer.make_room()
        self._before = outer.counted, outer.busy[nt.BUSY_LIFTED], outer.grad_mode
        outer.counted += 1  # slots are known by number: they stay
        outer.busy[nt.BUSY_LIFTED] = True
        threads.record_on(self)

    def end(self) -> None:
        """Let the thread record around the trace again, as it did before `begin`, even if that failed."""
        self.closed = True
        if self._before is not None:
            outer = self.outer
            threads.record_on(outer)
            counted, lifted, mode = self._before
            outer.counted, outer.busy[nt.BUSY_LIFTED] = counted, lifted
            outer.state[nt.S_GRAD_MODE] = mode
        for book in (self.contexts, self.hooks, self.retained, self._sliced):
            book.clear()

    def refuse(self, why: str) -> NoReturn:
        """Raise that the function cannot be lifted."""
        self.refused = self.refused or why
        if self.closed:
            raise TapeError(
                "a tensor of a function that vmap ran was used after it; let the function return it"
            )
        raise NotLifted(f"vmap: the function {why}, so that it runs once a slice")

    def fail(self, error: str) -> NoReturn:
        """Raise a RuntimeError that the caller of `vmap` is told in any case, instead of runs on slices."""
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

    def number(self, slot: int, kind: dtype) -> float | int | bool:
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
        return self.bind(_ZERO, layout, active=active, keep=keep)

    def slice_of(self, tensor: TensorHandle, dim: int) -> AnyTensor:
        """The function's argument for a tensor that is sliced along a dimension."""
        outer = self.outer
        slot = record.operand(outer, tensor)
        layout = outer.instruction_of(slot).out
        shape, strides = list(layout.shape), list(layout.strides)
        if dim != 0:
            shape.insert(0, shape.pop(dim))
            strides.insert(0, strides.pop(dim))
            view = view_instruction(TABLE["permute"], layout, tuple(shape), tuple(strides))
            slot = outer.append_view(view, slot, 0)
        inner = intern(layout.dtype, tuple(shape[1:]), tuple(strides[1:]))
        leaf = self._leaf(inner, active=outer.is_active(slot))
        self.lifting.bind(leaf, slot, batched=True)
        self._sliced[leaf] = tensor, dim
        # A view of the leaf, as the function does not get a leaf of the user's.
        view = view_instruction(TABLE["alias"], inner, inner.shape, inner.strides)
        return record.new_tensor(self, self.append_view(view, leaf, 0), inner)

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

    # ------------------------------------------------------------------ Functions with rules
    def batches(self, values: Sequence[Any]) -> tuple[list[Any], list[int | None]]:
        """Arguments as they are on the tape around, and the dimension of slices of each.

        What they depend on is recorded there now.
        """
        self._check()
        tensors = [i for i, x in enumerate(values) if record.is_tensor(x)]
        slots = [record.operand(self, values[i]) for i in tensors]
        mode = self.outer.grad_mode
        try:
            self.lifting.run(slots)
        finally:
            self.outer.state[nt.S_GRAD_MODE] = mode
        outer_values = list(values)
        dims: list[int | None] = [None] * len(values)
        for i, slot in zip(tensors, slots, strict=True):
            sliced = self._sliced.get(self._aliased(slot))
            if sliced is not None:  # as it was given to `vmap`
                outer_values[i], dims[i] = sliced
                continue
            counterpart = self.lifting.at(slot)
            outer_values[i] = record.new_tensor(
                self.outer, counterpart, self.lifting.layout(counterpart)
            )
            dims[i] = 0 if slot in self.lifting.batched else None
        return outer_values, dims

    def _aliased(self, slot: int) -> int:
        """The slot that an alias stands for."""
        while self.instruction_of(slot).op is TABLE["alias"]:
            (slot,) = self.args_of(slot)
        return slot

    def around(self) -> Exchange:
        """Return a context manager: record on the tape around."""
        assert self._before is not None
        outer, lifted, mode = self.outer, nt.BUSY_LIFTED, nt.S_GRAD_MODE
        return Exchanged(
            (outer.busy, lifted, outer.busy[lifted], self._before[1]),
            (outer.state, mode, outer.state[mode], self.grad_mode),
            *threads.recording_on(outer).changes()[0],
        )

    def slices(self, values: Sequence[Any], dims: Sequence[int | None]) -> list[Any]:
        """The function's arguments for values on the tape around."""
        inner_values = []
        for x, d in zip(values, dims, strict=True):
            if not record.is_tensor(x):
                inner_values.append(x)
            elif d is None:
                leaf = self.capture(x)
                layout = self.instruction_of(leaf).out
                view = view_instruction(TABLE["alias"], layout, layout.shape, layout.strides)
                inner_values.append(
                    record.new_tensor(self, self.append_view(view, leaf, 0), layout)
                )
            else:
                inner_values.append(self.slice_of(x, d % x.ndim))
        return inner_values

    # ------------------------------------------------------------------ results
    def results(self, tensors: Sequence[TensorHandle], whole: Sequence[bool]) -> list[Result]:
        """Record what results need on the tape around.

        Parameters
        ----------
        tensors : sequence of Tensor
        whole : sequence of bool
            Whether a result is to have the batch as first dimension even if it does not depend on it.
        """
        if self.refused:
            raise NotLifted(self.refused)
        self._check()
        outer = self.outer
        slots = [record.operand(self, t) for t in tensors]
        mode = outer.grad_mode
        try:
            results = self.lifting.results(slots, whole)
        finally:
            outer.state[nt.S_GRAD_MODE] = mode
        if outer.state[nt.S_EAGER] and not outer.abstract:
            outer.evaluate()
        return results

    def _check(self) -> None:
        """Raise for what would be lost, or act on the surroundings."""
        if self.retained or any(self.hooks.values()):
            self.refuse("has hooks that wait for another pass")
        slots = self.lifting.slots
        if any(base in slots for base in self.versions):
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
