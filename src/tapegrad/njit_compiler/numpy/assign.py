"""Assignment of arrays to parts of active arrays: ``x[1:] = y``, ``x[...] = y``.

numba's code for each assignment contains a function that writes the shapes into the message of an error;
compiling it takes seconds. This one has a fixed message. Index arrays are left to numba's.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import lower_builtin

from ..numba_api import (
    cgutils,
    empty_array,
    extents_may_overlap,
    get_array_index_type,
    get_array_memory_extents,
    load_item,
    make_array,
    setitem_array,
    signature,
    store_item,
)
from ..types import ActiveArray, is_active

__all__: list[str] = []

_MESSAGE = "could not broadcast the input array into the shape of what it is assigned to"


class _Memory:
    """The memory of an array: its shape, strides and data."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self.context, self.builder, self.kind = context, builder, kind
        self.array = make_array(kind)(context, builder, value)
        self.shape = cgutils.unpack_tuple(builder, self.array.shape, kind.ndim)
        self.strides = cgutils.unpack_tuple(builder, self.array.strides, kind.ndim)
        self.data = self.array.data

    @property
    def extents(self) -> tuple[Any, Any]:
        """First and last address of its elements."""
        extents: tuple[Any, Any] = get_array_memory_extents(
            self.context, self.builder, self.kind, self.array, self.shape, self.strides, self.data
        )
        return extents

    @contextmanager
    def elements(self) -> Iterator[tuple[Any, ...]]:
        """A loop over its indices."""
        with cgutils.loop_nest(self.builder, self.shape, self.shape[0].type) as indices:
            yield tuple(indices)

    def pointer(self, indices: tuple[Any, ...]) -> Any:
        """Pointer to an element."""
        offset = ir.Constant(self.strides[0].type, 0)
        for index, stride in zip(indices, self.strides, strict=True):
            offset = self.builder.add(offset, self.builder.mul(index, stride))
        return cgutils.pointer_add(self.builder, self.data, offset)

    def load(self, indices: tuple[Any, ...], kind: Any) -> Any:
        """An element as another type."""
        value = load_item(self.context, self.builder, self.kind, self.pointer(indices))
        return self.context.cast(self.builder, value, self.kind.dtype, kind)

    def store(self, indices: tuple[Any, ...], value: Any) -> None:
        """Set an element."""
        store_item(self.context, self.builder, self.kind, value, self.pointer(indices))

    def stretch(self, shape: list[Any]) -> None:
        """Broadcast it: equal sizes stay, and those of 1 get a stride of 0; raises for others."""
        builder, context = self.builder, self.context
        fits = ir.Constant(ir.IntType(1), 1)
        size = shape[0].type
        surplus = max(self.kind.ndim - len(shape), 0)  # leading dimensions, which must be 1
        lengths, strides = self.shape, self.strides
        for i in range(surplus):
            fits = builder.and_(fits, builder.icmp_signed("==", lengths[i], size(1)))
        lengths, strides = lengths[surplus:], strides[surplus:]
        lead = len(shape) - len(lengths)
        self.strides = [size(0)] * lead
        for wanted, n, stride in zip(shape[lead:], lengths, strides, strict=True):
            same = builder.icmp_signed("==", wanted, n)
            single = builder.icmp_signed("==", n, size(1))
            fits = builder.and_(fits, builder.or_(same, single))
            self.strides.append(builder.select(single, size(0), stride))
        with builder.if_then(builder.not_(fits), likely=False):
            context.call_conv.return_user_exc(builder, ValueError, (_MESSAGE,))
        self.shape = shape


def _without_overlap(target: _Memory, source: _Memory) -> Any:
    """Copy the source first where the two may have elements in common; the copy's type and where it is."""
    context, builder = source.context, source.builder
    kind = ActiveArray(source.kind.ndim, "C")
    copied = cgutils.alloca_once_value(builder, ir.Constant(context.get_value_type(kind), None))
    data = cgutils.alloca_once_value(builder, source.data)
    places = [cgutils.alloca_once_value(builder, stride) for stride in source.strides]
    overlap = extents_may_overlap(context, builder, *target.extents, *source.extents)
    with builder.if_then(overlap, likely=False):
        array = empty_array(context, builder, kind, source.shape)._getvalue()
        copy = _Memory(context, builder, kind, array)
        with source.elements() as indices:
            copy.store(indices, source.load(indices, kind.dtype))
        builder.store(array, copied)
        builder.store(copy.data, data)
        for place, stride in zip(places, copy.strides, strict=True):
            builder.store(stride, place)
    source.data = builder.load(data)
    source.strides = [builder.load(place) for place in places]
    return kind, copied


@lower_builtin(operator.setitem, ActiveArray, types.Any, types.Array)  # type: ignore[untyped-decorator]
def _assign(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    array, index, kind = sig.args
    index_value = args[1]
    if not isinstance(index, types.BaseTuple):  # numba has no code for ``[...]`` alone
        index = types.Tuple([index])
        index_value = context.make_tuple(builder, index, [index_value])
    indexing = get_array_index_type(array, index)
    if (
        indexing is None
        or indexing.advanced
        or not isinstance(indexing.result, types.Array)
        or not kind.ndim
    ):
        return setitem_array(context, builder, sig, args)
    part = context.get_function(operator.getitem, signature(indexing.result, array, index))
    view = part(builder, (args[0], index_value))
    target = _Memory(context, builder, indexing.result, view)
    source = _Memory(context, builder, kind, args[2])
    copied = _without_overlap(target, source) if is_active(kind) else None
    source.stretch(target.shape)
    with target.elements() as indices:
        target.store(indices, source.load(indices, array.dtype))
    if copied is not None:
        context.nrt.decref(builder, copied[0], builder.load(copied[1]))
    context.nrt.decref(builder, indexing.result, view)
    return context.get_dummy_value()
