"""Exponential, logarithm and hyperbolic tangent in float64, in line.

NumPy's loops for these call libm element by element (5 to 14 ns each), except where the processor has
AVX-512; and a call of libm's tanh for one number takes 20 ns. Here exp is reduced by multiples of ln 2 in two
parts (Cody and Waite) with the rounding error carried along. ``(exp(r) - 1 - r) / r**2`` is a polynomial,
interpolated at Chebyshev points with mpmath and evaluated by halves (Estrin), in fused multiply-adds; its
error is below 2**-61. tanh comes from ``exp(2 x) - 1``, of which nothing is lost by subtracting; log is
fdlibm's (``e_log.c``). Nothing has a branch, so that LLVM vectorises loops. Errors stay below 0.7 ulp for
exp, 1 for tanh and 2 for log (tests/test_elementary_kernels.py). Outside of the range (overflow, subnormal
numbers, NaN) libm is asked, and so it is for everything on processors without fused multiply-add.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.introspect import opt_func_info

from ...native.targets import has_fma
from ...native.ufunc_loops import PREFERRED
from ...native.words import (
    bits_float,
    float_bits,
    fma,
    helper,
    libm_exp,
    libm_tanh,
    select,
)
from .vectorised import Elementary, vectorised

__all__ = ["ELEMENTARY", "KERNELS"]

_MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, in the low bits
_MAGIC_BITS = 0x4338000000000000
_LOG2E = 1.44269504088896338700
_LN2_1, _LN2_2 = 0.6931471805599453, 2.3190468138462996e-17  # 53 bits of ln 2 each
_E0, _E1, _E2 = 0.5, 0.1666666666666667, 0.04166666666666667
_E3, _E4, _E5 = 0.008333333333326136, 0.0013888888888883748, 0.00019841269874820627
_E6, _E7, _E8 = 2.4801587325547743e-05, 2.7557255400206422e-06, 2.75572736431103e-07
_E9, _E10 = 2.5105217004720745e-08, 2.0914686968086876e-09
_LN2_HIGH, _LN2_LOW = (
    6.93147180369123816490e-01,
    1.90821492927058770002e-10,
)  # log: 32 bits, the rest
_L1, _L2, _L3 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01
_L4, _L5, _L6 = 2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01
_L7 = 1.479819860511658591e-01
#: high words of sqrt(1/2), and what is added so that the exponent counts from there
_ROOT, _SHIFT = 0x3FE6A09E << 32, (0x3FF00000 - 0x3FE6A09E) << 32
_MANTISSA, _SIGN = (1 << 52) - 1, -(1 << 63)


@helper
def exp_parts(x):  # type: ignore[no-untyped-def]
    """`s`, `r` and `t` with ``exp(x) == s * (1 + r + t)``, for ``abs(x) <= 708``.

    `s` is a power of two, ``abs(r) <= ln(2) / 2``, and `t` is smaller by an order.
    """
    shifted = fma(x, _LOG2E, _MAGIC)
    k = shifted - _MAGIC
    high = fma(k, -_LN2_1, x)  # exact
    r = fma(k, -_LN2_2, high)
    low = fma(k, -_LN2_2, high - r)
    r2 = r * r
    r4 = r2 * r2
    q = fma(r2, fma(r, _E3, _E2), fma(r, _E1, _E0))
    q = fma(r4, fma(r2, fma(r, _E7, _E6), fma(r, _E5, _E4)), q)
    q = fma(r4 * r4, fma(r2, _E10, fma(r, _E9, _E8)), q)
    return bits_float((float_bits(shifted) - _MAGIC_BITS + 1023) << 52), r, fma(r2, q, low)


@helper
def exp_of(x):  # type: ignore[no-untyped-def]
    """``exp(x)`` for ``abs(x) <= 708``."""
    s, r, t = exp_parts(x)
    near = 1.0 + r
    return s * (near + ((r - (near - 1.0)) + t))  # what 1 + r lost comes back


@helper
def log_of(x):  # type: ignore[no-untyped-def]
    """``log(x)`` for normal positive numbers."""
    bits = float_bits(x) + _SHIFT
    k = bits_float(((bits >> 52) - 1023) + _MAGIC_BITS) - _MAGIC
    f = bits_float((bits & _MANTISSA) + _ROOT) - 1.0
    half = 0.5 * f * f
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    r = w * (_L2 + w * (_L4 + w * _L6)) + z * (_L1 + w * (_L3 + w * (_L5 + w * _L7)))
    return k * _LN2_HIGH - ((half - (s * (half + r) + k * _LN2_LOW)) - f)


@helper
def tanh_of(x):  # type: ignore[no-untyped-def]
    """``tanh(x)`` for all numbers but NaN: ``e / (e + 2)`` with ``e = exp(2 x) - 1``.

    Errors of `e`, of the sum and of the quotient are computed, and corrected.
    """
    a = abs(x)
    s, r, t = exp_parts(2.0 * select(a < 22.0, a, 22.0))
    p = r + t
    e = fma(s, p, s - 1.0)
    lost = fma(s, t - (p - r), fma(s, p, (s - 1.0) - e))
    sum = e + 2.0
    more = lost + (e - (sum - 2.0))
    inverse = 1.0 / sum
    y = e * inverse
    y = fma(fma(-y, sum, e) + (lost - y * more), inverse, y)
    return bits_float(float_bits(y) | (float_bits(x) & _SIGN))


@helper
def exp_reaches(x):  # type: ignore[no-untyped-def]
    return abs(x) <= 708.0


@helper
def log_reaches(x):  # type: ignore[no-untyped-def]
    return (x >= 2.2250738585072014e-308) & (x <= 1.7976931348623157e308)


@helper
def tanh_reaches(x):  # type: ignore[no-untyped-def]
    return x == x


#: by name of NumPy's function
KERNELS = {
    "exp": vectorised("exp", exp_of, exp_reaches, math.exp),
    "log": vectorised("log", log_of, log_reaches, math.log),
    "tanh": vectorised("tanh", tanh_of, tanh_reaches, math.tanh),
}


def _is_vectorised(name: str) -> bool:
    """Return True if NumPy's loop of a function uses AVX-512."""
    loops = opt_func_info(func_name=f"^{name}$", signature="float64").get(name, {})
    current = loops.get("dd", {}).get("current", "")
    return "AVX512" in current or "X86_V4" in current


#: those that compiled functions have in line, by name of NumPy's function
ELEMENTARY = {
    "exp": Elementary(exp_of, exp_reaches, libm_exp), "tanh": Elementary(tanh_of, tanh_reaches, libm_tanh)
}  # fmt: skip

for _name, _kernel in KERNELS.items() if has_fma() else ():
    if not _is_vectorised(_name):
        PREFERRED[getattr(np, _name), "float64"] = _kernel
