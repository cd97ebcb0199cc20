"""The forward sweep.

A statement names an instruction; an instruction has a *program*, a run of steps; a step is a call
of a kernel by address, with operands, an inner loop (done by the kernel) and outer loops (done in
interpreter.py). The kernel is mostly one of NumPy's own inner loops. So the sweep is short: it takes the
pending statements in order, finds memory for each result and runs its program.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from ..words import globals_address, helper, inlined, p8, p32, p64
from .allocator import allocate, free_large, trim_scratch
from .interpreter import pointer_table, run_program


@helper
def free_results(state, row, k):  # type: ignore[no-untyped-def]
    """Give the memory of results back that a statement has not computed."""
    s = p64(state)
    address, instructions = p64(s[nt.S_ADDRESS]), p32(s[nt.S_INSTRUCTION])
    itab = p64(globals_address())[nt.G_ITAB]
    for i in range(row[nt.I_NOUT] if row[nt.I_KIND] == nt.COMPUTE else 0):
        size = p64(itab + 8 * nt.I_WIDTH * instructions[k + i])[nt.I_BYTES]
        if address[k + i] != 0 and size > nt.SMALL:
            free_large(state + 8 * nt.S_POOL, address[k + i], size)
            s[nt.S_OWNED_BYTES] -= size
        address[k + i] = 0


@inlined
def allocate_results(state, row, k):  # type: ignore[no-untyped-def]
    """Find memory for the results of a statement; 0, or -1 without."""
    s = p64(state)
    address, instructions = p64(s[nt.S_ADDRESS]), p32(s[nt.S_INSTRUCTION])
    itab = p64(globals_address())[nt.G_ITAB]
    for i in range(row[nt.I_NOUT]):
        size = p64(itab + 8 * nt.I_WIDTH * instructions[k + i])[nt.I_BYTES]
        address[k + i] = allocate(state, nt.S_VALUES, size)
        if address[k + i] == 0:
            for j in range(i + 1, row[nt.I_NOUT]):
                address[k + j] = 0
            return -1
        if size > nt.SMALL:
            s[nt.S_OWNED_BYTES] += size
    return 0


@helper
def forward(state):  # type: ignore[no-untyped-def]
    """Evaluate the pending statements; 0, or the first that could not be, where it stops.

    What a kernel reported of it (`run_program`) is in S_FAILURE, or 0 if there was no memory. Before it all
    is done; it stays pending itself, without memory, until Python marks it as poisoned (tape/failures.py),
    and then the next call goes on behind it. What depends on something poisoned is poisoned as well.
    """
    s = p64(state)
    instructions = p32(s[nt.S_INSTRUCTION])
    address = p64(s[nt.S_ADDRESS])
    flags = p8(s[nt.S_FLAGS])
    arg_start = p32(s[nt.S_ARG_START])
    args = p32(s[nt.S_ARG])
    itab = p64(globals_address())[nt.G_ITAB]
    failed = 0
    count = s[nt.S_COUNT]
    s[nt.S_FAILURE] = 0
    for k in range(s[nt.S_DONE], count):
        row = p64(itab + 8 * nt.I_WIDTH * instructions[k])
        kind = row[nt.I_KIND]
        if kind == nt.LEAF or flags[k] & (nt.STUB | nt.POISON):
            continue
        first = args[arg_start[k]] if row[nt.I_NARGS] > 0 else 0
        poisoned = 0
        for i in range(row[nt.I_NARGS]):
            poisoned |= flags[args[arg_start[k] + i]] & nt.POISON
        if poisoned:
            flags[k] |= nt.POISON | nt.FREED
            if s[nt.S_FAILED] == 0:
                s[nt.S_FAILED] = k
            continue
        if kind == nt.VIEW:
            low = np.int64(np.uint32(args[arg_start[k] + 1]))
            high = np.int64(args[arg_start[k] + 2])
            address[k] = address[first] + ((high << 32) | low)
            continue
        if kind == nt.OUTPUT:
            continue
        if kind != nt.COMPUTE:
            address[k] = address[first]
        failed = k
        if kind == nt.COMPUTE and allocate_results(state, row, k) != 0:
            break
        table = pointer_table(state, row, k, row[nt.I_SCRATCH])
        if table == 0:
            break
        failure = run_program(row[nt.I_STEP_LO], row[nt.I_STEP_HI], table)
        if failure != 0:
            s[nt.S_FAILURE] = failure
            break
        failed = 0
    if failed != 0:
        free_results(state, p64(itab + 8 * nt.I_WIDTH * instructions[failed]), failed)
    s[nt.S_DONE] = failed if failed != 0 else count
    # Recording stops at the limit and lets Python collect.
    full = s[nt.S_OWNED_BYTES] + s[nt.S_BOUND] > s[nt.S_COLLECT_AT]
    # Where there is no limit (replay, which appends in native code), nobody may be asked to collect.
    full = full and s[nt.S_PENDING_LIMIT] < 1 << 62
    s[nt.S_PENDING_BYTES] = s[nt.S_PENDING_LIMIT] + 1 if full else 0
    trim_scratch(state)
    return failed
