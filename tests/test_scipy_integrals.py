"""`solve_ivp` and `quad`: results as with derivatives by hand, derivatives by Leibniz' rule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

integrate = pytest.importorskip("scipy.integrate")
from tapegrad.scipy import quad, solve_ivp  # noqa: E402


def robertson(t: Any, y: Any, k: Any) -> Any:
    a, b, c = k[0] * y[0], k[1] * y[1] * y[2], k[2] * y[1] ** 2
    return np.stack([b - a, a - b - c, c])


def robertson_jac(t: Any, y: Any, k: Any) -> Any:
    return np.array(
        [
            [-k[0], k[1] * y[2], k[1] * y[1]],
            [k[0], -k[1] * y[2] - 2 * k[2] * y[1], -k[1] * y[1]],
            [0, 2 * k[2] * y[1], 0],
        ]
    )


RATES = np.array([0.04, 1e4, 3e7])


@pytest.mark.parametrize("method", ["RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA"])
def test_methods_do_as_with_a_jacobian_by_hand(method: str) -> None:
    options: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-9, "args": (RATES,)}
    span, jac = (0, 1e3), {"jac": robertson_jac}
    if method in ("RK23", "RK45", "DOP853"):
        span, jac = (0, 0.01), {}
    hand = integrate.solve_ivp(robertson, span, [1.0, 0, 0], method, **options, **jac)
    ours = solve_ivp(robertson, span, [1.0, 0, 0], method, **options)
    assert ours.success
    assert (ours.nfev, ours.njev, ours.nlu) == (hand.nfev, hand.njev, hand.nlu)
    np.testing.assert_allclose(ours.t, hand.t, rtol=1e-6)
    np.testing.assert_allclose(ours.y, hand.y, rtol=1e-6, atol=1e-12)
    if jac:
        given = solve_ivp(robertson, span, [1.0, 0, 0], method, **options, **jac)
        np.testing.assert_allclose(given.y[:, -1], hand.y[:, -1], rtol=1e-6)


def test_containers_events_and_dense_output() -> None:
    def fall(t: Any, s: Any, g: float) -> Any:
        return {"position": s["speed"], "speed": tg.stack([tg.zeros(()), -g * tg.ones(())])}

    def ground(t: float, s: Any, g: float) -> Any:
        return s["position"][1]

    ground.terminal, ground.direction = True, -1  # type: ignore[attr-defined]
    start = {"position": np.array([0.0, 5.0]), "speed": np.array([1.0, 0.0])}
    for method in ("RK45", "BDF"):
        ours = solve_ivp(
            fall, (0, 10), start, method, events=ground, args=(10.0,), dense_output=True, rtol=1e-9
        )
        assert ours.status == 1
        assert ours.t_events[0][0] == pytest.approx(1, rel=1e-6)
        assert ours.y["position"].shape == (2, len(ours.t))
        assert ours.y_events[0]["position"].shape == (2, 1)
        np.testing.assert_allclose(ours.sol(0.5)["position"], [0.5, 3.75], rtol=1e-6)
        assert ours.sol(np.array([0.1, 0.5]))["speed"].shape == (2, 2)


def test_equations_with_complex_numbers_and_given_times() -> None:
    for method in ("RK45", "BDF"):
        ours = solve_ivp(lambda t, y: 1j * y, (0, 1), [1 + 0j], method, t_eval=[0, 1], rtol=1e-6)
        assert ours.y[0, 1] == pytest.approx(np.exp(1j), rel=1e-3)
    ours = solve_ivp(lambda t, y: -y * t, (0, 1), tg.ones(2, 2), vectorized=True)
    assert isinstance(ours.y, tg.Tensor)
    assert ours.y.shape == (2, 2, len(ours.t))


def test_wrong_systems_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"solve_ivp: `<lambda>` must return 2 numbers.*returned 1"
    ):
        solve_ivp(lambda t, y: y[0], (0, 1), [1.0, 2.0])
    with pytest.raises(
        ValueError, match=r"solve_ivp: `<lambda>` returned \[nan\] at t = 0, y = \[-1"
    ):
        solve_ivp(lambda t, y: y.log(), (0, 1), [-1.0])
    w = tg.tensor(1.0, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"requires grad.*tg\.odeint"):
        solve_ivp(lambda t, y: y * w, (0, 1), [-1.0])
    with pytest.raises(ValueError, match="`method` must be one of"):
        solve_ivp(lambda t, y: y, (0, 1), [1.0], "Euler")


# --------------------------------------------------------------------------- quad
def decay(x: Any, k: Any) -> Any:
    return tg.exp(-k * x)


def integral(a: Any, b: Any, k: Any) -> Any:
    return quad(decay, a, b, (k,))[0]


def exact(a: Any, b: Any, k: Any) -> Any:
    return (tg.exp(-k * a) - tg.exp(-k * b)) / k


def test_values_are_scipys() -> None:
    hand = integrate.quad(lambda x, k: math.exp(-k * x), 0, 2, (1.5,))
    ours = quad(decay, 0, 2, (1.5,))
    assert ours == pytest.approx(hand)
    assert type(ours[0]) is float
    assert isinstance(quad(decay, 0, 2, (tg.tensor(1.5),))[0], tg.Tensor)
    assert quad(decay, 0, 2, 1.5)[0] == pytest.approx(hand[0])
    full = quad(decay, 0, 2, (1.5,), full_output=1)
    assert full[2]["neval"] == 21
    assert quad(lambda x: np.sin(x), 0, np.pi)[0] == pytest.approx(2)
    assert quad(lambda x: abs(x - 0.3) ** 0.5, 0, 1, points=[0.3])[0] == pytest.approx(
        0.49998, rel=1e-4
    )


def test_derivatives_of_any_order() -> None:
    point = (0.2, 1.3, 0.7)
    everything = (0, 1, 2)
    for transform in (tg.grad, tg.hessian):
        mine, closed = transform(integral, everything)(*point), transform(exact, everything)(*point)
        np.testing.assert_allclose(mine, closed, rtol=1e-9, atol=1e-12)
    third = [tg.grad(tg.grad(tg.grad(f, 2), 2), 1)(*point) for f in (integral, exact)]
    assert third[0].item() == pytest.approx(third[1].item(), rel=1e-9)
    forward = [tg.jvp(f, point, (1.0, -2.0, 0.5))[1].item() for f in (integral, exact)]
    assert forward[0] == pytest.approx(forward[1], rel=1e-9)
    ends = [tg.tensor(v, requires_grad=True) for v in point]
    assert tg.autograd.gradcheck(integral, ends, check_forward_ad=True)
    assert tg.autograd.gradgradcheck(integral, ends)


def test_containers_of_arguments_and_infinite_limits() -> None:
    p = {"w": np.array([0.5, 1.0, 2.0]), "n": 2, "name": "mixture"}

    def mixture(x: Any, p: Any) -> Any:
        return (tg.exp(-p["w"] * x) * p["n"]).sum()

    gradient = tg.grad(lambda p: quad(mixture, 0, np.inf, (p,))[0])(p)
    np.testing.assert_allclose(gradient["w"], -2 / p["w"] ** 2, rtol=1e-7)
    assert gradient["n"] is None
    ends = tg.grad(lambda a, b: quad(mixture, a, b, (p,))[0], (0, 1))(0.0, math.inf)
    assert [g.item() for g in ends] == [-6, 0]


def test_vmap() -> None:
    k = tg.tensor([0.5, 1.0, 2.0])
    np.testing.assert_allclose(
        tg.vmap(lambda k: integral(0.0, 1.0, k))(k), exact(tg.zeros(()), tg.ones(()), k)
    )
    slopes = tg.vmap(tg.grad(lambda k: integral(0.0, 1.0, k)))(k)
    expected = [tg.grad(lambda k: exact(tg.zeros(()), tg.ones(()), k))(v) for v in k]
    np.testing.assert_allclose(slopes, expected, rtol=1e-9)


def test_weights() -> None:
    point = [tg.tensor(v, requires_grad=True) for v in (0.1, 1.2, 0.7)]
    for weight in ("cos", "sin"):
        weighted = lambda a, b, k: quad(decay, a, b, (k,), weight=weight, wvar=3.0)[0]  # noqa: B023, E731
        assert tg.autograd.gradcheck(weighted, point)
    slope = tg.grad(lambda k: quad(decay, 0, 1, (k,), weight="alg", wvar=(0, -0.5))[0])(0.7)
    direct = quad(lambda x: -x * tg.exp(-0.7 * x), 0, 1, weight="alg", wvar=(0, -0.5))[0]
    assert slope.item() == pytest.approx(direct, rel=1e-7)
    with pytest.raises(tg.UnsupportedError, match=r"weight=.alg.*no derivative by the limits"):
        tg.grad(lambda b: quad(decay, 0, b, (0.7,), weight="alg", wvar=(0, -0.5))[0])(1.0)


def test_wrong_integrands_are_named() -> None:
    with pytest.raises(ValueError, match=r"quad: `<lambda>` returned nan at x = -0.5"):
        quad(lambda x: x.log(), -1, 0)
    with pytest.raises(ValueError, match=r"quad: `<lambda>` must return a number, and returned 2"):
        quad(lambda x: tg.stack([x, x]), 0, 1)
    with pytest.warns(integrate.IntegrationWarning):
        quad(lambda x: 1 / x.abs(), -1, 1.5)
    w = tg.tensor(1.0, requires_grad=True)
    for call in (
        lambda b: quad(lambda x: x * w, 0, b)[0],
        tg.grad(lambda b: quad(lambda x: x * w, 0, b)[0]),
    ):
        with pytest.raises(
            RuntimeError, match=r"uses a tensor that requires grad.*pass it in args"
        ):
            call(1.0)
    with tg.no_grad():
        assert quad(lambda x: x * w, 0, 2)[0] == pytest.approx(2)


def test_constants_are_integrated() -> None:
    assert quad(lambda x: 2.0, 0, 3)[0] == 6
    assert tg.grad(lambda b: quad(lambda x, c: c, 0, b, (2.0,))[0])(3.0).item() == 2
    for method in ("RK45", "Radau"):
        ours = solve_ivp(lambda t, y: [1.0, 2.0], (0, 1), [0.0, 0.0], method)
        np.testing.assert_allclose(ours.y[:, -1], [1, 2])
