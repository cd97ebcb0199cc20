"""Exponential, logarithm and hyperbolic tangent in float64, vectorised.

NumPy's loops for these call libm element by element (5 to 14 ns each), except where the processor has
AVX-512. These are fdlibm's methods (``e_exp.c``, ``e_log.c``) without a branch, and Cephes' rational
function for small arguments of tanh; errors stay below 2 ulp, those of exp below 0.7
(tests/test_elementary_kernels.py). Outside of the range (overflow, subnormal numbers, NaN) libm is asked
(vectorised.py).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.introspect import opt_func_info

from ..kernels import PREFERRED
from ..words import bits_float, float_bits, helper
from .vectorised import vectorised

__all__ = ["KERNELS"]

_MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, in the low bits
_MAGIC_BITS = 0x4338000000000000
_LOG2E = 1.44269504088896338700
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_P1, _P2, _P3 = 1.66666666666666019037e-01, -2.77777777770155933842e-03, 6.61375632143793436117e-05
_P4, _P5 = -1.65339022054652515390e-06, 4.13813679705723846039e-08
_L1, _L2, _L3 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01
_L4, _L5, _L6 = 2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01
_L7 = 1.479819860511658591e-01
_T0, _T1, _T2 = -9.64399179425052238628e-01, -9.92877231001918586564e01, -1.61468768441708447952e03
_U0, _U1, _U2 = 1.12811678491632931402e02, 2.23548839060100448583e03, 4.84406305325125486048e03
#: high words of sqrt(1/2), and what is added so that the exponent counts from there
_ROOT, _SHIFT = 0x3FE6A09E << 32, (0x3FF00000 - 0x3FE6A09E) << 32
_MANTISSA = (1 << 52) - 1


@helper
def exp_of(x):  # type: ignore[no-untyped-def]
    """``exp(x)`` for ``abs(x) <= 708``."""
    shifted = x * _LOG2E + _MAGIC
    k = shifted - _MAGIC
    high = x - k * _LN2_HIGH
    low = k * _LN2_LOW
    r = high - low
    t = r * r
    c = r - t * (_P1 + t * (_P2 + t * (_P3 + t * (_P4 + t * _P5))))
    near = 1.0 + high
    y = near + (
        ((1.0 - near) + high) + ((r * c) / (2.0 - c) - low)
    )  # what 1 + high lost comes back
    return y * bits_float((float_bits(shifted) - _MAGIC_BITS + 1023) << 52)


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
    """``tanh(x)`` for all numbers but NaN."""
    a = min(abs(x), 22.0)
    z = a * a
    p = (_T0 * z + _T1) * z + _T2
    q = ((z + _U0) * z + _U1) * z + _U2
    small = a + a * z * (p / q)
    large = 1.0 - 2.0 / (exp_of(a + a) + 1.0)
    y = small if a < 0.625 else large
    return math.copysign(y, x)


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
    """Whether NumPy's loop of a function uses AVX-512."""
    found = opt_func_info(func_name=f"^{name}$", signature="float64").get(name, {})
    current = found.get("dd", {}).get("current", "")
    return "AVX512" in current or "X86_V4" in current


for _name, _kernel in KERNELS.items():
    if not _is_vectorised(_name):
        PREFERRED[getattr(np, _name), "float64"] = _kernel
