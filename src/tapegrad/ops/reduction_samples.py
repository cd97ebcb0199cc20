"""Examples of arguments of reductions, from which the tests are generated.

Each function is a row's ``sample``: ``(rng, dtype) -> [(args, kwargs), ...]``, for the function of
PyTorch's name. Values are apart from each other and from 0, so that finite differences see no kink.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Example = tuple[tuple[Any, ...], dict[str, Any]]

__all__ = [
    "along", "dims_only", "dist", "full", "matrix", "norm", "one_dim", "ordered", "scan", "softmax",
    "top", "variance",
]  # fmt: skip


def _values(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    """Numbers of both signs, about a unit in size, no two nearer than their number allows."""
    size = int(np.prod(shape))
    steps = rng.permutation(size) - (size - 1) / 2
    steps = np.where(steps == 0, 0.25, steps)
    spread: np.ndarray = (steps / max(size / 2, 1) * 1.7).reshape(shape)
    return spread.astype(dtype)


def full(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Everything is reduced."""
    return [((_values(rng, dtype, *s),), {}) for s in ((), (1,), (5,), (2, 3), (2, 1, 3))]


def along(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """One or several dimensions, kept or not."""
    return [
        ((_values(rng, dtype, 4), 0), {}),
        ((_values(rng, dtype, 3, 2), 1), {"keepdim": True}),
        ((_values(rng, dtype, 3, 2), -1), {}),
        ((_values(rng, dtype, 2, 3, 2), (0, 2)), {}),
        ((_values(rng, dtype, 2, 3, 2), (1,)), {}),
        ((_values(rng, dtype, 0, 3), 1), {}),
        ((_values(rng, dtype), 0), {}),
    ]


def dims_only(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Without ``keepdim``."""
    return [((_values(rng, dtype, 3, 2),), {"dim": d}) for d in (0, (0, 1), None)]


def one_dim(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """One dimension, kept or not; with zeros."""
    zeros = _values(rng, dtype, 3, 3)
    zeros[0, 1] = zeros[1, 1] = zeros[2, 2] = 0
    return [
        ((_values(rng, dtype, 3, 2), 1), {}),
        ((_values(rng, dtype, 3, 2), 0), {"keepdim": True}),
        ((zeros, 0), {}),
        ((_values(rng, dtype), -1), {}),
    ]


def variance(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """With the options of ``var``."""
    return [
        ((_values(rng, dtype, 4),), {}),
        ((_values(rng, dtype, 3, 2),), {"unbiased": False}),
        ((_values(rng, dtype, 3, 2), 0), {"keepdim": True}),
        ((_values(rng, dtype, 2, 3, 2), (0, 2)), {"correction": 0.5}),
    ]


def norm(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Orders, with and without dimensions."""
    inf = float("inf")
    return [
        ((_values(rng, dtype, 2, 3) + dtype(0.07), *options), {})
        for options in ((), (1,), (2, 0), (3, 1, True), (inf,), (-inf, 0), (1.5, (0, 1)), (0.5,))
    ]


def dist(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Two tensors that broadcast."""
    return [
        ((_values(rng, dtype, 2, 3), _values(rng, dtype, 3) * dtype(0.31) + dtype(0.11), p), {})
        for p in (2, 1, 3, float("inf"))
    ]


def matrix(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Matrices of several proportions."""
    return [((_values(rng, dtype, *s),), {}) for s in ((3, 3), (2, 4), (3, 1), (0, 2))]


def scan(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """One dimension, named by number."""
    return [
        ((_values(rng, dtype, 5), 0), {}),
        ((_values(rng, dtype, 3, 2), 0), {}),
        ((_values(rng, dtype, 2, 1, 3), -1), {}),
        ((_values(rng, dtype), 0), {}),
        ((_values(rng, dtype, 0, 2), 0), {}),
    ]


softmax = scan


def ordered(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """One dimension of values without ties."""
    return [
        ((_values(rng, dtype, 5), 0), {}),
        ((_values(rng, dtype, 3, 4), 0), {}),
        ((_values(rng, dtype, 2, 3, 2), -2), {}),
    ]


def top(rng: np.random.Generator, dtype: Any) -> list[Example]:
    """Draw for ``topk``: a number of values along a dimension."""
    return [
        ((_values(rng, dtype, 5), 2), {}),
        ((_values(rng, dtype, 3, 4), 2, 0), {"largest": False}),
    ]
