"""Plain gradients: from one 0-d root to leaves, with nothing for Python to do, in one native call.

Most calls of ``grad`` are plain, and most of their time was spent between native calls. What is not (hooks,
Functions, in-place writes, another thread's tensors, templates or programs not built yet, and every error)
is left to engine.py, which does it step by step; the first call for new shapes is never plain.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from . import anomaly, fuse, record, sweep
from . import native as nt
from .buffers import address_of
from .dtypes import dtype_of
from .handle import look_at
from .layouts import LAYOUTS, Layout
from .request import copy_of, taken
from .tape import LOOK, Tape

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["gradients"]


@cache
def _one(layout: Layout) -> tuple[np.ndarray, int, int]:
    """A one as a 0-d array, its address, and the instruction that copies such a layout."""
    array = np.ones((), layout.dtype.np)
    return array, address_of(array), copy_of(layout)


def gradients(
    tape: Tape, root: Tensor, inputs: Sequence[Tensor], *, create_graph: bool, retain_graph: bool,
    allow_unused: bool,
) -> list[Tensor | None] | None:  # fmt: skip
    """Gradients of a root by leaves; None, with nothing done, if the pass is not plain."""
    layout = LAYOUTS[root._layout_id]
    if layout.ndim or tape.writes or tape.hooks or tape.shared or tape.contexts:
        return None
    count = len(inputs)
    python = tape.masks_zeros or tape.saving is not None or anomaly.checks_nan()
    if count >= LOOK or python:
        return None
    both = (root, *inputs)
    look = tape.look
    constant = tape.constant(1.0, layout.dtype) if create_graph else 0
    with tape.lock:
        if look_at(tape.pointer, id(both), count + 1, look.address) != 0:
            return None
        places = look.words[2 : 2 * count + 2].tolist()
        leaves = tape.leaves
        for slot in places[::2]:
            storage = leaves.get(slot)
            if storage is not None and storage.hooks is not None:
                return None
        n = tape.state[nt.S_COUNT]
        block = tape.take_block(nt.R_WIDTH + 4 * count + nt.MISSING // 2 + 2 * n + 16)
        words, where = block.words, (tape.pointer, block.address, look.address, count, allow_unused)
        tape.passes += 1
        try:
            if create_graph:
                if sweep.record(*where, constant) != 0:
                    tape.undo(n)
                    return None
            else:
                _, address, copy = _one(layout)
                answer = sweep.plain(*where, address, copy)
                if answer:
                    if answer == 2:
                        sweep.release(tape.pointer, block.address, 2 * (tape.passes <= 1))
                    return None
            cotangents = words[nt.R_WIDTH + 2 : nt.R_WIDTH + 4 * count : 4].tolist()
            found: list[Any]
            if create_graph:
                found = [
                    record.new_tensor(tape, c, tape.instruction_of(c).out) if c else None
                    for c in cotangents
                ]
            else:
                found = [
                    taken(tape, c, LAYOUTS[number]) if c else None
                    for c, number in zip(cotangents, places[1::2], strict=True)
                ]
            what = (not retain_graph) | 2 * (tape.passes <= 1)
            sweep.release(tape.pointer, block.address, what)
        finally:
            tape.passes -= 1
            tape.give_block(block)
    if create_graph:
        if tape.state[nt.S_EAGER]:
            tape.evaluate()
        return found
    tape.checked()
    fuse.heat()
    return [None if g is None else record.leaf_tensor(g, dtype_of(g)) for g in found]
