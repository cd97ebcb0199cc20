"""Reductions: sums, means, products, logic and counting; extremes and norms are in norms.py.

A reduction is the inner loop of a binary ufunc with the result as first operand and as output, and
strides of 0 along the reduced dimensions: NumPy's own reductions run so, with pairwise summation
where the inner loop is a reduced dimension. The result is set to the identity first. Where elements
are transformed before they are reduced (a variance, a norm), both happen tile by tile in one chain.

Attributes are normalised by functions/maths/reduction.py: `dim` is a sorted tuple of non-negative ints,
`keepdim` a bool. Where PyTorch names a full reduction otherwise than one along dimensions, there
are two rows, the full one called ``..._all``, without attributes.

Start reading at `Reduction`, then at the rows below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..base.dtypes import bool_, dtype, int64
from ..native.ufunc_loops import fastest_loop, native_kernel_address, native_kernels, ufunc_loop
from ..native.words import element, number, p64
from .layout import Layout, contiguous
from .program import (
    ChainNode,
    Operand,
    Step,
    address_operand,
    arg,
    chain_scratch,
    chain_step,
    constant,
    zero_step,
)
from .table import Lowered, Op, copy_loop, op, out_operand

__all__ = ["Reduction", "kept", "reduced_shape"]


# --------------------------------------------------------------------------- shapes
def reduced_shape(shape: Sequence[int], dim: Sequence[int], keepdim: bool) -> tuple[int, ...]:
    """Shape of a reduction over `dim`."""
    if keepdim:
        return tuple(1 if i in dim else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in dim)


def kept(value: Any, shape: Sequence[int], dim: Sequence[int], keepdim: bool) -> Any:
    """Return a reduced tensor with the dimensions that it lost, as ones."""
    if keepdim or not shape:
        return value
    return value.reshape(reduced_shape(shape, dim, True))


class Reduction:
    """The geometry of one reduction, and steps over it.

    Parameters
    ----------
    shape : tuple of int
        What is reduced.
    attrs : dict
        ``dim`` and ``keepdim``; everything is reduced if there is no ``dim``.

    Attributes
    ----------
    shape, dim, out_shape : tuple of int
    size : int
        Number of results.
    count : int
        Number of elements that make a result.
    """

    def __init__(self, shape: tuple[int, ...], attrs: dict[str, Any]) -> None:
        self.shape = tuple(shape)
        self.dim: tuple[int, ...] = attrs.get("dim", tuple(range(len(shape))))
        self.out_shape = reduced_shape(shape, self.dim, attrs.get("keepdim", False))
        self.size = math.prod(self.out_shape)
        self.count = math.prod(shape[i] for i in self.dim)

    def spread(self, place: Operand, kind: dtype) -> Operand:
        """Return a contiguous reduced value as an operand over the whole shape."""
        strides = contiguous(kind, reduced_shape(self.shape, self.dim, True)).strides
        return place._replace(
            strides=tuple(0 if i in self.dim else s for i, s in enumerate(strides))
        )

    def fill(self, place: Operand, kind: dtype, value: float) -> Step:
        """Set a reduced value to `value` everywhere."""
        if value == 0:
            return zero_step(place, self.size * kind.itemsize)
        source = address_operand(constant(value, kind.np), 1)
        return Step(copy_loop(kind), (self.size,), (source, self._flat(place, kind)))

    def fold(
        self, ufunc: np.ufunc, x: Operand, place: Operand, kind: dtype, identity: float
    ) -> list[Step]:
        """Reduce `x` with a binary ufunc into `place`."""
        out = self.spread(place, kind)
        loop = ufunc_loop(ufunc, (kind,) * 3)
        return [self.fill(place, kind, identity), Step(loop, self.shape, (out, x, out))]

    def fold_chain(
        self,
        nodes: Sequence[ChainNode],
        sources: Sequence[Operand],
        ufunc: np.ufunc,
        place: Operand,
        kind: dtype,
        identity: float,
        scratch: int,
    ) -> list[Step]:
        """Reduce what a chain over `sources` computes; its temporaries begin at `scratch`."""
        out = self.spread(place, kind)
        loop = ufunc_loop(ufunc, (kind,) * 3)
        last = ChainNode(loop, (len(sources), -len(nodes)), kind.itemsize)
        step = chain_step(self.shape, [*nodes, last], [*sources, out, out], scratch)
        return [self.fill(place, kind, identity), step]

    def update(
        self, ufunc: np.ufunc, place: Operand, kind: dtype, value: float | None = None
    ) -> Step:
        """Apply a unary ufunc, or a binary one with a constant, to a reduced value in place."""
        flat = self._flat(place, kind)
        if value is None:
            return Step(fastest_loop(ufunc, (kind,) * 2), (self.size,), (flat, flat))
        other = address_operand(constant(value, kind.np), 1)
        return Step(ufunc_loop(ufunc, (kind,) * 3), (self.size,), (flat, other, flat))

    def result(self, kind: dtype) -> Layout:
        """Layout of the result."""
        return contiguous(kind, self.out_shape)

    @staticmethod
    def _flat(place: Operand, kind: dtype) -> Operand:
        return place._replace(strides=(kind.itemsize,))


# --------------------------------------------------------------------------- sums, means, products
def lower_fold(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], *, ufunc: np.ufunc,
    identity: float | Callable[[dtype], float], mean: bool = False,
) -> Lowered:  # fmt: skip
    """Fold all elements with a ufunc; divide by their number for a `mean`."""
    (x,) = layouts
    r = Reduction(x.shape, attrs)
    out = r.result(x.dtype)
    place = out_operand(1, out)
    start = identity(x.dtype) if callable(identity) else identity
    steps = r.fold(ufunc, arg(0, x.strides), place, x.dtype, start)
    if mean:
        steps.append(r.update(np.true_divide, place, x.dtype, r.count))
    return Lowered((out,), tuple(steps))


lower_sum = partial(lower_fold, ufunc=np.add, identity=0)
lower_mean = partial(lower_fold, ufunc=np.add, identity=0, mean=True)
lower_prod = partial(lower_fold, ufunc=np.multiply, identity=1)


def mean_vjp(ct: Any, x: Any, out: Any, **attrs: Any) -> Any:
    """Every element has an equal share."""
    r = Reduction(x.shape, attrs)
    return kept(ct / r.count, x.shape, r.dim, attrs.get("keepdim", False))


op(
    "sum_all",
    of_complex="plain",
    lower=lower_sum,
    grad_fn="SumBackward0",
    torch="sum",
    function="sum",
    sized=True,
    vjp=lambda ct, x, out: kept(ct, x.shape, range(len(x.shape)), False),
)
op(
    "sum",
    of_complex="plain",
    lower=lower_sum,
    grad_fn="SumBackward1",
    vjp=lambda ct, x, out, dim, keepdim: kept(ct, x.shape, dim, keepdim),
)
op(
    "mean_all",
    of_complex="plain",
    lower=lower_mean,
    grad_fn="MeanBackward0",
    torch="mean",
    vjp=mean_vjp,
    function="mean",
)
op(
    "mean",
    of_complex="plain",
    lower=lower_mean,
    grad_fn="MeanBackward1",
    vjp=mean_vjp,
)


def prod_vjp(ct: Any, x: Any, out: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
    """Multiply all others, by the products before and behind: right with zeros."""
    if not dim:
        return ct
    (axis,) = dim
    before, behind = (
        x._apply("cumprod", dim=axis, reverse=back)._apply(
            "shift", dim=axis, reverse=back, fill=1.0
        )
        for back in (False, True)
    )
    return kept(ct, x.shape, dim, keepdim) * before * behind


def prod_all_vjp(ct: Any, x: Any, out: Any) -> Any:
    """Do the same along the one dimension of the flattened operand."""
    if not x.shape:
        return ct
    return prod_vjp(ct, x.reshape((-1,)), out, (0,), False).reshape(x.shape)


op(
    "prod_all",
    of_complex="holomorphic",
    lower=lower_prod,
    grad_fn="ProdBackward0",
    torch="prod",
    vjp=prod_all_vjp,
)
op("prod", of_complex="holomorphic", lower=lower_prod, grad_fn="ProdBackward1", vjp=prod_vjp)


@native_kernels("f64", "f32")
def nan_to_zero(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """0 for NaN."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    for i in range(p64(dims)[0]):
        x = element(a + i * s[0])[0]
        element(b + i * s[1])[0] = x if x == x else number(0)


def lower_nansum(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Sum that counts NaN as 0."""
    (x,) = layouts
    r = Reduction(x.shape, attrs)
    out = r.result(x.dtype)
    kernel = native_kernel_address("nan_to_zero", x.dtype), 0
    nodes = [ChainNode(kernel, (0,), x.dtype.itemsize)]
    place = out_operand(1, out)
    steps = r.fold_chain(nodes, [arg(0, x.strides)], np.add, place, x.dtype, 0, 0)
    return Lowered((out,), tuple(steps), chain_scratch([*nodes, nodes[0]]))


op(
    "nansum",
    lower=lower_nansum,
    vjp=lambda ct, x, out, dim, keepdim: (
        kept(ct, x.shape, dim, keepdim) * x._apply("tied", x, nan=False)
    ),
)


# --------------------------------------------------------------------------- logic, counting, trace
def lower_logic(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], *, ufunc: np.ufunc,
    identity: int, kind: dtype = bool_,
) -> Lowered:  # fmt: skip
    """Fold truth values, as `kind`: whether all, or any, elements are not zero; or how many."""
    (x,) = layouts
    r = Reduction(x.shape, attrs)
    out = r.result(kind)
    place, source = out_operand(1, out), arg(0, x.strides)
    nodes: list[ChainNode] = []
    if x.dtype is not bool_:
        kernel = native_kernel_address("cast", x.dtype, bool_), 0
        nodes.append(ChainNode(kernel, (0,), 1))
    if kind is int64:
        kernel = native_kernel_address("cast", bool_, int64), 0
        nodes.append(ChainNode(kernel, (-1 if nodes else 0,), 8))
    if not nodes:
        return Lowered((out,), tuple(r.fold(ufunc, source, place, kind, identity)))
    steps = r.fold_chain(nodes, [source], ufunc, place, kind, identity, 0)
    return Lowered((out,), tuple(steps), chain_scratch([*nodes, nodes[0]]))


op("all", of_complex="plain", lower=partial(lower_logic, ufunc=np.logical_and, identity=1))
op("any", of_complex="plain", lower=partial(lower_logic, ufunc=np.logical_or, identity=0))
op(
    "count_nonzero",
    of_complex="plain",
    lower=partial(lower_logic, ufunc=np.add, identity=0, kind=int64),
)


def lower_trace(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Sum of a matrix's diagonal."""
    (x,) = layouts
    diagonal = arg(0, (x.strides[0] + x.strides[1],))
    r = Reduction((min(x.shape),), {})
    out = r.result(x.dtype)
    return Lowered((out,), tuple(r.fold(np.add, diagonal, out_operand(1, out), x.dtype, 0)))


def trace_vjp(ct: Any, x: Any, out: Any) -> Any:
    """Put the cotangent on the diagonal."""
    diagonal = ct.expand((min(x.shape),))
    return diagonal._apply("diag_embed", shape=tuple(x.shape), offset=0, dim1=0, dim2=1)


op("trace", of_complex="plain", lower=lower_trace, vjp=trace_vjp)
