"""The threads that loops of compiled tapes run on: how many, and their pool.

Workers are threads of the system, started by native code (runtime/shares.py) at the first loop that is
long enough. They have no Python objects and no GIL, so they neither keep the interpreter from ending nor
are seen by it. A fork ends them first; parent and child start others when they need them.
"""

from __future__ import annotations

import os
import time
from functools import partial

import numpy as np

from . import abi as nt
from .builtin_calls import native_call
from .helpers import number_of_cores
from .machine_code import entry, keep_for_ever

__all__ = ["number_of_threads", "set_threads", "with_threads"]

#: how long a fork waits for the loop that another thread runs, in seconds
PATIENCE = 5.0

_memory = np.zeros(nt.POOL_ROWS + nt.POOL_ROW * nt.POOL_WORKERS + 8, np.int64)
_POOL = _memory[-(_memory.ctypes.data // 8) % 8 :]  # from a cache line on
keep_for_ever(_memory)
nt.GLOBALS[nt.G_POOL] = _POOL.ctypes.data
#: of forks under way: whether they have the pool
_held: list[bool] = []


def _default() -> int:
    """The number of threads that the environment says, or that of cores."""
    for name in ("TAPEGRAD_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").partition(",")[0].strip()
        if text.isdecimal() and int(text) > 0:
            return int(text)
    return number_of_cores()


def number_of_threads() -> int:
    """Return the number of threads that a loop runs on at most."""
    if not _POOL[nt.POOL_THREADS]:
        set_threads(_default())
    return int(_POOL[nt.POOL_THREADS])


def set_threads(number: int) -> None:
    """Set the number of threads that a loop runs on at most."""
    _POOL[nt.POOL_THREADS] = number


def with_threads() -> int:
    """Address of what runs the shares of a loop, on as many threads as may be."""
    number_of_threads()
    _POOL[nt.POOL_WORK] = entry("take_part")
    return entry("run_shares")


# --------------------------------------------------------------------------- forks
def _stop() -> None:
    """Let workers end, once the loop is done that another thread may be running."""
    end, is_held = time.monotonic() + PATIENCE, False
    if _POOL[nt.POOL_STARTED]:
        while not is_held and time.monotonic() < end:
            is_held = bool(native_call("end_workers")())
            if not is_held:
                time.sleep(1e-4)
    _held.append(is_held)


def _go_on(*, is_child: bool) -> None:
    """Let workers be started again."""
    if _held.pop() or (is_child and _POOL[nt.POOL_STARTED]):
        native_call("renew_pool")(int(is_child))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_stop,
        after_in_parent=partial(_go_on, is_child=False),
        after_in_child=partial(_go_on, is_child=True),
    )
