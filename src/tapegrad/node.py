"""Nodes: what ``tensor.grad_fn`` shows of a statement."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from . import native as nt
from . import record
from .layouts import LAYOUTS
from .tape import Tape, slot_of, tape_at

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["Node", "node_of"]


class Node:
    """A statement of the tape, under PyTorch's name for it (``AddBackward0`` ...).

    It keeps the statement, and what its gradient needs, like the tensor itself.
    """

    __slots__ = ("_tensor",)

    def __init__(self, tensor: Tensor) -> None:
        tape = tape_at(tensor._state)
        # A handle of its own: the tensor may move on to another statement by an in-place write.
        self._tensor = record.new_tensor(tape, slot_of(tape, tensor), LAYOUTS[tensor._layout_id])

    def name(self) -> str:
        """PyTorch's name of the node."""
        return type(self).__name__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node) or self._tensor._state != other._tensor._state:
            return False
        tape = tape_at(self._tensor._state)
        with tape.lock:
            return slot_of(tape, self._tensor) == slot_of(tape, other._tensor)

    def __hash__(self) -> int:
        return hash(type(self))

    def _place(self) -> tuple[Tape, int]:
        return self._tensor._place()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"


@cache
def _node_type(name: str) -> type[Node]:
    return type(name, (Node,), {"__slots__": (), "__module__": "tapegrad"})


def node_of(tensor: Tensor) -> Node | None:
    """The node of an active tensor that is not a leaf."""
    if tensor.is_leaf:
        return None
    tape = tape_at(tensor._state)
    with tape.lock:
        return _node_type(_name(tape, tensor))(tensor)


def _name(tape: Tape, tensor: Tensor) -> str:
    slot = slot_of(tape, tensor)
    made = tape.instruction_of(slot)
    name = made.grad_fn
    numbers = made.op.extras.get("number_names")
    if numbers:  # PyTorch has names of their own for ops with a Python number
        constants = set(tape.constants.slots.values())
        for i, arg in enumerate(tape.args_of(slot)):
            if arg in constants and i in numbers:
                name = numbers[i]
    base, root = int(tape.base[slot]), int(tape.root[slot])
    if any(
        b == base and mark > 2 * slot and not mark & 1 and tape.root[mark >> 1] == root
        for b, mark in tape.writes
    ):
        # it, or a view of it, was written after it was made
        plain = made.op.kind != nt.VIEW or made.op.name == "copy_slices"
        name = "CopySlices" if plain else "AsStridedBackward0"
    return name
