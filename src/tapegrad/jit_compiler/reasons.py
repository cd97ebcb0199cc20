"""Reasons for which a function was recorded again: what differed, and at which line."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .signatures import Signature, difference

__all__ = ["Reasons", "other_value"]

#: traces of one signature after which a warning says so
MANY = 8
#: elements of a value that are printed
FEW = 4


def other_value(
    now: Sequence[np.ndarray], known: Sequence[np.ndarray], lines: Sequence[str]
) -> str:
    """Return which of the values that a function reads is the first that is another one, in words.

    Parameters
    ----------
    now, known : sequence of ndarray
    lines : sequence of str
        Those that read them.
    """
    for a, b, line in zip(now, known, lines, strict=True):
        if a.tobytes() != b.tobytes():
            place = f" at {line}" if line else ""
            if a.size > FEW:
                return f"other values are read{place}"
            return f"{a.tolist()} is read, not {b.tolist()},{place}"
    return "a value that the function read is another one"


class Reasons:
    """The reason for each trace of a function."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def note(
        self, name: str, signature: Signature, traces: dict[Signature, list[Any]],
        differences: Sequence[str],
    ) -> None:  # fmt: skip
        """Note the reason for a new trace; warn if there are many of one signature.

        Parameters
        ----------
        name : str
            Of the function.
        signature : Signature
        traces : dict
            Those that there are, by signature.
        differences : sequence of str
            The reasons for which traces of this signature are not right, the newest first.
        """
        known = traces.get(signature, ())
        if known:
            reason = differences[0] if differences else "another thread recorded it, too"
            if len(known) % MANY == 0:
                warnings.warn(
                    f"{name} was recorded {len(known)} times for one signature, the last time because "
                    f"{reason}",
                    UserWarning, stacklevel=5,
                )  # fmt: skip
        elif traces:
            reason = difference(signature, next(reversed(traces)))
        else:
            reason = "the first call"
        self._texts.append(f"{reason}: {signature}")

    def text(self) -> str:
        """Return a line for each trace."""
        lines = [f"trace {i}: {reason}" for i, reason in enumerate(self._texts)]
        return "\n".join(lines) or "no trace yet"
