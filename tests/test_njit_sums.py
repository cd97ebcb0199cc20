"""Sums of products under `njit` are array statements: one for a dot product, a matrix product or a sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

RANDOM = np.random.default_rng(5)


@tg.njit
def matmul(a, b):  # type: ignore[no-untyped-def]
    return a @ b


@tg.njit
def outer(a, b):  # type: ignore[no-untyped-def]
    return np.outer(a, b)


@tg.njit
def total(a):  # type: ignore[no-untyped-def]
    return np.sum(a)


@tg.njit
def down(a):  # type: ignore[no-untyped-def]
    return np.sum(a, axis=0)


@tg.njit
def means(a):  # type: ignore[no-untyped-def]
    return np.mean(a, axis=1)


def recorded(native: Any, *args: Any) -> int:
    """Statements that a call records, without its inputs."""
    before = native.recorded
    native(*args)
    return int(native.recorded - before) - sum(x.numel() for x in args)


def leaf(*shape: int) -> tg.Tensor:
    return tg.tensor(RANDOM.normal(size=shape), requires_grad=True)


def grads(y: tg.Tensor, wrt: list[tg.Tensor], weights: tg.Tensor) -> list[Any]:
    """First and second derivatives."""
    first = tg.autograd.grad((y.sin() * weights).sum(), wrt, create_graph=True)
    second = tg.autograd.grad(sum((g.cos() * g).sum() for g in first), wrt, retain_graph=True)
    return [x.tolist() for x in (*first, *second)]


def agree(
    function: Callable[..., Any], plain: Callable[..., Any], *shapes: tuple[int, ...]
) -> None:
    """Compare with Tensor code, for each choice of active arguments."""
    for chosen in range(1, 1 << len(shapes)):
        args = [
            leaf(*shape).requires_grad_(bool(chosen >> i & 1)) for i, shape in enumerate(shapes)
        ]
        wrt = [x for x in args if x.requires_grad]
        found, wanted = function(*args), plain(*args)
        np.testing.assert_allclose(found.tolist(), wanted.tolist(), 1e-12)
        ones = tg.ones_like(wanted)
        one = ones.clone()
        if wanted.ndim:  # the others are untouched
            one.zero_()
            one.view(-1)[-1] = 2.0
        for weights in (ones, one):
            for x, y in zip(grads(found, wrt, weights), grads(wanted, wrt, weights), strict=True):
                np.testing.assert_allclose(x, y, 1e-10, 1e-12)


@pytest.mark.parametrize(
    "shapes", [((4,), (4,)), ((3, 4), (4,)), ((3,), (3, 4)), ((3, 4), (4, 2)), ((1, 1), (1, 5))]
)
def test_products(shapes: tuple[tuple[int, ...], ...]) -> None:
    agree(matmul, lambda a, b: a @ b, *shapes)


def test_outer_products() -> None:
    agree(outer, lambda a, b: a[:, None] * b[None, :], (3,), (4,))


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
def test_sums(shape: tuple[int, ...]) -> None:
    agree(total, lambda a: a.sum(), shape)


def test_sums_along_an_axis() -> None:
    agree(down, lambda a: a.sum(0), (3, 4))
    agree(means, lambda a: a.mean(1), (3, 4))


def test_one_result_takes_one_statement() -> None:
    a, b = leaf(7, 9), leaf(9, 5)
    assert recorded(matmul, a, b) == 7 * 5
    assert recorded(total, a) == 7 + 1
    assert recorded(matmul, a[0], b) == 5


@tg.njit
def irregular(x, w):  # type: ignore[no-untyped-def]
    y = np.zeros((2, 3))
    for i in range(2):
        for j in range(3):
            if (i + j) % 2 == 0:
                y[i, j] = np.sin(x[j]) * x[i]  # other numbers of statements between them
            elif j == 1:
                y[i, j] = x[2]
    y[1, 2] = 4.0  # passive
    return y @ w, np.sum(y), np.dot(y[:, 1], x[:2])


def test_numbers_in_no_regular_steps() -> None:
    x, w = leaf(3), leaf(3)
    y = tg.stack([
        tg.stack([x[0].sin() * x[0], x[2], x[2].sin() * x[0]]),
        tg.stack([tg.tensor(0.0), x[1].sin() * x[1], tg.tensor(4.0)]),
    ])  # fmt: skip
    wanted = y @ w, y.sum(), (y[:, 1] * x[:2]).sum()
    for found, want in zip(irregular(x, w), wanted, strict=True):
        own = tg.ones_like(want)
        wrt = [x, w] if want is wanted[0] else [x]
        for p, q in zip(grads(found, wrt, own), grads(want, wrt, own), strict=True):
            np.testing.assert_allclose(p, q, 1e-10, 1e-12)


@tg.njit
def views(a):  # type: ignore[no-untyped-def]
    return a.T @ a[:, 1:3], a[::-1, ::2] @ a[:2].T[::2], np.dot(a[0], a[0])


def test_views_and_operands_that_are_the_same() -> None:
    a = leaf(2, 4)
    wanted = a.T @ a[:, 1:3], a.flip(0)[:, ::2] @ a[:2].T[::2], (a[0] * a[0]).sum()
    for found, want in zip(views(a), wanted, strict=True):
        own = tg.ones_like(want)
        for p, q in zip(grads(found, [a], own), grads(want, [a], own), strict=True):
            np.testing.assert_allclose(p, q, 1e-10, 1e-12)


def test_integers_and_float32() -> None:
    a = leaf(3, 4)
    for dtype in (np.int64, np.float32, np.bool_):
        b = np.arange(8).reshape(4, 2).astype(dtype)
        want = a.detach() @ tg.tensor(b.astype(np.float64))
        np.testing.assert_allclose(matmul(a, b).tolist(), want.tolist(), 1e-12)


def test_nothing_to_add_up() -> None:
    a, b = leaf(3, 0), leaf(0, 2)
    assert matmul(a, b).tolist() == [[0.0, 0.0]] * 3
    assert total(leaf(0)).item() == 0.0
    assert down(leaf(0, 3)).tolist() == [0.0] * 3
    assert matmul(leaf(0, 3), leaf(3, 2)).shape == (0, 2)


def test_sizes_that_do_not_fit() -> None:
    tape = tg.current_tape()
    a, b = leaf(3, 4), leaf(3, 2)
    a.sum().item(), b.sum().item()
    before = len(tape)
    with pytest.raises(ValueError, match="incompatible array sizes"):
        matmul(a, b)
    assert len(tape) == before


@tg.njit
def corner(a, b):  # type: ignore[no-untyped-def]
    return (a @ b)[0, 0]


def test_what_is_not_reached_adds_nothing_however_large_it_is() -> None:
    a = tg.tensor([[1.0, 2.0], [np.inf, 3.0]], requires_grad=True)
    b = tg.tensor([[1.0], [2.0]], requires_grad=True)
    (g,) = tg.autograd.grad(corner(a, b), b, create_graph=True)
    assert g.tolist() == [[1.0], [2.0]]
    (h,) = tg.autograd.grad((g * g).sum(), a)
    assert h.tolist() == [[2.0, 4.0], [0.0, 0.0]]


@tg.njit
def layers(x, w, n):  # type: ignore[no-untyped-def]
    for _ in range(n):
        x = np.tanh(w @ x) + 0.1 * x
    return np.dot(x, x) / np.sum(x)


def test_in_a_loop_with_other_statements() -> None:
    x, w = leaf(4), leaf(4, 4)
    z = x
    for _ in range(5):
        z = (w @ z).tanh() + 0.1 * z
    want, one = (z * z).sum() / z.sum(), tg.tensor(1.0)
    for p, q in zip(grads(layers(x, w, 5), [x, w], one), grads(want, [x, w], one), strict=True):
        np.testing.assert_allclose(p, q, 1e-9, 1e-12)


@tg.njit
def two(a):  # type: ignore[no-untyped-def]
    u = a[0] * a[1]
    v = a[2] * a[0]
    return u, v


def test_a_second_derivative_beside_an_infinite_one() -> None:
    """The sweep that looks for what is reached starts from all cotangents, not only from results'."""
    a = tg.tensor([1.0, 2.0, np.inf], requires_grad=True)
    (g,) = tg.autograd.grad(two(a)[0], a, create_graph=True)
    (h,) = tg.autograd.grad((g * g)[:2].sum(), a)
    assert h.tolist() == [2.0, 4.0, 0.0]
