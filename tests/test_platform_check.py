"""Platforms that tapegrad cannot run on: each is refused at import, in one sentence."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tapegrad
from tapegrad.base import object_layout, platform_check
from tapegrad.base.object_layout import FIELDS, HEADER, UFunc
from tapegrad.native import abi

CASES = [
    (sys, "implementation", SimpleNamespace(name="pypy"), "runs on CPython, not on pypy: install it"),
    (sys, "maxsize", 2**31 - 1, "needs a 64-bit Python, .*: install a 64-bit build"),
    (sys, "byteorder", "big", "not a big-endian one: use another"),
    (os, "name", "nt", "on Windows, run it under WSL"),
    (sys, "_is_gil_enabled", lambda: False, "needs the GIL, .*: set PYTHON_GIL=1"),
]  # fmt: skip


@pytest.mark.smoke
def test_this_platform_is_taken() -> None:
    platform_check.check_platform()
    assert object_layout.wrong_layout() is None
    assert abi.HEADER == HEADER


@pytest.mark.parametrize(("module", "name", "value", "text"), CASES, ids=[c[1] for c in CASES])
def test_refusals(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, value: Any, text: str
) -> None:
    monkeypatch.setattr(module, name, value, raising=False)
    with pytest.raises(ImportError, match=text) as raised:
        platform_check.check_platform()
    monkeypatch.undo()
    assert raised.value.name == "tapegrad"
    words = str(raised.value)
    assert words.startswith("tapegrad ")
    assert "\n" not in words
    assert ". " not in words  # one sentence


@pytest.mark.parametrize("row", range(len(FIELDS)), ids=[field.text for field in FIELDS])
def test_a_wrong_offset_is_refused(monkeypatch: pytest.MonkeyPatch, row: int) -> None:
    """A field that is a word away (as a tuple's items are in CPython 3.14)."""
    field = FIELDS[row]
    fields = [*FIELDS[:row], field._replace(offset=field.offset - 8), *FIELDS[row + 1 :]]
    monkeypatch.setattr(object_layout, "FIELDS", fields)
    with pytest.raises(ImportError, match=f"keeps {field.text}: install a newer tapegrad, or an"):
        platform_check.check_platform()


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("nin", 3), ("nout", 0), ("nargs", 2), ("ntypes", 1), ("name", b"sub"),
        ("types", ctypes.create_string_buffer(b"\x7f" * 8)), ("functions", None),
    ],
)  # fmt: skip
def test_a_wrong_ufunc_is_refused(
    monkeypatch: pytest.MonkeyPatch, attribute: str, value: Any
) -> None:
    of = UFunc.of

    def changed(ufunc: Any) -> Any:
        head = {field[0]: getattr(of(ufunc), field[0]) for field in UFunc._fields_}
        return SimpleNamespace(**head | {attribute: value})

    monkeypatch.setattr(UFunc, "of", changed)
    with pytest.raises(ImportError, match="keeps a ufunc's"):
        platform_check.check_platform()


def test_the_check_comes_first() -> None:
    """Nothing else of the package is loaded, and no module of it stays behind."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys._is_gil_enabled = lambda: False\n"
        "try: import tapegrad\n"
        "except ImportError as error: print(error)\n"
        "print(sorted(n for n in sys.modules if n.startswith(('tapegrad', 'llvmlite'))))"
    )
    source = str(Path(tapegrad.__file__).parent.parent)
    run = [sys.executable, "-c", code, source]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    text, modules = done.stdout.splitlines()
    assert text.startswith("tapegrad needs the GIL")
    assert modules == str(
        [f"tapegrad.base{name}" for name in ("", ".object_layout", ".platform_check")]
    )


def test_the_check_is_quick() -> None:
    """It takes some 10 us; here the least of many, on a machine that may be busy."""
    times = []
    for _ in range(200):
        start = time.perf_counter()
        platform_check.check_platform()
        times.append(time.perf_counter() - start)
    assert min(times) < 100e-6
