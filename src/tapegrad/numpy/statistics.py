"""NumPy's statistics on Tensors: quantiles, covariances, and those that leave NaN out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..functions.maths.quantiles import METHODS, quantiles_along
from ..functions.maths.structured import correlations
from .operands import (
    NOT_GIVEN,
    as_floating,
    as_tensor,
    axes_of,
    function,
    is_given,
    places_of,
    promoted,
    refused,
    with_dtype,
    written,
)  # fmt: skip
from .reductions import average, cumprod, cumsum, max, mean, min, prod, std, sum, var

__all__ = [
    "corrcoef", "cov", "cumulative_prod", "cumulative_sum", "nanargmax", "nanargmin", "nancumprod",
    "nancumsum", "nanmax", "nanmedian", "nanmin", "nanpercentile", "nanprod", "nanquantile", "nanstd",
    "nanvar", "percentile", "quantile",
]  # fmt: skip


# --------------------------------------------------------------------------- quantiles
def quantile(
    a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: Any = False, *, weights: Any = None, interpolation: Any = None,
) -> Any:  # fmt: skip
    """Quantiles, as `numpy.quantile`, with all its methods but weights."""
    return _quantile("quantile", a, q, 1, axis, out, method, keepdims, weights)


def percentile(
    a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: Any = False, *, weights: Any = None, interpolation: Any = None,
) -> Any:  # fmt: skip
    """Quantiles in percent, as `numpy.percentile`."""
    return _quantile("percentile", a, q, 100, axis, out, method, keepdims, weights)


def nanquantile(
    a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: Any = NOT_GIVEN, *, weights: Any = None, interpolation: Any = None,
) -> Any:  # fmt: skip
    """Quantiles of what is not NaN, as `numpy.nanquantile`."""
    return _quantile("nanquantile", a, q, 1, axis, out, method, keepdims, weights)


def nanpercentile(
    a: Any, q: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
    method: str = "linear", keepdims: Any = NOT_GIVEN, *, weights: Any = None, interpolation: Any = None,
) -> Any:  # fmt: skip
    """Quantiles in percent of what is not NaN, as `numpy.nanpercentile`."""
    return _quantile("nanpercentile", a, q, 100, axis, out, method, keepdims, weights)


def nanmedian(
    a: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    keepdims: Any = NOT_GIVEN,
) -> Any:
    """Median of what is not NaN, as `numpy.nanmedian`."""
    return _quantile("nanmedian", a, 0.5, 1, axis, out, "linear", keepdims, None)


def _quantile(
    name: str,
    a: Any,
    q: Any,
    whole: int,
    axis: Any,
    out: Any,
    method: str,
    keepdims: Any,
    weights: Any,
) -> Any:
    if weights is not None:
        raise refused(name, "weights are not supported")
    if method not in METHODS:
        raise ValueError(f"{method!r} is not a valid method. Use one of: {METHODS.keys()}")
    x, places = as_floating(as_tensor(a, name)), axes_of(axis)
    numbers = np.asarray(q.detach().numpy() if hasattr(q, "_state") else q, float) / whole
    if not ((numbers >= 0) & (numbers <= 1)).all():
        word = "Quantiles" if whole == 1 else "Percentiles"
        raise ValueError(f"{word} must be in the range [0, {whole}]")
    reduced = places_of(x, places)
    rest = [i for i in range(x.ndim) if i not in reduced]
    flat = x.permute([*rest, *reduced]).reshape([*(x.shape[i] for i in rest), -1])
    result = quantiles_along(flat, numbers.reshape(-1), method, skip_nan=name.startswith("nan"))
    result = result.movedim(-1, 0)
    kept = keepdims is not NOT_GIVEN and keepdims
    shape = (
        [1 if i in reduced else n for i, n in enumerate(x.shape)]
        if kept
        else [x.shape[i] for i in rest]
    )
    return written(name, result.reshape([*numbers.shape, *shape]), out)


# --------------------------------------------------------------------------- without NaN
def _without_nan(name: str, a: Any, number: float, dtype: Any = None) -> tuple[Any, Any]:
    """The Tensor with a number in the place of NaN, and where that is not."""
    x = with_dtype(as_tensor(a, name), dtype)
    counts = function("logical_not")(function("isnan")(x))
    return (function("where")(counts, x, number) if x.dtype.np.kind in "fc" else x), counts


def nanprod(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN,
    initial: Any = NOT_GIVEN, where: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Product without NaN, as `numpy.nanprod`."""
    return prod(_without_nan("nanprod", a, 1.0)[0], axis, dtype, out, keepdims, initial, where)


def nancumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Sums up to each element without NaN, as `numpy.nancumsum`."""
    return cumsum(_without_nan("nancumsum", a, 0.0)[0], axis, dtype, out)


def nancumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    """Products up to each element without NaN, as `numpy.nancumprod`."""
    return cumprod(_without_nan("nancumprod", a, 1.0)[0], axis, dtype, out)


def nanmax(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN, initial: Any = NOT_GIVEN,
    where: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Largest element that is not NaN, as `numpy.nanmax`."""
    return _extreme("nanmax", a, axis, out, keepdims, initial, where)


def nanmin(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = NOT_GIVEN, initial: Any = NOT_GIVEN,
    where: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Smallest element that is not NaN, as `numpy.nanmin`."""
    return _extreme("nanmin", a, axis, out, keepdims, initial, where)


def _extreme(
    name: str, a: Any, axis: Any, out: Any, keepdims: Any, initial: Any, where: Any
) -> Any:
    reduce, least = (max, -np.inf) if name == "nanmax" else (min, np.inf)
    x, counts = _without_nan(name, a, least)
    result = reduce(x, axis, None, keepdims, initial, where)
    if x.dtype.is_floating_point and not is_given(initial):
        exists = (
            function("any")(counts) if axis is None else sum(counts, axis, keepdims=keepdims) > 0
        )
        result = function("where")(exists, result, np.nan)
    return written(name, result, out)


def nanargmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = NOT_GIVEN) -> Any:
    """Place of the largest element that is not NaN, as `numpy.nanargmax`."""
    return _place("nanargmax", a, axis, out, keepdims)


def nanargmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = NOT_GIVEN) -> Any:
    """Place of the smallest element that is not NaN, as `numpy.nanargmin`."""
    return _place("nanargmin", a, axis, out, keepdims)


def _place(name: str, a: Any, axis: Any, out: Any, keepdims: Any) -> Any:
    x, counts = _without_nan(name, a, -np.inf if name == "nanargmax" else np.inf)
    missing = sum(counts, axis) == 0
    if bool(missing.any()):
        raise ValueError("All-NaN slice encountered")
    kept = keepdims is not NOT_GIVEN and bool(keepdims)
    return written(name, function(name[3:])(x, axes_of(axis), keepdim=kept), out)


def nanvar(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
    keepdims: Any = NOT_GIVEN, *, where: Any = NOT_GIVEN, mean: Any = NOT_GIVEN,
    correction: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Variance without NaN, as `numpy.nanvar`."""
    return _moment(var, "nanvar", a, axis, dtype, out, ddof, keepdims, where, mean, correction)


def nanstd(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
    keepdims: Any = NOT_GIVEN, *, where: Any = NOT_GIVEN, mean: Any = NOT_GIVEN,
    correction: Any = NOT_GIVEN,
) -> Any:  # fmt: skip
    """Standard deviation without NaN, as `numpy.nanstd`."""
    return _moment(std, "nanstd", a, axis, dtype, out, ddof, keepdims, where, mean, correction)


def _moment(
    reduce: Any, name: str, a: Any, axis: Any, dtype: Any, out: Any, ddof: float, keepdims: Any, where: Any,
    centre: Any, correction: Any,
) -> Any:  # fmt: skip
    x = as_floating(with_dtype(as_tensor(a, name), dtype))
    clean, counts = _without_nan(name, x, 0.0)
    if is_given(where) and where is not True:
        counts = counts & as_tensor(where, name)
    return reduce(
        clean, axis, None, out, ddof, keepdims, where=counts, mean=centre, correction=correction
    )  # fmt: skip


# --------------------------------------------------------------------------- scans of NumPy 2
def cumulative_sum(
    x: Any,
    /,
    *,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    include_initial: bool = False,
) -> Any:
    """Sums up to each element, as `numpy.cumulative_sum`."""
    return _cumulative("cumulative_sum", x, axis, dtype, out, 0, include_initial=include_initial)


def cumulative_prod(
    x: Any,
    /,
    *,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    include_initial: bool = False,
) -> Any:
    """Products up to each element, as `numpy.cumulative_prod`."""
    return _cumulative("cumulative_prod", x, axis, dtype, out, 1, include_initial=include_initial)


def _cumulative(
    name: str, a: Any, axis: Any, dtype: Any, out: Any, first: int, *, include_initial: bool
) -> Any:
    x = as_tensor(a, name)
    if axis is None:
        if x.ndim > 1:
            raise ValueError(
                "For arrays which have more than one dimension ``axis`` argument is required."
            )
        axis = 0
    result = (cumprod if first else cumsum)(x, axis, dtype)
    if include_initial:
        shape = list(x.shape)
        shape[axis] = 1
        result = function("cat")([function("full")(shape, first, dtype=result.dtype), result], axis)
    return written(name, result, out)


# --------------------------------------------------------------------------- covariances
def cov(
    m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: Any = None, fweights: Any = None,
    aweights: Any = None, *, dtype: Any = None,
) -> Any:  # fmt: skip
    """Covariances of variables, as `numpy.cov`."""
    parts = [
        as_floating(with_dtype(x, dtype)) for x in promoted("cov", *([m] if y is None else [m, y]))
    ]
    if any(x.ndim > 2 for x in parts):
        raise ValueError("m has more than 2 dimensions")
    rows = []
    for x in parts:
        matrix = x.reshape(1, -1) if x.ndim < 2 else x
        rows.append(matrix if rowvar or matrix.shape[0] == 1 else matrix.T)
    x = rows[0] if len(rows) == 1 else function("cat")(rows, 0)
    if ddof is None:
        ddof = 0 if bias else 1
    weights = None
    for kind in (fweights, aweights):
        if kind is not None:
            w = as_tensor(kind, "cov").to(x.dtype)
            weights = w if weights is None else weights * w
    total: Any = x.shape[1] if weights is None else function("sum")(weights)
    centre = mean(x, 1, keepdims=True) if weights is None else average(x, 1, weights).reshape(-1, 1)
    if weights is None or ddof == 0:
        factor = total - ddof if weights is None else total
    elif aweights is None:
        factor = total - ddof
    else:
        factor = total - ddof * function("sum")(weights * as_tensor(aweights, "cov")) / total
    if isinstance(factor, int | float) and factor <= 0:
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=2)
        factor = 0.0
    x = x - centre
    weighted = x if weights is None else x * weights
    return function("squeeze")(function("matmul")(x, weighted.mH) / factor)


def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """Correlations of variables, as `numpy.corrcoef`."""
    return correlations(cov(x, y, rowvar, dtype=dtype))
