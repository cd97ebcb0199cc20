"""A tensor with another one in the place of a part of it: `select_scatter` and its kin; `set_`, `resize_`.

The first are writes into a view of a copy; derivatives are those of the write. The others let a tensor
refer to other memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...base.dtypes import c_name
from ...base.errors import UnsupportedError
from ...ops.instruction import instruction
from ...ops.layout import contiguous
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.current import current_tape
from ...tape.recording import layout_of
from ...tape.tape import slot_of, tape_at
from ..arguments import as_int, as_ints, wrap_dim
from ..registry import declared, public
from ..signature import Ints, Tensor
from .inplace import check_target, overwrite
from .inplace_methods import become

__all__: list[str] = []


# --------------------------------------------------------------------------- parts of a copy
def _scattered(name: str, input: Any, src: Any, part: Callable[[Any], Any]) -> Any:
    """Return a copy of a tensor with `src` in the place of a view of it."""
    result = input.clone()
    view = part(result)
    if view.shape != src.shape:
        raise RuntimeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src.shape)}, slice size = {list(view.shape)}"
        )
    overwrite(view, record.cast(src, input.dtype))
    layout = layout_of(result)
    scatter_instruction = instruction(TABLE[name], (layout,), layout=layout, in_place=True)
    tape = current_tape()
    tape.make_room()
    # under the name that PyTorch has for it
    slot = tape.append_view(scatter_instruction, slot_of(tape, result), 0)
    return record.new_tensor(tape, slot, layout)


@declared()
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """Return a copy with `src` at one index of a dimension.

    Parameters
    ----------
    input, src : Tensor
    dim, index : int
        As of `select`.

    Raises
    ------
    RuntimeError, IndexError
        If the shape does not fit, or there is no such index.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.select_scatter(tg.zeros(2, 2), tg.tensor([1.0, 2.0]), 0, 1)
    tensor([[0., 0.],
            [1., 2.]])
    """
    return _scattered("select_scatter", input, src, lambda x: x.select(dim, index))


@declared()
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None,
    step: int = 1,
) -> Tensor:  # fmt: skip
    """Return a copy with `src` at a slice of a dimension.

    Parameters
    ----------
    input, src : Tensor
    dim : int
    start, end : int, optional
    step : int

    Raises
    ------
    RuntimeError
        If the shape does not fit.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.slice_scatter(tg.zeros(4), tg.ones(2), start=1, end=4, step=2)
    tensor([0., 1., 0., 1.])
    """
    if as_int("slice_scatter", "step", 6, step) <= 0:
        raise RuntimeError("slice step must be positive")
    d = wrap_dim(dim, layout_of(input).ndim)
    index = (slice(None),) * d + (slice(start, end, step),)
    return _scattered("slice_scatter", input, src, lambda x: x[index])


@declared()
def diagonal_scatter(
    input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """Return a copy with `src` on a diagonal.

    Parameters
    ----------
    input, src : Tensor
    offset, dim1, dim2 : int
        As of `diagonal`.

    Raises
    ------
    RuntimeError
        If the shape does not fit.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.diagonal_scatter(tg.zeros(2, 2), tg.tensor([1.0, 2.0]))
    tensor([[1., 0.],
            [0., 2.]])
    """
    return _scattered(
        "diagonal_scatter", input, src, lambda x: x.diagonal(offset, dim1, dim2)
    )  # fmt: skip


@declared()
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Ints, stride: Ints, storage_offset: int | None = None
) -> Tensor:
    """Return a copy with `src` in the place of the elements that `as_strided` selects.

    Parameters
    ----------
    input, src : Tensor
    size, stride : sequence of int
    storage_offset : int, optional

    Raises
    ------
    RuntimeError
        If the shape does not fit, or elements would share memory.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.as_strided_scatter(tg.zeros(4), tg.ones(2), (2,), (3,))
    tensor([1., 0., 0., 1.])
    """
    return _scattered(
        "as_strided_scatter", input, src, lambda x: x.as_strided(size, stride, storage_offset)
    )


# --------------------------------------------------------------------------- other memory
@declared(function=False)
def resize_(input: Tensor, size: Ints, *, memory_format: Any = None) -> Tensor:
    """Give the tensor another shape; elements that are new have no particular value.

    Parameters
    ----------
    input : Tensor
    size : sequence of int
        They may also come as several arguments.

    Returns
    -------
    Tensor
        The tensor. It leaves the memory that it shares where that is too small.

    Raises
    ------
    RuntimeError
        If it requires grad.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.arange(6.0).resize_(2, 2)
    tensor([[0., 1.],
            [2., 3.]])
    """
    return _resized(input, as_ints(size))


@declared()
def resize_as_(input: Tensor, the_template: Tensor, *, memory_format: Any = None) -> Tensor:
    """Give the tensor the shape of another; see `resize_`."""
    return _resized(input, tuple(the_template.shape))


def _resized(input: Any, shape: Sequence[int]) -> Any:
    if input.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if min(shape, default=0) < 0:
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}"
        )
    if tuple(shape) == tuple(input.shape):
        return input
    check_target(input, uniform=True)
    layout = layout_of(input)
    item = layout.dtype.itemsize
    new_layout = contiguous(layout.dtype, tuple(shape))
    tape = tape_at(input._state)
    with tape.lock:
        slot = slot_of(tape, input)
        base = int(tape.base[slot])
        begin = tape.offset_in_memory(slot) - tape.offset_in_memory(base)
        available = (tape.instruction_of(base).out.span - begin) // item
    steps = tuple(s // item for s in new_layout.strides)
    if new_layout.size > available:
        array = np.zeros(new_layout.size, layout.dtype.np)
        array[:available] = input.as_strided((available,), (1,))._array()
        become(input, record.leaf_tensor(array.reshape(shape), layout.dtype))
    else:
        become(input, input.as_strided(tuple(shape), steps))
    return input


@public(method=True, function=False)
def set_(
    input: Any, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None
) -> Tensor:
    """Let the tensor share the memory of another, with its shape, or with a given one.

    Parameters
    ----------
    input : Tensor
    source : Tensor, optional
        Of the same dtype; without, the tensor becomes empty.
    storage_offset : int
        Together with `size` and `stride`, as of `as_strided`.
    size, stride : sequence of int, optional

    Returns
    -------
    Tensor
        The tensor.

    Raises
    ------
    UnsupportedError
        If one of them requires grad: that has no derivative.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x, y = tg.zeros(2), tg.ones(3)
    >>> y.set_(x)
    tensor([0., 0.])
    """
    if source is None:
        source = record.leaf_tensor(np.zeros(0, input.dtype.np), input.dtype)
    record.check_tensors("set_", (input, source))
    if source.dtype is not input.dtype:
        names = [c_name(layout_of(t).dtype) for t in (source, input)]
        raise RuntimeError("Could not set tensor of type {} to a tensor of type {}".format(*names))
    check_target(input, uniform=True)
    if input.requires_grad or source.requires_grad:
        raise UnsupportedError(
            "set_() with a tensor that requires grad has no derivative; assign to .data, or use detach()"
        )
    if size is not None:
        if min(size, default=0) < 0:
            raise RuntimeError("numel: integer multiplication overflow")  # as PyTorch says it
        steps = contiguous(input.dtype, tuple(size)).strides if stride is None else None
        stride = stride if steps is None else [s // input.dtype.itemsize for s in steps]
        source = source.as_strided(size, stride, storage_offset)
    become(input, source.detach(), shared=True)
    return input
