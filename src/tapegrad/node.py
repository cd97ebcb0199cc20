"""Nodes: what ``tensor.grad_fn`` shows of a statement."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from . import native as nt
from . import record, saved, versions, views
from .edges import edge_places
from .errors import UnsupportedError
from .hooks import Hooks, RemovableHandle
from .layouts import LAYOUTS, Layout
from .storage import Storage, storage_of
from .tape import Tape, slot_of, tape_at
from .watching import watch

if TYPE_CHECKING:
    from .tensor_type import Tensor

__all__ = ["AccumulateGrad", "Node", "hooks_of", "name_of", "node_of", "output_number", "watched"]


class Node:
    """A statement of the tape, under PyTorch's name for it (``AddBackward0`` ...).

    It keeps the statement, and what its gradient needs, like the tensor itself. That of an
    `autograd.Function` also has the attributes of its context.

    Attributes
    ----------
    metadata : dict
        For the user's own notes; kept with this object only.
    """

    __slots__ = ("_tensor", "metadata")

    def __init__(self, tensor: Tensor) -> None:
        tape = tape_at(tensor._state)
        # A handle of its own: the tensor may move on to another statement by an in-place write.
        self._tensor = record.new_tensor(tape, slot_of(tape, tensor), LAYOUTS[tensor._layout_id])
        storage = storage_of(tensor)
        if storage is not None and storage.leaf:  # the leaf itself: its `grad` is this one's
            self._tensor._meta = storage
        else:  # an edge of it leads to the value of this moment, whatever is written later
            moment = self._tensor._meta = Storage(None, leaf=False)
            slot = slot_of(tape, self._tensor)
            last = versions.last_write(tape, slot)
            moment.moment = record.new_tensor(tape, last, tape.instruction_of(last).out)
        self.metadata: dict[str, Any] = {}

    @property
    def tensor(self) -> Tensor:
        """The result that the node was asked for of."""
        return self._tensor

    def output(self, number: int) -> Tensor:
        """One of the node's outputs.

        Raises
        ------
        IndexError
            If there is none of this number, or it is not there any more.
        """
        tape, slot = self._place()
        with tape.lock:
            made = tape.instruction_of(slot)
            if made.op.multiple_views or number == views.output_number(tape, slot):
                return self._tensor
            anchor = tape.args_of(slot)[0] if made.op.name == "function_output" else tape.count
            for k in range(anchor + 1, tape.count):
                other = tape.instruction_of(k)
                if other.op.name != "function_output" or tape.args_of(k)[:1] != [anchor]:
                    break
                if other.attrs["number"] == number:
                    return record.new_tensor(tape, k, other.out)
        raise IndexError("tuple index out of range")

    def overwritten(self) -> bool:
        """Return True if its result was written in place after the node was asked for."""
        tape, slot = self._place()
        storage = storage_of(self._tensor)
        if storage is None or storage.moment is None:
            return False
        with tape.lock:
            return versions.last_write(tape, slot) > slot_of(tape, storage.moment)

    def name(self) -> str:
        """PyTorch's name of the node."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """The nodes of the operands, and which of their outputs each is; None for passive ones."""
        tape, slot = self._place()
        with tape.lock:
            made = tape.instruction_of(slot)
            if made.op.name == "function_output":
                slot = tape.args_of(slot)[0]
                made = tape.instruction_of(slot)
            args = tape.args_of(slot)
            return tuple(
                (
                    self._node_at(tape, args[i], made.layouts[i], slot),
                    views.output_number(tape, args[i]),
                )
                for i in edge_places(tape, slot)
            )

    @staticmethod
    def _node_at(tape: Tape, slot: int, layout: Layout, user: int) -> Node | None:
        if not tape.is_active(slot):
            return None
        tensor = record.new_tensor(tape, slot, layout)
        tensor._meta = tape.leaves.get(slot)
        return AccumulateGrad(tensor) if tensor.is_leaf else node_of(tensor, user)

    def register_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(grad_inputs, grad_outputs)`` when the node's derivatives were computed.

        What it returns, if not None, takes the place of the gradients of the inputs.
        """
        return self._hooks().add("after", hook)

    def register_prehook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(grad_outputs)`` before the node's derivatives are computed.

        What it returns, if not None, takes the place of the gradients of the outputs.
        """
        return self._hooks().add("before", hook)

    def _hooks(self) -> Hooks:
        tape, slot = self._place()
        kind = tape.instruction_of(slot).op.kind
        if kind in (nt.WRITE, nt.ACCUMULATE) or self.name() in ("CopySlices", "AsStridedBackward0"):
            raise UnsupportedError(
                f"hooks of the node {self.name()}, which an in-place operation made, are not supported; "
                "use the tensor's register_hook, or the operation that is not in place"
            )
        return hooks_of(self._tensor)

    def _context(self) -> Any:
        """The context of an `autograd.Function`'s call, with the statement it belongs to."""
        tape, slot = self._place()
        if tape.instruction_of(slot).op.name != "function_output":
            return None
        anchor = tape.args_of(slot)[0]
        context = tape.contexts[anchor]
        context.place = (tape, anchor)
        return context

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_saved_"):
            tape, slot = self._place()
            with tape.lock:
                found = saved.kept(tape, slot)
            if name[7:] in found:
                return found[name[7:]]()
        context = None if name.startswith("__") else self._context()
        if context is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(context, name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node) or self._tensor._state != other._tensor._state:
            return False
        tape = tape_at(self._tensor._state)
        with tape.lock:
            return slot_of(tape, self._tensor) == slot_of(tape, other._tensor)

    def __hash__(self) -> int:
        return hash(type(self))

    def _place(self) -> tuple[Tape, int]:
        tape = tape_at(self._tensor._state)
        return tape, slot_of(tape, self._tensor)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"


class AccumulateGrad(Node):
    """The node of a leaf: where its gradient is accumulated."""

    __slots__ = ()

    @property
    def variable(self) -> Tensor:
        """The leaf."""
        return self._tensor

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """Nothing comes behind a leaf."""
        return ()


def output_number(made: Node) -> int:
    """Which of a node's outputs the tensor is that it was asked for."""
    return views.output_number(*made._place())


def hooks_of(tensor: Tensor) -> Hooks:
    """The hooks of a tensor, made if there are none.

    Raises
    ------
    RuntimeError
        If the tensor does not require grad.
    """
    if not tensor.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    storage = storage_of(tensor)
    if tensor.is_leaf:
        assert storage is not None
        if storage.hooks is None:
            storage.hooks = Hooks()
        return storage.hooks
    tape, slot = watched(tensor)
    return tape.hooks.setdefault(slot, Hooks())


def watched(tensor: Tensor) -> tuple[Tape, int]:
    """Let passes that come by a result look at its adjoint; its tape and slot."""
    record.adopt(tensor)  # or it raises: the graph is another thread's
    tape = tape_at(tensor._state)
    return tape, watch(tape, tensor)


@cache
def _node_type(name: str) -> type[Node]:
    return type(name, (Node,), {"__slots__": (), "__module__": "tapegrad"})


def node_of(tensor: Tensor, user: int | None = None) -> Node | None:
    """The node of an active tensor that is not a leaf, as it was when statement `user` was recorded."""
    tape = tape_at(tensor._state)
    if tensor.is_leaf and not tape.writes:
        return None
    with tape.lock:
        slot = slot_of(tape, tensor)
        text = views.invalid(tape, slot) if user is None and tape.writes else ""
        if text:
            raise RuntimeError(text)
        if tensor.is_leaf:
            return None
        made = tape.instruction_of(slot)
        if made.op.kind == nt.WRITE and tape.args_of(slot):
            # What was computed and then written over the whole tensor has its own statement.
            source = record.new_tensor(tape, tape.args_of(slot)[1], made.layouts[1])
            same = made.layouts[0].shape == made.layouts[1].shape
            named = made.attrs["named"]
            if same and name_of(tape, source, user) == named == name_of(tape, tensor, user):
                tensor = source
        return _node_type(name_of(tape, tensor, user))(tensor)


def name_of(tape: Tape, tensor: Tensor, user: int | None = None) -> str:
    """Return PyTorch's name of an active tensor's node, as it was when `user` was recorded."""
    slot = slot_of(tape, tensor)
    made = tape.instruction_of(slot)
    name = made.grad_fn
    numbers = made.op.extras.get("number_names")
    if numbers:  # PyTorch has names of their own for ops with a Python number
        constants = set(tape.constants.slots.values())
        for i, arg in enumerate(tape.args_of(slot)):
            if arg in constants and i in numbers:
                name = numbers[i]
    if versions.last_write(tape, slot, None if user is None else user - 1) > slot:
        # it, or a view of it, was written after it was made
        plain = made.op.kind != nt.VIEW or made.op.name == "copy_slices"
        name = "CopySlices" if plain else "AsStridedBackward0"
    return name
