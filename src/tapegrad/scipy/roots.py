"""`root` and `root_scalar`: SciPy's equation solvers with exact derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize

from ..func.gradients import grad, grad_and_value
from .evaluation import Evaluation
from .functions import Target, as_number, check_dependence, handed_matrix, not_a_number
from .progress import Progress
from .vectors import Arguments, VectorForm, as_constant, name_of

__all__ = ["root", "root_scalar"]

#: methods of `root` that take a Jacobian
WITH_JACOBIAN = {"hybr", "lm"}
#: derivatives that methods of `root_scalar` take
ORDERS = {"newton": 1, "halley": 2}


def root(
    fun: Callable[..., Any], x0: Any, args: Any = (), method: str = "hybr", jac: Any = None,
    tol: float | None = None, callback: Callable[..., Any] | None = None,
    options: dict[str, Any] | None = None, *, compiled: bool = True, progress: bool = False,
) -> Any:  # fmt: skip
    """Solve equations, with the exact Jacobian where the method takes one.

    `scipy.optimize.root` does it: its arguments, defaults, result and errors.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns as many numbers as `x` has: a Tensor, or a container of them.
    x0 : array, Tensor, or container of them
        As for `minimize`.
    args : tuple
        Further arguments; arrays and floats come as Tensors.
    method, tol, options
        As in SciPy.
    jac : callable or bool, optional
        By default the exact Jacobian, for the methods hybr and lm.
    callback : callable, optional
        As in SciPy; its `x` is like `x0`.
    compiled, progress : bool
        As for `minimize`.

    Returns
    -------
    scipy.optimize.OptimizeResult
        `x` is like `x0`; `fun` is a vector.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy import root
    >>> solution = root(lambda p: {"1": p["x"] ** 2 - p["y"], "2": p["x"] + p["y"] - 6}, {"x": 1.0, "y": 1.0})
    >>> round(solution.x["x"], 9), round(solution.x["y"], 9)
    (2.0, 4.0)
    """
    form = VectorForm("root", x0)
    with Progress("root", progress) as bar:
        arguments = Arguments("root", args)
        target = Target("root", fun, form, arguments, compiled=compiled, progress=bar)
        if jac is True:
            values: Any = target.pairs(
                lambda v: form.flat(v, "root: the result"), lambda m: as_constant("root", "jac", m)
            )
        else:
            values = target.values()
        if jac is None and method.lower() in WITH_JACOBIAN:
            jac = target.jacobian(lambda: form.vector.size)
        elif callable(jac):
            jac = handed_matrix(target, jac)
        back = None
        if callback is not None:

            def back(x: np.ndarray, f: np.ndarray) -> Any:
                return callback(form.restored(x), f)

        result = optimize.root(values, form.vector, (), method, jac, tol, back, options)
    result.x = form.restored(result.x)
    return result


def root_scalar(
    f: Callable[..., Any], args: Any = (), method: str | None = None, bracket: Any = None,
    fprime: Any = None, fprime2: Any = None, x0: Any = None, x1: Any = None, xtol: float | None = None,
    rtol: float | None = None, maxiter: int | None = None, options: dict[str, Any] | None = None, *,
    compiled: bool = True, progress: bool = False,
) -> Any:  # fmt: skip
    """Find a root of a function of one number, with exact derivatives for Newton's and Halley's method.

    `scipy.optimize.root_scalar` does it: its arguments, defaults, result and errors.

    Parameters
    ----------
    f : callable
        ``f(x, *args)`` of a Tensor without dimensions returns a number.
    args : tuple
        Further arguments; arrays and floats come as Tensors.
    method, bracket, x0, x1, xtol, rtol, maxiter, options
        As in SciPy. Newton's method is the default with `x0` alone.
    fprime, fprime2 : callable or bool, optional
        By default exact derivatives.
    compiled, progress : bool
        As for `minimize`.

    Returns
    -------
    scipy.optimize.RootResults

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy import root_scalar
    >>> float(root_scalar(lambda x, a: tg.cos(x) - a * x, args=(1.0,), x0=0.5, method="halley").root.round(9))
    0.739085133
    """
    if not callable(f):
        raise TypeError(f"root_scalar: expected a function, got {type(f).__name__}")
    word = method.lower() if method else None
    if word is None and bracket is None and x0 is not None and x1 is None:
        word = "halley" if fprime2 else "newton"
    order = 0 if fprime else ORDERS.get(word or "", 0)
    arguments = Arguments("root_scalar", args)
    with Progress("root_scalar", progress) as bar:
        given = [_float(p, arguments.given) for p in (fprime, fprime2)]
        if fprime is True:
            value: Any = _tuples(f, arguments.given)
        else:
            line = _Line(f, arguments, order, compiled, bar)
            value = line.value
            if order:
                given[0] = line.slope
            if order == 2 and fprime2 is None:
                given[1] = line.bend
        points = [None if x is None else float(x) for x in (x0, x1)]
        return optimize.root_scalar(
            value, (), method, bracket, *given, *points, xtol, rtol, maxiter, options
        )


def _float(function: Any, args: tuple[Any, ...]) -> Any:
    """Return a derivative that the user gave as one that returns floats."""
    if not callable(function):
        return function
    return lambda x: float(function(x, *args))


def _tuples(f: Callable[..., Any], args: tuple[Any, ...]) -> Callable[[float], Any]:
    return lambda x: tuple([float(v) for v in f(x, *args)])


class _Line:
    """A function of one number and its derivatives up to an order; the last point is remembered."""

    def __init__(
        self,
        f: Callable[..., Any],
        arguments: Arguments,
        order: int,
        compiled: bool,
        progress: Progress,
    ) -> None:
        name = self._name = name_of(f)

        def number(x: Any, *others: Any) -> Any:
            return as_number(f(x, *arguments.tree(others)), "root_scalar", name)

        def taylor(x: Any, *others: Any) -> tuple[Any, ...]:
            if order == 0:
                return (number(x, *others),)
            slope, value = grad_and_value(number)(x, *others)
            if order == 1:
                return value, slope
            return value, slope, grad(grad(number))(x, *others)

        self._run = Evaluation(
            "root_scalar", name, taylor, compiled=compiled,
            key=lambda: ("root_scalar", order, f, arguments.key),
        )  # fmt: skip
        self._number, self._is_first = number, order > 0
        self._others, self._progress = arguments.arrays, progress
        self._point: float | None = None
        self._numbers: list[float] = []

    def _at(self, x: Any, place: int) -> float:
        if x != self._point:
            self._point = None
            numbers = [y.item() for y in self._run(np.array(x, dtype=float), *self._others)]
            if numbers[0] != numbers[0]:
                raise ValueError(not_a_number("root_scalar", self._name, numbers[0], x))
            if self._is_first and not numbers[1]:
                check_dependence(self._number, np.array(x), self._others, "root_scalar", self._name)
            self._is_first = False
            self._progress.note(numbers[0])
            self._numbers, self._point = numbers, x
        return self._numbers[place]

    def value(self, x: float) -> float:
        return self._at(x, 0)

    def slope(self, x: float) -> float:
        return self._at(x, 1)

    def bend(self, x: float) -> float:
        return self._at(x, 2)
