"""Marks of what a reverse pass will visit.

`prepare` marks what the sweep will visit and finds everything that could stop it (freed residuals, values
changed in place, programs not built yet), before anything changes: an error leaves no trace.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from ..words import globals_address, helper, inlined, p8, p32, p64
from .wanting import find_needed, is_late, leave, runs, separate_late, want_written

#: mark of a statement that the sweep frees (a bit beside those of `reach`)
KEEPS_RESIDUALS = 4


@inlined
def vjp_row(row, variant, operand):  # type: ignore[no-untyped-def]
    """VJP program of an instruction for an operand, in a variant (LANES, MASKED)."""
    return p64(
        p64(globals_address())[nt.G_VTAB] + 8 * nt.V_WIDTH * (row[nt.I_VJP + variant] + operand)
    )


@inlined
def is_built(row, variant):  # type: ignore[no-untyped-def]
    """Return True if an instruction has its VJP programs: the plain ones, which tell residuals, as well."""
    return row[nt.I_VJP] >= 0 and row[nt.I_VJP + variant] >= 0


@inlined
def kept_residuals(state, row, k):  # type: ignore[no-untyped-def]
    """Bits of the operands (and, behind them, the result) that statement `k` keeps for its VJPs."""
    s = p64(state)
    args = p32(s[nt.S_ARG] + 4 * p32(s[nt.S_ARG_START])[k])
    flags, root = p8(s[nt.S_FLAGS]), p32(s[nt.S_ROOT])
    mask = 0
    for i in range(row[nt.I_NARGS]):
        if flags[root[args[i]]] & nt.ACTIVE:
            v = vjp_row(row, 0, i)
            if v[nt.V_EXISTS]:
                mask |= v[nt.V_MASK]
    return mask


@inlined
def looked_at(flags, row, k, holder):  # type: ignore[no-untyped-def]
    """Return True if Python looks at the adjoint of statement `k`, which lies in that of `holder`.

    It does not look at a view within another's adjoint, but for the tensor itself after a write.
    """
    if flags[k] & nt.WATCHED == 0:
        return False
    return holder == k or row[nt.I_KIND] != nt.VIEW or row[nt.I_EXTRA] == nt.REWRITTEN


@inlined
def reach(state, r, operand):  # type: ignore[no-untyped-def]
    """Mark an operand's root as reached (with 2 if the sweep has to come to it); 1 if that is new.

    It need not come to what is passive or not wanted, or to a leaf that requires grad: nothing happens
    there. A loop's sweep then ends where the loop's statements begin, not at the tape's start.
    """
    reached = p8(r[nt.R_REACHED])
    s = p64(state)
    slot = p32(r[nt.R_ROOT])[operand]
    if p8(r[nt.R_NEEDED])[slot] == 0:
        return 0
    if slot != operand and p8(s[nt.S_FLAGS])[operand] & nt.WATCHED:
        r[nt.R_WATCHED] += 1
        r[nt.R_SEPARABLE] += 1
    if reached[slot]:
        return 0
    row = p64(p64(globals_address())[nt.G_ITAB] + 8 * nt.I_WIDTH * p32(s[nt.S_INSTRUCTION])[slot])
    if row[nt.I_KIND] == nt.LEAF and row[nt.I_EXTRA]:
        reached[slot] = 1
        return 0
    reached[slot] = 2
    return 1


@helper
def prepare(state, request):  # type: ignore[no-untyped-def]
    """Mark needed and reached roots from the outputs on; DONE, or what would stop the sweep."""
    s = p64(state)
    r = p64(request)
    root = p32(r[nt.R_ROOT])
    needed, reached = p8(r[nt.R_NEEDED]), p8(r[nt.R_REACHED])
    flags = p8(s[nt.S_FLAGS])
    instructions = p32(s[nt.S_INSTRUCTION])
    arg_start = p32(s[nt.S_ARG_START])
    args = p32(s[nt.S_ARG])
    base = p32(s[nt.S_BASE])
    itab = p64(globals_address())[nt.G_ITAB]
    high, variant = r[nt.R_HIGH], r[nt.R_VARIANT]
    r[nt.R_WATCHED], r[nt.R_SEPARABLE] = 0, 0
    rows, shared = p64(r[nt.R_CAPTURES]), p32(s[nt.S_ROOT])
    separate_late(r)
    want_written(state, r, 0)
    if r[nt.R_LOW] <= high:
        find_needed(state, r)
        separate_late(r)
    last_write = p32(r[nt.R_LAST_WRITE])
    writes = p64(r[nt.R_WRITES])
    for i in range(r[nt.R_WRITE_COUNT]):
        last_write[writes[2 * i]] = writes[2 * i + 1]
    missing = p32(r[nt.R_MISSING])
    missing_count = 0
    k = high
    waiting = 0  # roots that are reached and that the pass has not come to
    for i in range(high, 0, -1):
        if reached[i]:
            waiting += 1
            if waiting == r[nt.R_ROOT_COUNT]:
                break
    while k > 0 and waiting > 0:
        leave(r, k + 1)
        for i in range(r[nt.R_TARGETS] if needed[k] & nt.TARGET else 0):
            late = rows[4 * i + 1]
            if is_late(rows, i, k) and root[late] == late:
                root[late] = shared[late]
                waiting -= reached[late] == 2
                if reached[late]:
                    waiting += reach(state, r, late)
        holder = root[k]
        if reached[holder] == 0:
            k -= 1
            continue
        if holder == k and reached[k] == 2:
            waiting -= 1
        if needed[holder] == 0:
            k -= 1
            continue
        row = p64(itab + 8 * nt.I_WIDTH * instructions[k])
        kind = row[nt.I_KIND]
        if row[nt.I_PYTHON] or looked_at(flags, row, k, holder):
            r[nt.R_WATCHED] += 1
        if kind == nt.LEAF:
            k -= 1
            continue
        if flags[k] & nt.STUB or not runs(state, r, row, k):
            k -= 1
            continue
        if flags[k] & nt.FREED:
            r[nt.R_ERROR_SLOT] = k
            return nt.IS_FREED
        if kind != nt.COMPUTE:
            for i in range(
                row[nt.I_NARGS] if row[nt.I_DETACH] == 0 else 0
            ):  # nothing goes through `detach`
                waiting += reach(state, r, args[arg_start[k] + i])
            if (
                kind != nt.OUTPUT
                and not is_built(row, variant)
                and (kind != nt.VIEW or root[k] == k)
            ):
                missing[missing_count] = instructions[k]
                missing_count += 1
            k -= 1
            if missing_count >= 256:
                break
            continue
        if not is_built(row, variant):
            missing[missing_count] = instructions[k]
            missing_count += 1
            if missing_count >= 256:
                break
        else:
            mask = kept_residuals(state, row, k)
            if mask != 0:
                reached[k] |= KEEPS_RESIDUALS
            for i in range(row[nt.I_NARGS] + row[nt.I_NOUT]):
                if mask >> i & 1:
                    slot = (
                        args[arg_start[k] + i] if i < row[nt.I_NARGS] else k + i - row[nt.I_NARGS]
                    )
                    if r[nt.R_WRITE_COUNT] > 0 and last_write[base[slot]] > 2 * k:
                        r[nt.R_ERROR_SLOT] = k
                        r[nt.R_ERROR_ARG] = slot
                        return nt.IS_STALE
        for i in range(row[nt.I_NARGS]):
            waiting += reach(state, r, args[arg_start[k] + i])
        k -= 1
    separate_late(r)
    want_written(state, r, k)
    r[nt.R_MISSING_COUNT] = missing_count
    r[nt.R_STOP] = k
    return nt.NEEDS_PROGRAMS if missing_count > 0 else nt.DONE


def largest_entry(state, low, high):  # type: ignore[no-untyped-def]
    """Bytes of the largest result of the statements from `low` up to `high`, excluded."""
    itab, instructions = p64(globals_address())[nt.G_ITAB], p32(p64(state)[nt.S_INSTRUCTION])
    largest = np.int64(0)
    for k in range(low, high):
        largest = max(largest, p64(itab + 8 * nt.I_WIDTH * instructions[k])[nt.I_BYTES])
    return largest


def refers_below(state, first):  # type: ignore[no-untyped-def]
    """1 if a statement from `first` on has an active operand below it."""
    s = p64(state)
    itab, instructions = p64(globals_address())[nt.G_ITAB], p32(s[nt.S_INSTRUCTION])
    arg_start, args = p32(s[nt.S_ARG_START]), p32(s[nt.S_ARG])
    flags, root = p8(s[nt.S_FLAGS]), p32(s[nt.S_ROOT])
    for k in range(first, s[nt.S_COUNT]):
        for i in range(p64(itab + 8 * nt.I_WIDTH * instructions[k])[nt.I_NARGS]):
            slot = args[arg_start[k] + i]
            if slot < first and flags[root[slot]] & nt.ACTIVE:
                return 1
    return 0
