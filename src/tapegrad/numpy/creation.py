"""NumPy's functions that make arrays, for `tapegrad.numpy`: they make Tensors, of active numbers, too.

Those that take no numbers to be differentiated (`zeros`, `arange` and others) are NumPy's; see namespace.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tape import recording as record
from .operands import as_result, as_tensor, function, numpy_dtype, refused, tensors_in, with_dtype
from .shapes import concatenate

__all__ = [
    "array", "asanyarray", "asarray", "ascontiguousarray", "asfortranarray", "astype", "c_", "full",
    "linspace", "r_",
]  # fmt: skip


def tensor_or_array(x: Any) -> Any:
    """Return a Tensor for an operand, or an array where its dtype has none."""
    if record.is_tensor(x):
        return x
    if any(True for _ in tensors_in(x)):
        return as_tensor(x, "array")
    return as_result(np.array(x))


def array(
    object: Any, dtype: Any = None, *, copy: Any = True, order: str = "K", subok: bool = False,
    ndmin: int = 0, like: Any = None,
) -> Any:  # fmt: skip
    """Make a Tensor of numbers, lists, arrays and Tensors, as `numpy.array`.

    An array whose dtype has no Tensors stays one.
    """
    if record.is_tensor(object):
        result = object.clone() if copy else object
    elif any(True for _ in tensors_in(object)):
        result = as_tensor(object, "array")
    else:
        result = as_result(np.array(object, numpy_dtype(dtype), copy=True if copy else None))
    if dtype is not None and record.is_tensor(result):
        kind = np.dtype(numpy_dtype(dtype))
        result = with_dtype(result, kind)
    while getattr(result, "ndim", ndmin) < ndmin:
        result = result[None]
    return result


def asarray(
    a: Any, dtype: Any = None, order: Any = None, *, device: Any = None, copy: Any = None, like: Any = None
) -> Any:  # fmt: skip
    """Make a Tensor of anything but a Tensor, as `numpy.asarray`."""
    return array(a, dtype, copy=copy)


asanyarray = ascontiguousarray = asfortranarray = asarray


def full(
    shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", *, device: Any = None,
    like: Any = None,
) -> Any:  # fmt: skip
    """Make a Tensor of a shape from numbers that broadcast, as `numpy.full`."""
    value = array(fill_value, dtype)
    lengths = (int(shape),) if np.ndim(shape) == 0 else tuple([int(n) for n in shape])
    return function("broadcast_to")(value, lengths).clone()


def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False,
    dtype: Any = None, axis: int = 0, *, device: Any = None,
) -> Any:  # fmt: skip
    """Make a Tensor of numbers at equal distances, as `numpy.linspace`."""
    if not any(True for _ in tensors_in([start, stop])):
        theirs: Any = np.linspace
        return as_result(theirs(start, stop, num, endpoint, retstep, numpy_dtype(dtype), axis))
    first, last = (with_dtype(array(x), float) for x in (start, stop))
    count = num - 1 if endpoint else num
    step = (last - first) / count if count > 0 else (last - first) * np.nan
    places = function("arange")(num, dtype=first.dtype)
    shape = (num, *(1,) * max(first.ndim, last.ndim))
    weights = (places / max(count, 1)).reshape(shape)
    result = first * (1 - weights) + last * weights  # exact at both ends
    result = with_dtype(function("movedim")(result, 0, axis), numpy_dtype(dtype))
    return (result, step) if retstep else result


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """Convert to another dtype, as `numpy.astype`."""
    return array(x, dtype, copy=copy)


class _Joined:
    """Joins what is written between brackets, slices as ranges: `numpy.r_` and `numpy.c_`."""

    def __init__(self, *, columns: bool) -> None:
        self._columns = columns

    def __getitem__(self, key: Any) -> Any:
        """Join along the first dimension, or as columns along the last."""
        parts = []
        for item in key if isinstance(key, tuple) else (key,):
            if isinstance(item, str):
                raise refused(
                    "r_", f"directives like {item!r} are not supported; use np.concatenate"
                )
            part = _range(item) if isinstance(item, slice) else as_tensor(item, "r_")
            part = part.reshape(1) if not part.ndim else part
            parts.append(part.reshape(-1, 1) if self._columns and part.ndim == 1 else part)
        return concatenate(parts, -1 if self._columns else 0)


def _range(item: slice) -> Any:
    """A slice as numbers: with an imaginary step so many at equal distances."""
    start, step = (0 if item.start is None else item.start), (1 if item.step is None else item.step)
    if isinstance(step, complex):
        return linspace(start, item.stop, int(abs(step)))
    return as_tensor(np.arange(start, item.stop, step), "r_")


r_, c_ = _Joined(columns=False), _Joined(columns=True)
