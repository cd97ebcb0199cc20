"""Questions about a tensor's size and its place in memory."""

from __future__ import annotations

from typing import Any

from ..tape.recording import layout_of
from ..tape.tape import slot_of, tape_at
from .arguments import as_int, as_tensors, wrap_dim
from .registry import public

__all__ = ["storage_offset"]


@public(method=True, function=False)
def size(input: Any, dim: int | None = None, *, axis: int | None = None) -> Any:
    """Return the shape, or the length of one dimension."""
    shape = layout_of(input).shape
    dim = axis if dim is None else dim
    if dim is None:
        return shape
    if not shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return shape[wrap_dim(as_int("size", "dim", 1, dim), len(shape))]


@public(method=True, function=False)
def dim(input: Any) -> int:
    """Return the number of dimensions."""
    return layout_of(input).ndim


@public(method=True, aliases=("nelement",), out=False)
def numel(input: Any) -> int:
    """Return the number of elements."""
    (input,) = as_tensors("numel", (input,))
    return layout_of(input).size


@public(method=True, function=False)
def element_size(input: Any) -> int:
    """Return the bytes of one element."""
    return layout_of(input).dtype.itemsize


@public(method=True, function=False)
def stride(input: Any, dim: int | None = None, *, axis: int | None = None) -> Any:
    """Return the steps, in elements, from one element to the next along all dimensions or one."""
    layout = layout_of(input)
    strides = tuple(s // layout.dtype.itemsize for s in layout.strides)
    dim = axis if dim is None else dim
    if dim is None:
        return strides
    return strides[wrap_dim(as_int("stride", "dim", 1, dim), layout.ndim)]


@public(method=True, function=False)
def storage_offset(input: Any) -> int:
    """Return the distance, in elements, of the first element from the start of the base's memory."""
    tape = tape_at(input._state)
    with tape.lock:
        distance = tape.offset_in_memory(slot_of(tape, input))
    return distance // layout_of(input).dtype.itemsize if layout_of(input).size else 0


@public(method=True, function=False)
def is_contiguous(input: Any, *, memory_format: Any = None) -> bool:
    """Return True if the elements lie one after the other in C order."""
    return layout_of(input).is_contiguous
