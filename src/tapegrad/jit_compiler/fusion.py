"""Fusion: loops over the same range become one, so that what passes between them stays in registers.

`fused` joins each loop with the first one before it that has the same range, if no place is used in another
order then: an iteration of the later loop may use what the earlier loop has done in that iteration, and
nothing of what it does in later ones. This is done from the outside to the inside, so rows of a matrix, and
in them its columns.
"""

from __future__ import annotations

from collections.abc import Iterable

from .loops import Access, Compute, Loop, Node, Number, Use, accesses, computes, new_loop

__all__ = ["Uses", "depends", "differences", "fused", "is_innermost", "pairs", "rename"]

#: nodes that are looked back at, and computes in a loop at most
REACH, LARGEST = 200, 1000


# --------------------------------------------------------------------------- order
class Uses:
    """The uses of memory of a node, by buffer."""

    def __init__(self, node: Node) -> None:
        self.by_buffer: dict[int, list[Use]] = {}
        self.size = 0
        for use in accesses(node):
            uses = self.by_buffer.setdefault(id(use.access.buffer), [])
            if use not in uses:
                uses.append(use)
        self.size = sum(1 for _ in computes(node))

    def add(self, other: Uses) -> None:
        """Add those of another node."""
        for key, uses in other.by_buffer.items():
            mine = self.by_buffer.setdefault(key, [])
            mine += [u for u in uses if u not in mine]
        self.size += other.size


def pairs(a: Uses, b: Uses, *, with_sums: bool = False) -> Iterable[tuple[Use, Use]]:
    """Uses of the same memory, one of which writes; sums may come in any order, and are not among them."""
    small, large = (a, b) if len(a.by_buffer) <= len(b.by_buffer) else (b, a)
    for key in small.by_buffer:
        if key not in large.by_buffer:
            continue
        for one in a.by_buffer[key]:
            for other in b.by_buffer[key]:
                if (one.writes or other.writes) and not (one.adds and other.adds and not with_sums):
                    yield one, other


def depends(later: Uses, earlier: Uses) -> bool:
    """Return True if two nodes have to stay in this order."""
    return any(one.meets(other) for one, other in pairs(earlier, later))


def may_join(first: Loop, second: Loop, a: Uses, b: Uses, *, innermost: bool) -> bool:
    """Return True if iterations of the second loop may follow those of the first one by one."""
    for one, other in pairs(a, b, with_sums=innermost):
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


def differences(first: Loop, second: Loop, one: Use, other: Use) -> tuple[int, int] | None:
    """Iteration of the first loop less that of the second one, where they use the same bytes.

    Returns
    -------
    tuple of (int, int) or None
        The least and the largest, in this order if there are any; None if they are not the same all over.
    """
    s = one.access.stride(first.number)
    if s != other.access.stride(second.number) or s <= 0 or one.outer != other.outer:
        return None
    reach_a, reach_b = s * (first.extent - 1), s * (second.extent - 1)
    least = (other.low - (one.high - reach_a)) // s + 1
    return least, -((one.low - (other.high - reach_b)) // s) - 1


# --------------------------------------------------------------------------- fusion
def is_innermost(loop: Loop) -> bool:
    """Return True for a loop without loops inside."""
    return not any(isinstance(part, Loop) for part in loop.body)


def fused(nodes: list[Node]) -> list[Node]:
    """Join loops over the same range."""
    result: list[Node] = []
    uses: list[Uses] = []
    #: how many nodes have to be done, one after the other, before each
    levels: list[int] = []
    for node in nodes:
        mine = Uses(node)
        fills = _is_fill(node)
        place = None if fills else _joinable(node, mine, result, uses)
        if place is None:
            # Behind what it needs, and what needs no more: so what needs it can join a loop in front.
            at = len(result)
            while at and not depends(mine, uses[at - 1]):
                at -= 1
            level = levels[at - 1] + 1 if at else 0
            while isinstance(node, Loop) and not fills and at < len(result) and levels[at] <= level:
                at += 1
            result.insert(at, node)
            uses.insert(at, mine)
            levels.insert(at, level)
        else:
            target = result[place]
            assert isinstance(target, Loop)
            assert isinstance(node, Loop)
            rename(node.body, node.number, target.number)
            node.number = target.number
            target.body += node.body
            uses[place].add(Uses(node))
    result = _sunk(result, uses)
    for node in result:
        if isinstance(node, Loop):
            node.body = fused(node.body)
    return result


def _is_fill(node: Node) -> bool:
    """Return True for a loop that writes numbers everywhere."""
    return isinstance(node, Loop) and all(
        isinstance(c, Compute) and all(isinstance(x, Number) for x in c.reads)
        for c in computes(node)
    )


def _joinable(node: Node, mine: Uses, result: list[Node], uses: list[Uses]) -> int | None:
    """The first loop that a loop can join: that has what is computed from the same operands."""
    if not isinstance(node, Loop) or node.in_order:
        return None
    place = None
    for k in range(len(result) - 1, max(-1, len(result) - 1 - REACH), -1):
        other = result[k]
        if (
            isinstance(other, Loop)
            and other.extent == node.extent
            and not other.in_order
            and uses[k].size + mine.size <= LARGEST
            and not _is_fill(other)
        ):
            innermost = is_innermost(other) and is_innermost(node)
            if may_join(other, node, uses[k], mine, innermost=innermost):
                place = k
        if depends(mine, uses[k]):
            break
    return place


def _sunk(result: list[Node], uses: list[Uses]) -> list[Node]:
    """Let memory be filled where it is used first, if that is a loop over the same range."""
    kept: list[Node] = []
    for k, node in enumerate(result):
        if not _is_fill(node):
            kept.append(node)
            continue
        assert isinstance(node, Loop)
        users = [i for i in range(k + 1, len(result)) if depends(uses[i], uses[k])]
        user = result[users[0]] if users else None
        innermost = isinstance(user, Loop) and is_innermost(user) and is_innermost(node)
        if (
            isinstance(user, Loop) and user.extent == node.extent and not user.in_order
            and may_join(node, user, uses[k], uses[users[0]], innermost=innermost)
        ):  # fmt: skip
            rename(node.body, node.number, user.number)
            user.body[:0] = node.body
            uses[users[0]] = Uses(user)
            continue
        rest = _filled_in(node, user) if isinstance(user, Loop) and innermost else None
        kept += [node] if rest is None else rest
        if rest is not None:
            assert isinstance(user, Loop)
            uses[users[0]] = Uses(user)
    return kept


def _filled_in(fill: Loop, user: Loop) -> list[Node] | None:
    """Let a shorter loop fill the part of memory that it goes over; what fills the rest is left.

    None if the loop uses other parts, too.
    """
    part = fill.body[0]
    if (
        len(fill.body) > 1
        or not isinstance(part, Compute)
        or user.in_order
        or user.extent >= fill.extent
    ):
        return None
    buffer, step = part.write.buffer, part.write.stride(fill.number)
    places = {u.access for u in accesses(user) if u.access.buffer is buffer}
    if len(places) != 1:
        return None
    (place,) = places
    ahead, odd = divmod(place.offset - part.write.offset, step)
    if (
        odd
        or place.strides != ((user.number, step),)
        or part.write.strides != ((fill.number, step),)
    ):
        return None
    behind = fill.extent - ahead - user.extent
    if ahead < 0 or behind < 0:
        return None
    user.body.insert(0, Compute(part.formula, part.reads, place, part.result))
    rest: list[Node] = []
    for first, count in ((0, ahead), (ahead + user.extent, behind)):
        if count:
            loop = new_loop(count)
            write = Access(buffer, part.write.offset + first * step, ((loop.number, step),))
            loop.body.append(Compute(part.formula, part.reads, write, part.result))
            rest.append(loop)
    return rest


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
