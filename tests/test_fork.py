"""A fork while another thread computes: the child has usable tapes, and waits for no lock."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import tapegrad as tg

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")

SOURCE = Path(tg.__file__).parent.parent
WORK = {
    "product": "(a @ a).sum().item()",
    "sweep": "((a @ a) * 1e-9).exp().sum().backward(); a.grad = None",
    "small": "(b * 2 + b[0]).sum().backward(); b.grad = None",
    "random": "tg.rand(1000).sum().item()",
}


@pytest.mark.parametrize("name", WORK)
def test_a_fork_while_another_thread_computes(name: str) -> None:
    code = f"""
        import os, signal, threading
        import numpy as np
        import tapegrad as tg
        from tapegrad.tape.verifier import verify
        stop, started = threading.Event(), threading.Event()
        def work():
            a = tg.tensor(np.full((400, 400), 0.1), requires_grad=True)
            b = tg.tensor([1.0, 2.0], requires_grad=True)
            while not stop.is_set():
                {WORK[name]}
                started.set()
        thread = threading.Thread(target=work)
        thread.start()
        started.wait()
        mine = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
        y = mine * mine
        for i in range(6):
            pid = os.fork()
            if pid == 0:
                signal.alarm(40)  # instead of hanging
                y.sum().backward()
                assert mine.grad.tolist() == [2, 4, 6]
                x = tg.tensor(np.full((300, 300), 0.5), requires_grad=True)
                (x @ x).sum().backward()
                assert x.grad[0, 0].item() == 300.0
                tg.rand(3)
                done = []
                def other():
                    z = tg.tensor(2.0, requires_grad=True)
                    (z * z).backward()
                    done.append(z.grad.item())
                second = threading.Thread(target=other)
                second.start()
                second.join()
                assert done == [4.0]
                tg.current_tape().collect()
                verify(tg.current_tape())
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        thread.join()
        y.sum().backward()
        assert mine.grad.tolist() == [2, 4, 6]
        print("done")
    """
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.stdout.strip() == "done", done.stderr


def test_a_fork_does_not_wait_for_ever_for_a_thread_that_waits_for_it() -> None:
    """A hook of another thread's pass, which holds its tape, waits until the fork is over."""
    code = """
        import os, signal, threading
        import tapegrad as tg
        from tapegrad.base import locks
        locks.PATIENCE = 0.5
        inside, over = threading.Event(), threading.Event()
        def hook(g):
            inside.set()
            assert over.wait(100)
        def work():
            x = tg.tensor([1.0, 2.0], requires_grad=True)
            y = x * 2
            y.register_hook(hook)
            y.sum().backward()
            assert x.grad.tolist() == [2, 2]
        thread = threading.Thread(target=work)
        thread.start()
        inside.wait()
        pid = os.fork()
        if pid == 0:
            signal.alarm(40)  # instead of hanging
            z = tg.tensor(2.0, requires_grad=True)
            (z * z).backward()
            os._exit(z.grad.item() != 4.0)
        assert os.waitpid(pid, 0)[1] == 0
        over.set()
        thread.join()
        print("done")
    """
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.stdout.strip() == "done", done.stderr
