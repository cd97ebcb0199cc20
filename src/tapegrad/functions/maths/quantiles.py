"""Quantiles: sorted values, and interpolation between two of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...base.dtypes import scalar_name
from ...ops.table import TABLE
from ...tape import recording as record
from ..arguments import wrap_dim
from ..registry import FUNCTIONS, declared
from ..signature import Operand, Tensor

__all__ = ["METHODS", "quantiles_along"]


def _continuous(alpha: float, beta: float) -> Callable[[Any, Any], Any]:
    """Place among `n` values, of Hyndman and Fan's continuous definitions."""
    return lambda n, q: n * q + (alpha + q * (1 - alpha - beta)) - 1


def _averaged(n: Any, q: Any) -> Any:
    place = n * q - 1
    lower = np.floor(place)
    return np.where(place == lower, lower + 0.5, lower + 1)


def _inverted(n: Any, q: Any) -> Any:
    return np.ceil(n * q - 1)


def _closest(n: Any, q: Any) -> Any:
    place = n * q - 1.5
    lower = np.floor(place)
    return np.where((place == lower) & (lower % 2 == 1), lower, lower + 1)


#: NumPy's name of a method -> place of a quantile among `n` sorted values, counted from 0
METHODS: dict[str, Callable[[Any, Any], Any]] = {
    "inverted_cdf": _inverted,
    "averaged_inverted_cdf": _averaged,
    "closest_observation": _closest,
    "interpolated_inverted_cdf": _continuous(0, 1),
    "hazen": _continuous(0.5, 0.5),
    "weibull": _continuous(0, 0),
    "linear": lambda n, q: (n - 1) * q,
    "median_unbiased": _continuous(1 / 3, 1 / 3),
    "normal_unbiased": _continuous(3 / 8, 3 / 8),
    "lower": lambda n, q: np.floor((n - 1) * q),
    "higher": lambda n, q: np.ceil((n - 1) * q),
    "midpoint": lambda n, q: (np.floor((n - 1) * q) + np.ceil((n - 1) * q)) / 2,
    "nearest": lambda n, q: np.round((n - 1) * q),
}


def quantiles_along(x: Any, q: np.ndarray, method: str, *, skip_nan: bool) -> Any:
    """Return quantiles along the last dimension, which has one for each of `q` then.

    Parameters
    ----------
    x : Tensor
        Of a floating dtype.
    q : numpy.ndarray
        Numbers from 0 to 1, of one dimension.
    method : str
        One of `METHODS`.
    skip_nan : bool
        Whether NaN is left out; otherwise one makes all quantiles NaN.
    """
    ordered = FUNCTIONS["sort"](x, -1)[0]
    is_nan = record.unary(TABLE["isnan"], ordered)
    length = int(x.shape[-1])
    n: Any = length
    if skip_nan:
        n = np.maximum(length - is_nan.detach().numpy().sum(-1, keepdims=True), 1)
    place = np.clip(METHODS[method](n, q), 0, n - 1)
    lower = np.floor(place)
    weight = place - lower
    upper = np.minimum(lower + 1, n - 1)

    def at(places: np.ndarray) -> Any:
        whole = np.broadcast_to(places, (*x.shape[:-1], len(q))).astype(np.int64)
        return FUNCTIONS["take_along_dim"](ordered, FUNCTIONS["tensor"](whole), -1)

    low, high = at(lower), at(upper)
    share = FUNCTIONS["tensor"](np.asarray(weight, x.dtype.np))
    step = high - low
    # As NumPy: from the nearer end, and nothing is added to infinity where the place is a value's.
    between = FUNCTIONS["where"](share >= 0.5, high - step * (1 - share), low + step * share)
    result = FUNCTIONS["where"](share == 0, low, between)
    if skip_nan:
        return result
    return FUNCTIONS["where"](is_nan[..., -1:], ordered[..., -1:], result)


def _checked(
    name: str, input: Any, q: Any, dim: Any, interpolation: str
) -> tuple[Any, np.ndarray, bool]:
    """Operands of torch's functions: the values, the quantiles, whether one was asked for."""
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if not input.numel():
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    alone = not record.is_tensor(q) or not q.ndim
    if record.is_tensor(q) and q.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if record.is_tensor(q) and q.dtype is not input.dtype:
        raise RuntimeError(
            f"{name}() q tensor must be same dtype as the input tensor, but got "
            f"{scalar_name(q.dtype)}"
        )
    numbers = np.atleast_1d(q.detach().numpy() if record.is_tensor(q) else float(q))
    if not ((numbers >= 0) & (numbers <= 1)).all():
        raise RuntimeError(
            f"{name}() q must be in the range [0, 1]" + (f" but got {q}" if alone else "")
        )
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got "
            f"{interpolation}"
        )
    return input, numbers.astype(float), alone


def _quantile(name: str, input: Any, q: Any, dim: Any, keepdim: bool, interpolation: str) -> Any:
    x, numbers, alone = _checked(name, input, q, dim, interpolation)
    d = 0 if dim is None else wrap_dim(dim, x.ndim)
    values = x.reshape(-1) if dim is None or not x.ndim else x.movedim(d, -1)
    result = quantiles_along(values, numbers, interpolation, skip_nan=name == "nanquantile")
    result = result.movedim(-1, 0)
    if keepdim:
        shape = [1] * x.ndim if dim is None else [1 if i == d else n for i, n in enumerate(x.shape)]
        result = result.reshape((len(numbers), *shape))
    return result[0] if alone else result


@declared()
def quantile(
    input: Tensor, q: Operand, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Tensor:  # fmt: skip
    """Quantiles of all values, or along a dimension.

    Parameters
    ----------
    input : Tensor
    q : number or Tensor
        From 0 to 1. For a tensor of one dimension the result has a first dimension more. Not differentiated.
    dim : int, optional
    keepdim : bool
        Keep the dimension, with length 1.
    interpolation : {"linear", "lower", "higher", "midpoint", "nearest"}
        For a quantile that lies between two values.

    Returns
    -------
    Tensor
        NaN where a value is.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation)


@declared()
def nanquantile(
    input: Tensor, q: Operand, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Tensor:  # fmt: skip
    """Quantiles of the values that are not NaN; arguments as for `quantile`."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation)
