"""The softmax family: ``logsumexp``, ``softmax``, ``log_softmax``.

Each is one op whose steps subtract the maximum before they exponentiate. So are the derivatives of
the two softmaxes, which PyTorch has as ops of their own too.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..base.dtypes import dtype
from ..native.ufunc_loops import fastest_loop
from .layout import Layout, contiguous
from .norms import lowest
from .program import SCRATCH, Node, Operand, Step, arg, chain_scratch, chain_step, padded
from .reduction import Reduction, kept
from .table import Lowered, Op, op, out_operand

__all__: list[str] = []


def _node(ufunc: np.ufunc, kind: dtype, *inputs: int) -> Node:
    return Node(fastest_loop(ufunc, (kind,) * (len(inputs) + 1)), inputs, kind.itemsize)


def _step(ufunc: np.ufunc, kind: dtype, shape: tuple[int, ...], *operands: Operand) -> Step:
    return Step(fastest_loop(ufunc, (kind,) * len(operands)), shape, operands)


def lower_logsumexp(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """``log(sum(exp(x - max))) + max``."""
    (x,) = layouts
    kind = x.dtype
    r = Reduction(x.shape, attrs)
    out = r.result(kind)
    place, largest = out_operand(1, out), Operand(SCRATCH, 0, out.strides)
    source = arg(0, x.strides)
    bound = float(np.finfo(kind.np).max)
    nodes = [_node(np.subtract, kind, 0, 1), _node(np.exp, kind, -1)]
    temporaries = padded(out.span)
    steps = [
        *r.fold(np.maximum, source, largest, kind, lowest(kind)),
        # an infinite maximum would make inf - inf; the largest number serves as well
        r.update(np.minimum, largest, kind, bound),
        r.update(np.maximum, largest, kind, -bound),
        *r.fold_chain(
            nodes, [source, r.spread(largest, kind)], np.add, place, kind, 0, temporaries
        ),
        r.update(np.log, place, kind),
        _step(np.add, kind, out.shape, place, largest, place),
    ]  # fmt: skip
    return Lowered((out,), tuple(steps), temporaries + chain_scratch([*nodes, nodes[0]]))


def lower_softmax(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], *, log: bool
) -> Lowered:
    """``exp(x - max) / sum``, or its logarithm ``x - max - log(sum)``."""
    (x,) = layouts
    kind, shape = x.dtype, x.shape
    r = Reduction(shape, {"dim": (attrs["dim"],) if shape else (), "keepdim": True})
    out = contiguous(kind, shape)
    size = padded(r.result(kind).span)
    place, source = out_operand(1, out), arg(0, x.strides)
    largest, total = Operand(SCRATCH, 0, ()), Operand(SCRATCH, size, ())
    wide_largest, wide_total = r.spread(largest, kind), r.spread(total, kind)
    steps = r.fold(np.maximum, source, largest, kind, lowest(kind))
    if log:
        nodes = [_node(np.exp, kind, 0)]
        steps += [
            _step(np.subtract, kind, shape, source, wide_largest, place),
            *r.fold_chain(nodes, [place], np.add, total, kind, 0, 2 * size),
            r.update(np.log, total, kind),
            _step(np.subtract, kind, shape, place, wide_total, place),
        ]
    else:
        nodes = [_node(np.subtract, kind, 0, 1), _node(np.exp, kind, -1)]
        steps += [
            chain_step(shape, nodes, [source, wide_largest, place], 2 * size),
            *r.fold(np.add, place, total, kind, 0),
            _step(np.true_divide, kind, shape, place, wide_total, place),
        ]
    return Lowered((out,), tuple(steps), 2 * size + chain_scratch([*nodes, nodes[0]]))


def lower_backward(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], *, log: bool
) -> Lowered:
    """Lower ``y (ct - sum(ct y))`` for the softmax `y`, ``ct - exp(y) sum(ct)`` for the log one."""
    ct, y = layouts
    kind, shape = ct.dtype, ct.shape
    r = Reduction(shape, {"dim": (attrs["dim"],) if shape else (), "keepdim": True})
    out = contiguous(kind, shape)
    size = padded(r.result(kind).span)
    first, second = arg(0, ct.strides), arg(1, y.strides)
    total, place = Operand(SCRATCH, 0, ()), out_operand(2, out)
    wide = r.spread(total, kind)
    if log:
        steps = r.fold(np.add, first, total, kind, 0)
        nodes = [
            _node(np.exp, kind, 1),
            _node(np.multiply, kind, -1, 2),
            _node(np.subtract, kind, 0, -2),
        ]
    else:
        product = [_node(np.multiply, kind, 0, 1)]
        steps = r.fold_chain(product, [first, second], np.add, total, kind, 0, size)
        nodes = [_node(np.subtract, kind, 0, 2), _node(np.multiply, kind, -1, 1)]
    steps.append(chain_step(shape, nodes, [first, second, wide, place], size))
    return Lowered((out,), tuple(steps), size + chain_scratch(nodes))


op(
    "logsumexp",
    lower=lower_logsumexp,
    vjp=lambda ct, x, out, dim, keepdim: (
        kept(ct, x.shape, dim, keepdim) * (x - kept(out, x.shape, dim, keepdim)).exp()
    ),
)
op(
    "softmax",
    lower=partial(lower_softmax, log=False),
    vjp=lambda ct, x, out, dim: ct._apply("softmax_backward", out, dim=dim),
)
op(
    "log_softmax",
    lower=partial(lower_softmax, log=True),
    vjp=lambda ct, x, out, dim: ct._apply("log_softmax_backward", out, dim=dim),
)


def softmax_backward_vjp(u: Any, ct: Any, y: Any, out: Any, dim: int) -> tuple[Any, Any]:
    """Linear and symmetric in the cotangent, quadratic in the softmax."""
    along = (dim,) if ct.shape else ()
    first = u * (ct - (ct * y).sum(along, True))
    return u._apply("softmax_backward", y, dim=dim), first - (u * y).sum(along, True) * ct


def log_softmax_backward_vjp(u: Any, ct: Any, y: Any, out: Any, dim: int) -> tuple[Any, Any]:
    """Linear in the cotangent, exponential in the log-softmax."""
    along = (dim,) if ct.shape else ()
    share = y.exp() * u
    return u - share.sum(along, True), -share * ct.sum(along, True)


op(
    "softmax_backward",
    lower=partial(lower_backward, log=False),
    grad_fn="SoftmaxBackwardDataBackward0",
    arity=2,
    torch=None,
    vjp=softmax_backward_vjp,
)
op(
    "log_softmax_backward",
    lower=partial(lower_backward, log=True),
    grad_fn="LogSoftmaxBackwardDataBackward0",
    arity=2,
    torch=None,
    vjp=log_softmax_backward_vjp,
)
