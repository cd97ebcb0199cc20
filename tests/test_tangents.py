"""Forward mode by templates: every row of the op table against the transposed reverse pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from alone import alone
from op_derivatives import directions_for, zeros_for_none
from op_samples import Case, cases, public_rows, tg_leaf

import tapegrad as tg
from tapegrad.autograd.jacobian_products import Pushforward
from tapegrad.engine import forward_mode as tangents
from tapegrad.ops.table import Op

SMOOTH = [e for e in public_rows() if e.vjp is not None]


def recorded(case: Case) -> tuple[list[Any], list[Any]]:
    """The active operands and the active results of a case, where no operand is a view."""
    leaves, outs = case.run()
    active = [x for x, on in zip(leaves, case.active, strict=True) if on]
    return active, [y for y in outs if y.requires_grad]


@pytest.mark.parametrize("entry", SMOOTH, ids=lambda e: e.name)
@alone
def test_tangents_are_the_transposed_reverse_pass(entry: Op) -> None:
    """At first order and, differentiated with respect to operands and directions, at second order."""
    rng = np.random.default_rng(6)
    for case in cases(entry):
        if not any(case.active):
            continue
        _, along = directions_for(case, rng, 1)
        inputs, outputs = recorded(case)
        if not outputs:
            continue
        directions = [
            tg_leaf(np.asarray(v, x.dtype.np)) for v, x in zip(along, inputs, strict=True)
        ]
        wanted = zeros_for_none(Pushforward(outputs, inputs)(directions), outputs)
        for _ in range(2):  # by Python, then (most of them) by native code
            pushed = tangents.push(outputs, inputs, directions, create_graph=True)
            assert pushed is not None, case
            for x, y in zip(zeros_for_none(pushed, outputs), wanted, strict=True):
                scale = 1 + np.abs(y).max(initial=0)
                np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-13 * scale, err_msg=str(case))
        second(case, inputs, outputs, directions, pushed)


def second(
    case: Case, inputs: list[Any], outputs: list[Any], directions: list[Any], pushed: list[Any]
) -> None:
    """Gradients of the tangents are those of the other way's tangents."""
    transposed = Pushforward(outputs, inputs)(directions, create_graph=True)
    both = []
    for found in (pushed, transposed):
        roots = [t for t in found if t is not None and t.requires_grad]
        seeds = [tg_leaf(np.full(tuple(t.shape), 0.7, t.dtype.np), active=False) for t in roots]
        wanted = [*inputs, *directions]
        if roots:
            grads = tg.autograd.grad(roots, wanted, seeds, allow_unused=True, retain_graph=True)
            both.append(zeros_for_none(grads, wanted))
        else:
            both.append([np.zeros(tuple(t.shape)) for t in wanted])
    for x, y in zip(*both, strict=True):
        scale = 1 + np.abs(y).max(initial=0)
        np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-12 * scale, err_msg=str(case))


@pytest.mark.parametrize("entry", SMOOTH, ids=lambda e: e.name)
@alone
def test_tangents_of_gradients_are_the_transposed_reverse_pass(entry: Op) -> None:
    """Of recorded passes too, whose buffers are written in place: operands are parts of a leaf each."""
    rng = np.random.default_rng(8)
    for case in cases(entry)[:4]:
        if not any(case.active):
            continue
        _, along = directions_for(case, rng, 1)
        inputs, outputs = recorded(case)
        roots = [y for y in outputs if y.dtype.is_floating_point]
        seeds = [tg_leaf(rng.normal(size=tuple(y.shape)).astype(y.dtype.np)) for y in roots]
        found = tg.autograd.grad(roots, inputs, seeds, create_graph=True, allow_unused=True)
        gradients = [g for g in found if g is not None and g.requires_grad]
        if not gradients:
            continue
        wanted = [*inputs, *seeds]
        directions = [
            tg_leaf(np.asarray(v, x.dtype.np)) for v, x in zip(along, inputs, strict=True)
        ]
        directions += [
            tg_leaf(rng.normal(size=tuple(ct.shape)).astype(ct.dtype.np)) for ct in seeds
        ]
        transposed = zeros_for_none(Pushforward(gradients, wanted)(directions), gradients)
        pushed = tangents.push(gradients, wanted, directions, create_graph=True)
        if pushed is None:
            continue
        for x, y in zip(zeros_for_none(pushed, gradients), transposed, strict=True):
            scale = 1 + np.abs(y).max(initial=0)
            np.testing.assert_allclose(x, y, rtol=1e-11, atol=1e-12 * scale, err_msg=str(case))
        second(case, wanted, gradients, directions, pushed)


def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def loop_over_elements(x: Any) -> Any:
    total = x.new_zeros(())
    for i in range(5):
        total = total + tg.sin(x[i]) * x[i + 1] * x[i - 1]
    return total


def parts_of_parts(x: Any) -> Any:
    y = x * 2
    return (y[::2] * y[1::2]).exp().sum() + (y.reshape(2, -1)[0] ** 3).sum() + y.flip(0)[1] ** 2


def overlapping(x: Any) -> Any:
    windows = x.unfold(0, 3, 1)
    return (windows.prod(1) * windows[:, 1].tanh()).sum()


def written(x: Any) -> Any:
    y = x.clone()
    y[0] = x[1] ** 2
    y[2:4] *= x[3:5]
    y[1].copy_(x[5] * x[4])
    return (y.sin() * y.flip(0)).sum()


def joined(x: Any) -> Any:
    both = tg.cat([x[:2] ** 2, x[4:].exp()])
    return (both[1:3] ** 3).sum() * both[0]


def by_rows(x: Any) -> Any:
    m = x.reshape(3, 2)
    return (m[tg.tensor([0, 2, 0])] ** 3).sum() * (m[1] @ m[2]) + m.T[0].prod()


@pytest.mark.parametrize(
    "f",
    [rosenbrock, loop_over_elements, parts_of_parts, overlapping, written, joined, by_rows],
    ids=lambda f: f.__name__,
)
def test_forward_over_reverse_through_buffers(f: Any) -> None:
    """Buffers of a recorded pass are written in place, and their tangents with them, to any order."""
    rng = np.random.default_rng(9)
    x, v, w = (tg.tensor(rng.normal(size=6), dtype=tg.float64) for _ in range(3))
    gradient, second_derivatives = tg.func.grad(f), tg.func.hessian(f)

    def product(y: Any) -> Any:
        return tg.func.jvp(gradient, (y,), (v,))[1]

    def of_hessian(y: Any) -> Any:
        return second_derivatives(y) @ v

    def close(found: Any, wanted: Any) -> None:
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-10, atol=1e-10)

    for _ in range(2):  # by Python, then by native code
        close(product(x), of_hessian(x))
    third = tg.func.jacrev(of_hessian)(x)
    close(tg.func.jvp(product, (x,), (w,))[1], third @ w)
    close(tg.func.grad(lambda y: product(y) @ w)(x), w @ third)
    close(tg.func.jacfwd(product)(x), third)
    close(tg.func.vmap(product)(tg.stack([x, w]))[1], of_hessian(w))
    close(tg.jit(product)(x), of_hessian(x))
    fourth = tg.func.jvp(lambda y: tg.func.jvp(product, (y,), (w,))[1], (x,), (v,))[1]
    close(fourth, tg.func.jvp(lambda y: tg.func.jacrev(of_hessian)(y) @ w, (x,), (v,))[1])


def test_what_takes_more_than_templates_is_transposed() -> None:
    """In-place writes, Functions: None from `push`, and right all the same."""

    class Cube(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, ct: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3 * x**2 * ct

    def written(x: Any) -> Any:
        y = x * 2
        y[1:] *= x[:-1]
        return y

    x, v = tg.tensor([0.3, 2.0, -1.0]), tg.tensor([1.0, -2.0, 0.5])
    for function in (written, Cube.apply):
        leaf = x.clone().requires_grad_()
        assert tangents.push([function(leaf)], [leaf], [v], create_graph=False) is None
        _, along = tg.func.jvp(function, (x,), (v,))
        columns = tg.func.jacrev(function)(x)
        np.testing.assert_allclose(along.numpy(), (columns @ v).numpy(), rtol=1e-12)


def test_a_tangent_shares_no_memory_with_its_direction() -> None:
    x, v = tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])
    _, (a, b, c) = tg.func.jvp(lambda x: (x + 1, x - 2, x[:1]), (x,), (v,))
    for t in (a, b, c):
        t.mul_(0)
    assert v.tolist() == [3.0, 4.0]
    _, (a, b) = tg.func.jvp(lambda x: (x + 1, x - 2), (x,), (v,))
    a.zero_()
    assert b.tolist() == [3.0, 4.0]


@alone
def test_errors_leave_the_tape_as_it_was() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).exp()
    y.sum().backward()
    count = tg.current_tape().count
    with pytest.raises(RuntimeError, match="second time"):
        tangents.push([y], [x], [tg.ones(2)], create_graph=False)
    assert tg.current_tape().count <= count + 1


def test_a_gradient_without_tangent_is_refused() -> None:
    """It would be a constant to jvp; PyTorch's forward mode goes through the pass."""

    def f(x: Any, *, recorded: bool, factor: Any = 1.0) -> Any:
        u = tg.tensor([2.0, 3.0], requires_grad=True)
        return tg.autograd.grad((u * u * x).sum() * factor, u, create_graph=recorded)[0]

    x = tg.tensor([1.0, 2.0])
    _, along = tg.func.jvp(lambda x: f(x, recorded=True), (x,), (tg.ones(2),))
    assert along.tolist() == [4.0, 6.0]
    for transform in (
        lambda g: tg.func.jvp(g, (x,), (tg.ones(2),)),
        lambda g: tg.func.jacfwd(g)(x),
        lambda g: tg.func.linearize(g, x),
    ):
        with pytest.raises(tg.UnsupportedError, match="create_graph=True"):
            transform(lambda x: f(x, recorded=False))
        transform(lambda x: f(x.detach(), recorded=False) * x)  # a constant, as it says
    # In reverse mode it is PyTorch's constant.
    assert tg.func.grad(lambda x: (f(x, recorded=False) * x).sum())(x).tolist() == [4.0, 12.0]
