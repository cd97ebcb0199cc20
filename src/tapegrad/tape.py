"""The tape: flat arrays of statements and slots, and the memory of their values.

How the data lies in memory. Statement ``k`` defines slot ``k`` (slot 0 is the passive nothing):

==============  ======  ==================================================================
instruction     int32   number in the instruction table (op, layouts, attributes, kernels)
arg_start       int32   CSR into ``arg``; one more entry than statements
arg             int32   operand slots; a view also has its byte offset here (two words)
address         int64   where the primal is; 0 while the statement is pending
root            int32   slot whose adjoint buffer this slot's adjoint lies in (itself, or a
                        view's root)
base            int32   slot whose memory this slot's lies in
flags           uint8   ACTIVE, EXTERNAL, FREED ... (native.py)
==============  ======  ==================================================================

Statements up to `done` have been evaluated; the rest are pending until somebody asks for a value
(`evaluate`). Small values are bump-allocated from an arena, large ones have buffers of their own.
Handles refer to slots through ``handles``, so that the collector (collector.py) can renumber slots.

One tape a thread: `current_tape`. Start reading at `Tape.append`, then `evaluate` and `collect`.
"""

from __future__ import annotations

import ctypes
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from . import collector, handle, sweep
from . import native as nt
from .dtypes import dtype
from .errors import TapeError
from .instructions import INSTRUCTIONS, Instruction, leaf
from .layouts import SCALARS, Layout, intern

__all__ = ["Tape", "current_tape", "tape_at"]

#: bytes of pending results after which recording evaluates before it goes on
PENDING_LIMIT = 1 << 26
#: bytes of free large buffers that a tape keeps for reuse
POOL_LIMIT = 1 << 28
#: bytes of large buffers after which sweeps are followed by a collection, unless more are in use
COLLECT_BYTES = 1 << 25


class Tape:
    """A tape of one thread.

    Parameters
    ----------
    capacity : int
        Statements to make room for at first.
    abstract : bool
        Whether it only records: the tapes on which VJPs are traced have no values.
    """

    instruction: np.ndarray
    arg_start: np.ndarray
    arg: np.ndarray
    address: np.ndarray
    root: np.ndarray
    base: np.ndarray
    flags: np.ndarray

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
        self.constants: dict[tuple[int, int], int] = {}
        self.collections = 0
        s = self.state
        s[nt.S_OWNER] = threading.get_ident()
        s[nt.S_GRAD_MODE] = 1
        s[nt.S_PENDING_LIMIT] = PENDING_LIMIT
        s[nt.S_COLLECT_AT] = COLLECT_BYTES
        s[nt.S_HANDLE_FREE] = -1
        s[nt.S_POOL + 2] = POOL_LIMIT
        s[nt.S_COUNT] = s[nt.S_DONE] = 1
        self._allocate(capacity)
        self._handles = np.zeros(0, np.int32)
        self._grow_handles(capacity)
        self._constant_table = np.zeros((64, 3), np.int64)
        self._set_constants()
        #: memory for the arrays of one reverse pass after the other (request.py), and its address
        self._block: tuple[np.ndarray, int] | None = None
        _tapes[self.pointer] = self

    def __del__(self) -> None:
        if nt is not None and hasattr(self, "arg_start"):
            collector.destroy(self.pointer)

    # ------------------------------------------------------------------ arrays
    def _allocate(self, capacity: int) -> None:
        """Make the arrays larger (or make them)."""
        if capacity >= 1 << 30:
            raise MemoryError("the tape is full: it cannot hold more than 2**30 statements")
        arg_capacity = max(2 * capacity, 2 * int(self.state[nt.S_ARG_COUNT]))
        arrays: dict[str, np.ndarray] = {
            "instruction": np.zeros(capacity, np.int32),
            "arg_start": np.zeros(capacity + 1, np.int32),
            "arg": np.zeros(arg_capacity, np.int32),
            "address": np.zeros(capacity, np.int64),
            "root": np.zeros(capacity, np.int32),
            "base": np.zeros(capacity, np.int32),
            "flags": np.zeros(capacity, np.uint8),
        }
        pointers = np.array([a.ctypes.data for a in arrays.values()], np.int64)
        _commit(
            self, arrays, collector.grow, self.pointer, pointers.ctypes.data, capacity, arg_capacity
        )

    def _grow_handles(self, capacity: int) -> None:
        table = np.zeros(capacity, np.int32)
        collector.grow_handles(self.pointer, table.ctypes.data, capacity)
        self._handles = table

    def _set_constants(self) -> None:
        """Build the table in which native recording finds the slots of Python scalars."""
        table = self._constants_as_table(self.constants)
        self._constant_table = table
        self.state[nt.S_CONSTANTS] = table.ctypes.data
        self.state[nt.S_CONSTANTS_MASK] = len(table) - 1

    def _constants_as_table(self, constants: dict[tuple[int, int], int]) -> np.ndarray:
        size = 64
        while size < 2 * len(constants) + 2:
            size *= 2
        table = np.zeros((size, 3), np.int64)
        for (bits, code), slot in constants.items():
            self._place_constant(table, bits, code, slot)
        return table

    @staticmethod
    def _place_constant(table: np.ndarray, bits: int, code: int, slot: int) -> None:
        product = ((bits ^ code) * -7046029254386353131) & 0xFFFFFFFFFFFFFFFF
        if product >= 1 << 63:
            product -= 1 << 64
        at = (product >> 20) & (len(table) - 1)
        while table[at, 2] != 0:
            at = (at + 1) & (len(table) - 1)
        table[at] = bits, code, slot

    # ------------------------------------------------------------------ sizes
    def __len__(self) -> int:
        """Number of statements, slot 0 not counted."""
        return int(self.state[nt.S_COUNT]) - 1

    @property
    def count(self) -> int:
        """Number of slots, slot 0 included."""
        return int(self.state[nt.S_COUNT])

    @property
    def done(self) -> int:
        """Slots below this one have been evaluated."""
        return int(self.state[nt.S_DONE])

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
        address = array.__array_interface__["data"][0]  # half the time of .ctypes.data
        made = leaf(layout, active)
        with self.lock:
            self._make_room(1, 0, False)
            # The owner is noted first: an interrupt must not leave memory without one.
            owner = array if keep is None else keep
            self.owned[self.state[nt.S_COUNT]] = owner
            slot = handle.append_leaf(self.pointer, made.id, address, int(active))
            self.owned[slot] = owner
        if active:
            self.leaves[slot] = keep
        return slot

    def constant(self, value: float | int | bool, kind: dtype) -> int:
        """Slot of a Python scalar in dtype `kind`; the same number keeps the same slot."""
        array = np.asarray(value, kind.np)
        bits = int(np.asarray(array, np.float64 if kind.is_floating_point else np.int64).view(
            np.int64
        ))  # fmt: skip
        key = (bits, kind.code)
        slot = self.constants.get(key)
        if slot is None:
            slot = self.bind(array, SCALARS[kind.code], active=False)
            self.constants[key] = slot
            if 2 * len(self.constants) + 2 > len(self._constant_table):
                self._set_constants()
            else:
                self._place_constant(self._constant_table, bits, kind.code, slot)
        return slot

    def undo(self, count: int) -> None:
        """Drop the statements from slot `count` on; nobody may refer to them."""
        s = self.state
        for slot in range(count, int(s[nt.S_COUNT])):
            self.owned.pop(slot, None)
            self.leaves.pop(slot, None)
        if s[nt.S_COUNT] > count:
            s[nt.S_ARG_COUNT] = self.arg_start[count]
            s[nt.S_COUNT] = count
            s[nt.S_DONE] = min(int(s[nt.S_DONE]), count)

    def instruction_of(self, slot: int) -> Instruction:
        """The instruction of a statement."""
        made: Instruction = INSTRUCTIONS[self.instruction[slot]]
        return made

    def args_of(self, slot: int) -> list[int]:
        """Operand slots of a statement; none where they were dropped."""
        start, stop = int(self.arg_start[slot]), int(self.arg_start[slot + 1])
        return [int(a) for a in self.arg[start:stop][: len(self.instruction_of(slot).layouts)]]

    def is_active(self, slot: int) -> bool:
        """Whether a slot takes part in differentiation."""
        return bool(self.flags[self.root[slot]] & nt.ACTIVE)

    def wants_grad(self, slot: int) -> bool:
        """Whether a slot is a leaf that requires grad."""
        return bool(self.instruction_of(slot).attrs.get("requires_grad"))

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
                owner = int(s[nt.S_OWNER])
                s[nt.S_OWNER] = 0
                try:
                    failed = sweep.forward(self.pointer)
                finally:
                    s[nt.S_OWNER] = owner
                s[nt.S_EAGER] = 0
                self.checked()
                if failed:
                    raise MemoryError(self._out_of_memory(failed))

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

    def version(self, slot: int) -> int:
        """How often the memory of a slot was written in place."""
        return self.versions.get(int(self.base[slot]), 0)

    def note_write(self, slot: int) -> None:
        """Count an in-place write that statement `slot` does."""
        if self.flags[slot] & nt.SILENT:
            return
        base = int(self.base[slot])
        self.versions[base] = self.versions.get(base, 0) + 1
        self.add_write(base, 2 * slot)

    def add_write(self, base: int, mark: int) -> None:
        """Note a write, and now and then forget those that no residual is older than."""
        self.writes.append((base, mark))
        if len(self.writes) > self._prune_at:
            n = self.count
            oldest = self._oldest_graph()
            active = self.flags[self.root[:n]] & nt.ACTIVE != 0
            self.writes = [
                (b, m) for b, m in self.writes
                if m > 2 * oldest or (not m & 1 and active[m >> 1])
            ]  # fmt: skip
            self._prune_at = max(64, 2 * len(self.writes))

    _prune_at = 64

    def _oldest_graph(self) -> int:
        """The first statement that still keeps residuals."""
        n = self.count
        flags, roots = self.flags[:n], self.root[:n]
        graph = (flags[roots] & nt.ACTIVE != 0) & (flags & (nt.FREED | nt.STUB) == 0)
        graph &= roots == np.arange(n)
        graph &= flags & nt.EXTERNAL == 0
        return int(np.argmax(graph)) if graph.any() else n

    # ------------------------------------------------------------------ collection
    def collect(self) -> None:
        """Drop what no handle needs; slots get other numbers."""
        with self.lock:
            self._collect()

    def _collect(self) -> None:
        if _interrupted():
            return  # the tape grows instead
        n = self.count
        marks, live_base = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
        collector.mark(self.pointer, marks.ctypes.data, live_base.ctypes.data)
        new = np.where(marks != 0, np.cumsum(marks != 0), -1).astype(np.int32)
        new[0] = 0
        old_address = np.zeros(n, np.int64)
        writes, prune_at = self._renumbered_writes(new)
        constants = {
            k: int(new[v]) for k, v in list(self.constants.items()) if v < n and new[v] >= 0
        }
        table = self._constants_as_table(constants)
        books = {
            "owned": {int(new[k]): v for k, v in list(self.owned.items()) if k < n and new[k] >= 0},
            "leaves": {
                int(new[k]): v for k, v in list(self.leaves.items()) if k < n and new[k] >= 0
            },
            "retained": {
                int(new[k]): v for k, v in list(self.retained.items()) if k < n and new[k] >= 0
            },
            "versions": {
                int(new[k]): v for k, v in list(self.versions.items()) if k < n and new[k] >= 0
            },
            "constants": constants,
            "writes": writes,
            "_prune_at": prune_at,
            "_constant_table": table,
            "collections": self.collections + 1,
        }
        _commit(
            self, books, collector.collect, self.pointer, marks.ctypes.data, old_address.ctypes.data,
            n, table.ctypes.data, len(table) - 1,
        )  # fmt: skip
        s = self.state
        s[nt.S_COLLECT_AT] = max(COLLECT_BYTES, 2 * s[nt.S_OWNED_BYTES])
        s[nt.S_PENDING_BYTES] = 0 if s[nt.S_DONE] == s[nt.S_COUNT] else s[nt.S_PENDING_BYTES]
        room = max(4096, 4 * s[nt.S_COUNT])
        if len(self.instruction) > 1 << 16 and 4 * room < len(self.instruction):
            self._allocate(max(1 << 16, room))
        # The next collection comes when the tape has grown fourfold, whatever room there is.
        s[nt.S_CAPACITY] = min(len(self.instruction), room)
        self.checked()

    def _renumbered_writes(self, new: np.ndarray) -> tuple[list[tuple[int, int]], int]:
        """The in-place writes that still matter, under the new numbers."""
        if not self.writes:
            return [], 64
        n = len(new)
        kept = np.cumsum(new >= 0) - 1  # last kept slot at or before each old one, renumbered
        oldest = self._oldest_graph()
        writes = []
        for base, mark in self.writes:
            old = mark >> 1
            if (
                base >= n
                or old >= n
                or new[base] < 0
                or not (mark > 2 * oldest or self._is_active_write(mark))
            ):
                continue
            dropped = mark & 1 or new[old] < 0
            writes.append(
                (int(new[base]), 2 * int(kept[old]) + 1 if dropped else 2 * int(new[old]))
            )
        return writes, max(64, 2 * len(writes))

    def _is_active_write(self, mark: int) -> bool:
        return not mark & 1 and self.is_active(mark >> 1)

    def stats(self) -> dict[str, int]:
        """Statements, bytes of the tape's arrays, values and adjoints, and collections so far.

        ``bytes`` counts what the statements use: their share of the arrays, their values, and the
        adjoints that a reverse sweep over them needs.
        """
        n = self.count
        outs = [INSTRUCTIONS[i] for i in self.instruction[1:n]]
        roots = self.root[1:n] == np.arange(1, n)
        own = [
            max(8, -(-i.out.span // 8) * 8)
            for i, is_root in zip(outs, roots, strict=True)
            if is_root
        ]
        arrays = n * (4 + 4 + 8 + 4 + 4 + 1) + 4 * int(self.state[nt.S_ARG_COUNT])
        return {
            "statements": n - 1,
            "pending": n - self.done,
            "handles": int(self.state[nt.S_HANDLE_COUNT]),
            "capacity": int(self.state[nt.S_CAPACITY]),
            "value_bytes": sum(own),
            "bytes": arrays + 2 * sum(own) + 8 * n,
            "collections": self.collections,
        }

    def __repr__(self) -> str:
        return f"<tapegrad.Tape of {len(self)} statements, {self.count - self.done} pending>"

    def __str__(self) -> str:
        return repr(self) if Tape.formatter is None else Tape.formatter(self)

    #: what ``print(tape)`` shows (display/tape_text.py)
    formatter: ClassVar[Callable[[Tape], str] | None] = None
    #: run on the tape after every sweep and collection, if set (verify.py)
    check: ClassVar[Callable[[Tape], None] | None] = None

    def checked(self) -> None:
        """Run the verifier, where it was asked for."""
        if Tape.check is not None:
            Tape.check(self)


def _interrupted() -> bool:
    """Whether this runs in a signal handler or finalizer that interrupted tapegrad itself.

    Then functions of tapegrad further up the stack hold slot numbers, and slots must keep them. The
    stack is looked at only when a collection is due.
    """
    frame = sys._getframe(1)
    left = False
    while frame is not None:
        own = frame.f_globals.get("__name__", "").startswith("tapegrad.")
        if own and left:
            return True
        left = left or not own
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _commit(tape: Tape, attributes: dict[str, Any], native: Any, *args: int) -> None:
    """Call native code that returns 0, and set attributes of the tape with it, or neither.

    All of it happens inside one call of the interpreter, so no signal handler, finalizer or
    KeyboardInterrupt finds the one done and the other not.
    """
    chosen = map((attributes, {}).__getitem__, map(native, *((a,) for a in args)))
    deque(map(vars(tape).update, chosen), maxlen=0)


def array_at(address: int, layout: Layout, keep: object = None) -> np.ndarray:
    """An array over memory at `address`; `keep` stays alive with it."""
    if layout.size == 0:
        return np.empty(layout.shape, layout.dtype.np)
    raw: Any = (ctypes.c_char * layout.span).from_address(address)
    if keep is not None:
        raw._keep = keep
    return np.ndarray(layout.shape, layout.dtype.np, raw, 0, layout.strides)


def array_layout(array: np.ndarray, kind: dtype) -> Layout:
    """The layout of an ndarray."""
    return intern(kind, array.shape, array.strides)


# --------------------------------------------------------------------------- one tape a thread
_tapes: dict[int, Tape] = {}
_local = threading.local()


def current_tape() -> Tape:
    """The tape on which this thread records."""
    tape: Tape | None = getattr(_local, "tape", None)
    if tape is None:
        _drop_orphans()
        tape = _local.tape = Tape()
        _local.end = _End(tape)
    return tape


class _End:
    """Lives as long as its thread; then nobody records natively on its tape any more.

    Threads' numbers are used again, and native recording knows the owner by number.
    """

    __slots__ = ("tape",)

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def __del__(self) -> None:
        self.tape.state[nt.S_OWNER] = 0


def _drop_orphans() -> None:
    """Forget tapes of threads that have ended and that no tensor is on."""
    for pointer, tape in list(_tapes.items()):
        if tape.abstract or tape.owner.is_alive():
            continue
        if tape.state[nt.S_HANDLE_COUNT] == 0:
            _tapes.pop(pointer, None)


def tape_at(pointer: int) -> Tape:
    """The tape whose state is at `pointer` (a handle's ``_state``).

    Raises
    ------
    TapeError
        For a handle that was never initialised (``object.__new__(Tensor)``).
    """
    tape = _tapes.get(pointer)
    if tape is None:
        raise TapeError("this tensor was not initialised; make tensors with tapegrad.tensor(...)")
    return tape


class recording_on:
    """Context manager: record on another tape (a template's) for a while."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def __enter__(self) -> Tape:
        self._previous = current_tape()
        _local.tape = self.tape
        return self.tape

    def __exit__(self, *_: object) -> None:
        _local.tape = self._previous


def slot_of(tape: Tape, tensor: Any) -> int:
    """Slot of a handle on `tape`."""
    return int(tape._handles[tensor._handle])


def statements(tape: Tape) -> Iterator[int]:
    """The slots of a tape in order."""
    return iter(range(1, tape.count))


__all__ += ["array_at", "array_layout", "recording_on", "slot_of", "statements"]
