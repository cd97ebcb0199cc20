"""Cholesky's factor of positive-definite matrices.

Its derivative takes as many multiplications as twice the factor (Murray 2016), nearly all of them in products
of matrices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.linalg import _umath_linalg as lapack

from ...base.errors import LinAlgError
from ...native.ufunc_loops import native_kernel, native_kernel_address, typed_helpers, ufunc_loop
from ...native.words import KINDS, SIZE, element, helper, memcpy, p64
from ..layout import Layout, broadcast_shapes, contiguous
from ..matmul import batch_strides
from ..program import POOL, SCRATCH, Operand, Step, arg, padded
from ..table import Failure, Lowered, Op, copy_loop, op
from .loops import (
    adjoint,
    kernel_step,
    loop_step,
    memory,
    operand_matrices,
    result_matrices,
    without_diagonal,
)
from .triangular import multiply, solve_triangular

__all__: list[str] = []

#: rows up to which a triangle is differentiated element by element
BASE = 24


def lower_cholesky(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Factor the matrices of a batch, by their lower triangles; quietly or not, as for `linalg_solve`."""
    (x,) = layouts
    batch, out = x.shape[:-2], contiguous(x.dtype, x.shape)
    operands = operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, (0, 0))
    step = loop_step(lapack.cholesky_lo, batch, x.shape[-1:], operands, quiet=attrs["quiet"])
    return Lowered((out,), (step,) if out.size else ())


# --------------------------------------------------------------------------- its derivative
@helper
def solve_right(lower, x, work, loop, rows, n, line):  # type: ignore[no-untyped-def]
    """Solve ``X L = B`` in place, for a lower triangle of `n` rows; lines of both are `line` bytes apart."""
    if n <= BASE:  # by the inverse of the triangle
        inverse = element(work)
        for i in range(n):
            row = element(lower + i * line)
            for j in range(n):
                inverse[i * n + j] = 0.0
            for k in range(i):
                factor = row[k]
                for j in range(k + 1):
                    inverse[i * n + j] -= factor * inverse[k * n + j]
            inverse[i * n + i] = 1.0
            for j in range(i + 1):
                inverse[i * n + j] /= row[i]
        product = work + n * n * SIZE
        multiply(loop, x, work, product, rows, n, n, line, SIZE, n * SIZE, SIZE, n * SIZE, SIZE)
        for i in range(rows):
            memcpy(x + i * line, product + i * n * SIZE, n * SIZE)
        return
    half = n // 2
    behind, corner = x + half * SIZE, lower + half * line
    solve_right(corner + half * SIZE, behind, work, loop, rows, n - half, line)
    multiply(
        loop, behind, corner, work, rows, n - half, half, line, SIZE, line, SIZE, half * SIZE, SIZE
    )
    for i in range(rows):
        target, known = element(x + i * line), element(work + i * half * SIZE)
        for j in range(half):
            target[j] -= known[j]
    solve_right(lower, x, work, loop, rows, half, line)


@helper
def reverse_factor(lower, bar, work, loop, n, line):  # type: ignore[no-untyped-def]
    """From the cotangent of a factor to that of the lower triangle it was made of, in place.

    Blocks of two by two, each by products of matrices (Murray 2016); small ones row by row.
    """
    if n <= BASE:
        for j in range(n - 1, -1, -1):
            row, other = element(lower + j * line), element(bar + j * line)
            pivot, slope = row[j], other[j]
            for i in range(j + 1, n):
                slope -= element(lower + i * line)[j] * element(bar + i * line)[j] / pivot
            slope /= pivot
            for k in range(j):
                other[k] -= slope * row[k]
            for i in range(j + 1, n):
                under, slopes = element(lower + i * line), element(bar + i * line)
                factor = slopes[j] / pivot
                slopes[j] = factor
                for k in range(j):
                    other[k] -= factor * under[k]
                    slopes[k] -= factor * row[k]
            other[j] = 0.5 * slope
        return
    half = n // 2
    rest = n - half
    below, corner, target = lower + half * line, lower + half * (line + SIZE), bar + half * line
    reverse_factor(corner, target + half * SIZE, work, loop, rest, line)
    both, product = element(work), work + rest * rest * SIZE
    for i in range(rest):
        row = element(target + half * SIZE + i * line)
        for j in range(i):
            both[i * rest + j] = row[j]
            both[j * rest + i] = row[j]
        both[i * rest + i] = 2.0 * row[i]
    multiply(
        loop,
        work,
        below,
        product,
        rest,
        rest,
        half,
        rest * SIZE,
        SIZE,
        line,
        SIZE,
        half * SIZE,
        SIZE,
    )
    for i in range(rest):
        row, known = element(target + i * line), element(product + i * half * SIZE)
        for j in range(half):
            row[j] -= known[j]
    solve_right(lower, target, work, loop, rest, half, line)
    multiply(loop, target, below, work, half, rest, half, SIZE, line, line, SIZE, half * SIZE, SIZE)
    for i in range(half):
        row, known = element(bar + i * line), element(work + i * half * SIZE)
        for j in range(i + 1):
            row[j] -= known[j]
    reverse_factor(lower, bar, work, loop, half, line)


def factor_slope(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Cotangents of symmetric matrices from those of their factors: factor, cotangent, result, memory.

    Core dimension n; factors and results are contiguous. `data`: the matmul loop and its data.
    """
    n, s = p64(dims)[1], p64(strides)
    line = n * SIZE
    for batch in range(p64(dims)[0]):
        lower, ct = p64(args)[0] + batch * s[0], p64(args)[1] + batch * s[1]
        out, work = p64(args)[2] + batch * s[2], p64(args)[3] + batch * s[3]
        target = element(out)
        for i in range(n):
            for j in range(i + 1):
                target[i * n + j] = element(ct + i * s[6] + j * s[7])[0]
        reverse_factor(lower, out, work, data, n, line)
        for i in range(n):
            for j in range(i):
                half = 0.5 * target[i * n + j]
                target[i * n + j] = half
                target[j * n + i] = half


for _kind in ("f64", "f32"):
    _words: dict[str, Any] = typed_helpers(_kind, solve_right, reverse_factor)
    native_kernel(
        factor_slope, f"cholesky_slope_{_kind}", multiply=multiply, **KINDS[_kind], **_words
    )


def lower_slope(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (factor, cotangent): the cotangent of the matrix, for symmetric changes."""
    x, ct = layouts
    n, batch = x.shape[-1], broadcast_shapes(x.shape[:-2], ct.shape[:-2])
    out = contiguous(x.dtype, (*batch, n, n))
    if not out.size:
        return Lowered((out,), ())
    scratch = padded((n * n + 2 * BASE * (BASE + n)) * x.dtype.itemsize)
    factor, steps = operand_matrices(0, x, batch, (0, 0)), []
    if not x.is_contiguous:
        dense = contiguous(x.dtype, x.shape)
        place = Operand(SCRATCH, scratch, dense.strides)
        steps.append(Step(copy_loop(x.dtype), x.shape, (arg(0, x.strides), place)))
        moved = place._replace(strides=batch_strides(dense, batch))
        factor = factor._replace(operand=moved, strides=dense.strides[-2:])
        scratch += padded(dense.span)
    data = POOL.put(ufunc_loop(np.matmul, (x.dtype,) * 3))
    operands = (
        factor, operand_matrices(1, ct, batch, (0, 0)), result_matrices(2, out, (0, 0)),
        memory(0, batch, x.dtype),
    )  # fmt: skip
    kernel = native_kernel_address("cholesky_slope", x.dtype), data
    return Lowered((out,), (*steps, kernel_step(kernel, batch, (n,), operands)), scratch)


def slope_vjp(ct: Any, factor: Any, bar: Any, out: Any) -> tuple[Any, Any]:
    """Differentiate ``L^-H S L^-1``, where `S` is the Hermitian part of half the triangle of ``L^H bar``."""
    inner = solve_triangular(factor, ct + adjoint(ct), upper=False) * 0.5
    turned = solve_triangular(factor, adjoint(inner), upper=False)
    half = (turned.tril() + turned.tril(-1)) * 0.5
    of_factor = bar @ adjoint(half) - 2 * (out @ adjoint(inner))
    return of_factor.tril(), factor @ half


def cholesky_vjp(ct: Any, a: Any, out: Any, quiet: bool) -> Any:
    """Differentiate by blocks; of complex numbers, symbolically (Murray 2016, section 3.1)."""
    if not a.dtype.is_complex:
        return out._apply("linalg_cholesky_slope", ct)
    upper = adjoint(out)
    product = (upper @ ct).tril()
    half = product + adjoint(product)  # twice the Hermitian part of the triangle, and its diagonal
    half = without_diagonal(half) + half.tril().triu() * 0.5
    inner = solve_triangular(upper, half * 0.5, upper=True)
    return adjoint(solve_triangular(upper, adjoint(inner), upper=True))


op(
    "linalg_cholesky", lower=lower_cholesky, torch="linalg.cholesky", grad_fn="LinalgCholeskyExBackward0",
    vjp=cholesky_vjp, of_complex="plain",
    failure=Failure(
        "The factorization could not be completed because the input is not positive-definite", LinAlgError
    ),
)  # fmt: skip
op("linalg_cholesky_slope", arity=2, lower=lower_slope, vjp=slope_vjp, torch=None, private=True)
