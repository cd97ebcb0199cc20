"""Triangular systems: blocks of rows, by products of matrices, and substitution inside of a block.

So most of the work is BLAS's, through NumPy's ``matmul`` loop, which a kernel calls by its address.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.linalg import _umath_linalg as lapack

from ...base.errors import LinAlgError
from ...native.ufunc_loops import native_kernel, native_kernel_address, typed_helpers, ufunc_loop
from ...native.words import KINDS, SIZE, call_loop, element, helper, p64, stack_words
from ..layout import Layout, broadcast_shapes, broadcast_strides, contiguous
from ..matmul import batch_strides, takes_blas
from ..program import POOL, SCRATCH, Operand, Step, address_operand, arg, constant, padded
from ..table import Failure, Lowered, Op, copy_loop, op
from .loops import (
    Matrices,
    kernel_step,
    loop_step,
    memory,
    operand_matrices,
    result_matrices,
    transposed,
)

__all__ = ["BLOCK", "has_zero_pivot", "multiply", "solve_triangle", "solve_triangular"]

#: rows of a block, and columns of the right-hand side that substitution takes at a time
BLOCK, TILE = 32, 64


@helper
def multiply(loop, x, y, out, m, k, p, xs, xt, ys, yt, os, ot):  # type: ignore[no-untyped-def]
    """Multiply an ``m x k`` and a ``k x p`` matrix by the loop whose address and data are at `loop`.

    Strides are those from row to row, then from column to column.
    """
    pointers, lengths, strides = stack_words(3), stack_words(4), stack_words(9)
    a, n, s = p64(pointers), p64(lengths), p64(strides)
    a[0], a[1], a[2] = x, y, out
    n[0], n[1], n[2], n[3] = 1, m, k, p
    s[0], s[1], s[2] = 0, 0, 0
    s[3], s[4], s[5], s[6], s[7], s[8] = xs, xt, ys, yt, os, ot
    call_loop(p64(loop)[0], pointers, lengths, strides, p64(loop)[1])


@helper
def has_zero_pivot(a, n, step):  # type: ignore[no-untyped-def]
    """Return True if a diagonal, whose elements are `step` bytes apart, has a zero."""
    zeros = 0
    for i in range(n):
        if element(a + i * step)[0] == 0:
            zeros += 1
    return zeros > 0


@helper
def solve_triangle(a, x, block, loop, n, p, row, column, line, upper, unit):  # type: ignore[no-untyped-def]
    """Solve a triangular system of `n` rows for `p` columns in place.

    `row` and `column` are the strides of the triangle, `line` that of the rows of the right-hand side;
    `block` is memory for `BLOCK` of these.
    """
    for number in range((n + BLOCK - 1) // BLOCK):
        first = number * BLOCK
        end = min(first + BLOCK, n)
        start, count = np.int64(0), first
        if upper:
            end = n - first
            first = max(end - BLOCK, 0)
            start, count = end, n - end
        if count > 0:  # what is known already goes to the right-hand side
            multiply(
                loop, a + first * row + start * column, x + start * line, block, end - first,
                count, p, row, column, line, SIZE, p * SIZE, SIZE,
            )  # fmt: skip
            for i in range(end - first):
                target, known = element(x + (first + i) * line), element(block + i * p * SIZE)
                for c in range(p):
                    target[c] -= known[c]
        for left in range(0, p, TILE):
            right = min(left + TILE, p)
            for k in range(end - first):
                i = end - 1 - k if upper else first + k
                here = element(x + i * line)
                for m in range(k):
                    j = end - 1 - m if upper else first + m
                    factor = element(a + i * row + j * column)[0]
                    other = element(x + j * line)
                    for c in range(left, right):
                        here[c] -= factor * other[c]
                if not unit:
                    pivot = element(a + i * (row + column))[0]
                    for c in range(left, right):
                        here[c] /= pivot


def substitute(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Solve triangular systems in place: matrix, right-hand side (contiguous), memory for a block of it.

    Core dimensions n, p; core strides are those of the matrix. `data`: the matmul loop and its data, whether
    the triangle is the upper one, and whether its diagonal counts as ones.
    """
    n, p, s, d = p64(dims)[1], p64(dims)[2], p64(strides), p64(data)
    for batch in range(p64(dims)[0]):
        a, x = p64(args)[0] + batch * s[0], p64(args)[1] + batch * s[1]
        block = p64(args)[2] + batch * s[2]
        if d[3] == 0 and has_zero_pivot(a, n, s[3] + s[4]):
            return batch + 1
        solve_triangle(a, x, block, data, n, p, s[3], s[4], p * SIZE, d[2] != 0, d[3] != 0)
    return 0


for _kind in ("f64", "f32"):
    native_kernel(
        substitute, f"substitute_{_kind}", checked=True, **KINDS[_kind],
        **typed_helpers(_kind, has_zero_pivot, solve_triangle),
    )  # fmt: skip


def lower_triangular(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Solve triangular systems, batches broadcast: attributes `upper` and `unitriangular`."""
    a, b = layouts
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    n, p = b.shape[-2:]
    out = contiguous(b.dtype, (*batch, n, p))
    if b.dtype.is_complex:
        return _complex_triangular(layouts, out, attrs)
    steps, scratch = [], padded(BLOCK * p * b.dtype.itemsize)
    matrices = operand_matrices(0, a, batch, (0, 0))
    if not takes_blas(a):
        copied = contiguous(a.dtype, a.shape)
        target = Operand(SCRATCH, scratch, copied.strides)
        steps.append(Step(copy_loop(a.dtype), a.shape, (arg(0, a.strides), target)))
        place = Operand(SCRATCH, scratch, batch_strides(copied, batch))
        matrices = matrices._replace(operand=place, strides=copied.strides[-2:])
        scratch += padded(copied.span)
    steps.append(
        Step(
            copy_loop(b.dtype),
            out.shape,
            (arg(1, broadcast_strides(b, out.shape)), arg(2, out.strides)),
        )
    )
    loop = ufunc_loop(np.matmul, (b.dtype,) * 3)
    data = POOL.put((*loop, int(attrs["upper"]), int(attrs["unitriangular"])))
    kernel = native_kernel_address("substitute", b.dtype), data
    operands = (matrices, result_matrices(2, out, (0, 1)), memory(0, batch, b.dtype))
    steps.append(kernel_step(kernel, batch, (n, p), operands, checked=True))
    return Lowered((out,), tuple(steps) if out.size else (), scratch)


def _complex_triangular(layouts: tuple[Layout, ...], out: Layout, attrs: dict[str, Any]) -> Lowered:
    """Solve by NumPy's loop for any matrix, of which the other triangle is cleared."""
    a, b = layouts
    batch, (n, p), item = out.shape[:-2], out.shape[-2:], a.dtype.itemsize
    if not out.size:
        return Lowered((out,), ())
    dense = contiguous(a.dtype, a.shape)
    place = Operand(SCRATCH, 0, dense.strides)
    clear = native_kernel_address("clear_triangle"), POOL.put((item, 0, int(attrs["upper"])))
    moved = place._replace(strides=dense.strides[:-2])
    steps = [
        Step(copy_loop(a.dtype), a.shape, (arg(0, a.strides), place)),
        Step(clear, tuple(a.shape[:-2]), (moved,), core=(n, n)),
    ]
    if attrs["unitriangular"]:
        diagonal = place._replace(strides=(*dense.strides[:-2], (n + 1) * item))
        one = address_operand(constant(1, a.dtype.np), a.ndim - 1)
        steps.append(Step(copy_loop(a.dtype), (*a.shape[:-2], n), (one, diagonal)))
    spread = place._replace(strides=batch_strides(dense, batch))
    operands = (
        Matrices(spread, dense.strides[-2:], (0, 0), a.dtype), operand_matrices(1, b, batch, (0, 1)),
        result_matrices(2, out, (0, 1)),
    )  # fmt: skip
    steps.append(loop_step(lapack.solve, batch, (n, p), operands))
    return Lowered((out,), tuple(steps), padded(dense.span))


def solve_triangular(a: Any, b: Any, *, upper: bool, unitriangular: bool = False) -> Any:
    """Solve triangular systems, for derivatives."""
    return a._apply("linalg_solve_triangular", b, upper=upper, unitriangular=unitriangular)


def triangular_vjp(
    ct: Any, a: Any, b: Any, out: Any, upper: bool, unitriangular: bool
) -> tuple[Any, Any]:
    """Solve with the transposed matrix; only its triangle has a derivative."""
    of_b = solve_triangular(transposed(a), ct, upper=not upper, unitriangular=unitriangular)
    of_a = -(of_b @ transposed(out))
    inside = int(unitriangular)
    return of_a.triu(inside) if upper else of_a.tril(-inside), of_b


op(
    "linalg_solve_triangular", of_complex="holomorphic", lower=lower_triangular, arity=2, vjp=triangular_vjp,
    torch="linalg.solve_triangular", grad_fn="LinalgSolveTriangularBackward0",
    failure=Failure("the input matrix is singular: it has a zero on its diagonal", LinAlgError),
)  # fmt: skip
