"""Strips on the tape: from a recorder to statements, and their reverse pass as another strip.

ops/strip.py says what a strip is. `Recorder` owns the memory that native code records into;
`put_on_tape` hands it over; `transposed` is what replay does with a strip.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from . import native as nt
from . import strip_code, strip_sweeps
from .buffers import address_of
from .calls import native_call
from .errors import UnsupportedError
from .instructions import instruction
from .layouts import Layout
from .nopython import strip_fields as sf
from .ops.strip import rounded
from .ops.table import TABLE
from .strip_rules import rules
from .tape import Tape

__all__ = ["Recorder", "append_result", "put_on_tape", "strip_sweeps", "transposed"]

_open, _close = native_call("open_entry"), native_call("close_entry")
_pack, _results = native_call("pack_entry"), native_call("results_entry")
_adopt, _transpose = native_call("adopt_entry"), native_call("transpose_entry")

NO_MEMORY = "no memory for what a @tg.njit function records; see tg.checkpointed_loop"


class Recorder:
    """Arrays that grow while native code records; a context manager that gives them back.

    Parameters
    ----------
    tape : Tape
        Whose pool memory comes from.
    count : int
        Numbers of the head.
    head : numpy.ndarray, optional
        Its values; without, none are kept.
    rooms : tuple of int
        Statements and constants to make room for at first.
    """

    def __init__(
        self, tape: Tape, count: int, head: np.ndarray | None = None,
        rooms: tuple[int, int] = (128, 64),
    ) -> None:  # fmt: skip
        self._words = np.zeros(sf.W_WIDTH, np.int64)
        self.pointer = address_of(self._words)
        #: the words as Python ints
        self.words = memoryview(self._words)  # type: ignore[arg-type]
        self._lock = tape.lock
        address = 0 if head is None else address_of(head)
        with tape.lock:
            if _open(self.pointer, tape.pointer, address, count, *rooms) != 0:
                _close(self.pointer)
                raise MemoryError(NO_MEMORY)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:  # large buffers go to the tape's pool
            _close(self.pointer)

    @property
    def count(self) -> int:
        """Numbers so far."""
        return int(self.words[sf.W_COUNT])

    def pack(self, numbers: np.ndarray, values: np.ndarray) -> int:
        """Copy values, by number or (where that is below 0) constant; the first copy's number."""
        numbers = np.ascontiguousarray(numbers, np.int64)
        values = np.ascontiguousarray(values, np.float64)
        clone = strip_code.code_of("clone", "a")
        first: int = _pack(
            self.pointer, address_of(numbers), address_of(values), numbers.size, clone
        )
        if first < 0:
            raise MemoryError(NO_MEMORY)
        return first

    @property
    def rooms(self) -> tuple[int, int]:
        """What `rooms` of the next such recorder should be."""
        own = self.count - int(self.words[sf.W_HEAD])
        return max(128, rounded(own)), max(64, rounded(int(self.words[sf.W_TABLE_COUNT])))


@cache
def _instructions(head: Layout | None, table: int, own: int) -> tuple[int, int, int, int]:
    """Numbers of the instructions of a strip's parts, and of the strip (-1 without a head)."""
    sizes = table, own, -(-own // 4)
    parts = [instruction(TABLE["strip_data"], (), words=size) for size in sizes]
    first, second, third = (made.id for made in parts)
    if head is None:
        return first, second, third, -1
    made = instruction(TABLE["strip"], (head, *(part.out for part in parts)), recorded=True)
    return first, second, third, made.id


def put_on_tape(tape: Tape, recorder: Recorder, starts: Sequence[int], head: int = 0) -> int:
    """Hand a recorder over; the slot of the strip, behind those of its table, operands and opcodes.

    Without a head, only those are appended; the slot of the last of them.
    """
    places = np.array(starts, np.int64)
    if _results(recorder.pointer, address_of(places), len(starts), 0) != 0:
        raise MemoryError(NO_MEMORY)
    own = rounded(recorder.count - int(recorder.words[sf.W_HEAD]))
    table = rounded(int(recorder.words[sf.W_TABLE_COUNT]))
    what = np.array(
        (*_instructions(tape.instruction_of(head).out if head else None, table, own), head),
        np.int64,
    )
    with tape.lock:
        while (slot := _adopt(tape.pointer, recorder.pointer, address_of(what))) < 0:
            if slot == -2:
                raise MemoryError(NO_MEMORY)
            tape.evaluate()
            tape.make_room(4, 16, collect=False)
            tape.state[nt.S_PENDING_BYTES] = 0
    return int(slot)


def append_result(tape: Tape, strip: int, number: int, shape: tuple[int, ...]) -> int:
    """Append a copy of a strip's result; its slot."""
    table = tape.args_of(strip)[1]
    layouts = tape.instruction_of(strip).out, tape.instruction_of(table).out
    made = instruction(TABLE["strip_result"], layouts, number=number, shape=tuple(shape))
    return tape.append(made, (strip, table))


def transposed(tape: Tape, strip: int, ct: int) -> int:
    """Append the reverse pass of a strip; the slot of the head's cotangent.

    It is a strip on the first one's values and their cotangents.
    """
    tape.evaluate()  # what is untouched is seen from the cotangents
    tape.check_value(ct)
    head, *data = tape.args_of(strip)
    values = tape.instruction_of(strip).out
    parts = np.array([tape.address[slot] for slot in data], np.int64)
    with Recorder(tape, 2 * values.size) as recorder:
        first = _transpose(
            address_of(parts), int(tape.address[ct]), values.size, address_of(rules()),
            recorder.pointer,
        )  # fmt: skip
        if first == -2:
            raise UnsupportedError(
                f"pow: more than {sf.MOST_EXPONENT_DERIVATIVES} derivatives with respect to an "
                "exponent; write x ** y as exp(y * log(x))"
            )
        if first < 0:
            raise MemoryError(NO_MEMORY)
        last = put_on_tape(tape, recorder, [first])
    both = tape.append(instruction(TABLE["cat"], (values, values), dim=0), (strip, ct))
    operands = both, last - 2, last - 1, last
    layouts = tuple(tape.instruction_of(slot).out for slot in operands)
    slot = tape.append(instruction(TABLE["strip"], layouts, recorded=False), operands)
    return append_result(tape, slot, 0, tape.instruction_of(head).out.shape)


def _replay(tape: Any, strip: int, ct: int) -> int:
    return transposed(tape, strip, ct)


TABLE["strip"].extras["replay"] = _replay
