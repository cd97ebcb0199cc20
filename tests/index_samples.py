"""What the tests of indexing share: PyTorch where it is installed, arrays, names of nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

try:
    import torch
except ImportError:
    torch = None

__all__ = ["SHAPE", "name_of", "needs_torch", "positions", "torch", "values"]

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")
SHAPE = (2, 3, 4)


def positions(*shape: int) -> np.ndarray:
    """0, 1, 2 ... in a shape."""
    return np.arange(np.prod(shape, dtype=int)).reshape(shape)


def values(*shape: int) -> np.ndarray:
    """Random numbers, always the same."""
    return np.random.default_rng(5).standard_normal(shape)


def name_of(x: Any) -> str:
    """Name of the node of a tensor of either library."""
    fn = x.grad_fn
    return fn if isinstance(fn, str) else fn.name()
