"""The flat arrays of a tape, and the numbers in them.

How the data lies in memory. Statement ``k`` defines slot ``k`` (slot 0 is the passive nothing):

==============  ======  ==================================================================
instruction     int32   number in the instruction table (op, layouts, attributes, kernels)
arg_start       int32   CSR into ``arg``; one more entry than statements
arg             int32   operand slots; a view also has its byte offset here (two words)
address         int64   where the primal is; 0 while the statement is pending
root            int32   slot whose adjoint buffer this slot's adjoint lies in (itself, or a
                        view's root)
base            int32   slot whose memory this slot's lies in
flags           uint8   ACTIVE, EXTERNAL, FREED ... (native/abi.py)
==============  ======  ==================================================================
"""

from __future__ import annotations

import numpy as np

from ..native import abi as nt
from ..native.builtin_calls import native_call
from ..ops.instruction import INSTRUCTIONS, Instruction
from .books import Books, commit
from .memory_views import address_of

__all__ = ["Arrays"]

_grow = native_call("grow_entry")
_grow_handles = native_call("grow_handles_entry")


class Arrays(Books):
    """The arrays of a tape, and the words that native code reads and writes."""

    instruction: np.ndarray
    arg_start: np.ndarray
    arg: np.ndarray
    address: np.ndarray
    root: np.ndarray
    base: np.ndarray
    flags: np.ndarray

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
        pointers = np.array([*map(address_of, arrays.values())], np.int64)
        commit(self, arrays, _grow, self.pointer, address_of(pointers), capacity, arg_capacity)

    def _grow_handles(self, capacity: int) -> None:
        table = np.zeros(capacity, np.int32)
        commit(
            self, {"_handles": table}, _grow_handles,
            self.pointer, address_of(table), capacity,
        )  # fmt: skip

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

    def instruction_of(self, slot: int) -> Instruction:
        """The instruction of a statement."""
        instruction: Instruction = INSTRUCTIONS[self.instruction[slot]]
        return instruction

    def args_of(self, slot: int) -> list[int]:
        """Operand slots of a statement; none where they were dropped."""
        start, stop = int(self.arg_start[slot]), int(self.arg_start[slot + 1])
        return [int(a) for a in self.arg[start:stop][: len(self.instruction_of(slot).layouts)]]

    def view_offset(self, slot: int) -> int:
        """Bytes from the first element of a view's operand to the view's; 0 if the slot is no view."""
        if self.instruction_of(slot).op.kind != nt.VIEW:
            return 0
        start = int(self.arg_start[slot])
        return int(self.arg[start + 1 : start + 3].copy().view(np.int64)[0])

    def is_active(self, slot: int) -> bool:
        """Return True if a slot takes part in differentiation."""
        return bool(self.flags[self.root[slot]] & nt.ACTIVE)

    def wants_grad(self, slot: int) -> bool:
        """Return True if a slot is a leaf that requires grad."""
        return bool(self.instruction_of(slot).attrs.get("requires_grad"))

    def stats(self) -> dict[str, int]:
        """Statements, bytes of the tape's arrays, values and adjoints, and collections so far.

        ``bytes`` counts what the statements use: their share of the arrays, their values, and the
        adjoints that a reverse sweep over them needs.
        """
        n = self.count
        outs = [INSTRUCTIONS[i] for i in self.instruction[1:n]]
        roots = self.root[1:n] == np.arange(1, n)
        root_bytes = [
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
            "value_bytes": sum(root_bytes),
            "bytes": arrays + 2 * sum(root_bytes) + 8 * n,
            "collections": self.collections,
        }
