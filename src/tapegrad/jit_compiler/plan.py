"""The plan of a compiled tape: where each buffer is, and when its memory serves another."""

from __future__ import annotations

from collections.abc import Sequence

from ..ops.program import padded
from .groups import TABLE_HEAD, Layout, grouped, local_temporaries
from .loop_program import Program
from .loops import TEMPORARY, Buffer, Call, Loop, Node, Shared, accesses, computes

__all__ = ["planned"]


def planned(program: Program) -> tuple[Layout, list[Call], int, int]:
    """Place the buffers of a program.

    Returns
    -------
    layout : Layout
    calls : list of Call
        In the order of their words, two each.
    words : int
        Length of the table.
    size : int
        Bytes of memory for temporaries.
    """
    layout = Layout()
    word = TABLE_HEAD
    for buffer in (*program.inputs, *program.arrays, *program.outputs):
        layout.words[id(buffer)] = word
        word += 1
    calls = [c for node in program.nodes for c in computes(node) if isinstance(c, Call)]
    for call in calls:
        layout.calls[id(call)] = word
        word += 2
    for loop in _around_shares(program.nodes):
        layout.indices[loop.number] = word
        word += 1
    groups = grouped(program.nodes)
    local = local_temporaries(groups)
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    buffers: dict[int, Buffer] = {}
    for i, group in enumerate(groups):
        for node in group:
            for use in accesses(node):
                key = id(use.access.buffer)
                if use.access.buffer.role == TEMPORARY and key not in local:
                    first.setdefault(key, i)
                    last[key] = i
                    buffers[key] = use.access.buffer
    size = _placed(layout, groups, buffers, first, last)
    scratch = max((c.instruction.scratch for c in calls), default=0)
    for call in calls:
        layout.scratch[id(call)] = size
    return layout, calls, word, size + padded(scratch)


def _around_shares(nodes: Sequence[Node]) -> list[Loop]:
    """Loops that have shares inside."""
    loops: list[Loop] = []
    for node in nodes:
        if isinstance(node, Loop):
            inside = _around_shares(node.body)
            if inside or any(isinstance(x, Shared) for x in node.body):
                loops += [node, *inside]
    return loops


def _placed(
    layout: Layout, groups: Sequence[Sequence[Node]], buffers: dict[int, Buffer],
    first: dict[int, int], last: dict[int, int],
) -> int:  # fmt: skip
    """Place temporaries: those that are not alive at the same time may share memory."""
    starts: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for key in buffers:
        starts.setdefault(first[key], []).append(key)
        ends.setdefault(last[key], []).append(key)
    free: list[tuple[int, int]] = []  # offset, size
    top = 0
    for i in range(len(groups)):
        for key in starts.get(i, ()):
            size = padded(max(buffers[key].span, 8))
            fits = [f for f in free if f[1] >= size]
            if fits:
                place = min(fits, key=lambda f: f[1])
                free.remove(place)
                layout.offsets[key] = place[0]
                if place[1] > size:
                    free.append((place[0] + size, place[1] - size))
            else:
                layout.offsets[key] = top
                top += size
        for key in ends.get(i, ()):
            free = _joined([*free, (layout.offsets[key], padded(max(buffers[key].span, 8)))])
    return top


def _joined(free: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Make one of free ranges that touch."""
    result: list[tuple[int, int]] = []
    for offset, size in sorted(free):
        if result and result[-1][0] + result[-1][1] == offset:
            result[-1] = result[-1][0], result[-1][1] + size
        else:
            result.append((offset, size))
    return result
