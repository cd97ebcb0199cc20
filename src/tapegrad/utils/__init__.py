"""PyTorch's ``torch.utils``, as far as it is about derivatives: `checkpoint`."""

from __future__ import annotations

from . import checkpoint

__all__ = ["checkpoint"]


def __dir__() -> list[str]:
    return sorted(__all__)
