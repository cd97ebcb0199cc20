"""Functions under `njit` that tests of compiled functions call."""

import tapegrad as tg


@tg.njit
def power(x, n):  # type: ignore[no-untyped-def]
    y = 1.0
    for _ in range(n):
        y = y * x
    return y


@tg.njit
def refuses(x):  # type: ignore[no-untyped-def]
    if x[0] > 1:
        raise ValueError("too large")
    return x * 2
