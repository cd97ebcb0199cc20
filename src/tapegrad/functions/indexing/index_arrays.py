"""Index arrays, made safe.

Index arrays are read when a statement is recorded: checked, wrapped, broadcast, and raveled into
one constant tensor of positions that no other code can change, so that no kernel meets an index out
of range (ops/indexing.py).

Under `vmap` a function may be recorded before there are values. Its indices are then `Later`: checked by a
statement ``checked_index``, when the function is lifted and the values of all slices are known.

Start reading at `advanced_index`, then `normalise`.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...base.dtypes import FLOATING, bool_, category, int64, uint8
from ...ops.indexing import indexed_shape
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.tape import tape_at

__all__ = [
    "Advanced", "Later", "advanced_index", "checked_positions", "index_array", "index_values",
    "normalise", "positions",
]  # fmt: skip


class Advanced(NamedTuple):
    """An advanced index into a tensor.

    Attributes
    ----------
    dims : tuple of int
        The indexed dimensions, ascending.
    index : Tensor
        int64 positions in these dimensions, as if they were one; a constant of the tape's own.
    shape : tuple of int
        Shape of the indexed elements.
    """

    dims: tuple[int, ...]
    index: Any
    shape: tuple[int, ...]


class Later:
    """Index values that are not known yet; with as much of an array's face as is needed.

    Attributes
    ----------
    tensor : Tensor
        int64, on a tape without values.
    """

    dtype = np.dtype(np.int64)

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor
        self.shape = tuple(tensor.shape)
        self.ndim, self.size = len(self.shape), math.prod(self.shape)

    def reshape(self, *shape: Any) -> Later:
        """Return the same values in another shape."""
        return Later(self.tensor.reshape(*shape))

    def expand(self, shape: Sequence[int]) -> Later:
        """Return the same values, broadcast."""
        return Later(self.tensor.expand(tuple(shape)))

    def checked(self, n: int, *, wraps: bool) -> Any:
        """Record that the values are checked against a length and, if they may be negative, wrapped."""
        return record.apply(TABLE["checked_index"], (self.tensor,), n=n, wraps=wraps)


def index_values(index: Any) -> Any:
    """Return the values of an int64 tensor as an array of its own, or as `Later`."""
    return Later(index) if tape_at(index._state).abstract else index._array()


def positions(array: np.ndarray) -> Any:
    """Make a passive tensor over checked positions; nothing else may hold the array."""
    if isinstance(array, Later):  # no values are known: there are none
        assert not array.size
        array = np.zeros(array.shape, np.int64)
    return record.leaf_tensor(np.ascontiguousarray(array, np.int64).reshape(array.shape), int64)


def checked_positions(
    values: Any, n: int, failure: Callable[[int], Exception], *, wraps: bool = False
) -> Any:
    """Index values as a constant tensor; `failure` makes the error for one that is out of range.

    Parameters
    ----------
    values : numpy.ndarray or Later
    n : int
        The first that is too large.
    failure : callable
    wraps : bool
        Whether negative ones count from the end.
    """
    if isinstance(values, Later):
        return values.checked(n, wraps=wraps)
    wrong = (values < (-n if wraps else 0)) | (values >= n)
    if wrong.any():
        raise failure(values[wrong][0])
    return positions(np.where(values < 0, values + n, values) if wraps else values)


def normalise(arrays: Sequence[np.ndarray], lengths: Sequence[int], rest: int = 1) -> np.ndarray:
    """Broadcast indices of several dimensions, check and wrap them, and ravel them into positions.

    Parameters
    ----------
    arrays : sequence of ndarray
        Integer indices, one a dimension.
    lengths : sequence of int
        Of these dimensions.
    rest : int
        Number of elements at each position: where that is 0, nothing is read and nothing checked.

    Raises
    ------
    IndexError
        With PyTorch's text, for shapes that do not broadcast and for an index out of range.
    """
    if len(arrays) == 1 and rest and arrays[0].size:
        (a,), (n,) = arrays, lengths
        if int(a.view(np.uint64).max()) < n:  # the usual case; negative ones are large here
            return a
    try:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError:
        shapes = ", ".join(str(list(a.shape)) for a in arrays)
        raise IndexError(
            "shape mismatch: indexing tensors could not be broadcast together with shapes " + shapes
        ) from None
    if math.prod(shape) == 0:
        return np.zeros(shape, np.int64)
    if 0 in lengths:
        raise IndexError("index is out of bounds for dimension with size 0")
    if rest == 0:
        return np.zeros(shape, np.int64)
    if math.prod(lengths) >= 1 << 62:
        raise RuntimeError("the indexed dimensions have too many elements to index them together")
    wrong = [
        np.broadcast_to((a < -n) | (a >= n), shape) for a, n in zip(arrays, lengths, strict=True)
    ]
    if any(w.any() for w in wrong):
        first = min(int(np.argmax(w)) for w in wrong if w.any())
        number = next(i for i, w in enumerate(wrong) if w.reshape(-1)[first])
        value = np.broadcast_to(arrays[number], shape).reshape(-1)[first]
        raise IndexError(
            f"index {value} is out of bounds for dimension {number} with size {lengths[number]}"
        )
    result = np.zeros(shape, np.int64)
    for a, n in zip(arrays, lengths, strict=True):
        result = result * n + np.where(a < 0, a + n, a)
    return result


NOT_AN_INDEX = (
    "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid "
    "indices (got {})"
)
NOT_INTEGERS = "tensors used as indices must be long, int, byte or bool tensors"


def index_array(item: Any) -> Any:
    """Return an index as a new array of int64 or bool, or as `Later`.

    Raises
    ------
    IndexError, TypeError, ValueError
        If it is something else.
    """
    if record.is_tensor(item):
        if category(item.dtype) >= FLOATING:
            raise IndexError(NOT_INTEGERS)
        if item.dtype is uint8:  # a mask, as in PyTorch
            warnings.warn(
                "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.",
                UserWarning,
                stacklevel=4,
            )
            return item._array() != 0
        return item._array() if item.dtype is bool_ else index_values(record.cast(item, int64))
    if isinstance(item, str | bytes):
        raise TypeError(f"new(): invalid data type '{type(item).__name__}'")
    if isinstance(item, np.ndarray):
        array = item
    elif isinstance(item, Sequence):
        plain = [operator.index(v) if record.is_tensor(v) else v for v in item]
        array = np.array(plain) if plain else np.zeros(0, np.int64)
        if array.size == 0:
            array = array.astype(np.int64)
    else:
        raise IndexError(NOT_AN_INDEX.format(type(item).__name__))
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind == "O" and all(isinstance(v, int) for v in array.flat):
        raise ValueError("Overflow when unpacking long long")
    if array.dtype.kind not in "iu" or array.dtype == np.uint8:
        raise IndexError(NOT_INTEGERS)
    if array.dtype == np.uint64 and array.size and int(array.max()) >= 1 << 63:
        raise ValueError("Overflow when unpacking long long")
    return array.astype(np.int64)


def _checked(indices: Sequence[Any], lengths: Sequence[int]) -> Any:
    """`normalise` of indices some of which are known later."""
    combined: Any = None
    for a, n in zip(indices, lengths, strict=True):
        index = a.checked(n, wraps=True) if isinstance(a, Later) else positions(normalise([a], [n]))
        combined = index if combined is None else combined * n + index
    return combined if len(indices) == 1 else combined.contiguous()


def advanced_index(shape: Sequence[int], arrays: list[tuple[int, Any]]) -> Advanced:
    """Return the index that arrays at dimensions of a shape make: masks become integers."""
    dims: list[int] = []
    indices: list[Any] = []
    for d, array in arrays:
        if array.dtype != np.bool_:
            dims.append(d)
            indices.append(array)
            continue
        for i, n in enumerate(array.shape):
            if n != shape[d + i]:
                raise IndexError(
                    f"The shape of the mask {list(array.shape)} at index {i} does not match the "
                    f"shape of the indexed tensor {list(shape)} at index {d + i}"
                )
        dims += range(d, d + array.ndim)
        indices += np.nonzero(array)
    if any(isinstance(a, Later) for a in indices):
        index = _checked(indices, [shape[d] for d in dims])
        return Advanced(tuple(dims), index, indexed_shape(shape, dims, index.shape)[0])
    rest = math.prod(n for i, n in enumerate(shape) if i not in dims)
    flat = normalise(indices, [shape[d] for d in dims], rest)
    return Advanced(tuple(dims), positions(flat), indexed_shape(shape, dims, flat.shape)[0])
