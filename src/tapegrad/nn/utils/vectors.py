"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...tensors.operators import top_level
from ...tensors.tensor import Tensor
from ..modules.members import type_name

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Any]) -> Tensor:
    """Return all elements of parameters in one vector, differentiated."""
    vector: Tensor = top_level("cat")([p.reshape(-1) for p in parameters])
    return vector


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Give parameters the elements of a vector as their data, in its memory.

    Raises
    ------
    TypeError, RuntimeError
        If `vec` is no Tensor, or has too few elements; nothing has changed then.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type_name(vec)}")
    parameters = list(parameters)
    counts = [p.numel() for p in parameters]
    if sum(counts) > vec.numel():
        raise RuntimeError(
            f"vector_to_parameters(): the parameters have {sum(counts)} elements, but vec has {vec.numel()}"
        )
    first = 0
    for parameter, count in zip(parameters, counts, strict=True):
        parameter.data = vec[first : first + count].view_as(parameter).data
        first += count
