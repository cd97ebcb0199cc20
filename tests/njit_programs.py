"""Numerical programs in loops, as people write them for numba, and the same through PyTorch.

Each is a plain Python function over `math` and NumPy. PyTorch runs its code with other namespaces: arrays
become object arrays of 0-d tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np


class Program(NamedTuple):
    """A function, the arguments that it is differentiated by, and the others."""

    function: Callable[..., Any]
    active: tuple[Any, ...]
    passive: tuple[Any, ...] = ()


# --------------------------------------------------------------------------- the programs
def rosenbrock(x):
    total = 0.0
    for i in range(len(x) - 1):
        total += 100.0 * (x[i + 1] - x[i] ** 2) ** 2 + (1.0 - x[i]) ** 2
    return total


def lorenz(state, sigma, rho, beta, h, n):
    x, y, z = state[0], state[1], state[2]
    for _ in range(n):
        k1x, k1y, k1z = sigma * (y - x), x * (rho - z) - y, x * y - beta * z
        ax, ay, az = x + 0.5 * h * k1x, y + 0.5 * h * k1y, z + 0.5 * h * k1z
        k2x, k2y, k2z = sigma * (ay - ax), ax * (rho - az) - ay, ax * ay - beta * az
        ax, ay, az = x + 0.5 * h * k2x, y + 0.5 * h * k2y, z + 0.5 * h * k2z
        k3x, k3y, k3z = sigma * (ay - ax), ax * (rho - az) - ay, ax * ay - beta * az
        ax, ay, az = x + h * k3x, y + h * k3y, z + h * k3z
        k4x, k4y, k4z = sigma * (ay - ax), ax * (rho - az) - ay, ax * ay - beta * az
        x = x + h / 6 * (k1x + 2 * k2x + 2 * k3x + k4x)
        y = y + h / 6 * (k1y + 2 * k2y + 2 * k3y + k4y)
        z = z + h / 6 * (k1z + 2 * k2z + 2 * k3z + k4z)
    return x * x + y * z


def lotka_volterra(p, n):
    prey, hunters, h = 1.0, 0.5, 0.02
    for _ in range(n):
        born, eaten = p[0] * prey, p[1] * prey * hunters
        prey, hunters = prey + h * (born - eaten), hunters + h * (p[2] * eaten - p[3] * hunters)
    return math.log(prey) + hunters


def lstm_cell(w, x, h, c):
    """A cell by hand: four gates of one size."""
    size = len(h)
    new_h, new_c = np.zeros(size), np.zeros(size)
    for i in range(size):
        gates = np.zeros(4)
        for g in range(4):
            s = w[g, i, 0]
            for j in range(size):
                s += w[g, i, 1 + j] * h[j] + w[g, i, 1 + size + j] * x[j]
            gates[g] = s
        f = 1 / (1 + math.exp(-gates[0]))
        k = 1 / (1 + math.exp(-gates[1]))
        o = 1 / (1 + math.exp(-gates[2]))
        new_c[i] = f * c[i] + k * math.tanh(gates[3])
        new_h[i] = o * math.tanh(new_c[i])
    total = 0.0
    for i in range(size):
        total += new_h[i] * new_h[i] + new_c[i]
    return total


def soft_dtw(a, b, gamma):
    """Dynamic time warping with a soft minimum (Cuturi and Blondel, 2017)."""
    n, m = len(a), len(b)
    r = np.full((n + 1, m + 1), 1e10)
    r[0, 0] = 0.0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            p, q, s = r[i - 1, j], r[i, j - 1], r[i - 1, j - 1]
            low = p
            if q < low:
                low = q
            if s < low:
                low = s
            z = (
                math.exp((low - p) / gamma)
                + math.exp((low - q) / gamma)
                + math.exp((low - s) / gamma)
            )
            d = a[i - 1] - b[j - 1]
            r[i, j] = d * d + low - gamma * math.log(z)
    return r[n, m]


def soft_viterbi(start, moves, scores):
    """The log-sum over all paths of a hidden Markov model."""
    n, k = scores.shape
    v = np.zeros(k)
    for s in range(k):
        v[s] = start[s] + scores[0, s]
    for t in range(1, n):
        new = np.zeros(k)
        for s in range(k):
            total = 0.0
            for p in range(k):
                total += math.exp(v[p] + moves[p, s])
            new[s] = math.log(total) + scores[t, s]
        v = new
    total = 0.0
    for s in range(k):
        total += math.exp(v[s])
    return math.log(total)


def newton(p):
    """The root of x**3 - a x - b near b."""
    x = p[1]
    while True:
        step = (x * x * x - p[0] * x - p[1]) / (3 * x * x - p[0])
        x = x - step
        if abs(step) < 1e-14:
            break
    return x


def n_body(q, v, masses, n):
    count = len(masses)
    for _ in range(n):
        for i in range(count):
            for k in range(2):
                pull = 0.0
                for j in range(count):
                    if i != j:
                        dx, dy = q[j, 0] - q[i, 0], q[j, 1] - q[i, 1]
                        r2 = dx * dx + dy * dy + 0.01
                        pull += masses[j] * (q[j, k] - q[i, k]) / (r2 * math.sqrt(r2))
                v[i, k] += 0.01 * pull
        for i in range(count):
            for k in range(2):
                q[i, k] += 0.01 * v[i, k]
    energy = 0.0
    for i in range(count):
        energy += 0.5 * masses[i] * (v[i, 0] ** 2 + v[i, 1] ** 2)
    return energy


def n_body_of(q, masses, n):
    return n_body(q.copy(), np.zeros(q.shape), masses, n)


def american_put(p, n):
    """A binomial tree (Cox, Ross and Rubinstein) with early exercise: spot, strike, rate, volatility."""
    spot, strike, rate, sigma = p[0], p[1], p[2], p[3]
    dt = 1.0 / n
    up = math.exp(sigma * math.sqrt(dt))
    down = 1 / up
    discount = math.exp(-rate * dt)
    chance = (1 / discount - down) / (up - down)
    values = np.zeros(n + 1)
    for i in range(n + 1):
        values[i] = max(strike - spot * up ** (2 * i - n), 0.0)
    for step in range(n - 1, -1, -1):
        for i in range(step + 1):
            held = discount * (chance * values[i + 1] + (1 - chance) * values[i])
            values[i] = max(held, strike - spot * up ** (2 * i - step))
    return values[0]


def cholesky(a):
    n = a.shape[0]
    low = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            s = a[i, j]
            for k in range(j):
                s -= low[i, k] * low[j, k]
            if i == j:
                low[i, j] = math.sqrt(s)
            else:
                low[i, j] = s / low[j, j]
    total = 0.0
    for i in range(n):
        total += math.log(low[i, i])
    return total


def power(x, n):
    """``x ** n`` by squaring, recursively."""
    if n == 0:
        return 1.0 * x / x
    half = power(x, n // 2)
    if n % 2:
        return half * half * x
    return half * half


def powers(x):
    return power(x[0], 13) + power(x[1], 6)


_rng = np.random.default_rng(0)
_matrix = _rng.normal(size=(4, 4))
PROGRAMS = {
    "rosenbrock": Program(rosenbrock, (_rng.uniform(-1.5, 1.5, 7),)),
    "lorenz": Program(lorenz, (np.array([1.0, 1.1, 0.9]),), (10.0, 28.0, 8 / 3, 0.01, 20)),
    "lotka_volterra": Program(lotka_volterra, (np.array([1.1, 0.4, 0.3, 0.4]),), (60,)),
    "lstm_cell": Program(
        lstm_cell, (0.5 * _rng.normal(size=(4, 3, 7)), _rng.normal(size=3), _rng.normal(size=3)),
        (_rng.normal(size=3),),
    ),
    "soft_dtw": Program(soft_dtw, (_rng.normal(size=4), _rng.normal(size=5)), (0.7,)),
    "soft_viterbi": Program(
        soft_viterbi, (_rng.normal(size=3), _rng.normal(size=(3, 3)), _rng.normal(size=(5, 3))),
    ),
    "newton": Program(newton, (np.array([1.2, 2.3]),)),
    "n_body": Program(n_body_of, (_rng.normal(size=(3, 2)), _rng.uniform(0.5, 2.0, 3)), (4,)),
    "american_put": Program(american_put, (np.array([1.0, 1.1, 0.03, 0.3]),), (9,)),
    "cholesky": Program(cholesky, (_matrix @ _matrix.T + 4 * np.eye(4),)),
    "recursion": Program(powers, (np.array([1.1, 0.8]),)),
}  # fmt: skip


# --------------------------------------------------------------------------- through PyTorch
def _torch_names(torch: Any) -> dict[str, Any]:
    def on_numbers(name: str) -> Any:
        own, plain = getattr(torch, name), getattr(math, name)
        return lambda x: own(x) if isinstance(x, torch.Tensor) else plain(x)

    def full(shape: Any, value: Any) -> np.ndarray:
        made = np.empty(shape, object)
        made.fill(float(value))
        return made

    names = ("exp", "log", "sqrt", "tanh", "sin", "cos", "atan")
    return {
        "math": SimpleNamespace(**{name: on_numbers(name) for name in names}),
        "np": SimpleNamespace(zeros=lambda shape: full(shape, 0.0), full=full),
        "max": lambda a, b: b if b > a else a,
    }


def through_torch(
    program: Program, direction: list[np.ndarray]
) -> tuple[list[Any], list[Any], float]:
    """Gradients, a Hessian-vector product and the value, by PyTorch."""
    import torch

    names = _torch_names(torch)
    scope: dict[str, Any] = {**globals(), **names}
    for name, value in globals().items():
        if isinstance(value, FunctionType) and value.__module__ == __name__:
            scope[name] = FunctionType(value.__code__, scope, name, value.__defaults__)
    function = scope[program.function.__name__]

    class Number(torch.Tensor):
        """``x += y`` makes a new one, as with numbers."""

        def __iadd__(self, other: Any) -> Any:
            return self + other

        def __isub__(self, other: Any) -> Any:
            return self - other

    leaves = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in program.active]
    given = []
    for leaf in leaves:
        elements = np.empty(leaf.shape, object)
        for index in np.ndindex(*leaf.shape):
            elements[index] = leaf[index].as_subclass(Number)
        given.append(elements)
    value = function(*given, *program.passive)
    gradients = torch.autograd.grad(value, leaves, create_graph=True)
    product = sum((g * torch.tensor(d)).sum() for g, d in zip(gradients, direction, strict=True))
    second = torch.autograd.grad(product, leaves, allow_unused=True)
    zero = [np.zeros(x.shape) for x in program.active]
    return (
        [g.detach().numpy() for g in gradients],
        [z if s is None else s.numpy() for s, z in zip(second, zero, strict=True)],
        value.item(),
    )
