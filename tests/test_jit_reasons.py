"""Reasons for which a function was recorded again: which value at which line, which name around it."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

rate: Any = 2.0
table = np.array([1.0, 2.0])
settings: dict[str, Any] = {"scale": 1.0, "steps": [1, 2, 3]}
module = np


class Model:
    """Has what a function uses."""

    rate: Any = 1.0
    kind = "class"

    def __init__(self) -> None:
        self.rate, self.layers = 3.0, [1.0, 2.0]


model = Model()


def line_of(function: Any, text: str) -> str:
    """The line of a function in which there is a text, as it is shown."""
    lines, first = inspect.getsourcelines(function)
    number = next(i for i, line in enumerate(lines) if text in line)
    return f"test_jit_reasons.py:{first + number}: {lines[number].strip()}".rstrip(": ")


def reasons(jitted: Any) -> list[str]:
    return [line.partition(": ")[2].rpartition(": (")[0] for line in jitted.explain().split("\n")]


# --------------------------------------------------------------------------- values that are read
def test_the_line_that_reads_a_value() -> None:
    def f(x: Any) -> Any:
        y = x * 2
        if y.sum() > 0:
            return y
        return -y

    jitted = tg.jit(f)
    jitted(np.ones(2))
    jitted(-np.ones(2))
    assert reasons(jitted) == [
        "the first call",
        f"False is read, not True, at {line_of(f, 'if y.sum()')}",
    ]
    jitted(np.ones(2))
    assert len(jitted.tapes()) == 2


def test_the_line_in_a_function_that_is_called() -> None:
    def decided(x: Any) -> bool:
        return bool(x > 1)

    def f(x: Any) -> Any:
        return x if decided(x) else -x

    jitted = tg.jit(f)
    jitted(2.0)
    jitted(0.0)
    assert reasons(jitted)[1] == f"False is read, not True, at {line_of(decided, 'bool(')}"


def test_numbers_and_arrays_that_are_read() -> None:
    def f(x: Any, n: Any) -> Any:
        k = int(n)
        return x * k

    def g(x: Any) -> Any:
        return x * sum(x.tolist())

    jitted = tg.jit(f)
    jitted(np.ones(2), np.array(3))
    jitted(np.ones(2), np.array(4))
    assert reasons(jitted)[1] == f"4 is read, not 3, at {line_of(f, 'int(n)')}"
    jitted = tg.jit(g)
    jitted(np.ones(3))
    jitted(np.zeros(3))
    assert "[0.0, 0.0, 0.0] is read, not [1.0, 1.0, 1.0], at" in reasons(jitted)[1]
    assert line_of(g, "tolist") in reasons(jitted)[1]


def test_a_warning_names_the_line_after_many_recordings() -> None:
    def halved(x: Any) -> Any:
        while x.sum() > 1:
            x = x / 2
        return x

    jitted = tg.jit(halved)
    for i in range(8):
        jitted(np.array([2.0**i, 1.0]))
    expected = (
        "was recorded 8 times for one signature, the last time because True is read, not False, at "
        + line_of(halved, "while")
    )
    with pytest.warns(UserWarning, match=re.escape(expected)) as record:
        jitted(np.array([2.0**10, 1.0]))
    assert record[0].filename == __file__


def test_the_warning_stands_where_tensors_are_given() -> None:
    jitted = tg.jit(lambda x: x * int(x))
    for i in range(8):
        jitted(tg.tensor(float(i)))
    with pytest.warns(UserWarning, match="for one signature") as record:
        jitted(tg.tensor(8.0))
    assert record[0].filename == __file__


def test_statements_that_fail_on_the_wrong_way() -> None:
    @tg.jit
    def f(x: Any, i: Any) -> Any:
        return x[i] if i.sum() < 3 else x

    f(np.ones(3), np.array([1]))
    f(np.ones(3), np.array([5]))
    assert reasons(f)[1] == "it raised IndexError"


# --------------------------------------------------------------------------- what is around it
def uses_global(x: Any) -> Any:
    return x * rate


def uses_array(x: Any) -> Any:
    return x + table


def uses_item(x: Any) -> Any:
    return x * settings["scale"]


def uses_items(x: Any) -> Any:
    return x * sum(settings["steps"])


def uses_attribute(x: Any) -> Any:
    return x * model.rate


def uses_layers(x: Any) -> Any:
    return x * model.layers[1]


def uses_class(x: Any) -> Any:
    return x * len(model.kind)


def change_global() -> None:
    globals()["rate"] = 5.0


def change_array() -> None:
    table[1] += 1


def change_item() -> None:
    settings["scale"] += 1


def change_steps() -> None:
    settings["steps"].append(7)


def change_attribute() -> None:
    model.rate += 1


def change_layer() -> None:
    model.layers[1] = "a" * 50


def change_class() -> None:
    Model.kind = "other"


@pytest.mark.parametrize(
    ("function", "change", "reason"),
    [
        (uses_global, change_global, "global `rate` is 5.0, not 2.0"),
        (uses_array, change_array, "the elements of global `table` changed"),
        (uses_item, change_item, "item `settings['scale']` is 2.0, not 1.0"),
        (uses_items, change_steps, "the length of item `settings['steps']` is 4, not 3"),
        (uses_attribute, change_attribute, "attribute `model.rate` is 4.0, not 3.0"),
        (
            uses_layers,
            change_layer,
            f"item `model.layers[1]` is {repr('a' * 50)[:37]}..., not 2.0",
        ),
        (uses_class, change_class, "attribute `model.kind` is 'other', not 'class'"),
    ],
)
def test_names_around_a_function(
    function: Callable[..., Any], change: Callable[[], None], reason: str
) -> None:
    jitted = tg.jit(function)
    jitted(np.ones(2))
    change()
    with contextlib.suppress(TypeError):
        jitted(np.ones(2))
    assert reasons(jitted)[1] == reason


def test_variables_of_functions_around() -> None:
    scale, weight, other = 2.0, tg.ones(2), tg.zeros(2)

    def f(x: Any) -> Any:
        return x * scale * weight + other

    jitted = tg.jit(f)
    jitted(np.ones(2))
    scale = 3.0
    jitted(np.ones(2))
    weight = tg.ones(2, dtype=tg.float32)
    jitted(np.ones(2))
    weight = None  # type: ignore[assignment]
    with pytest.raises(TypeError):
        jitted(np.ones(2))
    assert reasons(jitted)[1:] == [
        "variable `scale` is 3.0, not 2.0",
        "variable `weight` has another shape or dtype, or requires grad or not",
        "variable `weight` is no tensor any more",
    ]


def test_two_names_of_one_tensor() -> None:
    one = two = tg.ones(2)
    jitted = tg.jit(lambda x: one * x + two)
    jitted(np.ones(2))
    two = tg.zeros(2)
    np.testing.assert_array_equal(jitted(np.ones(2)), [1, 1])
    assert (
        reasons(jitted)[1] == "variable `one` and variable `two` are not the same tensor any more"
    )


def test_defaults_and_attributes_of_static_arguments() -> None:
    def f(x: Any, m: Any, factor: float = 2.0) -> Any:
        return x * m.rate * factor

    m = Model()
    jitted = tg.jit(f)
    jitted(np.ones(2), m)
    m.rate = 9.0
    jitted(np.ones(2), m)
    f.__defaults__ = (3.0,)
    jitted(np.ones(2), m)
    assert reasons(jitted)[1:] == [
        "attribute `Model().rate` is 9.0, not 3.0",
        "item `f.__defaults__[0]` is 3.0, not 2.0",
    ]
