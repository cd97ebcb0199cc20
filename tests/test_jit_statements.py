"""Compiled functions on tensors: one statement of the tape, whose pullback is compiled too."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.utils.checkpoint import checkpoint

rng = np.random.default_rng(5)


def leaf(*shape: int, dtype: Any = None) -> Any:
    return tg.tensor(rng.normal(size=shape), requires_grad=True, dtype=dtype or tg.float64)


def names(tensor: Any) -> list[str]:
    """Names of the nodes of a graph, without those of leaves."""
    found, pending = [], [tensor.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None and node.name() not in (
            "AccumulateGrad",
            "torch::autograd::AccumulateGrad",
        ):
            found.append(node.name())
            pending += [n for n, _ in node.next_functions]
    return found


def derivatives(f: Callable[..., Any], args: Sequence[Any], order: int) -> list[Any]:
    """Results, and gradients of orders 1 to `order` of a number made of them; None where there are none."""
    out = f(*args)
    outs = out if isinstance(out, tuple) else (out,)
    level = sum((o * o.detach().cos()).sum() + o.sum() for o in outs)
    found = [*outs]
    for _ in range(order):
        if not level.requires_grad:
            break
        grads = tg.autograd.grad(level, args, create_graph=True, allow_unused=True)
        found += grads
        level = sum(((g * g).sum() for g in grads if g is not None), tg.tensor(0.0))
    return [None if x is None else x.detach().numpy() for x in found]


def agree(f: Callable[..., Any], *args: Any, order: int = 3, rtol: float = 1e-10) -> Any:
    """Compare a function with its compiled self, twice."""
    compiled = tg.jit(f)
    for _ in range(2):
        found, expected = derivatives(compiled, args, order), derivatives(f, args, order)
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert a.dtype == b.dtype
                np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    return compiled


def one(a: Any) -> Any:
    return a.tanh().sum()


def several(a: Any, b: Any) -> tuple[Any, ...]:
    return a.sin() * b, a @ b, a.exp().sum(0)


def products(*factors: Any) -> Any:
    result = factors[0]
    for x in factors[1:]:
        result = (result * x).tanh()
    return result.sum()


def slices(a: Any, b: Any) -> tuple[Any, ...]:
    return (a[1:] * a[:-1]).cumsum(0), b.T @ a


def far_away(a: Any) -> Any:
    """Arguments for which the vectorised formulas do not hold."""
    return ((a * 1e9).sin() + (a * 1e9).cos() + (a * 400).exp().log()).sum()


PROGRAMS = {
    "one": (one, [(5,)]),
    "several": (several, [(3, 3), (3, 3)]),
    "number": (lambda a: a * a * a, [()]),
    "matrix": (lambda a, b: (a * b).exp(), [(2, 3), (3,)]),
    "slices": (slices, [(4, 2), (4, 3)]),
    "far away": (far_away, [(6,)]),
    "twelve": (products, [(3,)] * 12),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_orders(name: str) -> None:
    f, shapes = PROGRAMS[name]
    args = [leaf(*s) for s in shapes]
    compiled = agree(f, *args, order=2 if name == "twelve" else 3)
    out = compiled(*args)
    assert "CompiledFunctionBackward" in names(out[0] if isinstance(out, tuple) else out)


def test_it_is_one_statement() -> None:
    a, b = leaf(3), leaf(3)
    compiled = tg.jit(lambda a, b: ((a * b).sin() * a).sum())
    assert names(compiled(a, b)) == ["CompiledFunctionBackward"]


def test_float32() -> None:
    agree(several, leaf(3, 3, dtype=tg.float32), leaf(3, 3, dtype=tg.float32), order=2, rtol=2e-4)


def test_the_same_tensor_twice_and_calls_of_calls() -> None:
    a, b = leaf(4), leaf(4)
    f = tg.jit(lambda a, b: (a * b * b).sin())
    agree(lambda a, b: (a * b * b).sum(), a, a, order=1)
    for g in (f, lambda a, b: (a * b * b).sin()):
        found = tg.autograd.grad(g(g(a, b), g(b, a)).sum(), (a, b))
        if g is f:
            expected = found
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-13)


def test_arguments_that_require_no_grad() -> None:
    a, x, k = leaf(3, 2), tg.tensor(rng.normal(size=(4, 3))), tg.tensor([1, 0, 2])
    f = lambda a, x, k: (x @ a)[k].exp().sum()  # noqa: E731
    compiled = tg.jit(f)
    for _ in range(2):
        a.grad = None
        compiled(a, x, k).backward()
        found, a.grad = a.grad, None
        f(a, x, k).backward()
        np.testing.assert_allclose(found.numpy(), a.grad.numpy(), rtol=1e-13)


def test_an_argument_that_is_not_used_has_no_gradient() -> None:
    a, b = leaf(3), leaf(3)
    compiled = tg.jit(lambda a, b: (a * a).sum())
    compiled(a, b).backward()
    assert b.grad is None
    np.testing.assert_array_equal(a.grad.numpy(), 2 * a.detach().numpy())


@pytest.mark.parametrize(
    "f",
    [
        lambda a: (a.float().sum(), a * 2),  # two dtypes
        lambda a: (a.argmax(), a * 2),
        lambda a: a * 2 if a.sum() > 0 else a * 3,
        lambda a: a[tg.tensor([0, 2])] * a[:2],
    ],
)
def test_what_is_no_statement_is_recorded_as_without_jit(f: Callable[..., Any]) -> None:
    for a in (leaf(3), leaf(3), leaf(3)):
        grads = []
        for g in (f, tg.jit(f)):
            out = g(a)
            outs = out if isinstance(out, tuple) else (out,)
            total = sum(o.double().sum() for o in outs if o.requires_grad)
            grads.append(tg.autograd.grad(total, a)[0].numpy())
        np.testing.assert_allclose(*grads, rtol=1e-13)


# --------------------------------------------------------------------------- the graph
def test_graphs_that_are_kept_or_freed() -> None:
    a = leaf(3)
    compiled = tg.jit(one)
    y = compiled(a)
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(a.grad.numpy(), 2 / np.cosh(a.detach().numpy()) ** 2, rtol=1e-13)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


def test_a_residual_that_was_written_is_an_error() -> None:
    a = leaf(3)
    b = a * 1.0
    y = tg.jit(one)(b)
    b.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_results_have_memory_of_their_own() -> None:
    a = leaf(3)
    first, second = tg.jit(lambda a: (a * 2, a * a))(a)
    first.mul_(10.0)
    np.testing.assert_array_equal(second.detach().numpy(), a.detach().numpy() ** 2)
    (first * second).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), 60 * a.detach().numpy() ** 2, rtol=1e-13)


def test_hooks_anomaly_detection_and_saved_tensors() -> None:
    a = leaf(3)
    compiled, seen = tg.jit(one), []
    with pytest.warns(UserWarning, match="Anomaly"):
        mode = tg.autograd.detect_anomaly()
    with mode:
        y = compiled(a)
        y.register_hook(lambda g: seen.append(g.item()) or g * 2)
        y.backward()
    assert seen == [1.0]
    expected = 2 / np.cosh(a.detach().numpy()) ** 2
    np.testing.assert_allclose(a.grad.numpy(), expected, rtol=1e-13)
    a.grad = None
    with tg.autograd.graph.saved_tensors_hooks(lambda x: seen.append(1) or x.numpy(), tg.tensor):
        y = compiled(a * 1.0)
    (y * 2).backward()
    assert len(seen) > 1
    np.testing.assert_allclose(a.grad.numpy(), expected, rtol=1e-13)


def test_checkpoints() -> None:
    a = leaf(3)
    compiled = tg.jit(one)
    checkpoint(compiled, a, use_reentrant=False).backward()
    np.testing.assert_allclose(a.grad.numpy(), 1 / np.cosh(a.detach().numpy()) ** 2, rtol=1e-13)


def test_parameters_around_the_function() -> None:
    """PyTorch's way of training: parameters of the surroundings, backward, a step in place."""
    x, w, b = tg.tensor(rng.normal(size=(8, 3))), leaf(3), leaf()
    y = x @ tg.tensor([1.0, -2.0, 0.5]) + 0.25

    def loss() -> Any:
        return ((x @ w + b - y) ** 2).mean()

    compiled = tg.jit(loss)
    for _ in range(300):
        value = compiled()
        value.backward()
        with tg.no_grad():
            for p in (w, b):
                p -= 0.1 * p.grad
                p.grad = None
    assert names(value) == ["CompiledFunctionBackward"]
    assert len(compiled.tapes()) == 1
    np.testing.assert_allclose(w.detach().numpy(), [1.0, -2.0, 0.5], atol=1e-3)


# --------------------------------------------------------------------------- transforms
A, B = leaf(3, 3), leaf(3, 3)
TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "hessian": lambda f: tg.func.hessian(lambda a: f(a, B)[0].sum())(A),
    "jacrev": lambda f: tg.func.jacrev(lambda a: f(a, B)[1])(A),
    "jacfwd": lambda f: tg.func.jacfwd(lambda a: f(a, B)[1])(A),
    "jvp": lambda f: tg.func.jvp(lambda a: f(a, B)[0], (A,), (B,))[1],
    "vjp": lambda f: tg.func.vjp(lambda a: f(a, B), A)[1]((B, B, B[0]))[0],
    "vmap": lambda f: tg.func.vmap(lambda a: f(a, B)[1])(tg.stack([A, A * 2])),
    "per sample": lambda f: tg.func.vmap(tg.func.grad(lambda a: f(a, B)[1].sum()))(tg.stack([A, B])),
    "jacobian": lambda f: tg.autograd.functional.jacobian(lambda a: f(a, B)[0], A, vectorize=True),
    "hessian of functional": lambda f: tg.autograd.functional.hessian(lambda a: f(a, B)[0].sum(), A),
    "batched": lambda f: tg.autograd.grad(
        f(A, B)[1], A, tg.eye(9).reshape(9, 3, 3), is_grads_batched=True
    )[0],
    "batched with graph": lambda f: tg.autograd.grad(
        f(A, B)[1], A, tg.eye(9).reshape(9, 3, 3), is_grads_batched=True, create_graph=True
    )[0],
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name: str) -> None:
    compiled = tg.jit(several)
    for _ in range(2):
        found, expected = TRANSFORMS[name](compiled), TRANSFORMS[name](several)
        np.testing.assert_allclose(
            found.detach().numpy(), expected.detach().numpy(), rtol=1e-11, atol=1e-12
        )


def test_gradcheck() -> None:
    compiled = tg.jit(several)
    assert tg.autograd.gradcheck(compiled, (A, B))
    assert tg.autograd.gradgradcheck(compiled, (A, B))


# --------------------------------------------------------------------------- code
def test_long_tapes_are_recorded_until_their_code_is_there() -> None:
    def f(a: Any) -> Any:
        for i in range(80):
            a = a * (1 + 1e-3 * i) + a.sin() * 0.1
            a = a / (1 + a.abs())
        return a.sum()

    a = leaf(3)
    compiled = tg.jit(f)
    expected = tg.autograd.grad(f(a), a)[0].numpy()
    for _ in range(2):
        np.testing.assert_allclose(
            tg.autograd.grad(compiled(a), a)[0].numpy(), expected, rtol=1e-10
        )
        tg.synchronize()
    assert names(compiled(a)) == ["CompiledFunctionBackward"]
    # Second derivatives are compiled when they are needed, whatever else is being compiled.
    other = tg.jit(lambda a: f(a) * 2)
    other(a)
    (g,) = tg.autograd.grad(compiled(a), a, create_graph=True)
    (expected,) = tg.autograd.grad(f(a), a, create_graph=True)
    second = [tg.autograd.grad(x.sum(), a)[0].numpy() for x in (g, expected)]
    np.testing.assert_allclose(*second, rtol=1e-8)


def test_modes() -> None:
    a = leaf(3)
    compiled = tg.jit(one)
    with tg.no_grad():
        assert not compiled(a).requires_grad
    with tg.inference_mode():
        assert compiled(a).is_inference()
    assert compiled(a).requires_grad
    assert not compiled(a.detach()).requires_grad
    tg.set_grad_enabled(False)
    try:
        assert not compiled(a).requires_grad
    finally:
        tg.set_grad_enabled(True)


def test_a_tape_with_calls_prints() -> None:
    tg.jit(one)(leaf(3))
    assert "compiled_number" in str(tg.current_tape())


def test_native_calls_see_what_changes() -> None:
    """Layouts, activity, memory that others see, other tapes: each call is that of the function."""
    compiled = tg.jit(lambda a, b: a * b + 1)
    a, b = tg.tensor([1.0, 2.0]), leaf(2)
    for _ in range(3):
        assert compiled(a, b).requires_grad
        assert not compiled(a, a).requires_grad
        assert compiled(a, a.float()).dtype == tg.float64
        assert compiled(a, tg.ones(())).shape == (2,)
        array = np.ones(2)
        shared = tg.from_numpy(array)
        result = compiled(a, shared)
        array[0] = 5.0
        np.testing.assert_array_equal(result.numpy(), [2.0, 3.0])
        assert compiled(a, shared)[0] == 6.0


def test_threads() -> None:
    compiled, errors = tg.jit(lambda a, b: (a * b).sin().sum()), list[Any]()

    def work() -> None:
        try:
            for i in range(200):
                a = tg.full((3,), float(i), requires_grad=True)
                compiled(a, a).backward()
                expected = 2 * i * np.cos(i * i)
                np.testing.assert_allclose(a.grad.numpy(), expected, rtol=1e-12, atol=1e-12)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


def test_finalizers_that_call_the_function() -> None:
    """A collection in the middle of a native call may run anything, the same function too."""
    compiled = tg.jit(lambda a, b: (a * b, a + b))

    class Final:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            compiled(tg.ones(4), tg.ones(4))
            compiled(tg.ones(5), tg.ones(5))

    a = tg.ones(3)
    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(200):
            Final()
            for y in compiled(a, a):
                assert y.shape == (3,)
    finally:
        gc.set_threshold(*threshold)


def test_code_ends_with_its_function() -> None:
    def made() -> Any:
        compiled = tg.jit(lambda a: (a * a).sum())
        compiled(leaf(3)).backward()
        (trace,) = (t for traces in compiled._traces.values() for t in traces)
        return weakref.ref(trace.call)

    references = [made() for _ in range(3)]
    gc.collect()
    assert [r() for r in references] == [None] * 3


def test_a_derivative_that_fails_inside_of_compiled_code_raises() -> None:
    """The pullback has a kernel that fails: neither the value nor other derivatives need it."""
    order, x = (tg.tensor(v, requires_grad=True) for v in ([1.0, 2.0], [0.5, 1.5]))

    @tg.jit
    def f(a, b):  # type: ignore[no-untyped-def]
        return tg.igamma(a, b) * b.sum()

    loss = tg.jit(lambda a, b: (tg.igamma(a, b) * b.sum()).sum())
    want = tg.igamma(order, x) * x.sum()
    for _ in range(2):
        y, number = f(order, x), loss(order, x)
        np.testing.assert_allclose(y.detach().numpy(), want.detach().numpy(), rtol=1e-14)
        assert number.item() == pytest.approx(want.sum().item(), rel=1e-14)
        for result in (y.sum(), number):
            with pytest.raises(tg.UnsupportedError, match="igamma: there is no derivative"):
                tg.autograd.grad(result, order, retain_graph=True)
            with pytest.raises(tg.UnsupportedError, match="igamma: there is no derivative"):
                result.backward()
        assert x.grad is None
    fixed = tg.jit(lambda b: f(order.detach(), b).sum())
    (expected,) = tg.autograd.grad((tg.igamma(order.detach(), x) * x.sum()).sum(), x)
    np.testing.assert_allclose(
        tg.grad(fixed)(x.detach()).detach().numpy(), expected.numpy(), rtol=1e-13
    )
