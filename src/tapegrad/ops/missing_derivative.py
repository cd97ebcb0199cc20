"""Derivatives that nobody has, as statements that fail when they are evaluated.

A rule gives the cotangents of all operands at once. Where there is no formula for one of them, `missing`
stands in its place: it is evaluated, and raises its reason, only where that derivative is asked for. So an
error comes from ``backward()`` and not from the call of the function, at any order and in forward mode, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base.errors import UnsupportedError
from ..native.ufunc_loops import native_kernel, native_kernel_address
from .layout import Layout, contiguous
from .program import SCRATCH, Operand, Step
from .table import Failure, Lowered, Op, op

__all__ = ["missing"]


def fail_always(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Fail at the first element."""
    return np.int64(1)


native_kernel(fail_always, checked=True)


def _lower(entry: Op, layouts: tuple[Layout, ...], attrs: dict[str, Any]) -> Lowered:
    _, x = layouts
    kernel = native_kernel_address("fail_always"), 0
    step = Step(kernel, (), (Operand(SCRATCH, 0, ()),), checked=True)
    return Lowered((contiguous(x.dtype, x.shape),), (step,), 8)


def missing(ct: Any, x: Any, name: str, operand: str, advice: str = "") -> Any:
    """Return the cotangent of an operand with respect to which an op has no derivative.

    Parameters
    ----------
    ct, x : Tensor
        The cotangent of the result, and the operand.
    name : str
        What the op is called.
    operand : str
        Words for the operand.
    advice : str
        What to do, other than to detach it.
    """
    advice = advice or "pass it detached if it is a constant"
    reason = f"{name}: there is no derivative with respect to {operand}; {advice}"
    return ct._apply("missing_derivative", x._zero(), reason=reason)


def _vjp(ct: Any, below: Any, shape: Any, out: Any, reason: str) -> tuple[Any, None]:
    """Linear in its first operand; of the second it has the shape."""
    return ct._apply("missing_derivative", below._zero(), reason=reason), None


op(
    "missing_derivative", lower=_lower, arity=2, torch=None, private=True, vjp=_vjp,
    failure=Failure("there is no derivative", UnsupportedError, attribute="reason"),
)  # fmt: skip
