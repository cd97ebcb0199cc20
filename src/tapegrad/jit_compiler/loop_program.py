"""Programs: the loops of a tape, with the buffers that they use."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

from ..base.dtypes import dtype
from .loops import Band, Buffer, Compute, Loop, Node, Number, Shared

__all__ = ["Program", "number_at", "text", "unit_rows"]


class Program:
    """Loops of a tape.

    Attributes
    ----------
    nodes : list of Node
    inputs, arrays, outputs : list of Buffer
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.inputs: list[Buffer] = []
        self.arrays: list[Buffer] = []
        self.outputs: list[Buffer] = []
        #: what is in the arrays behind those of the tape
        self.tables: list[np.ndarray] = []


def text(program: Program) -> str:
    """Return the loops as text, with names that depend on nothing but the program."""
    lines: list[str] = []
    names: dict[int, str] = {}
    loops: dict[int, str] = {}

    def shown(operand: Any) -> str:
        if isinstance(operand, Number):
            return f"{operand.value!r}:{operand.kind.name}"
        buffer = operand.buffer
        if id(buffer) not in names:
            number = buffer.number if buffer.number >= 0 else len(names)
            unit = f" unit {buffer.identity}" if buffer.identity else ""  # its code reads nothing
            names[id(buffer)] = f"{buffer.role}{number}:{buffer.kind.name}{unit}"
        index = "".join(f" + {s}*{loops.get(n, n)}" for n, s in operand.strides)
        return f"{names[id(buffer)]}[{operand.offset}{index}]"

    def put(node: Node, depth: int) -> None:
        pad = "  " * depth
        if isinstance(node, Loop):
            loops[node.number] = f"i{len(loops)}"
            order = " in order" if node.in_order else " short" if node.is_short else ""
            lines.append(f"{pad}for {loops[node.number]} in {node.extent}{order}:")
            for part in node.body:
                put(part, depth + 1)
        elif isinstance(node, Shared):
            loops[node.number] = f"i{len(loops)}"
            share = f"share {loops[node.number]} of {node.count}, of {node.size} each"
            ranges = ", ".join(map(str, node.ranges)) if isinstance(node.loop, Band) else ""
            lines.append(f"{pad}{share}{', '[: len(ranges)]}{ranges}:")
            for part in node.body:
                put(part, depth + 1)
        elif isinstance(node, Band):
            lines.append(f"{pad}tiles of {node.tile}, {node.lags}:")
            for part in node.body:
                put(part, depth + 1)
        elif isinstance(node, Compute):
            reads = ", ".join(map(shown, node.reads))
            attributes = f" {list(node.formula.attributes)}" if node.formula.attributes else ""
            lines.append(f"{pad}{shown(node.write)} = {node.formula.name}({reads}){attributes}")
        else:
            reads, results = (", ".join(map(shown, x)) for x in (node.operands, node.results))
            lines.append(f"{pad}{results} = {node.instruction.op.name}({reads})")

    for node in program.nodes:
        put(node, 0)
    return "\n".join(lines)


def unit_rows(array: np.ndarray) -> int:
    """Number of rows of a unit matrix, in whatever shape; 0 for any other array."""
    rows = math.isqrt(array.size)
    if (
        array.dtype.kind != "f"
        or rows < 2
        or rows * rows != array.size
        or not array.flags.c_contiguous
    ):
        return 0
    flat = array.reshape(-1)
    if not (flat[:: rows + 1] == 1).all() or np.count_nonzero(flat) != rows:
        return 0
    return 0 if np.signbit(flat).any() else rows


def number_at(address: int, kind: dtype) -> Number:
    """The number at an address."""
    array = np.frombuffer(ctypes.string_at(address, kind.itemsize), kind.np)
    return Number(array[0].item(), kind)
