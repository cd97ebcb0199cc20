"""Replay: the backward pass recorded as ordinary statements.

Where the reverse sweep runs the VJP programs of a statement, replay appends the statements of its
template (vjp.py) to the tape, with the statement's slots in the place of the template's leaves. The
result is a part of the tape like any other: it can be evaluated, swept and replayed again, so
derivatives exist to any order.

Adjoints are slots here. The adjoint of a root is a sum of cotangents as long as each covers it;
once only a part of it (a view's) receives one, it becomes a buffer that is written in place, so
that a loop over ``x[i]`` stays linear at every order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import native as nt
from . import versions
from .instructions import instruction, view_instruction
from .layouts import Layout, contiguous
from .ops.table import TABLE, is_float
from .tape import Tape
from .vjp import Template, template

if TYPE_CHECKING:
    from .request import Request

__all__ = ["replay"]


class _Pass:
    """The state of one replay."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.tape: Tape = request.tape
        self.root = request.root
        #: root -> slot of its adjoint so far
        self.adjoint: dict[int, int] = {}
        #: roots whose adjoint is a buffer that may be written in place
        self.buffers: set[int] = set()

    # ------------------------------------------------------------------ statements
    def op(self, name: str, *slots: int, **attrs: object) -> int:
        """Append an op on slots."""
        layouts = tuple(self.layout(s) for s in slots)
        return self.tape.append(instruction(TABLE[name], layouts, **attrs), slots)

    def layout(self, slot: int) -> Layout:
        return self.tape.instruction_of(slot).out

    def zeros(self, layout: Layout) -> int:
        """A contiguous slot of zeros with the shape of `layout`, that may be written in place."""
        zero = self.tape.constant(0, layout.dtype)
        dense = contiguous(layout.dtype, layout.shape)
        made = view_instruction(
            TABLE["expand"], self.layout(zero), layout.shape, (0,) * layout.ndim
        )
        broad = self.tape.append_view(made, zero, 0)
        return self.op("clone", broad) if dense.size != 1 or dense.ndim else self.op("clone", zero)

    def view(self, slot: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> int:
        made = view_instruction(TABLE["as_strided"], self.layout(slot), shape, strides)
        return self.tape.append_view(made, slot, offset)

    def dense(self, slot: int) -> int:
        """The slot, or a contiguous copy of it."""
        return slot if self.layout(slot).is_contiguous else self.op("clone", slot)

    def sum_to(self, slot: int, shape: tuple[int, ...]) -> int:
        """Sum over the dimensions along which `shape` was broadcast."""
        own = self.layout(slot).shape
        if own == shape:
            return slot
        extra = len(own) - len(shape)  # negative where the rule left a smaller cotangent
        dims = tuple(range(extra)) + tuple(
            i + extra
            for i, n in enumerate(shape)
            if i + extra >= 0 and n == 1 and own[i + extra] != 1
        )
        if dims:
            slot = self.op("sum", slot, dim=dims, keepdim=True)
        layout = self.layout(slot)
        if layout.shape != shape:
            if layout.size == _size(shape):
                slot = self.dense(slot)
                dense = contiguous(layout.dtype, shape)
                slot = self.view(slot, shape, dense.strides, 0)
            else:  # the rule left a smaller cotangent, meant for every element
                missing = len(shape) - layout.ndim
                strides = (0,) * missing + tuple(
                    0 if n == 1 and m != 1 else s
                    for n, s, m in zip(layout.shape, layout.strides, shape[missing:], strict=True)
                )
                made = view_instruction(TABLE["expand"], layout, shape, strides)
                slot = self.tape.append_view(made, slot, 0)
        return slot

    # ------------------------------------------------------------------ adjoints
    def add(self, slot: int, ct: int) -> None:
        """Add a cotangent of a slot's shape to the adjoint of the slot's root."""
        root = int(self.root[slot])
        layout, whole = self.layout(slot), self.layout(root)
        known = self.adjoint.get(root)
        if slot == root or (layout is whole and self.offset(slot, root) == 0):
            if known is None:
                self.adjoint[root] = ct
                self.buffers.discard(root)
            elif root in self.buffers:
                self.tape_accumulate(known, ct)
            else:
                self.adjoint[root] = self.op("add", known, ct)
            return
        if root not in self.buffers:
            buffer = self.zeros(whole)
            if known is not None:
                self.tape_accumulate(buffer, known)
            self.adjoint[root] = buffer
            self.buffers.add(root)
        region = self.region(slot, root)
        self.tape_accumulate(region, self.sum_to(ct, self.layout(region).shape))

    def offset(self, slot: int, root: int) -> int:
        return int(self.tape.address[slot] - self.tape.address[root])

    def region(self, slot: int, root: int) -> int:
        """The part of a root's adjoint buffer that belongs to a view of the root."""
        layout, whole = self.layout(slot), self.layout(root)
        if not whole.is_contiguous and whole.size > 1:
            strides = _map_strides(layout, whole)
            offset = _map_offset(self.offset(slot, root), whole)
        else:
            strides, offset = layout.strides, self.offset(slot, root)
        shape = tuple(1 if s == 0 else n for n, s in zip(layout.shape, strides, strict=True))
        return self.view(self.adjoint[root], shape, strides, offset)

    def tape_accumulate(self, target: int, source: int) -> None:
        made = instruction(TABLE["accumulate_"], (self.layout(target), self.layout(source)))
        slot = self.tape.append(made, (target, source))
        versions.note_write(self.tape, slot)

    def tape_write(self, target: int, source: int) -> None:
        made = instruction(TABLE["copy_"], (self.layout(target), self.layout(source)))
        slot = self.tape.append(made, (target, source))
        versions.note_write(self.tape, slot)

    # ------------------------------------------------------------------ rules
    def instantiate(self, traced: Template, result: int, k: int, ct: int) -> int:
        """Append the statements of a template that `result` needs; the slot of the result."""
        args = self.tape.args_of(k)
        slots: dict[int, int] = {}
        for slot, name in traced.inputs.items():
            if name == "ct":
                slots[slot] = ct
            elif name == "out":
                slots[slot] = k
            else:
                assert isinstance(name, int)
                slots[slot] = args[name]
        for slot, array in traced.constants.items():
            layout = traced.tape.instruction_of(slot).out
            slots[slot] = self.tape.constant(array.item(), layout.dtype)
        for s in traced.needed(result):
            own = [slots[a] for a in s.args]
            kind = s.instruction.op.kind
            if kind == nt.VIEW:
                slots[s.slot] = self.tape.append_view(s.instruction, own[0], s.offset)
            else:
                first = self.tape.append(s.instruction, own)
                for j in range(len(s.instruction.outs)):
                    slots[s.slot + j] = first + j
                if kind in (nt.WRITE, nt.ACCUMULATE):
                    versions.note_write(self.tape, first)
        return slots[result]

    def step(self, k: int) -> None:
        """Replay the VJP of one statement."""
        tape, request = self.tape, self.request
        made = tape.instruction_of(k)
        kind = made.op.kind
        root = int(self.root[k])
        args = tape.args_of(k)

        def wanted(slot: int) -> bool:
            owner = int(self.root[slot])
            return bool(tape.flags[owner] & nt.ACTIVE) and bool(request.needed[owner])

        if kind == nt.COMPUTE:
            ct = self.dense(self.adjoint.pop(k))
            traced = template(made)
            for i, slot in enumerate(args):
                result = traced.results[i]
                if result is None or not wanted(slot) or not is_float(made.layouts[i]):
                    continue
                new = self.instantiate(traced, result, k, ct)
                self.add(slot, self.sum_to(new, made.layouts[i].shape))
        elif kind == nt.VIEW:
            if root == k and not made.op.extras.get("detach") and wanted(args[0]):
                self.add_view(k, args[0])
        elif kind in (nt.WRITE, nt.ACCUMULATE):
            self.make_buffer(root)
            region = self.region(k, root)
            source = args[1]
            if wanted(source):
                ct = self.op("clone", region)
                self.add(source, self.sum_to(ct, made.layouts[1].shape))
            if kind == nt.WRITE:
                zero = tape.constant(0, made.out.dtype)
                self.tape_write(region, zero)

    def add_view(self, k: int, parent: int) -> None:
        """Add the adjoint of a view that has its own to its base's."""
        ct = self.adjoint.pop(k)
        root = int(self.root[parent])
        saved = self.root[k]
        self.root[k] = root
        self.add(k, ct)
        self.root[k] = saved

    def make_buffer(self, root: int) -> None:
        """See that a root's adjoint may be written in place."""
        if root not in self.buffers:
            buffer = self.zeros(self.layout(root))
            self.tape_accumulate(buffer, self.adjoint[root])
            self.adjoint[root] = buffer
            self.buffers.add(root)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _map_strides(layout: Layout, whole: Layout) -> tuple[int, ...]:
    """Strides of a view of a non-contiguous root, in the root's contiguous adjoint buffer."""
    dense = contiguous(whole.dtype, whole.shape)
    table = {
        s: d for s, d, n in zip(whole.strides, dense.strides, whole.shape, strict=True) if n > 1
    }
    return tuple(
        0 if s == 0 else next(
            table[w] * (s // w) for w in sorted(table, reverse=True) if s % w == 0
        )
        for s in layout.strides
    )  # fmt: skip


def _map_offset(offset: int, whole: Layout) -> int:
    dense = contiguous(whole.dtype, whole.shape)
    mapped = 0
    for s, d in sorted(
        (
            (s, d)
            for s, d, n in zip(whole.strides, dense.strides, whole.shape, strict=True)
            if n > 1
        ),
        reverse=True,
    ):
        mapped += offset // s * d
        offset %= s
    return mapped


def replay(request: Request, seeds: list[int]) -> list[int | None]:
    """Record the reverse pass of a prepared request.

    Parameters
    ----------
    request : Request
    seeds : list of int
        Slots of the roots' cotangents.

    Returns
    -------
    list of int or None
        For each target the slot of its cotangent, None where the pass does not reach it.
    """
    p = _Pass(request)
    tape = request.tape
    positions: dict[int, list[int]] = {}
    for i, t in enumerate(request.targets):
        positions.setdefault(t.position, []).append(i)
    found: list[int | None] = [None] * len(request.targets)
    for slot, seed in zip(request.roots, seeds, strict=True):
        p.add(slot, seed)
    lowest = min((t.slot for t in request.targets), default=request.high + 1)
    for k in range(request.high, lowest - 1, -1):
        root = int(p.root[k])
        if root not in p.adjoint or not tape.flags[root] & nt.ACTIVE:
            continue
        for i in positions.get(k, ()):
            t = request.targets[i]
            slot = p.adjoint[root]
            if t.slot != root or root in p.buffers:
                if root == t.slot:
                    slot = p.op("clone", slot)
                else:
                    p.make_buffer(root)
                    slot = p.op("clone", p.region(t.slot, root))
            found[i] = slot
        if tape.instruction_of(k).op.kind != nt.LEAF and request.needed[root]:
            p.step(k)
    return found
