"""Statements that repeat: where a tape does the same again and again, as the trace of a Python loop does.

`rolled` finds ranges of statements in which the same instructions follow each other with a period, and in
which every operand moves by the same number of statements from one repetition to the next: by none (it is
the same for all), by a period (what this repetition, or one before it, has computed), or by those of
another such range (a reverse pass goes through the repetitions of its forward pass backwards). Numbers may
be others each time.

Candidates for periods come from runs of eight instructions that occur again; whether they repeat is looked
at for all repetitions at once, by NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from ..native import abi as nt
from ..tape.constants import Constants
from ..tape.segment import Segment

__all__ = ["Item", "Repeat", "rolled", "shortened"]

#: repetitions, and statements of all together, from which a loop is worth it
FEWEST, SHORTEST = 4, 48
#: length of the runs that are looked for, and periods that are tried at a place
RUN, TRIES = 8, 6
LONGEST = 1 << 13


@dataclass(eq=False)
class Repeat:
    """A range of statements that repeat.

    Attributes
    ----------
    first, period, count : int
        The range is ``first`` to ``first + period * count``.
    moves : ndarray of int64
        For each statement of a period and each operand, statements that it moves by each time.
    offsets : ndarray of int64
        For each statement of a period, bytes that the offset of a view moves by.
    numbers : dict
        (statement of the period, operand) -> the numbers that it is, one a repetition.
    tried, whole : int, Repeat or None
        How often it was `shortened`, and what it was before.
    """

    first: int
    period: int
    count: int
    moves: np.ndarray
    offsets: np.ndarray
    numbers: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    tried: int = 0
    whole: Repeat | None = None

    @property
    def stop(self) -> int:
        """The first statement behind it."""
        return self.first + self.period * self.count


Item: TypeAlias = "int | Repeat"
#: repetitions that are left out at the beginning and at the end, in the order in which that is tried
_SHORTER = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0))


def shortened(items: Sequence[Item], repeat: Repeat) -> list[Item]:
    """Leave repetitions at the ends to single statements, as they may be irregular; at last, all."""
    whole = repeat.whole or repeat
    parts: list[Item] = list(range(whole.first, whole.stop))
    if repeat.tried < len(_SHORTER) and whole.count >= FEWEST + 2:
        front, back = _SHORTER[repeat.tried]
        start, count = whole.first + front * whole.period, whole.count - front - back
        numbers = {key: x[front : front + count] for key, x in whole.numbers.items()}
        part = Repeat(
            start, whole.period, count, whole.moves, whole.offsets, numbers, repeat.tried + 1, whole
        )
        parts = [*range(whole.first, start), part, *range(part.stop, whole.stop)]
    before = [x for x in items if (x if isinstance(x, int) else x.first) < whole.first]
    behind = [x for x in items if (x if isinstance(x, int) else x.first) >= whole.stop]
    return [*before, *parts, *behind]


class _Arrays:
    """A segment as arrays."""

    def __init__(self, segment: Segment) -> None:
        steps = segment.steps
        self.segment = segment
        self.ids = np.array([s.number for s in steps], np.int64)
        widest = max((len(s.references) for s in steps), default=0)
        self.widest = min(widest, 8)
        rows = [
            (*s.references[:8], *(0,) * (self.widest - len(s.references)))
            if len(s.references) <= 8 else (0,) * self.widest
            for s in steps
        ]  # fmt: skip
        self.references = np.array(rows, np.int64).reshape(len(steps), self.widest)
        self.counts = np.array([len(s.references) for s in steps], np.int64)
        self.ids[self.counts > 8] = -1 - np.flatnonzero(self.counts > 8)  # never alike
        self.offsets = np.array([s.offset or 0 for s in steps], np.int64)
        modes = np.array([s.mode for s in steps], np.int64)
        self.tokens = self.ids * 8 + modes + 2
        #: for each leaf, from the last: the dtype's code of a number, or -1
        codes = [leaf.code if leaf.code != nt.SEG_INPUT else -1 for leaf in segment.leaves]
        self.codes = np.array(codes[::-1] or [-1], np.int64)


def rolled(segment: Segment) -> list[Item]:
    """Find the statements that repeat; numbers of single ones, and `Repeat`s, in order."""
    count = len(segment.steps)
    if count < SHORTEST:
        return list(range(count))
    arrays = _Arrays(segment)
    again = _next_runs(arrays.tokens)
    items: list[Item] = []
    k = 0
    while k < count:
        repeat = _repeat_at(arrays, again, k)
        if repeat is None:
            items.append(k)
            k += 1
            continue
        items += range(k, repeat.first)
        items.append(repeat)
        k = repeat.stop
    return items


def _next_runs(tokens: np.ndarray) -> np.ndarray:
    """For each statement the next one from which the same run of instructions follows; 0 if there is none."""
    count = len(tokens) - RUN + 1
    again = np.zeros(len(tokens), np.int64)
    if count <= 0:
        return again
    mixed = np.zeros(count, np.uint64)
    for i in range(RUN):
        part = tokens[i : i + count].astype(np.uint64) + np.uint64(i + 1)
        part *= np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (part ^ (part >> np.uint64(29)))) * np.uint64(0xBF58476D1CE4E5B9)
    order = np.argsort(mixed, kind="stable")
    same = mixed[order][1:] == mixed[order][:-1]
    again[order[:-1][same]] = order[1:][same]
    return again


def _periods(again: np.ndarray, k: int) -> Iterator[int]:
    """Periods that may begin at a statement, the shortest first."""
    place, tried = k, 0
    while (place := int(again[place])) and tried < TRIES and place - k <= LONGEST:
        yield place - k
        tried += 1


def _repeat_at(arrays: _Arrays, again: np.ndarray, k: int) -> Repeat | None:
    """The largest repeat that begins at a statement, or a few repetitions behind it."""
    best: Repeat | None = None
    for period in _periods(again, k):
        length = _agreement(arrays.tokens, k, period)
        count = length // period + 1
        if count < FEWEST or count * period < SHORTEST:
            continue
        repeat = _regular(arrays, k, period, count)
        if repeat is None:
            continue
        if best is None or repeat.period * repeat.count > 1.5 * best.period * best.count:
            best = repeat
    return best


def _agreement(tokens: np.ndarray, k: int, period: int) -> int:
    """Number of statements from `k` on that have the instruction of the one a period later."""
    step, start = 256, k
    end = len(tokens) - period
    while start < end:
        stop = min(start + step, end)
        different = tokens[start:stop] != tokens[start + period : stop + period]
        if different.any():
            return start - k + int(different.argmax())
        start, step = stop, 4 * step
    return max(end - k, 0)


def _regular(arrays: _Arrays, k: int, period: int, count: int) -> Repeat | None:
    """The longest range of these repetitions in which operands move regularly, if it is long enough."""
    stop = k + period * count
    references = arrays.references[k:stop].reshape(count, period, arrays.widest)
    offsets = arrays.offsets[k:stop].reshape(count, period)
    moves = references[1:] - references[:-1]
    steps = offsets[1:] - offsets[:-1]
    # A number may be another one each time: it then counts as one that stays.
    codes = np.where(references < 0, arrays.codes[np.minimum(references, -1)], -2)
    numbers = (codes[1:] == codes[:-1]) & (codes[1:] >= 0)
    moves = np.where(numbers, 0, moves)
    mixed = (references[1:] < 0) != (references[:-1] < 0)
    inputs = (references[1:] < 0) & ~numbers & (moves != 0)
    whole = ~(mixed | inputs).any(axis=(1, 2))
    steady = whole.copy()
    steady[1:] &= (
        (moves[1:] == moves[:-1]).all(axis=(1, 2))
        & (steps[1:] == steps[:-1]).all(axis=1)
        & whole[:-1]
    )
    # steady[i]: the move to repetition i + 1 is the one to repetition i
    first, longest = 0, 0
    edges = np.flatnonzero(~steady)
    borders = [0, *(int(e) for e in edges), len(steady)]
    for a, b in pairwise(borders):
        begin = a if a < len(whole) and whole[a] else a + 1
        if b - begin > longest:
            first, longest = begin, b - begin
    total = longest + 1
    if total < FEWEST or total * period < SHORTEST or first > 64:
        return None
    repeat = Repeat(k + first * period, period, total, moves[first], steps[first])
    for j, o in np.argwhere(numbers[first : first + longest].all(axis=0)):
        leaves = references[first : first + total, j, o]
        if (leaves != leaves[0]).any():
            repeat.numbers[int(j), int(o)] = _values(arrays.segment, leaves)
    return repeat


def _values(segment: Segment, references: np.ndarray) -> np.ndarray:
    leaves = [segment.leaves[~int(r)] for r in references]
    return np.array([Constants.array(leaf.value, leaf.code) for leaf in leaves])
