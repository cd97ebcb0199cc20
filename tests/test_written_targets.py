"""Gradients of tensors written in place: a pass ends at the last write, if nothing below is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

V = [-0.25, 0.75, -0.5]
WRITES: dict[str, Callable[[tg.Tensor], object]] = {
    "mul_": lambda t: t.mul_(2),
    "copy_": lambda t: t.copy_(t.tanh()),
    "fill_": lambda t: t.fill_(2.0),
    "item": lambda t: t.__setitem__(0, 5.0),
    "index_fill_": lambda t: t.index_fill_(0, tg.tensor([1]), 2.0),
    "part": lambda t: t[1:].mul_(3.0),
    "view": lambda t: t.view(3, 1).mul_(3.0),
}
USES: dict[str, Callable[[tg.Tensor], tg.Tensor]] = {
    "itself": lambda t: t,
    "result": lambda t: t * 1,
    "view": lambda t: t.view(3),
    "indexed": lambda t: t[[0, 1, 2]],
}


def ways(y: tg.Tensor, inputs: list[tg.Tensor]) -> list[list[Any]]:
    """Gradients in plain, recorded and batched passes."""
    v = tg.tensor(V)
    batched = tg.autograd.grad(
        y, inputs, tg.stack([v, v]), retain_graph=True, is_grads_batched=True
    )
    return [
        [g.tolist() for g in tg.autograd.grad(y, inputs, v, retain_graph=True)],
        [g.tolist() for g in tg.autograd.grad(y, inputs, v, create_graph=True)],
        [g[1].tolist() for g in batched],
    ]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("write", WRITES)
def test_a_hook_acts_on_the_gradient_of_its_tensor(write: str, use: str) -> None:
    x = tg.tensor([0.5, 0.5, 1.5], requires_grad=True)
    t = x.clone()
    WRITES[write](t)
    t.register_hook(lambda g: g * 1.5)
    y = USES[use](t)
    assert ways(y, [t]) == [[[1.5 * v for v in V]]] * 3
    # where the pass goes on below, an input is taken before its hooks, as in PyTorch
    assert [w[0] for w in ways(y, [t, x])] == [V] * 3


@pytest.mark.parametrize("write", WRITES)
def test_hooks_of_the_tensor_before_the_write_are_not_called(write: str) -> None:
    x = tg.tensor([0.5, 0.5, 1.5], requires_grad=True)
    t = x.clone()
    seen: list[int] = []
    t.register_hook(lambda g: seen.append(1))
    WRITES[write](t)
    assert ways(t * 2, [t]) == [[[2 * v for v in V]]] * 3
    assert not seen
    (t * 2).backward(tg.tensor(V), inputs=[x])
    assert seen == [1]


def test_what_is_below_the_write_is_not_freed() -> None:
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    t = x * x
    before = t * 1.0
    u = t.unsqueeze(0)
    u *= 2 * x
    after = t.clone()
    tg.autograd.grad(u.unflatten(1, (-1, 1)).sum(), [t], create_graph=True, retain_graph=False)
    after.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [6.0, 24.0, 54.0]  # of 2 x**3
    assert before.tolist() == [1, 4, 9]


def test_what_is_written_is_wanted_though_its_tensor_was_not() -> None:
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    w = tg.tensor([2.0, 2.0, 2.0], requires_grad=True)
    calls: list[str] = []
    t = x * x
    t.register_hook(lambda g: calls.append("t"))
    assert t.grad_fn is not None
    t.grad_fn.register_hook(lambda gi, go: calls.append("node"))
    t[1:] *= w[1:]
    y = t * 3
    assert ways(y, [t, w]) == [[[-0.75, 2.25, -1.5], [0.0, 9.0, -13.5]]] * 3
    assert not calls


def test_edges_of_both_versions() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    t = x.clone()
    edge = tg.autograd.graph.get_gradient_edge(t)
    y = t * 2
    t.mul_(x)
    z = (t * y).sum()
    for create_graph in (False, True):
        kept = {"retain_graph": True, "create_graph": create_graph}
        grads = tg.autograd.grad(z, (edge, t, x), **kept)
        # z = x**2 (2 x), of which the first x of t's write and of y is the clone's
        assert [g.tolist() for g in grads] == [[4.0, 16.0], [2.0, 4.0], [6.0, 24.0]]
        assert tg.autograd.grad(z, t, **kept)[0].tolist() == [2.0, 4.0]
        assert tg.autograd.grad(z, edge, **kept)[0].tolist() == [4.0, 16.0]


def test_jacobian_of_a_written_tensor_of_many_rows() -> None:
    x = tg.tensor(np.arange(1.0, 41.0), requires_grad=True)
    t = x * x
    t[::2] = x[::2]
    t.register_hook(lambda g: g * 2)
    y = t * 3
    rows = tg.autograd.grad(y, [t], tg.eye(40), is_grads_batched=True, retain_graph=True)[0]
    assert np.array_equal(rows.numpy(), 6 * np.eye(40))
    rows = tg.autograd.grad(y, [x], tg.eye(40), is_grads_batched=True)[0]
    want = np.diag(6 * np.where(np.arange(40) % 2 == 0, 1.0, 2 * np.arange(1.0, 41.0)))
    assert np.array_equal(rows.numpy(), want)
