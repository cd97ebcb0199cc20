"""`Timer`: the standard library's `timeit`, with a warm-up and as many runs as a measurement takes.

A statement that only records is not waited for: time what reads its values (docs/timing.md).
"""

from __future__ import annotations

import statistics
import sys
import textwrap
import timeit
from collections.abc import Callable
from typing import Any

from .measurement import Measurement, TaskSpec

__all__ = ["Timer"]


def _dedented(text: str) -> str:
    """Return code without its indentation and first line break."""
    return textwrap.dedent(text).removeprefix("\n").rstrip()


class Timer:
    """Timer of a statement.

    Parameters
    ----------
    stmt, setup : str, optional
        Code to time, and code that is run once before. ``torch`` is this package unless `globals` has it.
    global_setup : str, optional
        For C++ only.
    timer : callable, optional
        Clock.
    globals : dict, optional
        Names that the code uses.
    label, sub_label, description, env : str, optional
        Words that are printed.
    num_threads : int, optional
        Printed; tapegrad's kernels run in the thread that asks for a value.
    language : str, optional
        Python.

    Raises
    ------
    ValueError
        For a statement that is no text, and for C++.

    Examples
    --------
    >>> Timer("x + 1", globals={"x": 1}).timeit(100).number_per_run
    100
    """

    def __init__(
        self,
        stmt: str = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = timeit.default_timer,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int = 1,
        language: str = "python",
    ) -> None:
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        if language not in ("py", "python"):
            raise ValueError(f"Invalid language `{language}`.")
        if global_setup:
            raise ValueError(
                f"global_setup is C++ only, got `{global_setup}`. Most likely this code can simply be moved "
                "to `setup`."
            )
        names = {"torch": sys.modules[__name__.partition(".")[0]], **(globals or {})}
        stmt, setup = _dedented(stmt), _dedented(setup)
        self._timer = timeit.Timer(stmt=stmt, setup=setup, timer=timer, globals=names)
        self._task_spec = TaskSpec(
            stmt, setup, global_setup, label, sub_label, description, env, num_threads
        )

    def _run(self, number: int) -> float:
        """Seconds that the statement takes when run so often; never zero."""
        return max(self._timer.timeit(number), 1e-9)

    def timeit(self, number: int = 1000000) -> Measurement:
        """Time the statement, run `number` times, once."""
        self._run(max(number // 100, 2))  # the first runs compile
        return Measurement(number, [self._run(number)], self._task_spec)

    def _block_size(self, min_run_time: float) -> int:
        """Number of runs, in the time of which that of the clock does not matter."""
        overhead = statistics.median(self._run(0) for _ in range(5))
        number = 1
        while True:
            seconds = self._run(number)
            enough = overhead / seconds <= 1e-4 and seconds >= min_run_time / 1000
            if enough or seconds > min_run_time or number * 10 > 2**31 - 1:
                return number
            number *= 10

    def blocked_autorange(
        self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Time blocks of runs until `min_run_time` seconds are over; `callback` is told of each."""
        return self._measured(
            self._block_size(min_run_time), min_run_time, float("inf"), float("inf"), callback
        )

    def adaptive_autorange(
        self,
        threshold: float = 0.1,
        *,
        min_run_time: float = 0.01,
        max_run_time: float = 10.0,
        callback: Callable[[int, float], Any] | None = None,
    ) -> Measurement:
        """Time blocks of runs until the interquartile range is below `threshold` of the median."""
        return self._measured(
            self._block_size(0.05), min_run_time, max_run_time, threshold, callback
        )

    def _measured(
        self,
        number: int,
        min_run_time: float,
        max_run_time: float,
        threshold: float,
        callback: Callable[[int, float], Any] | None,
    ) -> Measurement:
        """Blocks of runs until there are enough, and these vary little or there is no more time."""
        result = Measurement(number, [], self._task_spec)
        total = 0.0
        while True:
            seconds = self._run(number)
            result.raw_times.append(seconds)
            total += seconds
            if callback is not None:
                callback(number, seconds)
            steady = threshold == float("inf") or (
                len(result.raw_times) > 3 and result.meets_confidence(threshold)
            )
            if total > max_run_time or (total >= min_run_time and steady):
                return result
