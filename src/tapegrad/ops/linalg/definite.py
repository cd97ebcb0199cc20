"""Cholesky's factor of positive-definite matrices."""

from __future__ import annotations

from typing import Any

from numpy.linalg import _umath_linalg as lapack

from ...base.errors import LinAlgError
from ..layout import Layout, contiguous
from ..table import Failure, Lowered, Op, op
from .loops import adjoint, loop_step, operand_matrices, result_matrices
from .triangular import solve_triangular

__all__: list[str] = []


def lower_cholesky(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Factor the matrices of a batch, by their lower triangles; quietly or not, as for `linalg_solve`."""
    (x,) = layouts
    batch, out = x.shape[:-2], contiguous(x.dtype, x.shape)
    operands = operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, (0, 0))
    step = loop_step(lapack.cholesky_lo, batch, x.shape[-1:], operands, quiet=attrs["quiet"])
    return Lowered((out,), (step,) if out.size else ())


def cholesky_vjp(ct: Any, a: Any, out: Any, quiet: bool) -> Any:
    """Differentiate symbolically (Murray 2016, section 3.1), for symmetric changes of the matrix."""
    upper = adjoint(out)
    product = upper @ ct
    half = product.tril() + product.tril(-1)  # twice the triangle with half of its diagonal
    inner = solve_triangular(upper, (half + adjoint(half)) * 0.25, upper=True)
    return adjoint(solve_triangular(upper, adjoint(inner), upper=True))


op(
    "linalg_cholesky", lower=lower_cholesky, vjp=cholesky_vjp, torch="linalg.cholesky",
    grad_fn="LinalgCholeskyExBackward0",
    failure=Failure(
        "The factorization could not be completed because the input is not positive-definite", LinAlgError
    ),
)  # fmt: skip
