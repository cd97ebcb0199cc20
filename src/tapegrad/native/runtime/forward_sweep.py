"""The forward sweep.

A statement names an instruction; an instruction has a *program*, a run of steps; a step is a call
of a kernel by address, with operands, an inner loop (done by the kernel) and outer loops (done in
interpreter.py). The kernel is mostly one of NumPy's own inner loops. So the sweep is short: it takes the
pending statements in order, finds memory for each result and runs its program.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from ..abi import (
    COMPUTE,
    I_BYTES,
    I_KIND,
    I_NARGS,
    I_NOUT,
    I_SCRATCH,
    I_STEP_HI,
    I_STEP_LO,
    I_WIDTH,
    LEAF,
    OUTPUT,
    POISON,
    SMALL,
    STUB,
    VIEW,
)  # fmt: skip
from ..intrinsics import globals_address, helper, p8, p32, p64
from .allocator import allocate, trim_scratch
from .interpreter import pointer_table, run_program


@helper
def forward(state):  # type: ignore[no-untyped-def]
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
    full = s[nt.S_OWNED_BYTES] + s[nt.S_BOUND] > s[nt.S_COLLECT_AT]
    # Where there is no limit (replay, which appends in native code), nobody may be asked to collect.
    full = full and s[nt.S_PENDING_LIMIT] < 1 << 62
    s[nt.S_PENDING_BYTES] = s[nt.S_PENDING_LIMIT] + 1 if full else 0
    s[nt.S_FAILED] = failed
    trim_scratch(state)
    return failed


def forward_entry(state):  # type: ignore[no-untyped-def]
    return forward(state)
