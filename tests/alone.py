"""Tests on a tape that nobody used before."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def alone(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a thread of its own, on a new tape: others may have left long ones."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(test, *args, **kwargs).result()

    return run
