"""Work counted in calls, which is the same on every machine; time is measured by the benchmarks."""

from __future__ import annotations

import sys
from collections.abc import Callable

__all__ = ["calls"]


def calls(function: Callable[[], object]) -> int:
    """How many functions, of Python or C, a call calls."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count
