"""`quad`: integrals by QUADPACK, differentiable with respect to limits and arguments.

By Leibniz' rule, the derivative by a limit is the integrand there, and that by the arguments is the integral
of the integrand's derivative: such integrals of several functions are computed by the same `_Integral`,
whose derivatives are differentiated in turn.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import integrate

from ..autograd.function import Function
from ..autograd.grad_mode import enable_grad, is_grad_enabled
from ..base.dtypes import float64
from ..base.errors import UnsupportedError
from ..func.arguments import as_tensors, to_tensor
from ..func.gradients import vjp
from ..functions.creation.creation import from_numpy, tensor
from ..functions.registry import FUNCTIONS
from ..tape import pytree as trees
from ..tape.recording import is_active, is_tensor
from .evaluation import Evaluation
from .functions import as_number, not_a_number
from .progress import Progress
from .vectors import Arguments, joined, name_of

__all__ = ["quad"]

REMEDY = "pass it in args"


def quad(
    func: Callable[..., Any], a: Any, b: Any, args: Any = (), full_output: int = 0,
    epsabs: float = 1.49e-08, epsrel: float = 1.49e-08, limit: int = 50, points: Any = None,
    weight: str | None = None, wvar: Any = None, wopts: Any = None, maxp1: int = 50, limlst: int = 50, *,
    compiled: bool = True, progress: bool = False,
) -> Any:  # fmt: skip
    """Integrate a function of one number, differentiably in the limits and in `args`.

    `scipy.integrate.quad` does it: its arguments, defaults, results and warnings. Derivatives of any order
    are integrals again, to the same accuracy. Under `vmap` the integral is computed once a slice.

    Parameters
    ----------
    func : callable
        ``func(x, *args)`` of a Tensor without dimensions returns a number.
    a, b : float or Tensor
        The limits, which may be infinite.
    args : tuple
        Further arguments: Tensors, arrays and floats, and containers of them. Other tensors that `func` uses
        must not require grad.
    full_output, epsabs, epsrel, limit, points, weight, wvar, wopts, maxp1, limlst
        As in SciPy.
    compiled, progress : bool
        As for `minimize`.

    Returns
    -------
    y : float or Tensor
        A Tensor, if a limit or an argument is one.
    abserr : float
        And what SciPy returns with `full_output`.

    Raises
    ------
    UnsupportedError
        For a derivative by a limit with a weight that is infinite at limits.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy import quad
    >>> def integral(b, k):
    ...     return quad(lambda x, k: tg.exp(-k * x), 0.0, b, (k,))[0]
    >>> round(integral(1.0, 2.0), 9), tg.grad(integral, argnums=(0, 1))(1.0, 2.0)
    (0.432332358, (tensor(0.1353), tensor(-0.1485)))
    """
    if not callable(func):
        raise TypeError(f"quad: expected a function, got {type(func).__name__}")
    options = {
        "epsabs": epsabs, "epsrel": epsrel, "limit": limit, "points": points, "weight": weight, "wvar": wvar,
        "wopts": wopts, "maxp1": maxp1, "limlst": limlst,
    }  # fmt: skip
    if not isinstance(args, tuple):
        args = (args,)
    leaves, spec = trees.flatten(args)
    has_tensors = any(map(is_tensor, (a, b, *leaves)))
    leaves = as_tensors(leaves)
    places = [i for i, x in enumerate(leaves) if is_tensor(x) and x.dtype.is_floating_point]
    name = name_of(func)
    constants = tuple([None if i in places else x for i, x in enumerate(leaves)])

    def integrand(x: Any, *parameters: Any) -> Any:
        inner = list(constants)
        for place, value in zip(places, parameters, strict=True):
            inner[place] = value
        return as_number(func(x, *trees.unflatten(spec, inner)), "quad", name).reshape(1)

    identity = "quad", func, spec, tuple([(type(x), x) for x in constants])
    with Progress("quad", progress) as bar:
        integral = _Integral(integrand, 1, name, options, (compiled, bar), identity, full_output)
        limits = [to_tensor(x, "quad: a limit").double().reshape(()) for x in (a, b)]
        parameters = [leaves[i] for i in places]
        if is_grad_enabled() and any(is_active(x) for x in (*limits, *parameters)):
            y = _Quadrature.apply(integral, *limits, *parameters)[0]
        else:
            y = float(integral.numbers(*limits, *parameters)[0])
            y = tensor(y, dtype=float64) if has_tensors else y
    return (y, *integral.rest)


class _Integral:
    """An integral of a function that returns a vector, and that depends on parameters.

    Parameters
    ----------
    integrand : callable
        ``integrand(x, *parameters)`` returns a vector.
    size : int
        Its length.
    name : str
        The user's function.
    options : dict
        Of `scipy.integrate.quad`.
    settings : tuple
        Whether to compile, and the progress.
    identity : hashable
        Stands for the integrand.
    full_output : int

    Attributes
    ----------
    rest : tuple
        What SciPy returned beside the last number.
    """

    def __init__(
        self, integrand: Callable[..., Any], size: int, name: str, options: dict[str, Any],
        settings: tuple[bool, Progress], identity: Any, full_output: int = 0,
    ) -> None:  # fmt: skip
        self.integrand, self.size, self.name, self.options = integrand, size, name, options
        self._settings, self._identity, self._full_output = settings, identity, full_output
        self.rest: tuple[Any, ...] = ()

    def numbers(self, a: Any, b: Any, *parameters: Any) -> np.ndarray:
        """Return the integrals."""
        arguments = Arguments("quad", tuple([p.detach() for p in parameters]))
        compiled, progress = self._settings
        integrand = self.integrand
        run = Evaluation(
            "quad", self.name, lambda x, *others: (integrand(x, *others),), compiled=compiled,
            remedy=REMEDY, key=lambda: (self._identity, arguments.key),
        )  # fmt: skip
        # Each number is integrated by itself, over points that are mostly the same.
        known: dict[float, list[float]] = {}

        def at(x: float, place: int) -> float:
            values = known.get(x)
            if values is None:
                (result,) = run(np.array(x, dtype=float), *arguments.arrays)
                values = result.tolist()
                if any(v != v for v in values):
                    raise ValueError(not_a_number("quad", self.name, values[place], x))
                known[x] = values
                progress.note(values[place])
            return values[place]

        low, high = a.item(), b.item()
        results = np.zeros(self.size)
        for place in range(self.size):
            returned = integrate.quad(
                functools.partial(at, place=place), low, high, (), self._full_output, **self.options
            )
            results[place], self.rest = returned[0], returned[1:]
        return results

    def by_limit(self, limit: Any, parameters: Sequence[Any], cotangent: Any) -> Any:
        """Return the derivative by the upper limit."""
        place = limit.item()
        if math.isinf(place):
            return FUNCTIONS["zeros_like"](limit)
        value = (self.integrand(limit, *parameters) * cotangent).sum()
        weight, frequency = self.options["weight"], self.options["wvar"]
        if weight in ("cos", "sin"):
            return value * getattr(limit * frequency, weight)()
        if weight is not None:
            raise UnsupportedError(
                f"quad: with weight={weight!r} there is no derivative by the limits; make the weight a "
                "part of the function"
            )
        return value

    def by_parameters(self, a: Any, b: Any, parameters: Sequence[Any], cotangent: Any) -> list[Any]:
        """Return the derivatives by the parameters."""
        integrand = self.integrand

        def pulled(x: Any, seed: Any, *values: Any) -> Any:
            pull = vjp(lambda *inner: integrand(x, *inner), *values)[1]
            return joined(list(pull(seed)), "quad: a derivative").double()

        sizes = [p.numel() for p in parameters]
        inner = _Integral(
            pulled, sum(sizes), self.name, self.options, self._settings, ("pulled", self._identity)
        )
        numbers = _integrals(inner, a, b, cotangent, *parameters)
        parts = numbers.split(sizes)
        return [
            part.reshape(p.shape).to(p.dtype) for part, p in zip(parts, parameters, strict=True)
        ]


def _integrals(integral: _Integral, *tensors: Any) -> Any:
    """Return integrals as a Tensor, recorded if there is something to differentiate."""
    if is_grad_enabled() and any(map(is_active, tensors)):
        return _Quadrature.apply(integral, *tensors)
    return from_numpy(integral.numbers(*tensors))


class _Quadrature(Function):
    """Integrals as a statement: of the limits and the parameters."""

    generate_vmap_rule = True

    @classmethod
    def node_name(cls) -> str:
        return "QuadBackward"

    @staticmethod
    def forward(ctx: Any, integral: _Integral, *tensors: Any) -> Any:
        ctx.integral = integral
        ctx.save_for_backward(*tensors)
        with enable_grad():  # so that a tensor is seen that requires grad, and is no argument
            return from_numpy(integral.numbers(*tensors))

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> Any:
        a, b, *parameters = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        integral = ctx.integral
        low = -integral.by_limit(a, parameters, cotangent) if needed[0] else None
        high = integral.by_limit(b, parameters, cotangent) if needed[1] else None
        rest = [None] * len(parameters)
        if any(needed[2:]):
            rest = integral.by_parameters(a, b, parameters, cotangent)
        return (None, low, high, *rest)
