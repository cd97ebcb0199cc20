"""Hooks that refer to the tensor that they are on: circles that Python's collector cannot see.

``x.register_hook(lambda g: g * x.detach())`` is a circle: the tape keeps the hook as long as a pass may come
by `x`, the hook keeps `x`, and `x` keeps its statement. So is a hook on a Function's node that keeps it.
Before the tape is collected, `drop_unreachable` looks at the objects that hooks refer to. A tensor to which
nothing else refers keeps no statement on that account; the hooks of statements that no other tensor's graph
contains then go, and Python does the rest.

How often it looks depends on how many hooks there are: each is looked at a few times in its life.
"""

from __future__ import annotations

import gc
import operator
import sys
import weakref
from collections import Counter
from itertools import chain
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from ..native import abi as nt
from .arrays import Arrays
from .collector import GRAPH, mark
from .memory_views import address_of

__all__ = ["KEPT_WITH", "drop_unreachable"]

#: hooked slots up to which nothing is looked at
LEAST = 32
#: objects, for each hooked slot, that hooks may refer to before it takes too long to look at them
MOST_OBJECTS = 200
#: objects that live as long as another does, without its knowing: tables by the others' ids
KEPT_WITH: list[dict[int, Any]] = []
#: types that are no part of a circle; references from tapes are counted apart
_PASSED_OVER = (type, ModuleType, weakref.ref, Arrays)
#: references that counting makes itself: of the list of objects, and of the argument
_OWN = 2
#: attributes that functions of a module share
_AROUND = operator.attrgetter("__globals__", "__builtins__")


def drop_unreachable(tape: Arrays) -> None:
    """Drop the hooks that no pass can come by, but from a tensor that only hooks like these refer to."""
    hooked: list[tuple[int, Any]] = list(tape.hooks.copy().items())
    books = tape.leaves.copy(), tape.contexts.copy()
    holders = [(k, h) for book in books for k, h in book.items() if getattr(h, "hooks", None)]
    del books
    count = len(hooked) + len(holders)
    if count <= tape.hooks_at or tape.floor > 1 or tape.abstract:
        return
    owners = [(slot, hooks) for slot, hooks in hooked] + [(slot, h.hooks) for slot, h in holders]
    kept = count
    graph = _References(tape, [hooks for _, hooks in owners], [h for _, h in holders])
    if graph.is_whole:
        dead = _unreachable(tape, owners, graph)
        kept -= len(dead)
        del graph, owners
        for slot in dead:
            tape.hooks.pop(slot, None)
            holder: Any
            for holder in (tape.leaves.get(slot), tape.contexts.get(slot)):
                if getattr(holder, "hooks", None):
                    holder.hooks = None
    tape.hooks_at = max(LEAST, 2 * kept)


class _References:
    """The objects that hooks refer to, and which of them something else refers to, too."""

    def __init__(self, tape: Arrays, hooks: list[Any], holders: list[Any]) -> None:
        self.objects: list[Any] = list({id(h): h for h in hooks}.values())
        self.places = {id(h): i for i, h in enumerate(self.objects)}
        self.referents: list[list[int]] = []
        roots, most = len(self.objects), MOST_OBJECTS * (len(hooks) + 10)
        for i, _ in enumerate(self.objects):  # grows on the way
            if len(self.objects) > most:
                break
            self.referents.append(self._look(i))
        self.is_whole = len(self.referents) == len(self.objects)
        if not self.is_whole:
            return
        inside = np.zeros(len(self.objects), np.int64)
        for places in self.referents:
            for place in places:
                inside[place] += 1
        # The tape refers to a storage as a leaf's and as the owner of memory, for each slot that it had.
        books = [b.copy().values() for b in (tape.owned, tape.leaves, tape.contexts)]
        of_tape = Counter(map(id, chain(*books)))
        del books
        for number, place in [(id(h), self.places.get(id(h), -1)) for h in holders]:
            if place >= 0:
                inside[place] += of_tape[number] + 2  # and lists of this module
        del holders
        #: True for objects that are referred to from elsewhere
        self.outside = np.zeros(len(self.objects), bool)
        for i in range(roots, len(self.objects)):
            if sys.getrefcount(self.objects[i]) > inside[i] + _OWN:
                self.reach([i])
        #: handle ids of the tape's tensors, by place
        self.handles = {
            i: o._handle
            for i, o in enumerate(self.objects)
            if getattr(type(o), "_layout_id", None) is not None and o._state == tape.pointer
        }

    def _look(self, i: int) -> list[int]:
        """Note the objects that an object refers to; return their places."""
        places = []
        for other in _referents(self.objects[i]):
            place = self.places.get(id(other))
            if place is None:
                place = self.places[id(other)] = len(self.objects)
                self.objects.append(other)
            places.append(place)
        return places

    def reach(self, places: list[int]) -> None:
        """Count objects, and what they refer to, as referred to from elsewhere."""
        places = [p for p in places if not self.outside[p]]
        while places:
            place = places.pop()
            if not self.outside[place]:
                self.outside[place] = True
                places += [p for p in self.referents[place] if not self.outside[p]]


def _referents(value: Any) -> list[Any]:
    """The objects that may be part of a circle and that an object refers to."""
    referents = gc.get_referents(value)
    if isinstance(value, FunctionType):  # a module keeps its names
        around = [id(v) for v in _AROUND(value)]
        referents = [v for v in referents if id(v) not in around]
    referents += [book[id(value)] for book in KEPT_WITH if id(value) in book]
    return [v for v in referents if gc.is_tracked(v) and not isinstance(v, _PASSED_OVER)]


def _unreachable(tape: Arrays, owners: list[tuple[int, Any]], graph: _References) -> list[int]:
    """The hooked slots that no tensor's graph contains, but for tensors inside of their own hooks."""
    n = tape.count
    table = tape._handles.copy()
    hook_handles = {i: handle for i, handle in graph.handles.items() if not graph.outside[i]}
    slots = {i: int(table[handle]) for i, handle in hook_handles.items()}
    table[list(hook_handles.values())] = 0
    words = np.frombuffer(tape.state, np.int64).copy()
    words[nt.S_HANDLES] = address_of(table)
    waiting = dict(enumerate(owners))
    while waiting:
        marks, live_base = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
        if mark(address_of(words), address_of(marks), address_of(live_base), n) != 0:
            return []  # a finalizer has just recorded
        alive = [i for i, (slot, _) in waiting.items() if slot >= n or marks[slot] & GRAPH]
        if not alive:
            break
        graph.reach([graph.places[id(waiting.pop(i)[1])] for i in alive])
        for i in [i for i in hook_handles if graph.outside[i]]:
            table[hook_handles.pop(i)] = slots[i]
    return [slot for slot, _ in waiting.values()]
