"""Normalisation: of layers, batches and groups, and of vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...autograd import no_grad
from ...base.limits import finfo
from ...tensors.operators import top_level
from ...tensors.tensor import Tensor

__all__ = [
    "batch_norm", "cosine_similarity", "group_norm", "instance_norm", "layer_norm", "normalize",
    "pairwise_distance", "pdist", "rms_norm",
]  # fmt: skip

cosine_similarity: Any = top_level("cosine_similarity")
pairwise_distance: Any = top_level("pairwise_distance")
pdist: Any = top_level("pdist")
_rsqrt: Any = top_level("rsqrt")


def normalize(
    input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None
) -> Tensor:
    """Divide by the norm over a dimension, or by `eps` where that is larger."""
    length = input.norm(p, dim, keepdim=True).clamp_min(eps)
    result: Tensor = (
        top_level("div")(input, length) if out is None else top_level("div")(input, length, out=out)
    )
    return result


def _standardized(input: Any, dims: Sequence[int], eps: float) -> Any:
    """Return an input with mean 0 and variance 1 over dimensions."""
    centred = input - input.mean(dims, keepdim=True)
    return centred * _rsqrt((centred * centred).mean(dims, keepdim=True) + eps)


def _last_dims(
    name: str, input: Any, normalized_shape: Sequence[int], weight: Any, bias: Any
) -> list[int]:
    """Return the dimensions at the end that have a shape.

    Raises
    ------
    RuntimeError
        PyTorch's, where they have another one.
    """
    shape = tuple(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, "
            f"but got normalized_shape = {list(shape)}"
        )
    for label, value in (("weight", weight), ("bias", bias)):
        if value is not None and tuple(value.shape) != shape:
            raise RuntimeError(
                f"Expected {label} to be of same shape as normalized_shape, but got {label} of shape "
                f"{list(value.shape)} and normalized_shape = {list(shape)}"
            )
    if tuple(input.shape[max(input.ndim - len(shape), 0) :]) != shape:
        sizes = ", ".join(map(str, shape))
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {sizes}], but got input "
            f"of size{list(input.shape)}"
        )
    return list(range(-len(shape), 0))


def layer_norm(
    input: Any,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Tensor:
    """Return the input with mean 0 and variance 1 over its last dimensions, times `weight`, plus `bias`.

    Parameters
    ----------
    input : Tensor
    normalized_shape : sequence of int
        Lengths of these dimensions.
    weight, bias : Tensor, optional
        Of that shape.
    eps : float
        Added to the variance.
    """
    dims = _last_dims("layer_norm", input, normalized_shape, weight, bias)
    result = _standardized(input, dims, eps)
    result = result if weight is None else result * weight
    scaled: Tensor = result if bias is None else result + bias
    return scaled


def rms_norm(
    input: Any, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None
) -> Tensor:
    """Divide by the root of the mean of squares over the last dimensions, and multiply by `weight`."""
    dims = _last_dims("rms_norm", input, normalized_shape, weight, None)
    if eps is None:
        eps = finfo(input.dtype).eps
    result: Tensor = input * _rsqrt((input * input).mean(dims, keepdim=True) + eps)
    return result if weight is None else result * weight


def _by_channel(value: Any, input: Any) -> Any:
    """Return a tensor of one number a channel in a shape that meets the input's dimension 1."""
    return value.reshape(1, -1, *[1] * (input.ndim - 2))


def _scaled(result: Any, weight: Any, bias: Any) -> Any:
    if weight is not None:
        result = result * _by_channel(weight, result)
    return result if bias is None else result + _by_channel(bias, result)


def batch_norm(
    input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Return the input with mean 0 and variance 1 for each channel, times `weight`, plus `bias`.

    Parameters
    ----------
    input : Tensor
        Of shape (N, C) or (N, C, ...).
    running_mean, running_var : Tensor or None
        Of shape (C,): used where not in training, else moved towards those of the batch.
    weight, bias : Tensor, optional
        Of shape (C,).
    training : bool
    momentum : float
        The share by which they are moved.
    eps : float
        Added to the variance.

    Raises
    ------
    ValueError, RuntimeError
        For one value a channel in training; for numbers of channels that do not fit.
    """
    channels = input.shape[1]
    for name, value in (
        ("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias),
    ):  # fmt: skip
        if value is not None and value.numel() != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {value.numel()}")
    dims = [0, *range(2, input.ndim)]
    if not training:
        for name, value in (("running_mean", running_mean), ("running_var", running_var)):
            if value is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
        scale = _rsqrt(_by_channel(running_var, input) + eps)
        result: Tensor = _scaled((input - _by_channel(running_mean, input)) * scale, weight, bias)
        return result
    count = math.prod(input.shape) // max(channels, 1)
    if count <= 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {input.size()}"
        )
    mean = input.mean(dims, keepdim=True)
    centred = input - mean
    variance = (centred * centred).mean(dims, keepdim=True)
    with no_grad():
        for running, value in (
            (running_mean, mean),
            (running_var, variance * (count / (count - 1))),
        ):
            if running is not None:
                running.mul_(1 - momentum).add_(momentum * value.detach().reshape(channels))
    result = _scaled(centred * _rsqrt(variance + eps), weight, bias)
    return result


def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """Return the input with mean 0 and variance 1 for each example and group of channels."""
    if input.ndim < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {input.ndim}"
        )
    batch, channels = input.shape[:2]
    if channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(input.shape)} and num_groups={num_groups}"
        )
    grouped = _standardized(input.reshape(batch, num_groups, -1), [2], eps)
    result: Tensor = _scaled(grouped.reshape(input.shape), weight, bias)
    return result


def instance_norm(
    input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Return the input with mean 0 and variance 1 for each example and channel."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    dims = list(range(2, input.ndim))
    mean = input.mean(dims, keepdim=True)
    if running_mean is not None:
        count = math.prod(input.shape[2:])
        with no_grad():
            variance = ((input - mean) ** 2).sum(dims) / max(count - 1, 1)
            for running, value in (
                (running_mean, mean.reshape(input.shape[:2])),
                (running_var, variance),
            ):
                running.mul_(1 - momentum).add_(momentum * value.detach().mean(0))
    result: Tensor = _scaled(_standardized(input, dims, eps), weight, bias)
    return result
