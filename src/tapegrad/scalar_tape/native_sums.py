"""Sums of products on strips: dot products, matrix products and sums, each one array statement.

``result[r, c]`` is the sum over ``l`` of ``left[r, l] * right[l, c]``, or of ``left[r, l]`` alone. The
results have consecutive numbers; operands are numbers (or, if passive, constants) in regular steps. The
last result's opcode is CODE_SUMS, and its word says where the table describes the statement (``S_*``).
kernels.py has the sweeps.
"""

from __future__ import annotations

import numpy as np

from ..native import words as it
from ..native.words import helper, p64, pf64, stack_words
from . import abi as sf
from .native_recorder import pack_word, push, push_constant

__all__ = ["add_part", "transpose_sums"]


@helper
def push_sums(recorder, rows, cols, inner, kinds, left, l_row, l_inner, right, r_inner, r_col):  # type: ignore[no-untyped-def]
    """Describe a statement in a recorder's table; its place there, or -1 without memory."""
    start = p64(recorder)[sf.W_TABLE_COUNT]
    for _ in range(sf.S_WIDTH):
        if push_constant(recorder, 0.0) < 0:
            return -1
    t = p64(p64(recorder)[sf.W_TABLE] + 8 * start)
    t[sf.S_ROWS], t[sf.S_COLS], t[sf.S_INNER], t[sf.S_KINDS] = rows, cols, inner, kinds
    t[sf.S_LEFT], t[sf.S_LEFT_ROW], t[sf.S_LEFT_INNER] = left, l_row, l_inner
    t[sf.S_RIGHT], t[sf.S_RIGHT_INNER], t[sf.S_RIGHT_COL] = right, r_inner, r_col
    return start


# --------------------------------------------------------------------------- recording
@helper
def recorder_of(matrix, rows, cols):  # type: ignore[no-untyped-def]
    """The recorder of a matrix's active elements (`M_*`), or 0."""
    m = p64(matrix)
    if m[sf.M_ACTIVE]:
        for i in range(rows):
            for j in range(cols):
                element = p64(m[sf.M_DATA] + i * m[sf.M_ROW] + j * m[sf.M_COL])
                if element[sf.N_MARK] < 0:
                    return element[sf.N_RECORDER]
    return np.int64(0)


@helper
def locate(matrix, rows, cols, recorder, clone, steps):  # type: ignore[no-untyped-def]
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
    start = ~p64(data)[sf.N_MARK]
    row = ~p64(data + by_row)[sf.N_MARK] - start if rows > 1 else 0
    col = ~p64(data + by_col)[sf.N_MARK] - start if cols > 1 else 0
    regular = start >= 0
    for i in range(rows):
        for j in range(cols):
            number = ~p64(data + i * by_row + j * by_col)[sf.N_MARK]
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
            value, number, code = pf64(element)[0], ~p64(element)[sf.N_MARK], clone
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
        element = m[sf.M_DATA] + i * m[sf.M_ROW]
        for j in range(cols):
            to[i * cols + j] = pf64(element)[0]
            element += m[sf.M_COL]


@helper
def multiply(left, right, rows, cols, inner, out):  # type: ignore[no-untyped-def]
    """Products of matrices, row by row in memory: each added up from the first product to the last."""
    a, b, to = pf64(left), pf64(right), pf64(out)
    if cols == 1 and inner > 0:
        whole = rows - rows % 4
        for r in range(0, whole, 4):  # sums that do not wait for each other
            start = r * inner
            s0, s1, s2, s3 = a[start], a[start + inner], a[start + 2 * inner], a[start + 3 * inner]
            s0, s1, s2, s3 = s0 * b[0], s1 * b[0], s2 * b[0], s3 * b[0]
            for i in range(1, inner):
                y = b[i]
                s0 += a[start + i] * y
                s1 += a[start + inner + i] * y
                s2 += a[start + 2 * inner + i] * y
                s3 += a[start + 3 * inner + i] * y
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


def sums_entry(request):  # type: ignore[no-untyped-def]
    """Compute and record sums of products; 0, or E_NO_MEMORY.

    `request` (`R_*`) has a matrix to the left and one to the right (`M_*`; the latter at 0 if there is none);
    the results are active scalars, row by row. Passive elements of an active matrix are constants.
    """
    words = p64(request)
    left, right = request + 8 * sf.R_LEFT, request + 8 * sf.R_RIGHT
    rows, cols, inner = words[sf.R_ROWS], words[sf.R_COLS], words[sf.R_INNER]
    out, clone = words[sf.R_OUT], words[sf.R_CLONE]
    binary = p64(right)[sf.M_DATA] != 0
    recorder = recorder_of(left, rows, inner)
    if recorder == 0 and binary:
        recorder = recorder_of(right, inner, cols)
    described = np.int64(-1)
    if recorder != 0 and rows * cols * inner > 0:
        x, y = stack_words(3), stack_words(3)
        p64(y)[0], p64(y)[1], p64(y)[2] = 0, 0, 0
        if locate(left, rows, inner, recorder, clone, x) != 0:
            return sf.E_NO_MEMORY
        if binary and locate(right, inner, cols, recorder, clone, y) != 0:
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
        pf64(out)[sf.N_VALUE], p64(out)[sf.N_MARK] = value, ~number
        p64(out)[sf.N_RECORDER] = recorder
        out += 8 * sf.N_WIDTH
    it.free(memory)
    return answer


# --------------------------------------------------------------------------- the reverse pass as a strip
@helper
def push_results(recorder, rows, cols, description):  # type: ignore[no-untyped-def]
    """Append the results of the statement with a description; the first, or -1 without memory."""
    first = p64(recorder)[sf.W_COUNT]
    for i in range(rows * cols):
        code = sf.CODE_SUMS if i == rows * cols - 1 else sf.CODE_EXTRA
        if push(recorder, 0.0, description, code) < 0:
            return -1
    return first


@helper
def add_part(recorder, known, part, add):  # type: ignore[no-untyped-def]
    """The number of a cotangent (below 0: none so far) and a part of it; -1 without memory."""
    return part if known < 0 else push(recorder, 0.0, pack_word(known, part), add)


@helper
def add_to(recorder, adjoint, number, part, add):  # type: ignore[no-untyped-def]
    """Add a part to the cotangent of a number; 0, or -1 without memory."""
    total = add_part(recorder, adjoint[number], part, add)
    if total < 0:
        return -1
    adjoint[number] = total
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
    """Copy a matrix of constants to a recorder's table, row by row; its place, or -1 without memory."""
    first = p64(recorder)[sf.W_TABLE_COUNT]
    for i in range(rows):
        for j in range(cols):
            if push_constant(recorder, constants[start + i * row + j * col]) < 0:
                return -1
    return first


@helper
def transpose_whole(sums, cts, constants, adjoint, tables, recorder):  # type: ignore[no-untyped-def]
    """The rule where all results are reached, whose cotangents are consecutive from `cts` on.

    0, or -1 without memory.
    """
    rows, cols, inner, kinds = sums[sf.S_ROWS], sums[sf.S_COLS], sums[sf.S_INNER], sums[sf.S_KINDS]
    add = p64(tables)[sf.T_ADD]
    left, l_row, l_inner = sums[sf.S_LEFT], sums[sf.S_LEFT_ROW], sums[sf.S_LEFT_INNER]
    right, r_inner, r_col = sums[sf.S_RIGHT], sums[sf.S_RIGHT_INNER], sums[sf.S_RIGHT_COL]
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
        part_kinds = sf.S_PRODUCT | sf.S_LEFT_ACTIVE | (kinds & sf.S_RIGHT_ACTIVE)
        description = push_sums(
            recorder, rows, inner, cols, part_kinds, cts, cols, 1, start, col, row
        )
        first = push_results(recorder, rows, inner, description)
        if start < 0 or description < 0 or first < 0:
            return -1
        if add_matrix(recorder, adjoint, left, rows, l_row, inner, l_inner, first, add) != 0:
            return -1
    if kinds & sf.S_RIGHT_ACTIVE:
        start, row, col = left, l_row, l_inner
        if kinds & sf.S_LEFT_ACTIVE == 0:
            start = copy_constants(recorder, constants, left, rows, l_row, inner, l_inner)
            row, col = inner, 1
        part_kinds = sf.S_PRODUCT | sf.S_RIGHT_ACTIVE | (kinds & sf.S_LEFT_ACTIVE)
        description = push_sums(
            recorder, inner, cols, rows, part_kinds, start, col, row, cts, cols, 1
        )
        first = push_results(recorder, inner, cols, description)
        if start < 0 or description < 0 or first < 0:
            return -1
        if add_matrix(recorder, adjoint, right, inner, r_inner, cols, r_col, first, add) != 0:
            return -1
    return 0


@helper
def push_product(recorder, ct, number, active, constants, tables):  # type: ignore[no-untyped-def]
    """Append the product of a cotangent and an operand; its number, or -1 without memory."""
    mul = p64(tables)[sf.T_MUL]
    if active:
        return push(recorder, 0.0, pack_word(ct, number), mul)
    constant = push_constant(recorder, constants[number])
    if constant < 0:
        return -1
    return push(recorder, 0.0, pack_word(ct, constant), mul + 1)


@helper
def transpose_one(sums, r, c, ct, constants, adjoint, tables, recorder):  # type: ignore[no-untyped-def]
    """The rule of one result; 0, or -1 without memory."""
    kinds, add = sums[sf.S_KINDS], p64(tables)[sf.T_ADD]
    for i in range(sums[sf.S_INNER]):
        x = sums[sf.S_LEFT] + r * sums[sf.S_LEFT_ROW] + i * sums[sf.S_LEFT_INNER]
        y = sums[sf.S_RIGHT] + i * sums[sf.S_RIGHT_INNER] + c * sums[sf.S_RIGHT_COL]
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
def transpose_sums(table, description, first, adjoint, tables, recorder):  # type: ignore[no-untyped-def]
    """Append the rule of a statement whose results begin at number `first`; 0, or -1 without memory."""
    sums, constants = p64(table + 8 * description), pf64(table)
    rows, cols = sums[sf.S_ROWS], sums[sf.S_COLS]
    reached = 0
    for i in range(rows * cols):
        reached += adjoint[first + i] >= 0
    if reached == rows * cols:
        cts = p64(recorder)[sf.W_COUNT]
        for i in range(rows * cols):
            if push(recorder, 0.0, adjoint[first + i], p64(tables)[sf.T_CLONE]) < 0:
                return -1
        return transpose_whole(sums, cts, constants, adjoint, tables, recorder)
    for r in range(rows):
        for c in range(cols):
            ct = adjoint[first + r * cols + c]
            if ct >= 0 and transpose_one(sums, r, c, ct, constants, adjoint, tables, recorder) != 0:
                return -1
    return 0
