"""Distances of the rows of matrices, and the cross product."""

from __future__ import annotations

import warnings
from typing import Any

from ...base.dtypes import bool_, scalar_name
from ...ops.layout import broadcast_shapes
from ...ops.table import TABLE
from ...tape import recording as record
from ..arguments import as_int, as_tensors, float_of, wrap_dim
from ..operands import no_kernel
from ..registry import declared, public
from ..shape.diagonals import triu_indices
from ..signature import Tensor
from .matmul import check_same_scalar

__all__ = ["cdist", "cross", "pdist"]

_MODES = (
    "use_mm_for_euclid_dist_if_necessary",
    "use_mm_for_euclid_dist",
    "donot_use_mm_for_euclid_dist",
)


def _norm_order(name: str, p: Any, position: int) -> float:
    order = float_of(name, "p", position, p, "float")
    if not order >= 0:
        raise RuntimeError(f"{name} only supports non-negative p values")
    return order


def _norm(difference: Any, order: float) -> Any:
    """Return the norm along the last dimension, 0 where that is empty."""
    if not difference.shape[-1]:
        return difference.sum(-1)
    return record.apply(
        TABLE["norm"], (difference,), p=order, dim=(difference.ndim - 1,), keepdim=False
    )


@public()
def cdist(
    x1: Any,
    x2: Any,
    p: float = 2.0,
    compute_mode: str = "use_mm_for_euclid_dist_if_necessary",
) -> Tensor:
    """Distances of all rows of a matrix from all rows of another one, or of batches of matrices.

    Parameters
    ----------
    x1 : Tensor
        Of shape (..., n, k).
    x2 : Tensor
        Of shape (..., m, k).
    p : float
        Of the norm: 2 for Euclidean distances, 0 for the number of elements that differ, ``inf`` for the
        largest difference.
    compute_mode : str
        PyTorch's way to compute Euclidean distances by a product of matrices, which loses digits where rows
        are near to each other: accepted, and not used.

    Returns
    -------
    Tensor
        Of shape (..., n, m). Where rows are equal its derivative is 0; where several elements are the
        largest for ``inf`` they share the derivative.

    Raises
    ------
    RuntimeError, ValueError
        PyTorch's errors, with its texts.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cdist(tg.tensor([[0.0, 0.0]]), tg.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])
    """
    x1, x2 = as_tensors("cdist", (x1, x2))
    if not isinstance(compute_mode, str) or compute_mode not in _MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    for name, x in (("X1", x1), ("X2", x2)):
        if not x.dtype.is_floating_point:
            raise RuntimeError(
                f"cdist only supports floating-point dtypes, {name} got: {scalar_name(x.dtype)}"
            )
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}"
        )
    order = _norm_order("cdist", p, 3)
    check_same_scalar(x1, x2)
    broadcast_shapes(x1.shape[:-2], x2.shape[:-2])  # raises where they do not
    return _norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), order)


@declared(method=False)
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """Distances of each row of a matrix from the rows behind it.

    Parameters
    ----------
    input : Tensor
        Of shape (n, k).
    p : float
        As for `cdist`.

    Returns
    -------
    Tensor
        Of shape (n (n - 1) / 2,): the upper triangle of ``cdist(input, input)``, by rows.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.pdist(tg.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    tensor([5.0000, 1.0000, 4.2426])
    """
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if not input.dtype.is_floating_point:
        raise RuntimeError("pdist only supports floating-point dtypes")
    order = _norm_order("pdist", p, 2)
    rows, others = triu_indices(input.shape[0], input.shape[0], 1)
    return _norm(input.index_select(0, rows) - input.index_select(0, others), order)


@declared()
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """Cross product of vectors of three elements, which lie along a dimension.

    Parameters
    ----------
    input, other : Tensor
        They broadcast.
    dim : int, optional
        The first dimension of length 3 if not given, with PyTorch's warning.

    Raises
    ------
    RuntimeError
        If there are not three elements.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cross(tg.tensor([1.0, 0.0, 0.0]), tg.tensor([0.0, 1.0, 0.0]), dim=0)
    tensor([0., 0., 1.])
    """
    if dim is None:
        warnings.warn(
            "Using torch.cross without specifying the dim arg is deprecated.\nPlease either pass the dim "
            "explicitly or simply use torch.linalg.cross.\nThe default value of dim will change to agree "
            "with that of linalg.cross in a future release.",
            stacklevel=3,
        )
        if 3 not in input.shape:
            raise RuntimeError("no dimension of size 3 in input")
        dim = input.shape.index(3)
    dim = as_int("cross", "dim", 3, dim)
    if input.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    d = wrap_dim(dim, input.ndim)
    if not input.ndim or input.shape[d] != 3 or other.shape[d] != 3:
        sizes = " and ".join(str(x.shape[d]) if x.ndim else "1" for x in (input, other))
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {sizes}")
    check_same_scalar(input, other)
    if input.dtype is bool_:
        raise no_kernel("cross", bool_)
    return input.roll(-1, d) * other.roll(-2, d) - input.roll(-2, d) * other.roll(-1, d)
