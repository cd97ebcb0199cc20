"""no_grad, enable_grad, set_grad_enabled: as context managers, decorators, in threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import tapegrad as tg


@pytest.fixture
def x() -> Any:
    return tg.tensor([1.0, 2.0], requires_grad=True)


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


def test_modes_nest(x: Any) -> None:
    with tg.no_grad():
        with tg.enable_grad():
            assert (x * 2).requires_grad
            with tg.no_grad():
                assert not (x * 2).requires_grad
            assert (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


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


def test_anomaly_mode_can_be_switched_off() -> None:
    with tg.autograd.set_detect_anomaly(False):
        pass
