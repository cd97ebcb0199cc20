"""Hooks on what is saved for backward, beside torch where it is installed."""

from __future__ import annotations

import contextlib
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from beside_torch import same
from test_lifetimes import alone

import tapegrad as tg
from tapegrad.native import abi as nt


def leaf(lib: Any, *values: float) -> Any:
    return lib.tensor(list(values), requires_grad=True)


class Log:
    """A pair of hooks that note what they see."""

    def __init__(self, lib: Any, pack: Any = None, unpack: Any = None) -> None:
        self.lib, self.seen = lib, []  # type: ignore[var-annotated]
        self.hooks = (pack or (lambda t: t), unpack or (lambda t: t))

    def pack(self, t: Any) -> Any:
        self.seen.append(("pack", t.tolist(), t.requires_grad, self.lib.is_grad_enabled()))
        return self.hooks[0](t)

    def unpack(self, what: Any) -> Any:
        found = self.hooks[1](what)
        self.seen.append(("unpack", found.tolist(), self.lib.is_grad_enabled()))
        return found

    def on(self) -> Any:
        return self.lib.autograd.graph.saved_tensors_hooks(self.pack, self.unpack)


# --------------------------------------------------------------------------- what is packed
OPS = {
    "x * w": lambda lib, x, w: x * w,
    "x * x": lambda lib, x, w: x * x,
    "x * (x + 1)": lambda lib, x, w: x * (x + 1),
    "x * 3.0": lambda lib, x, w: x * 3.0,
    "x / w": lambda lib, x, w: x / w,
    "x + w": lambda lib, x, w: x + w,
    "x ** 2.5": lambda lib, x, w: x**2.5,
    "exp": lambda lib, x, w: x.exp(),
    "tanh": lambda lib, x, w: x.tanh(),
    "sigmoid": lambda lib, x, w: x.sigmoid(),
    "sin": lambda lib, x, w: x.sin(),
    "log": lambda lib, x, w: x.log(),
    "sqrt": lambda lib, x, w: x[1:].sqrt(),
    "abs": lambda lib, x, w: x.abs(),
    "square": lambda lib, x, w: x.square(),
    "sum": lambda lib, x, w: x.sum(),
    "mean": lambda lib, x, w: x.mean(),
    "cumsum": lambda lib, x, w: x.cumsum(0),
    "atan2": lambda lib, x, w: lib.atan2(x, w),
    "where": lambda lib, x, w: lib.where(x > 1, x, w),
    "views": lambda lib, x, w: x.reshape(2, 1).expand(2, 3).t()[0],
    "mm": lambda lib, x, w: x.reshape(1, 2) @ lib.ones(2, 2),
    "no_grad": lambda lib, x, w: lib.autograd.no_grad()(lambda: x * x)() + x,
    "passive": lambda lib, x, w: x + w * w,
}


@pytest.mark.parametrize("name", OPS)
def test_what_operations_save(name: str) -> None:
    def case(lib: Any) -> Any:
        x, w, log = leaf(lib, 1.0, 2.0), lib.tensor([3.0, 4.0]), Log(lib)
        with log.on():
            y = OPS[name](lib, x, w)
        y.sum().backward(retain_graph=True)
        y.sum().backward()
        return y, x.grad, log.seen

    same(case)


def test_a_chain_of_operations() -> None:
    def case(lib: Any) -> Any:
        x, log = leaf(lib, 1.0, 0.5), Log(lib)
        with log.on():
            z = ((x * x).exp() * 2).pow(3).sin().sum()
        z.backward()
        return x.grad, log.seen

    same(case)


def test_statements_outside_are_left_alone() -> None:
    def case(lib: Any) -> Any:
        x, log = leaf(lib, 1.0, 0.5), Log(lib)
        a = x * x
        with log.on():
            b = a * a
        (b * b).sum().backward()
        return x.grad, log.seen

    same(case)


def test_unpacked_values_are_used() -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0)
        with Log(lib, lambda t: t * 10, lambda t: t + 1).on():
            y = x * x + x.exp()
        y.sum().backward()
        return x.grad

    same(case)


def test_packing_in_numpy_and_in_another_precision() -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0)
        graph = lib.autograd.graph
        with graph.saved_tensors_hooks(lambda t: t.detach().numpy().copy(), lib.from_numpy):
            y = (x * x).sin()
        with graph.saved_tensors_hooks(lambda t: t.to(lib.float32), lambda t: t.to(lib.float64)):
            z = y * y * 2
        z.sum().backward()
        return [round(v, 5) for v in x.grad.tolist()]

    same(case)


def test_layouts_that_are_not_contiguous() -> None:
    def case(lib: Any) -> Any:
        x = lib.arange(6.0).reshape(2, 3).requires_grad_()
        graph = lib.autograd.graph
        with graph.saved_tensors_hooks(lambda t: t.tolist(), lambda v: lib.tensor(v)):
            y = x.t().exp() * x[:1].expand(2, 3).t() * x.t()[:, ::1]
            z = x.t() @ x
        (y.sum() + z.sum()).backward()
        return x.grad

    same(case)


def test_contexts_nest_and_the_innermost_wins() -> None:
    def case(lib: Any) -> Any:
        x, outer, inner = leaf(lib, 1.0, 2.0), Log(lib), Log(lib)
        with outer.on():
            y = x * x
            with inner.on():
                y = y.sin()
            with lib.autograd.graph.save_on_cpu():
                pass
            y = y.exp()
        y.sum().backward()
        return x.grad, outer.seen, inner.seen

    same(case)


# --------------------------------------------------------------------------- higher orders
def test_double_backward_goes_through_unpacked_tensors() -> None:
    def case(lib: Any) -> Any:
        x, log = leaf(lib, 1.0, 2.0), Log(lib)
        with log.on():
            y = (x * x * x).sum()
        (g,) = lib.autograd.grad(y, x, create_graph=True)
        (h,) = lib.autograd.grad(g.sum(), x, create_graph=True)
        (k,) = lib.autograd.grad(h.sum(), x)
        return g, h, k, log.seen[:5]

    same(case)


@pytest.mark.parametrize("orders", [2, 4])
def test_every_order_recorded_under_hooks(orders: int) -> None:
    def case(lib: Any) -> Any:
        x, found = leaf(lib, 0.3, 0.7), []
        graph = lib.autograd.graph
        with graph.saved_tensors_hooks(lambda t: t.tolist(), lambda v: lib.tensor(v)):
            y = (x.sin() * x.exp()).tanh().sum()
            for _ in range(orders):
                (g,) = lib.autograd.grad(y, x, create_graph=True)
                found.append(g)
                y = g.sum()
        return found

    same(case)


def test_what_unpack_computes_counts_as_the_saved_tensor() -> None:
    """Its derivative is that of the operand, whatever the hook did."""

    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0)
        with Log(lib, lambda t: t, lambda t: t * 5).on():
            y = (x * x).sum()
        (g,) = lib.autograd.grad(y, x, create_graph=True)
        return g, lib.autograd.grad(g.sum(), x)

    same(case)


# --------------------------------------------------------------------------- Functions
def make_function(lib: Any) -> Any:
    class F(lib.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any, k: int) -> Any:
            h, y = x * k, x.exp()
            ctx.save_for_backward(x, y, h, None)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, y, h, nothing = ctx.saved_tensors
            assert nothing is None
            return g * y + 0 * x * h, None

    return F


def test_functions_save_through_the_hooks() -> None:
    def case(lib: Any) -> Any:
        x, log, f = leaf(lib, 1.0, 2.0), Log(lib), make_function(lib)
        with log.on():
            y = f.apply(x, 2)
            with lib.no_grad():
                f.apply(x, 2)
            f.apply(x.detach(), 2)
        y.sum().backward(retain_graph=True)
        (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
        (h,) = lib.autograd.grad(g.sum(), x)
        return y, x.grad, g, h, log.seen[:6]

    same(case)


# --------------------------------------------------------------------------- errors
def raises(error: BaseException) -> Any:
    def hook(_: Any) -> Any:
        raise error

    return hook


ERRORS = {
    "pack": (raises(ValueError("mine")), None),
    "unpack": (None, raises(ValueError("mine"))),
    "no tensor": (None, lambda t: 3),
    "None": (None, lambda t: None),
    "in place": (lambda t: t.detach().mul_(2), None),
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("of_function", [False, True])
def test_hooks_that_fail_leave_the_tape_usable(name: str, of_function: bool) -> None:
    pack, unpack = ERRORS[name]

    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0)
        (x * x).sum().backward()
        before = x.grad.tolist()
        hooks = lib.autograd.graph.saved_tensors_hooks(
            pack or (lambda t: t), unpack or (lambda t: t)
        )
        said = None
        try:
            with hooks:
                y = make_function(lib).apply(x, 2) if of_function else x * x
            y.sum().backward()
        except Exception as error:
            said = type(error).__name__, str(error)
        assert x.grad.tolist() == before
        (x.detach() * x * x).sum().backward()
        return said, x.grad, lib.is_grad_enabled()

    assert same(case)[1] is not None


def test_disabled_hooks() -> None:
    def case(lib: Any) -> Any:
        graph, found = lib.autograd.graph, []

        def hooks() -> Any:
            return graph.saved_tensors_hooks(lambda t: t, lambda t: t)

        for outer, inner in (
            (graph.disable_saved_tensors_hooks("no"), hooks()),
            (hooks(), graph.disable_saved_tensors_hooks("no, either")),
        ):
            try:
                with outer, inner:
                    pass
            except RuntimeError as error:
                found.append(str(error))
        with graph.disable_saved_tensors_hooks("a"), graph.disable_saved_tensors_hooks("b"):
            pass
        with hooks():
            found.append("fine")
        return found

    same(case)


def test_a_second_pass_and_freed_values() -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0)
        with Log(lib).on():
            y = (x * x).sum()
        y.backward()
        y.backward()

    assert "second time" in same(case)


def test_a_shape_that_does_not_fit() -> None:
    x = leaf(tg, 1.0, 2.0)
    with Log(tg, None, lambda t: tg.ones(3)).on():
        y = x * x
    with pytest.raises(RuntimeError, match=r"shape \[3\] in the place of one of shape \[2\]"):
        y.sum().backward()
    assert x.grad is None


def test_writes_after_packing_are_not_noticed() -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0)
        a = x * 1
        with Log(lib, lambda t: t.detach().clone()).on():
            y = (a * a).sum()
        a.mul_(3)
        y.backward()
        return x.grad

    same(case)


# --------------------------------------------------------------------------- attributes of nodes
SAVED = ("self", "other", "result", "mat2", "exponent", "vec", "tensor", "nothing")
NAMED = (
    "x * w", "x * x", "x * 3.0", "x + w", "x ** 2.5", "exp", "tanh", "sigmoid", "sin", "log", "sqrt",
    "abs", "sum", "mm",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_saved_tensors_of_nodes(name: str) -> None:
    def case(lib: Any) -> Any:
        x, found = leaf(lib, 1.0, 2.0), {}
        node = OPS[name](lib, x, lib.tensor([3.0, 4.0])).grad_fn
        for what in SAVED:
            try:
                found[what] = getattr(node, "_saved_" + what)
            except AttributeError as error:
                found[what] = type(error).__name__
        return found

    same(case)


def test_saved_tensors_of_nodes_are_the_graphs() -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0)
        y = x.exp()
        (g,) = lib.autograd.grad(y.grad_fn._saved_result.sum(), x)
        with lib.autograd.graph.saved_tensors_hooks(lambda t: 3.0, lambda v: lib.tensor([v, v])):
            z = x * x
        return g, z.grad_fn._saved_self, (x * x).grad_fn._saved_self.is_leaf

    same(case)


@pytest.mark.parametrize("freed", [False, True])
def test_saved_tensors_of_nodes_that_are_gone(freed: bool) -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0)
        a = x * 1
        y = a.sin()
        if freed:
            y.sum().backward()
        else:
            a.add_(1)
        return y.grad_fn._saved_self

    same(case, up_to="inplace operation")


# --------------------------------------------------------------------------- memory
@alone
def test_packed_values_are_released() -> None:
    x = tg.tensor(np.ones(10_000), requires_grad=True)
    refs = []

    class Box:
        def __init__(self, t: Any) -> None:
            self.values = t[:1].tolist()
            refs.append(weakref.ref(self))

    hooks = tg.autograd.graph.saved_tensors_hooks(
        Box, lambda box: tg.full((10_000,), box.values[0])
    )
    tape = tg.current_tape()
    with hooks:
        y = x
        for _ in range(20):
            y = y.exp() * 0.1
        y = y.sum()
    y.item()
    tape.collect()
    assert tape.state[nt.S_OWNED_BYTES] < 3 * 80_000, "the residuals themselves are not kept"
    assert len(refs) == 20
    y.backward()
    assert all(r() is None for r in refs)
    refs.clear()
    del y
    with hooks:
        z = (x.exp() * x).exp()
    assert any(r() is not None for r in refs)
    del z
    for _ in range(2):
        tape.collect()
    gc.collect()
    assert all(r() is None for r in refs), "dropped without a backward pass"
    assert not tape.contexts


@alone
def test_a_hook_that_keeps_the_tensor_makes_no_cycle() -> None:
    x = tg.tensor([0.5], requires_grad=True)
    tape = tg.current_tape()
    for _ in range(300):
        y = x
        with tg.autograd.graph.saved_tensors_hooks(lambda t: [t], lambda box: box[0]):
            for _ in range(10):
                y = y.exp() * x
    del y
    for _ in range(3):
        tape.collect()
    assert len(tape) < 10
    assert not tape.contexts


def test_operands_that_the_collector_dropped() -> None:
    """Nothing but what was packed is left of a passive operand."""
    x, f = leaf(tg, 1.0, 2.0), make_product(tg)
    with Log(tg, lambda t: t.tolist(), lambda v: tg.tensor(v)).on():
        y = x * tg.tensor([[3.0], [4.0], [5.0]])
        z = f.apply(x, tg.tensor([[3.0], [4.0], [5.0]]))
    tg.current_tape().collect()
    assert tg.autograd.grad(y.sum(), x, create_graph=True)[0].tolist() == [12, 12]
    assert tg.autograd.grad(z.sum(), x, create_graph=True)[0].tolist() == [12, 12]
    assert tg.autograd.grad((y + z).sum(), x)[0].tolist() == [24, 24]


def make_product(lib: Any) -> Any:
    class Product(lib.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            ctx.save_for_backward(b)
            return a * b

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return (g * ctx.saved_tensors[0]).sum(0), None

    return Product


def test_batched_cotangents_and_anomaly_detection() -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0)
        with Log(lib).on():
            y = x * x
        j = lib.autograd.grad(y, x, lib.eye(2), is_grads_batched=True, retain_graph=True)
        with lib.autograd.set_detect_anomaly(True), Log(lib).on():
            z = (x * x).sum()
            z.backward()
        return j, x.grad

    same(case)


def test_inside_transforms_and_checkpoint() -> None:
    x = leaf(tg, 1.0, 2.0)
    with Log(tg, lambda t: t.tolist(), lambda v: tg.tensor(v)).on():
        assert tg.func.grad(lambda t: (t * t * t).sum())(x).tolist() == [3, 12]
        assert tg.func.hessian(lambda t: (t**3).sum())(x.detach()).tolist() == [[6, 0], [0, 12]]
        y = tg.autograd.checkpoint.checkpoint(lambda t: (t * t).sum(), x, use_reentrant=False)
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2, 4]


@alone
@pytest.mark.smoke
def test_hooks_that_use_tensors_while_the_tape_is_full() -> None:
    """Whoever packs knows slots by number: nothing may renumber them meanwhile."""
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    tape = tg.current_tape()

    def pack(t: Any) -> Any:
        for _ in range(50):
            t * 2 + 1
        return t * 1

    before = tape.collections
    for _ in range(100):
        with tg.autograd.graph.saved_tensors_hooks(pack, lambda t: t * 1):
            y = ((x * x).exp() * x).sum()
            (g,) = tg.autograd.grad(y, x, create_graph=True)
        (h,) = tg.autograd.grad(g.sum(), x)
    assert tape.collections > before
    e = np.exp(np.array([1.0, 4.0]))
    np.testing.assert_allclose(g.detach().numpy(), e * (1 + 2 * np.array([1.0, 4.0])))
    np.testing.assert_allclose(h.numpy(), e * (6 * np.array([1.0, 2.0]) + 4 * np.array([1.0, 8.0])))


def test_threads_have_hooks_of_their_own() -> None:
    seen: list[Any] = []

    def record() -> list[float]:
        w = tg.tensor([3.0], requires_grad=True)
        return tg.autograd.grad((w * w).sum(), w)[0].tolist()

    with tg.autograd.graph.saved_tensors_hooks(seen.append, lambda t: t):  # noqa: SIM117
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(record).result() == [6]
    assert not seen


# --------------------------------------------------------------------------- written after they were saved
class Cube(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, ct: Any) -> Any:
        return 3 * ct * ctx.saved_tensors[0] ** 2


MUTATED = {
    "square": (lambda b: (b**2).sum(), lambda b: b.sin_()),
    "product": (lambda b: (b * b.exp() * b).sum(), lambda b: b.mul_(3)),
    "view": (lambda b: (b[:1] ** 2).sum() + (b.view(2, 1) ** 3).sum(), lambda b: b.view(2).add_(1)),
    "a view is written": (lambda b: (b * b * b).sum(), lambda b: b[:1].mul_(5)),
    "an item": (lambda b: (b.sin() * b).sum(), lambda b: b.__setitem__(0, 7.0)),
    "matrix": (lambda b: b.view(2, 1).mm(b.view(1, 2)).pow(2).sum(), lambda b: b.zero_()),
    "quotient": (lambda b: (1 / b + b / (b + 1)).sum(), lambda b: b.fill_(9.0)),
    "Function": (lambda b: Cube.apply(b).sum(), lambda b: b.cos_()),
}  # fmt: skip


@pytest.mark.parametrize("name", list(MUTATED))
def test_derivatives_of_mutated_tensors(name: str) -> None:
    """To the third order, as if nothing had been written; also after the context."""
    function, write = MUTATED[name]

    def derivatives(mutate: bool) -> list[list[float]]:
        a = tg.tensor([0.5, 1.25], requires_grad=True)
        allowed = tg.autograd.graph.allow_mutation_on_saved_tensors()
        with allowed if mutate else contextlib.nullcontext():
            b = a.clone()
            y = function(b)
            if mutate:
                write(b)
            found = []
            for _ in range(2):
                (g,) = tg.autograd.grad(y, a, create_graph=True)
                found.append(g.tolist())
                y = (g * g).sum()
        found.append(tg.autograd.grad(y, a)[0].tolist())
        return found

    want = derivatives(False)
    np.testing.assert_allclose(derivatives(True), want, rtol=1e-12)
    assert name != "square" or want == [[1.0, 2.5], [4.0, 10.0], [64.0, 160.0]]


def test_derivatives_of_a_mutated_result() -> None:
    a = tg.tensor([0.5, 1.0], requires_grad=True)
    with tg.autograd.graph.allow_mutation_on_saved_tensors():
        y = a.exp()
        out = (y * y.tanh()).sum() + y.sum()
        y.mul_(3)
        (g,) = tg.autograd.grad(out, a, create_graph=True)
        (h,) = tg.autograd.grad(g.sum(), a)
    b = tg.tensor([0.5, 1.0], requires_grad=True)
    y = b.exp()
    (want,) = tg.autograd.grad((y * y.tanh()).sum() + y.sum(), b, create_graph=True)
    (second,) = tg.autograd.grad(want.sum(), b)
    np.testing.assert_allclose(g.tolist(), want.tolist(), rtol=1e-12)
    np.testing.assert_allclose(h.tolist(), second.tolist(), rtol=1e-12)


def test_contexts_of_mutation_do_not_nest() -> None:
    allowed = tg.autograd.graph.allow_mutation_on_saved_tensors
    with allowed(), pytest.raises(RuntimeError, match="contexts cannot be nested"), allowed():
        pass
    with allowed():
        pass


def test_mutated_graphs_are_freed() -> None:
    tape = tg.current_tape()
    gc.collect()
    tape.collect()
    before = len(tape.contexts)
    a = tg.tensor([0.5, 1.0], requires_grad=True)
    for _ in range(300):
        with tg.autograd.graph.allow_mutation_on_saved_tensors():
            b = a.clone()
            y = (b.exp() * b).sin().sum()
            b.zero_()
            del y, b
    for _ in range(8):
        tape.collect()
    assert len(tape.contexts) <= before + 2


def test_second_derivatives_of_what_was_written_under_hooks_raise() -> None:
    """What a hook keeps has no graph of its own, and the slot has another value now."""
    a = tg.tensor([0.5, 1.0], requires_grad=True)
    with tg.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
        b = a.clone()
        y = (b**2).sum()
        b.sin_()
    assert tg.autograd.grad(y, a, retain_graph=True)[0].tolist() == [1.0, 2.0]
    with pytest.raises(RuntimeError, match="written in place since, and now its own derivative"):
        tg.autograd.grad(y, a, create_graph=True)


# --------------------------------------------------------------------------- hooks of one saved tensor
@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_of_one_saved_tensor(create_graph: bool) -> None:
    a, b = (tg.tensor([v, 2 * v], requires_grad=True) for v in (3.0, 5.0))
    calls: list[Any] = []
    y = a * b
    y.grad_fn._raw_saved_self.register_hooks(
        lambda t: calls.append(t is a) or t.tolist(),
        lambda v: calls.append("unpack") or tg.tensor(v),
    )
    assert calls == [True]
    for _ in range(2):
        gradients = tg.autograd.grad(y.sum(), (a, b), retain_graph=True, create_graph=create_graph)
        assert [g.tolist() for g in gradients] == [[5.0, 10.0], [3.0, 6.0]]
    assert calls == [True, "unpack", "unpack"]
    assert y.grad_fn._saved_self.tolist() == [3.0, 6.0]
    with pytest.raises(RuntimeError, match="already been set"):
        y.grad_fn._raw_saved_self.register_hooks(lambda t: t, lambda t: t)
    y.grad_fn._raw_saved_other.register_hooks(lambda t: t * 100, lambda t: t / 10)
    found = tg.autograd.grad(y.sum(), (a, b))
    assert [g.tolist() for g in found] == [[50.0, 100.0], [3.0, 6.0]]
    with pytest.raises(RuntimeError, match="after they have already been freed"):
        y.grad_fn._raw_saved_self.register_hooks(lambda t: t, lambda t: t)


def test_hooks_of_a_saved_result() -> None:
    a = tg.tensor([0.0, 1.0], requires_grad=True)
    y = a.exp()
    want = y.tolist()
    y.grad_fn._raw_saved_result.register_hooks(lambda t: t.tolist(), lambda v: tg.tensor(v) * 2)
    z = (y * 3).sum()
    for _ in range(3):
        tg.current_tape().collect()
    (g,) = tg.autograd.grad(z, a)
    assert g.tolist() == [6 * v for v in want]
    c = tg.ones(2)
    with pytest.raises(RuntimeError, match="None is forbidden"):
        (a * c).grad_fn._raw_saved_self.register_hooks(lambda t: t, lambda t: t)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        a.exp().grad_fn._raw_saved_result.register_hooks(1, 1)
    with pytest.raises(RuntimeError, match="from Python is forbidden"):
        tg.autograd.SavedTensor()
    with pytest.raises(AttributeError, match="_raw_saved_self"):
        a.sum().grad_fn._raw_saved_self.register_hooks(lambda t: t, lambda t: t)


def _square() -> Any:
    """A Function that saves its input, nothing, its output and a constant."""

    class Square(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x * x
            ctx.save_for_backward(x, None, y, tg.tensor([10.0, 10.0]))
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, nothing, y, tens = ctx.saved_tensors
            assert nothing is None
            return g * (2 * x + 0 * y) * tens / 10

    return Square


@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_of_what_a_function_saved(create_graph: bool) -> None:
    x = tg.tensor([1.0, 3.0], requires_grad=True)
    y = _square().apply(x * 1)
    raw = y.grad_fn._raw_saved_tensors
    assert [type(s) for s in raw] == [tg.autograd.SavedTensor] * 4
    seen: list[Any] = []
    raw[0].register_hooks(lambda t: seen.append(t.tolist()) or t, lambda t: t * 5)
    raw[3].register_hooks(lambda t: t.tolist(), lambda v: tg.tensor(v) * 2)
    raw[2].register_hooks(lambda t: t, lambda t: seen.append("y") or t)
    assert seen == [[1.0, 3.0]]
    for _ in range(2):
        tg.current_tape().collect()
    (g,) = tg.autograd.grad(y.sum(), x, create_graph=create_graph)
    assert g.tolist() == [20.0, 60.0]
    assert seen == [[1.0, 3.0], "y"]
    if create_graph:  # the unpacked value has the derivatives of what was saved
        assert tg.autograd.grad(g.sum(), x)[0].tolist() == [4.0, 4.0]


def test_errors_of_hooks_of_what_a_function_saved() -> None:
    x = tg.tensor([1.0, 3.0], requires_grad=True)
    y = _square().apply(x)
    raw = y.grad_fn._raw_saved_tensors
    with pytest.raises(RuntimeError, match="with value None is forbidden"):
        raw[1].register_hooks(lambda t: t, lambda t: t)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        raw[0].register_hooks(lambda t: t)
    with pytest.raises(RuntimeError, match="is modifying its input in place"):
        _square().apply(x).grad_fn._raw_saved_tensors[3].register_hooks(
            lambda t: t.mul_(2), lambda t: t
        )
    raw[0].register_hooks(lambda t: t, lambda t: t)
    with pytest.raises(RuntimeError, match="already been set"):
        raw[0].register_hooks(lambda t: t, lambda t: t)
    y.sum().backward()
    assert x.grad is not None
    with pytest.raises(RuntimeError, match="after they have already been freed"):
        raw[2].register_hooks(lambda t: t, lambda t: t)
    with pytest.raises(RuntimeError, match="after they have already been freed"):
        _ = y.grad_fn._raw_saved_tensors
    with pytest.raises(AttributeError, match="_raw_saved_self"):
        _ = y.grad_fn._raw_saved_self
    with pytest.raises(AttributeError, match="_raw_saved_tensors"):
        _ = (x * x).grad_fn._raw_saved_tensors


def test_the_old_name_of_saved_tensors() -> None:
    x = tg.tensor([1.0, 3.0], requires_grad=True)
    y = _square().apply(x)
    with pytest.warns(DeprecationWarning, match="'saved_variables' is deprecated; use"):
        assert y.grad_fn.saved_variables[0].tolist() == [1.0, 3.0]


def test_what_hooks_unpack_has_the_node_of_what_was_saved() -> None:
    a = tg.tensor([1.0, 2.0], requires_grad=True)
    b = a + 1
    y, z = b * b, a.exp()
    y.grad_fn._raw_saved_self.register_hooks(lambda t: t * 2, lambda t: t / 2)
    z.grad_fn._raw_saved_result.register_hooks(lambda t: t, lambda t: t)
    saved = y.grad_fn._saved_self
    assert saved.tolist() == [2.0, 3.0]
    assert saved.grad_fn is b.grad_fn
    assert z.grad_fn._saved_result.grad_fn is z.grad_fn
    assert (saved * 5).grad_fn.next_functions[0][0] is b.grad_fn
    assert tg.autograd.grad((saved * 5).sum(), a)[0].tolist() == [5.0, 5.0]
