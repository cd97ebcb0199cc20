"""Residuals, which statements save for backward, passed through a user's hooks (``saved_tensors_hooks``).

While such hooks are active, recording goes through Python (``tape.saving``), and `PackingHooks.pack` looks at
each new statement. The residuals that its VJP programs read (`residuals`) are given to the pack hook,
and its result is kept in the tape's books (``tape.contexts``, as for a Function) in the place of
the values: the statement gets another instruction (`handed_over`), one without programs, which keeps
nothing and which a reverse pass hands to Python. There python_steps.py evaluates the op's rule on the
results of the unpack hook.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from copy import copy
from functools import cache, partial
from typing import Any

import numpy as np

from ..base import torch_messages as messages
from ..base.dtypes import type_name
from ..base.locks import TABLE_LOCK
from ..native import abi as nt
from ..native.exchange import Exchange, Exchanged
from ..native.handle_type import AnyTensor, TensorHandle
from ..ops.instruction import CACHES, ITAB, VTAB, Instruction, new_number
from ..ops.instruction import instruction as instruction_for
from ..ops.layout import Layout, contiguous
from ..ops.program import holding
from ..ops.table import TABLE
from ..rules.program_table import build
from ..tape import recording as record
from ..tape import versions
from ..tape.current import current_tape
from ..tape.tape import Tape
from ..tape.user_code import call_user

__all__ = ["Packed", "PackingHooks", "Saved", "disabled", "pushed", "suspended"]


_WRITTEN = (
    "a tensor that was saved through saved_tensors_hooks was written in place since, and now its own "
    "derivative is needed; save a clone under no hooks, or write to a clone"
)


class _Disabled(threading.local):
    """The message of a thread in which hooks are disabled."""

    message: str | None = None


_disabled = _Disabled()


# --------------------------------------------------------------------------- hooks
class PackingHooks:
    """A pair of a user's hooks: one packs what is saved, one unpacks it."""

    def __init__(self, pack: Callable[[Any], Any], unpack: Callable[[Any], Any]) -> None:
        self.pack_hook, self.unpack_hook = pack, unpack

    def __call__(self, tape: Tape, k: int) -> None:
        """Pack the residuals of a statement just appended; undo the statement, should a hook raise."""
        instruction = tape.instruction_of(k)
        if instruction.op.kind != nt.COMPUTE or instruction.op.python or not tape.is_active(k):
            return
        end = tape.count
        tape.counted += 1  # slots are known by number here, too: they stay
        try:
            saved = Saved()
            constants = tape.constants.slots.values()
            args = tape.args_of(k)
            for place in self.places(tape, instruction, k):
                slot = args[place] if place < len(args) else k
                layout = tape.instruction_of(slot).out
                if slot in constants:  # a number in the program: PyTorch saves no tensor either
                    number = tape.value(slot, layout).item()
                    saved.numbers[place] = number
                else:
                    saved.packed[place] = self.pack_slot(tape, slot, place < len(args))
        except BaseException:
            # Statements of the hook may have written to older slots: they stay.
            if tape.count == end:
                tape.undo(k)
            raise
        finally:
            tape.counted -= 1
        if saved.packed:
            tape.contexts[k] = saved
            new = handed_over(instruction)
            tape.instruction[k] = new.id

    def places(self, tape: Tape, instruction: Instruction, k: int) -> list[int]:
        """Numbers of the operands, and of the result, that are packed of a statement."""
        return residuals(tape, instruction, k)

    def pack_slot(self, tape: Tape, slot: int, is_operand: bool) -> Packed:
        """Give the pack hook the value of a slot."""
        packed = self.pack(record.tensor_at(tape, slot))
        if is_operand:
            self.keep_origin(tape, slot, packed)
        return packed

    def keep_origin(self, tape: Tape, slot: int, packed: Packed) -> None:
        """Note the tensor that an operand's derivatives are to be taken of, if not of its slot."""

    def pack(self, tensor: TensorHandle) -> Packed:
        """Give the pack hook a tensor made for it.

        Raises
        ------
        RuntimeError
            If the hook wrote to it.
        """
        tape = current_tape()
        slot = record.operand(tape, tensor)
        before, mode = versions.version_of(tape, slot), tape.grad_mode
        tape.state[nt.S_GRAD_MODE] = False
        try:
            value = call_user(self.pack_hook, tensor)
            slot = record.operand(tape, tensor)
            if versions.version_of(tape, slot) != before:
                raise RuntimeError(
                    "A saved tensor pack hook is modifying its input in place. Tensors provided as "
                    "input to pack hook cannot be modified by in-place operations as this can lead to "
                    "unexpected side-effects. Please open an issue if you need to perform in-place "
                    "operations on the input to a pack hook."
                )
            if record.is_active(tensor) and not tensor.is_leaf:
                # Should the hook keep the tensor, it must keep the value only: its graph would keep
                # the statement that keeps the hook's result.
                alias = tensor.detach()
                record.bind_to(tensor, tape, record.operand(tape, alias), record.layout_of(alias))
        finally:
            tape.state[nt.S_GRAD_MODE] = mode
        return Packed(value, self.unpack_hook)


class Packed:
    """A value that a pack hook returned, with the hook that unpacks it.

    Attributes
    ----------
    value : object
    unpack_hook : callable
    origin : Tensor or None
        A copy, of the moment, with the graph: for derivatives, should the slot be written later.
    """

    __slots__ = ("origin", "unpack_hook", "value")

    def __init__(
        self, value: Any, unpack_hook: Callable[[Any], Any], origin: TensorHandle | None = None
    ) -> None:
        self.value, self.unpack_hook, self.origin = value, unpack_hook, origin

    def unpack(self) -> AnyTensor:
        """Return the tensor that the unpack hook makes of the value.

        Raises
        ------
        TypeError
            If that is not a Tensor.
        """
        tensor = call_user(self.unpack_hook, self.value)
        if not record.is_tensor(tensor):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                f"{type(tensor).__name__}"
            )
        return tensor

    def value_of(self, tape: Tape, slot: int, layout: Layout, user: int | None = None) -> AnyTensor:
        """The unpacked tensor in the place of a slot: its value, and the slot's derivatives.

        The slot is 0 where the collector dropped a passive operand; `user` is the statement that saved it.

        Raises
        ------
        RuntimeError
            If the unpack hook returned a tensor of another shape, or the slot's derivatives are needed
            and it was written since.
        """
        original = None  # a handle: the hook may collect, and then the slot has another number
        if tape.grad_mode and tape.is_active(slot):
            original = self.origin
            if original is None:
                if user is not None and versions.last_write(tape, slot) > user:
                    raise RuntimeError(_WRITTEN)
                original = record.new_tensor(tape, slot, layout)
        tensor = record.cast(self.unpack(), layout.dtype)
        if tensor.shape != layout.shape:
            raise RuntimeError(
                f"a saved tensor unpack hook returned a tensor of shape {list(tensor.shape)} in the "
                f"place of one of shape {list(layout.shape)}"
            )
        if not record.layout_of(tensor).is_contiguous:
            tensor = record.apply(TABLE["clone"], (tensor,))
        if original is None:
            return tensor
        return record.apply(TABLE["unpacked"], (original, tensor.detach()))


class Saved:
    """The packed residuals of a statement, in ``tape.contexts``.

    Attributes
    ----------
    packed : dict
        Number of an operand (of the result, behind them) -> Packed.
    numbers : dict
        The same for Python numbers.
    place : (Tape, int) or None
        Where the statement is, while a pass has come by it.
    """

    __slots__ = ("numbers", "packed", "place")

    def __init__(self) -> None:
        self.packed: dict[int, Packed] = {}
        self.numbers: dict[int, float | int | bool] = {}
        self.place: tuple[Tape, int] | None = None

    def values(self, tape: Tape, k: int) -> dict[int, int]:
        """Slots with the unpacked values."""
        instruction, args = tape.instruction_of(k), tape.args_of(k)
        slots: dict[int, int] = {}
        layouts = instruction.layouts
        tensors = []  # keeps the tensors until their slots have been used for more
        for place, packed in self.packed.items():
            is_operand = place < len(args)
            layout = layouts[place] if is_operand else instruction.out
            if not is_operand and self._is_to_be_rebuilt(tape, k):
                again = [record.new_tensor(tape, slots[i], layouts[i]) for i in range(place)]
                tensors.append(record.apply(instruction.op, again, **instruction.attrs))
            else:
                slot = args[place] if is_operand else k
                tensors.append(packed.value_of(tape, slot, layout, k))
            slots[place] = record.operand(tape, tensors[-1])
        for place, number in self.numbers.items():
            slots[place] = tape.constant(number, layouts[place].dtype)
        return slots

    def _is_to_be_rebuilt(self, tape: Tape, k: int) -> bool:
        """Return True if the derivatives of a result are needed that was written since, and can be had."""
        operands = len(tape.instruction_of(k).layouts)
        known = len(self.packed) - 1 + len(self.numbers) == operands
        return known and tape.grad_mode and versions.last_write(tape, k) > k

    def release(self) -> None:
        """Drop it: a pass that keeps no graph has run."""
        if self.place is not None:
            tape, k = self.place
            tape.flags[k] |= nt.FREED
            self.place = None
            self.packed, self.numbers = {}, {}


# --------------------------------------------------------------------------- statements
def residuals(tape: Tape, instruction: Instruction, k: int, base: int = -1) -> list[int]:
    """Numbers of the operands (and, behind them, the result) that a statement keeps for its VJPs.

    Operands in the memory of slot `base` count as active: a write there may make them so.
    """
    return residual_places(tape, instruction, tape.args_of(k), base)


def residual_places(
    tape: Tape, instruction: Instruction, slots: Sequence[int], base: int = -1
) -> list[int]:
    """Numbers of the residuals of an instruction on operands, which need not have been appended."""
    build(instruction)
    first = int(ITAB.rows[instruction.id, nt.I_VJP])
    mask = 0
    for i, slot in enumerate(slots):
        row = VTAB.rows[first + i]
        if row[nt.V_EXISTS] and (tape.is_active(slot) or tape.base[slot] == base):
            mask |= int(row[nt.V_MASK])
    count = len(instruction.layouts)
    order = [1, 0, 2] if count == 2 else range(count + 1)  # PyTorch's: `other` before `self`
    return [i for i in order if mask >> i & 1]


@cache
def handed_over(instruction: Instruction) -> Instruction:
    """An instruction that computes the same and leaves its derivatives to Python."""
    with TABLE_LOCK:
        new = copy(instruction)
        # It runs the steps of the other, which stays as long as it does.
        new.key, new._holdings, new.needs = None, None, (instruction.id,)
        new.vjp = new.masked_vjp = new.head = new.family = None
        new.rules = {}
        new_number(new)
        with holding(new.holdings):
            first = VTAB.reserve(max(len(instruction.layouts), 1))
        VTAB.rows[first : first + len(instruction.layouts)] = 0
        row = ITAB.rows[new.id]
        row[:] = ITAB.rows[instruction.id]
        row[nt.I_PYTHON], row[nt.I_VSCRATCH] = 1, 0
        row[nt.I_VJP : nt.I_VJP + nt.VARIANTS] = first
        row[nt.I_REPLAY : nt.I_PUSH + 1] = -1
    return new


CACHES.append(handed_over.cache_clear)


def kept(tape: Tape, k: int) -> dict[str, Callable[[], Any]]:
    """Functions that return the saved tensors of a statement of one or two operands, by PyTorch's names."""
    instruction = tape.instruction_of(k)
    original = instruction_for(instruction.op, instruction.layouts, **instruction.attrs)
    return {name: partial(_kept, tape, k, original, i) for name, i in saved_names(tape, k).items()}


def saved_names(tape: Tape, k: int) -> dict[str, int]:
    """Numbers of the operands, and of the result, that such a statement may save, by PyTorch's names."""
    instruction = tape.instruction_of(k)
    count = len(instruction.layouts)
    if instruction.op.kind != nt.COMPUTE or instruction.op.python or not 1 <= count <= 2:
        return {}
    names = ["self", instruction.op.second_name, "result"]
    names = [*names[:count], "result"]
    original = instruction_for(instruction.op, instruction.layouts, **instruction.attrs)
    build(original)
    rows = VTAB.rows[int(ITAB.rows[original.id, nt.I_VJP]) :][:count]
    ever = int(np.bitwise_or.reduce(rows[:, nt.V_MASK]))
    return {name: i for i, name in enumerate(names) if ever >> i & 1}


def _kept(tape: Tape, k: int, instruction: Instruction, place: int) -> Any:
    """One saved tensor (or exponent), or None if the statement did not need it.

    Raises
    ------
    RuntimeError
        If it was freed, or written in place since.
    """
    if tape.flags[k] & nt.FREED:
        raise RuntimeError(messages.FREED)
    if place not in residuals(tape, instruction, k):
        return None
    args = tape.args_of(k)
    slot = args[place] if place < len(args) else k
    packed = tape.contexts.get(k)
    if isinstance(packed, Saved) and place in packed.packed:
        return packed.packed[place].value_of(
            tape, slot, instruction.layouts[place] if place < len(args) else instruction.out
        )
    layout = tape.instruction_of(slot).out
    if instruction.op.name == "pow" and place == 1 and slot in tape.constants.slots.values():
        return tape.value(slot, layout).item()
    base, version = int(tape.base[slot]), versions.version_of(tape, slot)
    later = versions.writes_behind(tape, base, k)
    if later and not isinstance(packed, Saved):
        raise RuntimeError(
            messages.stale(False).format(
                kind=type_name(layout.dtype), shape=str(list(layout.shape)), version=version,
                origin="", expected=version - later,
            )
        )  # fmt: skip
    return record.tensor_at(tape, slot)


def dense(instruction: Instruction, values: dict[int, int]) -> Instruction:
    """The instruction whose rule takes the unpacked values: contiguous ones."""
    layouts = [
        contiguous(x.dtype, x.shape) if i in values else x
        for i, x in enumerate(instruction.layouts)
    ]
    return instruction_for(instruction.op, tuple(layouts), **instruction.attrs)


def pack_from(tape: Tape, count: int) -> None:
    """Pack the residuals of the statements from slot `count` on, which native code has recorded."""
    hooks = tape.saving
    if hooks is None:
        return
    end = tape.count
    tape.counted += 1
    active = np.flatnonzero(tape.flags[count:end] & nt.ACTIVE)
    try:
        for k in (count + active).tolist():
            if k not in tape.contexts:
                hooks(tape, k)
    finally:
        tape.counted -= 1


# --------------------------------------------------------------------------- a thread's hooks
def _use(hooks: PackingHooks | None) -> Exchange:
    """Return a context manager: this thread's tape uses hooks, in the place of those around."""
    tape, saving = current_tape(), nt.BUSY_SAVING
    return Exchanged(
        (vars(tape), "saving", tape.saving, hooks),
        (tape.busy, saving, tape.busy[saving], hooks is not None),
    )


def pushed(hooks: PackingHooks) -> Exchange:
    """Return a context manager: hooks are used, in the place of those around.

    Raises
    ------
    RuntimeError
        Where hooks are disabled.
    """
    if _disabled.message is not None:
        raise RuntimeError(_disabled.message)
    return _use(hooks)


def suspended() -> Exchange:
    """Return a context manager: no hooks are used."""
    return _use(None)


def disabled(message: str) -> Exchange:
    """Return a context manager: where hooks are asked for, a RuntimeError with this text is raised.

    Raises
    ------
    RuntimeError
        If there are hooks already.
    """
    if current_tape().saving is not None:
        raise RuntimeError(message)
    return Exchanged((vars(_disabled), "message", _disabled.message, message))
