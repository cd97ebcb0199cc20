"""Gradients and hooks of views, and of their bases, of which one was written in place."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fast_paths import fast_paths
from work import calls

import tapegrad as tg
from tapegrad.tape.current import current_tape

Tensors = tuple[Any, Any, Any]
UNUSED = "appears to not have been used in the graph"


@pytest.fixture(autouse=True, params=["tapegrad", "torch"])
def lib(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The same programs, with the same numbers, in both libraries."""
    if request.param == "tapegrad":
        yield tg
        return
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def _mask(view: Any) -> None:
    view[view > 0] = 0.5


WRITES: dict[str, Callable[[Any, Any], Any]] = {
    "the view": lambda base, view: view.mul_(2),
    "the base": lambda base, view: base.mul_(2),
    "a part of the view": lambda base, view: view[1:].mul_(2),
    "with a mask": lambda base, view: _mask(view),
    "another view": lambda base, view: base[:2].mul_(2),
    "twice": lambda base, view: (view.mul_(2), base.mul_(3)),
}
#: the derivatives of the base's values by the leaf's, after the write
FACTORS = {
    "the view": [2.0, 2.0, 2.0],
    "the base": [2.0, 2.0, 2.0],
    "a part of the view": [1.0, 2.0, 2.0],
    "with a mask": [0.0, 0.0, 0.0],
    "another view": [2.0, 2.0, 1.0],
    "twice": [6.0, 6.0, 6.0],
}
each_write = pytest.mark.parametrize("write", WRITES)
each_order = pytest.mark.parametrize("create_graph", [False, True])


def written(lib: Any, write: str, shape: tuple[int, ...] = (3, 1)) -> Tensors:
    """A leaf, a base computed from it, and a view of the base, one of which is written."""
    leaf = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
    base = leaf.clone()
    view = base.view(*shape)
    WRITES[write](base, view)
    return leaf, base, view


def numbers(gradients: Any) -> list[Any]:
    return [None if g is None else g.tolist() for g in gradients]


# --------------------------------------------------------------------------- views as inputs
@each_order
@each_write
def test_the_base_does_not_depend_on_its_view(lib: Any, write: str, create_graph: bool) -> None:
    _, base, view = written(lib, write)
    options = {"create_graph": create_graph, "retain_graph": True}
    found = lib.autograd.grad(base.sum(), [view], allow_unused=True, **options)
    assert numbers(found) == [None]
    with pytest.raises(RuntimeError, match=UNUSED):
        lib.autograd.grad(base.sum(), [view], **options)
    assert numbers(lib.autograd.grad(base[0], [base, view], allow_unused=True, **options)) == [
        [1.0, 0.0, 0.0],
        None,
    ]


@each_order
@each_write
def test_the_view_has_its_own_uses_gradient(lib: Any, write: str, create_graph: bool) -> None:
    leaf, base, view = written(lib, write)
    loss = (view * 3).sum() + (base * 5).sum()
    found = lib.autograd.grad(loss, [base, view, leaf], create_graph=create_graph)
    assert numbers(found) == [
        [8.0, 8.0, 8.0],
        [[3.0], [3.0], [3.0]],
        [8.0 * f for f in FACTORS[write]],
    ]


@each_order
@each_write
def test_a_view_of_the_same_shape(lib: Any, write: str, create_graph: bool) -> None:
    leaf, base, view = written(lib, write, (3,))
    loss = (view * 3).sum() + (base * 5).sum()
    found = lib.autograd.grad(loss, [view, base, leaf], create_graph=create_graph)
    assert numbers(found) == [[3.0] * 3, [8.0] * 3, [8.0 * f for f in FACTORS[write]]]


@each_order
@each_write
def test_a_view_of_the_view(lib: Any, write: str, create_graph: bool) -> None:
    _, base, view = written(lib, write)
    part, other = view[:2], base.view(3, 1)
    loss = (part * 3).sum() + (other * 7).sum() + base.sum()
    found = lib.autograd.grad(loss, [view, part, base], create_graph=create_graph)
    assert numbers(found) == [[[3.0], [3.0], [0.0]], [[3.0], [3.0]], [11.0, 11.0, 8.0]]


@each_order
@each_write
def test_the_view_as_the_root(lib: Any, write: str, create_graph: bool) -> None:
    leaf, base, view = written(lib, write)
    ones = lib.ones_like(view)
    found = lib.autograd.grad(view, [view, base, leaf], ones, create_graph=create_graph)
    assert numbers(found) == [[[1.0]] * 3, [1.0] * 3, FACTORS[write]]


@each_order
@each_write
def test_uses_before_another_write_are_not_of_the_view_as_it_is(
    lib: Any, write: str, create_graph: bool
) -> None:
    leaf, base, view = written(lib, write)
    early = (view * 3).sum()
    base.mul_(3)
    found = lib.autograd.grad(
        early, [view], allow_unused=True, create_graph=create_graph, retain_graph=True
    )
    assert numbers(found) == [None]
    loss = early + (view * 7).sum()
    found = lib.autograd.grad(loss, [view, leaf], create_graph=create_graph)
    assert numbers(found) == [[[7.0]] * 3, [24.0 * f for f in FACTORS[write]]]


@each_order
@each_write
def test_a_pass_that_does_not_come_by_gives_none(lib: Any, write: str, create_graph: bool) -> None:
    leaf, base, view = written(lib, write)
    found = lib.autograd.grad(
        (leaf * leaf).sum(), [view, base, leaf], allow_unused=True, create_graph=create_graph
    )
    assert numbers(found) == [None, None, [2.0, 4.0, 6.0]]


@each_order
@pytest.mark.parametrize("by", ["base", "view"])
def test_a_write_without_gradients_gives_the_view_a_new_node(
    lib: Any, by: str, create_graph: bool
) -> None:
    leaf = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
    base = leaf * 2
    view = base[1:]
    early = (view * 3).sum()
    with lib.no_grad():
        (base if by == "base" else view).mul_(3)
    options = {"create_graph": create_graph, "retain_graph": True}
    found = lib.autograd.grad(early, [view, base, leaf], allow_unused=True, **options)
    assert numbers(found) == [None, [0.0, 3.0, 3.0], [0.0, 6.0, 6.0]]
    with pytest.raises(RuntimeError, match=UNUSED):
        lib.autograd.grad(early, [view], **options)
    loss = early + (view * 5).sum() + base.sum()
    found = lib.autograd.grad(loss, [view, base, leaf], **options)
    assert numbers(found) == [[5.0, 5.0], [1.0, 9.0, 9.0], [2.0, 18.0, 18.0]]


@each_order
def test_hooks_on_the_way_to_what_was_written_later_are_not_called(
    lib: Any, create_graph: bool
) -> None:
    leaf = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
    base = leaf.clone()
    result = base * 2
    result.retain_grad()
    loss = result.sum()
    base[1:].mul_(3)
    found = lib.autograd.grad(
        loss, [base], allow_unused=True, create_graph=create_graph, retain_graph=True
    )
    assert numbers(found) == [None]
    assert result.grad is None
    loss.backward()
    assert result.grad.tolist() == [1.0, 1.0, 1.0]


@each_write
def test_many_cotangents(lib: Any, write: str) -> None:
    leaf, base, view = written(lib, write)
    out = view.reshape(-1) * 3 + base
    found = lib.autograd.grad(out, [view, base, leaf], lib.eye(3), is_grads_batched=True)
    eye = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert found[0].tolist() == [[[3.0 * x] for x in row] for row in eye]
    assert found[1].tolist() == [[4.0 * x for x in row] for row in eye]
    factors = FACTORS[write]
    assert found[2].tolist() == [
        [4.0 * x * f for x, f in zip(row, factors, strict=True)] for row in eye
    ]


def test_many_large_cotangents(lib: Any) -> None:
    """Sweeps with lanes: more rows than one sweep takes, adjoints that the pool keeps."""
    leaf = lib.arange(400.0, requires_grad=True)
    base = leaf * 1.0
    view = base.view(20, 20)
    view.mul_(2)
    out = view.reshape(-1) * 3 + base
    by_view, by_leaf = lib.autograd.grad(out, [view, leaf], lib.eye(400), is_grads_batched=True)
    assert by_view.reshape(400, 400).tolist() == (lib.eye(400) * 3).tolist()
    assert by_leaf.tolist() == (lib.eye(400) * 8).tolist()


def test_large_written_views(lib: Any) -> None:
    leaf = lib.ones(60000, requires_grad=True)
    for _ in range(5):
        base = leaf * 1.0
        view = base[::2]
        view.mul_(2)
        found = lib.autograd.grad((view * 3).sum() + base.sum(), [view, base, leaf])
        assert [float(g.sum()) for g in found] == [90000.0, 150000.0, 270000.0]


@each_write
def test_inputs_of_backward(lib: Any, write: str) -> None:
    _, base, view = written(lib, write)
    if lib is tg:
        view.retain_grad()  # before it is used
    loss = (base * 5).sum() + (view * 3).sum()
    loss.backward(inputs=[view])
    assert view.grad.tolist() == [[3.0]] * 3


@each_write
def test_second_derivatives(lib: Any, write: str) -> None:
    leaf, base, view = written(lib, write)
    loss = (view * view).sum() + (base * base * base).sum()
    first = lib.autograd.grad(loss, [view], create_graph=True)[0]
    values = [2 * x for x in base.tolist()]
    assert first.reshape(-1).tolist() == values
    assert lib.autograd.grad(first.sum(), [leaf])[0].tolist() == [2 * f for f in FACTORS[write]]


def test_an_expanded_view_matters_only_where_a_pass_comes_by() -> None:
    leaf = tg.tensor([1.0, 2.0], requires_grad=True)
    wide = (leaf * 2).expand(3, 2)
    found = tg.autograd.grad((leaf * leaf).sum(), [wide], allow_unused=True, retain_graph=True)
    assert found == (None,)
    with pytest.raises(tg.UnsupportedError, match="expanded view"):
        tg.autograd.grad(wide.sum(), [wide])


@pytest.mark.parametrize("by", ["base", "view"])
def test_a_hook_of_a_view_sees_uses_up_to_a_write_without_gradients(lib: Any, by: str) -> None:
    leaf = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
    base = leaf * 2
    view = base[1:]
    early: list[Any] = []
    late: list[Any] = []
    view.register_hook(lambda g: early.append(g.tolist()))
    loss = (view * 3).sum()
    with lib.no_grad():
        (base if by == "base" else view).mul_(3)
    assert view.grad_fn is not None
    view.register_hook(lambda g: late.append(g.tolist()))
    (loss + (view * 5).sum() + base.sum()).backward()
    assert (early, late) == ([[3.0, 3.0]], [[5.0, 5.0]])
    assert leaf.grad.tolist() == [2.0, 18.0, 18.0]


# --------------------------------------------------------------------------- hooks of the base
@pytest.mark.parametrize("used", ["neither", "base", "view"])
@each_write
def test_a_hook_of_the_base_sees_all_uses_since_the_write(lib: Any, write: str, used: str) -> None:
    leaf, base, view = written(lib, write)
    seen = []

    def hook(g: Any) -> Any:
        seen.append(g.tolist())
        return g * 1.5

    early = {"neither": lambda: 0.0, "base": lambda: (base * 2).sum(), "view": lambda: view.sum()}
    loss = early[used]()
    base.register_hook(hook)
    loss = loss + (view * 3).sum() + (base * 5).sum()
    loss.backward()
    total = {"neither": 8.0, "base": 10.0, "view": 9.0}[used]
    assert seen == [[total] * 3]
    assert leaf.grad.tolist() == [1.5 * total * f for f in FACTORS[write]]


@each_write
def test_a_kept_gradient_of_the_base(lib: Any, write: str) -> None:
    leaf, base, view = written(lib, write)
    loss = (view * 3).sum()
    base.retain_grad()
    assert base.retains_grad
    assert not view.retains_grad
    (loss + (base * 5).sum()).backward()
    assert base.grad.tolist() == [8.0] * 3
    assert leaf.grad.tolist() == [8.0 * f for f in FACTORS[write]]


def test_a_kept_gradient_goes_on_with_the_base(lib: Any) -> None:
    leaf, base, view = written(lib, "the view")
    loss = (view * 3).sum()
    base.retain_grad()
    base.mul_(2)
    (loss + (base * 5).sum()).backward()
    assert base.grad.tolist() == [5.0] * 3
    assert leaf.grad.tolist() == [26.0] * 3


def test_a_kept_gradient_goes_on_with_the_base_where_a_view_is_written(lib: Any) -> None:
    leaf = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
    base = leaf.clone()
    base.retain_grad()
    loss = (base * 8).sum()
    view = base[1:]
    view.mul_(3)
    assert base.retains_grad
    loss.backward()
    assert base.grad is None
    (base * base).sum().add((view * 5).sum()).backward()
    assert base.grad.tolist() == [2.0, 17.0, 23.0]
    assert leaf.grad.tolist() == [10.0, 59.0, 77.0]


def test_a_hooked_view_that_is_written_behind_the_root(lib: Any) -> None:
    leaf = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
    base = leaf.clone()
    view = base[::2]
    seen = []
    view.register_hook(lambda g: seen.append(g.tolist()))
    loss = (view * 3).sum()
    view.mul_(2)
    loss.backward()
    assert seen == [[3.0, 3.0]]
    assert leaf.grad.tolist() == [3.0, 0.0, 3.0]


def test_a_view_with_a_dimension_of_one_of_a_strided_view(lib: Any) -> None:
    leaf = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
    base = leaf.clone()
    view = base[::2]
    column = view.view(2, 1)
    loss = (column * column).sum() + (view * 3).sum()
    by_view, by_leaf = lib.autograd.grad(loss, [view, leaf], create_graph=True)
    assert by_view.tolist() == [5.0, 9.0]
    assert lib.autograd.grad(by_leaf.sum(), [leaf])[0].tolist() == [2.0, 0.0, 2.0]


def test_a_hook_of_the_base_in_a_recorded_pass(lib: Any) -> None:
    leaf, base, view = written(lib, "a part of the view")
    loss = (view * view).sum()
    base.register_hook(lambda g: g * g)
    first = lib.autograd.grad(loss, [leaf], create_graph=True)[0]
    assert first.tolist() == [4.0, 2 * 64.0, 2 * 144.0]  # (2 b)**2 times the factor
    second = lib.autograd.grad(first.sum(), [leaf])[0]
    assert second.tolist() == [64.0, 2 * 64.0**2, 2 * 96.0**2]  # the hook sees this pass, too


def test_a_hook_of_a_written_view_of_the_same_shape(lib: Any) -> None:
    leaf, base, view = written(lib, "the view", (3,))
    seen = []
    view.register_hook(lambda g: seen.append(g.tolist()))
    ((view * 3).sum() + (base * 5).sum()).backward()
    assert seen == [[3.0] * 3]
    assert leaf.grad.tolist() == [16.0] * 3


def test_a_hook_of_a_strided_view_that_was_written(lib: Any) -> None:
    leaf = lib.tensor([1.0, 2.0, 3.0], requires_grad=True)
    base = leaf.clone()
    view = base[::2]
    view.add_(1.0)
    seen = []

    def hook(g: Any) -> Any:
        seen.append(g.tolist())
        return g * 1.5

    view.register_hook(hook)
    (view * lib.tensor([10.0, 20.0])).sum().add(base.sum()).backward()
    assert seen == [[10.0, 20.0]]
    assert leaf.grad.tolist() == [16.0, 1.0, 31.0]


@fast_paths
# --------------------------------------------------------------------------- cost
def test_a_pass_does_not_pay_for_writes_it_does_not_come_by() -> None:
    gc.collect()
    a = tg.tensor([1.0, 2.0], requires_grad=True)
    long_lived = a * 1.0
    for _ in range(2000):
        long_lived.add_(1)
    tape = current_tape()
    assert tape.write_count >= 2000

    def run() -> None:
        a.grad = None
        (a * a).sum().backward()

    count = min(calls(run) for _ in range(20))
    long_lived.add_(1)
    assert min(calls(run) for _ in range(20)) == count < 100
    assert long_lived.tolist() == [2002.0, 2003.0]


@fast_paths
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_pass_above_all_writes_is_plain(create_graph: bool) -> None:
    """A step of a descent costs what a pass does where nothing was ever written."""

    def loss() -> Any:
        return (w * x).sum() ** 2

    def run() -> int:
        y = loss()
        if create_graph:
            return calls(lambda: tg.autograd.grad(y, w, create_graph=True))
        w.grad = None
        return calls(y.backward)

    x, w = tg.tensor([1.0, 2.0]), tg.tensor([0.5, 0.25], requires_grad=True)
    before = (w * w).sum()
    count = min(run() for _ in range(100))
    with tg.no_grad():
        w.mul_(0.5)
    assert min(run() for _ in range(100)) == count < 100
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (w.sum() + before).backward()  # it comes by what is older than the write
    with tg.no_grad():
        x.mul_(2.0)
    y = loss()
    with tg.no_grad():
        x.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
