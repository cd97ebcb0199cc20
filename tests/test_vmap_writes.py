"""Writes in place inside of `vmap`: the graph around it has them as writes, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tapegrad as tg
from tapegrad import func


def doubled_first(x: Any) -> Any:
    y = x * 1.0
    y[0].mul_(2.0)
    return y


def doubled_view(x: Any) -> Any:
    y = x * 1.0
    v = y[::2]
    y.mul_(2.0)
    return v


def through_all(x: Any) -> Any:
    y = x * 1.0
    y[:].mul_(2.0)
    return y


CASES = {
    "a view is written": (doubled_first, [2, 1, 1]),
    "the base of a view is written": (doubled_view, [2, 0, 2]),
    "a view of all is written": (through_all, [2, 2, 2]),
}


@pytest.mark.parametrize("name", CASES)
def test_results_that_were_written_are_roots(name: str) -> None:
    function, one = CASES[name]
    rows = [one, one]
    x = tg.ones(2, 3, requires_grad=True)
    for _ in range(2):
        y = func.vmap(function)(x)
        ones = tg.ones_like(y)
        assert tg.autograd.grad(y, x, ones, retain_graph=True)[0].tolist() == rows
        assert tg.autograd.grad(y, x, ones, create_graph=True)[0].tolist() == rows
        many = tg.ones(2, *y.shape)
        found = tg.autograd.grad(y, x, many, is_grads_batched=True, retain_graph=True)
        assert found[0].tolist() == [rows, rows]
        x.grad = None
        y.backward(ones)
        assert x.grad.tolist() == rows
    values, pull = func.vjp(func.vmap(function), tg.ones(2, 3))
    assert pull(tg.ones_like(values))[0].tolist() == rows
    for jacobian in (func.jacrev, func.jacfwd):
        assert jacobian(func.vmap(function))(tg.ones(2, 3)).sum().item() == 2 * sum(one)


def test_hooks_on_results_that_were_written() -> None:
    x = tg.ones(2, 3, requires_grad=True)
    y = func.vmap(doubled_first)(x)
    assert y.grad_fn.name() == "CopySlices"
    seen: list[Any] = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.backward(tg.ones(2, 3))
    assert seen == [[[1, 1, 1], [1, 1, 1]]]
    assert x.grad.tolist() == [[2, 1, 1], [2, 1, 1]]


@pytest.mark.parametrize(
    "write", [lambda y: y[0].mul_(2.0), lambda y: y[:].mul_(2.0), lambda y: y.add_(1.0)]
)
@pytest.mark.parametrize("end", [lambda y: y, lambda y: y.sum(), lambda y: y * 2])
def test_a_residual_that_was_written_is_an_error(
    write: Callable[[Any], Any], end: Callable[[Any], Any]
) -> None:
    def function(x: Any) -> Any:
        y = x.exp()
        write(y)
        return end(y)

    x = tg.full((2, 3), 0.5, requires_grad=True)
    for _ in range(2):
        y = func.vmap(function)(x)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            tg.autograd.grad(y, x, tg.ones_like(y))


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("make", [lambda x: tg.zeros_like(x[0]), lambda x: tg.tensor(0.0)])
def test_a_number_that_is_written_is_no_other_number(
    make: Callable[[Any], Any], times: int
) -> None:
    """Zeros that a function fills are not the zero that it multiplies by."""

    def function(x: Any) -> tuple[Any, Any]:
        nothing, filled = x[0] * 0.0, make(x)
        filled.fill_(0.4)
        filled.mul_(2.0)
        return nothing + x[1] * 0.4, filled + x[2] * 2.0

    x = tg.arange(6.0).reshape(2, 3)
    expected = [tg.stack(results) for results in zip(*map(function, x), strict=True)]
    for transform in (tg.vmap, lambda f: tg.vmap(tg.jit(f)), lambda f: tg.jit(tg.vmap(f))):
        mapped = transform(function)
        for _ in range(times):
            assert [r.tolist() for r in mapped(x)] == [e.tolist() for e in expected]
