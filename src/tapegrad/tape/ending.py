"""Instructions and layouts that nothing needs end, and their numbers and rows serve others.

Every new shape brings some layouts and instructions, with programs and templates. An instruction is needed

- by a statement on any thread's tape (natively recorded statements are numbers in arrays),
- by another instruction, whose templates and programs refer to it (`Instruction.needs`),
- by a Python object: a local variable of some function of tapegrad, a plan. References count that.

Code that stores the number of an instruction or of a layout where none of these sees it holds the object
beside it, or empties its store when told (`CACHES`). So a number never outlives its instruction or layout.

When there are many (`LIMIT`), those that are not needed and that no statement was recorded of since the last
time end: they are taken out of all tables that lead to them, looked at once more, and then their rows are
given back. Layouts follow, by their references alone.

Start reading at `end_unneeded`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable

import numpy as np

from ..base.locks import TABLE_LOCK
from ..native import abi as nt
from ..native.builtin_calls import native_call
from ..ops.instruction import (
    CACHES,
    GONE,
    INSTRUCTIONS,
    ITAB,
    LIMIT,
    OUTPUT,
    ROUNDS,
    Instruction,
    give_back,
    interned,
)
from ..ops.layout import ENDING, LAYOUTS, end_layouts, reference_counts
from ..ops.pairs import PAIRS
from .memory_views import address_of
from .tape import EXISTING

__all__ = ["end_unneeded", "stressed"]

_mark_used = native_call("used_entry")


def end_unneeded(*, recent: bool = True) -> int:
    """Let instructions and layouts end that nothing needs; return the number of those instructions.

    Parameters
    ----------
    recent : bool
        Whether those stay that were used since the last time.
    """
    with TABLE_LOCK:
        if ENDING.now:  # a signal handler or finalizer asks
            return 0
        try:
            ENDING.now = True
            return _end_unneeded(recent)
        finally:
            ENDING.now = False


def _end_unneeded(recent: bool) -> int:
    for clear in CACHES:
        clear()
    marks = _on_tapes()
    if marks is None:
        return 0
    if recent:
        marks |= ITAB.rows[: len(marks), nt.I_USED] != 0
    _add(marks, np.flatnonzero(marks).tolist())
    _add(marks, _referenced(INSTRUCTIONS, marks))
    known = marks.tobytes()
    unneeded = [each for each in INSTRUCTIONS if each is not GONE and not known[each.id]]
    # No table leads to them from here on. Should something interrupt this, there will be two alike.
    for key in [each.key for each in unneeded]:
        interned.pop(key, None)
    PAIRS.keep(marks, np.ones(len(LAYOUTS), np.uint8))
    # Another thread may have got one before.
    again = _on_tapes()
    _add(marks, range(len(marks)) if again is None else np.flatnonzero(again).tolist())
    _add(marks, _referenced(unneeded, marks))
    ended = [each for each in unneeded if not marks[each.id]]
    interned.update({each.key: each for each in unneeded if marks[each.id] and each.key})
    count = len(ended)
    while ended:
        give_back(ended.pop())
    del unneeded  # the last references: layouts may end, too
    ITAB.rows[:, nt.I_USED] = 0
    end_layouts(_forget_layouts)
    ROUNDS.limit = max(LIMIT, ITAB.size + max(LIMIT, ITAB.size) // 2)
    ROUNDS.count += 1
    _trim(0)  # one or two milliseconds, a hundredth of the time for so many new shapes
    return count


def _trimming() -> Callable[[int], object]:
    """Glibc's function that gives pages without a live allocation back to the system, if it is there.

    New shapes come with buffers of new sizes, and pages between two live ones stay with the process.
    """
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return int


_trim = _trimming()


def _forget_layouts(layouts: np.ndarray) -> None:
    PAIRS.keep(np.array([each is not GONE for each in INSTRUCTIONS], np.uint8), layouts)


def _on_tapes() -> np.ndarray | None:
    """A mark for each instruction that a statement is of; None while a tape is being destroyed."""
    marks = np.zeros(len(INSTRUCTIONS), np.uint8)
    address = address_of(marks)
    for pointer, reference in EXISTING.copy().items():
        tape = reference()
        if tape is not None:
            _mark_used(pointer, address)
        elif pointer in EXISTING:
            return None
    return marks


def _is_held(instruction: Instruction) -> bool:
    """Return True if something but the instruction refers to one of its templates, or to its rules."""
    if not instruction.rules and instruction.vjp is None and instruction.masked_vjp is None:
        return False  # as most are whose programs were filled in
    kept = [t for t in (instruction.vjp, instruction.masked_vjp) if t is not None]
    kept += [rules for rules in instruction.rules.values() if rules is not None]
    return any(count > 1 for count in reference_counts(kept))


def _referenced(some: list[Instruction], marks: np.ndarray) -> list[int]:
    """Numbers of those of some instructions, without a mark, that Python objects refer to."""
    counts = reference_counts(some)
    known = marks.tobytes()
    others = some is not INSTRUCTIONS  # then it is in that list, too
    return [
        each.id
        for each, count in zip(some, counts, strict=True)
        if each is not GONE
        and not known[each.id]
        and (count > others + _links(each) or _is_held(each))
    ]


def _links(instruction: Instruction) -> int:
    """References to an instruction from the tables, and from the one whose further result it is of."""
    return (interned.get(instruction.key) is instruction) + (instruction.op is OUTPUT)


def _add(marks: np.ndarray, numbers: Iterable[int]) -> None:
    """Mark instructions, and those that they need."""
    pending = list(numbers)
    marks[pending] = 1
    while pending:
        for number in INSTRUCTIONS[pending.pop()].needs:
            if not marks[number]:
                marks[number] = 1
                pending.append(number)


class stressed:
    """Context manager for tests: all that is not needed ends whenever an instruction is made."""

    def __enter__(self) -> None:
        self._before = ROUNDS.limit, ROUNDS.end
        ROUNDS.limit, ROUNDS.end = 0, self._end

    def __exit__(self, *_: object) -> None:
        ROUNDS.limit, ROUNDS.end = self._before

    @staticmethod
    def _end() -> None:
        end_unneeded(recent=False)
        ROUNDS.limit = 0


ROUNDS.end = end_unneeded
