"""Contexts of `autograd.Function`: a call leaves one on the tape (``tape.contexts``) for the reverse pass."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ..base import torch_messages as messages
from ..base.dtypes import type_name
from ..engine.inference import check_saved
from ..engine.node import Node
from ..engine.saved_tensors import Packed
from ..functions.registry import FUNCTIONS
from ..native import abi as nt
from ..native.exchange import Exchange, Exchanged
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.hooks import Hooks
from ..tape.tape import Tape
from ..tape.user_code import call_user
from ..tensors.tensor import Tensor
from .function_checks import checked_gradient, savable

__all__ = ["FunctionCtx", "context_type", "forward_mode", "marked"]


class _PassMode(threading.local):
    """Mode of a thread's reverse pass: recorded to be transposed, as forward mode, or not."""

    forward = False


_mode = _PassMode()


def forward_mode() -> Exchange:
    """Return a context manager: passes ask Functions for their ``jvp`` (jacobian_products.py)."""
    return Exchanged((vars(_mode), "forward", _mode.forward, True))


@cache
def context_type(name: str) -> type[FunctionCtx]:
    """Class of a Function's contexts, under PyTorch's name of its nodes."""
    return type(name, (FunctionCtx,), {"__module__": "tapegrad"})


class FunctionCtx:
    """Notes that ``forward`` leaves for ``backward``.

    Any attribute may be set. Tensors go through `save_for_backward`, so that values that were
    written in place since are noticed.

    Attributes
    ----------
    needs_input_grad : tuple of bool
        Whether the gradient of each argument of ``forward`` is wanted.
    saved_tensors : tuple of Tensor
        The arguments of `save_for_backward` (in ``jvp``, of `save_for_forward` if that was called).

    Examples
    --------
    >>> import tapegrad as tg
    >>> class Square(tg.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x
    ...
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (x,) = ctx.saved_tensors
    ...         return 2 * grad * x
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> Square.apply(a).sum().backward()
    >>> a.grad
    tensor([2., 4.])
    """

    def __init__(self, function: type[Any], needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.materialize_grads = self._materialize_non_diff_grads = True
        self._function = function
        self._metadata: dict[Any, Any] = {}
        self._saved: tuple[Any, ...] = ()
        self._saved_forward: tuple[Any, ...] = ()
        #: True if the Function's ``vmap`` computed the outputs, which then have a graph of their own
        self._has_rule = False
        self._in_jvp = self._freed = self._accessed = False
        self._dirty: tuple[Any, ...] = ()
        self._passive: tuple[Any, ...] = ()
        self._shapes: list[tuple[Any, Any] | None] = []
        self._arguments: list[int] = []
        self.count = 0
        #: numbers of the outputs that can have a gradient
        self.differentiable: tuple[int, ...] = ()
        #: those of the node
        self.hooks: Hooks | None = None
        #: the tape and the `function` statement, while the context is in use
        self.place: tuple[Tape, int] | None = None

    if TYPE_CHECKING:  # or a type checker would refuse the user's attributes

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    @property
    def metadata(self) -> dict[Any, Any]:
        """For the user's own notes: the node's, where there is one."""
        if self._metadata or self.place is None:
            return self._metadata
        tape, anchor = self.place
        known = tape.nodes.get(anchor)
        node = None if known is None else known()
        return self._metadata if node is None else node._metadata

    # ------------------------------------------------------------------ for forward
    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for ``backward``: inputs, outputs, or values in between.

        Raises
        ------
        TypeError
            For an argument that is not a Tensor or None.
        """
        self._saved = savable("save_for_backward", tensors)

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for ``jvp``."""
        self._saved_forward = savable("save_for_forward", tensors)

    def mark_dirty(self, *tensors: Any) -> None:
        """Say which inputs ``forward`` wrote in place."""
        for i, t in enumerate(tensors):
            if not record.is_tensor(t):
                raise RuntimeError(
                    f"mark_dirty can only accept variables, but argument {i} is of type "
                    f"{type(t).__name__}"
                )
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say which outputs have no gradient."""
        for t in tensors:
            if not record.is_tensor(t):
                raise RuntimeError(
                    "mark_non_differentiable only accepts variable arguments, but got "
                    f"{type(t).__name__}"
                )
        self._passive = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Say whether ``backward`` gets zeros (the default) or None for outputs that were not used."""
        messages.check_bool("set_materialize_grads", "value", 1, value)
        self.materialize_grads = value

    # ------------------------------------------------------------------ for backward
    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """Tensors that `save_for_backward` was given.

        Raises
        ------
        RuntimeError
            If a backward pass freed them, or one was written in place since.
        """
        if self._freed:
            raise RuntimeError(messages.FREED)
        if self._accessed:
            raise RuntimeError(
                "saved_tensors can only be accessed once when clear_saved_tensors_on_access=True is set "
                "on the autograd.Function. Either access saved_tensors only once, or set "
                "clear_saved_tensors_on_access=False."
            )
        in_jvp = self._in_jvp and self._saved_forward
        tape = current_tape()
        tape.counted += 1  # `place` is a number
        try:
            tensors = tuple(
                [self._unpacked(x) for x in (self._saved_forward if in_jvp else self._saved)]
            )
        finally:
            tape.counted -= 1
        if self._function.clear_saved_tensors_on_access and self.place is not None and not in_jvp:
            self._saved, self._accessed = (), True
        return tensors

    @property
    def saved_variables(self) -> tuple[Any, ...]:
        """PyTorch's old name of `saved_tensors`."""
        warnings.warn(
            "'saved_variables' is deprecated; use 'saved_tensors'", DeprecationWarning, stacklevel=2
        )
        return self.saved_tensors

    def name(self) -> str:
        """PyTorch's name of the node."""
        return self._function.node_name()

    def saved_count(self) -> int:
        """Return how many tensors are saved for backward.

        Raises
        ------
        RuntimeError
            If they were freed.
        """
        if self._freed:
            raise RuntimeError(messages.FREED)
        return len(self._saved)

    def saved_state(self, number: int) -> tuple[bool, bool]:
        """Return whether something is saved under a number, and whether it passed through hooks."""
        saved = self._saved[: self.saved_count()][number]
        is_packed = isinstance(saved, tuple) and isinstance(saved[1], Packed)
        return saved is not None, is_packed

    def pack_again(self, number: int, hooks: Any) -> None:
        """Pass one of the saved tensors through hooks."""
        tensor = self._unpacked(self._saved[number])
        origin, _ = self._saved[number]
        assert self.place is not None
        tape, anchor = self.place
        slot, place = record.operand(tape, tensor), None
        if isinstance(origin, int):
            place = origin
        elif slot in (slots := tape.args_of(anchor)):
            place = -1 - slots.index(slot)
        packed = place, hooks.pack(record.tensor_at(tape, slot))
        self._saved = (*self._saved[:number], packed, *self._saved[number + 1 :])

    def _unpacked(self, saved: Any) -> Any:
        if saved is None or record.is_tensor(saved):
            return saved
        origin, version = saved
        if isinstance(version, Packed):
            if origin is None:
                return version.unpack()
            assert self.place is not None
            tape, slot, anchor = current_tape(), self._slot(origin), self.place[1]
            if origin >= 0:
                return version.value_of(tape, slot, tape.instruction_of(slot).out, slot)
            layouts = tape.instruction_of(anchor).layouts
            return version.value_of(tape, slot, layouts[-1 - origin], anchor)
        if isinstance(origin, int):
            slot = self._slot(origin)
            tape = current_tape()
            tensor = record.new_tensor(tape, slot, tape.instruction_of(slot).out)
            if tensor._version != version:
                raise RuntimeError(_stale(tensor, version, self.name()))
            return tensor
        if origin._version != version:
            node = origin.grad_fn
            raise RuntimeError(_stale(origin, version, "" if node is None else node.name()))
        return origin

    def _slot(self, number: int) -> int:
        """The slot of an output, or for -1 - i of the i-th tensor among the arguments.

        The context must not keep its own graph, so it has no tensors of these.
        """
        assert self.place is not None
        tape, anchor = self.place
        return anchor + 1 + number if number >= 0 else tape.args_of(anchor)[-1 - number]

    def check_returned(self, args: tuple[Any, ...], outputs: Sequence[Any]) -> None:
        """Raise PyTorch's error for a saved tensor that is an input and, as it is, an output as well.

        As the one it has another derivative than as the other. A `forward` that takes the context means
        the input, as it saves before there are outputs.
        """
        dirty = {id(t) for t in self._dirty}
        both = {id(a) for a in args if record.is_tensor(a)} & {id(y) for y in outputs} - dirty
        if both and any(id(t) in both for t in (*self._saved, *self._saved_forward)):
            raise RuntimeError(
                "An input that has been returned as-is as output is being saved for backward. This is "
                "not supported if you override setup_context. You should return and save a view of the "
                "input instead, e.g. with x.view_as(x) or setup ctx inside the forward function itself."
            )

    def seal(self, tape: Tape, args: tuple[Any, ...], numbers: dict[int, int]) -> None:
        """Turn the saved tensors into the entries that the tape keeps.

        An entry is a pair of an origin (the tensor, or a number for `_slot`) and the version when it was
        saved, or what hooks packed; `numbers` maps the id of an output to its number.
        """
        check_saved(self._saved)

        def sealed(saved: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple([
                None if t is None else (numbers[id(t)], 0) if id(t) in numbers else (t, t._version)
                for t in saved
            ])  # fmt: skip

        self._saved_forward = sealed(self._saved_forward)
        hooks: Any = tape.saving
        if hooks is None:
            self._saved = sealed(self._saved)
            return
        tensors = (a for a in args if record.is_tensor(a))
        places = {id(t): -1 - i for i, t in enumerate(tensors)} | numbers
        self._saved = tuple(
            None if t is None else self._packed(hooks, t, places.get(id(t)), numbers)
            for t in self._saved
        )

    def _packed(
        self, hooks: Any, tensor: Tensor, place: int | None, numbers: dict[int, int]
    ) -> tuple[int | None, Packed]:
        packed = hooks.pack(self._handle(tensor, numbers))
        if place is not None and place < 0:  # an argument
            hooks.keep_origin(current_tape(), self._slot(place), packed)
        return place, packed

    def _handle(self, tensor: Tensor, numbers: dict[int, int]) -> Tensor:
        """Another handle of a tensor that is saved, which hooks may change."""
        tape = current_tape()
        place = numbers.get(id(tensor))
        slot = record.operand(tape, tensor) if place is None else self._slot(place)
        return record.tensor_at(tape, slot)

    def release(self) -> None:
        """Drop what was saved: a pass that keeps no graph has run."""
        if self._saved:
            self._saved, self._freed = (), True
        self._saved_forward = ()

    def run(
        self, tape: Tape, anchor: int, cotangents: dict[int, Tensor], is_replayed: bool
    ) -> list[Tensor | None]:
        """Call ``backward``; the gradients of the tensors among the arguments.

        Raises
        ------
        RuntimeError
            For a wrong number, kind or shape of gradients.
        """
        function, name = self._function, self._function.node_name()
        cts: list[Any] = []
        for j, like in enumerate(self._shapes):
            ct = cotangents.get(j)
            wanted = self._materialize_non_diff_grads or j in self.differentiable
            if ct is None and like is not None and self.materialize_grads and wanted:
                ct = FUNCTIONS["zeros"](like[0], dtype=like[1])
            cts.append(ct)
        if _mode.forward and is_replayed and function.has_jvp():
            return function.transposed(self, tape, anchor, cotangents)
        before, self.place = self.place, (tape, anchor)  # a pass inside this one may call it, too
        try:
            state = tape.state
            with Exchanged(
                (state, nt.S_GRAD_MODE, state[nt.S_GRAD_MODE], is_replayed),
                (vars(_mode), "forward", _mode.forward, False),
            ):
                returned = call_user(function.backward, self, *cts)
        finally:
            self.place = before
        if not isinstance(returned, tuple):
            returned = (returned,)
        expected = len(self.needs_input_grad)
        extra = returned[expected:]
        if len(returned) < expected or any([g is not None for g in extra]):
            raise RuntimeError(
                f"function {name} returned an incorrect number of gradients (expected {expected}, "
                f"got {len(returned)})"
            )
        slots, gradients = tape.args_of(anchor), []
        for slot, argument in zip(slots, self._arguments, strict=True):
            needed = self.needs_input_grad[argument]  # the slot may be gone, if it is not
            gradients.append(
                checked_gradient(returned[argument], argument, name, tape, slot, needed)
            )
        for i, g in enumerate(returned[:expected]):
            if g is not None and i not in self._arguments:
                raise RuntimeError(
                    f"function {name} returned a gradient different than None at position {i + 1}, "
                    "but the corresponding forward input was not a Variable"
                )
        return gradients


Node.register(FunctionCtx)  # PyTorch's contexts are the nodes


def _stale(tensor: Tensor, version: int, name: str) -> str:
    name = name.removesuffix("0").removesuffix("Backward")
    origin = f", which is output 0 of {name}," if name else ""
    return messages.stale(False).format(
        kind=type_name(tensor.dtype), shape=str(list(tensor.shape)), origin=origin,
        version=tensor._version, expected=version,
    )  # fmt: skip


def marked(g: Any) -> Any:
    """A tensor's value as a leaf that requires grad, also inside of transforms."""
    leaf = g.detach()
    leaf._become_leaf(active=True)
    return leaf
