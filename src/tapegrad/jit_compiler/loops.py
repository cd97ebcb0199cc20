"""Loops: what a closed tape does, as loops over buffers.

A program is a list of nodes: a `Loop` over a body, a `Compute`, which is scalar arithmetic on places in
buffers, or a `Call` of kernels that stay as they are. A place is an `Access`: a buffer, an offset, and a
stride for each loop around it. That says everything about views, broadcasting and reductions: a reduction
is a sum into a place whose stride is 0 along a loop.

Start reading at `Access`, then `depends` and `may_join`, the two questions that fusion asks (fusion.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple, TypeAlias

from ..base.dtypes import dtype
from ..ops.instruction import Instruction

__all__ = [
    "Access",
    "Band",
    "Buffer",
    "Call",
    "Compute",
    "Formula",
    "Loop",
    "Node",
    "Number",
    "Range",
    "Shared",
    "Window",
    "accesses",
    "computes",
    "loops_of",
    "nested",
    "new_loop",
    "new_number",
]  # fmt: skip

INPUT, ARRAY, OUTPUT, TEMPORARY, WINDOW = "input", "array", "output", "temporary", "window"
LOW, HIGH = 0, 1
_numbers = count()


@dataclass(eq=False, slots=True)
class Buffer:
    """Memory of a tape's values.

    Attributes
    ----------
    kind : dtype
        Of its elements.
    span : int
        Bytes.
    role : str
        INPUT, ARRAY, OUTPUT or TEMPORARY; WINDOW for a temporary of which a tile is kept.
    number : int
        Among those of its role.
    identity : int
        Rows of the unit matrix that is there; 0 for anything else.
    private : set of int
        Loops of which each iteration writes what it reads of this memory.
    """

    kind: dtype
    span: int
    role: str = TEMPORARY
    number: int = -1
    identity: int = 0
    private: set[int] = field(default_factory=set)

    def __repr__(self) -> str:
        return f"{self.role}{self.number if self.number >= 0 else id(self) % 9973}"


class Access(NamedTuple):
    """A place in a buffer, for each iteration of the loops around it.

    Attributes
    ----------
    buffer : Buffer
    offset : int
        In bytes.
    strides : tuple of (int, int)
        Number of a loop, and bytes from one iteration to the next; sorted, without zeros.
    """

    buffer: Buffer
    offset: int
    strides: tuple[tuple[int, int], ...]

    def stride(self, loop: int) -> int:
        """Bytes from one iteration of a loop to the next."""
        for number, stride in self.strides:
            if number == loop:
                return stride
        return 0

    def renamed(self, old: int, new: int) -> Access:
        """The access with another loop in the place of one."""
        if not any(number == old for number, _ in self.strides):
            return self
        return self._replace(
            strides=tuple(sorted((new if n == old else n, s) for n, s in self.strides))
        )


class Number(NamedTuple):
    """A constant operand."""

    value: float | int | bool
    kind: dtype


class Formula(NamedTuple):
    """Scalar arithmetic: a row of the op table, or a ufunc, by name, on operands of given dtypes.

    Attributes
    ----------
    name : str
        ``"row:tanh"``, ``"ufunc:add"``, ``"copy"``, ``"cast"``.
    attributes : tuple of (str, object)
        The row's attributes.
    """

    name: str
    attributes: tuple[tuple[str, Any], ...] = ()


Operand: TypeAlias = "Access | Number"


@dataclass(eq=False, slots=True)
class Compute:
    """One assignment of a scalar."""

    formula: Formula
    reads: tuple[Operand, ...]
    write: Access
    result: dtype

    @property
    def adds(self) -> bool:
        """True if it adds to what is there, which it may do in any order."""
        return self.formula.name == "ufunc:add" and self.write in self.reads[:1]


@dataclass(eq=False, slots=True)
class Call:
    """A statement whose kernels are called: operands and results by their addresses."""

    instruction: Instruction
    operands: tuple[Access, ...]
    results: tuple[Access, ...]
    #: numbers of bytes that operands and results cover
    spans: tuple[int, ...]


@dataclass(eq=False, slots=True)
class Loop:
    """A loop; its body runs in order for each iteration."""

    number: int
    extent: int
    body: list[Node] = field(default_factory=list)
    #: True if iterations use what earlier ones have left, so that they stay in order
    in_order: bool = False
    #: True if few iterations run at once, for which short code is best
    is_short: bool = False


class Window(NamedTuple):
    """The part of a temporary that is kept while loops run tile by tile: it moves on with the tiles.

    Attributes
    ----------
    buffer : Buffer
    low : int
        Byte of the temporary at which the window of the first tile begins.
    step : int
        Bytes from one iteration to the next.
    kept : int
        Bytes at the end that are at the beginning of the next tile's window.
    """

    buffer: Buffer
    low: int
    step: int
    kept: int


@dataclass(eq=False, slots=True)
class Band:
    """Loops that run tile by tile: a tile of the first, a tile of the second, and so on.

    A loop is `lags` iterations behind the first one: what it needs of the others is done by then.
    """

    body: list[Node]
    lags: list[int]
    #: iterations of a tile
    tile: int
    windows: list[Window] = field(default_factory=list)


class Range(NamedTuple):
    """The iterations of a loop that a share runs.

    Attributes
    ----------
    first, stop : int
        Iterations from an edge of the share.
    first_edge, stop_edge : int
        LOW or HIGH. At LOW the first share begins with iteration 0, and at HIGH the last one ends with the
        loop, whatever the number.
    """

    first: int
    stop: int
    first_edge: int = LOW
    stop_edge: int = HIGH

    def __str__(self) -> str:
        edges = "low", "high"
        first, stop = (
            f"{edges[self.first_edge]}{self.first:+}",
            f"{edges[self.stop_edge]}{self.stop:+}",
        )
        return f"{first} to {stop}"


@dataclass(eq=False, slots=True)
class Shared:
    """A loop, or a band of loops, in shares, which threads take: each runs the loops for a range.

    Attributes
    ----------
    number : int
        Of the loop over shares, in the strides of what each share has for itself.
    count : int
        Shares.
    size : int
        Iterations of a share; the last one has those that are left, too.
    loop : Loop or Band
    ranges : list of Range
        Of the loops.
    before, after : list of Node
        What a share does before and after its range.
    """

    number: int
    count: int
    size: int
    loop: Loop | Band
    ranges: list[Range]
    before: list[Node] = field(default_factory=list)
    after: list[Node] = field(default_factory=list)

    @property
    def body(self) -> list[Node]:
        """All that a share does."""
        return [*self.before, self.loop, *self.after]


Node: TypeAlias = "Loop | Band | Shared | Compute | Call"


def loops_of(node: Loop | Band) -> list[Loop]:
    """The loops of a band, or the one loop."""
    return [x for x in (node.body if isinstance(node, Band) else [node]) if isinstance(x, Loop)]


def new_number() -> int:
    """Make a number for a loop."""
    return next(_numbers)


def new_loop(extent: int, body: list[Node] | None = None) -> Loop:
    """Make a loop with a number of its own."""
    return Loop(next(_numbers), extent, body if body is not None else [])


def nested(loops: Sequence[Loop], part: Node) -> Node:
    """Put a node into loops, of which the first is the outermost."""
    for loop in reversed(loops):
        loop.body.append(part)
        part = loop
    return part


def computes(node: Node) -> Iterator[Compute | Call]:
    """Iterate over what is computed inside of a node, in order."""
    if isinstance(node, Loop | Band | Shared):
        for part in node.body:
            yield from computes(part)
    else:
        yield node


class Use(NamedTuple):
    """A use of memory: from byte `low` to `high` in each iteration of the loops around the node."""

    access: Access
    low: int
    high: int
    writes: bool
    adds: bool
    #: strides along loops around the node
    outer: tuple[tuple[int, int], ...]

    def meets(self, other: Use) -> bool:
        """Return True if the bytes may be the same; strides along loops around both say where they are."""
        if self.outer != other.outer:
            return True
        return self.low < other.high and other.low < self.high


def accesses(node: Node, inside: dict[int, int] | None = None) -> Iterator[Use]:
    """Iterate over the uses of memory inside of a node, with the bytes that its loops cover."""
    inside = inside or {}
    if isinstance(node, Loop | Band | Shared):
        if not isinstance(node, Band):
            extent = node.extent if isinstance(node, Loop) else node.count
            inside = {**inside, node.number: extent}
        for part in node.body:
            yield from accesses(part, inside)
    elif isinstance(node, Compute):
        for i, read in enumerate(node.reads):
            if isinstance(read, Access):
                yield _use(read, read.buffer.kind.itemsize, inside, False, node.adds and i == 0)
        yield _use(node.write, node.write.buffer.kind.itemsize, inside, True, node.adds)
    else:
        places = (*node.operands, *node.results)
        for i, (place, span) in enumerate(zip(places, node.spans, strict=True)):
            yield _use(place, span, inside, i >= len(node.operands), False)


def _use(access: Access, size: int, inside: dict[int, int], writes: bool, adds: bool) -> Use:
    low, high = access.offset, access.offset + size
    for number, stride in access.strides:
        if number in inside:
            reach = stride * (inside[number] - 1)
            if reach < 0:
                low += reach
            else:
                high += reach
    outer = tuple([p for p in access.strides if p[0] not in inside])
    return Use(access, low, high, writes, adds, outer)
