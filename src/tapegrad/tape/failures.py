"""Failures: the reasons for which statements could not be evaluated.

A kernel may fail (a singular matrix): it is that of a *checked* step, and reports the element of the batch.
The forward sweep stops there, before it has marked anything. `Values.evaluate` marks the statement as
poisoned, writes its error into ``tape.failures``, and lets the sweep go on; native code poisons statements
that depend on it, and `note_failures` copies the reason to them. So reading it raises the same again, and
the tape is as usable as before. Poisoned slots that are not in the book did not fit in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from typing import NamedTuple, Protocol

import numpy as np

from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS, Instruction
from ..ops.layout import Layout
from ..ops.table import Op

__all__ = ["Failed", "failed", "failing_statement", "failure_of", "note_failures", "out_of_memory"]


class Failed(NamedTuple):
    """The error that a failure raises, each time anew; or that which a function has raised."""

    kind: type[BaseException]
    text: str
    raised: BaseException | None = None

    def error(self) -> BaseException:
        """Return an error to raise: none that is kept gets a traceback, which would keep tensors."""
        if self.raised is None:
            return self.kind(self.text)
        with suppress(Exception):  # some classes cannot be copied
            error = copy(self.raised)
            if type(error) is self.kind:
                return error
        return self.raised


class _Slots(Protocol):
    """The part of a tape that `note_failures` needs."""

    failures: dict[int, Failed]
    flags: np.ndarray
    state: memoryview

    def args_of(self, slot: int) -> list[int]:
        """Operand slots of a statement."""
        ...


def _shapes(layouts: Sequence[Layout], entry: Op) -> str:
    layouts = layouts[: entry.shown]
    return ", ".join(str(list(x.shape)) for x in layouts)


def _origin(instruction: Instruction) -> Instruction:
    """Return the instruction for one slice, where `instruction` is that for a batch of them (vmap)."""
    while instruction.op.lifted:
        instruction = INSTRUCTIONS[instruction.attrs["inner"]]
    return instruction


def failing_statement(report: int) -> int:
    """Return the statement of a template whose kernel failed, from a program's report."""
    return report >> nt.BATCH_BITS


def failing_element(report: int) -> int:
    """Return the element of the batch at which a kernel failed, from a program's report."""
    return (report & (1 << nt.BATCH_BITS) - 1) - 1


def failure_of(instruction: Instruction) -> Failed | None:
    """Return the error of an instruction whose kernel fails, without shapes; None if it never does."""
    entry = _origin(instruction).op
    failure = entry.failure
    return None if failure is None else Failed(failure.error, f"{entry.label}: {failure.text}")


def failed(instruction: Instruction, report: int, within: Instruction | None = None) -> Failed:
    """Return the error for a program's report (`BATCH_BITS` of native/abi.py).

    Parameters
    ----------
    instruction : Instruction
        That whose kernel failed.
    report : int
    within : Instruction, optional
        That whose derivative it is a part of.
    """
    entry = _origin(instruction).op
    failure = entry.failure
    assert failure is not None, f"{entry.name} has a checked step and says nothing of failures"
    if failure.attribute:
        reason = _origin(instruction).attrs[failure.attribute]
        if isinstance(reason, str):
            return Failed(failure.error, reason)
        error = reason.failed()
        return Failed(type(error), str(error), error.with_traceback(None))
    text = f"{entry.label}: "
    if any(step.checked and step.shape for step in instruction.steps):
        text += f"(Batch element {failing_element(report)}): "
    text += f"{failure.text} (operands of shape {_shapes(instruction.layouts, entry)}"
    if within is not None and within is not instruction:
        outer = _origin(within).op
        shapes = _shapes(within.layouts, outer)
        text += f"; in the derivative of {outer.label}, operands of shape {shapes}"
    return Failed(failure.error, text + ")")


def out_of_memory(instruction: Instruction) -> MemoryError:
    """Return the error for a result that does not fit."""
    return MemoryError(
        f"{instruction.op.name}: no memory for a result of shape {list(instruction.out.shape)} "
        f"({instruction.out.span} bytes) of operands {_shapes(instruction.layouts, instruction.op)}"
    )


def note_failures(tape: _Slots) -> None:
    """Copy the reasons of failures to the statements that native code has poisoned for them."""
    state, book = tape.state, tape.failures
    first = state[nt.S_FAILED]
    if not first:
        return
    flags = tape.flags[first : state[nt.S_COUNT]]
    for slot in (first + np.flatnonzero(flags & nt.POISON)).tolist():
        reasons = [book[a] for a in tape.args_of(slot) if a in book]
        if reasons:
            book.setdefault(slot, reasons[0])
    state[nt.S_FAILED] = 0
