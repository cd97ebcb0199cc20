"""A closed tape as machine code."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cache, cached_property

import numpy as np

from ..native import abi as nt
from ..native.builtin_calls import native_call
from ..native.machine_code import Unit, entry, load, source_digest
from ..ops.instruction import ITAB
from ..ops.layout import Layout
from ..tape.failures import failed
from ..transforms.closed_tape import ClosedTape
from ..transforms.simplify import simplified as simplified_tape
from .code import OUTSIDE, TABLE_HEAD, TILE, object_code
from .contraction import contracted, merged, parted
from .formulas import may_leave
from .fusion import banded, fused
from .loop_program import Program, text
from .loops import Compute, computes
from .lowering import lowered
from .ordering import distributed, with_sums
from .plan import planned
from .rewriting import pruned, simplified, with_products

__all__ = ["CompiledTape", "optimised"]

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
    nodes = fused(parted(pruned(nodes)))
    program.nodes = banded(merged(contracted(nodes)), TILE)
    return program


class CompiledTape:
    """Machine code of a closed tape.

    Attributes
    ----------
    tape : ClosedTape
    """

    def __init__(self, tape: ClosedTape) -> None:
        self.tape = tape
        self._program = program = optimised(tape)
        self.text = text(program)
        self._layout, calls, words, self.size = planned(program)
        layout = self._layout
        self.code = self._load(fast=True)
        self.outputs: tuple[Layout, ...] = tape.outputs
        self._table = np.zeros(words, np.int64)
        self._table[0] = entry("run_steps")
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
        program, layout = self._program, self._layout
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
            for node in self._program.nodes
            for c in computes(node)
            if isinstance(c, Compute)
        ]
        return self._load(fast=False) if any(map(may_leave, formulas)) else self.code

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

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the code on arrays of the inputs' layouts; results as new arrays."""
        results = [np.empty(x.shape, x.dtype.np) for x in self.outputs]
        local = self._local
        try:
            table = local.table
        except AttributeError:
            table, local.memory = self.new_table()
            local.table = table
        table[self._inputs] = [a.ctypes.data for a in arrays]
        table[self._outputs] = [results[i].ctypes.data for i in self._order]
        status = _run(self.code, table.ctypes.data)
        if status == OUTSIDE:
            status = _run(self.slow_code, table.ctypes.data)
        if status:
            number = int(table[0])
            table[0] = self._table[0]
            raise failed(self._called[number], status).error()
        return results
