"""Fewer computes: copies that are read through, and what nothing reads left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..ops.table import TABLE
from .formulas import COPY
from .loops import (
    INPUT,
    OUTPUT,
    TEMPORARY,
    Access,
    Band,
    Buffer,
    Call,
    Compute,
    Formula,
    Loop,
    Node,
    Number,
    Shared,
    accesses,
    computes,
)

__all__ = ["is_plain_copy", "pruned", "simplified", "with_products"]

#: exponents that are products rather than powers
LARGEST = 16


def simplified(nodes: list[Node], outputs: list[Buffer]) -> list[Node]:
    """Let what reads a copy of numbers, or of an input, read that itself."""
    written: dict[int, int] = {}
    #: place of the last node that writes to a buffer
    last: dict[int, int] = {}
    for i, node in enumerate(nodes):
        for use in accesses(node):
            if use.writes:
                key = id(use.access.buffer)
                written[key] = written.get(key, 0) + 1
                last[key] = i
    known: dict[int, Any] = _numbers(nodes)
    extents = dict(_extents(nodes))
    result = []
    for i, node in enumerate(nodes):
        for part in computes(node):
            if isinstance(part, Compute):
                part.reads = tuple([_forwarded(x, known, extents) for x in part.reads])
                _fold(part)
        one = _alone(node)
        if one is not None and one.formula.name == "copy":
            (source,), target = one.reads, one.write
            if (
                target.buffer.role == TEMPORARY
                and written[id(target.buffer)] == 1
                and _covers(node, target)
            ):
                steady = isinstance(source, Number) or (
                    source.buffer.role in (INPUT, "array") or last.get(id(source.buffer), -1) <= i
                )
                if steady:
                    known[id(target.buffer)] = target, source
        result.append(node)
    return _without_copies_to_outputs(result, outputs)


def _fold(part: Compute) -> None:
    """Compute what has numbers for operands only."""
    kind, _, name = part.formula.name.partition(":")
    numbers = [x for x in part.reads if isinstance(x, Number)]
    if len(numbers) != len(part.reads) or kind not in ("row", "ufunc"):
        return
    ufunc = TABLE[name].loop if kind == "row" else getattr(np, name)
    if ufunc is None:
        return
    with np.errstate(all="ignore"):
        value = np.asarray(ufunc(*[np.asarray(x.value, x.kind.np) for x in numbers]))
    if value.dtype == part.result.np:
        part.formula, part.reads = COPY, (Number(value.item(), part.result),)


def _numbers(nodes: list[Node]) -> dict[int, Any]:
    """Temporaries that have the same number everywhere."""
    numbers: dict[int, Any] = {}
    for node in nodes:
        for part in computes(node):
            targets = [part.write] if isinstance(part, Compute) else part.results
            for target in targets:
                number = (
                    part.reads[0] if isinstance(part, Compute) and part.formula == COPY else None
                )
                key = id(target.buffer)
                is_number = isinstance(number, Number) and target.buffer.role == TEMPORARY
                same = key not in numbers or repr(numbers[key]) == repr((None, number))
                numbers[key] = (None, number) if is_number and same else ()
    return {key: pair for key, pair in numbers.items() if pair}


def is_plain_copy(formula: Formula, sources: Sequence[Any], strides: Sequence[int]) -> bool:
    """Return True for a copy of the same layout: where it is the last use, the copy is the temporary."""
    (x, steps), *_ = sources
    return formula == COPY and not isinstance(x, Number) and tuple(steps) == tuple(strides)


def _without_copies_to_outputs(nodes: list[Node], outputs: list[Buffer]) -> list[Node]:
    """Let a temporary that is copied to an output, as its last use, be the output."""
    kept: list[Node] = []
    seen: set[int] = set()
    for node in reversed(nodes):
        one = _alone(node)
        if one is not None and one.formula.name == "copy" and isinstance(one.reads[0], Access):
            source, target = one.reads[0], one.write
            if (
                target.buffer.role == OUTPUT and source.buffer.role == TEMPORARY
                and seen.isdisjoint((id(source.buffer), id(target.buffer)))
                and source.strides == target.strides
                and source.buffer.span == target.buffer.span and source.offset == 0
                and source.buffer.kind is target.buffer.kind and _covers(node, target)
            ):  # fmt: skip
                outputs[outputs.index(target.buffer)] = source.buffer
                source.buffer.role, source.buffer.number = OUTPUT, target.buffer.number
                target.buffer.role, target.buffer.number = TEMPORARY, -1  # of earlier nodes, if any
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


def _extents(nodes: Iterable[Node]) -> Iterator[tuple[int, int]]:
    """Iterate over the loops, with their numbers of iterations."""
    for node in nodes:
        if isinstance(node, Loop):
            yield node.number, node.extent
            yield from _extents(node.body)


def _forwarded(read: Any, known: dict[int, Any], extents: dict[int, int]) -> Any:
    """The operand that a read of a copy may read in its place."""
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
        if any(extents[n] > extents[by_stride[s]] for n, s in read.strides):
            return read  # it goes on where another row begins
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
            if isinstance(c, Call) and c.instruction.is_kept:
                return False
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
                elif not isinstance(node, Band | Shared) and is_dead(node):
                    changed = True
                    continue
                kept.append(node)
            return kept

        nodes = keep(nodes)
        if not changed:
            return nodes


# --------------------------------------------------------------------------- powers
def with_products(nodes: list[Node]) -> None:
    """Let powers with whole exponents, and their derivatives, be products."""
    for node in nodes:
        for part in computes(node):
            if isinstance(part, Compute) and part.formula.name in ("row:pow", "row:pow_derivative"):
                exponent = part.reads[1]
                if isinstance(exponent, Number):
                    _as_product(part, float(exponent.value))


def _as_product(part: Compute, exponent: float) -> None:
    attributes = dict(part.formula.attributes)
    if attributes.get("dy"):
        return
    factor = 1.0
    for k in range(attributes.get("dx", 0)):
        factor *= exponent - k
    power = exponent - attributes.get("dx", 0)
    if not power.is_integer() or not 0 <= power <= LARGEST:
        return
    if power == 0:
        part.formula, part.reads = COPY, (Number(factor, part.result),)
    else:
        part.formula = Formula("power", (("factor", factor), ("exponent", int(power))))
        part.reads = part.reads[:1]
