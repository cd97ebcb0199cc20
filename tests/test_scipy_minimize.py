"""`tapegrad.scipy.minimize`: results of hand-written derivatives, containers, constraints, errors."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

optimize = pytest.importorskip("scipy.optimize")
from tapegrad.scipy import minimize  # noqa: E402

START = np.array([1.3, 0.7, 0.8, 1.9, 1.2])


def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


WITHOUT = {}
GRADIENT = {"jac": optimize.rosen_der}
PRODUCT = {**GRADIENT, "hessp": optimize.rosen_hess_prod}
HESSIAN = {**GRADIENT, "hess": optimize.rosen_hess}
METHODS = {
    "Nelder-Mead": WITHOUT, "Powell": WITHOUT, "COBYLA": WITHOUT, "COBYQA": WITHOUT, "CG": GRADIENT,
    "BFGS": GRADIENT, "L-BFGS-B": GRADIENT, "TNC": GRADIENT, "SLSQP": GRADIENT, "Newton-CG": PRODUCT,
    "trust-ncg": PRODUCT, "trust-krylov": PRODUCT, "trust-constr": PRODUCT, "trust-exact": HESSIAN,
    "dogleg": HESSIAN,
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_methods_do_as_with_derivatives_by_hand(method: str) -> None:
    start = np.array([1.0, 0.9, 0.85, 0.7, 0.5]) if method == "dogleg" else START
    options = {"maxiter": 60} if method == "COBYLA" else {}
    hand = optimize.minimize(
        optimize.rosen, start, method=method, options=options, **METHODS[method]
    )
    ours = minimize(rosenbrock, start, method=method, options=options)
    assert ours.success == hand.success
    if method in ("COBYLA", "COBYQA"):  # which follow the last digits of the value
        assert abs(ours.fun - hand.fun) < 1e-2
        return
    assert ours.nit == hand.nit
    assert ours.message == hand.message
    np.testing.assert_allclose(ours.x, hand.x, atol=1e-5)
    np.testing.assert_allclose(ours.fun, hand.fun, atol=1e-9)


def test_the_default_method_is_scipys() -> None:
    assert minimize(rosenbrock, START).message == "Optimization terminated successfully."
    bounded = minimize(rosenbrock, START, bounds=[(0, 1)] * 5)
    assert "CONVERGENCE" in bounded.message
    assert minimize(rosenbrock, [3.0, 2.0]).x.round(4).tolist() == [1, 1]  # a list is a vector
    assert minimize(lambda x: (x - 2) ** 2, 0).x.shape == (1,)  # whole numbers too, as in SciPy


def test_functions_of_numpy_and_further_arguments() -> None:
    data, target = np.arange(6.0).reshape(3, 2), np.array([1.0, 2.0, 5.0])

    def loss(w: Any, x: Any, y: Any, rate: float, power: int) -> Any:
        return np.sum(np.abs(np.dot(x, w) - y) ** power) + rate * np.sum(np.square(w))

    ours = minimize(loss, np.zeros(2), (data, tg.tensor(target), 0.1, 2), tol=1e-10)
    exact = np.linalg.solve(data.T @ data + 0.1 * np.eye(2), data.T @ target)
    np.testing.assert_allclose(ours.x, exact, rtol=1e-6)


def test_a_function_is_compiled_once_and_sees_what_changes() -> None:
    runs = []
    scale = 1.0

    def loss(x: Any) -> Any:
        runs.append(1)
        return ((x - scale) ** 2).sum()

    assert minimize(loss, np.zeros(3)).x.round(6).tolist() == [1, 1, 1]
    count = len(runs)
    assert count < 3
    minimize(loss, np.zeros(3))
    assert len(runs) == count
    scale = 2.0
    assert minimize(loss, np.zeros(3)).x.round(6).tolist() == [2, 2, 2]


@dataclasses.dataclass
class Model:
    weight: Any
    bias: Any


@pytest.mark.parametrize("method", ["BFGS", "trust-krylov", "trust-exact", "Powell"])
def test_containers_and_shapes_come_back(method: str) -> None:
    def loss(p: Any) -> Any:
        assert isinstance(p["w"], tg.Tensor)
        return ((p["w"] - 1.0) ** 2).sum() + (p["b"] + p["n"]) ** 2

    start = {"w": np.zeros((2, 2)), "b": 0.5, "n": 3}
    seen = []
    ours = minimize(loss, start, method=method, callback=seen.append, tol=1e-8)
    assert ours.x["w"].shape == (2, 2)
    assert type(ours.x["b"]) is float
    assert ours.x["n"] == 3
    np.testing.assert_allclose([*ours.x["w"].ravel(), ours.x["b"]], [1, 1, 1, 1, -3], atol=1e-5)
    assert seen[-1]["w"].shape == (2, 2)
    if method != "Powell":
        assert ours.jac["w"].shape == (2, 2)


def test_tensors_tuples_dataclasses_and_matrices() -> None:
    ours = minimize(
        lambda p: ((p[0] - 1) ** 2).sum() + (p[1] ** 2).sum(), (tg.zeros(2), np.ones(1))
    )
    assert isinstance(ours.x, tuple)
    assert isinstance(ours.x[0], tg.Tensor)
    assert isinstance(ours.x[1], np.ndarray)
    matrix = minimize(lambda x: ((x - 2) ** 2).sum(), np.zeros((2, 3))).x
    np.testing.assert_allclose(matrix, np.full((2, 3), 2.0), atol=1e-6)
    model = minimize(
        lambda m: ((m.weight - 1) ** 2).sum() + (m.bias + 1) ** 2, Model(np.zeros(2), 0.0)
    ).x
    assert isinstance(model, Model)
    assert round(model.bias, 5) == -1
    # where a solver starts is no part of the result
    start = tg.zeros(2, requires_grad=True)
    assert isinstance(minimize(lambda x: ((x - 1) ** 2).sum(), start).x, tg.Tensor)


def test_derivatives_that_are_given() -> None:
    for keywords in (METHODS["BFGS"], {"jac": "2-point"}, {"jac": False}):
        ours = minimize(rosenbrock, START, method="BFGS", **keywords)
        np.testing.assert_allclose(ours.x, np.ones(5), atol=1e-4)
    ours = minimize(rosenbrock, START, method="trust-exact", **HESSIAN)
    np.testing.assert_allclose(ours.x, np.ones(5), atol=1e-5)
    ours = minimize(rosenbrock, START, method="trust-constr", hess=optimize.BFGS())
    np.testing.assert_allclose(ours.x, np.ones(5), atol=1e-4)
    ours = minimize(tg.value_and_grad(rosenbrock), START, jac=True)
    np.testing.assert_allclose(ours.x, np.ones(5), atol=1e-4)
    ours = minimize(lambda p: (p["a"] - 1) ** 2, {"a": 4.0}, jac=lambda p: {"a": 2 * (p["a"] - 1)})
    assert round(ours.x["a"], 6) == 1


def test_bounds() -> None:
    ours = minimize(lambda x: ((x - 2) ** 2).sum(), np.zeros((2, 2)), bounds=optimize.Bounds(-1, 1))
    assert ours.x.tolist() == [[1, 1], [1, 1]]
    start = {"a": np.zeros(2), "b": 0.0}
    bounds = {"a": (None, np.array([1.0, 3.0])), "b": (0.5, None)}
    ours = minimize(lambda p: ((p["a"] - 2) ** 2).sum() + p["b"] ** 2, start, bounds=bounds)
    np.testing.assert_allclose([*ours.x["a"], ours.x["b"]], [1, 2, 0.5], atol=1e-6)
    with pytest.raises(ValueError, match="a pair \\(low, high\\) in the place of each array"):
        minimize(lambda p: p["b"] ** 2, start, bounds={"a": (0, 1), "b": 3})


def example_constraints(kind: str) -> Any:
    """Constraints of SciPy's tutorial, in both forms, with functions only."""
    if kind == "dict":
        return [
            {
                "type": "ineq",
                "fun": lambda x: tg.stack([1 - x[0] - 2 * x[1], 1 - x[0] ** 2 - x[1]]),
            },
            {"type": "ineq", "fun": lambda x, a: 1 - x[0] ** 2 + x[1] * a, "args": (1.0,)},
            {"type": "eq", "fun": lambda x: 2 * x[0] + x[1] - 1},
        ]
    return [
        optimize.LinearConstraint([[1, 2], [2, 1]], [-np.inf, 1], [1, 1]),
        optimize.NonlinearConstraint(
            lambda x: tg.stack([x[0] ** 2 + x[1], x[0] ** 2 - x[1]]), -np.inf, 1
        ),
    ]


@pytest.mark.parametrize(
    ("method", "kind"),
    [("SLSQP", "dict"), ("SLSQP", "object"), ("trust-constr", "object"), ("trust-constr", "dict"),
     ("COBYLA", "dict"), ("COBYQA", "object")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Equality and inequality constraints are specified")
def test_constraints(method: str, kind: str) -> None:
    ours = minimize(
        rosenbrock, np.array([0.5, 0.0]), method=method, constraints=example_constraints(kind),
        bounds=optimize.Bounds([0, -0.5], [1, 2]), options={"maxiter": 3000},
    )  # fmt: skip
    np.testing.assert_allclose(ours.x, [0.41494, 0.17011], atol=2e-4)
    if method == "trust-constr":
        assert ours.nit < 30
        assert ours.njev > 0


def test_constraints_of_containers() -> None:
    ours = minimize(
        lambda p: (p["a"] ** 2).sum() + p["b"] ** 2, {"a": np.ones(2), "b": 1.0},
        constraints={"type": "eq", "fun": lambda p: p["a"].sum() + p["b"] - 3},
    )  # fmt: skip
    np.testing.assert_allclose([*ours.x["a"], ours.x["b"]], [1, 1, 1], atol=1e-6)


def test_what_cannot_be_compiled_is_recorded_and_says_so() -> None:
    def noisy(x: Any) -> Any:
        return ((x - 1) ** 2).sum() + 0 * tg.rand(1).sum()

    with pytest.warns(UserWarning, match=r"`noisy` is not compiled.*draws random numbers"):
        ours = minimize(noisy, np.zeros(2))
    np.testing.assert_allclose(ours.x, [1, 1], atol=1e-5)

    def ways(x: Any) -> Any:  # reads a number that is another one in each call
        return rosenbrock(x) * (1 + 0 * x.sum().item())

    with pytest.warns(UserWarning, match=r"`ways` is not compiled.*it went 7 ways"):
        ours = minimize(ways, np.zeros(3), method="CG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = minimize(ways, np.zeros(3), method="CG", compiled=False)
    np.testing.assert_allclose(ours.x, again.x, atol=1e-7)


def test_bad_objectives_are_named() -> None:
    x = np.array([1.0, 2.0])
    with pytest.raises(
        ValueError, match=r"minimize: `.*lambda.*` returned nan at x = \[-1\. -2\.\]"
    ):
        minimize(lambda x: x.log().sum(), -x)
    with pytest.raises(ValueError, match=r"must return a number, and returned 2, of shape \[2\]"):
        minimize(lambda x: x * x, x)
    with pytest.raises(ValueError, match=r"does not depend on x"):
        minimize(lambda x: (x.detach() ** 2).sum(), x)
    with pytest.raises(ValueError, match=r"does not depend on x"):
        minimize(lambda x: 3.0, x)
    with pytest.raises(TypeError, match=r"must return a number, not None \(is a `return` missing"):
        minimize(lambda x: None, x)
    with pytest.raises(TypeError, match=r"must return a number, not a tuple"):
        minimize(lambda x: (x.sum(), 1), x)
    with pytest.raises(ValueError, match=r"the gradient of .* is \[nan nan\]"):
        minimize(lambda x: (0 * x).sqrt().sum() + (x * 0).sum(), x)
    with pytest.raises(TypeError, match="minimize: expected a function, got int"):
        minimize(3, x)
    with pytest.raises(
        TypeError, match=r"x0\['a'\] must be made of real numbers, not of complex128"
    ):
        minimize(lambda p: p["a"].abs(), {"a": np.ones(1) * 1j})
    with pytest.raises(TypeError, match="x0 has no floating point numbers"):
        minimize(lambda p: p["a"], {"a": 1})
    with pytest.raises(ZeroDivisionError):  # the user's own come as they are
        minimize(lambda x: x.sum() / (1 // 0), x)
    with pytest.raises(ValueError, match="Unknown solver magic"):  # SciPy's, too
        minimize(lambda x: (x * x).sum(), x, method="magic")


def test_infinite_values_are_passed_on() -> None:
    def barrier(x: Any) -> Any:
        return tg.where(x > 0, x - x.clamp(min=1e-300).log(), np.inf).sum()

    np.testing.assert_allclose(minimize(barrier, np.array([3.0])).x, [1], atol=1e-4)


def test_derivatives_are_not_lost_without_a_word() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    for compiled in (True, False):
        with pytest.raises(RuntimeError, match=r"uses a tensor that requires grad.*tg\.implicit"):
            minimize(lambda x: ((x - w) ** 2).sum(), np.zeros(2), compiled=compiled)
    with pytest.raises(RuntimeError, match=r"a Tensor in args requires grad.*tg\.implicit"):
        minimize(lambda x, a: ((x - a) ** 2).sum(), np.zeros(2), (w,))
    with pytest.raises(RuntimeError, match=r"tg\.implicit"):
        tg.grad(lambda v: minimize(lambda x: ((x - v) ** 2).sum(), np.zeros(2)).x[0])(tg.ones(2))
    with tg.no_grad():
        ours = minimize(lambda x: ((x - w) ** 2).sum(), np.zeros(2))
    np.testing.assert_allclose(ours.x, [1, 2], atol=1e-6)


def test_captured_tensors_are_looked_up() -> None:
    w = tg.tensor([1.0, 2.0])
    assert minimize(lambda x: ((x - w) ** 2).sum(), np.zeros(2)).x.round(5).tolist() == [1, 2]
    w += 1
    assert minimize(lambda x: ((x - w) ** 2).sum(), np.zeros(2)).x.round(5).tolist() == [2, 3]


def test_callbacks_and_progress(capsys: pytest.CaptureFixture[str]) -> None:
    seen = []

    def stop(intermediate_result: Any) -> None:
        seen.append(intermediate_result)
        if len(seen) == 2:
            raise StopIteration

    ours = minimize(lambda p: (p["a"] ** 4).sum(), {"a": np.ones(2)}, callback=stop)
    assert ours.status == 99
    assert seen[0].x["a"].shape == (2,)
    ours = minimize(
        lambda p: (p["a"] ** 4).sum(), {"a": np.ones(2)}, method="trust-constr",
        callback=lambda x, state: len(x["a"]) != 2 or state.nit > 3,
    )  # fmt: skip
    assert ours.status == 3
    pytest.importorskip("tqdm")
    minimize(rosenbrock, START, progress=True)
    shown = capsys.readouterr().err
    assert "minimize: " in shown
    assert " calls" in shown


def test_progress_without_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.warns(UserWarning, match=r"pip install tqdm"):
        minimize(rosenbrock, START, progress=True)


def test_a_method_of_the_users_gets_all_derivatives() -> None:
    def newton(fun: Any, x0: Any, args: Any, jac: Any, hessp: Any, **_: Any) -> Any:
        for _step in range(50):
            matrix = np.stack([hessp(x0, e) for e in np.eye(x0.size)])
            x0 = x0 - np.linalg.solve(matrix, jac(x0))
        return optimize.OptimizeResult(x=x0, fun=fun(x0), success=True)

    ours = minimize(lambda x: (x**4 / 4 - x).sum(), START, method=newton)
    np.testing.assert_allclose(ours.x, np.ones(5))


def test_without_scipy_the_error_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess
    import sys

    code = "import sys; sys.modules['scipy'] = None; import tapegrad as tg; tg.scipy"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install scipy" in done.stderr.splitlines()[-1]
