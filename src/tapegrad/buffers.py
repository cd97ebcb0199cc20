"""Arrays over memory that native code owns or shares."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np

from .calls import native_call
from .dtypes import dtype
from .layouts import Layout, intern

__all__ = ["Buffer", "address_of", "array_at", "array_layout", "lanes_at"]

#: where NumPy's C API has an array's data pointer: the first field behind the object's header
_DATA = object.__basicsize__
_word_at = native_call("word_entry")


def address_of(array: np.ndarray) -> int:
    """Address of an array's first element, in a tenth of the time of ``array.ctypes.data``."""
    return _word_at(id(array) + _DATA)  # type: ignore[no-any-return]


def array_at(address: int, layout: Layout, keep: object = None) -> np.ndarray:
    """An array over memory at `address`; `keep` stays alive with it."""
    if layout.size == 0:
        return np.empty(layout.shape, layout.dtype.np)
    raw: Any = (ctypes.c_char * layout.span).from_address(address)
    if keep is not None:
        raw._keep = keep
    return np.ndarray(layout.shape, layout.dtype.np, raw, 0, layout.strides)


def lanes_at(address: int, layout: Layout, count: int) -> np.ndarray:
    """An array over memory in which each element of a layout is `count` numbers: its last dimension."""
    if layout.size == 0:
        return np.empty((*layout.shape, count), layout.dtype.np)
    raw: Any = (ctypes.c_char * (layout.span * count)).from_address(address)
    strides = (*(s * count for s in layout.strides), layout.dtype.itemsize)
    return np.ndarray((*layout.shape, count), layout.dtype.np, raw, 0, strides)


def array_layout(array: np.ndarray, kind: dtype) -> Layout:
    """The layout of an ndarray."""
    return intern(kind, array.shape, array.strides)


class Buffer:
    """Memory from native code that goes when the last array over it goes."""

    __slots__ = ("__weakref__",)

    def __init__(self, address: int) -> None:
        weakref.finalize(self, _free, address).atexit = False


_free = ctypes.CDLL(None).free
_free.argtypes, _free.restype = [ctypes.c_void_p], None
