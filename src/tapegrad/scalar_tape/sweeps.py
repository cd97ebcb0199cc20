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

__all__: list[str] = []


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


@cache
def _active_operands() -> int:
    """Address of a byte an opcode: a bit for each operand that is not a constant."""
    masks = np.zeros(len(codes()), np.uint8)
    for number, code in enumerate(codes()):
        if code is not None:
            masks[number] = sum(1 << i for i, kind in enumerate(code.kinds) if kind != "k")
    machine_code.keep_for_ever(masks)
    return masks.ctypes.data


@cache
def _simple() -> int:
    """Address of a row an opcode (`P_*`)."""
    table = np.zeros((len(codes()), sf.P_WIDTH), np.int64)
    for number, code in enumerate(codes()):
        partials = None if code is None else Rule(code).partials()
        if code is not None and partials is not None:
            row = table[number]
            row[sf.P_SIMPLE] = 1
            kinds = code.kinds.ljust(2, "k")
            row[sf.P_MASK_A], row[sf.P_MASK_B] = [-int(kind == "k") for kind in kinds]
            row[sf.P_A], row[sf.P_B] = partials
    machine_code.keep_for_ever(table)
    return table.ctypes.data


#: blocks of this process, by number
_BLOCKS = np.zeros((sf.MOST_BLOCKS, 2), np.int64)
machine_code.keep_for_ever(_BLOCKS)
nt.GLOBALS[nt.G_BLOCKS] = _BLOCKS.ctypes.data


def _blocks() -> int:
    return _BLOCKS.ctypes.data


rows.KERNELS["active_operands"] = _active_operands
rows.KERNELS["blocks"] = _blocks
rows.KERNELS["simple"] = _simple
for _name in ("forward", "reverse", "exact", "result", "spread"):
    rows.KERNELS[_name] = partial(_kernel, _name)
