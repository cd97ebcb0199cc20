"""`checkpoint`: the same gradients, with values recomputed, beside torch where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.autograd.checkpoint import checkpoint

try:
    import torch
    from torch.utils.checkpoint import checkpoint as torch_checkpoint
except ImportError:
    torch = None


def run(lib: Any, checkpointed: Any, reentrant: bool) -> tuple[list[Any], int]:
    """Gradients of a program with a checkpoint, and how often its function ran."""
    w = lib.tensor([1.0, 2.0], dtype=lib.float64, requires_grad=True)
    x = lib.tensor([0.5, 0.7], dtype=lib.float64, requires_grad=True)
    calls = [0]

    def function(a: Any, k: float, b: Any) -> Any:
        calls[0] += 1
        return (a * b * k).sin() * a

    y = function(w * 2, 3.0, x) if checkpointed is None else (
        checkpointed(function, w * 2, 3.0, x, use_reentrant=reentrant)
    )  # fmt: skip
    (y * y * w).sum().backward()
    return [w.grad.tolist(), x.grad.tolist()], calls[0]


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_are_the_same(reentrant: bool) -> None:
    want, once = run(tg, None, reentrant)
    found, twice = run(tg, checkpoint, reentrant)
    assert found == want
    assert (once, twice) == (1, 2)
    if torch is not None:
        beside, count = run(torch, torch_checkpoint, reentrant)
        np.testing.assert_allclose(found, beside, rtol=1e-12)
        assert count == 2


def test_higher_orders() -> None:
    def derivative(checkpointed: bool) -> list[Any]:
        x = tg.tensor([0.3, 0.6], requires_grad=True)

        def function(x: Any) -> Any:
            return (x * x).exp()

        y = checkpoint(function, x, use_reentrant=False) if checkpointed else function(x)
        found = []
        for _ in range(3):
            (g,) = tg.autograd.grad((y * x).sum(), x, create_graph=True)
            found.append(g.tolist())
            y = g
        return found

    np.testing.assert_allclose(derivative(True), derivative(False), rtol=1e-12)


def test_passive_arguments_and_exceptions() -> None:
    y = checkpoint(lambda a: a * 2, tg.ones(2), use_reentrant=False)
    assert not y.requires_grad
    x = tg.tensor([1.0], requires_grad=True)

    def fail(a: Any) -> Any:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        checkpoint(fail, x, use_reentrant=False)
    (x * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2]
