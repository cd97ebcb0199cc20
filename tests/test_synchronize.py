"""`synchronize`: what is pending on the thread's tapes is computed."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from alone import alone

import tapegrad as tg


@pytest.mark.smoke
@alone  # on a tape that other tests filled, a collection may come first
def test_it_computes_what_is_pending() -> None:
    x = tg.ones(3, requires_grad=True)
    y = (x * 2).sum()
    tape = tg.current_tape()
    assert tape.count > tape.done
    assert tg.synchronize() is None
    assert tape.count == tape.done
    tg.synchronize()
    y.backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


@alone
def test_it_is_about_this_threads_tapes() -> None:
    x = tg.ones(3) * 3
    tape = tg.current_tape()

    def run() -> None:
        y = tg.ones(2) * 5
        tg.synchronize()
        states.append((tg.current_tape().count == tg.current_tape().done, tape.count > tape.done))
        assert y.tolist() == [5.0, 5.0]

    states: list[tuple[bool, bool]] = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert states == [(True, True)]
    assert x.tolist() == [3.0, 3.0, 3.0]


def test_it_may_be_called_anywhere() -> None:
    def f(x: tg.Tensor) -> tg.Tensor:
        y = x * x
        tg.synchronize()
        return y.sum()

    assert tg.vmap(f)(tg.ones(4, 2)).tolist() == [2.0] * 4
    assert tg.hessian(f)(tg.ones(2)).tolist() == [[2.0, 0.0], [0.0, 2.0]]
    x = tg.ones(2, requires_grad=True)
    y = x * 2
    y.register_hook(lambda ct: tg.synchronize())
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_the_example_in_the_docs() -> None:
    text = (Path(__file__).parents[1] / "docs" / "timing.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["seconds"] > 0
