"""Hooks that refer to tensors: they go when no pass can come by any more."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import tapegrad as tg
from tapegrad.tape.current import current_tape
from tapegrad.tape.hook_cycles import drop_unreachable


class Token:
    """Something that a hook keeps alive."""


def leaf(*values: float) -> Any:
    return tg.tensor(list(values), requires_grad=True)


def on_a_leaf(token: Token) -> None:
    x = leaf(1.0, 2.0)
    x.register_hook(lambda g: g * x.detach() if token else None)
    (x * x).sum().backward()
    assert x.grad.tolist() == [2, 8]


def on_a_result(token: Token) -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    y.register_hook(lambda g: g * y.detach() if token else None)
    y.sum().backward()
    assert x.grad.tolist() == [4, 8]


def on_a_view(token: Token) -> None:
    x = leaf(1.0, 2.0)
    y = (x * 3)[1:]
    y.register_hook(lambda g: g * y.detach() + x.detach().sum() if token else None)
    y.sum().backward()
    assert x.grad.tolist() == [0, 27]


def on_a_node(token: Token) -> None:
    x = leaf(1.0)
    y = x * 3
    y.grad_fn.register_hook(lambda i, o: (i[0] * y.detach(), None) if token else None)
    y.sum().backward()
    assert x.grad.tolist() == [9]


class Triple(tg.autograd.Function):
    """A Function whose contexts can be seen."""

    seen: Any = None

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        Triple.seen = ctx
        return x * 3

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * 3


def on_the_node_of_a_function(token: Token) -> None:
    x = leaf(1.0)
    node = Triple.apply(x).grad_fn
    node.register_hook(lambda i, o: (i[0] * 2,) if token and node else None)


def on_a_node_that_keeps_its_context(token: Token) -> None:
    x = leaf(1.0)
    y = Triple.apply(x)
    ctx, Triple.seen = Triple.seen, None
    y.grad_fn.register_hook(lambda i, o: (i[0] * y.detach(),) if token and ctx else None)
    y.sum().backward()
    assert x.grad.tolist() == [9]


def on_accumulation(token: Token) -> None:
    x = leaf(1.0)
    seen = []
    x.register_post_accumulate_grad_hook(lambda p: seen.append((x, token)))
    (x * x).backward()
    assert seen[0][0] is x


def by_a_method(token: Token) -> None:
    class Model:
        def __init__(self) -> None:
            self.x = leaf(1.0, 2.0)
            self.token = token
            self.x.register_hook(self.hook)

        def hook(self, g: Any) -> Any:
            return g * self.x.detach()

    model = Model()
    (model.x * model.x).sum().backward()
    assert model.x.grad.tolist() == [2, 8]


def with_a_handle(token: Token) -> None:
    x = leaf(1.0)
    handles = []
    handles.append(x.register_hook(lambda g: g * len(handles) if token else x))
    (x * x).backward()
    assert x.grad.tolist() == [2]


def without_a_pass(token: Token) -> None:
    x = leaf(1.0)
    y = x * 2
    y.register_hook(lambda g: x * y if token else None)


def on_a_leaf_that_began_to_require_grad(token: Token) -> None:
    x = tg.tensor([1.0, 2.0]).requires_grad_()
    x.register_hook(lambda g: g * x.detach() if token else None)
    (x * x).sum().backward()
    assert x.grad.tolist() == [2, 8]


def on_a_view_that_began_to_require_grad(token: Token) -> None:
    x = tg.ones(4)[:2].requires_grad_()
    x.register_post_accumulate_grad_hook(lambda t: x if token else None)
    (x * x).sum().backward()


CASES = [
    on_a_leaf, on_a_leaf_that_began_to_require_grad, on_a_view_that_began_to_require_grad, on_a_result,
    on_a_view, on_a_node, on_the_node_of_a_function,
    on_a_node_that_keeps_its_context, on_accumulation, by_a_method, with_a_handle, without_a_pass,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_hooks_that_refer_to_their_own_tensor_go(case: Any) -> None:
    tokens = []
    drop_unreachable(current_tape())
    often = current_tape().hooks_at  # by hooks that are alive, of other tests too
    for _ in range(often + 300):
        token = Token()
        tokens.append(weakref.ref(token))
        case(token)
    del token
    for _ in range(3):
        current_tape().collect()
        gc.collect()
    assert sum(t() is not None for t in tokens) <= often + 32
    assert len(current_tape()) < 1500


def test_hooks_of_what_is_still_there_stay() -> None:
    """A graph keeps the hooks on it, whoever else refers to the tensors that they are on."""

    def graph(i: int) -> Any:
        x = leaf(1.0, 2.0)
        y = x * 2
        x.register_hook(lambda g: log.append((i, "x", (g * x.detach()).tolist())))
        y.register_hook(lambda g: log.append((i, "y", (g * y.detach()).tolist())))
        return (y * y).sum()

    log: list[Any] = []
    ends = [graph(i) for i in range(100)]
    for _ in range(3):
        current_tape().collect()
        gc.collect()
    for end in ends:
        end.backward()
    assert log == [
        entry for i in range(100) for entry in ((i, "y", [8, 32]), (i, "x", [8, 32]))
    ]  # fmt: skip


def test_hooks_that_refer_to_each_other_s_tensors() -> None:
    log: list[int] = []
    kept = []
    for i in range(100):
        x, w = leaf(1.0), leaf(2.0)
        x.register_hook(lambda g, w=w, i=i: log.append(i) or g * w.detach())
        w.register_hook(lambda g, x=x: g * x.detach())
        if i % 10 == 0:
            kept.append(w)  # whose hook keeps `x`
    del x, w
    for _ in range(3):
        current_tape().collect()
        gc.collect()
    for w in kept:
        (w * w).backward()
        assert w.grad.tolist() == [4]
    assert log == []


def test_a_kept_handle_keeps_no_hook() -> None:
    handles = []
    tokens = []
    for _ in range(100):
        x, token = leaf(1.0), Token()
        tokens.append(weakref.ref(token))
        handles.append(x.register_hook(lambda g, x=x, token=token: None))
    del x, token
    for _ in range(3):
        current_tape().collect()
        gc.collect()
    assert sum(t() is not None for t in tokens) <= 64
    for handle in handles:
        handle.remove()
