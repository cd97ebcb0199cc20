"""PyTorch's names of nodes, and the statements that they are of."""

from __future__ import annotations

from ..native import abi as nt
from ..native.handle_type import AnyTensor, TensorHandle
from ..tape import recording as record
from ..tape import versions, views
from ..tape.tape import Tape, slot_of

__all__ = ["AS_STRIDED", "name_of", "source_of"]

#: the name of the node of a view that was written
AS_STRIDED = "AsStridedBackward0"


def name_of(tape: Tape, tensor: TensorHandle, user: int | None = None) -> str:
    """Return PyTorch's name of an active tensor's node, as it was when `user` was recorded."""
    slot = slot_of(tape, tensor)
    instruction = tape.instruction_of(slot)
    op, name = instruction.op, instruction.grad_fn
    numbers = op.number_names
    if numbers:  # PyTorch has names of their own for ops with a Python number
        constants = set(tape.constants.slots.values())
        for i, arg in enumerate(tape.args_of(slot)):
            if arg in constants and i in numbers:
                name = numbers[i]
    end = None if user is None else user - 1
    is_value = op.rewritten or not (op.kind == nt.VIEW or name == AS_STRIDED)
    if versions.last_write(tape, slot, end) > slot:
        # it, or a view of it, was written after it was made
        name = "CopySlices" if is_value else AS_STRIDED
    elif not is_value and not views.is_whole(instruction) and versions.is_behind(tape, slot, end):
        name = AS_STRIDED  # a write without gradients gives a view another node, too
    if name == "CopySlices" and views.state_of(tape, slot).is_view:
        name = AS_STRIDED
    return name


def source_of(tape: Tape, tensor: TensorHandle, user: int | None) -> AnyTensor | None:
    """The tensor of whose statement the node is; None for a leaf.

    Raises
    ------
    RuntimeError
        If there is no such node: PyTorch's error for a view that was made stale.
    """
    slot = slot_of(tape, tensor)
    if user is None and tape.writes and (text := views.invalid(tape, slot)):
        raise RuntimeError(text)
    if tensor.is_leaf:
        return None
    instruction = tape.instruction_of(slot)
    if instruction.op.name == "unpacked":  # another value for a tensor, whose node it keeps
        kept = record.tensor_at(tape, tape.args_of(slot)[0])
        return tensor if kept.is_leaf else source_of(tape, kept, slot)
    args = tape.args_of(slot) if instruction.op.kind == nt.WRITE else []
    if args and args[1]:  # 0: it was passive, and is collected
        # A result that was then written over the whole tensor has its own statement.
        source = record.new_tensor(tape, args[1], instruction.layouts[1])
        same = instruction.layouts[0].shape == instruction.layouts[1].shape
        named = instruction.attrs["named"]
        if same and name_of(tape, source, user) == named == name_of(tape, tensor, user):
            return source
    return tensor
