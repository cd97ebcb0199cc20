"""Blocks of `tg.njit`: scalar statements that are recorded, and swept, as one."""

from __future__ import annotations

import math
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from njit_programs import lorenz

import tapegrad as tg
from tapegrad.scalar_tape import abi as sf


def made(text: str, **names: Any) -> tuple[Any, Any]:
    """A function of the text under njit, and as it is for Tensors."""
    scope = {"math": math, "np": np, **names}
    exec(text, scope)
    eager: dict[str, Any] = {"math": SimpleNamespace(**{
        name: getattr(tg, name) for name in ("sin", "cos", "exp", "log", "tanh", "sqrt")
    }), "np": np, **names}  # fmt: skip
    exec(text, eager)
    return tg.njit(scope["f"]), eager["f"]


def agree(native: Any, eager: Any, values: list[float], order: int = 3) -> None:
    """Values and derivatives up to an order are the same."""
    found = []
    for function in (native, eager):
        leaves = [tg.tensor(v, requires_grad=True) for v in values]
        y = function(*leaves)
        numbers = [y.item()]
        for k in range(order):
            grads = tg.autograd.grad(y, leaves, create_graph=k + 1 < order, materialize_grads=True)
            numbers += [g.item() for g in grads]
            y = sum((0.3 + 0.1 * i) * g for i, g in enumerate(grads))
            if not y.requires_grad:
                break
        # What does not depend on anything has no derivatives, or they are zeros.
        found.append(numbers + [0.0] * (1 + order * len(values) - len(numbers)))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-11, atol=1e-12)


def recorded(native: Any, *args: Any) -> int:
    """Statements that a call records."""
    before = native.recorded
    native(*args)
    return int(native.recorded - before)


def leaf(value: Any) -> Any:
    return tg.tensor(value, requires_grad=True)


# --------------------------------------------------------------------------- what becomes a block
def test_a_loop_body_is_a_block() -> None:
    """A step of 71 operations leaves three numbers."""

    def steps(n: int) -> int:
        native = tg.njit(lorenz)
        state = leaf([1.0, 1.1, 0.9])
        return recorded(native, state, 10.0, 28.0, 8 / 3, 0.005, n)

    assert steps(11) - steps(10) == 4  # for three results, and seven operands


def test_what_costs_much_is_kept() -> None:
    """The exponential is needed again, the products are not."""
    native, eager = made("def f(x, y):\n    return math.exp(x * y + 2.0) * (x * y) * y\n")
    x, y = leaf(0.3), leaf(0.7)
    assert recorded(native, x, y) == 2 + 2  # operands; the result and the exponential
    agree(native, eager, [0.3, 0.7])


@pytest.mark.parametrize(("text", "kept"), [
    ("math.sin(x)", 1), ("math.sin(x * y) * x", 2), ("math.cos(x * y) * x", 2),
    ("math.sin(x) * math.cos(x) + y", 2), ("math.sin(x) * y + math.sin(x) * math.sin(y)", 4),
    ("math.cos(math.sin(x) * y)", 3),
])  # fmt: skip
def test_sine_and_cosine_are_computed_together(text, kept) -> None:
    """Each is what the other's derivative needs; equal ones are one."""
    native, eager = made(f"def f(x, y):\n    return {text} + 0 * y\n")
    agree(native, eager, [0.3, 0.7])
    native, _ = made(f"def f(x, y):\n    return {text}\n")
    assert recorded(native, leaf(0.3), leaf(0.7)) == 2 + 1 + kept


def test_numbers_that_differ_in_their_sign_only() -> None:
    """x * 0.0 and x * -0.0 are two statements."""
    native = tg.njit(lambda x: (x * 0.0 + 1.0) / (x * -0.0))
    assert native(leaf(2.0)).item() == -np.inf


@pytest.mark.parametrize("text", [
    "def f(x, y):\n    a = x * y\n    a = a + x\n    a = a * a - y\n    return a / (x + 3.0)\n",
    "def f(x, y):\n    x, y = y, x\n    x, y = x * y + 1.0, y - x\n    return x * y * y\n",
    "def f(x, y):\n    s = 0.0\n    for i in range(5):\n        s = s * x + y * i\n    return s\n",
    "def f(x, y):\n    a = x * y + x\n    if a > 0.2:\n        a = a * a + y\n"
    "    b = a * x\n    return b * a\n",
    "def f(x, y):\n    a = -x + y\n    b = 2 * a\n    c = b - a\n    return c ** 2 + c * (x ** 2) ** 2\n",
    "def f(x, y):\n    a = math.exp(x) + y\n    b = math.tanh(a) * math.sqrt(y + 2.0)\n"
    "    return b / a + a\n",
    "def f(x, y):\n    a = x * y\n    b = a ** 3 + x\n    return b * a + b ** 1.5\n",
    "def f(x, y):\n    a = abs(x * y) + max(x, y) * 2.0\n    return a * a + a\n",
    "def f(x, y):\n    a = x + y\n    b = a * 0.0 + 3.0\n    return b\n",
    "def f(x, y):\n    p = q = x * y\n    while p < 20.0:\n        p, q = p + q * q + 1.0, q * 1.1 + x\n"
    "    return p - q\n",
    "def f(x, y):\n    a = x * y\n    b = a + x\n    unused = b * b * y\n    return a\n",
])  # fmt: skip
def test_texts(text: str) -> None:
    native, eager = made(text, max=lambda a, b: a if a > b else b)
    if "max" in text:
        native, eager = made(text.replace("max(x, y)", "(x if x > y else y)"))
    agree(native, eager, [0.7, 0.9])


def test_constants_that_are_known_are_no_operands() -> None:
    native, _ = made(
        "def f(x, y):\n    h = H * 0.5\n    return (x * h + y * (1 / 3)) * -h\n", H=0.25
    )
    plain, _ = made("def f(x, y):\n    return (x * 0.125 + y * 0.5) * -0.125\n")
    x, y = leaf(0.3), leaf(0.7)
    assert recorded(native, x, y) == recorded(plain, x, y) == 4
    agree(*made("def f(x, y):\n    h = H * 0.5\n    return (x * h + y * (1 / 3)) * -h\n", H=0.25),
          [0.3, 0.7])  # fmt: skip


def test_numbers_of_the_call_are_operands() -> None:
    """Passive operands, integers among them, that are only known when the function runs."""
    text = "def f(x, y, n, c):\n    return (x * n + c) * y - c / x + n\n"
    native, eager = made(text)
    agree(lambda x, y: native(x, y, 3, 0.25), lambda x, y: eager(x, y, 3, 0.25), [0.7, 0.9])


def test_active_types_that_are_passive_when_it_runs() -> None:
    """Elements of ``np.zeros``, and a sum that starts at a number."""

    @tg.njit
    def f(x):
        a = np.zeros(4)
        s = 1.0
        for i in range(4):
            s = s * a[i] + a[i] * 2.0 + s  # nothing is active in the first round
            a[i] = s + x[i]
            s = s + a[i] * x[i] * 0.5
        return s

    def eager(x: Any) -> Any:
        a, s = [0.0] * 4, 1.0
        for i in range(4):
            s = s * a[i] + a[i] * 2.0 + s
            a[i] = s + x[i]
            s = s + a[i] * x[i] * 0.5
        return s

    x = [0.3, -0.7, 1.1, 0.4]
    one, other = leaf(x), leaf(x)
    hessian = tg.func.hessian(f)(one.detach())
    np.testing.assert_allclose(
        hessian.numpy(), tg.func.hessian(eager)(other.detach()).numpy(), rtol=1e-12
    )
    f(one).backward()
    eager(other).backward()
    np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), rtol=1e-12)


def test_nothing_active_records_nothing() -> None:
    @tg.njit
    def f(x, n):
        s = 0.0
        a = np.zeros(n)
        for i in range(n):
            s = s * a[i] + a[i] * 2.0 + 1.0
        return s + x

    x = leaf(0.5)
    assert recorded(f, x, 100) - recorded(f, x, 10) == 0


# --------------------------------------------------------------------------- sizes
def test_more_statements_and_operands_than_a_block_holds() -> None:
    n = sf.MOST_INS + 4
    names = [f"x{i}" for i in range(n)]
    lines = [f"    s = s * 0.99 + {a} * {b}" for a, b in zip(names, reversed(names), strict=True)]
    lines += [f"    t = math.sin(s + {a})\n    s = s + t * 0.1" for a in names[::2]]
    text = f"def f({', '.join(names)}):\n    s = 0.0\n" + "\n".join(lines) + "\n    return s\n"
    operations = 3 * n + 4 * (n // 2)
    assert operations > 2 * sf.MOST_OPS  # three blocks: one in the middle, too
    native, eager = made(text)
    agree(native, eager, list(np.linspace(0.1, 0.9, n)), order=2)


@pytest.mark.parametrize("length", [20, 300])
def test_long_passive_expressions(length: int) -> None:
    """They are part of a block as far as it has room for them."""
    passive = "n" + "".join(f" * 0.5 + c * n + {i}.0" for i in range(length // 4))
    wide = " + ".join(f"p[{i}] * p[{i + 1}]" for i in range(length // 2))
    text = (
        "def f(x, y, n, c, p):\n"
        + "    s = x * y\n"
        + "    s = s + x * s * 0.1\n" * 30
        + f"    q = {passive}\n    r = {wide}\n"
        + "    return (s * q + r * x) * y\n"
    )
    native, eager = made(text)
    p = np.linspace(0.1, 0.9, length + 2)
    agree(
        lambda x, y: native(x, y, 3.0, 0.25, p), lambda x, y: eager(x, y, 3.0, 0.25, p),
        [0.3, 0.7], order=2,
    )  # fmt: skip


def test_many_results() -> None:
    n = 70
    head = "def f(x, y):\n" + "".join(f"    a{i} = x * {i}.0 + y\n" for i in range(n))
    tail = "    s = 0.0\n    if x > 0.0:\n" + "".join(
        f"        s = s + a{i} * a{(i * 7) % n}\n" for i in range(n)
    )
    assert n > sf.MOST_OUTS
    agree(*made(head + tail + "    return s\n"), [0.7, 0.9], order=2)


# --------------------------------------------------------------------------- what is not reached
def test_infinite_derivatives_of_what_is_not_reached() -> None:
    """Results of one block of which one only is used, as with PyTorch."""

    @tg.njit
    def f(x, y):
        a, b = math.log(x) * 2.0 + y, y * y + x * 0.0 + 1.0
        c = math.sqrt(x) * y
        return a, b, c

    for x in (0.0, 0.25):
        p, q = leaf(x), leaf(1.5)
        a, b, c = f(p, q)
        b.backward(retain_graph=True)
        assert (p.grad.item(), q.grad.item()) == (0.0, 3.0)
        p.grad = q.grad = None
        (a * 1.0).backward()
        assert q.grad.item() == 1.0
        assert p.grad.item() == (math.inf if x == 0.0 else 8.0)
    del c


def test_jacobians_and_batches() -> None:
    @tg.njit
    def f(x):
        out = np.zeros(3)
        out[0] = x[0] * x[1] + math.exp(x[2])
        out[1] = x[1] * x[1] - x[0] / x[2]
        out[2] = math.sin(x[0] * x[1] * x[2]) * x[2]
        return out

    def eager(x: Any) -> Any:
        return tg.stack([
            x[0] * x[1] + tg.exp(x[2]), x[1] * x[1] - x[0] / x[2],
            tg.sin(x[0] * x[1] * x[2]) * x[2],
        ])  # fmt: skip

    x, v = tg.tensor([0.3, 0.7, -1.1]), tg.tensor([1.0, -0.5, 0.25])
    for transform in (tg.func.jacrev, tg.func.jacfwd):
        np.testing.assert_allclose(transform(f)(x).numpy(), transform(eager)(x).numpy(), rtol=1e-12)
    for mine, theirs in zip(
        tg.func.jvp(f, (x,), (v,)), tg.func.jvp(eager, (x,), (v,)), strict=True
    ):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-12)


def test_threads_enter_the_same_block() -> None:
    @tg.njit
    def f(x, n):
        s = 1.0
        for _ in range(n):
            s = s * x + 0.5 * x
        return s

    found: list[float] = []

    def run() -> None:
        for _ in range(20):
            x = leaf(0.9)
            f(x, 50).backward()
            found.append(x.grad.item())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 80
    assert len(set(found)) == 1


def test_the_error_of_a_call_in_the_middle_leaves_the_tape() -> None:
    @tg.njit
    def f(x, i):
        a = x[0] * x[1] + x[2]
        b = a * x[i]
        return a * b + b

    x = leaf([1.0, 2.0, 3.0])
    f(x, 1)
    count = tg.current_tape().count
    with pytest.raises(IndexError):
        f(x, 7)
    assert tg.current_tape().count == count
    f(x, 2).backward()
    assert x.grad is not None
