"""The loop over the steps of a solve, and the results at the times that are asked for.

The steps that are accepted are what is differentiated: each is one statement of the tape (or, where the
function could not be compiled, its operations), and nothing else is recorded. Start reading at `solution`,
then `_adaptive`.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import float64
from ..base.errors import UnsupportedError
from ..functions.registry import FUNCTIONS
from ..tape.current import current_tape
from ..tape.recording import leaf_tensor
from . import arguments
from .controller import Limits, accepted
from .programs import Program, program_for

__all__ = ["Problem", "problem_of", "solution"]


class Problem(NamedTuple):
    """The arguments of a solve, checked."""

    name: str
    func: Callable[..., Any]
    y: Any
    layout: arguments.StateLayout
    times: arguments.Times
    rtol: Any
    atol: Any
    method: str
    options: dict[str, Any]
    args: tuple[Any, ...]


class _Interval(NamedTuple):
    """A step that was accepted: the numbers and tensors that its dense output takes."""

    t: float
    h: float
    y: Any
    carry: tuple[Any, ...]
    state: Any
    rest: tuple[Any, ...]


def problem_of(
    name: str,
    func: Any,
    y0: Any,
    t: Any,
    rtol: Any,
    atol: Any,
    method: Any,
    options: Any,
    args: Any,
) -> Problem:
    """Return the arguments of a solve, checked."""
    if not callable(func):
        raise TypeError(f"{name}: func must be a function of t and y, got {type(func).__name__}")
    if not isinstance(args, tuple):
        raise TypeError(f"{name}: args must be a tuple, got {type(args).__name__}")
    method = arguments.checked_method(name, method)
    values = arguments.checked_options(name, method, options)
    if arguments.is_adaptive(method) and current_tape().abstract:
        raise UnsupportedError(
            f"{name}: the steps of method {method!r} depend on values, which a function that is compiled or "
            "traced does not have; call it outside (func is compiled by itself), or take a method with "
            "fixed steps"
        )
    y, layout = arguments.checked_state(name, y0)
    times = arguments.checked_times(name, t)
    tolerances = [
        arguments.checked_tolerance(name, which, value, y, layout)
        for which, value in (("rtol", rtol), ("atol", atol))
    ]
    rtol, atol = tolerances
    return Problem(name, func, y, layout, times, rtol, atol, method, values, args)


def solution(problem: Problem) -> Any:
    """Return the solution at all times, as one tensor."""
    if len(problem.times.numbers) == 1:
        return problem.y.unsqueeze(0)
    program = program_for(problem.name, problem.func, problem.method, problem.layout, problem.args)
    was_busy, program.is_busy = program.is_busy, True
    try:
        solve = _adaptive if arguments.is_adaptive(problem.method) else _fixed
        with program.unseen_memory(problem.y):
            states = solve(program, problem)
        return FUNCTIONS["stack"](states)
    finally:
        program.is_busy = was_busy


# --------------------------------------------------------------------------- adaptive steps
def _numbers(values: Any) -> Any:
    """A tensor whose memory nobody else sees, so that calls with it are recorded by native code."""
    return leaf_tensor(np.array(values, np.float64), float64)


def _adaptive(program: Program, problem: Problem) -> list[Any]:
    """States at the times, by steps of a size that the error estimate chooses."""
    options, numbers, y = problem.options, problem.times.numbers, problem.y
    bounds = Limits(numbers[-1], *(float(options[key]) for key in Limits._fields[1:]))
    limits = _numbers(bounds)
    given = problem.times.tensor
    shift = given[0].to(y.dtype)
    shift = shift - shift.detach()  # nothing, but a time that may be differentiated by
    fixed = shift, problem.rtol, problem.atol, limits
    slope, sizes = program.start(_numbers([0.0, numbers[0], 0.0]), y, *fixed)
    t, end = numbers[0], numbers[-1]
    h, norm = sizes.tolist()
    if not math.isfinite(norm):
        raise RuntimeError(_not_finite(problem, t))
    h = min(float(options["first_step"] or h), bounds.max_step, abs(end - t))
    h = math.copysign(max(h, min(bounds.min_step, abs(end - t))), end - t)
    status, carry = _numbers([0.0, t, h]), program.stepper.begin(slope)
    intervals: list[_Interval] = []
    steps, count, wanted, ratio = 0, len(carry), 1, 0.0
    most = int(options["max_num_steps"])
    while t != end:
        if steps == most:
            raise RuntimeError(
                f"{problem.name}: max_num_steps ({most}) steps were taken and t = {t:g} reached, of {end:g}; "
                "a stiff system needs method='rodas4'"
            )
        if abs(h) < 10 * math.ulp(t) and abs(end - t) > abs(h):
            raise RuntimeError(_underflow(program, problem, t, h, y, ratio))
        advance = program.step if steps else program.first
        status, state, *rest = advance(status, y, *fixed, *carry)
        steps += 1
        ratio, reached, following = status.tolist()
        if accepted(ratio, h, bounds.min_step):
            if (numbers[wanted] - reached) * h <= 0:  # there are times in this step
                intervals.append(_Interval(t, h, y, carry, state, tuple(rest)))
                while wanted < len(numbers) and (numbers[wanted] - reached) * h <= 0:
                    wanted += 1
            t, y, carry = reached, state, tuple(rest[:count])
        h = following
    return [problem.y, *_at_times(program, problem, intervals, shift)]


def _at_times(
    program: Program, problem: Problem, intervals: list[_Interval], shift: Any
) -> list[Any]:
    """States at all times but the first, by the dense output of the steps around them."""
    numbers, kind = np.array(problem.times.numbers), problem.y.dtype
    sign = math.copysign(1, intervals[0].h)
    starts = [sign * step.t for step in intervals]
    which = [bisect.bisect_left(starts, sign * t) - 1 for t in numbers[1:]]
    begins = np.array([intervals[i].t for i in which])
    sizes = np.array([intervals[i].h for i in which])
    if problem.times.tensor.requires_grad:
        t = problem.times.tensor[1:] - _numbers(begins) - shift
        places = (t / _numbers(sizes)).to(kind)
    else:
        places = _numbers((numbers[1:] - begins) / sizes).to(kind)
    lengths = _numbers(sizes).to(kind)
    results = []
    for k, i in enumerate(which):
        _, _, y, carry, state, rest = intervals[i]
        if k == len(which) - 1 and not problem.times.tensor.requires_grad:
            results.append(state)  # the last step ends there
        else:
            results.append(program.dense(places[k], lengths[k], y, state, *carry, *rest))
    return results


def _not_finite(problem: Problem, t: float) -> str:
    return f"{problem.name}: func returned NaN or infinity at t = {t:g}"


def _underflow(program: Program, problem: Problem, t: float, h: float, y: Any, ratio: float) -> str:
    """The text of the error for a step that is too small."""
    if not math.isfinite(ratio):
        return _not_finite(problem, t) + " or right behind it, however small the step"
    remedy = "the solution may have a singularity there, or the tolerances are too small"
    if problem.method == "dopri5":
        remedy += "; a stiff system needs method='rodas4'"
    return f"{problem.name}: the step size became {abs(h):.3g} at t = {t:g}: {remedy}"


# --------------------------------------------------------------------------- fixed steps
def _fixed(program: Program, problem: Problem) -> list[Any]:
    """States at the times, by steps of fixed size."""
    size, y, times = problem.options["step_size"], problem.y, problem.times
    if size is None:
        return _over(program, y, times.tensor.to(y.dtype), len(times.numbers))
    first, last = times.numbers[0], times.numbers[-1]
    count = max(1, math.ceil(abs(last - first) / float(size) - 1e-9))
    offsets = np.arange(count + 1) * math.copysign(float(size), last - first)
    offsets[-1] = last - first
    begin = times.tensor[0]
    grid = (begin + _numbers(offsets)).to(y.dtype)
    states = _over(program, y, grid, count + 1)
    known = [first + x for x in offsets]
    sign = math.copysign(1, last - first)
    results = [y]
    for k, t in enumerate(times.numbers[1:], 1):
        i = min(bisect.bisect_left([sign * x for x in known], sign * t), count) - 1
        low, high = grid[i], grid[i + 1]
        at = times.tensor[k].to(y.dtype)
        if known[i + 1] == t and not times.tensor.requires_grad:
            results.append(states[i + 1])
            continue
        h, x = high - low, (at - low) / (high - low)
        before, after = states[i], states[i + 1]
        value = before + (after - before) * x
        if problem.options["interp"] == "cubic":
            slopes = program.slope(low, before), program.slope(high, after)
            change = after - before
            z = 1 - x
            value = value + x * z * ((h * slopes[0] - change) * z - (h * slopes[1] - change) * x)
        results.append(value)
    return results


def _over(program: Program, y: Any, grid: Any, count: int) -> list[Any]:
    """States at each of a grid's times."""
    sizes = grid[1:] - grid[:-1]
    states = [y]
    for i in range(count - 1):
        states.append(program.fixed(grid[i], sizes[i], states[-1]))
    return states
