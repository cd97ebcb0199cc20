"""Programs in NumPy differentiate as they stand (numpy_programs.py), also under jit and vmap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy_programs import PROGRAMS, fft_filter, gaussian_process, logistic_regression, pca

import tapegrad as tg

programs = pytest.mark.parametrize("program", PROGRAMS, ids=[f.__name__ for f in PROGRAMS])


def slopes(program: Any) -> np.ndarray:
    """Central differences by the first argument."""
    x, *rest = PROGRAMS[program]
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 1e-6
        result[index] = (program(x + step, *rest) - program(x - step, *rest)) / 2e-6
    return result


@programs
def test_gradients_are_differences(program: Any) -> None:
    x, *rest = PROGRAMS[program]
    value, gradient = tg.value_and_grad(program)(x, *rest)
    np.testing.assert_allclose(value.item(), program(x, *rest), rtol=1e-12)
    np.testing.assert_allclose(gradient.numpy(), slopes(program), rtol=1e-5, atol=1e-7)
    leaf = tg.tensor(x, requires_grad=True)
    program(leaf, *rest).backward()
    np.testing.assert_allclose(leaf.grad.numpy(), gradient.numpy(), rtol=1e-12, atol=1e-14)


@programs
def test_compiled_gradients_are_the_same(program: Any) -> None:
    x, *rest = PROGRAMS[program]
    wanted = tg.grad(program)(x, *rest).numpy()
    found = tg.jit(tg.grad(lambda v: program(v, *rest)))(tg.tensor(x))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-11)


@programs
def test_hessian_products_are_differences_of_gradients(program: Any) -> None:
    x, *rest = PROGRAMS[program]
    direction = np.cos(np.arange(x.size, dtype=float)).reshape(x.shape)

    def gradient(v: np.ndarray) -> np.ndarray:
        return tg.grad(program)(v, *rest).numpy()

    wanted = (gradient(x + 1e-5 * direction) - gradient(x - 1e-5 * direction)) / 2e-5
    _, found = tg.func.jvp(
        lambda v: tg.grad(lambda u: program(u, *rest))(v), (tg.tensor(x),), (tg.tensor(direction),)
    )
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("program", [gaussian_process, logistic_regression, fft_filter, pca])
def test_batches(program: Any) -> None:
    x, *rest = PROGRAMS[program]
    batch = np.stack([x, 1.1 * x, x - 0.1])
    found = tg.vmap(tg.grad(lambda v: program(v, *rest)))(tg.tensor(batch))
    wanted = [tg.grad(program)(v, *rest).numpy() for v in batch]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-11)
