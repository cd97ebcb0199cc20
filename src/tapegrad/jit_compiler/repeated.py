"""Places of values, and repeated statements (transforms/roll.py) as a loop.

What a repeated statement computes lies in one buffer, a place for each repetition. An operand that moves
from one repetition to the next is a place in such a buffer, or a view, that moves along the loop. What a
repetition uses of the one before it is, in the first, the result of a statement in front of the loop: that
lies in front of the others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from ..base.dtypes import from_numpy_dtype, real_of
from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS
from ..ops.layout import Layout
from ..transforms.closed_tape import ClosedTape
from ..transforms.roll import Item, Repeat
from .loop_program import Program
from .loops import ARRAY, Buffer, Number, new_loop

__all__ = ["Irregular", "Place", "Region", "Values", "blamed"]

#: repetitions before or behind those of a loop, at most, that are single statements and lie beside them
FURTHEST = 8


class Place(NamedTuple):
    """Place of a value: a buffer, an offset, and strides along the loops of repeated statements."""

    buffer: Buffer
    offset: int
    strides: tuple[tuple[int, int], ...] = ()


class Irregular(Exception):
    """Raised where repeated statements cannot be a loop; `region` says which, where that is known."""

    region: Region | None = None


@contextmanager
def blamed(region: Region) -> Iterator[None]:
    """Let what is irregular be a region's."""
    try:
        yield
    except Irregular as error:
        error.region = region
        raise


class Region:
    """Repeated statements that become a loop.

    Attributes
    ----------
    repeat : Repeat
    before, after : dict
        Statement of the period -> number of repetitions before the first, or behind the last, whose results
        loops use.
    values : dict
        Statement of the period -> its place, with a stride along the repetitions.
    """

    def __init__(self, repeat: Repeat) -> None:
        self.repeat = repeat
        self.loop = new_loop(repeat.count)
        self.loop.in_order = True
        self.before: dict[int, int] = {}
        self.after: dict[int, int] = {}
        self.values: dict[int, tuple[Buffer, int, int]] = {}
        #: views that are looked for: what they were taken for where they led to themselves
        self.resolving: dict[int, tuple[Buffer, int, int] | None] = {}

    def places_of(self, j: int) -> int:
        """Number of places for the results of a statement of the period."""
        return self.before.get(j, 0) + self.repeat.count + self.after.get(j, 0)


class Values:
    """Places of the values of a tape, while its statements become loops.

    Parameters
    ----------
    tape : ClosedTape
    items : sequence of Item
        Single statements, and those that repeat.
    """

    def __init__(self, tape: ClosedTape, items: Sequence[Item]) -> None:
        self.tape = tape
        self.program = Program()
        #: place of each statement's result
        self.places: dict[int, Place] = {}
        self.items = items
        self.regions = [Region(item) for item in items if isinstance(item, Repeat)]
        self.starts = [r.repeat.first for r in self.regions]
        #: statements whose results lie beside those of a region's repetitions, of which they are another one
        self.beside: dict[int, tuple[Region, int, int]] = {}
        self._needed: set[int] = set()
        self.region: Region | None = None

    def place(self, reference: int) -> Place | Number:
        """Place of a value; a number for a constant."""
        raise NotImplementedError

    # ------------------------------------------------------------------ repeated statements
    def region_at(self, statement: int) -> Region | None:
        """The region that a statement is in."""
        i = bisect_right(self.starts, statement) - 1
        return self.regions[i] if i >= 0 and statement < self.regions[i].repeat.stop else None

    def target(self, reference: int, move: int) -> tuple[Region, int, int, int] | None:
        """Find what a reference is that moves from one repetition to the next.

        A region, a statement of its period, the repetition that is referred to first, and how that moves.
        """
        region = self.region_at(reference) or (self.region_at(reference + move) if move else None)
        if region is None:
            if move:
                raise Irregular
            return None
        repeat = region.repeat
        ahead, j = divmod(reference - repeat.first, repeat.period)
        by, rest = divmod(move, repeat.period)
        if rest:
            raise Irregular
        return region, j, ahead, by

    def look_back(self, region: Region) -> None:
        """Find the results in front of a region, or of others, that its operands begin with."""
        repeat, steps = region.repeat, self.tape.segment.steps
        for j in range(repeat.period):
            for o, reference in enumerate(steps[repeat.first + j].references):
                if reference < 0:
                    continue
                target = self.target(reference, int(repeat.moves[j, o]))
                if target is None:
                    continue
                other, k, ahead, by = target
                last = ahead + by * (repeat.count - 1)
                if max(ahead, last) >= other.repeat.count:
                    self.need_late(other, k, max(ahead, last) + 1, repeat.first)
                least = min(ahead, last)
                if least < 0:
                    self.need_early(other, k, -least)

    def need_early(self, region: Region, j: int, count: int) -> None:
        """Let the results of statements in front of a region lie in front of those of its repetitions."""
        if count > FURTHEST:
            raise Irregular
        for n in range(region.before.get(j, 0) + 1, count + 1):
            self.need(region, j, -n)
        region.before[j] = max(region.before.get(j, 0), count)

    def need_late(self, region: Region, j: int, count: int, stop: int) -> None:
        """Let the results of statements behind a region, in front of `stop`, lie behind its repetitions."""
        repeat = region.repeat
        if count > repeat.count + FURTHEST:
            raise Irregular
        for n in range(repeat.count, count):
            if repeat.first + j + n * repeat.period >= stop:
                raise Irregular
            self.need(region, j, n)
        region.after[j] = max(region.after.get(j, 0), count - repeat.count)

    def need(self, region: Region, j: int, repetition: int) -> None:
        """Let the result of a statement be that of a repetition which is not in the loop."""
        repeat, steps = region.repeat, self.tape.segment.steps
        statement = repeat.first + j + repetition * repeat.period
        if statement < 0 or self.region_at(statement) is not None:
            raise Irregular
        single, repeated = (INSTRUCTIONS[steps[k].number] for k in (statement, repeat.first + j))
        if single is not repeated and (  # another one will do that has its result likewise
            single.outs != repeated.outs
            or {single.op.kind, repeated.op.kind} != {nt.COMPUTE}
            or len(single.outs) != 1
        ):
            raise Irregular
        known = self.beside.setdefault(statement, (region, j, repetition))
        if known[0] is not region:
            raise Irregular
        if statement in self._needed:
            return
        self._needed.add(statement)
        reference = steps[repeat.first + j].references[0] if repeated.layouts else -1
        if repeated.op.kind != nt.COMPUTE and reference >= 0:  # it lies where what it shows lies
            target = self.target(reference, int(repeat.moves[j, 0]))
            if target is not None:
                other, k, ahead, by = target
                if other is region and by == 1 and repetition + ahead < 0:
                    self.need_early(region, k, -repetition - ahead)

    def moving(self, region: Region, j: int, o: int, reference: int) -> Place | Number:
        """Place of an operand of a repeated statement."""
        if (j, o) in region.repeat.numbers:
            return self.table(region, region.repeat.numbers[j, o])
        if reference < 0:
            return self.place(reference)
        target = self.target(reference, int(region.repeat.moves[j, o]))
        if target is None:
            return self.places[reference]
        other, k, ahead, by = target
        buffer, offset, stride = self.value_of(other, k)
        extra = ((region.loop.number, stride * by),) if stride * by else ()
        return Place(buffer, offset + stride * ahead, extra)

    def table(self, region: Region, numbers: np.ndarray) -> Place:
        """Memory with a number for each repetition."""
        kind = from_numpy_dtype(numbers.dtype)
        buffer = Buffer(kind, numbers.nbytes, ARRAY, len(self.program.arrays))
        self.program.arrays.append(buffer)
        self.program.tables.append(np.ascontiguousarray(numbers))
        return Place(buffer, 0, ((region.loop.number, kind.itemsize),))

    def value_of(self, region: Region, j: int) -> tuple[Buffer, int, int]:
        """Buffer, offset and stride of the results of a repeated statement."""
        known = region.values.get(j)
        if known is not None:
            return known
        # used before it is computed: by the repetition behind, or in front of the loop
        step = self.tape.segment.steps[region.repeat.first + j]
        instruction = INSTRUCTIONS[step.number]
        if instruction.op.kind in (nt.VIEW, nt.WRITE, nt.ACCUMULATE):
            if j in region.resolving:  # it shows what it showed in the repetition before
                early = self.places.get(region.repeat.first + j - region.repeat.period)
                if early is None:
                    raise Irregular
                known = region.resolving[j] = early.buffer, early.offset, 0
                return known
            region.resolving[j] = None
            place = self.moving(region, j, 0, step.references[0])
            if isinstance(place, Number):
                raise Irregular
            place = self.moved(place, step.offset or 0, int(region.repeat.offsets[j]), region)
            stride = dict(place.strides).get(region.loop.number, 0)
            known = place.buffer, place.offset, stride
            if region.resolving.pop(j) not in (None, known):
                raise Irregular
            region.values[j] = known
            return known
        if instruction.op.kind != nt.COMPUTE or len(instruction.outs) != 1:
            raise Irregular
        out = instruction.out
        span = max(out.span, out.size * out.dtype.itemsize)
        before = region.before.get(j, 0)
        buffer = Buffer(real_of(out.dtype), span * region.places_of(j))
        known = region.values[j] = buffer, before * span, span
        return known

    def moved(self, place: Place, offset: int, moves: int, region: Region | None) -> Place:
        """A place some bytes behind another one."""
        if not moves or region is None:
            return place._replace(offset=place.offset + offset)
        loop = region.loop.number
        strides = dict(place.strides)
        strides[loop] = strides.get(loop, 0) + moves
        pairs = tuple(sorted(p for p in strides.items() if p[1]))
        return Place(place.buffer, place.offset + offset, pairs)

    def keep(self, number: int, place: Place) -> None:
        """Note where a statement's result is."""
        region = self.region
        if region is None:
            self.places[number] = place
            return
        j = number - region.repeat.first
        stride = dict(place.strides).get(region.loop.number, 0)
        known = region.values.setdefault(j, (place.buffer, place.offset, stride))
        if known != (place.buffer, place.offset, stride):
            raise Irregular

    def check_beside(self, region: Region) -> None:
        """See that results in front of a region, and behind others, lie where its loop looks for them."""
        start = region.repeat.first
        for statement, (other, j, repetition) in self.beside.items():
            if statement < start and (other is region or repetition >= 0):
                buffer, offset, stride = self.value_of(other, j)
                if self.places[statement] != Place(buffer, offset + repetition * stride):
                    raise Irregular

    def new(self, number: int, out: Layout) -> Place:
        """Memory for a result."""
        if self.region is not None:
            j = number - self.region.repeat.first
            if j not in self.region.values:
                span = max(out.span, out.size * out.dtype.itemsize)
                before = self.region.before.get(j, 0)
                buffer = Buffer(real_of(out.dtype), span * self.region.places_of(j))
                self.region.values[j] = buffer, before * span, span
            buffer, offset, span = self.region.values[j]
            return Place(buffer, offset, ((self.region.loop.number, span),) if span else ())
        beside = self.beside.get(number)
        if (
            beside is not None
            and len(INSTRUCTIONS[self.tape.segment.steps[number].number].outs) == 1
        ):
            region, j, repetition = beside
            buffer, offset, span = self.value_of(region, j)
            return Place(buffer, offset + repetition * span)
        return Place(Buffer(real_of(out.dtype), max(out.span, out.size * out.dtype.itemsize)), 0)
