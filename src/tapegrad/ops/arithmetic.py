"""Elementwise arithmetic: sums, products, powers, rounding, extremes, selection."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.errors import UnsupportedError
from .chains import Chain, Value, composed_op
from .kernels.pointwise import MAX_EXPONENT_DERIVATIVES
from .table import op

__all__: list[str] = []


def no_slope(ct: Any, *operands: Any) -> Any:
    """Cotangents of a function that is constant between its jumps."""
    *inputs, _out = operands
    zeros = tuple(ct._zero() for _ in inputs)
    return zeros if len(zeros) > 1 else zeros[0]


def _names(number: str, tensor: str) -> Any:
    """Name of a node whose bounds are Python numbers, or tensors."""
    return lambda instruction: number if instruction.attrs.get("number") else tensor


# --------------------------------------------------------------------------- the four operations
op("add", of_complex="plain", loop=np.add, arity=2, number_edges=(0, 1), cheap=True,
   vjp=lambda ct, x, y, out: (ct, ct))  # fmt: skip
op(
    "sub", of_complex="plain", loop=np.subtract, arity=2, vjp=lambda ct, x, y, out: (ct, -ct),
    number_names={0: "RsubBackward1"},
    number_edges=(1,), cheap=True,  # ``1 - x`` is `rsub`
)  # fmt: skip
composed_op(
    "rsub", lambda c, x, y: c(np.subtract, y, x), arity=2, in_place=False,
    of_complex="plain", vjp=lambda ct, x, y, out: (-ct, ct), number_names={1: "RsubBackward1"},
)  # fmt: skip
op("mul", of_complex="holomorphic", loop=np.multiply, arity=2, aliases=("multiply",), number_edges=(0, 1),
   cheap=True,
   vjp=lambda ct, x, y, out: (ct * y, ct * x))  # fmt: skip
op(
    "div", of_complex="holomorphic", loop=np.true_divide, arity=2, result="float", domain="nonzero",
    vjp=lambda ct, x, y, out: (ct / y, -ct * (out / y)),
    # PyTorch's `number / x` is ``x.reciprocal() * number``
    number_names={0: "MulBackward0"}, number_edges=(0, 1), cheap=True,
)  # fmt: skip
op("neg", of_complex="plain", loop=np.negative, cheap=True, vjp=lambda ct, x, out: -ct)


def _truncated(c: Chain, x: Value, y: Value) -> Value:
    if c.kind.is_floating_point:
        return c(np.trunc, c(np.true_divide, x, y))
    return c(np.floor_divide, c(np.subtract, x, c(np.fmod, x, y)), y)


op("floor_divide", loop=np.floor_divide, arity=2, domain="nonzero", vjp=no_slope)
composed_op(
    "div_floor", lambda c, x, y: c(np.floor_divide, x, y), arity=2, domain="nonzero",
    grad_fn="DivBackward2", torch=None, vjp=no_slope, private=True,
)  # fmt: skip
composed_op(
    "div_trunc", _truncated, arity=2, domain="nonzero", grad_fn="DivBackward2", torch=None,
    vjp=no_slope, private=True,
)  # fmt: skip
op(
    "remainder", loop=np.remainder, arity=2, domain="nonzero", grad_fn="RemainderBackward1",
    vjp=lambda ct, x, y, out: (ct, -ct * x.floor_divide(y)),
    number_names={1: "RemainderBackward0"},
)  # fmt: skip
op(
    "fmod", loop=np.fmod, arity=2, domain="nonzero", grad_fn="FmodBackward1",
    vjp=lambda ct, x, y, out: (ct, -ct * x._apply("div_trunc", y)),
    number_names={1: "FmodBackward0"},
)  # fmt: skip
composed_op(
    "lerp",
    lambda c, x, y, w: c.where(
        c(np.less, c(np.absolute, w), 0.5),
        c(np.add, x, c(np.multiply, w, c(np.subtract, y, x))),
        c(np.subtract, y, c(np.multiply, c(np.subtract, y, x), c(np.subtract, 1.0, w))),
    ),
    arity=3,
    grad_fn=_names("LerpBackward0", "LerpBackward1"),
    vjp=lambda ct, x, y, w, out, number=False: (ct * (1 - w), ct * w, ct * (y - x)),
)
composed_op(
    "addcmul", lambda c, x, y, z: c(np.add, x, c(np.multiply, y, z)), arity=3,
    of_complex="holomorphic", vjp=lambda ct, x, y, z, out: (ct, ct * z, ct * y),
)  # fmt: skip
composed_op(
    "addcdiv", lambda c, x, y, z: c(np.add, x, c(np.true_divide, y, z)), arity=3,
    domain="nonzero", of_complex="holomorphic", vjp=lambda ct, x, y, z, out: (ct, ct / z, -ct * (y / z / z)),
)  # fmt: skip

# --------------------------------------------------------------------------- powers
# Its slope and the slope's depend on x for the tape, as PyTorch's do: the third derivative is 0.
op("square", of_complex="holomorphic", loop=np.square, grad_fn="PowBackward0", cheap=True,
   vjp=lambda ct, x, out: ct * x._apply("twice"))  # fmt: skip
composed_op(
    "twice", lambda c, x: c(np.multiply, x, 2.0), torch=None, grad_fn="MulBackward0",
    of_complex="holomorphic", vjp=lambda ct, x, out: ct._apply("twice_along", x), private=True, cheap=True,
)  # fmt: skip
composed_op(
    "twice_along", lambda c, t, x: c(np.multiply, t, 2.0), arity=2, torch=None,
    grad_fn="MulBackward0", private=True, cheap=True,
    of_complex="holomorphic", vjp=lambda ct, t, x, out: (ct._apply("twice_along", x), ct._zero()),
)  # fmt: skip
op(
    "sqrt",
    of_complex="holomorphic",
    loop=np.sqrt,
    result="float",
    domain="positive",
    vjp=lambda ct, x, out: ct / (2 * out),
)
op("cbrt", loop=np.cbrt, result="float", torch=None, vjp=lambda ct, x, out: ct / (3 * out * out))
composed_op(
    "rsqrt", lambda c, x: c(np.reciprocal, c(np.sqrt, x)), result="float", domain="positive",
    of_complex="holomorphic", vjp=lambda ct, x, out: ct * (-0.5 * out * out * out),
)  # fmt: skip
op("reciprocal", of_complex="holomorphic", loop=np.reciprocal, result="float", domain="nonzero",
   vjp=lambda ct, x, out: -ct * (out * out))  # fmt: skip


def _pow_vjp(ct: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
    """In the base and in the exponent; of complex numbers 0 where a factor of the product is 0."""
    if not x.dtype.is_complex:
        return ct * x._pow_derivative(y, dx=1, dy=0), ct * x._pow_derivative(y, dx=0, dy=1)
    of_base = (ct * (y * x.pow(y - 1))).where(y != 0, 0)
    return of_base, (ct * (out * x.where(x != 0, 1).log())).where((x != 0) | (y == 0), 0)


# For floats: integers go to pow_int, since NumPy's integer loop raises for a negative exponent.
op(
    "pow", of_complex="holomorphic", loop=np.power, arity=2, domain="power", second_name="exponent",
    # An exponent without dimensions is a number nearly always.
    grad_fn=lambda instruction: f"PowBackward{min(instruction.layouts[1].ndim, 1)}",
    vjp=_pow_vjp,
    number_names={0: "PowBackward2", 1: "PowBackward0"},
    kernels={"float64": "power_f64", "float32": "power_f32"},
)  # fmt: skip
composed_op("pow_int", lambda c, x, y: c("power", x, y), arity=2, torch=None, private=True)


def _power_derivative(c: Chain, x: Value, y: Value) -> Value:
    orders = c.attrs["dx"], c.attrs["dy"]
    if isinstance(orders[1], int) and orders[1] > MAX_EXPONENT_DERIVATIVES:
        raise UnsupportedError(
            f"pow: {orders[1]} derivatives with respect to an exponent are more than "
            f"{MAX_EXPONENT_DERIVATIVES}; write x ** y as (y * x.log()).exp()"
        )
    return c("power_derivative", x, y, data=orders)


composed_op(
    "pow_derivative", _power_derivative, arity=2, domain="power", torch=None,
    grad_fn="MulBackward0", private=True, parameters=("dx", "dy"),
    vjp=lambda ct, x, y, out, dx, dy: (
        ct * x._pow_derivative(y, dx=dx + 1, dy=dy), ct * x._pow_derivative(y, dx=dx, dy=dy + 1),
    ),
)  # fmt: skip
op("hypot", loop=np.hypot, arity=2, result="float", domain="nonzero",
   vjp=lambda ct, x, y, out: (ct * (x / out), ct * (y / out)))  # fmt: skip


# --------------------------------------------------------------------------- signs and rounding
def _sign(c: Chain, x: Value) -> Value:
    """The sign as PyTorch has it: that of NaN is 0 (NumPy's, which is NaN, is the row `numpy_sign`)."""
    if c.kind.np.kind == "u":
        return c.where(c(np.greater, x, 0.0), 1.0, 0.0)
    return c.where(c(np.greater, x, 0.0), 1.0, c.where(c(np.less, x, 0.0), -1.0, 0.0))


def _sgn(c: Chain, x: Value) -> Value:
    """The sign, and of complex numbers ``x / abs(x)``, 0 at 0."""
    return c(np.sign, x) if c.kind.is_complex else _sign(c, x)


def _sgn_vjp(ct: Any, x: Any, out: Any) -> Any:
    """The part of the cotangent across the direction of `x`, divided by its length; 0 at 0."""
    if not x.dtype.is_complex:
        return no_slope(ct, x, out)
    along = (ct * out.conj()).real
    return ((ct - out * along) / x.abs().where(x != 0, 1)).where(x != 0, 0)


op(
    "abs", loop=np.absolute, result="real", domain="nonzero", cheap=True, of_complex="plain",
    vjp=lambda ct, x, out: ct * (x.sgn() if x.dtype.is_complex else x.sign()),
)  # fmt: skip
composed_op("sign", _sign, domain="nonzero", vjp=no_slope, cheap=True)
composed_op("sgn", _sgn, domain="nonzero", of_complex="plain", vjp=_sgn_vjp)
op("numpy_sign", loop=np.sign, torch=None, grad_fn="SignBackward0", vjp=no_slope,
   private=True, cheap=True)  # fmt: skip
op("floor", loop=np.floor, domain="fraction", vjp=no_slope)
op("ceil", loop=np.ceil, domain="fraction", vjp=no_slope)
op("round", loop=np.rint, domain="fraction", vjp=no_slope)
op("trunc", loop=np.trunc, domain="fraction", vjp=no_slope)
composed_op(
    "frac", lambda c, x: c(np.subtract, x, c(np.trunc, x)), domain="fraction",
    vjp=lambda ct, x, out: ct,
)  # fmt: skip
op(
    "copysign", loop=np.copysign, arity=2, result="float", domain="nonzero",
    vjp=lambda ct, x, y, out: (ct * x._apply("copysign_slope", y), ct._zero()),
    number_names={1: "CopysignBackward1"},
)  # fmt: skip
composed_op(
    "nextafter",  # x and a step: the slope is that of x; PyTorch has no derivative
    lambda c, x, y: c(np.nextafter, x, y), arity=2, result="float", domain="apart", torch=None, in_place=True,
    vjp=lambda ct, x, y, out: (ct, ct._zero()),
)  # fmt: skip
composed_op(
    "copysign_slope", lambda c, x, y: c(np.multiply, c(np.sign, x), c(np.copysign, 1.0, y)),
    arity=2, torch=None, vjp=no_slope, private=True,
)  # fmt: skip
composed_op(
    "heaviside",  # of NaN 0, as in PyTorch; NumPy's is NaN
    lambda c, x, y: c.where(c(np.equal, x, 0.0), y, c.where(c(np.greater, x, 0.0), 1.0, 0.0)),
    arity=2, domain="nonzero",
    vjp=lambda ct, x, y, out: (ct._zero(), ct._zero_where(x != 0)),
)  # fmt: skip


# --------------------------------------------------------------------------- extremes
def _share(ct: Any, mine: Any, other: Any) -> Any:
    """Give the operand `mine` of a maximum all, nothing, or half at a tie."""
    return (0.5 * ct).where(mine == other, ct)._zero_where(mine < other)


def _first_wins(ct: Any, wins: Any) -> tuple[Any, Any]:
    """Cotangents of fmax and fmin, where the first operand wins a tie."""
    return ct.where(wins, 0), ct._zero_where(wins)


op("maximum", loop=np.maximum, arity=2, domain="apart", in_place=False, cheap=True,
   vjp=lambda ct, x, y, out: (_share(ct, x, y), _share(ct, y, x)))  # fmt: skip
op("minimum", loop=np.minimum, arity=2, domain="apart", in_place=False, cheap=True,
   vjp=lambda ct, x, y, out: (_share(ct, -x, -y), _share(ct, -y, -x)))  # fmt: skip
op("fmax", loop=np.fmax, arity=2, domain="apart", in_place=False,
   vjp=lambda ct, x, y, out: _first_wins(ct, (x >= y) | y.isnan()))  # fmt: skip
op("fmin", loop=np.fmin, arity=2, domain="apart", in_place=False,
   vjp=lambda ct, x, y, out: _first_wins(ct, (x <= y) | y.isnan()))  # fmt: skip


def _clamp_vjp(ct: Any, x: Any, low: Any, high: Any, out: Any, number: bool = False) -> Any:
    """Bounds count as inside; where they cross, the result is `high`."""
    return (
        ct.where((x >= low) & (x <= high), 0),
        ct.where((x < low) & (low < high), 0),
        ct.where((x > high) | (high < low), 0),
    )


def _clamp_min_vjp(ct: Any, x: Any, low: Any, out: Any, number: bool = False) -> Any:
    return ct.where(x >= low, 0), ct.where(x < low, 0)


def _clamp_max_vjp(ct: Any, x: Any, high: Any, out: Any, number: bool = False) -> Any:
    return ct.where(x <= high, 0), ct.where(x > high, 0)


composed_op(
    "clamp", lambda c, x, low, high: c(np.minimum, c(np.maximum, x, low), high), arity=3,
    domain="apart", grad_fn=_names("ClampBackward1", "ClampBackward0"), vjp=_clamp_vjp,
)  # fmt: skip
composed_op(
    "clamp_min", lambda c, x, low: c(np.maximum, x, low), arity=2, domain="apart",
    grad_fn=_names("ClampMinBackward0", "ClampMinBackward1"), vjp=_clamp_min_vjp,
)  # fmt: skip
composed_op(
    "clamp_max", lambda c, x, high: c(np.minimum, x, high), arity=2, domain="apart",
    grad_fn=_names("ClampMaxBackward0", "ClampMaxBackward1"), vjp=_clamp_max_vjp,
)  # fmt: skip
# `clamp` with one bound only
composed_op(
    "clamp_below", lambda c, x, low: c(np.maximum, x, low), arity=2, domain="apart", torch=None,
    grad_fn=_names("ClampBackward1", "ClampBackward0"), vjp=_clamp_min_vjp, private=True,
)  # fmt: skip
composed_op(
    "clamp_above", lambda c, x, high: c(np.minimum, x, high), arity=2, domain="apart", torch=None,
    grad_fn=_names("ClampBackward1", "ClampBackward0"), vjp=_clamp_max_vjp, private=True,
)  # fmt: skip

# --------------------------------------------------------------------------- selection
composed_op(
    "where", lambda c, condition, x, y: c.where(condition, x, y), arity=3, in_place=False, scalar=True,
    of_complex="plain", vjp=lambda ct, condition, x, y, out: (
        None, ct.where(condition, 0), ct._zero_where(condition),
    ),
)  # fmt: skip
#: the last statement of masked rules (traced_rule.py): x, but 0 where the cotangent is
composed_op(
    "mask_zero", lambda c, ct, x: c.where(c(np.equal, ct, 0.0), 0.0, x), arity=2, torch=None,
    of_complex="plain", vjp=lambda g, ct, x, out: (None, ct._apply("mask_zero", g)), private=True,
)  # fmt: skip
