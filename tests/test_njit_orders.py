"""Derivatives of every order at points where adjoints are exactly 0, which are not absent."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.njit_compiler.lowering import scalars
from tapegrad.ops.table import TABLE
from tapegrad.scalar_tape import opcodes as strip_code

SMOOTH = [
    (function, name) for function, name in scalars.NUMPY_FUNCTIONS.items()
    if not strip_code.is_truth(TABLE[name])
]  # fmt: skip
EAGER = {"sinc": tg.sinc, "pow": tg.pow, "numpy_sign": tg.sign}


def leaf(value):
    return tg.tensor(value, requires_grad=True)


def all_derivatives(function, points, order):
    """Every mixed derivative up to an order, by the variables' numbers; recorded, and swept at the end."""
    leaves = [leaf(float(p)) for p in points]
    recorded, swept = {}, {}

    def descend(y, key):
        recorded[key] = y.item() if isinstance(y, tg.Tensor) else float(y)
        if len(key) == order:
            return
        if not (isinstance(y, tg.Tensor) and y.requires_grad):
            for more in range(1, order - len(key) + 1):
                for rest in itertools.product(range(len(leaves)), repeat=more):
                    recorded[(*key, *rest)] = swept[(*key, *rest)] = 0.0
            return
        rows = tg.autograd.grad(y, leaves, retain_graph=True, allow_unused=True)
        again = tg.autograd.grad(y, leaves, create_graph=True, allow_unused=True)
        for i, (row, g) in enumerate(zip(rows, again, strict=True)):
            swept[(*key, i)] = 0.0 if row is None else row.item()
            descend(0.0 if g is None else g, (*key, i))

    descend(function(*leaves), ())
    return recorded, swept


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value == pytest.approx(other[key], rel=1e-8, abs=1e-8, nan_ok=True), key


# --------------------------------------------------------------------------- exact values
def fourth_power(x):
    return x * x * x * x


def gaussian(x):
    return math.exp(-x * x)


def shifted(x):
    return (x - 1.0) * (x - 1.0) * (x - 1.0)


def branched(x):
    return math.sin(x) if x <= 0.0 else x


EXACT = [
    (math.sin, 0.0, [0, 1, 0, -1, 0, 1]),
    (math.sin, -0.0, [0, 1, 0, -1, 0, 1]),
    (math.cos, 0.0, [1, 0, -1, 0, 1, 0]),
    (math.sinh, 0.0, [0, 1, 0, 1, 0, 1]),
    (math.cosh, -0.0, [1, 0, 1, 0, 1, 0]),
    (math.tan, 0.0, [0, 1, 0, 2, 0, 16]),
    (math.tanh, 0.0, [0, 1, 0, -2, 0, 16]),
    (math.atan, 0.0, [0, 1, 0, -2, 0, 24]),
    (math.asin, 0.0, [0, 1, 0, 1, 0, 9]),
    (math.log1p, 0.0, [0, 1, -1, 2, -6, 24]),
    (math.log, 1.0, [0, 1, -1, 2, -6, 24]),
    (math.expm1, -0.0, [0, 1, 1, 1, 1, 1]),
    (math.erf, 0.0, [c * 2 / math.sqrt(math.pi) for c in (0, 1, 0, -2, 0, 12)]),
    (gaussian, 0.0, [1, 0, -2, 0, 12, 0]),
    (gaussian, -0.0, [1, 0, -2, 0, 12, 0]),
    (fourth_power, 0.0, [0, 0, 0, 0, 24, 0]),
    (fourth_power, -0.0, [0, 0, 0, 0, 24, 0]),
    (fourth_power, 1.0, [1, 4, 12, 24, 24, 0]),
    (shifted, 1.0, [0, 0, 0, 6, 0, 0]),
    (branched, 0.0, [0, 1, 0, -1, 0, 1]),
]  # fmt: skip


@functools.cache
def compiled(function):
    return tg.njit(lambda x: function(x)) if function.__module__ == "math" else tg.njit(function)


@pytest.mark.parametrize(("function", "at", "values"), EXACT)
def test_exact_derivatives_of_one_variable(function, at, values) -> None:
    recorded, swept = all_derivatives(compiled(function), (at,), 5)
    for order, exact in enumerate(values):
        key = (0,) * order
        assert recorded[key] == pytest.approx(exact, rel=1e-12, abs=1e-14)
        assert swept.get(key, exact) == pytest.approx(exact, rel=1e-12, abs=1e-14)


def test_transforms_at_zero() -> None:
    sine = compiled(math.sin)
    third = tg.grad(tg.grad(tg.grad(sine)))
    assert third(0.0).item() == -1.0
    assert third(-0.0).item() == -1.0
    fourth = tg.grad(tg.grad(tg.grad(tg.grad(compiled(gaussian)))))
    assert fourth(0.0).item() == pytest.approx(12.0, rel=1e-15)
    at = tg.tensor([0.0, 1.0, -0.0])
    rows = tg.vmap(third)(at)
    np.testing.assert_allclose(rows.numpy(), [-1.0, -math.cos(1.0), -1.0], rtol=1e-14)

    def along(function):
        return lambda x: tg.func.jvp(function, (x,), (tg.ones_like(x),))[1]

    zero = tg.tensor(0.0)
    assert along(tg.grad(tg.grad(sine)))(zero).item() == -1.0
    assert along(along(along(sine)))(zero).item() == -1.0
    assert tg.func.jacfwd(tg.func.jacrev(tg.func.jacfwd(sine)))(zero).item() == -1.0


MONOMIALS = [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2), (3, 1)]


@pytest.mark.parametrize("powers", MONOMIALS)
def test_mixed_derivatives_of_monomials_at_zero(powers) -> None:
    """Only the derivative by just these variables is not 0: the product of the factorials."""
    m, n = powers

    @tg.njit
    def monomial(x, y):
        product = 1.0
        for _ in range(m):
            product = product * x
        for _ in range(n):
            product = product * y
        return product

    for points in itertools.product((0.0, -0.0), repeat=2):
        for found in all_derivatives(monomial, points, 4):
            for key, value in found.items():
                whole = key.count(0) == m and key.count(1) == n
                assert value == (math.factorial(m) * math.factorial(n) if whole else 0.0)


def test_a_factor_that_is_zero() -> None:
    f = tg.njit(lambda a, b: a * math.sin(b))
    for at in (0.0, -0.0):
        recorded, swept = all_derivatives(f, (at, 0.5), 3)
        for key in itertools.permutations((0, 1, 1)):
            assert recorded[key] == swept[key] == pytest.approx(-math.sin(0.5), rel=1e-14)


# --------------------------------------------------------------------------- beside Tensors
def forms(function, arity):
    if arity == 1:
        return [
            lambda x: function(x),
            lambda x: x * x * function(x),
            lambda x, y: y * function(x),
            lambda x, y: function(x * y) * y,
        ]
    return [lambda x, y: function(x, y), lambda x, y: function(x * x, y) * x]


@pytest.mark.parametrize(("function", "name"), SMOOTH, ids=[n for _, n in SMOOTH])
def test_all_derivatives_where_adjoints_vanish(function, name) -> None:
    """What is infinite or NaN is so in both; `test_exact_derivatives_of_one_variable` has values."""
    arity = TABLE[name].arity
    reference = EAGER.get(name) or getattr(tg, name)
    for own, same in zip(forms(function, arity), forms(reference, arity), strict=True):
        native, count = tg.njit(own), own.__code__.co_argcount
        for points in itertools.product((0.0, -0.0, 1.0), repeat=count):
            recorded, swept = all_derivatives(native, points, 4 if count == 1 else 3)
            expected, by_sweep = all_derivatives(same, points, 4 if count == 1 else 3)
            assert_same(recorded, expected)
            assert_same(swept, by_sweep)


# --------------------------------------------------------------------------- arrays
def test_sums_of_products_at_zero() -> None:
    """The third derivative of v @ M @ v by an element of M is a matrix with a 1 (or 2) in it."""

    @tg.njit
    def form(v, m):
        return np.dot(v, m @ v)

    @tg.njit
    def by_sum(v, m):
        return np.sum(v * (m @ v))

    for function in (form, by_sum):
        for zero in (0.0, -0.0):
            v, m = leaf([zero] * 3), leaf([[zero] * 3] * 3)
            (slope,) = tg.autograd.grad(function(v, m), v, create_graph=True)
            for i, j in itertools.product(range(3), repeat=2):
                (row,) = tg.autograd.grad(slope[i], v, create_graph=True)
                (third,) = tg.autograd.grad(row[j], m, retain_graph=True)
                exact = np.zeros((3, 3))
                exact[i, j] += 1.0
                exact[j, i] += 1.0
                np.testing.assert_array_equal(third.numpy(), exact)


def test_array_expressions_and_products_at_zero() -> None:
    @tg.njit
    def expression(x):
        return np.sum(np.sin(x) * x * x)

    @tg.njit
    def product(x):
        return np.prod(x)

    x = leaf([0.0, -0.0, 1.0])
    y = expression(x)
    for _ in range(3):
        (y,) = tg.autograd.grad(y.sum(), x, create_graph=True)
    at_one = 5 * math.cos(1.0) - 6 * math.sin(1.0)  # 6 cos x - 6 x sin x - x^2 cos x
    np.testing.assert_allclose(y.detach().numpy(), [6.0, 6.0, at_one], rtol=1e-13)
    x = leaf([0.0, -0.0, 0.0])
    (first,) = tg.autograd.grad(product(x), x, create_graph=True)
    (second,) = tg.autograd.grad(first[0], x, create_graph=True)
    (third,) = tg.autograd.grad(second[1], x)
    np.testing.assert_array_equal(third.numpy(), [0.0, 0.0, 1.0])


def test_many_cotangents_at_once() -> None:
    @tg.njit
    def function(x):
        out = np.zeros(2)
        out[0] = x[0] * math.sin(x[1])
        out[1] = x[1] * x[1] * x[0]
        return out

    x = leaf([0.0, 0.0])
    y = function(x)
    (rows,) = tg.autograd.grad(y, x, tg.eye(2), create_graph=True, is_grads_batched=True)
    np.testing.assert_array_equal(rows.detach().numpy(), np.zeros((2, 2)))
    (second,) = tg.autograd.grad(rows[0, 0], x, create_graph=True)
    np.testing.assert_array_equal(second.detach().numpy(), [0.0, 1.0])
    (second,) = tg.autograd.grad(rows[1, 1], x, create_graph=True)
    (third,) = tg.autograd.grad(second[1], x)
    np.testing.assert_array_equal(third.numpy(), [2.0, 0.0])
    np.testing.assert_array_equal(
        tg.func.hessian(function)(x.detach()).numpy(),
        [[[0.0, 1.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]],
    )


# --------------------------------------------------------------------------- absent and infinite
def test_infinite_derivatives_of_what_is_reached_and_of_what_is_not() -> None:
    root = tg.njit(lambda x: math.sqrt(x))
    recorded, swept = all_derivatives(root, (0.0,), 4)
    assert [recorded[(0,) * n] for n in range(5)] == [0.0, math.inf, -math.inf, math.inf, -math.inf]
    assert swept[0, 0, 0] == math.inf

    @tg.njit
    def with_dead_code(x):
        return x * x * x, math.sqrt(x)

    x = leaf(0.0)
    y, slope = with_dead_code(x)
    for exact in (0.0, 0.0, 6.0):
        (y,) = tg.autograd.grad(y, x, create_graph=True)
        assert y.item() == exact
    x = leaf(0.0)
    y, slope = with_dead_code(x)
    (g,) = tg.autograd.grad(y + 0.0 * slope, x, create_graph=True)
    assert math.isnan(g.item())  # 0 * inf, as in PyTorch


def test_each_argument_is_derived_by_for_itself() -> None:
    """The derivative by a does not see that the one by b is infinite at 0."""
    f = tg.njit(lambda a, b: a * a * a + a * math.sqrt(b))
    recorded, swept = all_derivatives(f, (0.0, 0.0), 3)
    for found in (recorded, swept):
        assert found[0, 0] == 0.0
        assert found[0, 0, 0] == 6.0
        assert found[0, 1] == math.inf
