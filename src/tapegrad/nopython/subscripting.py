"""Indexing as native code records it: an integer, or a slice without a step, on the first axis.

What it takes is found by the layout in the table that recording uses (hashing.py); the first meeting of
a layout, and every other index, goes to Python (functions/indexing.py).
"""

from __future__ import annotations

import numpy as np

from .. import native as nt
from ..native import I_EXTRA, I_WIDTH
from . import intrinsics as it
from .hashing import find_pair
from .intrinsics import globals_address, helper, p32, p64, stack_words
from .recording import _LAYOUT, _SELECT, _TYPE, finish, own_state, slot_of, slow


@helper
def try_select(tensor, key):  # type: ignore[no-untyped-def]
    g = p64(globals_address())
    if p64(key + _TYPE)[0] != g[nt.G_LONG] or p64(tensor + _TYPE)[0] != g[nt.G_TENSOR]:
        return 0
    state = own_state(tensor)
    if state == 0:
        return 0
    row = find_pair(_SELECT, np.int64(p32(tensor + _LAYOUT)[0]), 0)
    if row == 0:
        return 0
    index = it.long_as_longlong(key)
    if index == -1 and it.error_occurred() != 0:
        it.error_clear()
        return 0
    instruction = p64(row)[1]
    extra = p64(g[nt.G_ITAB] + 8 * (I_WIDTH * instruction + I_EXTRA))
    if index < 0:
        index += extra[0]
    if index < 0 or index >= extra[0]:
        return 0
    args = stack_words(2)
    p32(args)[0] = slot_of(state, tensor)
    offset = index * extra[1]
    p32(args)[1] = offset & 0xFFFFFFFF
    p32(args)[2] = offset >> 32
    return finish(state, instruction, args, 3, p64(row)[2])


@helper
def slice_bound(value, default, length):  # type: ignore[no-untyped-def]
    """A bound of a slice within 0 ... length; -1 for what Python has to look at."""
    g = p64(globals_address())
    if value == g[nt.G_NONE]:
        return default
    if p64(value + _TYPE)[0] != g[nt.G_LONG]:
        return np.int64(-1)
    bound = it.long_as_longlong(value)
    if bound == -1 and it.error_occurred() != 0:
        it.error_clear()
        return np.int64(-1)
    if bound < 0:
        bound += length
    return min(max(bound, 0), length)


@helper
def try_slice(tensor, key):  # type: ignore[no-untyped-def]
    g = p64(globals_address())
    if p64(key + _TYPE)[0] != g[nt.G_SLICE] or p64(tensor + _TYPE)[0] != g[nt.G_TENSOR]:
        return 0
    state = own_state(tensor)
    if state == 0 or p64(key + nt.HEADER + 16)[0] != g[nt.G_NONE]:  # a step
        return 0
    layout = np.int64(p32(tensor + _LAYOUT)[0])
    first = find_pair(nt.OP_FIRST, layout, 0)
    if first == 0:
        return 0
    length, stride = p64(first)[1], p64(first)[2]
    start = slice_bound(p64(key + nt.HEADER)[0], np.int64(0), length)
    stop = slice_bound(p64(key + nt.HEADER + 8)[0], length, length)
    if start < 0 or stop < 0:
        return 0
    row = find_pair(nt.OP_SLICE, layout, max(stop - start, 0))
    if row == 0:
        return 0
    args = stack_words(2)
    offset = start * stride if stop > start else 0
    p32(args)[0] = slot_of(state, tensor)
    p32(args)[1] = offset & 0xFFFFFFFF
    p32(args)[2] = offset >> 32
    return finish(state, p64(row)[1], args, 3, p64(row)[2])


def subscript(tensor, key):  # type: ignore[no-untyped-def]
    """``tensor[key]``; an integer, or a slice without a step, on the first axis is recorded here."""
    result = try_select(tensor, key)
    if result == 0 and it.error_occurred() == 0:
        result = try_slice(tensor, key)
    if result == 0 and it.error_occurred() == 0:
        args = stack_words(2)
        p64(args)[0] = tensor
        p64(args)[1] = key
        return slow(_SELECT, args, 2, 0)
    return result
