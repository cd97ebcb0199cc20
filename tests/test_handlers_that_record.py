"""Signal handlers that record while tapegrad makes an instruction: nothing of theirs or ours is lost."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from types import FrameType
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.base.errors import TapeError, UnsupportedError
from tapegrad.ops import families, patterns
from tapegrad.ops import instruction as instructions
from tapegrad.ops import layout as layouts
from tapegrad.ops import program as programs
from tapegrad.tape import ending
from tapegrad.tape.verifier import verify_tables

#: where a handler comes, at any line
FILES = {m.__file__ for m in (families, instructions, layouts, patterns, programs)}
_fresh = count(40)


def step(n: int) -> None:
    """Take a gradient at shapes that nobody has seen, and check it."""
    base = np.arange(3.0 * n).reshape(3, n) / n
    x = tg.tensor(base, requires_grad=True)
    (g,) = tg.autograd.grad((x.t() * x.t() * 2).sum(0)[1:].sum(), x)
    expected = 4 * base
    expected[0] = 0
    np.testing.assert_allclose(g.numpy(), expected, rtol=1e-13)


def interrupted(at: int, handler: Callable[[], None]) -> int:
    """Take a step; call a handler at one of the lines that make instructions; how many there were."""
    seen = 0

    def local(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal seen
        if event == "line":
            seen += 1
            if seen == at:
                sys.settrace(None)
                # While what is not needed is given back, or a rule is traced.
                with suppress(UnsupportedError, TapeError):
                    handler()
        return local

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        return local if frame.f_code.co_filename in FILES else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        step(next(_fresh))
    finally:
        sys.settrace(before)
    return seen


@pytest.fixture
def _fewer_patterns(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    tg.current_tape().collect()
    ending.end_unneeded(recent=False)
    monkeypatch.setattr(patterns, "LATER", request.param)
    yield
    verify_tables()


# Either all is lowered, or filled in from prototypes.
@pytest.mark.parametrize("_fewer_patterns", [1 << 30, 0], indirect=True, ids=["lowered", "filled"])
def test_a_handler_that_records(_fewer_patterns: None) -> None:
    lines = interrupted(-1, lambda: None)
    lines = interrupted(-1, lambda: None)
    assert lines > 400
    for at in range(1, lines, 7):
        mine = next(_fresh)
        interrupted(at, lambda mine=mine: step(mine))  # type: ignore[misc]
        step(mine)
        if at % 5 == 0:
            verify_tables()


def test_a_handler_that_records_the_same() -> None:
    """Equal layouts and instructions may be made twice at once; there is one of each layout afterwards."""
    lines = interrupted(-1, lambda: None)
    for at in range(1, lines, 11):
        now = next(_fresh)
        interrupted(at, lambda now=now: step(now + 1))  # type: ignore[misc]
        shapes = [(x.dtype.code, x.shape, x.strides) for x in set(layouts._interned.values())]
        assert len(shapes) == len(set(shapes))
        next(_fresh)
        step(now)
        step(now + 1)
