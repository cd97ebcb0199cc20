"""Programs of VJPs for many cotangents at once (lanes).

A rule is linear in its cotangent. So of a template (traced_rule.py) the part that depends on the
cotangent runs in all lanes, with temporaries that have lanes, and the rest once. How many lanes there
are is known only when a program runs (runtime/batched_interpreter.py): here offsets and strides are
those of one lane.

Kernels that walk memory by strides of their own (indexing, sorting) see a copy of one lane at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..native import abi as nt
from ..native.ufunc_loops import is_ufunc_loop, native_kernel_address, ufunc_loop
from ..ops.instruction import Instruction
from ..ops.layout import Layout
from ..ops.program import (
    ADDRESS,
    ARGS,
    LANED,
    ONCE,
    SCRATCH,
    ChainNode,
    Operand,
    Step,
    Transfer,
    padded,
)
from .adjoint_program import Builder, Programs
from .traced_rule import Statement, Template

__all__ = ["LaneBuilder"]


class LaneBuilder(Builder):
    """Turns the part of a template that one operand needs into steps with lanes."""

    def __init__(
        self, instruction: Instruction, traced: Template, operand: int, result: int
    ) -> None:
        super().__init__(instruction, traced, operand, result)
        self.adjoint_lane = self.target.dtype.itemsize
        #: slots of the template whose memory has lanes
        self.laned = self._with_lanes()

    def _with_lanes(self) -> set[int]:
        base = self.traced.bases
        laned = {self.traced.ct}
        before = 0
        while len(laned) != before:  # a buffer may get lanes by what is written later
            before = len(laned)
            for s in self.statements:
                if any(base[a] in laned for a in s.args):
                    laned.update(base[s.slot + j] for j in range(len(s.instruction.outs)))
        return laned

    def has_lanes(self, slot: int) -> bool:
        """Return True if a slot's value depends on the cotangent."""
        return self.traced.bases[slot] in self.laned

    def lane_of(self, slot: int) -> int:
        """Bytes of a slot's value from one lane to the next, 0 for one without lanes."""
        return self.layout_of(slot).dtype.itemsize if self.has_lanes(slot) else 0

    def place(self, slot: int, layout: Layout) -> None:
        """Find a place in scratch memory for a value."""
        if not self.has_lanes(slot):
            super().place(slot, layout)
            return
        self.places[slot] = (LANED, self.laned_scratch, layout)
        self.laned_scratch += padded(layout.span)

    def chain(self, statements: Sequence[Statement]) -> Programs:
        """The programs as one chain, behind the steps of what has no lanes."""
        parts = self.run([s for s in statements if not self.has_lanes(s.slot)])
        once = [step for part in parts for step in part]
        before = self.recipe
        assign, accumulate, repeats = super().chain(
            [s for s in statements if self.has_lanes(s.slot)]
        )
        self.recipe = before  # programs with lanes are not compiled
        return [*once, *map(self.named, assign)], [*once, *map(self.named, accumulate)], repeats

    def named(self, step: Step) -> Step:
        """The step, said to be a product with a factor without lanes if it is: that has a loop of its own."""
        kinds = (self.target.dtype,) * 3
        products = {
            ufunc_loop(np.multiply, kinds): nt.STEP_MUL,
            (native_kernel_address("muladd", kinds[0]), 0): nt.STEP_MULADD,
        }
        lanes = [o.lane for o in step.operands]
        kind = products.get(step.kernel, 0)
        return step._replace(kind=kind) if kind and (not lanes[0] or not lanes[1]) else step

    def summed(
        self, nodes: list[ChainNode], target: int, add: tuple[int, int], *, repeats: bool
    ) -> list[ChainNode]:
        """A chain whose result is added to operand `target`, the adjoint; sums run along the lanes."""
        return super().summed(nodes, target, add, repeats=False)

    def sequence(self) -> Programs:
        """The programs one step after another."""
        self.laned_scratch = 0
        return super().sequence()

    def steps_of(self, s: Statement, base: int) -> list[Step]:
        """The steps of a statement; its own scratch memory begins at `base`."""
        steps = s.instruction.steps
        if not self.has_lanes(s.slot):
            return super().steps_of(s, base)
        # A product may copy a factor first: its temporaries have lanes where the factor has.
        copies = {
            step.operands[1].offset: self.has_lanes(s.args[step.operands[0].ref - ARGS])
            for step in steps
            if len(step.operands) == 2 and step.operands[1].ref == SCRATCH
            and step.operands[0].ref >= ARGS and is_ufunc_loop(step.kernel)
        }  # fmt: skip
        if not all(self._goes_with_lanes(step, s, copies) for step in steps):
            return self._group(s, base)
        start, item = self.laned_scratch, s.instruction.out.dtype.itemsize
        if any(copies.values()):
            self.laned_scratch += padded(s.instruction.scratch)

        def moved(given: Operand, operand: Operand) -> Operand:
            if given.ref == SCRATCH and copies[given.offset]:
                return operand._replace(ref=LANED, offset=given.offset + start, lane=item)
            return operand

        return [
            new._replace(operands=tuple(map(moved, step.operands, new.operands)))
            for step in steps
            for new in [self.relocate(step, s, base)]
        ]

    def _goes_with_lanes(self, step: Step, s: Statement, copies: dict[int, bool]) -> bool:
        """Return True if a step's kernel knows only strides that it is given, or is a product."""
        if step.checked or any(o.ref == SCRATCH and o.offset not in copies for o in step.operands):
            return False
        if step.core:
            kind = s.instruction.out.dtype
            if not kind.is_floating_point or step.kernel != ufunc_loop(np.matmul, (kind,) * 3):
                return False
            laned = [
                copies[o.offset] if o.ref == SCRATCH else self.has_lanes(s.args[o.ref - ARGS])
                for o in step.operands[:2]
            ]
            return sum(laned) == 1
        plain = not step.kernel[0] or is_ufunc_loop(step.kernel)
        return bool(step.nodes) or plain or s.instruction.op.is_elementwise

    def _group(self, s: Statement, base: int) -> list[Step]:
        """The steps of a statement run lane by lane, on copies of what has lanes."""
        saved = dict(self.places)
        transfers: dict[int, Transfer] = {}
        results = [s.slot + j for j in range(len(s.instruction.outs))]
        for slot in [*s.args, *results]:
            if slot in transfers or not self.has_lanes(slot):
                continue
            ref, offset, layout = saved[slot]
            item = layout.dtype.itemsize
            transfers[slot] = Transfer(
                Operand(ref, offset, (), item), self.scratch, layout.span // item
            )
            self.places[slot] = (SCRATCH, self.scratch, layout)
            self.scratch += padded(layout.span)
        nowhere = Operand(ADDRESS, 0, ())  # in the place of ONCE: each lane runs
        steps = [
            step._replace(
                operands=tuple(
                    nowhere if o.ref == ONCE else o._replace(lane=0) for o in step.operands
                )
            )
            for step in super().steps_of(s, base)
        ]
        self.places = saved
        return [Step((0, 0), (), (), group=tuple(transfers.values()), steps=len(steps)), *steps]
