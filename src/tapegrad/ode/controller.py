"""Step sizes: the error of a step, the step that follows, and the first one, in operations on tensors.

They are those of Hairer, Norsett and Wanner (Solving Ordinary Differential Equations I, II.4), as in
SciPy's RK45 and torchdiffeq. A *status* is a tensor of three numbers: the error of the step before beside the
tolerance, the time, the size of the step that comes. All is computed from values (`detach`), so derivatives
hold the steps constant.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..functions.registry import FUNCTIONS

__all__ = ["Limits", "accepted", "error_norm", "first_size", "next_status"]


class Limits(NamedTuple):
    """Bounds of the steps, in the order in which a tensor has them."""

    end: float
    safety: float
    ifactor: float
    dfactor: float
    min_step: float
    max_step: float


def error_norm(scaled: Any, pieces: tuple[int, ...]) -> Any:
    """Return the root mean square of a scaled error; of several tensors' errors the largest one."""
    squares = (scaled * scaled).reshape(-1)
    parts = squares.split(list(pieces)) if len(pieces) > 1 else [squares]
    norms = [part.mean() for part in parts if part.numel()]
    largest = norms[0]
    for norm in norms[1:]:
        largest = largest.maximum(norm)
    return largest.sqrt()


def accepted(ratio: float, h: float, min_step: float) -> bool:
    """Return True if a step of size `h` is accepted."""
    return ratio <= 1 or abs(h) <= min_step


def next_status(ratio: Any, status: Any, limits: Any, order: int) -> Any:
    """Return the status after a step whose error beside the tolerance is `ratio`.

    A step that is rejected, or whose error is no number, is repeated from its time with a smaller size.
    """
    where = FUNCTIONS["where"]
    end, safety, ifactor, dfactor, min_step, max_step = (
        limits[i] for i in range(len(Limits._fields))
    )
    t, h = status[1], status[2]
    ratio = ratio.detach().to(status.dtype)
    is_accepted = (ratio <= 1) | (h.abs() <= min_step)
    factor = safety * ratio.clamp(min=1e-10) ** (-1.0 / order)
    factor = factor.minimum(ifactor).maximum(where(ratio <= 1, 1.0, dfactor))
    factor = where(ratio.isfinite(), factor, dfactor)
    is_last = (end - t).abs() <= h.abs()
    t = where(is_accepted, where(is_last, end, t + h), t)
    size = (h.abs() * factor).maximum(min_step).minimum(max_step)
    remaining = end - t
    size = where(is_accepted, size.minimum(remaining.abs()), size)
    return FUNCTIONS["stack"]([ratio, t, size * remaining.sign()])


def first_size(
    func: Any,
    t: Any,
    y: Any,
    slope: Any,
    rtol: Any,
    atol: Any,
    limits: Any,
    order: int,
    pieces: Any,
) -> Any:
    """Return the size of the first step, and the norm of the derivative there."""
    where = FUNCTIONS["where"]
    y, slope = y.detach(), slope.detach()
    scale = atol + rtol * y.abs()
    direction = (limits[0].to(y.dtype) - t).sign()
    d0, d1 = error_norm(y / scale, pieces), error_norm(slope / scale, pieces)
    tiny, one = FUNCTIONS["full_like"](d0, 1e-6), FUNCTIONS["ones_like"](d0)
    is_flat = (d0 < 1e-5) | (d1 < 1e-5)
    trial = where(is_flat, tiny, 0.01 * d0 / where(is_flat, one, d1))
    trial = trial.minimum((limits[0].to(y.dtype) - t).abs())
    change = (func(t + direction * trial, y + direction * trial * slope).detach() - slope) / scale
    largest = d1.maximum(error_norm(change, pieces) / trial)
    is_constant = largest <= 1e-15
    size = (0.01 / where(is_constant, one, largest)) ** (1.0 / order)
    size = where(is_constant, tiny.maximum(trial * 1e-3), size)
    size = (100 * trial).minimum(size)
    size = where(size.isfinite(), size, tiny)
    return FUNCTIONS["stack"]([size, d1]).to(limits.dtype)
