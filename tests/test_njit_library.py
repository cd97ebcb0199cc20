"""Special functions, and ops of users, in functions under `tg.njit`: those of Tensors, from the same rows."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import numba
import numpy as np
import pytest
from special_arguments import RANGES

import tapegrad as tg
from tapegrad.base.errors import UnsupportedError
from tapegrad.ops.table import TABLE
from tapegrad.scalar_tape.opcodes import has_code
from tapegrad.tensors.operators import MODULES, ROWS

pytest.importorskip("scipy.special")
NAMES = sorted(
    name for name, function in MODULES["special"].items()
    if ROWS[function].result == "float" and ROWS[function].arity == 1 and ROWS[function].vjp
)  # fmt: skip
DOMAINS = {"positive": "positive", "unit": "unit", "probability": "probability", "small": "unit"}


def numbers(row: str, count: int = 3) -> np.ndarray:
    """Numbers in a row's domain."""
    low, high = RANGES[DOMAINS.get(TABLE[row].domain, "positive")]
    return np.random.default_rng(3).uniform(low, high, count)


def agree(compiled, plain, *arrays: np.ndarray, order: int = 3) -> None:
    """Compare values and derivatives with those of the function on Tensors, element by element."""
    x = [tg.tensor(a, dtype=tg.float64, requires_grad=True) for a in arrays]
    results, expected = compiled(*x), plain(*x)
    for _ in range(order + 1):
        np.testing.assert_allclose(results.tolist(), expected.tolist(), rtol=2e-12, atol=1e-13)
        if not expected.requires_grad:
            return
        grads, wanted = (
            tg.autograd.grad(
                r.sum(), x, create_graph=True, allow_unused=True, materialize_grads=True
            )
            for r in (results, expected)
        )
        weights = [1.0 + 0.5 * i for i in range(len(x))]
        results = sum(w * (1.0 + g) ** 2 for w, g in zip(weights, grads, strict=True))
        expected = sum(w * (1.0 + g) ** 2 for w, g in zip(weights, wanted, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_functions_of_a_number(name: str) -> None:
    function = getattr(tg.special, name, None) or MODULES["special"][name]
    entry = ROWS[function]

    @tg.njit
    def scalars(x):
        out = np.zeros(len(x))
        for i in range(len(x)):
            out[i] = x[i] * function(x[i]) + function(0.5)
        return out

    @tg.njit
    def arrays(x):
        return x * function(x) + function(np.full(3, 0.5))

    x = numbers(entry.name)
    half = tg.tensor(0.5, dtype=tg.float64)
    for compiled in (scalars, arrays):
        agree(compiled, lambda t: t * function(t) + function(half), x)
        np.testing.assert_allclose(
            compiled(x), (x * function(tg.tensor(x)) + function(half)).numpy()
        )


@pytest.mark.parametrize("name", ["beta", "betaln", "rel_entr", "kl_div", "xlog1py"])
def test_functions_of_two_numbers(name: str) -> None:
    function = getattr(tg.special, name)

    @tg.njit
    def mixed(x, y):
        out = np.zeros(len(x))
        for i in range(len(x)):
            out[i] = (
                function(x[i], y[i])
                + function(x[i], 0.7) * function(1.5, y[i])
                + function(1.1, 0.9)
            )
        return out

    @tg.njit
    def arrays(x, y):
        return function(x, y) + function(x, 0.7) * function(1.5, y) + function(1.1, 0.9)

    def plain(x, y):
        c = tg.tensor([0.7, 1.5, 1.1, 0.9], dtype=tg.float64)
        return function(x, y) + function(x, c[0]) * function(c[1], y) + function(c[2], c[3])

    x, y = np.random.default_rng(1).uniform(0.3, 2.0, (2, 3))
    for compiled in (mixed, arrays):
        agree(compiled, plain, x, y, order=2)


@pytest.mark.parametrize("name", ["jv", "iv", "kve", "gammainc", "zeta"])
def test_orders_are_passive(name: str) -> None:
    function = getattr(tg.special, name)

    @tg.njit
    def of_order(x):
        return x * function(3.0, x)

    agree(
        of_order, lambda x: x * function(tg.tensor(3.0, dtype=tg.float64), x), np.array([1.2, 0.4])
    )
    agree(of_order, lambda x: x * function(tg.tensor(3.0, dtype=tg.float64), x), np.array(1.2))

    @tg.njit
    def by_order(v, x):
        return function(v, x)

    x = tg.tensor(1.3, dtype=tg.float64, requires_grad=True)
    with pytest.raises(UnsupportedError, match="no derivative with respect to"):
        by_order(x, x)


def test_scipys_ufuncs_are_those_functions() -> None:
    import scipy.special

    @tg.njit
    def f(x):
        return scipy.special.j0(x) * scipy.special.gammaln(x + 1.0) + scipy.special.expit(x)

    agree(
        f,
        lambda x: (
            x.bessel_j0() * (x + 1).lgamma() + x.sigmoid()
            if hasattr(x, "bessel_j0")
            else tg.special.j0(x) * (x + 1).lgamma() + x.sigmoid()
        ),
        np.array(0.8),
    )
    assert f(0.8) == pytest.approx(
        scipy.special.j0(0.8) * scipy.special.gammaln(1.8) + scipy.special.expit(0.8), rel=1e-14
    )


def test_functions_with_opcodes_are_parts_of_blocks() -> None:
    @tg.njit
    def f(x):
        return tg.exp(tg.sin(x) * tg.lgamma(x)) + tg.special.ndtr(x) * tg.tanh(x)

    agree(f, lambda x: (x.sin() * x.lgamma()).exp() + tg.special.ndtr(x) * x.tanh(), np.array(1.7))
    assert has_code(TABLE["lgamma"])


def test_ops_of_users() -> None:
    @numba.vectorize
    def njit_softclip(x):
        return x / (1.0 + abs(x))

    op = tg.register_op(njit_softclip, lambda ct, x, out: ct / (1 + x.abs()) ** 2)

    @numba.vectorize
    def njit_power_mean(x, y):
        return math.sqrt(0.5 * (x * x + y * y))

    mean = tg.register_op(
        njit_power_mean, lambda ct, x, y, out: (0.5 * ct * x / out, 0.5 * ct * y.clamp(max=9) / out)
    )

    @tg.njit
    def f(x, y):
        return op(x) * mean(x, y) + mean(x, 2.0) + njit_softclip(y)

    agree(f, lambda x, y: op(x) * mean(x, y) + mean(x, tg.tensor(2.0, dtype=tg.float64)) + op(y),
          np.array(0.7), np.array(1.9))  # fmt: skip
    assert f(0.7, 1.9) == pytest.approx(op(0.7).item() * mean(0.7, 1.9).item() + mean(0.7, 2.0).item()
                                        + op(1.9).item(), rel=1e-6)  # fmt: skip


def test_the_rule_of_a_user_is_used_not_the_kernel() -> None:
    @numba.vectorize
    def njit_straight_through(x):
        return np.round(x)

    op = tg.register_op(njit_straight_through, lambda ct, x, out: ct)
    for f in (lambda x: 3.0 * op(x), lambda x: 3.0 * njit_straight_through(x)):
        x = tg.tensor(1.6, dtype=tg.float64, requires_grad=True)
        y = tg.njit(f)(x)
        y.backward()
        assert (y.item(), x.grad.item()) == (6.0, 3.0)


def test_an_op_that_is_registered_again() -> None:
    def gradient(slope: float) -> tuple[float, float]:
        @numba.vectorize
        def njit_again(x):
            return slope * x

        op = tg.register_op(njit_again, lambda ct, x, out: slope * ct)
        x = tg.tensor(1.5, dtype=tg.float64, requires_grad=True)
        y = tg.njit(lambda x: op(x) + 1.0)(x)
        y.backward()
        return y.item(), x.grad.item()

    assert gradient(1.0) == (2.5, 1.0)
    assert gradient(2.0) == (4.0, 2.0)


def test_what_is_refused() -> None:
    @numba.vectorize
    def njit_no_rule(x):
        return 2.0 * x

    op = tg.register_op(njit_no_rule)
    x = tg.tensor(0.5, dtype=tg.float64, requires_grad=True)
    with pytest.raises(UnsupportedError, match="egister it with vjp="):
        tg.njit(lambda x: op(x))(x)
    assert tg.njit(lambda x: x * op(0.5))(x).item() == 0.5

    @numba.vectorize
    def njit_sorted_rule(x):
        return 2.0 * x

    sorting = tg.register_op(
        njit_sorted_rule, lambda ct, x, out: 2 * ct.cumsum(0) if x.ndim else 2 * ct
    )
    assert tg.njit(lambda x: sorting(x))(x).item() == 1.0  # the rule of numbers
    with pytest.raises(UnsupportedError, match="airy"):
        tg.njit(lambda x: tg.special.airy(x)[0])(x)
    with pytest.raises(UnsupportedError):
        tg.njit(lambda x: tg.special.betainc(1.0, 2.0, x))(x)
    count = tg.current_tape().state[1]
    with pytest.raises(UnsupportedError):
        tg.njit(lambda x: tg.special.j0(x, 1.0))(x)
    assert tg.current_tape().state[1] == count


def test_loops_under_njit_are_checkpointed_and_swept_by_threads() -> None:
    import threading

    @tg.njit
    def f(x):
        for _ in range(200):
            x = tg.special.j1(x) + 0.5
        return x

    def gradient(out: list[float]) -> None:
        x = tg.tensor(0.3, dtype=tg.float64, requires_grad=True)
        f(x).backward()
        out.append(x.grad.item())

    found: list[float] = []
    threads = [threading.Thread(target=gradient, args=(found,)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    low, high = (f(0.3 + d) for d in (-1e-6, 1e-6))
    assert found[0] == pytest.approx((high - low) / 2e-6, rel=1e-6, abs=1e-12)


PROGRAM = """
import warnings
warnings.simplefilter("ignore")
import tapegrad as tg
{first}

@tg.njit(cache=True)
def f(x):
    return tg.special.{name}(x)

x = tg.tensor(1.5, dtype=tg.float64, requires_grad=True)
y = f(x)
y.backward()
plain = getattr(tg.special, "{name}")(x)
print(y.item() == plain.item(), abs(x.grad.item() - tg.autograd.grad(plain, x)[0].item()) < 1e-14)
"""


def test_code_with_such_opcodes_is_not_kept_on_disk(tmp_path) -> None:
    """Their numbers are a process's: another one would call another function."""
    path = tmp_path / "program.py"
    for first in ("", "tg.njit(lambda x: tg.special.i0e(x))(tg.ones((), requires_grad=True))"):
        path.write_text(PROGRAM.format(first=first, name="j1"))
        run = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
        assert run.stdout.split() == ["True", "True"]


def test_values_are_those_outside() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = tg.tensor(0.4, dtype=tg.float64)
        assert tg.njit(lambda x: tg.special.log_ndtr(x))(x).item() == tg.special.log_ndtr(x).item()
