"""What `help`, editors and `inspect.signature` show: signatures, and docstrings, whose examples are run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import math
import pydoc
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

import tapegrad as tg
from tapegrad.functions.help_texts import HELP
from tapegrad.ops.table import TABLE

ROOT = Path(__file__).parents[1]
SOURCE = Path(tg.__file__).parent
PUBLIC = json.loads((Path(__file__).parent / "public_names.json").read_text())
FILES = sorted(SOURCE.rglob("*.py"))
#: what takes anything: PyTorch's legacy constructors, and a class that has no instances
VARIADIC = {
    "Tensor",
    "BoolTensor",
    "DoubleTensor",
    "FloatTensor",
    "LongTensor",
    "Function",
    "Identity",
}
#: in a file without room


def members() -> dict[str, Any]:
    """All public functions, classes, methods and properties, by name."""
    found = {}
    for place, names in PUBLIC.items():
        owner = tg.Tensor if place == "tapegrad.Tensor" else importlib.import_module(place)
        for name in names:
            static = owner is tg.Tensor and inspect.getattr_static(owner, name)
            member = static if isinstance(static, property) else getattr(owner, name)
            if callable(member) or isinstance(member, property):
                found[f"{place}.{name}"] = member
    return found


MEMBERS = members()


def test_everything_public_has_a_signature() -> None:
    for name, member in MEMBERS.items():
        is_error = isinstance(member, type) and issubclass(member, Exception)
        if isinstance(member, property) or is_error or name.rpartition(".")[2] in VARIADIC:
            continue
        kinds = {p.kind for p in inspect.signature(member).parameters.values()}
        assert kinds != {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}, name


def test_everything_public_has_a_docstring_with_an_example() -> None:
    lacking = {name for name, member in MEMBERS.items() if ">>>" not in (member.__doc__ or "")}
    assert not lacking


@pytest.mark.parametrize("name", ["sum", "add", "exp", "maximum", "logit"])
def test_out_is_in_a_function_s_signature_and_not_in_a_method_s(name: str) -> None:
    assert "out" in inspect.signature(getattr(tg, name)).parameters
    assert "out" not in inspect.signature(getattr(tg.Tensor, name)).parameters


def test_an_in_place_method_has_the_signature_of_its_function() -> None:
    assert list(inspect.signature(tg.Tensor.clamp_).parameters) == ["input", "min", "max"]
    assert list(inspect.signature(tg.ones(2).mul_).parameters) == ["other"]


def test_help_says_what_an_op_is() -> None:
    text = pydoc.plain(pydoc.render_doc(tg.exp))
    for words in ("exp(input, *, out=None)", "e**input", "Derivative: exp(input)", "Domain: all numbers",
                  "int64 -> float64", ">>> tg.exp(x)"):  # fmt: skip
        assert words in text


def test_help_texts_are_those_of_the_calls() -> None:
    made = runpy.run_path(str(ROOT / "tools" / "make_help.py"))["help_file"]()
    assert (SOURCE / "functions" / "help.txt").read_text("utf-8") == made, "run tools/make_help.py"
    made = runpy.run_path(str(ROOT / "tools" / "make_help.py"))["nn_help_file"]()
    assert (SOURCE / "nn" / "help.txt").read_text("utf-8") == made, "run tools/make_help.py"


# --------------------------------------------------------------------------- examples
def run(doc: str, name: str, scope: dict[str, Any]) -> int:
    """Run the examples of a docstring; return their number."""
    test = doctest.DocTestParser().get_doctest(doc, scope, name, None, 0)
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not said, "".join(said)
    return len(test.examples)


@pytest.mark.parametrize("start", ["op ", "Tensor.", ""])
def test_examples_of_help_texts(start: str) -> None:
    kinds = {
        name: "op " if name.startswith("op ") else "Tensor." if "." in name else "" for name in HELP
    }
    for name, kind in kinds.items():
        if kind == start:
            assert run(HELP[name], name, {}) > 1


def test_examples_of_public_docstrings() -> None:
    texts = "".join(HELP.values())
    seen = set()
    for name, member in MEMBERS.items():
        doc = member.__doc__ or ""
        if ">>>" not in doc or doc in seen or doc[doc.index(">>>") :] in texts:
            continue
        seen.add(doc)
        module = sys.modules.get(getattr(member, "__module__", None) or "tapegrad", tg)
        run(inspect.cleandoc(doc), name, dict(vars(module)))
    assert len(seen) > 100


def test_examples_of_classes_and_modules() -> None:
    run(tg.__doc__ or "", "tapegrad", {})
    for path in FILES:
        module = ".".join(("tapegrad", *path.relative_to(SOURCE).with_suffix("").parts))
        if (
            "njit" in module
            or module.endswith(("__main__", "__init__"))
            or ">>>" not in path.read_text()
        ):
            continue
        loaded = importlib.import_module(module)
        for test in doctest.DocTestFinder().find(loaded, module):
            if test.examples and test.name != module and test.docstring not in HELP.values():
                owner = test.name.rpartition(".")[0]
                if isinstance(getattr(loaded, owner.rpartition(".")[2], None), type):
                    run(inspect.cleandoc(test.docstring), test.name, dict(vars(loaded)))


# --------------------------------------------------------------------------- derivatives
def _slopes() -> list[tuple[str, int, str]]:
    """Rows, numbers of operands, and derivatives that are expressions."""
    found = []
    for name in HELP:
        row = name[3:].replace("special.", "special_")
        if name.startswith("op ") and "." not in row and TABLE.get(row) is not None:
            lines = re.findall(r"^Derivative(?: with respect to \w+)?: (.*)\.$", HELP[name], re.M)
            found += [(row, i, text) for i, text in enumerate(lines) if text != "none"]
    return [
        (n, i, text)
        for n, i, text in found
        if not re.search(r"[a-z] [a-z]|,|@|Phi", re.sub(r", o", "o", text))
    ]


@pytest.mark.parametrize(("name", "number", "text"), _slopes())
def test_derivatives_in_help_texts_are_right(name: str, number: int, text: str) -> None:
    entry = TABLE[name]
    start = {"above_one": 1.5, "positive": 0.5, "above_minus_one": 0.5}.get(entry.domain, 0.3)
    operands = [
        tg.tensor([start, start + 0.25], requires_grad=True),
        tg.tensor([1.7, 0.9], requires_grad=True),
    ]
    operands = operands[: entry.arity]
    value = getattr(tg, name, None) or getattr(tg.special, name.removeprefix("special_"))
    if name in ("igamma", "igammac") or entry.name.startswith("special_zeta"):  # orders
        operands[0] = operands[0].detach() + 1
    value = value(*operands)
    (gradient,) = tg.autograd.grad(value.sum(), operands[number], materialize_grads=True)
    scope = {"pi": math.pi, "alpha": 1, "beta": 1, "log": lambda x: tg.log(tg.as_tensor(x)),
             "sqrt": lambda x: tg.sqrt(tg.as_tensor(x)), "e": math.e}  # fmt: skip
    names = dict(zip(("input", "exponent" if name == "pow" else "other"), operands, strict=False))
    if name.startswith("special_"):
        del scope["beta"]
    expected = eval(text, {**vars(tg.special), **vars(tg), **scope, **names})
    tg.testing.assert_close(gradient, tg.as_tensor(expected).detach().expand(2), check_dtype=False)


def test_derivatives_are_checked_in_numbers() -> None:
    assert len(_slopes()) > 50
