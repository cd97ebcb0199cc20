"""Native kernels of elementwise ops for which NumPy has no loop.

Each has the signature of NumPy's inner loops and one version a dtype. What float32 versions compute
in float64, they round once.

- ``where``: selection by a bool operand;
- ``muladd``: adding a product to what is there;
- ``power`` of integers, which takes negative exponents as PyTorch does (NumPy's raises);
- ``power_derivative``: all mixed derivatives of ``x ** y``, so that they are right at ``x == 0``
  and for integer exponents, where a formula made of other ops meets ``0 * inf``;
- ``sinc_derivative``: the derivatives of ``sin(pi x) / (pi x)``, right at 0 for the same reason.
"""

from __future__ import annotations

import math

import numpy as np

from ...native.ufunc_loops import native_kernels
from ...native.words import (
    SIZE,
    bits,
    call_loop,
    element,
    helper,
    number,
    p8,
    p64,
    pf64,
    stack_words,
)

__all__ = ["FUNCTIONS", "MAX_EXPONENT_DERIVATIVES"]

#: order of derivatives with respect to an exponent that power_derivative has room for
MAX_EXPONENT_DERIVATIVES = 15


# --------------------------------------------------------------------------- selection
@native_kernels("f64", "f32", "i64", "bool", "c128", "c64", "i32", "i16", "i8", "u8", "f16")
def where(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Elements of the second or the third operand, by the first; moved as bits."""
    c, x, y, o = p64(args)[0], p64(args)[1], p64(args)[2], p64(args)[3]
    s, n = p64(strides), p64(dims)[0]
    if s[0] == 1 and s[1] == SIZE and s[2] == SIZE and s[3] == SIZE:
        for i in range(n):
            bits(o)[i] = bits(x)[i] if p8(c)[i] != 0 else bits(y)[i]
    elif s[0] == 1 and s[1] == 0 and s[2] == SIZE and s[3] == SIZE:
        value = bits(x)[0]
        for i in range(n):
            bits(o)[i] = value if p8(c)[i] != 0 else bits(y)[i]
    elif s[0] == 1 and s[1] == SIZE and s[2] == 0 and s[3] == SIZE:
        value = bits(y)[0]
        for i in range(n):
            bits(o)[i] = bits(x)[i] if p8(c)[i] != 0 else value
    else:
        for i in range(n):
            source = x + i * s[1] if p8(c + i * s[0])[0] != 0 else y + i * s[2]
            bits(o + i * s[3])[0] = bits(source)[0]


# --------------------------------------------------------------------------- sums in place
@native_kernels("f64", "f32")
def muladd(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """``out = sum + a * b``, both rounded, for operands (a, b, sum, out), where sum is out.

    Programs end with it that add a product to an adjoint.
    """
    a, b, o = p64(args)[0], p64(args)[1], p64(args)[3]
    s, n = p64(strides), p64(dims)[0]
    x, y, z = element(a), element(b), element(o)
    if s[3] == SIZE and s[0] == SIZE and s[1] == SIZE:
        for i in range(n):
            z[i] += x[i] * y[i]
    elif s[3] == SIZE and s[0] == SIZE and s[1] == 0:
        value = y[0]
        for i in range(n):
            z[i] += x[i] * value
    elif s[3] == SIZE and s[0] == 0 and s[1] == SIZE:
        value = x[0]
        for i in range(n):
            z[i] += y[i] * value
    else:
        for i in range(n):
            element(o + i * s[3])[0] += element(a + i * s[0])[0] * element(b + i * s[1])[0]


# --------------------------------------------------------------------------- powers
@native_kernels("i64", "i32", "i16", "i8", "u8", name="power")
def whole_power(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Integer power by squaring; with a negative exponent 1 / x ** -y, rounded towards zero."""
    a, b, o, s = p64(args)[0], p64(args)[1], p64(args)[2], p64(strides)
    for i in range(p64(dims)[0]):
        x, y = element(a + i * s[0])[0], element(b + i * s[1])[0]
        result = np.int64(1)
        if y < 0:
            if x == -1:
                result = np.int64(-1) if y & 1 else np.int64(1)
            elif x != 1:
                result = np.int64(0)
        else:
            while y != 0:
                if y & 1:
                    result *= x
                y >>= 1
                x *= x
        element(o + i * s[2])[0] = result


@helper
def differentiate_power(x, y, dx, dy):  # type: ignore[no-untyped-def]
    """One mixed derivative of ``x ** y``: `dx` times by x, `dy` times by y.

    It is the sum over j of ``binomial(dy, j) f_j(y) x**(y - dx) log(x)**(dy - j)``, where ``f_j``
    is the j-th derivative of ``f_0(y) = y (y - 1) ... (y - dx + 1)``. A term whose coefficient is 0
    counts as 0 whatever the rest is, and so does a power of 0 times its logarithm, as in PyTorch.
    """
    if dy > MAX_EXPONENT_DERIVATIVES:
        return np.nan  # recording says so before
    c = pf64(stack_words(16))
    c[0] = 1.0
    for j in range(1, dy + 1):
        c[j] = 0.0
    for k in range(dx):
        for j in range(dy, 0, -1):
            c[j] = c[j] * (y - k) + j * c[j - 1]
        c[0] *= y - k
    e = y - dx
    total = 0.0
    binomial = 1.0
    for j in range(dy, -1, -1):
        p = dy - j
        factor = c[j] * binomial
        binomial = binomial * j / (p + 1)
        if factor == 0.0 or (p > 0 and x == 0.0 and e >= 0.0):
            continue
        term = factor * x**e
        for _ in range(p):
            term *= math.log(x)
        total += term
    return total


@native_kernels("f64", "f32")
def power(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """``x ** y``: NumPy's loop, whose address is in `data`, but for squares and cubes, as PyTorch."""
    a, b, o, s = p64(args)[0], p64(args)[1], p64(args)[2], p64(strides)
    n = p64(dims)[0]
    y = np.float64(element(b)[0])
    plain = s[1] == 0 and s[0] == SIZE and s[2] == SIZE
    if plain and y == 2.0:
        for i in range(n):
            element(o)[i] = element(a)[i] * element(a)[i]
    elif plain and y == 3.0:
        for i in range(n):
            element(o)[i] = element(a)[i] * element(a)[i] * element(a)[i]
    else:
        call_loop(p64(data)[0], args, dims, strides, p64(data)[1])


@native_kernels("f64", "f32")
def power_derivative(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Differentiate ``x ** y``; the orders are in `data`."""
    a, b, o, s = p64(args)[0], p64(args)[1], p64(args)[2], p64(strides)
    dx, dy, n = p64(data)[0], p64(data)[1], p64(dims)[0]
    y = np.float64(element(b)[0])
    smooth = y == dx or y == dx + 1 or y == dx + 2
    if s[1] == 0 and dy == 0 and s[0] == SIZE and s[2] == SIZE and smooth:
        factor = 1.0  # x**2, x**3 and their derivatives, vectorised
        for k in range(dx):
            factor *= y - k
        if y == dx:
            for i in range(n):
                element(o)[i] = number(factor)
        elif y == dx + 1:
            for i in range(n):
                element(o)[i] = number(factor * np.float64(element(a)[i]))
        else:
            for i in range(n):
                x = np.float64(element(a)[i])
                element(o)[i] = number(factor * (x * x))
        return
    for i in range(n):
        x, y = np.float64(element(a + i * s[0])[0]), np.float64(element(b + i * s[1])[0])
        element(o + i * s[2])[0] = number(differentiate_power(x, y, dx, dy))


# --------------------------------------------------------------------------- sinc
@helper
def differentiate_sinc(x, order):  # type: ignore[no-untyped-def]
    """Differentiate ``sin(pi x) / (pi x)`` `order` times.

    With z = pi x and S_n the n-th derivative of sin(z) / z:
    ``z S_n + n S_(n-1) = sin(z + n pi / 2)``, which is stable upwards for |z| > n; else the power
    series.
    """
    z = math.pi * x
    scale = 1.0
    for _ in range(order):
        scale *= math.pi
    if abs(z) > order + 1:
        sine, cosine = math.sin(z), math.cos(z)
        value = sine / z
        for n in range(1, order + 1):
            sine, cosine = cosine, -sine
            value = (sine - n * value) / z
        return scale * value
    power = order & 1  # of z in the first term that the derivatives leave
    j = (order + power) // 2
    term = z if power else 1.0
    sign = -1.0 if j & 1 else 1.0
    value = 0.0
    while True:
        part = sign * term / (2 * j + 1)
        value += part
        if not abs(part) > 1e-18 * abs(value) or j > 200:
            return scale * value
        term *= z * z / ((power + 1) * (power + 2))
        power += 2
        j += 1
        sign = -sign


@native_kernels("f64", "f32")
def sinc_derivative(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Differentiate sinc; the order is in `data`."""
    a, o, s, order = p64(args)[0], p64(args)[1], p64(strides), p64(data)[0]
    for i in range(p64(dims)[0]):
        x = np.float64(element(a + i * s[0])[0])
        element(o + i * s[1])[0] = number(differentiate_sinc(x, order))


#: functions of a number, by kernels of ours that apply them to each element
FUNCTIONS = {"power_derivative": differentiate_power, "sinc_derivative": differentiate_sinc}
