"""The functions that the package has at its top level, by name, for those files that are below it."""

from __future__ import annotations

from typing import Any

from ...functions import registry
from ...tensors.tensor import FUNCTIONS

__all__ = ["TOP"]

#: name -> function, as ``tapegrad.name``
TOP: dict[str, Any] = {**registry.FUNCTIONS, **FUNCTIONS}
