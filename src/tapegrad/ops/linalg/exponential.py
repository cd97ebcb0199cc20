"""Exponentials of matrices, by scaling and squaring (Higham 2005)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.linalg import _umath_linalg as lapack

from ...native.ufunc_loops import native_kernel_address, native_kernels, ufunc_loop
from ...native.words import SIZE, call_loop, element, helper, memcpy, p64, stack_words
from ..layout import Layout, contiguous
from ..program import POOL, SCRATCH, Operand, Step, address_operand, arg, constant, padded
from ..table import Lowered, Op, copy_loop, op, out_operand
from .loops import (
    INVALID,
    Matrices,
    adjoint,
    clear_flags,
    kernel_step,
    memory,
    operand_matrices,
    result_matrices,
    scratch_matrices,
)
from .triangular import multiply

__all__: list[str] = []

#: up to this 1-norm the approximant of order 13 is exact to float64's precision
THETA = 5.371920351148152


@helper
def solve_matrices(loop, x, y, out, n, line, size):  # type: ignore[no-untyped-def]
    """Solve with the loop of `solve` whose address and data are at `loop`; matrices are contiguous."""
    pointers, lengths, strides = stack_words(3), stack_words(3), stack_words(9)
    a, m, s = p64(pointers), p64(lengths), p64(strides)
    a[0], a[1], a[2] = x, y, out
    m[0], m[1], m[2] = 1, n, n
    s[0], s[1], s[2] = 0, 0, 0
    s[3], s[4], s[5], s[6], s[7], s[8] = line, size, line, size, line, size
    call_loop(p64(loop)[0], pointers, lengths, strides, p64(loop)[1])


@native_kernels("f64", "f32", name="matrix_exp", words={"multiply": multiply})
def exponential(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Exponentials of matrices: operand, result (contiguous), memory for six matrices.

    Core dimension n; core strides are those of the operand. `data`: the loops of matmul and of solve.
    """
    n, s = p64(dims)[1], p64(strides)
    line, whole, count = n * SIZE, n * n * SIZE, n * n
    solver = data + 16
    for batch in range(p64(dims)[0]):
        source, target = p64(args)[0] + batch * s[0], p64(args)[1] + batch * s[1]
        work = p64(args)[2] + batch * s[2]
        place, second, fourth, sixth = (
            work,
            work + whole,
            work + 2 * whole,
            work + 3 * whole,
        )
        x, x2, x4, x6 = element(place), element(second), element(fourth), element(sixth)
        first_part, second_part = work + 4 * whole, work + 5 * whole
        p, q = element(first_part), element(second_part)
        norm = 0.0
        for j in range(n):
            total = 0.0
            for i in range(n):
                value = element(source + i * s[3] + j * s[4])[0]
                x[i * n + j] = value
                total += abs(value)
            if not total <= norm:
                norm = total
        if not norm < 1e300:
            for i in range(count):
                element(target)[i] = np.nan
            continue
        squarings, scale = 0, 1.0
        while norm > THETA:
            norm *= 0.5
            scale *= 0.5
            squarings += 1
        for i in range(count):
            x[i] *= scale
        multiply(data, place, place, second, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        multiply(data, second, second, fourth, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        multiply(data, fourth, second, sixth, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        # the odd part of the numerator to p, the even one to x
        for i in range(count):
            p[i] = 1.0 * x6[i] + 16380.0 * x4[i] + 40840800.0 * x2[i]
        multiply(data, sixth, first_part, second_part, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        for i in range(count):
            q[i] += 33522128640.0 * x6[i] + 10559470521600.0 * x4[i] + 1187353796428800.0 * x2[i]
        for i in range(n):
            q[i * n + i] += 32382376266240000.0
        multiply(data, place, second_part, first_part, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        for i in range(count):
            q[i] = 182.0 * x6[i] + 960960.0 * x4[i] + 1323241920.0 * x2[i]
        multiply(data, sixth, second_part, place, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        for i in range(count):
            x[i] += 670442572800.0 * x6[i] + 129060195264000.0 * x4[i] + 7771770303897600.0 * x2[i]
        for i in range(n):
            x[i * n + i] += 64764752532480000.0
        for i in range(count):
            q[i] = x[i] - p[i]
            x[i] += p[i]
        clear_flags(INVALID)
        solve_matrices(solver, second_part, place, first_part, n, line, SIZE)
        clear_flags(INVALID)
        for _ in range(squarings):
            multiply(
                data,
                first_part,
                first_part,
                second_part,
                n,
                n,
                n,
                line,
                SIZE,
                line,
                SIZE,
                line,
                SIZE,
            )
            first_part, second_part = second_part, first_part
        memcpy(target, first_part, whole)


def _step(x: Matrices, out: Matrices, batch: tuple[int, ...], n: int, start: int) -> Step:
    """Exponentials of matrices of `n` rows; scratch memory for it begins at `start`."""
    loops = (np.matmul, lapack.solve)
    data = POOL.put([word for loop in loops for word in ufunc_loop(loop, (x.kind,) * 3)])
    kernel = native_kernel_address("matrix_exp", x.kind), data
    return kernel_step(kernel, batch, (n,), (x, out, memory(start, batch, x.kind)))


def lower_exponential(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Exponentials of the matrices of a batch."""
    (x,) = layouts
    n, batch, out = x.shape[-1], tuple(x.shape[:-2]), contiguous(x.dtype, x.shape)
    source, target = operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, (0, 0))
    steps = (_step(source, target, batch, n, 0),) if out.size else ()
    return Lowered((out,), steps, padded(6 * n * n * x.dtype.itemsize))


def lower_slope(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Directional derivatives of exponentials, at the first operand along the second one.

    They are a block of the exponential of a block triangle (Najfeld and Havel 1995).
    """
    a, e = layouts
    n, batch, out = a.shape[-1], tuple(a.shape[:-2]), contiguous(a.dtype, a.shape)
    if not out.size:
        return Lowered((out,), ())
    whole = contiguous(a.dtype, (*batch, 2 * n, 2 * n))
    down, along = whole.strides[-2:]
    result = padded(whole.span)

    def block(start: int, row: int, column: int) -> Operand:
        return Operand(SCRATCH, start + n * (row * down + column * along), whole.strides)

    copy = copy_loop(a.dtype)
    zero = address_operand(constant(0, a.dtype.np), a.ndim)
    steps = [
        Step(copy, a.shape, (arg(0, a.strides), block(0, 0, 0))),
        Step(copy, a.shape, (arg(1, e.strides), block(0, 0, 1))),
        Step(copy, a.shape, (zero, block(0, 1, 0))),
        Step(copy, a.shape, (arg(0, a.strides), block(0, 1, 1))),
        _step(
            scratch_matrices(0, whole, (0, 0)), scratch_matrices(result, whole, (0, 0)), batch, 2 * n,
            2 * result,
        ),
        Step(copy, a.shape, (block(result, 0, 1), out_operand(2, out))),
    ]  # fmt: skip
    return Lowered((out,), tuple(steps), 2 * result + padded(24 * n * n * a.dtype.itemsize))


def slope_vjp(ct: Any, a: Any, e: Any, out: Any) -> tuple[Any, Any]:
    """Differentiate the block triangle's, for the first operand; it is linear in the second."""
    n, ndim = a.shape[-1], len(a.shape)
    top = a._apply("cat", e, dim=ndim - 1)
    below = a._apply("constant_pad_nd", 0.0, pad=(n, 0))
    whole = adjoint(top._apply("cat", below, dim=ndim - 2))
    corner = ct._apply("constant_pad_nd", 0.0, pad=(n, 0, 0, n))
    slope = whole._apply("linalg_matrix_exp_slope", corner)
    of_a = slope.narrow(-2, 0, n).narrow(-1, 0, n) + slope.narrow(-2, n, n).narrow(-1, n, n)
    return of_a, adjoint(a)._apply("linalg_matrix_exp_slope", ct)


op(
    "linalg_matrix_exp", lower=lower_exponential, torch="linalg.matrix_exp",
    grad_fn="LinalgMatrixExpBackward0",
    vjp=lambda ct, a, out: adjoint(a)._apply("linalg_matrix_exp_slope", ct),
)  # fmt: skip
op("linalg_matrix_exp_slope", arity=2, lower=lower_slope, vjp=slope_vjp, torch=None, private=True)
