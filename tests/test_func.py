"""`tapegrad.func` beside `torch.func`: results, nesting, errors; what becomes of the caller's tensors."""

from __future__ import annotations

import functools
import gc
import itertools
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import Case, same

import tapegrad as tg
from tapegrad import func
from tapegrad.base.errors import UnsupportedError


def vec(lib: Any, *values: float) -> Any:
    return lib.tensor(list(values or (0.3, 0.7)))


def smooth(lib: Any) -> Callable[..., Any]:
    return lambda x: (x.sin() * x.exp()).sum()


def field(lib: Any) -> Callable[..., Any]:
    return lambda x: lib.stack([x[0] * x[1], x[0].sin(), x[1] ** 3])


def named(cases: dict[str, Any]) -> Any:
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


# --------------------------------------------------------------------------- values
VALUES: dict[str, Case] = {
    "grad": lambda m: m.func.grad(smooth(m))(vec(m)),
    "grad and value": lambda m: m.func.grad_and_value(smooth(m))(vec(m)),
    "grad of grad": lambda m: m.func.grad(m.func.grad(lambda x: x.sin() * x))(m.tensor(0.4)),
    "fourth order": lambda m: functools.reduce(lambda f, _: m.func.grad(f), range(4), lambda x: x.tanh())(
        m.tensor(0.4)
    ),
    "argnums": lambda m: m.func.grad(lambda x, y: (x * y).sum(), argnums=1)(vec(m), vec(m, 2.0, 3.0)),
    "argnums from the end": lambda m: m.func.grad(lambda x, y: (x * y).sum(), argnums=-1)(
        vec(m), vec(m, 2.0, 3.0)
    ),
    "argnums tuple": lambda m: m.func.grad(lambda x, y: (x * y).sum(), argnums=(1, 0))(
        vec(m), vec(m, 2.0, 3.0)
    ),
    "other arguments": lambda m: m.func.grad(lambda x, n, s="a": (x**n).sum())(vec(m), 3, s="b"),
    "keyword tensor": lambda m: m.func.grad(lambda x, *, w: (x * w).sum())(vec(m), w=vec(m, 2.0, 5.0)),
    "aux": lambda m: m.func.grad(lambda x: (x.sum(), {"y": x * 2, "z": [x.exp()]}), has_aux=True)(vec(m)),
    "aux and value": lambda m: m.func.grad_and_value(lambda x: (x.sum(), x * 2), has_aux=True)(vec(m)),
    "nested arguments": lambda m: m.func.grad(lambda p: (p["a"] * p["b"][0]).sum() + p["b"][1] ** 2)(
        {"a": vec(m), "b": [vec(m, 2.0, 3.0), m.tensor(4.0)]}
    ),
    "independent": lambda m: m.func.grad(lambda x: m.tensor(1.0))(vec(m)),
    "independent integer": lambda m: m.func.grad(lambda x: m.tensor(1))(vec(m)),
    "independent argument": lambda m: m.func.grad(lambda x, y: x.sum(), (0, 1))(vec(m), vec(m)),
    "identity": lambda m: m.func.grad(lambda x: x)(m.tensor(2.0)),
    "view": lambda m: m.func.grad(lambda x: x[1])(vec(m)),
    "control flow": lambda m: m.func.grad(lambda x: x.sum() if x[0] > 1 else (x * x).sum())(vec(m)),
    "detached": lambda m: m.func.grad(lambda x: (x * x.detach()).sum())(vec(m)),
    "inner no_grad": lambda m: m.func.grad(lambda x: (x * quietly(m, lambda: x * 2)).sum())(vec(m)),
    "float32": lambda m: m.func.grad(lambda x: (x * x).sum())(m.tensor([1.5, 2.5], dtype=m.float32)),
    "same tensor twice": lambda m: (lambda x: m.func.grad(lambda a, b: (a * b * b).sum(), (0, 1))(x, x))(
        vec(m)
    ),
    "vjp": lambda m: [f(vec(m, 1.0, 2.0, 3.0)) for f in m.func.vjp(field(m), vec(m))[1:]],
    "vjp output": lambda m: m.func.vjp(field(m), vec(m))[0],
    "vjp twice": lambda m: (lambda f: (f(vec(m)), f(vec(m, 5.0, 6.0))))(
        m.func.vjp(lambda x: x * x, vec(m))[1]
    ),
    "vjp of several": lambda m: m.func.vjp(lambda x, y: x * y, vec(m), vec(m, 2.0, 3.0))[1](vec(m)),
    "vjp of nested": lambda m: m.func.vjp(
        lambda p: {"s": p["a"].sum(), "l": [p["b"] * 2]}, {"a": vec(m), "b": vec(m)}
    )[1]({"s": m.tensor(2.0), "l": [vec(m)]}),
    "vjp aux": lambda m: m.func.vjp(lambda x: (x * x, x + 1), vec(m), has_aux=True)[2],
    "vjp zero": lambda m: m.func.vjp(lambda x: m.ones(2), vec(m))[1](vec(m)),
    "vjp of a list": lambda m: m.func.vjp(lambda x: [x, x * 2], vec(m))[1]([vec(m), vec(m)]),
    "jvp": lambda m: m.func.jvp(field(m), (vec(m),), (vec(m, 1.0, 2.0),)),
    "jvp of several": lambda m: m.func.jvp(
        lambda x, y: x * y.exp(), (vec(m), vec(m)), (vec(m), vec(m, 1.0, 2.0))
    ),
    "jvp aux": lambda m: m.func.jvp(lambda x: (x * x, x + 1), (vec(m),), (vec(m),), has_aux=True),
    "jvp of nested": lambda m: m.func.jvp(
        lambda p: {"s": p["a"].sum(), "l": [p["b"] * 2]},
        ({"a": vec(m), "b": vec(m)},),
        ({"a": vec(m), "b": vec(m, 1.0, 2.0)},),
    ),
    "jvp of a constant": lambda m: m.func.jvp(lambda x: (x > 1, m.ones(2), x), (vec(m),), (vec(m),)),
    "jvp identity": lambda m: m.func.jvp(lambda x: x, (vec(m),), (vec(m, 1.0, 2.0),)),
    "jvp of jvp": lambda m: m.func.jvp(
        lambda x: m.func.jvp(lambda y: y**3, (x,), (m.ones(2),))[1], (vec(m),), (m.ones(2),)
    ),
    "jacrev": lambda m: m.func.jacrev(field(m))(vec(m)),
    "jacfwd": lambda m: m.func.jacfwd(field(m))(vec(m)),
    "jacrev of nested": lambda m: m.func.jacrev(
        lambda x, p: (x * x, {"a": (x * p[0]).sum()}), argnums=(0, 1)
    )(vec(m), [vec(m, 4.0, 5.0)]),
    "jacfwd of nested": lambda m: m.func.jacfwd(
        lambda x, p: (x * x, {"a": (x * p[0]).sum()}), argnums=(0, 1)
    )(vec(m), [vec(m, 4.0, 5.0)]),
    "jacfwd of all": lambda m: m.func.jacfwd(lambda x, y: x * y, argnums=None)(vec(m), vec(m)),
    "jacrev aux": lambda m: m.func.jacrev(lambda x: (x * x, x.sum()), has_aux=True)(vec(m)),
    "jacfwd aux": lambda m: m.func.jacfwd(lambda x: (x * x, x.sum()), has_aux=True)(vec(m)),
    "jacrev in chunks": lambda m: m.func.jacrev(field(m), chunk_size=1)(vec(m)),
    "jacrev of a matrix": lambda m: m.func.jacrev(lambda x: x @ x)(m.arange(4.0).reshape(2, 2)),
    "jacfwd of a matrix": lambda m: m.func.jacfwd(lambda x: x @ x)(m.arange(4.0).reshape(2, 2)),
    "jacrev of a scalar": lambda m: m.func.jacrev(lambda x: x.sin())(m.tensor(0.4)),
    "jacfwd of a scalar": lambda m: m.func.jacfwd(lambda x: x.sin())(m.tensor(0.4)),
    "jacrev independent": lambda m: m.func.jacrev(lambda x: m.ones(3))(vec(m)),
    "jacfwd independent": lambda m: m.func.jacfwd(lambda x: m.ones(3))(vec(m)),
    "hessian": lambda m: m.func.hessian(smooth(m))(vec(m)),
    "hessian of several": lambda m: m.func.hessian(lambda x, y: (x * y * y).sum(), argnums=(0, 1))(
        vec(m), vec(m, 2.0, 3.0)
    ),
    "hessian of a field": lambda m: m.func.hessian(field(m))(vec(m)),
    "hessian of a dict": lambda m: m.func.hessian(lambda p: p["a"] ** 2 * p["b"])(
        {"a": m.tensor(2.0), "b": m.tensor(3.0)}
    ),
    "linearize": lambda m: (lambda y, f: (y, f(vec(m)), f(vec(m, 1.0, 0.0))))(
        *m.func.linearize(field(m), vec(m))
    ),
    "linearize of nested": lambda m: m.func.linearize(lambda p: {"s": p[0] * p[1]}, [vec(m), vec(m)])[1](
        [vec(m), vec(m)]
    ),
}  # fmt: skip


def quietly(lib: Any, f: Callable[[], Any]) -> Any:
    with lib.no_grad():
        return f()


@named(VALUES)
def test_values(case: Case) -> None:
    found = same(case)
    assert not isinstance(found, str), found


# --------------------------------------------------------------------------- nesting
SCALAR = {"grad": "grad", "jacrev": "jacrev", "jacfwd": "jacfwd", "hessian": "hessian"}


@pytest.mark.parametrize(
    ("outer", "inner"), list(itertools.product(SCALAR, ["jacrev", "jacfwd", "hessian"]))
)
def test_transforms_nest(outer: str, inner: str) -> None:
    def case(m: Any) -> Any:
        one = getattr(m.func, inner)(lambda x: x.sin() * x)
        return getattr(m.func, outer)(lambda x: one(x).sum())(m.tensor(0.4))

    same(case)


@pytest.mark.parametrize("order", list(itertools.permutations(["jacrev", "jacfwd", "vmap"])))
def test_transforms_nest_three_deep(order: tuple[str, ...]) -> None:
    def case(m: Any) -> Any:
        f = lambda x: (x.sin() * x[0]).cumsum(0)  # noqa: E731
        for name in order:
            f = getattr(m.func, name)(f)
        shape = (2, 3)
        return f(m.linspace(0.1, 0.9, 6).reshape(shape))

    same(case)


NESTED: dict[str, Case] = {
    "captured by the inner": lambda m: m.func.grad(
        lambda x: m.func.grad(lambda y: x * y * y)(m.tensor(3.0)) * x
    )(m.tensor(2.0)),
    "perturbations apart": lambda m: m.func.grad(
        lambda x: x * m.func.grad(lambda y: x + y)(m.tensor(2.0))
    )(m.tensor(1.0)),
    "same variable": lambda m: m.func.grad(lambda x: m.func.grad(lambda y: x * y)(x) * x)(m.tensor(3.0)),
    "perturbations apart, forward": lambda m: m.func.jvp(
        lambda x: x * m.func.jvp(lambda y: x + y, (m.tensor(2.0),), (m.tensor(1.0),))[1],
        (m.tensor(1.0),), (m.tensor(1.0),),
    ),
    "over parameters": lambda m: m.func.grad(
        lambda w: m.func.grad(lambda x: (w * x * x).sum())(vec(m)).sum()
    )(vec(m)),
    "per-sample gradients": lambda m: m.func.vmap(
        m.func.grad(lambda w, x: (w * x).sum().tanh()), in_dims=(None, 0)
    )(vec(m), m.arange(6.0).reshape(3, 2)),
    "gradient of a batch": lambda m: m.func.grad(lambda x: m.func.vmap(lambda r: (r * r).sum())(x).prod())(
        m.arange(1.0, 5.0).reshape(2, 2)
    ),
    "vmap of vmap": lambda m: m.func.vmap(m.func.vmap(lambda x, y: x * y), in_dims=(0, None))(
        m.arange(4.0).reshape(2, 2), vec(m)
    ),
    "vjp inside grad": lambda m: m.func.grad(lambda x: m.func.vjp(lambda y: y**3, x)[1](m.ones(2))[0].sum())(
        vec(m)
    ),
    "jvp inside grad": lambda m: m.func.grad(
        lambda x: m.func.jvp(lambda y: y**3, (x,), (m.ones(2),))[1].sum()
    )(vec(m)),
    "grad inside jvp": lambda m: m.func.jvp(m.func.grad(smooth(m)), (vec(m),), (vec(m),)),
    "by the tangent": lambda m: m.func.grad(
        lambda v: m.func.jvp(lambda y: y**3, (vec(m),), (v,))[1].sum()
    )(vec(m)),
    "by the cotangent": lambda m: m.func.grad(
        lambda v: m.func.vjp(lambda y: y**3, vec(m))[1](v)[0].sum()
    )(vec(m)),
    "vmap of jvp": lambda m: m.func.vmap(lambda v: m.func.jvp(field(m), (vec(m),), (v,))[1])(m.eye(2)),
    "third derivatives": lambda m: m.func.jacfwd(m.func.jacrev(m.func.jacfwd(smooth(m))))(vec(m)),
    "hessian of a gradient": lambda m: m.func.hessian(m.func.grad(smooth(m)))(vec(m)),
    "autograd inside": lambda m: m.func.grad(
        lambda x: m.autograd.grad((x**3).sum(), x, create_graph=True)[0].sum()
    )(vec(m)),
}  # fmt: skip


@named(NESTED)
def test_nested(case: Case) -> None:
    found = same(case)
    assert not isinstance(found, str), found


# --------------------------------------------------------------------------- the caller's graph
def leaf(lib: Any, *values: float) -> Any:
    return vec(lib, *values).requires_grad_()


def through(lib: Any, transform: Callable[[Any, Any], Any], captured: bool) -> Any:
    """A result of a transform with an active argument or captured tensor, differentiated."""
    w, x = leaf(lib, 0.5, 1.5), vec(lib)
    f = (lambda a: (a * a * w).sin()) if captured else (lambda a: (a * a).sin())
    found = transform(f, x if captured else w)
    total = sum(t.sum() for t in found) if isinstance(found, tuple) else found.sum()
    return found, lib.autograd.grad(total, w, allow_unused=True)


OUTWARDS: dict[str, Callable[[Any], Callable[[Any, Any], Any]]] = {
    "grad": lambda m: lambda f, x: m.func.grad(lambda a: f(a).sum())(x),
    "vjp": lambda m: lambda f, x: m.func.vjp(f, x)[1](m.ones(2)),
    "vjp output": lambda m: lambda f, x: m.func.vjp(f, x)[0],
    "jvp": lambda m: lambda f, x: m.func.jvp(f, (x,), (m.ones(2),)),
    "jacrev": lambda m: lambda f, x: m.func.jacrev(f)(x),
    "jacfwd": lambda m: lambda f, x: m.func.jacfwd(f)(x),
    "hessian": lambda m: lambda f, x: m.func.hessian(lambda a: f(a).sum())(x),
    "vmap": lambda m: lambda f, x: m.func.vmap(lambda a: a * a)(x) + 0 * f(x),
}


@pytest.mark.parametrize("captured", [False, True], ids=["argument", "captured"])
@pytest.mark.parametrize("name", OUTWARDS)
def test_results_are_on_the_callers_graph(name: str, captured: bool) -> None:
    found = same(lambda m: through(m, OUTWARDS[name](m), captured))
    assert not isinstance(found, str), found


PASSIVE: dict[str, Case] = {
    "unused captured": lambda m: (lambda w: m.func.grad(lambda a: (a * a).sum() + w.sum())(vec(m)))(leaf(m)),
    "value": lambda m: (lambda w: m.func.grad_and_value(lambda a: a.sum() + w.sum())(vec(m)))(leaf(m)),
    "linear": lambda m: m.func.grad_and_value(lambda a: a.sum())(leaf(m)),
    "outer no_grad": lambda m: quietly(m, lambda: m.func.grad(lambda a: (a * a).sum())(leaf(m))),
    "inference": lambda m: [m.func.grad(lambda a: (a * a).sum())(leaf(m).detach()), m.is_grad_enabled()],
    "inner gradient by a parameter": lambda m: m.func.grad(
        lambda w: m.func.grad(lambda x: (w * x * x).sum())(vec(m)).sum()
    )(vec(m)),
    "aux": lambda m: (
        lambda w: m.func.grad(lambda a: (a.sum(), [a * 2, w * a, w]), has_aux=True)(vec(m))
    )(leaf(m)),
    "hessian": lambda m: m.func.hessian(lambda a: (a**3).sum())(vec(m)),
    "cotangent": lambda m: m.func.vjp(lambda a: a * a, vec(m))[1](leaf(m)),
    "linearize": lambda m: m.func.linearize(lambda a: a * a, vec(m))[1](vec(m)),
}  # fmt: skip


@named(PASSIVE)
def test_results_are_passive_unless_the_caller_differentiates(case: Case) -> None:
    found = same(case)
    assert not isinstance(found, str), found


@pytest.mark.smoke
def test_no_transform_touches_grad() -> None:
    x, w = tg.tensor([1.0, 2.0], requires_grad=True), tg.tensor([3.0, 4.0], requires_grad=True)
    x.grad = tg.tensor([7.0, 7.0])
    f = lambda a: (a * a * w).sum()  # noqa: E731
    func.grad(f)(x)
    func.hessian(f)(x)
    func.vmap(func.grad(lambda a, b: a * b), in_dims=(0, 0))(x, w)
    func.jvp(f, (x,), (w,))
    func.jacrev(lambda a: a * w)(x)
    assert x.grad.tolist() == [7.0, 7.0]
    assert w.grad is None
    assert x.requires_grad
    assert x.is_leaf


@pytest.mark.smoke
def test_backward_through_a_result_reaches_the_caller_only() -> None:
    w = tg.tensor([3.0, 4.0], requires_grad=True)
    before = len(tg.current_tape().leaves)
    g = func.grad(lambda a: (a * a * w).sum())(tg.tensor([1.0, 2.0]))
    assert len(tg.current_tape().leaves) == before, "the level's leaves are forgotten"
    g.sum().backward()
    assert w.grad.tolist() == [2.0, 4.0]


def test_the_caller_may_write_to_his_tensor() -> None:
    x = tg.tensor([1.0, 2.0])
    _, pull = func.vjp(lambda a: a * a, x)
    x.mul_(10)
    assert pull(tg.ones(2))[0].tolist() == [2.0, 4.0]


@pytest.mark.smoke
def test_an_error_leaves_everything_as_it_was() -> None:
    before = len(tg.current_tape().leaves)

    def fails(x: Any) -> Any:
        with tg.no_grad():
            raise KeyError("mine")

    for transform in (func.grad(fails), func.jacfwd(fails), func.vmap(fails), func.hessian(fails)):
        with pytest.raises(KeyError, match="mine"):
            transform(tg.ones(2))
    assert tg.is_grad_enabled()
    assert len(tg.current_tape().leaves) == before


def test_loops_run_in_constant_memory() -> None:
    x, w = tg.ones(8), tg.ones(8, requires_grad=True)
    tape = tg.current_tape()
    sizes = []
    for i in range(1200):
        g = func.grad(lambda a: (a.sin() * w).sum())(x)
        x = x - 0.1 * g.detach()
        if i % 400 == 399:
            gc.collect()
            tape.evaluate()
            tape.collect()
            sizes.append((tape.count, len(tape.leaves)))
    assert sizes[0] == sizes[-1]


def test_threads_transform_apart() -> None:
    found: dict[int, list[float]] = {}

    def run(k: int) -> None:
        x = tg.tensor([float(k), 2.0])
        found[k] = func.grad(lambda a: func.grad(lambda b: (b**3 * a[0]).sum())(a).sum())(
            x
        ).tolist()

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k in range(4):
        assert found[k] == pytest.approx([9.0 * k * k + 12.0, 12.0 * k])


# --------------------------------------------------------------------------- vmap
VMAP: dict[str, Case] = {
    "rows": lambda m: m.func.vmap(lambda x: x.sum())(m.arange(6.0).reshape(2, 3)),
    "columns": lambda m: m.func.vmap(lambda x: x.sum(), in_dims=1)(m.arange(6.0).reshape(2, 3)),
    "from the end": lambda m: m.func.vmap(lambda x: x * 2, in_dims=-1)(m.arange(6.0).reshape(2, 3)),
    "out dim": lambda m: m.func.vmap(lambda x: x * 2, out_dims=1)(m.arange(6.0).reshape(2, 3)),
    "out dim from the end": lambda m: m.func.vmap(lambda x: x * 2, out_dims=-1)(m.arange(6.0).reshape(2, 3)),
    "out dims": lambda m: m.func.vmap(lambda x: (x * 2, x.sum(), x + 1), out_dims=(1, 0, -1))(
        m.arange(6.0).reshape(2, 3)
    ),
    "whole argument": lambda m: m.func.vmap(lambda x, y: x * y, in_dims=(0, None))(m.eye(2), vec(m)),
    "nested": lambda m: m.func.vmap(
        lambda d, n: {"s": d["a"].sum() * n, "l": [d["b"]]}, in_dims=({"a": 0, "b": 1}, None)
    )({"a": m.eye(2), "b": m.ones(3, 2)}, 2),
    "prefix": lambda m: m.func.vmap(lambda p: p[0] * p[1], in_dims=(1,))((m.eye(2), m.ones(2, 2))),
    "keyword": lambda m: m.func.vmap(lambda x, k: x * k)(vec(m), k=vec(m)),
    "independent result": lambda m: m.func.vmap(lambda x: m.ones(2))(m.eye(3)),
    "not mapped": lambda m: m.func.vmap(
        lambda x: (x, m.ones(2), 3, "a"), out_dims=(0, None, None, None)
    )(m.eye(3)),
    "one of a tuple": lambda m: m.func.vmap(lambda x: x * 2, out_dims=(1,))(m.ones(2, 3)),
    "chunks": lambda m: m.func.vmap(lambda x: x.sum(), chunk_size=2)(m.arange(15.0).reshape(5, 3)),
    "same numbers": lambda m: (lambda y: (y[0] == y[1]).all())(
        m.func.vmap(lambda x: x + m.rand(3), randomness="same")(m.zeros(2, 3))
    ),
    "other numbers": lambda m: (lambda y: (y[0] == y[1]).any())(
        m.func.vmap(lambda x: x + m.rand(3), randomness="different")(m.zeros(2, 3))
    ),
    "integers": lambda m: m.func.vmap(lambda x: x + 1)(m.tensor([1, 2])),
    "in place": lambda m: m.func.vmap(lambda x: x.clone().add_(1))(m.eye(2)),
    "wraps": lambda m: m.func.vmap(smooth).__name__,
}  # fmt: skip


#: results of the same calls, found by hand
MAPPED: dict[str, Any] = {
    "rows": [3, 12],
    "columns": [3, 5, 7],
    "from the end": [[0, 6], [2, 8], [4, 10]],
    "out dim": [[0, 6], [2, 8], [4, 10]],
    "out dim from the end": [[0, 6], [2, 8], [4, 10]],
    "out dims": ([[0, 6], [2, 8], [4, 10]], [3, 12], [[1, 4], [2, 5], [3, 6]]),
    "whole argument": [[0.3, 0], [0, 0.7]],
    "nested": {"s": [2, 2], "l": [[[1, 1, 1], [1, 1, 1]]]},
    "prefix": [[1, 0], [0, 1]],
    "keyword": [[0.3 * 0.3, 0.3 * 0.7], [0.3 * 0.7, 0.7 * 0.7]],
    "independent result": [[1, 1], [1, 1], [1, 1]],
    "not mapped": ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [1, 1], 3, "a"),
    "one of a tuple": [[2, 2], [2, 2], [2, 2]],
    "chunks": [3, 12, 21, 30, 39],
    "same numbers": True,
    "other numbers": False,
    "integers": [2, 3],
    "in place": [[2, 1], [1, 2]],
    "wraps": "smooth",
}


def as_lists(found: Any) -> Any:
    """What was found with lists of numbers for tensors."""
    if isinstance(found, dict):
        return {key: as_lists(value) for key, value in found.items()}
    if isinstance(found, tuple | list):
        return type(found)(map(as_lists, found))
    return found.tolist() if isinstance(found, tg.Tensor) else found


@pytest.mark.parametrize("name", VMAP)
def test_vmap(name: str) -> None:
    assert as_lists(VMAP[name](tg)) == MAPPED[name]
    same(VMAP[name])


def test_vmap_of_nothing_has_the_shapes_of_the_results() -> None:
    found = func.vmap(lambda x: {"s": x.sum(), "o": x * 2}, out_dims={"s": 0, "o": 1})(
        tg.ones(0, 3)
    )
    assert found["s"].shape == (0,)
    assert found["o"].shape == (3, 0)


def test_vmap_may_read_values() -> None:
    f = func.vmap(lambda x: x * 2 if x > 0 else x * x)
    assert f(tg.tensor([-3.0, 4.0])).tolist() == [9.0, 8.0]


def test_vmap_puts_the_generator_back() -> None:
    before = tg.get_rng_state().tolist()
    with pytest.raises(RuntimeError, match="randomness error mode"):
        func.vmap(lambda x: x + tg.rand(2))(tg.ones(2, 2))
    assert tg.get_rng_state().tolist() == before


def test_vmap_wants_one_structure() -> None:
    with pytest.raises(ValueError, match="same structure for every slice"):
        func.vmap(lambda x: x if x > 0 else (x, x))(tg.tensor([1.0, -1.0]))


def test_vmap_of_a_partial_names_it() -> None:
    same(lambda m: m.func.vmap(functools.partial(vec, m))())
    same(lambda m: m.func.vmap(functools.partial(lambda a, b: 3, 2))(m.ones(2)))


# --------------------------------------------------------------------------- errors
STRUCTURE = "structure TreeSpec|structure \\(|argspec|tangents TreeSpec|tangents \\("
ERRORS: dict[str, Case] = {
    "integer argument": lambda m: m.func.grad(lambda x: x.sum())(m.tensor([1, 2])),
    "whole number": lambda m: m.func.grad(lambda x: x)(1),
    "no result": lambda m: m.func.grad(lambda x: None)(vec(m)),
    "dict result": lambda m: m.func.grad(lambda x: {"a": x.sum()})(vec(m)),
    "vector result": lambda m: m.func.grad(lambda x: x)(vec(m)),
    "no pair": lambda m: m.func.grad(lambda x: x.sum(), has_aux=True)(vec(m)),
    "number in aux": lambda m: m.func.grad(lambda x: (x.sum(), 3), has_aux=True)(vec(m)),
    "argnums too large": lambda m: m.func.grad(lambda x: x.sum(), argnums=1)(vec(m)),
    "argnums too small": lambda m: m.func.grad(lambda x: x.sum(), argnums=-2)(vec(m)),
    "argnums list": lambda m: m.func.grad(lambda x: x.sum(), argnums=[0])(vec(m)),
    "argnums empty": lambda m: m.func.grad(lambda x: x.sum(), argnums=())(vec(m)),
    "argnums float": lambda m: m.func.grad(lambda x: x.sum(), argnums=(0.0,))(vec(m)),
    "argnums twice": lambda m: m.func.grad(lambda x: x.sum(), argnums=(0, -1))(vec(m)),
    "no arguments": lambda m: m.func.grad(lambda: m.tensor(1.0))(),
    "written in place": lambda m: m.func.grad(lambda x: x.mul_(2).sum())(vec(m)),
    "vjp of integers": lambda m: m.func.vjp(lambda x: x > 1, vec(m)),
    "vjp of None": lambda m: m.func.vjp(lambda x: None, vec(m)),
    "vjp of nothing": lambda m: m.func.vjp(lambda x: (), vec(m)),
    "vjp of a number": lambda m: m.func.vjp(lambda x: (x, 3), vec(m)),
    "vjp aux": lambda m: m.func.vjp(lambda x: x, vec(m), has_aux=True),
    "cotangent's structure": lambda m: m.func.vjp(lambda x: (x, x), vec(m))[1]([vec(m), vec(m)]),
    "cotangent's shape": lambda m: m.func.vjp(lambda x: x, vec(m))[1](m.tensor(1.0)),
    "cotangent's type": lambda m: m.func.vjp(lambda x: x.sum(), vec(m))[1]("a"),
    "vjp of an integer argument": lambda m: m.func.vjp(lambda x, y: x * y, vec(m), m.tensor([1, 2])),
    "jvp without a tuple": lambda m: m.func.jvp(lambda x: x, vec(m), vec(m)),
    "jvp structure": lambda m: m.func.jvp(lambda x: x, (vec(m),), (vec(m), vec(m))),
    "jvp shape": lambda m: m.func.jvp(lambda x: x, (vec(m),), (m.tensor(1.0),)),
    "jvp integers": lambda m: m.func.jvp(lambda x: x, (m.tensor([1]),), (m.tensor([1]),)),
    "jvp integer tangent": lambda m: m.func.jvp(lambda x: x, (vec(m, 1.0),), (m.tensor([1]),)),
    "jvp strict": lambda m: m.func.jvp(lambda x: m.ones(2), (vec(m),), (vec(m),), strict=True),
    "jvp of nothing": lambda m: m.func.jvp(lambda: m.ones(2), (), ()),
    "jvp of numbers": lambda m: m.func.jvp(lambda x, n: x, (vec(m), 3), (vec(m), 3)),
    "jvp of a number": lambda m: m.func.jvp(lambda x: (x, 3), (vec(m),), (vec(m),)),
    "jvp aux": lambda m: m.func.jvp(lambda x: x, (vec(m),), (vec(m),), has_aux=True),
    "jacrev of integers": lambda m: m.func.jacrev(lambda x: x > 1)(vec(m)),
    "jacrev chunk": lambda m: m.func.jacrev(lambda x: x, chunk_size=0),
    "jacfwd of an integer": lambda m: m.func.jacfwd(lambda x: x * 1.5)(m.tensor([1, 2])),
    "jacfwd randomness": lambda m: m.func.jacfwd(lambda x: x * m.rand(2))(vec(m)),
    "jacfwd randomness word": lambda m: m.func.jacfwd(lambda x: x, randomness="no")(vec(m)),
    "jacfwd of nothing": lambda m: m.func.jacfwd(lambda x: None)(vec(m)),
    "linearize shape": lambda m: m.func.linearize(lambda x: x * x, vec(m))[1](m.tensor(1.0)),
    "linearize dtype": lambda m: m.func.linearize(lambda x: x * x, vec(m))[1](vec(m).to(m.float32)),
    "linearize count": lambda m: m.func.linearize(lambda x: x * x, vec(m))[1](vec(m), vec(m)),
    "vmap randomness": lambda m: m.func.vmap(lambda x: x + m.rand(2))(m.ones(2, 2)),
    "vmap randomness word": lambda m: m.func.vmap(lambda x: x, randomness="no"),
    "vmap chunk": lambda m: m.func.vmap(lambda x: x, chunk_size=0),
    "vmap of nothing": lambda m: m.func.vmap(lambda: 1)(),
    "vmap over nothing": lambda m: m.func.vmap(lambda x: x, in_dims=(None,))(vec(m)),
    "in_dims None": lambda m: m.func.vmap(lambda x: x, in_dims=None)(vec(m)),
    "in_dims list": lambda m: m.func.vmap(lambda x: x, in_dims=[0])(vec(m)),
    "in_dims structure": lambda m: m.func.vmap(lambda x: x, in_dims=(0, 0))(vec(m)),
    "in_dims word": lambda m: m.func.vmap(lambda x: x, in_dims=("a",))(vec(m)),
    "in_dims range": lambda m: m.func.vmap(lambda x: x, in_dims=1)(vec(m)),
    "in_dims of a number": lambda m: m.func.vmap(lambda x, y: x)(vec(m), 3.0),
    "sizes": lambda m: m.func.vmap(lambda x, y: x)(vec(m), m.ones(3)),
    "out_dims structure": lambda m: m.func.vmap(lambda x: x, out_dims=(0, 0))(m.ones(2, 3)),
    "out_dims word": lambda m: m.func.vmap(lambda x: x, out_dims="a")(m.ones(2, 3)),
    "out_dims range": lambda m: m.func.vmap(lambda x: x, out_dims=3)(m.ones(2, 3)),
    "out_dims None": lambda m: m.func.vmap(lambda x: x, out_dims=None)(m.eye(2)),
    "number from vmap": lambda m: m.func.vmap(lambda x: 3)(m.eye(2)),
}  # fmt: skip


@named(ERRORS)
def test_errors(case: Case) -> None:
    found = same(case, up_to=STRUCTURE)
    assert isinstance(found, str), "this should have raised"


def test_what_is_not_supported_says_what_to_do() -> None:
    for call, hint in ((lambda: func.functionalize(tg.sin), "in-place writes"),):
        with pytest.raises(UnsupportedError, match=hint):
            call()


def test_transforms_carry_the_functions_name() -> None:
    def mine(x: Any) -> Any:
        """About mine."""
        return x.sum()

    for transform in (func.grad, func.grad_and_value, func.jacrev, func.jacfwd, func.vmap):
        assert transform(mine).__name__ == "mine"
        assert transform(mine).__doc__ == "About mine."


def test_a_large_jacobian_is_made_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    from tapegrad.autograd import jacobian_products as products
    from tapegrad.engine import batched_pass as many

    x = tg.linspace(0.1, 1.0, 7)
    whole = func.jacrev(lambda a: a.sin() * a.sum())(x).numpy()
    lanes, shapes = [], []
    units, set_lanes = products.unit_batches, many.Lanes._set_lanes

    def few(like: Any) -> Any:
        for batch in units(like):
            for part in batch.split(3):
                shapes.append(part.shape[0])
                yield part

    def watched(self: Any, count: int) -> None:
        lanes.append(count)
        set_lanes(self, count)

    monkeypatch.setattr(products, "unit_batches", few)
    monkeypatch.setattr(many, "LANE_BYTES", 3 * 56)
    monkeypatch.setattr(many.Lanes, "_set_lanes", watched)
    np.testing.assert_array_equal(func.jacrev(lambda a: a.sin() * a.sum())(x).numpy(), whole)
    assert lanes == [7, 3, 3, 1]  # asked for, then as many as fit
    np.testing.assert_allclose(
        func.jacfwd(lambda a: a.sin() * a.sum())(x).numpy(), whole, rtol=1e-14
    )
    assert shapes == [3, 3, 1]


def test_optree_is_imported_when_a_tree_is_met() -> None:
    import subprocess
    import sys

    code = (
        "import sys, tapegrad as tg; x = tg.ones(2, requires_grad=True); x.sum().backward(); "
        "print('optree' in sys.modules); tg.func.grad(tg.sum)(x); print('optree' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"]


def test_no_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        func.hessian(lambda x: (x**3).sum())(tg.ones(2))
