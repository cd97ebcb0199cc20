"""Values of native code and their kinds: integers, truth values, floating-point numbers, typed pointers.

All integers are computed in 64 bits, whatever the size of the memory that they come from; a truth value is a
bit, and 0 or 1 where a number is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from llvmlite import ir

__all__ = [
    "BIT", "F32", "F64", "INT", "INT32", "NOTHING", "WIDE", "Element", "Kind", "MismatchError", "Value",
    "common", "constant", "converted", "pointer", "product", "truth",
]  # fmt: skip

_I64, _I32, _I1 = ir.IntType(64), ir.IntType(32), ir.IntType(1)


class MismatchError(TypeError):
    """Raised where a value of one kind is wanted, and there is one that cannot become it."""


class Kind(NamedTuple):
    """A kind of values.

    Attributes
    ----------
    name : str
    type : llvmlite.ir.Type
    element : Element or None
        What a pointer points to.
    parts : tuple of Kind
        Of a tuple.
    """

    name: str
    type: Any
    element: Element | None = None
    parts: tuple[Kind, ...] = ()


class Element(NamedTuple):
    """A number in memory.

    Attributes
    ----------
    name : str
    type : llvmlite.ir.Type
    loaded : Kind
        Kind of the value that is read.
    signed : bool
    """

    name: str
    type: Any
    loaded: Kind
    signed: bool = True

    @property
    def alignment(self) -> int | None:
        """Bytes that its address is a multiple of, where that is not its size: 8 for a wide number."""
        return 8 if self.loaded == WIDE else None


INT, BIT = Kind("int", _I64), Kind("bit", _I1)
F64, F32 = Kind("float64", ir.DoubleType()), Kind("float32", ir.FloatType())
NOTHING = Kind("nothing", ir.VoidType())
#: a number of 16 bytes, which native code moves as it is
WIDE = Kind("wide", ir.IntType(128))
#: an ``int`` of C, as an operand or result of its functions only
INT32 = Kind("int32", _I32)


class Value(NamedTuple):
    """A value that native code computes."""

    kind: Kind
    value: Any


def pointer(name: str, type: Any, loaded: Kind, signed: bool = True) -> Kind:
    """The kind of a pointer."""
    return Kind(f"{name}*", type.as_pointer(), Element(name, type, loaded, signed))


def product(parts: Sequence[Kind]) -> Kind:
    """The kind of a tuple."""
    name = ", ".join(part.name for part in parts)
    return Kind(f"({name})", ir.LiteralStructType([p.type for p in parts]), None, tuple(parts))


def constant(number: Any) -> Value:
    """A number of Python's as a value."""
    if isinstance(number, bool):
        return Value(BIT, ir.Constant(_I1, int(number)))
    if isinstance(number, int):
        if not -(1 << 63) <= number < 1 << 63:
            raise MismatchError(f"{number} is no integer of 64 bits")
        return Value(INT, ir.Constant(_I64, number))
    if isinstance(number, float):
        return Value(F64, ir.Constant(F64.type, number))
    raise MismatchError(f"native code has no {type(number).__name__}")


def common(kinds: Sequence[Kind]) -> Kind:
    """The kind that values of some kinds become together."""
    first = kinds[0]
    if all(kind == first for kind in kinds):
        return first
    if all(kind in (INT, BIT) for kind in kinds):
        return INT
    if all(kind in (INT, BIT, F64, F32) for kind in kinds):
        return F64  # as NumPy: a float32 and an integer of 64 bits
    if first.parts and len({len(kind.parts) for kind in kinds}) == 1:
        return product([common(parts) for parts in zip(*(k.parts for k in kinds), strict=True)])
    raise MismatchError("no kind has both " + " and ".join(kind.name for kind in kinds))


def converted(builder: Any, x: Value, kind: Kind) -> Value:
    """A value as one of another kind.

    Raises
    ------
    MismatchError
        If that would lose something: a float does not become an integer by itself.
    """
    if x.kind == kind:
        return x
    if kind == BIT:
        return truth(builder, x)
    if kind == INT and x.kind == BIT:
        return Value(INT, builder.zext(x.value, _I64))
    if kind == INT32 and x.kind in (INT, BIT):
        return Value(INT32, builder.trunc(converted(builder, x, INT).value, _I32))
    if kind in (F64, F32) and x.kind == INT:
        return Value(kind, builder.sitofp(x.value, kind.type))
    if kind in (F64, F32) and x.kind == BIT:
        return Value(kind, builder.uitofp(x.value, kind.type))
    if kind == F64 and x.kind == F32:
        return Value(F64, builder.fpext(x.value, F64.type))
    if kind == F32 and x.kind == F64:
        return Value(F32, builder.fptrunc(x.value, F32.type))
    raise MismatchError(f"{x.kind.name} where {kind.name} is wanted")


def truth(builder: Any, x: Value) -> Value:
    """Compare a value with zero: the bit that it is not."""
    if x.kind == BIT:
        return x
    if x.kind == INT:
        return Value(BIT, builder.icmp_signed("!=", x.value, ir.Constant(_I64, 0)))
    if x.kind in (F64, F32):
        zero = ir.Constant(x.kind.type, 0.0)
        return Value(BIT, builder.fcmp_unordered("!=", x.value, zero))
    raise MismatchError(f"{x.kind.name} has no truth value")
