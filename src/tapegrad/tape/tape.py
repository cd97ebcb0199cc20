"""The tape: flat arrays of statements and slots, and the memory of their values.

Statements up to `done` have been evaluated; the rest are pending until a value is asked for
(`evaluate`). Small values are bump-allocated from an arena, large ones have a buffer each.
Handles refer to slots through ``handles``, so that the collector (collector.py) can renumber slots.

Start reading at `Tape.append`, then `evaluate` in values.py; current.py knows the tape of each thread.
"""

from __future__ import annotations

import struct
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from ..base.dtypes import dtype, float32, float64
from ..base.errors import NOT_INITIALISED, TapeError
from ..base.fast_paths import REFUSED
from ..native import abi as nt
from ..native import handle_type as handle
from ..native import machine_code
from ..ops.instruction import Instruction, leaf
from ..ops.layout import SCALARS, Layout
from ..ops.program import offset_words
from . import collector, hook_cycles
from .constants import Constants
from .memory_views import Block, address_of, give_up_reserve, new_block
from .values import Values

__all__ = ["EXISTING", "TAPES", "Tape", "slot_of", "tape_at"]

#: statements that a tape has before it is collected for the first time, and more
LEAST_ROOM = 4096
#: bytes of pending results after which recording evaluates before it goes on
PENDING_LIMIT = 1 << 26
#: bytes of free large buffers that a tape keeps for reuse
POOL_LIMIT = 1 << 28

#: the tapes that there are, by the address of their state
TAPES: dict[int, Tape] = {}
machine_code.keep_for_ever(TAPES)
#: all tapes, also those that are forgotten and not yet destroyed
EXISTING: dict[int, weakref.ref[Tape]] = {}
machine_code.keep_for_ever(EXISTING)

#: the bits of a float
_SINGLE, _DOUBLE, _BITS = struct.Struct("f"), struct.Struct("d"), struct.Struct("q")
#: whole numbers up to here are floats; numbers below the other one are finite in float32
_EXACT, _SAFE = 1 << 53, 3.4e38


class Tape(Values):
    """A tape of one thread.

    Parameters
    ----------
    capacity : int
        Statements to make room for at first.
    abstract : bool
        Whether it only records: the tapes on which VJPs are traced have no values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tape = tg.current_tape()
    >>> isinstance(tape, tg.Tape), tape.stats()["statements"] >= 0
    (True, True)
    """

    def __init__(self, capacity: int = LEAST_ROOM, *, abstract: bool = False) -> None:
        self.abstract = abstract
        #: the words that native code reads and writes; a memoryview gives Python ints, quickly
        _, self.state, self.pointer = new_block(nt.S_WIDTH)
        self.owner = threading.current_thread()
        #: held while the arrays change or a sweep runs over them
        self.lock = threading.RLock()
        super().__init__()
        self.collect_at = capacity
        s = self.state
        s[nt.S_OWNER] = threading.get_ident()
        s[nt.S_GRAD_MODE] = 1
        #: the bytes of S_BUSY
        self.busy = s.cast("B")[8 * nt.S_BUSY : 8 * nt.S_BUSY + 8]
        self.busy[nt.BUSY_TRACED] = Tape.trace is not None
        self.busy[nt.BUSY_REFUSED] = REFUSED
        s[nt.S_PENDING_LIMIT] = PENDING_LIMIT
        s[nt.S_COLLECT_AT] = collector.COLLECT_BYTES
        s[nt.S_HANDLE_FREE] = -1
        s[nt.S_POOL + 1] = POOL_LIMIT
        s[nt.S_COUNT] = s[nt.S_DONE] = 1
        self._allocate(capacity)
        self._handles = np.zeros(0, np.int32)
        self._grow_handles(capacity)
        self._use_constants(Constants({}))
        self._block: Block | None = None  # see take_block
        EXISTING[self.pointer] = weakref.ref(self)
        TAPES[self.pointer] = self

    def __del__(self) -> None:
        if nt is not None and hasattr(self, "arg_start"):
            # From here on nothing is given to its pool (memory_views.py).
            self.state[nt.S_OWNER] = 0
            collector.destroy(self.pointer)
            EXISTING.pop(self.pointer, None)

    @property
    def passes(self) -> int:
        """Number of passes under way, one inside the other: they know slots by number, which must stay."""
        requests = self.requests
        while requests and requests[-1]() is None:
            requests.pop()
        return self.counted + len(requests)

    def _use_constants(self, constants: Constants) -> None:
        """Let native recording find Python scalars there."""
        self.constants = constants
        self.state[nt.S_CONSTANTS] = address_of(constants.table)
        self.state[nt.S_CONSTANTS_MASK] = len(constants.table) - 1

    @property
    def grad_mode(self) -> bool:
        """True if results of active operands are active.

        It is set in ``state``: a store, before or in the middle of which no interrupt comes.
        """
        return bool(self.state[nt.S_GRAD_MODE])

    @property
    def asked_grad_mode(self) -> bool:
        """The grad mode as a user sets and reads it; nothing is active in inference mode."""
        return self.grad_mode if self.inference_start < 0 else self._asked_mode

    @property
    def masks_zeros(self) -> bool:
        """True if passes mask cotangents that are zero (autograd.mask_zero_cotangents)."""
        return bool(self.state[nt.S_MASKS_ZEROS])

    # ------------------------------------------------------------------ recording
    def make_room(self, statements: int = 1, args: int = 64, *, collect: bool = True) -> None:
        """Make sure that statements can be appended; afterwards slots may have other numbers.

        Parameters
        ----------
        statements, args : int
            How much room is needed.
        collect : bool
            Whether the collector may run. It renumbers slots, so a caller that holds slot numbers
            says no.
        """
        if handle.room_left(self.pointer, statements, args, self.collect_at) and not (
            self.collection_due and not self.passes
        ):
            return
        with self.lock:
            # The slots of an abstract tape are known by number (traced_rule.py): they stay.
            self._make_room(statements, args, collect and not self.abstract)

    def _make_room(self, statements: int, args: int, collect: bool) -> None:
        s = self.state
        if collect and self.collection_due and not self.passes:
            self.collect()
        if collect and s[nt.S_PENDING_BYTES] > s[nt.S_PENDING_LIMIT]:
            self.evaluate()
            if self.is_full:
                self.collect()
            s[nt.S_PENDING_BYTES] = 0
        if s[nt.S_HANDLE_FREE] < 0:
            self._grow_handles(2 * int(s[nt.S_HANDLE_CAPACITY]))
        room = min(self.collect_at, s[nt.S_CAPACITY]) if collect else s[nt.S_CAPACITY]
        if s[nt.S_COUNT] + statements <= room and s[nt.S_ARG_COUNT] + args <= s[nt.S_ARG_CAPACITY]:
            return
        if collect:
            self.collect()
            if self._lags():
                self.evaluate()
                self.collect()
            self.collect_at = max(self.collect_at, 2 * (s[nt.S_COUNT] + statements))
        capacity = int(s[nt.S_CAPACITY])
        count, arg_count = s[nt.S_COUNT] + statements, s[nt.S_ARG_COUNT] + args
        while 2 * count > capacity or 2 * arg_count > max(2 * capacity, s[nt.S_ARG_CAPACITY]):
            capacity *= 2
        if capacity > len(self.instruction) or s[nt.S_ARG_COUNT] + args > s[nt.S_ARG_CAPACITY]:
            self._allocate(capacity)
        else:
            s[nt.S_CAPACITY] = max(capacity, s[nt.S_CAPACITY])

    def _lags(self) -> bool:
        """Return True if most statements are passive and pending: they keep their operands until then."""
        n, done = self.count, self.done
        if n < LEAST_ROOM // 2 or 2 * (n - done) < n - self.floor:
            return False
        active = np.count_nonzero(self.flags[self.root[done:n]] & nt.ACTIVE)
        return bool(2 * active < n - done)

    def append(
        self, instruction: Instruction, slots: Sequence[int], extra: Sequence[int] = ()
    ) -> int:
        """Append a statement (and those of its further results); return its slot.

        Never collects, so slots keep their numbers. `make_room` comes first where it may.
        """
        if self.inference and self.inference_start < 0:
            Tape.guard(self, instruction, slots)
        with self.lock:
            slot = self._append(instruction, slots, extra)
        if self.saving is not None:
            self.saving(self, slot)
        return slot

    def _append(self, instruction: Instruction, slots: Sequence[int], extra: Sequence[int]) -> int:
        if instruction.op.kind == nt.WRITE or instruction.op.kind == nt.ACCUMULATE:
            self.settle_target(slots)
        # All results in one native call: statements of a finalizer must not come between them.
        further = [output.id for output in instruction.outputs]
        count, more = len(slots) + len(extra), len(further)
        words = struct.pack(f"<{count + more}i", *slots, *extra, *further)
        slot = handle.append_statement(self.pointer, instruction.id, words, count, 2 * more)
        while slot < 0:
            self._make_room(1 + more, count + more, False)
            slot = handle.append_statement(self.pointer, instruction.id, words, count, 2 * more + 1)
        if Tape.trace is not None:
            Tape.trace(self, slot)
        return int(slot)

    def take_block(self, words: int) -> Block:
        """Memory of at least `words` words; `give_block` returns it."""
        block, self._block = self._block, None
        if block is None or words > len(block.array):
            try:
                block = new_block(max(1024, 2 * words))
            except MemoryError:
                if not give_up_reserve():
                    raise
                self.collection_due = True  # which sets a reserve aside again
                block = new_block(words)
        return block

    def give_block(self, block: Block) -> None:
        """Keep the memory of a reverse pass for the next one."""
        self._block = block

    def append_view(self, instruction: Instruction, source: int, offset: int) -> int:
        """Append a view of slot `source`, `offset` bytes into it."""
        return self.append(instruction, (source,), offset_words(offset))

    def bind(self, array: np.ndarray, layout: Layout, *, active: bool, keep: Any = None) -> int:
        """Append a leaf for memory that the tape does not own; return its slot.

        Parameters
        ----------
        array : numpy.ndarray
            Over the memory; its layout must be `layout`.
        active : bool
            Whether the leaf requires grad.
        keep : object, optional
            Object that the tape keeps alive with the slot, `array` if not given.
        """
        address = address_of(array)
        instruction = leaf(layout, active)
        with self.lock:
            # The owner is noted first: an interrupt must not leave memory without one.
            owner = array if keep is None else keep
            self.owned[self.state[nt.S_COUNT]] = owner
            while (
                slot := handle.append_leaf(self.pointer, instruction.id, address, int(active))
            ) < 0:
                self._make_room(1, 0, False)
            self.owned[slot] = owner
        if active:
            self.leaves[slot] = keep
        return int(slot)

    def new_handle(self, slot: int, layout: Layout) -> Any:
        """Return a new Tensor of a slot."""
        while (tensor := handle.new_handle_object(self.pointer, slot, layout.id)) is None:
            self._grow_handles(2 * int(self.state[nt.S_HANDLE_CAPACITY]))
        return tensor

    def bind_handle(self, tensor: Any, slot: int, layout: int) -> None:
        """Let a Tensor, unbound or on any tape, refer to a slot, in a layout (its id)."""
        while handle.bind_handle(tensor, self.pointer, slot, layout) != 0:
            self._grow_handles(2 * int(self.state[nt.S_HANDLE_CAPACITY]))

    def constant(self, value: float | int | bool, kind: dtype) -> int:
        """Slot of a Python scalar in dtype `kind`; the same number keeps the same slot."""
        if type(value) is float or (type(value) is int and -_EXACT < value < _EXACT):
            number: float = value
            if kind is float32 and -_SAFE < value < _SAFE:
                (number,) = _SINGLE.unpack(_SINGLE.pack(value))
            if kind is float64 or kind is float32:
                key = (_BITS.unpack(_DOUBLE.pack(number))[0], kind.code)
                slot = self.constants.slots.get(key)
                if slot is not None:
                    return slot
        with np.errstate(over="ignore"):  # 1e308 is inf in float32
            array = np.asarray(value, kind.np)
        return self.constant_of(*Constants.key(array, kind))

    def constant_of(self, bits: int, code: int) -> int:
        """Slot of the scalar with a key of `Constants`."""
        key = bits, code
        slot = self.constants.slots.get(key)
        if slot is None:
            slot = self.bind(Constants.array(bits, code), SCALARS[code], active=False)
            constants = self.constants.add(key, slot)
            if constants is not self.constants:
                self._use_constants(constants)
        return slot

    def undo(self, count: int) -> None:
        """Drop the statements from slot `count` on, unless there is a tensor of them by now."""
        s = self.state
        with self.lock:
            while s[nt.S_COUNT] > count and not (self._handles >= count).any():
                collector.drop(self, count)

    # ------------------------------------------------------------------ collection
    def collect(self) -> None:
        """Drop statements that no handle needs; slots from the floor on get other numbers."""
        with self.lock:
            self.collection_due = True
            if not self.may_collect():
                return
            hook_cycles.drop_unreachable(self)
            if not collector.collect(self):
                return
            self.collection_due = self.floor > 1
            s = self.state
            room = self.floor + max(LEAST_ROOM, 4 * (s[nt.S_COUNT] - self.floor))
            if len(self.instruction) > 1 << 16 and 4 * room < len(self.instruction):
                self._allocate(max(1 << 16, room))
            # The next collection comes when this part has grown fourfold, whatever room there is.
            s[nt.S_CAPACITY] = min(len(self.instruction), room)
            self.collect_at = room
            self.checked()

    def capture(self, tensor: Any) -> int:
        """Slot of a tensor that is on another tape, where this one records for that (batch_trace.py)."""
        self.refuse("uses a tensor that it was not given")

    @property
    def is_full(self) -> bool:
        """True if there is so much in large buffers and new leaves that a collection is due."""
        s = self.state
        return bool(s[nt.S_OWNED_BYTES] + s[nt.S_BOUND] > s[nt.S_COLLECT_AT])

    def may_collect(self) -> bool:
        """Return True if this thread may renumber slots: the owner and passes rely on their numbers."""
        in_charge = threading.current_thread() is self.owner or not self.owner.is_alive()
        return in_charge and self.passes <= self.waiting

    def __repr__(self) -> str:
        return f"<tapegrad.Tape of {len(self)} statements, {self.count - self.done} pending>"

    def __str__(self) -> str:
        return repr(self) if Tape.formatter is None else Tape.formatter(self)

    #: text that ``print(tape)`` shows (tape/printer.py)
    formatter: ClassVar[Callable[[Tape], str] | None] = None
    #: told of every statement, while anomaly detection is on (anomaly.py)
    trace: ClassVar[Callable[[Tape, int], None] | None] = None
    #: looks at a statement before it is appended, where there are inference tensors (inference.py)
    guard: ClassVar[Callable[[Tape, Instruction, Sequence[int]], None]]
    #: run on the tape after every sweep and collection, if set (verifier.py)
    check: ClassVar[Callable[[Tape], None] | None] = None

    def checked(self) -> None:
        """Run the verifier, where it was asked for."""
        if Tape.check is not None:
            Tape.check(self)


def tape_at(pointer: int) -> Tape:
    """The tape whose state is at `pointer` (a handle's ``_state``).

    Raises
    ------
    TapeError
        For a handle that was never initialised (``object.__new__(Tensor)``).
    """
    tape = TAPES.get(pointer)
    if tape is None:
        raise TapeError(NOT_INITIALISED)
    return tape


def slot_of(tape: Tape, tensor: Any) -> int:
    """Slot of a handle on `tape`.

    Raises
    ------
    TapeError
        If the handle is on another tape, or is being moved to one by another thread.
    """
    slot: int = handle.slot_at(tape.pointer, tensor)
    if slot > 0:
        return slot
    if not hasattr(tensor, "_state"):
        raise TypeError(f"expected a Tensor, but got {type(tensor).__name__}")
    raise TapeError(
        "a tensor of another thread's tape was used while that thread changed it; share tensors "
        "between threads by value (.detach().clone()), or under a lock of your own"
    )
