"""Layers that are matrices: `Linear`, `Bilinear`; and `Identity`."""

from __future__ import annotations

import math
from typing import Any

from ...tensors.operators import top_level
from ...tensors.tensor import Tensor
from .. import init
from ..operations.layers import bilinear, linear
from ..parameter import Parameter
from .module import Module

__all__ = ["Bilinear", "Identity", "Linear", "empty_parameter"]


def empty_parameter(*shape: int, device: Any = None, dtype: Any = None) -> Parameter:
    """Return a parameter of a shape whose values come later."""
    return Parameter(top_level("empty")(shape, device=device, dtype=dtype))


class Identity(Module):
    """A module that returns its input, and takes any arguments when it is made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """Return the input."""
        return input


class Linear(Module):
    """An affine map ``x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
        Lengths of an input's and an output's last dimension.
    bias : bool
        Whether there is one.

    Attributes
    ----------
    weight : Parameter
        Of shape (out_features, in_features), uniform within one by the root of `in_features`, as `bias`.
    bias : Parameter or None
        Of shape (out_features,).
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = empty_parameter(out_features, in_features, device=device, dtype=dtype)
        self.register_parameter(
            "bias", empty_parameter(out_features, device=device, dtype=dtype) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new first values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Any) -> Tensor:
        """Return ``input @ weight.T + bias``."""
        result: Tensor = linear(input, self.weight, self.bias)
        return result

    def extra_repr(self) -> str:
        """Return the sizes."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """A map ``x1 @ weight[k] @ x2 + bias[k]``."""

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if in1_features <= 0:
            raise ValueError(f"in1_features must be > 0, but got (in1_features={in1_features})")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        shape = out_features, in1_features, in2_features
        self.weight = empty_parameter(*shape, device=device, dtype=dtype)
        self.register_parameter(
            "bias", empty_parameter(out_features, device=device, dtype=dtype) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new first values."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Any, input2: Any) -> Tensor:
        """Return the map of two inputs."""
        return bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )
