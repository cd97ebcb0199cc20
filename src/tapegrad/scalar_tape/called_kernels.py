"""Statements of strips whose opcodes call kernels by address (called_rows.py), in native code."""

from __future__ import annotations

from ..native import abi as nt
from ..native.words import call_loop, float_bits, globals_address, helper, p64, pf64, stack_words
from . import abi as sf
from .abi import K_MEMORY

__all__ = ["call_kernels", "compute_called", "row_of", "sweep_called"]

_MASK = 0xFFFFFFFF


@helper
def row_of(code):  # type: ignore[no-untyped-def]
    """The address of an opcode's row (``K_*``)."""
    rows = p64(p64(globals_address())[nt.G_CALLED])[sf.CALLED_ROWS]
    return rows + 8 * sf.K_WIDTH * (code - sf.FIRST_CALLED)


@helper
def call_kernels(row, memory):  # type: ignore[no-untyped-def]
    """Compute a row's result from the operands at the start of memory."""
    pointers, size, strides = stack_words(8), stack_words(1), stack_words(8)
    p64(size)[0] = 1
    for j in range(8):
        p64(strides)[j] = 8
    for i in range(p64(row)[sf.K_COUNT]):
        call = p64(row + 8 * (sf.K_CALLS + sf.KC_WIDTH * i))
        for j in range(call[sf.KC_COUNT]):
            place = call[sf.KC_OPERANDS + j]
            p64(pointers)[j] = memory + 8 * place if place < sf.K_MEMORY else place
        call_loop(call[sf.KC_KERNEL], pointers, size, strides, call[sf.KC_DATA])


@helper
def compute_called(code, words, number, values, table):  # type: ignore[no-untyped-def]
    """Compute a statement; its operands are in the word at `words`."""
    row, memory, word = row_of(code), stack_words(K_MEMORY), p64(words)[0]
    constants = p64(row)[sf.K_CONSTANTS]
    a, b = word & _MASK, word >> 32
    pf64(memory)[0] = pf64(table if constants & 1 else values)[a]
    pf64(memory)[1] = pf64(table if constants & 2 else values)[b]
    call_kernels(row, memory)
    pf64(values)[number] = pf64(memory)[sf.K_OUT]


@helper
def sweep_called(code, words, number, values, table, ct, adjoints, exact):  # type: ignore[no-untyped-def]
    """Add the parts of a statement's cotangent to those of its operands."""
    memory = stack_words(8)
    args = p64(memory)
    args[0], args[1], args[2], args[3] = code, words, number, values
    args[4], args[5], args[6], args[7] = table, float_bits(ct), adjoints, exact
    sweep = p64(p64(globals_address())[nt.G_CALLED])[sf.CALLED_SWEEP]
    call_loop(sweep, memory, 0, 0, 0)
