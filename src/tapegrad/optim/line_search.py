"""Line search by cubic interpolation, to a point that satisfies the strong Wolfe conditions.

Nocedal and Wright, Numerical Optimization (2006), algorithms 3.5 and 3.6, with the safeguards of PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Point", "strong_wolfe"]


class Point(NamedTuple):
    """A step along the direction, with what the function is there."""

    t: float
    value: float
    gradient: np.ndarray
    slope: float


def _cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Minimum, within bounds, of the cubic through two points with their slopes; else their middle."""
    if a.t > b.t:
        a, b = b, a
    low, high = bounds or (a.t, b.t)
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    d2 = square**0.5
    where = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    return min(max(where, low), high)


def strong_wolfe(
    evaluate: Callable[[float], Point], start: Point, t: float, length: float, *,
    c1: float = 1e-4, c2: float = 0.9, tolerance_change: float = 1e-9, max_ls: int = 25,
) -> tuple[Point, int]:  # fmt: skip
    """Return the point found, and the number of evaluations.

    Parameters
    ----------
    evaluate : callable
        Computes the point of a step.
    start : Point
        That of no step.
    t : float
        The first step to try.
    length : float
        Largest element of the direction.
    c1, c2 : float
        Of the Wolfe conditions.
    tolerance_change : float
        Least length of the bracket.
    max_ls : int
        Most evaluations.
    """
    last, new = start, evaluate(t)
    evaluations, iteration, done = 1, 0, False
    bracket = None
    while iteration < max_ls:
        above = new.value > start.value + c1 * new.t * start.slope
        if above or (iteration > 1 and new.value >= last.value) or new.slope >= 0:
            flat = abs(new.slope) <= -c2 * start.slope
            if not above and not (iteration > 1 and new.value >= last.value) and flat:
                return new, evaluations
            bracket = [last, new]
            break
        if abs(new.slope) <= -c2 * start.slope:
            return new, evaluations
        bounds = new.t + 0.01 * (new.t - last.t), new.t * 10
        t = _cubic_minimum(last, new, bounds)
        last, new = new, evaluate(t)
        evaluations += 1
        iteration += 1
    if bracket is None:  # the most iterations
        bracket = [start, new]

    insufficient = False
    low, high = (0, 1) if bracket[0].value <= bracket[1].value else (1, 0)
    while not done and iteration < max_ls:
        a, b = bracket
        if abs(b.t - a.t) * length < tolerance_change:
            break
        t = _cubic_minimum(a, b)
        least, most = min(a.t, b.t), max(a.t, b.t)
        margin = 0.1 * (most - least)
        if min(most - t, t - least) < margin:  # close to an end: the second time, go inwards
            if insufficient or t >= most or t <= least:
                t = most - margin if abs(t - most) < abs(t - least) else least + margin
                insufficient = False
            else:
                insufficient = True
        else:
            insufficient = False
        new = evaluate(t)
        evaluations += 1
        iteration += 1
        if new.value > start.value + c1 * t * start.slope or new.value >= bracket[low].value:
            bracket[high] = new
            low, high = (0, 1) if bracket[0].value <= bracket[1].value else (1, 0)
            continue
        if abs(new.slope) <= -c2 * start.slope:
            done = True
        elif new.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = new
    return bracket[low], evaluations
