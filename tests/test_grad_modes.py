"""no_grad, enable_grad, set_grad_enabled: as context managers, decorators, in threads."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tapegrad as tg


@pytest.fixture
def x() -> Any:
    return tg.tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.smoke
def test_no_grad_makes_passive_results(x: Any) -> None:
    with tg.no_grad():
        assert not tg.is_grad_enabled()
        y = x * 2
        z = y + x
        v = x[0]
    assert tg.is_grad_enabled()
    for t in (y, z, v):
        assert not t.requires_grad
        assert t.is_leaf
        assert t.grad_fn is None
    assert x.requires_grad
    assert (x * y).requires_grad


@pytest.mark.smoke
def test_modes_nest(x: Any) -> None:
    with tg.no_grad():
        with tg.enable_grad():
            assert (x * 2).requires_grad
            with tg.no_grad():
                assert not (x * 2).requires_grad
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


@pytest.mark.smoke
def test_mode_after_an_exception(x: Any) -> None:
    with pytest.raises(KeyError), tg.no_grad():
        raise KeyError
    assert tg.is_grad_enabled()


def test_decorators(x: Any) -> None:
    @tg.no_grad()
    def first(t: Any) -> Any:
        """Text."""
        return t * 2

    @tg.no_grad
    def second(t: Any) -> Any:
        return t * 2

    @tg.set_grad_enabled(False)
    def third(t: Any) -> Any:
        return t * 2

    assert tg.is_grad_enabled()
    for function in (first, second, third):
        assert not function(x).requires_grad
        assert tg.is_grad_enabled()
    assert first.__name__ == "first"
    assert first.__doc__ == "Text."

    class Model:
        @tg.no_grad()
        def method(self, t: Any) -> Any:
            return t * 3

    assert not Model().method(x).requires_grad


def test_generators(x: Any) -> None:
    @tg.no_grad()
    def values(t: Any) -> Iterator[Any]:
        try:
            got = yield t * 1
            assert got == "sent"
            yield t * 2
        finally:
            assert not tg.is_grad_enabled()

    made = values(x)
    assert not next(made).requires_grad
    assert tg.is_grad_enabled()
    assert not made.send("sent").requires_grad
    assert (x * 2).requires_grad
    made.close()
    assert tg.is_grad_enabled()


def test_recursion(x: Any) -> None:
    @tg.no_grad()
    def down(t: Any, n: int) -> Any:
        return t if n == 0 else down(t * 2, n - 1)

    assert down(x, 5).tolist() == [32, 64]
    assert tg.is_grad_enabled()


def test_set_grad_enabled_sets_at_once(x: Any) -> None:
    tg.set_grad_enabled(False)
    try:
        assert not (x * 2).requires_grad
        with tg.set_grad_enabled(True):
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    finally:
        tg.set_grad_enabled(True)
    assert (x * 2).requires_grad
    with tg.set_grad_enabled(False):
        assert not tg.is_grad_enabled()
    assert tg.is_grad_enabled()
    with pytest.raises(TypeError):
        tg.set_grad_enabled("yes")
    assert tg.is_grad_enabled()


def test_leaves_made_in_no_grad(x: Any) -> None:
    with tg.no_grad():
        w = tg.tensor([1.0], requires_grad=True)
        assert w.requires_grad
    (w * 2).backward()
    assert w.grad is not None
    assert w.grad.tolist() == [2]


@pytest.mark.smoke
def test_backward_inside_no_grad(x: Any) -> None:
    s = (x * x).sum()
    with tg.no_grad():
        s.backward()
    assert x.grad.tolist() == [2, 4]
    assert not x.grad.requires_grad


def test_views_made_in_no_grad_and_written_outside(x: Any) -> None:
    y = x * 1
    with tg.no_grad():
        view = y[0]
    assert not view.requires_grad
    with pytest.raises(RuntimeError, match="A view was created in no_grad mode and is being"):
        view.mul_(10)
    assert y.tolist() == [1, 2]
    with tg.no_grad():
        view.mul_(10)
    assert y.tolist() == [10, 2]
    (y * 2).sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_inputs_of_passive_statements_are_not_kept() -> None:
    tape = tg.current_tape()
    tape.collect()
    before = len(tape)
    with tg.no_grad():
        y = tg.tensor(1.0)
        for _ in range(2000):
            y = y * 1.0
    y.item()
    tape.collect()
    assert len(tape) <= before + 2


def test_each_thread_has_its_mode(x: Any) -> None:
    seen: list[bool] = []
    with tg.no_grad():
        thread = threading.Thread(target=lambda: seen.append(tg.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_anomaly_mode_can_be_switched_off(x: Any) -> None:
    """A NaN in the backward pass is an error where the mode is on, and only there."""

    def nan() -> Any:
        return (x * 0).sqrt().mul(0).sum()

    with tg.autograd.set_detect_anomaly(True):
        with tg.autograd.set_detect_anomaly(False):
            assert not tg.is_anomaly_enabled()
            nan().backward()
        assert tg.is_anomaly_enabled()
        with (
            pytest.warns(UserWarning, match="Error detected"),
            pytest.raises(RuntimeError, match="returned nan values"),
        ):
            nan().backward()


# --------------------------------------------------------------------------- switches that are no bools
ODD = [1, 0, None, "on", 1.0, [], object, np.True_, np.int64(1), tg.ones(2), tg.tensor(True)]


def _type_name(value: object) -> str:
    kind = type(value)
    return f"numpy.{kind.__name__}" if kind.__module__ == "numpy" else kind.__name__


@pytest.fixture(autouse=True)
def _modes_stay() -> Iterator[None]:
    """Whatever a test does, it leaves the modes as they were."""
    yield
    assert tg.is_grad_enabled()
    assert not tg.is_inference_mode_enabled()
    assert tg.autograd.is_anomaly_enabled() is False
    assert tg.autograd.is_multithreading_enabled() is True


@pytest.mark.parametrize("odd", ODD, ids=lambda v: type(v).__name__)
def test_switches_take_bools_only(odd: Any) -> None:
    """PyTorch's texts, where it has them; nothing was switched."""
    name = re.escape(_type_name(odd))
    enabled = rf"argument 'enabled' \(position 1\) must be bool, not {name}$"
    with pytest.raises(TypeError, match=rf"^set_grad_enabled\(\): {enabled}"):
        tg.set_grad_enabled(odd)
    with pytest.raises(TypeError, match=rf"^set_multithreading_enabled\(\): {enabled}"):
        tg.autograd.set_multithreading_enabled(odd)
    with pytest.raises(TypeError, match=rf"^set_anomaly_enabled\(\): {enabled}"):
        tg.autograd.set_detect_anomaly(odd)
    check_nan = rf"argument 'check_nan' \(position 2\) must be bool, not {name}$"
    with pytest.raises(TypeError, match=rf"^set_anomaly_enabled\(\): {check_nan}"):
        tg.autograd.set_detect_anomaly(True, odd)
    with pytest.warns(UserWarning, match="Anomaly Detection"):
        mode = tg.autograd.detect_anomaly(odd)
    with pytest.raises(TypeError, match=check_nan), mode:
        pass
    with pytest.raises(TypeError, match="mode must be a bool"):
        tg.autograd.mask_zero_cotangents(odd)
    with pytest.raises(TypeError, match="must be callable"):
        tg.autograd.graph.saved_tensors_hooks(lambda t: t, tg.ones(1)).__enter__()
    if odd is not object:  # a class is a function to decorate
        with pytest.raises(TypeError, match=rf"^inference_mode\(\): .* must be bool, not {name}$"):
            tg.inference_mode(odd)
        with pytest.raises(TypeError, match="decorates functions"):
            tg.no_grad()(odd)
        with pytest.raises(TypeError, match="decorates functions"):
            tg.set_grad_enabled(False)(odd)
    if not isinstance(odd, str):
        with pytest.raises(
            TypeError, match=rf"error_message must be str, not {type(odd).__name__}"
        ):
            tg.autograd.graph.disable_saved_tensors_hooks(odd).__enter__()
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert tg.autograd.grad((x * x).sum(), x)[0].tolist() == [2.0, 4.0]


def test_a_function_says_as_bool_if_it_wants_zeros() -> None:
    class Twice(tg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(1)
            return x * 2

    with pytest.raises(TypeError, match="must be bool, not int"):
        Twice.apply(tg.ones(2, requires_grad=True))


@pytest.mark.parametrize("option", ["retain_graph", "create_graph", "allow_unused"])
@pytest.mark.parametrize(
    "odd", ["yes", [], object(), 1.0, np.True_, tg.ones(2)], ids=lambda v: type(v).__name__
)
def test_options_of_passes_are_bools_or_integers(option: str, odd: Any) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = (x * x).sum()
    with pytest.raises(TypeError, match="integer"):
        tg.autograd.grad(y, x, **{option: odd})
    if option != "allow_unused":
        with pytest.raises(TypeError, match="integer"):
            y.backward(**{option: odd})
        with pytest.raises(TypeError, match="integer"):
            tg.autograd.backward(y, **{option: odd})
    assert x.grad is None
    (g,) = tg.autograd.grad(y, x, **{option: 1})
    assert g.tolist() == [2.0, 4.0]
