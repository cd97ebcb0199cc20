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
from njit_functions import power, refuses

import tapegrad as tg
from tapegrad.tape.pytree import leaves


@tg.njit
def running(x, w):  # type: ignore[no-untyped-def]
    total, out = 0.0, np.empty(x.shape[0])
    for i in range(x.shape[0]):
        total = total + x[i] * w[i]
        out[i] = np.sin(total) * x[i]
    return total, out


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


def test_gradients_of_shapes_that_depend_on_values() -> None:
    function = tg.value_and_grad(lambda x: (positive(x) * x[0]).sum())
    jitted = tg.jit(function)
    for x in ([0.5, -1, 2], [0.5, 1, 2], [-1.0, -1, -1], [0.5, -1, 3]):
        assert_same(jitted(np.array(x)), function(tg.tensor(x)))


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


# ----------------------------------------------------------------- arguments and results of other kinds
@tg.njit
def quotient(x, s):  # type: ignore[no-untyped-def]
    return x / s


@tg.njit
def product(x, a):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(a)):
        total += x[i] * a[i]
    return total


@tg.njit
def checked(x):  # type: ignore[no-untyped-def]
    if x[0] > 1:
        raise ValueError("too large")


@tg.njit
def several_kinds(x):  # type: ignore[no-untyped-def]
    return x * 2, 3, x > 0.5, None, len(x) * x.sum()


@tg.njit
def huge(x):  # type: ignore[no-untyped-def]
    return x, int(x[0]) * 2**40


@tg.njit
def reversed_rows(x):  # type: ignore[no-untyped-def]
    return x[::-1]


def test_zeros_have_signs() -> None:
    found = tg.jit(lambda x: (quotient(x, 0.0), quotient(x, -0.0)))(np.ones(2))
    np.testing.assert_array_equal(found, [[np.inf, np.inf], [-np.inf, -np.inf]])


def test_arrays_are_what_they_were_when_the_function_was_called() -> None:
    def f(x: Any) -> Any:
        a = np.zeros(2)
        y = product(x, a)
        a[0] = 5.0
        return y, product(x, a)

    np.testing.assert_array_equal(tg.jit(f)(np.ones(2)), [0, 5])
    weights = np.ones(2)
    tape, jitted = (
        tg.trace(lambda x: product(x, weights))(np.ones(2)),
        tg.jit(lambda x: product(x, weights)),
    )
    assert jitted(np.ones(2)) == 2
    weights[0] = 7.0
    assert tape(np.ones(2)).item() == 2
    assert jitted(np.ones(2)) == 8


def test_functions_of_jitted_ones() -> None:
    x, w = tg.tensor(X), tg.tensor(W)
    jitted = tg.jit(nested)
    for transform in (
        tg.value_and_grad,
        tg.hessian,
        lambda f: lambda x, w: tg.func.jvp(f, (x, w), (w, x)),
    ):
        assert_same(transform(jitted)(x, w), transform(nested)(x, w))  # type: ignore[operator]


def test_numbers_and_truth_values_beside_what_is_differentiated() -> None:
    f = lambda x: several_kinds(x)  # noqa: E731
    found, expected = tg.jit(f)(tg.tensor(X)), several_kinds(tg.tensor(X))
    assert found[3] is None
    for a, b in zip(found[:3], expected[:3], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.numpy(), b.numpy())

    def loss(x: Any) -> Any:
        y, n, flags, _, z = several_kinds(x)
        return (y * n * flags).sum() * z

    jitted = tg.jit(tg.value_and_grad(loss))
    for scale in (1.0, 2.0, -1.0):
        assert_same(jitted(X * scale), tg.value_and_grad(loss)(tg.tensor(X * scale)))
    assert len(jitted.tapes()) == 1  # the numbers are no guards
    with pytest.raises(tg.TapeError, match=r"beyond 2\*\*53"):
        tg.jit(lambda x: huge(x))(np.array([1e5]))


def test_functions_that_only_check() -> None:
    def f(x: Any) -> Any:
        checked(x)
        return (x * x).sum()

    jitted, batched = tg.jit(tg.grad(f)), tg.jit(tg.vmap(f))
    np.testing.assert_array_equal(jitted(np.array([1.0, 2.0])), [2, 4])
    np.testing.assert_array_equal(batched(np.array([[1.0, 2.0], [0.0, 1.0]])), [5, 1])
    for program, x in (
        (jitted, np.array([2.0, 2.0])),
        (batched, np.array([[1.0, 2.0], [3.0, 1.0]])),
    ):
        with pytest.raises(ValueError, match="too large"):
            program(x)


def test_operands_that_are_written_later() -> None:
    def f(x: Any) -> Any:
        y = x.clone()
        y[0] = power(x.sum(), 2)
        z = running(y, x)[1]
        y[1] = z[2]
        return (running(y, x)[1] * z).sum()

    gradient = tg.grad(f)(tg.tensor(X)).numpy()
    np.testing.assert_allclose(tg.jit(tg.grad(f))(X), gradient, rtol=1e-12)
    np.testing.assert_allclose(tg.trace(f)(X).gradient()(X)[1].numpy(), gradient, rtol=1e-12)


def test_results_with_negative_strides() -> None:
    np.testing.assert_array_equal(reversed_rows(tg.tensor(X)).numpy(), X[::-1])
    np.testing.assert_array_equal(
        tg.jit(tg.grad(lambda x: (reversed_rows(x) * x).sum()))(X), 2 * X[::-1]
    )


def test_results_are_float64_whatever_the_default_is() -> None:
    tg.set_default_dtype(tg.float32)
    try:
        assert power(tg.tensor(X[0], dtype=tg.float64), 2).dtype == tg.float64
        batched = tg.jit(tg.vmap(lambda x: power(x, 2)))
        np.testing.assert_array_equal(batched(X), X**2)
        assert batched(np.zeros(0)).dtype == np.float64
    finally:
        tg.set_default_dtype(tg.float64)
