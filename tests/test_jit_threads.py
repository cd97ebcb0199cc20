"""Compiled loops on several threads: the same bits for any number of them, and no thread in the way."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz.jit_programs import draw
from test_jit_bands import PROGRAMS as SHIFTED

import tapegrad as tg
from tapegrad.jit_compiler import sharing, tiles
from tapegrad.jit_compiler.background import finish
from tapegrad.native import threads
from tapegrad.native.helpers import number_of_cores

SOURCE = Path(tg.__file__).parent.parent


@pytest.fixture(autouse=True)
def number() -> Iterator[None]:
    """Give the number of threads back."""
    before = threads.number_of_threads()
    yield
    threads.set_threads(before)


@pytest.fixture
def short_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all loops be shared that can be, in many shares."""
    for name, value in {"LONG": 0, "SHARE": 1e-3, "PART": 1e9, "STEP": 2}.items():
        monkeypatch.setattr(sharing, name, value)


def _bits(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [x for part in value for x in _bits(part)]
    array = value.detach().numpy() if isinstance(value, tg.Tensor) else np.asarray(value)
    return [(array.dtype, array.shape, array.tobytes())]


def _texts(function: Any) -> str:
    compiled = [t.promise.compiled for traces in function._traces.values() for t in traces]
    return "\n".join(c.text for c in compiled if c is not None)


def _same_for_all_numbers(function: Callable[..., Any], *arrays: np.ndarray) -> Any:
    """A jitted function, after calls with 1 to 4 threads that gave the same bits."""
    compiled = tg.jit(function)
    compiled(*arrays)
    finish()
    results = []
    for count in (1, 2, 3, 4, 2, 1):
        threads.set_threads(count)
        results.append(_bits(compiled(*arrays)))
    assert all(r == results[0] for r in results)
    return compiled


# --------------------------------------------------------------------------- results
def _rows(x: Any) -> Any:
    return (x.exp() / x.exp().sum(1, keepdim=True)).square().sum()


def _columns(x: Any) -> Any:
    return (x.sin().sum(0) ** 2).sum()


def _both(x: Any) -> Any:
    return ((x - x.mean(0)) * x.sum(1, keepdim=True)).sum() + (x.sum(0) * x.sum(0)).sum()


def _bias(x: Any) -> Any:
    return (x @ (x.T @ x) + x[0]).tanh().sum()


def _loop(x: Any) -> Any:
    y = x
    for _ in range(20):
        y = y * 0.9 + x.sin() * 0.1
    return (y * y).sum()


def _neighbours(x: Any) -> Any:
    return ((x[1:] - x[:-1]) ** 2 * x[1:]).sum() + x[3:].sum()


def _steps(x: Any) -> Any:
    y = x
    for _ in range(30):
        y = y * 0.9 + y.sin() * x * 0.1
    return (y * y).sum()


def _normed_steps(x: Any) -> Any:
    y = x
    for _ in range(30):
        y = y + (y * 0.5).sin()
        y = y / ((y * y).sum() + 1)
    return (y * y * x).sum()


def _heat(x: Any) -> Any:
    y = x.reshape(-1)
    for _ in range(30):
        y = tg.cat([y[:1], y[1:-1] + 0.1 * (y[2:] - 2 * y[1:-1] + y[:-2]), y[-1:]])
    return (y * y).sum()


def _rows_in_steps(x: Any) -> Any:
    y = x
    for _ in range(30):
        z = y.exp()
        y = y * 0.9 + (z / z.sum(1, keepdim=True) - z.sum(0) * 1e-3) * x
    return (y * y).sum()


BANDS = [_neighbours, *SHIFTED[:-1]]
PROGRAMS = [
    _rows,
    _columns,
    _both,
    _bias,
    _loop,
    _neighbours,
    _steps,
    _normed_steps,
    _heat,
    _rows_in_steps,
]


@pytest.mark.parametrize("shape", [(40, 30), (7, 200), (300, 3)])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("function", PROGRAMS)
def test_bits_are_the_same(
    short_shares: None, function: Callable[..., Any], kind: Any, shape: tuple[int, int]
) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(kind)
    for program in (function, tg.value_and_grad(function)):
        compiled = _same_for_all_numbers(program, x)
        assert "share" in _texts(compiled)
        expected = program(tg.tensor(x))
        for a, b in zip(
            np.atleast_1d(compiled(x)) if program is function else compiled(x),
            [expected] if program is function else expected,
            strict=True,
        ):
            rtol = 1e-12 if kind is np.float64 else 2e-5
            scale = float(b.detach().abs().max())
            np.testing.assert_allclose(a, b.detach().numpy(), rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("n", [66, 71, 100, 129, 1000])
@pytest.mark.parametrize("function", BANDS)
def test_bits_of_tiles(
    short_shares: None, monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], n: int
) -> None:
    monkeypatch.setattr(tiles, "TILE", 8)
    x = np.random.default_rng(n).normal(size=n)
    programs = (
        tg.value_and_grad(function),
        lambda x: tg.jvp(tg.grad(function), (x,), (x + 1,)),
        lambda x: (tg.grad(lambda x: (tg.grad(function)(x) ** 2).sum())(x),),
    )
    texts = ""
    for program in programs:
        compiled = _same_for_all_numbers(program, x)
        texts += _texts(compiled)
        for a, b in zip(compiled(x), program(tg.tensor(x)), strict=True):
            right = b.detach().numpy()
            scale = max(1.0, np.abs(right).max())
            np.testing.assert_allclose(a, right, rtol=1e-11, atol=1e-10 * scale)
    assert re.search(r"share.*\n(  temporary.*\n)*  tiles", texts)


def test_shares_inside_of_loops(short_shares: None) -> None:
    x = np.random.default_rng(0).normal(size=(40, 30))
    for function in (_steps, _normed_steps, _rows_in_steps):
        compiled = tg.jit(tg.value_and_grad(function))
        compiled(x)
        finish()
        assert re.search(r"\n +share", _texts(compiled))


def test_bits_of_a_long_loop() -> None:
    x = np.random.default_rng(0).normal(size=300_001)
    compiled = _same_for_all_numbers(tg.value_and_grad(lambda x: (x.exp() * x.sin()).sum()), x)
    assert "share" in _texts(compiled)
    short = tg.jit(lambda x: (x.exp() * x.sin()).sum())
    short(x[:1000])
    assert "share" not in _texts(short)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.bool_])
def test_largest_and_smallest(short_shares: None, kind: Any) -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=500) * 3).astype(kind)
    for function in (lambda x: x.amax(0), lambda x: x.amin(0), lambda x: x.reshape(20, 25).amax(0)):
        compiled = _same_for_all_numbers(function, x)
        np.testing.assert_array_equal(compiled(x), function(tg.tensor(x)).numpy())
    if kind in (np.float64, np.float32):
        for value in (np.nan, -np.inf, np.inf):
            y = np.full(500, value, kind)
            y[3] = value if value != np.inf else 1.0
            compiled = _same_for_all_numbers(
                lambda x: (x.amax(0), x.amin(0), tg.logsumexp(x, 0)), y
            )
            for a, b in zip(
                compiled(y), (y.max(), y.min(), tg.logsumexp(tg.tensor(y), 0)), strict=True
            ):
                np.testing.assert_array_equal(a, b)


def test_sums_of_all_dtypes(short_shares: None) -> None:
    x = np.random.default_rng(0).integers(-4, 5, 1000)
    for function in (lambda x: x.sum(), lambda x: (x > 0).any(), lambda x: (x > 0).sum()):
        compiled = _same_for_all_numbers(function, x)
        assert compiled(x) == function(tg.tensor(x)).item()


def test_sums_of_zeros_with_a_sign(short_shares: None) -> None:
    compiled = _same_for_all_numbers(lambda x: (x * 1.0).sum(), -np.zeros(500))
    assert np.signbit(compiled(-np.zeros(500))) == np.signbit(
        tg.tensor(-np.zeros(500)).sum().item()
    )


def test_what_is_outside_of_a_formula(short_shares: None) -> None:
    x = np.random.default_rng(0).normal(size=3000)
    function = tg.value_and_grad(lambda x: (x.sin() * x).sum())
    for place in (0, 1500, 2999):
        y = x.copy()
        y[place] = 3e15
        compiled = _same_for_all_numbers(function, y)
        for a, b in zip(compiled(y), function(tg.tensor(y)), strict=True):
            np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("part", range(4))
def test_random_programs(short_shares: None, part: int) -> None:
    shares = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(60 * part, 60 * part + 60):
            case = draw(random.Random(f"threads {i}"))
            compiled = tg.jit(case.function())
            for arrays in case.inputs:
                results = []
                for count in (1, 2, 3, 4):
                    threads.set_threads(count)
                    try:
                        results.append(_bits(compiled(*[np.array(a) for a in arrays])))
                        finish()
                    except Exception as error:
                        results.append([type(error)])
                assert all(r == results[1] for r in results[1:]), case.text()
            shares += _texts(compiled).count("share")
    assert shares > 20


# --------------------------------------------------------------------------- threads
def test_two_threads_at_once(short_shares: None) -> None:
    threads.set_threads(3)
    function = tg.value_and_grad(lambda x: (x.sin() * x.exp()).sum())
    arrays = [np.random.default_rng(i).normal(size=20_000 + i) for i in range(4)]
    compiled = tg.jit(function)
    expected = [_bits(compiled(x)) for x in arrays]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(300):
            if _bits(compiled(arrays[i])) != expected[i]:
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_rounds_that_follow_each_other(short_shares: None) -> None:
    threads.set_threads(4)
    compiled = tg.jit(lambda x: (x.sin().sum() * x).exp().sum())
    x = np.random.default_rng(0).normal(size=64) * 0.01
    expected = _bits(compiled(x))
    assert all(_bits(compiled(x)) == expected for _ in range(20_000))


def test_numbers() -> None:
    with pytest.raises(RuntimeError, match="expects a positive integer"):
        tg.set_num_threads(0)
    before = tg.get_num_threads()
    try:
        for number in (1, 5, 10**30):
            tg.set_num_threads(number)
            assert tg.get_num_threads() == min(number, 1 << 30)
    finally:
        tg.set_num_threads(before)


# --------------------------------------------------------------------------- processes
WORK = """
    import os, signal, sys, threading, time
    import numpy as np
    import tapegrad as tg
    def tasks():
        return len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 1
    f = tg.jit(tg.value_and_grad(lambda x: (x.exp() * x.sin()).sum()))
    x = np.linspace(0, 1, 400_000)
"""


def _run(code: str, **environment: str) -> str:
    text = textwrap.dedent(WORK) + textwrap.dedent(code)
    path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", text], env={**clean, "PYTHONPATH": path, **environment}, text=True,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


linux = pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")


@linux
def test_one_thread_starts_none() -> None:
    code = "before = tasks(); f(x); f(x); print(tasks() - before)"
    assert _run(code, TAPEGRAD_NUM_THREADS="1") == "0"
    assert _run(code, OMP_NUM_THREADS="1") == "0"
    assert _run(code, TAPEGRAD_NUM_THREADS="3", OMP_NUM_THREADS="1") == "2"
    assert _run("tg.set_num_threads(1);" + code) == "0"


def test_the_environment_says_how_many() -> None:
    code = "print(tg.get_num_threads())"
    assert _run(code, TAPEGRAD_NUM_THREADS="7", OMP_NUM_THREADS="2") == "7"
    assert _run(code, OMP_NUM_THREADS="3,2") == "3"
    assert _run(code, OMP_NUM_THREADS="many") == str(number_of_cores())


def test_an_exit_while_workers_run() -> None:
    many = {"TAPEGRAD_NUM_THREADS": "4"}
    assert _run("f(x); print('done')", **many) == "done"
    code = """
    def work():
        while True:
            f(x)
    threading.Thread(target=work, daemon=True).start()
    time.sleep(0.5)
    print('done')
    """
    assert _run(code, **many) == "done"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork() -> None:
    code = """
    expected = [r.tobytes() for r in f(x)]
    stop = threading.Event()
    def work():
        while not stop.is_set():
            assert [r.tobytes() for r in f(x)] == expected
    other = threading.Thread(target=work)
    other.start()
    for i in range(20):
        pid = os.fork()
        if pid == 0:
            signal.alarm(40)  # instead of hanging
            for _ in range(3):
                assert [r.tobytes() for r in f(x)] == expected
            if i % 2 and os.path.exists("/proc/self/task"):
                assert tasks() == 4
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert [r.tobytes() for r in f(x)] == expected
    stop.set()
    other.join()
    print("done")
    """
    assert _run(code, TAPEGRAD_NUM_THREADS="4", OPENBLAS_NUM_THREADS="1") == "done"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_signals() -> None:
    code = """
    expected = [r.tobytes() for r in f(x)]
    count = 0
    def work():
        assert [r.tobytes() for r in f(x)] == expected
    def noted(number, frame):
        global count
        count += 1
        if count % 3 == 0 and frame.f_code is work.__code__:
            raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, noted)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0013)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            work()
        except KeyboardInterrupt:
            pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert count > 100
    assert [r.tobytes() for r in f(x)] == expected
    print("done")
    """
    assert _run(code, TAPEGRAD_NUM_THREADS="3") == "done"
