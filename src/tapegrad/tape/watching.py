"""Tensors with hooks, or whose gradient is kept, on the tape: which slots a pass looks at.

A slot that Python looks at has the flag `WATCHED`, so that a pass finds it where it comes by. A view with
a hook has a separate adjoint in such a pass, beside its root's (separating.py). That of a view which is
written over, or whose base is, sees values computed from it before: the tensor goes on as another view.
"""

from __future__ import annotations

import numpy as np

from ..base.errors import UnsupportedError
from ..native import abi as nt
from ..native.handle_type import AnyTensor, TensorHandle, bind_handle
from ..ops.instruction import view_instruction
from ..ops.table import TABLE
from . import versions, views
from .current import current_tape
from .recording import storage_of, tensor_at
from .tape import Tape, slot_of

__all__ = ["arrive", "is_part", "leave", "rebind", "unwatched", "users", "watch", "watches"]


def watches(tape: Tape, slot: int) -> bool:
    """Return True if hooks or a tensor wait for a slot's adjoint; a slot without them loses its notes."""
    hooks, kept = tape.hooks.get(slot), tape.retained.get(slot)
    if hooks or (kept is not None and kept() is not None):
        return True
    tape.hooks.pop(slot, None)
    tape.retained.pop(slot, None)
    tape.flags[slot] &= ~nt.WATCHED & 0xFF
    return False


def rebind(tensor: TensorHandle, tape: Tape, slot: int, *, part: bool = False) -> None:
    """Let a handle refer to another slot of the same layout; its gradient is still kept.

    With `part`, only a part of the tensor was written: a view goes on as in `_move`.
    """
    kept: list[int] = []
    if tape.retained and (storage := storage_of(tensor)) is not None:
        kept = [s for s, r in list(tape.retained.items()) if r() is storage]
    bind_handle(tensor, tape.pointer, slot, tensor._layout_id)
    for old in kept:
        reference = tape.retained[old]
        if not (part and _is_view(tape, old) and _is_used(tape, old)):
            tape.retained.pop(old)
        tape.retained[watch(tape, tensor)] = reference


# --------------------------------------------------------------------------- tensors with hooks
def watch(tape: Tape, tensor: TensorHandle) -> int:
    """Let passes that come by a result look at its adjoint; return its slot.

    Raises
    ------
    UnsupportedError
        For a view that was used since it was written.
    """
    slot = _behind_writes(tape, tensor)
    tape.flags[slot] |= nt.WATCHED
    tape.watched_bases[int(tape.base[slot])] = True
    if is_part(tape, slot) and tape.instruction_of(slot).op.kind == nt.VIEW:
        # Its views know that they lie in something watched (`append` in runtime/recording.py).
        for k in slot + 1 + np.flatnonzero(tape.root[slot + 1 : tape.count] == tape.root[slot]):
            is_view = tape.instruction_of(int(k)).op.kind == nt.VIEW
            if is_view and tape.flags[tape.args_of(int(k))[0]] & nt.WATCHED:
                tape.flags[k] |= nt.WATCHED
    return slot


def is_part(tape: Tape, slot: int) -> bool:
    """Return True if a slot shows its root in another form than the whole of it."""
    root = int(tape.root[slot])
    if root == slot:
        return False
    instruction = tape.instruction_of(slot)
    if instruction.out is not tape.instruction_of(root).out:
        return True
    if instruction.op.kind == nt.VIEW and not instruction.op.rewritten:
        return True
    return views.state_of(tape, slot).is_view  # written: the base itself, or a view of all of it


def _behind_writes(tape: Tape, tensor: TensorHandle) -> int:
    """Bind a handle to a slot at which the gradient of the tensor is that since its last write."""
    slot = slot_of(tape, tensor)
    base, root = int(tape.base[slot]), int(tape.root[slot])
    if base not in tape.versions or tape.abstract:
        return slot
    last = versions.last_write(tape, root)
    part = is_part(tape, slot)
    kind = tape.instruction_of(slot).op.kind
    if part:  # a write without gradients gives a view another node, too
        last = max(last, versions.statement_of(versions.last_mark(tape, slot)))
    elif last > slot:
        return last  # the base of the written view: its adjoint is complete there
    if last <= slot and not (part and kind != nt.VIEW):
        return slot
    if part and any(slot in tape.args_of(k) for k in range(last + 1, tape.count)):
        raise UnsupportedError(
            "a hook on a view that was used after it was written in place is not supported; register "
            "it right after the write, or on a .clone() of the view"
        )
    fresh = _alias(tape, slot, "as_strided")
    bind_handle(tensor, tape.pointer, fresh, tensor._layout_id)
    return fresh


def _alias(tape: Tape, slot: int, name: str) -> int:
    """Append a view of a slot's root with the same elements as the slot."""
    tape.evaluate()  # memory has no address before
    root, layout = int(tape.root[slot]), tape.instruction_of(slot).out
    instruction = view_instruction(
        TABLE[name], tape.instruction_of(root).out, layout.shape, layout.strides
    )
    mode, tape.state[nt.S_GRAD_MODE] = tape.grad_mode, True
    try:
        return tape.append_view(instruction, root, int(tape.address[slot] - tape.address[root]))
    finally:
        tape.state[nt.S_GRAD_MODE] = mode


def leave(tape: Tape, slot: int) -> None:
    """Before memory is written through a view with hooks: let its tensors be another view, without.

    A hook sees values computed from the view as it was when it was registered.
    """
    if _is_hooked(tape, slot):
        _move(tape, slot)


def unwatched(tensor: TensorHandle) -> AnyTensor:
    """Return a tensor that is to be written, or for a view with hooks another view of the same, without."""
    tape = current_tape()
    slot = slot_of(tape, tensor)
    return tensor_at(tape, _alias(tape, slot, "as_strided")) if _is_hooked(tape, slot) else tensor


def _is_hooked(tape: Tape, slot: int) -> bool:
    if not tape.watched_bases or not tape.flags[slot] & nt.WATCHED or tape.abstract:
        return False
    return int(tape.base[slot]) in tape.watched_bases and _is_view(tape, slot)


def arrive(tape: Tape, base: int) -> None:
    """After memory was written: go on from views with hooks to such without.

    A tensor that keeps its gradient keeps that of its value from now on.
    """
    if base not in tape.watched_bases or tape.abstract:
        return
    n = tape.count
    watched = (tape.flags[:n] & nt.WATCHED != 0) & (tape.base[:n] == base)
    for slot in np.flatnonzero(watched).tolist():
        if _is_view(tape, slot):
            _move(tape, slot)
    for slot in list(tape.retained):
        if tape.base[slot] != base:
            continue
        if _is_view(tape, slot):
            tape.flags[slot] |= nt.WATCHED
        elif (end := versions.last_write(tape, int(tape.root[slot]))) > slot:
            tape.retained[end] = tape.retained.pop(slot)
            tape.flags[end] |= nt.WATCHED
    if not any(tape.base[slot] == base for slot in tape.retained.copy()):
        tape.watched_bases.pop(base)


def _is_view(tape: Tape, slot: int) -> bool:
    return tape.instruction_of(slot).op.kind == nt.VIEW and is_part(tape, slot)


def _move(tape: Tape, slot: int) -> int:
    """Bind the handles of a view to another of the same; return its slot."""
    handles = tape._handles
    rows = np.flatnonzero(handles == slot)
    if not len(rows):
        return slot
    fresh = _alias(tape, slot, "as_strided")
    handles[rows] = fresh
    kept = tape.retained.get(slot)
    if kept is not None:
        tape.retained[fresh] = kept
        # If it is used, a pass that does not come by the new one keeps this one's.
        if not _is_used(tape, slot):
            tape.retained.pop(slot)
    return fresh


def users(tape: Tape, slot: int) -> np.ndarray:
    """The statements that a slot is an operand of."""
    start, end = tape.arg_start[slot + 1], tape.arg_start[tape.count]
    places = start + np.flatnonzero(tape.arg[start:end] == slot)
    starts = tape.arg_start[: tape.count + 1]
    statements: np.ndarray = np.searchsorted(starts, places, side="right") - 1
    return statements


def _is_used(tape: Tape, slot: int) -> bool:
    """Return True if a slot is an operand of a statement."""
    return bool(len(users(tape, slot)))
