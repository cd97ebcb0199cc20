"""In-place methods: ``x.add_(y)``, ``x += y``, ``x.zero_()``, ``x[i] = v``.

All are made of two statements. `copy_` computes the new value out of place and writes it over the
tensor's memory; sums use `accumulate_`, which needs no temporary. The checks, the copy of an old
value that a derivative still needs, and the move of the handle to the new statement are in
`overwrite`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import messages, record
from .. import native as nt
from ..dtypes import from_numpy_dtype
from ..layouts import broadcast_shapes
from ..ops.table import TABLE
from ..record import layout_of
from ..tape import slot_of
from ..threads import current_tape
from .indexing import put_at, resolve_index
from .registry import METHODS, public

__all__ = ["overwrite"]


def check_target(target: Any) -> None:
    """Raise PyTorch's errors for a tensor that must not be written.

    Raises
    ------
    RuntimeError
        A leaf (or a view of one) that requires grad, in grad mode; memory that elements share.
    """
    record.adopt(target)
    tape = current_tape()
    slot = slot_of(tape, target)
    if tape.grad_mode and tape.is_active(slot):
        root = int(tape.root[slot])
        if tape.wants_grad(root):
            if slot == root:
                raise RuntimeError(messages.LEAF_IN_PLACE)
            raise RuntimeError(messages.LEAF_VIEW_IN_PLACE)
    if layout_of(target).overlaps:
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a "
            "single memory location. Please clone() the tensor before performing the operation."
        )


def overwrite(
    target: Any, source: Any, *, accumulate: bool = False, named: str | None = None
) -> Any:
    """Write (or add) `source`, broadcast, into `target`; return the target.

    Parameters
    ----------
    target : Tensor
    source : Tensor
        Of the target's dtype, of a shape that broadcasts to the target's.
    accumulate : bool
        Add instead of overwriting.
    named : str, optional
        Name of the node.
    """
    named = named or ("AddBackward0" if accumulate else "CopyBackwards")
    check_target(target)
    shape, given = target.shape, source.shape
    common = broadcast_shapes(shape, given)
    if common != tuple(shape):
        raise RuntimeError(
            f"output with shape {list(shape)} doesn't match the broadcast shape {list(common)}"
        )
    tape = current_tape()
    if source._state == target._state:
        own, other = slot_of(tape, target), slot_of(tape, source)
        if tape.base[own] == tape.base[other] and not (accumulate and own == other):
            source = source.clone()  # the two share memory: read all of it before writing
    recording = record.accumulate if accumulate else record.write
    made = tape.instruction_of(slot_of(tape, target))
    if made.op.kind == nt.VIEW and made.op.name != "copy_slices":
        named = "AsStridedBackward0"  # as PyTorch calls what a view becomes
    slot = recording(target, source, named)
    if tape.grad_mode and tape.is_active(slot):
        # From here on the handle is the result of the write.
        record.rebind(target, tape, slot)
    return target


def _needs_old_value(entry: Any, target: Any, others: tuple[Any, ...]) -> bool:
    """Whether the derivative of an op needs the value that is about to be overwritten."""
    return any(t.requires_grad for t in (target, *others) if record.is_tensor(t))


def in_place(name: str) -> Callable[..., Any]:
    """The in-place method of a function: compute out of place, then write."""
    entry = TABLE.get(name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        check_target(self)
        source = self
        if current_tape().grad_mode and _needs_old_value(entry, self, args):
            source = self.clone()
        result = getattr(type(self), name)(source, *args, **kwargs)
        if result.dtype is not self.dtype:
            if record.category(result.dtype) > record.category(self.dtype):
                raise RuntimeError(
                    f"result type {_scalar_name(result.dtype)} can't be cast to the desired output "
                    f"type {_scalar_name(self.dtype)}"
                )
            result = record.cast(result, self.dtype)
        node = result.grad_fn
        return overwrite(self, result, named="CopyBackwards" if node is None else node.name())

    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = f"In-place version of `{name}`."
    return method


def _scalar_name(kind: Any) -> str:
    return {"float64": "Double", "float32": "Float", "int64": "Long", "bool": "Bool"}[kind.name]


def _sum_in_place(name: str, sign: int) -> Callable[..., Any]:
    general = in_place(name)

    def method(self: Any, other: Any, *, alpha: Any = 1) -> Any:
        plain = alpha == 1 and self.dtype.is_floating_point
        if plain and record.is_number(other):
            other = record.as_operand(sign * other, self.dtype)
            return overwrite(self, other, accumulate=True)
        if (
            plain
            and record.is_tensor(other)
            and other.dtype is self.dtype
            and broadcast_shapes(self.shape, other.shape) == tuple(self.shape)
        ):
            return overwrite(self, other if sign > 0 else -other, accumulate=True)
        if alpha != 1:
            other = other * alpha
        return general(self, other)

    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = (
        f"In-place version of `{name}`: ``self {'+' if sign > 0 else '-'}= alpha * other``."
    )
    return method


METHODS["add_"] = METHODS["__iadd__"] = _sum_in_place("add", 1)
METHODS["sub_"] = METHODS["__isub__"] = _sum_in_place("sub", -1)
for _name in (
    "mul", "div", "pow", "floor_divide", "remainder", "neg", "abs", "exp", "log", "sqrt", "sin", "cos",
    "tan", "tanh", "sigmoid", "relu", "reciprocal", "clamp", "floor", "ceil", "round", "trunc",
    "square", "bitwise_and", "bitwise_or", "bitwise_xor", "masked_fill", "scatter_add", "index_add",
    "lerp", "addcmul", "tril", "triu", "softplus", "sign", "log1p", "expm1", "rsqrt", "asin", "acos",
    "atan", "sinh", "cosh", "erf", "fmod", "logical_and", "logical_or", "logical_not", "scatter",
    "index_put", "cumsum", "clip",
):  # fmt: skip
    METHODS[_name + "_"] = in_place(_name)
for _operator, _name in (
    ("__imul__", "mul_"), ("__itruediv__", "div_"), ("__ipow__", "pow_"),
    ("__ifloordiv__", "floor_divide_"), ("__imod__", "remainder_"), ("__iand__", "bitwise_and_"),
    ("__ior__", "bitwise_or_"), ("__ixor__", "bitwise_xor_"),
):  # fmt: skip
    METHODS[_operator] = METHODS[_name]


@public(method=True, function=False)
def copy_(input: Any, src: Any, non_blocking: bool = False) -> Any:
    """Overwrite with the values of `src`, broadcast and cast; return the tensor."""
    if record.is_number(src):
        return fill_(input, src)
    record.check_tensors("copy_", (src,))
    return overwrite(input, record.cast(src, input.dtype))


@public(method=True, function=False)
def fill_(input: Any, value: Any) -> Any:
    """Overwrite every element with a number (or 0-d tensor); return the tensor."""
    if record.is_tensor(value):
        if value.ndim:
            raise RuntimeError(
                "fill_ only supports 0-dimension value tensor but got tensor with "
                f"{value.ndim} dimensions."
            )
        return overwrite(input, record.cast(value, input.dtype))
    if not record.is_number(value):
        raise TypeError(
            f"fill_(): argument 'value' (position 1) must be Number, not {type(value).__name__}"
        )
    return overwrite(input, record.as_operand(value, input.dtype), named="FillBackward0")


@public(method=True, function=False)
def zero_(input: Any) -> Any:
    """Overwrite every element with zero; return the tensor."""
    return overwrite(input, record.as_operand(0, input.dtype), named="ZeroBackward0")


@public(method=True, function=False)
def detach_(input: Any) -> Any:
    """Cut the tensor off its graph in place; return it."""
    record.adopt(input)
    tape = current_tape()
    slot = slot_of(tape, input)
    if tape.is_active(slot):
        if tape.root[slot] != slot:
            raise RuntimeError(
                "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel "
                "(DDP) for training, and gradient_as_bucket_view is set as True, gradients are views of "
                "DDP buckets, and hence detach_() cannot be called on these gradients. To fix this error, "
                "please refer to the Optimizer.zero_grad() function in torch/optim/optimizer.py as the "
                "solution."
            )
        alias = input.detach()
        record.rebind(input, tape, slot_of(tape, alias))
    return input


def _does_not_fit(given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """PyTorch's words for a value that does not broadcast to the items it is assigned to."""
    if len(given) > len(wanted):
        return (
            f"expand(torch.FloatTensor{list(given)}, size={list(wanted)}): the number of sizes "
            f"provided ({len(wanted)}) must be greater or equal to the number of dimensions in the "
            f"tensor ({len(given)})"
        )
    axis = max(
        i for i in range(1, len(given) + 1) if given[-i] not in (1, wanted[-i])
    )  # fmt: skip
    return (
        f"The expanded size of the tensor ({wanted[-axis]}) must match the existing size "
        f"({given[-axis]}) at non-singleton dimension {len(wanted) - axis}.  Target sizes: "
        f"{list(wanted)}.  Tensor sizes: {list(given)}"
    )


def _check_item_target(input: Any, view: Any) -> None:
    """`check_target`, in the words that PyTorch has for items of a leaf."""
    if current_tape().grad_mode and input.requires_grad and input.is_leaf:
        raise RuntimeError(messages.LEAF_VIEW_IN_PLACE)
    check_target(view)


@public(method=True, function=False, name="__setitem__")
def setitem(input: Any, index: Any, value: Any) -> None:
    """``input[index] = value``: a write into a view, or into indexed elements."""
    if isinstance(value, np.ndarray):
        value = record.leaf_tensor(np.array(value), from_numpy_dtype(value.dtype))
    if not record.is_tensor(value):
        if not record.is_number(value):
            raise TypeError(f"can't assign a {type(value).__name__} to a torch.{input.dtype.name}")
        value = record.as_operand(value, input.dtype)
    value = record.cast(value, input.dtype)
    record.adopt(input)
    view, advanced = resolve_index(input, index)
    if advanced is not None:
        _check_item_target(input, view)
        value = put_at(view, value, advanced)
    while value.ndim > view.ndim and value.shape[0] == 1:
        value = value.reshape(value.shape[1:])
    try:
        fits = np.broadcast_shapes(view.shape, value.shape) == tuple(view.shape)
    except ValueError:
        fits = False
    if not fits:
        raise RuntimeError(_does_not_fit(tuple(value.shape), tuple(view.shape)))
    _check_item_target(input, view)
    overwrite(view, value)
    tape = current_tape()
    if tape.is_active(slot_of(tape, input)):
        layout = layout_of(input)
        alias = record.view(TABLE["copy_slices"], input, layout.shape, layout.strides)
        record.rebind(input, tape, slot_of(tape, alias))
