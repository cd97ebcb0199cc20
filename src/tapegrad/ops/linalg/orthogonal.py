"""QR factors; pseudoinverses and least squares, whose values are made of singular values.

NumPy has loops for QR in float64 only: matrices of float32 are converted, as NumPy does.
"""

from __future__ import annotations

from typing import Any

from numpy.linalg import _umath_linalg as lapack

from ...base.dtypes import complex128, dtype, float64
from ...base.errors import LinAlgError
from ...native.ufunc_loops import native_kernel_address
from ..cast import conversion_steps
from ..layout import Layout, contiguous
from ..program import POOL, SCRATCH, Operand, Step, arg, padded
from ..table import Failure, Lowered, Op, copy_loop, op, out_operand
from .loops import (
    adjoint,
    copied_part,
    gufunc,
    loop_step,
    result_matrices,
    scratch_matrices,
    unit_steps,
)  # fmt: skip
from .triangular import solve_triangular

__all__: list[str] = []


def _converted(x: Layout, kind: dtype, source: Operand, target: Operand) -> tuple[Step, ...]:
    """Steps that copy elements to where they have another dtype."""
    if x.dtype is kind:
        return (Step(copy_loop(kind), x.shape, (source, target)),)
    return conversion_steps(x, kind, source, target)


def lower_qr(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Orthonormal columns and upper triangles; with the attribute `complete`, as many columns as rows."""
    (x,) = layouts
    batch, (m, n) = tuple(x.shape[:-2]), x.shape[-2:]
    k, wide_kind = min(m, n), complex128 if x.dtype.is_complex else float64
    columns = m if attrs["complete"] else k
    q, r = contiguous(x.dtype, (*batch, m, columns)), contiguous(x.dtype, (*batch, columns, n))
    if not x.size:
        return Lowered((q, r), tuple(unit_steps(1, q)) if columns == m else ())
    work, reflectors = contiguous(wide_kind, x.shape), contiguous(wide_kind, (*batch, k))
    start = padded(work.span)
    scratch = start + padded(reflectors.span)
    place = Operand(SCRATCH, 0, work.strides)
    matrix = scratch_matrices(0, work, (0, 1))
    steps = [
        *_converted(x, wide_kind, arg(0, x.strides), place),
        loop_step(
            gufunc("qr_r_raw", wide=m < n),
            batch,
            (m, n, k),
            (matrix, scratch_matrices(start, reflectors, (2,))),
        ),
    ]
    wide = contiguous(wide_kind, q.shape)
    result = (
        result_matrices(1, q, (0, 2))
        if q.dtype is wide_kind
        else scratch_matrices(scratch, wide, (0, 2))
    )
    loop = lapack.qr_complete if attrs["complete"] and m > n else lapack.qr_reduced
    if loop is lapack.qr_complete:
        result = result._replace(dims=(0, 0))
    tau = scratch_matrices(start, reflectors, (2 if loop is lapack.qr_reduced else 1,))
    steps.append(
        loop_step(
            loop, batch, (m, n, k) if loop is lapack.qr_reduced else (m, n), (matrix, tau, result)
        )
    )
    if q.dtype is not wide_kind:
        numbers = Operand(SCRATCH, scratch, wide.strides)
        steps += _converted(wide, q.dtype, numbers, out_operand(1, q))
        scratch += padded(wide.span)
    target = out_operand(1, r, 1)
    steps += [
        *_converted(contiguous(wide_kind, r.shape), r.dtype, place, target),
        Step(
            (native_kernel_address("clear_triangle"), POOL.put((r.dtype.itemsize, 0, 1))), batch,
            (target._replace(strides=r.strides[:-2]),), core=(columns, n),
        ),
    ]  # fmt: skip
    return Lowered((q, r), tuple(steps), scratch)


def _right_solved(r: Any, x: Any) -> Any:
    """``x R^-H`` for an upper triangle."""
    return adjoint(solve_triangular(r, adjoint(x), upper=True))


def _hermitian(x: Any) -> Any:
    """The Hermitian matrix with the upper triangle of `x`."""
    above = x.triu(1)
    return above + adjoint(above) + ((x + adjoint(x)) * 0.5).triu().tril()


def q_vjp(ct: Any, a: Any, q: Any, r: Any, out: Any, complete: bool) -> tuple[Any, None, None]:
    """Turn the columns, within what they span and away from it."""
    _refuse(complete)
    n, k = a.shape[-1], out.shape[-1]
    r = a._apply("linalg_qr_r", q, r, complete=complete)
    of_a = _q_vjp(ct, out, r.narrow(-1, 0, k) if n > k else r)
    return of_a if n == k else _beside(of_a, a), None, None


def _refuse(complete: bool) -> None:
    if complete:
        raise RuntimeError(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols."
        )


def _q_vjp(ct: Any, q: Any, r: Any) -> Any:
    return _right_solved(r, ct - q @ _hermitian(adjoint(q) @ ct))


def _beside(x: Any, a: Any) -> Any:
    """Columns, and zeros for the rest of those of `a`."""
    zero = x._apply("constant_pad_nd", 0.0, pad=(0, a.shape[-1] - x.shape[-1]))
    return zero


def r_vjp(ct: Any, a: Any, q: Any, r: Any, out: Any, complete: bool) -> tuple[Any, None, None]:
    """Of the first columns, and of those behind them, which are ``Q^H`` times the matrix."""
    _refuse(complete)
    n, k = a.shape[-1], out.shape[-2]
    q = a._apply("linalg_qr_q", q, r, complete=complete)
    if n <= k:
        return _right_solved(out, q @ _hermitian(ct @ adjoint(out))), None, None
    square, rest = out.narrow(-1, 0, k), ct.narrow(-1, k, n - k)
    first = _right_solved(square, q @ _hermitian(ct.narrow(-1, 0, k) @ adjoint(square)))
    of_q = _q_vjp(a.narrow(-1, k, n - k) @ adjoint(rest), q, square)
    return (first + of_q)._apply("cat", q @ rest, dim=len(a.shape) - 1), None, None


op(
    "linalg_qr_parts",
    of_complex="plain",
    lower=lower_qr,
    torch=None,
    private=True,
    failure=Failure("LAPACK refuses the matrix", LinAlgError),
)
for _number, (_name, _vjp) in enumerate((("q", q_vjp), ("r", r_vjp)), 1):
    op(
        f"linalg_qr_{_name}", of_complex="plain", arity=3, shown=1, vjp=_vjp, torch="linalg.qr",
        grad_fn="LinalgQrBackward0",
        lower=lambda entry, layouts, attrs, number=_number: copied_part(number, layouts),
    )  # fmt: skip


# --------------------------------------------------------------------------- pseudoinverses
def pinv_vjp(ct: Any, a: Any, value: Any, out: Any) -> tuple[Any, None]:
    """Differentiate at constant rank (Golub and Pereyra 1973)."""
    p, t = adjoint(out), adjoint(ct)
    of_a = (t - a @ (out @ t)) @ (out @ p) + (p @ out) @ (t - (t @ out) @ a)
    return of_a - p @ ct @ p, None


def lstsq_vjp(
    ct: Any, a: Any, b: Any, inverse: Any, value: Any, out: Any
) -> tuple[Any, Any, None, None]:
    """As the pseudoinverse times the right-hand side."""
    inverse = a._apply("linalg_pinv", inverse)
    p = adjoint(inverse)
    of_b = p @ ct
    of_a = (b - a @ out) @ adjoint(inverse @ of_b) + (p @ out) @ adjoint(ct - adjoint(a) @ of_b)
    return of_a - of_b @ adjoint(out), of_b, None, None


op(
    "linalg_pinv", of_complex="plain", arity=2, shown=1, vjp=pinv_vjp, torch="linalg.pinv",
    grad_fn="LinalgPinvBackward0",
    lower=lambda entry, layouts, attrs: copied_part(1, layouts),
)  # fmt: skip
op(
    "linalg_lstsq", of_complex="plain", arity=4, shown=2, vjp=lstsq_vjp, torch="linalg.lstsq",
    grad_fn="LinalgLstsqBackward0",
    lower=lambda entry, layouts, attrs: copied_part(3, layouts),
)  # fmt: skip
