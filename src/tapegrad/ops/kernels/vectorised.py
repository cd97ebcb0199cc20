"""Elementary functions, vectorised: the table of them, and the loops that they share.

A function is a formula without a branch, a call or a table in memory: LLVM vectorises a loop of it. Most
formulas are right for every number. Where one is not, a block of numbers one of which is outside goes to
libm. Errors stay below 1 ulp (tests/test_elementary_kernels.py). NumPy's loops call libm for each number
(3 to 12 ns), except where the processor has AVX-512: those loops are kept. All is computed in float64, and
rounded for float32.

Compiled code has the same formulas in line (`emit` of ops/emitter.py). Processors without fused
multiply-add, on which formulas are slow, have libm for everything.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numpy.lib.introspect import opt_func_info

from ...native.kinds import F64, Value
from ...native.targets import has_fma
from ...native.ufunc_loops import PREFERRED, native_kernels
from ...native.words import SIZE, Word, element, external, helper, number, p64, stack_words
from . import error_function, exponential, inverse_trig, logarithm, trig

__all__ = ["ELEMENTARY", "KERNELS", "Elementary"]


class Elementary(NamedTuple):
    """A function of one or two numbers.

    Attributes
    ----------
    formula : helper
        A few operations and words, and nothing that branches.
    libm : Word or None
        The same by functions of C's library, for processors without fused multiply-add, where there is one.
    reaches : helper, optional
        Where the formula holds; by default everywhere. libm takes the rest.
    """

    formula: helper
    libm: Word | None
    reaches: helper | None = None

    @property
    def arity(self) -> int:
        """Number of operands."""
        return self.formula.function.__code__.co_argcount


def _libm(name: str, operands: int = 1) -> Word:
    return external(name, F64, *[F64] * operands)


def _logistic(builder: Any, x: Any) -> Any:
    """Write ``1 / (1 + exp(-x))``: where exp overflows the quotient is 0."""
    e = _libm("exp").write(builder, [Value(F64, builder.fneg(x))])
    assert e is not None
    one = ir.Constant(F64.type, 1.0)
    return builder.fdiv(one, builder.fadd(one, e.value))


#: by name of NumPy's function, or of our kernel where NumPy has none
ELEMENTARY: dict[str, Elementary] = {
    "exp": Elementary(exponential.exp_of, _libm("exp")),
    "exp2": Elementary(exponential.exp2_of, _libm("exp2")),
    "expm1": Elementary(exponential.expm1_of, _libm("expm1")),
    "log": Elementary(logarithm.log_of, _libm("log")),
    "log2": Elementary(logarithm.log2_of, _libm("log2")),
    "log10": Elementary(logarithm.log10_of, _libm("log10")),
    "log1p": Elementary(logarithm.log1p_of, _libm("log1p")),
    "logaddexp": Elementary(logarithm.logaddexp_of, None),
    "logaddexp2": Elementary(logarithm.logaddexp2_of, None),
    "power": Elementary(logarithm.power_of, _libm("pow", 2)),
    "sin": Elementary(trig.sin_of, _libm("sin"), trig.reaches),
    "cos": Elementary(trig.cos_of, _libm("cos"), trig.reaches),
    "tan": Elementary(trig.tan_of, _libm("tan"), trig.reaches),
    "arcsin": Elementary(inverse_trig.asin_of, _libm("asin")),
    "arccos": Elementary(inverse_trig.acos_of, _libm("acos")),
    "arctan": Elementary(inverse_trig.atan_of, _libm("atan")),
    "sinh": Elementary(exponential.sinh_of, _libm("sinh")),
    "cosh": Elementary(exponential.cosh_of, _libm("cosh")),
    "tanh": Elementary(exponential.tanh_of, _libm("tanh")),
    "sigmoid": Elementary(exponential.sigmoid_of, Word("sigmoid", _logistic, F64, (F64,))),
    "erf": Elementary(error_function.erf_of, _libm("erf")),
    "erfc": Elementary(error_function.erfc_of, _libm("erfc")),
}


class _InLine(Word):
    """A formula, or libm's function where the target of the code has no fused multiply-add."""

    def __init__(self, name: str, elementary: Elementary) -> None:
        super().__init__(name, self._choose, F64, (F64,) * elementary.arity)
        self._elementary = elementary
        self.function = elementary.formula.function  # which object code depends on

    def _choose(self, builder: Any, *values: Any) -> Any:
        libm = self._elementary.libm
        if has_fma() or libm is None:
            # 4 ms of imports that loaded code does not need
            from ...native.translator import called

            return called(builder, self._elementary.formula, values)
        result = libm.write(builder, [Value(F64, x) for x in values])
        assert result is not None
        return result.value


# --------------------------------------------------------------------------- loops
#: open in the loops: the function, where it holds, and libm's
compute: Any = None
reaches: Any = None
libm: Any = None


def unary(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """A function of a number.

    Where numbers are apart, or the result replaces the operand, a block of them is copied: so there is one
    loop, and it is vectorised.
    """
    a, o, n = p64(args)[0], p64(args)[1], p64(dims)[0]
    s = p64(strides)
    buffer = stack_words(128)
    is_copied = s[0] != SIZE or s[1] != SIZE or a == o
    size = 64 if is_copied else n
    start = 0
    while start < n:
        count = min(size, n - start)
        x, y = element(a), element(o)
        if is_copied:
            x, y = element(buffer), element(buffer + 512)
            for i in range(count):
                x[i] = element(a + (start + i) * s[0])[0]
        for i in range(count):
            y[i] = number(compute(np.float64(x[i])))
        if is_copied:
            for i in range(count):
                element(o + (start + i) * s[1])[0] = y[i]
        start += count


def binary(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """A function of two numbers, as `unary`."""
    a, b, o, n = p64(args)[0], p64(args)[1], p64(args)[2], p64(dims)[0]
    s = p64(strides)
    buffer = stack_words(192)
    is_copied = s[0] != SIZE or s[1] != SIZE or s[2] != SIZE or a == o or b == o
    size = 64 if is_copied else n
    start = 0
    while start < n:
        count = min(size, n - start)
        x, y, z = element(a), element(b), element(o)
        if is_copied:
            x, y, z = element(buffer), element(buffer + 512), element(buffer + 1024)
            for i in range(count):
                x[i] = element(a + (start + i) * s[0])[0]
                y[i] = element(b + (start + i) * s[1])[0]
        for i in range(count):
            z[i] = number(compute(np.float64(x[i]), np.float64(y[i])))
        if is_copied:
            for i in range(count):
                element(o + (start + i) * s[2])[0] = z[i]
        start += count


def bounded(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """A function of a number whose formula does not hold everywhere."""
    a, o, n = p64(args)[0], p64(args)[1], p64(dims)[0]
    s = p64(strides)
    buffer = stack_words(128)
    start = 0
    while start < n:
        count = min(64, n - start)
        x, y = element(buffer), element(buffer + 512)
        if s[0] == SIZE:
            x = element(a + start * SIZE)
        if s[1] == SIZE and a != o:
            y = element(o + start * SIZE)
        inside = np.int64(1)
        if s[0] != SIZE:
            for i in range(count):
                x[i] = element(a + (start + i) * s[0])[0]
        for i in range(count):
            inside &= np.int64(reaches(np.float64(x[i])))
        if inside:
            for i in range(count):
                y[i] = number(compute(np.float64(x[i])))
        else:
            for i in range(count):
                y[i] = number(libm(np.float64(x[i])))
        if s[1] != SIZE or a == o:
            for i in range(count):
                element(o + (start + i) * s[1])[0] = y[i]
        start += count


# --------------------------------------------------------------------------- kernels
#: functions whose float32 loops of NumPy are vectorised everywhere, or libm's of which are fast enough
_FLOAT32 = ("exp", "log", "sin", "cos", "tanh", "log2", "power")


def _is_faster(name: str, kind: str) -> bool:
    """Return True if a formula is faster than NumPy's loop, which it is not where that uses AVX-512."""
    if kind == "float32" and name in _FLOAT32:
        return False
    if name in ("sin", "cos") and kind == "float64":  # NumPy's are slow whatever they use
        return True
    loops = opt_func_info(func_name=f"^{name}$", signature=kind).get(name, {})
    return not any("AVX512" in x["current"] or "X86_V4" in x["current"] for x in loops.values())


def _register(name: str, elementary: Elementary) -> str:
    """Register the kernels of a function; the first part of their names."""
    words: dict[str, Any] = {"compute": _InLine(name, elementary)}
    loop: Any = unary if elementary.arity == 1 else binary
    if elementary.reaches is not None:
        loop = bounded
        words |= {"reaches": elementary.reaches, "libm": elementary.libm}
    kernel = name if not hasattr(np, name) else f"elementary_{name}"
    native_kernels("f64", "f32", name=kernel, words=words)(loop)
    for kind in ("float64", "float32") if hasattr(np, name) and has_fma() else ():
        if _is_faster(name, kind):
            PREFERRED[getattr(np, name), kind] = f"{kernel}_f{kind[5:]}"
    return kernel


#: names of kernels, without the dtype, by name of the function
KERNELS = {name: _register(name, each) for name, each in ELEMENTARY.items()}
