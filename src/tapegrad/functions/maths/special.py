"""Special functions with options: polygamma functions, the multivariate log-gamma function.

Those without options are rows of ops/special.py, and become functions in operators.py; those that PyTorch has
in torch.special only, or not at all, stand in `tapegrad.special`.
"""

from __future__ import annotations

import math
from typing import Any

from ...base.dtypes import FLOATING, category, get_default_dtype
from ...ops import special as _rows  # noqa: F401 - which this module looks up
from ...ops.table import TABLE
from ...tape import recording as record
from ..registry import FUNCTIONS, declared
from ..signature import Tensor

__all__ = ["as_floating", "mvlgamma", "polygamma"]


def as_floating(x: Any) -> Any:
    """Return a tensor, whole numbers as those of the default dtype."""
    whole = category(x.dtype) < FLOATING
    return record.cast(x, get_default_dtype()) if whole else x


def _polygamma(input: Any, n: int) -> Any:
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if n > 170:
        raise ValueError(
            f"polygamma(): the order n is at most 170, as n! is no float64 beyond, not {n}"
        )
    if n == 0:
        return record.unary(TABLE["digamma"], input)
    return record.apply(TABLE["polygamma"], (as_floating(input),), n=int(n))


@declared(method=False)
def polygamma(n: int, input: Tensor) -> Tensor:
    """Return the derivative number `n` of the digamma function.

    Parameters
    ----------
    n : int
        The order, from 0 (the digamma function itself) to 170; the derivative at 170 is NaN.
    input : Tensor
    """
    return _polygamma(input, n)


@declared(function=False, name="polygamma")
def _polygamma_method(input: Tensor, n: int) -> Tensor:
    """Return the derivative number `n` of the digamma function.

    Parameters
    ----------
    n : int
        The order, from 0 (the digamma function itself) to 170; the derivative at 170 is NaN.
    """
    return _polygamma(input, n)


@declared()
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """Return the logarithm of the multivariate gamma function of dimension `p`.

    Parameters
    ----------
    input : Tensor
        Numbers greater than ``(p - 1) / 2``.
    p : int
        The dimension.
    """
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = as_floating(input)
    offsets = -0.5 * FUNCTIONS["arange"](p, dtype=x.dtype)
    total = record.unary(TABLE["lgamma"], x.unsqueeze(-1) + offsets).sum(-1)
    return total + p * (p - 1) / 4 * math.log(math.pi)
