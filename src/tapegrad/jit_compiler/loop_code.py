"""LLVM code around loops: where shares and tiles begin and end; loops of few iterations."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .formulas import I64
from .loops import HIGH, LOW, Band, Loop, Range, Shared, loops_of

__all__ = ["Edges", "end_of_tiles", "keep_scalar"]


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


def keep_scalar(jump: Any) -> None:
    """Let LLVM not vectorise the loop that a jump goes back in: of few iterations, that takes time only."""
    module = jump.parent.parent.parent
    name = ir.MetaDataString(module, "llvm.loop.vectorize.enable")
    no = module.add_metadata([name, ir.Constant(ir.IntType(1), 0)])
    node = ir.MDValue(module, [no], str(len(module.metadata)))
    node.operands = node, no  # which refers to itself, so that it is no other loop's
    jump.set_metadata("llvm.loop", node)
