"""Rules as segments: the statements that the cotangent of an operand takes.

`rules` makes of an instruction's traced rule a segment for each operand (the statements of the template, then
the sums over broadcast dimensions), once an instruction, and writes them into the table ``G_REPLAY``, where
native replay finds them. Segments with in-place writes are for Python alone (recorded_pass.py), which notes
the writes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..base.fast_paths import REFUSED
from ..base.locks import TABLE_LOCK
from ..base.symbolic import Symbolic
from ..native import abi as nt
from ..ops.instruction import ITAB, RTAB, Instruction, instruction, remember, view_instruction
from ..ops.layout import Layout, broadcast_strides, contiguous, intern, is_symbolic
from ..ops.patterns import Pattern, answered
from ..ops.program import holding
from ..ops.table import TABLE, is_inexact
from ..tape.constants import Constants
from ..tape.segment import Draft, Leaf, Segment, Step
from ..tape.tape import Tape
from .traced_rule import Template, template

__all__ = [
    "Rule",
    "Unary",
    "append_sums",
    "drafted",
    "enter",
    "filled",
    "lacking",
    "rule",
    "rules",
    "sums_to",
    "teach",
]


class Unary(NamedTuple):
    """A statement on one operand: a view at offset 0, or an op."""

    instruction: Instruction
    is_view: bool


def sums_to(layout: Layout, shape: tuple[int, ...]) -> list[Unary]:
    """The statements that sum a cotangent over the dimensions along which `shape` was broadcast."""
    steps: list[Unary] = []
    whole = layout.shape
    if whole == shape:
        return steps

    def then(step: Instruction, *, is_view: bool) -> None:
        nonlocal layout
        steps.append(Unary(step, is_view))
        layout = step.out

    extra = len(whole) - len(shape)  # negative where the rule left a smaller cotangent
    dims = tuple(range(extra)) + tuple(
        i + extra
        for i, n in enumerate(shape)
        if i + extra >= 0 and n == 1 and whole[i + extra] != 1
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


class Rule(NamedTuple):
    """The derivative of an instruction in one operand, to be appended.

    Attributes
    ----------
    segment : Segment
        Its inputs have the names `abi.RULE_CT` and `abi.RULE_OUT`, and numbers of operands.
    layout : Layout
        That of its one result.
    """

    segment: Segment
    layout: Layout


def lacking(instruction: Instruction, variant: int) -> bool:
    """Return True if native replay may do an instruction whose rules are not in the table yet."""
    if (
        instruction.op.kind != nt.COMPUTE
        or ITAB.rows[instruction.id, nt.I_REPLAY + (variant >> 1)] >= 0
    ):
        return False
    return instruction.op.replay is None and not instruction.op.python


def teach(replayed: Instruction, variant: int, ct: Layout) -> None:
    """Let native replay know what a statement takes: its rules, sums of cotangents, a copy of `ct`.

    Parameters
    ----------
    replayed : Instruction
    variant : int
    ct : Layout
        Of the statement's cotangent.
    """
    with TABLE_LOCK:
        for layout in {rule.layout for rule in rules(replayed, variant).values()}:
            if layout.ndim and layout.is_contiguous:
                remember(instruction(TABLE["add"], (layout, layout)))
        if not ct.is_contiguous:
            remember(instruction(TABLE["clone"], (ct,)))


def rules(instruction: Instruction, variant: int = 0) -> dict[int, Rule]:
    """The rules of the operands that have a derivative, plain or masked; in the table from now on."""
    column = nt.I_REPLAY + (variant >> 1)
    if column not in instruction.rules:
        with holding(instruction.holdings):
            if column not in instruction.rules:
                known = filled(instruction, variant) or drafted(instruction, variant)
                enter(instruction, column, known)
    entered: dict[int, Rule] = instruction.rules[column]
    return entered


def drafted(instruction: Instruction, variant: int) -> dict[int, Rule]:
    """The rules of an instruction, from its template."""
    traced = template(instruction, variant)
    return {
        i: rule(instruction, traced, result, instruction.layouts[i].shape)
        for i, result in enumerate(traced.results)
        if result is not None and is_inexact(instruction.layouts[i])
    }


def rule(user: Instruction, traced: Template, result: int, shape: tuple[int, ...]) -> Rule:
    """Make a rule of a template of `user`: the statements of a result, summed to a shape."""
    statements, leaves = traced.part(result)
    draft = Draft()
    names: dict[int, int | None] = traced.bind(leaves, nt.RULE_CT, nt.RULE_OUT, int, lambda _: None)
    for slot, name in names.items():
        if name is None:
            bits, code = Constants.key(traced.constants[slot], traced.layouts[slot].dtype)
            draft.leaf(slot, code, bits)
        else:
            draft.leaf(slot, nt.SEG_INPUT, name)
    for s in statements:
        if s.instruction.op.kind != nt.OUTPUT:  # such are with the statement of the first result
            offset = s.offset if s.instruction.op.kind == nt.VIEW else None
            draft.append(s.slot, s.instruction, s.args, offset)
    layout, slot = traced.layouts[result], len(traced.layouts)
    for step in sums_to(layout, shape):
        draft.append(slot, step.instruction, (result,), 0 if step.is_view else None)
        layout, result, slot = step.instruction.out, slot, slot + 1
    writes = (nt.WRITE, nt.ACCUMULATE)
    noted = [s.slot for s in statements if s.instruction.op.kind in writes]
    assert len(draft.leaves) == len(names), "every operand is one of the template"
    user.needs += tuple({step.number for step in draft.steps})
    return Rule(draft.segment([result], noted), layout)


def enter(instruction: Instruction, column: int, rules: dict[int, Rule]) -> None:
    """Write rules of an instruction into the table. The caller holds the lock, for its holdings."""
    nt.GLOBALS[nt.G_ADD], nt.GLOBALS[nt.G_CLONE] = TABLE["add"].code, TABLE["clone"].code
    count = max(len(instruction.layouts), 1)
    first = RTAB.reserve(count)
    RTAB.rows[first : first + count] = 0
    for i, (segment, layout) in rules.items():
        row = RTAB.rows[first + i]
        row[nt.Q_EXISTS] = 1
        row[nt.Q_SEGMENT] = 0 if REFUSED or segment.noted else segment.address
        row[nt.Q_RESULT], row[nt.Q_LAYOUT] = segment.results[0], layout.id
    ct = contiguous(instruction.out.dtype, instruction.out.shape)
    RTAB.rows[first : first + count, nt.Q_CT] = ct.id
    instruction.rules[column] = rules
    # A pass of another thread may look at these rows from now on.
    ITAB.rows[instruction.id, column] = first


# --------------------------------------------------------------------------- patterns
def filled(instruction: Instruction, variant: int) -> dict[int, Rule] | None:
    """The rules of an instruction as its pattern has them; None if its rule has to be traced."""
    key = "rules", variant
    answer: tuple[dict[int, Rule], list[Instruction]] | None = answered(
        instruction, lambda pattern: pattern.derived(key, lambda p: _Image(p, variant))
    )
    if answer is None:
        return None
    rules, instructions = answer
    instruction.needs += tuple([each.id for each in instructions])
    return rules


class _Image:
    """Rules of a prototype: what depends on the lengths as a function of them."""

    def __init__(self, pattern: Pattern, variant: int) -> None:
        self._rules = drafted(pattern.prototype, variant)
        self._instructions: dict[int, Instruction] = {}
        self._layouts: dict[int, Layout] = {}
        numbers: dict[str, Symbolic] = {}
        for segment, layout in self._rules.values():
            self._note(layout, numbers)
            self._note(segment.leaves, numbers)
            for step, each in zip(segment.steps, segment.instructions, strict=True):
                self._note((step.offset, each.layouts, tuple(each.attrs.values())), numbers)
                self._instructions[each.id] = each
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

    def fill(self, sizes: tuple[int, ...]) -> tuple[dict[int, Rule], list[Instruction]] | None:
        """The rules for some lengths, and their instructions; None if a question has another answer."""
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

        instructions: dict[int, Instruction] = {}
        for each in self._instructions.values():
            new = each
            if each.op.kind == nt.OUTPUT:
                continue
            if is_symbolic((*each.layouts, *each.outs)):
                attrs = {k: of(v) for k, v in each.attrs.items()}
                new = instruction(each.op, tuple(map(of, each.layouts)), **attrs)
            known = zip((each, *each.outputs), (new, *new.outputs), strict=True)
            instructions |= {old.id: other for old, other in known}
        rules = {}
        for i, (segment, layout) in self._rules.items():
            steps = tuple([
                Step(instructions[number].id, references, of(offset), mode)
                for number, references, offset, mode in segment.steps
            ])  # fmt: skip
            leaves = segment.leaves
            if any([type(value) is Symbolic for _, value in leaves]):
                leaves = tuple([Leaf(code, of(value)) for code, value in leaves])
            rules[i] = Rule(Segment(steps, leaves, segment.results, segment.noted), of(layout))
        return rules, list(instructions.values())
