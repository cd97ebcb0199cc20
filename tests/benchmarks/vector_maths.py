"""Elementary functions in plain arithmetic, which LLVM vectorises in the loops of hand-written limits.

Branch-free and within a few units in the last place for the arguments of the benchmarks: no overflow,
no denormal numbers, sines of |x| below 1e5.
"""

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from scipy import special

FAST = {"reassoc", "contract", "nsz"}
jit = numba.njit(cache=True, error_model="numpy", fastmath=FAST)
# Not reassociated: a reduction of the argument in two steps would become one.
inlined = numba.njit(error_model="numpy", fastmath={"contract", "nsz"}, forceinline=True)


@intrinsic
def _bits_of(typing, x):
    def code(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), code


@intrinsic
def _of_bits(typing, x):
    def code(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), code


# The exponent k of 2**k, added to this, stands in the lowest bits of the sum.
_SHIFT = 1.5 * 2.0**52


@inlined
def _reduced(x):
    """Return r, 2**k with x = r + k log 2; and exp(r) - 1 by its Taylor polynomial."""
    k = np.rint(x * 1.4426950408889634)
    power = _of_bits((_bits_of(k + _SHIFT) + 1023) << 52)
    r = x - k * 0.6931471803691238
    r -= k * 1.9082149292705877e-10
    z = r * r
    # Estrin's scheme, as nothing else hides the latency where the loop is short
    p = (1 / 6 + r * (1 / 24)) + z * (1 / 120 + r * (1 / 720))
    q = (1 / 5040 + r * (1 / 40320)) + z * (1 / 362880 + r * (1 / 3628800))
    q += z * z * (1 / 39916800 + r * (1 / 479001600) + z * (1 / 6227020800))
    return power, r + z * (0.5 + r * (p + z * z * q))


@inlined
def exp(x):
    power, p = _reduced(x)
    return power + power * p


@inlined
def tanh(x):
    """From exp(2x) - 1, which loses nothing near zero; |x| is cut where the result is 1."""
    power, p = _reduced(2.0 * max(min(x, 20.0), -20.0))
    m = power * p + (power - 1.0)
    return m / (m + 2.0)


@inlined
def log(x):
    """As in fdlibm: log(1 + f) from s = f / (2 + f), with 1 + f between sqrt(1/2) and sqrt(2)."""
    bits = _bits_of(x) - 0x3FE6A09E667F3BCD
    k = np.float64(bits >> 52)
    f = _of_bits((bits & 0x000FFFFFFFFFFFFF) + 0x3FE6A09E667F3BCD) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    t = w * (0.3999999999940942 + w * (0.22222198432149784 + w * 0.15313837699209373))
    t += z * (
        0.6666666666666735
        + w * (0.2857142874366239 + w * (0.1818357216161805 + w * 0.14798198605116586))
    )
    half = 0.5 * f * f
    return k * 0.6931471803691238 - ((half - (s * (half + t) + k * 1.9082149292705877e-10)) - f)


@inlined
def sine_and_cosine(x):
    """Cody and Waite's reduction by pi/2 and fdlibm's kernels."""
    quarter = np.rint(x * 0.6366197723675814)
    r = x - quarter * 1.5707963267341256
    r -= quarter * 6.077100506506192e-11
    z = r * r
    s = -2.50507602534068634195e-08 + z * 1.58969099521155010221e-10
    s = -1.98412698298579493134e-04 + z * (2.75573137070700676789e-06 + z * s)
    s = r + r * z * (-1.66666666666666324348e-01 + z * (8.33333333332248946124e-03 + z * s))
    c = 2.08757232129817482790e-09 + z * -1.13596475577881948265e-11
    c = 2.48015872894767294178e-05 + z * (-2.75573143513906633035e-07 + z * c)
    c = z * z * (4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * c))
    c = 1.0 - 0.5 * z + c
    turn = quarter - 4.0 * np.floor(0.25 * quarter)  # 0, 1, 2 or 3
    swapped = (turn == 1.0) or (turn == 3.0)
    sine = (c if swapped else s) * (-1.0 if turn >= 2.0 else 1.0)
    cosine = (s if swapped else c) * (-1.0 if (turn == 1.0) or (turn == 2.0) else 1.0)
    return sine, cosine


def _erfcx_coefficients(degree: int = 23) -> tuple[float, ...]:
    """Shepherd and Laframboise (1981): a polynomial in t = (x - K) / (x + K), here for K = 3.75."""
    nodes = np.cos(np.pi * (np.arange(200) + 0.5) / 200)
    x = 3.75 * (1 + nodes) / (1 - nodes)
    fit = np.polynomial.chebyshev.chebfit(nodes, (1 + 2 * x) * special.erfcx(x), degree)
    return tuple(np.polynomial.chebyshev.cheb2poly(fit).tolist())


_ERFCX = _erfcx_coefficients()
_LOW, _HIGH = _ERFCX[:12], _ERFCX[12:]


@inlined
def half_erfcx(x):
    """Return exp(x * x) * erfc(x) / 2 for x >= 0."""
    t = (x - 3.75) / (x + 3.75)
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11 = _LOW
    d0, d1, d2, d3, d4, d5, d6, d7, d8, d9, d10, d11 = _HIGH
    z = t * t
    w = z * z
    u = w * w
    low = (c0 + t * c1 + z * (c2 + t * c3)) + w * (c4 + t * c5 + z * (c6 + t * c7))
    low += u * (c8 + t * c9 + z * (c10 + t * c11))
    high = (d0 + t * d1 + z * (d2 + t * d3)) + w * (d4 + t * d5 + z * (d6 + t * d7))
    high += u * (d8 + t * d9 + z * (d10 + t * d11))
    return 0.5 * (low + u * w * high) / (1.0 + 2.0 * x)
