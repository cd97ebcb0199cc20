"""Reading and writing at index tensors by name: gather, scatter, take, index_select and their kin.

Every function checks its index values when it records, as square brackets do, and hands the op a
constant copy of them (index_arrays.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...base.dtypes import bool_, int64, scalar_name
from ...ops.layout import broadcast_shapes
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import as_int, constant_like, from_array, wrap_dim
from ..registry import FUNCTIONS, declared
from ..shape.broadcast import expand_to
from ..shape.slicing import slice_dim
from ..signature import Number, Operand, Tensor
from .index_arrays import Later, checked_positions, index_values, normalise, positions

__all__ = ["flat_positions", "gather", "in_range", "scatter"]


# --------------------------------------------------------------------------- gather and scatter
def _dim_and_values(name: str, input: Any, dim: int, index: Any) -> tuple[int, Any]:
    """Return the dimension of a gather or scatter, and its index values, not wrapped."""
    if index.dtype is not int64:
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    return wrap_dim(as_int(name, "dim", 1, dim), layout_of(input).ndim), index_values(index)


def in_range(values: Any, n: int, dim: int, *, wraps: bool = False) -> Any:
    """Index values as a constant tensor; they do not count from the end, unless they may `wrap`."""

    def failure(i: int) -> RuntimeError:
        shown = i + n if wraps and i < 0 else i
        return RuntimeError(f"index {shown} is out of bounds for dimension {dim} with size {n}")

    return checked_positions(values, n, failure, wraps=wraps)


def flat_positions(values: Any, n: int) -> Any:
    """Positions in a raveled tensor of `n` elements as a constant tensor; they count from the end, too."""
    text = "out of range: tried to access index {} on a tensor of {} elements."
    return checked_positions(values, n, lambda i: IndexError(text.format(i, n)), wraps=True)


def _dims(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape or (1,)


@declared()
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Return ``out[i, j] = input[index[i, j], j]`` (for ``dim=0``; likewise for others).

    Parameters
    ----------
    input : Tensor
    dim : int
    index : Tensor
        int64, of as many dimensions as `input`.

    Raises
    ------
    RuntimeError
        If shapes do not fit or an index is out of range.
    """
    d, values = _dim_and_values("gather", input, dim, index)
    shape, index_shape = _dims(tuple(input.shape)), _dims(values.shape)
    if values.size:
        if len(shape) != len(index_shape):
            raise RuntimeError(
                "Index tensor must have the same number of dimensions as input tensor"
            )
        for i, (n, m) in enumerate(zip(index_shape, shape, strict=True)):
            if i != d and n > m:
                raise RuntimeError(
                    f"Size does not match at dimension {i} expected index {list(values.shape)} to "
                    f"be no larger than self {list(input.shape)} apart from dimension {d}"
                )
    elif len(shape) != len(index_shape):  # nothing to read: any shape does
        return record.apply(TABLE["index"], (input.reshape(-1), positions(values)), dims=(0,))
    return record.apply(TABLE["gather"], (input, in_range(values, shape[d], d)), dim=d)


def _scatter(row: str, input: Any, dim: int, index: Any, source: Any) -> Any:
    d, values = _dim_and_values("scatter", input, dim, index)
    shape, index_shape = _dims(tuple(input.shape)), _dims(values.shape)
    scalar = not record.is_tensor(source)
    if not scalar and source.dtype is not input.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if values.size == 0:
        return record.unary(TABLE["clone"], input)
    if len(shape) != len(index_shape):
        raise RuntimeError("Index tensor must have the same number of dimensions as self tensor")
    source_shape = index_shape if scalar else _dims(tuple(source.shape))
    if len(source_shape) != len(index_shape):
        raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    if any(
        (i != d and n > m) or n > k
        for i, (n, m, k) in enumerate(zip(index_shape, shape, source_shape, strict=True))
    ):
        text = (
            f"Expected index {list(values.shape)} to be no larger than self {list(input.shape)} "
            f"apart from dimension {d}"
        )
        if not scalar:
            text += f" and to be no larger size than src {list(source.shape)}"
        raise RuntimeError(text)
    places = in_range(values, shape[d], d)
    if scalar:
        source = constant_like(input, source)
    else:
        for i, n in enumerate(values.shape):
            if i < len(source.shape) and source.shape[i] != n:
                source = slice_dim(source, i, 0, n)
    return record.apply(TABLE[row], (input, places, source), dim=d)


@declared()
def scatter(input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None,
            reduce: str | None = None) -> Tensor:  # fmt: skip
    """Return a copy with ``out[index[i, j], j] = src[i, j]`` (for ``dim=0``).

    Parameters
    ----------
    input : Tensor
    dim : int
    index : Tensor
        int64. Where an index occurs twice, one of the values stays.
    src : Tensor or number
    value : number, optional
        Instead of `src`.
    reduce : str, optional
        ``"add"``, as `scatter_add`, or ``"multiply"``, as `scatter_reduce` with ``"prod"``.
    """
    source_value = value if src is None else src
    if isinstance(source_value, np.ndarray):
        source_value = from_array(source_value)
    if reduce is not None:
        source = (
            source_value
            if record.is_tensor(source_value)
            else expand_to(constant_like(input, source_value), index.shape)
        )
        if reduce == "add":
            return _scatter("scatter_add", input, dim, index, source)
        if reduce != "multiply":
            raise RuntimeError("reduce argument must be either add or multiply.")
        product = "amin" if input.dtype is bool_ else "prod"
        return FUNCTIONS["scatter_reduce"](input, dim, index, source, product)
    row = "scatter" if record.is_tensor(source_value) else "scatter_value"
    return _scatter(row, input, dim, index, source_value)


@declared()
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """Return a copy with ``out[index[i, j], j] += src[i, j]`` (for ``dim=0``).

    Parameters
    ----------
    input : Tensor
    dim : int
    index : Tensor
        int64; values for an index that occurs twice add up.
    src : Tensor
    """
    return _scatter("scatter_add", input, dim, index, src)


@declared()
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Gather along a dimension, broadcasting the others; without `dim`, from the raveled tensor."""
    if indices.dtype is not int64:
        raise RuntimeError(
            "torch.take_along_dim(): dtype of indices should be Long but got "
            f"{scalar_name(indices.dtype)}"
        )
    if dim is None:
        return take_along_dim(input.reshape(-1), indices.reshape(-1), 0)
    if layout_of(input).ndim != layout_of(indices).ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {layout_of(input).ndim} dimensions for input, and {layout_of(indices).ndim} "
            "dimensions for indices"
        )
    d = wrap_dim(dim, layout_of(input).ndim)
    input_shape, index_shape = list(input.shape), list(indices.shape)
    n = input_shape[d] if input_shape else 1
    values = index_values(indices)
    if input_shape:
        input_shape[d] = 1
        index_shape[d] = 1
        common = list(broadcast_shapes(input_shape, index_shape))
        common[d] = values.shape[d]
        later = isinstance(values, Later)
        values = values.expand(common) if later else np.broadcast_to(values, common)
        common[d] = n
        input = expand_to(input, common)
    return record.apply(TABLE["gather"], (input, in_range(values, n, d, wraps=True)), dim=d)


# --------------------------------------------------------------------------- whole slices
def _index_vector(index: Any) -> Any:
    """Index values as a vector; a 0-d index counts as one."""
    values = index_values(index)
    return values.reshape(1) if values.ndim == 0 else values


@declared()
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """Return the slices of a dimension at the indices of a vector."""
    if index.dtype is not int64:
        raise RuntimeError("index_select(): Expected dtype int32 or int64 for index")
    if layout_of(index).ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    shape = tuple(input.shape)
    d = wrap_dim(dim, len(shape))
    values = _index_vector(index)
    n = shape[d] if shape else 1
    if not shape:
        if values.size != 1:
            raise RuntimeError(
                f"index_select(): Index to scalar can have only 1 value, got {values.size} value(s)"
            )
        input, values = input.reshape(1), values.reshape(())
    places = checked_positions(values, n, lambda _: IndexError("index out of range in self"))
    return record.apply(TABLE["index_select"], (input, places), dims=(d,))


def _index_slices(
    name: str, input: Any, dim: int, index: Any, source: Any, *, accumulate: bool
) -> Any:
    """Write or add slices along a dimension, after PyTorch's checks."""
    if index.dtype is not int64:
        raise RuntimeError(
            f"{name}_(): Expected dtype int32/int64 for index but got: {scalar_name(index.dtype)}"
        )
    if layout_of(index).ndim > 1:
        raise IndexError(
            f"{name}_(): Index is supposed to be a vector, but got dim: {layout_of(index).ndim} "
            f"with type: {scalar_name(index.dtype)} and size: {list(index.shape)}"
        )
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"{name}_(): self ({scalar_name(input.dtype)}) and source ({scalar_name(source.dtype)}) "
            "must have the same scalar type"
        )
    shape = _dims(tuple(input.shape))
    d = wrap_dim(as_int(name, "dim", 1, dim), len(shape))
    values = _index_vector(index)
    if layout_of(source).ndim:
        source_shape = _dims(tuple(source.shape))
        if d >= len(source_shape) or source_shape[d] != values.size:
            raise RuntimeError(
                f"{name}_(): Number of indices ({values.size}) should be equal to "
                f"source.size(dim): ({source_shape[d] if d < len(source_shape) else 1}), for dim: {d}"
            )
        if source_shape[:d] + source_shape[d + 1 :] != shape[:d] + shape[d + 1 :]:
            raise RuntimeError(
                "source tensor shape must match self tensor shape, excluding the specified "
                f"dimension. Got self.shape = {list(input.shape)} source.shape = "
                f"{list(source.shape)}"
            )
    places = _slice_positions(name, values, shape[d])
    target = input if input.shape else input.reshape(1)
    result = record.apply(TABLE[name], (target, source, places), dims=(d,), accumulate=accumulate)
    return result if input.shape else result.reshape(())


def _slice_positions(name: str, values: Any, n: int) -> Any:
    """Index values as a constant tensor, after `name`'s range check."""
    if name == "index_fill":
        if isinstance(values, Later):
            return values.checked(n, wraps=True)
        return positions(normalise([values], [n]))
    error, prefix = (IndexError, "index_copy_(): ") if name == "index_copy" else (RuntimeError, "")
    text = f"{prefix}index {{}} is out of bounds for dimension 0 with size {n}"
    return checked_positions(values, n, lambda i: error(text.format(i)))


@declared()
def index_add(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Number = 1
) -> Tensor:
    """Return a copy to whose slices at `index` those of `source`, times alpha, are added."""
    if alpha != 1:
        source = source * alpha
    return _index_slices("index_add", input, dim, index, source, accumulate=True)


@declared()
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Return a copy whose slices at `index` are those of `source`."""
    return _index_slices("index_copy", input, dim, index, source, accumulate=False)


@declared("(int dim, Tensor index, Tensor value)", "(int dim, Tensor index, Number value)")
def index_fill(input: Tensor, dim: int, index: Tensor, value: Operand) -> Tensor:
    """Return a copy whose slices at `index` are filled with a number or a 0-d tensor."""
    if not record.is_tensor(value):
        value = constant_like(input, value)
    elif layout_of(value).ndim:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{layout_of(value).ndim} dimension(s)."
        )
    value = record.cast(value, input.dtype)
    return _index_slices("index_fill", input, dim, index, value, accumulate=False)


@declared()
def take(input: Tensor, index: Tensor) -> Tensor:
    """Return the elements at positions in the raveled tensor."""
    if index.dtype is not int64:
        raise RuntimeError(
            f"take(): Expected a long tensor for index, but got {scalar_name(index.dtype)}"
        )
    values, n = index_values(index), layout_of(input).size
    if n == 0 and values.size:
        raise IndexError("take(): tried to take from an empty tensor")
    x = input if input.shape else input.reshape(1)
    return record.apply(
        TABLE["take"], (x, flat_positions(values, n)), dims=tuple(range(layout_of(x).ndim))
    )
