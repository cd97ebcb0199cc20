"""Search for blocks in numba's typed IR: scalar statements that follow each other become one call.

Passive arithmetic on the way (``0.5 * h``) is part of a block as well, so that its operands are few; the
statement that computes it stays where it was, too, for other readers.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numba import types

from ...ops.table import TABLE
from ...scalar_tape import abi as sf
from ..numba_api import (
    AbstractTemplate,
    FunctionPass,
    definitions,
    ir,
    mk_unique_var,
    note_definitions,
    register_pass,
    signature,
)
from ..types import ACTIVE, ActiveScalar, is_active
from . import block_codegen, scalars
from .block import BlockOperand, BlockStatement, ScalarBlock, fits, squared

__all__ = ["NUMBERS", "FuseBlocks", "Group"]

NUMBERS = (types.Integer, types.Float, types.Boolean)
_FOLDED = (operator.add, operator.sub, operator.mul, operator.truediv)


class Group:
    """Statements of the IR that may become a block, which is put where the first of its results is used."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        #: the block's operand or statement that a variable holds
        self.held: dict[str, BlockOperand] = {}
        self.ins: dict[str, Any] = {}
        #: passive results that it computes itself
        self.passive: dict[str, BlockOperand] = {}
        self.statements: list[BlockStatement] = []
        self._numbers: dict[tuple[Any, ...], int] = {}

    def add(self, name: str, operands: list[BlockOperand]) -> BlockOperand:
        """Add a statement, unless it is there."""
        statement = BlockStatement(name, tuple(operands))
        number = self._numbers.setdefault(statement.key, len(self.statements))
        if number == len(self.statements):
            self.statements.append(statement)
        return BlockOperand("statement", number)


@register_pass(mutates_CFG=False, analysis_only=False)
class FuseBlocks(FunctionPass):  # type: ignore[misc]
    """Put a call of a generated function in the place of scalar statements that follow each other."""

    _name = "tapegrad_fuse_blocks"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        """Rewrite the typed IR."""
        self.state, self.types, self.calls = state, state.typemap, state.calltypes
        if state.func_ir.is_generator or not any(map(is_active, self.types.values())):
            return False
        blocks = state.func_ir.blocks
        self.uses = Counter(
            v.name for block in blocks.values() for s in block.body for v in s.list_vars()
        )
        for block in blocks.values():
            block.body = self._fused(block)
        note_definitions(state.func_ir)
        return True

    # ------------------------------------------------------------------ statements
    def _fused(self, block: Any) -> list[Any]:
        body: list[Any] = []
        group = Group()
        #: passive sums and products of this block so far whose operands have not changed since
        self.passive: dict[str, tuple[str, list[Any]]] = {}
        for statement in block.body:
            if self._take(group, statement):
                if len(group.statements) >= sf.MOST_OPS // 2 or len(group.ins) >= sf.MOST_INS // 2:
                    body += self._closed(group, block.scope)
                    group = Group()
                continue
            if group.taken and self._touches(group, statement):
                body += self._closed(group, block.scope)
                group = Group()
                if self._take(group, statement):
                    continue
            body.append(statement)
            self._note(statement)
        return body

    def _note(self, statement: Any) -> None:
        """Note the operation of a passive statement, and forget operations on the variable that it writes."""
        if not isinstance(statement, ir.Assign):
            return
        target = statement.target.name
        self.passive = {
            name: (row, variables) for name, (row, variables) in self.passive.items()
            if name != target and all(v.name != target for v in variables)
        }  # fmt: skip
        value = statement.value
        if isinstance(value, ir.Var) and value.name in self.passive:
            self.passive[target] = self.passive[value.name]
        binary = isinstance(value, ir.Expr) and value.op == "binop" and value.fn in _FOLDED
        if binary and self.types[target] == types.float64:
            variables = [value.lhs, value.rhs]
            plain = all(isinstance(self.types[v.name], NUMBERS) for v in variables)
            if plain and all(v.name != target for v in variables):
                self.passive[target] = scalars.ROWS[value.fn], variables

    def _touches(self, group: Group, statement: Any) -> bool:
        """Return True if a statement reads the group's results, or changes its operands."""
        if statement.is_terminator:
            return True
        names = {v.name for v in statement.list_vars()}
        target = statement.target.name if isinstance(statement, ir.Assign) else None
        changed = target in group.ins or target in group.passive
        return changed or not names.isdisjoint(group.held)

    def _take(self, group: Group, statement: Any) -> bool:
        """Add a statement to the group; False if no block can hold it."""
        if not isinstance(statement, ir.Assign) or self.types[statement.target.name] != ACTIVE:
            return False
        value, target = statement.value, statement.target.name
        if isinstance(value, ir.Var):
            if value.name not in group.held:
                return False
            operand = group.held[value.name]
        elif isinstance(value, ir.Expr):
            operation = self._row(value)
            if operation is None:
                return False
            name, variables = operation
            name, variables = squared(name, variables, self._number)
            if not fits(name):
                return False
            operand = group.add(name, [self._operand(group, v) for v in variables])
        else:
            return False
        group.held[target] = operand
        group.taken.append(statement)
        return True

    def _operation(self, value: Any) -> tuple[Any, list[Any]] | None:
        """Function and operands of an operation."""
        if not isinstance(value, ir.Expr):
            return None
        if value.op in ("binop", "inplace_binop"):
            return value.fn, [value.lhs, value.rhs]
        if value.op == "unary":
            return value.fn, [value.value]
        if value.op == "call" and not (value.kws or value.vararg):
            return getattr(self.types[value.func.name], "typing_key", None), list(value.args)
        return None

    def _row(self, value: Any) -> tuple[str, list[Any]] | None:
        """The row that an expression stands for, and its operands."""
        operation = self._operation(value)
        if operation is None:
            return None
        function, variables = operation
        name = scalars.ROWS.get(function) if isinstance(function, Hashable) else None
        kinds = [self.types[v.name] for v in variables]
        plain = all(isinstance(k, (ActiveScalar, *NUMBERS)) for k in kinds)
        if name is None or not plain or len(variables) != TABLE[name].arity:
            return None
        return name, variables

    def _operand(self, group: Group, variable: Any) -> BlockOperand:
        if variable.name in group.held:
            return group.held[variable.name]
        if self.types[variable.name] != ACTIVE:
            number = self._number(variable)
            if number is not None:
                return BlockOperand("number", number)
            passive = self.passive.get(variable.name)
            if passive is not None:
                if variable.name not in group.passive:
                    row, variables = passive
                    operands = [self._operand(group, v) for v in variables]
                    group.passive[variable.name] = group.add(row, operands)
                return group.passive[variable.name]
        group.ins.setdefault(variable.name, variable)
        return BlockOperand("in", variable.name)

    def _number(self, variable: Any, depth: int = 0) -> float | None:
        """The value of a variable that is known when the function is compiled."""
        expressions = definitions(self.state.func_ir, variable.name)
        if (
            len(expressions) != 1
            or depth > 20
            or not isinstance(self.types[variable.name], NUMBERS)
        ):
            return None
        value = expressions[0]
        if isinstance(value, ir.Const | ir.Global | ir.FreeVar):
            known = value.value
            plain = isinstance(known, bool | int | float | np.floating | np.integer)
            return float(known) if plain and abs(known) < 2.0**53 else None
        if isinstance(value, ir.Var):
            return self._number(value, depth + 1)
        if isinstance(value, ir.Expr) and value.op == "unary" and value.fn is operator.neg:
            x = self._number(value.value, depth + 1)
            return None if x is None else -x
        if isinstance(value, ir.Expr) and value.op == "binop" and value.fn in _FOLDED:
            x, y = self._number(value.lhs, depth + 1), self._number(value.rhs, depth + 1)
            if x is None or y is None or (value.fn is operator.truediv and y == 0.0):
                return None
            return float(value.fn(x, y))
        return None

    # ------------------------------------------------------------------ a block
    def _closed(self, group: Group, scope: Any) -> list[Any]:
        """The statements that take a group's place."""
        uses_inside = Counter(v.name for s in group.taken for v in s.list_vars())
        leaving = [name for name in group.held if self.uses[name] > uses_inside[name]]
        live = sorted({group.held[name].value for name in leaving})
        needed = set(live)
        for j in reversed(range(len(group.statements))):
            if j in needed:
                operands = group.statements[j].operands
                needed |= {x.value for x in operands if x.kind == "statement"}
        block, ins = self._block(group, sorted(needed), live)
        # One statement may have brought a long passive expression.
        if len(block.statements) < 2 or not block.fits:
            return group.taken
        return self._call(block, ins, scope, group, leaving)

    def _block(
        self, group: Group, needed: list[int], live: list[int]
    ) -> tuple[ScalarBlock, list[Any]]:
        """The block of the statements that are needed, and the variables of its operands."""
        names: dict[str, int] = {}
        place = {j: i for i, j in enumerate(needed)}

        def renamed(x: BlockOperand) -> BlockOperand:
            if x.kind == "statement":
                return BlockOperand("statement", place[x.value])
            if x.kind == "in":
                return BlockOperand("in", names.setdefault(x.value, len(names)))
            return x

        statements = tuple(
            BlockStatement(s.name, tuple(map(renamed, s.operands)))
            for s in (group.statements[j] for j in needed)
        )
        active = tuple(is_active(self.types[name]) for name in names)
        block = ScalarBlock(active, statements, tuple(place[j] for j in live))
        return block, [group.ins[name] for name in names]

    def _called(
        self, key: Callable[..., Any], ins: list[Any], result: Any, scope: Any, loc: Any
    ) -> tuple[list[Any], Any]:
        """The IR that calls a generated function, and the call."""
        kinds = tuple(self.types[v.name] for v in ins)
        wanted = signature(result, *kinds)
        template = type(
            "ActiveBlock", (AbstractTemplate,), {"key": key, "generic": lambda *_: wanted}
        )
        self.state.targetctx.insert_func_defn([(key, key, kinds)])
        kind = types.Function(template)
        sig = kind.get_call_type(self.state.typingctx, kinds, {})
        function = self._variable("$active_block", kind, scope, loc)
        call = ir.Expr.call(function, ins, (), loc)
        self.calls[call] = sig
        return [ir.Assign(ir.Global("active_block", key, loc), function, loc)], call

    def _variable(self, name: str, kind: Any, scope: Any, loc: Any) -> Any:
        variable = ir.Var(scope, mk_unique_var(name), loc)
        self.types[variable.name] = kind
        return variable

    def _call(
        self, block: ScalarBlock, ins: list[Any], scope: Any, group: Group, leaving: list[str]
    ) -> list[Any]:
        """The IR that calls a block's function and takes its results apart."""
        loc = group.taken[0].loc
        result = types.UniTuple(ACTIVE, len(block.live))
        body, call = self._called(block_codegen.BlockLowering(block), ins, result, scope, loc)
        results = self._variable("$active_results", result, scope, loc)
        body.append(ir.Assign(call, results, loc))
        place = {j: i for i, j in enumerate(sorted({group.held[name].value for name in leaving}))}
        targets = {s.target.name: s.target for s in group.taken}
        for name in leaving:
            index = place[group.held[name].value]
            part = ir.Expr.static_getitem(results, index, None, loc)
            self.calls[part] = self.state.typingctx.resolve_static_getitem(result, index)
            body.append(ir.Assign(part, targets[name], loc))
        return body
