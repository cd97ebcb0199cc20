"""Elementwise chains on a million elements, where memory traffic and SIMD decide."""

import numpy as np
import pytest

import limits
import programs
from racing import Aim, Race, contenders

SIZE = 1_000_000
AIMS = [Aim("no slower than torch eager", 1.0, to="torch")]
X = np.random.default_rng(7).uniform(-1.0, 1.0, SIZE)

RACES = {
    "horner": Race(
        "cheap arithmetic chain on 1,000,000 elements",
        contenders(programs.horner, X, limit=limits.horner(X)),
        work=SIZE,
        aims=AIMS,
    ),
    "transcendental": Race(
        "exp, tanh and sin chain on 1,000,000 elements",
        contenders(programs.transcendental, X, limit=limits.transcendental(X)),
        work=SIZE,
        aims=AIMS,
    ),
}


@pytest.mark.parametrize("name", ["tapegrad", "torch", "autograd", "limit"])
@pytest.mark.parametrize("chain", RACES)
def test_million_elements(compete, chain, name):
    compete(RACES[chain], name)
