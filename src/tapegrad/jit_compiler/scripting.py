"""PyTorch's ``torch.jit.script`` and ``trace``, which return a function as it is, and say so once.

`jit` is a function here: these are attributes of it, so that programs written for PyTorch run.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["add_names"]


@functools.cache
def _say(name: str) -> None:
    warnings.warn(
        f"jit.{name}() returns what it is given: nothing is compiled. tapegrad.jit(function) compiles a "
        "function, and tapegrad.trace(function)(x) records one (docs/jit.md)",
        stacklevel=3,
    )


def script(obj: Any, *args: Any, **options: Any) -> Any:
    """Return a function, class or module as it is.

    Parameters
    ----------
    obj : object
    *args, **options
        PyTorch's; they change nothing.
    """
    _say("script")
    return obj


def trace(func: Any, example_inputs: Any = None, *args: Any, **options: Any) -> Any:
    """Return a function or module as it is.

    Parameters
    ----------
    func : callable
    example_inputs, *args, **options
        PyTorch's; they change nothing.
    """
    _say("trace")
    return func


def unchanged(fn: Any = None, *args: Any, **options: Any) -> Any:
    """Return a function as it is, or a decorator that does."""
    return fn if callable(fn) else lambda function: function


def is_scripting() -> bool:
    """Return False: nothing is compiled by `script`."""
    return False


def add_names(jit: Callable[..., Any]) -> None:
    """Give `jit` the names of PyTorch's module."""
    for name, function in (
        ("script", script), ("trace", trace), ("ignore", unchanged), ("unused", unchanged),
        ("export", unchanged), ("is_scripting", is_scripting), ("is_tracing", is_scripting),
    ):  # fmt: skip
        setattr(jit, name, function)
