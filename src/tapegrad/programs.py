"""Programs: what an instruction, or the VJP of an instruction for one operand, runs.

A program is a list of `Step`s. A step calls one kernel over an iteration space; its operands are
*references* (an operand or a result of the statement, the cotangent, the adjoint, scratch memory,
or an address) with an offset and strides. `emit` writes steps into the table that the sweeps read.

Elementwise chains become one step of kind STEP_TILES: every node runs over a tile of 1,024 elements
before the next tile starts, so that temporaries stay in the first-level cache (`chain_step`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from . import native as nt
from .layouts import loop_geometry

__all__ = [
    "ADJOINT",
    "CT",
    "LANED",
    "SCRATCH",
    "Node",
    "Operand",
    "Step",
    "Transfer",
    "address_operand",
    "arg",
    "chain_step",
    "constant",
    "emit",
    "packed",
    "zero_step",
]  # fmt: skip

# References. Those of operands and results are counted from ARGS; -1 says "the offset is an
# address", -2 is scratch memory with lanes.
SCRATCH, CT, ADJOINT, ARGS = range(4)
ADDRESS = -1
LANED = nt.LANED_SCRATCH


class Operand(NamedTuple):
    """Where an operand of a step is: a reference, a byte offset, and strides over the step's shape.

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


class Node(NamedTuple):
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
    nodes : tuple of Node
        For STEP_TILES: the chain; the last node writes the last operand.
    scratch : int
        For STEP_TILES: offset in scratch memory where its temporaries lie.
    zero : int
        For STEP_ZERO: bytes to clear.
    group : tuple of Transfer
        For STEP_GROUP: what the next `steps` steps, run for each lane, see a copy of.
    kind : int
        STEP_MUL or STEP_MULADD, for a step with lanes that is such a product; else 0.
    """

    kernel: tuple[int, int]
    shape: tuple[int, ...]
    operands: tuple[Operand, ...]
    core: tuple[int, ...] = ()
    core_strides: tuple[int, ...] = ()
    nodes: tuple[Node, ...] = ()
    scratch: int = 0
    zero: int = 0
    group: tuple[Transfer, ...] = ()
    steps: int = 0
    kind: int = 0


def arg(number: int, strides: Sequence[int], offset: int = 0) -> Operand:
    """Operand (or, counted on behind the operands, result) `number` of the statement."""
    return Operand(ARGS + number, offset, tuple(strides))


def address_operand(address: int, ndim: int) -> Operand:
    """A constant in memory, broadcast over `ndim` dimensions."""
    return Operand(ADDRESS, address, (0,) * ndim)


def zero_step(operand: Operand, size: int) -> Step:
    """Clear `size` bytes."""
    return Step((0, 0), (), (operand._replace(strides=()),), zero=max(size, 0))


def chain_step(
    shape: tuple[int, ...], nodes: Sequence[Node], operands: Sequence[Operand], scratch: int
) -> Step:
    """An elementwise chain over `shape`; the last operand receives the last node's result."""
    return Step((0, 0), shape, tuple(operands), nodes=tuple(nodes), scratch=scratch)


def chain_scratch(nodes: Sequence[Node]) -> int:
    """Bytes of scratch memory that the temporaries of a chain need."""
    return max(len(nodes) - 1, 0) * 8 * nt.TILE


# --------------------------------------------------------------------------- constants and pools
_constants: dict[tuple[str, bytes], np.ndarray] = {}


def constant(value: object, dtype: np.dtype) -> int:
    """Address of a constant that lives as long as the process."""
    array = np.asarray(value, dtype)
    return _constants.setdefault((dtype.str, array.tobytes()), array.copy()).ctypes.data


class _Pool:
    """Words that never move, handed out one after the other."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []
        self._next = 0

    def put(self, words: Sequence[int]) -> int:
        if not words:
            return 0
        if not self._blocks or self._next + len(words) > len(self._blocks[-1]):
            self._blocks.append(np.zeros(max(4096, len(words)), np.int64))
            self._next = 0
        block, start = self._blocks[-1], self._next
        block[start : start + len(words)] = words
        self._next += len(words)
        return block.ctypes.data + 8 * start


class GrowingTable:
    """Rows of int64 words at an address that native code reads from GLOBALS."""

    def __init__(self, width: int, field: int) -> None:
        self.width, self.field = width, field
        self.rows = np.zeros((1024, width), np.int64)
        self.count = 0
        self._retired: list[np.ndarray] = []  # a sweep of another thread may still read these
        nt.GLOBALS[field] = self.rows.ctypes.data

    def reserve(self, count: int) -> int:
        """Make room for `count` more rows; the number of the first."""
        first = self.count
        while first + count > len(self.rows):
            self._retired.append(self.rows)
            self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
            nt.GLOBALS[self.field] = self.rows.ctypes.data
        self.count = first + count
        return first


POOL = _Pool()
STEPS = GrowingTable(nt.P_WIDTH, nt.G_STEPS)


def emit(steps: Sequence[Step]) -> tuple[int, int]:
    """Write steps into the table; the range of their rows."""
    with nt.LOCK:
        low = STEPS.reserve(len(steps))
        for i, step in enumerate(steps):
            _write(STEPS.rows[low + i], step)
    return low, low + len(steps)


def packed(steps: Sequence[Step]) -> int:
    """The range of `emit` as one word, low half first."""
    low, high = emit(steps)
    return low | high << 32


def _write(row: np.ndarray, step: Step) -> None:
    operands = step.operands
    assert len(operands) <= nt.MAX_OPERANDS
    row[:] = 0
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
        return
    if not step.kernel[0] and not step.nodes:
        row[nt.P_KIND] = nt.STEP_ZERO
        row[nt.P_COUNT] = step.zero
        return
    count, inner, outer, outer_strides = loop_geometry(step.shape, [o.strides for o in operands])
    row[nt.P_KERNEL], row[nt.P_DATA] = step.kernel
    row[nt.P_KIND] = nt.STEP_PRODUCT if step.core and row[nt.P_LANES] else step.kind
    row[nt.P_COUNT] = count
    if step.nodes:
        row[nt.P_KIND] = nt.STEP_TILES
        row[nt.P_DATA] = _chain_data(step)
    row[nt.P_DIMS] = POOL.put((count, *step.core))
    row[nt.P_STRIDES] = POOL.put((*inner, *step.core_strides))
    row[nt.P_ONDIM] = len(outer)
    row[nt.P_ODIMS] = POOL.put(outer)
    row[nt.P_OSTRIDES] = POOL.put([s for dim in outer_strides for s in dim])


def _chain_data(step: Step) -> int:
    words = [len(step.nodes), step.scratch]
    last = len(step.nodes) - 1
    for i, node in enumerate(step.nodes):
        inputs = [*node.inputs, 0, 0, 0, 0][:4]
        out = len(step.operands) - 1 if i == last else -1 - i
        words += [*node.kernel, len(node.inputs), *inputs, out, node.itemsize, 0]
    return POOL.put(words + [node.itemsize for node in step.nodes])
