"""New shapes: what a program pays at each call whose shapes it has never seen."""

import importlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from racing import Aim, Race

AIMS = [Aim("at most 3 times torch for each new shape", 3.0, to="torch")]
#: shapes of one call of a contender
CALLS = 50


def _contenders(step: Callable[[Any, int], Any]) -> dict[str, Any]:
    """For each library what takes `step` through shapes that it has not seen."""

    def contender(name: str) -> Callable[[], Callable[[], tuple[float]]]:
        def set_up() -> Callable[[], tuple[float]]:
            library, fresh = importlib.import_module(name), itertools.count(100)

            def run() -> tuple[float]:
                return (sum(step(library, n) for n in itertools.islice(fresh, CALLS)),)

            return run

        return set_up

    return {name: contender(name) for name in ("tapegrad", "torch")}


def lengths(library: Any, n: int) -> float:
    x = library.ones(n, requires_grad=True)
    (x * 2).sum().backward()
    return float(x.grad[0])


def two_dimensions(library: Any, n: int) -> float:
    x = library.ones(n // 150 + 1, n % 150 + 1, requires_grad=True)
    (x * 2).sum().backward()
    return float(x.grad[0, 0])


RACES = {
    "lengths": Race(
        "a gradient at new lengths", _contenders(lengths), work=CALLS, aims=AIMS,
    ),
    "two dimensions": Race(
        "a gradient at new shapes of two dimensions", _contenders(two_dimensions), work=CALLS, aims=AIMS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ["tapegrad", "torch"])
@pytest.mark.parametrize("program", RACES)
def test_new_shapes(compete, program, name):
    compete(RACES[program], name)
