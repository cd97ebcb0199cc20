"""Loops of any kind run in constant memory, wherever they stand: statements, handles and bytes stay.

`BODIES` are steps of a loop. `PLACES` are functions of this package from which a user's loop may be called:
decorators, Functions, hooks, transforms. A tape is collected inside of each as it is outside.
"""

from __future__ import annotations

import gc
import itertools
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from alone import alone

import tapegrad as tg
from tapegrad.autograd import Function, forward_ad, graph
from tapegrad.tape import tape as tapes
from tapegrad.tape.verifier import verify
from tapegrad.utils.checkpoint import checkpoint

#: statements that a tape may have beside what is alive, before a collection is due
ROOM = 600


@pytest.fixture(autouse=True)
def _early_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few steps be enough for several collections, and verify some of the tapes."""
    monkeypatch.setattr(tapes, "LEAST_ROOM", 256)
    count = itertools.count()
    monkeypatch.setattr(tapes.Tape, "check", lambda t: next(count) % 20 or verify(t))


def resident() -> int:
    """Bytes of memory that the process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def leaf() -> Any:
    return tg.tensor([1.0, 2.0, 3.0], requires_grad=True)


def f(x: Any) -> Any:
    return (x.sin() * x).sum()


# --------------------------------------------------------------------------- steps of loops
BODIES: dict[str, Callable[[Any], None]] = {}


def body(step: Callable[[Any], None]) -> Callable[[Any], None]:
    BODIES[step.__name__] = step
    return step


@body
def descent(w: Any) -> None:
    (g,) = tg.autograd.grad(((w - 1.0) ** 2).sum(), w)
    with tg.no_grad():
        w -= 0.01 * g


#: what the step before left
LAST: list[Any] = []


@body
def values_that_nobody_reads(w: Any) -> None:
    with tg.no_grad():
        LAST[:] = [x * 0.5 + w for x in LAST] or [w * 1.0]


@body
def checkpointed(w: Any) -> None:
    checkpoint(f, w, use_reentrant=False).backward()
    w.grad = None


@body
def checkpointed_reentrant(w: Any) -> None:
    checkpoint(f, w, use_reentrant=True).backward()
    w.grad = None


@body
def nested_checkpoints(w: Any) -> None:
    def inner(x: Any) -> Any:
        return checkpoint(lambda y: y.exp() * 0.1, x, use_reentrant=False) * x

    checkpoint(lambda x: inner(x).sum(), w, use_reentrant=False).backward()
    w.grad = None


@body
def checkpoints_without_grad(w: Any) -> None:
    with tg.no_grad():
        checkpoint(f, w, use_reentrant=False).item()


@body
def checkpoints_with_create_graph(w: Any) -> None:
    y = checkpoint(f, w, use_reentrant=False)
    (g,) = tg.autograd.grad(y, w, create_graph=True)
    tg.autograd.grad((g * g).sum(), w)


@body
def checkpoints_that_fail(w: Any) -> None:
    runs = 0

    def once(x: Any) -> Any:
        nonlocal runs
        runs += 1
        y = f(x)
        if runs == 2:
            raise ZeroDivisionError
        return y

    with suppress(ZeroDivisionError):
        checkpoint(once, w, use_reentrant=False).backward()


@body
def packed(w: Any) -> None:
    with graph.saved_tensors_hooks(lambda t: t.tolist(), tg.tensor):
        y = (w.exp() * w).sum()
    y.backward()
    w.grad = None


class Scaled(Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.factor, ctx.kept = 3.0, x.detach() * 2
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, ct: Any) -> Any:
        (x,) = ctx.saved_tensors
        return ct * x * 2 + 0 * ctx.kept * ctx.factor


@body
def functions_with_attributes(w: Any) -> None:
    Scaled.apply(w).sum().backward()
    Scaled.apply(w)
    w.grad = None


@body
def retained_graphs(w: Any) -> None:
    y = f(w)
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    w.grad = None


@body
def second_derivatives(w: Any) -> None:
    (g,) = tg.autograd.grad(f(w), w, create_graph=True)
    tg.autograd.grad(g.sum(), w)


@body
def create_graph_that_is_reset(w: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f(w).backward(create_graph=True)
    w.grad = None


@body
def transforms(w: Any) -> None:
    x = w.detach()
    tg.func.grad(f)(x)
    tg.func.jvp(f, (x,), (x,))
    tg.func.vjp(f, x)[1](tg.tensor(1.0))
    tg.value_and_grad(f)(x)


@body
def hessians(w: Any) -> None:
    tg.func.hessian(f)(w.detach())
    tg.autograd.functional.hvp(f, w.detach(), w.detach())


@body
def mapped(w: Any) -> None:
    tg.vmap(lambda x: x.sin() * x)(w).sum().backward()
    tg.vmap(lambda x: x * x.item())(w.detach())  # once a slice
    w.grad = None


@body
def forward_mode(w: Any) -> None:
    with forward_ad.dual_level():
        y = f(forward_ad.make_dual(w.detach(), w.detach()))
        forward_ad.unpack_dual(y)


@body
def hooks_that_are_removed(w: Any) -> None:
    y = w * 2
    handles = [y.register_hook(lambda g: g * 2), w.register_hook(lambda g: None)]
    handles.append(y.grad_fn.register_hook(lambda i, o: None))
    y.retain_grad()
    y.sum().backward()
    for handle in handles:
        handle.remove()
    w.grad = None


@body
def hooks_that_stay(w: Any) -> None:
    y = w * 2
    y.register_hook(lambda g: g * 2)
    y.sum().backward()
    w.grad = None


@body
def dropped_graphs(w: Any) -> None:
    y = w * 2
    y.register_hook(lambda g: g * w.detach())
    y.retain_grad()


@body
def anomalies(w: Any) -> None:
    with tg.autograd.detect_anomaly(check_nan=False):
        f(w).backward()
    w.grad = None


@body
def threads(w: Any) -> None:
    def run() -> None:
        x = leaf()
        f(x).backward()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


#: bodies that take milliseconds a step
SLOW = {"hessians", "mapped", "threads", "checkpoints_with_create_graph", "anomalies", "transforms"}


@pytest.mark.parametrize("name", BODIES)
@alone
def test_loops(name: str) -> None:
    """The tape of a loop is as long after many steps as after some."""
    step = BODIES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _check_loop(step, 60 if name in SLOW else 250)


def _check_loop(step: Callable[[Any], None], n: int) -> None:
    w, tape = leaf(), tg.current_tape()
    tape.collect()
    for _ in range(n // 5):
        step(w)
    tape.collect()
    gc.collect()
    first, handles = len(tape), tape.stats()["handles"]
    size = resident() if os.path.exists("/proc/self/statm") else 0
    for _ in range(n):
        step(w)
        assert len(tape) < first + ROOM
    if size:
        assert resident() - size < 4 << 20
    tape.evaluate()
    tape.collect()
    gc.collect()
    LAST.clear()
    tape.collect()
    assert len(tape) <= first + 2
    assert tape.stats()["handles"] <= handles + 2
    for name in ("owned", "leaves", "retained", "versions", "hooks", "contexts", "writes"):
        assert len(getattr(tape, name)) <= first + 8, name


# --------------------------------------------------------------------------- where loops stand
PLACES: dict[str, Callable[[Callable[[], None]], None]] = {}


def place(run: Callable[[Callable[[], None]], None]) -> Callable[[Callable[[], None]], None]:
    PLACES[run.__name__] = run
    return run


@place
def in_no_grad_function(loop: Callable[[], None]) -> None:
    tg.no_grad()(loop)()


@place
def in_enable_grad_function(loop: Callable[[], None]) -> None:
    tg.no_grad()(tg.enable_grad()(loop))()


@place
def in_generator(loop: Callable[[], None]) -> None:
    @tg.set_grad_enabled(True)
    def numbers() -> Any:
        loop()
        yield 1
        loop()

    assert list(numbers()) == [1]


@place
def in_inference_mode_function(loop: Callable[[], None]) -> None:
    tg.inference_mode(False)(loop)()


@place
def in_dual_level_function(loop: Callable[[], None]) -> None:
    forward_ad.dual_level()(loop)()


def in_function(where: str) -> Callable[[Callable[[], None]], None]:
    def run(loop: Callable[[], None]) -> None:
        class Busy(Function):
            @staticmethod
            def forward(x: Any) -> Any:
                if where == "forward":
                    loop()
                return x * 2

            @staticmethod
            def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
                if where == "setup_context":
                    loop()

            @staticmethod
            def backward(ctx: Any, ct: Any) -> Any:
                if where == "backward":
                    loop()
                return ct * 2

            @staticmethod
            def jvp(ctx: Any, tangent: Any) -> Any:
                if where == "jvp":
                    loop()
                return tangent * 2

            @staticmethod
            def vmap(info: Any, in_dims: Any, x: Any) -> Any:
                if where == "vmap":
                    loop()
                return x * 2, in_dims[0]

        x = leaf()
        if where == "jvp":
            assert tg.func.jvp(Busy.apply, (x.detach(),), (x.detach(),))[1].tolist() == [2, 4, 6]
        elif where == "vmap":
            assert tg.vmap(Busy.apply)(x).tolist() == [2, 4, 6]
        else:
            Busy.apply(x).sum().backward()
            assert x.grad.tolist() == [2, 2, 2]
            y = Busy.apply(x * 1.0)
            (g,) = tg.autograd.grad((y * y).sum(), x, create_graph=True)
            assert g.tolist() == [8, 16, 24]

    return run


for _where in ("forward", "setup_context", "backward", "jvp", "vmap"):
    PLACES[f"in_{_where}"] = in_function(_where)


def in_hook(kind: str, *, create_graph: bool = False) -> Callable[[Callable[[], None]], None]:
    def run(loop: Callable[[], None]) -> None:
        x = leaf()
        y = x * 2
        z = y * y
        if kind == "tensor":
            y.register_hook(lambda g: loop())
        elif kind == "leaf":
            x.register_hook(lambda g: loop())
        elif kind == "node":
            y.grad_fn.register_hook(lambda i, o: loop())
        elif kind == "prehook":
            y.grad_fn.register_prehook(lambda o: loop())
        elif kind == "multi":
            graph.register_multi_grad_hook((y, z), lambda grads: loop())
        else:
            x.register_post_accumulate_grad_hook(lambda leaf: loop())
        if create_graph:
            (g,) = tg.autograd.grad(z.sum(), x, create_graph=True)
            assert g.tolist() == [8, 16, 24]
            assert tg.autograd.grad(g.sum(), x)[0].tolist() == [8, 8, 8]
        else:
            z.sum().backward()
            assert x.grad.tolist() == [8, 16, 24]

    return run


for _kind in ("tensor", "leaf", "node", "prehook", "multi", "accumulated"):
    PLACES[f"in_{_kind}_hook"] = in_hook(_kind)
for _kind in ("tensor", "leaf", "node", "prehook", "multi"):
    PLACES[f"in_{_kind}_hook_of_create_graph"] = in_hook(_kind, create_graph=True)


@place
def in_pack_hook(loop: Callable[[], None]) -> None:
    def pack(t: Any) -> Any:
        with graph.saved_tensors_hooks(lambda s: s, lambda s: s):
            loop()
        return t

    x = leaf()
    with graph.saved_tensors_hooks(pack, lambda t: t):
        y = x.sin()
    y.sum().backward()
    np.testing.assert_allclose(x.grad.tolist(), np.cos([1, 2, 3]), 1e-14)


@place
def in_unpack_hook(loop: Callable[[], None]) -> None:
    def unpack(t: Any) -> Any:
        loop()
        return t

    x = leaf()
    with graph.saved_tensors_hooks(lambda t: t, unpack):
        y = x.sin()
        z = Scaled.apply(y)
    assert y.grad_fn._saved_self.tolist() == [1, 2, 3]
    z.sum().backward()
    np.testing.assert_allclose(x.grad.tolist(), np.sin([2, 4, 6]), 1e-14)


@place
def in_checkpoint(loop: Callable[[], None]) -> None:
    x = leaf()

    def busy(a: Any) -> Any:
        b = a * 2
        loop()
        return (a * b).sum()

    checkpoint(busy, x, use_reentrant=False).backward()
    assert x.grad.tolist() == [4, 8, 12]
    y = checkpoint(busy, x, use_reentrant=False)
    (g,) = tg.autograd.grad(y, x, create_graph=True)
    assert tg.autograd.grad(g.sum(), x)[0].tolist() == [4, 4, 4]


def in_transform(transform: Callable[[Callable[[Any], Any]], None]) -> Any:
    def run(loop: Callable[[], None]) -> None:
        def busy(x: Any) -> Any:
            y = x * 2
            loop()
            return (x * y).sum()

        transform(busy)

    return run


def _is(found: Any, want: Any) -> None:
    assert np.asarray(found.tolist()).tolist() == want


X = [1.0, 2.0, 3.0]
EYE = [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]
for _name, _transform in {
    "grad": lambda g: _is(tg.grad(g)(tg.tensor(X)), [4, 8, 12]),
    "value_and_grad": lambda g: _is(tg.value_and_grad(g)(tg.tensor(X))[0], 28),
    "func_grad": lambda g: _is(tg.func.grad(g)(tg.tensor(X)), [4, 8, 12]),
    "func_grad_of_grad": lambda g: _is(
        tg.func.grad(lambda x: tg.func.grad(g)(x).sum())(tg.tensor(X)), [4, 4, 4]
    ),
    "func_jvp": lambda g: _is(tg.func.jvp(g, (tg.tensor(X),), (tg.ones(3),))[1], 24),
    "func_vjp": lambda g: _is(tg.func.vjp(g, tg.tensor(X))[1](tg.tensor(1.0))[0], [4, 8, 12]),
    "func_linearize": lambda g: _is(
        tg.func.linearize(g, tg.tensor(X))[1](tg.ones(3)), 24
    ),
    "func_jacrev": lambda g: _is(tg.func.jacrev(g)(tg.tensor(X)), [4, 8, 12]),
    "func_jacfwd": lambda g: _is(tg.func.jacfwd(g)(tg.tensor(X)), [4, 8, 12]),
    "hessian": lambda g: _is(tg.hessian(g)(tg.tensor(X)), EYE),
    "hvp": lambda g: _is(tg.hvp(g, tg.tensor(X), tg.ones(3)), [4, 4, 4]),
    "functional_vjp": lambda g: _is(
        tg.autograd.functional.vjp(g, tg.tensor(X))[1], [4, 8, 12]
    ),
    "functional_hvp": lambda g: _is(
        tg.autograd.functional.hvp(g, tg.tensor(X), tg.ones(3))[1], [4, 4, 4]
    ),
    "functional_jacobian": lambda g: _is(
        tg.autograd.functional.jacobian(g, tg.tensor(X)), [4, 8, 12]
    ),
    "functional_hessian": lambda g: _is(
        tg.autograd.functional.hessian(g, tg.tensor(X)), EYE
    ),
    "gradcheck": lambda g: tg.autograd.gradcheck(g, leaf()) or pytest.fail("wrong"),
    "map_of_a_slice": lambda g: _is(
        tg.vmap(lambda x: g(x) if x.sum().item() else x)(tg.tensor([X])), [28]
    ),
}.items():  # fmt: skip
    PLACES[f"in_{_name}"] = in_transform(_transform)


@pytest.mark.parametrize("name", PLACES)
@alone
def test_loops_inside_of_the_package(name: str) -> None:
    """A loop that the package has called is collected like any other, and what is around it stays."""
    tape = tg.current_tape()
    tape.collect()
    kept = [tg.tensor(float(i)) * 2.0 for i in range(10)]
    most = 0

    def loop() -> None:
        nonlocal most
        own = tg.current_tape()
        with tg.enable_grad():
            w = tg.tensor([0.5, 1.0], requires_grad=True)
            for _ in range(150):
                (g,) = tg.autograd.grad((w * w).sum(), w)
                with tg.no_grad():
                    w -= 0.01 * g
                    assert own is tape
                most = max(most, len(own))
        np.testing.assert_allclose(w.tolist(), np.array([0.5, 1.0]) * 0.98**150, 1e-12)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2):
            PLACES[name](loop)
    assert 0 < most < 3 * ROOM, most
    # What was recorded beside the loop is kept while it waits, and goes afterwards.
    assert [t.item() for t in kept] == [2.0 * i for i in range(10)]
    assert tape.floor == 1
    assert tape.waiting == tape.passes == 0
    tape.collect()
    assert len(tape) < 400
