"""Anomaly detection: which Python line recorded a statement, and the first NaN of a reverse pass.

While it is on, statements are recorded by way of Python, and each keeps the stack of its call
(``tape.traces``); a reverse pass goes through Python statement by statement and looks at the results.
Statements that record a derivative keep the call of the one that they are the derivative of, too.
"""

from __future__ import annotations

import linecache
import os
import sys
import threading
import traceback
import warnings
from types import FrameType
from typing import NamedTuple

import numpy as np

from ..base import torch_messages as messages
from ..native import abi as nt
from ..native.exchange import Exchanged
from ..native.handle_type import TensorHandle
from .tape import TAPES, Tape
from .values import Values

__all__ = ["check", "explain", "inducing", "is_on", "set_mode", "source_line", "trace"]


class _Call(NamedTuple):
    """The call that recorded a statement."""

    #: the user's frames; None where detection was off
    stack: traceback.StackSummary | None
    #: name and call of the statement that it is a derivative of
    inducer: tuple[str, _Call] | None


class _Inducing(threading.local):
    """The statement whose derivative a thread is recording, as `_Call.inducer`."""

    inducer: tuple[str, _Call] | None = None


_inducing = _Inducing()
_UNKNOWN = _Call(None, None)

_state = {"on": False, "check_nan": True}


def is_on() -> bool:
    """Return True if statements keep the stack of their call."""
    return _state["on"]


def checks_nan() -> bool:
    """Return True if a NaN in a backward pass raises."""
    return _state["on"] and _state["check_nan"]


def set_mode(on: bool, check_nan: bool = True) -> tuple[bool, bool]:
    """Switch it for all threads; return the mode before.

    Raises
    ------
    TypeError
        PyTorch's, for a mode that is no bool.
    """
    messages.check_bool("set_anomaly_enabled", "enabled", 1, on)
    messages.check_bool("set_anomaly_enabled", "check_nan", 2, check_nan)
    previous = _state["on"], _state["check_nan"]
    _state["on"], _state["check_nan"] = on, check_nan
    Tape.trace, Values.explain = (trace, explain) if on else (None, None)
    for tape in TAPES.copy().values():
        tape.busy[nt.BUSY_TRACED] = on
    return previous


def trace(tape: Tape, slot: int) -> None:
    """Keep the stack of the call that recorded a statement, tapegrad's own frames left out."""
    if tape.abstract:
        return
    frames = [f for f in traceback.walk_stack(sys._getframe(1)) if not _is_ours(f[0])]
    if frames:
        stack = traceback.StackSummary.extract(iter(frames), lookup_lines=False)
        tape.traces[slot] = _Call(stack, _inducing.inducer)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).split(".")[0] == "tapegrad"


def source_line() -> str:
    """Return the user's line that is running: its file, number and text."""
    for frame, number in traceback.walk_stack(sys._getframe(1)):
        if not _is_ours(frame):
            name = frame.f_code.co_filename
            text = linecache.getline(name, number, frame.f_globals).strip()
            return f"{os.path.basename(name)}:{number}: {text}".rstrip(": ")
    return ""


def inducing(tape: Tape, slot: int) -> Exchanged:
    """Return a context manager in which the derivative of a statement is recorded."""
    inducer = tape.instruction_of(slot).grad_fn, tape.traces.get(slot, _UNKNOWN)
    return Exchanged((vars(_inducing), "inducer", _inducing.inducer, inducer))


def _text(call: _Call) -> str:
    if call.stack is None:
        return ""
    return "".join(traceback.format_list(list(reversed(call.stack))))


_NO_STACK = (
    "No forward pass information available. Enable detect anomaly during forward pass for more "
    "information."
)


def _say(text: str) -> None:
    """Warn; where warnings are errors, print, as the failure itself is to be raised."""
    try:
        warnings.warn(text, stacklevel=3)
    except Warning as warning:
        print(warning, file=sys.stderr)


def explain(tape: Tape, slot: int, writer: int | None = None) -> None:
    """Warn, as PyTorch does, where the statement was recorded whose derivative failed.

    If it is itself part of a derivative, the statements that induced it get a warning each, too.
    """
    if not is_on():
        return
    call: _Call = tape.traces.get(slot, _UNKNOWN)
    text = f"Error detected in {tape.instruction_of(slot).grad_fn}. "
    if stack := _text(call):
        text += f"Traceback of forward call that caused the error:\n{stack}"
        if writer is not None and (wrote := _text(tape.traces.get(writer, _UNKNOWN))):
            text += f"\nThe value was changed in place by this call:\n{wrote}"
    else:
        text += _NO_STACK
    _say(text)
    while call.inducer is not None:
        name, call = call.inducer
        text = f"\n\nPrevious calculation was induced by {name}. "
        if stack := _text(call):
            text += f"Traceback of forward call that induced the previous calculation:\n{stack}"
        else:
            text += _NO_STACK
        _say(text)


def check(tape: Tape, slot: int, gradients: list[TensorHandle | None]) -> None:
    """Raise PyTorch's error if a statement's derivative has a NaN."""
    if not checks_nan() or tape.abstract:  # there are no values yet
        return
    for i, gradient in enumerate(gradients):
        if gradient is not None and np.isnan(gradient._array()).any():
            explain(tape, slot)
            name = tape.instruction_of(slot).grad_fn
            raise RuntimeError(f"Function '{name}' returned nan values in its {i}th output.")
