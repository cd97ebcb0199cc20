"""PyTorch's ``torch.autograd``: gradients on request, grad modes, `Variable`."""

from __future__ import annotations

from .derivatives import Variable, backward, grad
from .modes import (
    enable_grad,
    is_grad_enabled,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
)

__all__ = [
    "Variable",
    "backward",
    "enable_grad",
    "grad",
    "is_grad_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]
