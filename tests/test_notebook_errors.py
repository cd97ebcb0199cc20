"""Tracebacks of wrong use, as a notebook shows them: they end at the user's line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tapegrad as tg
from tapegrad import notebook_errors
from tapegrad.ops import layout

HERE = Path(__file__).name
TWO, THREE = tg.ones(2), tg.ones(3)


class Raising(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, ct: Any) -> Any:
        raise ValueError("in a rule")


def backward_twice() -> None:
    y = (tg.ones(2, requires_grad=True) ** 2).sum()
    y.backward()
    y.backward()


def written_leaf() -> None:
    tg.ones(2, requires_grad=True).add_(1)


def recorded_text() -> None:
    tg.njit(lambda x: x + "a")(tg.tensor(1.0, requires_grad=True))


def hooked() -> None:
    y = tg.ones(2, requires_grad=True) * 2
    y.register_hook(lambda ct: ct / nothing)  # type: ignore[name-defined] # noqa: F821
    y.sum().backward()


WRONG: dict[str, Callable[[], Any]] = {
    "text": lambda: TWO + "a",
    "shapes": lambda: TWO + THREE,
    "product": lambda: TWO @ THREE,
    "twice": backward_twice,
    "cat": lambda: tg.cat([tg.ones(2, 2), tg.ones(3, 3)]),
    "sum": lambda: TWO.sum(5),
    "item": TWO.item,
    "index": lambda: THREE[7],
    "rows": lambda: tg.tensor([[1.0], [1.0, 2.0]]),
    "size": lambda: tg.zeros("a"),
    "leaf": written_leaf,
    "vmap": lambda: tg.vmap(lambda x: x @ THREE)(tg.ones(4, 2)),
    "grad": lambda: tg.func.grad(lambda x: x * x)(TWO),
    "hessian": lambda: tg.hessian(lambda x: (x @ THREE).sum())(TWO),
    "rule": lambda: Raising.apply(tg.ones(2, requires_grad=True)).sum().backward(),
    "hook": hooked,
    "njit": recorded_text,
    "name": lambda: tg.sine(TWO),
    "part": lambda: tg.fx.symbolic_trace(len),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_it_ends_at_the_users_line(name: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        WRONG[name]()
    error = raised.value
    before = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    shown = notebook_errors.folded(error, error.__traceback__)
    frames = [frame for frame, _ in traceback.walk_tb(shown)]
    assert frames[-1].f_code.co_filename == __file__
    visible = [frame for frame in frames if "__tracebackhide__" not in frame.f_locals]
    assert {frame.f_code.co_filename for frame in visible} == {__file__}
    assert [
        frame for frame, _ in traceback.walk_tb(error.__traceback__)
    ] == before  # for a debugger


def refuse() -> None:
    raise AssertionError("a bug")


def test_bugs_show_where_they_are() -> None:
    """A failed assertion, and an error that nobody raised on purpose, keep the innermost frame."""
    inside = type(refuse)(refuse.__code__, vars(layout))
    for call in (inside, lambda: layout.broadcast_shapes(3)):  # type: ignore[arg-type]
        with pytest.raises((AssertionError, TypeError)) as raised:
            call()
        trace = raised.value.__traceback__
        assert notebook_errors.folded(raised.value, trace) is trace


def wrapped() -> None:
    try:
        WRONG["shapes"]()
    except RuntimeError as error:
        raise ValueError("outer") from error


def test_errors_behind_are_folded() -> None:
    with pytest.raises(ValueError, match="outer") as raised:
        wrapped()
    notebook_errors.folded(raised.value, raised.value.__traceback__)
    assert raised.value.__cause__ is not None
    trace = raised.value.__cause__.__traceback__
    hidden = ["__tracebackhide__" in f.f_locals for f, _ in traceback.walk_tb(trace)]
    assert hidden == sorted(hidden)
    assert sum(hidden) > 3


def test_a_circle_of_errors_ends() -> None:
    first, second = ValueError(), ValueError()
    first.__context__, second.__context__ = second, first
    assert notebook_errors.folded(first, None) is None


# --------------------------------------------------------------------------- IPython itself
CELLS = """
    import contextlib, io, re, sys
    from IPython.core.interactiveshell import InteractiveShell
    shell = InteractiveShell.instance()
    for cell in ("import tapegrad as tg", "x = tg.ones(2)", *sys.argv[1:]):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            shell.run_cell(cell)
    print(re.sub("\\x1b\\\\[[0-9;]*m", "", text.getvalue()))
"""


def run_cells(*cells: str, **environment: str) -> list[str]:
    """The lines that IPython prints for the last of some cells."""
    pytest.importorskip("IPython")
    source = str(Path(tg.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CELLS), *cells],
        env=os.environ | {"PYTHONPATH": source, "IPYTHONDIR": "/nonexistent"} | environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [line for line in done.stdout.splitlines() if line.strip()]


def test_ipython_ends_at_the_line() -> None:
    cell = "tg.hessian(lambda x: (x @ tg.ones(3)).sum())(x)"
    lines = run_cells(cell)
    arrows = [i for i, line in enumerate(lines) if re.match("-+> 1 ", line)]
    assert [cell in lines[i] for i in arrows] == [True, True]  # the cell's, and the lambda's
    assert re.search(r"skipping hidden \d+ frame", lines[arrows[0] + 1])
    assert lines[arrows[1] + 1].startswith("RuntimeError: inconsistent tensor size")
    assert not any("src/tapegrad" in line for line in lines)
    # once more as `%tb` shows it, and the other modes
    assert run_cells(cell, "%tb") == lines
    verbose = run_cells("%xmode Verbose", cell)
    assert not any("src/tapegrad" in line for line in verbose if line.startswith("File "))


def test_ipython_shows_all_frames_on_request() -> None:
    lines = run_cells("x @ tg.ones(3)", TAPEGRAD_FULL_TRACEBACK="1")
    assert sum("src/tapegrad" in line for line in lines) > 3


def test_ipython_shows_other_errors_as_ever() -> None:
    code = "def f(x):\n    return x / 0\nf(1)"
    folded = run_cells(code)
    assert folded == run_cells(code, TAPEGRAD_FULL_TRACEBACK="1")
    assert folded[-1] == "ZeroDivisionError: division by zero"
    assert any("SyntaxError" in line for line in run_cells("f((1]"))
