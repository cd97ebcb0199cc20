"""The vectorised elementary functions stay within 2 ulp of the exact values."""

from __future__ import annotations

import ctypes
import math

import mpmath
import numpy as np
import pytest

import tapegrad as tg
from tapegrad.kernels import native_kernel_address, ufunc_loop
from tapegrad.ops import exp_kernels

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


EXPONENTS = np.concatenate([np.linspace(-3, 3, 301), np.linspace(-745, 709, 301)])
WIDE = {
    "exp": EXPONENTS,
    "log": np.concatenate([np.linspace(0.01, 3, 400), 10.0 ** np.linspace(-300, 300, 201)]),
    "tanh": np.concatenate([np.linspace(-1, 1, 401), np.linspace(-25, 25, 201), [1e-300, 1e300]]),
}


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("step", [1, 2], ids=["dense", "strided"])
def test_exponentials_within_two_ulp(name: str, step: int) -> None:
    """As they are used here: NumPy's loop where it is vectorised, the kernel elsewhere."""
    points = WIDE[name]
    x = tg.tensor(np.repeat(points, step))[::step]
    loop = ufunc_loop(getattr(np, name), (tg.float64, tg.float64))
    for kernel in ((native_kernel_address(exp_kernels.KERNELS[name]), 0), loop):
        found = computed(kernel, x.numpy())
        with mpmath.workprec(200):
            for at, y in zip(points, found, strict=True):
                exact = getattr(mpmath, name)(mpmath.mpf(float(at)))
                error = abs(mpmath.mpf(float(y)) - exact)
                limit = 0.7 if name == "exp" and abs(at) <= 708 else 2
                assert error <= limit * np.spacing(abs(float(exact))), (name, at)


def computed(kernel: tuple[int, int], source: np.ndarray) -> np.ndarray:
    """What a kernel makes of a vector."""
    out = np.empty(len(source))
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(kernel[0])
    run(
        (ctypes.c_void_p * 2)(source.ctypes.data, out.ctypes.data), (ctypes.c_ssize_t * 1)(len(out)),
        (ctypes.c_ssize_t * 2)(source.strides[0], 8), kernel[1],
    )  # fmt: skip
    return out


def test_powers_of_e_print_as_everywhere() -> None:
    """PyTorch's tutorials print them."""
    numbers = list(range(-40, 41))
    found = computed(
        (native_kernel_address(exp_kernels.KERNELS["exp"]), 0), np.array(numbers, float)
    )
    assert found.tolist() == [math.exp(k) for k in numbers]


def test_exponentials_outside_of_the_range() -> None:
    x = np.array([0.0, -0.0, 800.0, -800.0, np.inf, -np.inf, np.nan, 5e-324, -1.0, 1.0])
    with np.errstate(all="ignore"):
        for name in WIDE:
            wanted = getattr(np, name)(x)
            found = getattr(tg, name)(tg.tensor(x)).numpy()
            np.testing.assert_allclose(found, wanted, rtol=1e-15, err_msg=name)
            assert (np.signbit(found) == np.signbit(wanted))[~np.isnan(wanted)].all()


def test_non_finite() -> None:
    x = tg.tensor([np.inf, -np.inf, np.nan])
    assert np.isnan(x.sin().numpy()).all()
    assert np.isnan(x.cos().numpy()).all()
