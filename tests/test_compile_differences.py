"""Differences from torch.compile that docs/pytorch_differences.md names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg


def writing(x: tg.Tensor) -> tg.Tensor:
    return x.add_(1)


def drawing(x: tg.Tensor) -> tg.Tensor:
    return x + tg.rand(2)


def passing(x: tg.Tensor) -> tg.Tensor:
    y = x.detach().requires_grad_()
    (y * y).sum().backward()
    return x


def hooking(x: tg.Tensor) -> tg.Tensor:
    x.requires_grad_()
    y = x * 2
    y.register_hook(lambda g: g * 2)
    return y


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (writing, "writes into its arguments"),
        (drawing, "draws random numbers"),
        (passing, "accumulates gradients"),
        (hooking, "has hooks"),
    ],
)
def test_what_cannot_be_recorded_is_an_error(function: Callable[..., Any], words: str) -> None:
    x = np.ones(2)
    with pytest.raises(tg.TapeError, match=f"jit: the function {words}"):
        tg.compile(function)(x)
    np.testing.assert_array_equal(x, [1, 1])


def test_arguments_for_other_compilers() -> None:
    f = tg.compile(
        lambda x: 2 * x, fullgraph=True, dynamic=True, backend="inductor", mode="max-autotune"
    )
    assert f(tg.ones(2)).tolist() == [2, 2]

    def plain(x: Any) -> Any:
        return x

    assert tg.compile(plain, disable=True) is plain


def test_shapes_and_ints_are_static() -> None:
    f = tg.compile(lambda x, n: x * n, dynamic=True)
    for size, n in ((2, 1), (3, 1), (3, 2), (2, 1)):
        assert f(np.ones(size), n).tolist() == [n] * size
    assert len(f.tapes()) == 3


def test_gradients_through_compiled_functions() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)

    def loss(w: tg.Tensor) -> tg.Tensor:
        return (w**3).sum()

    y = tg.compile(loss)(w)
    y.backward()
    assert w.grad is not None
    assert w.grad.tolist() == [3, 12]
    value, gradient = tg.compile(tg.value_and_grad(loss))(w.detach())
    assert (value.item(), gradient.tolist()) == (9, [3, 12])


def test_arrays_in_arrays_out() -> None:
    f = tg.compile(lambda x: (x, {"twice": 2 * x}))
    same, rest = f(np.ones(2))
    assert type(same) is type(rest["twice"]) is np.ndarray
    assert isinstance(f(tg.ones(2))[0], tg.Tensor)


def test_results_own_their_memory() -> None:
    f = tg.compile(lambda x: (x, x[:1], x.T))
    for x in (np.ones((2, 2)), tg.ones(2, 2)):
        for _ in range(2):
            results = f(x)
            for y in results:
                y[...] = 5
            assert [float(y.sum()) for y in results] == [20, 10, 20]
            assert float(x.sum()) == 4
