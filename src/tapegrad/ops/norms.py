"""Extremes, variances, norms and distances: reductions that transform elements first, or choose.

Subgradients are PyTorch's: elements that tie have equal shares, and a norm's gradient is 0 at 0.
Two elementwise ops serve these derivatives: `tied` (1 where two values are equal) and
`divide_or_zero`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from ..base.dtypes import bool_, dtype
from ..native.ufunc_loops import native_kernel_address, native_kernels, ufunc_loop
from ..native.words import element, number, p64
from .layout import Layout, broadcast_shapes, broadcast_strides, contiguous
from .program import (
    SCRATCH,
    ChainNode,
    Operand,
    Step,
    address_operand,
    arg,
    chain_scratch,
    constant,
    padded,
)
from .reduction import Reduction, kept, lower_fold, lower_mean, mean_vjp
from .table import Lowered, Op, op, out_operand

__all__ = ["highest", "lowest"]


# --------------------------------------------------------------------------- extremes
def lowest(kind: dtype) -> float:
    """Return the identity of ``maximum``."""
    if kind.is_floating_point:
        return -math.inf
    return 0 if kind is bool_ else int(np.iinfo(kind.np).min)


def highest(kind: dtype) -> float:
    """Return the identity of ``minimum``."""
    if kind.is_floating_point:
        return math.inf
    return 1 if kind is bool_ else int(np.iinfo(kind.np).max)


def extreme_vjp(ct: Any, x: Any, out: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
    """Elements that tie have equal shares."""
    mask = x._apply("tied", kept(out, x.shape, dim, keepdim), nan=False)
    return kept(ct, x.shape, dim, keepdim) / mask.sum(dim, True) * mask


def even_vjp(ct: Any, x: Any, out: Any) -> Any:
    """Share likewise for a full reduction, where NaNs tie with NaN."""
    dim = tuple(range(len(x.shape)))
    mask = x._apply("tied", out, nan=True)
    share = kept(ct, x.shape, dim, False) / mask.sum(dim, True)
    return quotient(share, mask)  # 0 elsewhere, even where the share is infinite


# NaN wins.
for _name, _lower in (
    ("max", partial(lower_fold, ufunc=np.maximum, identity=lowest)),
    ("min", partial(lower_fold, ufunc=np.minimum, identity=highest)),
):
    op(f"{_name}_all", lower=_lower, grad_fn=f"{_name.title()}Backward1", torch=_name, vjp=even_vjp)
    op(f"a{_name}", lower=_lower, grad_fn=f"A{_name}Backward0", vjp=extreme_vjp)
    op(f"aminmax_{_name}", lower=_lower, grad_fn="AminmaxBackward0", torch=None, vjp=extreme_vjp)


@native_kernels("f64", "f32")
def tied(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """1 where two values are equal; where both are NaN, the word at `data`."""
    a, b, c, s = p64(args)[0], p64(args)[1], p64(args)[2], p64(strides)
    nan = float(p64(data)[0])
    for i in range(p64(dims)[0]):
        x, y = element(a + i * s[0])[0], element(b + i * s[1])[0]
        equal = 1.0 if x == y else 0.0
        element(c + i * s[2])[0] = number(nan if (x != x) & (y != y) else equal)


def lower_native_binary(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Lower an elementwise op of two operands to a native kernel; attributes are its data."""
    a, b = layouts
    shape = broadcast_shapes(a.shape, b.shape)
    out = contiguous(a.dtype, shape)
    words = [int(v) for v in attrs.values()]
    data = constant(words, np.dtype(np.int64)) if words else 0
    kernel = native_kernel_address(entry.name, a.dtype), data
    operands = (
        arg(0, broadcast_strides(a, shape)),
        arg(1, broadcast_strides(b, shape)),
        out_operand(2, out),
    )
    return Lowered((out,), (Step(kernel, shape, operands),))


# 1 or 0 as a number, for derivatives; itself it is constant almost everywhere.
op(
    "tied",
    lower=lower_native_binary,
    arity=2,
    torch=None,
    vjp=lambda ct, x, y, out, nan: (None, None),
)


# --------------------------------------------------------------------------- variances, norms
@native_kernels("f64", "f32")
def divide_or_zero(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Divide, but give 0 where the divisor is 0."""
    a, b, c, s = p64(args)[0], p64(args)[1], p64(args)[2], p64(strides)
    for i in range(p64(dims)[0]):
        y = element(b + i * s[1])[0]
        element(c + i * s[2])[0] = element(a + i * s[0])[0] / y if y != 0.0 else number(0)


def quotient(x: Any, y: Any) -> Any:
    """``x / y``, or 0 where `y` is 0."""
    return x._apply("divide_or_zero", y)


op(
    "divide_or_zero",
    lower=lower_native_binary,
    arity=2,
    torch=None,
    vjp=lambda ct, x, y, out: (quotient(ct, y), -quotient(ct * out, y)),
)


def lower_var(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], *, root: bool
) -> Lowered:
    """Lower a variance or deviation in two passes: the mean, then the squared differences."""
    (x,) = layouts
    kind = x.dtype
    r = Reduction(x.shape, attrs)
    out = r.result(kind)
    place, mean = out_operand(1, out), Operand(SCRATCH, 0, out.strides)
    source = arg(0, x.strides)
    nodes = [
        ChainNode(ufunc_loop(np.subtract, (kind,) * 3), (0, 1), kind.itemsize),
        ChainNode(ufunc_loop(np.multiply, (kind,) * 3), (-1, -1), kind.itemsize),
    ]
    temporaries = padded(out.span)
    freedom = max(r.count - attrs["correction"], 0)
    steps = [
        *r.fold(np.add, source, mean, kind, 0),
        r.update(np.true_divide, mean, kind, r.count),
        *r.fold_chain(
            nodes, [source, r.spread(mean, kind)], np.add, place, kind, 0, temporaries
        ),
        r.update(np.true_divide, place, kind, freedom),
    ]  # fmt: skip
    if root:
        steps.append(r.update(np.sqrt, place, kind))
    return Lowered((out,), tuple(steps), temporaries + chain_scratch([*nodes, nodes[0]]))


def var_vjp(
    ct: Any, x: Any, out: Any, dim: tuple[int, ...], correction: float, keepdim: bool
) -> Any:
    """Twice the deviations over the degrees of freedom."""
    freedom = Reduction(x.shape, {"dim": dim}).count - correction
    factor = 2 / freedom if freedom else math.inf
    return kept(ct, x.shape, dim, keepdim) * factor * (x - x.mean(dim, True))


def std_vjp(
    ct: Any, x: Any, out: Any, dim: tuple[int, ...], correction: float, keepdim: bool
) -> Any:
    """As that of the variance; 0 where nothing deviates."""
    return var_vjp(quotient(ct, out * 2), x, out, dim, correction, keepdim)


for _name, _root in (("var", False), ("std", True)):
    _lower, _vjp = partial(lower_var, root=_root), std_vjp if _root else var_vjp
    op(_name, lower=_lower, vjp=_vjp)
    # PyTorch makes both results of var_mean in one node; here they are two of its name.
    _node = f"{_name.title()}MeanBackward0"
    op(f"{_name}_mean", lower=_lower, grad_fn=_node, vjp=_vjp)
    op(f"{_name}_mean_mean", lower=lower_mean, grad_fn=_node, torch=None, vjp=mean_vjp)


def norm_program(
    r: Reduction, kind: dtype, sources: list[Operand], place: Operand, p: float
) -> tuple[list[Step], int]:
    """Return steps and scratch bytes of the `p`-norm of an operand, or of a difference."""

    def node(ufunc: np.ufunc, *inputs: int) -> ChainNode:
        return ChainNode(ufunc_loop(ufunc, (kind,) * (len(inputs) + 1)), inputs, kind.itemsize)

    nodes, x = [], 0
    sources = list(sources)
    if len(sources) == 2:
        nodes, x = [node(np.subtract, 0, 1)], -1
    ufunc: np.ufunc = np.add
    identity = 0.0
    if p == 2:
        nodes.append(node(np.multiply, x, x))
    elif p == 0:
        truth, count = (native_kernel_address("cast", *d) for d in ((kind, bool_), (bool_, kind)))
        nodes.append(ChainNode((truth, 0), (x,), 1))
        nodes.append(ChainNode((count, 0), (-len(nodes),), kind.itemsize))
    else:
        nodes.append(node(np.absolute, x))
        if math.isinf(p):
            ufunc, identity = (np.maximum, 0.0) if p > 0 else (np.minimum, math.inf)
        elif p != 1:
            sources.append(address_operand(constant(p, kind.np), len(r.shape)))
            nodes.append(node(np.power, -len(nodes), len(sources) - 1))
    steps = r.fold_chain(nodes, sources, ufunc, place, kind, identity, 0)
    if p == 2:
        steps.append(r.update(np.sqrt, place, kind))
    elif p not in (0, 1) and not math.isinf(p):
        steps.append(r.update(np.power, place, kind, 1 / p))
    return steps, chain_scratch([*nodes, nodes[0]])


def lower_norm(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Lower the p-norm of all elements along `dim`."""
    (x,) = layouts
    r = Reduction(x.shape, attrs)
    out = r.result(x.dtype)
    steps, scratch = norm_program(r, x.dtype, [arg(0, x.strides)], out_operand(1, out), attrs["p"])
    return Lowered((out,), tuple(steps), scratch)


def lower_dist(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Lower the p-norm of the difference of two tensors."""
    x, y = layouts
    shape = broadcast_shapes(x.shape, y.shape)
    r = Reduction(shape, {})
    out = r.result(x.dtype)
    sources = [arg(0, broadcast_strides(x, shape)), arg(1, broadcast_strides(y, shape))]
    steps, scratch = norm_program(r, x.dtype, sources, out_operand(2, out), attrs["p"])
    return Lowered((out,), tuple(steps), scratch)


def norm_vjp(
    ct: Any, x: Any, out: Any, p: float, dim: tuple[int, ...] | None = None, keepdim: bool = True
) -> Any:
    """PyTorch's subgradients: 0 at 0, equal shares for ties of the maximum norm."""
    if dim is None:
        dim = tuple(range(len(x.shape)))
    ct, out = kept(ct, x.shape, dim, keepdim), kept(out, x.shape, dim, keepdim)
    if p == 0:
        return x.sign() * 0 * ct
    if p == 1:
        return ct * x.sign()
    if p == 2:
        return x * quotient(ct, out)
    if math.isinf(p):
        mask = x.abs()._apply("tied", out, nan=True)
        return x.sign() * (ct / mask.sum(dim, True) * mask)
    if p < 1:
        return quotient(x.sign(), x.abs() ** (1 - p)) * ct * out ** (1 - p)
    slope = x.sign() * x.abs() ** (p - 1) if p < 2 else x * x.abs() ** (p - 2)
    return slope * quotient(ct, out ** (p - 1))


def dist_vjp(ct: Any, x: Any, y: Any, out: Any, p: float) -> tuple[Any, Any]:
    """Use that of the norm, with both signs."""
    slope = norm_vjp(ct, x - y, out, p)
    return slope, -slope


op("norm", lower=lower_norm, grad_fn="LinalgVectorNormBackward0", vjp=norm_vjp)
op("dist", lower=lower_dist, arity=2, vjp=dist_vjp)
