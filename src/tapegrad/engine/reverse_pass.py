"""One reverse pass over a tape: its roots, its targets, and the arrays for the sweep.

A `Request` fills the structure that the native sweeps read (fields ``R_*`` of native/abi.py), and
calls them in order: `Request.prepare` marks what will be visited and raises errors that would stop it,
`Request.sweep` runs, `Request.release` gives memory back. It is a context manager that holds the
tape's lock.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from ctypes import memmove
from itertools import chain
from operator import itemgetter
from typing import Any, Self

import numpy as np

from ..base import torch_messages as messages
from ..base.dtypes import type_name
from ..base.errors import UnsupportedError
from ..native import abi as nt
from ..native.abi import (
    IS_FREED,
    IS_MISSING,
    IS_STALE,
    R_CAPTURE_COUNT,
    R_ERROR_ARG,
    R_ERROR_SLOT,
    R_EVERY,
    R_MISSING_COUNT,
    R_ROOT_COUNT,
    R_WIDTH,
)  # fmt: skip
from ..ops.instruction import INSTRUCTIONS, Instruction
from ..ops.layout import Layout
from ..rules import fusion as fuse
from ..rules.program_table import build, copy_of
from ..rules.traced_rule import instruction_at
from ..tape import anomaly, collector, versions, views
from ..tape.failures import failed, failing_statement
from ..tape.memory_views import Buffer, address_of, array_at
from ..tape.tape import Tape
from ..tape.watching import is_part
from . import detaching, separating
from . import native_entries as sweep
from .final_callbacks import finish
from .separating import Target

__all__ = ["Request", "Target", "innermost", "taken", "watches"]

#: bytes of a gradient up to which it is copied out of the sweep's memory, which stays with the pool
COPIED = 1 << 16


class Request:
    """One reverse pass over a tape: its roots, its targets, and the arrays for the sweep.

    The marks of a pass are in its own arrays, so passes may run inside each other. The tape's flag
    `WATCHED` says only where hooks are; a pass asks for those that it comes by.
    """

    def __init__(
        self, tape: Tape, roots: Sequence[int], targets: Sequence[Target], *, leaves: bool,
        raw: bool = False,
    ) -> None:  # fmt: skip
        self.tape = tape
        self.roots = roots
        self.targets = targets
        self.leaves = leaves
        #: targets are taken before their hooks, as PyTorch does for inputs that are not leaves
        self.raw = raw
        if tape.shared:
            versions.catch_up(tape)
        self._count = tape.count
        #: the slots' roots: the tape's, or a copy in which some views have an adjoint of their own
        self.root = tape.root
        high = roots[0] if len(roots) == 1 else max(roots)
        if tape.writes:
            writes = [versions.last_write(tape, s) for s in roots]
            high = max(high, *(k + views.goes_on_after(tape, k) for k in writes))
            # A root that is wanted may have been written without gradients.
            high = max(high, *(t.position for t in targets if t.slot in roots), 0)
        self.high = high
        #: contexts of the Functions that the pass called
        self.contexts: list[Any] = []
        self._copies: list[Instruction] = []
        #: late targets that a sweep has kept apart from their bases, once one has run
        self._late: list[int] | None = None
        #: True once a sweep has run
        self._swept = False
        #: functions called when the pass ends without an error
        self.ends: list[Callable[[], None]] = []
        #: functions called after them, when gradients have been accumulated (final_callbacks.py)
        self.finals: list[Callable[[], None]] = []
        #: notes of hooks over several tensors, kept as long as the pass lasts
        self.notes: dict[Any, Any] = {}
        #: expanded views that are wanted, which raise where the pass comes by
        self.expanded: list[Target] = []
        for t in targets:
            # The adjoint of a leaf stays to the end, so the sweep need not come to the leaf.
            t.is_leaf = t.position == t.slot and tape.instruction_of(t.slot).op.kind == nt.LEAF
            if not t.is_leaf:
                separating.separate_target(self, t)
        # One block for all arrays of the request; making small arrays costs a microsecond each.
        notes = tape.writes.copy()  # a finalizer may record more
        self._adjoint = R_WIDTH + 4 * len(targets) + 2 * len(notes)
        last = self._adjoint + self._count + nt.MISSING // 2
        self._marks = last + ((self._count + 1) // 2 if notes else 0)
        self._block = tape.take_block(self._marks + (2 * self._count + 7) // 8)
        self.pointer, self.words = self._block.address, self._block.words
        # Loops write to many tensors between two collections, so no Python for each.
        self._writes = list(zip(notes, map(itemgetter(-1), notes.values()), strict=True))
        self._lay_out()

    def _lay_out(self) -> None:
        """Lay out the request's arrays for the views that have an adjoint of their own by now."""
        tape, words, targets, roots = self.tape, self.words, self.targets, self.roots
        word = R_WIDTH
        for t in targets:
            words[word], words[word + 1], words[word + 3] = t.position, t.slot, t.is_late << 32
            word += 4
        count = len(self._writes)
        root = 0 if self.root is tape.root else address_of(self.root)
        single = roots[0] if len(roots) == 1 else 0
        sweep.start(
            tape.pointer, self.pointer, len(targets) | count << 32, len(targets) | self._count << 32,
            self.leaves | single << 1, self.high, root,
        )  # fmt: skip
        if count:
            self._block.array[self._adjoint - 2 * count : self._adjoint] = np.fromiter(
                chain.from_iterable(self._writes), np.int64, 2 * count
            )
        self.variant = words[nt.R_VARIANT] = nt.MASKED if tape.masks_zeros else 0
        if anomaly.checks_nan():
            words[R_EVERY] = 1
        if self.raw:
            words[nt.R_RAW] = 1
        if not single:
            self._mark_roots()

    @property
    def adjoint(self) -> np.ndarray:
        """Addresses of adjoints, by root slot; 0 where untouched."""
        return self._block.array[self._adjoint : self._adjoint + self._count]

    @property
    def needed(self) -> np.ndarray:
        """Marks by slot; not 0 for roots whose adjoint is wanted."""
        return self._block.array[self._marks :].view(np.uint8)[: self._count]

    @property
    def reached(self) -> np.ndarray:
        """Marks by slot; not 0 for roots that the sweep comes by."""
        return self._block.array[self._marks :].view(np.uint8)[self._count : 2 * self._count]

    @property
    def _captures(self) -> np.ndarray:
        """Rows (statement, slot, address, instruction) of targets that the sweep copies out."""
        rows = len(self.targets)
        return self._block.array[R_WIDTH : R_WIDTH + 4 * rows].reshape(-1, 4)

    def _mark_roots(self) -> None:
        distinct = {int(self.root[slot]) for slot in self.roots}
        marks = self._block.array.view(np.uint8)
        start = 8 * self._marks + self._count
        for root in distinct:
            marks[start + root] = (
                2  # the sweep has to come to it (`reach` in runtime/reverse_marking.py)
            )
        self.words[R_ROOT_COUNT] = len(distinct)

    def __enter__(self) -> Self:
        self._reference: weakref.ref[Request] = weakref.ref(self)
        self.tape.requests.append(self._reference)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:  # after an error adjoints go back, and nothing counts as freed
            self.words[nt.R_HIGH] = self.high  # callbacks moved it
            self.release(free=False)
        try:
            for call in () if kind is not None else self.ends:
                call()
        finally:
            self.tape.requests.remove(self._reference)
            self.tape.give_block(self._block)
        if kind is None and self.finals:
            self.tape.finals.extend(self.finals)
            if self.raw:  # nothing is accumulated
                finish(self.tape)

    # ------------------------------------------------------------------ views with their own adjoint
    def is_separable(self, slot: int) -> bool:
        """Return True for a view whose adjoint lies in its root's, but for the root itself as written."""
        is_view = self.tape.instruction_of(slot).op.kind == nt.VIEW
        return is_view and int(self.root[slot]) != slot and is_part(self.tape, slot)

    def separate(self, slot: int) -> None:
        """Give a view an adjoint of its own, apart from its root's."""
        if self.root is self.tape.root:
            self.root = self.tape.root.copy()
        self.root[slot] = slot

    def _separate_watched(self) -> bool:
        """Separate the views with hooks that the pass may come by; False if there are none."""
        tape, root, reached = self.tape, self.root, self.reached
        slots = np.flatnonzero(tape.flags[: self.high + 1] & nt.WATCHED)
        separated = False
        for slot in slots[reached[root[slots]] != 0].tolist():
            if not self.is_separable(slot):
                continue
            if not watches(tape, slot):  # but it may lie in a view that is watched
                parent = tape.args_of(slot)[0]
                if tape.flags[parent] & nt.WATCHED and is_part(tape, parent):
                    tape.flags[slot] |= nt.WATCHED
                continue
            if tape.instruction_of(slot).out.overlaps:
                if separating.comes_by(self, slot):
                    raise UnsupportedError(separating.EXPANDED)
                continue
            if (first := separating.first_write(tape, slot)) and separating.comes_by(
                self, slot, first
            ):
                raise UnsupportedError(separating.WRITTEN)
            self.separate(slot)
            separated = True
        return separated

    # ------------------------------------------------------------------ before the sweep
    def prepare(self) -> None:
        """Mark the roots that the sweep will visit, and raise errors that would stop it."""
        tape = self.tape
        while True:
            answer = sweep.prepare(tape.pointer, self.pointer)
            if answer == IS_MISSING:
                for number in set(self._missing().tolist()):
                    build(INSTRUCTIONS[number], int(self.words[nt.R_VARIANT]))
                self.forget_reached()
                continue
            slot = self.words[R_ERROR_SLOT]
            if answer == IS_FREED:
                tape.check_value(slot)
                anomaly.explain(tape, slot)
                raise RuntimeError(messages.FREED)
            if answer == IS_STALE:
                residual = int(self.words[R_ERROR_ARG])
                anomaly.explain(tape, slot, versions.last_write(tape, residual))
                raise RuntimeError(self._stale(slot, residual))
            flags = tape.flags
            watched = self.words[nt.R_SEPARABLE] or any([flags[s] & nt.WATCHED for s in self.roots])
            separated = bool(watched) and self._separate_watched()
            if not separated and not separating.leave_out_expanded(self):
                if tape.detached:
                    detaching.check(self)
                return
            variant, lanes = self.words[nt.R_VARIANT], self.words[nt.R_LANES]
            self._lay_out()
            self.words[nt.R_VARIANT], self.words[nt.R_LANES] = variant, lanes

    def forget_reached(self) -> None:
        """Take back what `prepare` marked, so that it can run again."""
        self.reached.fill(0)
        self._mark_roots()

    @property
    def is_watched(self) -> bool:
        """Return True if Python has something to do in the pass (after `prepare`): hooks, Functions."""
        return self.words[nt.R_WATCHED] != 0 or anomaly.checks_nan()

    def _missing(self) -> np.ndarray:
        """The instructions that `prepare` wants programs of."""
        start = self._adjoint + self._count
        numbers = self._block.array[start : start + nt.MISSING // 2].view(np.int32)
        return numbers[: self.words[R_MISSING_COUNT]]

    def _stale(self, slot: int, residual: int) -> str:
        tape = self.tape
        base = int(tape.base[residual])
        version = tape.versions.get(base, 0)
        later = versions.writes_behind(tape, base, slot)
        instruction = tape.instruction_of(residual)
        current = tape.instruction_of(versions.last_write(tape, residual))
        origin = ""
        if tape.is_active(residual) and not tape.wants_grad(residual):
            # A result is called after its own op, an operand after its last write.
            named = instruction if residual == slot or current.op.kind == nt.LEAF else current
            name = named.grad_fn.removesuffix("Backward0")
            if name in ("CopySlices", "CopyBackwards", "AsStrided"):
                name = "torch::autograd::CopySlices"
            origin = f", which is output 0 of {name},"
        shape = str(list(instruction.out.shape))
        return messages.stale(anomaly.is_on()).format(
            kind=type_name(instruction.out.dtype), shape=shape, origin=origin, version=version,
            expected=version - later,
        )  # fmt: skip

    def sweep(self, seeds: Sequence[np.ndarray], callbacks: Callable[[Request], Any]) -> None:
        """Run the reverse sweep from `seeds`, one contiguous array a root.

        `callbacks` makes of the request the object that does Python's part (`Swept` of python_steps.py).
        """
        tape = self.tape
        captured = [t for t in self.targets if not t.is_leaf]
        if self._late is None:
            self._late = [t.slot for t in captured if t.is_late and self.root[t.slot] == t.slot]
        for slot in self._late:  # a sweep before this one has joined them to their bases
            self.root[slot] = slot
        for i, t in enumerate(captured):
            t.array = np.empty(t.layout.shape, t.layout.dtype.np)
            self._captures[i] = self.capture_of(t, t.array)
        self.words[R_CAPTURE_COUNT] = len(captured)
        self.want_written()
        self.words[nt.R_SEEN] = 0
        for slot, seed in zip(self.roots, seeds, strict=True):
            self.words[R_ERROR_ARG] = self.copy_of(tape.instruction_of(slot).out)
            if sweep.seed(tape.pointer, self.pointer, slot, address_of(seed)) != 0:
                self.no_memory()
        here = sweep.reverse(tape.pointer, self.pointer)
        if here != 0:
            callbacks(self).run(here)
            self.words[nt.R_HIGH] = self.high  # callbacks moved it
        for i, t in enumerate(captured):
            if self._captures[i, 0] != -1:
                t.array = None  # the sweep never came by
        leaves: dict[int, np.ndarray | None] = {}
        for t in self.targets:
            if t.is_leaf:
                if t.slot not in leaves:
                    leaves[t.slot] = self.leaf_adjoint(t.slot, t.layout)
                adjoint = leaves[t.slot]
                again = adjoint is not None and any(u.array is adjoint for u in self.targets)
                t.array = adjoint.copy() if again and adjoint is not None else adjoint

    def capture_of(self, t: Target, array: np.ndarray) -> tuple[int, int, int, int]:
        """Row of `_captures` by which the sweep copies the adjoint of a target to an array."""
        return t.position, t.slot, address_of(array), self.copy_of(t.layout) | t.is_late << 32

    def want_written(self) -> None:
        """Let all written slots be wanted from their write on, where a sweep before has gone below it."""
        swept, self._swept = self._swept, True  # `prepare` leaves it so for the first
        if swept and self.words[nt.R_ENDS]:
            needed = self.needed
            slots = np.flatnonzero(needed & nt.ENDS)
            roots = self.root[slots]  # a late target lies in its base there
            needed[np.where(roots == slots, self.tape.root[slots], roots)] |= nt.ACTIVE

    def copy_of(self, layout: Layout) -> int:
        """Number of the instruction that copies a layout; it stays as long as the request does."""
        instruction = copy_of(layout, int(self.words[nt.R_VARIANT]))
        self._copies.append(instruction)
        return instruction.id

    def stopped(self) -> None:
        """Raise why a sweep has failed: a kernel has, or there was no memory."""
        tape, report = self.tape, self.words[nt.R_FAILURE]
        if not report:
            self.no_memory()
        slot = self.words[R_ERROR_SLOT]
        instruction = tape.instruction_of(slot)
        variant = int(self.words[nt.R_VARIANT])
        failing = instruction_at(instruction, variant, failing_statement(report))
        anomaly.explain(tape, slot)
        raise failed(failing, report, instruction).error()

    def no_memory(self) -> None:
        """Raise for adjoints that do not fit."""
        raise MemoryError("backward: no memory for adjoints; use smaller tensors or fewer at once")

    def address_of(self, slot: int) -> int:
        """Where a slot's adjoint is, 0 if it is untouched."""
        return self._block.words[self._adjoint + slot]

    def leaf_adjoint(self, slot: int, layout: Layout) -> np.ndarray | None:
        """The adjoint of a leaf after the sweep."""
        words, place = self._block.words, self._adjoint + slot
        address = words[place]
        if address == 0:
            return None
        words[place] = 0
        return taken(self.tape, address, layout)

    def clear(self) -> None:
        """Forget the adjoints of a sweep, so that another one can run from other seeds."""
        sweep.release(self.tape.pointer, self.pointer, 2 * (self.tape.passes <= 1))

    def release(self, *, free: bool) -> None:
        """Give adjoints back; with `free`, residuals of swept statements count as freed."""
        sweep.release(self.tape.pointer, self.pointer, free | 2 * (self.tape.passes <= 1))
        if free:
            for context in self.contexts:
                context.release()
        self.tape.checked()
        fuse.heat()


def innermost(tape: Tape) -> Request:
    """Return the pass of a tape that is under way, and of several the last that began."""
    alive = (request for reference in reversed(tape.requests) if (request := reference()))
    return next(alive)


def watches(tape: Tape, slot: int) -> bool:
    """Return True if hooks or a tensor wait for a slot's adjoint; a slot without them loses its notes."""
    hooks, kept = tape.hooks.get(slot), tape.retained.get(slot)
    if hooks or (kept is not None and kept() is not None):
        return True
    tape.hooks.pop(slot, None)
    tape.retained.pop(slot, None)
    tape.flags[slot] &= ~nt.WATCHED & 0xFF
    return False


def taken(tape: Tape, address: int, layout: Layout) -> np.ndarray:
    """The array of an adjoint that the sweep needs no more; large ones are not copied."""
    span = layout.span
    if layout.is_contiguous and span <= COPIED:
        array = np.empty(layout.shape, layout.dtype.np)
        memmove(address_of(array), address, span)
    elif layout.is_contiguous:
        return array_at(address, layout, Buffer(address, span, tape))
    else:
        array = array_at(address, layout).copy()
    if span > nt.SMALL:
        collector.give_back(tape.pointer, address, span)
    return array
