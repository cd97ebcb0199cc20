"""Values read out of the tape without a word: ``float(x)``, ``math.exp(x)``, ``array[i] = x``.

A number that Python or NumPy takes out of a tensor is a constant, of which no derivative is known. While
a transform of functions runs (`tapegrad.grad`, `tapegrad.func.vjp` and so on), that is an error for a
tensor that depends on the inputs of the transform: its result would be wrong, silently.
``x.item()``, ``x.detach()`` and ``if x > 0`` say what they do, and are free. Outside of transforms
PyTorch's warning is given, once.

Transforms name the inputs that they differentiate with respect to (`Differentiated`). Start
reading at `check`.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Iterable
from typing import Any

from ..base import torch_messages as messages
from ..base.errors import UnsupportedError
from ..native import abi as nt
from ..native.exchange import Change, Exchange
from ..native.handle_type import TensorHandle, status_of
from ..ops.instruction import INSTRUCTIONS
from . import recording as record
from .current import current_tape
from .leaf_storage import layout_of
from .tape import Tape, slot_of, tape_at

__all__ = [
    "GUARDED",
    "RUNNING",
    "Differentiated",
    "check",
    "check_offset",
    "check_write",
    "depends_on",
    "depends_on_inputs",
    "guard",
    "is_captured",
    "is_input",
    "is_running",
    "note_arguments",
    "number",
    "option",
]  # fmt: skip

_WARNING = (
    "Converting a tensor with requires_grad=True to a scalar may lead to unexpected behavior.\n"
    "Consider using tensor.detach() first."
)
_REFUSED = (
    "{how} of a tensor that is being differentiated would make a constant of it, and lose its derivative. "
    "Compute with tensors instead: x.exp() or tapegrad.exp(x) for math.exp(x) and np.exp(x), "
    "tapegrad.stack([...]) for storing into an array or for tensor([...]); or say x.item() or "
    "x.detach() if a constant is what you mean"
)


_UNSUPPORTED = (
    "{} inside of a function being transformed by a functorch transform. This is unsupported, please "
    "attempt to use the functorch transforms (e.g. grad, vjp, jacrev, jacfwd, hessian) or call {} outside "
    "of a function being transformed instead."
)
#: actions that transforms keep a function from -> PyTorch's text
GUARDED = {
    "requires_grad_": _UNSUPPORTED.format(
        "You are attempting to call Tensor.requires_grad_() (or perhaps using "
        "torch.autograd.functional.* APIs)", "requires_grad_()",
    ),
    "retain_grad": _UNSUPPORTED.format(
        "You are attempting to call Tensor.retain_grad()", "retain_grad()"
    ),
    "backward": (
        "backward() called inside a functorch transform. This is not supported, please use functorch.grad "
        "or functorch.vjp instead or call backward() outside of functorch transforms."
    ),
    "write": (
        "During a grad (vjp, jvp, grad, etc) transform, the function provided attempted to call in-place "
        "operation that would mutate a captured Tensor. This is not supported; please rewrite the function "
        "being transformed to explicitly accept the mutated Tensor(s) as inputs."
    ),
}  # fmt: skip


class _Running(threading.local):
    """Inputs that the transforms of a thread differentiate with respect to."""

    def __init__(self) -> None:
        # Weakly, so that inputs whose exit an interrupt prevented go with their transform.
        self.inputs: list[weakref.ref[Differentiated]] = []


#: `inputs` are those of the transforms that run in this thread, the innermost last
RUNNING = _Running()
_warned = False


class Differentiated(Exchange):
    """Inputs that a transform differentiates with respect to, while it runs: a context manager.

    Attributes
    ----------
    mode : str
    guards : bool
        Whether the function is kept from what PyTorch forbids inside of its ``torch.func`` (`guard`).
    tensors : list of Tensor
        The inputs. Values written to them afterwards count as depending on them.
    arguments : list of Tensor
        The function's other arguments, which it may write.
    """

    __slots__ = ("__weakref__", "arguments", "guards", "mode", "tensors")

    def __init__(self, mode: str = "reverse", *, guards: bool = False) -> None:
        super().__init__()
        #: "reverse", "forward", or "slices" for `vmap`
        self.mode, self.guards = mode, guards
        self.tensors: list[TensorHandle] = []
        self.arguments: list[TensorHandle] = []

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the change of the inputs of this thread's transforms."""
        before = RUNNING.inputs
        return ((vars(RUNNING), "inputs", before, [*before, weakref.ref(self)]),), self

    def roots(self, tape: Tape) -> set[int]:
        """Roots on a tape of the inputs that are there."""
        return {int(tape.root[slot_of(tape, t)]) for t in self.tensors if t._state == tape.pointer}


def guard(action: str) -> None:
    """Raise PyTorch's error for an action on a graph of the user's, inside of a transform."""
    if RUNNING.inputs and any(inputs.guards for inputs in inputs_of()):
        raise RuntimeError(GUARDED[action])


def is_running() -> bool:
    """Return True inside a transform of functions."""
    return bool(RUNNING.inputs)


def check_write(tape: Tape, slot: int) -> None:
    """Raise PyTorch's errors for memory that the function of a transform must not write.

    The function has captured it, or it is an input of a transform in reverse mode.
    """
    if is_captured(tape, slot):
        raise RuntimeError(GUARDED["write"])
    if tape.grad_mode and is_input(tape, slot):
        raise RuntimeError(messages.LEAF_IN_PLACE)


def note_arguments(values: Iterable[Any]) -> None:
    """Let the function of the innermost transform write to its arguments."""
    alive = inputs_of()
    if alive:
        alive[-1].arguments.extend([x for x in values if record.is_tensor(x)])


def is_captured(tape: Tape, slot: int) -> bool:
    """Return True for memory that is older than the inputs of the innermost transform."""
    for inputs in reversed(inputs_of()):
        if inputs.guards:
            roots, base = inputs.roots(tape), int(tape.base[slot])
            return (
                bool(roots)
                and base < min(roots)
                and all(
                    t._state != tape.pointer or int(tape.base[slot_of(tape, t)]) != base
                    for t in inputs.arguments
                )
            )
    return False


def check_offset() -> None:
    """Raise where a place in memory would be another than PyTorch's: in `vmap`'s runs on slices."""
    if not current_tape().abstract and inputs_of("slices"):
        raise UnsupportedError(
            "as_strided() with a storage offset is not supported in a function that vmap runs once a "
            "slice, as it does if a value is read or random numbers differ; leave the offset out, or "
            "call as_strided() on a view of the slice"
        )


def inputs_of(*modes: str) -> list[Differentiated]:
    """Inputs of the transforms that run, in some of the modes, or in any."""
    alive = [inputs for r in RUNNING.inputs if (inputs := r()) is not None]
    return [inputs for inputs in alive if inputs.mode in modes] if modes else alive


def depends_on_inputs(tensors: Iterable[TensorHandle], *, reverse: bool = False) -> bool:
    """Return True if one of the active tensors depends on the inputs of a transform that runs.

    With `reverse`, of one that works in reverse mode.
    """
    modes = ("reverse",) if reverse else ()
    return bool(RUNNING.inputs) and depends_on(tensors, inputs_of(*modes))


def depends_on(tensors: Iterable[TensorHandle], inputs: list[Differentiated]) -> bool:
    """Return True if one of the active tensors depends on inputs."""
    return bool(inputs) and any(_depends(t, inputs) for t in tensors if record.is_active(t))


def _depends(tensor: TensorHandle, inputs: list[Differentiated]) -> bool:
    tape = tape_at(tensor._state)
    with tape.lock:
        slot = slot_of(tape, tensor)
        return int(tape.root[slot]) in _dependent_roots(tape, tape.count, inputs)


def is_input(tape: Tape, slot: int) -> bool:
    """Return True for a slot in the memory of an input of a transform in reverse mode."""
    root = int(tape.root[slot])
    return any(root in inputs.roots(tape) for inputs in inputs_of("reverse"))


def _dependent_roots(tape: Tape, count: int, differentiated: list[Differentiated]) -> set[int]:
    """Roots of the first `count` statements whose values depend on inputs of transforms."""
    reached: set[int] = set()
    for inputs in differentiated:
        reached |= inputs.roots(tape)
    outer: Tape | None = getattr(tape, "outer", None)
    if outer is not None:  # leaves of a trace stand for slots of the tape around it
        around = _dependent_roots(outer, outer.count, differentiated)
        reached |= {leaf for leaf, slot in _captured(tape) if int(outer.root[slot]) in around}
    if not reached:
        return reached
    first = min(reached)
    roots = tape.root[:count].tolist()
    active = (tape.flags[tape.root[:count]] & nt.ACTIVE).tolist()
    starts = tape.arg_start[: count + 1].tolist()
    operands = tape.arg[: starts[-1]].tolist()
    numbers = tape.instruction[:count].tolist()
    for k in range(first, count):
        if not active[k]:
            continue
        instruction = INSTRUCTIONS[numbers[k]]
        n, start = len(instruction.layouts), starts[k]
        # Without its operands a statement may depend on anything: the graph was freed.
        if n and (
            starts[k + 1] == start or any(roots[a] in reached for a in operands[start : start + n])
        ):
            reached.add(roots[k])
    return reached


def _captured(trace: Any) -> list[tuple[int, int]]:
    """The slots of a trace that stand for slots of the tape around it, with those."""
    return [(leaf, slot) for leaf, slot in trace.lifting.slots.items() if leaf not in trace.copies]


def check(tensor: TensorHandle, how: str, *, warns: bool = True) -> None:
    """Raise if a tensor must not be made a constant implicitly, or give PyTorch's warning.

    Parameters
    ----------
    tensor : Tensor
    how : str
        The call that takes the number: ``"float()"``.
    warns : bool
        Whether PyTorch warns of this outside of transforms.

    Raises
    ------
    UnsupportedError
        If it depends on an input that a transform differentiates with respect to.
    """
    global _warned
    status = status_of(tensor)
    if status <= 0 or not status & 1 or not current_tape().grad_mode:
        return
    if depends_on_inputs((tensor,)):
        raise UnsupportedError(_REFUSED.format(how=how))
    if warns and not _warned:
        _warned = True
        warnings.warn(_WARNING, UserWarning, stacklevel=3)


def number(tensor: Any, how: str) -> float | int | bool:
    """Return the value of a one-element tensor that is converted to a number; see `check`."""
    check(tensor, how)
    return tensor.item()


def option(value: Any, how: str) -> Any:
    """Return an argument that must be a number: that of a tensor without dimensions, as PyTorch takes it.

    A tensor that requires grad stays one, for PyTorch's TypeError.
    """
    if not record.is_tensor(value) or layout_of(value).ndim:
        return value
    check(value, how, warns=False)
    return value if status_of(value) & 1 else value.item()
