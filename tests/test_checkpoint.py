"""`checkpoint`: the same gradients, with values recomputed, beside torch where it is installed."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.autograd.checkpoint import CheckpointError, checkpoint
from tapegrad.base.errors import UnsupportedError
from tapegrad.native import abi as nt
from tapegrad.tape import collector
from tapegrad.utils.checkpoint import (
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
    set_checkpoint_debug_enabled,
    set_checkpoint_early_stop,
)

try:
    import torch
    from torch.utils.checkpoint import checkpoint as torch_checkpoint
except ImportError:
    torch = None


def plain(function: Any, *args: Any, **options: Any) -> Any:
    """`checkpoint` of the kind that has no limits."""
    return checkpoint(function, *args, use_reentrant=False, **options)


def run(lib: Any, checkpointed: Any, reentrant: bool) -> tuple[list[Any], int]:
    """Gradients of a program with a checkpoint, and how often its function ran."""
    w = lib.tensor([1.0, 2.0], dtype=lib.float64, requires_grad=True)
    x = lib.tensor([0.5, 0.7], dtype=lib.float64, requires_grad=True)
    calls = [0]

    def function(a: Any, k: float, b: Any) -> Any:
        calls[0] += 1
        return (a * b * k).sin() * a

    y = function(w * 2, 3.0, x) if checkpointed is None else (
        checkpointed(function, w * 2, 3.0, x, use_reentrant=reentrant)
    )  # fmt: skip
    (y * y * w).sum().backward()
    return [w.grad.tolist(), x.grad.tolist()], calls[0]


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_are_the_same(reentrant: bool) -> None:
    want, once = run(tg, None, reentrant)
    found, twice = run(tg, checkpoint, reentrant)
    assert found == want
    assert (once, twice) == (1, 2)
    if torch is not None:
        beside, count = run(torch, torch_checkpoint, reentrant)
        np.testing.assert_allclose(found, beside, rtol=1e-12)
        assert count == 2


@pytest.mark.smoke
def test_higher_orders() -> None:
    def derivative(checkpointed: bool) -> list[Any]:
        x = tg.tensor([0.3, 0.6], requires_grad=True)

        def function(x: Any) -> Any:
            return (x * x).exp()

        y = checkpoint(function, x, use_reentrant=False) if checkpointed else function(x)
        found = []
        for _ in range(3):
            (g,) = tg.autograd.grad((y * x).sum(), x, create_graph=True)
            found.append(g.tolist())
            y = g
        return found

    np.testing.assert_allclose(derivative(True), derivative(False), rtol=1e-12)


def test_passive_arguments_and_exceptions() -> None:
    y = checkpoint(lambda a: a * 2, tg.ones(2), use_reentrant=False)
    assert not y.requires_grad
    x = tg.tensor([1.0], requires_grad=True)

    def fail(a: Any) -> Any:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        checkpoint(fail, x, use_reentrant=False)
    (x * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2]


# --------------------------------------------------------------------------- what a function may do
def leaf(*values: float) -> Any:
    return tg.tensor(list(values or (0.3, 0.6)), requires_grad=True)


def both(function: Any, *args: Any, **options: Any) -> tuple[Any, Any]:
    """A function's result without and with a checkpoint."""
    return function(*args), checkpoint(function, *args, use_reentrant=False, **options)


def test_captured_leaves_get_their_gradients() -> None:
    w, x, unused = leaf(2.0, 3.0), leaf(), leaf()

    def function(a: Any) -> Any:
        unused * 2
        return (a.sin() * w).sum() + w[0] * a[1]

    want, found = both(function, x)
    for order in range(3):
        want, found = (tg.autograd.grad(y, [x, w], create_graph=True) for y in (want, found))
        for a, b in zip(want, found, strict=True):
            np.testing.assert_allclose(b.tolist(), a.tolist(), rtol=1e-13, err_msg=f"order {order}")
        want, found = ((g * g).sum() + (h * g).sum() for g, h in (want, found))
    found.backward()
    assert unused.grad is None or unused.grad.tolist() == [0.0, 0.0]


def test_captured_results_are_refused() -> None:
    x = leaf()
    h = x * 2
    with pytest.raises(UnsupportedError, match="a result of mul, of shape"):
        checkpoint(lambda a: a * h, x, use_reentrant=False)
    (g,) = tg.autograd.grad(checkpoint(lambda a, b: (a * b).sum(), x, h, use_reentrant=False), h)
    assert g.tolist() == x.tolist()


def test_arguments_that_depend_on_each_other_count_once() -> None:
    x = leaf()
    h = x * x
    want, found = both(lambda a, b: (a * b + b * b).sum(), x, h)
    a, b = (tg.autograd.grad(y, [x, h], retain_graph=True) for y in (want, found))
    assert [t.tolist() for t in a] == [t.tolist() for t in b]


@pytest.mark.smoke
def test_nested_arguments_and_results() -> None:
    x, w = leaf(), leaf(2.0, 3.0)

    def function(p: Any, *, scale: Any) -> Any:
        return {
            "y": p["a"] * p["b"][0] * scale,
            "n": 3,
            "mask": p["a"] > 0.5,
            "list": [p["a"].sum()],
        }

    found = checkpoint(function, {"a": x, "b": [w, "text"]}, scale=2.0, use_reentrant=False)
    assert found["n"] == 3
    assert found["mask"].tolist() == [False, True]
    total = found["y"].sum() + found["list"][0]
    gx, gw = tg.autograd.grad(total, [x, w])
    assert gx.tolist() == [5.0, 7.0]
    assert gw.tolist() == [0.6, 1.2]


def test_only_some_results_are_used() -> None:
    x = leaf()
    first, second = checkpoint(lambda a: (a * a, a.exp()), x, use_reentrant=False)
    assert tg.autograd.grad(first.sum(), x, retain_graph=True)[0].tolist() == [0.6, 1.2]
    np.testing.assert_allclose(tg.autograd.grad(second.sum(), x)[0].tolist(), np.exp(x.tolist()))


def test_random_numbers_are_the_same_again() -> None:
    x, seen = tg.ones(4).requires_grad_(), []

    def function(a: Any) -> Any:
        seen.append(tg.rand(4).tolist())
        return (a * tg.tensor(seen[-1])).sum()

    y = checkpoint(function, x, use_reentrant=False)
    before = tg.get_rng_state().tolist()
    y.backward()
    assert seen[0] == seen[1] == x.grad.tolist()
    assert tg.get_rng_state().tolist() == before
    checkpoint(function, x, preserve_rng_state=False, use_reentrant=False).backward()
    assert seen[2] != seen[3]


def test_a_function_that_changes_its_mind() -> None:
    calls: list[int] = []

    def function(a: Any) -> Any:
        calls.append(1)
        return a * 2 if len(calls) % 2 else a[:1] * 2

    y = checkpoint(function, leaf(), use_reentrant=False)
    with pytest.raises(CheckpointError, match="different metadata than during the forward pass"):
        y.sum().backward()


def test_contexts_surround_the_runs() -> None:
    log: list[str] = []

    @contextlib.contextmanager
    def named(name: str) -> Iterator[None]:
        log.append(name)
        yield

    x = leaf()
    y = checkpoint(
        lambda a: (a * a).sum(),
        x,
        context_fn=lambda: (named("first"), named("again")),
        use_reentrant=False,
    )
    y.backward()
    assert log == ["first", "again"]


def test_checkpoints_nest_with_themselves_and_with_transforms() -> None:
    w, x = leaf(2.0, 3.0), leaf()

    def inner(a: Any) -> Any:
        return (a * w).sin()

    want, found = (
        tg.autograd.grad(y, [x, w])
        for y in ((inner(x) * x).sum(), plain(lambda a: (plain(inner, a) * a).sum(), x))
    )
    assert [t.tolist() for t in want] == [t.tolist() for t in found]
    f = lambda a: (a**3).sum()  # noqa: E731
    for transform in (tg.func.grad, tg.func.hessian, tg.func.jacfwd):
        at = tg.tensor([0.3, 0.6])
        np.testing.assert_allclose(
            transform(lambda a: plain(f, a))(at).tolist(), transform(f)(at).tolist()
        )


def test_without_recording_it_is_a_call() -> None:
    calls: list[int] = []
    x = leaf()
    with tg.no_grad():
        y = checkpoint(lambda a: (calls.append(1), a * 2)[1], x, use_reentrant=False)
    assert not y.requires_grad
    assert calls == [1]


def test_nothing_is_left_on_the_tape() -> None:
    x = tg.ones(1 << 16).requires_grad_()

    def deep(a: Any) -> Any:
        for _ in range(20):
            a = a.sin()
        return a

    def held(function: Any) -> int:
        y = function(x)
        tape = tg.current_tape()
        tape.evaluate()
        gc.collect()
        tape.collect()
        found = int(tape.state[nt.S_OWNED_BYTES])
        del y
        return found

    assert held(lambda a: plain(deep, a)) < held(deep) / 5


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_chain_of_checkpoints_in_little_memory(create_graph: bool) -> None:
    """What is computed again goes while the pass goes on, and the pass's slots stay where they are."""
    count, size = 16, 40_000
    w = tg.tensor(np.linspace(0.5, 1.0, size), requires_grad=True)
    tape = tg.current_tape()
    peak = 0

    def segment(x: Any) -> Any:
        nonlocal peak
        for _ in range(8):
            x = (x * 1.01).sin()
        peak = max(peak, int(tape.state[nt.S_OWNED_BYTES]))
        return x

    def gradient(wrap: Any) -> Any:
        x = w * 1
        for _ in range(count):
            x = wrap(x)
        (g,) = tg.autograd.grad(x.sum(), w, create_graph=create_graph)
        if create_graph:
            (g,) = tg.autograd.grad(g.sum(), w)
        return g.numpy()

    found = gradient(lambda x: plain(segment, x))
    if not create_graph:
        assert peak < collector.COLLECT_BYTES + 4 * 16 * 8 * size
    np.testing.assert_allclose(found, gradient(segment), rtol=1e-12)


def test_arguments() -> None:
    with pytest.raises(UnsupportedError, match="debug"):
        checkpoint(lambda a: a, leaf(), debug=True, use_reentrant=False)
    with pytest.raises(ValueError, match="determinism_check should be one of"):
        checkpoint(lambda a: a, leaf(), determinism_check="mine", use_reentrant=False)
    assert tg.utils.checkpoint.checkpoint is checkpoint


# --------------------------------------------------------------------------- PyTorch's two kinds
def square(a: Any) -> Any:
    return (a * a).sum()


def test_use_reentrant_is_to_be_passed() -> None:
    x = leaf(2.0, 3.0)
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed explicitly"):
        checkpoint(square, x).backward()
    assert x.grad.tolist() == [4.0, 6.0]


def test_reentrant_checkpoints_are_for_whole_passes() -> None:
    x = leaf(2.0, 3.0)
    message = "torch.utils.checkpoint is incompatible with .grad\\(\\)"
    with pytest.raises(RuntimeError, match=message):
        tg.autograd.grad(checkpoint(square, x, use_reentrant=True), x)
    with pytest.raises(RuntimeError, match=message):
        tg.autograd.grad(checkpoint(square, x, use_reentrant=True), x, create_graph=True)
    with pytest.raises(RuntimeError, match=message):
        checkpoint(square, x, use_reentrant=True).backward(inputs=[x])
    assert x.grad is None
    checkpoint(square, x, use_reentrant=True).backward()
    assert x.grad.tolist() == [4.0, 6.0]


def test_reentrant_checkpoints_nest() -> None:
    x = leaf(2.0, 3.0)

    def outer(a: Any) -> Any:
        return checkpoint(square, a * 2, use_reentrant=True) + checkpoint(
            plain, square, a, use_reentrant=True
        )

    checkpoint(outer, x, use_reentrant=True).backward()
    assert x.grad.tolist() == [20.0, 30.0]
    with pytest.raises(RuntimeError, match="is incompatible with"):
        tg.autograd.grad(plain(outer, x), x)


def test_a_pass_inside_a_reentrant_checkpoint_is_not_its_own() -> None:
    x = leaf(2.0, 3.0)

    def inner(a: Any) -> Any:
        b = a.detach().requires_grad_()
        (g,) = tg.autograd.grad(checkpoint(square, b, use_reentrant=True), b)
        return (g * a).sum()

    with pytest.raises(RuntimeError, match="is incompatible with"):
        checkpoint(inner, x, use_reentrant=True)


def test_reentrant_checkpoints_of_passive_arguments() -> None:
    w = leaf(2.0, 3.0)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        y = checkpoint(lambda a: a * w, tg.ones(2), use_reentrant=True)
    assert not y.requires_grad
    assert plain(lambda a: a * w, tg.ones(2)).requires_grad


@pytest.mark.parametrize(("options", "message"), [
    ({"scale": 2.0}, "Unexpected keyword arguments: scale"),
    ({"context_fn": lambda: (contextlib.nullcontext(), contextlib.nullcontext())}, "`context_fn` or `debug`"),
    ({"debug": True}, "`context_fn` or `debug`"),
])  # fmt: skip
def test_what_reentrant_checkpoints_do_not_take(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checkpoint(square, leaf(), use_reentrant=True, **options)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_of_captured_leaves_are_called_once_and_with_the_whole_gradient(
    reentrant: bool, create_graph: bool
) -> None:
    w, x = leaf(2.0, 3.0), leaf(5.0, 7.0)
    seen: list[list[float]] = []

    def hook(g: Any) -> Any:
        seen.append(g.tolist())
        return g * 10

    w.register_hook(hook)
    h = x * w  # and outside of the checkpoint
    y = checkpoint(lambda a: (a * w).sum(), h, use_reentrant=reentrant)
    if create_graph:
        with pytest.warns(UserWarning, match="create_graph=True"):
            y.backward(create_graph=True)
    else:
        y.backward()
    assert seen == [[20.0, 42.0]]
    assert w.grad.tolist() == [200.0, 420.0]
    w.register_hook(hook)  # they are there again
    w.sum().backward()
    assert len(seen) == 3


def test_sequential() -> None:
    x = leaf(2.0, 3.0)
    calls = [0]

    def counted(a: Any) -> Any:
        calls[0] += 1
        return a * 2

    steps = [counted, tg.exp, counted, tg.sin, tg.sum]
    want = tg.autograd.grad((x * 2).exp().mul(2).sin().sum(), x)[0]
    for segments in (1, 2, 3, 5):
        calls[0] = 0
        y = checkpoint_sequential(steps, segments, x, use_reentrant=False)
        (found,) = tg.autograd.grad(y, x)
        assert found.tolist() == want.tolist()
        assert calls[0] == {1: 2, 2: 3, 3: 3, 5: 4}[segments]
    with pytest.warns(UserWarning, match="checkpoint_sequential: the use_reentrant"):
        checkpoint_sequential([tg.sin], 1, x)
    with pytest.raises(ValueError, match="Unexpected keyword arguments: size"):
        checkpoint_sequential(steps, 2, x, use_reentrant=False, size=3)


def test_switches_of_pytorch() -> None:
    x = leaf(2.0, 3.0)
    for on in (True, False):
        with set_checkpoint_early_stop(on), set_checkpoint_debug_enabled(None):
            plain(square, x).backward()
    assert x.grad.tolist() == [8.0, 12.0]
    with pytest.raises(UnsupportedError, match="current_tape"), set_checkpoint_debug_enabled(True):
        pass
    with pytest.raises(UnsupportedError, match="Checkpoint the parts before and behind"):
        create_selective_checkpoint_contexts([tg.mm])
    with pytest.raises(TypeError, match="either a function or a list of ops"):
        create_selective_checkpoint_contexts("mm")
