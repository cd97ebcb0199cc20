"""Elementwise functions by hand: edges of powers and selections, options, errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from op_samples import tg_leaf

import tapegrad as tg
from tapegrad.engine import reverse as engine


def leaf(*values: float) -> Any:
    return tg_leaf(np.array(values, float))


def slopes(y: Any, *inputs: Any, order: int = 1) -> list[np.ndarray]:
    """Gradients of the sum of `y`, or of its derivative of a lower order by the first input."""
    for _ in range(order):
        ones = tg_leaf(np.ones(tuple(y.shape), y.dtype.np), active=False)
        grads = engine.grad([y], inputs, [ones], create_graph=True)
        y = grads[0]
    return [g.detach().numpy() for g in grads if g is not None]


@pytest.mark.parametrize("exponent", [2, 2.0])
def test_square_at_zero_has_all_derivatives(exponent: float) -> None:
    x = leaf(0.0, -3.0, 1.5)
    assert slopes(x**exponent, x)[0].tolist() == [0, -6, 3]
    assert slopes(x**exponent, x, order=2)[0].tolist() == [2, 2, 2]
    assert slopes(x**exponent, x, order=3)[0].tolist() == [0, 0, 0]
    assert slopes(x**exponent, x, order=4)[0].tolist() == [0, 0, 0]


def test_cube_and_reciprocal_powers() -> None:
    x = leaf(-2.0, 0.5)
    assert slopes(x**3, x)[0].tolist() == [12, 0.75]
    assert slopes(x**3, x, order=2)[0].tolist() == [-12, 3]
    assert slopes(x**3, x, order=3)[0].tolist() == [6, 6]
    np.testing.assert_allclose(slopes(x**-1, x, order=2)[0], 2 / x.detach().numpy() ** 3)


def test_power_zero() -> None:
    x, zero = leaf(0.0, 2.0, -1.0), leaf(0.0, 0.0, 0.0)
    assert (x**0).detach().tolist() == [1, 1, 1]
    assert slopes(x**0, x)[0].tolist() == [0, 0, 0]
    base, exponent = slopes(x**zero, x, zero)
    assert base.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(exponent, [0, math.log(2), math.nan])


def test_negative_base_keeps_its_gradient() -> None:
    """log of a negative base is the exponent's NaN, not the base's."""
    x, y = leaf(-2.0, -3.0), leaf(2.0, 3.0)
    base, exponent = slopes(x**y, x, y)
    assert base.tolist() == [-4, 27]
    assert np.isnan(exponent).all()


def test_number_to_a_power() -> None:
    y = leaf(0.0, 1.0, -2.0)
    value, log = 2.0 ** y.detach().numpy(), math.log(2)
    np.testing.assert_allclose(slopes(2**y, y)[0], log * value)
    np.testing.assert_allclose(slopes(2**y, y, order=3)[0], log**3 * value)
    assert slopes(0**y, y)[0].tolist()[:2] == [0, 0]


def test_mixed_derivative_of_a_power() -> None:
    x, y = leaf(1.7), leaf(-0.6)
    by_y = engine.grad([x**y], [y], [leaf(1.0).detach()], create_graph=True)
    got = engine.grad(by_y, [x], [leaf(1.0).detach()])[0]
    assert got is not None
    assert got.item() == pytest.approx(1.7**-1.6 * (1 - 0.6 * math.log(1.7)), rel=1e-14)


def test_integer_powers() -> None:
    x = tg_leaf(np.array([2, -3, 1, -1, 0]))
    assert (x**3).tolist() == [8, -27, 1, -1, 0]
    negative = tg_leaf(np.array([-1, -2, -5, -3, -1]))
    assert (x**negative).tolist() == [0, 0, 1, -1, 0]
    for _ in range(2):  # also when it was recorded before
        with pytest.raises(RuntimeError, match="Integers to negative integer powers"):
            x**-1
    assert (x**2.0).dtype is tg.float64


@pytest.mark.parametrize("call", [
    lambda x, y: x // y, lambda x, y: x % y, tg.fmod,
    lambda x, y: tg.div(x, y, rounding_mode="trunc"),
])  # fmt: skip
def test_integer_division_by_zero(call: Any) -> None:
    x, y = tg_leaf(np.array([3, -4])), tg_leaf(np.array([2, 3]))
    assert call(x, y).dtype is tg.int64
    for zero in (0, tg_leaf(np.array([1, 0]))):
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            call(x, zero)


def test_integer_division_rounds() -> None:
    x, y = tg_leaf(np.array([7, -7, 7, -7])), tg_leaf(np.array([2, 2, -2, -2]))
    assert tg.div(x, y, rounding_mode="trunc").tolist() == [3, -3, -3, 3]
    assert tg.div(x, y, rounding_mode="floor").tolist() == [3, -4, -4, 3]
    assert (x % y).tolist() == [1, 1, -1, -1]
    assert tg.fmod(x, y).tolist() == [1, -1, 1, -1]


def test_where_lets_nothing_leak() -> None:
    """The branch that is not taken gets 0, whatever its derivative is."""
    x = leaf(0.0, 4.0, math.inf)
    y = tg.where(x > 0, x.sqrt(), x)
    assert slopes(y, x)[0].tolist()[1:] == [0.25, 0]
    z = leaf(0.0, 1.0)
    assert slopes(tg.where(z > 0, 1 / z, 0.0), z)[0][1] == -1
    a, b = leaf(1.0, 2.0), leaf(3.0)
    first, second = slopes(tg.where(tg_leaf(np.array([True, False])), a, b), a, b)
    assert first.tolist() == [1, 0]
    assert second.tolist() == [1]


def test_infinite_cotangent_stays_where_it_belongs() -> None:
    x = leaf(-1.0, 1.0)
    grad = engine.grad([tg.relu(x)], [x], [leaf(math.inf, 1.0).detach()])[0]
    assert grad is not None
    assert grad.tolist() == [0, 1]


def test_ties_and_bounds() -> None:
    x, y = leaf(1.0, 2.0, 3.0), leaf(1.0, 3.0, 2.0)
    for call, winner in ((tg.maximum, [0.5, 0, 1]), (tg.minimum, [0.5, 1, 0])):
        first, second = slopes(call(x, y), x, y)
        assert first.tolist() == winner
        assert (first + second).tolist() == [1, 1, 1]
    assert slopes(x.clamp(1, 2), x)[0].tolist() == [1, 1, 0]
    assert x.clamp(3, 1).tolist() == [1, 1, 1]
    z = leaf(0.0)
    assert slopes(z.abs(), z)[0].tolist() == [0]
    assert slopes(z.relu(), z)[0].tolist() == [0]


def test_extreme_arguments() -> None:
    x = leaf(-800.0, 800.0)
    assert x.sigmoid().detach().tolist() == [0, 1]
    assert slopes(x.sigmoid(), x, order=2)[0].tolist() == [0, 0]
    assert slopes(tg.softplus(x), x)[0].tolist() == [0, 1]
    assert slopes(tg.elu(x), x, order=2)[0].tolist() == [0, 0]
    w = leaf(-800.0, 0.0)
    assert slopes(tg.logaddexp(w, -w), w, order=2)[0].tolist()[1] == 1
    assert x.sigmoid().dtype is tg.float64


def test_sinc_at_zero() -> None:
    x = leaf(0.0, 1e-3)
    assert x.sinc().detach().tolist()[0] == 1
    assert slopes(x.sinc(), x)[0][0] == 0
    second = slopes(x.sinc(), x, order=2)[0]
    np.testing.assert_allclose(second, -(math.pi**2) / 3, rtol=1e-5)
    assert slopes(x.sinc(), x, order=3)[0][0] == 0


def test_aliases_do_the_same() -> None:
    x = leaf(0.3, -0.4)
    for alias, name in [
        ("subtract", "sub"), ("multiply", "mul"), ("divide", "div"), ("true_divide", "div"),
        ("less", "lt"), ("greater_equal", "ge"), ("arctan2", "atan2"),
    ]:  # fmt: skip
        assert getattr(tg, alias)(x, 0.5).tolist() == getattr(tg, name)(x, 0.5).tolist()
        assert getattr(x, alias)(0.5).tolist() == getattr(tg, name)(x, 0.5).tolist()
    for alias, name in [
        ("absolute", "abs"), ("negative", "neg"), ("arcsin", "asin"), ("arccos", "acos"),
        ("arctanh", "atanh"), ("fix", "trunc"),
    ]:  # fmt: skip
        assert getattr(x, alias)().tolist() == getattr(tg, name)(x).tolist()
    assert tg.clip(x, 0, 1).tolist() == tg.clamp(x, 0, 1).tolist()


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda x, b: -b, RuntimeError, "Negation, the `-` operator, on a bool tensor"),
    (lambda x, b: +b, RuntimeError, "The `+` operator, on a bool tensor is not supported."),
    (lambda x, b: b - b, RuntimeError, "Subtraction, the `-` operator, with two bool tensors"),
    (lambda x, b: 1 - b, RuntimeError, "Subtraction, the `-` operator, with a bool tensor"),
    (lambda x, b: ~x, TypeError, "only implemented on integer and Boolean-type tensors"),
    (lambda x, b: x & x, NotImplementedError, "\"bitwise_and_cpu\" not implemented for 'Double'"),
    (lambda x, b: tg.div(x, 2, rounding_mode="up"), RuntimeError, "None, 'trunc', or 'floor'"),
    (lambda x, b: tg.where(x, x, x), RuntimeError, "to be a boolean tensor, but got"),
    (lambda x, b: x.clamp(), RuntimeError, "At least one of 'min' or 'max' must not be None"),
    (lambda x, b: tg.add(b, b + 1, alpha=0.5), RuntimeError, "argument alpha must not"),
    (lambda x, b: tg.gelu(x, approximate="no"), RuntimeError, "must be either none or tanh."),
    (lambda x, b: tg.lerp(x, b, 0.5), RuntimeError, "expected dtype double for `end` but got"),
    (lambda x, b: tg.add(x, "a"), TypeError, "'other' (position 2) must be Tensor, not str"),
    (lambda x, b: tg.exp("a"), TypeError, "'input' (position 1) must be Tensor, not str"),
    (lambda x, b: tg.pow("a", 3), TypeError, "received an invalid combination of arguments"),
    (lambda x, b: tg.maximum(x, leaf(1, 2, 3)), RuntimeError, "must match the size of tensor b"),
    (lambda x, b: tg.lerp(x, x, leaf(1, 2, 3)), RuntimeError, "must match the size of tensor b"),
])  # fmt: skip
def test_errors_are_torchs(call: Any, error: type[Exception], text: str) -> None:
    x, b = leaf(1.0, 2.0), tg_leaf(np.array([True, False]))
    with pytest.raises(error) as raised:
        call(x, b)
    assert text in str(raised.value)
    assert x.tolist() == [1, 2]
