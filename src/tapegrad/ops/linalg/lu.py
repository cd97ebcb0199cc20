"""LU factors with partial pivoting, and linear systems that are solved by them.

A system keeps the factors of its matrix, so that its derivatives, which are systems with the adjoint matrix,
take no other factors. Columns are factored by halves, so that most of the work is in products of matrices
(Toledo 1997).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...base.dtypes import int64
from ...base.errors import LinAlgError
from ...native.ufunc_loops import native_kernel, native_kernel_address, typed_helpers, ufunc_loop
from ...native.words import KINDS, SIZE, element, helper, memcpy, p64
from ..layout import Layout, broadcast_shapes, broadcast_strides, contiguous
from ..program import POOL, Step, arg, padded
from ..table import Failure, Lowered, Op, copy_loop, op, out_operand
from .loops import (
    Matrices,
    adjoint,
    copied_part,
    kernel_step,
    memory,
    operand_matrices,
    result_matrices,
)
from .triangular import BLOCK, has_zero_pivot, multiply, solve_triangle, solve_triangular

__all__ = ["factor_columns", "is_factored", "lu_helpers", "solve_factored"]

#: columns up to which a panel is factored one after another
PANEL = 16


@helper
def swap_rows(a, i, j, line, spare):  # type: ignore[no-untyped-def]
    """Swap two rows of `line` bytes."""
    memcpy(spare, a + i * line, line)
    memcpy(a + i * line, a + j * line, line)
    memcpy(a + j * line, spare, line)


@helper
def factor_columns(a, pivots, work, loop, first, end, n, line):  # type: ignore[no-untyped-def]
    """Factor columns `first` to `end` of a contiguous matrix of `n` rows, from row `first` on."""
    if end - first > PANEL:
        middle = first + (end - first) // 2
        factor_columns(a, pivots, work, loop, first, middle, n, line)
        count, columns = middle - first, end - middle
        corner, right = a + first * (line + SIZE), a + first * line + middle * SIZE
        solve_triangle(corner, right, work, loop, count, columns, line, SIZE, line, False, True)
        rows = n - middle
        multiply(
            loop, a + middle * line + first * SIZE, right, work, rows, count, columns,
            line, SIZE, line, SIZE, columns * SIZE, SIZE,
        )  # fmt: skip
        for i in range(rows):
            below = element(a + (middle + i) * line + middle * SIZE)
            known = element(work + i * columns * SIZE)
            for j in range(columns):
                below[j] -= known[j]
        factor_columns(a, pivots, work, loop, middle, end, n, line)
        return
    for k in range(first, end):
        best, place = -1.0, k
        for i in range(k, n):
            size = float(abs(element(a + i * line)[k]))
            if size > best:
                best, place = size, i
        p64(pivots)[k] = place
        if place != k:
            swap_rows(a, k, place, line, work)
        row = element(a + k * line)
        pivot = row[k]
        if pivot == 0:
            continue
        for i in range(k + 1, n):
            other = element(a + i * line)
            factor = other[k] / pivot
            other[k] = factor
            for j in range(k + 1, end):
                other[j] -= factor * row[j]


def factor_lu(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Factor matrices in place (contiguous), and write which row each was swapped with; `data`: a loop."""
    n, s = p64(dims)[1], p64(strides)
    for batch in range(p64(dims)[0]):
        a, pivots = p64(args)[0] + batch * s[0], p64(args)[1] + batch * s[1]
        factor_columns(a, pivots, p64(args)[2] + batch * s[2], data, 0, n, n, n * SIZE)


@helper
def is_factored(a, pivots, n):  # type: ignore[no-untyped-def]
    """Return True unless factors have a zero on the diagonal, or pivots are none (which a file may hold)."""
    order = p64(pivots)
    for i in range(n):
        if order[i] < i or order[i] >= n:
            return False
    return not has_zero_pivot(a, n, (n + 1) * SIZE)


@helper
def solve_factored(a, pivots, x, block, loop, n, p, adjoint):  # type: ignore[no-untyped-def]
    """Solve a system, or that of the adjoint matrix, in place, by contiguous factors; `x` has `p` columns."""
    row, line, order = n * SIZE, p * SIZE, p64(pivots)
    if not adjoint:
        for i in range(n):
            if order[i] != i:
                swap_rows(x, i, order[i], line, block)
        solve_triangle(a, x, block, loop, n, p, row, SIZE, line, False, True)
        solve_triangle(a, x, block, loop, n, p, row, SIZE, line, True, False)
        return
    solve_triangle(a, x, block, loop, n, p, SIZE, row, line, False, False)
    solve_triangle(a, x, block, loop, n, p, SIZE, row, line, True, True)
    for i in range(n - 1, -1, -1):
        if order[i] != i:
            swap_rows(x, i, order[i], line, block)


def solve_lu(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Solve systems in place: factors, pivots, right-hand side (contiguous), memory for a block of it.

    Core dimensions n, p. `data`: the matmul loop and its data, whether the system is that of the adjoint
    matrix, and whether a singular one gives NaN rather than a failure.
    """
    n, p, s, d = p64(dims)[1], p64(dims)[2], p64(strides), p64(data)
    for batch in range(p64(dims)[0]):
        a, pivots = p64(args)[0] + batch * s[0], p64(args)[1] + batch * s[1]
        x, block = p64(args)[2] + batch * s[2], p64(args)[3] + batch * s[3]
        if is_factored(a, pivots, n):
            solve_factored(a, pivots, x, block, data, n, p, d[2] != 0)
            continue
        if d[3] == 0:
            return batch + 1
        for i in range(n * p):
            element(x)[i] = np.nan
    return 0


def permute(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Swap rows in place as pivots say: rows (contiguous), pivots, memory for a row; fail for other pivots.

    Core dimensions n, p. `data`: whether the last swap comes first.
    """
    n, p, s = p64(dims)[1], p64(dims)[2], p64(strides)
    for batch in range(p64(dims)[0]):
        x, order = p64(args)[0] + batch * s[0], p64(p64(args)[1] + batch * s[1])
        for k in range(n):
            i = n - 1 - k if p64(data)[0] != 0 else k
            if order[i] < 0 or order[i] >= n:
                return batch + 1
            if order[i] != i:
                swap_rows(x, i, order[i], p * SIZE, p64(args)[2] + batch * s[2])
    return 0


def lu_helpers(kind: str) -> dict[str, Any]:
    """Return words for kernels of a dtype that solve systems by factors."""
    inside = typed_helpers(kind, has_zero_pivot, solve_triangle)
    words: dict[str, Any] = {**KINDS[kind], **inside, "multiply": multiply, "swap_rows": swap_rows}
    return {
        **words,
        **typed_helpers(kind, factor_columns, is_factored, solve_factored, words=words),
    }


for _kind in ("f64", "f32"):
    _helpers = lu_helpers(_kind)
    native_kernel(factor_lu, f"factor_lu_{_kind}", **_helpers)
    native_kernel(solve_lu, f"solve_lu_{_kind}", checked=True, **_helpers)
    native_kernel(permute, f"permute_{_kind}", checked=True, **_helpers)


def lower_lu(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """LU factors in one matrix, without the diagonal of `L`, and for each row the one it was swapped with."""
    (x,) = layouts
    n, batch = x.shape[-1], tuple(x.shape[:-2])
    out, pivots = contiguous(x.dtype, x.shape), contiguous(int64, (*batch, n))
    if not out.size:
        return Lowered((out, pivots), ())
    data = POOL.put(ufunc_loop(np.matmul, (x.dtype,) * 3))
    operands = (
        result_matrices(1, out, (0, 0)), result_matrices(1, pivots, (0,), 1), memory(0, batch, x.dtype),
    )  # fmt: skip
    kernel = native_kernel_address("factor_lu", x.dtype), data
    steps = (
        Step(copy_loop(x.dtype), x.shape, (arg(0, x.strides), out_operand(1, out))),
        kernel_step(kernel, batch, (n,), operands),
    )
    return Lowered((out, pivots), steps, padded((n * n + BLOCK * n) * x.dtype.itemsize))


def lower_solve(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (matrix, right-hand side, its factors and pivots), batches broadcast.

    Attributes: `vector` for vectors on the right, `adjoint` for the system of the adjoint matrix, `quiet` for
    NaN in the place of a failure.
    """
    a, b, factors, pivots = layouts
    vector = attrs["vector"]
    core = (b.ndim - 1,) if vector else (b.ndim - 2, b.ndim - 1)
    batch = broadcast_shapes(a.shape[:-2], b.shape[: core[0]])
    lengths = tuple([b.shape[i] for i in core])
    out = contiguous(a.dtype, (*batch, *lengths))
    n, p = lengths[0], 1 if vector else lengths[1]
    if not out.size:
        return Lowered((out,), ())
    result = result_matrices(4, out, (0,) if vector else (0, 1))
    if not (factors.is_contiguous and pivots.is_contiguous):
        raise AssertionError("factors are what their statement has written")
    data = POOL.put(
        (*ufunc_loop(np.matmul, (a.dtype,) * 3), int(attrs["adjoint"]), int(attrs["quiet"]))
    )
    operands: tuple[Matrices, ...] = (
        operand_matrices(2, factors, batch, (0, 0)), operand_matrices(3, pivots, batch, (0,)), result,
        memory(0, batch, a.dtype),
    )  # fmt: skip
    copied = arg(1, broadcast_strides(b, out.shape)), arg(4, out.strides)
    kernel = native_kernel_address("solve_lu", a.dtype), data
    steps = (
        Step(copy_loop(a.dtype), out.shape, copied),
        kernel_step(kernel, batch, (n, p), operands, checked=not attrs["quiet"]),
    )
    return Lowered((out,), steps, padded(BLOCK * p * a.dtype.itemsize))


def solve_vjp(
    ct: Any,
    a: Any,
    b: Any,
    factors: Any,
    pivots: Any,
    out: Any,
    vector: bool,
    adjoint: bool,
    quiet: bool,
) -> tuple[Any, Any, None, None]:
    """Solve with the adjoint matrix, by the same factors."""
    of_b = a._apply(
        "linalg_solve", ct, factors, pivots, vector=vector, adjoint=not adjoint, quiet=quiet
    )
    left, right = (out, of_b) if adjoint else (of_b, out)
    if vector:
        return -(left.unsqueeze(-1) * _conjugate(right).unsqueeze(-2)), of_b, None, None
    return -(left @ _adjoint(right)), of_b, None, None


_adjoint = adjoint


def _conjugate(x: Any) -> Any:
    """Complex conjugates; no dtype is complex."""
    return x


op("linalg_lu_parts", lower=lower_lu, torch=None, private=True)
op(
    "linalg_solve", lower=lower_solve, vjp=solve_vjp, arity=4, shown=2, torch="linalg.solve",
    grad_fn="LinalgSolveExBackward0",
    failure=Failure("The solver failed because the input matrix is singular", LinAlgError),
)  # fmt: skip


# --------------------------------------------------------------------------- the factors themselves
def lower_permuted(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Rows of matrices, swapped as pivots say; or back, with the attribute `back`."""
    x, pivots = layouts
    batch = broadcast_shapes(x.shape[:-2], pivots.shape[:-1])
    n, p = x.shape[-2:]
    out = contiguous(x.dtype, (*batch, n, p))
    if not out.size:
        return Lowered((out,), ())
    operands = (
        result_matrices(2, out, (0, 1)), operand_matrices(1, pivots, batch, (0,)), memory(0, batch, x.dtype),
    )  # fmt: skip
    kernel = native_kernel_address("permute", x.dtype), POOL.put([int(attrs["back"])])
    copied = arg(0, broadcast_strides(x, out.shape)), arg(2, out.strides)
    steps = (
        Step(copy_loop(x.dtype), out.shape, copied),
        kernel_step(kernel, batch, (n, p), operands, checked=True),
    )
    return Lowered((out,), steps, padded(p * x.dtype.itemsize))


def permuted_vjp(ct: Any, x: Any, pivots: Any, out: Any, back: bool) -> tuple[Any, None]:
    """Swap the rows the other way."""
    return ct._apply("linalg_permuted", pivots, back=not back), None


def factors_vjp(ct: Any, a: Any, factors: Any, pivots: Any, out: Any) -> tuple[Any, None, None]:
    """Of the factors in one matrix (de Hoog, Anderssen and Lukas 2011)."""
    lower, upper = adjoint(out), adjoint(out)  # of the unit lower triangle, and of the upper one
    below = adjoint(out.tril(-1)) @ ct.tril(-1) + ct.tril(-1)
    inner = below.tril(-1) + (ct.triu() @ adjoint(out.triu())).triu()
    left = solve_triangular(lower, inner, upper=True, unitriangular=True)
    of_a = adjoint(solve_triangular(adjoint(upper), adjoint(left), upper=True))
    return of_a._apply("linalg_permuted", pivots, back=True), None, None


op(
    "linalg_permuted", arity=2, lower=lower_permuted, vjp=permuted_vjp, torch=None, private=True, shown=1,
    failure=Failure("pivots are numbers of rows, counted from 1", ValueError),
)  # fmt: skip
op(
    "linalg_lu_factor", arity=3, shown=1, vjp=factors_vjp, torch="linalg.lu_factor",
    grad_fn="LinalgLuFactorExBackward0", lower=lambda entry, layouts, attrs: copied_part(1, layouts),
)  # fmt: skip
