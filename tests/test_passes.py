"""What a pass marks is its own: passes inside passes, and passes beside hooks that they do not reach."""

from __future__ import annotations

import gc
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from alone import alone
from fast_paths import fast_paths
from torch_or_not import LIBRARIES

import tapegrad as tg
from tapegrad.engine import native_entries as sweep
from tapegrad.engine.reverse_pass import Request
from tapegrad.native import abi as nt
from tapegrad.native.abi import DONE
from tapegrad.tape import nesting
from tapegrad.tape.current import current_tape
from tapegrad.tape.tape import slot_of
from tapegrad.utils.checkpoint import checkpoint


def leaf(lib: Any, *values: float) -> Any:
    return lib.tensor(list(values), dtype=lib.float64, requires_grad=True)


@pytest.fixture(params=LIBRARIES)
def lib(request: pytest.FixtureRequest) -> Any:
    """tapegrad, and PyTorch where it is installed: both have to give the values that a test states."""
    return pytest.importorskip(request.param)


# --------------------------------------------------------------------------- passes inside passes
def inner_pass(lib: Any) -> None:
    """A pass with hooks, views, kept gradients and inputs of its own."""
    a = leaf(lib, 1.0, 2.0, 3.0)
    with lib.enable_grad():
        b = a * 2
        v = b[1:]
        v.register_hook(lambda g: g * 10)
        b.retain_grad()
        (g, h) = lib.autograd.grad((v * v).sum(), (b, a))
    assert g.tolist() == [0, 80, 120]
    assert h.tolist() == [0, 160, 240]


def in_a_hook(lib: Any, x: Any) -> Any:
    y = x * 2
    y.register_hook(lambda g: inner_pass(lib))
    return y


def in_a_leaf_hook(lib: Any, x: Any) -> Any:
    x.register_hook(lambda g: inner_pass(lib))
    return x * 2


def in_a_node_hook(lib: Any, x: Any) -> Any:
    y = x * 2
    y.grad_fn.register_hook(lambda i, o: inner_pass(lib))
    return y


def in_a_function(lib: Any, x: Any) -> Any:
    class Double(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            inner_pass(lib)
            return g * 2

    return Double.apply(x)


def in_an_unpack_hook(lib: Any, x: Any) -> Any:
    def unpack(t: Any) -> Any:
        inner_pass(lib)
        return t

    with lib.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        return x * lib.tensor([2.0, 2.0, 2.0], dtype=lib.float64)


def in_a_post_accumulate_hook(lib: Any, x: Any) -> Any:
    x.register_post_accumulate_grad_hook(lambda p: inner_pass(lib))
    return x * 2


def in_a_thread(lib: Any, x: Any) -> Any:
    def hook(g: Any) -> None:
        thread = threading.Thread(target=inner_pass, args=(lib,))
        thread.start()
        thread.join()

    y = x * 2
    y.register_hook(hook)
    return y


def that_fails(lib: Any, x: Any) -> Any:
    def hook(g: Any) -> None:
        w = leaf(lib, 1.0)
        with lib.enable_grad():
            u = w * 2
            u.register_hook(lambda g: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                u.backward()

    y = x * 2
    y.register_hook(hook)
    return y


PLACES = [
    in_a_hook, in_a_leaf_hook, in_a_node_hook, in_a_function, in_an_unpack_hook,
    in_a_post_accumulate_hook, in_a_thread, that_fails,
]  # fmt: skip


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_a_pass_inside_a_pass_leaves_its_marks_alone(
    lib: Any, place: Callable[[Any, Any], Any], create_graph: bool
) -> None:
    """Hooks, kept gradients, views and inputs that the outer pass has yet to reach."""
    x, p = leaf(lib, 1.0, 2.0, 3.0), leaf(lib, 1.5, 3.0, 4.5)
    seen: list[Any] = []
    c = x * 1.5
    c.register_hook(lambda g: g * 2)
    c.retain_grad()
    v = c[1:]
    v.register_hook(lambda g: seen.append(g.tolist()) or g * 3)
    is_leaf = place in (in_a_leaf_hook, in_a_post_accumulate_hook)
    y = place(lib, p if is_leaf else c)
    z = (y * y).sum() + (v * v).sum()
    # of v: 2 v * 3; of y: 2 y * 2, if it is made of c; of c: twice the sum
    whole = [0, 36, 54] if is_leaf else [24, 84, 126]
    (g,) = lib.autograd.grad(z, c, create_graph=create_graph, retain_graph=True)
    assert g.tolist() == whole
    assert c.grad.tolist() == whole
    assert seen == [[6, 9]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        z.backward(create_graph=create_graph)
    assert x.grad.tolist() == [1.5 * w for w in whole]
    assert c.grad.tolist() == [2 * w for w in whole]
    assert p.grad is None if not is_leaf else p.grad.tolist() == [12, 24, 36]


def test_checkpoint_behind_a_hook() -> None:
    x = leaf(tg, 2.0)
    v = x * 1.5
    v.register_hook(lambda g: g * 2)
    checkpoint(lambda t: t * t, v, use_reentrant=False).sum().backward()
    assert x.grad.tolist() == [18]


def test_nested_order_two(lib: Any) -> None:
    x = leaf(lib, 1.0, 2.0)

    def hook(g: Any) -> Any:
        w = leaf(lib, 3.0)
        with lib.enable_grad():
            u = w * w
            u.register_hook(lambda h: h * 2)
            (first,) = lib.autograd.grad(u.sum() * w.sum(), w, create_graph=True)
            (second,) = lib.autograd.grad(first.sum(), w)
        assert first.tolist() == [9 + 2 * 18]
        # d/dw (w^2 + 2 w * 2 w), and the sum's own hook on the way of the first term: 4 w instead of 2 w
        return g * second

    y = x * x
    y.register_hook(hook)
    v = y[:1]
    v.register_hook(lambda g: g * 5)
    (g,) = lib.autograd.grad((y * 2).sum() + v.sum(), x)
    second = 4 * 3 + 4 * 3 + 4 * 3
    assert g.tolist() == [(2 + 5) * second * 2, 2 * second * 4]


def test_a_function_whose_backward_runs_a_pass_through_itself(lib: Any) -> None:
    """What the context keeps is there after the inner pass, too."""
    results = []

    class Square(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x * x
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            if not results:
                results.append(None)
                results[0] = lib.autograd.grad(y, x, retain_graph=True)[0].tolist()
            x_, _ = ctx.saved_tensors
            return g * 2 * x_

    x = leaf(lib, 3.0)
    y = Square.apply(x)
    y.backward(retain_graph=True)
    assert results == [[6]]
    assert x.grad.tolist() == [6]


# --------------------------------------------------------------------------- how deep they go
KINDS = ["hook", "leaf", "node", "post", "function", "recorded"]


def nest(lib: Any, kind: str, depth: int) -> Any:
    """Return a gradient from a pass with others inside it."""
    x = leaf(lib, 1.0)

    def inner(*_: Any) -> None:
        if depth:
            with lib.enable_grad():
                nest(lib, kind, depth - 1)

    class Double(lib.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            inner()
            return g * 2

    y = Double.apply(x) if kind == "function" else x * 2
    if kind in ("hook", "recorded"):
        y.register_hook(inner)
    elif kind == "leaf":
        x.register_hook(inner)
    elif kind == "node":
        y.grad_fn.register_hook(inner)
    elif kind == "post":
        x.register_post_accumulate_grad_hook(inner)
    if kind == "recorded":
        return lib.autograd.grad((y * y).sum(), x, create_graph=True)[0]
    (y * y).sum().backward()
    return x.grad


@pytest.mark.parametrize("kind", KINDS)
@alone  # the tables of a tape do not shrink again, and are verified after each sweep of other tests
def test_passes_go_two_thousand_deep(kind: str) -> None:
    limit = sys.getrecursionlimit()
    assert nest(tg, kind, 2000).tolist() == [8]
    assert sys.getrecursionlimit() == limit


def test_passes_without_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nesting, "DEEPEST", 50)
    limit = sys.getrecursionlimit()
    with pytest.raises(RecursionError, match="inside each other"):
        nest(tg, "hook", 10**6)
    assert sys.getrecursionlimit() == limit
    assert nest(tg, "hook", 40).tolist() == [8]


def test_a_hook_that_calls_itself_without_end() -> None:
    """Python's own limit holds inside of a pass."""
    x = leaf(tg, 1.0)

    def hook(g: Any) -> Any:
        return hook(g)

    x.register_hook(hook)
    with pytest.raises(RecursionError):
        (x * x).backward()


# --------------------------------------------------------------------------- what is not reached
def test_a_dead_view_of_a_written_base(lib: Any) -> None:
    x = leaf(lib, 1.0, 2.0)
    base = x * 1
    v = base[:]
    v.retain_grad()
    base.mul_(2)
    del base, v
    gc.collect()
    (x * x).sum().backward()
    assert x.grad.tolist() == [2, 4]


@fast_paths
def test_passes_beside_hooks_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks elsewhere send no pass to Python: native code finds those that it comes by."""
    results: list[Any] = []
    answers: list[int] = []
    run_natively = sweep.run

    def watched(*request: int) -> int:
        answers.append(run_natively(*request))
        return answers[-1]

    def run() -> None:  # on a tape of its own, on which nothing else is
        x, w = leaf(tg, 1.0, 2.0), leaf(tg, 3.0)
        kept = [w * 2, (w * 2)[:], tg.stack([w, w])[0]]
        for y in kept:
            y.register_hook(pytest.fail)
            y.retain_grad()
        for _ in range(2):  # programs are built
            x.grad = None
            (x * x).sum().backward()
            tg.autograd.grad((x * x).sum(), x)
        x.grad = None
        monkeypatch.setattr(sweep, "run", watched)
        (x * x).sum().backward()
        results.extend([x.grad, *tg.autograd.grad((x * x).sum(), x)])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert [g.tolist() for g in results] == [[2, 4], [2, 4]]
    assert answers == [DONE, DONE]


def test_a_hook_that_was_removed_costs_nothing() -> None:
    x = leaf(tg, 1.0, 2.0)
    y = x * 2
    v = y[1:]
    for t in (y, v):
        t.register_hook(pytest.fail).remove()
    z = (y * v.sum()).sum()
    (g,) = tg.autograd.grad(z, x, retain_graph=True)
    assert g.tolist() == [8, 20]
    tape = current_tape()
    assert not any(tape.flags[slot_of(tape, t)] & nt.WATCHED for t in (y, v))


# --------------------------------------------------------------------------- which hooks are called
def hooks_log(lib: Any, run: Callable[[Any, Any, Any], Any]) -> tuple[list[Any], Any, Any]:
    log: list[Any] = []
    x = leaf(lib, 1.0, 2.0)
    x.register_hook(lambda g: log.append(("x", g.tolist())) or g * 3)
    x.register_post_accumulate_grad_hook(lambda p: log.append(("done", p.grad.tolist())))
    y = x * 2
    y.grad_fn.register_prehook(lambda o: log.append(("before", o[0].tolist())))
    y.grad_fn.register_hook(lambda i, o: log.append(("after", o[0].tolist())))
    y.retain_grad()
    y.register_hook(lambda g: log.append(("y", g.tolist())) or g * 10)
    found = run(x, y, (y * y).sum())
    return log, found, y.grad.tolist()


def test_hooks_of_an_input_that_is_a_result(lib: Any) -> None:
    """Its tensor's hooks are called, its node's are not: the node does not run."""
    log, (g,), kept = hooks_log(lib, lambda x, y, z: lib.autograd.grad(z, y))
    assert log == [("y", [4, 8])]
    assert g.tolist() == kept == [40, 80]


def test_hooks_of_an_input_on_the_way_to_another(lib: Any) -> None:
    """The input is taken before its hooks; what goes on, and what is kept, is what they return."""
    log, (g, h), kept = hooks_log(lib, lambda x, y, z: lib.autograd.grad(z, (y, x)))
    assert log == [
        ("y", [4, 8]), ("before", [40, 80]), ("after", [40, 80]), ("x", [80, 160]),
    ]  # fmt: skip
    assert g.tolist() == [4, 8]
    assert h.tolist() == [240, 480]
    assert kept == [40, 80]


def test_hooks_of_inputs_of_backward(lib: Any) -> None:
    def run(x: Any, y: Any, z: Any) -> Any:
        z.backward(inputs=[y, x])
        return x.grad.tolist()

    log, found, kept = hooks_log(lib, run)
    assert log == [
        ("y", [4, 8]), ("before", [40, 80]), ("after", [40, 80]), ("x", [80, 160]), ("done", [240, 480]),
    ]  # fmt: skip
    assert found == [240, 480]
    assert kept == [40, 80]


@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_of_a_leaf_s_node_wait_for_accumulation(lib: Any, create_graph: bool) -> None:
    log: list[Any] = []
    a = leaf(lib, 1.0)
    end = (a * 1).grad_fn.next_functions[0][0]
    end.register_prehook(lambda o: (o[0] * 2,))
    end.register_hook(lambda i, o: log.append((i, o[0].tolist())))
    a.register_hook(lambda g: g * 3)
    (g,) = lib.autograd.grad(a * 1, a, create_graph=create_graph)
    assert g.tolist() == [3]
    assert log == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (a * a).backward(create_graph=create_graph)
        assert a.grad.tolist() == [12]
        a.grad = None
        (a * a).backward(inputs=[a], create_graph=create_graph)
    assert a.grad.tolist() == [12]
    assert log == [((), [12]), ((), [12])]


def test_hooks_of_leaves_in_a_batch(lib: Any) -> None:
    x = leaf(lib, 1.0, 2.0)
    x.register_hook(lambda g: g * 10)
    rows = lib.eye(2, dtype=lib.float64)
    (g,) = lib.autograd.grad(x * x, x, rows, is_grads_batched=True)
    assert g.tolist() == [[20, 0], [0, 40]]


def test_hooks_of_views_in_a_batch(lib: Any) -> None:
    x = leaf(lib, 1.0, 2.0)
    y = x * x
    v = y[1:]
    v.register_hook(lambda g: g * 10)
    rows = lib.tensor([[1.0], [2.0]], dtype=lib.float64)
    (g,) = lib.autograd.grad(v * 3, x, rows, is_grads_batched=True)
    assert g.tolist() == [[0, 120], [0, 240]]


def test_a_batch_for_a_number_with_python_on_the_way() -> None:
    """Memory of the cotangents lasts as long as the pass reads it."""
    x = leaf(tg, 1.0, 2.0)
    y = (x * x).sum()
    y.register_hook(lambda g: g * 2)
    for _ in range(200):
        (g,) = tg.autograd.grad(
            y, x, tg.tensor([1.0, 2.0, 3.0]), is_grads_batched=True, retain_graph=True
        )
        assert g.tolist() == [[4, 8], [8, 16], [12, 24]]
    assert tg.autograd.gradcheck(lambda t: (t * t).sum(), x, check_batched_grad=True)


@pytest.mark.parametrize("create_graph", [False, True])
def test_grad_mode_in_hooks_that_wait_for_accumulation(lib: Any, create_graph: bool) -> None:
    modes: list[bool] = []
    x = leaf(lib, 1.0)
    x.register_post_accumulate_grad_hook(lambda p: modes.append(lib.is_grad_enabled()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (x * x).backward(create_graph=create_graph)
    assert modes == [create_graph]


def test_an_optimizer_s_step_in_a_hook(lib: Any) -> None:
    x = leaf(lib, 1.0, 2.0)

    def step(p: Any) -> None:
        p.sub_(p.grad, alpha=0.1)
        p.grad = None

    x.register_post_accumulate_grad_hook(step)
    for _ in range(2):
        (x * x).sum().backward()
    assert x.tolist() == pytest.approx([0.64, 1.28])
    assert x.grad is None


def test_hooks_that_wait_for_accumulation_return_nothing(lib: Any) -> None:
    x = leaf(lib, 1.0)
    x.register_post_accumulate_grad_hook(lambda p: p.grad)
    with pytest.raises(RuntimeError, match="should return None"):
        (x * x).backward()
    y = leaf(lib, 1.0)
    y.register_post_accumulate_grad_hook(lambda p: p)  # the leaf itself is let pass
    (y * y).backward()
    assert y.grad.tolist() == [2]


def test_kept_gradients_come_after_hooks(lib: Any) -> None:
    x = leaf(lib, 1.0)
    log: list[Any] = []
    y = x * 2
    y.grad_fn.register_prehook(lambda o: log.append(("before", o[0].item())) or (o[0] * 5,))
    y.register_hook(lambda g: log.append(("first", g.item())) or g * 2)
    y.retain_grad()
    y.register_hook(lambda g: log.append(("second", g.item())) or g * 3)
    y.sum().backward()
    assert log == [("first", 1), ("second", 2), ("before", 6)]
    assert y.grad.tolist() == [6]
    assert x.grad.tolist() == [60]


def test_a_hook_that_is_registered_on_the_way(lib: Any) -> None:
    x = leaf(lib, 1.0)
    log: list[str] = []
    y = x * 2
    z = y * 3
    z.register_hook(lambda g: y.register_hook(lambda g: log.append("late")) and None)
    z.backward()
    assert log == ["late"]


# --------------------------------------------------------------------------- tensors that are written
def test_a_view_whose_base_is_written(lib: Any) -> None:
    x, log = leaf(lib, 1.0, 2.0, 3.0), []
    b = x * 1
    v = b[1:]
    v.register_hook(lambda g: log.append(g.tolist()) or g * 10)
    v.retain_grad()
    w = v * 3
    b.mul_(2)
    u = v * 5
    (w.sum() + u.sum() + (b * b).sum()).backward()
    assert log == [[3, 3]]
    assert x.grad.tolist() == [8, 56, 64]
    assert v.grad.tolist() == [5, 5]


def test_a_view_that_is_written(lib: Any) -> None:
    x, log = leaf(lib, 1.0, 2.0, 3.0), []
    b = x * 1
    v = b[1:]
    v.register_hook(lambda g: log.append(("old", g.tolist())) or g * 10)
    v.retain_grad()
    w = v * 3
    v.mul_(2)
    v.register_hook(lambda g: log.append(("new", g.tolist())) or g * 10)
    u = v * 5
    (w.sum() + u.sum() + (b * b).sum()).backward()
    assert log == [("new", [5, 5]), ("old", [3, 3])]
    assert x.grad.tolist() == [2, 146, 154]
    assert v.grad.tolist() == [50, 50]


def test_a_tensor_that_is_written_in_part(lib: Any) -> None:
    x, log = leaf(lib, 1.0, 2.0), []
    out = lib.zeros(3, dtype=lib.float64)
    out[0] = x[0]
    out.register_hook(lambda g: log.append(g.tolist()))
    out.retain_grad()
    out[1] = x[1]
    (out * out).sum().backward()
    assert log == [[2, 0, 0]]
    assert out.grad.tolist() == [2, 4, 0]
    assert x.grad.tolist() == [2, 4]


def test_a_view_that_was_used_since_it_was_written() -> None:
    x = leaf(tg, 1.0, 2.0)
    b = x * 1
    v = b[1:]
    v.mul_(2)
    u = v * 3
    with pytest.raises(
        tg.UnsupportedError, match=r"register it right after the write.*\.clone\(\)"
    ):
        v.register_hook(print)
    v.clone().register_hook(print)
    assert u.tolist() == [12]


def test_views_of_a_view_with_a_hook(lib: Any) -> None:
    x, log = leaf(lib, 1.0, 2.0, 3.0, 4.0), []
    v = x[1:]
    u = v[1:]
    v.register_hook(lambda g: log.append(("v", g.tolist())) or g * 10)
    w = v[:1]
    u.register_hook(lambda g: log.append(("u", g.tolist())) or g * 2)
    ((u * u).sum() + w.sum() * 7 + (x * x).sum()).backward()
    assert log == [("u", [6, 8]), ("v", [7, 12, 16])]
    assert x.grad.tolist() == [2, 4 + 70, 6 + 120, 8 + 160]


# --------------------------------------------------------------------------- gradients that others have
@pytest.mark.filterwarnings("ignore:Using backward")
def test_gradients_of_a_recorded_pass_are_nobody_elses() -> None:
    """The next pass adds to them in place."""
    t = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    t.mean().backward(create_graph=True)
    (t * t).sum().backward()
    assert t.grad.tolist() == pytest.approx([2 + 1 / 3, 4 + 1 / 3, 6 + 1 / 3])
    x, y = (tg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    (x + y).sum().backward(create_graph=True)
    (x * x).sum().backward()
    assert (x.grad.tolist(), y.grad.tolist()) == ([3.0, 5.0], [1.0, 1.0])


def test_a_gradient_whose_elements_share_memory_is_not_added_to() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    x.grad = tg.ones(1).expand(2)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        (x * x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("build", [
    lambda z: z, lambda z: z.sum(), lambda z: (z * z).sum(),
])  # fmt: skip
def test_a_recorded_pass_to_a_functions_result(build: Any) -> None:
    """It ended in an error: nothing below the result is wanted."""

    class Twice(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2, x * 3

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            return g * 2 + h * 3

    a = tg.tensor([1.0, 2.0], requires_grad=True)
    z, w = Twice.apply(a)
    y = (build(z) * build(z)).sum()
    (g,) = tg.autograd.grad(y, z, create_graph=True)
    (h,) = tg.autograd.grad(y, z)
    assert g.tolist() == h.tolist()
    g, h = tg.autograd.grad((z * w * w).sum(), (z, w), create_graph=True)
    assert g.tolist() == (w * w).tolist()
    assert tg.autograd.grad(g.sum(), w)[0].tolist() == (2 * w).tolist()


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_pass_that_an_interrupt_ends_is_gone_at_once(
    create_graph: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request keeps all statements, so no cycle may hold it until Python's collector runs."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = tg.cat([x.sort().values[1:], x * x]).sum()
    gc.collect()
    gc.disable()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Request, "__exit__", interrupt)
            with pytest.raises(KeyboardInterrupt):
                tg.autograd.grad(y, x, create_graph=create_graph)
        assert tg.current_tape().passes == 0
    finally:
        gc.enable()
