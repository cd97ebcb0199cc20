"""Distances between rows, and the cross product."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import same

import tapegrad as tg
from tapegrad import func
from tapegrad.autograd import gradcheck, gradgradcheck

A = [[0.0, 0.0, 0.0], [1.0, 2.0, 2.0]]
B = [[0.0, 0.0, 0.0], [3.0, 0.0, 4.0], [1.0, 2.0, 0.0]]
GENERIC_A = [[0.3, -1.2, 0.7], [2.1, 0.4, -0.9]]
GENERIC_B = [[1.3, 0.2, -0.4], [-0.6, 1.7, 0.8], [0.9, -2.2, 1.4], [0.1, 0.5, 2.3]]

#: p -> distances of A from B
DISTANCES = {
    0: [[0, 2, 2], [3, 3, 1]],
    0.5: [[0, 7 + 4 * math.sqrt(3), 3 + 2 * math.sqrt(2)], [(1 + 2 * math.sqrt(2)) ** 2, 18, 2]],
    1: [[0, 7, 3], [5, 6, 2]],
    2: [[0, 5, math.sqrt(5)], [3, math.sqrt(12), 2]],
    3: [[0, 91 ** (1 / 3), 9 ** (1 / 3)], [17 ** (1 / 3), 24 ** (1 / 3), 2]],
    math.inf: [[0, 4, 2], [2, 2, 2]],
}


@pytest.mark.parametrize("p", DISTANCES)
def test_distances(p: float) -> None:
    found = tg.cdist(tg.tensor(A), tg.tensor(B), p=p)
    np.testing.assert_allclose(found.numpy(), DISTANCES[p], rtol=1e-14)
    whole = tg.tensor(A + B)
    rows, columns = np.triu_indices(5, 1)
    np.testing.assert_allclose(
        tg.pdist(whole, p).numpy(), tg.cdist(whole, whole, p).numpy()[rows, columns], rtol=1e-14
    )


def test_gradients_of_euclidean_distances() -> None:
    a, b = tg.tensor(A, requires_grad=True), tg.tensor(B, requires_grad=True)
    tg.cdist(a, b).sum().backward()
    pair = np.array(A)[:, None] - np.array(B)[None]
    length = np.sqrt((pair**2).sum(-1, keepdims=True))
    unit = np.divide(pair, length, out=np.zeros_like(pair), where=length > 0)  # 0 for equal rows
    assert a.grad is not None
    assert b.grad is not None
    np.testing.assert_allclose(a.grad.numpy(), unit.sum(1), rtol=1e-14)
    np.testing.assert_allclose(b.grad.numpy(), -unit.sum(0), rtol=1e-14)


def test_second_derivatives_of_a_distance() -> None:
    """(I - u u^T) / r for one pair, and no NaN for equal rows."""
    a, b = tg.tensor([[3.0, 4.0]]), tg.tensor([[0.0, 0.0]])
    hessian = func.hessian(lambda a: tg.cdist(a, b).sum())(a).reshape(2, 2)
    np.testing.assert_allclose(hessian.numpy(), [[0.128, -0.096], [-0.096, 0.072]], rtol=1e-13)
    equal = func.hessian(lambda a: tg.cdist(a, b).sum())(b)
    assert equal.reshape(2, 2).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("name", ["cdist", "pdist"])
def test_derivatives_of_distances(name: str, p: float) -> None:
    a = tg.tensor(GENERIC_A, requires_grad=True)
    b = tg.tensor(GENERIC_B, requires_grad=True)
    f: Callable[..., Any] = (
        (lambda a, b: tg.cdist(a, b, p))
        if name == "cdist"
        else (lambda a, b: tg.pdist(tg.cat([a, b]), p))
    )
    assert gradcheck(f, (a, b), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(f, (a, b))


def weighted(lib: Any, make: Callable[[Any, Any, Any], Any]) -> Any:
    a = lib.tensor(GENERIC_A, requires_grad=True)
    b = lib.tensor([*GENERIC_B[:3], GENERIC_A[1]], requires_grad=True)
    y = make(lib, a, b)
    w = lib.arange(1.0, y.numel() + 1.0).reshape(y.shape)
    return [y.detach(), *lib.autograd.grad((y * w).sum(), [a, b])]


CASES: dict[str, Callable[[Any], Any]] = {
    **{
        f"cdist {p}": lambda m, p=p: weighted(m, lambda m, a, b: m.cdist(a, b, p))
        for p in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, math.inf)
    },
    "cdist without products": lambda m: weighted(
        m, lambda m, a, b: m.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    ),
    "batches": lambda m: weighted(
        m, lambda m, a, b: m.cdist(a.expand(2, 1, 2, 3), b.expand(3, 4, 3) * 2)
    ),
    "keywords": lambda m: m.cdist(x1=m.tensor(A), x2=m.tensor(B), p=1),
    "no rows": lambda m: m.cdist(m.zeros(0, 2), m.zeros(3, 2)),
    "no columns": lambda m: m.cdist(m.zeros(2, 0), m.zeros(3, 0), p=math.inf),
    "pdist": lambda m: weighted(m, lambda m, a, b: m.pdist(m.cat([a, b[:3]]))),
    "pdist of one row": lambda m: m.pdist(m.ones(1, 2)),
    "pdist without columns": lambda m: m.pdist(m.ones(3, 0)),
    "cross": lambda m: weighted(m, lambda m, a, b: m.cross(a, b[:2], dim=1)),
    "cross by name": lambda m: m.tensor(GENERIC_A).cross(other=m.tensor(A), dim=-1),
    "cross of columns": lambda m: m.cross(m.tensor(GENERIC_A).t(), m.tensor(A).t(), dim=0),
    "cross, first dimension of three": lambda m: m.cross(m.tensor(B), m.tensor(B) + 1),
    "cross broadcasts": lambda m: weighted(m, lambda m, a, b: m.cross(a[:, None], b[None], dim=2)),
    "cross of integers": lambda m: m.cross(m.tensor([1, 2, 3]), m.tensor([4, 5, 7]), dim=0),
    "columns differ": lambda m: m.cdist(m.ones(2, 3), m.ones(2, 2)),
    "negative p": lambda m: m.cdist(m.ones(2, 3), m.ones(2, 3), p=-1),
    "vectors": lambda m: m.cdist(m.ones(3), m.ones(2, 3)),
    "dtypes": lambda m: m.cdist(m.ones(2, 3).float(), m.ones(2, 3)),
    "integers": lambda m: m.cdist(m.ones(2, 3).long(), m.ones(2, 3)),
    "mode": lambda m: m.cdist(m.ones(2, 3), m.ones(2, 3), compute_mode="fast"),
    "no mode": lambda m: m.cdist(m.ones(2, 3), m.ones(2, 3), compute_mode=None),
    "batches that differ": lambda m: m.cdist(m.ones(4, 2, 3), m.ones(3, 5, 3)),
    "pdist of a vector": lambda m: m.pdist(m.ones(3)),
    "pdist of integers": lambda m: m.pdist(m.ones(3, 2).long()),
    "pdist, negative p": lambda m: m.pdist(m.ones(3, 2), -1.0),
    "cross of pairs": lambda m: m.cross(m.ones(2, 2), m.ones(2, 2)),
    "cross, dim": lambda m: m.cross(m.ones(2, 3), m.ones(2, 3), dim=0),
    "cross, no such dim": lambda m: m.cross(m.ones(2, 3), m.ones(2, 3), dim=5),
    "cross, ranks": lambda m: m.cross(m.ones(3), m.ones(2, 3), dim=0),
    "cross, dtypes": lambda m: m.cross(m.ones(3).float(), m.ones(3), dim=0),
    "cross of bools": lambda m: m.cross(m.ones(3).bool(), m.ones(3).bool(), dim=0),
}


@pytest.mark.parametrize("name", CASES)
def test_as_torch(name: str) -> None:
    same(CASES[name])


def test_cross_product() -> None:
    a, b = tg.tensor([1.0, 2.0, 3.0]), tg.tensor([4.0, 5.0, 7.0])
    assert tg.cross(a, b, dim=0).tolist() == [-1.0, 5.0, -3.0]
    jacobian = func.jacrev(lambda a: tg.cross(a, b, dim=0))(a)
    assert jacobian.tolist() == [[0.0, 7.0, -5.0], [-7.0, 0.0, 4.0], [5.0, -4.0, 0.0]]
    assert func.jacfwd(lambda a: tg.cross(a, b, dim=0))(a).tolist() == jacobian.tolist()
    # of 4 (y z^2 - z y^2) + 5 (z x^2 - x z^2) + 7 (x y^2 - y x^2) at (1, 2, 3)
    hessian = func.hessian(lambda a: tg.cross(a, a * a, dim=0) @ b)(a)
    assert hessian.tolist() == [[2.0, 14.0, -20.0], [14.0, -10.0, 8.0], [-20.0, 8.0, 6.0]]
    with pytest.warns(UserWarning, match="without specifying the dim arg is deprecated"):
        tg.cross(a, b)


def test_distances_and_products_under_vmap() -> None:
    x, y = tg.tensor([GENERIC_A, A]), tg.tensor([GENERIC_B[:2], B[:2]])
    for f in (
        tg.cdist,
        lambda a, b: tg.cross(a, b, dim=-1),
        lambda a, b: tg.pdist(tg.cat([a, b]), 1.0),
    ):
        found = func.vmap(f)(x, y)
        wanted = [f(a, b).tolist() for a, b in zip(x, y, strict=True)]
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-14)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            gradients = func.vmap(func.grad(lambda a, b, f=f: (f(a, b) ** 2).sum()))(x, y)
        alone = [
            func.grad(lambda a, b=b, f=f: (f(a, b) ** 2).sum())(a).tolist()
            for a, b in zip(x, y, strict=True)
        ]
        np.testing.assert_allclose(gradients.numpy(), alone, rtol=1e-13, atol=1e-14)


def test_elements_that_tie_for_the_largest_share_the_derivative() -> None:
    """The derivatives add up to that of the distance; PyTorch gives each of them all of it."""
    a = tg.zeros(1, 3, requires_grad=True)
    tg.cdist(a, tg.tensor([[2.0, -2.0, 1.0]]), p=math.inf).backward(tg.ones(1, 1))
    assert a.grad is not None
    assert a.grad.tolist() == [[-0.5, 0.5, 0.0]]
