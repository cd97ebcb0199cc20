"""Arguments that creation functions share: sizes, dtype, device, layout, requires_grad; and memory.

`size_of` reads a size the way PyTorch does, `Options` checks the keyword arguments, `allocate`
makes an array or raises PyTorch's error for a size that no memory holds.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..base import dtypes
from ..base.devices import check_device, layout
from ..base.dtypes import as_dtype, get_default_dtype
from ..base.errors import must_be
from ..base.torch_messages import check_bool
from ..tape import readout
from ..tape import recording as record
from .arguments import OVERFLOW, unpack_error

__all__ = ["Options", "allocate", "check_requires_grad", "number_of", "read_dtype", "size_of"]

_LIMIT = 2**63


# --------------------------------------------------------------------------- sizes
def _is_integer(value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return False
    if record.is_tensor(value):
        return value.ndim == 0 and value.dtype is dtypes.int64
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "iu"
    return isinstance(value, int | np.integer)


def size_of(
    name: str, size: Sequence[Any], label: str = "size", position: int = 1
) -> tuple[int, ...]:
    """Read lengths of dimensions, given one by one or as one sequence.

    Parameters
    ----------
    name : str
        The function that was called.
    size : sequence
        Its positional arguments.
    label : str
        PyTorch's name of the argument.
    position : int
        Its position.

    Raises
    ------
    TypeError
        If they are not integers.
    RuntimeError
        If one is negative.
    """
    if len(size) == 0:
        raise TypeError(f'{name}() missing 1 required positional arguments: "{label}"')
    first = size[0]
    prefix = f"{name}(): argument '{label}'"
    if len(size) == 1 and isinstance(first, tuple | list):
        size = first
        if size and not _is_integer(size[0]):
            raise TypeError(
                f"{prefix} (position {position}) must be tuple of ints, but found element of type "
                f"{type(size[0]).__name__} at pos 0"
            )
    elif not _is_integer(first):
        raise TypeError(
            f"{prefix} (position {position}) must be tuple of ints, not {type(first).__name__}"
        )
    shape = []
    for i, n in enumerate(size):
        if not _is_integer(n):
            reason = f"type must be tuple of ints,but got {type(n).__name__}"
            raise unpack_error(name, label, i, reason)
        length = operator.index(n)
        if not -_LIMIT <= length < _LIMIT:
            raise unpack_error(name, label, i, OVERFLOW)
        shape.append(length)
    return checked(name, tuple(shape))


def checked(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape, or raise PyTorch's error for a negative length."""
    for n in shape:
        if n < 0:
            if name == "zeros":
                raise RuntimeError("zeros: Dimension size must be non-negative.")
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {n}: {list(shape)}"
            )
    return shape


def allocate(shape: tuple[int, ...], kind: dtypes.dtype, *, zero: bool = False) -> np.ndarray:
    """Make a C-contiguous array, of zeros or uninitialised.

    Raises
    ------
    RuntimeError
        If no memory holds it.
    """
    size = math.prod(shape) * kind.itemsize
    if size >= _LIMIT:
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)}")
    if size == 0 and math.prod(n for n in shape if n) * kind.itemsize >= _LIMIT:
        raise RuntimeError("Stride calculation overflowed")
    try:
        return np.zeros(shape, kind.np) if zero else np.empty(shape, kind.np)
    except (MemoryError, ValueError):  # NumPy's ValueError says that the array is too big
        raise RuntimeError(
            f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {size} bytes. "
            "Error code 12 (Cannot allocate memory)"
        ) from None


# --------------------------------------------------------------------------- keyword arguments
def read_dtype(name: str, value: Any) -> dtypes.dtype:
    """Return a dtype argument as a dtype.

    Raises
    ------
    TypeError
        If it is not one, or one that tapegrad does not have.
    """
    if isinstance(value, dtypes.dtype):
        return value
    if isinstance(value, type | np.dtype):
        return as_dtype(value)
    raise must_be(name, "dtype", 0, "torch.dtype", value)


def check_requires_grad(name: str, value: Any, kind: dtypes.dtype) -> bool:
    """Return a requires_grad argument, or raise PyTorch's error for a dtype that cannot be active."""
    if value is None and name not in ("tensor", "new_tensor"):
        return False
    check_bool(name, "requires_grad", 0, value)
    if value and not kind.is_floating_point:
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    return bool(value)


class Options(NamedTuple):
    """Checked keyword arguments of a creation function."""

    kind: dtypes.dtype
    requires_grad: bool

    @classmethod
    def of(
        cls, name: str, dtype: Any, layout_: Any, device: Any, pin_memory: Any, requires_grad: Any,
        default: dtypes.dtype | None = None,
    ) -> Options:  # fmt: skip
        """Check the arguments; `default` is the dtype where none is given."""
        check_layout(name, layout_)
        check_device(name, device)
        if pin_memory:
            raise RuntimeError(
                "Cannot access accelerator device when none is available: leave pin_memory out"
            )
        if dtype is not None:
            kind = read_dtype(name, dtype)
        else:
            kind = get_default_dtype() if default is None else default
        return cls(kind, check_requires_grad(name, requires_grad, kind))

    def leaf(self, array: np.ndarray) -> Any:
        """Make a leaf over an array of this dtype."""
        return record.leaf_tensor(array, self.kind, requires_grad=self.requires_grad)


def check_layout(name: str, value: Any) -> None:
    """Raise unless a layout argument is None or a layout."""
    if value is not None and not isinstance(value, layout):
        raise must_be(name, "layout", 0, "torch.layout", value)


def number_of(name: str, label: str, position: int, value: Any) -> float | int | bool:
    """Return a Number argument as a Python number.

    Raises
    ------
    TypeError
        If it is none; 0-d tensors are.
    """
    value = readout.option(value, f"{name}({label}=...)")
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, int | float):
        raise must_be(name, label, position, "Number", value)
    if isinstance(value, int) and not -_LIMIT <= value < _LIMIT:
        raise RuntimeError("value cannot be converted to type int64_t without overflow")
    return value
