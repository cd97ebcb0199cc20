"""Formulas as LLVM code, without numba: a Python function runs on values that write LLVM instructions.

numba takes 40 ms for each function that it compiles, be it one operation, and there are several in an
elementary function's formula. Running it takes one. Formulas that cannot be traced so (with a branch, or a
function that is not known here) are left to numba (`Untraceable`).
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from llvmlite import ir

from ...ops.kernels.vectorised import Elementary
from ..numba_api import cgutils

__all__ = ["Untraceable", "call_elementary", "evaluate"]

_F64, _I64, _I1 = ir.DoubleType(), ir.IntType(64), ir.IntType(1)


class Untraceable(Exception):
    """Raised for a formula that needs numba."""


class Traced:
    """A float64, int64 or truth value in LLVM code.

    With `exact`, operations stay as they are written under ``fastmath``, too, which would remove terms that
    carry rounding errors: numba gives its flags to instructions that have none. So these get a flag that
    means nothing there.
    """

    def __init__(self, builder: Any, value: Any, *, exact: bool = False) -> None:
        self.builder, self.value, self.exact = builder, value, exact

    def new(self, value: Any) -> Traced:
        """Another value of the same formula."""
        return Traced(self.builder, value, exact=self.exact)

    def other(self, x: Any) -> Any:
        """An operand as a value of the same type."""
        if isinstance(x, Traced):
            if x.value.type != self.value.type:
                raise Untraceable
            return x.value
        if not isinstance(x, int | float) or self.value.type == _I1:
            raise Untraceable
        if self.value.type == _I64 and not isinstance(x, int):
            raise Untraceable
        return ir.Constant(self.value.type, float(x) if self.value.type == _F64 else x)

    def _instruction(self, floating: str | None, whole: str | None, *values: Any) -> Traced:
        name = floating if self.value.type == _F64 else whole
        if name is None or self.value.type == _I1:
            raise Untraceable
        if name == floating and self.exact:
            flag = "contract" if name == "fdiv" else "arcp"
            return self.new(getattr(self.builder, name)(*values, flags=(flag,)))
        return self.new(getattr(self.builder, name)(*values))

    def __add__(self, x: Any) -> Traced:
        return self._instruction("fadd", "add", self.value, self.other(x))

    def __radd__(self, x: Any) -> Traced:
        return self._instruction("fadd", "add", self.other(x), self.value)

    def __sub__(self, x: Any) -> Traced:
        return self._instruction("fsub", "sub", self.value, self.other(x))

    def __rsub__(self, x: Any) -> Traced:
        return self._instruction("fsub", "sub", self.other(x), self.value)

    def __mul__(self, x: Any) -> Traced:
        return self._instruction("fmul", "mul", self.value, self.other(x))

    def __rmul__(self, x: Any) -> Traced:
        return self._instruction("fmul", "mul", self.other(x), self.value)

    def __truediv__(self, x: Any) -> Traced:
        return self._instruction("fdiv", None, self.value, self.other(x))

    def __rtruediv__(self, x: Any) -> Traced:
        return self._instruction("fdiv", None, self.other(x), self.value)

    def __and__(self, x: Any) -> Traced:
        return self._instruction(None, "and_", self.value, self.other(x))

    def __or__(self, x: Any) -> Traced:
        return self._instruction(None, "or_", self.value, self.other(x))

    def __xor__(self, x: Any) -> Traced:
        return self._instruction(None, "xor", self.value, self.other(x))

    def __lshift__(self, x: Any) -> Traced:
        return self._instruction(None, "shl", self.value, self.other(x))

    def __neg__(self) -> Traced:
        return self._instruction("fneg", "neg", self.value)

    def __abs__(self) -> Traced:
        if self.value.type != _F64:
            raise Untraceable
        return self.new(_intrinsic(self.builder, "llvm.fabs", self.value))

    def _compared(self, sign: str, x: Any) -> Traced:
        other = self.other(x)
        if self.value.type == _I64:
            return self.new(self.builder.icmp_signed(sign, self.value, other))
        # Python's comparisons with NaN: all are false, but !=
        compare = self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered
        return self.new(compare(sign, self.value, other, flags=("arcp",) if self.exact else ()))

    def __lt__(self, x: Any) -> Traced:
        return self._compared("<", x)

    def __le__(self, x: Any) -> Traced:
        return self._compared("<=", x)

    def __gt__(self, x: Any) -> Traced:
        return self._compared(">", x)

    def __ge__(self, x: Any) -> Traced:
        return self._compared(">=", x)

    def __eq__(self, x: object) -> Any:
        return self._compared("==", x)

    def __ne__(self, x: object) -> Any:
        return self._compared("!=", x)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise Untraceable  # a branch


def _intrinsic(builder: Any, name: str, *values: Any) -> Any:
    return builder.call(builder.module.declare_intrinsic(name, [_F64]), values)


def _fma(*values: Any) -> Traced:
    one = next(v for v in values if isinstance(v, Traced))
    return one.new(one.builder.fma(*map(one.other, values)))


def _select(condition: Traced, x: Any, y: Any) -> Traced:
    one = x if isinstance(x, Traced) else y
    return one.new(one.builder.select(condition.value, one.other(x), one.other(y)))


def _float_bits(x: Traced) -> Traced:
    return x.new(x.builder.bitcast(x.value, _I64))


def _bits_float(x: Traced) -> Traced:
    return x.new(x.builder.bitcast(x.value, _F64))


class _NumPy:
    """NumPy's functions in formulas that LLVM has, too."""

    def __getattr__(self, name: str) -> Any:
        if name not in ("sqrt", "log"):
            raise Untraceable
        return lambda x: x.new(_intrinsic(x.builder, f"llvm.{name}", x.other(x)))


#: the names that formulas use: words of intrinsic_stubs.py, and NumPy
_NAMES = {
    "fma": _fma, "select": _select, "float_bits": _float_bits, "bits_float": _bits_float,
    "np": _NumPy(),
}  # fmt: skip


def _traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A formula that takes traced values, as do those that it calls."""
    scope: dict[str, Any] = dict(_NAMES)
    for name in function.__code__.co_names:
        if name in function.__globals__ and name not in scope:
            value = function.__globals__[name]
            # another formula, which numba has compiled for a kernel, or not yet
            formula = getattr(value, "py_func", None) or getattr(value, "function", None)
            scope[name] = value if formula is None else _traced(formula)
    return FunctionType(function.__code__, scope)


def evaluate(builder: Any, function: Callable[..., Any], *values: Any, exact: bool = False) -> Any:
    """Result of a function of LLVM values; see `Traced` for `exact`.

    Raises
    ------
    Untraceable
        If it uses an operation that `Traced` does not have; the code written until then is not used.
    """
    try:
        result = _traced(function)(*[Traced(builder, x, exact=exact) for x in values])
    except TypeError:  # an operation that there is none for, or a function of Python's
        raise Untraceable from None
    if not isinstance(result, Traced):
        raise Untraceable
    return result.value


def call_elementary(builder: Any, elementary: Elementary, x: Any) -> Any:
    """An elementary function's value.

    The formula stands before the branch: so LLVM computes the part that two functions of a number share once.
    libm's is an external function: LLVM would take its intrinsic for cheap, and call it always.
    """
    value = evaluate(builder, elementary.formula.function, x, exact=True)
    place = cgutils.alloca_once_value(builder, value)
    inside = evaluate(builder, elementary.reaches.function, x, exact=True)
    with builder.if_then(builder.not_(inside), likely=False):
        kind = ir.FunctionType(_F64, [_F64])
        function = cgutils.get_or_insert_function(
            builder.module, kind, elementary.libm.name.removeprefix("libm_")
        )
        builder.store(builder.call(function, [x]), place)
    return builder.load(place)
