"""Functions of matrices: exponential, logarithm, square root.

The derivative of such a function along a direction is a block of its value at a block triangle (Najfeld and
Havel 1995, Mathias 1996), so one row a function serves for derivatives of all orders.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.linalg import _umath_linalg as lapack

from ...base.errors import LinAlgError
from ...native.ufunc_loops import native_kernel_address, ufunc_loop
from ..layout import Layout, contiguous
from ..program import POOL, SCRATCH, Operand, Step, address_operand, arg, constant, padded
from ..table import Failure, Lowered, Op, copy_loop, op, out_operand
from . import exponential, logarithm
from .loops import (
    Matrices,
    adjoint,
    kernel_step,
    memory,
    operand_matrices,
    result_matrices,
    scratch_matrices,
)

__all__: list[str] = []

#: places and weights of the partial fractions of Pade's approximant to ``log(1 + x)``: Gauss's, on [0, 1]
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(7)
_FRACTIONS: list[int] = np.concatenate([(1 + _NODES) / 2, _WEIGHTS / 2]).view(np.int64).tolist()


def _step(
    kernel: str, x: Matrices, out: Matrices, batch: tuple[int, ...], n: int, start: int
) -> Step:
    """Make the step of a function of matrices of `n` rows; scratch memory for it begins at `start`.

    The kernel's data: the loops of matmul, of solve and of inv, each with its data; 1 for logarithms; and
    their partial fractions.
    """
    loops = (np.matmul, 3), (lapack.solve, 3), (lapack.inv, 2)
    words = [word for loop, count in loops for word in ufunc_loop(loop, (x.kind,) * count)]
    data = POOL.put((*words, int(kernel == "matrix_log"), *_FRACTIONS))
    name = "matrix_exp" if kernel == "matrix_exp" else "matrix_root"
    operands = (x, out, memory(start, batch, x.kind))
    address = native_kernel_address(name, x.kind), data
    return kernel_step(address, batch, (n,), operands, checked=name == "matrix_root")


def lower_function(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], *, kernel: str
) -> Lowered:
    """Lower a function of the matrices of a batch."""
    (x,) = layouts
    n, batch, out = x.shape[-1], tuple(x.shape[:-2]), contiguous(x.dtype, x.shape)
    source, target = operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, (0, 0))
    steps = (_step(kernel, source, target, batch, n, 0),) if out.size else ()
    return Lowered((out,), steps, padded(6 * n * n * x.dtype.itemsize))


def lower_slope(
    entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any], *, kernel: str
) -> Lowered:
    """Lower the derivatives at the first operand along the second one."""
    a, e = layouts
    n, batch, out = a.shape[-1], tuple(a.shape[:-2]), contiguous(a.dtype, a.shape)
    if not out.size:
        return Lowered((out,), ())
    whole = contiguous(a.dtype, (*batch, 2 * n, 2 * n))
    down, along = whole.strides[-2:]
    result = padded(whole.span)

    def block(start: int, row: int, column: int) -> Operand:
        return Operand(SCRATCH, start + n * (row * down + column * along), whole.strides)

    copy = copy_loop(a.dtype)
    zero = address_operand(constant(0, a.dtype.np), a.ndim)
    matrices = scratch_matrices(0, whole, (0, 0)), scratch_matrices(result, whole, (0, 0))
    steps = [
        Step(copy, a.shape, (arg(0, a.strides), block(0, 0, 0))),
        Step(copy, a.shape, (arg(1, e.strides), block(0, 0, 1))),
        Step(copy, a.shape, (zero, block(0, 1, 0))),
        Step(copy, a.shape, (arg(0, a.strides), block(0, 1, 1))),
        _step(kernel, *matrices, batch, 2 * n, 2 * result),
        Step(copy, a.shape, (block(result, 0, 1), out_operand(2, out))),
    ]
    return Lowered((out,), tuple(steps), 2 * result + padded(24 * n * n * a.dtype.itemsize))


def slope_vjp(ct: Any, a: Any, e: Any, out: Any, *, name: str) -> tuple[Any, Any]:
    """Differentiate at the block triangle, for the first operand; it is linear in the second."""
    n, ndim = a.shape[-1], len(a.shape)
    top = a._apply("cat", e, dim=ndim - 1)
    below = a._apply("constant_pad_nd", 0.0, pad=(n, 0))
    whole = adjoint(top._apply("cat", below, dim=ndim - 2))
    corner = ct._apply("constant_pad_nd", 0.0, pad=(n, 0, 0, n))
    slope = whole._apply(name, corner)
    of_a = slope.narrow(-2, 0, n).narrow(-1, 0, n) + slope.narrow(-2, n, n).narrow(-1, n, n)
    return of_a, adjoint(a)._apply(name, ct)


def _function(name: str, kernel: str, **row: Any) -> None:
    """Add a row, and that of its derivative along a direction."""
    slope = f"linalg_{name}_slope"

    def vjp(ct: Any, a: Any, out: Any) -> Any:
        return adjoint(a)._apply(slope, ct)

    op(f"linalg_{name}", lower=partial(lower_function, kernel=kernel), vjp=vjp, **row)
    op(
        slope, arity=2, lower=partial(lower_slope, kernel=kernel), vjp=partial(slope_vjp, name=slope),
        torch=None, private=True, failure=row.get("failure"),
    )  # fmt: skip


_function("matrix_exp", "matrix_exp", torch="linalg.matrix_exp", grad_fn="LinalgMatrixExpBackward0")
for _name, _kernel, _what in (
    ("sqrtm", "matrix_root", "square root"),
    ("logm", "matrix_log", "logarithm"),
):
    _function(
        _name, _kernel, torch=None,
        failure=Failure(f"the input matrix has no principal {_what} of real numbers", LinAlgError),
    )  # fmt: skip
_ = exponential, logarithm
