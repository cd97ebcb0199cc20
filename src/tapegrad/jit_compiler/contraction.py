"""Smaller memory, and fewer loops.

A temporary that is used in one iteration of a loop only needs no place for each; two loops one inside the
other, over places that follow each other, are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .loops import (
    TEMPORARY,
    Access,
    Band,
    Buffer,
    Call,
    Compute,
    Loop,
    Node,
    Shared,
    Use,
    accesses,
    computes,
)

__all__ = ["contracted", "merged", "parted"]


def parted(nodes: list[Node]) -> list[Node]:
    """Make buffers of their own of parts of a temporary that never meet."""
    ranges: dict[int, list[tuple[int, int]]] = {}
    for node in nodes:
        for use in accesses(node):
            if use.access.buffer.role == TEMPORARY:
                ranges.setdefault(id(use.access.buffer), []).append((use.low, use.high))
    parts: dict[int, list[tuple[int, int, Buffer]]] = {}
    buffers = {id(u.access.buffer): u.access.buffer for node in nodes for u in accesses(node)}
    for key, used in ranges.items():
        joined: list[tuple[int, int]] = []
        for low, high in sorted(used):
            if joined and low < joined[-1][1]:
                joined[-1] = joined[-1][0], max(high, joined[-1][1])
            else:
                joined.append((low, high))
        if len(joined) > 1:
            kind = buffers[key].kind
            parts[key] = [(low, high, Buffer(kind, high - low)) for low, high in joined]
    if not parts:
        return nodes

    def moved(x: Any, low: int) -> Any:
        for first, high, buffer in parts[id(x.buffer)]:
            if first <= low < high:
                return Access(buffer, x.offset - first, x.strides)
        raise AssertionError("a place in one of the parts")

    def visit(node: Node, inside: dict[int, int]) -> None:
        if isinstance(node, Loop):
            for part in node.body:
                visit(part, {**inside, node.number: node.extent})
            return
        assert not isinstance(node, Band | Shared)
        lows = {u.access: u.low for u in accesses(node, inside)}

        def new(x: Any) -> Any:
            return moved(x, lows[x]) if isinstance(x, Access) and id(x.buffer) in parts else x

        if isinstance(node, Compute):
            node.reads, node.write = tuple(map(new, node.reads)), new(node.write)
        else:
            node.operands, node.results = (
                tuple(map(new, node.operands)),
                tuple(map(new, node.results)),
            )

    for node in nodes:
        visit(node, {})
    return nodes


def contracted(nodes: list[Node]) -> list[Node]:
    """Let temporaries that are used in one iteration of a loop only be as large as that needs."""
    sites: dict[int, list[tuple[tuple[Loop, ...], Compute | Call]]] = {}
    buffers: dict[int, Buffer] = {}

    def visit(body: list[Node], path: tuple[Loop, ...]) -> None:
        for node in body:
            if isinstance(node, Loop):
                visit(node.body, (*path, node))
                continue
            assert not isinstance(node, Band | Shared)
            for use in accesses(node):
                key = id(use.access.buffer)
                if use.access.buffer.role == TEMPORARY:
                    buffers[key] = use.access.buffer
                    where = sites.setdefault(key, [])
                    if not where or where[-1][1] is not node:
                        where.append((path, node))

    visit(nodes, ())
    for key, where in sites.items():
        common = where[0][0]
        for path, _ in where:
            n = 0
            while n < min(len(common), len(path)) and common[n] is path[n]:
                n += 1
            common = common[:n]
        for loop in common:
            _contract(buffers[key], loop, where)
    return nodes


def _contract(buffer: Buffer, loop: Loop, where: Sequence[tuple[tuple[Loop, ...], Any]]) -> None:
    """Take the stride along a loop out of a temporary, if each iteration uses a part of its own."""
    uses: list[Use] = []
    for path, node in where:
        inside = {x.number: x.extent for x in path}
        del inside[loop.number]
        depth = path.index(loop)
        inside = {x.number: x.extent for x in path[depth + 1 :]}
        for use in accesses(node, inside):
            if use.access.buffer is buffer:
                uses.append(use)
    strides = {u.access.stride(loop.number) for u in uses}
    if len(strides) != 1:
        return
    (stride,) = strides
    if stride == 0:
        return
    low, high = min(u.low for u in uses), max(u.high for u in uses)
    if high - low > abs(stride) or (not uses[0].writes and not _written_first(buffer, where)):
        return
    for _, node in where:
        if isinstance(node, Compute):
            node.reads = tuple(
                [
                    _without(x, buffer, loop.number, low) if isinstance(x, Access) else x
                    for x in node.reads
                ]
            )
            node.write = _without(node.write, buffer, loop.number, low)
        else:
            node.operands = tuple([_without(x, buffer, loop.number, low) for x in node.operands])
            node.results = tuple([_without(x, buffer, loop.number, low) for x in node.results])
    buffer.span = high - low
    buffer.private.add(loop.number)


def _written_first(buffer: Buffer, where: Sequence[tuple[tuple[Loop, ...], Any]]) -> bool:
    first = where[0][1]
    if isinstance(first, Compute):
        reads = any(isinstance(x, Access) and x.buffer is buffer for x in first.reads)
        return first.write.buffer is buffer and not reads
    return all(x.buffer is not buffer for x in first.operands)


def _without(access: Access, buffer: Buffer, loop: int, low: int) -> Access:
    if access.buffer is not buffer:
        return access
    strides = tuple([p for p in access.strides if p[0] != loop])
    return Access(buffer, access.offset - low, strides)


# --------------------------------------------------------------------------- fewer loops
def merged(nodes: list[Node]) -> list[Node]:
    """Make one loop of two, one inside the other, where all places allow it."""
    for node in nodes:
        if not isinstance(node, Loop):
            continue
        while len(node.body) == 1 and isinstance(node.body[0], Loop):
            inner = node.body[0]
            if node.in_order or inner.in_order:
                break
            if not all(
                u.access.stride(node.number) == inner.extent * u.access.stride(inner.number)
                for c in computes(inner)
                for u in accesses(c)
            ):
                break
            for buffer in {u.access.buffer for u in accesses(inner)}:
                if node.number not in buffer.private:
                    buffer.private.discard(inner.number)
            rename_away(inner, node.number)
            node.extent, node.number, node.body = (
                node.extent * inner.extent,
                inner.number,
                inner.body,
            )
        merged(node.body)
    return nodes


def rename_away(node: Loop, loop: int) -> None:
    """Drop the strides along a loop."""

    def without(x: Any) -> Any:
        return (
            x._replace(strides=tuple([p for p in x.strides if p[0] != loop]))
            if isinstance(x, Access)
            else x
        )

    for part in computes(node):
        if isinstance(part, Compute):
            part.reads = tuple(map(without, part.reads))
            part.write = without(part.write)
        else:
            part.operands = tuple(map(without, part.operands))
            part.results = tuple(map(without, part.results))
