"""`Measurement`: times of a statement, their median and quartiles, and PyTorch's text of them."""

from __future__ import annotations

import statistics
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Measurement", "TaskSpec"]

#: interquartile range over median, from which on the text has a warning
DOUBTFUL, BAD = 0.1, 0.25
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


@dataclass(frozen=True)
class TaskSpec:
    """Statement that is timed, and the words for it."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """Label, or the statement."""
        name = self.stmt if self.label is None else self.label
        if self.label is None and "\n" in name:
            note = f" ({self.sub_label})" if self.sub_label else ""
            return f"stmt:{note}\n{textwrap.indent(name, '  ')}"
        return f"{name}: {self.sub_label}" if self.sub_label else name

    def setup_str(self) -> str:
        """Return the setup as it is printed."""
        if self.setup in ("", "pass"):
            return ""
        several = "\n" in self.setup
        return f"setup:\n{textwrap.indent(self.setup, '  ')}" if several else f"setup: {self.setup}"

    def summarize(self) -> str:
        """Return title, description and setup."""
        parts = [part for part in (self.title, self.description, self.setup_str()) if part]
        return "\n".join(f"{part}\n" if "\n" in part else part for part in parts)


@dataclass(repr=False)
class Measurement:
    """Times of several runs of a statement; fields of its `TaskSpec` are attributes as well.

    Examples
    --------
    >>> Measurement(10, [2.0, 4.0, 9.0], TaskSpec("f()", "pass")).median
    0.4
    """

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if name in TaskSpec.__dataclass_fields__ or name == "title":
            return getattr(self.task_spec, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def times(self) -> list[float]:
        """Seconds a run of the statement."""
        return [seconds / self.number_per_run for seconds in self.raw_times]

    @property
    def median(self) -> float:
        """Median of the times, in seconds."""
        return statistics.median(self.times)

    @property
    def mean(self) -> float:
        """Mean of the times, in seconds."""
        return statistics.fmean(self.times)

    @property
    def _quartiles(self) -> tuple[float, float]:
        low, high = np.quantile(self.times, (0.25, 0.75)).tolist()
        return low, high

    @property
    def iqr(self) -> float:
        """Interquartile range, in seconds."""
        low, high = self._quartiles
        return high - low

    def meets_confidence(self, threshold: float = DOUBTFUL) -> bool:
        """Return True if the interquartile range is below a fraction of the median."""
        return self.iqr / self.median < threshold

    @property
    def has_warnings(self) -> bool:
        """True if the times vary so much that the text warns."""
        return not self.meets_confidence()

    @property
    def as_row_name(self) -> str:
        """Words for the row of a table."""
        return self.task_spec.sub_label or self.task_spec.stmt or "[Unknown]"

    def _warning(self) -> list[str]:
        """Lines for times that vary much."""
        if self.meets_confidence():
            return []
        gross = not self.meets_confidence(BAD)
        reason = (
            "This suggests significant environmental influence."
            if gross
            else "This could indicate system fluctuation."
        )
        percent = self.iqr / self.median * 100
        return [
            f"  WARNING: Interquartile range is {percent:.1f}% of the median measurement.",
            f"           {reason}",
        ]

    def __repr__(self) -> str:
        count, median = len(self.raw_times), self.median
        scale, unit = next((u for u in UNITS if median >= u[0]), UNITS[-1])
        lines = [
            object.__repr__(self),
            self.task_spec.summarize(),
            f"  {'Median: ' if count > 1 else ''}{median / scale:.2f} {unit}",
        ]
        if count >= 4:
            low, high = (quartile / scale for quartile in self._quartiles)
            lines.append(f"  IQR:    {high - low:.2f} {unit} ({low:.2f} to {high:.2f})")
        threads = self.task_spec.num_threads
        lines.append(
            f"  {count} measurement{'s' * (count > 1)}, {self.number_per_run} runs "
            f"{'per measurement,' if count > 1 else ','} {threads} thread{'s' * (threads > 1)}"
        )
        return "\n".join(lines + self._warning())

    @staticmethod
    def merge(measurements: Any) -> list[Measurement]:
        """Return one measurement for each statement, with the times of all."""
        groups: dict[TaskSpec, list[float]] = {}
        for measurement in measurements:
            groups.setdefault(measurement.task_spec, []).extend(measurement.times)
        return [Measurement(1, times, task_spec) for task_spec, times in groups.items()]
