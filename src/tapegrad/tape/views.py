"""Views seen from a handle: their base, their kind, and the permission to write them in place.

A statement of kind VIEW is a view of its operand; a tensor that was written in place goes by its statement
before the write. PyTorch forbids to write, in grad mode, into a view that was made under `no_grad`, that is
one of several outputs (``split``, ``unbind``), or that a custom Function returned; the reasons are read
off the tape here (`state_of`), not kept with every handle.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..base import torch_messages as messages
from ..native import abi as nt
from ..ops.instruction import Instruction
from .tape import Tape

__all__ = [
    "FUNCTION",
    "MULTIPLE",
    "NO_GRAD",
    "View",
    "check_write",
    "goes_on_after",
    "invalid",
    "is_whole",
    "output_number",
    "state_of",
]

#: reasons for which PyTorch does not let a view be written in grad mode; the rest of the error's text
NO_GRAD = (
    " Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your "
    "code by moving both the view and the inplace either both inside the no_grad block (if you don't "
    "want the inplace to be tracked) or both outside (if you want the inplace to be tracked)."
)
INFERENCE = NO_GRAD.replace("no_grad block", "inference_mode block")
MULTIPLE = (
    " This view is the output of a function that returns multiple views. Such functions do not allow "
    "the output views to be modified inplace. You should replace the inplace operation by an "
    "out-of-place one."
)
FUNCTION = (
    " This view was created inside a custom Function (or because an input was returned as-is) and the "
    "autograd logic to handle view+inplace would override the custom backward associated with the "
    "custom Function, leading to incorrect gradients. This behavior is forbidden. You can fix this by "
    "cloning the output of the custom Function."
)


class View(NamedTuple):
    """The base of a slot that may be a view, and its kind.

    Attributes
    ----------
    base : int
        Slot that it is a view of; that of the tensor itself, as it was first, if it is no view.
    reason : str
        Text against writing it in grad mode: NO_GRAD, INFERENCE, MULTIPLE, FUNCTION, or nothing.
    is_view : bool
    """

    base: int
    reason: str
    is_view: bool


def state_of(tape: Tape, slot: int) -> View:
    """Find the base of a slot.

    ``detach()`` and ``data`` share memory and are no views, as in PyTorch.
    """
    # A tensor written in a loop is a long chain of writes: its end is noted.
    known = tape.written_views
    view: View | None = known.get(slot)
    if view is not None:
        return view
    if tape.instruction_of(slot).op.kind in (nt.WRITE, nt.ACCUMULATE):
        start = int(tape.arg_start[slot])
        if tape.arg_start[slot + 1] != start:
            view = known.pop(int(tape.arg[start]), None)
            if view is not None:
                known[slot] = view
                return view
    view, through = _walk(tape, slot)
    if through < 0:
        return view
    below = known.get(through)
    if below is None:
        below, above = _walk(tape, through, known)
        if above >= 0:
            below = _over(below, known.pop(above))
        known[through] = below
    return _over(view, below)


def _over(view: View, below: View) -> View:
    """The view of a view, or of a base."""
    return View(below.base, view.reason or below.reason, view.is_view or below.is_view)


def _walk(tape: Tape, slot: int, known: Any = None) -> tuple[View, int]:
    """Go from a slot towards its base.

    Up to a slot that was written in place, or, beginning with one, to the next that is `known`; that slot
    comes beside the view, -1 if the base was reached.
    """
    reason, is_view = "", False
    first = slot
    while True:
        instruction = tape.instruction_of(slot)
        op = instruction.op
        if op.kind in (nt.LEAF, nt.COMPUTE, nt.OUTPUT):
            aliases = instruction.attrs.get("aliases", "")  # a Function returned a view of an input
            is_view = is_view or bool(aliases) or (
                op.kind == nt.LEAF and hasattr(tape.owned.get(slot), "of_view")
            )  # fmt: skip
            return View(slot, reason or aliases, is_view), -1
        if op.detaches:
            return View(slot, reason, is_view), -1
        start = int(tape.arg_start[slot])
        parent = int(tape.arg[start]) if tape.arg_start[slot + 1] != start else 0
        if not parent:  # dropped by the collector
            return View(slot, reason, is_view), -1
        written = op.kind != nt.VIEW or is_whole(instruction)
        if written:
            if known is None or (slot != first and slot in known):
                return View(slot, reason, is_view), slot
        else:
            is_view = True
            if not reason:
                if op.multiple_views:
                    reason = MULTIPLE
                elif tape.root[slot] != tape.root[parent]:
                    reason = INFERENCE if slot in tape.inference else NO_GRAD
        slot = parent


def is_whole(instruction: Instruction) -> bool:
    """Return True for a view statement that is no view: a tensor written or reshaped in place."""
    return instruction.op.rewritten or "in_place" in instruction.attrs


def goes_on_after(tape: Tape, write: int) -> bool:
    """Return True if a tensor of which a part was written goes on as the statement behind that write."""
    after = write + 1
    if after >= tape.count or tape.root[after] != tape.root[write]:
        return False
    return tape.instruction_of(after).op.rewritten


def check_write(tape: Tape, slot: int, *, active: bool) -> None:
    """Raise PyTorch's errors for a slot that must not be written in grad mode.

    Parameters
    ----------
    tape : Tape
    slot : int
    active : bool
        Whether something active takes part in the written value.

    Raises
    ------
    RuntimeError
        A leaf that requires grad, or a view of one; a view that was made under `no_grad`, or is one of
        several outputs, or a Function's output.
    """
    view = state_of(tape, slot)
    owner = tape.owned.get(view.base) if view.is_view else None
    of_leaf = bool(getattr(owner, "requires_grad", False)) or tape.wants_grad(view.base)
    if not (active or of_leaf or tape.is_active(slot) or tape.is_active(view.base)):
        return
    if view.reason:
        raise RuntimeError(_forbidden(tape, slot, view.reason, indirect=False))
    if of_leaf:
        raise RuntimeError(messages.LEAF_VIEW_IN_PLACE if view.is_view else messages.LEAF_IN_PLACE)


def invalid(tape: Tape, slot: int, end: int | None = None) -> str:
    """Return the reason for which a view has no node: its base was written, with ambiguous effect on it.

    Parameters
    ----------
    tape : Tape
    slot : int
    end : int, optional
        Slot before which the write was.

    Returns
    -------
    str
        PyTorch's text; empty if nothing is wrong.
    """
    base, last = int(tape.base[slot]), 2 * (tape.count if end is None else end)
    marks = tape.writes.get(base, ())
    if not any(2 * slot < mark < last for mark in reversed(marks)):
        return ""
    view = state_of(tape, slot)
    if not view.reason or not (tape.is_active(slot) or tape.is_active(view.base)):
        return ""
    return _forbidden(tape, slot, view.reason, indirect=True)


def output_number(tape: Tape, slot: int) -> int:
    """Number of a slot among its operation's outputs."""
    instruction = tape.instruction_of(slot)
    if not instruction.op.multiple_views:
        return int(instruction.attrs.get("number", 0))
    number, parent, offset = 0, tape.args_of(slot)[:1], tape.view_offset(slot)
    while slot > 1:  # the pieces were recorded one behind the other
        slot -= 1
        same = tape.instruction_of(slot).op is instruction.op and tape.args_of(slot)[:1] == parent
        if not same or tape.view_offset(slot) > offset:
            break
        number, offset = number + 1, tape.view_offset(slot)
    return number


def _forbidden(tape: Tape, slot: int, reason: str, *, indirect: bool) -> str:
    """PyTorch's text for a view that was written, itself or (indirectly) its base."""
    clause = "its base or another view of its base has been" if indirect else "is being"
    if tape.is_active(slot) and reason not in (INFERENCE, NO_GRAD):
        name = tape.instruction_of(slot).grad_fn.rstrip("0123456789").removesuffix("Backward")
        head = (
            f"Output {output_number(tape, slot)} of {name} is a view and {clause} modified inplace."
        )
    elif reason == INFERENCE or slot in tape.inference:
        head = f"A view was created in inference mode and {clause} modified inplace in normal mode."
    else:
        head = f"A view was created in no_grad mode and {clause} modified inplace with grad mode enabled."
    return head + reason
