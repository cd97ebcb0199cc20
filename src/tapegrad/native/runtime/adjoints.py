"""Adjoints of a reverse sweep: where they lie, how they are seeded, and what adds to them.

Adjoints are found by root slot: a view's adjoint lies inside its root's, at the offset that its primal has
in the root's memory. The VJP program of (instruction, operand) assigns to an *untouched* adjoint and
accumulates into any other (`run_vjp`).
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import globals_address, helper, p8, p32, p64, pf32, pf64
from .allocator import allocate
from .batched_interpreter import run_lanes
from .interpreter import pointer_table, run_range
from .recording import layout_at
from .reverse_marking import vjp_row
from .wanting import extent


@helper
def root_bytes(state, slot):  # type: ignore[no-untyped-def]
    """Bytes of a root's adjoint buffer: the span of its primal."""
    row = p32(p64(state)[nt.S_INSTRUCTION])[slot]
    return extent(p64(p64(globals_address())[nt.G_ITAB] + 8 * nt.I_WIDTH * row))


@helper
def adjoint_bytes(state, r, slot):  # type: ignore[no-untyped-def]
    """Bytes of a root's adjoint buffer, all lanes."""
    return root_bytes(state, slot) * r[nt.R_LANES]


@helper
def within(state, r, slot):  # type: ignore[no-untyped-def]
    """Offset of a slot's adjoint in its root's."""
    address = p64(p64(state)[nt.S_ADDRESS])
    return (address[slot] - address[p32(r[nt.R_ROOT])[slot]]) * r[nt.R_LANES]


@helper
def scratch_bytes(r, row):  # type: ignore[no-untyped-def]
    """Bytes of scratch memory that the VJP programs of an instruction need."""
    size = np.int64(0)
    if row[nt.I_VJP + r[nt.R_VARIANT]] < 0:  # none of its operands is wanted
        return size
    if r[nt.R_LANES] == 1:
        return row[nt.I_VSCRATCH]
    for i in range(max(row[nt.I_NARGS], 1)):
        v = vjp_row(row, r[nt.R_VARIANT], i)
        size = max(size, v[nt.V_SCRATCH] + v[nt.V_LANED] * r[nt.R_LANES])
    return size


@helper
def run_rule(r, v, program, table):  # type: ignore[no-untyped-def]
    """Run a VJP program, with as many lanes as the pass has; answers as `run_program` does."""
    if r[nt.R_LANES] == 1:
        return run_range(program, table)
    return run_lanes(program, table, r[nt.R_LANES], p64(table)[nt.T_SCRATCH] + v[nt.V_SCRATCH])


@helper
def adjoint_of(state, r, slot, whole):  # type: ignore[no-untyped-def]
    """Address of a slot's adjoint, made if untouched: zeroed unless `whole`ly assigned next."""
    owner = p32(r[nt.R_ROOT])[slot]
    adjoint = p64(r[nt.R_ADJOINT])
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
    """Return True if a slot's elements are all of its root's, each once."""
    s = p64(state)
    owner = p32(r[nt.R_ROOT])[slot]
    itab = p64(globals_address())[nt.G_ITAB]
    row = p64(itab + 8 * nt.I_WIDTH * p32(s[nt.S_INSTRUCTION])[slot])
    return row[nt.I_FULL] >= 0 and row[nt.I_FULL] == root_bytes(state, owner)


@helper
def run_vjp(state, r, row, table, operand, slot, ct):  # type: ignore[no-untyped-def]
    """Add the derivative for one operand of a statement to the adjoint of `slot`; 0, or -1 if it failed.

    What a kernel reported is then in R_FAILURE, or 0 if there was no memory.
    """
    v = vjp_row(row, r[nt.R_VARIANT], operand)
    if v[nt.V_EXISTS] == 0:
        return 0
    owner = p32(r[nt.R_ROOT])[slot]
    untouched = p64(r[nt.R_ADJOINT])[owner] == 0
    assign = untouched and v[nt.V_REDUCES] == 0 and covers(state, r, slot)
    target = adjoint_of(state, r, slot, assign)
    if target == 0:
        return -1
    t = p64(table)
    t[nt.T_CT] = ct
    t[nt.T_ADJOINT] = target
    work = row[nt.I_BYTES] + 64
    v[nt.V_WORK] += work
    p64(globals_address())[nt.G_WORK] += work
    failure = run_rule(r, v, v[nt.V_ASSIGN] if assign else v[nt.V_ACCUMULATE], table)
    if failure != 0:
        r[nt.R_FAILURE] = failure
        return -1
    return 0


@helper
def seed(state, request, slot, ct, copy):  # type: ignore[no-untyped-def]
    """Accumulate a contiguous cotangent (its lanes innermost) into a slot's adjoint.

    `copy` is the instruction that copies the slot's layout, whose VJP is the identity.
    """
    r = p64(request)
    row = p64(p64(globals_address())[nt.G_ITAB] + 8 * nt.I_WIDTH * copy)
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
    lanes = r[nt.R_LANES]
    layout = layout_at(state, slot)
    single = p8(p64(globals_address())[nt.G_LAYOUT_DTYPE])[layout] == nt.FLOAT32
    for i in range(lanes):
        at = (start + i) * lanes + i
        if single:
            pf32(target)[at] = np.float32(1)
        else:
            pf64(target)[at] = 1.0
    return 0
