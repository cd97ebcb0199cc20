"""Gradients of leaves: set, or added to those that are there, with the hooks that see them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import torch_messages as messages
from ..base.dtypes import dtype_of
from ..base.locks import new_lock
from ..native import abi as nt
from ..native.handle_type import AnyTensor, TensorHandle
from ..ops.instruction import leaf
from ..ops.layout import LAYOUTS, Layout
from ..tape import recording as record
from ..tape import versions
from ..tape.current import current_tape
from ..tape.leaf_storage import Storage, layout_of
from ..tape.memory_views import Buffer, address_of, array_at
from ..tape.nesting import nested
from ..tape.recording import storage_of
from ..tape.tape import Tape, slot_of, tape_at
from ..tape.user_code import call_user
from . import native_entries as sweep
from .python_steps import call_hooks, called, no_grad_on, prehooked, replaced
from .reverse_pass import Request
from .targets import Target

__all__ = [
    "accumulated",
    "add_recorded",
    "add_to_grad",
    "leaf_gradients",
    "reached_leaves",
    "target_gradients",
]

#: bytes of a gradient up to which it is copied out of the sweep's memory, which stays with the pool
COPIED = 1 << 16
#: threads that share a leaf add to its gradient one after the other
_accumulating = new_lock()


def _copied(tape: Tape, address: int, layout: Layout) -> AnyTensor:
    """A leaf with a copy of a dense adjoint, which stays where it is."""
    array = np.empty(layout.shape, layout.dtype.np)
    storage = Storage(array, leaf=True)
    tape.owned[tape.state[nt.S_COUNT]] = storage  # first, as in `Tape.bind`
    arguments = tape.pointer, address, layout.span, leaf(layout).id, address_of(array)
    while (slot := sweep.gradient(*arguments)) < 0:
        tape.make_room(collect=False)
    tape.owned[slot] = storage
    tensor: TensorHandle = tape.new_handle(slot, layout)
    tensor._meta = storage
    return tensor


def _array_of(request: Request, slot: int, address: int, layout: Layout) -> np.ndarray:
    """The adjoint of a leaf as an array; it takes over large memory, and copies other."""
    taken_over = layout.is_contiguous and layout.span > COPIED and request.yields(slot)
    if not taken_over:  # or the leaf is a target twice
        return array_at(address, layout).copy()
    return array_at(address, layout, Buffer(address, layout.span, request.tape))


def target_gradients(request: Request) -> list[AnyTensor | None]:
    """Gradients of targets after a sweep, and after the hooks of leaves; None where it did not come."""
    tape, leaves = request.tape, request.tape.leaves
    rows, captured = request.target_rows(), request.captured()
    gradients: list[AnyTensor | None] = []
    for i in range(0, len(rows), 4):
        slot, address = rows[i + 1], rows[i + 2]
        array: np.ndarray | None = None
        if captured and i >> 2 in captured:
            array = captured[i >> 2]
        elif address:
            layout, storage = LAYOUTS[rows[i + 3]], leaves.get(slot)
            is_hooked = storage is not None and storage.hooks is not None
            if layout.is_contiguous and layout.span <= COPIED and not is_hooked:
                gradients.append(_copied(tape, address, layout))
                continue
            array = _array_of(request, slot, address, layout)
            array = _hooked(storage, array, node=False) if is_hooked else array
        gradients.append(None if array is None else record.leaf_tensor(array, dtype_of(array)))
    return gradients


def leaf_gradients(request: Request) -> list[tuple[Storage, np.ndarray]]:
    """Make the gradients of leaves that have none; return the others, which are to be added."""
    tape, leaves, rows = request.tape, request.tape.leaves, request.leaf_rows()
    rest: list[tuple[int, Storage]] = []
    addresses: dict[int, int] = {}
    with _accumulating:
        for i in range(0, len(rows), 2):
            slot, address = rows[i], rows[i + 1]
            storage = leaves.get(slot)
            if storage is None or not address:
                continue
            if not _copy_adjoint(tape, storage, slot, address):
                rest.append((slot, storage))
                addresses[slot] = address
    gradients: list[tuple[Storage, np.ndarray]] = []
    for slot, storage in _in_order(tape, rest):
        array = _array_of(request, slot, addresses[slot], tape.instruction_of(slot).out)
        gradients.append((storage, _hooked(storage, array, node=True)))
    return gradients


def reached_leaves(request: Request) -> list[tuple[Target, Storage]]:
    """The leaves that require grad and that a prepared pass comes by, in the order of their hooks."""
    tape = request.tape
    slots = (request.reached[: request.high + 1] != 0).nonzero()[0].tolist()
    leaves = [(slot, storage) for slot in slots if (storage := tape.leaves.get(slot)) is not None]
    targets = []
    for slot, storage in _in_order(tape, leaves):
        target = Target(slot, slot, tape.instruction_of(slot).out, is_leaf=True)
        targets.append((target, storage))
    return targets


def _copy_adjoint(tape: Tape, storage: Storage, slot: int, address: int) -> bool:
    """Make the gradient of a leaf a copy of its (small, dense) adjoint; False if it is not so simple."""
    layout = tape.instruction_of(slot).out
    if storage.grad is not None or storage.hooks is not None:
        return False
    if layout.span > nt.SMALL or not layout.is_contiguous:
        return False
    storage.grad = _copied(tape, address, layout)
    return True


def _in_order(tape: Tape, leaves: list[tuple[int, Storage]]) -> list[tuple[int, Storage]]:
    """Leaves in the order in which their gradients are complete, where hooks see it."""
    if len(leaves) > 1 and any(storage.hooks is not None for _, storage in leaves):
        return sorted(leaves, key=lambda item: _first_use(tape, item[0]), reverse=True)
    return leaves


def _first_use(tape: Tape, slot: int) -> int:
    """The first statement with a leaf as its operand: there its gradient is complete."""
    places = np.flatnonzero(tape.arg[: tape.state[nt.S_ARG_COUNT]] == slot)
    if not len(places):
        return 0
    return int(np.searchsorted(tape.arg_start[: tape.count + 1], places[0], side="right")) - 1


def _hooked(storage: Any, array: np.ndarray, *, node: bool) -> np.ndarray:
    """The gradient of a leaf after its hooks, with `node` also after those before its node."""
    hooks = storage.hooks
    if hooks is None or not (hooks.tensor or (node and hooks.before)):
        return array
    tape = current_tape()
    with nested(tape), no_grad_on(tape):
        ct = call_hooks(hooks.tensor, record.leaf_tensor(array, dtype_of(array)))
        ct = prehooked(hooks, ct) if node else ct
    return ct._array()


def accumulated(storage: Storage, ct: np.ndarray | TensorHandle, *, recorded: bool) -> None:
    """Call the hooks that wait for a leaf's gradient to be complete.

    Raises
    ------
    RuntimeError
        If a hook returns something.
    """
    hooks = storage.hooks
    if hooks is None or not (hooks.accumulated or hooks.after):
        return
    tape = current_tape()
    with nested(tape), no_grad_on(tape, recorded):
        for owner, hook in list(hooks.accumulated.values()):
            leaf = owner()
            if leaf is not None and not _is_nothing(call_user(hook, leaf), leaf):
                raise RuntimeError("Tensor post accumulate grad hooks should return None.")
        if hooks.after:
            if isinstance(ct, np.ndarray):
                ct = record.leaf_tensor(ct, dtype_of(ct))
            for hook in list(hooks.after.values()):
                replaced(hook, (), called(hook, (), (ct,)))


def _is_nothing(returned: object, leaf: TensorHandle) -> bool:
    """Return True for None, and for the leaf itself, which PyTorch takes for it."""
    return returned is None or returned is leaf


def add_recorded(storage: Storage, new: TensorHandle) -> None:
    """Accumulate a gradient that was recorded: the sum is recorded, too."""
    while True:
        grad = storage.grad
        if grad is None:
            copy: Any = new.clone()  # others may have it, and the next one is added in place
            with _accumulating:
                if storage.grad is None:
                    storage.grad = copy
                    return
            continue
        home = tape_at(grad._state)
        with home.lock:
            version = versions.version_of(home, slot_of(home, grad))
        total = grad + new
        with home.lock, _accumulating:  # unless another thread has come in between
            same = storage.grad is grad and grad._state == home.pointer
            if same and versions.version_of(home, slot_of(home, grad)) == version:
                storage.grad = total
                return


def add_to_grad(storage: Storage, array: np.ndarray) -> None:
    """Accumulate in place into a storage's ``grad``, or make it."""
    tape = current_tape()
    while True:
        grad = storage.grad
        if grad is None:
            new = record.leaf_tensor(array, dtype_of(array))
            with _accumulating:
                if storage.grad is None:
                    storage.grad = new
                    return
            continue
        if layout_of(grad).overlaps:
            raise RuntimeError(messages.OVERLAP)
        home = tape_at(grad._state)  # another thread may have made it
        memory = storage_of(grad)
        with home.lock, _accumulating:
            if storage.grad is not grad or grad._state != home.pointer:
                continue
            slot = slot_of(home, grad)
            in_memory = memory is not None and memory.leaf and memory.array is not None
            if in_memory and not home.is_active(slot):
                home.evaluate()
                # Noted first: an interrupt may come in between.
                versions.note_write_from_python(home, slot)
                np.add(memory.array, array, out=memory.array)  # type: ignore[union-attr,arg-type]
                return
        record.adopt(grad)  # before any lock: see cross_thread.py
        with no_grad_on(tape):
            new = record.leaf_tensor(array, dtype_of(array))
            if grad.requires_grad:
                storage.grad = grad + new
            else:
                record.accumulate(grad, new)
        return
