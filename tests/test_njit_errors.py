"""What `tg.njit` refuses, and how it says so: cause, the user's line, and last what to do."""

from __future__ import annotations

import inspect
import math
import re

import numba
import numpy as np
import pytest
from numba import objmode

import tapegrad as tg


def leaf(value):
    return tg.tensor(value, requires_grad=True)


def plain(x):
    return 2 * x


class Thing:
    pass


# --------------------------------------------------------------------------- mistakes
def set_element(x):
    x[0] = 5.0
    return x[0]


def add_in_place(x):
    x += 5.0
    return x[0]


def fill(x):
    x.fill(0.0)
    return x[0]


def sort_in_place(x):
    x.sort()
    return x[0]


def into_numbers(x):
    b = np.linspace(0.0, 1.0, 3)
    b[0] = x[0]
    return b


def into_numbers_in_place(x):
    b = np.linspace(0.0, 1.0, 3)
    b += x
    return b


def into_integers(x):
    b = np.zeros(3, np.int64)
    b[0] = x[0]
    return b


def eigenvalues(x):
    return np.linalg.eigh(np.outer(x, x))[0]


def gamma(x):
    return math.gamma(x[0])


def transformed(x):
    return np.fft.fft(x)


def python_function(x):
    return plain(x)


def python_class(x):
    return Thing()


def undefined(x):
    return x[0] * not_defined_anywhere  # noqa: F821


def two_types(x):
    y = x
    if x[0] > 0:
        y = 1.0
    return y


def no_attribute(x):
    return x.colour


def float_index(x):
    return x[x[0]]


def float_range(x):
    total = 0.0
    for _ in range(x[0]):
        total += x[0]
    return total


def added_to_text(x):
    return "a" + x[0]


def kept_exception(x):
    try:
        y = x[0]
    except ValueError as error:  # noqa: F841
        y = 0.0
    return y


def axis_tuple(x):
    return np.sum(np.outer(x, x), axis=(0, 1))


def text_of(x):
    return len(str(x[0])) * x[0]


def representation(x):
    return len(repr(x[0])) * x[0]


def formatted(x):
    return len(f"{x[0]}") * x[0]


def formatted_well(x):
    return len(f"{x[0]:.2f}") * x[0]


def in_object_mode(x):
    with objmode(y="float64"):
        y = float(x[0])
    return y * x[0]


def prints_arrays_in_tuples(x):
    print((x, 1))
    return x[0]


MISTAKES = [
    (set_element, "x[0] = 5.0", r"Copy it first: x = x\.copy\(\)\."),
    (add_in_place, "x += 5.0", r"Copy it first: x = x\.copy\(\)\."),
    (fill, "x.fill(0.0)", r"Copy it first: x = x\.copy\(\)\."),
    (sort_in_place, "x.sort()", r"Copy it first: x = x\.copy\(\)\."),
    (into_numbers, "b[0] = x[0]", r"np\.array\(b\)"),
    (into_numbers_in_place, "b += x", r"np\.array\(b\)"),
    (into_integers, "b[0] = x[0]", r"without a dtype"),
    (eigenvalues, "np.linalg.eigh", r"^np\.linalg\.eigh is not recorded; use "),
    (gamma, "math.gamma", r"^math\.gamma is not recorded; use .*lgamma"),
    (transformed, "np.fft.fft(x)", r"^np\.fft\.fft is not recorded; use "),
    (python_function, "plain(x)", r"Put @tg\.njit on plain"),
    (python_class, "Thing()", r"as arguments"),
    (two_types, "", r"one type"),
    (no_attribute, "x.colour", r"tg\.value\(x\)"),
    (float_index, "x[x[0]]", r"int\(i\) reads the value"),
    (float_range, "range(x[0])", r"int\(n\) reads the value"),
    (added_to_text, '"a" + x[0]', r"no arithmetic"),
    (kept_exception, "", r"Write it without"),
    (axis_tuple, "axis=(0, 1)", r"^np\.sum is not recorded; use "),
    (text_of, "str(x[0])", r"print\(x\)"),
    (representation, "repr(x[0])", r"print\(x\)"),
    (formatted, 'f"{x[0]}"', r"print\(x\)"),
    (formatted_well, "", r"Write it without"),
    (prints_arrays_in_tuples, "print((x, 1))", r"[Pp]rint them one by one"),
]


@pytest.mark.parametrize(("function", "line", "remedy"), MISTAKES)
def test_an_error_has_the_users_line_and_ends_with_the_remedy(function, line, remedy) -> None:
    with pytest.raises(tg.UnsupportedError) as info:
        tg.njit(function)(leaf([1.0, 2.0, 3.0]))
    lines = str(info.value).splitlines()
    assert 3 <= len(lines) <= 10
    assert lines[0].startswith(f"tg.njit cannot record {function.__name__}(): ")
    source, first = inspect.getsourcelines(function)
    assert f'File "{__file__}", line ' in lines[1]
    number = int(lines[1].split("line ")[1].split(",")[0])
    assert first <= number < first + len(source)
    assert lines[2].strip() == source[number - first].strip()
    assert line in lines[2]
    assert "active[" not in str(info.value), "numba's name of a type"
    assert re.search(remedy, lines[-1])


def test_a_name_that_is_not_defined() -> None:
    with pytest.raises(
        tg.UnsupportedError, match=r"'not_defined_anywhere' is not defined\s+Define"
    ):
        tg.njit(undefined)(leaf([1.0]))


@pytest.mark.parametrize("function", [
    transformed, python_function, python_class, undefined, two_types, no_attribute, float_index,
    added_to_text, kept_exception, formatted_well,
])  # fmt: skip
def test_the_same_mistake_is_the_same_error_without_tensors(function) -> None:
    with pytest.raises(tg.UnsupportedError) as recording:
        tg.njit(function)(leaf([1.0, 2.0, 3.0]))
    with pytest.raises(tg.UnsupportedError) as alone:
        tg.njit(function)(np.array([1.0, 2.0, 3.0]))
    with pytest.raises(tg.UnsupportedError) as passive:
        tg.njit(function)(tg.tensor([1.0, 2.0, 3.0]))
    for info in (alone, passive):
        assert len(str(info.value).splitlines()) <= 10
        assert str(info.value).startswith(f"tg.njit cannot compile {function.__name__}(): ")
    assert len(str(recording.value).splitlines()) <= 10


def test_the_users_line_is_the_outermost() -> None:
    @tg.njit
    def inner(x):
        return np.linalg.eigh(np.outer(x, x))[0]

    @tg.njit
    def outer(x):
        return inner(x)[0]

    with pytest.raises(tg.UnsupportedError, match="eigh") as info:
        outer(leaf([1.0, 2.0]))
    assert "return inner(x)[0]" in str(info.value) or "np.linalg.eigh(" in str(info.value)


def test_arguments_that_numba_does_not_take() -> None:
    @tg.njit
    def scaled(x, d):
        return x * 2.0

    for x in (leaf(1.0), 1.0):
        for bad, remedy in (
            ({"a": 1.0}, r"scaled\(\*\*d\)"), ({"a": leaf(1.0)}, r"scaled\(\*\*d\)"),
            (plain, "Put @tg.njit on that function"), (Thing(), "Pass numbers, arrays"),
            ([Thing()], "Pass numbers, arrays"),
        ):  # fmt: skip
            with pytest.raises(tg.UnsupportedError, match=remedy) as info:
                scaled(x, bad)
            assert len(str(info.value).splitlines()) <= 10


def test_numbas_text_is_kept() -> None:
    with pytest.raises(tg.UnsupportedError) as info:
        tg.njit(set_element)(leaf([1.0]))
    assert "Cannot modify readonly array" in str(info.value.__context__)


@pytest.mark.parametrize(
    "given",
    ["float64(float64)", ["float64(float64)"], (numba.float64,), numba.float64(numba.float64)],
)
def test_signatures_are_refused_by_name(given) -> None:
    with pytest.raises(TypeError, match=r"njit\(\) takes no signature .*write @tg\.njit"):
        tg.njit(given)


# --------------------------------------------------------------------------- printing, object mode
def test_print_shows_values(capfd) -> None:
    @tg.njit
    def shown(x):
        print(x[0])
        print("x", x[0], 1)
        print(x)
        print((x[0], 2))
        print(x[0] * 2.0 > 1.0)
        return x[0] * x[0]

    shown(leaf([1.5, 2.0])).backward()
    shown.primal(np.array([1.5, 2.0]))
    lines = capfd.readouterr().out.splitlines()
    assert lines[:5] == ["1.5", "x 1.5 1", "[1.5 2. ]", "(1.5, 2)", "True"]
    assert lines[5:] == lines[:5]


@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaWarning")
def test_object_mode_takes_no_active_values() -> None:
    with pytest.raises(tg.UnsupportedError, match="object mode") as info:
        tg.njit(in_object_mode)(leaf([1.0]))
    assert "tg.value" in str(info.value).splitlines()[-1]

    @tg.njit
    def with_numbers(x):
        n = 3
        known = tg.value(x[0])
        with objmode(y="float64"):
            y = n * known
        return y * x[0]

    x = leaf([2.0])
    with_numbers(x).backward()
    assert x.grad.tolist() == [6.0]
