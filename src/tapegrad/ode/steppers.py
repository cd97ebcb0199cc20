"""One step of each method, in operations on tensors: it may be recorded, compiled, and differentiated.

A stepper's `advance` returns the new state with what the next step begins with (`carry`) and what the dense
output needs beside (`extra`); `interpolate` is the dense output. Start reading at `ExplicitStepper`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..func.jax_style import jacfwd, jvp
from ..functions.registry import FUNCTIONS
from .tableaus import EXPLICIT, ROSENBROCK, ExplicitTableau, RosenbrockTableau

__all__ = ["ExplicitStepper", "RosenbrockStepper", "Step", "combined", "stepper_of"]

Slope = Callable[[Any, Any], Any]


class Step(NamedTuple):
    """A step that was computed.

    Attributes
    ----------
    state, error : Tensor
        At its end; the estimate is None for methods with fixed steps.
    carry, extra : tuple of Tensor
    """

    state: Any
    error: Any
    carry: tuple[Any, ...]
    extra: tuple[Any, ...]


def combined(weights: Sequence[float], terms: Sequence[Any]) -> Any:
    """Return the sum of terms with weights, without those of weight zero."""
    total: Any = None
    for weight, term in zip(weights, terms, strict=False):
        if weight:
            product = term if weight == 1 else term * weight
            total = product if total is None else total + product
    return total


class ExplicitStepper:
    """Explicit Runge-Kutta methods; `carry` is the derivative at the beginning, where that is known."""

    def __init__(self, tableau: ExplicitTableau) -> None:
        self.tableau = tableau

    def begin(self, slope: Any) -> tuple[Any, ...]:
        """Return what the first step begins with, from the derivative there."""
        return (slope,)

    def advance(self, func: Slope, t: Any, h: Any, y: Any, slope: Any = None) -> Step:
        """Compute a step of size `h`."""
        tableau = self.tableau
        slopes = [func(t, y) if slope is None else slope]
        for node, row in zip(tableau.nodes[1:], tableau.rows, strict=True):
            slopes.append(func(t + h * node, y + h * combined(row, slopes)))
        state = y + h * combined(tableau.weights, slopes)
        if not tableau.error:
            return Step(state, None, (), ())
        slopes.append(func(t + h, state))
        middle = y + h * combined(tableau.middle, slopes)
        return Step(state, h * combined(tableau.error, slopes), (slopes[-1],), (middle,))

    @staticmethod
    def interpolate(x: Any, h: Any, y: Any, carry: Any, step: Any) -> Any:
        """Return the state at `x` of the step: the quartic through both ends, their slopes and the middle."""
        state, (end,), (middle,) = step
        (begin,) = carry
        z = 1 - x
        return (
            y * (z * z * (1 - 2 * x) * (1 + 4 * x))
            + state * (x * x * (2 * x - 1) * (5 - 4 * x))
            + middle * (16 * x * x * z * z)
            + begin * (h * x * z * z * (1 - 2 * x))
            + end * (h * x * x * z * (1 - 2 * x))
        )


class RosenbrockStepper:
    """Rosenbrock methods: the Jacobian is that of `func`, exact, and differentiated again where one asks."""

    def __init__(self, tableau: RosenbrockTableau) -> None:
        self.tableau = tableau

    def begin(self, slope: Any) -> tuple[Any, ...]:
        """Return what the first step begins with: nothing."""
        return ()

    def advance(self, func: Slope, t: Any, h: Any, y: Any) -> Step:
        """Compute a step of size `h`; systems of equations are solved by one LU factorization."""
        tableau, shape, size = self.tableau, y.shape, y.numel()

        def flat(t: Any, y: Any) -> Any:
            return func(t, y.reshape(shape)).reshape(-1)

        y = y.reshape(-1)
        jacobian = jacfwd(lambda y: flat(t, y))(y)
        slope, drift = jvp(lambda t: flat(t, y), (t,), (FUNCTIONS["ones_like"](t),))
        eye = FUNCTIONS["eye"](size, dtype=y.dtype)
        factors, pivots = FUNCTIONS["linalg_lu_factor"](eye * (1 / (tableau.gamma * h)) - jacobian)
        stages: list[Any] = []
        for i, node in enumerate(tableau.nodes):
            right = slope
            argument = y
            if i:
                argument = y + combined(tableau.rows[i - 1], stages)
                right = flat(t + h * node, argument)
                right = right + combined(tableau.couplings[i - 1], stages) / h
            if tableau.slopes[i]:
                right = right + drift * (h * tableau.slopes[i])
            solve = FUNCTIONS["linalg_lu_solve"]
            stages.append(solve(factors, pivots, right.unsqueeze(-1)).squeeze(-1))
        error = stages[-1].reshape(shape)
        extra = tuple(combined(row, stages).reshape(shape) for row in tableau.dense)
        return Step(argument.reshape(shape) + error, error, (), extra)

    @staticmethod
    def interpolate(x: Any, h: Any, y: Any, carry: Any, step: Any) -> Any:
        """Return the state at `x` of the step: the method's own polynomial of degree 3."""
        state, _, (first, second) = step
        z = 1 - x
        return y * z + state * x + first * (x * z) + second * (x * x * z)


def stepper_of(method: str) -> ExplicitStepper | RosenbrockStepper:
    """Return the stepper of a method, by its name."""
    if method in ROSENBROCK:
        return RosenbrockStepper(ROSENBROCK[method])
    return ExplicitStepper(EXPLICIT[method])
