"""PyTorch's ``torch.utils``: `checkpoint`, `dlpack`, and when they are asked for `data` and `benchmark`."""

from __future__ import annotations

from ..base.missing_names import getattr_of
from . import checkpoint, dlpack

__all__ = ["benchmark", "checkpoint", "data", "dlpack"]


def __dir__() -> list[str]:
    return sorted(__all__)


__getattr__ = getattr_of(__name__)
