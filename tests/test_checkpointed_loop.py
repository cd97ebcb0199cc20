"""`tg.checkpointed_loop`: gradients with whatever memory, and the binomial schedule."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.njit_compiler.checkpointed_loop import split


@tg.njit
def euler(state, sigma, rho, h):
    x, y, z = state
    return x + h * sigma * (y - x), y + h * (x * (rho - z) - y), z + h * (x * y - 2.5 * z)


@tg.njit
def whole(x, y, z, sigma, rho, h, n):
    for _ in range(n):
        x, y, z = x + h * sigma * (y - x), y + h * (x * (rho - z) - y), z + h * (x * y - 2.5 * z)
    return x + 2 * y - z


def leaves():
    return [tg.tensor(v, requires_grad=True) for v in (1.0, 1.1, 0.9, 28.0)]


@pytest.mark.parametrize("memory", [1 << 26, 100_000, 20_000, 4_000])
@pytest.mark.parametrize("n", [1, 7, 300])
def test_gradients_with_little_memory(memory: int, n: int) -> None:
    *start, rho = own = leaves()
    last = tg.checkpointed_loop(euler, tuple(start), n, 10.0, rho, 1e-2, memory=memory)
    (last[0] + 2 * last[1] - last[2]).backward()
    *again, other = expected = leaves()
    value = whole(*again, 10.0, other, 1e-2, n)
    value.backward()
    assert (last[0] + 2 * last[1] - last[2]).item() == pytest.approx(value.item(), rel=1e-13)
    for a, b in zip(own, expected, strict=True):
        assert a.grad.item() == pytest.approx(b.grad.item(), rel=1e-11)


def test_array_states_and_counters() -> None:
    @tg.njit
    def step(state, a):
        x, k = state
        return a @ x * (1.0 / (k + 1)), k + 1

    rng = np.random.default_rng(0)
    matrix, start = rng.normal(size=(3, 3)), rng.normal(size=3)
    a, x = tg.tensor(matrix, requires_grad=True), tg.tensor(start, requires_grad=True)
    last, count = tg.checkpointed_loop(step, (x, 0), 6, a, memory=3000)
    assert count == 6
    last.sum().backward()
    b, y = tg.tensor(matrix, requires_grad=True), tg.tensor(start, requires_grad=True)
    z = y
    for k in range(6):
        z = b @ z * (1.0 / (k + 1))
    z.sum().backward()
    np.testing.assert_allclose(last.detach().numpy(), z.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12)


def test_one_state_and_plain_functions() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = tg.checkpointed_loop(lambda s: s * 0.5 + 1.0, x, 10)
    y.sum().backward()
    assert x.grad.tolist() == [0.5**10] * 2
    assert tg.checkpointed_loop(euler, (1.0, 1.0, 1.0), 0, 10.0, 28.0, 0.1) == (1.0, 1.0, 1.0)
    passive = tg.checkpointed_loop(lambda s: s + 1.0, 0.0, 5)
    assert not passive.requires_grad
    assert passive.item() == 5.0


def test_inside_a_larger_graph() -> None:
    @tg.njit
    def step(x, rate):
        return x - 0.01 * rate * x

    w = tg.tensor(0.5, requires_grad=True)
    y = tg.checkpointed_loop(step, w.exp(), 50, w * 2, memory=2000)
    (y * w).backward()
    v = tg.tensor(0.5, requires_grad=True)
    (v.exp() * (1 - 0.02 * v) ** 50 * v).backward()
    assert w.grad.item() == pytest.approx(v.grad.item(), rel=1e-12)


def test_a_long_loop_in_little_memory() -> None:
    @tg.njit
    def turn(state, angle):
        x, y = state
        return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)

    n, angle = 200_000, 1e-4
    a = tg.tensor(angle, requires_grad=True)
    tape = tg.current_tape()
    before = tape.stats()["bytes"]
    x, _ = tg.checkpointed_loop(turn, (1.0, 0.0), n, a, memory=1 << 21)
    assert tape.stats()["bytes"] - before < 1 << 21
    x.backward()
    assert x.item() == pytest.approx(math.cos(n * angle), rel=1e-9)
    assert a.grad.item() == pytest.approx(-n * math.sin(n * angle), rel=1e-7)


def test_bad_arguments() -> None:
    x = tg.tensor(1.0, requires_grad=True)
    with pytest.raises(ValueError, match="must not be negative"):
        tg.checkpointed_loop(euler, x, -1)
    with pytest.raises(TypeError, match="nested tuple"):
        tg.checkpointed_loop(euler, ((x, x), x), 3)
    y = tg.checkpointed_loop(lambda s: s * s, x, 3)
    with pytest.raises(tg.UnsupportedError, match="no second derivatives"):
        tg.autograd.grad(y, x, create_graph=True)


def test_errors_in_a_step() -> None:
    @tg.njit
    def step(x):
        if x > 3:
            raise ValueError("too large")
        return x * 2

    x = tg.tensor(1.0, requires_grad=True)
    with pytest.raises(ValueError, match="too large"):
        tg.checkpointed_loop(step, x, 5)
    y = tg.checkpointed_loop(step, x, 2)
    y.backward()
    assert x.grad.item() == 4.0


@functools.cache
def fewest(chunks: int, snapshots: int) -> int:
    if chunks == 1:
        return 0
    if snapshots == 0:
        return chunks * (chunks - 1) // 2
    return min(
        m + fewest(chunks - m, snapshots - 1) + fewest(m, snapshots) for m in range(1, chunks)
    )


@functools.cache
def taken(chunks: int, snapshots: int) -> int:
    if chunks == 1:
        return 0
    if snapshots == 0:
        return chunks * (chunks - 1) // 2
    m = split(chunks, snapshots)
    return m + taken(chunks - m, snapshots - 1) + taken(m, snapshots)


def test_the_schedule_computes_as_few_steps_again_as_can_be() -> None:
    for chunks in range(1, 60):
        for snapshots in range(8):
            assert taken(chunks, snapshots) == fewest(chunks, snapshots)
