"""Discrete Fourier transforms along one dimension, by NumPy's loops (pocketfft).

The rows are PyTorch's: between complex numbers (`c2c`), from real ones to the half of the result that is not
its conjugate (`r2c`), and back (`c2r`). All are linear, so each one's rule is another one: the adjoint of a
transform is the transform back, without its factor ``1 / n``. Half of a result stands for both halves but for
its ends, which `inner_times` makes up for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.fft import _pocketfft_umath as pocketfft  # type: ignore[attr-defined]

from ..base.dtypes import complex_of, real_of
from ..native.ufunc_loops import ufunc_loop
from .layout import Layout, contiguous
from .linalg.loops import Matrices, kernel_step
from .program import address_operand, arg, constant
from .table import Lowered, Op, op

__all__: list[str] = []


def _row(number: int, layout: Layout, dim: int, axis: int) -> Matrices:
    """Operand `number`, whose dimension `dim` is the loop's core dimension `axis`."""
    rest = layout.strides[:dim] + layout.strides[dim + 1 :]
    return Matrices(arg(number, rest), (layout.strides[dim],), (axis,), layout.dtype)


def _transformed(x: Layout, out: Layout, ufunc: np.ufunc, dim: int, scale: float) -> Lowered:
    """Lower a transform by a gufunc's loop, which multiplies with a factor."""
    kind = real_of(x.dtype)
    batch = x.shape[:dim] + x.shape[dim + 1 :]
    factor = Matrices(address_operand(constant(scale, kind.np), len(batch)), (), (), kind)
    loop = ufunc_loop(ufunc, (x.dtype, kind, out.dtype))
    operands = [_row(0, x, dim, 0), factor, _row(1, out, dim, 1)]
    step = kernel_step(loop, batch, (x.shape[dim], out.shape[dim]), operands)
    return Lowered((out,), (step,) if out.size else ())


def lower_c2c(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Transform along ``attrs["dim"]``, ``forward`` or back, times ``scale``."""
    (x,) = layouts
    ufunc = pocketfft.fft if attrs["forward"] else pocketfft.ifft
    return _transformed(x, contiguous(x.dtype, x.shape), ufunc, attrs["dim"], attrs["scale"])


def lower_r2c(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Transform real numbers: the first half of the result."""
    (x,) = layouts
    dim = attrs["dim"]
    n = x.shape[dim]
    out = contiguous(complex_of(x.dtype), (*x.shape[:dim], n // 2 + 1, *x.shape[dim + 1 :]))
    ufunc = pocketfft.rfft_n_odd if n % 2 else pocketfft.rfft_n_even
    return _transformed(x, out, ufunc, dim, attrs["scale"])


def lower_c2r(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Transform the first half of what is symmetric back: ``attrs["n"]`` real numbers."""
    (x,) = layouts
    dim = attrs["dim"]
    out = contiguous(real_of(x.dtype), (*x.shape[:dim], attrs["n"], *x.shape[dim + 1 :]))
    return _transformed(x, out, pocketfft.irfft, dim, attrs["scale"])


def inner_times(x: Any, dim: int, n: int, factor: float) -> Any:
    """Multiply all of half a transform of `n` numbers but what is its own conjugate."""
    m = x.shape[dim]
    end = m - (n % 2 == 0)
    if end <= 1:
        return x
    parts = [x.narrow(dim, 0, 1), x.narrow(dim, 1, end - 1) * factor]
    if end < m:
        parts.append(x.narrow(dim, end, 1))
    return parts[0]._apply("cat", *parts[1:], dim=dim)


op(
    "fft_c2c", lower=lower_c2c, grad_fn="FftC2CBackward0", torch=None, of_complex="plain",
    vjp=lambda ct, x, out, dim, forward, scale: ct._apply(
        "fft_c2c", dim=dim, forward=not forward, scale=scale
    ),
)  # fmt: skip
op(
    "fft_r2c", lower=lower_r2c, grad_fn="FftR2CBackward0", torch=None, of_complex="plain",
    vjp=lambda ct, x, out, dim, scale: inner_times(ct, dim, x.shape[dim], 0.5)._apply(
        "fft_c2r", dim=dim, n=x.shape[dim], scale=scale
    ),
)  # fmt: skip
op(
    "fft_c2r", lower=lower_c2r, grad_fn="FftC2RBackward0", torch=None, of_complex="plain",
    vjp=lambda ct, x, out, dim, n, scale: inner_times(
        ct._apply("fft_r2c", dim=dim, scale=scale), dim, n, 2.0
    ),
)  # fmt: skip
