"""Gradients of leaves: set, or added to those that are there, with the hooks that see them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import torch_messages as messages
from ..base.dtypes import dtype_of
from ..base.locks import new_lock
from ..native import abi as nt
from ..native.handle_type import TensorHandle
from ..ops.layout import Layout
from ..tape import recording as record
from ..tape import versions
from ..tape.current import current_tape
from ..tape.leaf_storage import Storage, layout_of
from ..tape.recording import storage_of
from ..tape.tape import Tape, slot_of, tape_at
from ..tape.user_code import call_user
from . import scalar_root_pass as plain
from .python_steps import call_hooks, called, no_grad_on, prehooked, replaced
from .reverse_pass import Request, Target, taken

__all__ = [
    "accumulate_plainly",
    "accumulated",
    "add_recorded",
    "add_to_grad",
    "call_leaf_hooks",
    "hooked",
    "in_order",
    "leaf_gradients",
    "reached_leaves",
]

#: threads that share a leaf add to its gradient one after the other
_accumulating = new_lock()


def leaf_gradients(request: Request) -> list[tuple[Storage, np.ndarray]]:
    """Make the gradients of leaves that have none; return the others, which are to be added."""
    tape = request.tape
    rest: list[tuple[int, Storage]] = []
    leaves, high = list(tape.leaves), request.high
    if 32 * len(leaves) < high:  # few on a long tape: they are asked for, one by one
        reached = sorted([s for s in leaves if s <= high and request.address_of(s)])
    else:
        reached = (request.adjoint[: high + 1] != 0).nonzero()[0].tolist()
    with _accumulating:
        for slot in reached:
            if (storage := tape.leaves.get(slot)) is not None:
                address = request.address_of(slot)
                layout = tape.instruction_of(slot).out
                if storage.hooks is not None or not _copy_adjoint(tape, storage, address, layout):
                    rest.append((slot, storage))
    gradients: list[tuple[Storage, np.ndarray]] = []
    for slot, storage in in_order(tape, rest):
        array = request.leaf_adjoint(slot, tape.instruction_of(slot).out)
        assert array is not None
        gradients.append((storage, hooked(storage, array, node=True)))
    return gradients


def reached_leaves(request: Request) -> list[tuple[Target, Storage]]:
    """The leaves that require grad and that a prepared pass comes by, in the order of their hooks."""
    tape = request.tape
    slots = (request.reached[: request.high + 1] != 0).nonzero()[0].tolist()
    leaves = [(slot, storage) for slot in slots if (storage := tape.leaves.get(slot)) is not None]
    targets = []
    for slot, storage in in_order(tape, leaves):
        target = Target(slot, slot, tape.instruction_of(slot).out)
        target.is_leaf = True
        targets.append((target, storage))
    return targets


def call_leaf_hooks(request: Request) -> None:
    """Let the hooks of leaves that are inputs see, and change, their gradients."""
    for target in request.targets:
        storage = request.tape.leaves.get(target.slot) if target.is_leaf else None
        if storage is not None and target.array is not None:
            target.array = hooked(storage, target.array, node=False)


def _copy_adjoint(tape: Tape, storage: Storage, address: int, layout: Layout) -> bool:
    """Make the gradient of a leaf a copy of its (small, dense) adjoint; False if it is not so simple."""
    if storage.grad is not None or layout.span > nt.SMALL or not layout.is_contiguous:
        return False
    storage.grad = plain.copied(tape, address, layout)
    return True


def accumulate_plainly(tape: Tape, root: TensorHandle, *, free: bool) -> bool:
    """``backward`` from one 0-d root, without hooks and the like; False, with nothing done, otherwise."""
    tape.make_room(len(tape.leaves) + 2)  # for gradients, while the request points into the arrays
    rest: list[tuple[Storage, np.ndarray]] = []
    with tape.lock:
        tape.counted += 1
        try:  # an interrupt comes with the first call of Python code after a native one
            swept = plain.swept(tape, root)
            if swept is None:
                return False
            block, leaves = swept
            with _accumulating:
                for storage, slot, address in leaves:
                    if address:
                        layout = tape.instruction_of(slot).out
                        if not _copy_adjoint(tape, storage, address, layout):
                            rest.append((storage, taken(tape, address, layout)))
            plain.finish(tape, block, free=free)
        finally:
            tape.counted -= 1
    for storage, array in rest:
        add_to_grad(storage, array)
    return True


def in_order(tape: Tape, leaves: list[tuple[int, Storage]]) -> list[tuple[int, Storage]]:
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


def hooked(storage: Storage, array: np.ndarray, *, node: bool) -> np.ndarray:
    """The gradient of a leaf after its hooks, with `node` also after those before its node."""
    hooks = storage.hooks
    if hooks is None or not (hooks.tensor or (node and hooks.before)):
        return array
    with no_grad_on(current_tape()):
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
    with no_grad_on(current_tape(), recorded):
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
