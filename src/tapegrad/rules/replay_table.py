"""Templates of VJPs in the form that native replay reads.

`build` writes, for each operand of an instruction, the statements that its cotangent takes (those of
the traced rule, then the sums over broadcast dimensions) into the table ``G_REPLAY``, once an
instruction. A template with in-place writes or several results stays with Python (recorded_pass.py).
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from ..base.fast_paths import REFUSED
from ..base.locks import TABLE_LOCK
from ..base.symbolic import Symbolic
from ..native import abi as nt
from ..ops.instruction import ITAB, RTAB, Instruction, instruction, remember, view_instruction
from ..ops.layout import LAYOUTS, Layout, broadcast_strides, contiguous, intern, is_symbolic
from ..ops.patterns import Pattern, answered
from ..ops.program import POOL, holding
from ..ops.table import TABLE, is_float
from ..tape.constants import Constants
from ..tape.tape import Tape
from .traced_rule import Template, template

__all__ = [
    "Unary",
    "append_sums",
    "build",
    "drafts",
    "filled",
    "lacking",
    "sums_to",
    "teach",
    "write",
]


class Unary(NamedTuple):
    """A statement on one operand: a view at offset 0, or an op."""

    instruction: Instruction
    is_view: bool


def sums_to(layout: Layout, shape: tuple[int, ...]) -> list[Unary]:
    """The statements that sum a cotangent over the dimensions along which `shape` was broadcast."""
    steps: list[Unary] = []
    own = layout.shape
    if own == shape:
        return steps

    def then(made: Instruction, *, is_view: bool) -> None:
        nonlocal layout
        steps.append(Unary(made, is_view))
        layout = made.out

    extra = len(own) - len(shape)  # negative where the rule left a smaller cotangent
    dims = tuple(range(extra)) + tuple(
        i + extra for i, n in enumerate(shape) if i + extra >= 0 and n == 1 and own[i + extra] != 1
    )
    if dims:
        then(instruction(TABLE["sum"], (layout,), dim=dims, keepdim=True), is_view=False)
    if layout.shape == shape:
        return steps
    size = 1
    for n in shape:
        size *= n
    if layout.size == size:
        if not layout.is_contiguous:
            then(instruction(TABLE["clone"], (layout,)), is_view=False)
        strides = contiguous(layout.dtype, shape).strides
        then(view_instruction(TABLE["as_strided"], layout, shape, strides), is_view=True)
    else:  # the rule left a smaller cotangent, meant for every element
        strides = broadcast_strides(layout, shape)
        then(view_instruction(TABLE["expand"], layout, shape, strides), is_view=True)
    return steps


def append_sums(tape: Tape, slot: int, shape: tuple[int, ...]) -> int:
    """Append the sums of `sums_to`; the slot of their result."""
    for step in sums_to(tape.instruction_of(slot).out, shape):
        if step.is_view:
            slot = tape.append_view(step.instruction, slot, 0)
        else:
            slot = tape.append(step.instruction, (slot,))
    return slot


class Draft(NamedTuple):
    """The statements that the cotangent of one operand takes, as they will be written.

    Attributes
    ----------
    steps : list
        Instruction, references to its inputs, and the offset of a view (None for what is none).
    constants : list of int
        Bits and dtype of each, one behind the other.
    result : int
        Reference to the result.
    layout : Layout
        That of the result.
    """

    steps: list[tuple[Instruction, list[int], Any]]
    constants: list[Any]
    result: int
    layout: Layout


def lacking(made: Instruction, variant: int) -> bool:
    """Return True if an instruction that native replay may do has no template yet."""
    if made.op.kind != nt.COMPUTE or ITAB.rows[made.id, nt.I_REPLAY + (variant >> 1)] >= 0:
        return False
    return made.op.replay is None and not made.op.python


def teach(made: Instruction, variant: int, ct: Layout) -> None:
    """Let native replay know what a statement takes: its templates, sums of cotangents, a copy of `ct`.

    Parameters
    ----------
    made : Instruction
    variant : int
    ct : Layout
        Of the statement's cotangent.
    """
    with TABLE_LOCK:
        build(made, variant)
        first = ITAB.rows.item(made.id, nt.I_REPLAY + (variant >> 1))
        for number in set(RTAB.rows[first : first + len(made.layouts), nt.Q_LAYOUT].tolist()):
            layout = LAYOUTS[number]
            if number and layout.ndim and layout.is_contiguous:
                remember(instruction(TABLE["add"], (layout, layout)))
        if not ct.is_contiguous:
            remember(instruction(TABLE["clone"], (ct,)))


def build(made: Instruction, variant: int = 0) -> None:
    """Write the templates of an instruction, plain or masked, unless they are there."""
    column = nt.I_REPLAY + (variant >> 1)
    if ITAB.rows[made.id, column] >= 0:
        return
    with holding(made.holdings):
        if ITAB.rows[made.id, column] >= 0:
            return
        drawings = filled(made, variant) or drafts(made, variant)
        nt.GLOBALS[nt.G_ADD], nt.GLOBALS[nt.G_CLONE] = TABLE["add"].code, TABLE["clone"].code
        count = max(len(made.layouts), 1)
        first = RTAB.reserve(count)
        RTAB.rows[first : first + count] = 0
        for i, drawn in drawings.items():
            RTAB.rows[first + i, nt.Q_EXISTS] = 1
            if drawn is not None:
                place(made, first + i, drawn)
        RTAB.rows[first : first + count, nt.Q_CT] = contiguous(made.out.dtype, made.out.shape).id
        # A pass of another thread may look at these rows from now on.
        ITAB.rows[made.id, column] = first


def drafts(made: Instruction, variant: int) -> dict[int, Draft | None]:
    """The draft of each operand with a derivative; None for those that native replay cannot do."""
    traced = template(made, variant)
    return {
        i: draft(traced, result, made.layouts[i].shape)
        for i, result in enumerate(traced.results)
        if result is not None and is_float(made.layouts[i])
    }


def write(
    made: Instruction, number: int, traced: Template, result: int, shape: tuple[int, ...]
) -> None:
    """Write a template of an instruction into a row: the statements of a result, summed to a shape."""
    RTAB.rows[number, nt.Q_EXISTS] = 1
    drawn = draft(traced, result, shape)
    if drawn is not None:
        place(made, number, drawn)


def draft(traced: Template, result: int, shape: tuple[int, ...]) -> Draft | None:
    """Lay out the statements of a result, summed to a shape; None if native replay cannot do them."""
    statements, leaves = traced.part(result)
    keys: list[Any] = []

    def constant(slot: int) -> int:
        nonlocal keys
        keys += Constants.key(traced.constants[slot], traced.layouts[slot].dtype)
        return nt.REF_CONSTANT + len(keys) // 2 - 1

    references = traced.bind(leaves, nt.REF_CT, nt.REF_OUT, lambda i: nt.REF_OPERAND + i, constant)
    steps: list[tuple[Instruction, list[int], Any]] = []
    for s in statements:
        kind = s.instruction.op.kind
        plain = kind == nt.VIEW or (kind == nt.COMPUTE and len(s.instruction.outs) == 1)
        if not plain or len(s.args) > nt.MAX_OPERANDS_OF_TEMPLATE:
            return None
        inputs = [references[a] for a in s.args]
        references[s.slot] = nt.REF_STATEMENT + len(steps)
        steps.append((s.instruction, inputs, s.offset if kind == nt.VIEW else None))
    last, layout = references[result], traced.layouts[result]
    for step in sums_to(layout, shape):
        steps.append((step.instruction, [last], 0 if step.is_view else None))
        last, layout = nt.REF_STATEMENT + len(steps) - 1, step.instruction.out
    last_operand = max(traced.reads(leaves), default=0)
    too_many_operands = last_operand >= nt.REF_STATEMENT - nt.REF_OPERAND
    if len(steps) > nt.MAX_TEMPLATE or len(keys) > 2 * nt.MAX_CONSTANTS or too_many_operands:
        return None
    return Draft(steps, keys, last, layout)


def place(made: Instruction, number: int, drawn: Draft) -> None:
    """Write a draft into a row of the table, for an instruction."""
    words: list[int] = []
    args = 0
    for step, inputs, offset in drawn.steps:
        low, high = (0, 0) if offset is None else struct.unpack("<ii", struct.pack("<q", offset))
        extra = 0 if offset is None else 2
        words.extend((step.id, len(inputs), extra, low, high, *inputs))
        args += len(inputs) + extra
    made.needs += tuple([step.id for step, _, _ in drawn.steps])
    row = RTAB.rows[number]
    row[nt.Q_STATEMENTS], row[nt.Q_COUNT] = POOL.put(words), len(drawn.steps)
    row[nt.Q_ARGS], row[nt.Q_RESULT], row[nt.Q_LAYOUT] = args, drawn.result, drawn.layout.id
    row[nt.Q_CONSTANTS] = POOL.put(drawn.constants)
    row[nt.Q_CONSTANT_COUNT] = len(drawn.constants) // 2
    row[nt.Q_NATIVE] = not REFUSED


# --------------------------------------------------------------------------- patterns
def filled(made: Instruction, variant: int) -> dict[int, Draft | None] | None:
    """The drafts of an instruction as its pattern has them; None if its rule has to be traced."""
    key = "templates", variant
    answer: dict[int, Draft | None] | None = answered(
        made, lambda pattern: pattern.derived(key, lambda p: _Drafts(p, variant))
    )
    return answer


class _Drafts:
    """Drafts of a prototype: what depends on the lengths as a function of them."""

    def __init__(self, pattern: Pattern, variant: int) -> None:
        self._drafts = drafts(pattern.prototype, variant)
        self._instructions: dict[int, Instruction] = {}
        self._layouts: dict[int, Layout] = {}
        numbers: dict[str, Symbolic] = {}
        for drawn in filter(None, self._drafts.values()):
            self._note(drawn.layout, numbers)
            for step, _, offset in drawn.steps:
                self._note((offset, step.layouts, tuple(step.attrs.values())), numbers)
                if is_symbolic((*step.layouts, *step.outs)):
                    self._instructions[step.id] = step
            self._note(tuple(drawn.constants), numbers)
        self._numbers = tuple(numbers)
        parts = [(*x.shape, *x.strides) for x in self._layouts.values()]
        self._call = pattern.function([list(numbers.values()), *parts])

    def _note(self, value: Any, numbers: dict[str, Symbolic]) -> None:
        if type(value) is Symbolic:
            numbers[value.name] = value
        elif isinstance(value, Layout):
            if is_symbolic((value,)):
                self._layouts[value.id] = value
        elif isinstance(value, tuple):
            for item in value:
                self._note(item, numbers)

    def fill(self, sizes: tuple[int, ...]) -> dict[int, Draft | None] | None:
        """The drafts for some lengths; None if something asked about them has another answer."""
        answer = self._call(*sizes)
        if answer is None:
            return None
        numbers = dict(zip(self._numbers, answer[0], strict=True))
        layouts: dict[int, Layout] = {}
        for x, words in zip(self._layouts.values(), answer[1:], strict=True):
            shape, strides = words[: x.ndim], words[x.ndim :]
            dense = x.is_contiguous
            layouts[x.id] = contiguous(x.dtype, shape) if dense else intern(x.dtype, shape, strides)

        def of(value: Any) -> Any:
            if type(value) is Symbolic:
                return numbers[value.name]
            if isinstance(value, Layout):
                return layouts.get(value.id, value)
            return tuple(map(of, value)) if type(value) is tuple else value

        made = {
            number: instruction(
                x.op, tuple(map(of, x.layouts)), **{k: of(v) for k, v in x.attrs.items()}
            )
            for number, x in self._instructions.items()
        }
        return {
            i: None if drawn is None else Draft(
                [(made.get(x.id, x), inputs, of(offset)) for x, inputs, offset in drawn.steps],
                list(map(of, drawn.constants)), drawn.result, of(drawn.layout),
            )
            for i, drawn in self._drafts.items()
        }  # fmt: skip
