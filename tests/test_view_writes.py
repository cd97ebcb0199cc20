"""Views that must not be written in grad mode, what is left of them when their base is, and edges."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

import tapegrad as tg

Function = Callable[..., Any]


def _leaf(lib: Any) -> Any:
    return lib.tensor([1.0, 2.0, 3.0], requires_grad=True)


def _without_grad(lib: Any, function: Function) -> Any:
    with lib.no_grad():
        return function()


def _function(lib: Any, count: int = 1) -> Any:
    class V(lib.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.view_as(x) if count == 1 else (x[:2], x[1:])

        @staticmethod
        def backward(ctx: Any, *g: Any) -> Any:
            return lib.cat([g[0], g[0]])[:3]

    return V.apply


NO_GRAD = "A view was created in no_grad mode and is being modified inplace with grad mode enabled."
INDIRECT = (
    "A view was created in no_grad mode and its base or another view of its base has been modified "
    "inplace with grad mode enabled."
)
OWN = " is a view and is being modified inplace."
BASE = " is a view and its base or another view of its base has been modified inplace."
OF_LEAF = "a view of a leaf Variable that requires grad is being used in an in-place operation."
DETACH = "Can't detach views in-place. Use detach() instead."


# --------------------------------------------------------------------------- programs
def programs() -> dict[str, tuple[Function, str]]:
    """Programs, and how the error starts that each raises; empty for none."""

    def no_grad_view_of_leaf(lib: Any) -> Any:
        x = _leaf(lib)
        _without_grad(lib, lambda: x[:2]).mul_(2)

    def no_grad_view_of_result(lib: Any) -> Any:
        y = _leaf(lib) * 2
        _without_grad(lib, lambda: y[:2]).mul_(2)

    def no_grad_view_gets_active(lib: Any) -> Any:
        b = lib.zeros(3)
        _without_grad(lib, lambda: b[:2]).copy_(_leaf(lib)[:2])

    def view_of_no_grad_view(lib: Any) -> Any:
        b = lib.zeros(3)
        _without_grad(lib, lambda: b[:2])[0].copy_(_leaf(lib)[0])

    def item_of_no_grad_view(lib: Any) -> Any:
        b = lib.zeros(3)
        _without_grad(lib, lambda: b[:2])[0] = _leaf(lib)[0]

    def passive_no_grad_view(lib: Any) -> Any:
        b = lib.zeros(3)
        _without_grad(lib, lambda: b[:2]).add_(2)
        return b.tolist()

    def no_grad_view_node(lib: Any) -> Any:
        y = _leaf(lib) * 2
        v = _without_grad(lib, lambda: y[:2])
        y.mul_(2)
        return v.grad_fn

    def no_grad_view_of_passive_node(lib: Any) -> Any:
        b = lib.zeros(3)
        v = _without_grad(lib, lambda: b[:2])
        b.copy_(_leaf(lib))
        return v.grad_fn

    def no_grad_view_text(lib: Any) -> Any:
        y = _leaf(lib) * 2
        v = _without_grad(lib, lambda: y[:2])
        y.mul_(2)
        return repr(v)

    def split_written(lib: Any) -> Any:
        (_leaf(lib) * 2).split([1, 2])[1].mul_(2)

    def split_node(lib: Any) -> Any:
        y = _leaf(lib) * 2
        parts = y.split([1, 2])
        y.mul_(2)
        return parts[1].grad_fn

    def split_text(lib: Any) -> Any:
        y = _leaf(lib) * 2
        parts = y.split([1, 2])
        y.mul_(2)
        return repr(parts[1])

    def split_written_without_grad(lib: Any) -> Any:
        y = _leaf(lib) * 2
        parts = y.split([1, 2])
        with lib.no_grad():
            parts[0].mul_(2)
        return y.tolist(), repr(parts[0])

    def chunk_written(lib: Any) -> Any:
        (_leaf(lib) * 2).chunk(2)[0].mul_(2)

    def unbound_written(lib: Any) -> Any:
        (_leaf(lib) * 2).unbind()[2].mul_(2)

    def passive_unbound_gets_active(lib: Any) -> Any:
        lib.zeros(3).unbind()[0].mul_(_leaf(lib)[0])

    def passive_unbound(lib: Any) -> Any:
        y = lib.zeros(3)
        y.unbind()[0].add_(2)
        return y.tolist()

    def view_of_unbound(lib: Any) -> Any:
        lib.stack([_leaf(lib), _leaf(lib)]).unbind()[0][1:].mul_(2)

    def tensor_split_written(lib: Any) -> Any:
        y = _leaf(lib) * 2
        y.tensor_split(2)[0].mul_(2)
        return y.tolist()

    def unsafe_split_written(lib: Any) -> Any:
        y = _leaf(lib) * 2
        y.unsafe_split(2)[0].mul_(2)
        return y.tolist()

    def unsafe_chunk_written(lib: Any) -> Any:
        y = _leaf(lib) * 2
        y.unsafe_chunk(3)[1].mul_(2)
        return y.tolist()

    def view_before_requires_grad(lib: Any) -> Any:
        b = lib.zeros(3)
        v = b[:2]
        b.requires_grad_()
        v.mul_(2)

    def view_of_computed_before_requires_grad(lib: Any) -> Any:
        b = lib.zeros(3) + 1
        v = b[:2]
        b.requires_grad_()
        v.mul_(2)

    def view_before_requires_grad_gets_active(lib: Any) -> Any:
        b = lib.zeros(3)
        v = b[:2]
        b.requires_grad_()
        v.mul_(_leaf(lib)[:2])

    def view_that_requires_grad(lib: Any) -> Any:
        lib.zeros(3)[:2].requires_grad_().mul_(2)

    def detached_beside_a_leaf(lib: Any) -> Any:
        b = lib.zeros(3)
        v = b[:2]
        b.detach().requires_grad_()
        v.add_(2)
        return b.tolist()

    def no_longer_a_leaf_that_requires_grad(lib: Any) -> Any:
        b = lib.zeros(3)
        v = b[:2]
        b.requires_grad_().requires_grad_(False)
        v.add_(2)
        return b.tolist()

    def function_view(lib: Any) -> Any:
        _function(lib)(_leaf(lib) * 2).mul_(2)

    def function_view_of_leaf(lib: Any) -> Any:
        _function(lib)(_leaf(lib)).mul_(2)

    def function_views(lib: Any) -> Any:
        _function(lib, 2)(_leaf(lib) * 2)[1].mul_(2)

    def view_of_function_view(lib: Any) -> Any:
        _function(lib)(_leaf(lib) * 2)[:1].mul_(2)

    def detached_view(lib: Any) -> Any:
        (_leaf(lib) * 2)[:2].detach_()

    def detached_passive_view(lib: Any) -> Any:
        lib.zeros(3)[:2].detach_()

    def detached_no_grad_view(lib: Any) -> Any:
        y = _leaf(lib) * 2
        _without_grad(lib, lambda: y[:2]).detach_()

    def detached_written(lib: Any) -> Any:
        y = (_leaf(lib) * 2).mul_(2).detach_()
        return y.requires_grad, y.tolist()

    def detached_with_active_items(lib: Any) -> Any:
        y = lib.zeros(3)
        y[0] = _leaf(lib)[0]
        y.detach_()
        return y.requires_grad, y.tolist()

    def detached_written_view(lib: Any) -> Any:
        y = lib.zeros(3)
        v = y[:2]
        y[0] = _leaf(lib)[0]
        v.detach_()

    def detached_reshaped(lib: Any) -> Any:
        y = (_leaf(lib) * 2).unsqueeze_(0).detach_()
        return y.requires_grad, y.tolist()

    def is_view(lib: Any) -> Any:
        x = _leaf(lib)
        y = x * 2
        z = (x * 2).unsqueeze_(0).mul_(2)
        v = y[:2].mul_(2)
        b = lib.zeros(3)
        b[0] = x[0]
        made = _without_grad(lib, lambda: y[1:])
        every = [x, y, z, v, b, made, v[0], y.detach(), y.data, y.unbind()[0], _function(lib)(y)]
        return [t._is_view() for t in every], [t._base is None for t in every]

    def bases(lib: Any) -> Any:
        y = _leaf(lib) * 2
        v = y[1:][0]
        y.mul_(3)
        return v._base.tolist(), v._base.requires_grad, y.detach()[:1]._base.tolist()

    def numbers(lib: Any) -> Any:
        y = _leaf(lib) * 2
        a, b, c = y.unbind()
        d, e = y.split([1, 2])
        return [t.output_nr for t in (y, a, b, c, d, e)]

    found = {n: f for n, f in locals().items() if callable(f)}
    starts = {
        "no_grad_view_of_leaf": NO_GRAD, "no_grad_view_of_result": NO_GRAD,
        "no_grad_view_gets_active": NO_GRAD, "view_of_no_grad_view": NO_GRAD,
        "item_of_no_grad_view": NO_GRAD, "no_grad_view_node": INDIRECT,
        "no_grad_view_of_passive_node": INDIRECT,
        "split_written": "Output 1 of SplitWithSizes" + OWN,
        "split_node": "Output 1 of SplitWithSizes" + BASE,
        "chunk_written": "Output 0 of Split" + OWN, "unbound_written": "Output 2 of Unbind" + OWN,
        "passive_unbound_gets_active": NO_GRAD + " This view is the output of a function that",
        "view_of_unbound": "Output 0 of Slice" + OWN,
        "view_before_requires_grad": OF_LEAF, "view_of_computed_before_requires_grad": OF_LEAF,
        "view_before_requires_grad_gets_active": OF_LEAF, "view_that_requires_grad": OF_LEAF,
        "function_view": "Output 0 of V" + OWN, "function_view_of_leaf": "Output 0 of V" + OWN,
        "function_views": "Output 1 of V" + OWN, "view_of_function_view": "Output 0 of Slice" + OWN,
        "detached_view": DETACH, "detached_passive_view": DETACH, "detached_no_grad_view": DETACH,
        "detached_written_view": DETACH,
    }  # fmt: skip
    return {name: (function, starts.get(name, "")) for name, function in found.items()}


PROGRAMS = programs()


def _outcome(lib: Any, name: str) -> Any:
    try:
        return "", PROGRAMS[name][0](lib)
    except RuntimeError as error:
        return str(error), None


@pytest.mark.parametrize("name", PROGRAMS)
def test_errors_start_as_they_must(name: str) -> None:
    start = PROGRAMS[name][1]
    text, _ = _outcome(tg, name)
    assert text.startswith(start) if start else not text


@pytest.mark.parametrize("name", PROGRAMS)
def test_views_beside_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    torch.set_default_dtype(torch.float64)
    try:
        assert _outcome(tg, name) == _outcome(torch, name)
    finally:
        torch.set_default_dtype(torch.float32)


def test_values() -> None:
    assert _outcome(tg, "passive_no_grad_view") == ("", [2, 2, 0])
    assert _outcome(tg, "unsafe_split_written") == ("", [4, 8, 6])
    assert _outcome(tg, "unsafe_chunk_written") == ("", [2, 8, 6])
    assert _outcome(tg, "no_grad_view_text") == ("", "tensor([4., 8.], grad_fn=<Invalid>)")
    assert _outcome(tg, "bases") == ("", ([6, 12, 18], True, [6, 12, 18]))
    assert _outcome(tg, "numbers") == ("", [0, 0, 1, 2, 0, 1])


def test_a_long_chain_of_writes_is_no_view() -> None:
    """What a tensor is a view of is known from the tape, also after a collection."""
    y = tg.zeros(3)
    a = _leaf(tg)
    v = y[:2]
    for i in range(3000):
        y[i % 3] = a[i % 3]
        if i % 1000 == 500:
            tg.current_tape().collect()
    assert not y._is_view()
    assert v._is_view()
    y.detach_()
    assert y.tolist() == [1, 2, 3]


# --------------------------------------------------------------------------- edges
def _edge(lib: Any, t: Any) -> Any:
    return lib.autograd.graph.get_gradient_edge(t)


def edges() -> dict[str, tuple[Function, Any]]:
    def overwritten(lib: Any) -> Any:
        a = _leaf(lib)
        x = a * 1
        e = _edge(lib, x)
        x *= 2
        return lib.autograd.grad(x.sum(), (e, x, a))

    def written_twice(lib: Any) -> Any:
        x = _leaf(lib) * 1
        first = _edge(lib, x)
        x.mul_(2)
        second = _edge(lib, x)
        x.mul_(5)
        return lib.autograd.grad(x.sum(), (first, second, x))

    def written_through_a_view(lib: Any) -> Any:
        x = _leaf(lib) * 1
        e = _edge(lib, x)
        x[:1].mul_(2)
        late = _edge(lib, x)
        x[1:].mul_(3)
        return lib.autograd.grad(x.sum(), (e, late, x))

    def items(lib: Any) -> Any:
        x = _leaf(lib) * 1
        e = _edge(lib, x)
        x[0] = x[1] * 4
        return lib.autograd.grad(x.sum(), (e, x))

    def with_graph(lib: Any) -> Any:
        a = _leaf(lib)
        x = a * a
        e = _edge(lib, x)
        x.mul_(a)
        (g,) = lib.autograd.grad((x * x).sum(), [e], create_graph=True)
        return (g, *lib.autograd.grad(g.sum(), [a]))

    def not_written(lib: Any) -> Any:
        x = _leaf(lib) * 1
        e = _edge(lib, x)
        return lib.autograd.grad((x * x).sum(), [e])

    def before_and_after_use(lib: Any) -> Any:
        x = _leaf(lib) * 1
        early = (x * 3).sum()
        e = _edge(lib, x)
        x.mul_(2)
        return lib.autograd.grad(early + x.sum(), (e, x))

    values: dict[str, Any] = {
        "overwritten": [[2, 2, 2], [1, 1, 1], [2, 2, 2]],
        "written_twice": [[10, 10, 10], [5, 5, 5], [1, 1, 1]],
        "written_through_a_view": [[2, 3, 3], [1, 3, 3], [1, 1, 1]],
        "items": [[0, 5, 1], [1, 1, 1]],
        "with_graph": [[2, 32, 162], [8, 64, 216]],
        "not_written": [[2, 4, 6]],
        "before_and_after_use": [[5, 5, 5], [1, 1, 1]],
    }
    return {n: (f, values[n]) for n, f in locals().items() if callable(f)}


EDGES = edges()


@pytest.mark.parametrize("name", EDGES)
def test_an_edge_leads_to_the_value_of_its_moment(name: str) -> None:
    function, wanted = EDGES[name]
    assert [g.tolist() for g in function(tg)] == wanted


@pytest.mark.parametrize("name", EDGES)
def test_edges_beside_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    function, wanted = EDGES[name]
    assert [g.tolist() for g in function(torch)] == wanted


def test_an_overwritten_edge_is_no_root() -> None:
    a = _leaf(tg)
    x = a * 1
    e = _edge(tg, x)
    assert tg.autograd.grad([e], [a], [tg.ones(3)], retain_graph=True)[0].tolist() == [1, 1, 1]
    x.mul_(2)
    with pytest.raises(tg.UnsupportedError, match="written in place after the edge was taken"):
        tg.autograd.grad([e], [a], [tg.ones(3)])
    assert tg.autograd.grad([_edge(tg, x)], [a], [tg.ones(3)])[0].tolist() == [2, 2, 2]


# --------------------------------------------------------------------------- a passive base
def _written_by_a_view(lib: Any, own: bool) -> tuple[Any, Any]:
    g = lib.tensor([1.0, 1.0], requires_grad=True)
    base = lib.tensor([0.0, 0.0, 0.0])
    base = base * 1 if own else base
    base[1:].add_(g * 2)
    return g, base


@pytest.mark.parametrize("own", [False, True])
def test_a_passive_leaf_that_a_view_made_active_is_none_any_more(own: bool) -> None:
    g, base = _written_by_a_view(tg, own)
    assert base.requires_grad
    assert not base.is_leaf
    assert base.grad_fn is base.grad_fn
    assert base.grad_fn.name() == "CopySlices"
    assert (base * 2).grad_fn.next_functions[0][0].name() == "CopySlices"
    assert str(base) == "tensor([0., 2., 2.], grad_fn=<CopySlices>)"
    for refused in (
        lambda: base.requires_grad_(False),
        lambda: base.register_post_accumulate_grad_hook(lambda t: None),
        lambda: copy.deepcopy(base),
    ):
        with pytest.raises(RuntimeError):
            refused()
    seen: list[Any] = []
    base.register_hook(lambda ct: seen.append(ct.tolist()) or ct * 10)
    base.retain_grad()
    (base * 3).sum().backward()
    assert seen == [[3.0, 3.0, 3.0]]
    assert base.grad.tolist() == [30.0, 30.0, 30.0]
    assert g.grad.tolist() == [60.0, 60.0]
    g, base = _written_by_a_view(tg, own)
    (base * 3).sum().backward(inputs=[base])
    assert base.grad.tolist() == [3.0, 3.0, 3.0]
    assert g.grad is None
    base.detach_()
    assert not base.requires_grad
    assert base.is_leaf


def test_a_leaf_that_was_written_without_gradients_stays_one() -> None:
    passive, active = tg.zeros(3), tg.zeros(3, requires_grad=True)
    with tg.no_grad():
        for leaf in (passive, active):
            leaf[1:].add_(1.0)
            assert leaf.is_leaf
    passive[:1].add_(2.0)
    assert passive.is_leaf
    assert not passive.requires_grad
    (active * 3).sum().backward()
    assert active.grad is not None
    assert active.grad.tolist() == [3.0, 3.0, 3.0]
