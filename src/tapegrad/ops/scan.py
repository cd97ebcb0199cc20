"""Scans: cumulative sums and products along one dimension, and the recurrence behind them.

A scan is the inner loop of a binary ufunc whose first operand is its own output one place back, as
NumPy's ``accumulate`` runs it. Backward scans (`reverse`) run over negative strides.

Derivatives of products need no division: they are linear recurrences ``s[i] = a[i] + b[i] s[i-1]``
(`recur`), which are closed under differentiation together with `shift`. So they are right with
zeros, to every order.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..native.ufunc_loops import native_kernel_address, native_kernels, ufunc_loop
from ..native.words import element, p64
from .layout import Layout, contiguous
from .program import Operand, Step, address_operand, arg, constant
from .table import Lowered, Op, copy_loop, op, out_operand

__all__: list[str] = []


class _ScannedAxis:
    """The places of a walk along one dimension, from either end; a number is a walk of length 1."""

    def __init__(self, shape: tuple[int, ...], dim: int, reverse: bool) -> None:
        self.shape, self.dim, self.reverse = tuple(shape) or (1,), dim, reverse
        self.length = self.shape[dim]
        self.first_shape = self._with(min(self.length, 1))
        self.rest_shape = self._with(max(self.length - 1, 0))

    def _with(self, length: int) -> tuple[int, ...]:
        return (*self.shape[: self.dim], length, *self.shape[self.dim + 1 :])

    def _from(self, whole: Operand, start: int) -> Operand:
        strides = list(whole.strides or (0,))
        stride = strides[self.dim]
        offset = whole.offset + start * stride
        if self.reverse:
            offset = whole.offset + (self.length - 1 - start) * stride
            strides[self.dim] = -stride
        return whole._replace(offset=offset, strides=tuple(strides))

    def first(self, whole: Operand) -> Operand:
        """Return the first place; also the places before those of `rest`, over their shape."""
        return self._from(whole, 0)

    def rest(self, whole: Operand) -> Operand:
        """Return the places behind the first."""
        return self._from(whole, 1)


def lower_scan(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], *, ufunc: np.ufunc
) -> Lowered:
    """Combine each element with the result before it."""
    (x,) = layouts
    walk = _ScannedAxis(x.shape, attrs["dim"], attrs["reverse"])
    out = contiguous(x.dtype, x.shape)
    source, place = arg(0, x.strides), out_operand(1, out)
    loop = ufunc_loop(ufunc, (x.dtype,) * 3)
    operands = (walk.first(place), walk.rest(source), walk.rest(place))
    steps = (
        Step(copy_loop(x.dtype), walk.first_shape, (walk.first(source), walk.first(place))),
        Step(loop, walk.rest_shape, operands),
    )
    return Lowered((out,), steps)


@native_kernels("f64", "f32", name="recur")
def recurrence(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Compute ``a + b * before``; `before` may be the output, one place back."""
    a, b, c, d, s = p64(args)[0], p64(args)[1], p64(args)[2], p64(args)[3], p64(strides)
    for i in range(p64(dims)[0]):
        before = element(c + i * s[2])[0]
        element(d + i * s[3])[0] = element(a + i * s[0])[0] + element(b + i * s[1])[0] * before


@native_kernels("c128", "c64", name="recur")
def recurrence_of_parts(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Do the same for complex numbers."""
    a, b, c, d, s = p64(args)[0], p64(args)[1], p64(args)[2], p64(args)[3], p64(strides)
    for i in range(p64(dims)[0]):
        x, y = element(a + i * s[0]), element(b + i * s[1])
        before, place = element(c + i * s[2]), element(d + i * s[3])
        real, imag = before[0], before[1]
        place[0] = x[0] + (y[0] * real - y[1] * imag)
        place[1] = x[1] + (y[0] * imag + y[1] * real)


def lower_recur(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """``s[0] = a[0]``, ``s[i] = a[i] + b[i] s[i-1]``."""
    a, b = layouts
    walk = _ScannedAxis(a.shape, attrs["dim"], attrs["reverse"])
    out = contiguous(a.dtype, a.shape)
    first, second, place = arg(0, a.strides), arg(1, b.strides), out_operand(2, out)
    kernel = native_kernel_address("recur", a.dtype), 0
    operands = (walk.rest(first), walk.rest(second), walk.first(place), walk.rest(place))
    steps = (
        Step(copy_loop(a.dtype), walk.first_shape, (walk.first(first), walk.first(place))),
        Step(kernel, walk.rest_shape, operands),
    )
    return Lowered((out,), steps)


def recur(a: Any, b: Any, dim: int, reverse: bool) -> Any:
    """``s[i] = a[i] + b[i] s[i-1]``, for derivatives."""
    return a._apply("recur", b, dim=dim, reverse=reverse)


def shift(x: Any, dim: int, reverse: bool, fill: float) -> Any:
    """Each element one place on, for derivatives."""
    return x._apply("shift", dim=dim, reverse=reverse, fill=fill)


def recur_vjp(ct: Any, a: Any, b: Any, out: Any, dim: int, reverse: bool) -> tuple[Any, Any]:
    """Run the recurrence back: ``l[i] = ct[i] + b[i+1] l[i+1]``."""
    back = recur(ct, shift(b, dim, not reverse, 0.0), dim, not reverse)
    return back, back * shift(out, dim, reverse, 0.0)


def lower_shift(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Move every element one place on; the first place becomes `fill`."""
    (x,) = layouts
    walk = _ScannedAxis(x.shape, attrs["dim"], attrs["reverse"])
    out = contiguous(x.dtype, x.shape)
    source, place = arg(0, x.strides), out_operand(1, out)
    fill = address_operand(constant(attrs["fill"], x.dtype.np), len(walk.shape))
    copy = copy_loop(x.dtype)
    steps = (
        Step(copy, walk.first_shape, (fill, walk.first(place))),
        Step(copy, walk.rest_shape, (walk.first(source), walk.rest(place))),
    )
    return Lowered((out,), steps)


op("recur", of_complex="holomorphic", lower=lower_recur, arity=2, torch=None, vjp=recur_vjp)
op(
    "shift",
    of_complex="plain",
    lower=lower_shift,
    torch=None,
    vjp=lambda ct, x, out, dim, reverse, fill: shift(ct, dim, not reverse, 0.0),
)
op(
    "cumsum",
    of_complex="plain",
    lower=partial(lower_scan, ufunc=np.add),
    in_place=True,
    vjp=lambda ct, x, out, dim, reverse: ct._apply("cumsum", dim=dim, reverse=not reverse),
)


op("running_max", lower=partial(lower_scan, ufunc=np.maximum), torch=None)
op("running_min", lower=partial(lower_scan, ufunc=np.minimum), torch=None)


def cumprod_vjp(ct: Any, x: Any, out: Any, dim: int, reverse: bool) -> Any:
    """Multiply the product before a place by the sum of what comes behind it."""
    behind = recur(ct, shift(x, dim, not reverse, 0.0), dim, not reverse)
    return shift(out, dim, reverse, 1.0) * behind


def logcumsumexp_vjp(ct: Any, x: Any, out: Any, dim: int, reverse: bool) -> Any:
    """Sum ``ct[i] exp(x[j] - out[i])``, by ratios that never exceed 1."""
    ratio = (out - shift(out, dim, not reverse, float("inf"))).exp()
    return (x - out).exp() * recur(ct, ratio, dim, not reverse)


op(
    "cumprod",
    of_complex="holomorphic",
    lower=partial(lower_scan, ufunc=np.multiply),
    in_place=True,
    vjp=cumprod_vjp,
)
op(
    "logcumsumexp",
    lower=partial(lower_scan, ufunc=np.logaddexp),
    vjp=logcumsumexp_vjp,
)
