"""Reverse passes for many cotangents at once: `Lanes`, a request whose sweeps have lanes.

With lanes, each element of an adjoint is as many numbers in a row as there are cotangents in the sweep
(runtime/batched_interpreter.py), so that a dense Jacobian takes a sweep for some hundred rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..native import abi as nt
from ..tape import anomaly, collector
from ..tape.memory_views import address_of, lanes_at
from . import native_entries as sweep
from .reverse_pass import Request, Target

__all__ = ["Lanes"]

#: bytes that the largest adjoint should take with all its lanes, and that it may take
CACHED, LANE_BYTES = 1 << 20, 1 << 22
#: lanes that are worth more than adjoints in the cache
LANES_AT_LEAST = 16


class Lanes(Request):
    """A pass that sweeps for many cotangents at once."""

    #: cotangents in one sweep
    lanes = 1

    def prepare_for(self, count: int) -> bool:
        """Prepare `sweep_all` for `count` cotangents; False, and prepared for one, if it cannot be.

        It cannot where Python has something to do (hooks, Functions), and for a leaf that is not dense.
        """
        leaves = [t for t in self.targets if t.is_leaf]
        storages = [self.tape.leaves.get(t.slot) for t in leaves]
        apart = len({t.slot for t in self.targets}) == len(self.targets)
        dense = all(t.layout.is_contiguous for t in leaves)
        hooked = any(s is not None and s.hooks is not None and s.hooks.tensor for s in storages)
        if not apart or not dense or hooked or anomaly.checks_nan():
            self.prepare()
            return False
        self._set_lanes(count)
        self.prepare()
        if self.is_watched:
            self._set_lanes(1)
            self.forget_reached()
            self.prepare()
            return False
        return True

    def _choose_lanes(self, count: int) -> int:
        """Number of cotangents to sweep for at once: few enough for the caches, many enough to pay."""
        words, tape = self.words, self.tape
        largest: int = sweep.largest(tape.pointer, words[nt.R_STOP] + 1, words[nt.R_HIGH] + 1)
        largest = max([8, largest, *[t.layout.span for t in self.targets]])
        return max(1, min(count, max(LANES_AT_LEAST, CACHED // largest), LANE_BYTES // largest))

    def _set_lanes(self, count: int) -> None:
        words = self.words
        words[nt.R_LANES] = count
        words[nt.R_VARIANT] = words[nt.R_VARIANT] & ~nt.LANES | (nt.LANES if count > 1 else 0)

    def sweep_all(self, count: int, seeds: Sequence[np.ndarray] | None) -> list[np.ndarray | None]:
        """Sweep for `count` cotangents, many at a time; gradients with that dimension first.

        Parameters
        ----------
        count : int
        seeds : sequence of numpy.ndarray, optional
            For each root a cotangent a row; by default the unit vectors of the shape of the only root.

        Returns
        -------
        list
            None for a target that no sweep came to.
        """
        gradients: list[np.ndarray | None] = [None] * len(self.targets)
        self.lanes = self._choose_lanes(count)
        root = None if self.root is self.tape.root else self.root.copy()
        for start in range(0, count, self.lanes):
            lanes = min(self.lanes, count - start)
            self._set_lanes(lanes)
            if root is not None:  # a sweep lets late targets lie in their bases' adjoints
                self.root[:] = root
            adjoints = self._await(lanes)
            self._seed(start, lanes, seeds)
            if sweep.reverse(self.tape.pointer, self.pointer) != 0:
                self.stopped()
            for i, row in zip(list(adjoints), self._captures, strict=False):
                if row[0] != -1:  # the sweep never came by
                    del adjoints[i]
            for i, t in enumerate(self.targets):
                part = self._adjoint_of(t, lanes) if t.is_leaf else adjoints.get(i)
                if part is None:
                    continue
                rows = gradients[i]
                if rows is None:
                    new = np.empty if lanes == count else np.zeros
                    rows = gradients[i] = new((count, t.layout.size), t.layout.dtype.np)
                rows[start : start + lanes] = part.T
                if t.is_leaf and (size := t.layout.span * lanes) > nt.SMALL:
                    collector.give_back(self.tape.pointer, address_of(part), size)
            self.clear()
        return [
            None if g is None else g.reshape(count, *t.layout.shape)
            for g, t in zip(gradients, self.targets, strict=True)
        ]

    def _seed(self, start: int, lanes: int, seeds: Sequence[np.ndarray] | None) -> None:
        """Seed the roots with the cotangents from `start` on."""
        tape = self.tape
        for i, slot in enumerate(self.roots):
            layout = tape.instruction_of(slot).out
            if seeds is None and layout.is_contiguous:
                if sweep.units(tape.pointer, self.pointer, slot, start) != 0:
                    self.no_memory()
                continue
            self.words[nt.R_ERROR_ARG] = self.copy_of(layout)
            if seeds is None:
                laid = np.zeros((layout.size, lanes), layout.dtype.np)
                laid.reshape(-1)[start * lanes :: lanes + 1][:lanes] = 1
            else:
                laid = np.ascontiguousarray(np.moveaxis(seeds[i][start : start + lanes], 0, -1))
            if sweep.seed(tape.pointer, self.pointer, slot, address_of(laid)) != 0:
                self.no_memory()

    def _await(self, lanes: int) -> dict[int, np.ndarray]:
        """Memory for the adjoints of targets that are not leaves, which the sweep copies out."""
        adjoints: dict[int, np.ndarray] = {}
        rows = self._captures
        for i, t in enumerate(self.targets):
            if not t.is_leaf:
                adjoints[i] = np.zeros((t.layout.size, lanes), t.layout.dtype.np)
                rows[len(adjoints) - 1] = self.capture_of(t, adjoints[i])
        self.words[nt.R_CAPTURE_COUNT] = len(adjoints)
        self.want_written()
        return adjoints

    def _adjoint_of(self, t: Target, lanes: int) -> np.ndarray | None:
        """Take the adjoint of a leaf out of the sweep's memory."""
        address = int(self.adjoint[t.slot])
        self.adjoint[t.slot] = 0
        return lanes_at(address, t.layout, lanes) if address else None
