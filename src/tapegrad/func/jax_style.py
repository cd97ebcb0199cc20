"""JAX's call style at the top level: ``tg.grad(f)`` and its relatives, over nested arguments.

Each turns a function of anything into a function of a flat tuple of tensors (`FlatFunction`), hands
that to the transform of `tapegrad.func`, and puts the results together in the structure of the
arguments. So they nest with each other and with those transforms.

The arguments that are differentiated are nested dicts, lists, tuples, namedtuples and dataclasses of
tensors, NumPy arrays and Python floats; results are Tensors. NumPy arrays among the other arguments
become Tensors, too (by copying). None is an empty container, as in JAX.

To type checkers the new function has the parameters of the old one: annotate ``Tensor | float`` to call it
with either.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from .. import func
from ..autograd.checkpoint import checkpoint as run_checkpointed
from ..autograd.jacobian_products import pull, zeros_for_none
from ..autograd.transform_level import Level
from ..tape import pytree as trees
from ..tape.recording import is_tensor
from .arguments import FlatFunction, Parameters, Result, TransformRun, to_tensor
from .gradients import check_scalar
from .jacobians import second_derivatives

__all__ = [
    "checkpoint", "grad", "hessian", "hvp", "jacfwd", "jacobian", "jacrev", "jvp", "stop_gradient",
    "value_and_grad", "vjp",
]  # fmt: skip

Argnums = int | Sequence[int]


def value_and_grad(
    fun: Callable[Parameters, Result], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[Parameters, tuple[Result, Any]]:
    """Return a function that computes the value of `fun` and its gradient.

    Parameters
    ----------
    fun : callable
        Returns a number: a tensor without dimensions; with `has_aux` a pair of that and anything.
    argnums : int or sequence of int
        The positional arguments to differentiate with respect to: nested containers of tensors, arrays
        and floats.
    has_aux : bool
        Whether `fun` returns a pair.

    Returns
    -------
    callable
        Returns ``(value, gradient)``, or ``((value, aux), gradient)``. The gradient has the structure of
        the argument, or is a tuple for a sequence of `argnums`.

    Raises
    ------
    TypeError, RuntimeError
        If an argument cannot be differentiated, or the value is not a number.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.value_and_grad(lambda p: p["a"] * p["b"] ** 2)({"a": 2.0, "b": 3.0})
    (tensor(18.), {'a': tensor(9.), 'b': tensor(12.)})
    """

    @functools.wraps(fun)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        flat = FlatFunction(fun, args, argnums, has_aux=has_aux, kwargs=kwargs)
        both = func.grad_and_value(flat.scalar, flat.everything, has_aux)
        gradient, value = both(*flat.leaves)
        if has_aux:
            value = (value[0], flat.aux(value[1]))
        return value, flat.arguments(gradient)

    return wrapper


def grad(
    fun: Callable[Parameters, Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[Parameters, Any]:
    """Return a function that computes the gradient of `fun`.

    Parameters
    ----------
    fun, argnums, has_aux
        As for `value_and_grad`.

    Returns
    -------
    callable
        Returns the gradient, or ``(gradient, aux)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.grad(lambda x: x**3))(2.0)
    tensor(12.)
    """
    both = value_and_grad(fun, argnums, has_aux)

    @functools.wraps(fun)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return wrapper


def jacobian(
    fun: Callable[Parameters, Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[Parameters, Any]:
    """Return a function that computes the Jacobian of `fun`, by rows.

    `jacfwd` goes by columns, which is better where the outputs are more than the inputs.

    Parameters
    ----------
    fun : callable
        Returns tensors, nested as it likes; with `has_aux` a pair of that and anything.
    argnums, has_aux
        As for `value_and_grad`.

    Returns
    -------
    callable
        Returns the output's structure, with that of the arguments in the place of each tensor, and there
        tensors of the output's shape and the argument's, joined; with `has_aux` a pair of that and aux.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.jacobian(lambda x, y: {"sum": x + y, "product": x * y}, argnums=(0, 1))(2.0, 3.0)
    {'sum': (tensor(1.), tensor(1.)), 'product': (tensor(3.), tensor(2.))}
    """
    return _jacobian(func.jacrev, fun, argnums, has_aux=has_aux)


#: JAX's name for it
jacrev = jacobian


def jacfwd(
    fun: Callable[Parameters, Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[Parameters, Any]:
    """Return a function that computes the Jacobian of `fun`, by columns.

    Parameters
    ----------
    fun, argnums, has_aux
        As for `jacobian`.

    Returns
    -------
    callable
        Returns the same as `jacobian`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.jacfwd(lambda p: p["a"] * p["b"])({"a": 2.0, "b": 3.0})
    {'a': tensor(3.), 'b': tensor(2.)}
    """
    return _jacobian(func.jacfwd, fun, argnums, has_aux=has_aux)


def _jacobian(
    transform: Callable[..., Any], fun: Callable[..., Any], argnums: Argnums, *, has_aux: bool
) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of `fun` by a transform of flat functions."""

    @functools.wraps(fun)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        flat = FlatFunction(fun, args, argnums, has_aux=has_aux, kwargs=kwargs)
        result = transform(flat, flat.everything, has_aux=has_aux)(*flat.leaves)
        blocks = result[0] if has_aux else result
        nested_blocks = flat.outputs([flat.arguments(row) for row in blocks])
        return (nested_blocks, flat.aux(result[1])) if has_aux else nested_blocks

    return wrapper


def hessian(fun: Callable[Parameters, Any], argnums: Argnums = 0) -> Callable[Parameters, Any]:
    """Return a function that computes the second derivatives of `fun`.

    Parameters
    ----------
    fun : callable
        Returns tensors, nested as it likes.
    argnums : int or sequence of int
        As for `value_and_grad`.

    Returns
    -------
    callable
        Returns the output's structure, with that of the arguments in the place of each tensor, and in the
        place of each tensor of those again.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.hessian(lambda x: x["a"] ** 2 * x["b"])({"a": 2.0, "b": 3.0})["a"]
    {'a': tensor(6.), 'b': tensor(4.)}
    """

    @functools.wraps(fun)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        flat = FlatFunction(fun, args, argnums, kwargs=kwargs)
        blocks = second_derivatives(flat, flat.leaves, flat.everything)
        return flat.outputs(
            [flat.arguments([flat.arguments(row) for row in rows]) for rows in blocks]
        )

    return wrapper


def _directions(flat: FlatFunction, primals: Any, tangents: Any) -> list[Any]:
    """The tangents of the leaves that are differentiated, as tensors.

    Raises
    ------
    TypeError
        If the structures differ.
    """
    is_alone = not isinstance(primals, tuple)
    fits = is_alone or isinstance(tangents, tuple)
    listed = [tangents] if is_alone else [*tangents] if fits else []
    directions = trees.matching_leaves(listed, flat.spec)
    if directions is None or not fits:
        texts = [trees.text(trees.flatten(tree)[1]) for tree in (primals, tangents)]
        raise TypeError(
            f"primals and tangents must have the same structure, got {texts[0]} and {texts[1]}"
        )
    return [to_tensor(t, "tangents") for t in directions]


def hvp(fun: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """Multiply the second derivatives of `fun` with tangents, by two reverse passes.

    Parameters
    ----------
    fun : callable
        Returns a number: a tensor without dimensions.
    primals : tuple or object
        The arguments, or the only one if it is not a tuple.
    tangents : tuple or object
        Of the same structure.

    Returns
    -------
    tuple or object
        Of the same structure.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.hvp(lambda x: (x**3).sum(), tg.tensor([1.0, 2.0]), tg.tensor([1.0, 0.0]))
    tensor([6., 0.])
    """
    is_alone = not isinstance(primals, tuple)
    args = (primals,) if is_alone else primals
    flat = FlatFunction(fun, args)
    directions = _directions(flat, primals, tangents)
    with Level() as level:
        run = TransformRun(level, "hvp(f, primals, tangents)", flat.scalar, flat.leaves)
        check_scalar(run.name, run.output)
        gradient = pull([run.output], run.inputs, create_graph=True)
        reached = [g for g in gradient if g is not None]
        weights = [v for g, v in zip(gradient, directions, strict=True) if g is not None]
        products = level.pull(reached, run.inputs, weights)
    product = flat.arguments(zeros_for_none(products, run.inputs))
    return product[0] if is_alone else product


def jvp(
    fun: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False
) -> tuple[Any, ...]:
    """Run `fun` and multiply its Jacobian with tangents.

    Parameters
    ----------
    fun : callable
        Returns tensors, nested as it likes; with `has_aux` a pair of that and anything.
    primals : tuple or list
        The arguments.
    tangents : tuple or list
        Of the same structure.
    has_aux : bool
        Whether `fun` returns a pair.

    Returns
    -------
    output, tangent : object
        Of the same structure; with `has_aux` also the second part of the pair.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 0.0))
    (tensor(6.), tensor(3.))
    """
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise TypeError(
            "primals and tangents must be tuples or lists of arguments, got "
            f"{type(primals).__name__} and {type(tangents).__name__}"
        )
    flat = FlatFunction(fun, tuple(primals), has_aux=has_aux)
    directions = _directions(flat, tuple(primals), tuple(tangents))
    output, tangent, *aux = func.jvp(flat, tuple(flat.leaves), tuple(directions), has_aux=has_aux)
    results = (flat.outputs(output), flat.outputs(tangent))
    return (*results, flat.aux(aux[0])) if has_aux else results


def vjp(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Run `fun` and return its output with a function that multiplies cotangents with its Jacobian.

    Parameters
    ----------
    fun : callable
        Returns tensors, nested as it likes; with `has_aux` a pair of that and anything.
    *primals
        Its arguments.
    has_aux : bool
        Whether `fun` returns a pair.

    Returns
    -------
    output : object
    vjp_fun : callable
        Takes cotangents of the output's structure and returns a tuple, one entry for each argument. It may
        be called any number of times.
    aux : object
        With `has_aux`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> value, pull = tg.vjp(lambda x, y: x * y, 2.0, 3.0)
    >>> pull(1.0)
    (tensor(3.), tensor(2.))
    """
    flat = FlatFunction(fun, primals, has_aux=has_aux)
    output, pull, *aux = func.vjp(flat, *flat.leaves, has_aux=has_aux)
    out_spec = trees.flatten(flat.outputs(output), none_is_leaf=False)[1]

    def vjp_fun(cotangents: Any) -> tuple[Any, ...]:
        """Multiply cotangents, which have the output's structure, with the Jacobian."""
        seeds, spec = trees.flatten(cotangents, none_is_leaf=False)
        if spec != out_spec:
            raise TypeError(
                "cotangents must have the structure of the output, got "
                f"{trees.text(spec)} and {trees.text(out_spec)}"
            )
        gradients: tuple[Any, ...] = flat.arguments(
            pull(tuple([to_tensor(t, "cotangents") for t in seeds]))
        )
        return gradients

    results = (flat.outputs(output), vjp_fun)
    return (*results, flat.aux(aux[0])) if has_aux else results


def stop_gradient(x: Any) -> Any:
    """Return a value as a constant: nothing is differentiated through it.

    Parameters
    ----------
    x : object
        Tensors, nested as they like; what is none is returned as it is.

    Returns
    -------
    object
        Of the same structure, with detached Tensors.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: x * tg.stop_gradient(x))(3.0)
    tensor(3.)
    """
    return trees.tree_map(lambda v: v.detach() if is_tensor(v) else v, x)


def checkpoint(
    fun: Callable[Parameters, Result], *, preserve_rng_state: bool = True
) -> Callable[Parameters, Result]:
    """Return a function that does as `fun`, and computes again in backward what that needs.

    Parameters
    ----------
    fun : callable
        Active tensors come to it as arguments, or are leaves that it captures.
    preserve_rng_state : bool
        Whether random functions give the second run the numbers of the first.

    Returns
    -------
    callable
        ``tg.utils.checkpoint.checkpoint`` calls a function at once, as PyTorch's does.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.checkpoint(lambda x: tg.exp(tg.sin(x))))(0.0)
    tensor(1.)
    """

    @functools.wraps(fun)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        def run(arguments: Any, options: Any) -> Any:
            return fun(*arguments, **options)

        result: Result = run_checkpointed(
            run, args, kwargs, use_reentrant=False, preserve_rng_state=preserve_rng_state
        )
        return result

    return wrapper
