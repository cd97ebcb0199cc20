"""Where the functions of this folder register themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["FORMS", "FUNCTIONS", "METHODS", "PROPERTIES", "declared", "public"]

F = TypeVar("F", bound=Callable[..., Any])

FUNCTIONS: dict[str, Callable[..., Any]] = {}
METHODS: dict[str, Callable[..., Any]] = {}
PROPERTIES: dict[str, Callable[..., Any]] = {}
#: declared functions, each with the forms that PyTorch overloads it by
FORMS: dict[Callable[..., Any], tuple[str, ...]] = {}


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


def declared(*forms: str, method: bool = True, **where: Any) -> Callable[[F], F]:
    """Register a function that its signature checks (see signature.py): its ``def``, or several forms."""

    def register(f: F) -> F:
        FORMS[f] = forms
        return public(method=method, **where)(f)

    return register
