"""Programs drawn from seeds, run in tapegrad and in torch, compared, and shrunk where they differ."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch

import tapegrad as tg

from . import derivatives, functions, statements
from .program import Program
from .script import Outcome, Script, outcome
from .verdict import Verdict, judge, shrunk

__all__ = ["ENVIRONMENT", "KINDS_FROM", "compare", "run", "torch_in_float64", "verdict_of"]

#: environment of workers: this process's
ENVIRONMENT = None
#: modules whose kinds of statements are registered by their import
KINDS_FROM = (derivatives, functions, statements)
#: lengths of programs, and orders up to which their derivatives are taken
SIZES = [(4, 3), (8, 2), (12, 2), (16, 2), (30, 1)]


@contextmanager
def torch_in_float64() -> Iterator[None]:
    """Let torch have float64 as its default dtype, and one thread."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)


def outcome_in_torch(script: Script) -> Outcome:
    """Run a script in torch; workers look for the name of this function where a process crashed."""
    return outcome(script, torch)


def verdict_of(script: Script) -> Verdict:
    """Run a script in both libraries, and compare."""
    return judge(script, outcome(script, tg), outcome_in_torch(script), torch)


def compare(program: Program) -> Verdict:
    """Run a program that was drawn in tapegrad in torch, and compare."""
    theirs = outcome_in_torch(program.script)
    return judge(program.script, program.finish(), theirs, torch)


def _report(seed: str, script: Script, verdict: str) -> None:
    """Print a program that differs, after shrinking it."""
    if verdict_of(script).is_wrong:
        script = shrunk(script, lambda shorter: verdict_of(shorter).is_wrong)
        verdict = verdict_of(script)
    else:
        verdict = f"(not when its text is run again) {verdict}"
    print(
        f"\n=== seed {seed!r}, derivatives to order {script.order}\n{script.text()}\n--- {verdict}"
    )


def run(
    seed: str, numbers: Iterable[int], seconds: float = 1e9,
    mark: Callable[[int], object] = lambda number: None,
) -> Iterator[str]:  # fmt: skip
    """Run programs until time is up, report those that differ, and yield verdicts, ``"WRONG"`` for those.

    Parameters
    ----------
    seed : str
    numbers : iterable of int
        Program `i` is drawn from the seed and `i`, whatever ran before.
    seconds : float
    mark : callable
        Called with each number before its program runs.
    """
    end = time.monotonic() + seconds
    with torch_in_float64():
        for number in numbers:
            if time.monotonic() > end:
                return
            mark(number)
            rng = random.Random(f"{seed} {number}")
            program = Program(rng, *rng.choice(SIZES))
            verdict = compare(program)
            if verdict.is_wrong:
                _report(f"{seed} {number}", program.script, verdict)
            yield "WRONG" if verdict.is_wrong else str(verdict)
