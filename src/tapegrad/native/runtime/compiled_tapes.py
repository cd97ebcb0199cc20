"""What compiled tapes and their callers need of native code."""

from __future__ import annotations

from ..words import call_code
from .interpreter import run_range


def run_steps(steps, table):  # type: ignore[no-untyped-def]
    """Run the steps of an instruction (`packed` of ops/program.py) on a table of pointers, as `run_program` does."""
    return run_range(steps, table)


def run_tape(code, table):  # type: ignore[no-untyped-def]
    """Run a compiled tape; what it returns."""
    return call_code(code, table)
