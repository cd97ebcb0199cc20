"""Assigning to ``data``: what a tensor keeps when it gets another value."""

from __future__ import annotations

from typing import Any

import pytest

import tapegrad as tg


def _libraries() -> list[Any]:
    try:
        import torch
    except ImportError:
        return [tg]
    return [tg, torch]


@pytest.mark.parametrize("lib", _libraries(), ids=lambda lib: lib.__name__)
def test_the_version_counter_stays(lib: Any) -> None:
    x = lib.tensor([1.0, 2.0])
    x.add_(1).add_(1)
    y = lib.tensor([7.0, 8.0])
    y.add_(1)
    x.data = y
    assert x._version == 2
    assert x.tolist() == [8, 9]
    x.mul_(2)
    assert x._version == 3
    leaf = lib.tensor([1.0, 2.0], requires_grad=True)
    with lib.no_grad():
        leaf.mul_(3)
    leaf.data = lib.tensor([5.0, 6.0, 7.0])
    assert leaf._version == 1
    (leaf * leaf).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [10, 12, 14]


@pytest.mark.parametrize("lib", _libraries(), ids=lambda lib: lib.__name__)
def test_a_result_keeps_its_graph(lib: Any) -> None:
    x = lib.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    y.add_(1)
    y.data = lib.tensor([5.0, 6.0])
    assert y.requires_grad
    assert not y.is_leaf
    assert y._version == 1
    assert y.tolist() == [5, 6]
    (y * y).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [30, 36]


@pytest.mark.parametrize("lib", _libraries(), ids=lambda lib: lib.__name__)
def test_hooks_and_gradient_stay(lib: Any) -> None:
    x = lib.tensor([1.0, 2.0], requires_grad=True)
    x.register_hook(lambda g: g * 10)
    x.sum().backward()
    x.data = lib.tensor([3.0, 4.0])
    (x * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [70, 90]


def test_a_result_of_another_shape_is_refused() -> None:
    y = tg.ones(2, requires_grad=True) * 2
    with pytest.raises(tg.UnsupportedError, match="assign to the data of leaves"):
        y.data = tg.ones(3)


@pytest.mark.parametrize("lib", _libraries(), ids=lambda lib: lib.__name__)
def test_numpy_is_allowed_without_grad(lib: Any) -> None:
    x = lib.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="Can't call numpy"):
        x.numpy()
    with lib.no_grad():
        array = x.numpy()
        array[0] = 5.0
    assert x.tolist() == [5, 2]


# --------------------------------------------------------------------------- leaves in a graph
def test_data_given_to_a_leaf_in_a_graph() -> None:
    """Gradients reach the leaf through what was computed before, with the values it was computed with."""
    a = tg.tensor([1.0, 2.0], requires_grad=True)
    y = a * a
    a.data = a.data * 2
    z = a * a
    loss = (y + z).sum()
    want = [2.0 + 4.0, 4.0 + 8.0]
    assert tg.autograd.grad(loss, a, retain_graph=True)[0].tolist() == want
    (g,) = tg.autograd.grad(loss, a, create_graph=True)
    assert tg.autograd.grad(g.sum(), a)[0].tolist() == [4.0, 4.0]
    loss.backward(inputs=[a], retain_graph=True)
    loss.backward()
    assert a.grad.tolist() == [2 * v for v in want]
    for _ in range(300):
        loss = (a * a).sum()
        (g,) = tg.autograd.grad(loss, a)
        a.data = a.data - 0.01 * g
    assert len(a._meta.earlier if hasattr(a._meta, "earlier") else []) <= 1


def test_only_what_was_computed_before_is_differentiated() -> None:
    a = tg.tensor([1.0, 2.0], requires_grad=True)
    y = a * 3
    a.data = tg.tensor([1.0, 1.0])
    y.sum().backward()
    assert a.grad.tolist() == [3.0, 3.0]
    with pytest.raises(RuntimeError, match="to not have been used"):
        tg.autograd.grad(tg.ones(2, requires_grad=True).sum(), a)


def test_data_of_another_shape_for_a_leaf_in_a_graph() -> None:
    a = tg.tensor([1.0, 2.0], requires_grad=True)
    y = a * a
    with pytest.raises(tg.UnsupportedError, match="something was computed"):
        a.data = tg.ones(3)
    assert a.tolist() == [1.0, 2.0]
    del y
    a.data = tg.ones(3)
    (a * a).sum().backward()
    assert a.grad.tolist() == [2.0, 2.0, 2.0]


def test_a_leaf_that_required_grad_before_and_does_again() -> None:
    a = tg.tensor([1.0, 2.0], requires_grad=True)
    y = a * 3
    a.requires_grad_(False)
    a.requires_grad_(True)
    assert tg.autograd.grad((y + a).sum(), a, retain_graph=True)[0].tolist() == [4.0, 4.0]
    (y + a).sum().backward()
    assert a.grad.tolist() == [4.0, 4.0]
