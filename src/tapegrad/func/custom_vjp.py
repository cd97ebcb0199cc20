"""`custom_vjp`: a derivative of one's own for a function of nested arguments, as JAX declares it.

A call is one of an `autograd.Function` (`_Rule`), whose arguments are the Tensors among the function's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..autograd.function import Function
from ..autograd.grad_mode import is_grad_enabled
from ..tape import pytree as trees
from ..tape.recording import is_active, is_tensor
from .arguments import as_tensors, to_tensor

__all__ = ["custom_vjp"]


class custom_vjp:
    """A function whose derivative is given by two others: ``f.defvjp(fwd, bwd)``.

    Gradients of gradients differentiate `bwd`, and `fwd` where what it leaves for `bwd` depends on the
    arguments. What the functions capture is a constant for them: pass as an argument what is differentiated.

    Parameters
    ----------
    fun : callable
        Takes and returns nested containers of tensors; called where nothing is differentiated.
    nondiff_argnums : int or sequence of int
        Positions of arguments that are no tensors: they come first among those of `bwd`.

    Raises
    ------
    AttributeError
        By a call before `defvjp`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> @tg.custom_vjp
    ... def clipped(x):
    ...     return x * 1.0
    >>> clipped.defvjp(lambda x: (x * 1.0, None), lambda residuals, g: (g.clamp(-1.0, 1.0),))
    >>> tg.grad(lambda x: 5.0 * clipped(x))(2.0)
    tensor(1.)
    """

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: int | Sequence[int] = ()) -> None:
        functools.update_wrapper(self, fun)
        self._fun = fun
        if isinstance(nondiff_argnums, int):
            nondiff_argnums = (nondiff_argnums,)
        self._constant = tuple(nondiff_argnums)
        self._rules: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Give the function its derivative.

        Parameters
        ----------
        fwd : callable
            ``fwd(*args)`` returns the output and what `bwd` needs.
        bwd : callable
            ``bwd(residuals, cotangents)`` returns a tuple: for each argument a tree like it, or None for
            zeros.
        """
        self._rules = fwd, bwd

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function; keywords are put into the order of its parameters."""
        if self._rules is None:
            name = getattr(self._fun, "__name__", repr(self._fun))
            raise AttributeError(
                f"No VJP defined for custom_vjp function {name}: call {name}.defvjp(fwd, bwd)"
            )
        if kwargs:
            bound = inspect.signature(self._fun).bind(*args, **kwargs)
            bound.apply_defaults()
            args = bound.args
        places = [i for i in range(len(args)) if i not in {c % len(args) for c in self._constant}]
        leaves, spec = trees.flatten([args[i] for i in places])
        leaves = as_tensors(leaves)
        if not (is_grad_enabled() and any(is_tensor(x) and is_active(x) for x in leaves)):
            return self._fun(*args)
        chosen = tuple(i for i, x in enumerate(leaves) if is_tensor(x))
        partial = trees.PartialSpec(spec, chosen, tuple(leaves))
        call = _Call(*self._rules, args, tuple(places), partial)
        *outputs, out_spec = _Rule.apply(call, *[leaves[i] for i in chosen])
        return trees.unflatten(out_spec, outputs)


class _Call(NamedTuple):
    """The functions of a rule, and the arguments of a call: which are differentiated, and their structure."""

    fwd: Callable[..., Any]
    bwd: Callable[..., Any]
    args: tuple[Any, ...]
    places: tuple[int, ...]
    spec: trees.PartialSpec

    def forward(self, tensors: Sequence[Any]) -> tuple[list[Any], Any, list[Any], Any]:
        """Return outputs of `fwd` as tensors, their structure, and leaves and structure of the residuals."""
        arguments = list(self.args)
        trees_in_order = trees.complete(self.spec, tensors)
        for i, value in zip(self.places, trees_in_order, strict=True):
            arguments[i] = value
        pair = self.fwd(*arguments)
        if not (isinstance(pair, tuple) and len(pair) == 2):
            raise TypeError(
                "the forward function of a custom_vjp must return a pair (output, residuals), not "
                f"{type(pair).__name__}"
            )
        outputs, out_spec = trees.flatten(pair[0], none_is_leaf=False)
        residuals, spec = trees.flatten(pair[1])
        role = "the output of a custom_vjp function"
        return [to_tensor(y, role) for y in outputs], out_spec, residuals, spec

    def gradients(self, residuals: Any, cotangents: Any) -> list[Any]:
        """Return the gradients of the tensors among the arguments, by `bwd`; None for zeros."""
        constants = [x for i, x in enumerate(self.args) if i not in self.places]
        returned = self.bwd(*constants, residuals, cotangents)
        if not isinstance(returned, tuple | list) or len(returned) != len(self.places):
            count = len(returned) if isinstance(returned, tuple | list) else "no tuple"
            raise TypeError(
                "the backward function of a custom_vjp must return a tuple of one gradient for each of the "
                f"{len(self.places)} differentiated arguments, got {count}"
            )
        likes = trees.complete(self.spec, [None] * len(self.spec.places))
        every: list[Any] = []
        for gradient, like in zip(returned, likes, strict=True):
            leaves, spec = trees.flatten(gradient)
            wanted, wanted_spec = trees.flatten(like)
            if gradient is None:
                leaves = [None] * len(wanted)
            elif spec != wanted_spec:
                raise TypeError(
                    "the backward function of a custom_vjp must return gradients of the structure of the "
                    f"arguments, got {trees.text(spec)} for {trees.text(wanted_spec)}"
                )
            every += leaves
        return [
            None if every[i] is None else to_tensor(every[i], "gradients") for i in self.spec.places
        ]


class _Rule(Function):
    """A call of a `custom_vjp` function, on the Tensors among its arguments."""

    generate_vmap_rule = True

    @classmethod
    def node_name(cls) -> str:
        return "CustomVjpBackward"

    @staticmethod
    def forward(ctx: Any, call: _Call, *tensors: Any) -> Any:
        outputs, ctx.out_spec, residuals, ctx.spec = call.forward(tensors)
        saved = [*tensors, *outputs]
        known = {id(t): i for i, t in enumerate(saved)}
        #: of each residual the number of a saved tensor, or the value
        ctx.residuals, ctx.computed = [], False
        for value in residuals:
            if not is_tensor(value):
                ctx.residuals.append((None, value))
                continue
            if id(value) not in known:
                known[id(value)] = len(saved)
                saved.append(value)
                ctx.computed = True
            ctx.residuals.append((known[id(value)], None))
        ctx.save_for_backward(*saved)
        ctx.call, ctx.arguments = call, len(tensors)
        return (*outputs, ctx.out_spec)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        saved = ctx.saved_tensors
        if ctx.computed and is_grad_enabled():  # recorded: residuals are functions of the arguments
            _, _, leaves, spec = ctx.call.forward(saved[: ctx.arguments])
            residuals = trees.unflatten(spec, leaves)
        else:
            values = [value if i is None else saved[i] for i, value in ctx.residuals]
            residuals = trees.unflatten(ctx.spec, values)
        seeds = trees.unflatten(ctx.out_spec, cotangents[: ctx.out_spec.num_leaves])
        gradients = ctx.call.gradients(residuals, seeds)
        for gradient, x in zip(gradients, saved, strict=False):
            if gradient is not None and gradient.shape != x.shape:
                raise TypeError(
                    "the backward function of a custom_vjp must return gradients of the shapes of the "
                    f"arguments, got {list(gradient.shape)} for {list(x.shape)}"
                )
        return (None, *gradients)
