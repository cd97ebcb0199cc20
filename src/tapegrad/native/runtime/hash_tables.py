"""The two hash tables that recording looks into: instructions by op and layouts, slots of constants.

Rows have three words, and a search goes on at the next row until it meets an empty one. Python fills
the tables (`remember` in instruction.py, the constants of a tape).
"""

from __future__ import annotations

from .. import abi as nt
from ..words import globals_address, inlined, p64


@inlined
def find_pair(op, layout_a, layout_b):  # type: ignore[no-untyped-def]
    """Address of the hash row (key, instruction, layout) of an op on two layouts, or 0."""
    g = p64(globals_address())
    key = op << nt.PAIR_CODE | layout_a << nt.PAIR_LAYOUT | layout_b
    mask = g[nt.G_PAIRS_MASK]
    at = (key * nt.HASH) >> 20 & mask
    while True:
        row = g[nt.G_PAIRS] + 24 * at
        entry = p64(row)[0]
        if entry == key:
            return row
        if entry == -1:
            return 0
        at = (at + 1) & mask


@inlined
def find_constant(state, bits, dtype):  # type: ignore[no-untyped-def]
    """Slot of a Python scalar, or 0."""
    s = p64(state)
    mask = s[nt.S_CONSTANTS_MASK]
    product = (bits ^ dtype) * nt.HASH
    # Floats that are whole numbers differ in their high bits only, and so do these products.
    at = (product >> 40 ^ product >> 20) & mask
    while True:
        row = p64(s[nt.S_CONSTANTS] + 24 * at)
        if row[2] == 0:
            return 0
        if row[0] == bits and row[1] == dtype:
            return row[2]
        at = (at + 1) & mask
