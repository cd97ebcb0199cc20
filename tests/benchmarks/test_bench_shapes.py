"""New shapes: what a program pays at each call whose shapes it has never seen, and what stays of them."""

import importlib
import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from racing import Aim, Race, absence

AIMS = [Aim("at most 3 times torch for each new shape", 3.0, to="torch")]
#: shapes of one call of a contender
CALLS = 50


def _contenders(step: Callable[[Any, int], Any]) -> dict[str, Any]:
    """For each library what takes `step` through shapes that it has not seen."""

    def contender(name: str) -> Callable[[], Callable[[], tuple[float]]]:
        def set_up() -> Callable[[], tuple[float]]:
            library, fresh = importlib.import_module(name), itertools.count(100)

            def run() -> tuple[float]:
                return (sum(step(library, n) for n in itertools.islice(fresh, CALLS)),)

            return run

        return set_up

    return {name: contender(name) for name in ("tapegrad", "torch")}


def _gradient(function: Callable[..., Any], *shapes: Callable[[int], tuple[int, ...]]) -> Any:
    """Make a step: the sum of what a function of the library and of ones gives, and its first gradient."""

    def step(library: Any, n: int) -> float:
        operands = [
            library.ones(shape(n), dtype=library.float64, requires_grad=True) for shape in shapes
        ]
        function(library, *operands).sum().backward()
        return float(operands[0].grad.reshape(-1)[0])

    return step


def vector(n: int) -> tuple[int, ...]:
    return (n,)


def matrix(n: int) -> tuple[int, ...]:
    return n // 150 + 1, n % 150 + 2


def row(n: int) -> tuple[int, ...]:
    return (n % 150 + 2,)


def three_columns(n: int) -> tuple[int, ...]:
    return n % 150 + 2, 3


def three(n: int) -> tuple[int, ...]:
    return (3,)


def pairs(n: int) -> tuple[int, ...]:
    return (2 * n,)


def second(library: Any, n: int) -> float:
    x = library.ones(n, dtype=library.float64, requires_grad=True)
    (g,) = library.autograd.grad((x * x).sum(), x, create_graph=True)
    g.sum().backward()
    return float(x.grad[0])


STEPS: dict[str, Callable[[Any, int], float]] = {
    "lengths": _gradient(lambda lib, x: x * 2, vector),
    "two dimensions": _gradient(lambda lib, x: x * 2, matrix),
    "broadcasts": _gradient(lambda lib, x, y: x * y, matrix, row),
    "products": _gradient(lambda lib, x, y: x @ y, matrix, three_columns),
    "contractions": _gradient(
        lambda lib, x, y: lib.einsum("ij,jk->ik", x, y), matrix, three_columns
    ),
    "means": _gradient(lambda lib, x: (x * 2).mean(), vector),
    "means along a dimension": _gradient(lambda lib, x: (x * 2).mean(0), matrix),
    "sums along a dimension": _gradient(lambda lib, x: (x * 2).sum(1), matrix),
    "maxima": _gradient(lambda lib, x: lib.amax(x, 1), matrix),
    "softmax": _gradient(
        lambda lib, x: lib.softmax(x, 1)[:, 0], matrix
    ),  # not zero, as the sum would be
    "concatenations": _gradient(lambda lib, x, y: lib.cat([x, y]), vector, three),
    "stacks": _gradient(lambda lib, x, y: lib.stack([x, y]), vector, vector),
    "permutations": _gradient(lambda lib, x: x.permute(1, 0) * 2, matrix),
    "slices": _gradient(lambda lib, x: x[1:], vector),
    "reshapes": _gradient(lambda lib, x: x.reshape(-1, 2) * 2, pairs),
    "conditions": _gradient(lambda lib, x: lib.where(x > 0, x, -x), vector),
    "a small net": _gradient(
        lambda lib, w, x, b: lib.relu(x @ w + b).mean(), three_columns, matrix, three
    ),
    "gradients of gradients": second,
}
RACES = {
    name: Race(f"new shapes: {name}", _contenders(step), work=CALLS, aims=AIMS)
    for name, step in STEPS.items()
}


@pytest.mark.parametrize("name", ["tapegrad", "torch"])
@pytest.mark.parametrize("program", RACES)
def test_new_shapes(compete, program, name):
    compete(RACES[program], name)


MEMORY = "memory of 100,000 distinct shapes, less that of the first 1,000"
#: distinct shapes of mixed programs, and megabytes that there may be more at the end than after 1,000
MANY, MORE = 100_000, 30
_MANY = """
import importlib, sys
sys.path.insert(0, {folder!r})
from test_bench_shapes import STEPS
library, count = importlib.import_module({name!r}), {count}
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
steps = [STEPS[k] for k in ("lengths", "two dimensions", "broadcasts", "products", "means along a dimension")]
if {name!r} == "tapegrad":
    @library.njit
    def squares(x):
        total = 0.0
        for i in range(len(x)):
            total += x[i] * x[i]
        return total
    def loops(library, n):
        x = library.ones(n % 500 + 1, requires_grad=True)
        squares(x).backward()
        return float(x.grad[0])
    steps.append(loops)
for i in range(count):
    steps[i % len(steps)](library, i // len(steps) + 2)
    if i == 999:
        first = resident()
print(resident() - first)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["tapegrad", "torch"])
def test_memory_of_many_shapes(report_measure, name):
    """Megabytes that 100,000 shapes need beyond the first 1,000."""
    if absence(name) is not None:
        pytest.skip(f"{name} is not installed")
    folder = __file__.rpartition("/")[0]
    text = _MANY.format(name=name, folder=folder, count=MANY)
    done = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True)
    at_most = MORE if name == "tapegrad" else None
    report_measure(MEMORY, f"{name}: mixed programs", float(done.stdout), "MB", at_most)
