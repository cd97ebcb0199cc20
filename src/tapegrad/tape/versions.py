"""In-place writes: versions of memory, and the list by which a sweep finds stale residuals.

A tape keeps for each base, oldest first, the marks of the writes that a residual may be older than: twice
the statement that wrote (`mark_of`; where each write comes by, a call is too many), or an odd number
behind a statement that was dropped (`mark_behind`). Memory that several threads' tapes see (cross_thread.py)
has one `Shared` count of writes for all of them; a tape learns of the others' writes in `catch_up`.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Any

import numpy as np

from ..native import abi as nt
from .arrays import Arrays
from .books import Shared

__all__ = [
    "add_write",
    "catch_up",
    "count",
    "is_behind",
    "is_statement",
    "last_mark",
    "last_write",
    "mark_of",
    "note_missing",
    "note_write",
    "renumbered",
    "share",
    "statement_of",
    "version_of",
    "writes_behind",
]


def mark_of(slot: int) -> int:
    """The mark of a write by statement `slot`."""
    return 2 * slot


def mark_behind(slot: int) -> int:
    """The mark of a write behind statement `slot`, by what is no statement of the tape."""
    return 2 * slot + 1


def statement_of(mark: int) -> int:
    """The statement of a mark, or that before it."""
    return mark >> 1


def is_statement(mark: int) -> bool:
    """Return True for the mark of a write by a statement of the tape."""
    return not mark & 1


def version_of(tape: Arrays, slot: int) -> int:
    """Number of times that the memory of a slot was written in place."""
    return tape.versions.get(int(tape.base[slot]), 0)


def note_write(tape: Arrays, slot: int) -> None:
    """Count an in-place write that statement `slot` does."""
    if not tape.flags[slot] & nt.SILENT:
        _count(tape, int(tape.base[slot]), 2 * slot)


def note_missing(tape: Arrays, first: int) -> None:
    """Note the writes of statements from slot `first` on that an interrupt has kept from being noted."""
    for slot in range(first, tape.count):
        written = tape.instruction_of(slot).op.kind in (nt.WRITE, nt.ACCUMULATE)
        if written and mark_of(slot) not in tape.writes.get(int(tape.base[slot]), ()):
            note_write(tape, slot)


def note_write_from_python(tape: Arrays, slot: int) -> None:
    """Count a write to a slot's memory behind all statements so far."""
    _count(tape, int(tape.base[slot]), mark_behind(tape.count - 1))


def count(tape: Arrays, slot: int) -> None:
    """Count a change of the tensor at a slot that leaves its memory as it is."""
    base = int(tape.base[slot])
    tape.versions[base] = tape.versions.get(base, 0) + 1


def _count(tape: Arrays, base: int, mark: int) -> None:
    tape.versions[base] = tape.versions.get(base, 0) + 1
    if tape.shared:
        known = tape.shared.get(base)
        if known is not None:
            shared, seen = known
            shared.version += 1
            tape.shared[base] = shared, seen + 1
    add_write(tape, base, mark)


def add_write(tape: Arrays, base: int, mark: int) -> None:
    """Note a write, and now and then forget those that no residual is older than."""
    tape.last_write = max(tape.last_write, mark >> 1)  # first: an interrupt may come in between
    fresh = [mark]
    marks = tape.writes.setdefault(base, fresh)  # never empty, whatever interrupts this
    if marks is not fresh:
        if marks[-1] <= mark:
            marks.append(mark)
        else:  # a signal handler has written in between
            insort(marks, mark)
    tape.write_count += 1
    if tape.write_count > tape.prune_at:
        count, oldest = tape.write_count, mark_of(_oldest_graph(tape))
        writes = {
            b: kept for b, marks in tape.writes.copy().items()
            if (kept := [m for m in marks if m > oldest or _is_active(tape, m)])
        }  # fmt: skip
        if tape.write_count != count:  # a signal handler or finalizer has just written
            return
        tape.writes, tape.write_count = writes, sum(map(len, writes.values()))
        tape.last_write = _last(writes)
        tape.prune_at = max(64, 2 * tape.write_count)


def writes_behind(tape: Arrays, base: int, slot: int) -> int:
    """Number of writes to a base's memory behind statement `slot`."""
    marks = tape.writes.get(base, [])
    return len(marks) - bisect_right(marks, 2 * slot)


def last_write(tape: Arrays, slot: int, end: int | None = None) -> int:
    """Last statement that wrote into a slot's memory as part of its graph, or the slot.

    Parameters
    ----------
    tape : Arrays
    slot : int
    end : int, optional
        Slot of the last statement to look at.
    """
    base, root = int(tape.base[slot]), int(tape.root[slot])
    if base not in tape.versions:
        return slot
    marks, stop = tape.writes.get(base, ()), 2 * (tape.count if end is None else end)
    for mark in reversed(marks):
        if mark <= 2 * slot:
            break
        if mark <= stop and not mark & 1 and tape.root[mark >> 1] == root:
            return mark >> 1
    return slot


def last_mark(tape: Arrays, slot: int) -> int:
    """Mark of the last write, by any code, to a slot's memory; 0 if there is none."""
    marks = tape.writes.get(int(tape.base[slot]))
    return marks[-1] if marks else 0


def is_behind(tape: Arrays, slot: int, end: int | None = None) -> bool:
    """Return True if a slot's memory was written, by any code, since its statement (up to `end`)."""
    stop = mark_behind(tape.count if end is None else end)
    marks = tape.writes.get(int(tape.base[slot]), ())
    start = mark_of(slot)
    return any(start < mark <= stop for mark in marks)


def share(tape: Arrays, slot: int, shared: Shared | None = None) -> Shared:
    """The count of writes to a slot's memory that other tapes see from now on."""
    base = int(tape.base[slot])
    known = tape.shared.get(base)
    if known is None:
        shared = shared or Shared()
        tape.shared[base] = shared, shared.version
        tape.flags[base] |= nt.VISIBLE
        return shared
    return known[0]


def catch_up(tape: Arrays) -> None:
    """Note the writes of other threads to shared memory since this was called last."""
    for base, (shared, seen) in tape.shared.copy().items():
        now = shared.version
        if now != seen:
            tape.shared[base] = shared, now
            tape.versions[base] = tape.versions.get(base, 0) + now - seen
            add_write(tape, base, mark_behind(tape.count - 1))


def _oldest_graph(tape: Arrays) -> int:
    """The first statement that still keeps residuals."""
    n = tape.count
    flags, roots = tape.flags[:n], tape.root[:n]
    graph = (flags[roots] & nt.ACTIVE != 0) & (flags & (nt.FREED | nt.STUB) == 0)
    graph &= roots == np.arange(n)
    graph &= flags & nt.EXTERNAL == 0
    return int(np.argmax(graph)) if graph.any() else n


def _is_active(tape: Arrays, mark: int) -> bool:
    return not mark & 1 and tape.is_active(mark >> 1)


def renumbered(tape: Arrays, new: np.ndarray) -> dict[str, Any]:
    """The writes that still matter, under the slots' new numbers, and when to prune them."""
    if not tape.writes:
        return {"writes": {}, "write_count": 0, "last_write": 0, "prune_at": 64}
    n = len(new)
    kept = np.cumsum(new >= 0) - 1  # last kept slot at or before each old one, renumbered
    oldest = mark_of(_oldest_graph(tape))
    writes = {}
    for base, marks in tape.writes.copy().items():
        moved = []
        for mark in marks if base < n and new[base] >= 0 else ():
            old = mark >> 1
            if old < n and (mark > oldest or _is_active(tape, mark)):
                dropped = mark & 1 or new[old] < 0
                moved.append(2 * int(kept[old]) + 1 if dropped else 2 * int(new[old]))
        if moved:
            writes[int(new[base])] = moved
    count = sum(map(len, writes.values()))
    return {
        "writes": writes, "write_count": count, "last_write": _last(writes),
        "prune_at": max(64, 2 * count),
    }  # fmt: skip


def _last(writes: dict[int, list[int]]) -> int:
    """The statement of the last of some writes, or that before it."""
    return max((statement_of(marks[-1]) for marks in writes.values()), default=0)
