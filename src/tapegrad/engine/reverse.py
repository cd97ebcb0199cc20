"""The reverse pass from Python: arguments in, gradients out.

`backward` and `grad` check their arguments as PyTorch does, then either sweep (reverse_pass.py) or, for
``create_graph=True``, replay (recorded_pass.py). Errors are raised before anything changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..base import torch_messages as messages
from ..base.errors import TapeError
from ..native import abi as nt
from ..native.handle_type import AnyTensor, TensorHandle, look_at
from ..ops.layout import LAYOUTS, Layout
from ..tape import anomaly, versions, views
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.leaf_storage import with_earlier
from ..tape.memory_views import array_layout
from ..tape.nesting import nested
from ..tape.recording import Storage, layout_of, storage_of
from ..tape.tape import Tape, tape_at
from . import recorded_pass as replay
from . import saved_tensors as saved
from . import scalar_root_pass as plain
from .edges import as_inputs, sequence_of
from .final_callbacks import finish
from .leaf_grads import (
    accumulate_plainly,
    accumulated,
    add_recorded,
    add_to_grad,
    call_leaf_hooks,
    hooked,
    leaf_gradients,
    reached_leaves,
)
from .python_steps import Replayed, Swept, no_grad_on
from .reverse_pass import Request, Target

__all__ = [
    "backward",
    "call_leaf_hooks",
    "check_roots",
    "check_used",
    "grad",
    "located",
    "replayed",
    "target_of",
    "unused",
]


#: bytes of pending results above which they are evaluated in a call of their own, without the GIL
WITHOUT_GIL = 1 << 20


@cache
def _ones(layout: Layout) -> np.ndarray:
    return np.ones(layout.shape, layout.dtype.np)


# --------------------------------------------------------------------------- arguments
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


def _cotangents(tensors: Sequence[Any], gradients: Sequence[Any]) -> list[Any]:
    """Check the cotangents; None stands for one."""
    cotangents: list[Any] = []
    for i, (t, ct) in enumerate(zip(tensors, gradients, strict=True)):
        layout = LAYOUTS[t._layout_id]
        if ct is None:
            if layout.size != 1 and record.is_active(t):
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            cotangents.append(None)
            continue
        if not record.is_tensor(ct):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(ct).__name__}")
        if ct.shape != layout.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {ct.shape} and output[{i}] has "
                f"a shape of {layout.shape}."
            )
        cotangents.append(record.cast(ct, layout.dtype))
    return cotangents


def _seed_array(t: Any, ct: Any) -> np.ndarray:
    if ct is None:
        return _ones(layout_of(t))
    kind = layout_of(t).dtype.np
    return np.ascontiguousarray(ct._array(), kind).reshape(ct.shape)


def _ready() -> Tape:
    """Tape of this thread, evaluated and with some room."""
    tape = current_tape()
    tape.make_room(64, 256)
    tape.settle()
    return tape


def located(
    outputs: Sequence[TensorHandle], inputs: Sequence[TensorHandle]
) -> tuple[Tape, list[int], list[Target]]:
    """Check outputs and inputs of a pass, make room for it and find their slots.

    From here on slots are known by number: nothing may collect.
    """
    tape = _ready()
    both, n = (*outputs, *inputs), len(outputs)
    block = tape.take_block(2 * len(both))
    is_plain = look_at(tape.pointer, both, len(both), block.address) == 0
    places = block.words[: 2 * len(both)].tolist()
    tape.give_block(block)
    if is_plain:
        roots = places[: 2 * n : 2]
        slots = zip(places[2 * n :: 2], places[2 * n + 1 :: 2], strict=True)
        if tape.writes:
            return tape, roots, [target_of(tape, t) for t in inputs]
        return tape, roots, [Target(slot, slot, LAYOUTS[layout]) for slot, layout in slots]
    check_roots(outputs)
    for t in inputs:
        if not record.is_active(t):
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    tape.make_room(64, 256)
    roots = [record.operand(tape, t) for t in outputs]
    return tape, roots, [target_of(tape, t) for t in inputs]


def target_of(tape: Tape, tensor: TensorHandle) -> Target:
    """Target of a pass for a tensor's gradient."""
    slot = record.operand(tape, tensor)
    storage = storage_of(tensor)
    moment = None if storage is None or storage.leaf else storage.moment
    end = None if moment is None else record.operand(tape, moment)
    return _slot_target(tape, slot, layout_of(tensor), end)


def _slot_target(tape: Tape, slot: int, layout: Layout, end: int | None = None) -> Target:
    """Target for the gradient of a slot's value, as it is now or was at statement `end`."""
    if not tape.writes:
        return Target(slot, slot, layout)
    position = versions.last_write(tape, slot, end)
    if end is None and tape.root[slot] != slot and views.state_of(tape, slot).is_view:
        # A write without gradients does not change the base's node, but a view gets a new one.
        position = max(position, versions.statement_of(versions.last_mark(tape, slot)))
        if position > slot and views.goes_on_after(tape, position):
            position += 1  # where the written slot is itself a target, this is part of its gradient
    return Target(slot, position, layout)


# --------------------------------------------------------------------------- backward and grad
def backward(
    tensors: Sequence[TensorHandle],
    gradients: Sequence[TensorHandle | None],
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Accumulate the gradients of `tensors` into leaves; see `Tensor.backward`."""
    if create_graph is not False or retain_graph is not None:
        create_graph = messages.as_flag(create_graph)
        retain_graph = create_graph if retain_graph is None else messages.as_flag(retain_graph)
    if inputs is None and not create_graph and len(tensors) == 1 and gradients[0] is None:
        tape = current_tape()
        if accumulate_plainly(tape, tensors[0], free=not retain_graph):
            s = tape.state
            if s[nt.S_OWNED_BYTES] + s[nt.S_BOUND] > s[nt.S_COLLECT_AT]:  # as `is_full`, in place
                tape.collect()
            return
    wanted: tuple[TensorHandle, ...] | None = None
    if inputs is not None:
        values = tuple(inputs.values()) if isinstance(inputs, dict) else sequence_of(inputs)
        wanted = as_inputs(values)
        if not wanted:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    cotangents = _cotangents(tensors, gradients)
    tape = check_roots(tensors)
    if tape.abstract:
        tape.refuse("accumulates gradients")
    if wanted is not None:
        wanted = tuple(with_earlier(wanted)[0]) if tape.has_earlier else wanted
        for t in wanted:
            if not record.is_active(t):
                raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    retain = bool(retain_graph)
    # For gradients of leaves, which are appended while the request points into the arrays.
    tape.make_room(len(tape.leaves) + 2 * len(tensors) + len(wanted or ()))
    tape.evaluate()
    for t in wanted or ():
        t.retain_grad()  # does nothing for leaves
    roots = [record.operand(tape, t) for t in tensors]
    targets = _distinct([target_of(tape, t) for t in wanted or ()])
    if create_graph:
        warn_create_graph()
        with nested(tape):
            _replay(tape, tensors, roots, cotangents, targets, wanted is None, retain)
        return
    seeds = [_seed_array(t, ct) for t, ct in zip(tensors, cotangents, strict=True)]
    with nested(tape):
        _accumulate(tape, roots, targets, seeds, leaves=wanted is None, retain=retain)
    if tape.is_full:
        tape.collect()


def _accumulate(
    tape: Tape, roots: list[int], targets: list[Target], seeds: list[np.ndarray], *, leaves: bool,
    retain: bool,
) -> None:  # fmt: skip
    """Run `backward` by a sweep, to all leaves or to the targets."""
    with tape.lock, Request(tape, roots, targets, leaves=leaves) as request:
        request.prepare()
        request.sweep(seeds, Swept)
        gradients = leaf_gradients(request) if leaves else []
        for target in targets:
            storage = tape.leaves.get(target.slot) if target.is_leaf else None
            if storage is not None and target.array is not None:
                gradients.append((storage, hooked(storage, target.array, node=True)))
        request.release(free=not retain)
    for storage, array in gradients:
        add_to_grad(storage, array)
        accumulated(storage, array, recorded=False)
    finish(tape)


def warn_create_graph() -> None:
    """PyTorch's warning that ``backward(create_graph=True)`` makes reference cycles."""
    warnings.warn(
        "Using backward() with create_graph=True will create a reference cycle between the parameter "
        "and its gradient which can cause a memory leak. We recommend using autograd.grad when "
        "creating the graph to avoid this. If you have to use this function, make sure to reset the "
        ".grad fields of your parameters to None after use to break the cycle and avoid the leak.",
        UserWarning,
        stacklevel=4,
    )


def _replay(
    tape: Tape, tensors: Sequence[TensorHandle], roots: list[int], cotangents: list[Any],
    targets: list[Target], leaves: bool, retain: bool,
) -> None:  # fmt: skip
    """Run `backward` by replay."""
    storages: list[Storage | None] = []

    def find_leaves(request: Request) -> None:
        if leaves:
            for target, storage in reached_leaves(request):
                targets.append(target)
                storages.append(storage)
        else:
            storages.extend(tape.leaves.get(t.slot) if t.is_leaf else None for t in targets)

    results = replayed(
        tape, tensors, roots, cotangents, targets, retain, leaves=leaves, prepared=find_leaves
    )
    for storage, new in zip(storages, results, strict=True):
        if new is not None and storage is not None:
            add_recorded(storage, new)
            accumulated(storage, new, recorded=True)
    finish(tape)


def _distinct(targets: list[Target]) -> list[Target]:
    """The targets without those of the same tensor: it gets its gradient once."""
    return list({t.slot: t for t in targets}.values())


def replayed(
    tape: Tape, tensors: Sequence[TensorHandle], roots: list[int], cotangents: list[Any],
    targets: list[Target], retain: bool, *, raw: bool = False, leaves: bool = False,
    prepared: Callable[[Request], None] | None = None,
) -> list[AnyTensor | None]:  # fmt: skip
    """Run a pass by replay; the targets' cotangents as tensors.

    With `leaves` the pass goes to all leaves; `prepared` gets the request before it is recorded.
    """
    count = tape.count
    seeds = [
        _seed_slot(tape, t, ct) for t, ct in zip(tensors, cotangents, strict=True)
    ]  # before the lock (see cross_thread.py), and without a collection: slots are known by number
    with tape.lock:
        try:
            request = Request(tape, roots, targets, leaves=leaves, raw=raw)
            with request:
                request.prepare()
                if prepared is not None:
                    prepared(request)
                with no_grad_on(tape, True):
                    slots = replay.replay(request, seeds, Replayed, stepwise=anomaly.checks_nan())
                if not retain:
                    request.release(free=True)
        except BaseException:
            tape.undo(count)
            raise
        if tape.state[nt.S_EAGER]:
            tape.evaluate()
        results = [None if slot is None else record.result_tensor(tape, slot) for slot in slots]
        saved.pack_from(tape, count)
        return results


def _seed_slot(tape: Tape, tensor: TensorHandle, ct: TensorHandle | None) -> int:
    """Slot of a root's cotangent; None stands for ones."""
    if ct is not None:
        return record.operand(tape, ct)
    layout = layout_of(tensor)
    if not layout.shape:
        return tape.constant(1.0, layout.dtype)
    ones = np.ones(layout.shape, layout.dtype.np)  # not those of `_ones`: it may become a result
    return tape.bind(ones, array_layout(ones, layout.dtype), active=False)


def grad(
    outputs: Sequence[TensorHandle],
    inputs: Sequence[TensorHandle],
    grad_outputs: Sequence[TensorHandle | None],
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> list[AnyTensor | None]:
    """Return the gradients of `outputs` with respect to `inputs`; see `tapegrad.autograd.grad`."""
    tape = current_tape()
    if create_graph is not False or retain_graph is not None or allow_unused is not False:
        create_graph, allow_unused = messages.as_flag(create_graph), messages.as_flag(allow_unused)
        retain_graph = create_graph if retain_graph is None else messages.as_flag(retain_graph)
    retain = bool(retain_graph)
    abstract = tape.abstract  # without values a pass can be recorded only
    alone = len(outputs) == 1 and grad_outputs[0] is None
    simple = alone and not LAYOUTS[outputs[0]._layout_id].ndim
    cotangents: Any = grad_outputs if simple else _cotangents(outputs, grad_outputs)
    results: list[TensorHandle | None] | None = None
    if simple and not abstract:
        tape.make_room(64, 256)
        if tape.state[nt.S_PENDING_BYTES] > WITHOUT_GIL:
            tape.evaluate()
        results = plain.gradients(
            tape, outputs[0], inputs, create_graph=create_graph, retain_graph=retain,
            allow_unused=allow_unused,
        )  # fmt: skip
    if results is None:
        with nested(tape):
            results = _in_steps(
                outputs, inputs, cotangents, create_graph=create_graph, retain=retain,
                allow_unused=allow_unused,
            )  # fmt: skip
    if not allow_unused:
        for i, g in enumerate(results):
            if g is None:
                raise RuntimeError(unused(i))
    return results


def _in_steps(
    outputs: Sequence[TensorHandle], inputs: Sequence[TensorHandle], cotangents: list[Any], *,
    create_graph: bool, retain: bool, allow_unused: bool,
) -> list[AnyTensor | None]:  # fmt: skip
    """Return gradients by a pass that is not plain."""
    tape, roots, targets = located(outputs, inputs)
    if not (create_graph or tape.abstract):
        seeds = [_seed_array(t, ct) for t, ct in zip(outputs, cotangents, strict=True)]
        return _swept(tape, roots, targets, seeds, retain, allow_unused)
    retain = retain or tape.abstract
    results = replayed(tape, outputs, roots, cotangents, targets, retain, raw=True)
    return results if create_graph else [None if g is None else g.detach() for g in results]


def _swept(
    tape: Tape, roots: list[int], targets: list[Target], seeds: list[np.ndarray], retain: bool,
    allow_unused: bool,
) -> list[AnyTensor | None]:  # fmt: skip
    """Run a pass by a sweep; the targets' cotangents as tensors."""
    with tape.lock, Request(tape, roots, targets, leaves=False, raw=True) as request:
        request.prepare()
        if not allow_unused:
            check_used(request, targets)
        request.sweep(seeds, Swept)
        call_leaf_hooks(request)
        request.release(free=not retain)
    results = [
        None if t.array is None else record.leaf_tensor(t.array, t.layout.dtype) for t in targets
    ]
    if tape.is_full:
        tape.collect()
    return results


def unused(i: int) -> str:
    """PyTorch's words for an input that the outputs do not depend on."""
    return (
        f"The differentiated Tensor at index {i} appears to not have been used in the graph. Set "
        "allow_unused=True if this is the desired behavior."
    )


def check_used(request: Request, targets: Sequence[Target]) -> None:
    """Raise before anything is freed if an input is not reached."""
    for i, t in enumerate(targets):
        if t.position > request.high or not request.reached[request.root[t.slot]]:
            raise RuntimeError(unused(i))
