"""Reverse passes for many cotangents at once: `Lanes`, a request whose sweeps have lanes.

With lanes, each element of an adjoint is as many numbers in a row as there are cotangents in the sweep
(runtime/batched_interpreter.py), so that a dense Jacobian takes a sweep for some hundred rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..native import abi as nt
from ..ops.instruction import COMPLEX, INSTRUCTIONS
from ..tape import anomaly
from ..tape.memory_views import lanes_at
from . import native_entries as sweep
from .reverse_pass import Request
from .seeds import Seeds, seeds_of, unit_seeds
from .targets import Target

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

        It cannot where Python has something to do (hooks, Functions), for a leaf that is not dense, and where
        there are complex numbers.
        """
        self.tape.settle()
        self.detail()
        leaves = [t for t in self.targets if t.is_leaf]
        storages = [self.tape.leaves.get(t.slot) for t in leaves]
        apart = len({t.slot for t in self.targets}) == len(self.targets)
        dense = all(t.layout.is_contiguous for t in leaves)
        hooked = any(s is not None and s.hooks is not None and s.hooks.tensor for s in storages)
        if not apart or not dense or hooked or anomaly.checks_nan():
            self.prepare()
            return False
        if COMPLEX.seen:  # where the pass goes is known from here on
            self.prepare()
            if self._meets_complex():
                return False
            self.words[nt.R_STAGE] = nt.MARKING
        self._set_lanes(count)
        self.prepare()
        if self.is_watched:
            self._set_lanes(1)
            self.words[nt.R_STAGE] = nt.MARKING
            self.prepare()
            return False
        return True

    def _meets_complex(self) -> bool:
        """Return True if there are complex numbers on the way: views of their parts have no lanes."""
        words = self.words
        passed = np.unique(self.tape.instruction[words[nt.R_STOP] + 1 : words[nt.R_HIGH] + 1])
        instructions = [INSTRUCTIONS[k] for k in passed]
        return any(x.dtype.is_complex for i in instructions for x in (*i.layouts, *i.outs))

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
        for start in range(0, count, self.lanes):
            lanes = min(self.lanes, count - start)
            self._set_lanes(lanes)
            self.rewind(self._seeds_from(start, lanes, seeds))
            self.advance(sweep.run)
            captured, addresses = self.captured(), self.target_rows()[2::4]
            for i, (t, address) in enumerate(zip(self.targets, addresses, strict=True)):
                part = captured.get(i)
                if t.is_leaf and address:
                    part = lanes_at(address, t.layout, lanes)
                if part is None:
                    continue
                rows = gradients[i]
                if rows is None:
                    new = np.empty if lanes == count else np.zeros
                    rows = gradients[i] = new((count, t.layout.size), t.layout.dtype.np)
                rows[start : start + lanes] = part.T
            self.clear()
        return [
            None if g is None else g.reshape(count, *t.layout.shape)
            for g, t in zip(gradients, self.targets, strict=True)
        ]

    def _seeds_from(self, start: int, lanes: int, seeds: Sequence[np.ndarray] | None) -> Seeds:
        """Seeds with lanes, for the cotangents from `start` on."""
        layouts = [self.tape.instruction_of(slot).out for slot in self.roots]
        if seeds is not None:
            parts = [np.moveaxis(seed[start : start + lanes], 0, -1) for seed in seeds]
            arrays = [np.ascontiguousarray(part) for part in parts]
            return seeds_of(arrays, layouts, self.words[nt.R_VARIANT])
        if layouts[0].is_contiguous:
            return unit_seeds(start)
        units = np.zeros((layouts[0].size, lanes), layouts[0].dtype.np)
        units.reshape(-1)[start * lanes :: lanes + 1][:lanes] = 1
        return seeds_of([units], layouts, self.words[nt.R_VARIANT])

    def rewind(self, seeds: Seeds) -> None:
        """Make ready for a sweep from these seeds, after `clear`."""
        self._seeds = seeds
        self.words[nt.R_SEEDS] = seeds.address
        self.fill_rows()
        words = self.words
        if words[nt.R_STAGE] == nt.SWEPT and words[nt.R_ENDS]:
            # All written slots are wanted from their write on, where a sweep before has gone below it.
            needed = self.needed
            slots = np.flatnonzero(needed & nt.ENDS)
            roots = self.root[slots]  # a late target lies in its base there
            needed[np.where(roots == slots, self.tape.root[slots], roots)] |= nt.ACTIVE
        for t in self.targets:
            if t.is_late:  # a sweep has joined it to its base
                self.root[t.slot] = t.slot
        words[nt.R_STAGE] = nt.SEEDING

    def clear(self) -> None:
        """Forget the adjoints of a sweep, so that another one can run from other seeds."""
        self.release(free=False)

    def new_adjoint(self, t: Target) -> np.ndarray:
        """Memory for the adjoint of a target that is no leaf, all lanes, which the sweep copies out."""
        return np.zeros((t.layout.size, self.words[nt.R_LANES]), t.layout.dtype.np)
