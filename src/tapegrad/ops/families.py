"""Families: instructions that differ in the length of their one loop only share their programs.

An elementwise op on dense operands of one shape (and 0-d ones beside them) is one loop over as many numbers
as there are, whatever the shape; so are its VJPs, and a full sum. The programs of the first such instruction
consist of *sized* steps, whose loop is as long as the instruction says that runs them (`I_SIZE`). The others
have its rows: a new length takes neither lowering nor tracing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..native import abi as nt
from .layout import Layout, is_symbolic
from .loop_geometry import loop_geometry
from .program import ADDRESS, SCRATCH, Step
from .table import Op

__all__ = ["family_of", "sized"]


def family_of(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], parts: Sequence[Any]
) -> tuple[Any, tuple[int, ...], int] | None:
    """Return the key that a family shares programs by, its loop's shape and length; None for most ops.

    `parts` are its attributes as parts of a key (`distinct`).
    """
    if entry.kind == nt.LEAF:
        layout = attrs["layout"]
        if is_symbolic((layout,)):
            return None
        leaf = entry.code, layout.dtype.code, layout.ndim, attrs["requires_grad"]
        return (leaf, layout.shape, 0) if layout.ndim and layout.is_contiguous else None
    if entry.kind != nt.COMPUTE or not (entry.is_elementwise or entry.sized):
        return None
    shape: tuple[int, ...] | None = None
    size = 0
    key: list[Any] = [entry.code]
    for x in layouts:
        key.append((x.dtype.code, x.ndim))
        if not x.ndim:
            continue
        if shape is None:
            shape, size = x.shape, x.size
        if x.shape != shape or not x.is_contiguous:
            return None
    if shape is None or size < 2:
        return None
    return (*key, *parts), shape, size


def sized(steps: Sequence[Step], size: int) -> list[Step] | None:
    """Steps whose loop over `size` elements is as long as the instruction says; None if some have others."""
    sized_steps = []
    for step in steps:
        if not step.kernel[0] and not step.nodes:
            if step.steps or step.zero > 8:  # only what sums to one number is cleared
                return None
            sized_steps.append(step)
            continue
        count, _, outer, _ = loop_geometry(step.shape, [o.strides for o in step.operands])
        moved = any(o.ref == SCRATCH or (o.offset and o.ref != ADDRESS) for o in step.operands)
        if count != size or outer or step.core or moved or step.checked:
            return None
        sized_steps.append(step._replace(sized=True))
    return sized_steps
