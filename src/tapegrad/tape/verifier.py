"""The tape's verifier: every invariant of the arrays, checked one by one.

Pointers make crashes possible, so the sweeps' assumptions are written down here as assertions.
`verify` raises `TapeError` with the first that does not hold. The test suite runs it after every
collection, every forward and every reverse sweep, and at the end of every test (`Tape.check`).
"""

from __future__ import annotations

import ctypes

import numpy as np

from ..base.errors import TapeError
from ..base.locks import TABLE_LOCK
from ..native import abi as nt
from ..ops.instruction import GONE, INSTRUCTIONS
from ..ops.layout import LAYOUTS
from ..ops.pairs import PAIRS, pair_of
from .tape import Tape

__all__ = ["verify", "verify_tables"]


def verify(tape: Tape) -> None:
    """Check a tape.

    Parameters
    ----------
    tape : Tape

    Raises
    ------
    TapeError
        Naming the slot and the invariant that does not hold.
    """
    s = tape.state
    count, done = tape.count, tape.done
    _must(1 <= done <= count <= int(s[nt.S_CAPACITY]) <= len(tape.instruction), 0, "counts")
    _must(s[nt.S_ARG_COUNT] <= s[nt.S_ARG_CAPACITY] <= len(tape.arg), 0, "operand counts")
    for name, field in (
        ("instruction", nt.S_INSTRUCTION), ("arg_start", nt.S_ARG_START), ("arg", nt.S_ARG),
        ("address", nt.S_ADDRESS), ("root", nt.S_ROOT), ("base", nt.S_BASE), ("flags", nt.S_FLAGS),
    ):  # fmt: skip
        _must(getattr(tape, name).ctypes.data == s[field], 0, f"pointer to {name}")
    starts = tape.arg_start[: count + 1]
    _must(bool((np.diff(starts[1:]) >= 0).all()), 0, "arg_start must not fall")
    _must(int(starts[count]) == int(s[nt.S_ARG_COUNT]), count, "arg_start's sentinel")
    numbers = tape.instruction[1:count]
    _must(bool(((numbers >= 0) & (numbers < len(INSTRUCTIONS))).all()), 0, "instruction numbers")
    _must(
        all(INSTRUCTIONS[k] is not GONE for k in set(numbers.tolist())),
        0,
        "an instruction that ended",
    )
    slots = np.arange(count)
    for name in ("root", "base"):
        owner = getattr(tape, name)[:count]
        _must(bool(((owner >= 0) & (owner <= slots)).all()), 0, f"{name} comes first")
        _must(bool((owner[owner] == owner).all()), 0, f"{name} of {name}")
    _handles(tape)
    blocks = _blocks(tape)
    for slot in range(1, count):
        _statement(tape, slot)
        if slot < done and not tape.flags[slot] & nt.POISON:
            _memory(tape, slot, blocks)


def verify_tables() -> None:
    """Check that nothing has ended that instructions or the table of native recording refer to.

    Raises
    ------
    TapeError
        Naming the first that has.
    """
    with TABLE_LOCK:
        for number, instruction in enumerate(INSTRUCTIONS):
            if instruction is GONE:
                continue
            if instruction.id != number:
                raise TapeError(f"instruction {number} has the number {instruction.id}")
            for layout in (*instruction.layouts, *instruction.outs):
                if LAYOUTS[layout.id] is not layout:
                    raise TapeError(f"{instruction!r}: layout {layout.id} has ended")
            for other in instruction.needs:
                if INSTRUCTIONS[other] is GONE:
                    raise TapeError(
                        f"{instruction!r}: instruction {other}, which it needs, has ended"
                    )
        everything = np.array([instruction is not GONE for instruction in INSTRUCTIONS], np.uint8)
        known = np.array([not k or x is not LAYOUTS[0] for k, x in enumerate(LAYOUTS)], np.uint8)
        before = dict(PAIRS.entries)
        PAIRS.keep(everything, known)
        if PAIRS.entries != before:
            key = next(iter(before.keys() - PAIRS.entries.keys()))
            raise TapeError(
                f"native recording knows {before[key]} of op {pair_of(key)[0]}, which has ended"
            )


def _must(condition: bool, slot: int, invariant: str) -> None:
    if not condition:
        raise TapeError(f"tape verifier: slot {slot}: {invariant}")


def _handles(tape: Tape) -> None:
    s = tape.state
    _must(tape._handles.ctypes.data == s[nt.S_HANDLES], 0, "pointer to the handle table")
    while True:  # other threads drop handles when they like: read everything between two of those
        count, free = s[nt.S_HANDLE_COUNT], s[nt.S_HANDLE_FREE]
        table = tape._handles.copy()
        if (count, free) == (s[nt.S_HANDLE_COUNT], s[nt.S_HANDLE_FREE]):
            break
    live = table >= 0
    _must(int(live.sum()) == count, 0, "number of live handles")
    _must(bool((table[live] > 0).all()), 0, "a handle of slot 0")
    _must(bool((table[live] < tape.count).all()), 0, "a handle beyond the tape")
    steps = 0
    while free >= 0 and steps <= len(table):
        free = -2 - int(table[free])
        steps += 1
    _must(steps == len(table) - int(live.sum()), 0, "free list of handles")


def _blocks(tape: Tape) -> list[tuple[int, int]]:
    """Address ranges of the arena of small values."""
    s = tape.state
    count, address = int(s[nt.S_VALUES + nt.A_BLOCK_COUNT]), int(s[nt.S_VALUES + nt.A_BLOCKS])
    if not count:
        return []
    words = (ctypes.c_int64 * count).from_address(address)
    return [(b, b + nt.BLOCK) for b in words]


def _statement(tape: Tape, slot: int) -> None:
    instruction = INSTRUCTIONS[tape.instruction[slot]]
    kind = instruction.op.kind
    start, stop = int(tape.arg_start[slot]), int(tape.arg_start[slot + 1])
    flags = int(tape.flags[slot])
    if flags & nt.STUB:
        _must(stop == start, slot, "a stub has no operands")
        return
    nargs = 1 if kind == nt.OUTPUT else len(instruction.layouts)
    _must(stop - start == nargs + (2 if kind == nt.VIEW else 0), slot, "number of operands")
    args = tape.arg[start : start + nargs]
    _must(bool(((args >= 0) & (args < slot)).all()), slot, "an operand comes before its use")
    for i, a in enumerate(args.tolist()):
        if a:
            out = INSTRUCTIONS[tape.instruction[a]].out
            expected = instruction.layouts[i]
            _must(out is expected, slot, f"layout of operand {i}: {out}, {expected}")
    root, base = int(tape.root[slot]), int(tape.base[slot])
    if kind in (nt.COMPUTE, nt.OUTPUT):
        _must(root == slot and base == slot, slot, "a computed value is its own root and base")
    if kind == nt.VIEW and args[0]:
        _must(base == tape.base[args[0]], slot, "a view lies in its operand's base")
    if flags & nt.ACTIVE:
        _must(instruction.out.dtype.is_inexact, slot, "only floating values are active")


def _memory(tape: Tape, slot: int, blocks: list[tuple[int, int]]) -> None:
    instruction = INSTRUCTIONS[tape.instruction[slot]]
    address, base = int(tape.address[slot]), int(tape.base[slot])
    if instruction.out.span == 0 or address == 0:
        return
    end = address + instruction.out.span
    owner = INSTRUCTIONS[tape.instruction[base]].out
    first = int(tape.address[base])
    if base != slot:
        _must(first != 0, slot, "the base of a view has memory")
        if first <= address and base not in tape.owned:
            _must(end <= first + owner.span, slot, "a view within its base")
        return
    if tape.flags[slot] & nt.EXTERNAL:
        _must(slot in tape.owned, slot, "somebody keeps external memory alive")
        return
    if instruction.out.span <= nt.SMALL:
        inside = any(low <= address and end <= high for low, high in blocks)
        _must(inside, slot, "a small value lies in the arena")
