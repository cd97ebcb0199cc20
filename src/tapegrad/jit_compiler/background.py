"""Compilation in the background: calls are swept meanwhile, by the interpreter.

One thread compiles, one tape after the other. `Promise` has the compiled tape once it is there; `finish`
waits for all. A fork waits for the tape that is being compiled, as LLVM's locks would stay locked in the
child.
"""

from __future__ import annotations

import os
from typing import Any

from ..base.locks import new_lock
from ..tape import current
from ..transforms.closed_tape import ClosedTape
from .compiled_tape import CompiledTape

__all__ = ["Promise", "finish"]

#: statements from which on a tape is compiled in the background: shorter ones take some tens of milliseconds
LONG = 400

#: held while a tape is being compiled: a fork waits for it
_compiling = new_lock()
_state: dict[str, Any] = {"executor": None, "futures": set()}


class Promise:
    """A tape that is compiled, now or in the background.

    Parameters
    ----------
    tape : ClosedTape

    Attributes
    ----------
    compiled : CompiledTape or None
        None while it is not there.
    error : Exception or None
        The reason for which it will not come.
    """

    def __init__(self, tape: ClosedTape) -> None:
        self.tape = tape
        self.compiled: CompiledTape | None = None
        self.error: Exception | None = None
        if len(tape) < LONG:
            self.compiled = CompiledTape(tape)
            return
        if _state["executor"] is None:
            from concurrent.futures import ThreadPoolExecutor  # 5 ms that few programs need

            _state["executor"] = ThreadPoolExecutor(1, "tapegrad-jit")
        future = _state["executor"].submit(self._compile)
        _state["futures"].add(future)
        future.add_done_callback(_state["futures"].discard)

    def _compile(self) -> None:
        with _compiling:
            try:
                self.compiled = CompiledTape(self.tape)
            except Exception as error:  # the interpreter goes on sweeping it
                self.error = error


def finish() -> None:
    """Wait for all tapes that are being compiled."""
    for future in tuple(_state["futures"]):
        future.result()


def _forget() -> None:
    """In the child of a fork: nobody compiles."""
    _state.update(executor=None, futures=set())


current.waiting.append(finish)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
