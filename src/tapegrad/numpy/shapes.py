"""NumPy's functions of shapes on Tensors: views, joining, splitting, repeating."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .operands import as_tensor, axes_of, function, refused, with_dtype, written

__all__ = [
    "append", "array_split", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "broadcast_to",
    "column_stack", "concatenate", "copy", "diagonal", "dsplit", "dstack", "expand_dims", "flip", "fliplr",
    "flipud", "hsplit", "hstack", "matrix_transpose", "meshgrid", "moveaxis", "pad", "ravel", "repeat",
    "reshape", "roll", "rollaxis", "rot90", "row_stack", "split", "squeeze", "stack", "swapaxes", "tile",
    "transpose", "unstack", "vsplit", "vstack",
]  # fmt: skip


def reshape(a: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    """Give another shape, as `numpy.reshape`."""
    x = as_tensor(a, "reshape")
    lengths = (int(shape),) if not isinstance(shape, Sequence) else tuple([int(n) for n in shape])
    if order == "F":
        back = tuple(range(x.ndim))[::-1]
        known = [n for n in lengths if n >= 0]
        if len(known) < len(lengths):
            rest = x.numel() // int(np.prod(known, dtype=int)) if known else x.numel()
            lengths = tuple([rest if n < 0 else n for n in lengths])
        return transpose(x.permute(back).reshape(lengths[::-1]))
    if order not in ("C", "A"):
        raise refused("reshape", f"order={order!r} is not supported")
    return x.reshape(lengths)


def ravel(a: Any, order: str = "C") -> Any:
    """Flatten, as `numpy.ravel`."""
    return reshape(a, -1, order="C" if order == "K" else order)


def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    """Copy, as `numpy.copy`."""
    return as_tensor(a, "copy").clone()


def transpose(a: Any, axes: Any = None) -> Any:
    """Permute the dimensions, as `numpy.transpose`."""
    x = as_tensor(a, "transpose")
    return x.permute(tuple(range(x.ndim))[::-1] if axes is None else tuple(axes))


def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """Change two dimensions, as `numpy.swapaxes`."""
    return function("swapaxes")(as_tensor(a, "swapaxes"), int(axis1), int(axis2))


def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """Move dimensions, as `numpy.moveaxis`."""
    return function("moveaxis")(as_tensor(a, "moveaxis"), axes_of(source), axes_of(destination))


def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """Move a dimension back before another, as `numpy.rollaxis`."""
    x = as_tensor(a, "rollaxis")
    axis, start = axis % x.ndim, start + x.ndim if start < 0 else start
    return function("movedim")(x, axis, start - 1 if axis < start else start)


def matrix_transpose(x: Any, /) -> Any:
    """Transpose the last two dimensions, as `numpy.matrix_transpose`."""
    return swapaxes(x, -1, -2)


def expand_dims(a: Any, axis: Any) -> Any:
    """Add dimensions of length 1, as `numpy.expand_dims`."""
    x, axes = as_tensor(a, "expand_dims"), axes_of(axis)
    places = (axes,) if isinstance(axes, int) else axes
    ndim = x.ndim + len(places)
    for place in sorted([p % ndim for p in places]):
        x = x.unsqueeze(place)
    return x


def squeeze(a: Any, axis: Any = None) -> Any:
    """Remove dimensions of length 1, as `numpy.squeeze`."""
    x, axes = as_tensor(a, "squeeze"), axes_of(axis)
    if axes is None:
        return x.squeeze()
    for place in (axes,) if isinstance(axes, int) else axes:
        if x.shape[place] != 1:
            raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    return x.squeeze(axes)


def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """Repeat along new dimensions and those of length 1, as `numpy.broadcast_to`."""
    lengths = (shape,) if isinstance(shape, int) else tuple(shape)
    return function("broadcast_to")(as_tensor(array, "broadcast_to"), lengths)


def broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    """Broadcast operands to the same shape, as `numpy.broadcast_arrays`."""
    tensors = [as_tensor(x, "broadcast_arrays") for x in args]
    return tuple(function("broadcast_tensors")(*tensors))


def atleast_1d(*arys: Any) -> Any:
    """Give one dimension at least, as `numpy.atleast_1d`."""
    return _at_least(1, arys)


def atleast_2d(*arys: Any) -> Any:
    """Give two dimensions at least, as `numpy.atleast_2d`."""
    return _at_least(2, arys)


def atleast_3d(*arys: Any) -> Any:
    """Give three dimensions at least, as `numpy.atleast_3d`."""
    return _at_least(3, arys)


def _at_least(n: int, arys: Sequence[Any]) -> Any:
    name = f"atleast_{n}d"
    results = tuple([function(name)(as_tensor(x, name)) for x in arys])
    return results[0] if len(results) == 1 else results


def flip(m: Any, axis: Any = None) -> Any:
    """Reverse the order, as `numpy.flip`."""
    x, axes = as_tensor(m, "flip"), axes_of(axis)
    if axes is None:
        axes = tuple(range(x.ndim))
    return function("flip")(x, (axes,) if isinstance(axes, int) else axes)


def flipud(m: Any) -> Any:
    """Reverse the first dimension, as `numpy.flipud`."""
    return flip(m, 0)


def fliplr(m: Any) -> Any:
    """Reverse the second dimension, as `numpy.fliplr`."""
    return flip(m, 1)


def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """Turn by 90 degrees, as `numpy.rot90`."""
    x = as_tensor(m, "rot90")
    first, second = (a % x.ndim for a in axes)
    turns = k % 4
    if turns == 2:
        return flip(x, (first, second))
    if turns == 0:
        return x
    return (
        swapaxes(flip(x, second), first, second)
        if turns == 1
        else flip(swapaxes(x, first, second), second)
    )


def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """Shift round, as `numpy.roll`."""
    x = as_tensor(a, "roll")
    if axis is None:
        shifts: Any = int(np.sum(shift))
        return function("roll")(x, shifts)
    pairs = np.broadcast_arrays(np.atleast_1d(shift), np.atleast_1d(axis))
    return function("roll")(x, tuple(pairs[0].tolist()), tuple(pairs[1].tolist()))


def tile(A: Any, reps: Any) -> Any:
    """Repeat the whole, as `numpy.tile`."""
    counts = (int(reps),) if not isinstance(reps, Sequence) else tuple([int(n) for n in reps])
    return function("tile")(as_tensor(A, "tile"), counts)


def repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    """Repeat elements, as `numpy.repeat`."""
    x = as_tensor(a, "repeat")
    counts = repeats if isinstance(repeats, int) else function("tensor")(np.asarray(repeats, int))
    return function("repeat_interleave")(x, counts, dim=axis)


def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    """Grids of coordinates, as `numpy.meshgrid`."""
    tensors = [as_tensor(x, "meshgrid").reshape(-1) for x in xi]
    n, grids = len(tensors), []
    for i, x in enumerate(tensors):
        place = 1 - i if indexing == "xy" and i < 2 <= n else i
        grids.append(x.reshape([-1 if k == place else 1 for k in range(n)]))
    if not sparse:
        grids = [function("broadcast_to")(x, _common(grids)) for x in grids]
    return tuple([x.clone() for x in grids]) if copy else tuple(grids)


def _common(tensors: Sequence[Any]) -> tuple[int, ...]:
    return np.broadcast_shapes(*[tuple(x.shape) for x in tensors])


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Diagonals, as `numpy.diagonal`."""
    return function("diagonal")(as_tensor(a, "diagonal"), offset, axis1, axis2)


# --------------------------------------------------------------------------- joining and splitting
def concatenate(
    arrays: Any, /, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    """Join along a dimension, as `numpy.concatenate`."""
    tensors = [as_tensor(x, "concatenate") for x in arrays]
    if axis is None:
        tensors, axis = [x.reshape(-1) for x in tensors], 0
    return written("concatenate", with_dtype(function("cat")(tensors, int(axis)), dtype), out)


def stack(
    arrays: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    """Join along a new dimension, as `numpy.stack`."""
    tensors = [as_tensor(x, "stack") for x in arrays]
    return written("stack", with_dtype(function("stack")(tensors, int(axis)), dtype), out)


def _joined(name: str, arrays: Any, dtype: Any) -> Any:
    return with_dtype(function(name)([as_tensor(x, name) for x in arrays]), dtype)


def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Join rows, as `numpy.vstack`."""
    return _joined("vstack", tup, dtype)


row_stack = vstack


def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Join columns, as `numpy.hstack`."""
    return _joined("hstack", tup, dtype)


def dstack(tup: Any) -> Any:
    """Join along the third dimension, as `numpy.dstack`."""
    return _joined("dstack", tup, None)


def column_stack(tup: Any) -> Any:
    """Join vectors as columns, as `numpy.column_stack`."""
    return _joined("column_stack", tup, None)


def append(arr: Any, values: Any, axis: Any = None) -> Any:
    """Join behind, as `numpy.append`."""
    return concatenate([arr, values], axis)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Split into parts of about the same length, as `numpy.array_split`."""
    x = as_tensor(ary, "array_split")
    n = x.shape[axis]
    if isinstance(indices_or_sections, Sequence | np.ndarray):
        edges = [0, *[int(i) for i in indices_or_sections], n]
    else:
        count = int(indices_or_sections)
        size, more = divmod(n, count)
        edges = [i * size + builtins.min(i, more) for i in range(count + 1)]
    parts = []
    for edge, end in pairwise(edges):
        first, stop, _ = slice(edge, end).indices(n)
        parts.append(x.narrow(axis, first, builtins.max(stop - first, 0)))
    return parts


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Split into parts of the same length, as `numpy.split`."""
    n = as_tensor(ary, "split").shape[axis]
    is_count = not isinstance(indices_or_sections, Sequence | np.ndarray)
    if is_count and n % int(indices_or_sections):
        raise ValueError("array split does not result in an equal division")
    return array_split(ary, indices_or_sections, axis)


def unstack(x: Any, /, *, axis: int = 0) -> Any:
    """Split into slices, as `numpy.unstack`."""
    return tuple(function("unbind")(as_tensor(x, "unstack"), axis))


def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Split along the first dimension, as `numpy.vsplit`."""
    return split(ary, indices_or_sections, 0)


def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Split along the second dimension, as `numpy.hsplit`."""
    return split(ary, indices_or_sections, 1 if as_tensor(ary, "hsplit").ndim > 1 else 0)


def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """Split along the third dimension, as `numpy.dsplit`."""
    return split(ary, indices_or_sections, 2)


_MODES = {"constant": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}


def pad(array: Any, pad_width: Any, mode: str = "constant", **options: Any) -> Any:
    """Pad, as `numpy.pad`: with a number, the edges, or what is behind them."""
    x = as_tensor(array, "pad")
    widths = np.broadcast_to(np.asarray(pad_width, int), (x.ndim, 2))
    value = options.pop("constant_values", 0)
    if options or mode not in _MODES or (mode == "constant" and np.ndim(value)):
        odd = next(
            iter(options), f"mode={mode!r}" if mode not in _MODES else "constant_values of several"
        )
        raise refused("pad", f"{odd} is not supported")
    if mode == "constant":
        flat = [int(n) for pair in widths[::-1] for n in pair]
        return function("pad")(x, flat, "constant", value)
    for axis, (before, behind) in enumerate(widths.tolist()):
        if before or behind:
            places = np.pad(np.arange(x.shape[axis]), (before, behind), mode)  # type: ignore[call-overload]
            x = function("index_select")(x, axis, function("tensor")(places))
    return x
