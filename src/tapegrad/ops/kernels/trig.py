"""Sine, cosine and tangent in float64, in line, up to `LIMIT`.

The argument is reduced by multiples of pi/2 in three parts (Cody and Waite) with the rounding error carried
along, and both polynomials of fdlibm (``k_sin.c``, ``k_cos.c``) are evaluated by halves (Estrin), without a
branch. All steps are fused multiply-adds, so the first part of pi/2 may have 53 bits: its multiple is
subtracted without error. The tangent is a quotient of both, each with its rounding error.
"""

from __future__ import annotations

from ...native.words import bits_float, float_bits, fma, inlined, select

__all__ = ["LIMIT", "cos_of", "reaches", "sin_of", "tan_of"]

#: up to here three parts of pi/2 are enough
LIMIT = 1099511627776.0  # 2**40

_MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, in the low bits
_TWO_OVER_PI = 0.6366197723675814
_PIO2_1 = 1.5707963267948966  # 53 bits of pi/2
_PIO2_2 = 6.123233995736766e-17  # the next 53
_PIO2_3 = -1.4973849048591833e-33  # and the next

_SIGN = -(1 << 63)

_S1, _S2, _S3 = -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04
_S4, _S5, _S6 = 2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10
_C1, _C2, _C3 = 4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05
_C4, _C5, _C6 = -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11


@inlined
def reduced(x):  # type: ignore[no-untyped-def]
    """Quarter turns in `x` as an integer in the low bits, and what is left as a sum of two."""
    shifted = fma(x, _TWO_OVER_PI, _MAGIC)
    n = shifted - _MAGIC
    a = fma(n, -_PIO2_1, x)  # exact
    w = n * _PIO2_2
    r = a - w
    back = a - r
    lost = (a - (r + back)) + (back - w)
    return float_bits(shifted), r, lost - fma(n, _PIO2_3, fma(n, _PIO2_2, -w))


@inlined
def sine_series(r, t, z):  # type: ignore[no-untyped-def]
    """``sin(r) - r + t`` for ``abs(r) <= pi/4``, `z` its square."""
    zz = z * z
    s = fma(zz, fma(zz, fma(z, _S6, _S5), fma(z, _S4, _S3)), fma(z, _S2, _S1))
    return fma(r * z, s, t)


@inlined
def cosine_parts(r, t, z):  # type: ignore[no-untyped-def]
    """``cos(r + t)`` as a sum of two."""
    zz = z * z
    c = fma(zz, fma(zz, fma(z, _C6, _C5), fma(z, _C4, _C3)), fma(z, _C2, _C1))
    h = 0.5 * z
    o = 1.0 - h
    return o, fma(zz, c, ((1.0 - o) - h) - r * t)


@inlined
def sine_of(x, quarter):  # type: ignore[no-untyped-def]
    """Sine of ``x + quarter * pi/2``."""
    turns, r, t = reduced(x)
    q = turns + quarter
    z = r * r
    sine = bits_float(
        float_bits(r + sine_series(r, t, z)) | (float_bits(r) & _SIGN)
    )  # -0.0 has one
    o, rest = cosine_parts(r, t, z)
    chosen = select((q & 1) != 0, o + rest, sine)
    return bits_float(float_bits(chosen) ^ ((q & 2) << 62))


@inlined
def sin_of(x):  # type: ignore[no-untyped-def]
    """Sine."""
    return sine_of(x, 0)


@inlined
def cos_of(x):  # type: ignore[no-untyped-def]
    """Cosine."""
    return sine_of(x, 1)


@inlined
def tan_of(x):  # type: ignore[no-untyped-def]
    """Tangent."""
    q, r, t = reduced(x)
    z = r * r
    rest = sine_series(r, fma(z, -0.5 * t, t), z)
    sine = r + rest
    sine_low = (r - sine) + rest
    o, rest = cosine_parts(r, t, z)
    cosine = o + rest
    cosine_low = (o - cosine) + rest
    is_odd = (q & 1) != 0
    above, above_low = select(is_odd, -cosine, sine), select(is_odd, -cosine_low, sine_low)
    below, below_low = select(is_odd, sine, cosine), select(is_odd, sine_low, cosine_low)
    inverse = 1.0 / below
    y = above * inverse
    y = y + (fma(-y, below, above) + (above_low - y * below_low)) * inverse
    return select(x == 0.0, x, y)


@inlined
def reaches(x):  # type: ignore[no-untyped-def]
    """True where sine, cosine and tangent are right."""
    return abs(x) <= LIMIT
