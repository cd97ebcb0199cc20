"""Reverse passes under `vmap` through a graph that was recorded before.

A pullback of `func.vjp`, or a function of `func.linearize`, may be called by a function that `vmap` maps. Its
graph is on the tape around the trace, the cotangents are on the trace. The pass is recorded there for
cotangents that stand for these, and its statements are recorded again here, with these in their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine import reverse as engine
from ..ops.table import TABLE
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.segment import append, cut
from ..tape.tape import slot_of
from ..tensors.tensor import Tensor
from ..transforms.trace import Trace
from .batched_grad import may_lift

__all__ = ["is_outside", "pull_outside"]


def is_outside(outputs: Sequence[Tensor]) -> bool:
    """Return True if a pass from active outputs is one for `pull_outside`."""
    tape = current_tape()
    return isinstance(tape, Trace) and any(t._state != tape.pointer for t in outputs)


def pull_outside(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor | None], *,
    create_graph: bool,
) -> list[Tensor | None]:  # fmt: skip
    """Multiply cotangents of the trace with a Jacobian recorded outside of it; None for zeros."""
    trace = current_tape()
    assert isinstance(trace, Trace)
    outer = trace.outer
    if any(t._state == trace.pointer for t in (*outputs, *inputs)):
        trace.refuse("differentiates what was computed partly outside of it")
    cts: list[Any] = [
        record.leaf_tensor(np.ones(y.shape, y.dtype.np), y.dtype) if ct is None
        else record.unary(TABLE["clone"], record.cast(ct, y.dtype))
        for y, ct in zip(outputs, cotangents, strict=True)
    ]  # fmt: skip
    with trace.around():
        if not outer.abstract and not may_lift(outer, inputs):
            trace.refuse("differentiates something outside of it that has hooks")
        seeds = [record.leaf_tensor(np.zeros(y.shape, y.dtype.np), y.dtype) for y in outputs]
        first = outer.count
        rows = engine.grad(
            outputs, inputs, seeds, retain_graph=True, create_graph=True, allow_unused=True
        )
        slots = [None if g is None else record.operand(outer, g) for g in rows]
        segment = cut(outer, [slot for slot in slots if slot is not None], first)
    known = {
        slot_of(outer, seed): record.operand(trace, ct)
        for seed, ct in zip(seeds, cts, strict=True)
    }  # fmt: skip
    operands = [known[s] if s in known else trace.capture_slot(s) for s in segment.inputs]
    copies = iter(append(trace, segment, operands))
    gradients: list[Tensor | None] = []
    for slot in slots:
        copy = 0 if slot is None else next(copies)
        layout = trace.instruction_of(copy).out
        gradients.append(None if slot is None else record.new_tensor(trace, copy, layout))
    return gradients if create_graph else [None if g is None else g.detach() for g in gradients]
