"""Making tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import record
from ..dtypes import as_dtype, from_numpy_dtype, get_default_dtype
from .registry import public


@public()
def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Any:
    """Make a leaf from data (copied)."""
    kind = as_dtype(dtype) if dtype is not None else None
    array = np.array(data)
    if kind is None:
        kind = get_default_dtype() if array.dtype.kind == "f" else from_numpy_dtype(array.dtype)
    return record.leaf_tensor(np.array(array, kind.np), kind, requires_grad=requires_grad)


@public()
def as_tensor(data: Any) -> Any:
    """Make a tensor of data."""
    return tensor(data)


def legacy_tensor(*data: Any, **options: Any) -> Any:
    """Tensor(data)."""
    return tensor(np.array(data[0], get_default_dtype().np))
