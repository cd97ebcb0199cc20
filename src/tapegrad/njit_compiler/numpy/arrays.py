"""Arrays of active scalars: allocation, copies and broadcasting, and `value` in compiled code.

njit_compiler/creation.py has NumPy's functions that make them; elementwise.py, reductions.py and others
have the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload_classmethod
from numba.extending import overload as numba_overload
from numba.extending import overload_method as numba_overload_method

from ..compiled import value
from ..numba_api import (
    cgutils,
    empty_array,
    impl_ret_borrowed,
    intrin_alloc,
    make_array,
    populate_array,
    signature,
    store_item,
)
from ..types import ACTIVE, NUMBERS, ActiveArray, ActiveScalar, InferredArray, is_given

__all__ = [
    "broadcast",
    "common_shape",
    "empty",
    "filled",
    "inferred",
    "is_plain",
    "overload",
    "overload_method",
]


def overload(function: Any, **jit_options: Any) -> Callable[..., Any]:
    """Like numba's, which compares signatures annotations included; asked before numba's own rules."""

    def register(definition: Any) -> Any:
        definition.__annotations__ = {}
        return numba_overload(function, jit_options, target="cpu")(definition)

    return register


def overload_method(kind: Any, name: str) -> Callable[..., Any]:
    """Like numba's, which compares signatures annotations included."""

    def register(definition: Any) -> Any:
        definition.__annotations__ = {}
        return numba_overload_method(kind, name)(definition)

    return register


# --------------------------------------------------------------------------- making arrays
def _allocated(context: Any, builder: Any, kind: Any, shape: Any, value: Any) -> Any:
    """A new array of a type, of a shape of any integers."""
    kinds = shape if isinstance(shape, types.BaseTuple) else (shape,)
    sizes = [value] if kinds is not shape else cgutils.unpack_tuple(builder, value, len(shape))
    sizes = [context.cast(builder, n, k, types.intp) for n, k in zip(sizes, kinds, strict=True)]
    return empty_array(context, builder, kind, sizes)


def _array_of(shape: Any) -> Any:
    """The type of an array of a shape, which is a tuple or a number."""
    if isinstance(shape, types.BaseTuple):
        return ActiveArray(len(shape), "C")
    return ActiveArray(1, "C") if isinstance(shape, types.Integer) else None


@intrinsic
def empty(typingctx: Any, shape: Any) -> Any:
    """An array of active scalars of any contents."""
    kind = _array_of(shape)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _allocated(context, builder, kind, shape, args[0])._getvalue()

    return None if kind is None else (signature(kind, shape), codegen)


@intrinsic
def filled(typingctx: Any, shape: Any, number: Any) -> Any:
    """An array of active scalars that are all the same."""
    kind = _array_of(shape)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = _allocated(context, builder, kind, shape, args[0])
        value = context.cast(builder, args[1], sig.args[1], ACTIVE)
        with cgutils.for_range(builder, array.nitems) as loop:
            place = builder.gep(array.data, [loop.index])
            store_item(context, builder, kind, value, place)
        return array._getvalue()

    fits = kind is not None and isinstance(number, NUMBERS)
    return (signature(kind, shape, number), codegen) if fits else None


@intrinsic
def inferred(typingctx: Any, shape: Any) -> Any:
    """An array of any contents, for the result of a list comprehension; its type is known later."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        sizes = cgutils.unpack_tuple(builder, args[0], len(shape))
        return empty_array(context, builder, sig.return_type, sizes)._getvalue()

    return signature(InferredArray(len(shape)), shape), codegen


def _allocate(cls: Any, size: Any, align: Any) -> Any:
    return lambda cls, size, align: intrin_alloc(size, align)


# numba asks the class of an array type for memory
_allocate.__annotations__ = {}
overload_classmethod(ActiveArray, "_allocate")(_allocate)


def is_plain(dtype: Any) -> bool:
    """Return True for a dtype (argument) whose arrays cannot be active: integers, truth values."""
    if not is_given(dtype):
        return False
    kind = getattr(dtype, "dtype", dtype)
    if isinstance(dtype, types.Function | types.NumberClass):
        text = str(dtype)
        return "int" in text or "bool" in text
    return isinstance(kind, types.Integer | types.Boolean)


@overload(np.copy)
def _ol_copy(a: Any) -> Any:
    if isinstance(a, ActiveArray):
        return lambda a: a.copy()
    return None


@overload_method(ActiveArray, "copy")
def _method_copy(a: Any) -> Any:
    def copy(a):  # type: ignore[no-untyped-def]
        out = empty(a.shape)
        out[...] = a
        return out

    return copy


@overload_method(ActiveArray, "astype")
def _method_astype(a: Any, dtype: Any) -> Any:
    if is_plain(dtype):
        return lambda a, dtype: value(a).astype(dtype)
    return lambda a, dtype: a.copy()


@overload_method(ActiveArray, "fill")
def _method_fill(a: Any, number: Any) -> Any:
    def fill(a, number):  # type: ignore[no-untyped-def]
        for index in np.ndindex(a.shape):
            a[index] = number

    return fill


@intrinsic
def common_shape(typingctx: Any, a: Any, b: Any) -> Any:
    """The shape that two shapes broadcast to; numba's own takes seconds to compile."""
    if not isinstance(a, types.BaseTuple) or not isinstance(b, types.BaseTuple):
        return None
    ndim = max(len(a), len(b))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        one = context.get_constant(types.intp, 1)
        shapes = []
        for kind, shape in zip((a, b), args, strict=True):
            lengths = cgutils.unpack_tuple(builder, shape, len(kind))
            shapes.append([one] * (ndim - len(kind)) + list(lengths))
        sizes = []
        for m, n in zip(*shapes, strict=True):
            single = builder.icmp_signed("==", m, one)
            fits = builder.or_(
                builder.or_(single, builder.icmp_signed("==", n, one)),
                builder.icmp_signed("==", m, n),
            )
            with builder.if_then(builder.not_(fits), likely=False):
                text = "shape mismatch: objects cannot be broadcast to a single shape"
                context.call_conv.return_user_exc(builder, ValueError, (text,))
            sizes.append(builder.select(single, n, m))
        return context.make_tuple(builder, sig.return_type, sizes)

    return signature(types.UniTuple(types.intp, ndim), a, b), codegen


@intrinsic
def broadcast(typingctx: Any, array: Any, shape: Any) -> Any:
    """A read-only view of an array with a larger shape, which must fit."""
    if not isinstance(array, types.Array) or not isinstance(shape, types.BaseTuple):
        return None
    ndim = len(shape)
    kind = array.copy(ndim=ndim, layout="A", readonly=True)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source = make_array(array)(context, builder, args[0])
        view = make_array(kind)(context, builder)
        sizes = cgutils.unpack_tuple(builder, args[1], ndim)
        lengths = cgutils.unpack_tuple(builder, source.shape, array.ndim)
        steps = cgutils.unpack_tuple(builder, source.strides, array.ndim)
        zero, one = context.get_constant(types.intp, 0), context.get_constant(types.intp, 1)
        strides = [zero] * (ndim - array.ndim)
        for size, step in zip(lengths, steps, strict=True):
            single = builder.icmp_signed("==", size, one)
            strides.append(builder.select(single, zero, step))
        total = one
        for n in sizes:
            total = builder.mul(total, n)
        populate_array(
            view, data=source.data, shape=cgutils.pack_array(builder, sizes),
            strides=cgutils.pack_array(builder, strides), itemsize=source.itemsize,
            meminfo=source.meminfo, parent=source.parent,
        )  # fmt: skip
        return impl_ret_borrowed(context, builder, kind, view._getvalue())

    return signature(kind, array, shape), codegen


# --------------------------------------------------------------------------- values
@intrinsic
def _value_of(typingctx: Any, x: Any) -> Any:
    """The value of an active scalar."""
    if not isinstance(x, ActiveScalar):
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_value(args[0], 0)

    return types.float64(ACTIVE), codegen


@overload(value)
def _ol_value(x: Any) -> Any:
    if isinstance(x, ActiveScalar):
        return lambda x: _value_of(x)
    if isinstance(x, ActiveArray):

        def values(x):  # type: ignore[no-untyped-def]
            out = np.empty(x.shape, np.float64)
            for index in np.ndindex(x.shape):
                out[index] = _value_of(x[index])
            return out

        return values
    if isinstance(x, types.Number | types.Boolean | types.Array):
        return lambda x: x
    return None
