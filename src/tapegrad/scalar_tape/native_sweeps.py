"""The native code that runs strips, forwards and backwards, around the switches of cases.py.

Start reading at `strip_forward`, then `strip_reverse`.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from ..native import abi as nt
from ..native.words import (
    Emitted,
    bits_float,
    call_block,
    free,
    globals_address,
    helper,
    memcpy,
    p8,
    p16,
    p64,
    pf64,
    stack_words,
)
from . import abi as sf
from . import cases
from .abi import MOST_RULE
from .called_kernels import compute_called, row_of, sweep_called
from .kernels import (
    compute_sums,
    keep_seeds,
    no_nan,
    reach,
    sweep_exact_sums,
    sweep_sums,
)

__all__ = [
    "strip_called", "strip_exact", "strip_forward", "strip_result", "strip_reverse", "strip_spread",
]  # fmt: skip

MASK = 0xFFFFFFFF
#: where the statements of a rule are, behind cotangent, result, operands and three constants
_OF_RULE = 8
#: opcode, address of operands, number of the statement, addresses of values and table
run_primal = Emitted(cases.write_primals, "iiiii")
#: and the statement's cotangent, and the address of all
run_rule = Emitted(partial(cases.write_cotangents, exact=False), "iiiiidi")
run_exact_rule = Emitted(partial(cases.write_cotangents, exact=True), "iiiiidi")


def strip_forward(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Compute a strip: a jump by its opcode for each statement."""
    addresses = p64(args)
    table_address, value_address = addresses[1], addresses[4]
    table = p64(table_address)
    operand_address = addresses[2]
    operands, codes = p64(operand_address), p16(addresses[3])
    count, head = table[sf.B_COUNT], table[sf.B_HEAD]
    memcpy(value_address, addresses[0], 8 * head)
    for i in range(head, count):
        code = codes[i - head]
        words = operand_address + 8 * (i - head)
        if code == sf.CODE_SUMS:
            compute_sums(value_address, table_address, operands[i - head], i)
        elif code >= sf.FIRST_CALLED:
            compute_called(code, words, i, value_address, table_address)
        else:
            run_primal(code, words, i, value_address, table_address)


def strip_reverse(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Sweep a strip backwards.

    Most statements are sums and products, whose derivatives are 1, -1 or an operand: those take no jump
    by opcode. A processor that cannot foresee such jumps would need twice the time.

    A statement that nothing reaches has a cotangent of 0, which may meet an infinite derivative. So where
    a NaN comes out, the sweep is repeated (from the seeds, which were kept) over the reached statements.
    """
    addresses = p64(args)
    ct_address, value_address, table_address = addresses[0], addresses[1], addresses[2]
    operand_address, code_address = addresses[3], addresses[4]
    adjoints = pf64(ct_address)
    table = p64(table_address)
    operands, codes = p64(operand_address), p16(code_address)
    count, head = table[sf.B_COUNT], table[sf.B_HEAD]
    partial, nowhere = pf64(stack_words(4)), stack_words(1)
    partial[0], partial[1] = 1.0, -1.0
    pf64(nowhere)[0] = 0.0
    adds, active_operands, simple, blocks = p64(data)[0], p64(data)[1], p64(data)[2], p64(data)[3]
    to_table, to_nowhere = table_address - value_address, nowhere - ct_address
    touched, known, function, slots = 0, np.int64(-1), np.int64(0), np.int64(1)
    seeds = keep_seeds(ct_address, table_address)
    while True:
        i = count - 1
        while i >= head:
            code = codes[i - head]
            if touched == 0 or p8(touched)[i] or code == sf.CODE_BLOCK or code == sf.CODE_SUMS:
                ct = adjoints[i]
                word = operands[i - head]
                a, b = word & MASK, word >> 32
                row = p64(simple + 8 * sf.P_WIDTH * code)
                if code == sf.CODE_BLOCK:
                    if b != known:  # in a loop the next one is foreseen
                        block, known = p64(blocks + 16 * b), b
                        function = block[sf.BLOCK_CODE]
                        slots = p64(block[sf.BLOCK_DESCRIPTION])[sf.D_SLOTS]
                    i -= slots - 1
                    numbers = operand_address + 8 * (i - head)
                    call_block(
                        function, value_address, ct_address, table_address, numbers, i, touched
                    )
                elif code == sf.CODE_SUMS:
                    sums = p64(table_address + 8 * word)
                    i -= sums[sf.S_ROWS] * sums[sf.S_COLS] - 1
                    sweep_sums(value_address, ct_address, table_address, word, i, touched)
                elif row[
                    sf.P_SIMPLE
                ]:  # without a jump that depends on the opcode: it would not be foreseen
                    mask_a, mask_b = row[sf.P_MASK_A], row[sf.P_MASK_B]
                    partial[2] = pf64(value_address + 8 * a + (to_table & mask_a))[0]
                    partial[3] = pf64(value_address + 8 * b + (to_table & mask_b))[0]
                    to_a = ct_address + (8 * a & ~mask_a) + (to_nowhere & mask_a)
                    pf64(to_a)[0] += partial[row[sf.P_A]] * ct
                    to_b = ct_address + (8 * b & ~mask_b) + (to_nowhere & mask_b)
                    pf64(to_b)[0] += partial[row[sf.P_B]] * ct
                else:
                    words = operand_address + 8 * (i - head)
                    if code >= sf.FIRST_CALLED:
                        sweep_called(
                            code, words, i, value_address, table_address, ct, ct_address, 0
                        )
                    else:
                        run_rule(code, words, i, value_address, table_address, ct, ct_address)
            i -= 1
        if touched != 0 or seeds == 0 or no_nan(ct_address, head):
            break
        touched = reach(
            ct_address, table_address, operand_address, code_address, seeds, active_operands, blocks
        )
        if touched == 0:
            break
    if seeds != 0:
        free(seeds)
    if touched != 0:
        free(touched)
    out = pf64(addresses[5])
    if adds == 1:
        for i in range(head):
            out[i] += adjoints[i]
    else:
        for i in range(head):
            out[i] = adjoints[i] + 0.0


def strip_exact(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Sweep a strip backwards that is a reverse pass itself.

    Cotangents of its head are -0.0 where there is none, so a statement without one adds nothing, and others
    add 0.0 to their parts. (That takes less time than another sweep to find the reached statements, which the
    user's strips, with their blocks, rarely need.)
    """
    addresses = p64(args)
    ct_address, value_address, table_address = addresses[0], addresses[1], addresses[2]
    operand_address = addresses[3]
    adjoints, bits = pf64(ct_address), p64(ct_address)
    table = p64(table_address)
    operands, codes = p64(operand_address), p16(addresses[4])
    count, head = table[sf.B_COUNT], table[sf.B_HEAD]
    partial, nowhere = pf64(stack_words(4)), stack_words(1)
    partial[0], partial[1] = 1.0, -1.0
    pf64(nowhere)[0] = 0.0
    adds, simple = p64(data)[0], p64(data)[1]
    to_table, to_nowhere = table_address - value_address, nowhere - ct_address
    i = count - 1
    while i >= head:
        code = codes[i - head]
        if bits[i] != sf.UNTOUCHED or code == sf.CODE_SUMS:
            ct = adjoints[i]
            word = operands[i - head]
            a, b = word & MASK, word >> 32
            row = p64(simple + 8 * sf.P_WIDTH * code)
            if code == sf.CODE_SUMS:
                sums = p64(table_address + 8 * word)
                i -= sums[sf.S_ROWS] * sums[sf.S_COLS] - 1
                sweep_exact_sums(value_address, ct_address, table_address, word, i)
            elif row[sf.P_SIMPLE]:
                mask_a, mask_b = row[sf.P_MASK_A], row[sf.P_MASK_B]
                partial[2] = pf64(value_address + 8 * a + (to_table & mask_a))[0]
                partial[3] = pf64(value_address + 8 * b + (to_table & mask_b))[0]
                to_a = ct_address + (8 * a & ~mask_a) + (to_nowhere & mask_a)
                pf64(to_a)[0] += partial[row[sf.P_A]] * ct + 0.0
                to_b = ct_address + (8 * b & ~mask_b) + (to_nowhere & mask_b)
                pf64(to_b)[0] += partial[row[sf.P_B]] * ct + 0.0
            else:
                words = operand_address + 8 * (i - head)
                if code >= sf.FIRST_CALLED:
                    sweep_called(code, words, i, value_address, table_address, ct, ct_address, 1)
                else:
                    run_exact_rule(code, words, i, value_address, table_address, ct, ct_address)
        i -= 1
    out = pf64(addresses[5])
    if adds == 1:
        for i in range(head):
            out[i] += adjoints[i]
    else:
        memcpy(addresses[5], ct_address, 8 * head)


@helper
def place_in_rule(reference, k, numbers, constants):  # type: ignore[no-untyped-def]
    """The place of a reference of a rule's statement, as its operand `k`, among `numbers`."""
    if reference == nt.REF_CT:
        return 0
    if reference == nt.REF_OUT:
        return 1
    if reference < nt.REF_STATEMENT:
        return 2 + reference - nt.REF_OPERAND
    if reference < nt.REF_CONSTANT:
        return _OF_RULE + reference - nt.REF_STATEMENT
    numbers[4 + k] = pf64(constants)[reference - nt.REF_CONSTANT]
    return 4 + k


def strip_called(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Run the rule of an opcode that calls kernels: its statements, one after the other."""
    words, tables = p64(args), p64(p64(p64(globals_address())[nt.G_CALLED])[sf.CALLED_RULES])
    code, values, table = words[0], words[3], words[4]
    operands = p64(words[1])[0]
    masks = p64(row_of(code))[sf.K_CONSTANTS]
    rule = p64(tables[sf.T_RULES] + 8 * sf.RULE_WIDTH * code)
    constants = tables[sf.T_CONSTANTS]
    memory, packed = stack_words(_OF_RULE + MOST_RULE), stack_words(2)
    numbers, places = pf64(memory), p64(stack_words(2))
    places[0], places[1] = operands & MASK, operands >> 32
    numbers[0], numbers[1] = bits_float(words[5]), pf64(values)[words[2]]
    numbers[2] = pf64(table if masks & 1 else values)[places[0]]
    numbers[3] = pf64(table if masks & 2 else values)[places[1]]
    for j in range(rule[sf.RULE_COUNT]):
        row = p64(tables[sf.T_TEMPLATES] + 8 * sf.X_WIDTH * (rule[sf.RULE_START] + j))
        a = place_in_rule(row[sf.X_REF], 0, numbers, constants)
        b, c = 0, 0
        if row[sf.X_ARITY] > 1:
            b = place_in_rule(row[sf.X_REF + 1], 1, numbers, constants)
        if row[sf.X_ARITY] > 2:
            c = place_in_rule(row[sf.X_REF + 2], 2, numbers, constants)
        p64(packed)[1] = a | b << 32
        p64(packed)[0] = row[sf.X_P] | row[sf.X_Q] << 32 if row[sf.X_PARAMETERS] else c
        if row[sf.X_CODE] >= sf.FIRST_CALLED:
            compute_called(row[sf.X_CODE], packed + 8, _OF_RULE + j, memory, memory)
        else:
            run_primal(row[sf.X_CODE], packed + 8, _OF_RULE + j, memory, memory)
    adjoints = pf64(words[6])
    for k in range(2):
        reference = rule[sf.RULE_RESULT + k]
        if reference >= 0:
            part = numbers[place_in_rule(reference, 0, numbers, constants)]
            adjoints[places[k]] += part + 0.0 if words[7] else part


def strip_result(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Copy a result of a strip out."""
    values, table, out = p64(args)[0], p64(p64(args)[1]), p64(args)[2]
    number, size = p64(data)[0], p64(data)[1]
    start = table[table[sf.B_RESULTS] + number]
    memcpy(out, values + 8 * start, 8 * size)


def strip_spread(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Add the cotangents of a result to those of the strip."""
    cts, table, adjoints = pf64(p64(args)[0]), p64(p64(args)[1]), pf64(p64(args)[2])
    number, size, clears, count = p64(data)[0], p64(data)[1], p64(data)[2], p64(data)[3]
    inner, start = p64(data)[4], table[table[sf.B_RESULTS] + number]
    if clears:
        for i in range(count):
            adjoints[i] = -0.0
    for i in range(size):
        adjoints[start + i] += cts[i] if inner else cts[i] + 0.0
