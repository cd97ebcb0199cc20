"""A closed tape as arrays, and what two of them differ in."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

import numpy as np

from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS
from .closed_tape import TRANSFORMS, ClosedTape, layout_text

__all__ = ["diff", "line", "operands", "statements"]


def statements(tape: ClosedTape) -> np.ndarray:
    """Return the statements as a structured array; see `ClosedTape.statements`."""
    rows, start = [], 0
    for step in tape.segment.steps:
        one = INSTRUCTIONS[step.number]
        shape = "x".join(map(str, one.out.shape)) or "()"
        owned = 0 if one.op.kind in (nt.VIEW, nt.WRITE, nt.ACCUMULATE) else one.out.span
        rows.append(
            (
                one.op.name,
                start,
                len(step.references),
                one.out.dtype.name,
                shape,
                owned,
                step.offset or 0,
            )
        )
        start += len(step.references)
    widths = [max([len(str(row[i])) for row in rows], default=1) for i in (0, 3, 4)]
    kinds = [
        ("op", f"U{widths[0]}"), ("start", np.int64), ("count", np.int64), ("dtype", f"U{widths[1]}"),
        ("shape", f"U{widths[2]}"), ("bytes", np.int64), ("offset", np.int64),
    ]  # fmt: skip
    return np.array(rows, kinds)


def operands(tape: ClosedTape) -> np.ndarray:
    """Return the operands of all statements; see `ClosedTape.operands`."""
    return np.array([r for step in tape.segment.steps for r in step.references], np.int64)


def line(tape: ClosedTape, k: int) -> str:
    """Return a statement as text; see `ClosedTape.line`."""
    step = tape.segment.steps[k]
    instruction = INSTRUCTIONS[step.number]
    out = layout_text(instruction.out)
    operands = ", ".join(map(tape.name_of, step.references))
    attrs = ", ".join(
        f"{name}={value}"
        for name, value in instruction.attrs.items()
        if name not in ("layout", "named", "inner")
    )
    name = instruction.op.name
    while instruction.op.lifted:
        instruction = INSTRUCTIONS[instruction.attrs["inner"]]
        name = f"batch of {instruction.op.name}"
    extra = f" [{attrs}]" if attrs else ""
    offset = f" + {step.offset}" if step.offset else ""
    source = f"    # {tape.lines[k]}" if tape.lines and tape.lines[k] else ""
    return f"  %{k}: {out} = {name}({operands}{offset}){extra}{source}"


def _leaf(tape: ClosedTape, reference: int) -> Any:
    """Return what a leaf is, whatever theirs number."""
    leaf, count = tape.segment.leaves[~reference], len(tape.inputs)
    if leaf.code == nt.SEG_INPUT and leaf.value >= count:
        array = tape.arrays[leaf.value - count]
        return array.dtype.str, array.shape, array.tobytes()
    return leaf


def diff(tape: ClosedTape, other: ClosedTape) -> str:
    """Return how `other` differs from `tape`; see `ClosedTape.diff`."""
    pair = tape, other
    lines = []
    for name in ("inputs", "in_spec", "out_spec"):
        a, b = (getattr(t, name) for t in pair)
        if a != b:
            lines.append(f"! {name}: {a} -> {b}")
    # By instruction, offset and mode first: numbers of statements move when one is put in between.
    keys = [[(s.number, s.offset, s.mode) for s in t.segment.steps] for t in pair]
    moved: dict[int, int] = {}

    def same(a: int, b: int) -> bool:
        if (a < 0) != (b < 0):
            return False
        return moved.get(a) == b if a >= 0 else bool(_leaf(tape, a) == _leaf(other, b))

    for tag, i, m, j, n in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_opcodes():
        if tag != "equal":
            lines += [f"- {tape.line(k).strip()}" for k in range(i, m)]
            lines += [f"+ {other.line(k).strip()}" for k in range(j, n)]
            continue
        for k, p in zip(range(i, m), range(j, n), strict=True):
            moved[k] = p
            ours, theirs = (
                t.segment.steps[x].references for t, x in zip(pair, (k, p), strict=True)
            )
            if not all(map(same, ours, theirs)):
                lines.append(f"! {tape.line(k).strip()} -> {other.line(p).strip()}")
    ours, theirs = (t.segment.results for t in pair)
    if len(ours) != len(theirs) or not all(map(same, ours, theirs)):
        named = [", ".join(map(t.name_of, t.segment.results)) for t in pair]
        lines.append(f"! return {named[0]} -> {named[1]}")
    return "\n".join(lines)


TRANSFORMS |= {"line": line, "statements": statements, "operands": operands, "diff": diff}
