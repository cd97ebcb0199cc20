"""Exponential, hyperbolic and logistic functions in float64, in line and right for every number.

The argument is reduced by multiples of ln 2 in two parts (Cody and Waite) with the rounding error carried
along. ``(exp(r) - 1 - r) / r**2`` is a polynomial, interpolated with mpmath and evaluated by halves (Estrin),
in fused multiply-adds; its error is below 2**-61. A result is scaled by two powers of two, so that it
overflows, and rounds to subnormal numbers, as it should. All else comes from the parts of exp, of which no
sum loses anything: what rounding takes from one is computed, and given back at the end.
"""

from __future__ import annotations

from ...native.words import bits_float, float_bits, fma, inlined, select

__all__ = [
    "MAGIC", "cosh_of", "exp2_of", "exp_of", "exp_parts", "exp_series", "expm1_of", "power_of_two", "scaled",
    "sigmoid_of", "sinh_of", "tanh_of",
]  # fmt: skip

MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, in the low bits
_BIASED = MAGIC + 1023.0
_LOG2E = 1.4426950408889634
_LN2_1, _LN2_2 = 0.6931471805599453, 2.3190468138462996e-17  # 53 bits of ln 2 each
_E0, _E1, _E2 = 0.5, 0.1666666666666667, 0.04166666666666667
_E3, _E4, _E5 = 0.008333333333326136, 0.0013888888888883748, 0.00019841269874820627
_E6, _E7, _E8 = 2.4801587325547743e-05, 2.7557255400206422e-06, 2.75572736431103e-07
_E9, _E10 = 2.5105217004720745e-08, 2.0914686968086876e-09
#: below, a function with slope 1 at 0 is its argument
_TINY = 5.551115123125783e-17
_SIGN, _UNSIGNED = -(1 << 63), (1 << 63) - 1


@inlined
def clamped(x, low, high):  # type: ignore[no-untyped-def]
    """The nearest number of an interval; NaN stays."""
    y = select(x > high, high, x)
    return select(y < low, low, y)


@inlined
def power_of_two(k):  # type: ignore[no-untyped-def]
    """``2**k`` for an integer of at most 1022."""
    return bits_float(float_bits(k + _BIASED) << 52)


@inlined
def scaled(y, k):  # type: ignore[no-untyped-def]
    """``y * 2**k`` for an integer of at most 2044, rounded once where `y` is near 1."""
    half = fma(k, 0.5, _BIASED)
    rest = (k - (half - _BIASED)) + _BIASED
    return (y * bits_float(float_bits(half) << 52)) * bits_float(float_bits(rest) << 52)


@inlined
def exp_series(r, low):  # type: ignore[no-untyped-def]
    """``exp(r + low) - 1 - r`` for ``abs(r) <= ln(2) / 2``, `low` a rounding error."""
    r2 = r * r
    r4 = r2 * r2
    q = fma(r2, fma(r, _E3, _E2), fma(r, _E1, _E0))
    q = fma(r4, fma(r2, fma(r, _E7, _E6), fma(r, _E5, _E4)), q)
    q = fma(r4 * r4, fma(r2, _E10, fma(r, _E9, _E8)), q)
    return fma(r2, q, low)


@inlined
def exp_parts(x):  # type: ignore[no-untyped-def]
    """`k`, `r` and `t` with ``exp(x) == 2**k * (1 + r + t)``, for ``abs(x) <= 1000``.

    `k` is an integer, ``abs(r) <= ln(2) / 2``, and `t` is smaller by an order.
    """
    k = fma(x, _LOG2E, MAGIC) - MAGIC
    high = fma(k, -_LN2_1, x)  # exact
    r = fma(k, -_LN2_2, high)
    return k, r, exp_series(r, fma(k, -_LN2_2, high - r))


@inlined
def exp_parts_of_sum(x, low):  # type: ignore[no-untyped-def]
    """`k`, `r` and `t` for the exponential of a sum, whose second term may exceed an ulp of the result."""
    k = fma(x, _LOG2E, MAGIC) - MAGIC
    high = fma(k, -_LN2_1, x)
    near = fma(k, -_LN2_2, high)
    low = fma(k, -_LN2_2, high - near) + low
    r = near + low
    return k, r, exp_series(r, (near - r) + low)


@inlined
def expm1_of_rest(x):  # type: ignore[no-untyped-def]
    """`k`, `p` and `rest` with ``exp(x) == 2**k * (1 + p + rest)``, where `rest` is below 0.008.

    What `p`, which is ``r + r**2 / 2``, loses is in it: a sum with -1 leaves less of `p`.
    """
    k = fma(x, _LOG2E, MAGIC) - MAGIC
    high = fma(k, -_LN2_1, x)
    r = fma(k, -_LN2_2, high)
    low = fma(k, -_LN2_2, high - r)
    r2 = r * r
    r4 = r2 * r2
    q = fma(r2, fma(r, _E4, _E3), fma(r, _E2, _E1))
    q = fma(r4, fma(r2, fma(r, _E8, _E7), fma(r, _E6, _E5)), q)
    q = fma(r4 * r4, fma(r, _E10, _E9), q)
    half = 0.5 * r
    square = half * r
    p = r + square
    return k, p, ((r - p) + square) + fma(r * r2, q, low + fma(half, r, -square))


@inlined
def one_plus(r, t):  # type: ignore[no-untyped-def]
    """``1 + r + t``."""
    near = 1.0 + r
    return near + ((r - (near - 1.0)) + t)  # what 1 + r lost comes back


@inlined
def two_of_sum(x, y):  # type: ignore[no-untyped-def]
    """``x + y`` and its rounding error, where `x` is larger."""
    sum = x + y
    return sum, (x - sum) + y


@inlined
def two_of_one_plus(r, t):  # type: ignore[no-untyped-def]
    """``1 + r + t`` and its rounding error."""
    near = 1.0 + r
    return two_of_sum(near, (r - (near - 1.0)) + t)


@inlined
def expm1_parts(k, p, rest):  # type: ignore[no-untyped-def]
    """``s = 2**k``, ``s - 1`` rounded, `e` and `lost` with ``e + lost = s * (p + rest) + (s - 1)``."""
    s = power_of_two(k)
    d = s - 1.0
    e = fma(s, p, d)
    return s, d, e, fma(s, rest, fma(s, p, d - e))


@inlined
def expm1_of_parts(k, p, rest):  # type: ignore[no-untyped-def]
    """``2**k * (1 + p + rest) - 1`` and its rounding error, for an integer of at most 64."""
    s, d, e, lost = expm1_parts(k, p, rest)
    return two_of_sum(e, lost + ((s - d) - 1.0))


@inlined
def exp_of(x):  # type: ignore[no-untyped-def]
    """``exp(x)``."""
    k, r, t = exp_parts(clamped(x, -746.0, 710.0))
    return scaled(one_plus(r, t), k)


@inlined
def exp2_of(x):  # type: ignore[no-untyped-def]
    """``2**x``."""
    inside = clamped(x, -1080.0, 1030.0)
    k = (inside + MAGIC) - MAGIC
    f = inside - k
    r = f * _LN2_1
    return scaled(one_plus(r, exp_series(r, fma(f, _LN2_2, fma(f, _LN2_1, -r)))), k)


@inlined
def expm1_of(x):  # type: ignore[no-untyped-def]
    """``exp(x) - 1``."""
    k, p, rest = expm1_of_rest(clamped(x, -50.0, 710.0))
    less = select(k > 64.0, 64.0, k)
    e, _ = expm1_of_parts(less, p, rest)
    y = e * power_of_two(k - less)
    return select(abs(x) < _TINY, x, y)


@inlined
def sigmoid_of(x):  # type: ignore[no-untyped-def]
    """``1 / (1 + exp(-x))``, of which ``exp(-abs(x))`` is computed."""
    a = abs(x)
    k, r, t = exp_parts(-select(a > 746.0, 746.0, a))
    p, rest = two_of_one_plus(r, t)
    s = power_of_two(select(k < -100.0, -100.0, k))
    sum = fma(s, p, 1.0)
    more = fma(s, rest, fma(s, p, 1.0 - sum))
    inverse = 1.0 / sum
    above = select(x < 0.0, p, 1.0)
    y = above * inverse
    y = fma(fma(-y, sum, above) + (select(x < 0.0, rest, 0.0) - y * more), inverse, y)
    return scaled(y, select(x < 0.0, k, 0.0))


@inlined
def tanh_of(x):  # type: ignore[no-untyped-def]
    """``tanh(x)``, which is ``-e / (e + 2)`` with ``e = exp(-2 x) - 1``."""
    a = abs(x)
    k, p, rest = expm1_of_rest(-2.0 * select(a > 22.0, 22.0, a))
    s, d, e, lost = expm1_parts(k, p, rest)
    e, lost = two_of_sum(e, lost + (s - (d + 1.0)))
    sum = e + 2.0
    more = lost + (e - (sum - 2.0))
    inverse = 1.0 / sum
    y = e * inverse
    y = fma(fma(-y, sum, e) + (lost - y * more), inverse, y)
    return bits_float((float_bits(y) & _UNSIGNED) | (float_bits(x) & _SIGN))


@inlined
def sinh_of(x):  # type: ignore[no-untyped-def]
    """``sinh(x)``, which is ``(e + e / (e + 1)) / 2`` with ``e = exp(x) - 1``."""
    a = abs(x)
    k, p, rest = expm1_of_rest(select(a > 711.0, 711.0, a))
    less = select(k > 64.0, 64.0, k)
    e, lost = expm1_of_parts(less, p, rest)
    sum = e + 1.0
    more = lost + (e - (sum - 1.0))
    inverse = 1.0 / sum
    q = e * inverse
    rest = (fma(-q, sum, e) + (lost - q * more)) * inverse
    y = e + q
    y = 0.5 * (y + (((e - y) + q) + (rest + lost))) * power_of_two(k - less)
    return bits_float(float_bits(y) | (float_bits(x) & _SIGN))


@inlined
def cosh_of(x):  # type: ignore[no-untyped-def]
    """``cosh(x)``, which is ``(e + 1 / e) / 2`` with ``e = exp(x)``."""
    a = abs(x)
    k, r, t = exp_parts(select(a > 711.0, 711.0, a))
    less = select(k > 64.0, 64.0, k)
    s = power_of_two(less)
    p, rest = two_of_one_plus(r, t)
    e, lost = s * p, s * rest
    inverse = 1.0 / e
    y = e + inverse
    y = y + (((e - y) + inverse) + fma(-inverse, inverse * lost, lost))
    return 0.5 * y * power_of_two(k - less)
