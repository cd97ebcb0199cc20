"""What the sweep of a strip does when a NaN comes out of it: look at what is reached, from the seeds.

The sweep itself is generated (strip_code.py).
"""

from __future__ import annotations

from ..nopython.strip_fields import (
    B_COUNT,
    B_HEAD,
    B_RESULT_COUNT,
    B_RESULTS,
    CODE_BLOCK,
    D_INS,
    D_OUTS,
    D_SLOTS,
    D_WIDTH,
    UNTOUCHED,
)  # fmt: skip
from ..words import helper, malloc, memset, p8, p16, p32, p64, pf64

__all__ = ["keep_seeds", "no_nan", "reach"]


@helper
def keep_seeds(cts, table):  # type: ignore[no-untyped-def]
    """Copy the cotangents that are not untouched, from the first to the last result; 0 without memory.

    The words: first number, one behind the last, then cotangents.
    """
    h, w = p64(table), p64(cts)
    n, first, last = h[B_COUNT], h[B_COUNT], 0
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
        elif touched[i]:
            word, own = ab[i - m], mask[code[i - m]]
            if own & 1:
                touched[word & 0xFFFFFFFF] = 1
            if own & 2:
                touched[word >> 32] = 1
            if own & 4:
                touched[ab[i - m - 1] & 0xFFFFFFFF] = 1
    return memory
