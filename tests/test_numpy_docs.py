"""The examples of docs/numpy.md, array_api.md, extending.md and neighbours.md run, as printed there."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", ["numpy.md", "array_api.md", "extending.md", "neighbours.md"])
def test_examples(name: str) -> None:
    if name in ("extending.md", "neighbours.md"):
        pytest.importorskip("scipy")
    text = (DOCS / name).read_text(encoding="utf-8")
    test = doctest.DocTestParser().get_doctest(text, {}, name, str(DOCS / name), 0)
    assert len(test.examples) > 10
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(optionflags=flags)
    output: list[str] = []
    runner.run(test, out=output.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)
