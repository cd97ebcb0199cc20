"""The books: Python's objects for a tape's slots, and their change in one step with the arrays.

Native code appends and moves statements; memory, hooks and contexts of theirs are Python objects, in
dictionaries by slot (`Books`). `commit` changes them with the arrays, or not at all.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from .constants import Constants
from .failures import Failed
from .hooks import Hooks
from .memory_views import Block

__all__ = ["Books", "Shared", "commit"]


class Shared:
    """Writes, by any thread, to memory that several tapes see."""

    __slots__ = ("version",)

    def __init__(self) -> None:
        self.version = 0


class Books:
    """The attributes of a tape that are no flat arrays."""

    state: memoryview
    pointer: int
    lock: Any
    abstract: bool
    constants: Constants
    _handles: np.ndarray

    def __init__(self) -> None:
        #: memory that statements refer to and the tape does not own: slot -> ndarray or leaf storage
        self.owned: dict[int, Any] = {}
        #: the leaves among them that require grad: slot -> storage
        self.leaves: dict[int, Any] = {}
        #: slots whose adjoint a reverse sweep leaves in a storage's ``grad``: slot -> weak reference
        self.retained: dict[int, Any] = {}
        #: bases of views that have hooks, or whose gradient is kept
        self.watched_bases: dict[int, bool] = {}
        #: in-place writes: base -> marks (2 * statement, or an odd number behind a dropped one)
        self.writes: dict[int, list[int]] = {}
        self.write_count = 0
        #: statement of the last of them, or the one before it
        self.last_write = 0
        #: version of each base that was written in place
        self.versions: dict[int, int] = {}
        self.prune_at = 64
        #: True once a leaf in a graph was given other data (`Storage.earlier`)
        self.has_earlier = False
        #: leaves that are copies of memory that elements share (mirrors.py)
        self.mirrors: list[weakref.ref[Any]] = []
        #: results whose tensors were detached in place (detaching.py)
        self.detached: dict[int, bool] = {}
        #: slots that were written in place -> their `View` (views.py), until slots move
        self.written_views: dict[int, Any] = {}
        #: statements from which on the next call that may collect does so. A reverse pass, which may
        #: not, gets more room meanwhile, and the tape shrinks again after it.
        self.collect_at = 0
        #: memory that other tapes see too: base -> (its count of writes, the count known here)
        self.shared: dict[int, tuple[Shared, int]] = {}
        #: hooks of results and their nodes: slot -> Hooks
        self.hooks: dict[int, Hooks] = {}
        #: contexts of `autograd.Function` calls by their `function` statement, packed residuals
        self.contexts: dict[int, Any] = {}
        #: packs the residuals of new statements (saved_tensors.py)
        self.saving: Callable[[Any, int], None] | None = None
        #: stacks of the calls that recorded, while anomaly detection is on
        self.traces: dict[int, Any] = {}
        #: errors of poisoned slots, as far as a kernel failed (failures.py)
        self.failures: dict[int, Failed] = {}
        #: reverse passes under way, by request; an interrupt can keep `Request.__exit__` from coming,
        #: and then a pass ends with its request
        self.requests: list[weakref.ref[Any]] = []
        #: functions to be called for passes that have ended; True while they are
        self.finals: list[Callable[[], None]] = []
        self.finishing = False
        #: other code that knows slots by number; True if some of it kept a collection from going over all
        self.counted, self.collection_due = 0, False
        #: passes inside each other that Python has to do with (nesting.py)
        self.depth = 0
        self.hooks_at = 32  # hooked slots from which on hook_cycles.py looks at their referents
        #: how many of all those wait for a user's function, which may collect (user_code.py), and the
        #: slot below which numbers stay meanwhile
        self.waiting, self.floor = 0, 1
        #: nodes that there are: slot (of a Function, its `function` statement) -> weak reference
        self.nodes: dict[int, weakref.ref[Any]] = {}
        #: memory of tensors made in inference mode, by base, as far as such blocks have ended: True;
        #: views that were taken there of other memory: False
        self.inference: dict[int, bool] = {}
        #: slot from which on memory is that of the inference mode that is on; -1 where it is off
        self.inference_start = -1
        self.inference_unseen = False  # True if the book has bases that are not VISIBLE yet
        self.multithreading = True  # PyTorch's switch, of no effect
        self._asked_mode = True  # the grad mode that was asked for in inference mode
        #: leaves of other threads' tapes that are bound here: storage -> slot
        self.guests: dict[Any, int] = {}
        self.collections = self.handles_left = 0  # the latter by an orphan's last one (current.py)
        self.recorders: list[Block] = []  # spare words of recorders (recorder.py), all 0
        self.strips_at = 1 << 22  # bytes of large buffers after which `njit` collects first


def commit(tape: Books, attributes: dict[str, Any], native: Any, *args: int) -> None:
    """Call native code that returns 0, and set attributes of the tape with it, or neither.

    All of it happens inside one call of the interpreter, so no signal handler, finalizer or
    KeyboardInterrupt finds the one done and the other not. The replaced objects live until then:
    finalizers of theirs are Python, and a signal handler may come with them.
    """
    replaced = vars(tape).copy()
    chosen = map((attributes, {}).__getitem__, map(native, *((a,) for a in args)))
    deque(map(vars(tape).update, chosen), maxlen=0)
    del replaced
