"""Hooks of tensors: their home, and the slots that passes then look at."""

from __future__ import annotations

from ..native.handle_type import TensorHandle
from ..tape import recording as record
from ..tape.hooks import Hooks
from ..tape.leaf_storage import storage_of
from ..tape.tape import Tape, tape_at
from ..tape.watching import watch

__all__ = ["hooks_of", "watched"]


def hooks_of(tensor: TensorHandle) -> Hooks:
    """The hooks of a tensor, made if there are none.

    Raises
    ------
    RuntimeError
        If the tensor does not require grad.
    """
    if not tensor.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    storage = storage_of(tensor)
    if tensor.is_leaf:
        assert storage is not None
        if storage.hooks is None:
            storage.hooks = Hooks()
        return storage.hooks
    tape, slot = watched(tensor)
    return tape.hooks.setdefault(slot, Hooks())


def watched(tensor: TensorHandle) -> tuple[Tape, int]:
    """Let passes that come by a result look at its adjoint; its tape and slot."""
    record.adopt(tensor)  # or it raises: the graph is another thread's
    tape = tape_at(tensor._state)
    return tape, watch(tape, tensor)
