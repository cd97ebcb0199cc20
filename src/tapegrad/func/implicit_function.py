"""`implicit`: derivatives through a root, a fixed point or an optimum, by the implicit function theorem.

A solver returns x with F(x, p) = 0; it is not looked into. Where F's Jacobian by x is regular, x is a
function of p near by, and F_x dx + F_p dp = 0. So the reverse pass solves one linear system,
``F_x^T w = ct``, and pulls -w back through F by p. It is recorded like everything else, so it is
differentiated in turn, with x as a result of the same rule: that gives all orders.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd.grad_mode import enable_grad
from ..base.errors import LinAlgError
from ..functions.registry import FUNCTIONS
from ..tape import pytree as trees
from ..tape.recording import is_active, is_tensor
from .arguments import as_tensors, to_tensor
from .custom_vjp import custom_vjp
from .gradients import grad, vjp
from .jacobians import jacrev

__all__ = ["implicit"]

KINDS = ("root", "fixed_point", "optimum")


def implicit(
    solver: Callable[..., Any] | None = None, condition: Callable[..., Any] | None = None, *,
    kind: str = "root", tol: float | None = 1e-4,
) -> Any:  # fmt: skip
    """Return a solver whose result is differentiated by the implicit function theorem.

    Derivatives of any order, in reverse and forward mode, follow from the condition that the result
    fulfils, whatever the solver does: a loop, SciPy, a table. All transforms go around it; under `vmap`, a
    solver that reads values runs once a slice, and under `jit` it is recorded anew for other values.

    Parameters
    ----------
    solver : callable
        ``solver(*params)`` returns x: a Tensor, an array, a number or a container of them; or a result of
        SciPy's, whose ``x`` (or ``root``) it is. Arrays and floats among the parameters come as Tensors, all
        of them constants; the solver may differentiate itself. Without it, a decorator is returned.
    condition : callable
        ``condition(x, *params)``, of Tensors; `kind` says what it means. What it captures is constant.
    kind : {"root", "fixed_point", "optimum"}
        ``condition(x, *params)`` is zero, is x itself, or is a number whose gradient by x is zero. It
        returns a tree with as many numbers as x for the first two.
    tol : float, optional
        Accuracy that is asked for: the Newton step from x, which says how far away the solution is, must be
        at most ``tol * (1 + max|x|)``. None leaves out the check.

    Returns
    -------
    callable
        ``solve(*params)`` returns x in Tensors.

    Raises
    ------
    RuntimeError
        In a call: if SciPy's result says that it is not a success, or x is not a solution.
    LinAlgError
        In a call: if the Jacobian of the condition by x is singular there, so that there is no derivative.
    TypeError, ValueError
        If an argument is wrong, or the condition has another number of values than x.

    Examples
    --------
    >>> import tapegrad as tg
    >>> def newton(a):
    ...     x = 1.0
    ...     for _ in range(30):
    ...         x = (x + a / x) / 2
    ...     return x
    >>> root = tg.implicit(newton, lambda x, a: x * x - a)
    >>> root(2.0), tg.grad(root)(4.0), tg.grad(tg.grad(root))(4.0)
    (tensor(1.4142), tensor(0.2500), tensor(-0.0312))
    """
    if condition is None:
        raise TypeError(
            "implicit: `condition` is missing: a function of x and the solver's parameters"
        )
    if kind not in KINDS:
        raise ValueError(f"implicit: kind must be one of {', '.join(KINDS)}, not {kind!r}")
    for role, function in (("solver", solver), ("condition", condition)):
        if not (callable(function) or (function is None and role == "solver")):
            raise TypeError(f"implicit: {role} must be a function, not {type(function).__name__}")
    if solver is None:
        return functools.partial(implicit, condition=condition, kind=kind, tol=tol)
    return _Solve(solver, condition, kind, tol).rule()


class _Solve:
    """A solver and the condition that its result fulfils."""

    def __init__(
        self,
        solver: Callable[..., Any],
        condition: Callable[..., Any],
        kind: str,
        tol: float | None,
    ) -> None:
        self.solver, self.condition, self.kind, self.tol = solver, condition, kind, tol
        self.name = getattr(solver, "__qualname__", type(solver).__name__)
        self.name = self.name.rpartition("<locals>.")[2]

    def rule(self) -> Any:
        """Return the function."""

        def solve(*params: Any) -> Any:
            return self.solution(params)

        functools.update_wrapper(solve, self.solver)
        rule = custom_vjp(solve)
        rule.defvjp(self.forward, self.backward)
        return rule

    # ------------------------------------------------------------------ the solver
    def solution(self, params: tuple[Any, ...]) -> Any:
        """Run the solver, and check its result."""
        parts, structure = trees.flatten(params)
        parts = [p.detach() if is_tensor(p) else p for p in as_tensors(parts)]
        given = trees.unflatten(structure, [p.clone() if is_tensor(p) else p for p in parts])
        constants = trees.unflatten(structure, parts)
        with enable_grad():  # the solver may differentiate
            x = _tree_of(self.name, self.solver(*given))  # which may write to them
        leaves, spec = trees.flatten(x, none_is_leaf=False)
        if not leaves:
            raise TypeError(f"implicit: `{self.name}` returned no numbers")
        role = f"implicit: the result of `{self.name}`"
        tensors = [_floating(to_tensor(leaf, role)) for leaf in leaves]
        if any(is_active(t) for t in tensors):
            raise RuntimeError(
                f"implicit: what `{self.name}` returns requires grad, by a tensor that is no parameter: "
                "pass that as an argument, or return x.detach() if it is a constant"
            )
        self.check(spec, tensors, constants)
        return trees.unflatten(spec, tensors)

    def forward(self, *params: Any) -> tuple[Any, Any]:
        """Return x, and what the reverse pass needs."""
        x = self.solution(params)
        return x, (x, params)

    # ------------------------------------------------------------------ the condition
    def residual(self, spec: Any, sizes: list[Any], params: tuple[Any, ...]) -> Any:
        """Return the function that computes what must be zero, a vector, from x as a vector."""

        def of_vector(vector: Any) -> Any:
            parts = vector.split([size for _, size in sizes]) if len(sizes) > 1 else [vector]
            leaves = [p.reshape(shape) for p, (shape, _) in zip(parts, sizes, strict=True)]
            x = trees.unflatten(spec, leaves)
            if self.kind == "optimum":
                values = grad(lambda z: self.condition(z, *params))(x)
            else:
                values = self.condition(x, *params)
            flat = _vector(trees.flatten(values, none_is_leaf=False)[0], "implicit: the condition")
            if flat.numel() != vector.numel():
                raise ValueError(
                    f"implicit: the condition of `{self.name}` has {flat.numel()} values for "
                    f"{vector.numel()} unknowns; a {self.kind.replace('_', ' ')} needs as many"
                )
            flat = flat.to(vector.dtype)
            return flat - vector if self.kind == "fixed_point" else flat

        return of_vector

    def check(self, spec: Any, tensors: list[Any], params: tuple[Any, ...]) -> None:
        """Check that x is a solution, and that it has derivatives.

        Raises
        ------
        RuntimeError, LinAlgError
        """
        vector = _vector(tensors, "implicit: x")
        residual = self.residual(spec, _sizes(tensors), params)
        with enable_grad():
            r = residual(vector)
            if is_active(r):
                raise RuntimeError(
                    f"implicit: the condition of `{self.name}` uses a tensor that requires grad and is no "
                    "parameter, so its derivative would be lost: pass it to the solver as an argument, or "
                    "detach() it"
                )
            jacobian = jacrev(residual)(vector)
        r, matrix, x = r.numpy(), jacobian.numpy(), vector.numpy()
        if not np.isfinite(x).all():
            raise RuntimeError(f"implicit: `{self.name}` returned {x[~np.isfinite(x)][0]}")
        _check_regular(self.name, matrix)
        if self.tol is None:
            return
        step = np.abs(np.linalg.solve(matrix, r)).max()
        if not step <= self.tol * (1 + np.abs(x).max()):
            raise RuntimeError(
                f"implicit: `{self.name}` did not converge: the largest residual of its condition is "
                f"{np.abs(r).max():.3g}, and the solution {step:.3g} away from x, more than tol={self.tol:g} "
                "(times 1 + max|x|) allows"
            )

    def backward(self, residuals: Any, cotangent: Any) -> tuple[Any, ...]:
        """Return the gradients by the parameters."""
        x, params = residuals
        tensors, spec = trees.flatten(x, none_is_leaf=False)
        vector = _vector(tensors, "implicit: x")
        seed = _vector(trees.flatten(cotangent, none_is_leaf=False)[0], "implicit: cotangents")
        sizes = _sizes(tensors)
        matrix = jacrev(self.residual(spec, sizes, params))(vector)
        weights = FUNCTIONS["linalg_solve"](matrix.mT, seed)
        leaves, structure = trees.flatten(params)
        places = [i for i, p in enumerate(leaves) if is_tensor(p) and p.dtype.is_inexact]

        def of_params(*values: Any) -> Any:
            inner = list(leaves)
            for place, value in zip(places, values, strict=True):
                inner[place] = value
            return self.residual(spec, sizes, trees.unflatten(structure, inner))(vector)

        gradients = vjp(of_params, *[leaves[i] for i in places])[1](-weights)
        returned: list[Any] = [None] * len(leaves)
        for place, value in zip(places, gradients, strict=True):
            returned[place] = value
        return tuple(trees.unflatten(structure, returned))


def _tree_of(name: str, x: Any) -> Any:
    """Return x of a solver's result; for results of SciPy's what they hold, if they are a success."""
    for place, success in (("x", "success"), ("root", "converged")):
        if hasattr(x, place) and hasattr(x, success):
            if not getattr(x, success):
                reason = getattr(x, "message", None) or getattr(x, "flag", "")
                raise RuntimeError(f"implicit: `{name}` did not converge: {reason}")
            return getattr(x, place)
    return x


def _floating(x: Any) -> Any:
    return x if x.dtype.is_inexact else x.double()


def _vector(leaves: list[Any], role: str) -> Any:
    parts = [to_tensor(leaf, role).reshape(-1) for leaf in leaves]
    return parts[0] if len(parts) == 1 else FUNCTIONS["cat"](parts)


def _sizes(tensors: list[Any]) -> list[Any]:
    return [(tuple(t.shape), t.numel()) for t in tensors]


def _check_regular(name: str, matrix: np.ndarray) -> None:
    """Raise LinAlgError for a Jacobian that is singular to the digits that there are."""
    text = f"implicit: the Jacobian of the condition of `{name}` by x is singular at the solution"
    if not np.isfinite(matrix).all():
        raise LinAlgError(f"{text.replace('singular', 'not finite')}: there is no derivative")
    # Scaled, so that units of x and of the condition do not matter.
    for axis in (1, 0):
        largest = np.abs(matrix).max(axis=axis, keepdims=True)
        if not largest.all():
            raise LinAlgError(
                f"{text} (a {'row' if axis else 'column'} is zero): there is no derivative"
            )
        matrix = matrix / largest
    try:
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        raise LinAlgError(f"{text}: there is no derivative") from None
    number = np.abs(matrix).sum(axis=0).max() * np.abs(inverse).sum(axis=0).max()
    if not number < 1 / np.finfo(matrix.dtype).eps:
        raise LinAlgError(f"{text} (condition number {number:.3g}): there is no derivative")
