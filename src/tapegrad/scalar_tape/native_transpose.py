"""Transposition of strips: the reverse pass of a strip, written as another one.

Each opcode's rule is a template (rule_table.py lays them out), instantiated for every statement that is
reached, from the last to the first. Of a block (njit_compiler/lowering/block.py), the statements that it
stands for are written first, as their values have not been kept.

Reached is what a seed or a statement before in the reverse pass says, whatever the cotangent's value: a
vector of cotangents holds -0.0 where there is none, and (as 0.0 is added to those that there are) nowhere
else.
"""

from __future__ import annotations

import numpy as np

from ..native import abi as nt
from ..native import intrinsics as it
from ..native.intrinsics import globals_address, helper, p16, p32, p64, pf64, stack_words
from . import abi as sf
from .abi import B_COUNT, B_HEAD, MOST_OPS, W_COUNT
from .native_recorder import push, push_constant
from .native_sums import add_part, transpose_sums

_MASK = 0xFFFFFFFF
#: in the place of a number: there is none
NOTHING = -(1 << 62)


@helper
def as_statement(recorder, reference):  # type: ignore[no-untyped-def]
    """The number of a value; a constant (below 0) becomes a statement."""
    if reference >= 0:
        return reference
    return push(recorder, 0.0, -1 - reference, sf.CODE_CONSTANT)


@helper
def emit(recorder, t, a, b, c):  # type: ignore[no-untyped-def]
    """Append a template's statement on references; its number, or -1 without memory."""
    if t[sf.X_PARAMETERS]:
        if push(recorder, 0.0, t[sf.X_P] | t[sf.X_Q] << 32, sf.CODE_EXTRA) < 0:
            return -1
    if t[sf.X_ARITY] == 1:
        a = as_statement(recorder, a)
        return push(recorder, 0.0, a, t[sf.X_CODE])
    if t[sf.X_ARITY] == 2:
        if a < 0 and b < 0:
            a = as_statement(recorder, a)
        if a < 0:
            return push(recorder, 0.0, (-1 - a) | b << 32, t[sf.X_CODE + 2])
        if b < 0:
            return push(recorder, 0.0, a | (-1 - b) << 32, t[sf.X_CODE + 1])
        return push(recorder, 0.0, a | b << 32, t[sf.X_CODE])
    a, b, c = as_statement(recorder, a), as_statement(recorder, b), as_statement(recorder, c)
    if push(recorder, 0.0, c, sf.CODE_EXTRA) < 0:
        return -1
    return push(recorder, 0.0, a | b << 32, t[sf.X_CODE])


@helper
def look_up(reference, ct, out, x, made, constants, recorder):  # type: ignore[no-untyped-def]
    """What a reference of a template stands for: a number, or -1 - a constant's; -2**62 without memory."""
    if reference == nt.REF_CT:
        return ct
    if reference == nt.REF_OUT:
        return out
    if reference < nt.REF_STATEMENT:
        return x[reference - nt.REF_OPERAND]
    if reference < nt.REF_CONSTANT:
        return made[reference - nt.REF_STATEMENT]
    number = push_constant(recorder, pf64(constants)[reference - nt.REF_CONSTANT])
    return -1 - number if number >= 0 else NOTHING


@helper
def apply_rule(code, tables, ct, out, x, p, q, made, own, recorder):  # type: ignore[no-untyped-def]
    """Append an opcode's rule on references `x`, which become those of the operands' cotangents.

    0, -1 without memory, -2 for a derivative that there is none of. What has no cotangent gets -2**62.
    """
    t = p64(tables)
    rule = p64(t[0] + 8 * sf.RULE_WIDTH * code)
    for j in range(rule[sf.RULE_COUNT]):
        row = p64(t[1] + 8 * sf.X_WIDTH * (rule[sf.RULE_START] + j))
        a = look_up(row[sf.X_REF], ct, out, x, made, t[2], recorder)
        c, d = 0, 0
        if row[sf.X_ARITY] > 1:
            c = look_up(row[sf.X_REF + 1], ct, out, x, made, t[2], recorder)
        if row[sf.X_ARITY] > 2:
            d = look_up(row[sf.X_REF + 2], ct, out, x, made, t[2], recorder)
        if a == NOTHING or c == NOTHING or d == NOTHING:
            return -1
        if row[sf.X_PARAMETERS] > 1:  # they are counted from the statement's own
            for w in range(sf.X_WIDTH):
                own[w] = row[w]
            own[sf.X_P] += p
            own[sf.X_Q] += q
            if own[sf.X_Q] > sf.MOST_EXPONENT_DERIVATIVES:
                return -2
            made[j] = emit(recorder, own, a, c, d)
        else:
            made[j] = emit(recorder, row, a, c, d)
        if made[j] < 0:
            return -1
    found = p64(stack_words(3))
    for j in range(3):
        found[j] = NOTHING
        reference = rule[sf.RULE_RESULT + j]
        if reference >= 0:
            part = look_up(reference, ct, out, x, made, t[2], recorder)
            if part == NOTHING:
                return -1
            found[j] = as_statement(recorder, part)
            if found[j] < 0:
                return -1
    for j in range(3):
        x[j] = found[j]
    return 0


@helper
def block_operand(reference, d, numbers, forward, constants, recorder):  # type: ignore[no-untyped-def]
    """What a reference of a block's statement stands for, as `look_up`."""
    if reference < sf.D_STATEMENT:
        if d[sf.D_PASSIVE + (reference >> 6)] >> (reference & 63) & 1 == 0:
            return np.int64(numbers[reference])
        number = push_constant(recorder, constants[numbers[reference]])
    elif reference < sf.D_NUMBER:
        return forward[reference - sf.D_STATEMENT]
    else:
        place = sf.D_WIDTH + d[sf.D_INS] + sf.D_OP_WIDTH * d[sf.D_OPS] + reference - sf.D_NUMBER
        number = push_constant(recorder, it.bits_float(d[place]))
    return -1 - number if number >= 0 else NOTHING


@helper
def transpose_block(block, first, numbers, constants, adjoint, tables, recorder):  # type: ignore[no-untyped-def]
    """Append the statements of a block whose results begin at number `first`, then their rules.

    0, or -1 without memory, or -2 as `apply_rule`.
    """
    d = p64(block)
    reached = False
    for j in range(d[sf.D_OUTS]):
        reached |= adjoint[first + j] >= 0
    if not reached:
        return 0
    count, rows = d[sf.D_OPS], block + 8 * (sf.D_WIDTH + d[sf.D_INS])
    forward, cts = p64(stack_words(MOST_OPS)), p64(stack_words(MOST_OPS))
    x, made, own = p64(stack_words(4)), p64(stack_words(64)), p64(stack_words(16))
    for j in range(count):
        row = p64(rows + 8 * sf.D_OP_WIDTH * j)
        cts[j] = -1
        if row[sf.D_OUT] >= 0:
            forward[j] = first + row[sf.D_OUT]
            cts[j] = adjoint[first + row[sf.D_OUT]]
            continue
        for k in range(row[sf.X_ARITY]):
            x[k] = block_operand(row[sf.X_REF + k], d, numbers, forward, constants, recorder)
            if x[k] == NOTHING:
                return -1
        forward[j] = emit(recorder, row, x[0], x[1], 0)
        if forward[j] < 0:
            return -1
    for i in range(count):
        j = count - 1 - i
        row = p64(rows + 8 * sf.D_OP_WIDTH * j)
        if cts[j] < 0:
            continue
        for k in range(row[sf.X_ARITY]):
            x[k] = block_operand(row[sf.X_REF + k], d, numbers, forward, constants, recorder)
            if x[k] == NOTHING:
                return -1
        answer = apply_rule(
            row[sf.D_CODE], tables, cts[j], forward[j], x, 0, 0, made, own, recorder
        )
        if answer != 0:
            return answer
        for k in range(row[sf.X_ARITY]):
            reference = row[sf.X_REF + k]
            if x[k] == NOTHING or reference >= sf.D_NUMBER:
                continue
            if reference >= sf.D_STATEMENT:
                part = add_part(recorder, cts[reference - sf.D_STATEMENT], x[k], p64(tables)[3])
                cts[reference - sf.D_STATEMENT] = part
            else:
                part = add_part(recorder, adjoint[numbers[reference]], x[k], p64(tables)[3])
                adjoint[numbers[reference]] = part
            if part < 0:
                return -1
    return 0


@helper
def push_head(recorder, adjoint, count, neutral, add):  # type: ignore[no-untyped-def]
    """Append the head's cotangents as the results; 0, or -1 without memory.

    Those that there are get 0.0 added, so that none is -0.0: the next transposition tells by that
    whether there is one.
    """
    zero, absent = push_constant(recorder, 0.0), push_constant(recorder, it.bits_float(neutral))
    if zero < 0 or absent < 0:
        return -1
    for j in range(count):
        if adjoint[j] >= 0:
            number = push(recorder, 0.0, adjoint[j] | zero << 32, add + 1)
        else:
            number = push(recorder, 0.0, absent, sf.CODE_CONSTANT)
        if number < 0:
            return -1
    return 0


def transpose_entry(parts, cts, width, table, neutral, recorder):  # type: ignore[no-untyped-def]
    """Write the reverse pass of a strip; where the head's cotangent begins, or -1 without memory.

    `parts`: addresses of the strip's table, operands and opcodes. `recorder`'s head is the strip's vector
    of values, then that of cotangents, `width` each. `cts` are the cotangents, which say what is
    untouched. `table` has the addresses of rules, of templates and of constants. `neutral`: the bits of what
    stands in the head's cotangent where there is none. -2 for a derivative that there is none of.
    """
    b, bits = p64(p64(parts)[0]), p64(cts)
    b[sf.B_REPLAYED] = 1
    n, m = b[B_COUNT], b[B_HEAD]
    k = pf64(p64(parts)[0])
    ab, codes = p64(p64(parts)[1]), p16(p64(parts)[2])
    tables, blocks = p64(table), p64(globals_address())[nt.G_BLOCKS]
    memory = it.malloc(8 * n + 8)
    if memory == 0:
        return -1
    adjoint = p64(memory)
    for i in range(n):
        adjoint[i] = width + i if bits[i] != sf.UNTOUCHED else -1
    x, made, whose = p64(stack_words(4)), p64(stack_words(64)), p64(stack_words(4))
    own = p64(stack_words(16))
    answer = 0
    i = n - 1
    while i >= m and answer == 0:
        ct = adjoint[i]
        if codes[i - m] == sf.CODE_BLOCK:
            block = p64(blocks + 16 * (ab[i - m] >> 32))[1]
            i -= p64(block)[sf.D_SLOTS] - 1
            numbers = p32(p64(parts)[1] + 8 * (i - m))
            answer = transpose_block(block, i, numbers, k, adjoint, table, recorder)
            i -= 1
            continue
        if codes[i - m] == sf.CODE_SUMS:
            place = ab[i - m]
            t = p64(p64(parts)[0] + 8 * place)
            i -= t[sf.S_ROWS] * t[sf.S_COLS] - 1
            answer = transpose_sums(p64(parts)[0], place, i, adjoint, table, recorder)
            i -= 1
            continue
        if ct < 0:
            i -= 1
            continue
        code = codes[i - m]
        rule = p64(tables[0] + 8 * sf.RULE_WIDTH * code)
        whose[0], whose[1], whose[2] = ab[i - m] & _MASK, ab[i - m] >> 32, 0
        p, q = 0, 0
        if rule[sf.RULE_EXTRA]:
            whose[2] = ab[i - m - 1] & _MASK
            p, q = whose[2], ab[i - m - 1] >> 32
        for j in range(3):
            x[j] = whose[j]
            if rule[sf.RULE_CONSTANTS] >> j & 1:
                number = push_constant(recorder, k[whose[j]])
                if number < 0:
                    answer = -1
                x[j] = -1 - number
        if answer == 0:
            answer = apply_rule(code, table, ct, i, x, p, q, made, own, recorder)
        for j in range(3):
            if answer == 0 and x[j] != NOTHING:
                part = add_part(recorder, adjoint[whose[j]], x[j], tables[3])
                adjoint[whose[j]] = part
                if part < 0:
                    answer = -1
        i -= 1
    first = p64(recorder)[W_COUNT]
    if answer == 0:
        answer = push_head(recorder, adjoint, m, neutral, tables[3])
    it.free(memory)
    return first if answer == 0 else answer
