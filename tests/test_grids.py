"""Differences, gradients and integrals of values on a grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import same

import tapegrad as tg
from tapegrad import func
from tapegrad.autograd import gradcheck, gradgradcheck

Y = [1.0, 2.0, 4.0, 7.0, 12.0]
M = [[1.0, 2.0, 4.0, 8.0], [3.0, 1.0, 5.0, -2.0], [0.5, 6.0, -1.0, 2.5]]
PLACES = [0.0, 1.0, 3.0, 3.5, 5.0]


# --------------------------------------------------------------------------- values
def test_differences() -> None:
    y = tg.tensor(Y)
    assert tg.diff(y).tolist() == [1.0, 2.0, 3.0, 5.0]
    assert y.diff(2).tolist() == [1.0, 1.0, 2.0]
    assert tg.diff(y, 0).tolist() == Y
    assert tg.diff(y, 0, prepend=y, append=y).tolist() == Y
    assert tg.diff(y, 9).tolist() == []
    m = tg.tensor(M)
    assert m.diff(dim=0).tolist() == np.diff(M, axis=0).tolist()
    assert m.diff(prepend=tg.zeros(3, 1), append=tg.ones(3, 2)).tolist() == (
        np.diff(M, prepend=np.zeros((3, 1)), append=np.ones((3, 2))).tolist()
    )
    assert tg.diff(tg.tensor([True, False, False])).tolist() == [True, False]
    assert tg.diff(tg.tensor([1, 4, 9])).tolist() == [3, 5]


@pytest.mark.parametrize("edge", [1, 2])
def test_gradients_of_samples(edge: int) -> None:
    y, m = tg.tensor(Y), tg.tensor(M)
    for found, wanted in (
        (tg.gradient(y, edge_order=edge), [np.gradient(Y, edge_order=edge)]),
        (tg.gradient(y, spacing=0.5, edge_order=edge), [np.gradient(Y, 0.5, edge_order=edge)]),
        (
            tg.gradient(y, spacing=(tg.tensor(PLACES),), edge_order=edge),
            [np.gradient(Y, PLACES, edge_order=edge)],
        ),
        (tg.gradient(m, edge_order=edge), np.gradient(M, edge_order=edge)),
        (
            tg.gradient(m, spacing=[2.0, 0.25], edge_order=edge),
            np.gradient(M, 2.0, 0.25, edge_order=edge),
        ),
        (tg.gradient(m, dim=1, edge_order=edge), [np.gradient(M, axis=1, edge_order=edge)]),
        (
            tg.gradient(m, spacing=(tg.tensor(PLACES[1:]),), dim=(-1,), edge_order=edge),
            [np.gradient(M, PLACES[1:], axis=1, edge_order=edge)],
        ),
    ):
        assert isinstance(found, tuple)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a.numpy(), b, rtol=1e-14, atol=1e-15)


def test_samples_take_the_precision_of_their_places() -> None:
    y, x = tg.tensor([1.0, 1.0 + 2.0**-20, 2.0], dtype=tg.float32), tg.tensor([0.0, 1e-3, 3e-3])
    (found,) = tg.gradient(y, spacing=(x,))
    assert found.dtype is tg.float64
    np.testing.assert_allclose(
        found.numpy(), np.gradient(y.double().numpy(), x.numpy()), rtol=1e-14
    )
    (found,) = tg.gradient(y.double(), spacing=(x.float(),))
    assert found.dtype is tg.float64


def test_a_parabola_is_differentiated_exactly_to_the_edge() -> None:
    x = tg.tensor(PLACES)
    (found,) = tg.gradient(3 * x * x - x + 2, spacing=(x,), edge_order=2)
    np.testing.assert_allclose(found.numpy(), 6 * np.array(PLACES) - 1, rtol=1e-13)


def test_integrals_of_samples() -> None:
    y, x, m = tg.tensor(Y), tg.tensor(PLACES), tg.tensor(M)
    assert tg.trapezoid(y).item() == 19.5
    assert tg.trapezoid(y, dx=2).item() == 39.0
    assert tg.trapezoid(y, x).item() == 1.5 + 6.0 + 2.75 + 14.25
    assert tg.trapz(y, x).item() == 24.5
    assert tg.cumulative_trapezoid(y, x).tolist() == [1.5, 7.5, 10.25, 24.5]
    assert tg.cumulative_trapezoid(y, dx=0.5).tolist() == [0.75, 2.25, 5.0, 9.75]
    np.testing.assert_allclose(
        tg.trapezoid(m, tg.tensor([0.0, 1.0, 4.0]), dim=0).numpy(),
        [2.0 + 5.25, 1.5 + 10.5, 4.5 + 6.0, 3.0 + 0.75], rtol=1e-15,
    )  # fmt: skip


# --------------------------------------------------------------------------- derivatives
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "diff": lambda y: tg.diff(y * y, 2, prepend=y[:1].sin()),
    "gradient": lambda y: tg.gradient(y * y, spacing=0.3)[0],
    "gradient to second order": lambda y: tg.gradient(y * y, spacing=0.3, edge_order=2)[0],
    "trapezoid": lambda y: tg.trapezoid(y * y, dx=0.3),
    "cumulative": lambda y: tg.cumulative_trapezoid(y * y, dx=0.3),
}
PLACED: dict[str, Callable[..., Any]] = {
    "gradient": lambda y, x: tg.gradient(y * y, spacing=(x,))[0],
    "gradient to second order": lambda y, x: tg.gradient(y * y, spacing=(x,), edge_order=2)[0],
    "trapezoid": lambda y, x: tg.trapezoid(y * y, x),
    "cumulative": lambda y, x: tg.cumulative_trapezoid(y * y, x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_by_values(name: str) -> None:
    f, y = FUNCTIONS[name], tg.tensor(Y, requires_grad=True)
    assert gradcheck(f, (y,), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(f, (y,))


@pytest.mark.parametrize("name", PLACED)
def test_derivatives_by_places(name: str) -> None:
    f, y, x = PLACED[name], tg.tensor(Y, requires_grad=True), tg.tensor(PLACES, requires_grad=True)
    assert gradcheck(f, (y, x), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(f, (y, x))


def test_derivatives_are_weights() -> None:
    y = tg.tensor(Y)
    weights = func.grad(lambda y: tg.trapezoid(y, tg.tensor(PLACES)))(y)
    assert weights.tolist() == [0.5, 1.5, 1.25, 1.0, 0.75]
    slopes = func.grad(lambda x: tg.trapezoid(y, x))(tg.tensor(PLACES))
    assert slopes.tolist() == [-1.5, -1.5, -2.5, -4.0, 9.5]
    stencil = func.jacrev(lambda y: tg.gradient(y)[0])(y)
    assert stencil.tolist() == [
        [-1.0, 1.0, 0.0, 0.0, 0.0],
        [-0.5, 0.0, 0.5, 0.0, 0.0],
        [0.0, -0.5, 0.0, 0.5, 0.0],
        [0.0, 0.0, -0.5, 0.0, 0.5],
        [0.0, 0.0, 0.0, -1.0, 1.0],
    ]
    edges = func.jacfwd(lambda y: tg.gradient(y, edge_order=2)[0])(y)
    assert edges[0].tolist() == [-1.5, 2.0, -0.5, 0.0, 0.0]
    assert edges[4].tolist() == [0.0, 0.0, 0.5, -2.0, 1.5]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_under_vmap(name: str) -> None:
    f, batch = FUNCTIONS[name], tg.tensor([Y, PLACES])
    found = func.vmap(f)(batch)
    np.testing.assert_allclose(found.numpy(), [f(y).tolist() for y in batch], rtol=1e-14)
    hessians = func.vmap(func.hessian(lambda y: (f(y) ** 2).sum()))(batch)
    alone = [func.hessian(lambda y: (f(y) ** 2).sum())(y).tolist() for y in batch]
    np.testing.assert_allclose(hessians.numpy(), alone, rtol=1e-12, atol=1e-12)


# --------------------------------------------------------------------------- beside torch
def weighted(lib: Any, make: Callable[[Any, Any], Any]) -> Any:
    m = lib.tensor(M, requires_grad=True)
    y = make(lib, m)
    results = y if isinstance(y, tuple) else (y,)
    total = sum((r * lib.arange(1.0, r.numel() + 1.0).reshape(r.shape)).sum() for r in results)
    return [*[r.detach() for r in results], lib.autograd.grad(total, m)[0]]


CASES: dict[str, Callable[[Any], Any]] = {
    **{
        f"diff {n} {dim}": lambda m, n=n, dim=dim: weighted(m, lambda m, x: m.diff(x, n, dim))
        for n in (1, 2, 5) for dim in (0, -1)
    },
    "joined": lambda m: weighted(m, lambda m, x: m.diff(x, prepend=x[:, :1], append=x[:, :2] * 2)),
    "diff promotes": lambda m: m.diff(m.tensor(M), prepend=m.zeros(3, 1).long()),
    "diff of bools": lambda m: m.diff(m.tensor([True, False, True]), n=2),
    **{
        f"gradient {edge} {spacing}": lambda m, e=edge, s=spacing: weighted(
            m, lambda m, x: m.gradient(x, spacing=s, edge_order=e)
        )
        for edge in (1, 2) for spacing in (1, 0.5, [2, 0.25])
    },
    "gradient, places": lambda m: weighted(
        m, lambda m, x: m.gradient(x, spacing=(m.tensor([0.0, 1.0, 3.0]), m.tensor(PLACES[:4])))
    ),
    "gradient, integer places": lambda m: m.gradient(
        m.tensor(M), spacing=(m.tensor([0, 1, 3]), m.tensor([0, 2, 3, 7])), edge_order=2
    ),
    "gradient, dims": lambda m: weighted(m, lambda m, x: m.gradient(x, dim=(1, 0), spacing=[1.0, 2.0])),
    "gradient of integers": lambda m: m.gradient(m.tensor([1, 2, 4])),
    "gradient of a number": lambda m: m.gradient(m.tensor(1.0)),
    "gradient, no distance": lambda m: m.gradient(m.tensor(Y), spacing=0),
    "gradient, a tensor as number": lambda m: m.gradient(m.tensor(Y), spacing=m.tensor(2.0)),
    "trapezoid": lambda m: weighted(m, lambda m, x: m.trapezoid(x)),
    "trapezoid, dim": lambda m: weighted(m, lambda m, x: m.trapezoid(x, dx=0.5, dim=0)),
    "trapezoid, places": lambda m: weighted(m, lambda m, x: m.trapezoid(x, m.tensor(PLACES[:4]))),
    "trapezoid, places of each": lambda m: weighted(m, lambda m, x: m.trapezoid(x, x * x)),
    "trapezoid, places of rows": lambda m: weighted(
        m, lambda m, x: m.trapezoid(x, m.tensor([0.0, 1.0, 4.0]), dim=0)
    ),
    "trapezoid of nothing": lambda m: m.trapezoid(m.zeros(0)),
    "trapezoid of one": lambda m: m.trapezoid(m.ones(1)),
    "trapezoid of integers": lambda m: m.trapezoid(m.tensor([1, 2, 4])),
    "cumulative": lambda m: weighted(m, lambda m, x: m.cumulative_trapezoid(x, dx=3, dim=0)),
    "cumulative, places": lambda m: weighted(
        m, lambda m, x: m.cumulative_trapezoid(x, m.tensor(PLACES[:4]))
    ),
    "trapz": lambda m: m.trapz(m.tensor(M), dim=0),
    "error: diff of a number": lambda m: m.diff(m.tensor(1.0)),
    "error: diff, order": lambda m: m.diff(m.ones(3), n=-1),
    "error: diff, dim": lambda m: m.diff(m.ones(3), dim=4),
    "error: diff, rank": lambda m: m.diff(m.tensor(M), append=m.zeros(2)),
    "error: diff, shape": lambda m: m.diff(m.tensor(M), prepend=m.zeros(2, 1)),
    "error: diff, a bool as dim": lambda m: m.diff(m.ones(2, 2), 1, True),
    "error: gradient, a bool as dim": lambda m: m.gradient(m.ones(2, 2), dim=True),
    "error: trapezoid, a bool as dim": lambda m: m.trapezoid(m.ones(2, 2), dim=True),
    "error: trapezoid, a bool as dx": lambda m: m.trapezoid(m.ones(2, 2), dx=True),
    "error: gradient, edge": lambda m: m.gradient(m.ones(4), edge_order=3),
    "error: gradient, few": lambda m: m.gradient(m.ones(2), edge_order=2),
    "error: gradient, dims": lambda m: m.gradient(m.ones(2, 2), dim=(0, 0)),
    "error: gradient, no such dim": lambda m: m.gradient(m.ones(2, 2), dim=5),
    "error: gradient, count": lambda m: m.gradient(m.ones(2, 2), spacing=[1.0]),
    "error: gradient, count of dims": lambda m: m.gradient(m.ones(2, 2), spacing=[1.0, 2.0], dim=0),
    "error: gradient, coordinates": lambda m: m.gradient(m.ones(2), spacing=(m.ones(2, 2),)),
    "error: gradient, a vector": lambda m: m.gradient(m.ones(2), spacing=m.ones(2)),
    "error: gradient of bools": lambda m: m.gradient(m.ones(2).bool()),
    "error: trapezoid of bools": lambda m: m.trapezoid(m.ones(2).bool()),
    "error: trapezoid of a number": lambda m: m.trapezoid(m.tensor(1.0)),
    "error: trapezoid, places": lambda m: m.trapezoid(m.ones(3), m.ones(2)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_as_torch(name: str) -> None:
    same(CASES[name], up_to="- got")


def test_each_place_has_a_coordinate() -> None:
    """PyTorch takes as many values as there are coordinates."""
    with pytest.raises(RuntimeError, match="2 coordinates for the 3 places along dimension 0"):
        tg.gradient(tg.ones(3), spacing=(tg.ones(2),))
    with pytest.raises(RuntimeError, match="`x` has more dimensions than `y`"):
        tg.trapezoid(tg.ones(3), tg.ones(2, 3))
    with pytest.raises(TypeError, match="invalid combination"):
        tg.trapezoid(tg.ones(3), tg.ones(3), dx=2)
