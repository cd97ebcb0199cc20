"""The standard's `fft`, over the functions that tapegrad.numpy has for NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..base.devices import check_device
from ..base.dtypes import get_default_dtype
from ..numpy import fourier
from ..numpy.operands import as_result
from .data_types import numpy_kind

__all__ = ["fftfreq", "fftshift", "ifftshift", "rfftfreq"]


def _along_one(name: str) -> None:
    transform: Callable[..., Any] = getattr(fourier, name)

    def call(x: Any, /, *, n: Any = None, axis: int = -1, norm: Any = "backward") -> Any:
        return transform(x, n, axis, norm)

    _define(name, call)


def _along_several(name: str) -> None:
    transform: Callable[..., Any] = getattr(fourier, name)

    def call(x: Any, /, *, s: Any = None, axes: Any = None, norm: Any = "backward") -> Any:
        return transform(x, s, axes, norm)

    _define(name, call)


def _define(name: str, call: Any) -> None:
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"Transform, as `tapegrad.fft.{name}`."
    globals()[name] = call
    __all__.append(name)


for _name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
    _along_one(_name)
for _name in ("fftn", "ifftn", "rfftn", "irfftn"):
    _along_several(_name)


def _frequencies(name: str, n: int, d: float, dtype: Any, device: Any) -> Any:
    check_device(name, device)
    theirs: Any = getattr(np.fft, name)
    return as_result(theirs(n, d).astype(numpy_kind(dtype or get_default_dtype())))


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Any:
    """Return the frequencies of `fft`."""
    return _frequencies("fftfreq", n, d, dtype, device)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Any:
    """Return the frequencies of `rfft`."""
    return _frequencies("rfftfreq", n, d, dtype, device)


def fftshift(x: Any, /, *, axes: Any = None) -> Any:
    """Bring the frequency 0 to the middle."""
    return fourier.fftshift(x, axes)


def ifftshift(x: Any, /, *, axes: Any = None) -> Any:
    """Undo `fftshift`."""
    return fourier.ifftshift(x, axes)
