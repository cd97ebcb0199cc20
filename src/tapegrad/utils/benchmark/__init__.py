"""PyTorch's ``torch.utils.benchmark``: `Timer`, over Python's `timeit`, and its `Measurement`."""

from __future__ import annotations

from ...base.missing_names import getattr_of
from .measurement import Measurement, TaskSpec
from .timer import Timer

__all__ = ["Measurement", "TaskSpec", "Timer"]


def __dir__() -> list[str]:
    return sorted(__all__)


__getattr__ = getattr_of(__name__)
