"""VJPs: from one Python text an op to templates and programs.

`template` traces an instruction's VJP once: the rule is called with Tensors on a small tape of its
own, whose leaves have the layouts of the cotangent, the operands and the result, and what it
records is the template. It serves twice:

- replay (replay.py) appends a template's statements to the tape, with real slots in the place of
  leaves;
- `build` makes of it, for each operand, the program that the reverse sweep runs: elementwise
  templates become one chain that runs tile by tile and accumulates in place, others a sequence of
  steps with temporaries in scratch memory.

Un-broadcasting happens here, once for all rules: the adjoint is an operand whose strides along
broadcast dimensions are 0, and NumPy's ``add`` loop with an output stride of 0 is its pairwise sum.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import native as nt
from .errors import UnsupportedError
from .fuse import RECIPES, Part, Recipe
from .handle import new_handle_object
from .instructions import ITAB, VTAB, Instruction
from .kernels import ufunc_loop
from .layouts import Layout, broadcast_strides, contiguous, intern
from .ops.table import copy_loop, elementwise, is_float
from .programs import (
    ADDRESS,
    ADJOINT,
    ARGS,
    CT,
    SCRATCH,
    Node,
    Operand,
    Step,
    address_operand,
    chain_scratch,
    chain_step,
    constant,
    packed,
)
from .tape import Tape, slot_of
from .threads import recording_on

__all__ = ["Template", "build", "template"]


class Statement(NamedTuple):
    """A statement of a template; slots count from 1, the leaves first."""

    slot: int
    instruction: Instruction
    args: tuple[int, ...]
    offset: int


class Template(NamedTuple):
    """What a VJP records.

    Attributes
    ----------
    inputs : dict
        Slot of the template -> "ct", "out", or the number of an operand.
    constants : dict
        Slot -> 0-d ndarray.
    statements : tuple of Statement
    results : tuple of (int or None)
        For each operand the slot of its cotangent.
    tape : Tape
        Where it was recorded (kept for its constants' memory).
    """

    inputs: dict[int, str | int]
    constants: dict[int, np.ndarray]
    statements: tuple[Statement, ...]
    results: tuple[int | None, ...]
    tape: Tape

    def needed(self, result: int) -> list[Statement]:
        """The statements that `result` depends on, in order."""
        wanted = {result}
        bases = set()
        chosen = []
        base = self.tape.base
        bases.add(int(base[result]))
        for statement in reversed(self.statements):
            writes = statement.instruction.op.kind in (nt.WRITE, nt.ACCUMULATE)
            if statement.slot in wanted or (writes and int(base[statement.slot]) in bases):
                chosen.append(statement)
                wanted.update(statement.args)
                bases.update(int(base[a]) for a in statement.args)
        return chosen[::-1]


def template(made: Instruction) -> Template:
    """Trace the VJP of an instruction.

    Raises
    ------
    UnsupportedError
        If the op has no derivative.
    """
    if made.vjp is not None:
        found: Template = made.vjp
        return found
    rule = made.op.vjp
    if rule is None:
        raise UnsupportedError(
            f"{made.op.name} has no derivative; use .detach() on its result if none is meant"
        )
    tape = Tape(64 + 4 * len(made.layouts), abstract=True)
    tape.state[nt.S_PENDING_LIMIT] = 1 << 62
    inputs: dict[int, str | int] = {}
    zero = np.zeros(1)

    def leaf(layout: Layout, name: str | int) -> Any:
        slot = tape.bind(zero, layout, active=False)
        inputs[slot] = name
        tape.make_room()  # a handle, too
        return new_handle_object(tape.pointer, slot, layout.id)

    with recording_on(tape):
        ct = leaf(contiguous(made.out.dtype, made.out.shape), "ct")
        operands = [leaf(x, i) for i, x in enumerate(made.layouts)]
        out = leaf(made.out, "out")
        attrs = {k: v for k, v in made.attrs.items() if k != "layout"}
        given = rule(ct, *operands, out, **attrs)
        cotangents = given if isinstance(given, tuple) else (given,)
        assert len(cotangents) == len(operands), f"{made.op.name}: one cotangent an operand"
        results = tuple(None if c is None else slot_of(tape, c) for c in cotangents)
    constants = {slot: array for slot, array in tape.owned.items() if slot not in inputs}
    statements = []
    for slot in range(1, tape.count):
        if slot in inputs or slot in constants:
            continue
        step = tape.instruction_of(slot)
        offset = 0
        if step.op.kind == nt.VIEW:
            start = int(tape.arg_start[slot])
            offset = int(np.frombuffer(tape.arg[start + 1 : start + 3].tobytes(), np.int64)[0])
        statements.append(Statement(slot, step, tuple(tape.args_of(slot)), offset))
    traced = Template(inputs, constants, tuple(statements), results, tape)
    made.vjp = traced
    return traced


# --------------------------------------------------------------------------- programs
class _Builder:
    """Turns the part of a template that one operand needs into steps."""

    def __init__(self, made: Instruction, traced: Template, operand: int, result: int) -> None:
        self.made = made
        self.traced = traced
        self.statements = traced.needed(result)
        self.mask = 0
        self.scratch = 0
        self.recipe: Recipe | None = None
        self.places: dict[int, tuple[int, int, Layout]] = {}
        count = len(made.layouts)
        used = {a for s in self.statements for a in s.args} | {result}
        for slot, name in traced.inputs.items():
            layout = made.out if name == "out" else (
                traced.tape.instruction_of(slot).out
            )  # fmt: skip
            if name == "ct":
                self.places[slot] = (CT, 0, layout)
            elif name == "out":
                self.places[slot] = (ARGS + count, 0, layout)
                if slot in used:
                    self.mask |= 1 << count
            else:
                assert isinstance(name, int)
                self.places[slot] = (ARGS + name, 0, layout)
                if slot in used:
                    self.mask |= 1 << name
        for slot, array in traced.constants.items():
            layout = traced.tape.instruction_of(slot).out
            self.places[slot] = (ADDRESS, array.ctypes.data, layout)
        self.target = made.layouts[operand]
        self.result = result

    def operand(self, slot: int, shape: tuple[int, ...]) -> Operand:
        ref, offset, layout = self.places[slot]
        return Operand(ref, offset, broadcast_strides(layout, shape))

    def is_chain(self) -> bool:
        """Whether every statement is elementwise, so that tiles of it can run one after the other."""
        return all(
            s.instruction.op.kind == nt.VIEW
            or s.instruction.op.lower is elementwise
            or s.instruction.op.extras.get("elementwise")
            for s in self.statements
        )

    def place_view(self, s: Statement) -> None:
        ref, offset, _ = self.places[s.args[0]]
        self.places[s.slot] = (ref, offset + s.offset, s.instruction.out)

    def finish(self, shape: tuple[int, ...]) -> tuple[Operand, bool]:
        """The adjoint as an operand over `shape`, and whether elements of it are visited repeatedly."""
        strides = broadcast_strides(self.target, shape)
        repeats = any(n != 1 and s == 0 for n, s in zip(shape, strides, strict=True))
        return Operand(ADJOINT, 0, strides), repeats

    def chain(self) -> tuple[list[Step], list[Step], bool]:
        """Steps that assign, steps that accumulate, and whether assigning is impossible."""
        layout = self.layout_of(self.result)
        shape = np.broadcast_shapes(layout.shape, self.target.shape)
        adjoint, repeats = self.finish(shape)
        dtype = self.target.dtype
        add = ufunc_loop(np.add, (dtype,) * 3)
        computed: dict[int, int] = {}  # slot -> the node that gives its value
        externals: list[Operand] = []
        nodes: list[Node] = []
        exprs: list[str | None] = []

        def external(operand: Operand) -> int:
            if operand not in externals:
                externals.append(operand)
            return externals.index(operand)

        def reference(s: Statement, operand: Operand) -> int:
            """What an operand of a statement's step is in the chain."""
            if operand.ref == ADDRESS:
                return external(Operand(ADDRESS, operand.offset, (0,) * len(shape)))
            slot = s.args[operand.ref - ARGS]
            if slot in computed:
                return -1 - computed[slot]
            return external(self.operand(slot, shape))

        for s in self.statements:
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
                    exprs.append(None)
            else:
                inputs = tuple(reference(s, operand) for operand in step.operands[:-1])
                nodes.append(Node(step.kernel, inputs, s.instruction.out.dtype.itemsize))
                exprs.append(s.instruction.op.expr if self.is_plain(s) else None)
            computed[s.slot] = len(nodes) - 1
        if len(nodes) > 24:
            return self.sequence()
        if not nodes:
            source = self.operand(self.result, shape)
            copy = Step(copy_loop(dtype), shape, (source, adjoint))
            return [copy], [Step(add, shape, (adjoint, source, adjoint))], repeats
        if len(externals) > nt.MAX_OPERANDS - 2:
            for s in self.statements:  # too many for one step
                self.places.pop(s.slot, None)
            return self.sequence()
        self.recipe = Recipe(
            tuple(Part(node, expr) for node, expr in zip(nodes, exprs, strict=True)),
            tuple(externals), adjoint, shape, add, dtype.itemsize,
        )  # fmt: skip
        self.scratch = chain_scratch([*nodes, nodes[0]])
        assign = [chain_step(shape, nodes, [*externals, adjoint], 0)]
        last = -1 - (len(nodes) - 1)
        summed = [*nodes, Node(add, (len(externals), last), dtype.itemsize)]
        accumulate = [chain_step(shape, summed, [*externals, adjoint, adjoint], 0)]
        return assign, accumulate, repeats

    def is_plain(self, s: Statement) -> bool:
        """Whether operands and result have the adjoint's dtype, so that one loop can do them all."""
        kinds = {x.dtype for x in (*s.instruction.layouts, s.instruction.out)}
        return kinds == {self.target.dtype}

    def layout_of(self, slot: int) -> Layout:
        if slot in self.places:
            return self.places[slot][2]
        return self.traced.tape.instruction_of(slot).out

    def sequence(self) -> tuple[list[Step], list[Step], bool]:
        """The same for templates with reductions, products, in-place writes: one step after another."""
        steps: list[Step] = []
        inner = 0
        for s in self.statements:
            kind = s.instruction.op.kind
            if kind == nt.VIEW:
                self.place_view(s)
                continue
            if kind == nt.COMPUTE:
                for j, out in enumerate(s.instruction.outs):
                    self.places[s.slot + j] = (SCRATCH, self.scratch, out)
                    self.scratch += (out.span + 63) & ~63
            else:
                ref, offset, _ = self.places[s.args[0]]
                self.places[s.slot] = (ref, offset, s.instruction.out)
            inner = max(inner, s.instruction.scratch)
        base = self.scratch
        self.scratch += inner
        for s in self.statements:
            if s.instruction.op.kind != nt.VIEW:
                steps += [self.relocate(step, s, base) for step in s.instruction.steps]
        layout = self.layout_of(self.result)
        shape = np.broadcast_shapes(layout.shape, self.target.shape)
        adjoint, repeats = self.finish(shape)
        source = self.operand(self.result, shape)
        dtype = self.target.dtype
        copy = Step(copy_loop(dtype), shape, (source, adjoint))
        add = Step(ufunc_loop(np.add, (dtype,) * 3), shape, (adjoint, source, adjoint))
        return [*steps, copy], [*steps, add], repeats

    def relocate(self, step: Step, s: Statement, base: int) -> Step:
        """A step of an instruction, with the operands of a template's statement."""
        operands = []
        for operand in step.operands:
            if operand.ref == SCRATCH:
                operands.append(operand._replace(offset=operand.offset + base))
                continue
            if operand.ref == ADDRESS:
                operands.append(operand)
                continue
            number = operand.ref - ARGS
            nargs = len(s.args)
            slot = s.args[number] if number < nargs else s.slot + number - nargs
            ref, offset, _ = self.places[slot]
            operands.append(Operand(ref, operand.offset + offset, operand.strides))
        return step._replace(operands=tuple(operands), scratch=step.scratch + base)


def build(made: Instruction) -> None:
    """Build the VJP programs of an instruction for all its operands, unless they are there."""
    with nt.LOCK:
        if ITAB.rows[made.id, nt.I_VJP] < 0:
            _build(made)


def _build(made: Instruction) -> None:
    row = ITAB.rows[made.id]
    count = max(len(made.layouts), 1)
    first = VTAB.reserve(count)
    rows = VTAB.rows[first : first + count]
    rows[:] = 0
    kind = made.op.kind
    if kind == nt.VIEW:
        # A captured view has an adjoint of its own; it is added where it lies in its root's.
        # Elements that share memory share their adjoint too, and count once.
        once = tuple(
            1 if stride == 0 else n
            for n, stride in zip(made.out.shape, made.out.strides, strict=True)
        )
        own = intern(made.out.dtype, once, made.out.strides)
        _identity(rows[0], own, own)
        rows[0][nt.V_REDUCES] = 1
    elif kind in (nt.WRITE, nt.ACCUMULATE):
        target, source = made.layouts
        zero = address_operand(constant(0, target.dtype.np), target.ndim)
        adjoint = Operand(ADJOINT, 0, target.strides)
        rows[0][nt.V_ASSIGN] = packed(
            [Step(copy_loop(target.dtype), target.shape, (zero, adjoint))]
        )
        if is_float(source):
            _identity(rows[1], source, target)
    elif "programs" in made.op.extras:
        made.op.extras["programs"](made, rows[0])
        rows[0][nt.V_EXISTS] = 1
    elif kind == nt.COMPUTE and not made.op.extras.get("python"):
        traced = template(made)
        for i, result in enumerate(traced.results):
            if result is None or not is_float(made.layouts[i]):
                continue
            builder = _Builder(made, traced, i, result)
            assign, accumulate, repeats = (
                builder.chain() if builder.is_chain() else builder.sequence()
            )
            v = rows[i]
            v[nt.V_ASSIGN], v[nt.V_ACCUMULATE] = packed(assign), packed(accumulate)
            v[nt.V_SCRATCH] = builder.scratch + 64
            v[nt.V_MASK] = builder.mask
            v[nt.V_REDUCES] = repeats or made.layouts[i].overlaps
            v[nt.V_EXISTS] = 1
            if builder.recipe is not None:
                RECIPES[first + i] = builder.recipe
            ct_slot = next(k for k, name in traced.inputs.items() if name == "ct")
            v[nt.V_IDENTITY] = (
                result == ct_slot and made.layouts[i] is made.out and made.out.is_contiguous
            )
    row[nt.I_VSCRATCH] = max(int(v[nt.V_SCRATCH]) for v in rows)
    # The sweep may look at these rows from now on.
    row[nt.I_VJP] = first


def _identity(v: np.ndarray, source: Layout, target: Layout) -> None:
    """Program of a derivative of one: the cotangent, laid out as `target`, goes to `source`."""
    shape = np.broadcast_shapes(source.shape, target.shape)
    ct = Operand(CT, 0, broadcast_strides(target, shape))
    strides = broadcast_strides(source, shape)
    adjoint = Operand(ADJOINT, 0, strides)
    v[nt.V_ASSIGN] = packed([Step(copy_loop(source.dtype), shape, (ct, adjoint))])
    add = ufunc_loop(np.add, (source.dtype,) * 3)
    v[nt.V_ACCUMULATE] = packed([Step(add, shape, (adjoint, ct, adjoint))])
    v[nt.V_REDUCES] = source.overlaps or any(
        n != 1 and s == 0 for n, s in zip(shape, strides, strict=True)
    )
    v[nt.V_EXISTS] = 1
