"""Arrays that are made of active and plain numbers in functions under `tg.njit`."""

from __future__ import annotations

import numpy as np
import pytest

import tapegrad as tg


def leaf(value):
    return tg.tensor(value, requires_grad=True)


def shear(x):
    return np.array([[1.0, x], [0.0, 1.0]])


def translation(x):
    return np.array([[1.0, 0.0, x], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def of_tuples(x):
    return np.array(((1.0, x), (0.0, 1.0)))


def with_integers(x):
    return np.array([[1, x], [0, 1]])


def of_named_rows(x):
    a = [1.0, x]
    b = [0.0, 1.0]
    return np.array([a, b])


def of_named_table(x):
    rows = [[1.0, x], [0.0, 1.0]]
    return np.array(rows)


def of_mixed_rows(x):
    return np.array([(1.0, x), (0.0, 1.0)])


def three_deep(x):
    return np.array([[[1.0, x], [0.0, 1.0]], [[2.0, 3.0], [x, 4.0]]])


def as_array(x):
    return np.asarray([[0.0, 1.0], [x, x * x]])


def one_line(x):
    return np.array([1.0, x, 2])


def into_eye(x):
    m = np.eye(2)
    m[0, 1] = x
    return m


def into_shifted_eye(x):
    m = np.eye(2, 3, 1)
    m[0, 0] = x
    return m


def into_lower_eye(x):
    m = np.eye(3, k=-1)
    m[0, 2] = x * x
    return m


def into_identity(x):
    m = np.identity(3)
    m[2] = x
    return m


def into_copy_of_plain(x):
    b = np.array(np.linspace(0.0, 1.0, 3))
    b[1] = x
    return b


def passive_rows(x):
    m = np.array([[1.0, 2.0], [3.0, 4.0]])
    return m * x


def eye_in_arithmetic(x):
    return np.eye(2) * x + np.identity(2)


def in_a_loop(x):
    total = np.zeros((2, 2))
    for i in range(3):
        total += np.array([[1.0, x], [0.0, float(i)]])
    return total


MADE = [
    shear, translation, of_tuples, with_integers, of_named_rows, of_named_table, of_mixed_rows, three_deep,
    as_array, one_line, into_eye, into_shifted_eye, into_lower_eye, into_identity, into_copy_of_plain,
    passive_rows, eye_in_arithmetic, in_a_loop,
]  # fmt: skip


@pytest.mark.parametrize("function", MADE)
def test_values_are_numpys_and_derivatives_those_of_the_elements(function) -> None:
    compiled = tg.njit(function)
    x = leaf(0.5)
    made = compiled(x)
    np.testing.assert_array_equal(made.detach().numpy(), function(0.5))
    (slopes,) = tg.func.jacrev(compiled, argnums=(0,))(tg.tensor(0.5))
    expected = (function(0.5 + 1e-6) - function(0.5 - 1e-6)) / 2e-6
    np.testing.assert_allclose(slopes.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_a_filter_step_with_matrices_of_both_kinds() -> None:
    """A Kalman prediction, as people write it."""

    @tg.njit
    def predicted(dt, q):
        f = np.array([[1.0, dt], [0.0, 1.0]])
        noise = q * np.array([[dt**3 / 3.0, dt**2 / 2.0], [dt**2 / 2.0, dt]])
        p = f @ np.eye(2) @ f.T + noise
        return p[0, 0] + p[0, 1] + p[1, 1]

    dt, q = 0.3, 0.7
    found = tg.autograd.grad(predicted(leaf(dt), (again := leaf(q))), again)[0].item()
    assert found == pytest.approx(dt**3 / 3 + dt**2 / 2 + dt, rel=1e-14)
    x = leaf(dt)
    predicted(x, q).backward()
    assert x.grad.item() == pytest.approx(2 * dt + q * dt**2 + 1 + q * dt + q, rel=1e-14)


def test_rows_of_different_lengths() -> None:
    with pytest.raises(ValueError, match="rows of different lengths"):
        tg.njit(lambda x: np.array([[1.0, x], [0.0]]))(leaf(1.0))


def test_integers_stay_integers() -> None:
    @tg.njit
    def picked(x):
        index = np.array([[2, 0], [1, 1]])
        unit = np.eye(2, dtype=np.int64)
        return x[index[0, 0]] + x[unit[0, 1]] * 3.0

    x = leaf([1.0, 2.0, 3.0])
    picked(x).backward()
    assert x.grad.tolist() == [3.0, 0.0, 1.0]
