"""Functions of the standard that make arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.devices import check_device
from ..base.dtypes import as_dtype, complex_of, get_default_dtype
from ..functions import interchange
from ..numpy import creation, selection, shapes
from ..numpy.operands import as_result, function
from ..tape import recording as record
from .data_types import astype, numpy_kind

__all__ = [
    "arange", "asarray", "empty", "empty_like", "eye", "from_dlpack", "full", "full_like", "linspace",
    "meshgrid", "ones", "ones_like", "tril", "triu", "zeros", "zeros_like",
]  # fmt: skip


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Any:
    """Make an array of numbers, nested sequences, buffers and arrays, which are copied.

    Raises
    ------
    ValueError
        For ``copy=False`` where the numbers would be copied: of all but an array of the same dtype.
    """
    check_device("asarray", device)
    kind = None if dtype is None else as_dtype(dtype)
    if copy is False and not (record.is_tensor(obj) and kind in (None, obj.dtype)):
        raise ValueError(
            "asarray: copy=False, and this cannot be had without a copy; leave copy out"
        )
    if not record.is_tensor(obj):
        result = creation.array(obj, None if kind is None else kind.np)
        if not record.is_tensor(result):
            raise TypeError(f"asarray: no array of dtype {np.asarray(obj).dtype}")
        if kind is None and result.dtype.is_inexact and not hasattr(obj, "dtype"):
            default = get_default_dtype()  # Python's numbers have the default precision
            result = result.to(complex_of(default) if result.dtype.is_complex else default)
        return result
    if kind is not None and kind is not obj.dtype:
        return astype(obj, kind)
    return obj.clone() if copy else obj


def arange(
    start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None
) -> Any:
    """Make numbers at equal distances, up to a limit that is left out."""
    check_device("arange", device)
    if stop is None:
        start, stop = 0, start
    if dtype is None and any(isinstance(v, float) for v in (start, stop, step)):
        dtype = get_default_dtype()
    return as_result(np.arange(start, stop, step, dtype=numpy_kind(dtype)))


def linspace(
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: Any = True,
) -> Any:
    """Make so many numbers at equal distances."""
    check_device("linspace", device)
    if dtype is None:
        dtype = get_default_dtype()
        if any(isinstance(v, complex) for v in (start, stop)):
            dtype = complex_of(dtype)
    return creation.linspace(start, stop, num, endpoint, dtype=numpy_kind(dtype))


def eye(
    n_rows: int, n_cols: Any = None, /, *, k: int = 0, dtype: Any = None, device: Any = None
) -> Any:
    """Make a matrix with ones on a diagonal."""
    check_device("eye", device)
    return as_result(np.eye(n_rows, n_cols, k, numpy_kind(dtype or get_default_dtype())))


def meshgrid(*arrays: Any, indexing: Any = "xy") -> list[Any]:
    """Make grids of coordinates."""
    return list(shapes.meshgrid(*arrays, indexing=indexing))


def tril(x: Any, /, *, k: int = 0) -> Any:
    """Return the lower triangles of matrices."""
    return selection.tril(x, k)


def triu(x: Any, /, *, k: int = 0) -> Any:
    """Return the upper triangles of matrices."""
    return selection.triu(x, k)


def from_dlpack(x: Any, /, *, device: Any = None, copy: Any = None) -> Any:
    """Make an array in the memory of another library's, by DLPack, as `tapegrad.from_dlpack`.

    Raises
    ------
    TypeError, ValueError
        For dtypes and strides that arrays do not have here.
    """
    check_device("from_dlpack", device)
    return asarray(x, copy=copy) if record.is_tensor(x) else interchange.from_dlpack(x, copy=copy)


# --------------------------------------------------------------------------- of one number
def _filled(name: str, shape: Any, dtype: Any, device: Any, *value: Any) -> Any:
    check_device(name, device)
    lengths = (int(shape),) if isinstance(shape, int) else tuple([int(n) for n in shape])
    return function(name)(lengths, *value, dtype=None if dtype is None else as_dtype(dtype))


def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """Make an array of any numbers."""
    return _filled("empty", shape, dtype, device)


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """Make an array of zeros."""
    return _filled("zeros", shape, dtype, device)


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """Make an array of ones."""
    return _filled("ones", shape, dtype, device)


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """Make an array of one number."""
    return _filled("full", shape, dtype, device, fill_value)


def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """Make an array of any numbers in the shape of another, of its dtype if none is given."""
    return empty(tuple(x.shape), dtype=dtype or x.dtype, device=device)


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """Make an array of zeros in the shape of another, of its dtype if none is given."""
    return zeros(tuple(x.shape), dtype=dtype or x.dtype, device=device)


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """Make an array of ones in the shape of another, of its dtype if none is given."""
    return ones(tuple(x.shape), dtype=dtype or x.dtype, device=device)


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """Make an array of one number in the shape of another, of its dtype if none is given."""
    return full(tuple(x.shape), fill_value, dtype=dtype or x.dtype, device=device)
