"""Fixtures of the whole suite: a fixed seed, and the tape verifier after the sweeps of a test."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from beside_torch import uncompared

import tapegrad as tg
from tapegrad.tape.tape import Tape
from tapegrad.tape.verifier import verify
from tapegrad.transforms.closed_tape import ClosedTape

#: a tape longer than this is verified at the end of a test only, to keep the suite fast
SHORT = 400
#: this many sweeps of a test are verified one by one, of those that follow one in so many: a test that
#: sweeps hundreds of times repeats itself, and would be mostly verification
FIRST, ONE_IN = 16, 16
_sweeps = itertools.count()
#: handles that a tape of the suite has room for: the table never shrinks, and each verification reads it
MOST_HANDLES = 8192


def _verify_short(tape: Tape) -> None:
    # Another thread's tape may grow while it is looked at.
    if tape.count <= SHORT and tape.owner is threading.current_thread():
        number = next(_sweeps)
        if number < FIRST or number % ONE_IN == 0:
            verify(tape)


Tape.check = _verify_short
ClosedTape.check = ClosedTape.verify  # of what is traced, and between transforms


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run ``-m smoke`` in one process: it is over before workers would have started."""
    if config.option.markexpr == "smoke":
        config.option.numprocesses = 0


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import, for ``-m smoke``, the files without a test of that mark."""
    if config.option.markexpr != "smoke" or collection_path.suffix != ".py":
        return None
    return "mark.smoke" not in collection_path.read_text() or None


def pytest_collection_finish() -> None:
    """Thousands of collected tests stay: no collection of garbage looks through them again."""
    gc.collect()
    gc.freeze()


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
def _clean_tape(request: pytest.FixtureRequest) -> Iterator[None]:
    """Seed, and verify the tape when the test is over; grad mode and default dtype stay as they were."""
    global _sweeps
    _sweeps = itertools.count()
    np.random.seed(0)
    if hasattr(tg, "manual_seed"):
        tg.manual_seed(0)
    tape = tg.current_tape()
    handles = len(tape._handles)
    yield
    if "benchmark" not in request.fixturenames:
        most = max(handles, MOST_HANDLES)
        assert len(tape._handles) <= most, "a test of that many is to run `alone`"
    assert tape.grad_mode, "a test left the grad mode off"
    Tape.check = None  # once is enough, at the end
    try:
        tape.evaluate()
        tape.collect()
    finally:
        Tape.check = _verify_short
    verify(tape)
