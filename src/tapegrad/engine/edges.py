"""Gradient edges: outputs of nodes, which stand for tensors as roots and inputs of a reverse pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..base.errors import UnsupportedError
from ..native import abi as nt
from ..tape import recording as record
from ..tape.tape import Tape

__all__ = ["GradientEdge", "as_inputs", "as_roots", "edge_places", "sequence_of"]


class GradientEdge(NamedTuple):
    """An output of a node, which `backward` and `grad` take in the place of a tensor.

    Attributes
    ----------
    node : Node
    output_nr : int
    ownership_token : object
        Keeps the node alive in PyTorch; here the node keeps itself alive.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> edge = tg.autograd.graph.get_gradient_edge(a * a)
    >>> edge.node.name(), edge.output_nr
    ('MulBackward0', 0)
    """

    node: Any
    output_nr: int
    ownership_token: Any = None

    @property
    def tensor(self) -> Any:
        """The output, as a tensor.

        Raises
        ------
        IndexError
            If the node has no such output.
        """
        return self.node.output(self.output_nr)


def edge_places(tape: Tape, k: int) -> list[int]:
    """Numbers of a statement's operands that its node has an edge for, in PyTorch's order.

    Indices and conditions have none; a Python number has one where PyTorch makes a tensor of it.
    """
    instruction, args = tape.instruction_of(k), tape.args_of(k)
    if instruction.op.kind != nt.COMPUTE or instruction.op.python:
        return list(range(len(args)))
    places, last = [], []
    numbers = tape.constants.slots.values()
    for i, layout in enumerate(instruction.layouts):
        if not layout.dtype.is_inexact:
            continue
        if args[i] not in numbers or instruction.op.name == "where":
            places.append(i)
        elif i in instruction.op.number_edges:  # behind the other operand
            last.append(i)
    return places + last


def sequence_of(values: Any) -> tuple[Any, ...]:
    """Return a tuple of one tensor or edge, or of several."""
    if type(values) in (tuple, list):  # but no edge, which is a tuple, too
        return tuple(values)
    one = isinstance(values, GradientEdge) or hasattr(values, "requires_grad")
    return (values,) if one else tuple(values)


def _check_root(value: Any) -> Any:
    """The tensor of a root, if a pass can start there.

    Raises
    ------
    UnsupportedError
        If the edge's value was overwritten after the edge was taken.
    """
    if not isinstance(value, GradientEdge):
        return value
    if value.node.overwritten():
        raise UnsupportedError(
            "backward from a gradient edge whose tensor was written in place after the edge was taken is "
            "not supported; take the edge of tensor.clone(), or after the write"
        )
    return value.tensor


def _tensors(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple([_check_input(v).tensor if isinstance(v, GradientEdge) else v for v in values])


def _check_input(edge: GradientEdge) -> GradientEdge:
    """The edge, if it can be an input."""
    if edge.node.is_left_behind():
        raise UnsupportedError(
            "the gradient edge of a view whose memory was written after the edge was taken is not supported "
            "as an input; take the edge of tensor.clone(), or after the write"
        )
    return edge


def as_roots(values: Any) -> tuple[Any, ...]:
    """The tensors of a pass's roots.

    Raises
    ------
    AssertionError
        PyTorch's, for a value that is neither a tensor nor an edge.
    """
    tensors = tuple([_check_root(v) for v in sequence_of(values)])
    for v in tensors:
        is_tensor = record.is_tensor(v) or hasattr(v, "requires_grad")
        assert is_tensor, "Expected output to be a torch.Tensor"
    return tensors


def as_inputs(values: Sequence[Any]) -> tuple[Any, ...]:
    """The tensors of a pass's inputs.

    Raises
    ------
    RuntimeError
        PyTorch's, for a value that is neither a tensor nor an edge.
    """
    tensors = _tensors(values)
    for v in tensors:
        if not (record.is_tensor(v) or hasattr(v, "requires_grad")):
            raise RuntimeError(
                f"all inputs have to be Tensors or GradientEdges, but got {type(v).__name__}"
            )
    return tensors
