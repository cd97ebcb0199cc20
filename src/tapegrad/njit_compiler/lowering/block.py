"""Blocks: scalar statements of a function that run one after the other, recorded as one.

A Lorenz step is 71 scalar operations, three numbers in and three out. Recorded one by one, each costs a
statement of the strip: 34 bytes to write and to read again, and a jump by its opcode in the sweep. As a
block they cost three. `ScalarBlock` holds the statements; block_codegen.py generates the code that records
a block, and its reverse pass, from the rows' rules; block_pass.py finds blocks in numba's typed IR.

A block keeps the results that leave it, and those that its reverse pass needs and that cost more than a few
products to compute again (`kept`). Everything else is computed again from its operands. Sine and cosine take
less time together than one after the other, so a block with one has the other, for the derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from ...ops.table import TABLE
from ...scalar_tape import abi as sf
from ...scalar_tape.opcodes import Code, Rule, is_truth

__all__ = ["BlockOperand", "BlockStatement", "ScalarBlock", "fits", "squared"]

_MOST = sf.MOST_OPS, sf.MOST_INS, sf.MOST_OUTS


class BlockOperand(NamedTuple):
    """An operand of the block, a statement of it, or a number."""

    kind: str  # "in", "statement" or "number"
    value: Any


class BlockStatement(NamedTuple):
    """A scalar statement of a block: a row of the op table and its operands."""

    name: str
    operands: tuple[BlockOperand, ...]

    @property
    def key(self) -> tuple[Any, ...]:
        """A key that is equal for statements that compute the same."""
        return self.name, *[(x.kind, repr(x.value)) for x in self.operands]  # 0.0 is not -0.0


class ScalarBlock:
    """The statements of a block, and which of their results are on the strip.

    Attributes
    ----------
    active : tuple of bool
        For each operand, True if its type is active.
    statements : tuple of Statement
        Those given, and companions (`Op.companion`).
    moves : list of bool
        For each statement, True if an operand of it is active.
    live : tuple of int
        The statements whose results leave the block.
    shared : list of dict
        For each statement, by slots of its rule, statements that have computed the slot's value.
    kept : tuple of int
        Others whose results the reverse pass needs.
    """

    def __init__(
        self,
        active: tuple[bool, ...],
        statements: tuple[BlockStatement, ...],
        live: tuple[int, ...],
    ) -> None:
        self.active, self.live = active, live
        self.moves: list[bool] = []
        for s in statements:
            self.moves.append(any(map(self.is_active, s.operands)))
        place = {s.key: j for j, s in enumerate(statements)}
        self.statements = statements
        for s in (s for s, moves in zip(statements, self.moves, strict=True) if moves):
            companion = TABLE[s.name].companion
            if companion is not None:
                other = s._replace(name=companion)
                if other.key not in place:
                    place[other.key] = len(self.statements)
                    self.statements += (other,)
        self.moves += [True] * (len(self.statements) - len(statements))
        self.rules = [Rule(self.code(s)) for s in self.statements]
        self.shared = [self._shared(j, place) for j in range(len(self.statements))]
        self.kept = self._kept()

    @property
    def outs(self) -> tuple[int, ...]:
        """The statements whose results are on the strip, in order."""
        return self.live + self.kept

    @property
    def slots(self) -> int:
        """Statements of the strip that it takes: for each result, and for each two operands."""
        return max(len(self.outs), (len(self.active) + 2) // 2)

    @property
    def fits(self) -> bool:
        """True if native code has room for it."""
        sizes = len(self.statements), len(self.active), len(self.outs)
        return all(n <= most for n, most in zip(sizes, _MOST, strict=True))

    def is_active(self, x: BlockOperand) -> bool:
        """Return True if an operand takes part in differentiation."""
        if x.kind == "number":
            return False
        known = self.moves if x.kind == "statement" else self.active
        return bool(known[x.value])

    def code(self, s: BlockStatement) -> Code:
        """The opcode of a statement."""
        if len(s.operands) == 1:
            return Code(TABLE[s.name], "a")
        x, y = map(self.is_active, s.operands)
        return Code(TABLE[s.name], "ab" if x == y else "ak" if x else "ka")

    def _operand(self, j: int, name: int | str) -> BlockOperand:
        """An operand of a statement by number, or ("out") its result."""
        return (
            self.statements[j].operands[name]
            if isinstance(name, int)
            else BlockOperand("statement", j)
        )

    def _shared(self, j: int, place: dict[tuple[Any, ...], int]) -> dict[int, int]:
        """Slots of a statement's rule whose values other statements are."""
        rule = self.rules[j]
        if rule.traced is None:
            return {}
        operands = {s: self._operand(j, n) for s, n in rule.traced.inputs.items() if n != "ct"}
        shared = {}
        for s in rule.statements:
            args = [operands[a] for a in map(rule.own, s.args) if a in operands]
            key = BlockStatement(s.instruction.op.name, tuple(args)).key
            if len(args) == len(s.args) and key in place:
                shared[s.slot] = place[key]
        return shared

    def _kept(self) -> tuple[int, ...]:
        """The results that rules read and that are not cheap to compute."""
        wanted: set[int] = set()
        for j, rule in enumerate(self.rules):
            if not self.moves[j]:
                continue
            read = [self._operand(j, name) for name in rule.reads(self.shared[j])]
            wanted |= {x.value for x in read if x.kind == "statement"} | {*self.shared[j].values()}
        kept = []
        for j in reversed(range(len(self.statements))):
            if j not in wanted or j in self.live:
                continue
            if not TABLE[self.statements[j].name].cheap:
                kept.append(j)
                continue
            wanted |= {x.value for x in self.statements[j].operands if x.kind == "statement"}
        return tuple(reversed(kept))


@cache
def fits(name: str) -> bool:
    """Return True if a block can hold a row: numbers in, a number out, and rules without attributes."""
    entry = TABLE[name]
    if is_truth(entry) or entry.arity > 2 or entry.parameters:
        return False
    statements = Rule(Code(entry, {1: "a", 2: "ab"}[entry.arity])).statements
    return not any(s.instruction.op.parameters for s in statements)


def squared(
    name: str, operands: list[Any], number: Callable[[Any], float | None]
) -> tuple[str, list[Any]]:
    """Row and operands, where a square is a product, also for its derivative."""
    if name == "pow" and number(operands[1]) == 2.0:
        return "mul", [operands[0], operands[0]]
    return name, operands
