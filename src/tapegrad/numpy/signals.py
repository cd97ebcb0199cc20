"""NumPy's functions on Tensors of sequences of numbers: convolutions, interpolation, polynomials."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .operands import as_floating, as_operand, as_tensor, function, promoted

__all__ = [
    "convolve", "correlate", "ediff1d", "interp", "polyadd", "polyder", "polyint", "polymul", "polysub",
    "polyval", "sinc", "unwrap", "vander",
]  # fmt: skip

_MODES = {"v": "valid", "s": "same", "f": "full", 0: "valid", 1: "same", 2: "full"}


# --------------------------------------------------------------------------- convolutions
def convolve(a: Any, v: Any, mode: Any = "full") -> Any:
    """Product of polynomials, as `numpy.convolve`."""
    x, y = _sequences("convolve", a, v)
    if len(y) > len(x):
        x, y = y, x
    return _correlated(x, function("flip")(y, (0,)), mode)


def correlate(a: Any, v: Any, mode: Any = "valid") -> Any:
    """Sums of products with a sequence that is shifted, as `numpy.correlate`."""
    x, y = _sequences("correlate", a, v)
    y = y.conj()
    if len(y) > len(x):
        return function("flip")(_correlated(y, x, mode), (0,))
    return _correlated(x, y, mode)


def _sequences(name: str, a: Any, v: Any) -> list[Any]:
    operands = [x.reshape(-1) if not x.ndim else x for x in promoted(name, a, v)]
    for x, argument in zip(operands, "av", strict=True):
        if x.ndim != 1:
            raise ValueError(f"np.{name}: {argument} must have one dimension, not {x.ndim}")
        if not len(x):
            raise ValueError(f"{argument} cannot be empty")
    return operands


def _correlated(x: Any, y: Any, mode: Any) -> Any:
    """Products of `y` with all its places along `x`, which is not shorter."""
    mode = _MODES.get(mode[:1].lower() if isinstance(mode, str) else mode)
    if mode is None:
        raise ValueError("mode must be one of 'valid', 'same', or 'full'")
    n = len(y)
    before = {"valid": 0, "same": n // 2, "full": n - 1}[mode]
    behind = 0 if mode == "valid" else n - 1 if mode == "full" else n - before - 1
    inner = function("matmul")(x.unfold(0, n, 1), y)
    if not before and not behind:
        return inner
    # no zeros are put at the ends: zero times NaN would be NaN
    reverse = function("flip")(y, (0,))
    left = _full(x[: n - 1], reverse)[n - 1 - before : n - 1]
    right = _full(x[len(x) - n + 1 :], reverse)[n - 1 : n - 1 + behind]
    return function("cat")([left, inner, right])


def _full(x: Any, y: Any) -> Any:
    """The sums along antidiagonals of the products of two short sequences."""
    m, n = len(x), len(y)
    shifted = function("pad")(x.unsqueeze(1) * y, (0, m)).reshape(-1)[: m * (m + n - 1)]
    return shifted.reshape(m, m + n - 1).sum(0)


# --------------------------------------------------------------------------- interpolation
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """Interpolate between points, as `numpy.interp`; differentiated by places, points and values."""
    places, points, values = (as_floating(as_tensor(v, "interp")) for v in (x, xp, fp))
    if points.ndim != 1 or values.ndim != 1 or len(points) != len(values):
        raise ValueError("fp and xp are not of the same length.")
    if not len(points):
        raise ValueError("array of sample points is empty")
    if period is not None:
        if float(period) == 0:
            raise ValueError("period must be a non-zero value")
        period, left, right = abs(period), None, None
        places, points = (function("remainder")(v, period) for v in (places, points))
        order = function("argsort")(points)
        points, values = points[order], values[order]
        points = function("cat")([points[-1:] - period, points, points[:1] + period])
        values = function("cat")([values[-1:], values, values[:1]])
    numbers, at = points.detach().numpy(), places.detach().numpy()
    n = len(numbers)
    index = np.clip(np.searchsorted(numbers, at, "right") - 1, 0, max(n - 2, 0))
    lower = function("tensor")(np.asarray(index))
    if n == 1:
        result = values[lower] + places * 0
    else:
        x0, y0, x1, y1 = points[lower], values[lower], points[lower + 1], values[lower + 1]
        width = x1 - x0
        # of equal points NumPy takes the value at the last one
        slope = (y1 - y0) / function("where")(width == 0, 1.0, width)
        result = function("where")(
            places == x1, y1 + slope * (places - x1), y0 + slope * (places - x0)
        )
    below = values[0] if left is None else as_operand(left, "interp")
    above = values[-1] if right is None else as_operand(right, "interp")
    result = function("where")(places < points[0], below, result)
    return function("where")(places > points[-1], above, result)


def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: float = 2 * np.pi) -> Any:
    """Take out jumps of a period between neighbours, as `numpy.unwrap`; the derivative is that of `p`."""
    x = as_floating(as_tensor(p, "unwrap"))
    step = function("diff")(x.detach(), 1, axis)
    discont = period / 2 if discont is None else discont
    wrapped = function("remainder")(step + period / 2, period) - period / 2
    at_edge = (wrapped == -period / 2) & (step > 0)
    wrapped = function("where")(at_edge, period / 2, wrapped)
    correction = function("where")(function("abs")(step) < discont, 0.0, wrapped - step)
    total = function("cumsum")(correction, axis)
    first = function("zeros_like")(x.detach().narrow(axis, 0, 1)) if x.shape[axis] else x
    return x + function("cat")([first, total], axis) if x.shape[axis] else x


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of neighbours, flattened, as `numpy.ediff1d`."""
    x = as_tensor(ary, "ediff1d").reshape(-1)
    parts = [function("diff")(x)]
    for place, end in ((0, to_begin), (len(parts) + 1, to_end)):
        if end is not None:
            parts.insert(place, as_tensor(end, "ediff1d").reshape(-1).to(x.dtype))
    return parts[0] if len(parts) == 1 else function("cat")(parts)


def sinc(x: Any) -> Any:
    """``sin(pi x) / (pi x)``, as `numpy.sinc`."""
    return function("sinc")(as_tensor(x, "sinc"))


# --------------------------------------------------------------------------- polynomials
def vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    """Powers of numbers, a row each, as `numpy.vander`."""
    values = as_tensor(x, "vander")
    if values.ndim != 1:
        raise ValueError("x must be a one-dimensional array or sequence.")
    count = len(values) if N is None else operator.index(N)
    return function("vander")(values, count, increasing=increasing)


def polyval(p: Any, x: Any) -> Any:
    """Value of a polynomial, whose coefficient of the highest power comes first, as `numpy.polyval`."""
    coefficients, value = promoted("polyval", p, x)
    result = function("zeros_like")(value)
    for i in range(len(coefficients)):
        result = result * value + coefficients[i]
    return result


def polyadd(a1: Any, a2: Any) -> Any:
    """Sum of polynomials, as `numpy.polyadd`."""
    return _sum("polyadd", a1, a2, 1)


def polysub(a1: Any, a2: Any) -> Any:
    """Difference of polynomials, as `numpy.polysub`."""
    return _sum("polysub", a1, a2, -1)


def _sum(name: str, a: Any, b: Any, sign: int) -> Any:
    x, y = (v.reshape(-1) for v in promoted(name, a, b))
    n = max(len(x), len(y))
    x, y = (function("pad")(v, (n - len(v), 0)) for v in (x, y))
    return x + y if sign > 0 else x - y


def polymul(a1: Any, a2: Any) -> Any:
    """Product of polynomials, as `numpy.polymul`."""
    return convolve(a1, a2)


def polyder(p: Any, m: int = 1) -> Any:
    """Derivative of a polynomial, as `numpy.polyder`."""
    x = as_tensor(p, "polyder")
    for _ in range(operator.index(m)):
        x = x[:-1] * function("arange")(len(x) - 1, 0, -1)
    return x


def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """Integral of a polynomial, as `numpy.polyint`."""
    x = as_floating(as_tensor(p, "polyint"))
    constants = as_tensor(np.zeros(m) if k is None else k, "polyint").reshape(-1).to(x.dtype)
    if len(constants) == 1 and m > 1:
        constants = function("broadcast_to")(constants, (m,))
    for i in range(operator.index(m)):
        x = function("cat")([x / function("arange")(len(x), 0, -1), constants[i : i + 1]])
    return x
