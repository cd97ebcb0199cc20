"""Statements of a call of an `autograd.Function`: one for the call, and one for each output."""

from __future__ import annotations

from typing import Any

from ..functions.indexing.inplace import overwrite
from ..native import abi as nt
from ..ops.instruction import instruction
from ..ops.table import TABLE
from ..tape import recording as record
from ..tape import views
from ..tape.current import current_tape
from .function_checks import check_dirty
from .function_context import FunctionCtx

__all__ = ["record_call"]


def record_call(
    function: type[Any], ctx: FunctionCtx, args: tuple[Any, ...], outputs: list[Any]
) -> list[Any]:
    """Append the statements of a call; its results.

    An input that was written in place is an output, too: its new value goes into a statement as that of
    any other, and from there, by a recorded write, over the input.
    """
    tape = current_tape()
    if ctx._dirty:
        check_dirty(ctx._dirty, args, outputs)
    passive = set(map(id, ctx._passive))
    last = {id(y): j for j, y in enumerate(outputs)}  # a tensor returned twice is one output
    active = [
        j for j, y in enumerate(outputs)
        if record.is_tensor(y) and y.dtype.is_inexact and id(y) not in passive
        and last[id(y)] == j
    ]  # fmt: skip
    if not active:
        return [y.detach() if record.is_tensor(y) and record.is_active(y) else y for y in outputs]
    ctx._arguments = [i for i, a in enumerate(args) if record.is_tensor(a)]
    tensors = [args[i] for i in ctx._arguments]
    values = [outputs[j].detach() for j in active]
    name = function.node_name()
    tape.make_room(2 * len(active) + 1, 4 * len(active) + len(tensors))
    inputs = [record.operand(tape, t) for t in tensors]
    slots = [record.operand(tape, v) for v in values]
    layouts = tuple([record.layout_of(t) for t in tensors])
    call = instruction(TABLE["function"], layouts, name=name)
    anchor = tape.append(call, inputs)
    numbers: dict[int, int] = {}
    results = list(outputs)
    arg_ids = set(map(id, args))
    dirty = arg_ids.intersection(map(id, ctx._dirty))
    bases = {tape.base[s] for s in inputs}
    reason = views.MULTIPLE if len(active) > 1 else views.FUNCTION
    saved = {id(t) for t in (*ctx._saved, *ctx._saved_forward)}
    for place, (j, slot, value) in enumerate(zip(active, slots, values, strict=True)):
        is_view = tape.base[slot] in bases and id(outputs[j]) not in dirty
        output = instruction(
            TABLE["function_output"], (call.out, record.layout_of(value)), name=name, number=j,
            **({"aliases": reason} if is_view else {}),
            **({"saved": True} if id(outputs[j]) in saved else {}),
        )  # fmt: skip
        results[j] = record.new_tensor(tape, tape.append(output, (anchor, slot)), output.out)
        numbers[id(outputs[j])] = place
    ctx._shapes = [(tuple(y.shape), y.dtype) if record.is_tensor(y) else None for y in outputs]
    ctx.count, ctx.differentiable = len(outputs), tuple(active)
    tape.contexts[anchor] = ctx
    numbers = {k: v for k, v in numbers.items() if k not in arg_ids or k in dirty}
    tape.counted += 1  # `place` is a number, and hooks may pack saved tensors
    try:
        ctx.place = (tape, anchor)
        ctx.seal(tape, args, numbers)
    finally:
        ctx.place = None
        tape.counted -= 1
    ctx._dirty = ctx._passive = ()
    for j in active:
        if id(outputs[j]) in dirty:
            results[j] = overwrite(outputs[j], results[j], node_name=ctx.name())
    results = [results[last[id(y)]] for y in outputs]
    if tape.state[nt.S_EAGER]:
        tape.evaluate()
    return results
