"""A closed tape as loops over buffers.

Elementwise rows of the op table are one `Compute` in a nest of loops. Of any other statement the steps are
taken that its row's lowering makes: a step whose kernel is the loop of a ufunc that the emitter knows is a
`Compute` as well, so sums, means, norms, softmax, joining and padding need nothing of their own. What has
another kernel (a product of matrices, a sort) is called.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base.dtypes import bool_, dtype, real_of
from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS, Instruction
from ..ops.layout import broadcast_strides, c_strides
from ..ops.program import ADDRESS, ARGS, SCRATCH, Operand, Step
from ..tape.constants import Constants
from ..transforms.closed_tape import ClosedTape
from ..transforms.roll import Repeat, rolled, shortened
from .formulas import COPY, has_code, kernels
from .loop_program import Program, number_at, unit_rows
from .loops import (
    ARRAY,
    INPUT,
    OUTPUT,
    Access,
    Buffer,
    Call,
    Compute,
    Formula,
    Number,
    nested,
    new_loop,
)
from .parts import has_parts, write_parts
from .repeated import Irregular, Place, Region, Values, blamed
from .rewriting import is_plain_copy

__all__ = ["lowered"]

#: length of a dimension that is no loop, elements of the others from which on that holds, nodes up to which
FEW, MANY, LONGEST = 4, 32, 2000


class _Lowering(Values):
    """Loops of the statements of a tape, in order."""

    def run(self) -> Program:
        tape, program = self.tape, self.program
        self.noted, self.keeps_order = frozenset(tape.segment.noted), False
        count = len(tape.inputs)
        for i, layout in enumerate(tape.layouts):
            role, buffers = (INPUT, program.inputs) if i < count else (ARRAY, program.arrays)
            buffers.append(Buffer(real_of(layout.dtype), layout.span, role, len(buffers)))
        for buffer, array in zip(program.arrays, tape.arrays, strict=True):
            buffer.identity = unit_rows(array)
        for region in self.regions:
            with blamed(region):
                self.look_back(region)
        regions = iter(self.regions)
        steps = tape.segment.steps
        for item in self.items:
            if isinstance(item, Repeat):
                region = next(regions)
                with blamed(region):
                    self.loop(region)
            else:
                step = steps[item]
                self.statement(
                    item, INSTRUCTIONS[step.number], [self.place(r) for r in step.references],
                    step.offset or 0, 0,
                )  # fmt: skip
        results: dict[int, Any] = {}
        for i, reference in enumerate(tape.segment.results):
            self.result(i, reference, results)
        return program

    # ------------------------------------------------------------------ repeated statements
    def loop(self, region: Region) -> None:
        """Add the loop of a region."""
        repeat, outside = region.repeat, self.program.nodes
        steps = self.tape.segment.steps
        self.program.nodes, self.region = region.loop.body, region
        try:
            for j in range(repeat.period):
                step = steps[repeat.first + j]
                operands = [
                    self.moving(region, j, o, reference)
                    for o, reference in enumerate(step.references)
                ]
                self.statement(
                    repeat.first + j, INSTRUCTIONS[step.number], operands, step.offset or 0,
                    int(repeat.offsets[j]),
                )  # fmt: skip
        finally:
            self.program.nodes, self.region = outside, None
        outside.append(region.loop)
        self.check_beside(region)

    # ------------------------------------------------------------------ operands
    def place(self, reference: int) -> Place | Number:
        """Place of a value; a number for a constant."""
        if reference >= 0:
            known = self.places.get(reference)
            if known is not None:
                return known
            target = self.target(reference, 0)
            assert target is not None
            region, j, repetition, _ = target
            buffer, offset, stride = self.value_of(region, j)
            return Place(buffer, offset + stride * repetition)
        leaf = self.tape.segment.leaves[~reference]
        if leaf.code != nt.SEG_INPUT:
            layout = self.tape.layout_of(reference)
            return Number(Constants.array(leaf.value, leaf.code).item(), layout.dtype)
        count = len(self.tape.inputs)
        if leaf.value < count:
            return Place(self.program.inputs[leaf.value], 0)
        return Place(self.program.arrays[leaf.value - count], 0)

    def result(self, number: int, reference: int, known: dict[int, Any]) -> None:
        """Let a result be an output: the buffer itself where it is all of one, or a copy."""
        layout = self.tape.layout_of(reference)
        place = self.place(reference)
        size = max(layout.size, 0) * layout.dtype.itemsize
        if not isinstance(place, Number):
            buffer = place.buffer
            whole = place.offset == 0 and layout.is_contiguous and buffer.span == size
            if whole and buffer.role == "temporary" and buffer.kind is real_of(layout.dtype):
                buffer.role, buffer.number = OUTPUT, number
                self.program.outputs.append(buffer)
                return
        kind = real_of(layout.dtype)
        buffer = Buffer(kind, size, OUTPUT, number)
        self.program.outputs.append(buffer)
        dense = c_strides(layout.shape, layout.dtype.itemsize)
        if layout.dtype.is_complex and isinstance(place, Number):
            place = self.filled(place)
        for offset in range(0, layout.dtype.itemsize, kind.itemsize):
            part = (
                place if isinstance(place, Number) else place._replace(offset=place.offset + offset)
            )
            self.nest(
                COPY, layout.shape, [(part, layout.strides)], Place(buffer, offset), dense, kind
            )

    # ------------------------------------------------------------------ statements
    def statement(
        self,
        number: int,
        instruction: Instruction,
        operands: Sequence[Any],
        offset: int,
        moves: int,
    ) -> None:
        """Add the loops of a statement.

        Parameters
        ----------
        number : int
            Of the statement on the tape.
        instruction : Instruction
        operands : sequence of Place or Number
        offset, moves : int
            Of a view, and how that moves from one repetition to the next.
        """
        entry = instruction.op
        if entry.kind == nt.OUTPUT:
            return  # with the statement of the first result
        if entry.kind == nt.VIEW:
            place = operands[0]
            if isinstance(place, Number):
                place = self.filled(place)
            self.keep(number, self.moved(place, offset, moves, self.region))
            return
        if entry.kind in (nt.WRITE, nt.ACCUMULATE):
            assert not isinstance(operands[0], Number)
            self.keep(number, operands[0])
            # What a user writes stays in order; what reverse passes add up need not.
            self.keeps_order = number in self.noted
            self.steps(instruction, operands, [])
            self.keeps_order = False
            return
        results = [self.new(number + i, out) for i, out in enumerate(instruction.outs)]
        for i, place in enumerate(results):
            self.keep(number + i, place)
        if has_parts(instruction):
            if len(results) > 1 or not write_parts(instruction, operands, results[0], self.nest):
                self.call(instruction, operands, results)
            return
        if len(results) == 1 and self.elementwise(instruction, operands, results[0]):
            return
        self.steps(instruction, operands, results)

    def filled(self, number: Number) -> Place:
        """Memory that holds a number."""
        kind = real_of(number.kind)
        buffer = Buffer(kind, number.kind.itemsize)
        parts = [complex(number.value).real, complex(number.value).imag]
        for i, part in enumerate(parts if number.kind.is_complex else [number.value]):
            target = Access(buffer, i * kind.itemsize, ())
            self.program.nodes.append(Compute(COPY, (Number(part, kind),), target, kind))
        return Place(buffer, 0)

    def elementwise(self, instruction: Instruction, operands: Sequence[Any], result: Any) -> bool:
        """Add an elementwise statement as one formula, if it has code."""
        entry, out = instruction.op, instruction.out
        kinds = tuple(x.dtype for x in instruction.layouts)
        if entry.name == "to":
            formula = COPY if kinds[0] is out.dtype else Formula(f"cast:{out.dtype.name}")
        elif entry.name in ("clone", "contiguous"):
            formula = COPY
        elif entry.is_elementwise:
            formula = Formula(f"row:{entry.name}", tuple(sorted(instruction.attrs.items())))
        else:
            return False
        if not has_code(formula, kinds, out.dtype):
            return False
        shape = out.shape
        sources = [
            (place, broadcast_strides(x, shape))
            for place, x in zip(operands, instruction.layouts, strict=True)
        ]
        self.nest(formula, shape, sources, result, out.strides, out.dtype)
        return True

    def nest(
        self, formula: Formula, shape: Sequence[int], sources: Sequence[Any], target: Place,
        strides: Sequence[int], result: dtype,
    ) -> None:  # fmt: skip
        """Add a nest of loops over a shape around a formula."""
        dims = [i for i, n in enumerate(shape) if n != 1]
        if any(shape[i] == 0 for i in dims):
            return
        few = [i for i in dims if shape[i] <= FEW and not is_plain_copy(formula, sources, strides)]
        if few and math.prod(shape) >= MANY * shape[few[0]] and len(self.program.nodes) < LONGEST:
            # A nest for each of a few: so that it can be in the loops of what has not got this dimension.
            d = few[0]
            rest = [*shape[:d], 1, *shape[d + 1 :]]
            for k in range(shape[d]):
                parts = [
                    (
                        x if isinstance(x, Number) else x._replace(offset=x.offset + k * steps[d]),
                        steps,
                    )
                    for x, steps in sources
                ]
                part = target._replace(offset=target.offset + k * strides[d])
                self.nest(formula, rest, parts, part, strides, result)
            return
        loops = [new_loop(shape[i]) for i in dims]

        def access(place: Any, steps: Sequence[int]) -> Any:
            if isinstance(place, Number):
                return place
            pairs = [
                (loop.number, steps[i]) for loop, i in zip(loops, dims, strict=True) if steps[i]
            ]
            return Access(place[0], place[1], tuple(sorted([*pairs, *place[2]])))

        compute = Compute(
            formula, tuple([access(*source) for source in sources]), access(target, strides), result
        )
        self.program.nodes.append(nested(loops, compute))

    # ------------------------------------------------------------------ steps
    def steps(
        self,
        instruction: Instruction,
        operands: Sequence[Any],
        results: Sequence[Place],
    ) -> None:
        """Add the steps of a statement; a call of them where one is no formula."""
        before = len(self.program.nodes)
        places = [*operands, *results]
        scratch: dict[int, Buffer] = {}
        for step in instruction.steps:
            if not self.step(step, places, scratch, instruction):
                del self.program.nodes[before:]
                self.call(instruction, operands, results)
                return

    def step(
        self,
        step: Step,
        places: Sequence[Any],
        scratch: dict[int, Buffer],
        instruction: Instruction,
    ) -> bool:
        """Add a step whose kernels are formulas; False if one is not."""
        if step.core or step.group or step.steps or step.checked or step.kind:
            return False

        def place(operand: Operand, kind: dtype) -> Any:
            if operand.ref == ADDRESS:
                return number_at(operand.offset, kind)
            if operand.ref == SCRATCH:
                if operand.offset not in scratch:
                    scratch[operand.offset] = Buffer(kind, instruction.scratch - operand.offset)
                if scratch[operand.offset].kind is not kind:
                    return None
                return Place(scratch[operand.offset], 0)
            if operand.ref < ARGS:
                return None
            given = places[operand.ref - ARGS]
            if isinstance(given, Number):
                return given if given.kind is kind else None
            if given.buffer.kind is not kind:
                return None
            return given._replace(offset=given.offset + operand.offset)

        if not step.kernel[0] and not step.nodes:
            return self._zero(step, place, instruction)
        if not step.nodes:
            known = kernels().get(step.kernel)
            if known is None:
                return False
            ufunc, types = known
            formula = self.formula_of(ufunc)
            if not has_code(formula, types[:-1], types[-1]):
                return False
            sources = [
                (place(o, t), o.strides) for o, t in zip(step.operands[:-1], types, strict=False)
            ]
            target = place(step.operands[-1], types[-1])
            if target is None or isinstance(target, Number) or any(s[0] is None for s in sources):
                return False
            self.nest(formula, step.shape, sources, target, step.operands[-1].strides, types[-1])
            return True
        return self._chain(step, place)

    def formula_of(self, ufunc: Any) -> Formula:
        """The formula of a kernel that is a ufunc's loop."""
        if ufunc is np.add and self.keeps_order:
            return Formula("row:add")
        return COPY if ufunc is np.positive else Formula(f"ufunc:{ufunc.__name__}")

    def _zero(self, step: Step, place: Any, instruction: Instruction) -> bool:
        out = instruction.out
        target = place(step.operands[0], out.dtype)
        if target is None or isinstance(target, Number):
            return False
        size = out.dtype.itemsize
        zero = Number(False if out.dtype is bool_ else 0, out.dtype)
        whole = (
            step.operands[0].ref >= ARGS + len(instruction.layouts) and step.zero == out.size * size
        )
        shape = out.shape if whole and out.is_contiguous else (step.zero // size,)
        strides = out.strides if whole and out.is_contiguous else (size,)
        if step.zero % size:
            return False
        self.nest(COPY, shape, [(zero, (0,) * len(shape))], target, strides, out.dtype)
        return True

    def _chain(self, step: Step, place: Any) -> bool:
        """Add a chain of kernels: a nest for each, with memory between them."""
        shape, last = step.shape, len(step.nodes) - 1
        dense_kinds: list[dtype] = []
        values: list[Any] = []
        for i, node in enumerate(step.nodes):
            known = kernels().get(node.kernel)
            if known is None:
                return False
            ufunc, types = known
            formula = self.formula_of(ufunc)
            if not has_code(formula, types[:-1], types[-1]):
                return False
            sources = []
            for reference, kind in zip(node.inputs, types[:-1], strict=True):
                if reference >= 0:
                    operand = step.operands[reference]
                    sources.append((place(operand, kind), operand.strides))
                else:
                    sources.append(values[-1 - reference])
            if any(s[0] is None for s in sources):
                return False
            kind = types[-1]
            if i == last:
                operand = step.operands[-1]
                target, strides = place(operand, kind), operand.strides
                if target is None or isinstance(target, Number):
                    return False
            else:
                size = kind.itemsize
                for n in shape:
                    size *= n
                target, strides = (
                    Place(Buffer(kind, size), 0),
                    c_strides(shape, kind.itemsize),
                )
            dense_kinds.append(kind)
            values.append((target, strides))
            self.nest(formula, shape, sources, target, strides, kind)
        return True

    def call(
        self,
        instruction: Instruction,
        operands: Sequence[Any],
        results: Sequence[Place],
    ) -> None:
        """Add a call of a statement's kernels."""
        given = [self.filled(x) if isinstance(x, Number) else x for x in operands]
        if instruction.op.kind == nt.COMPUTE:
            spans = [x.span for x in (*instruction.layouts, *instruction.outs)]
        else:
            spans = [x.span for x in instruction.layouts]
        spans = [max(s, 1) for s in spans]
        written = list(results)
        reads = [Access(*x) for x in given]
        if instruction.op.kind in (nt.WRITE, nt.ACCUMULATE):  # the target is written
            written = [given[0]]
            spans.append(spans[0])
        self.program.nodes.append(
            Call(
                instruction,
                tuple(reads),
                tuple([Access(*x) for x in written]),
                tuple(spans),
            )
        )


def lowered(tape: ClosedTape) -> Program:
    """Return the loops of a tape."""
    items = rolled(tape.segment)
    while True:
        try:
            return _Lowering(tape, items).run()
        except Irregular as error:
            repeats = [x for x in items if isinstance(x, Repeat)]
            if error.region is not None:
                repeats = [error.region.repeat]
            for repeat in repeats:
                items = shortened(items, repeat)
