"""Higher derivatives: repeated grad, Hessian-vector products, dense Jacobians and Hessians."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from racing import Aim, Race, Runner

rng = np.random.default_rng(20260303)


def with_torch(set_up: Callable[[Any], Runner]) -> dict[str, Callable[[], Runner]]:
    """Contenders that run the same program under both libraries, in float64, on one thread."""

    def tapegrad() -> Runner:
        import tapegrad

        return set_up(tapegrad)

    def torch() -> Runner:
        import torch

        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float64)
        try:
            return set_up(torch)
        finally:
            torch.set_default_dtype(torch.float32)

    return {"tapegrad": tapegrad, "torch": torch}


def repeated(order: int) -> Callable[[Any], Runner]:
    """The derivative of tanh(sin(x) exp(x)) of an order, one `grad` an order."""

    def set_up(lib: Any) -> Runner:
        x = lib.tensor(0.3, dtype=lib.float64, requires_grad=True)

        def run() -> tuple[Any, ...]:
            y = lib.tanh(lib.sin(x) * lib.exp(x))
            for k in range(order):
                (y,) = lib.autograd.grad(y, x, create_graph=k + 1 < order)
            return (y.item(),)

        return run

    return set_up


def rosenbrock_hvp(lib: Any) -> Runner:
    """The Hessian of Rosenbrock's function of 1,000 variables times a vector, by double backward."""
    x = lib.tensor(X, dtype=lib.float64, requires_grad=True)
    v = lib.tensor(V, dtype=lib.float64)

    def run() -> tuple[Any, ...]:
        s = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
        (g,) = lib.autograd.grad(s, x, create_graph=True)
        (h,) = lib.autograd.grad((g * v).sum(), x)
        return (h.numpy(),)

    return run


def mlp_hessian(lib: Any) -> Runner:
    """The dense Hessian of a small network's loss in its 100 parameters."""
    data = lib.tensor(DATA, dtype=lib.float64)
    target = lib.tensor(TARGET, dtype=lib.float64)

    def loss(p: Any) -> Any:
        w1, b1, w2 = p[:80].reshape(8, 10), p[80:90], p[90:]
        return ((lib.tanh(data @ w1 + b1) @ w2 - target) ** 2).mean()

    hessian = lib.func.hessian(loss)
    p = lib.tensor(P, dtype=lib.float64)
    return lambda: (hessian(p).detach().numpy(),)


def jacobian(lib: Any) -> Runner:
    """The Jacobian of a function of 100 variables with 100 values."""
    w = lib.tensor(W, dtype=lib.float64)
    x = lib.tensor(P, dtype=lib.float64)

    def function(x: Any) -> Any:
        return lib.tanh(w @ lib.sin(x)) * lib.exp(-x)

    return lambda: (lib.autograd.functional.jacobian(function, x, vectorize=True).numpy(),)


def per_sample(lib: Any) -> Runner:
    """The gradient of a two-layer network's loss for each of 64 samples."""
    p = {name: lib.tensor(value, dtype=lib.float64) for name, value in LAYERS.items()}
    x = lib.tensor(SAMPLES, dtype=lib.float64)
    y = lib.tensor(TARGETS, dtype=lib.float64)

    def loss(p: Any, x: Any, y: Any) -> Any:
        return ((lib.tanh(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"] - y) ** 2).sum()

    gradients = lib.func.vmap(lib.func.grad(loss), in_dims=(None, 0, 0))
    return lambda: tuple(g.numpy() for g in gradients(p, x, y).values())


X, V = rng.uniform(-1, 1, 1000), rng.uniform(-1, 1, 1000)
DATA, TARGET, P = rng.normal(size=(32, 8)), rng.normal(size=32), 0.3 * rng.normal(size=100)
W = rng.normal(size=(100, 100)) / 10
LAYERS = {
    "w1": rng.normal(size=(100, 64)) / 10, "b1": rng.normal(size=64),
    "w2": rng.normal(size=(64, 10)) / 8, "b2": rng.normal(size=10),
}  # fmt: skip
SAMPLES, TARGETS = rng.normal(size=(64, 100)), rng.normal(size=(64, 10))

RACES = {
    "sixth": Race(
        "6th derivative of tanh(sin(x) exp(x))", with_torch(repeated(6)), work=6,
        aims=[Aim("at most 1/8 of torch's time", 1 / 8, to="torch")],
    ),
    "hvp": Race(
        "Hessian-vector product of Rosenbrock's function, 1,000 variables",
        with_torch(rosenbrock_hvp), work=1000,
        aims=[Aim("at most 1/6 of torch's double backward", 1 / 6, to="torch")],
    ),
    "hessian": Race(
        "dense Hessian of a network's loss, 100 parameters", with_torch(mlp_hessian), work=100,
        aims=[Aim("at most 1/8 of torch.func.hessian", 1 / 8, to="torch")],
    ),
    "per-sample": Race(
        "gradients for each of 64 samples, network 100-64-10", with_torch(per_sample), work=64,
        aims=[Aim("at most torch.func's time", 1, to="torch")],
    ),
    "jacobian": Race(
        "Jacobian of 100 -> 100", with_torch(jacobian), work=100,
        aims=[Aim("at most 1/5 of torch's jacobian(vectorize=True)", 1 / 5, to="torch")],
    ),
}  # fmt: skip


# --------------------------------------------------------------------------- forward mode
def elementwise(lib: Any, a: Any) -> Any:
    y = a
    for _ in range(5):
        y = lib.tanh(y * a + 0.1) * lib.sin(a)
    return y


def layers(lib: Any, w: Any) -> Any:
    return lib.tanh(lib.tensor(BATCH) @ w) @ lib.tensor(LAST)


def scalars(lib: Any, a: Any) -> Any:
    y = a
    for _ in range(250):
        y = lib.sin(y * 0.9 + a) * a
    return y


def forward(function: Callable[[Any, Any], Any], at: Any, along: Any) -> dict[str, Any]:
    """A value alone, and with its derivative along a direction."""

    def value() -> Runner:
        import tapegrad as tg

        x = tg.tensor(at)
        return lambda: (function(tg, x).numpy(),)

    def jvp() -> Runner:
        import tapegrad as tg

        x, v = tg.tensor(at), tg.tensor(along)

        def run() -> tuple[Any, ...]:
            y, tangent = tg.func.jvp(lambda a: function(tg, a), (x,), (v,))
            tangent.numpy()
            return (y.numpy(),)

        return run

    return {"tapegrad": jvp, "value alone": value}


BATCH, LAST = rng.normal(size=(256, 784)), rng.normal(size=(256, 10)) / 16
FORWARD = {
    name: Race(
        f"value and directional derivative: {text}", forward(function, at, along), work=1,
        aims=[Aim("at most 4 times the value alone", 4, to="value alone")],
    )
    for name, text, function, at, along in (
        ("elementwise", "25 elementwise ops on 100,000 elements", elementwise,
         rng.normal(size=100_000), rng.normal(size=100_000)),
        ("layers", "two layers, 784-256-10, 256 samples", layers,
         rng.normal(size=(784, 256)) / 28, rng.normal(size=(784, 256))),
        ("scalars", "1,000 scalar ops", scalars, 0.7, 1.0),
    )
}  # fmt: skip


@pytest.mark.parametrize("name", ["tapegrad", "value alone"])
@pytest.mark.parametrize("what", FORWARD)
def test_forward(compete, what, name):
    compete(FORWARD[what], name)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch.func itself
@pytest.mark.parametrize("name", ["tapegrad", "torch"])
@pytest.mark.parametrize("what", RACES)
def test_derivatives(compete, what, name):
    compete(RACES[what], name)
