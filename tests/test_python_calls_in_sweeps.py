"""Sweeps and compiled code that call Python: what else runs there, and what errors leave behind."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from njit_functions import power, refuses

import tapegrad as tg
from tapegrad.tape.pytree import leaves
from tapegrad.tape.tape import TAPES

X = np.array([0.3, -0.4, 0.7])


def test_what_runs_in_the_middle_of_a_sweep() -> None:
    """A callback of the collector that records, and runs the code that is in the middle of a run."""
    x, pending, running = tg.tensor(X), [], []
    function = tg.value_and_grad(lambda x: (refuses(x * 0.1) * power(x.sum(), 2)).sum())
    expected = function(x)
    tape = tg.trace(function)(X)
    code, jitted = tape.compiled(), tg.jit(function)
    code(X), jitted(x)

    def interrupt(phase: str, info: Any) -> None:
        if running == [True]:
            running.append(True)
            y = tg.ones(50)
            for _ in range(100):
                y = y * 2
            z = tg.tensor([1.0, 2.0], requires_grad=True)
            (z * z).sum().backward()
            assert z.grad is not None
            pending.append((y.sum().item(), z.grad[1].item(), code(X * 2)[0]))
            running.pop()

    gc.callbacks.append(interrupt)
    thresholds = gc.get_threshold()
    gc.set_threshold(30)
    try:
        for program in (tape, code, jitted) * 4:
            running.append(True)
            result = program(x)
            running.clear()
            for a, b in zip(leaves(result), leaves(expected), strict=True):
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)
    finally:
        gc.callbacks.remove(interrupt)
        gc.set_threshold(*thresholds)
    assert pending
    assert {x[:2] for x in pending} == {(50 * 2.0**100, 4.0)}


def test_errors_leave_nothing_behind() -> None:
    jitted, tape = tg.jit(lambda x: refuses(x).sum()), tg.trace(lambda x: refuses(x).sum())(X)
    jitted(X)
    counts = []
    for _ in range(3):
        for x in (X + 2, tg.tensor(X + 2), tg.tensor(X + 2, requires_grad=True)):
            for program in (jitted, tape, tape.compiled()):
                with pytest.raises(ValueError, match="too large"):
                    program(x)
        counts.append(len(TAPES))
    assert counts[0] == counts[-1]


def test_errors_that_are_kept_have_no_traceback() -> None:
    with tg.no_grad():
        tape = tg.trace(lambda x: refuses(x).sum())(X)
    around = tg.current_tape()
    before = around.failures.keys()
    with pytest.raises(ValueError, match="too large"):
        tape(tg.tensor(X + 2))
    for slot in around.failures.keys() - before:
        kept = around.failures[slot].raised
        assert kept is None or kept.__traceback__ is None
