"""Elementwise functions that need more than native recording gives.

Those with options are in arithmetic.py, selection.py and activation.py; here are the rows without
options that native recording does not take, PyTorch's second names, and methods for VJPs.

Where a name is also a row that is recorded natively, native recording falls back to its function
(for keyword arguments, new layouts, other dtypes), so it handles the plain case too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ops import elementwise as _rows  # noqa: F401 - which this module looks up
from ...ops.table import TABLE
from ...tape import recording as record
from ..operands import check_binary
from ..registry import FUNCTIONS, METHODS, public
from . import activation, arithmetic, selection

__all__ = ["activation", "arithmetic", "selection"]


# --------------------------------------------------------------------------- rows without options
def _row_function(name: str) -> Callable[..., Any]:
    """Make the function of a row with one or two operands."""
    entry = TABLE[name]

    def unary(input: Any) -> Any:
        record.check_tensors(name, (input,))
        return record.unary(entry, input)

    def binary(input: Any, other: Any) -> Any:
        check_binary(name, input, other)
        return record.binary(entry, input, other)

    function: Callable[..., Any] = unary if entry.arity == 1 else binary
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Return the elementwise {name}."
    return function


for _name in ("rsqrt", "sigmoid", "silu", "logsigmoid", "erf", "erfc", "sinc", "xlogy"):
    FUNCTIONS[_name] = METHODS[_name] = _row_function(_name)

for _entry in TABLE.values():  # their second names in PyTorch
    for _name in _entry.aliases:
        FUNCTIONS[_name] = METHODS[_name] = _row_function(_entry.name)


# --------------------------------------------------------------------------- methods for VJPs
@public(method=True, function=False, name="_zero")
def _zero(ct: Any) -> Any:
    """Zeros like the cotangent, all in one memory location."""
    return record.view(TABLE["expand"], record.as_operand(0, ct.dtype), ct.shape, (0,) * ct.ndim)


@public(method=True, function=False, name="_zero_where")
def _zero_where(ct: Any, condition: Any) -> Any:
    """Return the cotangent, but 0 (and not 0 times it) where the condition holds."""
    return record.apply(TABLE["where"], (condition, record.as_operand(0, ct.dtype), ct))


@public(method=True, function=False, name="_pow_derivative")
def _pow_derivative(x: Any, y: Any, dx: int, dy: int) -> Any:
    """Differentiate ``x ** y`` `dx` times with respect to x and `dy` times to y."""
    return record.apply(TABLE["pow_derivative"], (x, y), dx=dx, dy=dy)


@public(method=True, function=False, name="_sinc_derivative")
def _sinc_derivative(x: Any, order: int) -> Any:
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
