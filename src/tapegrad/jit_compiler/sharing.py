"""Loops in shares, which several threads take.

`shared` cuts a long loop at the top of a program into shares, if no iteration uses what another one has
done: then any thread may do any share, at any time. Two things are made so:

- a sum over the iterations is kept a share each, and these are added up in their order, by a loop behind;
- memory that each iteration writes before it reads it is there for each share.

How many shares there are depends on the loop alone. So do results: threads differ in who takes which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..base.dtypes import float32, float64
from .formulas import COPY
from .loops import (
    TEMPORARY,
    Access,
    Buffer,
    Call,
    Compute,
    Formula,
    Loop,
    Node,
    Number,
    Shared,
    Use,
    accesses,
    computes,
    new_loop,
    new_number,
)

__all__ = ["shared"]

#: nanoseconds from which on a loop is shared, and of a share: to wake a thread takes the calling one 10
#: microseconds, and it comes 30 later
LONG, SHARE = 100_000, 8_000
#: shares at most, and iterations of an innermost loop that a share is a multiple of
MOST, STEP = 256, 64
#: part of a loop's time that adding up sums may take
PART = 0.1
#: bytes of memory for all shares that is not much, and at most
NEAR, LARGEST = 1 << 20, 1 << 23
ADD = Formula("ufunc:add")
LINE = 64
_CHEAP = frozenset(
    [
        "abs",
        "add",
        "copy",
        "equal",
        "ge",
        "gt",
        "le",
        "lt",
        "maximum",
        "minimum",
        "mul",
        "multiply",
        "ne",
        "neg",
        "negative",
        "power",
        "sub",
        "subtract",
        "where",
    ]
)
_MIDDLE = frozenset(("div", "divide", "true_divide", "reciprocal", "sqrt", "square"))


def shared(nodes: list[Node]) -> list[Node]:
    """Cut long loops into shares."""
    owners: dict[int, set[int]] = {}
    for i, node in enumerate(nodes):
        for use in accesses(node):
            owners.setdefault(id(use.access.buffer), set()).add(i)
    alone = {key for key, users in owners.items() if len(users) == 1}
    result: list[Node] = []
    for node in nodes:
        parts = _shares(node, alone) if isinstance(node, Loop) else None
        result += [node] if parts is None else parts
    return result


# --------------------------------------------------------------------------- time
def _time(nodes: Sequence[Node]) -> float:
    """Nanoseconds that nodes take, roughly."""
    total = 0.0
    for node in nodes:
        if isinstance(node, Loop):
            total += node.extent * _time(node.body)
        elif isinstance(node, Compute):
            total += _time_of(node)
    return total


def _time_of(part: Compute) -> float:
    """Nanoseconds of a compute in a loop that is vectorised; others are left on the low side."""
    name = part.formula.name.rpartition(":")[2]
    moving = sum(bool(x.strides) for x in (*part.reads, part.write) if isinstance(x, Access))
    return (0.03 if name in _CHEAP else 0.2 if name in _MIDDLE else 0.8) + 0.06 * moving


# --------------------------------------------------------------------------- shares
class _Memory(NamedTuple):
    """Memory that all iterations use.

    Attributes
    ----------
    sums : list of list of Use
        Uses of buffers that are only added to.
    private : list of list of Use
        Uses of buffers that each share has for itself.
    """

    sums: list[list[Use]]
    private: list[list[Use]]


def _memory(loop: Loop, alone: set[int]) -> _Memory | None:
    """Sums and private memory of a loop; None if an iteration may use what another one has done."""
    uses: dict[int, list[Use]] = {}
    for part in loop.body:
        for use in accesses(part):
            mine = uses.setdefault(id(use.access.buffer), [])
            if use not in mine:
                mine.append(use)
    memory = _Memory([], [])
    for key, mine in uses.items():
        if not any(u.writes for u in mine):
            continue
        if any(u.access.stride(loop.number) for u in mine):
            if not all(_are_apart(a, b, loop) for a in mine for b in mine if a.writes or b.writes):
                return None
        elif all(u.adds for u in mine):
            memory.sums.append(mine)
        elif key in alone and _is_private(mine, loop):
            memory.private.append(mine)
        else:
            return None
    return memory


def _are_apart(one: Use, other: Use, loop: Loop) -> bool:
    """Return True if different iterations use different bytes."""
    s = one.access.stride(loop.number)
    if not one.meets(other) and not s and not other.access.stride(loop.number):
        return True
    if one.outer != other.outer or not s:
        return False
    low, high = min(one.low, other.low), max(one.high, other.high)
    return high - low <= abs(s)


def _is_private(uses: Sequence[Use], loop: Loop) -> bool:
    """Return True if an iteration writes all that it reads of a buffer."""
    buffer = uses[0].access.buffer
    if buffer.role != TEMPORARY:
        return False
    if loop.number in buffer.private:
        return True
    written: set[Access] = set()
    for use in uses:
        if use.access.strides or (not use.writes and use.access not in written):
            return False
        written.add(use.access)
    return True


def _shares(loop: Loop, alone: set[int]) -> list[Node] | None:
    """The nodes in the place of a loop; None if it stays as it is."""
    time = _time([loop])
    if loop.in_order or time < LONG or any(isinstance(c, Call) for c in computes(loop)):
        return None
    memory = _memory(loop, alone)
    if memory is None:
        return None
    most = min(time / SHARE, MOST)
    added = 0.3 * sum((_reach(u)[1] - _reach(u)[0]) / 8 for u in memory.sums)
    if added:
        most = min(most, PART * time / added)
    each = sum(_padded(_reach(u)[1] - _reach(u)[0]) for u in (*memory.sums, *memory.private))
    if each:
        most = min(most, max(NEAR / each, 8), LARGEST / each)
    size = -(-loop.extent // max(int(most), 1))
    if size > 2 * STEP:
        size = -(-size // STEP) * STEP
    count = -(-loop.extent // size)
    if count < 2:
        return None
    return _cut(loop, memory, Shared(new_number(), count, size, loop))


def _reach(uses: Sequence[Use]) -> tuple[int, int]:
    """The bytes of a buffer that uses cover."""
    return min(u.low for u in uses), max(u.high for u in uses)


def _padded(size: int) -> int:
    return -(-size // LINE) * LINE


def _cut(loop: Loop, memory: _Memory, node: Shared) -> list[Node]:
    """Give each share its own memory, and add up its sums behind."""
    moved: dict[int, tuple[Buffer, int, int]] = {}
    behind = new_loop(node.count)
    for uses in memory.private:
        low, high = _reach(uses)
        if any(u.access.strides for u in uses):
            step = _padded(high - low)
            kind = uses[0].access.buffer.kind
            moved[id(uses[0].access.buffer)] = Buffer(kind, node.count * step), low, step
    for uses in memory.sums:
        buffer = uses[0].access.buffer
        kind, (low, high) = buffer.kind, _reach(uses)
        neutral = Number(-0.0 if kind in (float64, float32) else 0, kind)
        step = _padded(high - low)
        sums = Buffer(kind, node.count * step)
        if any(u.access.strides for u in uses):
            moved[id(buffer)] = sums, low, step
            fill, add = (new_loop((high - low) // kind.itemsize) for _ in range(2))
            place = Access(
                sums, 0, tuple(sorted([(fill.number, kind.itemsize), (node.number, step)]))
            )
            fill.body.append(Compute(COPY, (neutral,), place, kind))
            node.before.append(fill)
            total = Access(buffer, low, ((add.number, kind.itemsize),))
            term = Access(
                sums, 0, tuple(sorted([(add.number, kind.itemsize), (behind.number, step)]))
            )
            add.body.append(Compute(ADD, (total, term), total, kind))
            behind.body.append(add)
            continue
        scalar = Buffer(kind, high - low)
        moved[id(buffer)] = scalar, low, 0
        for total in dict.fromkeys(u.access for u in uses):
            offset = total.offset - low
            mine = Access(scalar, offset, ())
            node.before.append(Compute(COPY, (neutral,), mine, kind))
            node.after.append(
                Compute(COPY, (mine,), Access(sums, offset, ((node.number, step),)), kind)
            )
            term = Access(sums, offset, ((behind.number, step),))
            behind.body.append(Compute(ADD, (total, term), total, kind))

    def new(x: Any) -> Any:
        if not isinstance(x, Access) or id(x.buffer) not in moved:
            return x
        buffer, low, step = moved[id(x.buffer)]
        strides = tuple(sorted([*x.strides, (node.number, step)])) if step else x.strides
        return Access(buffer, x.offset - low, strides)

    for part in computes(loop):
        assert isinstance(part, Compute)
        part.reads, part.write = tuple(map(new, part.reads)), new(part.write)
    return [node, behind] if behind.body else [node]
