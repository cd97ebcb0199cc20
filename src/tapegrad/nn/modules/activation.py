"""Activations as modules."""

from __future__ import annotations

from typing import Any

from ...tensors.operators import top_level
from ...tensors.tensor import Tensor
from ..operations import activation as functions
from ..parameter import Parameter
from .module import Module
from .stateless import Stateless

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]  # fmt: skip


class ReLU(Stateless):
    """`relu`: ``max(x, 0)``."""

    function, options = functions.relu, {"inplace": False}

    def forward(self, input: Any) -> Tensor:
        """Return the activation."""
        return functions.relu(input, self.inplace)


class ReLU6(Stateless):
    """`relu6`: ``min(max(x, 0), 6)``."""

    function, options = functions.relu6, {"inplace": False}


class LeakyReLU(Stateless):
    """`leaky_relu`: x, or `negative_slope` times x where that is negative."""

    function, options = functions.leaky_relu, {"negative_slope": 0.01, "inplace": False}


class ELU(Stateless):
    """`elu`: x, or ``alpha * (exp(x) - 1)`` where that is negative."""

    function, options = functions.elu, {"alpha": 1.0, "inplace": False}


class CELU(Stateless):
    """`celu`: x, or ``alpha * (exp(x / alpha) - 1)`` where that is negative."""

    function, options = functions.celu, {"alpha": 1.0, "inplace": False}


class SELU(Stateless):
    """`selu`: `elu` with the two constants that keep mean 0 and variance 1."""

    function, options = functions.selu, {"inplace": False}


class GELU(Stateless):
    """`gelu`: x times the standard normal distribution function."""

    function, options = functions.gelu, {"approximate": "none"}


class SiLU(Stateless):
    """`silu`: ``x * sigmoid(x)``."""

    function, options = functions.silu, {"inplace": False}


class Mish(Stateless):
    """`mish`: ``x * tanh(softplus(x))``."""

    function, options = functions.mish, {"inplace": False}


class Sigmoid(Stateless):
    """`sigmoid`: ``1 / (1 + exp(-x))``."""

    function, options = functions.sigmoid, {}


class Tanh(Stateless):
    """`tanh`: the hyperbolic tangent."""

    function, options = functions.tanh, {}


class LogSigmoid(Stateless):
    """`logsigmoid`: the logarithm of the sigmoid."""

    function, options = functions.logsigmoid, {}


class Softsign(Stateless):
    """`softsign`: ``x / (1 + abs(x))``."""

    function, options = functions.softsign, {}


class Tanhshrink(Stateless):
    """`tanhshrink`: ``x - tanh(x)``."""

    function, options = functions.tanhshrink, {}


class Hardtanh(Stateless):
    """`hardtanh`: x between two bounds."""

    function = functions.hardtanh
    options = {"min_val": -1.0, "max_val": 1.0, "inplace": False}  # noqa: RUF012

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.max_val > self.min_val:
            raise AssertionError("max_val must be larger than min_val")


class Hardsigmoid(Stateless):
    """`hardsigmoid`: ``relu6(x + 3) / 6``."""

    function, options = functions.hardsigmoid, {"inplace": False}


class Hardswish(Stateless):
    """`hardswish`: ``x * relu6(x + 3) / 6``."""

    function, options = functions.hardswish, {"inplace": False}


class Hardshrink(Stateless):
    """`hardshrink`: x, or zero where it is between two bounds."""

    function, options = functions.hardshrink, {"lambd": 0.5}
    _shown_by_value = True


class Softshrink(Stateless):
    """`softshrink`: x, nearer to zero by `lambd`."""

    function, options = functions.softshrink, {"lambd": 0.5}
    _shown_by_value = True


class Softplus(Stateless):
    """`softplus`: ``log(1 + exp(beta * x)) / beta``."""

    function, options = functions.softplus, {"beta": 1.0, "threshold": 20.0}


class Threshold(Stateless):
    """`threshold`: x where it is above a threshold, else a value."""

    function = functions.threshold
    options = {"threshold": Stateless.REQUIRED, "value": Stateless.REQUIRED, "inplace": False}  # noqa: RUF012


class GLU(Stateless):
    """`glu`: one half of x, times the sigmoid of the other."""

    function, options = functions.glu, {"dim": -1}


class Softmax(Stateless):
    """`softmax`: ``exp(x)``, divided by its sum over a dimension."""

    function, options = functions.softmax, {"dim": None}


class LogSoftmax(Stateless):
    """`log_softmax`: the logarithm of the softmax."""

    function, options = functions.log_softmax, {"dim": None}


class Softmin(Stateless):
    """`softmin`: the softmax of ``-x``."""

    function, options = functions.softmin, {"dim": None}


class Softmax2d(Module):
    """`softmax` over the channels of images."""

    def forward(self, input: Any) -> Tensor:
        """Return the softmax."""
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.ndim}D instead")
        return functions.softmax(input, -3)


class RReLU(Stateless):
    """`rrelu`: x, or times a slope where it is negative, which is random in training."""

    function, options = functions.rrelu, {"lower": 1.0 / 8, "upper": 1.0 / 3, "inplace": False}

    def forward(self, input: Any) -> Tensor:
        """Return the activation."""
        return functions.rrelu(input, self.lower, self.upper, self.training, self.inplace)


class PReLU(Module):
    """`prelu`: x, or times a slope where it is negative, which is a parameter."""

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(
            top_level("full")((num_parameters,), float(init), device=device, dtype=dtype)
        )

    def forward(self, input: Any) -> Tensor:
        """Return the activation."""
        return functions.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """Return the number of parameters."""
        return f"num_parameters={self.num_parameters}"
