"""The native code that runs strips, forwards and backwards: texts of opcodes.py, put together.

Each kernel is compiled, or loaded from the store, when a program first uses it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from ..native import abi as nt
from ..native import intrinsic_stubs, machine_code
from . import abi as sf
from . import kernels, rows
from .opcodes import (
    ATTRIBUTES,
    SCOPE,
    THIRD_OPERAND,
    Code,
    Rule,
    codes,
    scope_source,
    statement_text,
)  # fmt: skip

__all__: list[str] = []


def _primal_lines(code: Code) -> list[str]:
    inputs = [
        f"{'constants' if kind == 'k' else 'values'}[{'abc'[i]}]"
        for i, kind in enumerate(code.kinds)
    ]
    lines = []
    if len(code.kinds) == 3:
        lines.append(THIRD_OPERAND)
    if (count := len(code.op.parameters)) > 0:
        lines.append(ATTRIBUTES)
        inputs += ["p", "q"][:count]
    return [*lines, f"values[i] = {statement_text(code, inputs)}"]


_FORWARD = """
def strip_forward(args, dims, strides, data):
    addresses = p64(args)
    table_address, value_address = addresses[1], addresses[4]
    table, constants, values = p64(table_address), pf64(table_address), pf64(value_address)
    operands, codes = p64(addresses[2]), p16(addresses[3])
    count, head = table[B_COUNT], table[B_HEAD]
    coefficients = stack_words(16)
    memcpy(value_address, addresses[0], 8 * head)
    for i in range(head, count):
        word = operands[i - head]
        a, b = word & MASK, word >> 32
        code = codes[i - head]
        if code == CODE_SUMS:
            compute_sums(value_address, table_address, word, i)
            continue
        CASES
"""
#: Most statements are sums and products, whose derivatives are 1, -1 or an operand: those take no jump
#: by opcode. A processor that cannot foresee such jumps would need twice the time.
#:
#: A statement that nothing reaches has a cotangent of 0, which may meet an infinite derivative. So where
#: a NaN comes out, the sweep is repeated (from the seeds, which were kept) over the reached statements.
_REVERSE = """
def strip_reverse(args, dims, strides, data):
    addresses = p64(args)
    ct_address, value_address, table_address = addresses[0], addresses[1], addresses[2]
    operand_address, code_address = addresses[3], addresses[4]
    adjoints, values = pf64(ct_address), pf64(value_address)
    table, constants = p64(table_address), pf64(table_address)
    operands, codes = p64(operand_address), p16(code_address)
    count, head = table[B_COUNT], table[B_HEAD]
    coefficients = stack_words(16)
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
            if touched == 0 or p8(touched)[i] or code == CODE_BLOCK or code == CODE_SUMS:
                ct = adjoints[i]
                word = operands[i - head]
                a, b = word & MASK, word >> 32
                row = p64(simple + 8 * P_WIDTH * code)
                if code == CODE_BLOCK:
                    if b != known:  # in a loop the next one is foreseen
                        block, known = p64(blocks + 16 * b), b
                        function = block[BLOCK_CODE]
                        slots = p64(block[BLOCK_DESCRIPTION])[D_SLOTS]
                    i -= slots - 1
                    numbers = operand_address + 8 * (i - head)
                    call_block(function, value_address, ct_address, table_address, numbers, i, touched)
                elif code == CODE_SUMS:
                    sums = p64(table_address + 8 * word)
                    i -= sums[S_ROWS] * sums[S_COLS] - 1
                    sweep_sums(value_address, ct_address, table_address, word, i, touched)
                elif row[P_SIMPLE]:  # without a jump that depends on the opcode: it would not be foreseen
                    mask_a, mask_b = row[P_MASK_A], row[P_MASK_B]
                    partial[2] = pf64(value_address + 8 * a + (to_table & mask_a))[0]
                    partial[3] = pf64(value_address + 8 * b + (to_table & mask_b))[0]
                    to_a = ct_address + (8 * a & ~mask_a) + (to_nowhere & mask_a)
                    pf64(to_a)[0] += partial[row[P_A]] * ct
                    to_b = ct_address + (8 * b & ~mask_b) + (to_nowhere & mask_b)
                    pf64(to_b)[0] += partial[row[P_B]] * ct
                else:
                    CASES
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
"""
#: The sweep of a strip that is a reverse pass itself. Cotangents of its head are -0.0 where there is none, so
#: a statement without one adds nothing, and others add 0.0 to their parts. (That takes less time than another
#: sweep to find the reached statements, which the user's strips, with their blocks, rarely need.)
_EXACT = """
def strip_exact(args, dims, strides, data):
    addresses = p64(args)
    ct_address, value_address, table_address = addresses[0], addresses[1], addresses[2]
    adjoints, bits, values = pf64(ct_address), p64(ct_address), pf64(value_address)
    table, constants = p64(table_address), pf64(table_address)
    operands, codes = p64(addresses[3]), p16(addresses[4])
    count, head = table[B_COUNT], table[B_HEAD]
    coefficients = stack_words(16)
    partial, nowhere = pf64(stack_words(4)), stack_words(1)
    partial[0], partial[1] = 1.0, -1.0
    pf64(nowhere)[0] = 0.0
    adds, simple = p64(data)[0], p64(data)[1]
    to_table, to_nowhere = table_address - value_address, nowhere - ct_address
    i = count - 1
    while i >= head:
        code = codes[i - head]
        if bits[i] != UNTOUCHED or code == CODE_SUMS:
            ct = adjoints[i]
            word = operands[i - head]
            a, b = word & MASK, word >> 32
            row = p64(simple + 8 * P_WIDTH * code)
            if code == CODE_SUMS:
                sums = p64(table_address + 8 * word)
                i -= sums[S_ROWS] * sums[S_COLS] - 1
                sweep_exact_sums(value_address, ct_address, table_address, word, i)
            elif row[P_SIMPLE]:
                mask_a, mask_b = row[P_MASK_A], row[P_MASK_B]
                partial[2] = pf64(value_address + 8 * a + (to_table & mask_a))[0]
                partial[3] = pf64(value_address + 8 * b + (to_table & mask_b))[0]
                to_a = ct_address + (8 * a & ~mask_a) + (to_nowhere & mask_a)
                pf64(to_a)[0] += partial[row[P_A]] * ct + 0.0
                to_b = ct_address + (8 * b & ~mask_b) + (to_nowhere & mask_b)
                pf64(to_b)[0] += partial[row[P_B]] * ct + 0.0
            else:
                CASES
        i -= 1
    out = pf64(addresses[5])
    if adds == 1:
        for i in range(head):
            out[i] += adjoints[i]
    else:
        memcpy(addresses[5], ct_address, 8 * head)
"""
_RESULT = """
def strip_result(args, dims, strides, data):
    values, table, out = p64(args)[0], p64(p64(args)[1]), p64(args)[2]
    number, size = p64(data)[0], p64(data)[1]
    start = table[table[B_RESULTS] + number]
    memcpy(out, values + 8 * start, 8 * size)
"""
_SPREAD = """
def strip_spread(args, dims, strides, data):
    cts, table, adjoints = pf64(p64(args)[0]), p64(p64(args)[1]), pf64(p64(args)[2])
    number, size, clears, count = p64(data)[0], p64(data)[1], p64(data)[2], p64(data)[3]
    inner, start = p64(data)[4], table[table[B_RESULTS] + number]
    if clears:
        for i in range(count):
            adjoints[i] = -0.0
    for i in range(size):
        adjoints[start + i] += cts[i] if inner else cts[i] + 0.0
"""


def _unique(line: str, number: int) -> str:
    """Give the temporaries of a case unique names: numba is slow with many assignments to one."""
    return re.sub(r"\b([cpqoxyz]|t\d+)\b", rf"\1_{number}", line)


def _cases(indent: int, lines_of: Callable[[Code], list[str]], first: list[str]) -> str:
    """An if-chain over opcodes, which LLVM makes a jump table of."""
    pad = "\n" + " " * indent
    text = f"if code == {sf.CODE_CONSTANT}:" + "".join(pad + "    " + line for line in first)
    for number, code in enumerate(codes()):
        if code is not None:
            text += pad + f"elif code == {number}:"
            text += "".join(pad + "    " + _unique(line, number) for line in lines_of(code))
    return text


#: names of abi.py in the texts
_CONSTANTS = (
    "BLOCK_CODE", "BLOCK_DESCRIPTION", "B_COUNT", "B_HEAD", "B_RESULTS", "CODE_BLOCK", "CODE_SUMS",
    "D_SLOTS", "P_A", "P_B", "P_MASK_A", "P_MASK_B", "P_SIMPLE", "P_WIDTH", "S_COLS", "S_ROWS",
    "UNTOUCHED",
)  # fmt: skip


def _kernel_text(name: str) -> str:
    if name == "forward":
        text = _FORWARD.replace("CASES", _cases(8, _primal_lines, ["values[i] = constants[a]"]))
    elif name == "reverse":
        text = _REVERSE.replace("CASES", _cases(20, lambda c: Rule(c).lines(), ["pass"]))
    elif name == "exact":
        text = _EXACT.replace("CASES", _cases(16, lambda c: Rule(c).lines(" + 0.0"), ["pass"]))
    else:
        return {"result": _RESULT, "spread": _SPREAD}[name]
    return text


@cache
def _kernel(name: str) -> int:
    """Address of a kernel, loaded or compiled now."""
    text = _kernel_text(name)

    def build() -> tuple[dict[str, str], list[bytes]]:
        scope: dict[str, Any] = {
            **SCOPE,
            "MASK": 0xFFFFFFFF,
            **{name: getattr(sf, name) for name in _CONSTANTS},
            **{name: getattr(kernels, name) for name in kernels.__all__},
        }
        for word in ("p8", "p16", "p64", "pf64", "memcpy", "free", "stack_words", "call_block"):
            scope[word] = getattr(intrinsic_stubs, word)
        intrinsic_stubs.resolve(scope)
        exec(compile(text, f"<strip {name}>", "exec"), scope)
        function = scope[f"strip_{name}"]
        symbol, code = intrinsic_stubs.compiler().object_code(function, nt.LOOP_SIGNATURE)
        return {"kernel": symbol}, [code]

    source = text + scope_source() + inspect.getsource(kernels)
    return machine_code.load_module(f"strip-{name}", source, ("kernel",), build)["kernel"]


@cache
def _active_operands() -> int:
    """Address of a byte an opcode: a bit for each operand that is not a constant."""
    masks = np.zeros(len(codes()), np.uint8)
    for number, code in enumerate(codes()):
        if code is not None:
            masks[number] = sum(1 << i for i, kind in enumerate(code.kinds) if kind != "k")
    machine_code.keep_for_ever(masks)
    return masks.ctypes.data


@cache
def _simple() -> int:
    """Address of a row an opcode (`P_*`)."""
    table = np.zeros((len(codes()), sf.P_WIDTH), np.int64)
    for number, code in enumerate(codes()):
        partials = None if code is None else Rule(code).partials()
        if code is not None and partials is not None:
            row = table[number]
            row[sf.P_SIMPLE] = 1
            kinds = code.kinds.ljust(2, "k")
            row[sf.P_MASK_A], row[sf.P_MASK_B] = [-int(kind == "k") for kind in kinds]
            row[sf.P_A], row[sf.P_B] = partials
    machine_code.keep_for_ever(table)
    return table.ctypes.data


#: blocks of this process, by number
_BLOCKS = np.zeros((sf.MOST_BLOCKS, 2), np.int64)
machine_code.keep_for_ever(_BLOCKS)
nt.GLOBALS[nt.G_BLOCKS] = _BLOCKS.ctypes.data


def _blocks() -> int:
    return _BLOCKS.ctypes.data


rows.KERNELS["active_operands"] = _active_operands
rows.KERNELS["blocks"] = _blocks
rows.KERNELS["simple"] = _simple
for _name in ("forward", "reverse", "exact", "result", "spread"):
    rows.KERNELS[_name] = partial(_kernel, _name)
