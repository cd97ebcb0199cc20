"""Tensors that cross from one thread's tape to another's.

A thread never records on another's tape. A leaf, or any passive tensor, of another thread is bound
on the current tape as a leaf over the same memory (`guest`); a method that writes to it or changes it
takes the handle over first (`adopt`). Active results stay where their graph is: using them raises TapeError.

Memory that two tapes see is VISIBLE on both, so statements that read it are evaluated as they are
recorded, and has one count of in-place writes (versions.py). Another tape is only ever touched under
its lock, and never while the current tape's lock is held: two threads would wait for each other.
"""

from __future__ import annotations

from typing import NamedTuple

from ..base.errors import TapeError
from ..native import abi as nt
from ..native.handle_type import TensorHandle
from . import versions
from .books import Shared
from .current import current_tape
from .leaf_storage import Storage, layout_of, storage_of
from .tape import Tape, slot_of, tape_at

__all__ = ["adopt", "guest"]


def guest(tape: Tape, tensor: TensorHandle) -> int:
    """Slot on `tape` of a tensor that is on another thread's.

    Raises
    ------
    TapeError
        If its graph is on the other tape.
    """
    if tape.abstract:
        return tape.capture(tensor)
    storage, active, shared, version = _lend(tensor)
    layout = layout_of(tensor)
    known = tape.guests.get(storage)
    if known is None:  # another thread may have taken over a leaf of this tape
        leaves = tape.leaves.copy().items()
        slots = (k for k, s in leaves if s is storage and tape.owned.get(k) is storage)
        known = next(slots, None)
    if (
        known is not None
        and tape.wants_grad(known) == active
        and tape.instruction_of(known).out is layout
    ):
        versions.catch_up(tape)
        return known
    assert storage.array is not None
    slot = tape.bind(storage.array, layout, active=active, keep=storage)
    if version:
        tape.versions[slot] = version
    versions.share(tape, slot, shared)
    tape.guests[storage] = slot
    return slot


def adopt(tensor: TensorHandle) -> None:
    """Move a tensor of another thread to this thread's tape, where it can be written.

    Raises
    ------
    TapeError
        If its graph is on the other tape.
    TypeError
        For an object that is no Tensor, as methods get it that are called through the class.
    """
    tape = current_tape()
    try:
        state = tensor._state
    except AttributeError:
        raise TypeError(f"expected a Tensor, but got {type(tensor).__name__}") from None
    if state != tape.pointer:
        if tape.abstract:
            tape.refuse("changes a tensor of its surroundings")
        tape.make_room()
        slot = guest(tape, tensor)
        tape.bind_handle(tensor, slot, tensor._layout_id)


class _Loan(NamedTuple):
    """A tensor's memory, as another tape than the tensor's sees it."""

    storage: Storage
    requires_grad: bool
    #: the count of writes that the tapes share
    shared: Shared
    version: int


def _lend(tensor: TensorHandle) -> _Loan:
    """Make a tensor's memory ready to be seen by another tape than the tensor's."""
    other = tape_at(tensor._state)
    with other.lock:
        slot = slot_of(other, tensor)
        active = other.is_active(slot)
        if active and other.instruction_of(slot).op.kind != nt.LEAF:
            raise TapeError(
                f"a tensor recorded by thread {other.owner.name!r} is used in another thread, whose "
                "tape does not hold its graph; compute and differentiate in one thread, or pass "
                "tensor.detach()"
            )
        storage = storage_of(tensor)
        if storage is None or storage.array is None:
            array = other.expose(slot, layout_of(tensor))
            if storage is None:
                storage = tensor._meta = Storage(array, leaf=True)
            storage.array, storage.leaf = array, True
        else:
            other.evaluate()  # readers of the memory must not wait: the other tape may write it
        shared, version = versions.share(other, slot), versions.version_of(other, slot)
        return _Loan(storage, active, shared, version)
