"""Loops that run tile by tile: shifted reads and sums, at lengths around those of tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.jit_compiler import compiled_tape, tiles
from tapegrad.jit_compiler.loops import Band


def _products_of_differences(x: Any) -> Any:
    return ((x[1:] - x[:-1]) ** 2 * x[1:]).sum()


def _neighbours_of_neighbours(x: Any) -> Any:
    y = x[1:] * x[:-1]
    z = y[1:] - y[:-1]
    return ((z[1:] * z[:-1]) ** 2).sum() + y.sum()


def _two_apart(x: Any) -> Any:
    return ((x[2:] * x[:-2]).sin() + x[1:-1]).sum()


def _backwards(x: Any) -> Any:
    return (x.flip(0)[1:] * x[:-1]).sum()


def _smoothed(x: Any) -> Any:
    return ((x - 0.5) ** 2).sum() + ((x[1:] - x[:-1]) ** 2 + 1e-3).sqrt().sum()


def _steps(x: Any) -> Any:
    y = x
    for _ in range(3):
        y = y[1:-1] + 0.1 * (y[2:] - 2 * y[1:-1] + y[:-2]) - y[1:-1] * (y[2:] - y[:-2])
    return (y * y).sum()


PROGRAMS = [
    _products_of_differences,
    _neighbours_of_neighbours,
    _two_apart,
    _smoothed,
    _steps,
    _backwards,
]


@pytest.fixture
def short_tiles(monkeypatch: pytest.MonkeyPatch) -> list[Band]:
    """Tiles of eight; the bands that there were."""
    bands: list[Band] = []

    def noted(nodes: Any) -> Any:
        result = banded(nodes)
        bands.extend(node for node in result if isinstance(node, Band))
        return result

    banded = compiled_tape.banded
    monkeypatch.setattr(tiles, "TILE", 8)
    monkeypatch.setattr(compiled_tape, "banded", noted)
    return bands


@pytest.mark.parametrize("n", [66, 67, 71, 100, 129])
@pytest.mark.parametrize("function", PROGRAMS)
def test_tiles(short_tiles: list[Band], function: Callable[[Any], Any], n: int) -> None:
    x = np.random.default_rng(n).normal(size=n)
    programs = (
        tg.value_and_grad(function),
        lambda x: tg.jvp(tg.grad(function), (x,), (x + 1,)),
        lambda x: (tg.jacobian(tg.grad(function))(x),),
    )
    for program in programs:
        for a, b in zip(tg.jit(program)(x), program(tg.tensor(x)), strict=True):
            right = b.detach().numpy()
            scale = max(1.0, np.abs(right).max())
            np.testing.assert_allclose(a, right, rtol=1e-11, atol=1e-11 * scale)
    assert short_tiles or function is not _products_of_differences


@pytest.mark.parametrize("shape", [(), (3,), (3, 2, 1), (40,)])
def test_writes_of_a_user_keep_their_order(shape: tuple[int, ...]) -> None:
    """Sums may be added up in any order; `y -= 0.7` and `y -= x` are no sum."""

    def f(x: Any) -> Any:
        y = x.clone()
        y -= 0.7
        y -= x
        z = x * 2
        z += y
        z += -2 * x
        return y, z, (y + 0).mean()

    x = np.where(np.arange(max(int(np.prod(shape)), 1)) % 3 == 1, 1e30, 0.3).reshape(shape)
    jitted = tg.jit(f)
    for _ in range(2):
        for a, b in zip(jitted(x), f(tg.tensor(x)), strict=True):
            np.testing.assert_allclose(a, b.numpy(), rtol=1e-12)
