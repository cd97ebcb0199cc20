"""Arguments and results of the functions of functional.py: tuples, copies on a level, strict mode.

All errors are PyTorch's, with its texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..functions.arguments import from_array
from ..tape.readout import GUARDED, depends_on_inputs
from ..tape.recording import is_active, is_tensor
from ..tape.user_code import call_user
from ..tensors.tensor import Tensor
from .grad_mode import recording
from .jacobian_products import zeros_for_none
from .transform_level import Level

__all__ = [
    "FunctionInputs", "check_active", "check_one_element", "checked_product", "detached_unless",
    "tensors", "unwrapped", "vector",
]  # fmt: skip

OUTPUTS = "outputs of the user-provided function"


def tensors(values: Any, role: str, function: str) -> tuple[bool, tuple[Tensor, ...]]:
    """Return True if the user gave a tuple, and the tuple.

    Raises
    ------
    TypeError
        If it is not made of tensors.
    """
    is_tuple = isinstance(values, tuple)
    entries = values if is_tuple else (values,)
    if role != OUTPUTS:
        entries = tuple(
            [
                from_array(x) if isinstance(x, np.ndarray | np.generic | float) else x
                for x in entries
            ]
        )
    for i, x in enumerate(entries):
        if not is_tensor(x):
            which = f"value at index {i}" if is_tuple else f"given {role}"
            raise TypeError(
                f"The {role} given to {function} must be either a Tensor or a tuple of Tensors but the "
                f"{which} has type {type(x)}."
            )
    return is_tuple, entries


def unwrapped(values: Sequence[Any], is_tuple: bool) -> Any:
    """Undo `tensors`: a single value for a single tensor."""
    return tuple(values) if is_tuple else values[0]


def detached_unless(values: Sequence[Tensor], create_graph: bool) -> tuple[Tensor, ...]:
    """Results for the user: passive, unless a graph was asked for."""
    return tuple(values) if create_graph else tuple([t.detach() for t in values])


class FunctionInputs(Level):
    """A level, and the arguments of a user's function on it.

    With `create_graph` an active tensor is lifted to a copy on its graph, all others to leaves.
    """

    def __init__(self, inputs: Any, function: str, create_graph: bool) -> None:
        super().__init__(guards=False, tracked=create_graph)
        self.is_tuple, arguments = tensors(inputs, "inputs", function)
        if not create_graph and depends_on_inputs(arguments):
            raise RuntimeError(GUARDED["requires_grad_"])  # the results would count as constants
        with recording():
            self.tensors = tuple([self.lift(x) for x in arguments])
        self._function = function

    def run(self, func: Callable[..., Any], *, strict: bool) -> tuple[bool, tuple[Tensor, ...]]:
        """Call a function; return True if it returned a tuple, and the tuple."""
        is_tuple, outputs = tensors(call_user(func, *self.tensors), OUTPUTS, self._function)
        check_active(outputs, "outputs", strict=strict)
        return is_tuple, outputs


def vector(
    v: Any, like: Sequence[Tensor], is_tuple: bool, function: str, missing: str,
    create_graph: bool,
) -> list[Tensor | None]:  # fmt: skip
    """The vector of a product with a Jacobian, checked against the shapes of `like`.

    Parameters
    ----------
    v : Tensor, tuple of Tensor or None
    like : sequence of Tensor
    is_tuple : bool
        Whether those are a tuple for the user.
    function : str
    missing : str
        Said in the error if there is no vector and more than one element.
    create_graph : bool
    """
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(f"The vector v can only be None if {missing}.")
        return [None]
    _, vectors = tensors(v, "v", function)
    if len(vectors) != len(like):
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(like)} but got {len(vectors)}."
            if is_tuple
            else "The given v should contain a single Tensor."
        )
    for i, (entry, other) in enumerate(zip(vectors, like, strict=True)):
        if entry.shape != other.shape:
            prefix = f"Entry {i} in " if is_tuple else ""
            raise RuntimeError(
                f"{prefix}v has invalid size: should be {other.shape} but got {entry.shape}."
            )
    return [t if create_graph else t.detach() for t in vectors]


def check_one_element(is_tuple: bool, outputs: Sequence[Any], function: str) -> None:
    """Raise unless a function returned one tensor with one element."""
    if is_tuple:
        raise RuntimeError(f"The function given to {function} should return a single Tensor")
    if outputs[0].numel() != 1:
        raise RuntimeError(
            f"The Tensor returned by the function given to {function} should contain a single element"
        )


_PASSIVE = {
    "outputs": (
        "Output {i} of the user-provided function does not require gradients. The outputs must be "
        "computed in a differentiable manner from the input when running in strict mode."
    ),
    "grad_inputs": (
        "The gradient with respect to input {i} is independent of the inputs of the user-provided "
        "function. This is not allowed in strict mode."
    ),
    "jacobian": (
        "While computing the hessian, found that the jacobian of the user-provided function with "
        "respect to input {i} is independent of the input. This is not allowed in strict mode. You "
        "should ensure that your function is twice differentiable and that the jacobian depends on the "
        "inputs (this would be violated by a linear function for example)."
    ),
}
INDEPENDENT = (
    "The output of the user-provided function is independent of input {i}. This is not allowed in "
    "strict mode."
)
#: stage of a computation -> the error of strict mode for None
_MISSING = {
    "back": INDEPENDENT,
    "back_trick": (
        "The gradient with respect to the input is independent of entry {i} in the grad_outputs when "
        "using the double backward trick to compute forward mode gradients. This is not allowed in "
        "strict mode."
    ),
    "double_back": (
        "The jacobian of the user-provided function is independent of input {i}. This is not allowed in "
        "strict mode."
    ),
    "double_back_trick": (
        "The hessian of the user-provided function is independent of entry {i} in the grad_jacobian. "
        "This is not allowed in strict mode as it prevents from using the double backward trick to "
        "replace forward mode AD."
    ),
}


def check_active(values: Sequence[Tensor | None], stage: str, *, strict: bool) -> None:
    """In strict mode, raise unless all values can be differentiated."""
    if not strict:
        return
    for i, t in enumerate(values):
        if t is None:
            raise RuntimeError(INDEPENDENT.format(i=i))
        if not is_active(t):
            raise RuntimeError(_PASSIVE[stage].format(i=i))


def checked_product(
    values: Sequence[Tensor | None], like: Sequence[Any], stage: str, *, strict: bool,
    create_graph: bool,
) -> list[Tensor]:  # fmt: skip
    """Zeros of the shapes of `like` in the place of None; in strict mode that is an error."""
    for i, t in enumerate(values if strict else ()):
        if t is None:
            raise RuntimeError(_MISSING[stage].format(i=i))
        if create_graph and not is_active(t):
            which = "hessian" if "double" in stage else "jacobian"
            raise RuntimeError(
                f"The {which} of the user-provided function is independent of input {i}. This is not "
                "allowed in strict mode when create_graph=True."
            )
    return zeros_for_none(values, like)
