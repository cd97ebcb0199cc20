"""Calls of a compiled function with arrays or tensors, in native code.

A `FastCall` fills the words that `call_jitted` (runtime/compiled_tapes.py) reads for the trace that was
used last.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from ..native import abi as nt
from ..native.builtin_calls import MethodDef
from ..native.machine_code import entry
from ..ops.layout import Layout
from ..tape.memory_views import address_of
from ..tape.segment import Segment
from .compiled_tape import CompiledTape
from .used_values import Check

__all__ = ["FastCall", "steps_of"]

#: elements of the largest value from which on other threads run meanwhile
RELEASED = 1 << 13
#: bytes of a result from which on its memory is used again, once nobody has it any more: new memory costs a
#: page fault for each 4 KiB
REUSED = 1 << 16
#: number of ``PyArray_New`` in NumPy's table of C functions (numpy/__multiarray_api.h)
_ARRAY_NEW = 93


@cache
def _array_new() -> int:
    """Address of ``PyArray_New``."""
    _multiarray_umath: Any = import_module("numpy._core._multiarray_umath")

    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = get(_multiarray_umath._ARRAY_API, None)
    return int(ctypes.c_void_p.from_address(table + 8 * _ARRAY_NEW).value or 0)


@cache
def _method() -> MethodDef:
    return MethodDef(
        b"call", entry("call_jitted"), 0x80 | 0x2, None
    )  # METH_FASTCALL | METH_KEYWORDS


def steps_of(tree: Any) -> list[int] | None:
    """Steps that put nested tuples together: numbers of results, and ``~n`` for a tuple of the last n parts.

    None for what is not made of tuples and numbers.
    """
    if type(tree) is int:
        return [tree]
    if type(tree) is not tuple:
        return None
    steps: list[int] = []
    for part in tree:
        inner = steps_of(part)
        if inner is None:
            return None
        steps += inner
    return [*steps, ~len(tree)]


class FastCall:
    """The C function of a compiled function.

    Parameters
    ----------
    slow : callable
        Does all calls that native code does not.

    Attributes
    ----------
    function : callable
        The builtin function.
    """

    def __init__(self, slow: Callable[..., Any]) -> None:
        self._words = np.zeros(nt.J_WIDTH, np.int64)
        self._filling = threading.Lock()
        #: what the words are filled for
        self._purpose: Any = None
        self._slow, self._kept, self._before = slow, tuple[Any, ...](), tuple[Any, ...]()
        self._rows: np.ndarray | None = None
        self._words[nt.J_SLOW] = id(slow)
        self._words[nt.J_ARRAY_TYPE] = id(np.ndarray)
        self._words[nt.J_ARRAY_NEW] = _array_new()
        make = ctypes.pythonapi.PyCFunction_NewEx
        make.restype = ctypes.py_object
        make.argtypes = [ctypes.POINTER(MethodDef), ctypes.py_object, ctypes.c_void_p]
        self.function: Callable[..., Any] = make(ctypes.byref(_method()), self._words, None)

    def use(
        self, compiled: CompiledTape, inputs: Sequence[Layout], returned: Any, reads: Sequence[np.ndarray],
        places: Sequence[Check],
    ) -> None:  # fmt: skip
        """Do calls with arrays by a compiled tape from now on, if that is possible.

        Parameters
        ----------
        compiled : CompiledTape
        inputs : sequence of Layout
            Of the arguments.
        returned : tree
            Nested tuples of numbers of results.
        reads : sequence of ndarray
            Values that the last results must have.
        places : sequence of Check
            What the function uses.
        """
        results = len(compiled.outputs) - len(reads)
        with self._filled(compiled, returned, results, places) as words:
            if words is not None and all(x.ndim <= nt.J_DIMS for x in inputs):
                self._fill(words, compiled, inputs, reads)
                words[nt.J_READY] = nt.WITH_ARRAYS

    def use_statements(
        self, segment: Segment, state: tuple[int, bool], tensors: Sequence[tuple[Any, int, bool]], count: int,
        returned: Any, places: Sequence[Check],
    ) -> None:  # fmt: skip
        """Record statements for calls with tensors from now on, if that is possible.

        Parameters
        ----------
        segment : Segment
        state : tuple
            Address of the tape, and its grad mode.
        tensors : sequence of tuple
            The segment's inputs, and tensors that the function sees beside them: number of the argument or
            the tensor of the surroundings, its layout's number, whether it is active.
        count : int
            Number of arguments.
        returned, places
            As for `use`.
        """
        purpose = segment, state, tuple([x if type(x) is int else id(x) for x, _, _ in tensors])
        with self._filled(purpose, returned, len(segment.results), places) as words:
            if words is None:
                return
            rows = np.zeros((len(tensors) + 1, nt.J_TENSOR), np.int64)
            for i, (x, number, active) in enumerate(tensors):
                rows[i] = (x, 0, number, active) if type(x) is int else (-1, id(x), number, active)
            outputs = np.zeros((len(segment.results) + 1, nt.J_OUTPUT), np.int64)
            for i, reference in enumerate(segment.results):
                layout = segment.layout(reference)
                assert layout is not None
                outputs[i, :2] = reference, layout.id
            self._kept += (segment, segment.instructions, rows, outputs, tuple(tensors))
            words[nt.J_STATE], words[nt.J_MODE] = state
            words[nt.J_SEGMENT], words[nt.J_ARGS] = segment.address, count
            words[nt.J_TENSORS], words[nt.J_TENSOR_ROWS] = len(tensors), address_of(rows)
            words[nt.J_INPUTS] = len(segment.inputs)
            words[nt.J_OUTPUTS], words[nt.J_OUTPUT_ROWS] = len(segment.results), address_of(outputs)
            words[nt.J_READY] = nt.WITH_TENSORS

    @contextmanager
    def _filled(
        self, purpose: Any, returned: Any, results: int, places: Sequence[Check]
    ) -> Iterator[np.ndarray | None]:
        """Words to be filled, with what they have in common; None if they are, or cannot be."""
        words = self._words
        steps = steps_of(returned)
        fits = (
            steps is not None and results <= nt.J_RESULTS and len(steps) <= 2 * nt.J_RESULTS
            and sorted(s for s in steps if s >= 0) == list(range(results))
        )  # fmt: skip
        if (
            not fits or self._purpose == purpose or not self._filling.acquire(blocking=False)
        ):  # or another thread does this
            yield None
            return
        try:
            if words[nt.J_BUSY]:  # another thread runs what is there
                yield None
                return
            assert steps is not None
            words[nt.J_READY] = 0
            words[nt.J_FILLS] += 1
            self._purpose = purpose
            self._let_go()
            place_rows = np.zeros((len(places) + 1, nt.J_PLACE), np.int64)
            for i, place in enumerate(places):
                place_rows[i] = place.row()
            result = np.array([len(steps), *steps], np.int64)
            # A finalizer may come here in the middle of a call, which still reads what it has.
            self._before, self._kept = self._kept, (tuple(places), place_rows, result)
            words[nt.J_RESULT] = address_of(result)
            words[nt.J_PLACES], words[nt.J_PLACE_ROWS] = len(places), address_of(place_rows)
            yield words
        finally:
            self._filling.release()

    def _fill(
        self, words: np.ndarray, compiled: CompiledTape, inputs: Sequence[Layout],
        reads: Sequence[np.ndarray],
    ) -> None:  # fmt: skip
        """Fill the words of calls with arrays."""
        layouts = compiled.outputs[: len(compiled.outputs) - len(reads)]
        table, memory = compiled.new_table()
        input_rows = np.zeros((len(inputs) + 1, nt.J_INPUT), np.int64)
        dtypes = [np.dtype(x.dtype.np) for x in inputs]
        for i, x in enumerate(inputs):
            input_rows[i, : 2 + x.ndim] = id(dtypes[i]), x.ndim, *x.shape
        output_rows = np.zeros((len(layouts) + 1, nt.J_OUTPUT), np.int64)
        shapes = [np.array(x.shape or (0,), np.int64) for x in layouts]
        for i, x in enumerate(layouts):
            is_large = x.size * x.dtype.itemsize >= REUSED
            number, word = np.dtype(x.dtype.np).num, compiled.output_word(i)
            output_rows[i, :5] = number, x.ndim, address_of(shapes[i]), word, is_large
        guards = [np.empty_like(r) for r in reads]
        guard_rows = np.zeros((len(reads) + 1, nt.J_GUARD), np.int64)
        for i, (guard, read) in enumerate(zip(guards, reads, strict=True)):
            guard_rows[i] = guard.ctypes.data, read.ctypes.data, read.nbytes
            table[compiled.output_word(len(layouts) + i)] = guard.ctypes.data
        self._rows = output_rows
        self._kept += (
            compiled, table, memory, input_rows, dtypes, output_rows, shapes, guards, tuple(reads),
            guard_rows,
        )  # fmt: skip
        words[nt.J_CODE], words[nt.J_TABLE] = compiled.code, address_of(table)
        words[nt.J_INPUTS], words[nt.J_INPUT_ROWS] = len(inputs), address_of(input_rows)
        words[nt.J_FIRST_INPUT] = compiled.first_input
        words[nt.J_OUTPUTS], words[nt.J_OUTPUT_ROWS] = len(layouts), address_of(output_rows)
        words[nt.J_GUARDS], words[nt.J_GUARD_ROWS] = len(reads), address_of(guard_rows)
        largest = max([x.size for x in (*inputs, *layouts)], default=0)
        words[nt.J_RELEASES] = largest >= RELEASED or compiled.size >= 8 * RELEASED

    def _let_go(self) -> None:
        """Give back the results that are kept for the next call."""
        rows, self._rows = self._rows, None
        if rows is not None:
            for address in rows[:, 5].tolist():
                if address:
                    ctypes.pythonapi.Py_DecRef(ctypes.c_void_p(address))

    def __del__(self) -> None:
        self._let_go()
