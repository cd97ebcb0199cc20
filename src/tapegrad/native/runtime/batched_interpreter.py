"""Running a program with lanes: many cotangents at once.

An adjoint's element is then as many numbers in a row as there are *lanes*, so that strides and offsets
are those of one lane, multiplied. What a program reads of the primals is the same for all lanes. The
number of lanes is known only here, so that programs need not be built anew for each: a step gets one
more loop, over the lanes, as its inner loop if that is the longer one. A product of matrices, one of
which has lanes, is one or a few products of larger matrices.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import globals_address, helper, p8, p32, p64, stack_words
from .interpreter import run_nest, run_program


@helper
def place(reference, offset, lane, table, lanes, scratch):  # type: ignore[no-untyped-def]
    """Address of an operand's first element in lane 0."""
    displacement = offset * lanes if lane != 0 else offset
    if reference == nt.LANED_SCRATCH:
        return scratch + displacement
    if reference < 0:
        return displacement
    return p64(table)[reference] + displacement


@helper
def run_lanes(steps, table, lanes, scratch):  # type: ignore[no-untyped-def]
    """Run a program given as one word; `scratch` is where temporaries with lanes lie.

    Answers as `run_program` does; a kernel that may fail is never run in all lanes at once.
    """
    low, high = steps & 0xFFFFFFFF, steps >> 32
    first = p64(globals_address())[nt.G_STEPS]
    i = low
    while i < high:
        step = p64(first + 8 * nt.P_WIDTH * i)
        if step[nt.P_KIND] == nt.STEP_GROUP:
            failed = run_group(step, i, table, lanes, scratch)
            i += step[nt.P_COUNT]
        elif step[nt.P_LANES] == 0:
            failed = run_program(i, i + 1, table)
        else:
            failed = np.int64(0)
            run_step(step, table, lanes, scratch)
        if failed != 0:
            return failed
        i += 1
    return np.int64(0)


@helper
def run_step(step, table, lanes, scratch):  # type: ignore[no-untyped-def]
    """Run one step in all lanes."""
    count = step[nt.P_NOPS]
    lane, given = p64(step[nt.P_LANES]), p64(step[nt.P_STRIDES])
    args, own_inner, own_dims = stack_words(8), stack_words(16), stack_words(2)
    own_odims, own_ostrides = stack_words(33), stack_words(264)
    a, inner = p64(args), p64(own_inner)
    for j in range(count):
        a[j] = place(step[nt.P_REF + j], step[nt.P_OFFSET + j], lane[j], table, lanes, scratch)
    kind = step[nt.P_KIND]
    if kind == nt.STEP_ZERO:
        it.memset(a[0], 0, step[nt.P_COUNT] * lanes)
        return
    ndim = step[nt.P_ONDIM]
    odims, ostrides = p64(own_odims), p64(own_ostrides)
    for d in range(ndim):
        odims[d] = p64(step[nt.P_ODIMS])[d]
        for j in range(count):
            stride = p64(step[nt.P_OSTRIDES])[d * count + j]
            ostrides[d * count + j] = stride * lanes if lane[j] != 0 else stride
    if kind == nt.STEP_PRODUCT:
        run_product(step, args, lanes, ndim, own_odims, own_ostrides)
        return
    n = step[nt.P_COUNT]
    if n == 0:
        return
    merges = True
    for j in range(count):
        inner[j] = given[j] * lanes if lane[j] != 0 else given[j]
        merges = merges and inner[j] == lane[j] * lanes
    length = p64(own_dims)
    if kind >= nt.STEP_MUL and lanes >= 8:
        length[0], length[1] = n, lanes
        for j in range(count):
            inner[count + j] = lane[j]
        inner_at = own_inner
    elif merges or n == 1:
        length[0] = n * lanes
        inner_at = step[nt.P_LANES]
    elif lanes >= n:
        length[0] = lanes
        odims[ndim] = n
        for j in range(count):
            ostrides[ndim * count + j] = inner[j]
        ndim += 1
        inner_at = step[nt.P_LANES]
    else:
        length[0] = n
        odims[ndim] = lanes
        for j in range(count):
            ostrides[ndim * count + j] = lane[j]
        ndim += 1
        inner_at = own_inner
    if kind >= nt.STEP_MUL and lanes < 8:
        kind = np.int64(nt.STEP_LOOP)
    run_nest(
        step, kind, args, count, own_dims, inner_at, ndim, own_odims, own_ostrides,
        p64(table)[nt.T_SCRATCH],
    )  # fmt: skip


@helper
def run_product(step, args, lanes, ndim, odims, ostrides):  # type: ignore[no-untyped-def]
    """Run a product of matrices; one of the operands has lanes, and so has the result.

    ``out[i, j, lane]`` sums ``x[i, k] y[k, j, lane]``: the columns and lanes of y count as columns where
    they lie in a row, else there is a product for each column. Or it sums ``x[i, k, lane] y[k, j]``: a
    product for each row of x.
    """
    lane, core, given = p64(step[nt.P_LANES]), p64(step[nt.P_DIMS]), p64(step[nt.P_STRIDES])
    n, m, k, p = core[0], core[1], core[2], core[3]
    x_m, x_k, y_k, y_p = given[3], given[4], given[5], given[6]
    o_m, o_p = given[7] * lanes, given[8] * lanes
    item = lane[2]
    dims, strides = stack_words(4), stack_words(9)
    nest_dims, nest_strides, moved = stack_words(35), stack_words(280), stack_words(3)
    d, t, nd, ns, a = p64(dims), p64(strides), p64(nest_dims), p64(nest_strides), p64(moved)
    for i in range(ndim):
        nd[i] = p64(odims)[i]
        for j in range(3):
            ns[3 * i + j] = p64(ostrides)[3 * i + j]
    for j in range(3):  # the batch
        ns[3 * ndim + j] = given[j] * lanes if lane[j] != 0 else given[j]
    nd[ndim] = n
    if n == 0:
        return
    outer = ndim + 1
    d[0] = 1
    t[0] = t[1] = t[2] = 0
    if lane[1] != 0:
        a[0], a[1], a[2] = p64(args)[0], p64(args)[1], p64(args)[2]
        d[1], d[2], d[3] = m, k, lanes
        t[3], t[4], t[5], t[6], t[7], t[8] = x_m, x_k, y_k * lanes, item, o_m, item
        if y_p == item and o_p == item * lanes:
            d[3] = p * lanes
        else:
            nd[outer] = p
            ns[3 * outer], ns[3 * outer + 1], ns[3 * outer + 2] = 0, y_p * lanes, o_p
            outer += 1
    else:  # as out[i].T = y.T @ x[i]
        a[0], a[1], a[2] = p64(args)[1], p64(args)[0], p64(args)[2]
        for i in range(outer):
            ns[3 * i], ns[3 * i + 1] = ns[3 * i + 1], ns[3 * i]
        d[0], d[1], d[2], d[3] = m, p, k, lanes
        t[1], t[2] = x_m * lanes, o_m
        t[3], t[4], t[5], t[6], t[7], t[8] = y_p, y_k, x_k * lanes, item, o_p, item
    if d[0] == 0 or d[3] == 0 or nd[outer - 1] == 0:
        return
    run_nest(step, nt.STEP_PRODUCT, moved, 3, dims, strides, outer, nest_dims, nest_strides, 0)


@helper
def move(source, target, items, size, from_stride, to_stride):  # type: ignore[no-untyped-def]
    """Copy elements of `size` bytes between memory with and without lanes."""
    for i in range(items):
        if size == 8:
            p64(target + i * to_stride)[0] = p64(source + i * from_stride)[0]
        elif size == 4:
            p32(target + i * to_stride)[0] = p32(source + i * from_stride)[0]
        else:
            p8(target + i * to_stride)[0] = p8(source + i * from_stride)[0]


@helper
def run_group(step, number, table, lanes, scratch):  # type: ignore[no-untyped-def]
    """Run the steps behind `number` lane by lane, on copies: kernels that walk memory by themselves.

    Rows of P_DATA: reference, offset, bytes from lane to lane, place of the copy in scratch, elements.
    Answers as `run_program` does.
    """
    data = step[nt.P_DATA]
    count = p64(data)[0]
    for b in range(lanes):
        for back in range(2):
            if back:
                failed = run_program(number + 1, number + 1 + step[nt.P_COUNT], table)
                if failed != 0:
                    return failed
            for j in range(count):
                row = p64(data + 8 + 40 * j)
                size = row[2]
                there = place(row[0], row[1], size, table, lanes, scratch) + b * size
                here = p64(table)[nt.T_SCRATCH] + row[3]
                if back:
                    move(here, there, row[4], size, size, size * lanes)
                else:
                    move(there, here, row[4], size, size * lanes, size)
    return np.int64(0)
