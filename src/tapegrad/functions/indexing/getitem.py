"""Square brackets.

`resolve_index` reads an index as PyTorch does: integers, slices, None and Ellipsis make a view of
the tensor; the rest (integer and bool arrays) becomes an `Advanced` index into that view. So
``x[index]`` is a view, or a view and one ``index`` statement; and ``x[index] = v`` is a write into
the view, or an ``index_put`` on it (`put_at`).

Start reading at `resolve_index`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...base.dtypes import scalar_name
from ...native import abi as nt
from ...ops.instruction import view_instruction
from ...ops.layout import LAYOUTS, Layout
from ...ops.pairs import remember_pair
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import constant_like, tensor_list
from ..registry import FUNCTIONS, declared, public
from ..shape.reshape import alias
from ..shape.slicing import remember_select, select_dim
from ..signature import Tensor, Tensors
from .index_arrays import NOT_AN_INDEX, Advanced, Later, advanced_index, index_array
from .reversed_slices import forwards

__all__ = ["index_at", "put_at", "resolve_index"]


@public(method=True, function=False, name="_apply")
def apply_by_name(input: Any, name: str, *others: Any, **attrs: Any) -> Tensor:
    """Record a row of the op table; numbers become constants of the tensor's dtype (for VJPs)."""
    tensors = [x if record.is_tensor(x) else constant_like(input, x) for x in (input, *others)]
    return record.apply(TABLE[name], tensors, **attrs)


# --------------------------------------------------------------------------- items of an index
_AS_TUPLE = (
    "Using a non-tuple sequence for multidimensional indexing is deprecated and will be changed in "
    "pytorch 2.9; use x[tuple(seq)] instead of x[seq]. In pytorch 2.9 this will be interpreted as "
    "tensor index, x[torch.tensor(seq)], which will result either in an error or a different result"
)


def _items(index: Any) -> tuple[Any, ...]:
    """Return the items of an index; a list of lists, slices, None or tensors is a tuple."""
    if isinstance(index, tuple):
        return index
    if isinstance(index, list | str) and len(index) < 32 and any(
        v is None or v is Ellipsis or isinstance(v, slice | Sequence | np.ndarray)
        or record.is_tensor(v)
        for v in index
    ):  # fmt: skip
        if isinstance(index, str):
            raise TypeError("new(): invalid data type 'str'")
        warnings.warn(_AS_TUPLE, UserWarning, stacklevel=4)
        return tuple(index)
    return (index,)


def _read_items(items: tuple[Any, ...]) -> tuple[list[Any], int]:
    """Items with arrays for tensors and lists, and the number of dimensions they index."""
    read: list[Any] = []
    count = 0
    for item in items:
        if item is None or item is Ellipsis or isinstance(item, bool | np.bool_):
            read.append(bool(item) if isinstance(item, np.bool_) else item)
            continue
        if isinstance(item, slice):
            count += 1
        elif isinstance(item, int | np.integer):
            item = int(item)
            if not -(1 << 63) <= item < 1 << 63:
                raise ValueError("Overflow when unpacking long long")
            count += 1
        else:
            if isinstance(item, float | complex | set | dict):
                raise IndexError(NOT_AN_INDEX.format(type(item).__name__))
            item = index_array(item)
            count += item.ndim if item.dtype == np.bool_ else 1
            if item.ndim == 0 and not isinstance(item, Later):
                item = item.item()
        read.append(item)
    return read, count


class _BasicView:
    """The view that the basic items of an index make, and the arrays at its dimensions."""

    def __init__(self, layout: Layout) -> None:
        self.shape: list[int] = []
        self.strides: list[int] = []
        self.offset = 0
        self.name = ""  # of the last basic item that changed something, for the node's name
        self.arrays: list[tuple[int, np.ndarray]] = []
        self.layout = layout
        self.axis = 0  # next dimension of the tensor

    def keep(self, count: int) -> None:
        """Let the next dimensions stay as they are."""
        self.shape += self.layout.shape[self.axis : self.axis + count]
        self.strides += self.layout.strides[self.axis : self.axis + count]
        self.axis += count

    def unsqueeze(self) -> None:
        self.shape.append(1)
        self.strides.append(0)

    def integer(self, i: int) -> None:
        n = self.layout.shape[self.axis]
        if not -n <= i < n:
            raise IndexError(f"index {i} is out of bounds for dimension {self.axis} with size {n}")
        self.offset += (i + n if i < 0 else i) * self.layout.strides[self.axis]
        self.axis += 1
        self.name = "select"

    def slice(self, item: slice) -> None:
        n = self.layout.shape[self.axis]
        start, stop, step = slice_bounds(item, n)
        length = max(-(-(stop - start) // step), 0)
        stride = self.layout.strides[self.axis]
        if length:
            self.offset += start * stride
        if start or length != n or step != 1:
            self.name = "slice"
        self.shape.append(length)
        self.strides.append(stride * step)
        self.axis += 1

    def array(self, array: np.ndarray) -> None:
        self.arrays.append((len(self.shape), array))
        self.keep(array.ndim if array.dtype == np.bool_ else 1)


def slice_bounds(item: slice, n: int) -> tuple[int, int, int]:
    """Start, stop and step of a slice of a dimension of length `n`.

    Raises
    ------
    ValueError
        If the step is not positive.
    """
    start, stop, step = item.indices(n)
    if step < 0:
        raise ValueError("step must be greater than zero")
    return start, stop, step


def _basic_view(layout: Layout, items: list[Any], count: int) -> _BasicView:
    """Apply the items of an index to a layout, as far as they are basic."""
    if count > layout.ndim:
        raise IndexError(f"too many indices for tensor of dimension {layout.ndim}")
    walk = _BasicView(layout)
    spare = layout.ndim - count
    for item in items:
        if item is None:
            walk.unsqueeze()
            walk.name = "unsqueeze"
        elif item is Ellipsis:
            walk.keep(spare)
            spare = 0
        elif isinstance(item, bool):  # a new dimension, indexed by a mask of one element
            walk.unsqueeze()
            walk.arrays.append((len(walk.shape) - 1, np.array([item])))
        elif isinstance(item, int):
            walk.integer(item)
        elif isinstance(item, slice):
            walk.slice(item)
        else:
            walk.array(item)
    walk.keep(layout.ndim - walk.axis)
    return walk


def resolve_index(tensor: Any, index: Any) -> tuple[Any, Advanced | None]:
    """Split an index into a view and the rest, which is to be gathered from it.

    Parameters
    ----------
    tensor : Tensor
    index : object
        The object in the brackets.

    Returns
    -------
    view : Tensor
        The tensor under the basic items of the index (the tensor itself where they change nothing
        and an advanced index follows).
    advanced : Advanced or None
        The index arrays, for `index_at` and `put_at`; None for a basic index.

    Raises
    ------
    IndexError, TypeError, ValueError
        PyTorch's errors.
    """
    layout = LAYOUTS[tensor._layout_id]
    basic = _plain_view(layout, index if type(index) is tuple else (index,))
    if basic is not None:
        return alias(basic[0], tensor, *basic[1:]), None
    items, count = _read_items(_items(index))
    if not layout.ndim and len(items) == 1 and not isinstance(index, tuple):
        if isinstance(index, slice):
            raise IndexError("slice() cannot be applied to a 0-dim tensor.")
        if isinstance(index, int | np.integer) and not isinstance(index, bool):
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or "
                "`tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
            )
    walk = _basic_view(layout, items, count)
    shape, strides = tuple(walk.shape), tuple(walk.strides)
    if walk.arrays:
        advanced = advanced_index(shape, walk.arrays)
        if not walk.name and shape == layout.shape:
            return tensor, advanced
        return alias(TABLE[walk.name or "unsqueeze"], tensor, shape, strides, walk.offset), advanced
    name = walk.name or ("slice" if isinstance(index, slice) else "alias")
    return alias(TABLE[name], tensor, shape, strides, walk.offset), None


def index_at(view: Any, advanced: Advanced) -> Any:
    """Record ``view[advanced]``."""
    return record.apply(TABLE["index"], (view, advanced.index), dims=advanced.dims)


def put_at(view: Any, values: Any, advanced: Advanced, *, accumulate: bool = False) -> Any:
    """Record a copy of `view` with values written (or added) at an advanced index.

    Parameters
    ----------
    view : Tensor
    values : Tensor
        Of the view's dtype; broadcast to ``advanced.shape``.
    advanced : Advanced
    accumulate : bool

    Raises
    ------
    RuntimeError
        If the values do not broadcast to the indexed shape.
    """
    value_shape = tuple(values.shape)
    try:
        fits = np.broadcast_shapes(value_shape, advanced.shape) == advanced.shape
    except ValueError:
        fits = False
    if not fits:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(value_shape)} cannot be broadcast to indexing "
            f"result of shape {list(advanced.shape)}"
        )
    return record.apply(
        TABLE["index_put"], (view, values, advanced.index), dims=advanced.dims,
        accumulate=bool(accumulate),
    )  # fmt: skip


def _plain_view(layout: Layout, items: tuple[Any, ...]) -> Any:
    """Row, shape, strides and offset of the view of a plain basic index; None for any other.

    The same as `_basic_view` for integers, slices, None and one Ellipsis within range, and three times as
    fast.
    """
    lengths, steps = layout.shape, layout.strides
    shape: list[int] = []
    strides: list[int] = []
    offset = axis = 0
    name = "alias"
    dots = False
    for k, item in enumerate(items):
        kind = type(item)
        if kind is int:
            if axis >= layout.ndim:
                return None
            n = lengths[axis]
            if item < 0:
                item += n
            if not 0 <= item < n:
                return None
            offset += item * steps[axis]
            axis += 1
            name = "select"
        elif kind is slice:
            if axis >= layout.ndim:
                return None
            n, s = lengths[axis], steps[axis]
            axis += 1
            if item.start is None and item.stop is None and item.step is None:
                shape.append(n)
                strides.append(s)
                continue
            start, stop, step = item.indices(n)
            if step < 0:
                return None
            length = max(-(-(stop - start) // step), 0)
            if length:
                offset += start * s
            if start or length != n or step != 1:
                name = "slice"
            shape.append(length)
            strides.append(s * step)
        elif item is None:
            shape.append(1)
            strides.append(0)
            name = "unsqueeze"
        elif item is Ellipsis and not dots:
            dots = True
            stop = layout.ndim - sum([other is not None for other in items[k + 1 :]])
            shape += lengths[axis:stop]
            strides += steps[axis:stop]
            axis = max(axis, stop)
        else:
            return None
    shape += lengths[axis:]
    strides += steps[axis:]
    return TABLE[name], tuple(shape), tuple(strides), offset


@public(method=True, function=False, name="__getitem__")
def getitem(input: Any, index: Any) -> Tensor:
    """Return the elements at an index.

    Parameters
    ----------
    input : Tensor
    index : int, slice, None, Ellipsis, bool, array_like or tuple of them
        Basic items give a view; integer and bool arrays (advanced indices), and slices with a negative
        step, give a copy.

    Raises
    ------
    IndexError
        If there are no such elements.
    """
    kind = type(index)
    layout = LAYOUTS[input._layout_id]
    if kind is tuple:
        basic = _plain_view(layout, index)
        if basic is not None:
            return alias(basic[0], input, *basic[1:])
    elif layout.ndim:
        if kind is slice and (index.step is None or index.step > 0):
            start, stop, step = slice_bounds(index, layout.shape[0])
            length = max(-(-(stop - start) // step), 0)
            first = layout.strides[0]
            view = alias(
                TABLE["slice"], input, (length, *layout.shape[1:]),
                (first * step, *layout.strides[1:]), start * first if length else 0,
            )  # fmt: skip
            if step == 1 and length < 1 << 24:  # native recording does the next one itself
                out = LAYOUTS[view._layout_id]
                instruction = view_instruction(TABLE["slice"], layout, out.shape, out.strides)
                remember_pair(nt.OP_FIRST, layout.id, 0, layout.shape[0], first)
                remember_pair(nt.OP_SLICE, layout.id, length, instruction.id, out.id)
            return view
        if kind is int:
            n = layout.shape[0]
            if -n <= index < n:
                remember_select(input)
                return select_dim(input, 0, index + n if index < 0 else index)
    ahead = forwards(layout, index)
    if ahead is not None:
        return FUNCTIONS["flip"](getitem(input, ahead[0]), ahead[1])
    view, advanced = resolve_index(input, index)
    return view if advanced is None else index_at(view, advanced)


@declared()
def index_put(input: Tensor, indices: Tensors, values: Tensor, accumulate: bool = False) -> Tensor:
    """Return a copy with values at index tensors.

    Parameters
    ----------
    input : Tensor
    indices : sequence of Tensor
        One a dimension, from the first on; broadcast together.
    values : Tensor
    accumulate : bool
        Add instead of overwriting.
    """
    if values.dtype is not input.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{scalar_name(input.dtype)} for the destination and {scalar_name(values.dtype)} for the source."
        )
    arrays = [index_array(one) for one in tensor_list(indices)]
    count = sum(a.ndim if a.dtype == np.bool_ else 1 for a in arrays)
    shape = layout_of(input).shape
    if count > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)} (got {count})")
    placed, d = [], 0
    for a in arrays:
        placed.append((d, a))
        d += a.ndim if a.dtype == np.bool_ else 1
    return put_at(input, values, advanced_index(shape, placed), accumulate=accumulate)
