"""Functions under `tg.njit` are pickled and copied like functions."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import tapegrad as tg


@tg.njit
def square(x):
    return x * x


def multiple(factor):
    @tg.njit
    def scaled(x):
        return factor * square(x) * math.sin(x)

    return scaled


def gradient(function, at):
    x = tg.tensor(at, requires_grad=True)
    function(x).backward()
    return x.grad.item()


def test_what_a_name_finds_is_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(square)) is square
    assert len(pickle.dumps(square)) < 100


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_closures_and_lambdas_are_pickled_with_what_they_hold(protocol) -> None:
    for function in (multiple(3.0), tg.njit(lambda x: 3.0 * square(x) * math.sin(x))):
        again = pickle.loads(pickle.dumps(function, protocol))
        assert again is not function
        assert again(0.5) == function(0.5)
        exact = 3.0 * (2 * 0.5 * math.sin(0.5) + 0.25 * math.cos(0.5))
        assert gradient(again, 0.5) == pytest.approx(exact, rel=1e-14)


def test_options_are_kept() -> None:
    again = pickle.loads(pickle.dumps(tg.njit(lambda x: 1.0 / x, fastmath=True)))
    assert again.options["fastmath"]
    assert again.primal.targetoptions["fastmath"]


def test_another_process_gets_the_function(tmp_path: Path) -> None:
    place = tmp_path / "function"
    place.write_bytes(pickle.dumps(multiple(2.0)))
    code = (
        "import pickle, sys; import tapegrad as tg\n"
        "f = pickle.load(open(sys.argv[1], 'rb')); x = tg.tensor(0.5, requires_grad=True)\n"
        "f(x).backward(); print(repr(x.grad.item()))"
    )
    folders = [str(Path(tg.__file__).parents[1]), str(Path(__file__).parent)]
    path = f"import sys; sys.path[:0] = {folders}\n"
    done = subprocess.run(
        [sys.executable, "-c", path + code, str(place)], check=True, capture_output=True, text=True
    )
    exact = 2.0 * (2 * 0.5 * math.sin(0.5) + 0.25 * math.cos(0.5))
    assert float(done.stdout) == pytest.approx(exact, rel=1e-14)


def test_copies_are_the_function_itself() -> None:
    function = multiple(2.0)
    assert copy.copy(function) is function
    assert copy.deepcopy({"f": [function]})["f"][0] is function


def test_cloudpickle() -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    again = pickle.loads(cloudpickle.dumps(multiple(2.0)))
    assert gradient(again, 0.5) == gradient(multiple(2.0), 0.5)
