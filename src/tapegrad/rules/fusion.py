"""Adjoint kernels emitted from VJPs.

A VJP program starts as a chain of NumPy's loops, tile by tile, so the first sweep waits for no
compiler. Once a program has done enough work to be worth it, its arithmetic becomes one loop of machine
code (ops/emitter.py, a few milliseconds) that reads each operand once and accumulates in place; functions
(``exp``, ``cos`` ...) stay NumPy's vectorised loops and feed it through tiles. The loop does the same
operations in the same order, so results do not change by a bit.

`Recipe` is what adjoint_program.py leaves for each elementwise program, `kernel` emits a loop, and `heat`
looks for programs that have become hot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from llvmlite import ir

from ..base.dtypes import dtype, float32, float64
from ..base.fast_paths import REFUSED
from ..base.locks import TABLE_LOCK
from ..native import abi as nt
from ..native.machine_code import Unit, compiled, load
from ..native.ufunc_loops import ufunc_loop
from ..ops.emitter import UFUNCS
from ..ops.instruction import VTAB
from ..ops.loop_geometry import loop_geometry
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
from ..ops.scalar_code import Scalar

__all__ = ["RECIPES", "Recipe", "heat"]

#: bytes written (and 64 a run) after which a program is compiled
HOT = 1 << 23
#: ufuncs that are worth a place in a loop; all others are functions
_ARITHMETIC = (
    np.add, np.subtract, np.multiply, np.true_divide, np.negative, np.square, np.reciprocal,
)  # fmt: skip

#: a loop's arithmetic: for each node the name of its ufunc, and its inputs as in a `ChainNode`
Body: TypeAlias = "tuple[tuple[str, tuple[int, ...]], ...]"


class Recipe(NamedTuple):
    """An elementwise VJP program: its chain, its operands, and where its result goes."""

    nodes: tuple[ChainNode, ...]
    operands: tuple[Operand, ...]
    adjoint: Operand
    shape: tuple[int, ...]
    kind: dtype
    sized: bool = False


#: by row in the table of programs, or a function that works it out, with what the row belongs to
RECIPES: dict[int, tuple[Recipe | Callable[[], Recipe | None], Holdings]] = {}


def _forget(first: int, count: int) -> None:
    for number in range(first, first + count):
        RECIPES.pop(number, None)


VTAB.forget = _forget


@cache
def _arithmetic(kind: dtype) -> dict[tuple[int, int], np.ufunc]:
    """The ufuncs of `_ARITHMETIC`, by their loops for a dtype."""
    return {ufunc_loop(f, (kind,) * f.nargs): f for f in _ARITHMETIC}


# --------------------------------------------------------------------------- code
@cache
def kernel(body: Body, pattern: str, kind: dtype) -> int:
    """Address of a loop over ``out[i] = body``.

    Parameters
    ----------
    body : tuple
        The last node's value is the result.
    pattern : str
        A letter an operand, the last of which is the result, which may be read as well: ``v`` contiguous,
        ``0`` one value for all, ``s`` strided.
    kind : dtype
        Of all values.
    """
    text = f"{body!r} {pattern} {kind.name}"

    def build(symbols: Mapping[str, str]) -> bytes:
        return compiled(_loop(symbols["kernel"], body, pattern, kind))

    return load(Unit("loop", text, ("kernel",), build))["kernel"]


def _loop(symbol: str, body: Body, pattern: str, kind: dtype) -> ir.Module:
    """The code of `kernel`, with the signature of NumPy's loops."""
    word = ir.IntType(64)
    number = {float64: ir.DoubleType(), float32: ir.FloatType()}[kind]
    module = ir.Module(symbol)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [word] * 4), symbol)
    start, loop, end = map(function.append_basic_block, ("start", "loop", "end"))
    builder = ir.IRBuilder(start)
    args, dims, strides = (builder.inttoptr(x, word.as_pointer()) for x in function.args[:3])

    def entry(table: Any, i: int) -> Any:
        return builder.load(builder.gep(table, [ir.Constant(word, i)]))

    def pointer(address: Any) -> Any:
        return builder.inttoptr(address, number.as_pointer())

    addresses = [entry(args, i) for i in range(len(pattern))]
    steps = [entry(strides, i) if letter == "s" else None for i, letter in enumerate(pattern)]
    bases = [
        pointer(x) if letter != "s" else None for x, letter in zip(addresses, pattern, strict=True)
    ]
    fixed = [builder.load(bases[i]) if letter == "0" else None for i, letter in enumerate(pattern)]
    count = entry(dims, 0)
    builder.cbranch(builder.icmp_signed(">", count, ir.Constant(word, 0)), loop, end)
    builder.position_at_end(loop)
    index = builder.phi(word)
    index.add_incoming(ir.Constant(word, 0), start)

    def place(i: int) -> Any:
        """Address of an operand's element."""
        if pattern[i] == "v":
            return builder.gep(bases[i], [index])
        if pattern[i] == "0":
            return bases[i]
        return pointer(builder.add(addresses[i], builder.mul(index, steps[i])))

    known: dict[int, Scalar] = {}

    def value(reference: int) -> Scalar:
        """The value of an operand or a node."""
        if reference not in known:  # an operand: nodes come in order
            element = fixed[reference]
            known[reference] = Scalar(builder, element or builder.load(place(reference)))
        return known[reference]

    for j, (name, inputs) in enumerate(body):
        known[-1 - j] = UFUNCS[getattr(np, name)](*map(value, inputs))
    builder.store(known[-len(body)].value, place(len(pattern) - 1))
    following = builder.add(index, ir.Constant(word, 1))
    index.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, end)
    builder.position_at_end(end)
    builder.ret_void()
    return module


# --------------------------------------------------------------------------- programs
def _tail(nodes: tuple[ChainNode, ...], kind: dtype) -> dict[int, np.ufunc]:
    """The arithmetic at the end of a chain that can be one loop: nodes used by nothing else."""
    users: dict[int, set[int]] = {i: set() for i in range(len(nodes))}
    for i, node in enumerate(nodes):
        for reference in node.inputs:
            if reference < 0:
                users[-1 - reference].add(i)
    chosen: dict[int, np.ufunc] = {}
    for i in range(len(nodes) - 1, -1, -1):
        ufunc = _arithmetic(kind).get(nodes[i].kernel)
        is_last = i == len(nodes) - 1
        if ufunc is not None and (is_last or (users[i] and users[i] <= chosen.keys())):
            chosen[i] = ufunc
    return dict(reversed(chosen.items()))


def fused(recipe: Recipe, *, accumulate: bool) -> Step | None:
    """The program of a recipe with its arithmetic as one loop; None where that gains nothing."""
    nodes, kind, itemsize = recipe.nodes, recipe.kind, recipe.kind.itemsize
    if kind.is_complex:  # arithmetic of complex numbers is not written
        return None
    adjoint, operands = len(recipe.operands), recipe.operands
    if accumulate:
        add = ChainNode(ufunc_loop(np.add, (kind,) * 3), (adjoint, -len(nodes)), itemsize)
        nodes, operands = (*nodes, add), (*operands, recipe.adjoint)
    chosen = _tail(nodes, kind)
    if not chosen:
        return None
    place = {-1 - old: -1 - new for new, old in enumerate(chosen)}
    outside = dict.fromkeys(r for i in chosen for r in nodes[i].inputs if r not in place)
    rest = [i for i in range(len(nodes)) if i not in chosen]
    if len(outside) > (4 if rest else nt.MAX_OPERANDS - 1):
        return None
    # The pattern holds for the loop that these operands get, in this order.
    emitted = [*operands, recipe.adjoint] if rest else [operands[r] for r in outside]
    if not rest:
        emitted.append(recipe.adjoint)
    count, inner, _, _ = loop_geometry(recipe.shape, [o.strides for o in emitted])
    if inner[-1] == 0 and count > 1:
        return None  # a sum over a broadcast dimension: NumPy's pairwise loop does that better
    letters = [_letter(stride, count, itemsize) for stride in inner]
    if rest:
        pattern = "".join("v" if r < 0 else letters[r] for r in outside) + letters[-1]
    else:
        pattern = "".join(letters)
    place |= {r: i for i, r in enumerate(outside)}
    if accumulate and adjoint in outside:
        # the adjoint is read and written through one pointer, or the loop would not vectorise
        place[adjoint] = len(outside)
    body = tuple((f.__name__, tuple(place[r] for r in nodes[i].inputs)) for i, f in chosen.items())
    address = kernel(body, pattern, kind)
    if not rest:
        return Step((address, 0), recipe.shape, tuple(emitted))
    moved = {-1 - old: -1 - new for new, old in enumerate(rest)}

    def renamed(references: Iterable[int]) -> tuple[int, ...]:
        return tuple(moved.get(r, r) for r in references)

    kept = [nodes[i]._replace(inputs=renamed(nodes[i].inputs)) for i in rest]
    kept.append(ChainNode((address, 0), renamed(outside), itemsize))
    return chain_step(recipe.shape, kept, [*operands, recipe.adjoint], 0)


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
    except (MemoryError, OSError):  # without room for code, all runs on as it is
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
