"""Many cotangents in one sweep: each row of the op table, views, writes, products, against one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_derivatives import directions_for
from op_samples import cases, public_rows, tg_leaf

import tapegrad as tg
from tapegrad.engine.batched_pass import Lanes
from tapegrad.native import abi as nt
from tapegrad.ops.instruction import ITAB
from tapegrad.ops.table import Op

SMOOTH = [e for e in public_rows() if e.vjp is not None]
rng = np.random.default_rng(7)


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lanes of the sweeps that run."""
    seen: list[int] = []
    own = Lanes.sweep_all

    def watched(self: Lanes, count: int, seeds: Any) -> Any:
        found = own(self, count, seeds)
        seen.append(self.lanes)
        return found

    monkeypatch.setattr(Lanes, "sweep_all", watched)
    return seen


def agree(output: Any, inputs: list[Any], count: int, label: str = "") -> None:
    """Gradients for `count` cotangents at once are those for each alone."""
    cts = rng.uniform(0.5, 1.5, (count, *output.shape)).astype(output.dtype.np)
    options: dict[str, Any] = {"retain_graph": True, "allow_unused": True}
    found = tg.autograd.grad(output, inputs, tg.tensor(cts), is_grads_batched=True, **options)
    for b, ct in enumerate(cts):
        alone = tg.autograd.grad(output, inputs, tg.tensor(ct), **options)
        for many, one in zip(found, alone, strict=True):
            assert (many is None) == (one is None), label
            if one is not None:
                assert many.dtype is one.dtype
                scale = 1 + np.abs(one.numpy()).max(initial=0)
                np.testing.assert_allclose(
                    many[b].numpy(), one.numpy(), rtol=1e-12, atol=1e-13 * scale, err_msg=label
                )


@pytest.mark.parametrize("entry", SMOOTH, ids=lambda e: e.name)
def test_each_row(entry: Op, lanes: list[int]) -> None:
    """First and second derivatives, with few lanes and with many."""
    tried = 0
    for case in cases(entry):
        if not any(case.active):
            continue
        leaves, outs = case.run()
        active = [x for x, on in zip(leaves, case.active, strict=True) if on]
        for out, ct in zip(outs, directions_for(case, rng, 1)[0], strict=True):
            if not out.requires_grad:
                continue
            for count in (2, 33):
                agree(out, active, count, f"{case} {count}")
                tried += 1
            seed = tg_leaf(np.asarray(ct, out.dtype.np), active=False)
            grads = tg.autograd.grad(out, active, seed, create_graph=True, allow_unused=True)
            for g in grads if case.deep else ():
                if g is not None and g.requires_grad:
                    agree(g, active, 3, f"{case} twice")
    assert tried
    assert max(lanes) == 33


def test_float32(lanes: list[int]) -> None:
    x = tg.tensor([[0.5, 1.5, 2.5], [1.0, 2.0, 3.0]], dtype=tg.float32, requires_grad=True)
    y = (x.exp() @ x.transpose(0, 1)).log() * x[:, :2]
    cts = tg.tensor(rng.normal(size=(5, 2, 2)), dtype=tg.float32)
    (found,) = tg.autograd.grad(y, x, cts, is_grads_batched=True, retain_graph=True)
    assert found.dtype is tg.float32
    for b in range(5):
        (alone,) = tg.autograd.grad(y, x, cts[b], retain_graph=True)
        np.testing.assert_allclose(found[b].numpy(), alone.numpy(), rtol=2e-6, atol=1e-6)
    assert lanes == [5]


VIEWS = {
    "slice": lambda x: x[1:] * x[:-1],
    "step": lambda x: x[::2].exp(),
    "transposed": lambda x: x.T.sin() @ x,
    "loop": lambda x: sum(x[i] * x[i - 1, 0] for i in range(4)),
    "expanded": lambda x: (x[:, :1].expand(4, 3) * x).sum(0),
    "select": lambda x: x[2, 1] * x[2],
    "reshape": lambda x: x.reshape(2, 6).exp().reshape(12)[3:9],
    "gather": lambda x: x[[0, 0, 3]] * x[1],
    "diagonal": lambda x: x[:3].diagonal() * x.sum(),
    "flip": lambda x: x.flip(0).cumsum(1),
    "sort": lambda x: x.sort(0).values * 2 + x.topk(2, 0).values.sum(0),
    "where": lambda x: tg.where(x > 0, x.sqrt(), -x),
    "matrices": lambda x: (x.unsqueeze(0) @ x.T.unsqueeze(0)).sum(2) @ x,
    "batch": lambda x: tg.bmm(x.reshape(2, 2, 3), x.reshape(2, 3, 2)),
    "left": lambda x: x[0] @ x.reshape(2, 3, 2),
    "norm": lambda x: x / x.norm(dim=1, keepdim=True),
    "softmax": lambda x: x.softmax(1) + x.logsumexp(0),
    "std": lambda x: (x - x.mean(0)) / x.std(0),
    "prod": lambda x: x.prod(0) + x.cumprod(0),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("count", [2, 40])
def test_views_and_products(name: str, count: int, lanes: list[int]) -> None:
    x = tg.tensor(rng.uniform(0.5, 1.5, (4, 3)), requires_grad=True)
    h = x * 1.5  # also through a result, which has an adjoint of its own
    agree(VIEWS[name](h), [x], count)
    agree(VIEWS[name](x), [x], count)
    assert set(lanes) == {count}


@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.smoke
def test_writes(count: int) -> None:
    x = tg.tensor(rng.normal(size=(3, 4)), requires_grad=True)
    v = tg.tensor(rng.normal(size=4), requires_grad=True)
    h = x.sin()
    h[1] = v * v
    h[:, 2] += v[:3]
    h[0, 0] = 5.0
    h *= 2
    agree(h @ v, [x, v], count)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0), (1, 3, 1)])
def test_shapes(shape: tuple[int, ...]) -> None:
    x = tg.tensor(rng.uniform(0.5, 1.5, shape), requires_grad=True)
    agree((x * x).exp(), [x], 6)
    agree((x * x).sum(), [x], 6)


def test_large_tensors_take_fewer_lanes(lanes: list[int]) -> None:
    x = tg.tensor(rng.normal(size=100_000), requires_grad=True)
    agree(x.sin() * x, [x], 12)
    assert lanes == [5]  # 800,000 bytes each, 4 MiB together; then 5 and 2 more


@pytest.mark.parametrize("sizes", [(1, 7, 5), (40, 3, 50), (3, 64, 64), (64, 64, 1)])
@pytest.mark.parametrize("transposed", ["", "x", "y", "xy"])
def test_products_of_any_stride(sizes: tuple[int, int, int], transposed: str) -> None:
    m, k, p = sizes
    x = rng.normal(size=(k, m) if "x" in transposed else (m, k))
    y = rng.normal(size=(p, k) if "y" in transposed else (k, p))
    a, b = tg.tensor(x, requires_grad=True), tg.tensor(y, requires_grad=True)
    out = (a.T if "x" in transposed else a) @ (b.T if "y" in transposed else b)
    agree(out, [a, b], 7)
    agree(out.T, [a, b], 7)


def test_vmap_of_a_pullback_is_one_pass(lanes: list[int]) -> None:
    def function(p: Any) -> Any:
        return {"y": p["a"].sin() @ p["b"], "s": p["a"].sum(1)}

    p = {"a": tg.tensor(rng.normal(size=(3, 4))), "b": tg.tensor(rng.normal(size=(4, 2)))}
    _, pull = tg.func.vjp(function, p)
    cts = {"y": tg.tensor(rng.normal(size=(3, 2, 6))), "s": tg.tensor(rng.normal(size=(3, 6)))}
    (found,) = tg.func.vmap(pull, in_dims=({"y": 2, "s": 1},), out_dims=1)(cts)
    for b in range(6):
        (alone,) = pull({"y": cts["y"][..., b], "s": cts["s"][:, b]})
        for name in p:
            np.testing.assert_allclose(found[name][:, b].numpy(), alone[name].numpy(), rtol=1e-12)
    _, pull = tg.func.vjp(lambda a: a.sin(), tg.tensor([0.1, 0.2, 0.3]))
    (rows,) = tg.func.vmap(pull)(tg.eye(3))
    np.testing.assert_allclose(rows.numpy(), np.diag(np.cos([0.1, 0.2, 0.3])))
    assert lanes == [6, 3]


def test_targets_that_are_not_leaves(lanes: list[int]) -> None:
    x = tg.tensor(rng.normal(size=(3, 4)), requires_grad=True)
    h = x.sin()
    view = h[1:]
    y = h @ h.T + (view * view).sum()
    unused = x * 2
    agree(y, [h, x], 9)
    agree(y, [view, x, h], 9)
    agree(y, [unused, h], 9)
    agree(y, [h.T], 9)
    assert set(lanes) == {9}


@pytest.mark.smoke
def test_several_roots(lanes: list[int]) -> None:
    x = tg.tensor(rng.normal(size=(3, 4)), requires_grad=True)
    a, b = x.sin(), (x * x).sum(0)
    cts = [tg.tensor(rng.normal(size=(5, 3, 4))), tg.tensor(rng.normal(size=(5, 4)))]
    (found,) = tg.autograd.grad([a, b], x, cts, is_grads_batched=True, retain_graph=True)
    for k in range(5):
        (alone,) = tg.autograd.grad([a, b], x, [ct[k] for ct in cts], retain_graph=True)
        np.testing.assert_allclose(found[k].numpy(), alone.numpy(), rtol=1e-12, atol=1e-14)
    assert lanes == [5]


def test_freed_and_stale_graphs_raise_as_ever() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    eye = tg.eye(2)
    tg.autograd.grad(y, x, eye, is_grads_batched=True)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        tg.autograd.grad(y, x, eye, is_grads_batched=True)
    h = x * 2
    y = h * h
    h += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        tg.autograd.grad(y, x, eye, is_grads_batched=True)


def test_no_memory_stays_behind() -> None:
    x = tg.tensor(rng.normal(size=1000), requires_grad=True)
    tape = tg.current_tape()

    def run() -> None:
        y = (x.sin() * x).reshape(10, 100).sum(0)
        tg.autograd.grad(y, x, tg.eye(100), is_grads_batched=True)

    run()
    tape.collect()
    before = tape.state[nt.S_OWNED_BYTES]
    rows = ITAB.count
    for _ in range(20):
        run()
    tape.collect()
    assert tape.state[nt.S_OWNED_BYTES] == before
    assert ITAB.count == rows
