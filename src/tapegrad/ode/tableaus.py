"""Coefficients of Runge-Kutta and Rosenbrock methods."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EXPLICIT", "ROSENBROCK", "ExplicitTableau", "RosenbrockTableau"]


@dataclass(frozen=True)
class ExplicitTableau:
    """An explicit Runge-Kutta method (Butcher's tableau).

    Attributes
    ----------
    order : int
        Of the solution that is kept on.
    nodes : tuple of float
        Times of the stages, in steps.
    rows : tuple of tuple of float
        Weights of the earlier stages, a row a stage but the first.
    weights : tuple of float
        Of the stages in the solution.
    error : tuple of float
        Of the stages in the error estimate, and of the derivative at the end behind them; empty for methods
        with fixed steps.
    middle : tuple of float
        Likewise, for the solution in the middle of the step.
    """

    order: int
    nodes: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    error: tuple[float, ...] = ()
    middle: tuple[float, ...] = ()


@dataclass(frozen=True)
class RosenbrockTableau:
    """A Rosenbrock method, in the form that needs no product with the Jacobian.

    Stage ``i`` solves ``(I / (h gamma) - J) u_i = f(t + nodes_i h, y + sum_j rows_ij u_j) + sum_j
    couplings_ij u_j / h + h slopes_i df/dt``. The last stage is the error estimate, and the solution is its
    argument plus it.

    Attributes
    ----------
    order : int
    gamma : float
    nodes, slopes : tuple of float
    rows, couplings : tuple of tuple of float
        A row a stage but the first.
    dense : tuple of tuple of float
        Weights of the stages in the two coefficients of the dense output.
    """

    order: int
    gamma: float
    nodes: tuple[float, ...]
    slopes: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...]
    couplings: tuple[tuple[float, ...], ...]
    dense: tuple[tuple[float, ...], ...]


#: Dormand and Prince 1980; the middle is Shampine's (Math. Comp. 46, 1986), as SciPy's RK45 has it
_DOPRI5 = ExplicitTableau(
    order=5,
    nodes=(0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1),
    rows=(
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    ),
    weights=(35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    error=(
        35 / 384 - 1951 / 21600, 0, 500 / 1113 - 22642 / 50085, 125 / 192 - 451 / 720,
        -2187 / 6784 + 12231 / 42400, 11 / 84 - 649 / 6300, -1 / 60,
    ),
    middle=(
        6025192743 / 30085553152 / 2, 0, 51252292925 / 65400821598 / 2, -2691868925 / 45128329728 / 2,
        187940372067 / 1594534317056 / 2, -1776094331 / 19743644256 / 2, 11237099 / 235043384 / 2,
    ),
)  # fmt: skip

#: name -> method
EXPLICIT: dict[str, ExplicitTableau] = {
    "dopri5": _DOPRI5,
    "euler": ExplicitTableau(1, (0,), (), (1,)),
    "midpoint": ExplicitTableau(2, (0, 1 / 2), ((1 / 2,),), (0, 1)),
    # Kutta's 3/8 rule, as torchdiffeq has it
    "rk4": ExplicitTableau(
        4, (0, 1 / 3, 2 / 3, 1), ((1 / 3,), (-1 / 3, 1), (1, -1, 1)), (1 / 8, 3 / 8, 3 / 8, 1 / 8)
    ),
}

#: RODAS of Hairer and Wanner (Solving Ordinary Differential Equations II, 1996): L-stable, stiffly accurate
ROSENBROCK: dict[str, RosenbrockTableau] = {
    "rodas4": RosenbrockTableau(
        order=4,
        gamma=0.25,
        nodes=(0, 0.386, 0.21, 0.63, 1, 1),
        slopes=(0.25, -0.1043, 0.1035, -0.0362, 0, 0),
        rows=(
            (1.544,),
            (0.9466785280815826, 0.2557011698983284),
            (3.314825187068521, 2.896124015972201, 0.9986419139977817),
            (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950),
            (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950, 1),
        ),
        couplings=(
            (-5.6688,),
            (-2.430093356833875, -0.2063599157091915),
            (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
            (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160),
            (
                8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136,
                -6.058818238834054,
            ),
        ),
        dense=(
            (
                10.12623508344586, -7.487995877610167, -34.80091861555747, -7.992771707568823,
                1.025137723295662,
            ),
            (
                -0.6762803392801253, 6.087714651680015, 16.43084320892478, 24.76722511418386,
                -6.594389125716872,
            ),
        ),
    )
}  # fmt: skip
