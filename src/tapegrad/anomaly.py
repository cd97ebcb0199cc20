"""Anomaly detection: which Python line recorded a statement, and the first NaN of a reverse pass.

While it is on, statements are recorded by way of Python, and each keeps the stack of its call
(``tape.traces``); a reverse pass goes through Python statement by statement and looks at the results.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from . import messages
from . import native as nt
from .tape import TAPES, Tape

if TYPE_CHECKING:
    from .tensor_type import Tensor

__all__ = ["check", "explain", "is_on", "set_mode", "trace"]

_state = {"on": False, "check_nan": True}


def is_on() -> bool:
    """Whether statements keep the stack of their call."""
    return _state["on"]


def checks_nan() -> bool:
    """Whether a NaN in a backward pass raises."""
    return _state["on"] and _state["check_nan"]


def set_mode(on: bool, check_nan: bool = True) -> tuple[bool, bool]:
    """Switch it for all threads; return what it was.

    Raises
    ------
    TypeError
        PyTorch's, for what is no bool.
    """
    messages.check_bool("set_anomaly_enabled", "'enabled' (position 1)", on)
    messages.check_bool("set_anomaly_enabled", "'check_nan' (position 2)", check_nan)
    previous = _state["on"], _state["check_nan"]
    _state["on"], _state["check_nan"] = on, check_nan
    Tape.trace = trace if on else None
    for tape in TAPES.copy().values():
        tape.busy[nt.BUSY_TRACED] = on
    return previous


def trace(tape: Tape, slot: int) -> None:
    """Keep the stack of the call that recorded a statement, tapegrad's own frames left out."""
    if tape.abstract:
        return
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] == "tapegrad":
        frame = frame.f_back
    if frame is not None:
        tape.traces[slot] = traceback.StackSummary.extract(
            traceback.walk_stack(frame), lookup_lines=False
        )


def _stack(tape: Tape, slot: int) -> str:
    summary = tape.traces.get(slot)
    if summary is None:
        return ""
    return "".join(traceback.format_list(list(reversed(summary))))


def explain(tape: Tape, slot: int, writer: int | None = None) -> None:
    """Warn, as PyTorch does, where the statement was recorded whose derivative failed."""
    if not is_on():
        return
    name = tape.instruction_of(slot).grad_fn
    stack = _stack(tape, slot)
    if not stack:
        warnings.warn(
            f"Error detected in {name}. No forward pass information available. Enable detect anomaly "
            "during forward pass for more information.",
            stacklevel=2,
        )
        return
    text = f"Error detected in {name}. Traceback of forward call that caused the error:\n{stack}"
    if writer is not None and (wrote := _stack(tape, writer)):
        text += f"\nThe value was changed in place by this call:\n{wrote}"
    warnings.warn(text, stacklevel=2)


def check(tape: Tape, slot: int, found: list[Tensor | None]) -> None:
    """Raise PyTorch's error if a statement's derivative has a NaN."""
    if not checks_nan():
        return
    for i, new in enumerate(found):
        if new is not None and np.isnan(new._array()).any():
            explain(tape, slot)
            name = tape.instruction_of(slot).grad_fn
            raise RuntimeError(f"Function '{name}' returned nan values in its {i}th output.")
