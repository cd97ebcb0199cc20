"""Inverse trigonometric functions in float64, in line and right for every number.

atan is reduced by ``atan((a - 1) / (a + 1))`` and ``atan(-1 / a)`` to the tangent of pi/8, with one quotient
whose rounding error is computed; asin and acos from 1/2 on come from ``asin(sqrt((1 - a) / 2))``. What
remains is an odd polynomial, fitted with mpmath.
"""

from __future__ import annotations

from ...native.words import bits_float, float_bits, fma, inlined, select, sqrt

__all__ = ["acos_of", "asin_of", "atan_of"]

_PI_2, _PI_2_LOW = 1.5707963267948966, 6.123233995736766e-17
_PI_4, _PI_4_LOW = 0.7853981633974483, 3.061616997868383e-17
_TAN_8, _TAN_3_8 = 0.41421356237309503, 2.414213562373095  # of pi/8 and of 3 pi/8
_SIGN = -(1 << 63)

_A0, _A1, _A2 = -0.333333333333332, 0.19999999999953827, -0.14285714280221715
_A3, _A4, _A5 = 0.1111111078474431, -0.09090897794964296, 0.07692060876792846
_A6, _A7, _A8 = -0.06663111515813672, 0.058479429346699696, -0.05039542362122973
_A9, _A10 = 0.038070485445318596, -0.017913566320331323

_S0, _S1, _S2 = 0.16666666666666763, 0.07499999999970128, 0.044642857175257324
_S3, _S4, _S5 = 0.030381942676687285, 0.02237221586554001, 0.0173515962373603
_S6, _S7, _S8 = 0.013981009551717853, 0.011397367740167776, 0.010788895909518021
_S9, _S10, _S11 = 0.003673816149121933, 0.02178661813313219, -0.021110931528582854
_S12 = 0.03269848823407574


@inlined
def atan_of(x):  # type: ignore[no-untyped-def]
    """``atan(x)``."""
    a = abs(x)
    a = select(a > 1e30, 1e30, a)
    middle, large = a > _TAN_8, a > _TAN_3_8
    above = select(large, -1.0, select(middle, a - 1.0, a))
    below = select(large, a, select(middle, a + 1.0, 1.0))
    whole = select(large, _PI_2, select(middle, _PI_4, 0.0))
    low = select(large, _PI_2_LOW, select(middle, _PI_4_LOW, 0.0))
    # what the two sums lost: a is between 0.4 and 2.5 there
    lost_above = select(large, 0.0, select(middle, a - (above + 1.0), 0.0))
    lost_below = select(large, 0.0, select(middle, a - (below - 1.0), 0.0))
    inverse = 1.0 / below
    u = above * inverse
    lost = (fma(-u, below, above) + (lost_above - u * lost_below)) * inverse
    z = u * u
    zz = z * z
    z4 = zz * zz
    p = fma(zz, fma(z, _A3, _A2), fma(z, _A1, _A0))
    p = fma(z4, fma(zz, fma(z, _A7, _A6), fma(z, _A5, _A4)), p)
    p = fma(z4 * z4, fma(zz, _A10, fma(z, _A9, _A8)), p)
    sum = whole + u
    rest = fma(u * z, p, fma(fma(z, z, 1.0 - z), lost, low))
    y = sum + (((whole - sum) + u) + rest)
    return bits_float(float_bits(y) | (float_bits(x) & _SIGN))


@inlined
def asin_series(z):  # type: ignore[no-untyped-def]
    """``(asin(s) / s - 1) / z`` for the square root `s` of `z`, at most 1/4."""
    zz = z * z
    z4 = zz * zz
    p = fma(zz, fma(z, _S3, _S2), fma(z, _S1, _S0))
    p = fma(z4, fma(zz, fma(z, _S7, _S6), fma(z, _S5, _S4)), p)
    return fma(z4 * z4, fma(z4, _S12, fma(zz, fma(z, _S11, _S10), fma(z, _S9, _S8))), p)


@inlined
def half_angle(a):  # type: ignore[no-untyped-def]
    """Square of ``sqrt((1 - a) / 2)``, the root, and its rounding error, for numbers from 1/2 to 1."""
    z = fma(a, -0.5, 0.5)
    s = sqrt(z)
    return z, s, fma(-s, s, z) / (s + s + 1e-300)


@inlined
def asin_of(x):  # type: ignore[no-untyped-def]
    """``asin(x)``."""
    a = abs(x)
    small = a < 0.5
    square, root, lost = half_angle(a)
    z = select(small, x * x, square)
    s = select(small, a, root)
    tail = s * z * asin_series(z)
    sum = _PI_2 - 2.0 * s
    rest = ((_PI_2 - sum) - 2.0 * s) + (_PI_2_LOW - 2.0 * (tail + lost))
    y = select(small, a + tail, sum + rest)
    return bits_float(float_bits(y) | (float_bits(x) & _SIGN))


@inlined
def acos_of(x):  # type: ignore[no-untyped-def]
    """``acos(x)``."""
    a = abs(x)
    small = a < 0.5
    square, root, lost = half_angle(a)
    z = select(small, x * x, square)
    s = select(small, x, select(x < 0.0, -root, root))
    tail = s * z * asin_series(z) + select(small, 0.0, select(x < 0.0, -lost, lost))
    scale = select(small, -1.0, 2.0)
    whole = select(small, _PI_2, select(x < 0.0, 2.0 * _PI_2, 0.0))
    low = select(small, _PI_2_LOW, select(x < 0.0, 2.0 * _PI_2_LOW, 0.0))
    part = scale * s
    sum = whole + part
    return sum + (((whole - sum) + part) + fma(scale, tail, low))
