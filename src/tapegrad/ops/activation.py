"""Activations: what neural networks apply to each element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..base.dtypes import float64
from .chains import Chain, Value, composed_op

__all__: list[str] = []

_SQRT_HALF = math.sqrt(0.5)
_NORMAL = 1 / math.sqrt(2 * math.pi)
# constants of the tanh approximation of gelu (Hendrycks and Gimpel, arXiv:1606.08415)
_GELU_SCALE, _GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715

composed_op(
    "relu", lambda c, x: c(np.maximum, x, 0.0), domain="nonzero",
    vjp=lambda ct, x, out: ct._apply("threshold_backward", x),
)  # fmt: skip
# Slopes that depend on x for the tape, as PyTorch's do: the second derivative is 0, not missing.
composed_op(
    "threshold_backward", lambda c, t, x: c.where(c(np.less_equal, x, 0.0), 0.0, t), arity=2,
    torch=None, private=True,
    vjp=lambda ct, t, x, out: (ct._apply("threshold_backward", x), x._apply("flat")),
)  # fmt: skip
composed_op(
    "flat", lambda c, x: c.where(c(np.isnan, x), 0.0, 0.0), torch=None,
    vjp=lambda ct, x, out: x._apply("flat"), private=True,
)  # fmt: skip
composed_op(
    "leaky_relu",
    lambda c, x: c.where(
        c(np.greater, x, 0.0), x, c(np.multiply, x, c.attrs["negative_slope"])
    ),
    domain="nonzero", torch="nn.functional.leaky_relu",
    vjp=lambda ct, x, out, negative_slope: ct._apply(
        "leaky_relu_backward", x, negative_slope=negative_slope
    ),
)  # fmt: skip
composed_op(
    "leaky_relu_backward",
    lambda c, t, x: c.where(
        c(np.greater, x, 0.0), t, c(np.multiply, t, c.attrs["negative_slope"])
    ),
    arity=2, torch=None, private=True,
    vjp=lambda ct, t, x, out, negative_slope: (
        ct._apply("leaky_relu_backward", x, negative_slope=negative_slope), ct._zero(),
    ),
)  # fmt: skip
composed_op(
    "elu",
    lambda c, x: c.where(
        c(np.greater, x, 0.0), x, c(np.multiply, c(np.expm1, x), c.attrs["alpha"])
    ),
    domain="nonzero", torch="nn.functional.elu",
    # exp of positive numbers, which are not asked for, might overflow; at 0 its slope is 0
    vjp=lambda ct, x, out, alpha: ct.where(x > 0, ct * (alpha * (-(-x).relu()).exp())),
)  # fmt: skip


def _sigmoid(c: Chain, x: Value) -> Value:
    """``1 / (1 + exp(-x))``: where exp overflows the quotient is 0, so nothing is lost.

    In float32 that is as fast as NumPy's exp; in float64 a kernel rounds less often.
    """
    if c.kind is float64:
        return c("sigmoid", x)
    return c(np.reciprocal, c(np.add, c(np.exp, c(np.negative, x)), 1.0))


composed_op(
    "sigmoid",
    _sigmoid,
    result="float",
    of_complex="holomorphic",
    vjp=lambda ct, x, out: ct * (out * (1 - out)),
)


def _silu_vjp(ct: Any, x: Any, out: Any) -> Any:
    s = x.sigmoid()
    return ct * (s * (1 + x * (1 - s)))


composed_op(
    "silu", lambda c, x: c(np.multiply, x, _sigmoid(c, x)), result="float",
    torch="nn.functional.silu", vjp=_silu_vjp,
)  # fmt: skip
composed_op(
    "logsigmoid",  # min(x, 0) - log1p(exp(-|x|))
    lambda c, x: c(
        np.subtract,
        c(np.minimum, x, 0.0),
        c(np.log1p, c(np.exp, c(np.negative, c(np.absolute, x)))),
    ),
    result="float", grad_fn="LogSigmoidBackward0", torch="nn.functional.logsigmoid",
    vjp=lambda ct, x, out: ct * (-x).sigmoid(),
)  # fmt: skip


def _softplus(c: Chain, x: Value) -> Value:
    beta, threshold = c.attrs["beta"], c.attrs["threshold"]
    scaled = c(np.multiply, x, beta)
    smooth = c(np.true_divide, c(np.log1p, c(np.exp, scaled)), beta)
    return c.where(c(np.greater, scaled, threshold), x, smooth)


def _softplus_vjp(ct: Any, x: Any, out: Any, beta: float, threshold: float) -> Any:
    scaled = x * beta
    return ct.where(scaled > threshold, ct * scaled.sigmoid())


composed_op(
    "softplus",
    _softplus,
    result="float",
    torch="nn.functional.softplus",
    in_place=True,
    vjp=_softplus_vjp,
)


def _gelu(c: Chain, x: Value) -> Value:
    if c.attrs["approximate"] == "tanh":
        cube = c(np.multiply, c(np.multiply, x, x), c(np.multiply, x, _GELU_CUBIC))
        inner = c(np.tanh, c(np.multiply, c(np.add, x, cube), _GELU_SCALE))
    else:
        inner = c("erf", c(np.multiply, x, _SQRT_HALF))
    return c(np.multiply, c(np.multiply, x, 0.5), c(np.add, inner, 1.0))


def _gelu_vjp(ct: Any, x: Any, out: Any, approximate: str) -> Any:
    if approximate == "tanh":
        t = (_GELU_SCALE * (x + _GELU_CUBIC * x * x * x)).tanh()
        slope = _GELU_SCALE * (1 + 3 * _GELU_CUBIC * x * x)
        return ct * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope)
    distribution = 0.5 * (1 + (_SQRT_HALF * x).erf())
    return ct * (distribution + x * (_NORMAL * (-0.5 * x * x).exp()))


composed_op("gelu", _gelu, result="float", torch="nn.functional.gelu", vjp=_gelu_vjp)


def _binary_cross_entropy(c: Chain, x: Value, target: Value) -> Value:
    """``-target * log(x) - (1 - target) * log(1 - x)``, with logarithms of at least -100."""
    of_one = c(np.maximum, c(np.log1p, c(np.negative, x)), -100.0)
    of_zero = c(np.maximum, c(np.log, x), -100.0)
    return c(
        np.subtract,
        c(np.multiply, c(np.subtract, target, 1.0), of_one),
        c(np.multiply, target, of_zero),
    )


composed_op(
    "binary_cross_entropy", _binary_cross_entropy, arity=2, torch=None, private=True,
    # PyTorch's derivative, which is finite where the probability is 0 or 1
    vjp=lambda ct, x, target, out: (
        ct * ((x - target) / ((1 - x) * x).clamp_min(1e-12)), ct * ((-x).log1p() - x.log()),
    ),
)  # fmt: skip
