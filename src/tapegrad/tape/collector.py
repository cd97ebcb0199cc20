"""The tape's collector: statements that no handle needs go, and slots get other numbers.

runtime/mark_compact.py marks and moves; here the tape's books (memory of slots, constants, writes)
follow it, in one step with it (`commit` of books.py).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

from ..native import abi as nt
from ..native.builtin_calls import native_call
from . import versions
from .arrays import Arrays
from .books import commit
from .constants import Constants
from .failures import note_failures
from .memory_views import address_of, give_up_reserve, keep_reserve

__all__ = [
    "call_out", "collect", "destroy", "drop", "give_back", "trim",
]  # fmt: skip

give_back = native_call("give_back_entry")
mark = native_call("mark_entry")
compact = native_call("compact_entry")
native_trim = native_call("trim_entry")
native_drop = native_call("drop_entry")
destroy = native_call("destroy_entry")

#: attributes of a tape that are dictionaries by slot
BOOKS = (
    "owned", "leaves", "retained", "versions", "shared", "hooks", "contexts", "traces", "inference",
    "nodes", "watched_bases", "detached", "failures",
)  # fmt: skip
#: marks of a slot (runtime/mark_compact.py): its value is needed, its derivative may be wanted
VALUE, GRAPH = 1, 2
#: bytes of large buffers after which sweeps are followed by a collection, unless more are in use
COLLECT_BYTES = 1 << 24


def collect(tape: Arrays) -> bool:
    """Drop statements that no handle needs; return True if it could be done.

    The caller holds the tape's lock. Slots below the floor keep their numbers (user_code.py). The reserve
    serves where memory is used up.
    """
    try:
        return _collect(tape)
    except MemoryError:
        if not give_up_reserve():
            raise
        return _collect(tape)
    finally:
        keep_reserve()


def _collect(tape: Arrays) -> bool:
    if _interrupted():
        return False  # the tape grows instead
    note_failures(tape)  # as long as poisoned statements have operands
    note_inference(tape)
    tape.inference_unseen = tape.inference_unseen or tape.inference_start >= 0
    n = tape.count
    marks, live_base = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
    if tape.floor > 1:
        marks[1 : tape.floor] = VALUE | GRAPH
        live_base[1 : tape.floor] = 1
    if mark(tape.pointer, address_of(marks), address_of(live_base), n) != 0:
        return False  # a signal handler or finalizer has just recorded
    kept = marks != 0
    new = np.where(kept, np.cumsum(kept, dtype=np.int32), np.int32(-1))
    new[0] = 0
    old_address = np.zeros(n, np.int64)
    writes = versions.renumbered(tape, new)
    number = memoryview(new)  # type: ignore[arg-type]
    constants = Constants(
        {k: number[v] for k, v in tape.constants.slots.copy().items() if v < n and number[v] >= 0}
    )
    table = constants.table
    # A copy first: making the pairs could run finalizers, which change the books.
    books: dict[str, Any] = {
        name: {k: v for old, v in book.copy().items() if old < n and (k := number[old]) >= 0}
        if (book := getattr(tape, name)) else {}
        for name in BOOKS
    }  # fmt: skip
    # No pass comes by statements without the mark: objects in their contexts must not keep them.
    books["contexts"] = {
        number[k]: v for k, v in tape.contexts.copy().items() if k < n and marks[k] & GRAPH
    }
    books |= {
        "guests": {k: number[v] for k, v in tape.guests.copy().items() if v < n and number[v] >= 0},
        "constants": constants,
        **writes,
        "written_views": {},
        "inference_start": -1 if tape.inference_start < 0 else int(new.max()) + 1,
        "collections": tape.collections + 1,
    }
    commit(
        tape, books, compact, tape.pointer, address_of(marks), address_of(old_address),
        n, address_of(table), len(table) - 1,
    )  # fmt: skip
    s = tape.state
    owned = s[nt.S_OWNED_BYTES]
    # Above a floor little can be given back at a time; statements below it go when they may.
    more = owned if tape.floor == 1 else COLLECT_BYTES >> 2
    s[nt.S_COLLECT_AT] = max(COLLECT_BYTES, owned + more)
    s[nt.S_PENDING_BYTES] = 0 if s[nt.S_DONE] == s[nt.S_COUNT] else s[nt.S_PENDING_BYTES]
    return True


def drop(tape: Arrays, count: int) -> None:
    """Drop the statements from slot `count` on, if none came and no handle refers to one meanwhile."""
    expected = tape.count
    books: dict[str, Any] = {
        name: {k: v for k, v in getattr(tape, name).copy().items() if k < count} for name in BOOKS
    }
    constants = tape.constants
    if any(slot >= count for slot in constants.slots.copy().values()):
        constants = Constants({k: v for k, v in constants.slots.copy().items() if v < count})
    books |= {
        "guests": {k: v for k, v in tape.guests.copy().items() if v < count},
        "writes": {
            base: kept
            for base, marks in tape.writes.copy().items()
            if (kept := [mark for mark in marks if mark < 2 * count])
        },
        "written_views": {},
        "constants": constants,
        "inference_start": min(tape.inference_start, count),
    }
    table = constants.table
    commit(
        tape, books, native_drop, tape.pointer, count, expected, table.ctypes.data, len(table) - 1
    )


def note_inference(tape: Arrays) -> list[int]:
    """Note which memory that tensors refer to was made in inference mode; return its bases."""
    start = tape.inference_start
    if 0 <= start < tape.count:
        slots = tape._handles[tape._handles >= start]
        pairs = list(zip(slots.tolist(), tape.base[slots].tolist(), strict=True))
        bases = [base for _, base in pairs if base >= start]
        tape.inference |= dict.fromkeys(bases, True)
        # And the views that were taken there of other memory: they are not written outside.
        tape.inference |= {slot: False for slot, base in pairs if base < start}
        return bases
    return []


def trim(tape: Arrays) -> None:
    """Give back the large values that nothing needs, and leave the slots where they are.

    For the inside of a reverse sweep, which knows slots by number and holds the tensors that it started
    from. Inside a replay there are slots that no tensor holds.
    """
    with tape.lock:
        n = tape.count
        marks = np.empty(2 * n, np.uint8)
        native_trim(tape.pointer, 0, marks.ctypes.data, n)


def call_out(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a function of the user's, who may collect; only for `call_user` of user_code.py."""
    return function(*args, **kwargs)


def _interrupted() -> bool:
    """Return True if a signal handler or finalizer runs in the middle of code of this package.

    That code may hold slot numbers without a word about it, since it calls no other: slots must keep them.
    Where the package calls a user's function it has said which numbers it holds (`call_out`). The stack is
    looked at only when a collection is due.
    """
    frame: FrameType | None = sys._getframe(1)
    at_work = True  # the code of this package that asks for the collection knows of it
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if frame.f_code is call_out.__code__:
            at_work = True
        elif module.startswith("tapegrad."):
            if not at_work:
                return True
        elif module != "contextlib":  # its frames belong to the generators that they run
            at_work = False
        frame = frame.f_back
    return False
