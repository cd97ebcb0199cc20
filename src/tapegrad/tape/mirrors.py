"""Leaves whose elements would share memory: ``x.expand(3).requires_grad_()``.

Adjoints lie like primals, so elements that share memory would share their gradient. Such a leaf gets a
copy, in which every element has its place: a mirror, which is brought up to date when the memory that it
was copied from is written. Neither the mirror nor the view that it mirrors is written itself.
"""

from __future__ import annotations

import weakref

import numpy as np

from ..native import abi as nt
from ..native.handle_type import TensorHandle
from ..ops.layout import LAYOUTS, Layout, contiguous
from . import versions
from .leaf_storage import Storage
from .tape import Tape, slot_of

__all__ = ["is_mirror", "mirror", "refresh"]


def mirror(tape: Tape, source: TensorHandle, active: bool) -> tuple[int, Layout, Storage]:
    """Bind a leaf with a copy of elements that share memory; return its slot, layout and storage.

    Parameters
    ----------
    tape : Tape
        Of the source; there is room on it.
    source : Tensor
        A handle of the shared memory, which no user has.
    active : bool
        Whether the leaf requires grad.
    """
    slot, shared = slot_of(tape, source), LAYOUTS[source._layout_id]
    layout = contiguous(shared.dtype, shared.shape)
    storage = Storage(np.ascontiguousarray(tape.memory(slot, shared)), leaf=True)
    assert storage.array is not None
    storage.mirrored = source
    version = versions.version_of(tape, slot)
    fresh = tape.bind(storage.array, layout, active=active, keep=storage)
    if version:
        tape.versions[fresh] = version
    tape.mirrors.append(weakref.ref(storage))
    return fresh, layout, storage


def is_mirror(tape: Tape, slot: int) -> bool:
    """Return True if a slot lies in the copy of a leaf whose elements would share memory."""
    return hasattr(tape.owned.get(int(tape.base[slot])), "mirrored")


def refresh(tape: Tape, written: int) -> None:
    """Bring the mirrors of the memory that statement `written` wrote up to date."""
    base, silent = tape.base[written], tape.flags[written] & nt.SILENT
    mirrors = [(ref, ref()) for ref in tape.mirrors]
    tape.mirrors = [ref for ref, storage in mirrors if storage is not None]
    for _, storage in mirrors:
        if storage is None or storage.mirrored._state != tape.pointer:
            continue
        source = storage.mirrored
        slot = slot_of(tape, source)
        if tape.base[slot] != base:
            continue
        assert storage.array is not None
        np.copyto(storage.array, tape.memory(slot, LAYOUTS[source._layout_id]))
        for leaf, keep in tape.owned.copy().items():
            if keep is storage and not silent:
                versions.note_write_from_python(tape, leaf)
