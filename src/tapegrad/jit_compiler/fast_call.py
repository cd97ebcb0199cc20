"""Calls of a compiled function with arrays, in native code.

A `FastCall` fills the words that `call_jitted` (runtime/compiled_tapes.py) reads for the trace that was
used last.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from ..native import abi as nt
from ..native.builtin_calls import MethodDef
from ..native.machine_code import entry
from ..ops.layout import Layout
from ..tape.memory_views import address_of
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
        self._slow, self._kept = slow, tuple[Any, ...]()
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
        """Do calls by a compiled tape from now on, if that is possible.

        Parameters
        ----------
        compiled : CompiledTape
        inputs : sequence of Layout
            Of the arguments, which are all arrays.
        returned : tree
            Nested tuples of numbers of results.
        reads : sequence of ndarray
            Values that the last results must have.
        places : sequence of Check
            What the function uses.
        """
        if not self._filling.acquire(blocking=False):  # another thread does this
            return
        try:
            if not self._words[nt.J_BUSY]:  # else another thread runs what is there
                self._fill(compiled, inputs, returned, reads, places)
        finally:
            self._filling.release()

    def _fill(
        self, compiled: CompiledTape, inputs: Sequence[Layout], returned: Any, reads: Sequence[np.ndarray],
        places: Sequence[Check],
    ) -> None:  # fmt: skip
        """Fill the words, as nobody else does meanwhile."""
        words = self._words
        words[nt.J_READY] = 0
        steps = steps_of(returned)
        layouts = compiled.outputs[: len(compiled.outputs) - len(reads)]
        if steps is None or len(layouts) > nt.J_RESULTS or len(steps) > 2 * nt.J_RESULTS:
            return
        if sorted(s for s in steps if s >= 0) != list(range(len(layouts))):
            return
        if any(x.ndim > nt.J_DIMS for x in inputs):
            return
        table, memory = compiled.new_table()
        input_rows = np.zeros((len(inputs) + 1, nt.J_INPUT), np.int64)
        dtypes = [np.dtype(x.dtype.np) for x in inputs]
        for i, x in enumerate(inputs):
            input_rows[i, : 2 + x.ndim] = id(dtypes[i]), x.ndim, *x.shape
        output_rows = np.zeros((len(layouts) + 1, nt.J_OUTPUT), np.int64)
        shapes = [np.array(x.shape or (0,), np.int64) for x in layouts]
        for i, x in enumerate(layouts):
            word = compiled.output_word(i)
            is_large = x.size * x.dtype.itemsize >= REUSED
            output_rows[i, :5] = (
                np.dtype(x.dtype.np).num,
                x.ndim,
                address_of(shapes[i]),
                word,
                is_large,
            )
        guards = [np.empty_like(r) for r in reads]
        guard_rows = np.zeros((len(reads) + 1, nt.J_GUARD), np.int64)
        for i, (guard, read) in enumerate(zip(guards, reads, strict=True)):
            guard_rows[i] = guard.ctypes.data, read.ctypes.data, read.nbytes
            table[compiled.output_word(len(layouts) + i)] = guard.ctypes.data
        place_rows = np.zeros((len(places) + 1, nt.J_PLACE), np.int64)
        for i, place in enumerate(places):
            place_rows[i] = place.row()
        result = np.array([len(steps), *steps], np.int64)
        self._let_go()
        self._rows = output_rows
        self._kept = (
            compiled, table, memory, input_rows, dtypes, output_rows, shapes, guards, tuple(reads),
            guard_rows, tuple(places), place_rows, result,
        )  # fmt: skip
        words[nt.J_CODE], words[nt.J_TABLE] = compiled.code, address_of(table)
        words[nt.J_INPUTS], words[nt.J_INPUT_ROWS] = len(inputs), address_of(input_rows)
        words[nt.J_FIRST_INPUT] = compiled.first_input
        words[nt.J_OUTPUTS], words[nt.J_OUTPUT_ROWS] = len(layouts), address_of(output_rows)
        words[nt.J_RESULT] = address_of(result)
        words[nt.J_GUARDS], words[nt.J_GUARD_ROWS] = len(reads), address_of(guard_rows)
        words[nt.J_PLACES], words[nt.J_PLACE_ROWS] = len(places), address_of(place_rows)
        largest = max([x.size for x in (*inputs, *layouts)], default=0)
        words[nt.J_RELEASES] = largest >= RELEASED or compiled.size >= 8 * RELEASED
        words[nt.J_READY] = 1

    def _let_go(self) -> None:
        """Give back the results that are kept for the next call."""
        rows, self._rows = self._rows, None
        if rows is not None:
            for address in rows[:, 5].tolist():
                if address:
                    ctypes.pythonapi.Py_DecRef(ctypes.c_void_p(address))

    def __del__(self) -> None:
        self._let_go()
