"""Views: the same memory under another shape.

Nothing here computes. A function checks its arguments as PyTorch does, works out shape, strides and
offset of the result, and records one statement that aliases its operand's memory; adjoints alias in
the same way. Only `reshape` (and functions made of it) and `contiguous` copy, where no strides fit.

Start reading at `alias`, through which every view is recorded, then at `fitting_strides`, the rule
that decides whether a reshape is a view. Parts of a tensor (`narrow`, `split` ...) are in
slicing.py.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Sequence
from typing import Any

from ...base.dtypes import dtype
from ...base.errors import UnsupportedError
from ...base.symbolic import SizeLost
from ...native import abi as nt
from ...native import handle_type as handle
from ...ops.instruction import CACHES, Instruction, view_instruction
from ...ops.layout import LAYOUTS, Layout
from ...ops.layout import contiguous as dense_layout
from ...ops.table import TABLE, Op
from ...tape import recording as record
from ...tape.current import current_tape
from ...tape.recording import layout_of
from ..arguments import as_int, as_ints, as_tensors, distinct, wrap_dim
from ..registry import declared, public
from ..signature import Dims, Ints, Tensor

__all__ = ["alias", "as_int", "contiguous", "distinct", "view", "wrap_dim"]

#: the words of a view: its operand, and where in that it begins
_VIEW_WORDS = struct.Struct("<iq").pack
_KNOWN: dict[Any, Instruction] = {}
CACHES.append(_KNOWN.clear)


def alias(
    entry: Op, input: Any, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0
) -> Any:
    """Record a view, as `record.view` does, with instructions found by one look-up."""
    key = (entry.code, input._layout_id, shape, strides)
    instruction = _KNOWN.get(key)
    if instruction is None:
        instruction = _KNOWN[key] = view_instruction(entry, layout_of(input), shape, strides)
    tape = current_tape()
    source = handle.slot_at(tape.pointer, input)
    if source <= 0 or tape.state[nt.S_HANDLE_FREE] < 0 or tape.state[nt.S_BUSY]:
        return record.view(entry, input, shape, strides, offset)
    try:
        words = _VIEW_WORDS(source, offset)
    except SizeLost:
        return record.view(entry, input, shape, strides, offset)
    slot = handle.append_statement(tape.pointer, instruction.id, words, 3, 0)
    if slot < 0:  # no room, or too much is pending
        return record.view(entry, input, shape, strides, offset)
    return record.new_tensor(tape, slot, instruction.out)


# --------------------------------------------------------------------------- reshaping
@public(method=True, function=False)
def contiguous(input: Any, *, memory_format: Any = None) -> Tensor:
    """Return the tensor itself if its elements lie in C order, otherwise a copy that does so."""
    if layout_of(input).is_contiguous:
        return input
    return record.unary(TABLE["clone"], input)


def infer_shape(sizes: Sequence[int], count: int) -> tuple[int, ...]:
    """Replace a -1 in `sizes` by the length that fits `count` elements.

    Raises
    ------
    RuntimeError
        If nothing fits.
    """
    listed = str(list(sizes))
    known, unknown = 1, -1
    for i, n in enumerate(sizes):
        if n == -1:
            if unknown >= 0:
                raise RuntimeError("only one dimension can be inferred")
            unknown = i
        elif n < 0:
            raise RuntimeError(f"invalid shape dimension {n} at index {i} of shape {listed}")
        else:
            known *= n
    if unknown < 0:
        if known == count:
            return tuple(sizes)
    elif known == 0 and count == 0:
        raise RuntimeError(
            f"cannot reshape tensor of 0 elements into shape {listed} because the unspecified "
            "dimension size -1 can be any value and is ambiguous"
        )
    elif known and count % known == 0:
        return (*sizes[:unknown], count // known, *sizes[unknown + 1 :])
    raise RuntimeError(f"shape '{listed}' is invalid for input of size {count}")


def fitting_strides(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides under which the memory of `layout` has another shape, None if there are none.

    Old dimensions are grouped into runs that lie in memory like one dimension (each stride is the
    next one's extent); every new dimension must be cut from one run.
    """
    if layout.is_contiguous or layout.size == 0:
        return dense_layout(layout.dtype, shape).strides
    old = [(n, s) for n, s in zip(layout.shape, layout.strides, strict=True) if n != 1]
    strides = [0] * len(shape)
    axis = len(shape) - 1
    while old:
        count, step = old.pop()
        extent = step
        while old and old[-1][1] == step * count:  # the run grows by one more dimension
            count *= old.pop()[0]
        while axis >= 0 and (count > 1 or shape[axis] == 1):
            if count % shape[axis]:
                return None
            strides[axis] = extent
            extent *= shape[axis]
            count //= shape[axis]
            axis -= 1
        if count != 1:
            return None
    while axis >= 0:  # only ones are left
        strides[axis] = layout.dtype.itemsize
        axis -= 1
    return tuple(strides)


@declared("(Dtype dtype)", "(Ints size)", function=False)
def view(input: Tensor, size: Ints | dtype) -> Tensor:
    """Return the tensor's memory under another shape.

    Parameters
    ----------
    input : Tensor
    size : sequence of int
        The shape, which may also come as several arguments; one length may be -1.

    Raises
    ------
    RuntimeError
        If the shape does not fit, or would need a copy (use `reshape`).
    """
    layout = layout_of(input)
    if isinstance(size, dtype):
        if size is layout.dtype:
            return alias(TABLE["view"], input, input.shape, layout.strides)
        raise UnsupportedError("view(dtype) does not reinterpret memory; convert with .to(dtype)")
    shape = infer_shape(as_ints(size), layout.size)
    strides = fitting_strides(layout, shape)
    if strides is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        )
    return alias(TABLE["view"], input, shape, strides)


@declared(out=False)
def reshape(input: Tensor, shape: Ints) -> Tensor:
    """Return a view with another shape where strides allow it, otherwise a copy.

    Parameters
    ----------
    input : Tensor
    shape : sequence of int
        One length may be -1. The method takes them as several arguments, too.
    """
    layout = layout_of(input)
    lengths = infer_shape(as_ints(shape), layout.size)
    strides = fitting_strides(layout, lengths)
    if strides is not None:
        return alias(TABLE["view"], input, lengths, strides)
    copied = record.unary(TABLE["clone"], input)
    return alias(TABLE["unsafe_view"], copied, lengths, dense_layout(layout.dtype, lengths).strides)


@declared(function=False)
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """Return a view with the shape of another tensor."""
    return view(input, other.shape)


@declared(function=False)
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """Reshape to the shape of another tensor."""
    return reshape(input, other.shape)


@declared(out=False)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge the dimensions from `start_dim` to `end_dim` into one."""
    shape = layout_of(input).shape
    first = wrap_dim(start_dim, len(shape))
    last = wrap_dim(end_dim, len(shape))
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshape(input, (1,))
    if first == last:
        return input
    merged = math.prod(shape[first : last + 1])
    return reshape(input, (*shape[:first], merged, *shape[last + 1 :]))


@declared(out=False)
def ravel(input: Tensor) -> Tensor:
    """Return the elements in C order in one dimension."""
    return view(contiguous(input), (-1,))


@declared(out=False)
def unflatten(input: Tensor, dim: int, sizes: Ints) -> Tensor:
    """Split one dimension into several."""
    shape = layout_of(input).shape
    axis = wrap_dim(dim, len(shape))
    sizes = as_ints(sizes)
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    try:
        parts = infer_shape(sizes, shape[axis])
    except RuntimeError as error:
        if "invalid for input" not in str(error):
            raise
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {axis} "
            f"({shape[axis]}) in the input tensor"
        ) from None
    return view(input, (*shape[:axis], *parts, *shape[axis + 1 :]))


# --------------------------------------------------------------------------- order of dimensions
def _permuted(entry: Op, input: Any, order: Sequence[int]) -> Any:
    layout = LAYOUTS[input._layout_id]
    shape, strides = layout.shape, layout.strides
    return alias(entry, input, tuple([shape[d] for d in order]), tuple([strides[d] for d in order]))


@declared(out=False)
def permute(input: Tensor, dims: Ints) -> Tensor:
    """Return a view with the dimensions in the order `dims`."""
    dims, ndim = as_ints(dims), layout_of(input).ndim
    if len(dims) != ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {ndim} is not equal "
            f"to len(dims) = {len(dims)}"
        )
    order = [wrap_dim(d, ndim) for d in dims]
    if len(set(order)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return _permuted(TABLE["permute"], input, order)


@declared(aliases=("swapaxes", "swapdims"), out=False)
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Return a view with two dimensions exchanged."""
    ndim = layout_of(input).ndim
    a = wrap_dim(dim0, ndim)
    b = wrap_dim(dim1, ndim)
    order = list(range(ndim))
    if ndim:
        order[a], order[b] = b, a
    return _permuted(TABLE["transpose"], input, order)


@public(method=True, out=False)
def t(input: Any) -> Tensor:
    """Return the transpose of a matrix (vectors and scalars as they are), as a view."""
    (input,) = as_tensors("t", (input,))
    ndim = layout_of(input).ndim
    if ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D")
    return _permuted(TABLE["t"], input, range(ndim)[::-1])


@public(prop=True, name="T")
def reversed_dims(input: Any) -> Tensor:
    """View with the dimensions in reverse order."""
    ndim = layout_of(input).ndim
    if ndim > 2:
        warnings.warn(
            "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is "
            "deprecated and it will throw an error in a future release. Consider `x.mT` to "
            "transpose "
            "batches of matrices or `x.permute(*torch.arange(x.ndim - 1, -1, -1))` to reverse the "
            "dimensions of a tensor.",
            UserWarning,
            stacklevel=2,
        )
    elif ndim == 0:
        warnings.warn(
            "Tensor.T is deprecated on 0-D tensors. This function is the identity in these cases.",
            UserWarning,
            stacklevel=2,
        )
    return _permuted(TABLE["permute"], input, range(ndim)[::-1])


@public(prop=True, name="mT")
def matrix_transpose(input: Any) -> Tensor:
    """View with the last two dimensions exchanged."""
    ndim = layout_of(input).ndim
    if ndim == 0:
        warnings.warn(
            "Tensor.mT is deprecated on 0-D tensors. This function is the identity in these cases.",
            UserWarning,
            stacklevel=2,
        )
        return input
    if ndim < 2:
        raise RuntimeError(
            f"tensor.mT is only supported on matrices or batches of matrices. Got {ndim}-D tensor."
        )
    return transpose(input, -2, -1)


@declared(
    "(int source, int destination)", "(Dims source, Dims destination)", aliases=("moveaxis",),
    out=False,
)  # fmt: skip
def movedim(input: Tensor, source: Dims, destination: Dims) -> Tensor:
    """Return a view in which dimensions `source` stand at the positions `destination`."""
    ndim = layout_of(input).ndim
    src, dst = as_ints(source), as_ints(destination)
    if len(src) != len(dst):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(src)} dims) should "
            f"contain the same number of dims as destination ({list(dst)} dims)"
        )
    src, dst = tuple(wrap_dim(d, ndim) for d in src), tuple(wrap_dim(d, ndim) for d in dst)
    for label, dims in (("source", src), ("destination", dst)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{label}` ({list(dims)})")
    rest = iter([d for d in range(ndim) if d not in src])
    place = dict(zip(dst, src, strict=True))
    order = [place[d] if d in place else next(rest) for d in range(ndim)]
    return _permuted(TABLE["permute"], input, order)
