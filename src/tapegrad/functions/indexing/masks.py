"""Masks and the positions they stand for: masked_select, masked_fill, nonzero, one_hot."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...base.dtypes import bool_, c_name, int64
from ...ops.layout import broadcast_shapes
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_int, constant_like
from ..options import allocate
from ..registry import declared
from ..shape.broadcast import expand_to
from ..signature import Operand, Tensor
from .index_arrays import positions

__all__ = ["masked_fill", "masked_select", "nonzero"]


@declared()
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """Return the elements where a bool mask (broadcast with the tensor) is set, as a vector."""
    if mask.dtype is not bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = broadcast_shapes(mask.shape, input.shape)
    places = np.flatnonzero(np.broadcast_to(mask._array(), shape))
    x = input if input.shape == shape else expand_to(input, shape)
    if not shape:
        x = x.reshape(1)
    if math.prod(shape) == 0:
        x = x.reshape(-1)
    return record.apply(TABLE["masked_select"], (x, positions(places)), dims=tuple(range(x.ndim)))


@declared("(Tensor mask, Tensor value)", "(Tensor mask, Number value)")
def masked_fill(input: Tensor, mask: Tensor, value: Operand) -> Tensor:
    """Return a copy with `value`, a number or a 0-d tensor, where a bool mask is set."""
    if mask.dtype is not bool_:
        raise RuntimeError(
            "masked_fill_ only supports boolean masks, but got mask with dtype "
            f"{c_name(layout_of(mask).dtype)}"
        )
    row = "masked_fill_tensor" if record.is_tensor(value) else "masked_fill"
    if record.is_tensor(value):
        if layout_of(value).ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{layout_of(value).ndim} dimension(s)."
            )
        value = record.cast(value, input.dtype)
    else:
        value = constant_like(input, value)
    broadcast_shapes(mask.shape, input.shape)
    return record.apply(TABLE[row], (input, mask, value))


@declared()
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Return the indices of elements that are not zero: a matrix with a row an element, or a tuple.

    The value is read when this is called.
    """
    array = input._array()
    if as_tuple:
        return tuple(record.leaf_tensor(a.astype(np.int64), int64)
                     for a in np.nonzero(np.atleast_1d(array)))  # fmt: skip
    return record.leaf_tensor(np.argwhere(array).astype(np.int64), int64)


@declared()
def argwhere(input: Tensor) -> Tensor:
    """Return the indices of elements that are not zero, a row an element."""
    return nonzero(input)


@declared(method=False)
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Return int64 vectors with a 1 at each class index, along a new last dimension."""
    if tensor.dtype is not int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    num_classes = as_int("one_hot", "num_classes", 2, num_classes)
    values = tensor._array()
    if values.size == 0 and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    if values.size and values.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = int(values.max()) + 1
    elif values.size and values.max() >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    out = allocate((*values.shape, num_classes), int64, zero=True)
    np.put_along_axis(out, values[..., None], 1, -1)
    return record.leaf_tensor(out, int64)
