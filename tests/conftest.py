"""Fixtures of the whole suite: a fixed seed, and the tape verifier after every sweep."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator

import numpy as np
import pytest
from beside_torch import uncompared

import tapegrad as tg
from tapegrad.tape.tape import Tape
from tapegrad.tape.verifier import verify

#: a tape longer than this is verified at the end of a test only, to keep the suite fast
SHORT = 400


def _verify_short(tape: Tape) -> None:
    # Another thread's tape may grow while it is looked at.
    if tape.count <= SHORT and tape.owner is threading.current_thread():
        verify(tape)


Tape.check = _verify_short


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a test as skipped that compared nothing because torch is absent (`beside_torch.same`)."""
    report = yield
    if call.when == "call" and uncompared:
        if report.passed:
            path, line, _ = item.location
            reason = "Skipped: torch is not installed, so its outcomes were not compared"
            report.outcome, report.longrepr = "skipped", (path, (line or 0) + 1, reason)
        uncompared.clear()
    return report


@pytest.fixture(autouse=True)
def _clean_tape() -> Iterator[None]:
    """Seed, and verify the tape when the test is over; grad mode and default dtype stay as they were."""
    np.random.seed(0)
    if hasattr(tg, "manual_seed"):
        tg.manual_seed(0)
    yield
    tape = tg.current_tape()
    assert tape.grad_mode, "a test left the grad mode off"
    tape.evaluate()
    tape.collect()
    verify(tape)
