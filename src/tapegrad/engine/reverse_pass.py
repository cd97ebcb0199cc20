"""One reverse pass over a tape: its outputs, its targets, and its way through native code.

A `Request` is the structure that native code reads (fields ``R_*`` of native/abi.py), with all arrays of the
pass behind it. `Request.find` says of which tensors it is, `Request.run` lets native code go through it
(runtime/reverse_pass.py) and does what it stops for, `Request.release` gives memory back. It is a context
manager; slots keep their numbers in it.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any, Self

import numpy as np

from ..native import abi as nt
from ..native.handle_type import TensorHandle
from ..ops.instruction import INSTRUCTIONS, Instruction
from ..ops.layout import LAYOUTS, Layout
from ..rules import fusion as fuse
from ..rules.program_table import build, copy_of
from ..tape import anomaly, versions, views
from ..tape import recording as record
from ..tape.memory_views import Block, address_of, new_block
from ..tape.tape import Tape
from . import detaching, pass_errors, separating
from . import native_entries as sweep
from .final_callbacks import finish
from .seeds import Seeds
from .targets import Target, check_inputs, check_roots, target_of

__all__ = ["Request", "innermost"]


class Attachments:
    """Objects that last as long as a pass, which few passes have."""

    def __init__(self) -> None:
        #: contexts of the Functions that the pass called
        self.contexts: list[Any] = []
        #: instructions that copy adjoints
        self.copies: list[Instruction] = []
        #: functions called when the pass ends without an error
        self.ends: list[Callable[[], None]] = []
        #: functions called after them, when gradients have been accumulated (final_callbacks.py)
        self.finals: list[Callable[[], None]] = []
        #: notes of hooks over several tensors
        self.notes: dict[Any, Any] = {}


class Request:
    """One reverse pass over a tape: its outputs, its targets, and the arrays for the sweep.

    The marks of a pass are in its own arrays, so passes may run inside each other. The tape's flag
    `WATCHED` says only where hooks are; a pass asks for those that it comes by.

    Parameters
    ----------
    tape : Tape
    leaves : bool
        Whether the adjoints of all leaves are wanted.
    raw : bool
        Whether targets are taken before their hooks, as PyTorch does for inputs that are not leaves.
    may_be_unused : bool
        Whether the pass need not come to its targets.
    """

    words: memoryview
    pointer: int
    _block: Block | None = None
    #: the slots' roots: the tape's, or a copy in which some views have an adjoint of their own
    root: np.ndarray
    #: tensors that get a gradient, and their targets once they are asked for
    _inputs: Sequence[TensorHandle] = ()
    _targets: list[Target] | None = None
    #: rows of targets (`R_CAPTURES`) and of writes, where native code does not find them by itself
    _rows: Block | None = None
    _writes: np.ndarray | None = None
    #: cotangents, if the pass sweeps
    _seeds: Seeds | None = None
    #: expanded views that are wanted, which raise where the pass comes by
    expanded: Sequence[Target] = ()
    _attached: Attachments | None = None

    def __init__(
        self, tape: Tape, *, leaves: bool = False, raw: bool = False, may_be_unused: bool = True
    ) -> None:
        self.tape = tape
        self.leaves = leaves
        self.options = (nt.RAW if raw else 0) | (nt.MAY_BE_UNUSED if may_be_unused else 0)

    @property
    def raw(self) -> bool:
        """Return True if targets are taken before their hooks."""
        return self.options & nt.RAW != 0

    @property
    def variant(self) -> int:
        """Variant of VJP programs."""
        return self.words[nt.R_VARIANT]

    @property
    def attached(self) -> Attachments:
        """Objects that last as long as the pass."""
        if self._attached is None:
            self._attached = Attachments()
        return self._attached

    def __enter__(self) -> Self:
        self._reference: weakref.ref[Request] = weakref.ref(self)
        self.tape.requests.append(self._reference)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        tape, block, attached = self.tape, self._block, self._attached
        self._inputs = ()  # what Python's part leaves behind may be a cycle
        try:
            if kind is None:
                for call in attached.ends if attached is not None else ():
                    call()
            elif block is not None:  # adjoints go back, and nothing counts as freed
                with tape.lock:
                    self.release(free=False)
        finally:
            tape.requests.remove(self._reference)
            if block is not None:
                tape.give_block(block)
        if kind is None and attached is not None:
            tape.finals.extend(attached.finals)
            if self.raw:  # nothing is accumulated
                finish(tape)

    # ------------------------------------------------------------------ outputs and targets
    def find(
        self,
        outputs: Sequence[TensorHandle],
        inputs: Sequence[TensorHandle],
        seeds: Seeds | None = None,
    ) -> None:
        """Find the slots of tensors; comes before the lock (see cross_thread.py).

        With `seeds`, the pass sweeps from these cotangents of the outputs.
        """
        tape, both = self.tape, (*outputs, *inputs)
        self._inputs, self._seeds = inputs, seeds
        if self._begin(both, len(outputs), len(inputs)) != 0:
            check_roots(outputs)
            check_inputs(inputs)
            tape.make_room(64, 256)
            self._set_places([(record.operand(tape, t), t._layout_id) for t in both])

    def place(self, roots: Sequence[int], targets: list[Target]) -> None:
        """Take slots for outputs, and targets, that are known; the pass is for its marks alone."""
        self.options |= nt.UNEVALUATED
        self._begin((), len(roots), len(targets))
        places = [(slot, self.tape.instruction_of(slot).out.id) for slot in roots]
        self._set_places([*places, *[(t.slot, t.layout.id) for t in targets]])
        self._targets = targets

    def _begin(self, tensors: tuple[TensorHandle, ...], outputs: int, targets: int) -> int:
        """Take memory, and let native code begin; not 0 if it does not find the tensors."""
        tape = self.tape
        if tape.shared:
            versions.catch_up(tape)
        count = tape.state[nt.S_COUNT]  # before `last_write` is read
        options = self.options
        if tape.detached:
            options |= nt.INSPECTED
        if tape.abstract:
            options |= nt.UNEVALUATED
        if Tape.trace is not None and anomaly.checks_nan():
            options |= nt.EVERY
        self._block = block = tape.take_block(nt.R_WIDTH + 2 * (outputs + targets))
        _, words, self.pointer = block
        self.words = words
        self.root = root = tape.root
        leaves = len(tape.leaves) + 1 if self.leaves else 0
        answer: int = sweep.find(
            tape.pointer, self.pointer, tensors, len(words), options, outputs, targets, leaves, count,
            tape.last_write, address_of(root), 0 if self._seeds is None else self._seeds.address,
        )  # fmt: skip
        return answer

    def _set_places(self, places: Sequence[tuple[int, int]]) -> None:
        for i, word in enumerate(chain.from_iterable(places), nt.R_PLACES):
            self.words[i] = word

    def _places(self) -> list[int]:
        """Slots and layouts of outputs, then targets."""
        count = self.words[nt.R_OUTPUTS] + self.words[nt.R_TARGETS]
        return self.words[nt.R_PLACES : nt.R_PLACES + 2 * count].tolist()

    @property
    def roots(self) -> list[int]:
        """Slots of the outputs."""
        return self._places()[: 2 * self.words[nt.R_OUTPUTS] : 2]

    def target_slots(self) -> list[int]:
        """Slots of the targets."""
        return self._places()[2 * self.words[nt.R_OUTPUTS] :: 2]

    @property
    def targets(self) -> list[Target]:
        """Targets of the pass."""
        if self._targets is None:
            places = self._places()[2 * self.words[nt.R_OUTPUTS] :]
            self._targets = [
                Target(slot, slot, LAYOUTS[layout], is_leaf=True)
                for slot, layout in zip(places[::2], places[1::2], strict=True)
            ]
        return self._targets

    @property
    def high(self) -> int:
        """First statement that the pass visits."""
        return self.words[nt.R_HIGH]

    def detail(self) -> None:
        """Work out what native code does not find by itself: in-place writes, targets that are no leaves."""
        tape, words, roots = self.tape, self.words, self.roots
        if self._targets is None:
            self._targets = [target_of(tape, t) for t in self._inputs]
        words[nt.R_COUNT], self.root = tape.count, tape.root
        words[nt.R_ROOT] = address_of(self.root)
        words[nt.R_OPTIONS] &= ~nt.SEPARATED
        high = max(roots)
        if tape.writes:
            writes = [versions.last_write(tape, s) for s in roots]
            high = max(high, *(k + views.goes_on_after(tape, k) for k in writes))
            # A root that is wanted may have been written without gradients.
            high = max(high, *(t.position for t in self._targets if t.slot in roots), 0)
        words[nt.R_HIGH] = high
        for t in self._targets:
            # The adjoint of a leaf stays to the end, so the sweep need not come to the leaf.
            t.is_leaf = t.position == t.slot and tape.instruction_of(t.slot).op.kind == nt.LEAF
            if not t.is_leaf:
                separating.separate_target(self, t)
        notes = tape.writes.copy()  # a finalizer may record more
        words[nt.R_WRITE_COUNT] = len(notes)
        if notes:  # loops write to many tensors between two collections, so no Python for each
            pairs = zip(notes, map(itemgetter(-1), notes.values()), strict=True)
            self._writes = np.fromiter(chain.from_iterable(pairs), np.int64, 2 * len(notes))
            words[nt.R_WRITES] = address_of(self._writes)
        words[nt.R_OPTIONS] |= nt.DETAILED
        if self.expanded:
            words[nt.R_OPTIONS] |= nt.INSPECTED
        self.fill_rows()
        words[nt.R_STAGE] = nt.LAYOUT

    def fill_rows(self) -> None:
        """Write the rows of targets, with memory for those that the sweep copies out."""
        if self._rows is None:
            self._rows = new_block(4 * max(1, len(self.targets)))
            self.words[nt.R_CAPTURES] = self._rows.address
        rows = self._rows.words
        for i, t in enumerate(self.targets):
            address, last = 0, t.layout.id
            if self._seeds is not None and not t.is_leaf:
                t.array = self.new_adjoint(t)
                address, last = address_of(t.array), self.copy_of(t.layout)
            rows[4 * i], rows[4 * i + 1] = t.position, t.slot
            rows[4 * i + 2], rows[4 * i + 3] = address, last | t.is_late << 32

    def new_adjoint(self, t: Target) -> np.ndarray:
        """Memory for the adjoint of a target that the sweep copies out."""
        return np.empty(t.layout.shape, t.layout.dtype.np)

    # ------------------------------------------------------------------ arrays
    def _bytes(self, field: int, width: int) -> np.ndarray:
        """The bytes of an array with a place of so many bytes for each statement."""
        assert self._block is not None
        start = self.words[field] - self.pointer
        return self._block.array.view(np.uint8)[start : start + width * self.words[nt.R_COUNT]]

    @property
    def adjoint(self) -> np.ndarray:
        """Addresses of adjoints, by root slot; 0 where untouched."""
        return self._bytes(nt.R_ADJOINT, 8).view(np.int64)

    @property
    def needed(self) -> np.ndarray:
        """Marks by slot; not 0 for roots whose adjoint is wanted."""
        return self._bytes(nt.R_NEEDED, 1)

    @property
    def reached(self) -> np.ndarray:
        """Marks by slot; not 0 for roots that the sweep comes by."""
        return self._bytes(nt.R_REACHED, 1)

    # ------------------------------------------------------------------ views with their own adjoint
    def separate(self, slot: int) -> None:
        """Give a view an adjoint of its own, apart from its root's."""
        if not self.words[nt.R_OPTIONS] & nt.SEPARATED:
            self.root = self.root.copy()
            self.words[nt.R_ROOT] = address_of(self.root)
            self.words[nt.R_OPTIONS] |= nt.SEPARATED
        self.root[slot] = slot

    # ------------------------------------------------------------------ the pass
    def advance(self, entry: Callable[[int, int], int]) -> int:
        """Let native code go on, by `sweep.run` or `sweep.record`, until it is done or hooks are due.

        Returns
        -------
        int
            DONE, NEEDS_HOOKS, NEEDS_RULE or NEEDS_RECORDING.

        Raises
        ------
        RuntimeError
            Whatever stops the pass; before the sweep, nothing has changed.
        """
        if self.tape.calls_python and entry is sweep.run:
            entry = partial(self.tape.apart, entry)
        while (reason := entry(self.tape.pointer, self.pointer)) in _REMEDIES:
            _REMEDIES[reason](self)
        return reason

    def prepare(self) -> None:
        """Mark the roots that the pass will visit, and raise errors that would stop it."""
        self.advance(sweep.record)  # which leaves the rest to Python

    def run(self, steps: Callable[[Request], Any]) -> None:
        """Sweep from the outputs' seeds.

        `steps` makes of the request the object that does Python's part (`Swept` of python_steps.py).
        """
        if (reason := self.advance(sweep.run)) != nt.DONE:
            steps(self).run(reason)

    def _grow(self) -> None:
        """Take a larger block."""
        assert self._block is not None
        inputs = nt.R_PLACES + 2 * (self.words[nt.R_OUTPUTS] + self.words[nt.R_TARGETS])
        block = self.tape.take_block(self.words[nt.R_SIZE])
        block.array[:inputs] = self._block.array[:inputs]
        self._block, self.words, self.pointer = block, block.words, block.address
        self.words[nt.R_SIZE] = len(self.words)

    def _build(self) -> None:
        """Build the programs that are missing."""
        words = self.words
        numbers = (ctypes.c_int32 * words[nt.R_MISSING_COUNT]).from_address(words[nt.R_MISSING])
        for number in set(numbers):
            build(INSTRUCTIONS[number], words[nt.R_VARIANT])

    def _inspect(self) -> None:
        """Look at the marks; lay them out anew where views with hooks get an adjoint of their own."""
        tape, words, flags = self.tape, self.words, self.tape.flags
        watched = words[nt.R_SEPARABLE] or any([flags[s] & nt.WATCHED for s in self.roots])
        separated = bool(watched) and separating.separate_watched(self)
        if separated or separating.leave_out_expanded(self):
            if self._rows is not None:
                self.fill_rows()
            words[nt.R_STAGE] = nt.LAYOUT
        elif tape.detached:
            detaching.check(self)

    @property
    def is_watched(self) -> bool:
        """Return True if Python has something to do in the pass (after `prepare`): hooks, Functions."""
        return self.words[nt.R_WATCHED] != 0 or anomaly.checks_nan()

    def copy_of(self, layout: Layout) -> int:
        """Number of the instruction that copies a layout; it stays as long as the request does."""
        instruction = copy_of(layout, self.words[nt.R_VARIANT])
        self.attached.copies.append(instruction)
        return instruction.id

    # ------------------------------------------------------------------ after the sweep
    def _list(self, field: int, count: int) -> list[int]:
        """Words of an array in the block."""
        start = (self.words[field] - self.pointer) >> 3
        return self.words[start : start + count].tolist()

    def yields(self, slot: int) -> bool:
        """Let the caller have the memory of a leaf's adjoint; False if it is given away already."""
        word = ((self.words[nt.R_ADJOINT] - self.pointer) >> 3) + slot
        is_there = self.words[word] != 0
        self.words[word] = 0
        return is_there

    def target_rows(self) -> list[int]:
        """Words of the rows of targets (`R_CAPTURES`)."""
        count = 4 * self.words[nt.R_TARGETS]
        if self._rows is not None:
            return self._rows.words[:count].tolist()
        return self._list(nt.R_CAPTURES, count)

    def captured(self) -> dict[int, np.ndarray | None]:
        """Adjoints of targets that are no leaves, by their numbers; None where the sweep never came by."""
        if self._rows is None:
            return {}
        places = self._rows.words[::4]
        return {
            i: t.array if places[i] == -1 else None
            for i, t in enumerate(self.targets)
            if not t.is_leaf
        }

    def leaf_rows(self) -> list[int]:
        """Slots and addresses of the adjoints of leaves: of all, or of those that are targets."""
        if self.leaves:
            return self._list(nt.R_LEAF_ROWS, 2 * self.words[nt.R_LEAF_COUNT])
        rows, captured = self.target_rows(), self.captured()
        leaves = {
            rows[4 * i + 1]: rows[4 * i + 2] for i in range(len(rows) // 4) if i not in captured
        }
        return list(chain.from_iterable(leaves.items()))

    def recorded(self) -> list[int | None]:
        """Slots of the targets' cotangents, where native code has recorded the pass."""
        return [slot or None for slot in self.target_rows()[2::4]]

    def release(self, *, free: bool) -> None:
        """Give adjoints back; with `free`, residuals of swept statements count as freed."""
        tape = self.tape
        duties = nt.FREES_RESIDUALS if free else 0
        if tape.counted + len(tape.requests) <= 1 or tape.passes <= 1:
            duties |= nt.EMPTIES_ARENA
        sweep.release(tape.pointer, self.pointer, duties)
        if free and self._attached is not None:
            for context in self._attached.contexts:
                context.release()
        tape.checked()
        fuse.heat()


_REMEDIES: dict[int, Callable[[Request], None]] = {
    nt.NEEDS_ROOM: Request._grow,
    nt.NEEDS_VALUES: lambda request: request.tape.evaluate(),
    nt.NEEDS_PROGRAMS: Request._build,
    nt.NEEDS_DETAILS: Request.detail,
    nt.NEEDS_INSPECTION: Request._inspect,
    nt.IS_FREED: pass_errors.raise_freed,
    nt.IS_STALE: pass_errors.raise_stale,
    nt.IS_UNUSED: pass_errors.raise_unused,
    nt.HAS_FAILED: pass_errors.raise_failure,
}


def innermost(tape: Tape) -> Request:
    """Return the pass of a tape that is under way, and of several the last that began."""
    alive = (request for reference in reversed(tape.requests) if (request := reference()))
    return next(alive)
