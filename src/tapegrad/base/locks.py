"""Locks that a fork waits for.

``os.fork`` copies the process with one thread. A lock that another thread held is never given back in the
child, and the data that it guards is half changed; so are locks inside of libraries, as that of BLAS is in
the middle of a matrix product. So a fork first takes all locks of this module (a thread holds one while it
changes a tape or runs a sweep), and the child starts with everything whole.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["TABLE_LOCK", "new_lock", "sources"]

#: how long a fork waits, in seconds: a thread may wait for the one that forks, in a hook, say
PATIENCE = 5.0

_locks: list[Any] = []
#: functions that return more, which come and go
sources: list[Callable[[], Iterable[Any]]] = []
#: of forks under way: locks that were taken, and those that could not be
_taken: list[tuple[list[Any], list[Any]]] = []


def new_lock() -> Any:
    """Return a lock for ever, that its owner may take again, and that a fork waits for."""
    lock = threading.RLock()
    _locks.append(lock)
    return lock


#: held while tables that all threads share grow or change
TABLE_LOCK = new_lock()


def _take_all() -> None:
    """Take all locks.

    To wait for one while others are held could be a deadlock: those are given back first.
    """
    end = time.monotonic() + PATIENCE
    locks = [*_locks, *(lock for source in sources for lock in source())]
    while True:
        held: list[Any] = []
        for lock in locks:
            wait = 0.0 if held else max(end - time.monotonic(), 0.0)
            if not lock.acquire(timeout=wait):
                break
            held.append(lock)
        rest = locks[len(held) :]
        if not rest or time.monotonic() > end:
            _taken.append((held, rest))
            return
        for lock in held:
            lock.release()
        locks = rest + held  # and this time wait for that one


def _release_all() -> None:
    for lock in _taken.pop()[0]:
        lock.release()


def _renew_rest() -> None:
    """In the child: give back the locks, and make those free that a thread held which is not there."""
    for lock in _taken[-1][1]:
        lock._at_fork_reinit()
    _release_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_release_all, after_in_child=_renew_rest)
