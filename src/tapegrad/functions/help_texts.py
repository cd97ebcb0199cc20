"""Help texts that the tool make_help writes into help.txt: whole ones of ops, examples of other functions.

Their examples' output is computed, so they are data; they are attached when a function is made public,
as ``help()`` reads ``__doc__`` only.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["HELP", "SEPARATOR", "texts_of", "with_example"]

SEPARATOR = "\N{SECTION SIGN} "
#: name of a function, or ``Tensor.`` and that of a method -> its example; after ``op ``, the whole text
HELP: dict[str, str] = {}


def with_example(doc: str | None, name: str) -> str | None:
    """Return a docstring with the example of a function, unless it has one of its own."""
    if name not in HELP or (doc is not None and ">>>" in doc):
        return doc
    return (doc or "").rstrip() + HELP[name]


def texts_of(path: Path) -> dict[str, str]:
    """Return the texts of a file by name."""
    parts = [part.partition("\n") for part in path.read_text("utf-8").split(SEPARATOR)[1:]]
    return {name: text[:-1] for name, _, text in parts}


HELP |= texts_of(Path(__file__).with_name("help.txt"))
