"""Special functions, elementwise: gamma, error and Bessel functions and their like.

The logarithm of the gamma function and its derivatives, and the normal distribution, are kernels of our own
(kernels/gamma.py), so strips have opcodes of them; all others are loops of SciPy's.
The ufuncs of scipy.special have inner loops as NumPy's have. SciPy need not be installed, and takes a tenth
of a second to import: so a row names its ufunc (`LibraryUfunc`), which is looked up for the first instruction
of the row. Rows that PyTorch has at the top level have its names; those of torch.special, and those
of scipy.special that PyTorch has not, begin with ``special_``, and stand in `tapegrad.special`.

A derivative is written with functions that are smooth where it is: Bessel functions of the orders beside it,
not quotients that are 0 / 0 at 0. Where nobody has a formula (the derivative of an incomplete gamma function
with respect to its order), the cotangent is `missing` (missing_derivative.py).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from ..base.dtypes import int64
from ..native.ufunc_loops import LibraryUfunc, fastest_loop
from .chains import Chain, Value, composed_op
from .kernels import gamma as gamma_kernels
from .layout import Layout, broadcast_strides, contiguous
from .missing_derivative import missing
from .program import SCRATCH, Operand, Step, arg
from .table import Lowered, Op, op, out_operand

__all__ = ["gamma_kernels"]  # which these loops come from

_ROOT_PI, _ROOT_TAU, _ROOT_HALF = math.sqrt(math.pi), math.sqrt(2 * math.pi), math.sqrt(0.5)


# --------------------------------------------------------------------------- rows
def _scipy(name: str) -> LibraryUfunc:
    module = (
        "scipy.special._ufuncs" if name.startswith("_") else "scipy.special"
    )  # behind a Python function
    return LibraryUfunc(module, name)


def _special(name: str, ufunc: str, **row: Any) -> Op:
    """Add a row whose loop is that of SciPy's ufunc."""
    library = _scipy(ufunc)
    row.setdefault("torch", name.replace("special_", "special.", 1))
    return composed_op(name, lambda c, *operands: c(library, *operands), result="float", **row)


def _tail(x: Any, far: Any, sign: float) -> Any:
    """Return the sum over n of ``sign**n (2n + 1)!! / (2 x**2)**n``, over x**2, where `x` is `far` beyond 50.

    It is the asymptotic series of slopes that are a difference of nearly equal numbers there; six terms have
    all digits.
    """
    y = x.where(far, 50)
    r = 1 / (y * y)
    series = 1.0
    for n in range(5, 0, -1):
        series = 1 + (sign * (n + 0.5)) * r * series
    return r * series


# --------------------------------------------------------------------------- gamma and its family
composed_op(
    "lgamma", lambda c, x: c("lgamma", x), result="float", domain="positive", scalar=True,
    vjp=lambda ct, x, out: ct * x.digamma(),
)  # fmt: skip
composed_op(
    "digamma", lambda c, x: c("polygamma", x, data=(0,)), result="float", domain="positive", scalar=True,
    vjp=lambda ct, x, out: ct * x._apply("polygamma", n=1),
)  # fmt: skip
composed_op(
    "polygamma", lambda c, x: c("polygamma", x, data=(c.attrs["n"],)), result="float", domain="positive",
    private=True, in_place=True, parameters=("n",),
    vjp=lambda ct, x, out, n: ct * x._apply("polygamma", n=n + 1),
)  # fmt: skip
_special("special_gamma", "gamma", torch=None, domain="positive",
         vjp=lambda ct, x, out: ct * (out * x.digamma()))  # fmt: skip
_special(
    "special_gammasgn", "gammasgn", torch=None, domain="positive", vjp=lambda ct, x, out: ct._zero()
)


def _rgamma_vjp(ct: Any, x: Any, out: Any) -> Any:
    """By the reflection formula left of 1/2, which has no poles there."""
    left = x < 0.5
    y, z = x.where(left, 0.25), x.where(x >= 0.5, 1)
    slope = math.pi * (math.pi * y).cos() - (math.pi * y).sin() * (1 - y).digamma()
    reflected = (1 - y)._apply("special_gamma") * slope * (1 / math.pi)
    return ct * reflected.where(left, -z._apply("special_rgamma") * z.digamma())


_special("special_rgamma", "rgamma", torch=None, vjp=_rgamma_vjp)


def _beta_slopes(a: Any, b: Any) -> tuple[Any, Any]:
    of_sum = (a + b).digamma()
    return a.digamma() - of_sum, b.digamma() - of_sum


def _betaln_vjp(ct: Any, a: Any, b: Any, out: Any) -> tuple[Any, Any]:
    by_a, by_b = _beta_slopes(a, b)
    return ct * by_a, ct * by_b


def _beta_vjp(ct: Any, a: Any, b: Any, out: Any) -> tuple[Any, Any]:
    return _betaln_vjp(ct * out, a, b, out)


_special("special_betaln", "betaln", arity=2, torch=None, domain="positive", vjp=_betaln_vjp)
_special("special_beta", "beta", arity=2, torch=None, domain="positive", vjp=_beta_vjp)


def _gamma_density(a: Any, x: Any) -> Any:
    return ((a - 1).xlogy(x) - x - a.lgamma()).exp()


def _igamma_vjp(ct: Any, a: Any, x: Any, out: Any, *, name: str, sign: float) -> tuple[Any, Any]:
    return missing(ct, a, name, "the order (its first argument)"), ct * (
        sign * _gamma_density(a, x)
    )


_special("igamma", "gammainc", arity=2, vjp=partial(_igamma_vjp, name="igamma", sign=1))
_special("igammac", "gammaincc", arity=2, vjp=partial(_igamma_vjp, name="igammac", sign=-1))


def _betainc_vjp(ct: Any, a: Any, b: Any, x: Any, out: Any) -> tuple[Any, Any, Any]:
    power = (a - 1).xlogy(x) + (b - 1)._apply("special_xlog1py", -x)
    density = (power - a._apply("special_betaln", b)).exp()
    return (
        missing(ct, a, "betainc", "a (its first argument)"),
        missing(ct, b, "betainc", "b (its second argument)"),
        ct * density,
    )


_special("special_betainc", "betainc", arity=3, torch=None, vjp=_betainc_vjp)
_special(
    "special_zeta", "_zeta", arity=2,
    vjp=lambda ct, x, q, out: (
        missing(ct, x, "special.zeta", "its first argument"),
        ct * (-x * (x + 1)._apply("special_zeta", q)),
    ),
)  # fmt: skip


# --------------------------------------------------------------------------- error functions
def _erfcx_vjp(ct: Any, x: Any, out: Any) -> Any:
    far = x > 50
    slope = 2 * x.where(x <= 50, 0) * out - 2 / _ROOT_PI
    return ct * (_tail(x, far, -1) * (-1 / _ROOT_PI)).where(far, slope)


def _dawsn_vjp(ct: Any, x: Any, out: Any) -> Any:
    far = x.abs() > 50
    return ct * (_tail(x, far, 1) * -0.5).where(far, 1 - 2 * x.where(x.abs() <= 50, 0) * out)


_special("erfinv", "erfinv", domain="unit",
         vjp=lambda ct, x, out: ct * (_ROOT_PI / 2 * (out * out).exp()))  # fmt: skip
_special("special_erfcinv", "erfcinv", torch=None, domain="probability",
         vjp=lambda ct, x, out: ct * (-_ROOT_PI / 2 * (out * out).exp()))  # fmt: skip
_special("special_erfcx", "erfcx", vjp=_erfcx_vjp)
_special("special_erfi", "erfi", torch=None, domain="small",
         vjp=lambda ct, x, out: ct * (2 / _ROOT_PI * (x * x).exp()))  # fmt: skip
_special("special_dawsn", "dawsn", torch=None, vjp=_dawsn_vjp)
composed_op(
    "special_ndtr", lambda c, x: c("ndtr", x), result="float", torch="special.ndtr", grad_fn="MulBackward1",
    vjp=lambda ct, x, out: ct * (1 / _ROOT_TAU * (-0.5 * x * x).exp()),
)  # fmt: skip
composed_op(
    "special_log_ndtr",  # SciPy's distribution function has a few digits less where it is small
    lambda c, x: c.where(
        c(np.greater, x, 0.0), c(np.log1p, c(np.negative, c("ndtr", c(np.negative, x)))),
        c(_scipy("log_ndtr"), x),
    ),
    result="float", torch="special.log_ndtr",
    vjp=lambda ct, x, out: ct * (2 / _ROOT_TAU / (-_ROOT_HALF * x)._apply("special_erfcx")),
)  # fmt: skip
_special("special_ndtri", "ndtri", domain="probability",
         vjp=lambda ct, x, out: ct * (_ROOT_TAU * (0.5 * out * out).exp()))  # fmt: skip


# --------------------------------------------------------------------------- entropies and exponentials
_special("special_entr", "entr", domain="positive", vjp=lambda ct, x, out: ct * -(x.log() + 1))
_special(
    "special_rel_entr", "rel_entr", arity=2, torch=None, domain="positive",
    vjp=lambda ct, x, y, out: (ct * ((x / y).log() + 1), ct * -(x / y)),
)  # fmt: skip
_special(
    "special_kl_div", "kl_div", arity=2, torch=None, domain="positive",
    vjp=lambda ct, x, y, out: (ct * (x / y).log(), ct * (1 - x / y)),
)  # fmt: skip
_special(
    "special_xlog1py", "xlog1py", arity=2, domain="positive",
    number_names={0: "SpecialXlog1PyBackward1", 1: "SpecialXlog1PyBackward2"},
    vjp=lambda ct, x, y, out: (
        ct * y.where((x != 0) | (y > -1) | y.isnan(), 0).log1p(), ct * (x / (y + 1)),
    ),
)  # fmt: skip
_special("special_exp10", "exp10", torch=None, domain="small",
         vjp=lambda ct, x, out: ct * (out * math.log(10)))  # fmt: skip
_special(
    "special_expi", "expi", torch=None, domain="nonzero", vjp=lambda ct, x, out: ct * (x.exp() / x)
)
_special("special_exp1", "exp1", torch=None, domain="positive",
         vjp=lambda ct, x, out: ct * -((-x).exp() / x))  # fmt: skip


# --------------------------------------------------------------------------- Bessel functions
def _slope_of_order_one(x: Any, name: str, zero: Any, one: Any, sign: float) -> Any:
    """Slope of J1 or I1: ``zero - one / x``, which has few digits (and its slopes fewer) where `x` is small.

    There it is half a sum of those of orders 0 and 2; SciPy's of order 2 fail for large numbers.
    """
    size = x.abs()
    near = (size < 2) & (size > 1e-30)
    two = x._number(2.0)._apply(f"special_{name}", x.where(near, 1))
    tiny = x.where(size <= 1e-30, 0)
    two = two.where(near, tiny * tiny / 8)
    return (0.5 * (zero + sign * two)).where(size < 2, zero - one / x.where(~(size < 2), 2))


def _bessel(name: str, *, below: float, above: float, scaled: str = "") -> None:
    """Add the row of a Bessel function of any order; its slope is half a sum of two others."""

    def vjp(ct: Any, v: Any, x: Any, out: Any) -> tuple[Any, Any]:
        row = f"special_{name}"
        beside = (v - 1)._apply(row, x) * below + (v + 1)._apply(row, x) * above
        if scaled == "even":  # exp(-|x|) comes with it
            beside = beside - x.sign() * out
        elif scaled:  # exp(x)
            beside = beside + out
        return missing(ct, v, f"special.{name}", "the order (its first argument)"), ct * beside

    _special(f"special_{name}", name, arity=2, torch=None, vjp=vjp)


_bessel("jv", below=0.5, above=-0.5)
_bessel("yv", below=0.5, above=-0.5)
_bessel("iv", below=0.5, above=0.5)
_bessel("ive", below=0.5, above=0.5, scaled="even")
_bessel("kv", below=-0.5, above=-0.5)
_bessel("kve", below=-0.5, above=-0.5, scaled="growing")

_special("special_bessel_j0", "j0", vjp=lambda ct, x, out: ct * -x._apply("special_bessel_j1"))
_special(
    "special_bessel_j1", "j1",
    vjp=lambda ct, x, out: ct * _slope_of_order_one(x, "jv", x._apply("special_bessel_j0"), out, -1),
)  # fmt: skip
_special("special_bessel_y0", "y0", domain="positive",
         vjp=lambda ct, x, out: ct * -x._apply("special_bessel_y1"))  # fmt: skip
_special(
    "special_bessel_y1", "y1", domain="positive",
    vjp=lambda ct, x, out: ct * (x._apply("special_bessel_y0") - out / x),
)  # fmt: skip
_special("i0", "i0", vjp=lambda ct, x, out: ct * x._apply("special_i1"))
_special(
    "special_i0e", "i0e", vjp=lambda ct, x, out: ct * (x._apply("special_i1e") - x.sign() * out)
)
_special("special_i1", "i1",
         vjp=lambda ct, x, out: ct * _slope_of_order_one(x, "iv", x.i0(), out, 1))  # fmt: skip
_special(
    "special_i1e", "i1e",
    vjp=lambda ct, x, out: ct * (
        _slope_of_order_one(x, "ive", x._apply("special_i0e"), out, 1) - x.sign() * out
    ),
)  # fmt: skip
_special("special_modified_bessel_k0", "k0", domain="positive",
         vjp=lambda ct, x, out: ct * -x._apply("special_modified_bessel_k1"))  # fmt: skip
_special(
    "special_modified_bessel_k1", "k1", domain="positive",
    vjp=lambda ct, x, out: ct * -(x._apply("special_modified_bessel_k0") + out / x),
)  # fmt: skip
_special(
    "special_scaled_modified_bessel_k0", "k0e", domain="positive",
    vjp=lambda ct, x, out: ct * (out - x._apply("special_scaled_modified_bessel_k1")),
)  # fmt: skip
_special(
    "special_scaled_modified_bessel_k1", "k1e", domain="positive",
    vjp=lambda ct, x, out: ct * (
        out - x._apply("special_scaled_modified_bessel_k0") - out / x
    ),
)  # fmt: skip


def _spherical_vjp(ct: Any, x: Any, out: Any, n: int) -> Any:
    above = x._apply("special_spherical_jn", n=n + 1)
    if n == 0:
        return ct * -above
    below = x._apply("special_spherical_jn", n=n - 1)
    return ct * ((n / (2 * n + 1)) * below - ((n + 1) / (2 * n + 1)) * above)


def _spherical(c: Chain, x: Value) -> Value:
    """Even or odd, as its order is: SciPy's loop takes positive numbers."""
    n = c.attrs["n"]
    size = c(_scipy("_spherical_jn"), c.number(n, int64), c(np.absolute, x))
    return c(np.multiply, c(np.sign, x), size) if n & 1 else size


composed_op(
    "special_spherical_jn", _spherical,
    result="float", torch=None, private=True, vjp=_spherical_vjp,
)  # fmt: skip


# --------------------------------------------------------------------------- Airy functions
def _lower_airy(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Take one of the four results of SciPy's loop, the others go to scratch memory."""
    (x,) = layouts
    out = contiguous(x.dtype, x.shape)
    unused = Operand(SCRATCH, 0, (0,) * x.ndim)
    results = [unused] * 4
    results[attrs["component"]] = out_operand(1, out)
    kernel = fastest_loop(_scipy("airy"), (x.dtype,) * 5)
    operands = arg(0, broadcast_strides(x, x.shape)), *results
    return Lowered((out,), (Step(kernel, x.shape, operands),), 64)


def _airy_vjp(ct: Any, x: Any, out: Any, component: int) -> Any:
    """Ai, Ai', Bi, Bi': the second derivative is x times the function."""
    other = x._apply("special_airy", component=component ^ 1)
    return ct * (x * other if component & 1 else other)


op("special_airy", lower=_lower_airy, torch=None, private=True, vjp=_airy_vjp)
