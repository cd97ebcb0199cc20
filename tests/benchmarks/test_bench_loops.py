"""A Python loop over `x[i]`: linear in n here, quadratic where the gradient of `x[i]` is dense."""

import numpy as np
import pytest

import limits
import programs
from racing import Aim, Race, contenders

SIZES = (1_000, 10_000, 100_000)


def group(n: int) -> str:
    return f"Python loop over x[i], n = {n:,}"


def loop(n: int) -> Race:
    x = np.random.default_rng(n).uniform(-1.5, 1.5, n)
    smallest = SIZES[0]
    # Quadratic peers would take minutes at 10,000 and hours at 100,000.
    peers = ("torch", "autograd") if n == smallest else ()
    growth = Aim(
        f"an element costs at most 1.5 times what it costs at n = {smallest:,}",
        1.5,
        to=group(smallest),
    )
    return Race(
        group(n),
        contenders(programs.rosenbrock_loop, x, limit=limits.rosenbrock(x), peers=peers),
        work=n,
        aims=[growth] if n != smallest else [],
    )


LOOPS = {n: loop(n) for n in SIZES}


@pytest.mark.parametrize(
    ("n", "name"), [(n, name) for n, race in LOOPS.items() for name in race.contenders]
)
def test_loop_over_elements(compete, n, name):
    compete(LOOPS[n], name)
