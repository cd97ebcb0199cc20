"""Transposition of strips: the reverse pass of a strip, written as another one.

Each opcode's rule is a template (opcodes.py lays them out), instantiated for every statement that is
reached, from the last to the first. Of a block (njit_compiler/lowering/block.py), the statements that it
stands for are written first, as their values have not been kept.

A statement is reached by a seed, or by a statement before it in the reverse pass, whatever the cotangent's
value: a vector of cotangents holds -0.0 where there is none, and nowhere else, as 0.0 is added to the others.
"""

from __future__ import annotations

import numpy as np

from ..native import abi as nt
from ..native import words as it
from ..native.words import globals_address, helper, p16, p32, p64, pf64, stack_words
from . import abi as sf
from .abi import MOST_OPS, MOST_RULE
from .native_recorder import pack_word, push, push_constant
from .native_sums import add_part, transpose_sums

_MASK = 0xFFFFFFFF
#: in the place of a number that is absent
NOTHING = -(1 << 62)


@helper
def as_statement(recorder, reference):  # type: ignore[no-untyped-def]
    """The number of a value; a constant (below 0) becomes a statement."""
    if reference >= 0:
        return reference
    return push(recorder, 0.0, -1 - reference, sf.CODE_CONSTANT)


@helper
def push_template(recorder, row, a, b, c):  # type: ignore[no-untyped-def]
    """Append a template's statement on references; its number, or -1 without memory."""
    if row[sf.X_PARAMETERS]:
        if push(recorder, 0.0, pack_word(row[sf.X_P], row[sf.X_Q]), sf.CODE_EXTRA) < 0:
            return -1
    if row[sf.X_ARITY] == 1:
        a = as_statement(recorder, a)
        return push(recorder, 0.0, a, row[sf.X_CODE])
    if row[sf.X_ARITY] == 2:
        if a < 0 and b < 0:
            a = as_statement(recorder, a)
        if a < 0:
            return push(recorder, 0.0, pack_word(-1 - a, b), row[sf.X_CODE + 2])
        if b < 0:
            return push(recorder, 0.0, pack_word(a, -1 - b), row[sf.X_CODE + 1])
        return push(recorder, 0.0, pack_word(a, b), row[sf.X_CODE])
    a, b, c = as_statement(recorder, a), as_statement(recorder, b), as_statement(recorder, c)
    if push(recorder, 0.0, c, sf.CODE_EXTRA) < 0:
        return -1
    return push(recorder, 0.0, pack_word(a, b), row[sf.X_CODE])


@helper
def look_up(reference, ct, out, x, statements, constants, recorder):  # type: ignore[no-untyped-def]
    """The number of a template's reference, or -1 - a constant's; `NOTHING` without memory."""
    if reference == nt.REF_CT:
        return ct
    if reference == nt.REF_OUT:
        return out
    if reference < nt.REF_STATEMENT:
        return x[reference - nt.REF_OPERAND]
    if reference < nt.REF_CONSTANT:
        return statements[reference - nt.REF_STATEMENT]
    number = push_constant(recorder, pf64(constants)[reference - nt.REF_CONSTANT])
    return -1 - number if number >= 0 else NOTHING


@helper
def apply_rule(code, tables, ct, out, x, p, q, statements, adjusted, recorder):  # type: ignore[no-untyped-def]
    """Append an opcode's rule on references `x`, which become those of the operands' cotangents.

    0, -1 without memory, -2 for a derivative that does not exist. Without a cotangent, it is `NOTHING`.
    """
    addresses = p64(tables)
    constants = addresses[sf.T_CONSTANTS]
    rule = p64(addresses[sf.T_RULES] + 8 * sf.RULE_WIDTH * code)
    for j in range(rule[sf.RULE_COUNT]):
        row = p64(addresses[sf.T_TEMPLATES] + 8 * sf.X_WIDTH * (rule[sf.RULE_START] + j))
        a = look_up(row[sf.X_REF], ct, out, x, statements, constants, recorder)
        c, d = 0, 0
        if row[sf.X_ARITY] > 1:
            c = look_up(row[sf.X_REF + 1], ct, out, x, statements, constants, recorder)
        if row[sf.X_ARITY] > 2:
            d = look_up(row[sf.X_REF + 2], ct, out, x, statements, constants, recorder)
        if a == NOTHING or c == NOTHING or d == NOTHING:
            return -1
        if row[sf.X_PARAMETERS] > 1:  # they are counted from the statement's own
            for w in range(sf.X_WIDTH):
                adjusted[w] = row[w]
            adjusted[sf.X_P] += p
            adjusted[sf.X_Q] += q
            if adjusted[sf.X_Q] > sf.MOST_EXPONENT_DERIVATIVES:
                return -2
            statements[j] = push_template(recorder, adjusted, a, c, d)
        else:
            statements[j] = push_template(recorder, row, a, c, d)
        if statements[j] < 0:
            return -1
    parts = p64(stack_words(3))
    for j in range(3):
        parts[j] = NOTHING
        reference = rule[sf.RULE_RESULT + j]
        if reference >= 0:
            part = look_up(reference, ct, out, x, statements, constants, recorder)
            if part == NOTHING:
                return -1
            parts[j] = as_statement(recorder, part)
            if parts[j] < 0:
                return -1
    for j in range(3):
        x[j] = parts[j]
    return 0


@helper
def block_operand(reference, description, numbers, forward, constants, recorder):  # type: ignore[no-untyped-def]
    """The number of a reference of a block's statement, as `look_up`."""
    if reference < sf.D_STATEMENT:
        if description[sf.D_PASSIVE + (reference >> 6)] >> (reference & 63) & 1 == 0:
            return np.int64(numbers[reference])
        number = push_constant(recorder, constants[numbers[reference]])
    elif reference < sf.D_NUMBER:
        return forward[reference - sf.D_STATEMENT]
    else:
        statements = sf.D_WIDTH + description[sf.D_INS]
        place = statements + sf.D_OP_WIDTH * description[sf.D_OPS] + reference - sf.D_NUMBER
        number = push_constant(recorder, it.bits_float(description[place]))
    return -1 - number if number >= 0 else NOTHING


@helper
def transpose_block(block, first, numbers, constants, adjoint, tables, recorder):  # type: ignore[no-untyped-def]
    """Append the statements of a block whose results begin at number `first`, then their rules.

    0, or -1 without memory, or -2 as `apply_rule`.
    """
    description = p64(block)
    reached = False
    for j in range(description[sf.D_OUTS]):
        reached |= adjoint[first + j] >= 0
    if not reached:
        return 0
    count, rows = description[sf.D_OPS], block + 8 * (sf.D_WIDTH + description[sf.D_INS])
    add = p64(tables)[sf.T_ADD]
    forward, cts = p64(stack_words(MOST_OPS)), p64(stack_words(MOST_OPS))
    x, statements, adjusted = p64(stack_words(4)), p64(stack_words(MOST_RULE)), p64(stack_words(16))
    for j in range(count):
        row = p64(rows + 8 * sf.D_OP_WIDTH * j)
        cts[j] = -1
        if row[sf.D_OUT] >= 0:
            forward[j] = first + row[sf.D_OUT]
            cts[j] = adjoint[first + row[sf.D_OUT]]
            continue
        for k in range(row[sf.X_ARITY]):
            x[k] = block_operand(
                row[sf.X_REF + k], description, numbers, forward, constants, recorder
            )
            if x[k] == NOTHING:
                return -1
        forward[j] = push_template(recorder, row, x[0], x[1], 0)
        if forward[j] < 0:
            return -1
    for i in range(count):
        j = count - 1 - i
        row = p64(rows + 8 * sf.D_OP_WIDTH * j)
        if cts[j] < 0:
            continue
        for k in range(row[sf.X_ARITY]):
            x[k] = block_operand(
                row[sf.X_REF + k], description, numbers, forward, constants, recorder
            )
            if x[k] == NOTHING:
                return -1
        answer = apply_rule(
            row[sf.D_CODE], tables, cts[j], forward[j], x, 0, 0, statements, adjusted, recorder
        )
        if answer != 0:
            return answer
        for k in range(row[sf.X_ARITY]):
            reference = row[sf.X_REF + k]
            if x[k] == NOTHING or reference >= sf.D_NUMBER:
                continue
            if reference >= sf.D_STATEMENT:
                part = add_part(recorder, cts[reference - sf.D_STATEMENT], x[k], add)
                cts[reference - sf.D_STATEMENT] = part
            else:
                part = add_part(recorder, adjoint[numbers[reference]], x[k], add)
                adjoint[numbers[reference]] = part
            if part < 0:
                return -1
    return 0


@helper
def push_head(recorder, adjoint, count, neutral, add):  # type: ignore[no-untyped-def]
    """Append the head's cotangents as the results; 0, or -1 without memory.

    0.0 is added to those that exist, so that none is -0.0: -0.0 tells the next transposition that there
    is none.
    """
    zero, absent = push_constant(recorder, 0.0), push_constant(recorder, it.bits_float(neutral))
    if zero < 0 or absent < 0:
        return -1
    for j in range(count):
        if adjoint[j] >= 0:
            number = push(recorder, 0.0, pack_word(adjoint[j], zero), add + 1)
        else:
            number = push(recorder, 0.0, absent, sf.CODE_CONSTANT)
        if number < 0:
            return -1
    return 0


def transpose_entry(parts, cts, width, tables, neutral, recorder):  # type: ignore[no-untyped-def]
    """Write the reverse pass of a strip; the first number of the head's cotangent, or -1 without memory.

    `parts`: addresses of the strip's table, operands and opcodes. `recorder`'s head is the strip's vector
    of values, then that of cotangents, `width` each. `cts` are the cotangents, which show the untouched
    numbers. `tables` has the rules (`T_*`). `neutral` has the bits of a number that stands in the head's
    cotangent where there is none. -2 for a derivative that does not exist.
    """
    table, operand_words, codes = p64(parts)[0], p64(parts)[1], p16(p64(parts)[2])
    words, bits = p64(table), p64(cts)
    words[sf.B_REPLAYED] = 1
    count, head = words[sf.B_COUNT], words[sf.B_HEAD]
    constants, operands = pf64(table), p64(operand_words)
    rules, add = p64(tables)[sf.T_RULES], p64(tables)[sf.T_ADD]
    blocks = p64(globals_address())[nt.G_BLOCKS]
    memory = it.malloc(8 * count + 8)
    if memory == 0:
        return -1
    adjoint = p64(memory)
    for i in range(count):
        adjoint[i] = width + i if bits[i] != sf.UNTOUCHED else -1
    x, statements, args = p64(stack_words(4)), p64(stack_words(MOST_RULE)), p64(stack_words(4))
    adjusted = p64(stack_words(16))
    answer = 0
    i = count - 1
    while i >= head and answer == 0:
        ct = adjoint[i]
        if codes[i - head] == sf.CODE_BLOCK:
            block = p64(blocks + 16 * (operands[i - head] >> 32))[sf.BLOCK_DESCRIPTION]
            i -= p64(block)[sf.D_SLOTS] - 1
            numbers = p32(operand_words + 8 * (i - head))
            answer = transpose_block(block, i, numbers, constants, adjoint, tables, recorder)
            i -= 1
            continue
        if codes[i - head] == sf.CODE_SUMS:
            place = operands[i - head]
            sums = p64(table + 8 * place)
            i -= sums[sf.S_ROWS] * sums[sf.S_COLS] - 1
            answer = transpose_sums(table, place, i, adjoint, tables, recorder)
            i -= 1
            continue
        if ct < 0:
            i -= 1
            continue
        code = codes[i - head]
        rule = p64(rules + 8 * sf.RULE_WIDTH * code)
        args[0], args[1], args[2] = operands[i - head] & _MASK, operands[i - head] >> 32, 0
        p, q = 0, 0
        if rule[sf.RULE_EXTRA]:
            args[2] = operands[i - head - 1] & _MASK
            p, q = args[2], operands[i - head - 1] >> 32
        for j in range(3):
            x[j] = args[j]
            if rule[sf.RULE_CONSTANTS] >> j & 1:
                number = push_constant(recorder, constants[args[j]])
                if number < 0:
                    answer = -1
                x[j] = -1 - number
        if answer == 0:
            answer = apply_rule(code, tables, ct, i, x, p, q, statements, adjusted, recorder)
        for j in range(3):
            if answer == 0 and x[j] != NOTHING:
                part = add_part(recorder, adjoint[args[j]], x[j], add)
                adjoint[args[j]] = part
                if part < 0:
                    answer = -1
        i -= 1
    first = p64(recorder)[sf.W_COUNT]
    if answer == 0:
        answer = push_head(recorder, adjoint, head, neutral, add)
    it.free(memory)
    return first if answer == 0 else answer
