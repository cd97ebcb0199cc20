"""``scatter_reduce``: elements that go to the same place are summed, multiplied, averaged or compared."""

from __future__ import annotations

from typing import Any

from ...base.dtypes import int64
from ...ops.norms import highest, lowest
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import wrap_dim
from ..registry import METHODS, declared
from ..shape.joining import cat
from ..signature import Tensor
from .gather_scatter import in_range
from .index_arrays import index_values

__all__ = ["index_reduce", "scatter_reduce"]

_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


@declared()
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Reduce the elements of `src` that go to the same place of a copy of `input`.

    Parameters
    ----------
    input : Tensor
    dim : int
    index : Tensor
        int64, of as many dimensions as `input` and `src`, and along none longer than `src`, nor along
        others than `dim` longer than `input`: ``src[i, j]`` goes to ``[index[i, j], j]`` (for ``dim=0``).
    src : Tensor
        Of the dtype of `input`.
    reduce : str
        ``"sum"``, ``"prod"``, ``"mean"``, ``"amax"`` or ``"amin"``. Elements that are the extreme share
        the gradient evenly.
    include_self : bool
        Let the elements of `input` take part.

    Returns
    -------
    Tensor
        Elements where nothing goes to are those of `input`.

    Raises
    ------
    RuntimeError
        If shapes or dtypes do not fit, or an index is out of range.

    Examples
    --------
    >>> import tapegrad as tg
    >>> index = tg.tensor([0, 1, 0])
    >>> tg.ones(2).scatter_reduce(0, index, tg.tensor([2.0, 3.0, 4.0]), "sum")
    tensor([7., 4.])
    """
    if reduce not in _REDUCTIONS:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    if index.dtype is not int64:
        raise RuntimeError("scatter_reduce(): Expected dtype int64 for index")
    if src.dtype is not input.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    d = wrap_dim(dim, layout_of(input).ndim)
    if not layout_of(index).size:
        return input.clone()
    if not input.ndim or not index.ndim or not src.ndim:
        whole = [t.reshape(1) if not t.ndim else t for t in (input, index, src)]
        reduced = scatter_reduce(whole[0], 0, whole[1], whole[2], reduce, include_self=include_self)
        return reduced.reshape(input.shape)
    _check_shapes(input, index, src, d)
    lengths = [*index.shape]
    for i, n in enumerate(lengths):
        src = src.narrow(i, 0, n)
    region = input
    lengths[d] = input.shape[d]
    for i, n in enumerate(lengths):
        region = region.narrow(i, 0, n)
    reduced = _reduced(region, index, src, d, reduce, include_self)
    if tuple(lengths) == tuple(input.shape):
        return reduced
    result = input.clone()
    result[tuple(slice(n) for n in lengths)] = reduced
    return result


@declared()
def index_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """Reduce the slices of `source` that go to the same place of a copy of `input`.

    Parameters
    ----------
    input : Tensor
    dim : int
        Dimension of which there are slices.
    index : Tensor
        int64 vector: where each slice of `source` goes.
    source : Tensor
        Of the dtype of `input` and, but for `dim`, its shape.
    reduce : str
        ``"prod"``, ``"mean"``, ``"amax"`` or ``"amin"``.
    include_self : bool
        Let the slices of `input` take part.

    Returns
    -------
    Tensor
        Slices where nothing goes to are those of `input`.

    Raises
    ------
    RuntimeError, IndexError
        If shapes or dtypes do not fit, or an index is out of range.

    Examples
    --------
    >>> import tapegrad as tg
    >>> index = tg.tensor([0, 1, 0])
    >>> tg.ones(2).index_reduce(0, index, tg.tensor([2.0, 3.0, 4.0]), "prod")
    tensor([8., 3.])
    """
    if reduce not in _REDUCTIONS[1:]:
        raise RuntimeError(
            f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}."
        )
    if index.ndim > 1:
        raise IndexError(
            f"index_reduce_(): Index is supposed to be a vector, but got dim: {index.ndim}"
        )
    d = wrap_dim(dim, layout_of(input).ndim)
    if not input.ndim or not source.ndim:
        whole = [t if t.ndim else t.reshape(1) for t in (input, source)]
        reduced = index_reduce(whole[0], d, index, whole[1], reduce, include_self=include_self)
        return reduced.reshape(input.shape)
    lengths = list(input.shape)
    lengths[d] = index.numel()
    if list(source.shape) != lengths:
        raise RuntimeError(
            f"index_reduce(): Expected source of shape {lengths} for self {list(input.shape)} and "
            f"{index.numel()} indices along dimension {d}, but got {list(source.shape)}"
        )
    along = [1] * input.ndim
    along[d] = index.numel()
    places = index.reshape(along).expand(lengths)
    return scatter_reduce(input, d, places, source, reduce, include_self=include_self)


def _check_shapes(input: Any, index: Any, src: Any, dim: int) -> None:
    if not input.ndim == index.ndim == src.ndim:
        other = "self" if input.ndim != index.ndim else "src"
        raise RuntimeError(
            f"Index tensor must have the same number of dimensions as {other} tensor"
        )
    if any(
        (i != dim and n > m) or n > k
        for i, (n, m, k) in enumerate(zip(index.shape, input.shape, src.shape, strict=True))
    ):
        raise RuntimeError(
            f"Expected index {list(index.shape)} to be no larger than self {list(input.shape)} apart "
            f"from dimension {dim} and to be no larger size than src {list(src.shape)}"
        )


def _reduced(region: Any, index: Any, src: Any, dim: int, reduce: str, include_self: bool) -> Any:
    """Reduce where `index` covers all of `region` but along `dim`."""
    places = index.clone() if index.requires_grad else index
    if reduce in ("sum", "mean"):
        ones = src.detach().new_ones(src.shape)
        count = region.detach().new_zeros(region.shape).scatter_add(dim, places, ones)
        start = region if include_self else region.masked_fill(count > 0, 0)
        total = start.scatter_add(dim, places, src)
        if reduce == "sum":
            return total
        count = (count + 1 if include_self else count).clamp(min=1)
        if region.dtype.is_floating_point:
            return total / count
        return total.div(count, rounding_mode="floor")
    return _gathered(region, places, src, dim, reduce, include_self)


def _gathered(region: Any, index: Any, src: Any, dim: int, reduce: str, include_self: bool) -> Any:
    """Reduce along a further dimension, along which each place has all elements that may go there."""
    values = index_values(index)
    n = region.shape[dim]
    index = in_range(values, n, dim)
    into, places, source = (t.movedim(dim, -1) for t in (region, index, src))
    from_here = places.unsqueeze(-2) == METHODS["new_tensor"](index, list(range(n))).unsqueeze(-1)
    neutral = _neutral(region, reduce)
    parts = source.unsqueeze(-2).expand(from_here.shape).where(from_here, neutral)
    current = into.unsqueeze(-1)
    parts = cat([current, parts], -1) if include_self else parts
    reduced = parts.prod(-1) if reduce == "prod" else getattr(parts, reduce)(-1)
    if not include_self:
        reduced = reduced.where(from_here.any(-1), into)
    return reduced.movedim(-1, dim)


def _neutral(like: Any, reduce: str) -> Any:
    kind = layout_of(like).dtype
    extreme = lowest(kind) if reduce == "amax" else highest(kind)
    return record.as_operand(1 if reduce == "prod" else extreme, kind)
