"""Pooling: maxima and means of the windows of an input.

A maximum's derivative goes to the first of equal elements, as in PyTorch. It is that of a chain of
selections, one an element of the kernel, on strided views: no window is copied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

from ...tensors.operators import top_level
from ...tensors.tensor import Tensor
from .windows import as_tuple, output_length, padded, windows

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "avg_pool1d",
    "avg_pool2d", "avg_pool3d", "fold", "lp_pool1d", "lp_pool2d", "max_pool1d", "max_pool2d", "max_pool3d",
    "unfold",
]  # fmt: skip

_where: Any = top_level("where")
#: elements of a kernel up to which maxima are selections of strided views
MOST_SELECTIONS = 32


def _batched(name: str, input: Any, dims: int) -> tuple[Any, bool]:
    if input.ndim not in (dims + 1, dims + 2):
        raise RuntimeError(
            f"{name}: Expected {dims + 1}D or {dims + 2}D (batch mode) tensor for input, but got "
            f"{list(input.shape)}"
        )
    return (input.unsqueeze(0), True) if input.ndim == dims + 1 else (input, False)


def _geometry(
    name: str,
    input: Any,
    dims: int,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil: bool,
) -> tuple[Any, ...]:
    """Return kernel, stride, padding, dilation and lengths of the result, after PyTorch's checks."""
    kernel = as_tuple(name, "kernel_size", kernel, dims)
    stride = kernel if stride is None or stride == [] else as_tuple(name, "stride", stride, dims)
    padding = as_tuple(name, "padding", padding, dims)
    dilation = as_tuple(name, "dilation", dilation, dims)
    if any(n <= 0 for n in kernel):
        raise RuntimeError(f"kernel size should be greater than zero, but got {list(kernel)}")
    if any(n <= 0 for n in stride):
        raise RuntimeError("stride should not be zero")
    if any(n <= 0 for n in dilation):
        raise RuntimeError(f"dilation should be greater than zero, but got {list(dilation)}")
    for p, k, d in zip(padding, kernel, dilation, strict=True):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > (d * (k - 1) + 1) // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} "
                f"and dilation={d}"
            )
    sizes = input.shape[2:]
    parts = zip(sizes, kernel, stride, padding, dilation, strict=True)
    lengths = tuple([output_length(*part, ceil=ceil) for part in parts])
    if any(n <= 0 for n in lengths):
        channels = input.shape[1]
        shown = "x".join(map(str, (channels, *sizes)))
        result = "x".join(map(str, (channels, *lengths)))
        raise RuntimeError(
            f"Given input size: ({shown}). Calculated output size: ({result}). Output size is too small"
        )
    return kernel, stride, padding, dilation, lengths


def _ends(sizes: Sequence[int], geometry: tuple[Any, ...]) -> list[tuple[int, int]]:
    """Return the padding before and after, up to where the last window ends."""
    kernel, stride, padding, dilation, lengths = geometry
    parts = zip(sizes, kernel, stride, padding, dilation, lengths, strict=True)
    return [
        (p, max((n - 1) * s + d * (k - 1) + 1 - length - p, 0)) for length, k, s, p, d, n in parts
    ]


# --------------------------------------------------------------------------- maxima
def _max_pool(
    name: str, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    return_indices: bool,
) -> Any:  # fmt: skip
    dims = int(name[-2])
    input, alone = _batched(name, input, dims)
    geometry = _geometry(name, input, dims, kernel_size, stride, padding, dilation, ceil_mode)
    kernel, stride, padding, dilation, lengths = geometry
    wide = padded(input, _ends(input.shape[2:], geometry), -math.inf)
    if return_indices or math.prod(kernel) > MOST_SELECTIONS:
        view = windows(wide, kernel, stride, dilation)[
            (slice(None), slice(None), *(slice(n) for n in lengths))
        ]
        flat = view.reshape(*view.shape[: 2 + dims], math.prod(kernel))
        largest, at = flat.max(-1)
        places = _places(at.detach(), input.shape[2:], geometry) if return_indices else None
    else:
        largest, places = None, None
        for offsets in product(*map(range, kernel)):
            steps = zip(offsets, stride, dilation, lengths, strict=True)
            cut = [slice(o * d, o * d + (n - 1) * s + 1, s) for o, s, d, n in steps]
            x = wide[(slice(None), slice(None), *cut)]
            # the first of equal elements stays; NaN wins
            largest = x if largest is None else _where((x > largest) | (x != x), x, largest)
    if alone:
        largest = largest.squeeze(0)
        places = None if places is None else places.squeeze(0)
    return (largest, places) if return_indices else largest


def _places(at: Any, sizes: Sequence[int], geometry: tuple[Any, ...]) -> Any:
    """Return the places in an input's channel of elements that are the `at`-th of their windows."""
    kernel, stride, padding, dilation, lengths = geometry
    dims, rest, place, step = len(sizes), at, 0, 1
    for i in reversed(range(dims)):
        offset, rest = rest % kernel[i], rest // kernel[i]
        shape = [-1 if j == i else 1 for j in range(dims)]
        first = top_level("arange")(lengths[i]).reshape(shape) * stride[i] - padding[i]
        place = place + (first + offset * dilation[i]) * step
        step *= sizes[i]
    return place


def max_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Return the maxima of the windows of inputs of shape (N, C, L); see `max_pool2d`."""
    return _max_pool(
        "max_pool1d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Return the maxima of the windows of images.

    Parameters
    ----------
    input : Tensor
        Of shape (N, C, H, W) or (C, H, W).
    kernel_size : int or pair of int
    stride : int or pair of int, optional
        From one window to the next; by default the windows' size.
    padding : int or pair of int
        What counts as minus infinity on both sides.
    dilation : int or pair of int
        From one element of a window to the next.
    ceil_mode : bool
        Whether a last window may end outside.
    return_indices : bool
        Whether the places of the maxima in their channel come as well.

    Raises
    ------
    RuntimeError
        For sizes that do not fit.
    """
    return _max_pool(
        "max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Return the maxima of the windows of volumes; see `max_pool2d`."""
    return _max_pool(
        "max_pool3d", input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


# --------------------------------------------------------------------------- means
def _avg_pool(
    name: str, input: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, divisor: int | None,
) -> Tensor:  # fmt: skip
    dims = int(name[-2])
    if divisor == 0:
        raise RuntimeError("divisor must be not zero")
    input, alone = _batched(name, input, dims)
    geometry = _geometry(name, input, dims, kernel_size, stride, padding, 1, ceil_mode)
    kernel, stride, padding, dilation, lengths = geometry
    ends = _ends(input.shape[2:], geometry)
    view = windows(padded(input, ends, 0.0), kernel, stride, dilation)
    view = view[(slice(None), slice(None), *(slice(n) for n in lengths))]
    total = view.sum(tuple(range(2 + dims, 2 + 2 * dims)))
    is_whole = not any(map(any, ends)) or (
        count_include_pad and all(after <= p for (_, after), p in zip(ends, padding, strict=True))
    )
    if divisor is not None or is_whole:
        result = total / (math.prod(kernel) if divisor is None else divisor)
    else:
        result = total / _counts(input, geometry, count_include_pad)
    pooled: Tensor = result.squeeze(0) if alone else result
    return pooled


def _counts(input: Any, geometry: tuple[Any, ...], with_padding: bool) -> Any:
    """Return how many elements each window has, those of the padding before its end or not."""
    kernel, stride, padding, _, lengths = geometry
    counts: Any = 1
    for i, size in enumerate(input.shape[2:]):
        first = top_level("arange")(lengths[i]) * stride[i] - padding[i]
        last = (first + kernel[i]).clamp(max=size + (padding[i] if with_padding else 0))
        first = first if with_padding else first.clamp(min=0)
        shape = [-1 if j == i else 1 for j in range(len(kernel))]
        counts = counts * (last - first).to(input.dtype).reshape(shape)
    return counts


def avg_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """Return the means of the windows of inputs of shape (N, C, L); see `avg_pool2d`."""
    return _avg_pool(
        "avg_pool1d", input, kernel_size, stride, padding, ceil_mode, count_include_pad, None
    )


def avg_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Return the means of the windows of images.

    Parameters
    ----------
    input : Tensor
        Of shape (N, C, H, W) or (C, H, W).
    kernel_size, stride, padding, ceil_mode
        As for `max_pool2d`; the padding counts as zero.
    count_include_pad : bool
        Whether the mean divides by the elements of the padding, too.
    divisor_override : int, optional
        To divide by.
    """
    return _avg_pool(
        "avg_pool2d", input, kernel_size, stride, padding, ceil_mode, count_include_pad,
        divisor_override,
    )  # fmt: skip


def avg_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:  # fmt: skip
    """Return the means of the windows of volumes; see `avg_pool2d`."""
    return _avg_pool(
        "avg_pool3d", input, kernel_size, stride, padding, ceil_mode, count_include_pad,
        divisor_override,
    )  # fmt: skip


def _lp_pool(
    pool: Any, input: Any, p: float, kernel_size: Any, stride: Any, ceil: bool, dims: int
) -> Any:
    count = math.prod(as_tuple("lp_pool", "kernel_size", kernel_size, dims))
    means = pool(input**p, kernel_size, stride, 0, ceil)
    return (means.sign() * means.abs() * count) ** (1.0 / p)


def lp_pool1d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """Return the p-th roots of the sums of p-th powers of windows."""
    result: Tensor = _lp_pool(avg_pool1d, input, norm_type, kernel_size, stride, ceil_mode, 1)
    return result


def lp_pool2d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """Return the p-th roots of the sums of p-th powers of windows."""
    result: Tensor = _lp_pool(avg_pool2d, input, norm_type, kernel_size, stride, ceil_mode, 2)
    return result


# --------------------------------------------------------------------------- to a size
def _adaptive(name: str, input: Any, output_size: Any, dims: int, reduce: Any) -> Any:
    """Reduce parts of the last dimensions, as even as they can be, one dimension after another."""
    input, alone = _batched(name, input, dims)
    sizes = output_size if isinstance(output_size, Sequence) else (output_size,) * dims
    targets = [n if m is None else m for m, n in zip(sizes, input.shape[2:], strict=True)]
    if any(m < 0 for m in targets):
        raise RuntimeError(f"{name}: elements of output_size must be greater than or equal to 0")
    for i, (target, length) in enumerate(zip(targets, input.shape[2:], strict=True)):
        dim = 2 + i
        if target and length % target == 0:
            input = reduce(input.unflatten(dim, (target, length // target)), dim + 1)
            continue
        ends = [(j * length // target, -(-(j + 1) * length // target)) for j in range(target)]
        parts = [reduce(input.narrow(dim, a, b - a), dim) for a, b in ends]
        input = top_level("stack")(parts, dim) if parts else input.narrow(dim, 0, 0)
    return input.squeeze(0) if alone else input


def adaptive_avg_pool1d(input: Any, output_size: Any) -> Tensor:
    """Return means of parts, so many that the last dimension has a length."""
    result: Tensor = _adaptive("adaptive_avg_pool1d", input, output_size, 1, lambda x, d: x.mean(d))
    return result


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """Return means of parts, so many that the last two dimensions have a size (None keeps a length)."""
    result: Tensor = _adaptive("adaptive_avg_pool2d", input, output_size, 2, lambda x, d: x.mean(d))
    return result


def _no_indices(name: str, return_indices: bool) -> None:
    if return_indices:
        raise NotImplementedError(f"{name}(): return_indices is not supported; leave it out")


def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Tensor:
    """Return maxima of parts, so many that the last dimension has a length."""
    _no_indices("adaptive_max_pool1d", return_indices)
    result: Tensor = _adaptive(
        "adaptive_max_pool1d", input, output_size, 1, lambda x, d: x.max(d)[0]
    )
    return result


def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Tensor:
    """Return maxima of parts, so many that the last two dimensions have a size."""
    _no_indices("adaptive_max_pool2d", return_indices)
    result: Tensor = _adaptive(
        "adaptive_max_pool2d", input, output_size, 2, lambda x, d: x.max(d)[0]
    )
    return result


# --------------------------------------------------------------------------- windows as columns
def unfold(
    input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Return the windows of images as columns, of shape (N, C * h * w, positions)."""
    input, alone = _batched("unfold", input, 2)
    kernel, dilation = (
        as_tuple("unfold", "kernel_size", kernel_size, 2),
        as_tuple("unfold", "dilation", dilation, 2),
    )
    padding, stride = (
        as_tuple("unfold", "padding", padding, 2),
        as_tuple("unfold", "stride", stride, 2),
    )
    view = windows(padded(input, [(p, p) for p in padding], 0.0), kernel, stride, dilation)
    batch, channels, down, along = view.shape[:4]
    columns = view.permute(0, 1, 4, 5, 2, 3).reshape(
        batch, channels * math.prod(kernel), down * along
    )
    result: Tensor = columns.squeeze(0) if alone else columns
    return result


def fold(
    input: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Tensor:
    """Add columns of windows up to images of a size; the transpose of `unfold`."""
    alone = input.ndim == 2
    input = input.unsqueeze(0) if alone else input
    kernel, dilation = (
        as_tuple("fold", "kernel_size", kernel_size, 2),
        as_tuple("fold", "dilation", dilation, 2),
    )
    padding, stride = as_tuple("fold", "padding", padding, 2), as_tuple("fold", "stride", stride, 2)
    height, width = as_tuple("fold", "output_size", output_size, 2)
    sizes = height + 2 * padding[0], width + 2 * padding[1]
    batch, channels = input.shape[0], input.shape[1] // math.prod(kernel)
    down, along = (
        output_length(n, k, s, 0, d)
        for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
    )
    columns = input.reshape(batch, channels, *kernel, down, along)
    image = input.new_zeros((batch, channels, *sizes))
    for i, j in product(*map(range, kernel)):
        y, x = i * dilation[0], j * dilation[1]
        ends = y + (down - 1) * stride[0] + 1, x + (along - 1) * stride[1] + 1
        image[:, :, y : ends[0] : stride[0], x : ends[1] : stride[1]] += columns[:, :, i, j]
    result: Any = image[:, :, padding[0] : padding[0] + height, padding[1] : padding[1] + width]
    return result.squeeze(0) if alone else result
