"""The vectorised sine and cosine stay within 2 ulp of the exact values."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import tapegrad as tg

POINTS = {
    "usual": np.linspace(-10, 10, 801),
    "large": np.linspace(-1e6, 1e6, 801),
    "multiples of pi/2": np.arange(1, 600) * np.pi / 2,
    "beyond the reduction": np.array([1.1e6, 1e9, 1e300]),
}


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("points", POINTS.values(), ids=POINTS.keys())
def test_within_two_ulp(name: str, points: np.ndarray) -> None:
    found = getattr(tg, name)(tg.tensor(points)).numpy()
    with mpmath.workprec(1200):
        for x, y in zip(points, found, strict=True):
            exact = getattr(mpmath, name)(mpmath.mpf(float(x)))
            assert abs(mpmath.mpf(float(y)) - exact) <= 2 * np.spacing(abs(float(exact)))


def test_non_finite() -> None:
    x = tg.tensor([np.inf, -np.inf, np.nan])
    assert np.isnan(x.sin().numpy()).all()
    assert np.isnan(x.cos().numpy()).all()
