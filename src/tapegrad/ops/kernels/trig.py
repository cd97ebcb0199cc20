"""Sine and cosine in float64, in line: for loops that LLVM vectorises, and for compiled functions.

NumPy's loops for these call libm element by element (6 ns each), and a call of libm's two for one number
takes 26 ns until its result is there. Here the argument is reduced by multiples of pi/2 in three parts (Cody
and Waite) with the rounding error carried along, and both polynomials of fdlibm (``k_sin.c``, ``k_cos.c``)
are evaluated by halves (Estrin), without a branch. All steps are fused multiply-adds, so the first part of
pi/2 may have 53 bits: its multiple is subtracted without error. Errors stay below 0.8 ulp
(tests/test_elementary_kernels.py). Numbers beyond `LIMIT`, infinities and NaN go to libm, and so does
everything on processors without fused multiply-add.
"""

from __future__ import annotations

import math

import numpy as np

from ...native.targets import has_fma
from ...native.ufunc_loops import PREFERRED
from ...native.words import (
    bits_float,
    float_bits,
    fma,
    helper,
    libm_cos,
    libm_sin,
    select,
)
from .vectorised import Elementary, vectorised

__all__ = ["ELEMENTARY"]

#: up to here the multiple of pi/2 has 20 bits, and the third part of pi/2 is enough
LIMIT = 1.0e6

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


@helper
def sine_of(x, quarter):  # type: ignore[no-untyped-def]
    """Sine of ``x + quarter * pi/2`` for ``abs(x) <= LIMIT``.

    What is waited for comes first: `t`, the error of the reduced argument `r`, is there when the
    polynomials are.
    """
    shifted = fma(x, _TWO_OVER_PI, _MAGIC)
    n = shifted - _MAGIC
    q = float_bits(shifted) + quarter
    a = fma(n, -_PIO2_1, x)  # exact
    w = n * _PIO2_2
    r = a - w
    t = ((a - r) - w) - fma(n, _PIO2_3, fma(n, _PIO2_2, -w))
    z = r * r
    zz = z * z
    s = fma(zz, fma(zz, fma(z, _S6, _S5), fma(z, _S4, _S3)), fma(z, _S2, _S1))
    sine = bits_float(float_bits(r + fma(r * z, s, t)) | (float_bits(r) & _SIGN))  # -0.0 has one
    c = fma(zz, fma(zz, fma(z, _C6, _C5), fma(z, _C4, _C3)), fma(z, _C2, _C1))
    h = 0.5 * z
    o = 1.0 - h
    cosine = o + fma(zz, c, ((1.0 - o) - h) - r * t)
    chosen = select((q & 1) != 0, cosine, sine)
    return bits_float(float_bits(chosen) ^ ((q & 2) << 62))


@helper
def sin_of(x):  # type: ignore[no-untyped-def]
    return sine_of(x, 0)


@helper
def cos_of(x):  # type: ignore[no-untyped-def]
    return sine_of(x, 1)


@helper
def reaches(x):  # type: ignore[no-untyped-def]
    return abs(x) <= LIMIT


#: by name of NumPy's function
ELEMENTARY = {
    "sin": Elementary(sin_of, reaches, libm_sin), "cos": Elementary(cos_of, reaches, libm_cos)
}  # fmt: skip

if has_fma():
    PREFERRED[np.sin, "float64"] = vectorised("sin", sin_of, reaches, math.sin)
    PREFERRED[np.cos, "float64"] = vectorised("cos", cos_of, reaches, math.cos)
