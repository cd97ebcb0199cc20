"""More of NumPy and `math` on active values, written with the functions of the other modules.

Each of these is plain code that is compiled for active arguments like a user's, so its derivative is that of
its operations.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numba import types
from numba.extending import register_jitable

from ..compiled import value
from ..compiler import ActiveCompiler
from ..types import ActiveArray, ActiveScalar, arrays_of, is_active, is_given, numbers_of
from . import arrays
from .arrays import empty, overload_method

__all__ = ["jitable", "overload"]

overload = partial(arrays.overload, pipeline_class=ActiveCompiler)
jitable = register_jitable(pipeline_class=ActiveCompiler)


# --------------------------------------------------------------------------- ranges and choices
@overload(np.linspace)
def _ol_linspace(start: Any, stop: Any, num: Any = 50) -> Any:
    if not (is_active(start) or is_active(stop)):
        return None

    def linspace(start, stop, num=50):  # type: ignore[no-untyped-def]
        if num < 0:
            raise ValueError("np.linspace: the number of samples must not be negative")
        out, step = empty((num,)), (stop - start) / max(num - 1, 1)
        for i in range(num):
            out[i] = start + i * step
        if num > 1:
            out[num - 1] = stop
        return out

    return linspace


@overload(np.arange)
def _ol_arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Any:
    if not (is_active(start) or is_active(stop) or is_active(step)) or is_given(dtype):
        return None
    if not is_given(stop):
        return lambda start, stop=None, step=None, dtype=None: np.arange(0.0, start, 1.0)
    if not is_given(step):
        return lambda start, stop=None, step=None, dtype=None: np.arange(start, stop, 1.0)

    def arange(start, stop=None, step=None, dtype=None):  # type: ignore[no-untyped-def]
        count = math.ceil((value(stop) - value(start)) / value(step))
        out = empty((max(0, count),))
        for i in range(out.size):
            out[i] = start + i * step
        return out

    return arange


@overload(np.take)
def _ol_take(a: Any, indices: Any) -> Any:
    if not isinstance(a, ActiveArray):
        return None
    if isinstance(indices, types.Integer):
        return lambda a, indices: a.reshape(a.size)[indices]
    return lambda a, indices: a.reshape(a.size)[indices].copy()


@overload_method(ActiveArray, "take")
def _method_take(a: Any, indices: Any) -> Any:
    return lambda a, indices: np.take(a, indices)


@overload(np.repeat)
def _ol_repeat(a: Any, repeats: Any) -> Any:
    if not (isinstance(a, ActiveArray) and isinstance(repeats, types.Integer)):
        return None

    def repeat(a, repeats):  # type: ignore[no-untyped-def]
        out = empty((a.size * repeats,))
        for i in range(out.size):
            out[i] = a.flat[i // repeats]
        return out

    return repeat


@overload(np.roll)
def _ol_roll(a: Any, shift: Any) -> Any:
    if not (isinstance(a, ActiveArray) and isinstance(shift, types.Integer)):
        return None

    def roll(a, shift):  # type: ignore[no-untyped-def]
        line, out = np.ascontiguousarray(a).reshape(a.size), empty((a.size,))
        for i in range(a.size):
            out[(i + shift) % a.size] = line[i]
        return out.reshape(a.shape)

    return roll


# --------------------------------------------------------------------------- scans and moments
@jitable
def _cumulated(a, product):  # type: ignore[no-untyped-def]
    out, line = empty((a.size,)), np.ascontiguousarray(a).reshape(a.size)
    for i in range(a.size):
        if i == 0:
            out[i] = line[i]
        else:
            out[i] = out[i - 1] * line[i] if product else out[i - 1] + line[i]
    return out


@jitable
def _variance(a):  # type: ignore[no-untyped-def]
    off = a - np.mean(a)
    return np.mean(off * off)


@jitable
def _deviation(a):  # type: ignore[no-untyped-def]
    return math.sqrt(_variance(a))


@jitable
def _median(a):  # type: ignore[no-untyped-def]
    line = np.sort(a.reshape(a.size))
    middle = a.size // 2
    return line[middle] if a.size % 2 else (line[middle - 1] + line[middle]) / 2.0


@jitable
def _quantile(a, q):  # type: ignore[no-untyped-def]
    if not 0.0 <= q <= 1.0:
        raise ValueError("Quantiles must be in the range [0, 1]")
    line = np.sort(a.reshape(a.size))
    position = q * (line.size - 1)
    low = math.floor(position)
    high = min(low + 1, line.size - 1)
    return line[low] + (line[high] - line[low]) * (position - low)


@overload(np.quantile)
def _ol_quantile(a: Any, q: Any) -> Any:
    plain = isinstance(a, ActiveArray) and isinstance(q, types.Number)
    return (lambda a, q: _quantile(a, q)) if plain else None


@overload(np.percentile)
def _ol_percentile(a: Any, q: Any) -> Any:
    plain = isinstance(a, ActiveArray) and isinstance(q, types.Number)
    return (lambda a, q: _quantile(a, q / 100.0)) if plain else None


@jitable
def _extent(a):  # type: ignore[no-untyped-def]
    return np.max(a) - np.min(a)


@jitable
def _running_sum(a):  # type: ignore[no-untyped-def]
    return _cumulated(a, False)


@jitable
def _running_product(a):  # type: ignore[no-untyped-def]
    return _cumulated(a, True)


def _of_one_array(function: Any, compiled: Any, method: str | None = None) -> None:
    """Let a function of NumPy's (and a method of arrays) take an active array."""

    def implementation(a: Any) -> Any:
        return (lambda a: compiled(a)) if isinstance(a, ActiveArray) else None

    overload(function)(implementation)
    if method is not None:
        overload_method(ActiveArray, method)(implementation)


_of_one_array(np.cumsum, _running_sum, "cumsum")
_of_one_array(np.cumprod, _running_product, "cumprod")
_of_one_array(np.var, _variance, "var")
_of_one_array(np.std, _deviation, "std")
_of_one_array(np.median, _median)
_of_one_array(np.ptp, _extent)


@overload(np.average)
def _ol_average(a: Any, axis: Any = None, weights: Any = None) -> Any:
    if not (isinstance(a, types.Array) and (is_active(a) or is_active(weights))) or is_given(axis):
        return None
    if is_given(weights):
        return lambda a, axis=None, weights=None: np.sum(a * weights) / np.sum(weights)
    return lambda a, axis=None, weights=None: np.mean(a)


@overload(np.diff)
def _ol_diff(a: Any, n: Any = 1) -> Any:
    if not isinstance(a, ActiveArray) or a.ndim != 1:
        return None

    def diff(a, n=1):  # type: ignore[no-untyped-def]
        if n < 0:
            raise ValueError("diff(): order must be non-negative")
        out = a.copy()
        for _ in range(n):
            if out.size == 0:
                break
            out = out[1:] - out[:-1]
        return out

    return diff


# --------------------------------------------------------------------------- matrices
@overload(np.trace)
def _ol_trace(a: Any, offset: Any = 0) -> Any:
    if not isinstance(a, ActiveArray) or a.ndim != 2:
        return None

    def trace(a, offset=0):  # type: ignore[no-untyped-def]
        total = 0.0
        for i in range(max(0, -offset), min(a.shape[0], a.shape[1] - offset)):
            total += a[i, i + offset]
        return total

    return trace


@overload(np.diag)
def _ol_diag(v: Any, k: Any = 0) -> Any:
    if not isinstance(v, ActiveArray):
        return None
    if v.ndim == 1:

        def matrix(v, k=0):  # type: ignore[no-untyped-def]
            n = v.size + abs(k)
            out = empty((n, n))
            out[...] = 0.0
            for i in range(v.size):
                out[i + max(0, -k), i + max(0, k)] = v[i]
            return out

        return matrix

    def diagonal(v, k=0):  # type: ignore[no-untyped-def]
        first, last = max(0, -k), min(v.shape[0], v.shape[1] - k)
        out = empty((max(0, last - first),))
        for i in range(first, last):
            out[i - first] = v[i, i + k]
        return out

    return diagonal if v.ndim == 2 else None


@overload(np.kron)
def _ol_kron(a: Any, b: Any) -> Any:
    if not arrays_of(a, b, ndim=(2,)):
        return None

    def kron(a, b):  # type: ignore[no-untyped-def]
        m, n = b.shape
        out = empty((a.shape[0] * m, a.shape[1] * n))
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j] = a[i // m, j // n] * b[i % m, j % n]
        return out

    return kron


@overload(np.cross)
def _ol_cross(a: Any, b: Any) -> Any:
    if not arrays_of(a, b, ndim=(1,)):
        return None

    def cross(a, b):  # type: ignore[no-untyped-def]
        if a.size != 3 or b.size != 3:
            raise ValueError("np.cross of active vectors: they must have 3 elements")
        out = empty((3,))
        out[0] = a[1] * b[2] - a[2] * b[1]
        out[1] = a[2] * b[0] - a[0] * b[2]
        out[2] = a[0] * b[1] - a[1] * b[0]
        return out

    return cross


@overload(np.convolve)
def _ol_convolve(a: Any, v: Any) -> Any:
    if not arrays_of(a, v, ndim=(1,)):
        return None

    def convolve(a, v):  # type: ignore[no-untyped-def]
        if a.size == 0 or v.size == 0:
            raise ValueError("np.convolve: an operand is empty")
        out = empty((a.size + v.size - 1,))
        for k in range(out.size):
            total = 0.0
            for i in range(max(0, k - v.size + 1), min(k + 1, a.size)):
                total += a[i] * v[k - i]
            out[k] = total
        return out

    return convolve


@overload(np.interp)
def _ol_interp(x: Any, xp: Any, fp: Any) -> Any:
    if not (is_active(x) or is_active(xp) or is_active(fp)):
        return None
    if isinstance(x, types.Array):

        def every(x, xp, fp):  # type: ignore[no-untyped-def]
            out = empty(x.shape)
            for index in np.ndindex(x.shape):
                out[index] = np.interp(x[index], xp, fp)
            return out

        return every

    def one(x, xp, fp):  # type: ignore[no-untyped-def]
        if xp.size == 0 or xp.size != fp.size:
            raise ValueError("np.interp: fp and xp are not of the same length, or are empty")
        if x <= xp[0] or xp.size == 1:
            return fp[0] + 0.0 * x
        last = xp.size - 1
        if x >= xp[last]:
            return fp[last] + 0.0 * x
        i = 0
        while x >= xp[i + 1]:
            i += 1
        return fp[i] + (fp[i + 1] - fp[i]) / (xp[i + 1] - xp[i]) * (x - xp[i])

    return one


# --------------------------------------------------------------------------- scalars
def _extreme(function: Any) -> None:
    """Let ``min`` or ``max`` take more than two numbers."""

    def implementation(*args: Any) -> Any:
        if len(args) < 3 or not numbers_of(*args):
            return None
        text = "args[0]"
        for i in range(1, len(args)):
            text = f"function({text}, args[{i}])"
        scope = {"function": function}
        exec(f"def extreme(*args):\n    return {text}\n", scope)
        return scope["extreme"]

    overload(function)(implementation)


_extreme(max)
_extreme(min)


@overload(np.fabs)
def _ol_fabs(x: Any) -> Any:
    return (lambda x: np.abs(x)) if is_active(x) else None


@overload(divmod)
def _ol_divmod(x: Any, y: Any) -> Any:
    return (lambda x, y: (x // y, x % y)) if numbers_of(x, y) else None


@overload(math.ldexp)
def _ol_ldexp(x: Any, i: Any) -> Any:
    return (lambda x, i: x * math.ldexp(1.0, i)) if isinstance(x, ActiveScalar) else None


for _function, _factor in (
    (np.degrees, 180.0 / math.pi), (math.degrees, 180.0 / math.pi),
    (np.radians, math.pi / 180.0), (math.radians, math.pi / 180.0),
):  # fmt: skip

    def _scaled(factor: Any) -> Any:
        def implementation(x: Any) -> Any:
            return (lambda x: x * factor) if is_active(x) else None

        return implementation

    overload(_function)(_scaled(_factor))


# --------------------------------------------------------------------------- functions of the value
@overload(round)
def _ol_builtin_round(number: Any, ndigits: Any = None) -> Any:
    if not isinstance(number, ActiveScalar):
        return None
    if is_given(ndigits):
        return lambda number, ndigits=None: round(value(number), ndigits)
    return lambda number, ndigits=None: round(value(number))


@overload(np.round)
def _ol_round(a: Any, decimals: Any = 0) -> Any:
    if not is_active(a):
        return None
    if isinstance(a, ActiveScalar):
        return lambda a, decimals=0: round(value(a), decimals)

    def rounded(a, decimals=0):  # type: ignore[no-untyped-def]
        values = value(a)
        return np.round(values, decimals, np.empty_like(values))

    return rounded


@overload(np.searchsorted)
def _ol_searchsorted(a: Any, v: Any, side: Any = "left") -> Any:
    if not (is_active(a) or is_active(v)):
        return None
    return lambda a, v, side="left": np.searchsorted(value(a), value(v), side)


@overload(np.isclose)
def _ol_isclose(
    a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: Any = False
) -> Any:
    if not (is_active(a) or is_active(b)):
        return None

    def isclose(a, b, rtol=1e-05, atol=1e-08, equal_nan=False):  # type: ignore[no-untyped-def]
        return np.isclose(value(a), value(b), rtol, atol, equal_nan)

    return isclose
