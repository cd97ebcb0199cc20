"""Replay: the backward pass recorded as ordinary statements.

Where the reverse sweep runs the VJP programs of a statement, replay appends its rules (replay_table.py) to
the tape, with the statement's slots in the place of their inputs. The
result is a part of the tape like any other: it can be evaluated, swept and replayed again, to any order.

Adjoints are slots here. The adjoint of a root is a sum of cotangents as long as each covers it;
once only a part of it (a view's) receives one, it becomes a buffer that is written in place, so
that a loop over ``x[i]`` stays linear at every order.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..base.dtypes import dtype
from ..native import abi as nt
from ..ops.instruction import CACHES, Instruction, remember, view_instruction
from ..ops.instruction import instruction as instruction_for
from ..ops.layout import Layout, contiguous, mapped_offset, mapped_strides
from ..ops.pairs import remember_pair
from ..ops.table import TABLE
from ..rules import replay_table as templates
from ..tape import segment
from ..tape.memory_views import address_of
from ..tape.tape import Tape
from . import native_entries as sweep
from . import saved_tensors as saved
from .reverse_pass import Request
from .targets import Target

__all__ = ["Pass", "replay"]

#: instructions of ops without attributes, by name and layouts
_KNOWN: dict[tuple[str, tuple[Layout, ...]], Instruction] = {}
CACHES.append(_KNOWN.clear)


class Pass:
    """The state of one replay."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.tape: Tape = request.tape
        self.root = request.root
        self.callbacks: Any = None
        #: for each root the slot of its adjoint so far, or 0
        self.adjoint = np.zeros(self.tape.count, np.int32)
        #: for each root 1 if its adjoint is a buffer that may be written in place
        self.buffer = np.zeros(self.tape.count, np.uint8)

    # ------------------------------------------------------------------ statements
    def op(self, name: str, *slots: int, **attrs: object) -> int:
        """Append an op on slots."""
        layouts = tuple([self.layout(s) for s in slots])
        key = name, layouts
        instruction = None if attrs else _KNOWN.get(key)
        if instruction is None:
            instruction = instruction_for(TABLE[name], layouts, **attrs)
            if not attrs:
                remember(instruction)  # native replay does the next one itself
                _KNOWN[key] = instruction
        return self.tape.append(instruction, slots)

    def layout(self, slot: int) -> Layout:
        """The layout of a slot."""
        return self.tape.instruction_of(slot).out

    def zeros(self, layout: Layout) -> int:
        """A contiguous slot of zeros with the shape of `layout`, that may be written in place."""
        zero = self.tape.constant(0, layout.dtype)
        dense = contiguous(layout.dtype, layout.shape)
        expand = view_instruction(
            TABLE["expand"], self.layout(zero), layout.shape, (0,) * layout.ndim
        )
        if dense.size == 1 and not dense.ndim:
            return self.op("clone", zero)
        if layout.is_contiguous:
            copy = instruction_for(TABLE["clone"], (expand.out,))
            remember_pair(nt.OP_ZEROS, layout.id, 0, expand.id, copy.id)
        return self.op("clone", self.tape.append_view(expand, zero, 0))

    def view(
        self, slot: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int,
        kind: dtype | None = None,
    ) -> int:  # fmt: skip
        """Append a view of a slot, of another dtype where it is of parts of its elements."""
        instruction = view_instruction(TABLE["as_strided"], self.layout(slot), shape, strides, kind)
        return self.tape.append_view(instruction, slot, offset)

    def dense(self, slot: int) -> int:
        """The slot, or a contiguous copy of it."""
        return slot if self.layout(slot).is_contiguous else self.op("clone", slot)

    def sum_to(self, slot: int, shape: tuple[int, ...]) -> int:
        """Sum over the dimensions along which `shape` was broadcast."""
        return templates.append_sums(self.tape, slot, shape)

    # ------------------------------------------------------------------ adjoints
    def add(self, slot: int, ct: int) -> None:
        """Add a cotangent of a slot's shape to the adjoint of the slot's root."""
        root = int(self.root[slot])
        known = int(self.adjoint[root])
        if slot == root and known == 0:
            self.adjoint[root] = ct
            self.buffer[root] = 0
            return
        layout, whole = self.layout(slot), self.layout(root)
        if slot == root or (layout is whole and self.offset(slot, root) == 0):
            if known == 0:
                self.adjoint[root] = ct
                self.buffer[root] = 0
            elif self.buffer[root]:
                self.tape_accumulate(known, ct)
            else:
                self.adjoint[root] = self.op("add", known, ct)
            return
        if self.tape.abstract and self.covers(slot, root):
            dense = contiguous(layout.dtype, self.dense_shape(layout))
            part = self.dense(self.sum_to(ct, dense.shape))
            ct = self.view(part, whole.shape, whole.strides, 0)
            self.adjoint[root] = self.op("add", known, ct) if known else ct
            return
        if not self.buffer[root]:
            buffer = self.zeros(whole)
            if known:
                self.tape_accumulate(buffer, known)
            self.adjoint[root] = buffer
            self.buffer[root] = 1
        region = self.region(slot, root)
        self.tape_accumulate(region, self.sum_to(ct, self.layout(region).shape))

    def covers(self, slot: int, root: int) -> bool:
        """Return True if a view is all of a dense root in its order: templates then need no buffer."""
        layout, whole = self.layout(slot), self.layout(root)
        shape = self.dense_shape(layout)
        strides = contiguous(layout.dtype, shape).strides
        same = all(s in (0, d) for s, d in zip(layout.strides, strides, strict=True))
        size = int(np.prod(shape, dtype=np.int64))
        in_order = same and size == whole.size and self.offset(slot, root) == 0
        same_kind = layout.dtype is whole.dtype
        return in_order and same_kind and whole.is_contiguous and not self.buffer[root]

    @staticmethod
    def dense_shape(layout: Layout) -> tuple[int, ...]:
        """The shape with one element along dimensions that repeat it."""
        return tuple(1 if s == 0 else n for n, s in zip(layout.shape, layout.strides, strict=True))

    def offset(self, slot: int, root: int) -> int:
        """Bytes from a root's memory to a slot's."""
        return int(self.tape.address[slot] - self.tape.address[root])

    def region(self, slot: int, root: int) -> int:
        """The part of a root's adjoint buffer that belongs to a view of the root."""
        layout, whole = self.layout(slot), self.layout(root)
        if not whole.is_contiguous and whole.size > 1:
            strides = mapped_strides(layout, whole)
            offset = mapped_offset(self.offset(slot, root), whole)
        else:
            strides, offset = layout.strides, self.offset(slot, root)
        shape = tuple(1 if s == 0 else n for n, s in zip(layout.shape, strides, strict=True))
        buffer = int(self.adjoint[root])
        if whole.is_contiguous and shape == layout.shape:
            instruction = view_instruction(
                TABLE["as_strided"], self.layout(buffer), shape, strides, layout.dtype
            )
            remember_pair(nt.OP_REGION, whole.id, layout.id, instruction.id, instruction.out.id)
        return self.view(buffer, shape, strides, offset, layout.dtype)

    def tape_accumulate(self, target: int, source: int) -> None:
        """Append an in-place sum, which is not noted as a write: see `replay` and `settled`."""
        layouts = self.layout(target), self.layout(source)
        instruction = instruction_for(TABLE["accumulate_"], layouts)
        remember_pair(nt.OP_ACCUMULATE, layouts[0].id, layouts[1].id, instruction.id, 0)
        self.tape.append(instruction, (target, source))

    def tape_write(self, target: int, source: int) -> None:
        """Append an in-place write."""
        instruction = instruction_for(TABLE["copy_"], (self.layout(target), self.layout(source)))
        self.tape.append(instruction, (target, source))

    # ------------------------------------------------------------------ rules
    def append_rule(
        self, rule: templates.Rule, k: int, ct: int, values: dict[int, int] | None = None
    ) -> int:
        """Append a rule for statement `k`, with `ct` in the place of its cotangent; the slot of its result.

        `values` has slots that stand in for operands (and, behind them, for the result).
        """
        operands = self.tape.args_of(k)
        if values:
            operands = [values.get(i, slot) for i, slot in enumerate(operands)]
        out = values.get(len(operands), k) if values else k
        slots = {nt.RULE_CT: ct, nt.RULE_OUT: out}
        inputs = [operands[i] if i >= 0 else slots[i] for i in rule.segment.inputs]
        (result,) = segment.append(self.tape, rule.segment, inputs)
        return result

    def rule(self, k: int, operand: int, ct: int, values: dict[int, int] | None = None) -> int:
        """Append the rule of one operand of statement `k`; the slot of the operand's cotangent."""
        instruction = self.tape.instruction_of(k)
        replay_op = instruction.op.replay
        if replay_op is not None:
            parts = [slot for _, slot in replay_op(self.tape, k, self.dense(ct))]
            joint = instruction_for(TABLE["strip_head"], tuple(map(self.layout, parts)))
            return self.tape.append(joint, parts) if len(parts) > 1 else parts[0]
        source = instruction if values is None else saved.dense(instruction, values)
        rule = templates.rules(source, self.request.variant)[operand]
        return self.append_rule(rule, k, self.dense(ct), values)

    def take(self, root: int) -> int:
        """The adjoint of a root, which needs it no more."""
        slot = int(self.adjoint[root])
        self.adjoint[root] = 0
        return slot

    def step(self, k: int, first: int = 0) -> None:
        """Replay the VJP of one statement, from operand `first` on."""
        tape, request = self.tape, self.request
        instruction = tape.instruction_of(k)
        kind = instruction.op.kind
        root = int(self.root[k])
        args = tape.args_of(k)

        def wanted(slot: int) -> bool:
            return bool(request.needed[self.root[slot]])

        if kind == nt.COMPUTE:
            if self.callbacks.takes_over(k):
                self.take_over(k)
                return
            ct = self.dense(self.take(k))
            replay_op = instruction.op.replay
            if replay_op is not None:  # it goes to the slots that the operand is joined from
                for slot, new in replay_op(tape, k, ct):
                    if wanted(slot):
                        self.add(slot, new)
                return
            rules = templates.rules(instruction, request.variant)
            for i, slot in enumerate(args[first:], first):
                if i in rules and wanted(slot):
                    self.add(slot, self.append_rule(rules[i], k, ct))
        elif kind == nt.VIEW:
            if root == k and not instruction.op.detaches and wanted(args[0]):
                self.add_view(k, args[0])
        elif kind in (nt.WRITE, nt.ACCUMULATE):
            self.make_buffer(root)
            region = self.region(k, root)
            source = args[1]
            if wanted(source):
                ct = self.op("clone", region)
                self.add(source, self.sum_to(ct, instruction.layouts[1].shape))
            if kind == nt.WRITE:
                zero = tape.constant(0, instruction.out.dtype)
                self.tape_write(region, zero)

    def runs(self, k: int) -> bool:
        """Return True if the pass goes on behind statement `k`."""
        needed, root = self.request.needed, self.root
        owners = {int(root[a]) for a in self.tape.args_of(k)}
        if needed[k] & nt.ENDS:
            owners.discard(int(root[k]))
        return any([needed[owner] & nt.ACTIVE for owner in owners])

    def leave(self, k: int) -> None:
        """Go on below statement `k`, where the root that it wrote to may not be wanted any more."""
        if self.request.needed[k] & nt.ENDS:
            self.request.needed[self.root[k]] &= ~nt.ACTIVE & 0xFF

    def settled(self, slot: int) -> int:
        """A cotangent for use outside the pass: a copy of one that was written in place.

        A pass from it would begin at its slot, which is before its writes.
        """
        tape = self.tape
        is_copy = tape.instruction_of(slot).op.name == "clone"
        if is_copy and (tape.base[slot + 1 : tape.count] == slot).any():
            return self.op("clone", slot)
        return slot

    def take_over(self, k: int) -> None:
        """Let Python compute the cotangents of a statement's operands."""
        cotangents = self.callbacks.take_over(k, self.settled(self.take(k)))
        for slot, new in zip(self.tape.args_of(k), cotangents, strict=True):
            if new is not None:
                self.add(slot, new)

    def look(self, k: int, root: int) -> None:
        """Let the hooks of a tensor see, and change, its cotangent."""
        if not self.callbacks.looks(k):
            return
        if root == k or self.tape.instruction_of(k).op.kind in (nt.WRITE, nt.ACCUMULATE):
            ct = self.settled(self.dense(int(self.adjoint[root])))
            self.adjoint[root] = self.callbacks.look(k, ct)
            self.buffer[root] = 0
            return
        self.make_buffer(root)
        region = self.region(k, root)
        self.tape_write(region, self.callbacks.look(k, self.op("clone", region)))

    def add_view(self, k: int, parent: int) -> None:
        """Add the adjoint of a view that has its own to its base's."""
        ct = self.take(k)
        root = int(self.root[parent])
        saved = self.root[k]
        self.root[k] = root
        self.add(k, ct)
        self.root[k] = saved

    def target(self, t: Target, root: int) -> int:
        """Slot of a target's cotangent, now that the pass has come to it."""
        slot = int(self.adjoint[root])
        if t.slot == root and not self.buffer[root]:
            return self.settled(slot)
        if t.slot == root:
            return self.op("clone", slot)
        self.make_buffer(root)
        return self.op("clone", self.region(t.slot, root))

    def target_late(self, t: Target) -> int | None:
        """Slot of the cotangent of a view since the last write, None if there is none."""
        return self.target(t, t.slot) if self.adjoint[t.slot] else None

    def join_late(self, targets: Iterable[Target]) -> None:
        """Let late targets lie in their bases' adjoints, now that the pass has come to the write."""
        for t in targets:
            if t.is_late and self.root[t.slot] == t.slot:
                base = self.root[t.slot] = self.tape.root[t.slot]
                ct = self.take(t.slot)
                if ct and self.request.needed[base]:
                    self.add(t.slot, ct)

    def make_buffer(self, root: int) -> None:
        """See that a root's adjoint may be written in place."""
        if not self.buffer[root]:
            buffer = self.zeros(self.layout(root))
            self.tape_accumulate(buffer, int(self.adjoint[root]))
            self.adjoint[root] = buffer
            self.buffer[root] = 1


def replay(
    request: Request, seeds: list[int], callbacks: Callable[[Pass], Any], *, stepwise: bool
) -> list[int | None]:
    """Record the reverse pass of a prepared request.

    Parameters
    ----------
    request : Request
    seeds : list of int
        Slots of the roots' cotangents.
    callbacks : callable
        Makes of the pass the object that calls hooks and Functions (`Replayed` of python_steps.py).
    stepwise : bool
        Whether Python sees every statement.

    Returns
    -------
    list of int or None
        For each target the slot of its cotangent, None where the pass does not reach it.
    """
    p = Pass(request)
    steps = callbacks(p)
    # A cycle would keep the request of a pass that an interrupt ends, and with it the tape's statements.
    p.callbacks = weakref.proxy(steps)
    tape = request.tape
    positions: dict[int, list[int]] = {}
    for i, t in enumerate(request.targets):
        if not t.is_leaf:
            positions.setdefault(t.position, []).append(i)
    cotangents: list[int | None] = [None] * len(request.targets)
    for slot, seed in zip(request.roots, seeds, strict=True):
        p.add(slot, seed)
    limit = tape.state[nt.S_PENDING_LIMIT]
    tape.state[nt.S_PENDING_LIMIT] = 1 << 62
    try:
        for k, operand in _stops(p, stepwise):
            for i in positions.get(k, ()):
                if request.targets[i].is_late:
                    cotangents[i] = p.target_late(request.targets[i])
            p.join_late(request.targets[i] for i in positions.get(k, ()))
            root = int(p.root[k])
            if not (p.adjoint[root] and request.needed[root]):
                continue
            goes_on = p.runs(k)  # else it is a target, and nothing below it is wanted
            if not (request.raw and goes_on):
                p.look(k, root)
            for i in positions.get(k, ()):
                if not request.targets[i].is_late:
                    cotangents[i] = p.target(request.targets[i], root)
            if request.raw and goes_on:
                p.look(k, root)
            if goes_on:
                p.step(k, operand)
    finally:
        tape.state[nt.S_PENDING_LIMIT] = limit
    for i, t in enumerate(request.targets):
        if t.is_leaf and p.adjoint[t.slot]:
            cotangents[i] = p.callbacks.look_leaf(t.slot, p.target(t, t.slot))
    return cotangents


def _stops(p: Pass, stepwise: bool) -> Iterator[tuple[int, int]]:
    """The statements (and first operands) that Python replays; native code does the others."""
    request, tape = p.request, p.tape
    k, low = request.high, int(request.words[nt.R_STOP]) + 1
    if stepwise:
        for k in range(request.high, low - 1, -1):
            root = int(p.root[k])
            if request.needed[k] & nt.TARGET or (p.adjoint[root] and request.needed[root]):
                yield k, 0
                p.leave(k)
        return
    places = address_of(p.adjoint), address_of(p.buffer)
    while True:
        here = sweep.replay(tape.pointer, request.pointer, *places, k, low)
        if here < low:
            return
        k = here & 0xFFFFFFFF
        instruction = tape.instruction_of(k)
        if templates.lacking(instruction, request.variant) and not p.callbacks.takes_over(k):
            templates.teach(instruction, request.variant, p.layout(int(p.adjoint[k])))
            continue
        yield k, here >> 32
        p.leave(k)
        k -= 1
