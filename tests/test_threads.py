"""Threads: a tape each, tensors that cross, sweeps at the same time, tapes of ended threads."""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad import tape as tapes
from tapegrad.errors import TapeError


@pytest.fixture(autouse=True)
def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verifier reads a tape's arrays one by one, while another thread may drop handles."""
    monkeypatch.setattr(tapes.Tape, "check", None)


def in_thread(function: Callable[[], Any]) -> Any:
    """Run in a new thread; its result, or its exception raised here."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append((function(), None))
        except BaseException as error:
            found.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "a thread hangs"
    value, error = found[0]
    if error is not None:
        raise error
    return value


def work(seed: int, n: int = 60) -> list[float]:
    x = tg.tensor(np.linspace(0.1, 1.0, 7) + seed, requires_grad=True)
    y = x
    for i in range(n):
        y = (y * 0.9 + x.sin() * 0.1).tanh() if i % 3 else y + x[0] * 0.01
    (g,) = tg.autograd.grad((y * y).sum(), x, create_graph=True)
    (h,) = tg.autograd.grad((g * g).sum(), x, retain_graph=True)
    (x * y).sum().backward()
    assert x.grad is not None
    return [*g.tolist(), *h.tolist(), *x.grad.tolist()]


def test_each_thread_has_its_tape() -> None:
    other = in_thread(tg.current_tape)
    assert other is not tg.current_tape()
    count = len(tg.current_tape())
    in_thread(lambda: work(0))
    assert len(tg.current_tape()) == count


def test_results_are_the_same_in_every_thread() -> None:
    want = [work(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(8))) == want
        assert list(pool.map(work, [3] * 16)) == [want[3]] * 16


def test_sweeps_at_the_same_time() -> None:
    """Both threads spend their time in sweeps over large arrays, without the GIL."""
    barrier = threading.Barrier(2)

    def run(scale: float) -> list[float]:
        x = tg.tensor(np.linspace(0.0, 1.0, 200_000) * scale, requires_grad=True)
        found = []
        for _ in range(12):
            barrier.wait(30)
            y = (x.exp() * x).sin() + x * x
            x.grad = None
            y.sum().backward()
            assert x.grad is not None
            found.append(float(x.grad.numpy().sum()))
        return found

    with ThreadPoolExecutor(2) as pool:
        a, b = pool.map(run, (1.0, 2.0))
    assert len(set(a)) == len(set(b)) == 1
    x = np.linspace(0.0, 1.0, 200_000)
    want = (np.cos(np.exp(x) * x) * np.exp(x) * (x + 1) + 2 * x).sum()
    assert a[0] == pytest.approx(want, rel=1e-10)


def test_first_use_of_ops_in_many_threads() -> None:
    """Layouts, instructions, programs and kernels are made by several threads at once."""

    def run(k: int) -> list[float]:
        x = tg.tensor(np.linspace(0.2, 0.8, 90 + k % 3), requires_grad=True)
        y = x[k % 5 :]
        for i in range(1, 12):
            y = y[: y.shape[0] - i % 2] * 1.01
            y = [y.exp, y.sin, y.tanh, y.square, y.sqrt, y.log1p][(i + k) % 6]()
        (g,) = tg.autograd.grad(y.sum(), x, create_graph=True)
        (h,) = tg.autograd.grad(g.sum(), x)
        return [*g.tolist(), *h.tolist()]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, list(range(30)) * 2))
    for k in range(30):
        assert found[k] == found[30 + k] == run(k)


# --------------------------------------------------------------------------- tensors that cross
def test_leaves_of_another_thread() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)

    def use() -> tuple[list[float], Any]:
        y = (w * w).sum()
        y.backward()
        return w.tolist(), tg.autograd.grad((w * 3).sum(), w)[0].tolist()

    values, grads = in_thread(use)
    assert values == [1, 2]
    assert grads == [3, 3]
    assert w.grad is not None
    assert w.grad.tolist() == [2, 4]
    (w * w).sum().backward()
    assert w.grad.tolist() == [4, 8]


def test_parameters_shared_by_workers() -> None:
    w = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)

    def gradient(k: int) -> Any:
        (g,) = tg.autograd.grad(((w - k) ** 2).sum(), w)
        return g.numpy()

    with ThreadPoolExecutor(3) as pool:
        for _ in range(10):
            total = sum(pool.map(gradient, range(6)))
            with tg.no_grad():
                w -= 0.01 * tg.tensor(total)
    value = np.array([1.0, 2.0, 3.0])
    for _ in range(10):
        value = value - 0.01 * sum(2 * (value - k) for k in range(6))
    np.testing.assert_allclose(w.detach().numpy(), value, rtol=1e-12)


def test_passive_results_of_another_thread() -> None:
    y = tg.tensor([1.0, 2.0]) * 2
    y.tolist()
    assert in_thread(lambda: (y + 1).tolist()) == [3, 5]
    z = in_thread(lambda: tg.tensor([1.0, 2.0]) * 4)
    assert (z + 1).tolist() == [5, 9]
    assert z.tolist() == [4, 8]
    v = in_thread(lambda: (tg.tensor([[1.0, 2.0], [3.0, 4.0]]) * 1).T[1])
    assert (v * 1).tolist() == [2, 4]


def test_active_results_of_another_thread_raise() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    y = w * 2
    for call in (lambda: y + 1, lambda: y.exp(), lambda: tg.cat([y, y]), lambda: y.sum()):
        with pytest.raises(TapeError, match="another thread"):
            in_thread(call)
    with pytest.raises(TapeError, match="another"):
        in_thread(lambda: y.sum().backward())
    s = y.sum()
    with pytest.raises(TapeError, match="another"):
        in_thread(s.backward)
    s.backward()
    assert w.grad is not None
    assert w.grad.tolist() == [2, 2]


def test_values_can_be_read_in_any_thread() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    y = w * 2
    assert in_thread(y.tolist) == [2, 4]
    assert in_thread(lambda: repr(y)) == repr(y)
    assert in_thread(lambda: y.sum if y.requires_grad else None)
    assert in_thread(lambda: y.shape) == (2,)


def test_writes_of_another_thread_come_after_what_was_recorded() -> None:
    """A statement sees the memory as it was when it was recorded, whichever thread writes next."""
    w = tg.tensor([1.0, 2.0])
    pending: queue.Queue[Any] = queue.Queue()
    go = threading.Event()

    def record() -> list[float]:
        y = w * 2
        pending.put(None)
        assert go.wait(30)
        found: list[float] = y.tolist()
        return found

    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(record)
        pending.get(timeout=30)
        w.mul_(100)
        w.tolist()
        go.set()
        assert later.result(30) == [2, 4]


def test_tensors_dropped_by_another_thread() -> None:
    """Handles go back to their tape while its owner records and sweeps."""
    inbox: queue.Queue[Any] = queue.Queue(100)

    def drop() -> None:
        while (item := inbox.get()) is not None:
            del item

    thread = threading.Thread(target=drop)
    thread.start()
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    for i in range(5000):
        y = (w * float(i)).sum()
        inbox.put([y, w * 2])
        if i % 50 == 0:
            y.backward()
    inbox.put(None)
    thread.join(30)
    assert not thread.is_alive()
    tg.current_tape().collect()
    assert len(tg.current_tape()) < 500


def test_values_read_while_the_owner_records() -> None:
    y = tg.tensor([1.0, 2.0]) * 3
    stop = threading.Event()

    def read() -> int:
        count = 0
        while not stop.is_set():
            assert y.tolist() == [3, 6]
            count += 1
        return count

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        x = tg.tensor([1.0], requires_grad=True)
        for i in range(300):
            z = x
            for _ in range(30):
                z = z * 1.01
            z.backward()
            if i % 20 == 0:
                tg.current_tape().collect()
        stop.set()
        assert reading.result(30) > 0
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.tolist(), [300 * 1.01**30], rtol=1e-12)


def test_tensors_of_ended_threads() -> None:
    """They keep their tape; leaves can be used everywhere, also where the thread's number is reused."""

    def make() -> tuple[Any, Any, Any]:
        x = tg.tensor([1.0, 2.0], requires_grad=True)
        y = x * x
        y.tolist()
        return x, y, (tg.tensor([3.0]) * 2)

    made = in_thread(make)
    gc.collect()

    def use() -> Any:
        x, y, passive = made
        with tg.no_grad():
            assert not (x * x).requires_grad
        s = (x * x).sum()
        s.backward()
        assert (passive + 1).tolist() == [7]
        assert y.tolist() == [1, 4]
        with pytest.raises(TapeError):
            (y * 2).sum().backward()
        return x.grad.tolist()

    assert use() == [2, 4]
    for k in range(2, 5):
        assert in_thread(use) == [2 * k, 4 * k]


def test_pending_results_of_ended_threads() -> None:
    y = in_thread(lambda: tg.tensor([1.0, 2.0]) * 3)
    assert y.tolist() == [3, 6]
    z = in_thread(lambda: tg.tensor([1.0, 2.0]) * 3 + 1)
    assert (z * 2).tolist() == [8, 14]


def test_modes_and_tapes_of_many_threads() -> None:
    def run(k: int) -> bool:
        x = tg.tensor(1.0, requires_grad=True)
        with tg.set_grad_enabled(k % 2 == 0):
            return all((x * 2).requires_grad == (k % 2 == 0) for _ in range(100))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(64)))
