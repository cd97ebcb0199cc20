"""Copies of tensors: ``copy.copy``, ``copy.deepcopy`` and pickles, with their class and attributes.

A pickle has the value alone, as in PyTorch; `copy.deepcopy` and `tapegrad.save` keep what shares memory, a
tensor and its views, in shared memory (`MemoryPlace`). Copies are leaves, without graph and without hooks.
"""

from __future__ import annotations

import copy
import pickle
from types import MemberDescriptorType
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import from_numpy_dtype
from ..native import abi as nt
from ..tape import readout
from ..tape import recording as record
from ..tape.leaf_storage import layout_of, own_leaf, storage_of
from ..tape.memory_views import address_of, bytes_at
from ..tape.tape import slot_of, tape_at
from .creation.from_data import check_array
from .leaf import detach
from .registry import public

__all__ = [
    "MemoryPlace",
    "attributes_of",
    "class_of",
    "converted_class",
    "leaf_in",
    "place_of",
    "rebuilt",
]

_NOT_A_LEAF = (
    "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the "
    "moment.  If you were attempting to deepcopy a module, this may be because of a "
    "torch.nn.utils.weight_norm usage, see https://github.com/pytorch/pytorch/pull/103001"
)


# --------------------------------------------------------------------------- classes and attributes
def converted_class(tensor: Any, kind: type) -> Any:
    """Return a tensor as one of a subclass; the tensor given is not to be used any more."""
    if kind is type(tensor):
        return tensor
    instance: Any = object.__new__(kind)
    tape = tape_at(tensor._state)
    record.bind_to(instance, tape, slot_of(tape, tensor), layout_of(tensor))
    storage = storage_of(tensor)
    if storage is not None and storage.owner is not None:
        own_leaf(instance, storage)
    else:
        instance._meta = storage
    return instance


def class_of(tensor: Any) -> type | None:
    """Class of a tensor; None for Tensor itself."""
    kind = type(tensor)
    return None if kind is record.tensor_type() else kind


def attributes_of(tensor: Any) -> dict[str, Any] | None:
    """Attributes that a user, or a subclass, has set, None if there are none."""
    state = object.__getstate__(tensor)  # of the dict and the slots
    if not isinstance(state, tuple):
        return None
    slots = {name: value for name, value in state[1].items() if name != "_meta"}
    return {**(state[0] or {}), **slots} or None


@public(method=True, function=False, name="__setstate__")
def set_attributes(input: Any, state: dict[str, Any]) -> None:
    """Set the attributes that a pickled tensor had; no other part of it."""
    for name in state:
        is_slot = isinstance(getattr(type(input), str(name), None), MemberDescriptorType)
        if hasattr(record.tensor_type(), str(name)) or (
            hasattr(type(input), str(name)) and not is_slot
        ):
            raise pickle.UnpicklingError(
                f"a tensor's attribute {name!r} is not one that a user has set"
            )
    for name, value in state.items():
        setattr(input, name, value)


# --------------------------------------------------------------------------- memory
class MemoryPlace(NamedTuple):
    """Place of a tensor in memory, which its views share."""

    #: array that has the memory
    owner: object
    #: where it begins, and how many bytes it has
    address: int
    span: int
    #: where in it the tensor begins, and how many bytes that reaches over, in which steps
    offset: int
    extent: int
    strides: tuple[int, ...]

    def bytes(self) -> np.ndarray:
        """The memory, of which the owner has to be kept."""
        return bytes_at(self.address, self.span)


def place_of(tensor: Any) -> MemoryPlace:
    """Find a tensor's memory, which stays where it is from then on.

    Where a function is traced there is a copy, of which the trace notes that the value was read.
    """
    tape, layout = tape_at(tensor._state), layout_of(tensor)
    with tape.lock:
        slot = slot_of(tape, tensor)
        if tape.abstract:
            if int(tape.base[slot]) != slot:
                tape.evaluate()  # which refuses: nothing tells what shares memory with a view here
            array = tape.expose(slot, layout)
            return MemoryPlace(
                array, address_of(array), array.nbytes, 0, array.nbytes, array.strides
            )
        seen = int(tape.flags[tape.base[slot]]) & nt.VISIBLE
        tape.expose(slot, layout)
        base = int(tape.base[slot])
        tape.flags[base] &= (~nt.VISIBLE | seen) & 0xFF  # nobody is given the memory
        owner, span = tape.owned[base], tape.instruction_of(base).out.span
        start = int(tape.address[base])
        memory, offset = getattr(owner, "array", owner), int(tape.address[slot]) - start
        return MemoryPlace(memory, start, span, offset, layout.span, layout.strides)


def leaf_in(
    memory: np.ndarray, kind: str, shape: tuple[int, ...], strides: tuple[int, ...], offset: int,
    requires_grad: bool, *, shared: bool,
) -> Any:  # fmt: skip
    """Make a leaf in a part of memory; `shared` if another tensor is there, too.

    Raises
    ------
    ValueError, TypeError
        If the part is not in the memory, or no tensor's.
    """
    array: np.ndarray = np.ndarray(shape, from_numpy_dtype(kind).np, memory, offset, strides)
    check_array(array, None)
    if not array.flags.aligned or any(stride % array.itemsize for stride in strides):
        raise ValueError("elements lie across their alignment")
    return record.leaf_tensor(
        array, from_numpy_dtype(kind), requires_grad=requires_grad, visible=shared
    )


class _CopiedMemory:
    """Copy of memory that `copy.deepcopy` has met, and the first tensor in it."""

    def __init__(self, place: MemoryPlace) -> None:
        self.owner, self.memory = place.owner, place.bytes().copy()
        self.first: Any = None

    def leaf(self, tensor: Any, place: MemoryPlace) -> Any:
        layout, first = layout_of(tensor), self.first
        if first is not None:  # from now on each sees the other's writes
            tape = tape_at(first._state)
            with tape.lock:
                tape.flags[tape.base[slot_of(tape, first)]] |= nt.VISIBLE
        leaf = leaf_in(
            self.memory, layout.dtype.name, layout.shape, place.strides, place.offset, tensor.requires_grad,
            shared=first is not None,
        )  # fmt: skip
        self.first = leaf if first is None else first
        return leaf


# --------------------------------------------------------------------------- the protocols
def rebuilt(array: np.ndarray, requires_grad: bool, kind: type | None = None) -> Any:
    """Make the tensor of a pickle."""
    tensor = record.leaf_tensor(array, from_numpy_dtype(array.dtype), requires_grad=requires_grad)
    return tensor if kind is None else converted_class(tensor, kind)


@public(method=True, function=False, name="__reduce_ex__")
def reduced(input: Any, protocol: Any) -> tuple[Any, ...]:
    """Return what a pickle has of a tensor: its value, `requires_grad`, class and attributes."""
    readout.check(input, "copying or pickling", warns=False)
    kind = class_of(input)
    parts = (input._array(), input.requires_grad)
    return rebuilt, parts if kind is None else (*parts, kind), attributes_of(input)


@public(method=True, function=False, name="__copy__")
def shallow_copy(input: Any) -> Any:
    """Return a leaf in the same memory, for ``copy.copy(tensor)``, as PyTorch's."""
    readout.check(input, "copy.copy()", warns=False)
    copied = detach(input)
    if input.requires_grad:
        copied.requires_grad_()
    copied = converted_class(copied, type(input))
    set_attributes(copied, attributes_of(input) or {})
    return copied


@public(method=True, function=False, name="__deepcopy__")
def deep_copy(input: Any, memo: dict[Any, Any]) -> Any:
    """Return a leaf in new memory, with the gradient, for ``copy.deepcopy(tensor)``.

    Raises
    ------
    RuntimeError
        If the tensor is no leaf.
    """
    if id(input) in memo:
        return memo[id(input)]
    readout.check(input, "copy.deepcopy()", warns=False)
    if not input.is_leaf:
        raise RuntimeError(_NOT_A_LEAF)
    place = place_of(input)
    if place.extent:
        known = memo.setdefault(("tapegrad memory", place.address), None)
        if known is None:
            known = memo["tapegrad memory", place.address] = _CopiedMemory(place)
        copied = known.leaf(input, place)
    else:
        copied = rebuilt(input._array(), input.requires_grad)
    copied = converted_class(copied, type(input))
    memo[id(input)] = copied
    if input.grad is not None:
        copied.grad = copy.deepcopy(input.grad.detach(), memo)
    set_attributes(copied, copy.deepcopy(attributes_of(input) or {}, memo))
    return copied
