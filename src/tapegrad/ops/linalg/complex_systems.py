"""Linear systems and determinants of complex matrices, by NumPy's loops."""

from __future__ import annotations

from typing import Any

from numpy.linalg import _umath_linalg as lapack

from ...base.dtypes import real_of
from ...base.errors import LinAlgError
from ..layout import Layout, broadcast_shapes, contiguous
from ..program import Step, address_operand, constant
from ..table import Failure, Lowered, Op, copy_loop, op, out_operand
from .loops import adjoint, copied_part, loop_step, operand_matrices, result_matrices, transposed

__all__: list[str] = []


def lower_solve(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Solve systems with matrices on the right, or vectors (attribute `vector`); batches broadcast.

    With the attribute `quiet`, results are NaN for a singular matrix.
    """
    a, b = layouts
    core = (b.ndim - 1,) if attrs["vector"] else (b.ndim - 2, b.ndim - 1)
    batch = broadcast_shapes(a.shape[:-2], b.shape[: core[0]])
    lengths = tuple([b.shape[i] for i in core])
    out, dims = contiguous(a.dtype, (*batch, *lengths)), (0, 1)[: len(core)]
    operands = (
        operand_matrices(0, a, batch, (0, 0)), operand_matrices(1, b, batch, dims),
        result_matrices(2, out, dims),
    )  # fmt: skip
    loop = lapack.solve1 if attrs["vector"] else lapack.solve
    step = loop_step(loop, batch, lengths, operands, quiet=attrs["quiet"])
    return Lowered((out,), (step,) if out.size else ())


def solve_vjp(ct: Any, a: Any, b: Any, out: Any, **attrs: bool) -> tuple[Any, Any]:
    """Solve with the transposed matrix."""
    of_b = transposed(a)._apply("linalg_solve_complex", ct, **attrs)
    if attrs["vector"]:
        return -(of_b.unsqueeze(-1) * out.unsqueeze(-2)), of_b
    return -(of_b @ transposed(out)), of_b


def _filled(nargs: int, layout: Layout, number: int, value: float) -> Step:
    source = address_operand(constant(value, layout.dtype.np), layout.ndim)
    target = out_operand(nargs, layout, number)
    return Step(copy_loop(layout.dtype), layout.shape, (source, target))


def lower_det(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Determinants."""
    (x,) = layouts
    batch, out = x.shape[:-2], contiguous(x.dtype, x.shape[:-2])
    if x.shape[-1] == 0:
        return Lowered((out,), (_filled(1, out, 0, 1.0),))
    operands = operand_matrices(0, x, batch, (0, 0)), result_matrices(1, out, ())
    return Lowered((out,), (loop_step(lapack.det, batch, x.shape[-1:], operands, quiet=True),))


def lower_slogdet(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    """Determinants divided by their absolute values, and logarithms of these."""
    (x,) = layouts
    batch = x.shape[:-2]
    outs = contiguous(x.dtype, batch), contiguous(real_of(x.dtype), batch)
    if x.shape[-1] == 0:
        return Lowered(outs, (_filled(1, outs[0], 0, 1.0), _filled(1, outs[1], 1, 0.0)))
    results = [result_matrices(1, out, (), number) for number, out in enumerate(outs)]
    operands = (operand_matrices(0, x, batch, (0, 0)), *results)
    return Lowered(outs, (loop_step(lapack.slogdet, batch, x.shape[-1:], operands, quiet=True),))


def _each(number: Any) -> Any:
    """A number for each matrix of a batch, over the matrices."""
    return number.unsqueeze(-1).unsqueeze(-1)


def sign_vjp(ct: Any, a: Any, sign: Any, value: Any, out: Any) -> tuple[Any, None, None]:
    """Turn the phase, which is the imaginary part of the logarithm."""
    turned = out.conj() * ct
    along = (turned - turned.conj()) * 0.5
    return _each(along) * adjoint(a._apply("linalg_inv", quiet=False)), None, None


op(
    "linalg_solve_complex", of_complex="holomorphic", lower=lower_solve, vjp=solve_vjp, arity=2, torch=None,
    grad_fn="LinalgSolveExBackward0", private=True,
    failure=Failure("The solver failed because the input matrix is singular", LinAlgError),
)  # fmt: skip
op(
    "linalg_det_complex", of_complex="holomorphic", lower=lower_det, torch=None, grad_fn="LinalgDetBackward0",
    private=True,
    vjp=lambda ct, a, out: _each(ct * out) * transposed(a._apply("linalg_inv", quiet=False)),
)  # fmt: skip
op(
    "linalg_slogdet_complex_parts",
    of_complex="plain",
    lower=lower_slogdet,
    torch=None,
    private=True,
)
op(
    "linalg_slogdet_complex", of_complex="plain", arity=3, shown=1, torch=None, private=True,
    grad_fn="LinalgSlogdetBackward0", lower=lambda entry, layouts, attrs: copied_part(2, layouts),
    vjp=lambda ct, a, sign, value, out: (
        _each(ct) * adjoint(a._apply("linalg_inv", quiet=False)), None, None
    ),
)  # fmt: skip
op(
    "linalg_slogdet_sign", of_complex="plain", arity=3, shown=1, torch=None, private=True, vjp=sign_vjp,
    grad_fn="LinalgSlogdetBackward0", lower=lambda entry, layouts, attrs: copied_part(1, layouts),
)  # fmt: skip
