"""Matrices and grids of vectors: triangles, diagonals, meshgrid."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ...base.dtypes import int64
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_int, tensor_list, wrap_dim
from ..options import allocate
from ..registry import declared, public
from ..signature import Tensor
from .broadcast import expand_to

__all__ = ["diag_embed", "meshgrid"]


def _triangle(name: str, input: Any, diagonal: int) -> Any:
    if layout_of(input).ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
    return record.apply(TABLE[name], (input,), diagonal=as_int(name, "diagonal", 1, diagonal))


@declared()
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the lower triangles of matrices, zeros above the given diagonal."""
    return _triangle("tril", input, diagonal)


@declared()
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return the upper triangles of matrices, zeros below the given diagonal."""
    return _triangle("triu", input, diagonal)


def _triangle_indices(name: str, row: Any, col: Any, offset: Any) -> Any:
    """Indices row by row; only rows that have any take memory."""
    n, m = as_int(name, "row", 1, row), as_int(name, "col", 2, col)
    for argument, length in (("row", n), ("col", m)):
        if length < 0:
            raise RuntimeError(f"{argument} must be non-negative, got{length}")
    k = min(max(as_int(name, "offset", 3, offset), -n), m)
    lower = name == "tril_indices"
    first, last = (max(-k, 0), n) if lower else (0, min(n, m - k))
    if not m:
        last = first
    # The row of number i begins or ends at column i + k.
    short = last - first if not lower else min(max(m - k - first, 0), last - first)
    if lower:
        count = short * (2 * (first + k) + short + 1) // 2 + (last - first - short) * m
    else:
        full = min(max(-k, 0), last)  # rows that begin at column 0
        count = full * m + (last - full) * (2 * (m - k - full) - (last - full) + 1) // 2
    out = allocate((2, count), int64)
    rows = np.arange(first, last)
    starts = np.zeros_like(rows) if lower else np.maximum(rows + k, 0)
    lengths = (np.minimum(rows + k + 1, m) if lower else m) - starts
    out[0] = np.repeat(rows, lengths)
    out[1] = np.arange(count) - np.repeat(np.cumsum(lengths) - lengths - starts, lengths)
    return record.leaf_tensor(out, int64)


@public()
def tril_indices(row: int, col: int, offset: int = 0) -> Tensor:
    """Return row and column indices of a lower triangle."""
    return _triangle_indices("tril_indices", row, col, offset)


@public()
def triu_indices(row: int, col: int, offset: int = 0) -> Tensor:
    """Return row and column indices of an upper triangle."""
    return _triangle_indices("triu_indices", row, col, offset)


@declared()
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """Return a diagonal of a matrix, or a matrix with a vector on a diagonal."""
    diagonal = as_int("diag", "diagonal", 1, diagonal)
    ndim = layout_of(input).ndim
    if ndim == 1:
        return diag_embed(input, diagonal)
    if ndim != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {ndim}D")
    return record.apply(TABLE["diag"], (input,), offset=diagonal, dim1=0, dim2=1)


@declared()
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Return matrices (in dimensions `dim1`, `dim2`) with the last dimension on a diagonal."""
    shape = list(layout_of(input).shape)
    offset = as_int("diag_embed", "offset", 1, offset)
    a = wrap_dim(dim1, len(shape) + 1)
    b = wrap_dim(dim2, len(shape) + 1)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = shape.pop() + abs(offset)
    for d in sorted((a, b)):
        shape.insert(d, n)
    # the offset's side depends on which of the two dimensions comes first
    return record.apply(
        TABLE["diag_embed"], (input,), shape=tuple(shape), offset=offset, dim1=a, dim2=b
    )


@declared()
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """Return a matrix with the raveled tensor on a diagonal."""
    return diag_embed(input.reshape(-1), offset)


@public(out=False)
def meshgrid(*tensors: Tensor, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Return the coordinates of a grid as expanded views.

    Parameters
    ----------
    *tensors : Tensor
        Vectors (or scalars).
    indexing : str
        ``"ij"`` (the default, with a warning) or ``"xy"``.
    """
    vectors = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], tuple | list) else tensors
    vectors = tensor_list(vectors)
    if not vectors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for x in vectors:
        if x.ndim > 1:
            raise RuntimeError(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {x}"
            )
        if x.dtype is not vectors[0].dtype:
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
    swapped = indexing == "xy" and len(vectors) > 1
    if swapped:
        vectors[:2] = vectors[1::-1]
    shape = [x.numel() for x in vectors]
    grids = [
        expand_to(x.view([-1 if j == i else 1 for j in range(len(vectors))]), shape)
        for i, x in enumerate(vectors)
    ]
    if swapped:
        grids[:2] = grids[1::-1]
    return tuple(grids)
