"""Programs: what an instruction, or the VJP of an instruction for one operand, runs.

A program is a list of `Step`s. A step calls one kernel over an iteration space; its operands are
*references* (an operand or a result of the statement, the cotangent, the adjoint, scratch memory,
or an address) with an offset and strides. `emit` writes steps into the table that the sweeps read.

Elementwise chains become one step of kind STEP_TILES: every node runs over a tile of 1,024 elements
before the next tile starts, so that temporaries stay in the first-level cache (`chain_step`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..base.locks import TABLE_LOCK
from ..base.symbolic import Symbolic, current_image, home_of
from ..native import abi as nt
from .loop_geometry import loop_geometry, loops_in_order

__all__ = [
    "ADJOINT",
    "CT",
    "LANED",
    "ONCE",
    "SCRATCH",
    "ChainNode",
    "Holdings",
    "Operand",
    "Step",
    "Transfer",
    "address_operand",
    "arg",
    "chain_step",
    "constant",
    "emit",
    "holding",
    "offset_words",
    "packed",
    "padded",
    "zero_step",
]  # fmt: skip

# References. Those of operands and results are counted from ARGS; -1 says "the offset is an
# address", -2 is scratch memory with lanes.
SCRATCH, CT, ADJOINT, ONCE, ARGS = nt.T_SCRATCH, nt.T_CT, nt.T_ADJOINT, nt.T_ONCE, nt.T_ARGS
ADDRESS = -1
LANED = nt.LANED_SCRATCH


class Operand(NamedTuple):
    """The place of an operand of a step: a reference, a byte offset, and strides over the step's shape.

    With lanes (many cotangents in one sweep), each element is as many numbers in a row; `lane` is the
    bytes from one to the next, 0 for what is the same for all. Offset and strides are those of one lane.
    """

    ref: int
    offset: int
    strides: tuple[int, ...]
    lane: int = 0


class Transfer(NamedTuple):
    """Memory with lanes, of which a group of steps sees one lane at a time, in scratch memory."""

    memory: Operand
    copy: int
    items: int


class ChainNode(NamedTuple):
    """One kernel of a chain: inputs are operand numbers (>= 0) or earlier nodes (-1 - number)."""

    kernel: tuple[int, int]
    inputs: tuple[int, ...]
    itemsize: int


class Step(NamedTuple):
    """One call of a kernel over an iteration space.

    Attributes
    ----------
    kernel : tuple of int
        Address of the kernel and its data pointer.
    shape : tuple of int
        Iteration space outside the kernel's core dimensions.
    operands : tuple of Operand
        At most 8.
    core : tuple of int
        Core dimensions of a gufunc kernel; they follow the loop length in ``dims``.
    core_strides : tuple of int
        Strides of the core dimensions, operand by operand.
    nodes : tuple of ChainNode
        For STEP_TILES: the chain; the last node writes the last operand.
    scratch : int
        For STEP_TILES: offset in scratch memory where its temporaries lie.
    zero : int
        For STEP_ZERO: bytes to clear.
    group : tuple of Transfer
        For STEP_GROUP: what the next `steps` steps, run for each lane, see a copy of.
    kind : int
        STEP_MUL or STEP_MULADD, for a step with lanes that is such a product; else 0.
    sized : bool
        Whether its one loop is as long as the instruction that runs it says.
    checked : bool
        Whether its kernel may fail, and returns 0 or one more than the element of its loop where it did. The
        loops are those of `shape`, so that the number of the element is that in the batch.
    statement : int
        For a step of a VJP: the statement of the template that it belongs to (slots count from 1).
    """

    kernel: tuple[int, int]
    shape: tuple[int, ...]
    operands: tuple[Operand, ...]
    core: tuple[int, ...] = ()
    core_strides: tuple[int, ...] = ()
    nodes: tuple[ChainNode, ...] = ()
    scratch: int = 0
    zero: int = 0
    group: tuple[Transfer, ...] = ()
    steps: int = 0
    kind: int = 0
    sized: bool = False
    checked: bool = False
    statement: int = 0


def arg(number: int, strides: Sequence[int], offset: int = 0) -> Operand:
    """Operand (or, counted on behind the operands, result) `number` of the statement."""
    return Operand(ARGS + number, offset, tuple(strides))


def address_operand(address: int, ndim: int) -> Operand:
    """A constant in memory, broadcast over `ndim` dimensions."""
    return Operand(ADDRESS, address, (0,) * ndim)


def zero_step(operand: Operand, size: int) -> Step:
    """Clear `size` bytes."""
    return Step((0, 0), (), (operand._replace(strides=()),), zero=max(size, 0))


def padded(size: int) -> int:
    """Bytes of scratch memory for `size` bytes, so that what follows is aligned."""
    return (size + 63) & ~63


_words_of, _bytes_of = struct.Struct("<ii").unpack, struct.Struct("<q").pack


def offset_words(offset: int) -> tuple[int, ...]:
    """Return the two words behind a view's operand that hold its offset in bytes."""
    return _words_of(_bytes_of(offset))


def chain_step(
    shape: tuple[int, ...], nodes: Sequence[ChainNode], operands: Sequence[Operand], scratch: int
) -> Step:
    """An elementwise chain over `shape`; the last operand receives the last node's result."""
    return Step((0, 0), shape, tuple(operands), nodes=tuple(nodes), scratch=scratch)


def chain_scratch(nodes: Sequence[ChainNode]) -> int:
    """Bytes of scratch memory that the temporaries of a chain need."""
    return max(len(nodes) - 1, 0) * _tile_bytes(nodes)


def _tile_bytes(nodes: Sequence[ChainNode]) -> int:
    """Bytes of a temporary of a chain, all of which are of one size."""
    return nt.TILE * max([8, *[node.itemsize for node in nodes]])


# --------------------------------------------------------------------------- constants and tables
class Holdings:
    """Rows, words and constants that belong to one instruction, and end with it."""

    __slots__ = ("constants", "ranges")

    def __init__(self) -> None:
        #: table, first row or word, and number of them
        self.ranges: list[tuple[GrowingTable | _Pool, int, int]] = []
        self.constants: dict[tuple[str, bytes], int] | None = None

    def give_back(self) -> None:
        """Let others use the rows and words. The caller holds the lock, and they are not read any more."""
        while (
            self.ranges
        ):  # what is taken off and not given back, after an interrupt, is lost, no worse
            table, first, count = self.ranges.pop()
            table.release(first, count)


class holding:
    """Context manager: what is written into the tables belongs to an instruction. It holds the lock."""

    def __init__(self, holdings: Holdings) -> None:
        self.holdings = holdings

    def __enter__(self) -> None:
        TABLE_LOCK.acquire()
        _holdings.append(self.holdings)

    def __exit__(self, *_: object) -> None:
        _holdings.pop()
        TABLE_LOCK.release()


#: whose rows and words are written, the innermost last; empty for what stays for ever. Under the lock
_holdings: list[Holdings] = []
_constants: dict[tuple[str, bytes], np.ndarray] = {}
_BITS = {
    16: struct.Struct("<qq"), 8: struct.Struct("<q"), 4: struct.Struct("<i"), 2: struct.Struct("<h"),
    1: struct.Struct("<b"),
}  # fmt: skip


def constant(value: object, dtype: np.dtype) -> int:
    """Address of a constant, which lives as long as the instruction that is being made."""
    if type(value) is Symbolic:
        parts = 2 if dtype.kind == "c" else 1  # the imaginary one is zero
        bits = [value.home.bits(value, dtype.itemsize // parts)]
        address: int = current_image().put(bits + [0] * (dtype.itemsize // 8 - 1))
        return address
    array = np.asarray(value, dtype)
    key = dtype.str, array.tobytes()
    if not _holdings:
        return _constants.setdefault(key, array.copy()).ctypes.data
    known = _holdings[-1].constants
    if known is None:
        known = _holdings[-1].constants = {}
    if key not in known:
        known[key] = POOL.put(_BITS[dtype.itemsize].unpack(key[1]))
    return known[key]


class _Pool:
    """Words at addresses that do not change; those of instructions that ended are used again."""

    BLOCK = 1 << 13
    #: sizes are multiples of this
    UNIT = 4

    def __init__(self) -> None:
        # Blocks by number: their bytes, their addresses, and what keeps them.
        self._blocks: dict[int, memoryview] = {}
        self._starts: dict[int, int] = {}
        self._arrays: dict[int, np.ndarray] = {}
        self._count = self._top = self._next = self._end = 0
        #: for each size the places that were given back: block << 32 | first byte
        self._free: dict[int, list[int]] = {}

    def put(self, words: Sequence[int]) -> int:
        """Write words; their address."""
        if not words:
            return 0
        if home_of(words) is not None:
            address: int = current_image().put(words)
            return address
        with TABLE_LOCK:
            place = self.reserve(len(words))
            self.write(place, words)
            return self.address(place)

    def reserve(self, count: int) -> int:
        """Make room for `count` words; their place. The caller holds the lock."""
        size = -(-count // self.UNIT) * self.UNIT
        try:
            place = self._free[size].pop()
        except (KeyError, IndexError):
            while self._next + size > self._end:
                self._grow(size)
            place, self._next = self._top | 8 * self._next, self._next + size
        if _holdings:
            _holdings[-1].ranges.append((self, place, size))
        return place

    def address(self, place: int) -> int:
        """Address of a place."""
        return self._starts[place >> 32] + (place & 0xFFFFFFFF)

    def write(self, place: int, words: Sequence[int]) -> None:
        """Write words at a place."""
        block, start = self._blocks[place >> 32], place & 0xFFFFFFFF
        struct.pack_into(f"<{len(words)}q", block, start, *words)

    def _grow(self, size: int) -> None:
        array = np.zeros(max(self.BLOCK, size), np.int64)
        view, start, words = memoryview(array).cast("B"), array.ctypes.data, len(array)  # type: ignore[arg-type]
        # Signal handlers come with calls only: there is none from here on.
        number, self._count = self._count, self._count + 1
        self._arrays[number], self._blocks[number], self._starts[number] = array, view, start
        self._top, self._next, self._end = number << 32, 0, words

    def release(self, place: int, size: int) -> None:
        """Let others use words."""
        self._free.setdefault(size, []).append(place)

    @property
    def size(self) -> int:
        """Words in use."""
        free = sum(size * len(places) for size, places in self._free.items())
        return sum(map(len, self._arrays.values())) - (self._end - self._next) - free


class GrowingTable:
    """Rows of int64 words at an address that native code reads from GLOBALS.

    The rows move when the table grows, so they are looked up anew after anything that may reserve some.
    """

    def __init__(self, width: int, field: int, *, held: bool = True) -> None:
        self.width, self.field = width, field
        #: True if rows belong to the instruction that is being made
        self.held = held
        self.rows = np.zeros((1024, width), np.int64)
        self._bytes = memoryview(self.rows).cast("B")  # type: ignore[arg-type]
        #: rows that were ever in use, and those that are
        self.count = self.size = 0
        self._retired: list[np.ndarray] = []  # a sweep of another thread may still read these
        #: for each number of rows the first of those that were given back
        self._free: dict[int, list[int]] = {}
        #: told of rows that are given back: the first, and how many
        self.forget: Callable[[int, int], None] | None = None
        nt.GLOBALS[field] = self.rows.ctypes.data

    def reserve(self, count: int) -> int:
        """Make room for `count` more rows, which the caller fills; the number of the first."""
        try:
            first = self._free[count].pop()
        except (KeyError, IndexError):
            first, self.count = self.count, self.count + count
            while first + count > len(self.rows):
                self._grow()
        self.size += count
        if _holdings and count and self.held:
            _holdings[-1].ranges.append((self, first, count))
        return first

    def _grow(self) -> None:
        """Have twice as many rows."""
        old = self.rows
        rows = np.zeros((2 * len(old), self.width), np.int64)
        view, address, end = memoryview(rows).cast("B"), rows.ctypes.data, len(old)  # type: ignore[arg-type]
        self._retired.append(old)
        # Unless a signal handler was faster; there is no call from here on, so none comes.
        if self.rows is old:
            rows[:end] = old
            self.rows, self._bytes = rows, view
            nt.GLOBALS[self.field] = address

    def write(self, first: int, words: Sequence[int]) -> None:
        """Write the words of successive rows, from row `first` on."""
        struct.pack_into(f"<{len(words)}q", self._bytes, 8 * self.width * first, *words)

    def release(self, first: int, count: int) -> None:
        """Let others use rows."""
        if self.forget is not None:
            self.forget(first, count)
        self.rows[first : first + count] = 0
        self.size -= count
        self._free.setdefault(count, []).append(first)


POOL = _Pool()
STEPS = GrowingTable(nt.P_WIDTH, nt.G_STEPS)


def emit(steps: Sequence[Step]) -> tuple[int, int]:
    """Write steps into the table; the range of their rows."""
    with TABLE_LOCK:
        if not steps:
            return 0, 0
        rows = [_row(step) for step in steps]
        words = [word for row in rows for word in row]
        if home_of(words) is not None:
            return current_image().emit(rows)
        low = STEPS.reserve(len(steps))
        STEPS.write(low, words)
    return low, low + len(steps)


def packed(steps: Sequence[Step]) -> int:
    """The range of `emit` as one word, low half first."""
    low, high = emit(steps)
    return low | high << 32


def _row(step: Step) -> list[int]:
    """The words of a step; all are written in one go, as single ones take most of the time."""
    operands = step.operands
    assert len(operands) <= nt.MAX_OPERANDS
    row = [0] * nt.P_WIDTH
    row[nt.P_NOPS] = len(operands)
    for j, operand in enumerate(operands):
        row[nt.P_REF + j] = operand.ref
        row[nt.P_OFFSET + j] = operand.offset
    if any(o.lane for o in operands):
        row[nt.P_LANES] = POOL.put([o.lane for o in operands])
    if step.steps:
        row[nt.P_KIND], row[nt.P_COUNT] = nt.STEP_GROUP, step.steps
        row[nt.P_DATA] = POOL.put(
            [len(step.group)]
            + [w for t in step.group
               for w in (t.memory.ref, t.memory.offset, t.memory.lane, t.copy, t.items)]
        )  # fmt: skip
        return row
    if not step.kernel[0] and not step.nodes:
        row[nt.P_KIND] = nt.STEP_ZERO
        row[nt.P_COUNT] = step.zero
        return row
    geometry = loops_in_order if step.checked else loop_geometry
    count, inner, outer, outer_strides = geometry(step.shape, [o.strides for o in operands])
    row[nt.P_KERNEL], row[nt.P_DATA] = step.kernel
    row[nt.P_KIND] = nt.STEP_PRODUCT if step.core and row[nt.P_LANES] else step.kind
    if step.checked:
        assert not any(o.lane for o in operands), "a kernel that may fail has no lanes"
        row[nt.P_KIND], row[nt.P_STATEMENT] = nt.STEP_CHECKED, step.statement
    row[nt.P_COUNT] = count
    if step.nodes:
        row[nt.P_KIND] = nt.STEP_TILES
        row[nt.P_DATA] = _chain_data(step)
    dims, strides = (count, *step.core), (*inner, *step.core_strides)
    place = POOL.put((*dims, *strides, *outer, *[s for dim in outer_strides for s in dim]))
    row[nt.P_DIMS] = place
    row[nt.P_STRIDES] = place = place + 8 * len(dims)
    row[nt.P_ONDIM] = nt.SIZED if step.sized else len(outer)
    row[nt.P_ODIMS] = place = place + 8 * len(strides)
    row[nt.P_OSTRIDES] = place + 8 * len(outer)
    return row


def _chain_data(step: Step) -> int:
    words = [len(step.nodes), step.scratch, _tile_bytes(step.nodes)]
    last = len(step.nodes) - 1
    for i, node in enumerate(step.nodes):
        inputs = [*node.inputs, 0, 0, 0, 0][:4]
        out = len(step.operands) - 1 if i == last else -1 - i
        words += [*node.kernel, len(node.inputs), *inputs, out, node.itemsize, 0]
    return POOL.put(words + [node.itemsize for node in step.nodes])
