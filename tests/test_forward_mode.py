"""Forward mode: what requires grad in it, writing in place, Functions, and both modes in each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.autograd import forward_ad as fw

X, V = [1.0, 2.0, 3.0], [1.0, 10.0, 100.0]


def dual(*, active: bool = False, active_tangent: bool = False) -> Any:
    return fw.make_dual(
        tg.tensor(X, requires_grad=active), tg.tensor(V, requires_grad=active_tangent)
    )


# --------------------------------------------------------------------------- what requires grad
@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("active_tangent", [False, True])
def test_a_dual_requires_grad_if_its_primal_does(active: bool, active_tangent: bool) -> None:
    with fw.dual_level():
        d = dual(active=active, active_tangent=active_tangent)
        y = (d * d).sum()
        primal, tangent = fw.unpack_dual(y)
        assert tangent is not None
        for t in (d, y, d[1:], primal):
            assert t.requires_grad == active
        assert y.is_leaf != active
        assert (y.grad_fn is None) != active
        assert tangent.requires_grad == (active or active_tangent)
        assert tangent.item() == 642.0
    for t in (d, y, y * 2):
        assert t.requires_grad == active


def test_results_are_passive_when_the_level_has_ended() -> None:
    with fw.dual_level():
        d = dual()
        buffer = tg.zeros(3)
        buffer[1:] = d[1:]
        y = (d * 2).sin()
        (z, index) = (d * 3).max(0)
    for t in (d, y, z, buffer, y + z):
        assert not t.requires_grad
        assert t.grad_fn is None
        assert t.is_leaf
        assert fw.unpack_dual(t).tangent is None
    assert buffer.tolist() == [0.0, 2.0, 3.0]
    assert y.tolist() == pytest.approx(np.sin([2.0, 4.0, 6.0]))
    assert index.item() == 2
    buffer.mul_(2)
    y.requires_grad_()
    (y * buffer).sum().backward()
    assert y.grad.tolist() == [0.0, 4.0, 6.0]


def test_what_needs_a_graph_says_that_there_is_none() -> None:
    with fw.dual_level():
        y = dual().sum()
        with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
            y.backward()
        with pytest.raises(RuntimeError, match="does not require grad"):
            tg.autograd.grad(y, y)
        with pytest.raises(RuntimeError, match="doesn't require gradient"):
            y.register_hook(print)
        assert "grad" not in repr(y)


@pytest.mark.smoke
def test_inside_jvp() -> None:
    seen: list[bool] = []
    w = tg.tensor(2.0, requires_grad=True)

    def f(x: Any) -> Any:
        seen.extend([x.requires_grad, (x * 2).requires_grad, (x * w).requires_grad])
        return x

    tg.func.jvp(f, (tg.tensor(1.0),), (tg.tensor(1.0),))
    assert seen == [False, False, True]
    seen.clear()

    def inner(x: Any) -> Any:
        def g(y: Any) -> Any:
            seen.extend([y.requires_grad, (y * x).requires_grad])
            return y**3

        return tg.func.grad(g)(x)

    _, along = tg.func.jvp(inner, (tg.tensor(2.0),), (tg.tensor(1.0),))
    assert along.item() == 12.0
    assert seen == [True, True]


# --------------------------------------------------------------------------- in place
def halved_view(d: Any) -> Any:
    d[1:].mul_(3)
    return d


def item(d: Any) -> Any:
    d[0] = 5.0
    return d * d


def overwritten(d: Any) -> Any:
    y = d * d
    d.sin_()
    return y + d


def doubled_view(d: Any) -> Any:
    view = d[1:]
    d.mul_(2)
    return view * 1


def into_buffer(d: Any) -> Any:
    buffer = tg.ones(3)
    buffer.add_(d)
    buffer[1:].mul_(d[:2])
    return buffer * buffer


def swapped(d: Any) -> Any:
    d[0], d[2] = d[2].clone(), d[0].clone()
    return d


IN_PLACE: dict[str, Any] = {
    "mul_": (lambda d: d.mul_(2), [2, 4, 6], [2, 20, 200]),
    "by itself": (lambda d: d.mul_(d).add_(1), [2, 5, 10], [2, 40, 600]),
    "imul": (lambda d: (d := d * 1, d.__imul__(d))[1], [1, 4, 9], [2, 40, 600]),
    "a view": (halved_view, [1, 6, 9], [1, 30, 300]),
    "an item": (item, [25, 4, 9], [0, 40, 600]),
    "after it was used": (
        overwritten,
        np.square(X) + np.sin(X),
        (2 * np.array(X) + np.cos(X)) * V,
    ),
    "under a view": (doubled_view, [4, 6], [20, 200]),
    "a buffer": (into_buffer, [4, 9, 64], [4, 2 * 3 * (1 * 10 + 3 * 1), 2 * 8 * (2 * 100 + 4 * 10)]),
    "zero_": (lambda d: d.zero_(), [0, 0, 0], [0, 0, 0]),
    "copy_": (lambda d: tg.zeros(3).copy_(d) * 2, [2, 4, 6], [2, 20, 200]),
    "fill_": (lambda d: d.fill_(d[1].clone()), [2, 2, 2], [10, 10, 10]),
    "swapped": (swapped, [3, 2, 1], [100, 10, 1]),
    "transposed": (lambda d: d.view(3, 1).t().mul_(2), [[2, 4, 6]], [[2, 20, 200]]),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("active", [False, True])
def test_writing_a_dual_in_place(name: str, active: bool) -> None:
    f, value, along = IN_PLACE[name]
    if active and name == "after it was used":
        return  # reverse mode needs what was overwritten, and says so
    with fw.dual_level():
        d = dual(active=active)
        primal, tangent = fw.unpack_dual(f(d))
        np.testing.assert_allclose(primal.detach().numpy(), value)
        np.testing.assert_allclose(tangent.detach().numpy(), along)


@pytest.mark.parametrize("name", IN_PLACE)
def test_writing_in_place_inside_transforms(name: str) -> None:
    f, value, along = IN_PLACE[name]
    x, v = tg.tensor(X), tg.tensor(V)
    output, tangent = tg.func.jvp(f, (x,), (v,))
    np.testing.assert_allclose(output.numpy(), value)
    np.testing.assert_allclose(tangent.numpy(), along)
    np.testing.assert_allclose((tg.func.jacfwd(f)(x) @ v).numpy(), along)
    np.testing.assert_allclose(tg.func.linearize(f, x)[1](v).numpy(), along)
    assert x.tolist() == X, "the caller's tensor is not written"


def test_reverse_mode_does_not_write_what_it_differentiates_by() -> None:
    """As PyTorch; also where the argument is on the caller's graph, or another transform's."""

    def f(x: Any) -> Any:
        return (x.mul_(2) ** 2).sum()

    def of_view(x: Any) -> Any:
        x[0] = 2.0
        return (x**2).sum()

    x, active = tg.tensor(X), tg.tensor(X, requires_grad=True)
    for g in (f, of_view):
        for run in (
            lambda g=g: tg.func.grad(g)(x),
            lambda g=g: tg.func.grad(g)(active),
            lambda g=g: tg.func.grad(lambda y: tg.func.grad(g)(y).sum())(x),
            lambda g=g: tg.autograd.functional.vjp(g, active, create_graph=True),
            lambda g=g: tg.func.vmap(tg.func.grad(g))(tg.stack([x, x])),
        ):
            with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
                run()
    assert tg.func.grad(lambda x: f(x.clone()))(active).tolist() == [8.0, 16.0, 24.0]
    _, tangent = tg.func.jvp(f, (active,), (tg.ones(3),))
    assert tangent.item() == 48.0


# --------------------------------------------------------------------------- Functions
class Doubled(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.mark_dirty(x)
        return x.mul_(2)

    @staticmethod
    def backward(ctx: Any, ct: Any) -> Any:
        return ct * 2

    @staticmethod
    def jvp(ctx: Any, t: Any) -> Any:
        return t * 2


class Cube(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_forward(x)
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, ct: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * ct

    @staticmethod
    def jvp(ctx: Any, t: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * t


@pytest.mark.smoke
def test_a_dirty_dual() -> None:
    with fw.dual_level():
        d = dual()
        y = Doubled.apply(d)
        assert fw.unpack_dual(y).tangent.tolist() == [2.0, 20.0, 200.0]
        assert fw.unpack_dual(d * 1).tangent.tolist() == [2.0, 20.0, 200.0]
    _, tangent = tg.func.jvp(
        lambda x: Doubled.apply(x.clone()) * x, (tg.tensor(X),), (tg.tensor(V),)
    )
    assert tangent.tolist() == [4.0, 80.0, 1200.0]


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("active_tangent", [False, True])
def test_the_tangent_of_a_function_requires_grad_where_it_should(
    active: bool, active_tangent: bool
) -> None:
    x = tg.tensor(2.0, requires_grad=active)
    v = tg.tensor(1.5, requires_grad=active_tangent)
    with fw.dual_level():
        y = Cube.apply(fw.make_dual(x, v))
        tangent = fw.unpack_dual(y).tangent
        assert tangent is not None
        assert tangent.item() == 18.0
        assert y.requires_grad == active
        assert tangent.requires_grad == (active or active_tangent)
        if active:
            assert tg.autograd.grad(tangent, x, retain_graph=True)[0].item() == 18.0
        if active_tangent:
            assert tg.autograd.grad(tangent, v)[0].item() == 12.0


def test_modes_in_each_other_with_a_function() -> None:
    x, one = tg.tensor(2.0), tg.tensor(1.0)

    def along(f: Any) -> Any:
        return lambda x: tg.func.jvp(f, (x,), (one,))[1]

    for f in (Cube.apply, lambda x: x**3):
        assert along(f)(x).item() == 12.0
        assert along(tg.func.grad(f))(x).item() == 12.0
        assert tg.func.grad(along(f))(x).item() == 12.0
        assert along(along(f))(x).item() == 12.0
        assert along(along(along(f)))(x).item() == 6.0
        assert tg.func.grad(along(along(f)))(x).item() == 6.0
        assert along(tg.func.grad(along(f)))(x).item() == 6.0


# --------------------------------------------------------------------------- switching tangents off
def test_tangents_can_be_switched_off() -> None:
    with fw.dual_level():
        d = fw.make_dual(tg.tensor(2.0), tg.tensor(1.0))
        with fw._set_fwd_grad_enabled(False):
            assert not fw._is_fwd_grad_enabled()
            y = d * d
        assert fw._is_fwd_grad_enabled()
        assert fw.unpack_dual(y).tangent is None
        assert fw.unpack_dual(d * y).tangent.item() == 4.0
        assert fw.unpack_dual(d * d).tangent.item() == 4.0


def shifted(x: Any) -> Any:
    """x^3 - x^2, of which the square has no tangent."""
    with fw._set_fwd_grad_enabled(False):
        shift = x**2
    return x**3 - shift


def test_tangents_can_be_switched_off_inside_of_jvp() -> None:
    x, one = tg.tensor(3.0), tg.tensor(1.0)

    def along(x: Any) -> Any:
        return tg.func.jvp(shifted, (x,), (one,))[1]

    value, tangent = tg.func.jvp(shifted, (x,), (one,))
    assert (value.item(), tangent.item()) == (18.0, 27.0)
    assert tg.func.jvp(along, (x,), (one,))[1].item() == 18.0
    assert tg.func.grad(along)(x).item() == 18.0
    assert tg.func.vmap(along)(tg.tensor([1.0, 3.0])).tolist() == [3.0, 27.0]
    assert tg.func.grad(shifted)(x).item() == 21.0  # reverse mode does not ask


def test_a_jvp_has_tangents_where_they_are_switched_off_around_it() -> None:
    x, one = tg.tensor(3.0), tg.tensor(1.0)
    with fw._set_fwd_grad_enabled(False):
        assert tg.func.jvp(lambda x: x**3, (x,), (one,))[1].item() == 27.0
        assert tg.func.jvp(shifted, (x,), (one,))[1].item() == 27.0
        assert not fw._is_fwd_grad_enabled()
    assert fw._is_fwd_grad_enabled()


@pytest.mark.parametrize(
    "run",
    [
        lambda x: tg.func.jacfwd(shifted)(x),
        lambda x: tg.func.linearize(shifted, x),
        lambda x: tg.func.jvp(tg.func.vmap(shifted), (x.reshape(1),), (x.reshape(1),)),
    ],
    ids=["jacfwd", "linearize", "vmap"],
)
def test_where_tangents_cannot_be_switched_off(run: Any) -> None:
    with pytest.raises(tg.UnsupportedError, match=r"_set_fwd_grad_enabled\(False\) is for jvp"):
        run(tg.tensor(3.0))
