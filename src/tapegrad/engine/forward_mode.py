"""Forward mode: the tangents of recorded statements, recorded as well.

Each op's derivative along a direction follows from its VJP, which is linear in the cotangent: `_rules`
records the VJP once on abstract operands, and differentiates it with respect to the cotangent. The
result is a segment like those of replay, with the tangent of an operand in the place of the cotangent.
`push` walks up from the inputs and appends the segments (runtime/tangent_recording.py does it where it can).
Tangents are ordinary statements, so they have derivatives themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..base.locks import TABLE_LOCK
from ..native import abi as nt
from ..native.handle_type import AnyTensor, TensorHandle
from ..ops.instruction import Instruction
from ..ops.layout import contiguous
from ..ops.program import holding
from ..ops.table import is_inexact
from ..rules import replay_table as templates
from ..rules.traced_rule import Tracing
from ..tape import recording as record
from ..tape.current import current_tape, recording_on
from ..tape.memory_views import address_of
from ..tape.tape import slot_of
from . import native_entries as sweep
from . import reverse as engine
from .python_steps import no_grad_on
from .recorded_pass import Pass
from .reverse_pass import Request
from .targets import target_of

__all__ = ["push"]


def _rules(instruction: Instruction) -> dict[int, templates.Rule] | None:
    """The rules of an instruction's tangents, by operand; None if it has none of this kind."""
    if nt.I_PUSH in instruction.rules:
        known: dict[int, templates.Rule] | None = instruction.rules[nt.I_PUSH]
        return known
    op = instruction.op
    python = op.python or op.linear or op.replay is not None
    has_rule = op.kind == nt.COMPUTE and len(instruction.outs) == 1 and op.vjp is not None
    if not has_rule or python or not is_inexact(instruction.out):
        return None
    with TABLE_LOCK:
        with Tracing(instruction, active=True) as tracing:
            rules = _traced(instruction, tracing)
        if rules is None:
            instruction.rules[nt.I_PUSH] = None
        else:
            with holding(instruction.holdings):
                templates.enter(instruction, nt.I_PUSH, rules)
    return rules


def _traced(instruction: Instruction, tracing: Tracing) -> dict[int, templates.Rule] | None:
    tape = tracing.tape
    rules: dict[int, templates.Rule] = {}
    with recording_on(tape):
        cotangents = tracing.cotangents(instruction.op.vjp)
        for i, (layout, ct) in enumerate(zip(instruction.layouts, cotangents, strict=True)):
            if ct is None or not ct.requires_grad:
                continue
            tangent = tracing.leaf(layout, None)
            root = templates.append_sums(tape, slot_of(tape, ct), layout.shape)
            tracing.place_views()
            fitted = record.new_tensor(tape, root, layout)
            with Request(tape, raw=True) as request:
                (moved,) = engine.record_pass(request, [fitted], [tracing.ct], [tangent], True)
            assert moved is not None
            inputs: dict[int, str | int] = {k: v for k, v in tracing.names.items() if v != "ct"}
            inputs[slot_of(tape, tangent)] = "ct"
            result = slot_of(tape, moved)
            traced = tracing.template(inputs, (result,))
            known = {*inputs, *traced.constants, *(s.slot for s in traced.statements)}
            if not all(a in known for s in traced.part(result).statements for a in s.args):
                return None  # not linear in the cotangent
            rules[i] = templates.rule(instruction, traced, result, instruction.out.shape)
    return rules


class _Unsupported(Exception):
    """A statement whose tangent has to be found otherwise."""


class _Pushing(Pass):
    """The state of one pass."""

    def run(self, first: int, tangents: dict[int, int]) -> np.ndarray:
        """Slots of the tangents of all statements from `first` on; 0 where there are none."""
        request = self.request
        slots, written = np.zeros(self.tape.count, np.int32), self.buffer
        for slot, tangent in tangents.items():
            slots[slot] = self.with_layout(tangent, slot)
        places = address_of(slots), address_of(written)
        k = first
        while (k := sweep.push(self.tape.pointer, request.pointer, *places, k)) >= 0:
            self.tape.make_room(64, 256, collect=False)
            self.push(k, slots)
            k += 1
        return slots

    def with_layout(self, tangent: int, slot: int) -> int:
        """A tangent in the layout of the slot that it belongs to."""
        source, layout = self.layout(tangent), self.layout(slot)
        if source is layout:
            return tangent
        if layout.is_contiguous:
            return self.op("clone", tangent)
        order = sorted(range(layout.ndim), key=lambda i: -layout.strides[i])
        dense = contiguous(layout.dtype, tuple(layout.shape[i] for i in order))
        if dense.strides != tuple(layout.strides[i] for i in order):
            raise _Unsupported  # there are gaps, or elements that repeat
        permuted = self.view(tangent, dense.shape, tuple(source.strides[i] for i in order), 0)
        return self.view(self.op("clone", permuted), layout.shape, layout.strides, 0)

    def owned(self, slots: list[int], others: list[int]) -> list[int]:
        """The slots, copied where they share memory with each other or with others' slots."""
        base = self.tape.base
        taken = {int(base[slot]) for slot in others}
        unshared = []
        for slot in slots:
            if slot == 0:
                unshared.append(0)
                continue
            kept = self.op("clone", slot) if int(base[slot]) in taken else slot
            taken.add(int(self.tape.base[kept]))
            unshared.append(kept)
        return unshared

    def push(self, k: int, slots: np.ndarray) -> None:
        """Append the tangent of one statement."""
        tape = self.tape
        instruction = tape.instruction_of(k)
        if instruction.op.linear:  # in all operands at once: the tangents' own result
            args = tape.args_of(k)
            parts = [int(slots[a]) or self.with_layout(self.zeros(self.layout(a)), a) for a in args]
            slots[k] = tape.append(instruction, parts)
            return
        rules = _rules(instruction)
        if instruction.op.kind == nt.VIEW:
            tangent = int(slots[tape.args_of(k)[0]])
            slots[k] = tape.append_view(instruction, tangent, tape.view_offset(k))
            return
        if instruction.op.kind in (nt.WRITE, nt.ACCUMULATE):
            self.write(k, slots)
            return
        if rules is None:
            raise _Unsupported
        total = 0
        for i, slot in enumerate(tape.args_of(k)):
            tangent = int(slots[slot])
            if i in rules and tangent:
                part = self.append_rule(rules[i], k, tangent)
                if self.buffer[tape.root[slot]] and tape.base[part] == tape.base[tangent]:
                    part = self.op("clone", part)  # the buffer may be written again
                total = self.op("add", total, part) if total else part
        if total:
            slots[k] = self.with_layout(total, k)

    def write(self, k: int, slots: np.ndarray) -> None:
        """Append the tangent of a write into a recorded pass's buffer: the same write, of tangents."""
        tape, root = self.tape, int(self.tape.root[k])
        instruction = tape.instruction_of(k)
        target, source = tape.args_of(k)
        is_write = instruction.op.kind == nt.WRITE
        if slots[source] or (is_write and slots[root]):
            if int(tape.base[root]) in tape.writes:
                raise _Unsupported  # by the user: what was there before may be wanted
            if not self.buffer[root]:
                self.put_buffer(root, k, slots)
            if not slots[target]:
                raise _Unsupported  # a part without tangents
            along = int(slots[source])
            if along:
                tape.append(instruction, (int(slots[target]), along))
            else:
                self.tape_write(int(slots[target]), tape.constant(0, instruction.out.dtype))
        slots[k] = slots[target]

    def put_buffer(self, root: int, k: int, slots: np.ndarray) -> None:
        """See that the tangent of a root that statement `k` writes to may be written in place."""
        whole, tangent = self.layout(root), int(slots[root])
        if not whole.is_contiguous:
            raise _Unsupported
        buffer = self.op("clone", tangent) if tangent else self.zeros(whole)
        slots[root] = buffer
        self.buffer[root] = 1
        for v in (root + 1 + np.flatnonzero(self.tape.root[root + 1 : k] == root)).tolist():
            layout = self.layout(v)
            slots[v] = self.view(
                buffer, layout.shape, layout.strides, self.offset(v, root), layout.dtype
            )


def push(
    outputs: Sequence[TensorHandle], inputs: Sequence[TensorHandle], tangents: Sequence[TensorHandle], *,
    create_graph: bool, gaps: Sequence[tuple[TensorHandle, TensorHandle | None]] = (),
) -> list[AnyTensor | None] | None:  # fmt: skip
    """Multiply the Jacobian of recorded outputs with tangents of the inputs.

    Parameters
    ----------
    outputs, inputs : sequence of Tensor
        Active ones.
    tangents : sequence of Tensor
        One an input, of its shape and dtype.
    create_graph : bool
        Whether the results can be differentiated.
    gaps : sequence of pairs of Tensor
        Statements between the two, or since the first, have no tangents.

    Returns
    -------
    list of (Tensor or None), or None
        The outputs' tangents, None for zeros. None for all if this takes more than templates: in-place
        writes, hooks, ops with several results, Functions.

    Raises
    ------
    RuntimeError
        If the graph has been freed or changed in place.
    """
    tape = current_tape()
    if tape.shared or tape.detached or tape.masks_zeros or tape.saving is not None:
        return None
    tape.make_room(64, 256)
    tape.settle()
    with Request(tape) as request:
        request.find(outputs, inputs)
        targets = [target_of(tape, t) for t in inputs]
        if any(t.slot != tape.root[t.slot] or t.slot != t.position for t in targets):
            return None
        if any(t is not None and t._state != tape.pointer for gap in gaps for t in gap):
            return None  # a function that vmap runs switched tangents off
        seeds = [record.operand(tape, t) for t in tangents]  # before the lock: see cross_thread.py
        count = tape.count  # a trace knows what it has captured, which stays
        with tape.lock:
            try:
                passed_over = [
                    slice(slot_of(tape, a), None if b is None else slot_of(tape, b))
                    for a, b in gaps
                ]
                results = _pushed(request, seeds, create_graph, passed_over)
            except _Unsupported:
                tape.undo(count)
                return None
            except BaseException:
                tape.undo(count)
                raise
            if tape.state[nt.S_EAGER] and not tape.abstract:
                tape.evaluate()
            return [record.result_tensor(tape, slot) if slot else None for slot in results]


def _pushed(
    request: Request, seeds: list[int], create_graph: bool, passed_over: list[slice]
) -> list[int]:
    """Slots of the outputs' tangents."""
    tape, slots = request.tape, request.target_slots()
    limit = tape.state[nt.S_PENDING_LIMIT]
    request.prepare()
    if request.is_watched:
        raise _Unsupported
    for stretch in passed_over:
        request.reached[stretch] = 0
    tape.state[nt.S_PENDING_LIMIT] = 1 << 62
    try:
        with no_grad_on(tape, create_graph):
            along = dict(zip(slots, seeds, strict=True))
            pushing = _Pushing(request)
            pushed = pushing.run(min(slots) + 1, along)
            return pushing.owned([int(pushed[k]) for k in request.roots], seeds)
    finally:
        tape.state[nt.S_PENDING_LIMIT] = limit
