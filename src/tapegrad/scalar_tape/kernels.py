"""Parts of the sweeps of a strip that are not generated (sweeps.py): sums of products, and NaN.

When a NaN comes out of the reverse sweep, it finds the statements that the seeds reach.
"""

from __future__ import annotations

from ..native.words import helper, malloc, memset, p8, p16, p32, p64, pf64
from . import abi as sf

__all__ = ["compute_sums", "keep_seeds", "no_nan", "reach", "sweep_exact_sums", "sweep_sums"]


@helper
def compute_sums(values, table, place, last):  # type: ignore[no-untyped-def]
    """Compute sums of products whose last result is number `last` (native_sums.py)."""
    sums, numbers, constants = p64(table + 8 * place), pf64(values), pf64(table)
    rows, cols, kinds = sums[sf.S_ROWS], sums[sf.S_COLS], sums[sf.S_KINDS]
    first = last - rows * cols + 1
    for r in range(rows):
        for c in range(cols):
            a, b = (
                sums[sf.S_LEFT] + r * sums[sf.S_LEFT_ROW],
                sums[sf.S_RIGHT] + c * sums[sf.S_RIGHT_COL],
            )
            total = 0.0
            for i in range(sums[sf.S_INNER]):
                x = numbers[a] if kinds & sf.S_LEFT_ACTIVE else constants[a]
                if kinds & sf.S_PRODUCT:
                    x *= numbers[b] if kinds & sf.S_RIGHT_ACTIVE else constants[b]
                total = x if i == 0 else total + x
                a += sums[sf.S_LEFT_INNER]
                b += sums[sf.S_RIGHT_INNER]
            numbers[first + r * cols + c] = total


@helper
def add_multiple(to, to_step, factor, source, step, count):  # type: ignore[no-untyped-def]
    """Add a multiple of some numbers to others; LLVM vectorises it where both are contiguous."""
    target, numbers = pf64(to), pf64(source)
    if to_step == 1 and step == 1:
        for i in range(count):
            target[i] += factor * numbers[i]
        return
    for i in range(count):
        target[i * to_step] += factor * numbers[i * step]


@helper
def sweep_exact_sums(values, cts, table, place, first):  # type: ignore[no-untyped-def]
    """Add the cotangents of those sums of products that have one to those of the operands; none is -0.0."""
    sums, adjoints, bits = p64(table + 8 * place), pf64(cts), p64(cts)
    cols, inner, kinds = sums[sf.S_COLS], sums[sf.S_INNER], sums[sf.S_KINDS]
    x = pf64(values) if kinds & sf.S_LEFT_ACTIVE else pf64(table)
    y = pf64(values) if kinds & sf.S_RIGHT_ACTIVE else pf64(table)
    for r in range(sums[sf.S_ROWS]):
        for c in range(cols):
            result = first + r * cols + c
            if bits[result] == sf.UNTOUCHED:
                continue
            a, b = (
                sums[sf.S_LEFT] + r * sums[sf.S_LEFT_ROW],
                sums[sf.S_RIGHT] + c * sums[sf.S_RIGHT_COL],
            )
            for _ in range(inner):
                if kinds & sf.S_LEFT_ACTIVE:
                    adjoints[a] += (
                        adjoints[result] * y[b] if kinds & sf.S_PRODUCT else adjoints[result]
                    ) + 0.0
                if kinds & sf.S_RIGHT_ACTIVE:
                    adjoints[b] += adjoints[result] * x[a] + 0.0
                a += sums[sf.S_LEFT_INNER]
                b += sums[sf.S_RIGHT_INNER]


@helper
def sweep_sums(values, cts, table, place, first, touched):  # type: ignore[no-untyped-def]
    """Add the cotangents of sums of products to those of the operands."""
    sums, adjoints = p64(table + 8 * place), pf64(cts)
    rows, cols, inner, kinds = sums[sf.S_ROWS], sums[sf.S_COLS], sums[sf.S_INNER], sums[sf.S_KINDS]
    step, other = sums[sf.S_LEFT_INNER], sums[sf.S_RIGHT_INNER]
    xs = values if kinds & sf.S_LEFT_ACTIVE else table
    ys = values if kinds & sf.S_RIGHT_ACTIVE else table
    x, y = pf64(xs), pf64(ys)
    if kinds & sf.S_PRODUCT and cols > 1 and touched == 0:  # matrices are read row by row
        column = sums[sf.S_RIGHT_COL]
        for r in range(rows):
            result = first + r * cols
            for i in range(inner):
                a, b = (
                    sums[sf.S_LEFT] + r * sums[sf.S_LEFT_ROW] + i * step,
                    sums[sf.S_RIGHT] + i * other,
                )
                if kinds & sf.S_RIGHT_ACTIVE:
                    for c in range(cols):
                        adjoints[b + c * column] += adjoints[result + c] * x[a]
                if kinds & sf.S_LEFT_ACTIVE:
                    total = adjoints[a]
                    for c in range(cols):
                        total += adjoints[result + c] * y[b + c * column]
                    adjoints[a] = total
        return
    for r in range(rows):
        for c in range(cols):
            if touched != 0 and p8(touched)[first + r * cols + c] == 0:
                continue
            ct = adjoints[first + r * cols + c]
            a, b = (
                sums[sf.S_LEFT] + r * sums[sf.S_LEFT_ROW],
                sums[sf.S_RIGHT] + c * sums[sf.S_RIGHT_COL],
            )
            if kinds & sf.S_PRODUCT == 0:
                for i in range(inner):
                    adjoints[a + i * step] += ct
                continue
            if kinds & sf.S_LEFT_ACTIVE:
                add_multiple(cts + 8 * a, step, ct, ys + 8 * b, other, inner)
            if kinds & sf.S_RIGHT_ACTIVE:
                add_multiple(cts + 8 * b, other, ct, xs + 8 * a, step, inner)


@helper
def reach_sums(touched, table, place, first):  # type: ignore[no-untyped-def]
    """Mark the operands of sums whose results, from `first` on, are reached."""
    sums, marks = p64(table + 8 * place), p8(touched)
    for r in range(sums[sf.S_ROWS]):
        for c in range(sums[sf.S_COLS]):
            if marks[first + r * sums[sf.S_COLS] + c] == 0:
                continue
            for i in range(sums[sf.S_INNER]):
                if sums[sf.S_KINDS] & sf.S_LEFT_ACTIVE:
                    marks[sums[sf.S_LEFT] + r * sums[sf.S_LEFT_ROW] + i * sums[sf.S_LEFT_INNER]] = 1
                if sums[sf.S_KINDS] & sf.S_RIGHT_ACTIVE:
                    marks[
                        sums[sf.S_RIGHT] + i * sums[sf.S_RIGHT_INNER] + c * sums[sf.S_RIGHT_COL]
                    ] = 1


@helper
def keep_seeds(cts, table):  # type: ignore[no-untyped-def]
    """Copy the cotangents that are not untouched, from the first to the last; 0 without memory.

    They are those of results, unless the reverse pass was replayed. The words: first number, one behind the
    last, then cotangents.
    """
    words, bits = p64(table), p64(cts)
    count, first, last = words[sf.B_COUNT], words[sf.B_COUNT], 0
    if words[sf.B_REPLAYED]:
        first, last = 0, count
    for i in range(words[sf.B_RESULT_COUNT]):
        j = words[words[sf.B_RESULTS] + i]
        if first <= j and j < last:
            continue
        first = min(first, j)
        while j < count and bits[j] != sf.UNTOUCHED:  # all of a result that is touched
            j += 1
        last = max(last, j)
    last = max(first, last)
    seeds = malloc(8 * (last - first + 2))
    if seeds != 0:
        seed_words = p64(seeds)
        seed_words[0], seed_words[1] = first, last
        for i in range(first, last):
            seed_words[2 + i - first] = bits[i]
    return seeds


@helper
def no_nan(numbers, count):  # type: ignore[no-untyped-def]
    """Return True if none of the numbers is NaN."""
    values = pf64(numbers)
    for i in range(count):
        if values[i] != values[i]:
            return False
    return True


@helper
def reach_block(touched, number, words, block):  # type: ignore[no-untyped-def]
    """Mark the operands of a block whose results, from `number` on, are reached."""
    marks, description, operands = p8(touched), p64(block), p32(words)
    reached = 0
    for j in range(description[sf.D_OUTS]):
        if marks[number + j]:
            reached |= 1 << j
    for j in range(description[sf.D_INS]):
        if description[sf.D_WIDTH + j] & reached:  # a passive operand has no bits
            marks[operands[j]] = 1


@helper
def reach(cts, table, args, codes, seeds, kinds, blocks):  # type: ignore[no-untyped-def]
    """Restore the cotangents; a byte a number, 1 if it is reached from them; 0 without memory."""
    words, bits, seed_words = p64(table), p64(cts), p64(seeds)
    count, head = words[sf.B_COUNT], words[sf.B_HEAD]
    memory = malloc(count + 1)
    if memory == 0:
        return 0
    memset(memory, 0, count)
    touched, operands, opcodes, active_masks = p8(memory), p64(args), p16(codes), p8(kinds)
    for i in range(count):
        bits[i] = (
            seed_words[2 + i - seed_words[0]]
            if seed_words[0] <= i and i < seed_words[1]
            else sf.UNTOUCHED
        )
        touched[i] = bits[i] != sf.UNTOUCHED
    for j in range(count - head):
        i = count - 1 - j
        if opcodes[i - head] == sf.CODE_BLOCK:
            block = p64(blocks + 16 * (operands[i - head] >> 32))[sf.BLOCK_DESCRIPTION]
            first = i - p64(block)[sf.D_SLOTS] + 1
            reach_block(memory, first, args + 8 * (first - head), block)
        elif opcodes[i - head] == sf.CODE_SUMS:
            sums = p64(table + 8 * operands[i - head])
            reach_sums(memory, table, operands[i - head], i + 1 - sums[sf.S_ROWS] * sums[sf.S_COLS])
        elif touched[i]:
            word, active = operands[i - head], active_masks[opcodes[i - head]]
            if active & 1:
                touched[word & 0xFFFFFFFF] = 1
            if active & 2:
                touched[word >> 32] = 1
            if active & 4:
                touched[operands[i - head - 1] & 0xFFFFFFFF] = 1
    return memory
