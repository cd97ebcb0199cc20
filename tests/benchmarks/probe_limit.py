"""The hand-written gradient that `probes.py` starts a process for: numba and nothing else."""

import math

import numba
import numpy as np


@numba.njit(cache=True, error_model="numpy")
def _gradient(x, x_bar):
    for i in range(x.size):
        x_bar[i] = math.cos(x[i]) * x[i] + math.sin(x[i])


def first_gradient(values: list[float]) -> list[float]:
    x = np.array(values)
    x_bar = np.empty_like(x)
    _gradient(x, x_bar)
    return x_bar.tolist()
