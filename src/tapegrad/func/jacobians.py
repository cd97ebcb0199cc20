"""Transforms that compute whole Jacobians: jacrev by rows, jacfwd by columns, hessian by both."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

from ..autograd.jacobian_products import check_gaps, columns, rows, unit_batches
from ..autograd.transform_level import Level
from ..functions.shape.joining import stack
from ..tape import pytree as trees
from ..tensors.tensor import Tensor
from .arguments import (
    Argnums,
    Parameters,
    TransformRun,
    argument_positions,
    differentiated,
    replaced,
)
from .gradients import JVP, VJP, floating_output, jvp
from .vectorized_map import check_randomness, random_guard

__all__ = ["hessian", "jacfwd", "jacrev", "second_derivatives"]


def _check_real(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Raise RuntimeError for complex tensors, of which blocks would hold half of the derivatives."""
    for word, tensors in (("inputs", inputs), ("outputs", outputs)):
        for k, x in enumerate(tensors):
            if x.is_complex():
                raise RuntimeError(
                    f"{name}: Expected all {word} to be real but received complex tensor at flattened "
                    f"{word[:-1]} idx: {k}; pass view_as_real of it"
                )


def jacrev(
    func: Callable[Parameters, Any], argnums: Argnums = 0, *, has_aux: bool = False,
    chunk_size: int | None = None, _preallocate_and_copy: bool = False,
) -> Callable[Parameters, Any]:  # fmt: skip
    """Return a function that computes the Jacobian of `func` by rows, in reverse mode.

    Elements of the output are differentiated many at a time, in one sweep.

    Parameters
    ----------
    func : callable
        Returns tensors, nested as it likes.
    argnums : int or tuple of int
        The arguments to differentiate with respect to. Each may be a nested container of tensors.
    has_aux : bool
        Whether `func` returns a pair of output and something that is handed through.
    chunk_size : int, optional
        PyTorch's limit to the rows that are computed at once; checked, and not needed here.

    Returns
    -------
    callable
        Returns the Jacobian: the output's structure, with the structure of the arguments in the place
        of each tensor, and there tensors of the output's shape and the argument's, joined.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.func.jacrev(lambda x: x * x)(tg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def wrapper(*args: Any) -> Any:
        with Level() as level:
            run = TransformRun(level, VJP, func, args, argnums, has_aux=has_aux)
            outputs, spec = floating_output(run)
            _check_real("jacrev", run.inputs, outputs)
            blocks = rows(outputs, run.inputs, create_graph=level.outside(outputs))
            return _nested_blocks(run, blocks, spec, has_aux)

    return cast("Callable[Parameters, Any]", wrapper)  # but for keywords


def jacfwd(
    func: Callable[Parameters, Any], argnums: Argnums | None = 0, has_aux: bool = False, *,
    randomness: str = "error",
) -> Callable[Parameters, Any]:  # fmt: skip
    """Return a function that computes the Jacobian of `func` by columns, in forward mode.

    It costs one recorded reverse pass, and a sweep for many elements of the arguments at a time.

    Parameters
    ----------
    func : callable
        Returns tensors, nested as it likes.
    argnums : int, tuple of int or None
        The arguments to differentiate with respect to, all for None. Each may be a nested container of
        tensors.
    has_aux : bool
        Whether `func` returns a pair of output and something that is handed through.
    randomness : {"error", "same", "different"}
        Whether `func` may use random numbers. It runs once for all columns, and with "different" once a
        column, whose numbers are its own.

    Returns
    -------
    callable
        As for `jacrev`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.func.jacfwd(lambda x: tg.stack([x.sum(), x.prod()]))(tg.tensor([2.0, 3.0]))
    tensor([[1., 1.],
            [3., 2.]])
    """

    @functools.wraps(func)
    def wrapper(*args: Any) -> Any:
        check_randomness(randomness)
        if randomness == "different":
            return _one_by_one(func, args, argnums, has_aux)
        with Level(forward=True) as level:
            with random_guard(randomness):
                run = TransformRun(level, JVP, func, args, argnums, has_aux=has_aux, floating=True)
            outputs, spec = run.flat_output()
            _check_real("jacfwd", run.inputs, outputs)
            check_gaps(level.gaps)
            blocks = columns(outputs, run.inputs, create_graph=level.outside(outputs))
            return _nested_blocks(run, blocks, spec, has_aux)

    return cast("Callable[Parameters, Any]", wrapper)  # but for keywords


def _one_by_one(
    func: Callable[..., Any], args: tuple[Any, ...], argnums: Argnums | None, has_aux: bool
) -> Any:
    """The Jacobian from one run of a function for each column; aux from the first run."""
    places = argument_positions(argnums, len(args))
    primals: Any = tuple([args[i] for i in places])

    def of_primals(*values: Any) -> Any:
        return func(*replaced(args, places, values))

    leaves, spec = differentiated(primals, primals)
    blocks: list[list[Any]] = []
    aux: Any = None
    for k, x in enumerate(leaves):
        zeros = [y.new_zeros(y.shape) for y in leaves]
        columns_at_x = []
        for unit in (u for batch in unit_batches(x) for u in batch):
            tangents = trees.unflatten(spec, [*zeros[:k], unit, *zeros[k + 1 :]])
            run = jvp(of_primals, primals, tangents, has_aux=has_aux)
            columns_at_x.append(trees.leaves(run[1]))
            _check_real("jacfwd", leaves, columns_at_x[-1])
            if not blocks and len(columns_at_x) == 1:
                output, aux = run[0], run[2] if has_aux else None
        blocks.append(
            [
                stack(ys, -1).reshape((*ys[0].shape, *x.shape))
                for ys in zip(*columns_at_x, strict=True)
            ]
        )
    block_spec = (
        differentiated(args[argnums], (args[argnums],))[1] if isinstance(argnums, int) else spec
    )
    outputs, out_spec = trees.flatten(output)
    jacobian = trees.unflatten(
        out_spec,
        [trees.unflatten(block_spec, [b[i] for b in blocks]) for i in range(len(outputs))],
    )
    return (jacobian, aux) if has_aux else jacobian


def _by_the_fewer(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], *, create_graph: bool
) -> list[list[Tensor]]:
    """The Jacobian by rows or by columns; a row costs less, as there is nothing to record first."""
    many = sum(y.numel() for y in outputs) > sum(x.numel() for x in inputs)
    return (columns if many else rows)(outputs, inputs, create_graph=create_graph)


def _nested_blocks(
    run: TransformRun, blocks: list[list[Tensor]], spec: trees.Spec, has_aux: bool
) -> Any:
    """The blocks in the structure of the output, and in each place that of the arguments."""
    jacobian = trees.unflatten(
        spec, [trees.unflatten(run.spec, map(run.level.release, row)) for row in blocks]
    )
    return (jacobian, run.aux) if has_aux else jacobian


def hessian(func: Callable[Parameters, Any], argnums: Argnums = 0) -> Callable[Parameters, Any]:
    """Return a function that computes the second derivatives of `func`.

    It is the Jacobian of the gradient: of a function with one value by rows, in one sweep for many of
    them, of others by columns (forward over reverse).

    Parameters
    ----------
    func : callable
        Returns tensors, nested as it likes.
    argnums : int or tuple of int
        The arguments to differentiate with respect to.

    Returns
    -------
    callable
        Returns the same as ``jacfwd(jacrev(func, argnums), argnums)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.func.hessian(lambda x: x[0] * x[1] ** 2)(tg.tensor([2.0, 3.0]))
    tensor([[0., 6.],
            [6., 4.]])
    """

    @functools.wraps(func)
    def wrapper(*args: Any) -> Any:
        return second_derivatives(func, args, argnums)

    return cast("Callable[Parameters, Any]", wrapper)  # but for keywords


def second_derivatives(func: Callable[..., Any], args: Sequence[Any], argnums: Argnums) -> Any:
    """Return the same as ``hessian(func, argnums)(*args)``."""
    with Level() as level:
        with random_guard("error"):
            run = TransformRun(level, VJP, func, args, argnums, floating=True)
        outputs, spec = floating_output(run)
        _check_real("hessian", run.inputs, outputs)
        first = rows(outputs, run.inputs, create_graph=True)
        gradients = [g for row in first for g in row]
        second = iter(_by_the_fewer(gradients, run.inputs, create_graph=level.outside(gradients)))

        def part(row: list[Tensor]) -> Any:
            """The second derivatives for one gradient, by argument."""
            return trees.unflatten(run.spec, map(level.release, row))

        return trees.unflatten(
            spec,
            [trees.unflatten(run.spec, [part(next(second)) for _ in row]) for row in first],
        )
