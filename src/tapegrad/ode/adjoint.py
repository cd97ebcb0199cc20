"""`odeint_adjoint`: gradients by the continuous adjoint, in memory that does not grow with the steps.

The adjoint ``a(t)``, the derivative of the loss by ``y(t)``, obeys ``da/dt = -a df/dy``; it is integrated
backwards in time, together with the solution (which is not kept) and the integrals ``dg/dt = -a df/dp``
that are the gradients of the parameters (Chen, Rubanova, Bettencourt and Duvenaud, NeurIPS 2018). At each
of the times the solution is set to what it was, and the loss' own derivative is added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..autograd.function import Function
from ..autograd.grad_mode import is_grad_enabled, no_grad, recording
from ..autograd.gradients import grad
from ..base.errors import UnsupportedError
from ..functions.registry import FUNCTIONS
from ..tape import pytree as trees
from ..tape.recording import is_tensor
from . import arguments
from .integration import Problem, problem_of, solution
from .programs import Program, program_for
from .tableaus import EXPLICIT, ROSENBROCK

__all__ = ["odeint_adjoint"]


def odeint_adjoint(
    func: Callable[..., Any], y0: Any, t: Any, *, rtol: Any = 1e-7, atol: Any = 1e-9,
    method: str | None = None, options: Any = None, args: tuple[Any, ...] = (),
    adjoint_rtol: Any = None, adjoint_atol: Any = None, adjoint_method: str | None = None,
    adjoint_options: Any = None, adjoint_params: Iterable[Any] | None = None,
) -> Any:  # fmt: skip
    """Integrate as `odeint` does, with gradients that are computed by integrating backwards in time.

    Memory does not grow with the number of steps. Gradients are those of the exact solution, up to the
    tolerances (those of `odeint` are exact ones of the steps that were taken), and of first order. For stiff
    systems take `odeint`: the solution cannot be integrated backwards there.

    Parameters
    ----------
    func, y0, t, rtol, atol, method, options, args
        As for `odeint`.
    adjoint_rtol, adjoint_atol, adjoint_method, adjoint_options
        For the integration backwards; those of the solution where they are not given.
    adjoint_params : iterable of Tensor, optional
        The tensors that `func` uses and that gradients are wanted of. Without them, those that `func` was
        seen to use when it was compiled.

    Returns
    -------
    Tensor, or container of Tensors
        Like `y0`, with the times as first dimension.

    Raises
    ------
    UnsupportedError
        In a backward pass with ``create_graph=True``: second derivatives are not computed, `odeint` has them.
    ValueError, TypeError, RuntimeError
        As by `odeint`; for a `func` that could not be compiled, without `adjoint_params`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> rate = tg.tensor(0.5, requires_grad=True)
    >>> y = tg.odeint_adjoint(lambda t, y: -rate * y, tg.tensor([2.0]), [0.0, 1.0, 2.0])
    >>> tg.autograd.grad(y[-1].sum(), rate)
    (tensor(-1.4715),)
    """
    name = "odeint_adjoint"
    problem = problem_of(name, func, y0, t, rtol, atol, method, options, args)
    backwards = {
        "rtol": rtol if adjoint_rtol is None else adjoint_rtol,
        "atol": atol if adjoint_atol is None else adjoint_atol,
        "method": problem.method if adjoint_method is None else adjoint_method,
        "options": adjoint_options,
    }
    if backwards["method"] in ROSENBROCK:
        raise ValueError(
            f"{name}: a stiff system cannot be integrated backwards, so adjoint_method must be one of "
            f"{', '.join(EXPLICIT)}, got {backwards['method']!r}; tg.odeint differentiates the steps of "
            "every method"
        )
    arguments.checked_method(name, backwards["method"])
    if adjoint_options is None and backwards["method"] == problem.method:
        backwards["options"] = options
    if adjoint_params is None:
        with no_grad():
            params = _used_tensors(problem)
    else:
        params = list(adjoint_params)
        for i, x in enumerate(params):
            if not is_tensor(x):
                raise TypeError(
                    f"{name}: adjoint_params must be Tensors, got {type(x).__name__} at position {i}"
                )
    params = [x for x in params if x.requires_grad and x is not problem.y]
    states = _Adjoint.apply(problem, backwards, problem.times.tensor, problem.y, *params)
    return problem.layout.unpacked(states)


def _used_tensors(problem: Problem) -> list[Any]:
    """The tensors among the further arguments, and those that the function was seen to use."""
    program = program_for(problem.name, problem.func, problem.method, problem.layout, problem.args)
    used = program.captured(problem.times.tensor[0].to(problem.y.dtype), problem.y)
    if used is None:
        raise ValueError(
            f"{problem.name}: func is not compiled, so the tensors that it uses are not known; give them as "
            "adjoint_params"
        )
    given = [x for x in trees.leaves(problem.args) if is_tensor(x)]
    return list({id(x): x for x in [*given, *used]}.values())


class _Adjoint(Function):
    """The one statement that a solve leaves on the tape."""

    @staticmethod
    def forward(ctx: Any, problem: Problem, backwards: Any, t: Any, y: Any, *params: Any) -> Any:
        """Solve without recording."""
        states = solution(problem._replace(y=y.detach()))
        ctx.save_for_backward(states, t, *params)
        ctx.problem, ctx.backwards = problem, backwards
        return states

    @staticmethod
    def backward(ctx: Any, *cts: Any) -> Any:
        """Integrate backwards, from each of the times to the one before."""
        problem: Problem = ctx.problem
        if is_grad_enabled():
            raise UnsupportedError(
                f"{problem.name} has no second derivatives (create_graph=True); tg.odeint has derivatives "
                "of any order"
            )
        states, t, *params = ctx.saved_tensors
        (ct,) = cts
        program = program_for(
            problem.name, problem.func, problem.method, problem.layout, problem.args
        )
        was_busy, program.is_busy = program.is_busy, True
        try:
            adjoint, sums, slopes = _swept(problem, ctx.backwards, program, states, t, params, ct)
        finally:
            program.is_busy = was_busy
        return None, None, slopes if ctx.needs_input_grad[2] else None, adjoint, *sums


def _swept(
    problem: Problem,
    backwards: Any,
    program: Program,
    states: Any,
    t: Any,
    params: list[Any],
    ct: Any,
) -> tuple[Any, list[Any], Any]:
    """Gradients of the first state, of the parameters and of the times."""
    slope, numbers = program.slope, problem.times.numbers

    def augmented(t: Any, state: Any) -> Any:
        y, adjoint = state[:2]
        with recording():
            y = y.detach().requires_grad_()
            value = slope(t, y)
            products = grad(
                [value], [y, *params], [-adjoint], allow_unused=True, materialize_grads=True
            )
        return (value.detach(), *products)

    zeros = FUNCTIONS["zeros_like"]
    adjoint, sums = ct[-1], [zeros(x.detach()) for x in params]
    slopes: list[Any] = []
    for i in range(len(numbers) - 1, 0, -1):
        at = t[i].detach().to(states.dtype)
        slopes.append((ct[i] * slope(at, states[i])).sum())
        sizes = (states[i], adjoint, *sums)
        rtol, atol, method, options = backwards.values()
        span = [numbers[i], numbers[i - 1]]
        again = problem_of(problem.name, augmented, sizes, span, rtol, atol, method, options, ())
        ends = again.layout.unpacked(solution(again))
        adjoint, sums = ends[1][-1], [x[-1] for x in ends[2:]]
        if i == 1:
            slopes.append(-(adjoint * slope(t[0].detach().to(states.dtype), states[0])).sum())
        adjoint = adjoint + ct[i - 1]
    if not slopes:
        slopes.append(zeros(ct.sum()))
    return adjoint, sums, FUNCTIONS["stack"](slopes[::-1]).to(t.dtype)
