"""`log_standard_gamma`: logarithms of gamma numbers, with derivatives with respect to the concentration.

A draw x of concentration a is differentiated with its probability F(a, x) held fixed (implicit
reparameterization: Figurnov, Mohamed and Mnih, 2018): dx/da = -(dF/da) / (dF/dx). With the series of the
incomplete gamma function,

    F / (dF/dx) = sum t_n,    t_n = x**(n + 1) gamma(a) / gamma(a + n + 1),

and the derivative of each term in a is a factor, so that dx/da = sum t_n (digamma(a + n + 1) - log x). If
draws are kept as logarithms, nothing is divided by what may underflow: draws of small concentrations are
smaller than any float. Above `LARGE`, where the series is long, x is the cube of a normal number, after
Wilson and Hilferty, with a relative error of 5e-9.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd.function import Function, once_differentiable
from ..functions.creation.generator import stream_of
from ..tape import recording as record
from ..tensors.tensor import Tensor
from .utils import top_level

__all__ = ["log_standard_gamma"]

LARGE = 1e5
_digamma, _from_numpy = top_level("digamma"), top_level("from_numpy")


def _log_draws(concentration: np.ndarray) -> np.ndarray:
    """Logarithms of gamma numbers, in float64; below 1, those of ``G(a + 1) * U ** (1 / a)``."""
    stream = stream_of("_standard_gamma", None)
    small = concentration < 1
    with stream.lock:
        drawn = np.log(stream.numpy.standard_gamma(concentration + small))
        if small.any():
            logarithm = np.log(1 - stream.numpy.random(concentration.shape))
            with np.errstate(divide="ignore", invalid="ignore"):
                drawn = drawn + np.where(small, logarithm / concentration, 0.0)
    return np.asarray(drawn)


def _log_slopes(a: np.ndarray, log_x: np.ndarray) -> np.ndarray:
    """Derivatives of logarithms of draws with respect to the concentration."""
    large = a > LARGE
    b = np.where(large, a, LARGE)
    root = np.exp((np.where(large, log_x, math.log(LARGE)) - np.log(b)) / 3)
    asymptotic = 1 / b + (1 / (3 * b * b) - 3 * (root - 1 + 1 / (9 * b)) / (2 * b)) / root
    if large.all():
        return np.asarray(asymptotic)
    a, log_x = np.where(large, 1.0, a), np.where(large, 0.0, log_x)
    x = np.exp(log_x)
    digamma = _digamma(_from_numpy(a + 1))._array()
    term = 1 / a
    total = term * (digamma - log_x)
    n = 1.0
    while True:
        digamma = digamma + 1 / (a + n)
        term = term * (x / (a + n))
        change = term * (digamma - log_x)
        total = total + change
        if not (np.abs(change) > 1e-17 * np.abs(total)).any() and not (a + n <= x).any():
            return np.where(large, asymptotic, total)
        n += 1.0


class _LogStandardGamma(Function):
    @staticmethod
    def forward(ctx: Any, concentration: Any) -> Any:
        """Draw."""
        kind = concentration.dtype
        ctx.logarithms = _log_draws(concentration._array().astype(np.float64))
        ctx.save_for_backward(concentration)
        return record.leaf_tensor(np.asarray(ctx.logarithms, kind.np), kind)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Any) -> Any:
        """Multiply with the implicit derivative."""
        (concentration,) = ctx.saved_tensors
        slopes = _log_slopes(concentration._array().astype(np.float64), ctx.logarithms)
        return grad_output * record.leaf_tensor(
            np.asarray(slopes, grad_output.dtype.np), grad_output.dtype
        )


def log_standard_gamma(concentration: Any) -> Any:
    """Draw logarithms of gamma numbers of rate 1, one for each concentration."""
    result: Tensor = _LogStandardGamma.apply(concentration)
    return result
