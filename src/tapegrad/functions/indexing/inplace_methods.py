"""In-place methods of functions: ``x.sin_()``, ``x.mul_(y)``, ``x.unsqueeze_(0)``.

Every one is made of the function of the same name without the underscore, by `in_place` (inplace.py).
Sums need no temporary; functions that only change the shape (`_reshaping`) write nothing, and let the
handle refer to the view.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ...engine import inference
from ...native import abi as nt
from ...ops.instruction import instruction
from ...ops.layout import broadcast_shapes
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape import versions, watching
from ...tape.current import current_tape
from ...tape.leaf_storage import Storage, storage_of
from ...tape.recording import layout_of
from ...tape.tape import slot_of
from ..registry import FUNCTIONS, METHODS
from ..signature import Tensor
from .inplace import MethodSignature, check_target, in_place, overwrite

__all__ = ["become", "drop_missing"]

#: functions with an in-place method in PyTorch, those of rows (`Op.in_place`) and others; functions that are
#: missing here get none (`drop_missing`)
NAMES = (
    *[name for row in TABLE.values() if row.in_place for name in (row.name, *row.aliases)],
    "absolute", "addbmm", "addr", "clip",
    "conj_physical", "divide", "fix", "float_power", "gcd",
    "index_reduce", "lcm", "ldexp", "masked_scatter", "mvlgamma",
    "nan_to_num", "negative", "polygamma", "put", "renorm", "scatter_reduce",
    "true_divide",
)  # fmt: skip
#: functions whose in-place form only changes the shape
RESHAPING = ("as_strided", "squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze")
#: in-place methods that PyTorch has as functions, too
AS_FUNCTIONS = (
    "abs", "acos", "acosh", "addmv", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh",
    "as_strided", "asin", "asinh", "atan", "atanh", "ceil", "clamp", "clamp_max", "clamp_min",
    "clip", "conj_physical", "cos", "cosh", "deg2rad", "detach", "erf", "erfc", "exp", "exp2",
    "expm1", "fill", "fix", "floor", "frac", "gcd", "i0", "index_put", "lcm", "ldexp", "log",
    "log10", "log1p", "log2", "logit", "nan_to_num", "neg", "negative", "rad2deg", "reciprocal",
    "relu", "round", "rsqrt", "sigmoid", "sin", "sinc", "sinh", "sqrt", "square", "tan", "tanh",
    "trunc", "xlogy", "zero",
)  # fmt: skip


def _sum_in_place(name: str, sign: int) -> Callable[..., Any]:
    """Make `add_` or `sub_`, which accumulate where dtypes and shapes allow."""
    general, node_name = in_place(name), name.title() + "Backward0"

    def method(self: Any, other: Any, *, alpha: Any = 1) -> Tensor:
        plain = alpha == 1 and self.dtype.is_floating_point
        if plain and record.is_number(other):
            other = record.as_operand(sign * other, self.dtype)
            return overwrite(self, other, accumulate=True, node_name=node_name)
        if (
            plain
            and record.is_tensor(other)
            and other.dtype is self.dtype
            and broadcast_shapes(self.shape, other.shape) == tuple(self.shape)
        ):
            other = other if sign > 0 else -other
            return overwrite(self, other, accumulate=True, node_name=node_name)
        if alpha != 1:
            other = other * alpha
        return general(self, other)

    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = (
        f"In-place version of `{name}`: ``self {'+' if sign > 0 else '-'}= alpha * other``."
    )
    return method


def _as_function(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Make the function of an in-place method: its first argument may be anything."""

    @functools.wraps(method)
    def function(input: Any, *args: Any, **options: Any) -> Any:
        record.check_tensors(name, (input,))
        return method(input, *args, **options)

    function.__name__ = function.__qualname__ = name
    return function


def _reshaping(name: str) -> Callable[..., Any]:
    """Make the in-place form of a function that only changes the shape."""

    def method(self: Any, *args: Any, **options: Any) -> Tensor:
        check_target(self)
        view = getattr(type(self), name)(self, *args, **options)
        tape = current_tape()
        watching.arrive(tape, int(tape.base[slot_of(tape, self)]))
        become(self, view)
        return self

    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = f"In-place version of `{name}`: the tensor itself takes the other shape."
    method.__wrapped__ = MethodSignature(name)  # type: ignore[attr-defined]
    return method


def become(tensor: Any, view: Any, *, shared: bool = False) -> None:
    """Let a tensor take the form of a view of it, and count that as a write, as PyTorch does.

    Parameters
    ----------
    tensor : Tensor
    view : Tensor
        Of the tensor; or, for a passive tensor, anything passive in memory of its own or, if `shared`,
        of another's.
    shared : bool
    """
    tape = current_tape()
    inference.check_write(tape, slot_of(tape, tensor))
    version = versions.version_of(tape, slot_of(tape, tensor))
    layout = layout_of(view)
    storage = storage_of(tensor)
    tape.make_room()
    old_slot, view_instruction = slot_of(tape, tensor), tape.instruction_of(slot_of(tape, view))
    if tape.wants_grad(old_slot):  # under no_grad
        assert storage is not None
        storage.array = tape.expose(slot_of(tape, view), layout)
        slot = tape.bind(storage.array, layout, active=True, keep=storage)
        tape.base[slot] = tape.base[old_slot]
    else:
        if view_instruction.op.kind != nt.VIEW or shared:
            slot = slot_of(tape, view)
        else:
            view_instruction = instruction(
                view_instruction.op, view_instruction.layouts, layout=layout, in_place=True
            )
            mode, tape.state[nt.S_GRAD_MODE] = tape.grad_mode, True
            try:
                slot = tape.append_view(
                    view_instruction, old_slot, tape.view_offset(slot_of(tape, view))
                )
            finally:
                tape.state[nt.S_GRAD_MODE] = mode
        if storage is not None and storage.leaf:
            tensor._meta = None
            if storage.grad is not None:
                tensor._meta = Storage(None, leaf=False)
                tensor._meta.grad = storage.grad
    other = tape.base[slot] != tape.base[old_slot]
    record.bind_to(tensor, tape, slot, layout)
    if other and not shared and version:
        tape.versions[int(tape.base[slot])] = version
    if not shared:
        versions.count(tape, slot)


def drop_missing(kind: type) -> list[str]:
    """Forget the in-place methods of functions that a Tensor type does not have; their names."""
    missing = [name + "_" for name in NAMES if not hasattr(kind, name)]
    for name in missing:
        METHODS.pop(name, None)
        FUNCTIONS.pop(name, None)
    return missing


for _name in NAMES:
    METHODS[_name + "_"] = in_place(_name)
METHODS["add_"] = METHODS["__iadd__"] = _sum_in_place("add", 1)
METHODS["sub_"] = METHODS["__isub__"] = METHODS["subtract_"] = _sum_in_place("sub", -1)
for _name in RESHAPING:
    METHODS[_name + "_"] = _reshaping(_name)
for _operator, _name in (
    ("__imul__", "mul_"), ("__itruediv__", "div_"), ("__ipow__", "pow_"),
    ("__ifloordiv__", "floor_divide_"), ("__imod__", "remainder_"), ("__iand__", "bitwise_and_"),
    ("__ior__", "bitwise_or_"), ("__ixor__", "bitwise_xor_"), ("__ilshift__", "bitwise_left_shift_"),
    ("__irshift__", "bitwise_right_shift_"),
):  # fmt: skip
    METHODS[_operator] = METHODS[_name]
for _name in AS_FUNCTIONS:
    FUNCTIONS[_name + "_"] = _as_function(_name + "_", METHODS[_name + "_"])
