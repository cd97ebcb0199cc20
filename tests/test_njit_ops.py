"""Every function and operator on active scalars: values and derivatives, from the op table's rows."""

from __future__ import annotations

import functools
import itertools
import math
import operator

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.njit_compiler.lowering import scalars
from tapegrad.ops.table import TABLE
from tapegrad.scalar_tape import opcodes as strip_code
from tapegrad.scalar_tape.opcodes import rules

RANGES = {
    "positive": (0.3, 2.5), "unit": (-0.8, 0.8), "probability": (0.1, 0.9),
    "above_minus_one": (-0.7, 2.0), "above_one": (1.1, 3.0), "power": (0.3, 2.0),
    "nonzero": (0.3, 1.9), "fraction": (0.1, 0.9),
}  # fmt: skip
SMOOTH = [
    (function, name) for function, name in scalars.NUMPY_FUNCTIONS.items()
    if not strip_code.is_truth(TABLE[name])
]  # fmt: skip


def operands(name: str, seed: int) -> list[float]:
    entry = TABLE[name]
    low, high = RANGES.get(entry.domain, (-1.7, 1.7))
    rng = np.random.default_rng(seed)
    return [float(v) for v in rng.uniform(low, high, entry.arity)]


@functools.cache
def compiled(function, arity):
    if arity == 1:
        return tg.njit(lambda x: function(x))
    return tg.njit(lambda x, y: function(x, y))


@pytest.mark.parametrize(("function", "name"), SMOOTH, ids=[n for _, n in SMOOTH])
def test_derivatives_are_those_of_tensors(function, name) -> None:
    """The same rows through the ordinary tape are the reference, to the third order."""
    entry = TABLE[name]
    own = compiled(function, entry.arity)
    values = operands(name, 3)
    leaves = [tg.tensor(v, requires_grad=True) for v in values]
    methods = {"sinc": tg.sinc, "pow": tg.pow, "numpy_sign": tg.sign}
    reference = methods.get(name) or getattr(tg, name)
    one, other = own(*leaves), reference(*leaves)
    assert one.item() == pytest.approx(float(function(*values)), rel=1e-13, abs=1e-300)
    for _ in range(3):
        assert one.item() == pytest.approx(other.item(), rel=1e-12, abs=1e-14)
        if not (one.requires_grad and other.requires_grad):
            break
        swept = tg.autograd.grad(one, leaves, retain_graph=True, allow_unused=True)
        first = tg.autograd.grad(one, leaves, create_graph=True, allow_unused=True)
        second = tg.autograd.grad(other, leaves, create_graph=True, allow_unused=True)
        for a, b, c in zip(first, second, swept, strict=True):
            expected = 0.0 if b is None else b.item()
            for found in (a, c):
                value = 0.0 if found is None else found.item()
                assert value == pytest.approx(expected, rel=1e-11, abs=1e-13)
        one = sum((i + 1) * g for i, g in enumerate(first) if g is not None)
        other = sum((i + 1) * g for i, g in enumerate(second) if g is not None)


#: functions whose zeros have no sign that NumPy promises
UNSIGNED = {"maximum", "minimum", "fmax", "fmin", "logaddexp", "logaddexp2"}
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.1, 5.0, -5.0, 1e308, -1e308, math.inf, -math.inf, math.nan]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("function", "name"), SMOOTH, ids=[n for _, n in SMOOTH])
def test_special_numbers_give_what_numpy_gives(function, name) -> None:
    """Quotients, remainders, maxima, signs of zero: NumPy's, not those of an easier formula."""
    entry = TABLE[name]
    own = compiled(function, entry.arity)
    for values in itertools.product(SPECIAL, repeat=entry.arity):
        wanted = function(*map(np.float64, values))
        result = own(*[tg.tensor(v, requires_grad=True) for v in values]).item()
        np.testing.assert_allclose(result, wanted, 1e-14, 0, err_msg=f"{name}{values}")
        if wanted == 0.0 and name not in UNSIGNED:
            assert math.copysign(1, result) == math.copysign(1, wanted), (name, values)


BINARY = [(f, n) for f, n in SMOOTH if TABLE[n].arity == 2]


@pytest.mark.parametrize(("function", "name"), BINARY, ids=[n for _, n in BINARY])
def test_a_number_on_either_side(function, name) -> None:
    x, y = operands(name, 4)
    both = [tg.tensor(v, requires_grad=True) for v in (x, y)]
    expected = tg.autograd.grad(compiled(function, 2)(*both), both)
    left, right = tg.njit(lambda a: function(a, y)), tg.njit(lambda a: function(x, a))
    for one, value, other in ((left, x, expected[0]), (right, y, expected[1])):
        leaf = tg.tensor(value, requires_grad=True)
        (found,) = tg.autograd.grad(one(leaf), leaf)
        assert found.item() == pytest.approx(other.item(), rel=1e-13, abs=1e-300)
        result = one(leaf)
        (again,) = tg.autograd.grad(result, leaf, create_graph=True)
        assert again.item() == pytest.approx(other.item(), rel=1e-13, abs=1e-300)


def test_math_functions() -> None:
    names = [
        "exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh",
        "atanh", "sqrt", "log1p", "expm1", "erf", "erfc", "fabs", "log2", "log10",
    ]  # fmt: skip
    lines = "\n".join(f"    s += math.{n}(x * {0.1 + 0.02 * i})" for i, n in enumerate(names))
    scope = {"math": math}
    exec(f"def f(x):\n    s = 0.0\n{lines}\n    return s", scope)
    f = tg.njit(scope["f"])
    x = tg.tensor(0.9, requires_grad=True)
    y = f(x)
    assert y.item() == pytest.approx(f.py_func(0.9))
    y.backward()
    h = 1e-6
    slope = (f.py_func(0.9 + h) - f.py_func(0.9 - h)) / (2 * h)
    assert x.grad.item() == pytest.approx(slope, rel=1e-8)


def test_operators() -> None:
    def f(x, y):
        s = x + y - 2.0 * x / y + y**2 + x**y + 2.0**x + x**-1
        s += abs(-x) * (+y) + x // 0.3 + x % 0.3 + math.hypot(x, y) + math.atan2(x, y)
        s -= math.pow(x, 1.5) + math.copysign(x, -1.0) + math.fmod(x, 0.25)
        s *= min(x, y) + max(x, 0.1)
        s /= 1.5
        return s + float(x)

    own = tg.njit(f)
    a, b = 0.7, 1.3
    x, y = tg.tensor(a, requires_grad=True), tg.tensor(b, requires_grad=True)
    z = own(x, y)
    assert z.item() == pytest.approx(f(a, b))
    z.backward()
    h = 1e-6
    assert x.grad.item() == pytest.approx((f(a + h, b) - f(a - h, b)) / (2 * h), rel=1e-7)
    assert y.grad.item() == pytest.approx((f(a, b + h) - f(a, b - h)) / (2 * h), rel=1e-7)
    assert tg.autograd.gradgradcheck(own, (x, y))


def test_powers_at_zero() -> None:
    @tg.njit
    def powers(x):
        return x**2 + x**3 + x**1.0 + x**0

    y = x = tg.tensor(0.0, requires_grad=True)
    y = powers(x)
    for expected in (1.0, 1.0, 2.0, 6.0):
        assert y.item() == expected
        (y,) = tg.autograd.grad(y, x, create_graph=True)


def test_truth_valued_functions() -> None:
    @tg.njit
    def f(x):
        if np.isnan(x) or math.isinf(x) or not np.isfinite(x) or not np.greater(x, -1):
            return 0.0
        return x

    x = tg.tensor(2.0, requires_grad=True)
    f(x).backward()
    assert x.grad.item() == 1.0
    assert f(tg.tensor(float("nan"), requires_grad=True)).item() == 0.0


def test_codes_differ() -> None:
    everything = strip_code.codes()
    assert len({(c.op.name, c.kinds) for c in everything if c}) == len(everything) - 4
    assert len(rules().words) == 6


def test_operators_are_rows() -> None:
    for name in scalars.OPERATORS:
        assert name in TABLE
    assert scalars.OPERATORS["add"][0] is operator.add
