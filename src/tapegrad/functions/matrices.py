"""Matrices and grids of vectors: triangles, diagonals, meshgrid."""

from __future__ import annotations

import operator
import warnings
from typing import Any

import numpy as np

from .. import record
from ..dtypes import int64
from ..ops.table import TABLE
from ..record import layout_of
from .arguments import wrap_dim
from .expanding import expand_to
from .joining import tensor_list
from .registry import public

__all__ = ["diag_embed", "meshgrid"]


def _triangle(name: str, input: Any, diagonal: int) -> Any:
    record.check_tensors(name, (input,))
    if layout_of(input).ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
    return record.apply(TABLE[name], (input,), diagonal=operator.index(diagonal))


@public(method=True)
def tril(input: Any, diagonal: int = 0) -> Any:
    """Return the lower triangles of matrices, zeros above the given diagonal."""
    return _triangle("tril", input, diagonal)


@public(method=True)
def triu(input: Any, diagonal: int = 0) -> Any:
    """Return the upper triangles of matrices, zeros below the given diagonal."""
    return _triangle("triu", input, diagonal)


@public()
def tril_indices(row: int, col: int, offset: int = 0) -> Any:
    """Return row and column indices of a lower triangle."""
    return record.leaf_tensor(np.array(np.tril_indices(row, offset, col), np.int64), int64)


@public()
def triu_indices(row: int, col: int, offset: int = 0) -> Any:
    """Return row and column indices of an upper triangle."""
    return record.leaf_tensor(np.array(np.triu_indices(row, offset, col), np.int64), int64)


@public(method=True)
def diag(input: Any, diagonal: int = 0) -> Any:
    """Return a diagonal of a matrix, or a matrix with a vector on a diagonal."""
    record.check_tensors("diag", (input,))
    ndim = layout_of(input).ndim
    if ndim == 1:
        return diag_embed(input, diagonal)
    if ndim != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {ndim}D")
    return record.apply(TABLE["diag"], (input,), offset=diagonal, dim1=0, dim2=1)


@public(method=True)
def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Return matrices (in dimensions `dim1`, `dim2`) with the last dimension on a diagonal."""
    record.check_tensors("diag_embed", (input,))
    shape = list(layout_of(input).shape)
    a, b = wrap_dim(dim1, len(shape) + 1), wrap_dim(dim2, len(shape) + 1)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = shape.pop() + abs(offset)
    for d in sorted((a, b)):
        shape.insert(d, n)
    # the offset's side depends on which of the two dimensions comes first
    return record.apply(
        TABLE["diag_embed"], (input,), shape=tuple(shape), offset=offset, dim1=a, dim2=b
    )


@public()
def diagflat(input: Any, offset: int = 0) -> Any:
    """Return a matrix with the raveled tensor on a diagonal."""
    record.check_tensors("diagflat", (input,))
    return diag_embed(input.reshape(-1), offset)


@public()
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Any, ...]:
    """Return the coordinates of a grid as expanded views.

    Parameters
    ----------
    *tensors : Tensor
        Vectors (or scalars).
    indexing : str
        ``"ij"`` (the default, with a warning) or ``"xy"``.
    """
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], tuple | list) else tensors
    given = tensor_list("meshgrid", tuple(given))
    if not given:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for x in given:
        if x.ndim > 1:
            raise RuntimeError(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {x}"
            )
        if x.dtype is not given[0].dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    if indexing is None:
        warnings.warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing "
            "argument.",
            UserWarning,
            stacklevel=2,
        )
    elif indexing not in ("ij", "xy"):
        raise RuntimeError(
            'torch.meshgrid: indexing must be one of "xy" or "ij", but received: ' + indexing
        )
    swapped = indexing == "xy" and len(given) > 1
    if swapped:
        given[:2] = given[1::-1]
    shape = [x.numel() for x in given]
    grids = [
        expand_to(x.view([-1 if j == i else 1 for j in range(len(given))]), shape)
        for i, x in enumerate(given)
    ]
    if swapped:
        grids[:2] = grids[1::-1]
    return tuple(grids)
