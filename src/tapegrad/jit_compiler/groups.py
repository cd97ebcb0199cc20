"""Functions of a program's code, and the places of what they use.

Each node at the top is a function, and computes that follow each other are one. `Layout` has places in
memory and in the table, as plan.py has worked them out for code.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .loops import TEMPORARY, Call, Compute, Node, Shared, accesses

__all__ = ["TABLE_HEAD", "Layout", "grouped", "local_temporaries"]

#: words of the table in front of the buffers: addresses of `run_steps`, of the memory for temporaries, of
#: `run_shares`
TABLE_HEAD = 3


class Layout:
    """Places of buffers and words, as plan.py has worked them out.

    Attributes
    ----------
    words : dict
        Buffer -> number of its address in the table.
    offsets : dict
        Temporary -> offset in the memory for temporaries.
    calls : dict
        `Call` -> number of its words in the table: the range of its steps, scratch memory's offset is
        constant.
    indices : dict
        Loop around shares, by its number -> word for the iteration that it is at.
    """

    def __init__(self) -> None:
        self.words: dict[int, int] = {}
        self.offsets: dict[int, int] = {}
        self.calls: dict[int, int] = {}
        self.scratch: dict[int, int] = {}
        self.indices: dict[int, int] = {}
        #: False for code that is slower, and right for all numbers
        self.fast = True

    def description(self) -> str:
        """All that code depends on, as text."""
        parts = self.words, self.offsets, self.calls, self.scratch, self.indices
        return str([self.fast, *[list(x.values()) for x in parts]])


def grouped(nodes: Sequence[Node]) -> list[list[Node]]:
    """The nodes of each function: a loop or a call, or computes that follow each other."""
    groups: list[list[Node]] = []
    for node in nodes:
        if isinstance(node, Compute) and groups and isinstance(groups[-1][-1], Compute):
            groups[-1].append(node)
        else:
            groups.append([node])
    return groups


def local_temporaries(groups: Sequence[Sequence[Node]]) -> set[int]:
    """Temporaries that one function uses alone, number by number at places that do not move."""
    owner: dict[int, int] = {}
    shared: set[int] = set()
    for function, part in _by_function(groups):
        for use in accesses(part):
            buffer, key = use.access.buffer, id(use.access.buffer)
            simple = not use.access.strides and isinstance(part, Compute)
            if (
                buffer.role != TEMPORARY
                or not simple
                or owner.setdefault(key, function) != function
            ):
                shared.add(key)
    return owner.keys() - shared


def _by_function(groups: Sequence[Sequence[Node]]) -> Iterator[tuple[int, Compute | Call]]:
    """Iterate over what is computed, with the function that does: shares inside of a loop have their own."""

    def visit(node: Node, function: int) -> Iterator[tuple[int, Compute | Call]]:
        if isinstance(node, Compute | Call):
            yield function, node
            return
        for part in node.body:
            yield from visit(part, id(node) if isinstance(node, Shared) else function)

    for i, group in enumerate(groups):
        for node in group:
            yield from visit(node, i)
