"""docs/pytorch_differences.md: the tests that it names exist; differences that have no test elsewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import tapegrad as tg

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "pytorch_differences.md"


NAMES = sorted(set(re.findall(r"`((?:fuzz/)?\w+\.py(?:::\w+)?)`", PAGE.read_text("utf-8"))))


@pytest.mark.parametrize("name", NAMES)
def test_a_test_that_the_page_names_is_there(name: str) -> None:
    file, _, function = name.partition("::")
    path = TESTS / file
    assert path.exists(), f"docs/pytorch_differences.md names {file}"
    if function:
        tree = ast.parse(path.read_text("utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in names, f"docs/pytorch_differences.md names {name}"


@pytest.mark.parametrize(
    "call",
    [
        lambda x: tg.add(x, x, alpha=0.5),
        lambda x: tg.sub(x, x, alpha=2.0),
        lambda x: tg.lerp(x, x * 1, 0.3),
    ],
)
def test_numbers_beside_a_sum_count_as_saved(call: object) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    loss = call(x).sum()  # type: ignore[operator]
    loss.backward(retain_graph=True)
    loss.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        loss.backward()
