"""Transforms that take one product with a Jacobian: grad, vjp, jvp, linearize."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..autograd.forward_ad import check_dual
from ..autograd.grad_mode import is_grad_enabled
from ..autograd.jacobian_products import (
    Pushforward,
    check_gaps,
    pull,
    push,
    zeros_for_none,
)
from ..autograd.transform_level import Level
from ..tape import pytree as trees
from ..tape.recording import is_tensor
from ..tensors.tensor import Tensor
from .arguments import Argnums, Parameters, Result, TransformRun, as_tensors, differentiated

__all__ = ["VJP", "floating_output", "grad", "grad_and_value", "jvp", "linearize", "vjp"]

VJP = "vjp(f, *primals)"
JVP = "jvp(f, primals, tangents)"


def grad_and_value(
    func: Callable[Parameters, Result], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[Parameters, tuple[Any, Result]]:
    """Return a function that computes a pair of the gradient of `func` and its value.

    Parameters
    ----------
    func : callable
        Returns a tensor of one element without dimensions, or with `has_aux` a pair of such a tensor and
        anything made of tensors.
    argnums : int or tuple of int
        The positional arguments to differentiate with respect to. Each may be a nested container of
        tensors; the others may be anything.
    has_aux : bool
        Whether `func` returns a pair.

    Returns
    -------
    callable
        Returns ``(gradient, value)``, or ``(gradient, (value, aux))``. The gradient has the structure
        of the argument, or is a tuple for a tuple of `argnums`.

    Raises
    ------
    RuntimeError, ValueError
        PyTorch's errors, with its texts.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.func.grad_and_value(lambda x: (x * x).sum())(tg.tensor([1.0, 2.0]))
    (tensor([2., 4.]), tensor(5.))
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        name = "grad_and_value(f)(*args)"
        with Level() as level:
            run = TransformRun(level, name, func, args, argnums, has_aux=has_aux, kwargs=kwargs)
            value = run.output
            check_scalar(name, value)
            gradient = zeros_for_none(level.pull([value], run.inputs), run.inputs)
            value = level.release(value)
        gradient = trees.unflatten(run.spec, gradient)
        return (gradient, (value, run.aux)) if has_aux else (gradient, value)

    return wrapper


def check_scalar(name: str, value: Any) -> None:
    """Raise PyTorch's errors unless a function returned a tensor without dimensions."""
    if not is_tensor(value):
        raise RuntimeError(f"{name}: Expected f(*args) to return a Tensor, got {type(value)}")
    if value.ndim != 0:
        raise RuntimeError(
            f"{name}: Expected f(*args) to return a scalar Tensor, got tensor with {value.ndim} dims. "
            "Maybe you wanted to use the vjp or jacrev APIs instead?"
        )


def grad(
    func: Callable[Parameters, Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[Parameters, Any]:
    """Return a function that computes the gradient of `func`.

    Parameters
    ----------
    func, argnums, has_aux
        As for `grad_and_value`.

    Returns
    -------
    callable
        Returns the gradient, or ``(gradient, aux)``. It can be transformed again.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.func.grad(tg.func.grad(tg.sin))(tg.tensor(0.5))
    tensor(-0.4794)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapper


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Run `func` and return its output with a function that multiplies cotangents with its Jacobian.

    Parameters
    ----------
    func : callable
        Returns tensors, nested as it likes.
    *primals
        Its arguments: nested containers of tensors.
    has_aux : bool
        Whether `func` returns a pair of output and something that is handed through.

    Returns
    -------
    output : object
    vjp_fn : callable
        Takes cotangents with the structure of `output` and returns a tuple of the gradients of
        `primals`. It may be called any number of times.
    aux : object
        With `has_aux`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> value, pull = tg.func.vjp(tg.sin, tg.tensor([0.0, 1.0]))
    >>> pull(tg.tensor([1.0, 0.0]))
    (tensor([1., 0.]),)
    """
    with Level(lasts=True) as level:
        run = TransformRun(level, VJP, func, primals, has_aux=has_aux)
        outputs, spec = floating_output(run)
        output = trees.unflatten(spec, [level.release(y) for y in outputs])

    def vjp_fn(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        """Multiply cotangents, which have the output's structure, with the Jacobian."""
        seeds, cotangent_spec = trees.flatten(cotangents)
        seeds = as_tensors(seeds)
        if cotangent_spec != spec:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs "
                f"to the function. cotangents: {trees.text(cotangent_spec)}, "
                f"primal output: {trees.text(spec)}"
            )
        if create_graph is None:
            create_graph = is_grad_enabled()
        tensors = [t for t in (*outputs, *seeds) if is_tensor(t)]
        gradients = pull(
            outputs, run.inputs, seeds, retain_graph=retain_graph,
            create_graph=create_graph and level.outside(tensors),
        )  # fmt: skip
        return trees.unflatten(
            run.spec, [level.release(g) for g in zeros_for_none(gradients, run.inputs)]
        )

    def many(cotangents: Any) -> Any:
        """`vjp_fn` for batches of cotangents, in one pass; None where it takes one for each."""
        seeds, cotangent_spec = trees.flatten(cotangents)
        if cotangent_spec != spec or level.outside([t for t in (*outputs, *seeds) if is_tensor(t)]):
            return None
        for y, ct in zip(outputs, seeds, strict=True):
            if ct.shape[1:] != y.shape or ct.dtype is not y.dtype:
                return None
        gradients = pull(outputs, run.inputs, seeds, retain_graph=True, batched=True)
        return trees.unflatten(run.spec, zeros_for_none(gradients, run.inputs, seeds[0].shape[:1]))

    vjp_fn.many = many  # type: ignore[attr-defined]
    return (output, vjp_fn, run.aux) if has_aux else (output, vjp_fn)


def floating_output(run: TransformRun) -> tuple[list[Tensor], trees.Spec]:
    """A run's flat output, which must be of floating dtypes."""
    outputs, spec = run.flat_output()
    for y in outputs:
        if not y.dtype.is_inexact:
            raise RuntimeError(
                "vjp(f, ...): All outputs of f must be floating-point or complex Tensors, got Tensor "
                f"with dtype {y.dtype}"
            )
    return outputs, spec


def jvp(
    func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False,
    has_aux: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """Run `func` and return its output with the product of its Jacobian and tangents.

    Tangents are recorded beside the statements of `func`, so the whole costs some two to three times as
    much as `func`, for any number of inputs and outputs. Results that `func` computes under `no_grad` have
    no tangent; PyTorch's forward mode looks through it.

    Parameters
    ----------
    func : callable
        Returns tensors, nested as it likes.
    primals : tuple
        Its arguments: nested containers of tensors.
    tangents : tuple
        Of the same structure and shapes.
    strict : bool
        Raise if an output does not depend on the inputs, instead of returning zeros.
    has_aux : bool
        Whether `func` returns a pair of output and something that is handed through.

    Returns
    -------
    output, tangent : object
        Of the same structure.
    aux : object
        With `has_aux`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.func.jvp(lambda x: x * x, (tg.tensor(3.0),), (tg.tensor(1.0),))
    (tensor(9.), tensor(6.))
    """
    if not isinstance(primals, tuple):
        raise RuntimeError(
            f"{JVP}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals)."
        )
    primal_leaves, spec = differentiated(primals, primals)
    directions = trees.matching_leaves(tangents, spec)
    if directions is None:
        texts = [trees.text(trees.flatten(tree)[1]) for tree in (primals, tangents)]
        raise RuntimeError(
            f"{JVP}: Expected primals and tangents to have the same python structure. For example, if "
            f"primals is a tuple of 3 tensors, tangents also must be. Got primals with structure {texts[0]} "
            f"and tangents with structure {texts[1]}"
        )
    directions = as_tensors(directions)
    _check_tensors(primal_leaves, "primals")
    _check_tensors(directions, "tangents")
    for x, v in zip(primal_leaves, directions, strict=True):
        check_dual(x, v)
    with Level(forward=True) as level:
        run = TransformRun(level, JVP, func, primals, has_aux=has_aux)
        outputs, out_spec = run.flat_output()
        tracked = level.outside([*outputs, *directions])
        pushed = push(
            outputs, run.inputs, directions, create_graph=tracked, gaps=level.gaps
        )  # fmt: skip
        if strict and any(t is None for t in pushed):
            raise RuntimeError(
                "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. "
                "This is not allowed with strict=True."
            )
        output = trees.unflatten(out_spec, [level.release(y) for y in outputs])
        tangent = trees.unflatten(
            out_spec, [level.release(t) for t in zeros_for_none(pushed, outputs)]
        )
    return (output, tangent, run.aux) if has_aux else (output, tangent)


def _check_tensors(leaves: list[Any], role: str) -> None:
    if not leaves:
        raise RuntimeError(f"{JVP}: Expected {role} to contain at least one Tensor.")
    for x in leaves:
        if not is_tensor(x):
            raise RuntimeError(f"{JVP}: Expected {role} to only contain Tensors, got {type(x)}")


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """Run `func` and return its output with a function that multiplies its Jacobian with tangents.

    `func` and the reverse pass are recorded once, so that each product afterwards costs one sweep.

    Parameters
    ----------
    func : callable
        Returns tensors, nested as it likes.
    *primals
        Its arguments: nested containers of tensors.

    Returns
    -------
    output : object
    jvp_fn : callable
        Takes tangents as `func` takes arguments, and returns the tangent of `output`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> value, push = tg.func.linearize(tg.exp, tg.tensor(0.0))
    >>> push(tg.tensor(2.0)), push(tg.tensor(3.0))
    (tensor(2.), tensor(3.))
    """
    with Level(forward=True, lasts=True) as level:
        run = TransformRun(level, "linearize(f, *primals)", func, primals)
        outputs, out_spec = run.flat_output()
        check_gaps(level.gaps)
        pushed = Pushforward(outputs, run.inputs)
        output = trees.unflatten(out_spec, [level.release(y) for y in outputs])

    def jvp_fn(*tangents: Any) -> Any:
        """Multiply the Jacobian with tangents, one for each argument of the function."""
        directions = trees.matching_leaves(tangents, run.spec)
        if directions is None:
            raise RuntimeError(
                f"Expected the tangents {trees.text(trees.flatten(tangents)[1])} to have the same argspec as "
                f"the primals {trees.text(trees.flatten(primals)[1])}"
            )
        directions = as_tensors(directions)
        for i, (v, x) in enumerate(zip(directions, run.inputs, strict=True)):
            for attribute in ("shape", "dtype"):
                first, second = getattr(v, attribute), getattr(x, attribute)
                if first != second:
                    raise RuntimeError(
                        f"tangent:{i} with {attribute} {first} in flattened pytree doesn't match "
                        f"the {attribute} {second} of the corresponding primal."
                    )
        tracked = is_grad_enabled() and level.outside([*outputs, *directions])
        images = zeros_for_none(pushed(directions, create_graph=tracked), outputs)
        return trees.unflatten(out_spec, [level.release(t) for t in images])

    return output, jvp_fn
