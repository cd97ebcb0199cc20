"""Positions of extremes, and taking values by position.

What PyTorch returns as ``(values, indices)`` is two statements: one finds the indices (int64,
without a derivative), the other takes the values from there (`pick`), and its derivative puts
cotangents there (`place`). So indices are computed once, and derivatives of any order are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ..base.dtypes import int64
from ..native.ufunc_loops import native_kernel_address, native_kernels
from ..native.words import SIZE, element, p64
from .layout import Layout, contiguous
from .norms import highest, lowest
from .program import POOL, SCRATCH, Operand, Step, arg, padded, zero_step
from .reduction import Reduction
from .table import Lowered, Op, copy_loop, op, out_operand

__all__: list[str] = []


# --------------------------------------------------------------------------- positions of extremes
# `position` holds -1 - (elements seen) until the value is met, then its position. Elements come in
# order.
# Along the inner loop blocks of 64 are searched; across it, whole rows are compared at once.


@native_kernels("f64", "f32", "i64", "bool", "i32", "i16", "i8", "u8")
def find(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Position where a value (or NaN) is first met."""
    a, b, c, s = p64(args)[0], p64(args)[1], p64(args)[2], p64(strides)
    n = p64(dims)[0]
    if s[2] == 0 and s[0] == SIZE:
        x, value, position = element(a), element(b)[0], p64(c)
        seen = position[0]
        i = n if seen >= 0 else 0
        while i < n:
            hits = 0
            for j in range(i, min(i + 64, n)):
                hits |= (x[j] == value) | ((x[j] != x[j]) & (value != value))
            if hits:
                while not ((x[i] == value) | ((x[i] != x[i]) & (value != value))):
                    i += 1
                position[0] = i - 1 - seen
                break
            i += 64
        if i >= n and seen < 0:
            position[0] = seen - n
    elif s[0] == SIZE and s[1] == SIZE and s[2] == 8:
        x, y, position = element(a), element(b), p64(c)
        for i in range(n):
            seen = position[i]
            met = (x[i] == y[i]) | ((x[i] != x[i]) & (y[i] != y[i]))
            other = -1 - seen if met else seen - 1
            position[i] = other if seen < 0 else seen
    else:
        for i in range(n):
            here, value = element(a + i * s[0])[0], element(b + i * s[1])[0]
            position = p64(c + i * s[2])
            if position[0] < 0:
                met = (here == value) | ((here != here) & (value != value))
                position[0] = -1 - position[0] if met else position[0] - 1


def lower_arg(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], *, largest: bool
) -> Lowered:
    """Position of the first extreme along a dimension, or of the flattened operand."""
    (x,) = layouts
    source, scratch, steps = arg(0, x.strides), 0, []
    if len(attrs.get("dim", x.shape)) != 1 and not x.is_contiguous:
        # loops go by strides, positions by C order
        dense = contiguous(x.dtype, x.shape)
        copied = Operand(SCRATCH, 0, dense.strides)
        steps.append(Step(copy_loop(x.dtype), x.shape, (source, copied)))
        source, scratch = copied, padded(dense.span)
    r = Reduction(x.shape, attrs)
    out = r.result(int64)
    place, extreme = out_operand(1, out), Operand(SCRATCH, scratch, ())
    ufunc = np.maximum if largest else np.minimum
    identity = lowest(x.dtype) if largest else highest(x.dtype)
    kernel = native_kernel_address("find", x.dtype), 0
    operands = (source, r.spread(extreme, x.dtype), r.spread(place, int64))
    steps += [
        *r.fold(ufunc, source, extreme, x.dtype, identity),
        r.fill(place, int64, -1),
        Step(kernel, x.shape, operands),
    ]
    return Lowered((out,), tuple(steps), scratch + r.size * x.dtype.itemsize)


op("argmax", lower=partial(lower_arg, largest=True))
op("argmin", lower=partial(lower_arg, largest=False))


# --------------------------------------------------------------------------- take and put
@native_kernels("16", "8", "4", "2", "1")
def take(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Copy the element at a position; `data` holds the stride."""
    a, b, c, s = p64(args)[0], p64(args)[1], p64(args)[2], p64(strides)
    step = p64(data)[0]
    for i in range(p64(dims)[0]):
        element(c + i * s[2])[0] = element(a + i * s[0] + step * p64(b + i * s[1])[0])[0]


@native_kernels("16", "8", "4")
def put(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Write an element at a position; `data` holds the stride."""
    a, b, c, s = p64(args)[0], p64(args)[1], p64(args)[2], p64(strides)
    step = p64(data)[0]
    for i in range(p64(dims)[0]):
        element(c + i * s[2] + step * p64(b + i * s[1])[0])[0] = element(a + i * s[0])[0]


def _rest(strides: Sequence[int], dim: int, keepdim: bool) -> tuple[int, ...]:
    """Strides over the shape of the indices: none along `dim`, where positions count."""
    middle = (0,) if keepdim else ()
    return (*strides[:dim], *middle, *strides[dim + 1 :])


def lower_take(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (x, indices): the values at distinct positions along `dim`."""
    x, index = layouts
    out = contiguous(x.dtype, index.shape)
    source, stride = arg(0, ()), 0
    if x.ndim:
        stride = x.strides[attrs["dim"]]
        source = arg(0, _rest(x.strides, attrs["dim"], attrs["keepdim"]))
    kernel = native_kernel_address(f"take_{x.dtype.itemsize}"), POOL.put([stride])
    operands = (source, arg(1, index.strides), out_operand(2, out))
    return Lowered((out,), (Step(kernel, index.shape, operands),))


def lower_put(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (ct, indices): zeros of shape `shape` with values at positions along `dim`."""
    ct, index = layouts
    out = contiguous(ct.dtype, attrs["shape"])
    whole, stride = out_operand(2, out), 0
    target = whole
    if out.ndim:
        stride = out.strides[attrs["dim"]]
        target = whole._replace(strides=_rest(out.strides, attrs["dim"], attrs["keepdim"]))
    kernel = native_kernel_address(f"put_{ct.dtype.itemsize}"), POOL.put([stride])
    operands = (arg(0, ct.strides), arg(1, index.strides), target)
    return Lowered((out,), (zero_step(whole, out.span), Step(kernel, index.shape, operands)))


def take_vjp(ct: Any, x: Any, index: Any, out: Any, dim: int, keepdim: bool) -> tuple[Any, None]:
    """Cotangents go where the values came from."""
    return ct._apply("place", index, shape=tuple(x.shape), dim=dim, keepdim=keepdim), None


for _name, _grad_fn, _torch in (
    ("pick_max", "MaxBackward0", "max"),
    ("pick_min", "MinBackward0", "min"),
    ("pick_median", "MedianBackward1", "median"),
    ("pick_nanmedian", "NanmedianBackward1", None),
    ("pick_sort", "SortBackward0", "sort"),
    ("pick_stable_sort", "SortBackward1", None),
    ("pick_topk", "TopkBackward0", "topk"),
    ("pick", "GatherBackward0", None),
):
    op(_name, lower=lower_take, grad_fn=_grad_fn, arity=2, torch=_torch, vjp=take_vjp)
op(
    "place",
    of_complex="plain",
    lower=lower_put,
    grad_fn="ValueSelectingReductionBackward0",
    arity=2,
    torch=None,
    vjp=lambda u, ct, index, out, shape, dim, keepdim: (
        u._apply("pick", index, dim=dim, keepdim=keepdim),
        None,
    ),
)
