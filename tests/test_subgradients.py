"""The table of subgradient conventions in docs/derivatives.md, row by row, and the page's examples."""

from __future__ import annotations

import doctest
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside_torch import same

import tapegrad as tg

PAGE = Path(__file__).parents[1] / "docs" / "derivatives.md"
#: a row of the table: expression, where, gradient
ROW = re.compile(r"^\| `(.+?)` \| `(.+?)` \| `(.+?)` \|", re.MULTILINE)


def rows() -> list[tuple[str, ...]]:
    return [m.groups() for m in ROW.finditer(PAGE.read_text())]


def gradients(lib: Any, expression: str, at: str) -> list[list[float]]:
    """The gradient of a row's expression by its variables."""
    numbers = eval(f"dict({at})", {"inf": math.inf})
    leaves = {
        name: lib.tensor(values, dtype=lib.float64, requires_grad=True)
        for name, values in numbers.items()
    }
    found = lib.autograd.grad(eval(expression, {"tg": lib, **leaves}).sum(), list(leaves.values()))
    return [g.tolist() for g in found]


@pytest.mark.parametrize(("expression", "at", "gradient"), rows())
def test_rows(expression: str, at: str, gradient: str) -> None:
    found = gradients(tg, expression, at)
    expected = eval(gradient, {"inf": math.inf, "nan": math.nan})
    if len(found) == 1:
        expected = (expected,)
    for own, row in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, row, rtol=1e-12, atol=0)
    same(lambda lib: [lib.tensor(g) for g in gradients(lib, expression, at)])


def test_the_table_is_there() -> None:
    assert len(rows()) > 50


def test_examples_of_the_page() -> None:
    found = doctest.testfile(str(PAGE), module_relative=False)
    assert found.attempted > 20
    assert not found.failed


@pytest.mark.parametrize(
    "name",
    ["transforms", "func.gradients", "func.jacobians", "func.batching", "autograd.functional",
     "autograd.gradcheck", "autograd.forward_ad", "autograd.checkpoint"],
)  # fmt: skip
def test_examples_of_docstrings(name: str) -> None:
    import importlib

    found = doctest.testmod(importlib.import_module(f"tapegrad.{name}"))
    assert found.attempted
    assert not found.failed
