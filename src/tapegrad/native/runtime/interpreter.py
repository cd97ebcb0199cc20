"""Running a program: the steps of an instruction or of a VJP (ops/program.py says what they are).

While a program runs, its operands are addressed through a short table of pointers: entry 0 is
scratch memory, 1 the cotangent, 2 the adjoint that is written, 3 the length of sized loops, 4 a place for
what runs once, then the statement's operands and results.

Sized steps serve instructions that differ in the length of their one loop only (families.py).
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import (
    call_checked,
    call_loop,
    globals_address,
    helper,
    p32,
    p64,
    pf32,
    pf64,
    stack_words,
)  # fmt: skip
from .allocator import reserve_scratch


@helper
def run_tiles(data, args, count, strides, scratch):  # type: ignore[no-untyped-def]
    """Run a chain of elementwise kernels tile by tile, temporaries staying in the cache.

    `data`: nodes, offset of the temporaries in scratch, bytes of one, then a row of 10 words a node: kernel,
    its data, operands in, four references in, reference out, itemsize of the result, unused. A
    reference is an operand of the step (>= 0) or a temporary (-1 - index).
    """
    d = p64(data)
    outer_args, outer_strides = p64(args), p64(strides)
    temporaries = scratch + d[1]
    node_args = stack_words(6)
    node_strides = stack_words(6)
    dims = stack_words(1)
    a, t = p64(node_args), p64(node_strides)
    start = 0
    while start < count:
        length = min(nt.TILE, count - start)
        p64(dims)[0] = length
        for i in range(d[0]):
            row = p64(data + 8 * (3 + 10 * i))
            inputs = row[2]
            for j in range(inputs + 1):
                reference = row[3 + j] if j < inputs else row[7]
                if reference >= 0:
                    t[j] = outer_strides[reference]
                    a[j] = outer_args[reference] + start * t[j]
                else:
                    t[j] = p64(data + 8 * (3 + 10 * d[0]))[-1 - reference]
                    a[j] = temporaries + (-1 - reference) * d[2]
            call_loop(row[0], node_args, dims, node_strides, row[1])
        start += length


@helper
def multiply_lanes(args, dims, strides, adds):  # type: ignore[no-untyped-def]
    """``out[i, lane] = x[i, lane] * f[i]``, or add that; in float32 where a lane is 4 bytes.

    `dims` are those of i and the lanes, `strides` the operands' along i, then from lane to lane; the
    factor without lanes is the first or the second operand.
    """
    a, s = p64(args), p64(strides)
    n, lanes = p64(dims)[0], p64(dims)[1]
    result = 3 if adds else 2  # the result; behind its stride come the lanes'
    size, first = s[2 * result + 1], s[result + 1] != 0
    x, f, o = (a[0], a[1], a[result]) if first else (a[1], a[0], a[result])
    sx, sf, so = (s[0], s[1], s[result]) if first else (s[1], s[0], s[result])
    for i in range(n):
        if size == 8:
            p, q, c = pf64(x + i * sx), pf64(o + i * so), pf64(f + i * sf)[0]
            if adds:
                for j in range(lanes):
                    q[j] += p[j] * c
            else:
                for j in range(lanes):
                    q[j] = p[j] * c
        else:
            u, v, d = pf32(x + i * sx), pf32(o + i * so), pf32(f + i * sf)[0]
            if adds:
                for j in range(lanes):
                    v[j] += u[j] * d
            else:
                for j in range(lanes):
                    v[j] = u[j] * d


@helper
def run_nest(step, kind, args, count, inner_dims, inner, ndim, dims, strides, scratch):  # type: ignore[no-untyped-def]
    """Run a step's kernel in `ndim` outer loops; `args` are the operands' addresses, and are moved.

    `strides` has a row of `count` words for each outer loop; `inner_dims` and `inner` are the kernel's.
    """
    a, d, t = p64(args), p64(dims), p64(strides)
    position = stack_words(33)
    pointers = stack_words(8)
    at, o = p64(position), p64(pointers)
    for i in range(ndim):
        at[i] = 0
    while True:
        if kind == nt.STEP_TILES:
            run_tiles(step[nt.P_DATA], args, p64(inner_dims)[0], inner, scratch)
        elif kind >= nt.STEP_MUL:
            multiply_lanes(args, inner_dims, inner, kind == nt.STEP_MULADD)
        else:
            for j in range(count):  # gufunc loops advance the pointers that they are given
                o[j] = a[j]
            call_loop(step[nt.P_KERNEL], pointers, inner_dims, inner, step[nt.P_DATA])
        i = ndim - 1
        while i >= 0:
            at[i] += 1
            if at[i] < d[i]:
                for j in range(count):
                    a[j] += t[i * count + j]
                break
            for j in range(count):
                a[j] -= t[i * count + j] * (d[i] - 1)
            at[i] = 0
            i -= 1
        if i < 0:
            break


@helper
def run_checked(step, args):  # type: ignore[no-untyped-def]
    """Run a kernel that may fail; 0, or one more than the number of the element at which it did.

    Elements count in the order of the loops, which is that of the batch. What is behind that one has not run.
    """
    a, d, t = p64(args), p64(step[nt.P_ODIMS]), p64(step[nt.P_OSTRIDES])
    count, ndim = step[nt.P_NOPS], step[nt.P_ONDIM]
    pointers = stack_words(8)
    o = p64(pointers)
    outer = 1
    for i in range(ndim):
        outer *= d[i]
    for k in range(outer):
        for j in range(count):
            o[j] = a[j]
        rest = k
        for i in range(ndim - 1, -1, -1):
            for j in range(count):
                o[j] += rest % d[i] * t[i * count + j]
            rest //= d[i]
        failed = call_checked(
            step[nt.P_KERNEL], pointers, step[nt.P_DIMS], step[nt.P_STRIDES], step[nt.P_DATA]
        )
        if failed != 0:
            return k * p64(step[nt.P_DIMS])[0] + failed
    return np.int64(0)


@helper
def run_program(low, high, table):  # type: ignore[no-untyped-def]
    """Run the steps [low, high) on the operands of a pointer table.

    0, or where a kernel failed (`BATCH_BITS`); the steps behind that one have not run.
    """
    steps = p64(globals_address())[nt.G_STEPS]
    pointers = p64(table)
    args = stack_words(8)
    a = p64(args)
    for i in range(low, high):
        step = p64(steps + 8 * nt.P_WIDTH * i)
        count = step[nt.P_NOPS]
        for j in range(count):
            reference = step[nt.P_REF + j]
            offset = step[nt.P_OFFSET + j]
            a[j] = offset if reference < 0 else pointers[reference] + offset
        kind = step[nt.P_KIND]
        if kind == nt.STEP_ZERO:
            it.memset(a[0], 0, step[nt.P_COUNT])
            continue
        ndim = step[nt.P_ONDIM]
        if ndim == 0:
            if kind == nt.STEP_TILES:
                run_tiles(
                    step[nt.P_DATA],
                    args,
                    step[nt.P_COUNT],
                    step[nt.P_STRIDES],
                    pointers[nt.T_SCRATCH],
                )
            else:
                call_loop(
                    step[nt.P_KERNEL], args, step[nt.P_DIMS], step[nt.P_STRIDES], step[nt.P_DATA]
                )
            continue
        if ndim == nt.SIZED:
            size = pointers[nt.T_SIZE]
            if kind == nt.STEP_TILES:
                run_tiles(step[nt.P_DATA], args, size, step[nt.P_STRIDES], pointers[nt.T_SCRATCH])
            else:
                call_loop(
                    step[nt.P_KERNEL],
                    args,
                    table + 8 * nt.T_SIZE,
                    step[nt.P_STRIDES],
                    step[nt.P_DATA],
                )
            continue
        if kind == nt.STEP_CHECKED:
            failed = run_checked(step, args)
            if failed != 0:
                return step[nt.P_STATEMENT] << nt.BATCH_BITS | failed
            continue
        run_nest(
            step, kind, args, count, step[nt.P_DIMS], step[nt.P_STRIDES], ndim, step[nt.P_ODIMS],
            step[nt.P_OSTRIDES], pointers[nt.T_SCRATCH],
        )  # fmt: skip
    return np.int64(0)


@helper
def run_range(steps, table):  # type: ignore[no-untyped-def]
    """Run a program given as one word (program.py's `packed`)."""
    return run_program(steps & 0xFFFFFFFF, steps >> 32, table)


@helper
def pointer_table(state, row, k, scratch_bytes):  # type: ignore[no-untyped-def]
    """Fill the pointer table of statement `k`; its address, or 0 without memory."""
    s = p64(state)
    nargs, nout = row[nt.I_NARGS], row[nt.I_NOUT]
    words = nt.T_ARGS + nargs + nout
    if reserve_scratch(state, 8 * words + scratch_bytes + 64) != 0:
        return 0
    table = s[nt.S_SCRATCH]
    t = p64(table)
    t[nt.T_SCRATCH] = (table + 8 * words + 63) & ~63
    t[nt.T_SIZE] = row[nt.I_SIZE]
    t[nt.T_ONCE] = table + 8 * nt.T_RAN
    t[nt.T_RAN] = 0
    address = p64(s[nt.S_ADDRESS])
    args = p32(s[nt.S_ARG] + 4 * p32(s[nt.S_ARG_START])[k])
    if p32(s[nt.S_ARG_START])[k + 1] - p32(s[nt.S_ARG_START])[k] >= nargs:
        for i in range(nargs):
            t[nt.T_ARGS + i] = address[args[i]]
    for i in range(nout):
        t[nt.T_ARGS + nargs + i] = address[k + i]
    return table
