"""Logarithms and powers in float64, in line and right for every number.

A number is ``2**k * (1 + f)`` with ``f`` between the square roots of 1/2 and 2, less 1. With
``s = f / (2 + f)``, ``log(1 + f)`` is ``2 s + 2/3 s**3 + ...``, of which the terms from the third on are a
polynomial in ``s**2``, fitted with mpmath. Logarithms take ``2 s = f - s f``, so that only what is small is
rounded before the last sum. A power ``x**y`` is ``2**(y log2(x))``, for which ``log2(x)`` is computed as a
sum of two numbers, right to 2**-64.
"""

from __future__ import annotations

import math

from ...native.words import bits_float, float_bits, fma, inlined, select
from .exponential import MAGIC, clamped, exp2_of, exp_of, exp_series, one_plus, scaled

__all__ = ["log1p_of", "log2_of", "log10_of", "log_of", "logaddexp2_of", "logaddexp_of", "power_of"]

_INF, _NAN = math.inf, math.nan
_MAGIC_BITS = 0x4338000000000000
_BIASED = MAGIC + 1023.0
#: high words of sqrt(1/2), and what is added so that the exponent counts from there
_ROOT, _SHIFT = 0x3FE6A09E << 32, (0x3FF00000 - 0x3FE6A09E) << 32
_MANTISSA, _UNSIGNED = (1 << 52) - 1, (1 << 63) - 1
_NORMAL, _UP, _UP_BITS = 2.2250738585072014e-308, 18014398509481984.0, 54.0  # 2**54
_TINY = 5.551115123125783e-17

_LN2_HIGH, _LN2_LOW = 0.6931471805592082, 7.371002565167799e-13  # 40 bits, the rest
_LOG10_2_HIGH, _LOG10_2_LOW = 0.30102999566361177, 3.694239077158931e-13
_INVERSE_LN2, _INVERSE_LN2_LOW = 1.4426950408889634, 2.0355273740931033e-17
_INVERSE_LN10, _INVERSE_LN10_LOW = 0.4342944819032518, 1.098319650216765e-17
_L0, _L1, _L2 = 0.6666666666666734, 0.3999999999941646, 0.28571428742095145
_L3, _L4, _L5 = 0.22222198596147863, 0.18183563402531372, 0.15314068733002065
_L6 = 0.14795812971714276

# of powers: the series of atanh(s) / s after 1, with 1/3 in two parts
_THIRD, _THIRD_LOW = 0.3333333333333333, 1.850371707708594e-17
_Q0, _Q1, _Q2 = 0.1999999999999999, 0.14285714285721923, 0.11111111108893786
_Q3, _Q4, _Q5 = 0.09090909422162584, 0.07692279201333696, 0.06668132793492845
_Q6, _Q7 = 0.058378785736042674, 0.05990979854739982
_TWO_LN2, _TWO_LN2_LOW = 2.8853900817779268, 4.0710547481862066e-17  # 2 / ln 2
_LN2, _LN2_REST = 0.6931471805599453, 2.3190468138462996e-17
_HUGE = 3.6893488147419103e19  # 2**65
_WHOLE = 4503599627370496.0  # 2**52: from here on all numbers are integers


@inlined
def log_parts(x):  # type: ignore[no-untyped-def]
    """`k` and `f` with ``x == 2**k * (1 + f)``, of a positive number."""
    below = x < _NORMAL
    bits = float_bits(select(below, x * _UP, x)) + _SHIFT
    exponent = bits_float(((bits & _UNSIGNED) >> 52) | _MAGIC_BITS)
    k = exponent - select(below, _BIASED + _UP_BITS, _BIASED)
    return k, bits_float((bits & _MANTISSA) + _ROOT) - 1.0


@inlined
def log_series(f):  # type: ignore[no-untyped-def]
    """Two numbers, of which the second less the first, added to `f`, is ``log(1 + f)``."""
    half = 0.5 * f * f
    s = f / (2.0 + f)
    z = s * s
    zz = z * z
    p = fma(zz, fma(z, _L3, _L2), fma(z, _L1, _L0))
    p = fma(zz * zz, fma(zz, _L6, fma(z, _L5, _L4)), p)
    return half, s * fma(z, p, half)


@inlined
def log_ends(x, y):  # type: ignore[no-untyped-def]
    """A logarithm `y` of `x`, or what it is of infinity, of zero, of negative numbers and of NaN."""
    y = select(x < _INF, y, x)
    return select(x > 0.0, y, select(x == 0.0, -_INF, _NAN))


@inlined
def log_of(x):  # type: ignore[no-untyped-def]
    """``log(x)``."""
    k, f = log_parts(x)
    half, tail = log_series(f)
    whole = k * _LN2_HIGH  # exact
    sum = whole + f
    rest = fma(k, _LN2_LOW, (whole - sum) + f)
    return log_ends(x, sum + (rest + (tail - half)))


@inlined
def log1p_of(x):  # type: ignore[no-untyped-def]
    """``log(1 + x)``: what ``1 + x`` loses is added, divided by it."""
    one = 1.0 + x
    back = one - 1.0
    lost = (x - back) + (1.0 - (one - back))
    k, f = log_parts(one)
    half, tail = log_series(f)
    whole = k * _LN2_HIGH
    sum = whole + f
    rest = fma(k, _LN2_LOW, (whole - sum) + f) + lost / one
    y = log_ends(one, sum + (rest + (tail - half)))
    return select(abs(x) < _TINY, x, y)


@inlined
def log_to_base(f, inverse, low):  # type: ignore[no-untyped-def]
    """``log(1 + f)`` divided by that of a base, as a sum of two."""
    half, tail = log_series(f)
    high = f - half
    rest = (((f - high) - half) - fma(0.5 * f, f, -half)) + tail
    y = high * inverse
    return y, fma(high, inverse, -y) + fma(rest, inverse, high * low)


@inlined
def log2_of(x):  # type: ignore[no-untyped-def]
    """Logarithm to base 2."""
    k, f = log_parts(x)
    y, low = log_to_base(f, _INVERSE_LN2, _INVERSE_LN2_LOW)
    sum = k + y
    return log_ends(x, sum + (((k - sum) + y) + low))


@inlined
def log10_of(x):  # type: ignore[no-untyped-def]
    """Logarithm to base 10."""
    k, f = log_parts(x)
    y, low = log_to_base(f, _INVERSE_LN10, _INVERSE_LN10_LOW)
    whole = k * _LOG10_2_HIGH  # exact
    sum = whole + y
    return log_ends(x, sum + (fma(k, _LOG10_2_LOW, (whole - sum) + y) + low))


@inlined
def logaddexp_of(x, y):  # type: ignore[no-untyped-def]
    """``log(exp(x) + exp(y))``, within an ulp of the larger of operand and logarithm that are added."""
    gap = x - y
    sum = select(gap > 0.0, x, y) + log1p_of(exp_of(-abs(gap)))
    return select(x == y, x + _LN2, sum)  # infinities, too


@inlined
def logaddexp2_of(x, y):  # type: ignore[no-untyped-def]
    """``log2(2**x + 2**y)``, as `logaddexp_of`."""
    gap = x - y
    sum = select(gap > 0.0, x, y) + log1p_of(exp2_of(-abs(gap))) * _INVERSE_LN2
    return select(x == y, x + 1.0, sum)


@inlined
def precise_log2(x):  # type: ignore[no-untyped-def]
    """Logarithm to base 2 of a positive number as a sum of two."""
    k, f = log_parts(x)
    one = 2.0 + f
    lost = f - (one - 2.0)
    inverse = 1.0 / one
    s = f * inverse
    s_low = (fma(-s, one, f) - s * lost) * inverse
    z = s * s
    z_low = fma(s, s, -z) + 2.0 * s * s_low
    zz = z * z
    q = fma(zz, fma(z, _Q3, _Q2), fma(z, _Q1, _Q0))
    q = fma(zz * zz, fma(zz, fma(z, _Q7, _Q6), fma(z, _Q5, _Q4)), q)
    w = z * q
    p = _THIRD + w
    p_low = ((_THIRD - p) + w) + (fma(z, q, -w) + _THIRD_LOW)
    t = z * p
    t_low = fma(z, p, -t) + fma(z, p_low, z_low * p)
    u = s * t
    u_low = fma(s, t, -u) + fma(s, t_low, s_low * t)
    y = s + u
    y_low = ((s - y) + u) + (u_low + s_low)
    v = y * _TWO_LN2
    v_low = fma(y, _TWO_LN2, -v) + fma(y, _TWO_LN2_LOW, y_low * _TWO_LN2)
    sum = k + v
    return sum, ((k - sum) + v) + v_low


@inlined
def power_of(x, y):  # type: ignore[no-untyped-def]
    """``x**y`` as C's pow: ``2**(y * log2(x))``, with all that is special about it."""
    a, b = abs(x), abs(y)
    log, log_low = precise_log2(a)
    log = select(a < _INF, log, a)
    log = select(a == 0.0, -_INF, log)
    limited = clamped(y, -_HUGE, _HUGE)
    e = limited * log
    low = fma(limited, log, -e) + limited * log_low
    low = select(abs(e) > 1100.0, 0.0, low)
    e = clamped(e, -1100.0, 1100.0)
    k = (e + MAGIC) - MAGIC
    near = e - k
    f = near + low
    r = f * _LN2
    series = exp_series(r, fma((near - f) + low, _LN2, fma(f, _LN2_REST, fma(f, _LN2, -r))))
    result = scaled(one_plus(r, series), k)
    half = 0.5 * b
    is_whole = (b >= _WHOLE) | ((b + _WHOLE) - _WHOLE == b)
    is_odd = is_whole & (half < _WHOLE) & ((half + _WHOLE) - _WHOLE != half)
    result = select((float_bits(x) < 0) & is_odd, -result, result)
    is_nan = (x < 0.0) & (x > -_INF) & (is_whole ^ (b == b))  # a fraction
    result = select(is_nan, _NAN, result)
    return select((y == 0.0) | (x == 1.0), 1.0, result)
