"""Kernels of the gamma function's family, and of the normal distribution: those that need no SciPy.

- ``lgamma``: C's; - ``polygamma``: the digamma function and its derivatives. Around its zero the digamma
function is that number's
  distance times a polynomial, fitted with mpmath; other numbers get there by steps of 1, or are large enough
  for the asymptotic series. The derivatives are sums of powers (Hurwitz' zeta function), by Euler and
  Maclaurin's formula: all terms have one sign. Negative numbers are reflected.
- ``ndtr``: half of C's erfc, corrected for the rounding of its argument, which counts ``x**2`` times.
"""

from __future__ import annotations

import math

import numpy as np

from ...native.ufunc_loops import native_kernels
from ...native.words import element, fma, helper, libm_lgamma, libm_pow, number, p64

__all__ = ["normal_distribution", "polygamma_of"]

#: the zero of the digamma function, in two parts
_ZERO, _ZERO_LOW = 1.4616321449683622, 9.549995429965697e-17
_C0, _C1, _C2 = 0.9676722454476212, -0.4427631689835922, 0.2584997609556518
_C3, _C4, _C5 = -0.163942705442382, 0.1078240506911117, -0.07219956125892099
_C6, _C7, _C8 = 0.0488042881752682, -0.03316112636123406, 0.022597647805645736
_C9, _C10, _C11 = -0.01542476878678408, 0.010538801295193004, -0.007204490285323551
_C12, _C13, _C14 = 0.004926642093231397, -0.0033702267659807853, 0.0023064435980184694
_C15, _C16, _C17 = -0.0015743382664814077, 0.001070561011522772, -0.0007477641411387806
_C18, _C19, _C20 = 0.0005388088844485419, -0.00032635663673163956, 0.0001505210126238939
_C21, _C22, _C23 = -0.00016938905661991117, 0.00022793361490230712, -0.00011055970614867391
#: beyond it all numbers are integers
_WHOLE = 4503599627370496.0
_ROOT_HALF, _ROOT_HALF_LOW = 0.7071067811865476, -4.833646656726457e-17
_TWO_OVER_ROOT_PI = 1.1283791670955126


@helper
def around_zero(d):  # type: ignore[no-untyped-def]
    """Divide the digamma function by the distance `d` from its zero."""
    high = _C12 + d * (_C13 + d * (_C14 + d * (_C15 + d * (_C16 + d * (_C17 + d * _C18)))))
    high = high + d**7 * (_C19 + d * (_C20 + d * (_C21 + d * (_C22 + d * _C23))))
    low = _C6 + d * (_C7 + d * (_C8 + d * (_C9 + d * (_C10 + d * (_C11 + d * high)))))
    return _C0 + d * (_C1 + d * (_C2 + d * (_C3 + d * (_C4 + d * (_C5 + d * low)))))


@helper
def digamma_of(x):  # type: ignore[no-untyped-def]
    """Return the digamma function."""
    value = 0.0
    if x == 0.0:
        return -1.0 / x
    if x < 0.0:
        if x <= -_WHOLE:
            return np.nan
        rest = x - np.float64(np.int64(x - 0.5))
        if rest == 0.0:
            return np.nan
        value = -math.pi * math.cos(math.pi * rest) / math.sin(math.pi * rest)
        x = 1.0 - x
    if x >= 8.0:
        r = 1.0 / (x * x)
        series = 1.0 / 240.0 - r * (1.0 / 132.0 - r * (691.0 / 32760.0 - r * (1.0 / 12.0)))
        series = r * (1.0 / 12.0 - r * (1.0 / 120.0 - r * (1.0 / 252.0 - r * series)))
        return value + (math.log(x) - 0.5 / x - series)
    total = 0.0
    if x < 0.96:
        total = -1.0 / x
        x += 1.0
    while x > 2.0:
        x -= 1.0
        total += 1.0 / x
    d = (x - _ZERO) - _ZERO_LOW
    return value + (total + d * around_zero(d))


@helper
def sum_of_powers(s, q):  # type: ignore[no-untyped-def]
    """Sum ``(q + k)**-s`` over k = 0, 1, 2 ..., for positive `q`: Hurwitz' zeta function."""
    if q > 1e300:
        return 0.0
    count = np.int64(0)
    if q < s + 10.0:
        count = np.int64(s + 11.0 - q)
    w = q + np.float64(count)
    power = libm_pow(w, -s)
    r = 1.0 / (w * w)
    # Bernoulli numbers over factorials, times (s + 1) (s + 2) ... / w**2 ...
    t = power * s / w
    total = t * (1.0 / 12.0)
    t *= (s + 1.0) * (s + 2.0) * r
    total -= t * (1.0 / 720.0)
    t *= (s + 3.0) * (s + 4.0) * r
    total += t * (1.0 / 30240.0)
    t *= (s + 5.0) * (s + 6.0) * r
    total -= t * (1.0 / 1209600.0)
    t *= (s + 7.0) * (s + 8.0) * r
    total += t * (1.0 / 47900160.0)
    t *= (s + 9.0) * (s + 10.0) * r
    total -= t * (691.0 / 1307674368000.0)
    t *= (s + 11.0) * (s + 12.0) * r
    total += t * (1.0 / 74724249600.0)
    t *= (s + 13.0) * (s + 14.0) * r
    total -= t * (3617.0 / 10670622842880000.0)
    t *= (s + 15.0) * (s + 16.0) * r
    total += t * (43867.0 / 5109094217170944000.0)
    total += 0.5 * power + power * w / (s - 1.0)
    while count > 0:
        count -= 1
        total += libm_pow(q + np.float64(count), -s)
    return total


@helper
def polygamma_of(x, n):  # type: ignore[no-untyped-def]
    """Differentiate the digamma function `n` times; n! of more than 170 is no number."""
    if n == 0:
        return digamma_of(x)
    if n > 170:
        return np.nan
    s = np.float64(n + 1)
    scale = 1.0 if n & 1 else -1.0
    k = np.int64(2)
    while k <= n:
        scale *= np.float64(k)
        k += 1
    if x > 0.0:
        return scale * sum_of_powers(s, x)
    if x != x:
        return x
    if x <= -_WHOLE:
        return scale * np.inf
    whole = np.float64(np.int64(x))
    if whole == x:
        return scale * np.inf
    rest = x - whole + 1.0
    behind = sum_of_powers(s, whole - x) - sum_of_powers(s, 1.0 - x)
    return scale * (sum_of_powers(s, rest) + (behind if n & 1 else -behind))


@helper
def normal_distribution(x):  # type: ignore[no-untyped-def]
    """Return the standard normal distribution function."""
    z = -x * _ROOT_HALF
    rest = fma(-x, _ROOT_HALF, -z) - x * _ROOT_HALF_LOW
    value = math.erfc(z)
    if abs(x) < 40.0:
        value -= _TWO_OVER_ROOT_PI * math.exp(-z * z) * rest
    return 0.5 * value


@native_kernels("f64", "f32")
def lgamma(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Return the logarithm of the gamma function's size."""
    a, o, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        element(o + i * s[1])[0] = number(libm_lgamma(np.float64(element(a + i * s[0])[0])))


@native_kernels("f64", "f32")
def polygamma(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Differentiate the digamma function; the order is in `data`."""
    a, o, s, order = p64(args)[0], p64(args)[1], p64(strides), p64(data)[0]
    for i in range(p64(dims)[0]):
        x = np.float64(element(a + i * s[0])[0])
        element(o + i * s[1])[0] = number(polygamma_of(x, order))


@native_kernels("f64", "f32")
def ndtr(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Return the standard normal distribution function."""
    a, o, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        x = np.float64(element(a + i * s[0])[0])
        element(o + i * s[1])[0] = number(normal_distribution(x))
