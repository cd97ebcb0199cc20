"""Values that come back from compiled code as Tensors, in the containers that they are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..functions.registry import FUNCTIONS
from ..tensors.tensor import Tensor

__all__ = ["CONTAINERS", "NUMBERS", "RESULTS", "as_tensors", "passive_value", "rebuilt"]

# Tuples, as an `isinstance` with unions takes twice the time.
CONTAINERS = (tuple, list)
NUMBERS = (float, int)
RESULTS = (float, int, np.ndarray, np.generic)


def passive_value(tensor: Tensor) -> Any:
    """The value of a tensor: a number, or a read-only array."""
    if not tensor.ndim:
        return tensor.item()
    array = tensor.detach().numpy().copy()
    array.flags.writeable = False
    return array


def as_tensors(results: Any) -> Any:
    """Passive results as Tensors."""
    if isinstance(results, CONTAINERS):
        return rebuilt(results, [as_tensors(x) for x in results])
    if isinstance(results, RESULTS):  # numbers are float64, whatever the default is
        return FUNCTIONS["tensor"](np.asarray(results, order="C"))
    return results


def rebuilt(like: Any, items: Sequence[Any]) -> Any:
    """A container of the same kind."""
    if isinstance(like, list):
        return list(items)
    return type(like)(*items) if hasattr(like, "_fields") else tuple(items)
