"""`Function`: operations with a derivative of one's own.

A call runs ``forward`` without recording, copies its results into statements of their own
(ops/python.py), and leaves a context on the tape; the reverse pass calls ``backward`` with it
(callbacks.py).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .. import messages, record
from .. import native as nt
from ..callbacks import no_grad_on
from ..dtypes import type_name
from ..functions.registry import FUNCTIONS
from ..hooks import Hooks
from ..instructions import instruction
from ..ops.table import TABLE
from ..saved import Packed
from ..tape import Tape
from ..tensor import Tensor
from ..threads import current_tape
from .modes import no_grad

__all__ = ["Function", "FunctionCtx", "once_differentiable"]


class FunctionCtx:
    """What ``forward`` leaves for ``backward``.

    Any attribute may be set. Tensors go through `save_for_backward`, so that values that were
    written in place since are noticed.

    Attributes
    ----------
    needs_input_grad : tuple of bool
        Whether the gradient of each argument of ``forward`` is wanted.
    saved_tensors : tuple of Tensor
        What `save_for_backward` was given.
    """

    def __init__(self, function: type[Function], needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.materialize_grads = True
        self._function = function
        self._saved: tuple[Any, ...] = ()
        self._freed = False
        self._dirty: tuple[Any, ...] = ()
        self._passive: tuple[Any, ...] = ()
        self._shapes: list[tuple[Any, Any] | None] = []
        self._arguments: list[int] = []
        self.count = 0
        self.hooks: Hooks | None = None
        #: the tape and the `function` statement, while somebody looks at the context
        self.place: tuple[Tape, int] | None = None

    # ------------------------------------------------------------------ for forward
    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for ``backward``: inputs, outputs, or values in between.

        Raises
        ------
        TypeError
            For what is not a Tensor or None.
        """
        for i, t in enumerate(tensors):
            if t is not None and not record.is_tensor(t):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {i} is of type "
                    f"{type(t).__name__}"
                )
        self._saved = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors for ``jvp``; forward mode goes through ``backward`` here, so nothing is kept."""

    def mark_dirty(self, *tensors: Any) -> None:
        """Say which inputs ``forward`` wrote in place."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say which outputs have no gradient."""
        self._passive = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Say whether ``backward`` gets zeros (the default) or None for outputs that were not used."""
        self.materialize_grads = value

    # ------------------------------------------------------------------ for backward
    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` was given.

        Raises
        ------
        RuntimeError
            If a backward pass freed them, or one was written in place since.
        """
        if self._freed:
            raise RuntimeError(messages.FREED)
        return tuple(self._unpacked(entry) for entry in self._saved)

    def _unpacked(self, entry: Any) -> Any:
        if entry is None or record.is_tensor(entry):
            return entry
        what, version = entry
        if isinstance(version, Packed):
            slot = None if what is None else self._slot(what)
            return version.unpack() if slot is None else version.value_of(current_tape(), slot)
        if isinstance(what, int):
            slot = self._slot(what)
            tape = current_tape()
            return record.new_tensor(tape, slot, tape.instruction_of(slot).out)
        if what._version != version:
            raise RuntimeError(_stale(what, version))
        return what

    def _slot(self, number: int) -> int:
        """The slot of an output, or for -1 - i of the i-th tensor among the arguments.

        The context must not keep its own graph, so it has no tensors of these.
        """
        assert self.place is not None
        tape, anchor = self.place
        return anchor + 1 + number if number >= 0 else tape.args_of(anchor)[-1 - number]

    def seal(self, tape: Tape, args: tuple[Any, ...], numbers: dict[int, int]) -> None:
        """Turn what was saved into what the tape keeps; `numbers`: output's id -> its number."""
        hooks: Any = tape.saving
        if hooks is None:
            self._saved = tuple(
                None if t is None else (numbers[id(t)], 0) if id(t) in numbers else (t, t._version)
                for t in self._saved
            )
            return
        tensors = (a for a in args if record.is_tensor(a))
        places = {id(t): -1 - i for i, t in enumerate(tensors)} | numbers
        self._saved = tuple(
            None if t is None else (places.get(id(t)), hooks.pack(self._own(t, numbers)))
            for t in self._saved
        )

    def _own(self, tensor: Tensor, numbers: dict[int, int]) -> Tensor:
        """Another handle of a tensor that is saved, which hooks may change."""
        tape = current_tape()
        place = numbers.get(id(tensor))
        slot = record.operand(tape, tensor) if place is None else self._slot(place)
        own = record.new_tensor(tape, slot, record.layout_of(tensor))
        own._meta = tape.leaves.get(slot)
        return own

    def release(self) -> None:
        """Drop what was saved: a pass that keeps no graph has run."""
        if self._saved:
            self._saved, self._freed = (), True

    def run(
        self, tape: Tape, anchor: int, given: dict[int, Tensor], is_replayed: bool
    ) -> list[Tensor | None]:
        """Call ``backward``; the gradients of the tensors among the arguments.

        Raises
        ------
        RuntimeError
            For a wrong number, kind or shape of gradients.
        """
        function, name = self._function, f"{self._function.__name__}Backward"
        cts: list[Any] = []
        for j in range(self.count):
            ct = given.get(j)
            if ct is None and self.materialize_grads and self._shapes[j] is not None:
                shape, kind = self._shapes[j]  # type: ignore[misc]
                ct = FUNCTIONS["zeros"](shape, dtype=kind)
            cts.append(ct)
        self.place = (tape, anchor)
        try:
            with no_grad_on(tape, is_replayed):
                found = function.backward(self, *cts)
        finally:
            self.place = None
        if not isinstance(found, tuple):
            found = (found,)
        expected = len(self.needs_input_grad)
        extra = found[expected:]
        if len(found) < expected or any(g is not None for g in extra):
            raise RuntimeError(
                f"function {name} returned an incorrect number of gradients (expected {expected}, "
                f"got {len(found)})"
            )
        slots, gradients = tape.args_of(anchor), []
        for slot, argument in zip(slots, self._arguments, strict=True):
            gradients.append(_checked(found[argument], argument, name, tape, slot))
        for i, g in enumerate(found[:expected]):
            if g is not None and i not in self._arguments:
                raise RuntimeError(
                    f"function {name} returned a gradient different than None at position {i + 1}, "
                    "but the corresponding forward input was not a Variable"
                )
        return gradients


def _checked(found: Any, i: int, name: str, tape: Tape, slot: int) -> Tensor | None:
    """One gradient that ``backward`` returned, fitted to its argument."""
    if found is None:
        return None
    if not record.is_tensor(found):
        raise RuntimeError(f"expected Variable or None (got {type(found).__name__})")
    layout = tape.instruction_of(slot).out
    if not layout.dtype.is_floating_point:
        return None
    if found.shape != layout.shape:
        message = (
            f"Function {name} returned an invalid gradient at index {i} - got "
            f"{list(found.shape)} but expected shape compatible with {list(layout.shape)}"
        )
        sum_to_size = FUNCTIONS.get("sum_to_size")
        if sum_to_size is None or len(found.shape) < len(layout.shape):
            raise RuntimeError(message)
        try:
            found = sum_to_size(found, layout.shape)
        except RuntimeError:
            raise RuntimeError(message) from None
    return record.cast(found, layout.dtype)


def _stale(tensor: Tensor, version: int) -> str:
    made = tensor.grad_fn
    origin = (
        "" if made is None else f", which is output 0 of {made.name().removesuffix('Backward0')},"
    )
    return messages.stale(False).format(
        kind=type_name(tensor.dtype), shape=str(list(tensor.shape)), origin=origin,
        version=tensor._version, expected=version,
    )  # fmt: skip


class Function:
    """Base of operations with a derivative of one's own.

    A subclass has static methods: either ``forward(ctx, *args)``, or ``forward(*args)`` and
    ``setup_context(ctx, inputs, output)``; and ``backward(ctx, *grad_outputs)``, which returns a
    gradient (or None) for each argument of ``forward``. ``apply`` calls it.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        raise RuntimeError(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, "
            "so you should invoke them on the class itself: use .apply(...)."
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the outputs; to be overridden."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> Any:
        """Leave for ``backward`` what it needs; to be overridden, if ``forward`` takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Return the gradients of the arguments; to be overridden."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function "
            "to use it with backward mode AD."
        )

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """PyTorch's forward-mode rule; not called: forward mode is derived from ``backward``."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward "
            "mode AD."
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run the operation on `args`; tensors among the results are differentiable."""
        tape = current_tape()
        needs = tuple(record.is_tensor(a) and a.requires_grad for a in args)
        ctx = FunctionCtx(cls, needs)
        with no_grad():
            if cls.setup_context is not Function.setup_context:
                output = cls.forward(*args)
                cls.setup_context(ctx, args, output)
            else:
                output = cls.forward(ctx, *args)
        outputs = list(output) if isinstance(output, tuple) else [output]
        if tape.grad_mode and any(needs):
            outputs = _record(cls, ctx, args, outputs)
        return tuple(outputs) if isinstance(output, tuple) else outputs[0]


def _record(
    function: type[Function], ctx: FunctionCtx, args: tuple[Any, ...], outputs: list[Any]
) -> list[Any]:
    """Append the statements of a call; its results."""
    tape = current_tape()
    for t in ctx._dirty:
        if t.requires_grad and t.is_leaf:
            raise RuntimeError(
                "a leaf Variable that requires grad has been used in an in-place operation."
            )
    if function.backward is Function.backward and function.vjp is not Function.vjp:
        function.backward = function.vjp  # type: ignore[method-assign]
    passive = {id(t) for t in ctx._passive}
    active = [
        j for j, y in enumerate(outputs)
        if record.is_tensor(y) and y.dtype.is_floating_point and id(y) not in passive
    ]  # fmt: skip
    if not active:
        return [y.detach() if record.is_tensor(y) and y.requires_grad else y for y in outputs]
    tensors = [a for a in args if record.is_tensor(a)]
    ctx._arguments = [i for i, a in enumerate(args) if record.is_tensor(a)]
    values = [outputs[j].detach() for j in active]
    name = function.__name__
    tape.make_room(len(active) + 1, 2 * len(active) + len(tensors))
    inputs = [record.operand(tape, t) for t in tensors]
    slots = [record.operand(tape, v) for v in values]
    layouts = tuple(record.layout_of(t) for t in tensors)
    made = instruction(TABLE["function"], layouts, name=name)
    anchor = tape.append(made, inputs)
    numbers: dict[int, int] = {}
    results = list(outputs)
    dirty = {id(t) for t in ctx._dirty}
    recorded = []
    for place, (j, slot, value) in enumerate(zip(active, slots, values, strict=True)):
        step = instruction(
            TABLE["function_output"], (made.out, record.layout_of(value)), name=name, number=j
        )
        recorded.append((j, tape.append(step, (anchor, slot)), step))
        numbers[id(outputs[j])] = place
    ctx._shapes = [(tuple(y.shape), y.dtype) if record.is_tensor(y) else None for y in outputs]
    ctx.count = len(outputs)
    tape.contexts[anchor] = ctx
    inputs_of = {id(a) for a in args}
    numbers = {k: v for k, v in numbers.items() if k not in inputs_of or k in dirty}
    ctx.place = (tape, anchor)
    try:
        ctx.seal(tape, args, numbers)
    finally:
        ctx.place = None
    ctx._dirty = ctx._passive = ()
    for j, slot, step in recorded:
        if id(outputs[j]) in dirty:
            record.bind_to(outputs[j], tape, slot, step.out)
        else:
            results[j] = record.new_tensor(tape, slot, step.out)
    if tape.state[nt.S_EAGER]:
        tape.evaluate()
    return results


class _Undifferentiable(Function):
    """An identity whose derivative raises."""

    @staticmethod
    def forward(ctx: FunctionCtx, *tensors: Any) -> Any:
        return tuple(t.detach() for t in tensors)

    @staticmethod
    def backward(ctx: FunctionCtx, *grad_outputs: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a ``backward`` that is not made of differentiable operations.

    It runs without recording; differentiating its results raises RuntimeError.
    """

    @functools.wraps(function)
    def wrapped(ctx: FunctionCtx, *cts: Any) -> Any:
        recorded = current_tape().grad_mode
        with no_grad():
            found = function(ctx, *cts)
        if not recorded or not any(record.is_tensor(c) and c.requires_grad for c in cts):
            return found
        outputs = found if isinstance(found, tuple) else (found,)
        tensors = [g for g in outputs if record.is_tensor(g)]
        marked = iter(_Undifferentiable.apply(*[g.detach().requires_grad_() for g in tensors]))
        return tuple(next(marked) if record.is_tensor(g) else g for g in outputs)

    return wrapped
