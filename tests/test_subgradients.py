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
    ["func.jax_style", "func.gradients", "func.jacobians", "func.vectorized_map", "autograd.functional",
     "autograd.gradcheck", "autograd.forward_ad", "autograd.checkpoint"],
)  # fmt: skip
def test_examples_of_docstrings(name: str) -> None:
    import importlib

    found = doctest.testmod(importlib.import_module(f"tapegrad.{name}"))
    assert found.attempted
    assert not found.failed


# --------------------------------------------------------------------------- nanmedian
nan = math.nan


@pytest.mark.parametrize(
    ("values", "median", "gradient"),
    [
        ([1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 0.0, [0.0, 1 / 3, 0.0, 1 / 3, 0.0, 1 / 3]),
        ([2.0, nan, 2.0, 1.0, 5.0], 2.0, [0.5, 0.0, 0.5, 0.0, 0.0]),
        ([nan, nan, nan], nan, [1 / 3, 1 / 3, 1 / 3]),
        ([[1.0, nan], [1.0, 2.0]], 1.0, [[0.5, 0.0], [0.5, 0.0]]),
        (3.0, 3.0, 1.0),
        (nan, nan, 1.0),
    ],
)
def test_elements_that_are_the_nanmedian_share_its_gradient(
    values: Any, median: float, gradient: Any
) -> None:
    x = tg.tensor(values, requires_grad=True)
    y = x.nanmedian()
    y.backward()
    np.testing.assert_equal(y.item(), median)
    assert x.grad is not None
    assert x.grad.tolist() == gradient
    assert y.grad_fn is not None
    assert y.grad_fn.name() == "NanmedianBackward0"

    def of(lib: Any) -> Any:
        leaf = lib.tensor(values, dtype=lib.float64, requires_grad=True)
        lib.nanmedian(leaf).backward()
        return leaf.grad

    same(of)


def test_the_nanmedian_along_a_dimension_has_the_gradient_at_its_index() -> None:
    x = tg.tensor([[2.0, nan, 2.0, 1.0, 5.0], [nan, nan, 3.0, 3.0, 3.0]], requires_grad=True)
    values, indices = x.nanmedian(1)
    (values * tg.tensor([1.0, 10.0])).sum().backward()
    assert values.tolist() == [2.0, 3.0]
    assert indices.tolist() == [0, 3]
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 10.0, 0.0]]
    assert values.grad_fn is not None
    assert values.grad_fn.name() == "NanmedianBackward1"
    number, place = tg.nanmedian(tg.tensor(7.0, requires_grad=True), 0)
    assert (number.item(), place.item(), number.requires_grad) == (7.0, 0, True)
