"""Registry of the functions of this folder."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = [
    "FORMS",
    "FUNCTIONS",
    "METHODS",
    "PROPERTIES",
    "WITHOUT_OUT",
    "ShownSignature",
    "declared",
    "in_package",
    "public",
]

F = TypeVar("F", bound=Callable[..., Any])

FUNCTIONS: dict[str, Callable[..., Any]] = {}
METHODS: dict[str, Callable[..., Any]] = {}
PROPERTIES: dict[str, Callable[..., Any]] = {}
#: declared functions, each with the forms that PyTorch overloads it by
FORMS: dict[Callable[..., Any], tuple[str, ...]] = {}
#: functions that have no keyword ``out``
WITHOUT_OUT: set[str] = set()


def public(
    *, method: bool = False, function: bool = True, name: str | None = None,
    aliases: tuple[str, ...] = (), prop: bool = False, out: bool = True, doc: str | None = None,
) -> Callable[[F], F]:  # fmt: skip
    """Register a function at the top level, as a method of Tensor, as a property, or several.

    Parameters
    ----------
    method, function, prop : bool
    name : str, optional
        Its public name, which it is given; by default its own.
    aliases : tuple of str
        Further names.
    out : bool
        Whether it makes new tensors of numbers, which the keyword ``out`` may write elsewhere.
    doc : str, optional
        The docstring of a function that is made for many names.
    """

    def register(f: F) -> F:
        if name is not None:
            f.__name__ = f.__qualname__ = name
        f.__doc__ = doc or f.__doc__
        for label in (f.__name__, *aliases):
            if prop:
                PROPERTIES[label] = f
                continue
            if function:
                FUNCTIONS[label] = f
                if not out:
                    WITHOUT_OUT.add(label)
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


def in_package(package: str, *forms: str) -> Callable[[F], F]:
    """Register a function by `declared` that stands in a package, as ``tapegrad.linalg`` is."""

    def register(f: F) -> F:
        return declared(*forms, method=False, name=f"{package}_{f.__name__}")(f)

    return register


class ShownSignature:
    """The signature that `inspect.signature` shows for a layer around a function; made when it is asked for.

    It stands between the two, as the layer's ``__wrapped__``.

    Parameters
    ----------
    function : callable
        What the layer is called like.
    change : callable, optional
        Returns the layer's signature for that of the function, where they differ.
    """

    __slots__ = ("__wrapped__", "_change")

    def __init__(
        self,
        function: Callable[..., Any],
        change: Callable[[inspect.Signature], inspect.Signature] | None = None,
    ) -> None:
        self.__wrapped__, self._change = function, change

    @property
    def __signature__(self) -> inspect.Signature:
        shown = inspect.signature(self.__wrapped__)
        return shown if self._change is None else self._change(shown)
