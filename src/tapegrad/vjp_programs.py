"""VJP programs: built when a reverse pass first needs them, and found by instruction and variant.

`build` makes the rows of ``G_VTAB`` for one instruction: a program that assigns and one that
accumulates for each operand, which residuals they read, how much scratch memory they need. There are
variants of each: with lanes (many cotangents at once), and masked (traced_rule.py).
"""

from __future__ import annotations

import numpy as np

from . import native as nt
from .adjoint_programs import Builder
from .fuse import RECIPES
from .instructions import ITAB, VTAB, Instruction
from .kernels import ufunc_loop
from .lane_programs import LaneBuilder
from .layouts import Layout, broadcast_strides, contiguous, intern
from .ops.table import copy_loop, is_float
from .programs import ADJOINT, CT, Operand, Step, address_operand, constant, packed
from .traced_rule import template

__all__ = ["build"]


def build(made: Instruction, variant: int = 0) -> None:
    """Build the VJP programs of an instruction for all its operands, unless they are there.

    Parameters
    ----------
    made : Instruction
    variant : int
        Sum of LANES and MASKED (native.py). The plain ones are built as well.
    """
    with nt.LOCK:
        for which in sorted({0, variant}):
            if ITAB.rows[made.id, nt.I_VJP + which] < 0:
                _build(made, which)


def _build(made: Instruction, variant: int) -> None:
    row = ITAB.rows[made.id]
    copies = made.op.name == "clone"
    count = max(len(made.layouts), 1) + copies
    first = VTAB.reserve(count)
    rows = VTAB.rows[first : first + count]
    rows[:] = 0
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
    elif "programs" in made.op.extras and not laned:
        made.op.extras["programs"](made, rows[0])
        rows[0][nt.V_EXISTS] = 1
    elif kind == nt.COMPUTE and not made.op.extras.get("python"):
        _build_rules(made, variant, first)
    if copies:  # one more program, by which a pass copies adjoints out
        out = contiguous(made.out.dtype, made.out.shape)
        _identity(rows[1], out, made.layouts[0], laned=laned)
    if not laned:
        row[nt.I_VSCRATCH] = max(row[nt.I_VSCRATCH], *(int(v[nt.V_SCRATCH]) for v in rows))
    # The sweep may look at these rows from now on.
    row[nt.I_VJP + variant] = first


def _build_rules(made: Instruction, variant: int, first: int) -> None:
    """Build the programs of an op with a rule into rows from `first` on."""
    traced = template(made, variant)
    for i, result in enumerate(traced.results):
        if result is None or not is_float(made.layouts[i]):
            continue
        v = VTAB.rows[first + i]
        if variant & nt.LANES:
            builder: Builder = LaneBuilder(made, traced, i, result)
        else:
            builder = Builder(made, traced, i, result)
        assign, accumulate, repeats = builder.steps()
        v[nt.V_ASSIGN], v[nt.V_ACCUMULATE] = packed(assign), packed(accumulate)
        v[nt.V_SCRATCH] = (builder.scratch + 127) & ~63
        v[nt.V_LANED] = builder.laned_scratch
        v[nt.V_MASK] = builder.mask
        v[nt.V_REDUCES] = repeats or made.layouts[i].overlaps
        v[nt.V_EXISTS] = 1
        if builder.recipe is not None:
            RECIPES[first + i] = builder.recipe
        ct_slot = next(k for k, name in traced.inputs.items() if name == "ct")
        v[nt.V_IDENTITY] = (
            result == ct_slot and made.layouts[i] is made.out and made.out.is_contiguous
        )


def _identity(v: np.ndarray, source: Layout, target: Layout, *, laned: bool) -> None:
    """Program of a derivative of one: the cotangent, laid out as `target`, goes to `source`."""
    shape = np.broadcast_shapes(source.shape, target.shape)
    lane = source.dtype.itemsize * laned
    ct = Operand(CT, 0, broadcast_strides(target, shape), lane)
    strides = broadcast_strides(source, shape)
    adjoint = Operand(ADJOINT, 0, strides, lane)
    v[nt.V_ASSIGN] = packed([Step(copy_loop(source.dtype), shape, (ct, adjoint))])
    add = ufunc_loop(np.add, (source.dtype,) * 3)
    v[nt.V_ACCUMULATE] = packed([Step(add, shape, (adjoint, ct, adjoint))])
    v[nt.V_REDUCES] = source.overlaps or any(
        n != 1 and s == 0 for n, s in zip(shape, strides, strict=True)
    )
    v[nt.V_EXISTS] = 1
