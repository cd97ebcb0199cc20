"""Array expressions under `njit`: one loop for an expression, and one block for an element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_njit_sums import grads, leaf, recorded

import tapegrad as tg


def agree(found: Any, wanted: Any, wrt: list[Any]) -> None:
    """Compare values and derivatives to second order."""
    np.testing.assert_allclose(found.tolist(), wanted.tolist(), 1e-12)
    ones = tg.ones_like(wanted)
    for x, y in zip(grads(found, wrt, ones), grads(wanted, wrt, ones), strict=True):
        np.testing.assert_allclose(x, y, 1e-10, 1e-12)


@tg.njit
def layer(a, b, c, s):  # type: ignore[no-untyped-def]
    return np.tanh(a * b + 0.5) - s * a / c + 2.0 * np.exp(-(a**2)) * b


def plain_layer(a: Any, b: Any, c: Any, s: Any) -> Any:
    return (a * b + 0.5).tanh() - s * a / c + 2.0 * (-(a**2)).exp() * b


def test_operands_of_all_kinds() -> None:
    """Active and passive arrays, broadcast, and scalars."""
    a, s = leaf(3, 4), leaf()
    for b in (leaf(4), leaf(3, 1), leaf(3, 4)[::2][:1]):
        for c in (np.array([[2], [3], [4]]), np.linspace(1, 2, 4, dtype=np.float32), 1.5):
            other = tg.tensor(c, dtype=tg.float64)
            agree(layer(a, b, c, s), plain_layer(a, b, other, s), [a, b, s])
    b = np.linspace(1, 2, 4)
    agree(layer(a, b, 2, 3), plain_layer(a, tg.tensor(b), 2, 3), [a])
    agree(layer(b, a, 2, s), plain_layer(tg.tensor(b), a, 2, s), [a, s])


def test_an_expression_takes_a_block_for_each_element() -> None:
    """Eleven operations on four operands with two results that are kept: four numbers, not eleven."""
    a, b, s = leaf(8, 8), leaf(8, 8), leaf()
    assert recorded(layer, a, b, tg.tensor(2.0), s) <= 64 * 4


@tg.njit
def changed(x):  # type: ignore[no-untyped-def]
    a = x.copy()
    b = a * 2.0 + 1.0
    a[0] = 7.0
    c = a * 2.0 + b
    b += c * c - a
    return b * a


def test_arrays_that_are_written_between() -> None:
    x = leaf(3)
    a = tg.cat([tg.tensor([7.0]), x[1:]])
    first = x * 2.0 + 1.0
    c = a * 2.0 + first
    agree(changed(x), (first + c * c - a) * a, [x])


@tg.njit
def write(a, i):  # type: ignore[no-untyped-def]
    a[i] = 3.0
    return 2.0


@tg.njit
def in_the_middle(x):  # type: ignore[no-untyped-def]
    a = x.copy()
    return a * x - x * write(a, 1) + a


def test_a_call_within_an_expression_that_writes() -> None:
    """What comes before the call is computed before it."""
    x = leaf(3)
    after = tg.cat([x[:1], tg.tensor([3.0]), x[2:]])
    agree(in_the_middle(x), x * x - x * 2.0 + after, [x])


@tg.njit
def branches(x, n):  # type: ignore[no-untyped-def]
    y = x * 1.0
    for i in range(n):
        if i % 2:
            y = np.sin(y) * x + y
            continue
        y = np.floor(y) * x + (y > 0.0) * y
    return y


def test_control_flow_and_what_no_block_holds() -> None:
    x = leaf(5)
    y = x * 1.0
    for i in range(4):
        y = y.sin() * x + y if i % 2 else y.floor() * x + (y > 0.0) * y
    agree(branches(x, 4), y, [x])


@tg.njit
def empty(x):  # type: ignore[no-untyped-def]
    return np.exp(x * 2.0) + x


def test_no_elements() -> None:
    assert empty(leaf(0, 3)).shape == (0, 3)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"broadcast|shape"):
        layer(leaf(3), leaf(4), 1.0, 1.0)


@pytest.mark.parametrize("text", [
    "np.maximum(x, x[0])", "np.arctan2(x[1], x)", "np.power(x, x[0]) + 1.0", "x ** x[0]",
    "np.hypot(x, x[1]) * 2.0",
    "np.minimum(np.maximum(x, x[0]), x[2])", "np.cumsum(np.fmod(x, x[0] + 0.1))", "np.greater(x, x[1]) * x",
    "np.where(np.less(x, x[1]), x * x, x[0])", "np.add(x[0], 2.0 * x)",
])  # fmt: skip
def test_functions_of_an_array_and_an_active_number(text) -> None:
    """numba's own loops over arrays take no active numbers."""
    scope = {"np": np}
    exec(f"def f(x):\n    return {text}\n", scope)
    f = tg.njit(scope["f"])
    at = np.array([1.3, 0.4, 2.1])
    x = tg.tensor(at, requires_grad=True)
    np.testing.assert_allclose(f(x).detach().numpy(), scope["f"](at), rtol=1e-14)
    assert tg.autograd.gradcheck(f, (x,))
