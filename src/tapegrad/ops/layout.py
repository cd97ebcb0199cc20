"""Interned layouts, and the geometry of loops over them.

A `Layout` says how a value lies in memory: dtype, shape and strides in bytes. Equal layouts are the
same object, so ``is`` compares them and a small integer (`Layout.id`) stands for one in native
code. The first ids are the 0-d layouts of the dtypes, in the order of their codes.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain, compress, count, repeat, starmap
from operator import is_
from typing import Any, NoReturn

import numpy as np

from ..base.dtypes import DTYPES, dtype
from ..base.errors import NOT_INITIALISED, TapeError, UnsupportedError
from ..base.locks import TABLE_LOCK
from ..base.size import Size
from ..base.symbolic import Formulas, hint, home_of
from ..native import abi as nt

__all__ = [
    "LAYOUTS",
    "Layout",
    "broadcast_shapes",
    "broadcast_strides",
    "contiguous",
    "intern",
]


def c_strides(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Strides of a C-contiguous array; those of length-1 and empty dimensions as NumPy's."""
    strides = [0] * len(shape)
    step = itemsize
    for axis in range(len(shape) - 1, -1, -1):
        strides[axis] = step
        step *= max(shape[axis], 1)
    return tuple(strides)


def _overlap(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> bool:
    """Return True if a dimension steps less than what the faster ones span."""
    reach = itemsize
    for stride, n in sorted((s, n) for n, s in zip(shape, strides, strict=True) if n > 1):
        if stride < reach:
            return True
        reach += stride * (n - 1)
    return False


class Layout:
    """The place and order of a value in memory; made by `intern` only.

    Attributes
    ----------
    id : int
        Number of the layout.
    dtype : dtype
    shape : Size
    strides : tuple of int
        Bytes from one element to the next, a dimension.
    size, ndim : int
        Number of elements and of dimensions.
    span : int
        Bytes from the first element to the end of the last.
    is_contiguous : bool
        Whether the elements lie one after the other in C order.
    overlaps : bool
        Whether elements may share memory (a stride of 0, or windows over one another).
    """

    __slots__ = (
        "dtype", "id", "is_contiguous", "ndim", "overlaps", "shape", "size", "span", "strides",
    )  # fmt: skip

    def __init__(self, kind: dtype, shape: Size, strides: tuple[int, ...], number: int) -> None:
        self.id = number
        self.dtype = kind
        self.shape = shape
        self.strides = strides
        self.ndim = len(shape)
        self.size = math.prod(shape)
        self.is_contiguous = strides == c_strides(shape, kind.itemsize)
        if self.is_contiguous or self.size == 0:
            self.span = self.size * kind.itemsize
            self.overlaps = False
        else:
            reach = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
            self.span = reach + kind.itemsize
            self.overlaps = self.size > 1 and _overlap(shape, strides, kind.itemsize)

    def __repr__(self) -> str:
        dims = "x".join(map(str, self.shape)) or "scalar"
        return f"{self.dtype.name} {dims}" + ("" if self.is_contiguous else f" {self.strides}")


class _NoLayout(Layout):
    """The layout of a handle that is not bound: whatever is asked of it raises.

    So there is no instruction for it, and nothing in the tables of native code.
    """

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def __getattr__(self, name: str) -> NoReturn:
        raise TapeError(NOT_INITIALISED)

    __repr__ = object.__repr__


#: by id; id 0 stands for "no layout", and for one that has ended
LAYOUTS: list[Layout] = [_NoLayout()]
_free: list[int] = []  # ids of those that have ended
_numbers = count(1)
_interned: dict[tuple[int, tuple[int, ...], tuple[int, ...]], Layout] = {}
_contiguous: dict[tuple[int, tuple[int, ...]], Layout] = {}
_dtype_codes = np.zeros(1 << 12, np.uint8)
_retired: list[np.ndarray] = []  # native code may still read from an outgrown table


class ENDING:
    """The state of ending what nothing needs (ending.py); the thread that does so holds the lock."""

    now = False

    @classmethod
    def refuse(cls) -> None:
        """Raise if a signal handler or finalizer has come in the middle of it."""
        if cls.now:
            raise UnsupportedError(
                "a signal handler or finalizer records an operation on shapes that are new, while tapegrad "
                "gives back what old shapes needed: let it note what is to be done, and do that later"
            )


def intern(kind: dtype, shape: tuple[int, ...], strides: tuple[int, ...]) -> Layout:
    """Return the layout with this dtype, shape and strides (in bytes).

    Strides of dimensions with at most one element are normalised, since nothing depends on them.
    """
    key = (kind.code, shape, strides)
    layout = _interned.get(key)
    if layout is not None:
        return layout
    home = home_of((*shape, *strides))
    if any([n <= 1 for n in shape]) if home else min(shape, default=2) <= 1:
        regular = list(strides)
        step = kind.itemsize
        for axis in range(len(shape) - 1, -1, -1):
            if shape[axis] <= 1 or 0 in shape:
                regular[axis] = step
            step = regular[axis] * max(shape[axis], 1)
        strides = tuple(regular)
        normal = _interned.get((kind.code, shape, strides))
        if normal is not None:
            _interned[key] = normal
            return normal
    with TABLE_LOCK:
        normal = _interned.get((kind.code, shape, strides))
        if normal is not None:  # another thread was faster
            return normal
        if home is not None:
            return _symbolic(home, kind, shape, strides)
        ENDING.refuse()
        if min(shape, default=0) < 0:  # what comes here was checked; memory is at stake
            raise RuntimeError(f"Trying to create tensor with negative dimension: {list(shape)}")
        layout = Layout(kind, Size(shape), strides, _number())
        _enter(layout)
        # A signal handler may have made its like meanwhile.
        kept = _interned.setdefault((kind.code, shape, strides), layout)
        _interned[key] = kept
        if kept is not layout:
            LAYOUTS[layout.id] = LAYOUTS[0]
            _free.append(layout.id)
    return kept


def _number() -> int:
    """Return a number for a new layout, that no other gets. The caller holds the lock."""
    with suppress(IndexError):
        return _free.pop()
    return next(_numbers)


def _enter(layout: Layout) -> None:
    """Let a layout be found by its number."""
    _register_dtype(layout)
    while layout.id >= len(LAYOUTS):
        LAYOUTS.append(LAYOUTS[0])
    LAYOUTS[layout.id] = layout


class SymbolicLayout(Layout):
    """A layout with formulas in the place of lengths and strides; it has values nowhere."""

    __slots__ = ()


def _symbolic(
    home: Formulas, kind: dtype, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Layout:
    """Return the symbolic layout; those that are equal in numbers are the same, which holds from here on."""
    key = kind.code, tuple(map(hint, shape)), tuple(map(hint, strides))
    layout: Layout | None = home.layouts.get(key)
    if layout is not None:
        pairs = zip((*shape, *strides), (*layout.shape, *layout.strides), strict=True)
        if not all([a == b for a, b in pairs]):  # asked, not only checked
            raise AssertionError("two lengths with one hint differ")
        return layout
    layout = SymbolicLayout(kind, tuple.__new__(Size, shape), strides, _number())
    _enter(layout)
    home.layouts[key] = layout
    return layout


def is_symbolic(layouts: Iterable[Layout]) -> bool:
    """Return True if one of some layouts is symbolic."""
    return SymbolicLayout in map(type, layouts)


def _register_dtype(layout: Layout) -> None:
    global _dtype_codes
    if layout.id >= len(_dtype_codes):
        _retired.append(_dtype_codes)
        _dtype_codes = np.concatenate([_dtype_codes, np.zeros_like(_dtype_codes)])
        nt.GLOBALS[nt.G_LAYOUT_DTYPE] = _dtype_codes.ctypes.data
    _dtype_codes[layout.id] = layout.dtype.code


nt.GLOBALS[nt.G_LAYOUT_DTYPE] = _dtype_codes.ctypes.data


def _home(layout: Layout) -> Formulas | None:
    """Return the formulas that a symbolic layout is of, None for others."""
    symbolic = type(layout) is SymbolicLayout
    return home_of((*layout.shape, *layout.strides)) if symbolic else None


def reference_counts(things: Sequence[object]) -> list[int]:
    """Count the references to each of some objects, without that of the sequence."""
    return [sys.getrefcount(x) - _OWN for x in things]


_OWN = 0
(_OWN,) = reference_counts([object()])


def end_layouts(forget: Callable[[np.ndarray], None]) -> int:
    """Let the layouts end that nothing refers to; how many. The caller holds the lock.

    A handle's layout is that of its statement's instruction, which refers to it.

    Parameters
    ----------
    forget : callable
        Called with a mark for each layout that stays, before ids can stand for other layouts.
    """
    homes = {id(home): home for x in LAYOUTS if (home := _home(x)) is not None}
    links: list[dict[Any, Layout]] = [_interned, _contiguous, *[h.layouts for h in homes.values()]]
    del homes  # references of its own
    entries = Counter(map(id, chain.from_iterable([table.values() for table in links])))
    counts = reference_counts(LAYOUTS)
    chosen = {
        x.id
        for x, n in zip(LAYOUTS, counts, strict=True)
        if x is not LAYOUTS[0] and n == entries[id(x)]
    }
    tables: list[dict[Any, Layout]] = []
    keys: list[Any] = []
    layouts: list[Layout] = []
    for table in links:
        some = [(key, x) for key, x in table.items() if x.id in chosen]
        tables += [table] * len(some)
        keys += [key for key, _ in some]
        layouts += [x for _, x in some]
    # Two layouts that are equal must never be: what has been unlinked and stays is linked again, whatever
    # interrupts this, in one call.
    stays = map(is_, map(LAYOUTS.__getitem__, [x.id for x in layouts]), layouts)
    relink = starmap(dict.setdefault, compress(zip(tables, keys, layouts, strict=True), stays))
    ended: list[int] = []
    distinct = [LAYOUTS[number] for number in chosen]
    del some  # references of its own
    try:
        deque(map(dict.__delitem__, tables, keys), maxlen=0)
        # Another thread may have got one before; from now on none can.
        counts = reference_counts(distinct)
        ended = [x.id for x, n in zip(distinct, counts, strict=True) if n == 1 + entries[id(x)]]
        if ended:
            marks = np.ones(len(LAYOUTS), np.uint8)
            marks[ended] = 0
            forget(marks)
        deque(map(LAYOUTS.__setitem__, ended, repeat(LAYOUTS[0])), maxlen=0)
    finally:
        deque(relink, maxlen=0)
    _free.extend(ended)
    return len(ended)


def contiguous(kind: dtype, shape: tuple[int, ...]) -> Layout:
    """Return the C-contiguous layout of a dtype and shape."""
    key = (kind.code, shape)
    layout = _contiguous.get(key)
    if layout is None:
        if math.prod(shape) * kind.itemsize >= 1 << 62:
            raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)}")
        if 0 in shape and math.prod([n for n in shape if n]) * kind.itemsize >= 1 << 62:
            raise RuntimeError("Stride calculation overflowed")
        layout = intern(kind, tuple(shape), c_strides(shape, kind.itemsize))
        if type(layout) is not SymbolicLayout:
            _contiguous[key] = layout
    return layout


SCALARS = tuple(contiguous(kind, ()) for kind in DTYPES)


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that shapes broadcast to.

    Raises
    ------
    RuntimeError
        PyTorch's, with both sizes and the dimension, if they do not fit.
    """
    result: list[int] = []
    for shape in shapes:
        result[:0] = [1] * (len(shape) - len(result))
        for axis in range(-1, -len(shape) - 1, -1):
            size, known = shape[axis], result[axis]
            if size == known or size == 1:
                continue
            if known != 1:
                raise RuntimeError(
                    f"The size of tensor a ({known}) must match the size of tensor b ({size}) at "
                    f"non-singleton dimension {len(result) + axis}"
                )
            result[axis] = size
    return tuple(result)


def broadcast_strides(layout: Layout, shape: Sequence[int]) -> tuple[int, ...]:
    """Strides with which `layout` runs over the larger `shape`: 0 along broadcast dimensions."""
    missing = len(shape) - layout.ndim
    strides = tuple(
        0 if n == 1 and m != 1 else s
        for n, s, m in zip(layout.shape, layout.strides, shape[missing:], strict=True)
    )
    return (0,) * missing + strides


def byte_offsets(layout: Layout) -> np.ndarray:
    """For each element, in order, its offset in bytes from the first."""
    offsets = np.zeros(layout.shape, np.int64)
    for axis, (n, stride) in enumerate(zip(layout.shape, layout.strides, strict=True)):
        offsets += (np.arange(n) * stride).reshape(
            [-1 if d == axis else 1 for d in range(layout.ndim)]
        )
    return offsets.reshape(-1)


def mapped_strides(layout: Layout, whole: Layout) -> tuple[int, ...]:
    """Return the strides of a view of a non-contiguous root, in the root's contiguous adjoint buffer."""
    dense = contiguous(whole.dtype, whole.shape)
    table = {
        s: d for s, d, n in zip(whole.strides, dense.strides, whole.shape, strict=True) if n > 1
    }
    table[1] = 1  # of parts of elements
    return tuple(
        0 if s == 0 or n == 1 else next(
            table[w] * (s // w) for w in sorted(table, reverse=True) if s % w == 0
        )
        for s, n in zip(layout.strides, layout.shape, strict=True)
    )  # fmt: skip


def mapped_offset(offset: int, whole: Layout) -> int:
    """Return the place of a view of a non-contiguous root in the root's contiguous adjoint buffer."""
    dense = contiguous(whole.dtype, whole.shape)
    mapped = 0
    for s, d in sorted(
        (
            (s, d)
            for s, d, n in zip(whole.strides, dense.strides, whole.shape, strict=True)
            if n > 1
        ),
        reverse=True,
    ):
        mapped += offset // s * d
        offset %= s
    return mapped + offset  # of parts of elements
