"""``python -m tapegrad``: the tour and `info`, run as people run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tapegrad as tg
from tapegrad import tour
from tapegrad.__main__ import main
from tapegrad.native import object_cache as store

#: runs the module like ``python -m``, then says whether numba was imported
WATCHED = """
import runpy, sys
sys.argv = ["tapegrad"]
runpy.run_module("tapegrad", run_name="__main__")
print("numba" in sys.modules)
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def toured() -> str:
    """What the tour prints; afterwards the store holds all that it needs."""
    done = run("-W", "error", "-m", "tapegrad")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


# --------------------------------------------------------------------------- the tour
def test_the_tour_fits_a_model(toured: str) -> None:
    losses = [float(v) for v in re.findall(r"^step +\d+ +loss ([0-9.]+)$", toured, re.M)]
    assert len(losses) == 5
    assert losses == sorted(losses, reverse=True)
    # The noise has variance 0.01: the fit ends near that, and started far away.
    assert losses[0] > 0.3
    assert losses[-1] < 0.02


def test_the_tour_prints_a_tape_before_and_after(toured: str) -> None:
    assert "tape: 4 statements, 3 pending" in toured
    assert re.search(r"^ +%4 +mul\*\? +%2, %3 +float64 +\(\) +8$", toured, re.M)
    assert re.search(r"^ +%4 +mul\* +%2, %3 +float64 +\(\) +8 +4\.47046$", toured, re.M)
    # exp(1.5) * (sin(1.5) + cos(1.5)), in the statement that replay appended last
    assert re.search(r"^ +%11 +add\* .* 4\.78748$", toured, re.M)


def test_the_tour_checks_derivatives(toured: str) -> None:
    number = r"-?[0-9.]+(?:e-?\d+)?"
    rows = re.findall(rf"^ +([123]) +({number}) +({number}) +({number})$", toured, re.M)
    assert [row[0] for row in rows] == ["1", "2", "3"]
    for row in rows:
        assert float(row[2]) < 1e-14
        assert float(row[3]) < 1e-5


def test_the_tour_times_a_gradient(toured: str) -> None:
    phases = dict(re.findall(r"^(record|forward|reverse|together) +([0-9.]+)$", toured, re.M))
    spans = {name: float(text) for name, text in phases.items()}
    assert set(spans) == {"record", "forward", "reverse", "together"}
    assert min(spans.values()) > 0
    parts = spans["record"] + spans["forward"] + spans["reverse"]
    assert spans["together"] == pytest.approx(parts, abs=0.2)


def test_the_tour_times_a_compiled_gradient(toured: str) -> None:
    assert re.search(r"^compiled +\d+\.\d$", toured, re.M)


@pytest.mark.usefixtures("toured")
def test_a_warm_tour_does_without_numba() -> None:
    done = run("-c", WATCHED)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


# --------------------------------------------------------------------------- its parts
def test_fit_lowers_the_loss(capsys: pytest.CaptureFixture[str]) -> None:
    losses = tour.fit(steps=8)
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    assert "step    7   loss" in capsys.readouterr().out


def test_fit_is_gradient_descent() -> None:
    """The losses beside those of NumPy, with derivatives by hand, from the same numbers."""
    losses = tour.fit(steps=8)
    tg.manual_seed(0)
    x = np.linspace(-2, 2, 64).reshape(-1, 1)
    y = np.sin(2 * x) + 0.1 * tg.randn(64, 1).numpy()
    w1, b1, w2 = (tg.randn(*size).numpy() for size in ((1, 16), (16,), (16, 1)))
    w2, b2 = 0.25 * w2, np.zeros(1)
    for loss in losses:
        hidden = np.tanh(x @ w1 + b1)
        error = hidden @ w2 + b2 - y
        assert loss == pytest.approx((error**2).mean(), rel=1e-12)
        ct = 2 * error / len(x)
        ct_hidden = (ct @ w2.T) * (1 - hidden**2)
        grads = x.T @ ct_hidden, ct_hidden.sum(0), hidden.T @ ct, ct.sum(0)
        w1, b1, w2, b2 = (w - 0.1 * g for w, g in zip((w1, b1, w2, b2), grads, strict=True))


def test_times_are_returned_as_they_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    spans = tour.time_gradient(operations=5, runs=3)
    printed = re.findall(r"^(record|forward|reverse) +([0-9.]+)$", capsys.readouterr().out, re.M)
    assert printed == [(name, f"{value:.1f}") for name, value in spans.items()]


def test_the_check_would_notice_a_wrong_derivative(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tour, "_EXACT", tour._EXACT[1:] + tour._EXACT[:1])
    wrong = tour.check_derivatives()
    assert min(to_exact for to_exact, _ in wrong) > 0.1


# --------------------------------------------------------------------------- info
def rows(text: str) -> dict[str, str]:
    return dict(re.split(r" {2,}", line, maxsplit=1) for line in text.splitlines())


def test_info_describes_the_installation(tmp_path: Path) -> None:
    # A copy of this process's store: warm, and nobody else writes to it.
    folder = tmp_path / "store"
    folder.mkdir()
    for file in store.cache_folder().glob("*.tgo"):
        shutil.copy(file, folder)
    done = run("-W", "error", "-m", "tapegrad", "info", TAPEGRAD_CACHE_DIR=str(folder))
    assert done.returncode == 0, done.stderr
    shown = rows(done.stdout)
    assert shown["tapegrad"] == tg.__version__
    assert shown["Python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert all(re.match(r"\d+\.\d+", shown[name]) for name in ("NumPy", "numba", "llvmlite"))
    assert shown["CPU"]
    assert shown["SIMD features"]
    assert shown["cache folder"] == str(folder)
    files = list(folder.glob("*.tgo"))
    size = sum(file.stat().st_size for file in files)
    assert shown["compiled kernels"] == f"{len(files)} files, {size / 1024:.0f} KiB"
    assert shown["in this process"].endswith(", 0 compiled")
    assert not shown["in this process"].startswith("0 loaded")
    assert shown["numba imported"] == "no"


def test_info_counts_files_in_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    main(["info"])
    count = int(rows(capsys.readouterr().out)["compiled kernels"].split()[0])
    assert count > 0


# --------------------------------------------------------------------------- arguments
@pytest.mark.parametrize("arguments", [["nonsense"], ["info", "more"], ["--nonsense"]])
def test_unknown_arguments_show_the_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("usage: python -m tapegrad")


def test_exit_code_of_the_process() -> None:
    done = run("-m", "tapegrad", "nonsense")
    assert done.returncode == 2
    assert "usage: python -m tapegrad" in done.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"tapegrad {tg.__version__}\n"


def test_a_reader_that_has_seen_enough() -> None:
    command = [sys.executable, "-m", "tapegrad", "info"]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=300
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
