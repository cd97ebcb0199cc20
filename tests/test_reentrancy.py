"""Python code that runs in the middle of native recording: finalizers, whatever they do.

The garbage collector may start at each allocation of a handle; `stress` lets it, and more, happen there at
every one.
"""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stress
from alone import alone
from fast_paths import fast_paths

import tapegrad as tg
from tapegrad.native import abi as nt
from tapegrad.tape.verifier import verify

TESTS = Path(__file__).parent
SOURCE = Path(tg.__file__).parent.parent


def program() -> list[float]:
    """Use every operator that records natively, subscripts, views, writes, and derivatives of order 2."""
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    w = tg.tensor(0.5, requires_grad=True)
    y = x * w + 1.5 - x / 3
    y = y + 2 * x - (1 - x) ** 2 + 2.0**w
    y = y + x[0] + x[-1] * x[1:].sum() + x[:2].sum()
    y = -y.abs() + tg.sin(x) + x.exp().mul(0.1).add(x)
    z = y.clone()
    z[0] = 5.0
    z.mul_(2)
    values, _ = z.sort()
    s = (values * y).sum() + (x > 1.5).sum()
    g, h = tg.autograd.grad(s, (x, w), create_graph=True)
    (g * g).sum().backward()
    assert x.grad is not None
    assert w.grad is not None
    return [s.item(), *g.tolist(), h.item(), *x.grad.tolist(), w.grad.item()]


@pytest.mark.parametrize("name", ["collect", "record", "grow", "backward"])
@alone
def test_native_recording_is_right_whatever_runs_at_an_allocation(name: str) -> None:
    want, count = program(), 0

    def act() -> None:
        nonlocal count
        count += 1
        stress.ACTIONS[name]()

    with stress.stressed(act):
        found = program()
    assert found == want
    assert count > 50
    verify(tg.current_tape())


def test_an_exception_at_any_allocation_leaves_the_tape_as_it_was() -> None:
    want = program()
    tape, at = tg.current_tape(), 0
    busy = int(tape.state[nt.S_BUSY])
    while True:
        at += 1
        left = at

        def act() -> None:
            nonlocal left
            left -= 1
            if not left:
                raise KeyboardInterrupt

        try:
            with stress.stressed(act):
                assert program() == want
            break
        except KeyboardInterrupt:
            pass
        assert tape.grad_mode
        assert tape.passes == 0
        assert tape.state[nt.S_BUSY] == busy
        tape.evaluate()
        verify(tape)
    assert at > 50
    assert program() == want


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: x * y, lambda x, y: x + 2.0, lambda x, y: 2 * x, lambda x, y: x**2,
        lambda x, y: -x, lambda x, y: tg.sin(x), lambda x, y: x.add(y), lambda x, y: x < y,
        lambda x, y: x[1], lambda x, y: x[:2], lambda x, y: x[1:],
    ],
)  # fmt: skip
def test_slots_are_read_after_the_allocation(call: Callable[[Any, Any], Any]) -> None:
    """A finalizer drops what came before, so that all slots get other numbers, and records on top."""
    x0, y0 = [1.0, 2.0, 3.0], [0.5, 5.0, -1.0]
    want = call(tg.tensor(x0), tg.tensor(y0)).tolist()
    garbage = [tg.tensor([float(i)]) * 2 for i in range(20)]
    x, y = tg.tensor(x0) * 1, tg.tensor(y0) * 1
    kept = []

    def act() -> None:
        if garbage:
            garbage.clear()
            tg.current_tape().collect()
            kept.extend(tg.tensor([7.0, 8.0, 9.0]) * i for i in range(5))

    call(x, y)
    with stress.stressed(act):
        z = call(x, y)
    assert not garbage
    assert z.tolist() == want
    assert [t.tolist() for t in kept] == [[7.0 * i, 8.0 * i, 9.0 * i] for i in range(5)]
    verify(tg.current_tape())


@fast_paths  # others make room before they would run out
@alone  # the table stays large, and verifying it takes long: 40 ms after every sweep of all other tests
def test_a_finalizer_may_use_up_the_handle_ids() -> None:
    x, kept = tg.tensor([1.0, 2.0, 3.0]), []
    tape = tg.current_tape()

    def act() -> None:
        if kept:
            return
        free = tape.state[nt.S_HANDLE_CAPACITY] - tape.state[nt.S_HANDLE_COUNT]
        tape.make_room(2 * free, 4 * free, collect=False)
        kept.extend(x + 1 for _ in range(free))
        while tape.state[nt.S_HANDLE_FREE] >= 0:  # ids that other tests gave back
            kept.append(x + 1)

    for call in (lambda: x * 2, lambda: x[0], lambda: x.expand(3), lambda: tg.zeros(2)):
        want, capacity = call().tolist(), tape.state[nt.S_HANDLE_CAPACITY]
        with stress.stressed(act):
            assert call().tolist() == want
        assert tape.state[nt.S_HANDLE_CAPACITY] > capacity
        kept.clear()
    verify(tape)


def test_a_finalizer_may_give_an_operand_other_memory_and_another_layout() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    other = tg.tensor([[1.0, 2.0], [3.0, 4.0]])

    def act() -> None:
        x.data = other

    x * 2
    other * 2
    with stress.stressed(act):
        y = x * 2
    assert y.tolist() == [[2, 4], [6, 8]]


def test_finalizers_of_cycles_use_tensors_at_the_default_thresholds() -> None:
    """As programs have it: cycles with ``__del__``, and the garbage collector when it likes."""
    code = """
        import gc, sys
        sys.path.insert(0, sys.argv[1])
        import tapegrad as tg
        from tapegrad.tape.verifier import verify
        kept = []
        class Cycle:
            def __init__(self, t):
                self.me, self.t = self, t
            def __del__(self):
                y = self.t * 2 + 1
                kept.append(y[0] if y.ndim else y)
                if len(kept) > 50:
                    kept.clear()
                    tg.current_tape().collect()
        gc.set_threshold(3)
        x = tg.tensor([1.0, 2.0], requires_grad=True)
        for i in range(3000):
            Cycle(x * i)
            y = (x * 2 + i)[0] * x
            s = (y.sin() * x[1]).sum()
            if i % 50 == 0:
                g, = tg.autograd.grad(s, x)
                a = float(2 + i)
                import math
                v = [(2.0 * 1 + i) * 1, (2.0 * 1 + i) * 2]
                x0, x1 = 1.0, 2.0
                # y0 = (2 x0 + i) x0, y1 = (2 x0 + i) x1, s = (sin y0 + sin y1) x1
                y0, y1 = (2 * x0 + i) * x0, (2 * x0 + i) * x1
                want = [(math.cos(y0) * (4 * x0 + i) + math.cos(y1) * 2 * x1) * x1,
                        math.cos(y1) * (2 * x0 + i) * x1 + math.sin(y0) + math.sin(y1)]
                assert all(abs(a - b) < 1e-9 * (1 + abs(b)) for a, b in zip(g.tolist(), want)), i
        gc.collect()
        verify(tg.current_tape())
        print("done")
    """
    import textwrap

    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code), str(SOURCE)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "done", done.stderr


@pytest.mark.parametrize("name", ["collect", "record"])
def test_a_part_of_the_suite_under_stress(name: str) -> None:
    chosen = ["test_engine.py", "test_hooks.py", "test_inplace.py"]
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "pytest", "-q", "-x", "-p", "stress",
         "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:benchmark", "--numprocesses=0",
         "-k", "not linear", *chosen],  # not what measures times
        cwd=TESTS, capture_output=True, text=True, timeout=900, check=False,
        env={**os.environ, "TAPEGRAD_STRESS": name, "PYTHONPATH": f"{SOURCE}{os.pathsep}{TESTS}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    times = re.search(r"stressed (\d+) times", done.stdout)
    assert times is not None
    assert int(times[1]) > 1000
    gc.collect()
