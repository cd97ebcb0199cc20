"""LLVM code of scalar arithmetic: the one emitter of elementwise code.

Hot programs (rules/fusion.py), the opcodes of strips (scalar_tape/cases.py), and blocks and array
expressions under `@tg.njit` (njit_compiler/lowering) are emitted from rows of the op table: a row's loop, or
its body, runs on values that write LLVM instructions (`Scalar` of scalar_code.py). No numba takes part: it
takes 40 ms for each function that it compiles, be it one operation; running a row here takes some 20 us.

Start reading at `emit`, then `UFUNCS`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir

from ..base.dtypes import dtype, float32, float64
from ..native import kinds
from ..native.targets import has_fma
from ..native.ufunc_loops import LibraryUfunc
from .kernels.gamma import normal_distribution, polygamma_of
from .kernels.pointwise import FUNCTIONS
from .kernels.vectorised import ELEMENTARY, Elementary
from .scalar_code import (
    F64,
    I1,
    I64,
    Scalar,
    Untraceable,
    evaluate,
    external,
    float_bits,
    intrinsic,
    select,
)  # fmt: skip
from .table import Op

__all__ = ["UFUNCS", "emit", "emit_ufunc", "emit_with"]


# --------------------------------------------------------------------------- NumPy's functions
def _libm(elementary: Elementary, operands: Sequence[Scalar]) -> Scalar:
    """An elementary function by C's library.

    It is not marked as pure: LLVM would take it for cheap, and call it where a formula has the result.
    """
    values = [kinds.Value(kinds.F64, x.value) for x in operands]
    assert elementary.libm is not None
    result = elementary.libm.write(operands[0].builder, values)
    assert result is not None
    return operands[0].new(result.value)


def _formula(elementary: Elementary, operands: Sequence[Scalar]) -> tuple[Scalar, Scalar | None]:
    """An elementary function in line, and where that holds, unless it does everywhere.

    That of float32 is rounded from float64.
    """
    first = operands[0]
    builder, kind = first.builder, first.value.type
    if not first.is_float or any(x.value.type != kind for x in operands):
        raise Untraceable
    wide = [x.value if kind == F64 else builder.fpext(x.value, F64) for x in operands]
    exact = [Scalar(builder, x, exact=True) for x in wide]
    value = evaluate(elementary.formula.function, *exact).value
    result = first.new(value if kind == F64 else builder.fptrunc(value, kind))
    if elementary.reaches is None:
        return result, None
    return result, first.new(evaluate(elementary.reaches.function, *exact).value)


def _in_line(name: str) -> Callable[..., Scalar]:
    """An elementary function of a number on its own: its formula, or libm's where that does not hold.

    The formula stands before the branch: so LLVM computes the part that two functions of a number share once.
    """

    def write(x: Scalar) -> Scalar:
        if x.value.type != F64:
            raise Untraceable
        if not has_fma():
            return _libm(ELEMENTARY[name], [x])
        value, inside = _formula(ELEMENTARY[name], [x])
        if inside is None:
            return value
        builder = x.builder
        before = builder.block
        with builder.if_then(builder.not_(inside.value), likely=False):
            slow = _libm(ELEMENTARY[name], [x])
            after = builder.block
        result = builder.phi(x.value.type)
        result.add_incoming(value.value, before)
        result.add_incoming(slow.value, after)
        return x.new(result)

    return write


def _of_libm(name: str) -> Callable[..., Scalar]:
    return lambda *operands: external(name, *operands)


def _of_llvm(name: str) -> Callable[..., Scalar]:
    return lambda *operands: intrinsic(f"llvm.{name}", *operands)


def _larger(x: Scalar, y: Scalar, wins: Callable[[Any, Any], Any], *, nan: bool) -> Scalar:
    """The operand that wins; with `nan` NaN does, else the other one."""
    if not x.is_float:
        return select(wins(x, y), x, y)
    kept = select(x != x, x, y) if nan else select(y != y, x, y)
    either_nan = x.new(x.builder.fcmp_unordered("uno", x.value, x.other(y)))
    return select(either_nan, kept, select(wins(x, y), x, y))


def _remainder(x: Scalar, y: Scalar) -> tuple[Scalar, Scalar]:
    """Quotient and remainder with the sign of `y`, as NumPy has them (``npy_divmod``)."""
    rest = x.new(x.builder.frem(x.value, x.other(y)))
    quotient = (x - rest) / y
    differs = (y < 0.0) ^ (rest < 0.0)
    is_exact = rest == 0.0
    fixes = differs & ~is_exact
    rest = select(fixes, rest + y, rest)
    quotient = select(fixes, quotient - 1.0, quotient)
    rest = select(is_exact, intrinsic("llvm.copysign", _zero(x), y), rest)
    whole = intrinsic("llvm.floor", quotient)
    whole = select(quotient - whole > 0.5, whole + 1.0, whole)
    zero = intrinsic("llvm.copysign", _zero(x), x / y)
    whole = select(quotient == 0.0, zero, whole)
    return select(y == 0.0, x / y, whole), rest


def _rest_like_dividend(x: Scalar, y: Scalar) -> Scalar:
    """Remainder with the sign of `x`."""
    if not x.is_float:  # where division by zero is 0
        raise Untraceable
    return x.new(x.builder.frem(x.value, x.other(y)))


def _zero(x: Scalar) -> Scalar:
    return x.new(ir.Constant(x.value.type, 0.0))


def _floor_divide(x: Scalar, y: Scalar) -> Scalar:
    return _remainder(x, y)[0]


def _sign(x: Scalar) -> Scalar:
    """NumPy's sign: NaN of NaN."""
    one = x.new(ir.Constant(x.value.type, 1.0))
    return select(x > 0.0, one, select(x < 0.0, -one, select(x == 0.0, _zero(x), x)))


def _log_add(exp: str, scale: float, same: float) -> Callable[[Scalar, Scalar], Scalar]:
    """``log(exp(x) + exp(y))`` to a base, as NumPy computes it."""

    def write(x: Scalar, y: Scalar) -> Scalar:
        gap = x - y
        part = external("log1p", external(exp, -abs(gap)))
        part = part if scale == 1.0 else part * scale
        return select(x == y, x + same, select(gap > 0.0, x, y) + part)

    return write


def _has_sign(x: Scalar) -> Scalar:
    return float_bits(x) < 0


def _truth(x: Scalar) -> Scalar:
    return x if x.value.type == I1 else x != 0.0


#: NumPy's functions on values
UFUNCS: dict[np.ufunc, Callable[..., Scalar]] = {
    np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul,
    np.true_divide: operator.truediv, np.negative: operator.neg, np.positive: lambda x: x,
    np.square: lambda x: x * x, np.reciprocal: lambda x: 1.0 / x, np.absolute: abs,
    np.power: _of_llvm("pow"), np.hypot: _of_libm("hypot"), np.sqrt: _of_llvm("sqrt"),
    np.cbrt: _of_libm("cbrt"),
    np.floor_divide: _floor_divide, np.remainder: lambda x, y: _remainder(x, y)[1],
    np.fmod: _rest_like_dividend,
    np.less: operator.lt, np.less_equal: operator.le, np.equal: operator.eq,
    np.not_equal: operator.ne, np.greater: operator.gt, np.greater_equal: operator.ge,
    np.bitwise_and: operator.and_, np.bitwise_or: operator.or_, np.bitwise_xor: operator.xor,
    np.invert: operator.invert,
    np.logical_and: lambda x, y: _truth(x) & _truth(y),
    np.logical_or: lambda x, y: _truth(x) | _truth(y),
    np.logical_xor: lambda x, y: _truth(x) ^ _truth(y), np.logical_not: lambda x: ~_truth(x),
    np.isnan: lambda x: x != x, np.isinf: lambda x: abs(x) == math.inf,
    np.isfinite: lambda x: abs(x) < math.inf, np.signbit: _has_sign, np.sign: _sign,
    np.maximum: lambda x, y: _larger(x, y, operator.ge, nan=True),
    np.minimum: lambda x, y: _larger(x, y, operator.le, nan=True),
    np.fmax: lambda x, y: _larger(x, y, operator.ge, nan=False),
    np.fmin: lambda x, y: _larger(x, y, operator.le, nan=False),
    np.floor: _of_llvm("floor"), np.ceil: _of_llvm("ceil"), np.rint: _of_llvm("rint"),
    np.trunc: _of_llvm("trunc"), np.copysign: _of_llvm("copysign"),
    np.deg2rad: lambda x: x * (math.pi / 180.0), np.rad2deg: lambda x: x * (180.0 / math.pi),
    np.sin: _in_line("sin"), np.cos: _in_line("cos"), np.exp: _in_line("exp"),
    np.tanh: _in_line("tanh"), np.exp2: _of_libm("exp2"), np.expm1: _of_libm("expm1"),
    np.log: _of_llvm("log"), np.log2: _of_libm("log2"), np.log10: _of_libm("log10"),
    np.log1p: _of_libm("log1p"), np.logaddexp: _log_add("exp", 1.0, math.log(2.0)),
    np.logaddexp2: _log_add("exp2", math.log2(math.e), 1.0), np.tan: _of_libm("tan"),
    np.arcsin: _of_libm("asin"), np.arccos: _of_libm("acos"), np.arctan: _of_libm("atan"),
    np.arctan2: _of_libm("atan2"), np.sinh: _of_libm("sinh"), np.cosh: _of_libm("cosh"),
    np.arcsinh: _of_libm("asinh"), np.arccosh: _of_libm("acosh"), np.arctanh: _of_libm("atanh"),
}  # fmt: skip
#: our kernels that are elementary functions, on values
_KERNELS: dict[str, Callable[..., Scalar]] = {
    "sigmoid": _in_line("sigmoid"), "erf": _of_libm("erf"), "erfc": _of_libm("erfc"),
    "lgamma": _of_libm("lgamma"),
}  # fmt: skip
#: functions of a number in native code, by kernels of ours that apply them to each element
_FUNCTIONS = {**FUNCTIONS, "polygamma": polygamma_of, "ndtr": normal_distribution}


def emit_ufunc(
    builder: Any, ufunc: np.ufunc, values: Sequence[Any], inside: list[Any] | None = None
) -> Any:
    """Write a ufunc, as `emit` does a row.

    Raises
    ------
    Untraceable
        If it has no code here.
    """
    written = _write(ufunc, [Scalar(builder, x) for x in values], inside)
    if written is None:
        raise Untraceable
    return written.value


def _write(
    function: np.ufunc | LibraryUfunc | str, operands: Sequence[Scalar], inside: list[Any] | None
) -> Scalar | None:
    """Write a function of NumPy's, or a kernel of ours that is an elementary function; else None.

    For a number on its own only the formulas are in line that are there sooner than the result of libm.
    """
    if not isinstance(function, str) and function not in UFUNCS:
        return None  # of another library, which may have the name of one of NumPy's
    name = function if isinstance(function, str) else function.__name__
    if inside is not None and has_fma() and name in ELEMENTARY:
        value, holds = _formula(ELEMENTARY[name], operands)
        if holds is not None:
            inside.append(holds.value)
        return value
    write = _KERNELS.get(function) if isinstance(function, str) else UFUNCS.get(function)
    return None if write is None else write(*operands)


def _power_slope(x: Scalar, y: Scalar, dx: Any, dy: Any) -> Scalar | None:
    """A derivative of ``x ** y`` for a loop, as `differentiate_power` has it; None for mixed ones."""
    orders = tuple(n.constant if isinstance(n, ir.Constant) else n for n in (dx, dy))
    if orders == (0, 1):
        slope = _formula(ELEMENTARY["power"], [x, y])[0] * _formula(ELEMENTARY["log"], [x])[0]
        return select((x == 0.0) & (y >= 0.0), 0.0, slope)
    if orders[1] != 0 or not isinstance(orders[0], int):
        return None
    factor = _zero(y) + 1.0
    for k in range(orders[0]):
        factor = factor * (y - float(k))
    power, _ = _formula(ELEMENTARY["power"], [x, y - float(orders[0])])
    return select(factor == 0.0, 0.0, factor * power)


# --------------------------------------------------------------------------- rows
class _Chain:
    """Stand-in for a `Chain` of ops/chains.py that writes LLVM code of its nodes."""

    def __init__(
        self, operands: Sequence[Scalar], attrs: dict[str, Any], inside: list[Any] | None
    ) -> None:
        self.attrs, self._inside = attrs, inside
        self.builder = operands[0].builder
        self._type = next((x.value.type for x in operands if x.is_float), F64)
        self.kind = float64 if self._type == F64 else float32

    def _scalar(self, x: Any) -> Scalar:
        return (
            x if isinstance(x, Scalar) else Scalar(self.builder, ir.Constant(self._type, float(x)))
        )

    def number(self, value: float, kind: dtype | None = None) -> Scalar:
        if kind is not None and kind is not self.kind:
            raise Untraceable
        return self._scalar(value)

    def __call__(
        self,
        function: np.ufunc | LibraryUfunc | str,
        *inputs: Any,
        data: Sequence[Any] = (),
        result: dtype | None = None,
    ) -> Scalar:
        values = [self._scalar(x) for x in inputs]
        written = _write(function, values, self._inside)
        if written is not None:
            return written
        formula = _FUNCTIONS.get(function) if isinstance(function, str) else None
        if formula is None:  # of another library
            raise Untraceable
        if function == "power_derivative" and self._inside is not None and has_fma():
            slope = _power_slope(*values, *data)
            if slope is not None:
                return slope
        if any(x.value.type != F64 for x in values):
            raise Untraceable
        from ..native.translator import called  # 4 ms of imports that loaded code does not need

        whole = [x if isinstance(x, ir.Value) else ir.Constant(I64, x) for x in data]
        operands = [*(v.value for v in values), *whole]
        return Scalar(self.builder, called(self.builder, formula, operands))

    def where(self, condition: Scalar, x: Any, y: Any) -> Scalar:
        return select(condition, self._scalar(x), self._scalar(y))


def emit(
    builder: Any,
    entry: Op,
    values: Sequence[Any],
    attributes: Sequence[Any] = (),
    inside: list[Any] | None = None,
) -> Any:
    """Write the primal of a row.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
    entry : Op
        An elementwise row.
    values : sequence of llvmlite.ir.Value
        Operands; those that are truth values are bits.
    attributes : sequence of llvmlite.ir.Value
        Words for its `parameters`.
    inside : list, optional
        For a loop that LLVM shall vectorise: elementary functions are written as formulas without a branch or
        a call. Truth values are appended that say where the result is right: where one of them is false, the
        number has to be computed again without this list.

    Returns
    -------
    llvmlite.ir.Value

    Raises
    ------
    Untraceable
        For a row that has no code here.
    """
    attrs = dict(zip(entry.parameters, attributes, strict=True))
    return emit_with(builder, entry, values, attrs, inside)


def emit_with(
    builder: Any,
    entry: Op,
    values: Sequence[Any],
    attrs: dict[str, Any],
    inside: list[Any] | None = None,
) -> Any:
    """Write the primal of a row, as `emit`, with attributes by name, which may be numbers."""
    operands = [Scalar(builder, x) for x in values]
    if entry.loop is not None:
        written = _write(entry.loop, operands, inside)
        if written is None:
            raise Untraceable
        return written.value
    assert entry.body is not None
    return entry.body(_Chain(operands, attrs, inside), *operands).value
