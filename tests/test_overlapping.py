"""Leaves whose elements share memory: each element has a gradient of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

Function = Callable[..., Any]
strided = np.lib.stride_tricks


def _of_a_computation(lib: Any) -> Any:
    with lib.no_grad():
        return (lib.ones(1, requires_grad=True) * 1).expand(3)


MAKERS: dict[str, Function] = {
    "expand": lambda lib: lib.ones(1).expand(3),
    "expand of 0-d": lambda lib: lib.tensor(1.0).expand(2, 3),
    "expand of a column": lambda lib: lib.tensor([[1.0], [2.0]]).expand(2, 3),
    "expand_as": lambda lib: lib.ones(1).expand_as(lib.zeros(3)),
    "broadcast_to": lambda lib: lib.broadcast_to(lib.ones(1), (3,)),
    "transposed": lambda lib: lib.ones(1, 2).expand(3, 2).T,
    "unfold": lambda lib: lib.arange(4.0).unfold(0, 3, 1),
    "unfold, detached": lambda lib: lib.arange(4.0).unfold(0, 3, 1).detach(),
    "as_strided": lambda lib: lib.arange(4.0).as_strided((2, 3), (1, 1)),
    "of NumPy, stride 0": lambda lib: lib.from_numpy(strided.as_strided(np.ones(1), (3,), (0,))),
    "of NumPy, windows": lambda lib: lib.from_numpy(
        strided.sliding_window_view(np.arange(4.0), 3, writeable=True)
    ),
    "computed": lambda lib: (lib.ones(1) * 2).expand(3),
    "computed without grad": _of_a_computation,
    "float32": lambda lib: lib.ones(1, dtype=lib.float32).expand(3),
}  # fmt: skip


def _weights(x: Any) -> np.ndarray:
    return np.arange(1.0, 1.0 + x.numel()).reshape(tuple(x.shape))


def _loss(x: Any) -> Any:
    """The sum of ``w * x ** 3`` with different weights."""
    return (x * x * x * tg.tensor(_weights(x), dtype=x.dtype)).sum()


@pytest.mark.parametrize("name", MAKERS)
def test_every_element_has_its_gradient(name: str) -> None:
    x = MAKERS[name](tg)
    before = x.detach().clone().numpy()
    version = x._version
    x.requires_grad_()
    assert x.is_leaf
    assert x.grad_fn is None
    assert x._version == version
    w, first = _weights(x), 3 * _weights(x) * before**2
    _loss(x).backward()
    np.testing.assert_allclose(x.grad.numpy(), first, rtol=1e-6)
    assert x.detach().numpy().tolist() == before.tolist()
    (g,) = tg.autograd.grad(_loss(x), x, create_graph=True)
    np.testing.assert_allclose(g.detach().numpy(), first, rtol=1e-6)
    (h,) = tg.autograd.grad((g * tg.tensor(w, dtype=x.dtype)).sum(), x)
    np.testing.assert_allclose(h.numpy(), 6 * w * w * before, rtol=1e-6)


@pytest.mark.parametrize("name", MAKERS)
def test_transforms_and_modes(name: str) -> None:
    x = MAKERS[name](tg)
    before, w = x.detach().clone().numpy(), _weights(x)
    first = 3 * w * before**2
    np.testing.assert_allclose(tg.func.grad(_loss)(x).numpy(), first, rtol=1e-6)
    np.testing.assert_allclose(tg.func.jacrev(_loss)(x).numpy(), first, rtol=1e-6)
    np.testing.assert_allclose(tg.func.jacfwd(_loss)(x).numpy(), first, rtol=1e-6)
    tangent = tg.tensor(w, dtype=x.dtype)
    pushed = tg.func.jvp(_loss, (x,), (tangent,))[1]
    np.testing.assert_allclose(pushed.item(), (first * w).sum(), rtol=1e-6)
    x.requires_grad_()
    y = tg.vmap(lambda row: row * row * row)(x)
    (g,) = tg.autograd.grad((y * tangent).sum(), x)
    np.testing.assert_allclose(g.numpy(), first, rtol=1e-6)
    with tg.autograd.forward_ad.dual_level():
        dual = tg.autograd.forward_ad.make_dual(x, tangent)
        pushed = tg.autograd.forward_ad.unpack_dual(_loss(dual)).tangent
    np.testing.assert_allclose(pushed.item(), (first * w).sum(), rtol=1e-6)


@pytest.mark.parametrize("name", [n for n in MAKERS if n != "float32"])
def test_beside_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    torch.set_default_dtype(torch.float64)
    try:
        found = []
        for lib in (tg, torch):
            x = MAKERS[name](lib).requires_grad_()
            w = lib.tensor(_weights(x))
            seen: list[Any] = []
            x.register_hook(lambda g, seen=seen: seen.append(g.tolist()))
            part = x.reshape(-1)[1:]
            (x * x * w).sum().add((part * part).sum()).add(x[0].sum()).backward()
            found.append((x.grad.tolist(), seen, x.tolist(), x._version))
        assert found[0] == found[1]
    finally:
        torch.set_default_dtype(torch.float32)


WRITES: dict[str, Function] = {
    "mul_": lambda x: x.mul_(2),
    "item": lambda x: x.__setitem__(slice(None), 2.0),
    "+=": lambda x: x.__iadd__(1),
    "data": lambda x: x.data.mul_(2),
    "detach": lambda x: x.detach().mul_(2),
    "normal_": lambda x: x.normal_(),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("name", ["expand", "expand of a column", "of NumPy, stride 0", "computed"])
@pytest.mark.parametrize("active", [False, True])
def test_writing_raises(name: str, write: str, active: bool) -> None:
    """Into memory that elements share, also where the leaf has a copy."""
    text = "more than one element of the written-to tensor refers to a single memory location"
    for lib in (tg, *_torch()):
        x = MAKERS[name](lib)
        before = x.tolist()
        if active:
            x.requires_grad_()
        with pytest.raises(RuntimeError, match=text), lib.no_grad():
            WRITES[write](x)
        assert x.detach().tolist() == before


def test_filling_does_not() -> None:
    for lib in (tg, *_torch()):
        b = lib.tensor([[1.0], [2.0]])
        assert b.expand(2, 3).fill_(5.0).tolist() == [[5] * 3] * 2
        assert b.tolist() == [[5], [5]]
        assert b.expand(2, 3).zero_().tolist() == [[0] * 3] * 2
    a = tg.ones(2, 1, requires_grad=True)
    x = a * 3
    x[:1].expand(1, 3).fill_(7.0)  # torch's backward of this raises
    (x * x).sum().backward()
    assert a.grad is not None
    assert a.grad.tolist() == [[0], [18]]
    with pytest.raises(RuntimeError, match="Please clone"), tg.no_grad():
        tg.ones(1).expand(3).requires_grad_().fill_(1.0)


def _torch() -> list[Any]:
    try:
        import torch
    except ImportError:
        return []
    return [torch]


def test_a_write_of_the_shared_memory_shows() -> None:
    for lib in (tg, *_torch()):
        b = lib.tensor([2.0])
        x = b.expand(3).requires_grad_()
        early = (x * 3).sum()
        late = (x * x).sum()
        b.mul_(5)
        assert x.tolist() == [10, 10, 10]
        assert x._version == b._version == 1
        (x * x * lib.tensor([1.0, 2.0, 3.0])).sum().backward()
        assert x.grad.tolist() == [20, 40, 60]
        early.backward()
        assert x.grad.tolist() == [23, 43, 63]
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            late.backward()
        b[0] = 1.0
        assert (x + 1).tolist() == [2, 2, 2]


def test_a_copy_goes_with_its_leaf() -> None:
    tape = tg.current_tape()
    b = tg.tensor([2.0])
    tape.collect()
    tg.zeros(1).add_(1)
    before = len(tape.mirrors)
    for _ in range(50):
        x = b.expand(3).requires_grad_()
        (x * x).sum().backward()
    del x
    tape.collect()
    b.add_(1)
    assert len(tape.mirrors) <= before


def test_leaves_made_in_other_ways() -> None:
    x = tg.ones(1).expand(3).requires_grad_()
    y = copy.deepcopy(x)
    (y * tg.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert y.grad.tolist() == [1, 2, 3]
    z = tg.zeros(3, requires_grad=True)
    z.data = tg.ones(1).expand(3)
    (z * tg.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert z.grad.tolist() == [1, 2, 3]
    x.requires_grad_(False)
    assert not x.requires_grad
    assert x.tolist() == [1, 1, 1]
    x.requires_grad_()
    (x * tg.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [1, 2, 3]
