"""Cholesky's factor of positive-definite matrices, and what is solved by it."""

from __future__ import annotations

from typing import Any

from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..maths import return_types
from ..registry import FUNCTIONS, declared
from ..signature import Tensor
from .checks import (
    adjoint_of,
    check_floating_matrix,
    failures_of,
    linalg_function,
    rows_and_columns,
)
from .systems import triangular_solution

__all__ = ["cholesky_factor"]


def cholesky_factor(name: str, a: Any, *, upper: bool = False, quiet: bool = False) -> Any:
    """Return triangular factors of positive-definite matrices."""
    check_floating_matrix(name, a, square=True)
    if upper:
        return adjoint_of(record.apply(TABLE["linalg_cholesky"], (adjoint_of(a),), quiet=quiet))
    return record.apply(TABLE["linalg_cholesky"], (a,), quiet=quiet)


@linalg_function()
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """Return the Cholesky factor ``L`` of a symmetric positive-definite matrix, ``A = L L^T``.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n); only one triangle is looked at. The gradient is that for symmetric changes.
    upper : bool
        Return the upper triangle, ``L^T``.

    Returns
    -------
    Tensor

    Raises
    ------
    RuntimeError
        If matrices are not square, or not of a floating dtype.
    LinAlgError
        Where the result is asked for, if a matrix is not positive-definite.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.cholesky(tg.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    return cholesky_factor("linalg.cholesky", A, upper=upper)


@linalg_function()
def cholesky_ex(
    A: Tensor, *, upper: bool = False, check_errors: bool = False
) -> return_types.linalg_cholesky_ex:
    """Return Cholesky factors without an error for matrices that have none.

    Parameters
    ----------
    A, upper
        As for `cholesky`.
    check_errors : bool
        Raise, as `cholesky` does.

    Returns
    -------
    L : Tensor
        NaN for a matrix that is not positive-definite.
    info : Tensor
        Of dtype int64: 0 where there is a factor, else 1.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.cholesky_ex(-tg.eye(2)).info
    tensor(1)
    """
    factor = cholesky_factor("linalg.cholesky", A, upper=upper, quiet=not check_errors)
    return return_types.linalg_cholesky_ex(factor, failures_of(factor))


@declared(name="cholesky")
def top_cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """Return Cholesky factors: `linalg.cholesky`."""
    return cholesky_factor("cholesky", input, upper=upper)


@declared()
def cholesky_solve(input: Tensor, input2: Tensor, upper: bool = False) -> Tensor:
    """Solve ``A X = input`` by the Cholesky factor of ``A``.

    Parameters
    ----------
    input : Tensor
        The right-hand side, of shape (..., n, k).
    input2 : Tensor
        The factor.
    upper : bool
        Whether it is the upper triangle.

    Returns
    -------
    Tensor
    """
    for x, letter in ((input, "b"), (input2, "u")):
        ndim = layout_of(x).ndim
        if ndim < 2:
            raise RuntimeError(
                f"{letter} should have at least 2 dimensions, but has {ndim} dimensions instead"
            )
    check_floating_matrix("cholesky_solve", input2, square=True)
    n, (rows, columns) = layout_of(input2).shape[-1], rows_and_columns(input)
    if n != rows:
        raise RuntimeError(
            f"Incompatible matrix sizes for cholesky_solve: each A matrix is {n} by {n} but each b matrix is "
            f"{rows} by {columns}"
        )
    factor = input2
    lower = adjoint_of(factor) if upper else factor
    half = triangular_solution("cholesky_solve", lower, input, False, True, False)
    return triangular_solution("cholesky_solve", adjoint_of(lower), half, True, True, False)


@declared()
def cholesky_inverse(input: Tensor, upper: bool = False) -> Tensor:
    """Return the inverse of a matrix from its Cholesky factor.

    Parameters
    ----------
    input : Tensor
        The factor, of shape (..., n, n).
    upper : bool
        Whether it is the upper triangle.

    Returns
    -------
    Tensor
    """
    check_floating_matrix("cholesky_inverse", input, square=True)
    one = FUNCTIONS["eye"](layout_of(input).shape[-1], dtype=input.dtype)
    return cholesky_solve(one, input, upper)
