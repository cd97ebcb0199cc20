"""Nodes: statements as ``tensor.grad_fn`` shows them."""

from __future__ import annotations

import weakref
from abc import ABCMeta
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from ..base.errors import UnsupportedError
from ..native import abi as nt
from ..native.handle_type import AnyTensor, TensorHandle
from ..ops.layout import LAYOUTS
from ..tape import recording as record
from ..tape import versions, views
from ..tape.hook_cycles import KEPT_WITH
from ..tape.hooks import Hooks, RemovableHandle
from ..tape.leaf_storage import Storage, leaf_of, storage_of
from ..tape.tape import Tape, slot_of, tape_at
from . import saved_tensors as saved
from .edges import edge_places
from .leaf_grads import add_to_grad
from .node_names import AS_STRIDED, name_of, source_of
from .python_steps import Swept, no_grad_on, scattered
from .reverse_pass import Request
from .saved_tensor import SavedTensor
from .targets import Target
from .tensor_hooks import hooks_of

__all__ = ["AccumulateGrad", "Node", "edge_of", "kept_node", "leaf_node", "node_of"]


class Node(metaclass=ABCMeta):  # noqa: B024 - contexts of Functions are registered as nodes
    """A statement of the tape, under PyTorch's name for it (``AddBackward0`` ...).

    It keeps the statement and the values that its gradient needs, like the tensor; that of an
    `autograd.Function` has the attributes of its context, too. A statement has one node, which lives as
    long as a tensor it was asked for of (`kept_node`), or a node whose `next_functions` were looked at.

    >>> import tapegrad as tg
    >>> tg.ones(2, requires_grad=True).exp().grad_fn.name()
    'ExpBackward0'
    """

    __slots__ = ("__weakref__", "_metadata", "_next", "_tensor")

    def __init__(self, tensor: TensorHandle) -> None:
        if type(self) is Node or not record.is_tensor(tensor):
            raise TypeError(f"{type(self).__name__}() takes no arguments")  # users make none
        tape = tape_at(tensor._state)
        # A handle of its own: the tensor may move on to another statement by an in-place write.
        self._tensor = record.new_tensor(tape, slot_of(tape, tensor), LAYOUTS[tensor._layout_id])
        storage = storage_of(tensor)
        if storage is not None and storage.leaf and tensor.is_leaf:  # its `grad` is this one's
            self._tensor._meta = storage
        else:  # an edge of it leads to the value of this moment, also after writes
            moment = self._tensor._meta = Storage(None, leaf=False)
            slot = slot_of(tape, self._tensor)
            last = versions.last_write(tape, slot)
            moment.moment = record.new_tensor(tape, last, tape.instruction_of(last).out)
        self._metadata: dict[Any, Any] = {}
        self._next: tuple[tuple[Node | None, int], ...] | None = None

    @property
    def metadata(self) -> dict[Any, Any]:
        """For the user's own notes; kept with the node."""
        context = self._context()
        if context is not None and context._metadata:  # from ``forward``
            self._metadata = context._metadata
        return self._metadata

    @property
    def tensor(self) -> AnyTensor:
        """The result that the node was asked for of."""
        return self._tensor

    def output(self, number: int) -> AnyTensor:
        """One of the node's outputs.

        Raises
        ------
        IndexError
            If there is none of this number, or it is not there any more.
        """
        tape, slot = self._place()
        with tape.lock:
            op = tape.instruction_of(slot).op
            if op.multiple_views or number == views.output_number(tape, slot):
                return self._tensor
            anchor = tape.args_of(slot)[0] if op.name == "function_output" else tape.count
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

    def is_left_behind(self) -> bool:
        """Return True for the node of a view whose memory was written since it was asked for."""
        tape, slot = self._place()
        if tape.instruction_of(slot).op.kind != nt.VIEW:
            return False
        moment = getattr(storage_of(self._tensor), "moment", None)
        return versions.is_behind(tape, slot if moment is None else slot_of(tape, moment))

    def name(self) -> str:
        """PyTorch's name of the node."""
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """The nodes of the operands, and which of their outputs each is; None for passive ones."""
        if self._next is None:
            self._next = self._find_next()
        return self._next

    def _find_next(self) -> tuple[tuple[Node | None, int], ...]:
        tape, slot = self._place()
        with tape.lock:
            if tape.instruction_of(slot).op.name == "function_output":
                slot = tape.args_of(slot)[0]
            args = tape.args_of(slot)
            return tuple(
                (
                    self._node_at(tape, args[i], slot),
                    views.output_number(tape, args[i]),
                )
                for i in edge_places(tape, slot)
            )

    @staticmethod
    def _node_at(tape: Tape, slot: int, user: int) -> Node | None:
        if not tape.is_active(slot):
            return None
        instruction = tape.instruction_of(slot)
        computed = instruction.op.kind == nt.COMPUTE and instruction.layouts
        if computed and not any(tape.args_of(slot)):
            return None  # it was passive, and something active has been written over it since
        tensor = record.tensor_at(tape, slot)
        return leaf_node(tensor) if tensor.is_leaf else node_of(tensor, user)

    def __call__(self, *grads: TensorHandle | None) -> Any:
        """Return the gradients of the node's inputs for those of its outputs, without its hooks.

        Parameters
        ----------
        *grads : Tensor or None
            One an output.

        Returns
        -------
        Tensor, or tuple of (Tensor or None)
            One an entry of `next_functions`; alone if there is one. They are not differentiable.

        Raises
        ------
        TypeError
            For another number of gradients.
        RuntimeError
            If a value that the derivative needs was freed, or written in place.
        UnsupportedError
            For the nodes of in-place operations.
        """
        for i, grad in enumerate(grads):
            if grad is not None and not record.is_tensor(grad):
                raise TypeError(f"argument {i} is not a Variable")
        context = self._context()
        expected = 1 if context is None else context.count
        if (count := len(grads)) != expected:
            raise TypeError(f"{self.name()}: expected {expected} arguments, got {count} instead")
        gradients = self._gradients(context, grads)
        return gradients[0] if len(gradients) == 1 else gradients

    def _gradients(
        self, context: Any, grads: tuple[TensorHandle | None, ...]
    ) -> tuple[AnyTensor | None, ...]:
        tape, k = self._place()
        kind = tape.instruction_of(k).op.kind
        if kind not in (nt.COMPUTE, nt.VIEW) or self.name() in ("CopySlices", AS_STRIDED):
            raise UnsupportedError(
                f"the node {self.name()} of an in-place operation cannot be called; use autograd.grad"
            )
        if context is None and grads[0] is None:
            return (None,) * len(edge_places(tape, k))
        tape.make_room(64, 256)
        tape.settle()
        tape, k = self._place()
        if context is not None:
            tape.counted += 1  # `k` is known by number
            try:
                incoming = {j: g for j, g in enumerate(grads) if g is not None}
                return tuple(context.run(tape, tape.args_of(k)[0], incoming, False))
            finally:
                tape.counted -= 1
        assert grads[0] is not None
        if kind == nt.VIEW:
            return (scattered(tape, k, grads[0]),)
        args, instruction = tape.args_of(k), tape.instruction_of(k)
        places = [i for i in edge_places(tape, k) if tape.is_active(args[i])]
        targets = [Target(args[i], args[i], instruction.layouts[i]) for i in places]
        with tape.lock, Request(tape, raw=True) as request:
            request.place([k], targets)
            request.prepare()
            with no_grad_on(tape):
                derivatives = Swept(request).derivatives(k, grads[0])
                tape.evaluate()
            request.release(free=False)
        return tuple([derivatives[i] for i in edge_places(tape, k)])

    def register_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(grad_inputs, grad_outputs)`` when the node's derivatives were computed.

        Its result, if not None, takes the place of the gradients of the inputs.
        """
        return self._hooks().add("after", hook)

    def register_prehook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(grad_outputs)`` before the node's derivatives are computed.

        Its result, if not None, takes the place of the gradients of the outputs.
        """
        return self._hooks().add("before", hook)

    def _hooks(self) -> Hooks:
        tape, slot = self._place()
        kind = tape.instruction_of(slot).op.kind
        if (
            versions.last_write(tape, slot) > slot
            or (kind == nt.VIEW and versions.is_behind(tape, slot))
            or kind in (nt.WRITE, nt.ACCUMULATE)
            or self.name() in ("CopySlices", AS_STRIDED)
        ):
            raise UnsupportedError(
                f"hooks of the node {self.name()}, which an in-place operation made or left behind, are "
                "not supported; use the tensor's register_hook, or the operation that is not in place"
            )
        context = self._context()
        if context is None:
            return hooks_of(self._tensor)
        if context.hooks is None:
            context.hooks = Hooks()
        return context.hooks

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
                getters = saved.kept(tape, slot)
            if name[7:] in getters:
                return getters[name[7:]]()
        if name.startswith("_raw_saved_"):
            raw = SavedTensor.named(self, name[11:])
            if raw is not None:
                return raw
        context = None if name.startswith("__") else self._context()
        if context is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(context, name)

    def _place(self) -> tuple[Tape, int]:
        tape = tape_at(self._tensor._state)
        return tape, slot_of(tape, self._tensor)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {id(self):#x}>"


class AccumulateGrad(Node):
    """The node of a leaf: where its gradient is accumulated."""

    __slots__ = ()

    @property
    def variable(self) -> AnyTensor:
        """The leaf: the tensor itself, if it is there."""
        storage = storage_of(self._tensor)
        tensor = None if storage is None else leaf_of(storage)
        return self._tensor if tensor is None else tensor

    def _find_next(self) -> tuple[tuple[Node | None, int], ...]:
        return ()

    def _gradients(
        self, context: Any, grads: tuple[TensorHandle | None, ...]
    ) -> tuple[AnyTensor | None, ...]:
        """Accumulate into the leaf's ``grad``."""
        storage, grad = storage_of(self._tensor), grads[0]
        if storage is not None and grad is not None:
            add_to_grad(storage, grad._array())
        return ()


def leaf_node(tensor: TensorHandle) -> AccumulateGrad:
    """The node of a leaf."""
    storage = storage_of(tensor)
    known = None if storage is None or storage.node is None else storage.node()
    if known is None:
        known = AccumulateGrad(tensor)
        if storage is not None:
            storage.node = weakref.ref(known)
    return known


class _Kept:
    """Nodes that tensors keep, by the tensors' ids."""

    def __init__(self) -> None:
        self.nodes: dict[int, tuple[weakref.ref[Any], Node]] = {}

    def keep(self, tensor: TensorHandle, node: Node) -> None:
        """Let a node live as long as a tensor does."""
        number = id(tensor)
        known = self.nodes.get(number)
        if known is None:
            self.nodes[number] = weakref.ref(tensor, partial(self._dropped, number)), node
        elif known[1] is not node:
            self.nodes[number] = known[0], node

    def _dropped(self, number: int, _: object) -> None:
        self.nodes.pop(number, None)


_kept = _Kept()
KEPT_WITH.append(_kept.nodes)


def kept_node(tensor: TensorHandle) -> Node | None:
    """A tensor's node, which lives as long as the tensor from now on."""
    node = node_of(tensor)
    if node is not None:
        _kept.keep(tensor, node)
    return node


def edge_of(tensor: TensorHandle) -> tuple[Node, int]:
    """The node of an active tensor, of a leaf as well, and which of its outputs the tensor is."""
    tape = tape_at(tensor._state)
    with tape.lock:
        node, source = kept_node(tensor), source_of(tape, tensor, None)
        if node is None or source is None:
            return leaf_node(tensor), 0
        return node, views.output_number(tape, slot_of(tape, source))


@cache
def _node_type(name: str) -> type[Node]:
    return type(name, (Node,), {"__slots__": (), "__module__": "tapegrad"})


def node_of(tensor: TensorHandle, user: int | None = None) -> Node | None:
    """The node of an active tensor that is not a leaf, as it was when statement `user` was recorded."""
    tape = tape_at(tensor._state)
    if tensor.is_leaf and not tape.writes:
        return None
    with tape.lock:
        source = source_of(tape, tensor, user)
        if source is None:
            return None
        return _shared(tape, source, _node_type(name_of(tape, source, user)))


def _shared(tape: Tape, tensor: TensorHandle, kind: type[Node]) -> Node:
    """The one node of a statement."""
    slot = slot_of(tape, tensor)
    if tape.instruction_of(slot).op.name == "function_output":
        slot = tape.args_of(slot)[0]
    known = tape.nodes.get(slot)
    node = None if known is None else known()
    if type(node) is not kind or node.overwritten():
        node = kind(tensor)
        tape.nodes[slot] = weakref.ref(node)
    return node
