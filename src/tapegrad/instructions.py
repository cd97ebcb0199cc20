"""Interned instructions: an op on given layouts and attributes, ready to run.

Everything about a statement but its slots is here, once for all statements alike: kernels, loop
geometry, the layout of the result. So a statement is an instruction's number and its operands'
slots. `instruction` finds or makes one; `remember` tells native recording about it, so that the
next time the same op meets the same layouts Python is not asked.

`Program` holds the VJP of an instruction for one operand (traced_rule.py builds it).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import native as nt
from .dtypes import dtype
from .layouts import Layout, intern
from .ops.table import Lowered, Op, is_float, op
from .programs import GrowingTable, Step, emit

__all__ = ["INSTRUCTIONS", "Instruction", "instruction", "leaf", "remember", "remember_pair",
           "view_instruction"]  # fmt: skip

ITAB = GrowingTable(nt.I_WIDTH, nt.G_ITAB)
VTAB = GrowingTable(nt.V_WIDTH, nt.G_VTAB)
RTAB = GrowingTable(nt.Q_WIDTH, nt.G_REPLAY)


class Instruction:
    """An op, the layouts of its operands, its attributes, and what follows from them.

    Attributes
    ----------
    id : int
    op : Op
    layouts : tuple of Layout
    attrs : dict
    outs : tuple of Layout
        Layouts of the results; result ``j`` of statement ``k`` is slot ``k + j``.
    steps : tuple of Step
    scratch : int
        Bytes of scratch memory of the steps.
    vjp, masked_vjp : object or None
        Templates; set by traced_rule.py when a reverse pass first needs them.
    outputs : tuple of Instruction
        For an op with several results: the instructions of the results behind the first.
    """

    __slots__ = (
        "attrs", "id", "layouts", "masked_vjp", "op", "outputs", "outs", "scratch", "steps", "vjp",
    )  # fmt: skip

    def __init__(
        self, number: int, entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any],
        lowered: Lowered,
    ) -> None:  # fmt: skip
        self.id = number
        self.op = entry
        self.layouts = layouts
        self.attrs = attrs
        self.outs = lowered.outs
        self.steps: tuple[Step, ...] = lowered.steps
        self.scratch = lowered.scratch
        self.vjp: Any = None
        self.masked_vjp: Any = None
        self.outputs: tuple[Instruction, ...] = ()

    @property
    def out(self) -> Layout:
        """Layout of the (first) result."""
        return self.outs[0]

    @property
    def grad_fn(self) -> str:
        """PyTorch's name of the node."""
        name = self.op.grad_fn
        return name if isinstance(name, str) else name(self)

    def __repr__(self) -> str:
        return f"<instruction {self.id} {self.op.name} {self.layouts} {self.attrs}>"


INSTRUCTIONS: list[Instruction] = []
_interned: dict[Any, Instruction] = {}


def instruction(entry: Op, layouts: tuple[Layout, ...], **attrs: Any) -> Instruction:
    """Return the instruction of an op for layouts and attributes.

    Raises
    ------
    RuntimeError, TypeError, ValueError, IndexError
        What the op's lowering says of operands that do not fit.
    """
    key = (entry.code, tuple(x.id for x in layouts), *attrs.items())
    found = _interned.get(key)
    if found is not None:
        return found
    lowered = entry.lower(entry, layouts, attrs)
    with nt.LOCK:
        if key in _interned:  # another thread was faster
            return _interned[key]
        made = _new(entry, layouts, attrs, lowered)
        if len(lowered.outs) > 1:
            made.outputs = tuple(
                _new(OUTPUT, (made.out,), {"number": j}, Lowered((lowered.outs[j],), ()))
                for j in range(1, len(lowered.outs))
            )
        _interned[key] = made
    return made


def _new(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], lowered: Lowered
) -> Instruction:
    number = ITAB.reserve(1)
    made = Instruction(number, entry, layouts, attrs, lowered)
    INSTRUCTIONS.append(made)
    out = lowered.outs[0]
    row = ITAB.rows[number]
    low, high = emit(lowered.steps)
    row[nt.I_KIND] = entry.kind
    row[nt.I_NARGS] = len(layouts)
    row[nt.I_BYTES] = 0 if entry.kind in (nt.WRITE, nt.ACCUMULATE) else out.span
    row[nt.I_STEP_LO], row[nt.I_STEP_HI] = low, high
    row[nt.I_SCRATCH] = lowered.scratch
    row[nt.I_LAYOUT] = out.id
    smooth = entry.vjp is not None or entry.kind != nt.COMPUTE or entry.extras.get("python")
    row[nt.I_DIFF] = bool(smooth) and is_float(out) and entry.kind != nt.OUTPUT
    row[nt.I_NOUT] = len(lowered.outs)
    row[nt.I_PYTHON] = bool(entry.extras.get("python"))
    row[nt.I_VJP : nt.I_PUSH + 1] = -1
    row[nt.I_FULL] = -1 if out.overlaps else out.size * out.dtype.itemsize
    row[nt.I_DETACH] = entry.extras.get("detach", 0)
    if entry.kind == nt.LEAF:
        row[nt.I_EXTRA] = attrs["requires_grad"]
    if entry.extras.get("rewritten"):
        row[nt.I_EXTRA] = nt.REWRITTEN
    if entry.name == "select" and layouts[0].ndim:  # what native integer indexing needs to know
        row[nt.I_EXTRA] = layouts[0].shape[0]
        row[nt.I_EXTRA + 1] = layouts[0].strides[0]
    return made


def _no_steps(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    return Lowered((attrs["layout"],), ())


LEAF = op("leaf", kind=nt.LEAF, lower=_no_steps, grad_fn="AccumulateGrad", arity=0, torch=None)
OUTPUT = op("output", kind=nt.OUTPUT, lower=_no_steps, torch=None)


_leaves: dict[tuple[int, bool], Instruction] = {}


def leaf(layout: Layout, requires_grad: bool = False) -> Instruction:
    """Return the instruction of a leaf (or constant) with this layout.

    That a leaf requires grad is said here as well as by its ACTIVE flag, since a passive leaf
    becomes active when something active is written into it.
    """
    key = (layout.id, requires_grad)
    found = _leaves.get(key)
    if found is None:
        found = instruction(LEAF, (), layout=layout, requires_grad=bool(requires_grad))
        _leaves[key] = found
    return found


def view_instruction(
    entry: Op, source: Layout, shape: tuple[int, ...], strides: tuple[int, ...],
    kind: dtype | None = None,
) -> Instruction:  # fmt: skip
    """Return the instruction of a view: `source` seen with another shape and strides."""
    return instruction(
        entry, (source,), layout=intern(kind or source.dtype, tuple(shape), tuple(strides))
    )


# --------------------------------------------------------------------------- native recording's
# table
class _Pairs:
    """Hash table (op, layout, layout) -> (instruction, layout) in the form native code probes."""

    def __init__(self) -> None:
        self.entries: dict[int, tuple[int, int]] = {}
        self.table: np.ndarray
        self._retired: list[np.ndarray] = []
        self._build(1 << 12)

    def _build(self, size: int) -> None:
        table = np.full((size, 3), -1, np.int64)
        for key, (number, layout) in self.entries.items():
            self._place(table, key, number, layout)
        if self.entries:
            self._retired.append(self.table)
        self.table = table
        # One reader at a time: native recording holds the GIL, and so does this.
        nt.GLOBALS[nt.G_PAIRS] = table.ctypes.data
        nt.GLOBALS[nt.G_PAIRS_MASK] = size - 1

    @staticmethod
    def _place(table: np.ndarray, key: int, number: int, layout: int) -> None:
        mask = len(table) - 1
        product = (key * nt.HASH) & 0xFFFFFFFFFFFFFFFF
        if product >= 1 << 63:
            product -= 1 << 64
        at = (product >> 20) & mask
        while table[at, 0] != -1:
            at = (at + 1) & mask
        table[at] = key, number, layout

    def add(self, code: int, a: int, b: int, number: int, layout: int) -> None:
        key = (code << 48) | (a << 24) | b
        if key in self.entries:
            return
        self.entries[key] = (number, layout)
        if 2 * len(self.entries) > len(self.table):
            self._build(2 * len(self.table))
        else:
            self._place(self.table, key, number, layout)


PAIRS = _Pairs()
#: results from this size on are evaluated at once, by Python, so that what does not fit in memory
#: raises where it was asked for
LARGE = 1 << 26


def remember_pair(code: int, a: int, b: int, number: int, other: int) -> None:
    """Tell native replay which instruction (and another number) goes with two layouts."""
    with nt.LOCK:
        PAIRS.add(code, a, b, number, other)


def remember(made: Instruction, called: Op | None = None) -> None:
    """Let native recording use an instruction for its op (or that which was `called`) and layouts."""
    code = (called or made.op).code
    out = made.out
    if len(made.outs) == 1 and out.span < LARGE and len(made.layouts) <= 2:
        second = made.layouts[1].id if len(made.layouts) == 2 else 0
        with nt.LOCK:
            PAIRS.add(code, made.layouts[0].id, second, made.id, out.id)
