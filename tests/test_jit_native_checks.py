"""Comparison by native code of all that a function uses: ordinary surroundings do not make calls slow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.native import abi as nt


def is_native(jitted: Any) -> bool:
    return bool(jitted._fast._words[nt.J_READY])


RATES = {"first": 2.0, "second": 3.0, "third": [1.0, {"x": 2.0, "y": 3.0}]}
MANY = [float(i) for i in range(1000)]
ORDERED = {"a": 1.0, "b": 2.0}


@dataclass(frozen=True)
class Model:
    """Parameters."""

    weights: dict[str, Any]
    rate: float = 0.5

    def __call__(self, x: Any) -> Any:
        """Compute something."""
        return x * self.weights["w"] + self.weights["b"] * self.rate


def documented(x: Any, scale: float = 2.0, *, shift: float = 1.0) -> Any:
    """Have a docstring, and defaults."""
    return x * scale + shift


def plain(x: Any) -> Any:
    """Have a docstring."""
    return x * 2


MODEL = Model({"w": np.array([1.0, 2.0]), "b": 3.0})
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "docstring": plain,
    "defaults": documented,
    "dict": lambda x: x * RATES["first"] + RATES["third"][1]["y"],
    "long list": lambda x: x * MANY[3],
    "model": lambda x: MODEL(x),
    "method": MODEL.__call__,
    "bound": lambda x: documented(plain(x)) * len(ORDERED),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_calls_are_native(name: str) -> None:
    jitted, x = tg.jit(FUNCTIONS[name]), np.array([1.0, 2.0])
    first = jitted(x)
    (traces,) = jitted._traces.values()
    assert traces[0].surroundings.checks is not None
    assert is_native(jitted)
    np.testing.assert_array_equal(jitted(x), first)
    assert len(traces) == 1


def _order() -> None:
    ORDERED["a"] = ORDERED.pop("a")


def _other_key() -> None:
    ORDERED["c"] = ORDERED.pop("b")


CHANGES: list[tuple[Callable[[Any], Any], Callable[[], Any]]] = [
    (lambda x: x * next(iter(ORDERED.values())), _order),
    (lambda x: x * len("".join(ORDERED)) + sum(ORDERED.values()), lambda: ORDERED.update(d=3.0)),
    (lambda x: x * ("c" in [*ORDERED]), _other_key),
    (lambda x: x * sum(ORDERED.values()), lambda: ORDERED.update(a=5.0)),
    (lambda x: x * sum(MANY), lambda: MANY.__setitem__(500, 7.5)),
    (lambda x: x * sum(MANY), MANY.pop),
    (lambda x: x * len(MANY) + MANY[-1], lambda: MANY.append(2.0)),
    (lambda x: documented(x), lambda: setattr(documented, "__defaults__", (4.0,))),
    (lambda x: documented(x), lambda: documented.__kwdefaults__.update(shift=6.0)),
    (lambda x: documented(x, 2.0), lambda: setattr(documented, "__kwdefaults__", {"shift": 9.0})),
    (lambda x: plain(x), lambda: setattr(plain, "__code__", (lambda x: x * 7).__code__)),
    (lambda x: MODEL(x), lambda: MODEL.weights.update(b=8.0)),
    (lambda x: MODEL(x), lambda: MODEL.weights["w"].__setitem__(0, 8.0)),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_changes_are_seen(number: int) -> None:
    function, change = CHANGES[number]
    jitted, x = tg.jit(function), np.array([1.0, 2.0])
    for _ in range(2):
        np.testing.assert_array_equal(jitted(x), function(x))
    assert is_native(jitted)
    change()
    for _ in range(2):
        np.testing.assert_array_equal(jitted(x), function(x))
