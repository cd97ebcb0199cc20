"""Threads: a tape each, tensors that cross, sweeps at the same time, tapes of ended threads."""

from __future__ import annotations

import gc
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from test_bad_input import survives

import tapegrad as tg
from tapegrad.base.errors import TapeError
from tapegrad.tape import tape as tapes


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


@pytest.mark.smoke
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
@pytest.mark.smoke
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


def test_a_leaf_is_bound_once_by_another_thread() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)

    def use() -> tuple[int, Any]:
        y = w
        for _ in range(50):
            y = y * w
        count = sum(v is w._meta for v in tg.current_tape().owned.values())
        return count, tg.autograd.grad(y.sum(), w)[0].tolist()

    assert in_thread(use) == (1, [51.0, 51 * 2.0**50])


def test_tensors_of_another_thread_become_leaves() -> None:
    made = in_thread(lambda: [tg.tensor([1.0, 2.0]), tg.tensor([1.0, 2.0]) * 3, tg.ones(2, 2)[1]])
    for x in made:
        value = np.array(x.tolist())
        assert x.requires_grad_() is x
        (x * x).sum().backward()
        assert x.grad.tolist() == (2 * value).tolist()
        assert not x.requires_grad_(False).requires_grad
    y = in_thread(lambda: tg.ones(2, requires_grad=True) * 2)
    with pytest.raises(RuntimeError, match="you can only change requires_grad flags of leaf"):
        y.requires_grad_(False)
    for call in (y.retain_grad, y.detach_, lambda: y.data):
        with pytest.raises(TapeError, match="another thread"):
            call()


def test_writes_to_tensors_of_another_thread() -> None:
    made = in_thread(lambda: [tg.zeros(3), tg.zeros(3) + 0, tg.zeros(2, 3)[1], tg.zeros(3).T])
    for x in made:
        alias = x.detach()
        x[0] = 1.0
        x += 2
        x[1:].mul_(3)
        assert x.tolist() == alias.tolist() == [3, 6, 6]
        x.data = tg.tensor([7.0])
        assert x.tolist() == [7]
    x = in_thread(lambda: tg.zeros(3))
    w = tg.tensor(2.0, requires_grad=True)
    x.add_(w * w)
    x.sum().backward()
    assert w.grad is not None
    assert w.grad.item() == 12


def test_a_write_of_another_thread_makes_a_residual_stale() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    x = tg.tensor([3.0, 4.0])
    y = (w * x).sum()

    def write() -> None:
        x.add_(1)

    in_thread(write)
    assert x.tolist() == [4, 5]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    (w * x).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [4, 5]


def test_an_optimiser_in_another_thread() -> None:
    """Forward, backward and update in a worker, while the leaf was made here."""
    w = tg.tensor([1.0, 2.0], requires_grad=True)

    def step() -> None:
        ((w - 3) ** 2).sum().backward()
        with tg.no_grad():
            w.sub_(0.25 * w.grad)
        w.grad = None

    value = np.array([1.0, 2.0])
    for k in range(6):
        if k % 2:
            step()
        else:
            in_thread(step)
        value -= 0.5 * (value - 3)
        assert w.tolist() == value.tolist()


def test_threads_that_cross_at_once_do_not_wait_for_each_other() -> None:
    """Each uses the other's leaves while it differentiates; both finish."""
    leaves = [tg.tensor([1.0, 2.0], requires_grad=True)] * 2
    ready = threading.Barrier(2)

    def run(k: int) -> list[float]:
        leaves[k] = tg.tensor([1.0 + k, 2.0], requires_grad=True)
        ready.wait(30)
        found = []
        for _ in range(200):
            a, b = leaves[k], leaves[1 - k]
            (g,) = tg.autograd.grad((a * a * b).sum(), a, create_graph=True)
            (h,) = tg.autograd.grad((g * b).sum(), b)
            found = h.tolist()
        ready.wait(30)
        return found

    with ThreadPoolExecutor(2) as pool:
        a, b = pool.map(run, range(2))
    assert (a, b) == ([8.0, 16.0], [8.0, 16.0])


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
    tg.current_tape().collect()
    before = len(tg.current_tape())

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
    assert len(tg.current_tape()) < before + 500


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


# --------------------------------------------------------------------------- threads that ended
def test_tapes_of_ended_threads_go() -> None:
    gc.collect()

    def of_ended_threads() -> int:
        return sum(not t.owner.is_alive() and len(t) > 0 for t in tapes.TAPES.values())

    for _ in range(3):
        in_thread(lambda: work(1, 5))
    before = of_ended_threads()
    for _ in range(20):
        in_thread(lambda: work(1, 5))
    gc.collect()
    assert of_ended_threads() <= before + 2


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


def test_threads_that_share_everything() -> None:
    """No use of each other's tensors, however unsynchronised, crashes or hangs."""
    out = survives(
        """
        import random, threading, time
        import tapegrad as tg
        pool = [tg.tensor([float(i), 1.0], requires_grad=bool(i % 2)) for i in range(20)]
        stop, odd = time.time() + 6, []
        def work(seed):
            rng = random.Random(seed)
            def put(t):
                pool[rng.randrange(20)] = t
            calls = [
                lambda a, b: put(a * b), lambda a, b: put(a + 1), lambda a, b: a.tolist(),
                lambda a, b: put(tg.tensor([1.0, 2.0], requires_grad=True)),
                lambda a, b: (a * b).sum().backward(), lambda a, b: tg.current_tape().collect(),
                lambda a, b: a.detach().add_(b.detach()), lambda a, b: put(a[:].clone()),
                lambda a, b: put(a.requires_grad_()), lambda a, b: put(tg.cat([a, b])[:2]),
                lambda a, b: tg.autograd.grad((a * b).sum(), b, create_graph=True),
                lambda a, b: a.detach().numpy(), lambda a, b: setattr(a, "data", b.detach()),
                lambda a, b: setattr(a, "grad", None), lambda a, b: repr(a), lambda a, b: a.grad_fn,
            ]
            while time.time() < stop:
                try:
                    rng.choice(calls)(rng.choice(pool), rng.choice(pool))
                except (RuntimeError, UserWarning):
                    pass
                except Exception as error:
                    odd.append(repr(error))
        threads = [threading.Thread(target=work, args=(s,)) for s in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        assert not any(t.is_alive() for t in threads)
        assert not odd, odd[:5]
        print("done")
        """
    )
    assert out.split()[-1] == "done"


@pytest.mark.filterwarnings("ignore:Using backward")
@pytest.mark.parametrize("options", [{}, {"create_graph": True}, {"hook": True}, {"kept": True}])
def test_gradients_of_a_shared_leaf_add_up(options: dict[str, bool]) -> None:
    """However the threads take turns, none takes the gradient away from another, and none is lost."""
    x = tg.ones(3, requires_grad=True)
    hook, kept = options.pop("hook", False), options.pop("kept", False)
    if hook:
        x.register_hook(lambda g: g * 1)
    if kept:  # a gradient that somebody sees, on the main thread's tape
        (x * 2).sum().backward()
    seen = x.grad
    failed = []

    def work() -> None:
        try:
            for _ in range(100):
                (x * 2).sum().backward(**options)
        except Exception as error:
            failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failed == []
    assert x.grad.tolist() == [800.0 + 2.0 * kept] * 3
    assert not kept or x.grad is seen


@pytest.mark.parametrize("write", [False, True])
def test_a_leaf_that_another_thread_took_over(write: bool) -> None:
    """Its handle is on the other thread's tape; here it is still the leaf of what was computed."""
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = (x * 3).sum()

    def work() -> None:
        with tg.no_grad():
            if write:
                x.add_(1)
            (x * 2).sum()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (g,) = tg.autograd.grad(y, [x], allow_unused=True, retain_graph=True)
    assert g.tolist() == [3.0, 3.0]
    ((x * x).sum() + y).backward()
    assert x.grad.tolist() == [5.0 + 2 * write, 7.0 + 2 * write]
