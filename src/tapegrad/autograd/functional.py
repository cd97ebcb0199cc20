"""PyTorch's ``torch.autograd.functional``: Jacobians, Hessians and products with them.

The arguments are tensors or tuples of tensors; `tapegrad.func` has transforms of functions of anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..functions.shape.joining import stack
from ..tape.recording import is_active
from ..tape.user_code import call_user
from ..tensors.tensor import Tensor
from .functional_arguments import (
    FunctionInputs,
    check_active,
    check_one_element,
    checked_product,
    detached_unless,
    tensors,
    unwrapped,
    vector,
)
from .jacobian_products import Pushforward, columns, pull, rows, units
from .transform_level import Level

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

_NO_OUTPUT = "the user-provided function returns a single Tensor with a single element"
_NO_INPUT = "the input to the user-provided function is a single Tensor with a single element"


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Multiply a vector with the Jacobian of a function.

    Parameters
    ----------
    func : callable
        Takes tensors and returns a tensor or a tuple of them.
    inputs : Tensor or tuple of Tensor
    v : Tensor or tuple of Tensor, optional
        Of the shapes of the outputs; not needed for a single element.
    create_graph : bool
        Compute both results in a differentiable way.
    strict : bool
        Raise if an output does not depend on an input, instead of returning zeros.

    Returns
    -------
    outputs : Tensor or tuple of Tensor
        The result of `func`.
    vjp : Tensor or tuple of Tensor
        Of the shapes of the inputs.

    Raises
    ------
    RuntimeError, TypeError
        PyTorch's errors, with its texts.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.autograd.functional.vjp(lambda x: x * x, tg.tensor([1.0, 2.0]), tg.tensor([1.0, 1.0]))
    (tensor([1., 4.]), tensor([2., 4.]))
    """
    with FunctionInputs(inputs, "vjp", create_graph) as arguments:
        is_tuple, outputs = arguments.run(func, strict=strict)
        seeds = vector(v, outputs, is_tuple, "vjp", _NO_OUTPUT, create_graph)
        gradient = pull(outputs, arguments.tensors, seeds, create_graph=create_graph)
        product = checked_product(
            gradient, arguments.tensors, "back", strict=strict, create_graph=create_graph
        )
        return (
            unwrapped(detached_unless(outputs, create_graph), is_tuple),
            unwrapped(detached_unless(product, create_graph), arguments.is_tuple),
        )


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Multiply the Jacobian of a function with a vector.

    Parameters
    ----------
    func, inputs, create_graph, strict
        As for `vjp`.
    v : Tensor or tuple of Tensor, optional
        Of the shapes of the inputs; not needed for a single element.

    Returns
    -------
    outputs : Tensor or tuple of Tensor
        The result of `func`.
    jvp : Tensor or tuple of Tensor
        Of the shapes of the outputs.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.autograd.functional.jvp(lambda x: x * x, tg.tensor([1.0, 2.0]), tg.tensor([1.0, 1.0]))
    (tensor([1., 4.]), tensor([2., 4.]))
    """
    with FunctionInputs(inputs, "jvp", create_graph) as arguments:
        tangents = vector(v, arguments.tensors, arguments.is_tuple, "jvp", _NO_INPUT, create_graph)
        is_tuple, outputs = arguments.run(func, strict=strict)
        push = Pushforward(outputs, arguments.tensors)
        check_active(push.images, "grad_inputs", strict=strict)
        tangents_out = push(_ones(tangents, arguments.tensors), create_graph=create_graph)
        product = checked_product(
            tangents_out, outputs, "back_trick", strict=strict, create_graph=create_graph
        )
        return (
            unwrapped(detached_unless(outputs, create_graph), is_tuple),
            unwrapped(detached_unless(product, create_graph), is_tuple),
        )


def _ones(vectors: Sequence[Tensor | None], like: Sequence[Any]) -> list[Tensor]:
    """The vectors; one where none was given, as none was needed."""
    return [x.new_ones(x.shape) if v is None else v for v, x in zip(vectors, like, strict=True)]


def jacobian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False,
    vectorize: bool = False, strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """Compute the Jacobian of a function.

    Parameters
    ----------
    func, inputs, create_graph, strict
        As for `vjp`.
    vectorize : bool
        Changes nothing here: the pass is prepared once for all rows in any case. It is needed for
        forward mode and excludes `strict`, as in PyTorch.
    strategy : {"reverse-mode", "forward-mode"}
        Whether to go by rows, one for each element of the outputs, or by columns.

    Returns
    -------
    Tensor or nested tuple of Tensor
        Of the output's shape and the input's, joined. With a tuple of outputs, of inputs, or of both, a
        tuple, or a tuple for each output of one tensor for each input.

    Raises
    ------
    RuntimeError, TypeError, NotImplementedError, AssertionError
        PyTorch's errors, with its texts.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.autograd.functional.jacobian(lambda x: x * x, tg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has '
            'more outputs than inputs, "forward-mode" tends to be more performant. Otherwise, prefer to '
            'use "reverse-mode".'
        )
    if strategy == "forward-mode":
        return _forward_jacobian(func, inputs, create_graph, strict, vectorize)
    with FunctionInputs(inputs, "jacobian", create_graph) as arguments:
        is_tuple, outputs = arguments.run(func, strict=strict)
        if vectorize and strict:
            raise RuntimeError(
                "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not "
                "supported together. Please either set `strict=False` or `vectorize=False`."
            )
        compute = _strict_rows if strict else rows
        blocks = compute(outputs, arguments.tensors, create_graph=create_graph)
        return _nested(
            [detached_unless(r, create_graph) for r in blocks], is_tuple, arguments.is_tuple
        )


def _nested(blocks: Sequence[Sequence[Tensor]], by_output: bool, by_input: bool) -> Any:
    return unwrapped([unwrapped(row, by_input) for row in blocks], by_output)


def _strict_rows(
    outputs: Sequence[Any], inputs: Sequence[Any], *, create_graph: bool
) -> list[list[Tensor]]:
    """`rows`, each of which is looked at: none may be independent of an input."""
    blocks: list[list[Tensor]] = []
    for i, y in enumerate(outputs):
        rows_of_output: list[list[Tensor]] = []
        for seed in (seed for batch in units(y) for seed in batch):
            row = pull([y], inputs, [seed], create_graph=create_graph, retain_graph=True)
            for k, g in enumerate(row):
                if g is None:
                    raise RuntimeError(
                        f"Output {i} of the user-provided function is independent of input {k}. This is "
                        "not allowed in strict mode."
                    )
                if create_graph and not is_active(g):
                    raise RuntimeError(
                        f"The jacobian of the user-provided function is independent of input {i}. This "
                        "is not allowed in strict mode when create_graph=True."
                    )
            rows_of_output.append([g for g in row if g is not None])
        blocks.append(
            [
                stack([r[k] for r in rows_of_output]).reshape((*y.shape, *x.shape))
                for k, x in enumerate(inputs)
            ]
        )
    return blocks


def _forward_jacobian(
    func: Callable[..., Any], inputs: Any, create_graph: bool, strict: bool, vectorize: bool
) -> Any:
    name = "torch.autograd.functional.jacobian: "
    for wrong, option in ((create_graph, "create_graph"), (strict, "strict")):
        if wrong:
            error = NotImplementedError if option == "create_graph" else RuntimeError
            raise error(
                f'{name}`{option}=True` and `strategy="forward-mode"` are not supported together (yet). '
                f'Please either set `{option}=False` or `strategy="reverse-mode"`.'
            )
    by_input, primals = tensors(inputs, "inputs", "jacobian")
    if not vectorize:
        raise NotImplementedError(
            "Computing Jacobian using forward-AD or forward-over-reverse Hessian isonly implemented for "
            "`vectorize=True`."
        )
    with Level(forward=True) as level:
        lifted = [level.lift(x) for x in primals]
        handed = [level.handed(x) for x in lifted]
        by_output, outputs = tensors(call_user(func, *handed), "outputs", "jacobian")
        blocks = columns(outputs, lifted, create_graph=level.outside(outputs))
        return _nested([[level.release(b) for b in row] for row in blocks], by_output, by_input)


def hessian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False,
    vectorize: bool = False, outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """Compute the second derivatives of a function.

    Parameters
    ----------
    func : callable
        Takes tensors and returns one tensor with one element.
    inputs, create_graph, strict, vectorize
        As for `jacobian`.
    outer_jacobian_strategy : {"reverse-mode", "forward-mode"}
        How the Jacobian of the gradient is computed; see `jacobian`.

    Returns
    -------
    Tensor or tuple of tuple of Tensor
        Of the input's shape, twice; with a tuple of inputs, one for each pair of them.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.autograd.functional.hessian(lambda x: (x**3).sum(), tg.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    is_tuple, inputs = tensors(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def scalar(*args: Tensor) -> Any:
        returned = call_user(func, *args)
        by_tuple, outputs = tensors(returned, "outputs of the user-provided function", "hessian")
        check_active(outputs, "outputs", strict=strict)
        check_one_element(by_tuple, outputs, "hessian")
        return outputs[0].squeeze()

    def gradient(*args: Tensor) -> Any:
        blocks = jacobian(scalar, args, create_graph=True)
        check_active(blocks, "jacobian", strict=strict)
        return blocks

    blocks = jacobian(
        gradient, inputs, create_graph=create_graph, strict=strict, vectorize=vectorize,
        strategy=outer_jacobian_strategy,
    )  # fmt: skip
    return _nested(blocks, is_tuple, is_tuple)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Multiply a vector with the Hessian of a function, by two reverse passes.

    Parameters
    ----------
    func : callable
        Takes tensors and returns one tensor with one element.
    inputs, create_graph, strict
        As for `vjp`.
    v : Tensor or tuple of Tensor, optional
        Of the shapes of the inputs; not needed for a single element.

    Returns
    -------
    output : Tensor
        The result of `func`.
    vhp : Tensor or tuple of Tensor
        Of the shapes of the inputs.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.autograd.functional.vhp(lambda x: (x**3).sum(), tg.tensor([1.0, 2.0]), tg.ones(2))
    (tensor(9.), tensor([ 6., 12.]))
    """
    return _hessian_product(func, inputs, v, create_graph, strict, "vhp")


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Multiply the Hessian of a function with a vector, forward over reverse.

    Where the second derivatives are continuous that is what `vhp` returns, which costs less.

    Parameters
    ----------
    func, inputs, v, create_graph, strict
        As for `vhp`.

    Returns
    -------
    output : Tensor
        The result of `func`.
    hvp : Tensor or tuple of Tensor
        Of the shapes of the inputs.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.autograd.functional.hvp(lambda x: (x**3).sum(), tg.tensor([1.0, 2.0]), tg.ones(2))
    (tensor(9.), tensor([ 6., 12.]))
    """
    return _hessian_product(func, inputs, v, create_graph, strict, "hvp")


def _hessian_product(
    func: Callable[..., Any], inputs: Any, v: Any, create_graph: bool, strict: bool, name: str
) -> tuple[Any, Any]:
    with FunctionInputs(inputs, name, create_graph) as arguments:
        primals = arguments.tensors
        vectors = vector(v, primals, arguments.is_tuple, name, _NO_INPUT, create_graph)
        is_tuple, outputs = arguments.run(func, strict=strict)
        check_one_element(is_tuple, outputs, name)
        gradient = pull(outputs, primals, create_graph=True)
        check_active(gradient, "jacobian", strict=strict)
        reached = [g for g in gradient if g is not None]
        products: list[Tensor | None]
        if name == "vhp":
            weights = [u for g, u in zip(gradient, vectors, strict=True) if g is not None]
            products = pull(reached, primals, weights, create_graph=create_graph)
        else:
            push = Pushforward(reached, primals)
            rest = iter(push(_ones(vectors, primals), create_graph=create_graph))
            products = [None if g is None else next(rest) for g in gradient]
        stage = "double_back" if name == "vhp" else "double_back_trick"
        product = checked_product(
            products, primals, stage, strict=strict, create_graph=create_graph
        )
        return (
            unwrapped(detached_unless(outputs, create_graph), False),
            unwrapped(detached_unless(product, create_graph), arguments.is_tuple),
        )
