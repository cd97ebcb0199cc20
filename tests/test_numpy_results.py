"""Results go back into NumPy's world: arrays, SciPy, pandas, matplotlib; active ones do not, in silence."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from scipy import optimize

import tapegrad as tg

START = np.array([-1.2, 1.0, 0.8])


def rosen(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def test_steps_on_arrays() -> None:
    y = START.copy()
    for _ in range(3):
        y -= 1e-3 * tg.grad(rosen)(y)
    assert type(y) is np.ndarray
    assert rosen(y) < rosen(START)
    gradient = tg.grad(rosen)(y)
    assert np.abs(gradient).max() > 0
    np.testing.assert_allclose(gradient, tg.grad(rosen)(tg.tensor(y)).numpy())
    assert np.all(np.isfinite(gradient))
    z = np.zeros(3)
    z[:] = gradient
    z[0] = gradient[0]
    z += gradient
    np.testing.assert_allclose(z, 2 * gradient.numpy())
    assert math.isfinite(gradient[0])
    assert list(map(float, gradient)) == gradient.tolist()


@pytest.mark.parametrize(
    "method", ["BFGS", "L-BFGS-B", "CG", "TNC", "SLSQP", "Newton-CG", "trust-ncg"]
)
def test_minimisers(method: str) -> None:
    options: dict[str, Any] = {}
    if method in ("Newton-CG", "trust-ncg"):
        options["hess"] = tg.hessian(rosen)
    result = optimize.minimize(rosen, np.zeros(3), jac=tg.grad(rosen), method=method, **options)
    np.testing.assert_allclose(result.x, 1.0, atol=3e-3)
    assert type(result.x) is np.ndarray
    both = optimize.minimize(tg.value_and_grad(rosen), np.zeros(3), jac=True)
    np.testing.assert_allclose(both.x, 1.0, atol=1e-3)


def test_other_solvers_of_scipy() -> None:
    assert optimize.check_grad(rosen, tg.grad(rosen), START) < 1e-4

    def residuals(x: Any) -> Any:
        return x**2 - 2

    fitted = optimize.least_squares(residuals, np.ones(2), jac=tg.jacobian(residuals))
    np.testing.assert_allclose(fitted.x, math.sqrt(2))
    root = optimize.root(residuals, np.ones(2), jac=tg.jacobian(residuals))
    np.testing.assert_allclose(root.x, math.sqrt(2))
    assert (
        abs(float(optimize.newton(residuals, 1.0, fprime=tg.grad(residuals))) - math.sqrt(2)) < 1e-7
    )
    assert abs(optimize.brentq(lambda x: tg.tensor(x) ** 2 - 2, 0, 2) - math.sqrt(2)) < 1e-9


def test_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    gradient = tg.grad(rosen)(START)
    series = pandas.Series(gradient)
    np.testing.assert_array_equal(series.to_numpy(), gradient.numpy())
    frame = pandas.DataFrame({"x": START, "gradient": gradient})
    np.testing.assert_array_equal(frame["gradient"], gradient.numpy())
    np.testing.assert_array_equal(pandas.DataFrame(tg.hessian(rosen)(START)).shape, (3, 3))
    np.testing.assert_array_equal((series * gradient).to_numpy(), (gradient * gradient).numpy())
    found = tg.grad(lambda w: ((w * frame["x"].to_numpy()) ** 2).sum())(START)
    np.testing.assert_allclose(found, 2 * START**3)
    with pytest.raises(RuntimeError, match="Can't call numpy"):
        pandas.Series(tg.tensor(START, requires_grad=True))


def test_matplotlib(tmp_path: Any) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    x, y, matrix = tg.tensor(START), tg.grad(rosen)(START), tg.hessian(rosen)(START)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure, axes = pyplot.subplots()
        (line,) = axes.plot(x, y)
        axes.scatter(x, y, c=y)
        axes.bar(x, y)
        axes.hist(y)
        axes.fill_between(x, y, 0 * y)
        axes.errorbar(x, y, yerr=abs(y))
        axes.imshow(matrix)
        axes.contourf(matrix)
        axes.set_title(f"{y[0]:.3f}")
        figure.savefig(tmp_path / "figure.png")
        np.testing.assert_array_equal(line.get_ydata(), y.numpy())
        with pytest.raises(RuntimeError, match="Can't call numpy"):
            axes.plot(tg.tensor(START, requires_grad=True))
        pyplot.close(figure)


def test_what_is_differentiated_does_not_leave_in_silence() -> None:
    def leaves(use: Any) -> None:
        with pytest.raises(tg.UnsupportedError, match="differentiated"):
            tg.grad(use)(1.0)

    array = np.zeros(2)
    leaves(math.sin)
    leaves(lambda x: array.__setitem__(0, x))
    leaves(lambda x: np.asarray(x).sum())
    leaves(lambda x: float(x))
    x = tg.tensor(START, requires_grad=True)
    with pytest.raises(
        tg.UnsupportedError, match="an array cannot take a result that requires grad"
    ):
        START.copy().__iadd__(x)
    with pytest.raises(RuntimeError, match=r"Use tensor\.detach\(\)\.numpy\(\)"):
        array[:] = x[:2]
