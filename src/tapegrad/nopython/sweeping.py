"""The jitted forward and reverse sweeps.

A statement names an instruction; an instruction has a *program*, a run of steps; a step is a call
of a kernel by address, with operands, an inner loop (done by the kernel) and outer loops (done
here). The kernel is mostly one of NumPy's own inner loops. Both sweeps are therefore short:

- `forward_entry` takes the pending statements in order, finds memory for each result and runs its
program.
- `prepare_entry` marks what a reverse sweep will visit and finds everything that could stop it
(freed
  residuals, values changed in place, programs not built yet), so that an error leaves no trace.
- `reverse_entry` walks the statements backwards; for each operand that needs a derivative it runs
the VJP
  program of (instruction, operand), which assigns to an *untouched* adjoint and accumulates into
  any other. Adjoints are found by root slot: a view's adjoint lies inside its root's, at the offset
  that its primal has in the root's memory, so a view costs nothing here.
"""

from __future__ import annotations

import numpy as np

from .. import native as nt
from ..native import (
    ACCUMULATE,
    ACTIVE,
    CAPTURE,
    COMPUTE,
    FREED,
    I_BYTES,
    I_DETACH,
    I_EXTRA,
    I_FULL,
    I_KIND,
    I_NARGS,
    I_NOUT,
    I_SCRATCH,
    I_STEP_HI,
    I_STEP_LO,
    I_VJP,
    I_VSCRATCH,
    I_WIDTH,
    IS_FREED,
    IS_MISSING,
    IS_STALE,
    LEAF,
    OK,
    OUTPUT,
    POISON,
    R_ADJOINT,
    R_CAPTURE_COUNT,
    R_CAPTURES,
    R_ERROR_ARG,
    R_ERROR_SLOT,
    R_HIGH,
    R_LAST_WRITE,
    R_LOW,
    R_MISSING,
    R_MISSING_COUNT,
    R_NEEDED,
    R_REACHED,
    R_ROOT,
    R_ROOT_COUNT,
    R_STOP,
    R_WRITE_COUNT,
    R_WRITES,
    SMALL,
    STUB,
    T_ADJOINT,
    T_ARGS,
    T_CT,
    V_ACCUMULATE,
    V_ASSIGN,
    V_EXISTS,
    V_IDENTITY,
    V_MASK,
    V_REDUCES,
    V_WIDTH,
    V_WORK,
    VIEW,
    WRITE,
)  # fmt: skip
from . import intrinsics as it
from .intrinsics import globals_address, helper, p8, p32, p64
from .memory import allocate, free_large, reset_arena
from .running import pointer_table, run_program, run_range


def forward_entry(state):  # type: ignore[no-untyped-def]
    """Evaluate the pending statements; the first slot that could not be evaluated, or 0."""
    s = p64(state)
    instructions = p32(s[nt.S_INSTRUCTION])
    address = p64(s[nt.S_ADDRESS])
    flags = p8(s[nt.S_FLAGS])
    arg_start = p32(s[nt.S_ARG_START])
    args = p32(s[nt.S_ARG])
    itab = p64(globals_address())[nt.G_ITAB]
    failed = 0
    count = s[nt.S_COUNT]
    for k in range(s[nt.S_DONE], count):
        row = p64(itab + 8 * I_WIDTH * instructions[k])
        kind = row[I_KIND]
        if kind == LEAF or flags[k] & STUB:
            continue
        first = args[arg_start[k]] if row[I_NARGS] > 0 else 0
        poisoned = 0
        for i in range(row[I_NARGS]):
            poisoned |= flags[args[arg_start[k] + i]] & POISON
        if poisoned:
            flags[k] |= POISON
            continue
        if kind == VIEW:
            low = np.int64(np.uint32(args[arg_start[k] + 1]))
            high = np.int64(args[arg_start[k] + 2])
            address[k] = address[first] + ((high << 32) | low)
            continue
        if kind == OUTPUT:
            continue
        if kind == COMPUTE:
            for i in range(row[I_NOUT]):
                out = p64(itab + 8 * I_WIDTH * instructions[k + i])
                memory = allocate(state, nt.S_VALUES, out[I_BYTES])
                if memory == 0:
                    flags[k] |= POISON
                    if failed == 0:
                        failed = k
                    break
                address[k + i] = memory
                if out[I_BYTES] > SMALL:
                    s[nt.S_OWNED_BYTES] += out[I_BYTES]
            if flags[k] & POISON:
                continue
        else:
            address[k] = address[first]
        table = pointer_table(state, row, k, row[I_SCRATCH])
        if table == 0:
            flags[k] |= POISON
            if failed == 0:
                failed = k
            continue
        run_program(row[I_STEP_LO], row[I_STEP_HI], table)
    s[nt.S_DONE] = count
    # Recording stops at the limit and lets Python collect.
    full = s[nt.S_OWNED_BYTES] > s[nt.S_COLLECT_AT]
    s[nt.S_PENDING_BYTES] = s[nt.S_PENDING_LIMIT] + 1 if full else 0
    s[nt.S_FAILED] = failed
    if s[nt.S_SCRATCH_SIZE] > 1 << 24:
        it.free(s[nt.S_SCRATCH])
        s[nt.S_SCRATCH] = 0
        s[nt.S_SCRATCH_SIZE] = 0
    return failed


# --------------------------------------------------------------------------- reverse
@helper
def vjp_row(row, operand):  # type: ignore[no-untyped-def]
    return p64(p64(globals_address())[nt.G_VTAB] + 8 * V_WIDTH * (row[I_VJP] + operand))


@helper
def kept_residuals(state, row, k):  # type: ignore[no-untyped-def]
    """Bits of the operands (and, behind them, the result) that statement `k` keeps for its VJPs."""
    s = p64(state)
    args = p32(s[nt.S_ARG] + 4 * p32(s[nt.S_ARG_START])[k])
    flags, root = p8(s[nt.S_FLAGS]), p32(s[nt.S_ROOT])
    mask = 0
    for i in range(row[I_NARGS]):
        if flags[root[args[i]]] & ACTIVE:
            v = vjp_row(row, i)
            if v[V_EXISTS]:
                mask |= v[V_MASK]
    return mask


@helper
def runs(state, r, row, k):  # type: ignore[no-untyped-def]
    """Whether a reached statement has an operand whose adjoint is wanted."""
    s = p64(state)
    root, needed = p32(r[R_ROOT]), p8(r[R_NEEDED])
    flags = p8(s[nt.S_FLAGS])
    args = p32(s[nt.S_ARG] + 4 * p32(s[nt.S_ARG_START])[k])
    for i in range(row[I_NARGS]):
        owner = root[args[i]]
        if needed[owner] and flags[owner] & ACTIVE:
            return True
    return False


@helper
def reach(state, r, slot):  # type: ignore[no-untyped-def]
    """Mark a root as reached (with 2 if the sweep has to come to it); 1 if that is new.

    It need not come to a leaf that requires grad: nothing happens there, unless its adjoint is to
    be copied out. A loop's sweep then ends where the loop's statements begin, not at the tape's
    start.
    """
    reached = p8(r[R_REACHED])
    if reached[slot]:
        return 0
    s = p64(state)
    row = p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * p32(s[nt.S_INSTRUCTION])[slot])
    if row[I_KIND] == LEAF and row[I_EXTRA] and p8(s[nt.S_FLAGS])[slot] & CAPTURE == 0:
        reached[slot] = 1
        return 0
    reached[slot] = 2
    return 1


def prepare_entry(state, request):  # type: ignore[no-untyped-def]
    """Mark needed and reached roots and look for what would stop the sweep; one of OK, IS_..."""
    s = p64(state)
    r = p64(request)
    root = p32(r[R_ROOT])
    needed, reached = p8(r[R_NEEDED]), p8(r[R_REACHED])
    flags = p8(s[nt.S_FLAGS])
    instructions = p32(s[nt.S_INSTRUCTION])
    arg_start = p32(s[nt.S_ARG_START])
    args = p32(s[nt.S_ARG])
    base = p32(s[nt.S_BASE])
    itab = p64(globals_address())[nt.G_ITAB]
    high = r[R_HIGH]
    for k in range(r[R_LOW], high + 1):
        if flags[root[k]] & ACTIVE == 0 or flags[k] & STUB:
            continue
        row = p64(itab + 8 * I_WIDTH * instructions[k])
        if row[I_KIND] == LEAF or row[I_DETACH] != 0:
            continue
        for i in range(row[I_NARGS]):
            if needed[root[args[arg_start[k] + i]]]:
                needed[root[k]] = 1
                break
    last_write = p32(r[R_LAST_WRITE])
    writes = p64(r[R_WRITES])
    for i in range(r[R_WRITE_COUNT]):
        last_write[writes[2 * i]] = writes[2 * i + 1]
    missing = p32(r[R_MISSING])
    missing_count = 0
    k = high
    waiting = 0  # roots that are reached and that the pass has not come to
    for i in range(high, 0, -1):
        if reached[i]:
            waiting += 1
            if waiting == r[R_ROOT_COUNT]:
                break
    while k > 0 and waiting > 0:
        own = root[k]
        if reached[own] == 0:
            k -= 1
            continue
        if own == k and reached[k] == 2:
            waiting -= 1
        if needed[own] == 0 or flags[own] & ACTIVE == 0:
            k -= 1
            continue
        row = p64(itab + 8 * I_WIDTH * instructions[k])
        kind = row[I_KIND]
        if kind == LEAF:
            k -= 1
            continue
        if flags[k] & STUB or not runs(state, r, row, k):
            k -= 1
            continue
        if flags[k] & FREED:
            r[R_ERROR_SLOT] = k
            return IS_FREED
        if kind != COMPUTE:
            for i in range(row[I_NARGS]):
                waiting += reach(state, r, root[args[arg_start[k] + i]])
            if kind != OUTPUT and row[I_VJP] < 0 and (kind != VIEW or root[k] == k):
                missing[missing_count] = instructions[k]
                missing_count += 1
            k -= 1
            if missing_count >= 256:
                break
            continue
        if row[I_VJP] < 0:
            missing[missing_count] = instructions[k]
            missing_count += 1
            if missing_count >= 256:
                break
        else:
            mask = kept_residuals(state, row, k)
            for i in range(row[I_NARGS] + row[I_NOUT]):
                if mask >> i & 1:
                    slot = args[arg_start[k] + i] if i < row[I_NARGS] else k + i - row[I_NARGS]
                    if r[R_WRITE_COUNT] > 0 and last_write[base[slot]] > 2 * k:
                        r[R_ERROR_SLOT] = k
                        r[R_ERROR_ARG] = slot
                        return IS_STALE
        for i in range(row[I_NARGS]):
            waiting += reach(state, r, root[args[arg_start[k] + i]])
        k -= 1
    r[R_MISSING_COUNT] = missing_count
    r[R_STOP] = k
    return IS_MISSING if missing_count > 0 else OK


@helper
def root_bytes(state, slot):  # type: ignore[no-untyped-def]
    """Bytes of a root's adjoint buffer: the span of its primal."""
    row = p32(p64(state)[nt.S_INSTRUCTION])[slot]
    return p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * row)[I_BYTES]


@helper
def adjoint_of(state, r, slot, whole):  # type: ignore[no-untyped-def]
    """Address of a slot's adjoint, made if untouched: zeroed unless `whole`ly assigned next."""
    s = p64(state)
    owner = p32(r[R_ROOT])[slot]
    adjoint = p64(r[R_ADJOINT])
    if adjoint[owner] == 0:
        size = root_bytes(state, owner)
        memory = allocate(state, nt.S_ADJOINTS, max(size, 1))
        if memory == 0:
            return 0
        if not whole:
            it.memset(memory, 0, size)
        adjoint[owner] = memory
    address = p64(s[nt.S_ADDRESS])
    return adjoint[owner] + (address[slot] - address[owner])


@helper
def covers(state, r, slot):  # type: ignore[no-untyped-def]
    """Whether a slot's elements are all of its root's, each once."""
    s = p64(state)
    owner = p32(r[R_ROOT])[slot]
    itab = p64(globals_address())[nt.G_ITAB]
    own = p64(itab + 8 * I_WIDTH * p32(s[nt.S_INSTRUCTION])[slot])
    return own[I_FULL] >= 0 and own[I_FULL] == root_bytes(state, owner)


@helper
def run_vjp(state, r, row, table, operand, slot, ct):  # type: ignore[no-untyped-def]
    """Add the derivative for one operand of a statement to the adjoint of `slot`."""
    v = vjp_row(row, operand)
    if v[V_EXISTS] == 0:
        return 0
    owner = p32(r[R_ROOT])[slot]
    untouched = p64(r[R_ADJOINT])[owner] == 0
    assign = untouched and v[V_REDUCES] == 0 and covers(state, r, slot)
    target = adjoint_of(state, r, slot, assign)
    if target == 0:
        return -1
    t = p64(table)
    t[T_CT] = ct
    t[T_ADJOINT] = target
    v[V_WORK] += row[I_BYTES] + 64
    if assign:
        run_range(v[V_ASSIGN], table)
    else:
        run_range(v[V_ACCUMULATE], table)
    return 0


def start_entry(state, request, counts, missing, leaves):  # type: ignore[no-untyped-def]
    """Lay out a request's arrays behind its fields (as request.py counts them) and clear them.

    `counts` is the number of targets and, in the high half, of in-place writes; `missing` the room for
    instructions without programs and, in the high half, the number of slots.
    """
    s = p64(state)
    n, missing = missing >> 32, missing & 0xFFFFFFFF
    targets, writes = counts & 0xFFFFFFFF, counts >> 32
    captures = nt.R_WIDTH + 4 * targets
    adjoint = captures + 2 * writes
    last = adjoint + n + missing // 2
    marks = last + ((n + 1) // 2 if writes > 0 else 0)
    it.memset(request, 0, 8 * marks + 2 * n)
    r = p64(request)
    r[R_CAPTURES] = request + 8 * nt.R_WIDTH
    r[R_WRITES] = request + 8 * captures
    r[R_WRITE_COUNT] = writes
    r[R_ADJOINT] = request + 8 * adjoint
    r[R_MISSING] = request + 8 * (adjoint + n)
    r[R_LAST_WRITE] = request + 8 * last
    r[R_NEEDED] = request + 8 * marks
    r[R_REACHED] = request + 8 * marks + n
    r[R_ROOT] = s[nt.S_ROOT]
    if leaves:
        needed, flags = p8(request + 8 * marks), p8(s[nt.S_FLAGS])
        for k in range(n):
            needed[k] = flags[k] & ACTIVE
    return 0


def seed_entry(state, request, slot, ct):  # type: ignore[no-untyped-def]
    """Accumulate a contiguous cotangent into a slot's adjoint.

    The clone instruction of the slot's layout, whose VJP is the identity, is in R_ERROR_ARG.
    """
    r = p64(request)
    row = p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * r[R_ERROR_ARG])
    table = pointer_table(state, row, slot, row[I_VSCRATCH])
    if table == 0:
        return -1
    return run_vjp(state, r, row, table, 0, slot, ct)


def reverse_entry(state, request):  # type: ignore[no-untyped-def]
    """Sweep backwards over what `prepare` marked; 0, or -1 without memory."""
    s = p64(state)
    r = p64(request)
    root = p32(r[R_ROOT])
    needed = p8(r[R_NEEDED])
    adjoint = p64(r[R_ADJOINT])
    flags = p8(s[nt.S_FLAGS])
    instructions = p32(s[nt.S_INSTRUCTION])
    address = p64(s[nt.S_ADDRESS])
    arg_start = p32(s[nt.S_ARG_START])
    args = p32(s[nt.S_ARG])
    itab = p64(globals_address())[nt.G_ITAB]
    captures = p64(r[R_CAPTURES])
    pool = state + 8 * nt.S_POOL
    k = r[R_HIGH]
    while k > r[R_STOP]:
        own = root[k]
        if adjoint[own] == 0 or flags[own] & ACTIVE == 0:
            k -= 1
            continue
        row = p64(itab + 8 * I_WIDTH * instructions[k])
        if flags[k] & CAPTURE:
            for i in range(r[R_CAPTURE_COUNT]):
                if captures[4 * i] == k:
                    slot = captures[4 * i + 1]
                    copy = p64(itab + 8 * I_WIDTH * captures[4 * i + 3])
                    table = pointer_table(state, copy, slot, copy[I_SCRATCH])
                    if table == 0:
                        return -1
                    p64(table)[T_ARGS] = adjoint[own] + (address[slot] - address[own])
                    p64(table)[T_ARGS + 1] = captures[4 * i + 2]
                    run_program(copy[I_STEP_LO], copy[I_STEP_HI], table)
                    captures[4 * i] = -1  # taken
        kind = row[I_KIND]
        if kind == LEAF or flags[k] & STUB or needed[own] == 0:
            k -= 1
            continue
        first = args[arg_start[k]]
        if kind == COMPUTE:
            moved = 0
            table = pointer_table(state, row, k, row[I_VSCRATCH])
            if table == 0:
                return -1
            for i in range(row[I_NARGS]):
                slot = args[arg_start[k] + i]
                owner = root[slot]
                if flags[owner] & ACTIVE == 0 or needed[owner] == 0:
                    continue
                v = vjp_row(row, i)
                if (
                    v[V_IDENTITY]
                    and adjoint[owner] == 0
                    and owner == slot
                    and row[I_BYTES] > SMALL
                    and moved == 0
                    and (i + 1 == row[I_NARGS] or args[arg_start[k] + i + 1] != slot)
                ):
                    later = 0
                    for j in range(i + 1, row[I_NARGS]):
                        other = root[args[arg_start[k] + j]]
                        if flags[other] & ACTIVE and needed[other]:
                            later = 1
                    if later == 0:
                        adjoint[slot] = adjoint[k]
                        moved = 1
                        continue
                if run_vjp(state, r, row, table, i, slot, adjoint[k]) != 0:
                    return -1
            if row[I_BYTES] > SMALL and moved == 0:
                free_large(pool, adjoint[k], row[I_BYTES])
            adjoint[k] = 0
        elif kind == VIEW:
            owner = root[first]
            # A captured view has an adjoint of its own. What is behind it may not be wanted; then
            # `prepare` asked for no program either.
            if own == k and row[I_DETACH] == 0 and needed[owner] and flags[owner] & ACTIVE:
                if adjoint_of(state, r, first, False) == 0:
                    return -1
                table = pointer_table(state, row, k, 0)
                if table == 0:
                    return -1
                v = vjp_row(row, 0)
                p64(table)[T_CT] = adjoint[k]
                p64(table)[T_ADJOINT] = adjoint[owner] + (address[k] - address[owner])
                run_range(v[V_ACCUMULATE], table)
                if row[I_BYTES] > SMALL:
                    free_large(pool, adjoint[k], row[I_BYTES])
                adjoint[k] = 0
        elif kind == WRITE or kind == ACCUMULATE:
            source = args[arg_start[k] + 1]
            table = pointer_table(state, row, k, row[I_VSCRATCH])
            if table == 0:
                return -1
            ct = adjoint[own] + (address[k] - address[own])
            if flags[root[source]] & ACTIVE and needed[root[source]]:
                if run_vjp(state, r, row, table, 1, source, ct) != 0:
                    return -1
            if kind == WRITE:  # what was there before is overwritten: its adjoint is zero
                v = vjp_row(row, 0)
                p64(table)[T_CT] = ct
                p64(table)[T_ADJOINT] = ct
                run_range(v[V_ASSIGN], table)
        k -= 1
    return 0


def release_entry(state, request, free_residuals):  # type: ignore[no-untyped-def]
    """After a sweep: mark the residuals of what it visited as freed, give adjoints back."""
    s = p64(state)
    r = p64(request)
    root = p32(r[R_ROOT])
    needed, reached = p8(r[R_NEEDED]), p8(r[R_REACHED])
    adjoint = p64(r[R_ADJOINT])
    flags = p8(s[nt.S_FLAGS])
    instructions = p32(s[nt.S_INSTRUCTION])
    itab = p64(globals_address())[nt.G_ITAB]
    k = r[R_HIGH]
    while k > r[R_STOP]:
        if adjoint[k] != 0:
            size = root_bytes(state, k)
            if size > SMALL:
                free_large(state + 8 * nt.S_POOL, adjoint[k], size)
            adjoint[k] = 0
        own = root[k]
        if free_residuals and reached[own] and needed[own] and flags[own] & ACTIVE:
            row = p64(itab + 8 * I_WIDTH * instructions[k])
            if row[I_KIND] == COMPUTE and flags[k] & STUB == 0:
                if runs(state, r, row, k) and kept_residuals(state, row, k) != 0:
                    flags[k] |= FREED
        k -= 1
    reset_arena(state + 8 * nt.S_ADJOINTS)
    if s[nt.S_SCRATCH_SIZE] > 1 << 24:
        it.free(s[nt.S_SCRATCH])
        s[nt.S_SCRATCH] = 0
        s[nt.S_SCRATCH_SIZE] = 0
    return 0
