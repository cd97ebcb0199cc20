"""Forward mode's private leaves, and what requires grad on their account alone: nothing, for the user.

What has a tangent is recorded like what requires grad, on leaves of a level's own (`tapegrad.func.jvp`,
`forward_ad.dual_level`). Whether a tensor *is active* is what the tape says; whether it *requires grad*,
as the user sees it, also asks for something that could want its gradient: a leaf that is not forward
mode's, or a transform around it that works in reverse mode.

Start reading at `requires_grad`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base import torch_messages as messages
from ..base.errors import UnsupportedError
from ..engine import native_entries as sweep
from ..engine.reverse_pass import Request
from ..native.exchange import Change, Exchange
from ..native.handle_type import AnyTensor, TensorHandle
from ..ops.instruction import view_instruction
from ..ops.table import TABLE
from ..tape import readout
from ..tape import recording as record
from ..tape.leaf_storage import Storage
from ..tape.tape import Tape, slot_of, tape_at
from .trace import Trace

__all__ = [
    "LEVELS",
    "Private",
    "check_roots",
    "check_tangents",
    "cut_off",
    "reaches_others",
    "requires_grad",
    "running",
    "switch",
]


class _DualLevels(threading.local):
    """The levels of forward mode that a thread is inside of, and whether tangents are switched on."""

    def __init__(self) -> None:
        self.levels: tuple[Private, ...] = ()
        self.enabled = True


LEVELS = _DualLevels()


class Private(Exchange):
    """A level of forward mode, while it runs: a context manager.

    Attributes
    ----------
    leaves : set of (Storage or None)
        Its private leaves.
    gaps : list of pairs of Tensor
        Stretches of the tape without tangents, by markers; the last may go on.
    """

    def __init__(self, leaves: set[Storage | None], *, enabled: bool) -> None:
        super().__init__()
        self.leaves, self._enabled = leaves, enabled
        self.gaps: list[tuple[AnyTensor, AnyTensor | None]] = []

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the changes: the level is known, and tangents may be switched on."""
        before, enabled = LEVELS.levels, LEVELS.enabled
        return (
            (vars(LEVELS), "levels", before, (*before, self)),
            (vars(LEVELS), "enabled", enabled, enabled or self._enabled),
        ), self

    def mark(self, mode: bool) -> None:
        """End or begin a stretch of the tape without tangents."""
        marker = record.scalar_tensor(0.0)
        if not mode:
            self.gaps.append((marker, None))
        elif self.gaps and self.gaps[-1][1] is None:
            self.gaps[-1] = self.gaps[-1][0], marker


def switch(mode: bool) -> None:
    """Switch tangents on or off, for what this thread records from now on."""
    if mode != LEVELS.enabled:
        for level in LEVELS.levels:
            level.mark(mode)
    LEVELS.enabled = mode


def running() -> bool:
    """Return True inside a level of forward mode."""
    return bool(LEVELS.levels)


def requires_grad(tensor: TensorHandle) -> bool:
    """Return True if something could want the gradient of an active tensor."""
    if not LEVELS.levels or readout.depends_on_inputs((tensor,), reverse=True):
        return True
    tape = tape_at(tensor._state)
    with tape.lock:
        return reaches_others(
            tape, [slot_of(tape, tensor)], set().union(*[level.leaves for level in LEVELS.levels])
        )


def check_roots(tensors: Sequence[Any]) -> None:
    """Raise PyTorch's error for roots that have tangents only."""
    if LEVELS.levels:
        for i, t in enumerate(tensors):
            if record.is_tensor(t) and record.is_active(t) and not requires_grad(t):
                raise RuntimeError(messages.NO_GRAD_FN.format(i))


def check_tangents(tensors: Sequence[Any]) -> None:
    """Raise for a gradient that is not recorded, where `tapegrad.func.jvp` would take it for a constant."""
    inputs = [x for x in readout.inputs_of("forward") if x.guards]
    if readout.depends_on([t for t in tensors if record.is_tensor(t)], inputs):
        raise UnsupportedError(
            "grad: without create_graph=True the result has no tangent, and jvp, jacfwd and linearize would "
            "take it for a constant; pass create_graph=True, or detach the outputs if it is one"
        )


def reaches_others(tape: Tape, roots: Sequence[int], leaves: set[Storage | None]) -> bool:
    """Return True if a reverse sweep from active slots would come by a leaf that is none of `leaves`.

    A leaf of a trace may stand for a slot of the tape around it: then that is asked of.
    """
    private: list[int] = []
    others: list[int] = []
    for slot, storage in tape.leaves.copy().items():
        (private if storage in leaves else others).append(slot)
    if not others or (private and _stand_apart(tape, min(private), roots, others)):
        return False
    slots = _reached(tape, roots, others)
    if isinstance(tape, Trace):
        outer = [tape.stands_for(slot) for slot in slots]
        return any(slot is None or reaches_others(tape.outer, [slot], leaves) for slot in outer)
    return bool(slots)


def _stand_apart(tape: Tape, first: int, roots: Sequence[int], others: list[int]) -> bool:
    """Return True if nothing from slot `first` on refers to what is below, where the `others` are."""
    return max(others) < first <= min(roots) and not sweep.refers_below(tape.pointer, first)


def _reached(tape: Tape, roots: Sequence[int], leaves: list[int]) -> list[int]:
    """The leaves that a reverse sweep from active slots would come by."""
    try:
        with tape.lock, Request(tape, leaves=True) as request:
            request.place(roots, [])
            request.prepare()
            return np.array(leaves)[request.reached[leaves] != 0].tolist()
    except RuntimeError:  # it has been freed or written over: differentiating it says so
        return leaves


def cut_off(tape: Tape, leaves: Sequence[TensorHandle]) -> None:
    """Let the tensors that are active on account of private leaves alone be passive from now on.

    Each refers to its value detached, as the graph is of no use to anybody any more.
    """
    storages = {record.storage_of(t) for t in leaves}
    here = [t for t in leaves if t._state == tape.pointer]
    if not here:
        return
    count = int((tape._handles > 0).sum())
    tape.make_room(count, 4 * count)
    with tape.lock:
        handles = tape._handles
        first = min(slot_of(tape, t) for t in here)
        for i in np.flatnonzero(handles > 0).tolist():
            slot = int(handles[i])
            if (
                slot >= first
                and tape.is_active(slot)
                and not reaches_others(tape, [slot], storages)
            ):
                layout = tape.instruction_of(slot).out
                view = view_instruction(TABLE["detach"], layout, layout.shape, layout.strides)
                handles[i] = tape.append_view(view, slot, 0)
