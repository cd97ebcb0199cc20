"""What transforms of functions allow, and PyTorch's ``torch.func`` refuses or gets partly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad import func
from tapegrad.autograd import functional
from tapegrad.autograd.graph import save_on_cpu, saved_tensors_hooks

X = [0.5, 1.0, 2.0]
SIN, COS = np.sin(X), np.cos(X)
NAMES = ["grad", "grad_and_value", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "linearize"]


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-14)


def check_sine(f: Callable[[Any], Any], name: str) -> None:
    """Check a transform of a function that is the sum of the sines."""
    x, v = tg.tensor(X), tg.tensor([1.0, 2.0, 3.0])
    if name == "grad_and_value":
        gradient, value = func.grad_and_value(f)(x)
        close(gradient, COS)
        close(value, SIN.sum())
    elif name == "vjp":
        close(func.vjp(f, x)[1](tg.tensor(2.0))[0], 2 * COS)
    elif name == "jvp":
        close(func.jvp(f, (x,), (v,))[1], COS @ [1, 2, 3])
    elif name == "linearize":
        close(func.linearize(f, x)[1](v), COS @ [1, 2, 3])
    else:
        close(getattr(func, name)(f)(x), -np.diag(SIN) if name == "hessian" else COS)


class Sine(tg.autograd.Function):
    """With a `forward` that takes the context, for which PyTorch has no transforms."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, gy: Any) -> Any:
        (x,) = ctx.saved_tensors
        return gy * x.cos()


@pytest.mark.parametrize("name", NAMES)
def test_functions_whose_forward_takes_the_context(name: str) -> None:
    check_sine(lambda x: Sine.apply(x).sum(), name)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_hooks_for_saved_tensors(name: str, inside: bool) -> None:
    packed: list[int] = []

    def keep(x: Any) -> Any:
        packed.append(1)
        return x

    def f(x: Any) -> Any:
        if not inside:
            return x.sin().sum()
        with saved_tensors_hooks(keep, lambda x: x), save_on_cpu():
            return x.sin().sum()

    if inside:
        check_sine(f, name)
    else:
        with saved_tensors_hooks(keep, lambda x: x):
            check_sine(f, name)
    assert packed


def inner_derivatives(x: Any) -> Any:
    """Derivatives of the sines by ``autograd.functional``, as numbers of x."""
    ones = tg.ones_like(x)
    _, along = functional.jvp(tg.sin, x, ones, create_graph=True)
    _, back = functional.vjp(tg.sin, x, ones, create_graph=True)
    whole = functional.jacobian(tg.sin, x, create_graph=True)
    return along + 2 * back + 3 * whole.diagonal()


def test_autograd_functional_inside() -> None:
    close(inner_derivatives(tg.tensor(X)), 6 * COS)
    close(func.vmap(inner_derivatives)(tg.tensor([X, X])), [6 * COS] * 2)
    close(func.grad(lambda x: inner_derivatives(x).sum())(tg.tensor(X)), -6 * SIN)
    close(func.jacfwd(inner_derivatives)(tg.tensor(X)), np.diag(-6 * SIN))


def test_shapes_that_depend_on_values_in_many_rows_at_once() -> None:
    class Through(tg.autograd.Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return x * 1

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, gy: Any) -> Any:
            return gy * gy.nonzero().shape[0]

    for size in (None, 1, 2):
        found = func.jacrev(Through.apply, chunk_size=size)(tg.tensor(X))
        assert found.tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def test_printing_inside_shows_the_tensor() -> None:
    shown: list[str] = []
    func.grad(lambda x: shown.append(repr(x.detach())) or x.sum())(tg.tensor([1.0, 2.0]))
    func.vmap(lambda x: shown.append(repr(x)) or x)(tg.tensor([[1.0], [2.0]]))
    assert shown[0] == "tensor([1., 2.])"
    assert shown[-2:] == ["tensor([1.])", "tensor([2.])"]


@pytest.mark.parametrize("name", ["vjp", "linearize"])
def test_products_taken_under_no_grad_are_differentiated_later(name: str) -> None:
    """To the end: PyTorch differentiates what was saved as it came, and nothing computed before."""
    x = tg.tensor(3.0, requires_grad=True)

    def product(f: Callable[[Any], Any]) -> Any:
        with tg.no_grad():
            value, push = getattr(func, name)(f, x)
            quiet = push(tg.tensor(1.0))
        assert not value.requires_grad
        assert not (quiet[0] if name == "vjp" else quiet).requires_grad
        loud = push(tg.tensor(1.0))
        return loud[0] if name == "vjp" else loud

    for f, first, second in (
        (lambda x: x**2, 6.0, 2.0),
        (lambda x: (2 * x) ** 2, 24.0, 8.0),
        (
            lambda x: x * x.sin(),
            math.sin(3) + 3 * math.cos(3),
            2 * math.cos(3) - 3 * math.sin(3),
        ),
    ):
        y = product(f)
        close(y, first)
        close(tg.autograd.grad(y, x)[0], second)
        passive = func.vjp(f, x.detach())[1](tg.tensor(1.0))[0]
        assert not passive.requires_grad
