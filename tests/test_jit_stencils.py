"""Random stencils under `tg.jit`: tiles, windows and shares of loops that look back at each other's results.

Tiles are of some iterations and shares as well, so that short arrays have many of both.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.jit_compiler import sharing, tiles
from tapegrad.jit_compiler.background import finish
from tapegrad.native import threads

BINARY = ("{} + {}", "{} - {}", "{} * {}", "tg.maximum({}, {})")
UNARY = (
    "{0} * {0}", "0.5 * {0}", "-{0}", "{0}.sin()", "tg.where({0} > 0, {0}, 0.25 * {0})", "{0}.clamp(-1, 1)",
)  # fmt: skip
WHOLE = ("{0} * 3", "-{0}", "tg.where({0} > 0, {0}, {0} - 2)", "tg.where({0} > 1, 1, 0)")


@pytest.fixture(autouse=True)
def number() -> Iterator[None]:
    """Give the number of threads back."""
    before = threads.number_of_threads()
    yield
    threads.set_threads(before)


def stencil(rng: random.Random, *, whole: bool = False, smooth: bool = False) -> str:
    """Draw the text of a function of an array, which returns a number, and vectors.

    Parameters
    ----------
    rng : random.Random
    whole : bool
        True for whole numbers.
    smooth : bool
        True for a function that has derivatives of all orders.
    """
    lines, cut = [], {"x": 0}  # by how much each vector is shorter than `x`

    def part(name: str, shorter: int) -> str:
        more = shorter - cut[name]
        first = rng.choice((0, more, rng.randint(0, more)))
        return f"{name}[{first}:n - {cut[name] + more - first}]" if more else name

    def layer() -> tuple[str, int]:
        names = list(cut)[-4:]
        if rng.random() < 0.3:
            name = rng.choice(names)
            forms = WHOLE if whole else UNARY[:4] if smooth else UNARY
            return rng.choice(forms).format(name), cut[name]
        pair = rng.choice(names), rng.choice(names)
        shorter = max(cut[name] for name in pair) + rng.choice((0, 1, 1, 2, 3))
        forms = BINARY[:3] if smooth else BINARY
        value = rng.choice(forms).format(*(part(name, shorter) for name in pair))
        if rng.random() < 0.3 and cut[names[-1]] <= shorter:
            value = f"{value} + {part(names[-1], shorter)}"
        if rng.random() < 0.15 and shorter:  # as long as `x` again
            first = rng.randint(0, shorter)
            value, shorter = f"tg.cat([x[:{first}], {value}, x[n - {shorter - first}:]])", 0
        return value, shorter

    for k in range(rng.randint(2, 7)):
        value, shorter = layer()
        lines.append(f"    y{k} = {value}")
        cut[f"y{k}"] = shorter
    names = list(cut)
    sums = []
    for _ in range(rng.randint(1, 2)):
        pair = rng.choice(names[-3:]), rng.choice(names[1:])
        shorter = max(cut[name] for name in pair) + rng.choice((0, 1))
        sums.append(f"({part(pair[0], shorter)} * {part(pair[1], shorter)}).sum()")
    results = ["loss", *rng.sample(names[1:], rng.randint(0, 2))]
    lines += [f"    loss = {' + '.join(sums)}", f"    return ({', '.join(results)},)"]
    return "\n".join(["def f(x):", "    n = len(x)", *lines])


def _function(text: str) -> Callable[[Any], tuple[Any, ...]]:
    names: dict[str, Any] = {"tg": tg}
    exec(text, names)
    return names["f"]  # type: ignore[no-any-return]


def _derivative(
    f: Callable[[Any], tuple[Any, ...]], kind: str, *, with_results: bool
) -> Callable[[Any], tuple[Any, ...]]:
    def loss(x: Any) -> Any:
        return f(x)[0]

    def gradient(x: Any) -> tuple[Any, ...]:
        return (*tg.value_and_grad(loss)(x), *(f(x)[1:] if with_results else ()))

    def second(x: Any) -> tuple[Any, ...]:
        if with_results:
            return (tg.jvp(tg.grad(loss), (x,), (0.5 * x + 1,))[1], *f(x)[1:])
        return (tg.grad(lambda x: (tg.grad(loss)(x) ** 2).sum())(x),)

    return {"gradient": gradient, "second": second}.get(kind, f)


def _set_sizes(rng: random.Random, monkeypatch: pytest.MonkeyPatch, *, shares: bool) -> None:
    tile = rng.choice((8, 8, 16, 32))
    for name, values in {
        "TILE": (tile,), "LEAST": (4, 8), "NEAR": (64, 256, 4096), "LARGEST": (512, 1 << 16),
    }.items():  # fmt: skip
        monkeypatch.setattr(tiles, name, rng.choice(values))
    for name, values in {
        "LONG": (0 if shares else 1e18,), "SHARE": (1e-3,), "PART": (1e9,), "STEP": (2, 8),
        "MOST": (2, 3, 7, 256), "SLICE": (1, 2, 4, 16),
    }.items():  # fmt: skip
        monkeypatch.setattr(sharing, name, rng.choice(values))


def _texts(compiled: Any) -> str:
    promises = [trace.promise for traces in compiled._traces.values() for trace in traces]
    return "\n".join(p.compiled.text for p in promises if p.compiled is not None)


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("kind", ["value", "whole", "gradient", "second"])
def test_stencils(monkeypatch: pytest.MonkeyPatch, kind: str, part: int) -> None:
    with_windows = 0
    for i in range(10 * part, 10 * part + 10):
        rng = random.Random(f"{kind} {i}")
        _set_sizes(rng, monkeypatch, shares=i % 4 > 0)
        text = stencil(rng, whole=kind == "whole", smooth=kind == "second")
        n = max(8 * tiles.TILE + rng.choice((-1, 0, 1, 2, 3, 8, 20, 61)), 64)
        x: np.ndarray = np.array([rng.uniform(-1, 1) for _ in range(n)])
        x = (3 * x).astype(np.int64) if kind == "whole" else x.astype(rng.choice("dddf"))
        function = _derivative(_function(text), kind, with_results=rng.random() < 0.5)
        compiled = tg.jit(function)
        compiled(x)
        finish()
        results = []
        for count in (1, 2, 3, 4):
            threads.set_threads(count)
            results.append(compiled(x))
        bits = [[np.asarray(part).tobytes() for part in result] for result in results]
        assert all(b == bits[0] for b in bits), text
        for got, right in zip(results[0], function(tg.tensor(x)), strict=True):
            expected = right.detach().numpy()
            rtol = 1e-4 if expected.dtype == np.float32 else 1e-10
            scale = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * scale, err_msg=text)
        with_windows += "window" in _texts(compiled)
    assert with_windows


def test_windows_in_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """A share computes itself all that it needs beyond its ends; nothing is computed behind."""
    _set_sizes(random.Random(0), monkeypatch, shares=True)

    def loss(x: Any) -> Any:
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    x = np.linspace(-1, 1, 500)
    compiled = tg.jit(lambda x: tg.jvp(tg.grad(loss), (x,), (x + 1,))[1])
    compiled(x)
    text = _texts(compiled)
    assert "window" in text
    assert "low-2 to low-1" in text  # a slice
    nodes = [line for line in text.split("\n") if not line.startswith(" ")]
    assert nodes[-1].startswith("share")


def test_memory_of_long_arrays() -> None:
    x = np.linspace(0, 1, 50_000)
    compiled = tg.jit(tg.value_and_grad(lambda x: ((x[1:] - x[:-1]) ** 2 * x[1:] ** 3).sum()))
    value, gradient = compiled(x)
    (trace,) = [trace for traces in compiled._traces.values() for trace in traces]
    assert trace.promise.compiled.size < 4096
    expected = tg.value_and_grad(lambda x: ((x[1:] - x[:-1]) ** 2 * x[1:] ** 3).sum())(tg.tensor(x))
    np.testing.assert_allclose(value, expected[0].numpy(), rtol=1e-12)
    np.testing.assert_allclose(gradient, expected[1].numpy(), rtol=1e-12, atol=1e-12)
