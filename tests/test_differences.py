"""docs/pytorch_differences.md: the tests that it names exist; differences that have no test elsewhere."""

from __future__ import annotations

import ast
import pickle
import re
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.autograd import forward_ad

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "pytorch_differences.md"


NAMES = sorted(set(re.findall(r"`((?:fuzz/)?\w+\.py(?:::\w+)?)`", PAGE.read_text("utf-8"))))


@pytest.mark.parametrize("name", NAMES)
def test_a_test_that_the_page_names_is_there(name: str) -> None:
    file, _, function = name.partition("::")
    path = TESTS / file
    assert path.exists(), f"docs/pytorch_differences.md names {file}"
    if function:
        tree = ast.parse(path.read_text("utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in names, f"docs/pytorch_differences.md names {name}"


@pytest.mark.parametrize(
    "call",
    [
        lambda x: tg.add(x, x, alpha=0.5),
        lambda x: tg.sub(x, x, alpha=2.0),
        lambda x: tg.lerp(x, x * 1, 0.3),
    ],
)
def test_numbers_beside_a_sum_count_as_saved(call: object) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    loss = call(x).sum()  # type: ignore[operator]
    loss.backward(retain_graph=True)
    loss.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        loss.backward()


@pytest.mark.parametrize("mode", [tg.no_grad, tg.inference_mode])
def test_views_made_without_recording(mode: Any) -> None:
    a = tg.tensor([1.0, 2.0], requires_grad=True)
    with mode():
        view = a.view(-1)
    assert view._is_view()
    assert view.is_leaf
    assert not view.requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        (view * 3).sum().backward()
    with tg.inference_mode():
        leaf = tg.tensor([1.0, 2.0], requires_grad=True)
    (leaf.view(2, 1) * 3).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [3.0, 3.0]


def test_a_function_that_writes_to_a_view() -> None:
    class Add(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            a.add_(b)
            ctx.mark_dirty(a)
            return a, a * b

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            return g + 2 * h, 3 * g + 5 * h

    a, b = (tg.tensor([v, v], requires_grad=True) for v in (1.0, 2.0))
    base = a * 1
    view, other = Add.apply(base[:], b)
    (view * 10 + other * 100).sum().backward(retain_graph=True)
    assert base.tolist() == [3.0, 3.0]
    assert a.grad is not None
    assert b.grad is not None
    assert a.grad.tolist() == [210.0, 210.0]
    assert b.grad.tolist() == [530.0, 530.0]
    assert tg.autograd.grad(base.sum(), (a, b))[1].tolist() == [3.0, 3.0]


def test_a_jvp_returns_values() -> None:
    class Double(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x.clone())
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def jvp(ctx: Any, t: Any) -> Any:
            (x,) = ctx.saved_tensors
            return t * 2 + 0 * x

    class First(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x[:1]

        @staticmethod
        def jvp(ctx: Any, t: Any) -> Any:
            return t[:1].clone()

    with forward_ad.dual_level():
        x = forward_ad.make_dual(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]))
        primal, tangent = forward_ad.unpack_dual(First.apply(Double.apply(x)))
        assert (primal.tolist(), tangent.tolist()) == ([2.0], [6.0])


def test_duals_are_copies() -> None:
    tensor, along = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(tensor, along)
        dual *= 2
        assert forward_ad.unpack_dual(dual).tangent.tolist() == [6.0, 8.0]
        assert (tensor.tolist(), along.tolist()) == ([1.0, 2.0], [3.0, 4.0])
        assert str(dual) == "tensor([2., 4.])"
        out = tg.zeros(2)
        tg.mul(dual, dual, out=out)
        primal, tangent = forward_ad.unpack_dual(out)
        assert (primal.tolist(), tangent.tolist()) == ([4.0, 16.0], [24.0, 64.0])
        with tg.no_grad():
            quiet = dual * 2
        assert forward_ad.unpack_dual(quiet).tangent is None


def test_moments_have_a_node_each() -> None:
    x = tg.tensor([1.0, 2.0, 6.0], requires_grad=True)
    variance, mean = tg.var_mean(x)
    assert variance.grad_fn is not mean.grad_fn
    seen = []
    assert mean.grad_fn is not None
    mean.grad_fn.register_prehook(lambda gs: seen.append(len(gs)))
    (variance + mean).backward()
    assert seen == [1]
    assert x.grad is not None
    assert x.grad.tolist() == [-2.0 + 1 / 3, -1.0 + 1 / 3, 3.0 + 1 / 3]


@pytest.mark.parametrize("call", [
    lambda x, w: tg.add(x, w, alpha=0.5), lambda x, w: tg.sub(x, w, alpha=0.5),
    lambda x, w: tg.lerp(x, w, 0.5), lambda x, w: tg.trapezoid(x),
])  # fmt: skip
def test_factors_are_residuals(call: Any) -> None:
    x, w = (tg.tensor(v, requires_grad=True) for v in ([1.0, 2.0], [3.0, 4.0]))
    y = call(x, w).sum()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_derivatives_of_gradients_by_intermediate_results() -> None:
    """The power's derivative is written in its operands, that of exp in its result, as PyTorch's."""
    x = tg.tensor(0.5, requires_grad=True)
    for function, slope in (lambda x: 1.5**x, None), (tg.exp, 1.0):
        y = function(x)
        (g,) = tg.autograd.grad(y, x, create_graph=True)
        (by_result,) = tg.autograd.grad(g, y, allow_unused=True, retain_graph=True)
        assert (by_result is None) if slope is None else by_result.item() == slope
        (second,) = tg.autograd.grad(g, x)
        factor = 1.0 if slope else np.log(1.5)
        assert second.item() == pytest.approx(y.item() * factor**2, rel=1e-6)


def test_an_overlapping_view_that_is_not_used_after_its_base_was_freed() -> None:
    base = tg.tensor([0.5, 1.0, 1.5], requires_grad=True).square()
    view, loss = base.unfold(0, 2, 1), base.tanh().sum()
    assert tg.autograd.grad(loss, view, allow_unused=True, retain_graph=True) == (None,)
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        tg.autograd.grad(loss, view, allow_unused=True)


def test_numpys_functions_record_tensors() -> None:
    x, array = tg.tensor([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0])
    assert all(tg.is_tensor(y) for y in (np.sin(x), np.sin(x.detach()), np.add(array, x)))
    (array * x + array @ x + np.add(array, x)).sum().backward()
    assert x.grad.tolist() == [10.0, 13.0]


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (tg.TapeError, "tapegrad.TapeError"), (tg.UnsupportedError, "tapegrad.UnsupportedError"),
        (tg.autograd.GradcheckError, "tapegrad.autograd.GradcheckError"),
    ],
)  # fmt: skip
def test_tracebacks_print_a_name_to_catch_the_error_by(error: type[Exception], name: str) -> None:
    (line,) = traceback.format_exception_only(error("why"))
    assert line == f"{name}: why\n"
    assert type(pickle.loads(pickle.dumps(error("why")))) is error
