"""`autograd.Function`, beside torch where it is installed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from test_bad_input import survives
from test_hooks import LIBS, leaf, plain, same

import tapegrad as tg

try:
    import torch
except ImportError:
    torch = None

Case = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _torch_in_float64() -> Any:
    if torch is not None:
        torch.set_default_dtype(torch.float64)
    yield
    if torch is not None:
        torch.set_default_dtype(torch.float32)


def make(lib: Any, forward: Any, backward: Any, setup: Any = None, name: str = "My") -> Any:
    body = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    if setup is not None:
        body["setup_context"] = staticmethod(setup)
    return type(name, (lib.autograd.Function,), body)


def exp_of(lib: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    def backward(ctx: Any, g: Any) -> Any:
        (y,) = ctx.saved_tensors
        return g * y

    return make(lib, forward, backward, name="Exp")


def product_of(lib: Any) -> Any:
    def forward(ctx: Any, a: Any, k: float, b: Any) -> Any:
        ctx.save_for_backward(a, b, None)
        ctx.k = k
        return a * b * k

    def backward(ctx: Any, g: Any) -> Any:
        a, b, nothing = ctx.saved_tensors
        assert nothing is None
        return (
            g * b * ctx.k if ctx.needs_input_grad[0] else None, None,
            g * a * ctx.k if ctx.needs_input_grad[2] else None,
        )  # fmt: skip

    return make(lib, forward, backward)


# --------------------------------------------------------------------------- cases
def saved_output(lib: Any) -> Any:
    x = leaf(lib, 0.0, 1.0)
    y = exp_of(lib).apply(x)
    (y * y).sum().backward()
    return y, str(type(y.grad_fn).__name__), y.is_leaf, x.grad


def arguments(lib: Any) -> Any:
    a, b = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0)
    f = product_of(lib)
    f.apply(a, 2.0, b).sum().backward()
    f.apply(a.detach(), 5.0, b).sum().backward()
    y = f.apply(a, 2.0, b)
    return a.grad, b.grad, y.grad_fn.k, [n is not None for n, _ in y.grad_fn.next_functions][:2]


def higher_orders(lib: Any) -> Any:
    x, f = leaf(lib, 0.3, 0.7), exp_of(lib)
    y, found = f.apply(f.apply(x) * x).sum(), []
    for _ in range(4):
        (g,) = lib.autograd.grad(y, x, create_graph=True)
        found.append(g)
        y = g.sum()
    return [[round(v, 6) for v in g.tolist()] for g in found]


def passive(lib: Any) -> Any:
    f = product_of(lib)
    a = lib.ones(2)
    with lib.no_grad():
        y = f.apply(leaf(lib, 1.0), 2.0, leaf(lib, 1.0))
    return f.apply(a, 2.0, a).requires_grad, y.requires_grad, y.grad_fn is None


def several_outputs(lib: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * 2, "text", x * x, 7

    def backward(ctx: Any, g: Any, s: Any, h: Any, n: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g * 2 + h * 2 * x

    f = make(lib, forward, backward)
    x = leaf(lib, 1.0, 2.0)
    a, s, b, n = f.apply(x)
    (a * 3).sum().backward()
    first = x.grad.tolist()
    a, s, b, n = f.apply(x)
    (b * 5).sum().backward()
    return first, s, n, x.grad


def unmaterialized(lib: Any) -> Any:
    log = []

    def forward(ctx: Any, x: Any) -> Any:
        ctx.set_materialize_grads(False)
        return x * 2, x * 3

    def backward(ctx: Any, g: Any, h: Any) -> Any:
        log.append((g is None, h is None))
        return h * 3

    x = leaf(lib, 1.0)
    _, b = make(lib, forward, backward).apply(x)
    b.sum().backward()
    return log, x.grad


def not_differentiable(lib: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        order = x.argsort()
        big = x > 1
        copy = x * 1
        ctx.mark_non_differentiable(order, big, copy)
        return x[order], order, big, copy

    def backward(ctx: Any, g: Any, *others: Any) -> Any:
        return g

    x = leaf(lib, 2.0, 1.0)
    y, order, big, copy = make(lib, forward, backward).apply(x)
    return y.requires_grad, order.requires_grad, big.requires_grad, copy.requires_grad, copy


def dirty(lib: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        x.mul_(2)
        ctx.mark_dirty(x)
        return x

    def backward(ctx: Any, g: Any) -> Any:
        return g * 2

    w = leaf(lib, 1.0, 2.0)
    x = w * 1
    y = make(lib, forward, backward).apply(x)
    (x * x).sum().backward()
    return y is x, x, w.grad


def dirty_leaf(lib: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        with lib.no_grad():
            x.mul_(2)
        ctx.mark_dirty(x)
        return x

    make(lib, forward, lambda ctx, g: g).apply(leaf(lib, 1.0))


def with_setup_context(lib: Any) -> Any:
    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        x, k = inputs
        ctx.save_for_backward(x)
        ctx.k = k

    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.k * ctx.saved_tensors[0], None

    x = leaf(lib, 1.0, 2.0)
    make(lib, lambda x, k: x * x * k / 2, backward, setup).apply(x, 3.0).sum().backward()
    return x.grad


def second_pass(lib: Any) -> Any:
    y = exp_of(lib).apply(leaf(lib, 1.0)).sum()
    y.backward()
    y.backward()


def second_pass_without_saved(lib: Any) -> Any:
    x = leaf(lib, 1.0)
    y = make(lib, lambda ctx, x: x * 2, lambda ctx, g: g * 2).apply(x).sum()
    y.backward()
    y.backward()
    return x.grad


def retained(lib: Any) -> Any:
    x = leaf(lib, 1.0)
    y = exp_of(lib).apply(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return [round(v, 9) for v in x.grad.tolist()]


def stale(lib: Any) -> Any:
    x = leaf(lib, 1.0, 2.0)
    z = x * 1
    y = product_of(lib).apply(z, 1.0, z).sum()
    z.add_(1)
    y.backward()


def reentrant(lib: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x * x

    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        with lib.enable_grad():
            again = x.detach().requires_grad_()
            y = (again * again * again).sum()
        return g * lib.autograd.grad(y, again)[0]

    w = leaf(lib, 1.0, 2.0)
    x = w * 2
    (make(lib, forward, backward).apply(x) * x).sum().backward()
    return w.grad


def error_inside(lib: Any) -> Any:
    def backward(ctx: Any, g: Any) -> Any:
        raise ZeroDivisionError("mine")

    make(lib, lambda ctx, x: x * 1, backward).apply(leaf(lib, 1.0)).sum().backward()


def returns(*values: Any) -> Case:
    def case(lib: Any) -> Any:
        f = make(
            lib, lambda ctx, a, b: a * b, lambda ctx, g: values if len(values) - 1 else values[0]
        )
        f.apply(leaf(lib, 1.0, 2.0), leaf(lib, 1.0, 2.0)).sum().backward()

    return case


def unused_inputs(lib: Any) -> Any:
    f = make(lib, lambda ctx, a, b: a * 2, lambda ctx, g: (g * 2, None))
    a, b = leaf(lib, 1.0), leaf(lib, 2.0)
    f.apply(a, b).sum().backward()
    return a.grad, b.grad


def hooked(lib: Any) -> Any:
    x, log = leaf(lib, 1.0, 2.0), []
    y = exp_of(lib).apply(x * 0)
    y.register_hook(lambda g: g * 3)
    y.grad_fn.register_hook(lambda i, o: log.append((plain(i), plain(o))))
    (y * 2).sum().backward()
    return log, x.grad


CASES = [
    saved_output, arguments, higher_orders, passive, several_outputs, unmaterialized,
    not_differentiable, dirty, with_setup_context, second_pass_without_saved, retained, reentrant,
    unused_inputs, hooked,
]  # fmt: skip
ERRORS = {
    "dirty_leaf": dirty_leaf, "second_pass": second_pass, "error_inside": error_inside,
    "too_many": returns(None, None, 3.0), "too_few": returns(None), "no_tensor": returns(3.0, None),
    "no_forward": lambda lib: type("F", (lib.autograd.Function,), {}).apply(leaf(lib, 1.0)),
    "no_backward": lambda lib: type(
        "F", (lib.autograd.Function,), {"forward": staticmethod(lambda ctx, x: x * 2)}
    ).apply(leaf(lib, 1.0)).sum().backward(),
    "wrong_shape": lambda lib: make(lib, lambda ctx, x: x * 2, lambda ctx, g: lib.ones(3))
    .apply(leaf(lib, 1.0, 2.0)).sum().backward(),
    "saves_a_number": lambda lib: make(
        lib, lambda ctx, x: ctx.save_for_backward(3), lambda ctx, g: g
    ).apply(leaf(lib, 1.0)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda f: f.__name__)
def test_functions(case: Case) -> None:
    same(case)
    case(tg)  # and it does not raise


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    found = same(ERRORS[name])
    assert isinstance(found[0], str)
    assert found[0].endswith("Error")


def test_a_saved_input_that_was_changed() -> None:
    with pytest.raises(
        RuntimeError, match=r"modified by an inplace operation.*version 1; expected"
    ):
        stale(tg)


def test_once_differentiable() -> None:
    def case(lib: Any) -> Any:
        backward = lib.autograd.function.once_differentiable(lambda ctx, g: g * 2)
        x = leaf(lib, 1.0, 2.0)
        y = make(lib, lambda ctx, x: x * 2, backward).apply(x)
        (g,) = lib.autograd.grad((y * y).sum(), x, create_graph=True)
        assert g.tolist() == [8, 16]
        g.sum().backward()

    assert same(case)[0] == "RuntimeError"


def test_calls_leave_nothing_behind() -> None:
    tape = tg.current_tape()
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    f = exp_of(tg)
    seen = []

    class Noted(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            seen.append(weakref.ref(ctx))
            y = x * 2
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    for _ in range(300):
        f.apply(Noted.apply(x)).sum().backward()
        Noted.apply(x)
    tape.collect()
    gc.collect()
    assert sum(ref() is not None for ref in seen) <= 2
    assert len(tape.contexts) <= 2
    assert len(tape) < 50


def test_an_exception_leaves_the_tape_intact() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)

    def forward(ctx: Any, x: Any) -> Any:
        x * 2
        raise ValueError("mine")

    for _ in range(20):
        with pytest.raises(ValueError, match="mine"):
            make(tg, forward, None).apply(x)
        assert tg.is_grad_enabled()
    (x * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2, 4]


def test_functions_are_not_instantiated() -> None:
    with pytest.raises(RuntimeError, match="should not be instantiated"):
        exp_of(tg)()


assert LIBS


def test_contexts_that_live_at_the_end_of_the_process() -> None:
    """The interpreter clears modules in any order; tensors that contexts keep die last."""
    out = survives(
        """
        import tapegrad as tg
        from tapegrad.autograd.checkpoint import checkpoint
        w = tg.tensor([1.0, 2.0], requires_grad=True)
        x = tg.tensor([0.5, 0.7], requires_grad=True)
        def f(a, b):
            return (a * b).sin() * a
        y = checkpoint(f, w, x, use_reentrant=False)
        (y * y).sum().backward()
        print(w.grad, x.grad)
        w.grad = None
        (f(w, x) ** 2).sum().backward()
        y = checkpoint(f, w, x, use_reentrant=True)
        print(y)
        """
    )
    assert "CheckpointFunctionBackward" in out
