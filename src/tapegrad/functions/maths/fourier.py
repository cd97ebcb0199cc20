"""Discrete Fourier transforms, with PyTorch's arguments: the functions of ``tapegrad.fft``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...base.dtypes import FLOATING, category, complex_of, float16, get_default_dtype, scalar_name
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_ints, distinct, wrap_dim
from ..options import Options, factory
from ..registry import FUNCTIONS, in_package
from ..signature import Dims, Tensor

__all__: list[str] = []

_function = in_package("fft")


# --------------------------------------------------------------------------- operands
def _scale(norm: str | None, n: int, *, forward: bool) -> float:
    """The factor of a transform of `n` numbers in all."""
    mode = "backward" if norm is None else norm
    if mode not in ("forward", "backward", "ortho"):
        raise RuntimeError(f'Invalid normalization mode: "{mode}"')
    if mode == "ortho":
        return 1 / math.sqrt(n)
    return 1 / n if (mode == "forward") == forward else 1.0


def _number(input: Any, *, real: bool = False, name: str = "") -> Any:
    """The operand as floating or complex numbers; as complex ones unless it has to be real."""
    kind = layout_of(input).dtype
    if kind is float16:
        raise RuntimeError("Unsupported dtype Half: convert with .float()")
    if real:
        if kind.is_complex:
            raise RuntimeError(f"{name} expects a real input tensor, but got {scalar_name(kind)}")
        return record.cast(input, get_default_dtype()) if category(kind) < FLOATING else input
    if category(kind) < FLOATING:
        kind = get_default_dtype()
    return record.cast(input, complex_of(kind))


def _sized(x: Any, dim: int, n: int) -> Any:
    """The operand with `n` elements along a dimension: zeros behind, or without the last ones."""
    length = x.shape[dim]
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    if n == length:
        return x
    if n < length:
        return x.narrow(dim, 0, n)
    pad = [0] * (2 * (x.ndim - dim))
    pad[-1] = n - length
    zero = record.as_operand(0, x.dtype)
    return record.apply(TABLE["constant_pad_nd"], (x, zero), pad=tuple(pad))


def _one_dim(input: Any, dim: int) -> int:
    ndim = layout_of(input).ndim
    if not ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return wrap_dim(dim, ndim)


def _dims(input: Any, s: Any, dim: Any) -> tuple[list[int], list[int]]:
    """Dimensions of a transform along several, and lengths there."""
    shape = tuple(layout_of(input).shape)
    ndim = len(shape)
    if dim is not None:
        dims = [wrap_dim(d, ndim) for d in as_ints(dim)]
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
    elif s is not None:
        if len(as_ints(s)) > ndim:
            raise RuntimeError(
                f"Got shape with {len(as_ints(s))} values but input tensor only has {ndim} dimensions."
            )
        dims = list(range(ndim - len(as_ints(s)), ndim))
    else:
        dims = list(range(ndim))
    if s is None:
        return dims, [shape[d] for d in dims]
    lengths = list(as_ints(s))
    if len(lengths) != len(dims):
        raise RuntimeError("When given, dim and shape arguments must have the same length")
    return dims, [shape[d] if n == -1 else n for d, n in zip(dims, lengths, strict=True)]


# --------------------------------------------------------------------------- transforms
def _c2c(x: Any, dims: Sequence[int], lengths: Sequence[int], norm: Any, *, forward: bool) -> Any:
    """Transform complex numbers along dimensions."""
    for d, n in zip(dims, lengths, strict=True):
        x = _sized(x, d, n)
    scale = _scale(norm, math.prod(lengths), forward=forward)
    if not dims:
        return x
    for d in dims:
        x = record.apply(TABLE["fft_c2c"], (x,), dim=d, forward=forward, scale=scale)
        scale = 1.0
    return x


def _r2c(x: Any, dims: Sequence[int], lengths: Sequence[int], norm: Any, *, forward: bool) -> Any:
    """Transform real numbers, the last dimension first; where not `forward`, the conjugates."""
    for d, n in zip(dims, lengths, strict=True):
        x = _sized(x, d, n)
    scale = _scale(norm, math.prod(lengths), forward=forward)
    half = record.apply(TABLE["fft_r2c"], (x,), dim=dims[-1], scale=scale)
    if not forward:
        half = half.conj()
    for d in dims[:-1]:
        half = record.apply(TABLE["fft_c2c"], (half,), dim=d, forward=forward, scale=1.0)
    return half


def _c2r(x: Any, dims: Sequence[int], lengths: Sequence[int], norm: Any, *, forward: bool) -> Any:
    """Transform what is symmetric to real numbers, the last dimension last; the conjugates if `forward`."""
    last = dims[-1]
    if lengths[-1] < 1:
        raise RuntimeError(f"Invalid number of data points ({lengths[-1]}) specified")
    for d, n in zip(dims[:-1], lengths[:-1], strict=True):
        x = _sized(x, d, n)
    x = _sized(x, last, lengths[-1] // 2 + 1)
    scale = _scale(norm, math.prod(lengths), forward=forward)
    for d in dims[:-1]:
        x = record.apply(TABLE["fft_c2c"], (x,), dim=d, forward=forward, scale=1.0)
    if forward:
        x = x.conj()
    return record.apply(TABLE["fft_c2r"], (x,), dim=last, n=lengths[-1], scale=scale)


def _along(input: Any, n: Any, dim: Any, transform: Any, *, to_real: bool = False) -> Any:
    d = _one_dim(input, dim)
    length = n
    if n is None:
        length = 2 * (input.shape[d] - 1) if to_real else input.shape[d]
    if length < 1:
        raise RuntimeError(f"Invalid number of data points ({length}) specified")
    return transform([d], [length])


def _along_several(input: Any, s: Any, dim: Any, transform: Any, *, to_real: bool = False) -> Any:
    dims, lengths = _dims(input, s, dim)
    if to_real and (s is None or as_ints(s)[-1] == -1) and dims:
        lengths[-1] = 2 * (input.shape[dims[-1]] - 1)
    for n in lengths:
        if n < 1:
            raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return transform(dims, lengths)


_ARGUMENTS = """

    Parameters
    ----------
    input : Tensor
        {operand}
    {size}
    norm : {{"backward", "ortho", "forward"}}, optional
        Where the factor ``1 / n`` is: at the transform back (the default), a root of it at both, or at the
        transform forward.

    Returns
    -------
    Tensor
        {result}

    Raises
    ------
    RuntimeError
        For a length below 1, a dimension that is not there or is named twice, and another `norm`.
"""
_N = """n : int, optional
        Length of the transform: of the {of} by default; else it is cut, or zeros are appended.
    dim : int"""
_S = """s : sequence of int, optional
        Lengths of the transform along `dim`; -1 for the {of}.
    dim : sequence of int"""
#: name -> sentence, kind of transform, whether it goes forward
_KINDS: dict[str, tuple[str, str, bool]] = {
    "fft": ("Discrete Fourier transform", "c2c", True),
    "ifft": ("Discrete Fourier transform back", "c2c", False),
    "rfft": ("Fourier transform of real numbers: half of it, as the other is conjugate", "r2c", True),
    "irfft": ("Transform of half a symmetric spectrum back to real numbers", "c2r", False),
    "hfft": ("Discrete Fourier transform of half a symmetric signal: real numbers", "c2r", True),
    "ihfft": ("Discrete Fourier transform of real numbers back: half a symmetric signal", "r2c", False),
}  # fmt: skip


def _transform(kind: str, name: str, input: Any, norm: Any, *, forward: bool) -> Callable[..., Any]:
    """The transform of an operand, as a function of dimensions and lengths."""
    call = {"c2c": _c2c, "r2c": _r2c, "c2r": _c2r}[kind]
    x = _number(input, real=kind == "r2c", name=name)
    return lambda dims, lengths: call(x, dims, lengths, norm, forward=forward)


def _add(name: str) -> None:
    """Register the three functions of a kind: along one dimension, two, and several."""
    sentence, kind, forward = _KINDS[name]
    of = "result is 2 * (length - 1)" if kind == "c2r" else "input"
    words = {
        "operand": "Real, of at least one dimension."
        if kind == "r2c"
        else "Of at least one dimension.",
        "result": "Real." if kind == "c2r" else "Complex.",
    }
    to_real = kind == "c2r"

    def along_one(
        input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None
    ) -> Tensor:
        transform = _transform(kind, name, input, norm, forward=forward)
        return _along(input, n, dim, transform, to_real=to_real)

    def along_two(
        input: Tensor, s: Dims | None = None, dim: Dims = (-2, -1), norm: str | None = None
    ) -> Tensor:
        transform = _transform(kind, f"{name}2", input, norm, forward=forward)
        return _along_several(input, s, dim, transform, to_real=to_real)

    def along_several(
        input: Tensor, s: Dims | None = None, dim: Dims | None = None, norm: str | None = None
    ) -> Tensor:
        full = f"{name}n"
        transform = _transform(kind, full, input, norm, forward=forward)
        if kind != "c2c" and not (layout_of(input).ndim and (dim is None or as_ints(dim))):
            raise RuntimeError(f"{full} must transform at least one axis")
        return _along_several(input, s, dim, transform, to_real=to_real)

    for f, label, size, where in (
        (along_one, name, _N, ""), (along_two, f"{name}2", _S, " along two dimensions"),
        (along_several, f"{name}n", _S, " along dimensions, all by default"),
    ):  # fmt: skip
        f.__name__ = f.__qualname__ = label
        f.__doc__ = f"{sentence}{where}." + _ARGUMENTS.format(size=size.format(of=of), **words)
        _function(f)


for _name in _KINDS:
    _add(_name)


# --------------------------------------------------------------------------- frequencies
@factory(name="fft_fftfreq")
def fftfreq(n: int, d: float = 1.0, *, options: Options) -> Tensor:
    """Make the frequencies of `fft` of `n` numbers that are `d` apart, in cycles a unit of `d`."""
    return options.leaf(np.fft.fftfreq(n, d).astype(options.kind.np))


@factory(name="fft_rfftfreq")
def rfftfreq(n: int, d: float = 1.0, *, options: Options) -> Tensor:
    """Make the frequencies of `rfft` of `n` numbers that are `d` apart, in cycles a unit of `d`."""
    return options.leaf(np.fft.rfftfreq(n, d).astype(options.kind.np))


def _shifted(input: Any, dim: Any, *, back: bool) -> Any:
    ndim = layout_of(input).ndim
    dims = list(range(ndim)) if dim is None else list(distinct(as_ints(dim), ndim))
    shifts = [(n + 1) // 2 if back else n // 2 for n in (input.shape[d] for d in dims)]
    return FUNCTIONS["roll"](input, tuple(shifts), tuple(dims)) if dims else input.clone()


@_function
def fftshift(input: Tensor, dim: Dims | None = None) -> Tensor:
    """Bring the frequency 0 to the middle, along dimensions (all by default)."""
    return _shifted(input, dim, back=False)


@_function
def ifftshift(input: Tensor, dim: Dims | None = None) -> Tensor:
    """Undo `fftshift`."""
    return _shifted(input, dim, back=True)
