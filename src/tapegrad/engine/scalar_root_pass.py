"""Plain gradients: from one 0-d root to leaves, with nothing for Python to do, in one native call.

Most calls of ``grad`` are plain, and most of their time was spent between native calls. The others
(hooks, Functions, in-place writes, another thread's tensors, templates not built yet, and every error)
are left to reverse.py, which goes step by step.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..base.fast_paths import REFUSED
from ..native import abi as nt
from ..native.handle_type import AnyTensor, TensorHandle, look_at
from ..ops.instruction import CACHES, INSTRUCTIONS, Instruction, leaf
from ..ops.layout import LAYOUTS, Layout
from ..rules import fusion as fuse
from ..rules.program_table import build, copy_of
from ..tape import anomaly, collector
from ..tape import recording as record
from ..tape.leaf_storage import Storage
from ..tape.memory_views import Block, address_of
from ..tape.tape import Tape
from . import native_entries as sweep
from .reverse_pass import COPIED, taken

__all__ = ["copied", "finish", "gradients", "needs_python", "swept"]

#: leaves that such a pass has at most: native code compares each with each
MOST_TARGETS = 64


class _Seed(NamedTuple):
    """A one as a 0-d array, and the instruction that copies such a layout; their address and number."""

    array: np.ndarray
    copy: Instruction
    address: int
    number: int


@cache
def _one(layout: Layout) -> _Seed:
    array, copy = np.ones((), layout.dtype.np), copy_of(layout)
    return _Seed(array, copy, address_of(array), copy.id)


CACHES.append(_one.cache_clear)


def needs_python(tape: Tape) -> bool:
    """Return True if passes on the tape, wherever they come by, are more than native code does alone."""
    more = tape.shared or tape.detached or tape.state[nt.S_MASKS_ZEROS] or tape.saving is not None
    return bool(more) or anomaly.checks_nan()


def copied(tape: Tape, address: int, layout: Layout) -> AnyTensor:
    """A leaf with a copy of a dense adjoint, which stays where it is."""
    array = np.empty(layout.shape, layout.dtype.np)
    storage = Storage(array, leaf=True)
    tape.owned[tape.state[nt.S_COUNT]] = storage  # first, as in `Tape.bind`
    span = layout.span
    instruction = leaf(layout)
    arguments = tape.pointer, address, span, instruction.id, address_of(array)
    while (slot := sweep.gradient(*arguments)) < 0:
        tape.make_room(collect=False)
    tape.owned[slot] = storage
    tensor: TensorHandle = tape.new_handle(slot, layout)
    tensor._meta = storage
    return tensor


def _gradient(tape: Tape, address: int, layout: Layout) -> AnyTensor:
    """A leaf with an adjoint, which is no longer the sweep's."""
    if not layout.is_contiguous or layout.span > COPIED:
        array = taken(tape, address, layout)
        return record.leaf_tensor(array, layout.dtype)
    gradient = copied(tape, address, layout)
    if layout.span > nt.SMALL:
        collector.give_back(tape.pointer, address, layout.span)
    return gradient


def swept(tape: Tape, root: TensorHandle) -> tuple[Block, list[tuple[Storage, int, int]]] | None:
    """Sweep from a root to the leaves that it depends on; None, with nothing done, if that is not plain.

    The caller holds the tape's lock, and counts the pass in ``tape.counted``, until after `finish`, which
    takes the block that is given back. Beside it are the leaves' storages and slots, and where their adjoints
    are, 0 if untouched.
    """
    layout, room = LAYOUTS[root._layout_id], len(tape.leaves)
    if REFUSED or layout.ndim or tape.abstract or needs_python(tape):
        return None
    one = (root,)
    block, place = _block(tape, room)
    words, request = block.words, block.address
    statements = words[0]
    if look_at(tape.pointer, one, 1, request + 8 * place) == 0:
        words[nt.R_MISSING_COUNT] = 0
        count = sweep.leaves(tape.pointer, request, words[place], room)
        if count < 0 and _build_missing(tape, words, statements):
            count = sweep.leaves(tape.pointer, request, words[place], room)
        end = nt.R_WIDTH + 4 * count
        slots = words[nt.R_WIDTH + 1 : end : 4].tolist() if count > 0 else []
        storages: list[Any] = []
        for slot in slots:
            storage = tape.leaves.get(slot)
            if storage is None or storage.hooks is not None:
                storages.clear()
                break
            storages.append(storage)
        if storages:
            seed = _one(layout)
            if sweep.back(tape.pointer, request, count, seed.address, seed.number) == 0:
                addresses = words[nt.R_WIDTH + 2 : end : 4].tolist()
                return block, list(zip(storages, slots, addresses, strict=True))
            sweep.release(tape.pointer, request, 2 * (tape.passes <= 1))
    tape.give_block(block)
    return None


def _build_missing(tape: Tape, words: memoryview, statements: int) -> bool:
    """Build the programs that kept a pass from being plain; False if that was not the reason.

    The request is as `_block` makes it afterwards, with room for that many statements.
    """
    count = words[nt.R_MISSING_COUNT]
    if not count:
        return False
    numbers = (ctypes.c_int32 * count).from_address(words[nt.R_MISSING])
    for number in set(numbers):
        build(INSTRUCTIONS[number])
    words[0], words[1] = statements, tape.last_write
    return True


def finish(tape: Tape, block: Block, *, free: bool) -> None:
    """Give a sweep's memory back; with `free`, residuals of swept statements count as freed."""
    sweep.release(tape.pointer, block.address, free | 2 * (tape.passes <= 1))
    tape.give_block(block)
    tape.checked()
    fuse.heat()


def _block(tape: Tape, count: int) -> tuple[Block, int]:
    """Memory for a request with so many targets, and the word where places of root and targets go."""
    statements = tape.state[nt.S_COUNT]
    places = nt.R_WIDTH + 4 * count + nt.MISSING // 2 + 2 * statements + 16
    block = tape.take_block(places + 2 * count + 2)
    # A signal handler or finalizer may record before native code comes to it.
    block.words[0] = statements
    block.words[1] = tape.last_write  # nothing before it is plain
    return block, places


def gradients(
    tape: Tape, root: TensorHandle, inputs: Sequence[TensorHandle], *, create_graph: bool, retain_graph: bool,
    allow_unused: bool,
) -> list[AnyTensor | None] | None:  # fmt: skip
    """Gradients of a root by leaves; None, with nothing done, if the pass is not plain."""
    layout = LAYOUTS[root._layout_id]
    count = len(inputs)
    if REFUSED or layout.ndim or count > MOST_TARGETS or needs_python(tape):
        return None
    both = (root, *inputs)
    constant = tape.constant(1.0, layout.dtype) if create_graph else 0
    with tape.lock:
        n, (block, place) = tape.state[nt.S_COUNT], _block(tape, count)
        words, address, statements = block.words, block.address + 8 * place, block.words[0]
        tape.counted += 1
        try:
            if look_at(tape.pointer, both, count + 1, address) != 0:
                return None
            places = words[place + 2 : place + 2 * count + 2].tolist()
            leaves = tape.leaves
            for slot in places[::2]:
                storage = leaves.get(slot)
                if storage is not None and storage.hooks is not None:
                    return None
            arguments = tape.pointer, block.address, address, count, allow_unused
            if create_graph:
                if sweep.record(*arguments, constant) != 0:
                    tape.undo(n)
                    return None
            else:
                seed = _one(layout)
                words[nt.R_MISSING_COUNT] = 0
                answer = sweep.plain(*arguments, seed.address, seed.number)
                if answer == 1 and _build_missing(tape, words, statements):
                    answer = sweep.plain(*arguments, seed.address, seed.number)
                if answer == 2:  # there was no memory
                    sweep.release(tape.pointer, block.address, 2 * (tape.passes <= 1))
                if answer != 0:
                    return None
            cotangents = words[nt.R_WIDTH + 2 : nt.R_WIDTH + 4 * count : 4].tolist()
            results: list[Any]
            if create_graph:
                results = [record.result_tensor(tape, c) if c else None for c in cotangents]
            else:
                results = [
                    _gradient(tape, c, LAYOUTS[number]) if c else None
                    for c, number in zip(cotangents, places[1::2], strict=True)
                ]
            released = (not retain_graph) | 2 * (tape.passes <= 1)
            sweep.release(tape.pointer, block.address, released)
        finally:
            tape.counted -= 1
            tape.give_block(block)
    if create_graph:
        if tape.state[nt.S_EAGER]:
            tape.evaluate()
        return results
    tape.checked()
    fuse.heat()
    return results
