"""Tiles of products: long products, and the loops between them, run tile by tile of the range they share.

A product of a tall matrix with a small one takes as long as its memory, and the loops before and behind it
move the same memory again. `with_product_tiles` cuts all of them along the long range, so that fusion
(fusion.py) can do for a tile all that has to be done, and what passes stays in the cache. It does so where
two products or more share a range, and fusion joins them.

What only such nodes use lies tile by tile, elements of the range one behind the other: loops over them are
the innermost ones then, and are vectorised.

Start reading at `with_product_tiles`, then `_Cut`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..ops.instruction import instruction
from ..ops.layout import Layout, intern
from ..ops.table import TABLE
from .formulas import ADD, COPY
from .fusion import fused
from .loops import (
    TEMPORARY,
    Access,
    Buffer,
    Call,
    Compute,
    Loop,
    Node,
    Number,
    computes,
    nested,
    new_loop,
)
from .product_ranges import Place, is_along, loop_along, places_of, product_of, ranges_of
from .tiles import uses_of_buffers

__all__ = ["with_product_tiles"]

#: bytes that products move in a tile, about, and its iterations, at least and at most
NEAR, LEAST, MOST = 1 << 19, 16, 2048
#: multiplications of a product in a tile, at most: for twice as many OpenBLAS wakes threads of its own
ALONE = 1 << 18
#: iterations of a tile are a multiple of this: of the numbers in a register
STEP = 8


def with_product_tiles(nodes: list[Node]) -> list[Node]:
    """Join loops, and let products that share a long range run tile by tile with the loops between them."""
    for extent in ranges_of(nodes):
        chosen = {id(node) for node in nodes if is_along(node, extent)}
        while True:
            cut = _Cut(nodes, extent, chosen)
            result = fused(list(cut.nodes()))
            left = cut.left_alone(result)
            if not left:
                return result
            chosen = cut.chosen - left
            if not any(isinstance(node, Call) and id(node) in chosen for node in nodes):
                break
    return fused(nodes)


# --------------------------------------------------------------------------- cutting
class _Tiles(NamedTuple):
    """Tiles of a range.

    Attributes
    ----------
    first : int
        Iteration that they begin with.
    number, size : int
        Of tiles, and of iterations of each.
    buffers : dict
        Temporary -> the one in its place, and bytes of a step along the range in the former.
    """

    first: int
    number: int
    size: int
    buffers: dict[int, tuple[Buffer, int]]


class _Cut:
    """Nodes of a program, of which some are cut into tiles of a range; none of them is changed.

    Parameters
    ----------
    given : sequence of Node
    extent : int
        Iterations of the range.
    chosen : set of int
        The nodes that are to be cut, by identity.
    """

    def __init__(self, given: Sequence[Node], extent: int, chosen: set[int]) -> None:
        self.given, self.extent, self.chosen = given, extent, chosen
        #: compute or call -> the node that it comes from
        self.origin: dict[int, int] = {}
        steps = self._steps_of_temporaries()
        products = [p for n in given if id(n) in chosen and (p := product_of(n, extent))]
        size = self._size(sum(p.moved for p in products), max(p.work for p in products))
        count, rest = divmod(extent, size)
        self.parts = [self._tiles(0, count, size, steps)]
        if rest:
            self.parts.append(self._tiles(count * size, 1, rest, steps))

    def _size(self, moved: int, work: int) -> int:
        """Iterations of a tile: that there is no rest, if it may be."""
        most = min(NEAR // moved, ALONE // work, MOST, self.extent // 2)
        most = max(most, LEAST) // STEP * STEP
        sizes = range(most, max(most * 5 // 8, STEP) - 1, -STEP)
        return next((n for n in sizes if self.extent % n == 0), most)

    def _steps_of_temporaries(self) -> dict[int, tuple[Buffer, int]]:
        """Temporaries that only nodes that are cut use, along the range all of them, with their steps.

        Products whose results have their range last, and cannot lie by the tile, are not cut.
        """
        everywhere = uses_of_buffers(self.given)
        while True:
            cut = [node for node in self.given if id(node) in self.chosen]
            inside = uses_of_buffers(cut)
            steps: dict[int, set[int]] = {}
            buffers: dict[int, Buffer] = {}
            for place in (x for node in cut for x in places_of(node, self.extent)):
                buffer, key = place.access.buffer, id(place.access.buffer)
                buffers[key] = buffer
                is_temporary = buffer.role == TEMPORARY and not buffer.identity
                fits = is_temporary and everywhere[key] == inside[key] and self._fits(place)
                steps.setdefault(key, set()).add(place.step if fits else 0)
            known = {
                k: (buffers[k], max(s)) for k, s in steps.items() if len(s) == 1 and 0 not in s
            }
            lost = {
                id(node)
                for node in cut
                if isinstance(node, Call)
                and (p := product_of(node, self.extent)) is not None
                and p.axis == 1
                and id(node.results[0].buffer) not in known
            }
            if not lost:
                return known
            self.chosen = self.chosen - lost

    def _fits(self, place: Place) -> bool:
        """Return True if a use is of whole blocks of the range, or of parts of what each iteration has."""
        step, size = place.step, place.access.buffer.kind.itemsize
        if step < size or step % size:
            return False
        block = step * self.extent
        reach = place.access.offset % block + size
        for stride, count in place.others:
            if stride < 0 or (stride >= step and stride % block):
                return False
            reach += stride * (count - 1) if stride < step else 0
        return reach <= step

    def _tiles(
        self, first: int, count: int, size: int, steps: dict[int, tuple[Buffer, int]]
    ) -> _Tiles:
        buffers: dict[int, tuple[Buffer, int]] = {}
        for key, (old, step) in steps.items():
            blocks = -(-old.span // (step * self.extent))
            buffers[key] = Buffer(old.kind, count * size * step * blocks), step
        return _Tiles(first, count, size, buffers)

    def nodes(self) -> Iterator[Node]:
        """Iterate over the nodes, with what is cut in tiles; all are new."""
        for node in self.given:
            if id(node) not in self.chosen:
                yield _copied(node)
                continue
            if isinstance(node, Call):
                product = product_of(node, self.extent)
                assert product is not None
                if product.axis is None:
                    yield _filled(node.instruction.outs[0], node.results[0])
            for tiles in self.parts:
                outer = new_loop(tiles.number)
                if isinstance(node, Call):
                    outer.body += self._call(node, tiles, outer.number)
                else:
                    outer.body.append(self._nest(node, tiles, outer.number))
                if tiles is self.parts[0]:
                    self.origin |= {id(part): id(node) for part in computes(outer)}
                    yield outer
                else:
                    yield from outer.body

    # ------------------------------------------------------------------ one node
    def _moved(self, tiles: _Tiles, key: int, stride: int) -> int:
        """A stride, or an offset, beside the range in the memory of a tile."""
        step = tiles.buffers[key][1]
        blocks, part = divmod(stride, step * self.extent)
        return (blocks * step + part) * tiles.size

    def _access(
        self, access: Access, step: int, tiles: _Tiles, outer: int, rest: Sequence[tuple[int, int]]
    ) -> Access:
        """The place of a tile: where its first iteration is, with strides beside the range."""
        key = id(access.buffer)
        if key not in tiles.buffers:
            strides = [*rest, (outer, step * tiles.size)] if step else list(rest)
            offset = access.offset + step * tiles.first
            return Access(access.buffer, offset, _strides(strides, tiles, outer))
        buffer, _ = tiles.buffers[key]
        strides = [(n, self._moved(tiles, key, s)) for n, s in rest]
        strides.append((outer, buffer.span // tiles.number))
        offset = self._moved(tiles, key, access.offset)
        return Access(buffer, offset, _strides(strides, tiles, outer))

    def _nest(self, node: Node, tiles: _Tiles, outer: int) -> Node:
        """A nest for a tile, its loop over the range inside of the others."""
        along = loop_along(node, self.extent)
        assert along is not None
        around: list[Loop] = []
        inner, numbers = new_loop(tiles.size), {}
        while isinstance(node, Loop):
            if node is not along:
                around.append(new_loop(node.extent))
                around[-1].is_short = node.is_short
                numbers[node.number] = around[-1].number
            node = node.body[0]
        assert isinstance(node, Compute)

        def new(access: Access) -> Access:
            step = access.stride(along.number)
            rest = [(numbers[n], s) for n, s in access.strides if n != along.number]
            place = self._access(access, step, tiles, outer, rest)
            if id(access.buffer) in tiles.buffers:
                step = access.buffer.kind.itemsize
            if not step:
                return place
            return place._replace(strides=tuple(sorted([*place.strides, (inner.number, step)])))

        reads = tuple([new(x) if isinstance(x, Access) else x for x in node.reads])
        part = Compute(node.formula, reads, new(node.write), node.result)
        return nested((*around, inner), part)

    def _layout(self, access: Access, layout: Layout, axis: int | None, tiles: _Tiles) -> Layout:
        """The layout of a product's operand in a tile."""
        if axis is None:
            return layout
        key, shape, strides = id(access.buffer), list(layout.shape), list(layout.strides)
        shape[axis] = tiles.size
        if key in tiles.buffers:
            strides = [self._moved(tiles, key, s) for s in strides]
            strides[axis] = layout.dtype.itemsize
        return intern(layout.dtype, tuple(shape), tuple(strides))

    def _call(self, node: Call, tiles: _Tiles, outer: int) -> list[Node]:
        """A product for a tile; of a sum over the range a part, which is added."""
        product = product_of(node, self.extent)
        assert product is not None
        op, given = node.instruction.op, node.instruction.layouts
        layouts = [
            self._layout(x, layout, axis, tiles)
            for x, layout, axis in zip(node.operands, given, product.axes, strict=True)
        ]
        operands = [
            self._access(x, 0 if axis is None else layout.strides[axis], tiles, outer, ())
            for x, layout, axis in zip(node.operands, given, product.axes, strict=True)
        ]
        (out,), (target,) = node.instruction.outs, node.results
        if product.axis is not None:
            place = self._access(target, out.strides[product.axis], tiles, outer, ())
            if product.axis == 0 and out.ndim == 2 and id(target.buffer) in tiles.buffers:
                # The range is last in its memory: it is the transposed product.
                layouts = [_transposed(x) for x in reversed(layouts)]
                operands.reverse()
            return [_called(op.name, layouts, operands, place)]
        part = Access(Buffer(out.dtype, tiles.number * out.span), 0, ((outer, out.span),))
        if tiles.number == 1:
            part = part._replace(strides=())
        call = _called(op.name, layouts, operands, part)
        return [call, _added(out, part, target)]

    # ------------------------------------------------------------------ what came of it
    def left_alone(self, result: Sequence[Node]) -> set[int]:
        """Nodes that were cut and are in no loop over tiles with two products."""
        left: set[int] = set()
        for node in result:
            parts = [id(c) for c in computes(node)]
            calls = [c for c in computes(node) if isinstance(c, Call)]
            if not isinstance(node, Loop) or node.extent != self.parts[0].number or len(calls) < 2:
                left |= {self.origin[k] for k in parts if k in self.origin}
        return left


def _strides(
    strides: Sequence[tuple[int, int]], tiles: _Tiles, outer: int
) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((n, s) for n, s in strides if s and (n != outer or tiles.number > 1)))


def _transposed(layout: Layout) -> Layout:
    return intern(layout.dtype, layout.shape[::-1], layout.strides[::-1])


def _called(
    name: str, layouts: Sequence[Layout], operands: Sequence[Access], result: Access
) -> Call:
    """A call of a product."""
    new = instruction(TABLE[name], tuple(layouts))
    spans = [max(x.span, 1) for x in (*layouts, *new.outs)]
    return Call(new, tuple(operands), (result,), tuple(spans))


def _elements(layout: Layout, *places: Access) -> tuple[list[Loop], list[Access]]:
    """Loops over the elements of a layout, and places there."""
    loops = [new_loop(n) for n in layout.shape]
    steps = [(loop.number, s) for loop, s in zip(loops, layout.strides, strict=True)]
    return loops, [x._replace(strides=tuple(sorted([*x.strides, *steps]))) for x in places]


def _filled(layout: Layout, target: Access) -> Node:
    """Zeros, to which parts of a sum are added."""
    loops, (place,) = _elements(layout, target)
    zero = Number(0, layout.dtype)
    return nested(loops, Compute(COPY, (zero,), place, layout.dtype))


def _added(layout: Layout, part: Access, target: Access) -> Node:
    """Add a part to a sum."""
    loops, (term, total) = _elements(layout, part, target)
    return nested(loops, Compute(ADD, (total, term), total, layout.dtype))


def _copied(node: Node) -> Node:
    """The same node, which fusion may change."""
    if isinstance(node, Loop):
        body = [_copied(x) for x in node.body]
        return Loop(node.number, node.extent, body, node.in_order, node.is_short)
    if isinstance(node, Compute):
        return Compute(node.formula, node.reads, node.write, node.result)
    assert isinstance(node, Call)
    return Call(node.instruction, node.operands, node.results, node.spans)
