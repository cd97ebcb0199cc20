"""Small operations: what recording and sweeping one op costs."""

import numpy as np
import pytest

import limits
import programs
import tapegrad as tg
from racing import Aim, Race, contenders

rng = np.random.default_rng(20260101)
WITH_LIMIT = ["tapegrad", "torch", "autograd", "limit"]
AGAINST_TORCH = Aim("at most 1/8 of torch eager's time", 1 / 8, to="torch")


def scalar_chain() -> Race:
    inputs = np.array(1.0001), np.array(0.9999)
    return Race(
        "scalar chain, 1,000 ops",
        contenders(programs.scalar_chain, *inputs, limit=limits.scalar_chain(*inputs)),
        work=4 * programs.CHAIN_BLOCKS,
        aims=[Aim("at most 1/15 of torch eager's time", 1 / 15, to="torch")],
    )


def elementwise_blocks() -> Race:
    inputs = rng.uniform(-1, 1, 10), rng.uniform(0.5, 1.5, 10)
    return Race(
        "100 elementwise ops on vectors of 10",
        contenders(programs.elementwise_blocks, *inputs, limit=limits.elementwise_blocks(*inputs)),
        work=10 * programs.VECTOR_BLOCKS,
        aims=[AGAINST_TORCH],
    )


def normalising_blocks() -> Race:
    inputs = rng.uniform(-1, 1, 10), rng.uniform(0.5, 1.5, 10), rng.uniform(-0.5, 0.5, 10)
    return Race(
        "100 ops with reductions and broadcasting on vectors of 10",
        contenders(programs.normalising_blocks, *inputs, limit=limits.normalising_blocks(*inputs)),
        work=10 * programs.VECTOR_BLOCKS,
        aims=[AGAINST_TORCH],
    )


def random_program(seed: int) -> Race:
    inputs = [rng.uniform(-1, 1, 10) for _ in range(3)]
    return Race(
        f"100 random ops on vectors of 10, program {seed}",
        contenders(programs.random_program(seed), *inputs),
        work=100,
        aims=[AGAINST_TORCH],
    )


SCALAR_CHAIN = scalar_chain()
ELEMENTWISE = elementwise_blocks()
NORMALISING = normalising_blocks()
RANDOM = [random_program(seed) for seed in range(1, 4)]


@pytest.mark.parametrize("name", WITH_LIMIT)
@pytest.mark.parametrize(
    "race", [SCALAR_CHAIN, ELEMENTWISE, NORMALISING], ids=["scalar", "elementwise", "normalising"]
)
def test_small_ops(compete, race, name):
    compete(race, name)


@pytest.mark.parametrize("name", ["tapegrad", "torch", "autograd"])
@pytest.mark.parametrize("race", RANDOM, ids=["1", "2", "3"])
def test_random_program(compete, race, name):
    compete(race, name)


def numpy_functions() -> Race:
    """Values only: what the way through NumPy costs is the same with a gradient."""

    def through(sin, total):
        def start():
            x = tg.tensor(rng.uniform(-1, 1, 3), requires_grad=True)

            def run():
                results = [x]
                for _ in range(500):
                    results = [sin(x), total(x)]
                return [np.array(r.tolist()) * 0 for r in results]

            return run

        return start

    return Race(
        "1,000 calls of NumPy's functions on a Tensor",
        {"tapegrad": through(np.sin, np.sum), "method": through(tg.Tensor.sin, tg.Tensor.sum)},
        work=1000,
        aims=[Aim("at most 0.5 us a call more than a method (0.1 us)", 0.6e-3)],
    )


NUMPY = numpy_functions()


@pytest.mark.parametrize("name", ["tapegrad", "method"])
def test_numpy_functions(compete, name):
    compete(NUMPY, name)
