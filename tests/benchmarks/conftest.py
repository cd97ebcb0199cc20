"""One thread, one core, and the fixtures through which tests report to pytest-benchmark."""

import gc
import os
import sys

for variable in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    # Before NumPy and numba are imported; child processes inherit it.
    os.environ[f"{variable}_NUM_THREADS"] = "1"
if hasattr(os, "sched_setaffinity"):
    # Also holds for libraries that a plugin or another conftest imported before.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import importlib.metadata
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numba
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from racing import Aim, Lane, Race, line_up, require, run_race

numba.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Time in one process, though the suite runs in several: nothing else is to run beside a race."""
    config.option.numprocesses = 0


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Write into the JSON what the performance page prints about the environment."""
    versions = {"python": sys.version.split()[0]}
    for name in ("tapegrad", "numpy", "numba", "torch", "autograd", "jax", "casadi"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    machine_info["versions"] = versions


@pytest.fixture(scope="session")
def lanes() -> dict[str, dict[str, Lane]]:
    """Races that were run, by group: a race is run once, for the first of its tests."""
    return {}


@pytest.fixture
def compete(
    benchmark: BenchmarkFixture,
    request: pytest.FixtureRequest,
    lanes: dict[str, dict[str, Lane]],
) -> Callable[[Race, str], None]:
    """Return `compete(race, name)`, which runs the race and reports one contender's samples."""

    def run(race: Race, name: str) -> None:
        require(name)
        if race.group not in lanes:
            if benchmark.disabled:
                lanes[race.group] = line_up(race)[1]
            else:
                lanes[race.group] = run_race(
                    race,
                    seconds=float(request.config.getoption("benchmark_max_time")),
                    min_rounds=request.config.getoption("benchmark_min_rounds"),
                )
        lane = lanes[race.group][name]
        report(
            benchmark,
            race.group,
            name,
            lane.samples,
            work=race.work,
            first_call=lane.first_call,
            aims=race.aims if name == race.aimed else (),
            row=race.row,
        )

    return run


def report(
    benchmark: BenchmarkFixture,
    group: str,
    name: str,
    samples: Sequence[float],
    aims: Sequence[Aim] = (),
    **extra: Any,
) -> None:
    """Hand samples that were taken elsewhere to pytest-benchmark.

    The fixture times a function that does nothing, once; that sample is then replaced.
    """
    benchmark.group = group
    benchmark.extra_info.update(extra, contender=name)
    benchmark.extra_info["aims"] = [vars(aim) for aim in aims]
    benchmark.pedantic(lambda: None, rounds=1)
    if benchmark.enabled:
        data = benchmark.stats.stats.data
        data[:] = samples
        benchmark.extra_info["median"] = median(samples)


@pytest.fixture
def report_samples(benchmark: BenchmarkFixture) -> Callable[..., None]:
    """Return `report_samples(group, name, samples, ...)`, for samples of child processes."""

    def run(group: str, name: str, samples: Sequence[float], **extra: Any) -> None:
        report(benchmark, group, name, samples, **extra)

    return run


@pytest.fixture
def report_measure(benchmark: BenchmarkFixture) -> Callable[..., None]:
    """Return `report_measure(group, name, value, unit, at_most)`, for what is not a time."""

    def run(
        group: str, name: str, value: float, unit: str, at_most: float | None = None, **extra: Any
    ) -> None:
        measure = {"value": value, "unit": unit, "at_most": at_most}
        report(benchmark, group, name, [0.0], measure=measure, **extra)

    return run


@pytest.fixture(autouse=True)
def _no_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks run as users do: without the verifier that the test suite turns on."""
    from tapegrad.tape.current import current_tape
    from tapegrad.tape.tape import Tape

    monkeypatch.setattr(Tape, "check", None)
    # Nobody pays for what another race has left on the tape.
    gc.collect()
    current_tape().collect()
