"""Products of many matrices, powers and exponentials; diagonals, and matrices of powers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ...base.dtypes import int64
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_int, tensor_list
from ..registry import FUNCTIONS, declared, public
from ..signature import Tensor, Tensors
from .checks import check_floating_matrix, linalg_function

__all__: list[str] = []


@linalg_function()
def matrix_power(A: Tensor, n: int) -> Tensor:
    """Return the product of a square matrix with itself, `n` times; of its inverse if `n` is negative.

    Parameters
    ----------
    A : Tensor
        Of shape (..., m, m).
    n : int

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.matrix_power(tg.tensor([[1.0, 1.0], [0.0, 1.0]]), 3)
    tensor([[1., 3.],
            [0., 1.]])
    """
    return FUNCTIONS["matrix_power"](A, n)


def _function(name: str, a: Any) -> Any:
    """Return a function of matrices; of complex ones, by the real matrices of their parts."""
    check_floating_matrix(f"linalg.{name}", a, square=True)
    entry = TABLE[f"linalg_{name}"]
    if not a.dtype.is_complex:
        return record.apply(entry, (a,))
    cat, n = FUNCTIONS["cat"], layout_of(a).shape[-1]
    rows = cat((a.real, -a.imag), -1), cat((a.imag, a.real), -1)
    whole = record.apply(entry, (cat(rows, -2),))
    first = whole.narrow(-1, 0, n)
    return FUNCTIONS["complex"](first.narrow(-2, 0, n), first.narrow(-2, n, n))


def _exponential(a: Any) -> Any:
    return _function("matrix_exp", a)


@linalg_function()
def matrix_exp(A: Tensor) -> Tensor:
    """Return the exponential of a square matrix, or of each of a batch.

    Parameters
    ----------
    A : Tensor
        Of shape (..., n, n).

    Returns
    -------
    Tensor

    Notes
    -----
    By scaling and squaring with the Pade approximant of order 13 (Higham 2005).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.matrix_exp(tg.tensor([[0.0, 1.0], [0.0, 0.0]])).round()
    tensor([[1., 1.],
            [0., 1.]])
    """
    return _exponential(A)


@declared(name="matrix_exp")
def top_matrix_exp(input: Tensor) -> Tensor:
    """Return exponentials of matrices: `linalg.matrix_exp`."""
    return _exponential(input)


@linalg_function()
def logm(A: Tensor) -> Tensor:
    """Return the principal logarithm of a square matrix, or of each of a batch.

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
        Where the result is asked for, if an eigenvalue is zero or a negative number: then there is none of
        real numbers.

    Examples
    --------
    >>> import tapegrad as tg
    >>> A = tg.tensor([[2.0, 1.0], [0.0, 1.0]])
    >>> tg.allclose(tg.linalg.matrix_exp(tg.linalg.logm(A)), A)
    True
    """
    return _function("logm", A)


@linalg_function()
def sqrtm(A: Tensor) -> Tensor:
    """Return the principal square root of a square matrix, or of each of a batch.

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
        Where the result is asked for, if an eigenvalue is zero or a negative number.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.sqrtm(tg.tensor([[4.0, 0.0], [0.0, 9.0]])).round()
    tensor([[2., 0.],
            [0., 3.]])
    """
    return _function("sqrtm", A)


# --------------------------------------------------------------------------- products
def _best_order(lengths: Sequence[int]) -> dict[tuple[int, int], int]:
    """Return where the last product splits each range of matrices, for the fewest multiplications."""
    count = len(lengths) - 1
    costs = {(i, i): 0 for i in range(count)}
    splits: dict[tuple[int, int], int] = {}
    for width in range(1, count):
        for i in range(count - width):
            j = i + width
            costs[i, j], splits[i, j] = min(
                (costs[i, k] + costs[k + 1, j] + lengths[i] * lengths[k + 1] * lengths[j + 1], k)
                for k in range(i, j)
            )
    return splits


@linalg_function()
def multi_dot(tensors: Tensors) -> Tensor:
    """Multiply several matrices, in the order that takes fewest multiplications.

    Parameters
    ----------
    tensors : sequence of Tensor
        Two or more matrices; the first and the last may be vectors.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.multi_dot([tg.ones(2, 3), tg.ones(3, 4), tg.ones(4)])
    tensor([12., 12.])
    """
    matrices = tensor_list(tensors)
    count = len(matrices)
    if count < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {count}")
    for i, x in enumerate(matrices):
        ndim = layout_of(x).ndim
        if not (ndim == 2 or (ndim == 1 and i in (0, count - 1))):
            place = "first" if i == 0 else "last" if i == count - 1 else ""
            words = f"the {place} tensor must be 1D or 2D" if place else f"tensor {i} must be 2D"
            raise RuntimeError(f"multi_dot(): {words} but got {ndim}D")
    row, column = layout_of(matrices[0]).ndim == 1, layout_of(matrices[-1]).ndim == 1
    if row:
        matrices[0] = matrices[0].unsqueeze(0)
    if column:
        matrices[-1] = matrices[-1].unsqueeze(-1)
    for i, (x, y) in enumerate(pairwise(matrices)):
        if layout_of(x).shape[1] != layout_of(y).shape[0]:
            shapes = f"{list(x.shape)} and {list(y.shape)}"
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {shapes} cannot be multiplied"
            )
    lengths = [layout_of(matrices[0]).shape[0], *(layout_of(x).shape[1] for x in matrices)]
    splits = _best_order(lengths)

    def product(i: int, j: int) -> Any:
        if i == j:
            return matrices[i]
        k = splits[i, j]
        return product(i, k) @ product(k + 1, j)

    result = product(0, count - 1)
    if row:
        result = result.squeeze(0)
    return result.squeeze(-1) if column else result


@public()
def chain_matmul(*matrices: Tensor) -> Tensor:
    """Multiply several matrices: `linalg.multi_dot`."""
    return FUNCTIONS["linalg_multi_dot"](list(matrices))


@linalg_function()
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Return the sums of products along a dimension.

    Parameters
    ----------
    x, y : Tensor
        Of one dtype; they broadcast.
    dim : int

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.vecdot(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """
    return (x.conj() * y).sum(dim)


@linalg_function()
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Multiply matrices, vectors, and batches of matrices: the operator ``@``.

    Parameters
    ----------
    input, other : Tensor

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.matmul(tg.eye(2), tg.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    return FUNCTIONS["matmul"](input, other)


@linalg_function()
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """Return cross products of vectors with three elements.

    Parameters
    ----------
    input, other : Tensor
        Of as many dimensions; they broadcast.
    dim : int
        Along which vectors lie.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.cross(tg.tensor([1.0, 0.0, 0.0]), tg.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    if layout_of(input).ndim != layout_of(other).ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    return FUNCTIONS["cross"](*FUNCTIONS["broadcast_tensors"](input, other), dim=dim)


# --------------------------------------------------------------------------- matrices
@linalg_function()
def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Return diagonals of matrices, as a view.

    Parameters
    ----------
    A : Tensor
    offset : int
        Which diagonal: above the main one if positive.
    dim1, dim2 : int
        The dimensions that make matrices.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.diagonal(tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 4.])
    """
    return FUNCTIONS["diagonal"](A, offset, dim1, dim2)


def powers(x: Any, count: int, *, increasing: bool) -> Any:
    """Return a matrix of powers, from 0 to ``count - 1``."""
    exponents = FUNCTIONS["arange"](count, dtype=int64)
    if not increasing:
        exponents = FUNCTIONS["flip"](exponents, (0,))
    return x.unsqueeze(-1) ** exponents


@linalg_function()
def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """Return Vandermonde matrices: powers 0, 1, 2 ... of the elements, in the last dimension.

    Parameters
    ----------
    x : Tensor
        Of shape (..., n).
    N : int, optional
        How many powers; `n` if not given.

    Returns
    -------
    Tensor
        Of shape (..., n, N).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.vander(tg.tensor([2.0, 3.0]), N=3)
    tensor([[1., 2., 4.],
            [1., 3., 9.]])
    """
    shape = layout_of(x).shape
    count = (shape[-1] if shape else 1) if N is None else as_int("linalg_vander", "N", 1, N)
    if count <= 1:
        raise RuntimeError("N must be greater than 1.")
    return powers(x, count, increasing=True)
