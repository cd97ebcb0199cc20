"""A closed tape as loops over buffers.

Elementwise rows of the op table are one `Compute` in a nest of loops. Of any other statement the steps are taken
that its row's lowering makes: a step whose kernel is the loop of a ufunc that the emitter knows is a `Compute` as
well, so sums, means, norms, softmax, joining and padding need nothing of their own. What has another kernel (a
product of matrices, a sort) is called.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from ..base.dtypes import bool_, dtype, float32, float64, from_numpy_dtype, int64
from ..native import abi as nt
from ..native.ufunc_loops import fastest_loop, ufunc_loop
from ..ops.emitter import UFUNCS, emit_with
from ..ops.instruction import INSTRUCTIONS, Instruction
from ..ops.layout import DTYPES, Layout, broadcast_strides
from ..ops.program import ADDRESS, ARGS, SCRATCH, Operand, Step
from ..ops.scalar_code import Untraceable
from ..ops.table import TABLE, copy_loop
from ..tape.constants import Constants
from ..transforms.closed_tape import ClosedTape
from ..transforms.roll import Item, Repeat, rolled
from .loops import (
    ARRAY,
    INPUT,
    OUTPUT,
    Access,
    Buffer,
    Call,
    Compute,
    Formula,
    Loop,
    Node,
    Number,
    new_loop,
)

__all__ = ["Program", "has_code", "lowered", "value_type"]

F64, F32, I64, I8, I1 = (
    ir.DoubleType(),
    ir.FloatType(),
    ir.IntType(64),
    ir.IntType(8),
    ir.IntType(1),
)
_TYPES = {float64: F64, float32: F32, int64: I64, bool_: I1}
COPY = Formula("copy")


def value_type(kind: dtype) -> Any:
    """LLVM's type of a value of a dtype."""
    return _TYPES[kind]


class Program:
    """Loops of a tape.

    Attributes
    ----------
    nodes : list of Node
    inputs, arrays, outputs : list of Buffer
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.inputs: list[Buffer] = []
        self.arrays: list[Buffer] = []
        self.outputs: list[Buffer] = []
        #: what is in the arrays behind those of the tape
        self.tables: list[np.ndarray] = []


# --------------------------------------------------------------------------- kernels that are formulas
@cache
def _kernels() -> dict[tuple[int, int], tuple[np.ufunc, tuple[dtype, ...]]]:
    """Ufuncs that the emitter knows, by their loops' address and data."""
    known: dict[tuple[int, int], tuple[np.ufunc, tuple[dtype, ...]]] = {}
    for ufunc in UFUNCS:
        for kind in DTYPES:
            for result in (kind, bool_):
                types = (kind,) * ufunc.nin + (result,)
                try:
                    known[ufunc_loop(ufunc, types)] = ufunc, types
                    known.setdefault(fastest_loop(ufunc, types), (ufunc, types))
                except TypeError:
                    continue
    for kind in DTYPES:
        known[copy_loop(kind)] = np.positive, (kind, kind)
    return known


@cache
def has_code(formula: Formula, kinds: tuple[dtype, ...], result: dtype) -> bool:
    """Return True if the emitter has code of a formula for operands and result of dtypes."""
    module = ir.Module("trial")
    function = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [_TYPES[k] for k in kinds]), "trial"
    )
    builder = ir.IRBuilder(function.append_basic_block())
    try:
        return write(builder, formula, function.args).type == _TYPES[result]
    except Untraceable:
        return False


def write(builder: Any, formula: Formula, values: Sequence[Any]) -> Any:
    """Write the code of a formula.

    Raises
    ------
    Untraceable
        If there is none.
    """
    from ..ops.scalar_code import Scalar

    if formula.name == "copy":
        return values[0]
    kind, _, name = formula.name.partition(":")
    if kind == "row":
        return emit_with(builder, TABLE[name], values, dict(formula.attributes))
    if kind == "cast":
        return _cast(builder, values[0], _TYPES[_BY_NAME[name]])
    result = UFUNCS[getattr(np, name)](*[Scalar(builder, x) for x in values])
    return result.value


_BY_NAME = {kind.name: kind for kind in DTYPES}


def _cast(builder: Any, value: Any, target: Any) -> Any:
    source = value.type
    if source == target:
        return value
    if target == I1:
        zero = ir.Constant(source, 0 if source == I64 else 0.0)
        if source == I64:
            return builder.icmp_signed("!=", value, zero)
        return builder.fcmp_unordered("!=", value, zero)
    if source == I1:
        return builder.zext(value, I64) if target == I64 else builder.uitofp(value, target)
    if source == I64:
        return builder.sitofp(value, target)
    if target == I64:
        raise Untraceable  # of NaN and large numbers: as the kernel has it
    return builder.fptrunc(value, target) if target == F32 else builder.fpext(value, target)


# --------------------------------------------------------------------------- tapes
class Place(NamedTuple):
    """Where a value is: a buffer, an offset, and strides along the loops of repeated statements around it."""

    buffer: Buffer
    offset: int
    strides: tuple[tuple[int, int], ...] = ()


class Irregular(Exception):
    """Raised where repeated statements cannot be a loop."""


class _Region:
    """Repeated statements that become a loop.

    Attributes
    ----------
    repeat : Repeat
    before : dict
        Statement of the period -> number of repetitions before the first whose results are used in the loop.
    values : dict
        Statement of the period -> its place, with a stride along the repetitions.
    """

    def __init__(self, repeat: Repeat) -> None:
        self.repeat = repeat
        self.loop = new_loop(repeat.count)
        self.loop.in_order = True
        self.before: dict[int, int] = {}
        self.values: dict[int, tuple[Buffer, int, int]] = {}


class _Lowering:
    """Loops of the statements of a tape, in order."""

    def __init__(self, tape: ClosedTape, items: Sequence[Item]) -> None:
        self.tape = tape
        self.program = Program()
        #: place of each statement's result
        self.places: dict[int, Place] = {}
        self.items = items
        self.regions = [_Region(item) for item in items if isinstance(item, Repeat)]
        self.starts = [r.repeat.first for r in self.regions]
        #: statements in front of a region whose results lie beside those of its repetitions
        self.early: dict[int, tuple[_Region, int, int]] = {}
        self.region: _Region | None = None

    def run(self) -> Program:
        tape, program = self.tape, self.program
        count = len(tape.inputs)
        for i, layout in enumerate(tape.layouts):
            role, buffers = (INPUT, program.inputs) if i < count else (ARRAY, program.arrays)
            buffers.append(Buffer(layout.dtype, layout.span, role, len(buffers)))
        for region in self.regions:
            self.look_back(region)
        regions = iter(self.regions)
        steps = tape.segment.steps
        for item in self.items:
            if isinstance(item, Repeat):
                self.loop(next(regions))
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
    def region_at(self, statement: int) -> _Region | None:
        """The region that a statement is in."""
        i = bisect_right(self.starts, statement) - 1
        return self.regions[i] if i >= 0 and statement < self.regions[i].repeat.stop else None

    def target(self, reference: int, move: int) -> tuple[_Region, int, int, int] | None:
        """What a reference is that moves from one repetition to the next.

        A region, a statement of its period, the repetition that is referred to first, and how that moves.
        """
        region = self.region_at(reference) or (self.region_at(reference + move) if move else None)
        if region is None:
            if move:
                raise Irregular
            return None
        repeat = region.repeat
        ahead, j = divmod(reference - repeat.first, repeat.period)
        by, rest = divmod(move, repeat.period)
        if rest:
            raise Irregular
        return region, j, ahead, by

    def look_back(self, region: _Region) -> None:
        """Find the results in front of a region, or of others, that its operands begin with."""
        repeat, steps = region.repeat, self.tape.segment.steps
        for j in range(repeat.period):
            for o, reference in enumerate(steps[repeat.first + j].references):
                if reference < 0:
                    continue
                target = self.target(reference, int(repeat.moves[j, o]))
                if target is None:
                    continue
                other, k, ahead, by = target
                last = ahead + by * (repeat.count - 1)
                if max(ahead, last) >= other.repeat.count:
                    raise Irregular
                least = min(ahead, last)
                if least < 0:
                    self.need_early(other, k, -least)

    def need_early(self, region: _Region, j: int, count: int) -> None:
        """Let the results of statements in front of a region lie in front of those of its repetitions."""
        repeat, steps = region.repeat, self.tape.segment.steps
        for n in range(1, count + 1):
            statement = repeat.first + j - n * repeat.period
            if statement < 0 or self.region_at(statement) is not None:
                raise Irregular
            if steps[statement].number != steps[repeat.first + j].number:
                raise Irregular
            known = self.early.setdefault(statement, (region, j, n))
            if known[0] is not region:
                raise Irregular
        region.before[j] = max(region.before.get(j, 0), count)

    def loop(self, region: _Region) -> None:
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
        self.check_early(region)

    def moving(self, region: _Region, j: int, o: int, reference: int) -> Place | Number:
        """Where an operand of a repeated statement is."""
        if (j, o) in region.repeat.numbers:
            return self.table(region, region.repeat.numbers[j, o])
        if reference < 0:
            return self.place(reference)
        target = self.target(reference, int(region.repeat.moves[j, o]))
        if target is None:
            return self.places[reference]
        other, k, ahead, by = target
        buffer, offset, stride = self.value_of(other, k)
        extra = ((region.loop.number, stride * by),) if stride * by else ()
        return Place(buffer, offset + stride * ahead, extra)

    def table(self, region: _Region, numbers: np.ndarray) -> Place:
        """Memory with a number for each repetition."""
        kind = from_numpy_dtype(numbers.dtype)
        buffer = Buffer(kind, numbers.nbytes, ARRAY, len(self.program.arrays))
        self.program.arrays.append(buffer)
        self.program.tables.append(np.ascontiguousarray(numbers))
        return Place(buffer, 0, ((region.loop.number, kind.itemsize),))

    def value_of(self, region: _Region, j: int) -> tuple[Buffer, int, int]:
        """Buffer, offset and stride of the results of a repeated statement."""
        known = region.values.get(j)
        if known is not None:
            return known
        # used before it is computed: by the repetition behind, or in front of the loop
        step = self.tape.segment.steps[region.repeat.first + j]
        instruction = INSTRUCTIONS[step.number]
        if instruction.op.kind in (nt.VIEW, nt.WRITE, nt.ACCUMULATE):
            place = self.moving(region, j, 0, step.references[0])
            if isinstance(place, Number):
                raise Irregular
            place = self.moved(place, step.offset or 0, int(region.repeat.offsets[j]), region)
            stride = dict(place.strides).get(region.loop.number, 0)
            known = region.values[j] = place.buffer, place.offset, stride
            return known
        if instruction.op.kind != nt.COMPUTE or len(instruction.outs) != 1:
            raise Irregular
        out = instruction.out
        span = max(out.span, out.size * out.dtype.itemsize)
        before = region.before.get(j, 0)
        buffer = Buffer(out.dtype, span * (before + region.repeat.count))
        known = region.values[j] = buffer, before * span, span
        return known

    # ------------------------------------------------------------------ operands
    def place(self, reference: int) -> Place | Number:
        """Where a value is; a number for a constant."""
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
            if whole and buffer.role == "temporary" and buffer.kind is layout.dtype:
                buffer.role, buffer.number = OUTPUT, number
                self.program.outputs.append(buffer)
                return
        buffer = Buffer(layout.dtype, size, OUTPUT, number)
        self.program.outputs.append(buffer)
        dense = _dense_strides(layout)
        self.nest(
            COPY, layout.shape, [(place, layout.strides)], Place(buffer, 0), dense, layout.dtype
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
            self.steps(instruction, operands, [])
            return
        results = [self.new(number + i, out) for i, out in enumerate(instruction.outs)]
        for i, place in enumerate(results):
            self.keep(number + i, place)
        if len(results) == 1 and self.elementwise(instruction, operands, results[0]):
            return
        self.steps(instruction, operands, results)

    def moved(self, place: Place, offset: int, moves: int, region: _Region | None) -> Place:
        """A place some bytes behind another one."""
        if not moves or region is None:
            return place._replace(offset=place.offset + offset)
        loop = region.loop.number
        strides = dict(place.strides)
        strides[loop] = strides.get(loop, 0) + moves
        pairs = tuple(sorted(p for p in strides.items() if p[1]))
        return Place(place.buffer, place.offset + offset, pairs)

    def keep(self, number: int, place: Place) -> None:
        """Note where a statement's result is."""
        region = self.region
        if region is None:
            self.places[number] = place
            return
        j = number - region.repeat.first
        stride = dict(place.strides).get(region.loop.number, 0)
        known = region.values.setdefault(j, (place.buffer, place.offset, stride))
        if known != (place.buffer, place.offset, stride):
            raise Irregular

    def check_early(self, region: _Region) -> None:
        """See that results in front of a region lie where its loop looks for them."""
        repeat = region.repeat
        for j, count in region.before.items():
            buffer, offset, stride = self.value_of(region, j)
            for n in range(1, count + 1):
                place = self.places[repeat.first + j - n * repeat.period]
                if place != Place(buffer, offset - n * stride):
                    raise Irregular

    def new(self, number: int, out: Layout) -> Place:
        """Memory for a result."""
        if self.region is not None:
            j = number - self.region.repeat.first
            if j not in self.region.values:
                span = max(out.span, out.size * out.dtype.itemsize)
                before = self.region.before.get(j, 0)
                buffer = Buffer(out.dtype, span * (before + self.region.repeat.count))
                self.region.values[j] = buffer, before * span, span
            buffer, offset, span = self.region.values[j]
            return Place(buffer, offset, ((self.region.loop.number, span),) if span else ())
        early = self.early.get(number)
        if (
            early is not None
            and len(INSTRUCTIONS[self.tape.segment.steps[number].number].outs) == 1
        ):
            region, j, n = early
            buffer, offset, span = self.value_of(region, j)
            return Place(buffer, offset - n * span)
        return Place(Buffer(out.dtype, max(out.span, out.size * out.dtype.itemsize)), 0)

    def filled(self, number: Number) -> Place:
        """Memory that holds a number."""
        buffer = Buffer(number.kind, number.kind.itemsize)
        self.program.nodes.append(Compute(COPY, (number,), Access(buffer, 0, ()), number.kind))
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
        node: Node = compute
        for loop in reversed(loops):
            loop.body.append(node)
            node = loop
        self.program.nodes.append(node)

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
                return _number_at(operand.offset, kind)
            if operand.ref == SCRATCH:
                if operand.offset not in scratch:
                    scratch[operand.offset] = Buffer(kind, instruction.scratch - operand.offset)
                return Place(scratch[operand.offset], 0)
            if operand.ref < ARGS:
                return None
            given = places[operand.ref - ARGS]
            if isinstance(given, Number):
                return given
            return given._replace(offset=given.offset + operand.offset)

        if not step.kernel[0] and not step.nodes:
            return self._zero(step, place, instruction)
        if not step.nodes:
            known = _kernels().get(step.kernel)
            if known is None:
                return False
            ufunc, types = known
            formula = COPY if ufunc is np.positive else Formula(f"ufunc:{ufunc.__name__}")
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
            known = _kernels().get(node.kernel)
            if known is None:
                return False
            ufunc, types = known
            formula = COPY if ufunc is np.positive else Formula(f"ufunc:{ufunc.__name__}")
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
                    _contiguous_strides(shape, kind.itemsize),
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


def _number_at(address: int, kind: dtype) -> Number:
    array = np.frombuffer(ctypes.string_at(address, kind.itemsize), kind.np)
    return Number(array[0].item(), kind)


def _contiguous_strides(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    strides, step = [0] * len(shape), itemsize
    for i in range(len(shape) - 1, -1, -1):
        strides[i] = step
        step *= shape[i]
    return tuple(strides)


def _dense_strides(layout: Layout) -> tuple[int, ...]:
    return _contiguous_strides(layout.shape, layout.dtype.itemsize)


def lowered(tape: ClosedTape) -> Program:
    """Return the loops of a tape."""
    items = rolled(tape.segment)
    while True:
        try:
            return _Lowering(tape, items).run()
        except Irregular:
            items = _unrolled(items)


def _unrolled(items: Sequence[Item]) -> list[Item]:
    """The items with a repetition less in each loop, which then stands in front of it; at last, without loops."""
    result: list[Item] = []
    for item in items:
        if isinstance(item, int):
            result.append(item)
            continue
        result += range(item.first, item.stop)
    return result


def text(program: Program) -> str:
    """Return the loops as text, with names that depend on nothing but the program."""
    lines: list[str] = []
    names: dict[int, str] = {}
    loops: dict[int, str] = {}

    def shown(operand: Any) -> str:
        if isinstance(operand, Number):
            return f"{operand.value!r}:{operand.kind.name}"
        buffer = operand.buffer
        if id(buffer) not in names:
            number = buffer.number if buffer.number >= 0 else len(names)
            names[id(buffer)] = f"{buffer.role}{number}:{buffer.kind.name}"
        index = "".join(f" + {s}*{loops.get(n, n)}" for n, s in operand.strides)
        return f"{names[id(buffer)]}[{operand.offset}{index}]"

    def put(node: Node, depth: int) -> None:
        pad = "  " * depth
        if isinstance(node, Loop):
            loops[node.number] = f"i{len(loops)}"
            order = " in order" if node.in_order else ""
            lines.append(f"{pad}for {loops[node.number]} in {node.extent}{order}:")
            for part in node.body:
                put(part, depth + 1)
        elif isinstance(node, Compute):
            reads = ", ".join(map(shown, node.reads))
            attributes = f" {list(node.formula.attributes)}" if node.formula.attributes else ""
            lines.append(f"{pad}{shown(node.write)} = {node.formula.name}({reads}){attributes}")
        else:
            reads, results = (", ".join(map(shown, x)) for x in (node.operands, node.results))
            lines.append(f"{pad}{results} = {node.instruction.op.name}({reads})")

    for node in program.nodes:
        put(node, 0)
    return "\n".join(lines)
