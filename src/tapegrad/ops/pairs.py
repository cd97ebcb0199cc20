"""The table by which native code finds instructions: an op and two layouts, and what goes with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.locks import TABLE_LOCK
from ..native import abi as nt
from .layout import LAYOUTS, is_symbolic

__all__ = ["PAIRS", "pair_of", "remember_pair"]


def pair_of(key: Any) -> tuple[Any, Any, Any]:
    """Opcode and the two layouts of a key, or of an array of keys, of the table of pairs."""
    lowest = (1 << nt.PAIR_LAYOUT) - 1
    return key >> nt.PAIR_CODE, key >> nt.PAIR_LAYOUT & lowest, key & lowest


class _Pairs:
    """Hash table (op, layout, layout) -> (instruction, layout) in the form native code probes."""

    def __init__(self) -> None:
        self.entries: dict[int, tuple[int, int]] = {}
        self._build(1 << 12)

    def _build(self, size: int) -> None:
        table = np.full(3 * size, -1, np.int64)
        words = memoryview(table)  # type: ignore[arg-type]
        for key, (number, layout) in list(self.entries.items()):
            self._place(words, key, number, layout)
        # Readers hold the GIL: they see both words of the old table, or both of the new one.
        nt.GLOBALS[nt.G_PAIRS : nt.G_PAIRS_MASK + 1] = table.ctypes.data, size - 1
        self.table, self._words = table, words

    def keep(self, instructions: np.ndarray, layouts: np.ndarray) -> None:
        """Drop all entries that name an instruction or a layout that is not marked."""
        if not self.entries:
            return
        keys = np.fromiter(self.entries, np.int64, len(self.entries))
        values = np.array(list(self.entries.values()), np.int64)
        code, a, b = pair_of(keys)
        number, other = values.T
        kept = layouts[a] != 0
        # What the words behind the opcode are: see `remember_pair`.
        plain = code != nt.OP_FIRST
        no_layout = (code == nt.OP_SLICE) | (code >= nt.OP_PLAIN)
        kept &= np.where(no_layout, 1, layouts[np.where(no_layout, 0, b)]) != 0
        kept[plain] &= instructions[number[plain]] != 0
        zeros = code == nt.OP_ZEROS
        kept[zeros] &= instructions[other[zeros]] != 0
        views = plain & ~zeros & (code != nt.OP_ACCUMULATE)
        kept[views] &= layouts[other[views]] != 0
        chosen = keys[kept].tolist()
        if len(chosen) < len(self.entries):
            self.entries = {key: self.entries[key] for key in chosen}
            self._build(len(self.table) // 3)

    @staticmethod
    def _place(words: memoryview, key: int, number: int, layout: int) -> None:
        size = len(words) // 3
        at = (key * nt.HASH >> 20) % size  # native code's sign makes no difference in these bits
        while words[3 * at] != -1:
            at = (at + 1) % size
        words[3 * at + 1], words[3 * at + 2] = number, layout
        words[3 * at] = key

    def add(self, code: int, a: int, b: int, number: int, layout: int) -> None:
        key = code << nt.PAIR_CODE | a << nt.PAIR_LAYOUT | b
        if key in self.entries:
            return
        self.entries[key] = (number, layout)
        size = len(self.table) // 3
        if 2 * len(self.entries) > size:
            self._build(2 * size)
        else:
            self._place(self._words, key, number, layout)


PAIRS = _Pairs()


def remember_pair(code: int, a: int, b: int, number: int, other: int) -> None:
    """Tell native replay which instruction (and another number) goes with two layouts."""
    if is_symbolic((LAYOUTS[a],)):
        return
    with TABLE_LOCK:
        PAIRS.add(code, a, b, number, other)
