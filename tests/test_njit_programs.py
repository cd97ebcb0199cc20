"""Numerical programs under `tg.njit`: gradients and Hessian-vector products, against PyTorch's."""

from __future__ import annotations

import njit_programs
import numpy as np
import pytest
from njit_programs import PROGRAMS

import tapegrad as tg

# Recursion and helpers are called by name: there they are compiled, too.
COMPILED = {
    name: tg.njit(getattr(njit_programs, name))
    for name in ("power", "n_body")
}  # fmt: skip


@pytest.fixture(autouse=True)
def _compiled_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, function in COMPILED.items():
        monkeypatch.setattr(njit_programs, name, function)


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradient_and_hessian_vector_product(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    program = PROGRAMS[name]
    rng = np.random.default_rng(1)
    direction = [rng.normal(size=x.shape) for x in program.active]
    function = tg.njit(program.function)
    leaves = [tg.tensor(x, requires_grad=True) for x in program.active]
    value = function(*leaves, *program.passive)
    gradients = tg.autograd.grad(value, leaves, create_graph=True)
    product = sum((g * tg.tensor(d)).sum() for g, d in zip(gradients, direction, strict=True))
    second = tg.autograd.grad(product, leaves, allow_unused=True)
    with monkeypatch.context() as m:
        for helper, compiled in COMPILED.items():
            m.setattr(njit_programs, helper, compiled.py_func)
        expected = njit_programs.through_torch(program, direction)
        plain = program.function(*[x.copy() for x in program.active], *program.passive)
    assert value.item() == pytest.approx(plain, rel=1e-12)
    assert value.item() == pytest.approx(expected[2], rel=1e-12)
    for own, theirs in zip(gradients, expected[0], strict=True):
        np.testing.assert_allclose(own.detach().numpy(), theirs, rtol=1e-9, atol=1e-11)
    for own, theirs in zip(second, expected[1], strict=True):
        found = np.zeros_like(theirs) if own is None else own.numpy()
        np.testing.assert_allclose(found, theirs, rtol=1e-8, atol=1e-10)
    # The first-order sweep and the recorded one agree.
    swept = tg.autograd.grad(function(*leaves, *program.passive), leaves)
    for one, other in zip(swept, gradients, strict=True):
        np.testing.assert_allclose(one.numpy(), other.detach().numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["newton", "lotka_volterra"])
def test_third_derivatives(name: str) -> None:
    program = PROGRAMS[name]
    function = tg.njit(program.function)

    def along(t: tg.Tensor) -> tg.Tensor:
        return function(tg.tensor(program.active[0]) * (1 + t), *program.passive)

    def derivative(t: float, order: int) -> float:
        x = tg.tensor(t, requires_grad=True)
        y = along(x)
        for _ in range(order):
            (y,) = tg.autograd.grad(y, x, create_graph=True)
        return y.item()

    h = 1e-4
    for order in (1, 2, 3):
        below, above = derivative(-h, order - 1), derivative(h, order - 1)
        assert derivative(0.0, order) == pytest.approx((above - below) / (2 * h), rel=1e-5)
