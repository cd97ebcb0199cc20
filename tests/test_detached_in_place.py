"""``y.detach_()`` where a derivative needs the value of ``y``."""

from __future__ import annotations

import math
from typing import Any

import pytest

import tapegrad as tg


def _libraries() -> list[Any]:
    try:
        import torch
    except ImportError:
        return [tg]
    return [tg, torch]


@pytest.fixture(params=_libraries(), ids=lambda lib: lib.__name__)
def lib(request: Any) -> Any:
    return request.param


TEXT = "Trying to use a saved tensor that has been detached in-place"


def test_a_saved_operand_raises(lib: Any) -> None:
    x = lib.tensor([1.0, 2.0], requires_grad=True)
    a = x.clone()
    b, c = (a * a).sum(), (a * 3).sum()
    a.detach_()
    c.backward()
    assert x.grad.tolist() == [3, 3]
    for create_graph in (False, True):
        with pytest.raises(RuntimeError, match=TEXT):
            lib.autograd.grad(b, x, retain_graph=True, create_graph=create_graph)
    with pytest.raises(RuntimeError, match=TEXT):
        b.backward()
    (x * x).sum().backward()
    assert x.grad.tolist() == [5, 7]


def test_a_saved_result_does_not(lib: Any) -> None:
    x = lib.tensor([1.0, 2.0], requires_grad=True)
    y = x.sqrt()
    z = (y * 2).sum()
    y.detach_()
    z.backward()
    assert x.grad[0].item() == 1


def test_out_of_place_does_not(lib: Any) -> None:
    x = lib.tensor([1.0, 2.0], requires_grad=True)
    a = x.clone()
    b = (a * a).sum()
    d = a.detach()
    b.backward()
    assert x.grad.tolist() == [2, 4]
    assert not d.requires_grad


def test_truncated_loops(lib: Any) -> None:
    """The hidden state is detached after each backward pass."""
    w = lib.tensor(0.5, requires_grad=True)
    h = lib.ones(2)
    for _ in range(5):
        for _ in range(3):
            h = (h * w).tanh()
        (h * h).sum().backward()
        h.detach_()
    assert w.grad is not None
    assert not h.requires_grad
    if lib is tg:
        assert not tg.current_tape().detached


def test_leaves_are_detached(lib: Any) -> None:
    x = lib.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    x.detach_()
    assert not x.requires_grad
    y.backward()


def test_a_pass_does_not_go_through_detach() -> None:
    """What is below may be freed, or written."""
    x, w = (tg.tensor(v, requires_grad=True) for v in ([0.5, 1.0], [3.0, 4.0]))
    loss = x.tanh().sum()
    loss.backward()
    d = loss.detach()
    d.add_(w.sum())
    d.backward()
    assert w.grad.tolist() == [1.0, 1.0]
    y = x.exp()
    d = y.detach()
    d.mul_(w)
    (d.sum() + x.sum()).backward()
    assert w.grad.tolist() == pytest.approx([1.0 + math.exp(0.5), 1.0 + math.exp(1.0)])
