"""Functions that join, repeat or reorder tensors.

cat and its relatives, repeat and tile, flip, roll. The ops are in ops/shape.py; here are
arguments and PyTorch's errors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...base.dtypes import int64
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import (
    as_int,
    as_ints,
    distinct,
    tensor_list,
    wrap_dim,
)  # fmt: skip
from ..indexing.index_arrays import positions
from ..operands import no_kernel
from ..registry import declared
from ..signature import Dims, Ints, Tensor, Tensors
from .broadcast import atleast_1d, atleast_2d, atleast_3d, expand_to

__all__ = ["cat", "stack"]


# --------------------------------------------------------------------------- joining
def _promoted(tensors: list[Any]) -> list[Any]:
    kind = record.result_dtype(tensors)
    return [record.cast(x, kind) for x in tensors]


def _are_alike(tensors: list[Any]) -> bool:
    """Return True for tensors of one layout, which need no further look at shapes and dtypes."""
    first = layout_of(tensors[0])
    return all(layout_of(x) is first for x in tensors)


@declared(method=False, aliases=("concat", "concatenate"))
def cat(tensors: Tensors, dim: int = 0) -> Tensor:
    """Join tensors along a dimension.

    Parameters
    ----------
    tensors : sequence of Tensor
        Of one shape but for `dim`; dtypes are promoted. An empty vector fits any.
    dim : int

    Raises
    ------
    ValueError, RuntimeError
        If there are none, or shapes do not fit.
    """
    operands = tensor_list(tensors)
    if not operands:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    if _are_alike(operands) and operands[0].ndim and operands[0].shape != (0,):
        d = wrap_dim(dim, operands[0].ndim)
        return record.apply(TABLE["cat"], operands, dim=d)
    for i, x in enumerate(operands):
        if not x.shape:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    operands = _promoted(operands)
    nonempty = [(i, x) for i, x in enumerate(operands) if x.shape != (0,)]
    if not nonempty:  # of any dimension, as in PyTorch
        return record.apply(TABLE["cat"], operands, dim=0)
    first = nonempty[0][1].shape
    d = wrap_dim(dim, len(first))
    for i, x in nonempty[1:]:
        if len(x.shape) != len(first):
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {len(first)} and {len(x.shape)}"
            )
        for j, (n, m) in enumerate(zip(first, x.shape, strict=True)):
            if j != d and n != m:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {d}. Expected size {n} but "
                    f"got size {m} for tensor number {i} in the list."
                )
    # An empty vector joins with anything, and is part of the graph.
    nothing = (*first[:d], 0, *first[d + 1 :])
    fitting = [x if x.shape != (0,) else x.reshape(nothing) for x in operands]
    return record.apply(TABLE["cat"], fitting, dim=d)


@declared(method=False)
def stack(tensors: Tensors, dim: int = 0) -> Tensor:
    """Join tensors of one shape along a new dimension."""
    operands = tensor_list(tensors)
    if not operands:
        raise RuntimeError("stack expects a non-empty TensorList")
    if _are_alike(operands):
        d = wrap_dim(dim, operands[0].ndim + 1)
        return record.apply(TABLE["stack"], operands, dim=d)
    operands = _promoted(operands)
    first = operands[0].shape
    d = wrap_dim(dim, len(first) + 1)
    for i, x in enumerate(operands):
        if x.shape != first:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 and "
                f"{list(x.shape)} at entry {i}"
            )
    return record.apply(TABLE["stack"], operands, dim=d)


def _with_dims(name: str, tensors: Any, raise_dims: Any) -> list[Any]:
    operands = tensor_list(tensors)
    if not operands:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return [raise_dims(x) for x in operands]


@declared(method=False)
def hstack(tensors: Tensors) -> Tensor:
    """Join along the second dimension (vectors: along the first)."""
    operands = _with_dims("hstack", tensors, atleast_1d)
    return cat(operands, 0 if operands[0].ndim == 1 else 1)


@declared(method=False, aliases=("row_stack",))
def vstack(tensors: Tensors) -> Tensor:
    """Join along the first dimension; vectors are rows."""
    return cat(_with_dims("vstack", tensors, atleast_2d), 0)


@declared(method=False)
def dstack(tensors: Tensors) -> Tensor:
    """Join along the third dimension."""
    return cat(_with_dims("dstack", tensors, atleast_3d), 2)


@declared(method=False)
def column_stack(tensors: Tensors) -> Tensor:
    """Join along the second dimension; vectors are columns."""

    def column(x: Any) -> Any:
        return x if x.ndim > 1 else x.reshape((x.numel(), 1))

    return cat(_with_dims("column_stack", tensors, column), 1)


# --------------------------------------------------------------------------- repeating
@declared(function=False)
def repeat(input: Tensor, repeats: Ints) -> Tensor:
    """Repeat the tensor along each dimension; leading numbers are for new dimensions."""
    times, shape = as_ints(repeats), layout_of(input).shape
    if len(times) < len(shape):
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor"
        )
    lengths = (1,) * (len(times) - len(shape)) + tuple(shape)
    target = [r * n for r, n in zip(times, lengths, strict=True)]
    for r, n in zip(times, target, strict=True):
        if r < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {target}")
    return record.apply(TABLE["repeat"], (input,), repeats=times)


@declared()
def tile(input: Tensor, dims: Ints) -> Tensor:
    """Repeat the tensor along its last dimensions, as ``numpy.tile``."""
    times = as_ints(dims)
    return repeat(input, (1,) * (layout_of(input).ndim - len(times)) + times)


@declared()
def repeat_interleave(input: Tensor, repeats: Any = None, dim: int | None = None, *,
                      output_size: int | None = None) -> Tensor:  # fmt: skip
    """Repeat each element of a dimension (of the raveled tensor without `dim`).

    Parameters
    ----------
    input : Tensor
    repeats : int or Tensor
        How often; a tensor has one number an element.
    dim : int, optional
    """
    if repeats is None:
        counts = input._array()
        _check_repeats(input, counts)
        return record.leaf_tensor(np.repeat(np.arange(counts.size), counts), int64)
    x = input.flatten() if dim is None else input
    d = wrap_dim(0 if dim is None else as_int("repeat_interleave", "dim", 2, dim), x.ndim)
    if not record.is_tensor(repeats):
        times = as_int("repeat_interleave", "repeats", 1, repeats)
        if times < 0:
            raise RuntimeError("Repeats must be non-negative")
        if not x.shape:
            x = x.reshape(1)
        shape = (*x.shape[: d + 1], times, *x.shape[d + 1 :])
        copied = record.unary(TABLE["clone"], expand_to(x.unsqueeze(d + 1), shape))
        return copied.view((*x.shape[:d], x.shape[d] * times, *x.shape[d + 1 :]))
    counts = repeats._array()
    _check_repeats(repeats, counts)
    n = x.shape[d] if x.shape else 1
    if counts.size == 1:
        counts = np.broadcast_to(counts.reshape(()), (n,))
    if counts.shape != (n,):
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{counts.shape[0]} and input.size({d}) = {n}"
        )
    x = x if x.shape else x.reshape(1)
    places = positions(np.repeat(np.arange(n), counts))
    return record.apply(TABLE["index_select"], (x, places), dims=(d,))


def _check_repeats(repeats: Any, counts: np.ndarray) -> None:
    if repeats.dtype is not int64:
        raise no_kernel("repeat_interleave_cpu", repeats.dtype)
    if counts.ndim > 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    if counts.size and counts.min() < 0:
        raise RuntimeError("repeats can not be negative")


# --------------------------------------------------------------------------- reordering
@declared()
def flip(input: Tensor, dims: Ints) -> Tensor:
    """Reverse the order of elements along dimensions."""
    order = distinct(as_ints(dims), layout_of(input).ndim)
    return record.apply(TABLE["flip"], (input,), dims=order if input.shape else ())


@declared()
def fliplr(input: Tensor) -> Tensor:
    """Reverse the second dimension."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, (1,))


@declared()
def flipud(input: Tensor) -> Tensor:
    """Reverse the first dimension."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, (0,))


@declared()
def roll(input: Tensor, shifts: Dims, dims: Dims | None = ()) -> Tensor:
    """Shift elements along dimensions, the last ones coming in at the front.

    Without `dims` the raveled tensor is shifted.
    """
    by = as_ints(shifts)
    along = () if dims is None else as_ints(dims)
    if not by:
        raise RuntimeError("`shifts` required")
    shape = layout_of(input).shape
    if not along and len(by) == 1:
        return record.apply(TABLE["roll_flat"], (input,), shift=by[0])
    if len(by) != len(along):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(by)}, dims:{len(along)}"
        )
    if not shape:
        raise IndexError(f"Dimension specified as {along[0]} but tensor has no dimensions")
    total = [0] * len(shape)
    for shift, dim in zip(by, along, strict=True):
        total[wrap_dim(dim, len(shape))] += shift
    return record.apply(TABLE["roll"], (input,), shifts=tuple(total))
