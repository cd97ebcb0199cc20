"""Determinants, and their logarithms."""

from __future__ import annotations

import math
from typing import Any

from ...ops.table import TABLE
from ...tape import recording as record
from ..maths import return_types
from ..registry import FUNCTIONS, declared
from ..signature import Tensor
from .checks import check_floating_matrix, linalg_function

__all__ = ["determinant", "sign_and_logarithm"]


def determinant(a: Any) -> Any:
    """Return determinants."""
    check_floating_matrix("linalg.det", a, square=True)
    if a.dtype.is_complex:
        return record.apply(TABLE["linalg_det_complex"], (a,))
    return record.apply(TABLE["linalg_det"], (a, *record.apply_all(TABLE["linalg_lu_parts"], (a,))))


def sign_and_logarithm(name: str, a: Any) -> tuple[Any, Any]:
    """Signs of determinants, and logarithms of their absolute values."""
    check_floating_matrix(name, a, square=True)
    if a.dtype.is_complex:
        parts = record.apply_all(TABLE["linalg_slogdet_complex_parts"], (a,))
        names = "linalg_slogdet_sign", "linalg_slogdet_complex"
        return tuple(record.apply(TABLE[row], (a, *parts)) for row in names)
    factors = record.apply_all(TABLE["linalg_lu_parts"], (a,))
    sign, value = record.apply_all(TABLE["linalg_slogdet_parts"], factors)
    return sign, record.apply(TABLE["linalg_slogdet"], (a, value, *factors))


@linalg_function()
def det(A: Tensor) -> Tensor:
    """Return the determinant of a matrix, or of each of a batch.

    Its gradient, the matrix of cofactors, is right for singular matrices as well; derivatives of that are
    there for others only.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n).

    Returns
    -------
    Tensor
        Of shape (...).

    Examples
    --------
    >>> import tapegrad as tg
    >>> A = tg.tensor([[1.0, 2.0], [2.0, 4.0]], requires_grad=True)
    >>> tg.linalg.det(A).backward()
    >>> A.grad
    tensor([[ 4., -2.],
            [-2.,  1.]])
    """
    return determinant(A)


@declared(name="det")
def top_det(input: Tensor) -> Tensor:
    """Return determinants: `linalg.det`."""
    return determinant(input)


@linalg_function()
def slogdet(A: Tensor) -> return_types.linalg_slogdet:
    """Return the sign of the determinant and the logarithm of its absolute value.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n).

    Returns
    -------
    sign : Tensor
        1, -1, or 0 for a singular matrix; it has no derivative.
    logabsdet : Tensor
        -inf for a singular matrix, at which it has no derivative either: that raises a LinAlgError.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.slogdet(tg.tensor([[0.0, 1.0], [1.0, 0.0]])).sign
    tensor(-1.)
    """
    return return_types.linalg_slogdet(*sign_and_logarithm("linalg.slogdet", A))


@declared(name="slogdet")
def top_slogdet(input: Tensor) -> return_types.slogdet:
    """Return signs and logarithms of determinants: `linalg.slogdet`."""
    return return_types.slogdet(*sign_and_logarithm("linalg.slogdet", input))


@declared()
def logdet(input: Tensor) -> Tensor:
    """Return the logarithm of determinants; NaN for negative ones, -inf for singular matrices."""
    sign, logarithm = sign_and_logarithm("logdet", input)
    if sign.dtype.is_complex:
        return sign.log() + logarithm
    return FUNCTIONS["where"](sign == -1, math.nan, logarithm)
