"""Comparisons of tensors up to rounding, and membership: allclose, equal, isclose, isin."""

from __future__ import annotations

from typing import Any

from ...base.dtypes import FLOATING, category, scalar_name
from ...ops.table import TABLE
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import float_of
from ..registry import declared
from ..signature import Operand, Tensor

__all__ = ["allclose", "equal", "isclose", "isin", "signbit"]


def _check_same_dtype(input: Any, other: Any) -> None:
    a, b = layout_of(input).dtype, layout_of(other).dtype
    if a is not b:
        raise RuntimeError(f"{scalar_name(a)} did not match {scalar_name(b)}")


@declared(out=False)
def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Compare elementwise up to ``atol + rtol * abs(other)``.

    Parameters
    ----------
    input, other : Tensor
        Of one dtype; they broadcast.
    rtol, atol : float
        Relative and absolute tolerance, not negative.
    equal_nan : bool
        Let NaN be close to NaN.

    Returns
    -------
    Tensor
        Of dtype bool.

    Raises
    ------
    RuntimeError
        If dtypes differ, or a tolerance is negative.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.isclose(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 2.1]))
    tensor([ True, False])
    """
    _check_same_dtype(input, other)
    rtol = float_of("isclose", "rtol", 3, rtol, "float")
    atol = float_of("isclose", "atol", 4, atol, "float")
    for word, value in (("rtol", rtol), ("atol", atol)):
        if not value >= 0:
            raise RuntimeError(f"{word} must be greater than or equal to zero, but got {value}")
    a, b = input.detach(), other.detach()
    close = a == b
    if category(layout_of(a).dtype) < FLOATING:
        if rtol == 0 and atol == 0:
            return close
        a, b = a.double(), b.double()
    else:
        if equal_nan:
            close = close | ((a != a) & (b != b))
        if rtol == 0 and atol == 0:
            return close
    allowed = abs(b) * rtol + atol
    distance = abs(a - b)
    return close | (distance.isfinite() & (distance <= allowed))


@declared(out=False)
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Return True if all elements are close; arguments as for `isclose`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.allclose(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 2.0 + 1e-9]))
    True
    """
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@declared(out=False)
def equal(input: Tensor, other: Tensor) -> bool:
    """Return True if two tensors have the same shape and the same elements (NaN equals nothing).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.equal(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 2.0]))
    True
    """
    if input.shape != other.shape:
        return False
    return bool((input.detach() == other.detach()).all())


@declared()
def signbit(input: Tensor) -> Tensor:
    """Tell for each element if its sign is a minus, also that of -0.0.

    Parameters
    ----------
    input : Tensor

    Returns
    -------
    Tensor
        Of dtype bool.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.signbit(tg.tensor([-0.0, 0.0, -2.0]))
    tensor([ True, False,  True])
    """
    if not input.dtype.is_floating_point:
        return input < 0
    return record.unary(TABLE["has_sign"], input)


_ISIN_OPTIONS = "*, bool assume_unique=False, bool invert=False, Tensor? out=None)"


@declared(
    f"(Tensor elements, Tensor test_elements, {_ISIN_OPTIONS}",
    f"(Number element, Tensor test_elements, {_ISIN_OPTIONS}",
    f"(Tensor elements, Number test_element, {_ISIN_OPTIONS}", method=False,
)  # fmt: skip
def isin(
    elements: Operand, test_elements: Operand, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Tell for each element if it is among others.

    Parameters
    ----------
    elements, test_elements : Tensor or number
        Not both numbers.
    assume_unique : bool
        Changes nothing here; PyTorch is faster by it.
    invert : bool
        Tell if it is not among them.

    Returns
    -------
    Tensor
        Of dtype bool and the shape of `elements`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.isin(tg.tensor([1, 2, 3]), tg.tensor([3, 1]))
    tensor([ True, False,  True])
    """
    values = (elements, test_elements)
    kind = record.result_dtype(values)
    a, b = (record.as_operand(v, kind).detach() for v in values)
    among = (a.unsqueeze(-1) == b.reshape(-1)).any(-1)
    return ~among if invert else among
