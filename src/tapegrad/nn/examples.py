"""Examples of the functions and modules here, which the tool make_help runs and writes into nn/help.txt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..functions.help_texts import texts_of

__all__ = ["add_examples"]

_TEXTS = texts_of(Path(__file__).with_name("help.txt"))


def add_examples(place: str, members: dict[str, Any], names: list[str]) -> None:
    """Give docstrings their examples; `place` is the module after ``nn.`` with a dot, or empty."""
    for name in names:
        member, text = members[name], _TEXTS.get(place + name)
        if text is not None and ">>>" not in (member.__doc__ or ""):
            member.__doc__ = (member.__doc__ or "").rstrip() + text
