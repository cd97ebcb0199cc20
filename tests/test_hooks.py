"""Hooks, nodes and anomaly detection, beside torch where it is installed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from beside_torch import uncompared

import tapegrad as tg

try:
    import torch
except ImportError:
    torch = None

LIBS = [tg] if torch is None else [tg, torch]
Case = Callable[[Any], Any]


@pytest.fixture(autouse=True)
def _torch_in_float64() -> Any:
    if torch is not None:
        torch.set_default_dtype(torch.float64)
    yield
    if torch is not None:
        torch.set_default_dtype(torch.float32)


def plain(value: Any) -> Any:
    """What can be compared between libraries."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def same(case: Case) -> Any:
    """What a case returns (or its error's type and text) with both libraries, found equal."""
    found = []
    for lib in LIBS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found.append(plain(case(lib)))
            except Exception as error:
                found.append((type(error).__name__, str(error)))
    if torch is None:
        uncompared.append(case)
    assert all(f == found[0] for f in found), f"tapegrad {found[0]}\ntorch    {found[1:]}"
    return found[0]


def leaf(lib: Any, *values: float) -> Any:
    return lib.tensor(list(values), requires_grad=True)


# --------------------------------------------------------------------------- hooks of tensors
def of_result(lib: Any) -> Any:
    x, log = leaf(lib, 1.0, 2.0), []
    y = x * 2
    y.register_hook(lambda g: log.append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: log.append(g.tolist()))
    (y * y).sum().backward()
    return log, x.grad


def removed(lib: Any) -> Any:
    x, log = leaf(lib, 1.0), []
    y = x * 2
    first = y.register_hook(lambda g: g * 10)
    with y.register_hook(lambda g: g * 100):
        y.sum().backward(retain_graph=True)
    log.append(x.grad.tolist())
    first.remove()
    first.remove()
    x.grad = None
    y.sum().backward()
    return log, x.grad


def of_leaf(lib: Any) -> Any:
    x = leaf(lib, 1.0, 2.0)
    x.register_hook(lambda g: g + 1)
    (x * x).sum().backward()
    (x * 3).sum().backward()
    return x.grad, lib.autograd.grad((x * x).sum(), x)


def of_view(lib: Any) -> Any:
    x, log = leaf(lib, 1.0, 2.0, 3.0), []
    b = x * 1
    v = b[1:]
    v.register_hook(lambda g: log.append(g.tolist()))
    v.register_hook(lambda g: g * 2)
    ((v * v).sum() + b.sum()).backward()
    return log, x.grad


def before_and_after_a_write(lib: Any) -> Any:
    x, log = leaf(lib, 1.0, 2.0), []
    y = x * 2
    y.register_hook(lambda g: log.append(("old", g.tolist())))
    y.mul_(3)
    y.register_hook(lambda g: log.append(("new", g.tolist())))
    (y * 5).sum().backward()
    return log, x.grad


def with_retained(lib: Any) -> Any:
    x = leaf(lib, 1.0, 2.0)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    (y * y).sum().backward()
    return y.grad, x.grad


def as_input(lib: Any) -> Any:
    x = leaf(lib, 1.0, 2.0)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    return lib.autograd.grad((y * y).sum(), [y, x])


def not_on_the_way(lib: Any) -> Any:
    x, w, log = leaf(lib, 1.0), leaf(lib, 2.0), []
    y, z = x * 2, w * 3
    y.register_hook(lambda g: log.append("y"))
    z.register_hook(lambda g: log.append("z"))
    g = lib.autograd.grad((y * z).sum(), w)
    return log, g


def differentiated(lib: Any) -> Any:
    x = leaf(lib, 1.0, 2.0)
    y = x * x
    y.register_hook(lambda g: g * g)
    (g,) = lib.autograd.grad((y * y).sum(), x, create_graph=True)
    return g, lib.autograd.grad(g.sum(), x)


def differentiated_leaf(lib: Any) -> Any:
    x = leaf(lib, 1.0, 2.0)
    x.register_hook(lambda g: g * g)
    (g,) = lib.autograd.grad((x * x * x).sum(), x, create_graph=True)
    return g, lib.autograd.grad(g.sum(), x)


def post_accumulate(lib: Any) -> Any:
    x, log = leaf(lib, 1.0, 2.0), []

    def step(p: Any) -> None:
        log.append(p.grad.tolist())
        p.grad = None

    x.register_post_accumulate_grad_hook(step)
    for _ in range(3):
        (x * x).sum().backward()
    return log, x.grad


def backward_in_a_hook(lib: Any) -> Any:
    x, w = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0)
    y = x * x

    def inner(g: Any) -> Any:
        with lib.enable_grad():
            (w * w * g.detach()).sum().backward()

    y.register_hook(inner)
    (y * 3 * x).sum().backward()
    return x.grad, w.grad


def error_in_a_hook(lib: Any) -> Any:
    x = leaf(lib, 1.0, 2.0)
    y = x * x

    def fail(g: Any) -> Any:
        raise ValueError("mine")

    handle = y.register_hook(fail)
    try:
        y.sum().backward()
    except ValueError as error:
        said = str(error)
    handle.remove()
    y.sum().backward()
    return said, x.grad


CASES = [
    of_result, removed, of_leaf, of_view, before_and_after_a_write, with_retained, as_input,
    not_on_the_way, differentiated, differentiated_leaf, post_accumulate, backward_in_a_hook,
    error_in_a_hook,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda f: f.__name__)
def test_hooks_of_tensors(case: Case) -> None:
    assert not (isinstance(same(case), tuple) and "Error" in str(same(case)[0])), same(case)


@pytest.mark.parametrize("lib", LIBS)
@pytest.mark.parametrize("on_leaf", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_hook_of_a_view_sees_views_of_it_that_are_older(
    lib: Any, on_leaf: bool, depth: int
) -> None:
    x, log = leaf(lib, 1.0, 2.0, 3.0, 4.0), []
    first = inner = (x if on_leaf else x * 1)[:]
    for _ in range(depth):
        inner = inner[1:]
    first.register_hook(lambda g: log.append(g.tolist()))
    (inner * inner).sum().backward()
    want = [2.0 * (i + 1) if i >= depth else 0.0 for i in range(4)]
    assert log == [want]
    assert x.grad.tolist() == want


@pytest.mark.parametrize(
    "hook",
    [lambda g: 3, lambda g: (g,), lambda g: g[:1], lambda g: g.float(), lambda g: "a"],
)
@pytest.mark.parametrize("on_leaf", [False, True])
def test_hooks_that_return_the_wrong_thing(hook: Any, on_leaf: bool) -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0)
        y = x if on_leaf else x * 2
        y.register_hook(hook)
        (y * 2).sum().backward()

    assert same(case)[0] in ("TypeError", "RuntimeError")


def test_tensors_that_take_no_hook() -> None:
    same(lambda lib: lib.ones(2).register_hook(print))
    same(lambda lib: lib.ones(2).register_post_accumulate_grad_hook(print))
    same(lambda lib: (leaf(lib, 1.0) * 2).register_post_accumulate_grad_hook(print))


def test_hooks_follow_the_collector() -> None:
    tg.current_tape().collect()
    others = len(tg.current_tape().hooks)
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    log: list[Any] = []
    y = x * 2
    y.register_hook(lambda g: log.append(g.tolist()))
    s = (y * y).sum()
    for _ in range(50):
        x * 3
    tg.current_tape().collect()
    s.backward()
    assert log == [[4, 8]]
    del y, s
    tg.current_tape().collect()
    assert len(tg.current_tape().hooks) == others


# --------------------------------------------------------------------------- nodes
def names(made: Any) -> Any:
    return [None if n is None else n.name().split("::")[-1] for n, _ in made.next_functions]


def test_next_functions() -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0)
        y = x * 2
        return [
            names(f.grad_fn) for f in (y, x * x, x.sum(), y + x, y.exp(), lib.cat([x, y]), y[0])
        ]

    same(case)
    x = tg.tensor([1.0], requires_grad=True)
    made = (x * 2).grad_fn.next_functions[0][0]
    assert made.variable.tolist() == [1]
    (made.variable * 3).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3]


@pytest.mark.smoke
def test_hooks_of_nodes() -> None:
    def case(lib: Any) -> Any:
        x, w, log = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0), []
        y = x * w
        y.grad_fn.register_prehook(lambda out: log.append(plain(out)))
        y.grad_fn.register_hook(lambda into, out: log.append(plain(into)))
        y.grad_fn.register_hook(lambda into, out: (into[0] * 10, into[1]))
        y.grad_fn.register_prehook(lambda out: (out[0] * 2,))
        (y * y).sum().backward()
        return log, x.grad, w.grad

    same(case)


NODES = {
    "view": lambda x: x[1:], "reshape": lambda x: x.reshape(2, 1), "diagonal": lambda x: x.expand(2, 2)
    .clone().diagonal(), "transpose": lambda x: x.reshape(1, 2).t()[1:], "sum": lambda x: x.sum(),
    "mul_": lambda x: (x * 1).mul_(3), "exp_": lambda x: (x * 1).exp_(), "clone": lambda x: x.clone(),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_of_nodes_of_every_kind(name: str, create_graph: bool) -> None:
    def case(lib: Any) -> Any:
        x, log = leaf(lib, 1.0, 0.5), []
        found = []
        for replace in (False, True):
            y = NODES[name](x)
            y.grad_fn.register_prehook(lambda o: log.append(("before", plain(o))))
            y.grad_fn.register_hook(lambda i, o: log.append(("after", plain(i)[0], plain(o))))
            if replace:
                y.grad_fn.register_prehook(lambda o: (o[0] * 2,))
                y.grad_fn.register_hook(lambda i, o: (i[0] * i[0], *i[1:]))
            (g,) = lib.autograd.grad((y * y).sum(), x, create_graph=create_graph)
            found.append(g)
            if create_graph:
                found.append(lib.autograd.grad(g.sum(), x))
        return log, found

    same(case)
    assert case(tg)[0]


def test_hooks_of_nodes_that_cannot_be_called() -> None:
    x = leaf(tg, 1.0, 2.0)
    y = (x * 1).add_(x)
    with pytest.raises(tg.UnsupportedError, match=r"AddBackward0.*register_hook"):
        y.grad_fn.register_hook(print)
    y[0] = 3.0
    with pytest.raises(tg.UnsupportedError, match="CopySlices"):
        y.grad_fn.register_prehook(print)


def test_hooks_on_views_elsewhere_are_in_nobodys_way() -> None:
    """A view whose adjoint is not kept apart is an error only for a pass that comes by it."""
    x = leaf(tg, 1.0, 2.0)
    wide = x.expand(3, 2)
    wide.register_hook(pytest.fail)
    y = x * 1
    v = y[:1]
    v.register_hook(pytest.fail)
    y.mul_(2)
    (g,) = tg.autograd.grad((x * x).sum() + y.sum(), x, retain_graph=True)
    assert g.tolist() == [4, 6]
    for root in (wide.sum(), wide):
        with pytest.raises(tg.UnsupportedError, match="not kept apart"):
            root.sum().backward(retain_graph=True)
    # `v` is another view since its base was written.
    assert tg.autograd.grad((v * 2).exp().sum(), x, retain_graph=True)[0].tolist() == [
        4 * math.exp(4),
        0,
    ]
    v.backward(tg.ones(1))
    assert plain(x.grad) == [2, 0]


@pytest.mark.parametrize(
    "hook", [lambda i, o: (i[0],), lambda i, o: (*i, None), lambda i, o: 3, lambda i, o: (3, None)]
)
def test_node_hooks_that_return_the_wrong_thing(hook: Any) -> None:
    def case(lib: Any) -> Any:
        x, w = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0)
        y = x * w
        y.grad_fn.register_hook(hook)
        y.sum().backward()

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    y.grad_fn.register_hook(hook)
    with pytest.raises((TypeError, RuntimeError)):
        y.sum().backward()


@pytest.mark.smoke
def test_gradient_edges() -> None:
    def case(lib: Any) -> Any:
        graph = lib.autograd.graph
        x = leaf(lib, 1.0, 2.0)
        y = x * x
        edge = graph.get_gradient_edge(y)
        s = (y * y).sum()
        return [
            lib.autograd.grad(s, edge, retain_graph=True),
            lib.autograd.grad(s, graph.get_gradient_edge(x)),
        ]

    same(case)
    same(lambda lib: lib.autograd.graph.get_gradient_edge(lib.ones(2)))


@pytest.mark.parametrize("mode", ["all", "any"])
def test_multi_grad_hooks(mode: str) -> None:
    def case(lib: Any) -> Any:
        x, w, log = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0), []
        y, z = x * 2, w * 3

        def note(grads: Any) -> None:
            log.append(plain(grads) if mode == "all" else "called")

        handle = lib.autograd.graph.register_multi_grad_hook([y, z], note, mode=mode)
        (y * z).sum().backward(retain_graph=True)
        handle.remove()
        (y * z).sum().backward()
        return log

    same(case)


@pytest.mark.parametrize("mode", ["all", "any"])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("recorded", [False, True])
def test_multi_grad_hooks_of_leaves(mode: str, count: int, recorded: bool) -> None:
    """What the pass does not reach is not waited for; each pass counts for itself."""

    def case(lib: Any) -> Any:
        a, b, c, log = leaf(lib, 1.0), leaf(lib, 2.0), leaf(lib, 3.0), []

        def note(grads: Any) -> None:
            log.append(plain(grads))

        handle = lib.autograd.graph.register_multi_grad_hook((a, b, c), note, mode=mode)
        y = (a * b if count == 2 else a * b * c).sum()
        y.backward(retain_graph=True, create_graph=recorded)
        y.backward(retain_graph=True)
        (y * c).sum().backward(retain_graph=True)
        handle.remove()
        y.backward()
        return log

    same(case)
    same(
        lambda lib: lib.autograd.graph.register_multi_grad_hook((leaf(lib, 1.0),), print, mode="x")
    )
    same(lambda lib: lib.autograd.graph.register_multi_grad_hook((lib.ones(1),), print))


def test_multi_grad_hooks_after_an_error() -> None:
    def case(lib: Any) -> Any:
        a, b, log = leaf(lib, 1.0), leaf(lib, 2.0), []
        lib.autograd.graph.register_multi_grad_hook((a, b), lambda g: log.append(plain(g)))

        def fail(g: Any) -> Any:
            raise ValueError("mine")

        y, z = a * 2, b * 3
        handle = y.register_hook(fail)
        s = (y * z).sum()
        try:
            s.backward(retain_graph=True)
        except ValueError:
            log.append("failed")
        handle.remove()
        (a * 5 * b).sum().backward()
        return log[-1]

    same(case)


def test_versions_counted_by_hand() -> None:
    def case(lib: Any) -> Any:
        increment = lib.autograd.graph.increment_version
        x, y = lib.ones(2), lib.ones(2)
        increment(x)
        found = [x._version]
        increment([x, y, x])
        found += [x._version, y._version]
        for wrong in (3, [3]):
            try:
                increment(wrong)
            except RuntimeError as error:
                found.append(str(error))
        w = leaf(lib, 1.0, 2.0)
        z = w * 1
        s = (z * z).sum()
        increment(z)
        try:
            s.backward()
        except RuntimeError as error:
            found.append("modified by an inplace operation" in str(error))
        return found

    assert same(case)[-1] is True


def test_mutation_of_saved_tensors() -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 1.0, 2.0)
        with lib.autograd.graph.allow_mutation_on_saved_tensors() as context:
            y = x * 1
            z = (y * y).sum()
            y.mul_(3)
            z.backward()
            context.clear()
        return x.grad

    same(case)


def test_hooks_of_outputs_without_a_gradient_are_not_called() -> None:
    """PyTorch calls them with None."""

    class Two(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2, x * 3

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            return 2 * g + 3 * h

    for function in (lambda x: x.unbind(), lambda x: x.split(1), lambda x: Two.apply(x)):
        x, log = tg.tensor([1.0, 2.0], requires_grad=True), []
        first, second = function(x)
        first.register_hook(lambda g, log=log: log.append(g.tolist()) or g * 2)
        second.sum().backward()
        assert log == []
        assert x.grad.tolist() == ([3.0, 3.0] if first.ndim and len(first) == 2 else [0.0, 1.0])


# --------------------------------------------------------------------------- anomalies
def test_nan_in_a_backward_pass() -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, -1.0, 4.0)
        with lib.autograd.detect_anomaly():
            (lib.sqrt(x) * 2).sum().backward()

    assert same(case)[0] == "RuntimeError"
    x = tg.tensor([-1.0], requires_grad=True)
    with tg.autograd.set_detect_anomaly(True):
        y = tg.sqrt(x)  # this line
        with (
            pytest.warns(UserWarning, match="this line"),
            pytest.raises(RuntimeError, match="Function 'SqrtBackward0' returned nan"),
        ):
            y.sum().backward()
        assert not tg.autograd.grad((x * x).sum(), x)[0].isnan().any()
    assert not tg.autograd.is_anomaly_enabled()
    tg.sqrt(x).sum().backward()


def test_a_stale_residual_names_the_lines() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with tg.autograd.set_detect_anomaly(True, check_nan=False):
        z = x * 1
        y = z * z  # recorded here
        z.add_(1)  # written here
        with (
            pytest.warns(UserWarning, match="(?s)recorded here.*written here"),
            pytest.raises(RuntimeError, match="Good luck"),
        ):
            y.sum().backward()


class _Inner(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * float("nan")


class _Outer(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.sum()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return _Inner.apply(g * x)  # within backward


def _texts(shown: Any) -> list[str]:
    return [str(w.message) for w in shown]


def test_a_derivative_that_fails_names_what_it_is_the_derivative_of() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    failing = pytest.raises(RuntimeError, match="Function '_InnerBackward' returned nan values in")
    with tg.autograd.set_detect_anomaly(True):
        y = _Outer.apply(x)  # the outer call
        (g,) = tg.autograd.grad(y, x, create_graph=True)
        with pytest.warns(UserWarning, match="Backward") as shown, failing:
            g.sum().backward()
    detected, induced = _texts(shown)
    assert detected.startswith("Error detected in _InnerBackward. Traceback of forward call that")
    assert "# within backward" in detected
    assert "/src/tapegrad/" not in detected
    assert induced.startswith(
        "\n\nPrevious calculation was induced by _OuterBackward. Traceback of forward call that "
        "induced the previous calculation:\n"
    )
    assert "# the outer call" in induced


def test_a_derivative_that_fails_and_was_recorded_without_detection() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (g,) = tg.autograd.grad(_Outer.apply(x), x, create_graph=True)
    with (
        tg.autograd.set_detect_anomaly(True),
        pytest.warns(UserWarning, match="_InnerBackward") as shown,
        pytest.raises(RuntimeError, match="Function '_InnerBackward' returned nan values in"),
    ):
        g.sum().backward()
    (text,) = _texts(shown)
    assert text.startswith(
        "Error detected in _InnerBackward. No forward pass information available."
    )


def test_the_failure_is_raised_where_warnings_are_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    x = tg.tensor([-1.0], requires_grad=True)
    with warnings.catch_warnings(), tg.autograd.set_detect_anomaly(True):
        warnings.simplefilter("error")
        y = tg.sqrt(x)
        with pytest.raises(RuntimeError, match="Function 'SqrtBackward0' returned nan"):
            y.sum().backward()
    assert "Error detected in SqrtBackward0. Traceback of forward call" in capsys.readouterr().err


def test_results_are_the_same_with_anomaly_detection() -> None:
    def run() -> Any:
        x = tg.tensor([0.3, 0.7], requires_grad=True)
        y = x * 2
        y[0] = x[1] * 3
        (g,) = tg.autograd.grad((y.exp() * x).sum(), x, create_graph=True)
        (g * g).sum().backward()
        assert x.grad is not None
        return g.tolist(), x.grad.tolist()

    want = run()
    with tg.autograd.set_detect_anomaly(True):
        assert run() == want
    assert run() == want


# --------------------------------------------------------------------------- several cotangents
def test_batched_cotangents() -> None:
    def case(lib: Any) -> Any:
        x, w = leaf(lib, 0.5, 1.5, 2.5), leaf(lib, 2.0, 3.0, 4.0)
        y = (x * w).exp() * x[0]
        seeds = lib.eye(3)
        return [
            lib.autograd.grad(y, [x, w], seeds, is_grads_batched=True, retain_graph=True),
            lib.autograd.grad(y, x, lib.stack([seeds[0], seeds[0] * 2]), is_grads_batched=True),
        ]

    found = same_closely(case)
    assert len(found) == 2
    x = leaf(tg, 1.0, 2.0)
    with pytest.raises(RuntimeError, match="a mismatch was detected: grad_output\\[0\\]"):
        tg.autograd.grad(x * 2, x, tg.ones(2, 3), is_grads_batched=True)


def test_batched_cotangents_are_differentiable() -> None:
    def case(lib: Any) -> Any:
        x = leaf(lib, 0.5, 1.5)
        (j,) = lib.autograd.grad(x**3, x, lib.eye(2), is_grads_batched=True, create_graph=True)
        return j, lib.autograd.grad(j.sum(), x)

    same_closely(case)


def same_closely(case: Case) -> Any:
    found = [plain(case(lib)) for lib in LIBS]
    for other in found[1:]:
        assert flat(found[0]) == pytest.approx(flat(other), rel=1e-12)
    return found[0]


def flat(value: Any) -> list[float]:
    return [y for x in value for y in flat(x)] if isinstance(value, list) else [value]


# --------------------------------------------------------------------------- gradients taken away
def _taken_by_prehook(lib: Any, create_graph: bool) -> Any:
    x, w = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0)
    y = x * w
    y.grad_fn.register_prehook(lambda gs: (None,))
    return lib.autograd.grad(
        (y * 5 + x).sum(), (x, w), create_graph=create_graph, allow_unused=True
    )[0]


def _taken_by_posthook(lib: Any, create_graph: bool) -> Any:
    x, w = leaf(lib, 1.0, 2.0), leaf(lib, 3.0, 4.0)
    y = x * w
    y.grad_fn.register_hook(lambda inputs, outputs: (None, inputs[1]))
    return lib.autograd.grad(
        (y * 5 + x).sum(), (x, w), create_graph=create_graph, allow_unused=True
    )


def _taken_from_a_view(lib: Any, create_graph: bool) -> Any:
    x = leaf(lib, 1.0, 2.0, 3.0)
    b = x * 1
    first, rest = b[:1], b[1:]
    first.grad_fn.register_prehook(lambda gs: (None,))
    rest.grad_fn.register_hook(lambda inputs, outputs: (None,))
    total = first.sum() * 7 + rest.sum() * 5 + b.sum()
    return lib.autograd.grad(total, x, create_graph=create_graph)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (_taken_by_prehook, [1.0, 1.0]),
        (_taken_by_posthook, [[1.0, 1.0], [5.0, 10.0]]),
        (_taken_from_a_view, [[1.0, 1.0, 1.0]]),
    ],
)
def test_a_hook_of_a_node_may_take_a_gradient_away(
    case: Any, expected: Any, create_graph: bool
) -> None:
    assert same(lambda lib: case(lib, create_graph)) == expected


def test_a_gradient_taken_from_a_leaf_is_zero() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    node = (x * 1).grad_fn.next_functions[0][0]
    node.register_prehook(lambda gs: (None,))
    (x * 3).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0]


def test_no_gradient_is_not_replaced() -> None:
    def case(lib: Any) -> Any:
        x, p = leaf(lib, 1.0, 2.0), lib.ones(2)
        y = x * p
        y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0], inputs[0]))
        y.sum().backward()

    assert same(case) == ("RuntimeError", "can't replace a None gradient with a non-None value")


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("place", ["result", "leaf", "node", "prehook"])
def test_a_hook_may_not_assign_data_of_another_size(place: str, create_graph: bool) -> None:
    def assign(*groups: Any) -> None:
        for group in groups:
            for g in group if isinstance(group, tuple) else (group,):
                if g is not None:
                    g.data = tg.ones(9)

    x = tg.tensor(3.0, requires_grad=True)
    y = x * 2
    assert y.grad_fn is not None
    register = {
        "result": y.register_hook, "leaf": x.register_hook, "node": y.grad_fn.register_hook,
        "prehook": y.grad_fn.register_prehook,
    }[place]  # fmt: skip
    handle = register(assign)
    text = "hook 'assign' has changed the size of value|data of shape .9. for a result of shape"
    with pytest.raises(RuntimeError, match=text):  # the second where the gradient is of a graph
        tg.autograd.grad(y * y, x, create_graph=create_graph)
    handle.remove()
    z = (x * x).sum()
    z.backward()
    assert x.grad is not None
    assert x.grad.tolist() == 6.0
