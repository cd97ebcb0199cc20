"""PyTorch's ``torch.nn.init``: first values of parameters, written in place and not differentiated.

>>> import tapegrad as tg
>>> tg.nn.init.ones_(tg.empty(2))
tensor([1., 1.])
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..autograd import no_grad
from ..base.missing_names import getattr_of
from ..linalg import qr as _qr
from ..tensors.operators import top_level
from ..tensors.tensor import Tensor
from .examples import add_examples

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_",
    "ones_",
    "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip

_LINEAR = (
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "sigmoid",
)  # fmt: skip
_GAINS = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor that PyTorch recommends for a nonlinearity.

    Raises
    ------
    ValueError
        For one that has none.
    """
    if nonlinearity in _LINEAR:
        return 1.0
    if nonlinearity in _GAINS:
        return _GAINS[nonlinearity]
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


# --------------------------------------------------------------------------- of one distribution
def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Write numbers that are uniform in [a, b)."""
    with no_grad():
        written: Tensor = tensor.uniform_(a, b, generator=generator)
    return written


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Write normal numbers."""
    with no_grad():
        written: Tensor = tensor.normal_(mean, std, generator=generator)
    return written


def trunc_normal_(
    tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
    generator: Any = None,
) -> Tensor:  # fmt: skip
    """Write normal numbers between two bounds."""
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution of values may be "
            "incorrect.",
            stacklevel=2,
        )

    def below(x: float) -> float:
        return (1.0 + math.erf((x - mean) / std / math.sqrt(2.0))) / 2.0

    with no_grad():
        tensor.uniform_(2 * below(a) - 1, 2 * below(b) - 1, generator=generator)
        tensor.erfinv_().mul_(std * math.sqrt(2.0)).add_(mean)
        written: Tensor = tensor.clamp_(min=a, max=b)
    return written


def constant_(tensor: Any, val: float) -> Tensor:
    """Write one number."""
    with no_grad():
        written: Tensor = tensor.fill_(val)
    return written


def ones_(tensor: Any) -> Tensor:
    """Write ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Any) -> Tensor:
    """Write zeros."""
    return constant_(tensor, 0.0)


def eye_(tensor: Any) -> Tensor:
    """Write the identity into a matrix."""
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    with no_grad():
        written: Tensor = tensor.copy_(top_level("eye")(*tensor.shape, dtype=tensor.dtype))
    return written


def dirac_(tensor: Any, groups: int = 1) -> Tensor:
    """Write kernels that keep as many channels as they can."""
    if tensor.ndim not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if tensor.shape[0] % groups:
        raise ValueError("dim 0 must be divisible by groups")
    outputs = tensor.shape[0] // groups
    centre = [n // 2 for n in tensor.shape[2:]]
    with no_grad():
        tensor.zero_()
        for g in range(groups):
            for i in range(min(outputs, tensor.shape[1])):
                tensor[(g * outputs + i, i, *centre)] = 1.0
    written: Tensor = tensor
    return written


# --------------------------------------------------------------------------- by the numbers of neurons
def _fans(tensor: Any) -> tuple[int, int]:
    """Return the numbers of inputs and of outputs of each neuron."""
    if tensor.ndim < 2:
        raise ValueError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions"
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


_calculate_fan_in_and_fan_out = _fans


def _fan(tensor: Any, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return _fans(tensor)[mode == "fan_out"]


def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Write uniform numbers of Glorot's variance, ``2 gain**2 / (inputs + outputs)``."""
    bound = math.sqrt(3.0) * gain * math.sqrt(2.0 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Write normal numbers of Glorot's variance, ``2 gain**2 / (inputs + outputs)``."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(_fans(tensor))), generator)


def _is_empty(tensor: Any) -> bool:
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
    return 0 in tensor.shape


def kaiming_uniform_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:  # fmt: skip
    """Write uniform numbers of He's variance, ``gain**2 / inputs``.

    Parameters
    ----------
    tensor : Tensor
    a : float
        Slope of a `leaky_relu`.
    mode : {"fan_in", "fan_out"}
        Whether the variance is that of inputs, or of outputs.
    nonlinearity : str
        For the gain.
    """
    if _is_empty(tensor):
        return tensor
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:  # fmt: skip
    """Write normal numbers of He's variance; the arguments are those of `kaiming_uniform_`."""
    if _is_empty(tensor):
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


def orthogonal_(tensor: Any, gain: float = 1, generator: Any = None) -> Tensor:
    """Write a random matrix with orthonormal rows or columns, times `gain`; other dimensions count as one."""
    if tensor.ndim < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if not tensor.numel():
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    with no_grad():
        flat = top_level("randn")(rows, columns, dtype=tensor.dtype, generator=generator)
        q, r = _qr(flat.T if rows < columns else flat)
        q = q * r.diagonal().sign()
        q = q.T if rows < columns else q
        written: Tensor = tensor.copy_(q.reshape(tensor.shape)).mul_(gain)
    return written


def sparse_(tensor: Any, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Write normal numbers into a matrix, and zeros in a share of each column."""
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    normal_(tensor, 0.0, std, generator)
    with no_grad():
        for j in range(columns):
            tensor[top_level("randperm")(rows)[:zeros], j] = 0.0
    return tensor


add_examples("init.", globals(), __all__)


def __dir__() -> list[str]:
    return __all__


__getattr__ = getattr_of(__name__)
