"""Hand-written values and gradients of `program.py`: as fast as we can make them.

Each is numba, with NumPy's SIMD loops where those are faster than numba's maths. Buffers are
allocated once, outside what is timed.
"""

import math
from collections.abc import Callable

import numpy as np

from programs import CHAIN_BLOCKS, HORNER, VECTOR_BLOCKS
from vector_maths import jit, sine_and_cosine

TILE = 4096  # elements: the temporaries of one tile stay in the second-level cache

Runner = Callable[[], tuple[float | np.ndarray, ...]]


def chain_by_hand(w, c, kept):
    """Value and gradients of a scalar chain of as many blocks as `kept` has rows."""
    y = w
    for i in range(len(kept)):
        kept[i, 0] = y
        s = y * c + w
        kept[i, 1] = math.cos(s)
        y = math.sin(s)
        kept[i, 2] = y
        y = y * w
    ct, w_bar, c_bar = 1.0, 0.0, 0.0
    for i in range(len(kept) - 1, -1, -1):
        w_bar += ct * kept[i, 2]
        ct *= w * kept[i, 1]
        w_bar += ct
        c_bar += ct * kept[i, 0]
        ct *= c
    return y, w_bar + ct, c_bar


_scalar_chain = jit(chain_by_hand)


def scalar_chain(w: np.ndarray, c: np.ndarray) -> Runner:
    arguments = float(w), float(c), np.empty((CHAIN_BLOCKS, 3))
    return lambda: _scalar_chain(*arguments)


@jit
def _elementwise_blocks(x, a, x_bar, a_bar):
    total = 0.0
    kept = np.empty((VECTOR_BLOCKS, 4))
    for k in range(x.size):
        y = x[k]
        for i in range(VECTOR_BLOCKS):
            t = math.tanh(x[k] * y + a[k])
            u = math.exp((y - t) * 0.5)
            v = t / u
            kept[i] = (y, t, u, v)
            y = math.sin(v) * a[k] - x[k]
        total += y
        y_bar = 1.0
        x_sum, a_sum = 0.0, 0.0
        for i in range(VECTOR_BLOCKS - 1, -1, -1):
            y, t, u, v = kept[i]
            x_sum -= y_bar
            a_sum += y_bar * math.sin(v)
            v_bar = y_bar * a[k] * math.cos(v)
            d_bar = -0.5 * v_bar * v  # of y - t: u = exp((y - t) / 2), and v / u cancels its u
            t_bar = (v_bar / u - d_bar) * (1.0 - t * t)
            a_sum += t_bar
            x_sum += t_bar * y
            y_bar = d_bar + t_bar * x[k]
        x_bar[k] = x_sum + y_bar
        a_bar[k] = a_sum
    return total


def elementwise_blocks(x: np.ndarray, a: np.ndarray) -> Runner:
    x_bar, a_bar = np.empty_like(x), np.empty_like(a)
    return lambda: (_elementwise_blocks(x, a, x_bar, a_bar), x_bar, a_bar)


@jit
def _normalising_blocks(x, gain, bias, layers, unit, root, x_bar, gain_bar, bias_bar):
    n = x.size
    layers[0] = x
    for i in range(VECTOR_BLOCKS):
        mean, square = 0.0, 0.0
        for k in range(n):
            mean += layers[i, k]
        mean /= n
        for k in range(n):
            square += (layers[i, k] - mean) ** 2
        root[i] = math.sqrt(square / n + 1e-3)
        for k in range(n):
            unit[i, k] = (layers[i, k] - mean) / root[i]
            layers[i + 1, k] = math.tanh(unit[i, k] * gain[k] + bias[k])
    total = 0.0
    for k in range(n):
        total += layers[VECTOR_BLOCKS, k] * gain[k]
        x_bar[k] = gain[k]
        gain_bar[k] = layers[VECTOR_BLOCKS, k]
        bias_bar[k] = 0.0
    for i in range(VECTOR_BLOCKS - 1, -1, -1):
        first, second = 0.0, 0.0
        for k in range(n):
            z_bar = x_bar[k] * (1.0 - layers[i + 1, k] ** 2)
            bias_bar[k] += z_bar
            gain_bar[k] += z_bar * unit[i, k]
            x_bar[k] = z_bar * gain[k]
            first += x_bar[k]
            second += x_bar[k] * unit[i, k]
        for k in range(n):
            x_bar[k] = (x_bar[k] - first / n - unit[i, k] * second / n) / root[i]
    return total


def normalising_blocks(x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> Runner:
    buffers = (
        np.empty((VECTOR_BLOCKS + 1, x.size)),
        np.empty((VECTOR_BLOCKS, x.size)),
        np.empty(VECTOR_BLOCKS),
    )
    bars = np.empty_like(x), np.empty_like(gain), np.empty_like(bias)
    return lambda: (_normalising_blocks(x, gain, bias, *buffers, *bars), *bars)


@jit
def _rosenbrock(x, x_bar):
    n = x.size
    d, e = x[1] - x[0] * x[0], 1.0 - x[0]
    total = 100.0 * d * d + e * e
    x_bar[0] = -400.0 * d * x[0] - 2.0 * e
    for i in range(1, n - 1):
        # The residual before is computed again, so that no turn of the loop waits for another.
        before = x[i] - x[i - 1] * x[i - 1]
        d, e = x[i + 1] - x[i] * x[i], 1.0 - x[i]
        total += 100.0 * d * d + e * e
        x_bar[i] = 200.0 * before - 400.0 * d * x[i] - 2.0 * e
    x_bar[n - 1] = 200.0 * (x[n - 1] - x[n - 2] * x[n - 2])
    return total


def rosenbrock(x: np.ndarray) -> Runner:
    x_bar = np.empty_like(x)
    return lambda: (_rosenbrock(x, x_bar), x_bar)


@jit
def _horner(x, x_bar):
    total = 0.0
    for i in range(x.size):
        y, slope = x[i], 1.0
        for c in HORNER:
            slope = slope * x[i] + y
            y = y * x[i] + c
        x_bar[i] = slope
        total += y
    return total


def horner(x: np.ndarray) -> Runner:
    x_bar = np.empty_like(x)
    return lambda: (_horner(x, x_bar), x_bar)


@jit
def _before_functions(x, negative_square, scaled):
    for i in range(x.size):
        negative_square[i] = -x[i] * x[i]
        scaled[i] = 1.5 * x[i] + 0.3


@jit
def _after_functions(x, e, t, x_bar):
    """Value and gradient from exp and tanh; sin and cos are polynomials that LLVM vectorises."""
    total = 0.0
    for i in range(x.size):
        sine, cosine = sine_and_cosine(x[i])
        total += e[i] * t[i] + sine
        x_bar[i] = e[i] * (1.5 * (1.0 - t[i] * t[i]) - 2.0 * x[i] * t[i]) + cosine
    return total


def transcendental(x: np.ndarray) -> Runner:
    """Tile by tile: numba for the arithmetic, NumPy's SIMD loops for exp and tanh."""
    x_bar = np.empty_like(x)
    buffers = np.empty((2, TILE))
    tiles = []
    for start in range(0, x.size, TILE):
        part = x[start : start + TILE]
        tiles.append((part, *buffers[:, : part.size], x_bar[start : start + TILE]))

    def run() -> tuple[float, np.ndarray]:
        total = 0.0
        for part, e, t, bar in tiles:
            _before_functions(part, e, t)
            np.exp(e, out=e)
            np.tanh(t, out=t)
            total += _after_functions(part, e, t, bar)
        return total, x_bar

    return run
