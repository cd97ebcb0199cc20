"""One tape a thread: the current one, and the tapes of threads that have ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from ..base.locks import sources
from ..native import abi as nt
from ..native.exchange import Change, Exchange
from .tape import TAPES, Tape

__all__ = ["current_tape", "record_on", "recording_on", "synchronize"]

_local = threading.local()
#: functions that wait for what goes on in the background; `synchronize` calls them
waiting: list[Callable[[], None]] = []


def current_tape() -> Tape:
    """The tape on which this thread records.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.current_tape() is tg.current_tape()
    True
    """
    tape: Tape | None = getattr(_local, "tape", None)
    if tape is None:
        _drop_orphans()
        tape = Tape()
        _local.end = _End(tape)  # first: an interrupt must not leave a tape without it
        _local.tape = tape
    return tape


def synchronize() -> None:
    """Compute all that this thread has recorded and that nobody has asked for yet; wait for the compiler.

    Operations are recorded at once and computed when a value is needed, so a clock around them measures
    the recording; `synchronize` before the clock is read makes it measure the computation, too.

    Raises
    ------
    MemoryError
        If a result does not fit in memory.

    Examples
    --------
    >>> import time
    >>> import tapegrad as tg
    >>> x = tg.rand(100, 100)
    >>> start = time.perf_counter()
    >>> y = x @ x
    >>> tg.synchronize()
    >>> seconds = time.perf_counter() - start
    """
    thread = threading.current_thread()
    for tape in TAPES.copy().values():
        if tape.owner is thread and not tape.abstract:
            tape.evaluate()
    for wait in waiting:
        wait()


class _End:
    """Lives as long as its thread; then no thread records natively on its tape any more.

    Threads' numbers are used again, and native recording knows the owner by number.
    """

    __slots__ = ("tape",)

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def __del__(self) -> None:
        self.tape.state[nt.S_OWNER] = 0


def _drop_orphans() -> None:
    """Forget the tapes of ended threads that no tensor is on."""
    for pointer, tape in TAPES.copy().items():
        if tape.abstract or tape.owner.is_alive():
            continue
        # Leaves hold gradients, which are tensors too: they go when the leaves are collected.
        while (handles := tape.state[nt.S_HANDLE_COUNT]) not in (0, tape.handles_left):
            if not tape.lock.acquire(blocking=False):
                break  # another thread reads it: next time
            try:
                tape.handles_left = handles
                tape.collect()
            finally:
                tape.lock.release()
        if handles == 0:
            TAPES.pop(pointer, None)


def _forget_threads() -> None:
    """In the child of a fork: no other thread is there to record, or to end a sweep or a pass."""
    thread = threading.current_thread()
    for tape in TAPES.copy().values():
        if tape.owner is not thread:
            tape.state[nt.S_OWNER] = 0
            tape.busy[nt.BUSY_SWEEP] = False
            tape.requests.clear()
            tape.counted = 0


sources.append(lambda: [tape.lock for tape in TAPES.copy().values()])
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def record_on(tape: Tape) -> None:
    """Let this thread record on another of its tapes from now on."""
    _local.tape = tape


class recording_on(Exchange):
    """Context manager: record on another tape (a template's) for a while."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the change of this thread's tape."""
        return ((vars(_local), "tape", current_tape(), self.tape),), self.tape
