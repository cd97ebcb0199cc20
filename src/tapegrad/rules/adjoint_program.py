"""Programs of VJPs: what the reverse sweep runs for an operand of an instruction.

`Builder` makes of a template (traced_rule.py) the steps for one operand: elementwise templates become one
chain that runs tile by tile and accumulates in place, others a sequence of steps with temporaries in
scratch memory. batched_adjoint_program.py does the same for many cotangents at once.

Un-broadcasting happens here, once for all rules (and in replay_table.py for recorded passes): the adjoint
is an operand whose strides along broadcast dimensions are 0, and NumPy's ``add`` loop with an output stride
of 0 is its pairwise sum.

Start reading at `Builder.steps`; program_table.py says when programs are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from ..base.symbolic import Symbolic
from ..native import abi as nt
from ..native.ufunc_loops import native_kernel_address, ufunc_loop
from ..ops.instruction import Instruction
from ..ops.layout import Layout, broadcast_shapes, broadcast_strides
from ..ops.program import (
    ADDRESS,
    ADJOINT,
    ARGS,
    CT,
    ONCE,
    SCRATCH,
    ChainNode,
    Operand,
    Step,
    chain_scratch,
    chain_step,
    constant,
    padded,
)
from ..ops.table import copy_loop
from .fusion import Recipe
from .traced_rule import Statement, Template

__all__ = ["Builder", "Programs"]

#: steps that assign, steps that accumulate, and whether elements are visited repeatedly, so that
#: assigning is impossible
Programs: TypeAlias = "tuple[list[Step], list[Step], bool]"
Place: TypeAlias = "tuple[int, int, Layout]"


def _step(
    shape: tuple[int, ...], nodes: Sequence[ChainNode], operands: Sequence[Operand], scratch: int
) -> Step:
    """A chain, or the one call that it is."""
    if len(nodes) == 1 and all(i >= 0 for i in nodes[0].inputs):
        inputs = [operands[i] for i in nodes[0].inputs]
        return Step(nodes[0].kernel, shape, (*inputs, operands[-1]))
    return chain_step(shape, nodes, operands, scratch)


class Builder:
    """Turns the part of a template that one operand needs into steps."""

    def __init__(
        self, instruction: Instruction, traced: Template, operand: int, result: int
    ) -> None:
        self.instruction = instruction
        self.traced = traced
        self.statements, leaves = traced.part(result)
        self.scratch = 0
        self.recipe: Recipe | None = None
        count = len(instruction.layouts)
        #: by slot: reference, offset and layout
        self.places: dict[int, Place] = traced.bind(
            leaves, (CT, 0, traced.layouts[traced.ct]), (ARGS + count, 0, instruction.out),
            lambda i: (ARGS + i, 0, instruction.layouts[i]), self._constant,
        )  # fmt: skip
        #: bits of the operands, and of the result, that are read
        self.mask = 0
        for ref, _, _ in self.places.values():
            self.mask |= 1 << ref - ARGS if ref >= ARGS else 0
        self.target = instruction.layouts[operand]
        self.result = result
        #: bytes from one lane of the adjoint to the next, and of scratch memory that a lane takes
        self.adjoint_lane = self.laned_scratch = 0

    def _constant(self, slot: int) -> Place:
        number: Any = self.traced.constants[slot]
        layout = self.traced.layouts[slot]
        symbolic = type(number) is Symbolic
        address = constant(number, layout.dtype.np) if symbolic else number.ctypes.data
        return ADDRESS, address, layout

    def steps(self) -> Programs:
        """The programs."""
        is_chain = all(
            s.instruction.op.kind == nt.VIEW
            or (s.instruction.op.is_elementwise and s.instruction.op.failure is None)
            for s in self.statements
        )
        return self.chain(self.statements) if is_chain else self.sequence()

    def lane_of(self, slot: int) -> int:
        """Bytes of a slot's value from one lane to the next, 0 for one without lanes."""
        return 0

    def operand(self, slot: int, shape: tuple[int, ...]) -> Operand:
        """A placed slot as an operand over `shape`."""
        ref, offset, layout = self.places[slot]
        return Operand(ref, offset, broadcast_strides(layout, shape), self.lane_of(slot))

    def place_view(self, s: Statement) -> None:
        """A view is where its operand is."""
        ref, offset, _ = self.places[s.args[0]]
        self.places[s.slot] = (ref, offset + s.offset, s.instruction.out)

    def finish(self, shape: tuple[int, ...]) -> tuple[Operand, bool]:
        """The adjoint as an operand over `shape`, and whether elements of it are visited repeatedly."""
        strides = broadcast_strides(self.target, shape)
        repeats = any(n != 1 and s == 0 for n, s in zip(shape, strides, strict=True))
        return Operand(ADJOINT, 0, strides, self.adjoint_lane), repeats

    def chain(self, statements: Sequence[Statement]) -> Programs:
        """The programs as one chain of elementwise statements."""
        layout = self.layout_of(self.result)
        shape = broadcast_shapes(layout.shape, self.target.shape)
        adjoint, repeats = self.finish(shape)
        dtype = self.target.dtype
        add = ufunc_loop(np.add, (dtype,) * 3)
        computed: dict[int, int] = {}  # slot -> the node that gives its value
        externals: list[Operand] = []
        nodes: list[ChainNode] = []

        def external(operand: Operand) -> int:
            if operand not in externals:
                externals.append(operand)
            return externals.index(operand)

        def reference(s: Statement, operand: Operand) -> int:
            """The chain's reference to an operand of a statement's step."""
            if operand.ref == ADDRESS:
                return external(Operand(ADDRESS, operand.offset, (0,) * len(shape)))
            slot = s.args[operand.ref - ARGS]
            if slot in computed:
                return -1 - computed[slot]
            return external(self.operand(slot, shape))

        for s in statements:
            if s.instruction.op.kind == nt.VIEW:
                if s.args[0] in computed:
                    return self.sequence()
                self.place_view(s)
                continue
            (step,) = s.instruction.steps
            base = len(nodes)
            if step.nodes:  # a chain of its own: its nodes join this one
                for node in step.nodes:
                    inputs = tuple(
                        reference(s, step.operands[i]) if i >= 0 else i - base for i in node.inputs
                    )
                    nodes.append(node._replace(inputs=inputs))
            else:
                inputs = tuple(reference(s, operand) for operand in step.operands[:-1])
                nodes.append(ChainNode(step.kernel, inputs, s.instruction.out.dtype.itemsize))
            computed[s.slot] = len(nodes) - 1
        if len(nodes) > 24:
            return self.sequence()
        if not nodes:
            source = self.operand(self.result, shape)
            copy = Step(copy_loop(dtype), shape, (source, adjoint))
            return [copy], [Step(add, shape, (adjoint, source, adjoint))], repeats
        if len(externals) > nt.MAX_OPERANDS - 2:
            for s in statements:  # too many for one step
                self.places.pop(s.slot, None)
            return self.sequence()
        self.recipe = Recipe(tuple(nodes), tuple(externals), adjoint, shape, dtype)
        place = self.scratch
        self.scratch += chain_scratch([*nodes, nodes[0]])
        assign = _step(shape, nodes, [*externals, adjoint], place)
        summed = self.summed(nodes, len(externals), add, repeats=repeats)
        accumulate = _step(shape, summed, [*externals, adjoint, adjoint], place)
        return [assign], [accumulate], repeats

    def summed(
        self, nodes: list[ChainNode], target: int, add: tuple[int, int], *, repeats: bool
    ) -> list[ChainNode]:
        """A chain whose result is added to operand `target`, the adjoint."""
        last, dtype = nodes[-1], self.target.dtype
        is_product = last.kernel == ufunc_loop(np.multiply, (dtype,) * 3)
        if is_product and not repeats and not dtype.is_complex:
            kernel = native_kernel_address("muladd", dtype), 0
            return [*nodes[:-1], last._replace(kernel=kernel, inputs=(*last.inputs, target))]
        if last.kernel == ufunc_loop(np.negative, (dtype,) * 2) and not repeats:
            kernel = ufunc_loop(np.subtract, (dtype,) * 3)
            return [*nodes[:-1], last._replace(kernel=kernel, inputs=(target, *last.inputs))]
        return [*nodes, ChainNode(add, (target, -len(nodes)), dtype.itemsize)]

    def layout_of(self, slot: int) -> Layout:
        """The layout of a slot of the template."""
        if slot in self.places:
            return self.places[slot][2]
        return self.traced.layouts[slot]

    def sequence(self) -> Programs:
        """The programs one step after another, for reductions, products, in-place writes."""
        self.scratch = 0
        parts = self.run(self.statements)
        steps = [step for part in parts for step in part]
        layout = self.layout_of(self.result)
        shape = broadcast_shapes(layout.shape, self.target.shape)
        adjoint, repeats = self.finish(shape)
        source = self.operand(self.result, shape)
        dtype = self.target.dtype
        copy = Step(copy_loop(dtype), shape, (source, adjoint))
        add = Step(ufunc_loop(np.add, (dtype,) * 3), shape, (adjoint, source, adjoint))
        assign = [*steps, copy]
        last = self.statements[-1] if self.statements else None
        direct = last and last.slot == self.result and last.instruction.outs == (self.target,)
        same = not self.target.overlaps and self.lane_of(self.result) == self.adjoint_lane
        if last and direct and same and last.instruction.op.kind == nt.COMPUTE:
            # What gives the result can write it where it goes.
            self.places[last.slot] = (ADJOINT, 0, self.target)
            assign = [step for part in parts[:-1] for step in part]
            assign += self.steps_of(last, self.base)
        return assign, [*steps, add], repeats

    def run(self, statements: Sequence[Statement]) -> list[list[Step]]:
        """Steps of each statement, with their results in scratch memory."""
        inner = 0
        for s in statements:
            kind = s.instruction.op.kind
            if kind == nt.VIEW:
                self.place_view(s)
            elif kind == nt.COMPUTE:
                for j, out in enumerate(s.instruction.outs):
                    self.place(s.slot + j, out)
            else:
                ref, offset, _ = self.places[s.args[0]]
                self.places[s.slot] = (ref, offset, s.instruction.out)
            inner = max(inner, s.instruction.scratch)
        #: where the statements' own scratch memory begins
        self.base = self.scratch
        self.scratch += inner
        return [
            self.steps_of(s, self.base) if s.instruction.op.kind != nt.VIEW else []
            for s in statements
        ]

    def place(self, slot: int, layout: Layout) -> None:
        """Find a place in scratch memory for a value."""
        self.places[slot] = (SCRATCH, self.scratch, layout)
        self.scratch += padded(layout.span)

    def steps_of(self, s: Statement, base: int) -> list[Step]:
        """The steps of a statement; its own scratch memory begins at `base`."""
        return [self.relocate(step, s, base) for step in s.instruction.steps]

    def relocate(self, step: Step, s: Statement, base: int) -> Step:
        """A step of an instruction, with the operands of a template's statement."""
        operands = []
        for operand in step.operands:
            if operand.ref == SCRATCH:
                operands.append(operand._replace(offset=operand.offset + base))
                continue
            if operand.ref in (ADDRESS, ONCE):
                operands.append(operand)
                continue
            number = operand.ref - ARGS
            nargs = len(s.args)
            slot = s.args[number] if number < nargs else s.slot + number - nargs
            ref, offset, _ = self.places[slot]
            operands.append(
                Operand(ref, operand.offset + offset, operand.strides, self.lane_of(slot))
            )
        return step._replace(
            operands=tuple(operands), scratch=step.scratch + base, statement=s.slot
        )
