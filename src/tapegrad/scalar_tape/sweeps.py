"""The native code that runs strips, forwards and backwards: texts of opcodes.py, put together.

Each kernel is compiled when a program first uses it, or found in the store.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from ..native import abi as nt
from ..native import intrinsic_stubs as words
from ..native import machine_code
from . import abi as sf
from . import kernels as parts
from . import rows as strip
from .opcodes import SCOPE, Code, Rule, codes, scope_source, statement_text

__all__: list[str] = []


def _primal_lines(code: Code) -> list[str]:
    inputs = [
        f"{'k' if kind == 'k' else 'v'}[{'abc'[i]}]" for i, kind in enumerate(code.kinds)
    ]  # fmt: skip
    lines = []
    if len(code.kinds) == 3:
        lines.append("c = ab[i - m - 1] & MASK")
    if (count := len(code.op.parameters)) > 0:
        lines.append("p, q = ab[i - m - 1] & MASK, ab[i - m - 1] >> 32")
        inputs += ["p", "q"][:count]
    return [*lines, f"v[i] = {statement_text(code, inputs)}"]


_FORWARD = """
def strip_forward(args, dims, strides, data):
    pointers = p64(args)
    k, ab, code = pf64(pointers[1]), p64(pointers[2]), p16(pointers[3])
    n, m, v = p64(pointers[1])[B_COUNT], p64(pointers[1])[B_HEAD], pf64(pointers[4])
    coefficients = stack_words(16)
    memcpy(pointers[4], pointers[0], 8 * m)
    for i in range(m, n):
        word = ab[i - m]
        a, b = word & MASK, word >> 32
        op = code[i - m]
        if op == CODE_SUMS:
            compute_sums(pointers[4], pointers[1], word, i)
            continue
        CASES
"""
#: Most statements are sums and products, whose derivatives are 1, -1 or an operand: those take no jump
#: by opcode. A processor that cannot foresee such jumps would need twice the time.
#:
#: A statement that nothing reaches has a cotangent of 0, which may meet an infinite derivative. So where
#: a NaN comes out, the sweep is repeated (from the seeds, which were kept) over what is reached.
_REVERSE = """
def strip_reverse(args, dims, strides, data):
    pointers = p64(args)
    w, v = pf64(pointers[0]), pf64(pointers[1])
    h, k, ab, code = p64(pointers[2]), pf64(pointers[2]), p64(pointers[3]), p16(pointers[4])
    n, m = h[B_COUNT], h[B_HEAD]
    coefficients = stack_words(16)
    partial, nowhere = pf64(stack_words(4)), stack_words(1)
    partial[0], partial[1] = 1.0, -1.0
    pf64(nowhere)[0] = 0.0
    rows, blocks = p64(data)[2], p64(data)[3]
    to_table, to_nowhere = pointers[2] - pointers[1], nowhere - pointers[0]
    touched, known, function, slots = 0, np.int64(-1), np.int64(0), np.int64(1)
    seeds = keep_seeds(pointers[0], pointers[2])
    while True:
        i = n - 1
        while i >= m:
            op = code[i - m]
            if touched == 0 or p8(touched)[i] or op == CODE_BLOCK or op == CODE_SUMS:
                ct = w[i]
                word = ab[i - m]
                a, b = word & MASK, word >> 32
                row = p64(rows + 64 * op)
                if op == CODE_BLOCK:
                    if b != known:  # in a loop the next one is foreseen
                        block, known = p64(blocks + 16 * b), b
                        function, slots = block[0], p64(block[1])[D_SLOTS]
                    i -= slots - 1
                    at = pointers[3] + 8 * (i - m)
                    call_block(function, pointers[1], pointers[0], pointers[2], at, i, touched)
                elif op == CODE_SUMS:
                    t = p64(pointers[2] + 8 * word)
                    i -= t[S_ROWS] * t[S_COLS] - 1
                    sweep_sums(pointers[1], pointers[0], pointers[2], word, i, touched)
                elif row[0]:  # without a jump that depends on the opcode: it would not be foreseen
                    x, y = row[1], row[2]
                    partial[2] = pf64(pointers[1] + 8 * a + (to_table & x))[0]
                    partial[3] = pf64(pointers[1] + 8 * b + (to_table & y))[0]
                    pf64(pointers[0] + (8 * a & ~x) + (to_nowhere & x))[0] += partial[row[3]] * ct
                    pf64(pointers[0] + (8 * b & ~y) + (to_nowhere & y))[0] += partial[row[4]] * ct
                else:
                    CASES
            i -= 1
        if touched != 0 or seeds == 0 or no_nan(pointers[0], m):
            break
        touched = reach(pointers[0], pointers[2], pointers[3], pointers[4], seeds, p64(data)[1], blocks)
        if touched == 0:
            break
    if seeds != 0:
        free(seeds)
    if touched != 0:
        free(touched)
    x = pf64(pointers[5])
    if p64(data)[0] == 1:
        for i in range(m):
            x[i] += w[i]
    else:
        for i in range(m):
            x[i] = w[i] + 0.0
"""
#: Of a strip that is a reverse pass itself. Its head's cotangents say by -0.0 where there is none, so a
#: statement without one adds nothing, and others add 0.0 to what they do. (That takes less time than to find
#: out what is reached in a second sweep; of the user's strips, with their blocks, few are ever asked.)
_EXACT = """
def strip_exact(args, dims, strides, data):
    pointers = p64(args)
    w, bits, v = pf64(pointers[0]), p64(pointers[0]), pf64(pointers[1])
    h, k, ab, code = p64(pointers[2]), pf64(pointers[2]), p64(pointers[3]), p16(pointers[4])
    n, m = h[B_COUNT], h[B_HEAD]
    coefficients = stack_words(16)
    partial, nowhere = pf64(stack_words(4)), stack_words(1)
    partial[0], partial[1] = 1.0, -1.0
    pf64(nowhere)[0] = 0.0
    rows = p64(data)[1]
    to_table, to_nowhere = pointers[2] - pointers[1], nowhere - pointers[0]
    i = n - 1
    while i >= m:
        op = code[i - m]
        if bits[i] != UNTOUCHED or op == CODE_SUMS:
            ct = w[i]
            word = ab[i - m]
            a, b = word & MASK, word >> 32
            row = p64(rows + 64 * op)
            if op == CODE_SUMS:
                t = p64(pointers[2] + 8 * word)
                i -= t[S_ROWS] * t[S_COLS] - 1
                sweep_exact_sums(pointers[1], pointers[0], pointers[2], word, i)
            elif row[0]:
                x, y = row[1], row[2]
                partial[2] = pf64(pointers[1] + 8 * a + (to_table & x))[0]
                partial[3] = pf64(pointers[1] + 8 * b + (to_table & y))[0]
                pf64(pointers[0] + (8 * a & ~x) + (to_nowhere & x))[0] += partial[row[3]] * ct + 0.0
                pf64(pointers[0] + (8 * b & ~y) + (to_nowhere & y))[0] += partial[row[4]] * ct + 0.0
            else:
                CASES
        i -= 1
    x = pf64(pointers[5])
    if p64(data)[0] == 1:
        for i in range(m):
            x[i] += w[i]
    else:
        memcpy(pointers[5], pointers[0], 8 * m)
"""
_RESULT = """
def strip_result(args, dims, strides, data):
    h = p64(p64(args)[1])
    start = h[h[B_RESULTS] + p64(data)[0]]
    memcpy(p64(args)[2], p64(args)[0] + 8 * start, 8 * p64(data)[1])
"""
_SPREAD = """
def strip_spread(args, dims, strides, data):
    d, h = p64(data), p64(p64(args)[1])
    start, x, w = h[h[B_RESULTS] + d[0]], pf64(p64(args)[0]), pf64(p64(args)[2])
    if d[2]:
        for i in range(d[3]):
            w[i] = -0.0
    for i in range(d[1]):
        w[start + i] += x[i] if d[4] else x[i] + 0.0
"""


def _unique(line: str, number: int) -> str:
    """Give the temporaries of a case names of their own: numba is slow with many assignments to one."""
    return re.sub(r"\b([cpqoxyz]|t\d+)\b", rf"\1_{number}", line)


def _cases(indent: int, lines_of: Callable[[Code], list[str]], first: list[str]) -> str:
    """An if-chain over opcodes, which LLVM makes a jump table of."""
    pad = "\n" + " " * indent
    text = f"if op == {sf.CODE_CONSTANT}:" + "".join(pad + "    " + line for line in first)
    for number, code in enumerate(codes()):
        if code is not None:
            text += pad + f"elif op == {number}:"
            text += "".join(pad + "    " + _unique(line, number) for line in lines_of(code))
    return text


def _text(name: str) -> str:
    if name == "forward":
        text = _FORWARD.replace("CASES", _cases(8, _primal_lines, ["v[i] = k[a]"]))
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
    text = _text(name)

    def build() -> tuple[dict[str, str], list[bytes]]:
        scope: dict[str, Any] = {
            **SCOPE, "MASK": 0xFFFFFFFF,
            "B_COUNT": sf.B_COUNT, "B_HEAD": sf.B_HEAD, "B_RESULTS": sf.B_RESULTS,
            "CODE_BLOCK": sf.CODE_BLOCK, "CODE_SUMS": sf.CODE_SUMS, "D_SLOTS": sf.D_SLOTS,
            "UNTOUCHED": sf.UNTOUCHED, "S_ROWS": sf.S_ROWS, "S_COLS": sf.S_COLS,
            **{name: getattr(parts, name) for name in parts.__all__},
        }  # fmt: skip
        for word in ("p8", "p16", "p64", "pf64", "memcpy", "free", "stack_words", "call_block"):
            scope[word] = getattr(words, word)
        words.resolve(scope)
        exec(compile(text, f"<strip {name}>", "exec"), scope)
        function = scope[f"strip_{name}"]
        symbol, code = words.compiler().object_code(function, nt.LOOP_SIGNATURE)
        return {"kernel": symbol}, [code]

    source = text + scope_source() + inspect.getsource(parts)
    return machine_code.load_module(f"strip-{name}", source, ("kernel",), build)["kernel"]


@cache
def _kinds() -> int:
    masks = np.zeros(len(codes()), np.uint8)
    for number, code in enumerate(codes()):
        if code is not None:
            masks[number] = sum(1 << i for i, kind in enumerate(code.kinds) if kind != "k")
    machine_code.keep_for_ever(masks)
    return masks.ctypes.data


@cache
def _simple() -> int:
    """Address of a row an opcode, eight words each.

    Whether its derivatives are simple, masks that say which operand is a constant, and the `partials`.
    """
    rows = np.zeros((len(codes()), 8), np.int64)
    for number, code in enumerate(codes()):
        partials = None if code is None else Rule(code).partials()
        if code is not None and partials is not None:
            constant = [-int(kind == "k") for kind in code.kinds.ljust(2, "k")]
            rows[number, :5] = 1, *constant, *partials
    machine_code.keep_for_ever(rows)
    return rows.ctypes.data


#: blocks of this process, by number
_BLOCKS = np.zeros((sf.MOST_BLOCKS, 2), np.int64)
machine_code.keep_for_ever(_BLOCKS)
nt.GLOBALS[nt.G_BLOCKS] = _BLOCKS.ctypes.data


def _blocks() -> int:
    return _BLOCKS.ctypes.data


strip.KERNELS["kinds"] = _kinds
strip.KERNELS["blocks"] = _blocks
strip.KERNELS["simple"] = _simple
for _name in ("forward", "reverse", "exact", "result", "spread"):
    strip.KERNELS[_name] = partial(_kernel, _name)
