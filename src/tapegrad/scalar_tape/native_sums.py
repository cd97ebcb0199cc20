"""Sums of products on strips: dot products, matrix products and sums, each one array statement.

``result[r, c]`` is the sum over ``l`` of ``left[r, l] * right[l, c]``, or of ``left[r, l]`` alone. The
results have consecutive numbers; operands are numbers (or, if passive, constants) in regular steps. The
last result's opcode is CODE_SUMS, and its word says where the table describes the statement (``S_*``).
kernels.py of the op table has the sweeps.
"""

from __future__ import annotations

import numpy as np

from ..native import intrinsics as it
from ..native.intrinsics import helper, p64, pf64, stack_words
from . import abi as sf
from .native_recorder import push, push_constant

__all__ = ["add_part", "transpose_sums"]


@helper
def push_sums(recorder, rows, cols, inner, kinds, left, l_row, l_inner, right, r_inner, r_col):  # type: ignore[no-untyped-def]
    """Describe a statement in a recorder's table; where, or -1 without memory."""
    where = p64(recorder)[sf.W_TABLE_COUNT]
    for _ in range(sf.S_WIDTH):
        if push_constant(recorder, 0.0) < 0:
            return -1
    t = p64(p64(recorder)[sf.W_TABLE] + 8 * where)
    t[sf.S_ROWS], t[sf.S_COLS], t[sf.S_INNER], t[sf.S_KINDS] = rows, cols, inner, kinds
    t[sf.S_LEFT], t[sf.S_LEFT_ROW], t[sf.S_LEFT_INNER] = left, l_row, l_inner
    t[sf.S_RIGHT], t[sf.S_RIGHT_INNER], t[sf.S_RIGHT_COL] = right, r_inner, r_col
    return where


# --------------------------------------------------------------------------- recording
@helper
def recorder_of(matrix, rows, cols):  # type: ignore[no-untyped-def]
    """The recorder of what is active in a matrix (`M_*`), or 0."""
    m = p64(matrix)
    if m[sf.M_ACTIVE]:
        for i in range(rows):
            for j in range(cols):
                element = p64(m[sf.M_DATA] + i * m[sf.M_ROW] + j * m[sf.M_COL])
                if element[1] < 0:
                    return element[2]
    return np.int64(0)


@helper
def place(matrix, rows, cols, recorder, clone, steps):  # type: ignore[no-untyped-def]
    """The first number (or constant) of a matrix, and the steps along its dimensions: three words.

    0, or -1 without memory. Elements whose numbers do not come in regular steps are copied first.
    """
    m, out = p64(matrix), p64(steps)
    data, by_row, by_col = m[sf.M_DATA], m[sf.M_ROW], m[sf.M_COL]
    out[1], out[2] = cols, 1
    if m[sf.M_ACTIVE] == 0:
        out[0] = p64(recorder)[sf.W_TABLE_COUNT]
        for i in range(rows):
            for j in range(cols):
                if push_constant(recorder, pf64(data + i * by_row + j * by_col)[0]) < 0:
                    return -1
        return 0
    start = ~p64(data)[1]
    row = ~p64(data + by_row)[1] - start if rows > 1 else 0
    col = ~p64(data + by_col)[1] - start if cols > 1 else 0
    regular = start >= 0
    for i in range(rows):
        for j in range(cols):
            number = ~p64(data + i * by_row + j * by_col)[1]
            if number < 0 or number != start + i * row + j * col:
                regular = False
        if not regular:
            break
    if regular:
        out[0], out[1], out[2] = start, row, col
        return 0
    out[0] = p64(recorder)[sf.W_COUNT]
    for i in range(rows):
        for j in range(cols):
            element = data + i * by_row + j * by_col
            value, number, code = pf64(element)[0], ~p64(element)[1], clone
            if number < 0:
                number, code = push_constant(recorder, value), np.int64(sf.CODE_CONSTANT)
            if number < 0 or push(recorder, value, number, code) < 0:
                return -1
    return 0


@helper
def pack(matrix, rows, cols, out):  # type: ignore[no-untyped-def]
    """Copy a matrix's values to `out`, row by row."""
    m, to = p64(matrix), pf64(out)
    for i in range(rows):
        at = m[sf.M_DATA] + i * m[sf.M_ROW]
        for j in range(cols):
            to[i * cols + j] = pf64(at)[0]
            at += m[sf.M_COL]


@helper
def multiply(left, right, rows, cols, inner, out):  # type: ignore[no-untyped-def]
    """Products of matrices, row by row in memory: each added up from the first product to the last."""
    a, b, to = pf64(left), pf64(right), pf64(out)
    if cols == 1 and inner > 0:
        whole = rows - rows % 4
        for r in range(0, whole, 4):  # sums that do not wait for each other
            at = r * inner
            s0, s1, s2, s3 = a[at], a[at + inner], a[at + 2 * inner], a[at + 3 * inner]
            s0, s1, s2, s3 = s0 * b[0], s1 * b[0], s2 * b[0], s3 * b[0]
            for i in range(1, inner):
                y = b[i]
                s0 += a[at + i] * y
                s1 += a[at + inner + i] * y
                s2 += a[at + 2 * inner + i] * y
                s3 += a[at + 3 * inner + i] * y
            to[r], to[r + 1], to[r + 2], to[r + 3] = s0, s1, s2, s3
        for r in range(whole, rows):
            total = a[r * inner] * b[0]
            for i in range(1, inner):
                total += a[r * inner + i] * b[i]
            to[r] = total
        return
    for r in range(rows):
        for c in range(cols):
            to[r * cols + c] = a[r * inner] * b[c] if inner > 0 else 0.0
        for i in range(1, inner):
            x = a[r * inner + i]
            for c in range(cols):
                to[r * cols + c] += x * b[i * cols + c]


@helper
def add_up(left, rows, inner, out):  # type: ignore[no-untyped-def]
    """The sum of each row of a matrix, from the first element to the last."""
    a, to = pf64(left), pf64(out)
    for r in range(rows):
        total = a[r * inner] if inner > 0 else 0.0
        for i in range(1, inner):
            total += a[r * inner + i]
        to[r] = total


def sums_entry(what):  # type: ignore[no-untyped-def]
    """Compute and record sums of products; 0, or E_NO_MEMORY.

    The words of `what`: a matrix to the left and one to the right (`M_*`; the latter at 0 if there is none),
    rows, columns, the number of products in a sum, where the results go (active scalars, row by row), and
    the opcode of `clone`. What is passive in an active matrix is a constant.
    """
    w = p64(what)
    left, right = what, what + 8 * sf.M_WIDTH
    rows, cols, inner = w[2 * sf.M_WIDTH], w[2 * sf.M_WIDTH + 1], w[2 * sf.M_WIDTH + 2]
    out, clone = w[2 * sf.M_WIDTH + 3], w[2 * sf.M_WIDTH + 4]
    binary = p64(right)[sf.M_DATA] != 0
    recorder = recorder_of(left, rows, inner)
    if recorder == 0 and binary:
        recorder = recorder_of(right, inner, cols)
    described = np.int64(-1)
    if recorder != 0 and rows * cols * inner > 0:
        x, y = stack_words(3), stack_words(3)
        p64(y)[0], p64(y)[1], p64(y)[2] = 0, 0, 0
        if place(left, rows, inner, recorder, clone, x) != 0:
            return sf.E_NO_MEMORY
        if binary and place(right, inner, cols, recorder, clone, y) != 0:
            return sf.E_NO_MEMORY
        kinds = sf.S_LEFT_ACTIVE if p64(left)[sf.M_ACTIVE] else 0
        if binary:
            kinds |= sf.S_PRODUCT | (sf.S_RIGHT_ACTIVE if p64(right)[sf.M_ACTIVE] else 0)
        a, b = p64(x), p64(y)
        described = push_sums(
            recorder, rows, cols, inner, kinds, a[0], a[1], a[2], b[0], b[1], b[2]
        )
        if described < 0:
            return sf.E_NO_MEMORY
    memory = it.malloc(8 * (rows * inner + inner * cols + rows * cols + 1))
    if memory == 0:
        return sf.E_NO_MEMORY
    second = memory + 8 * rows * inner
    results = second + 8 * inner * cols
    pack(left, rows, inner, memory)
    if binary:
        pack(right, inner, cols, second)
        multiply(memory, second, rows, cols, inner, results)
    else:
        add_up(memory, rows, inner, results)
    answer = 0
    for i in range(rows * cols):
        value, number = pf64(results)[i], np.int64(-1)
        if described >= 0:
            code = sf.CODE_SUMS if i == rows * cols - 1 else sf.CODE_EXTRA
            number = push(recorder, value, described, code)
            if number < 0:
                answer = sf.E_NO_MEMORY
                break
        pf64(out)[0], p64(out)[1], p64(out)[2] = value, ~number, recorder
        out += 24
    it.free(memory)
    return answer


# --------------------------------------------------------------------------- the reverse pass as a strip
@helper
def push_results(recorder, rows, cols, where):  # type: ignore[no-untyped-def]
    """Append the results of a statement that is described at `where`; the first, or -1 without memory."""
    first = p64(recorder)[sf.W_COUNT]
    for i in range(rows * cols):
        code = sf.CODE_SUMS if i == rows * cols - 1 else sf.CODE_EXTRA
        if push(recorder, 0.0, where, code) < 0:
            return -1
    return first


@helper
def add_part(recorder, known, part, add):  # type: ignore[no-untyped-def]
    """The number of a cotangent (below 0: none so far) and a part of it; -1 without memory."""
    return part if known < 0 else push(recorder, 0.0, known | part << 32, add)


@helper
def add_to(recorder, adjoint, number, part, add):  # type: ignore[no-untyped-def]
    """Add a part to the cotangent of a number; 0, or -1 without memory."""
    made = add_part(recorder, adjoint[number], part, add)
    if made < 0:
        return -1
    adjoint[number] = made
    return 0


@helper
def add_matrix(recorder, adjoint, start, rows, row, cols, col, parts, add):  # type: ignore[no-untyped-def]
    """Add consecutive parts to the cotangents of a matrix of numbers; 0, or -1 without memory."""
    for i in range(rows):
        for j in range(cols):
            number, part = start + i * row + j * col, parts + i * cols + j
            if add_to(recorder, adjoint, number, part, add) != 0:
                return -1
    return 0


@helper
def copy_constants(recorder, constants, start, rows, row, cols, col):  # type: ignore[no-untyped-def]
    """Copy a matrix of constants to a recorder's table, row by row; where, or -1 without memory."""
    first = p64(recorder)[sf.W_TABLE_COUNT]
    for i in range(rows):
        for j in range(cols):
            if push_constant(recorder, constants[start + i * row + j * col]) < 0:
                return -1
    return first


@helper
def transpose_whole(t, cts, constants, adjoint, tables, recorder):  # type: ignore[no-untyped-def]
    """The rule where all results are reached, whose cotangents are consecutive from `cts` on.

    0, or -1 without memory.
    """
    rows, cols, inner, kinds = t[sf.S_ROWS], t[sf.S_COLS], t[sf.S_INNER], t[sf.S_KINDS]
    add = p64(tables)[3]
    left, l_row, l_inner = t[sf.S_LEFT], t[sf.S_LEFT_ROW], t[sf.S_LEFT_INNER]
    right, r_inner, r_col = t[sf.S_RIGHT], t[sf.S_RIGHT_INNER], t[sf.S_RIGHT_COL]
    if kinds & sf.S_PRODUCT == 0:
        for r in range(rows):
            for i in range(inner):
                number = left + r * l_row + i * l_inner
                if add_to(recorder, adjoint, number, cts + r, add) != 0:
                    return -1
        return 0
    if kinds & sf.S_LEFT_ACTIVE:
        start, row, col = right, r_inner, r_col
        if kinds & sf.S_RIGHT_ACTIVE == 0:
            start = copy_constants(recorder, constants, right, inner, r_inner, cols, r_col)
            row, col = cols, 1
        what = sf.S_PRODUCT | sf.S_LEFT_ACTIVE | (kinds & sf.S_RIGHT_ACTIVE)
        where = push_sums(recorder, rows, inner, cols, what, cts, cols, 1, start, col, row)
        first = push_results(recorder, rows, inner, where)
        if start < 0 or where < 0 or first < 0:
            return -1
        if add_matrix(recorder, adjoint, left, rows, l_row, inner, l_inner, first, add) != 0:
            return -1
    if kinds & sf.S_RIGHT_ACTIVE:
        start, row, col = left, l_row, l_inner
        if kinds & sf.S_LEFT_ACTIVE == 0:
            start = copy_constants(recorder, constants, left, rows, l_row, inner, l_inner)
            row, col = inner, 1
        what = sf.S_PRODUCT | sf.S_RIGHT_ACTIVE | (kinds & sf.S_LEFT_ACTIVE)
        where = push_sums(recorder, inner, cols, rows, what, start, col, row, cts, cols, 1)
        first = push_results(recorder, inner, cols, where)
        if start < 0 or where < 0 or first < 0:
            return -1
        if add_matrix(recorder, adjoint, right, inner, r_inner, cols, r_col, first, add) != 0:
            return -1
    return 0


@helper
def push_product(recorder, ct, number, active, constants, tables):  # type: ignore[no-untyped-def]
    """Append the product of a cotangent and an operand; its number, or -1 without memory."""
    mul = p64(tables)[5]
    if active:
        return push(recorder, 0.0, ct | number << 32, mul)
    constant = push_constant(recorder, constants[number])
    if constant < 0:
        return -1
    return push(recorder, 0.0, ct | constant << 32, mul + 1)


@helper
def transpose_one(t, r, c, ct, constants, adjoint, tables, recorder):  # type: ignore[no-untyped-def]
    """The rule of one result; 0, or -1 without memory."""
    kinds, add = t[sf.S_KINDS], p64(tables)[3]
    for i in range(t[sf.S_INNER]):
        x = t[sf.S_LEFT] + r * t[sf.S_LEFT_ROW] + i * t[sf.S_LEFT_INNER]
        y = t[sf.S_RIGHT] + i * t[sf.S_RIGHT_INNER] + c * t[sf.S_RIGHT_COL]
        if kinds & sf.S_LEFT_ACTIVE:
            part = ct
            if kinds & sf.S_PRODUCT:
                active = kinds & sf.S_RIGHT_ACTIVE != 0
                part = push_product(recorder, ct, y, active, constants, tables)
            if part < 0 or add_to(recorder, adjoint, x, part, add) != 0:
                return -1
        if kinds & sf.S_RIGHT_ACTIVE:
            active = kinds & sf.S_LEFT_ACTIVE != 0
            part = push_product(recorder, ct, x, active, constants, tables)
            if part < 0 or add_to(recorder, adjoint, y, part, add) != 0:
                return -1
    return 0


@helper
def transpose_sums(table, where, first, adjoint, tables, recorder):  # type: ignore[no-untyped-def]
    """Append the rule of a statement whose results begin at number `first`; 0, or -1 without memory."""
    t, constants = p64(table + 8 * where), pf64(table)
    rows, cols = t[sf.S_ROWS], t[sf.S_COLS]
    reached = 0
    for i in range(rows * cols):
        reached += adjoint[first + i] >= 0
    if reached == rows * cols:
        cts = p64(recorder)[sf.W_COUNT]
        for i in range(rows * cols):
            if push(recorder, 0.0, adjoint[first + i], p64(tables)[4]) < 0:
                return -1
        return transpose_whole(t, cts, constants, adjoint, tables, recorder)
    for r in range(rows):
        for c in range(cols):
            ct = adjoint[first + r * cols + c]
            if ct >= 0 and transpose_one(t, r, c, ct, constants, adjoint, tables, recorder) != 0:
                return -1
    return 0
