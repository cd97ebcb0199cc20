"""Results may be written to: a number that statements share keeps its value, whatever is done to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg


class Doubled(tg.autograd.Function):
    """Writes to the gradient that it gets."""

    write: Callable[[Any], object]

    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        return a * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        Doubled.write(g)
        return g


#: ways to write to a gradient of one element
WRITES = {
    "in place": lambda g: g.mul_(5),
    "through a view": lambda g: g.view(-1).mul_(5),
    "through detach": lambda g: g.detach().mul_(5),
    "through data": lambda g: g.data.fill_(9),
    "through NumPy": lambda g: g.detach().numpy().fill(7),
    "by an index": lambda g: g[None][0].add_(1),
}


def _retained(h: Any) -> Any:
    m = h * 2
    m.retain_grad()
    m.backward(create_graph=True)
    return m.grad


#: gradients that are a plain number, or a view of one
GRADIENTS = {
    "recorded": lambda x: tg.autograd.grad(x.sum(), x, create_graph=True)[0],
    "recorded product": lambda x: tg.autograd.grad(x * 1, x, create_graph=True)[0],
    "recorded zero": lambda x: tg.autograd.grad(tg.sign(x), x, create_graph=True)[0],
    "of itself": lambda x: tg.autograd.grad(x, x, create_graph=True)[0],
    "swept": lambda x: tg.autograd.grad(x.sum(), x)[0],
    "value_and_grad": lambda x: tg.value_and_grad(lambda t: t * 1)(x.detach())[1],
    "func.grad": lambda x: tg.func.grad(lambda t: t.sum())(x.detach()),
    "jvp": lambda x: tg.func.jvp(lambda t: t.sum(), (x.detach(),), (tg.tensor(1.0),))[1],
    "hessian": lambda x: tg.func.hessian(lambda t: t.sum())(x.detach()),
    "retained": _retained,
    "vector": lambda x: tg.autograd.grad(x.view(1), x, create_graph=True)[0],
}


def check_numbers() -> None:
    """Statements and passes that use 1 and 0 give what they should."""
    y = tg.tensor(2.0, requires_grad=True)
    (g,) = tg.autograd.grad((y * 3).sum(), y, create_graph=True)
    assert g.item() == 3.0
    z = tg.tensor([2.0, 3.0], requires_grad=True)
    (g,) = tg.autograd.grad((z * 0).sum(), z, create_graph=True)
    assert g.tolist() == [0.0, 0.0]
    one = tg.tensor([4.0], requires_grad=True)
    (g,) = tg.autograd.grad(one, one)
    assert g.tolist() == [1.0]
    assert (tg.tensor(1.0) * 1.0 + 0.0).item() == 1.0


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_gradient_that_is_written_to_changes_no_number(gradient: str, write: str) -> None:
    x = tg.tensor(2.0, requires_grad=True)
    g = GRADIENTS[gradient](x)
    with tg.no_grad():
        WRITES[write](g)
    check_numbers()


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_and_functions_may_write_to_gradients(create_graph: bool, write: str) -> None:
    def hook(g: Any) -> None:
        WRITES[write](g)

    x = tg.tensor(2.0, requires_grad=True)
    x.register_hook(hook)
    tg.autograd.grad(x.sum(), x, create_graph=create_graph)
    check_numbers()
    Doubled.write = staticmethod(WRITES[write])
    y = tg.tensor(2.0, requires_grad=True)
    tg.autograd.grad(Doubled.apply(y), y, create_graph=create_graph)
    check_numbers()


def test_seeds_are_not_shared_with_results() -> None:
    for _ in range(2):
        u = tg.tensor([2.0], requires_grad=True)
        (g,) = tg.autograd.grad(u, u, create_graph=True)
        np.testing.assert_array_equal(g.numpy(), [1.0])
        g[0].mul_(5)


def test_minus_zero_is_another_option_than_zero() -> None:
    x = tg.tensor([-1.0, 2.0])
    for slope, sign in ((0.0, -1.0), (-0.0, 1.0), (0.0, -1.0)):
        y = tg.leaky_relu(x, slope)
        assert math.copysign(1, y[0].item()) == sign
        assert math.copysign(1, (x * x * slope)[1].item()) == math.copysign(1, slope)
        assert math.copysign(1, tg.full((2,), slope)[0].item()) == math.copysign(1, slope)
