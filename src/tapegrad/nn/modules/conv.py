"""Convolutions as modules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from ...tensors.tensor import Tensor
from .. import init
from ..operations import convolution
from ..operations.layers import pad
from ..operations.windows import as_tuple
from .linear import empty_parameter
from .module import Module

__all__ = [
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
]  # fmt: skip

_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """A convolution over some last dimensions."""

    dims: ClassVar[int]
    transposed: ClassVar[bool] = False
    function: ClassVar[Callable[..., Tensor]]
    weight: Tensor
    bias: Tensor | None

    def _set(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any,
        dilation: Any, groups: int, bias: bool, padding_mode: str, output_padding: Any, device: Any,
        dtype: Any,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        if padding_mode not in _MODES:
            raise ValueError(
                f"padding_mode must be one of {set(_MODES)}, but got padding_mode='{padding_mode}'"
            )
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(
                f"Invalid padding string {padding!r}, should be one of {{'valid', 'same'}}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = as_tuple(name, "kernel_size", kernel_size, self.dims)
        self.stride = as_tuple(name, "stride", stride, self.dims)
        if padding == "same" and any(s != 1 for s in self.stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
        is_word = isinstance(padding, str)
        self.padding = padding if is_word else as_tuple(name, "padding", padding, self.dims)
        self.dilation = as_tuple(name, "dilation", dilation, self.dims)
        self.output_padding = as_tuple(name, "output_padding", output_padding, self.dims)
        self.groups = groups
        self.padding_mode = padding_mode
        if self.transposed:
            shape = in_channels, out_channels // groups, *self.kernel_size
        else:
            shape = out_channels, in_channels // groups, *self.kernel_size
        self.weight = empty_parameter(*shape, device=device, dtype=dtype)
        self.register_parameter(
            "bias", empty_parameter(out_channels, device=device, dtype=dtype) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new first values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            inputs = math.prod(self.weight.shape[1:])
            bound = 1 / math.sqrt(inputs) if inputs else 0
            init.uniform_(self.bias, -bound, bound)

    def _reversed_padding(self) -> list[int]:
        """Return the amounts by which `pad` pads, the last dimension first."""
        if self.padding == "valid":
            return [0] * (2 * self.dims)
        amounts: list[int] = []
        for i in reversed(range(self.dims)):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                amounts += [total // 2, total - total // 2]
            else:
                amounts += [self.padding[i], self.padding[i]]
        return amounts

    def extra_repr(self) -> str:
        """Return the options, where they are not the defaults."""
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        for name, default in (
            ("padding", (0,) * self.dims), ("dilation", (1,) * self.dims),
            ("output_padding", (0,) * self.dims), ("groups", 1),
        ):  # fmt: skip
            if self.__dict__[name] != default:
                text += f", {name}={self.__dict__[name]}"
        text += ", bias=False" if self.bias is None else ""
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class _Convolution(_Conv):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._set(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
            0, device, dtype,
        )  # fmt: skip

    def forward(self, input: Any) -> Tensor:
        """Return the convolution."""
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = pad(input, self._reversed_padding(), self.padding_mode), 0
        return type(self).function(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class _Transposed(_Conv):
    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        self._set(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
            output_padding, device, dtype,
        )  # fmt: skip

    def forward(self, input: Any) -> Tensor:
        """Return the transposed convolution."""
        return type(self).function(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups,
            self.dilation,
        )  # fmt: skip


class Conv1d(_Convolution):
    """`conv1d` with kernels that are parameters."""

    dims, function = 1, convolution.conv1d


class Conv2d(_Convolution):
    """`conv2d` with kernels that are parameters.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or pair of int
    stride, padding, dilation, groups
        As for `conv2d`.
    bias : bool
        Whether there is one.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
    """

    dims, function = 2, convolution.conv2d


class Conv3d(_Convolution):
    """`conv3d` with kernels that are parameters."""

    dims, function = 3, convolution.conv3d


class ConvTranspose1d(_Transposed):
    """`conv_transpose1d` with kernels that are parameters."""

    dims, function = 1, convolution.conv_transpose1d


class ConvTranspose2d(_Transposed):
    """`conv_transpose2d` with kernels that are parameters."""

    dims, function = 2, convolution.conv_transpose2d


class ConvTranspose3d(_Transposed):
    """`conv_transpose3d` with kernels that are parameters."""

    dims, function = 3, convolution.conv_transpose3d
