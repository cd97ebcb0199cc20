"""Differential equations: a fit of the Lotka-Volterra model, and a stiff solve."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from racing import Aim, Race, Runner

TIMES = np.linspace(0.0, 10.0, 50)
TRUTH, START = np.array([1.5, 1.0, 3.0, 1.0]), np.array([1.2, 0.9, 2.7, 1.1])
FIRST, RATE, STEPS = np.array([1.0, 1.0]), 1e-3, 20
TOLERANCES = {"rtol": 1e-6, "atol": 1e-8}


def measured() -> np.ndarray:
    """The states that the parameters are fitted to."""
    from scipy.integrate import solve_ivp

    a, b, c, d = TRUTH
    done = solve_ivp(
        lambda t, y: [a * y[0] - b * y[0] * y[1], d * y[0] * y[1] - c * y[1]], (0, 10), FIRST, t_eval=TIMES,
        rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    return np.ascontiguousarray(done.y.T)


def fit(lib: Any, odeint: Callable[..., Any]) -> Runner:
    """20 steps of gradient descent, written as for PyTorch."""
    data, y0 = (lib.tensor(x, dtype=lib.float64) for x in (measured(), FIRST))
    t = lib.tensor(TIMES, dtype=lib.float64)
    p = lib.tensor(START, dtype=lib.float64, requires_grad=True)

    def rates(t: Any, y: Any) -> Any:
        u, v = y
        return lib.stack([p[0] * u - p[1] * u * v, p[3] * u * v - p[2] * v])

    def run() -> tuple[Any, ...]:
        with lib.no_grad():
            p.copy_(lib.tensor(START, dtype=lib.float64))
        for _ in range(STEPS):
            p.grad = None
            loss = ((odeint(rates, y0, t, **TOLERANCES) - data) ** 2).mean()
            loss.backward()
            with lib.no_grad():
                p.sub_(RATE * p.grad)
        return (p.detach().numpy().copy(),)

    return run


def with_tapegrad() -> Runner:
    import tapegrad as tg

    return fit(tg, tg.odeint)


def with_torchdiffeq() -> Runner:
    torch = pytest.importorskip("torch")
    torchdiffeq = pytest.importorskip("torchdiffeq")
    torch.set_num_threads(1)
    return fit(torch, torchdiffeq.odeint)


def with_diffrax() -> Runner:
    jax = pytest.importorskip("jax")
    diffrax = pytest.importorskip("diffrax")
    jax.config.update("jax_enable_x64", True)
    data = measured()

    def rates(t: Any, y: Any, p: Any) -> Any:
        u, v = y
        return jax.numpy.stack([p[0] * u - p[1] * u * v, p[3] * u * v - p[2] * v])

    def loss(p: Any) -> Any:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(rates), diffrax.Dopri5(), 0.0, 10.0, None, jax.numpy.array(FIRST), args=p,
            saveat=diffrax.SaveAt(ts=jax.numpy.array(TIMES)),
            stepsize_controller=diffrax.PIDController(**TOLERANCES),
        )  # fmt: skip
        return ((solution.ys - data) ** 2).mean()

    gradient = jax.jit(jax.grad(loss))

    def run() -> tuple[Any, ...]:
        p = jax.numpy.array(START)
        for _ in range(STEPS):
            p = p - RATE * gradient(p)
        return (np.asarray(p),)

    return run


def van_der_pol() -> Runner:
    import tapegrad as tg

    y0 = tg.tensor([2.0, 0.0])

    def rates(t: Any, y: Any) -> Any:
        return tg.stack([y[1], 1000.0 * (1 - y[0] ** 2) * y[1] - y[0]])

    def run() -> tuple[Any, ...]:
        y = tg.odeint(rates, y0, [0.0, 2000.0], method="rodas4", rtol=1e-6, atol=1e-8)
        return (y[-1].numpy(),)

    return run


def van_der_pol_by_scipy() -> Runner:
    from scipy.integrate import solve_ivp

    def rates(t: float, y: np.ndarray) -> list[float]:
        return [y[1], 1000.0 * (1 - y[0] ** 2) * y[1] - y[0]]

    def jacobian(t: float, y: np.ndarray) -> list[list[float]]:
        return [[0.0, 1.0], [-2000.0 * y[0] * y[1] - 1, 1000.0 * (1 - y[0] ** 2)]]

    def run() -> tuple[Any, ...]:
        done = solve_ivp(
            rates, (0, 2000), [2.0, 0.0], method="Radau", jac=jacobian, rtol=1e-6, atol=1e-8
        )
        return (done.y[:, -1],)

    return run


RACES = {
    "fit": Race(
        "Lotka-Volterra fit, 20 gradient steps",
        {"tapegrad": with_tapegrad, "torchdiffeq": with_torchdiffeq, "diffrax": with_diffrax},
        work=STEPS, rtol=1e-5,
        aims=[
            Aim("at most 1/10 of torchdiffeq", 1 / 10, to="torchdiffeq"),
            Aim("at most diffrax", 1, to="diffrax"),
        ],
    ),
    "stiff": Race(
        "van der Pol, mu = 1000, solved by a stiff method",
        {"tapegrad": van_der_pol, "scipy": van_der_pol_by_scipy}, work=1, rtol=1e-3,
        aims=[Aim("at most SciPy's Radau with its Jacobian", 1, to="scipy")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ["tapegrad", "torchdiffeq", "diffrax"])
def test_fit(compete: Any, name: str) -> None:
    """Parameters of a model from measurements."""
    compete(RACES["fit"], name)


@pytest.mark.parametrize("name", ["tapegrad", "scipy"])
def test_stiff(compete: Any, name: str) -> None:
    """A stiff solution without derivatives."""
    compete(RACES["stiff"], name)
