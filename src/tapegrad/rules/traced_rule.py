"""Templates: VJPs traced once from one Python text an op.

`template` calls an instruction's rule with Tensors on a small tape of its own, whose leaves have the
layouts of the cotangent, the operands and the result. What it records is the template. It serves twice:

- replay (recorded_pass.py) appends a template's statements to the tape, with real slots in the place of
  leaves;
- program_table.py makes of it, for each operand, the program that the reverse sweep runs.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..base.errors import UnsupportedError
from ..base.locks import TABLE_LOCK
from ..base.symbolic import home_of
from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS, Instruction, instruction
from ..ops.layout import Layout, contiguous
from ..ops.table import TABLE
from ..tape import collector
from ..tape import recording as record
from ..tape.constants import Constants
from ..tape.current import recording_on
from ..tape.tape import Tape, slot_of

__all__ = ["Statement", "Template", "Tracing", "instruction_at", "template"]

T = TypeVar("T")


class Statement(NamedTuple):
    """A statement of a template; slots count from 1, the leaves first.

    It has its instruction by number, or instructions would refer to each other in circles, and none could
    end. Whose template it is needs that one (`Instruction.needs`).
    """

    slot: int
    number: int
    args: tuple[int, ...]
    offset: int

    @property
    def instruction(self) -> Instruction:
        """The instruction."""
        return INSTRUCTIONS[self.number]


class Part(NamedTuple):
    """The part of a template that one result depends on.

    Attributes
    ----------
    statements : tuple of Statement
        In order.
    leaves : tuple of int
        Slots of the inputs and constants that it reads.
    """

    statements: tuple[Statement, ...]
    leaves: tuple[int, ...]


class Template(NamedTuple):
    """A VJP as data; `bind` says what its leaves stand for, which is all that its readers have in common.

    Attributes
    ----------
    inputs : dict
        Slot of the template -> "ct", "out", or the number of an operand.
    constants : dict
        Slot -> 0-d ndarray.
    statements : tuple of Statement
    results : tuple of (int or None)
        For each operand the slot of its cotangent.
    layouts : tuple of Layout
        Of all slots, that of slot 0 included.
    bases : tuple of int
        For each slot the one whose memory it lies in.
    places : dict
        Slot -> the number of its statement.
    writes : bool
        Whether a statement writes in place.
    parts : dict
        Slot -> `Part`, for those that have been asked for.
    """

    inputs: dict[int, str | int]
    constants: dict[int, np.ndarray]
    statements: tuple[Statement, ...]
    results: tuple[int | None, ...]
    layouts: tuple[Layout, ...]
    bases: tuple[int, ...]
    places: dict[int, int]
    writes: bool
    parts: dict[int, Part]

    @property
    def ct(self) -> int:
        """The slot of the cotangent."""
        return next(slot for slot, name in self.inputs.items() if name == "ct")

    @property
    def leaves(self) -> tuple[int, ...]:
        """Slots of all inputs and constants."""
        return (*self.inputs, *self.constants)

    def bind(
        self, leaves: Iterable[int], ct: T, out: T, operand: Callable[[int], T],
        constant: Callable[[int], T] | None = None,
    ) -> dict[int, T]:  # fmt: skip
        """By slot what leaves stand for.

        Parameters
        ----------
        leaves : iterable of int
        ct, out : object
            The cotangent, and the result of the statement that is differentiated.
        operand, constant : callable
            From the number of an operand, or from the slot of a constant.
        """
        bound: dict[int, T] = {}
        inputs = self.inputs
        for slot in leaves:
            name = inputs.get(slot)
            if name is None:
                assert constant is not None
                bound[slot] = constant(slot)
            elif name == "ct":
                bound[slot] = ct
            elif name == "out":
                bound[slot] = out
            else:
                bound[slot] = operand(name)  # type: ignore[arg-type]
        return bound

    def part(self, result: int) -> Part:
        """The part that `result` depends on."""
        part = self.parts.get(result)
        if part is None:
            statements = tuple(self._needed(result))
            used = {a for s in statements for a in s.args} | {result}
            leaves = [
                slot for slot in sorted(used) if slot in self.inputs or slot in self.constants
            ]
            part = self.parts[result] = Part(statements, tuple(leaves))
        return part

    def _needed(self, result: int) -> list[Statement]:
        if not self.writes:  # in a time that goes with their number, whatever that of all is
            pending, places = [result], set()
            while pending:
                place = self.places.get(pending.pop())
                if place is not None and place not in places:
                    places.add(place)
                    pending += self.statements[place].args
            return [self.statements[place] for place in sorted(places)]
        wanted = {result}
        base = self.bases
        bases = {base[result]}
        chosen = []
        for statement in reversed(self.statements):
            writes = statement.instruction.op.kind in (nt.WRITE, nt.ACCUMULATE)
            if statement.slot in wanted or (writes and base[statement.slot] in bases):
                chosen.append(statement)
                wanted.update(statement.args)
                bases.update(base[a] for a in statement.args)
        return chosen[::-1]


def _masked(tape: Tape, ct: int, result: int) -> int:
    """Append that a result counts as zero where the cotangent is zero."""
    layouts = tuple(tape.instruction_of(slot).out for slot in (ct, result))
    return tape.append(instruction(TABLE["mask_zero"], layouts), (ct, result))


def template(instruction: Instruction, variant: int = 0) -> Template:
    """Trace the VJP of an instruction.

    Parameters
    ----------
    instruction : Instruction
    variant : int
        With MASKED, the cotangents that an elementwise op's rule gives are zero where ``ct`` is.

    Raises
    ------
    UnsupportedError
        If the op has no derivative.
    """
    masked = bool(variant & nt.MASKED) and instruction.op.is_elementwise
    known: Template | None = instruction.masked_vjp if masked else instruction.vjp
    if known is not None:
        return known
    with TABLE_LOCK, Tracing(instruction) as tracing:
        traced = trace(tracing, masked=masked)
        instruction.needs += tuple({s.number for s in traced.statements})
        if masked:
            instruction.masked_vjp = traced
        else:
            instruction.vjp = traced
    return traced


def instruction_at(user: Instruction, variant: int, slot: int) -> Instruction:
    """Return the instruction of a statement of `user`'s template, as ``P_STATEMENT`` refers to it."""
    traced = template(user, variant)
    return traced.statements[traced.places[slot]].instruction


def trace(tracing: Tracing, *, masked: bool = False) -> Template:
    """Call the rule of an instruction; see `template`."""
    instruction = tracing.instruction
    rule = instruction.op.vjp
    if rule is None:
        raise UnsupportedError(
            f"{instruction.op.name} has no derivative; use .detach() on its result if none is meant"
        )
    collects = gc.isenabled()
    gc.disable()  # what finalizers record is not the rule's
    try:
        tape = tracing.tape
        with recording_on(tape):
            cotangents = tracing.cotangents(rule)
            results = tuple(None if c is None else slot_of(tape, c) for c in cotangents)
            if masked:
                ct = slot_of(tape, tracing.ct)
                results = tuple(r if r in (None, ct) else _masked(tape, ct, r) for r in results)
    finally:
        if collects:
            gc.enable()
    return tracing.template(tracing.names, results)


def _conj(x: Any) -> Any:
    return record.unary(TABLE["conj"], x)


#: tapes of rules that have been traced, for the next ones; some may still have handles
_spare: list[Tape] = []


def _spare_tape() -> Tape:
    """An empty tape for a rule."""
    for i, tape in enumerate(_spare):
        if not tape.state[nt.S_HANDLE_COUNT] and not tape.passes and tape.floor == 1:
            del _spare[i]
            _empty(tape)
            return tape
    tape = Tape(256, abstract=True)
    tape.state[nt.S_PENDING_LIMIT] = 1 << 62
    return tape


def _empty(tape: Tape) -> None:
    """Drop all statements of a tape without handles, and let this thread record on it."""
    s = tape.state
    s[nt.S_COUNT] = s[nt.S_DONE] = s[nt.S_GRAD_MODE] = 1
    s[nt.S_ARG_COUNT] = s[nt.S_PENDING_BYTES] = s[nt.S_EAGER] = 0
    tape.arg_start[1] = 0
    for name in collector.BOOKS:
        getattr(tape, name).clear()
    for book in (tape.writes, tape.written_views, tape.mirrors, tape.guests):
        book.clear()
    tape.write_count = tape.last_write = 0
    tape.inference_start, tape.inference_unseen = -1, False
    if len(tape.constants):
        tape._use_constants(Constants({}))
    if s[nt.S_OWNER] != threading.get_ident():
        s[nt.S_OWNER], tape.owner = threading.get_ident(), threading.current_thread()


class Tracing:
    """A small tape, whose leaves stand for what a rule is called with.

    As a context manager it leaves the tape to the next rule.

    Attributes
    ----------
    tape : Tape
    names : dict
        Slots of the leaves, as `Template.inputs`.
    ct, operands, out : Tensor
        The leaves; `operands` is a list.
    """

    def __init__(self, instruction: Instruction, *, active: bool = False) -> None:
        self.instruction = instruction
        self.sizes: dict[int, Any] = {}
        home = home_of(
            [n for x in (*instruction.layouts, instruction.out) for n in x.shape + x.strides]
        )
        if home is not None:
            self.sizes = home.slots
            self.sizes.clear()
        self.tape = _spare_tape()
        self.names: dict[int, str | int] = {}
        self._leaves: set[int] = set()
        self.ct = self.leaf(
            contiguous(instruction.out.dtype, instruction.out.shape), "ct", active=active
        )
        self.operands = [self.leaf(x, i) for i, x in enumerate(instruction.layouts)]
        self.out = self.leaf(instruction.out, "out")

    def __enter__(self) -> Tracing:
        return self

    def __exit__(self, *_: object) -> None:
        self.sizes.clear()
        self.ct = self.out = None
        self.operands = []
        _spare.append(self.tape)

    def leaf(self, layout: Layout, name: str | int | None, *, active: bool = False) -> Any:
        """A leaf of the tape; without a name if a template may not use it."""
        slot = self.tape.bind(_ZERO, layout, active=active)
        self._leaves.add(slot)
        if name is not None:
            self.names[slot] = name
        return self.tape.new_handle(slot, layout)

    def cotangents(self, rule: Any) -> tuple[Any, ...]:
        """Call the rule; its cotangents, one an operand."""
        attrs = {k: v for k, v in self.instruction.attrs.items() if k != "layout"}
        conjugated = self.instruction.op.of_complex == "holomorphic" and self.ct.dtype.is_complex
        # The rule gives ct * f'(x); the gradient of a real number is ct * conj(f'(x)).
        returned = rule(
            _conj(self.ct) if conjugated else self.ct, *self.operands, self.out, **attrs
        )
        cotangents = returned if isinstance(returned, tuple) else (returned,)
        if conjugated:
            cotangents = tuple(
                [c if c is None or not c.dtype.is_complex else _conj(c) for c in cotangents]
            )
        assert len(cotangents) == len(self.operands), (
            f"{self.instruction.op.name}: one cotangent an operand"
        )
        return cotangents

    def template(self, inputs: dict[int, str | int], results: tuple[int | None, ...]) -> Template:
        """The template that has been recorded."""
        tape = self.tape
        constants = {
            slot: self.sizes.get(slot, getattr(owner, "array", owner))
            for slot, owner in tape.owned.items()
            if slot not in self._leaves and tape.instruction_of(slot).op.kind == nt.LEAF
        }
        statements = tuple(
            Statement(
                slot,
                int(tape.instruction[slot]),
                tuple(tape.args_of(slot)),
                self.sizes[slot] if slot in self.sizes else tape.view_offset(slot),
            )
            for slot in range(1, tape.count)
            if slot not in self._leaves and slot not in constants
        )
        n = tape.count
        layouts = tuple([INSTRUCTIONS[k].out for k in tape.instruction[:n].tolist()])
        places = {s.slot: i for i, s in enumerate(statements)}
        kinds = {INSTRUCTIONS[number].op.kind for number in {s.number for s in statements}}
        return Template(
            inputs, constants, statements, results, layouts, tuple(tape.base[:n].tolist()), places,
            not kinds.isdisjoint((nt.WRITE, nt.ACCUMULATE)), {},
        )  # fmt: skip

    def place_views(self) -> None:
        """Say where views lie in their base, for a replay of what has been recorded."""
        tape = self.tape
        for slot in range(1, tape.count):
            if tape.instruction_of(slot).op.kind == nt.VIEW:
                start = tape.address[tape.args_of(slot)[0]]
                tape.address[slot] = start + tape.view_offset(slot)


#: the memory of every leaf of a template
_ZERO = np.zeros(1)
