"""Elementwise functions that need more than native recording gives.

Those with options are in arithmetic.py, selection.py and activation.py; here are methods for VJPs. Rows
without options become functions in operators.py.

Where a name is also a row that is recorded natively, native recording falls back to its function
(for keyword arguments, new layouts, other dtypes), so it handles the plain case too.
"""

from __future__ import annotations

from typing import Any

from ...ops import elementwise as _rows  # noqa: F401 - rows that this module looks up
from ...ops.table import TABLE
from ...tape import recording as record
from ..registry import public
from ..signature import Tensor
from . import activation, arithmetic, selection

__all__ = ["activation", "arithmetic", "selection"]


# --------------------------------------------------------------------------- methods for VJPs
@public(method=True, function=False, name="_zero")
def _zero(ct: Any) -> Tensor:
    """Zeros like the cotangent, all in one memory location."""
    return record.view(TABLE["expand"], record.as_operand(0, ct.dtype), ct.shape, (0,) * ct.ndim)


@public(method=True, function=False, name="_number")
def _number(ct: Any, value: float) -> Tensor:
    """Return a number as a constant of the cotangent's dtype."""
    return record.as_operand(value, ct.dtype)


@public(method=True, function=False, name="_zero_where")
def _zero_where(ct: Any, condition: Any) -> Tensor:
    """Return the cotangent, but 0 (and not 0 times it) where the condition holds."""
    return record.apply(TABLE["where"], (condition, record.as_operand(0, ct.dtype), ct))


@public(method=True, function=False, name="_pow_derivative")
def _pow_derivative(x: Any, y: Any, dx: int, dy: int) -> Tensor:
    """Differentiate ``x ** y`` `dx` times with respect to x and `dy` times to y."""
    return record.apply(TABLE["pow_derivative"], (x, y), dx=dx, dy=dy)


@public(method=True, function=False, name="_sinc_derivative")
def _sinc_derivative(x: Any, order: int) -> Tensor:
    """Differentiate sinc `order` times."""
    return record.apply(TABLE["sinc_derivative"], (x,), order=order)


@public(method=True, function=False, name="_strip_adjoint")
def _strip_adjoint(ct: Any, head: Any, *data: Any, recorded: bool) -> Any:
    """Sweep a strip (scalar_tape/rows.py); the cotangent of its head."""
    return record.apply(TABLE["strip_adjoint"], (ct, head, *data), recorded=recorded)


@public(method=True, function=False, name="_strip_spread")
def _strip_spread(ct: Any, values: Any, table: Any, number: int, inner: bool) -> Any:
    """Put the cotangent of a strip's result among those of all its values."""
    return record.apply(TABLE["strip_spread"], (ct, values, table), number=number, inner=inner)


@public(method=True, function=False, name="_strip_result")
def _strip_result(values: Any, table: Any, number: int, shape: Any, inner: bool) -> Any:
    """Take a strip's result out of its values."""
    return record.apply(
        TABLE["strip_result"], (values, table), number=number, shape=tuple(shape), inner=inner
    )
