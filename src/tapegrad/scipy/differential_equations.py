"""`solve_ivp`: SciPy's solvers of differential equations, with the exact Jacobian for implicit methods."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import integrate

from ..func.jacobians import jacfwd
from .evaluation import Evaluation
from .functions import as_vector, not_a_number
from .progress import Progress
from .vectors import Arguments, VectorForm, as_constant, joined, name_of

__all__ = ["solve_ivp"]

#: methods that take a Jacobian
IMPLICIT = {"Radau", "BDF", "LSODA"}
REMEDY = "tg.odeint differentiates through a solution"


def solve_ivp(
    fun: Callable[..., Any], t_span: Any, y0: Any, method: Any = "RK45", t_eval: Any = None,
    dense_output: bool = False, events: Any = None, vectorized: bool = False, args: Any = None, *,
    compiled: bool = True, progress: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Solve an initial value problem, with the exact Jacobian for Radau, BDF and LSODA.

    `scipy.integrate.solve_ivp` does it: its arguments, defaults, result and errors.

    Parameters
    ----------
    fun : callable
        ``fun(t, y, *args)`` of Tensors returns the derivative of `y`: as many numbers, in a Tensor or a
        container.
    t_span : pair of float
    y0 : array, Tensor, or container of them
        As `x0` for `minimize`. Of complex numbers, SciPy's differences are the Jacobian.
    method, t_eval, dense_output, **options
        As in SciPy; `jac` may be given.
    events : callable or list of callable
        As in SciPy: called as ``event(t, y, *args)`` with numbers and what `y0` is.
    vectorized : bool
        Taken, and not needed.
    args : tuple, optional
        Further arguments; arrays and floats come as Tensors.
    compiled, progress : bool
        As for `minimize`.

    Returns
    -------
    object
        SciPy's; where `y0` is no vector, `y` and `y_events` are like it, with a dimension for the times
        behind those of each array.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy import solve_ivp
    >>> def pendulum(t, s):
    ...     return {"angle": s["speed"], "speed": -tg.sin(s["angle"])}
    >>> solution = solve_ivp(pendulum, (0, 1), {"angle": 1.0, "speed": 0.0}, method="Radau", rtol=1e-8)
    >>> float(solution.y["angle"][-1].round(6))
    0.600085
    """
    if not callable(fun):
        raise TypeError(f"solve_ivp: expected a function, got {type(fun).__name__}")
    form = VectorForm("solve_ivp", y0, "y0", is_complex=True)
    with Progress("solve_ivp", progress) as bar:
        system = _System(fun, form, Arguments("solve_ivp", args or ()), compiled, bar)
        name = method if isinstance(method, str) else getattr(method, "__name__", "")
        options = dict(options)
        if callable(options.get("jac")):
            options["jac"] = system.given(options["jac"])
        elif name in IMPLICIT and not options.keys() & {"jac", "jac_sparsity"} and form.is_real:
            options["jac"] = system.jacobian
        result = integrate.solve_ivp(
            system.values, t_span, form.vector, method, t_eval, dense_output,
            _handed_events(form, events, args or ()), False, None, **options,
        )  # fmt: skip
    if not form.is_plain:
        result.y = form.restored(result.y)
        if result.y_events is not None:
            result.y_events = [
                form.restored(np.asarray(rows).reshape(-1, form.vector.size).T)
                for rows in result.y_events
            ]
        if result.sol is not None:
            dense = result.sol
            result.sol = lambda t: form.restored(dense(t))
    return result


class _System:
    """A system of equations, and its Jacobian."""

    def __init__(
        self, fun: Callable[..., Any], form: VectorForm, arguments: Arguments, compiled: bool,
        progress: Progress,
    ) -> None:  # fmt: skip
        name = name_of(fun)

        def slopes(t: Any, y: Any, *others: Any) -> Any:
            result = fun(t, form.tree(y), *arguments.tree(others))
            vector = joined(result, f"solve_ivp: the result of `{name}`")
            if vector.numel() != y.numel():
                raise ValueError(
                    f"solve_ivp: `{name}` must return {y.numel()} numbers, one for each of y, and returned "
                    f"{vector.numel()}"
                )
            return vector

        columns = jacfwd(slopes, 1)
        self._name, self._form, self._arguments, self._progress = name, form, arguments, progress
        self._values, self._jacobian = [
            Evaluation(
                "solve_ivp", name, function, compiled=compiled, remedy=REMEDY,
                key=functools.partial(lambda kind: (kind, fun, form.key, arguments.key), kind),
            )
            for kind, function in (
                ("slopes", lambda *tensors: (slopes(*tensors),)),
                ("slopes' jacobian", lambda *tensors: (columns(*tensors),)),
            )
        ]  # fmt: skip

    def values(self, t: float, y: np.ndarray) -> np.ndarray:
        """Return the derivative by the time."""
        (result,) = self._values(np.array(t, dtype=float), as_vector(y), *self._arguments.arrays)
        square = result.dot(result)
        if square != square:
            raise ValueError(
                not_a_number("solve_ivp", self._name, result, y).replace("x = ", f"t = {t:g}, y = ")
            )
        self._progress.note(t)
        return result

    def jacobian(self, t: float, y: np.ndarray) -> np.ndarray:
        """Return the Jacobian by y."""
        arrays = np.array(t, dtype=float), as_vector(y), *self._arguments.arrays
        return self._jacobian(*arrays)[0]

    def given(self, jac: Callable[..., Any]) -> Callable[..., Any]:
        """Return a Jacobian that the user gave, as a function of the vector."""
        form, args = self._form, self._arguments.given

        def jacobian(t: float, y: np.ndarray) -> Any:
            value = jac(t, form.restored(y), *args)
            return as_constant("solve_ivp", "jac", value) if hasattr(value, "numpy") else value

        return jacobian


def _handed_events(form: VectorForm, events: Any, args: Sequence[Any]) -> Any:
    """Return events as functions of the vector; they keep what they say about direction and end."""
    if events is None:
        return None
    if callable(events):
        return _handed_event(form, events, args)
    return [_handed_event(form, event, args) for event in events]


def _handed_event(form: VectorForm, event: Callable[..., Any], args: Sequence[Any]) -> Any:
    def handed(t: float, y: np.ndarray) -> float:
        value = as_constant("solve_ivp", "the value of an event", event(t, form.restored(y), *args))
        return float(value.item())

    for name in ("terminal", "direction"):
        if hasattr(event, name):
            setattr(handed, name, getattr(event, name))
    return handed
