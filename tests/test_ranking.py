"""Running extremes, ranks, sets, quantiles, structured matrices: values, derivatives, errors as torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import same

import tapegrad as tg

RNG = np.random.default_rng(5)
A = RNG.permutation(24).reshape(4, 6) / 7.0 - 1.1
TIES = np.array([[2.0, 1.0, 2.0, 3.0], [0.0, 0.0, -1.0, -1.0], [1.0, np.nan, 5.0, 2.0]])
V = np.array([3.0, 1.0, 1.0, 2.0, 2.0, 2.0, 5.0])

#: name -> (function of a library and a tensor, the tensor)
SMOOTH: dict[str, tuple[Callable[[Any, Any], Any], np.ndarray]] = {
    "cummax": (lambda m, x: m.cummax(x, 1), A),
    "cummin": (lambda m, x: x.cummin(0), A),
    "cummax of ties": (lambda m, x: m.cummax(x, 1), TIES[:2]),
    "cummin of ties": (lambda m, x: m.cummin(x, -1), TIES[:2]),
    "cummax of a number": (lambda m, x: m.cummax(x, 0), np.array(3.0)),
    "kthvalue": (lambda m, x: m.kthvalue(x, 3), A),
    "kthvalue kept": (lambda m, x: x.kthvalue(2, 0, True), A),
    "mode": (lambda m, x: m.mode(x), V[None]),
    "mode kept": (lambda m, x: m.mode(x, 0, keepdim=True), A),
    "msort": (lambda m, x: m.msort(x), A),
    "quantile": (lambda m, x: m.quantile(x, 0.3), A),
    "quantile of a dim": (lambda m, x: m.quantile(x, 0.7, dim=1, keepdim=True), A),
    "quantiles": (lambda m, x: x.quantile(m.tensor([0.1, 0.5, 1.0]), dim=0), A),
    "quantiles kept": (lambda m, x: m.quantile(x, m.tensor([0.1, 0.5]), keepdim=True), A),
    **{
        f"quantile {how}": (lambda m, x, how=how: m.quantile(x, 0.31, dim=1, interpolation=how), A)
        for how in ("linear", "lower", "higher", "midpoint", "nearest")
    },
    "nanquantile": (lambda m, x: m.nanquantile(x, 0.4, dim=1), A),
    "corrcoef": (lambda m, x: m.corrcoef(x), A),
    "nan_to_num": (lambda m, x: m.nan_to_num(x * x, 1.0, 2.0, 3.0), A),
    "rot90": (lambda m, x: m.rot90(x), A),
    "rot90 thrice": (lambda m, x: x.rot90(3, (1, 0)), A),
    "rot90 twice": (lambda m, x: m.rot90(x, 2), A),
    "block_diag": (lambda m, x: m.block_diag(x, x[0], x[0, 0]), A),
    "cartesian_prod": (lambda m, x: m.cartesian_prod(x, x[:2]), V),
    "combinations": (lambda m, x: m.combinations(x, 3), V[:4]),
    "combinations with replacement": (lambda m, x: m.combinations(x, 2, True), V[:3]),
    "addr": (lambda m, x: m.addr(x, x[:, 0], x[0], beta=0.5, alpha=2.0), A),
    "cosine_similarity": (lambda m, x: m.cosine_similarity(x, 1 + x[:1]), A),
    "pairwise_distance": (lambda m, x: m.pairwise_distance(x, 1 + x[:1]), A),
    "ldexp": (lambda m, x: m.ldexp(x, m.tensor([1, 2, 3, 1, 0, 4])), A),
    "hsplit": (lambda m, x: m.hsplit(x, 3), A),
    "hsplit at places": (lambda m, x: x.hsplit([1, 4]), A),
    "vsplit": (lambda m, x: m.vsplit(x, 2), A),
    "dsplit": (lambda m, x: m.dsplit(x.reshape(2, 2, 6), 2), A),
}  # fmt: skip
CONSTANT: dict[str, Callable[[Any], Any]] = {
    "cummax of NaN": lambda m: m.cummax(m.tensor(TIES), 1),
    "cummin of NaN": lambda m: m.cummin(m.tensor(TIES), 1),
    "cummax of whole numbers": lambda m: m.cummax(m.tensor([3, 1, 4, 4, 2]), 0),
    "quantile of NaN": lambda m: m.quantile(m.tensor(TIES), 0.5, dim=1),
    "nanquantile of NaN": lambda m: m.nanquantile(m.tensor(TIES), 0.5, dim=1),
    "kthvalue of NaN": lambda m: m.kthvalue(m.tensor(TIES), 4, 1),
    "nan_to_num of infinities": lambda m: m.nan_to_num(m.tensor([np.nan, np.inf, -np.inf, 1.0])),
    "unique": lambda m: m.unique(m.tensor(V)),
    "unique with all": lambda m: m.unique(m.tensor(TIES[:2]), True, True, True),
    "unique of a dim": lambda m: m.unique(m.tensor([[1, 2], [0, 5], [1, 2]]), dim=0, return_counts=True),
    "unique_consecutive": lambda m: m.unique_consecutive(m.tensor(V), True, True),
    "unique_consecutive of a dim": lambda m: m.tensor([[1, 1], [1, 1], [0, 5]]).unique_consecutive(dim=0),
    "searchsorted": lambda m: m.searchsorted(m.tensor([1.0, 2.0, 3.0]), m.tensor(V)),
    "searchsorted right": lambda m: m.searchsorted(m.tensor([1.0, 2.0, 3.0]), m.tensor(V), right=True),
    "searchsorted of rows": lambda m: m.searchsorted(
        m.tensor(np.sort(A, 1)), m.tensor(A[:, :2]), side="right"
    ),
    "vander": lambda m: m.vander(m.tensor(V)),
    "vander increasing": lambda m: m.vander(m.tensor(V), 3, increasing=True),
    "vander of none": lambda m: m.vander(m.tensor(V), 0),
    "bincount of weights": lambda m: m.bincount(m.tensor([0, 3, 3, 1, 0, 1, 6]), m.tensor(V), 9),
    "searchsorted of a number": lambda m: m.searchsorted(m.tensor([1.0, 2.0, 3.0]), 2.5),
    "searchsorted with a sorter": lambda m: m.searchsorted(
        m.tensor([3.0, 1.0, 2.0]), m.tensor(V), sorter=m.tensor([1, 2, 0])
    ),
    "bucketize": lambda m: m.bucketize(m.tensor(A), m.tensor([-0.5, 0.0, 1.0])),
    "bincount": lambda m: m.bincount(m.tensor([0, 3, 3, 1])),
    "histc": lambda m: m.histc(m.tensor(V), 4),
    "histc of a range": lambda m: m.histc(m.tensor(V), 3, 0.5, 3.5),
}  # fmt: skip
ERRORS: dict[str, Callable[[Any], Any]] = {
    "cummax dim": lambda m: m.cummax(m.ones(2), 3),
    "kthvalue k": lambda m: m.kthvalue(m.ones(2), 3),
    "quantile q": lambda m: m.quantile(m.ones(2), 1.5),
    "quantile dtype": lambda m: m.quantile(m.tensor([1, 2]), 0.5),
    "quantile q's dim": lambda m: m.quantile(m.ones(2), m.ones(1, 1)),
    "quantile interpolation": lambda m: m.quantile(m.ones(2), 0.5, interpolation="a"),
    "quantile of none": lambda m: m.quantile(m.ones(0), 0.5),
    "vander": lambda m: m.vander(m.ones(2, 2)),
    "searchsorted sides": lambda m: m.searchsorted(m.ones(2), m.ones(2), right=True, side="left"),
    "searchsorted side": lambda m: m.searchsorted(m.ones(2), m.ones(2), side="up"),
    "bucketize": lambda m: m.bucketize(m.ones(2), m.ones(2, 2)),
    "bincount": lambda m: m.bincount(m.tensor([-1])),
    "bincount weights": lambda m: m.bincount(m.tensor([1]), m.ones(2)),
    "histc bins": lambda m: m.histc(m.ones(2), 0),
    "block_diag": lambda m: m.block_diag(m.ones(2, 2, 2)),
    "cartesian_prod": lambda m: m.cartesian_prod(m.ones(2, 2)),
    "combinations": lambda m: m.combinations(m.ones(2, 2)),
    "hsplit": lambda m: m.hsplit(m.ones(2, 3), 2),
    "vsplit": lambda m: m.vsplit(m.ones(3), 3),
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_values_and_derivatives(name: str) -> None:
    f, array = SMOOTH[name]

    def case(m: Any) -> Any:
        x = m.tensor(array, requires_grad=True)
        result = f(m, x)
        parts = [y for y in (result if isinstance(result, tuple) else (result,))]
        numbers = [y.detach() for y in parts]
        total = sum((y * y * 0.5 + y).sum() for y in parts if y.requires_grad)
        if not m.is_tensor(total):
            return numbers
        (g,) = m.autograd.grad(total, x, create_graph=True)
        second = (
            m.autograd.grad((g * g).sum(), x, allow_unused=True)[0] if g.requires_grad else None
        )
        return numbers, g.detach(), second

    same(case)


@pytest.mark.parametrize("name", CONSTANT)
def test_constants(name: str) -> None:
    def case(m: Any) -> Any:
        result = CONSTANT[name](m)
        return tuple(result) if isinstance(result, tuple) else result

    same(case)


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    same(ERRORS[name])


def test_under_vmap_and_forward_mode() -> None:
    for f in (
        lambda x: tg.cummax(x, 0).values,
        lambda x: tg.kthvalue(x, 2).values,
        lambda x: tg.quantile(x, 0.3),
    ):
        rows = tg.vmap(f)(A)
        np.testing.assert_allclose(rows.numpy(), np.stack([f(tg.tensor(row)).numpy() for row in A]))
        tangent = tg.jvp(f, (A[0],), (A[1],))[1]
        step = 1e-6 * A[1]
        slope = (f(tg.tensor(A[0] + step)) - f(tg.tensor(A[0] - step))) / 2e-6
        np.testing.assert_allclose(tangent.numpy(), slope.numpy(), atol=1e-8)


def test_derivatives_that_torch_does_not_have() -> None:
    x = tg.tensor(V, requires_grad=True)
    index = tg.tensor([0, 3, 3, 1, 0, 1, 6])
    assert tg.autograd.gradcheck(lambda x: tg.bincount(index, x, 9), (x,))
    assert tg.autograd.gradcheck(lambda x: tg.vander(x, 4), (x,))
    assert tg.autograd.gradgradcheck(lambda x: tg.vander(x, 4, increasing=True), (x,))


def test_unique_values_are_differentiated() -> None:
    x = tg.tensor(V, requires_grad=True)
    tg.unique(x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]
