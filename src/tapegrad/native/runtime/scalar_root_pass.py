"""A plain pass: from one 0-d root to leaves, with nothing for Python to do, in one call.

It is what `Request` of reverse_pass.py does step by step. Whatever is not plain is left to that: the pass
then says so, and nothing has happened, but for statements that replay has appended.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import intrinsics as it
from ..abi import (
    ACCUMULATE,
    I_KIND,
    I_WIDTH,
    LEAF,
    OK,
    R_ADJOINT,
    R_CAPTURES,
    R_ERROR_ARG,
    R_HIGH,
    R_REACHED,
    R_STOP,
    R_WATCHED,
)  # fmt: skip
from ..intrinsics import globals_address, helper, p8, p32, p64, stack_words
from .adjoints import seed
from .forward_sweep import forward
from .hash_tables import find_pair
from .recording import append, has_room, layout_at
from .reverse_marking import prepare, start
from .reverse_recording import replay
from .reverse_sweep import sweep_back


@helper
def settle(state, ct, buffer):  # type: ignore[no-untyped-def]
    """A cotangent that is whole at its slot: a copy of one that was written in place; 0 for no room."""
    s = p64(state)
    instructions, base = p32(s[nt.S_INSTRUCTION]), p32(s[nt.S_BASE])
    itab = p64(globals_address())[nt.G_ITAB]
    copied = buffer
    for k in range(ct + 1, s[nt.S_COUNT]):
        if base[k] == ct and p64(itab + 8 * I_WIDTH * instructions[k])[I_KIND] == ACCUMULATE:
            copied = True
            break
    if not copied:
        return ct
    pair = find_pair(p64(globals_address())[nt.G_CLONE], layout_at(state, ct), 0)
    if pair == 0 or not has_room(state, 1, 1):
        return np.int64(0)
    args = stack_words(1)
    p32(args)[0] = ct
    return append(state, p64(pair)[1], args, 1)


@helper
def record_pass(state, request, count, root, seeding):  # type: ignore[no-untyped-def]
    """Replay from a root; 0 with the cotangents' slots in the targets' rows, else 1."""
    s, r = p64(state), p64(request)
    n = s[nt.S_COUNT]
    adjoints = r[R_REACHED] + n + (-(r[R_REACHED] + n) & 7)  # behind the other arrays
    buffers = adjoints + 4 * n
    it.memset(adjoints, 0, 5 * n)
    adjoint, buffer = p32(adjoints), p8(buffers)
    adjoint[root] = seeding
    low = r[R_STOP] + 1
    mode, limit = s[nt.S_GRAD_MODE], s[nt.S_PENDING_LIMIT]
    s[nt.S_GRAD_MODE], s[nt.S_PENDING_LIMIT] = 1, 1 << 62
    answer = 0
    if replay(state, request, adjoints, buffers, r[R_HIGH], low) >= low:
        answer = 1
    for i in range(count if answer == 0 else 0):
        row = p64(r[R_CAPTURES] + 32 * i)
        leaf = row[1]
        row[2] = 0
        if adjoint[leaf] != 0:
            row[2] = settle(state, np.int64(adjoint[leaf]), buffer[leaf] != 0)
            if row[2] == 0:
                answer = 1
    s[nt.S_GRAD_MODE], s[nt.S_PENDING_LIMIT] = mode, limit
    return answer


@helper
def is_ready(state, request, root):  # type: ignore[no-untyped-def]
    """Whether a pass from `root` can be laid out; evaluates what is pending.

    The request's first word says for how many statements there is room, its second is the last statement
    that wrote in place: what a pass comes by before that may have been written since.
    """
    s = p64(state)
    if s[nt.S_COUNT] > p64(request)[0]:
        return False
    if s[nt.S_DONE] != s[nt.S_COUNT]:
        if forward(state) != 0:  # Python finds it again, and says so
            return False
        s[nt.S_EAGER] = 0
    return p32(s[nt.S_ROOT])[root] == root


@helper
def begin(state, request, places, count, unused):  # type: ignore[no-untyped-def]
    """Lay out and prepare a pass from the first of `places` (slot, layout) to the `count` others.

    0, or 1 where it is not plain, which leaves no trace.
    """
    s, r, p = p64(state), p64(request), p64(places)
    root = p[0]
    if not is_ready(state, request, root):
        return 1
    written = r[1]
    itab, instructions = p64(globals_address())[nt.G_ITAB], p32(s[nt.S_INSTRUCTION])
    for i in range(count):
        slot = p[2 * i + 2]
        if p64(itab + 8 * I_WIDTH * instructions[slot])[I_KIND] != LEAF:
            return 1
        for j in range(i):
            if p[2 * j + 2] == slot:
                return 1
        row = p64(request + 8 * nt.R_WIDTH + 32 * i)
        row[0], row[1], row[2], row[3] = slot, slot, 0, 0
    start(state, request, count, count | s[nt.S_COUNT] << 32, root << 1, root, 0)
    if prepare(state, request) != OK or r[R_WATCHED] or r[R_STOP] < written:
        return 1
    reached = p8(r[R_REACHED])
    for i in range(0 if unused else count):
        if reached[p[2 * i + 2]] == 0:
            return 1
    return 0


@helper
def sweep(state, request, count, seeding, copy):  # type: ignore[no-untyped-def]
    """Sweep a pass from a cotangent at `seeding`; 0 with addresses in the targets' rows, 2 without memory.

    `copy` is the instruction that copies the root's layout.
    """
    r = p64(request)
    r[R_ERROR_ARG] = copy
    if seed(state, request, r[R_HIGH], seeding) != 0 or sweep_back(state, request) != 0:
        return 2
    adjoint = p64(r[R_ADJOINT])
    for i in range(count):
        row = p64(r[R_CAPTURES] + 32 * i)
        row[2] = adjoint[row[1]]
        adjoint[row[1]] = 0
    return 0


def leaves_entry(state, request, root, room):  # type: ignore[no-untyped-def]
    """Lay out and prepare a pass from `root` to all leaves; how many there are, which are in the rows.

    There is room for `room` of them, as many as are on the tape. -1 where the pass is not plain, which
    leaves no trace. `back_entry` is what follows.
    """
    s, r = p64(state), p64(request)
    if not is_ready(state, request, root):
        return -1
    written = r[1]
    start(state, request, room, s[nt.S_COUNT] << 32, root << 1 | 1, root, 0)
    if prepare(state, request) != OK or r[R_WATCHED] or r[R_STOP] < written:
        return -1
    itab, instructions = p64(globals_address())[nt.G_ITAB], p32(s[nt.S_INSTRUCTION])
    reached, found = p8(r[R_REACHED]), 0
    for k in range(1, root + 1):
        if reached[k] and p64(itab + 8 * I_WIDTH * instructions[k])[I_KIND] == LEAF:
            if found >= room:
                return -1
            row = p64(r[R_CAPTURES] + 32 * found)
            row[0], row[1], row[2], row[3] = k, k, 0, 0
            found += 1
    return found


def back_entry(state, request, count, seeding, copy):  # type: ignore[no-untyped-def]
    """Sweep what `leaves_entry` prepared; see `sweep`."""
    return sweep(state, request, count, seeding, copy)


def record_entry(state, request, places, count, unused, seeding):  # type: ignore[no-untyped-def]
    """Record a plain pass from cotangent `seeding`; 0 with slots in the targets' rows, 1 if it is not plain.

    It may have appended statements then.
    """
    if begin(state, request, places, count, unused) != 0:
        return 1
    return record_pass(state, request, count, p64(places)[0], seeding)


def plain_entry(state, request, places, count, unused, seeding, copy):  # type: ignore[no-untyped-def]
    """Sweep a plain pass from a cotangent at `seeding`; 1 if it is not plain, else see `sweep`."""
    if begin(state, request, places, count, unused) != 0:
        return 1
    return sweep(state, request, count, seeding, copy)
