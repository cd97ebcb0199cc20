"""Gather, scatter, take, index_*, masks: values and derivatives."""

# ruff: noqa: E501  (the tables are one case a line, and hold long messages)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from index_samples import name_of, needs_torch, positions, torch, values
from moving import check_moves

import tapegrad as tg

PICK = np.array([[0, 2], [1, 1], [2, 0]])
#: node, call on a tensor, on an ndarray of positions; x has shape (3, 4)
NAMED: list[tuple[str, Any, Any]] = [
    ("GatherBackward0", lambda x: x.gather(0, tg.tensor(PICK)), lambda a: np.take_along_axis(a[:, :2], PICK, 0)),
    ("GatherBackward0", lambda x: x.gather(-1, tg.tensor(PICK)), lambda a: np.take_along_axis(a, PICK, 1)),
    ("GatherBackward0", lambda x: x.t().gather(1, tg.tensor(PICK)), lambda a: np.take_along_axis(a.T[:3], PICK, 1)),
    ("GatherBackward0", lambda x: x.gather(0, tg.tensor(np.zeros((0, 4), int))), lambda a: a[:0]),
    ("GatherBackward0", lambda x: tg.take_along_dim(x, tg.tensor([[-1]]), 1), lambda a: a[:, 3:]),
    ("GatherBackward0", lambda x: tg.take_along_dim(x, tg.tensor([[5, -1]])), lambda a: a.ravel()[[5, -1]]),
    ("IndexSelectBackward0", lambda x: x.index_select(1, tg.tensor([3, 3, 0])), lambda a: a[:, [3, 3, 0]]),
    ("IndexSelectBackward0", lambda x: x.index_select(0, tg.tensor(1)), lambda a: a[1:2]),
    ("TakeBackward0", lambda x: x.take(tg.tensor([[0, -1], [5, 5]])), lambda a: a.ravel()[[[0, -1], [5, 5]]]),
    ("TakeBackward0", lambda x: x.t().take(tg.tensor(1)), lambda a: a.T.ravel()[1]),
    ("MaskedSelectBackward0", lambda x: x.masked_select(tg.tensor(PICK > 0).repeat(1, 2)), lambda a: a[np.tile(PICK > 0, 2)]),
    ("MaskedSelectBackward0", lambda x: x[0].masked_select(tg.tensor([[True], [False], [True]])), lambda a: np.tile(a[0], 2)),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(NAMED)))
def test_named(case: int) -> None:
    name, move, same = NAMED[case]
    out = check_moves(move, np.asarray(same(positions(3, 4))), values(3, 4))
    assert name_of(out) == name


#: node, call on two tensors of shapes (3, 4) and (3, 2)
WRITES: list[tuple[str, Any]] = [
    ("ScatterBackward0", lambda f, x, v: x.scatter(0, f([[0, 2], [1, 1], [2, 0]]), v)),
    ("ScatterBackward0", lambda f, x, v: x.scatter(1, f([[3, 2]]), v[:1])),
    ("ScatterAddBackward0", lambda f, x, v: x.scatter_add(0, f([[0, 0], [0, 1], [0, 0]]), v)),
    ("ScatterAddBackward0", lambda f, x, v: x.scatter_add(1, f([[1, 1], [3, 3], [0, 2]]), v)),
    ("IndexAddBackward0", lambda f, x, v: x.index_add(1, f([3, 3]), v)),
    ("IndexAddBackward0", lambda f, x, v: x.index_add(1, f([3, 0]), v, alpha=-2)),
    ("IndexCopyBackward0", lambda f, x, v: x.index_copy(1, f([3, 0]), v)),
    ("IndexFillBackward0", lambda f, x, v: x.index_fill(1, f([3, 0, 3]), 2.5)),
    ("ScatterBackward1", lambda f, x, v: x.scatter(1, f([[3, 0], [1, 1]]), 2.5)),
    ("MaskedFillBackward0", lambda f, x, v: x.masked_fill(f([True, False, False, True]), -1.0)),
    ("MaskedFillBackward1", lambda f, x, v: x.masked_fill(f([[True], [False], [True]]), v[0, 0])),
    ("IndexPutBackward0", lambda f, x, v: x.index_put((f([2, 2, 0]), f([1, 1, 3])), v[:, 0], True)),
]  # fmt: skip


def third_order(namespace: Any, call: Any) -> tuple[str, list[np.ndarray]]:
    x = namespace.tensor(values(3, 4), requires_grad=True)
    v = namespace.tensor(values(3, 2), requires_grad=True)
    y = call(namespace.tensor, x, v)
    w = namespace.tensor(values(*y.shape))
    results = [y.detach().numpy()]
    loss = (y * y * y * w).sum() + (x * x).sum() * 0 + (v * v).sum() * 0
    for k in range(3):
        grads = namespace.autograd.grad(loss, (x, v), create_graph=k < 2)
        results += [g.detach().numpy() for g in grads]
        if k < 2:
            ones = [namespace.tensor(values(*g.shape) + 2) for g in grads]
            loss = sum((g * u).sum() for g, u in zip(grads, ones, strict=True))
            loss = loss + (x * x * x).sum() * 0 + (v * v * v).sum() * 0
    return name_of(y), results


@needs_torch
@pytest.mark.parametrize("case", range(len(WRITES)))
def test_writes_agree_with_torch(case: int) -> None:
    name, call = WRITES[case]
    own_name, own = third_order(tg, call)
    torch_name, theirs = third_order(torch, call)
    assert own_name == name == torch_name
    for a, b in zip(own, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", range(len(WRITES)))
def test_writes_against_differences(case: int) -> None:
    """The gradient is that of the polynomial in the step along a direction, found exactly."""
    _, call = WRITES[case]
    x, v = tg.tensor(values(3, 4), requires_grad=True), tg.tensor(values(3, 2), requires_grad=True)
    w, dx, dv = values(3, 4), np.cos(values(3, 4)), np.sin(values(3, 2))
    y = call(tg.tensor, x, v)
    loss = (y * y * tg.tensor(w)).sum()
    gx, gv = tg.autograd.grad(loss, (x, v), allow_unused=True)
    slope = (gx.numpy() * dx).sum() + (0 if gv is None else (gv.numpy() * dv).sum())

    def at(h: float) -> float:
        moved = call(tg.tensor, tg.tensor(values(3, 4) + h * dx), tg.tensor(values(3, 2) + h * dv))
        return float((moved * moved * tg.tensor(w)).sum())

    assert slope == pytest.approx((at(0.5) - at(-0.5)), rel=1e-10)  # quadratic: exact


def test_scatter_takes_a_larger_source() -> None:
    x, v = tg.tensor(np.zeros(3)), tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x.scatter(0, tg.tensor([2]), v)
    assert y.tolist() == [0, 0, 1]
    (y * 5).sum().backward()
    assert v.grad.tolist() == [5, 0, 0]
    assert x.scatter(0, tg.tensor([1, 0]), 2.0, reduce="add").tolist() == [2, 2, 0]


def test_masked_fill_of_other_dtypes() -> None:
    mask = tg.tensor([True, False])
    assert tg.tensor([1, 2]).masked_fill(mask, 1.5).tolist() == [1, 2]
    assert tg.tensor([1, 2]).masked_fill(mask, tg.tensor(7.9)).tolist() == [7, 2]
    assert tg.tensor([False, False]).masked_fill(mask, True).tolist() == [True, False]
    single = tg.tensor(np.float32([1, 2])).masked_fill(mask, tg.tensor(3.0))
    assert single.dtype is tg.float32
    assert single.tolist() == [3, 2]
    infinite = tg.tensor([1.0, 2.0], requires_grad=True).masked_fill(mask, float("-inf"))
    assert infinite.tolist() == [-np.inf, 2]


def test_nonzero_and_one_hot() -> None:
    a = np.array([[0.0, 2.0], [3.0, 0.0]])
    x = tg.tensor(a)
    assert x.nonzero().tolist() == [[0, 1], [1, 0]]
    assert tg.argwhere(x).dtype is tg.int64
    assert [i.tolist() for i in x.nonzero(as_tuple=True)] == [[0, 1], [1, 0]]
    assert tg.tensor(0.0).nonzero().shape == (0, 0)
    assert tg.tensor(1.0).nonzero().shape == (1, 0)
    assert tg.nonzero(tg.tensor(5.0), as_tuple=True)[0].tolist() == [0]
    assert tg.one_hot(tg.tensor([0, 2])).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert tg.one_hot(tg.tensor([[1]]), 2).shape == (1, 1, 2)


def test_0d() -> None:
    z = tg.tensor(2.0, requires_grad=True)
    assert z[...].item() == z[()].item() == z[None][0].item() == 2
    assert z[False].shape == (0,)
    assert z.gather(0, tg.tensor(0)).item() == 2
    assert z.gather(0, tg.tensor([0, 0])).tolist() == [
        2,
        2,
    ]
    assert z.index_select(0, tg.tensor([0])).shape == ()
    assert z.take(tg.tensor([0, -1])).shape == (2,)
    assert z.masked_select(tg.tensor(True)).tolist() == [2]
    (z.gather(0, tg.tensor([0, 0])).sum() + z[True].sum() + z.take(tg.tensor(0))).backward()
    assert z.grad.item() == 4
