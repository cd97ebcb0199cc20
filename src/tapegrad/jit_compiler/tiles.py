"""Tiles: long loops that follow each other run tile by tile, so that what passes stays in the cache.

`banded` joins them to bands. A temporary that only loops of one band use, and that moves with them, is not
kept as a whole: there is a `Window` of it, as long as a tile and what later loops look back at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .formulas import COPY
from .fusion import Uses, depends, differences, is_innermost, pairs
from .loops import (
    TEMPORARY,
    WINDOW,
    Access,
    Band,
    Buffer,
    Compute,
    Loop,
    Node,
    Number,
    Window,
    accesses,
    computes,
    loops_of,
    new_loop,
)

__all__ = ["banded", "uses_of_buffers", "without_windows"]

#: iterations of a tile at most, and at least
TILE, LEAST = 1024, 128
#: small nodes that a loop is put in front of, at most
REACH = 16
#: bytes of windows from which on tiles are shorter (with four times as many, the Hessian-vector product of
#: Rosenbrock's function took 1.4 of the time), and at most, as they are on the stack
NEAR, LARGEST = 1 << 12, 1 << 16


def uses_of_buffers(nodes: Sequence[Node]) -> Counter[int]:
    """Numbers of uses of buffers."""
    return Counter(id(u.access.buffer) for node in nodes for u in accesses(node))


def banded(nodes: list[Node]) -> list[Node]:
    """Let long loops that follow each other run tile by tile."""
    result: list[Node] = []
    for node in nodes:
        if _is_flat(node):
            assert isinstance(node, Loop)
            place = _place_before(result, node)
            before = result[place] if place >= 0 else None
            if isinstance(before, Loop):
                before = Band([before], [0], TILE)
            if isinstance(before, Band) and _joins(before, node):
                result[place] = before
                continue
        result.append(node)
    bands = [node for node in result if isinstance(node, Band)]
    uses = uses_of_buffers(result) if bands else Counter()
    for band in bands:
        result = _with_fills(result, band, uses)
        _put_windows(band, {key for key, n in uses_of_buffers([band]).items() if uses[key] == n})
    return result


def _place_before(nodes: Sequence[Node], loop: Loop) -> int:
    """Place of the band or loop that a loop may follow, past small nodes; or -1.

    These do not depend on it, and use none of the arrays: of an array that is used elsewhere is no window.
    """
    place = len(nodes) - 1
    while place >= 0 and _is_small(nodes[place]) and len(nodes) - place <= REACH:
        place -= 1
    if place < 0 or not (isinstance(nodes[place], Band) or _is_flat(nodes[place])):
        return -1
    mine, moving = Uses(loop), _moving(loop) | _moving(nodes[place])
    for node in nodes[place + 1 :]:
        used = {id(u.access.buffer) for u in accesses(node)}
        if depends(Uses(node), mine) or (used & moving and _fill(node) is None):
            return -1
    return place


def _is_small(node: Node) -> bool:
    return isinstance(node, Compute) or (
        isinstance(node, Loop) and is_innermost(node) and node.extent <= TILE
    )


def _moving(node: Node) -> set[int]:
    """Buffers that are used along loops."""
    return {id(a.buffer) for c in computes(node) for u in accesses(c) if (a := u.access).strides}


def _joins(band: Band, loop: Loop) -> bool:
    """Let a loop be the next one of a band, if it can be."""
    lag = _lag(band, loop)
    if lag is not None:
        band.body.append(loop)
        band.lags.append(lag)
    return lag is not None


def _is_flat(node: Node | None) -> bool:
    return (
        isinstance(node, Loop)
        and not node.in_order
        and node.extent >= 8 * TILE
        and is_innermost(node)
    )


def _lag(band: Band, loop: Loop) -> int | None:
    """Number of iterations that a loop has to be behind the first of a band; None if it cannot be in it."""
    mine, needed = Uses(loop), 0
    for part, lag in zip(loops_of(band), band.lags, strict=True):
        if abs(part.extent - loop.extent) > TILE:
            return None
        for one, other in pairs(Uses(part), mine):
            if not one.meets(other):
                continue
            difference = differences(part, loop, one, other)
            if difference is None:
                return None
            least, most = difference
            if least <= most:
                needed = max(needed, lag + max(most, 0))
        needed = max(needed, lag)
    return needed if needed <= TILE // 2 else None


# --------------------------------------------------------------------------- windows
def _with_fills(nodes: list[Node], band: Band, uses: Counter[int]) -> list[Node]:
    """Let a band fill itself the temporaries of which loops before it fill the ends only.

    Those that only the band uses else: so that windows of them will do.
    """
    fills: dict[int, list[tuple[Node, Compute]]] = {}
    for node in nodes[: nodes.index(band)]:
        part = _fill(node)
        if part is not None and part.write.buffer.role == TEMPORARY:
            fills.setdefault(id(part.write.buffer), []).append((node, part))
    inside = uses_of_buffers([band])
    whole: dict[int, Loop] = {}
    for key, parts in fills.items():
        if uses[key] == inside[key] + len(parts) and len({repr(x.reads) for _, x in parts}) == 1:
            whole[key] = _whole_fill(parts[0][1], [band, *(node for node, _ in parts)])
    if not whole:
        return nodes
    result, left = Band([], [], band.tile), dict(whole)
    for loop in loops_of(band):
        here = [left.pop(k) for k in {id(u.access.buffer): 0 for u in accesses(loop)} if k in left]
        if not all(_joins(result, x) for x in (*here, loop)):
            return nodes
    band.body, band.lags = result.body, result.lags
    for key in whole:
        uses[key] = inside[key] + 1
    done = {id(node) for key in whole for node, _ in fills[key]}
    return [node for node in nodes if id(node) not in done]


def _fill(node: Node) -> Compute | None:
    """The compute of a node that fills memory with a number; None for another one."""
    part = node.body[0] if isinstance(node, Loop) and len(node.body) == 1 else node
    if isinstance(part, Compute) and part.formula == COPY and isinstance(part.reads[0], Number):
        return part
    return None


def _whole_fill(part: Compute, users: Sequence[Node]) -> Loop:
    """A loop that fills all of a temporary that is used."""
    buffer, size = part.write.buffer, part.write.buffer.kind.itemsize
    places = [u for node in users for u in accesses(node) if u.access.buffer is buffer]
    low, high = min(u.low for u in places), max(u.high for u in places)
    loop = new_loop((high - low) // size)
    write = Access(buffer, low, ((loop.number, size),))
    loop.body.append(Compute(part.formula, part.reads, write, part.result))
    return loop


def _put_windows(band: Band, alone: set[int]) -> None:
    """Keep windows of the temporaries that only a band uses, and make its tiles as short as that asks for."""
    places: dict[int, list[tuple[Access, Loop, int]]] = {}
    buffers: dict[int, Buffer] = {}
    others: set[int] = set()
    for loop, lag in zip(loops_of(band), band.lags, strict=True):
        for part in computes(loop):
            for use in accesses(part):
                buffer = use.access.buffer
                if id(buffer) not in alone or buffer.role != TEMPORARY or buffer.identity:
                    continue
                buffers[id(buffer)] = buffer
                places.setdefault(id(buffer), []).append((use.access, loop, lag))
                if not isinstance(part, Compute):
                    others.add(id(buffer))
    windows = [_window(buffers[k], places[k]) for k in buffers if k not in others]
    band.windows = [w for w in windows if w is not None and w.kept <= w.step * LEAST // 2]
    while band.tile > LEAST and sum(w.step for w in band.windows) * band.tile > NEAR:
        band.tile //= 2
    while sum(w.step * band.tile + w.kept for w in band.windows) > LARGEST:
        band.windows.pop()
    for window in band.windows:
        window.buffer.role = WINDOW


def without_windows(band: Band) -> None:
    """Keep temporaries of a band as a whole."""
    for window in band.windows:
        window.buffer.role = TEMPORARY
    band.windows, band.tile = [], TILE


def _window(buffer: Buffer, places: Sequence[tuple[Access, Loop, int]]) -> Window | None:
    """The window of a temporary; None if it does not move with all loops."""
    size = buffer.kind.itemsize
    step = places[0][0].stride(places[0][1].number)
    if step < size or step % size or step > 4 * size:
        return None
    if any(access.strides != ((loop.number, step),) for access, loop, _ in places):
        return None
    lows = [access.offset - step * lag for access, _, lag in places]
    low = min(lows)
    if any((x - low) % size for x in lows):
        return None
    return Window(buffer, low, step, max(max(lows) - low + size - step, 0))
