"""Views whose adjoint a pass keeps apart from their base's: those that are wanted, and those with hooks.

The adjoint of a view lies in its root's. A view that is wanted gets one of its own (reverse_pass.py), which
is added to the root's where the sweep comes to the statement of the view or, where its memory was written
since, to the last write: results computed from it before are not of the view as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..base.errors import UnsupportedError
from ..native import abi as nt
from ..tape import versions, views
from ..tape.tape import Tape
from ..tape.watching import is_part, watches
from .targets import Target

__all__ = [
    "is_separable",
    "leave_out_expanded",
    "separate_target",
    "separate_watched",
]

EXPANDED = (
    "the gradient of an expanded view is not kept apart from its base's; take the gradient of the "
    "tensor before .expand(), or use .expand(...).clone()"
)
WRITTEN = (
    "the gradient of a view whose base was written in place afterwards is not kept apart; take the "
    "gradient of a .clone() of it"
)

#: position of a target that the pass does not come to: behind all statements
NEVER = 1 << 40

_MOMENTS = (
    "the gradients of a view at two moments, before and after a write, are not kept apart; take them in "
    "two passes"
)


class MarkedPass(Protocol):
    """A reverse pass (`Request` of reverse_pass.py) that has marked the roots that it comes by."""

    tape: Tape
    #: targets that are expanded views
    expanded: Sequence[Target]

    @property
    def roots(self) -> Sequence[int]:
        """Slots that are seeded."""

    @property
    def high(self) -> int:
        """First statement that is visited."""

    @property
    def root(self) -> np.ndarray:
        """Root of each slot in this pass."""

    @property
    def targets(self) -> Sequence[Target]:
        """Targets of the pass."""

    @property
    def reached(self) -> np.ndarray:
        """Mark of each root that the pass comes by."""

    def separate(self, slot: int) -> None:
        """Give a view an adjoint of its own."""


def is_separable(request: MarkedPass, slot: int) -> bool:
    """Return True for a view whose adjoint lies in its root's, but for the root itself as written."""
    tape = request.tape
    is_view = tape.instruction_of(slot).op.kind == nt.VIEW
    return is_view and int(request.root[slot]) != slot and is_part(tape, slot)


def separate_watched(request: MarkedPass) -> bool:
    """Separate the views with hooks that the pass may come by; False if there are none."""
    tape, root, reached = request.tape, request.root, request.reached
    slots = np.flatnonzero(tape.flags[: request.high + 1] & nt.WATCHED)
    separated = False
    for slot in slots[reached[root[slots]] != 0].tolist():
        if not is_separable(request, slot):
            continue
        if not watches(tape, slot):  # but it may lie in a view that is watched
            parent = tape.args_of(slot)[0]
            if tape.flags[parent] & nt.WATCHED and is_part(tape, parent):
                tape.flags[slot] |= nt.WATCHED
            continue
        if tape.instruction_of(slot).out.overlaps:
            if comes_by(request, slot):
                raise UnsupportedError(EXPANDED)
            continue
        if (first := first_write(tape, slot)) and comes_by(request, slot, first):
            raise UnsupportedError(WRITTEN)
        request.separate(slot)
        separated = True
    return separated


def first_write(tape: Tape, slot: int) -> int:
    """First statement that wrote to a view's root after the view was made, or 0."""
    base, root = int(tape.base[slot]), int(tape.root[slot])
    later = [
        versions.statement_of(mark)
        for mark in tape.writes.get(base, ())
        if mark > versions.mark_of(slot)
        and versions.is_statement(mark)
        and tape.root[versions.statement_of(mark)] == root
    ]
    return min(later, default=0)


def separate_target(request: MarkedPass, target: Target) -> None:
    """Keep the gradient of a view that is wanted apart from its base's."""
    tape, slot = request.tape, target.slot
    if target.position > request.high or not is_part(tape, slot):
        return
    is_view = tape.instruction_of(slot).op.kind == nt.VIEW
    if not is_view and not views.state_of(tape, slot).is_view:
        return  # a base that was transposed in place
    if target.layout.overlaps:
        request.expanded = [*request.expanded, target]
        return
    target.is_late = target.position != slot or not is_view
    if any(t.slot == slot and t.position != target.position for t in request.targets):
        raise UnsupportedError(_MOMENTS)
    request.separate(slot)


def leave_out_expanded(request: MarkedPass) -> bool:
    """Want no gradients of expanded views that the pass does not come by; False if there are none.

    Raises
    ------
    UnsupportedError
        Where it comes by.
    """
    if not request.expanded:
        return False
    for target in request.expanded:
        if comes_by(request, target.slot):
            raise UnsupportedError(EXPANDED)
        target.position = NEVER
    request.expanded = ()
    return True


def comes_by(request: MarkedPass, slot: int, behind: int = 0) -> bool:
    """Return True if a statement that the pass visits uses a view, or it is a root.

    With `behind`, only statements behind that one count.
    """
    tape, reached, high = request.tape, request.reached, request.high
    alike = slot + 1 + np.flatnonzero(tape.root[slot + 1 : high + 1] == tape.root[slot])
    aliases = {slot}
    for k in alike.tolist():
        if tape.instruction_of(k).op.kind == nt.VIEW and tape.args_of(k)[0] in aliases:
            aliases.add(k)
    if any(root in aliases for root in request.roots if root >= behind):
        return True
    if max(slot, behind) > high:
        return False
    starts = tape.arg_start[: high + 2]
    first = int(starts[max(slot, behind) + 1])
    places = first + np.flatnonzero(np.isin(tape.arg[first : int(starts[-1])], list(aliases)))
    for k in np.unique(np.searchsorted(starts, places, side="right") - 1).tolist():
        is_user = tape.instruction_of(k).op.kind != nt.VIEW
        if is_user and reached[request.root[k]] and aliases.intersection(tape.args_of(k)):
            return True
    return False
