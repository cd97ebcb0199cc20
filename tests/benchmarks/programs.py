"""The workloads, each written once against a namespace that has PyTorch's function names.

`xp` is tapegrad, torch or `autograd.numpy`; the hand-written gradients are in `limits.py`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

CHAIN_BLOCKS = 250  # of 4 ops
VECTOR_BLOCKS = 10  # of 10 ops
HORNER = (0.5, -0.25, 0.125, 1.0, -0.5, 0.75, -1.5, 2.0)


def scalar_chain(xp: Any, w: Any, c: Any) -> Any:
    """1,000 scalar ops, each of which needs the one before."""
    y = w
    for _ in range(CHAIN_BLOCKS):
        y = y * c
        y = y + w
        y = xp.sin(y)
        y = y * w
    return y


def elementwise_blocks(xp: Any, x: Any, a: Any) -> Any:
    """100 elementwise ops on small vectors, and a sum."""
    y = x
    for _ in range(VECTOR_BLOCKS):
        t = x * y
        t = t + a
        t = xp.tanh(t)
        u = y - t
        u = u * 0.5
        u = xp.exp(u)
        v = t / u
        v = xp.sin(v)
        v = v * a
        y = v - x
    return xp.sum(y)


def normalising_blocks(xp: Any, x: Any, gain: Any, bias: Any) -> Any:
    """100 ops with reductions and broadcasting: ten layers that normalise a small vector."""
    for _ in range(VECTOR_BLOCKS):
        mean = xp.mean(x)
        d = x - mean
        q = d * d
        s = xp.mean(q)
        s = s + 1e-3
        r = xp.sqrt(s)
        z = d / r
        z = z * gain
        z = z + bias
        x = xp.tanh(z)
    return xp.sum(x * gain)


def random_program(seed: int, ops: int = 100) -> Callable[..., Any]:
    """Return a program of `ops` ops drawn at random, for three leaves.

    Each op takes the latest value, so that none is dead, and if binary one of the six before it.
    """
    rng = np.random.default_rng(seed)
    lines = [
        (str(rng.choice(["add", "sub", "mul", "sin", "tanh"])), int(rng.integers(2, 8)))
        for _ in range(ops)
    ]

    def program(xp: Any, *leaves: Any) -> Any:
        values = [*leaves, *leaves, leaves[0] * leaves[1] + leaves[2]]
        for op, back in lines:
            latest = values[-1]
            if op == "add":
                values.append(latest + values[-back])
            elif op == "sub":
                values.append(latest - values[-back])
            elif op == "mul":
                values.append(latest * values[-back])
            elif op == "sin":
                values.append(xp.sin(latest))
            else:
                values.append(xp.tanh(latest))
        return xp.sum(values[-1])

    return program


def rosenbrock_loop(xp: Any, x: Any) -> Any:
    """Rosenbrock's function as a beginner writes it: a Python loop over elements."""
    total = 0.0
    for i in range(len(x) - 1):
        a, b = x[i], x[i + 1]
        total = total + 100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2
    return total


def horner(xp: Any, x: Any) -> Any:
    """16 cheap arithmetic ops on a large array, and a sum."""
    y = x
    for c in HORNER:
        y = y * x + c
    return xp.sum(y)


def transcendental(xp: Any, x: Any) -> Any:
    """Elementwise exp, tanh and sin with some arithmetic on a large array, and a sum."""
    return xp.sum(xp.exp(-x * x) * xp.tanh(1.5 * x + 0.3) + xp.sin(x))
