"""The check of a closed tape that somebody else has made.

A file may hold anything. So before a tape of one runs, all that native code relies on is checked here: the
statements' operands come before their use and have the expected layouts, views lie inside of their operands,
nothing is written but memory of the tape's own, kernels stay inside of what they are given, and positions are
in range, by arithmetic on the least and largest values. First derivatives are checked where their rules are
traced. `check` raises, whatever a file says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..base.dtypes import DTYPES, bool_, dtype, int64
from ..base.errors import TapeError
from ..native import abi as nt
from ..ops.instruction import INSTRUCTIONS, Instruction
from ..ops.layout import Layout, is_symbolic
from ..ops.step_bounds import OutOfBounds, Range, check_bounds, check_dtypes, indexed_lengths
from ..ops.table import Op
from ..rules.traced_rule import template
from ..tape.constants import Constants
from ..tape.segment import Step
from .closed_tape import ClosedTape

__all__ = ["MOST_BYTES", "check", "check_attributes", "check_op", "refuse"]

#: of inputs and the results of all statements together
MOST_BYTES = 1 << 36
_LARGEST = 1 << 44
_KINDS = (nt.COMPUTE, nt.VIEW, nt.WRITE, nt.ACCUMULATE)


def refuse(why: str) -> TapeError:
    """Return the error for a tape that is not used."""
    return TapeError(f"the tape is damaged: {why}")


def check_op(entry: Op) -> None:
    """Raise TapeError for a statement that needs Python objects, or is none."""
    if entry.python or entry.has_code or entry.lift == "never":
        raise TapeError(
            f"{entry.name}: the tape has a statement that holds Python objects (a custom Function, compiled "
            "code, or a call of a function under njit), which cannot be saved"
        )
    if entry.kind not in _KINDS:
        raise refuse(f"{entry.name} is no statement")


# --------------------------------------------------------------------------- attributes
def _is_int(value: Any) -> bool:
    return type(value) is int and abs(value) < _LARGEST


def _is_number(value: Any) -> bool:
    return type(value) is float or _is_int(value)


def _ints(value: Any) -> bool:
    return type(value) is tuple and all(map(_is_int, value))


def _flag(value: Any, ndim: int) -> bool:
    return type(value) is bool


def _number(value: Any, ndim: int) -> bool:
    return _is_number(value)


def _whole(value: Any, ndim: int) -> bool:
    return _is_int(value)


def _counts(value: Any, ndim: int) -> bool:
    return _ints(value) and min(value, default=0) >= 0


def _dims(value: Any, ndim: int) -> bool:
    if type(value) is tuple:
        inside = _ints(value) and all(0 <= d < ndim for d in value)
        return inside and all(a < b for a, b in pairwise(value))
    return value is None or (_is_int(value) and 0 <= value < max(ndim, 1))


#: attribute -> test of its value, given the number of dimensions that it may name
_TESTS: dict[str, Callable[[Any, int], bool]] = {
    **dict.fromkeys(("dim", "dims", "dim1", "dim2"), _dims),
    **dict.fromkeys(
        ("keepdim", "reverse", "nan", "accumulate", "number", "wraps", "descending", "largest"), _flag
    ),
    **dict.fromkeys(
        ("p", "alpha", "beta", "negative_slope", "threshold", "fill", "correction", "eps"), _number
    ),
    **dict.fromkeys(("n", "k", "order", "dx", "dy", "offset", "diagonal", "shift"), _whole),
    **dict.fromkeys(("shape", "repeats"), _counts),
    **dict.fromkeys(("shifts", "pad"), lambda value, ndim: _ints(value)),
    "approximate": lambda value, ndim: value in ("none", "tanh"),
    "named": lambda value, ndim: type(value) is str,
}  # fmt: skip


def check_attributes(entry: Op, layouts: Sequence[Layout], attrs: dict[str, Any]) -> None:
    """Raise TapeError for attributes with which an op is never recorded."""
    if entry.kind == nt.VIEW:
        shown = attrs.keys() - {"in_place"}
        if (
            shown != {"layout"}
            or not isinstance(attrs["layout"], Layout)
            or attrs.get("in_place", True) is not True
        ):
            raise refuse(f"{entry.name} has other attributes than a layout")
        return
    ndim = max([x.ndim for x in layouts], default=0) + (entry.name == "stack")
    if type(attrs.get("shape")) is tuple:
        ndim = len(attrs["shape"])
    for name, value in attrs.items():
        if entry.lifted:
            continue
        test = _TESTS.get(name)
        fits = test(value, ndim) if test is not None else value is None or _is_plain(value)
        if not fits:
            raise refuse(f"{entry.name} has {name}={str(value)[:40]}")
    if entry.lifted:
        _check_lifted(layouts, attrs)
    if attrs.get("dim1", -1) == attrs.get("dim2", -2):
        raise refuse(f"{entry.name} has one dimension twice")


def _is_plain(value: Any) -> bool:
    """Return True for what may be an attribute of a name that is not known here."""
    return (
        type(value) in (bool, str) or _is_number(value) or _ints(value) or isinstance(value, dtype)
    )


def _check_lifted(layouts: Sequence[Layout], attrs: dict[str, Any]) -> None:
    inner: Any = attrs.get("inner")
    size: Any = attrs.get("size")
    batched: Any = attrs.get("batched")
    if attrs.keys() != {"inner", "size", "batched"} or not _is_int(inner) or not _is_int(size):
        raise refuse("a batch of statements has other attributes")
    one: Instruction = INSTRUCTIONS[inner]
    if one.op.kind != nt.COMPUTE or size < 1 or type(batched) is not tuple:
        raise refuse("a batch of statements that are not lifted so")
    if not len(batched) == len(layouts) == len(one.layouts):
        raise refuse("a batch of statements with other operands")
    for flag, layout, expected in zip(batched, layouts, one.layouts, strict=True):
        if type(flag) is not bool or layout.dtype is not expected.dtype:
            raise refuse("a batch of statements with other operands")
        shape, strides = tuple(layout.shape), layout.strides
        if flag and shape[:1] == (size,):
            shape, strides = shape[1:], strides[1:]
        elif flag:
            raise refuse("a batch of another size")
        moving = [n > 1 for n in shape]
        if shape != tuple(expected.shape) or any(
            m and a != b for m, a, b in zip(moving, strides, expected.strides, strict=True)
        ):
            raise refuse("a batch of statements with other operands")


# --------------------------------------------------------------------------- statements
class _Memory(NamedTuple):
    """The reference whose memory a value lies in, and where its first byte is."""

    base: int
    offset: int


class _Check:
    """The state of one check."""

    def __init__(self, tape: ClosedTape, most_bytes: int) -> None:
        self.tape, self.most_bytes = tape, most_bytes
        self.memory: list[_Memory] = []
        self.ranges: list[Range] = []
        self.written: set[int] = set()
        self.bytes = 0
        #: of instructions that were checked
        self.lengths: dict[int, dict[int, int]] = {}

    def run(self) -> None:
        tape, segment = self.tape, self.tape.segment
        self.more_bytes(sum(x.span for x in tape.layouts))
        for leaf in segment.leaves:
            fits = 0 <= leaf.value < len(tape.layouts) if leaf.code == nt.SEG_INPUT else True
            if not fits or (leaf.code != nt.SEG_INPUT and not 0 <= leaf.code < len(DTYPES)):
                raise refuse("a leaf that is no input and no number")
        for k, step in enumerate(segment.steps):
            instruction = INSTRUCTIONS[step.number]
            if instruction.op.kind == nt.OUTPUT:
                self.add(_Memory(k, 0), None, instruction.out)
                continue
            self.statement(k, step, instruction)
        for r in segment.results:
            if not -len(segment.leaves) <= r < len(segment.steps):
                raise refuse("a result that is not there")
        for k in segment.noted:
            inside = 0 <= k < len(segment.steps)
            if not inside or INSTRUCTIONS[segment.steps[k].number].op.kind not in (
                nt.WRITE, nt.ACCUMULATE,
            ):  # fmt: skip
                raise refuse("a write that is none")
        if not len(tape.active) == len(tape.inputs) == tape.in_spec.num_leaves:
            raise refuse("other inputs than arguments")
        if len(segment.results) != tape.out_spec.num_leaves:
            raise refuse("other results than the structure says")
        for layout, active in zip(tape.inputs, tape.active, strict=True):
            if not layout.is_contiguous or (active and not layout.dtype.is_inexact):
                raise refuse("an input that cannot be one")

    def add(self, memory: _Memory, known: Range, layout: Layout) -> None:
        self.memory.append(memory)
        self.ranges.append(known if layout.dtype is int64 else None)
        if memory.base == len(self.memory) - 1:
            self.more_bytes(layout.span)

    def more_bytes(self, count: int) -> None:
        self.bytes += count
        if self.bytes > self.most_bytes:
            raise refuse(f"its values take more than {self.most_bytes} bytes")

    def statement(self, k: int, step: Step, instruction: Instruction) -> None:
        entry, kind = instruction.op, instruction.op.kind
        check_op(entry)
        if len(step.references) != len(instruction.layouts):
            raise refuse(f"statement {k} has {len(step.references)} operands")
        for reference, layout in zip(step.references, instruction.layouts, strict=True):
            if not -len(self.tape.segment.leaves) <= reference < k:
                raise refuse(f"an operand of statement {k} does not come before it")
            if self.tape.layout_of(reference) is not layout:
                raise refuse(f"an operand of statement {k} has another layout")
        if (step.offset is not None) != (kind == nt.VIEW) or step.mode not in (-1, 0, 1):
            raise refuse(f"statement {k} has an offset, or none, or another mode")
        if kind == nt.VIEW:
            self.view(k, step, instruction)
        elif kind == nt.COMPUTE:
            self.computed(k, step, instruction)
        else:
            self.write(k, step, instruction)

    def view(self, k: int, step: Step, instruction: Instruction) -> None:
        (source,) = step.references
        shown, whole = instruction.out, instruction.layouts[0]
        if shown.dtype is not whole.dtype and bool_ in (shown.dtype, whole.dtype):
            raise refuse(f"statement {k} sees numbers as bools")
        item = shown.dtype.itemsize
        moved = [s for n, s in zip(shown.shape, shown.strides, strict=True) if n > 1]
        if step.offset < 0 or step.offset % item or any(s < 0 or s % item for s in moved):
            raise refuse(f"statement {k} is a view between elements")
        if shown.size and step.offset + shown.span > whole.span:
            raise refuse(f"statement {k} is a view beyond its operand")
        if instruction.op.rewritten and (shown is not whole or step.offset):
            raise refuse(f"statement {k} is not the whole of its operand")
        memory = self.at(source)
        self.add(_Memory(memory.base, memory.offset + step.offset), self.range_of(source), shown)

    def write(self, k: int, step: Step, instruction: Instruction) -> None:
        target = step.references[0]
        base = self.at(target).base
        if base < 0:
            leaf = self.tape.segment.leaves[~base]
            if leaf.code != nt.SEG_INPUT or leaf.value < len(self.tape.inputs):
                raise refuse(f"statement {k} writes into what is not the tape's own")
        if instruction.layouts[0].overlaps:
            raise refuse(f"statement {k} writes into elements that share memory")
        self.computed_bounds(k, step, instruction)
        self.written.add(base)
        self.add(_Memory(base, self.at(target).offset), None, instruction.out)

    def computed(self, k: int, step: Step, instruction: Instruction) -> None:
        self.computed_bounds(k, step, instruction)
        self.more_bytes(instruction.scratch)
        known = [self.range_of(r) for r in step.references]
        self.add(_Memory(k, 0), _result_range(instruction, known), instruction.out)

    def computed_bounds(self, k: int, step: Step, instruction: Instruction) -> None:
        try:
            lengths = self.lengths.get(instruction.id)
            if lengths is None:
                lengths = self.lengths[instruction.id] = self.instruction(instruction)
            for number, count in lengths.items():
                known = self.range_of(step.references[number])
                if known is None or known[0] < 0 or known[1] >= count:
                    raise OutOfBounds("positions that nothing has checked")
        except OutOfBounds as error:
            raise refuse(f"statement {k} ({instruction.op.name}) has {error}") from None

    def instruction(self, instruction: Instruction) -> dict[int, int]:
        """Check an instruction and its derivative; the operands that hold positions."""
        if not instruction.op.lifted:
            check_dtypes(instruction.op, instruction.layouts)
        check_bounds(instruction)
        smooth = instruction.op.vjp is not None and instruction.op.kind == nt.COMPUTE
        for statement in (
            template(instruction).statements if smooth and any(self.tape.active) else ()
        ):
            part = statement.instruction
            if part.op.kind == nt.COMPUTE and not is_symbolic((*part.layouts, *part.outs)):
                check_bounds(part)
        return indexed_lengths(instruction)

    def at(self, reference: int) -> _Memory:
        return self.memory[reference] if reference >= 0 else _Memory(reference, 0)

    def range_of(self, reference: int) -> Range:
        if self.at(reference).base in self.written:
            return None
        if reference >= 0:
            return self.ranges[reference]
        leaf = self.tape.segment.leaves[~reference]
        if leaf.code != nt.SEG_INPUT:
            number = Constants.array(leaf.value, leaf.code).item()
            return (number, number) if type(number) is int else None
        array = leaf.value - len(self.tape.inputs)
        if array < 0:
            return None
        return _values_range(self.tape.arrays[array])


def _values_range(array: np.ndarray) -> Range:
    if array.dtype != np.int64 or not array.size:
        return None
    return int(array.min()), int(array.max())


#: ops whose results are elements of their first operand
_CHOICES = frozenset(
    ("clone", "repeat", "flip", "roll", "roll_flat", "index", "index_select", "take", "gather", "pick")
)  # fmt: skip
#: ops whose results are positions along dimensions of their first operand
_SORTS = frozenset(("argmax", "argmin", "argsort", "argtopk", "argmedian"))


def _positions(layout: Layout, dim: Any) -> Range:
    """The range of positions along a dimension, several, or all."""
    lengths: Sequence[int] = layout.shape
    if dim is not None and layout.ndim:
        lengths = [
            layout.shape[d] for d in ((dim,) if type(dim) is int else dim or range(layout.ndim))
        ]
    return 0, max(math.prod(lengths) - 1, 0)


def _result_range(instruction: Instruction, known: Sequence[Range]) -> Range:
    """The range of a result, by those of the operands."""
    while instruction.op.lifted:
        instruction = INSTRUCTIONS[instruction.attrs["inner"]]
    name, attrs = instruction.op.name, instruction.attrs
    if name == "checked_index":
        return (0, attrs["n"] - 1) if attrs["n"] > 0 else None
    if name in _SORTS:
        return _positions(instruction.layouts[0], attrs.get("dim"))
    if name in _CHOICES:
        return known[0]
    ranges = [r for r in known if r is not None]
    if len(ranges) < len(known) or not ranges:
        return None
    if name in ("cat", "stack"):
        return min(r[0] for r in ranges), max(r[1] for r in ranges)
    if name in ("add", "mul", "sub") and len(ranges) == 2:
        (a, b), (c, d) = ranges
        if name == "add":
            low, high = a + c, b + d
        elif name == "sub":
            low, high = a - d, b - c
        else:
            corners = (a * c, a * d, b * c, b * d)
            low, high = min(corners), max(corners)
        return (low, high) if low > -(1 << 62) and high < 1 << 62 else None
    return None


def check(tape: ClosedTape, most_bytes: int = MOST_BYTES) -> None:
    """Check a tape.

    Raises
    ------
    TapeError
        If it cannot be run safely.
    """
    _Check(tape, most_bytes).run()
