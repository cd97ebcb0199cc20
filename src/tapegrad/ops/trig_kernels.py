"""Sine and cosine in float64, vectorised.

NumPy's loops for these call libm element by element (6 ns each). Here the argument is reduced by
multiples of pi/2 in three parts (Cody and Waite) with the rounding error carried along, and both
polynomials of fdlibm (``k_sin.c``, ``k_cos.c``) are evaluated without a branch, so that LLVM
vectorises the loop; the error stays below 1 ulp (tests/test_elementary_kernels.py checks 2). Blocks that
hold a number beyond `LIMIT`, an infinity or a NaN go to libm.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernels import PREFERRED
from ..words import float_bits, helper
from .vectorised import vectorised

__all__: list[str] = []

#: up to here n * PIO2_1 is exact for every multiple n of pi/2
LIMIT = 1.0e6

_MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, in the low bits
_TWO_OVER_PI = 0.6366197723675814
_PIO2_1 = 1.57079632673412561417  # 33 bits of pi/2
_PIO2_2 = 6.07710050630396597660e-11  # the next 33
_PIO2_2T = 2.02226624879595063154e-21  # the rest

_S1, _S2, _S3 = -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04
_S4, _S5, _S6 = 2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10
_C1, _C2, _C3 = 4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05
_C4, _C5, _C6 = -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11


@helper
def sine_of(x, quarter):  # type: ignore[no-untyped-def]
    """Sine of ``x + quarter * pi/2`` for ``abs(x) <= LIMIT``."""
    shifted = x * _TWO_OVER_PI + _MAGIC
    turns = shifted - _MAGIC
    q = float_bits(shifted) + quarter
    a = x - turns * _PIO2_1
    w = turns * _PIO2_2
    r = a - w
    v = a - r  # the error of a - w (Knuth's two-sum)
    e = (a - (r + v)) + (v - w) - turns * _PIO2_2T
    y = r + e
    t = (r - y) + e
    z = y * y
    s = z * (_S2 + z * (_S3 + z * (_S4 + z * (_S5 + z * _S6))))
    sine = y + (y * z * (_S1 + s) + t * (1.0 - 0.5 * z))
    c = z * (_C1 + z * (_C2 + z * (_C3 + z * (_C4 + z * (_C5 + z * _C6)))))
    h = 0.5 * z
    o = 1.0 - h
    cosine = o + (((1.0 - o) - h) + (z * c - y * t))
    chosen = cosine if q & 1 else sine
    return -chosen if q & 2 else chosen


@helper
def sin_of(x):  # type: ignore[no-untyped-def]
    return sine_of(x, 0)


@helper
def cos_of(x):  # type: ignore[no-untyped-def]
    return sine_of(x, 1)


@helper
def reduces(x):  # type: ignore[no-untyped-def]
    return abs(x) <= LIMIT


PREFERRED[np.sin, "float64"] = vectorised("sin", sin_of, reduces, math.sin)
PREFERRED[np.cos, "float64"] = vectorised("cos", cos_of, reduces, math.cos)
