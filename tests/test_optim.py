"""Optimizers beside PyTorch's, their errors, and graphs that a step makes stale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapegrad as tg

CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "maximize": True, "lr": 1e-3}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("Adam", {"maximize": True}),
    ("AdamW", {}),
    ("AdamW", {"amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"momentum": 0.5, "centered": True, "weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.2, "weight_decay": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"weight_decay": 0.1, "lr": 0.5}),
    ("Adamax", {}),
    ("Adamax", {"weight_decay": 0.1}),
    ("NAdam", {}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"weight_decay": 0.1}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("LBFGS", {"max_iter": 3, "lr": 0.1}),
    ("LBFGS", {"line_search_fn": "strong_wolfe", "max_iter": 4, "history_size": 2}),
]


def trained(lib: Any, name: str, options: dict[str, Any], dtype: str, steps: int = 100) -> Any:
    """Parameters and optimizer after some steps of a curve fit, with one step in two groups."""
    rng = np.random.default_rng(0)
    kind = getattr(lib, dtype)
    x = lib.tensor(rng.normal(size=(12, 4)), dtype=kind)
    y = lib.tensor(rng.normal(size=12), dtype=kind)
    w = lib.tensor(rng.normal(size=4), dtype=kind, requires_grad=True)
    b = lib.tensor(0.3, dtype=kind, requires_grad=True)
    groups: Any = [w, b] if name == "LBFGS" else [{"params": [w]}, {"params": b, "lr": 2e-3}]
    optimizer = getattr(lib.optim, name)(groups, **options)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = ((lib.tanh(x @ w) + b - y) ** 2).mean() + 0.05 * (w * w).sum()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return [w.detach().numpy(), b.detach().numpy()], optimizer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_numbers_are_torchs(name: str, options: dict[str, Any], dtype: str) -> None:
    torch = pytest.importorskip("torch")
    ours, a = trained(tg, name, options, dtype)
    theirs, b = trained(torch, name, options, dtype)
    tolerance = 3e-5 if dtype == "float32" else 1e-12
    if name == "NAdam":  # a product of momenta is kept in the default dtype, which is float32 there
        tolerance = max(tolerance, 1e-8)
    if name == "LBFGS":
        tolerance = 1e-3 if dtype == "float32" else 1e-7
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)
    assert repr(a) == repr(b)
    if name != "LBFGS":
        assert [set(s) for s in a.state.values()] == [set(s) for s in b.state.values()]


@pytest.mark.parametrize(("name", "options"), CASES[:-2], ids=str)
def test_a_loaded_state_goes_on(name: str, options: dict[str, Any]) -> None:
    w = [tg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2)]
    first = getattr(tg.optim, name)([w[0]], **options)
    for _ in range(3):
        w[0].grad = w[0].detach() * 2
        first.step()
    with tg.no_grad():
        w[1].copy_(w[0])
    second = getattr(tg.optim, name)([w[1]], **{**options, "lr": 0.5})
    second.load_state_dict(first.state_dict())
    for p, optimizer in zip(w, (first, second), strict=True):
        for _ in range(3):
            p.grad = p.detach() * 2
            optimizer.step()
    assert w[0].tolist() == w[1].tolist()


@pytest.mark.parametrize(("name", "options"), CASES[:-2], ids=str)
def test_large_transposed_and_complex_memory(name: str, options: dict[str, Any]) -> None:
    """Blocks, memory in another order and pairs of numbers give what small dense memory gives."""
    rng = np.random.default_rng(1)
    a, g = rng.normal(size=(2, 120, 160))
    results = []
    for form in range(3):
        p = [tg.tensor(a), tg.tensor(a.T.copy()).t(), tg.tensor(a[:, ::2] + 1j * a[:, 1::2])][form]
        p = p.detach().requires_grad_()
        p.grad = tg.tensor(g if form < 2 else g[:, ::2] + 1j * g[:, 1::2])
        optimizer = getattr(tg.optim, name)([p], **options)
        optimizer.step()
        optimizer.step()
        n = p.detach().numpy()
        results.append(n if form < 2 else np.stack([n.real, n.imag], -1).reshape(a.shape))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize("name", ["SGD", "Adam", "LBFGS"])
def test_a_step_makes_the_graph_before_stale(name: str) -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    optimizer = getattr(tg.optim, name)([w])
    loss = (w * w).sum()
    w.grad = tg.ones(2)
    before = w._version
    optimizer.step(lambda: tg.tensor(1.0))
    assert w._version > before
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_pending_statements_see_the_values_before_a_step() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    y = w + 1
    w.grad = tg.ones(2)
    tg.optim.SGD([w], lr=1.0).step()
    assert y.tolist() == [2.0, 3.0]
    assert (w + 1).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "AdamW", "NAdam", "RAdam"])
def test_a_step_is_differentiable(name: str) -> None:
    w = tg.tensor([1.0, 2.0], dtype=tg.float64, requires_grad=True)

    def moved(w: Any, differentiable: bool) -> Any:
        p = w.clone()
        optimizer = getattr(tg.optim, name)([p], lr=0.1, differentiable=differentiable)
        for _ in range(2):
            p.retain_grad()
            p.grad = 3 * p.clone() ** 2
            optimizer.step()
        return p

    assert tg.autograd.gradcheck(lambda w: moved(w, True), (w,))


def test_rates_as_tensors_have_gradients() -> None:
    rate = tg.tensor(0.1, dtype=tg.float64, requires_grad=True)
    p = tg.tensor([1.0, 2.0], dtype=tg.float64, requires_grad=True).clone()
    p.retain_grad()
    p.grad = tg.tensor([3.0, 4.0], dtype=tg.float64)
    tg.optim.SGD([p], lr=rate, differentiable=True).step()
    p.sum().backward()
    assert rate.grad.item() == -7.0


ERRORS: list[tuple[Any, type[Exception], str]] = [
    (lambda o, p: o.SGD([]), ValueError, "optimizer got an empty parameter list"),
    (lambda o, p: o.SGD(p), TypeError, "params argument given to the optimizer"),
    (lambda o, p: o.SGD([3]), TypeError, "optimizer can only optimize Tensors, but one of the params is int"),
    (lambda o, p: o.SGD([p * 2]), ValueError, "can't optimize a non-leaf Tensor"),
    (lambda o, p: o.SGD([p], lr=-1), ValueError, "Invalid learning rate: -1"),
    (lambda o, p: o.SGD([p], momentum=-1), ValueError, "Invalid momentum value: -1"),
    (lambda o, p: o.SGD([p], weight_decay=-1), ValueError, "Invalid weight_decay value: -1"),
    (lambda o, p: o.SGD([p], nesterov=True), ValueError, "Nesterov momentum requires"),
    (lambda o, p: o.Adam([p], betas=(1.0, 0.9)), ValueError, "Invalid beta parameter at index 0: 1.0"),
    (lambda o, p: o.Adam([p], betas=(0.9, -0.1)), ValueError, "Invalid beta parameter at index 1: -0.1"),
    (lambda o, p: o.Adam([p], eps=-1), ValueError, "Invalid epsilon value: -1"),
    (lambda o, p: o.Adadelta([p], rho=2), ValueError, "Invalid rho value: 2"),
    (lambda o, p: o.NAdam([p], momentum_decay=-1), ValueError, "Invalid momentum_decay value: -1"),
    (lambda o, p: o.RMSprop([p], alpha=-1), ValueError, "Invalid alpha value: -1"),
    (lambda o, p: o.LBFGS([{"params": p}, {"params": p.clone().detach()}]), ValueError, "LBFGS"),
    (lambda o, p: o.SGD([{"params": {p}}]), TypeError, "organized in ordered collections"),
    (lambda o, p: o.SGD([{"params": [p]}, {"params": [p]}]), ValueError, "more than one parameter group"),
    (lambda o, p: o.SGD([p]).add_param_group([p]), TypeError, "param_group must be a dict, but got"),
    (lambda o, p: o.SGD([p]).load_state_dict({"state": {}, "param_groups": []}), ValueError,
     "loaded state dict has a different number of parameter groups"),
    (lambda o, p: o.SGD([p]).load_state_dict({"state": {}, "param_groups": [{"params": []}]}), ValueError,
     "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors_are_torchs(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as ours:
        call(tg.optim, tg.tensor([1.0], requires_grad=True))
    assert text in str(ours.value)
    torch = pytest.importorskip("torch")
    with pytest.raises(kind) as theirs:
        call(torch.optim, torch.tensor([1.0], requires_grad=True))
    assert str(ours.value).split(" got ")[0] == str(theirs.value).split(" got ")[0]


def test_a_state_of_another_shape_changes_nothing() -> None:
    w, v = tg.tensor([1.0], requires_grad=True), tg.tensor([1.0, 2.0], requires_grad=True)
    first = tg.optim.Adam([w, v])
    w.grad, v.grad = tg.ones(1), tg.ones(2)
    first.step()
    second = tg.optim.Adam([w, v.detach().reshape(2, 1).requires_grad_()])
    second.load_state_dict(first.state_dict())
    second.param_groups[0]["params"][1].grad = tg.ones(2, 1)
    before = w.tolist()
    with pytest.raises(RuntimeError, match="must match the size of tensor b"):
        second.step()
    assert w.tolist() == before


def test_hooks_and_subclasses() -> None:
    w = tg.tensor([1.0], requires_grad=True)
    seen: list[str] = []

    class Halving(tg.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": tg.optim.optimizer.required})

        def step(self, closure: Any = None) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.mul_(0.5)

    with pytest.raises(
        ValueError, match="didn't specify a value of required optimization parameter lr"
    ):
        Halving([w])
    optimizer = Halving([{"params": [w], "lr": 1.0}])
    before = optimizer.register_step_pre_hook(lambda *args: seen.append("before"))
    optimizer.register_step_post_hook(lambda *args: seen.append("after"))
    optimizer.step()
    before.remove()
    optimizer.step()
    assert seen == ["before", "after", "after"]
    assert w.item() == 0.25
    w.grad = tg.ones(1)
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0.0]
    optimizer.zero_grad()
    assert w.grad is None
