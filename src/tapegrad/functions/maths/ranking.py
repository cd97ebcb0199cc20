"""Running extremes, ranks and the most frequent values, with PyTorch's arguments and named results."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_int, wrap_dim
from ..registry import FUNCTIONS, declared
from ..signature import Tensor
from . import return_types
from .ordering import argsort, sort

__all__ = ["cummax", "cummin", "kthvalue", "mode", "msort"]


def _running(name: str, input: Any, dim: int) -> Any:
    layout = layout_of(input)
    d = wrap_dim(dim, layout.ndim)
    kind = getattr(return_types, name)
    if not layout.ndim or not layout.size:
        return kind(input.clone(), FUNCTIONS["zeros"](layout.shape, dtype=np.int64))
    x = input.detach()
    best = record.apply(TABLE[f"running_{name[3:]}"], (x,), dim=d, reverse=False)
    shape = [n if i == d else 1 for i, n in enumerate(layout.shape)]
    places = FUNCTIONS["arange"](layout.shape[d]).reshape(shape)
    last = FUNCTIONS["where"]((x == best) | (x != x), places, 0)
    index = record.apply(TABLE["running_max"], (last,), dim=d, reverse=False)
    return kind(record.apply(TABLE["gather"], (input, index), dim=d), index)


@declared()
def cummax(input: Tensor, dim: int) -> return_types.cummax:
    """Largest value up to each place along a dimension, with its index: the last one of equal values.

    Parameters
    ----------
    input : Tensor
    dim : int

    Returns
    -------
    named tuple (values, indices)
        NaN wins. Only values are differentiated.
    """
    return _running("cummax", input, dim)


@declared()
def cummin(input: Tensor, dim: int) -> return_types.cummin:
    """Smallest value up to each place along a dimension; arguments and results as for `cummax`."""
    return _running("cummin", input, dim)


def _picked(kind: Any, input: Any, index: Any, d: int, keepdim: bool) -> Any:
    """A named result of the values at positions, the dimension kept in them."""
    if not layout_of(input).ndim:
        return kind(input.clone(), index.reshape(()))
    values = record.apply(TABLE["gather"], (input, index), dim=d)
    return kind(values, index) if keepdim else kind(values.squeeze(d), index.squeeze(d))


@declared()
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> return_types.kthvalue:
    """Find the k-th smallest value along a dimension, and its index.

    Parameters
    ----------
    input : Tensor
    k : int
        1 for the smallest.
    dim : int
    keepdim : bool
        Keep the dimension, with length 1.

    Returns
    -------
    named tuple (values, indices)
    """
    layout = layout_of(input)
    d, k = wrap_dim(dim, layout.ndim), as_int("kthvalue", "k", 2, k)
    n = layout.shape[d] if layout.ndim else 1
    if layout.ndim and not n:
        raise IndexError(f"kthvalue(): Expected reduction dim {d} to have non-zero size.")
    if not 1 <= k <= n:
        raise RuntimeError("kthvalue(): selected number k out of range for dimension " + str(d))
    order = argsort(input, d, stable=True)
    index = order.narrow(d, k - 1, 1) if layout.ndim else order
    return _picked(return_types.kthvalue, input, index, d, keepdim)


@declared()
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> return_types.mode:
    """Find the most frequent value along a dimension, the smallest of several, and its last index.

    Parameters
    ----------
    input : Tensor
    dim : int
    keepdim : bool
        Keep the dimension, with length 1.

    Returns
    -------
    named tuple (values, indices)
    """
    layout = layout_of(input)
    d = wrap_dim(dim, layout.ndim)
    if layout.ndim and not layout.shape[d]:
        raise IndexError(f"mode(): Expected reduction dim {d} to have non-zero size.")
    moved = np.moveaxis(np.atleast_1d(input.detach().numpy()), d, -1)
    order = np.argsort(moved, -1, kind="stable")
    ordered = np.take_along_axis(moved, order, -1)
    n, places = moved.shape[-1], np.arange(moved.shape[-1])
    is_first = np.ones(moved.shape, bool)
    is_first[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    start = np.maximum.accumulate(np.where(is_first, places, 0), -1)
    longest = (
        np.argmax(places - start, -1)[..., None] if n else np.zeros((*moved.shape[:-1], 1), int)
    )
    index = np.moveaxis(np.take_along_axis(order, longest, -1), -1, d)
    return _picked(
        return_types.mode, input, FUNCTIONS["tensor"](np.ascontiguousarray(index)), d, keepdim
    )


@declared()
def msort(input: Tensor) -> Tensor:
    """Sort along the first dimension."""
    return sort(input, 0)[0]
