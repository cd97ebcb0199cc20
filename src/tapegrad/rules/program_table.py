"""VJP programs: built when a reverse pass first needs them, and found by instruction and variant.

`build` makes the rows of ``G_VTAB`` for one instruction: a program that assigns and one that
accumulates for each operand, which residuals they read, how much scratch memory they need. There are
variants of each: with lanes (many cotangents at once), and masked (traced_rule.py).
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np

from ..native import abi as nt
from ..native.ufunc_loops import ufunc_loop
from ..ops.families import sized
from ..ops.instruction import CACHES, INSTRUCTIONS, ITAB, VTAB, Instruction, instruction
from ..ops.layout import Layout, broadcast_shapes, broadcast_strides, contiguous, intern
from ..ops.patterns import fill_programs
from ..ops.program import (
    ADJOINT,
    CT,
    Operand,
    Step,
    address_operand,
    constant,
    holding,
    packed,
    padded,
)
from ..ops.table import TABLE, copy_loop, is_inexact
from .adjoint_program import Builder, Programs
from .batched_adjoint_program import LaneBuilder
from .fusion import RECIPES, Recipe
from .traced_rule import template

__all__ = ["build", "copy_of"]


def build(instruction: Instruction, variant: int = 0) -> None:
    """Build the VJP programs of an instruction for all its operands, unless they are there.

    Parameters
    ----------
    instruction : Instruction
    variant : int
        Sum of LANES and MASKED (native/abi.py). The plain ones are built as well.
    """
    with holding(instruction.holdings):
        for which in sorted({0, variant}):
            if ITAB.rows[instruction.id, nt.I_VJP + which] < 0:
                _build(instruction, which)


def _build(instruction: Instruction, variant: int) -> None:
    if not variant & nt.LANES:
        head, pattern = instruction.head, instruction.pattern
        if head is not None and _shared(instruction, head, variant):
            return
        if pattern is not None and _filled(instruction, variant):
            return
    rows, recipes, shared = _rows(instruction, variant)
    first = VTAB.reserve(len(rows))
    VTAB.write(first, [word for row in rows for word in row])
    for i, recipe in recipes.items():
        RECIPES[first + i] = recipe, instruction.holdings
    if shared:
        instruction.shares |= 1 << variant
    scratch = 0 if variant & nt.LANES else max(row[nt.V_SCRATCH] for row in rows)
    _use(instruction, variant, first, scratch)


def _use(instruction: Instruction, variant: int, first: int, scratch: int) -> None:
    """Let sweeps look at the rows of a variant."""
    row = ITAB.rows[instruction.id]
    row[nt.I_VSCRATCH] = max(row.item(nt.I_VSCRATCH), scratch)
    row[nt.I_VJP + variant] = first


Rows = list[list[Any]]


def _rows(instruction: Instruction, variant: int) -> tuple[Rows, dict[int, Recipe], bool]:
    """Rows of the programs, recipes of some, and whether all of a family can run them."""
    copies = instruction.op.name == "clone"
    rows: Rows = [[0] * nt.V_WIDTH for _ in range(max(len(instruction.layouts), 1) + copies)]
    recipes: dict[int, Recipe] = {}
    shared = False
    laned = bool(variant & nt.LANES)
    kind = instruction.op.kind
    if kind == nt.VIEW:
        # A captured view has an adjoint of its own; it is added where it lies in its root's.
        # Elements that share memory share their adjoint too, and count once.
        once = tuple(
            1 if stride == 0 else n
            for n, stride in zip(instruction.out.shape, instruction.out.strides, strict=True)
        )
        layout = intern(instruction.out.dtype, once, instruction.out.strides)
        _identity(rows[0], layout, layout, laned=laned)
        rows[0][nt.V_REDUCES] = 1
    elif kind in (nt.WRITE, nt.ACCUMULATE):
        target, source = instruction.layouts
        zero = address_operand(constant(0, target.dtype.np), target.ndim)
        adjoint = Operand(ADJOINT, 0, target.strides, target.dtype.itemsize * laned)
        rows[0][nt.V_ASSIGN] = packed(
            [Step(copy_loop(target.dtype), target.shape, (zero, adjoint))]
        )
        if is_inexact(source):
            _identity(rows[1], source, target, laned=laned)
    elif instruction.op.programs is not None and not laned:
        instruction.op.programs(instruction, rows)
    elif kind == nt.COMPUTE and not instruction.op.python:
        recipes, shared = _build_rules(instruction, variant, rows)
    if copies:  # one more program, by which a pass copies adjoints out
        out = contiguous(instruction.out.dtype, instruction.out.shape)
        size = instruction.size if instruction.family and not laned else 0
        _identity(rows[1], out, instruction.layouts[0], laned=laned, size=size)
    return rows, recipes, shared


def _filled(instruction: Instruction, variant: int) -> bool:
    """Write the programs of an instruction as its pattern has them; False if they have to be built."""
    answer = fill_programs(instruction, variant, _rows)
    if answer is None:
        return False
    first, scratch, with_recipe = answer
    for i in with_recipe:
        RECIPES[first + i] = partial(_recipe_of, instruction.id, variant, i), instruction.holdings
    _use(instruction, variant, first, scratch)
    return True


def _recipe_of(number: int, variant: int, operand: int) -> Recipe | None:
    """The recipe of a program that was filled in from an image."""
    instruction = INSTRUCTIONS[number]
    with holding(instruction.holdings):
        traced = template(instruction, variant)
        result = traced.results[operand]
        assert result is not None
        builder = Builder(instruction, traced, operand, result)
        builder.steps()
        return builder.recipe


def _shared(instruction: Instruction, head: Instruction, variant: int) -> bool:
    """Let an instruction have the programs of the head of its family, if they can be shared."""
    build(head, variant)
    first = ITAB.rows.item(head.id, nt.I_VJP + variant)
    if not head.shares >> variant & 1:
        return False
    row = ITAB.rows[instruction.id]
    row[nt.I_VSCRATCH] = max(row[nt.I_VSCRATCH], ITAB.rows[head.id, nt.I_VSCRATCH])
    row[nt.I_VJP + variant] = first
    return True


def _build_rules(
    instruction: Instruction, variant: int, rows: Rows
) -> tuple[dict[int, Recipe], bool]:
    """Build the programs of an op with a rule into rows; recipes, and whether a family can run them."""
    traced = template(instruction, variant)
    kind = LaneBuilder if variant & nt.LANES else Builder
    builders: list[tuple[int, int, Builder, Programs]] = []
    for i, result in enumerate(traced.results):
        if result is not None and is_inexact(instruction.layouts[i]):
            builder = kind(instruction, traced, i, result)
            builders.append((i, result, builder, builder.steps()))
    one_loop = None
    recipes: dict[int, Recipe] = {}
    if instruction.family and instruction.head is None and not variant & nt.LANES:
        one_loop = _one_loop(builders, instruction.size)
    for i, result, builder, (assign, accumulate, repeats) in builders:
        v = rows[i]
        if one_loop is not None:
            assign, accumulate = one_loop[i]
        v[nt.V_ASSIGN], v[nt.V_ACCUMULATE] = packed(assign), packed(accumulate)
        v[nt.V_SCRATCH] = padded(builder.scratch + 64)
        v[nt.V_LANED] = builder.laned_scratch
        v[nt.V_MASK] = builder.mask
        v[nt.V_REDUCES] = repeats or instruction.layouts[i].overlaps
        v[nt.V_EXISTS] = 1
        if builder.recipe is not None:
            recipes[i] = builder.recipe._replace(sized=one_loop is not None)
        v[nt.V_IDENTITY] = (
            result == traced.ct
            and instruction.layouts[i] is instruction.out
            and instruction.out.is_contiguous
        )
    return recipes, one_loop is not None


def _one_loop(
    builders: list[tuple[int, int, Builder, Programs]], size: int
) -> dict[int, tuple[list[Step], list[Step]]] | None:
    """The programs in steps that all of a family can run; None if one of them cannot be written so."""
    programs = {}
    for i, _, _, (assign, accumulate, _) in builders:
        steps = sized(assign, size), sized(accumulate, size)
        if steps[0] is None or steps[1] is None:
            return None
        programs[i] = steps[0], steps[1]
    return programs


def _identity(v: list[Any], source: Layout, target: Layout, *, laned: bool, size: int = 0) -> None:
    """Program of a derivative of one: the cotangent, laid out as `target`, goes to `source`."""
    shape = broadcast_shapes(source.shape, target.shape)
    lane = source.dtype.itemsize * laned
    ct = Operand(CT, 0, broadcast_strides(target, shape), lane)
    strides = broadcast_strides(source, shape)
    adjoint = Operand(ADJOINT, 0, strides, lane)
    assign = [Step(copy_loop(source.dtype), shape, (ct, adjoint))]
    add = ufunc_loop(np.add, (source.dtype,) * 3)
    accumulate = [Step(add, shape, (adjoint, ct, adjoint))]
    if size:
        assign, accumulate = sized(assign, size) or assign, sized(accumulate, size) or accumulate
    v[nt.V_ASSIGN], v[nt.V_ACCUMULATE] = packed(assign), packed(accumulate)
    v[nt.V_REDUCES] = source.overlaps or any(
        n != 1 and s == 0 for n, s in zip(shape, strides, strict=True)
    )
    v[nt.V_EXISTS] = 1


@cache
def copy_of(layout: Layout, variant: int = 0) -> Instruction:
    """The instruction that copies a layout, its VJP (the identity) built."""
    copy = instruction(TABLE["clone"], (layout,))
    build(copy, variant)
    return copy


CACHES.append(copy_of.cache_clear)
