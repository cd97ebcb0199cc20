"""Memory, start-up and threads, each measured in fresh processes (see `probes.py`)."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from racing import Aim, absence, require

ITERATIONS = 1_000_000
SMOKE_ITERATIONS = 20_000
STARTS = 5
MEGABYTE = 1e6
LINUX = Path("/proc/self/statm").exists()

needs_statm = pytest.mark.skipif(not LINUX, reason="resident memory is read from /proc/self/statm")


def probe(*arguments: object, **env: str) -> dict[str, Any]:
    """Run a probe in a fresh process; its answer gains `seconds`, from start to gradient."""
    command = [sys.executable, str(Path(__file__).with_name("probes.py")), *map(str, arguments)]
    begin = time.time()
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
    )
    answer = json.loads(done.stdout)
    if "finished" in answer:
        answer["seconds"] = answer["finished"] - begin
    return answer


def interleaved(request, which: str, *names: str) -> dict[str, list[dict[str, Any]]]:
    """Answers of interleaved fresh processes, after one unmeasured start each (caches)."""
    rounds = 1 if request.config.getoption("benchmark_disable") else STARTS
    modules = [name for name in names if absence(name) is None]
    for module in modules:
        probe(which, module)
    answers: dict[str, list[dict[str, Any]]] = {module: [] for module in modules}
    for _ in range(rounds):
        for module in modules:
            answers[module].append(probe(which, module))
    return answers


@pytest.fixture(scope="module")
def starts(request) -> dict[str, list[dict[str, Any]]]:
    return interleaved(request, "start", "limit", "tapegrad", "torch")


@pytest.fixture(scope="module")
def compilations(request) -> dict[str, list[dict[str, Any]]]:
    return interleaved(request, "loop", "primal", "tapegrad", "jax")


@pytest.mark.parametrize("name", ["tapegrad", "torch", "limit"])
@pytest.mark.parametrize(
    ("group", "key", "aim"),
    [
        ("start-up: import", "import", Aim("at most 0.5 s", 0.5)),
        (
            "start-up: fresh process to first gradient, caches warm",
            "seconds",
            Aim("at most 0.9 s", 0.9),
        ),
    ],
    ids=["import", "gradient"],
)
def test_start(starts, report_samples, group, key, aim, name):
    require(name)
    for answer in starts[name]:
        expected = [math.cos(x) * x + math.sin(x) for x in (1.0, 2.0, 3.0)]
        assert answer["gradient"] == pytest.approx(expected, rel=1e-12)
    samples = [answer[key] for answer in starts[name]]
    report_samples(group, name, samples, aims=[aim] if name == "tapegrad" else [])


@pytest.mark.parametrize("name", ["tapegrad", "jax", "primal"])
def test_compilation(compilations, report_samples, name):
    """The loop is compiled in each process; `primal` is numba's function without a gradient."""
    require(name)
    if name != "primal":
        wanted = compilations["tapegrad"][0]["gradient"]
        assert all(a["gradient"] == pytest.approx(wanted, rel=1e-9) for a in compilations[name])
    samples = [answer["seconds"] for answer in compilations[name]]
    report_samples(
        "start-up: fresh process to first gradient of a loop that it compiles", name, samples
    )


@pytest.mark.parametrize(
    ("which", "group", "limit"),
    [
        ("start", "start-up: first gradient, no code compiled yet", 15.0),
        ("loop", "start-up: first gradient of a compiled loop, no code compiled yet", 18.0),
    ],
)
def test_start_on_an_empty_store(request, report_samples, tmp_path, which, group, limit):
    """All cores compile, unless the package was installed with code."""
    rounds = 1 if request.config.getoption("benchmark_disable") else 3
    samples = []
    for i in range(rounds):
        answer = probe(which, "tapegrad", TAPEGRAD_CACHE_DIR=str(tmp_path / str(i)))
        samples.append(answer["seconds"])
    report_samples(group, "tapegrad", samples, aims=[Aim(f"at most {limit:.0f} s", limit)])


@needs_statm
@pytest.mark.parametrize(
    "mode", ["grad", "create_graph", "vectors", "no_grad", "dropped", "evaluated"]
)
def test_endless_loop_keeps_its_memory(benchmark, report_measure, mode):
    iterations = SMOKE_ITERATIONS if benchmark.disabled else ITERATIONS
    answer = probe("memory", "tapegrad", mode, iterations)
    grown = (answer["last"] - answer["first"]) / MEGABYTE
    report_measure(
        f"resident memory after {ITERATIONS:,} iterations, less that after 1,000",
        f"tapegrad: {mode}",
        grown,
        "MB",
        at_most=20,
        first=answer["first"],
        last=answer["last"],
    )
    assert grown <= 20


@needs_statm
@pytest.mark.parametrize("statements", [1_000, 10_000, 100_000])
def test_bytes_a_scalar_statement(report_measure, statements):
    answer = probe("bytes", "tapegrad", statements)
    assert answer["statements"] >= statements
    # Below that, what the arenas keep ready for later statements is most of it.
    at_most = 64 if statements == 100_000 else None
    report_measure(
        "bytes a scalar statement, with its value and adjoint",
        f"tapegrad: the tape's own count, {statements:,} statements",
        answer["tape"],
        "bytes",
        at_most=at_most,
    )
    if at_most is not None:
        assert answer["tape"] <= at_most


@needs_statm
@pytest.mark.parametrize("name", ["tapegrad", "torch"])
def test_resident_bytes_a_scalar_statement(report_measure, name):
    """What the process grew by: a check on the tape's own count, and the same measure for torch."""
    require(name)
    report_measure(
        "bytes a scalar statement, with its value and adjoint",
        f"{name}: growth of the process, 200,000 statements",
        probe("bytes", name, 200_000)["resident"],
        "bytes",
    )


@pytest.mark.parametrize(
    ("row", "size", "at_most"),
    [
        ("cheap elementwise chain", "n = 1e6", 1 / 1.6),
        ("Black-Scholes with greeks", "n = 1e6", 1 / 1.6),
        ("Rosenbrock vectorised", "n = 1e6", None),
        ("cheap elementwise chain", "n = 1e5", None),
        ("n-body", "1,000 bodies", None),
    ],
)
def test_compiled_loops_on_all_cores(benchmark, report_measure, row, size, at_most):
    """A process that is not pinned: default threads beside one, and the same bits."""
    answer = probe("threads", row, size, 0 if benchmark.disabled else 4)
    assert answer["same"]
    cores = answer["cores"]
    report_measure(
        "`tg.jit` on all cores, as part of the time that one thread takes",
        f"{row}, {size}",
        answer["all"] / answer["one"],
        f"on {cores} {'core' if cores == 1 else 'cores'}",
        at_most=at_most if cores > 1 else None,
        one=answer["one"],
    )
