"""Functions under `njit`, and checkpointed loops, in functions that are recorded: statements of their own."""

from __future__ import annotations

import gc
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.tape.pytree import leaves


@tg.njit
def power(x, n):  # type: ignore[no-untyped-def]
    y = 1.0
    for _ in range(n):
        y = y * x
    return y


@tg.njit
def running(x, w):  # type: ignore[no-untyped-def]
    total, out = 0.0, np.empty(x.shape[0])
    for i in range(x.shape[0]):
        total = total + x[i] * w[i]
        out[i] = np.sin(total) * x[i]
    return total, out


@tg.njit
def refuses(x):  # type: ignore[no-untyped-def]
    if x[0] > 1:
        raise ValueError("too large")
    return x * 2


@tg.njit
def positive(x):  # type: ignore[no-untyped-def]
    return x[x > 0]


@tg.njit
def halvings(x):  # type: ignore[no-untyped-def]
    n = 0
    while x > 1:
        x, n = x / 2, n + 1
    return x, n


@tg.njit
def step(state, rate):  # type: ignore[no-untyped-def]
    x, v = state
    return x + 0.01 * v, v - 0.01 * rate * np.sin(x)


def nested(x: Any, w: Any) -> Any:
    total, out = running(x * 2, w)
    return (out * power(total, 2)).sum() + power(x[0], 3)


def looped(x: Any, w: Any) -> Any:
    a, b = tg.checkpointed_loop(step, (x[0], w[0]), 50, w[1] + 0.5)
    return a * a + b * x[1]


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "one": lambda x, w: (power((x * w).sum(), 3) * x).sum(),
    "several results": nested,
    "behind each other": lambda x, w: power(power(x.sum(), 2) * w[0], 2),
    "keyword": lambda x, w: power(x=x.sum(), n=2) + w.sum(),
    "loop": looped,
}
X, W = np.array([0.3, -0.4, 0.7]), np.array([0.6, 0.2, -0.1])


def statements_of(tape: tg.ClosedTape) -> int:
    return sum(name == "python_call" for name in tape.statements()["op"])


def assert_same(found: Any, expected: Any) -> None:
    pairs = zip(leaves(found), leaves(expected), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-11, atol=1e-13)


TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "value": lambda f: f,
    "gradient": lambda f: tg.value_and_grad(f, argnums=(0, 1)),
    "hessian": tg.hessian,
    "third": lambda f: tg.func.jacrev(tg.hessian(f)),
    "vmap": lambda f: lambda x, w: tg.vmap(f, in_dims=(0, None))(tg.stack([x, x * 2]), w),
    "vmap of gradient": lambda f: (
        lambda x, w: tg.vmap(tg.grad(f))(tg.stack([x, x * 2]), tg.stack([w, w]))
    ),
    "forward": lambda f: lambda x, w: tg.func.jvp(f, (x, w), (w, x)),
    "gradient of product": lambda f: tg.grad(lambda x, w: tg.func.jvp(f, (x, w), (w, x))[1]),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_are_those_without_jit(name: str, transform: str) -> None:
    program = TRANSFORMS[transform](FUNCTIONS[name])
    jitted = tg.jit(program)
    for scale in (1.0, 1.5):
        x, w = X * scale, W * scale
        given = tg.tensor(x), tg.tensor(w)
        try:
            expected = program(*given)
        except (tg.UnsupportedError, RuntimeError) as error:
            with pytest.raises(type(error)):
                jitted(x, w)
            continue
        assert_same(jitted(x, w), expected)
        for a, b in zip(
            leaves(jitted(*given)),
            leaves(expected), strict=True,
        ):  # fmt: skip
            np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-11, atol=1e-13)
    assert len(jitted.tapes()) <= 1  # nothing was read


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_of_jitted_calls(name: str) -> None:
    f, gradients = FUNCTIONS[name], []
    for function in (f, tg.jit(f)):
        x, w = (tg.tensor(a, requires_grad=True) for a in (X, W))
        for _ in range(2):
            function(x, w).backward()
        gradients.append((x.grad.numpy(), w.grad.numpy()))
    np.testing.assert_allclose(gradients[0][0], gradients[1][0], rtol=1e-12)
    np.testing.assert_allclose(gradients[0][1], gradients[1][1], rtol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tapes(name: str) -> None:
    f = FUNCTIONS[name]
    tape = tg.trace(f)(X, W)
    assert statements_of(tape) >= 1
    gradient, x, w = tape.gradient(), tg.tensor(X * 1.1), tg.tensor(W * 0.9)
    expected = tg.value_and_grad(f, argnums=(0, 1))(x, w)
    flat = [expected[0], *expected[1]]
    for program in (gradient, gradient.simplified(), gradient.compiled()):
        assert_same(program(x.numpy(), w.numpy()), flat)
    batched = tape.batched(in_axes=(0, None), size=2)(np.stack([X, X * 2]), W)
    assert_same(
        [batched.numpy()],
        [tg.stack([f(tg.tensor(X), tg.tensor(W)), f(tg.tensor(2 * X), tg.tensor(W))])],
    )
    if name == "loop":
        return  # has no second derivatives, which this takes
    tangent = tape.pushforward()(X, W, (W, X))
    assert_same(
        [x.numpy() for x in tangent],
        tg.func.jvp(f, (tg.tensor(X), tg.tensor(W)), (tg.tensor(W), tg.tensor(X))),
    )


def test_a_pullback_is_called_once() -> None:
    tape = tg.trace(tg.value_and_grad(nested, argnums=(0, 1)))(X, W)
    assert statements_of(tape.simplified()) == 6  # three functions, and their pullbacks


def test_errors_are_those_of_the_function() -> None:
    jitted = tg.jit(lambda x: refuses(x).sum())
    for _ in range(3):
        assert jitted(np.array([0.5, 1.0])) == 3
        with pytest.raises(ValueError, match="too large"):
            jitted(np.array([2.0, 1.0]))
        with pytest.raises(ValueError, match="too large"):
            jitted(tg.tensor([2.0, 1.0], requires_grad=True))
    x = tg.tensor([0.5, 1.0], requires_grad=True)
    jitted(x).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 2])


def test_shapes_that_depend_on_values_are_other_recordings() -> None:
    jitted = tg.jit(lambda x: positive(x).sum())
    for x in ([0.5, -1, 2], [0.5, 1, 2], [-1.0, -1, -1], [0.5, -1, 3]):
        assert jitted(np.array(x)) == np.maximum(x, 0).sum()
    tape = tg.trace(positive)(np.array([0.5, -1, 2])).compiled()
    with pytest.raises(
        tg.TapeError, match=r"positive>: results are float64\[3\], and were float64\[2\]"
    ):
        tape(np.ones(3))


def test_shapes_alone_are_checked() -> None:
    jitted = tg.jit(lambda x: x * positive(x).shape[0])
    for x in ([0.5, -1, 2], [0.5, 1, 2], [-1.0, -1, -1], [0.5, -1, 3]):
        np.testing.assert_array_equal(jitted(np.array(x)), np.array(x) * (np.array(x) > 0).sum())
    tape = tg.trace(lambda x: x * positive(x).shape[0])(np.array([0.5, -1]))
    for program in (tape, tape.simplified(), tape.compiled()):
        np.testing.assert_array_equal(program(np.array([-3.0, 2])), [-3, 2])
        with pytest.raises(tg.TapeError, match="were float64"):
            program(np.ones(2))


def test_numbers_that_it_returns_are_read() -> None:
    jitted = tg.jit(lambda x: halvings(x)[0] * halvings(x)[1])
    for x in (10.0, 100.0, 10.0, 12.0):
        assert jitted(np.array(x)) == halvings(x)[0] * halvings(x)[1]


def test_float32_is_cast() -> None:
    found = tg.jit(tg.grad(lambda x: power(x.sum(), 2)))(np.array([1, 2], np.float32))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [6, 6])


def test_operands_that_are_views() -> None:
    f = lambda x: running(x[:, 1], x.t()[0])[1].sum()  # noqa: E731
    x = np.arange(6.0).reshape(3, 2)
    np.testing.assert_allclose(tg.jit(tg.grad(f))(x), tg.grad(f)(tg.tensor(x)).numpy(), rtol=1e-12)


def test_what_needs_python_is_neither_saved_nor_native(tmp_path: Path) -> None:
    tape = tg.trace(refuses)(np.zeros(2))
    with pytest.raises(tg.TapeError, match=r"python_call: .* cannot be saved"):
        tape.save(tmp_path / "tape.npz")
    with pytest.raises(tg.TapeError, match=r"python_call: .* cannot be saved"):
        pickle.dumps(tape)
    with pytest.raises(
        tg.TapeError, match=r"native: the function has a <call of .*>, which needs Python"
    ):
        tg.jit(lambda x: refuses(x)).native(np.zeros(2))


def test_threads_and_collections() -> None:
    jitted, gradient = (
        tg.jit(lambda x: refuses(x).sum()),
        tg.jit(tg.grad(lambda x: power(x.sum(), 3))),
    )
    failed: list[Any] = []

    def work(number: int) -> None:
        try:
            for i in range(50):
                x = np.full(3, 0.001 * (number + i))
                np.testing.assert_allclose(jitted(x), 6 * x[0], rtol=1e-12)
                np.testing.assert_allclose(gradient(x), 27 * x * x, rtol=1e-12)
                if i % 10 == 0:
                    gc.collect()
                with pytest.raises(ValueError, match="too large"):
                    jitted(x + 2)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_large_arrays_without_the_gil() -> None:
    x = np.random.default_rng(0).random(200_000) * 0.5
    jitted = tg.jit(tg.value_and_grad(lambda x: (refuses(x) * x).sum()))
    for _ in range(2):
        value, gradient = jitted(x)
    np.testing.assert_allclose(value, (2 * x * x).sum(), rtol=1e-12)
    np.testing.assert_array_equal(gradient, 4 * x)


def test_loops_have_no_second_derivatives() -> None:
    with pytest.raises(tg.UnsupportedError, match="checkpointed_loop has no second derivatives"):
        tg.jit(tg.hessian(looped))(X, W)
