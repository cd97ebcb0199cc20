"""Linear systems and inverses, with PyTorch's arguments."""

from __future__ import annotations

import math
from typing import Any

from ...ops.layout import broadcast_shapes
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_int, as_ints
from ..maths import return_types
from ..registry import FUNCTIONS, declared
from ..signature import Dims, Tensor
from .checks import (
    check_floating_matrix,
    check_matrix,
    check_one_dtype,
    failures_of,
    linalg_function,
    rows_and_columns,
)  # fmt: skip

__all__ = ["inverse_of", "solution", "triangular_solution"]


# --------------------------------------------------------------------------- solve
def _check_system(name: str, a: Any, b: Any, *, left: bool) -> None:
    """Raise unless matrices fit into ``AX = B``, or ``XA = B``."""
    n = layout_of(a).shape[-1]
    rows, columns = rows_and_columns(b)
    if (rows if left else columns) != n:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation {'AX = B' if left else 'XA = B'} "
            f"({n}x{n} and {rows}x{columns})"
        )
    broadcast_shapes(layout_of(a).shape[:-2], layout_of(b).shape[:-2])


def _prepared(name: str, a: Any, b: Any, *, left: bool) -> tuple[Any, Any, bool]:
    """Check a system; return it with the unknown on the right, and whether `b` is vectors."""
    check_floating_matrix(name, a, square=True)
    check_one_dtype(name, a, b)
    x, y = layout_of(a), layout_of(b)
    if y.ndim == 1 or (y.ndim == x.ndim - 1 and tuple(y.shape) == tuple(x.shape[:-1])):
        if not left:
            raise RuntimeError(
                f"{name}: Vector broadcasting of the left hand side is not supported for left=False. In "
                f"this case {name} is equivalent to B / A.squeeze(-1)"
            )
        _check_system(name, a, b.unsqueeze(-1), left=True)
        return a, b, True
    check_matrix(name, b, "B")
    _check_system(name, a, b, left=left)
    return (a, b, False) if left else (a.transpose(-1, -2), b.transpose(-1, -2), False)


def _solved(a: Any, b: Any, *, left: bool, quiet: bool) -> tuple[Any, int]:
    """Solve a linear system; dimensions of a right-hand side."""
    a, b, is_vector = _prepared("linalg.solve", a, b, left=left)
    if layout_of(a).dtype.is_complex:
        x = record.apply(TABLE["linalg_solve_complex"], (a, b), vector=is_vector, quiet=quiet)
        return (x if left else x.transpose(-1, -2)), 1 if is_vector else 2
    factors = record.apply_all(TABLE["linalg_lu_parts"], (a,))
    attrs = {"vector": is_vector, "adjoint": False, "quiet": quiet}
    x = record.apply(TABLE["linalg_solve"], (a, b, *factors), **attrs)
    return (x if left else x.transpose(-1, -2)), 1 if is_vector else 2


def solution(a: Any, b: Any, *, left: bool = True) -> Any:
    """Solve a linear system."""
    return _solved(a, b, left=left, quiet=False)[0]


@linalg_function()
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """Solve the linear system ``A X = B``.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n).
    B : Tensor
        Of shape (..., n, k), and the same dtype; or vectors, of shape (n,) or (..., n). Batches broadcast.
    left : bool
        Whether to solve ``A X = B`` or, with ``left=False``, ``X A = B``.

    Returns
    -------
    Tensor

    Raises
    ------
    RuntimeError
        If shapes or dtypes do not fit.
    LinAlgError
        Where the result is asked for, if a matrix is singular.

    Examples
    --------
    >>> import tapegrad as tg
    >>> A = tg.tensor([[2.0, 0.0], [1.0, 4.0]], requires_grad=True)
    >>> x = tg.linalg.solve(A, tg.tensor([2.0, 9.0]))
    >>> x
    tensor([1., 2.], grad_fn=<LinalgSolveExBackward0>)
    >>> x.sum().backward()
    >>> A.grad
    tensor([[-0.3750, -0.7500],
            [-0.2500, -0.5000]])
    """
    return solution(A, B, left=left)


@linalg_function()
def solve_ex(
    A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False
) -> return_types.linalg_solve_ex:
    """Solve a linear system without an error for a singular matrix.

    Parameters
    ----------
    A, B, left
        As for `solve`.
    check_errors : bool
        Raise, as `solve` does.

    Returns
    -------
    result : Tensor
        NaN for a singular matrix.
    info : Tensor
        Of dtype int64: 0 where there is a result, 1 where the matrix is singular.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.solve_ex(tg.eye(2), tg.ones(2)).info
    tensor(0)
    """
    x, core = _solved(A, B, left=left, quiet=not check_errors)
    return return_types.linalg_solve_ex(x, failures_of(x, core))


@linalg_function()
def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """Solve ``A X = B`` for triangular matrices.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n); only one triangle is looked at.
    B : Tensor
        Of shape (..., n, k), and the same dtype. Batches broadcast.
    upper : bool
        Which triangle it is.
    left : bool
        Whether to solve ``A X = B`` or ``X A = B``.
    unitriangular : bool
        Whether the diagonal counts as ones.

    Returns
    -------
    Tensor

    Raises
    ------
    RuntimeError
        If shapes or dtypes do not fit.
    LinAlgError
        Where the result is asked for, if there is a zero on the diagonal. (PyTorch gives infinities.)

    Examples
    --------
    >>> import tapegrad as tg
    >>> A = tg.tensor([[2.0, 0.0], [1.0, 4.0]])
    >>> tg.linalg.solve_triangular(A, tg.tensor([[2.0], [9.0]]), upper=False)
    tensor([[1.],
            [2.]])
    """
    return triangular_solution("linalg.solve_triangular", A, B, upper, left, unitriangular)


def triangular_solution(
    name: str, a: Any, b: Any, upper: bool, left: bool, unitriangular: bool
) -> Any:
    """Solve a triangular system."""
    check_floating_matrix(name, a, square=True)
    check_one_dtype(name, a, b)
    check_matrix(name, b, "B")
    _check_system(name, a, b, left=left)
    entry = TABLE["linalg_solve_triangular"]
    if left:
        return record.apply(entry, (a, b), upper=bool(upper), unitriangular=bool(unitriangular))
    turned = a.transpose(-1, -2), b.transpose(-1, -2)
    x = record.apply(entry, turned, upper=not upper, unitriangular=bool(unitriangular))
    return x.transpose(-1, -2)


@declared()
def triangular_solve(
    input: Tensor,
    A: Tensor,
    upper: bool = True,
    transpose: bool = False,
    unitriangular: bool = False,
) -> return_types.triangular_solve:
    """Solve ``A X = input`` for triangular matrices; `linalg.solve_triangular` PyTorch's older way.

    Parameters
    ----------
    input : Tensor
        The right-hand side.
    A : Tensor
    upper : bool
        Which triangle of `A` is looked at.
    transpose : bool
        Solve with the transposed matrix.
    unitriangular : bool
        The diagonal counts as ones.

    Returns
    -------
    solution, cloned_coefficient : Tensor
    """
    a = A.transpose(-1, -2) if transpose else A
    x = triangular_solution("triangular_solve", a, input, upper != transpose, True, unitriangular)
    return return_types.triangular_solve(x, A.clone())


# --------------------------------------------------------------------------- inverses
def inverse_of(a: Any, *, quiet: bool = False) -> Any:
    """Invert matrices."""
    check_floating_matrix("linalg.inv", a, square=True)
    return record.apply(TABLE["linalg_inv"], (a,), quiet=quiet)


@linalg_function()
def inv(A: Tensor) -> Tensor:
    """Invert a matrix, or each of a batch.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n).

    Returns
    -------
    Tensor

    Raises
    ------
    RuntimeError
        If matrices are not square, or not of a floating dtype.
    LinAlgError
        Where the result is asked for, if a matrix is singular.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.inv(tg.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    return inverse_of(A)


@linalg_function()
def inv_ex(A: Tensor, *, check_errors: bool = False) -> return_types.linalg_inv_ex:
    """Invert matrices without an error for a singular one.

    Parameters
    ----------
    A : Tensor
    check_errors : bool
        Raise, as `inv` does.

    Returns
    -------
    inverse : Tensor
        NaN for a singular matrix.
    info : Tensor
        Of dtype int64: 0 where there is an inverse, else 1.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.inv_ex(tg.zeros(2, 2)).info
    tensor(1)
    """
    value = inverse_of(A, quiet=not check_errors)
    return return_types.linalg_inv_ex(value, failures_of(value))


@declared()
def inverse(input: Tensor) -> Tensor:
    """Invert a matrix, or each of a batch: `linalg.inv`."""
    return inverse_of(input)


# --------------------------------------------------------------------------- tensors as matrices
@linalg_function()
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """Return the inverse of `tensordot` with a tensor.

    Parameters
    ----------
    A : Tensor
        Whose first `ind` dimensions have as many elements as the others.
    ind : int

    Returns
    -------
    Tensor
        Of shape ``A.shape[ind:] + A.shape[:ind]``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.tensorinv(tg.eye(4).reshape(2, 2, 4)).shape
    torch.Size([4, 2, 2])
    """
    count = as_int("linalg_tensorinv", "ind", 2, ind)
    if count <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    shape = tuple(layout_of(A).shape)
    n, m = math.prod(shape[count:]), math.prod(shape[:count])
    if n != m:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but "
            f"got {n} != {m}"
        )
    return inverse_of(A.reshape((m, n))).reshape((*shape[count:], *shape[:count]))


@linalg_function()
def tensorsolve(A: Tensor, B: Tensor, dims: Dims | None = None) -> Tensor:
    """Solve ``tensordot(A, X, X.ndim) = B``.

    Parameters
    ----------
    A : Tensor
    B : Tensor
        Of the shape of the first dimensions of `A`.
    dims : tuple of int, optional
        Dimensions of `A` to move to its end first.

    Returns
    -------
    Tensor
        Of the shape of the other dimensions of `A`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.tensorsolve(tg.eye(4).reshape(2, 2, 4), tg.ones(2, 2))
    tensor([1., 1., 1., 1.])
    """
    if dims is not None:
        places = as_ints(dims)
        count = len(places)
        A = FUNCTIONS["movedim"](A, places, tuple(range(-count, 0)))
    shape = tuple(layout_of(A).shape)
    rest = shape[layout_of(B).ndim :]
    n, m = math.prod(rest), math.prod(shape[: layout_of(B).ndim])
    if n != m:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {n} != {m}"
        )
    return solution(A.reshape((m, n)), B.reshape(-1)).reshape(rest)
