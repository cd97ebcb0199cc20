"""Batched cotangents of views that were written, with and without Python on the way."""

from __future__ import annotations

import numpy as np
import pytest

import tapegrad as tg


class Squared(tg.autograd.Function):
    """Python on the way: each cotangent is swept alone."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 2 * x


@pytest.mark.parametrize("function", [lambda x: x * x, Squared.apply], ids=["native", "Python"])
def test_a_written_view_has_a_gradient_for_each_cotangent(function) -> None:
    base = tg.tensor([[0.1, 0.2], [0.3, 0.4]], requires_grad=True).clone()
    view = base.movedim(0, 1)
    view.mul_(1.0)
    out = function(base * view * 1.0)
    cotangents = tg.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    (g,) = tg.autograd.grad(out, view, cotangents, is_grads_batched=True, retain_graph=True)
    for ct, row in zip(cotangents, g, strict=True):
        (alone,) = tg.autograd.grad(out, view, ct, retain_graph=True)
        np.testing.assert_allclose(row.numpy(), alone.numpy(), rtol=1e-14)
        assert row.abs().sum().item() > 0
