"""`root`, `root_scalar`, `least_squares` and `curve_fit` against derivatives by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapegrad as tg

optimize = pytest.importorskip("scipy.optimize")
from tapegrad.scipy import curve_fit, least_squares, root, root_scalar  # noqa: E402


def equations(x: Any, a: float = 1.0) -> Any:
    return np.stack([x[0] + 0.5 * (x[0] - x[1]) ** 3 - a, 0.5 * (x[1] - x[0]) ** 3 + x[1]])


def equations_jac(x: Any, a: float = 1.0) -> Any:
    d = 1.5 * (x[0] - x[1]) ** 2
    return np.array([[1 + d, -d], [-d, 1 + d]])


@pytest.mark.parametrize("method", ["hybr", "lm", "df-sane", "krylov", "broyden1", "anderson"])
def test_root_does_as_with_a_jacobian_by_hand(method: str) -> None:
    jac = equations_jac if method in ("hybr", "lm") else None
    hand = optimize.root(equations, [0.0, 0.0], (1.5,), method=method, jac=jac)
    ours = root(equations, [0.0, 0.0], (1.5,), method=method)
    assert ours.success == hand.success
    if not ours.success:  # SciPy's krylov stands still here
        return
    np.testing.assert_allclose(ours.x, hand.x, rtol=1e-5)
    if jac:
        assert (ours.nfev, ours.njev) == (hand.nfev, hand.njev)
        np.testing.assert_allclose(ours.x, hand.x, rtol=1e-12)


def test_root_of_containers() -> None:
    seen = []

    start = {"a": np.ones((1, 2)), "b": 2.0}
    fun = lambda p: (p["a"].reshape(2) ** 2 - p["b"], p["a"].sum() + p["b"] - 8)  # noqa: E731
    ours = root(fun, start)
    np.testing.assert_allclose(ours.x["a"], [[2, 2]], rtol=1e-9)
    assert ours.x["b"] == pytest.approx(4)
    root(fun, start, method="krylov", callback=lambda x, f: seen.append((x, f)))
    assert seen[0][0]["a"].shape == (1, 2)


def test_root_with_jacobians_that_are_given() -> None:
    expected = root(equations, [0.0, 0.0]).x
    for jac in (equations_jac, False, lambda x: tg.tensor(equations_jac(x))):
        np.testing.assert_allclose(root(equations, [0.0, 0.0], jac=jac).x, expected, rtol=1e-8)
    both = lambda x: (equations(x), equations_jac(x))  # noqa: E731
    np.testing.assert_allclose(root(both, [0.0, 0.0], jac=True).x, expected, rtol=1e-8)
    with pytest.raises(TypeError, match="must return a pair"):
        root(lambda x: x[0], [0.0, 1.0], jac=True)


def test_root_scalar() -> None:
    f = lambda x, a: x**3 - a  # noqa: E731
    for method in ("newton", "halley"):
        orders = {"fprime": lambda x, a: 3 * x * x, "fprime2": lambda x, a: 6 * x}
        if method == "newton":
            orders.pop("fprime2")
        hand = optimize.root_scalar(f, (2.0,), method=method, x0=1.0, **orders)
        ours = root_scalar(f, (2.0,), method=method, x0=1.0)
        assert ours.root == pytest.approx(hand.root, rel=1e-15)
        assert (ours.iterations, ours.function_calls) == (hand.iterations, hand.function_calls)
        assert ours.method == method
        given = root_scalar(f, (2.0,), method=method, x0=1.0, **orders)
        assert given.root == pytest.approx(hand.root, rel=1e-15)
    for method in ("brentq", "bisect", "toms748", None):
        hand = optimize.root_scalar(f, (2.0,), method=method, bracket=(0, 3))
        ours = root_scalar(f, (tg.tensor(2.0),), method=method, bracket=(0, 3))
        assert (ours.root, ours.iterations) == (pytest.approx(hand.root), hand.iterations)
    assert root_scalar(f, (2.0,), x0=1.0).method == "newton"
    assert root_scalar(f, (2.0,), x0=1.0, x1=2.0).method == "secant"
    assert root_scalar(lambda x: (x - 2, 1.0), x0=1.0, fprime=True).root == 2
    with pytest.raises(ValueError, match=r"root_scalar: `<lambda>` returned nan at x = -1"):
        root_scalar(lambda x: x.log(), x0=-1.0)
    with pytest.raises(ValueError, match="does not depend on x"):
        root_scalar(lambda x: 1.0, x0=-1.0)
    with pytest.raises(ValueError, match="different signs"):
        root_scalar(lambda x: x * x + 1, bracket=(0, 1))


T = np.linspace(0, 4, 30)
Y = 2.5 * np.exp(-1.3 * T) + 0.5 + 0.05 * np.sin(9 * T)


def residuals(p: Any, t: Any, y: Any) -> Any:
    return p[0] * np.exp(-p[1] * t) + p[2] - y


def residuals_jac(p: Any, t: Any, y: Any) -> Any:
    e = np.exp(-p[1] * t)
    return np.stack([e, -p[0] * t * e, np.ones_like(t)], axis=1)


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_least_squares_does_as_with_a_jacobian_by_hand(method: str) -> None:
    for loss in ("linear",) if method == "lm" else ("linear", "soft_l1"):
        hand = optimize.least_squares(
            residuals, [1.0, 1.0, 0.0], residuals_jac, method=method, args=(T, Y), loss=loss
        )
        ours = least_squares(residuals, [1.0, 1.0, 0.0], method=method, args=(T, Y), loss=loss)
        assert (ours.nfev, ours.njev) == (hand.nfev, hand.njev)
        np.testing.assert_allclose(ours.x, hand.x, rtol=1e-9)
        np.testing.assert_allclose(ours.jac, hand.jac, rtol=1e-7, atol=1e-9)


def test_least_squares_of_containers_with_bounds_and_keywords() -> None:
    def fun(p: Any, *, offset: float) -> Any:
        return {"fit": p["a"] * tg.exp(-p["k"][0] * T) + p["k"][1] - Y, "prior": p["a"] - offset}

    start = {"a": 1.0, "k": np.array([1.0, 0.0])}
    bounds = ({"a": 0.0, "k": np.array([0.0, -1.0])}, {"a": 2.0, "k": 5.0})
    ours = least_squares(fun, start, bounds=bounds, kwargs={"offset": 2.5})
    assert ours.x["a"] == pytest.approx(2, abs=1e-6)
    assert ours.x["k"].shape == (2,)
    assert ours.jac.shape == (31, 3)
    assert ours.active_mask["a"] == 1
    flat = least_squares(
        lambda x: np.concatenate([residuals(x, T, Y), (x[:1] - 2.5)]), [1.0, 1.0, 0.0],
        bounds=([0, 0, -1], [2, 5, 5]),
    )  # fmt: skip
    np.testing.assert_allclose([ours.x["a"], *ours.x["k"]], flat.x, rtol=1e-6)
    with pytest.raises(ValueError, match=r"least_squares: `.*` returned .*nan.* at x = \[-1\.\]"):
        least_squares(lambda x: x.log(), [-1.0])
    with pytest.raises(ValueError, match=r"outside of provided bounds|infeasible"):
        least_squares(lambda x: x, [-1.0], bounds=(0, 1))
    wide = lambda x: np.stack([x[0] * x[1] - 1, x[2] ** 2 - 2])  # noqa: E731
    ours = least_squares(wide, [2.0, 1.0, 1.0])  # fewer values than unknowns
    assert wide(ours.x) == pytest.approx(0, abs=1e-6)


def model(t: Any, a: Any, k: Any, c: Any) -> Any:
    return a * np.exp(-k * t) + c


def model_jac(t: Any, a: Any, k: Any, c: Any) -> Any:
    return residuals_jac([a, k, c], t, None)


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"p0": [2.0, 1.0, 0.0]},
        {"sigma": 0.1 + 0.01 * T},
        {"sigma": 0.1 + 0.01 * T, "absolute_sigma": True, "p0": [2.0, 1.0, 0.0]},
        {"sigma": np.diag(0.1 + 0.01 * T) + 0.01, "absolute_sigma": True},
        {"bounds": ([0, 0, -1], [2.0, 5, 5])},
        {"bounds": (0, [np.inf, 5, 5]), "method": "dogbox"},
    ],
)
def test_curve_fit_does_as_with_a_jacobian_by_hand(keywords: dict[str, Any]) -> None:
    hand = optimize.curve_fit(model, T, Y, jac=model_jac, full_output=True, **keywords)
    ours = curve_fit(model, T, Y, full_output=True, **keywords)
    np.testing.assert_allclose(ours[0], hand[0], rtol=1e-7)
    np.testing.assert_allclose(ours[1], hand[1], rtol=1e-6, atol=1e-12)
    assert ours[2]["nfev"] == hand[2]["nfev"]
    assert ours[3:] == hand[3:]


def test_curve_fit_takes_what_scipy_takes() -> None:
    plane = lambda x, a, b: a * x[0] + b * x[1]  # noqa: E731
    x = np.stack([T, T**2])
    popt, _ = curve_fit(plane, x, tg.tensor(3 * T - T**2))
    np.testing.assert_allclose(popt, [3, -1], rtol=1e-9)
    popt, _ = curve_fit(plane, (T, T**2), 3 * T - T**2, jac="2-point", method="trf")
    np.testing.assert_allclose(popt, [3, -1], rtol=1e-6)
    gaps = np.where(np.arange(30) == 3, np.nan, 3 * T - T**2)
    popt, _ = curve_fit(plane, x, gaps, check_finite=False, nan_policy="omit")
    np.testing.assert_allclose(popt, [3, -1], rtol=1e-9)
    with pytest.raises(ValueError, match="array must not contain infs or NaNs"):
        curve_fit(plane, x, gaps)
    with pytest.raises(RuntimeError, match="Optimal parameters not found"):
        curve_fit(model, T, Y, maxfev=2)
    with pytest.raises(ValueError, match=r"curve_fit: `<lambda>` returned .*nan"):
        curve_fit(lambda x, a: (a - 5).log() * x, T, Y)
    w = tg.tensor(1.0, requires_grad=True)
    with pytest.raises(
        RuntimeError, match=r"curve_fit: `<lambda>` uses a tensor that requires grad"
    ):
        curve_fit(lambda x, a: a * x * w, T, Y)
    with pytest.raises(RuntimeError, match="ydata requires grad"):
        curve_fit(lambda x, a: a * x, T, tg.tensor(Y, requires_grad=True))


def test_a_fit_compiles_once() -> None:
    from tapegrad.scipy.evaluation import _kept

    def tapes() -> int:
        return sum(len(function.tapes()) for function, _ in _kept.values())

    _kept.clear()
    line = lambda t, a, b: a * t + b  # noqa: E731
    curve_fit(line, T, Y)
    assert tapes() == 2
    popt, _ = curve_fit(line, T, 2 * T + 1)
    np.testing.assert_allclose(popt, [2, 1])
    assert tapes() == 2
    least_squares(line, [1.0], args=(T, 3.0))
    assert tapes() == 4


def test_functions_that_do_not_depend_on_x_are_named() -> None:
    constant = lambda x: tg.ones(2)  # noqa: E731
    with pytest.raises(ValueError, match=r"least_squares: `<lambda>` does not depend on x"):
        least_squares(constant, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"root: `<lambda>` does not depend on x"):
        root(constant, [1.0, 2.0])
    with pytest.raises(ValueError, match=r"curve_fit: `<lambda>` does not depend on x"):
        curve_fit(lambda x, a: x.detach(), T, Y)
    # a slope of zero is none
    assert least_squares(lambda x: x**2 + 1, [0.0]).success


class Stateful:
    """A model whose method reads what changes."""

    def __init__(self) -> None:
        self.rate = 1.0

    def residuals(self, x: Any) -> Any:
        return x - self.rate

    def __call__(self, x: Any) -> Any:
        return x - 10 * self.rate


def test_methods_and_objects_see_what_changes() -> None:
    model = Stateful()
    for rate in (1.0, 2.0):
        model.rate = rate
        assert least_squares(model.residuals, [0.0]).x[0] == pytest.approx(rate)
        assert least_squares(model, [0.0]).x[0] == pytest.approx(10 * rate)
