"""Cholesky's factor of positive-definite matrices."""

from __future__ import annotations

from typing import Any

from numpy.linalg import _umath_linalg as lapack

from ...base.errors import LinAlgError
from ..layout import Layout, contiguous
from ..table import Failure, Lowered, Op
from .loops import adjoint, operand_matrices, result_matrices, rows_that_fail, with_info
from .triangular import solve_triangular

__all__: list[str] = []


def lower_cholesky(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Factor the matrices of a batch, by their lower triangles."""
    (x,) = layouts
    batch, out = x.shape[:-2], contiguous(x.dtype, x.shape)
    operands = operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, (0, 0))
    return with_info(entry, layouts, lapack.cholesky_lo, out, operands, x.shape[-1:])


def cholesky_vjp(ct: Any, a: Any, out: Any) -> Any:
    """Differentiate symbolically (Murray 2016, section 3.1), for symmetric changes of the matrix."""
    upper = adjoint(out)
    product = upper @ ct
    half = product.tril() + product.tril(-1)  # twice the triangle with half of its diagonal
    inner = solve_triangular(upper, (half + adjoint(half)) * 0.25, upper=True)
    return adjoint(solve_triangular(upper, adjoint(inner), upper=True))


rows_that_fail(
    "cholesky", lower=lower_cholesky, vjp=cholesky_vjp, arity=1, grad_fn="LinalgCholeskyExBackward0",
    failure=Failure(
        "The factorization could not be completed because the input is not positive-definite", LinAlgError
    ),
)  # fmt: skip
