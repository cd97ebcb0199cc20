"""Passes beside hooks that they do not reach, and hooks that refer to their own tensors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from racing import Aim, Race, contenders

VALUES = np.array([1.0, 2.0])
#: tensors with hooks that stay alive while others are timed, by module and workload
_alive: dict[tuple[str, str], Any] = {}
AS_TORCH = Aim("at most torch eager's time", 1.0, to="torch")


@pytest.fixture(scope="module", autouse=True)
def _let_go() -> Iterator[None]:
    """What is alive makes the tape long: not for the races of other modules."""
    yield
    _alive.clear()


def beside(name: str) -> Any:
    """A program of two elements, beside 2,000 tensors that Python waits for."""

    def program(module: Any, x: Any) -> Any:
        key = module.__name__, name
        if key not in _alive:
            w = module.tensor([1.0, 2.0, 3.0], dtype=module.float64, requires_grad=True)
            tensors = [(w * float(i))[1:] if name == "views" else w * float(i) for i in range(2000)]
            for t in tensors:
                if name == "kept gradients":
                    t.retain_grad()
                else:
                    t.register_hook(print)
            _alive[key] = tensors
        return (x * x).sum()

    return program


def own_hooks(module: Any, x: Any) -> Any:
    """Leaves and results with hooks that refer to them; each of the 20 goes after the pass."""
    total = x.sum()
    for _ in range(10):
        a = (x * 2).detach().requires_grad_()
        b = a * x
        a.register_hook(lambda g, a=a: g * a.detach())
        b.register_hook(lambda g, b=b: g * b.detach())
        total = total + b.sum()
    return total


BESIDE = [
    Race(f"2 elements beside 2,000 {name}", contenders(beside(name), VALUES, peers=["torch"]), work=2,
         aims=[AS_TORCH])
    for name in ("hooks", "views", "kept gradients")
]  # fmt: skip
OWN = Race(
    "20 hooks that refer to their own tensor",
    contenders(own_hooks, VALUES, peers=["torch"]),
    work=20,
)


@pytest.mark.parametrize("name", ["tapegrad", "torch"])
@pytest.mark.parametrize("race", [*BESIDE, OWN], ids=["hooks", "views", "kept", "own"])
def test_hooks(compete, race, name):
    compete(race, name)
