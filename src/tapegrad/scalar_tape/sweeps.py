"""The kernels of strips (native_sweeps.py), and the tables by opcode that they read.

Each is compiled, or loaded from the store, when a program first uses it.
"""

from __future__ import annotations

from functools import cache, partial

import numpy as np

from ..native import abi as nt
from ..native import machine_code
from . import abi as sf
from . import native_sweeps, rows
from .opcodes import Rule, codes

__all__ = ["opcode_tables"]


def native_units() -> list[machine_code.Unit]:
    """Return the units of all kernels."""
    return [_unit(name.removeprefix("strip_")) for name in native_sweeps.__all__]


def _unit(name: str) -> machine_code.Unit:
    function = getattr(native_sweeps, f"strip_{name}")
    source = machine_code.source_digest("scalar_tape.native_sweeps", "ops.all_rows")
    return machine_code.kernel_unit(function, source)


@cache
def _kernel(name: str) -> int:
    """Address of a kernel, loaded or compiled now."""
    return machine_code.load(_unit(name))["kernel"]


class _OpcodeTables:
    """Tables of opcodes that sweeps read; more may come (called_rows.py), so there is memory for all.

    Attributes
    ----------
    active : numpy.ndarray
        A byte each: a bit for each operand that is not a constant.
    simple : numpy.ndarray
        A row each (`P_*`).
    """

    def __init__(self) -> None:
        self.active = np.zeros(sf.MOST_CODES, np.uint8)
        self.simple = np.zeros((sf.MOST_CODES, sf.P_WIDTH), np.int64)
        machine_code.keep_for_ever((self.active, self.simple))
        for number, code in enumerate(codes()):
            if code is not None:
                self.add(number, Rule(code))

    def add(self, number: int, rule: Rule) -> None:
        """Write what there is of an opcode."""
        kinds, partials = rule.code.kinds, rule.partials()
        self.active[number] = sum(1 << i for i, kind in enumerate(kinds) if kind != "k")
        if partials is not None:
            row = self.simple[number]
            row[sf.P_MASK_A], row[sf.P_MASK_B] = [-int(k == "k") for k in kinds.ljust(2, "k")]
            row[sf.P_A], row[sf.P_B] = partials
            row[sf.P_SIMPLE] = 1


@cache
def opcode_tables() -> _OpcodeTables:
    """Return the tables of all opcodes."""
    return _OpcodeTables()


#: blocks of this process, by number
_BLOCKS = np.zeros((sf.MOST_BLOCKS, 2), np.int64)
machine_code.keep_for_ever(_BLOCKS)
nt.GLOBALS[nt.G_BLOCKS] = _BLOCKS.ctypes.data


def _blocks() -> int:
    return _BLOCKS.ctypes.data


rows.KERNELS["active_operands"] = lambda: opcode_tables().active.ctypes.data
rows.KERNELS["blocks"] = _blocks
rows.KERNELS["simple"] = lambda: opcode_tables().simple.ctypes.data
for _name in ("called", "forward", "reverse", "exact", "result", "spread"):
    rows.KERNELS[_name] = partial(_kernel, _name)
