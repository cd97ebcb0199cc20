"""Inverses and determinants of matrices.

The derivative of a determinant is the matrix of cofactors, which is there for singular matrices, too:
complete pivoting gives ``P A Q = L D U`` with triangles of unit diagonal, and cofactors of a product are
products of cofactors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.linalg import _umath_linalg as lapack

from ...base.dtypes import real_of
from ...base.errors import LinAlgError
from ...native.ufunc_loops import native_kernel, native_kernel_address, typed_helpers, ufunc_loop
from ...native.words import KINDS, SIZE, element, helper, libm_log, p64
from ..layout import Layout, contiguous
from ..program import POOL, padded
from ..table import Failure, Lowered, Op, op
from .loops import (
    adjoint,
    copied_part,
    kernel_step,
    loop_step,
    memory,
    operand_matrices,
    result_matrices,
    transposed,
)
from .lu import factor_columns, is_factored, lu_helpers, solve_factored
from .triangular import BLOCK

__all__: list[str] = []

#: rows up to which cofactors are found by complete pivoting, whatever the matrix
SMALL = 8


#: ratio of pivots below which a matrix is singular but for rounding
NEGLIGIBLE = 1e-12


@helper
def pivot_ratio(factors, pivots, n):  # type: ignore[no-untyped-def]
    """Return the least pivot as a part of the largest; 0 where one is NaN."""
    least, largest = np.inf, 0.0
    for i in range(n):
        size = abs(float(element(factors + i * (n + 1) * SIZE)[0]))
        least, largest = min(least, size), max(largest, size)
        if size != size:
            return 0.0
    return least / largest if largest > 0.0 else 0.0


def invert(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Invert matrices: operand, result (contiguous), memory for factors, pivots and what these take.

    Core dimension n; the first core strides are those of the operand. `data`: the matmul loop and its data,
    and what fails: 0 for a singular matrix, 1 for none (NaN), 2 for one singular but for rounding, too.
    """
    n, s = p64(dims)[1], p64(strides)
    for batch in range(p64(dims)[0]):
        source, out = p64(args)[0] + batch * s[0], p64(args)[1] + batch * s[1]
        pivots = p64(args)[2] + batch * s[2]
        factors = pivots + 8 * n
        work = factors + n * n * SIZE
        a, x = element(factors), element(out)
        for i in range(n):
            for j in range(n):
                a[i * n + j] = element(source + i * s[3] + j * s[4])[0]
                x[i * n + j] = 0.0
            x[i * n + i] = 1.0
        factor_columns(factors, pivots, work, data, 0, n, n, n * SIZE)
        if is_factored(factors, pivots, n) and (
            p64(data)[2] != 2 or pivot_ratio(factors, pivots, n) > NEGLIGIBLE
        ):
            solve_factored(factors, pivots, out, work, data, n, n, False)
            continue
        if p64(data)[2] != 1:
            return batch + 1
        for i in range(n * n):
            x[i] = np.nan
    return 0


def negligible(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Fail for complex matrices that are singular but for rounding: matrices, inverses (contiguous)."""
    n, s = p64(dims)[1], p64(strides)
    for batch in range(p64(dims)[0]):
        source, inverse = p64(args)[0] + batch * s[0], element(p64(args)[1] + batch * s[1])
        size, other = 0.0, 0.0
        for i in range(n):
            for j in range(n):
                x, k = element(source + i * s[2] + j * s[3]), 2 * (i * n + j)
                size = max(size, abs(float(x[0])) + abs(float(x[1])))
                other = max(other, abs(float(inverse[k])) + abs(float(inverse[k + 1])))
        if size * other > 1.0 / NEGLIGIBLE:
            return batch + 1
    return 0


def lower_inverse(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Invert the matrices of a batch; quietly (1) or not (0), as for `linalg_solve`, or strictly (2)."""
    (x,) = layouts
    n, batch, out = x.shape[-1], tuple(x.shape[:-2]), contiguous(x.dtype, x.shape)
    if x.dtype.is_complex:
        matrices = operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, (0, 0))
        steps = [loop_step(lapack.inv, batch, (n,), matrices, quiet=attrs["quiet"] == 1)]
        if attrs["quiet"] == 2:
            kernel = native_kernel_address("negligible", real_of(x.dtype)), 0
            steps.append(kernel_step(kernel, batch, (n,), matrices, checked=True))
        return Lowered((out,), tuple(steps) if out.size else ())
    data = POOL.put((*ufunc_loop(np.matmul, (x.dtype,) * 3), int(attrs["quiet"])))
    operands = (
        operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, (0, 0)), memory(0, batch, x.dtype),
    )  # fmt: skip
    kernel = native_kernel_address("invert", x.dtype), data
    step = kernel_step(kernel, batch, (n,), operands, checked=attrs["quiet"] != 1)
    scratch = padded(8 * n + (2 * n * n + BLOCK * n) * x.dtype.itemsize)
    return Lowered((out,), (step,) if out.size else (), scratch)


def inverse_vjp(ct: Any, a: Any, out: Any, quiet: bool) -> Any:
    """Multiply by the transposed inverse on both sides."""
    t = transposed(out)
    return -(t @ ct @ t)


op(
    "linalg_inv", of_complex="holomorphic", lower=lower_inverse, vjp=inverse_vjp, torch="linalg.inv",
    grad_fn="LinalgInvExBackward0",
    failure=Failure(
        "The inversion could not be completed because the input matrix is singular", LinAlgError
    ),
)  # fmt: skip


# --------------------------------------------------------------------------- determinants
@helper
def parity(pivots, n):  # type: ignore[no-untyped-def]
    """Return -1 if pivots are an odd number of swaps, else 1."""
    sign = 1.0
    for i in range(n):
        if p64(pivots)[i] != i:
            sign = -sign
    return sign


def determinant(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Determinants: factors (contiguous), pivots, result. Core dimension n."""
    n, s = p64(dims)[1], p64(strides)
    for batch in range(p64(dims)[0]):
        a, pivots = p64(args)[0] + batch * s[0], p64(args)[1] + batch * s[1]
        product = parity(pivots, n)
        for i in range(n):
            product *= element(a + i * (n + 1) * SIZE)[0]
        element(p64(args)[2] + batch * s[2])[0] = product


def sign_and_logarithm(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Signs of determinants, and logarithms of their absolute values: factors, pivots, both results."""
    n, s = p64(dims)[1], p64(strides)
    for batch in range(p64(dims)[0]):
        a, pivots = p64(args)[0] + batch * s[0], p64(args)[1] + batch * s[1]
        sign, total = parity(pivots, n), 0.0
        for i in range(n):
            pivot = float(element(a + i * (n + 1) * SIZE)[0])
            total += libm_log(abs(pivot))
            if pivot < 0:
                sign = -sign
            if pivot == 0 or pivot != pivot:
                sign *= pivot
        element(p64(args)[2] + batch * s[2])[0] = sign
        element(p64(args)[3] + batch * s[3])[0] = total


def _factored(
    entry: Op, layouts: tuple[Layout, ...], kernel: str, results: int, first: int
) -> Lowered:
    """Lower numbers that are made of factors and pivots, operands `first` and `first + 1`."""
    factors, pivots = layouts[first], layouts[first + 1]
    n, batch = factors.shape[-1], tuple(factors.shape[:-2])
    out = contiguous(factors.dtype, batch)
    operands = (
        operand_matrices(first, factors, batch, (0, 0)), operand_matrices(first + 1, pivots, batch, (0,)),
        *[result_matrices(len(layouts), out, (), number) for number in range(results)],
    )  # fmt: skip
    step = kernel_step((native_kernel_address(kernel, factors.dtype), 0), batch, (n,), operands)
    return Lowered((out,) * results, (step,) if out.size else ())


def cofactor_matrix(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Cofactors: matrix, factors, pivots, result (contiguous); memory for 2 n n + 2 n numbers, 2 n words.

    Core dimension n; the first core strides are those of the matrix. `data`: the matmul loop and its data.
    """
    n, s = p64(dims)[1], p64(strides)
    for batch in range(p64(dims)[0]):
        source, factors = p64(args)[0] + batch * s[0], p64(args)[1] + batch * s[1]
        pivots, target = p64(args)[2] + batch * s[2], p64(args)[3] + batch * s[3]
        work = p64(args)[4] + batch * s[4]
        # Where pivots are of one size, the inverse is as accurate.
        if n > SMALL and is_factored(factors, pivots, n) and pivot_ratio(factors, pivots, n) > 1e-5:
            product = parity(pivots, n)
            for i in range(n):
                product *= element(factors + i * (n + 1) * SIZE)[0]
            for i in range(n * n):
                element(target)[i] = 0.0
            for i in range(n):
                element(target)[i * n + i] = product
            solve_factored(factors, pivots, target, work, data, n, n, True)
            continue
        w, y = element(work), element(work + n * n * SIZE)
        before, d = element(work + 2 * n * n * SIZE), element(work + (2 * n * n + n) * SIZE)
        rows = p64(work + (2 * n * n + 2 * n) * SIZE)
        columns = p64(work + (2 * n * n + 2 * n) * SIZE + 8 * n)
        for i in range(n):
            rows[i] = i
            columns[i] = i
            for j in range(n):
                w[i * n + j] = element(source + i * s[5] + j * s[6])[0]
        sign = 1.0
        for k in range(n):
            best, row, column = 0.0, k, k
            for i in range(k, n):
                for j in range(k, n):
                    size = abs(w[i * n + j])
                    if not size <= best:  # NaN counts, and stays
                        best, row, column = float(size), i, j
                if best != best:
                    break
            d[k] = w[row * n + column]
            if best == 0.0:
                for i in range(k, n):
                    d[i] = 0.0
                break
            if row != k:
                sign = -sign
                rows[k], rows[row] = rows[row], rows[k]
                for j in range(n):
                    w[k * n + j], w[row * n + j] = w[row * n + j], w[k * n + j]
            if column != k:
                sign = -sign
                columns[k], columns[column] = columns[column], columns[k]
                for i in range(n):
                    w[i * n + k], w[i * n + column] = w[i * n + column], w[i * n + k]
            for i in range(k + 1, n):
                factor = w[i * n + k] / d[k]
                w[i * n + k] = factor
                for j in range(k + 1, n):
                    w[i * n + j] -= factor * w[k * n + j]
            for j in range(k + 1, n):
                w[k * n + j] /= d[k]
        product = 1.0
        for i in range(n):  # products of the pivots before, and behind
            before[i] = product
            product *= d[i]
        product = 1.0
        for i in range(n - 1, -1, -1):
            before[i] *= product
            product *= d[i]
        for i in range(n):  # y = diag(before) U^-T, whose rows end at the diagonal
            for j in range(i + 1, n):
                y[i * n + j] = 0.0
            y[i * n + i] = before[i]
            for j in range(i - 1, -1, -1):
                total = 0.0
                for k in range(j + 1, i + 1):
                    total += y[i * n + k] * w[j * n + k]
                y[i * n + j] = -total
        for i in range(n - 1, -1, -1):  # L^-T y
            for k in range(i + 1, n):
                for j in range(n):
                    y[i * n + j] -= w[k * n + i] * y[k * n + j]
        out = element(target)
        for i in range(n):
            for j in range(n):
                out[rows[i] * n + columns[j]] = sign * y[i * n + j]


def lower_cofactors(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Cofactors: the determinant times the transposed inverse, for singular matrices as well."""
    x, factors, pivots = layouts
    n, out = x.shape[-1], contiguous(x.dtype, x.shape)
    batch = tuple(x.shape[:-2])
    scratch = padded(max(2 * n, BLOCK) * n * x.dtype.itemsize + 2 * n * (x.dtype.itemsize + 8))
    operands = (
        operand_matrices(0, x, batch, (0, 0)), operand_matrices(1, factors, batch, (0, 0)),
        operand_matrices(2, pivots, batch, (0,)), result_matrices(3, out, (0, 0)), memory(0, batch, x.dtype),
    )  # fmt: skip
    data = POOL.put(ufunc_loop(np.matmul, (x.dtype,) * 3))
    kernel = native_kernel_address("cofactors", x.dtype), data
    step = kernel_step(kernel, batch, (n,), operands)
    return Lowered((out,), (step,) if out.size else (), scratch)


def cofactors_vjp(ct: Any, a: Any, factors: Any, pivots: Any, out: Any) -> tuple[Any, None, None]:
    """As the determinant times the transposed inverse, so of matrices that have one, rounding apart."""
    t = adjoint(a._apply("linalg_inv", quiet=2))
    along = (ct * t).sum((-2, -1), keepdim=True)
    return along * out - t @ adjoint(ct) @ out, None, None


def det_vjp(ct: Any, a: Any, factors: Any, pivots: Any, out: Any) -> tuple[Any, None, None]:
    """Multiply the cofactors."""
    return (
        ct.unsqueeze(-1).unsqueeze(-1) * a._apply("linalg_cofactors", factors, pivots),
        None,
        None,
    )


def slogdet_vjp(
    ct: Any, a: Any, value: Any, factors: Any, pivots: Any, out: Any
) -> tuple[Any, None, None, None]:
    """Multiply the adjoint inverse."""
    one = unit_like(a, ct)
    attrs = {"vector": False, "adjoint": True, "quiet": False}
    return a._apply("linalg_solve", one, factors, pivots, **attrs), None, None, None


def unit_like(a: Any, ct: Any) -> Any:
    """Unit matrices times numbers, one for each matrix of a batch."""
    ndim = len(a.shape)
    numbers = ct.unsqueeze(-1).expand(tuple(a.shape[:-1]))
    return numbers._apply(
        "diag_embed", shape=tuple(a.shape), offset=0, dim1=ndim - 2, dim2=ndim - 1
    )


for _kind in ("f64", "f32"):
    _helpers = {**lu_helpers(_kind), "parity": parity}
    _helpers |= typed_helpers(_kind, pivot_ratio, words=_helpers)
    native_kernel(determinant, f"determinant_{_kind}", parity=parity, **KINDS[_kind])
    native_kernel(sign_and_logarithm, f"slogdet_{_kind}", parity=parity, **KINDS[_kind])
    native_kernel(cofactor_matrix, f"cofactors_{_kind}", **_helpers)
    native_kernel(invert, f"invert_{_kind}", checked=True, **_helpers)
    native_kernel(
        negligible, f"negligible_{_kind}", checked=True, NEGLIGIBLE=NEGLIGIBLE, **KINDS[_kind]
    )
op(
    "linalg_det", arity=3, shown=1, torch="linalg.det", grad_fn="LinalgDetBackward0", vjp=det_vjp,
    lower=lambda entry, layouts, attrs: _factored(entry, layouts, "determinant", 1, 1),
)  # fmt: skip
op("linalg_cofactors", arity=3, lower=lower_cofactors, torch=None, vjp=cofactors_vjp, private=True)
op(
    "linalg_slogdet_parts", arity=2, torch=None, private=True,
    lower=lambda entry, layouts, attrs: _factored(entry, layouts, "slogdet", 2, 0),
)  # fmt: skip
op(
    "linalg_slogdet", arity=4, shown=1, torch="linalg.slogdet", grad_fn="LinalgSlogdetBackward0",
    vjp=slogdet_vjp,    lower=lambda entry, layouts, attrs: copied_part(1, layouts),
)  # fmt: skip
