"""Functions of the standard that give arrays other shapes, and take parts of them."""

from __future__ import annotations

from typing import Any

from ..numpy import selection, shapes
from ..numpy.operands import as_tensor, promoted

__all__ = [
    "broadcast_arrays", "broadcast_to", "concat", "expand_dims", "flip", "matrix_transpose", "moveaxis",
    "permute_dims", "repeat", "reshape", "roll", "squeeze", "stack", "take", "take_along_axis", "tile",
    "unstack",
]  # fmt: skip


def broadcast_arrays(*arrays: Any) -> list[Any]:
    """Broadcast arrays to the same shape."""
    return list(shapes.broadcast_arrays(*arrays))


def broadcast_to(x: Any, /, shape: Any) -> Any:
    """Repeat along new dimensions and those of length 1."""
    return shapes.broadcast_to(x, shape)


def concat(arrays: Any, /, *, axis: Any = 0) -> Any:
    """Join along a dimension, or flattened for ``axis=None``."""
    return shapes.concatenate(promoted("concat", *arrays), axis)


def stack(arrays: Any, /, *, axis: int = 0) -> Any:
    """Join along a new dimension."""
    return shapes.stack(promoted("stack", *arrays), axis)


def expand_dims(x: Any, /, axis: int) -> Any:
    """Add a dimension of length 1."""
    array = as_tensor(x, "expand_dims")
    if not -array.ndim - 1 <= axis <= array.ndim:
        raise IndexError(f"expand_dims: axis {axis} is out of bounds for {array.ndim} dimensions")
    return shapes.expand_dims(array, axis)


def squeeze(x: Any, /, axis: Any) -> Any:
    """Remove dimensions of length 1; another one is an error."""
    return shapes.squeeze(x, axis)


def flip(x: Any, /, *, axis: Any = None) -> Any:
    """Reverse the order along dimensions, all of them by default."""
    return shapes.flip(x, axis)


def matrix_transpose(x: Any, /) -> Any:
    """Transpose matrices."""
    return shapes.matrix_transpose(x)


def moveaxis(x: Any, source: Any, destination: Any, /) -> Any:
    """Move dimensions to other places."""
    return shapes.moveaxis(x, source, destination)


def permute_dims(x: Any, /, axes: Any) -> Any:
    """Permute the dimensions."""
    return shapes.transpose(x, axes)


def repeat(x: Any, repeats: Any, /, *, axis: Any = None) -> Any:
    """Repeat each element, or each slice."""
    return shapes.repeat(x, repeats, axis)


def reshape(x: Any, /, shape: Any, *, copy: Any = None) -> Any:
    """Give another shape; of ``copy=False`` the result is a view, or there is an error."""
    array = as_tensor(x, "reshape")
    if copy is False:
        return array.view(tuple(shape))
    result = shapes.reshape(array, shape)
    return result.clone() if copy else result


def roll(x: Any, /, shift: Any, *, axis: Any = None) -> Any:
    """Shift elements round."""
    return shapes.roll(x, shift, axis)


def tile(x: Any, repetitions: Any, /) -> Any:
    """Repeat the whole."""
    return shapes.tile(x, repetitions)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """Split into slices along a dimension."""
    result: tuple[Any, ...] = shapes.unstack(x, axis=axis)
    return result


def take(x: Any, indices: Any, /, *, axis: Any = None) -> Any:
    """Return elements at places along a dimension, which is the only one by default."""
    array = as_tensor(x, "take")
    if axis is None and array.ndim != 1:
        raise ValueError(f"take: give axis for {array.ndim} dimensions")
    return selection.take(array, indices, axis)


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Any:
    """Return elements at places of their own along a dimension."""
    return selection.take_along_axis(x, indices, axis)
