"""The opcodes of strips, from the op table.

A strip's opcode stands for a row of the op table and for which operands are values of the strip and
which are constants: ``mul`` has the kinds "ab", "ak" and "ka". `codes` lists them: every row that NumPy
has a loop for, and those that the rows' rules need. From a row come

- its primal, which ops/emitter.py writes;
- its derivative: its rule, traced (`template` of rules/traced_rule.py), statement by statement
  (`Rule.cotangents`);
- its template as data (`rules`), from which native_transpose.py writes the reverse pass as another strip.

So nothing about an op is said twice. cases.py makes a switch of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import bool_
from ..native import abi as nt
from ..native.machine_code import keep_for_ever, source_digest
from ..ops.instruction import Instruction, instruction
from ..ops.layout import SCALARS
from ..ops.table import TABLE, Op
from ..rules.traced_rule import Template, template
from . import abi as sf

__all__ = [
    "KINDS", "Code", "Rule", "code_of", "codes", "codes_of", "fingerprint", "has_code", "is_truth",
    "rules", "template_words",
]  # fmt: skip

KINDS = {1: ("a",), 2: ("ab", "ak", "ka"), 3: ("abc",)}


class Code(NamedTuple):
    """An opcode: a row of the op table, and the kind of each operand (a letter, ``k`` for a constant).

    Those that call kernels (called_rows.py) have attributes of their own, as pairs of name and value.
    """

    op: Op
    kinds: str
    attrs: tuple[tuple[str, Any], ...] = ()


def is_truth(entry: Op) -> bool:
    """Return True if a row's result is a truth value (rules combine them; bits of whole numbers, nobody)."""
    return entry.result in ("bool", "bits")


# --------------------------------------------------------------------------- opcodes
_OF_TRUTHS = (np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert)


def trace(entry: Op, attrs: tuple[tuple[str, Any], ...] = ()) -> Template | None:
    """A row's rule on scalars; None where there is none, or it is constant."""
    if entry.name == "where":
        layouts = (SCALARS[bool_.code], *SCALARS[:1], *SCALARS[:1])
    else:
        layouts = SCALARS[:1] * entry.arity
    if entry.vjp is None:
        return None
    return template(
        instruction(entry, layouts, **(dict(attrs) or dict.fromkeys(entry.parameters, 0)))
    )


@cache
def codes() -> tuple[Code | None, ...]:
    """All opcodes; the first four are no row's."""
    rows = [
        entry for entry in TABLE.values()
        if entry.loop in _OF_TRUTHS or (entry.loop and entry.result != "bits") or entry.scalar
    ]  # fmt: skip
    known = {entry.name for entry in rows}
    for entry in rows:  # grows
        traced = trace(entry)
        for s in () if traced is None else traced.statements:
            used = s.instruction.op
            if used.kind == nt.COMPUTE and used.name not in known:
                known.add(used.name)
                rows.append(used)
    return (None, None, None, None, *(Code(e, kinds) for e in rows for kinds in KINDS[e.arity]))


@cache
def _numbers() -> dict[tuple[str, str], int]:
    return {(c.op.name, c.kinds): i for i, c in enumerate(codes()) if c is not None}


def code_of(name: str, kinds: str) -> int:
    """The opcode of a row and the kinds of its operands.

    Raises
    ------
    KeyError
        If strips have no such opcode.
    """
    return _numbers()[name, kinds]


def has_code(entry: Op) -> bool:
    """Return True for a row that has opcodes of its own."""
    return entry.arity in KINDS and (entry.name, KINDS[entry.arity][0]) in _numbers()


@cache
def fingerprint() -> str:
    """Return a digest of all that recording code depends on: opcodes, primals, rules, native code."""
    return source_digest("ops.all_rows", "scalar_tape.cases", "scalar_tape.native_recorder")[:12]


# --------------------------------------------------------------------------- derivatives
class Rule:
    """The rule of an opcode: its statements, and the slot of each active operand's part."""

    def __init__(self, code: Code) -> None:
        traced = trace(code.op, code.attrs)
        self.code, self.traced = code, traced
        slots = enumerate(() if traced is None else traced.results)
        self.results: dict[int, int] = {i: slot for i, slot in slots if slot is not None}
        self.keep([i for i, kind in enumerate(code.kinds) if kind != "k"])

    def keep(self, operands: Sequence[int]) -> None:
        """Leave out what cotangents of other operands need."""
        traced = self.traced
        self.results = {i: slot for i, slot in self.results.items() if i in operands}
        wanted = {} if traced is None else {
            s.slot: s for result in self.results.values() for s in traced.part(result).statements
        }  # fmt: skip
        self.statements = [wanted[slot] for slot in sorted(wanted)]
        #: views (`expand` of a zero) stand for their bases
        self.alias = {
            s.slot: s.args[0] for s in self.statements if s.instruction.op.kind == nt.VIEW
        }

    def resolved(self, slot: int) -> int:
        """Return the slot whose value a slot has: a view's base, or itself."""
        while slot in self.alias:
            slot = self.alias[slot]
        return slot

    def reads(self, known: Collection[int] = ()) -> set[str | int]:
        """Values that the rule reads beside the cotangent: "out", and operands by number.

        `known` are slots that hold their values already.
        """
        if self.traced is None or not self.results:
            return set()
        used = {self.resolved(a) for s in self.statements if s.slot not in known for a in s.args}
        used |= {self.resolved(r) for r in self.results.values()}
        return {n for slot, n in self.traced.inputs.items() if slot in used and n != "ct"}

    def partials(self) -> tuple[int, int] | None:
        """The derivative by each operand, if it is simple: 0 for 1, 1 for -1, 2 and 3 for an operand."""
        if self.traced is None or len(self.code.kinds) > 2 or not self.results:
            return None
        names = {slot: name for slot, name in self.traced.inputs.items()}
        by_slot = {s.slot: s for s in self.statements}
        partials = [0, 0]
        for i, result in self.results.items():
            if names.get(result) == "ct":
                continue
            s = by_slot.get(result)
            operands = [] if s is None else [names.get(a) for a in s.args]
            if s is not None and s.instruction.op.name == "neg" and operands == ["ct"]:
                partials[i] = 1
            elif s is not None and s.instruction.op.name == "mul" and operands[0] == "ct":
                if not isinstance(operands[1], int):
                    return None
                partials[i] = 2 + operands[1]
            else:
                return None
        return partials[0], partials[1]

    def cotangents(
        self, write: Callable[..., Any], ct: Any, out: Callable[[], Any],
        operand: Callable[[int], Any], constant: Callable[[float], Any],
        computed: Mapping[int, Any] | None = None,
        attributes: Sequence[Callable[[int], Any]] = (),
    ) -> dict[int, Any]:  # fmt: skip
        """Return the parts of the operands' cotangents, by operand.

        Parameters
        ----------
        write : callable
            ``write(row, values, attributes)`` gives the value of a statement of the rule.
        ct : Any
            Cotangent of the result.
        out, operand, constant : callable
            Give the result, an operand by number, and a number as values; called where they are needed.
        computed : mapping, optional
            Slots that have values already.
        attributes : sequence of callable
            For each of the row's parameters, the sum of its value and a number.
        """
        if self.traced is None:
            return {}
        values = dict(computed or {})
        constants = self.traced.constants
        getters: dict[int, Callable[[], Any]] = self.traced.bind(
            self.traced.leaves, lambda: ct, out, lambda i: lambda: operand(i),
            lambda slot: lambda: constant(float(constants[slot])),
        )  # fmt: skip

        def value_of(slot: int) -> Any:
            slot = self.resolved(slot)
            if slot not in values:
                values[slot] = getters[slot]()
            return values[slot]

        for s in self.statements:
            if s.slot not in self.alias and s.slot not in values:
                step = s.instruction
                orders = [step.attrs[name] for name in step.op.parameters]
                if attributes and orders:  # they are counted from those of the row itself
                    orders = [add(n) for add, n in zip(attributes, orders, strict=True)]
                values[s.slot] = write(step.op, [value_of(a) for a in s.args], orders)
        return {i: value_of(result) for i, result in self.results.items()}


# --------------------------------------------------------------------------- rules as data
def template_words(
    numbers: Sequence[int],
    references: Sequence[int],
    parameters: int = 0,
    values: Sequence[int] = (),
) -> list[int]:
    """The words of a template's statement (`X_*`), of a row's opcodes."""
    return [
        len(references), parameters, *[*values, 0, 0][:2], *[*numbers, 0, 0][:3],
        *[*references, 0, 0][:3],
    ]  # fmt: skip


def codes_of(entry: Op) -> list[int]:
    """Return the opcodes of a row, one for the kinds of operands (`KINDS`)."""
    return [code_of(entry.name, kinds) for kinds in KINDS[entry.arity]]


def _numbers_of(step: Instruction) -> list[int]:
    return codes_of(step.op)


class _Rules:
    """The rules of opcodes as data; more may come, so their memory is that of all that there may be.

    Attributes
    ----------
    words : numpy.ndarray
        What native_transpose.py reads (`T_*`): addresses of rules, and opcodes.
    """

    def __init__(self) -> None:
        self._rows = np.zeros((sf.MOST_CODES, sf.RULE_WIDTH), np.int64)
        self._rows[:, sf.RULE_RESULT : sf.RULE_RESULT + 3] = -1
        self._statements = np.zeros((8 * sf.MOST_CODES, sf.X_WIDTH), np.int64)
        self._constants = np.zeros(8 * sf.MOST_CODES)
        self._counts = [0, 0]
        tables = self._rows, self._statements, self._constants
        keep_for_ever(tables)
        opcodes = code_of("add", "ab"), code_of("clone", "a"), code_of("mul", "ab")
        self.words = np.array([*(table.ctypes.data for table in tables), *opcodes], np.int64)
        for number, code in enumerate(codes()):
            if code is not None:
                self.add(number, Rule(code), _numbers_of)

    def add(self, number: int, rule: Rule, numbers_of: Callable[[Instruction], list[int]]) -> None:
        """Write the rule of an opcode; `numbers_of` gives the opcodes of its statements' instructions.

        Raises
        ------
        MemoryError
            If there are too many.
        """
        statements: list[list[int]] = []
        constants: list[float] = []
        row = np.array(self._rows[number])
        first, first_constant = self._counts
        _write_rule(row, rule, statements, constants, self._counts, numbers_of)
        if first + len(statements) > len(self._statements) or first_constant + len(constants) > len(
            self._constants
        ):
            raise MemoryError("there are too many functions with rules of their own")
        if statements:
            self._statements[first : first + len(statements)] = statements
        self._constants[first_constant : first_constant + len(constants)] = constants
        self._rows[number] = row
        self._counts = [first + len(statements), first_constant + len(constants)]


@cache
def rules() -> _Rules:
    """Return the rules of all opcodes."""
    return _Rules()


def _write_rule(
    row: np.ndarray, rule: Rule, statements: list[list[int]], constants: list[float],
    counts: Sequence[int], numbers_of: Callable[[Instruction], list[int]],
) -> None:  # fmt: skip
    """Write an opcode's rule (`RULE_*`); its statements and constants are appended to the lists."""
    code = rule.code
    relative = bool(code.op.parameters) and not code.attrs
    row[sf.RULE_START] = counts[0]
    row[sf.RULE_EXTRA] = relative or len(code.kinds) == 3
    row[sf.RULE_CONSTANTS] = sum(1 << i for i, kind in enumerate(code.kinds) if kind == "k")
    if rule.traced is None:
        return
    traced = rule.traced

    def constant(slot: int) -> int:
        constants.append(float(traced.constants[slot]))
        return nt.REF_CONSTANT + counts[1] + len(constants) - 1

    references = traced.bind(
        traced.leaves, nt.REF_CT, nt.REF_OUT, lambda i: nt.REF_OPERAND + i, constant
    )
    count = 0
    for s in rule.statements:
        if s.slot in rule.alias:
            continue
        step = s.instruction
        values = [step.attrs[name] for name in step.op.parameters]
        parameters = (2 if relative else 1) if values else 0
        operands = [references[rule.resolved(a)] for a in s.args]
        statements.append(template_words(numbers_of(step), operands, parameters, values))
        references[s.slot] = nt.REF_STATEMENT + count
        count += 1
    row[sf.RULE_COUNT] = count
    for i, result in rule.results.items():
        row[sf.RULE_RESULT + i] = references[rule.resolved(result)]
