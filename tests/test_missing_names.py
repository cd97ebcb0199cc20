"""Names that tapegrad does not have: parts of PyTorch, and misspelt ones."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from typing import Any

import pytest

import tapegrad as tg
from tapegrad import notebook_errors
from tapegrad.base.missing_names import INSTEAD

PARTS = [(module, name) for module, names in INSTEAD.items() for name in names]


@pytest.mark.parametrize(("module", "name"), PARTS)
def test_a_part_of_pytorch_says_what_there_is(module: str, name: str) -> None:
    place = importlib.import_module(module)
    assert not hasattr(place, name), "it is there: take its line from `INSTEAD`"
    with pytest.raises(AttributeError, match=f"{module} has no {name}: ..."):
        getattr(place, name)
    for statement in (f"from {module} import {name}", f"import {module}.{name}.further"):
        with pytest.raises(ModuleNotFoundError, match=f"{module} has no {name}: ..."):
            exec(statement)


@pytest.mark.parametrize(("module", "name"), PARTS)
def test_the_words_name_what_is_there(module: str, name: str) -> None:
    text = INSTEAD[module][name]
    for path in re.findall(r"\btg\.([\w.]+)", text):
        place: Any = tg
        for part in path.strip(".").split("."):
            place = getattr(place, part)
    listed = re.search(r"tg\.(\w+(?:, \w+)+) and (\w+)\b", text)
    if listed is not None:
        for word in (*listed[1].split(", "), listed[2]):
            assert word == "their" or hasattr(tg, word)


def test_under_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "other", tg)
    with pytest.raises(ModuleNotFoundError, match="tapegrad has no fx: "):
        exec("import other.fx as fx")
    with pytest.raises(ModuleNotFoundError, match="tapegrad has no fx: "):
        exec("from other import fx")


@pytest.mark.parametrize(
    ("module", "name", "near"),
    [("", "sine", "sin"), ("", "Tensr", "Tensor"), (".func", "vmpa", "vmap"),
     (".autograd", "gradchek", "gradcheck"), (".utils", "checkpiont", "checkpoint")],
)  # fmt: skip
def test_a_near_miss(module: str, name: str, near: str) -> None:
    place = importlib.import_module(f"tapegrad{module}")
    text = f"^module 'tapegrad{module}' has no attribute '{name}'$"  # as Python has it
    with pytest.raises(AttributeError, match=text) as raised:
        getattr(place, name)
    lines = traceback.format_exception_only(raised.value)
    if sys.version_info >= (3, 12):  # 3.11 looks for it where it shows an uncaught error only
        assert lines == [f"AttributeError: {raised.value}. Did you mean: '{near}'?\n"]
    notebook_errors.folded(raised.value, None)
    assert raised.value.__notes__[0].startswith(f"Did you mean {near}")
    assert raised.value.name == name


def test_a_near_method() -> None:
    with pytest.raises(AttributeError) as raised:
        tg.ones(2).sinn()
    for _ in range(2):
        notebook_errors.folded(raised.value, None)
        assert raised.value.__notes__ == ["Did you mean sin or sinh or sinc?"]


def test_others_are_refused_as_by_python() -> None:
    for name in ("nothing_like_it", "_sin", "__sin__"):
        with pytest.raises(AttributeError, match=f"^module 'tapegrad' has no attribute '{name}'$"):
            getattr(tg, name)
    with pytest.raises(AttributeError) as raised:
        tg.nothing_like_it  # noqa: B018
    notebook_errors.folded(raised.value, None)
    assert not hasattr(raised.value, "__notes__")
    with pytest.raises(AttributeError) as raised:
        "".strp()  # type: ignore[attr-defined]
    notebook_errors.folded(raised.value, None)
    assert not hasattr(raised.value, "__notes__")
    with pytest.raises(AttributeError, match=r"tapegrad.cuda has no Stream: .* cuda.is_available"):
        tg.cuda.Stream()
    assert not hasattr(tg.cuda, "__path__")
