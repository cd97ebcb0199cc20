"""A closed tape with fewer statements and the same results.

One pass over the statements, in order:

- aliases are what they show, and so are detached views in a tape that is not differentiated;
- a statement that is there already, with the same operands, is not computed again;
- ``x * 1``, ``x / 1``, ``x - 0``, ``-(-x)`` are `x`, and so are casts to the dtype that there is, and
  copies of what nothing writes to: identities that hold for every number, NaN and -0.0 among them;
- what has numbers for operands only is a number;
- what no result needs is left out.

Of statements that read memory which is written in place calls alone are merged, where nothing was written
between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..native import abi as nt
from ..native.ufunc_loops import PREFERRED
from ..ops.instruction import INSTRUCTIONS, Instruction
from ..ops.layout import SCALARS, Layout
from ..tape.constants import Constants
from ..tape.segment import Leaf, Segment, Step
from .closed_tape import TRANSFORMS, ClosedTape

__all__ = ["simplified"]

#: views that show all of their operand as it is
_SAME = ("alias", "detach", "data", "view", "unsafe_view", "expand", "squeeze", "unsqueeze")
#: (row, operand that is a number, the number): the result is the other operand
_COMMUTATIVE = ("add", "mul")
_IDENTITIES = {("mul", 0): 1.0, ("mul", 1): 1.0, ("div", 1): 1.0, ("sub", 1): 0.0}


class _Simplifying:
    """The new statements, while they are put together."""

    def __init__(self, tape: ClosedTape, *, final: bool) -> None:
        self.tape, self.final = tape, final or not any(tape.active)
        self.steps: list[Step] = []
        self.leaves: list[Leaf] = list(tape.segment.leaves)
        self.numbers: dict[Leaf, int] = {leaf: ~i for i, leaf in enumerate(self.leaves)}
        #: reference of the old tape -> of the new one
        self.at: list[int] = []
        self.known: dict[Any, int] = {}
        #: for each new statement the first one that has the same value
        self.equal: list[int] = []
        #: for each new statement the root of its memory: a statement, or a leaf
        self.roots: list[int] = []
        self.written = _written(tape)
        #: those of the new statements
        self.unsteady: set[int] = set()
        #: root of memory -> number of writes so far
        self.writes: dict[int, int] = {}
        self.lines: list[str] = []

    def run(self) -> ClosedTape:
        tape = self.tape
        for k, step in enumerate(tape.segment.steps):
            instruction = INSTRUCTIONS[step.number]
            if instruction.op.kind == nt.OUTPUT:
                self.at.append(len(self.steps))
                if k in self.written:
                    self.unsteady.add(len(self.steps))
                self._append(
                    k, step._replace(references=(self._new(step.references[0]),)), len(self.steps)
                )
                continue
            operands = tuple(map(self._new, step.references))
            self.at.append(self._statement(k, step, instruction, operands))
        results = tuple(map(self._new, tape.segment.results))
        noted = tuple([self.at[k] for k in tape.segment.noted if self.at[k] >= 0])
        return _needed(replace(
            tape, segment=Segment(tuple(self.steps), tuple(self.leaves), results, noted),
            lines=tuple(self.lines) if tape.lines else (),
        ))  # fmt: skip

    def _new(self, reference: int) -> int:
        return self.at[reference] if reference >= 0 else reference

    def _append(self, k: int, step: Step, root: int) -> int:
        self.steps.append(step)
        self.roots.append(root)
        self.equal.append(len(self.equal))
        if self.tape.lines:
            self.lines.append(self.tape.lines[k])
        return len(self.steps) - 1

    def _root(self, reference: int) -> int:
        return self.roots[reference] if reference >= 0 else reference

    def _layout(self, reference: int) -> Layout:
        if reference >= 0:
            return INSTRUCTIONS[self.steps[reference].number].out
        leaf = self.leaves[~reference]
        return self.tape.layouts[leaf.value] if leaf.code == nt.SEG_INPUT else SCALARS[leaf.code]

    def _statement(
        self, k: int, step: Step, instruction: Instruction, operands: tuple[int, ...]
    ) -> int:
        """Reference to what a statement computes."""
        kind, entry = instruction.op.kind, instruction.op
        is_written = k in self.written
        if kind == nt.VIEW and not self._cuts(step):
            same = (
                entry.name in _SAME
                and not step.offset
                and instruction.out is self._layout(operands[0])
            )
            if same and (self.final or not entry.detaches):
                return operands[0]
        reads_written = any(self._reads_written(r) for r in step.references)
        if kind == nt.COMPUTE and not (is_written or reads_written or self._cuts(step)):
            other = self._identity(instruction, operands)
            if other is not None:
                return other
        mergeable = kind == nt.VIEW or (kind == nt.COMPUTE and not is_written)
        mergeable = mergeable and not entry.python and len(instruction.outs) == 1
        same_either_way = (
            entry.name in _COMMUTATIVE and instruction.layouts[0] is instruction.layouts[1]
        )
        equal = tuple([self.equal[r] if r >= 0 else r for r in operands])
        operands_key = tuple(sorted(equal)) if same_either_way else equal
        key: Any = (step.number, operands_key, step.offset, self.final or step.mode)
        if kind == nt.COMPUTE:
            key += tuple([self.writes.get(self._root(r), 0) for r in operands_key])
        known = self.known.get(key) if mergeable else None
        if known is not None:
            # Others stay: where rounds of a loop read what they write, each does so in the same way.
            steady = not (is_written or reads_written) and equal == operands
            if steady or entry.has_code:
                return known
        new = step._replace(references=operands)
        root = len(self.steps) if kind == nt.COMPUTE else self._root(operands[0])
        place = self._append(k, new, root)
        if kind in (nt.WRITE, nt.ACCUMULATE):
            self.writes[root] = self.writes.get(root, 0) + 1
        if is_written:
            self.unsteady.add(place)
        if known is not None:
            self.equal[place] = known
        elif mergeable:
            self.known[key] = place
        return place

    def _cuts(self, step: Step) -> bool:
        """Return True for what was recorded without gradients: it has none, where its operand may have."""
        return not self.final and step.mode == 0

    def _reads_written(self, reference: int) -> bool:
        return reference >= 0 and reference in self.written

    def _number(self, reference: int) -> Any:
        """The number that a reference is, behind any broadcasting; None if it is none."""
        while reference >= 0:
            step = self.steps[reference]
            entry = INSTRUCTIONS[step.number].op
            if reference in self.unsteady:
                return None
            if entry.name not in ("view", "expand", "clone", "as_strided", "unsqueeze", "squeeze"):
                return None
            (reference,) = step.references
        leaf = self.leaves[~reference]
        return None if leaf.code == nt.SEG_INPUT else Constants.array(leaf.value, leaf.code).item()

    def _identity(self, instruction: Instruction, operands: Sequence[int]) -> int | None:
        """The operand that a statement returns unchanged; a number that it computes."""
        entry, out = instruction.op, instruction.out
        name = entry.name
        if (
            name in ("to", "clone")
            and self._layout(operands[0]) is out
            and not self._is_expanded(operands[0])
        ):
            return operands[0]
        if name == "neg" and operands[0] >= 0:
            inner = self.steps[operands[0]]
            if (
                INSTRUCTIONS[inner.number].op.name == "neg"
                and self._layout(inner.references[0]) is out
                and inner.references[0] not in self.unsteady
                and not self._cuts(inner)
            ):
                return inner.references[0]
        for i, operand in enumerate(operands):
            neutral = _IDENTITIES.get((name, i))
            if neutral is None or out.dtype.code not in (0, 1):
                continue
            number = self._number(operand)
            if number is not None and number == neutral and str(number) in ("1.0", "0.0"):
                other = operands[1 - i]
                if self._layout(other) is out:
                    return other
        if (
            not out.ndim
            and entry.is_elementwise
            and all(r < 0 for r in operands)
            and not entry.python
        ):
            return self._folded(instruction, operands)
        return None

    def _is_expanded(self, reference: int) -> bool:
        return 0 in self._layout(reference).strides and self._layout(reference).size > 1

    def _folded(self, instruction: Instruction, operands: Sequence[int]) -> int | None:
        """A statement of numbers as a number, if NumPy's function gives the bits that the kernel gives."""
        leaves, loop = [self.leaves[~r] for r in operands], instruction.op.loop
        if any(leaf.code == nt.SEG_INPUT for leaf in leaves) or loop is None:
            return None
        if (loop, instruction.layouts[0].dtype.name) in PREFERRED:
            return None
        values = [Constants.array(leaf.value, leaf.code) for leaf in leaves]
        with np.errstate(all="ignore"):
            value = np.asarray(loop(*values), instruction.out.dtype.np)
        leaf = Leaf(*Constants.key(value, instruction.out.dtype)[::-1])
        if leaf not in self.numbers:
            self.leaves.append(leaf)
            self.numbers[leaf] = -len(self.leaves)
        return self.numbers[leaf]


def _written(tape: ClosedTape) -> set[int]:
    """Statements whose memory is written in place, with all views of it."""
    roots: list[int] = []
    targets: set[int] = set()
    for k, step in enumerate(tape.segment.steps):
        kind = INSTRUCTIONS[step.number].op.kind
        if kind in (nt.VIEW, nt.WRITE, nt.ACCUMULATE):
            source = step.references[0]
            roots.append(roots[source] if source >= 0 else source)
        else:
            roots.append(k)
        if kind in (nt.WRITE, nt.ACCUMULATE):
            targets.add(roots[-1])
    return {k for k, root in enumerate(roots) if root in targets}


def _needed(tape: ClosedTape) -> ClosedTape:
    """The tape without statements that no result needs."""
    steps = tape.segment.steps
    roots: list[int] = []
    for k, step in enumerate(steps):
        kind = INSTRUCTIONS[step.number].op.kind
        source = step.references[0] if step.references else k
        is_alias = kind in (nt.VIEW, nt.WRITE, nt.ACCUMULATE)
        roots.append(roots[source] if is_alias and source >= 0 else k if not is_alias else source)
    needed = [False] * len(steps)
    memory: set[int] = set()
    for r in tape.segment.results:
        if r >= 0:
            needed[r] = True
            memory.add(roots[r])
    for k in range(len(steps) - 1, -1, -1):
        instruction = INSTRUCTIONS[steps[k].number]
        kind = instruction.op.kind
        if kind in (nt.WRITE, nt.ACCUMULATE) and roots[k] in memory:
            needed[k] = True
        if any(needed[k + 1 : k + len(instruction.outs)]) or instruction.is_kept:
            needed[k] = True
        if needed[k]:
            for j in range(1, len(instruction.outs)):
                needed[k + j] = True
            for r in steps[k].references:
                if r >= 0:
                    needed[r] = True
                    memory.add(roots[r])
    if all(needed):
        return tape
    at: dict[int, int] = {}
    kept: list[Step] = []
    lines: list[str] = []
    for k, step in enumerate(steps):
        if needed[k]:
            at[k] = len(kept)
            kept.append(
                step._replace(references=tuple([at[r] if r >= 0 else r for r in step.references]))
            )
            if tape.lines:
                lines.append(tape.lines[k])
    results = tuple([at[r] if r >= 0 else r for r in tape.segment.results])
    noted = tuple([at[k] for k in tape.segment.noted if k in at])
    segment = Segment(tuple(kept), tape.segment.leaves, results, noted)
    return replace(tape, segment=segment, lines=tuple(lines))


def simplified(tape: ClosedTape, *, final: bool = False) -> ClosedTape:
    """Return a tape with the same results, and fewer statements.

    Parameters
    ----------
    tape : ClosedTape
    final : bool
        Whether it will not be differentiated: then what is detached is what it shows.
    """
    return _Simplifying(tape, final=final).run()


TRANSFORMS["simplified"] = simplified
