"""Detaching, copying and reading values."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..native import abi as nt
from ..native.handle_type import status_of
from ..ops.table import TABLE
from ..tape import readout
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.leaf_storage import layout_of, storage_of
from ..tape.tape import slot_of, tape_at
from .arguments import as_tensors
from .registry import public
from .shape.reshape import alias
from .signature import Tensor

__all__ = ["detach", "numpy"]

_DETACH = TABLE["detach"]


@public(method=True, out=False)
def detach(input: Any) -> Tensor:
    """Return a passive tensor that shares the memory.

    Parameters
    ----------
    input : Tensor

    Returns
    -------
    Tensor
        An alias with ``requires_grad=False``; in-place writes count as versions of both.
    """
    (input,) = as_tensors("detach", (input,))
    layout = layout_of(input)
    return alias(_DETACH, input, layout.shape, layout.strides)


@public(method=True, function=False)
def numpy(input: Any, *, force: bool = False) -> np.ndarray:
    """Return the value as an ndarray that shares the tensor's memory.

    Parameters
    ----------
    input : Tensor
        Must not require grad, unless `force` or under `no_grad`.
    force : bool
        Detach first.

    Raises
    ------
    RuntimeError
        If the tensor requires grad and grad mode is on.
    """
    record.check_tensors("numpy", (input,))
    status = 0 if force else status_of(input)
    if status > 0 and status & 1:
        readout.check(input, "numpy()", warns=False)
        if current_tape().grad_mode:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
            )
    tape = tape_at(input._state)
    with tape.lock:
        slot = slot_of(tape, input)
        storage = storage_of(input)
        if storage is None or storage.array is None:
            return tape.expose(slot, layout_of(input))
        if tape.state[nt.S_DONE] < tape.state[nt.S_COUNT]:
            tape.evaluate()
        tape.flags[tape.base[slot]] |= nt.VISIBLE
        return storage.array.view()


@public(method=True, function=False, name="__array__")
def as_array(input: Any, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """Return the value for ``np.asarray(tensor)``; the tensor must not require grad."""
    array = numpy(input)
    if copy or (dtype is not None and array.dtype != dtype):
        if copy is False:
            raise ValueError("a conversion of dtype needs a copy, and copy=False was asked for")
        return np.array(array, dtype)
    return array
