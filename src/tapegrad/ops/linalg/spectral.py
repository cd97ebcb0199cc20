"""Eigenvalues of Hermitian matrices and singular values, with their vectors.

Where eigenvalues or singular values are equal, those of the vectors have no derivative: it is infinite or
NaN, as PyTorch's. That of the values themselves is right as long as it exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.linalg import _umath_linalg as lapack

from ...base.dtypes import complex_of, real_of
from ...base.errors import LinAlgError
from ..layout import Layout, contiguous
from ..program import Step
from ..table import Failure, Lowered, Op, op
from .loops import (
    adjoint,
    copied_part,
    gufunc,
    loop_step,
    operand_matrices,
    result_matrices,
    unit_steps,
    without_diagonal,
)  # fmt: skip

__all__: list[str] = []

_DIVERGED = Failure("the algorithm did not converge", LinAlgError)


def gaps(values: Any, power: int) -> Any:
    """Differences ``values[j] - values[i]``, or of squares; ones on the diagonal."""
    size = values.real if values.dtype.is_complex else values
    ones = size._apply("tied", size, nan=True)
    n, ndim = values.shape[-1], len(values.shape)
    one = ones._apply("diag_embed", shape=(*values.shape, n), offset=0, dim1=ndim - 1, dim2=ndim)
    row, column = values.unsqueeze(-2), values.unsqueeze(-1)
    gap = row - column
    return (gap if power == 1 else gap * (row + column)) + one


# --------------------------------------------------------------------------- eigenvalues
def lower_eigh(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Eigenvalues of Hermitian matrices, ascending, and eigenvectors as columns.

    The attribute `upper` says which triangles are read.
    """
    (x,) = layouts
    batch, n = x.shape[:-2], x.shape[-1]
    values, vectors = contiguous(real_of(x.dtype), x.shape[:-1]), contiguous(x.dtype, x.shape)
    operands = (
        operand_matrices(0, x, batch, (0, 0)), result_matrices(1, values, (0,)),
        result_matrices(1, vectors, (0, 0), 1),
    )  # fmt: skip
    step = loop_step(lapack.eigh_up if attrs["upper"] else lapack.eigh_lo, batch, (n,), operands)
    return Lowered((values, vectors), (step,) if vectors.size else ())


def eigenvalues_vjp(ct: Any, a: Any, values: Any, vectors: Any, out: Any) -> tuple[Any, None, None]:
    """Derivative of simple eigenvalues; of a sum of equal ones, too."""
    v = a._apply("linalg_eigh_vectors", values, vectors)
    return (v * ct.unsqueeze(-2)) @ adjoint(v), None, None


def eigenvectors_vjp(
    ct: Any, a: Any, values: Any, vectors: Any, out: Any
) -> tuple[Any, None, None]:
    """Rotate each eigenvector towards the others, by the inverse of the gap between their eigenvalues."""
    gap = gaps(a._apply("linalg_eigh_values", values, vectors), 1)
    turned = adjoint(out) @ ct
    skew = without_diagonal(turned - adjoint(turned)) * 0.5
    return out @ (skew / gap) @ adjoint(out), None, None


def lower_eigvalsh(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Eigenvalues of Hermitian matrices, ascending; from upper or lower triangles."""
    (x,) = layouts
    batch, out = x.shape[:-2], contiguous(real_of(x.dtype), x.shape[:-1])
    operands = operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, (0,))
    loop = lapack.eigvalsh_up if attrs["upper"] else lapack.eigvalsh_lo
    step = loop_step(loop, batch, x.shape[-1:], operands)
    return Lowered((out,), (step,) if out.size else ())


op(
    "linalg_eigh_parts",
    of_complex="plain",
    lower=lower_eigh,
    torch=None,
    private=True,
    failure=_DIVERGED,
)
for _number, (_name, _vjp) in enumerate(
    (("values", eigenvalues_vjp), ("vectors", eigenvectors_vjp)), 1
):
    op(
        f"linalg_eigh_{_name}", of_complex="plain", arity=3, shown=1, vjp=_vjp, torch="linalg.eigh",
        grad_fn="LinalgEighBackward0",
        lower=lambda entry, layouts, attrs, number=_number: copied_part(number, layouts),
    )  # fmt: skip
op("linalg_eigvalsh", of_complex="plain", lower=lower_eigvalsh, torch=None, failure=_DIVERGED)


# --------------------------------------------------------------------------- of general matrices
def lower_eig(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Eigenvalues of general matrices, and eigenvectors as columns: complex numbers."""
    (x,) = layouts
    batch, n, kind = x.shape[:-2], x.shape[-1], complex_of(x.dtype)
    values, vectors = contiguous(kind, x.shape[:-1]), contiguous(kind, x.shape)
    operands = (
        operand_matrices(0, x, batch, (0, 0)), result_matrices(1, values, (0,)),
        result_matrices(1, vectors, (0, 0), 1),
    )  # fmt: skip
    step = loop_step(lapack.eig, batch, (n,), operands)
    return Lowered((values, vectors), (step,) if vectors.size else ())


def _similar(a: Any, v: Any, inner: Any) -> Any:
    """``V^-H inner V^H``, real if the matrix is."""
    h = adjoint(v)
    of_a = h._apply("linalg_solve_complex", inner @ h, vector=False, quiet=False)
    return of_a if a.dtype.is_complex else of_a.real


def general_values_vjp(
    ct: Any, a: Any, values: Any, vectors: Any, out: Any
) -> tuple[Any, None, None]:
    """Derivative of simple eigenvalues."""
    v = a._apply("linalg_eig_vectors", values, vectors)
    n = len(a.shape)
    inner = ct._apply("diag_embed", shape=tuple(v.shape), offset=0, dim1=n - 2, dim2=n - 1)
    return _similar(a, v, inner), None, None


def general_vectors_vjp(
    ct: Any, a: Any, values: Any, vectors: Any, out: Any
) -> tuple[Any, None, None]:
    """Rotate each eigenvector, whose length stays one (Boeddeker 2017)."""
    h = adjoint(out)
    turned = h @ ct
    lengths = (out.conj() * ct).sum(-2).real
    turned = turned - h @ (out * lengths.unsqueeze(-2))
    gap = gaps(a._apply("linalg_eig_values", values, vectors), 1).conj()
    return _similar(a, out, without_diagonal(turned) / gap), None, None


op(
    "linalg_eig_parts",
    of_complex="plain",
    lower=lower_eig,
    torch=None,
    private=True,
    failure=_DIVERGED,
)
for _number, (_name, _law) in enumerate(
    (("values", general_values_vjp), ("vectors", general_vectors_vjp)), 1
):
    op(
        f"linalg_eig_{_name}", of_complex="plain", arity=3, shown=1, vjp=_law, torch=None, private=True,
        grad_fn="LinalgEigBackward0",
        lower=lambda entry, layouts, attrs, number=_number: copied_part(number, layouts),
    )  # fmt: skip


# --------------------------------------------------------------------------- singular values
def lower_svd(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Left singular vectors, singular values (descending), and right singular vectors as rows.

    With the attribute `full` there are as many vectors as rows, and columns; else as many as values.
    """
    (x,) = layouts
    batch, (m, n), full = x.shape[:-2], x.shape[-2:], attrs["full"]
    k = min(m, n)
    outs = (
        contiguous(x.dtype, (*batch, m, m if full else k)), contiguous(real_of(x.dtype), (*batch, k)),
        contiguous(x.dtype, (*batch, n if full else k, n)),
    )  # fmt: skip
    # the gufunc's dimensions are m, n, or m, n, p
    last = (0, 1) if full else (2, 2)
    operands = [
        operand_matrices(0, x, batch, (0, 1)), result_matrices(1, outs[0], (0, last[0])),
        result_matrices(1, outs[1], (2,), 1), result_matrices(1, outs[2], (last[1], 1), 2),
    ]  # fmt: skip
    loop = gufunc("svd_f" if full else "svd_s", wide=m < n)
    step = loop_step(loop, batch, (m, n, k), operands)
    return Lowered(outs, (step,) if x.size else _units(1, outs) if full else ())


def lower_svdvals(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Singular values, descending."""
    (x,) = layouts
    batch, (m, n) = x.shape[:-2], x.shape[-2:]
    out = contiguous(real_of(x.dtype), (*batch, min(m, n)))
    operands = operand_matrices(0, x, batch, (0, 1)), result_matrices(1, out, (2,))
    step = loop_step(gufunc("svd", wide=m < n), batch, (m, n, min(m, n)), operands)
    return Lowered((out,), (step,) if out.size else ())


def _units(nargs: int, outs: Sequence[Layout]) -> tuple[Step, ...]:
    """Steps that make results 0 and 2 unit matrices: of what has no elements all vectors are singular."""
    steps: list[Step] = []
    for number in (0, 2):
        steps += unit_steps(nargs, outs[number], number)
    return tuple(steps)


def values_vjp(ct: Any, a: Any, *parts: Any, full: bool) -> tuple[Any, None, None, None]:
    """Derivative of simple singular values."""
    u, _, vh = _parts(a, parts[:3], full=full)
    return (u * ct.unsqueeze(-2)) @ vh, None, None, None


def left_vjp(ct: Any, a: Any, *parts: Any, full: bool) -> tuple[Any, None, None, None]:
    """Derivative of left singular vectors, as many as there are values."""
    u, s, vh = _parts(a, parts[:3], full=full)
    ct = ct.narrow(-1, 0, s.shape[-1])
    turned = adjoint(u) @ ct
    skew = turned - adjoint(turned)
    inner = without_diagonal(skew) / gaps(s, 2) * s.unsqueeze(-2)
    if (
        a.dtype.is_complex
    ):  # half of what a common phase of a pair gives, which is that of the other vectors
        inner = inner + skew.tril().triu() * 0.25 / s.unsqueeze(-2)
    of_a = u @ inner
    if u.shape[-2] > s.shape[-1]:
        of_a = of_a + (ct - u @ turned) / s.unsqueeze(-2)
    return of_a @ vh, None, None, None


def right_vjp(ct: Any, a: Any, *parts: Any, full: bool) -> tuple[Any, None, None, None]:
    """Derivative of right singular vectors, as many as there are values."""
    u, s, vh = _parts(a, parts[:3], full=full)
    ct = ct.narrow(-2, 0, s.shape[-1])
    turned = vh @ adjoint(ct)
    skew = turned - adjoint(turned)
    inner = s.unsqueeze(-1) * (without_diagonal(skew) / gaps(s, 2))
    if a.dtype.is_complex:
        inner = inner - skew.tril().triu() * 0.25 / s.unsqueeze(-1)
    of_a = inner @ vh
    if vh.shape[-1] > s.shape[-1]:
        of_a = of_a + (ct - adjoint(turned) @ vh) / s.unsqueeze(-1)
    return u @ of_a, None, None, None


def _parts(a: Any, parts: tuple[Any, ...], *, full: bool) -> list[Any]:
    """Singular vectors and values, each with its derivative; as many vectors as values."""
    count = parts[1].shape[-1]
    u, s, vh = [a._apply(f"linalg_svd_{name}", *parts, full=full) for name in ("u", "s", "vh")]
    return [u.narrow(-1, 0, count), s, vh.narrow(-2, 0, count)]


op(
    "linalg_svd_parts",
    of_complex="plain",
    lower=lower_svd,
    torch=None,
    private=True,
    failure=_DIVERGED,
)
for _number, (_name, _rule) in enumerate(
    (("u", left_vjp), ("s", values_vjp), ("vh", right_vjp)), 1
):
    op(
        f"linalg_svd_{_name}", of_complex="plain", arity=4, shown=1, vjp=_rule, torch="linalg.svd",
        grad_fn="LinalgSvdBackward0",
        lower=lambda entry, layouts, attrs, number=_number: copied_part(number, layouts),
    )  # fmt: skip
op("linalg_svdvals", of_complex="plain", lower=lower_svdvals, torch=None, failure=_DIVERGED)
