"""Native code from Python's text: the same numbers as Python's, and errors that name the line."""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapegrad.native.machine_code import kernel_address
from tapegrad.native.translator import TranslationError
from tapegrad.native.words import (
    bits_float,
    fma,
    helper,
    inlined,
    p8,
    p16,
    p32,
    p64,
    pf32,
    pf64,
    select,
    stack_words,
)

_INTEGERS = st.integers(-(2**62), 2**62)
_SMALL = st.integers(-50, 50)
_FLOATS = st.floats(allow_nan=False, width=64)
_COUNT = 0


def native(function: Callable[..., Any], *operands: float) -> tuple[int, float]:
    """The results of ``function(a, d, i, x)``: `i` and `x` are places for an integer and a float."""
    run = compiled(function)
    return run(*operands)


def compiled(function: Callable[..., Any]) -> Callable[..., tuple[int, float]]:
    """Translate a function of addresses of operands (int64, float64) and results."""
    global _COUNT
    _COUNT += 1
    address = kernel_address(function, f"test_translator {_COUNT} {function.__code__.co_code!r}")
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(address)

    def run(*operands: float) -> tuple[int, float]:
        whole = np.array([x for x in operands if isinstance(x, int)] or [0], np.int64)
        numbers = np.array([x for x in operands if isinstance(x, float)] or [0.0])
        i, x = np.zeros(1, np.int64), np.zeros(1)
        call(whole.ctypes.data, numbers.ctypes.data, i.ctypes.data, x.ctypes.data)
        return int(i[0]), float(x[0])

    return run


def wrapped(n: int) -> int:
    return (n + 2**63) % 2**64 - 2**63


# --------------------------------------------------------------------------- integers
def whole(a, d, i, x):  # type: ignore[no-untyped-def]
    n, m = p64(a)[0], p64(a)[1]
    p64(i)[0] = (n + 3) * m - (n & 0xFF | m ^ 5) + (~n >> 3) + (m << 2) + -n + abs(m)


_whole = compiled(whole)


@given(_INTEGERS, _INTEGERS)
def test_integers_wrap_at_64_bits(n: int, m: int) -> None:
    wanted = (n + 3) * m - (n & 0xFF | m ^ 5) + (~n >> 3) + (m << 2) + -n + abs(m)
    assert _whole(n, m)[0] == wrapped(wanted)


def divided(a, d, i, x):  # type: ignore[no-untyped-def]
    n, m = p64(a)[0], p64(a)[1]
    p64(i)[0] = n // m * 1000 + n % m


_divided = compiled(divided)


@given(_SMALL, _SMALL.filter(bool))
def test_division_rounds_down(n: int, m: int) -> None:
    assert _divided(n, m)[0] == n // m * 1000 + n % m


def compared(a, d, i, x):  # type: ignore[no-untyped-def]
    n, m, y = p64(a)[0], p64(a)[1], pf64(d)[0]
    result = 0
    if (n < m <= 7 and not (n == 3 or m != 4)) or y >= n:
        result |= 1
    if n in (1, 2, m):
        result |= 2
    if n not in (-1, 5):
        result |= 4
    result |= (8 if n > y else 16) if m else 32
    result += 64 * (n > m) + (128 if y and n else 0)
    p64(i)[0] = result + (n and m) * 1024 + (n or m) * 1048576


_compared = compiled(compared)


@given(_SMALL, _SMALL, st.floats(-10, 10))
def test_conditions(n: int, m: int, y: float) -> None:
    wanted = 1 if (n < m <= 7 and not (n == 3 or m != 4)) or y >= n else 0
    wanted |= (2 if n in (1, 2, m) else 0) | (4 if n not in (-1, 5) else 0)
    wanted |= (8 if n > y else 16) if m else 32
    wanted += 64 * (n > m) + (128 if y and n else 0)
    assert _compared(n, m, y)[0] == wanted + (n and m) * 1024 + (n or m) * 1048576


def test_nan_is_true_and_unequal() -> None:
    def function(a, d, i, x):  # type: ignore[no-untyped-def]
        y = pf64(d)[0]
        p64(i)[0] = (y != y) + 2 * (y == y) + 4 * (not y < 0.0) + (8 if y else 0)

    assert native(function, math.nan)[0] == 1 + 4 + 8


# --------------------------------------------------------------------------- loops
def looped(a, d, i, x):  # type: ignore[no-untyped-def]
    n, m, step = p64(a)[0], p64(a)[1], p64(a)[2]
    total = 0
    for k in range(n, m, step):
        if k % 3 == 1:
            continue
        if total > 5000:
            break
        for _ in range(3):
            total += k
        k = 7  # Python's loop does not see it
        total += k
    for k in range(5, n, -1):
        total += k
    while total & 1:
        total -= 3
        if total < -100:
            break
    p64(i)[0] = total


_looped = compiled(looped)


@given(_SMALL, _SMALL, st.integers(-5, 5).filter(bool))
def test_loops(n: int, m: int, step: int) -> None:
    total = 0
    for k in range(n, m, step):
        if k % 3 == 1:
            continue
        if total > 5000:
            break
        total += 3 * k + 7
    total += sum(range(5, n, -1))
    while total & 1:
        total -= 3
        if total < -100:
            break
    assert _looped(n, m, step)[0] == total


# --------------------------------------------------------------------------- floats and memory
def real(a, d, i, x):  # type: ignore[no-untyped-def]
    n, y, z = p64(a)[0], pf64(d)[0], pf64(d)[1]
    total = 0  # becomes a float
    total = total + y * z - n / 2
    total -= y**2 + abs(z) + min(y, z) + max(y, n) + math.sin(y)
    pf64(x)[0] = select(total > 0.0, total, -total) + fma(y, 2.0, np.float64(n))


_real = compiled(real)


@given(_SMALL, st.floats(-100, 100), st.floats(-100, 100))
def test_floats(n: int, y: float, z: float) -> None:
    total = 0 + y * z - n / 2
    total -= y**2 + abs(z) + min(y, z) + max(y, n) + math.sin(y)
    assert _real(n, y, z)[1] == pytest.approx(
        (total if total > 0.0 else -total) + (y * 2.0 + n), rel=1e-12
    )


@given(_INTEGERS, _FLOATS)
@settings(max_examples=50)
def test_memory_of_each_size(n: int, y: float) -> None:
    memory = struct.pack("<qd", n, y)
    read = (
        struct.unpack("<B", memory[:1])
        + struct.unpack("<h", memory[:2])
        + struct.unpack("<i", memory[:4])
    )
    assert _sizes(n, y)[0] == wrapped(sum(read) + (n & 0xFFFFFFFF) + n % 256)
    with np.errstate(over="ignore"):
        assert _sizes(n, y)[1] == np.float32(y)


def sizes(a, d, i, x):  # type: ignore[no-untyped-def]
    words = stack_words(2)
    p8(words)[0], p8(words)[1] = p64(a)[0], 0
    pf32(words)[1] = pf64(d)[0]
    p64(i)[0] = (
        p8(a)[0]
        + p16(a)[0]
        + p32(a)[0]
        + np.int64(np.uint32(p32(a)[0]))
        + np.int64(np.uint8(p64(a)[0]))
    )
    pf64(x)[0] = pf32(words)[1]


_sizes = compiled(sizes)


def test_augmented_places_are_evaluated_once() -> None:
    def function(a, d, i, x):  # type: ignore[no-untyped-def]
        p64(i)[next_of(a) - 1] += 10

    operand = [0]
    assert native(function, *operand)[0] == 10


@helper
def next_of(address):  # type: ignore[no-untyped-def]
    p64(address)[0] += 1
    return p64(address)[0]


# --------------------------------------------------------------------------- functions
@helper
def factorial(n):  # type: ignore[no-untyped-def]
    return 1 if n < 2 else n * factorial(n - 1)


@inlined
def quotient(n, m):  # type: ignore[no-untyped-def]
    if m == 0:
        return False, 0
    return True, n // m


@helper
def doubled(x):  # type: ignore[no-untyped-def]
    return x + x


@helper
def nothing(address):  # type: ignore[no-untyped-def]
    if p64(address)[0] == 0:
        return
    p64(address)[0] = 0


def test_functions_of_functions() -> None:
    def function(a, d, i, x):  # type: ignore[no-untyped-def]
        possible, result = quotient(p64(a)[0], p64(a)[1])
        p64(i)[0] = factorial(10) + result if possible else -1
        pf64(x)[0] = doubled(pf64(d)[0]) + doubled(p64(a)[0])  # one function a kind of operand
        nothing(a)

    run = compiled(function)
    assert run(7, 2, 0.25) == (math.factorial(10) + 3, 14.5)
    assert run(7, 0, 0.25) == (-1, 14.5)


def test_pointers_are_passed_on() -> None:
    def function(a, d, i, x):  # type: ignore[no-untyped-def]
        first, second = (p64(a), pf64(d)) if p64(a)[0] else (p64(i), pf64(x))
        p64(i)[0], pf64(x)[0] = first[0] * 2, second[0] * bits_float(0x4000000000000000)

    assert native(function, 21, 1.5) == (42, 3.0)


# --------------------------------------------------------------------------- what is no native code
def _unknown_name(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = undefined_here  # noqa: F821


def _text(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = "text"


def _list(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = [1, 2][p64(a)[0]]


def _function_of_python(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = sorted(p64(a)[0])


def _float_as_integer(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = pf64(d)[0]


def _float_in_an_integer(a, d, i, x):  # type: ignore[no-untyped-def]
    n = p64(a)[0]
    n = pf64(d)[0]
    pf64(x)[0] = n


def _loop_over_a_pointer(a, d, i, x):  # type: ignore[no-untyped-def]
    for k in p64(a):
        p64(i)[0] = k


def _keywords(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = doubled(x=1)


def _too_few(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = fma(1.0, 2.0)


def _elements_of_a_number(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = p64(a)[0][0]


def _statement_of_python(a, d, i, x):  # type: ignore[no-untyped-def]
    with p64(a):
        pass


def _loop_with_else(a, d, i, x):  # type: ignore[no-untyped-def]
    for k in range(3):
        p64(i)[0] = k
    else:
        p64(i)[0] = 5


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_statement_of_python, "no such With"), (_loop_with_else, "no such For"),
        (_unknown_name, "undefined_here"), (_text, "str"), (_list, "List"),
        (_function_of_python, "sorted"), (_float_as_integer, "float64 where int is wanted"),
        (_float_in_an_integer, "n is an integer, and a float elsewhere"),
        (_loop_over_a_pointer, "loops over range"), (_keywords, "keywords"),
        (_too_few, "fma takes 3 operands"), (_elements_of_a_number, "int has no elements"),
    ],
)  # fmt: skip
def test_errors_name_the_line(function: Callable[..., Any], reason: str) -> None:
    with pytest.raises(TranslationError, match=reason) as caught:
        compiled(function)
    line = function.__code__.co_firstlineno
    named = int(str(caught.value).split(":")[1])
    assert str(caught.value).startswith(__file__)
    assert line < named <= line + 3


def _falls_through(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = sometimes(p64(a)[0])


@helper
def sometimes(n):  # type: ignore[no-untyped-def]
    if n > 3:
        return 7


def _compared_with_a_huge_number(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = p64(a)[0] < 2**63


def _divided_by_zero(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = 1 // 0


def _operand_by_name(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = by_name(1)


def _assigned_below(a, d, i, x):  # type: ignore[no-untyped-def]
    for k in range(2):
        if k == 1:
            p64(i)[0] = _SIZE  # noqa: F823
        else:
            _SIZE = 9


_SIZE = 5


def _assigned_in_one_branch(a, d, i, x):  # type: ignore[no-untyped-def]
    if p64(a)[0] > 3:
        k = 1
    p64(i)[0] = k


def _assigned_in_another_branch(a, d, i, x):  # type: ignore[no-untyped-def]
    if p64(a)[0] > 3:
        k = 1
    elif p64(a)[0] > 2:
        p64(i)[0] = 0
    else:
        k = 2
    k += 1


def _assigned_in_a_loop(a, d, i, x):  # type: ignore[no-untyped-def]
    for k in range(p64(a)[0]):
        last = k
    p64(i)[0] = last


def _index_of_a_loop(a, d, i, x):  # type: ignore[no-untyped-def]
    for k in range(p64(a)[0]):
        p64(i)[0] = k
    p64(i)[0] = k


def _assigned_after_a_break(a, d, i, x):  # type: ignore[no-untyped-def]
    n = 0
    while True:
        n += 1
        if n > p64(a)[0]:
            break
        k = n
    p64(i)[0] = k


def _assigned_in_the_loop_that_reads(a, d, i, x):  # type: ignore[no-untyped-def]
    n = 0
    while n < p64(a)[0]:
        if n > 0:
            k = n
        n += 1
        p64(i)[0] = k


def _shifted_left_too_far(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = p64(a)[0] << 64


def _shifted_right_too_far(a, d, i, x):  # type: ignore[no-untyped-def]
    n = p64(a)[0]
    n >>= _SIZE * 13
    p64(i)[0] = n


def _shifted_back(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = p64(a)[0] >> -1


@helper
def by_name(n, *, step=2):  # type: ignore[no-untyped-def]
    return n + step


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (_falls_through, "returns nothing at the end"),
        (_compared_with_a_huge_number, "9223372036854775808 is no integer of 64 bits"),
        (_divided_by_zero, "by zero"), (_operand_by_name, "by_name takes other operands"),
        (_assigned_below, "_SIZE is read above its first assignment"),
        *[
            (f, f"{name} of {f.__name__} is read, but only some of the ways here assign it")
            for f, name in (
                (_assigned_in_one_branch, "k"), (_assigned_in_another_branch, "k"),
                (_assigned_in_a_loop, "last"), (_index_of_a_loop, "k"), (_assigned_after_a_break, "k"),
                (_assigned_in_the_loop_that_reads, "k"),
            )
        ],
        (_shifted_left_too_far, "a shift by 64: integers have 64 bits"),
        (_shifted_right_too_far, "a shift by 65"), (_shifted_back, "a shift by -1"),
    ],
)  # fmt: skip
def test_what_would_be_another_number_is_refused(function: Callable[..., Any], reason: str) -> None:
    with pytest.raises(TranslationError, match=reason):
        compiled(function)


def _assigned_on_each_way(a, d, i, x):  # type: ignore[no-untyped-def]
    n = p64(a)[0]
    if n < 0:
        return
    if n > 3:
        k = 1
    elif n > 2:
        p64(i)[0] = 70
        return
    else:
        if n == 0:
            if p64(a)[1] > 0:
                return
            else:
                return
        elif n == 1:
            k = 5
        else:
            k = 6
    while True:
        last = k
        if last > 5:
            extra = 1
            break
        if last > 4:
            extra = 2
            break
        k += 1
    for j in range(3):
        if j == 2:
            continue
        elif j == 0:
            part = 100
        else:
            part = 1000
        extra += part
    if _SIZE == 5:
        known = 10000
    p64(i)[0] = last + extra + known


@pytest.mark.parametrize(
    ("n", "result"), [(-1, 0), (0, 0), (1, 11107), (2, 11107), (3, 70), (4, 11107)]
)
def test_variables_that_each_way_assigns(n: int, result: int) -> None:
    assert native(_assigned_on_each_way, n, 1) == (result, 0.0)


def _shifted(a, d, i, x):  # type: ignore[no-untyped-def]
    p64(i)[0] = (p64(a)[0] << 63) + (p64(a)[0] >> 63) + (p64(a)[0] >> p64(a)[1]) + (p64(a)[0] << 0)


@pytest.mark.parametrize("n", [5, -5, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("by", [0, 1, 63])
def test_shifts_by_up_to_63_bits(n: int, by: int) -> None:
    assert native(_shifted, n, by)[0] == wrapped((n << 63) + (n >> 63) + (n >> by) + n)


# --------------------------------------------------------------------------- kinds found out late
@helper
def summed(n):  # type: ignore[no-untyped-def]
    if n > 0:
        rest = summed(n - 1)
        return rest + 1.0
    return 0.5


@helper
def even(n):  # type: ignore[no-untyped-def]
    if n > 0:
        return odd(n - 1) * 2
    return 0.75


@helper
def odd(n):  # type: ignore[no-untyped-def]
    if n > 0:
        return even(n - 1) + 1
    return 3


def test_functions_that_call_each_other_return_floats() -> None:
    def function(a, d, i, x):  # type: ignore[no-untyped-def]
        pf64(x)[0] = summed(p64(a)[0]) * 1000 + even(p64(a)[0])

    run = compiled(function)
    assert run(4)[1] == 4500 + ((0.75 + 1) * 2 + 1) * 2
    assert run(5)[1] == 5500 + ((3 * 2 + 1) * 2 + 1) * 2


def test_known_integers_beside_floats_have_any_size() -> None:
    def function(a, d, i, x):  # type: ignore[no-untyped-def]
        y = pf64(d)[0]
        pf64(x)[0] = y * 2**63 + max(y, 2**70) + p64(a)[0] ** 2.0
        p64(i)[0] = (y < 2**64) + abs(y > 0)

    assert native(function, 2**40, 1.0) == (2, 2.0**63 + 2.0**70 + 2.0**80)
