"""LU factors, with PyTorch's arguments."""

from __future__ import annotations

from typing import Any

from ...base.dtypes import int64
from ...base.errors import UnsupportedError
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
    check_one_dtype,
    linalg_function,
    rows_and_columns,
)
from .systems import triangular_solution

__all__: list[str] = []


def _factored(name: str, a: Any) -> tuple[Any, Any]:
    """Factors in one matrix, and for each row the number of that which it was swapped with."""
    check_floating_matrix(name, a)
    rows, columns = rows_and_columns(a)
    if rows != columns or a.dtype.is_complex:
        raise UnsupportedError(
            f"{name}: LU factors are there for square matrices of real numbers, and not for {rows} by "
            f"{columns} matrices of dtype {a.dtype}; linalg.qr factors any"
        )
    parts = record.apply_all(TABLE["linalg_lu_parts"], (a,))
    return record.apply(TABLE["linalg_lu_factor"], (a, *parts)), parts[1]


def _check_pivot(name: str, pivot: bool) -> None:
    if not pivot:
        raise RuntimeError(f"{name}: LU without pivoting is not implemented on the CPU")


@linalg_function()
def lu_factor(A: Tensor, *, pivot: bool = True) -> return_types.linalg_lu_factor:
    """Return LU factors of a square matrix, or of each of a batch, in one matrix.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n).
    pivot : bool
        Has to be true.

    Returns
    -------
    LU : Tensor
        The upper triangle, and below it the lower one, whose diagonal of ones is left out.
    pivots : Tensor
        Of dtype int64: for each row, counted from 1, that which it was swapped with.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.lu_factor(tg.tensor([[1.0, 3.0], [2.0, 4.0]]))
    torch.return_types.linalg_lu_factor(
    LU=tensor([[2.0000, 4.0000],
            [0.5000, 1.0000]]),
    pivots=tensor([2, 2]))
    """
    _check_pivot("linalg.lu_factor", pivot)
    factors, swaps = _factored("torch.linalg.lu_factor", A)
    return return_types.linalg_lu_factor(factors, swaps + 1)


@linalg_function()
def lu(A: Tensor, *, pivot: bool = True) -> return_types.linalg_lu:
    """Return LU factors of a square matrix, or of each of a batch: ``A = P L U``.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n).
    pivot : bool
        Has to be true.

    Returns
    -------
    P : Tensor
        A permutation.
    L, U : Tensor
        Triangles; the lower one has ones on its diagonal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.lu(tg.tensor([[1.0, 3.0], [2.0, 4.0]])).U
    tensor([[2., 4.],
            [0., 1.]])
    """
    _check_pivot("linalg.lu_factor", pivot)
    factors, swaps = _factored("linalg.lu", A)
    return return_types.linalg_lu(*_unpacked(factors, swaps))


def _unpacked(factors: Any, swaps: Any) -> tuple[Any, Any, Any]:
    one = FUNCTIONS["eye"](layout_of(factors).shape[-1], dtype=factors.dtype)
    p = record.apply(TABLE["linalg_permuted"], (one, swaps), back=True)
    return p, factors.tril(-1) + one, factors.triu()


def _solution(
    name: str, factors: Any, pivots: Any, b: Any, *, left: bool = True, adjoint: bool = False
) -> Any:
    check_floating_matrix(name, factors, "LU", square=True)
    check_one_dtype(name, factors, b, ("LU", "B"))
    check_matrix(name, b, "B")
    if layout_of(pivots).dtype is not int64:
        raise RuntimeError(f"{name}: pivots should be a Tensor of int64, as lu_factor returns")
    n = layout_of(factors).shape[-1]
    if tuple(layout_of(pivots).shape) != tuple(layout_of(factors).shape[:-1]):
        raise RuntimeError(
            f"{name}: Number of pivots per batch should be same as the dimension of the matrix"
        )
    swaps = pivots - 1
    if not left:  # the adjoint system
        b, adjoint = adjoint_of(b), not adjoint
    if rows_and_columns(b)[0] != n:
        rows, columns = rows_and_columns(b)
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation AX = B ({n}x{n} and {rows}x{columns})"
        )
    if adjoint:
        turned = adjoint_of(factors)
        x = triangular_solution(name, turned, b, False, True, False)
        x = triangular_solution(name, turned, x, True, True, True)
        x = record.apply(TABLE["linalg_permuted"], (x, swaps), back=True)
    else:
        x = record.apply(TABLE["linalg_permuted"], (b, swaps), back=False)
        x = triangular_solution(name, factors, x, False, True, True)
        x = triangular_solution(name, factors, x, True, True, False)
    return x if left else adjoint_of(x)


@linalg_function()
def lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    """Solve ``A X = B`` by the factors that `lu_factor` has returned for ``A``.

    Parameters
    ----------
    LU, pivots : Tensor
        What `lu_factor` has returned.
    B : Tensor
        Of shape (..., n, k).
    left : bool
        Whether to solve ``A X = B`` or ``X A = B``.
    adjoint : bool
        Solve with the adjoint matrix.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> factors = tg.linalg.lu_factor(tg.tensor([[2.0, 0.0], [1.0, 4.0]]))
    >>> tg.linalg.lu_solve(*factors, tg.tensor([[2.0], [9.0]]))
    tensor([[1.],
            [2.]])
    """
    return _solution("linalg.lu_solve", LU, pivots, B, left=left, adjoint=adjoint)


@declared(name="lu_solve")
def top_lu_solve(input: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """Solve by LU factors: `linalg.lu_solve`."""
    return _solution("torch.lu_solve", LU_data, LU_pivots, input)
