"""One reverse pass over a tape: what is seeded, what is wanted, and the arrays for the sweep.

A `Request` fills the structure that the native sweeps read (fields ``R_*`` of native.py), and calls
them in order: `Request.prepare` marks what will be visited and raises what would stop it,
`Request.sweep` runs, `Request.release` gives memory back. It is a context manager that holds the
tape's lock.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from ctypes import memmove
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from . import anomaly, collector, fuse, hooks, messages, sweep, versions
from . import native as nt
from .buffers import Buffer, address_of, array_at
from .dtypes import type_name
from .errors import UnsupportedError
from .instructions import INSTRUCTIONS, instruction
from .layouts import Layout
from .native import (
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
from .ops.table import TABLE
from .tape import Tape
from .vjp_programs import build

if TYPE_CHECKING:
    pass

__all__ = ["Request", "Target", "copy_of", "taken"]

#: bytes of a gradient up to which it is copied out of the sweep's memory, which stays with the pool
COPIED = 1 << 16
_EXPANDED = (
    "the gradient of an expanded view is not kept apart from its base's; take the gradient of the "
    "tensor before .expand(), or use .expand(...).clone()"
)
_WRITTEN = (
    "the gradient of a view whose base was written in place afterwards is not kept apart; take the "
    "gradient of a .clone() of it"
)


class Target:
    """A slot whose adjoint is wanted as a value: taken when the sweep comes to `position`."""

    __slots__ = ("array", "is_leaf", "layout", "position", "result", "slot")

    def __init__(self, slot: int, position: int, layout: Layout) -> None:
        self.slot = slot
        self.position = position
        self.layout = layout
        self.is_leaf = False
        self.array: np.ndarray | None = None
        self.result: int | None = None  # slot of the cotangent, where the pass is replayed


class Request:
    """One reverse pass over a tape: what is seeded, what is wanted, and the arrays for the sweep."""

    def __init__(
        self, tape: Tape, roots: Sequence[int], targets: Sequence[Target], *, leaves: bool,
        raw: bool = False,
    ) -> None:  # fmt: skip
        self.tape = tape
        self.roots = roots
        self.targets = targets
        #: targets are taken before their hooks, as PyTorch does for inputs that are not leaves
        self.raw = raw
        if tape.shared:
            versions.catch_up(tape)
        n = self._count = tape.count
        self.root = tape.root
        self._separate: list[int] = []
        high = roots[0] if len(roots) == 1 else max(roots)
        if tape.writes:
            high = max(high, *(versions.last_write(tape, s) for s in roots))
        self.high = high
        #: results with hooks that the pass may come by
        self.stops: list[Target] = []
        #: views with hooks that cannot be kept apart, and why: an error if the pass comes by
        self._inseparable: list[tuple[int, str]] = []
        #: contexts of the Functions that the pass called
        self.contexts: list[Any] = []
        if tape.hooks:
            self.stops = [
                Target(slot, slot, tape.instruction_of(slot).out)
                for slot, own in tape.hooks.copy().items() if slot <= high and own
            ]  # fmt: skip
        if targets or self.stops:
            self._separate_views()
        # One block for all arrays of the request; making small arrays costs a microsecond each.
        writes = len(tape.writes)
        rows = len(targets) + 2 * len(self.stops)
        captures = R_WIDTH + 4 * rows
        self._adjoint = captures + 2 * writes
        missing = self._adjoint + n
        last = missing + nt.MISSING // 2
        self._marks = last + ((n + 1) // 2 if writes else 0)
        self._block = block = tape.take_block(self._marks + (2 * n + 7) // 8)
        self.pointer = block.address
        words = self.words = block.words
        at = R_WIDTH
        for t in targets:
            words[at], words[at + 1] = t.position, t.slot
            # The adjoint of a leaf stays to the end, so the sweep need not come to the leaf.
            t.is_leaf = t.position == t.slot and tape.instruction_of(t.slot).op.kind == nt.LEAF
            at += 4
        root = 0 if self.root is tape.root else self.root.ctypes.data
        single = roots[0] if len(roots) == 1 else 0
        sweep.start(
            tape.pointer, self.pointer, rows | writes << 32, len(targets) | n << 32,
            leaves | single << 1, high, root,
        )  # fmt: skip
        if writes:
            block.array[captures : self._adjoint] = np.fromiter(
                chain.from_iterable(tape.writes[:writes]), np.int64, 2 * writes
            )
        self.variant = words[nt.R_VARIANT] = nt.MASKED if tape.masks_zeros else 0
        if anomaly.checks_nan():
            words[R_EVERY] = 1
        if raw and self.stops:
            words[nt.R_RAW] = 1
        if not single:
            self._mark_roots()
        for stop in self.stops:
            tape.flags[stop.slot] |= nt.CAPTURE

    @property
    def adjoint(self) -> np.ndarray:
        """Addresses of adjoints, by root slot; 0 where untouched."""
        return self._block.array[self._adjoint : self._adjoint + self._count]

    @property
    def needed(self) -> np.ndarray:
        """Whether a root's adjoint is wanted."""
        return self._block.array[self._marks :].view(np.uint8)[: self._count]

    @property
    def reached(self) -> np.ndarray:
        """Whether the sweep comes by a root."""
        return self._block.array[self._marks :].view(np.uint8)[self._count : 2 * self._count]

    @property
    def _captures(self) -> np.ndarray:
        """Rows (statement, slot, address, instruction) of what the sweep stops for."""
        rows = len(self.targets) + 2 * len(self.stops)
        return self._block.array[R_WIDTH : R_WIDTH + 4 * rows].reshape(-1, 4)

    def _mark_roots(self) -> None:
        distinct = {int(self.root[slot]) for slot in self.roots}
        marks = self._block.array.view(np.uint8)
        start = 8 * self._marks + self._count
        for root in distinct:
            marks[start + root] = (
                2  # the sweep has to come to it (`reach` in nopython/preparing.py)
            )
        self.words[R_ROOT_COUNT] = len(distinct)

    def __enter__(self) -> Self:
        self._reference: weakref.ref[Request] = weakref.ref(self)
        self.tape.requests.append(self._reference)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:  # whatever happened: adjoints go back, nothing counts as freed
            self.release(free=False)
        try:
            hooks.end_pass(self.tape, failed=kind is not None)
        finally:
            self.tape.requests.remove(self._reference)
            self.tape.give_block(self._block)

    def _separate_views(self) -> None:
        """Give every wanted view an adjoint of its own, apart from its root's."""
        tape = self.tape
        for t in (*self.targets, *self.stops):
            old = int(self.root[t.slot])
            if old == t.slot or tape.instruction_of(t.slot).op.kind != nt.VIEW:
                continue
            base = int(tape.base[t.slot])
            text = ""
            if t.layout.overlaps:
                text = _EXPANDED
            elif any(b == base and mark >> 1 > t.slot for b, mark in tape.writes):
                text = _WRITTEN
            if text and t in self.targets:
                raise UnsupportedError(text)
            if text:
                self._inseparable.append((t.slot, text))
                self.stops = [s for s in self.stops if s is not t]
                continue
            if self.root is tape.root:
                self.root = tape.root.copy()
            self.root[t.slot] = t.slot
            tape.flags[t.slot] |= nt.ACTIVE  # as a root; `forget` takes it off again
            self._separate.append(t.slot)
            n = tape.count
            for k in t.slot + 1 + np.flatnonzero(self.root[t.slot + 1 : n] == old):
                made = tape.instruction_of(int(k))
                if made.op.kind != nt.COMPUTE and int(tape.args_of(int(k))[0]) != old:
                    parent = tape.args_of(int(k))[0]
                    if self.root[parent] == t.slot:
                        self.root[k] = t.slot

    def prepare(self) -> None:
        """Find what the sweep will visit, and raise what would stop it."""
        while True:
            answer = sweep.prepare(self.tape.pointer, self.pointer)
            if answer == IS_MISSING:
                for number in set(self._missing().tolist()):
                    build(INSTRUCTIONS[number], int(self.words[nt.R_VARIANT]))
                self.reached.fill(0)
                self._mark_roots()
                continue
            slot = self.words[R_ERROR_SLOT]
            if answer == IS_FREED:
                anomaly.explain(self.tape, slot)
                raise RuntimeError(messages.FREED)
            if answer == IS_STALE:
                residual = int(self.words[R_ERROR_ARG])
                anomaly.explain(self.tape, slot, versions.last_write(self.tape, residual))
                raise RuntimeError(self._stale(slot, residual))
            for slot, text in self._inseparable:
                if self._comes_by(slot):
                    raise UnsupportedError(text)
            return

    def _comes_by(self, slot: int) -> bool:
        """Whether a statement that the pass visits uses a view, or it is a root."""
        tape, reached = self.tape, self.reached
        aliases = {slot}
        for k in range(slot + 1, self.high + 1):
            if aliases.intersection(tape.args_of(k)):
                if tape.instruction_of(k).op.kind != nt.COMPUTE:
                    aliases.add(k)
                elif reached[self.root[k]]:
                    return True
        return bool(aliases.intersection(self.roots))

    def _missing(self) -> np.ndarray:
        """The instructions that `prepare` wants programs of."""
        start = self._adjoint + self._count
        found = self._block.array[start : start + nt.MISSING // 2].view(np.int32)
        return found[: self.words[R_MISSING_COUNT]]

    def _stale(self, slot: int, residual: int) -> str:
        tape = self.tape
        base = int(tape.base[residual])
        version = tape.versions.get(base, 0)
        later = sum(1 for b, mark in tape.writes if b == base and mark > 2 * slot)
        made = tape.instruction_of(residual)
        current = tape.instruction_of(versions.last_write(tape, residual))
        origin = ""
        if tape.is_active(residual) and not tape.wants_grad(residual):
            # A result is called after its own op, an operand after what wrote it last.
            named = made if residual == slot or current.op.kind == nt.LEAF else current
            name = named.grad_fn.removesuffix("Backward0")
            if name in ("CopySlices", "CopyBackwards", "AsStrided"):
                name = "torch::autograd::CopySlices"
            origin = f", which is output 0 of {name},"
        shape = str(list(made.out.shape))
        return messages.stale(anomaly.is_on()).format(
            kind=type_name(made.out.dtype), shape=shape, origin=origin, version=version,
            expected=version - later,
        )  # fmt: skip

    def sweep(self, seeds: Sequence[np.ndarray], callbacks: Callable[[Request], Any]) -> None:
        """Run the reverse sweep from `seeds`, one contiguous array a root.

        `callbacks` makes of the request what does the Python part (`Swept` of callbacks.py).
        """
        tape = self.tape
        captured = [t for t in self.targets if not t.is_leaf]
        for i, t in enumerate(captured):
            t.array = np.empty(t.layout.shape, t.layout.dtype.np)
            self._captures[i] = t.position, t.slot, address_of(t.array), copy_of(t.layout)
        if self.stops:
            rows = [
                (t.slot, t.slot, 0, what)
                for t in self.stops
                for what in (nt.STOP_HOOK, nt.STOP_NODE)
                if what == nt.STOP_HOOK or tape.hooks[t.slot].takes_over()
            ]
            self._captures[len(captured) : len(captured) + len(rows)] = rows
            self.words[R_CAPTURE_COUNT] = len(captured) + len(rows)
        elif captured:
            self.words[R_CAPTURE_COUNT] = len(captured)
        for slot, seed in zip(self.roots, seeds, strict=True):
            self.words[R_ERROR_ARG] = copy_of(tape.instruction_of(slot).out)
            if sweep.seed(tape.pointer, self.pointer, slot, address_of(seed)) != 0:
                self.no_memory()
        python = None
        while (here := sweep.reverse(tape.pointer, self.pointer)) != 0:
            if here < 0:
                self.no_memory()
            if python is None:
                python = callbacks(self)
            python.run(here)
        if python is not None:
            self.words[nt.R_HIGH] = self.high  # callbacks moved it
        for i, t in enumerate(captured):
            if self._captures[i, 0] != -1:
                t.array = None  # the sweep never came by
        leaves: dict[int, np.ndarray | None] = {}
        for t in self.targets:
            if t.is_leaf:
                if t.slot not in leaves:
                    leaves[t.slot] = self.leaf_adjoint(t.slot, t.layout)
                found = leaves[t.slot]
                again = found is not None and any(u.array is found for u in self.targets)
                t.array = found.copy() if again and found is not None else found

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

    def forget(self) -> None:
        """Take the marks of targets off the tape, where no sweep follows."""
        for t in self.targets:
            if not t.is_leaf:
                self.tape.flags[t.position] &= ~nt.CAPTURE & 0xFF
        for t in self.stops:
            self.tape.flags[t.slot] &= ~nt.CAPTURE & 0xFF
        for slot in self._separate:
            self.tape.flags[slot] &= ~nt.ACTIVE & 0xFF

    def clear(self) -> None:
        """Forget the adjoints of a sweep, so that another one can run from other seeds."""
        sweep.release(self.tape.pointer, self.pointer, 2 * (self.tape.passes <= 1))

    def release(self, *, free: bool) -> None:
        """Give adjoints back; with `free`, residuals of what was swept count as freed."""
        sweep.release(self.tape.pointer, self.pointer, free | 2 * (self.tape.passes <= 1))
        if free:
            for context in self.contexts:
                context.release()
        self.forget()
        self.tape.checked()
        fuse.heat()


@cache
def copy_of(layout: Layout) -> int:
    """Number of the instruction that copies a layout, its VJP (the identity) built."""
    made = instruction(TABLE["clone"], (layout,))
    for variant in range(nt.VARIANTS):
        build(made, variant)
    return made.id


def taken(tape: Tape, address: int, layout: Layout) -> np.ndarray:
    """The array of an adjoint that the sweep needs no more; large ones are not copied."""
    span = layout.span
    if layout.is_contiguous and span <= COPIED:
        array = np.empty(layout.shape, layout.dtype.np)
        memmove(address_of(array), address, span)
    elif layout.is_contiguous:
        return array_at(address, layout, Buffer(address))
    else:
        array = array_at(address, layout).copy()
    if span > nt.SMALL:
        collector.give_back(tape.pointer, address, span)
    return array
