"""The reverse pass from Python: arguments in, gradients out.

`backward` and `grad` check their arguments as PyTorch does, then either sweep (reverse_pass.py) or, for
``create_graph=True``, replay (recorded_pass.py). Errors are raised before anything changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..base import torch_messages as messages
from ..base.fast_paths import REFUSED
from ..native import abi as nt
from ..native.handle_type import AnyTensor, TensorHandle
from ..tape import anomaly
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.leaf_storage import with_earlier
from ..tape.nesting import nested
from ..tape.recording import Storage, storage_of
from ..tape.tape import Tape
from . import native_entries as sweep
from . import recorded_pass as replay
from . import saved_tensors as saved
from .edges import as_inputs, sequence_of
from .final_callbacks import finish
from .leaf_grads import (
    accumulated,
    add_recorded,
    add_to_grad,
    leaf_gradients,
    reached_leaves,
    target_gradients,
)
from .python_steps import Replayed, Swept, no_grad_on
from .reverse_pass import Request
from .seeds import check_cotangents, seed_slots, seeds_for
from .targets import check_roots, unused

__all__ = ["backward", "grad", "record_pass", "unused"]

#: bytes of pending results above which they are evaluated in a call of their own, without the GIL
WITHOUT_GIL = 1 << 20


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
    tape = current_tape()
    wanted: tuple[TensorHandle, ...] = ()
    if inputs is not None:
        values = tuple(inputs.values()) if isinstance(inputs, dict) else sequence_of(inputs)
        wanted = as_inputs(values)
        if not wanted:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    cotangents = check_cotangents(tensors, gradients)
    if tape.abstract:
        check_roots(tensors)
        tape.refuse("accumulates gradients")
    if wanted:
        check_roots(tensors)
        wanted = tuple(with_earlier(wanted)[0]) if tape.has_earlier else wanted
        for t in wanted:
            if not record.is_active(t):
                raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    # For gradients of leaves, which are appended while the request points into the arrays.
    tape.make_room(len(tape.leaves) + 2 * len(tensors) + len(wanted))
    for t in wanted:
        t.retain_grad()  # does nothing for leaves
    if create_graph:
        warn_create_graph()
    with Request(tape, leaves=inputs is None) as request:
        if create_graph:
            recorded = _record_for_leaves(request, tensors, wanted, cotangents, bool(retain_graph))
        else:
            request.find(tensors, wanted, seeds_for(tape, tensors, cotangents))
            with tape.lock:
                request.run(Swept)
                arrays = leaf_gradients(request)
                request.release(free=not retain_graph)
    if create_graph:
        for storage, new in recorded:
            add_recorded(storage, new)
            accumulated(storage, new, recorded=True)
    else:
        for storage, array in arrays:
            add_to_grad(storage, array)
            accumulated(storage, array, recorded=False)
    if tape.finals:
        finish(tape)
    s = tape.state
    if s[nt.S_OWNED_BYTES] + s[nt.S_BOUND] > s[nt.S_COLLECT_AT]:  # as `is_full`, in place
        tape.collect()


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


def _record_for_leaves(
    request: Request, outputs: Sequence[TensorHandle], inputs: Sequence[TensorHandle],
    cotangents: Sequence[Any], retain: bool,
) -> list[tuple[Storage, AnyTensor]]:  # fmt: skip
    """Record a pass to leaves; their storages, with what is to be added to their gradients."""
    leaves, storages = request.tape.leaves, dict[int, Storage | None]()

    def find_leaves() -> None:
        if request.leaves:
            for target, storage in reached_leaves(request):
                request.targets.append(target)
                storages[target.slot] = storage
        else:
            storages.update((t.slot, leaves.get(t.slot)) for t in request.targets if t.is_leaf)

    results = record_pass(request, outputs, inputs, cotangents, retain, prepared=find_leaves)
    news = {t.slot: new for t, new in zip(request.targets, results, strict=True)}
    return [(s, new) for slot, s in storages.items() if s and (new := news[slot]) is not None]


def record_pass(
    request: Request, outputs: Sequence[TensorHandle], inputs: Sequence[TensorHandle],
    cotangents: Sequence[Any], retain: bool, *, prepared: Callable[[], None] | None = None,
) -> list[AnyTensor | None]:  # fmt: skip
    """Record a pass; the targets' cotangents as tensors.

    With `prepared`, Python records; that is called when the marks are there.
    """
    tape = request.tape
    state = tape.state
    if state[nt.S_PENDING_BYTES] > WITHOUT_GIL and not tape.abstract:
        tape.evaluate()
    count = state[nt.S_COUNT]
    try:
        # Before the lock (see cross_thread.py), and without a collection: slots are known by number.
        seeds = seed_slots(tape, outputs, cotangents)
        request.find(outputs, inputs)
        with tape.lock:
            first = state[nt.S_COUNT]
            if prepared is None and len(seeds) == 1 and _is_plain(tape, inputs):
                request.words[nt.R_RECORDED] = seeds[0]
            if request.advance(sweep.record) == nt.DONE:
                slots = request.recorded()
            else:
                tape.undo(first)  # native code may have begun
                if prepared is not None:
                    prepared()
                with nested(tape), no_grad_on(tape, True):
                    slots = replay.replay(request, seeds, Replayed, stepwise=anomaly.checks_nan())
            if not retain:
                request.release(free=True)
            if state[nt.S_EAGER]:
                tape.evaluate()
            results = [None if slot is None else record.result_tensor(tape, slot) for slot in slots]
    except BaseException:
        tape.undo(count)
        raise
    if tape.saving is not None:
        saved.pack_from(tape, count)
    return results


def _is_plain(tape: Tape, inputs: Sequence[TensorHandle]) -> bool:
    """Return True if native code may try to record a pass: no hook of a leaf, nor who saves, is to see it."""
    if REFUSED or tape.abstract or tape.saving is not None:
        return False
    for t in inputs:
        storage = storage_of(t)
        if storage is not None and storage.hooks is not None:
            return False
    return True


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
    cotangents = check_cotangents(outputs, grad_outputs)
    tape.make_room(64, 256)
    records = create_graph or tape.abstract  # without values a pass can be recorded only
    if tape.abstract:
        tape.settle()
    with Request(tape, raw=True, may_be_unused=allow_unused) as request:
        if records:
            retain = bool(retain_graph or tape.abstract)
            results = record_pass(request, outputs, inputs, cotangents, retain)
        else:
            request.find(outputs, inputs, seeds_for(tape, outputs, cotangents))
            with tape.lock:
                request.run(Swept)
                results = target_gradients(request)
                request.release(free=not retain_graph)
    if not allow_unused:
        for i, g in enumerate(results):
            if g is None:
                raise RuntimeError(unused(i))
    if records:
        return results if create_graph else [None if g is None else g.detach() for g in results]
    if tape.is_full:
        tape.collect()
    return results
