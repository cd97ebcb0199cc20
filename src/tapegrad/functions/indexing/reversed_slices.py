"""Slices with a negative step, which NumPy has: the slice that runs forwards, and the dimensions to flip.

A tensor's strides are not negative, as in PyTorch, so ``x[::-1]`` is a copy and no view; ``x[::-1] = value``
writes.
"""

from __future__ import annotations

from typing import Any

from ...ops.layout import Layout

__all__ = ["forwards"]


def forwards(layout: Layout, index: Any) -> tuple[tuple[Any, ...], tuple[int, ...]] | None:
    """Return an index whose slices run forwards, and the dimensions of its result that run backwards.

    None is returned for an index without such slices, or with arrays.
    """
    if type(index) is int:
        return None
    items = list(index) if isinstance(index, tuple) else [index]
    indexed = sum(item is not None and item is not Ellipsis for item in items)
    flipped, axis, place = [], 0, 0
    for k, item in enumerate(items):
        if item is Ellipsis:
            spare = max(layout.ndim - indexed, 0)
            axis, place = axis + spare, place + spare
        elif item is None:
            place += 1
        elif isinstance(item, slice):
            if axis >= layout.ndim:
                return None
            start, stop, step = item.indices(layout.shape[axis])
            if step < 0:
                length = max(-((start - stop) // step), 0)
                items[k] = (
                    slice(start + (length - 1) * step, start + 1, -step) if length else slice(0, 0)
                )
                flipped.append(place)
            axis, place = axis + 1, place + 1
        elif isinstance(item, int) and not isinstance(item, bool):
            axis += 1
        else:
            return None
    return (tuple(items), tuple(flipped)) if flipped else None
