"""Writing in place: ``x.copy_(y)``, ``x += y``, ``x.zero_()``, ``x[i] = v``.

All are made of two statements. `copy_` computes the new value out of place and writes it over the
tensor's memory; sums use `accumulate_`, which needs no temporary. The checks, the copy of an old
value that a derivative still needs, and the move of the handle to the new statement are in
`overwrite` and `in_place`; inplace_methods.py makes the methods of all functions with them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ...base import torch_messages as messages
from ...base.dtypes import from_numpy_dtype
from ...base.errors import must_be
from ...engine import detaching
from ...engine import saved_tensors as saved
from ...engine.node_names import AS_STRIDED, name_of
from ...native import abi as nt
from ...native.handle_type import status_of
from ...ops.layout import broadcast_shapes
from ...ops.table import TABLE
from ...tape import mirrors, readout, views, watching
from ...tape import recording as record
from ...tape.current import current_tape
from ...tape.recording import layout_of, storage_of
from ...tape.tape import Tape, slot_of
from ...transforms import duals
from ..arguments import as_tensors, check_cast
from ..registry import FUNCTIONS, METHODS, public
from ..shape.broadcast import expanded
from ..signature import Tensor
from .getitem import put_at, resolve_index
from .reversed_slices import forwards

__all__ = ["MethodSignature", "check_target", "in_place", "overwrite"]


def check_target(target: Any, *, active: bool = False, uniform: bool = False) -> None:
    """Raise PyTorch's errors for a tensor that must not be written.

    Parameters
    ----------
    target : Tensor
    active : bool
        Whether the value to be written requires grad.
    uniform : bool
        Whether every element gets the same number: then elements may share memory.

    Raises
    ------
    RuntimeError
        A leaf (or a view of one) that requires grad, or a view that PyTorch does not let be written, in
        grad mode; memory that elements share.
    """
    record.adopt(target)
    tape = current_tape()
    slot = slot_of(tape, target)
    if readout.is_running():
        readout.check_write(tape, slot)
    # A passive tensor that is no view takes any passive value.
    if tape.grad_mode and (active or tape.base[slot] != slot or tape.flags[slot] & nt.ACTIVE):
        views.check_write(tape, slot, active=active)
    if (layout_of(target).overlaps and not uniform) or (
        tape.mirrors and mirrors.is_mirror(tape, slot)
    ):
        raise RuntimeError(messages.OVERLAP)


def overwrite(
    target: Any, source: Any, *, accumulate: bool = False, node_name: str | None = None
) -> Any:
    """Write (or add) `source`, broadcast, into `target`; return the target.

    Parameters
    ----------
    target : Tensor
    source : Tensor
        Of the target's dtype, of a shape that broadcasts to the target's.
    accumulate : bool
        Add instead of overwriting.
    node_name : str, optional
        Name of the node.
    """
    check_target(target, active=bool(status_of(source) & 1))
    return _write_checked(target, source, accumulate=accumulate, node_name=node_name)


def _write_checked(
    target: Any, source: Any, *, accumulate: bool = False, node_name: str | None = None,
    arrives: bool = True,
) -> Any:  # fmt: skip
    """`overwrite` a target that was checked; without `arrives`, `watching.arrive` is still to come."""
    node_name = node_name or ("AddBackward0" if accumulate else "CopyBackwards")
    shape, source_shape = target.shape, source.shape
    if source_shape != shape and (common := broadcast_shapes(shape, source_shape)) != tuple(shape):
        raise RuntimeError(
            f"output with shape {list(shape)} doesn't match the broadcast shape {list(common)}"
        )
    tape = current_tape()
    if duals.running() and tape.grad_mode and _is_alone(tape, target):
        whole = accumulate or record.is_active(source)
        fresh = (
            target + source if accumulate else (source if whole else target).expand(shape).clone()
        )
        if fresh._layout_id == target._layout_id:
            watching.rebind(target, tape, slot_of(tape, fresh))
            if whole:
                watching.arrive(tape, slot_of(tape, target))
                return target
    if source._state == target._state:
        target_slot, source_slot = slot_of(tape, target), slot_of(tape, source)
        if tape.base[target_slot] == tape.base[source_slot] and not (
            accumulate and target_slot == source_slot
        ):
            source = source.clone()  # the two share memory: read all of it before writing
    target_slot = slot_of(tape, target)
    watching.leave(tape, target_slot)
    recording = record.accumulate if accumulate else record.write
    instruction = tape.instruction_of(target_slot)
    if (
        instruction.op.kind not in (nt.LEAF, nt.COMPUTE)
        and views.state_of(tape, target_slot).is_view
    ):
        node_name = AS_STRIDED  # PyTorch's name for a view after a write
    slot = recording(target, source, node_name)
    if tape.grad_mode and tape.is_active(slot):
        # From here on the handle is the result of the write.
        watching.rebind(target, tape, slot)
    if arrives:
        watching.arrive(tape, int(tape.base[slot]))
    return target


def _is_alone(tape: Tape, target: Any) -> bool:
    """Return True for an active result whose memory no other tensor sees.

    In forward mode such a tensor can become another result instead of being written: tangents are computed
    when they are asked for, and may need the old value.
    """
    slot = slot_of(tape, target)
    base = int(tape.base[slot])
    if slot != base or tape.flags[base] & nt.VISIBLE or not tape.is_active(slot):
        return False
    slots = tape._handles[tape._handles > 0]
    alone = np.count_nonzero(tape.base[slots] == base) == 1
    return alone and tape.instruction_of(base).op.kind == nt.COMPUTE and storage_of(target) is None


def _reads_old_value(tape: Tape, count: int, target: Any) -> bool:
    """Return True if a derivative of the statements from slot `count` on needs the target's value."""
    target_slot = slot_of(tape, target)
    base = int(tape.base[target_slot])
    for k in range(count, tape.count):
        instruction = tape.instruction_of(k)
        if instruction.op.kind != nt.COMPUTE or not tape.is_active(k):
            continue
        args = tape.args_of(k)
        for place in saved.residuals(tape, instruction, k, base):
            slot = args[place] if place < len(args) else k
            if tape.base[slot] == base and (slot == target_slot or slot >= count):
                return True
    return False


#: functions, with the operands that require grad, whose derivatives need the target's old value
_KEEPING: set[tuple[Any, ...]] = set()


def _new_value(name: str, target: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Compute the value to be written, from a copy of the target if a derivative needs the old value.

    That shows when the function has been recorded: then it is recorded again, and the next time at once
    with a copy.
    """
    function = getattr(type(target), name)
    tape = current_tape()
    pattern = tuple([record.is_tensor(x) and record.is_active(x) for x in (target, *args)])
    if not (tape.grad_mode and (True in pattern or _requires_grad(options.values()))):
        return function(target, *args, **options)
    key = (name, pattern)
    if key not in _KEEPING and tape.saving is None:
        tape.make_room(64, 256)
        count, collections = tape.count, tape.collections
        result = function(target, *args, **options)
        if tape.collections == collections:  # slots still have the same numbers
            if not _reads_old_value(tape, count, target):
                return result
            del result
            tape.undo(count)
            base = tape.base[slot_of(tape, target)]
            if not any(_sees(tape, x, base) for x in (*args, *options.values())):
                _KEEPING.add(key)
    return function(target.clone(), *args, **options)  # if an argument is the target, it goes


def _sees(tape: Tape, value: Any, base: int) -> bool:
    """Return True for a tensor on the tape with this base."""
    if not record.is_tensor(value) or value._state != tape.pointer:
        return False
    return bool(tape.base[slot_of(tape, value)] == base)


def _requires_grad(values: Any) -> bool:
    return any(record.is_tensor(v) and record.is_active(v) for v in values)


def _replace(target: Any, result: Any) -> Any:
    """Write a new value, cast to the dtype, over a target that was checked; return the target.

    Raises
    ------
    RuntimeError
        PyTorch's error for a dtype that cannot be cast to the target's.
    """
    if result.dtype is not target.dtype:
        check_cast(result, target)
        result = record.cast(result, target.dtype)
    node_name = name_of(current_tape(), result) if record.is_active(result) else "CopyBackwards"
    return _write_checked(target, result, node_name=node_name)


def in_place(name: str) -> Callable[..., Any]:
    """Make the in-place method of a function: compute out of place, then write."""

    def method(self: Any, *args: Any, **options: Any) -> Tensor:
        if "out" in options:
            raise TypeError(f"{name}_() got an unexpected keyword argument 'out'")
        check_target(self, active=_requires_grad((*args, *options.values())))
        return _replace(self, _new_value(name, watching.unwatched(self), args, options))

    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = f"In-place version of `{name}`."
    method.__wrapped__ = MethodSignature(name)  # type: ignore[attr-defined]
    return method


class MethodSignature:
    """The signature that is shown for an in-place method: that of the method of which it is made."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def __wrapped__(self) -> Any:
        return METHODS.get(self._name) or getattr(record.tensor_type(), self._name)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.__wrapped__)


@public(method=True, function=False)
def copy_(input: Any, src: Any, non_blocking: bool = False) -> Tensor:
    """Overwrite with the values of `src`, broadcast and cast; return the tensor."""
    if record.is_number(src):
        return fill_(input, src)
    (src,) = as_tensors("copy_", (src,))
    return overwrite(input, record.cast(src, input.dtype))


@public(method=True, function=False)
def fill_(input: Any, value: Any) -> Tensor:
    """Overwrite every element with a number (or 0-d tensor); return the tensor."""
    if record.is_tensor(value):
        if value.ndim:
            raise RuntimeError(
                "fill_ only supports 0-dimension value tensor but got tensor with "
                f"{value.ndim} dimensions."
            )
        check_target(input, active=record.is_active(value), uniform=not record.is_active(value))
        return _write_checked(input, record.cast(value, input.dtype), node_name="FillBackward0")
    if not record.is_number(value):
        raise must_be("fill_", "value", 1, "Number", value)
    check_target(input, uniform=True)
    return _write_checked(input, record.as_operand(value, input.dtype), node_name="FillBackward0")


@public(method=True, function=False)
def zero_(input: Any) -> Tensor:
    """Overwrite every element with zero; return the tensor."""
    check_target(input, uniform=True)
    return _write_checked(input, record.as_operand(0, input.dtype), node_name="ZeroBackward0")


@public(method=True, function=False)
def detach_(input: Any) -> Tensor:
    """Cut the tensor off its graph in place; return it."""
    record.adopt(input)
    tape = current_tape()
    slot = slot_of(tape, input)
    if views.state_of(tape, slot).is_view:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel "
            "(DDP) for training, and gradient_as_bucket_view is set as True, gradients are views of "
            "DDP buckets, and hence detach_() cannot be called on these gradients. To fix this error, "
            "please refer to the Optimizer.zero_grad() function in torch/optim/optimizer.py as the "
            "solution."
        )
    if tape.is_active(slot):
        detaching.note(tape, slot)
        alias = input.detach()
        watching.rebind(input, tape, slot_of(tape, alias))
    return input


def _check_item_target(input: Any, view: Any, *, active: bool) -> None:
    """`check_target`, in the words that PyTorch has for items of a leaf."""
    if current_tape().grad_mode and input.requires_grad and input.is_leaf:
        whole = input._layout_id == view._layout_id
        raise RuntimeError(messages.LEAF_IN_PLACE if whole else messages.LEAF_VIEW_IN_PLACE)
    check_target(view, active=active)


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
    ahead = forwards(layout_of(input), index)
    if ahead is not None:
        index, dims = ahead
        shape = resolve_index(input, index)[0].shape
        value = FUNCTIONS["flip"](FUNCTIONS["broadcast_to"](value, shape), dims)
    view, advanced = resolve_index(input, index)
    if view._layout_id == input._layout_id:
        view = input  # all of it
    node_name = None
    if advanced is not None:
        node_name = "IndexPutBackward0"
        _check_item_target(input, view, active=record.is_active(value))
        value = put_at(view, value, advanced)
    if value.ndim:
        while value.ndim > view.ndim and value.shape[0] == 1:
            value = value.reshape(value.shape[1:])
        expanded(layout_of(value), view.shape)  # raises where it does not fit
    _check_item_target(input, view, active=record.is_active(value))
    _write_checked(view, value, node_name=node_name, arrives=False)
    tape = current_tape()
    if view is not input and tape.grad_mode and tape.is_active(slot_of(tape, input)):
        layout = layout_of(input)
        alias = record.view(TABLE["copy_slices"], input, layout.shape, layout.strides)
        watching.rebind(input, tape, slot_of(tape, alias), part=True)
    # Views with hooks continue behind the tensor's new statement, so that it has their gradients.
    watching.arrive(tape, int(tape.base[slot_of(tape, view)]))
