"""Values of a tape: evaluated when asked for, read in place, copied, or shared with an ndarray."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np

from ..base.dtypes import dtype
from ..base.errors import TapeError
from ..native import abi as nt
from ..native.builtin_calls import native_call
from ..ops.layout import Layout
from . import failures
from .arrays import Arrays
from .memory_views import address_of, array_at, bytes_at, free_with

__all__ = ["Values"]

_forward = native_call("forward")  # without the GIL
_move = native_call("move_entry")

#: types by which ctypes reads a number of each dtype
_NUMBERS: dict[str, Any] = {
    "d": ctypes.c_double, "f": ctypes.c_float, "l": ctypes.c_int64, "q": ctypes.c_int64,
    "?": ctypes.c_bool, "i": ctypes.c_int32, "h": ctypes.c_int16, "b": ctypes.c_int8, "B": ctypes.c_uint8,
}  # fmt: skip


class Values(Arrays):
    """The part of a tape that evaluates, reads and shares the values of its slots."""

    abstract: bool
    busy: memoryview
    lock: Any
    owned: dict[int, Any]
    #: whether there may be statements whose kernels call Python
    calls_python = False
    #: `apart` of apart.py, which knows all kinds of tapes
    apart: ClassVar[Callable[..., Any]]
    #: warns where a statement was recorded, while anomaly detection is on
    explain: ClassVar[Callable[[Any, int], None] | None] = None

    def checked(self) -> None:
        """Run the verifier, where it was asked for."""
        raise NotImplementedError

    def evaluate(self) -> None:
        """Run the forward sweep over the pending statements.

        Raises
        ------
        MemoryError
            If a result does not fit in memory; it names the op and the shape.
        Exception
            That of an op's row (`Op.failure`), if its kernel fails.
        """
        s = self.state
        if self.abstract:
            self.refuse("reads a value")
        if s[nt.S_DONE] == s[nt.S_COUNT]:
            return
        with self.lock:
            if self.calls_python and self.busy[nt.BUSY_SWEEP]:
                raise TapeError(
                    "a value is asked for while it is computed: by a finalizer, or a handler of signals, "
                    "that runs in the middle; ask for it before, or later"
                )
            if s[nt.S_DONE] < s[nt.S_COUNT]:
                # Without the GIL the owner could go on recording while another thread evaluates.
                # (Stores, not calls: no interrupt comes between them and the sweep.)
                self.busy[nt.BUSY_SWEEP] = True
                try:
                    stopped = self._swept()
                    if stopped:
                        self._go_on(stopped)
                finally:
                    self.busy[nt.BUSY_SWEEP] = False
                s[nt.S_EAGER] = 0
                self.checked()
                if stopped:
                    self._raise_failure(stopped)

    def _swept(self) -> int:
        """Run the native sweep; the slot at which it stops, or 0."""
        slot: int = (
            self.apart(_forward, self.pointer) if self.calls_python else _forward(self.pointer)
        )
        return slot

    def _go_on(self, slot: int) -> None:
        """Poison statements that could not be evaluated, and evaluate the rest."""
        s = self.state
        while slot:
            instruction, report = self.instruction_of(slot), s[nt.S_FAILURE]
            if report:
                self.failures[slot] = failures.failed(instruction, report)
            s[nt.S_FAILED] = s[nt.S_FAILED] or slot
            self.flags[slot : slot + len(instruction.outs)] |= nt.POISON | nt.FREED
            slot = self._swept()
        failures.note_failures(self)

    def _raise_failure(self, slot: int) -> NoReturn:
        """Raise the error for which a slot was not evaluated."""
        failures.note_failures(self)
        failure = self.failures.get(slot)
        if failure is None:
            raise failures.out_of_memory(self.instruction_of(slot))
        if Values.explain is not None:
            Values.explain(self, slot)
        raise failure.error()

    def settle_target(self, slots: Sequence[int]) -> None:
        """Compute a passive result over which something active is to be written: its operands go then."""
        target, *sources = slots
        root = int(self.root[target])
        if root < self.done or self.is_active(root) or not self.state[nt.S_GRAD_MODE]:
            return
        computed = self.instruction_of(root).op.kind == nt.COMPUTE
        if (
            computed
            and any(map(self.is_active, sources))
            and any(map(self.is_active, self.args_of(root)))
        ):
            self.evaluate()

    def settle(self) -> None:
        """See that slots have addresses, for a reverse pass: evaluate."""
        self.evaluate()

    def offset_in_memory(self, slot: int) -> int:
        """Return the bytes from the first element of a slot's base to that of the slot."""
        self.settle()
        return int(self.address[slot]) - int(self.address[self.base[slot]])

    def refuse(self, why: str) -> NoReturn:
        """Raise the error for something that cannot be done on a tape without values."""
        raise TapeError(f"a derivative rule {why}: it is traced without any")

    def check_value(self, slot: int) -> None:
        """Raise if a slot's evaluation failed."""
        if self.flags[slot] & nt.POISON:
            self._raise_failure(slot)

    def memory(self, slot: int, layout: Layout) -> np.ndarray:
        """A slot's value as an array over the tape's memory: read it before the tape moves it.

        Pending statements are evaluated first.
        """
        self.evaluate()
        self.check_value(slot)
        return array_at(int(self.address[slot]), layout)

    def number(self, slot: int, kind: dtype) -> complex | float | int | bool:
        """The first element of a slot's value as a Python number."""
        self.evaluate()
        self.check_value(slot)
        known, address = _NUMBERS.get(kind.np.char), int(self.address[slot])
        number: complex | float | int | bool
        if known is None:  # ctypes has no complex numbers, and none of two bytes
            number = np.frombuffer(ctypes.string_at(address, kind.itemsize), kind.np).item()
        else:
            number = known.from_address(address).value
        return number

    def value(self, slot: int, layout: Layout) -> np.ndarray:
        """A copy of a slot's value."""
        with self.lock:
            return self.memory(slot, layout).copy()

    def expose(self, slot: int, layout: Layout) -> np.ndarray:
        """An array that shares a slot's memory for as long as either lives.

        The tape's memory moves into an ndarray first. From then on the memory is VISIBLE:
        statements that use it are evaluated when they are recorded.
        """
        with self.lock:
            return self._expose(slot, layout)

    def _expose(self, slot: int, layout: Layout) -> np.ndarray:
        self.evaluate()
        self.check_value(slot)
        base = int(self.base[slot])
        if not self.flags[base] & nt.EXTERNAL:
            span, old = self.instruction_of(base).out.span, int(self.address[base])
            if span > nt.SMALL:  # a separate buffer, which changes hands
                block = bytes_at(old, span)
            else:
                block = np.empty(max(span, 1), np.uint8)
                _move(self.pointer, base, address_of(block), span)
            self.owned[base] = block
            self.flags[base] |= nt.EXTERNAL
            if span > nt.SMALL:  # last, so that an interrupt before costs memory and nothing else
                self.state[nt.S_OWNED_BYTES] -= span
                self.state[nt.S_BOUND] += span  # the next collection lets it go
                free_with(block, old, span, self)
        self.flags[base] |= nt.VISIBLE
        keep = self.owned[base]
        keep = getattr(keep, "array", keep)  # the memory, not the gradient that a storage holds
        return array_at(int(self.address[slot]), layout, keep)
