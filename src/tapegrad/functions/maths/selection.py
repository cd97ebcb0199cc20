"""Elementwise selection, bounds, functions of three operands, logic on bits."""

from __future__ import annotations

from typing import Any

from ...base.dtypes import bool_, c_name, dtype, get_default_dtype, scalar_name
from ...ops import arithmetic as _rows  # noqa: F401 - which this module looks up
from ...ops import comparison as _logic  # noqa: F401
from ...ops.table import TABLE
from ...tape import recording as record
from ..operands import check_binary, is_integral, no_kernel, promoted
from ..registry import FUNCTIONS, declared
from ..signature import UNSET, Number, Operand, Tensor

__all__ = ["clamp", "where"]


# --------------------------------------------------------------------------- selection and bounds
@declared(
    "()", "(Operand input, Operand other, *, Tensor? out=None)", "(Number self, Tensor other)",
    "(Tensor input, Number other)", "(Number self, Number other)", method=False,
)  # fmt: skip
def where(condition: Tensor, input: Operand = UNSET, other: Operand = UNSET) -> Tensor:
    """Take elements of `input` where the condition holds, else of `other`.

    Parameters
    ----------
    condition : Tensor
        Of dtype bool.
    input, other : Tensor or number
        Broadcast with the condition; without them, the indices of the elements that hold.

    Raises
    ------
    RuntimeError
        If the condition is not a bool tensor.
    """
    if input is UNSET:
        return FUNCTIONS["nonzero"](condition, as_tuple=True)
    if condition.dtype is not bool_:
        raise RuntimeError(
            "where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{scalar_name(condition.dtype)}"
        )
    (x, y), _ = promoted((input, other))
    return record.apply(TABLE["where"], (condition, x, y))


@declared(function=False, name="where")
def _where_method(input: Tensor, condition: Tensor, other: Operand) -> Tensor:
    """Keep elements where the condition holds, take `other` elsewhere."""
    return where(condition, input, other)


def _bounded(name: str, input: Any, bounds: tuple[Any, ...]) -> Any:
    values, _ = promoted((input, *bounds))
    number = not any(record.is_tensor(b) for b in bounds)
    return record.apply(TABLE[name], values, number=number)


@declared(aliases=("clip",))
def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """Bring values into the range from `min` to `max`.

    Parameters
    ----------
    input : Tensor
    min, max : Tensor or number, optional
        At least one. Where they cross, the result is `max`.

    Raises
    ------
    RuntimeError
        Without bounds.
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if max is None:
        return _bounded("clamp_below", input, (min,))
    if min is None:
        return _bounded("clamp_above", input, (max,))
    return _bounded("clamp", input, (min, max))


@declared()
def clamp_min(input: Tensor, min: Operand) -> Tensor:
    """Raise values below `min` to it."""
    return _bounded("clamp_min", input, (min,))


@declared()
def clamp_max(input: Tensor, max: Operand) -> Tensor:
    """Lower values above `max` to it."""
    return _bounded("clamp_max", input, (max,))


# --------------------------------------------------------------------------- three operands
def _same_dtype(kind: dtype, value: Any, argument: str) -> None:
    if value.dtype is not kind:
        raise RuntimeError(
            f"expected dtype {c_name(kind)} for `{argument}` but got dtype {c_name(value.dtype)}"
        )


@declared(
    "(Tensor end, Tensor weight, *, Tensor? out=None)",
    "(Tensor end, Number weight, *, Tensor? out=None)",
)
def lerp(input: Tensor, end: Tensor, weight: Operand) -> Tensor:
    """Return ``input + weight * (end - input)``.

    Parameters
    ----------
    input, end : Tensor
        Of one dtype.
    weight : Tensor or number
    """
    kind = input.dtype
    _same_dtype(kind, end, "end")
    if record.is_tensor(weight):
        _same_dtype(kind, weight, "weight")
    if is_integral(kind):
        raise no_kernel("lerp_kernel_scalar", kind)
    number = not record.is_tensor(weight)
    if kind.is_complex:
        weight, gap = record.as_operand(weight, kind), end - input
        near, far = input + weight * gap, end - gap * (1 - weight)
        return FUNCTIONS["where"](record.unary(TABLE["abs"], weight) < 0.5, near, far)
    return record.apply(TABLE["lerp"], (input, end, record.as_operand(weight, kind)), number=number)


def _plus_product(name: str, input: Any, a: Any, b: Any, value: Any) -> Any:
    values, kind = promoted((input, a, b))
    if is_integral(kind) and name == "addcdiv":
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future  release "
            "addcdiv will perform a true division of tensor1 and tensor2. The historic addcdiv "
            "behavior can be implemented as (input + value * torch.trunc(tensor1 / tensor2)).to("
            "input.dtype) for integer inputs and as (input + value * tensor1 / tensor2) for float "
            "inputs. The future addcdiv behavior is just the latter implementation: (input + value "
            "* tensor1 / tensor2), for all dtypes."
        )
    if value != 1:
        values[1] = values[1] * (int(value) if is_integral(kind) else value)
    return record.apply(TABLE[name], values)


@declared()
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """Return ``input + value * tensor1 * tensor2``."""
    return _plus_product("addcmul", input, tensor1, tensor2, value)


@declared()
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Number = 1) -> Tensor:
    """Return ``input + value * tensor1 / tensor2``."""
    return _plus_product("addcdiv", input, tensor1, tensor2, value)


@declared()
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """Return 0 where `input` is negative, 1 where it is positive, `values` where it is 0."""
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    if is_integral(input.dtype):
        kind = input.dtype
        default = get_default_dtype()
        result = record.binary(
            TABLE["heaviside"], record.cast(input, default), record.cast(values, default)
        )
        return record.cast(result, kind)
    return record.binary(TABLE["heaviside"], input, values)


# --------------------------------------------------------------------------- logic on bits
def _bitwise(name: str) -> None:
    entry, word = TABLE[name], name.removeprefix("bitwise_").replace("_", " ")
    is_shift = "shift" in word
    doc = f"Return the {word} of bools, or bit by bit of integers."
    if is_shift:
        doc = f"Return the {word} of the bits of integers; by more than there are, all of them go."

    @declared(name=name, doc=doc)
    def bitwise(input: Operand, other: Operand) -> Tensor:
        check_binary(name, input, other)
        kind = record.result_dtype((input, other))
        if kind.is_floating_point or (is_shift and kind.np.kind not in "iu"):
            kernel = f"{name.split('_')[1][0]}shift" if is_shift else name
            raise no_kernel(f"{kernel}_cpu", kind)
        return record.binary(entry, input, other)


for _name in (
    "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift",
):  # fmt: skip
    _bitwise(_name)


@declared()
def bitwise_not(input: Tensor) -> Tensor:
    """Return the inverse of bools, or bit by bit of integers."""
    if input.dtype.is_floating_point:
        raise TypeError(
            "~ (operator.invert) is only implemented on integer and Boolean-type tensors"
        )
    return record.unary(TABLE["bitwise_not"], input)
