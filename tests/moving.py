"""How tests check an op that only moves elements: run it on positions, and compare what arrives.

If ``f`` moves elements, ``f(positions)`` says which element of the operand each element of the
result is (-1: none, a constant). Then the gradient of ``sum(w * f(x) ** 3)`` and its further
derivatives are sums over those positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tapegrad as tg

__all__ = ["arrive", "check_moves"]


def arrive(where: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Sum of the values that went to each position."""
    kept = where >= 0
    return np.bincount(where[kept].ravel(), values[kept].ravel(), size)


def check_moves(
    moved: Callable[[Any], Any], where: np.ndarray, x: np.ndarray, *, fill: float = 0.0
) -> Any:
    """Check the value and the derivatives of orders 1 to 3 of a function that moves elements.

    Parameters
    ----------
    moved : callable
        Of a Tensor.
    where : ndarray
        What it does to positions (NumPy's answer), -1 where `fill` comes.
    x : ndarray
        The operand.
    fill : float
    """
    rng = np.random.default_rng(3)
    w = rng.standard_normal(where.shape)
    u, v = rng.standard_normal(x.shape), rng.standard_normal(x.shape)
    at = np.where(where >= 0, where, 0)
    take = lambda a: a.reshape(-1)[at] if a.size else np.zeros(where.shape)  # noqa: E731
    leaf = tg.tensor(x, requires_grad=True)
    out = moved(leaf)
    assert tuple(out.shape) == where.shape
    np.testing.assert_array_equal(out.detach().numpy(), np.where(where >= 0, take(x), fill))
    loss = (out * out * out * tg.tensor(w)).sum()
    expected = [3 * w * take(x) ** 2, 6 * w * take(x) * take(u), 6 * w * take(u) * take(v)]
    for k, direction in enumerate([u, v, None]):
        (g,) = tg.autograd.grad(loss, leaf, create_graph=True)
        np.testing.assert_allclose(
            g.detach().numpy().ravel(), arrive(where, expected[k], x.size), rtol=1e-12, atol=1e-12
        )
        if direction is None or not g.requires_grad:
            break
        loss = (g * tg.tensor(direction)).sum()
    if x.size:  # the reverse sweep, which runs the same rules natively
        (moved(leaf) * tg.tensor(w)).sum().backward()
        np.testing.assert_allclose(
            leaf.grad.numpy().ravel(), arrive(where, w, x.size), rtol=1e-12, atol=1e-12
        )
    return out
