"""Interrupts: the exceptions of signal handlers, at any bytecode, lose nothing but what was under way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tapegrad as tg

TESTS = Path(__file__).parent
SOURCE = Path(tg.__file__).parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE)}

#: runs scenarios with KeyboardInterrupt at every so many of the bytecodes where there can be one
EVERY_BYTECODE = """
import dis, functools, gc, os, sys
import tapegrad as tg
from tapegrad.native import abi as nt
from tapegrad.autograd.checkpoint import checkpoint
ROOT = os.path.dirname(tg.__file__)
x0 = [1.0, 2.0]
class Square(tg.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x
    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g
def leaf():
    return tg.tensor(x0, requires_grad=True)
def modes():
    x = leaf()
    with tg.no_grad():
        with tg.enable_grad():
            x * 2
    with tg.set_grad_enabled(True):
        x * 2
    with tg.autograd.graph.save_on_cpu():
        x * x
    return [tg.no_grad()(lambda: x * 2)().requires_grad]
def function():
    x = leaf()
    Square.apply(x).sum().backward()
    return x.grad.tolist()
def hooks():
    x = leaf()
    y = x * 3
    y.register_hook(lambda g: g * 2)
    x.register_post_accumulate_grad_hook(lambda t: None)
    y.sum().backward()
    return x.grad.tolist()
def checkpointed():
    x = leaf()
    checkpoint(lambda a: (a * a).sum(), x, use_reentrant=False).backward()
    return x.grad.tolist()
def transformed():
    return tg.func.grad(lambda a: (a * a).sum())(tg.tensor(x0)).tolist()
def written():
    x = leaf()
    y = x * 2
    y[1:] *= 2
    y.add_(1)
    with tg.no_grad():
        x.mul_(1)
    (y * y).sum().backward()
    return x.grad.tolist()
kept = []
def overwritten():
    x = leaf()
    y = x * 1
    z = (y * y).sum()
    kept[:] = x, z
    y.mul_(2)
@functools.cache
def points(code):
    # where the interpreter looks at signals: at entry, at jumps back, and at calls, but for those of exits
    found, before = set(), []
    for i in dis.get_instructions(code):
        leaves = i.arg == 2 and [x.argrepr for x in before[-3:]] == ["None"] * 3
        if i.opname in ("RESUME", "JUMP_BACKWARD") or (i.opname.startswith("CALL") and not leaves):
            found.add(i.offset)
        if i.opname != "PRECALL":
            before.append(i)
    return found
def run(scenario, at):
    count = 0
    def trace(frame, event, arg):
        nonlocal count
        if not frame.f_code.co_filename.startswith(ROOT):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in points(frame.f_code):
            count += 1
            if count == at:
                sys.settrace(None)
                where[:] = [frame.f_code.co_filename[len(ROOT):], frame.f_lineno]
                raise KeyboardInterrupt
        return trace
    try:
        sys.settrace(trace)
        scenario()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return count
where = []
tape, total = tg.current_tape(), 0
busy = int(tape.state[nt.S_BUSY])
for at in range(1, run(overwritten, -1)):  # the write was noted, or has not been done
    kept.clear()
    run(overwritten, at)
    if kept:
        x, z = kept
        try:
            assert tg.autograd.grad(z, x)[0].tolist() == [2.0, 4.0], where
        except RuntimeError as error:
            assert "inplace operation" in str(error), where
    assert written() == [12.0, 72.0], where
for scenario in (modes, function, hooks, checkpointed, transformed, written):
    want = scenario()
    assert scenario() == want
    last = run(scenario, -1)
    for at in range(1, last, STEP):
        run(scenario, at)
        total += 1
        state = tg.is_grad_enabled(), tape.grad_mode, tape.state[nt.S_BUSY], tape.saving
        assert state == (True, True, busy, None), (scenario, where, state)
        assert tg.current_tape() is tape, (scenario, where)
        if tape.passes:
            gc.collect()
        assert tape.passes == 0, (scenario, where)
        if at % 5 == 0:
            assert scenario() == want, (scenario, where)
print(total)
"""


def test_modes_are_as_they_were_after_an_interrupt_at_any_bytecode() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", EVERY_BYTECODE.replace("STEP", "5")],
        capture_output=True, text=True, timeout=300, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 300


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers")
def test_interrupts_at_random_times() -> None:
    """A few; ``python -m fuzz interrupts --count 50000`` makes more."""
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "interrupts", "--count", "60", "--seed", "suite"],
        cwd=TESTS, capture_output=True, text=True, timeout=600, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    counts = {
        word: int(n) for n, word in re.findall(r"^ +(\d+)  (\w+)$", done.stdout, re.MULTILINE)
    }
    assert set(counts) <= {"inside", "between"}
    assert sum(counts.values()) == 60


def succeeds(code: str) -> None:
    """Run a program that prints `done` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=300, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.stdout.strip() == "done", done.stderr


def test_handlers_that_look_at_large_values_in_the_middle_of_a_collection() -> None:
    """What a collection replaces goes when it is complete: with it go arrays, whose finalizers are Python."""
    code = """
        import signal, time
        import numpy as np
        import tapegrad as tg
        wrong = signals = 0
        def handler(*_):
            global wrong, signals
            signals += 1
            wrong += not ((tg.tensor(np.full(500, 4.0)) * 2.0).numpy() == 8).all()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
        end, k = time.time() + 1.5, 0
        while time.time() < end:
            k += 1
            assert ((tg.tensor(np.full(500, float(k))) * 2.0).numpy() == 2 * k).all()
            if k % 50 == 0:
                tg.current_tape().collect()
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert signals > 50 and not wrong, (signals, wrong)
        print("done")
    """
    succeeds(code)


def test_results_of_functions_under_njit_are_boxed_where_an_interrupt_waits() -> None:
    """A signal that arrives while compiled code runs is looked at when its result becomes a Python object."""
    code = """
        import math, signal, time
        import numpy as np
        import tapegrad as tg
        @tg.njit
        def f(x, n):
            s, y = 0.0, np.zeros(2)
            for i in range(n):
                s += math.sin(x * i) * 1e-3
            return s, (s, x), y
        class Interrupt(Exception):
            pass
        def handler(*_):
            raise Interrupt
        x = tg.tensor(1.5, requires_grad=True)
        want = f(x, 4000)[0].item()
        signal.signal(signal.SIGALRM, handler)
        caught = 0
        for i in range(150):
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-4)
                f(x, 4000)
                time.sleep(0.01)
            except Interrupt:
                caught += 1
        assert caught > 100, caught
        s, (t, u), y = f(x, 4000)
        assert s.item() == t.item() == want and y.tolist() == [0, 0]
        (s + u).backward()
        print("done")
    """
    succeeds(code)


def test_late_imports_run_where_no_interrupt_comes() -> None:
    """An interrupt while a package is imported, when the first tree or function under njit is met."""
    code = """
        import signal, sys, threading
        import tapegrad as tg
        from tapegrad.tape import pytree as trees
        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name in ("optree", "numba"):
                    seen.append((name, threading.current_thread() is threading.main_thread()))
                    signal.setitimer(signal.ITIMER_REAL, 0.002)
        def handler(*_):
            raise KeyboardInterrupt
        seen = []
        signal.signal(signal.SIGALRM, handler)
        sys.meta_path.insert(0, Finder())
        caught = 0
        def function(x):
            return x * 2.0
        for use in (lambda: trees.flatten([1, 2]), lambda: tg.njit(function)):
            try:
                use()
            except KeyboardInterrupt:
                caught += 1
            use()
        assert seen == [("optree", False), ("numba", False)], seen
        assert caught == 2, caught
        assert tg.grad(lambda p: (p["a"] * p["a"]).sum())({"a": tg.tensor([3.0])})["a"].tolist() == [6]
        x = tg.tensor(3.0, requires_grad=True)
        tg.njit(function)(x).backward()
        assert x.grad.item() == 2
        print("done")
    """
    succeeds(code)
