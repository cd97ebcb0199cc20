"""NumPy's functions on Tensors that put elements somewhere, choose among arrays, and look elements up."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tape import recording as record
from .operands import (
    along,
    as_result,
    as_tensor,
    function,
    is_active,
    promoted,
    refused,
    tensors_in,
    with_dtype,
    written,
)  # fmt: skip
from .selection import imag
from .shapes import concatenate

__all__ = [
    "apply_along_axis",
    "apply_over_axes",
    "argpartition",
    "bincount",
    "block",
    "choose",
    "compress",
    "copyto",
    "delete",
    "digitize",
    "fill_diagonal",
    "insert",
    "iscomplex",
    "isneginf",
    "isposinf",
    "isreal",
    "lexsort",
    "partition",
    "piecewise",
    "place",
    "put",
    "put_along_axis",
    "putmask",
    "real_if_close",
    "resize",
    "searchsorted",
    "select",
    "trim_zeros",
    "unique",
]  # fmt: skip


def _numbers(x: Any, name: str) -> np.ndarray:
    """The numbers of an operand, for what has no derivative."""
    return np.asarray(as_tensor(x, name).detach().numpy())


def _index(places: Any) -> Any:
    return function("tensor")(np.asarray(places, np.int64))


# --------------------------------------------------------------------------- choosing
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """Elements of the first array whose condition holds, as `numpy.select`."""
    if len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions")
    if not condlist:
        raise ValueError("select with an empty condition list is not possible")
    conditions = [as_tensor(c, "select") for c in condlist]
    for i, c in enumerate(conditions):
        if c.dtype.np.kind != "b":
            raise TypeError(f"invalid entry {i} in condlist: should be boolean ndarray")
    *choices, other = promoted("select", *choicelist, default)
    result = other
    for c, choice in zip(conditions[::-1], choices[::-1], strict=True):
        result = function("where")(c, choice, result)
    return result


def choose(a: Any, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    """Elements of the array that each index names, as `numpy.choose`."""
    index, arrays = _numbers(a, "choose"), promoted("choose", *choices)
    n = len(arrays)
    if mode == "raise" and not ((index >= 0) & (index < n)).all():
        raise ValueError("invalid entry in choice array")
    index = index % n if mode == "wrap" else np.clip(index, 0, n - 1)
    places, *parts = function("broadcast_tensors")(_index(index), *arrays)
    result = function("take_along_dim")(function("stack")(list(parts)), places[None], 0)[0]
    return written("choose", result, out)


def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    """Values of functions, each where its condition holds, as `numpy.piecewise`."""
    value = as_tensor(x, "piecewise")
    masks = [_numbers(c, "piecewise") != 0 for c in _conditions(condlist, value)]
    if len(funclist) == len(masks) + 1:
        masks.append(~np.logical_or.reduce(masks))
    elif len(funclist) != len(masks):
        raise ValueError(
            f"with {len(masks)} condition(s), either {len(masks)} or {len(masks) + 1} functions are expected"
        )
    result = function("zeros_like")(value)
    for mask, part in zip(masks, funclist, strict=True):
        where = np.broadcast_to(mask, tuple(value.shape))
        if not where.any():
            continue
        index = function("tensor")(where)
        chosen = part(value[index], *args, **kw) if callable(part) else part
        result = function("index_put")(
            result, (index,), as_tensor(chosen, "piecewise").to(result.dtype)
        )
    return result


def _conditions(condlist: Any, value: Any) -> list[Any]:
    alone = not isinstance(condlist, list | tuple) and getattr(condlist, "ndim", 0) <= value.ndim
    if alone or (
        isinstance(condlist, list) and condlist and isinstance(condlist[0], bool | np.bool_)
    ):
        return [condlist]
    return list(condlist)


def compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Any:
    """Slices where a condition holds, as `numpy.compress`."""
    x, dim = along(as_tensor(a, "compress"), axis)
    places = np.flatnonzero(_numbers(condition, "compress"))
    return written("compress", function("index_select")(x, dim, _index(places)), out)


# --------------------------------------------------------------------------- joining and cutting
def block(arrays: Any) -> Any:
    """Join nested lists of blocks, as `numpy.block`."""
    depth = _depth(arrays)
    ndim = max([depth, *(t.ndim for t in _blocks(arrays))])

    def joined(part: Any, level: int) -> Any:
        if level == depth:
            x = as_tensor(part, "block")
            return x.reshape((*(1,) * (ndim - x.ndim), *x.shape))
        return concatenate([joined(p, level + 1) for p in part], axis=level - depth)

    return joined(arrays, 0)


def _depth(arrays: Any) -> int:
    if not isinstance(arrays, list):
        return 0
    if not arrays:
        raise ValueError("List at arrays cannot be empty")
    depths = {_depth(part) for part in arrays}
    if len(depths) > 1:
        raise ValueError("List depths are mismatched.")
    return 1 + depths.pop()


def _blocks(arrays: Any) -> list[Any]:
    if not isinstance(arrays, list):
        return [as_tensor(arrays, "block")]
    return [t for part in arrays for t in _blocks(part)]


def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    """Insert values before indices, as `numpy.insert`."""
    x, dim = along(as_tensor(arr, "insert"), axis)
    dim %= x.ndim
    n, added = x.shape[dim], as_tensor(values, "insert").to(x.dtype)
    places = np.arange(n)[obj] if isinstance(obj, slice) else _numbers(obj, "insert").astype(int)
    shape = list(x.shape)
    if places.ndim == 0 or places.size == 1:
        added = added.reshape((*(1,) * (x.ndim - added.ndim), *added.shape))
        if places.ndim == 0:
            added = added.movedim(0, dim)
        shape[dim] = added.shape[dim]
    else:
        shape[dim] = places.size
    added = function("broadcast_to")(added, tuple(shape))
    new = np.arange(n, n + shape[dim])
    flat = places.reshape(-1)
    if ((flat < -n) | (flat > n)).any():
        raise IndexError(f"index {flat[0]} is out of bounds for axis {dim} with size {n}")
    order = np.arange(n)
    if flat.size:
        order = np.insert(order, flat if flat.size > 1 else int(flat[0]), new)
    return function("index_select")(function("cat")([x, added], dim), dim, _index(order))


def delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    """Leave out indices, as `numpy.delete`."""
    x, dim = along(as_tensor(arr, "delete"), axis)
    index = obj if isinstance(obj, slice) else _numbers(obj, "delete")
    kept = np.delete(np.arange(x.shape[dim]), index)
    return function("index_select")(x, dim, _index(kept))


def resize(a: Any, new_shape: Any) -> Any:
    """Repeat until a shape is full, as `numpy.resize`."""
    x = as_tensor(a, "resize").reshape(-1)
    shape = (int(new_shape),) if np.ndim(new_shape) == 0 else tuple([int(n) for n in new_shape])
    total = int(np.prod(shape))
    if not len(x):
        return function("zeros")(shape, dtype=x.dtype)
    return x[_index(np.arange(total) % len(x))].reshape(shape)


def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """Cut zeros off the ends, as `numpy.trim_zeros`."""
    x = as_tensor(filt, "trim_zeros")
    if x.ndim != 1:
        raise refused("trim_zeros", "it takes sequences of one dimension")
    places = np.flatnonzero(_numbers(x, "trim_zeros"))
    first, last = (places[0], places[-1] + 1) if places.size else (len(x), len(x))
    start = first if "f" in trim.lower() else 0
    stop = last if "b" in trim.lower() else len(x)
    if not places.size:
        start, stop = (len(x), len(x)) if "f" in trim.lower() else (0, 0)
    return x[int(start) : int(stop)]


def apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Any:
    """Apply a function to each sequence along a dimension, as `numpy.apply_along_axis`."""
    x = as_tensor(arr, "apply_along_axis")
    dim = operator.index(axis) % x.ndim
    moved = x.movedim(dim, -1)
    outer = tuple(moved.shape[:-1])
    rows = moved.reshape(-1, moved.shape[-1])
    results = [
        as_tensor(func1d(rows[i], *args, **kwargs), "apply_along_axis") for i in range(len(rows))
    ]
    if not results:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    inner = tuple(results[0].shape)
    stacked = function("stack")(results).reshape((*outer, *inner))
    for i in range(len(inner)):
        stacked = stacked.movedim(len(outer) + i, dim + i)
    return stacked


def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """Apply a reduction along several dimensions in turn, as `numpy.apply_over_axes`."""
    x = as_tensor(a, "apply_over_axes")
    for axis in [axes] if np.ndim(axes) == 0 else axes:
        result = as_tensor(func(x, axis), "apply_over_axes")
        x = result if result.ndim == x.ndim else function("unsqueeze")(result, int(axis) % x.ndim)
    return x


# --------------------------------------------------------------------------- writing
def _target(name: str, x: Any, *values: Any) -> bool:
    """Return True if a target is a Tensor; raise if it is an array and what is written is differentiated."""
    if record.is_tensor(x):
        return True
    if is_active(tensors_in(list(values))):
        raise refused(name, "an array cannot take what requires grad; write into a Tensor")
    return False


def _plain(values: Any) -> Any:
    return values.detach().numpy() if record.is_tensor(values) else values


def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any = -1) -> None:
    """Write values to places of their own along a dimension, as `numpy.put_along_axis`."""
    if not _target("put_along_axis", arr, values):
        np.put_along_axis(arr, _plain(indices), _plain(values), axis)
        return
    x, dim = along(arr, axis)
    index, value = function("broadcast_tensors")(
        as_tensor(indices, "put_along_axis"), as_tensor(values, "put_along_axis").to(x.dtype)
    )
    shape = [n if i != dim % x.ndim else index.shape[i] for i, n in enumerate(x.shape)]
    index, value = (function("broadcast_to")(v, tuple(shape)) for v in (index, value))
    n = x.shape[dim]
    x.scatter_(dim, function("where")(index < 0, index + n, index), value)


def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    """Write an array into another, as `numpy.copyto`."""
    if not _target("copyto", dst, src):
        np.copyto(dst, _plain(src), casting="same_kind", where=_plain(where))
        return
    value = as_tensor(src, "copyto")
    if where is not True:
        mask = as_tensor(where, "copyto") != 0
        value = function("where")(mask, value.to(dst.dtype), dst)
    dst.copy_(value)


def putmask(a: Any, mask: Any, values: Any) -> None:
    """Write values where a mask is true, as `numpy.putmask`."""
    if not _target("putmask", a, values):
        np.putmask(a, _plain(mask), _plain(values))
        return
    copyto(a, resize(values, tuple(a.shape)), where=mask)


def place(arr: Any, mask: Any, vals: Any) -> None:
    """Write values one after the other where a mask is true, as `numpy.place`."""
    if not _target("place", arr, vals):
        np.place(arr, _plain(mask), _plain(vals))
        return
    index = as_tensor(mask, "place").reshape(tuple(arr.shape)) != 0
    count = int(index.sum())
    if count:
        arr[index] = resize(vals, count).to(arr.dtype)


def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """Write values to places of the flattened array, as `numpy.put`."""
    if not _target("put", a, v):
        np.put(a, _plain(ind), _plain(v), mode)  # type: ignore[arg-type]
        return
    n, index = a.numel(), _numbers(ind, "put").reshape(-1)
    index = index % n if mode == "wrap" else np.clip(index, 0, n - 1) if mode == "clip" else index
    a.put_(_index(index), resize(v, index.size).to(a.dtype))


def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """Write a number, or numbers in turn, to the diagonal, as `numpy.fill_diagonal`."""
    if not _target("fill_diagonal", a, val):
        np.fill_diagonal(a, _plain(val), wrap)
        return
    if a.ndim < 2:
        raise ValueError("array must be at least 2-d")
    if a.ndim > 2 and len(set(a.shape)) > 1:
        raise ValueError("All dimensions of input must be of equal length")
    if wrap and a.shape[0] > a.shape[1]:
        raise refused("fill_diagonal", "wrap=True is not supported")
    count = min(a.shape)
    places = _index(np.arange(count))
    a[(places,) * a.ndim] = resize(val, count).to(a.dtype)


# --------------------------------------------------------------------------- order and places
def partition(
    a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """Put the element of a rank to its place, lesser ones before it, as `numpy.partition`."""
    x, dim = along(as_tensor(a, "partition"), axis)
    places = np.argpartition(_numbers(x, "partition"), _plain(kth), axis=dim)
    return function("take_along_dim")(x, _index(places), dim)


def argpartition(
    a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None
) -> Any:
    """Places in the order of `partition`, as `numpy.argpartition`."""
    return _index(np.argpartition(_numbers(a, "argpartition"), _plain(kth), axis=axis))


def lexsort(keys: Any, axis: int = -1) -> Any:
    """Places in the order of several keys, the last first, as `numpy.lexsort`."""
    parts = [keys] if record.is_tensor(keys) else list(keys)
    arrays = (
        _numbers(keys, "lexsort")
        if record.is_tensor(keys)
        else [_numbers(k, "lexsort") for k in parts]
    )
    return _index(np.lexsort(arrays, axis))


def searchsorted(a: Any, v: Any, side: Any = "left", sorter: Any = None) -> Any:
    """Places where values would be inserted, as `numpy.searchsorted`; they are constants."""
    places = np.searchsorted(
        _numbers(a, "searchsorted"), _numbers(v, "searchsorted"), side, _plain(sorter)
    )
    return _index(places)


def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """Numbers of the bins of values, as `numpy.digitize`; they are constants."""
    return _index(np.digitize(_numbers(x, "digitize"), _numbers(bins, "digitize"), right))


def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """Counts of whole numbers, or sums of weights, as `numpy.bincount`."""
    index = _numbers(x, "bincount")
    if weights is None:
        return _index(np.bincount(index, minlength=minlength))
    w = with_dtype(as_tensor(weights, "bincount"), float)
    n = max(int(index.max()) + 1 if index.size else 0, int(minlength))
    if (index < 0).any():
        raise ValueError("'list' argument must have no negative elements")
    if w.shape != index.shape:
        raise ValueError("The weights and list don't have the same length.")
    return function("index_add")(function("zeros")((n,), dtype=w.dtype), 0, _index(index), w)


def unique(
    ar: Any, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False,
    axis: Any = None, *, equal_nan: bool = True, sorted: bool = True,
) -> Any:  # fmt: skip
    """Sorted values, each once, as `numpy.unique`; each has the derivative of the first that is it."""
    x = as_tensor(ar, "unique")
    _, index, inverse, counts = np.unique(
        _numbers(x, "unique"), return_index=True, return_inverse=True, return_counts=True, axis=axis,
        equal_nan=equal_nan,
    )  # fmt: skip
    flat, dim = along(x, axis)
    values = function("index_select")(flat, dim, _index(index))
    asked = [
        as_result(np.asarray(part, np.int64))
        for part, wanted in (
            (index, return_index), (inverse, return_inverse), (counts, return_counts)
        )
        if wanted
    ]  # fmt: skip
    return (values, *asked) if asked else values


# --------------------------------------------------------------------------- questions
def real_if_close(a: Any, tol: float = 100) -> Any:
    """The real part where the imaginary one is small, as `numpy.real_if_close`."""
    x = as_tensor(a, "real_if_close")
    if not x.dtype.is_complex:
        return x
    imaginary = function("imag")(x)
    least = tol * np.finfo(x.dtype.np).eps if tol > 1 else tol
    return function("real")(x) if bool((function("abs")(imaginary.detach()) < least).all()) else x


def isreal(x: Any) -> Any:
    """Return True for elements without an imaginary part, as `numpy.isreal`."""
    return function("isreal")(as_tensor(x, "isreal"))


def iscomplex(x: Any) -> Any:
    """Return True for elements with an imaginary part, as `numpy.iscomplex`."""
    return imag(x) != 0


def isposinf(x: Any, /, out: Any = None) -> Any:
    """Return True for positive infinity, as `numpy.isposinf`."""
    return written("isposinf", as_tensor(x, "isposinf") == np.inf, out)


def isneginf(x: Any, /, out: Any = None) -> Any:
    """Return True for negative infinity, as `numpy.isneginf`."""
    return written("isneginf", as_tensor(x, "isneginf") == -np.inf, out)
