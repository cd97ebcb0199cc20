"""``grad(is_grads_batched=True)``: several cotangents at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base.dtypes import dtype_of
from ..base.torch_messages import as_flag
from ..engine import reverse as engine
from ..engine.batched_pass import Lanes
from ..engine.leaf_grads import target_gradients
from ..engine.python_steps import Swept, no_grad_on
from ..engine.seeds import seeds_of
from ..engine.targets import check_inputs, check_roots
from ..functions.registry import FUNCTIONS
from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS
from ..ops.table import TABLE
from ..tape import anomaly
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.recording import layout_of, storage_of
from ..tape.tape import Tape, slot_of
from ..tensors.tensor import Tensor
from ..transforms.batched_statement import Lifting

__all__ = ["grad_batched", "jacobian_by_lanes", "may_lift"]


def grad_batched(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    grad_outputs: Sequence[Tensor | None],
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> list[Tensor | None]:
    """`grad` for several cotangents an output, in the first dimension of `grad_outputs`."""
    count = _batch_size(outputs, grad_outputs)
    create_graph, allow_unused = as_flag(create_graph), as_flag(allow_unused)
    retain = create_graph if retain_graph is None else as_flag(retain_graph)
    tape = current_tape()
    if count and (tape.abstract or (create_graph and may_lift(tape, inputs))):
        return _grad_by_lifting(
            outputs, inputs, grad_outputs, count, retain_graph=retain, create_graph=create_graph,
            allow_unused=allow_unused,
        )  # fmt: skip
    if create_graph or count == 0:
        rows = [
            engine.grad(
                outputs, inputs, [None if ct is None else ct[b] for ct in grad_outputs],
                retain_graph=retain or b < count - 1, create_graph=create_graph,
                allow_unused=allow_unused,
            )
            for b in range(count)
        ]  # fmt: skip
        return [_stacked_rows([row[i] for row in rows]) for i in range(len(inputs))]
    check_roots(outputs)
    check_inputs(inputs)
    seeds = [
        np.ascontiguousarray(ct._array(), layout_of(t).dtype.np)  # type: ignore[union-attr]
        for t, ct in zip(outputs, grad_outputs, strict=True)
    ]
    tape.make_room(64, 256)
    gradients: list[np.ndarray | None] = [None] * len(inputs)
    with Lanes(tape, raw=True, may_be_unused=allow_unused) as request:
        request.find(outputs, inputs)
        with tape.lock:
            at_once = request.prepare_for(count)
            if at_once:
                gradients = request.sweep_all(count, seeds)
            for b in range(0 if at_once else count):
                row = [seed[b : b + 1].reshape(seed.shape[1:]) for seed in seeds]
                request.rewind(seeds_of(row, [layout_of(t) for t in outputs], request.variant))
                request.run(Swept)
                for i, g in enumerate(target_gradients(request)):
                    if g is None:
                        continue
                    shape = layout_of(inputs[i]).shape  # that of `g` has a lane
                    if (into := gradients[i]) is None:
                        into = gradients[i] = np.zeros((count, *shape), g.dtype.np)
                    into[b] = g._array().reshape(shape)
                request.clear()
            request.release(free=not retain)
    return [None if g is None else record.leaf_tensor(g, dtype_of(g)) for g in gradients]


def may_lift(tape: Tape, inputs: Sequence[Tensor]) -> bool:
    """Return True if a pass can be recorded from cotangents other than those that count.

    It cannot where Python looks at them (hooks, Functions), nor through strips, which are not lifted.
    """
    leaves = [storage_of(t) for t in inputs]
    if tape.saving is not None or anomaly.checks_nan():
        return False
    # A pass comes by nothing that was recorded before its inputs.
    is_on_tape = all(t._state == tape.pointer for t in inputs)
    first = min([int(tape.root[slot_of(tape, t)]) for t in inputs], default=1) if is_on_tape else 1
    if any(slot >= first for slot in (*tape.hooks.copy(), *tape.contexts.copy())):
        return False
    if any(s is not None and s.hooks is not None for s in leaves):
        return False
    ops = [INSTRUCTIONS[k].op for k in np.unique(tape.instruction[first : tape.count])]
    return not any(entry.lift == "never" and not entry.python for entry in ops)


def _grad_by_lifting(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], grad_outputs: Sequence[Any], count: int, *,
    retain_graph: bool, create_graph: bool, allow_unused: bool,
) -> list[Tensor | None]:  # fmt: skip
    """Record the pass for one cotangent, and lift what was recorded."""
    tape = current_tape()
    seeds = [
        record.leaf_tensor(np.zeros(y.shape, y.dtype.np), y.dtype)
        for y in outputs
    ]  # fmt: skip
    cotangents = [
        record.unary(TABLE["clone"], record.cast(ct, y.dtype))
        for y, ct in zip(outputs, grad_outputs, strict=True)
    ]  # fmt: skip
    tape.counted += 1  # slots are known by number: they stay
    try:
        first = tape.count
        rows = engine.grad(
            outputs, inputs, seeds, retain_graph=retain_graph, create_graph=True,
            allow_unused=allow_unused,
        )  # fmt: skip
        lifting = Lifting(tape, tape, count, first)
        for seed, ct in zip(seeds, cotangents, strict=True):
            lifting.bind(slot_of(tape, seed), slot_of(tape, ct), batched=True)
        slots = [None if g is None else slot_of(tape, g) for g in rows]
        with no_grad_on(tape, True):
            lifting.run([slot for slot in slots if slot is not None])
            whole = [None if slot is None else lifting.whole(slot) for slot in slots]
        gradients = [
            None if k is None else record.new_tensor(tape, k, lifting.layout(k)) for k in whole
        ]
    finally:
        tape.counted -= 1
    if tape.state[nt.S_EAGER] and not tape.abstract:
        tape.evaluate()
    return gradients if create_graph else [None if g is None else g.detach() for g in gradients]


def jacobian_by_lanes(output: Tensor, inputs: Sequence[Tensor]) -> list[Tensor | None] | None:
    """The derivatives of each element of an active output, in the first dimension; keeps the graph.

    None where the sweep cannot have lanes (`Lanes.use`).
    """
    if current_tape().abstract:
        return None
    tape = current_tape()
    tape.make_room(64, 256)
    with Lanes(tape, raw=True) as request:
        request.find([output], inputs)
        with tape.lock:
            count = layout_of(output).size
            if not request.prepare_for(count):
                return None
            blocks = request.sweep_all(count, None)
            request.release(free=False)
    return [None if g is None else record.leaf_tensor(g, dtype_of(g)) for g in blocks]


def _batch_size(outputs: Sequence[Tensor], grad_outputs: Sequence[Tensor | None]) -> int:
    for i, (t, ct) in enumerate(zip(outputs, grad_outputs, strict=True)):
        if not record.is_tensor(ct):
            if layout_of(t).size != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            raise RuntimeError(
                "grad_outputs must be given for every output with is_grads_batched=True"
            )
        if tuple(ct.shape[1:]) != tuple(t.shape):  # type: ignore[union-attr]
            raise RuntimeError(
                "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as "
                "the batch dimension. The sizes of the remaining dimensions are expected to match the "
                "shape of corresponding output, but a mismatch was detected: grad_output"
                f"[{i}] has a shape of {ct.shape[1:]} and output[{i}] has a shape of {t.shape}. "  # type: ignore[union-attr]
                "If you only want some tensors in `grad_output` to be considered batched, consider "
                "using vmap."
            )
    sizes = {ct.shape[0] for ct in grad_outputs if ct is not None}
    if len(sizes) != 1:
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sorted(sizes)} for the mapped dimension"
        )
    return int(sizes.pop())


def _stacked_rows(rows: list[Any]) -> Any:
    return None if not rows or rows[0] is None else FUNCTIONS["stack"](rows)
