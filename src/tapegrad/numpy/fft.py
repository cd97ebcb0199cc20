"""NumPy's `numpy.fft`, looked up by name; see namespace.py."""

from __future__ import annotations

from typing import Any

from numpy import fft as _theirs

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    from .namespace import face_of

    value = face_of(_theirs, __name__, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [name for name in dir(_theirs) if not name.startswith("_")]
