"""Detaching, copying and reading values."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import record
from ..ops.table import TABLE
from ..record import layout_of
from ..tape import slot_of, tape_at
from .registry import public

__all__ = ["detach", "numpy"]


@public(method=True)
def detach(input: Any) -> Any:
    """Return a passive tensor that shares the memory.

    Parameters
    ----------
    input : Tensor

    Returns
    -------
    Tensor
        An alias with ``requires_grad=False``; in-place writes count as versions of both.
    """
    return record.view(TABLE["detach"], input, input.shape, layout_of(input).strides)


@public(method=True, function=False)
def numpy(input: Any, *, force: bool = False) -> np.ndarray:
    """Return the value as an ndarray that shares the tensor's memory.

    Parameters
    ----------
    input : Tensor
        Must not require grad, unless `force`.
    force : bool
        Detach first.

    Raises
    ------
    RuntimeError
        If the tensor requires grad.
    """
    if input.requires_grad and not force:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )
    tape = tape_at(input._state)
    return tape.expose(slot_of(tape, input), layout_of(input))


@public(method=True, function=False, name="__array__")
def as_array(input: Any, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """Return the value for ``np.asarray(tensor)``; the tensor must not require grad."""
    array = numpy(input)
    if copy or (dtype is not None and array.dtype != dtype):
        if copy is False:
            raise ValueError("a conversion of dtype needs a copy, and copy=False was asked for")
        return np.array(array, dtype)
    return array
