"""Number of threads: of compiled loops, and of NumPy's BLAS where that is OpenBLAS."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..native.threads import number_of_threads, set_threads
from .registry import public

__all__ = ["get_num_threads", "set_num_threads"]

#: a number that C's int has
MOST = 1 << 30


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
    """Return the number of threads that long loops of compiled functions run on at most.

    It is the number of cores that the process may use, unless ``TAPEGRAD_NUM_THREADS`` or
    ``OMP_NUM_THREADS`` says another one. Products of matrices run on the threads of NumPy's BLAS.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.get_num_threads() >= 1
    True
    """
    return number_of_threads()


@public(out=False)
def set_num_threads(number: Any) -> None:
    """Set the number of threads of compiled functions, and of products of matrices, for the whole process.

    Results are the same for any number. With 1, no thread is started. A BLAS that is not OpenBLAS keeps
    its own number: set ``OMP_NUM_THREADS`` before NumPy is imported.

    Parameters
    ----------
    number : int

    Raises
    ------
    RuntimeError
        If it is not a positive integer.

    Examples
    --------
    >>> import tapegrad as tg
    >>> before = tg.get_num_threads()
    >>> tg.set_num_threads(1)
    >>> tg.get_num_threads()
    1
    >>> tg.set_num_threads(before)
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise RuntimeError(f"set_num_threads expects an int, but got {type(number).__name__}")
    if number <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    set_threads(min(number, MOST))
    entries = _thread_functions()
    if entries is not None:
        entries[1](min(number, MOST))
