"""NumPy's elementwise functions, and operators, on arrays of active scalars.

They broadcast, and do each element as the function of scalars would (lowering/scalars.py).
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numba import types
from numba.extending import lower_builtin, register_jitable

from ...ops.table import TABLE, Op
from ...scalar_tape import opcodes as strip_code
from ..lowering import scalars
from ..numba_api import AbstractTemplate, infer_global, signature
from ..types import NUMBERS, ActiveArray, ActiveScalar, is_active, numbers_of, refuse_threads
from .arrays import broadcast, common_shape, empty, overload

__all__ = ["define_elementwise"]


def _is_array(kind: Any) -> bool:
    return isinstance(kind, types.Array)


def _shape_of(kinds: Any) -> int:
    return max(k.ndim for k in kinds if _is_array(k))


def _over_one(function: Any, make: Any) -> Any:
    def run(x):  # type: ignore[no-untyped-def]
        out = make(x.shape)
        for index in np.ndindex(x.shape):
            out[index] = function(x[index])
        return out

    return run


def _over_two(function: Any, make: Any) -> Any:
    def run(x, y):  # type: ignore[no-untyped-def]
        shape = common_shape(x.shape, y.shape)
        a, b = broadcast(x, shape), broadcast(y, shape)
        out = make(shape)
        for index in np.ndindex(shape):
            out[index] = function(a[index], b[index])
        return out

    return run


def _over_left(function: Any, make: Any) -> Any:
    def run(x, y):  # type: ignore[no-untyped-def]
        out = make(x.shape)
        for index in np.ndindex(x.shape):
            out[index] = function(x[index], y)
        return out

    return run


def _over_right(function: Any, make: Any) -> Any:
    def run(x, y):  # type: ignore[no-untyped-def]
        out = make(y.shape)
        for index in np.ndindex(y.shape):
            out[index] = function(x, y[index])
        return out

    return run


@register_jitable
def _truths(shape):  # type: ignore[no-untyped-def]
    return np.empty(shape, np.bool_)


@register_jitable
def _numbers(shape):  # type: ignore[no-untyped-def]
    return np.empty(shape, np.float64)


def define_elementwise(entry: Op, function: Any, *, plain: bool = False) -> Any:
    """Let a function or operator take arrays, some of them active, or `plain` ones; its typing rule.

    numba makes loops of array expressions by itself, once their types are known.
    """
    truth = strip_code.is_truth(entry)
    make = _truths if truth else _numbers if plain else empty

    class Typing(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            if kws or len(args) != entry.arity or not any(map(_is_array, args)):
                return None
            kinds = types.Array, *NUMBERS
            if any(map(is_active, args)) == plain or not all(isinstance(a, kinds) for a in args):
                return None
            ndim = _shape_of(args)
            if plain:
                return signature(types.Array(types.float64, ndim, "C"), *args)
            refuse_threads()
            result = types.Array(types.boolean, ndim, "C") if truth else ActiveArray(ndim, "C")
            return signature(result, *args)

    Typing.key = function
    Typing.__name__ = f"ActiveArray_{entry.name}"

    def lower_with(run: Any) -> Any:
        def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return context.compile_internal(builder, run, sig, args)

        return lower

    if entry.arity == 1:
        lower_builtin(function, types.Array if plain else ActiveArray)(
            lower_with(_over_one(function, make))
        )
        return Typing
    both, left, right = (over(function, make) for over in (_over_two, _over_left, _over_right))
    kinds = ActiveArray, types.Array
    pairs = (
        [(types.Array, types.Array)] if plain else [(ActiveArray, ActiveArray), kinds, kinds[::-1]]
    )
    for x, y in pairs:
        lower_builtin(function, x, y)(lower_with(both))
    for array, scalar in [(types.Array, k) for k in NUMBERS] if plain else _PAIRS:
        lower_builtin(function, array, scalar)(lower_with(left))
        lower_builtin(function, scalar, array)(lower_with(right))
    return Typing


_PAIRS = [
    *((ActiveArray, k) for k in NUMBERS),
    (types.Array, ActiveScalar),
]


def _define_in_place(function: Any, stand_in: Any) -> None:
    """Let ``x += y`` write into active arrays, and leave its meaning for other operands.

    Like numba's own, it writes each element before it reads the next: where the two share memory, the
    result differs from NumPy's.
    """
    plain = getattr(operator, {"itruediv": "truediv", "ifloordiv": "floordiv"}.get(
        function.__name__, function.__name__[1:]
    ))  # fmt: skip

    @overload(stand_in)
    def in_place(x: Any, y: Any) -> Any:
        if isinstance(x, ActiveArray) and _is_array(y) and y.ndim <= x.ndim:

            def update(x, y):  # type: ignore[no-untyped-def]
                if common_shape(x.shape, y.shape) != x.shape:
                    raise ValueError("in-place operation: the operand does not fit into the array")
                b = broadcast(y, x.shape)
                for index in np.ndindex(x.shape):
                    x[index] = plain(x[index], b[index])
                return x

            return update
        if isinstance(x, ActiveArray) and isinstance(y, NUMBERS):

            def update_by_one(x, y):  # type: ignore[no-untyped-def]
                for index in np.ndindex(x.shape):
                    x[index] = plain(x[index], y)
                return x

            return update_by_one
        if isinstance(x, ActiveScalar) or isinstance(y, ActiveScalar):
            return None
        if getattr(x, "mutable", False):
            if is_active(y):
                return None
            return lambda x, y: function(x, y)
        return lambda x, y: plain(x, y)


for _key, _stands_for in scalars.IN_PLACE.items():
    _define_in_place(_key, _stands_for)
for _name, _keys in scalars.OPERATORS.items():
    for _key in _keys:
        if _key is not pow and _key not in scalars.IN_PLACE.values():
            infer_global(_key)(define_elementwise(TABLE[_name], _key))
for _key, _name in scalars.NUMPY_FUNCTIONS.items():
    infer_global(_key)(define_elementwise(TABLE[_name], _key))


@overload(operator.pos)
def _ol_pos(x: Any) -> Any:
    return (lambda x: x.copy()) if isinstance(x, ActiveArray) else None


# --------------------------------------------------------------------------- choices
@overload(np.where)
def _ol_where(condition: Any, x: Any, y: Any) -> Any:
    if not (is_active(x) or is_active(y)):
        return None
    if isinstance(condition, NUMBERS) and isinstance(x, NUMBERS) and isinstance(y, NUMBERS):
        return lambda condition, x, y: x if condition else y
    if not _is_array(condition):
        return None
    if isinstance(x, NUMBERS) and isinstance(y, NUMBERS):

        def two_scalars(condition, x, y):  # type: ignore[no-untyped-def]
            out = empty(condition.shape)
            for index in np.ndindex(condition.shape):
                out[index] = x if condition[index] else y
            return out

        return two_scalars
    if _is_array(x) and _is_array(y):

        def two_arrays(condition, x, y):  # type: ignore[no-untyped-def]
            shape = common_shape(common_shape(condition.shape, x.shape), y.shape)
            c, a, b = broadcast(condition, shape), broadcast(x, shape), broadcast(y, shape)
            out = empty(shape)
            for index in np.ndindex(shape):
                if c[index]:
                    out[index] = a[index]
                else:
                    out[index] = b[index]
            return out

        return two_arrays
    if _is_array(x):

        def array_left(condition, x, y):  # type: ignore[no-untyped-def]
            shape = common_shape(condition.shape, x.shape)
            c, a = broadcast(condition, shape), broadcast(x, shape)
            out = empty(shape)
            for index in np.ndindex(shape):
                if c[index]:
                    out[index] = a[index]
                else:
                    out[index] = y
            return out

        return array_left

    def array_right(condition, x, y):  # type: ignore[no-untyped-def]
        shape = common_shape(condition.shape, y.shape)
        c, b = broadcast(condition, shape), broadcast(y, shape)
        out = empty(shape)
        for index in np.ndindex(shape):
            if c[index]:
                out[index] = x
            else:
                out[index] = b[index]
        return out

    return array_right


@overload(max)
def _ol_builtin_max(a: Any, b: Any) -> Any:
    return (lambda a, b: b if b > a else a) if numbers_of(a, b) else None


@overload(min)
def _ol_builtin_min(a: Any, b: Any) -> Any:
    return (lambda a, b: b if b < a else a) if numbers_of(a, b) else None
