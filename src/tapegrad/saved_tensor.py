"""`SavedTensor`: one tensor that a statement saved, to which a user gives hooks afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import messages, record, saved
from . import native as nt
from .tape import Tape

if TYPE_CHECKING:
    from .node import Node

__all__ = ["SavedTensor"]


def _same(tensor: Any) -> Any:
    return tensor


class SavedTensor:
    """What ``node._raw_saved_self`` and the like return; it is made by nodes only."""

    _node: Node
    _name: str

    def __init__(self, *_: object) -> None:
        raise TypeError(
            "Trying to create a SavedTensor object from Python is forbidden. Did you mean to use "
            "node._raw_saved_self, or saved_tensors_hooks?"
        )

    @classmethod
    def of(cls, node: Node, name: str) -> SavedTensor:
        """Make that of a node's saved tensor."""
        tensor: SavedTensor = object.__new__(cls)
        tensor._node, tensor._name = node, name
        return tensor

    def register_hooks(self, pack_hook: Callable[[Any], Any], unpack_hook: Any) -> None:
        """Pass the tensor through hooks, as `saved_tensors_hooks` would have done.

        Parameters
        ----------
        pack_hook : callable
            Called now, with the tensor.
        unpack_hook : callable
            Called by each pass that needs the tensor, with what `pack_hook` returned.

        Raises
        ------
        RuntimeError
            If it has hooks, was freed, or is no tensor.
        TypeError
            For hooks that cannot be called.
        """
        if not (callable(pack_hook) and callable(unpack_hook)):
            raise TypeError(
                "register_hooks(): incompatible function arguments: two callables are needed"
            )
        tape, k = self._node._place()
        tape.make_room()
        tape.settle()
        tape, k = self._node._place()
        with tape.lock:
            if tape.flags[k] & nt.FREED:
                raise RuntimeError(messages.FREED)
            place = saved.saved_names(tape, k)[self._name]
            given = tape.contexts.get(k)
            known = given if isinstance(given, saved.Saved) else _kept_as_it_is(tape, k)
            if place not in known.packed:
                raise RuntimeError(
                    "Calling register_hooks on a saved tensor with value None is forbidden"
                )
            if known.packed[place].unpack_hook is not _same:
                raise RuntimeError(
                    "Calling register_hooks on a saved tensor whose hooks have already been set. Hint: "
                    "only one pair of hooks is allowed at a time."
                )
            slot = tape.args_of(k)[place] if place < len(tape.args_of(k)) else k
            hooks = saved.Hooks(pack_hook, unpack_hook)
            tape.counted += 1
            try:
                known.packed[place] = hooks.pack(record.tensor_at(tape, slot))
            finally:
                tape.counted -= 1
            if known is not given:
                tape.contexts[k] = known
                new = saved.handed_over(tape.instruction_of(k))
                tape.instruction[k] = new.id


def _kept_as_it_is(tape: Tape, k: int) -> saved.Saved:
    """What a statement saves, packed as it is."""
    known, args = saved.Saved(), tape.args_of(k)
    numbers = tape.constants.slots.values()
    for place in saved.residuals(tape, tape.instruction_of(k), k):
        slot = args[place] if place < len(args) else k
        layout = tape.instruction_of(slot).out
        if slot in numbers:
            known.numbers[place] = tape.value(slot, layout).item()
        else:
            alias = record.new_tensor(tape, slot, layout).detach()
            known.packed[place] = saved.Packed(alias, _same)
    return known
