"""Outputs and targets of a reverse pass: tensors that are differentiated, and those that get a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base import torch_messages as messages
from ..base.errors import TapeError
from ..native.handle_type import TensorHandle
from ..ops.layout import Layout
from ..tape import recording as record
from ..tape import versions, views
from ..tape.current import current_tape
from ..tape.recording import layout_of, storage_of
from ..tape.tape import Tape, tape_at

__all__ = ["Target", "check_inputs", "check_roots", "target_of", "unused"]


class Target:
    """A slot whose adjoint is wanted as a value: taken when the sweep comes to `position`.

    A late one is a view with an adjoint of its own from the last write to its memory, `position`, on.
    """

    __slots__ = ("array", "is_late", "is_leaf", "layout", "position", "result", "slot")

    def __init__(self, slot: int, position: int, layout: Layout, *, is_leaf: bool = False) -> None:
        self.slot = slot
        self.position = position
        self.layout = layout
        self.is_leaf = is_leaf
        self.is_late = False
        self.array: np.ndarray | None = None
        self.result: int | None = None  # slot of the cotangent, where the pass is replayed


def check_roots(tensors: Sequence[Any]) -> Tape:
    """The tape of the pass; raises for roots without a graph on it."""
    tape = current_tape()
    for i, t in enumerate(tensors):
        if not record.is_active(t):
            raise RuntimeError(messages.NO_GRAD_FN.format(i))
        if t._state != tape.pointer:
            if tape.abstract:
                tape.refuse("differentiates what was computed outside of it")
            other = tape_at(t._state)
            if storage_of(t) is None or t.grad_fn is not None:
                raise TapeError(
                    f"backward of a tensor recorded by thread {other.owner.name!r} was asked for in "
                    "another thread; call it where the tensor was computed"
                )
    return tape


def check_inputs(tensors: Sequence[Any]) -> None:
    """Raise PyTorch's error for a tensor that cannot get a gradient."""
    for t in tensors:
        if not record.is_active(t):
            raise RuntimeError("One of the differentiated Tensors does not require grad")


def target_of(tape: Tape, tensor: TensorHandle) -> Target:
    """Target of a pass for the gradient of a tensor's value, as it is now or was at its storage's moment."""
    slot, layout = record.operand(tape, tensor), layout_of(tensor)
    if not tape.writes:
        return Target(slot, slot, layout)
    storage = storage_of(tensor)
    moment = None if storage is None or storage.leaf else storage.moment
    end = None if moment is None else record.operand(tape, moment)
    position = versions.last_write(tape, slot, end)
    if end is None and tape.root[slot] != slot and views.state_of(tape, slot).is_view:
        # A write without gradients does not change the base's node, but a view gets a new one.
        position = max(position, versions.statement_of(versions.last_mark(tape, slot)))
        if position > slot and views.goes_on_after(tape, position):
            position += 1  # where the written slot is itself a target, this is part of its gradient
    return Target(slot, position, layout)


def unused(i: int) -> str:
    """PyTorch's words for an input that the outputs do not depend on."""
    return (
        f"The differentiated Tensor at index {i} appears to not have been used in the graph. Set "
        "allow_unused=True if this is the desired behavior."
    )
