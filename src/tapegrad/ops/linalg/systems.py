"""Linear systems, inverses and determinants, by LU factors with partial pivoting.

The derivative of a determinant is the matrix of cofactors, which is there for singular matrices, too:
complete pivoting gives ``P A Q = L D U`` with triangles of unit diagonal, and cofactors of a product are
products of cofactors.
"""

from __future__ import annotations

from typing import Any

from numpy.linalg import _umath_linalg as lapack

from ...base.errors import LinAlgError
from ...native.ufunc_loops import native_kernel_address, native_kernels
from ...native.words import SIZE, element, p64
from ..layout import Layout, broadcast_shapes, contiguous
from ..program import Step, address_operand, constant, padded
from ..table import Failure, Lowered, Op, copy_loop, op, out_operand
from .loops import (
    adjoint,
    copied_part,
    kernel_step,
    loop_step,
    memory,
    operand_matrices,
    result_matrices,
)  # fmt: skip

__all__: list[str] = []


def lower_solve(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Solve systems with matrices on the right, or vectors (attribute `vector`); batches broadcast.

    With the attribute `quiet`, results are NaN for a singular matrix.
    """
    a, b = layouts
    core = (b.ndim - 1,) if attrs["vector"] else (b.ndim - 2, b.ndim - 1)
    batch = broadcast_shapes(a.shape[:-2], b.shape[: core[0]])
    lengths = tuple([b.shape[i] for i in core])
    out = contiguous(a.dtype, (*batch, *lengths))
    dims = (0, 1)[: len(core)]
    operands = (
        operand_matrices(0, a, batch, (0, 0)), operand_matrices(1, b, batch, dims),
        result_matrices(2, out, dims),
    )  # fmt: skip
    loop = lapack.solve1 if attrs["vector"] else lapack.solve
    step = loop_step(loop, batch, lengths, operands, quiet=attrs["quiet"])
    return Lowered((out,), (step,) if out.size else ())


def solve_vjp(ct: Any, a: Any, b: Any, out: Any, vector: bool, quiet: bool) -> tuple[Any, Any]:
    """Solve with the adjoint matrix."""
    of_b = adjoint(a)._apply("linalg_solve", ct, vector=vector, quiet=quiet)
    if vector:
        return -(of_b.unsqueeze(-1) * out.unsqueeze(-2)), of_b
    return -(of_b @ adjoint(out)), of_b


def lower_inverse(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Invert the matrices of a batch."""
    (x,) = layouts
    batch, out = x.shape[:-2], contiguous(x.dtype, x.shape)
    operands = operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, (0, 0))
    step = loop_step(lapack.inv, batch, x.shape[-1:], operands, quiet=attrs["quiet"])
    return Lowered((out,), (step,) if out.size else ())


def inverse_vjp(ct: Any, a: Any, out: Any, quiet: bool) -> Any:
    """Multiply by the adjoint inverse on both sides."""
    t = adjoint(out)
    return -(t @ ct @ t)


op(
    "linalg_solve", lower=lower_solve, vjp=solve_vjp, arity=2, torch="linalg.solve",
    grad_fn="LinalgSolveExBackward0",
    failure=Failure("The solver failed because the input matrix is singular", LinAlgError),
)  # fmt: skip
op(
    "linalg_inv", lower=lower_inverse, vjp=inverse_vjp, torch="linalg.inv", grad_fn="LinalgInvExBackward0",
    failure=Failure(
        "The inversion could not be completed because the input matrix is singular", LinAlgError
    ),
)  # fmt: skip


# --------------------------------------------------------------------------- determinants
def _filled(number: int, nargs: int, layout: Layout, value: float) -> Step:
    source = address_operand(constant(value, layout.dtype.np), layout.ndim)
    target = out_operand(nargs, layout, number)
    return Step(copy_loop(layout.dtype), layout.shape, (source, target))


def lower_det(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Determinants; that of a matrix without elements is 1."""
    (x,) = layouts
    batch, out = x.shape[:-2], contiguous(x.dtype, x.shape[:-2])
    if x.shape[-1] == 0:
        return Lowered((out,), (_filled(0, 1, out, 1.0),))
    operands = operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, ())
    step = loop_step(lapack.det, batch, x.shape[-1:], operands, quiet=True)
    return Lowered((out,), (step,))


def lower_slogdet(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Signs of determinants, and logarithms of their absolute values."""
    (x,) = layouts
    batch, out = x.shape[:-2], contiguous(x.dtype, x.shape[:-2])
    if x.shape[-1] == 0:
        return Lowered((out, out), (_filled(0, 1, out, 1.0), _filled(1, 1, out, 0.0)))
    results = (result_matrices(1, out, (), number) for number in (0, 1))
    operands = operand_matrices(0, x, batch, (0, 0)), *results
    step = loop_step(lapack.slogdet, batch, x.shape[-1:], operands, quiet=True)
    return Lowered((out, out), (step,))


@native_kernels("f64", "f32", name="cofactors")
def cofactor_matrix(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Cofactors of matrices: operand, result (contiguous), memory for 2 n n + 2 n numbers and 2 n words.

    Core dimension n; core strides are those of the operand.
    """
    n, s = p64(dims)[1], p64(strides)
    for batch in range(p64(dims)[0]):
        source, target = p64(args)[0] + batch * s[0], p64(args)[1] + batch * s[1]
        work = p64(args)[2] + batch * s[2]
        w, y = element(work), element(work + n * n * SIZE)
        before, d = element(work + 2 * n * n * SIZE), element(work + (2 * n * n + n) * SIZE)
        rows = p64(work + (2 * n * n + 2 * n) * SIZE)
        columns = p64(work + (2 * n * n + 2 * n) * SIZE + 8 * n)
        for i in range(n):
            rows[i] = i
            columns[i] = i
            for j in range(n):
                w[i * n + j] = element(source + i * s[3] + j * s[4])[0]
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
    (x,) = layouts
    n, out = x.shape[-1], contiguous(x.dtype, x.shape)
    batch = tuple(x.shape[:-2])
    scratch = padded(2 * n * n * x.dtype.itemsize + 2 * n * (x.dtype.itemsize + 8))
    operands = (
        operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, (0, 0)), memory(0, batch, x.dtype),
    )  # fmt: skip
    step = kernel_step((native_kernel_address("cofactors", x.dtype), 0), batch, (n,), operands)
    return Lowered((out,), (step,) if out.size else (), scratch)


def cofactors_vjp(ct: Any, a: Any, out: Any) -> Any:
    """As the determinant times the transposed inverse, so of matrices that have one."""
    t = adjoint(a._apply("linalg_inv", quiet=False))
    along = (ct * t).sum((-2, -1), keepdim=True)
    return along * out - t @ adjoint(ct) @ out


op(
    "linalg_det", lower=lower_det, torch="linalg.det", grad_fn="LinalgDetBackward0",
    vjp=lambda ct, a, out: ct.unsqueeze(-1).unsqueeze(-1) * a._apply("linalg_cofactors"),
)  # fmt: skip
op("linalg_cofactors", lower=lower_cofactors, torch=None, vjp=cofactors_vjp, private=True)
op("linalg_slogdet_parts", lower=lower_slogdet, torch=None, private=True)
op(
    "linalg_slogdet", arity=2, torch="linalg.slogdet", grad_fn="LinalgSlogdetBackward0",
    lower=lambda entry, layouts, attrs: copied_part(1, layouts),
    vjp=lambda ct, a, value, out: (
        ct.unsqueeze(-1).unsqueeze(-1) * adjoint(a._apply("linalg_inv", quiet=False)), None
    ),
)  # fmt: skip
