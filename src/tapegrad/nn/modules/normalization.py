"""Normalisation as modules: of batches, with running statistics; of layers, groups and instances."""

from __future__ import annotations

from typing import Any, ClassVar

from ...base.dtypes import int64
from ...tensors.operators import top_level
from ...tensors.tensor import Tensor
from .. import init
from ..operations import normalization as functions
from .linear import empty_parameter
from .module import Module

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "LayerNorm",
    "RMSNorm",
]  # fmt: skip


class _Running(Module):
    """Normalisation with a mean and a variance for each channel that may be those of batches before.

    Parameters
    ----------
    num_features : int
        Number of channels.
    eps : float
        Added to the variance.
    momentum : float or None
        The share by which running statistics move to those of a batch; None for their mean over all batches.
    affine : bool
        Whether there are a factor and a summand a channel, which are parameters.
    track_running_stats : bool
        Whether there are running statistics.
    """

    #: numbers of dimensions that an input may have
    dims: ClassVar[tuple[int, ...]]
    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Any

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            new = empty_parameter(num_features, device=device, dtype=dtype) if wanted else None
            self.register_parameter(name, new)
        tracked = track_running_stats
        zeros, ones = top_level("zeros"), top_level("ones")
        self.register_buffer("running_mean", zeros(num_features, dtype=dtype) if tracked else None)
        self.register_buffer("running_var", ones(num_features, dtype=dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype=int64) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Begin with running statistics anew."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Begin anew: factors are 1, summands 0."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check_input_dim(self, input: Any) -> None:
        if input.ndim not in self.dims:
            words = " or ".join(f"{n}D" for n in self.dims)
            raise ValueError(f"expected {words} input (got {input.ndim}D input)")

    def _share(self) -> float:
        """Count a batch, and return the share by which running statistics move."""
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                return 1.0 / float(self.num_batches_tracked)
        return 0.0 if self.momentum is None else self.momentum

    def extra_repr(self) -> str:
        """Return the options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Running):
    def forward(self, input: Any) -> Tensor:
        """Return the normalised input."""
        self._check_input_dim(input)
        share = self._share()
        from_batch = self.training or (self.running_mean is None and self.running_var is None)
        is_used = not self.training or self.track_running_stats
        return functions.batch_norm(
            input, self.running_mean if is_used else None, self.running_var if is_used else None,
            self.weight, self.bias, from_batch, share, self.eps,
        )  # fmt: skip


class BatchNorm1d(_BatchNorm):
    """`batch_norm` of inputs of shape (N, C) or (N, C, L)."""

    dims = 2, 3


class BatchNorm2d(_BatchNorm):
    """`batch_norm` of inputs of shape (N, C, H, W)."""

    dims = (4,)


class BatchNorm3d(_BatchNorm):
    """`batch_norm` of inputs of shape (N, C, D, H, W)."""

    dims = (5,)


class _InstanceNorm(_Running):
    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    def forward(self, input: Any) -> Tensor:
        """Return the normalised input."""
        self._check_input_dim(input)
        alone = input.ndim == self.dims[0]
        batch = input.unsqueeze(0) if alone else input
        result: Tensor = functions.instance_norm(
            batch, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, self.momentum or 0.0, self.eps,
        )  # fmt: skip
        return result.squeeze(0) if alone else result


class InstanceNorm1d(_InstanceNorm):
    """`instance_norm` of inputs of shape (C, L) or (N, C, L)."""

    dims = 2, 3


class InstanceNorm2d(_InstanceNorm):
    """`instance_norm` of inputs of shape (C, H, W) or (N, C, H, W)."""

    dims = 3, 4


class LayerNorm(Module):
    """`layer_norm` over the last dimensions, with a factor and a summand an element, which are parameters."""

    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        one = isinstance(normalized_shape, int)
        self.normalized_shape = (normalized_shape,) if one else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        for name, wanted in (("weight", elementwise_affine), ("bias", elementwise_affine and bias)):
            new = (
                empty_parameter(*self.normalized_shape, device=device, dtype=dtype)
                if wanted
                else None
            )
            self.register_parameter(name, new)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin anew: factors are 1, summands 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Tensor:
        """Return the normalised input."""
        return functions.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the options."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """`rms_norm` over the last dimensions, with a factor an element, which are parameters."""

    weight: Tensor | None

    def __init__(
        self, normalized_shape: Any, eps: float | None = None, elementwise_affine: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        one = isinstance(normalized_shape, int)
        self.normalized_shape = (normalized_shape,) if one else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        new = empty_parameter(*self.normalized_shape, device=device, dtype=dtype)
        self.register_parameter("weight", new if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin anew: factors are 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Any) -> Tensor:
        """Return the normalised input."""
        return functions.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Return the options."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """`group_norm`, with a factor and a summand a channel, which are parameters."""

    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
        device: Any = None, dtype: Any = None, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            new = empty_parameter(num_channels, device=device, dtype=dtype) if wanted else None
            self.register_parameter(name, new)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin anew: factors are 1, summands 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Any) -> Tensor:
        """Return the normalised input."""
        return functions.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the options."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )
