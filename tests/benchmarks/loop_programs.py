"""Workloads in compiled loops: for `tg.njit`, by hand, with `jax.lax.scan` and with PyTorch.

Each function here returns a runner of value and gradients (racing.py).
"""

import math
from typing import Any

import numba
import numpy as np

import limits
import tapegrad as tg
from racing import Result, Runner

exact = numba.njit(cache=True, error_model="numpy")


def recorded(function: Any, *inputs: Any, passive: tuple[Any, ...] = ()) -> Runner:
    """Return value and gradients of a function under `tg.njit`."""
    leaves = [tg.tensor(part, dtype=tg.float64, requires_grad=True) for part in inputs]

    def run() -> Result:
        for leaf in leaves:
            leaf.grad = None
        value = function(*leaves, *passive)
        value.backward()
        return (value.item(), *(leaf.grad.numpy() for leaf in leaves))

    return run


def primal(function: Any, gradients: Result, *inputs: Any, passive: tuple[Any, ...] = ()) -> Runner:
    """Return the value alone, by the numba function; `gradients` are handed out with it."""
    given = [part if np.ndim(part) else float(part) for part in inputs]
    return lambda: (function.primal(*given, *passive), *gradients)


def scanned(function: Any, *inputs: np.ndarray) -> Runner:
    """Return value and gradients of a function of jax arrays, compiled."""
    import jax

    jax.config.update("jax_enable_x64", True)
    compiled = jax.jit(jax.value_and_grad(function, argnums=tuple(range(len(inputs)))))
    given = [jax.numpy.asarray(part) for part in inputs]

    def run() -> Result:
        value, gradients = compiled(*given)
        return (float(value), *(np.asarray(g) for g in gradients))

    return run


# --------------------------------------------------------------------------- a chain of scalars
@tg.njit
def chain(w, c, n):
    y = w
    for _ in range(n):
        y = y * c
        y = y + w
        y = math.sin(y)
        y = y * w
    return y


# Not kept on disk: numba's files know functions, and not with which options they were compiled.
_chain_by_hand = numba.njit(error_model="numpy")(limits.chain_by_hand)


def chain_by_hand(w: float, c: float, n: int) -> Runner:
    kept = np.empty((n, 3))
    return lambda: _chain_by_hand(w, c, kept)


# --------------------------------------------------------------------------- Lorenz
SIGMA, RHO, BETA, STEP = 10.0, 28.0, 8 / 3, 0.005


@tg.njit
def lorenz(x, y, z, n):
    h = STEP
    for _ in range(n):
        k1x, k1y, k1z = SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z
        ax, ay, az = x + 0.5 * h * k1x, y + 0.5 * h * k1y, z + 0.5 * h * k1z
        k2x, k2y, k2z = SIGMA * (ay - ax), ax * (RHO - az) - ay, ax * ay - BETA * az
        ax, ay, az = x + 0.5 * h * k2x, y + 0.5 * h * k2y, z + 0.5 * h * k2z
        k3x, k3y, k3z = SIGMA * (ay - ax), ax * (RHO - az) - ay, ax * ay - BETA * az
        ax, ay, az = x + h * k3x, y + h * k3y, z + h * k3z
        k4x, k4y, k4z = SIGMA * (ay - ax), ax * (RHO - az) - ay, ax * ay - BETA * az
        x = x + h / 6 * (k1x + 2 * k2x + 2 * k3x + k4x)
        y = y + h / 6 * (k1y + 2 * k2y + 2 * k3y + k4y)
        z = z + h / 6 * (k1z + 2 * k2z + 2 * k3z + k4z)
    return x + y + z


@exact
def _slope(x, y, z):
    return SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z


@exact
def _slope_back(a, b, c, x, y, z):
    return (RHO - z) * b - SIGMA * a + y * c, SIGMA * a - b + x * c, -x * b - BETA * c


@exact
def _lorenz_by_hand(x, y, z, n, kept):
    h, g = STEP, STEP / 6
    for i in range(n):
        kept[i, 0], kept[i, 1], kept[i, 2] = x, y, z
        a1, b1, c1 = _slope(x, y, z)
        a2, b2, c2 = _slope(x + 0.5 * h * a1, y + 0.5 * h * b1, z + 0.5 * h * c1)
        a3, b3, c3 = _slope(x + 0.5 * h * a2, y + 0.5 * h * b2, z + 0.5 * h * c2)
        a4, b4, c4 = _slope(x + h * a3, y + h * b3, z + h * c3)
        x += g * (a1 + 2 * a2 + 2 * a3 + a4)
        y += g * (b1 + 2 * b2 + 2 * b3 + b4)
        z += g * (c1 + 2 * c2 + 2 * c3 + c4)
    value = x + y + z
    u = v = w = 1.0
    for i in range(n - 1, -1, -1):
        x, y, z = kept[i, 0], kept[i, 1], kept[i, 2]
        a1, b1, c1 = _slope(x, y, z)
        x2, y2, z2 = x + 0.5 * h * a1, y + 0.5 * h * b1, z + 0.5 * h * c1
        a2, b2, c2 = _slope(x2, y2, z2)
        x3, y3, z3 = x + 0.5 * h * a2, y + 0.5 * h * b2, z + 0.5 * h * c2
        a3, b3, c3 = _slope(x3, y3, z3)
        p4, q4, r4 = _slope_back(g * u, g * v, g * w, x + h * a3, y + h * b3, z + h * c3)
        p3, q3, r3 = _slope_back(
            2 * g * u + h * p4, 2 * g * v + h * q4, 2 * g * w + h * r4, x3, y3, z3
        )
        p2, q2, r2 = _slope_back(
            2 * g * u + 0.5 * h * p3, 2 * g * v + 0.5 * h * q3, 2 * g * w + 0.5 * h * r3, x2, y2, z2
        )
        p1, q1, r1 = _slope_back(
            g * u + 0.5 * h * p2, g * v + 0.5 * h * q2, g * w + 0.5 * h * r2, x, y, z
        )
        u, v, w = u + p1 + p2 + p3 + p4, v + q1 + q2 + q3 + q4, w + r1 + r2 + r3 + r4
    return value, u, v, w


def lorenz_by_hand(x: float, y: float, z: float, n: int) -> Runner:
    kept = np.empty((n, 3))
    return lambda: _lorenz_by_hand(x, y, z, n, kept)


def lorenz_in_jax(n: int) -> Any:
    from jax import lax

    h = STEP

    def slope(s: Any) -> Any:
        x, y, z = s
        return SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z

    def ahead(s: Any, k: Any, c: float) -> Any:
        return tuple(a + c * b for a, b in zip(s, k, strict=True))

    def step(s: Any, _: Any) -> Any:
        k1 = slope(s)
        k2 = slope(ahead(s, k1, 0.5 * h))
        k3 = slope(ahead(s, k2, 0.5 * h))
        k4 = slope(ahead(s, k3, h))
        new = tuple(
            a + h / 6 * (p + 2 * q + 2 * r + t)
            for a, p, q, r, t in zip(s, k1, k2, k3, k4, strict=True)
        )
        return new, None

    return lambda x, y, z: sum(lax.scan(step, (x, y, z), None, length=n)[0])


# --------------------------------------------------------------------------- ADBench's LSTM
@tg.njit
def lstm(main, extra, state, sequence):
    """The loss of ADBench's LSTM: `main` 2 l x 4 b, `extra` 3 x b, `state` 2 l x b, `sequence` c x b."""
    layers, bits = state.shape[0] // 2, sequence.shape[1]
    hidden, cells = np.zeros((layers, bits)), np.zeros((layers, bits))
    for k in range(layers):
        for i in range(bits):
            hidden[k, i], cells[k, i] = state[2 * k, i], state[2 * k + 1, i]
    x, total = np.zeros(bits), 0.0
    for t in range(sequence.shape[0] - 1):
        for i in range(bits):
            x[i] = sequence[t, i] * extra[0, i]
        for k in range(layers):
            for i in range(bits):
                w, b = main[2 * k], main[2 * k + 1]
                h = hidden[k, i]
                f = 1 / (1 + math.exp(-(x[i] * w[i] + b[i])))
                a = 1 / (1 + math.exp(-(h * w[bits + i] + b[bits + i])))
                o = 1 / (1 + math.exp(-(x[i] * w[2 * bits + i] + b[2 * bits + i])))
                c = cells[k, i] * f + a * math.tanh(h * w[3 * bits + i] + b[3 * bits + i])
                cells[k, i] = c
                hidden[k, i] = o * math.tanh(c)
            for i in range(bits):
                x[i] = hidden[k, i]
        s = 2.0
        for i in range(bits):
            x[i] = x[i] * extra[1, i] + extra[2, i]
            s += math.exp(x[i])
        norm = math.log(s)
        for i in range(bits):
            if sequence[t + 1, i] != 0.0:
                total += sequence[t + 1, i] * (x[i] - norm)
    return -total / ((sequence.shape[0] - 1) * bits)


def lstm_in_jax(state: np.ndarray, sequence: np.ndarray) -> Any:
    import jax.numpy as jnp
    from jax import lax, nn

    layers, bits = state.shape[0] // 2, sequence.shape[1]
    start = jnp.asarray(state)
    pairs = jnp.asarray(sequence[:-1]), jnp.asarray(sequence[1:])

    def loss(main: Any, extra: Any) -> Any:
        def step(carry: Any, pair: Any) -> Any:
            now, gold = pair
            x, new = now * extra[0], []
            for k in range(layers):
                h, c = carry[2 * k], carry[2 * k + 1]
                w, b = main[2 * k].reshape(4, bits), main[2 * k + 1].reshape(4, bits)
                f, a = nn.sigmoid(x * w[0] + b[0]), nn.sigmoid(h * w[1] + b[1])
                o, d = nn.sigmoid(x * w[2] + b[2]), jnp.tanh(h * w[3] + b[3])
                c = c * f + a * d
                x = o * jnp.tanh(c)
                new += [x, c]
            y = x * extra[1] + extra[2]
            return jnp.stack(new), jnp.sum(gold * (y - jnp.log(jnp.sum(jnp.exp(y)) + 2)))

        _, parts = lax.scan(step, start, pairs)
        return -jnp.sum(parts) / (len(sequence) - 1) / bits

    return loss


def lstm_in_torch(main: Any, extra: Any, state: Any, sequence: Any) -> Any:
    import torch

    layers, bits = state.shape[0] // 2, sequence.shape[1]
    state, total = list(state), 0.0
    for t in range(len(sequence) - 1):
        x = sequence[t] * extra[0]
        for k in range(layers):
            w, b = main[2 * k].reshape(4, bits), main[2 * k + 1].reshape(4, bits)
            h, c = state[2 * k], state[2 * k + 1]
            f, a = torch.sigmoid(x * w[0] + b[0]), torch.sigmoid(h * w[1] + b[1])
            o, d = torch.sigmoid(x * w[2] + b[2]), torch.tanh(h * w[3] + b[3])
            c = c * f + a * d
            x = o * torch.tanh(c)
            state[2 * k], state[2 * k + 1] = x, c
        y = x * extra[1] + extra[2]
        total = total + (sequence[t + 1] * (y - torch.log(torch.sum(torch.exp(y)) + 2))).sum()
    return -total / ((len(sequence) - 1) * bits)


# --------------------------------------------------------------------------- a recurrent network, in arrays
@tg.njit
def recurrent(weights, inputs, bias, sequence):
    """The mean square of the last state: `weights` n x n, `inputs` n x m, `bias` n, `sequence` c x m."""
    h = np.zeros(bias.shape[0])
    for t in range(sequence.shape[0]):
        h = np.tanh(weights @ h + inputs @ sequence[t] + bias)
    return np.dot(h, h) / len(h)


def recurrent_in_jax(sequence: np.ndarray) -> Any:
    import jax.numpy as jnp
    from jax import lax

    def loss(weights: Any, inputs: Any, bias: Any) -> Any:
        given = jnp.asarray(sequence)

        def step(h: Any, x: Any) -> Any:
            return jnp.tanh(weights @ h + inputs @ x + bias), None

        h, _ = lax.scan(step, jnp.zeros(len(bias)), given)
        return jnp.mean(h * h)

    return loss


def recurrent_in_torch(weights: Any, inputs: Any, bias: Any, sequence: Any) -> Any:
    h = sequence.new_zeros(len(bias))
    for x in sequence:
        h = (weights @ h + inputs @ x + bias).tanh()
    return (h * h).mean()
