"""LLVM code around loops: where shares and tiles begin and end; loops of few iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llvmlite import ir

from .formulas import I64, value_type
from .loops import HIGH, LOW, Access, Band, Buffer, Loop, Range, Shared, loops_of

__all__ = ["Edges", "alias_scopes", "end_of_tiles", "keep_scalar", "of_unit_matrix"]


def end_of_tiles(band: Band) -> int:
    """The iteration of the first loop at which all loops of a band are done."""
    return max(x.extent + lag for x, lag in zip(loops_of(band), band.lags, strict=True))


class Edges:
    """Begin and end of a share of a loop."""

    def __init__(self, builder: Any, node: Shared, index: Any) -> None:
        self.builder, self.node = builder, node
        low = builder.mul(index, ir.Constant(I64, node.size), flags=("nsw",))
        high = builder.add(low, ir.Constant(I64, node.size), flags=("nsw",))
        self.is_first = builder.icmp_signed("==", index, ir.Constant(I64, 0))
        self.is_last = builder.icmp_signed("==", index, ir.Constant(I64, node.count - 1))
        self.edges = low, high

    def place(self, edge: int, ahead: int, extent: int) -> Any:
        """A place some iterations from an edge; at those of the whole loop its first or last one."""
        place = self.builder.add(self.edges[edge], ir.Constant(I64, ahead), flags=("nsw",))
        end, number = (self.is_first, 0) if edge == LOW else (self.is_last, extent)
        return self.builder.select(end, ir.Constant(I64, number), place)

    def range(self, part: Range, loop: Loop) -> tuple[Any, Any]:
        """The range of a loop."""
        first = self.place(part.first_edge, part.first, loop.extent)
        return first, self.place(part.stop_edge, part.stop, loop.extent)

    def tiles(self, band: Band) -> tuple[Any, Any]:
        """Begin and end of the tiles of a band."""
        parts = list(zip(self.node.ranges, band.lags, strict=True))
        begin = min(r.first + lag for r, lag in parts if r.first_edge == LOW)
        end = max(r.stop + lag for r, lag in parts if r.stop_edge == HIGH)
        return self.place(LOW, begin, 0), self.place(HIGH, end, end_of_tiles(band))


def alias_scopes(module: Any, name: str, buffers: Sequence[Buffer]) -> dict[int, dict[str, Any]]:
    """Metadata, for each buffer, of loads and stores in a function: that no two buffers share memory.

    As ``noalias`` of arguments would say it, but of these alone: calls in between may use all memory.
    """
    domain = module.add_metadata([ir.MetaDataString(module, name)])
    scopes = [
        module.add_metadata([ir.MetaDataString(module, f"{name}.{i}"), domain])
        for i in range(len(buffers))
    ]
    return {
        id(buffer): {
            "alias.scope": module.add_metadata([scope]),
            "noalias": module.add_metadata([x for x in scopes if x is not scope]),
        }
        for buffer, scope in zip(buffers, scopes, strict=True)
    }


def keep_scalar(jump: Any) -> None:
    """Let LLVM not vectorise the loop that a jump goes back in: of few iterations, that takes time only."""
    module = jump.parent.parent.parent
    name = ir.MetaDataString(module, "llvm.loop.vectorize.enable")
    no = module.add_metadata([name, ir.Constant(ir.IntType(1), 0)])
    node = ir.MDValue(module, [no], str(len(module.metadata)))
    node.operands = node, no  # which refers to itself, so that it is no other loop's
    jump.set_metadata("llvm.loop", node)


def of_unit_matrix(
    b: Any, operand: Access, indices: Mapping[int, Any], extents: Mapping[int, int]
) -> Any:
    """An element of a unit matrix, at iterations of loops: whether its row is its column."""
    kind = operand.buffer.kind
    size = kind.itemsize
    width = operand.buffer.identity * size
    one, zero = (ir.Constant(value_type(kind), x) for x in (1.0, 0.0))
    reach = operand.offset % width + sum(s % width * (extents[n] - 1) for n, s in operand.strides)
    if reach >= width or any(s < 0 for _, s in operand.strides):  # columns go on in the next row
        place: Any = ir.Constant(I64, operand.offset // size)
        for number, stride in operand.strides:
            moved = b.mul(indices[number], ir.Constant(I64, stride // size), flags=("nsw",))
            place = b.add(place, moved, flags=("nsw",))
        rest = b.urem(place, ir.Constant(I64, operand.buffer.identity + 1))
        return b.select(b.icmp_signed("==", rest, ir.Constant(I64, 0)), one, zero)
    row, column = (
        ir.Constant(I64, x) for x in (operand.offset // width, operand.offset % width // size)
    )
    for number, stride in operand.strides:
        index = indices[number]
        for part, step in (("row", stride // width), ("column", stride % width // size)):
            if not step:
                continue
            moved = b.mul(index, ir.Constant(I64, step), flags=("nsw",)) if step != 1 else index
            if part == "row":
                row = b.add(row, moved, flags=("nsw",))
            else:
                column = b.add(column, moved, flags=("nsw",))
    return b.select(b.icmp_signed("==", row, column), one, zero)
