"""`default_collate`: one batch of a list of samples, whose tensors are stacked and whose structure stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...base import dtypes
from ...tensors.operators import top_level
from ...tensors.tensor import Tensor

__all__ = ["default_collate", "default_convert"]

_as_tensor, _stack, _tensor = map(top_level, ("as_tensor", "stack", "tensor"))


def _like(container: Any, items: list[Any]) -> Any:
    """Return a sequence of another one's type; a list for types that are not made from a list."""
    try:
        return type(container)(items)
    except TypeError:
        return items


def _like_mapping(container: Any, items: dict[Any, Any]) -> Any:
    """Return a mapping of another one's type; a dict for types that are not made from a dict."""
    try:
        return type(container)(items)
    except TypeError:
        return items


def _array_is_data(array: Any) -> bool:
    """Return True for arrays of numbers, not of texts or objects."""
    return array.dtype.kind in "biufc"


def default_convert(data: Any) -> Any:
    """Return a sample with its arrays as tensors.

    Examples
    --------
    >>> import numpy as np
    >>> default_convert({"x": np.ones(2), "name": "a"})
    {'x': tensor([1., 1.]), 'name': 'a'}
    """
    if isinstance(data, Tensor | str | bytes):
        return data
    if isinstance(data, np.ndarray | np.generic):
        return _as_tensor(data) if _array_is_data(data) else data
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple):
        items = [default_convert(value) for value in data]
        return type(data)(*items) if hasattr(data, "_fields") else items
    if isinstance(data, Sequence):
        return _like(data, [default_convert(value) for value in data])
    return data


def default_collate(batch: Any) -> Any:
    """Return a batch of samples: tensors are stacked, numbers become tensors, containers stay.

    Parameters
    ----------
    batch : sequence
        Samples of one structure.

    Raises
    ------
    TypeError
        For samples that are neither tensors nor arrays, numbers, texts or containers of them.
    RuntimeError
        For samples that are sequences of different lengths.

    Examples
    --------
    >>> default_collate([(1, 2.0), (3, 4.0)])
    [tensor([1, 3]), tensor([2., 4.])]
    """
    first = batch[0]
    message = "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
    if isinstance(first, Tensor):
        return _stack(list(batch), 0)
    if isinstance(first, np.ndarray | np.generic):
        if not _array_is_data(first):
            raise TypeError(message.format(first.dtype))
        return _as_tensor(np.stack(batch))
    if isinstance(first, float):
        return _tensor(batch, dtype=dtypes.float64)
    if isinstance(first, int):
        return _tensor(batch)
    if isinstance(first, str | bytes):
        return batch
    if isinstance(first, Mapping):
        columns = {key: default_collate([sample[key] for sample in batch]) for key in first}
        return _like_mapping(first, columns)
    if isinstance(first, Sequence):
        named = isinstance(first, tuple) and hasattr(first, "_fields")
        if not named and any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        items = [default_collate(parts) for parts in zip(*batch, strict=False)]
        if named:
            return type(first)(*items)
        return items if isinstance(first, tuple) else _like(first, items)
    raise TypeError(message.format(type(first)))
