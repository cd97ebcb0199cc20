"""`autograd.Function`, beside torch where it is installed."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from test_bad_input import survives
from test_hooks import LIBS, leaf, plain, same

import tapegrad as tg
from tapegrad.autograd import forward_ad

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


@pytest.mark.smoke
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
    tape.collect()
    before, statements = len(tape.contexts), len(tape)
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
    assert len(tape.contexts) <= before + 2
    assert len(tape) < statements + 50


@pytest.mark.smoke
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
    with pytest.warns(DeprecationWarning, match="should not be instantiated"):
        function = exp_of(tg)()
    with pytest.raises(RuntimeError, match="non-static forward method is deprecated"):
        function(leaf(tg))
    with pytest.warns(DeprecationWarning, match="should not be instantiated"):
        assert tg.autograd.function.InplaceFunction(True).inplace is True


def test_an_output_that_is_returned_twice_is_one_tensor() -> None:
    seen = []

    class Twice(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x * 2
            return y, x.sin(), y

        @staticmethod
        def backward(ctx: Any, *cts: Any) -> Any:
            seen.append([c.tolist() for c in cts])
            return cts[0] * 2 + cts[2] * 2

    x = leaf(tg, 1.0, 2.0)
    a, _, c = Twice.apply(x)
    assert a is c
    (a + c).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [4.0, 4.0]
    assert seen == [[[0.0, 0.0], [0.0, 0.0], [2.0, 2.0]]]


def test_an_input_written_in_place_and_returned_twice() -> None:
    class Double(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.mul_(2)
            ctx.mark_dirty(x)
            return x, x

        @staticmethod
        def backward(ctx: Any, first: Any, second: Any) -> Any:
            return first * 2 + second * 2

    x = leaf(tg, 1.0, 2.0)
    y = x.clone()
    a, b = Double.apply(y)
    assert a is b is y
    (a * b).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [8.0, 16.0]


def test_the_node_of_once_differentiable() -> None:
    class Square(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @tg.autograd.function.once_differentiable
        def backward(ctx: Any, ct: Any) -> Any:
            assert not tg.is_grad_enabled()
            return 2 * ct * ctx.saved_tensors[0]

    x = leaf(tg, 1.0, 2.0)
    y = Square.apply(x)
    assert y.grad_fn.name() == "SquareBackward"
    (g,) = tg.autograd.grad((y * y).sum(), x, create_graph=True)
    assert g.grad_fn.name() == type(g.grad_fn).__name__ == "Error"
    assert [n.name() for n, _ in g.grad_fn.next_functions] == ["AccumulateGrad"]
    with pytest.raises(RuntimeError, match="marked with @once_differentiable"):
        g.sum().backward()


# --------------------------------------------------------------------------- written in place
def doubling(lib: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        x.mul_(2)
        ctx.mark_dirty(x)
        return x

    return make(lib, forward, lambda ctx, g: g * 2, name="Doubling")


def dirty_result(lib: Any) -> Any:
    w = leaf(lib, 1.0, 2.0)
    x = w * 1
    y = doubling(lib).apply(x)
    names = [n.name() for n, _ in x.grad_fn.next_functions]
    return (
        y is x, x._version, x.is_leaf, x.grad_fn.name(), x, names,
        lib.autograd.grad((x * x).sum(), w),
    )  # fmt: skip


def dirty_under_a_view(lib: Any) -> Any:
    w = leaf(lib, 1.0, 2.0)
    x = w * 1
    v = x[:1]
    doubling(lib).apply(x)
    return v, v._version, v.grad_fn.name(), lib.autograd.grad(v.sum() + x.sum(), w)


def dirty_view(lib: Any) -> Any:
    w = leaf(lib, 1.0, 2.0)
    x = w * 1
    v = x[:1]
    y = doubling(lib).apply(v)
    return y is v, x, v.grad_fn.name(), lib.autograd.grad((x * x).sum(), w)


def dirty_passive(lib: Any) -> Any:
    x = lib.tensor([1.0, 2.0])
    y = doubling(lib).apply(x)
    return y is x, x.requires_grad, x._version


def adding(lib: Any) -> Any:
    def forward(ctx: Any, x: Any, z: Any) -> Any:
        x.add_(z)
        ctx.mark_dirty(x)
        return x

    return make(
        lib, forward, lambda ctx, g: (g if ctx.needs_input_grad[0] else None, g), name="Adding"
    )


def dirty_passive_becomes_active(lib: Any) -> Any:
    x, z = lib.zeros(2), leaf(lib, 3.0, 4.0)
    v = x[:1]
    y = adding(lib).apply(x, z)
    return (
        y is x, x.requires_grad, x.is_leaf, x.grad_fn.name(), x._version, v.requires_grad,
        lib.autograd.grad((x * x).sum() + v.sum(), z),
    )  # fmt: skip


def dirty_view_of_passive(lib: Any) -> Any:
    x, z = lib.zeros(2), leaf(lib, 3.0)
    v = x[:1]
    y = adding(lib).apply(v, z)
    return y is v, x.requires_grad, x, lib.autograd.grad((x * x).sum(), z)


def dirty_and_another(lib: Any) -> Any:
    def forward(ctx: Any, x: Any, z: Any) -> Any:
        x.mul_(2)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x, z)
        return z * x, x

    def backward(ctx: Any, g: Any, h: Any) -> Any:
        x, z = ctx.saved_tensors
        return g * z * 2 + h * 2, g * x

    w, z = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0)
    x = w * 1
    a, y = make(lib, forward, backward).apply(x, z)
    (g,) = lib.autograd.grad((a * y).sum(), w, create_graph=True)
    return y is x, a, g, lib.autograd.grad(g.sum(), [w, z])


def dirty_twice(lib: Any) -> Any:
    w = leaf(lib, 1.0, 2.0)
    x = w * w
    f = doubling(lib)
    x = f.apply(f.apply(x))
    x.mul_(3)
    return x, lib.autograd.grad(x.sum(), w)


DIRTY = [
    dirty_result, dirty_under_a_view, dirty_view, dirty_passive, dirty_passive_becomes_active,
    dirty_view_of_passive, dirty_and_another, dirty_twice,
]  # fmt: skip


@pytest.mark.parametrize("case", DIRTY, ids=lambda f: f.__name__)
def test_inputs_that_are_written(case: Case) -> None:
    def shortened(lib: Any) -> Any:
        found = [v.split("::")[-1] if isinstance(v, str) else v for v in case(lib)]
        return found if case is not dirty_result else found[:5] + found[6:]

    same(shortened)
    case(tg)


def unreturned(lib: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        x.mul_(2)
        ctx.mark_dirty(x)
        return x * 1

    make(lib, forward, lambda ctx, g: g).apply(leaf(lib, 1.0) * 1)


def saved_output_that_was_changed(lib: Any) -> Any:
    y = exp_of(lib).apply(leaf(lib, 1.0))
    y.mul_(2)
    y.sum().backward()


def both_rules(lib: Any) -> Any:
    f = make(lib, lambda ctx, x: x * 2, lambda ctx, g: g * 2)
    f.vjp = staticmethod(lambda ctx, g: g * 2)
    f.apply(leaf(lib, 1.0)).sum().backward()


def looked_at_twice(lib: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * 2

    def backward(ctx: Any, g: Any) -> Any:
        assert len(ctx.saved_tensors) == 1
        return g * ctx.saved_tensors[0]

    f = make(lib, forward, backward)
    f.clear_saved_tensors_on_access = True
    f.apply(leaf(lib, 1.0)).sum().backward()


def keyword(lib: Any) -> Any:
    exp_of(lib).apply(leaf(lib, 1.0), k=3)


def keyword_only(lib: Any) -> Any:
    make(lib, lambda ctx, x, *, k=1: x * k, lambda ctx, g: g).apply(leaf(lib, 1.0), k=2)


def keyword_without_its_gradient(lib: Any) -> Any:
    f = make(lib, lambda ctx, x, k: x * k, lambda ctx, g: g)
    f.apply(leaf(lib, 1.0), k=2).sum().backward()


def unfit_gradient(lib: Any) -> Any:
    f = make(lib, lambda ctx, x: x * 2, lambda ctx, g: lib.ones(3, 1))
    f.apply(leaf(lib, 1.0, 2.0).reshape(2, 1)).sum().backward()


@pytest.mark.parametrize(
    "case", [unreturned, saved_output_that_was_changed, both_rules, looked_at_twice, keyword,
             keyword_only, keyword_without_its_gradient, unfit_gradient],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_more_errors(case: Case) -> None:
    def worded(lib: Any) -> Any:
        try:
            case(lib)
        except Exception as error:
            text = str(error).replace("torch.DoubleTensor", "T").replace("torch.FloatTensor", "T")
            raise type(error)(text) from None

    assert same(worded)[0].endswith("Error")


def test_arguments_with_defaults() -> None:
    def case(lib: Any) -> Any:
        def setup(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.k = inputs[1]

        f = make(lib, lambda x, k=5: x * k, lambda ctx, g: (g * ctx.k, None), setup)
        x = leaf(lib, 1.0)
        return [lib.autograd.grad(y.sum(), x) for y in (f.apply(x), f.apply(x, 2), f.apply(x, k=3))]

    same(case)


def test_the_context_is_named_as_the_node() -> None:
    def case(lib: Any) -> Any:
        seen = []

        def forward(ctx: Any, x: Any) -> Any:
            seen.append((type(ctx).__name__, ctx.name(), ctx.needs_input_grad, ctx.metadata))
            return x * 2

        y = make(lib, forward, lambda ctx, g: g * 2).apply(leaf(lib, 1.0))
        return seen, y.grad_fn.name()

    same(case)


# --------------------------------------------------------------------------- forward mode
def with_jvp(lib: Any) -> Any:
    """A Function whose ``jvp`` is ten times what its ``backward`` says, so that one sees who is called."""

    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        x, ctx.k = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    def backward(ctx: Any, g: Any, h: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 2 * g * x * ctx.k + h, None

    def jvp(ctx: Any, t: Any, nothing: Any) -> Any:
        assert nothing is None
        (x,) = ctx.saved_tensors
        return 20 * t * x * ctx.k, t

    f = make(lib, lambda x, k: (x * x * k, x + 1), backward, setup)
    f.jvp = staticmethod(jvp)
    return f


def tangent_of(lib: Any, x: Any, t: Any, function: Any) -> Any:
    ad = lib.autograd.forward_ad
    with ad.dual_level():
        y = function(ad.make_dual(x, t))
        return ad.unpack_dual(y).tangent


@pytest.mark.smoke
def test_jvp_is_used_in_forward_mode() -> None:
    def case(lib: Any) -> Any:
        f, x, t = with_jvp(lib), lib.tensor([1.0, 2.0]), lib.tensor([1.0, 10.0])
        w = leaf(lib, 1.0, 2.0)
        dual = tangent_of(lib, w, t, lambda d: f.apply(d, 3.0)[0])
        return [
            lib.func.jvp(lambda a: f.apply(a, 2.0)[0], (x,), (t,)),
            tangent_of(lib, x, t, lambda d: f.apply(d, 3.0)[0] * 2),
            tangent_of(lib, x, t, lambda d: f.apply(d * 2, 3.0)[1]),
            lib.autograd.grad(dual.sum(), w),
            lib.func.grad(lambda a: f.apply(a, 2.0)[0].sum())(x),
        ]

    same(case)


def only_jvp(lib: Any, rule: Any) -> Any:
    body = {"forward": staticmethod(lambda ctx, x: x * 3), "jvp": staticmethod(rule)}
    return type("OnlyJvp", (lib.autograd.Function,), body)


@pytest.mark.parametrize(
    "rule",
    [lambda ctx, t: t * 3, lambda ctx, t: (t, t), lambda ctx, t: 3, lambda ctx, t: t[:1]],
)
def test_functions_that_have_a_jvp_only(rule: Any) -> None:
    same(
        lambda lib: tangent_of(lib, lib.tensor([1.0, 2.0]), lib.ones(2), only_jvp(lib, rule).apply)
    )


@pytest.mark.smoke
def test_functions_under_vmap() -> None:
    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(output)

    def case(lib: Any) -> Any:
        f = make(lib, lambda x: x.exp(), lambda ctx, g: g * ctx.saved_tensors[0], setup)
        f.generate_vmap_rule = True
        h = make(lib, lambda x: x.exp(), lambda ctx, g: g * ctx.saved_tensors[0], setup)
        h.vmap = staticmethod(lambda info, in_dims, x: (h.apply(x), in_dims[0]))
        x = lib.tensor([1.0, 2.0])
        return [
            lib.func.vmap(f.apply)(x), lib.func.vmap(lib.func.grad(lambda a: f.apply(a) * 2))(x),
            lib.func.vmap(h.apply)(x), lib.func.vmap(lib.func.grad(lambda a: h.apply(a) * 2))(x),
        ]  # fmt: skip

    same(case)


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


@pytest.mark.parametrize("returned", [lambda t: t.ones(7, 5), lambda t: t.ones(3), lambda t: None])
def test_gradients_of_inputs_that_need_none_are_ignored(returned: Any) -> None:
    """Whatever their shape, and whether the input is still there."""
    for lib in LIBS:
        double = make(lib, lambda ctx, x, c: x * 2, lambda ctx, g, lib=lib: (g * 2, returned(lib)))
        x = leaf(lib, 1.0, 2.0)
        y = double.apply(x, lib.ones(3))
        if lib is tg:
            tg.current_tape().collect()
        y.sum().backward()
        assert x.grad.tolist() == [2, 2]
        needed = double.apply(x, leaf(lib, 1.0, 1.0, 1.0))
        if returned(lib) is not None and tuple(returned(lib).shape) == (7, 5):
            with pytest.raises(RuntimeError, match=r"invalid gradient at index 1 - got \[7, 5\]"):
                needed.sum().backward()


# --------------------------------------------------------------------------- contexts
def test_a_context_is_a_node() -> None:
    Node = tg.autograd.graph.Node
    seen = []

    class Same(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            seen.append(isinstance(ctx, Node))
            return x * 1

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            seen.append(isinstance(ctx, Node))
            return g

    y = Same.apply(tg.tensor([1.0], requires_grad=True))
    y.sum().backward()
    assert seen == [True, True]
    assert isinstance(y.grad_fn, Node)
    assert issubclass(type(y.grad_fn), Node)
    assert not isinstance(1, Node)
    assert not isinstance(None, Node)


def test_what_is_no_input_and_marked_dirty_is_warned_about() -> None:
    class Bad(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any) -> Any:
            c = 3 * a
            ctx.mark_dirty(c)
            return c

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 3 * g

    a = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.warns(UserWarning, match=r"mark_dirty\(\) received a tensor that was not an input"):
        y = Bad.apply(a)
    (y * y).sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [18.0, 36.0]


def test_cotangents_of_outputs_that_have_none_are_zeros_or_none() -> None:
    seen = []

    def function(flag: bool) -> Any:
        class Two(tg.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                first, second, third = x * 1, x * 2, x * 3
                ctx.mark_non_differentiable(second)
                ctx._materialize_non_diff_grads = flag
                return first, second, third

            @staticmethod
            def backward(ctx: Any, *gs: Any) -> Any:
                seen.append([None if g is None else g.tolist() for g in gs])
                return gs[0]

        return Two

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    for flag in (True, False):
        function(flag).apply(x)[0].sum().backward()
    assert seen == [
        [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]],
        [[1.0, 1.0], None, [0.0, 0.0]],
    ]


def test_the_tangent_of_an_output_that_has_none_must_be_none() -> None:
    def function(right: bool) -> Any:
        class Pair(tg.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any, y: Any) -> Any:
                out = y.clone()
                ctx.mark_non_differentiable(out)
                return x.clone(), out

            @staticmethod
            def jvp(ctx: Any, x_t: Any, y_t: Any) -> Any:
                return x_t * 3, None if right else x_t.clone()

        return Pair

    with forward_ad.dual_level():
        x = forward_ad.make_dual(tg.tensor(2.0), tg.tensor(1.0))
        first, second = function(True).apply(x, tg.tensor(3.0))
        assert forward_ad.unpack_dual(first).tangent.item() == 3.0
        assert forward_ad.unpack_dual(second).tangent is None
        with pytest.raises(RuntimeError, match=r"at position 1, .* return None at that position"):
            forward_ad.unpack_dual(function(False).apply(x, tg.tensor(3.0))[0])


@pytest.mark.parametrize("save", ["save_for_backward", "save_for_forward"])
@pytest.mark.parametrize("which", ["input", "output"])
def test_an_input_that_is_the_output_is_not_saved(save: str, which: str) -> None:
    """It would have two derivatives; a view has one. PyTorch's error, wherever the Function is called."""

    def function(forward: Any, *, dirty: bool = False) -> Any:
        class Through(tg.autograd.Function):
            @staticmethod
            def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
                if dirty:
                    ctx.mark_dirty(inputs[0])
                getattr(ctx, save)(inputs[0] if which == "input" else output)

            @staticmethod
            def backward(ctx: Any, gy: Any) -> Any:
                (y,) = ctx.saved_tensors
                return gy * y * y

            @staticmethod
            def jvp(ctx: Any, tangent: Any) -> Any:
                (y,) = ctx.saved_tensors
                return tangent * y * y

        Through.forward = staticmethod(forward)
        return Through.apply

    through = function(lambda x: x)
    leaf, passive, one = tg.tensor(3.0, requires_grad=True), tg.tensor(3.0), tg.tensor(1.0)
    for run in (
        lambda: through(leaf), lambda: through(passive), lambda: tg.func.grad(through)(passive),
        lambda: tg.func.jvp(through, (passive,), (one,)),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="An input that has been returned as-is as output"):
            run()
    if save == "save_for_backward":
        seen = function(lambda x: x.view_as(x))
        assert tg.func.grad(seen)(passive).item() == 9.0
        second = tg.func.grad(tg.func.grad(seen))(passive).item()
        assert second == (6.0 if which == "input" else 54.0)
    assert function(lambda x: x, dirty=True)(passive.clone()).item() == 3.0


# --------------------------------------------------------------------------- inputs that are returned
def test_an_input_that_is_returned_twice_is_two_outputs() -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0)
        f = make(lib, lambda ctx, x: (x, x * 1, x), lambda ctx, g, h, i: g * 3 + h * 5 + i * 7)
        a, b, c = f.apply(x)
        return lib.autograd.grad((a + 2 * b + 4 * c).sum(), x), a is c, a is x

    assert same(case) == [[[41.0, 41.0]], False, False]


def test_a_result_that_is_returned_twice_is_one_output() -> None:
    def case(lib: Any) -> Any:
        def forward(ctx: Any, x: Any) -> Any:
            y = x * 2
            return y, y

        x = leaf(lib, 1.0, 2.0)
        a, b = make(lib, forward, lambda ctx, g, h: g * 3 + h * 5).apply(x)
        return a is b, lib.autograd.grad((a + 2 * b).sum(), x)

    assert same(case) == [True, [[15.0, 15.0]]]


def test_an_input_that_is_returned_is_another_tensor_than_the_output() -> None:
    def case(lib: Any) -> Any:
        x, p, i = leaf(lib, 1.0, 2.0), lib.tensor([5.0, 6.0]), lib.tensor([1, 2])
        same_back = make(lib, lambda ctx, x: x, lambda ctx, g: g * 3)
        passive = same_back.apply(p)
        passive.requires_grad_()
        with lib.no_grad():
            quiet = same_back.apply(x)

        def forward(ctx: Any, x: Any, i: Any, w: Any) -> Any:
            ctx.mark_non_differentiable(w)
            return x * 2, i, w

        y, integers, marked = make(lib, forward, lambda ctx, g, *_: (g * 2, None, None)).apply(
            x, i, x
        )
        return (
            p.requires_grad, passive.data_ptr() == p.data_ptr(), quiet is x, quiet.requires_grad,
            integers is i, integers, marked is x, marked.requires_grad, marked,
            lib.autograd.grad(y.sum(), x),
        )  # fmt: skip

    assert same(case) == [
        False, True, False, False, False, [1, 2], False, False, [1.0, 2.0], [[2.0, 2.0]],
    ]  # fmt: skip


def test_arguments_by_name() -> None:
    def case(lib: Any) -> Any:
        def forward(ctx: Any, x: Any, k: float = 3, w: Any = 0) -> Any:
            ctx.k = k
            return x * k + w

        def backward(ctx: Any, g: Any) -> Any:
            return (g * ctx.k, None, g)[: len(ctx.needs_input_grad)]

        f = make(lib, forward, backward)
        x, w = leaf(lib, 1.0, 2.0), leaf(lib, 5.0, 6.0)
        return [
            lib.autograd.grad(y.sum(), (x, w), allow_unused=True)
            for y in (f.apply(x, k=2), f.apply(x, 4, w=w), f.apply(w=w, x=x, k=5), f.apply(x))
        ]

    assert same(case) == [
        [[2.0, 2.0], None], [[4.0, 4.0], [1.0, 1.0]], [[5.0, 5.0], [1.0, 1.0]], [[3.0, 3.0], None],
    ]  # fmt: skip


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_gradient_of_a_broadcast_shape_is_summed(create_graph: bool) -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0).detach().reshape(2, 1).requires_grad_()
        found = []
        for shape in ((2, 1), (2, 3), (5, 2, 3)):
            f = make(lib, lambda ctx, x: x * 2, lambda ctx, g, n=shape: lib.ones(n) * 2)
            found.append(lib.autograd.grad(f.apply(x).sum(), x, create_graph=create_graph)[0])
        return found

    assert same(case) == [[[2.0], [2.0]], [[6.0], [6.0]], [[30.0], [30.0]]]


@pytest.mark.parametrize("write", [False, True])
def test_a_saved_output_outlives_its_tensor(write: bool) -> None:
    class Result(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
            y, z = x.exp(), x * 2
            ctx.save_for_backward(y)
            return y, z

        @staticmethod
        def backward(ctx: Any, g: tg.Tensor, h: tg.Tensor) -> tg.Tensor:
            (y,) = ctx.saved_tensors
            return g * y + h * 2

    tape = tg.current_tape()
    for _ in range(3):  # from the second time on the derivatives' programs are there
        x = tg.tensor([0.0, 1.0], requires_grad=True)
        y, z = Result.apply(x)
        total = y * 3 + z
        if write:
            total.view(2, 1).neg_()
        del y, z
        for _ in range(2):
            tape.evaluate()
            tape.collect()
        sign = -1.0 if write else 1.0
        want = pytest.approx([5 * sign, (3 * math.e + 2) * sign])
        assert tg.autograd.grad(total.sum(), x, retain_graph=True)[0].tolist() == want
        assert tg.autograd.grad(total.sum(), x, create_graph=True)[0].tolist() == want
        tape.collect()
        total.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == want
