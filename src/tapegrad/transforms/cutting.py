"""The statements of a trace as a segment, straight from its arrays.

Most traces need nothing that a lifting does: they are cut as they are, in 1 us a statement where a lifting
takes 15.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS, instruction
from ..ops.table import TABLE
from ..tape import versions
from ..tape.constants import Constants
from ..tape.segment import AS_IT_IS, Leaf, Segment, Step
from .trace import Trace

__all__ = ["cut_trace"]


def cut_trace(
    trace: Trace, inputs: Sequence[int], results: Sequence[int]
) -> tuple[Segment, list[int]] | None:
    """Make a segment of what results need.

    Parameters
    ----------
    trace : Trace
    inputs : sequence of int
        Slots that become inputs.
    results : sequence of int

    Returns
    -------
    segment : Segment
        Its inputs are named by their numbers; behind them come arrays that belong to the trace.
    arrays : list of int
        Slots of these.

    None where it takes a lifting: for Functions, and copies that gradients do not pass.
    """
    if trace.contexts:
        return None
    n = trace.count
    kinds, counts, ids = _facts(trace, n)
    starts, args = trace.arg_start[: n + 1].tolist(), trace.arg[: trace.arg_start[n]].tolist()
    bases = trace.base[:n].tolist()
    active = (trace.flags[trace.root[:n]] & nt.ACTIVE).astype(bool).tolist()
    origin = _origins(trace, active)
    if origin is None:
        return None
    targets = [origin.get(r, r) for r in results]
    kept = {i for i in {*ids} if INSTRUCTIONS[i].is_kept}
    also = [slot for slot, i in enumerate(ids) if i in kept] if kept else []
    wanted = _wanted([*targets, *also], kinds, counts, starts, args, bases, origin)
    keys = {slot: key for key, slot in trace.constants.slots.items()}
    numbers = {slot: i for i, slot in enumerate(inputs)}
    written = {
        bases[slot]
        for slot in range(1, n)
        if wanted[slot] and kinds[slot] in (nt.WRITE, nt.ACCUMULATE)
    }
    at: dict[int, int] = {}
    leaves: list[Leaf] = []
    arrays: list[int] = []

    def leaf(slot: int) -> int:
        if slot in numbers:
            entry = Leaf(nt.SEG_INPUT, numbers[slot])
        elif slot in keys:
            entry = Leaf(*keys[slot][::-1])
        else:
            number = _number(trace, slot)
            if number is None:
                number = Leaf(nt.SEG_INPUT, len(inputs) + len(arrays))
                arrays.append(slot)
            entry = number
        leaves.append(entry)
        at[slot] = -len(leaves)
        if slot in written:  # a copy of the constant, as every run begins with it
            if trace.flags[slot] & nt.VISIBLE:
                trace.refuse("writes into memory that others can see")
            clone = instruction(TABLE["clone"], (trace.instruction_of(slot).out,))
            at[slot] = len(steps)
            steps.append(Step(clone.id, (-len(leaves),)))
        return at[slot]

    steps: list[Step] = []
    noted: list[int] = []
    for slot in np.flatnonzero(np.frombuffer(wanted, np.uint8)).tolist():
        kind = kinds[slot]
        if kind == nt.LEAF or kind == nt.OUTPUT:
            continue
        start, count = starts[slot], counts[slot]
        operands = args[start : start + count]
        if origin:
            operands = [origin.get(a, a) for a in operands]
        references = tuple([at[a] if a in at else leaf(a) for a in operands])
        offset = None
        if kind == nt.VIEW:
            offset = (args[start + 2] << 32) | (args[start + 1] & 0xFFFFFFFF)
        mode = AS_IT_IS
        if not active[slot] and any([active[a] for a in operands]):
            mode = 0
        at[slot] = place = len(steps)
        steps.append(Step(ids[slot], references, offset, mode))
        for j, output in enumerate(INSTRUCTIONS[ids[slot]].outputs, 1):
            at[slot + j] = place + j
            steps.append(Step(output.id, (place,)))
        is_write = kind in (nt.WRITE, nt.ACCUMULATE)
        if is_write and versions.mark_of(slot) in trace.writes.get(bases[slot], ()):
            noted.append(place)
    references = tuple([at[r] if r in at else leaf(r) for r in targets])
    return Segment(tuple(steps), tuple(leaves), references, tuple(noted)), arrays


def _facts(trace: Trace, n: int) -> tuple[list[int], list[int], list[int]]:
    """Kind, number of operands and instruction of each statement."""
    numbers, where = np.unique(trace.instruction[:n], return_inverse=True)
    kinds = np.array([INSTRUCTIONS[i].op.kind for i in numbers.tolist()])
    counts = np.array([len(INSTRUCTIONS[i].layouts) for i in numbers.tolist()])
    return kinds[where].tolist(), counts[where].tolist(), trace.instruction[:n].tolist()


def _origins(trace: Trace, active: Sequence[bool]) -> dict[int, int] | None:
    """The slots that private copies are of; None if gradients of one would pass."""
    origin: dict[int, int] = {}
    for copy, slot in trace.copies.items():
        source = origin.get(slot, slot)
        if active[source] or int(trace.base[source]) in trace.versions:
            return None
        origin[copy] = source
    return origin


def _wanted(
    targets: Sequence[int], kinds: Sequence[int], counts: Sequence[int], starts: Sequence[int],
    args: Sequence[int], bases: Sequence[int], origin: dict[int, int],
) -> bytearray:  # fmt: skip
    """Marks of what results need, and of what writes into the memory of that."""
    n = len(kinds)
    wanted, memory = bytearray(n), bytearray(n)
    for slot in targets:
        wanted[slot] = memory[bases[slot]] = 1
    for slot in range(n - 1, 0, -1):
        kind = kinds[slot]
        if not wanted[slot]:
            if not (kind in (nt.WRITE, nt.ACCUMULATE) and memory[bases[slot]]):
                continue
            wanted[slot] = 1
        start = starts[slot]
        if kind == nt.OUTPUT:  # a further result of the statement in front of it
            first = slot - 1
            while kinds[first] == nt.OUTPUT:
                first -= 1
            wanted[first] = 1
            continue
        for a in args[start : start + counts[slot]]:
            if origin:
                a = origin.get(a, a)
            wanted[a] = memory[bases[a]] = 1
    return wanted


def _number(trace: Trace, slot: int) -> Leaf | None:
    """A leaf that is a number; None for memory, or what others see."""
    layout = trace.instruction_of(slot).out
    if layout.ndim or slot in trace.leaves or trace.flags[slot] & nt.VISIBLE:
        return None
    owner = trace.owned[slot]
    array = np.asarray(getattr(owner, "array", owner))
    return Leaf(*Constants.key(array.reshape(()), layout.dtype)[::-1])
