"""Number of threads that products of matrices run on, as NumPy's BLAS tells it if that is OpenBLAS."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..base.errors import UnsupportedError
from .registry import public

__all__ = ["get_num_threads", "set_num_threads"]


@cache
def _thread_functions() -> tuple[Callable[[], int], Callable[[int], object]] | None:
    """OpenBLAS's functions that get and set the number, if NumPy's wheel has it."""
    folder = Path(np.__file__).parent
    files = [*folder.parent.glob("numpy.libs/*openblas*"), *folder.glob(".dylibs/*openblas*")]
    for file in files:
        library = ctypes.CDLL(str(file))
        for pattern in (
            "scipy_openblas_{}64_",
            "openblas_{}64_",
            "scipy_openblas_{}",
            "openblas_{}",
        ):
            names = pattern.format("get_num_threads"), pattern.format("set_num_threads")
            if all(hasattr(library, name) for name in names):
                return getattr(library, names[0]), getattr(library, names[1])
    return None


@public(out=False)
def get_num_threads() -> int:
    """Return the number of threads that products of matrices run on; all else runs on one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.get_num_threads() >= 1
    True
    """
    entries = _thread_functions()
    return 1 if entries is None else int(entries[0]())


@public(out=False)
def set_num_threads(number: Any) -> None:
    """Set the number of threads that products of matrices run on, for the whole process.

    Parameters
    ----------
    number : int

    Raises
    ------
    RuntimeError
        If it is not a positive integer.
    UnsupportedError
        If NumPy's BLAS is not OpenBLAS: set ``OMP_NUM_THREADS`` before NumPy is imported.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise RuntimeError(f"set_num_threads expects an int, but got {type(number).__name__}")
    if number <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    entries = _thread_functions()
    if entries is None:
        if number == 1:
            return
        raise UnsupportedError(
            "set_num_threads(): NumPy's BLAS is not OpenBLAS; set OMP_NUM_THREADS before NumPy is imported"
        )
    entries[1](number)
