"""Activations with options."""

from __future__ import annotations

from typing import Any

from ...base.dtypes import bool_, get_default_dtype
from ...ops import activation as _rows  # noqa: F401 - which this module looks up
from ...ops.table import TABLE
from ...tape import recording as record
from ..arguments import float_of
from ..operands import is_integral
from ..registry import declared
from ..signature import Number, Tensor
from .selection import clamp

__all__: list[str] = []


@declared()
def relu(input: Tensor) -> Tensor:
    """Return ``max(input, 0)``."""
    if input.dtype is bool_:
        raise RuntimeError("Boolean inputs not supported for relu")
    return record.unary(TABLE["relu"], input)


def _activation(name: str, input: Any, **attrs: Any) -> Any:
    if is_integral(input.dtype):
        input = record.cast(input, get_default_dtype())
    return record.apply(TABLE[name], (input,), **attrs)


@declared()
def leaky_relu(input: Tensor, negative_slope: Number = 0.01) -> Tensor:
    """Return the input where it is positive, else `negative_slope` times it."""
    return _activation(
        "leaky_relu",
        input,
        negative_slope=float_of("leaky_relu", "negative_slope", 2, negative_slope),
    )


@declared()
def elu(input: Tensor, alpha: Number = 1.0) -> Tensor:
    """Return the input where it is positive, else ``alpha * (exp(input) - 1)``."""
    return _activation("elu", input, alpha=float_of("elu", "alpha", 2, alpha))


@declared()
def softplus(input: Tensor, beta: Number = 1.0, threshold: Number = 20.0) -> Tensor:
    """Return ``log(1 + exp(beta * input)) / beta``.

    Parameters
    ----------
    input : Tensor
    beta : float
    threshold : float
        Where ``beta * input`` is above it, the result is `input`.
    """
    beta = float_of("softplus", "beta", 2, beta)
    threshold = float_of("softplus", "threshold", 3, threshold)
    return _activation("softplus", input, beta=beta, threshold=threshold)


@declared()
def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """Return ``input * Phi(input)``, Phi being the standard normal distribution function.

    Parameters
    ----------
    input : Tensor
    approximate : {"none", "tanh"}
        Through erf, or PyTorch's approximation through tanh.
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    return _activation("gelu", input, approximate=approximate)


@declared()
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """Return ``log(input / (1 - input))``.

    Parameters
    ----------
    input : Tensor
    eps : float, optional
        Clamp the input to ``[eps, 1 - eps]`` first; without it, numbers outside [0, 1] give NaN.
    """
    if eps is not None:
        eps = float_of("logit", "eps", 1, eps, "float")
        if is_integral(input.dtype):
            input = record.cast(input, get_default_dtype())
        input = clamp(input, eps, 1 - eps)
    return record.unary(TABLE["logit"], input)
