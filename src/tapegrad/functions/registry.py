"""Where the functions of this folder register themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["FUNCTIONS", "METHODS", "PROPERTIES", "public"]

F = TypeVar("F", bound=Callable[..., Any])

FUNCTIONS: dict[str, Callable[..., Any]] = {}
METHODS: dict[str, Callable[..., Any]] = {}
PROPERTIES: dict[str, Callable[..., Any]] = {}


def public(
    *, method: bool = False, function: bool = True, name: str | None = None,
    aliases: tuple[str, ...] = (), prop: bool = False,
) -> Callable[[F], F]:  # fmt: skip
    """Register a function at the top level, as a method of Tensor, as a property, or several."""

    def register(f: F) -> F:
        for label in (name or f.__name__, *aliases):
            if prop:
                PROPERTIES[label] = f
                continue
            if function:
                FUNCTIONS[label] = f
            if method:
                METHODS[label] = f
        return f

    return register
