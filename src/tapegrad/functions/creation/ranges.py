"""Numbers in order: `arange`, `range`, `linspace`, `logspace`."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ...base.dtypes import bool_, dtype, float64, get_default_dtype, int64
from ...tape import readout
from ...tape import recording as record
from ..arguments import as_int
from ..operands import no_kernel
from ..options import OPTIONS, Options, allocate, factory, number_of
from ..signature import UNSET, Number, Tensor

__all__ = ["arange", "linspace", "logspace", "range_"]


def _check_bounds(start: float, end: float, step: float) -> None:
    """Raise PyTorch's errors for a range that does not end."""
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start:g} -> {end:g}")
    if not ((step > 0 and end >= start) or (step < 0 and end <= start)):
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")


@factory(
    f"(Number end, *, Tensor? out=None, {OPTIONS})", f"(Number start, Number end, *, {OPTIONS})",
    f"(Number start, Number end, Number step=1, *, Tensor? out=None, {OPTIONS})", late=True,
)  # fmt: skip
def arange(
    start: Number = UNSET, end: Number = UNSET, step: Number = 1, *, options: Options
) -> Tensor:
    """Make the numbers from `start` up to, but without, `end`.

    It is called as ``arange(end)``, ``arange(start, end)`` or ``arange(start, end, step)``.

    Parameters
    ----------
    start : number
        0 if left out.
    end : number
    step : number
        1 if left out.
    dtype : dtype, optional
        int64 if all are integers, else the default dtype.
    layout, device, pin_memory, requires_grad
        As in `tensor`.
    """
    if end is UNSET:
        start, end = 0, start
    start = number_of("arange", "start", 1, 0 if start is UNSET else start)
    end, step = number_of("arange", "end", 2, end), number_of("arange", "step", 3, step)
    whole = all(isinstance(v, int) for v in (start, end, step))
    options = options.or_kind(int64 if whole else get_default_dtype())
    _check_kind("arange", options.kind)
    _check_bounds(start, end, step)
    if options.kind is int64:
        start, end, step = int(start), int(end), int(step)
        if step == 0:
            raise RuntimeError("step must be nonzero")
        count = max(-((start - end) // step), 0)
    else:
        count = math.ceil((end - start) / step)
    return options.leaf(_progression(count, start, step, options.kind))


def _check_kind(name: str, kind: dtype) -> None:
    if kind is bool_:
        raise no_kernel(f"{name}_cpu", bool_)


def _progression(count: int, start: float, step: float, kind: dtype) -> np.ndarray:
    """``start + step * i`` for i below `count`, in double precision or exact integers."""
    array = allocate((count,), kind)
    array[:] = start + step * np.arange(count) if count else 0
    return array


# Its name would hide the builtin in this file.
@factory(name="range")
def range_(start: Number, end: Number, step: Number = 1, *, options: Options) -> Tensor:
    """Make the numbers from `start` to `end`, both included; deprecated in favour of `arange`.

    Parameters
    ----------
    start, end, step : number
    dtype : dtype, optional
        The default dtype if left out, also for integers.
    layout, device, pin_memory, requires_grad
        As in `tensor`.
    """
    first = number_of("range", "start", 1, start)
    last = number_of("range", "end", 2, end)
    by = number_of("range", "step", 3, step)
    warnings.warn(
        "torch.range is deprecated and will be removed in a future release because its behavior is "
        "inconsistent with Python's range builtin. Instead, use torch.arange, which produces "
        "values in [start, end).",
        UserWarning,
        stacklevel=4,
    )
    _check_kind("range", options.kind)
    _check_bounds(first, last, by)
    count = int((last - first) / by + 1)
    return options.leaf(_progression(count, first, by, options.kind))


def _steps(name: str, start: Any, end: Any, steps: Any) -> np.ndarray:
    """Make `steps` numbers from start to end at equal distances, counted from the nearer end."""
    start, end = (
        readout.number(x, f"{name}()") if record.is_tensor(x) and x.ndim == 0 else x
        for x in (start, end)
    )
    first = number_of(name, "start", 1, start)
    last = number_of(name, "end", 2, end)
    count = as_int(name, "steps", 3, steps)
    if count < 0:
        raise RuntimeError("number of steps must be non-negative")
    array = allocate((count,), float64)
    if count == 1:
        array[0] = first
    elif count:
        step = (last - first) / (count - 1)
        half = count // 2
        # From both ends, as PyTorch does, so that the ends are exact.
        array[:half] = first + step * np.arange(half)
        array[half:] = last - step * np.arange(count - half - 1, -1, -1)
    return array


@factory()
def linspace(start: Number, end: Number, steps: int, *, options: Options) -> Tensor:
    """Make `steps` numbers from `start` to `end`, both included, at equal distances.

    Parameters
    ----------
    start, end : number
    steps : int
    dtype, layout, device, pin_memory, requires_grad
        As in `tensor`.
    """
    values = _steps("linspace", start, end, steps)
    return options.leaf(values.astype(options.kind.np))


@factory()
def logspace(
    start: Number, end: Number, steps: int, base: float = 10.0, *, options: Options
) -> Tensor:
    """Make `steps` powers of `base`, with exponents from `start` to `end`; else as `linspace`."""
    values = _steps("logspace", start, end, steps)
    with np.errstate(all="ignore"):
        return options.leaf(np.power(float(base), values).astype(options.kind.np))
