"""NumPy's reductions and products on arrays of active scalars.

Sums and products are array statements (matmul.py); they add from the first element to the last. The others
are loops.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numba import types
from numba.extending import lower_builtin, register_jitable

from ..types import ActiveArray, is_active, is_given
from .arrays import empty, overload, overload_method
from .matmul import outer, product, total

__all__: list[str] = []


def _is_array(kind: Any) -> bool:
    return isinstance(kind, types.Array)


def _summed(a):  # type: ignore[no-untyped-def]
    raise TypeError


@overload(_summed)
def _ol_summed(a: Any) -> Any:
    if a.ndim == 1:
        return lambda a: total(a)
    if a.ndim == 2:
        return lambda a: total(total(a))

    def flat(a):  # type: ignore[no-untyped-def]
        copy = empty((a.size,))
        i = 0
        for x in a.flat:
            copy[i] = x
            i += 1
        return total(copy)

    return flat


@overload(np.sum)
def _ol_sum(a: Any, axis: Any = None) -> Any:
    if not isinstance(a, ActiveArray):
        return None
    if not is_given(axis):
        return lambda a, axis=None: _summed(a)
    return _along(a, _summed, total)


@lower_builtin(np.sum, ActiveArray)
def _lower_sum(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Lower a sum that numba typed itself: some versions ask their rule first."""
    return context.compile_internal(builder, lambda a: _summed(a), sig, args)


def _along(a: Any, reduce: Any, reduce_rows: Any) -> Any:
    """A reduction along one axis: of a vector, or of the rows of a matrix."""
    if a.ndim == 1:
        return lambda a, axis=None: reduce(a)
    if a.ndim == 2:

        def two(a, axis=None):  # type: ignore[no-untyped-def]
            if axis < -2 or axis > 1:
                raise ValueError("axis is out of bounds for array of dimension 2")
            moved = a.T if axis == 0 or axis == -2 else a
            return reduce_rows(moved)

        return two
    return None


@register_jitable
def _mean(a):  # type: ignore[no-untyped-def]
    return _summed(a) / a.size


@register_jitable
def _mean_of_rows(a):  # type: ignore[no-untyped-def]
    return total(a) / a.shape[1]


@overload(np.mean)
def _ol_mean(a: Any, axis: Any = None) -> Any:
    if not isinstance(a, ActiveArray):
        return None
    if not is_given(axis):
        return lambda a, axis=None: _mean(a)
    return _along(a, _mean, _mean_of_rows)


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


for _name, _function in (("max", _largest), ("min", _smallest), ("prod", _prod)):

    def _method(function: Any) -> Any:
        def method(a: Any) -> Any:
            return lambda a: function(a)

        return method

    overload_method(ActiveArray, _name)(_method(_function))


@overload_method(ActiveArray, "sum")
def _method_sum(a: Any, axis: Any = None) -> Any:
    return _ol_sum(a, axis)


@overload_method(ActiveArray, "mean")
def _method_mean(a: Any, axis: Any = None) -> Any:
    return _ol_mean(a, axis)


def _floats(a):  # type: ignore[no-untyped-def]
    raise TypeError


@overload(_floats)
def _ol_floats(a: Any) -> Any:
    if isinstance(a, ActiveArray) or a.dtype == types.float64:
        return lambda a: a
    return lambda a: a.astype(np.float64)


def _ol_dot(a: Any, b: Any) -> Any:
    if not (_is_array(a) and _is_array(b)) or not (is_active(a) or is_active(b)):
        return None
    if a.ndim not in (1, 2) or b.ndim not in (1, 2):
        return None
    return lambda a, b: product(_floats(a), _floats(b))


for _key in (np.dot, operator.matmul):
    overload(_key)(_ol_dot)


@overload_method(ActiveArray, "dot")
def _method_dot(a: Any, b: Any) -> Any:
    return _ol_dot(a, b)


@overload(np.outer)
def _ol_outer(a: Any, b: Any) -> Any:
    if not (_is_array(a) and _is_array(b)) or not (is_active(a) or is_active(b)):
        return None

    return lambda a, b: outer(_floats(a).reshape(a.size), _floats(b).reshape(b.size))
