"""Loops whose iterations need no order: repeated statements as loops that may be vectorised.

The loop of repeated statements (repeated.py) is in order. Two things make most of them free of it:

- `with_sums`: a value that only grows by something each time, and of which the last is used only, is a sum;
- `distributed`: where no statement uses what a later one of an earlier repetition has done, each of them
may be a
  loop of its own, which fusion then joins as it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from .formulas import ADD
from .fusion import Uses, pairs, rename
from .loops import (
    TEMPORARY,
    Access,
    Buffer,
    Compute,
    Loop,
    Node,
    Operand,
    Use,
    accesses,
    computes,
    new_loop,
)

__all__ = ["distributed", "with_sums"]

#: statements of a body up to which pairs of them are looked at
LARGEST = 400


# --------------------------------------------------------------------------- sums
def with_sums(nodes: list[Node]) -> None:
    """Let values that only grow in a loop be sums."""
    for loop in nodes:
        if isinstance(loop, Loop) and loop.in_order:
            for part in list(loop.body):
                if isinstance(part, Compute):
                    _as_sum(part, loop, nodes)


def _as_sum(part: Compute, loop: Loop, nodes: Sequence[Node]) -> None:
    """Let ``b[i + 1] = b[i] + t + ...`` be ``b += t + ...``, if nothing else uses what is in between."""
    write, buffer, size = part.write, part.write.buffer, part.write.buffer.kind.itemsize
    if buffer.role != TEMPORARY or write.strides != ((loop.number, size),):
        return
    before = Access(buffer, write.offset - size, write.strides)
    chain = _chain(part, before, loop)
    last = write.offset + size * (loop.extent - 1)
    if chain is None or not _is_hidden(
        buffer, before.offset, last, chain[-1][0], part, loop, nodes
    ):
        return
    total = Access(buffer, 0, ())
    terms = [term for _, term in reversed(chain)]
    if len(terms) == 1:
        part.formula, part.reads, part.write = ADD, (total, terms[0]), total
    else:  # the parts behind the first add up the terms; one more adds these to the sum
        parts = [c for c, _ in reversed(chain)]
        parts[1].reads = terms[0], terms[1]
        for link, term, earlier in zip(parts[2:], terms[2:], parts[1:], strict=False):
            link.reads = earlier.write, term
        for link in parts[1:]:
            link.formula = ADD
        place = parts[0].write
        part.write = place
        loop.body.remove(parts[0])
        grown = Compute(ADD, (total, place), total, part.result)
        loop.body.insert(loop.body.index(part) + 1, grown)
    buffer.span = size
    for node in nodes:
        _moved(node, buffer, total)


def _chain(part: Compute, before: Access, loop: Loop) -> list[tuple[Compute, Operand]] | None:
    """The additions from a value back to what it was before, the last first, each with what is added."""
    chain: list[tuple[Compute, Operand]] = []
    while True:
        if part.formula.name not in ("row:add", "ufunc:add") or len(chain) > 8:
            return None
        if before in part.reads:
            other = part.reads[1 - part.reads.index(before)]
            return [*chain, (part, other)]
        links = []
        for i, read in enumerate(part.reads):
            if isinstance(read, Access) and read.buffer.role == TEMPORARY:
                makers = [c for c in loop.body if isinstance(c, Compute) and c.write == read]
                users = [
                    c for c in loop.body for u in accesses(c) if u.access.buffer is read.buffer
                ]
                if len(makers) == 1 and len(users) == 2 and _leads_to(makers[0], before, loop, 8):
                    links.append((i, makers[0]))
        if len(links) != 1:
            return None
        i, maker = links[0]
        chain.append((part, part.reads[1 - i]))
        part = maker


def _leads_to(part: Compute, before: Access, loop: Loop, depth: int) -> bool:
    """Return True if a value is a sum in which `before` is a term."""
    if part.formula.name not in ("row:add", "ufunc:add") or not depth:
        return False
    if before in part.reads:
        return True
    return any(
        _leads_to(c, before, loop, depth - 1)
        for read in part.reads
        if isinstance(read, Access)
        for c in loop.body
        if isinstance(c, Compute) and c.write == read
    )


def _is_hidden(
    buffer: Buffer, first: int, last: int, reader: Compute, writer: Compute, loop: Loop,
    nodes: Sequence[Node],
) -> bool:  # fmt: skip
    """Return True if a loop alone uses the values between the first and the last, by two parts."""
    behind = False
    for node in nodes:
        if node is loop:
            behind = True
            inside = [c for c in computes(loop) for u in accesses(c) if u.access.buffer is buffer]
            if any(c is not reader and c is not writer for c in inside):
                return False
            continue
        for use in accesses(node):
            if use.access.buffer is not buffer:
                continue
            if use.access.strides or use.access.offset != (last if behind else first):
                return False
    return True


def _moved(node: Node, buffer: Buffer, place: Access) -> None:
    """Let all uses of a buffer be of one place."""
    for part in computes(node):
        if isinstance(part, Compute):
            part.reads = tuple(
                [place if isinstance(x, Access) and x.buffer is buffer else x for x in part.reads]
            )
            if part.write.buffer is buffer:
                part.write = place
        else:
            part.operands = tuple([place if x.buffer is buffer else x for x in part.operands])
            part.results = tuple([place if x.buffer is buffer else x for x in part.results])


# --------------------------------------------------------------------------- distribution
def distributed(nodes: list[Node]) -> list[Node]:
    """Make loops of their own of the statements of each loop, where no order of repetitions matters."""
    result: list[Node] = []
    for node in nodes:
        order = None
        if isinstance(node, Loop) and node.in_order and len(node.body) <= LARGEST:
            order = _free_order(node)
        if order is None:
            result.append(node)
            continue
        assert isinstance(node, Loop)
        strides = [u.access.stride(node.number) for c in node.body for u in accesses(c)]
        backwards = sum(s < 0 for s in strides) > sum(s > 0 for s in strides)
        for i in order:
            loop = new_loop(node.extent, [node.body[i]])
            rename(loop.body, node.number, loop.number)
            if backwards:
                _turn(loop)
            result.append(loop)
    return result


def _turn(loop: Loop) -> None:
    """Let a loop go through its range from the other end."""

    def turned(x: Any) -> Any:
        stride = x.stride(loop.number) if isinstance(x, Access) else 0
        if not stride:
            return x
        pairs = tuple([(n, -s if n == loop.number else s) for n, s in x.strides])
        return Access(x.buffer, x.offset + stride * (loop.extent - 1), pairs)

    for part in computes(loop):
        if isinstance(part, Compute):
            part.reads, part.write = tuple(map(turned, part.reads)), turned(part.write)
        else:
            part.operands = tuple(map(turned, part.operands))
            part.results = tuple(map(turned, part.results))


def _free_order(loop: Loop) -> list[int] | None:
    """An order in which the statements of a body may be loops of their own; None if there is none."""
    uses = [Uses(part) for part in loop.body]
    before: dict[int, set[int]] = {i: set() for i in range(len(uses))}
    for i, earlier in enumerate(uses):
        for j in range(i, len(uses)):
            for one, other in pairs(earlier, uses[j]):
                same, crossing = _conflicts(one, other, loop)
                if i == j and crossing:
                    return None
                if same:
                    before[j].add(i)
                if crossing:
                    before[i].add(j)
    for i, others in before.items():
        others.discard(i)
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError:
        return None


def _conflicts(one: Use, other: Use, loop: Loop) -> tuple[bool, bool]:
    """Say if two uses, of an earlier and a later statement of the body, touch the same bytes.

    In the same repetition, or an earlier one of the earlier statement; and in a later one of the earlier
    statement, so that the later statement comes first.
    """
    s, t = one.access.stride(loop.number), other.access.stride(loop.number)
    rest = [[p for p in u.outer if p[0] != loop.number] for u in (one, other)]
    if s != t or s == 0 or rest[0] != rest[1]:
        return True, True
    low_a, high_a, low_b, high_b = one.low, one.high, other.low, other.high
    if s < 0:
        s, low_a, high_a, low_b, high_b = -s, -high_a, -low_a, -high_b, -low_b
    # of repetitions i of the earlier statement and j of the later one, k = i - j
    least, most = (low_b - high_a) // s + 1, -((low_a - high_b) // s) - 1
    least, most = max(least, 1 - loop.extent), min(most, loop.extent - 1)
    return least <= min(most, 0), max(least, 1) <= most
