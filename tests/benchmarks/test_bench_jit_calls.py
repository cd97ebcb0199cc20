"""Compiled calls with Tensors that require grad, and functions under `njit` inside of compiled ones."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from racing import Aim, Race, Runner

rng = np.random.default_rng(20261130)


# --------------------------------------------------------------------------- forward and backward
def elementwise(lib: Any, x: Any) -> Any:
    return ((lib.sin(x) * x + 1).tanh() * x).sum()


def rosenbrock(lib: Any, x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def looped(lib: Any, x: Any) -> Any:
    total = 0.0
    for i in range(50):
        total = total + lib.sin(x[i] * x[i + 1])
    return total


def layers(lib: Any, x: Any, y: Any, *parameters: Any) -> Any:
    *hidden, w, b = parameters
    for v, c in zip(hidden[::2], hidden[1::2], strict=True):
        x = (x @ v + c).tanh()
    return ((x @ w + b - y) ** 2).mean()


def backward(
    function: Callable[..., Any], arrays: Sequence[np.ndarray], first: int = 0
) -> dict[str, Callable[[], Runner]]:
    """A call and `backward` as a PyTorch user writes them; arrays from `first` on require grad."""

    def set_up(lib: Any, jit: bool) -> Runner:
        given = [
            lib.tensor(a, dtype=lib.float64, requires_grad=i >= first) for i, a in enumerate(arrays)
        ]
        leaves = given[first:]
        program = lambda *args: function(lib, *args)  # noqa: E731
        program = lib.jit(program) if jit else program

        def run() -> tuple[Any, ...]:
            for x in leaves:
                x.grad = None
            value = program(*given)
            value.backward()
            return (value.item(), *(x.grad.numpy() for x in leaves))

        return run

    def tapegrad(*, jit: bool = False) -> Runner:
        import tapegrad

        run = set_up(tapegrad, jit)
        if jit:
            run()
            tapegrad.synchronize()  # short programs are compiled at once, long ones behind the first call
        return run

    def torch() -> Runner:
        import torch

        torch.set_num_threads(1)
        return set_up(torch, False)

    return {"tapegrad": tapegrad, "tg.jit": lambda: tapegrad(jit=True), "torch": torch}


def network(width: int, samples: int) -> list[np.ndarray]:
    arrays = [rng.normal(size=(samples, width)), rng.normal(size=(samples, 1))]
    for out in (width, width, 1):
        arrays += [rng.normal(size=(width, out)) / width**0.5, rng.normal(size=out)]
    return arrays


CALLS = {
    name: Race(
        f"a call with Tensors and backward: {text}", contenders, work=1, aimed="tg.jit", rtol=1e-8,
        aims=[Aim("at most eager tapegrad's time", 1, to="tapegrad")],
    )
    for name, text, contenders in (
        ("elementwise-1e3", "4 elementwise ops on 1,000 elements",
         backward(elementwise, [rng.normal(size=1000)])),
        ("elementwise-1e5", "4 elementwise ops on 100,000 elements",
         backward(elementwise, [rng.normal(size=100_000)])),
        ("rosenbrock", "Rosenbrock's function of 10,000 variables",
         backward(rosenbrock, [rng.normal(size=10_000)])),
        ("looped", "a Python loop over 50 elements", backward(looped, [rng.normal(size=51)])),
        ("layers-8", "three layers of 8, one sample", backward(layers, network(8, 1), 2)),
        ("layers-256", "three layers of 256, 32 samples", backward(layers, network(256, 32), 2)),
    )
}  # fmt: skip


@pytest.mark.parametrize("name", ["tapegrad", "tg.jit", "torch"])
@pytest.mark.parametrize("what", CALLS)
def test_calls(compete, what, name):
    compete(CALLS[what], name)


# --------------------------------------------------------------------------- functions under njit
def integrated(steps: int, *, checkpointed: bool) -> dict[str, Callable[[], Runner]]:
    """Value and gradients of a loss behind a compiled loop, without `tg.jit` and with it."""

    def set_up(jit: bool) -> Runner:
        import tapegrad as tg

        @tg.njit
        def step(state, rate):  # type: ignore[no-untyped-def]
            x, v = state
            return x + 0.01 * v, v - 0.01 * rate * np.sin(x)

        @tg.njit
        def loop(state, rate, n):  # type: ignore[no-untyped-def]
            for _ in range(n):
                state = step(state, rate)
            return state

        def loss(x: Any, rate: Any) -> Any:
            if checkpointed:
                x, v = tg.checkpointed_loop(step, (x, 0.0), steps, rate)
            else:
                x, v = loop((x, 0.0), rate, steps)
            return x * x + v * v

        program = tg.value_and_grad(loss, argnums=(0, 1))
        arguments = np.array(0.3), np.array(2.0)
        if jit:
            compiled = tg.jit(program)

            def run() -> tuple[Any, ...]:
                value, (a, b) = compiled(*arguments)
                return value, a, b

            return run
        tensors = [tg.tensor(a) for a in arguments]

        def eager() -> tuple[Any, ...]:
            value, (a, b) = program(*tensors)
            return value.numpy(), a.numpy(), b.numpy()

        return eager

    return {"tapegrad": lambda: set_up(False), "tg.jit": lambda: set_up(True)}


LOOPS = {
    name: Race(
        f"inside of a compiled function: {text}", integrated(steps, checkpointed=checkpointed), work=steps,
        aimed="tg.jit",
    )
    for name, text, steps, checkpointed in (
        ("njit", "a loop of 100 steps under tg.njit", 100, False),
        ("checkpointed", "a checkpointed loop of 100,000 steps", 100_000, True),
    )
}  # fmt: skip


@pytest.mark.parametrize("name", ["tapegrad", "tg.jit"])
@pytest.mark.parametrize("what", LOOPS)
def test_loops(compete, what, name):
    compete(LOOPS[what], name)
