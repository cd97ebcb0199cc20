"""Our elementary functions stay within 2 ulp of the exact values, exp, tanh, sine and cosine within one."""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys
from typing import Any

import mpmath
import numpy as np
import pytest

import tapegrad as tg
from tapegrad.native.targets import host_levels
from tapegrad.native.ufunc_loops import native_kernel_address, ufunc_loop
from tapegrad.ops.kernels import exp_log as exp_kernels

MULTIPLES = np.arange(1, 3000) * np.pi / 2
POINTS = {
    "tiny": np.array([0.0, -0.0, 5e-324, 1e-300, -1e-20, 1e-9]),
    "usual": np.linspace(-10, 10, 801),
    "large": np.linspace(-1e6, 1e6, 801),
    "multiples of pi/2": MULTIPLES,
    "beside them": np.concatenate([np.nextafter(MULTIPLES, 0), -np.nextafter(MULTIPLES, np.inf)]),
    # doubles that are close to a multiple of pi/2
    "close": np.array(
        [11.0, 22.0, 44.0, 355.0, 710.0, 103993.0, 104348.0, 208341.0, 312689.0, 833719.0]
    ),
    "beyond the reduction": np.array([1.1e6, 1e9, 1e300]),
}


def in_line(function: Any, **options: Any) -> Any:
    """A compiled function that calls `function` for each number of a vector."""

    def each(x):
        out = np.empty_like(x)
        for i in range(len(x)):
            out[i] = function(x[i])
        return out

    return tg.njit(each, **options)


IN_LINE = {name: in_line(getattr(math, name)) for name in ("sin", "cos", "exp", "tanh")}


@pytest.mark.parametrize("points", POINTS.values(), ids=POINTS.keys())
@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("where", ["array", "in line"])
def test_sine_and_cosine_are_within_one_ulp(name: str, where: str, points: np.ndarray) -> None:
    function = getattr(tg, name) if where == "array" else IN_LINE[name]
    found = function(tg.tensor(points, requires_grad=True)).detach().numpy()
    assert (np.signbit(found) == np.signbit(getattr(np, name)(points))).all()
    with mpmath.workprec(1200):
        for x, y in zip(points, found, strict=True):
            exact = getattr(mpmath, name)(mpmath.mpf(float(x)))
            assert abs(mpmath.mpf(float(y)) - exact) <= 0.8 * np.spacing(abs(float(exact))), x


LIMITS = {"exp": 0.7, "tanh": 1.0, "log": 2.0}
EXPONENTS = np.concatenate([np.linspace(-3, 3, 301), np.linspace(-745, 709, 301)])
WIDE = {
    "exp": EXPONENTS,
    "log": np.concatenate([np.linspace(0.01, 3, 400), 10.0 ** np.linspace(-300, 300, 201)]),
    "tanh": np.concatenate(
        [np.linspace(-1, 1, 401), np.linspace(-25, 25, 201), [1e-300, 1e300, -0.0]]
    ),
}


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize("step", [1, 2], ids=["dense", "strided"])
def test_exponentials_within_two_ulp(name: str, step: int) -> None:
    """NumPy's loop, which is used where it is vectorised, the kernel, and what compiled functions have."""
    points = WIDE[name]
    x = tg.tensor(np.repeat(points, step))[::step]
    loop = ufunc_loop(getattr(np, name), (tg.float64, tg.float64))
    own = native_kernel_address(exp_kernels.KERNELS[name]), 0
    results = {"NumPy": computed(loop, x.numpy()), "own": computed(own, x.numpy())}
    if name in IN_LINE and step == 1:
        results["in line"] = IN_LINE[name](tg.tensor(points, requires_grad=True)).detach().numpy()
    for where, found in results.items():
        assert (np.signbit(found) == np.signbit(getattr(np, name)(points))).all()
        with mpmath.workprec(200):
            for at, y in zip(points, found, strict=True):
                exact = getattr(mpmath, name)(mpmath.mpf(float(at)))
                error = abs(mpmath.mpf(float(y)) - exact)
                limit = 2 if where == "NumPy" or abs(at) > 708 else LIMITS[name]
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
            given = tg.tensor(x, requires_grad=True)
            for function in (getattr(tg, name), IN_LINE.get(name)):
                if function is not None:
                    found = function(given).detach().numpy()
                    np.testing.assert_allclose(found, wanted, rtol=1e-15, err_msg=name)
                    assert (np.signbit(found) == np.signbit(wanted))[~np.isnan(wanted)].all()


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_non_finite(name: str) -> None:
    x = tg.tensor([np.inf, -np.inf, np.nan], requires_grad=True)
    assert np.isnan(getattr(tg, name)(x).detach().numpy()).all()
    assert np.isnan(IN_LINE[name](x).detach().numpy()).all()


@pytest.mark.parametrize("name", ["sin", "cos", "exp", "tanh"])
def test_fastmath_leaves_formulas_as_they_are(name: str) -> None:
    """It would drop what carries rounding errors, and the sums that round to an integer."""
    points = np.concatenate([np.linspace(-20, 20, 201), [-0.0]])
    x = tg.tensor(points, requires_grad=True)
    usual, fast = IN_LINE[name](x), in_line(getattr(math, name), fastmath=True)(x)
    np.testing.assert_array_equal(fast.detach().numpy(), usual.detach().numpy())


WITHOUT_FMA = """
import math
import os
import subprocess
import sys

import numpy as np

import tapegrad as tg
from tapegrad.native import targets

assert not targets.has_fma()


@tg.njit
def summed(x):
    total = 0.0
    for i in range(len(x)):
        total += math.sin(x[i]) * math.exp(x[i]) * math.tanh(x[i])
    return total


x = tg.tensor([0.3, 2.0, -5.0], requires_grad=True)
(wanted,) = tg.autograd.grad((x.sin() * x.exp() * x.tanh()).sum(), x)
value = summed(x)
(found,) = tg.autograd.grad(value, x)
assert value.item() == summed.primal(x.detach().numpy())
assert np.allclose(found.numpy(), wanted.numpy(), 1e-14, 1e-14)
"""


def test_processors_without_fused_multiply_add_have_libm() -> None:
    """Functions are then those of the C library, in arrays and in compiled functions."""
    if "x86-64-v2" not in [level.name for level in host_levels()]:
        pytest.skip("for AMD64 only")
    env = {**os.environ, "TAPEGRAD_TARGET": "x86-64-v2"}
    subprocess.run([sys.executable, "-c", WITHOUT_FMA], check=True, timeout=900, env=env)
