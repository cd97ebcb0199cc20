"""Bounds and constraints of `minimize` for vectors, with exact Jacobians."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize
from scipy.sparse.linalg import LinearOperator

from ..func.jax_style import hvp
from .functions import Target, Values
from .vectors import Arguments, VectorForm, as_constant

__all__ = ["handed_bounds", "handed_constraints", "handed_sides"]

#: methods that take constraints and no derivatives
WITHOUT_JACOBIAN = {"cobyla", "cobyqa"}
#: values of `jac` that stand for SciPy's default
DEFAULT_JACOBIANS = (None, "2-point", False)


def handed_bounds(form: VectorForm, bounds: Any) -> Any:
    """Return bounds for the elements of the vector.

    Parameters
    ----------
    form : VectorForm
    bounds : object
        None, SciPy's, or a container like the start value with pairs in the place of arrays.

    Raises
    ------
    ValueError
        If they do not fit.
    """
    if bounds is None or form.is_plain:
        return bounds
    if isinstance(bounds, optimize.Bounds):
        sides = [_side(form, side, 0.0) for side in (bounds.lb, bounds.ub)]
        return optimize.Bounds(*sides, bounds.keep_feasible)
    pairs = _pairs(form, bounds)
    if len(pairs) != len(form.shapes):
        return bounds  # one a number, which SciPy checks
    sides = [
        _laid_out(form, [pair[k] for pair in pairs], infinity)
        for k, infinity in enumerate((-np.inf, np.inf))
    ]
    return optimize.Bounds(*sides)


def handed_sides(form: VectorForm, bounds: Any) -> Any:
    """Return bounds that are a pair of sides, for the elements of the vector.

    Parameters
    ----------
    form : VectorForm
    bounds : object
        `scipy.optimize.Bounds`, or a pair of numbers, arrays, or containers like the start value.
    """
    if form.is_plain:
        return bounds
    if isinstance(bounds, optimize.Bounds):
        return handed_bounds(form, bounds)
    low, high = bounds
    return _side(form, low, -np.inf), _side(form, high, np.inf)


def _side(form: VectorForm, side: Any, infinity: float) -> Any:
    """Return one side of the bounds: of a number, an array or a container."""
    parts = None if isinstance(side, int | float) else form.parts(side)
    if parts is not None:
        return _laid_out(form, parts, infinity)
    array = np.asarray(side, dtype=float)
    return array.reshape(-1) if array.size == form.vector.size else array


def _laid_out(form: VectorForm, parts: list[Any], infinity: float) -> np.ndarray:
    """Return bounds, one for each array, as one for each element."""
    rows = []
    for part, shape in zip(parts, form.shapes, strict=True):
        bound = infinity if part is None else as_constant("minimize", "bounds", part)
        rows.append(np.broadcast_to(np.asarray(bound, dtype=float), shape).reshape(-1))
    return np.concatenate(rows)


def _pairs(form: VectorForm, bounds: Any) -> list[Any]:
    """Return a pair for each array of the start value."""
    if isinstance(bounds, tuple) and len(bounds) == 2 and len(form.shapes) == 1:
        return [bounds]
    parts = form.parts(bounds)
    if parts is None:
        return list(bounds)
    for pair in parts:
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise ValueError(
                "minimize: bounds must have a pair (low, high) in the place of each array of x0, got "
                f"{pair!r}"
            )
    return parts


def handed_constraints(form: VectorForm, constraints: Any, method: str, compiled: bool) -> Any:
    """Return constraints as functions of a vector, with their Jacobians."""
    if isinstance(constraints, dict | optimize.NonlinearConstraint | optimize.LinearConstraint):
        constraints = [constraints]
    handed = []
    for constraint in constraints:
        if isinstance(constraint, dict):
            handed.append(_of_dict(form, constraint, method, compiled))
        elif isinstance(constraint, optimize.NonlinearConstraint):
            handed.append(_nonlinear(form, constraint, method, compiled))
        else:
            handed.append(constraint)
    return handed


def _derivative(form: VectorForm, target: Target, values: Values, given: Any, method: str) -> Any:
    """Return the Jacobian of a constraint: the user's, or an exact one."""
    if callable(given):
        return lambda x, *rest: as_constant(
            "minimize", "the Jacobian of a constraint", given(form.restored(x), *target.given)
        )
    if method in WITHOUT_JACOBIAN or given not in DEFAULT_JACOBIANS:
        return given
    return target.jacobian(lambda: values.size)


def _of_dict(form: VectorForm, constraint: dict[str, Any], method: str, compiled: bool) -> Any:
    if not callable(constraint.get("fun")):
        return constraint  # SciPy says what is missing
    arguments = Arguments("minimize", constraint.get("args", ()))
    target = Target("minimize", constraint["fun"], form, arguments, compiled=compiled)
    values = target.values()
    jac = _derivative(form, target, values, constraint.get("jac"), method)
    kind = constraint.get("type")
    if method == "trust-constr" and kind in ("eq", "ineq") and not callable(constraint.get("jac")):
        # SciPy makes such an object as well, but without second derivatives.
        high = 0 if kind == "eq" else np.inf
        hess = _hessian(target, form.vector.size)
        return optimize.NonlinearConstraint(values, 0, high, jac, hess)
    return {"type": kind, "fun": values, "jac": jac}


def _nonlinear(
    form: VectorForm, constraint: optimize.NonlinearConstraint, method: str, compiled: bool
) -> optimize.NonlinearConstraint:
    target = Target("minimize", constraint.fun, form, Arguments("minimize", ()), compiled=compiled)
    values = target.values()
    jac = _derivative(form, target, values, constraint.jac, method)
    hess = constraint.hess
    if callable(hess):
        hess = _second(form, hess)
    elif isinstance(hess, optimize.BFGS) and method == "trust-constr" and callable(jac):
        hess = _hessian(target, form.vector.size)
    return optimize.NonlinearConstraint(
        values, constraint.lb, constraint.ub, jac, hess, constraint.keep_feasible,
        constraint.finite_diff_rel_step, constraint.finite_diff_jac_sparsity,
    )  # fmt: skip


def _second(form: VectorForm, given: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, v: given(form.restored(x), v)


def _hessian(target: Target, size: int) -> Callable[..., Any]:
    """Return the function for the second derivatives of a sum of constraints with weights."""
    vector = target.vector()

    def product(x: Any, weights: Any, direction: Any, *others: Any) -> tuple[Any]:
        return (hvp(lambda z: (vector(z, *others) * weights).sum(), x, direction),)

    run = target.evaluation("weighted product", product)
    arrays = target.arguments.arrays

    def hessian(x: np.ndarray, weights: np.ndarray) -> LinearOperator:
        x, weights = np.array(x), np.array(weights)
        return LinearOperator(
            (size, size),
            matvec=lambda p: run(x, weights, np.asarray(p, dtype=float).reshape(-1), *arrays)[0],
            dtype=float,
        )

    return hessian
