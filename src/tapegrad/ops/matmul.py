"""Products: of matrices, matrices and vectors, batches of them.

All of them run NumPy's ``matmul`` loop, which calls BLAS and takes strides, so a transposed operand
costs no copy. `geometry` works out one call of it from two layouts; the rows differ in their names
and in their derivatives. Its core dimensions are ``(m, k, p)`` for an ``m x k`` by a ``k x p``
matrix, and its core strides come in the order (x by m, x by k, y by k, y by p, out by m, out by p).

Start reading at `lower_product`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..native.ufunc_loops import ufunc_loop
from .layout import Layout, broadcast_shapes, broadcast_strides, c_strides, contiguous
from .program import SCRATCH, Operand, Step, address_operand, arg, constant, padded
from .table import Lowered, Op, copy_loop, is_inexact, op, out_operand

__all__ = ["batch_strides", "takes_blas"]

#: multiplications from which on a copy for BLAS pays for an operand that BLAS cannot take
WORTH_COPYING = 1 << 12


# --------------------------------------------------------------------------- lowering
class Geometry(NamedTuple):
    """One call of the matmul loop.

    Attributes
    ----------
    batch : tuple of int
        Iteration space outside the core.
    core : tuple of int
        m, k, p.
    x, y : tuple of int
        Strides of an operand over the batch, then its two core strides.
    """

    batch: tuple[int, ...]
    core: tuple[int, int, int]
    x: tuple[int, ...]
    y: tuple[int, ...]


def geometry(x: Layout, y: Layout) -> Geometry:
    """Two layouts as the matmul loop multiplies them; vectors count as a row, or a column.

    A batch against a single matrix becomes one tall matrix where strides allow it.
    """
    m, k = (1 if x.ndim == 1 else x.shape[-2]), x.shape[-1]
    p = 1 if y.ndim == 1 else y.shape[-1]
    item = x.dtype.itemsize
    x_core = (item * k, *x.strides) if x.ndim == 1 else x.strides[-2:]
    y_core = (*y.strides, item) if y.ndim == 1 else y.strides[-2:]
    batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x_batch = batch_strides(x, batch)
    y_batch = batch_strides(y, batch)
    if batch and not any(y_batch):
        rows = _merged((*batch, m), (*x_batch, x_core[0]))
        if rows is not None:
            m, stride = rows
            return Geometry((), (m, k, p), (stride, x_core[1]), y_core)
    return Geometry(batch, (m, k, p), (*x_batch, *x_core), (*y_batch, *y_core))


def batch_strides(layout: Layout, batch: tuple[int, ...], core: int = 2) -> tuple[int, ...]:
    """Strides over the broadcast batch dimensions, in front of `core` others."""
    count = max(layout.ndim - core, 0)
    missing = (0,) * (len(batch) - count)
    pairs = zip(layout.shape[:count], layout.strides[:count], strict=True)
    return missing + tuple(0 if n == 1 else s for n, s in pairs)


def _merged(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int] | None:
    """Length and stride of the one dimension that these dimensions make, None if they do not."""
    length, stride = 1, strides[-1]
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n == 1:
            continue
        if length == 1:
            stride = s
        elif s != stride * length:
            return None
        length *= n
    return length, stride


def takes_blas(layout: Layout) -> bool:
    """Return True if BLAS can read the matrices of a layout: unit stride one way, no overlap the other."""
    if layout.ndim == 1:
        return layout.strides[0] >= layout.dtype.itemsize
    item = layout.dtype.itemsize
    (rows, columns), (down, along) = layout.shape[-2:], layout.strides[-2:]
    return (along == item and down % item == 0 and down >= columns * item) or (
        down == item and along % item == 0 and along >= rows * item
    )


def product_steps(x: Layout, y: Layout) -> tuple[Layout, list[Step], int]:
    """Work out layout, steps and scratch memory of the product of operands 0 and 1."""
    batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    out = contiguous(x.dtype, (*batch, *x.shape[-2:-1], *(y.shape[-1:] if y.ndim > 1 else ())))
    work = math.prod(out.shape) * x.shape[-1]
    steps: list[Step] = []
    scratch = 0
    layouts, places = [x, y], [(arg(0, ()).ref, 0), (arg(1, ()).ref, 0)]
    for i, layout in enumerate((x, y)):
        slow = work >= WORTH_COPYING and is_inexact(layout) and not takes_blas(layout)
        # NumPy's loop moves the addresses it is given, so it runs once, over a batch of one stride.
        split = batch and _merged(batch, batch_strides(layout, batch)) is None
        if not slow and not split:
            continue
        shape = (*batch, *layout.shape[-2:]) if split else layout.shape
        copied = layouts[i] = contiguous(layout.dtype, shape)
        places[i] = (SCRATCH, scratch)
        source = arg(i, broadcast_strides(layout, shape))
        target = Operand(SCRATCH, scratch, copied.strides)
        steps.append(Step(copy_loop(x.dtype), shape, (source, target)))
        scratch += padded(copied.span)
    g = geometry(*layouts)
    m, k, p = g.core
    item = x.dtype.itemsize
    out_strides = c_strides((*g.batch, m, p), item)
    operands = (
        Operand(*places[0], g.x[:-2]),
        Operand(*places[1], g.y[:-2]),
        arg(2, out_strides[:-2]),
    )
    kernel = ufunc_loop(np.matmul, (x.dtype,) * 3)
    core_strides = (*g.x[-2:], *g.y[-2:], *out_strides[-2:])
    steps.append(Step(kernel, g.batch, operands, (m, k, p), core_strides))
    return out, steps, scratch


def lower_product(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Lower the product of two operands of at least one dimension, batches broadcast."""
    out, steps, scratch = product_steps(*layouts)
    return Lowered((out,), tuple(steps), scratch)


def lower_add_product(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Lower ``beta * z + alpha * (x @ y)`` for operands (x, y, z)."""
    x, y, z = layouts
    alpha, beta = attrs["alpha"], attrs["beta"]
    product, steps, scratch = product_steps(x, y)
    kind = x.dtype
    # Behind three operands the result is number 3, not 2.
    last = steps[-1]
    moved = last.operands[-1]._replace(ref=arg(3, ()).ref)
    steps[-1] = last._replace(operands=(*last.operands[:-1], moved))
    out = out_operand(3, product)
    shape = product.shape
    multiply = ufunc_loop(np.multiply, (kind,) * 3)
    add = ufunc_loop(np.add, (kind,) * 3)

    def number(value: float) -> Operand:
        return address_operand(constant(value, kind.np), len(shape))

    if alpha != 1:
        steps.append(Step(multiply, shape, (out, number(alpha), out)))
    added = arg(2, broadcast_strides(z, shape))
    if beta == 0:  # as in PyTorch, not even NaN of z counts
        return Lowered((product,), tuple(steps), scratch)
    if beta != 1:
        scaled = Operand(SCRATCH, scratch, product.strides)
        steps.append(Step(multiply, shape, (added, number(beta), scaled)))
        added = scaled
        scratch += padded(product.span)
    steps.append(Step(add, shape, (out, added, out)))
    return Lowered((product,), tuple(steps), scratch)


# --------------------------------------------------------------------------- derivatives
def _matrix_vjp(ct: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
    """Of a product of matrices, or of batches of matrices."""
    return ct @ y.transpose(-1, -2), x.transpose(-1, -2) @ ct


def _batched_vjp(ct: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
    """Of a product with batches, where an operand may be a vector."""
    columns = y if y.ndim > 1 else y.unsqueeze(-1)
    if y.ndim == 1:
        ct = ct.unsqueeze(-1)
    rows = x
    if x.ndim == 1:
        rows = x.unsqueeze(0)
        ct = ct.unsqueeze(-2)
    of_x = ct @ columns.transpose(-1, -2)
    if y.ndim <= 2:  # one matrix for the whole batch: one product, no sum of a batch of them
        count = math.prod(rows.shape[:-1])
        tall = rows.reshape(count, rows.shape[-1])
        of_y = tall.transpose(-1, -2) @ ct.reshape(count, ct.shape[-1])
    else:
        of_y = rows.transpose(-1, -2) @ ct
    return of_x, of_y.squeeze(-1) if y.ndim == 1 else of_y


def _vector_matrix_vjp(ct: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
    return y @ ct, x.unsqueeze(-1) * ct


def _matrix_vector_vjp(ct: Any, x: Any, y: Any, out: Any) -> tuple[Any, Any]:
    return ct.unsqueeze(-1) * y, x.transpose(-1, -2) @ ct


def _add_vjp(product_vjp: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any, Any]]:
    """Make the derivative of ``beta * z + alpha * (x @ y)`` from that of ``x @ y``."""

    def vjp(
        ct: Any, x: Any, y: Any, z: Any, out: Any, alpha: float, beta: float
    ) -> tuple[Any, Any, Any]:
        of_x, of_y = product_vjp(ct if alpha == 1 else ct * alpha, x, y, out)
        return of_x, of_y, ct if beta == 1 else ct * beta

    return vjp


# --------------------------------------------------------------------------- rows
def _product(name: str, vjp: Callable[..., Any], **row: Any) -> None:
    op(name, lower=lower_product, arity=2, vjp=vjp, lift="product", of_complex="holomorphic", **row)


def _added_product(name: str, vjp: Callable[..., Any]) -> None:
    """Add a row with operands (x, y, z), for ``beta * z + alpha * (x @ y)``; the functions take z first."""
    row = {
        "vjp": _add_vjp(vjp), "lift": "added product", "in_place": True, "of_complex": "holomorphic",
    }  # fmt: skip
    op(name, lower=lower_add_product, arity=3, **row)


_product("dot", lambda ct, x, y, out: (ct * y, ct * x), second_name="tensor")
_product("vdot", lambda ct, x, y, out: (ct * y, ct * x))
_product("mv", _matrix_vector_vjp, second_name="vec")
_product("vecmat", _vector_matrix_vjp, grad_fn="SqueezeBackward4", torch="matmul")
_product("mm", _matrix_vjp, second_name="mat2")
_product("bmm", _matrix_vjp)
#: with a batch of matrices on one side at least
_product("matmul", _batched_vjp, grad_fn="UnsafeViewBackward0", function="matmul")
#: a matrix on the left, a batch on the right; PyTorch ends it with a clone
_product("matmul_left", _batched_vjp, grad_fn="CloneBackward0", torch="matmul")
_added_product("addmm", _matrix_vjp)
_added_product("addmv", _matrix_vector_vjp)
_added_product("baddbmm", _matrix_vjp)
