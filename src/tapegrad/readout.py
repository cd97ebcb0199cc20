"""Values read out of the tape without a word: ``float(x)``, ``math.exp(x)``, ``array[i] = x``.

What Python or NumPy makes of a tensor by itself is a constant, of which no derivative is known. While
a transform of functions runs (`tapegrad.grad`, `tapegrad.func.vjp` and so on), that is an error for a
tensor that depends on what the transform differentiates: its result would be wrong, silently.
``x.item()``, ``x.detach()`` and ``if x > 0`` say what they do, and are free. Outside of transforms
PyTorch's warning is given, once.

Transforms say what they differentiate with respect to (`Differentiated`). Start reading at `check`.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import native as nt
from . import record
from .errors import UnsupportedError
from .exchange import Change, Exchange
from .handle import status_of
from .instructions import INSTRUCTIONS
from .storage import layout_of
from .tape import Tape, slot_of, tape_at
from .threads import current_tape

if TYPE_CHECKING:
    from .tensor_type import Tensor

__all__ = ["Differentiated", "check", "depends_on_inputs", "is_transforming", "number", "option"]

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


class _Running(threading.local):
    """What the transforms that a thread is inside of differentiate with respect to."""

    def __init__(self) -> None:
        # Weakly, so that what an interrupt kept from leaving goes with its transform.
        self.inputs: list[weakref.ref[Differentiated]] = []


_running = _Running()
_warned = False


class Differentiated(Exchange):
    """What a transform differentiates with respect to, while it runs: a context manager."""

    def __init__(self) -> None:
        super().__init__()
        self._handles: list[Tensor] = []

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the change of what this thread's transforms differentiate with respect to."""
        before = _running.inputs
        meanwhile = [*filter(_is_alive, before), weakref.ref(self)]
        return ((vars(_running), "inputs", before, meanwhile),), self

    def add(self, tensor: Tensor) -> None:
        """Count a tensor among the inputs; what is written to it afterwards depends on it."""
        tape = tape_at(tensor._state)
        # A handle of its own: in-place methods let the user's refer to another slot.
        self._handles.append(record.new_tensor(tape, slot_of(tape, tensor), layout_of(tensor)))

    def roots(self, tape: Tape) -> set[int]:
        """Roots on a tape of the inputs that are there."""
        return {int(tape.root[slot_of(tape, t)]) for t in self._handles if t._state == tape.pointer}


def _is_alive(reference: weakref.ref[Differentiated]) -> bool:
    return reference() is not None


def is_transforming() -> bool:
    """Return True inside a transform of functions."""
    return any(map(_is_alive, _running.inputs))


def depends_on_inputs(tensors: Iterable[Tensor]) -> bool:
    """Return True if one of the active tensors depends on the inputs of a transform that runs."""
    return bool(_running.inputs) and any(_depends(t) for t in tensors if status_of(id(t)) & 1)


def _depends(tensor: Tensor) -> bool:
    tape = tape_at(tensor._state)
    with tape.lock:
        slot = slot_of(tape, tensor)
        return int(tape.root[slot]) in _dependent_roots(tape, tape.count)


def _dependent_roots(tape: Tape, count: int) -> set[int]:
    """Roots of the first `count` statements whose values depend on inputs of the running transforms."""
    reached: set[int] = set()
    for reference in _running.inputs:
        inputs = reference()
        if inputs is not None:
            reached |= inputs.roots(tape)
    outer: Tape | None = getattr(tape, "outer", None)
    if outer is not None:  # leaves of a trace stand for slots of the tape around it
        around = _dependent_roots(outer, outer.count)
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
        made = INSTRUCTIONS[numbers[k]]
        n, start = len(made.layouts), starts[k]
        # Without its operands a statement may depend on anything: the graph was freed.
        if n and (
            starts[k + 1] == start or any(roots[a] in reached for a in operands[start : start + n])
        ):
            reached.add(roots[k])
    return reached


def _captured(trace: Any) -> list[tuple[int, int]]:
    """The slots of a trace that stand for slots of the tape around it, with those."""
    return [(own, slot) for own, slot in trace.lifting.slots.items() if own not in trace.copies]


def check(tensor: Tensor, how: str, *, warns: bool = True) -> None:
    """Raise if a tensor must not be made a constant implicitly, or give PyTorch's warning.

    Parameters
    ----------
    tensor : Tensor
    how : str
        What is done with the tensor: ``"float()"``.
    warns : bool
        Whether PyTorch warns of this outside of transforms.

    Raises
    ------
    UnsupportedError
        If it depends on what a transform differentiates with respect to.
    """
    global _warned
    status = status_of(id(tensor))
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
    return tensor.item()  # type: ignore[no-any-return]


def option(value: Any, how: str) -> Any:
    """Return an argument that must be a number: that of a tensor without dimensions, as PyTorch takes it.

    A tensor that requires grad stays one, for PyTorch's TypeError.
    """
    if not record.is_tensor(value) or layout_of(value).ndim:
        return value
    check(value, how, warns=False)
    return value if status_of(id(value)) & 1 else value.item()
