"""Dtypes, their limits and promotion, constants, and `__array_namespace_info__` of the standard."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..base import limits
from ..base.devices import CPU, check_device, device
from ..base.dtypes import (
    DTYPES,
    as_dtype,
    bool_,
    complex64,
    complex128,
    complex_of,
    dtype,
    float32,
    float64,
    from_numpy_dtype,
    get_default_dtype,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from ..numpy.operands import as_tensor
from ..tape import recording as record

__all__ = [
    "__array_namespace_info__", "astype", "bool", "can_cast", "complex64", "complex128", "e", "finfo",
    "float32", "float64", "iinfo", "inf", "int8", "int16", "int32", "int64", "isdtype", "nan", "newaxis",
    "pi", "result_type", "uint8",
]  # fmt: skip

e, inf, nan, pi = math.e, math.inf, math.nan, math.pi
newaxis = None
bool = bool_

_KINDS = {
    "bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu", "real floating": "f",
    "complex floating": "c", "numeric": "iufc",
}  # fmt: skip


def numpy_kind(kind: Any) -> Any:
    """Return the NumPy dtype of a dtype argument; None if none is given."""
    return None if kind is None else as_dtype(kind).np


def astype(x: Any, dtype: Any, /, *, copy: Any = True, device: Any = None) -> Any:
    """Convert to another dtype; without a copy if it is that one and ``copy=False``."""
    check_device("astype", device)
    array, kind = as_tensor(x, "astype"), as_dtype(dtype)
    if array.dtype is kind:
        return array.clone() if copy else array
    if array.dtype.is_complex and not kind.is_complex and kind is not bool:
        raise TypeError(
            f"astype: {array.dtype} to {kind} would drop the imaginary part; take real(x) first"
        )
    return array.to(kind)


def _dtype_of(value: Any) -> dtype:
    return value.dtype if record.is_tensor(value) else as_dtype(value)


def can_cast(from_: Any, to: Any, /) -> Any:
    """Return True if each number of the one dtype is one of the other."""
    return np.can_cast(_dtype_of(from_).np, as_dtype(to).np)


def result_type(*arrays_and_dtypes: Any) -> dtype:
    """Return the dtype that arrays, dtypes and numbers promote to; numbers count by their kind only."""
    if not arrays_and_dtypes:
        raise TypeError("result_type() needs at least one array or dtype")
    parts = [v if record.is_number(v) else _dtype_of(v).np for v in arrays_and_dtypes]
    return from_numpy_dtype(np.result_type(*parts))


def isdtype(dtype: Any, kind: Any) -> Any:
    """Return True if a dtype is of a kind: a dtype, a name of the standard's, or a tuple of them."""
    source = as_dtype(dtype)
    if isinstance(kind, tuple):
        return any([isdtype(source, k) for k in kind])
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise ValueError(f"isdtype: no kind {kind!r}; there are {', '.join(_KINDS)}")
        return source.np.kind in _KINDS[kind]
    return source is as_dtype(kind)


class finfo_object(NamedTuple):
    """Limits of a floating-point dtype, as the standard's `finfo` has them."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: dtype


class iinfo_object(NamedTuple):
    """Limits of an integer dtype, as the standard's `iinfo` has them."""

    bits: int
    max: int
    min: int
    dtype: dtype


def finfo(type: Any, /) -> finfo_object:
    """Return the limits of a floating dtype, or of the parts of a complex one."""
    limit = limits.finfo(_dtype_of(type))
    kind = from_numpy_dtype(limit.dtype)
    return finfo_object(limit.bits, limit.eps, limit.max, limit.min, limit.smallest_normal, kind)


def iinfo(type: Any, /) -> iinfo_object:
    """Return the limits of an integer dtype."""
    limit = limits.iinfo(_dtype_of(type))
    return iinfo_object(limit.bits, limit.max, limit.min, from_numpy_dtype(limit.dtype))


class Inspection:
    """Facts about the namespace, as the standard's ``__array_namespace_info__()`` has them."""

    def capabilities(self) -> dict[str, Any]:
        """Return what depends on the library."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> device:
        """Return the CPU."""
        return CPU

    def devices(self) -> list[device]:
        """Return the CPU alone."""
        return [CPU]

    def default_dtypes(self, *, device: Any = None) -> dict[str, dtype]:
        """Return the dtypes that functions choose, `tapegrad.set_default_dtype` considered."""
        check_device("default_dtypes", device)
        real = get_default_dtype()
        return {
            "real floating": real, "complex floating": complex_of(real), "integral": int64,
            "indexing": int64,
        }  # fmt: skip

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, dtype]:
        """Return the dtypes of a kind by name, or all that the standard knows."""
        check_device("dtypes", device)
        known = {d.name: d for d in DTYPES if d.np.itemsize > 2 or d.np.kind != "f"}
        return known if kind is None else {n: d for n, d in known.items() if isdtype(d, kind)}


def __array_namespace_info__() -> Inspection:
    """Return facts about the namespace: devices, dtypes, capabilities."""
    return Inspection()
