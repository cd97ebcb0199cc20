"""Norms of vectors and matrices, of every order."""

from __future__ import annotations

import math
from typing import Any

from ...base.dtypes import as_dtype
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_ints, wrap_dim
from ..maths.moments import vector_norm_of
from ..registry import FUNCTIONS
from ..signature import Dims, Dtype, Ints, Number, Tensor
from .checks import check_floating, check_matrix, linalg_function
from .factors import singular_values

__all__ = ["norm_of"]


@linalg_function()
def vector_norm(
    x: Tensor, ord: Number = 2, dim: Dims | None = None, keepdim: bool = False, *,
    dtype: Dtype | None = None,
) -> Tensor:  # fmt: skip
    """Return the norm of vectors.

    Parameters
    ----------
    x : Tensor
    ord : number
        ``inf`` and ``-inf`` are the largest and the smallest absolute value, 0 counts elements that are not
        zero, any other is the ``ord``-th root of the sum of ``abs(x)**ord``.
    dim : int or tuple of int, optional
        Along which dimensions; all if not given.
    keepdim : bool
        Keep them, with length 1.
    dtype : dtype, optional
        Convert first.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.vector_norm(tg.tensor([3.0, -4.0])), tg.linalg.vector_norm(tg.tensor([3.0, -4.0]), 1)
    (tensor(5.), tensor(7.))
    """
    if dtype is not None:
        x = record.cast(x, as_dtype(dtype))
    check_floating("linalg.vector_norm", x)
    return vector_norm_of(x, ord, dim, keepdim)


def norm_of(a: Any, order: Any, dims: tuple[int, ...] = (-2, -1), *, keepdim: bool = False) -> Any:
    """Return norms of matrices in two dimensions."""
    check_matrix("linalg.matrix_norm", a)
    check_floating("linalg.matrix_norm", a)
    if len(dims) != 2:
        raise RuntimeError(
            "linalg.matrix_norm: dim must be a 2-tuple. Got " + " ".join(map(str, dims))
        )
    ndim = layout_of(a).ndim
    row, column = (wrap_dim(d, ndim) for d in dims)
    if row == column:
        raise RuntimeError(
            f"linalg.matrix_norm: dims must be different. Got ({dims[0]}, {dims[1]})"
        )
    if order == "fro":
        return vector_norm_of(a, 2, (row, column), keepdim)
    size = abs(float(order)) if not isinstance(order, str) else order
    if size == "nuc" or size == 2:
        s = singular_values("linalg.matrix_norm", FUNCTIONS["movedim"](a, (row, column), (-2, -1)))
        result = s.sum(-1) if size == "nuc" else s.amax(-1) if order > 0 else s.amin(-1)
        return _kept(result, row, column) if keepdim else result
    if size not in (1, math.inf):
        word = order if isinstance(order, str) else f"{float(order):g}"
        raise RuntimeError(f"linalg.matrix_norm: Order {word} not supported.")
    summed, searched = (row, column) if size == 1 else (column, row)
    sums = a.abs().sum(summed, True)
    result = sums.amax(searched, True) if order > 0 else sums.amin(searched, True)
    return result if keepdim else result.squeeze((row, column))


def _kept(x: Any, row: int, column: int) -> Any:
    for place in sorted((row, column)):
        x = x.unsqueeze(place)
    return x


@linalg_function(
    "(Number ord, Ints dim=(-2,-1), bool keepdim=False, *, Dtype? dtype=None)",
    "(str ord=fro, Ints dim=(-2,-1), bool keepdim=False, *, Dtype? dtype=None)",
)
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Ints = (-2, -1), keepdim: bool = False, *,
    dtype: Dtype | None = None,
) -> Tensor:  # fmt: skip
    """Return the norm of matrices.

    Parameters
    ----------
    A : Tensor
    ord : {'fro', 'nuc', inf, -inf, 1, -1, 2, -2}
        Frobenius's; the sum of the singular values; the largest (smallest) sum of absolute values in a row;
        or in a column; the largest (smallest) singular value.
    dim : tuple of int
        The two dimensions that make matrices.
    keepdim : bool
        Keep them, with length 1.
    dtype : dtype, optional
        Convert first.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.matrix_norm(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.inf)
    tensor(7.)
    """
    if dtype is not None:
        A = record.cast(A, as_dtype(dtype))
    return norm_of(A, ord, tuple(as_ints(dim)), keepdim=keepdim)


@linalg_function(
    "(Number? ord=None, Dims? dim=None, bool keepdim=False, *, Dtype? dtype=None)",
    "(str ord, Dims? dim=None, bool keepdim=False, *, Dtype? dtype=None)",
)
def norm(
    A: Tensor,
    ord: Any = None,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Dtype | None = None,
) -> Tensor:
    """Return the norm of vectors or matrices.

    Parameters
    ----------
    A : Tensor
    ord : number or str, optional
        As for `vector_norm` or `matrix_norm`; without it, the 2-norm of all elements.
    dim : int or tuple of int, optional
        One dimension makes vectors, two make matrices. Without it, the tensor is a vector or a matrix (or,
        without `ord`, anything).
    keepdim : bool
        Keep these dimensions, with length 1.
    dtype : dtype, optional
        Convert first.

    Returns
    -------
    Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> A = tg.tensor([[3.0, 0.0], [0.0, 4.0]])
    >>> tg.linalg.norm(A), tg.linalg.norm(A, 2).round()
    (tensor(5.), tensor(4.))
    """
    if dtype is not None:
        A = record.cast(A, as_dtype(dtype))
    ndim = layout_of(A).ndim
    dims = None if dim is None else tuple(as_ints(dim))
    if ord is not None:
        if dims is None and ndim not in (1, 2):
            raise RuntimeError(
                "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                f"{ndim}D."
            )
        if dims is not None and len(dims) not in (1, 2):
            raise RuntimeError(
                f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}"
            )
        if len(dims) == 2 if dims is not None else ndim == 2:
            return norm_of(A, ord, (0, 1) if dims is None else dims, keepdim=keepdim)
        if isinstance(ord, str):
            return norm_of(A, ord, (0, 1) if dims is None else dims, keepdim=keepdim)
    check_floating("linalg.vector_norm", A)
    return vector_norm_of(A, 2 if ord is None else ord, dims, keepdim)
