"""Fusion: loops over the same range become one, and what passes between them stays in registers.

`fused` joins each loop with the last one before it that has the same range, if no place is used in another order
then: an iteration of the later loop may use what the earlier loop has done in that iteration, and nothing of what
it does in later ones. This is done from the outside to the inside, so rows of a matrix, and in them its columns.

`contracted` then makes memory smaller: a temporary that no other iteration uses needs no place for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .loops import (
    INPUT,
    OUTPUT,
    TEMPORARY,
    Access,
    Buffer,
    Call,
    Compute,
    Loop,
    Node,
    Number,
    Use,
    accesses,
    computes,
)

__all__ = ["contracted", "fused", "pruned", "simplified"]

#: nodes that are looked back at, and computes in a loop at most
REACH, LARGEST = 200, 400


# --------------------------------------------------------------------------- copies and numbers
def simplified(nodes: list[Node], outputs: list[Buffer]) -> list[Node]:
    """Let what reads a copy of numbers, or of an input, read that itself."""
    written: dict[int, int] = {}
    buffers: dict[int, Buffer] = {}
    for node in nodes:
        for use in accesses(node):
            if use.writes:
                key = id(use.access.buffer)
                written[key] = written.get(key, 0) + 1
                buffers[key] = use.access.buffer
    known: dict[int, Any] = {}
    result = []
    for node in nodes:
        for part in computes(node):
            if isinstance(part, Compute):
                part.reads = tuple([_forwarded(x, known) for x in part.reads])
        alone = _alone(node)
        if alone is not None and alone.formula.name == "copy":
            (source,), target = alone.reads, alone.write
            if (
                target.buffer.role == TEMPORARY
                and written[id(target.buffer)] == 1
                and _covers(node, target)
            ):
                steady = isinstance(source, Number) or (
                    source.buffer.role in (INPUT, "array")
                    or _last_write(source.buffer, node, nodes)
                )
                if steady:
                    known[id(target.buffer)] = target, source
        result.append(node)
    return _without_copies_to_outputs(result, outputs)


def _without_copies_to_outputs(nodes: list[Node], outputs: list[Buffer]) -> list[Node]:
    """Let a temporary that is copied to an output, as its last use, be the output."""
    kept: list[Node] = []
    seen: set[int] = set()
    for node in reversed(nodes):
        alone = _alone(node)
        if (
            alone is not None
            and alone.formula.name == "copy"
            and isinstance(alone.reads[0], Access)
        ):
            source, target = alone.reads[0], alone.write
            if (
                target.buffer.role == OUTPUT and source.buffer.role == TEMPORARY
                and id(source.buffer) not in seen and source.strides == target.strides
                and source.buffer.span == target.buffer.span and source.offset == 0
                and source.buffer.kind is target.buffer.kind and _covers(node, target)
            ):  # fmt: skip
                outputs[outputs.index(target.buffer)] = source.buffer
                source.buffer.role, source.buffer.number = OUTPUT, target.buffer.number
                continue
        seen.update(id(use.access.buffer) for use in accesses(node))
        kept.append(node)
    return kept[::-1]


def _alone(node: Node) -> Compute | None:
    """The one compute of a nest; None if there are several."""
    while isinstance(node, Loop):
        if len(node.body) != 1:
            return None
        node = node.body[0]
    return node if isinstance(node, Compute) else None


def _covers(node: Node, target: Access) -> bool:
    """Return True if a nest writes all of a buffer, once."""
    size, strides = target.buffer.kind.itemsize, dict(target.strides)
    extents = []
    while isinstance(node, Loop):
        extents.append((strides.get(node.number, 0), node.extent))
        node = node.body[0]
    if target.offset or any(s <= 0 for s, _ in extents):
        return False
    for stride, extent in sorted(extents):
        if stride != size:
            return False
        size *= extent
    return size == target.buffer.span


def _last_write(buffer: Buffer, node: Node, nodes: list[Node]) -> bool:
    """Return True if nothing behind a node writes to a buffer."""
    behind = False
    for other in nodes:
        if other is node:
            behind = True
        elif behind and any(u.writes and u.access.buffer is buffer for u in accesses(other)):
            return False
    return True


def _forwarded(read: Any, known: dict[int, Any]) -> Any:
    """What a read of a copy may read in its place."""
    while isinstance(read, Access) and id(read.buffer) in known:
        target, source = known[id(read.buffer)]
        if isinstance(source, Number):
            return source
        if read.offset:
            return read
        by_stride = {s: n for n, s in target.strides}
        if len(by_stride) != len(target.strides) or any(
            s not in by_stride for _, s in read.strides
        ):
            return read
        pairs = [(n, source.stride(by_stride[s])) for n, s in read.strides]
        if len({by_stride[s] for _, s in read.strides}) != len(pairs):
            return read
        read = Access(source.buffer, source.offset, tuple(sorted(p for p in pairs if p[1])))
    return read


def pruned(nodes: list[Node]) -> list[Node]:
    """Leave out what computes temporaries that nothing reads."""
    while True:
        read = {
            id(u.access.buffer)
            for node in nodes
            for c in computes(node)
            for u in accesses(c)
            if not u.writes and not (isinstance(c, Compute) and c.write.buffer is u.access.buffer)
        }

        def is_dead(c: Compute | Call, read: set[int] = read) -> bool:
            targets = [c.write] if isinstance(c, Compute) else list(c.results)
            return all(t.buffer.role == TEMPORARY and id(t.buffer) not in read for t in targets)

        changed = False

        def keep(body: list[Node]) -> list[Node]:
            nonlocal changed
            kept: list[Node] = []
            for node in body:
                if isinstance(node, Loop):
                    node.body = keep(node.body)
                    if not node.body:
                        changed = True
                        continue
                elif is_dead(node):
                    changed = True
                    continue
                kept.append(node)
            return kept

        nodes = keep(nodes)
        if not changed:
            return nodes


# --------------------------------------------------------------------------- order
class _Uses:
    """The uses of memory of a node, by buffer."""

    def __init__(self, node: Node) -> None:
        self.by_buffer: dict[int, list[Use]] = {}
        self.size = 0
        for use in accesses(node):
            uses = self.by_buffer.setdefault(id(use.access.buffer), [])
            if use not in uses:
                uses.append(use)
        self.size = sum(1 for _ in computes(node))

    def add(self, other: _Uses) -> None:
        for key, uses in other.by_buffer.items():
            mine = self.by_buffer.setdefault(key, [])
            mine += [u for u in uses if u not in mine]
        self.size += other.size


def _pairs(a: _Uses, b: _Uses, *, with_sums: bool = False) -> Iterable[tuple[Use, Use]]:
    """Uses of the same memory, one of which writes; sums may come in any order, and are not among them."""
    small, large = (a, b) if len(a.by_buffer) <= len(b.by_buffer) else (b, a)
    for key in small.by_buffer:
        if key not in large.by_buffer:
            continue
        for one in a.by_buffer[key]:
            for other in b.by_buffer[key]:
                if (one.writes or other.writes) and not (one.adds and other.adds and not with_sums):
                    yield one, other


def depends(later: _Uses, earlier: _Uses) -> bool:
    """Return True if two nodes have to stay in this order."""
    return any(
        one.low < other.high and other.low < one.high for one, other in _pairs(earlier, later)
    )


def may_join(first: Loop, second: Loop, a: _Uses, b: _Uses, *, innermost: bool) -> bool:
    """Return True if iterations of the second loop may follow those of the first one by one."""
    for one, other in _pairs(a, b, with_sums=innermost):
        if not one.meets(other):
            continue
        if one.outer != other.outer:
            return False
        s, t = one.access.stride(first.number), other.access.stride(second.number)
        if s == t == 0 and one.adds and other.adds:
            continue
        if s != t or s == 0:
            return False
        reach = s * (first.extent - 1)
        low_a, high_a = (one.low, one.high - reach) if s > 0 else (one.low - reach, one.high)
        low_b, high_b = (
            (other.low, other.high - reach) if s > 0 else (other.low - reach, other.high)
        )
        # of iterations i of the first and j of the second that touch the same bytes, k = i - j
        if s < 0:
            s, low_a, high_a, low_b, high_b = -s, -high_a, -low_a, -high_b, -low_b
        least = (low_b - high_a) // s + 1
        most = -((low_a - high_b) // s) - 1
        if least <= most and (most > 0 or (innermost and least < 0)):
            return False
    return True


# --------------------------------------------------------------------------- fusion
def _is_early(node: Node) -> bool:
    """Return True for what is to come as early as it may: a number alone, and the filling of memory."""
    alone = _alone(node)
    return alone is not None and (node is alone or all(isinstance(x, Number) for x in alone.reads))


def _is_innermost(loop: Loop) -> bool:
    return not any(isinstance(part, Loop) for part in loop.body)


def fused(nodes: list[Node]) -> list[Node]:
    """Join loops over the same range."""
    result: list[Node] = []
    uses: list[_Uses] = []
    for node in nodes:
        mine = _Uses(node)
        place = None
        if not (isinstance(node, Loop) and node.in_order):
            for k in range(len(result) - 1, max(-1, len(result) - 1 - REACH), -1):
                other = result[k]
                if (
                    isinstance(node, Loop)
                    and isinstance(other, Loop)
                    and other.extent == node.extent
                    and not other.in_order
                    and uses[k].size + mine.size <= LARGEST
                    and may_join(
                        other, node, uses[k], mine,
                        innermost=_is_innermost(other) and _is_innermost(node),
                    )
                ):  # fmt: skip
                    place = (
                        k  # the first such loop: so it has what is computed from the same operands
                    )
                if depends(mine, uses[k]):
                    break
        if place is None:
            at = len(result)
            if _is_early(node):
                while at and not depends(mine, uses[at - 1]):
                    at -= 1
            result.insert(at, node)
            uses.insert(at, mine)
        else:
            target = result[place]
            assert isinstance(target, Loop) and isinstance(node, Loop)
            rename(node.body, node.number, target.number)
            target.body += node.body
            uses[place] = _Uses(target)
    for node in result:
        if isinstance(node, Loop):
            node.body = fused(node.body)
    return result


def rename(body: list[Node], old: int, new: int) -> None:
    """Use another loop's number in the accesses of a body."""
    for node in body:
        for part in computes(node):
            if isinstance(part, Compute):
                part.reads = tuple(
                    [x.renamed(old, new) if isinstance(x, Access) else x for x in part.reads]
                )
                part.write = part.write.renamed(old, new)
            else:
                part.operands = tuple([x.renamed(old, new) for x in part.operands])
                part.results = tuple([x.renamed(old, new) for x in part.results])


# --------------------------------------------------------------------------- smaller memory
def contracted(nodes: list[Node]) -> list[Node]:
    """Let temporaries that are used in one iteration of a loop only be as large as that needs."""
    sites: dict[int, list[tuple[tuple[Loop, ...], Compute | Call]]] = {}
    buffers: dict[int, Buffer] = {}

    def visit(body: list[Node], path: tuple[Loop, ...]) -> None:
        for node in body:
            if isinstance(node, Loop):
                visit(node.body, (*path, node))
                continue
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
