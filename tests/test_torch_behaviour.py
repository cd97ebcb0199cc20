"""Behaviours of PyTorch's autograd that its users rely on, beside torch where it is installed."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

try:
    import torch
except ImportError:
    torch = None


def leaf(*values: float) -> Any:
    return tg.tensor(list(values), requires_grad=True)


# --------------------------------------------------------------------------- values and data
def test_numpy_under_no_grad() -> None:
    x = leaf(1.0, 2.0)
    y = x * 3
    for t in (x, y):
        with pytest.raises(RuntimeError, match="Can't call numpy"):
            t.numpy()
        with tg.no_grad():
            assert t.numpy().tolist() == t.tolist()
            assert np.asarray(t).tolist() == t.tolist()
    with tg.no_grad():
        array = x.numpy()
    array[0] = 5.0
    assert x.tolist() == [5.0, 2.0]


def test_assigning_data_keeps_version_gradient_and_hooks() -> None:
    x = leaf(1.0, 2.0)
    x.register_hook(lambda g: g * 10)
    with tg.no_grad():
        x.add_(1).add_(1)
    assert x._version == 2
    (x * 1).sum().backward()
    x.data = tg.tensor([3.0, 4.0, 5.0])
    assert x._version == 2
    assert x.grad.tolist() == [10.0, 10.0]
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.tolist() == [60.0, 80.0, 100.0]
    with tg.no_grad():
        x.mul_(2)
    assert x._version == 3


def test_assigning_data_of_a_tensor_without_writes() -> None:
    x, y = tg.ones(2), tg.zeros(2)
    y.add_(1)
    x.data = y
    assert (x._version, y._version) == (0, 1)


def test_materialised_zeros_can_be_differentiated() -> None:
    x, a = leaf(0.5), leaf(2.0)
    (g,) = tg.autograd.grad(x * a, x, create_graph=True)
    (h,) = tg.autograd.grad(g, x, create_graph=True, materialize_grads=True)
    assert (h.tolist(), h.requires_grad) == ([0.0], True)
    (i,) = tg.autograd.grad(h, x, materialize_grads=True)
    assert (i.tolist(), i.requires_grad) == ([0.0], False)


# --------------------------------------------------------------------------- nodes
def names(node: Any) -> list[tuple[str | None, int]]:
    return [(None if n is None else type(n).__name__, i) for n, i in node.next_functions]


ENTRIES = {
    "2 * c": ["sin", None], "c * 2": ["sin", None], "1 + c": ["sin", None], "c + 1": ["sin", None],
    "1 - c": ["sin"], "c - 1": ["sin", None], "2**c": ["sin"], "c**2": ["sin"], "c**c": ["sin", "sin"],
    "p * c": [None, "sin"], "c * p": ["sin", None], "c / 2": ["sin", None], "p / c": [None, "sin"],
    "p**c": [None, "sin"], "c % 2": ["sin"], "c.clamp(0, 1)": ["sin"], "c[i]": ["sin"],
    "c.gather(0, i)": ["sin"], "c.index_select(0, i)": ["sin"], "c.max(0)[0]": ["sin"],
    "lib.where(p > 0, c, p)": ["sin", None], "lib.where(p > 0, p, c)": [None, "sin"],
    "lib.where(p > 0, c, 2.0)": ["sin", None], "lib.where(p > 0, 2.0, c)": [None, "sin"],
    "c.masked_fill(p > 0, 0.0)": ["sin"], "lib.lerp(c, p, 0.5)": ["sin", None],
    "lib.lerp(c, p, c)": ["sin", None, "sin"], "lib.cat([p, c])": [None, "sin"],
    "c.sort()[0]": ["sin"], "lib.addcmul(p, c, c)": [None, "sin", "sin"], "c.sum()": ["sin"],
    "c[1]": ["sin"], "c.reshape(2, 1)": ["sin"], "lib.xlogy(2, c)": ["sin"],
    "c.scatter(0, i, p[:1])": ["sin", None], "c.index_add(0, i, p[:1])": ["sin", None],
}  # fmt: skip


def entries(lib: Any, text: str) -> list[tuple[str | None, int]]:
    a = lib.tensor([0.5, 0.6], dtype=lib.float64, requires_grad=True)
    scope = {"c": a.sin(), "p": lib.ones(2, dtype=lib.float64), "i": lib.tensor([0]), "lib": lib}
    return names(eval(text, scope).grad_fn)


@pytest.mark.parametrize("text", list(ENTRIES))
def test_next_functions_are_in_pytorchs_order(text: str) -> None:
    want = [(None if n is None else "SinBackward0", 0) for n in ENTRIES[text]]
    assert entries(tg, text) == want
    if torch is not None:
        assert entries(torch, text) == want


@pytest.mark.parametrize(("text", "index"), [("2 * c", 0), ("c * 2", 0), ("p * c", 1), ("2**c", 0)])
@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_of_nodes_get_gradients_in_that_order(
    text: str, index: int, create_graph: bool
) -> None:
    a = leaf(1.0, 3.0)
    c, p = a * 1, tg.tensor([2.0, 2.0])
    y = eval(text, {"c": c, "p": p})
    seen: list[Any] = []

    def hook(inputs: Any, outputs: Any) -> Any:
        seen.append([None if g is None else g.tolist() for g in inputs])
        return tuple(None if g is None else g * 10 for g in inputs)

    y.grad_fn.register_hook(hook)
    (g,) = tg.autograd.grad(y.sum(), a, create_graph=create_graph)
    want = {"2**c": [2 * np.log(2), 8 * np.log(2)]}.get(text, [2.0, 2.0])
    assert len(seen[0]) == len(y.grad_fn.next_functions)
    np.testing.assert_allclose(seen[0][index], want)
    assert all(v is None for i, v in enumerate(seen[0]) if i != index)
    np.testing.assert_allclose(g.tolist(), [10 * w for w in want])


# --------------------------------------------------------------------------- gradcheck
@pytest.mark.parametrize("fast_mode", [False, True])
def test_gradcheck_calls_jvp_once_on_a_context(fast_mode: bool) -> None:
    calls: list[int] = []

    class Square(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            ctx.x, ctx.y = x.detach(), y.detach()
            ctx.save_for_backward(x, y)
            return x * x * y, y.clone()

        @staticmethod
        def backward(ctx: Any, first: Any, second: Any) -> Any:
            x, y = ctx.saved_tensors
            return 2 * first * x * y, first * x * x + second

        @staticmethod
        def jvp(ctx: Any, x_t: Any, y_t: Any) -> Any:
            calls.append(id(ctx))
            found = 2 * ctx.x * ctx.y * x_t + ctx.x * ctx.x * y_t, y_t.clone()
            del ctx.x, ctx.y  # so a second call on this context would raise
            return found

    x, y = leaf(1.5, 2.0), leaf(0.5, 0.7)
    assert tg.autograd.gradcheck(
        Square.apply, (x, y), check_forward_ad=True,
        fast_mode=fast_mode,
    )  # fmt: skip
    assert len(calls) >= 2 * (1 if fast_mode else 2)


# --------------------------------------------------------------------------- identity
class Pair(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2, x * 3

    @staticmethod
    def backward(ctx: Any, first: Any, second: Any) -> Any:
        return 2 * first + 3 * second


def test_a_statement_has_one_node() -> None:
    x = leaf(1.0, 2.0)
    h = x.sin()
    y = h * h + h
    node = y.grad_fn
    assert node is y.grad_fn
    assert node.next_functions is node.next_functions
    assert node.next_functions[1][0] is h.grad_fn
    assert [n for n, _ in node.next_functions[0][0].next_functions] == [h.grad_fn, h.grad_fn]
    assert h.grad_fn.next_functions[0][0] is x.cos().grad_fn.next_functions[0][0]
    assert h.grad_fn is not x.sin().grad_fn
    first, second = Pair.apply(x)
    assert first.grad_fn is second.grad_fn
    edges = [tg.autograd.graph.get_gradient_edge(t) for t in (first, second)]
    assert [e.output_nr for e in edges] == [0, 1]
    assert edges[0].node is edges[1].node
    gradients = tg.autograd.grad(first.sum() + second.sum() * 10, edges)
    assert [g.tolist() for g in gradients] == [[1.0, 1.0], [10.0, 10.0]]


def test_nodes_stay_themselves_when_slots_are_renumbered() -> None:
    x = leaf(1.0, 2.0)
    for _ in range(50):
        x * 2
    y = x.sin() * x
    node, operand = y.grad_fn, y.grad_fn.next_functions[0][0]
    tg.current_tape().collect()
    assert y.grad_fn is node
    assert node.next_functions[0][0] is operand
    assert node.next_functions[1][0].variable is x


def test_a_write_makes_another_node() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    before = y.grad_fn
    y.mul_(3)
    assert y.grad_fn is not before
    assert y.grad_fn is y.grad_fn
    assert before.name() == "MulBackward0"


def test_metadata_live_as_long_as_the_graph() -> None:
    class Note:
        pass

    x = leaf(1.0, 2.0)
    y = x.exp().sin()
    notes = [Note(), Note(), Note()]
    alive = [weakref.ref(n) for n in notes]
    y.grad_fn.metadata["note"] = notes[0]
    y.grad_fn.next_functions[0][0].metadata["note"] = notes[1]
    z = Pair.apply(x)[1]
    z.grad_fn.metadata["note"] = notes[2]
    del notes
    tg.current_tape().collect()
    assert y.grad_fn.metadata["note"] is alive[0]()
    assert y.grad_fn.next_functions[0][0].metadata["note"] is alive[1]()
    assert z.grad_fn.metadata["note"] is alive[2]()
    del y
    assert [r() is None for r in alive] == [True, True, False]


def test_a_tensor_with_a_node_is_freed() -> None:
    x = leaf(1.0, 2.0)
    y = x.exp()
    y.grad_fn.next_functions[0][0].metadata["x"] = 1
    gone = weakref.ref(y)
    del y
    assert gone() is None
    tape = tg.current_tape()
    tape.collect()
    before = len(tape.nodes)
    for _ in range(50):
        assert len((x * 2).grad_fn.next_functions) == 2
    tape.collect()
    assert len(tape.nodes) < before + 10


def test_leaves_are_themselves_in_the_graph() -> None:
    x = leaf(1.0, 2.0)
    w = tg.ones(2).requires_grad_()
    y = x * w
    assert y.grad_fn.next_functions[0][0].variable is x
    assert y.grad_fn.next_functions[1][0].variable is w
    assert y.grad_fn._saved_self is x
    assert y.grad_fn._saved_other is w
    packed: list[Any] = []
    with tg.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
        x * w
        Cube.apply(x)
    assert [any(p is t for t in (x, w)) for p in packed] == [True] * 3
    x.data = tg.tensor([5.0, 6.0])
    assert (x * w).grad_fn.next_functions[0][0].variable is x
    v = leaf(3.0)
    z = v * 2
    del v
    variable = z.grad_fn.next_functions[0][0].variable
    assert variable.tolist() == [3.0]
    z.sum().backward()
    assert variable.grad.tolist() == [2.0]


class Cube(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, ct: Any) -> Any:
        return 3 * ct * ctx.saved_tensors[0] ** 2


# --------------------------------------------------------------------------- node hooks, callbacks
@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_of_a_node_with_several_outputs(create_graph: bool) -> None:
    x = leaf(1.0, 2.0)
    first, second = Pair.apply(x)
    seen: list[Any] = []

    def before(cts: Any) -> Any:
        seen.append([None if c is None else c.tolist() for c in cts])
        return tuple(None if c is None else c * 2 for c in cts)

    def after(inputs: Any, outputs: Any) -> Any:
        seen.append(
            [[g.tolist() for g in inputs], [None if c is None else c.tolist() for c in outputs]]
        )
        return tuple(g * 10 for g in inputs)

    second.grad_fn.register_prehook(before)
    first.grad_fn.register_hook(after)
    (g,) = tg.autograd.grad((first + 5 * second).sum(), x, create_graph=create_graph)
    assert seen == [[[1.0, 1.0], [5.0, 5.0]], [[[34.0, 34.0]], [[2.0, 2.0], [10.0, 10.0]]]]
    assert g.tolist() == [340.0, 340.0]
    seen.clear()
    first, second = Pair.apply(x)
    handle = first.grad_fn.register_prehook(before)
    (g,) = tg.autograd.grad(second.sum(), x, retain_graph=True, create_graph=create_graph)
    assert (seen, g.tolist()) == ([[None, [1.0, 1.0]]], [6.0, 6.0])
    handle.remove()
    assert tg.autograd.grad(second.sum(), x)[0].tolist() == [3.0, 3.0]
    assert len(seen) == 1


queue = tg.autograd.Variable._execution_engine.queue_callback


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("create_graph", [False, True])
def test_callbacks_come_when_gradients_have_been_accumulated(create_graph: bool) -> None:
    x = leaf(1.0, 2.0)
    calls: list[Any] = []

    def last() -> None:
        calls.append("last")

    def callback() -> None:
        calls.append(x.grad.tolist())
        queue(last)

    y = x * 3
    y.register_hook(lambda g: queue(callback))
    y.sum().backward(create_graph=create_graph)
    assert calls == [[3.0, 3.0], "last"]
    with pytest.raises(RuntimeError, match="can only be installed during backward pass"):
        queue(last)
    calls.clear()
    y = x * 3
    y.register_hook(lambda g: queue(last))
    tg.autograd.grad(y.sum(), x)
    assert calls == ["last"]


def test_callbacks_of_passes_inside_each_other_and_of_failed_ones() -> None:
    x = leaf(1.0, 2.0)
    calls: list[str] = []

    def inner(g: Any) -> None:
        with tg.enable_grad():
            c = leaf(5.0) * 2
        c.register_hook(lambda _: queue(lambda: calls.append("inner")))
        c.backward()
        calls.append("between")

    y = x * 3
    y.register_hook(lambda g: queue(lambda: calls.append("outer")))
    z = y * 1
    z.register_hook(inner)
    z.sum().backward()
    assert calls == ["inner", "between", "outer"]

    def fails(g: Any) -> None:
        queue(lambda: calls.append("never"))
        raise ValueError("mine")

    calls.clear()
    y = x * 3
    y.register_hook(fails)
    with pytest.raises(ValueError, match="mine"):
        y.sum().backward()
    (x * 2).sum().backward()
    assert calls == []

    def raises() -> None:
        raise ValueError("callback")

    y = x * 3
    y.register_hook(lambda g: queue(raises))
    with pytest.raises(ValueError, match="callback"):
        y.sum().backward()
    (x * 2).sum().backward()


def test_the_switch_for_threads() -> None:
    on = tg.autograd.is_multithreading_enabled
    assert on()
    with tg.autograd.set_multithreading_enabled(False):
        assert not on()
        tg.autograd.set_multithreading_enabled(True)
        assert on()
    assert on()
    tg.autograd.set_multithreading_enabled(False)
    assert not on()
    tg.autograd.set_multithreading_enabled(True)
    with pytest.raises(TypeError, match="set_multithreading_enabled"):
        tg.autograd.set_multithreading_enabled(1)


# --------------------------------------------------------------------------- a node is called
def test_calling_a_node() -> None:
    x, w = leaf(1.0, 2.0), leaf(5.0, 7.0)
    y = x.sin() * 1
    product = y * w + y
    ct = tg.tensor([1.0, 10.0])
    add = product.grad_fn
    assert [g.tolist() for g in add(ct)] == [[1.0, 10.0], [1.0, 10.0]]
    first, second = add.next_functions[0][0](ct)
    assert first.tolist() == [5.0, 70.0]
    assert second.tolist() == [y[0].item(), 10 * y[1].item()]
    assert not first.requires_grad
    assert (x**2).grad_fn(ct).tolist() == [2.0, 40.0]
    scaled, number = (x * 3).grad_fn(ct)
    assert (scaled.tolist(), number) == ([3.0, 30.0], None)
    assert x[1].grad_fn(tg.tensor(4.0)).tolist() == [0.0, 4.0]
    assert x.sum().grad_fn(tg.tensor(4.0)).tolist() == [4.0, 4.0]
    assert tg.exp(x).grad_fn(None) is None
    assert Pair.apply(x)[1].grad_fn(ct, None).tolist() == [2.0, 20.0]
    assert y.grad_fn.next_functions[0][0].next_functions[0][0](ct) == ()
    assert x.grad.tolist() == [1.0, 10.0]


def test_calling_a_node_with_something_else() -> None:
    x = leaf(1.0, 2.0)
    y = x**2
    message = "PowBackward0: expected 1 arguments, got {} instead"
    for arguments in ((), (x.detach(), x.detach())):
        with pytest.raises(TypeError, match=message.format(len(arguments))):
            y.grad_fn(*arguments)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        y.grad_fn(x.detach())
    z = x * 1
    z.mul_(x)
    z[:1].mul_(2)
    with pytest.raises(tg.UnsupportedError, match=r"use autograd\.grad"):
        z.grad_fn(x.detach())
