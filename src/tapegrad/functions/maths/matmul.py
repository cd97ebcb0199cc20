"""Products of matrices and vectors: ``x @ y``, `mm`, `bmm`, `mv`, `dot`, `outer`.

Each function checks its operands as PyTorch does and records one row of ops/matmul.py; `matmul`
chooses the row from the operands' dimensions. Functions made of products are in contraction.py
and einsum.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...base.dtypes import bool_, c_name, dtype, scalar_name
from ...ops.instruction import instruction, remember
from ...ops.layout import broadcast_shapes
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..operands import no_kernel
from ..registry import declared
from ..signature import Tensor

__all__ = [
    "check_bmm", "check_matrices", "check_same_scalar", "matmul", "mm",
    "no_bool",
]  # fmt: skip


# --------------------------------------------------------------------------- checks
def no_bool(kind: dtype, kernel: str) -> None:
    """Raise PyTorch's error for a product of bools."""
    if kind is bool_:
        raise no_kernel(kernel, bool_)


def check_matrices(x: Any, y: Any, rows: int | None = None) -> None:
    """Raise unless ``m x k`` meets ``k x p``; `rows` is the number that a folded batch counts as."""
    m, k = x.shape[-2:]
    if k != y.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({m if rows is None else rows}x{k} and "
            f"{y.shape[0]}x{y.shape[1]})"
        )
    if x.dtype is not y.dtype:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {c_name(x.dtype)} != "
            f"{c_name(y.dtype)}"
        )
    no_bool(x.dtype, "addmm_impl_cpu_")


def _check_batches(x: Any, y: Any) -> None:
    """Raise unless the matrices of two batches, once broadcast, fit."""
    b, k = math.prod(broadcast_shapes(x.shape[:-2], y.shape[:-2])), x.shape[-1]
    if k != y.shape[-2]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: {[b, k]} but got: "
            f"{[b, y.shape[-2]]}."
        )
    check_same_scalar(x, y)
    no_bool(x.dtype, "bmm")


def check_same_scalar(x: Any, y: Any) -> None:
    """Raise unless two operands have one dtype."""
    if x.dtype is not y.dtype:
        raise RuntimeError(
            f"expected scalar type {scalar_name(x.dtype)} but found {scalar_name(y.dtype)}"
        )


def _check_vector(x: Any, y: Any, rows: int) -> None:
    """Raise unless a matrix (or batch of matrices, of `rows` rows in all) meets a vector."""
    k = x.shape[-1]
    if k != y.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({rows}), mat ({rows}x{k}), vec ({y.shape[0]})"
        )
    if x.dtype is not y.dtype:
        raise RuntimeError(
            f"addmv input tensors must have the same dtype, but got {scalar_name(y.dtype)}, "
            f"{scalar_name(x.dtype)}, and {scalar_name(y.dtype)}"
        )
    no_bool(x.dtype, "addmv_impl_cpu")


# --------------------------------------------------------------------------- products
@declared()
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Multiply two matrices.

    Parameters
    ----------
    input : Tensor
        Of shape (m, k).
    mat2 : Tensor
        Of shape (k, p) and the same dtype.

    Returns
    -------
    Tensor
        Of shape (m, p).

    Raises
    ------
    RuntimeError
        If they are not matrices of one dtype, or do not fit.
    """
    if input.ndim != 2:
        raise RuntimeError("self must be a matrix")
    if mat2.ndim != 2:
        raise RuntimeError("mat2 must be a matrix")
    check_matrices(input, mat2)
    return record.apply(TABLE["mm"], (input, mat2))


@declared()
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Multiply matrices pairwise.

    Parameters
    ----------
    input : Tensor
        Of shape (b, m, k).
    mat2 : Tensor
        Of shape (b, k, p) and the same dtype.

    Returns
    -------
    Tensor
        Of shape (b, m, p).
    """
    check_bmm(input, mat2)
    return record.apply(TABLE["bmm"], (input, mat2))


def check_bmm(batch1: Any, batch2: Any) -> None:
    """Raise unless ``b x m x k`` meets ``b x k x p``."""
    for name, value in (("batch1", batch1), ("batch2", batch2)):
        if value.ndim != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    b, _, k = batch1.shape
    if batch2.shape[:2] != (b, k):
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: {[b, k]} but got: "
            f"{list(batch2.shape[:2])}."
        )
    check_same_scalar(batch1, batch2)
    no_bool(batch1.dtype, "bmm")


@declared()
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Multiply a matrix of shape (m, k) by a vector of length k."""
    if (input.ndim, vec.ndim) != (2, 1):
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}")
    _check_vector(input, vec, input.shape[0])
    return record.apply(TABLE["mv"], (input, vec))


def _check_dot(name: str, x: Any, y: Any) -> None:
    if (x.ndim, y.ndim) != (1, 1):
        raise RuntimeError(f"1D tensors expected, but got {x.ndim}D and {y.ndim}D tensors")
    if x.dtype is not y.dtype:
        raise RuntimeError(
            f"{name} : expected both vectors to have same dtype, but found {scalar_name(x.dtype)} and "
            f"{scalar_name(y.dtype)}"
        )
    n, m = x.shape[0], y.shape[0]
    if n != m:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{n}] and src [{m}] to have the same "
            f"number of elements, but got {n} and {m} elements respectively"
        )
    no_bool(x.dtype, "dot")


@declared()
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Sum of the products of two vectors' elements.

    Parameters
    ----------
    input, tensor : Tensor
        Vectors of one length and dtype.

    Returns
    -------
    Tensor
        0-d.
    """
    _check_dot("dot", input, tensor)
    return record.apply(TABLE["dot"], (input, tensor))


@declared()
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """Sum of the products of two vectors' elements, those of the first conjugated."""
    _check_dot("dot", input, other)
    first = record.unary(TABLE["conj"], input) if input.dtype.is_complex else input
    return record.apply(TABLE["vdot"], (first, other))


@declared(aliases=("ger",))
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Product of each element of one vector with each of another.

    Parameters
    ----------
    input : Tensor
        Vector of length n.
    vec2 : Tensor
        Vector of length m.

    Returns
    -------
    Tensor
        Of shape (n, m).
    """
    for name, value in (("self", input), ("vec2", vec2)):
        if value.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {value.ndim}-D")
    return record.binary(TABLE["mul"], input.unsqueeze(-1), vec2)


@declared()
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Multiply matrices, vectors, and batches of matrices; the operator ``@``.

    Parameters
    ----------
    input, other : Tensor
        Of at least one dimension and one dtype. The last two dimensions are matrices, those before
        them broadcast; a vector stands for a row on the left and a column on the right, and its
        dimension is left out of the result.

    Returns
    -------
    Tensor

    Raises
    ------
    RuntimeError
        If the operands do not fit.
    """
    n, m = input.ndim, other.ndim
    if n == 0 or m == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {n}D and {m}D"
        )
    plain = {(1, 1): "dot", (2, 1): "mv", (2, 2): "mm"}.get((n, m))
    if plain is not None:
        result = {"dot": dot, "mv": mv, "mm": mm}[plain](input, other)
        remember(instruction(TABLE[plain], (layout_of(input), layout_of(other))), TABLE["matmul"])
        return result
    if n == 1 and m == 2:
        check_matrices(input.unsqueeze(0), other)
        return record.apply_as("matmul", TABLE["vecmat"], (input, other))
    name = "matmul"
    if m <= 2:  # the batch counts as rows of one matrix
        rows = math.prod(input.shape[:-1])
        if m == 1:
            _check_vector(input, other, rows)
        else:
            check_matrices(input, other, rows)
    elif n == 1:
        count = math.prod((*other.shape[:-2], other.shape[-1]))
        _check_vector(other.transpose(-1, -2), input, count)
    else:
        _check_batch_shapes(input.shape[:-2], other.shape[:-2])
        _check_batches(input, other)
        if math.prod(input.shape[:-2]) == 1 and (n == 2 or other.shape[:-2] != input.shape[:-2]):
            name = "matmul_left" if n == 2 or m == n else "matmul"
    return record.apply_as("matmul", TABLE[name], (input, other))


def _check_batch_shapes(a: Sequence[int], b: Sequence[int]) -> None:
    """Raise PyTorch's error unless the batch dimensions broadcast."""
    for back in range(1, min(len(a), len(b)) + 1):
        n, m = a[-back], b[-back]
        if n != m and 1 not in (n, m):
            raise RuntimeError(
                f"The size of tensor a ({n}) must match the size of tensor b ({m}) at "
                f"non-singleton dimension {max(len(a), len(b)) - back}"
            )
