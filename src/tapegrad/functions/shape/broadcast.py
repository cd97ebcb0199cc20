"""Views with more or fewer dimensions: expand and broadcasting, squeeze, unsqueeze, atleast_nd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...base.dtypes import type_name
from ...base.size import Size
from ...ops.layout import Layout
from ...ops.layout import broadcast_shapes as broadcast_shape
from ...ops.table import TABLE
from ...tape.recording import layout_of
from ..arguments import as_ints, as_tensors, distinct, tensor_list, wrap_dim
from ..registry import declared, public
from ..signature import Dims, Ints, Tensor
from .reshape import alias

__all__ = ["atleast_1d", "atleast_2d", "atleast_3d", "expand_to", "expanded"]


# --------------------------------------------------------------------------- expanding
def expanded(layout: Layout, sizes: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return shape and strides of a layout that is expanded to `sizes`, of which -1 keeps a length.

    Raises
    ------
    RuntimeError
        PyTorch's, if it does not fit.
    """
    target = list(sizes)
    missing = len(target) - layout.ndim
    if missing < 0:
        raise RuntimeError(
            f"expand({type_name(layout.dtype)}{{{list(layout.shape)}}}, size={target}): the number "
            f"of sizes provided ({len(target)}) must be greater or equal to the number of "
            f"dimensions in the tensor ({layout.ndim})"
        )
    shape, strides = list(target), [0] * len(target)
    for i in range(len(target) - 1, -1, -1):
        n = target[i]
        if i < missing:
            if n < 0:
                raise RuntimeError(
                    f"The expanded size of the tensor ({n}) isn't allowed in a leading, "
                    f"non-existing dimension {i}"
                )
            continue
        length, step = layout.shape[i - missing], layout.strides[i - missing]
        if n in (-1, length):
            shape[i], strides[i] = length, step
        elif length != 1 or n < 0:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({length}) at "
                f"non-singleton dimension {i}.  Target sizes: {target}.  Tensor sizes: "
                f"{list(layout.shape)}"
            )
    return tuple(shape), tuple(strides)


def expand_to(input: Any, sizes: Sequence[int]) -> Any:
    """Expand to `sizes`; -1 keeps a length."""
    return alias(TABLE["expand"], input, *expanded(layout_of(input), sizes))


@declared(function=False)
def expand(input: Tensor, size: Ints, *, implicit: bool = False) -> Tensor:
    """Return a view in which dimensions of length 1 are repeated, without a copy.

    Parameters
    ----------
    input : Tensor
    size : sequence of int
        The shape, which may also come as several arguments; -1 keeps a length.

    Raises
    ------
    RuntimeError
        If the shapes do not fit.
    """
    return expand_to(input, as_ints(size))


@declared(function=False)
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Expand to the shape of another tensor."""
    return expand_to(input, other.shape)


@declared(out=False)
def broadcast_to(input: Tensor, size: Ints) -> Tensor:
    """Expand to a shape."""
    return expand_to(input, as_ints(size))


@public(out=False)
def broadcast_shapes(*shapes: Any) -> Size:
    """Return the shape that shapes broadcast to."""
    result: tuple[int, ...] = ()
    for i, shape in enumerate(shapes):
        shape = (shape,) if isinstance(shape, int) else shape
        if not isinstance(shape, tuple | list):
            raise RuntimeError(
                "Input shapes should be of type ints, a tuple of ints, or a list of ints, got "
                f"{shape}"
            )
        shape = tuple(Size(shape))
        if min(shape, default=0) < 0:
            raise ValueError("Attempting to broadcast a dimension with negative length!")
        for back, (n, m) in enumerate(zip(result[::-1], shape[::-1], strict=False)):
            if n != m and 1 not in (n, m):
                raise RuntimeError(
                    f"Attempting to broadcast a dimension of length {m} at {-1 - back}! "
                    f"Mismatching argument at index {i} had {shape}; but expected shape should be "
                    f"broadcastable to {list(result)}"
                )
        result = broadcast_shape(result, shape)
    return Size(result)


@public(out=False)
def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Expand tensors to their common shape."""
    alone = len(tensors) == 1 and isinstance(tensors[0], tuple | list)
    operands = tensor_list(tensors[0] if alone else tensors)
    shape = broadcast_shape(*(x.shape for x in operands))
    return tuple(expand_to(x, shape) if x.shape != shape else x for x in operands)


# --------------------------------------------------------------------------- dimensions of length 1
@declared("()", "(int? dim)", "(Dims dim)", out=False)
def squeeze(input: Tensor, dim: Dims | None = None) -> Tensor:
    """Remove dimensions of length 1: all, one, or those in a tuple."""
    layout = layout_of(input)
    if dim is None:
        name, dims = "squeeze", tuple(range(layout.ndim))
    elif isinstance(dim, tuple | list):
        name, dims = "squeeze_dims", distinct(as_ints(dim), layout.ndim)
    else:
        name, dims = "squeeze_dim", (wrap_dim(dim, layout.ndim),)
    kept = [i for i, n in enumerate(layout.shape) if n != 1 or i not in dims]
    shape = tuple(layout.shape[i] for i in kept)
    return alias(TABLE[name], input, shape, tuple(layout.strides[i] for i in kept))


@declared(out=False)
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Insert a dimension of length 1 at `dim`."""
    layout = layout_of(input)
    d = wrap_dim(dim, layout.ndim + 1)
    step = layout.strides[d] * layout.shape[d] if d < layout.ndim else layout.dtype.itemsize
    shape = (*layout.shape[:d], 1, *layout.shape[d:])
    return alias(TABLE["unsqueeze"], input, shape, (*layout.strides[:d], step, *layout.strides[d:]))


def _atleast(n: int, tensors: tuple[Any, ...]) -> Any:
    if len(tensors) == 1 and isinstance(tensors[0], tuple | list):
        return tuple(_atleast(n, (x,)) for x in tensors[0])
    if len(tensors) != 1:
        return tuple(_atleast(n, (x,)) for x in tensors)
    (x,) = tensors
    (x,) = as_tensors(f"atleast_{n}d", (x,))
    ndim = layout_of(x).ndim
    if ndim >= n:
        return x
    if ndim == 0:
        return x.view((1,) * n)
    if n == 2:
        return unsqueeze(x, 0)
    return unsqueeze(unsqueeze(x, 0) if ndim == 1 else x, -1)


@public(out=False)
def atleast_1d(*tensors: Any) -> Any:
    """View scalars as one-dimensional tensors; several tensors give a tuple."""
    return _atleast(1, tensors)


@public(out=False)
def atleast_2d(*tensors: Any) -> Tensor:
    """View tensors with fewer than two dimensions as matrices."""
    return _atleast(2, tensors)


@public(out=False)
def atleast_3d(*tensors: Any) -> Tensor:
    """View tensors with fewer than three dimensions as three-dimensional."""
    return _atleast(3, tensors)
