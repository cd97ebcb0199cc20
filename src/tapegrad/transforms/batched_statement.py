"""Lifting: statements recorded for one slice, recorded again for a batch of slices at once.

`Lifting` goes over statements of a tape (of a function's run on one slice, of a recorded reverse pass, of
a traced rule) and appends, for each that a result needs, its counterpart to another tape or to the same.
What depends on something batched gets one more dimension there, the first; the rest stays as it is.

How a batched value lies in memory: its strides behind the first are those of the slice. So

- a *view* of a slice is a view of the batch, with the same offset and one stride more, whatever its op;
- an *elementwise* statement is the same op on the batch, operands of fewer dimensions aligned;
- a *product* is a product of more dimensions, so that BLAS sees few large matrices;
- any other statement becomes a `lifted` one, whose steps are those of the slice's instruction with one
  more loop around each (`lower_lifted`). Its rule is the slice's rule, lifted (`lifted_vjp`), so lifting is
  closed under differentiation, and no op has a batching rule.

Start reading at `Lifting.run`, then `Lifting.statement`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ..base.dtypes import bool_, dtype
from ..base.errors import UnsupportedError
from ..base.locks import TABLE_LOCK
from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS, Instruction, instruction, view_instruction
from ..ops.layout import Layout, contiguous
from ..ops.program import (
    ADDRESS,
    ARGS,
    SCRATCH,
    Operand,
    Step,
    address_operand,
    constant,
    offset_words,
    padded,
)
from ..ops.table import TABLE, Lowered, Op, copy_loop, op
from ..rules import replay_table as templates
from ..rules.traced_rule import Tracing, trace
from ..tape import recording as record
from ..tape import versions
from ..tape.current import current_tape
from ..tape.segment import needed
from ..tape.tape import Tape, slot_of

__all__ = ["Lifting"]


class Lifting:
    """Statements of `source` from slot `first` on, recorded again on `target` for `size` slices.

    Attributes
    ----------
    slots : dict
        Slot of the source -> slot of the target.
    batched : set of int
        The slots of the source whose counterpart has the batch as first dimension.
    """

    def __init__(self, source: Tape, target: Tape, size: int, first: int = 1) -> None:
        self.source, self.target, self.size, self.first = source, target, size, first
        self.slots: dict[int, int] = {}
        self.batched: set[int] = set()
        #: statements whose write is one that residuals may be older than
        self._noted: set[int] = set()

    def bind(self, slot: int, counterpart: int, *, batched: bool) -> None:
        """Say what stands on the target for a slot of the source."""
        self.slots[slot] = counterpart
        if batched:
            self.batched.add(slot)

    def at(self, slot: int) -> int:
        """The counterpart of a slot; what the target had before stands for itself."""
        counterpart = self.slots.get(slot)
        if counterpart is None:
            assert slot < self.first, "an operand comes before its use"
            return slot
        return counterpart

    # ------------------------------------------------------------------ what there is to do
    def run(self, results: Iterable[int]) -> None:
        """Record what results need, in order; `at` knows their counterparts then."""
        writes = self.source.writes.copy().values()
        marks = filter(versions.is_statement, chain.from_iterable(writes))
        self._noted = set(map(versions.statement_of, marks))
        statements = needed(self.source, results, self.first, self.operands)
        promoted = self._promoted(statements)
        if any(slot in self.slots for slot in promoted):
            raise UnsupportedError("something batched is written into what is not")
        for slot, inner, args in statements:
            if slot not in self.slots:
                self.mode(slot)
                if inner.op.kind == nt.LEAF:
                    self.slots[slot] = self.leaf(slot)
                else:
                    self.statement(slot, inner, args, self.source.view_offset(slot))
            if slot in promoted and slot not in self.batched:
                self._spread(slot)

    def operands(self, slot: int, inner: Instruction) -> list[int]:
        """The slots that a statement's counterpart is made of."""
        return self.source.args_of(slot)

    def _promoted(self, statements: Sequence[tuple[int, Instruction, list[int]]]) -> set[int]:
        """The slots that are the same for all slices until something batched is written into them."""
        promoted: set[int] = set()
        base = self.source.base
        while True:
            batched = self.batched | promoted
            for slot, inner, args in statements:
                if slot in batched or not any(a in batched for a in args):
                    continue
                batched.add(slot)
                owner = int(base[slot])
                if inner.op.kind in (nt.WRITE, nt.ACCUMULATE) and owner not in batched:
                    promoted.add(owner)
                    break
            else:
                return promoted

    def mode(self, slot: int) -> None:
        """Set the grad mode in which the counterpart of a slot is recorded."""

    def leaf(self, slot: int) -> int:
        """The counterpart of a leaf that was not bound: a constant."""
        layout = self.source.instruction_of(slot).out
        owner = self.source.owned[slot]
        array = getattr(owner, "array", owner)
        if not layout.ndim:
            number = self.constant(array.reshape(()).item(), layout.dtype)
            # A number's slot is that of all its uses: what is written is a copy.
            return self.op("clone", number) if slot in self.source.versions else number
        return self.target.bind(array, layout, active=False)

    # ------------------------------------------------------------------ one statement
    def statement(
        self, slot: int, inner: Instruction, args: Sequence[int], offset: int = 0
    ) -> None:
        """Record the counterpart of a statement."""
        kind = inner.op.kind
        if kind == nt.OUTPUT:
            return  # with the statement of the first result
        operands = [self.at(a) for a in args]
        if inner.op.name == "checked_index":
            self.bind(slot, self.checked(inner, operands[0]), batched=args[0] in self.batched)
            return
        if not any(a in self.batched for a in args):
            if kind == nt.VIEW:
                self.slots[slot] = self.append_view(inner, operands[0], offset)
            else:
                self._append(slot, inner, inner, operands)
            return
        self.batched.add(slot)
        if kind == nt.VIEW:
            self.slots[slot] = self.view(
                operands[0], inner.op, inner.out.shape, inner.out.strides, offset, inner.out
            )
            return
        lift = inner.op.lift
        if kind in (nt.WRITE, nt.ACCUMULATE):
            if args[0] not in self.batched:
                raise UnsupportedError("something batched is written into what is not")
            rank = inner.layouts[0].ndim
            operands = [operands[0], self.aligned(args[1], rank)]
            layouts = tuple(map(self.layout, operands))
            self._append(slot, instruction(inner.op, layouts, **inner.attrs), inner, operands)
        elif inner.op.is_elementwise:
            rank = max(x.ndim for x in inner.layouts)
            operands = [self.aligned(a, rank) for a in args]
            layouts = tuple(map(self.layout, operands))
            self.slots[slot] = self.append(instruction(inner.op, layouts, **inner.attrs), operands)
        elif lift == "product":
            self.slots[slot] = self.product(args[0], args[1], inner.out)
        elif lift == "added product" and (args[0] in self.batched or args[1] in self.batched):
            self.slots[slot] = self.added_product(inner, args)
        elif lift == "call":
            self.slots[slot] = self.call(inner, args)
        else:
            if lift == "never":
                raise UnsupportedError(f"{inner.op.name} is not lifted")
            row = TABLE[_LIFTED[inner.op.vjp is None]]
            layouts = tuple(map(self.layout, operands))
            flags = tuple([a in self.batched for a in args])
            new = instruction(row, layouts, inner=inner.id, batched=flags, size=self.size)
            self._append(slot, new, inner, operands)

    def call(self, inner: Instruction, args: Sequence[int]) -> int:
        """The counterpart of a call of Python's, which makes a call a slice."""
        operands = [self.at(a) for a in args]
        operands = [a if self.layout(a).is_contiguous else self.op("clone", a) for a in operands]
        routine = inner.attrs["routine"].batched(self.size, [a in self.batched for a in args])
        layouts = tuple(map(self.layout, operands))
        return self.append(instruction(inner.op, layouts, routine=routine), operands)

    def checked(self, inner: Instruction, counterpart: int) -> int:
        """A constant of indices that were checked, and wrapped; without values still a statement."""
        layout, n = self.layout(counterpart), inner.attrs["n"]
        if self.target.abstract:
            return self.append(instruction(inner.op, (layout,), **inner.attrs), (counterpart,))
        values = self.target.value(counterpart, layout)
        low = -n if inner.attrs["wraps"] else 0
        if ((values < low) | (values >= n)).any():
            raise IndexError(f"an index is out of bounds for a dimension with size {n}")
        array = np.ascontiguousarray(np.where(values < 0, values + n, values)).reshape(values.shape)
        return self.target.bind(array, contiguous(layout.dtype, layout.shape), active=False)

    def _append(
        self, slot: int, new: Instruction, inner: Instruction, operands: Sequence[int]
    ) -> None:
        """Append the counterpart of a statement that may write, or have several results."""
        first = self.append(new, operands)
        for j in range(len(inner.outs)):
            self.slots[slot + j] = first + j
            if new is not inner:
                self.batched.add(slot + j)
        if inner.op.kind in (nt.WRITE, nt.ACCUMULATE) and slot in self._noted:
            versions.note_write(self.target, first)

    # ------------------------------------------------------------------ parts
    def append(
        self, instruction: Instruction, slots: Sequence[int], offset: int | None = None
    ) -> int:
        """Append a statement, or a view at an offset, to the target."""
        extra = () if offset is None else offset_words(offset)
        return self.target.append(instruction, slots, extra)

    def append_view(self, instruction: Instruction, source: int, offset: int) -> int:
        """Append a view to the target."""
        return self.append(instruction, (source,), offset)

    def constant(self, value: float, kind: dtype) -> int:
        """Slot of a Python scalar on the target."""
        return self.target.constant(value, kind)

    def layout(self, slot: int) -> Layout:
        """The layout of a slot of the target."""
        return self.target.instruction_of(slot).out

    def op(self, name: str, *slots: int) -> int:
        """Append an op without attributes."""
        layouts = tuple(map(self.layout, slots))
        return self.append(instruction(TABLE[name], layouts), slots)

    def view(
        self, slot: int, entry: Op, shape: Sequence[int], strides: Sequence[int], offset: int,
        like: Layout,
    ) -> int:  # fmt: skip
        """Append a view of a batched slot whose slices have this shape, strides and offset."""
        layout = self.layout(slot)
        view = view_instruction(
            entry, layout, (self.size, *shape), (layout.strides[0], *strides), like.dtype
        )
        return self.append_view(view, slot, offset)

    def aligned(self, slot: int, rank: int) -> int:
        """The counterpart of an operand; if it is batched, with slices of at least `rank` dimensions."""
        counterpart = self.at(slot)
        layout = self.layout(counterpart)
        missing = rank + 1 - layout.ndim
        if slot not in self.batched or missing <= 0:
            return counterpart
        shape = (1,) * missing + layout.shape[1:]
        return self.view(
            counterpart, TABLE["unsqueeze"], shape, (0,) * missing + layout.strides[1:], 0, layout
        )

    def _spread(self, slot: int) -> None:
        """Give each slice a copy of its own of what has been the same for all."""
        if not self.layout(self.slots[slot]).is_contiguous:
            raise UnsupportedError("a slice that is not contiguous is written in place")
        self.bind(slot, self.whole(slot), batched=True)

    def whole(self, slot: int) -> int:
        """The counterpart of a slot, as many times as there are slices if it does not depend on them."""
        counterpart = self.at(slot)
        if slot in self.batched:
            return counterpart
        layout = self.layout(counterpart)
        view = view_instruction(
            TABLE["expand"], layout, (self.size, *layout.shape), (0, *layout.strides)
        )
        return self.op("clone", self.append_view(view, counterpart, 0))

    # ------------------------------------------------------------------ products
    def product(self, a: int, b: int, out: Layout) -> int:
        """The counterpart of the product of two operands; `out` is the slice's result."""
        x, y = self.at(a), self.at(b)
        lx, ly = self.layout(x), self.layout(y)
        nx, ny = lx.ndim - (a in self.batched), ly.ndim - (b in self.batched)
        if b not in self.batched and ny <= 2:  # one factor for all: one tall product
            return self.op("matmul" if nx > 1 else "mm" if ny == 2 else "mv", x, y)
        if a not in self.batched and nx == 2 and ny == 1:
            turned = view_instruction(TABLE["transpose"], lx, lx.shape[::-1], lx.strides[::-1])
            return self.op("mm", y, self.append_view(turned, x, 0))
        rank = max(nx - 2, ny - 2, 0)
        x = self._factor(a, rank, row=True)
        y = self._factor(b, rank, row=False)
        lx, ly = self.layout(x), self.layout(y)
        name = "matmul"
        if lx.ndim == ly.ndim == 3 and lx.shape[0] == ly.shape[0]:
            name = "bmm"
        elif (lx.ndim, ly.ndim) == (2, 3):
            name = "matmul_left"
        product = self.op(name, x, y)
        if self.layout(product).ndim == out.ndim + 1:
            return product
        return self.view(product, TABLE["squeeze_dims"], out.shape, out.strides, 0, out)

    def _factor(self, slot: int, rank: int, *, row: bool) -> int:
        """A factor as matrices, batched ones with `rank` dimensions between the batch and the matrix."""
        counterpart = self.at(slot)
        layout = self.layout(counterpart)
        is_batched = slot in self.batched
        shape: tuple[int, ...] = tuple(layout.shape[is_batched:])
        strides: tuple[int, ...] = layout.strides[is_batched:]
        if len(shape) == 1:
            shape = (1, *shape) if row else (*shape, 1)
            strides = (0, *strides) if row else (*strides, 0)
        missing = (rank + 2 - len(shape)) * is_batched
        shape, strides = (1,) * missing + shape, (0,) * missing + strides
        if is_batched:
            if len(shape) + 1 == layout.ndim:
                return counterpart
            return self.view(counterpart, TABLE["unsqueeze"], shape, strides, 0, layout)
        if len(shape) == layout.ndim:
            return counterpart
        view = view_instruction(TABLE["unsqueeze"], layout, shape, strides)
        return self.append_view(view, counterpart, 0)

    def added_product(self, inner: Instruction, args: Sequence[int]) -> int:
        """The counterpart of ``beta * z + alpha * (x @ y)`` for operands (x, y, z)."""
        kind, alpha, beta = inner.out.dtype, inner.attrs["alpha"], inner.attrs["beta"]
        product = self.product(args[0], args[1], inner.out)
        if alpha != 1:
            product = self.op("mul", product, self.constant(alpha, kind))
        if beta == 0:  # as in PyTorch, not even NaN of z counts
            return product
        added = self.aligned(args[2], inner.out.ndim)
        if beta != 1:
            added = self.op("mul", added, self.constant(beta, kind))
        return self.op("add", product, added)


# --------------------------------------------------------------------------- the generic counterpart
def lower_lifted(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Lower an instruction for a batch: each of its steps with one more loop around it.

    A step runs for all slices before the next one does, so what a step leaves in scratch memory for the
    next has a place for each slice there. Temporaries inside a step do not.
    """
    inner, size = INSTRUCTIONS[attrs["inner"]], attrs["size"]
    if not all(x.is_contiguous for x in inner.outs):
        raise UnsupportedError(f"{inner.op.name}: a result that is not contiguous is not lifted")
    # bytes from one slice to the next, of operands and results
    between = [x.strides[0] if b else 0 for x, b in zip(layouts, attrs["batched"], strict=True)]
    between += [x.size * x.dtype.itemsize for x in inner.outs]
    shared = any(o.ref == SCRATCH for step in inner.steps for o in step.operands)
    scratch = padded(inner.scratch)

    def slices(operand: Operand) -> int:
        if operand.ref == SCRATCH:
            return int(scratch)
        return 0 if operand.ref == ADDRESS else int(between[operand.ref - ARGS])

    steps = [_lifted_step(step, size, slices) for step in inner.steps]
    outs = tuple(contiguous(x.dtype, (size, *x.shape)) for x in inner.outs)
    return Lowered(outs, tuple(steps), scratch * size if shared else inner.scratch)


def _lifted_step(step: Step, size: int, slices: Any) -> Step:
    if not step.kernel[0] and not step.nodes:  # clear memory
        (target,) = step.operands
        if step.zero == slices(target):
            return step._replace(zero=step.zero * size)
        zero = address_operand(constant(0, bool_.np), 2)
        into = target._replace(strides=(slices(target), 1))
        return Step(copy_loop(bool_), (size, step.zero), (zero, into))
    return step._replace(
        shape=(size, *step.shape),
        operands=tuple(o._replace(strides=(slices(o), *o.strides)) for o in step.operands),
    )


def lifted_vjp(ct: Any, *values: Any, inner: int, batched: tuple[bool, ...], size: int) -> Any:
    """Lift the rule of the slice's instruction."""
    instruction = INSTRUCTIONS[inner]
    with (
        TABLE_LOCK,
        Tracing(instruction) as tracing,
    ):  # lifting wants the tape of a rule as well as its template
        return _lifted_vjp(tracing, ct, values, batched, size)


def _lifted_vjp(
    tracing: Tracing, ct: Any, values: tuple[Any, ...], batched: tuple[bool, ...], size: int
) -> Any:
    instruction, traced = tracing.instruction, trace(tracing)
    tape = current_tape()
    lifting = Lifting(tracing.tape, tape, size)
    lifting.slots = traced.bind(
        traced.inputs, slot_of(tape, ct), slot_of(tape, values[-1]),
        lambda i: slot_of(tape, values[i]),
    )  # fmt: skip
    lifting.batched = {
        s for s, name in traced.inputs.items() if isinstance(name, str) or batched[name]
    }
    lifting.run([r for r in traced.results if r is not None])
    cotangents: list[Any] = []
    extra = tracing.tape.count
    for i, result in enumerate(traced.results):
        if result is None:
            cotangents.append(None)
            continue
        layout = traced.layouts[result]
        # Only here are sums taken over broadcast dimensions inside of a slice.
        for step in templates.sums_to(layout, instruction.layouts[i].shape):
            lifting.statement(extra, step.instruction, [result])
            result, extra = extra, extra + 1
        counterpart = lifting.at(result)
        cotangents.append(record.new_tensor(tape, counterpart, lifting.layout(counterpart)))
    return tuple(cotangents) if len(cotangents) > 1 else cotangents[0]


def _grad_fn(instruction: Instruction) -> str:
    inner: Instruction = INSTRUCTIONS[instruction.attrs["inner"]]
    return inner.grad_fn


#: rows of lifted statements, by whether the op has no derivative
_LIFTED = {False: "lifted", True: "lifted_passive"}
for _passive, _name in _LIFTED.items():
    op(
        _name, arity=0, lower=lower_lifted, torch=None, grad_fn=_grad_fn, of_complex="plain",
        vjp=None if _passive else lifted_vjp, private=True, lifted=True,
    )  # fmt: skip
