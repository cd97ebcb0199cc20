"""Indexing as native code records it: an integer, or a slice without a step, on the first axis.

What it takes is found by the layout in the table that recording uses (hash_tables.py); the first meeting of
a layout, and every other index, goes to Python (functions/indexing/getitem.py).
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import globals_address, helper, p32, p64, stack_words
from .hash_tables import find_pair
from .recording import (
    _LAYOUT,
    _SELECT,
    _TYPE,
    NO_NUMBER,
    blank_handle,
    finish,
    forget,
    is_plain,
    own_state,
    slot_of,
    slow,
    still_there,
    whole_number,
)  # fmt: skip


@helper
def find_select(state, tensor, key, args):  # type: ignore[no-untyped-def]
    """Address of the row for an integer index, whose operands go to `args`, or 0."""
    row = find_pair(_SELECT, np.int64(p32(tensor + _LAYOUT)[0]), 0)
    if row == 0:
        return 0
    itab = p64(globals_address())[nt.G_ITAB]
    extra = p64(itab + 8 * (nt.I_WIDTH * p64(row)[1] + nt.I_EXTRA))
    index = whole_number(key)
    if index < 0 and index != NO_NUMBER:
        index += extra[0]
    if index < 0 or index >= extra[0]:
        return 0
    offset = index * extra[1]
    p32(args)[0] = slot_of(state, tensor)
    p32(args)[1] = offset & 0xFFFFFFFF
    p32(args)[2] = offset >> 32
    return row


@helper
def slice_bound(value, default, length):  # type: ignore[no-untyped-def]
    """A bound of a slice within 0 ... length; -1 for what Python has to look at."""
    g = p64(globals_address())
    if value == g[nt.G_NONE]:
        return default
    if p64(value + _TYPE)[0] != g[nt.G_LONG]:
        return np.int64(-1)
    bound = whole_number(value)
    if bound == NO_NUMBER:
        return np.int64(-1)
    if bound < 0:
        bound += length
    return min(max(bound, 0), length)


@helper
def find_slice(state, tensor, key, args):  # type: ignore[no-untyped-def]
    """Address of the row for a slice without a step, whose operands go to `args`, or 0."""
    g = p64(globals_address())
    layout = np.int64(p32(tensor + _LAYOUT)[0])
    first = find_pair(nt.OP_FIRST, layout, 0)
    if first == 0 or p64(key + nt.HEADER + 16)[0] != g[nt.G_NONE]:  # a step
        return 0
    length, stride = p64(first)[1], p64(first)[2]
    start = slice_bound(p64(key + nt.HEADER)[0], np.int64(0), length)
    stop = slice_bound(p64(key + nt.HEADER + 8)[0], length, length)
    if start < 0 or stop < 0:
        return 0
    count = max(stop - start, 0)
    if count >= 1 << 24:  # more than the key of a pair has bits for
        return 0
    offset = start * stride if stop > start else 0
    p32(args)[0] = slot_of(state, tensor)
    p32(args)[1] = offset & 0xFFFFFFFF
    p32(args)[2] = offset >> 32
    return find_pair(nt.OP_SLICE, layout, count)


@helper
def try_subscript(tensor, key):  # type: ignore[no-untyped-def]
    g = p64(globals_address())
    kind = p64(key + _TYPE)[0]
    if not is_plain(tensor) or (kind != g[nt.G_LONG] and kind != g[nt.G_SLICE]):
        return 0
    state = own_state(tensor)
    if state == 0:
        return 0
    handle = blank_handle()
    if handle == 0:
        return 0
    args, row = stack_words(2), np.int64(0)
    if still_there(tensor, state):
        if kind == g[nt.G_LONG]:
            row = find_select(state, tensor, key, args)
        else:
            row = find_slice(state, tensor, key, args)
    if row == 0:
        return forget(handle)
    return finish(handle, state, p64(row)[1], args, 3, p64(row)[2])


def subscript(tensor, key):  # type: ignore[no-untyped-def]
    """``tensor[key]``; an integer, or a slice without a step, on the first axis is recorded here."""
    result = try_subscript(tensor, key)
    if result == 0 and it.error_occurred() == 0:
        args = stack_words(2)
        p64(args)[0] = tensor
        p64(args)[1] = key
        return slow(_SELECT, args, 2, 0)
    return result
