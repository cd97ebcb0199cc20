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
from ..ops.table import TABLE, copy_loop, is_float
from .adjoint_program import Builder, Programs
from .batched_adjoint_program import LaneBuilder
from .fusion import RECIPES, Recipe
from .traced_rule import template

__all__ = ["build", "copy_of"]


def build(made: Instruction, variant: int = 0) -> None:
    """Build the VJP programs of an instruction for all its operands, unless they are there.

    Parameters
    ----------
    made : Instruction
    variant : int
        Sum of LANES and MASKED (native/abi.py). The plain ones are built as well.
    """
    with holding(made.holdings):
        for which in sorted({0, variant}):
            if ITAB.rows[made.id, nt.I_VJP + which] < 0:
                _build(made, which)


def _build(made: Instruction, variant: int) -> None:
    if made.head is not None and not variant & nt.LANES and _shared(made, made.head, variant):
        return
    if made.pattern is not None and not variant & nt.LANES and _filled(made, variant):
        return
    rows, recipes, shared = _rows(made, variant)
    first = VTAB.reserve(len(rows))
    VTAB.write(first, [word for row in rows for word in row])
    for i, recipe in recipes.items():
        RECIPES[first + i] = recipe, made.holdings
    if shared:
        made.shares |= 1 << variant
    scratch = 0 if variant & nt.LANES else max(row[nt.V_SCRATCH] for row in rows)
    _use(made, variant, first, scratch)


def _use(made: Instruction, variant: int, first: int, scratch: int) -> None:
    """Let sweeps look at the rows of a variant."""
    row = ITAB.rows[made.id]
    row[nt.I_VSCRATCH] = max(row.item(nt.I_VSCRATCH), scratch)
    row[nt.I_VJP + variant] = first


Rows = list[list[Any]]


def _rows(made: Instruction, variant: int) -> tuple[Rows, dict[int, Recipe], bool]:
    """Rows of the programs, recipes of some, and whether all of a family can run them."""
    copies = made.op.name == "clone"
    rows: Rows = [[0] * nt.V_WIDTH for _ in range(max(len(made.layouts), 1) + copies)]
    recipes: dict[int, Recipe] = {}
    shared = False
    laned = bool(variant & nt.LANES)
    kind = made.op.kind
    if kind == nt.VIEW:
        # A captured view has an adjoint of its own; it is added where it lies in its root's.
        # Elements that share memory share their adjoint too, and count once.
        once = tuple(
            1 if stride == 0 else n
            for n, stride in zip(made.out.shape, made.out.strides, strict=True)
        )
        own = intern(made.out.dtype, once, made.out.strides)
        _identity(rows[0], own, own, laned=laned)
        rows[0][nt.V_REDUCES] = 1
    elif kind in (nt.WRITE, nt.ACCUMULATE):
        target, source = made.layouts
        zero = address_operand(constant(0, target.dtype.np), target.ndim)
        adjoint = Operand(ADJOINT, 0, target.strides, target.dtype.itemsize * laned)
        rows[0][nt.V_ASSIGN] = packed(
            [Step(copy_loop(target.dtype), target.shape, (zero, adjoint))]
        )
        if is_float(source):
            _identity(rows[1], source, target, laned=laned)
    elif made.op.programs is not None and not laned:
        made.op.programs(made, rows[0])
        rows[0][nt.V_EXISTS] = 1
    elif kind == nt.COMPUTE and not made.op.python:
        recipes, shared = _build_rules(made, variant, rows)
    if copies:  # one more program, by which a pass copies adjoints out
        out = contiguous(made.out.dtype, made.out.shape)
        size = made.size if made.family and not laned else 0
        _identity(rows[1], out, made.layouts[0], laned=laned, size=size)
    return rows, recipes, shared


def _filled(made: Instruction, variant: int) -> bool:
    """Write the programs of an instruction as its pattern has them; False if they have to be built."""
    answer = fill_programs(made, variant, _rows)
    if answer is None:
        return False
    first, scratch, with_recipe = answer
    for i in with_recipe:
        RECIPES[first + i] = partial(_recipe_of, made.id, variant, i), made.holdings
    _use(made, variant, first, scratch)
    return True


def _recipe_of(number: int, variant: int, operand: int) -> Recipe | None:
    """The recipe of a program that was filled in from an image."""
    made = INSTRUCTIONS[number]
    with holding(made.holdings):
        traced = template(made, variant)
        result = traced.results[operand]
        assert result is not None
        builder = Builder(made, traced, operand, result)
        builder.steps()
        return builder.recipe


def _shared(made: Instruction, head: Instruction, variant: int) -> bool:
    """Let an instruction have the programs of the head of its family, if they can be shared."""
    build(head, variant)
    first = ITAB.rows.item(head.id, nt.I_VJP + variant)
    if not head.shares >> variant & 1:
        return False
    row = ITAB.rows[made.id]
    row[nt.I_VSCRATCH] = max(row[nt.I_VSCRATCH], ITAB.rows[head.id, nt.I_VSCRATCH])
    row[nt.I_VJP + variant] = first
    return True


def _build_rules(made: Instruction, variant: int, rows: Rows) -> tuple[dict[int, Recipe], bool]:
    """Build the programs of an op with a rule into rows; recipes, and whether a family can run them."""
    traced = template(made, variant)
    kind = LaneBuilder if variant & nt.LANES else Builder
    builders: list[tuple[int, int, Builder, Programs]] = []
    for i, result in enumerate(traced.results):
        if result is not None and is_float(made.layouts[i]):
            builder = kind(made, traced, i, result)
            builders.append((i, result, builder, builder.steps()))
    one_loop = None
    recipes: dict[int, Recipe] = {}
    if made.family and made.head is None and not variant & nt.LANES:
        one_loop = _one_loop(builders, made.size)
    for i, result, builder, (assign, accumulate, repeats) in builders:
        v = rows[i]
        if one_loop is not None:
            assign, accumulate = one_loop[i]
        v[nt.V_ASSIGN], v[nt.V_ACCUMULATE] = packed(assign), packed(accumulate)
        v[nt.V_SCRATCH] = padded(builder.scratch + 64)
        v[nt.V_LANED] = builder.laned_scratch
        v[nt.V_MASK] = builder.mask
        v[nt.V_REDUCES] = repeats or made.layouts[i].overlaps
        v[nt.V_EXISTS] = 1
        if builder.recipe is not None:
            recipes[i] = builder.recipe._replace(sized=one_loop is not None)
        v[nt.V_IDENTITY] = (
            result == traced.ct and made.layouts[i] is made.out and made.out.is_contiguous
        )
    return recipes, one_loop is not None


def _one_loop(
    builders: list[tuple[int, int, Builder, Programs]], size: int
) -> dict[int, tuple[list[Step], list[Step]]] | None:
    """The programs in steps that all of a family can run; None if one of them cannot be written so."""
    found = {}
    for i, _, _, (assign, accumulate, _) in builders:
        steps = sized(assign, size), sized(accumulate, size)
        if steps[0] is None or steps[1] is None:
            return None
        found[i] = steps[0], steps[1]
    return found


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
    made = instruction(TABLE["clone"], (layout,))
    build(made, variant)
    return made


CACHES.append(copy_of.cache_clear)
