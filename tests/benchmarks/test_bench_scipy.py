"""SciPy's solvers with tapegrad's derivatives, with derivatives by hand, and with torch's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from racing import Aim, Race, Runner

optimize = pytest.importorskip("scipy.optimize")
rng = np.random.default_rng(20261201)

#: calls of a function that one run of a race makes
CALLS = 100


# --------------------------------------------------------------------------- one evaluation
def squares(x: Any) -> Any:
    return (x * x).sum()


def overhead(size: int) -> dict[str, Callable[[], Runner]]:
    """Values and gradients of a sum of squares at many points, as a solver asks for them."""
    points = rng.normal(size=(CALLS, size))

    def tapegrad() -> Runner:
        from tapegrad.scipy.functions import Objective
        from tapegrad.scipy.vectors import Arguments, VectorForm

        objective = Objective(
            "minimize", squares, VectorForm("minimize", points[0]), Arguments("", ())
        )
        objective.start()
        return runner(objective.value, objective.gradient)

    def captured() -> Runner:
        import tapegrad as tg
        from tapegrad.scipy.functions import Objective
        from tapegrad.scipy.vectors import Arguments, VectorForm

        one = tg.ones(())
        objective = Objective(
            "minimize", lambda x: (x * x).sum() * one, VectorForm("minimize", points[0]),
            Arguments("", ()),
        )  # fmt: skip
        objective.start()
        return runner(objective.value, objective.gradient)

    def by_hand() -> Runner:
        return runner(lambda x: float(x.dot(x)), lambda x: 2 * x)

    def runner(value: Callable[..., Any], gradient: Callable[..., Any]) -> Runner:
        def run() -> tuple[Any, ...]:
            for x in points:
                v, g = value(x), gradient(x)
            return v, g

        return run

    return {"by hand": by_hand, "tapegrad": tapegrad, "with a captured tensor": captured}


# --------------------------------------------------------------------------- whole solves
def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def solves(size: int, method: str) -> dict[str, Callable[[], Runner]]:
    """Rosenbrock's function, minimised with gradients from three places."""
    start = np.tile([-1.2, 1.0], size // 2)
    settings: dict[str, Any] = {"method": method, "options": {"maxiter": 5000, "maxfun": 10**6}}
    if method != "L-BFGS-B":
        del settings["options"]["maxfun"]

    def by_hand() -> Runner:
        def run() -> tuple[Any, ...]:
            result = optimize.minimize(optimize.rosen, start, jac=optimize.rosen_der, **settings)
            return (rounded(result.fun),)

        return run

    def tapegrad() -> Runner:
        from tapegrad.scipy import minimize

        return lambda: (rounded(minimize(rosenbrock, start, **settings).fun),)

    def torch() -> Runner:
        import torch

        torch.set_num_threads(1)

        def closure(x: np.ndarray) -> tuple[float, np.ndarray]:
            leaf = torch.tensor(x, requires_grad=True)
            loss = rosenbrock(leaf)
            loss.backward()
            return loss.item(), leaf.grad.numpy()

        return lambda: (rounded(optimize.minimize(closure, start, jac=True, **settings).fun),)

    return {"by hand": by_hand, "tapegrad": tapegrad, "torch": torch}


def rounded(value: float) -> float:
    """A minimum of zero, to the digits that a solver gives it."""
    return round(value, 6)


X = np.linspace(0, 4, 1000)
Y = 2.5 * np.exp(-1.3 * X) + 0.5 + 0.05 * rng.normal(size=1000)


def fits() -> dict[str, Callable[[], Runner]]:
    """An exponential fitted to 1,000 points, with Jacobians from three places."""

    def model(x: Any, a: Any, k: Any, c: Any) -> Any:
        return a * np.exp(-k * x) + c

    def jacobian(x: Any, a: Any, k: Any, c: Any) -> Any:
        e = np.exp(-k * x)
        return np.stack([e, -a * x * e, np.ones_like(x)], axis=1)

    def differences() -> Runner:
        return lambda: (optimize.curve_fit(model, X, Y)[0].round(6),)

    def by_hand() -> Runner:
        return lambda: (optimize.curve_fit(model, X, Y, jac=jacobian)[0].round(6),)

    def tapegrad() -> Runner:
        from tapegrad.scipy import curve_fit

        return lambda: (curve_fit(model, X, Y)[0].round(6),)

    return {"by hand": by_hand, "tapegrad": tapegrad, "differences": differences}


OVERHEAD = {
    size: Race(
        f"value and gradient for SciPy, {size:,} variables, {CALLS} calls", overhead(size), work=CALLS,
        aims=[Aim("at most 20 us a call", 20e-6 * CALLS)],
    )
    for size in (5, 1000)
}  # fmt: skip
SOLVES = {
    f"{method}-{size}": Race(
        f"Rosenbrock's function of {size} variables minimised by {method}", solves(size, method), work=1,
        aims=[
            Aim("at most 1.25 times the time by hand", 1.25, to="by hand"),
            Aim("at most a third of torch's time", 1 / 3, to="torch"),
        ],
    )
    for method, size in (("L-BFGS-B", 4), ("BFGS", 20), ("L-BFGS-B", 200))
}  # fmt: skip
FITS = Race(
    "curve_fit, 3 parameters, 1,000 points", fits(), work=1,
    aims=[Aim("at most 1.25 times the time by hand", 1.25, to="by hand")],
)  # fmt: skip


@pytest.mark.parametrize("name", ["tapegrad", "by hand", "with a captured tensor"])
@pytest.mark.parametrize("size", OVERHEAD)
def test_evaluation(compete, size, name):
    compete(OVERHEAD[size], name)


@pytest.mark.parametrize("name", ["tapegrad", "by hand", "torch"])
@pytest.mark.parametrize("what", SOLVES)
def test_minimize(compete, what, name):
    compete(SOLVES[what], name)


@pytest.mark.parametrize("name", ["tapegrad", "by hand", "differences"])
def test_curve_fit(compete, name):
    compete(FITS, name)
