"""The standard's `linalg`, over the functions that tapegrad.numpy has for NumPy's."""

from __future__ import annotations

from typing import Any

from ..numpy import matrices, products
from ..numpy.matrices import diagonal, matrix_norm, svdvals, vector_norm
from ..numpy.operands import function, promoted
from .data_types import numpy_kind
from .manipulation import matrix_transpose

__all__ = [
    "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm",
    "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd",
    "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip


def cholesky(x: Any, /, *, upper: Any = False) -> Any:
    """Return Cholesky factors."""
    return matrices.cholesky(x, upper=upper)


def det(x: Any, /) -> Any:
    """Return determinants."""
    return matrices.det(x)


def eigh(x: Any, /) -> Any:
    """Return eigenvalues and eigenvectors of symmetric matrices, named."""
    return matrices.eigh(x)


def eigvalsh(x: Any, /) -> Any:
    """Return eigenvalues of symmetric matrices."""
    return matrices.eigvalsh(x)


def inv(x: Any, /) -> Any:
    """Return inverses."""
    return matrices.inv(x)


def slogdet(x: Any, /) -> Any:
    """Return signs and logarithms of determinants, named."""
    return matrices.slogdet(x)


def solve(x1: Any, x2: Any, /) -> Any:
    """Solve linear systems; only an `x2` of one dimension is a vector."""
    return matrices.solve(x1, x2)


def matmul(x1: Any, x2: Any, /) -> Any:
    """Multiply matrices."""
    return function("matmul")(*promoted("matmul", x1, x2))


def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    """Return sums of products over some dimensions."""
    return products.tensordot(x1, x2, axes)


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Return sums of products, the first factors conjugated."""
    return matrices.vecdot(x1, x2, axis=axis)


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Return cross products of vectors of three elements."""
    return products.cross(x1, x2, axis=axis)


def outer(x1: Any, x2: Any, /) -> Any:
    """Return the products of all pairs of two vectors."""
    return function("outer")(*promoted("outer", x1, x2))


def matrix_power(x: Any, n: int, /) -> Any:
    """Return powers of matrices."""
    return matrices.matrix_power(x, n)


def matrix_rank(x: Any, /, *, rtol: Any = None) -> Any:
    """Return ranks of matrices."""
    return matrices.matrix_rank(x, rtol=rtol)


def pinv(x: Any, /, *, rtol: Any = None) -> Any:
    """Return pseudoinverses."""
    return matrices.pinv(x, rtol=rtol)


def qr(x: Any, /, *, mode: Any = "reduced") -> Any:
    """Return QR factors, named."""
    return matrices.qr(x, mode)


def svd(x: Any, /, *, full_matrices: Any = True) -> Any:
    """Return singular value decompositions, named."""
    return matrices.svd(x, full_matrices)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """Return sums of diagonals."""
    return matrices.trace(x, offset=offset, dtype=numpy_kind(dtype))
