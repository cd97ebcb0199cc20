"""Plain passes: native code goes through them in one call, to the same effect as where Python works details
out (reverse_pass.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fast_paths import fast_paths

import tapegrad as tg
from tapegrad.engine import native_entries as sweep
from tapegrad.engine.reverse_pass import Request
from tapegrad.native.abi import DONE, NEEDS_DETAILS, NEEDS_RECORDING

answers: list[int] = []


@pytest.fixture(autouse=True)
def _watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note what the native calls answer: DONE alone for a plain pass."""
    answers.clear()
    for name in ("run", "record"):
        own = getattr(sweep, name)

        def call(*args: int, own: Any = own) -> int:
            answers.append(own(*args))
            return answers[-1]

        monkeypatch.setattr(sweep, name, call)


def general(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python work out the details of all passes."""
    find = Request.find

    def found(self: Request, *tensors: Any) -> None:
        find(self, *tensors)
        self.detail()

    monkeypatch.setattr(Request, "find", found)


def leaf(*values: float) -> Any:
    return tg.tensor(list(values), requires_grad=True)


PROGRAMS = {
    "elementwise": lambda x, y: (x.sin() * y + x / y).sum(),
    "views": lambda x, y: (x[1:] * y[:-1]).sum() + x[0],
    "loop": lambda x, y: sum(x[i] * y[i - 1] for i in range(3)),
    "product": lambda x, y: x @ y.exp(),
    "one": lambda x, y: (x * x).sum(),
    "through": lambda x, y: (x.clone() * x + y).sum(),
}  # fmt: skip


@fast_paths
@pytest.mark.parametrize("name", PROGRAMS)
def test_they_are_what_the_general_way_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = leaf(0.3, 0.6, 0.9), leaf(1.5, 1.2, 0.7)

    def run() -> list[Any]:
        first = tg.autograd.grad(PROGRAMS[name](x, y), [x, y], create_graph=True, allow_unused=True)
        total = sum((g * g).sum() for g in first if g is not None)
        second = tg.autograd.grad(total, [x, y], allow_unused=True)
        return [None if g is None else g.tolist() for g in (*first, *second)]

    run()  # programs and templates are built
    answers.clear()
    found = run()
    assert answers == [DONE, DONE]
    general(monkeypatch)
    assert run() == found


def test_what_is_not_plain_is_left_alone() -> None:
    x, y = leaf(0.3, 0.6), leaf(1.0, 2.0)
    h = x * y
    z = (h * h).sum()
    options = {"retain_graph": True}
    for _ in range(2):
        answers.clear()
        assert tg.autograd.grad(z, h, **options)[0].tolist() == [0.6, 2.4]
        assert answers[-2:] == [NEEDS_DETAILS, DONE]
    assert tg.autograd.grad(z, [x, x], **options)[1].tolist() == [0.6, 4.8]
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        tg.autograd.grad(z, [x, leaf(1.0)], **options)
    seen: list[Any] = []
    handle = x.register_hook(lambda g: seen.append(g) or g * 2)
    assert tg.autograd.grad(z, x, **options)[0].tolist() == [1.2, 9.6]
    handle.remove()
    assert len(seen) == 1
    tg.autograd.grad(z, x)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        tg.autograd.grad(z, x)


@fast_paths
def test_an_attempt_leaves_no_statement_behind() -> None:
    x = tg.tensor(np.linspace(0.1, 0.9, 37), requires_grad=True)  # a length that nothing else has
    z = (x[3:].tanh() * x[:-3]).sum()
    tape = tg.current_tape()
    tape.evaluate()
    grown = []
    for _ in range(3):
        before = len(tape)
        (g,) = tg.autograd.grad(z, x, create_graph=True, retain_graph=True)
        grown.append(len(tape) - before)
    assert NEEDS_RECORDING in answers
    assert answers[-1] == DONE
    assert grown[0] <= grown[1] + 2  # constants come with the first
    assert grown[1] == grown[2]
    assert np.isfinite(g.tolist()).all()


def test_freed_by_a_plain_pass_with_large_values() -> None:
    x = tg.tensor(np.linspace(0, 1, 20_000), requires_grad=True)
    for _ in range(5):
        z = (x.sin() * x).sum()
        (g,) = tg.autograd.grad(z, x)
        np.testing.assert_allclose(
            g.numpy(), np.cos(x.tolist()) * x.tolist() + np.sin(x.tolist()), rtol=1e-13
        )
