"""Factors of matrices: QR, eigenvalues of Hermitian matrices, singular values."""

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
    check_matrix,
    linalg_function,
    rows_and_columns,
)  # fmt: skip

__all__ = ["hermitian_factors", "singular_factors", "singular_values"]


# --------------------------------------------------------------------------- QR
_MODES = ("reduced", "complete", "r")


def _orthogonal_factors(name: str, a: Any, mode: str) -> tuple[Any, Any]:
    if mode not in _MODES:
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or "
            "'complete'"
        )
    check_floating_matrix(name, a)
    rows, columns = rows_and_columns(a)
    attrs = {"complete": mode == "complete" and rows > columns}
    parts = record.apply_all(TABLE["linalg_qr_parts"], (a,), **attrs)
    q = record.apply(TABLE["linalg_qr_q"], (a, *parts), **attrs) if mode != "r" else None
    r = record.apply(TABLE["linalg_qr_r"], (a, *parts), **attrs)
    return FUNCTIONS["zeros"](0, dtype=a.dtype) if q is None else q, r


@linalg_function()
def qr(A: Tensor, mode: str = "reduced") -> return_types.linalg_qr:
    """Factor matrices into orthonormal columns and an upper triangle, ``A = Q R``.

    Parameters
    ----------
    A : Tensor
        Of shape (..., m, n). For derivatives its first ``min(m, n)`` columns have to be independent.
    mode : {'reduced', 'complete', 'r'}
        As many columns in ``Q`` as ``min(m, n)``, or `m`, or none. A complete ``Q`` has no derivative where
        ``m > n``.

    Returns
    -------
    Q, R : Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.qr(tg.tensor([[3.0, 0.0], [4.0, 5.0]])).R.abs().round()
    tensor([[5., 4.],
            [0., 3.]])
    """
    return return_types.linalg_qr(*_orthogonal_factors("linalg.qr", A, mode))


@declared(name="qr")
def top_qr(input: Tensor, some: bool = True) -> return_types.qr:
    """Return QR factors: `linalg.qr` with mode ``'reduced'``, or ``'complete'`` if not `some`."""
    return return_types.qr(*_orthogonal_factors("linalg.qr", input, _MODES[not some]))


# --------------------------------------------------------------------------- eigenvalues
def _is_upper(a: Any, uplo: str) -> bool:
    """Return True if `uplo` names the upper triangle; raise unless it can be that of a matrix."""
    letter = uplo.upper()
    if letter not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {uplo}")
    check_floating_matrix("linalg.eigh", a, square=True)
    return letter == "U"


def hermitian_factors(a: Any, uplo: str = "L") -> tuple[Any, Any]:
    """Return eigenvalues and eigenvectors of Hermitian matrices."""
    parts = record.apply_all(TABLE["linalg_eigh_parts"], (a,), upper=_is_upper(a, uplo))
    values = record.apply(TABLE["linalg_eigh_values"], (a, *parts))
    return values, record.apply(TABLE["linalg_eigh_vectors"], (a, *parts))


@linalg_function()
def eigh(A: Tensor, UPLO: str = "L") -> return_types.linalg_eigh:
    """Return eigenvalues and eigenvectors of a symmetric matrix, or of each of a batch.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n).
    UPLO : {'L', 'U'}
        Which triangle is looked at. The gradient is that for symmetric changes.

    Returns
    -------
    eigenvalues : Tensor
        Ascending.
    eigenvectors : Tensor
        As columns. They are determined up to their signs: so should be what is differentiated. Where
        eigenvalues are equal they have no derivative: it is infinite or NaN. That of the eigenvalues does not
        depend on it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> A = tg.tensor([[2.0, 1.0], [1.0, 2.0]], requires_grad=True)
    >>> values, vectors = tg.linalg.eigh(A)
    >>> values.detach().round()
    tensor([1., 3.])
    >>> values[1].backward()
    >>> A.grad
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    return return_types.linalg_eigh(*hermitian_factors(A, UPLO))


@linalg_function()
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Return the eigenvalues of symmetric matrices, ascending.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n).
    UPLO : {'L', 'U'}
        Which triangle is looked at.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.eigvalsh(tg.tensor([[2.0, 1.0], [1.0, 2.0]])).round()
    tensor([1., 3.])
    """
    if record.is_active(A):  # the derivative needs the vectors
        return hermitian_factors(A, UPLO)[0]
    return record.apply(TABLE["linalg_eigvalsh"], (A,), upper=_is_upper(A, UPLO))


def _general_parts(name: str, a: Any) -> list[Any]:
    """Return a matrix of its kind, its eigenvalues and its eigenvectors, without derivatives."""
    check_floating_matrix(name, a, square=True)
    return [a, *record.apply_all(TABLE["linalg_eig_parts"], (a,))]


@linalg_function()
def eig(A: Tensor) -> return_types.linalg_eig:
    """Return eigenvalues and eigenvectors of a square matrix, or of each of a batch: complex numbers.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n).

    Returns
    -------
    eigenvalues : Tensor
        In no order.
    eigenvectors : Tensor
        As columns of length 1. They are determined up to their phases: so should be what is differentiated.
        Where eigenvalues are equal they have no derivative.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.eig(tg.tensor([[0.0, 1.0], [-1.0, 0.0]])).eigenvalues.imag.abs().round()
    tensor([1., 1.])
    """
    parts = _general_parts("linalg.eig", A)
    return return_types.linalg_eig(
        *[record.apply(TABLE[f"linalg_eig_{name}"], parts) for name in ("values", "vectors")]
    )


@linalg_function()
def eigvals(A: Tensor) -> Tensor:
    """Return the eigenvalues of square matrices: complex numbers, in no order.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n).

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.eigvals(tg.tensor([[2.0, 1.0], [0.0, 2.0]])).real
    tensor([2., 2.])
    """
    return record.apply(TABLE["linalg_eig_values"], _general_parts("linalg.eigvals", A))


# --------------------------------------------------------------------------- singular values
def _check_driver(driver: str | None) -> None:
    if driver is not None:
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER "
            "backend."
        )


def singular_factors(name: str, a: Any, *, full: bool) -> tuple[Any, Any, Any]:
    """Return left singular vectors, singular values, and right singular vectors as rows."""
    check_floating_matrix(name, a)
    parts = record.apply_all(TABLE["linalg_svd_parts"], (a,), full=full)
    return tuple(
        record.apply(TABLE[f"linalg_svd_{part}"], (a, *parts), full=full)
        for part in ("u", "s", "vh")
    )


def singular_values(name: str, a: Any) -> Any:
    """Return singular values, descending."""
    if record.is_active(a):  # the derivative needs the vectors
        return singular_factors(name, a, full=False)[1]
    check_floating_matrix(name, a)
    return record.apply(TABLE["linalg_svdvals"], (a,))


@linalg_function()
def svd(
    A: Tensor, full_matrices: bool = True, *, driver: str | None = None
) -> return_types.linalg_svd:
    """Return the singular value decomposition, ``A = U diag(S) Vh``.

    Parameters
    ----------
    A : Tensor
        Of shape (..., m, n).
    full_matrices : bool
        As many singular vectors as rows, and columns, rather than ``min(m, n)``. Those beyond it have no
        derivative, and pass none.
    driver : None
        There is one.

    Returns
    -------
    U : Tensor
        Left singular vectors as columns.
    S : Tensor
        Singular values, descending.
    Vh : Tensor
        Right singular vectors as rows. Vectors are determined up to signs (of pairs): so should be what is
        differentiated. Where values are equal, or zero in a matrix that is not square, vectors have no
        derivative: it is infinite or NaN.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.svd(tg.tensor([[0.0, 2.0], [3.0, 0.0]])).S.round()
    tensor([3., 2.])
    """
    _check_driver(driver)
    return return_types.linalg_svd(*singular_factors("linalg.svd", A, full=bool(full_matrices)))


@linalg_function()
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """Return the singular values of matrices, descending.

    Parameters
    ----------
    A : Tensor
        Of shape (..., m, n).
    driver : None
        There is one.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.svdvals(tg.tensor([[0.0, 2.0], [3.0, 0.0]])).round()
    tensor([3., 2.])
    """
    _check_driver(driver)
    return singular_values("linalg.svd", A)


@declared(name="svd")
def top_svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> return_types.svd:
    """Return the singular value decomposition with PyTorch's older arguments: `linalg.svd`.

    Parameters
    ----------
    input : Tensor
    some : bool
        As many vectors as there are values.
    compute_uv : bool
        Zeros in the place of the vectors if not.

    Returns
    -------
    U, S, V : Tensor
        Singular vectors as columns, both of them.
    """
    if compute_uv:
        u, s, vh = singular_factors("linalg.svd", input, full=not some)
        return return_types.svd(u, s, adjoint_of(vh))
    check_matrix("linalg.svd", input)
    batch, (m, n) = tuple(layout_of(input).shape[:-2]), rows_and_columns(input)
    zeros = FUNCTIONS["zeros"]
    s = singular_values("linalg.svd", input)
    return return_types.svd(
        zeros((*batch, m, m), dtype=input.dtype), s, zeros((*batch, n, n), dtype=input.dtype)
    )
