"""Functions of the standard that search, sort, and find sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..numpy import placement, reductions, selection
from ..numpy.operands import as_tensor, function

__all__ = [
    "argmax", "argmin", "argsort", "count_nonzero", "nonzero", "searchsorted", "sort", "unique_all",
    "unique_counts", "unique_inverse", "unique_values", "where",
]  # fmt: skip

_ONE = np.ones(1)
#: NumPy's named tuples, which have no public names
UniqueAllResult: Any = type(np.unique_all(_ONE))
UniqueCountsResult: Any = type(np.unique_counts(_ONE))
UniqueInverseResult: Any = type(np.unique_inverse(_ONE))


def argmax(x: Any, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Return the place of the largest element."""
    return reductions.argmax(x, axis, keepdims=keepdims)


def argmin(x: Any, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Return the place of the smallest element."""
    return reductions.argmin(x, axis, keepdims=keepdims)


def count_nonzero(x: Any, /, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Count elements that are not zero."""
    return reductions.count_nonzero(x, axis, keepdims=keepdims)


def nonzero(x: Any, /) -> tuple[Any, ...]:
    """Return the places of elements that are not zero, an array for each dimension."""
    array = as_tensor(x, "nonzero")
    if not array.ndim:
        raise ValueError("nonzero: an array without dimensions has no places; use x != 0")
    result: tuple[Any, ...] = selection.nonzero(array)
    return result


def searchsorted(x1: Any, x2: Any, /, *, side: Any = "left", sorter: Any = None) -> Any:
    """Return the places where numbers would be inserted; they are constants."""
    return placement.searchsorted(x1, x2, side, sorter)


def where(condition: Any, x1: Any, x2: Any, /) -> Any:
    """Return elements of the one where a condition holds, of the other elsewhere."""
    return selection.where(condition, x1, x2)


# --------------------------------------------------------------------------- order
def sort(x: Any, /, *, axis: int = -1, descending: Any = False, stable: Any = True) -> Any:
    """Sort along a dimension."""
    return function("sort")(as_tensor(x, "sort"), dim=axis, descending=descending, stable=True)[0]


def argsort(x: Any, /, *, axis: int = -1, descending: Any = False, stable: Any = True) -> Any:
    """Return the places of elements in order."""
    return function("sort")(as_tensor(x, "argsort"), dim=axis, descending=descending, stable=True)[
        1
    ]


# --------------------------------------------------------------------------- sets
def unique_all(x: Any, /) -> Any:
    """Return sorted values, each once, their first places, the way back and counts; NaN are all different."""
    array = as_tensor(x, "unique_all")
    values, index, inverse, counts = placement.unique(
        array, return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    return UniqueAllResult(values, index, inverse.reshape(tuple(array.shape)), counts)


def unique_counts(x: Any, /) -> Any:
    """Return sorted values, each once, and their counts."""
    values, _, _, counts = unique_all(x)
    return UniqueCountsResult(values, counts)


def unique_inverse(x: Any, /) -> Any:
    """Return sorted values, each once, and for each element the place of its value."""
    values, _, inverse, _ = unique_all(x)
    return UniqueInverseResult(values, inverse)


def unique_values(x: Any, /) -> Any:
    """Return sorted values, each once."""
    return unique_all(x).values
