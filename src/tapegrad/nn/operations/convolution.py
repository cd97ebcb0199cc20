"""Convolutions, as products of matrices: the windows of an input beside each other, times the kernels.

The windows are a view (windows.py), which one copy makes a matrix of for each example; derivatives are
those of the copy and the product.
"""

from __future__ import annotations

import math
from typing import Any

from ...tensors.tensor import Tensor
from .windows import as_tuple, padded, windows

__all__ = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
]  # fmt: skip


def _batched(name: str, input: Any, dims: int) -> tuple[Any, bool]:
    """Return an input with a batch dimension, and if it had none."""
    if input.ndim not in (dims + 1, dims + 2):
        raise RuntimeError(
            f"Expected {dims + 1}D (unbatched) or {dims + 2}D (batched) input to {name}, but got input of "
            f"size: {list(input.shape)}"
        )
    return (input.unsqueeze(0), True) if input.ndim == dims + 1 else (input, False)


def _check_kernels(
    input: Any, weight: Any, bias: Any, dims: int, groups: int, *, transposed: bool
) -> None:
    """Raise PyTorch's errors for kernels that do not meet an input."""
    if weight.ndim != dims + 2:
        raise RuntimeError(
            f"Expected {dims + 2}-dimensional input for {dims + 2}-dimensional weight "
            f"{list(weight.shape)}, but got {weight.ndim}-dimensional weight"
        )
    if input.dtype is not weight.dtype:
        raise RuntimeError(
            f"Input type ({input.dtype.name}) and weight type ({weight.dtype.name}) should be the same"
        )
    if bias is not None and bias.dtype is not weight.dtype:
        raise RuntimeError(
            f"Input type ({input.dtype.name}) and bias type ({bias.dtype.name}) should be the same"
        )
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    shape, channels = list(weight.shape), input.shape[1]
    if transposed:
        if channels != shape[0]:
            raise RuntimeError(
                f"Given transposed=1, weight of size {shape}, expected input{list(input.shape)} to have "
                f"{shape[0]} channels, but got {channels} channels instead"
            )
        outputs = shape[1] * groups
    else:
        if shape[0] % groups or shape[0] < groups:
            raise RuntimeError(
                f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but "
                f"got weight of size [{shape}] instead"
            )
        if channels != shape[1] * groups:
            raise RuntimeError(
                f"Given groups={groups}, weight of size {shape}, expected input{list(input.shape)} to have "
                f"{shape[1] * groups} channels, but got {channels} channels instead"
            )
        outputs = shape[0]
    if bias is not None and tuple(bias.shape) != (outputs,):
        raise RuntimeError(
            f"Given {'transposed=1, ' if transposed else ''}weight of size {shape}, expected bias "
            f"to be 1-dimensional with {outputs} elements, but got bias of size {list(bias.shape)} instead"
        )


def _amounts(
    name: str, padding: Any, kernel: Any, stride: Any, dilation: Any, dims: int
) -> list[tuple[int, int]]:
    """Return the padding of each dimension, before and after."""
    if not isinstance(padding, str):
        return [(n, n) for n in as_tuple(name, "padding", padding, dims)]
    if padding == "valid":
        return [(0, 0)] * dims
    if padding != "same":
        raise RuntimeError("Invalid padding string: '" + padding + "'")
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return [(n // 2, n - n // 2) for n in totals]


def _convolution(
    name: str,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    dims = int(name[-2])
    input, alone = _batched(name, input, dims)
    _check_kernels(input, weight, bias, dims, groups, transposed=False)
    stride = as_tuple(name, "stride", stride, dims)
    dilation = as_tuple(name, "dilation", dilation, dims)
    if any(n <= 0 for n in stride):
        raise RuntimeError("non-positive stride is not supported")
    if any(n <= 0 for n in dilation):
        raise RuntimeError("dilation should be greater than zero")
    kernel = tuple(weight.shape[2:])
    amounts = _amounts(name, padding, kernel, stride, dilation, dims)
    if any(n < 0 for pair in amounts for n in pair):
        raise RuntimeError("negative padding is not supported")
    input = padded(input, amounts, 0.0)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if any(n < r for n, r in zip(input.shape[2:], reach, strict=True)):
        sizes = " x ".join(map(str, input.shape[2:]))
        needs = " x ".join(map(str, reach))
        raise RuntimeError(
            f"Calculated padded input size per channel: ({sizes}). Kernel size: ({needs}). Kernel size "
            "can't be greater than actual input size"
        )
    result = _product(windows(input, kernel, stride, dilation), weight, groups, dims)
    if bias is not None:
        result = result + bias.reshape(-1, *[1] * dims)
    convolved: Tensor = result.squeeze(0) if alone else result
    return convolved


def _product(view: Any, weight: Any, groups: int, dims: int) -> Any:
    """Multiply windows of shape (batch, channels, positions..., kernel...) by kernels."""
    batch = view.shape[0]
    positions = view.shape[2 : 2 + dims]
    order = (0, 1, *range(2 + dims, 2 + 2 * dims), *range(2, 2 + dims))
    size, count = math.prod(weight.shape[1:]), math.prod(positions)
    outputs = weight.shape[0]
    if groups == 1:
        columns = view.permute(order).reshape(batch, size, count)
        product = weight.reshape(outputs, size) @ columns
    else:
        columns = view.permute(order).reshape(batch, groups, size, count)
        product = weight.reshape(groups, outputs // groups, size) @ columns
    return product.reshape(batch, outputs, *positions)


def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Correlate inputs of shape (N, C, L) with kernels of shape (K, C / groups, k); see `conv2d`."""
    return _convolution("conv1d", input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Correlate images with kernels.

    Parameters
    ----------
    input : Tensor
        Of shape (N, C, H, W) or (C, H, W).
    weight : Tensor
        The kernels, of shape (K, C / groups, h, w).
    bias : Tensor, optional
        Of shape (K,).
    stride : int or pair of int
        From one position of a kernel to the next.
    padding : int, pair of int, or {"valid", "same"}
        Zeros on both sides.
    dilation : int or pair of int
        From one element under a kernel to the next.
    groups : int
        Parts of the channels with kernels of their own.

    Returns
    -------
    Tensor
        Of shape (N, K, ...).

    Raises
    ------
    RuntimeError
        For shapes that do not fit.
    """
    return _convolution("conv2d", input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Correlate volumes of shape (N, C, D, H, W) with kernels; see `conv2d`."""
    return _convolution("conv3d", input, weight, bias, stride, padding, dilation, groups)


# --------------------------------------------------------------------------- transposed
def _transposed(
    name: str, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any,
    groups: int, dilation: Any,
) -> Tensor:  # fmt: skip
    """Convolve an input with zeros between its elements with the kernels turned around."""
    dims = int(name[-2])
    input, alone = _batched(name, input, dims)
    _check_kernels(input, weight, bias, dims, groups, transposed=True)
    stride, dilation = (
        as_tuple(name, "stride", stride, dims),
        as_tuple(name, "dilation", dilation, dims),
    )
    padding = as_tuple(name, "padding", padding, dims)
    more = as_tuple(name, "output_padding", output_padding, dims)
    if any(m >= max(s, d) for m, s, d in zip(more, stride, dilation, strict=True)):
        raise RuntimeError("output padding must be smaller than either stride or dilation")
    kernel, inner = tuple(weight.shape[2:]), input.shape[2:]
    spread = input
    if any(s > 1 for s in stride):
        sizes = [(n - 1) * s + 1 for n, s in zip(inner, stride, strict=True)]
        spread = input.new_zeros((*input.shape[:2], *sizes))
        places = (slice(None), slice(None), *(slice(None, None, s) for s in stride))
        spread[places] = input
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    before = [(r - p, r - p + m) for r, p, m in zip(reach, padding, more, strict=True)]
    spread = padded(spread, before, 0.0)
    group, outputs = weight.shape[0] // groups, weight.shape[1]
    turned = weight.flip(list(range(2, 2 + dims))).reshape(groups, group, outputs, *kernel)
    turned = turned.transpose(1, 2).reshape(groups * outputs, group, *kernel)
    result = _product(windows(spread, kernel, (1,) * dims, dilation), turned, groups, dims)
    if bias is not None:
        result = result + bias.reshape(-1, *[1] * dims)
    convolved: Tensor = result.squeeze(0) if alone else result
    return convolved


def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Return what is to `conv1d` as its derivative by the input; see `conv_transpose2d`."""
    return _transposed(
        "conv1d", input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Return what is to `conv2d` as its derivative by the input.

    Parameters
    ----------
    input : Tensor
        Of shape (N, C, H, W) or (C, H, W).
    weight : Tensor
        Of shape (C, K / groups, h, w).
    bias : Tensor, optional
        Of shape (K,).
    stride, padding, dilation, groups
        Of that convolution.
    output_padding : int or pair of int
        Added to the size of the result, on one side.
    """
    return _transposed(
        "conv2d", input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Return what is to `conv3d` as its derivative by the input; see `conv_transpose2d`."""
    return _transposed(
        "conv3d", input, weight, bias, stride, padding, output_padding, groups, dilation
    )
