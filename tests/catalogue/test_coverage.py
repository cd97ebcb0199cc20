"""Every row of the catalogue has a test, found by its name."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

# rows a tutorial, numbered from 1
ROWS_OF = {"000": 10, "001": 26, "002": 26, "003": 13, "004": 14, "x": 8}
FACTS = 6

ROWS = [f"{tutorial}_{n:02}" for tutorial, count in ROWS_OF.items() for n in range(1, count + 1)]
ROWS += [f"fact_{n}" for n in range(1, FACTS + 1)]
# text-level slips and the list of names: sections without numbered rows
SECTIONS = ["slips", "names"]

FILES = [p for p in sorted(Path(__file__).parent.glob("test_*.py")) if p.name != "test_coverage.py"]


def names_in(path: Path) -> list[str]:
    """Names of the test functions that a file defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


TESTS = [name for path in FILES for name in names_in(path)]


@pytest.mark.parametrize("row", [*ROWS, *SECTIONS])
def test_row_has_a_test(row: str) -> None:
    assert any(name.startswith(f"test_{row}_") for name in TESTS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_test_belongs_to_a_row_of_its_file(path: Path) -> None:
    kind = re.fullmatch(r"test_(\w+)", path.stem)
    assert kind is not None
    known = [row for row in ROWS if row.startswith(f"{kind[1]}_")]
    if not known:
        known = [row for row in ROWS if row.startswith("fact_")] + SECTIONS
    for name in names_in(path):
        assert any(name.startswith(f"test_{row}_") for row in known), name


def test_no_test_hides_another() -> None:
    assert [name for name, times in Counter(TESTS).items() if times > 1] == []
