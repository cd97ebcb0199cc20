"""Error functions in float64, in line and right for every number.

erfc of a number from 1/2 on is ``exp(-x**2) / (1 + 2 x)`` times a function of ``(x - 3.5) / (x + 3.5)`` that
is between 1.1 and 1.3; so, more simply, is that of erf from 1 on, which is less than 0.16 away from 1. Below,
both come from an odd polynomial. Polynomials are fitted with mpmath.
"""

from __future__ import annotations

from ...native.words import bits_float, float_bits, fma, inlined, select
from .exponential import exp_parts, exp_parts_of_sum, power_of_two, scaled, two_of_one_plus

__all__ = ["erf_of", "erfc_of"]

_SIGN = -(1 << 63)

# erf(x) / x - 1 up to 1
_P0, _P1, _P2 = 0.1283791670955126, -0.3761263890318375, 0.11283791670954847
_P3, _P4, _P5 = -0.026866170645066984, 0.0052239776246981225, -0.0008548326972922551
_P6, _P7, _P8 = 0.00012055330794404469, -1.4925587094029477e-05, 1.6460862226421643e-06
_P9, _P10, _P11 = -1.6348784913088832e-07, 1.4649157225968475e-08, -1.1330728679332713e-09
_P12 = 5.884454009122997e-11
_P0_LOW = -1.2420116002463032e-17
# and up to 1/2
_R0, _R1, _R2 = -0.3761263890318423, 0.1128379167098404, -0.026866170650584165
_R3, _R4, _R5 = 0.005223977638668846, -0.000854831961068129, 0.00012054338025086705
_R6, _R7 = -1.4869930064559757e-05, 1.4961654867802248e-06
# exp(x**2) erfc(x) from 1 to 6 in (x - 2) / (x + 2)
_Q0, _Q1, _Q2 = 0.25539567631050575, -0.4271858474139568, 0.24165819424246887
_Q3, _Q4, _Q5 = -0.07897858101641574, 0.00373289239853032, 0.006997461785629349
_Q6, _Q7, _Q8 = -0.0008471425901678362, -0.0009819764767728556, 4.353616345460125e-05
_Q9, _Q10, _Q11 = 0.00017428844467494054, 2.762307117429844e-05, -2.6611663062169108e-05
_Q12 = -1.2644199960139312e-05
# (1 + 2 x) exp(x**2) erfc(x) from 1/2 to 27.5 in (x - 3.5) / (x + 3.5)
_C0, _C1, _C2 = 1.2423492448711544, -0.14000918013761943, -0.01055559633221831
_C3, _C4, _C5 = 0.09751909515325842, -0.11508959816019057, 0.08798315382487219
_C6, _C7, _C8 = -0.04882332582793168, 0.01909933094232877, -0.004215019907556117
_C9, _C10, _C11 = -0.00030226787746130283, 0.0005643844176198451, -0.00012151241522506002
_C12, _C13, _C14 = -4.2782239418722306e-05, 2.4260888597791314e-05, 2.3283536212785436e-06
_C15, _C16, _C17 = -3.8142443170159297e-06, -4.43389269738292e-08, 5.999200120599058e-07
_C18, _C19, _C20 = -7.822324856862756e-09, -9.281330835228173e-08, 5.284758096110101e-10
_C21 = 1.0325623307112749e-08
_C0_LOW, _C1_LOW = -1.0525926300476727e-17, 8.137370549466696e-18
# its derivative, for the rounding error of that quotient
_D0, _D1, _D2, _D3 = -0.162, 0.00424, 0.58558, -0.65842


@inlined
def erf_of(x):  # type: ignore[no-untyped-def]
    """``erf(x)``."""
    a = abs(x)
    z = x * x
    zz = z * z
    z4 = zz * zz
    p = fma(zz, fma(z, _P6, _P5), fma(z, _P4, _P3))
    p = fma(z4, fma(zz, fma(z, _P10, _P9), fma(z, _P8, _P7)), p)
    p = fma(z4 * z4, fma(z, _P12, _P11), p)
    p = fma(z, p, _P2)
    v = z * p
    u = _P1 + v
    u_low = (_P1 - u) + v
    w = z * u
    w_low = fma(z, u, -w) + fma(z, u_low, fma(fma(x, x, -z), u, _P0_LOW))
    near = fma(a, _P0 + w, a * w_low) + a
    b = select(a > 6.0, 6.0, a)
    q = (b - 2.0) / (b + 2.0)
    qq = q * q
    q4 = qq * qq
    c = fma(qq, fma(q, _Q3, _Q2), fma(q, _Q1, _Q0))
    c = fma(q4, fma(qq, fma(q, _Q7, _Q6), fma(q, _Q5, _Q4)), c)
    c = fma(q4 * q4, fma(q4, _Q12, fma(qq, fma(q, _Q11, _Q10), fma(q, _Q9, _Q8))), c)
    square = b * b
    k, r, t = exp_parts(-square)
    p, p_low = two_of_one_plus(r, t - fma(b, b, -square))
    above = p * c
    low = fma(p, c, -above) + p_low * c
    s = power_of_two(k)
    far = fma(-s, above, 1.0)
    far = far + (fma(-s, above, 1.0 - far) - s * low)
    y = select(a < 1.0, near, far)
    return bits_float(float_bits(y) | (float_bits(x) & _SIGN))


@inlined
def erfc_of(x):  # type: ignore[no-untyped-def]
    """``erfc(x)``: of a negative number what it lacks to 2."""
    z = x * x
    zz = z * z
    u = fma(zz, fma(z, _R3, _R2), fma(z, _R1, _R0))
    u = fma(z, fma(zz * zz, fma(zz, fma(z, _R7, _R6), fma(z, _R5, _R4)), u), _P0)
    near = 1.0 - x
    near = near + fma(-x, u, (1.0 - near) - x)
    a = abs(x)
    a = select(a > 27.5, 27.5, a)
    plus = a + 3.5
    one = fma(a, 2.0, 1.0)
    one_low = fma(a, 2.0, 1.0 - one)
    inverse = 1.0 / (plus * one)
    minus = a - 3.5
    minus_low, plus_low = a - (minus + 3.5), a - (plus - 3.5)
    q = minus * (one * inverse)
    q_low = (fma(-q, plus, minus) + (minus_low - q * plus_low)) * (one * inverse)
    q2 = q * q
    q4 = q2 * q2
    q8 = q4 * q4
    c = fma(q2, fma(q, _C4, _C3), fma(q, _C2, _C1))
    c = fma(q4, fma(q2, fma(q, _C8, _C7), fma(q, _C6, _C5)), c)
    d = fma(q2, fma(q, _C12, _C11), fma(q, _C10, _C9))
    d = fma(q4, fma(q2, fma(q, _C16, _C15), fma(q, _C14, _C13)), d)
    e = fma(q2, fma(q, _C20, _C19), fma(q, _C18, _C17))
    e = fma(q4, _C21, e)
    c = fma(q8, fma(q8, e, d), c)
    slope = fma(q2, fma(q, _D3, _D2), fma(q, _D1, _D0))
    w = q * c
    g = _C0 + w
    g_low = ((_C0 - g) + w) + (fma(q, c, -w) + fma(q_low, slope, fma(q, _C1_LOW, _C0_LOW)))
    square = a * a
    k, r, t = exp_parts_of_sum(-square, -fma(a, a, -square))
    p, p_low = two_of_one_plus(r, t)
    above = g * p
    low = fma(g, p, -above) + fma(g_low, p, g * p_low)
    inverse = plus * inverse
    y = above * inverse
    rest = (fma(-y, one, above) + (low - y * one_low)) * inverse
    s = power_of_two(select(k < -100.0, -100.0, k))
    two = fma(-s, y, 2.0)
    other = two + (fma(-s, y, 2.0 - two) - s * rest)
    far = select(x < 0.0, other, scaled(y + rest, k))
    return select(abs(x) < 0.5, near, far)
