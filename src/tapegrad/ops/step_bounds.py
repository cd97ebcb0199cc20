"""Bounds of steps: what memory an instruction's kernels may touch.

The op table trusts its callers, who have checked their arguments. An instruction that comes from a file has
no such caller, so its steps are looked at after they were lowered: each operand has to stay inside the memory
of what it refers to, and positions that a kernel reads from memory have to be known to be in range.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeAlias

from ..base.dtypes import DTYPES, bool_, dtype, float16, int64, real_of
from ..native.ufunc_loops import native_kernel_address
from .instruction import INSTRUCTIONS, Instruction
from .layout import Layout
from .linalg.loops import core_dims
from .program import ARGS, Operand, Step
from .table import Op

__all__ = ["OutOfBounds", "Range", "check_bounds", "check_dtypes", "indexed_lengths"]

#: least and largest value of an integer operand; None where they are not known
Range: TypeAlias = "tuple[int, int] | None"
#: dtypes of operands where they differ: x is that of the values, i int64, b bool, p that of their parts
#: or of numbers with such parts
_PATTERNS = {
    "where": "bxx", "masked_fill": "xbx", "masked_fill_tensor": "xbx", "median_all": "xi",
    "nanmedian_all": "xi",
    **dict.fromkeys(
        ("index", "index_select", "take", "masked_select", "index_backward", "gather", "gather_backward",
         "pick", "place", "pick_max", "pick_min", "pick_median", "pick_nanmedian", "pick_mode", "pick_sort",
         "pick_topk", "pick_kthvalue", "pick_cummax", "pick_cummin"), "xi"
    ),
    **dict.fromkeys(("index_put", "index_add", "index_copy", "index_fill"), "xxi"),
    "linalg_solve": "xxxi", "linalg_permuted": "xi", "linalg_lu_factor": "xxi",
    "linalg_det": "xxi", "linalg_cofactors": "xxi", "linalg_slogdet": "xxxi",
    "linalg_slogdet_parts": "xi",
    **dict.fromkeys(("scatter", "scatter_value", "scatter_add"), "xix"),
    **dict.fromkeys(("linalg_svd_u", "linalg_svd_s", "linalg_svd_vh"), "xxpx"),
    **dict.fromkeys(("linalg_eigh_values", "linalg_eigh_vectors"), "xpx"),
    **dict.fromkeys(("linalg_eig_values", "linalg_eig_vectors"), "xpp"),
    **dict.fromkeys(("linalg_slogdet_complex", "linalg_slogdet_sign"), "xxp"),
}  # fmt: skip


class OutOfBounds(ValueError):
    """An instruction that would touch what is not its operands'."""


@cache
def _index_kernels() -> frozenset[int]:
    """Addresses of the kernels that read positions, with a table of lengths."""
    adding = [native_kernel_address("index_add", kind) for kind in DTYPES if kind is not float16]
    return frozenset([native_kernel_address(f"index_copy_{n}") for n in (16, 8, 4, 2, 1)] + adding)


@cache
def _take_kernels() -> frozenset[int]:
    """Addresses of the kernels that read one position of a flat operand."""
    return frozenset(native_kernel_address(f"take_{n}") for n in (16, 8, 4, 2, 1))


@cache
def _sorting_kernels() -> frozenset[int]:
    """Addresses of kernels whose core runs over scratch memory only."""
    return frozenset(map(native_kernel_address, ("sort_keys", "middle_position")))


def check_dtypes(entry: Op, layouts: Sequence[Layout]) -> None:
    """Raise OutOfBounds for operands of dtypes that the op is never recorded for."""
    pattern = _PATTERNS.get(entry.name, "x" * len(layouts))
    if len(pattern) != len(layouts) or (entry.is_elementwise and entry.arity != len(layouts)):
        raise OutOfBounds(f"{len(layouts)} operands")
    known: set[dtype] = set()
    parts: set[dtype] = set()
    for letter, layout in zip(pattern, layouts, strict=True):
        wanted = {"i": int64, "b": bool_}.get(letter)
        if wanted is None:
            parts.add(real_of(layout.dtype))
            if letter == "x":
                known.add(layout.dtype)
        elif layout.dtype is not wanted:
            raise OutOfBounds(f"an operand of dtype {layout.dtype.name}")
    if len(known) > 1 or len(parts) > 1:
        raise OutOfBounds("operands of different dtypes")


def check_bounds(instruction: Instruction) -> None:
    """Check what the steps of an instruction touch, but for positions that they read from memory.

    Raises
    ------
    OutOfBounds
    """
    layouts = (*instruction.layouts, *instruction.outs)
    origin = instruction
    while origin.op.lifted:
        origin = INSTRUCTIONS[origin.attrs["inner"]]
    core = origin.op.core
    for step in instruction.steps:
        if step.steps:
            raise OutOfBounds("steps in groups")
        for number, operand in enumerate(step.operands):
            if operand.ref < ARGS:
                continue  # scratch memory and constants, which the lowering made to fit
            layout = layouts[operand.ref - ARGS]
            kind = real_of(layout.dtype) if instruction.op.parts else layout.dtype
            low, end = _reach(step, number, operand, kind.itemsize, core)
            if low < 0 or end > layout.span:
                raise OutOfBounds(f"bytes {low} to {end} of an operand of {layout.span} bytes")


def indexed_lengths(instruction: Instruction) -> dict[int, int]:
    """Return the operands that hold positions, with the number of positions that there are."""
    while instruction.op.lifted:
        instruction = INSTRUCTIONS[instruction.attrs["inner"]]
    lengths: dict[int, int] = {}
    for step in instruction.steps:
        is_index = step.kernel[0] in _index_kernels()
        if (not is_index and step.kernel[0] not in _take_kernels()) or 0 in step.shape:
            continue
        number = step.operands[1].ref - ARGS
        if not 0 <= number < len(instruction.layouts):
            continue  # positions that a step before has computed
        count = instruction.layouts[0].size
        if is_index:
            count = math.prod([n for n, _ in _table(step)])
        lengths[number] = min(count, lengths.get(number, count))
    return lengths


def _reach(
    step: Step, number: int, operand: Operand, item: int, dims: Sequence[Sequence[int]] = ()
) -> tuple[int, int]:
    """First byte that a step touches, and that behind the last."""
    if not step.kernel[0] and not step.nodes:  # clear memory
        return operand.offset, operand.offset + step.zero
    low = high = operand.offset
    inside = _core_of_ufunc(step, number, dims) if dims else _core(step, number)
    for n, stride in (*zip(step.shape, operand.strides, strict=True), *inside):
        if n <= 0:
            return 0, 0
        far = (n - 1) * stride
        low, high = low + min(far, 0), high + max(far, 0)
    return low, high + item


def _core_of_ufunc(
    step: Step, number: int, dims: Sequence[Sequence[int]]
) -> Iterator[tuple[int, int]]:
    """Lengths and strides inside of the loop of a generalised ufunc."""
    first = sum(map(len, dims[:number]))
    strides = step.core_strides[first : first + len(dims[number])]
    yield from zip([step.core[d] for d in dims[number]], strides, strict=True)


def _core(step: Step, number: int) -> Iterator[tuple[int, int]]:
    """Lengths and strides inside of the kernel."""
    core, strides = step.core, step.core_strides
    dims = core_dims(step.kernel)
    if dims is not None:
        place = sum(map(len, dims[:number]))
        for j, dim in enumerate(dims[number]):
            yield core[dim], strides[place + j]
    elif len(core) == 3 and len(strides) == 6:  # products
        m, k, p = core
        lengths = ((m, k), (k, p), (m, p))[number]
        yield from zip(lengths, strides[2 * number : 2 * number + 2], strict=True)
    elif step.kernel[0] in _index_kernels():
        if number == 0:
            yield from _table(step)
            yield core[0], strides[0]
        elif number == 2:
            yield core[0], strides[1]
    elif len(core) == 2 and not strides:  # triangles, in contiguous matrices
        rows, columns = core
        yield rows * columns, _words(step.kernel[1], 1)[0]
    elif core and step.kernel[0] not in _sorting_kernels():
        raise OutOfBounds("a kernel that is not known")


def _words(address: int, count: int) -> list[int]:
    """The words of a kernel's data, which its lowering has put there."""
    return list((ctypes.c_int64 * count).from_address(address))


def _table(step: Step) -> list[tuple[int, int]]:
    """Lengths and strides of the dimensions that positions count."""
    (count,) = _words(step.kernel[1] + 8, 1)
    words = _words(step.kernel[1] + 16, 2 * count)
    return list(zip(words[::2], words[1::2], strict=True))
