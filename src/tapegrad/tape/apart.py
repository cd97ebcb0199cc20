"""A tape of its own for what runs in the middle of a sweep.

Kernels may call Python: functions under `njit` that are statements of traces (njit_compiler/python_call.py).
What runs there records, and so may handlers of signals, finalizers and callbacks of the collector that
come by. The tape around is in the middle of a native sweep, which knows where its arrays are: nothing may be
recorded there. So the thread has another tape from before such a sweep until after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from ..native import abi as nt
from ..native.exchange import Change, Exchange
from .current import recording_on
from .readout import RUNNING
from .tape import Tape
from .values import Values

__all__ = ["apart"]

_Result = TypeVar("_Result")
#: tapes of this thread that are used in this way; they may be inside each other
_local = threading.local()


class _Apart(Exchange):
    """Context manager: this thread records on a tape, and is in no transform."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape

    def changes(self) -> tuple[tuple[Change, ...], Any]:
        """Return the changes."""
        state, running = self.tape.state, vars(RUNNING)
        return (
            *recording_on(self.tape).changes()[0],
            (running, "inputs", RUNNING.inputs, []),
            (state, nt.S_GRAD_MODE, state[nt.S_GRAD_MODE], True),
        ), self.tape


def apart(function: Callable[..., _Result], *args: Any) -> _Result:
    """Call a function while this thread records on a tape of its own.

    Parameters
    ----------
    function : callable
    *args
        Its arguments.

    Returns
    -------
    object
        Its result.
    """
    tapes: list[Tape] = _local.__dict__.setdefault("tapes", [])
    tape = tapes.pop() if tapes else Tape()
    try:
        with _Apart(tape):
            return function(*args)
    except BaseException:
        with suppress(Exception):
            tape.evaluate()  # what waits there is not for the next one to fail at
        raise
    finally:
        tapes.append(tape)


Values.apart = staticmethod(apart)
