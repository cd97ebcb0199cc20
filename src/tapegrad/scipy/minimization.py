"""`minimize`: SciPy's minimisers with exact derivatives."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize

from .constraints import handed_bounds, handed_constraints
from .functions import Objective
from .progress import Progress
from .vectors import Arguments, VectorForm, as_constant

__all__ = ["minimize"]

#: methods by what they take beside the value
WITHOUT_GRADIENT = {"nelder-mead", "powell", "cobyla", "cobyqa"}
WITH_HESSIAN = {"dogleg", "trust-exact"}
WITH_PRODUCTS = {"newton-cg", "trust-ncg", "trust-krylov", "trust-constr", "_custom"}


def minimize(
    fun: Callable[..., Any], x0: Any, args: Any = (), method: Any = None, jac: Any = None,
    hess: Any = None, hessp: Any = None, bounds: Any = None, constraints: Any = (),
    tol: float | None = None, callback: Callable[..., Any] | None = None,
    options: dict[str, Any] | None = None, *, compiled: bool = True, progress: bool = False,
) -> Any:  # fmt: skip
    """Minimise a function, with exact gradients and Hessians where the method takes them.

    `scipy.optimize.minimize` does it: its arguments, defaults, result and errors.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns a number, computed from Tensors by tapegrad's functions or NumPy's.
    x0 : array, Tensor, or container of them
        An array of any shape, or a dict, tuple, dataclass ... of arrays, Tensors and floats. `fun` gets
        Tensors in that structure, and results come back in it. Numbers, and lists of them, are
        a vector, as in SciPy.
    args : tuple
        Further arguments; arrays and floats come as Tensors.
    method, tol, options
        As in SciPy. All methods are there.
    jac : callable, bool or str, optional
        By default the exact gradient. A function, True (`fun` returns value and gradient), False or
        ``"2-point"`` ... are as in SciPy; functions get and return what `x0` is.
    hess, hessp : callable, optional
        By default exact: products with vectors for Newton-CG, trust-ncg, trust-krylov and trust-constr,
        Hessians for dogleg and trust-exact.
    bounds : Bounds or sequence, optional
        As in SciPy; or a container like `x0` with a pair (low, high) in the place of each array.
    constraints : dict, constraint object, or sequence of them
        As in SciPy. Jacobians (and for trust-constr second derivatives) of functions are exact,
        unless they are given.
    callback : callable, optional
        As in SciPy; its `x` is like `x0`.
    compiled : bool
        Whether functions are compiled by `tg.jit`. What cannot be is recorded in each call, and a
        warning says why.
    progress : bool
        Whether tqdm, if it is installed, shows calls and values.

    Returns
    -------
    scipy.optimize.OptimizeResult
        `x` and `jac` are like `x0`; matrices are those of the flat vector.

    Raises
    ------
    ValueError, TypeError
        If `fun` returns nan, several numbers, or what does not depend on `x`; and SciPy's errors.
    RuntimeError
        If `fun` uses tensors that require grad, and so the result would lose their derivative.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> from tapegrad.scipy import minimize
    >>> def rosenbrock(x):
    ...     return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
    >>> result = minimize(rosenbrock, [-1.0, 2.0, 0.0], method="trust-exact")
    >>> result.x.round(3), result.success
    (array([1., 1., 1.]), True)
    """
    form = VectorForm("minimize", x0)
    word = _method(method, bounds, constraints)
    with Progress("minimize", progress) as bar:
        objective = Objective(
            "minimize", fun, form, Arguments("minimize", args), compiled=compiled, progress=bar
        )
        value, gradient = _first_order(objective, jac, word)
        if (
            hess is None
            and hessp is None
            and gradient is not None
            and not isinstance(gradient, str)
        ):
            if word in WITH_HESSIAN:
                hess = objective.hessian()
            elif word in WITH_PRODUCTS:
                hessp = objective.hessian_product()
        else:
            hess = _handed(objective, hess, matrix=True)
            hessp = _handed_product(objective, hessp)
        result = optimize.minimize(
            value, form.vector, (), method, gradient, hess, hessp, handed_bounds(form, bounds),
            handed_constraints(form, constraints, word, compiled), tol,
            _handed_callback(form, callback), options,
        )  # fmt: skip
    return _restored(form, result)


def _method(method: Any, bounds: Any, constraints: Any) -> str:
    """Return the method's name in small letters, SciPy's choice for None, ``"_custom"`` for a function."""
    if callable(method):
        return "_custom"
    if method is None:
        return "slsqp" if constraints else "l-bfgs-b" if bounds is not None else "bfgs"
    return str(method).lower()


def _first_order(objective: Objective, jac: Any, word: str) -> tuple[Callable[..., Any], Any]:
    """Return the functions that SciPy calls for values, and for gradients."""
    if jac is None and word not in WITHOUT_GRADIENT:
        objective.start()
        return objective.value, objective.gradient
    if jac is True:
        form = objective.form
        return objective.pairs(_as_float, lambda g: form.flat(g, "minimize: the gradient")), True
    return objective.only_values(), _handed(objective, jac)


def _as_float(value: Any) -> float:
    return float(as_constant("minimize", "the value", value))


def _handed(objective: Objective, function: Any, matrix: bool = False) -> Any:
    """Return a derivative that the user gave, as a function of a vector."""
    if not callable(function):
        return function
    form, args = objective.form, objective.given
    role = f"minimize: {'hess' if matrix else 'jac'}"

    def derivative(x: np.ndarray) -> Any:
        value = function(form.restored(x), *args)
        if matrix:
            return as_constant("minimize", role, value) if hasattr(value, "numpy") else value
        return form.flat(value, role)

    return derivative


def _handed_product(objective: Objective, function: Any) -> Any:
    """Return a product with second derivatives that the user gave, as a function of vectors."""
    if function is None:
        return None
    form, args = objective.form, objective.given
    return lambda x, p: form.flat(
        function(form.restored(x), form.restored(p), *args), "minimize: hessp"
    )


def _handed_callback(form: VectorForm, callback: Callable[..., Any] | None) -> Any:
    """Return a callback that gets `x` as the start value was."""
    if callback is None or form.is_plain:
        return callback
    names = set(inspect.signature(callback).parameters)
    if names == {"intermediate_result"}:

        def with_result(intermediate_result: Any) -> Any:
            return callback(intermediate_result=_restored(form, intermediate_result.copy()))

        return with_result

    def with_point(xk: np.ndarray, *rest: Any) -> Any:
        return callback(form.restored(xk), *rest)

    return with_point


def _restored(form: VectorForm, result: Any) -> Any:
    """Return a result with `x` and gradients as the start value was."""
    if form.is_plain:
        return result
    result = optimize.OptimizeResult(result)
    for name in ("x", "jac", "grad"):
        value = result.get(name)
        if isinstance(value, np.ndarray) and value.shape == form.vector.shape:
            result[name] = form.restored(value)
    if "allvecs" in result:
        result["allvecs"] = [form.restored(x) for x in result["allvecs"]]
    return result
