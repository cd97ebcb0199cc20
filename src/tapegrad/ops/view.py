"""Views: ops whose result aliases its operand's memory.

They run no kernel: the sweeps give their slots an address inside the operand's buffer, and their
adjoints lie in the operand's adjoint buffer in the same way. So these rows have no VJP; replay
writes into views of adjoints (recorded_pass.py). ``copy_`` and ``accumulate_`` are the two in-place
ops; every other in-place method is made of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..native import abi as nt
from ..native.ufunc_loops import ufunc_loop
from .layout import Layout, broadcast_strides
from .program import Step, arg
from .table import Lowered, Op, copy_loop, op

__all__ = ["view_op"]


def view(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """A view's result has the layout that the caller worked out."""
    return Lowered((attrs["layout"],), ())


def view_op(name: str, grad_fn: str, **row: Any) -> None:
    """Add the row of a view."""
    op(name, kind=nt.VIEW, lower=view, grad_fn=grad_fn, torch=None, of_complex="plain", **row)


view_op("select", "SelectBackward0", code=nt.SELECT_CODE)
view_op("slice", "SliceBackward0")
view_op("permute", "PermuteBackward0")
view_op("transpose", "TransposeBackward0")
view_op("view", "ViewBackward0")
view_op("unsafe_view", "UnsafeViewBackward0")
view_op("expand", "ExpandBackward0")
view_op("squeeze", "SqueezeBackward0")
view_op("squeeze_dim", "SqueezeBackward1")
view_op("unsqueeze", "UnsqueezeBackward0")
view_op("diagonal", "DiagonalBackward0")
view_op("unfold", "UnfoldBackward0")
view_op("as_strided", "AsStridedBackward0")
view_op("split", "SplitBackward0", multiple_views=True)
view_op("unbind", "UnbindBackward0", multiple_views=True)
view_op("alias", "AliasBackward0")
view_op("copy_slices", "CopySlices", rewritten=True)
view_op("detach", "", detaches=True)
view_op("data", "", detaches=True, silent=True)


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


def _named(instruction: Any) -> str:
    """A write is called after the op whose result it writes."""
    return str(instruction.attrs.get("named", "CopyBackwards"))


op("copy_", of_complex="plain", kind=nt.WRITE, lower=write, grad_fn=_named, arity=2, torch=None)
op(
    "accumulate_",
    of_complex="plain",
    kind=nt.ACCUMULATE,
    lower=accumulate,
    grad_fn=_named,
    arity=2,
    torch=None,
)
