"""PyTorch's ``torch.utils``: `checkpoint`, and when they are asked for `data` and `benchmark`."""

from __future__ import annotations

from ..base.missing_names import getattr_of
from . import checkpoint

__all__ = ["benchmark", "checkpoint", "data"]


def __dir__() -> list[str]:
    return sorted(__all__)


__getattr__ = getattr_of(__name__)
