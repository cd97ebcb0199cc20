"""Values that are there, places among sorted values, counts: functions that look at numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...base.errors import UnsupportedError
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import wrap_dim
from ..registry import FUNCTIONS, declared
from ..signature import Operand, Tensor

__all__ = ["bincount", "bucketize", "histc", "searchsorted", "unique", "unique_consecutive"]


def _index(places: Any) -> Any:
    return FUNCTIONS["tensor"](np.asarray(places, np.int64))


def _numbers(x: Any) -> Any:
    return x.detach().numpy() if record.is_tensor(x) else x


# --------------------------------------------------------------------------- values
def _chosen(input: Any, dim: int | None, places: np.ndarray) -> Any:
    """Values at places of the flattened tensor, or of a dimension; they are differentiated."""
    x = input.reshape(-1) if dim is None else input
    return FUNCTIONS["index_select"](x, dim or 0, _index(places))


def _results(values: Any, inverse: Any, counts: Any) -> Any:
    parts = [values, *(_index(p) for p in (inverse, counts) if p is not None)]
    return parts[0] if len(parts) == 1 else tuple(parts)


@declared()
def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """Find the values, or slices along a dimension, that are there, each once, in order.

    Parameters
    ----------
    input : Tensor
    sorted : bool
        They are sorted in any case.
    return_inverse, return_counts : bool
        Whether to return where each element is among the values, and how often each value is there.
    dim : int, optional

    Returns
    -------
    Tensor, or tuple of Tensor
        A value has the derivative of its first element.
    """
    d = None if dim is None else wrap_dim(dim, input.ndim)
    _, first, inverse, counts = np.unique(
        _numbers(input), return_index=True, return_inverse=True, return_counts=True, axis=d,
        equal_nan=False,
    )  # fmt: skip
    where = inverse.reshape(tuple(input.shape)) if d is None else inverse.reshape(-1)
    return _results(
        _chosen(input, d, first),
        where if return_inverse else None,
        counts if return_counts else None,
    )


@declared()
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """Leave out values that are the one before again; arguments and results as for `unique`."""
    d = None if dim is None else wrap_dim(dim, input.ndim)
    numbers = _numbers(input)
    rows = (
        numbers.reshape(-1, 1)
        if d is None
        else np.moveaxis(numbers, d, 0).reshape(numbers.shape[d], -1)
    )
    is_new = np.ones(len(rows), bool)
    is_new[1:] = (rows[1:] != rows[:-1]).any(1)
    places = np.flatnonzero(is_new)
    inverse = np.cumsum(is_new) - 1
    counts = np.diff(np.append(places, len(rows)))
    where = inverse.reshape(numbers.shape) if d is None else inverse
    return _results(
        _chosen(input, d, places),
        where if return_inverse else None,
        counts if return_counts else None,
    )


# --------------------------------------------------------------------------- places
@declared(method=False)
def searchsorted(
    sorted_sequence: Tensor, input: Operand, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Find where values would be inserted into sorted ones, along the last dimension.

    Parameters
    ----------
    sorted_sequence : Tensor
        Of one dimension, or with the same leading dimensions as `input`.
    input : Tensor or number
    out_int32 : bool
        Must be False: there is int64 only.
    right : bool
        Behind equal values.
    side : {"left", "right"}, optional
        The same in words.
    sorter : Tensor, optional
        Indices that sort the sequence.

    Returns
    -------
    Tensor
        Of int64.
    """
    if side is not None and side not in ("left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right "
            "was True"
        )
    if out_int32:
        raise UnsupportedError("searchsorted(): out_int32=True is not supported; places are int64")
    sequence, values = _numbers(sorted_sequence), np.asarray(_numbers(input))
    if sorter is not None:
        sequence = np.take_along_axis(sequence, _numbers(sorter), -1)
    if sequence.ndim != 1 and sequence.shape[:-1] != values.shape[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of "
            f"boundaries tensor and input value tensor must match, but we got boundaries tensor "
            f"{list(sequence.shape)} and input value tensor {list(values.shape)}"
        )
    where: Any = "right" if right or side == "right" else "left"
    if sequence.ndim == 1:
        return _index(np.searchsorted(sequence, values, where))
    places = np.empty(values.shape, np.int64)
    for k in np.ndindex(values.shape[:-1]):
        places[k] = np.searchsorted(sequence[k], values[k], where)
    return _index(places)


@declared(method=False)
def bucketize(
    input: Operand, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """Find the buckets between boundaries that values fall into; arguments as for `searchsorted`."""
    if layout_of(boundaries).ndim != 1:
        raise RuntimeError(
            f"boundaries tensor must be 1 dimension, but got dim({layout_of(boundaries).ndim})"
        )
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


# --------------------------------------------------------------------------- counts
@declared()
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """Count whole numbers from 0 on, or sum up weights for each.

    Parameters
    ----------
    input : Tensor
        Of int64, not negative, with one dimension.
    weights : Tensor, optional
        Differentiated.
    minlength : int
        The least length of the result.
    """
    index = _numbers(input)
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if index.ndim != 1 or (index < 0).any():
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is None:
        return _index(np.bincount(index, minlength=minlength))
    if tuple(weights.shape) != index.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    n = max(int(index.max()) + 1 if index.size else 0, minlength)
    zeros = FUNCTIONS["zeros"]((n,), dtype=weights.dtype)
    return FUNCTIONS["index_add"](zeros, 0, _index(index), weights)


@declared()
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Count values in bins of the same width; outside of the range they are not counted.

    Parameters
    ----------
    input : Tensor
    bins : int
    min, max : float
        The range; that of the values if both are the same.
    """
    x = _numbers(input)
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    low, high = float(min), float(max)
    if low == high and x.size:
        low, high = float(x.min()), float(x.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError("max must be larger than min")
    counts = np.histogram(x, bins, (low, high))[0]
    return FUNCTIONS["tensor"](counts.astype(input.dtype.np))
