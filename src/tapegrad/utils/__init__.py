"""PyTorch's ``torch.utils``, as far as it is about derivatives: `checkpoint`, and `dlpack`."""

from __future__ import annotations

from ..base.missing_names import getattr_of
from . import checkpoint, dlpack

__all__ = ["checkpoint", "dlpack"]


def __dir__() -> list[str]:
    return sorted(__all__)


__getattr__ = getattr_of(__name__)
