"""Ranges: the iterations of each loop of a band that a share of it runs.

What a loop reads at a distance may be another share's. There are two ways out:

- `with_margins`: shares leave out the iterations at their ends that need another share's; loops behind do
  these (sharing.py);
- `with_slices`: windows are memory that each thread has for itself, so a share computes itself what it needs
  of them beyond its ends. It runs a *slice* of a loop there, the part of the body that the window depends on.
  Everything else is written once, in ranges that are shifted so that all iterations that use the same bytes
  are in one share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from .fusion import Uses, differences, pairs, rename
from .loops import HIGH, LOW, WINDOW, Access, Band, Compute, Loop, Range, Use, computes, new_loop

__all__ = ["Slices", "with_margins", "with_slices"]

#: iterations that are not worth code for vectors
SHORT = 16


def with_margins(loops: Sequence[Loop]) -> list[Range] | None:
    """Ranges without iterations that use what other shares do; None if there are none."""
    links = _links(loops)
    if links is None:
        return None
    margins = [(0, 0)] * len(loops)
    for link in links:  # those of each loop come before those of loops behind it
        (ahead, behind), before = margins[link.later], margins[link.earlier]
        ahead, behind = max(ahead, before[0] - link.least), max(behind, before[1] + link.most)
        margins[link.later] = ahead, behind
    return [Range(ahead, -behind) for ahead, behind in margins]


def _are_apart(one: Use, other: Use, earlier: Loop, later: Loop) -> bool:
    """Return True if uses do not meet, or add to one place, which each share has for itself."""
    if not one.meets(other):
        return True
    s, t = one.access.stride(earlier.number), other.access.stride(later.number)
    return s == t == 0 and one.adds and other.adds


# --------------------------------------------------------------------------- slices
class Slices(NamedTuple):
    """Loops of a band in shares, with those that go over slices.

    Attributes
    ----------
    loops : list of Loop
    lags : list of int
    ranges : list of Range
    """

    loops: list[Loop]
    lags: list[int]
    ranges: list[Range]


def with_slices(band: Band, loops: Sequence[Loop], private: Collection[int]) -> Slices | None:
    """Ranges in which all but windows is written once; None if there are none.

    Parameters
    ----------
    band : Band
    loops : sequence of Loop
        Those of the band.
    private : collection of int
        Buffers that each iteration writes before it reads them.
    """
    links = _links(loops)
    shifts = None if links is None else _shifts(band.lags, [x for x in links if not x.in_window])
    if links is None or shifts is None:
        return None
    links = [x for x in links if x.writes]  # others of windows are no need for more
    slices = [_slice(loop, private) for loop in loops]
    has_more = [len(part) < len(loop.body) for part, loop in zip(slices, loops, strict=True)]
    #: iterations, from the edges: those that write something beside windows, and what these need
    needed: list[tuple[int, int] | None] = [
        (-shift, -shift) if more else None for shift, more in zip(shifts, has_more, strict=True)
    ]
    for link in sorted(links, key=lambda x: -x.later):
        low, high = needed[link.later] or (0, 0)
        if link.in_window and needed[link.later] is not None:
            first, stop = low + link.least, high + link.most
            low, high = needed[link.earlier] or (first, stop)
            needed[link.earlier] = min(low, first), max(high, stop)
    written = {id(x.buffer) for loop in loops for x in _writes(loop)} - set(private)
    result = Slices([], [], [])

    def put(loop: Loop, lag: int, part: Range) -> None:
        result.loops.append(loop)
        result.lags.append(lag)
        result.ranges.append(part)

    for k, (loop, lag) in enumerate(zip(loops, band.lags, strict=True)):
        part, edge = needed[k], -shifts[k]
        if part is None:
            continue  # of no use to anybody
        first, stop = part
        if (first, stop) != (edge, edge) and not _is_free(slices[k], written):
            return None
        low, high = (edge, edge) if has_more[k] else (first, stop)
        if first < low:
            put(_loop_of(slices[k], loop, low - first), lag, Range(first, low, LOW, LOW))
        put(loop, lag, Range(low, high))
        if stop > high:
            put(_loop_of(slices[k], loop, stop - high), lag, Range(high, stop, HIGH, HIGH))
    return result


class _Link(NamedTuple):
    """Iterations of two loops that use the same bytes, by their least and largest difference."""

    earlier: int
    later: int
    least: int
    most: int
    #: whether the earlier one writes
    writes: bool
    in_window: bool


def _links(loops: Sequence[Loop]) -> list[_Link] | None:
    """Uses of the same bytes; None if loops use them in another way than one behind the other."""
    uses = [Uses(loop) for loop in loops]
    links: list[_Link] = []
    for j, later in enumerate(loops):
        for i, earlier in enumerate(loops[:j]):
            for one, other in pairs(uses[i], uses[j], with_sums=True):
                if _are_apart(one, other, earlier, later):
                    continue
                difference = differences(earlier, later, one, other)
                if difference is None:
                    return None
                least, most = difference
                if least <= most:
                    in_window = one.access.buffer.role == WINDOW
                    links.append(_Link(i, j, least, most, one.writes, in_window))
    return links


def _shifts(lags: Sequence[int], links: Sequence[_Link]) -> list[int] | None:
    """Numbers of iterations by which loops are behind: those that use the same bytes are in one share.

    None if there are none.
    """
    shifts: list[int | None] = [None] * len(lags)
    for root, lag in enumerate(lags):
        if shifts[root] is not None:
            continue
        shifts[root], reached = lag, [root]
        for place in reached:
            mine = shifts[place] or 0
            for i, j, least, most, *_ in links:
                if place not in (i, j):
                    continue
                other, shift = (j, mine + least) if place == i else (i, mine - least)
                if least != most or shifts[other] not in (None, shift):
                    return None
                if shifts[other] is None:
                    shifts[other] = shift
                    reached.append(other)
    return [x or 0 for x in shifts]


def _writes(loop: Loop) -> Iterator[Access]:
    return (x.write for x in computes(loop) if isinstance(x, Compute))


def _slice(loop: Loop, private: Collection[int]) -> list[Compute]:
    """The part of a body that writes windows, and what that needs."""
    needed: set[int] = set()
    result: list[Compute] = []
    for part in reversed(loop.body):
        assert isinstance(part, Compute)  # loops of a band are innermost ones
        buffer = part.write.buffer
        if buffer.role == WINDOW or id(buffer) in needed:
            result.append(part)
            reads = {id(x.buffer) for x in part.reads if isinstance(x, Access)}
            needed |= reads & set(private)
    return result[::-1]


def _is_free(part: Sequence[Compute], written: Collection[int]) -> bool:
    """Return True if a slice reads nothing that another share may write."""
    reads = (x.buffer for c in part for x in c.reads if isinstance(x, Access))
    return all(x.role == WINDOW or id(x) not in written for x in reads)


def _loop_of(part: Sequence[Compute], loop: Loop, iterations: int) -> Loop:
    """A loop over a slice of another one, of which a share runs some iterations."""
    result = new_loop(loop.extent, [Compute(c.formula, c.reads, c.write, c.result) for c in part])
    rename(result.body, loop.number, result.number)
    result.is_short = iterations <= SHORT
    return result
