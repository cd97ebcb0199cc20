"""Special functions with options, with more than two operands, or with several results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from ..base.dtypes import float32, float64
from ..functions import keywords
from ..functions.maths.special import as_floating
from ..functions.operands import no_kernel, promoted
from ..functions.registry import declared
from ..functions.signature import Operand, Tensor
from ..ops.table import TABLE
from ..tape import recording as record

__all__ = ["airy", "airy_ai", "betainc", "spherical_bessel_j0", "spherical_jn"]

F = TypeVar("F", bound=Callable[..., Any])


def _checked(function: F, *, out: bool = True) -> F:
    """Let a function's signature check what it is called with."""
    declared(function=False, method=False)(function)
    name = f"special_{function.__name__}"
    return cast(F, keywords.checked(name, function, method=False, out=out))


@_checked
def betainc(a: Operand, b: Operand, x: Operand) -> Tensor:
    """Return the regularised incomplete beta function.

    Its derivative with respect to `a` and `b` has no formula: asking for it raises `UnsupportedError`.

    Parameters
    ----------
    a, b : Tensor or number
        Positive parameters.
    x : Tensor or number
        Upper end of the integral, in [0, 1].

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.special.betainc(2.0, 3.0, tg.tensor([0.25, 0.5]))
    tensor([0.2617, 0.6875])
    """
    operands, _ = promoted((a, b, x))
    return record.apply(TABLE["special_betainc"], [as_floating(x) for x in operands])


@_checked
def spherical_jn(n: int, z: Tensor, derivative: bool = False) -> Tensor:
    """Return the spherical Bessel function of the first kind, or its derivative.

    Parameters
    ----------
    n : int
        The order, at least 0.
    z : Tensor
    derivative : bool
        Whether to return the derivative.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.special.spherical_jn(1, tg.tensor([0.0, 1.0, 2.0]))
    tensor([0.0000, 0.3012, 0.4354])
    """
    if n < 0:
        raise ValueError(f"spherical_jn(): argument 'n' must be at least 0, not {n}")
    x = as_floating(z)
    if x.dtype not in (float32, float64):
        raise no_kernel("special_spherical_jn", x.dtype)

    def of_order(m: int) -> Any:
        return record.apply(TABLE["special_spherical_jn"], (x,), n=m)

    if not derivative:
        return of_order(n)
    if n == 0:
        return -of_order(1)
    return (n * of_order(n - 1) - (n + 1) * of_order(n + 1)) / (2 * n + 1)


@_checked
def spherical_bessel_j0(input: Tensor) -> Tensor:
    """Return the spherical Bessel function of the first kind of order 0, ``sin(x) / x``.

    Parameters
    ----------
    input : Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.special.spherical_bessel_j0(tg.tensor([0.0, 1.0, 2.0]))
    tensor([1.0000, 0.8415, 0.4546])
    """
    result: Tensor = spherical_jn(0, input)
    return result


@_checked
def airy_ai(input: Tensor) -> Tensor:
    """Return the Airy function Ai.

    Parameters
    ----------
    input : Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.special.airy_ai(tg.tensor([-1.0, 0.0, 1.0]))
    tensor([0.5356, 0.3550, 0.1353])
    """
    return record.apply(TABLE["special_airy"], (as_floating(input),), component=0)


@partial(_checked, out=False)
def airy(z: Tensor) -> tuple[Any, Any, Any, Any]:
    """Return the Airy functions Ai and Bi with their derivatives, as ``(Ai, Ai', Bi, Bi')``.

    Parameters
    ----------
    z : Tensor

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.special.airy(tg.tensor(0.0))
    (tensor(0.3550), tensor(-0.2588), tensor(0.6149), tensor(0.4483))
    """
    x = as_floating(z)
    ai, derivative, bi, of_bi = (
        record.apply(TABLE["special_airy"], (x,), component=i) for i in range(4)
    )
    return ai, derivative, bi, of_bi
