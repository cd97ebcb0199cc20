"""NumPy's `numpy.linalg` on Tensors: its arguments and named results, over `tapegrad.linalg`'s functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .operands import (
    NOT_GIVEN,
    as_tensor,
    axes_of,
    function,
    is_given,
    promoted,
    refused,
    with_dtype,
    written,
)

__all__ = [
    "cholesky", "cond", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "lstsq", "matmul",
    "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "multi_dot", "norm", "pinv", "qr",
    "slogdet", "solve", "svd", "svdvals", "tensorinv", "tensorsolve", "trace", "vecdot", "vector_norm",
]  # fmt: skip

_ONE = np.eye(1)
#: NumPy's named tuples, which have no public names
EigResult: Any = type(np.linalg.eig(_ONE))
EighResult: Any = type(np.linalg.eigh(_ONE))
QRResult: Any = type(np.linalg.qr(_ONE))
SlogdetResult: Any = type(np.linalg.slogdet(_ONE))
SVDResult: Any = type(np.linalg.svd(_ONE))


def _linalg(name: str) -> Callable[..., Any]:
    """Return the function of `tapegrad.linalg` of a name."""
    return function(f"linalg_{name}")


def _floating(name: str, *operands: Any) -> list[Any]:
    """Return operands as Tensors of one floating dtype: whole numbers are float64."""
    tensors = [as_tensor(x, f"linalg.{name}") for x in operands]
    kinds = [x.dtype.np if x.dtype.is_inexact else np.dtype(np.float64) for x in tensors]
    kind = np.result_type(*kinds)
    return [x if x.dtype.np == kind else with_dtype(x, kind) for x in tensors]


# --------------------------------------------------------------------------- systems
def solve(a: Any, b: Any) -> Any:
    """Solve a linear system, as `numpy.linalg.solve`: only a `b` of one dimension is a vector."""
    x, y = _floating("solve", a, b)
    while 1 < y.ndim < x.ndim:
        y = y.unsqueeze(0)
    return _linalg("solve")(x, y)


def inv(a: Any) -> Any:
    """Invert matrices, as `numpy.linalg.inv`."""
    return _linalg("inv")(*_floating("inv", a))


def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = NOT_GIVEN) -> Any:
    """Return pseudoinverses, as `numpy.linalg.pinv`."""
    (x,) = _floating("pinv", a)
    if rcond is None and rtol is None:
        return _linalg("pinv")(x, hermitian=hermitian)
    if rcond is not None and is_given(rtol):
        raise ValueError("`rtol` and `rcond` can't be both set.")
    cutoff = rtol if is_given(rtol) else 1e-15 if rcond is None else rcond
    return _linalg("pinv")(x, cutoff, hermitian)


def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, Any, Any, Any]:
    """Solve in the sense of least squares, as `numpy.linalg.lstsq`; the rank is a Tensor."""
    x, y = _floating("lstsq", a, b)
    if x.ndim != 2:
        raise np.linalg.LinAlgError(
            f"{x.ndim}-dimensional array given. Array must be two-dimensional"
        )
    if rcond == -1:
        rcond = float(np.finfo(x.dtype.np).eps)
    answer = _linalg("lstsq")(x, y, rcond)
    rows, columns = x.shape
    full = rows > columns and int(answer.rank) == columns
    residuals = answer.residuals if full else answer.residuals.reshape(-1)[:0]
    if full and y.ndim == 1:
        residuals = residuals.reshape(1)
    return answer.solution, residuals, answer.rank, answer.singular_values


def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """Solve a tensor equation, as `numpy.linalg.tensorsolve`."""
    x, y = _floating("tensorsolve", a, b)
    dims = axes_of(axes)
    return _linalg("tensorsolve")(x, y) if dims is None else _linalg("tensorsolve")(x, y, dims=dims)


def tensorinv(a: Any, ind: int = 2) -> Any:
    """Return the inverse for `tensordot`, as `numpy.linalg.tensorinv`."""
    return _linalg("tensorinv")(*_floating("tensorinv", a), ind)


# --------------------------------------------------------------------------- determinants, factors
def det(a: Any) -> Any:
    """Return determinants, as `numpy.linalg.det`."""
    return _linalg("det")(*_floating("det", a))


def slogdet(a: Any) -> Any:
    """Return signs and logarithms of determinants, as `numpy.linalg.slogdet`."""
    return SlogdetResult(*_linalg("slogdet")(*_floating("slogdet", a)))


def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """Return Cholesky factors, as `numpy.linalg.cholesky`."""
    return _linalg("cholesky")(*_floating("cholesky", a), upper=bool(upper))


def qr(a: Any, mode: str = "reduced") -> Any:
    """Return QR factors, as `numpy.linalg.qr`."""
    (x,) = _floating("qr", a)
    if mode not in ("reduced", "complete", "r"):
        raise refused(
            "linalg.qr", f"mode={mode!r} is not supported; there are reduced, complete and r"
        )
    result = _linalg("qr")(x, mode)
    return result.R if mode == "r" else QRResult(*result)


def eig(a: Any) -> Any:
    """Return eigenvalues and eigenvectors, as `numpy.linalg.eig`; complex numbers, even if all are real."""
    return EigResult(*_linalg("eig")(*_floating("eig", a)))


def eigvals(a: Any) -> Any:
    """Return eigenvalues, as `numpy.linalg.eigvals`; complex numbers, even if all are real."""
    return _linalg("eigvals")(*_floating("eigvals", a))


def eigh(a: Any, UPLO: str = "L") -> Any:
    """Return eigenvalues and eigenvectors of symmetric matrices, as `numpy.linalg.eigh`."""
    return EighResult(*_linalg("eigh")(*_floating("eigh", a), UPLO))


def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """Return eigenvalues of symmetric matrices, as `numpy.linalg.eigvalsh`."""
    return _linalg("eigvalsh")(*_floating("eigvalsh", a), UPLO)


def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Return singular value decompositions, as `numpy.linalg.svd`."""
    (x,) = _floating("svd", a)
    if hermitian:  # from lower triangles
        x = x.tril() + x.tril(-1).mT
    if not compute_uv:
        return _linalg("svdvals")(x)
    return SVDResult(*_linalg("svd")(x, bool(full_matrices)))


def svdvals(x: Any, /) -> Any:
    """Return singular values, as `numpy.linalg.svdvals`."""
    return _linalg("svdvals")(*_floating("svdvals", x))


# --------------------------------------------------------------------------- norms, rank, condition
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the norm of vectors or matrices, as `numpy.linalg.norm`."""
    (y,) = _floating("norm", x)
    axes = axes_of(axis)
    if ord is None:
        return function("norm")(
            y, 2, dim=tuple(range(y.ndim)) if axes is None else axes, keepdim=keepdims
        )
    if (isinstance(axes, tuple) and len(axes) > 2) or (axes is None and y.ndim > 2):
        raise ValueError("Improper number of dimensions to norm.")
    is_matrix = y.ndim == 2 if axes is None else isinstance(axes, tuple) and len(axes) == 2
    if isinstance(ord, str) and not is_matrix:
        raise ValueError(f"Invalid norm order '{ord}' for vectors")
    if is_matrix and ord not in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
        raise ValueError("Invalid norm order for matrices.")
    order = ord if isinstance(ord, str) else float(ord)
    return _linalg("norm")(y, order, dim=axes, keepdim=bool(keepdims))


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """Return norms of vectors, as `numpy.linalg.vector_norm`."""
    (y,) = _floating("vector_norm", x)
    if axis == ():  # of each element; PyTorch takes all dimensions then
        return _linalg("vector_norm")(y.unsqueeze(0), ord, dim=0)
    return _linalg("vector_norm")(y, ord, dim=axes_of(axis), keepdim=bool(keepdims))


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Return norms of matrices, as `numpy.linalg.matrix_norm`."""
    (y,) = _floating("matrix_norm", x)
    return _linalg("matrix_norm")(y, ord, keepdim=bool(keepdims))


def cond(x: Any, p: Any = None) -> Any:
    """Return condition numbers, as `numpy.linalg.cond`: NaN for matrices with NaN alone."""
    (y,) = _floating("cond", x)
    result = _linalg("cond")(y) if p is None else _linalg("cond")(y, p)
    is_clean = function("logical_not")(function("isnan")(y).any((-2, -1)))
    return function("where")(function("isnan")(result) & is_clean, np.inf, result)


def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """Return ranks of matrices, as `numpy.linalg.matrix_rank`."""
    (x,) = _floating("matrix_rank", A)
    if x.ndim < 2:
        return (x != 0).any().to(function("tensor")(0).dtype)
    if is_given(tol):
        return _linalg("matrix_rank")(x, tol, hermitian)
    if is_given(rtol):
        return _linalg("matrix_rank")(x, rtol=rtol, hermitian=hermitian)
    return _linalg("matrix_rank")(x, hermitian=hermitian)


# --------------------------------------------------------------------------- products
def matrix_power(a: Any, n: int) -> Any:
    """Return powers of matrices, as `numpy.linalg.matrix_power`."""
    x = as_tensor(a, "linalg.matrix_power")
    return function("matrix_power")(x if n >= 0 else _floating("matrix_power", x)[0], n)


def multi_dot(arrays: Any, *, out: Any = None) -> Any:
    """Multiply several matrices, as `numpy.linalg.multi_dot`."""
    tensors = [as_tensor(x, "linalg.multi_dot") for x in arrays]
    kind = np.result_type(*[x.dtype.np for x in tensors])
    tensors = [x if x.dtype.np == kind else with_dtype(x, kind) for x in tensors]
    return written("linalg.multi_dot", _linalg("multi_dot")(tensors), out)


def matmul(x1: Any, x2: Any, /) -> Any:
    """Multiply matrices, as `numpy.linalg.matmul`."""
    return np.matmul(x1, x2)


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """Return sums of products, as `numpy.linalg.vecdot`."""
    tensors = promoted("linalg.vecdot", x1, x2)
    x, y = (v.movedim(axis, -1) for v in tensors)  # the other dimensions broadcast
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"linalg.vecdot: vectors of {x.shape[-1]} and {y.shape[-1]} elements along axis {axis}"
        )
    return _linalg("vecdot")(x, y).to(x.dtype)


def matrix_transpose(x: Any, /) -> Any:
    """Transpose matrices, as `numpy.linalg.matrix_transpose`."""
    return as_tensor(x, "linalg.matrix_transpose").transpose(-1, -2)


def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """Return diagonals of matrices, as `numpy.linalg.diagonal`."""
    return function("diagonal")(as_tensor(x, "linalg.diagonal"), offset, -2, -1)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """Return sums of diagonals, as `numpy.linalg.trace`."""
    return with_dtype(diagonal(x, offset=offset), dtype).sum(-1)
