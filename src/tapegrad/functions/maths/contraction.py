"""Functions made of products: `addmm` and its kin, `linear`, `tensordot`, `kron`, `matrix_power`."""

from __future__ import annotations

import math
from typing import Any

from ...base.dtypes import dtype, scalar_name
from ...ops.instruction import CACHES, instruction, view_instruction
from ...ops.layout import contiguous
from ...ops.table import TABLE
from ...tape import readout
from ...tape import recording as record
from ...tape.current import current_tape
from ...tape.recording import layout_of
from ..arguments import as_int, as_ints, as_tensors, wrap_dim
from ..keywords import checked
from ..registry import FUNCTIONS, declared, public
from ..shape.broadcast import expanded
from ..signature import Dims, Number, Tensor
from .matmul import (
    check_bmm,
    check_matrices,
    check_same_scalar,
    matmul,
    mm,
    no_bool,
)

__all__ = ["tensordot"]


# --------------------------------------------------------------------------- with a sum
def _factor(name: str, argument: str, kind: dtype, value: Any) -> complex | float | int:
    """``alpha`` or ``beta`` as a number of the result's kind."""
    value = readout.option(value, f"{name}({argument}=...)")
    return value if kind.is_complex else float(value) if kind.is_floating_point else int(value)


@declared()
def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """Return ``beta * input + alpha * (mat1 @ mat2)``.

    Parameters
    ----------
    input : Tensor
        Of a shape that expands to the product's.
    mat1, mat2 : Tensor
        Matrices.
    beta, alpha : number
        Factors; with ``beta=0`` nothing of `input` counts, not even NaN.
    """
    for name, value in (("mat1", mat1), ("mat2", mat2)):
        if value.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix, got {value.ndim}-D tensor")
    if mat1.shape[1] != mat2.shape[0]:
        check_matrices(mat1, mat2)
    expanded(layout_of(input), (mat1.shape[0], mat2.shape[1]))  # raises where it does not fit
    for name, value in (("self", input), ("mat1", mat1)):
        if value.dtype is not mat2.dtype:
            raise RuntimeError(
                f"{name} and mat2 must have the same dtype, but got {scalar_name(value.dtype)} and "
                f"{scalar_name(mat2.dtype)}"
            )
    no_bool(mat1.dtype, "addmm_impl_cpu_")
    return _add_product("addmm", mat1, mat2, input, beta, alpha)


@declared()
def addmv(
    input: Tensor, mat: Tensor, vec: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """Return ``beta * input + alpha * (mat @ vec)``; the arguments are as those of `addmm`."""
    if (mat.ndim, vec.ndim) != (2, 1) or input.ndim > 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got {input.ndim}, {mat.ndim}, {vec.ndim}"
        )
    m, k = mat.shape
    length = input.shape[0] if input.ndim else m
    if k != vec.shape[0] or length not in (1, m):
        raise RuntimeError(f"size mismatch, got input ({length}), mat ({m}x{k}), vec ({len(vec)})")
    if not input.dtype is mat.dtype is vec.dtype:
        raise RuntimeError(
            "addmv input tensors must have the same dtype, but got "
            f"{scalar_name(input.dtype)}, {scalar_name(mat.dtype)}, and {scalar_name(vec.dtype)}"
        )
    no_bool(mat.dtype, "addmv_impl_cpu")
    return _add_product("addmv", mat, vec, input, beta, alpha)


@declared()
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """Return ``beta * input + alpha * bmm(batch1, batch2)``; arguments are as those of `addmm`."""
    check_bmm(batch1, batch2)
    expanded(layout_of(input), (*batch1.shape[:2], batch2.shape[2]))  # raises where it does not fit
    check_same_scalar(batch1, input)
    return _add_product("baddbmm", batch1, batch2, input, beta, alpha)


def _add_product(name: str, x: Any, y: Any, z: Any, beta: Any, alpha: Any) -> Any:
    kind = layout_of(x).dtype
    factors = {
        "beta": _factor(name, "beta", kind, beta),
        "alpha": _factor(name, "alpha", kind, alpha),
    }
    return record.apply(TABLE[name], (x, y, z), **factors)


#: layouts of input, weight and bias of a `linear` of matrices, which fit -> its two instructions
_LINEAR: dict[tuple[int, int, int], tuple[Any, Any]] = {}
CACHES.append(_LINEAR.clear)


def _linear_of_matrices(input: Any, weight: Any, bias: Any, layouts: tuple[int, int, int]) -> Any:
    """Check and record a `linear` of matrices; the next one of these layouts needs no check."""
    result = addmm(bias, input, weight.transpose(0, 1))
    layout = layout_of(weight)
    turned = view_instruction(
        TABLE["transpose"], layout, layout.shape[::-1], layout.strides[::-1], None
    )
    operands = layout_of(input), turned.out, layout_of(bias)
    one = _factor("linear", "alpha", layout.dtype, 1)
    if len(_LINEAR) < 4096:
        product = instruction(TABLE["addmm"], operands, beta=one, alpha=one)
        _LINEAR[layouts] = turned, product
    return result


@declared(method=False)
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``input @ weight.T + bias``.

    Parameters
    ----------
    input : Tensor
        Of shape (..., k).
    weight : Tensor
        Of shape (p, k), or (k,).
    bias : Tensor, optional
        Of shape (p,), or ().
    """
    if bias is not None:
        layouts = input._layout_id, weight._layout_id, bias._layout_id
        known = _LINEAR.get(layouts)
        if known is not None:
            tape = current_tape()
            tape.make_room(2, 16)
            slot = tape.append_view(known[0], record.operand(tape, weight), 0)
            operands = record.operand(tape, input), slot, record.operand(tape, bias)
            return record.finish(tape, known[1], tape.append(known[1], operands))
        if input.ndim == 2 and weight.ndim == 2:
            return _linear_of_matrices(input, weight, bias, layouts)
    turned = weight.transpose(0, 1) if weight.ndim == 2 else weight
    product = matmul(input, turned)
    return product if bias is None else product + bias


# --------------------------------------------------------------------------- over dimensions
@declared()
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sum of products over the last dimension of both, for each pair of the other indices."""
    if input.ndim == 0 or other.ndim == 0:
        return record.binary(TABLE["mul"], input, other)
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    if input.dtype is not other.dtype:
        raise RuntimeError("both inputs should have same dtype")
    return tensordot(input, other, ([-1], [-1]))


_DIMS = (
    "tensordot expects dims to be int or tuple[list[int], list[int]] or list[list[int]] containing "
    "two lists, but got dims={}"
)


@public()
def tensordot(a: Any, b: Any, dims: Any = 2) -> Tensor:
    """Sum of products over pairs of dimensions.

    Parameters
    ----------
    a, b : Tensor
    dims : int or pair of sequences of int
        How many of the last dimensions of `a` meet the first of `b`, or which meet which.

    Returns
    -------
    Tensor
        Its dimensions are the remaining ones of `a`, then those of `b`.
    """
    a, b = as_tensors("tensordot", (a, b))
    if isinstance(dims, list | tuple) or record.is_tensor(dims):
        pair = dims.tolist() if record.is_tensor(dims) else dims
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RuntimeError(_DIMS.format(dims))
        of_a, of_b = pair
    else:
        if not hasattr(type(dims), "__index__"):
            raise RuntimeError(_DIMS.format(dims))
        count = as_int("tensordot", "dims", 3, dims)
        if count < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if count > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        of_a, of_b = tuple(range(-count, 0)), tuple(range(count))
    return _tensordot(a, b, of_a, of_b)


@declared(function=False, method=False)
def _contracted(a: Tensor, b: Tensor, dims_self: Dims, dims_other: Dims) -> Any:
    of_a, of_b = as_ints(dims_self), as_ints(dims_other)
    if len(of_a) != len(of_b):
        raise RuntimeError("both dimension lists should have same length")
    of_a = tuple([wrap_dim(d, a.ndim) for d in of_a])
    of_b = tuple([wrap_dim(d, b.ndim) for d in of_b])
    for i, j in zip(of_a, of_b, strict=True):
        n, m = a.shape[i], b.shape[j]
        if n != m and 1 not in (n, m):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {n} in dim {i - a.ndim} "
                f"and second has size {m} in dim {j}"
            )
        if n != m:  # a dimension of length 1 meets all of the other's
            a, b = (a.sum(i, keepdim=True), b) if m == 1 else (a, b.sum(j, keepdim=True))
    rest_a = [i for i in range(a.ndim) if i not in of_a]
    rest_b = [j for j in range(b.ndim) if j not in of_b]
    size = math.prod(a.shape[i] for i in of_a)
    shape_a, shape_b = [a.shape[i] for i in rest_a], [b.shape[j] for j in rest_b]
    check_same_scalar(a, b)
    left = a.permute((*rest_a, *of_a)).reshape(math.prod(shape_a), size)
    right = b.permute((*of_b, *rest_b)).reshape(size, math.prod(shape_b))
    return mm(left, right).view((*shape_a, *shape_b))


_tensordot = checked("tensordot", _contracted, method=False, out=False)


@declared()
def kron(input: Tensor, other: Tensor) -> Tensor:
    """Kronecker product: every element of one tensor times the whole of the other."""
    ndim = max(input.ndim, other.ndim)
    left = (1,) * (ndim - input.ndim) + input.shape
    right = (1,) * (ndim - other.ndim) + other.shape
    # Sizes of a and b alternate, so that merging each pair is a plain reshape of the product.
    x = input.reshape(tuple(n for size in left for n in (size, 1)))
    y = other.reshape(tuple(n for size in right for n in (1, size)))
    product = x * y
    shape = tuple(n * m for n, m in zip(left, right, strict=True))
    strides = contiguous(product.dtype, shape).strides
    return record.view(TABLE["unsafe_view"], product, shape, strides)


@declared()
def matrix_power(input: Tensor, n: int) -> Tensor:
    """Product of a square matrix (or each of a batch) with itself, `n` times.

    Parameters
    ----------
    input : Tensor
        Of shape (..., m, m).
    n : int
        Of the inverse if it is negative.

    Raises
    ------
    RuntimeError
        If the matrices are not square.
    LinAlgError
        Where the result is asked for, if a matrix is singular and `n` negative.
    """
    if input.ndim < 2:
        raise RuntimeError(
            "linalg.matrix_power: The input tensor A must have at least 2 dimensions."
        )
    rows, columns = input.shape[-2:]
    if rows != columns:
        raise RuntimeError(
            f"linalg.matrix_power: A must be batches of square matrices, but they are {rows} by "
            f"{columns} matrices"
        )
    power = as_int("matrix_power", "n", 1, n)
    if power < 0:
        input, power = FUNCTIONS["linalg_inv"](input), -power
    if power == 0:
        one = FUNCTIONS["eye"](rows, dtype=input.dtype)
        if input.dtype.is_floating_point:  # constant, but on the graph, as in PyTorch
            return record.apply(TABLE["flat"], (input,)) + one
        return one.expand(input.shape).clone()
    result, square = None, input
    while power:
        if power & 1:
            result = square if result is None else result @ square
        power >>= 1
        if power:
            square = square @ square
    return result.clone() if result is input else result
