"""Inference tensors: results of `inference_mode`, and the uses of them that raise.

Memory is of inference mode or not, by its base: a view that was taken there of a normal tensor is
normal, and so is a normal tensor that was written there. While the mode is on, that is all memory from
slot ``tape.inference_start`` on; at its end the bases that a tensor refers to go into the book
``tape.inference``, and get VISIBLE, so that statements that use them are recorded by Python, where
`_guard` looks at them. Nothing else gets slower, and recording in inference mode does not either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base.errors import must_be
from ..native import abi as nt
from ..native.handle_type import TensorHandle
from ..ops.instruction import ITAB, Instruction
from ..tape import collector
from ..tape.tape import Tape, slot_of, tape_at
from .saved_tensors import residual_places

__all__ = [
    "check_saved",
    "check_write",
    "is_inference",
    "may_require_grad",
    "switch",
    "untracked_version",
]

_SAVED = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference "
    "mode in computation tracked by autograd. To work around this, you can make a clone to get a "
    "normal tensor and use it in autograd, or use `torch.no_grad()` instead of "
    "`torch.inference_mode()`."
)
_WRITTEN = (
    "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to "
    "get a normal tensor before doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for "
    "more details."
)


def switch(tape: Tape, on: bool) -> None:
    """Turn inference mode on or off."""
    if on != (tape.inference_start >= 0):
        if on:
            tape.inference_start = tape.count
        else:
            with tape.lock:
                bases = collector.note_inference(tape)
                if tape.inference_unseen:
                    bases = [base for base, is_memory in tape.inference.items() if is_memory]
                for base in bases:
                    tape.flags[base] |= nt.VISIBLE
                tape.inference_unseen = False
            tape.inference_start = -1


def _is_of_inference(tape: Tape, slot: int) -> bool:
    base = int(tape.base[slot])
    return base in tape.inference or 0 <= tape.inference_start <= base


def is_inference(tensor: TensorHandle) -> bool:
    """Return True if a tensor's memory was made in inference mode.

    Examples
    --------
    >>> import tapegrad as tg
    >>> with tg.inference_mode():
    ...     x = tg.ones(2)
    >>> tg.is_inference(x)
    True
    """
    if not hasattr(tensor, "_state"):
        raise must_be("is_inference", "input", 1, "Tensor", tensor)
    tape = tape_at(tensor._state)
    with tape.lock:
        return _is_of_inference(tape, slot_of(tape, tensor))


def may_require_grad(tensor: TensorHandle) -> bool:
    """Return False for an inference tensor outside inference mode."""
    return tape_at(tensor._state).inference_start >= 0 or not is_inference(tensor)


def untracked_version(tape: Tape, slot: int) -> None:
    """Raise that an inference tensor's writes are not counted.

    Raises
    ------
    RuntimeError
        PyTorch's, if it is one.
    """
    if _is_of_inference(tape, slot):
        raise RuntimeError("Inference tensors do not track version counter.")


def check_write(tape: Tape, slot: int) -> None:
    """Raise for a tensor that is to be changed in place without a statement that says so.

    Raises
    ------
    RuntimeError
        PyTorch's, outside inference mode, if it is an inference tensor.
    """
    if tape.inference_start < 0 and _is_of_inference(tape, slot):
        raise RuntimeError(_WRITTEN)


def _may_save(instruction: Instruction) -> bool:
    """Return True if statements may keep values; the context of a Function names those that it keeps."""
    return bool(ITAB.rows[instruction.id, nt.I_DIFF]) and not instruction.op.python


def _guard(tape: Tape, instruction: Instruction, slots: Sequence[int]) -> None:
    """Raise for a statement, about to be appended, that must not be.

    Raises
    ------
    RuntimeError
        PyTorch's: it writes to an inference tensor, or its derivative would need the value of one.
    """
    book, base = tape.inference, tape.base
    if not any(int(base[slot]) in book for slot in slots):
        return
    kind = instruction.op.kind
    if kind in (nt.WRITE, nt.ACCUMULATE) and int(base[slots[0]]) in book:
        raise RuntimeError(_WRITTEN)
    recorded = tape.grad_mode and any(tape.is_active(slot) for slot in slots)
    if kind == nt.COMPUTE and recorded and _may_save(instruction):
        kept = residual_places(tape, instruction, slots)
        if any(place < len(slots) and int(base[slots[place]]) in book for place in kept):
            raise RuntimeError(_SAVED)


Tape.guard = staticmethod(_guard)


def check_saved(tensors: Sequence[Any]) -> None:
    """Raise if an inference tensor is among the tensors that a Function saves for backward.

    Raises
    ------
    RuntimeError
        PyTorch's.
    """
    if any(t is not None and is_inference(t) for t in tensors):
        raise RuntimeError(_SAVED)
