"""`np.linalg` on matrices of active scalars: factors in loops, one statement for each scalar operation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba.extending import register_jitable

from ..compiled import value
from ..types import arrays_of, is_given
from .arrays import empty
from .functions import jitable, overload

__all__: list[str] = []


@jitable
def _square(a):  # type: ignore[no-untyped-def]
    if a.shape[0] != a.shape[1]:
        raise np.linalg.LinAlgError("Last 2 dimensions of the array must be square.")
    return a.shape[0]


@jitable
def _eliminate(lu, k):  # type: ignore[no-untyped-def]
    """One step of Gauss' elimination; the factors stay below the diagonal."""
    n = lu.shape[0]
    for i in range(k + 1, n):
        factor = lu[i, k] / lu[k, k]
        lu[i, k] = factor
        for j in range(k + 1, n):
            lu[i, j] = lu[i, j] - factor * lu[k, j]


@jitable
def _factored(a):  # type: ignore[no-untyped-def]
    """LU factors with partial pivoting (Golub and Van Loan, 3.4.1), and the order of rows."""
    n = _square(a)
    lu, order = a.copy(), np.arange(n)
    for k in range(n):
        best = k
        for i in range(k + 1, n):
            if abs(value(lu[i, k])) > abs(value(lu[best, k])):
                best = i
        if value(lu[best, k]) == 0.0:
            raise np.linalg.LinAlgError("Matrix is singular to machine precision.")
        if best != k:
            order[k], order[best] = order[best], order[k]
            for j in range(n):
                lu[k, j], lu[best, j] = lu[best, j], lu[k, j]
        _eliminate(lu, k)
    return lu, order


@jitable
def _solved(lu, order, b):  # type: ignore[no-untyped-def]
    """The solution for each column of `b`."""
    n = lu.shape[0]
    out = empty((n, b.shape[1]))
    for c in range(b.shape[1]):
        for i in range(n):
            total = b[order[i], c] + 0.0
            for j in range(i):
                total = total - lu[i, j] * out[j, c]
            out[i, c] = total
        for i in range(n - 1, -1, -1):
            total = out[i, c]
            for j in range(i + 1, n):
                total = total - lu[i, j] * out[j, c]
            out[i, c] = total / lu[i, i]
    return out


@jitable
def _solve(a, b):  # type: ignore[no-untyped-def]
    lu, order = _factored(a)
    if b.shape[0] != a.shape[0]:
        raise ValueError("np.linalg.solve: Incompatible dimensions of a and b")
    return _solved(lu, order, b)


@overload(np.linalg.solve)
def _ol_solve(a: Any, b: Any) -> Any:
    if not arrays_of(a, b, ndim=(1, 2)) or a.ndim != 2:
        return None
    if b.ndim == 1:
        return lambda a, b: _solve(a, b.reshape(b.size, 1)).reshape(b.size)
    return lambda a, b: _solve(a, b)


@register_jitable
def _identity(n):  # type: ignore[no-untyped-def]
    return np.eye(n)  # of plain numbers: nothing here is active


@overload(np.linalg.inv)
def _ol_inv(a: Any) -> Any:
    return (lambda a: _solve(a, _identity(a.shape[0]))) if arrays_of(a, ndim=(2,)) else None


@jitable
def _rest_of_det(lu, first):  # type: ignore[no-untyped-def]
    """The determinant of the rest from row and column `first` on, without a division.

    It is a polynomial, which has its derivatives where the matrix is 0 (R. Bird, A simple division-free
    algorithm for computing determinants, 2011).
    """
    n = lu.shape[0] - first
    block = lu[first:, first:]
    power = block.copy()
    for _ in range(n - 1):
        # The upper triangle; on the diagonal, minus the sum of the elements behind.
        total = 0.0
        for i in range(n - 1, -1, -1):
            diagonal = power[i, i]
            power[i, i] = -total
            total = total + diagonal
            for j in range(i):
                power[i, j] = 0.0
        power = power @ block
    return power[0, 0] if n % 2 else -power[0, 0]


@overload(np.linalg.det)
def _ol_det(a: Any) -> Any:
    if not arrays_of(a, ndim=(2,)):
        return None

    def det(a):  # type: ignore[no-untyped-def]
        # Rows and columns are exchanged: a pivot that is 0 (or rounding) comes last, and divides nothing.
        n = _square(a)
        lu, product, least = a.copy(), 1.0, 0.0
        for k in range(n):
            row, col = k, k
            for i in range(k, n):
                for j in range(k, n):
                    if abs(value(lu[i, j])) > abs(value(lu[row, col])):
                        row, col = i, j
            if k == 0:
                least = 4.0 * n * 2.0**-52 * abs(value(lu[row, col]))
            if abs(value(lu[row, col])) <= least and k < n - 1:
                return product * _rest_of_det(lu, k)
            if row != k:
                product = -product
                for j in range(n):
                    lu[k, j], lu[row, j] = lu[row, j], lu[k, j]
            if col != k:
                product = -product
                for i in range(n):
                    lu[i, k], lu[i, col] = lu[i, col], lu[i, k]
            product = product * lu[k, k]
            if k < n - 1:
                _eliminate(lu, k)
        return product

    return det


@overload(np.linalg.cholesky)
def _ol_cholesky(a: Any) -> Any:
    if not arrays_of(a, ndim=(2,)):
        return None

    def cholesky(a):  # type: ignore[no-untyped-def]
        n = _square(a)
        out = empty((n, n))
        out[...] = 0.0
        for j in range(n):
            total = a[j, j] + 0.0
            for k in range(j):
                total = total - out[j, k] * out[j, k]
            if not value(total) > 0.0:
                raise np.linalg.LinAlgError("Matrix is not positive definite.")
            out[j, j] = math.sqrt(total)
            for i in range(j + 1, n):
                total = a[i, j] + 0.0
                for k in range(j):
                    total = total - out[i, k] * out[j, k]
                out[i, j] = total / out[j, j]
        return out

    return cholesky


@jitable
def _length(x):  # type: ignore[no-untyped-def]
    total = np.sum(x * x)
    return math.sqrt(total) if total > 0.0 else 0.0 * total  # as PyTorch: slope 0 at 0


@overload(np.linalg.norm)
def _ol_norm(x: Any, ord: Any = None) -> Any:
    if not arrays_of(x, ndim=(1, 2)) or (is_given(ord) and x.ndim == 2):
        return None
    if not is_given(ord):
        return lambda x, ord=None: _length(x)

    def norm(x, ord=None):  # type: ignore[no-untyped-def]
        if ord == np.inf:
            return np.max(np.abs(x))
        if ord == -np.inf:
            return np.min(np.abs(x))
        if ord == 0:
            return 0.0 * np.sum(x) + np.sum(value(x) != 0.0)
        if ord == 1:
            return np.sum(np.abs(x))
        if ord == 2:
            return _length(x)
        return np.sum(np.abs(x) ** ord) ** (1.0 / ord)

    return norm
