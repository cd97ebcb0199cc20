"""Timing several contenders on one workload, fairly.

pytest-benchmark times one test after another, so a machine that slows down half way favours whoever
ran first. A `Race` times all contenders of a workload in interleaved rounds instead; each
contender's test then reports its own samples through pytest-benchmark, whose tables, JSON and
options (`--benchmark-max-time`, `--benchmark-min-rounds`, `--benchmark-disable`) stay as they are.

Before anything is timed, every contender's value and gradients must agree with the first one's.
"""

import gc
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pytest

# What a contender returns: the value of the function, then its gradients.
Result = tuple[Any, ...]
Runner = Callable[[], Result]

# A round is repeated until it lasts so long that what was in the caches before it does not count.
ROUND_SECONDS = 1e-2
MAX_ROUNDS = 101


BEST_PEER = "best peer"
FIRST_CALL = "first call"


@dataclass(frozen=True)
class Aim:
    """A bound that the performance page reports as met or missed.

    `to` names a contender of the same race (`at_most` is then a ratio of medians), another race's
    group (a ratio of medians per item of work), is BEST_PEER (the fastest of the contenders that are
    neither tapegrad nor written by hand), FIRST_CALL (`at_most` bounds its seconds) or None
    (`at_most` bounds the median's seconds).
    """

    text: str
    at_most: float
    to: str | None = None


@dataclass(frozen=True)
class Race:
    """A workload and those who run it.

    `contenders` maps a name to a function that sets up and returns the runner to be timed; the
    first is the reference that the others must agree with. `work` is the number of operations
    (or items) that one run stands for. `aimed` is the contender whom the aims are for, and `row` the
    line, the column and the aim in limits of the performance page's table of compiled code, if the
    race is in it.
    """

    group: str
    contenders: Mapping[str, Callable[[], Runner]]
    work: int
    aims: Sequence[Aim] = ()
    rtol: float = 1e-9
    aimed: str = "tapegrad"
    row: tuple[str, str, float] | None = None


@dataclass
class Lane:
    """One contender's figures, in seconds a run."""

    first_call: float
    samples: list[float] = field(default_factory=list)


PEERS = ("torch", "autograd")
#: those of some races only
OTHERS = ("jax", "casadi")
#: compiles for up to half a minute a workload: only where somebody asks for it
SLOW_COMPILER = "torch.compile"
ASKED = "TAPEGRAD_BENCH_TORCH_COMPILE"


def absence(name: str) -> str | None:
    """Return why a contender cannot run, or None; eager tapegrad and the limit always can."""
    if name == "tg.jit":
        import tapegrad

        return None if hasattr(tapegrad, "jit") else "tapegrad has no jit yet"
    if name == SLOW_COMPILER and not os.environ.get(ASKED):
        return f"compiles for up to half a minute; set {ASKED}=1 to time it"
    module = name.partition(".")[0]
    if module in (*PEERS, *OTHERS) and importlib.util.find_spec(module) is None:
        return f"{module} is not installed"
    return None


def require(name: str) -> None:
    """Skip the test of a contender that cannot run."""
    reason = absence(name)
    if reason is not None:
        pytest.skip(reason)


def timed(run: Runner, repeats: int = 1) -> float:
    start = perf_counter()
    for _ in range(repeats):
        run()
    return (perf_counter() - start) / repeats


def line_up(race: Race) -> tuple[dict[str, Runner], dict[str, Lane]]:
    """Set up every contender that can run, time its first call and assert that all agree."""
    runners, lanes, reference = {}, {}, None
    for name, set_up in race.contenders.items():
        if absence(name) is not None:
            continue
        runners[name] = run = set_up()
        start = perf_counter()
        result = run()
        lanes[name] = Lane(first_call=perf_counter() - start)
        getattr(run, "settle", int)()  # what goes on in the background is not for the others to pay
        # Copied, as the next run may write into the same memory.
        result = tuple(np.array(part, dtype=np.float64) for part in result)
        if reference is None:
            reference = result
        assert len(result) == len(reference)
        for part, expected in zip(result, reference, strict=True):
            scale = float(np.max(np.abs(expected), initial=0.0))
            np.testing.assert_allclose(
                part, expected, rtol=race.rtol, atol=race.rtol * scale, err_msg=f"{name} disagrees"
            )
    return runners, lanes


def run_race(race: Race, *, seconds: float, min_rounds: int) -> dict[str, Lane]:
    """Time all contenders in interleaved rounds, about `seconds` for each of them."""
    runners, lanes = line_up(race)
    repeats, cycle = {}, 0.0
    for name, run in runners.items():
        once = median(timed(run) for _ in range(3))
        repeats[name] = max(1, int(ROUND_SECONDS / once))
        cycle += once * repeats[name]
    rounds = min(MAX_ROUNDS, max(min_rounds, int(seconds * len(runners) / cycle)))
    names = list(runners)
    # The collector stays on, as in a user's program, but nobody pays for another's garbage, nor
    # for walking over the modules that others imported.
    gc.collect()
    gc.freeze()
    try:
        for turn in range(rounds):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                gc.collect()
                lanes[name].samples.append(timed(runners[name], repeats[name]))
    finally:
        gc.unfreeze()
    return lanes


def eager(module: Any, program: Callable[..., Any], *inputs: np.ndarray) -> Runner:
    """Return value and gradients of `program(module, *leaves)` as a PyTorch user gets them."""
    leaves = [module.tensor(part, dtype=module.float64, requires_grad=True) for part in inputs]

    def run() -> Result:
        for leaf in leaves:
            leaf.grad = None
        value = program(module, *leaves)
        value.backward()
        return (value.item(), *(leaf.grad.numpy() for leaf in leaves))

    return run


def contenders(
    program: Callable[..., Any],
    *inputs: np.ndarray,
    limit: Runner | None = None,
    peers: Sequence[str] = PEERS,
) -> dict[str, Callable[[], Runner]]:
    """Return the usual contenders: the limit, tapegrad and its peers on the same program."""

    def tapegrad() -> Runner:
        import tapegrad

        return eager(tapegrad, program, *inputs)

    def torch() -> Runner:
        import torch

        torch.set_num_threads(1)
        return eager(torch, program, *inputs)

    def autograd() -> Runner:
        import autograd.numpy
        from autograd import value_and_grad

        differentiated = value_and_grad(
            lambda *leaves: program(autograd.numpy, *leaves), argnum=tuple(range(len(inputs)))
        )

        def run() -> Result:
            value, gradients = differentiated(*inputs)
            return (value, *gradients)

        return run

    entries: dict[str, Callable[[], Runner]] = {}
    if limit is not None:
        entries["limit"] = lambda: limit
    entries["tapegrad"] = tapegrad
    entries.update({peer: {"torch": torch, "autograd": autograd}[peer] for peer in peers})
    return entries
