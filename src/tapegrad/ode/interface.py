"""`odeint`: solutions of differential equations, with derivatives of the steps or of the exact solution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .adjoint import odeint_adjoint
from .integration import problem_of, solution

__all__ = ["odeint"]


def odeint(
    func: Callable[..., Any], y0: Any, t: Any, *, rtol: Any = 1e-7, atol: Any = 1e-9,
    method: str | None = None, options: Any = None, args: tuple[Any, ...] = (), adjoint: bool = False,
) -> Any:  # fmt: skip
    """Integrate ``dy/dt = func(t, y)`` from ``y(t[0]) = y0``, and return the solution at the times `t`.

    The result is differentiable, to any order and in forward mode, by `y0`, `t`, `args` and every
    tensor that `func` uses: the derivative is that of the steps that were taken, their sizes held constant.
    `func` is compiled by `jit` when it is first used; where it cannot be, a warning says why.

    Parameters
    ----------
    func : callable
        ``func(t, y, *args)`` returns the derivative, of the shapes of `y`; `t` is a Tensor without
        dimensions.
    y0 : Tensor, or container of Tensors
        State at ``t[0]``, of float64 or float32.
    t : Tensor or array_like
        Times, strictly increasing or decreasing.
    rtol, atol : float, Tensor, or tuple of float
        Tolerances of the error of a step, ``atol + rtol * abs(y)``: for all elements, for each, or (a
        tuple) for each tensor of a container.
    method : str
        ``"dopri5"`` (Dormand and Prince, the default); ``"rodas4"`` for stiff systems (Rosenbrock's, with
        the exact Jacobian); ``"rk4"``, ``"midpoint"``, ``"euler"`` with a step from each of the times to
        the next.
    options : dict
        With adaptive steps: ``first_step``, ``min_step``, ``max_step``, ``max_num_steps``, ``safety``,
        ``ifactor``, ``dfactor``; with fixed steps: ``step_size``, ``interp`` (``"linear"`` or ``"cubic"``
        between steps).
    args : tuple
        Further arguments of `func`.
    adjoint : bool
        Whether gradients are computed by `odeint_adjoint`.

    Returns
    -------
    Tensor, or container of Tensors
        Like `y0`, with the times as first dimension.

    Raises
    ------
    ValueError, TypeError
        For arguments and results of `func` that do not fit; the text says which.
    RuntimeError
        If the step size becomes too small, if `func` returns NaN, or after ``max_num_steps``.
    UnsupportedError
        For a method with adaptive steps inside of `jit` or `trace`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> rate = tg.tensor(0.5, requires_grad=True)
    >>> y = tg.odeint(lambda t, y: -rate * y, tg.tensor([2.0]), [0.0, 1.0, 2.0])
    >>> y.detach().flatten()
    tensor([2.0000, 1.2131, 0.7358])
    >>> tg.autograd.grad(y[-1].sum(), rate)
    (tensor(-1.4715),)
    """
    if adjoint:
        return odeint_adjoint(
            func, y0, t, rtol=rtol, atol=atol, method=method, options=options, args=args
        )
    problem = problem_of("odeint", func, y0, t, rtol, atol, method, options, args)
    return problem.layout.unpacked(solution(problem))
