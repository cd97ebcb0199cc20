"""Processes that help to compile: LLVM is called by one thread at a time, so other cores need processes.

A helper imports the package as its parent does, compiles from the other end of the list what nobody else is
compiling (object_cache.claim), and ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from . import object_cache as store

__all__ = ["IS_HELPER", "assisted", "number_of_cores"]

_MARK = "TAPEGRAD_IS_HELPER"
#: True in a helper
IS_HELPER = os.environ.get(_MARK) == "1"
#: units that are compiled alone: a process takes half a second until it helps
_FEW = 6
_CODE = "import sys; sys.path[:] = {path!r}; import {module}"


def number_of_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def assisted(units: int, module: str) -> Iterator[None]:
    """Context manager: other cores help meanwhile, where there is enough to do and a store to meet in.

    Parameters
    ----------
    units : int
        How many are to be compiled.
    module : str
        A helper imports it, and ends where this process is.
    """
    processes: list[subprocess.Popen[bytes]] = []
    able = sys.executable and not getattr(sys, "frozen", False) and store.can_lock()
    if able and not IS_HELPER and units > _FEW:
        import subprocess  # 3 ms that a process which compiles little does without

        code = _CODE.format(path=sys.path, module=module)
        for _ in range(min(number_of_cores() - 1, units // _FEW)):
            try:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-c", code],
                        env={**os.environ, _MARK: "1"},
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                )
            except OSError:  # no more processes: what is here does it alone
                break
    try:
        yield
    finally:
        for process in processes:  # all is there: what they may still do is to no use
            process.kill()
            process.wait()
