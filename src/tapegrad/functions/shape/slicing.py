"""Views that show a part of a tensor.

narrow, select, unbind, the splits; diagonals, windows, as_strided. All of them record one statement
through `alias` of reshape.py. Square brackets are in getitem.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...base.dtypes import int64, scalar_name
from ...base.errors import must_be
from ...ops.instruction import remember, view_instruction
from ...ops.layout import LAYOUTS
from ...ops.shape import diagonal_part
from ...ops.table import TABLE
from ...tape import readout
from ...tape import recording as record
from ...tape.recording import layout_of
from ...tape.tape import slot_of, tape_at
from ...transforms.trace import Trace
from ..arguments import as_int, as_ints, wrap_dim
from ..registry import FUNCTIONS, declared
from ..signature import Ints, Tensor
from ..sizes import storage_offset
from .reshape import alias

__all__ = ["remember_select", "select_dim", "slice_dim"]

#: how many more pieces than elements a split makes
_EMPTY_PIECES = 1 << 20


def slice_dim(input: Any, dim: int, start: int, length: int, name: str = "slice") -> Any:
    """View of `length` elements from `start` on along `dim`; all of them are in range."""
    layout = LAYOUTS[input._layout_id]
    shape = (*layout.shape[:dim], length, *layout.shape[dim + 1 :])
    return alias(TABLE[name], input, shape, layout.strides, start * layout.strides[dim])


@declared(out=False)
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """Return a view of `length` elements from `start` on along `dim`.

    Raises
    ------
    IndexError, RuntimeError
        If they are not in the tensor.
    """
    layout = layout_of(input)
    if not layout.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    start, length = as_int("narrow", "start", 2, start), as_int("narrow", "length", 3, length)
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    d = wrap_dim(dim, layout.ndim)
    n = layout.shape[d]
    if not -n <= start <= n:
        raise IndexError(
            f"start out of range (expected to be in range of [{-n}, {n}], but got {start})"
        )
    start += n if start < 0 else 0
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_dim(input, d, start, length)


@declared(out=False)
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """Return the view at one index of a dimension.

    Raises
    ------
    IndexError
        If the index is out of range.
    """
    layout = layout_of(input)
    if not layout.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, layout.ndim)
    n, i = layout.shape[d], as_int("select", "index", 2, index)
    if not -n <= i < n:
        raise IndexError(
            f"select(): index {i} out of range for tensor of size {list(layout.shape)} at "
            f"dimension {d}"
        )
    return select_dim(input, d, i + n if i < 0 else i)


def select_dim(input: Any, d: int, i: int, name: str = "select") -> Any:
    """View at index `i` of dimension `d`, both in range."""
    layout = LAYOUTS[input._layout_id]
    shape = layout.shape[:d] + layout.shape[d + 1 :]
    strides = layout.strides[:d] + layout.strides[d + 1 :]
    return alias(TABLE[name], input, tuple(shape), strides, i * layout.strides[d])


def remember_select(input: Any) -> None:
    """Let native code take integer indices of the first dimension from now on."""
    layout = layout_of(input)
    shape = tuple(layout.shape[1:])
    remember(view_instruction(TABLE["select"], layout, shape, layout.strides[1:]))


@declared(out=False)
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Return the views at every index of a dimension."""
    layout = layout_of(input)
    if not layout.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    d = wrap_dim(dim, layout.ndim)
    return tuple(select_dim(input, d, i, "unbind") for i in range(layout.shape[d]))


def _pieces(input: Any, d: int, lengths: Sequence[int], name: str) -> tuple[Any, ...]:
    """Return views of successive lengths along a dimension."""
    pieces, start = [], 0
    for n in lengths:
        pieces.append(slice_dim(input, d, start, n, name))
        start += n
    return tuple(pieces)


def _lengths(n: int, step: int) -> list[int]:
    """Lengths of pieces of `step` elements of a dimension of length `n`."""
    return [min(step, n - i) for i in range(0, n, step)] if n else [0]


def _check_pieces(count: int, n: int) -> None:
    """Raise PyTorch's error for a number of pieces that no memory holds."""
    if count > n + _EMPTY_PIECES:
        raise RuntimeError("cannot create std::vector larger than max_size()")


def _check_split(name: str, input: Any) -> None:
    if not layout_of(input).ndim:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")


@declared(function=False)
def split(input: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Split into views of `split_size` elements along a dimension, or of a list of lengths.

    Raises
    ------
    RuntimeError
        If the lengths do not fit.
    """
    _check_split("split", input)
    if isinstance(split_size, tuple | list):
        return FUNCTIONS["split_with_sizes"](input, split_size, dim)
    if isinstance(split_size, float | str):
        raise must_be("split_with_sizes", "split_sizes", 2, "tuple of ints", split_size)
    step = as_int("split", "split_size", 1, split_size)
    shape = layout_of(input).shape
    d = wrap_dim(dim, len(shape))
    if step < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
    if step == 0 and shape[d]:
        raise RuntimeError(
            f"split_size can only be 0 if dimension size is 0, but got dimension size of {shape[d]}"
        )
    return _pieces(input, d, _lengths(shape[d], step), "split")


@declared(method=False, name="split", out=False)
def _split_function(
    tensor: Tensor, split_size_or_sections: Any, dim: int = 0
) -> tuple[Tensor, ...]:
    """Split into views of equal or given lengths along a dimension."""
    return split(tensor, split_size_or_sections, dim)


@declared(out=False)
def split_with_sizes(input: Tensor, split_sizes: Ints, dim: int = 0) -> tuple[Tensor, ...]:
    """Split into views of given lengths along a dimension."""
    _check_split("split_with_sizes", input)
    shape = layout_of(input).shape
    d, lengths = wrap_dim(dim, len(shape)), as_ints(split_sizes)
    if min(lengths, default=0) < 0:
        raise RuntimeError(
            "split_with_sizes expects split_sizes have only non-negative entries, but got "
            f"split_sizes={list(lengths)}"
        )
    if sum(lengths) != shape[d]:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {shape[d]} (input tensor's "
            f"size at dimension {d}), but got split_sizes={list(lengths)}"
        )
    return _pieces(input, d, lengths, "split_with_sizes")


@declared(out=False)
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Split into at most `chunks` views of equal length (the last may be shorter)."""
    _check_split("chunk", input)
    chunks = as_int("chunk", "chunks", 1, chunks)
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    shape = layout_of(input).shape
    d = wrap_dim(dim, len(shape))
    if shape[d] == 0:
        _check_pieces(chunks, 0)
        return _pieces(input, d, [0] * chunks, "split_with_sizes")
    return _pieces(input, d, _lengths(shape[d], -(-shape[d] // chunks)), "split")


@declared(out=False)
def unsafe_split(input: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Split as `split` does, into views that may be written in place."""
    _check_split("unsafe_split", input)
    step = as_int("unsafe_split", "split_size", 1, split_size)
    pieces = split(input, step, dim)
    return _pieces(
        input, wrap_dim(dim, layout_of(input).ndim), _lengths_along(pieces, dim), "unsafe_split"
    )


@declared()
def unsafe_split_with_sizes(input: Tensor, split_sizes: Ints, dim: int = 0) -> tuple[Tensor, ...]:
    """Split as `split_with_sizes` does, into views that may be written in place."""
    _check_split("unsafe_split_with_sizes", input)
    d = wrap_dim(dim, layout_of(input).ndim)
    lengths = _lengths_along(split_with_sizes(input, split_sizes, dim), dim)
    return _pieces(input, d, lengths, "unsafe_split_with_sizes")


@declared(out=False)
def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Split as `chunk` does, into views that may be written in place."""
    _check_split("unsafe_chunk", input)
    d = wrap_dim(dim, layout_of(input).ndim)
    return _pieces(input, d, _lengths_along(chunk(input, chunks, dim), dim), "unsafe_split")


def _lengths_along(pieces: Sequence[Any], dim: int) -> list[int]:
    """Return the lengths of pieces along a dimension."""
    return [int(p.shape[dim]) for p in pieces]


@declared(
    "(Tensor tensor_indices_or_sections, int dim=0)", "(int sections, int dim=0)",
    "(Ints indices, int dim=0)", out=False,
)  # fmt: skip
def tensor_split(
    input: Tensor, indices_or_sections: Any = None, dim: int = 0, **named: Any
) -> tuple[Tensor, ...]:
    """Split into `n` nearly equal views, or before the given indices, as ``numpy.array_split``.

    Parameters
    ----------
    input : Tensor
    indices_or_sections : int, sequence of int, or Tensor of one or the other
        Also by the names ``sections``, ``indices`` and ``tensor_indices_or_sections``.
    dim : int

    Raises
    ------
    RuntimeError
        If there are no sections, or more than memory holds.
    """
    for value in named.values():
        indices_or_sections = value
    shape = layout_of(input).shape
    if not shape:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    d = wrap_dim(dim, len(shape))
    n = shape[d]
    if record.is_tensor(indices_or_sections):
        index_layout = layout_of(indices_or_sections)
        if index_layout.dtype is not int64:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to have dtype of long, but got "
                f"{scalar_name(indices_or_sections.dtype)}"
            )
        if index_layout.ndim > 1:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or "
                f"one-dimensional tensor, but got a tensor with {index_layout.ndim} dims"
            )
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, tuple | list):
        cuts = as_ints(indices_or_sections)
    else:
        parts = as_int("tensor_split", "sections", 1, indices_or_sections)
        if parts <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {parts}")
        _check_pieces(parts, n)
        each, more = divmod(n, parts)
        cuts = tuple(each * i + min(i, more) for i in range(1, parts))
    edges = [slice(a, b).indices(n) for a, b in zip((0, *cuts), (*cuts, n), strict=True)]
    return tuple(slice_dim(input, d, a, max(b - a, 0)) for a, b, _ in edges)


# --------------------------------------------------------------------------- other geometry
@declared(out=False)
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Return a view of the diagonals of the matrices in `dim1` and `dim2`, as last dimension."""
    layout = layout_of(input)
    offset = as_int("diagonal", "offset", 1, offset)
    a = wrap_dim(dim1, layout.ndim)
    b = wrap_dim(dim2, layout.ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return alias(TABLE["diagonal"], input, *diagonal_part(layout, offset, a, b))


@declared(function=False)
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Return a view of all windows of `size` elements, `step` apart, along a dimension."""
    layout = layout_of(input)
    d = wrap_dim(dimension, layout.ndim)
    size, step = as_int("unfold", "size", 2, size), as_int("unfold", "step", 3, step)
    n = layout.shape[d] if layout.ndim else 1
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if not layout.ndim:
        return alias(TABLE["unfold"], input, (size,), (layout.dtype.itemsize,))
    stride = layout.strides[d]
    shape = (*layout.shape[:d], (n - size) // step + 1, *layout.shape[d + 1 :], size)
    strides = (*layout.strides[:d], stride * step, *layout.strides[d + 1 :], stride)
    return alias(TABLE["unfold"], input, shape, strides)


@declared(out=False)
def as_strided(
    input: Tensor, size: Ints, stride: Ints, storage_offset: int | None = None
) -> Tensor:
    """Return a view of the base's memory with any shape, strides and offset (in elements).

    Raises
    ------
    RuntimeError
        If elements would lie outside that memory; under `vmap`, outside of the slice.
    """
    shape, steps = as_ints(size), as_ints(stride)
    if len(shape) != len(steps):
        raise RuntimeError("mismatch in length of strides and shape")
    if min(steps, default=0) < 0:
        raise RuntimeError(
            "as_strided: Negative strides are not supported at the moment, got strides: "
            f"{list(steps)}"
        )
    if min(shape, default=0) < 0:
        raise RuntimeError(
            f"Storage size calculation overflowed with sizes={list(shape)} and strides={list(steps)}"
        )
    item = layout_of(input).dtype.itemsize
    here = _offset(input)
    start = here
    if storage_offset is not None:
        start = as_int("as_strided", "storage_offset", 3, storage_offset)
        readout.check_offset()
    if start < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {start}")
    tape = tape_at(input._state)
    with tape.lock:
        base = int(tape.base[slot_of(tape, input)])
        first, memory_size = tape.offset_in_memory(base), tape.instruction_of(base).out.span
    reach = 0 if 0 in shape else sum((n - 1) * s for n, s in zip(shape, steps, strict=True)) + 1
    if reach and not first <= start * item <= first + memory_size - reach * item:
        if isinstance(tape, Trace):
            low = first // item
            tape.fail(
                f"result = tensor.as_strided({list(shape)}, {list(steps)}, {start}) can access memory "
                f"outside of `tensor`. `result` can access some memory in range [{start}, "
                f"{start + reach}], but `tensor` can only access some memory in range [{low}, "
                f"{low + memory_size // item}]. This is not supported inside of vmap, please try to rewrite "
                "the `as_strided` call as a sequence of PyTorch view operations"
            )
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(steps)}, storage offset {start}, and "
            f"itemsize {item} requiring a storage size of {(start + reach) * item} are out of "
            f"bounds for storage of size {memory_size}"
        )
    offset = (start - here) * item if reach else 0
    return alias(TABLE["as_strided"], input, shape, tuple(s * item for s in steps), offset)


_offset = storage_offset  # `as_strided` has an argument of that name
