"""`numpy.fft` on Tensors, with NumPy's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import fft as ours
from .operands import as_tensor, axes_of, written

__all__ = [
    "fft", "fft2", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift", "ihfft", "irfft",
    "irfft2", "irfftn", "rfft", "rfft2", "rfftn",
]  # fmt: skip


def _along_one(name: str) -> Callable[..., Any]:
    transform = getattr(ours, name)

    def call(
        a: Any, n: Any = None, axis: int = -1, norm: str | None = None, out: Any = None
    ) -> Any:
        x = as_tensor(a, f"fft.{name}")
        return written(f"fft.{name}", transform(x, n, axis, norm), out)

    call.__name__ = call.__qualname__ = name
    return call


def _along_several(name: str, default: tuple[int, ...] | None) -> Callable[..., Any]:
    transform = getattr(ours, name)

    def call(
        a: Any, s: Any = None, axes: Any = default, norm: str | None = None, out: Any = None
    ) -> Any:
        x = as_tensor(a, f"fft.{name}")
        return written(f"fft.{name}", transform(x, axes_of(s), axes_of(axes), norm), out)

    call.__name__ = call.__qualname__ = name
    return call


fft, ifft, rfft, irfft, hfft, ihfft = map(
    _along_one, ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
)
fft2, ifft2, rfft2, irfft2 = (
    _along_several(n, (-2, -1)) for n in ("fft2", "ifft2", "rfft2", "irfft2")
)
fftn, ifftn, rfftn, irfftn = (_along_several(n, None) for n in ("fftn", "ifftn", "rfftn", "irfftn"))


def fftshift(x: Any, axes: Any = None) -> Any:
    """Bring the frequency 0 to the middle."""
    return ours.fftshift(as_tensor(x, "fft.fftshift"), axes_of(axes))


def ifftshift(x: Any, axes: Any = None) -> Any:
    """Undo `fftshift`."""
    return ours.ifftshift(as_tensor(x, "fft.ifftshift"), axes_of(axes))
