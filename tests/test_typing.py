"""Types as users' type checkers see them: the stubs are those of the signatures, and programs pass."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tapegrad
from tapegrad.functions.help_texts import HELP

ROOT = Path(__file__).parents[1]
PROGRAM = Path(__file__).parent / "typed_program.py"
SOURCE = Path(tapegrad.__file__).parent


def stubs() -> dict[str, str]:
    """Texts of the stubs, by file, as the tool makes them now."""
    made = runpy.run_path(str(ROOT / "tools" / "make_stubs.py"))["FILES"]
    return {name: text() for name, text in made.items()}


def test_stubs_are_those_of_the_signatures() -> None:
    for name, text in stubs().items():
        assert (SOURCE / name).read_text() == text, "run tools/make_stubs.py"


def checked(*command: str, cwd: Path) -> None:
    """Let a type checker read the program as an installed package's user would."""
    own = [] if "site-packages" in SOURCE.parts else [str(SOURCE.parent)]  # mypy finds those itself
    path = os.pathsep.join([*own, os.environ.get("MYPYPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", *command, str(PROGRAM)],
        cwd=cwd, env={**os.environ, "MYPYPATH": path.rstrip(os.pathsep)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_program_passes_mypy(tmp_path: Path) -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed (it is in the `dev` extra)")
    options = ("--strict", "--config-file=", "--follow-imports=silent", f"--cache-dir={tmp_path}")
    checked("mypy", *options, cwd=tmp_path)


def test_a_program_passes_pyright(tmp_path: Path) -> None:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed (it is in the `dev` extra)")
    settings = f'{{"extraPaths": ["{SOURCE.parent.as_posix()}"], "typeCheckingMode": "standard"}}'
    (tmp_path / "pyrightconfig.json").write_text(settings)
    checked("pyright", "--project", str(tmp_path), cwd=tmp_path)


def test_the_program_runs() -> None:
    runpy.run_path(str(PROGRAM))


def test_results_of_examples_are_of_the_types_in_the_stubs() -> None:
    """The type of each result is among those that the stub has for the function."""
    tool = runpy.run_path(str(ROOT / "tools" / "make_help.py"))
    texts, seen = stubs(), 0
    for key in HELP:
        if key.startswith("op special."):
            continue  # no stub: __init__.py says it
        name = key.removeprefix("op ").removeprefix("Tensor.")
        is_method = "Tensor." in key
        text = texts["tensors/base.pyi" if is_method else "__init__.pyi"]
        results = re.findall(rf"^ *def {name}\(.*\) -> (.*?): \.\.\.", text, re.MULTILINE)
        *before, last = tool["statements"](name, method=is_method)
        call = ast.parse(last, mode="single").body[0]
        called = isinstance(call, ast.Expr) and isinstance(call.value, ast.Call) and call.value.func
        if not (results and isinstance(called, ast.Attribute) and called.attr == name):
            continue
        scope: dict[str, Any] = {}
        exec("\n".join(before), scope)
        value = eval(last, scope)
        shown = "None" if value is None else type(value).__name__
        assert any(result == "Any" or shown in result for result in results), (key, shown, results)
        seen += 1
    assert seen > 500
