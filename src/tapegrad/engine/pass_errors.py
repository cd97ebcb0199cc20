"""Errors of a reverse pass, from the fields of its request in which native code says where it stopped."""

from __future__ import annotations

from typing import NoReturn, Protocol

from ..base import torch_messages as messages
from ..base.dtypes import type_name
from ..native import abi as nt
from ..rules.traced_rule import instruction_at
from ..tape import anomaly, versions
from ..tape.failures import failed, failing_statement
from ..tape.tape import Tape
from .targets import unused

__all__ = ["no_memory", "raise_failure", "raise_freed", "raise_stale", "raise_unused"]


class StoppedPass(Protocol):
    """A reverse pass (`Request` of reverse_pass.py) that native code cannot go on with."""

    tape: Tape
    words: memoryview


def raise_freed(request: StoppedPass) -> NoReturn:
    """Raise for residuals that an earlier pass released."""
    slot = request.words[nt.R_ERROR_SLOT]
    request.tape.check_value(slot)
    anomaly.explain(request.tape, slot)
    raise RuntimeError(messages.FREED)


def raise_unused(request: StoppedPass) -> NoReturn:
    """Raise for a target that the pass does not come to."""
    raise RuntimeError(unused(request.words[nt.R_ERROR_ARG]))


def raise_stale(request: StoppedPass) -> NoReturn:
    """Raise for a residual that was changed in place."""
    tape, slot, residual = (
        request.tape,
        request.words[nt.R_ERROR_SLOT],
        request.words[nt.R_ERROR_ARG],
    )
    written = versions.last_write(tape, residual)
    anomaly.explain(tape, slot, written)
    base = int(tape.base[residual])
    version = tape.versions.get(base, 0)
    later = versions.writes_behind(tape, base, slot)
    instruction, current = tape.instruction_of(residual), tape.instruction_of(written)
    origin = ""
    if tape.is_active(residual) and not tape.wants_grad(residual):
        # A result is called after its own op, an operand after its last write.
        named = instruction if residual == slot or current.op.kind == nt.LEAF else current
        name = named.grad_fn.removesuffix("Backward0")
        if name in ("CopySlices", "CopyBackwards", "AsStrided"):
            name = "torch::autograd::CopySlices"
        origin = f", which is output 0 of {name},"
    text = messages.stale(anomaly.is_on()).format(
        kind=type_name(instruction.out.dtype), shape=str(list(instruction.out.shape)), origin=origin,
        version=version, expected=version - later,
    )  # fmt: skip
    raise RuntimeError(text)


def raise_failure(request: StoppedPass) -> NoReturn:
    """Raise the reason for which a sweep has failed: a kernel has, or there was no memory."""
    tape, report = request.tape, request.words[nt.R_FAILURE]
    if not report:
        no_memory()
    slot = request.words[nt.R_ERROR_SLOT]
    instruction = tape.instruction_of(slot)
    failing = instruction_at(instruction, request.words[nt.R_VARIANT], failing_statement(report))
    anomaly.explain(tape, slot)
    raise failed(failing, report, instruction).error()


def no_memory() -> NoReturn:
    """Raise for adjoints that do not fit."""
    raise MemoryError("backward: no memory for adjoints; use smaller tensors or fewer at once")
