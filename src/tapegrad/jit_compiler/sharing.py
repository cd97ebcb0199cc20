"""Loops in shares, which several threads take.

`shared` cuts a long loop at the top of a program into shares, if no iteration uses what another one has
done: then any thread may do any share, at any time. Two things see to that:

- a sum over the iterations is kept a share each, and these are added up in their order, by a loop behind;
- memory that each iteration writes before it reads it is there for each share.

Of loops that run tile by tile, each has a range of its own in a share (share_ranges.py).

How many shares there are depends on the loop alone. So do results: threads differ in who takes which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import bool_, dtype, float32, float64
from .formulas import COPY
from .loops import (
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
    Use,
    accesses,
    computes,
    loops_of,
    new_loop,
    new_number,
)
from .product_ranges import PRODUCTS
from .share_ranges import with_margins, with_slices
from .tiles import uses_of_buffers, without_windows

__all__ = ["shared"]

#: nanoseconds from which on a loop is shared, and of a share: to wake a thread takes the calling one 10
#: microseconds, and it comes 30 later
LONG, SHARE = 100_000, 8_000
#: shares at most, and iterations of an innermost loop that a share is a multiple of
MOST, STEP = 256, 64
#: iterations of a share for each of those that it leaves out at an end, or computes as well
MARGIN, SLICE = 4, 16
#: part of a loop's time that adding up sums may take
PART = 0.1
#: bytes of memory for all shares that is not much, and at most
NEAR, LARGEST = 1 << 20, 1 << 23
ADD = "ufunc:add"
#: numbers that others are larger or smaller than, by the ufunc that finds the largest or smallest
_NEUTRAL = {"ufunc:maximum": -np.inf, "ufunc:minimum": np.inf}
LINE = 64
_CHEAP = frozenset(
    ("abs", "add", "copy", "equal", "ge", "gt", "le", "lt", "maximum", "minimum", "mul", "multiply", "ne",
     "neg", "negative", "power", "sub", "subtract", "where")
)  # fmt: skip
_MIDDLE = frozenset(("div", "divide", "true_divide", "reciprocal", "sqrt", "square"))


def shared(nodes: list[Node]) -> list[Node]:
    """Cut long loops into shares: those at the top, or those inside of a loop that stays in one."""
    return _with_shares(nodes, uses_of_buffers(nodes))


def _with_shares(nodes: list[Node], counts: Counter[int]) -> list[Node]:
    result: list[Node] = []
    for node in nodes:
        parts = None
        if isinstance(node, Loop | Band) and _time([node]) >= LONG:
            alone = {key for key, n in uses_of_buffers([node]).items() if counts[key] == n}
            parts = _shares(node, alone)
            if parts is None and isinstance(node, Loop) and _time(node.body) >= LONG:
                node.body = _with_shares(node.body, counts)
        result += [node] if parts is None else parts
    return result


# --------------------------------------------------------------------------- time
def _time(nodes: Sequence[Node]) -> float:
    """Nanoseconds that nodes take, roughly."""
    total = 0.0
    for node in nodes:
        if isinstance(node, Band):
            total += _time(node.body)
        elif isinstance(node, Loop):
            total += node.extent * _time(node.body)
        elif isinstance(node, Compute):
            total += _time_of(node)
        elif isinstance(node, Call):
            total += _time_of_call(node)
    return total


def _time_of(part: Compute) -> float:
    """Nanoseconds of a compute in a loop that is vectorised; others are left on the low side."""
    if part.write in part.reads and not part.adds:  # each waits for the one before
        return 1.0
    name = part.formula.name.rpartition(":")[2]
    moving = sum(bool(x.strides) for x in (*part.reads, part.write) if isinstance(x, Access))
    return (0.03 if name in _CHEAP else 0.2 if name in _MIDDLE else 0.8) + 0.08 * moving


def _time_of_call(call: Call) -> float:
    """Nanoseconds of a product; those of other calls are not known."""
    if not _is_product(call):
        return 0.0
    (out,), first = call.instruction.outs, call.instruction.layouts[0]
    return 0.05 * out.size * first.shape[-1]


def _is_product(call: Call) -> bool:
    """Return True for a product that needs no memory of its own: several threads may run it at a time."""
    return call.instruction.op.name in PRODUCTS and not call.instruction.scratch


# --------------------------------------------------------------------------- memory
class _Memory(NamedTuple):
    """Memory that all iterations use.

    Attributes
    ----------
    sums : list of (str, list of Use)
        Ufunc by which a buffer grows, and the uses of it.
    private : list of list of Use
        Uses of buffers that each share has for itself.
    """

    sums: list[tuple[str, list[Use]]]
    private: list[list[Use]]


def _memory(loops: Sequence[Loop], alone: set[int]) -> _Memory | None:
    """Sums and private memory of loops; None if an iteration may use what another one has done."""
    uses: dict[int, dict[Loop, list[Use]]] = {}
    for loop in loops:
        for part in loop.body:
            for use in accesses(part):
                mine = uses.setdefault(id(use.access.buffer), {}).setdefault(loop, [])
                if use not in mine:
                    mine.append(use)
    growth = _growth(loops)
    memory = _Memory([], [])
    for key, by_loop in uses.items():
        together = [u for mine in by_loop.values() for u in mine]
        if not any(u.writes for u in together):
            continue
        if any(u.access.stride(loop.number) for loop, mine in by_loop.items() for u in mine):
            for loop, mine in by_loop.items():
                if not all(
                    _are_apart(a, b, loop) for a in mine for b in mine if a.writes or b.writes
                ):
                    return None
        elif len({u.outer for u in together}) != 1:
            return None
        elif growth[key] in (*_NEUTRAL, ADD):
            memory.sums.append((growth[key], together))
        elif key in alone and len(by_loop) == 1 and _is_private(together, *by_loop):
            memory.private.append(together)
        else:
            return None
    return memory


def _growth(loops: Sequence[Loop]) -> dict[int, str]:
    """Ufunc by which loops let each buffer grow, as a sum does; empty where they do anything else with it."""
    growth: dict[int, str] = {}
    for part in (c for loop in loops for c in computes(loop)):
        if isinstance(part, Call):
            growth |= {id(x.buffer): "" for x in (*part.operands, *part.results)}
            continue
        grown = part.write if part.write in part.reads[:1] else None
        for i, x in enumerate((*part.reads, part.write)):
            if isinstance(x, Access):
                grows = x == grown and (i == 0 or i == len(part.reads))
                name = part.formula.name if grows else ""
                key = id(x.buffer)
                growth[key] = name if growth.setdefault(key, name) == name else ""
    return growth


def _are_apart(one: Use, other: Use, loop: Loop) -> bool:
    """Return True if different iterations use different bytes."""
    s, t = one.access.stride(loop.number), other.access.stride(loop.number)
    if one.outer != other.outer or not s:
        return not s and not t and not one.meets(other)
    low_a, high_a, low_b, high_b = one.low, one.high, other.low, other.high
    if s < 0:
        s, low_a, high_a, low_b, high_b = -s, -high_a, -low_a, -high_b, -low_b
    # of iterations that touch the same bytes, the difference
    least = max((low_b - high_a) // s + 1, 1 - loop.extent)
    most = min(-((low_a - high_b) // s) - 1, loop.extent - 1)
    return least > most or least == most == 0


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


# --------------------------------------------------------------------------- shares
def _shares(node: Loop | Band, alone: set[int]) -> list[Node] | None:
    """The nodes in the place of a loop; None if it stays as it is."""
    time, loops = _time([node]), loops_of(node)
    if any(loop.in_order for loop in loops):
        return None
    if not all(_is_product(c) for c in computes(node) if isinstance(c, Call)):
        return None
    memory = _memory(loops, alone)
    if memory is None:
        return None
    slices = None
    if isinstance(node, Band) and node.windows:
        slices = with_slices(node, loops, {id(u[0].access.buffer) for u in memory.private})
    ranges = with_margins(loops) if slices is None else slices.ranges
    if ranges is None:
        return None
    most = min(time / SHARE, MOST)
    added = 0.3 * sum(_reach(u) / 8 for _, u in memory.sums)
    if added:
        most = min(most, PART * time / added)
    each = sum(_padded(_reach(u)) for u in (*(u for _, u in memory.sums), *memory.private))
    if each:
        most = min(most, max(NEAR / each, 8), LARGEST / each)
    extents = [loop.extent for loop in loops]
    size = -(-max(extents) // max(int(most), 1))
    if size > 2 * STEP:
        size = -(-size // STEP) * STEP
    seam = max(max(abs(r.first), abs(r.stop)) for r in ranges)
    size = max(size, (MARGIN if slices is None else SLICE) * seam)
    count = -(-max(extents) // size)
    while count > 1 and (count - 1) * size + seam > min(extents):
        count -= 1
    if count < 2:
        return None
    if slices is not None:
        assert isinstance(node, Band)
        node.body, node.lags = [*slices.loops], slices.lags
    elif isinstance(node, Band):
        without_windows(node)
    return _cut(memory, Shared(new_number(), count, size, node, ranges))


def _low(uses: Sequence[Use]) -> int:
    return min(u.low for u in uses)


def _reach(uses: Sequence[Use]) -> int:
    """Bytes of a buffer that uses cover."""
    return max(u.high for u in uses) - _low(uses)


def _padded(size: int) -> int:
    return -(-size // LINE) * LINE


def _seams(node: Shared, memory: _Memory) -> list[Node]:
    """Loops over the iterations that shares leave out."""
    buffers = [u[0].access.buffer for u in memory.private]
    if isinstance(node.loop, Band) and node.loop.windows:
        return []
    parts = zip(loops_of(node.loop), node.ranges, strict=True)
    return [_seam(node, x, r.first, -r.stop, buffers) for x, r in parts if r.first or r.stop]


def _seam(node: Shared, loop: Loop, ahead: int, behind: int, buffers: Sequence[Buffer]) -> Loop:
    """The iterations of a loop that shares leave out, with private numbers of its own."""
    inner = new_loop(ahead + behind)
    outer = new_loop(node.count - 1, [inner])
    private = {id(x): Buffer(x.kind, x.span) for x in buffers}

    def new(x: Any) -> Any:
        if not isinstance(x, Access):
            return x
        step = x.stride(loop.number)
        strides = [p for p in x.strides if p[0] != loop.number]
        if step:
            strides += [(outer.number, step * node.size), (inner.number, step)]
        offset = x.offset + step * (node.size - behind)
        return Access(private.get(id(x.buffer), x.buffer), offset, tuple(sorted(strides)))

    for part in loop.body:
        assert isinstance(part, Compute)  # loops of a band are innermost ones
        reads = tuple(map(new, part.reads))
        inner.body.append(Compute(part.formula, reads, new(part.write), part.result))
    return outer


def _cut(memory: _Memory, node: Shared) -> list[Node]:
    """Give each share its own memory, and add up its sums behind."""
    seams = _seams(node, memory)
    #: buffer -> the one in its place, what is taken from offsets, and bytes from one share to the next
    moved: dict[int, tuple[Buffer, int, int]] = {}
    called = {
        id(x.buffer)
        for c in computes(node.loop)
        if isinstance(c, Call)
        for x in (*c.operands, *c.results)
    }
    for uses in memory.private:
        if any(u.access.strides for u in uses) or id(uses[0].access.buffer) in called:
            buffer, step = uses[0].access.buffer, _padded(_reach(uses))
            moved[id(buffer)] = Buffer(buffer.kind, node.count * step), _low(uses), step
    behind = new_loop(node.count)
    for name, uses in memory.sums:
        buffer = uses[0].access.buffer
        moved[id(buffer)] = _sum_in_shares(node, behind, name, uses)

    inside = {*_numbers(node.loop)}

    def new(x: Any) -> Any:
        if not isinstance(x, Access) or id(x.buffer) not in moved:
            return x
        buffer, low, step = moved[id(x.buffer)]
        strides = [p for p in x.strides if p[0] in inside]
        if step:
            strides.append((node.number, step))
        return Access(buffer, x.offset - low, tuple(sorted(strides)))

    for part in computes(node.loop):
        if isinstance(part, Call):
            part.operands, part.results = (
                tuple(map(new, part.operands)),
                tuple(map(new, part.results)),
            )
        else:
            part.reads, part.write = tuple(map(new, part.reads)), new(part.write)
    return [node, *([behind] if behind.body else []), *seams]


def _numbers(node: Node) -> Iterator[int]:
    """Iterate over the loops of a nest."""
    if isinstance(node, Loop | Band):
        if isinstance(node, Loop):
            yield node.number
        for part in node.body:
            yield from _numbers(part)


def _sum_in_shares(
    node: Shared, behind: Loop, name: str, uses: Sequence[Use]
) -> tuple[Buffer, int, int]:
    """Let a sum begin anew in each share, and add it up behind; returns what is moved, as in `_cut`."""
    buffer, low, reach = uses[0].access.buffer, _low(uses), _reach(uses)
    kind, size, step = buffer.kind, buffer.kind.itemsize, _padded(reach)
    formula, neutral = Formula(name), Number(_neutral(name, kind), kind)
    sums = Buffer(kind, node.count * step)
    outer = uses[0].outer
    if any(u.access.strides != outer for u in uses):
        fill, add = (new_loop(reach // size) for _ in range(2))
        place, term = (
            Access(sums, 0, tuple(sorted([(inner.number, size), (shares.number, step)])))
            for inner, shares in ((fill, node), (add, behind))
        )
        total = Access(buffer, low, tuple(sorted([*outer, (add.number, size)])))
        fill.body.append(Compute(COPY, (neutral,), place, kind))
        add.body.append(Compute(formula, (total, term), total, kind))
        node.before.append(fill)
        behind.body.append(add)
        return sums, low, step
    scalar = Buffer(kind, reach)
    for total in dict.fromkeys(u.access for u in uses):
        offset = total.offset - low
        mine = Access(scalar, offset, ())
        term = Access(sums, offset, ((behind.number, step),))
        node.before.append(Compute(COPY, (neutral,), mine, kind))
        node.after.append(Compute(COPY, (mine,), term.renamed(behind.number, node.number), kind))
        behind.body.append(Compute(formula, (total, term), total, kind))
    return scalar, low, 0


def _neutral(name: str, kind: dtype) -> float | int:
    """The number that changes no other one: for sums the zero that keeps the sign of another zero."""
    if kind in (float64, float32):
        return -0.0 if name == ADD else _NEUTRAL[name]
    if kind is bool_:
        return name == "ufunc:minimum"
    return (
        0
        if name == ADD
        else int(np.iinfo(kind.np).min if _NEUTRAL[name] < 0 else np.iinfo(kind.np).max)
    )
