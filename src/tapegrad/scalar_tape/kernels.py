"""Parts of the sweeps of a strip that are not generated (sweeps.py): sums of products, and NaN.

When a NaN comes out of the reverse sweep, it looks at what is reached, from the seeds.
"""

from __future__ import annotations

from ..native.intrinsic_stubs import helper, malloc, memset, p8, p16, p32, p64, pf64
from .abi import (
    B_COUNT,
    B_HEAD,
    B_REPLAYED,
    B_RESULT_COUNT,
    B_RESULTS,
    CODE_BLOCK,
    CODE_SUMS,
    D_INS,
    D_OUTS,
    D_SLOTS,
    D_WIDTH,
    S_COLS,
    S_INNER,
    S_KINDS,
    S_LEFT,
    S_LEFT_ACTIVE,
    S_LEFT_INNER,
    S_LEFT_ROW,
    S_PRODUCT,
    S_RIGHT,
    S_RIGHT_ACTIVE,
    S_RIGHT_COL,
    S_RIGHT_INNER,
    S_ROWS,
    UNTOUCHED,
)  # fmt: skip

__all__ = ["compute_sums", "keep_seeds", "no_nan", "reach", "sweep_exact_sums", "sweep_sums"]


@helper
def compute_sums(values, table, place, last):  # type: ignore[no-untyped-def]
    """Compute sums of products whose last result is number `last` (scalar_tape/native_sums.py)."""
    t, v, k = p64(table + 8 * place), pf64(values), pf64(table)
    rows, cols, kinds = t[S_ROWS], t[S_COLS], t[S_KINDS]
    first = last - rows * cols + 1
    for r in range(rows):
        for c in range(cols):
            a, b = t[S_LEFT] + r * t[S_LEFT_ROW], t[S_RIGHT] + c * t[S_RIGHT_COL]
            total = 0.0
            for i in range(t[S_INNER]):
                x = v[a] if kinds & S_LEFT_ACTIVE else k[a]
                if kinds & S_PRODUCT:
                    x *= v[b] if kinds & S_RIGHT_ACTIVE else k[b]
                total = x if i == 0 else total + x
                a += t[S_LEFT_INNER]
                b += t[S_RIGHT_INNER]
            v[first + r * cols + c] = total


@helper
def add_multiple(to, to_step, factor, source, step, count):  # type: ignore[no-untyped-def]
    """Add a multiple of some numbers to others; LLVM vectorises it where both are contiguous."""
    w, x = pf64(to), pf64(source)
    if to_step == 1 and step == 1:
        for i in range(count):
            w[i] += factor * x[i]
        return
    for i in range(count):
        w[i * to_step] += factor * x[i * step]


@helper
def sweep_exact_sums(values, cts, table, place, first):  # type: ignore[no-untyped-def]
    """Add the cotangents of those sums of products that have one to those of the operands; none is -0.0."""
    t, w, bits = p64(table + 8 * place), pf64(cts), p64(cts)
    cols, inner, kinds = t[S_COLS], t[S_INNER], t[S_KINDS]
    x = pf64(values) if kinds & S_LEFT_ACTIVE else pf64(table)
    y = pf64(values) if kinds & S_RIGHT_ACTIVE else pf64(table)
    for r in range(t[S_ROWS]):
        for c in range(cols):
            own = first + r * cols + c
            if bits[own] == UNTOUCHED:
                continue
            a, b = t[S_LEFT] + r * t[S_LEFT_ROW], t[S_RIGHT] + c * t[S_RIGHT_COL]
            for _ in range(inner):
                if kinds & S_LEFT_ACTIVE:
                    w[a] += (w[own] * y[b] if kinds & S_PRODUCT else w[own]) + 0.0
                if kinds & S_RIGHT_ACTIVE:
                    w[b] += w[own] * x[a] + 0.0
                a += t[S_LEFT_INNER]
                b += t[S_RIGHT_INNER]


@helper
def sweep_sums(values, cts, table, place, first, touched):  # type: ignore[no-untyped-def]
    """Add the cotangents of sums of products to those of the operands."""
    t, w = p64(table + 8 * place), pf64(cts)
    rows, cols, inner, kinds = t[S_ROWS], t[S_COLS], t[S_INNER], t[S_KINDS]
    step, other = t[S_LEFT_INNER], t[S_RIGHT_INNER]
    xs = values if kinds & S_LEFT_ACTIVE else table
    ys = values if kinds & S_RIGHT_ACTIVE else table
    x, y = pf64(xs), pf64(ys)
    if kinds & S_PRODUCT and cols > 1 and touched == 0:  # matrices are read row by row
        column = t[S_RIGHT_COL]
        for r in range(rows):
            own = first + r * cols
            for i in range(inner):
                a, b = t[S_LEFT] + r * t[S_LEFT_ROW] + i * step, t[S_RIGHT] + i * other
                if kinds & S_RIGHT_ACTIVE:
                    for c in range(cols):
                        w[b + c * column] += w[own + c] * x[a]
                if kinds & S_LEFT_ACTIVE:
                    total = w[a]
                    for c in range(cols):
                        total += w[own + c] * y[b + c * column]
                    w[a] = total
        return
    for r in range(rows):
        for c in range(cols):
            if touched != 0 and p8(touched)[first + r * cols + c] == 0:
                continue
            ct = w[first + r * cols + c]
            a, b = t[S_LEFT] + r * t[S_LEFT_ROW], t[S_RIGHT] + c * t[S_RIGHT_COL]
            if kinds & S_PRODUCT == 0:
                for i in range(inner):
                    w[a + i * step] += ct
                continue
            if kinds & S_LEFT_ACTIVE:
                add_multiple(cts + 8 * a, step, ct, ys + 8 * b, other, inner)
            if kinds & S_RIGHT_ACTIVE:
                add_multiple(cts + 8 * b, other, ct, xs + 8 * a, step, inner)


@helper
def reach_sums(touched, table, place, first):  # type: ignore[no-untyped-def]
    """Mark the operands of sums whose results, from `first` on, are reached."""
    t, marks = p64(table + 8 * place), p8(touched)
    for r in range(t[S_ROWS]):
        for c in range(t[S_COLS]):
            if marks[first + r * t[S_COLS] + c] == 0:
                continue
            for i in range(t[S_INNER]):
                if t[S_KINDS] & S_LEFT_ACTIVE:
                    marks[t[S_LEFT] + r * t[S_LEFT_ROW] + i * t[S_LEFT_INNER]] = 1
                if t[S_KINDS] & S_RIGHT_ACTIVE:
                    marks[t[S_RIGHT] + i * t[S_RIGHT_INNER] + c * t[S_RIGHT_COL]] = 1


@helper
def keep_seeds(cts, table):  # type: ignore[no-untyped-def]
    """Copy the cotangents that are not untouched, from the first to the last; 0 without memory.

    They are those of results, unless the reverse pass was replayed. The words: first number, one behind the
    last, then cotangents.
    """
    h, w = p64(table), p64(cts)
    n, first, last = h[B_COUNT], h[B_COUNT], 0
    if h[B_REPLAYED]:
        first, last = 0, n
    for i in range(h[B_RESULT_COUNT]):
        j = h[h[B_RESULTS] + i]
        if first <= j and j < last:
            continue
        first = min(first, j)
        while j < n and w[j] != UNTOUCHED:  # all of a result that is touched
            j += 1
        last = max(last, j)
    last = max(first, last)
    seeds = malloc(8 * (last - first + 2))
    if seeds != 0:
        s = p64(seeds)
        s[0], s[1] = first, last
        for i in range(first, last):
            s[2 + i - first] = w[i]
    return seeds


@helper
def no_nan(numbers, count):  # type: ignore[no-untyped-def]
    """Whether none of the numbers is NaN."""
    x = pf64(numbers)
    for i in range(count):
        if x[i] != x[i]:
            return False
    return True


@helper
def reach_block(touched, number, words, block):  # type: ignore[no-untyped-def]
    """Mark the operands of a block whose results, from `number` on, are reached."""
    t, d, own = p8(touched), p64(block), p32(words)
    reached = 0
    for j in range(d[D_OUTS]):
        if t[number + j]:
            reached |= 1 << j
    for j in range(d[D_INS]):
        if d[D_WIDTH + j] & reached:  # no bits for what is passive
            t[own[j]] = 1


@helper
def reach(cts, table, args, codes, seeds, kinds, blocks):  # type: ignore[no-untyped-def]
    """Restore the cotangents; a byte a number, whether it is reached from them; 0 without memory."""
    h, w, s = p64(table), p64(cts), p64(seeds)
    n, m = h[B_COUNT], h[B_HEAD]
    memory = malloc(n + 1)
    if memory == 0:
        return 0
    memset(memory, 0, n)
    touched, ab, code, mask = p8(memory), p64(args), p16(codes), p8(kinds)
    for i in range(n):
        w[i] = s[2 + i - s[0]] if s[0] <= i and i < s[1] else UNTOUCHED
        touched[i] = w[i] != UNTOUCHED
    for j in range(n - m):
        i = n - 1 - j
        if code[i - m] == CODE_BLOCK:
            block = p64(blocks + 16 * (ab[i - m] >> 32))[1]
            first = i - p64(block)[D_SLOTS] + 1
            reach_block(memory, first, args + 8 * (first - m), block)
        elif code[i - m] == CODE_SUMS:
            t = p64(table + 8 * ab[i - m])
            reach_sums(memory, table, ab[i - m], i + 1 - t[S_ROWS] * t[S_COLS])
        elif touched[i]:
            word, own = ab[i - m], mask[code[i - m]]
            if own & 1:
                touched[word & 0xFFFFFFFF] = 1
            if own & 2:
                touched[word >> 32] = 1
            if own & 4:
                touched[ab[i - m - 1] & 0xFFFFFFFF] = 1
    return memory
