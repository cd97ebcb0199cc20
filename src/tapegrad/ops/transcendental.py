"""The exp/log, trigonometric and hyperbolic families, and error functions, elementwise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .chains import composed_op
from .kernels import vectorised as elementary_kernels
from .table import op

__all__ = ["elementary_kernels"]  # which these loops are preferred from

_LN2, _LN10 = math.log(2), math.log(10)
_RADIAN = math.pi / 180

# --------------------------------------------------------------------------- exp and log
op("exp", of_complex="holomorphic", loop=np.exp, result="float", vjp=lambda ct, x, out: ct * out)
op(
    "exp2",
    of_complex="holomorphic",
    loop=np.exp2,
    result="float",
    vjp=lambda ct, x, out: ct * (out * _LN2),
)
op(
    "expm1",
    of_complex="holomorphic",
    loop=np.expm1,
    result="float",
    vjp=lambda ct, x, out: ct * (out + 1),
)
op(
    "log",
    of_complex="holomorphic",
    loop=np.log,
    result="float",
    domain="positive",
    vjp=lambda ct, x, out: ct / x,
)
op(
    "log2",
    of_complex="holomorphic",
    loop=np.log2,
    result="float",
    domain="positive",
    vjp=lambda ct, x, out: ct / (x * _LN2),
)
op("log10", of_complex="holomorphic", loop=np.log10, result="float", domain="positive",
   vjp=lambda ct, x, out: ct / (x * _LN10))  # fmt: skip
op("log1p", of_complex="holomorphic", loop=np.log1p, result="float", domain="above_minus_one",
   vjp=lambda ct, x, out: ct / (x + 1))  # fmt: skip
# Through sigmoid nothing overflows, at any order.
op("logaddexp", loop=np.logaddexp, arity=2, result="float", in_place=False,
   vjp=lambda ct, x, y, out: (ct * (x - y).sigmoid(), ct * (y - x).sigmoid()))  # fmt: skip
op(
    "logaddexp2", loop=np.logaddexp2, arity=2, result="float", in_place=False,
    vjp=lambda ct, x, y, out: (
        ct * (_LN2 * (x - y)).sigmoid(), ct * (_LN2 * (y - x)).sigmoid(),
    ),
)  # fmt: skip
composed_op(
    "xlogy",  # 0 where x is 0, unless y is NaN
    lambda c, x, y: c.where(
        c(np.isnan, y), y, c.where(c(np.equal, x, 0.0), 0.0, c(np.multiply, x, c(np.log, y)))
    ),
    arity=2, result="float", domain="positive",
    vjp=lambda ct, x, y, out: (
        # The logarithm is masked in its operand: what is 0 here is 0 along y and transposed, too.
        ct * y.where((x != 0) | (y > 0) | y.isnan(), 1).log(), ct * (x / y),
    ),
    number_names={0: "XlogyBackward1", 1: "XlogyBackward2"},
)  # fmt: skip


def _logit_vjp(ct: Any, x: Any, out: Any) -> Any:
    """Two fractions, so that all orders are infinite at 0 and 1; NaN outside, at all orders."""
    outside = ct._zero().where((x >= 0) & (x <= 1), math.nan)
    return ct * ((1 / x + 1 / (1 - x)) * (outside + 1))


composed_op(
    "logit", lambda c, x: c(np.log, c(np.true_divide, x, c(np.subtract, 1.0, x))), result="float",
    domain="probability",
    vjp=_logit_vjp,
)  # fmt: skip


# --------------------------------------------------------------------------- trigonometric
def _atan2_vjp(ct: Any, y: Any, x: Any, out: Any) -> tuple[Any, Any]:
    """At the origin, where it has no derivative, 0."""
    square = x * x + y * y
    away = square != 0
    square = square.where(away, 1)
    return ct * (x.where(away, 0) / square), -ct * (y.where(away, 0) / square)


op(
    "sin",
    of_complex="holomorphic",
    loop=np.sin,
    result="float",
    companion="cos",
    vjp=lambda ct, x, out: ct * x.cos(),
)
op(
    "cos",
    of_complex="holomorphic",
    loop=np.cos,
    result="float",
    companion="sin",
    vjp=lambda ct, x, out: -ct * x.sin(),
)
op(
    "tan",
    of_complex="holomorphic",
    loop=np.tan,
    result="float",
    domain="unit",
    vjp=lambda ct, x, out: ct * (1 + out * out),
)
op("asin", of_complex="holomorphic", loop=np.arcsin, result="float", domain="unit", aliases=("arcsin",),
   vjp=lambda ct, x, out: ct / (1 - x * x).sqrt())  # fmt: skip
op("acos", of_complex="holomorphic", loop=np.arccos, result="float", domain="unit", aliases=("arccos",),
   vjp=lambda ct, x, out: -ct / (1 - x * x).sqrt())  # fmt: skip
op("atan", of_complex="holomorphic", loop=np.arctan, result="float", aliases=("arctan",),
   vjp=lambda ct, x, out: ct / (1 + x * x))  # fmt: skip
op("atan2", loop=np.arctan2, arity=2, result="float", domain="nonzero", aliases=("arctan2",),
   vjp=_atan2_vjp)  # fmt: skip
op("deg2rad", of_complex="holomorphic", loop=np.deg2rad, result="float", grad_fn="Deg2RadBackward0",
   vjp=lambda ct, x, out: ct * _RADIAN)  # fmt: skip
op("rad2deg", loop=np.rad2deg, result="float", grad_fn="Rad2DegBackward0",
   vjp=lambda ct, x, out: ct * (1 / _RADIAN))  # fmt: skip
composed_op(
    "sinc", lambda c, x: c("sinc_derivative", x, data=(0,)), result="float", scalar=True,
    vjp=lambda ct, x, out: ct * x._sinc_derivative(order=1),
)  # fmt: skip
composed_op(
    "sinc_derivative", lambda c, x: c("sinc_derivative", x, data=(c.attrs["order"],)),
    torch=None, grad_fn="MulBackward0", private=True, parameters=("order",),
    vjp=lambda ct, x, out, order: ct * x._sinc_derivative(order=order + 1),
)  # fmt: skip


# --------------------------------------------------------------------------- hyperbolic
def _acosh_vjp(ct: Any, x: Any, out: Any) -> Any:
    if x.dtype.is_complex:  # on the side of the cut that `out` is on
        return ct / ((x - 1).sqrt() * (x + 1).sqrt())
    return ct / (x * x - 1).sqrt()


op(
    "sinh",
    of_complex="holomorphic",
    loop=np.sinh,
    result="float",
    vjp=lambda ct, x, out: ct * x.cosh(),
)
op(
    "cosh",
    of_complex="holomorphic",
    loop=np.cosh,
    result="float",
    vjp=lambda ct, x, out: ct * x.sinh(),
)
op("tanh", of_complex="holomorphic", loop=np.tanh, result="float", domain="small",
   vjp=lambda ct, x, out: ct * (1 - out * out))  # fmt: skip
op("asinh", of_complex="holomorphic", loop=np.arcsinh, result="float", aliases=("arcsinh",),
   vjp=lambda ct, x, out: ct / (x * x + 1).sqrt())  # fmt: skip
op("acosh", of_complex="holomorphic", loop=np.arccosh, result="float", domain="above_one",
   aliases=("arccosh",), vjp=_acosh_vjp)  # fmt: skip
op("atanh", of_complex="holomorphic", loop=np.arctanh, result="float", domain="unit", aliases=("arctanh",),
   vjp=lambda ct, x, out: ct / (1 - x * x))  # fmt: skip

# --------------------------------------------------------------------------- error functions
_ERF_SLOPE = 2 / math.sqrt(math.pi)
composed_op(
    "erf", lambda c, x: c("erf", x), result="float", scalar=True,
    vjp=lambda ct, x, out: ct * (_ERF_SLOPE * (-x * x).exp()),
)  # fmt: skip
composed_op(
    "erfc", lambda c, x: c("erfc", x), result="float", scalar=True,
    vjp=lambda ct, x, out: ct * (-_ERF_SLOPE * (-x * x).exp()),
)  # fmt: skip
