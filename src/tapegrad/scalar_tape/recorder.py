"""Strips on the tape: from a recorder to statements, and their reverse pass as another strip.

scalar_tape/rows.py explains strips. `Recorder` owns the memory that native code records into;
`put_on_tape` hands it over; `transposed` is the replay of a strip.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import float64
from ..base.errors import UnsupportedError
from ..native import abi as nt
from ..native.builtin_calls import native_call
from ..ops.instruction import CACHES, Instruction, instruction
from ..ops.layout import LAYOUTS, Layout
from ..ops.table import TABLE
from ..tape.memory_views import address_of, new_block
from ..tape.tape import Tape
from . import abi as sf
from . import opcodes as strip_code
from . import sweeps as strip_sweeps
from .rows import rounded

__all__ = ["Recorder", "fill_elements", "put_on_tape", "strip_sweeps", "transposed"]

_open, _close = native_call("open_recorder"), native_call("close_entry")
_begin = native_call("begin_entry")
_pack, _adopt = native_call("pack_entry"), native_call("adopt_entry")
_transpose = native_call("transpose_entry")
#: fills an array with active scalars: addresses of elements and values, first number, count, recorder
fill_elements = native_call("elements_entry")

#: results whose places a recorder has room for
_PLACES = 16
NO_MEMORY = "no memory for what a @tg.njit function records; see tg.checkpointed_loop"


class Recorder:
    """Arrays that grow while native code records; a context manager that gives them back.

    Parameters
    ----------
    tape : Tape
        The tape whose pool memory comes from.
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
        self._prepare(tape)
        address = 0 if head is None else address_of(head)
        with tape.lock:
            if _open(self.pointer, tape.pointer, address, count, *rooms) != 0:
                _close(self.pointer)
                raise MemoryError(NO_MEMORY)

    def _prepare(self, tape: Tape) -> None:
        self._tape, spare = tape, tape.recorders
        self._block = block = spare.pop() if spare else new_block(sf.W_WIDTH + _PLACES)
        #: the words as Python ints, behind them room for where results begin
        self.words, self.pointer = block.words, block.address

    @classmethod
    def on(
        cls, tape: Tape, tensors: tuple[Any, ...], rooms: tuple[int, int]
    ) -> tuple[Recorder, int] | None:
        """A recorder on tensors, joined to one vector, and the slot of that.

        None where it takes more than a copy: other dtypes or layouts, another thread's tensors.
        """
        joined = _joining(tuple([t._layout_id for t in tensors]))
        if joined is None:
            return None
        recorder = cls.__new__(cls)
        recorder._prepare(tape)
        arguments = id(tensors), len(tensors), joined.number, rooms[0] | rooms[1] << 32
        with tape.lock:
            tape.evaluate()
            slot = _begin(tape.pointer, recorder.pointer, *arguments)
            if slot >= 0:
                return recorder, slot
            _close(recorder.pointer)
        if slot == -2:
            raise MemoryError(NO_MEMORY)
        return None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back that is not the tape's."""
        tape = self._tape
        with tape.lock:  # large buffers go to the tape's pool
            _close(self.pointer)  # all words are 0 then
            tape.recorders.append(self._block)

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
    def sizes(self) -> tuple[int, int]:
        """Numbers and words of the table so far."""
        return self.words[sf.W_COUNT], self.words[sf.W_TABLE_COUNT]

    @property
    def rooms(self) -> tuple[int, int]:
        """Room for the next such recorder: `rooms` of statements and constants."""
        recorded = self.count - int(self.words[sf.W_HEAD])
        return max(128, rounded(recorded)), max(64, rounded(int(self.words[sf.W_TABLE_COUNT])))


class _Joining(NamedTuple):
    """The joining of tensors to one vector: its instruction's number (-1 for one alone), and references."""

    number: int
    references: tuple[object, ...]


@cache
def _joining(layouts: tuple[int, ...]) -> _Joining | None:
    """The joining of dense float64 tensors, None for others."""
    operand_layouts = tuple([LAYOUTS[i] for i in layouts])
    if not all(x.dtype is float64 and x.is_contiguous for x in operand_layouts):
        return None
    if len(operand_layouts) == 1:
        return _Joining(-1, operand_layouts)
    join = instruction(TABLE["strip_head"], operand_layouts)
    return _Joining(join.id, (join,))


class _Adoption(NamedTuple):
    """The instructions by which a recorder becomes statements.

    Attributes
    ----------
    words : numpy.ndarray
        Numbers of the instructions, as `adopt_entry` reads them (`A_*`).
    address : int
        Of `words`.
    results : list of Instruction
        Those that copy results out.
    parts : list of Instruction
        Those of the table, the operands, the opcodes and the strip.
    """

    words: np.ndarray
    address: int
    results: list[Instruction]
    parts: list[Instruction]


@lru_cache(1024)
def _adoption(
    head: Layout | None, table: int, recorded: int, shapes: tuple[tuple[int, ...], ...]
) -> _Adoption:
    """The instructions for a head, a number of words of the table and of statements, and results."""
    recorded = rounded(recorded)
    parts = [
        instruction(TABLE["strip_data"], (), words=size)
        for size in (rounded(table), recorded, -(-recorded // 4))
    ]
    numbers, results = [part.id for part in parts], []
    if head is not None:
        layouts = head, *(part.out for part in parts)
        part = instruction(TABLE["strip"], layouts, recorded=True)
        numbers.append(part.id)
        parts.append(part)
        results = [_result(part.out, parts[0].out, i, shape) for i, shape in enumerate(shapes)]
    else:
        numbers.append(-1)
    ids = [x.id for x in results] if results else [-1] * len(shapes)
    words = np.array([*numbers, len(shapes), *ids], np.int64)
    return _Adoption(words, address_of(words), results, parts)


CACHES.extend((_joining.cache_clear, _adoption.cache_clear))


def _result(
    strip: Layout, table: Layout, number: int, shape: tuple[int, ...], *, inner: bool = False
) -> Instruction:
    """The instruction that copies out a result of a strip."""
    attrs = {"number": number, "shape": shape, "inner": inner}
    return instruction(TABLE["strip_result"], (strip, table), **attrs)


def put_on_tape(
    tape: Tape, recorder: Recorder, starts: Sequence[int], shapes: tuple[tuple[int, ...], ...],
    head: int = 0,
) -> tuple[int, list[Instruction]]:  # fmt: skip
    """Hand a recorder over; the slot of the strip, behind those of its table, operands and opcodes.

    Copies of the results, which begin at the numbers `starts`, stand in the slots that follow; their
    instructions. Without a head, only the parts are appended; the slot of the last of them.
    """
    words, count = recorder.words, len(starts)
    if count <= _PLACES:
        places = recorder.pointer + 8 * sf.W_WIDTH
        for i, start in enumerate(starts, sf.W_WIDTH):
            words[i] = start
    else:
        many = np.array(starts, np.int64)
        places = address_of(many)
    recorded, table = words[sf.W_COUNT] - words[sf.W_HEAD], words[sf.W_TABLE_COUNT] + count
    adoption = _adoption(tape.instruction_of(head).out if head else None, table, recorded, shapes)
    arguments = tape.pointer, recorder.pointer, adoption.address, places, head
    with tape.lock:
        while (slot := _adopt(*arguments)) < 0:
            if slot == -2:
                raise MemoryError(NO_MEMORY)
            tape.evaluate()
            tape.make_room(4 + count, 16 + 2 * count, collect=False)
            tape.state[nt.S_PENDING_BYTES] = 0
    return slot, adoption.results


def transposed(tape: Tape, strip: int, ct: int) -> list[tuple[int, int]]:
    """Append the reverse pass of a strip; the slots that its head was joined from, and of their cotangents.

    It is a strip on the first one's values and their cotangents. Each part of the head has a separate result:
    a derivative by one of them says nothing of the others, not even that it is 0.
    """
    tape.evaluate()  # the values of the cotangents show the untouched ones
    tape.check_value(ct)
    head, *data = tape.args_of(strip)
    values = tape.instruction_of(strip).out
    addresses = np.array([tape.address[slot] for slot in data], np.int64)
    joined = tape.instruction_of(head).op is TABLE["strip_head"]
    parts = tape.args_of(head) if joined else [head]
    outs = [tape.instruction_of(slot).out for slot in parts]
    #: the head of a recorded strip is the user's inputs, that of another a strip's values and cotangents
    inner = not tape.instruction_of(strip).attrs["recorded"]
    neutral = sf.UNTOUCHED if inner else 0
    with Recorder(tape, 2 * values.size) as recorder:
        first = _transpose(
            address_of(addresses), int(tape.address[ct]), values.size,
            address_of(strip_code.rules().words), neutral, recorder.pointer,
        )  # fmt: skip
        if first == -2:
            raise UnsupportedError(
                f"pow: more than {sf.MOST_EXPONENT_DERIVATIVES} derivatives with respect to an "
                "exponent; write x ** y as exp(y * log(x))"
            )
        if first < 0:
            raise MemoryError(NO_MEMORY)
        starts = [first, *(first + np.cumsum([x.size for x in outs[:-1]], dtype=np.int64)).tolist()]
        last, _ = put_on_tape(tape, recorder, starts, ((),) * len(starts))
    both = tape.append(instruction(TABLE["strip_head"], (values, values)), (strip, ct))
    operands = both, last - 2, last - 1, last
    layouts = tuple(tape.instruction_of(slot).out for slot in operands)
    strip_instruction = instruction(TABLE["strip"], layouts, recorded=False)
    slot = tape.append(strip_instruction, operands)
    results = [
        _result(strip_instruction.out, layouts[1], i, x.shape, inner=inner)
        for i, x in enumerate(outs)
    ]
    return [
        (part, tape.append(result, (slot, last - 2)))
        for part, result in zip(parts, results, strict=True)
    ]


TABLE["strip"].replay = transposed
