"""`least_squares` and `curve_fit`: SciPy's fits with exact Jacobians."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize

from .constraints import handed_sides
from .functions import Target, handed_matrix
from .progress import Progress
from .vectors import Arguments, VectorForm, as_constant

__all__ = ["curve_fit", "least_squares"]


def least_squares(
    fun: Callable[..., Any], x0: Any, jac: Any = None, bounds: Any = (-np.inf, np.inf),
    method: str = "trf", ftol: float | None = 1e-8, xtol: float | None = 1e-8,
    gtol: float | None = 1e-8, x_scale: Any = None, loss: Any = "linear", f_scale: float = 1.0,
    diff_step: Any = None, tr_solver: str | None = None, tr_options: dict[str, Any] | None = None,
    jac_sparsity: Any = None, max_nfev: int | None = None, verbose: int = 0, args: Any = (),
    kwargs: dict[str, Any] | None = None, *, compiled: bool = True, progress: bool = False,
    **options: Any,
) -> Any:  # fmt: skip
    """Minimise a sum of squares, with the exact Jacobian of the residuals.

    `scipy.optimize.least_squares` does it: its arguments, defaults, result and errors.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args, **kwargs)`` returns the residuals: a Tensor, or a container of them.
    x0 : array, Tensor, or container of them
        As for `minimize`.
    jac : callable or str, optional
        By default the exact Jacobian.
    bounds : tuple or Bounds
        As in SciPy; the two sides of the tuple may be like `x0`.
    args, kwargs
        Further arguments; arrays and floats in `args` come as Tensors.
    compiled, progress : bool
        As for `minimize`.
    method, ftol, xtol, gtol, x_scale, loss, f_scale, diff_step, tr_solver, tr_options, jac_sparsity, \
max_nfev, verbose, **options
        As in SciPy.

    Returns
    -------
    scipy.optimize.OptimizeResult
        `x`, `grad` and `active_mask` are like `x0`; `jac` is the matrix for the flat vector.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> from tapegrad.scipy import least_squares
    >>> t, y = np.arange(5.0), 3 * np.exp(-0.5 * np.arange(5.0))
    >>> fit = least_squares(lambda p: p["a"] * tg.exp(-p["k"] * t) - y, {"a": 1.0, "k": 1.0})
    >>> round(fit.x["a"], 9), round(fit.x["k"], 9)
    (3.0, 0.5)
    """
    form = VectorForm("least_squares", x0)
    function = _with_keywords(fun, kwargs)
    with Progress("least_squares", progress) as bar:
        arguments = Arguments("least_squares", args)
        target = Target("least_squares", function, form, arguments, compiled=compiled, progress=bar)
        values = target.values()
        if jac is None:
            jac = target.jacobian(lambda: values.size)
        elif callable(jac):
            jac = handed_matrix(target, jac)
        if x_scale is not None:
            options["x_scale"] = x_scale
        result = optimize.least_squares(
            values, form.vector, jac, handed_sides(form, bounds), method, ftol, xtol, gtol, loss=loss,
            f_scale=f_scale, diff_step=diff_step, tr_solver=tr_solver, tr_options=tr_options or {},
            jac_sparsity=jac_sparsity, max_nfev=max_nfev, verbose=verbose, **options,
        )  # fmt: skip
    for name in ("x", "grad", "active_mask"):
        result[name] = form.restored(result[name])
    return result


def _with_keywords(function: Any, keywords: dict[str, Any] | None) -> Any:
    """Return a function of positional arguments."""
    if not keywords:
        return function

    @functools.wraps(function)
    def with_keywords(*args: Any) -> Any:
        return function(*args, **keywords)

    return with_keywords


def curve_fit(
    f: Callable[..., Any], xdata: Any, ydata: Any, p0: Any = None, sigma: Any = None,
    absolute_sigma: bool = False, check_finite: bool | None = None, bounds: Any = (-np.inf, np.inf),
    method: str | None = None, jac: Any = None, *, full_output: bool = False,
    nan_policy: str | None = None, compiled: bool = True, progress: bool = False, **kwargs: Any,
) -> Any:  # fmt: skip
    """Fit a function to data, with its exact Jacobian by the parameters.

    `scipy.optimize.curve_fit` does it: its arguments, defaults, results and errors.

    Parameters
    ----------
    f : callable
        ``f(xdata, *parameters)`` of Tensors: the data, and numbers.
    xdata, ydata, sigma : array or Tensor
        As in SciPy.
    p0 : array, optional
        As in SciPy; without it, the signature of `f` tells how many parameters there are.
    jac : callable or str, optional
        By default the exact Jacobian.
    absolute_sigma, check_finite, bounds, method, full_output, nan_policy, **kwargs
        As in SciPy.
    compiled, progress : bool
        As for `minimize`.

    Returns
    -------
    popt, pcov : ndarray
        And what SciPy returns with `full_output`.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> from tapegrad.scipy import curve_fit
    >>> x = np.linspace(0, 1, 20)
    >>> popt, pcov = curve_fit(lambda x, a, b: a * tg.exp(b * x), x, 2 * np.exp(0.5 * x))
    >>> popt.round(6)
    array([2. , 0.5])
    """
    if not callable(f):
        raise TypeError(f"curve_fit: expected a function, got {type(f).__name__}")
    data = [
        None if v is None else _as_data(v, name)
        for v, name in ((xdata, "xdata"), (ydata, "ydata"), (sigma, "sigma"), (p0, "p0"))
    ]
    with Progress("curve_fit", progress) as bar:
        model = _Model(f, compiled, bar)
        if jac is None:
            jac = model.jacobian
        elif callable(jac):
            jac = _plain(jac)
        return optimize.curve_fit(
            model.function(), data[0], data[1], data[3], data[2], absolute_sigma, check_finite, bounds,
            method, jac, full_output=full_output, nan_policy=nan_policy, **kwargs,
        )  # fmt: skip


def _as_data(value: Any, name: str) -> Any:
    """Return data for SciPy: tables and Tensors as arrays."""
    if isinstance(value, list | tuple):
        return [_as_data(v, name) for v in value]
    if hasattr(value, "__array__"):
        return as_constant("curve_fit", name, value)
    return value


def _plain(jac: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: as_constant("curve_fit", "jac", jac(*args))


class _Model:
    """A function of data and parameters; SciPy says in each call which data."""

    def __init__(self, f: Callable[..., Any], compiled: bool, progress: Progress) -> None:
        self._f, self._compiled, self._progress = f, compiled, progress
        self._data: Any = None
        self._functions: tuple[Any, Any] | None = None

    def _prepared(self, data: Any, params: np.ndarray) -> tuple[Any, Any]:
        """Return the functions that compute values and Jacobian."""
        if self._functions is None or self._data is not data:
            f = self._f

            @functools.wraps(f)
            def of_vector(vector: Any, x: Any) -> Any:
                return f(x, *vector.unbind())

            form = VectorForm("curve_fit", params, "p0")
            target = Target(
                "curve_fit", of_vector, form, Arguments("curve_fit", (data,)), compiled=self._compiled,
                progress=self._progress, identity=(f, "curve_fit"),
            )  # fmt: skip
            values = target.values()
            self._functions = values, target.jacobian(lambda: values.size)
            self._data = data
        return self._functions

    def function(self) -> Callable[..., Any]:
        """Return the function that computes values, with the signature of the user's."""

        def values(data: Any, *params: Any) -> np.ndarray:
            vector = np.array(params, dtype=float)
            return self._prepared(data, vector)[0](vector)

        # SciPy counts the parameters.
        with contextlib.suppress(ValueError, TypeError):  # builtins have none
            setattr(values, "__signature__", inspect.signature(self._f))  # noqa: B010
        return values

    def jacobian(self, data: Any, *params: Any) -> np.ndarray:
        """Return the Jacobian by the parameters."""
        vector = np.array(params, dtype=float)
        return self._prepared(data, vector)[1](vector)
