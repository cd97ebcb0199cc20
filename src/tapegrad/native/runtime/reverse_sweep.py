"""The reverse sweep.

`reverse_entry` walks backwards over the statements that `prepare_entry` (reverse_marking.py) marked; for
each operand that needs a derivative it runs the VJP program of (instruction, operand), which
assigns to an *untouched* adjoint and accumulates into any other. Adjoints are found by root slot: a
view's adjoint lies inside its root's, at the offset that its primal has in the root's memory, so a
view costs nothing here.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import intrinsics as it
from ..abi import (
    ACCUMULATE,
    COMPUTE,
    ENDS,
    FLOAT32,
    FREED,
    I_BYTES,
    I_DETACH,
    I_FULL,
    I_KIND,
    I_NARGS,
    I_PYTHON,
    I_VJP,
    I_VSCRATCH,
    I_WIDTH,
    LEAF,
    R_ADJOINT,
    R_CAPTURE_COUNT,
    R_CAPTURES,
    R_ERROR_ARG,
    R_EVERY,
    R_HIGH,
    R_LANES,
    R_NEEDED,
    R_RAW,
    R_REACHED,
    R_ROOT,
    R_SEEN,
    R_STOP,
    R_VARIANT,
    SMALL,
    STUB,
    T_ADJOINT,
    T_CT,
    T_SCRATCH,
    TAKE_OVER,
    TARGET,
    V_ACCUMULATE,
    V_ASSIGN,
    V_EXISTS,
    V_IDENTITY,
    V_LANED,
    V_REDUCES,
    V_SCRATCH,
    V_WORK,
    VIEW,
    WATCHED,
    WRITE,
)  # fmt: skip
from ..intrinsics import globals_address, helper, p8, p32, p64, pf32, pf64
from .allocator import allocate, free_large, reset_arena, trim_scratch
from .appending import append_leaf
from .batched_interpreter import run_lanes
from .interpreter import pointer_table, run_range
from .recording import layout_at
from .reverse_marking import KEEPS_RESIDUALS, looked_at, vjp_row
from .wanting import extent, is_late, leave, runs


@helper
def root_bytes(state, slot):  # type: ignore[no-untyped-def]
    """Bytes of a root's adjoint buffer: the span of its primal."""
    row = p32(p64(state)[nt.S_INSTRUCTION])[slot]
    return extent(p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * row))


@helper
def adjoint_bytes(state, r, slot):  # type: ignore[no-untyped-def]
    """Bytes of a root's adjoint buffer, all lanes."""
    return root_bytes(state, slot) * r[R_LANES]


@helper
def within(state, r, slot):  # type: ignore[no-untyped-def]
    """Where a slot's adjoint lies in its root's."""
    address = p64(p64(state)[nt.S_ADDRESS])
    return (address[slot] - address[p32(r[R_ROOT])[slot]]) * r[R_LANES]


@helper
def scratch_bytes(r, row):  # type: ignore[no-untyped-def]
    """Bytes of scratch memory that the VJP programs of an instruction need."""
    size = np.int64(0)
    if row[I_VJP + r[R_VARIANT]] < 0:  # none of its operands is wanted
        return size
    if r[R_LANES] == 1:
        return row[I_VSCRATCH]
    for i in range(max(row[I_NARGS], 1)):
        v = vjp_row(row, r[R_VARIANT], i)
        size = max(size, v[V_SCRATCH] + v[V_LANED] * r[R_LANES])
    return size


@helper
def run_rule(r, v, program, table):  # type: ignore[no-untyped-def]
    """Run a VJP program, with as many lanes as the pass has."""
    if r[R_LANES] == 1:
        run_range(program, table)
    else:
        run_lanes(program, table, r[R_LANES], p64(table)[T_SCRATCH] + v[V_SCRATCH])


@helper
def adjoint_of(state, r, slot, whole):  # type: ignore[no-untyped-def]
    """Address of a slot's adjoint, made if untouched: zeroed unless `whole`ly assigned next."""
    owner = p32(r[R_ROOT])[slot]
    adjoint = p64(r[R_ADJOINT])
    if adjoint[owner] == 0:
        size = adjoint_bytes(state, r, owner)
        memory = allocate(state, nt.S_ADJOINTS, max(size, 1))
        if memory == 0:
            return 0
        if not whole:
            it.memset(memory, 0, size)
        adjoint[owner] = memory
    return adjoint[owner] + within(state, r, slot)


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
    v = vjp_row(row, r[R_VARIANT], operand)
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
    work = row[I_BYTES] + 64
    v[V_WORK] += work
    p64(globals_address())[nt.G_WORK] += work
    run_rule(r, v, v[V_ASSIGN] if assign else v[V_ACCUMULATE], table)
    return 0


@helper
def seed(state, request, slot, ct):  # type: ignore[no-untyped-def]
    """Accumulate a contiguous cotangent (its lanes innermost) into a slot's adjoint.

    The clone instruction of the slot's layout, whose VJP is the identity, is in R_ERROR_ARG.
    """
    r = p64(request)
    row = p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * r[R_ERROR_ARG])
    table = pointer_table(state, row, slot, scratch_bytes(r, row))
    if table == 0:
        return -1
    return run_vjp(state, r, row, table, 0, slot, ct)


@helper
def units(state, request, slot, start):  # type: ignore[no-untyped-def]
    """Seed a dense slot with unit vectors, a lane each, from element `start` on; -1 without memory."""
    r = p64(request)
    target = adjoint_of(state, r, slot, False)
    if target == 0:
        return -1
    lanes = r[R_LANES]
    layout = layout_at(state, slot)
    single = p8(p64(globals_address())[nt.G_LAYOUT_DTYPE])[layout] == FLOAT32
    for i in range(lanes):
        at = (start + i) * lanes + i
        if single:
            pf32(target)[at] = np.float32(1)
        else:
            pf64(target)[at] = 1.0
    return 0


def units_entry(state, request, slot, start):  # type: ignore[no-untyped-def]
    return units(state, request, slot, start)


@helper
def copy_targets(state, r, k):  # type: ignore[no-untyped-def]
    """Copy the adjoints out that are taken at statement `k`; 0, or -1 without memory."""
    itab = p64(globals_address())[nt.G_ITAB]
    captures, owner = p64(r[R_CAPTURES]), p32(r[R_ROOT])[k]
    for i in range(r[R_CAPTURE_COUNT]):
        if captures[4 * i] == k:
            slot = captures[4 * i + 1]
            copy = p64(itab + 8 * I_WIDTH * captures[4 * i + 3])
            table = pointer_table(state, copy, slot, scratch_bytes(r, copy))
            if table == 0:
                return -1
            v = vjp_row(copy, r[R_VARIANT], 1)  # `copy_of` in reverse_pass.py has it
            p64(table)[T_CT] = p64(r[R_ADJOINT])[owner] + within(state, r, slot)
            p64(table)[T_ADJOINT] = captures[4 * i + 2]
            run_rule(r, v, v[V_ASSIGN], table)
            captures[4 * i] = -1  # taken
    return 0


@helper
def take_late(state, r, k):  # type: ignore[no-untyped-def]
    """Copy the adjoints of late targets out at `k` and add them to their bases'; 0, or -1 without memory.

    From here down such a view lies in its base's adjoint again.
    """
    s = p64(state)
    itab, shared = p64(globals_address())[nt.G_ITAB], p32(s[nt.S_ROOT])
    captures, root, adjoint = p64(r[R_CAPTURES]), p32(r[R_ROOT]), p64(r[R_ADJOINT])
    for i in range(r[R_CAPTURE_COUNT]):
        if is_late(captures, i, k):
            slot = captures[4 * i + 1]
            captures[4 * i] = -2
            if adjoint[slot] != 0:
                copy = p64(itab + 8 * I_WIDTH * (captures[4 * i + 3] & 0xFFFFFFFF))
                table = pointer_table(state, copy, slot, scratch_bytes(r, copy))
                if table == 0:
                    return -1
                v = vjp_row(copy, r[R_VARIANT], 1)
                p64(table)[T_CT], p64(table)[T_ADJOINT] = adjoint[slot], captures[4 * i + 2]
                run_rule(r, v, v[V_ASSIGN], table)
                captures[4 * i] = -1  # taken
    for i in range(r[R_CAPTURE_COUNT]):
        slot = captures[4 * i + 1]
        if captures[4 * i] >= 0 or captures[4 * i + 3] >> 32 == 0 or root[slot] != slot:
            continue
        root[slot] = shared[slot]
        memory = adjoint[slot]
        adjoint[slot] = 0
        if memory != 0 and p8(r[R_NEEDED])[root[slot]]:
            copy = p64(itab + 8 * I_WIDTH * (captures[4 * i + 3] & 0xFFFFFFFF))
            table = pointer_table(state, copy, slot, scratch_bytes(r, copy))
            if table == 0 or run_vjp(state, r, copy, table, 0, slot, captures[4 * i + 2]) != 0:
                return -1
        if memory != 0 and adjoint_bytes(state, r, slot) > SMALL:
            free_large(state + 8 * nt.S_POOL, memory, adjoint_bytes(state, r, slot))
    return 0


@helper
def sweep_back(state, request):  # type: ignore[no-untyped-def]
    """Sweep backwards over what `prepare` marked; 0, or -1 without memory.

    Or the statement where Python has something to do (python_steps.py); the next call goes on there.
    """
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
    pool = state + 8 * nt.S_POOL
    lanes, variant = r[R_LANES], r[R_VARIANT]
    k = r[R_HIGH]
    while k > r[R_STOP]:
        leave(r, k + 1)
        if needed[k] & TARGET and take_late(state, r, k) != 0:
            return -1
        own = root[k]
        if adjoint[own] == 0 or needed[own] == 0:
            k -= 1
            continue
        row = p64(itab + 8 * I_WIDTH * instructions[k])
        kind = row[I_KIND]
        taken_over = r[R_EVERY]
        if flags[k] & WATCHED or needed[k] & TARGET:
            seen = r[R_SEEN]
            looks = looked_at(flags, row, k, own) and seen != k and seen != -k
            goes_on = r[R_RAW] != 0 and kind != LEAF and runs(state, r, row, k)
            if (goes_on or not looks) and copy_targets(state, r, k) != 0:
                return -1
            if looks:
                r[R_SEEN] = k
                r[R_HIGH] = k
                return k
            if seen == -k:
                taken_over = 1
        if kind == LEAF or flags[k] & STUB:
            k -= 1
            continue
        first = args[arg_start[k]]
        if kind == COMPUTE and (row[I_PYTHON] or taken_over):
            if r[R_RAW] != 0 and not runs(state, r, row, k):
                k -= 1
                continue
            r[R_HIGH] = k
            return k + TAKE_OVER
        if kind == COMPUTE:
            moved, heir = 0, -1
            table = pointer_table(state, row, k, scratch_bytes(r, row))
            if table == 0:
                return -1
            for i in range(row[I_NARGS]):
                slot = args[arg_start[k] + i]
                owner = root[slot]
                if needed[owner] == 0:
                    continue
                large = heir < 0 and owner == slot and row[I_BYTES] * lanes > SMALL
                if large and adjoint[owner] == 0 and vjp_row(row, variant, i)[V_IDENTITY]:
                    heir = i  # it may get the cotangent's buffer itself, once the others are done
                    continue
                if run_vjp(state, r, row, table, i, slot, adjoint[k]) != 0:
                    return -1
            if heir >= 0:
                slot = args[arg_start[k] + heir]
                if adjoint[slot] == 0:
                    adjoint[slot] = adjoint[k]
                    moved = 1
                elif run_vjp(state, r, row, table, heir, slot, adjoint[k]) != 0:
                    return -1
            if row[I_BYTES] * lanes > SMALL and moved == 0:
                free_large(pool, adjoint[k], row[I_BYTES] * lanes)
            adjoint[k] = 0
        elif kind == VIEW:
            owner = root[first]
            # A captured view has an adjoint of its own. What is behind it may not be wanted; then
            # `prepare` asked for no program either.
            if own == k and row[I_DETACH] == 0 and needed[owner]:
                if adjoint_of(state, r, first, False) == 0:
                    return -1
                table = pointer_table(state, row, k, scratch_bytes(r, row))
                if table == 0:
                    return -1
                v = vjp_row(row, variant, 0)
                p64(table)[T_CT] = adjoint[k]
                p64(table)[T_ADJOINT] = adjoint[owner] + lanes * (address[k] - address[owner])
                run_rule(r, v, v[V_ACCUMULATE], table)
                if row[I_BYTES] * lanes > SMALL:
                    free_large(pool, adjoint[k], row[I_BYTES] * lanes)
                adjoint[k] = 0
        elif kind == WRITE or kind == ACCUMULATE:
            source = args[arg_start[k] + 1]
            if needed[k] & ENDS and needed[root[source]] == 0:  # `prepare` asked for no programs
                k -= 1
                continue
            table = pointer_table(state, row, k, scratch_bytes(r, row))
            if table == 0:
                return -1
            ct = adjoint[own] + within(state, r, k)
            if needed[root[source]]:
                if run_vjp(state, r, row, table, 1, source, ct) != 0:
                    return -1
            if kind == WRITE:  # what was there before is overwritten: its adjoint is zero
                v = vjp_row(row, variant, 0)
                p64(table)[T_CT] = ct
                p64(table)[T_ADJOINT] = ct
                run_rule(r, v, v[V_ASSIGN], table)
        k -= 1
    return 0


def gradient_entry(state, adjoint, size, instruction, address):  # type: ignore[no-untyped-def]
    """Copy an adjoint to `address` and append a leaf there; its slot, or -1."""
    it.memcpy(address, adjoint, size)
    return append_leaf(state, instruction, address, 0)


@helper
def release(state, request, what):  # type: ignore[no-untyped-def]
    """After a sweep: mark the residuals of what it visited as freed, give adjoints back.

    `what`: 1 to mark, plus 2 where no other sweep of this tape is under way.
    """
    s = p64(state)
    r = p64(request)
    reached, adjoint = p8(r[R_REACHED]), p64(r[R_ADJOINT])
    flags = p8(s[nt.S_FLAGS])
    k = r[R_HIGH]
    while k > r[R_STOP]:
        if adjoint[k] != 0:
            size = adjoint_bytes(state, r, k)
            if size > SMALL:
                free_large(state + 8 * nt.S_POOL, adjoint[k], size)
            adjoint[k] = 0
        if what & 1 and reached[k] & KEEPS_RESIDUALS:
            flags[k] |= FREED
        k -= 1
    if what & 2:
        reset_arena(state + 8 * nt.S_ADJOINTS)
        trim_scratch(state)
    return 0


def seed_entry(state, request, slot, ct):  # type: ignore[no-untyped-def]
    return seed(state, request, slot, ct)


def reverse_entry(state, request):  # type: ignore[no-untyped-def]
    return sweep_back(state, request)


def release_entry(state, request, what):  # type: ignore[no-untyped-def]
    return release(state, request, what)
