"""One tape a thread: which one is current, and what becomes of it when its thread ends."""

from __future__ import annotations

import threading

from . import native as nt
from .tape import TAPES, Tape

__all__ = ["current_tape", "record_on", "recording_on"]

_local = threading.local()


def current_tape() -> Tape:
    """The tape on which this thread records."""
    tape: Tape | None = getattr(_local, "tape", None)
    if tape is None:
        _drop_orphans()
        tape = _local.tape = Tape()
        _local.end = _End(tape)
    return tape


class _End:
    """Lives as long as its thread; then nobody records natively on its tape any more.

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
                break  # somebody reads it: next time
            try:
                tape.handles_left = handles
                tape.collect()
            finally:
                tape.lock.release()
        if handles == 0:
            TAPES.pop(pointer, None)


def record_on(tape: Tape) -> None:
    """Let this thread record on another of its tapes from now on."""
    _local.tape = tape


class recording_on:
    """Context manager: record on another tape (a template's) for a while."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def __enter__(self) -> Tape:
        self._previous = current_tape()
        _local.tape = self.tape
        return self.tape

    def __exit__(self, *_: object) -> None:
        _local.tape = self._previous
