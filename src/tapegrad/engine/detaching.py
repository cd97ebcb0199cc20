"""Results that were detached in place: a derivative that needs the value of one is refused, as in PyTorch.

``y.detach_()`` moves the tensor off its graph. PyTorch's graph keeps the tensor itself, and says so when
it finds it without one; here the graph is the tape's, and which slots were detached is noted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..native import abi as nt
from ..tape.tape import Tape
from .saved_tensors import residuals

__all__ = ["check", "note"]

_DETACHED = (
    "Trying to use a saved tensor that has been detached in-place, i.e. with .detach_().This is not "
    "supported, please use out-of-place `.detach()` instead"
)


def note(tape: Tape, slot: int) -> None:
    """Note that the tensor of a slot is detached in place, if a derivative may need its value yet."""
    if tape.instruction_of(slot).op.kind != nt.LEAF and _needing(tape, slot):
        tape.detached[slot] = True


def check(request: Any) -> None:
    """Raise if a pass needs the value of an operand that was detached in place.

    Raises
    ------
    RuntimeError
        PyTorch's error.
    """
    tape: Tape = request.tape
    for slot in list(tape.detached):
        users = _needing(tape, slot)
        if not users:  # a pass has freed them
            tape.detached.pop(slot, None)
        if any(k <= request.high and request.reached[request.root[k]] for k in users):
            raise RuntimeError(_DETACHED)


def _needing(tape: Tape, slot: int) -> list[int]:
    """Statements that keep the value of an operand for their derivatives."""
    places = np.flatnonzero(tape.arg[: tape.state[nt.S_ARG_COUNT]] == slot)
    starts = tape.arg_start[: tape.count + 1]
    users = []
    for k in set((np.searchsorted(starts, places, side="right") - 1).tolist()):
        instruction = tape.instruction_of(k)
        if instruction.op.kind != nt.COMPUTE or instruction.op.python or tape.flags[k] & nt.FREED:
            continue
        if tape.is_active(k):
            args = tape.args_of(k)
            if any(p < len(args) and args[p] == slot for p in residuals(tape, instruction, k)):
                users.append(k)
    return users
