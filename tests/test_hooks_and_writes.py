"""What a pass gives, and which hooks it calls, for tensors and views that were written in place.

A tensor is, for a pass, what it became with its last write: what was computed before is another value.
"""

from __future__ import annotations

from typing import Any

import pytest
from beside_torch import same

import tapegrad as tg


def leaf(*values: float, lib: Any = tg) -> Any:
    return lib.tensor(values, dtype=lib.float64, requires_grad=True)


def values(tensor: Any) -> list[float] | None:
    return None if tensor is None else [round(v, 9) for v in tensor.reshape(-1).tolist()]


@pytest.mark.parametrize("write", ["mul", "item", "no_grad"])
def test_two_views_and_a_write_through_one(write: str) -> None:
    base = leaf(1.0).clone()
    view, other = base[:], base[:]
    view.retain_grad()
    other.retain_grad()
    if write == "mul":
        view.mul_(2)
    elif write == "item":
        view[:1] = view[:1] * 2
    else:
        with tg.no_grad():
            view.mul_(2)
    (view + other).sum().backward()
    assert values(view.grad) == values(other.grad) == [1.0]


def test_a_base_and_a_view_of_all_of_it_keep_their_own_gradients() -> None:
    def program(lib: Any) -> Any:
        x = leaf(1.0, 2.0, lib=lib)
        base = x * 1.5
        view = base.view(1, 2)[0]
        view[:1] = x[0] * 2  # leaves the view a view
        view.retain_grad()
        base.retain_grad()
        ((view * 2).sum() + (base * view.sum()).sum()).backward()
        return values(view.grad), values(base.grad), values(x.grad)

    # view: 2 + sum(base); base: that, and sum(view)
    assert program(tg) == ([7.0, 7.0], [12.0, 12.0], [24.0, 18.0])
    same(program)


def test_a_base_written_in_part_has_what_its_views_add() -> None:
    x = leaf(1.0, 2.0)
    base = x * 1.5
    base.retain_grad()
    view = base[1:]
    view.retain_grad()
    base[:1] = x[0] * 2
    ((view * 3).sum() + base.sum()).backward()
    assert (values(view.grad), values(base.grad), values(x.grad)) == ([3.0], [1.0, 4.0], [2.0, 6.0])
    for inputs in ((base, view), (view, base)):
        y = (view * 3).sum() + base.sum()
        grads = dict(zip(map(id, inputs), tg.autograd.grad(y, inputs), strict=True))
        assert values(grads[id(base)]) == [1.0, 4.0]
        assert values(grads[id(view)]) == [3.0]


def test_a_view_that_is_not_used_after_a_write_keeps_what_it_had() -> None:
    x = leaf(1.0, 2.0)
    base = x * 1.0
    view = base[:]
    view.retain_grad()
    loss = (view * tg.tensor([3.0, 4.0])).sum()
    base.mul_(5)
    (loss + base.sum()).backward(retain_graph=True)
    assert values(view.grad) == [3.0, 4.0]
    view.grad = None
    (loss + (view * 7).sum()).backward()
    assert values(view.grad) == [7.0, 7.0]


def test_hooks_of_an_operand_that_shares_memory_with_the_target() -> None:
    x = leaf(1.0, 2.0)
    base = x * 1.0
    first, second = base[:1], base[1:]
    first.register_hook(lambda g: g * 10)
    second.add_(first)  # reads it before anything is written
    second.sum().backward()
    assert values(x.grad) == [10.0, 1.0]


@pytest.mark.parametrize("recorded", [False, True], ids=["swept", "recorded"])
@pytest.mark.parametrize("write", ["mul_", "fill_"])
def test_an_input_of_grad_that_was_written_is_the_end_of_the_pass(
    write: str, recorded: bool
) -> None:
    log: list[str] = []
    x = leaf(1.0, 2.0)
    y = x * 1.5
    y.register_hook(lambda g: log.append("before"))
    getattr(y, write)(3.0)
    (g,) = tg.autograd.grad((y * y).sum(), y, create_graph=recorded)
    assert values(g) == ([9.0, 18.0] if write == "mul_" else [6.0, 6.0])
    assert log == []
    y.register_hook(lambda g: g * 3)  # no node is run behind it: the gradient is the hook's
    (g,) = tg.autograd.grad(y.sum(), y, create_graph=recorded)
    assert values(g) == [3.0, 3.0]
    # What goes on below does so with what the node before the hooks got.
    g, gx = tg.autograd.grad(y.sum(), (y, x), create_graph=recorded, allow_unused=True)
    assert values(g) == [1.0, 1.0]
    assert values(gx) == ([13.5, 13.5] if write == "mul_" else [0.0, 0.0])
    assert log == ["before"]


def test_hooks_of_a_written_input_beside_torch() -> None:
    def program(lib: Any) -> Any:
        log: list[Any] = []
        x = leaf(1.0, 2.0, lib=lib)
        y = x * 1.5
        y.mul_(2)
        y.register_hook(lambda g: log.append(values(g)))
        y.mul_(3)
        y.register_hook(lambda g: g * 5)
        z = y[:1]
        found = lib.autograd.grad((y * y).sum() + z.sum(), (y, z), retain_graph=True)
        rows = lib.autograd.grad(
            (y * y).sum() + z.sum(), y, lib.ones(2, dtype=lib.float64), is_grads_batched=True
        )
        return [values(g) for g in (*found, *rows)], log

    grads = [[95.0, 180.0], [1.0], [95.0, 180.0, 95.0, 180.0]]
    assert program(tg) == (grads, [])
    same(program)


def test_what_was_freed_before_an_input_was_written_is_not_asked_for() -> None:
    x = leaf(1.0, 2.0)
    y = x.exp()
    y.sum().backward()  # frees what is below
    y.mul_(3)
    (g,) = tg.autograd.grad((y * 2).sum(), y)
    assert values(g) == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="second time"):
        tg.autograd.grad((y * 2).sum(), (y, x))


def test_many_cotangents_end_at_a_written_input() -> None:
    x = leaf(1.0, 2.0)
    y = x * 1.5
    y.mul_(3)
    z = y * y
    rows = tg.autograd.grad(z, y, tg.eye(2), is_grads_batched=True)[0]
    assert rows.tolist() == [[9.0, 0.0], [0.0, 18.0]]


def test_a_write_that_raises_leaves_the_hooks_of_a_view() -> None:
    x = leaf(1.0, 2.0)
    view = (x * 1.0)[:1]
    view.register_hook(lambda g: g * 10)
    view.retain_grad()
    with pytest.raises(RuntimeError):
        view.mul_(tg.ones(5))
    view.sum().backward()
    assert values(view.grad) == [10.0]
    assert values(x.grad) == [10.0, 0.0]


def test_an_input_that_is_not_reached_leaves_the_others_as_they_are() -> None:
    x = tg.tensor([0.1, 0.2, 0.3], requires_grad=True)
    base = x * 1.5
    unused = base[:]
    base.mul_(2)
    view = base[::2]
    view.register_hook(lambda g: g * 2)
    y = (view * 2).sum() + base.sum()
    found = tg.autograd.grad(y, [view, unused], allow_unused=True)
    assert found[0].tolist() == [4.0, 4.0]
    assert found[1] is None


def test_a_pass_that_ends_at_a_view_keeps_no_gradient_of_its_base() -> None:
    x = tg.ones(2, requires_grad=True)
    base = x * 1
    view = base.narrow(0, 0, 1)
    view *= 0.75
    base.retain_grad()
    tg.autograd.grad(view.sum(), [view], retain_graph=True)
    assert base.grad is None


WRITES_BEHIND = {
    "the base": lambda base, view, other: base.mul_(0.9),
    "the view": lambda base, view, other: view.mul_(0.9),
    "another view": lambda base, view, other: other.mul_(0.9),
    "a detached view": lambda base, view, other: other.detach().mul_(0.9),
    "nothing": lambda base, view, other: None,
}


@pytest.mark.parametrize("leaf", [True, False])
@pytest.mark.parametrize("what", WRITES_BEHIND)
def test_the_node_of_a_view_behind_a_write_without_gradients(what: str, leaf: bool) -> None:
    """It is another node from then on; a hook on it was ignored."""
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    base = x if leaf else x * 2
    view, other = base.diagonal(), base.unsqueeze(1)
    before = view.grad_fn
    with tg.no_grad():
        WRITES_BEHIND[what](base, view, other)
    for node in (view.grad_fn, before):
        halves = lambda grads: tuple(g * 0.5 for g in grads)  # noqa: E731
        if what == "nothing":
            node.register_prehook(halves)
            assert node.name() == "DiagonalBackward0"
        else:
            assert view.grad_fn.name() == "AsStridedBackward0"
            with pytest.raises(tg.UnsupportedError, match="use the tensor's register_hook"):
                node.register_prehook(halves)
            with pytest.raises(tg.UnsupportedError, match="use the tensor's register_hook"):
                node.register_hook(halves)
    (view * 1).sum().backward()
    factor = (1 if leaf else 2) * (0.25 if what == "nothing" else 1)
    assert x.grad.tolist() == [[factor, 0.0], [0.0, factor]]


@pytest.mark.parametrize("second", ["mul", "add", "sin", "no_grad", "base", "part", "item"])
@pytest.mark.parametrize("first", ["mul", "add", "sin", "no_grad", "base", "part", "item"])
def test_the_node_of_a_view_that_was_written_twice(first: str, second: str) -> None:
    """It had the name of what was computed, and a hook on it saw the wrong gradient."""

    def write(how: str) -> None:
        if how in ("no_grad", "base"):
            with tg.set_grad_enabled(how == "base"):
                (view if how == "no_grad" else base).mul_(2)
        else:
            {
                "mul": lambda: view.mul_(2), "add": lambda: view.add_(1), "sin": view.sin_,
                "part": lambda: view[:1].mul_(2), "item": lambda: view.__setitem__(0, 0.5),
            }[how]()  # fmt: skip

    base = leaf(0.5, 0.7).prod(0).clone()
    view = base.unsqueeze(0)
    write(first)
    write(second)
    assert view.grad_fn.name() == "AsStridedBackward0"
    with pytest.raises(tg.UnsupportedError, match="use the tensor's register_hook"):
        view.grad_fn.register_prehook(lambda grads: None)


@pytest.mark.parametrize("write", [
    lambda y: y.add_(1.0), lambda y: y.sin_(), lambda y: y.__setitem__(0, 5.0), lambda y: y[:1].mul_(2.0),
])  # fmt: skip
@pytest.mark.parametrize("late", [False, True])
def test_a_node_that_was_asked_for_before_a_write(write: Any, late: bool) -> None:
    """A hook on it was ignored."""
    x = leaf(1.0, 2.0)
    y = x * 2
    node = y.grad_fn
    write(y)
    if late and write is not None:
        node = y.grad_fn.next_functions[0][0]
    if node.name() != "MulBackward0":
        return
    with pytest.raises(tg.UnsupportedError, match="register_hook"):
        node.register_hook(lambda gi, go: (gi[0] * 100,))
    with pytest.raises(tg.UnsupportedError, match="register_hook"):
        node.register_prehook(lambda go: (go[0] * 100,))


@pytest.mark.parametrize("collect", [False, True])
@pytest.mark.parametrize("how", ["no_grad", "increment_version"])
def test_a_node_behind_a_write_that_is_collected(how: str, collect: bool) -> None:
    y = leaf(1.0, 2.0, 3.0) * 2
    view = y[:2]
    node = view.grad_fn
    if how == "no_grad":
        with tg.no_grad():
            y.mul_(2)
    else:
        tg.autograd.graph.increment_version(y)
    view.detach().sum().item()
    if collect:
        tg.current_tape().collect()
    with pytest.raises(tg.UnsupportedError, match="register_hook"):
        node.register_hook(lambda gi, go: (gi[0] * 100,))
    assert view.grad_fn.name() == "AsStridedBackward0"


@pytest.mark.parametrize("write", [
    lambda x: x.__setitem__(0, 3.0), lambda x: x[:1].fill_(3.0), lambda x: x.mul_(4.0),
])  # fmt: skip
def test_the_edge_of_a_view_that_was_written_since_is_no_input(write: Any) -> None:
    a = leaf(1.0, 2.0)
    x = (a * 1)[:]
    edge = tg.autograd.graph.get_gradient_edge(x)
    write(x)
    loss = (x * x).sum()
    with pytest.raises(tg.UnsupportedError, match="gradient edge of a view"):
        tg.autograd.grad(loss, (edge, a), allow_unused=True, retain_graph=True)
    tg.autograd.grad(loss, (tg.autograd.graph.get_gradient_edge(x), a))
