"""One reverse pass over a tape: what is seeded, what is wanted, and the arrays for the sweep.

A `Request` fills the structure that the native sweeps read (fields ``R_*`` of native.py), and calls them
in order: `Request.prepare` marks what will be visited and raises what would stop it, `Request.sweep`
runs, `Request.release` gives memory back. It is a context manager that holds the tape's lock.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from functools import cache

import numpy as np

from . import collector, fuse, messages, sweep, vjp
from . import native as nt
from .dtypes import type_name
from .errors import UnsupportedError
from .instructions import INSTRUCTIONS, instruction
from .layouts import Layout
from .native import (
    IS_FREED, IS_MISSING, IS_STALE, R_ADJOINT, R_CAPTURE_COUNT, R_CAPTURES, R_ERROR_ARG,
    R_ERROR_SLOT, R_HIGH, R_LAST_WRITE, R_LOW, R_MISSING, R_MISSING_COUNT, R_NEEDED, R_REACHED,
    R_ROOT, R_ROOT_COUNT, R_WIDTH, R_WRITE_COUNT, R_WRITES,
)  # fmt: skip
from .ops.table import TABLE
from .tape import Tape, array_at

__all__ = ["Request", "Target"]

#: instructions without programs that `prepare` reports at once
MISSING = 512


class Target:
    """A slot whose adjoint is wanted as a value: taken when the sweep comes to `position`."""

    __slots__ = ("array", "layout", "position", "result", "slot")

    def __init__(self, slot: int, position: int, layout: Layout) -> None:
        self.slot = slot
        self.position = position
        self.layout = layout
        self.array: np.ndarray | None = None
        self.result: int | None = None  # slot of the cotangent, where the pass is replayed


class Request:
    """One reverse pass over a tape: what is seeded, what is wanted, and the arrays for the sweep."""

    def __init__(
        self, tape: Tape, roots: Sequence[int], targets: Sequence[Target], *, leaves: bool
    ) -> None:
        self.tape = tape
        self.roots = roots
        self.targets = targets
        n = tape.count
        self.root = tape.root
        self._separate_views()
        self.high = max([*roots, *(self._last_write(s) for s in roots)], default=0)
        # One block for all arrays of the request: making a small array costs a microsecond.
        writes = len(tape.writes)
        words, captures = R_WIDTH, 4 * len(targets)
        adjoint = words + captures + 2 * writes
        missing = adjoint + n
        last = missing + MISSING // 2
        marks = last + ((n + 1) // 2 if writes else 0)
        block = tape.zeroed_block(marks + (2 * n + 7) // 8)
        start = tape.block_pointer
        self.words = block[:words]
        self._captures = block[words : words + captures].reshape(-1, 4)
        self.adjoint = block[adjoint:missing]
        self._missing = block[missing:last].view(np.int32)
        bytes_ = block[marks:].view(np.uint8)
        self.needed, self.reached = bytes_[:n], bytes_[n : 2 * n]
        if writes:
            block[words + captures : adjoint] = np.array(tape.writes, np.int64).ravel()
        if leaves:
            np.bitwise_and(tape.flags[:n], nt.ACTIVE, out=self.needed)
        low = self.high + 1 if leaves else min((t.slot for t in targets), default=n)
        root = self.root
        for t in targets:
            self.needed[root[t.slot]] = 1
        self._mark_roots()
        for t in targets:
            tape.flags[t.position] |= nt.CAPTURE
        at = self.words
        at[R_ROOT_COUNT] = np.count_nonzero(self.reached)
        at[R_ADJOINT] = start + 8 * adjoint
        at[R_NEEDED] = start + 8 * marks
        at[R_REACHED] = start + 8 * marks + n
        at[R_HIGH] = self.high
        at[R_LOW] = low
        at[R_ROOT] = tape.state[nt.S_ROOT] if root is tape.root else root.ctypes.data
        at[R_CAPTURES] = start + 8 * words
        at[R_WRITES] = start + 8 * (words + captures)
        at[R_WRITE_COUNT] = writes
        at[R_MISSING] = start + 8 * missing
        at[R_LAST_WRITE] = start + 8 * last
        self.pointer = start

    def _mark_roots(self) -> None:
        for slot in self.roots:
            self.reached[self.root[slot]] = 1

    def __enter__(self) -> Request:
        self.tape.lock.acquire()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is not None:  # whatever happened: adjoints go back, nothing counts as freed
                self.release(free=False)
        finally:
            self.tape.lock.release()

    def _last_write(self, slot: int) -> int:
        """Last statement that wrote into a slot's memory, or the slot."""
        base = int(self.tape.base[slot])
        root = int(self.tape.root[slot])
        found = [
            mark >> 1
            for b, mark in self.tape.writes
            if b == base and not mark & 1 and self.tape.root[mark >> 1] == root
        ]
        return max([slot, *found])

    def _separate_views(self) -> None:
        """Give every wanted view an adjoint of its own, apart from its root's."""
        tape = self.tape
        for t in self.targets:
            old = int(self.root[t.slot])
            if old == t.slot or tape.instruction_of(t.slot).op.kind != nt.VIEW:
                continue
            if t.layout.overlaps:
                raise UnsupportedError(
                    "the gradient of an expanded view is not kept apart from its base's; take the "
                    "gradient of the tensor before .expand(), or use .expand(...).clone()"
                )
            base = int(tape.base[t.slot])
            if any(b == base and mark >> 1 > t.slot for b, mark in tape.writes):
                raise UnsupportedError(
                    "the gradient of a view whose base was written in place afterwards is not kept "
                    "apart; take the gradient of a .clone() of it"
                )
            if self.root is tape.root:
                self.root = tape.root.copy()
            self.root[t.slot] = t.slot
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
                for number in set(self._missing[: self.words[R_MISSING_COUNT]].tolist()):
                    vjp.build(INSTRUCTIONS[number])
                self.reached.fill(0)
                self._mark_roots()
                continue
            if answer == IS_FREED:
                raise RuntimeError(messages.FREED)
            if answer == IS_STALE:
                raise RuntimeError(
                    self._stale(int(self.words[R_ERROR_SLOT]), int(self.words[R_ERROR_ARG]))
                )
            return

    def _stale(self, slot: int, residual: int) -> str:
        tape = self.tape
        base = int(tape.base[residual])
        version = tape.versions.get(base, 0)
        later = sum(1 for b, mark in tape.writes if b == base and mark > 2 * slot)
        made = tape.instruction_of(residual)
        current = tape.instruction_of(self._last_write(residual))
        origin = ""
        if tape.is_active(residual):
            named = current if current.op.kind != nt.LEAF else made
            origin = f", which is output 0 of {named.grad_fn.removesuffix('Backward0')}"
        shape = str(list(made.out.shape))
        return messages.STALE.format(
            kind=type_name(made.out.dtype), shape=shape, origin=origin, version=version,
            expected=version - later,
        )  # fmt: skip

    def sweep(self, seeds: Sequence[np.ndarray]) -> None:
        """Run the reverse sweep from `seeds`, one contiguous array a root."""
        tape = self.tape
        for i, t in enumerate(self.targets):
            t.array = np.empty(t.layout.shape, t.layout.dtype.np)
            at = t.array.ctypes.data
            self._captures[i] = t.position, t.slot, at, _copy_of(t.layout)
        self.words[R_CAPTURE_COUNT] = len(self.targets)
        for slot, seed in zip(self.roots, seeds, strict=True):
            self.words[R_ERROR_ARG] = _copy_of(tape.instruction_of(slot).out)
            address = seed.__array_interface__["data"][0]
            if sweep.seed(tape.pointer, self.pointer, slot, address) != 0:
                self._no_memory()
        if sweep.reverse(tape.pointer, self.pointer) != 0:
            self._no_memory()
        for i, t in enumerate(self.targets):
            if self._captures[i, 0] != -1:
                t.array = None  # the sweep never came by

    def _no_memory(self) -> None:
        raise MemoryError("backward: no memory for adjoints; use smaller tensors or fewer at once")

    def leaf_adjoint(self, slot: int, layout: Layout) -> np.ndarray | None:
        """The adjoint of a leaf after the sweep; large ones are taken over, not copied."""
        address = int(self.adjoint[slot])
        if address == 0:
            return None
        self.adjoint[slot] = 0
        if layout.span <= nt.SMALL:
            return array_at(address, layout).copy()
        if layout.is_contiguous:
            return array_at(address, layout, _Buffer(address))
        array = array_at(address, layout).copy()
        collector.give_back(self.tape.pointer, address, layout.span)
        return array

    def forget(self) -> None:
        """Take the marks of targets off the tape, where no sweep follows."""
        for t in self.targets:
            self.tape.flags[t.position] &= ~nt.CAPTURE & 0xFF

    def release(self, *, free: bool) -> None:
        """Give adjoints back; with `free`, residuals of what was swept count as freed."""
        self.forget()
        sweep.release(self.tape.pointer, self.pointer, int(free))
        self.tape.checked()
        fuse.heat()


class _Buffer:
    """Memory from native code that goes when the last array over it goes."""

    __slots__ = ("__weakref__",)

    def __init__(self, address: int) -> None:
        weakref.finalize(self, _free, address).atexit = False


_free = ctypes.CDLL(None).free
_free.argtypes, _free.restype = [ctypes.c_void_p], None


@cache
def _copy_of(layout: Layout) -> int:
    """Number of the instruction that copies a layout, its VJP (the identity) built."""
    made = instruction(TABLE["clone"], (layout,))
    vjp.build(made)
    return made.id
