"""Helpers of distributions, those of ``torch.distributions.utils`` among them."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

from ..autograd import enable_grad
from ..base.dtypes import get_default_dtype
from ..base.limits import finfo
from ..tensors.operators import top_level
from ..tensors.tensor import Tensor

__all__ = [
    "broadcast_all", "clamp_probs", "extended", "lazy_property", "logits_to_probs", "probs_to_logits",
    "standard_normal", "sum_rightmost", "top_level",
]  # fmt: skip


_broadcast_tensors, _randn, _tensor = map(top_level, ("broadcast_tensors", "randn", "tensor"))


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Return tensors of one shape for tensors and numbers; numbers take the dtype of the first tensor.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> import tapegrad as tg
    >>> broadcast_all(tg.zeros(2), 1.0)[1]
    tensor([1., 1.])
    """
    tensors = [v for v in values if isinstance(v, Tensor)]
    if not all(isinstance(v, Tensor | Number) for v in values):
        raise ValueError(
            "Input arguments must all be instances of Number, "
            "torch.Tensor or objects implementing __torch_function__."
        )
    kind = tensors[0].dtype if tensors else get_default_dtype()
    full = (v if isinstance(v, Tensor) else _tensor(v, dtype=kind) for v in values)
    return tuple(_broadcast_tensors(*full))


def extended(shape: Any) -> tuple[int, ...]:
    """Return a shape, which may be given as one number, as a tuple."""
    return (int(shape),) if isinstance(shape, int) else tuple(shape)


def standard_normal(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return standard normal numbers of the dtype of another tensor."""
    numbers: Tensor = _randn(shape, dtype=like.dtype)
    return numbers


def sum_rightmost(value: Any, dim: int) -> Tensor:
    """Return sums over the last `dim` dimensions."""
    total: Tensor = value.reshape((*value.shape[:-dim], -1)).sum(-1) if dim else value
    return total


def clamp_probs(probs: Any) -> Tensor:
    """Return probabilities, none of which is nearer to 0 or 1 than the rounding error."""
    eps = finfo(probs.dtype).eps
    inside: Tensor = probs.clamp(min=eps, max=1 - eps)
    return inside


def probs_to_logits(probs: Any, is_binary: bool = False) -> Tensor:
    """Return log-odds of probabilities of one event, or logarithms of those of several."""
    inside: Any = clamp_probs(probs)
    logits: Tensor = inside.log() - (-inside).log1p() if is_binary else inside.log()
    return logits


def logits_to_probs(logits: Any, is_binary: bool = False) -> Tensor:
    """Return the probabilities of logits: of one event each, or of the events along the last dimension."""
    probs: Tensor = logits.sigmoid() if is_binary else logits.softmax(-1)
    return probs


class lazy_property:
    """Attribute that is computed when it is first asked for, with derivatives, and kept in the instance."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped, self.name, self.__doc__ = wrapped, wrapped.__name__, wrapped.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Compute and keep the value."""
        if instance is None:
            return self
        with enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.name, value)
        return value
