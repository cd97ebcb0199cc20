"""Finite differences and the trapezoidal rule: `diff`, `gradient`, `trapezoid`, `cumulative_trapezoid`.

All of them are made of slices, sums and products, whose derivatives they have.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from ...base.dtypes import bool_, get_default_dtype
from ...tape import readout
from ...tape import recording as record
from ..arguments import as_int, distinct, float_of, wrap_dim
from ..registry import declared
from ..shape.joining import cat
from ..shape.slicing import slice_dim
from ..signature import Tensor

__all__ = ["cumulative_trapezoid", "diff", "gradient", "trapezoid"]


def _part(x: Any, dim: int, start: int, end: int) -> Any:
    """The slice ``start:end`` along a dimension; `end` counts from the last element, which is 0."""
    length = x.shape[dim] + end - start
    return slice_dim(x, dim, start, max(length, 0))


# --------------------------------------------------------------------------- differences
@declared()
def diff(
    input: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """Differences of neighbours along a dimension.

    Parameters
    ----------
    input : Tensor
    n : int
        How often to take them.
    dim : int
    prepend, append : Tensor, optional
        Elements to put before and behind `input` first.

    Returns
    -------
    Tensor
        Shorter by `n` along `dim`. Of bools, whether neighbours differ.

    Raises
    ------
    RuntimeError
        For a number, a negative `n`, and tensors that cannot be joined to it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.diff(tg.tensor([1.0, 4.0, 9.0]))
    tensor([3., 5.])
    """
    others = [t for t in (prepend, append) if t is not None]
    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    order, d = as_int("diff", "n", 2, n), wrap_dim(dim, input.ndim)
    if order < 0:
        raise RuntimeError(f"order must be non-negative but got {order}")
    for t in others:
        _check_joined(input, t, d)
    if not order:
        return input.clone()
    if others:
        input = cat([t for t in (prepend, input, append) if t is not None], d)
    for _ in range(min(order, input.shape[d])):
        later, earlier = _part(input, d, 1, 0), _part(input, d, 0, -1)
        input = later.logical_xor(earlier) if input.dtype is bool_ else later - earlier
    return input


def _check_joined(input: Any, other: Any, dim: int) -> None:
    if other.ndim != input.ndim:
        raise RuntimeError("diff expects prepend or append to be the same dimension as input")
    for i, (a, b) in enumerate(zip(input.shape, other.shape, strict=True)):
        if a != b and i != dim:
            raise RuntimeError(
                "diff expects the shape of tensor to prepend or append to match that of input except "
                f"along the differencing dimension; input.size({i}) = {a}, but got tensor.size({i}) = {b}"
            )


# --------------------------------------------------------------------------- gradients of samples
@declared(
    "(*, Dims dim, int edge_order=1)", "(*, Number spacing, Dims dim, int edge_order=1)",
    "(*, Number? spacing=None, int? dim=None, int edge_order=1)",
    "(*, Scalars spacing, int? dim=None, int edge_order=1)",
    "(*, Scalars spacing, Dims dim, int edge_order=1)",
    "(*, Tensors spacing, int? dim=None, int edge_order=1)",
    "(*, Tensors spacing, Dims dim, int edge_order=1)", method=False,
)  # fmt: skip
def gradient(
    input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """Estimate the gradient of a function from its values on a grid, by central differences.

    Parameters
    ----------
    input : Tensor
        The values.
    spacing : number, or sequence of numbers or of Tensors
        How far neighbours are apart, along all dimensions or along each; or their coordinates along each,
        vectors that may be differentiated with respect to.
    dim : int or sequence of int, optional
        Along which dimensions; all if not given.
    edge_order : {1, 2}
        Order of the estimates at the first and last place.

    Returns
    -------
    tuple of Tensor
        One estimate a dimension, of the shape of `input`.

    Raises
    ------
    RuntimeError
        If there are too few values or not as many spacings as dimensions.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.gradient(tg.tensor([0.0, 1.0, 4.0, 9.0]))
    (tensor([1., 2., 4., 5.]),)
    """
    many = isinstance(spacing, tuple | list)
    steps = [_spacing(s) for s in spacing] if many else _spacing(spacing)
    dims, edge = _gradient_dims(dim, input.ndim), operator.index(edge_order)
    if edge not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    if not isinstance(steps, list):
        steps = [steps] * len(dims)
    elif len(steps) != len(dims):
        raise RuntimeError(_wrong_count(dim, input.ndim, len(dims), len(steps)))
    if any(input.shape[d] < edge + 1 for d in dims):
        raise RuntimeError(
            "torch.gradient expected each dimension size to be at least edge_order+1"
        )
    if not input.dtype.is_inexact and input.dtype is not bool_:
        input = record.cast(input, get_default_dtype())
    return tuple(
        [_gradient_along(input, d, step, edge) for d, step in zip(dims, steps, strict=True)]
    )


def _spacing(value: Any) -> Any:
    """A step as a number, or coordinates as a tensor; TypeError for others."""
    if record.is_tensor(value) and value.ndim:
        if value.ndim != 1:
            raise RuntimeError(
                "torch.gradient expected each element of spacing to have one dimension, but got an "
                f"element with {value.ndim} dimensions!"
            )
        return value
    return float_of("gradient", "spacing", 2, value)


def _gradient_dims(dim: Any, ndim: int) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(ndim))
    return distinct(dim, ndim) if isinstance(dim, tuple | list) else (wrap_dim(dim, ndim),)


def _wrong_count(dim: Any, ndim: int, expected: int, length: int) -> str:
    if dim is None:
        return (
            "torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to "
            f"'self.dim() = {ndim}', since dim argument was not given, but got a list of length {length}"
        )
    return (
        "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim arguments to "
        f"have the same length, but got a spacing argument of length {length} and a dim argument of length "
        f"{expected}."
    )


def _gradient_along(f: Any, d: int, spacing: Any, edge: int) -> Any:
    """The estimate along one dimension."""
    count = f.shape[d]
    if not record.is_tensor(spacing):
        inner = (_part(f, d, 2, 0) - _part(f, d, 0, -2)) / (2 * spacing)
        gaps = [spacing] * 4
    else:
        if spacing.shape[0] != count:
            raise RuntimeError(
                f"gradient(): there are {spacing.shape[0]} coordinates for the {count} places along "
                f"dimension {d}"
            )
        # Both in the wider dtype first: differences of the narrower would be rounded.
        kind = record.result_dtype((f, spacing))
        f, h = record.cast(f, kind), diff(record.cast(spacing, kind))
        inner = _uneven(f, d, h)
        gaps = [h[0], h[1], h[-2], h[-1]] if edge == 2 else [h[0], h[-1]]
    left = [slice_dim(f, d, i, 1) for i in range(edge + 1)]
    right = [slice_dim(f, d, count - 1 - i, 1) for i in range(edge + 1)]
    if edge == 1:
        first, last = (left[1] - left[0]) / gaps[0], (right[0] - right[1]) / gaps[-1]
    else:
        first, last = _edge(left, gaps[0], gaps[1]), -_edge(right, gaps[-1], gaps[-2])
    return cat([first, inner, last], d)


def _uneven(f: Any, d: int, h: Any) -> Any:
    """Estimates at all places but the first and last, whose neighbours are `h` apart."""
    shape = [1] * f.ndim
    shape[d] = h.shape[0] - 1
    before, behind = h[:-1].reshape(shape), h[1:].reshape(shape)
    slope = (_part(f, d, 1, -1) - _part(f, d, 0, -2)) / before
    next_slope = (_part(f, d, 2, 0) - _part(f, d, 1, -1)) / behind
    return (slope * behind + next_slope * before) / (before + behind)


def _edge(values: Sequence[Any], near: Any, far: Any) -> Any:
    """The estimate at the first of three values, of second order; `near` lies between the first two."""
    a, b, c = values
    slope, next_slope = (b - a) / near, (c - b) / far
    return slope - (next_slope - slope) * near / (near + far)


# --------------------------------------------------------------------------- integrals of samples
_TRAPEZOID_FORMS = ("(Tensor x, *, int dim=-1)", "(*, Number dx=1, int dim=-1)")


def _panels(name: str, y: Any, x: Any, dx: Any, dim: Any) -> tuple[Any, int]:
    """The areas between neighbours, and the dimension that they lie along."""
    if y.dtype is bool_ or (x is not None and x.dtype is bool_):
        which = "y" if y.dtype is bool_ else "x"
        raise RuntimeError(
            f"{name}: received a bool input for `{which}`, but bool is not supported"
        )
    if not y.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    d = wrap_dim(dim, y.ndim)
    pairs = _part(y, d, 0, -1) + _part(y, d, 1, 0)
    if x is None:
        step = readout.option(1.0 if dx is None else dx, f"{name}(dx=...)")
        if isinstance(step, bool):
            raise RuntimeError(f"{name}: Currently, we only support dx as a real number.")
        return pairs * (step / 2), d
    if x.ndim > y.ndim:
        raise RuntimeError(f"{name}: `x` has more dimensions than `y`")
    if x.ndim == 1:
        if x.shape[0] != y.shape[d]:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
        widths = diff(x).reshape([-1 if i == d else 1 for i in range(y.ndim)])
    else:  # its dimensions are the last ones
        widths = diff(x.reshape((*(1,) * (y.ndim - x.ndim), *x.shape)), dim=d)
    return pairs * widths / 2, d


@declared(*_TRAPEZOID_FORMS, method=False, aliases=("trapz",))
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """Integrate along a dimension by the trapezoidal rule.

    Parameters
    ----------
    y : Tensor
        Values.
    x : Tensor, optional
        Where they were taken: a vector, or of the shape of `y`.
    dx : number, optional
        How far the places are apart, if there is no `x`; 1 if not given.
    dim : int

    Raises
    ------
    RuntimeError
        If there is not one place for each value.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.trapezoid(tg.tensor([0.0, 1.0, 4.0]), tg.tensor([0.0, 1.0, 2.0]))
    tensor(3.)
    """
    panels, d = _panels("trapezoid", y, x, dx, dim)
    return panels.sum(d - y.ndim)


@declared(*_TRAPEZOID_FORMS, method=False)
def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1
) -> Tensor:
    """Integrate along a dimension up to each place but the first; arguments as for `trapezoid`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cumulative_trapezoid(tg.tensor([0.0, 1.0, 4.0]))
    tensor([0.5000, 3.0000])
    """
    panels, d = _panels("cumulative_trapezoid", y, x, dx, dim)
    return panels.cumsum(d - y.ndim)
