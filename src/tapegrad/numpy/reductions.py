"""NumPy's reductions, scans and statistics on Tensors."""

from __future__ import annotations

import math
from typing import Any

from ..base.dtypes import bool_, real_of
from .operands import (
    NOT_GIVEN,
    along,
    as_floating,
    as_tensor,
    axes_of,
    function,
    is_given,
    places_of,
    refused,
    with_dtype,
    written,
)

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "average", "count_nonzero", "cumprod", "cumsum", "max",
    "mean", "median", "min", "nanmean", "nansum", "prod", "ptp", "std", "sum", "var",
]  # fmt: skip


def _masked(x: Any, name: str, where: Any, neutral: Any) -> Any:
    """The operand with a neutral number where it does not count."""
    if where is True or where is NOT_GIVEN:
        return x
    return function("where")(as_tensor(where, name), x, neutral)


def _kept(keepdims: Any) -> bool:
    return keepdims is not NOT_GIVEN and bool(keepdims)


def _count(x: Any, axis: Any, where: Any, name: str, keepdims: bool) -> Any:
    """Number of elements that are reduced to one: a number, or a Tensor where a mask says which."""
    places = places_of(x, axis)
    if where is True or where is NOT_GIVEN:
        return math.prod(x.shape[i] for i in places)
    mask = function("broadcast_to")(as_tensor(where, name), tuple(x.shape)).to(real_of(x.dtype))
    return function("sum")(mask, dim=places, keepdim=keepdims) if places else mask


def sum(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN,
    initial: Any = NOT_GIVEN, where: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Sum, as `numpy.sum`."""
    x = _masked(with_dtype(as_tensor(a, "sum"), dtype), "sum", where, 0)
    if axis is None and keepdims is NOT_GIVEN:
        result = function("sum")(x)
    else:
        places = places_of(x, axis)
        x, dims = (x, places) if places else (x.unsqueeze(0), 0)  # of small numbers int64, too
        result = function("sum")(x, dim=dims, keepdim=bool(places) and _kept(keepdims))
    result = with_dtype(result, dtype)
    return written("sum", result + initial if is_given(initial) else result, out)


def prod(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN,
    initial: Any = NOT_GIVEN, where: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Product, as `numpy.prod`."""
    result = _masked(with_dtype(as_tensor(a, "prod"), dtype), "prod", where, 1)
    places = places_of(result, axis)
    if not places:
        result = function("prod")(result.unsqueeze(0), 0)  # of small numbers int64, too
    for place in sorted(places, reverse=True):
        result = function("prod")(result, place, keepdim=_kept(keepdims))
    result = with_dtype(result, dtype)
    return written("prod", result * initial if is_given(initial) else result, out)


def _extreme(
    name: str, a: Any, axis: Any, out: Any, keepdims: Any, initial: Any, where: Any
) -> Any:
    x = as_tensor(a, name)
    largest = name in ("max", "amax")
    if where is not NOT_GIVEN and where is not True:
        if not is_given(initial):
            raise ValueError(f"reduction operation {name!r} does not have an identity, so to use a where "
                             "mask one has to specify 'initial'")  # fmt: skip
        x = _masked(x, name, where, initial)
    result, places = x, places_of(x, axis)
    if places or not x.ndim:
        result = function("amax" if largest else "amin")(x, dim=places, keepdim=_kept(keepdims))
    if is_given(initial):
        result = function("maximum" if largest else "minimum")(
            result, as_tensor(initial, name).to(x.dtype)
        )
    return written(name, result, out)


def max(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN, initial: Any = NOT_GIVEN,
    where: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Largest element, as `numpy.max`; equal ones share the derivative."""
    return _extreme("max", a, axis, out, keepdims, initial, where)


def min(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN, initial: Any = NOT_GIVEN,
    where: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Smallest element, as `numpy.min`; equal ones share the derivative."""
    return _extreme("min", a, axis, out, keepdims, initial, where)


amax, amin = max, min


def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN) -> Any:
    """Difference of the largest and the smallest element, as `numpy.ptp`."""
    result = max(a, axis, keepdims=keepdims) - min(a, axis, keepdims=keepdims)
    return written("ptp", result, out)


def mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN, *,
    where: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Mean, as `numpy.mean`."""
    x = as_floating(with_dtype(as_tensor(a, "mean"), dtype))
    count = _count(x, axis, where, "mean", _kept(keepdims))
    return written("mean", sum(x, axis, keepdims=keepdims, where=where) / count, out)


def var(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
    keepdims: Any = NOT_GIVEN, *, where: Any = NOT_GIVEN, mean: Any = NOT_GIVEN,
    correction: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Variance, as `numpy.var`."""
    x = as_floating(with_dtype(as_tensor(a, "var"), dtype))
    if correction is not NOT_GIVEN:
        ddof = correction
    centre = as_tensor(mean, "var") if is_given(mean) else _mean(x, axis, where)
    deviations = x - centre
    squares = deviations * deviations
    if x.dtype.is_complex:
        squares = deviations.real**2 + deviations.imag**2
    total = sum(squares, axis, keepdims=keepdims, where=where)
    count = _count(squares, axis, where, "var", _kept(keepdims)) - ddof
    free = count * (count > 0)  # 0 divided by 0 is NaN, where nothing is free
    return written("var", total / free, out)


def _mean(x: Any, axis: Any, where: Any) -> Any:
    return mean(x, axis, keepdims=True, where=where)


def std(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
    keepdims: Any = NOT_GIVEN, *, where: Any = NOT_GIVEN, mean: Any = NOT_GIVEN,
    correction: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Standard deviation, as `numpy.std`."""
    x, is_whole = as_floating(with_dtype(as_tensor(a, "std"), dtype)), not is_given(mean)
    is_whole = is_whole and not x.dtype.is_complex and (where is True or where is NOT_GIVEN)
    if is_whole and (places := places_of(x, axis)):
        n = ddof if correction is NOT_GIVEN else correction
        # PyTorch's row: its derivative is 0 where all elements are the same
        result = function("std")(x, dim=places, correction=n, keepdim=_kept(keepdims))
        return written("std", result, out)
    square = var(
        x, axis, None, None, ddof, keepdims, where=where, mean=mean, correction=correction
    )  # fmt: skip
    return written("std", _root(square), out)


def _root(square: Any) -> Any:
    """Square root, whose derivative at 0 is 0."""
    is_zero = square == 0
    return function("where")(
        is_zero, 0.0, function("sqrt")(function("where")(is_zero, 1.0, square))
    )


def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *,
    keepdims: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Weighted mean, as `numpy.average`."""
    x = as_floating(as_tensor(a, "average"))
    if weights is None:
        result = mean(x, axis, keepdims=keepdims)
        total = result * 0 + _count(x, axis, True, "average", False)
        return (result, total) if returned else result
    w = as_tensor(weights, "average")
    if tuple(w.shape) != tuple(x.shape):
        places = places_of(x, axis)
        if w.ndim != 1 or len(places) != 1 or w.shape[0] != x.shape[places[0]]:
            raise refused(
                "average", f"weights of shape {tuple(w.shape)} do not fit {tuple(x.shape)}"
            )
        w = w.reshape([w.shape[0] if i == places[0] else 1 for i in range(x.ndim)])
        w = function("broadcast_to")(w, tuple(x.shape))
    total = sum(w, axis, keepdims=keepdims)
    result = sum(x * w, axis, keepdims=keepdims) / total
    return (result, total) if returned else result


def nansum(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN,
    initial: Any = NOT_GIVEN, where: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Sum without NaN, as `numpy.nansum`."""
    x = as_tensor(a, "nansum")
    x = function("where")(function("isnan")(x), 0.0, x) if x.dtype.np.kind in "fc" else x
    return sum(x, axis, dtype, out, keepdims, initial, where)


def nanmean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN, *,
    where: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Mean without NaN, as `numpy.nanmean`."""
    x = as_floating(with_dtype(as_tensor(a, "nanmean"), dtype))
    counts = function("logical_not")(function("isnan")(x))
    if where is not NOT_GIVEN and where is not True:
        counts = counts & as_tensor(where, "nanmean")
    return mean(x, axis, None, out, keepdims, where=counts)


def median(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: Any = False
) -> Any:
    """Median, the mean of the two in the middle, as `numpy.median`."""
    x = as_floating(as_tensor(a, "median"))
    places = places_of(x, axis)
    rest = [i for i in range(x.ndim) if i not in places]
    flat = x.permute([*rest, *places]).reshape([*(x.shape[i] for i in rest), -1])
    n = flat.shape[-1]
    values = function("sort")(flat, -1)[0]
    result = (values[..., (n - 1) // 2] + values[..., n // 2]) * 0.5
    # NaN is the largest of all in order: one makes the median NaN.
    last = values[..., -1]
    result = function("where")(function("isnan")(last), last, result)
    if _kept(keepdims):
        result = result.reshape([1 if i in places else n for i, n in enumerate(x.shape)])
    return written("median", result, out)


# --------------------------------------------------------------------------- places and questions
def argmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = NOT_GIVEN) -> Any:
    """Place of the largest element, as `numpy.argmax`."""
    return _place("argmax", a, axis, out, keepdims)


def argmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = NOT_GIVEN) -> Any:
    """Place of the smallest element, as `numpy.argmin`."""
    return _place("argmin", a, axis, out, keepdims)


def _place(name: str, a: Any, axis: Any, out: Any, keepdims: Any) -> Any:
    x = as_tensor(a, name)
    x = with_dtype(x, int) if x.dtype is bool_ else x
    return written(name, function(name)(x, axes_of(axis), keepdim=_kept(keepdims)), out)


def all(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN, *, where: Any = NOT_GIVEN
) -> Any:
    """Return True if all elements are true, as `numpy.all`."""
    return _question("all", a, axis, out, keepdims, where, True)


def any(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN, *, where: Any = NOT_GIVEN
) -> Any:
    """Return True if an element is true, as `numpy.any`."""
    return _question("any", a, axis, out, keepdims, where, False)


def _question(
    name: str, a: Any, axis: Any, out: Any, keepdims: Any, where: Any, neutral: bool
) -> Any:
    x = _masked(as_tensor(a, name) != 0, name, where, neutral)
    for place in sorted(places_of(x, axis), reverse=True):
        x = function(name)(x, place, keepdim=_kept(keepdims))
    return written(name, x, out)


def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Number of elements that are not zero, as `numpy.count_nonzero`."""
    x = as_tensor(a, "count_nonzero") != 0
    return sum(x, axis, int, keepdims=keepdims)


# --------------------------------------------------------------------------- scans
def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Sums up to each element, as `numpy.cumsum`."""
    return _scan("cumsum", a, axis, dtype, out)


def cumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Products up to each element, as `numpy.cumprod`."""
    return _scan("cumprod", a, axis, dtype, out)


def _scan(name: str, a: Any, axis: Any, dtype: Any, out: Any) -> Any:
    x, dim = along(with_dtype(as_tensor(a, name), dtype), axis)
    return written(name, with_dtype(function(name)(x, dim), dtype), out)
