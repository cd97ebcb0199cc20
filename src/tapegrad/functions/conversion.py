"""Changing a tensor's dtype or device.

There is one device, so much of this returns the tensor itself.
"""

from __future__ import annotations

import warnings
from typing import Any, NoReturn

import numpy as np

from ..base import devices
from ..base.devices import check_device, device, layout, strided
from ..base.dtypes import (
    as_dtype,
    bool_,
    complex64,
    complex128,
    dtype,
    float16,
    float32,
    float64,
    from_numpy_dtype,
    int8,
    int16,
    int32,
    int64,
    uint8,
)  # fmt: skip
from ..base.errors import UnsupportedError, must_be
from ..ops.table import TABLE
from ..tape import recording as record
from .arguments import as_tensors
from .registry import FUNCTIONS, declared, public
from .signature import Tensor

__all__ = ["to"]

_EXPORTED: dict[str, Any] = {
    "device": device,
    "layout": layout,
    "strided": strided,
    "memory_format": devices.memory_format,
    "contiguous_format": devices.contiguous_format,
    "preserve_format": devices.preserve_format,
}
FUNCTIONS.update(_EXPORTED)


_TO = "bool non_blocking=False, bool copy=False, *, MemoryFormat? memory_format=None)"


@declared(
    f"(Device? device=None, Dtype? dtype=None, {_TO}", f"(Dtype dtype, {_TO}",
    f"(Tensor tensor, {_TO}", function=False,
)  # fmt: skip
def to(input: Tensor, *target: Any, **named: Any) -> Tensor:
    """Return the tensor in another dtype: ``x.to(dtype)``, ``x.to(device)``, ``x.to(other)``.

    Parameters
    ----------
    input : Tensor
    target : dtype, device or Tensor
        A device may be followed by a dtype. The tensor itself is returned if nothing changes.
    dtype, device
        The same by name.
    non_blocking : bool
        Has no effect.
    copy : bool
        Copy even if nothing changes.
    memory_format
        Has no effect.
    """
    positional, kind = list(target), named.get("dtype")
    if "tensor" in named:
        kind = named["tensor"].dtype
    if positional:
        first = positional.pop(0)
        if record.is_tensor(first):
            kind = first.dtype
        elif isinstance(first, dtype | type | np.dtype):
            kind = first
        else:
            check_device("to", first)
            if positional and not isinstance(positional[0], bool):
                kind = positional.pop(0)
    check_device("to", named.get("device"))
    copy = named.get("copy", positional[1] if len(positional) == 2 else False)
    kind = None if kind is None else as_dtype(kind)
    if kind is None or kind is input.dtype:
        return input.clone() if copy else input
    return _converted(input, kind)


def _converted(input: Any, kind: dtype) -> Any:
    """The tensor in a dtype that somebody has asked for."""
    if input.dtype is kind:
        return input
    if input.dtype.is_complex and not kind.is_complex and kind is not bool_:
        warnings.warn(
            "Casting complex values to real discards the imaginary part", UserWarning, stacklevel=4
        )
    return record.apply(TABLE["to"], (input,), dtype=kind)


def _cast_method(name: str, kind: dtype) -> None:
    @public(
        method=True, function=False, name=name,
        doc=f"Return the tensor in dtype {kind.name}, itself if it is that already.",
    )  # fmt: skip
    def convert(input: Any, *, memory_format: Any = None) -> Tensor:
        return _converted(input, kind)


for _name, _kind in (
    ("double", float64), ("float", float32), ("long", int64), ("bool", bool_), ("cdouble", complex128),
    ("cfloat", complex64), ("int", int32), ("short", int16), ("char", int8), ("byte", uint8),
    ("half", float16),
):  # fmt: skip
    _cast_method(_name, _kind)


@public(method=True, function=False)
def bfloat16(input: Any, *, memory_format: Any = None) -> NoReturn:
    """Raise: tapegrad has no such dtype; use ``float``."""
    raise UnsupportedError("bfloat16(): tapegrad has no such dtype; use .float()")


@declared(function=False)
def type_as(input: Tensor, other: Tensor) -> Tensor:
    """Return the tensor in the dtype of another."""
    return _converted(input, other.dtype)


@public(method=True, function=False)
def astype(input: Any, dtype: Any, order: str = "K", *, copy: bool = True) -> Tensor:
    """Return the tensor in another dtype, as NumPy's method.

    Parameters
    ----------
    input : Tensor
    dtype : dtype, numpy.dtype, type or str
    order : str
        For NumPy's sake: it is C order.
    copy : bool
        Copy even if nothing changes.
    """
    kind = from_numpy_dtype(dtype) if isinstance(dtype, str) else as_dtype(dtype)
    return (input.clone() if copy else input) if kind is input.dtype else record.cast(input, kind)


@public(method=True, function=False)
def copy(input: Any, order: str = "C") -> Tensor:
    """Copy the tensor, as NumPy's method: `clone`."""
    return input.clone()


@public(method=True, out=False)
def clone(input: Any, *, memory_format: Any = None) -> Tensor:
    """Copy a tensor; the gradient of the copy goes to the tensor.

    Parameters
    ----------
    input : Tensor
    memory_format : memory_format, optional
        For PyTorch's sake: the copy is in C order.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tensor([1.0, 2.0]).clone()
    tensor([1., 2.])
    """
    (input,) = as_tensors("clone", (input,))
    if memory_format is not None and not isinstance(memory_format, devices.memory_format):
        raise must_be("clone", "memory_format", 0, "torch.memory_format", memory_format)
    return record.unary(TABLE["clone"], input)


@public(method=True, function=False)
def cpu(input: Any, *, memory_format: Any = None) -> Tensor:
    """Return the tensor: it is on the CPU."""
    return input


@public(method=True, function=False)
def cuda(input: Any, device: Any = None, non_blocking: bool = False, **_: Any) -> Tensor:
    """Raise: tensors are on the CPU only."""
    check_device("cuda", "cuda")


@public(method=True, function=False)
def to_device(input: Any, device: Any, /, *, stream: Any = None) -> Any:
    """Return the tensor itself: it is on the CPU, the only device (the array API standard's method)."""
    check_device("to_device", device)
    if stream is not None:
        raise UnsupportedError("to_device: a CPU has no streams; leave stream out")
    return input
