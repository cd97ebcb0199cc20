"""Interrupts at random times: signal handlers that raise, in the middle of whatever tapegrad does.

Each case runs a scenario again and again until a timer's handler raises in it, at a time that is drawn. The
interrupt may lose what the scenario was about to do, and nothing else: then the modes are as they were, and
the scenario gives what it gave.
"""

from __future__ import annotations

import gc
import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.autograd.checkpoint import checkpoint
from tapegrad.base.fast_paths import REFUSED
from tapegrad.native import abi as nt
from tapegrad.tape.verifier import verify

__all__ = ["ENVIRONMENT", "SCENARIOS", "run"]

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
#: cases from one look at all of the tape to the next
VERIFIED = 5
#: seconds until the last interrupts: some come between calls, too
LONGEST = 0.003


class Interrupt(BaseException):
    """What a handler raises."""


# --------------------------------------------------------------------------- scenarios
@tg.njit  # type: ignore[untyped-decorator]
def _scalars(x: float, n: int) -> float:
    s = 0.0
    for i in range(n):
        s += math.sin(x * i) * 1e-2
    return s


@tg.njit  # type: ignore[untyped-decorator]
def _arrays(x: Any) -> Any:
    y = x * 2.0
    return y[0] * y[1], y, (x[0], 3.0)


class _Square(tg.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x + 0 * x.sum()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 2 * x * g


def _vector() -> Any:
    return tg.tensor([1.0, 2.0, 3.0], requires_grad=True)


def njit_scalars() -> Any:
    """A loop, its gradient and its second derivative."""
    x = tg.tensor(1.5, requires_grad=True)
    (g,) = tg.autograd.grad(_scalars(x, 15), x, create_graph=True)
    g.backward()
    return [g.item(), x.grad.item()]


def njit_arrays() -> Any:
    """Results of all kinds."""
    x = _vector()
    s, y, (first, _) = _arrays(x)
    (s * y.sum() + first).backward()
    return x.grad.tolist()


def recording() -> Any:
    """Operators, subscripts, views and writes."""
    x = _vector()
    y = x * 2 + 1 - x[0] / 3
    for i in range(10):
        y = y * 1.01 + x[i % 3]
    z = y.clone()
    z[1:] *= 2
    (z * y).sum().backward()
    return x.grad.tolist()


def twice() -> Any:
    """A derivative of a derivative, into leaves."""
    x = _vector()
    (g,) = tg.autograd.grad((x.exp() * x).sum(), x, create_graph=True)
    (g * g).sum().backward()
    return x.grad.tolist()


def functions() -> Any:
    """A Function, in a graph that is differentiated twice."""
    x = _vector()
    (g,) = tg.autograd.grad((_Square.apply(x) * x).sum(), x, create_graph=True)
    g.sum().backward()
    return x.grad.tolist()


def hooks() -> Any:
    """Hooks of tensors, nodes and leaves."""
    x = _vector()
    y = x * 2
    y.register_hook(lambda g: g * 3)
    z = y.sin()
    z.grad_fn.register_hook(lambda gi, go: None)
    z.retain_grad()
    x.register_post_accumulate_grad_hook(lambda t: None)
    z.sum().backward()
    return [*x.grad.tolist(), *z.grad.tolist()]


def checkpoints() -> Any:
    """A checkpointed function."""
    x = _vector()
    checkpoint(lambda a: (a.exp() * a).sum(), x * 2, use_reentrant=False).backward()
    return x.grad.tolist()


def modes() -> Any:
    """Grad modes, inference mode and hooks on what is saved."""
    x = _vector()
    with tg.no_grad():
        a = x * 2
        with tg.enable_grad():
            b = x * 3
    with tg.inference_mode():
        x * 5
    with tg.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
        c = (b * b).sum()
    c.backward()
    assert not a.requires_grad
    return x.grad.tolist()


def transforms() -> Any:
    """Transforms of functions, and vmap."""
    x = tg.tensor([1.0, 2.0, 3.0])
    f = lambda v: (v.sin() * v).sum()  # noqa: E731
    h = tg.func.hessian(f)(x)
    v = tg.func.vmap(tg.func.grad(f))(tg.ones(2, 3) * x)
    _, t = tg.func.jvp(f, (x,), (tg.ones(3),))
    return [*np.asarray(h.tolist()).ravel().tolist(), *v[0].tolist(), t.item()]


SCENARIOS: tuple[Callable[[], Any], ...] = (
    njit_scalars, njit_arrays, recording, twice, functions, hooks, checkpoints, modes, transforms,
)  # fmt: skip


# --------------------------------------------------------------------------- a case
def _raise(signum: int, frame: object) -> None:
    raise Interrupt


def _disorder() -> str:
    """What an interrupt left that it should not have; empty if nothing."""
    tape = tg.current_tape()
    if not tg.is_grad_enabled() or not tape.grad_mode:
        return "grad mode is off"
    if tg.is_inference_mode_enabled():
        return "inference mode is on"
    if tape.state[nt.S_BUSY] != int(REFUSED) << 8 * nt.BUSY_REFUSED:
        return "recording goes through Python"
    if tape.saving is not None:
        return "hooks on what is saved are in use"
    if tape.state[nt.S_PENDING_LIMIT] >= 1 << 62:
        return "no limit of what is pending"
    if tape.passes:
        gc.collect()  # a pass that `with` did not end counts as long as it lives
        if tape.passes:
            return "a pass is under way"
    return ""


def _interrupt(scenario: Callable[[], Any], delay: float) -> bool:
    """Run a scenario until an interrupt comes; True if it came in the middle of one."""
    inside, end = False, time.monotonic() + delay + 1
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        while time.monotonic() < end:  # Python ignores what a finalizer raises
            inside = True
            scenario()
            inside = False
    except Interrupt:
        return inside
    return False


def run(
    seed: str, numbers: Iterable[int], seconds: float = 1e9,
    mark: Callable[[int], object] = lambda number: None,
) -> Iterator[str]:  # fmt: skip
    """Interrupt until time is up; yield for each ``"inside"``, ``"between"`` or ``"WRONG"``."""
    signal.signal(signal.SIGALRM, _raise)
    end = time.monotonic() + seconds
    wanted = [scenario() for scenario in SCENARIOS]
    assert wanted == [scenario() for scenario in SCENARIOS]
    for number in numbers:
        if time.monotonic() > end:
            return
        mark(number)
        rng = random.Random(f"{seed} {number}")
        which = rng.randrange(len(SCENARIOS))
        inside = _interrupt(SCENARIOS[which], rng.uniform(1e-5, LONGEST))
        try:
            trouble = _disorder()
            # Of another scenario, too: what was interrupted may have left something to it.
            for other in {which, rng.randrange(len(SCENARIOS))}:
                found = SCENARIOS[other]()
                if found != wanted[other]:
                    trouble += f"; {SCENARIOS[other].__name__} gives {found}, not {wanted[other]}"
            if number % VERIFIED == 0:
                tape = tg.current_tape()
                tape.evaluate()
                tape.collect()
                verify(tape)
        except Exception as error:
            trouble += f"; {type(error).__name__}: {error}"
        if trouble:
            print(f"{SCENARIOS[which].__name__} was interrupted: {trouble}", flush=True)
            yield "WRONG"
            return  # what comes after it says nothing
        yield "inside" if inside else "between"
