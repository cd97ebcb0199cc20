"""vmap in one run: every row of the op table lifted, and compared with runs on the slices."""

from __future__ import annotations

import gc
import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from beside_torch import same
from fuzz.program import Program
from fuzz.script import Machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from op_samples import Case, _tg_view, cases, public_rows, results_of, tg_leaf
from test_random_programs import PLAIN

import tapegrad as tg
from tapegrad import func
from tapegrad.autograd.checkpoint import checkpoint
from tapegrad.func import vectorized_map as batching
from tapegrad.ops.table import Op
from tapegrad.tape.tape import TAPES
from tapegrad.transforms import batch_plan as slices
from tapegrad.transforms.trace import Trace

#: rows whose results have a shape that depends on values
READS = {"masked_select"}
SIZE = 3


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No function runs once a slice."""

    def alone(self: Any, output: Any) -> None:
        raise AssertionError("the function ran on a slice")

    with monkeypatch.context() as patch:
        patch.setattr(batching._Outputs, "add", alone)
        yield


def rows(entries: list[Op]) -> Any:
    return pytest.mark.parametrize("entry", entries, ids=lambda e: e.name)


# --------------------------------------------------------------------------- every row
def function_of(case: Case) -> Callable[..., list[Any]]:
    """A case as a function of its operands."""

    def function(*leaves: Any) -> list[Any]:
        args, kwargs = case._fill((case.args, case.kwargs), iter(leaves), _tg_view)
        return [y + 0 for y in results_of(case.call(*args, **kwargs))]

    return function


def slices_of(case: Case, which: tuple[bool, ...]) -> list[Any]:
    """The operands, some of them once a slice, with other values in each."""
    rng = np.random.default_rng(5)
    made = []
    for array, on, batched in zip(case.arrays, case.active, which, strict=True):
        if not batched:
            made.append(array)
            continue
        parts = [array + on * rng.uniform(-0.01, 0.01, array.shape) for _ in range(SIZE)]
        made.append(np.stack(parts).astype(array.dtype))
    return made


def choices(case: Case) -> list[tuple[bool, ...]]:
    """Which operands are batched: all, and each alone."""
    n = len(case.arrays)
    found = [(True,) * n, *(tuple(i == j for j in range(n)) for i in range(n))]
    return list(dict.fromkeys(found))


def weighted(outs: list[Any]) -> Any:
    """A number that depends on all floating results."""
    total: Any = 0.0
    for y in outs:
        if y.dtype.is_floating_point:
            weights = np.linspace(0.5, 1.5, y.numel()).reshape(tuple(y.shape))
            total = total + (y * tg.tensor(weights, dtype=y.dtype)).sum()
    return total


def loop(function: Callable[..., list[Any]], leaves: list[Any], dims: list[Any]) -> list[Any]:
    """What `function` gives for one slice after the other, with the values when each is done."""
    runs = []
    for i in range(SIZE):
        given = [x if d is None else x[i] for x, d in zip(leaves, dims, strict=True)]
        runs.append([y.clone() for y in function(*given)])
    return [tg.stack(parts) for parts in zip(*runs, strict=True)]


def agree(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype is b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(
            a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-11, equal_nan=True
        )


def gradient_of(function: Callable[..., list[Any]], active: tuple[int, ...]) -> Any:
    def gradients(*leaves: Any) -> list[Any]:
        found = tg.func.grad(lambda *own: weighted(function(*own)), argnums=active)(*leaves)
        return list(found)

    return gradients


SMOOTH = [e for e in public_rows() if e.name not in READS]


@rows(SMOOTH)
def test_rows_agree_with_runs_on_slices(entry: Op, at_once: None) -> None:
    for case in cases(entry):
        for which in choices(case):
            if not any(which):
                continue
            function = function_of(case)
            arrays = slices_of(case, which)
            dims = [0 if b else None for b in which]
            plain = [tg_leaf(a, active=False) for a in arrays]
            found = tg.func.vmap(function, in_dims=tuple(dims))(*plain)
            agree(found, loop(function, plain, dims))


@rows([e for e in SMOOTH if e.vjp is not None])
def test_derivatives_of_rows_agree(entry: Op, at_once: None) -> None:
    for case in cases(entry):
        if not case.deep or not any(case.active):
            continue
        function = function_of(case)
        active = tuple(i for i, on in enumerate(case.active) if on)
        for which in choices(case):
            arrays = slices_of(case, which)
            dims = [0 if b else None for b in which]
            if not any(which):
                continue
            plain = [tg_leaf(a, active=False) for a in arrays]
            first = gradient_of(function, active)
            mapped = tg.func.vmap(first, in_dims=tuple(dims))
            agree(mapped(*plain), loop(first, plain, dims))
            second = gradient_of(first, active)
            agree(tg.func.vmap(second, in_dims=tuple(dims))(*plain), loop(second, plain, dims))
            around(function, arrays, dims)


def around(function: Callable[..., list[Any]], arrays: list[np.ndarray], dims: list[Any]) -> None:
    """Gradients through the mapped function, of first and second order."""
    results = []
    for run in (
        lambda *leaves: tg.func.vmap(function, in_dims=tuple(dims))(*leaves),
        lambda *leaves: loop(function, list(leaves), dims),
    ):
        leaves = [tg_leaf(a) for a in arrays]
        wanted = [x for x in leaves if x.requires_grad]
        value = weighted(run(*leaves))
        if not getattr(value, "requires_grad", False):
            results.append([])
            continue
        first = tg.autograd.grad(value, wanted, create_graph=True, materialize_grads=True)
        total = weighted(list(first))
        second = []
        if total.requires_grad:
            second = list(tg.autograd.grad(total, wanted, materialize_grads=True))
        results.append([*first, *second])
    agree(*results)


@rows([e for e in SMOOTH if e.vjp is not None])
def test_jacobians_of_mapped_rows_agree(entry: Op, at_once: None) -> None:
    """Many cotangents at once, over lifted statements and while recording."""
    for case in cases(entry)[:2]:
        if not case.deep or not any(case.active):
            continue
        function = function_of(case)
        active = tuple(i for i, on in enumerate(case.active) if on)
        which = (True,) * len(case.arrays)
        arrays = [tg_leaf(a, active=False) for a in slices_of(case, which)]

        def mapped(*leaves: Any, function: Any = function) -> Any:
            return weighted([y.sum(0) for y in tg.func.vmap(function)(*leaves)])

        def looped(*leaves: Any, function: Any = function) -> Any:
            dims = [0] * len(leaves)
            return weighted([y.sum(0) for y in loop(function, list(leaves), dims)])

        found = [tg.func.hessian(f, argnums=active)(*arrays) for f in (mapped, looped)]
        agree(*([h for row in rows for h in row] for rows in found))


# --------------------------------------------------------------------------- beside torch
W1 = np.linspace(-1, 1, 12).reshape(3, 4)
W2 = np.linspace(-0.5, 1, 8).reshape(4, 2)
X = np.sin(np.arange(15.0)).reshape(5, 3)
LABELS = np.array([0, 1, 1, 0, 1])


def network(lib: Any, p: Any, x: Any) -> Any:
    return lib.tanh(x @ p["w1"] + p["b1"]) @ p["w2"]


def parameters(lib: Any) -> Any:
    return {"w1": lib.tensor(W1), "b1": lib.tensor(W1[0]), "w2": lib.tensor(W2)}


def squares(lib: Any) -> Callable[[Any, Any], Any]:
    return lambda p, x: (network(lib, p, x) ** 2).sum()


def by_label(lib: Any) -> Callable[[Any, Any, Any], Any]:
    def loss(p: Any, x: Any, y: Any) -> Any:
        return -lib.log_softmax(network(lib, p, x), 0).gather(0, y.reshape(1)).sum()

    return loss


AT_ONCE = {
    "per-sample gradients": lambda m: m.func.vmap(m.func.grad(squares(m)), in_dims=(None, 0))(
        parameters(m), m.tensor(X)
    ),
    "per-sample gradients and losses": lambda m: m.func.vmap(
        m.func.grad_and_value(squares(m)), in_dims=(None, 0)
    )(parameters(m), m.tensor(X)),
    "per-sample gradients by label": lambda m: m.func.vmap(
        m.func.grad(by_label(m)), in_dims=(None, 0, 0)
    )(parameters(m), m.tensor(X), m.tensor(LABELS)),
    "a model a sample": lambda m: m.func.vmap(m.func.grad(squares(m)))(
        {k: m.stack([v, 2 * v]) for k, v in parameters(m).items()}, m.tensor(X[:2])
    ),
    "models and samples": lambda m: m.func.vmap(
        m.func.vmap(m.func.grad(squares(m)), in_dims=(None, 0)), in_dims=(0, None)
    )({k: m.stack([v, 2 * v]) for k, v in parameters(m).items()}, m.tensor(X)),
    "Jacobians": lambda m: m.func.vmap(
        m.func.jacrev(lambda x: network(m, parameters(m), x))
    )(m.tensor(X)),
    "Jacobians by columns": lambda m: m.func.vmap(
        m.func.jacfwd(lambda x: network(m, parameters(m), x))
    )(m.tensor(X)),
    "Hessians": lambda m: m.func.vmap(m.func.hessian(lambda x: squares(m)(parameters(m), x)))(
        m.tensor(X)
    ),
    "third derivatives": lambda m: m.func.vmap(
        m.func.jacrev(m.func.jacrev(m.func.grad(lambda x: (x**4).sum() * x[0])))
    )(m.tensor(X)),
    "jvp": lambda m: m.func.vmap(
        lambda x, v: m.func.jvp(lambda a: network(m, parameters(m), a), (x,), (v,))
    )(m.tensor(X), m.tensor(X * 2)),
    "vjp": lambda m: m.func.vmap(
        lambda x, v: m.func.vjp(lambda a: network(m, parameters(m), a), x)[1](v)
    )(m.tensor(X), m.tensor(X[:, :2])),
    "pullback": lambda m: m.func.vmap(
        lambda v: m.func.vjp(lambda a: a * a.sum(), m.tensor(X[0]))[1](v * 2)[0] * v
    )(m.tensor(X)),
    "pullback from outside": lambda m: pullback(m)(lambda pull, v: pull(v * 2)[0] * v),
    "linear map from outside": lambda m: linear_map(m),
    "gradient of a batch": lambda m: m.func.grad(
        lambda p: m.func.vmap(squares(m), in_dims=(None, 0))(p, m.tensor(X)).prod()
    )(parameters(m)),
    "Hessian of a batch": lambda m: m.func.hessian(
        lambda z: m.func.vmap(lambda x: (x * x).sum() * x[0])(z).sum()
    )(m.tensor(X)),
    "gradient of gradients": lambda m: m.func.grad(
        lambda w: (m.func.vmap(m.func.grad(lambda x: (m.sin(x * w)).sum()))(m.tensor(X)) ** 2).sum()
    )(m.tensor(W1[0, :3])),
    "backward": lambda m: backward(m),
    "dims": lambda m: m.func.vmap(
        lambda p, y: (p[0] * y, p[1].sum()), in_dims=((1, -1), None), out_dims=(-1, 0),
    )((m.tensor(X), m.tensor(X)), m.tensor(X[:, 0])),
    "chunks": lambda m: m.func.vmap(
        lambda x: (x * 2, x.sum()), chunk_size=2, out_dims=(1, 0)
    )(m.tensor(X)),
    "the same for all": lambda m: m.func.vmap(lambda x: (m.ones(2), x.sum() * 0 + m.tensor(3.0)))(
        m.tensor(X)
    ),
    "handed through": lambda m: m.func.vmap(lambda x, y: (x, y), in_dims=(0, None))(
        m.tensor(X), m.tensor(X[0])
    ),
    "written in place": lambda m: m.func.vmap(m.func.jacrev(written))(m.tensor(X)),
    "index of a slice": lambda m: m.func.vmap(lambda x, i: (x.gather(0, i), x[i]))(
        m.tensor(X), m.tensor(np.array([[0, 2], [1, 1], [2, 0], [0, 0], [1, 2]]))
    ),
    "negative index": lambda m: m.func.vmap(lambda x, i: m.outer(x, x)[i, i[:1]])(
        m.tensor(X), m.tensor(np.array([[0, -2], [1, -1], [-3, 0], [0, 0], [1, 2]]))
    ),
    "index put": lambda m: m.func.vmap(m.func.jacrev(lambda x, i: x.index_put((i,), x[:2] * x[1])))(
        m.tensor(X), m.tensor(np.array([[0, 2], [1, 0], [2, 0], [0, 1], [1, 2]]))
    ),
    "no grad inside": lambda m: m.func.vmap(lambda x: constant_part(m, x))(m.tensor(X)),
    "in float32": lambda m: m.func.vmap(m.func.grad(lambda x: (x * 0.1).sum() ** 2))(
        m.tensor(X, dtype=m.float32)
    ).double() * 0 + 1,
    "integers": lambda m: m.func.vmap(lambda x: (x // 2, x > 1, x.sum(), x.argmax()))(
        m.tensor(np.arange(6).reshape(2, 3))
    ),
    "a single slice": lambda m: m.func.vmap(m.func.grad(lambda x: x.prod()))(m.tensor(X[:1])),
    "the same random numbers": lambda m: m.func.vmap(
        lambda x: x * 0 + (m.rand(3) < 2), randomness="same"
    )(m.tensor(X)),
}  # fmt: skip


def pullback(lib: Any) -> Any:
    _, pull = lib.func.vjp(lambda a: a * a.sum(), lib.tensor(X[0]))
    return lambda f: lib.func.vmap(lambda v: f(pull, v))(lib.tensor(X))


def linear_map(lib: Any) -> Any:
    _, push = lib.func.linearize(lambda a: a * a.sum(), lib.tensor(X[0]))
    return lib.func.vmap(lambda v: push(v) * v)(lib.tensor(X))


def backward(lib: Any) -> Any:
    p = {k: v.requires_grad_() for k, v in parameters(lib).items()}
    loss = lib.func.vmap(squares(lib), in_dims=(None, 0))(p, lib.tensor(X))
    found = lib.autograd.grad((loss**2).sum(), list(p.values()), create_graph=True)
    second = lib.autograd.grad(sum((g * g).sum() for g in found), list(p.values()))
    return [loss, [g.detach() for g in found], list(second)]


def written(x: Any) -> Any:
    y = x.clone()
    y[0] = x.sum() * x[1]
    y[1:] *= 2
    y.add_(x)
    return y


def constant_part(lib: Any, x: Any) -> Any:
    def loss(a: Any) -> Any:
        with lib.no_grad():
            b = a * 3
        return (a * b).sum()

    return lib.func.grad(loss)(x)


@pytest.mark.parametrize("case", AT_ONCE.values(), ids=AT_ONCE)
def test_in_one_run_as_torch(case: Callable[[Any], Any], at_once: None) -> None:
    same(case)
    same(case)  # by the plan that the first call left


@tg.njit
def cube(x: Any) -> Any:
    return x * x * x


@pytest.mark.parametrize("name", ["pullback from outside", "linear map from outside"])
def test_what_was_recorded_before_is_no_hindrance(name: str, at_once: None) -> None:
    """A strip, and a hook, on the tape of a pass that does not come by them."""
    x = tg.tensor(2.0, requires_grad=True)
    y = x * 2
    y.register_hook(lambda g: g)
    z = cube(y)
    same(AT_ONCE[name])
    z.backward()
    assert x.grad is not None
    assert x.grad.item() == 96.0


# --------------------------------------------------------------------------- runs on slices
@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each run on a slice."""
    counted: list[int] = []
    add = batching._Outputs.add

    def noted(self: Any, output: Any) -> None:
        counted.append(1)
        add(self, output)

    monkeypatch.setattr(batching._Outputs, "add", noted)
    return counted


def branch(x: Any) -> Any:
    return x * 2 if x.sum() > 0 else x * x


def hidden(x: Any) -> Any:
    """A value that is read, and an exception that is caught."""
    try:
        return x * float(x[0])
    except Exception:
        return x * 0


TOTAL = tg.zeros(3)


def writes_outside(x: Any) -> Any:
    TOTAL.add_(x)
    return x * 2


def writes_argument(x: Any) -> Any:
    return x.mul_(2)


def accumulates(x: Any) -> Any:
    y = x.detach().clone().requires_grad_()
    (y * y).sum().backward()
    return y.grad


def hooked(x: Any) -> Any:
    y = x * 3
    y.register_hook(lambda g: g * 10)
    return (y * y).sum()


@pytest.mark.parametrize(
    "function",
    [
        branch, hidden, writes_argument, accumulates, lambda x: x.tolist()[0] * x,
        lambda x: x * tg.tensor(x.numpy()), lambda x: x[x < 5], lambda x: x * tg.from_numpy(X[0]),
        func.grad(lambda x: checkpoint(lambda a: (a * a).sum(), x, use_reentrant=False)),
        lambda x: x.repeat(int(x.sum()) * 0 + 1),
    ],
)  # fmt: skip
def test_what_cannot_be_lifted_runs_on_slices(function: Any, runs: list[int]) -> None:
    x = tg.tensor(X)
    expected = tg.stack([function(row.clone()) for row in tg.tensor(X)])
    agree([tg.func.vmap(function)(x)], [expected])
    assert len(runs) == 5


def test_hooks_inside_see_the_passes_outside(runs: list[int]) -> None:
    graph = tg.tensor(X, requires_grad=True)
    (g,) = tg.autograd.grad(tg.func.vmap(hooked)(graph).sum(), graph)
    agree([g], [180 * tg.tensor(X)])
    assert len(runs) == 5


def test_writes_to_the_surroundings_happen_once_a_slice(runs: list[int]) -> None:
    TOTAL.zero_()
    agree([func.vmap(writes_outside)(tg.tensor(X))], [2 * tg.tensor(X)])
    agree([TOTAL], [tg.tensor(X).sum(0)])
    y = tg.tensor(X)
    func.vmap(writes_argument)(y)
    agree([y], [2 * tg.tensor(X)])


@pytest.mark.smoke
def test_values_that_are_the_same_for_all_slices_may_be_read(at_once: None) -> None:
    w = tg.tensor([1.0, 2.0, 3.0])
    found = func.vmap(lambda x: x * (w * 2).sum().item() if w.sum() > 0 else x)(tg.tensor(X))
    agree([found], [12 * tg.tensor(X)])
    nested = func.vmap(lambda y: func.vmap(lambda x: x * float((w + 1).sum()) + y)(tg.tensor(X)))
    agree([nested(tg.tensor(X))[1]], [9 * tg.tensor(X) + tg.tensor(X)[1]])


def test_errors_are_those_of_a_slice() -> None:
    x, i = tg.tensor(X), tg.tensor([0, 1, 3, 0, 0])
    with pytest.raises(RuntimeError, match="index 3 is out of bounds for dimension 0 with size 3"):
        func.vmap(lambda a, b: a.gather(0, b.reshape(1)))(x, i)
    with pytest.raises(IndexError, match="index 3 is out of bounds for dimension 0 with size 3"):
        func.vmap(lambda a, b: a[b])(x, i)
    with pytest.raises(RuntimeError, match="must match"):
        func.vmap(lambda a: a + tg.ones(4))(x)
    with pytest.raises(ZeroDivisionError):
        func.vmap(lambda a: a / (1 // 0))(x)
    same(lambda m: m.func.vmap(lambda a: a, out_dims=None)(m.ones(2, 2)))
    same(lambda m: m.func.vmap(lambda a: a * 2, out_dims=True)(m.ones(2, 3)))
    same(lambda m: m.func.vmap(lambda a: a * 2, in_dims=True)(m.ones(2, 3)))
    same(lambda m: m.func.vmap(lambda a: (a, 3.0))(m.ones(2, 2)))


def test_tensors_do_not_leave_the_function() -> None:
    kept: list[Any] = []
    func.vmap(lambda x: (kept.append(x * 2), x)[1])(tg.tensor(X))
    x, leaf = tg.tensor(X), tg.tensor(X[0], requires_grad=True)
    for use in (
        lambda t: t + 1, lambda t: x + t, lambda t: t.item(), lambda t: t.numpy(), repr,
        lambda t: t.add_(1), lambda t: x.copy_(t), lambda t: t.requires_grad_(),
        lambda t: (leaf * t).sum().backward(), lambda t: tg.cat([t, t]), lambda t: x[t.long()],
        lambda t: func.vmap(lambda a: a * t)(x), lambda t: func.grad(lambda a: (a * t).sum())(leaf),
    ):  # fmt: skip
        with pytest.raises((tg.TapeError, RuntimeError)):
            use(kept[0])
    failed: list[Any] = []

    def elsewhere() -> None:
        try:
            kept[0] + 1
        except RuntimeError as error:
            failed.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert failed
    kept.clear()
    failed.clear()


@pytest.mark.smoke
def test_traces_are_dropped() -> None:
    def traces() -> int:
        gc.collect()
        return sum(isinstance(t, Trace) for t in list(TAPES.values()))

    x = tg.tensor(X)
    before = traces()
    for _ in range(50):
        func.vmap(func.grad(lambda a: (a * a).sum()))(x)
    assert traces() <= before + 2
    with pytest.raises(ZeroDivisionError):
        func.vmap(lambda a: a / (1 // 0))(x)
    tape = tg.current_tape()
    assert not isinstance(tape, Trace)
    assert tape.passes == 0


def test_a_loop_of_runs_is_collected() -> None:
    x = tg.tensor(np.random.default_rng(0).normal(size=(64, 100)))
    run = func.vmap(func.grad(lambda a: (a.sin() * a).sum()))
    for _ in range(3000):
        y = run(x)
    y.numpy()
    assert len(tg.current_tape()) < 60_000


# --------------------------------------------------------------------------- plans
def test_plans_know_numbers_layouts_and_modes(at_once: None) -> None:
    x = tg.tensor(X)
    slices._plans.clear()
    for a, b in ((1.0, 1.0), (1.0, 2.0), (2.0, 1.0), (1.0, 1.0)):
        found = func.vmap(lambda r, a=a, b=b: r * tg.tensor(a) + tg.tensor(b))(x)
        agree([found], [x * a + b])
        added = func.vmap(lambda r, a=a: tg.addmm(tg.ones(1, 1), r[None], r[:, None], alpha=a))
        agree([added(x)], [((x * x).sum(1) * a + 1)[:, None, None]])
    for at in (
        x,
        x.T.contiguous().T,
        x[::2],
        x[:, :2],
        x.float(),
        tg.tensor(X, requires_grad=True),
    ):
        for _ in range(2):
            found = func.vmap(lambda r: r * r.sum())(at)
            assert found.requires_grad == at.requires_grad
            agree([found], [at * at.sum(1, keepdim=True)])
            with tg.no_grad():
                assert not func.vmap(lambda r: r * r.sum())(at).requires_grad
    for array in (X[0], X[1]):
        agree([func.vmap(lambda r, c=array: r * tg.tensor(c))(x)], [x * tg.tensor(array)])
    assert len(slices._plans) < 40
    monkey = slices.PLANS_AT_MOST
    for n in range(2, monkey + 10):
        func.vmap(lambda r: r * 2)(tg.zeros(n, 1))
    assert len(slices._plans) <= monkey


def test_plans_check_indices_each_time() -> None:
    x, run = tg.tensor(X), func.vmap(lambda a, i: a[i] * 2)
    for labels in ([0, 1, 2, -1, 0], [2, 2, -3, 1, 0]):
        agree([run(x, tg.tensor(labels))], [2 * x[tg.arange(5), tg.tensor(labels)]])
        with pytest.raises(IndexError, match="index 3 is out of bounds"):
            run(x, tg.tensor([0, 3, 0, 0, 0]))


def test_plans_tell_numbers_from_captured_tensors() -> None:
    x = tg.tensor(X)
    for c in (2.0, 3.0, 2.0):
        number = tg.tensor(c)
        agree([func.vmap(lambda r, t=number: r * 2.0 + t)(x)], [x * 2.0 + c])
        doubled = number * 1.0
        agree([func.vmap(lambda r, t=doubled: tg.where(r > 0, t, 2.0) * 2.0)(x)],
              [tg.where(x > 0, c, 2.0) * 2.0])  # fmt: skip


# --------------------------------------------------------------------------- Functions
def square(lib: Any, **more: Any) -> Any:
    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])

    body = {
        "forward": staticmethod(lambda x: x * x), "setup_context": staticmethod(setup),
        "backward": staticmethod(lambda ctx, g: g * 2 * ctx.saved_tensors[0]), **more,
    }  # fmt: skip
    return type("Square", (lib.autograd.Function,), body)


def by_ops(info: Any, in_dims: Any, x: Any) -> Any:
    assert info.batch_size == 5
    assert info.randomness == "error"
    return (x * x).movedim(in_dims[0], 0), 0


def ruled(lib: Any, kind: str) -> Any:
    if kind == "generated":
        return square(lib, generate_vmap_rule=True)
    if kind == "ops":
        return square(lib, vmap=staticmethod(by_ops))
    made = square(lib)
    made.vmap = staticmethod(lambda info, in_dims, x: (made.apply(x), in_dims[0]))
    return made


@pytest.mark.parametrize("kind", ["generated", "ops", "itself"])
def test_functions_with_a_rule(kind: str) -> None:
    def case(m: Any) -> Any:
        f, x = ruled(m, kind), m.tensor(X)
        y = m.tensor(X).requires_grad_()
        z = m.func.vmap(lambda a: f.apply(a).sum())(y)
        (g,) = m.autograd.grad((z**2).sum(), y, create_graph=True)
        return [
            m.func.vmap(lambda a: f.apply(a).sum())(x),
            m.func.vmap(lambda a: f.apply(a) * f.apply(m.tensor(X[0])))(x),
            m.func.vmap(m.func.grad(lambda a: f.apply(f.apply(a)).sum()))(x),
            m.func.vmap(m.func.jacrev(m.func.jacrev(lambda a: (f.apply(a) * a).sum())))(x),
            m.func.grad(lambda b: (m.func.vmap(lambda a: f.apply(a).sum())(b) ** 2).sum())(x),
            m.func.grad(
                lambda b: (m.func.vmap(m.func.grad(lambda a: (f.apply(a) ** 2).sum()))(b) ** 2).sum()
            )(x),
            g.detach(), m.autograd.grad(g.sum(), y),
        ]  # fmt: skip

    same(case)


@pytest.mark.smoke
def test_functions_with_a_rule_run_at_once(at_once: None) -> None:
    for kind in ("ops", "itself"):
        f, y = ruled(tg, kind), tg.tensor(X, requires_grad=True)
        z = func.vmap(lambda a, f=f: f.apply(a).sum())(y)
        agree([tg.autograd.grad(z.sum(), y)[0]], [2 * tg.tensor(X)])
        found = func.vmap(func.grad(lambda a, f=f: f.apply(a).sum()))(tg.tensor(X))
        agree([found], [2 * tg.tensor(X)])
    f = ruled(tg, "generated")
    found = func.vmap(func.grad(lambda a: f.apply(a).sum()))(tg.tensor(X))
    agree([found], [2 * tg.tensor(X)])


@pytest.mark.parametrize("transform", [lambda m, f: f, lambda m, f: m.func.grad(f)])
def test_functions_without_a_rule_are_refused(transform: Any) -> None:
    def combined(lib: Any) -> Any:
        body = {
            "forward": staticmethod(lambda ctx, x: x * x),
            "backward": staticmethod(lambda ctx, g: g),
        }
        return type("Combined", (lib.autograd.Function,), body)

    def both(lib: Any) -> Any:
        return square(lib, vmap=staticmethod(by_ops), generate_vmap_rule=True)

    for make in (square, combined, both):
        same(lambda m, make=make: m.func.vmap(
            transform(m, lambda a: make(m).apply(a).sum())
        )(m.tensor(X)))  # fmt: skip
    for rule in (lambda info, in_dims, x: x, lambda info, in_dims, x: (x, 0, 0)):
        same(lambda m, rule=rule: m.func.vmap(
            square(m, vmap=staticmethod(rule)).apply
        )(m.tensor(X)), up_to="Got a")  # fmt: skip
    same(lambda m: m.func.vmap(
        square(m, vmap=staticmethod(lambda info, in_dims, x: (x, (0, 0)))).apply
    )(m.tensor(X)), up_to="out_dims has structure")  # fmt: skip
    same(lambda m: m.func.vmap(square(m, vmap=staticmethod(lambda *_: 1 // 0)).apply)(m.ones(2)))


# --------------------------------------------------------------------------- random programs
def as_function(program: Program) -> Callable[..., list[Any]]:
    """A random program as a function of its leaves."""

    def function(*leaves: Any) -> list[Any]:
        machine = Machine(tg, [])
        machine.names.update((f"t{i}", x) for i, x in enumerate(leaves))
        for line, error in zip(program.script.lines, program.outcome.errors, strict=True):
            if error is None:
                exec(line.text, machine.names)
        return [machine.names[n] for n in program.names if machine.names[n].dtype is tg.float64]

    return function


@pytest.mark.filterwarnings("ignore:.*degrees of freedom:UserWarning")
@settings(
    deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), max_examples=120
)
@given(rng=st.randoms(use_true_random=False), order=st.integers(0, 2))
def test_random_programs_agree_with_runs_on_slices(rng: random.Random, order: int) -> None:
    program = Program(rng, 10, kinds=PLAIN, single=0.0)
    function = as_function(program)
    leaves_of = program.script.leaves
    which = [rng.random() < 0.7 for _ in leaves_of]
    which[0] = True
    shift = np.random.default_rng(rng.randrange(1000))
    arrays = [
        np.stack([x.array + shift.uniform(-0.05, 0.05, x.array.shape) for _ in range(SIZE)])
        if on
        else x.array
        for x, on in zip(leaves_of, which, strict=True)
    ]
    active = tuple(i for i, x in enumerate(leaves_of) if x.active)
    for _ in range(order):
        function = gradient_of(function, active)
    dims = [0 if on else None for on in which]

    def outcome(run: Any) -> Any:
        leaves = [tg.tensor(a) for a in arrays]
        try:
            with np.errstate(all="ignore"):
                return [y.detach().numpy() for y in run(leaves)]
        except (RuntimeError, ValueError) as error:
            return type(error)

    found = outcome(lambda leaves: func.vmap(function, in_dims=tuple(dims))(*leaves))
    expected = outcome(lambda leaves: loop(function, leaves, dims))
    assert isinstance(found, type(expected)), program.script.text()
    if isinstance(found, list):
        for a, b in zip(found, expected, strict=True):
            scale = np.abs(b[np.isfinite(b)]).max(initial=1.0)
            np.testing.assert_allclose(
                a, b, rtol=1e-7, atol=1e-8 * scale, err_msg=program.script.text()
            )


def test_a_handler_that_reads_a_value_while_results_are_lifted() -> None:
    """What it records on the trace, and has lifted, is no part of a plan."""
    w = tg.tensor(2.0, requires_grad=True)

    def run(at: int) -> tuple[list[float], int]:
        count = 0

        def watch(frame, event, arg):
            nonlocal count
            if event == "c_call" or not frame.f_code.co_filename.endswith("batch_plan.py"):
                return
            count += 1
            if count == at:
                sys.setprofile(None)
                assert (tg.tensor([1.0, 2.0]) * 3 + 1).tolist() == [4.0, 7.0]

        before = sys.getprofile()
        sys.setprofile(watch)
        try:
            lifted = func.vmap(lambda x, w: (x * w).sin().sum(), in_dims=(0, None))(
                tg.ones(4, 3), w
            )
        finally:
            sys.setprofile(before)
        (slope,) = tg.autograd.grad(lifted.sum(), w)
        return [*lifted.tolist(), slope.item()], count

    expected, total = run(0)
    assert total > 20
    for at in range(1, total + 1):
        assert run(at)[0] == pytest.approx(expected), at
    assert run(0)[0] == expected  # no plan that is kept has something of a handler's


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: x.t(),
        lambda x: x[0],
        lambda x: x.split(2)[1],
        lambda x: x.expand(2, 3, 4),
    ],
    ids=["itself", "transposed", "row", "split", "expanded"],
)
@pytest.mark.parametrize("dim", [0, 1])
def test_a_result_that_is_a_view_shares_memory(view: Any, dim: int) -> None:
    x = tg.arange(24.0).reshape(2, 3, 4).movedim(0, dim).contiguous()
    y = func.vmap(view, in_dims=dim, out_dims=dim)(x)
    assert y._is_view()
    wanted = [view(part).tolist() for part in x.unbind(dim)]
    assert [part.tolist() for part in y.unbind(dim)] == wanted
    x.neg_()
    assert [part.tolist() for part in y.unbind(dim)] == [view(p).tolist() for p in x.unbind(dim)]


# --------------------------------------------------------------------------- places in memory
def test_as_strided_counts_from_the_whole_as_pytorch(at_once: None) -> None:
    """An offset is one in the memory of what is mapped over, moved along with the slice."""
    whole = tg.arange(60.0).reshape(2, 5, 2, 3)
    x = whole[1]  # begins at element 30
    wanted = x[:, :, 1].tolist()
    for f in (
        lambda t: t.as_strided((2,), (3,), 31),
        lambda t: t[:, 1].as_strided((2,), (3,)),
        lambda t: t.as_strided((2,), (3,), t.storage_offset() + 1),
        lambda t: t.as_strided((2,), (3,), t[:, 1:].storage_offset()),
    ):
        assert func.vmap(f)(x).tolist() == wanted
    columns = func.vmap(lambda t: t.as_strided((5,), (6,), 30), in_dims=2)(x)
    assert columns.tolist() == x[:, 0].t().tolist()
    nested = func.vmap(func.vmap(lambda t: t.as_strided((3, 2), (0, 2), 30)))(x)
    assert nested.tolist() == [[[[r[0], r[2]]] * 3 for r in m] for m in x.tolist()]


@pytest.mark.parametrize(
    ("size", "stride", "offset"), [((3,), (1,), 1), ((4, 4), (4, 1), 0), ((2,), (40,), None)]
)
def test_as_strided_stays_in_the_slice(size: Any, stride: Any, offset: int | None) -> None:
    x = tg.arange(15.0 if len(size) == 1 else 75.0)
    x = x.reshape(5, 3) if len(size) == 1 else x.reshape(5, 3, 5)
    with pytest.raises(
        RuntimeError, match=r"can access memory outside of `tensor`.*inside of vmap"
    ):
        func.vmap(lambda t: t.as_strided(size, stride, offset))(x)


def test_as_strided_with_an_offset_where_slices_run_one_by_one() -> None:
    x = tg.arange(12.0).reshape(2, 2, 3)
    with pytest.raises(tg.UnsupportedError, match="leave the offset out"):
        func.vmap(lambda t: t.as_strided((2,), (1,), 0) * float(t[0, 0]))(x)
    found = func.vmap(lambda t: t.as_strided((2,), (1,)) * float(t[0, 0]))(x)
    assert found.tolist() == [[0.0, 0.0], [36.0, 42.0]]


def test_resizing_a_slice_stays_in_the_slice(at_once: None) -> None:
    x = tg.arange(24.0).reshape(2, 4, 3)[1]
    found = func.vmap(lambda t: t[1:].clone().resize_(1))(x)
    assert found.tolist() == x[:, 1:2].tolist()
    found = func.vmap(lambda t: t.clone().as_strided((2,), (1,), 1))(x)
    assert found.tolist() == x[:, 1:].tolist()


def test_results_of_slices_have_the_value_they_had_when_the_slice_ended() -> None:
    def total(t: Any, x: Any) -> Any:
        return t.add_(x)

    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert func.vmap(total, in_dims=(None, 0))(tg.zeros(2), x).tolist() == [[1.0, 2.0], [4.0, 6.0]]
    buffer = tg.zeros(2)
    found = func.vmap(lambda x: (buffer.copy_(x), buffer[1:]))(x)
    assert [y.tolist() for y in found] == [x.tolist(), [[2.0], [4.0]]]
    first = func.vmap(lambda x: x.mul_(2))(x)
    assert first.tolist() == x.tolist() == [[2.0, 4.0], [6.0, 8.0]]


def test_results_that_have_memory_of_their_own() -> None:
    x, w = tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([5.0, 6.0])
    written = func.vmap(lambda x: x.mul_(2))(x)
    same_for_all = func.vmap(lambda x: w)(x)
    assert written.tolist() == x.tolist() == [[2.0, 4.0], [6.0, 8.0]]
    assert same_for_all.tolist() == [[5.0, 6.0], [5.0, 6.0]]
    written.zero_()
    same_for_all[0] = 0.0
    assert x.tolist() == [[2.0, 4.0], [6.0, 8.0]]
    assert w.tolist() == [5.0, 6.0]
    assert same_for_all.tolist() == [[0.0, 0.0], [5.0, 6.0]]


def test_tangents_that_are_the_same_for_all_slices_of_what_is_not_contiguous() -> None:
    """Forward mode gives up there, and takes back what it recorded, but not what the trace has captured."""
    x, v = tg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), tg.tensor([7.0, 8.0, 9.0])

    def tangent(x: Any, v: Any) -> Any:
        return tg.func.jvp(lambda x: x[2] * x[1], (x,), (v,))[1]

    moved = tg.vmap(tangent, (1, None))(x, v)
    assert moved.tolist() == [9 * 3 + 8 * 5, 9 * 4 + 8 * 6]
