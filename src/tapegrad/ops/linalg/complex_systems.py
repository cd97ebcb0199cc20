"""Linear systems and determinants of complex matrices, by NumPy's loops.

The derivative of a determinant is the matrix of cofactors, which is there for singular matrices, too: of
``U S Vh`` it is the determinants of `U` and `Vh` times ``conj(U) G conj(Vh)``, where each element of G is the
product of the other singular values.
"""

from __future__ import annotations

from typing import Any

from numpy.linalg import _umath_linalg as lapack

from ...base.dtypes import real_of
from ...base.errors import LinAlgError
from ...native.ufunc_loops import native_kernel, native_kernel_address
from ...native.words import KINDS, element, p64
from ..layout import Layout, broadcast_shapes, contiguous
from ..program import Step, address_operand, constant, padded
from ..table import Failure, Lowered, Op, copy_loop, op, out_operand
from .loops import (
    adjoint,
    copied_part,
    gufunc,
    kernel_step,
    loop_step,
    operand_matrices,
    result_matrices,
    scratch_matrices,
    transposed,
)

__all__: list[str] = []


def lower_solve(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Solve systems with matrices on the right, or vectors (attribute `vector`); batches broadcast.

    With the attribute `quiet`, results are NaN for a singular matrix.
    """
    a, b = layouts
    core = (b.ndim - 1,) if attrs["vector"] else (b.ndim - 2, b.ndim - 1)
    batch = broadcast_shapes(a.shape[:-2], b.shape[: core[0]])
    lengths = tuple([b.shape[i] for i in core])
    out, dims = contiguous(a.dtype, (*batch, *lengths)), (0, 1)[: len(core)]
    operands = (
        operand_matrices(0, a, batch, (0, 0)), operand_matrices(1, b, batch, dims),
        result_matrices(2, out, dims),
    )  # fmt: skip
    loop = lapack.solve1 if attrs["vector"] else lapack.solve
    step = loop_step(loop, batch, lengths, operands, quiet=attrs["quiet"])
    return Lowered((out,), (step,) if out.size else ())


def solve_vjp(ct: Any, a: Any, b: Any, out: Any, **attrs: bool) -> tuple[Any, Any]:
    """Solve with the transposed matrix."""
    of_b = transposed(a)._apply("linalg_solve_complex", ct, **attrs)
    if attrs["vector"]:
        return -(of_b.unsqueeze(-1) * out.unsqueeze(-2)), of_b
    return -(of_b @ transposed(out)), of_b


def _filled(nargs: int, layout: Layout, number: int, value: float) -> Step:
    source = address_operand(constant(value, layout.dtype.np), layout.ndim)
    target = out_operand(nargs, layout, number)
    return Step(copy_loop(layout.dtype), layout.shape, (source, target))


def lower_det(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Determinants."""
    (x,) = layouts
    batch, out = x.shape[:-2], contiguous(x.dtype, x.shape[:-2])
    if x.shape[-1] == 0:
        return Lowered((out,), (_filled(1, out, 0, 1.0),))
    operands = operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, ())
    return Lowered((out,), (loop_step(lapack.det, batch, x.shape[-1:], operands, quiet=True),))


def complex_cofactors(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Cofactors, from singular vectors and values, both determinants of the former; all contiguous.

    Core dimension n. Numbers are pairs.
    """
    n, s = p64(dims)[1], p64(strides)
    for batch in range(p64(dims)[0]):
        u, values = element(p64(args)[0] + batch * s[0]), element(p64(args)[1] + batch * s[1])
        vh, out = element(p64(args)[2] + batch * s[2]), element(p64(args)[5] + batch * s[5])
        left, right = element(p64(args)[3] + batch * s[3]), element(p64(args)[4] + batch * s[4])
        phase_re = left[0] * right[0] - left[1] * right[1]
        phase_im = left[0] * right[1] + left[1] * right[0]
        for i in range(2 * n * n):
            out[i] = 0.0
        for k in range(n):
            re, im = phase_re, phase_im
            for j in range(n):
                if j != k:
                    re *= values[j]
                    im *= values[j]
            for i in range(n):
                x, y = u[2 * (i * n + k)], -u[2 * (i * n + k) + 1]
                a, b = re * x - im * y, re * y + im * x
                for j in range(n):
                    x, y = vh[2 * (k * n + j)], -vh[2 * (k * n + j) + 1]
                    out[2 * (i * n + j)] += a * x - b * y
                    out[2 * (i * n + j) + 1] += a * y + b * x


for _kind in ("f64", "f32"):
    native_kernel(complex_cofactors, f"complex_cofactors_{_kind}", **KINDS[_kind])


def lower_cofactors(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Cofactors, for singular matrices as well."""
    (x,) = layouts
    n, batch, out = x.shape[-1], tuple(x.shape[:-2]), contiguous(x.dtype, x.shape)
    if not out.size:
        return Lowered((out,), ())
    number, numbers = contiguous(x.dtype, batch), contiguous(real_of(x.dtype), (*batch, n))
    places, offset = [], 0
    for layout, dims in ((out, (0, 0)), (numbers, (0,)), (out, (0, 0)), (number, ()), (number, ())):
        places.append(scratch_matrices(offset, layout, dims))
        offset += padded(layout.span)
    u, values, vh, left, right = places
    steps = (
        loop_step(gufunc("svd_f", wide=False), batch, (n, n, n), (
            operand_matrices(0, x, batch, (0, 1)), u, values._replace(dims=(2,)),
            vh._replace(dims=(1, 1)),
        ), quiet=True),
        loop_step(lapack.det, batch, (n,), (u, left), quiet=True),
        loop_step(lapack.det, batch, (n,), (vh, right), quiet=True),
        kernel_step(
            (native_kernel_address("complex_cofactors", real_of(x.dtype)), 0), batch, (n,),
            (*places, result_matrices(1, out, (0, 0))),
        ),
    )  # fmt: skip
    return Lowered((out,), steps, offset)


def cofactors_vjp(ct: Any, a: Any, out: Any) -> Any:
    """As the determinant times the transposed inverse, so of matrices that have one, rounding apart."""
    t = transposed(a._apply("linalg_inv", quiet=2))
    along = (ct * t).sum((-2, -1), keepdim=True)
    return along * out - t @ transposed(ct) @ out


def lower_slogdet(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Determinants divided by their absolute values, and logarithms of these."""
    (x,) = layouts
    batch = x.shape[:-2]
    outs = contiguous(x.dtype, batch), contiguous(real_of(x.dtype), batch)
    if x.shape[-1] == 0:
        return Lowered(outs, (_filled(1, outs[0], 0, 1.0), _filled(1, outs[1], 1, 0.0)))
    results = [result_matrices(1, out, (), number) for number, out in enumerate(outs)]
    operands = (operand_matrices(0, x, batch, (0, 0)), *results)
    return Lowered(outs, (loop_step(lapack.slogdet, batch, x.shape[-1:], operands, quiet=True),))


def _each(number: Any) -> Any:
    """A number for each matrix of a batch, over the matrices."""
    return number.unsqueeze(-1).unsqueeze(-1)


def sign_vjp(ct: Any, a: Any, sign: Any, value: Any, out: Any) -> tuple[Any, None, None]:
    """Turn the phase, which is the imaginary part of the logarithm."""
    turned = out.conj() * ct
    along = (turned - turned.conj()) * 0.5
    return _each(along) * adjoint(a._apply("linalg_inv", quiet=False)), None, None


op(
    "linalg_solve_complex", of_complex="holomorphic", lower=lower_solve, vjp=solve_vjp, arity=2, torch=None,
    grad_fn="LinalgSolveExBackward0", private=True,
    failure=Failure("The solver failed because the input matrix is singular", LinAlgError),
)  # fmt: skip
op(
    "linalg_det_complex", of_complex="holomorphic", lower=lower_det, torch=None, grad_fn="LinalgDetBackward0",
    private=True,
    vjp=lambda ct, a, out: _each(ct) * a._apply("linalg_cofactors_complex"),
)  # fmt: skip
op(
    "linalg_cofactors_complex", of_complex="holomorphic", lower=lower_cofactors, torch=None, private=True,
    vjp=cofactors_vjp, grad_fn="LinalgDetBackward0",
)  # fmt: skip
op(
    "linalg_slogdet_complex_parts",
    of_complex="plain",
    lower=lower_slogdet,
    torch=None,
    private=True,
)
op(
    "linalg_slogdet_complex", of_complex="plain", arity=3, shown=1, torch=None, private=True,
    grad_fn="LinalgSlogdetBackward0", lower=lambda entry, layouts, attrs: copied_part(2, layouts),
    vjp=lambda ct, a, sign, value, out: (
        _each(ct) * adjoint(a._apply("linalg_inv", quiet=False)), None, None
    ),
)  # fmt: skip
op(
    "linalg_slogdet_sign", of_complex="plain", arity=3, shown=1, torch=None, private=True, vjp=sign_vjp,
    grad_fn="LinalgSlogdetBackward0", lower=lambda entry, layouts, attrs: copied_part(1, layouts),
)  # fmt: skip
