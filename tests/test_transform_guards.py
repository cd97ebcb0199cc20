"""What transforms keep a function from, as PyTorch's do: it would act on a graph that is not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tapegrad as tg
from tapegrad.autograd import forward_ad, functional

Function = Callable[[Any], Any]

TRANSFORMS: dict[str, Callable[[Function], Any]] = {
    "grad": lambda f: tg.grad(f)(tg.ones(3)),
    "func.grad": lambda f: tg.func.grad(f)(tg.ones(3)),
    "func.vjp": lambda f: tg.func.vjp(f, tg.ones(3)),
    "func.jvp": lambda f: tg.func.jvp(f, (tg.ones(3),), (tg.ones(3),)),
    "func.linearize": lambda f: tg.func.linearize(f, tg.ones(3)),
    "func.jacrev": lambda f: tg.func.jacrev(f)(tg.ones(3)),
    "func.jacfwd": lambda f: tg.func.jacfwd(f)(tg.ones(3)),
    "func.hessian": lambda f: tg.func.hessian(f)(tg.ones(3)),
    "hvp": lambda f: tg.hvp(f, tg.ones(3), tg.ones(3)),
    "vmap of grad": lambda f: tg.func.vmap(tg.func.grad(f))(tg.ones(2, 3)),
}


def writing(write: Callable[[Any, Any], Any]) -> Function:
    """A function that writes to a captured tensor."""
    captured = tg.zeros(3)

    def f(x: Any) -> Any:
        write(captured, x)
        return (x * captured).sum()

    return f


def item(captured: Any, x: Any) -> None:
    captured[0] = x.sum()


WRITES: dict[str, Callable[[Any, Any], Any]] = {
    "add_": lambda captured, x: captured.add_(x),
    "fill_": lambda captured, x: captured.fill_(2.0),
    "an item": item,
    "a view": lambda captured, x: captured[1:].mul_(2),
    "under no_grad": lambda captured, x: quietly(captured.zero_),
}


def quietly(run: Callable[[], Any]) -> Any:
    with tg.no_grad():
        return run()


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("write", WRITES)
def test_captured_tensors_are_not_written(transform: str, write: str) -> None:
    with pytest.raises(
        RuntimeError, match=r"would mutate a captured Tensor\. This is not supported"
    ):
        TRANSFORMS[transform](writing(WRITES[write]))


ACTS: dict[str, tuple[Function, str]] = {
    "requires_grad_": (lambda x: x.requires_grad_().sum(), r"call Tensor\.requires_grad_\(\)"),
    "requires_grad_ of another": (
        lambda x: (x * tg.ones(3).requires_grad_()).sum(),
        r"call Tensor\.requires_grad_\(\)",
    ),
    "setting requires_grad": (
        lambda x: (setattr(tg.ones(3), "requires_grad", True), x.sum())[1],
        r"call Tensor\.requires_grad_\(\)",
    ),
    "retain_grad": (lambda x: ((x * 2).retain_grad(), x.sum())[1], r"call Tensor\.retain_grad\(\)"),
    "backward": (
        lambda x: (x.sum().backward(), x.sum())[1],
        "backward.. called inside a functorch",
    ),
    "autograd.backward": (
        lambda x: (tg.autograd.backward(x.sum()), x.sum())[1],
        "backward.. called inside a functorch",
    ),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("act", ACTS)
def test_what_needs_a_graph_of_the_users(transform: str, act: str) -> None:
    f, text = ACTS[act]
    with pytest.raises(RuntimeError, match=text):
        TRANSFORMS[transform](f)


def test_functional_derivatives_inside_of_a_transform() -> None:
    """Without `create_graph` their results would count as constants."""

    def f(x: Any, *, create_graph: bool) -> Any:
        return functional.vjp(lambda y: (y**2).sum(), x, create_graph=create_graph)[1].sum()

    with pytest.raises(RuntimeError, match=r"torch\.autograd\.functional\.\* APIs"):
        tg.func.grad(lambda x: f(x, create_graph=False))(tg.ones(3))
    assert tg.func.grad(lambda x: f(x, create_graph=True))(tg.ones(3)).tolist() == [2.0] * 3
    # Of what does not depend on the transform's input they are constants.
    y = tg.tensor([3.0])
    assert tg.func.grad(lambda x: x * f(y, create_graph=False))(tg.tensor(1.0)).item() == 6.0


def test_a_function_may_write_to_what_is_its_own() -> None:
    def local(x: Any) -> Any:
        buffer = tg.zeros(3)
        buffer[1:] = x[1:] * 2
        buffer.mul_(x)
        return buffer.sum()

    assert tg.func.grad(local)(tg.ones(3)).tolist() == [0.0, 4.0, 4.0]
    assert tg.func.jvp(local, (tg.ones(3),), (tg.ones(3),))[1].item() == 8.0

    def argument(x: Any, out: Any) -> Any:
        out.add_(x)
        return (out * x).sum()

    out = tg.zeros(3)
    assert tg.func.grad(argument)(tg.ones(3), out).tolist() == [2.0] * 3
    assert tg.grad(argument)(tg.ones(3), tg.zeros(3)).tolist() == [2.0] * 3
    assert out.tolist() == [1.0] * 3


def test_nothing_is_forbidden_outside() -> None:
    f = writing(WRITES["add_"])
    x = tg.ones(3).requires_grad_()
    with forward_ad.dual_level():
        captured = tg.zeros(3)
        captured.add_(forward_ad.make_dual(tg.ones(3), tg.ones(3)))
        assert forward_ad.unpack_dual(captured).tangent.tolist() == [1.0] * 3
    f(x).backward()
    assert x.grad.tolist() == [2.0] * 3


def test_a_pullback_under_no_grad() -> None:
    x = tg.tensor(3.0, requires_grad=True)
    value, pullback = tg.func.vjp(lambda x: x**2, x)
    (quiet,) = quietly(lambda: pullback(tg.tensor(1.0)))
    (active,) = pullback(tg.tensor(1.0))
    assert value.requires_grad
    assert (quiet.item(), quiet.requires_grad) == (6.0, False)
    assert (active.item(), active.requires_grad) == (6.0, True)


# --------------------------------------------------------------------------- rules of Functions
class Product(tg.autograd.Function):
    seen: list[Any] = []  # noqa: RUF012

    @staticmethod
    def forward(x: Any, y: Any) -> Any:
        return x * y

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, ct: Any) -> Any:
        x, y = ctx.saved_tensors
        return ct * y, ct * x

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Any, y: Any) -> Any:
        Product.seen.append((in_dims, x, y))
        x, y = (t if d is None else t.movedim(d, 0) for t, d in zip((x, y), in_dims, strict=True))
        return Product.apply(x, y), 0


def test_a_rule_gets_dimensions_and_tensors_as_they_were_given() -> None:
    x, y = tg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), tg.tensor([[1.0, 1, 1], [2, 2, 2]])
    for in_dims in ((1, 0), (-1, 0)):
        Product.seen.clear()
        got = tg.func.vmap(Product.apply, in_dims=in_dims)(x, y)
        ((dims, a, b),) = Product.seen
        assert dims == (1, 0)
        assert a is x
        assert b is y
        assert got.tolist() == [[1, 3, 5], [4, 8, 12]]
    Product.seen.clear()
    tg.func.vmap(lambda x, y: Product.apply(x + 1, y[0]), in_dims=(1, None))(x, y)
    ((dims, a, b),) = Product.seen
    assert dims == (0, None)
    assert a.shape == (2, 3)
    assert b.shape == (3,)
