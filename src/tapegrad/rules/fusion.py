"""Adjoint kernels generated from VJPs.

A VJP program starts as a chain of NumPy's loops, tile by tile, so the first sweep waits for no
compiler. Once a program has done enough work to be worth it, its arithmetic is compiled into one
numba loop that reads each operand once and accumulates in place; functions (``exp``, ``cos`` ...)
stay NumPy's vectorised loops and feed it through tiles. The generated code does the same operations
in the same order, so results do not change by a bit.

`Recipe` is what traced_rule.py leaves for each fusable program, `kernel` the text of a loop, and `heat`
looks for programs that have become hot.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..base.fast_paths import REFUSED
from ..base.locks import TABLE_LOCK
from ..native import abi as nt
from ..native import intrinsic_stubs as words
from ..native.machine_code import kernel_address
from ..ops.instruction import VTAB
from ..ops.layout import loop_geometry
from ..ops.program import (
    ChainNode,
    Holdings,
    Operand,
    Step,
    chain_scratch,
    chain_step,
    holding,
    packed,
)

__all__ = ["RECIPES", "Recipe", "heat"]

#: bytes written (and 64 a run) after which a program is compiled
HOT = 1 << 23


class FusedNode(NamedTuple):
    """A node of a chain with the text of its arithmetic, None for a function."""

    node: ChainNode
    expr: str | None


class Recipe(NamedTuple):
    """An elementwise VJP program: its chain, its operands, and where its result goes."""

    parts: tuple[FusedNode, ...]
    operands: tuple[Operand, ...]
    adjoint: Operand
    shape: tuple[int, ...]
    add: tuple[int, int]
    itemsize: int
    sized: bool = False


#: by row in the table of programs, or a function that works it out, with what the row belongs to
RECIPES: dict[int, tuple[Recipe | Callable[[], Recipe | None], Holdings]] = {}


def _forget(first: int, count: int) -> None:
    for number in range(first, first + count):
        RECIPES.pop(number, None)


VTAB.forget = _forget


@cache
def kernel(expr: str, pattern: str, width: int) -> int:
    """Address of a loop over ``out[i] = expr``.

    Parameters
    ----------
    expr : str
        Over ``x0, x1, ...``; the last is the result, and may be read as well.
    pattern : str
        A letter an operand: ``v`` contiguous, ``0`` one value for all, ``s`` strided.
    width : int
        8 for float64, 4 for float32.
    """
    pointer = "pf64" if width == 8 else "pf32"
    lines = [
        "def fused(args, dims, strides, data):",
        "    a, s, n = p64(args), p64(strides), p64(dims)[0]",
    ]
    values = {}
    for i, letter in enumerate(pattern):
        values[i] = {"v": f"q{i}[i]", "0": f"c{i}", "s": f"{pointer}(r{i} + i * t{i})[0]"}[letter]
        lines.append(
            {
                "v": f"    q{i} = {pointer}(a[{i}])",
                "0": f"    c{i} = {pointer}(a[{i}])[0]",
                "s": f"    r{i}, t{i} = a[{i}], s[{i}]",
            }[letter]
        )
    body = re.sub(r"\bx(\d+)\b", lambda m: values[int(m.group(1))], expr)
    lines.append("    for i in range(n):")
    lines.append(f"        {values[len(pattern) - 1]} = {body}")
    text = "\n".join(lines) + "\n"
    names: dict[str, Any] = {"p64": words.p64, "pf64": words.pf64, "pf32": words.pf32}
    exec(compile(text, "<fused>", "exec"), names)
    return kernel_address(names["fused"], text)


def _tail(parts: tuple[FusedNode, ...]) -> set[int]:
    """The arithmetic at the end of a chain that can be one loop: nodes used by nothing else."""
    users: dict[int, set[int]] = {i: set() for i in range(len(parts))}
    for i, part in enumerate(parts):
        for reference in part.node.inputs:
            if reference < 0:
                users[-1 - reference].add(i)
    chosen: set[int] = set()
    for i in range(len(parts) - 1, -1, -1):
        last = i == len(parts) - 1
        if parts[i].expr is not None and (last or (users[i] and users[i] <= chosen)):
            chosen.add(i)
    return chosen


def _text(parts: tuple[FusedNode, ...], chosen: set[int], i: int, names: dict[int, str]) -> str:
    """The expression of node `i`, with what is not chosen as operands."""
    expr = parts[i].expr
    assert expr is not None
    inner = {}
    for letter, reference in zip("abc", parts[i].node.inputs, strict=False):
        node = -1 - reference
        if reference < 0 and node in chosen:
            inner[letter] = _text(parts, chosen, node, names)
        else:
            inner[letter] = names.setdefault(reference, f"x{len(names)}")
    return "(" + re.sub(r"\b([abc])\b", lambda m: inner[m.group(1)], expr) + ")"


def fused(recipe: Recipe, *, accumulate: bool) -> Step | None:
    """The program of a recipe with its arithmetic as one generated loop; None where that gains nothing."""
    parts = recipe.parts
    if accumulate:
        last = -1 - (len(parts) - 1)
        node = len(recipe.operands)
        parts = (*parts, FusedNode(ChainNode(recipe.add, (node, last), recipe.itemsize), "a + b"))
    chosen = _tail(parts)
    if len(chosen) < 1:
        return None
    operands = (*recipe.operands, recipe.adjoint) if accumulate else recipe.operands
    names: dict[int, str] = {}
    expr = _text(parts, chosen, len(parts) - 1, names)
    references = list(names)
    rest = [i for i in range(len(parts)) if i not in chosen]
    if len(references) > (4 if rest else nt.MAX_OPERANDS - 1):
        return None
    # The pattern holds for the loop that these operands get, in this order.
    emitted = [*operands, recipe.adjoint] if rest else [operands[r] for r in references]
    if not rest:
        emitted.append(recipe.adjoint)
    count, inner, _, _ = loop_geometry(recipe.shape, [o.strides for o in emitted])
    if inner[-1] == 0 and count > 1:
        return None  # a sum over a broadcast dimension: NumPy's pairwise loop does that better
    letters = [_letter(stride, count, recipe.itemsize) for stride in inner]
    if rest:
        pattern = "".join("v" if r < 0 else letters[r] for r in references) + letters[-1]
    else:
        pattern = "".join(letters)
    adjoint = len(recipe.operands)
    if accumulate and adjoint in references:
        # the adjoint is read and written through one pointer, or the loop would not vectorise
        expr = re.sub(rf"\bx{references.index(adjoint)}\b", f"x{len(references)}", expr)
    address = kernel(expr, pattern, recipe.itemsize)
    if not rest:
        return Step((address, 0), recipe.shape, tuple(emitted))
    moved = {old: new for new, old in enumerate(rest)}

    def renamed(reference: int) -> int:
        return reference if reference >= 0 else -1 - moved[-1 - reference]

    nodes = [
        parts[i].node._replace(inputs=tuple(renamed(r) for r in parts[i].node.inputs)) for i in rest
    ]
    nodes.append(ChainNode((address, 0), tuple(renamed(r) for r in references), recipe.itemsize))
    return chain_step(recipe.shape, nodes, [*operands, recipe.adjoint], 0)


def _letter(stride: int, count: int, itemsize: int) -> str:
    if count == 1 or stride == itemsize:
        return "v"
    return "0" if stride == 0 else "s"


_next_look = HOT


def heat(*, force: bool = False) -> int:
    """Compile the programs that have become hot; how many.

    Called after reverse sweeps; looks only when all together have done enough for one to be hot.
    """
    global _next_look
    work = nt.GLOBALS.item(nt.G_WORK)
    if not force and (REFUSED or work < _next_look):
        return 0
    _next_look = work + HOT
    rows = VTAB.rows[: VTAB.count]
    hot = np.flatnonzero((rows[:, nt.V_WORK] > HOT) & (rows[:, nt.V_HOT] == 0))
    try:
        return sum(_compile(number) for number in hot.tolist())
    except (
        MemoryError,
        ImportError,
        OSError,
    ):  # without room for the compiler, all runs on as it is
        return 0


def _compile(number: int) -> int:
    with TABLE_LOCK:
        VTAB.rows[number, nt.V_HOT] = 1
        recipe, holdings = RECIPES.pop(number, (None, None))
        if callable(recipe):
            recipe = recipe()
        if recipe is None or holdings is None:
            return 0
        done = 0
        row = VTAB.rows[number]
        for column, accumulate in ((nt.V_ASSIGN, False), (nt.V_ACCUMULATE, True)):
            step = fused(recipe, accumulate=accumulate)
            if step is not None:
                assert chain_scratch(step.nodes) <= row[nt.V_SCRATCH]  # it has fewer nodes
                with holding(holdings):
                    row[column] = packed([step._replace(sized=recipe.sized)])
                done += 1
        return done
