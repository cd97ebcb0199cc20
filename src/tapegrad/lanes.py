"""Reverse passes for many cotangents at once: `Lanes`, a request whose sweeps have lanes.

With lanes, each element of an adjoint is as many numbers in a row as there are cotangents in the sweep
(nopython/laned.py), so that a dense Jacobian takes a sweep for some hundred rows.
"""

from __future__ import annotations

import numpy as np

from . import anomaly, collector, sweep
from . import native as nt
from .buffers import address_of, lanes_at
from .instructions import ITAB
from .request import Request, copy_of

__all__ = ["Lanes"]

#: bytes that the largest adjoint should take with all its lanes, and that it may take
CACHED, LANE_BYTES = 1 << 20, 1 << 22
#: lanes that are worth more than adjoints in the cache
LANES_AT_LEAST = 16


class Lanes(Request):
    """A pass that sweeps for many cotangents of one root at once."""

    #: cotangents in one sweep
    lanes = 1

    def use(self, count: int) -> bool:
        """Say, before `prepare`, that `sweep_all` will sweep for `count` cotangents; False if it cannot.

        It cannot with several roots, targets that are not leaves, hooks or Functions.
        """
        simple = len(self.roots) == 1 and not self.stops and not self.tape.contexts
        if not simple or anomaly.checks_nan():
            return False
        if not all(t.is_leaf and t.layout.is_contiguous for t in self.targets):
            return False
        if len({t.slot for t in self.targets}) < len(self.targets):
            return False
        self._set_lanes(count)
        return True

    def _choose_lanes(self, count: int) -> int:
        """How many cotangents to sweep for at once: few enough for the caches, many enough to pay."""
        low, high = self.words[nt.R_STOP] + 1, self.words[nt.R_HIGH] + 1
        numbers = self.tape.instruction[low:high]
        spans = [t.layout.span for t in self.targets]
        largest = max(8, int(ITAB.rows[numbers, nt.I_BYTES].max()), *spans)
        return max(1, min(count, max(LANES_AT_LEAST, CACHED // largest), LANE_BYTES // largest))

    def _set_lanes(self, count: int) -> None:
        words = self.words
        words[nt.R_LANES] = count
        words[nt.R_VARIANT] = words[nt.R_VARIANT] & ~nt.LANES | (nt.LANES if count > 1 else 0)

    def sweep_all(self, count: int, seeds: np.ndarray | None) -> list[np.ndarray | None]:
        """Sweep for `count` cotangents, many at a time; gradients with that dimension first.

        Parameters
        ----------
        count : int
        seeds : numpy.ndarray, optional
            A cotangent a row; by default the unit vectors of the root's shape.

        Returns
        -------
        list
            None for a target that no sweep came to.
        """
        tape = self.tape
        found: list[np.ndarray | None] = [None] * len(self.targets)
        (slot,) = self.roots
        layout = tape.instruction_of(slot).out
        self.words[nt.R_ERROR_ARG] = copy_of(layout)
        self.lanes = self._choose_lanes(count)
        for start in range(0, count, self.lanes):
            lanes = min(self.lanes, count - start)
            self._set_lanes(lanes)
            if seeds is None:
                laid = np.zeros((layout.size, lanes), layout.dtype.np)
                laid.reshape(-1)[start * lanes :: lanes + 1][:lanes] = 1
            else:
                laid = np.ascontiguousarray(np.moveaxis(seeds[start : start + lanes], 0, -1))
            if sweep.seed(tape.pointer, self.pointer, slot, address_of(laid)) != 0:
                self.no_memory()
            if sweep.reverse(tape.pointer, self.pointer) != 0:
                self.no_memory()
            for i, t in enumerate(self.targets):
                address = int(self.adjoint[t.slot])
                if address:
                    into = found[i]
                    if into is None:
                        make = np.empty if lanes == count else np.zeros
                        into = found[i] = make((count, t.layout.size), t.layout.dtype.np)
                    into[start : start + lanes] = lanes_at(address, t.layout, lanes).T
                    self.adjoint[t.slot] = 0
                    if (size := t.layout.span * lanes) > nt.SMALL:
                        collector.give_back(tape.pointer, address, size)
            self.clear()
        return [
            None if g is None else g.reshape(count, *t.layout.shape)
            for g, t in zip(found, self.targets, strict=True)
        ]
