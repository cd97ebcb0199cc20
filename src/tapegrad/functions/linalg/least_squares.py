"""Pseudoinverses, least squares, rank and condition: what is made of singular values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...base.dtypes import int64, real_of
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..maths import return_types
from ..registry import FUNCTIONS, declared
from ..signature import Number, Tensor
from .checks import (
    adjoint_of,
    check_floating_matrix,
    check_matrix,
    check_one_dtype,
    check_square,
    linalg_function,
    rows_and_columns,
)  # fmt: skip
from .factors import hermitian_factors, singular_factors, singular_values
from .norms import norm_of

__all__ = ["pseudoinverse", "rank_of"]


def _threshold(a: Any, largest: Any, atol: Any, rtol: Any) -> Any:
    """The absolute value up to which singular values count as zero, of one matrix or of each."""
    if rtol is None:
        epsilon = float(np.finfo(layout_of(a).dtype.np).eps) * max(rows_and_columns(a))
        positive = atol if record.is_tensor(atol) else (atol or 0) > 0
        if record.is_tensor(positive):
            rtol = FUNCTIONS["where"](positive > 0, 0.0, epsilon)
        else:
            rtol = 0.0 if positive else epsilon
    rtol = rtol.unsqueeze(-1) if record.is_tensor(rtol) and rtol.ndim else rtol
    atol = atol.unsqueeze(-1) if record.is_tensor(atol) and atol.ndim else atol
    relative = largest * rtol
    return relative if atol is None else FUNCTIONS["clamp"](relative, min=atol)


def _pseudoinverse(a: Any, atol: Any, rtol: Any, *, hermitian: bool) -> Any:
    """Compute pseudoinverses of constants."""
    where = FUNCTIONS["where"]
    if 0 in rows_and_columns(a):
        rows, columns = rows_and_columns(a)
        return FUNCTIONS["zeros"]((*layout_of(a).shape[:-2], columns, rows), dtype=a.dtype)
    if hermitian:
        values, v = hermitian_factors(a)
        size = values.abs()
        threshold = _threshold(a, size.amax(-1, True), atol, rtol)
        return (v * where(size > threshold, 1 / values, 0.0).unsqueeze(-2)) @ adjoint_of(v)
    u, s, vh = singular_factors("linalg.pinv", a, full=False)
    threshold = _threshold(a, s.narrow(-1, 0, 1), atol, rtol)
    inverted = where(s > threshold, 1 / s, 0.0)
    return adjoint_of(vh) @ (inverted.unsqueeze(-1) * adjoint_of(u))


def pseudoinverse(a: Any, atol: Any = None, rtol: Any = None, *, hermitian: bool = False) -> Any:
    """Return pseudoinverses, with the derivative at constant rank."""
    (check_square if hermitian else check_matrix)("linalg.pinv", a)
    check_floating_matrix("linalg.pinv", a)
    value = _pseudoinverse(a.detach(), atol, rtol, hermitian=hermitian)
    return record.apply(TABLE["linalg_pinv"], (a, value))


@linalg_function(
    "(*, Tensor? atol=None, Tensor? rtol=None, bool hermitian=False)",
    "(*, float? atol=None, float? rtol=None, bool hermitian=False)",
    "(float rcond, bool hermitian=False)",
    "(Tensor rcond, bool hermitian=False)",
)
def pinv(
    A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """Return the pseudoinverse (Moore-Penrose inverse) of a matrix, or of each of a batch.

    Its derivative is that for changes which do not change the rank.

    Parameters
    ----------
    A : Tensor
        Of shape (..., m, n).
    rcond : float or Tensor, optional
        Another name of `rtol`.
    hermitian : bool
        Whether matrices are symmetric, which is faster; only lower triangles are looked at then.
    atol, rtol : float or Tensor, optional
        Singular values up to ``max(atol, rtol * largest)`` count as zero. Without them, `rtol` is
        ``max(m, n)`` times the machine epsilon.

    Returns
    -------
    Tensor
        Of shape (..., n, m).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.pinv(tg.tensor([[2.0], [0.0]]))
    tensor([[0.5000, 0.0000]])
    """
    return pseudoinverse(A, atol, rcond if rtol is None else rtol, hermitian=hermitian)


@declared()
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """Return pseudoinverses: `linalg.pinv`."""
    return pseudoinverse(input, rtol=rcond)


# --------------------------------------------------------------------------- least squares
@linalg_function()
def lstsq(
    A: Tensor, B: Tensor, rcond: Number | None = None, *, driver: str | None = None
) -> return_types.linalg_lstsq:
    """Solve ``A X = B`` in the sense of least squares; the shortest solution where there are several.

    Parameters
    ----------
    A : Tensor
        Of shape (..., m, n).
    B : Tensor
        Of shape (..., m, k) and the same dtype, or vectors, of shape (..., m).
    rcond : float, optional
        Singular values up to `rcond` times the largest count as zero; by default ``max(m, n)`` times the
        machine epsilon.
    driver : {'gelsy', 'gels', 'gelsd', 'gelss'}, optional
        PyTorch's names of methods. Here there is one, by singular values.

    Returns
    -------
    solution : Tensor
        With the derivative for changes that do not change the rank.
    residuals : Tensor
        Sums of squares of ``A X - B`` where ``m > n``, else empty.
    rank : Tensor
    singular_values : Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> A = tg.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    >>> tg.linalg.lstsq(A, tg.tensor([1.0, 3.0, 5.0])).solution.round()
    tensor([1., 2.])
    """
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            "torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)"
        )
    check_floating_matrix("torch.linalg.lstsq", A)
    check_one_dtype("torch.linalg.lstsq", A, B, ("input", "other"))
    x, y = layout_of(A), layout_of(B)
    is_vector = y.ndim == x.ndim - 1
    if not is_vector:
        check_matrix("torch.linalg.lstsq", B, "other")
    b = B.unsqueeze(-1) if is_vector else B
    (m, n), rows = rows_and_columns(A), rows_and_columns(b)[0]
    if rows != m:
        raise RuntimeError("torch.linalg.lstsq: input.size(-2) should match other.size(-2)")
    constant = A.detach()
    inverse = _pseudoinverse(constant, None, rcond, hermitian=False)
    value = inverse @ b.detach()
    solution = record.apply(TABLE["linalg_lstsq"], (A, b, inverse, value))
    residuals = FUNCTIONS["zeros"](0, dtype=real_of(layout_of(A).dtype))
    if m > n:
        difference = A @ solution - b
        residuals = (difference * difference.conj()).real.sum(-2)
    s = singular_values("torch.linalg.lstsq", constant)
    largest = s.narrow(-1, 0, 1) if layout_of(s).shape[-1] else s
    rank = (s > _threshold(constant, largest, None, rcond)).sum(-1)
    return return_types.linalg_lstsq(
        solution.squeeze(-1) if is_vector else solution, residuals, rank, s
    )


# --------------------------------------------------------------------------- rank, condition
def rank_of(a: Any, atol: Any, rtol: Any, *, hermitian: bool) -> Any:
    """Return the number of singular values that do not count as zero."""
    check_floating_matrix("torch.linalg.matrix_rank", a, "input", square=hermitian)
    a = a.detach()
    if 0 in rows_and_columns(a):
        return FUNCTIONS["zeros"](tuple(layout_of(a).shape[:-2]), dtype=int64)
    if hermitian:
        s = record.apply(TABLE["linalg_eigvalsh"], (a,), upper=False).abs()
        largest = s.amax(-1, True)
    else:
        s = singular_values("linalg.matrix_rank", a)
        largest = s.narrow(-1, 0, 1)
    return (s > _threshold(a, largest, atol, rtol)).sum(-1)


@linalg_function(
    "(*, Tensor? atol=None, Tensor? rtol=None, bool hermitian=False)",
    "(*, float? atol=None, float? rtol=None, bool hermitian=False)",
    "(float tol, bool hermitian=False)",
    "(Tensor tol, bool hermitian=False)",
)
def matrix_rank(
    A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """Return the rank of matrices: how many singular values do not count as zero.

    Parameters
    ----------
    A : Tensor
        Of shape (..., m, n).
    tol : float or Tensor, optional
        Singular values up to it count as zero: `atol`, with an `rtol` of 0.
    hermitian : bool
        Whether matrices are symmetric, which is faster.
    atol, rtol : float or Tensor, optional
        As for `pinv`.

    Returns
    -------
    Tensor
        Of dtype int64.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.matrix_rank(tg.tensor([[1.0, 2.0], [2.0, 4.0]]))
    tensor(1)
    """
    if tol is not None:
        atol, rtol = tol, 0.0
    return rank_of(A, atol, rtol, hermitian=hermitian)


@linalg_function("(Number? p=None)", "(str p)")
def cond(A: Tensor, p: Any = None) -> Tensor:
    """Return the condition number of matrices in a norm.

    Parameters
    ----------
    A : Tensor
        Of shape (..., m, n), square unless `p` is 2, -2 or None.
    p : {None, 'fro', 'nuc', inf, -inf, 1, -1, 2, -2}
        The order of the norm, as for `matrix_norm`; None is 2.

    Returns
    -------
    Tensor
        Infinite for a singular matrix.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.cond(tg.tensor([[4.0, 0.0], [0.0, 2.0]])).round()
    tensor(2.)
    """
    order = 2 if p is None else p
    check_floating_matrix("linalg.cond", A)
    if not isinstance(order, str) and abs(float(order)) == 2:
        if 0 in rows_and_columns(A):
            return FUNCTIONS["zeros"](tuple(layout_of(A).shape[:-2]), dtype=A.dtype)
        s = singular_values("linalg.cond", A)
        first, last = s.select(-1, 0), s.select(-1, -1)
        return first / last if order > 0 else last / first
    check_square(f"linalg.cond(ord={order if isinstance(order, str) else f'{float(order):g}'})", A)
    values = FUNCTIONS["linalg_inv_ex"](A)
    result = norm_of(A, order) * norm_of(values.inverse, order)
    return FUNCTIONS["where"](values.info == 0, result, math.inf)
