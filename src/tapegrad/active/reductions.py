"""NumPy's reductions and products on arrays of active scalars.

They are loops that sum from the first element to the last.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import lower_builtin, register_jitable

from .arrays import empty, overload, overload_method
from .types import ActiveArray, is_active

__all__: list[str] = []


def _is_array(kind: Any) -> bool:
    return isinstance(kind, types.Array)


def _sum(a):  # type: ignore[no-untyped-def]
    total = a.flat[0] if a.size > 0 else 0.0
    first = True
    for x in a.flat:
        if not first:
            total = total + x
        first = False
    return total


_ALL = register_jitable(_sum)


@overload(np.sum)
def _ol_sum(a: Any, axis: Any = None) -> Any:
    if not isinstance(a, ActiveArray):
        return None
    if axis is None or isinstance(axis, types.NoneType | types.Omitted):
        return lambda a, axis=None: _ALL(a)
    return _along(a, _ALL)


@lower_builtin(np.sum, ActiveArray)
def _lower_sum(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """For numba's own rule of this call, which some versions ask first."""
    return context.compile_internal(builder, _sum, sig, args)


def _along(a: Any, reduce: Any) -> Any:
    """A reduction along one axis."""
    if a.ndim == 1:
        return lambda a, axis=None: reduce(a)
    if a.ndim == 2:

        def two(a, axis=None):  # type: ignore[no-untyped-def]
            if axis < -2 or axis > 1:
                raise ValueError("axis is out of bounds for array of dimension 2")
            moved = a.T if axis == 0 or axis == -2 else a
            out = empty((moved.shape[0],))
            for i in range(moved.shape[0]):
                out[i] = reduce(moved[i])
            return out

        return two
    return None


@register_jitable
def _mean(a):  # type: ignore[no-untyped-def]
    return _ALL(a) / a.size


@overload(np.mean)
def _ol_mean(a: Any, axis: Any = None) -> Any:
    if not isinstance(a, ActiveArray):
        return None
    if axis is None or isinstance(axis, types.NoneType | types.Omitted):
        return lambda a, axis=None: _mean(a)
    return _along(a, _mean)


@register_jitable
def _prod(a):  # type: ignore[no-untyped-def]
    total = 1.0
    for x in a.flat:
        total = total * x
    return total


@overload(np.prod)
def _ol_prod(a: Any) -> Any:
    return (lambda a: _prod(a)) if isinstance(a, ActiveArray) else None


@register_jitable
def _largest(a):  # type: ignore[no-untyped-def]
    if a.size == 0:
        raise ValueError("zero-size array to reduction operation not possible")
    best = a.flat[0]
    for x in a.flat:
        if x > best or x != x:
            best = x
    return best


@register_jitable
def _smallest(a):  # type: ignore[no-untyped-def]
    if a.size == 0:
        raise ValueError("zero-size array to reduction operation not possible")
    best = a.flat[0]
    for x in a.flat:
        if x < best or x != x:
            best = x
    return best


@overload(np.max)
def _ol_max(a: Any) -> Any:
    return (lambda a: _largest(a)) if isinstance(a, ActiveArray) else None


@overload(np.min)
def _ol_min(a: Any) -> Any:
    return (lambda a: _smallest(a)) if isinstance(a, ActiveArray) else None


for _name, _function in (
    ("sum", _ALL), ("mean", _mean), ("max", _largest), ("min", _smallest), ("prod", _prod),
):  # fmt: skip

    def _method(function: Any) -> Any:
        def method(a: Any) -> Any:
            return lambda a: function(a)

        return method

    overload_method(ActiveArray, _name)(_method(_function))


@register_jitable
def _dot11(a, b):  # type: ignore[no-untyped-def]
    if a.shape[0] != b.shape[0]:
        raise ValueError("incompatible array sizes for np.dot(a, b)")
    total = a[0] * b[0] if a.shape[0] > 0 else 0.0
    for i in range(1, a.shape[0]):
        total = total + a[i] * b[i]
    return total


@register_jitable
def _dot21(a, b):  # type: ignore[no-untyped-def]
    out = empty((a.shape[0],))
    for i in range(a.shape[0]):
        out[i] = _dot11(a[i], b)
    return out


@register_jitable
def _dot12(a, b):  # type: ignore[no-untyped-def]
    out = empty((b.shape[1],))
    for j in range(b.shape[1]):
        out[j] = _dot11(a, b[:, j])
    return out


@register_jitable
def _dot22(a, b):  # type: ignore[no-untyped-def]
    out = empty((a.shape[0], b.shape[1]))
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            out[i, j] = _dot11(a[i], b[:, j])
    return out


_DOTS = {(1, 1): _dot11, (2, 1): _dot21, (1, 2): _dot12, (2, 2): _dot22}


def _ol_dot(a: Any, b: Any) -> Any:
    if not (_is_array(a) and _is_array(b)) or not (is_active(a) or is_active(b)):
        return None
    found = _DOTS.get((a.ndim, b.ndim))
    return None if found is None else (lambda a, b: found(a, b))


for _key in (np.dot, operator.matmul):
    overload(_key)(_ol_dot)


@overload_method(ActiveArray, "dot")
def _method_dot(a: Any, b: Any) -> Any:
    return _ol_dot(a, b)


@overload(np.outer)
def _ol_outer(a: Any, b: Any) -> Any:
    if not (_is_array(a) and _is_array(b)) or not (is_active(a) or is_active(b)):
        return None

    def outer(a, b):  # type: ignore[no-untyped-def]
        out = empty((a.size, b.size))
        i = 0
        for x in a.flat:
            j = 0
            for y in b.flat:
                out[i, j] = x * y
                j += 1
            i += 1
        return out

    return outer
