"""Calls of compiled functions: static arguments, and arrays around the function."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import tapegrad as tg


def test_static_arguments_belong_to_the_signature() -> None:
    f = tg.jit(lambda x, n, scale=1: x * n * scale, static_argnums=1, static_argnames="scale")
    for _ in range(2):
        for n in (2.5, 3.5):
            for scale in (1, 4):
                np.testing.assert_array_equal(f(np.ones(2), n, scale=scale), [n * scale] * 2)
    assert len(f.tapes()) == 4


def test_static_arguments_may_be_counted_from_the_end() -> None:
    f = tg.jit(lambda x, mode: x if mode == ("a", 1) else -x, static_argnums=-1)
    np.testing.assert_array_equal(f(np.ones(2), ("a", 1)), [1, 1])
    np.testing.assert_array_equal(f(np.ones(2), ("b", 1)), [-1, -1])


def test_numbers_that_are_not_told_apart_by_comparison() -> None:
    f = tg.jit(lambda x, n: x * math.copysign(1, n), static_argnums=1)
    assert [f(np.ones(1), n)[0] for n in (0.0, -0.0, 0.0, math.nan, math.nan, 0)] == [
        1,
        -1,
        1,
        1,
        1,
        1,
    ]
    assert len(f.tapes()) == 4


def test_arguments_that_cannot_be_static() -> None:
    f = tg.jit(lambda x, n: x * n, static_argnums=1)
    for value in (tg.ones(2), np.ones(2)):
        with pytest.raises(TypeError, match="argument 1 is static"):
            f(np.ones(2), value)
    with pytest.raises(TypeError, match="has no hash"):
        f(np.ones(2), [1.0])


def test_only_functions_are_compiled() -> None:
    with pytest.raises(TypeError, match="jit: expected a function, got int"):
        tg.jit(3)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(8.0).reshape(4, 2)[:, 1],
        np.arange(8.0).reshape(2, 4).T[:, 0],
    ],
    ids=["column", "transposed"],
)
def test_arrays_with_strides_around_the_function(array: np.ndarray) -> None:
    f = tg.jit(lambda x: x * array)
    for _ in range(2):
        np.testing.assert_array_equal(f(np.ones(4)), array)
        np.testing.assert_array_equal(f(tg.ones(4)).numpy(), array)
    array[:] = 7
    np.testing.assert_array_equal(f(np.ones(4)), [7] * 4)  # memory is seen


def test_tapes_copy_arrays_with_their_strides() -> None:
    array = np.arange(8.0).reshape(4, 2)[:, 1]
    tape = tg.trace(lambda x: x * array)(np.ones(4))
    array[:] = 7
    assert tape(np.ones(4)).tolist() == [1, 3, 5, 7]
    assert tape.simplified()(np.ones(4)).tolist() == [1, 3, 5, 7]


def test_saved_tapes_have_arrays_with_strides(tmp_path: Path) -> None:
    array = np.arange(24.0).reshape(4, 3, 2)[::2, 1:, 1]
    tape = tg.trace(lambda x: x * array)(np.ones((2, 2)))
    tape.save(tmp_path / "tape.npz")
    for run in (tape, tg.load_tape(tmp_path / "tape.npz"), tape.gradient().simplified()):
        value = run(np.ones((2, 2)))
        np.testing.assert_array_equal(value[0] if isinstance(value, tuple) else value, array)


def test_a_failure_on_the_way_of_other_values_is_none() -> None:
    """The tape that is tried first fails for what another way takes."""

    def chosen(x: tg.Tensor, i: tg.Tensor) -> tg.Tensor:
        return x[i] if i[0] < 2 else x[i - 2] * 10

    f, x = tg.jit(chosen), np.array([1.0, 2.0])
    for _ in range(2):
        assert [f(x, np.array([i]))[0] for i in (0, 1, 3, 2, 1)] == [1, 2, 20, 10, 2]
        with pytest.raises(IndexError, match="out of bounds"):
            f(x, np.array([5]))
    assert len(f.tapes()) == 2


def test_calls_after_a_failure() -> None:
    f, x = tg.jit(lambda x, i: x[i]), np.array([1.0, 2.0])
    for _ in range(3):
        with pytest.raises(IndexError, match="out of bounds"):
            f(x, np.array([5]))
        for i in (0, 1):
            assert f(x, np.array([i]))[0] == x[i]
