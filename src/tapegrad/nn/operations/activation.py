"""Activations: those of functions/maths/activation.py, and others that are made of a few operations.

Where PyTorch's derivative at a kink is not that of the operations (`hardtanh` at its bounds has slope 0), a
selection says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ...tensors.operators import top_level
from ...tensors.tensor import Tensor

__all__ = [
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "log_softmax", "logsigmoid", "mish", "prelu",
    "relu",
    "relu6", "relu_", "rrelu", "rrelu_", "selu", "selu_", "sigmoid", "silu", "softmax", "softmin", "softplus",
    "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "threshold_",
]  # fmt: skip

_where, _relu, _elu, _leaky_relu = (top_level(n) for n in ("where", "relu", "elu", "leaky_relu"))
_softmax, _log_softmax, _silu = top_level("softmax"), top_level("log_softmax"), top_level("silu")
_sigmoid, _tanh, _expm1, _log = (top_level(n) for n in ("sigmoid", "tanh", "expm1", "log"))
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _in_place(function: Callable[..., Any], input: Any, *options: Any) -> Tensor:
    """Write an activation over its input, which its derivative keeps a copy of."""
    written: Tensor = input.copy_(function(input.clone(), *options))
    return written


# --------------------------------------------------------------------------- rectifiers
def relu(input: Any, inplace: bool = False) -> Tensor:
    """Return ``max(input, 0)``."""
    result: Tensor = input.relu_() if inplace else _relu(input)
    return result


def relu6(input: Any, inplace: bool = False) -> Tensor:
    """Return ``min(max(input, 0), 6)``."""
    return hardtanh(input, 0.0, 6.0, inplace)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """Return the input where it is positive, else `negative_slope` times it."""
    if inplace:
        return _in_place(_leaky_relu, input, negative_slope)
    result: Tensor = _leaky_relu(input, negative_slope)
    return result


def prelu(input: Any, weight: Any) -> Tensor:
    """Return the input where it is positive, else `weight` times it.

    Parameters
    ----------
    input : Tensor
    weight : Tensor
        One number, or one a channel, which dimension 1 of the input is.
    """
    if weight.ndim > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}"
        )
    count = weight.numel()
    if count != 1:
        channels = input.shape[1] if input.ndim > 1 else 1
        if input.ndim == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        if channels != count:
            raise RuntimeError(
                f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {count} "
                f"and channel size = {channels}."
            )
    slope = (
        weight.reshape(1, count, *[1] * (input.ndim - 2)) if input.ndim > 1 else weight.reshape(())
    )
    if input.ndim == 1:
        slope = weight.reshape(1)
    result: Tensor = _where(input > 0, input, slope * input)
    return result


def rrelu(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
    inplace: bool = False,
) -> Tensor:  # fmt: skip
    """Return the input where it is positive, else times a slope: random in training, else their mean."""
    slope: Any = (lower + upper) / 2
    if training:
        slope = top_level("rand_like")(input.detach()) * (upper - lower) + lower
        result: Any = _where(input > 0, input, slope * input)
    else:
        result = _leaky_relu(input, slope)
    return input.copy_(result) if inplace else result


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return the input where it is positive, else ``alpha * (exp(input) - 1)``."""
    if inplace:
        return _in_place(_elu, input, alpha)
    result: Tensor = _elu(input, alpha)
    return result


def _celu(input: Any, alpha: float) -> Any:
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _where(input > 0, input, alpha * _expm1(input.clamp(max=0) / alpha))


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """Return the input where it is positive, else ``alpha * (exp(input / alpha) - 1)``."""
    if inplace:
        return _in_place(_celu, input, alpha)
    result: Tensor = _celu(input, alpha)
    return result


def _selu(input: Any) -> Any:
    scaled = _SELU_ALPHA * _SELU_SCALE * _expm1(input.clamp(max=0))
    return _where(input > 0, _SELU_SCALE * input, scaled)


def selu(input: Any, inplace: bool = False) -> Tensor:
    """Return `elu` with the two constants that keep mean 0 and variance 1."""
    result: Tensor = _in_place(_selu, input) if inplace else _selu(input)
    return result


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """Return the input where it is above a threshold, else `value`."""
    result: Any = _where(input <= threshold, value, input)
    return input.copy_(result) if inplace else result


# --------------------------------------------------------------------------- piecewise linear
def _between(input: Any, low: float, high: float) -> Any:
    """Clamp an input, with slope 0 at the bounds."""
    return _where((input <= low) | (input >= high), input.detach().clamp(low, high), input)


def hardtanh(
    input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """Return ``min(max(input, min_val), max_val)``."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    result: Tensor = _between(input, min_val, max_val)
    return input.copy_(result) if inplace else result


def hardsigmoid(input: Any, inplace: bool = False) -> Tensor:
    """Return ``relu6(input + 3) / 6``."""
    result: Tensor = _where(
        (input <= -3) | (input >= 3), (input.detach() + 3).clamp(0, 6) / 6, (input + 3) / 6
    )
    return input.copy_(result) if inplace else result


def _hardswish(input: Any) -> Any:
    return _where(
        input <= -3, input.new_zeros(()), _where(input < 3, input * (input + 3) / 6, input)
    )


def hardswish(input: Any, inplace: bool = False) -> Tensor:
    """Return ``input * relu6(input + 3) / 6``."""
    result: Tensor = _in_place(_hardswish, input) if inplace else _hardswish(input)
    return result


def hardshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """Return the input, or zero where it is between ``-lambd`` and ``lambd``."""
    result: Tensor = _where((input >= -lambd) & (input <= lambd), input.new_zeros(()), input)
    return result


def softshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """Return the input, `lambd` nearer to zero, and zero where it is nearer than that."""
    if not lambd >= 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd:g}.")
    inside = _where(
        input < -lambd, input + lambd, _where(input != input, input, input.new_zeros(()))
    )
    result: Tensor = _where(input > lambd, input - lambd, inside)
    return result


def tanhshrink(input: Any) -> Tensor:
    """Return ``input - tanh(input)``."""
    result: Tensor = input - _tanh(input)
    return result


def softsign(input: Any) -> Tensor:
    """Return ``input / (1 + abs(input))``."""
    result: Tensor = input / (input.abs() + 1)
    return result


# --------------------------------------------------------------------------- smooth
def sigmoid(input: Any) -> Tensor:
    """Return ``1 / (1 + exp(-input))``."""
    result: Tensor = _sigmoid(input)
    return result


def tanh(input: Any) -> Tensor:
    """Return the hyperbolic tangent."""
    result: Tensor = _tanh(input)
    return result


def silu(input: Any, inplace: bool = False) -> Tensor:
    """Return ``input * sigmoid(input)``."""
    result: Tensor = _in_place(_silu, input) if inplace else _silu(input)
    return result


def _mish(input: Any) -> Any:
    return input * _tanh(softplus(input))


def mish(input: Any, inplace: bool = False) -> Tensor:
    """Return ``input * tanh(softplus(input))``."""
    result: Tensor = _in_place(_mish, input) if inplace else _mish(input)
    return result


gelu: Any = top_level("gelu")
softplus: Any = top_level("softplus")
logsigmoid: Any = top_level("logsigmoid")


def glu(input: Any, dim: int = -1) -> Tensor:
    """Return the first half of the input, times the sigmoid of the second.

    Raises
    ------
    RuntimeError
        If the dimension has no even length.
    """
    if input.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    if input.shape[dim] % 2:
        raise RuntimeError(
            f"Halving dimension must be even, but dimension {dim % input.ndim} is size {input.shape[dim]}"
        )
    first, second = input.chunk(2, dim)
    result: Tensor = first * _sigmoid(second)
    return result


# --------------------------------------------------------------------------- softmax
def _dimension(name: str, input: Any, dim: int | None) -> int:
    """Return a dimension; PyTorch's choice, with a warning, where none was given."""
    if dim is not None:
        return dim
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as "
        "an argument.",
        stacklevel=3,
    )
    return 0 if input.ndim in (0, 1, 3) else 1


def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """Return ``exp(input)``, divided by its sum over a dimension."""
    dim = _dimension("softmax", input, dim)
    result: Tensor = _softmax(input, dim) if dtype is None else _softmax(input, dim, dtype)
    return result


def log_softmax(
    input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """Return the logarithm of `softmax`."""
    dim = _dimension("log_softmax", input, dim)
    result: Tensor = _log_softmax(input, dim) if dtype is None else _log_softmax(input, dim, dtype)
    return result


def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor:
    """Return the softmax of the negative input."""
    return softmax(-input, _dimension("softmin", input, dim), dtype=dtype)


def gumbel_softmax(
    logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Return samples of the Gumbel-softmax distribution; `hard` ones are differentiated as if soft."""
    uniform = top_level("rand_like")(logits.detach()).clamp_min(
        1e-38 if logits.dtype.itemsize < 8 else 1e-300
    )
    gumbels = (logits - _log(-_log(uniform))) / tau
    soft = softmax(gumbels, dim)
    if not hard:
        return soft
    index = soft.detach().argmax(dim, keepdim=True)
    one = top_level("zeros_like")(logits.detach()).scatter_(dim, index, 1.0)
    result: Tensor = one - soft.detach() + soft
    return result


# --------------------------------------------------------------------------- in place
def _made_in_place(function: Callable[..., Tensor]) -> Any:
    def in_place(input: Any, *options: Any, **named: Any) -> Tensor:
        return function(input, *options, **named, inplace=True)

    in_place.__name__ = in_place.__qualname__ = f"{function.__name__}_"
    in_place.__doc__ = f"Write `{function.__name__}` over the input."
    return in_place


relu_, leaky_relu_ = _made_in_place(relu), _made_in_place(leaky_relu)
elu_, celu_, selu_ = _made_in_place(elu), _made_in_place(celu), _made_in_place(selu)
rrelu_, hardtanh_ = _made_in_place(rrelu), _made_in_place(hardtanh)
threshold_ = _made_in_place(threshold)
