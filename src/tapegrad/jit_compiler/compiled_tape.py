"""A closed tape as machine code."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cache, cached_property
from typing import Any

import numpy as np

from ..base.dtypes import from_numpy_dtype
from ..native import abi as nt
from ..native.builtin_calls import native_call
from ..native.machine_code import Unit, entry, load, source_digest
from ..native.threads import with_threads
from ..ops.instruction import ITAB
from ..ops.layout import Layout
from ..tape import pytree as trees
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.failures import Failed, failed, failure_of
from ..tape.memory_views import address_of
from ..transforms.closed_tape import TRANSFORMS, ClosedTape
from ..transforms.simplify import simplified as simplified_tape
from .code import OUTSIDE, object_code
from .contraction import contracted, merged, parted
from .formulas import may_leave
from .groups import TABLE_HEAD
from .loop_program import Program, text
from .loops import Compute, computes
from .lowering import lowered
from .ordering import distributed, with_sums
from .plan import planned
from .product_tiles import with_product_tiles
from .rewriting import pruned, simplified, with_products
from .sharing import shared
from .tiles import banded

__all__ = ["CompiledTape", "memory_of", "optimised"]

#: lines of loops that are printed
SHOWN = 60

_run = native_call("run_tape")


@cache
def _compiler() -> str:
    """A digest of what code depends on beside the loops."""
    return source_digest(
        "jit_compiler.code", "jit_compiler.lowering", "ops.emitter", "ops.all_rows"
    )


def optimised(tape: ClosedTape) -> Program:
    """Loops of a tape, joined."""
    program = lowered(simplified_tape(tape, final=True))
    with_products(program.nodes)
    with_sums(program.nodes)
    nodes = distributed(program.nodes)
    for _ in range(3):  # what a copy of a number is computed with may be one itself
        nodes = simplified(nodes, program.outputs)
    nodes = with_product_tiles(parted(pruned(nodes)))
    program.nodes = shared(banded(merged(contracted(nodes))))
    return program


class CompiledTape:
    """Machine code of a closed tape, a function of arrays and Tensors; made by `ClosedTape.compiled`.

    It takes what the tape takes. If there are Tensors among the arguments, or no arguments, it returns
    Tensors, else arrays; all are new. Where gradients are recorded for an argument, and inside of other
    functions that are being recorded, the tape's statements are recorded, and not compiled. Several threads
    may call it.

    Attributes
    ----------
    tape : ClosedTape
    text : str
        The loops of its code.
    size : int
        Bytes of memory for temporaries.

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> compiled = tg.trace(lambda x: (x * x).sum())(tg.zeros(3)).gradient().compiled()
    >>> compiled(np.array([1.0, 2.0, 3.0]))
    (array(14.), array([2., 4., 6.]))
    """

    def __init__(self, tape: ClosedTape) -> None:
        self.tape = tape
        self.program = program = optimised(tape)
        self.text = text(program)
        self._layout, calls, words, self.size = planned(program)
        layout = self._layout
        self.code = self._load(fast=True)
        self.outputs: tuple[Layout, ...] = tape.outputs
        self._table = np.zeros(words, np.int64)
        self._table[0], self._table[2] = entry("run_steps"), with_threads()
        count = len(program.inputs)
        self._kept = (*tape.arrays, *program.tables)
        for i, array in enumerate(self._kept):
            self._table[TABLE_HEAD + count + i] = array.ctypes.data
        self._called = {layout.calls[id(call)]: call.instruction for call in calls}
        for call in calls:
            row = ITAB.rows[call.instruction.id]
            word = layout.calls[id(call)]
            low, high = row[nt.I_STEP_LO : nt.I_STEP_HI + 1].tolist()
            self._table[word : word + 2] = low | high << 32, row[nt.I_SIZE]
        self.first_input = TABLE_HEAD
        self._inputs = slice(TABLE_HEAD, TABLE_HEAD + count)
        first = TABLE_HEAD + count + len(program.arrays)
        self._order = [b.number for b in program.outputs]
        self._words = {number: first + i for i, number in enumerate(self._order)}
        self._outputs = slice(first, first + len(program.outputs))
        self._local = threading.local()

    def _load(self, *, fast: bool) -> int:
        """Address of the code, from the store or compiled now."""
        program, layout = self.program, copy(self._layout)  # other threads have it, too
        places = len(program.inputs), len(program.arrays), [b.number for b in program.outputs]
        layout.fast = fast
        source = f"{self.text}\n{places}\n{layout.description()}\n{_compiler()}"

        def build(symbols: Mapping[str, str]) -> bytes:
            return object_code(symbols, program.nodes, layout)

        return load(Unit("tape", source, ("run",), build))["run"]

    @cached_property
    def slow_code(self) -> int:
        """Address of code that is right for all numbers."""
        formulas = [
            c.formula
            for node in self.program.nodes
            for c in computes(node)
            if isinstance(c, Compute)
        ]
        return self._load(fast=False) if any(map(may_leave, formulas)) else self.code

    @property
    def failures(self) -> list[Failed]:
        """Errors that the code may end with."""
        return [x for x in map(failure_of, self._called.values()) if x is not None]

    def error_of(self, word: int, status: int) -> BaseException:
        """Return the error of the statement whose call has a word of the table."""
        return failed(self._called[word], status).error()

    def output_word(self, number: int) -> int:
        """Word of the table for the address of a result."""
        return self._words[number]

    @property
    def table(self) -> np.ndarray:
        """The table that a run copies, with zeros for addresses of inputs, results and temporaries."""
        return self._table

    def new_table(self) -> tuple[np.ndarray, np.ndarray]:
        """Make a table and memory for temporaries, which one run at a time may use."""
        memory = np.empty(self.size + 64, np.uint8)
        table = self._table.copy()
        table[1] = (memory.ctypes.data + 63) & ~63
        return table, memory

    def __repr__(self) -> str:
        head = self.tape.text(0).partition("\n")[0].replace("closed", "compiled", 1)
        lines = self.text.split("\n")
        if len(lines) > SHOWN:
            left_out = f"... {len(lines) - SHOWN} more"
            lines = [*lines[: SHOWN // 2], left_out, *lines[-SHOWN // 2 :]]
        return "\n  ".join([f"{head}, {self.size} bytes of temporaries", *lines])

    def __reduce__(self) -> Any:
        return CompiledTape, (self.tape,)

    def __copy__(self) -> CompiledTape:
        return self

    def __deepcopy__(self, memo: object) -> CompiledTape:
        return self

    def __call__(self, *args: Any) -> Any:
        """Run the code on arguments of the tape's.

        Raises
        ------
        TypeError, ValueError
            If the arguments are not of the structure, shapes and dtypes with which it was recorded.
        """
        tape = self.tape
        leaves = tape.leaves(args)
        tensors = [x for x in leaves if record.is_tensor(x)]
        around = current_tape()
        if around.abstract or (around.grad_mode and any(map(record.is_active, tensors))):
            return tape(*args)
        arrays = [self._memory(i, x) for i, x in enumerate(leaves)]
        results: list[Any] = self.run(arrays)
        if tensors or not leaves:
            results = [record.leaf_tensor(x, from_numpy_dtype(x.dtype)) for x in results]
        return trees.unflatten(tape.out_spec, results)

    def _memory(self, number: int, value: Any) -> np.ndarray:
        """An argument as an array in the layout with which the tape was recorded."""
        layout = self.tape.inputs[number]
        if (
            type(value) is np.ndarray
            and value.dtype == layout.dtype.np
            and value.shape == layout.shape
            and layout.is_contiguous
            and value.flags.c_contiguous
            and value.flags.aligned
        ):
            return value
        return memory_of(self.tape.checked(number, value))

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the code on arrays of the inputs' layouts; results as new arrays."""
        results = [np.empty(x.shape, x.dtype.np) for x in self.outputs]
        # The code may call Python, where it may be run again: tables that are used are not in the list.
        tables = self._local.__dict__.setdefault("tables", [])
        block = tables.pop() if tables else self.new_table()
        table = block[0]
        table[self._inputs] = [address_of(a) for a in arrays]
        table[self._outputs] = [address_of(results[i]) for i in self._order]
        status = _run(self.code, address_of(table))
        if status == OUTSIDE:
            status = _run(self.slow_code, table.ctypes.data)
        if status:
            number = int(table[0])
            table[0] = self._table[0]
            tables.append(block)
            raise self.error_of(number, status)
        tables.append(block)
        return results


def memory_of(tensor: Any) -> np.ndarray:
    """A tensor's value as an array with its strides."""
    array, layout = tensor._array(), record.layout_of(tensor)
    if layout.is_contiguous:
        return array
    memory = np.empty(layout.span, np.uint8)
    strided = np.ndarray(layout.shape, layout.dtype.np, memory, 0, layout.strides)
    strided[...] = array
    return strided


TRANSFORMS["compiled"] = CompiledTape
