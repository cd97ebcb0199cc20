"""Cotangents from which a pass begins: numbers for a sweep, slots for a pass that is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..native import abi as nt
from ..native.handle_type import TensorHandle
from ..ops.instruction import CACHES, Instruction
from ..ops.layout import LAYOUTS, Layout
from ..rules.program_table import copy_of
from ..tape import recording as record
from ..tape.memory_views import Block, address_of, array_layout, new_block
from ..tape.recording import layout_of
from ..tape.tape import Tape

#: the cotangent of one output of one element, where none is given
ONE: tuple[Any, ...] = (None,)

__all__ = ["ONE", "Seeds", "check_cotangents", "seed_slots", "seeds_for", "seeds_of", "unit_seeds"]


class Seeds(NamedTuple):
    """Cotangents of outputs: rows for native code (`R_SEEDS`), and the objects that they point to."""

    address: int
    rows: Block
    arrays: Sequence[np.ndarray]
    copies: Sequence[Instruction]


def seeds_of(arrays: Sequence[np.ndarray], layouts: Sequence[Layout], variant: int) -> Seeds:
    """Seeds from contiguous arrays, which have the dtypes of the layouts."""
    copies = [copy_of(layout, variant) for layout in layouts]
    rows = new_block(2 * len(arrays))
    for i, (array, copy) in enumerate(zip(arrays, copies, strict=True)):
        rows.words[2 * i], rows.words[2 * i + 1] = address_of(array), copy.id
    return Seeds(rows.address, rows, arrays, copies)


def unit_seeds(start: int) -> Seeds:
    """Unit vectors for one output, a lane each, from element `start` on."""
    rows = new_block(2)
    rows.words[1] = start
    return Seeds(rows.address, rows, (), ())


@cache
def _ones(layout: Layout, variant: int) -> Seeds:
    """Ones, for one output."""
    return seeds_of([np.ones(layout.shape, layout.dtype.np)], [layout], variant)


CACHES.append(_ones.cache_clear)


def check_cotangents(tensors: Sequence[Any], gradients: Sequence[Any]) -> Sequence[Any]:
    """Check the cotangents, and cast them to the tensors' dtypes; None stands for one."""
    if len(tensors) == 1 and gradients[0] is None:
        only = LAYOUTS[tensors[0]._layout_id]
        if only.size == 1 and not only.dtype.is_complex:
            return ONE
    cotangents: list[Any] = []
    for i, (t, ct) in enumerate(zip(tensors, gradients, strict=True)):
        layout = LAYOUTS[t._layout_id]
        if ct is None:
            if layout.size != 1 and record.is_active(t):
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            if layout.dtype.is_complex and record.is_active(t):
                raise RuntimeError(
                    f"grad can be implicitly created only for real scalar outputs but got {layout.dtype}"
                )
            cotangents.append(None)
            continue
        if not record.is_tensor(ct):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(ct).__name__}")
        if ct.shape != layout.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {ct.shape} and output[{i}] has "
                f"a shape of {layout.shape}."
            )
        cotangents.append(record.cast(ct, layout.dtype))
    return cotangents


def _array(layout: Layout, ct: Any) -> np.ndarray:
    """A cotangent, or ones, as a contiguous array."""
    if ct is None:
        return np.ones(layout.shape, layout.dtype.np)
    return np.ascontiguousarray(ct._array(), layout.dtype.np).reshape(ct.shape)


def seeds_for(tape: Tape, tensors: Sequence[TensorHandle], cotangents: Sequence[Any]) -> Seeds:
    """Seeds of a sweep from checked cotangents."""
    variant = nt.MASKED if tape.state[nt.S_MASKS_ZEROS] else 0
    if cotangents is ONE:
        return _ones(LAYOUTS[tensors[0]._layout_id], variant)
    layouts = [layout_of(t) for t in tensors]
    arrays = [_array(layout, ct) for layout, ct in zip(layouts, cotangents, strict=True)]
    return seeds_of(arrays, layouts, variant)


def seed_slots(tape: Tape, tensors: Sequence[TensorHandle], cotangents: Sequence[Any]) -> list[int]:
    """Slots of the outputs' cotangents, for a pass that is recorded."""
    if cotangents is ONE:
        return [_ones_slot(tape, tensors[0])]
    pairs = zip(tensors, cotangents, strict=True)
    return [_ones_slot(tape, t) if ct is None else record.operand(tape, ct) for t, ct in pairs]


def _ones_slot(tape: Tape, tensor: TensorHandle) -> int:
    layout = LAYOUTS[tensor._layout_id]
    if not layout.shape:
        return tape.constant(1.0, layout.dtype)
    ones = np.ones(layout.shape, layout.dtype.np)  # not those of `_ones`: it may become a result
    return tape.bind(ones, array_layout(ones, layout.dtype), active=False)
