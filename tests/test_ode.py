"""`tg.odeint`, `tg.odeint_adjoint`: solutions beside SciPy's, derivatives beside finite differences."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.ode.steppers import stepper_of

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def lotka_volterra(t: Any, y: Any, p: Any) -> Any:
    u, v = y
    return tg.stack([p[0] * u - p[1] * u * v, p[3] * u * v - p[2] * v])


def van_der_pol(t: Any, y: Any) -> Any:
    return tg.stack([y[1], 1000.0 * (1 - y[0] ** 2) * y[1] - y[0]])


def robertson(t: Any, y: Any) -> Any:
    a, b, c = 0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] ** 2
    return tg.stack([b - a, a - b - c, c])


def pendulum(t: Any, y: Any) -> Any:
    return tg.stack([y[1], -tg.sin(y[0]) - 0.1 * y[1] + 0.3 * tg.cos(t)])


def reference(f: Any, y0: list[float], t: Any, method: str = "DOP853") -> np.ndarray:
    integrate = pytest.importorskip("scipy.integrate")

    compiled = tg.jit(lambda both: f(both[0], both[1:]))

    def rates(t: float, y: np.ndarray) -> np.ndarray:
        return np.asarray(compiled(np.append(t, y)))

    span = float(t[0]), float(t[-1])
    done = integrate.solve_ivp(rates, span, y0, method=method, rtol=1e-12, atol=1e-14, t_eval=t)
    return np.asarray(done.y.T)


P = tg.tensor([1.5, 1.0, 3.0, 1.0])
PROBLEMS = {
    "lotka_volterra": (lambda t, y: lotka_volterra(t, y, P), [1.0, 1.0], np.linspace(0, 6, 31)),
    "pendulum": (pendulum, [2.0, 0.0], np.linspace(0, 10, 21)),
    "backwards": (pendulum, [2.0, 0.0], np.linspace(3, -1, 21)),
    "exponential": (lambda t, y: -y, [2.0, 1.0], np.array([0.0, 0.01, 5.0])),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("method", ["dopri5", "rodas4"])
def test_solutions_are_scipys(name: str, method: str) -> None:
    f, y0, t = PROBLEMS[name]
    tolerances = TIGHT if method == "dopri5" else {"rtol": 1e-8, "atol": 1e-10}
    y = tg.odeint(f, tg.tensor(y0), t, method=method, **tolerances)
    assert np.allclose(
        y.numpy(), reference(f, y0, t), rtol=1e-8, atol=1e-8 if method == "dopri5" else 1e-6
    )


def test_stiff_solutions_are_scipys() -> None:
    t = np.array([0.0, 0.4, 4.0, 40.0, 400.0])
    y = tg.odeint(robertson, tg.tensor([1.0, 0.0, 0.0]), t, method="rodas4", rtol=1e-9, atol=1e-13)
    assert np.allclose(
        y.numpy(), reference(robertson, [1.0, 0.0, 0.0], t, "Radau"), rtol=1e-8, atol=1e-9
    )
    t = np.array([0.0, 500.0, 1000.0])
    y = tg.odeint(van_der_pol, tg.tensor([2.0, 0.0]), t, method="rodas4", rtol=1e-9, atol=1e-10)
    assert np.allclose(
        y.numpy(), reference(van_der_pol, [2.0, 0.0], t, "Radau"), rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize(
    ("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4), ("dopri5", 5), ("rodas4", 4)]
)
def test_orders_of_methods(method: str, order: int) -> None:
    stepper = stepper_of(method)

    def f(t: Any, y: Any) -> Any:
        return tg.stack([-(y[0] ** 2) * t, y[0] * y[1] - tg.sin(t) * y[1]])

    exact = reference(f, [1.0, 0.5], np.array([0.0, 1.0]))[-1]
    errors = []
    for n in (8, 16):
        y = tg.tensor([1.0, 0.5])
        for i in range(n):
            t, h = tg.tensor(i / n), tg.tensor(1 / n)
            y = stepper.advance(f, t, h, y).state
        errors.append(np.abs(y.numpy() - exact).max())
    assert np.log2(errors[0] / errors[1]) > order - 0.2


# --------------------------------------------------------------------------- derivatives
def differences(f: Any, x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    columns = [(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(len(x))]
    return np.stack(columns, -1)


def forced(t: Any, y: Any, p: Any) -> Any:
    return lotka_volterra(t, y, p) + 0.1 * tg.sin(t)


T = np.linspace(0, 3, 7)
WEIGHTS = tg.tensor(np.random.default_rng(0).normal(size=(7, 2)))


@pytest.mark.parametrize("solve", [tg.odeint, tg.odeint_adjoint])
def test_gradients_of_parameters_state_and_times(solve: Any) -> None:
    values = [np.array([1.5, 1.0, 3.0, 1.0]), np.array([1.0, 1.2]), T]

    def loss(solve: Any, p: Any, y0: Any, t: Any) -> Any:
        return (solve(lambda t, y: forced(t, y, p), y0, t, **TIGHT) * WEIGHTS).sum()

    leaves = [tg.tensor(x, requires_grad=True) for x in values]
    gradients = tg.autograd.grad(loss(solve, *leaves), leaves)
    for i, gradient in enumerate(gradients):

        def by(x: np.ndarray, i: int = i) -> float:
            tensors = [tg.tensor(x if k == i else v) for k, v in enumerate(values)]
            return float(loss(tg.odeint, *tensors))

        assert np.allclose(gradient.numpy(), differences(by, values[i]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", ["dopri5", "rodas4", "rk4"])
def test_second_derivatives_and_forward_mode(method: str) -> None:
    kwargs = {} if method == "rk4" else {"rtol": 1e-8, "atol": 1e-10}

    def last(p: Any) -> Any:
        y = tg.odeint(forced, tg.tensor([1.0, 1.2]), T, args=(p,), method=method, **kwargs)
        return (y[-1] ** 2).sum()

    p = tg.tensor([1.5, 1.0, 3.0, 1.0])
    gradient = tg.grad(last)
    hessian = tg.hessian(last)(p)
    tolerance = 1e-6 if method == "rk4" else 1e-4
    expected = differences(lambda x: gradient(tg.tensor(x)).detach().numpy(), p.numpy())
    assert np.allclose(hessian.detach().numpy(), expected, rtol=tolerance, atol=tolerance)
    direction = tg.tensor([1.0, 0.0, -1.0, 2.0])
    _, tangent = tg.jvp(last, (p,), (direction,))
    assert np.isclose(float(tangent), float(gradient(p) @ direction), rtol=1e-9)


def test_stiff_gradient() -> None:
    rates = np.array([0.04, 1e4, 3e7])

    def last(scale: Any) -> Any:
        def f(t: Any, y: Any) -> Any:
            k = scale * tg.tensor(rates)
            a, b, c = k[0] * y[0], k[1] * y[1] * y[2], k[2] * y[1] ** 2
            return tg.stack([b - a, a - b - c, c])

        y = tg.odeint(
            f, tg.tensor([1.0, 0.0, 0.0]), [0.0, 40.0], method="rodas4", rtol=1e-8, atol=1e-12
        )
        return y[-1, 0]

    scale = np.ones(3)
    gradient = tg.grad(last)(tg.tensor(scale)).detach().numpy()
    expected = differences(lambda x: float(last(tg.tensor(x))), scale, 1e-4)
    assert np.allclose(gradient, expected, rtol=1e-4, atol=1e-7)


def test_second_derivatives_of_the_adjoint_are_refused() -> None:
    rate = tg.tensor(0.5, requires_grad=True)
    y = tg.odeint_adjoint(lambda t, y: -rate * y, tg.tensor([2.0]), [0.0, 1.0])
    with pytest.raises(tg.UnsupportedError, match="has no second derivatives"):
        tg.autograd.grad(y.sum(), rate, create_graph=True)
    with pytest.raises(ValueError, match="cannot be integrated backwards"):
        tg.odeint_adjoint(lambda t, y: -rate * y, tg.tensor([2.0]), [0.0, 1.0], method="rodas4")


def test_adjoint_sees_parameters_of_either_branch() -> None:
    a, b = tg.tensor(1.0, requires_grad=True), tg.tensor(2.0, requires_grad=True)

    def f(t: Any, y: Any) -> Any:
        return -a * y if t < 0.5 else -b * y

    gradients = [
        tg.autograd.grad(solve(f, tg.tensor(1.0), [0.0, 0.5, 1.0])[-1], (a, b))
        for solve in (tg.odeint, tg.odeint_adjoint)
    ]
    for x, y in zip(*gradients, strict=True):
        assert np.isclose(float(x), float(y), rtol=1e-2)
        assert float(x) < -0.05


# --------------------------------------------------------------------------- transforms
def test_vmap_over_initial_states_and_jit() -> None:
    def last(y: Any, method: str) -> Any:
        return tg.odeint(pendulum, y, T, method=method)[-1]

    states = tg.tensor(np.random.default_rng(1).normal(size=(3, 2)))
    for method in ("dopri5", "rk4"):
        batch = tg.vmap(lambda y, method=method: last(y, method))(states)
        assert tg.allclose(batch, tg.stack([last(y, method) for y in states]))
    assert tg.allclose(tg.jit(lambda y: last(y, "rk4"))(states[0]), last(states[0], "rk4"))
    with pytest.raises(tg.UnsupportedError, match="depend on values"):
        tg.jit(lambda y: last(y, "dopri5"))(states[0])


# --------------------------------------------------------------------------- programs
def test_variables_of_a_function_made_anew_are_followed() -> None:
    def solved(rate: Any, factor: float) -> Any:
        return tg.odeint(lambda t, y: -factor * rate * y, tg.tensor([1.0]), [0.0, 1.0], **TIGHT)[-1]

    for rate, factor in ((1.0, 1.0), (2.0, 1.0), (2.0, 0.5), (3.0, 1.0)):
        leaf = tg.tensor(rate, requires_grad=True)
        y = solved(leaf, factor)
        (slope,) = tg.autograd.grad(y.sum(), leaf)
        expected = np.exp(-rate * factor)
        assert np.isclose(y.item(), expected)
        assert np.isclose(slope.item(), -factor * expected)


def test_a_backward_pass_after_another_solve_of_the_same_code() -> None:
    def solved(rate: Any) -> Any:
        return tg.odeint_adjoint(lambda t, y: -rate * y, tg.tensor([1.0]), [0.0, 1.0], **TIGHT)[-1]

    a, b = (tg.tensor(x, requires_grad=True) for x in (1.0, 2.0))
    first, second = solved(a), solved(b)
    assert np.isclose(float(tg.autograd.grad(first.sum(), a)[0]), -np.exp(-1))
    assert np.isclose(float(tg.autograd.grad(second.sum(), b)[0]), -np.exp(-2))


def test_what_cannot_be_compiled_runs_with_a_warning() -> None:
    def f(t: Any, y: Any) -> Any:
        return -y + 0.0 * tg.rand(1)

    with pytest.warns(UserWarning, match="func is not compiled.*draws random numbers"):
        y = tg.odeint(f, tg.tensor([1.0]), [0.0, 1.0])
    assert np.isclose(float(y[-1]), np.exp(-1))
    warnings.simplefilter("ignore")
    with pytest.raises(ValueError, match="give them as adjoint_params"):
        tg.odeint_adjoint(f, tg.tensor([1.0]), [0.0, 1.0])


# --------------------------------------------------------------------------- states and options
def test_containers_dtypes_and_options() -> None:
    y0 = {"x": tg.tensor([1.0, 2.0]), "v": tg.tensor(0.0)}
    y = tg.odeint(lambda t, y: {"x": -y["x"], "v": y["x"].sum()}, y0, [0.0, 1.0], **TIGHT)
    assert y["x"].shape == (2, 2)
    assert y["v"].shape == (2,)
    assert np.isclose(float(y["v"][-1]), 3 * (1 - np.exp(-1)))
    single = tg.odeint(lambda t, y: -y, tg.ones(2, dtype=tg.float32), [0.0, 1.0], rtol=1e-5)
    assert single.dtype is tg.float32
    assert np.allclose(single[-1].numpy(), np.exp(-1), rtol=1e-4)
    t = [0.0, 0.33, 1.0]
    cubic = {"step_size": 0.1, "interp": "cubic"}
    y = tg.odeint(lambda t, y: -y, tg.tensor([1.0]), t, method="rk4", options=cubic)
    assert np.allclose(y[:, 0].numpy(), np.exp(-np.array(t)), atol=1e-5)
    y = tg.odeint(
        lambda t, y: -y, tg.tensor([1.0]), t, method="dopri5", options={"max_step": 0.01}, rtol=1e-3
    )
    assert np.allclose(y[:, 0].numpy(), np.exp(-np.array(t)), rtol=1e-11)
    assert tg.odeint(lambda t, y: -y, tg.tensor([1.0]), [0.0]).shape == (1, 1)


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: tg.odeint(3, tg.ones(2), [0.0, 1.0]), TypeError, "func must be a function"),
    (lambda: tg.odeint(lambda t, y: y, tg.ones(2), [0.0, 1.0], args=3), TypeError, "args must be a tuple"),
    (lambda: tg.odeint(lambda t, y: y, tg.tensor([1]), [0.0, 1.0]), TypeError, "y0 must be of float64"),
    (lambda: tg.odeint(lambda t, y: y, "x", [0.0, 1.0]), TypeError, "y0 must be a Tensor"),
    (lambda: tg.odeint(lambda t, y: y, tg.ones(2), [0.0, 1.0, 0.5]), ValueError, r"t\[1\] = 1 and t\[2\]"),
    (lambda: tg.odeint(lambda t, y: y, tg.ones(2), [[0.0, 1.0]]), ValueError, "t must be one-dim"),
    (lambda: tg.odeint(lambda t, y: y, tg.ones(2), [0.0, np.nan]), ValueError, "t must be finite"),
    (lambda: tg.odeint(lambda t, y: y, tg.ones(2), [0.0, 1.0], method="x"), ValueError, "method must be"),
    (
        lambda: tg.odeint(lambda t, y: y, tg.ones(2), [0.0, 1.0], options={"step_size": 1}),
        ValueError, "options of method 'dopri5' are first_step",
    ),
    (lambda: tg.odeint(lambda t, y: y, tg.ones(2), [0.0, 1.0], rtol=-1), ValueError, "rtol must not be"),
    (lambda: tg.odeint(lambda t, y: y, tg.ones(2), [0.0, 1.0], atol=[1.0] * 3), ValueError, "atol must be"),
    (lambda: tg.odeint(lambda t, y: y[:1], tg.ones(2), [0.0, 1.0]), ValueError, r"shape of y, \(2,\), got"),
    (lambda: tg.odeint(lambda t, y: 1.0, tg.ones(2), [0.0, 1.0]), TypeError, "func must return a Tensor"),
    (lambda: tg.odeint(lambda t, y: y.float(), tg.ones(2), [0.0, 1.0]), TypeError, "dtype of y"),
    (
        lambda: tg.odeint(lambda t, y: (y[0],), (tg.ones(2), tg.ones(1)), [0.0, 1.0]), ValueError,
        "structure of y0",
    ),
    (lambda: tg.odeint(lambda t, y: y.log(), -tg.ones(2), [0.0, 1.0]), RuntimeError, "returned NaN or"),
    (
        lambda: tg.odeint(lambda t, y: (1 - y).log() - 1, tg.tensor([0.5]), [0.0, -2.0]), RuntimeError,
        "returned NaN or infinity at t = -0.2",
    ),
    (lambda: tg.odeint(lambda t, y: y * y, tg.ones(1), [0.0, 2.0]), RuntimeError, "the step size became"),
    (
        lambda: tg.odeint(van_der_pol, tg.tensor([2.0, 0.0]), [0.0, 9.0], options={"max_num_steps": 9}),
        RuntimeError, "max_num_steps",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", BAD, ids=[case[2][:24] for case in BAD])
def test_errors_name_the_argument(case: Any) -> None:
    call, kind, text = case
    with pytest.raises(kind, match=text):
        call()


# --------------------------------------------------------------------------- torchdiffeq
@pytest.mark.parametrize("method", ["dopri5", "rk4", "euler", "midpoint"])
def test_numbers_are_torchdiffeqs(method: str) -> None:
    torch = pytest.importorskip("torch")
    torchdiffeq = pytest.importorskip("torchdiffeq")

    def fall(package: Any) -> Any:
        return lambda t, y: package.stack([y[1], -package.sin(y[0])])

    start = torch.tensor([2.0, 0.0], dtype=torch.float64)
    expected = torchdiffeq.odeint(fall(torch), start, torch.tensor(T), method=method)
    y = tg.odeint(fall(tg), tg.tensor([2.0, 0.0]), T, method=method)
    assert np.allclose(y.numpy(), expected.numpy(), rtol=1e-6 if method == "dopri5" else 1e-13)
