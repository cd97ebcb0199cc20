"""Values in LLVM code: Python's operators on them write instructions.

`Scalar` is such a value; `evaluate` runs a formula that is written as a Python function on them, so that it
needs no numba. emitter.py writes rows of the op table so.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from llvmlite import ir

__all__ = [
    "F64", "I1", "I64", "Scalar", "Untraceable", "evaluate", "external", "float_bits", "intrinsic", "select",
]  # fmt: skip

F64, I64, I1 = ir.DoubleType(), ir.IntType(64), ir.IntType(1)
_FLOATS = (F64, ir.FloatType())


class Untraceable(Exception):
    """Raised for what has no code here: a branch, or a function that is not known."""


class Scalar:
    """A number or truth value in LLVM code; operations on it write instructions.

    With `exact`, operations stay as they are written under ``fastmath``, too, which would remove terms that
    carry rounding errors: numba gives its flags to instructions that have none. So these get a flag that
    means nothing there.
    """

    def __init__(self, builder: Any, value: Any, *, exact: bool = False) -> None:
        self.builder, self.value, self.exact = builder, value, exact

    def new(self, value: Any) -> Scalar:
        """Make another value of the same formula."""
        return Scalar(self.builder, value, exact=self.exact)

    @property
    def is_float(self) -> bool:
        """True for a floating-point number."""
        return self.value.type in _FLOATS

    def other(self, x: Any) -> Any:
        """Return an operand as a value of the same type."""
        if isinstance(x, Scalar):
            if x.value.type != self.value.type:
                raise Untraceable
            return x.value
        if not isinstance(x, int | float) or self.value.type == I1:
            raise Untraceable
        if not self.is_float and not isinstance(x, int):
            raise Untraceable
        return ir.Constant(self.value.type, float(x) if self.is_float else x)

    def _instruction(self, floating: str | None, whole: str | None, *values: Any) -> Scalar:
        name = floating if self.is_float else whole
        if name is None or (self.value.type == I1 and name not in ("and_", "or_", "xor")):
            raise Untraceable
        if name == floating and self.exact:
            flag = "contract" if name == "fdiv" else "arcp"
            return self.new(getattr(self.builder, name)(*values, flags=(flag,)))
        return self.new(getattr(self.builder, name)(*values))

    def __add__(self, x: Any) -> Scalar:
        return self._instruction("fadd", "add", self.value, self.other(x))

    def __radd__(self, x: Any) -> Scalar:
        return self._instruction("fadd", "add", self.other(x), self.value)

    def __sub__(self, x: Any) -> Scalar:
        return self._instruction("fsub", "sub", self.value, self.other(x))

    def __rsub__(self, x: Any) -> Scalar:
        return self._instruction("fsub", "sub", self.other(x), self.value)

    def __mul__(self, x: Any) -> Scalar:
        return self._instruction("fmul", "mul", self.value, self.other(x))

    def __rmul__(self, x: Any) -> Scalar:
        return self._instruction("fmul", "mul", self.other(x), self.value)

    def __truediv__(self, x: Any) -> Scalar:
        return self._instruction("fdiv", None, self.value, self.other(x))

    def __rtruediv__(self, x: Any) -> Scalar:
        return self._instruction("fdiv", None, self.other(x), self.value)

    def __and__(self, x: Any) -> Scalar:
        return self._instruction(None, "and_", self.value, self.other(x))

    def __or__(self, x: Any) -> Scalar:
        return self._instruction(None, "or_", self.value, self.other(x))

    def __xor__(self, x: Any) -> Scalar:
        return self._instruction(None, "xor", self.value, self.other(x))

    def __lshift__(self, x: Any) -> Scalar:
        return self._instruction(None, "shl", self.value, self.other(x))

    def __rshift__(self, x: Any) -> Scalar:
        return self._instruction(None, "ashr", self.value, self.other(x))

    def __invert__(self) -> Scalar:
        if self.is_float:
            raise Untraceable
        return self.new(self.builder.not_(self.value))

    def __neg__(self) -> Scalar:
        return self._instruction("fneg", "neg", self.value)

    def __abs__(self) -> Scalar:
        return intrinsic("llvm.fabs", self)

    def _compared(self, sign: str, x: Any) -> Scalar:
        other = self.other(x)
        if not self.is_float:
            # A truth value is one bit, which would be -1 or 0 with a sign.
            is_bit = self.value.type == I1
            whole = self.builder.icmp_unsigned if is_bit else self.builder.icmp_signed
            return self.new(whole(sign, self.value, other))
        # Python's comparisons with NaN: all are false, but !=
        compare = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        return self.new(compare(sign, self.value, other, flags=("arcp",) if self.exact else ()))

    def __lt__(self, x: Any) -> Scalar:
        return self._compared("<", x)

    def __le__(self, x: Any) -> Scalar:
        return self._compared("<=", x)

    def __gt__(self, x: Any) -> Scalar:
        return self._compared(">", x)

    def __ge__(self, x: Any) -> Scalar:
        return self._compared(">=", x)

    def __eq__(self, x: object) -> Any:
        return self._compared("==", x)

    def __ne__(self, x: object) -> Any:
        return self._compared("!=", x)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise Untraceable  # a branch


# --------------------------------------------------------------------------- words of formulas
def intrinsic(name: str, *operands: Scalar) -> Scalar:
    """Call a function that LLVM has for numbers of the operands' type."""
    first = operands[0]
    if not first.is_float:
        raise Untraceable
    kind = first.value.type
    signature = ir.FunctionType(kind, [kind] * len(operands))
    function = first.builder.module.declare_intrinsic(name, [kind], signature)
    return first.new(first.builder.call(function, [first.other(x) for x in operands]))


def external(name: str, *operands: Scalar) -> Scalar:
    """Call a function of libm, which may be called earlier, or once for many times."""
    first = operands[0]
    if first.value.type != F64:
        raise Untraceable
    module = first.builder.module
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(F64, [F64] * len(operands)), name)
        for attribute in ("readonly", "nounwind"):
            function.attributes.add(attribute)
    return first.new(first.builder.call(function, [first.other(x) for x in operands]))


def fma(*values: Any) -> Scalar:
    """Multiply the first two and add the third, rounded once."""
    one = next(v for v in values if isinstance(v, Scalar))
    return one.new(one.builder.fma(*map(one.other, values)))


def select(condition: Scalar, x: Any, y: Any) -> Scalar:
    """``x if condition else y``, both of which are computed."""
    if isinstance(x, Scalar):
        one = x
    elif isinstance(y, Scalar):
        one = y
    else:
        one = Scalar(condition.builder, ir.Constant(F64, float(x)), exact=condition.exact)
    return one.new(one.builder.select(condition.value, one.other(x), one.other(y)))


def float_bits(x: Scalar) -> Scalar:
    """The bits of a float64 as an integer."""
    if x.value.type != F64:
        raise Untraceable
    return x.new(x.builder.bitcast(x.value, I64))


def bits_float(x: Scalar) -> Scalar:
    """The float64 of which an integer has the bits."""
    return x.new(x.builder.bitcast(x.value, F64))


def sqrt(x: Scalar) -> Scalar:
    """Square root."""
    return intrinsic("llvm.sqrt", x)


#: the words of native/words.py that formulas use
_WORDS = {
    "fma": fma, "select": select, "float_bits": float_bits, "bits_float": bits_float, "sqrt": sqrt,
}  # fmt: skip


def _traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A formula that takes traced values, as do those that it calls."""
    scope: dict[str, Any] = dict(_WORDS)
    for name in function.__code__.co_names:
        if name in function.__globals__ and name not in scope:
            value = function.__globals__[name]
            # another formula, which numba has compiled for a kernel, or not yet
            formula = getattr(value, "py_func", None) or getattr(value, "function", None)
            scope[name] = value if formula is None else _traced(formula)
    return FunctionType(function.__code__, scope)


def evaluate(function: Callable[..., Any], *values: Scalar) -> Scalar:
    """Evaluate a formula that is written as a Python function.

    Raises
    ------
    Untraceable
        If it uses an operation that `Scalar` does not have; the code written until then is not used.
    """
    try:
        result = _traced(function)(*values)
    except TypeError:  # an operation that there is none for, or a function of Python's
        raise Untraceable from None
    if not isinstance(result, Scalar):
        raise Untraceable
    return result
