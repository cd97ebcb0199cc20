"""PyTorch's ``torch.nn.utils``: norms of gradients, and parameters as one vector."""

from __future__ import annotations

from ...base.missing_names import getattr_of
from ..examples import add_examples
from .gradients import (
    clip_grad_norm,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from .vectors import parameters_to_vector, vector_to_parameters

__all__ = [
    "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm",
    "parameters_to_vector", "vector_to_parameters",
]  # fmt: skip

add_examples("utils.", globals(), __all__)


def __dir__() -> list[str]:
    return __all__


__getattr__ = getattr_of(__name__)
