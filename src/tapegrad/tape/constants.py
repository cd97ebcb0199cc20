"""Python scalars on a tape: the same number of a dtype keeps the same slot.

Native recording looks them up by their bits (`find_constant` in runtime/hash_tables.py), so the
table is a hash table of words, open addressing, Fibonacci hashing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..base.dtypes import FLOATING, category, dtype
from ..base.errors import UnsupportedError
from ..base.symbolic import Symbolic
from ..native import abi as nt
from ..ops.layout import SCALARS

__all__ = ["Constants"]


class Constants:
    """Slots of scalars, by bits and dtype.

    Parameters
    ----------
    slots : dict
        (bits, dtype's code) -> slot.
    """

    def __init__(self, slots: dict[tuple[int, int], int]) -> None:
        self.slots = slots
        size = 64
        while size < 2 * len(slots) + 2:
            size *= 2
        #: rows (bits, dtype's code, slot)
        self.table = np.zeros((size, 3), np.int64)
        for key, slot in slots.items():
            self._place(key, slot)

    def __len__(self) -> int:
        return len(self.slots)

    @staticmethod
    def key(array: Any, kind: dtype) -> tuple[int, int]:
        """Return the key of a 0-d array of dtype `kind`: its bits and the dtype's code.

        Of complex numbers those without an imaginary part have one, that of their real part.
        """
        if type(array) is Symbolic:
            bits: Any = array.home.bits(array, 8) if kind.is_floating_point else array
            return bits, kind.code
        if kind.is_complex:
            number = complex(array)
            if number.imag or math.copysign(1.0, number.imag) < 0:
                raise UnsupportedError(
                    f"{number} is no number of one word; record `complex` of its parts"
                )
            array = number.real
        wide = np.float64 if category(kind) >= FLOATING else np.int64
        return int(np.asarray(array, wide).view(np.int64)), kind.code

    @staticmethod
    def array(bits: int, code: int) -> np.ndarray:
        """Return the 0-d array that has a key."""
        layout = SCALARS[code]
        wide = np.float64 if category(layout.dtype) >= FLOATING else np.int64
        return np.array(bits, np.int64).view(wide).astype(layout.dtype.np)

    def add(self, key: tuple[int, int], slot: int) -> Constants:
        """Note a scalar; return the object that has it, a larger one where this is full."""
        self.slots[key] = slot
        if 2 * len(self.slots) + 2 > len(self.table):
            return Constants(self.slots)
        self._place(key, slot)
        return self

    def _place(self, key: tuple[int, int], slot: int) -> None:
        bits, code = key
        product = ((bits ^ code) * nt.HASH) & 0xFFFFFFFFFFFFFFFF
        if product >= 1 << 63:
            product -= 1 << 64
        row = (product >> 40 ^ product >> 20) & (len(self.table) - 1)
        while self.table[row, 2] != 0:
            row = (row + 1) & (len(self.table) - 1)
        self.table[row] = bits, code, slot
