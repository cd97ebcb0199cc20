"""`SavedTensor`: one tensor that a statement saved, to which a user gives hooks afterwards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ..base import torch_messages as messages
from ..native import abi as nt
from ..tape import recording as record
from ..tape.tape import Tape
from . import saved_tensors as saved

__all__ = ["SavedTensor"]


class SavingNode(Protocol):
    """A node (node.py), as its saved tensors know it."""

    def _context(self) -> Any: ...

    def _place(self) -> tuple[Tape, int]: ...


def _same(tensor: Any) -> Any:
    return tensor


class SavedTensor:
    """A saved tensor, as ``node._raw_saved_self`` and the like return it; only nodes make them.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> saved = a.exp().grad_fn._raw_saved_result
    >>> type(saved).__name__
    'SavedTensor'
    """

    #: function that passes the tensor through hooks
    _pack: Callable[[saved.PackingHooks], None]

    def __init__(self, *_: object) -> None:
        raise RuntimeError(
            "Trying to create a SavedTensor object from Python is forbidden. Did you mean to use "
            "node._raw_saved_self, or saved_tensors_hooks?"
        )

    @classmethod
    def _of(cls, pack: Callable[[saved.PackingHooks], None]) -> SavedTensor:
        tensor: SavedTensor = object.__new__(cls)
        tensor._pack = pack
        return tensor

    @classmethod
    def named(cls, node: SavingNode, name: str) -> Any:
        """Return that of a node's saved tensor, by PyTorch's name; a tuple for `tensors`.

        None if the node saves nothing under this name.

        Raises
        ------
        RuntimeError
            If the tensors that a Function saved were freed.
        """
        context = node._context()
        if context is not None:
            if name != "tensors":
                return None
            count = context.saved_count()
            return tuple([cls._of(partial(_pack_of_function, node, i)) for i in range(count)])
        tape, k = node._place()
        with tape.lock:
            known = saved.saved_names(tape, k)
        return cls._of(partial(_pack_of_statement, node, name)) if name in known else None

    def register_hooks(self, pack_hook: Callable[[Any], Any], *unpack_hook: Any) -> None:
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
        if len(unpack_hook) != 1 or not (callable(pack_hook) and callable(unpack_hook[0])):
            raise TypeError(
                "register_hooks(): incompatible function arguments: two callables are needed"
            )
        self._pack(saved.PackingHooks(pack_hook, unpack_hook[0]))


def _settled(node: SavingNode) -> None:
    """Make room and evaluate pending statements, as hooks may record."""
    tape, _ = node._place()
    tape.make_room()
    tape.settle()


def _check_new(is_known: bool, has_hooks: bool) -> None:
    if not is_known:
        raise RuntimeError("Calling register_hooks on a saved tensor with value None is forbidden")
    if has_hooks:
        raise RuntimeError(
            "Calling register_hooks on a saved tensor whose hooks have already been set. Hint: "
            "only one pair of hooks is allowed at a time."
        )


def _pack_of_function(node: SavingNode, number: int, hooks: saved.PackingHooks) -> None:
    """Pass a tensor that a Function saved through hooks."""
    _settled(node)
    context = node._context()
    assert context is not None
    tape = context.place[0]
    with tape.lock:
        _check_new(*context.saved_state(number))
        tape.counted += 1
        try:
            context.pack_again(number, hooks)
        finally:
            tape.counted -= 1


def _pack_of_statement(node: SavingNode, name: str, hooks: saved.PackingHooks) -> None:
    """Pass a tensor that a statement saved through hooks."""
    _settled(node)
    tape, k = node._place()
    with tape.lock:
        if tape.flags[k] & nt.FREED:
            raise RuntimeError(messages.FREED)
        place = saved.saved_names(tape, k)[name]
        earlier = tape.contexts.get(k)
        known = earlier if isinstance(earlier, saved.Saved) else _kept_as_it_is(tape, k)
        packed = known.packed.get(place)
        _check_new(packed is not None, packed is not None and packed.unpack_hook is not _same)
        slot = tape.args_of(k)[place] if place < len(tape.args_of(k)) else k
        tape.counted += 1
        try:
            known.packed[place] = hooks.pack(record.tensor_at(tape, slot))
        finally:
            tape.counted -= 1
        if known is not earlier:
            tape.contexts[k] = known
            new = saved.handed_over(tape.instruction_of(k))
            tape.instruction[k] = new.id


def _kept_as_it_is(tape: Tape, k: int) -> saved.Saved:
    """Pack the residuals of a statement as they are."""
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
