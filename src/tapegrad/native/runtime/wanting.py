"""The adjoints that a reverse pass wants: from its targets up to its outputs.

`find_needed` marks the roots through which the pass reaches a target. A view that is a target, or that has
hooks, may have an adjoint of its own down to the last write to its memory (`is_late`), and a tensor that was
written in place may be wanted only from its last write on (`ENDS`).
"""

from __future__ import annotations

from .. import abi as nt
from .. import words as it
from ..words import globals_address, helper, inlined, p8, p32, p64


@inlined
def runs(state, r, row, k):  # type: ignore[no-untyped-def]
    """Return True if a reached statement has an operand whose adjoint is wanted."""
    s = p64(state)
    root, needed = p32(r[nt.R_ROOT]), p8(r[nt.R_NEEDED])
    args = p32(s[nt.S_ARG] + 4 * p32(s[nt.S_ARG_START])[k])
    written = root[k] if needed[k] & nt.ENDS else 0
    wanted = 0
    for i in range(row[nt.I_NARGS]):
        owner = root[args[i]]
        if owner != written:
            wanted |= needed[owner]
    return wanted & nt.ACTIVE != 0


@inlined
def leave(r, k):  # type: ignore[no-untyped-def]
    """Go on below statement `k`, where what it wrote to may not be wanted any more (`ENDS`).

    Behind the marks of the last statement are those of `R_REACHED`, whose first is always 0.
    """
    needed = p8(r[nt.R_NEEDED])
    if needed[k] & nt.ENDS:
        needed[p32(r[nt.R_ROOT])[k]] &= ~nt.ACTIVE


@helper
def want_written(state, r, low):  # type: ignore[no-untyped-def]
    """Let all that is written be wanted from its write on, as where a pass begins (`ENDS`)."""
    needed, root, shared = p8(r[nt.R_NEEDED]), p32(r[nt.R_ROOT]), p32(p64(state)[nt.S_ROOT])
    for k in range(low + 1, r[nt.R_HIGH] + 1 if r[nt.R_ENDS] > 0 else 0):
        if needed[k] & nt.ENDS:  # a late target lies in its base there
            needed[shared[k] if root[k] == k else root[k]] |= nt.ACTIVE


@helper
def is_own(r, i):  # type: ignore[no-untyped-def]
    """Return True if target `i` has an adjoint of its own that nothing was written to."""
    slot = p64(r[nt.R_CAPTURES])[4 * i + 1]
    is_result = p64(r[nt.R_CAPTURES])[4 * i] == slot and p32(r[nt.R_ROOT])[slot] == slot
    return is_result or p64(r[nt.R_CAPTURES])[4 * i + 3] >> 32 != 0


@helper
def want_targets(state, r, k):  # type: ignore[no-untyped-def]
    """Coming up to statement `k`, let what was written be wanted from there on, if it is a target.

    Note where it is not wanted below (`ENDS`), so that the pass has nothing to do there.
    """
    s = p64(state)
    rows, needed, root = p64(r[nt.R_CAPTURES]), p8(r[nt.R_NEEDED]), p32(r[nt.R_ROOT])
    flags, shared = p8(s[nt.S_FLAGS]), p32(s[nt.S_ROOT])
    for i in range(r[nt.R_TARGETS]):
        slot = rows[4 * i + 1]
        if rows[4 * i] != k or is_own(r, i) or flags[shared[slot]] & nt.ACTIVE == 0:
            continue
        if needed[root[slot]] & nt.ACTIVE == 0:
            needed[k] |= nt.ENDS
            r[nt.R_ENDS] += 1
        needed[root[slot]] |= nt.ACTIVE


@inlined
def is_late(rows, i, k):  # type: ignore[no-untyped-def]
    """Return True if target `i` is a view with an adjoint of its own down to statement `k`.

    `k` is the last write to its memory; what was computed from the view before goes into its base's adjoint.
    """
    return rows[4 * i] == k and rows[4 * i + 3] >> 32 != 0


@helper
def separate_late(r):  # type: ignore[no-untyped-def]
    """Let all late targets have an adjoint of their own, as where a pass begins."""
    rows, root = p64(r[nt.R_CAPTURES]), p32(r[nt.R_ROOT])
    for i in range(r[nt.R_TARGETS]):
        if rows[4 * i + 3] >> 32:
            root[rows[4 * i + 1]] = rows[4 * i + 1]


@helper
def is_older(r, owner, k):  # type: ignore[no-untyped-def]
    """Return True if statement `k` is older than the write from which on `owner` is a view."""
    rows = p64(r[nt.R_CAPTURES])
    for i in range(r[nt.R_TARGETS]):
        if rows[4 * i + 1] == owner and rows[4 * i + 3] >> 32 and k <= rows[4 * i]:
            return True
    return False


@inlined
def extent(row):  # type: ignore[no-untyped-def]
    """Bytes that the adjoint of an instruction's result takes; a write has no memory of its own."""
    return row[nt.I_EXTRA] if nt.WRITE <= row[nt.I_KIND] < nt.OUTPUT else row[nt.I_BYTES]


@helper
def follow_separated(state, r, root, n):  # type: ignore[no-untyped-def]
    """Let views of views that have an adjoint of their own (`root` says which) lie in that."""
    s = p64(state)
    shared, address = p32(s[nt.S_ROOT]), p64(s[nt.S_ADDRESS])
    instructions, itab = p32(s[nt.S_INSTRUCTION]), p64(globals_address())[nt.G_ITAB]
    arg_start, args = p32(s[nt.S_ARG_START]), p32(s[nt.S_ARG])
    for k in range(1, n):
        if shared[k] == k or root[k] == k:
            continue
        row = p64(itab + 8 * nt.I_WIDTH * instructions[k])
        if row[nt.I_KIND] != nt.VIEW:
            continue
        owner = root[args[arg_start[k]]]
        if owner == shared[k] or is_older(r, owner, k):
            continue
        size = extent(p64(itab + 8 * nt.I_WIDTH * instructions[owner]))
        offset = address[k] - address[owner]
        if offset >= 0 and offset + row[nt.I_BYTES] <= size:  # `as_strided` may look beyond it
            root[k] = owner


@helper
def find_needed(state, r):  # type: ignore[no-untyped-def]
    """Mark the roots through which the pass reaches a target: down to find the graph, then up again.

    So the cost is that of the graph, whatever else lies on the tape. Until the sweep the adjoints are
    free to serve as marks.
    """
    s = p64(state)
    root, needed, reached = p32(r[nt.R_ROOT]), p8(r[nt.R_NEEDED]), p8(r[nt.R_REACHED])
    flags, instructions, shared = p8(s[nt.S_FLAGS]), p32(s[nt.S_INSTRUCTION]), p32(s[nt.S_ROOT])
    arg_start, args = p32(s[nt.S_ARG_START]), p32(s[nt.S_ARG])
    itab = p64(globals_address())[nt.G_ITAB]
    marks, rows = p64(r[nt.R_ADJOINT]), p64(r[nt.R_CAPTURES])
    high = r[nt.R_HIGH]
    waiting = 0
    for i in range(high, 0, -1):
        if reached[i]:
            marks[i] = 1
            waiting += 1
            if waiting == r[nt.R_ROOT_COUNT]:
                break
    k = high
    while k > 0 and waiting > 0:
        for i in range(r[nt.R_TARGETS] if needed[k] & nt.TARGET else 0):
            late = rows[4 * i + 1]
            if is_late(rows, i, k) and root[late] == late:
                root[late] = shared[late]
                if marks[late]:
                    waiting -= 1 - (marks[shared[late]] == 0)
                    marks[shared[late]] = 1
        holder = root[k]
        if marks[holder] == 0:
            k -= 1
            continue
        if holder == k:
            waiting -= 1
        row = p64(itab + 8 * nt.I_WIDTH * instructions[k])
        ends = row[nt.I_KIND] == nt.LEAF or row[nt.I_DETACH] != 0 or flags[k] & nt.STUB
        if ends == 0:
            for i in range(row[nt.I_NARGS]):
                slot = args[arg_start[k] + i]
                owner = root[slot]
                if marks[owner] == 0 and flags[shared[slot]] & nt.ACTIVE:
                    other = p64(itab + 8 * nt.I_WIDTH * instructions[owner])
                    if other[nt.I_KIND] != nt.LEAF or other[nt.I_EXTRA] == 0:
                        marks[owner] = 1
                        waiting += 1
        k -= 1
    stop = k
    r[nt.R_ENDS] = 0
    for i in range(r[nt.R_TARGETS]):
        if not is_own(r, i):
            needed[root[rows[4 * i + 1]]] &= ~nt.ACTIVE
    for i in range(r[nt.R_TARGETS]):
        slot = rows[4 * i + 1]
        if rows[4 * i] > high or flags[shared[slot]] & nt.ACTIVE == 0:
            continue
        if is_own(r, i):
            needed[slot] |= nt.ACTIVE
        elif rows[4 * i] <= stop:  # a view of a leaf: the way down has ended above it
            needed[root[slot]] |= nt.ACTIVE
    for k in range(max(stop + 1, r[nt.R_LOW]), high + 1):
        needed[k] &= ~nt.ENDS
        if needed[k] & nt.TARGET:
            want_targets(state, r, k)
        for i in range(r[nt.R_TARGETS] if needed[k - 1] & nt.TARGET else 0):
            if is_late(rows, i, k - 1):
                late = rows[4 * i + 1]
                root[late] = late
                needed[late] |= needed[shared[late]] & nt.ACTIVE
        holder = root[k]
        if marks[holder] == 0 or flags[k] & nt.STUB:
            continue
        row = p64(itab + 8 * nt.I_WIDTH * instructions[k])
        if row[nt.I_KIND] == nt.LEAF or row[nt.I_DETACH] != 0:
            continue
        for i in range(row[nt.I_NARGS]):
            if needed[root[args[arg_start[k] + i]]] & nt.ACTIVE:
                if needed[holder] & nt.ACTIVE == 0 and nt.WRITE <= row[nt.I_KIND] < nt.OUTPUT:
                    needed[k] |= nt.ENDS
                    r[nt.R_ENDS] += 1
                needed[holder] |= nt.ACTIVE
                break
    for i in range(r[nt.R_TARGETS] if needed[high] & nt.TARGET else 0):
        if is_late(rows, i, high):
            needed[rows[4 * i + 1]] |= needed[shared[rows[4 * i + 1]]] & nt.ACTIVE
    it.memset(r[nt.R_ADJOINT] + 8 * (stop + 1), 0, 8 * (high - stop))
