"""Elementwise arithmetic: sums, quotients, powers, signs and rounding.

Integer operands of `floor_divide`, `remainder`, `fmod` and `pow` never become known to native
recording (`integer_binary`), because each call has to be checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...base.dtypes import bool_, complex128, float64, int64
from ...ops import arithmetic as _rows  # noqa: F401 - which this module looks up
from ...ops.table import TABLE
from ...tape import readout
from ...tape import recording as record
from ..operands import check_binary, check_divisor, integer_binary, is_integral, no_kernel
from ..registry import FUNCTIONS, METHODS, declared
from ..signature import Number, Operand, Tensor

__all__: list[str] = []


# --------------------------------------------------------------------------- sums and differences
def _scaled(name: str, a: Any, b: Any, alpha: Any) -> Any:
    """``alpha * b``, as `add` and `sub` take it."""
    alpha = readout.option(alpha, f"{name}(alpha=...)")
    kind = record.result_dtype((a, b))
    if isinstance(alpha, bool):
        if kind is not bool_:
            raise RuntimeError("Boolean alpha only supported for Boolean results.")
        return b if alpha else record.as_operand(False, bool_)
    if isinstance(alpha, float) and not kind.is_inexact:
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )
    if kind is bool_:
        return b if alpha else record.as_operand(False, bool_)
    return b if alpha == 1 else record.as_operand(b, kind) * alpha


def _check_bools(a: Any, b: Any) -> None:
    kinds = [
        v.dtype if record.is_tensor(v) else (bool_ if isinstance(v, bool) else None) for v in (a, b)
    ]
    if kinds[0] is bool_ and kinds[1] is bool_:
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
            "`logical_xor()` operator instead."
        )
    if bool_ in kinds:
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying "
            "to invert a mask, use the `~` or `logical_not()` operator instead."
        )


def _combined(name: str, input: Any, other: Any, alpha: Any) -> Any:
    """``input + alpha * other`` (add), ``input - alpha * other`` (sub) or ``other - alpha * input``."""
    check_binary(name, input, other)
    if name != "add":
        _check_bools(input, other)
    if type(alpha) is not int or alpha != 1:
        if name == "rsub":
            input = _scaled(name, other, input, alpha)
        else:
            other = _scaled(name, input, other, alpha)
    return record.binary(TABLE[name], input, other)


@declared()
def add(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """Return ``input + alpha * other``.

    Parameters
    ----------
    input : Tensor
    other : Tensor or number
    alpha : number
    """
    return _combined("add", input, other, alpha)


@declared(aliases=("subtract",))
def sub(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """Return ``input - alpha * other``.

    Parameters
    ----------
    input : Tensor
    other : Tensor or number
    alpha : number
    """
    return _combined("sub", input, other, alpha)


@declared()
def rsub(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """Return ``other - alpha * input``.

    Parameters
    ----------
    input : Tensor
    other : Tensor or number
    alpha : number
    """
    return _combined("rsub", input, other, alpha)


@declared(aliases=("negative",))
def neg(input: Tensor) -> Tensor:
    """Return ``-input``."""
    if input.dtype is bool_:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
            "invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return record.unary(TABLE["neg"], input)


@declared()
def positive(input: Tensor) -> Tensor:
    """Return the tensor itself."""
    if input.dtype is bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


METHODS["__pos__"] = positive


# --------------------------------------------------------------------------- quotients
@declared(aliases=("divide",))
def div(input: Operand, other: Operand, *, rounding_mode: str | None = None) -> Tensor:
    """Return ``input / other``, rounded if asked for.

    Parameters
    ----------
    input : Tensor
    other : Tensor or number
    rounding_mode : {None, "trunc", "floor"}
        Rounded results keep the dtype that the operands promote to.
    """
    check_binary("div", input, other)
    if rounding_mode is None:
        return record.binary(TABLE["div"], input, other)
    if rounding_mode not in ("trunc", "floor"):
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
            f"'{rounding_mode}'"
        )
    return _quotient(f"div_{rounding_mode}", input, other)


@declared()
def true_divide(input: Operand, other: Operand) -> Tensor:
    """Return ``input / other``; an alias of `div`."""
    return div(input, other)


def _quotient(name: str, a: Any, b: Any) -> Any:
    kind = record.result_dtype((a, b))
    if kind is bool_:
        raise no_kernel(f"{name}_cpu", kind)
    if is_integral(kind):
        check_divisor(b)
        return integer_binary(TABLE[name], a, b)
    return record.binary(TABLE[name], a, b)


@declared()
def floor_divide(input: Operand, other: Operand) -> Tensor:
    """Return ``input // other``, rounded down."""
    check_binary("floor_divide", input, other)
    if record.result_dtype((input, other)) is bool_:
        raise no_kernel("div_floor_cpu", bool_)
    return _quotient("floor_divide", input, other)


@declared()
def remainder(input: Operand, other: Operand) -> Tensor:
    """Return the remainder of ``input // other``, with the sign of `other`."""
    check_binary("remainder", input, other)
    return _quotient("remainder", input, other)


@declared()
def fmod(input: Operand, other: Operand) -> Tensor:
    """Return the remainder of the division rounded towards zero, with the sign of `input`."""
    check_binary("fmod", input, other)
    return _quotient("fmod", input, other)


# --------------------------------------------------------------------------- powers
_POWER_FORMS = (
    "(Tensor input, Tensor exponent, *, Tensor? out=None)",
    "(Number self, Tensor exponent, *, Tensor? out=None)",
    "(Tensor input, Number exponent, *, Tensor? out=None)",
)


@declared(*_POWER_FORMS)
def pow(input: Operand, exponent: Operand) -> Tensor:
    """Return ``input ** exponent``.

    Parameters
    ----------
    input : Tensor or number
    exponent : Tensor or number
        One of the two is a tensor.

    Raises
    ------
    RuntimeError
        For integers with a negative Python number as exponent.
    """
    kind = record.result_dtype((input, exponent))
    if kind is bool_:
        if exponent is True:
            return input.clone()
        if exponent is False:
            return input.logical_or(True)
        raise no_kernel("pow", bool_)
    if is_integral(kind):
        if not record.is_tensor(exponent) and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        return integer_binary(TABLE["pow_int"], input, exponent)
    return record.binary(TABLE["pow"], input, exponent)


@declared(*_POWER_FORMS)
def float_power(input: Operand, exponent: Operand) -> Tensor:
    """Return ``input ** exponent`` in float64, or complex128."""
    kind = complex128 if record.result_dtype((input, exponent)).is_complex else float64
    a, b = (record.as_operand(v, kind) for v in (input, exponent))
    return record.binary(TABLE["pow"], a, b)


@declared()
def square(input: Tensor) -> Tensor:
    """Return ``input * input``."""
    if input.dtype is bool_:
        input = record.cast(input, int64)
    return record.unary(TABLE["square"], input)


# --------------------------------------------------------------------------- signs and rounding
@declared(aliases=("absolute",))
def abs(input: Tensor) -> Tensor:
    """Return the absolute value."""
    if input.dtype is bool_:
        raise no_kernel("abs_cpu", bool_)
    return record.unary(TABLE["abs"], input)


def _rounding(name: str, title: str) -> Callable[..., Any]:
    entry = TABLE[name]

    @declared(name=name, doc=f"Return the elementwise {name}.")
    def rounding(input: Tensor) -> Tensor:
        if input.dtype is bool_ and name not in ("sign", "sgn"):
            raise no_kernel(f"{title}_cpu", bool_)
        if is_integral(input.dtype) and (name == "round" or input.dtype is bool_):
            return input.clone()
        return record.unary(entry, input)

    return rounding


for _name in ("floor", "ceil", "trunc"):
    _rounding(_name, f"{_name}_vml")
for _name in ("sign", "sgn"):
    _rounding(_name, _name)
_plain_round = _rounding("round", "round_vml")
FUNCTIONS["fix"] = METHODS["fix"] = FUNCTIONS["trunc"]


@declared()
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Round to the nearest integer, half to even.

    Parameters
    ----------
    input : Tensor
    decimals : int
        Round to so many places behind the point (in front of it, if negative).
    """
    if decimals == 0:
        return _plain_round(input)
    if is_integral(input.dtype):
        raise NotImplementedError("round_cpu not implemented for 'Long'")
    scale = 10.0 ** (decimals if decimals > 0 else -decimals)
    if decimals > 0:
        return _plain_round(input * scale) / scale
    return _plain_round(input / scale) * scale


@declared()
def frac(input: Tensor) -> Tensor:
    """Return the fractional part, with the sign of `input`."""
    if is_integral(input.dtype):
        raise no_kernel("frac_cpu", input.dtype)
    return record.unary(TABLE["frac"], input)
