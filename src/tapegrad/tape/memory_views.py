"""Arrays over memory that native code owns or shares."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import dtype
from ..native import abi as nt
from ..native.builtin_calls import native_call
from ..ops.layout import Layout, intern

__all__ = [
    "Block",
    "Buffer",
    "address_of",
    "array_at",
    "array_layout",
    "bytes_at",
    "free_with",
    "give_up_reserve",
    "keep_reserve",
    "lanes_at",
    "new_block",
]  # fmt: skip

#: address of an array's first element, in a tenth of the time of ``array.ctypes.data``
address_of: Callable[[np.ndarray], int] = native_call("data_entry")
_give_back = native_call("give_back_entry")
_bytes_at: Callable[[int, int], Any] = native_call("memory_entry")


class _Kept(np.ndarray):
    """Bytes with what has to live as long as they do."""

    keep: object


class Block(NamedTuple):
    """Words of memory: as an array, as Python integers, and by their address."""

    array: np.ndarray
    words: memoryview
    address: int


def new_block(words: int) -> Block:
    """Memory of `words` words, zero."""
    array = np.zeros(words, np.int64)
    return Block(array, memoryview(array), address_of(array))  # type: ignore[arg-type]


def array_at(address: int, layout: Layout, keep: object = None) -> np.ndarray:
    """An array over memory at `address`; `keep` stays alive with it."""
    if layout.size == 0:
        return np.empty(layout.shape, layout.dtype.np)
    raw = _bytes_at(address, layout.span)
    if keep is not None:
        raw = _Kept((layout.span,), np.uint8, raw)
        raw.keep = keep
    return np.ndarray(layout.shape, layout.dtype.np, raw, 0, layout.strides)


def bytes_at(address: int, span: int) -> np.ndarray:
    """The bytes at `address`."""
    return np.ndarray((span,), np.uint8, _bytes_at(address, span))


#: bytes in a tape's pool up to which it takes memory that arrays have seen: many sizes are in it then, and
#: one more may never be asked for
SEEN_LIMIT = 1 << 22


def free_with(owner: object, address: int, span: int, tape: Any) -> None:
    """Let memory of a tape go when an object goes: to the tape's pool, which costs no page faults later."""
    weakref.finalize(owner, _let_go, address, span, weakref.ref(tape)).atexit = False


def _let_go(address: int, span: int, reference: Callable[[], Any]) -> None:
    tape = reference()
    # The pool belongs to the tape's thread, but for another that evaluates before it reads.
    safe = (
        tape is not None and tape.state[nt.S_OWNER] == get_ident() and not tape.busy[nt.BUSY_SWEEP]
    )
    if safe and tape.state[nt.S_POOL] <= SEEN_LIMIT:
        _give_back(tape.pointer, address, span)
    else:
        _free(address)


def lanes_at(address: int, layout: Layout, count: int) -> np.ndarray:
    """An array over memory in which each element of a contiguous layout is a row of `count` numbers."""
    if layout.size == 0:
        return np.empty((0, count), layout.dtype.np)
    raw = _bytes_at(address, layout.span * count)
    return np.ndarray((layout.size, count), layout.dtype.np, raw)


def array_layout(array: np.ndarray, kind: dtype) -> Layout:
    """The layout of an ndarray."""
    return intern(kind, array.shape, array.strides)


class Buffer:
    """Memory from native code that goes when the last array over it goes."""

    __slots__ = ("__weakref__",)

    def __init__(self, address: int, span: int, tape: Any) -> None:
        free_with(self, address, span, tape)


_free = ctypes.CDLL(None).free
_free.argtypes, _free.restype = [ctypes.c_void_p], None


# --------------------------------------------------------------------------- when memory is used up
#: address space that is given up when memory is used up: code that gives memory back needs some itself
RESERVE = 64 << 20
_reserve: list[np.ndarray] = []


def keep_reserve() -> None:
    """Set the reserve aside, if it can be had; its pages are never touched, so it costs no memory."""
    if not _reserve:
        with suppress(MemoryError):
            _reserve.append(np.empty(RESERVE, np.uint8))


def give_up_reserve() -> bool:
    """Let the reserve go; False if there is none."""
    has_reserve = bool(_reserve)
    _reserve.clear()
    return has_reserve


keep_reserve()
