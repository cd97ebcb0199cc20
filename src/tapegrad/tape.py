"""The tape: flat arrays of statements and slots, and the memory of their values.

Statements up to `done` have been evaluated; the rest are pending until somebody asks for a value
(`evaluate`). Small values are bump-allocated from an arena, large ones have buffers of their own.
Handles refer to slots through ``handles``, so that the collector (collector.py) can renumber slots.

Start reading at `Tape.append`, then `evaluate`; threads.py says which tape is whose.
"""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from . import collector, handle, sweep
from . import native as nt
from .arrays import Arrays
from .buffers import address_of, array_at
from .constants import Constants
from .dtypes import dtype
from .errors import TapeError
from .instructions import Instruction, leaf
from .layouts import SCALARS, Layout

if TYPE_CHECKING:
    from .hooks import Hooks
    from .versions import Shared

__all__ = ["TAPES", "Tape", "slot_of", "tape_at"]

#: bytes of pending results after which recording evaluates before it goes on
PENDING_LIMIT = 1 << 26
#: bytes of free large buffers that a tape keeps for reuse
POOL_LIMIT = 1 << 28

#: the tapes that there are, by the address of their state
TAPES: dict[int, Tape] = {}
nt.keep_for_ever(TAPES)


#: how ctypes reads a number of each dtype
_NUMBERS: dict[str, Any] = {
    "d": ctypes.c_double, "f": ctypes.c_float, "l": ctypes.c_int64, "q": ctypes.c_int64,
    "?": ctypes.c_bool,
}  # fmt: skip


class Tape(Arrays):
    """A tape of one thread.

    Parameters
    ----------
    capacity : int
        Statements to make room for at first.
    abstract : bool
        Whether it only records: the tapes on which VJPs are traced have no values.
    """

    def __init__(self, capacity: int = 4096, *, abstract: bool = False) -> None:
        self.abstract = abstract
        words = np.zeros(nt.S_WIDTH, np.int64)
        self.pointer = words.ctypes.data
        #: the words that native code reads and writes; a memoryview gives Python ints, quickly
        self.state = memoryview(words)  # type: ignore[arg-type]
        self.owner = threading.current_thread()
        #: held by whoever changes the arrays or runs a sweep over them
        self.lock = threading.RLock()
        #: what statements refer to and the tape does not own: slot -> ndarray or leaf storage
        self.owned: dict[int, Any] = {}
        #: the leaves among them that require grad: slot -> storage
        self.leaves: dict[int, Any] = {}
        #: slots whose adjoint a reverse sweep leaves in a storage's ``grad``: slot -> storage
        self.retained: dict[int, Any] = {}
        #: in-place writes: (base, 2 * statement, or an odd number behind a dropped one)
        self.writes: list[tuple[int, int]] = []
        #: version of each base that was written in place
        self.versions: dict[int, int] = {}
        self.prune_at = 64
        #: memory that other tapes see too: base -> (its count of writes, the count known here)
        self.shared: dict[int, tuple[Shared, int]] = {}
        #: hooks of results and their nodes: slot -> Hooks
        self.hooks: dict[int, Hooks] = {}
        #: contexts of `autograd.Function` calls, by their `function` statement
        self.contexts: dict[int, Any] = {}
        #: stacks of the calls that recorded, while anomaly detection is on
        self.traces: dict[int, Any] = {}
        #: reverse passes under way, one inside the other
        self.passes = 0
        #: leaves of other threads' tapes that are bound here: storage -> slot
        self.guests: dict[Any, int] = {}
        self.collections = 0
        self.strips_at = 1 << 22  # bytes of large buffers after which `njit` collects first
        self.handles_left = 0  # by an orphan's last collection (threads.py)
        s = self.state
        s[nt.S_OWNER] = threading.get_ident()
        s[nt.S_GRAD_MODE] = 1
        s[nt.S_BUSY] = nt.BUSY_TRACED if Tape.trace is not None else 0
        s[nt.S_PENDING_LIMIT] = PENDING_LIMIT
        s[nt.S_COLLECT_AT] = collector.COLLECT_BYTES
        s[nt.S_HANDLE_FREE] = -1
        s[nt.S_POOL + 2] = POOL_LIMIT
        s[nt.S_COUNT] = s[nt.S_DONE] = 1
        self._allocate(capacity)
        self._handles = np.zeros(0, np.int32)
        self._grow_handles(capacity)
        self._use_constants(Constants({}))
        #: memory for the arrays of one reverse pass after the other (request.py), and its address
        self._block: tuple[np.ndarray, int] | None = None
        TAPES[self.pointer] = self

    def __del__(self) -> None:
        if nt is not None and hasattr(self, "arg_start"):
            collector.destroy(self.pointer)

    def _use_constants(self, constants: Constants) -> None:
        """Let native recording find Python scalars there."""
        self.constants = constants
        self.state[nt.S_CONSTANTS] = constants.table.ctypes.data
        self.state[nt.S_CONSTANTS_MASK] = len(constants.table) - 1

    @property
    def grad_mode(self) -> bool:
        """Whether results of active operands are active."""
        return bool(self.state[nt.S_GRAD_MODE])

    @grad_mode.setter
    def grad_mode(self, value: bool) -> None:
        self.state[nt.S_GRAD_MODE] = bool(value)

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
        with self.lock:
            # The slots of an abstract tape are known by number (vjp.py): they stay.
            self._make_room(statements, args, collect and not self.abstract)

    def _make_room(self, statements: int, args: int, collect: bool) -> None:
        s = self.state
        if collect and s[nt.S_PENDING_BYTES] > s[nt.S_PENDING_LIMIT]:
            self.evaluate()
            if s[nt.S_OWNED_BYTES] > s[nt.S_COLLECT_AT]:
                self.collect()
            s[nt.S_PENDING_BYTES] = 0
        if s[nt.S_HANDLE_FREE] < 0:
            self._grow_handles(2 * int(s[nt.S_HANDLE_CAPACITY]))
        if (
            s[nt.S_COUNT] + statements <= s[nt.S_CAPACITY]
            and s[nt.S_ARG_COUNT] + args <= s[nt.S_ARG_CAPACITY]
        ):
            return
        if collect:
            self.collect()
        capacity = int(s[nt.S_CAPACITY])
        while 2 * (int(s[nt.S_COUNT]) + statements) > capacity or 2 * (
            int(s[nt.S_ARG_COUNT]) + args
        ) > max(2 * capacity, int(s[nt.S_ARG_CAPACITY])):
            capacity *= 2
        if capacity > len(self.instruction) or s[nt.S_ARG_COUNT] + args > s[nt.S_ARG_CAPACITY]:
            self._allocate(capacity)
        else:
            s[nt.S_CAPACITY] = max(capacity, s[nt.S_CAPACITY])

    def append(self, made: Instruction, slots: Sequence[int], extra: Sequence[int] = ()) -> int:
        """Append a statement (and those of its further results); return its slot.

        Never collects, so slot numbers stay what they are. `make_room` comes first where it may.
        """
        with self.lock:
            return self._append(made, slots, extra)

    def _append(self, made: Instruction, slots: Sequence[int], extra: Sequence[int]) -> int:
        count = len(slots) + len(extra)
        words = (ctypes.c_int32 * max(count, 1))(*slots, *extra)
        pointer = ctypes.addressof(words)
        slot = -1
        if not made.outputs:
            slot = handle.append_statement(self.pointer, made.id, pointer, count)
        if slot < 0:
            self._make_room(1 + len(made.outputs), count + len(made.outputs), False)
            limit = self.state[nt.S_PENDING_LIMIT]
            self.state[nt.S_PENDING_LIMIT] = 1 << 62
            slot = handle.append_statement(self.pointer, made.id, pointer, count)
            for output in made.outputs:
                words[0] = slot
                handle.append_statement(self.pointer, output.id, pointer, 1)
            self.state[nt.S_PENDING_LIMIT] = limit
        if Tape.trace is not None:
            Tape.trace(self, slot)
        return slot

    def take_block(self, words: int) -> tuple[np.ndarray, int]:
        """Memory of at least `words` words and its address; `give_block` returns it."""
        block, self._block = self._block, None
        if block is None or words > len(block[0]):
            memory = np.zeros(max(1024, 2 * words), np.int64)
            block = (memory, memory.ctypes.data)
        return block

    def give_block(self, block: tuple[np.ndarray, int]) -> None:
        """Keep the memory of a reverse pass for the next one."""
        self._block = block

    def append_view(self, made: Instruction, source: int, offset: int) -> int:
        """Append a view of slot `source`, `offset` bytes into it."""
        words = struct.unpack("<ii", struct.pack("<q", offset))
        return self.append(made, (source,), words)

    def bind(self, array: np.ndarray, layout: Layout, *, active: bool, keep: Any = None) -> int:
        """Append a leaf for memory that the tape does not own; return its slot.

        Parameters
        ----------
        array : numpy.ndarray
            Whose memory it is; its layout must be `layout`.
        active : bool
            Whether the leaf requires grad.
        keep : object, optional
            What the tape keeps alive with the slot, `array` if not given.
        """
        address = address_of(array)
        made = leaf(layout, active)
        with self.lock:
            self._make_room(1, 0, False)
            # The owner is noted first: an interrupt must not leave memory without one.
            owner = array if keep is None else keep
            self.owned[self.state[nt.S_COUNT]] = owner
            while (slot := handle.append_leaf(self.pointer, made.id, address, int(active))) < 0:
                self._make_room(1, 0, False)
            self.owned[slot] = owner
        if active:
            self.leaves[slot] = keep
        return int(slot)

    def constant(self, value: float | int | bool, kind: dtype) -> int:
        """Slot of a Python scalar in dtype `kind`; the same number keeps the same slot."""
        with np.errstate(over="ignore"):  # 1e308 is inf in float32
            array = np.asarray(value, kind.np)
        key = Constants.key(array, kind)
        slot = self.constants.slots.get(key)
        if slot is None:
            slot = self.bind(array, SCALARS[kind.code], active=False)
            constants = self.constants.add(key, slot)
            if constants is not self.constants:
                self._use_constants(constants)
        return slot

    def undo(self, count: int) -> None:
        """Drop the statements from slot `count` on, unless somebody has a tensor of them by now."""
        s = self.state
        with self.lock:
            if s[nt.S_COUNT] <= count or (self._handles >= count).any():
                return
            if any(slot >= count for slot in self.constants.slots.values()):
                known = self.constants.slots.copy()
                self._use_constants(Constants({k: v for k, v in known.items() if v < count}))
            s[nt.S_ARG_COUNT] = self.arg_start[count]
            s[nt.S_COUNT] = count
            s[nt.S_DONE] = min(int(s[nt.S_DONE]), count)
            for book in self.books():
                for slot in [slot for slot in book if slot >= count]:
                    del book[slot]
            self.guests = {k: v for k, v in self.guests.items() if v < count}
            self.writes = [(base, mark) for base, mark in self.writes if mark < 2 * count]

    def books(self) -> tuple[dict[int, Any], ...]:
        """What is kept by slot."""
        return tuple(getattr(self, name) for name in collector.BOOKS)

    # ------------------------------------------------------------------ values
    def evaluate(self) -> None:
        """Run the forward sweep over the pending statements.

        Raises
        ------
        MemoryError
            If a result does not fit in memory; it names the op and the shape.
        """
        s = self.state
        if self.abstract:
            raise TapeError("a derivative rule must not read values: it is traced without any")
        with self.lock:
            if s[nt.S_DONE] < s[nt.S_COUNT]:
                # Without the GIL the owner could go on recording while another thread evaluates.
                self.set_busy(nt.BUSY_SWEEP, True)
                try:
                    failed = sweep.forward(self.pointer)
                finally:
                    self.set_busy(nt.BUSY_SWEEP, False)
                s[nt.S_EAGER] = 0
                self.checked()
                if failed:
                    raise MemoryError(self._out_of_memory(failed))

    def set_busy(self, why: int, on: bool) -> None:
        """Send recording to Python (and to the lock), or let it be native again."""
        busy = self.state[nt.S_BUSY]
        self.state[nt.S_BUSY] = busy | why if on else busy & ~why

    def _out_of_memory(self, slot: int) -> str:
        made = self.instruction_of(slot)
        return (
            f"{made.op.name}: no memory for a result of shape {list(made.out.shape)} "
            f"({made.out.span} bytes) of operands "
            f"{', '.join(str(list(x.shape)) for x in made.layouts)}"
        )

    def check_value(self, slot: int) -> None:
        """Raise if a slot's evaluation failed."""
        if self.flags[slot] & nt.POISON:
            raise MemoryError(self._out_of_memory(slot))

    def memory(self, slot: int, layout: Layout) -> np.ndarray:
        """A slot's value as an array over the tape's own memory: read it before the tape moves it.

        Pending statements are evaluated first.
        """
        self.evaluate()
        self.check_value(slot)
        return array_at(int(self.address[slot]), layout)

    def number(self, slot: int, kind: dtype) -> float | int | bool:
        """The first element of a slot's value as a Python number."""
        self.evaluate()
        self.check_value(slot)
        found: float | int | bool = (
            _NUMBERS[kind.np.char].from_address(int(self.address[slot])).value
        )
        return found

    def value(self, slot: int, layout: Layout) -> np.ndarray:
        """A copy of a slot's value."""
        with self.lock:
            return self.memory(slot, layout).copy()

    def expose(self, slot: int, layout: Layout) -> np.ndarray:
        """An array that shares a slot's memory for as long as either lives.

        What the tape owns moves into an ndarray first. From then on the memory is VISIBLE:
        statements that use it are evaluated when they are recorded.
        """
        with self.lock:
            return self._expose(slot, layout)

    def _expose(self, slot: int, layout: Layout) -> np.ndarray:
        self.evaluate()
        self.check_value(slot)
        base = int(self.base[slot])
        if not self.flags[base] & nt.EXTERNAL:
            made = self.instruction_of(base)
            span = made.out.span
            block = np.empty(max(span, 1), np.uint8)
            old = int(self.address[base])
            ctypes.memmove(block.ctypes.data, old, span)
            shift = block.ctypes.data - old
            n = self.count
            aliases = (self.base[:n] == base) & (self.address[:n] != 0)
            self.address[:n][aliases] += shift
            self.flags[base] |= nt.EXTERNAL
            self.owned[base] = block
            if span > nt.SMALL:
                self.state[nt.S_OWNED_BYTES] -= span
                collector.give_back(self.pointer, old, span)
        self.flags[base] |= nt.VISIBLE
        keep = self.owned[base]
        keep = getattr(keep, "array", keep)  # the memory, not the gradient that a storage holds
        array = array_at(int(self.address[slot]), layout, keep)
        return array

    # ------------------------------------------------------------------ collection
    def collect(self) -> None:
        """Drop what no handle needs; slots get other numbers."""
        with self.lock:
            if not self.may_collect() or not collector.collect(self):
                return
            s = self.state
            room = max(4096, 4 * s[nt.S_COUNT])
            if len(self.instruction) > 1 << 16 and 4 * room < len(self.instruction):
                self._allocate(max(1 << 16, room))
            # The next collection comes when the tape has grown fourfold, whatever room there is.
            s[nt.S_CAPACITY] = min(len(self.instruction), room)
            self.checked()

    def may_collect(self) -> bool:
        """Whether this thread may renumber slots: the owner relies on their numbers."""
        return threading.current_thread() is self.owner or not self.owner.is_alive()

    def __repr__(self) -> str:
        return f"<tapegrad.Tape of {len(self)} statements, {self.count - self.done} pending>"

    def __str__(self) -> str:
        return repr(self) if Tape.formatter is None else Tape.formatter(self)

    #: what ``print(tape)`` shows (display/tape_text.py)
    formatter: ClassVar[Callable[[Tape], str] | None] = None
    #: told of every statement, while anomaly detection is on (anomaly.py)
    trace: ClassVar[Callable[[Tape, int], None] | None] = None
    #: run on the tape after every sweep and collection, if set (verify.py)
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
        raise TapeError("this tensor was not initialised; make tensors with tapegrad.tensor(...)")
    return tape


def slot_of(tape: Tape, tensor: Any) -> int:
    """Slot of a handle on `tape`.

    Raises
    ------
    TapeError
        If the handle is on another tape, or is being moved to one by another thread.
    """
    number, table = tensor._handle, tape._handles
    if number < len(table):
        slot = int(table[number])
        if slot > 0 and tensor._state == tape.pointer:  # in this order: it may move meanwhile
            return slot
    raise TapeError(
        "a tensor of another thread's tape was used while that thread changed it; share tensors "
        "between threads by value (.detach().clone()), or under a lock of your own"
    )
