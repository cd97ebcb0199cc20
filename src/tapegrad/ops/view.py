"""Views: ops whose result aliases its operand's memory.

They run no kernel: the sweeps give their slots an address inside the operand's buffer, and their
adjoints lie in the operand's adjoint buffer in the same way. So these rows have no VJP; replay
writes into views of adjoints (recorded_pass.py). `WRITE` (``copy_``) and `ACCUMULATE` (``add_``) are the
two in-place ops; every other in-place method is made of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..native import abi as nt
from ..native.ufunc_loops import ufunc_loop
from .layout import Layout, broadcast_strides
from .program import Step, arg
from .table import SELECT_CODE, Lowered, Op, copy_loop, op

__all__: list[str] = []


def view(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """A view's result has the layout that the caller worked out."""
    return Lowered((attrs["layout"],), ())


def _row(name: str, grad_fn: str, *, multiple_views: bool = False, **extras: Any) -> Op:
    return op(
        name, kind=nt.VIEW, lower=view, grad_fn=grad_fn, torch=None, multiple_views=multiple_views,
        extras=extras,
    )  # fmt: skip


SELECT = op(
    "select", code=SELECT_CODE, kind=nt.VIEW, lower=view, grad_fn="SelectBackward0", torch=None
)
SLICE = _row("slice", "SliceBackward0")
PERMUTE = _row("permute", "PermuteBackward0")
TRANSPOSE = _row("transpose", "TransposeBackward0")
VIEW = _row("view", "ViewBackward0")
UNSAFE_VIEW = _row("unsafe_view", "UnsafeViewBackward0")
EXPAND = _row("expand", "ExpandBackward0")
SQUEEZE = _row("squeeze", "SqueezeBackward0")
SQUEEZE_DIM = _row("squeeze_dim", "SqueezeBackward1")
UNSQUEEZE = _row("unsqueeze", "UnsqueezeBackward0")
DIAGONAL = _row("diagonal", "DiagonalBackward0")
UNFOLD = _row("unfold", "UnfoldBackward0")
AS_STRIDED = _row("as_strided", "AsStridedBackward0")
SPLIT = _row("split", "SplitBackward0", multiple_views=True)
UNBIND = _row("unbind", "UnbindBackward0", multiple_views=True)
ALIAS = _row("alias", "AliasBackward0")
COPY_SLICES = _row("copy_slices", "CopySlices", rewritten=True)
DETACH = _row("detach", "", detach=1)
DATA = _row("data", "", detach=2)


def write(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (target, source): the source, broadcast, is written into the target's memory."""
    target, source = layouts
    copy, operands = copy_operands(source, target)
    return Lowered((target,), (Step(copy, target.shape, operands),))


def accumulate(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Operands (target, source): the source, broadcast, is added to the target's memory."""
    target, source = layouts
    loop = ufunc_loop(np.add, (target.dtype,) * 3)
    strides = broadcast_strides(source, target.shape)
    operands = (arg(0, target.strides), arg(1, strides), arg(0, target.strides))
    return Lowered((target,), (Step(loop, target.shape, operands),))


def copy_operands(source: Layout, target: Layout) -> tuple[tuple[int, int], tuple[Any, ...]]:
    """Copy loop and operands (1, 0) that write `source` over `target`."""
    strides = broadcast_strides(source, target.shape)
    return copy_loop(target.dtype), (arg(1, strides), arg(0, target.strides))


def _named(made: Any) -> str:
    """A write is called after the op whose result it writes."""
    return str(made.attrs.get("named", "CopyBackwards"))


WRITE = op("copy_", kind=nt.WRITE, lower=write, grad_fn=_named, arity=2, torch=None)
ACCUMULATE = op(
    "accumulate_", kind=nt.ACCUMULATE, lower=accumulate, grad_fn=_named, arity=2, torch=None
)
