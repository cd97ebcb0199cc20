"""Simplified tapes: memory that is written in place, and statements that were recorded without gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

X = np.array([0.5, -2.0, 3.0])


def negated_before_a_write(x: Any) -> Any:
    y = x.clone()
    a = -y
    y[0] = 5.0
    return -a * x, y


def ones_that_were_added_to(x: Any) -> Any:
    y = tg.ones(()).clone()
    y.add_(2.0)
    return x * y.clone()


def ones_that_were_written_through_a_view(x: Any) -> Any:
    y = tg.ones(()).expand(3).clone()
    y[1:].mul_(4.0)
    z = y.clone()
    return x * z, x / z


def read_twice(x: Any) -> Any:
    y = x * 2
    a, b = y.exp(), y.exp()
    y.view(3)[1] = 1.0
    return a, b, y.exp(), y[:2].exp(), y[:2].exp()


WRITES: list[Callable[[Any], Any]] = [
    negated_before_a_write, ones_that_were_added_to, ones_that_were_written_through_a_view, read_twice,
]  # fmt: skip


def arrays(results: Any) -> list[np.ndarray]:
    parts = results if isinstance(results, tuple) else (results,)
    return [x.detach().numpy() if isinstance(x, tg.Tensor) else x for x in parts]


@pytest.mark.parametrize("f", WRITES)
def test_memory_that_is_written_is_not_what_it_was(f: Callable[[Any], Any]) -> None:
    expected = arrays(f(tg.tensor(X)))
    for program in (tg.trace(f)(X).simplified(), tg.jit(f)):
        for a, b in zip(arrays(program(X)), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-15)

    def loss(x: Any) -> Any:
        parts = f(x)
        parts = parts if isinstance(parts, tuple) else (parts,)
        return sum((y * (i + 1)).sum() for i, y in enumerate(parts))

    gradient = tg.grad(loss)(tg.tensor(X)).numpy()
    np.testing.assert_allclose(tg.jit(tg.grad(loss))(X), gradient, rtol=1e-12)
    for tape in (
        tg.trace(loss)(X).simplified().gradient(),
        tg.trace(loss)(X).gradient().simplified(),
    ):
        np.testing.assert_allclose(tape(X)[1].numpy(), gradient, rtol=1e-12)


ISLANDS: dict[str, Callable[[Any], Any]] = {
    "divided by one": lambda x: x / 1.0,
    "cloned": lambda x: x.clone(),
    "negated twice": lambda x: x.neg().neg(),
    "viewed": lambda x: x.view(3),
    "multiplied": lambda x: x * 2,
}


@pytest.mark.parametrize("name", ISLANDS)
def test_what_was_recorded_without_gradients_has_none(name: str) -> None:
    def loss(x: Any) -> Any:
        with tg.no_grad():
            y = ISLANDS[name](x)
        return (x * y).sum()

    tape = tg.trace(loss)(X)
    expected = ISLANDS[name](tg.tensor(X)).numpy()
    for gradient in (tape.simplified().gradient(), tape.gradient().simplified()):
        np.testing.assert_array_equal(gradient(X)[1].numpy(), expected)
    np.testing.assert_array_equal(tg.jit(tg.grad(loss))(X), expected)


def test_functions_of_numbers_are_those_of_the_kernels() -> None:
    """Same results to the bit: NumPy's functions differ in the last one."""

    def f(x: Any) -> Any:
        numbers = [tg.tensor(0.1 * i) for i in range(40)]
        return x, [g(y) for y in numbers for g in (tg.sin, tg.cos, tg.exp, tg.tanh)]

    tape = tg.trace(f)(X)
    found, expected = tape.simplified()(X)[1], f(tg.tensor(X))[1]
    assert [y.item() for y in found] == [y.item() for y in expected]


def test_a_negation_of_what_was_negated_without_gradients() -> None:
    def loss(x: Any) -> Any:
        with tg.no_grad():
            y = -x
        return (x * -y).sum()

    np.testing.assert_array_equal(tg.trace(loss)(X).simplified().gradient()(X)[1].numpy(), X)
