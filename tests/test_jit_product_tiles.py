"""Products that share a long range run tile by tile: values and derivatives beside the same without tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.jit_compiler import compiled_tape, product_ranges, product_tiles
from tapegrad.jit_compiler.loops import Call, Loop, computes

D, C = 5, 3


def with_short_ranges(patch: pytest.MonkeyPatch) -> None:
    """Cut short ranges into short tiles."""
    for module, name, value in (
        (product_ranges, "LONG", 20), (product_ranges, "LARGE", 1),
        (product_tiles, "MOST", 16), (product_tiles, "LEAST", 8),
    ):  # fmt: skip
        patch.setattr(module, name, value)


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Short tiles of short ranges; for each program the largest number of products in a loop over tiles."""
    found: list[int] = []

    def noted(nodes: Any) -> Any:
        result = product_tiles.with_product_tiles(nodes)
        found.append(max([products(x) for x in result], default=0))
        return result

    with_short_ranges(monkeypatch)
    monkeypatch.setattr(compiled_tape, "with_product_tiles", noted)
    return found


def products(node: Any) -> int:
    """Calls of products in a loop."""
    return sum(isinstance(c, Call) for c in computes(node)) if isinstance(node, Loop) else 0


def arguments(n: int, kind: Any = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(n)
    shapes = (n, D), (D, C), (C,), (n,), (n, C)
    return [rng.uniform(-1, 1, s).astype(kind) for s in shapes]


def check(f: Callable[..., Any], given: list[np.ndarray], tolerance: float = 1e-12) -> None:
    """Value and gradients with jit as without."""
    which = tuple(range(len(given)))
    both = tg.value_and_grad(f, which)
    value, gradients = both(*map(tg.tensor, given))
    found, jitted = tg.jit(both)(*given)
    for x, y in zip((found, *jitted), (value, *gradients), strict=True):
        np.testing.assert_allclose(x, y.numpy(), rtol=tolerance, atol=tolerance)


def logistic(x: Any, w: Any, b: Any, v: Any, t: Any) -> Any:
    return tg.log1p(tg.exp(-v * (x @ w[:, 0] + b[0]))).mean()


def softmax(x: Any, w: Any, b: Any, v: Any, t: Any) -> Any:
    z = x @ w + b
    return (tg.logsumexp(z, 1) - (z * t).sum(1)).mean()


def columns(x: Any, w: Any, b: Any, v: Any, t: Any) -> Any:
    """The range is the last axis of what passes."""
    z = (w.T @ x.T).tanh() * v
    return ((w @ z) * x.T).sum() + (z * t.T).amax()


def layers(x: Any, w: Any, b: Any, v: Any, t: Any) -> Any:
    h = (x @ w + b).tanh()
    return (((h @ w.T).sigmoid() @ w - t) ** 2).sum(1) @ v


def gram(x: Any, w: Any, b: Any, v: Any, t: Any) -> Any:
    z = x @ w
    return ((z.T @ z) * (z.T @ t)).sum() + (x.T @ (v * z[:, 0])).prod()


def parts(x: Any, w: Any, b: Any, v: Any, t: Any) -> Any:
    z = (x @ w).flip(0)
    y = z[:, 1:] * t[:, :2]
    return (y.T @ x).exp().sum() + (z.flip(1) * (x[:, :3] @ w[:3])).sum()


def masked(x: Any, w: Any, b: Any, v: Any, t: Any) -> Any:
    z = x @ w
    kept = tg.where((z > 0) & (t < 0.5), z * t, b)
    return (kept.T @ x).abs().sum() + (kept.amax(1) * v).sum()


def in_phases(x: Any, w: Any, b: Any, v: Any, t: Any) -> Any:
    """What is behind the mean cannot be done with what is before it."""
    z = x @ w
    y = (z - z.mean(0)) / (z.var(0) + 0.1).sqrt()
    return ((y @ w.T - x) ** 2).mean() + (x.T @ y).sum()


PROGRAMS = [logistic, softmax, columns, layers, gram, parts, masked, in_phases]


@pytest.mark.parametrize("n", [32, 48, 53, 37, 21])
@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
def test_products_in_tiles(f: Callable[..., Any], n: int, cuts: list[int]) -> None:
    """Where tiles fit the range, and where there is a rest."""
    check(f, arguments(n))
    assert max(cuts) >= 2


@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
def test_single_precision(f: Callable[..., Any], cuts: list[int]) -> None:
    check(f, arguments(45, np.float32), 2e-4)
    assert max(cuts) >= 2 or f is logistic  # exp has no code in single precision: it is called


@pytest.mark.parametrize("f", [logistic, softmax, columns, layers], ids=lambda f: f.__name__)
def test_higher_orders_and_slices(f: Callable[..., Any], cuts: list[int]) -> None:
    x, w, b, v, t = arguments(45)
    along = np.linspace(-1, 1, w.size).reshape(w.shape)

    def product(x: Any, w: Any, along: Any) -> Any:
        of_w = tg.func.grad(lambda w: f(x, w, tg.tensor(b), tg.tensor(v), tg.tensor(t)))
        return tg.func.jvp(of_w, (w,), (along,))[1]

    wanted = product(*map(tg.tensor, (x, w, along)))
    np.testing.assert_allclose(tg.jit(product)(x, w, along), wanted.numpy(), rtol=1e-11, atol=1e-11)
    several = np.stack([w, 2 * w, along])
    mapped = tg.vmap(tg.func.grad(lambda w, x: f(x, w, *map(tg.tensor, (b, v, t)))), (0, None))
    wanted = mapped(tg.tensor(several), tg.tensor(x))
    np.testing.assert_allclose(tg.jit(mapped)(several, x), wanted.numpy(), rtol=1e-11, atol=1e-11)


def test_results_along_the_range_are_whole(cuts: list[int]) -> None:
    """What is returned, or used elsewhere, stays where it is."""

    def f(x: Any, w: Any, t: Any) -> Any:
        z = (x @ w).tanh()
        back = z.T @ t
        return z, (z * t).sum(1), back, w.T @ x.T, z[::2].sum()

    x, w, _, _, t = arguments(53)
    for found, right in zip(tg.jit(f)(x, w, t), f(*map(tg.tensor, (x, w, t))), strict=True):
        np.testing.assert_allclose(found, right.numpy(), rtol=1e-13, atol=1e-14)
    assert max(cuts) >= 2


def test_two_ranges(cuts: list[int]) -> None:
    """One of them is cut; and square operands, of which both axes are as long."""

    def f(x: Any, y: Any, w: Any, s: Any) -> Any:
        return (
            ((x @ w).exp().T @ x).sum() + ((y @ w).sin().T @ y).prod() + (s @ (x @ w)).sum()
            + (s @ x).tanh().sum()
        )  # fmt: skip

    rng = np.random.default_rng(0)
    check(f, [rng.uniform(-1, 1, s) for s in ((40, D), (64, D), (D, C), (40, 40))])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_random_programs(data: st.DataObject) -> None:
    """Chains of products, sums along either axis, parts and transposes."""
    n = data.draw(st.sampled_from([24, 40, 45, 51]))
    words = data.draw(st.lists(st.integers(0, 9), min_size=2, max_size=7))

    def f(x: Any, w: Any, b: Any, v: Any, t: Any) -> Any:
        z, total = x @ w, x.sum()
        for word in words:
            if word == 0:
                z = (z @ w.T).tanh() @ w
            elif word == 1:
                z = (z + b) * t
            elif word == 2:
                z = z * v[:, None]
            elif word == 3:
                z = z - z.amax(1, keepdim=True)
            elif word == 4:
                total = total + (z.T @ x).sin().sum()
            elif word == 5:
                z = z * z.sum(1, keepdim=True) + z.mean(0)
            elif word == 6:
                z = ((w @ z.T) * v).T @ w
            elif word == 7:
                z = tg.where(z > 0.1, z, z.flip(1))
            elif word == 8:
                total = total + (z @ b) @ v
            else:
                z = tg.cat([z[:, 1:].sin(), z[:, :1]], 1)
        return total + (z.T @ x).sum() * 0.1

    with pytest.MonkeyPatch.context() as patch:
        with_short_ranges(patch)
        check(f, arguments(n), 1e-10)


def test_threads_change_nothing() -> None:
    """Tiles are shared by threads, each with memory of its own."""
    given = arguments(60_000)
    both = tg.jit(tg.value_and_grad(softmax, (0, 1, 2)))
    before, results = tg.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            tg.set_num_threads(count)
            value, gradients = both(*given)
            results.append([np.array(x) for x in (value, *gradients)])
    finally:
        tg.set_num_threads(before)
    for other in results[1:]:
        for x, y in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(x, y)
    value, gradients = tg.value_and_grad(softmax, (0, 1, 2))(*map(tg.tensor, given))
    for x, y in zip(results[0], (value, *gradients), strict=True):
        np.testing.assert_allclose(x, y.numpy(), rtol=1e-10, atol=1e-12)


def test_a_product_alone_is_left_as_it_is(cuts: list[int]) -> None:
    x, w = arguments(40)[:2]
    np.testing.assert_allclose(tg.jit(lambda x, w: (x @ w).exp())(x, w), np.exp(x @ w), rtol=1e-14)
    assert max(cuts) < 2
