"""NumPy's loops over LAPACK as steps, which know whether they failed.

NumPy's loops (numpy.linalg._umath_linalg) report a matrix that LAPACK refuses by the processor's flag for
invalid operations, which they clear before and after everything else. `run_matrix_loop` calls such a loop for
one matrix at a time and reads the flag, so that the step is a checked one (ops/program.py).

Start reading at `loop_step`.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.linalg import _umath_linalg as lapack

from ...base.dtypes import dtype
from ...native import abi as nt
from ...native.kinds import INT32
from ...native.ufunc_loops import native_kernel, native_kernel_address, ufunc_loop
from ...native.words import call_loop, external, helper, p64, stack_words
from ..layout import Layout, contiguous
from ..matmul import batch_strides
from ..program import (
    POOL,
    SCRATCH,
    Operand,
    Step,
    address_operand,
    arg,
    constant,
    zero_step,
)
from ..table import Lowered, copy_loop, out_operand

__all__ = [
    "INVALID", "Matrices", "adjoint", "clear_flags", "copied_part", "core_dims", "gufunc", "kernel_step",
    "loop_step", "memory", "operand_matrices", "result_matrices",
    "scratch_matrices", "transposed", "unit_steps", "without_diagonal",
]  # fmt: skip

#: the flag for invalid operations
INVALID = 16 if sys.platform == "win32" else 1
#: of the C library: which of some floating-point flags are raised, and a function that clears them
raised_flags = external("fetestexcept", INT32, INT32)
clear_flags = external("feclearexcept", INT32, INT32)


@helper
def fails(loop, pointers, dims, lengths, strides, invalid):  # type: ignore[no-untyped-def]
    """Call a gufunc's loop for one matrix; return whether it failed.

    `loop`: the loop and its data, operands, core dimensions (behind them what `core_lengths` reads).
    """
    d, n = p64(loop), p64(lengths)
    n[0] = 1
    for j in range(d[3]):
        n[1 + j] = p64(dims)[1 + j]
    clear_flags(invalid)
    call_loop(d[0], pointers, lengths, strides, d[1])
    failed = raised_flags(invalid) != 0
    clear_flags(invalid)
    return failed


def run_matrix_loop(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Call a gufunc's loop for one element of the batch at a time, until it fails."""
    a, s = p64(args), p64(strides)
    pointers, lengths = stack_words(8), stack_words(8)
    o = p64(pointers)
    for i in range(p64(dims)[0]):
        for j in range(p64(data)[2]):
            o[j] = a[j] + i * s[j]
        if fails(data, pointers, dims, lengths, strides, INVALID):
            return i + 1
    return 0


def run_quietly(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Call a gufunc's loop likewise, whether it fails or not: then its results are NaN."""
    a, s = p64(args), p64(strides)
    pointers, lengths = stack_words(8), stack_words(8)
    o = p64(pointers)
    for i in range(p64(dims)[0]):
        for j in range(p64(data)[2]):
            o[j] = a[j] + i * s[j]
        fails(data, pointers, dims, lengths, strides, INVALID)


native_kernel(run_matrix_loop, checked=True)
native_kernel(run_quietly)


class Matrices(NamedTuple):
    """An operand of a loop: where its batch lies, the strides of its core, and the core's dimensions.

    Attributes
    ----------
    operand : Operand
        With strides over the batch.
    strides : tuple of int
        Of the dimensions of one matrix or vector.
    dims : tuple of int
        Which of the loop's core dimensions they are.
    kind : dtype
    """

    operand: Operand
    strides: tuple[int, ...]
    dims: tuple[int, ...]
    kind: dtype


def operand_matrices(
    number: int, layout: Layout, batch: tuple[int, ...], dims: tuple[int, ...]
) -> Matrices:
    """Operand `number` of a statement, of at least as many dimensions as `dims`, broadcast over a batch."""
    core = len(dims)
    strides = batch_strides(layout, batch, core)
    return Matrices(arg(number, strides), layout.strides[layout.ndim - core :], dims, layout.dtype)


def result_matrices(nargs: int, layout: Layout, dims: tuple[int, ...], number: int = 0) -> Matrices:
    """Result `number` of a statement with `nargs` operands."""
    end = layout.ndim - len(dims)
    operand = arg(nargs + number, layout.strides[:end])
    return Matrices(operand, layout.strides[end:], dims, layout.dtype)


def scratch_matrices(offset: int, layout: Layout, dims: tuple[int, ...]) -> Matrices:
    """Scratch memory of a layout, from `offset` on."""
    end = layout.ndim - len(dims)
    operand = Operand(SCRATCH, offset, layout.strides[:end])
    return Matrices(operand, layout.strides[end:], dims, layout.dtype)


def memory(offset: int, batch: tuple[int, ...], kind: dtype) -> Matrices:
    """Scratch memory from `offset` on, the same for each matrix of a batch."""
    return Matrices(Operand(SCRATCH, offset, (0,) * len(batch)), (), (), kind)


def loop_step(
    ufunc: np.ufunc, batch: tuple[int, ...], core: tuple[int, ...], operands: Sequence[Matrices],
    *, quiet: bool = False,
) -> Step:  # fmt: skip
    """Make the step that calls a gufunc's loop for each element of a batch.

    Parameters
    ----------
    ufunc : numpy.ufunc
    batch : tuple of int
    core : tuple of int
        Lengths of the core dimensions, in the order of the gufunc's signature.
    operands : sequence of Matrices
        Operands, then results.
    quiet : bool
        Whether results are NaN where the loop fails, rather than the step failing.
    """
    loop = ufunc_loop(ufunc, tuple([x.kind for x in operands]))
    dims = [word for x in operands for word in (len(x.dims), *x.dims)]
    data = POOL.put((*loop, len(operands), len(core), *dims))
    kernel = native_kernel_address("run_quietly" if quiet else "run_matrix_loop"), data
    return kernel_step(kernel, batch, core, operands, checked=not quiet)


def kernel_step(
    kernel: tuple[int, int], batch: tuple[int, ...], core: tuple[int, ...], operands: Sequence[Matrices],
    *, checked: bool = False,
) -> Step:  # fmt: skip
    """Make the step that calls a kernel, with strides of the cores of all operands."""
    if kernel[0] not in _matrix_kernels():
        _DIMS[kernel[0]] = tuple([x.dims for x in operands])
    strides = tuple([s for x in operands for s in x.strides])
    places = tuple([x.operand for x in operands])
    return Step(kernel, tuple(batch), places, core, strides, checked=checked)


#: address of a kernel -> core dimensions of its operands
_DIMS: dict[int, tuple[tuple[int, ...], ...]] = {}


@cache
def _matrix_kernels() -> frozenset[int]:
    return frozenset(map(native_kernel_address, ("run_matrix_loop", "run_quietly")))


def core_dims(kernel: tuple[int, int]) -> tuple[tuple[int, ...], ...] | None:
    """Return which core dimensions the operands of a kernel have; None for a kernel of other files."""
    if kernel[0] not in _matrix_kernels():
        return _DIMS.get(kernel[0])
    words = (ctypes.c_int64 * nt.MAX_OPERANDS**2).from_address(kernel[1])
    dims, at = [], 4
    for _ in range(words[2]):
        dims.append(tuple(words[at + 1 : at + 1 + words[at]]))
        at += 1 + words[at]
    return tuple(dims)


def gufunc(name: str, *, wide: bool) -> Any:
    """Return a gufunc of NumPy's linear algebra; older versions have two, by which side is the longer one."""
    known = getattr(lapack, name, None)
    if known is not None:
        return known
    first, _, rest = name.partition("_")
    if first == "svd":
        return getattr(lapack, "_".join(filter(None, (first, "m" if wide else "n", rest))))
    return getattr(lapack, f"{name}_{'m' if wide else 'n'}")


def unit_steps(nargs: int, layout: Layout, number: int = 0) -> list[Step]:
    """Steps that make result `number` (contiguous) unit matrices."""
    shape, n = layout.shape[:-2], layout.shape[-1]
    if not layout.size:
        return []
    target = out_operand(nargs, layout, number)
    diagonal = target._replace(strides=(*layout.strides[:-2], sum(layout.strides[-2:])))
    one = address_operand(constant(1, layout.dtype.np), len(shape) + 1)
    ones = Step(copy_loop(layout.dtype), (*shape, n), (one, diagonal))
    return [zero_step(target, layout.span), ones]


def copied_part(number: int, layouts: tuple[Layout, ...]) -> Lowered:
    """Lower a row whose result is a copy of its operand `number`, for the derivative that it has."""
    x = layouts[number]
    out = contiguous(x.dtype, x.shape)
    target = arg(len(layouts), out.strides)
    return Lowered((out,), (Step(copy_loop(x.dtype), x.shape, (arg(number, x.strides), target)),))


def adjoint(x: Any) -> Any:
    """Conjugate transposes of matrices, for derivatives."""
    return x.mH


def transposed(x: Any) -> Any:
    """Transposes of matrices, for rules of rows that are ``holomorphic`` (table.py)."""
    return x.transpose(-1, -2)


def without_diagonal(x: Any) -> Any:
    """Square matrices with zeros on their diagonals, for derivatives."""
    return x.tril(-1) + x.triu(1)
