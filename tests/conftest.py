"""Fixtures of the whole suite: a fixed seed, and the tape verifier after every sweep."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.tape import Tape
from tapegrad.verify import verify

#: a tape longer than this is verified at the end of a test only, to keep the suite fast
SHORT = 400


def _verify_short(tape: Tape) -> None:
    # Another thread's tape may grow while it is looked at.
    if tape.count <= SHORT and tape.owner is threading.current_thread():
        verify(tape)


Tape.check = _verify_short


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
