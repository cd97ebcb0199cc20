"""Refusals at import: interpreters and machines that tapegrad cannot run on, each in one sentence.

Native code is made of 64-bit words, relies on the GIL, and reads objects where CPython and NumPy lay them
out (object_layout.py). Elsewhere it would crash or be wrong, so the import says so.
"""

from __future__ import annotations

import os
import sys

import numpy as np

from .object_layout import wrong_layout

__all__ = ["check_platform"]


def check_platform() -> None:
    """Raise unless tapegrad can run in this process; some 10 microseconds.

    Raises
    ------
    ImportError
        Its text says what to do instead.
    """
    text = _refusal()
    if text is not None:
        raise ImportError(text, name=__name__.partition(".")[0])


def _refusal() -> str | None:
    """Return the sentence that says why the package cannot run here, or None."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.implementation.name != "cpython":
        return (
            f"tapegrad runs on CPython, not on {sys.implementation.name}: install it for a CPython"
        )
    if sys.maxsize < 2**63 - 1:
        return "tapegrad needs a 64-bit Python, and this one has 32 bits: install a 64-bit build"
    if sys.byteorder != "little":
        return f"tapegrad needs a little-endian processor, not a {sys.byteorder}-endian one: use another"
    if os.name != "posix":
        return "tapegrad needs a POSIX system (it is tested on Linux): on Windows, run it under WSL"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return (
            "tapegrad needs the GIL, which is off in this process: set PYTHON_GIL=1 (python -X gil=1), or "
            "use a build of Python that is not free-threaded"
        )
    part = wrong_layout()
    if part is not None:
        return (
            f"tapegrad does not know where CPython {version} with NumPy {np.__version__} keeps {part}: "
            "install a newer tapegrad, or an older Python or NumPy"
        )
    return None
