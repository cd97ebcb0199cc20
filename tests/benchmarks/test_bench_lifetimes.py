"""Steady loops: a step after many steps, where something is kept for each, or might be."""

import importlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from racing import Aim, Race, Result, Runner

X = np.array([0.5, 1.0, 1.5])
#: steps before the first that is timed, and of a run
BEFORE, STEPS = 3_000, 20
AIM = Aim("at most half of torch's time", 1 / 2, to="torch")


def loss(xp: Any, x: Any) -> Any:
    return ((x * x).sin() * x).sum()


#: leaves whose gradients refer to them
_KEPT: list[Any] = []


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    """Let go of a race's tensors: they make the tape long for the races behind it."""
    yield
    for x in _KEPT:
        x.grad = None
    _KEPT.clear()


def steady(step: Callable[[Any, Any], Any]) -> Callable[[str], Callable[[], Runner]]:
    """A loop of ``step(xp, x)``, which returns a gradient, as a runner for a library."""

    def of(name: str) -> Callable[[], Runner]:
        def set_up() -> Runner:
            xp = importlib.import_module(name)
            if name == "torch":
                xp.set_num_threads(1)

            def run(steps: int = STEPS) -> Result:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    for _ in range(steps):
                        # A new leaf: what a step keeps of it is there in the next.
                        x = xp.tensor(X.tolist(), dtype=xp.float64, requires_grad=True)
                        found = step(xp, x)
                return (found.detach().numpy(),)

            run(BEFORE)
            return run

        return set_up

    return of


def checkpointed(xp: Any, x: Any) -> Any:
    checkpoint = importlib.import_module(f"{xp.__name__}.utils.checkpoint").checkpoint
    checkpoint(lambda a: loss(xp, a), x, use_reentrant=False).backward()
    return x.grad


def created_graph(xp: Any, x: Any) -> Any:
    """Keeps leaf and graph for ever, in PyTorch as well: the gradient refers to the leaf."""
    loss(xp, x).backward(create_graph=True)
    _KEPT.append(x)
    return x.grad


def second_order(xp: Any, x: Any) -> Any:
    (g,) = xp.autograd.grad(loss(xp, x), x, create_graph=True)
    return xp.autograd.grad((g * g).sum(), x)[0]


def retained(xp: Any, x: Any) -> Any:
    y = loss(xp, x)
    y.backward(retain_graph=True)
    x.grad = None
    y.backward(retain_graph=True)
    return x.grad


def hooked(xp: Any, x: Any) -> Any:
    y = x * 1.0
    handle = y.register_hook(lambda g: g * 2)
    loss(xp, y).backward()
    handle.remove()
    return x.grad


def packed(xp: Any, x: Any) -> Any:
    with xp.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        y = loss(xp, x)
    y.backward()
    return x.grad


def decorated(xp: Any, x: Any) -> Any:
    """Steps of a descent in a function under ``no_grad``, as optimisers are written."""

    @xp.no_grad()
    def descend() -> None:
        for _ in range(5):
            with xp.enable_grad():
                y = loss(xp, x)
            (g,) = xp.autograd.grad(y, x)
            x.sub_(0.01 * g)

    descend()
    return x


def function(xp: Any, x: Any) -> Any:
    y = functions[xp.__name__].apply(x)
    y.sum().backward()
    return x.grad


def _cube(xp: Any) -> Any:
    class Cube(xp.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            y = x
            for _ in range(2):
                y = y * x
            return y

        @staticmethod
        def backward(ctx: Any, ct: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3 * x * x * ct

    return Cube


class _Functions(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        made = self[name] = _cube(importlib.import_module(name))
        return made


functions = _Functions()

RACES = {
    step.__name__: Race(
        f"steady loop: {text}",
        {name: steady(step)(name) for name in ("tapegrad", "torch")},
        work=STEPS,
        aims=[AIM],
    )
    for step, text in (
        (checkpointed, "checkpoint"),
        (created_graph, "backward(create_graph=True) on new leaves"),
        (second_order, "second derivatives"),
        (retained, "backward twice with retain_graph"),
        (hooked, "a hook, registered and removed"),
        (packed, "saved_tensors_hooks"),
        (decorated, "five steps of a descent in a function under no_grad"),
        (function, "a Function"),
    )
}


@pytest.mark.parametrize("name", ["tapegrad", "torch"])
@pytest.mark.parametrize("race", RACES.values(), ids=RACES.keys())
def test_steady_loops(compete, race, name):
    compete(race, name)
