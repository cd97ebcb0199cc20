"""NumPy's `numpy.random` as it is: its arrays are constants, which all functions take."""

from __future__ import annotations

from typing import Any

from numpy import random as _theirs

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    return getattr(_theirs, name)


def __dir__() -> list[str]:
    return [name for name in dir(_theirs) if not name.startswith("_")]
