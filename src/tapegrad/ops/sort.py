"""Sorting: ``argsort``, the positions behind ``topk``, and the median's.

Values are mapped to int64 keys that order alike (NaN last, -0 and 0 equal); keys and positions are
merge-sorted, which is stable. Values are taken from positions by ordering.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..base.dtypes import int64
from ..native.ufunc_loops import native_kernel, native_kernel_address, native_kernels
from ..native.words import SIZE, bits, element, p64
from .layout import Layout, contiguous
from .norms import even_vjp
from .program import POOL, SCRATCH, Operand, Step, arg, padded
from .reduction import reduced_shape
from .table import Lowered, Op, copy_loop, op, out_operand

__all__: list[str] = []


@native_kernels("f64", "f32", name="sort_key")
def float_key(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Write an integer that orders as the number does; `data` holds a mask that reverses that."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    mask, last = p64(data)[0], 0x7FFFFFFFFFFFFFFF
    for i in range(p64(dims)[0]):
        x, key = element(a + i * s[0])[0], int(bits(a + i * s[0])[0])
        key = key ^ ((key >> 63) & (last >> (64 - 8 * SIZE))) if x != 0.0 else 0
        p64(b + i * s[1])[0] = (key if x == x else last) ^ mask


@native_kernels("i64", "bool", "i32", "i16", "i8", "u8", name="sort_key")
def whole_key(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Write the number itself; `data` holds a mask that reverses the order."""
    a, b, s = p64(args)[0], p64(args)[1], p64(strides)
    mask = p64(data)[0]
    for i in range(p64(dims)[0]):
        p64(b + i * s[1])[0] = np.int64(element(a + i * s[0])[0]) ^ mask


@native_kernel
def sort_keys(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Merge-sort rows of keys with their positions; work is 3 rows: positions, keys, positions.

    Core dimension (n) of keys and work; both are left sorted.
    """
    n = p64(dims)[1]
    s = p64(strides)
    for row in range(p64(dims)[0]):
        first = p64(args)[0] + row * s[0]
        k, p = p64(first), p64(p64(args)[1] + row * s[1])
        for low in range(0, n, 16):  # short runs by insertion
            for i in range(low, min(low + 16, n)):
                key = k[i]
                j = i
                while j > low and k[j - 1] > key:
                    k[j] = k[j - 1]
                    p[j] = p[j - 1]
                    j -= 1
                k[j] = key
                p[j] = i
        work = p64(args)[1] + row * s[1]
        from_k, from_p, to_k, to_p = first, work, work + 8 * n, work + 16 * n
        width = 16
        while width < n:
            a, q, b, r = p64(from_k), p64(from_p), p64(to_k), p64(to_p)
            for low in range(0, n, 2 * width):
                middle = min(low + width, n)
                high = min(low + 2 * width, n)
                i, j = low, middle
                for t in range(low, high):
                    if j >= high or (i < middle and a[i] <= a[j]):
                        b[t] = a[i]
                        r[t] = q[i]
                        i += 1
                    else:
                        b[t] = a[j]
                        r[t] = q[j]
                        j += 1
            from_k, from_p, to_k, to_p = to_k, to_p, from_k, from_p
            width *= 2
        if from_k != first:
            a, q = p64(from_k), p64(from_p)
            for i in range(n):
                k[i] = a[i]
                p[i] = q[i]


@native_kernel
def middle_position(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Position of the lower median of a sorted row, or of the first NaN if `data` allows it.

    Core dimension (n) of keys and positions.
    """
    n = p64(dims)[1]
    s = p64(strides)
    for row in range(p64(dims)[0]):
        k, p = p64(p64(args)[0] + row * s[0]), p64(p64(args)[1] + row * s[1])
        at = (n - 1) // 2
        if p64(data)[0] != 0 and k[n - 1] == 0x7FFFFFFFFFFFFFFF:
            at = n - 1
            while at > 0 and k[at - 1] == 0x7FFFFFFFFFFFFFFF:
                at -= 1
        p64(p64(args)[2] + row * s[2])[0] = p[at]


class _Sorting:
    """Steps that sort along a dimension into scratch memory: rows of keys, then of positions."""

    def __init__(self, x: Layout, dim: int | None, descending: bool) -> None:
        if dim is None or not x.ndim:  # everything is one row
            self.n, self.rest, shape, strides = x.size, tuple[int, ...](), tuple(x.shape), x.strides
        else:
            self.rest = (*x.shape[:dim], *x.shape[dim + 1 :])
            self.n = x.shape[dim]
            shape = (*self.rest, self.n)
            strides = (*x.strides[:dim], *x.strides[dim + 1 :], x.strides[dim])
        rows = math.prod(self.rest)
        dense = contiguous(int64, (*self.rest, self.n))
        mask = POOL.put([-1 if descending else 0])
        kernel = native_kernel_address("sort_key", x.dtype), mask
        keys = Operand(SCRATCH, 0, contiguous(int64, shape).strides)
        self.keys = keys._replace(strides=dense.strides[:-1])
        work = padded(dense.span)
        self.positions = Operand(SCRATCH, work, tuple(3 * t for t in dense.strides[:-1]))
        self.scratch = work + 3 * 8 * rows * self.n
        self.steps: list[Step] = []
        if rows and self.n:
            self.steps = [
                Step(kernel, shape, (arg(0, strides), keys)),
                Step(
                    (native_kernel_address("sort_keys"), 0),
                    self.rest,
                    (self.keys, self.positions),
                    core=(self.n,),
                    core_strides=(8, 8),
                ),
            ]


def lower_argsort(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Positions that sort; the first `k` of them, if `k` is given."""
    (x,) = layouts
    dim = attrs["dim"]
    sorting = _Sorting(x, dim, attrs["descending"])
    k = attrs.get("k", sorting.n)
    shape = (*x.shape[:dim], k, *x.shape[dim + 1 :]) if x.shape else ()
    out = contiguous(int64, shape)
    strides = out.strides or (0,)
    target = out_operand(1, out)._replace(
        strides=(*strides[:dim], *strides[dim + 1 :], strides[dim])
    )
    positions = sorting.positions._replace(strides=(*sorting.positions.strides, 8))
    copy = Step(copy_loop(int64), (*sorting.rest, k), (positions, target))
    return Lowered((out,), (*sorting.steps, copy), sorting.scratch)


def lower_median(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Position of the lower median along a dimension, or of the flattened operand."""
    (x,) = layouts
    dim = attrs.get("dim")
    sorting = _Sorting(x, dim, False)
    dims = tuple(range(x.ndim)) if dim is None or not x.ndim else (dim,)
    out = contiguous(int64, reduced_shape(x.shape, dims, attrs.get("keepdim", False)))
    flat = contiguous(int64, sorting.rest)
    nan = POOL.put([int(x.dtype.is_floating_point)])
    pick = Step(
        (native_kernel_address("middle_position"), nan),
        sorting.rest,
        (sorting.keys, sorting.positions, out_operand(1, flat)),
        core=(sorting.n,),
        core_strides=(8, 8),
    )
    return Lowered((out,), (*sorting.steps, pick) if sorting.n else (), sorting.scratch)


op("argsort", lower=lower_argsort)
op("argtopk", lower=lower_argsort, torch=None)
op("argmedian", lower=lower_median, torch=None)


def lower_median_all(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (x, index): the element at a position of the flattened operand."""
    x, _ = layouts
    dense = contiguous(x.dtype, x.shape)
    steps, source, scratch = [], arg(0, ()), 0
    if not x.is_contiguous:
        copied = Operand(SCRATCH, 0, dense.strides)
        steps = [Step(copy_loop(x.dtype), x.shape, (arg(0, x.strides), copied))]
        source, scratch = copied._replace(strides=()), dense.span
    stride = POOL.put([x.dtype.itemsize])
    kernel = native_kernel_address(f"take_{x.dtype.itemsize}"), stride
    out = contiguous(x.dtype, ())
    steps.append(Step(kernel, (), (source, arg(1, ()), out_operand(2, out))))
    return Lowered((out,), tuple(steps), scratch)


for _name, _grad_fn, _torch in (
    ("median_all", "MedianBackward0", "median"),
    ("nanmedian_all", "NanmedianBackward0", None),
):
    op(
        _name,
        lower=lower_median_all,
        grad_fn=_grad_fn,
        arity=2,
        torch=_torch,
        vjp=lambda ct, x, index, out: (even_vjp(ct, x, out), None),
    )
