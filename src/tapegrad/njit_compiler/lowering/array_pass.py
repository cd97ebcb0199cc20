"""Array expressions: operations on whole arrays become one loop, with a block for each element.

``np.tanh(a * b + 0.5)`` is three operations with an array each. `FuseArrays` finds, in numba's typed IR,
those whose results only the next one uses, and puts one loop in their place, which records a block
(block.py) an element: numba's own pass does so for plain arrays.
"""

from __future__ import annotations

from collections.abc import Hashable
from types import SimpleNamespace
from typing import Any

from numba import types

from ...ops.table import TABLE
from ..numba_api import UfuncKernel, ir, numpy_ufunc_kernel, register_pass, signature
from ..types import ACTIVE, ActiveArray, ActiveScalar
from . import scalars
from .block import BlockOperand, ScalarBlock, fits, squared
from .block_codegen import BlockLowering
from .block_pass import NUMBERS, FuseBlocks, Group

__all__ = ["FuseArrays"]

#: expressions that change nothing
_PURE = (
    "binop",
    "unary",
    "getattr",
    "arrayexpr",
    "cast",
    "static_getitem",
    "getitem",
    "build_tuple",
)


class LoopLowering:
    """Generator of an array expression's code, which numba calls: loops, with a block an element."""

    def __init__(self, block: ScalarBlock) -> None:
        self.scalar = BlockLowering(block)

    def __call__(self, context: Any, builder: Any, sig: Any, args: Any) -> Any:
        """Generate the loops over all elements, with broadcasting."""
        kinds = [k.dtype if isinstance(k, types.Array) else k for k in sig.args]
        inner, scalar = signature(types.UniTuple(ACTIVE, 1), *kinds), self.scalar
        over = [i for i, k in enumerate(sig.args) if isinstance(k, types.Array)]

        class Kernel(UfuncKernel):  # type: ignore[misc]
            def generate(self, *elements: Any) -> Any:
                values = list(args)  # scalars are the same for all elements
                for i, element in zip(over, elements, strict=True):
                    values[i] = element
                results = scalar(self.context, self.builder, inner, values)
                return self.builder.extract_value(results, 0)

        count = len(over)
        shape = SimpleNamespace(nin=count, nout=1, nargs=count + 1, __name__="active_expression")
        outer = signature(sig.return_type, *(sig.args[i] for i in over))
        arrays = [args[i] for i in over]
        return numpy_ufunc_kernel(context, builder, outer, arrays, shape, Kernel)


class CallLowering:
    """Generator of one operation's code, which numba calls: the code that the operation has alone."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, context: Any, builder: Any, sig: Any, args: Any) -> Any:
        """Generate the operation."""
        return context.get_function(self.function, sig)(builder, args)


@register_pass(mutates_CFG=False, analysis_only=False)
class FuseArrays(FuseBlocks):
    """Put one loop in the place of array operations that make an expression."""

    _name = "tapegrad_fuse_arrays"

    def _fused(self, block: Any) -> list[Any]:
        body: list[Any] = []
        #: operations that wait, by the variable that is to hold the result
        self.waiting: dict[str, Any] = {}
        for statement in block.body:
            if self._waits(statement):
                self.waiting[statement.target.name] = statement
                continue
            if self.waiting and not self._is_pure(statement):
                body += self._flushed(block.scope)
            body += self._apart(statement, block.scope)
        return body

    def _operation(self, value: Any) -> tuple[Any, list[Any]] | None:
        """Function and operands of an operation that changes nothing."""
        if isinstance(value, ir.Expr) and value.op == "arrayexpr":
            return value.expr  # type: ignore[no-any-return]
        if isinstance(value, ir.Expr) and value.op == "inplace_binop":
            return None
        return super()._operation(value)

    def _waits(self, statement: Any) -> bool:
        """Return True for an operation on arrays whose result has no name in the user's code."""
        if not isinstance(statement, ir.Assign) or not statement.target.is_temp:
            return False
        if not isinstance(self.types[statement.target.name], ActiveArray):
            return False
        operation = self._operation(statement.value)
        return (
            operation is not None
            and isinstance(operation[0], Hashable)
            and operation[0] in scalars.ROWS
        )

    def _is_pure(self, statement: Any) -> bool:
        """Return True if a statement changes nothing and needs no operation that waits."""
        if not isinstance(statement, ir.Assign) or not statement.target.is_temp:
            return False
        if any(v.name in self.waiting for v in statement.list_vars()):
            return False
        value = statement.value
        return not isinstance(value, ir.Expr) or value.op in _PURE

    # ------------------------------------------------------------------ loops in their place
    def _flushed(self, scope: Any) -> list[Any]:
        waiting, self.waiting = self.waiting, {}
        inner = {
            v.name for s in waiting.values() for v in s.value.list_vars()
            if v.name in waiting and self.uses[v.name] == 2  # written once, read once
        }  # fmt: skip
        body: list[Any] = []
        for name, statement in waiting.items():
            if name not in inner:
                body += self._loop(statement, waiting, inner, scope)
        return body

    def _loop(
        self, statement: Any, waiting: dict[str, Any], inner: set[str], scope: Any
    ) -> list[Any]:
        """The IR that computes an operation together with those that it alone needs."""
        group, merged = Group(), [statement]

        def operand(tree: Any) -> BlockOperand | None:
            if isinstance(tree, ir.Var) and tree.name in inner:
                merged.append(waiting[tree.name])
                tree = self._operation(waiting[tree.name].value)
            return operation(tree) if isinstance(tree, tuple) else self._leaf(group, tree)

        def operation(tree: Any) -> BlockOperand | None:
            function, args = tree
            name = scalars.ROWS.get(function) if isinstance(function, Hashable) else None
            operands = [operand(x) for x in args]
            if name is None or len(operands) != TABLE[name].arity:
                return None
            known = [x for x in operands if x is not None]
            if len(known) < len(operands):
                return None
            name, known = squared(name, known, lambda x: x.value if x.kind == "number" else None)
            return group.add(name, known) if fits(name) else None

        root = operation(self._operation(statement.value))
        if root is not None and len(group.statements) > 1:
            block, ins = self._block(group, list(range(len(group.statements))), [root.value])
            if block.fits:
                result, loc = self.types[statement.target.name], statement.loc
                definition, call = self._called(LoopLowering(block), ins, result, scope, loc)
                return [*definition, ir.Assign(call, statement.target, loc)]
        return [
            s
            for w in waiting.values()
            if any(w is x for x in merged)
            for s in self._apart(w, scope)
        ]

    def _apart(self, statement: Any, scope: Any) -> list[Any]:
        """One call for each operation of numba's array expression, whose loop takes no active scalars."""
        value = getattr(statement, "value", None)
        if not isinstance(value, ir.Expr) or value.op != "arrayexpr":
            return [statement]
        if not any(isinstance(self.types[v.name], ActiveScalar) for v in value.list_vars()):
            return [statement]
        body: list[Any] = []

        def variable(tree: Any) -> Any:
            if isinstance(tree, ir.Const):
                kind = self.state.typingctx.resolve_value_type(tree.value)
                constant = self._variable("$active_number", kind, scope, statement.loc)
                body.append(ir.Assign(tree, constant, statement.loc))
                return constant
            return called(tree) if isinstance(tree, tuple) else tree

        def called(tree: Any, target: Any = None) -> Any:
            function, args = tree
            ins = [variable(x) for x in args]
            kinds = tuple(self.types[v.name] for v in ins)
            result = self.state.typingctx.resolve_function_type(function, kinds, {}).return_type
            definition, call = self._called(
                CallLowering(function), ins, result, scope, statement.loc
            )
            target = target or self._variable("$active_part", result, scope, statement.loc)
            body.extend([*definition, ir.Assign(call, target, statement.loc)])
            return target

        called(value.expr, statement.target)
        return body

    def _leaf(self, group: Group, leaf: Any) -> BlockOperand | None:
        """A number, scalar or array that an expression begins with."""
        if isinstance(leaf, ir.Const):
            plain = isinstance(leaf.value, bool | int | float) and abs(leaf.value) < 2.0**53
            return BlockOperand("number", float(leaf.value)) if plain else None
        kind = self.types[leaf.name]
        element = kind.dtype if isinstance(kind, types.Array) else kind
        if not isinstance(element, (ActiveScalar, *NUMBERS)):
            return None
        number = self._number(leaf)
        if number is not None:
            return BlockOperand("number", number)
        group.ins.setdefault(leaf.name, leaf)
        return BlockOperand("in", leaf.name)
