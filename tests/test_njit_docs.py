"""The examples of docs/njit.md run, and say what is printed there."""

from __future__ import annotations

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "njit.md"


def test_examples() -> None:
    text = PAGE.read_text(encoding="utf-8")
    test = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    assert len(test.examples) > 15
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    output: list[str] = []
    runner.run(test, out=output.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)


def test_docstring_examples() -> None:
    from tapegrad.njit_compiler import checkpointed_loop as loops
    from tapegrad.njit_compiler import compiled

    for module in (compiled, loops):
        assert doctest.testmod(module).failed == 0
