"""Long ranges that products share, and the nodes along them: what product_tiles.py cuts into tiles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .loops import Access, Call, Compute, Loop, Node

__all__ = [
    "PRODUCTS",
    "Place",
    "Product",
    "is_along",
    "loop_along",
    "places_of",
    "product_of",
    "ranges_of",
]

#: rows that are products of a matrix
PRODUCTS = frozenset(("mm", "mv"))
#: iterations from which on a range is cut, and bytes that products move along it
LONG, LARGE = 512, 1 << 18
#: multiplications of a product for each number that it moves, at most: others are worth their memory
DENSE = 32


class Product(NamedTuple):
    """A product with a long range.

    Attributes
    ----------
    axes : tuple of (int or None)
        The axes of the operands that are the range.
    axis : int or None
        That of the result; None where the range is summed over.
    moved, work : int
        Bytes of operands and result, and multiplications, for each iteration.
    """

    axes: tuple[int | None, int | None]
    axis: int | None
    moved: int
    work: int


def product_of(node: Node, extent: int) -> Product | None:
    """The product of a call, if it is long along a range, and small otherwise."""
    if not isinstance(node, Call) or node.instruction.op.name not in PRODUCTS:
        return None
    x, y = node.instruction.layouts
    m, k, p = (*x.shape, y.shape[1] if y.ndim == 2 else 1)
    size = x.dtype.itemsize
    if (m, k, p).count(extent) != 1:
        return None
    work = m * k * p // extent
    if m == extent:
        product = Product((0, None), 0, size * (k + p), work)
    elif k == extent:
        product = Product((1, 0), None, size * (m + p), work)
    else:
        product = Product((None, 1), 1, size * (m + k), work)
    return product if work * size <= DENSE * product.moved else None


def ranges_of(nodes: Sequence[Node]) -> list[int]:
    """Ranges that two products or more share, those first that most memory goes along."""
    moved: Counter[int] = Counter()
    count: Counter[int] = Counter()
    for node in nodes:
        if isinstance(node, Call):
            lengths = {n for layout in node.instruction.layouts for n in layout.shape}
            for extent in lengths:
                product = product_of(node, extent) if extent >= LONG else None
                if product is not None:
                    count[extent] += 1
                    moved[extent] += product.moved * extent
    return [n for n, size in moved.most_common() if count[n] > 1 and size >= LARGE]


def loop_along(node: Node, extent: int) -> Loop | None:
    """The one loop over a range, in a nest with a single compute and no order."""
    along: list[Loop] = []
    while isinstance(node, Loop):
        if node.in_order or len(node.body) != 1:
            return None
        along += [node] * (node.extent == extent)
        node = node.body[0]
    return along[0] if len(along) == 1 and isinstance(node, Compute) else None


def is_along(node: Node, extent: int) -> bool:
    """Return True if a node can be cut along a range."""
    return product_of(node, extent) is not None or loop_along(node, extent) is not None


class Place(NamedTuple):
    """A use of memory along a range: bytes of a step along it, and the steps beside it, with their counts."""

    access: Access
    step: int
    others: tuple[tuple[int, int], ...]


def places_of(node: Node, extent: int) -> Iterator[Place]:
    """Iterate over the uses of memory of a node that is cut."""
    if isinstance(node, Call):
        product = product_of(node, extent)
        assert product is not None
        layouts = (*node.instruction.layouts, *node.instruction.outs)
        for access, layout, axis in zip(
            (*node.operands, *node.results), layouts, (*product.axes, product.axis), strict=True
        ):
            sizes = tuple(zip(layout.strides, layout.shape, strict=True))
            step = 0 if axis is None else layout.strides[axis]
            yield Place(access, step, tuple(x for i, x in enumerate(sizes) if i != axis))
        return
    along = loop_along(node, extent)
    extents: dict[int, int] = {}
    while isinstance(node, Loop):
        extents[node.number] = node.extent
        node = node.body[0]
    assert along is not None
    assert isinstance(node, Compute)
    for x in (*node.reads, node.write):
        if isinstance(x, Access):
            rest = [(s, extents[n]) for n, s in x.strides if n != along.number]
            yield Place(x, x.stride(along.number), tuple(rest))
