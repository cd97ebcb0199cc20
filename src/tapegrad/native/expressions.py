"""Expressions of native code as LLVM code.

What is known when the code is written stays a Python object: numbers, names of modules, words, helpers. An
operation on such gives another one, so ``METHOD_CALL - 1`` is a number in the code, and ``if SIZE == 8`` no
branch. All else is a `Value`.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import operator
from collections import ChainMap
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from . import words
from .kinds import (
    BIT,
    F32,
    F64,
    INT,
    Kind,
    MismatchError,
    Value,
    common,
    constant,
    converted,
    product,
    truth,
)  # fmt: skip

__all__ = ["Expressions", "TranslationError"]

_KNOWN: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
    ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_, ast.BitXor: operator.xor, ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert, ast.Not: operator.not_,
}  # fmt: skip
_FLOAT: dict[type, str] = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
_WHOLE: dict[type, str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.LShift: "shl", ast.RShift: "ashr",
    ast.BitAnd: "and_", ast.BitOr: "or_", ast.BitXor: "xor",
}  # fmt: skip
_COMPARED: dict[type, str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
#: functions of Python's that are C's
_FUNCTIONS: dict[Any, words.Word] = {
    math.sin: words.libm_sin, math.cos: words.libm_cos, math.log: words.libm_log,
    math.exp: words.libm_exp, math.tanh: words.libm_tanh, math.erf: words.libm_erf,
    math.erfc: words.libm_erfc,
}  # fmt: skip
#: a flag that means nothing on sums, products and comparisons (nor ``contract`` on quotients): under
#: ``fastmath`` numba gives its own to instructions that have none, and takes infinities and NaN out of them
_NO_FLAG = "arcp"
#: types that numbers are cast to: bits that are kept, and whether the highest is a sign
_CASTS: dict[Any, tuple[int, bool]] = {
    np.int64: (64, True), int: (64, True), np.int32: (32, True), np.uint32: (32, False), np.uint8: (8, False),
    np.int16: (16, True), np.int8: (8, True),
}  # fmt: skip


class TranslationError(Exception):
    """Raised for text that is no native code; the message names the place."""


class Expressions:
    """Writes expressions of a function.

    Parameters
    ----------
    function : callable
        Whose text it is.
    call : callable
        ``call(builder, helper, values)`` writes a call of a helper.
    builder : llvmlite.ir.IRBuilder
    """

    def __init__(
        self, function: Callable[..., Any], call: Callable[..., Value | None], builder: Any
    ) -> None:
        self.builder = builder
        self._call_helper = call
        self._scope = ChainMap(
            dict(inspect.getclosurevars(function).nonlocals), function.__globals__
        )
        self.variables: dict[str, Any] = {}
        #: variables that have a value on each way to the place that is being written
        self.assigned: set[str] = set()
        self.locals = frozenset(function.__code__.co_varnames)
        self._owner = function.__name__

    # ------------------------------------------------------------------ values
    def value(self, x: Any) -> Value:
        """A value of what may be a Python object."""
        if isinstance(x, Value):
            return x
        if isinstance(x, tuple):
            parts = [self.value(part) for part in x]
            kind = product([part.kind for part in parts])
            together = ir.Constant(kind.type, ir.Undefined)
            for i, part in enumerate(parts):
                together = self.builder.insert_value(together, part.value, i)
            return Value(kind, together)
        return constant(x)

    def converted(self, x: Any, kind: Kind) -> Any:
        """LLVM value of a kind."""
        if kind in (F64, F32) and isinstance(x, int):
            return ir.Constant(kind.type, float(x))
        x = self.value(x)
        if kind.parts and len(x.kind.parts) == len(kind.parts):
            return self.value(tuple(
                Value(part, self.converted(each, part))
                for each, part in zip(self.parts(x), kind.parts, strict=True)
            )).value  # fmt: skip
        return converted(self.builder, x, kind).value

    def parts(self, x: Any) -> tuple[Any, ...]:
        """The parts of a tuple."""
        if not isinstance(x, Value):
            return tuple(x)
        if not x.kind.parts:
            raise MismatchError(f"{x.kind.name} is no tuple")
        return tuple(
            Value(kind, self.builder.extract_value(x.value, i))
            for i, kind in enumerate(x.kind.parts)
        )

    def expression(self, node: ast.expr) -> Any:
        """An expression: a value, or a Python object."""
        write = getattr(self, f"_{type(node).__name__.lower()}", None)
        if write is None:
            raise MismatchError(f"native code has no {type(node).__name__}")
        return write(node)

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        name = node.id
        if name in self.variables:
            if name not in self.assigned:
                raise MismatchError(
                    f"{name} of {self._owner} is read, but only some of the ways here assign it"
                )
            variable = self.variables[name]
            return Value(variable.kind, self.builder.load(variable.place))
        if name in self.locals:  # which hides what a module has of this name
            raise MismatchError(f"{name} is read above its first assignment")
        if name in self._scope:
            return self._scope[name]
        return getattr(builtins, name)

    def _attribute(self, node: ast.Attribute) -> Any:
        return getattr(self.expression(node.value), node.attr)

    def _tuple(self, node: ast.Tuple) -> Any:
        return tuple(self.expression(x) for x in node.elts)

    # ------------------------------------------------------------------ operations
    def _binop(self, node: ast.BinOp) -> Any:
        return self.operation(
            type(node.op), self.expression(node.left), self.expression(node.right)
        )

    def operation(self, kind: type, a: Any, b: Any) -> Any:
        """An operation of two operands."""
        if not isinstance(a, Value) and not isinstance(b, Value):
            return _KNOWN[kind](a, b)
        if kind in (ast.LShift, ast.RShift) and isinstance(b, int) and not 0 <= b < 64:
            raise MismatchError(f"a shift by {b}: integers have 64 bits")
        x, y = self._pair(a, b)
        result = common([x.kind, y.kind])
        if kind is ast.Pow:
            if b == 2 and (isinstance(b, int) or x.kind in (F64, F32)):
                return self.operation(ast.Mult, x, x)
            return words.libm_pow.write(self.builder, [x, y])
        if kind is ast.Div and result in (INT, BIT):
            result = F64
        if result == BIT and kind not in (ast.BitAnd, ast.BitOr, ast.BitXor):
            result = INT
        left, right = self.converted(x, result), self.converted(y, result)
        if result in (F64, F32):
            if kind not in _FLOAT:
                raise MismatchError(f"native code has no {kind.__name__} of floats")
            flag = "contract" if kind is ast.Div else _NO_FLAG
            write = getattr(self.builder, _FLOAT[kind])
            return Value(result, write(left, right, flags=(flag,)))
        if kind in (ast.FloorDiv, ast.Mod):
            return Value(result, self._divided(kind, left, right))
        return Value(result, getattr(self.builder, _WHOLE[kind])(left, right))

    def _pair(self, a: Any, b: Any) -> tuple[Value, Value]:
        """Two operands as values; beside a float an integer that is known becomes one, whatever its size."""
        if any(isinstance(x, Value) and x.kind in (F64, F32) for x in (a, b)):
            a, b = (float(x) if isinstance(x, int) else x for x in (a, b))
        return self.value(a), self.value(b)

    def _divided(self, kind: type, x: Any, y: Any) -> Any:
        """Quotient or remainder as Python's: rounded down, the remainder has the sign of `y`."""
        builder, zero = self.builder, ir.Constant(INT.type, 0)
        rest = builder.srem(x, y)
        differs = builder.icmp_signed("<", builder.xor(rest, y), zero)
        fixes = builder.and_(differs, builder.icmp_signed("!=", rest, zero))
        if kind is ast.Mod:
            return builder.add(rest, builder.select(fixes, y, zero))
        return builder.sub(builder.sdiv(x, y), builder.zext(fixes, INT.type))

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        x = self.expression(node.operand)
        if not isinstance(x, Value):
            return _KNOWN[type(node.op)](x)
        builder = self.builder
        if isinstance(node.op, ast.Not):
            return self._negated(x)
        if isinstance(node.op, ast.USub) and x.kind in (F64, F32):
            return Value(x.kind, builder.fneg(x.value))
        whole = self.converted(x, INT)
        if isinstance(node.op, ast.USub):
            return Value(INT, builder.neg(whole))
        return Value(INT, builder.not_(whole) if isinstance(node.op, ast.Invert) else whole)

    def _negated(self, x: Any) -> Any:
        if not isinstance(x, Value):
            return not x
        return Value(BIT, self.builder.not_(truth(self.builder, x).value))

    def _compare(self, node: ast.Compare) -> Any:
        left = self.expression(node.left)
        result: Any = True
        for kind, other in zip(node.ops, node.comparators, strict=True):
            right = self.expression(other)  # all of a chain are evaluated: none has an effect
            part = self._compared(type(kind), left, right)
            result = part if result is True else self.operation(ast.BitAnd, result, part)
            left = right
        return result

    def _compared(self, kind: type, a: Any, b: Any) -> Any:
        if kind in (ast.In, ast.NotIn):  # one of a few numbers that are written out
            first, *rest = (self._compared(ast.Eq, a, each) for each in self.parts(b))
            for each in rest:
                first = self.operation(ast.BitOr, first, each)
            return first if kind is ast.In else self._negated(first)
        if not isinstance(a, Value) and not isinstance(b, Value):
            return _KNOWN[kind](a, b)
        x, y = self._pair(a, b)
        both = common([x.kind, y.kind])
        both = INT if both == BIT else both
        left, right = self.converted(x, both), self.converted(y, both)
        if both in (F64, F32):
            builder = self.builder
            write = builder.fcmp_unordered if kind is ast.NotEq else builder.fcmp_ordered
            return Value(BIT, write(_COMPARED[kind], left, right, flags=(_NO_FLAG,)))
        return Value(BIT, self.builder.icmp_signed(_COMPARED[kind], left, right))

    # ------------------------------------------------------------------ choices
    def _boolop(self, node: ast.BoolOp) -> Any:
        """``x and y`` as Python has it: the operand that decides."""
        wanted = isinstance(node.op, ast.And)
        first, *rest = node.values
        x = self.expression(first)
        others: ast.expr = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        if not isinstance(x, Value):
            return self.expression(others) if bool(x) is wanted else x
        decides = truth(self.builder, x).value
        return self._chosen(
            decides if wanted else self.builder.not_(decides),
            lambda: self.expression(others),
            lambda: x,
        )

    def _ifexp(self, node: ast.IfExp) -> Any:
        condition = self.expression(node.test)
        if not isinstance(condition, Value):
            return self.expression(node.body if condition else node.orelse)
        bit = truth(self.builder, condition).value
        return self._chosen(
            bit, lambda: self.expression(node.body), lambda: self.expression(node.orelse)
        )

    def _chosen(self, bit: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Value:
        """One of two expressions, of which one is evaluated."""
        builder = self.builder
        blocks = [builder.append_basic_block(name) for name in ("yes", "no", "chosen")]
        builder.cbranch(bit, *blocks[:2])
        results = []
        for block, write in zip(blocks, (yes, no), strict=False):
            builder.position_at_end(block)
            results.append((self.value(write()), builder.block))
        kind = common([x.kind for x, _ in results])
        values = []
        for x, block in results:
            builder.position_at_end(block)
            values.append((self.converted(x, kind), builder.block))
            builder.branch(blocks[2])
        builder.position_at_end(blocks[2])
        phi = builder.phi(kind.type)
        for x, block in values:
            phi.add_incoming(x, block)
        return Value(kind, phi)

    def branch(self, node: ast.expr, yes: Any, no: Any) -> None:
        """Jump to one of two blocks."""
        builder = self.builder
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.branch(node.operand, no, yes)
        elif isinstance(node, ast.BoolOp):
            for each in node.values[:-1]:
                further = builder.append_basic_block("further")
                if isinstance(node.op, ast.And):
                    self.branch(each, further, no)
                else:
                    self.branch(each, yes, further)
                builder.position_at_end(further)
            self.branch(node.values[-1], yes, no)
        else:
            builder.cbranch(truth(builder, self.value(self.expression(node))).value, yes, no)

    # ------------------------------------------------------------------ memory
    def _subscript(self, node: ast.Subscript) -> Any:
        base = self.expression(node.value)
        index = self.expression(node.slice)
        if not isinstance(base, Value):
            return base[index]
        if base.kind.parts:
            return self.parts(base)[index]
        return self.load(base.kind, self.place(base, index))

    def place(self, base: Value, index: Any) -> Any:
        """Address of an element behind a pointer."""
        if base.kind.element is None:
            raise MismatchError(f"{base.kind.name} has no elements")
        return self.builder.gep(base.value, [self.converted(index, INT)])

    def load(self, kind: Kind, place: Any) -> Value:
        """The number at a place."""
        element: Any = kind.element
        x = self.builder.load(place, align=element.alignment)
        if isinstance(element.type, ir.IntType) and element.type.width < 64:
            x = (self.builder.sext if element.signed else self.builder.zext)(x, INT.type)
        return Value(element.loaded, x)

    def store(self, kind: Kind, place: Any, x: Any) -> None:
        """Write a number to a place."""
        element: Any = kind.element
        value = self.converted(x, element.loaded)
        if isinstance(element.type, ir.IntType) and element.type.width < 64:
            value = self.builder.trunc(value, element.type)
        self.builder.store(value, place, align=element.alignment)

    # ------------------------------------------------------------------ calls
    def _call(self, node: ast.Call) -> Any:
        function = self.expression(node.func)
        operands = [self.expression(x) for x in node.args]
        if node.keywords:
            raise MismatchError("native code takes no keywords")
        function = _FUNCTIONS.get(function, function)
        if isinstance(function, words.Word):
            return function.write(self.builder, operands)
        if isinstance(function, words.helper):
            return self._call_helper(self.builder, function, [self.value(x) for x in operands])
        if function in _CASTS and len(operands) == 1:
            return self._cast(operands[0], *_CASTS[function])
        if function in (np.float64, np.float32, float) and len(operands) == 1:
            kind = F32 if function is np.float32 else F64
            return Value(kind, self.converted(operands[0], kind))
        if function is abs:
            return self._absolute(self.value(operands[0]))
        if function in (min, max):
            x, y = operands
            return self._extreme(ast.Lt if function is min else ast.Gt, x, y)
        raise MismatchError(f"native code does not call {getattr(function, '__name__', function)}")

    def _cast(self, x: Any, bits: int, signed: bool) -> Value:
        x = self.value(x)
        is_float = x.kind in (F64, F32)
        whole = self.builder.fptosi(x.value, INT.type) if is_float else self.converted(x, INT)
        if bits < 64:
            part = self.builder.trunc(whole, ir.IntType(bits))
            whole = (self.builder.sext if signed else self.builder.zext)(part, INT.type)
        return Value(INT, whole)

    def _absolute(self, x: Value) -> Value:
        if x.kind in (F64, F32):
            signature = ir.FunctionType(x.kind.type, [x.kind.type])
            module = self.builder.module
            function = module.declare_intrinsic("llvm.fabs", [x.kind.type], signature)
            return Value(x.kind, self.builder.call(function, [x.value]))
        whole = self.converted(x, INT)
        negative = self.builder.icmp_signed("<", whole, ir.Constant(INT.type, 0))
        return Value(INT, self.builder.select(negative, self.builder.neg(whole), whole))

    def _extreme(self, kind: type, a: Any, b: Any) -> Any:
        """``min(a, b)`` or ``max(a, b)``: the first, unless the second is less or greater."""
        x, y = self._pair(a, b)
        result = common([x.kind, y.kind])
        x, y = (Value(result, self.converted(v, result)) for v in (x, y))
        other = self._compared(kind, y, x)
        return Value(result, self.builder.select(other.value, y.value, x.value))
