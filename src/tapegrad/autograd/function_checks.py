"""Arguments and results of a Function's methods, checked, with PyTorch's errors."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..tape import pytree as trees
from ..tape import readout, versions
from ..tape import recording as record
from ..tape.current import current_tape
from ..tape.tape import Tape
from ..tensors.tensor import Tensor
from .grad_mode import no_grad

__all__ = [
    "MORE",
    "apart",
    "check_dirty",
    "checked_gradient",
    "checked_rule",
    "checked_tangent",
    "count_write",
    "in_parameter_order",
    "savable",
]

#: where PyTorch says more of Functions under transforms
MORE = "For more details, please see https://pytorch.org/docs/main/notes/extending.func.html"


def savable(name: str, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the tensors; raise PyTorch's error if one is none."""
    for i, t in enumerate(tensors):
        if t is not None and not record.is_tensor(t):
            raise TypeError(
                f"{name} can only save variables, but argument {i} is of type {type(t).__name__}"
            )
    return tensors


def checked_gradient(
    gradient: Any, i: int, name: str, tape: Tape, slot: int, needed: bool
) -> Tensor | None:  # fmt: skip
    """One gradient that ``backward`` returned, fitted to its argument; None if that needs none."""
    if gradient is None:
        return None
    if not record.is_tensor(gradient):
        raise RuntimeError(f"expected Variable or None (got {type(gradient).__name__})")
    if not needed:
        return None
    layout = tape.instruction_of(slot).out
    if not layout.dtype.is_inexact:
        return None
    if gradient.shape != layout.shape:
        message = (
            f"Function {name} returned an invalid gradient at index {i} - got "
            f"{list(gradient.shape)} but expected shape compatible with {list(layout.shape)}"
        )
        try:
            gradient = gradient.sum_to_size(layout.shape)
        except RuntimeError:
            raise RuntimeError(message) from None
    return record.cast(gradient, layout.dtype)


def count_write(tensor: Any) -> None:
    """Count `mark_dirty` as a write to a passive tensor."""
    record.adopt(tensor)
    tape = current_tape()
    with tape.lock:
        versions.note_write_from_python(tape, record.operand(tape, tensor))


def check_dirty(dirty: Sequence[Any], args: Sequence[Any], outputs: list[Any]) -> None:
    """Raise PyTorch's errors for inputs that cannot be written, or were not returned.

    A tensor that is no input is warned about.
    """
    for t in dirty:
        if all(t is not a for a in args):
            warnings.warn(
                "ctx.mark_dirty() received a tensor that was not an input. Only input Tensors that "
                "have been mutated should be passed to ctx.mark_dirty().",
                stacklevel=4,
            )
        tape = current_tape()
        if t.requires_grad and (t.is_leaf or readout.is_input(tape, record.operand(tape, t))):
            raise RuntimeError(
                "a leaf Variable that requires grad has been used in an in-place operation."
            )
    if any(all(t is not y for y in outputs) for t in dirty):
        raise RuntimeError(
            "Some elements marked as dirty during the forward method were not returned as output. The "
            "inputs that are modified inplace must all be outputs of the Function."
        )


def apart(ctx: Any, args: tuple[Any, ...], outputs: list[Any]) -> list[Any]:
    """The outputs, with a view in the place of each that is an input and was not written."""
    inputs = set(map(id, args)).difference(map(id, ctx._dirty))
    if inputs.isdisjoint(map(id, outputs)):
        return outputs
    results = list(outputs)
    with no_grad():
        for j, y in enumerate(outputs):
            if id(y) in inputs and record.is_tensor(y):
                results[j] = y.view_as(y)
                if any(y is t for t in ctx._passive):
                    ctx._passive = (*ctx._passive, results[j])
    return results


def in_parameter_order(
    forward: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any], *, takes_ctx: bool
) -> tuple[Any, ...]:
    """The arguments of ``forward``, with those that were given by name or, without a ctx, not at all.

    Raises
    ------
    TypeError
        For a name that is none of a positional parameter.
    """
    try:
        signature = inspect.signature(forward)
    except ValueError:  # a builtin
        return args
    if not takes_ctx:
        bound = signature.bind(*args, **named)
        bound.apply_defaults()
        return bound.args
    rest, positional = dict(named), list(args)
    for p in list(signature.parameters.values())[1 + len(args) :]:
        unknown = p.name not in rest and p.default is p.empty
        if not rest or p.kind is not p.POSITIONAL_OR_KEYWORD or unknown:
            break
        positional.append(rest.pop(p.name, p.default))
    if rest:
        raise TypeError(f"forward() got an unexpected keyword argument {next(iter(rest))!r}")
    return tuple(positional)


def checked_tangent(context: Any, number: int, tangent: Any) -> Any:
    """A tangent that ``jvp`` returned, if it fits to its output."""
    if tangent is None:
        return None
    if not record.is_tensor(tangent):
        raise RuntimeError(
            f"expected Variable or None (got {type(tangent).__name__}) for grad output {number}."
        )
    shape, _ = context._shapes[number]
    if tuple(tangent.shape) != shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original "
            f"Tensor, this is not supported. Tensor is of size {list(shape)} while the given forward "
            f"gradient is of size {list(tangent.shape)}."
        )
    return tangent


def checked_rule(returned: Any) -> tuple[Any, list[int | None]]:
    """The two parts of what ``vmap`` returned: the output, and the dimension of each of its leaves.

    Raises
    ------
    RuntimeError
        PyTorch's errors, with its texts.
    """
    if not (isinstance(returned, tuple) and len(returned) == 2):
        got = f"{len(returned)} returns" if isinstance(returned, tuple) else f"a {type(returned)}"
        raise RuntimeError(
            "Expected the vmap staticmethod to have two returns, an output and out_dims with pytree "
            f"structure compatible with the output. Got {got} instead"
        )
    output, out_dims = returned
    places = trees.broadcast(out_dims, output)
    if places is None:
        raise RuntimeError(
            "The autograd.Function's vmap staticmethod returned an incompatible (output, out_dims) "
            f"tuple. Expected out_dims={out_dims} to be compatible with the structure of `output`. "
            f"out_dims has structure {trees.text(trees.flatten(out_dims)[1])} but output has structure "
            f"{trees.text(trees.flatten(output)[1])}. {MORE}"
        )
    return output, places
