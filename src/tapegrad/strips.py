"""Strips on the tape: from a recorder to statements, and their reverse pass as another strip.

ops/strip.py says what a strip is. `Recorder` owns the memory that native code records into;
`put_on_tape` hands it over; `transposed` is what replay does with a strip.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import native as nt
from . import strip_code
from .buffers import address_of, array_layout
from .calls import native_call
from .dtypes import int64
from .errors import UnsupportedError
from .instructions import instruction
from .ops.strip import rounded
from .ops.table import TABLE
from .tape import Tape

__all__ = ["Recorder", "append_result", "put_on_tape", "transposed"]

_open, _close = native_call("open_entry"), native_call("close_entry")
_pack, _body = native_call("pack_entry"), native_call("body_entry")
_adopt, _transpose = native_call("adopt_entry"), native_call("transpose_entry")

NO_MEMORY = "no memory for what a @tg.njit function records; see tg.checkpointed_loop"


class Recorder:
    """Arrays that grow while native code records; a context manager that gives them back.

    Parameters
    ----------
    count : int
        Numbers of the head.
    head : numpy.ndarray, optional
        Its values.
    room : int
        Statements to make room for at first.
    """

    def __init__(self, count: int, head: np.ndarray | None = None, room: int = 0) -> None:
        self._words = np.zeros(nt.W_WIDTH, np.int64)
        self.pointer = address_of(self._words)
        #: the words as Python ints
        self.words = memoryview(self._words)  # type: ignore[arg-type]
        address = 0 if head is None else address_of(head)
        if _open(self.pointer, address, count, room) != 0:
            _close(self.pointer)
            raise MemoryError(NO_MEMORY)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        _close(self.pointer)

    @property
    def count(self) -> int:
        """Numbers so far."""
        return int(self.words[nt.W_COUNT])

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

    def body(self, starts: Sequence[int]) -> np.ndarray:
        """What was recorded, with the places of results."""
        own = self.count - int(self.words[nt.W_HEAD])
        constants = int(self.words[nt.W_CONSTANT_COUNT])
        size = nt.B_WIDTH + len(starts) + constants + own + -(-own // 4)
        body = np.empty(rounded(size), np.int64)
        places = np.array(starts, np.int64)
        _body(self.pointer, address_of(body), address_of(places), len(starts))
        return body


def _bind_body(tape: Tape, recorder: Recorder, starts: Sequence[int]) -> int:
    body = recorder.body(starts)
    return tape.bind(body, array_layout(body, int64), active=False)


def put_on_tape(tape: Tape, head: int, recorder: Recorder, starts: Sequence[int]) -> tuple[int, int]:
    """Append the strip that was recorded on the head in slot `head`; slots of the strip and its body."""
    with tape.lock:
        body = _bind_body(tape, recorder, starts)
        layouts = tape.instruction_of(head).out, tape.instruction_of(body).out
        made = instruction(TABLE["strip"], layouts, count=rounded(recorder.count), recorded=True)
        words = (ctypes.c_int32 * 2)(head, body)
        args = ctypes.addressof(words)
        while (slot := _adopt(tape.pointer, made.id, args, 2, recorder.pointer)) < 0:
            if slot == -2:
                raise MemoryError(NO_MEMORY)
            tape.evaluate()
            tape.make_room(2, 8, collect=False)
            tape.state[nt.S_PENDING_BYTES] = 0
    return slot, body


def append_result(tape: Tape, strip: int, body: int, number: int, shape: tuple[int, ...]) -> int:
    """Append a copy of a strip's result; its slot."""
    layouts = tape.instruction_of(strip).out, tape.instruction_of(body).out
    made = instruction(TABLE["strip_result"], layouts, number=number, shape=tuple(shape))
    return tape.append(made, (strip, body))


def transposed(tape: Tape, strip: int, ct: int) -> int:
    """Append the reverse pass of a strip; the slot of the head's cotangent.

    It is a strip on the first one's values and their cotangents.
    """
    tape.evaluate()  # what is untouched is seen from the cotangents
    tape.check_value(ct)
    head, body = tape.args_of(strip)
    values = tape.instruction_of(strip).out
    width = values.size
    with Recorder(2 * width) as recorder:
        first = _transpose(
            int(tape.address[body]), int(tape.address[ct]), width,
            address_of(strip_code.rules()), recorder.pointer,
        )  # fmt: skip
        if first == -2:
            raise UnsupportedError(
                f"pow: more than {nt.MOST_EXPONENT_DERIVATIVES} derivatives with respect to an "
                "exponent; write x ** y as exp(y * log(x))"
            )
        if first < 0:
            raise MemoryError(NO_MEMORY)
        own = _bind_body(tape, recorder, [first])
        count = rounded(recorder.count)
    both = tape.append(instruction(TABLE["cat"], (values, values), dim=0), (strip, ct))
    layouts = tape.instruction_of(both).out, tape.instruction_of(own).out
    made = instruction(TABLE["strip"], layouts, count=count, recorded=False)
    slot = tape.append(made, (both, own))
    return append_result(tape, slot, own, 0, tape.instruction_of(head).out.shape)


def _replay(tape: Any, strip: int, ct: int) -> int:
    return transposed(tape, strip, ct)


TABLE["strip"].extras["replay"] = _replay
