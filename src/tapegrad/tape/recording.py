"""Recording from Python: operands, promotion of dtypes, statements, in-place writes.

Native recording (handle_type.py) takes the common cases; everything else passes through here. `apply`
records any op of the table on tensors; `binary` and `unary` add PyTorch's promotion and Python scalars;
`view` records a view; `write` and `accumulate` are the two in-place statements that all in-place
methods consist of.

Every function makes room first (`Tape.make_room`, which may collect and so renumber slots) and reads
slots after that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..base.dtypes import (
    FLOATING,
    bool_,
    c_name,
    category,
    complex_of,
    dtype,
    get_default_dtype,
    int64,
    real_of,
    result_type,
)
from ..base.errors import UnsupportedError, must_be
from ..base.symbolic import Symbolic
from ..native import abi as nt
from ..native.handle_type import (
    AnyTensor,
    TensorHandle,
    new_handle_object,
    record_statement,
    status_of,
)  # fmt: skip
from ..ops.instruction import LARGE, Instruction, instruction, remember, view_instruction
from ..ops.layout import Layout, contiguous
from ..ops.table import TABLE, Op
from . import mirrors, versions
from .cross_thread import adopt, guest
from .current import current_tape
from .leaf_storage import Storage, layout_of, leaf_of, own_leaf, storage_of
from .memory_views import array_layout
from .tape import Tape, slot_of, tape_at

__all__ = [
    "Storage", "accumulate", "adopt", "apply", "apply_all", "binary", "cast", "layout_of",
    "leaf_tensor", "operand", "result_dtype", "result_tensor", "scalar_tensor", "storage_of",
    "unary", "view", "write",
]  # fmt: skip


_types: list[Any] = []  # the Tensor type; tensor.py puts it here


def set_tensor_type(kind: Any) -> None:
    """Set the Tensor type; tensor.py, which imports this module, calls it once."""
    _types.append(kind)


def tensor_type() -> Any:
    """Return the Tensor type."""
    return _types[0]


def is_active(tensor: TensorHandle) -> bool:
    """Return True if operations on a tensor are differentiated, be it in forward mode only."""
    status = status_of(tensor)
    if status < 0:
        tape_at(tensor._state)  # raises: there is no tape
    return bool(status & 1)


def is_tensor(value: object) -> bool:
    """Return True if a value is a Tensor.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.is_tensor(tg.ones(2)), tg.is_tensor(1.0)
    (True, False)
    """
    return isinstance(value, _types[0])


# --------------------------------------------------------------------------- making tensors
def new_tensor(tape: Tape, slot: int, layout: Layout) -> AnyTensor:
    """A handle of a slot."""
    # Without a call more, where there is room.
    tensor = new_handle_object(tape.pointer, slot, layout.id)
    return tape.new_handle(slot, layout) if tensor is None else tensor


def result_tensor(tape: Tape, slot: int) -> AnyTensor:
    """Return a handle of a result that the package computed for a user, who may write to it.

    A number's slot is shared by all statements with that number: such a result is a copy.
    """
    layout = tape.instruction_of(slot).out
    base = tape.base[slot]
    if tape.flags[base] & nt.EXTERNAL and int(base) in tape.constants.slots.values():
        clone = instruction(TABLE["clone"], (layout,))
        tape.make_room(collect=False)
        slot, layout = tape.append(clone, (slot,)), clone.out
    return new_tensor(tape, slot, layout)


def tensor_at(tape: Tape, slot: int) -> AnyTensor:
    """The user's tensor of a leaf that requires grad, if it is there; a new handle of any other slot."""
    storage = tape.leaves.get(slot)
    tensor: TensorHandle | None = None if storage is None else leaf_of(storage)
    if tensor is None or tensor._state != tape.pointer or slot_of(tape, tensor) != slot:
        tensor = new_tensor(tape, slot, tape.instruction_of(slot).out)
        tensor._meta = storage
    return tensor


def is_copy(tensor: TensorHandle, source: TensorHandle) -> bool:
    """Return True if a tensor is the result of ``source.clone()``."""
    tape = tape_at(tensor._state)
    slot = slot_of(tape, tensor)
    return (
        source._state == tensor._state
        and tape.instruction_of(slot).op is TABLE["clone"]
        and tape.args_of(slot) == [slot_of(tape, source)]
    )


def leaf_tensor(
    array: np.ndarray, kind: dtype, *, requires_grad: bool = False, source: Any = None,
    visible: bool = False,
) -> AnyTensor:  # fmt: skip
    """A leaf over an array's memory.

    Parameters
    ----------
    array : numpy.ndarray
        The memory; it is not copied.
    kind : dtype
    requires_grad : bool
    source : object
        Owner of the memory, if it is not the array.
    visible : bool
        Whether others see the memory (`from_numpy`).
    """
    tape = current_tape()
    tape.make_room()
    layout = array_layout(array, kind)
    if requires_grad and layout.overlaps:  # elements would share their gradient
        array = np.ascontiguousarray(array)
        layout = array_layout(array, kind)
    storage = Storage(array, leaf=True, source=source)
    slot = tape.bind(array, layout, active=requires_grad, keep=storage)
    if visible:
        tape.flags[slot] |= nt.VISIBLE
    tensor = new_tensor(tape, slot, layout)
    if requires_grad:
        own_leaf(tensor, storage)
    else:
        tensor._meta = storage
    return tensor


def bind_to(tensor: TensorHandle, tape: Tape, slot: int, layout: Layout) -> None:
    """Let a handle, bound or not, refer to a slot of `tape`."""
    tape.bind_handle(tensor, slot, layout.id)


def scalar_tensor(value: float | int | bool, kind: dtype | None = None) -> AnyTensor:
    """A passive 0-d tensor of a Python number."""
    if kind is None:
        if isinstance(value, bool | np.bool_):
            kind = bool_
        elif isinstance(value, int | np.integer):
            kind = int64
        else:
            kind = get_default_dtype()
    try:
        array = np.array(value, kind.np)
    except OverflowError:
        raise RuntimeError(
            f"value cannot be converted to type {kind.name} without overflow"
        ) from None
    return leaf_tensor(array, kind)


# --------------------------------------------------------------------------- operands
def operand(tape: Tape, tensor: TensorHandle) -> int:
    """Slot of a tensor on `tape`.

    Raises
    ------
    TapeError
        If the tensor's graph is on another thread's tape.
    """
    if tensor._state == tape.pointer:
        return slot_of(tape, tensor)
    return guest(tape, tensor)


def check_tensors(name: str, tensors: Sequence[Any]) -> None:
    """Raise PyTorch's TypeError unless all are Tensors."""
    for i, t in enumerate(tensors):
        if not isinstance(t, _types[0]):
            parameter = "input" if i == 0 else "other"
            raise must_be(name, parameter, i + 1, "Tensor", t)


def finish(tape: Tape, instruction: Instruction, slot: int) -> AnyTensor:
    """The handle of a statement just appended; evaluates first where that cannot wait."""
    if not tape.abstract and (tape.state[nt.S_EAGER] or instruction.out.span >= LARGE):
        try:
            tape.evaluate()
            tape.check_value(slot)
        except Exception:  # no memory, a kernel that failed
            tape.undo(slot)
            raise
    return new_tensor(tape, slot, instruction.out)


def apply(entry: Op, tensors: Sequence[TensorHandle], **attrs: Any) -> AnyTensor:
    """Record an op on tensors of matching dtypes; its (first) result.

    Parameters
    ----------
    entry : Op
    tensors : sequence of Tensor
    **attrs
        Attributes of the op; hashable.

    Raises
    ------
    RuntimeError, TypeError, IndexError, ValueError
        The op's error for operands that do not fit; nothing is recorded then.
    """
    call = instruction(entry, tuple([layout_of(t) for t in tensors]), **attrs)
    span = call.out.span
    if entry.kind == nt.COMPUTE and len(call.outs) == 1 and type(span) is int and span < LARGE:
        result = record_statement(call.id, tuple(tensors))
        if result is not None:
            return result
    tape = current_tape()
    tape.make_room(1, len(tensors) + 8)
    slot = tape.append(call, [operand(tape, t) for t in tensors])
    return finish(tape, call, slot)


def apply_all(entry: Op, tensors: Sequence[TensorHandle], **attrs: Any) -> list[AnyTensor]:
    """Record an op with several results, none of which is differentiated; all of them."""
    first, tape = apply(entry, tensors, **attrs), current_tape()
    slot = slot_of(tape, first)
    outs = tape.instruction_of(slot).outs
    return [first, *[new_tensor(tape, slot + j, out) for j, out in enumerate(outs[1:], 1)]]


def apply_as(called: str, entry: Op, tensors: Sequence[TensorHandle]) -> AnyTensor:
    """Record an op without attributes; native recording does the next such call itself.

    Parameters
    ----------
    called : str
        The row whose function was called (``x @ y`` is `mm` or `mv` ... by the operands' shapes).
    entry : Op
        The row that is recorded.
    tensors : sequence of Tensor
        The function's arguments as they were given.
    """
    result = apply(entry, tensors)
    remember(instruction(entry, tuple([layout_of(t) for t in tensors])), TABLE[called])
    return result


# --------------------------------------------------------------------------- promotion
def number_dtype(value: object) -> dtype:
    """Return the dtype of a tensor that is made of a Python number."""
    if isinstance(value, bool | np.bool_):
        return bool_
    if isinstance(value.value if type(value) is Symbolic else value, int | np.integer):
        return int64
    if isinstance(value, complex | np.complexfloating):
        return complex_of(get_default_dtype())
    return get_default_dtype()


def result_dtype(values: Sequence[Any]) -> dtype:
    """Dtype that tensors and Python numbers promote to, as ``torch.result_type``.

    Operands with dimensions rank before 0-d tensors, and these before Python numbers; a lower rank
    counts only where its category (bool, integer, floating) is higher.
    """
    ranks: list[dtype | None] = [None, None, None]
    for v in values:
        if isinstance(v, _types[0]):
            layout = layout_of(v)
            rank, kind = (0 if layout.ndim else 1), layout.dtype
        else:
            rank, kind = 2, number_dtype(v)
        known = ranks[rank]
        ranks[rank] = kind if known is None else result_type(known, kind)
    result: dtype | None = None
    for candidate in ranks:
        if candidate is None:
            continue
        if result is None:
            result = candidate
        elif category(candidate) > category(result):
            parts = candidate.is_complex and result.is_floating_point
            result = complex_of(result) if parts else candidate
    assert result is not None
    return result


def cast(tensor: TensorHandle, kind: dtype) -> AnyTensor:
    """The tensor in dtype `kind`, itself if it is that already; a complex one stays one."""
    known = layout_of(tensor).dtype
    if known is kind:
        return tensor
    if known.is_complex and not kind.is_complex and kind is not bool_:
        raise UnsupportedError(
            f"complex numbers would lose a part as {kind.name}: take .real or .abs() of them"
        )
    return apply(TABLE["to"], (tensor,), dtype=kind)


def is_number(value: object) -> bool:
    """Return True if a value is a Python or NumPy number."""
    return isinstance(value, int | float | complex | np.number | np.bool_ | Symbolic)


def as_operand(value: Any, kind: dtype) -> AnyTensor:
    if isinstance(value, _types[0]):
        return cast(value, kind)
    tape = current_tape()
    tape.make_room()
    if type(value) is Symbolic:  # on the tape of a rule (patterns.py)
        slot = tape.bind(np.asarray(value.value, kind.np), contiguous(kind, ()), active=False)
        value.home.slots[slot] = value
        return new_tensor(tape, slot, contiguous(kind, ()))
    if kind is int64 and not -(2**63) <= int(value) < 2**63:
        raise RuntimeError("value cannot be converted to type int64_t without overflow")
    number = value.item() if isinstance(value, np.generic) else value
    if type(number) is complex and not kind.is_complex:
        raise RuntimeError(f"value cannot be converted to type {c_name(kind)} without overflow")
    if type(number) is complex and not (number.imag == 0 and math.copysign(1.0, number.imag) > 0):
        parts = [as_operand(part, real_of(kind)) for part in (number.real, number.imag)]
        return apply(TABLE["complex"], parts)
    slot = tape.constant(number, kind)
    return new_tensor(tape, slot, contiguous(kind, ()))


def binary(entry: Op, a: Any, b: Any) -> AnyTensor:
    """Record an elementwise op with two operands, promoting dtypes and taking Python numbers.

    Raises
    ------
    RuntimeError
        If the shapes do not broadcast.
    """
    kind = result_dtype((a, b))
    if entry.result == "float" and category(kind) < FLOATING:
        kind = get_default_dtype()
    a, b = as_operand(a, kind), as_operand(b, kind)
    shapes = layout_of(a), layout_of(b)
    call = instruction(entry, shapes)
    remember(call)
    tape = current_tape()
    tape.make_room()
    slot = tape.append(call, (operand(tape, a), operand(tape, b)))
    return finish(tape, call, slot)


def unary(entry: Op, a: TensorHandle) -> AnyTensor:
    """Record an elementwise op with one operand."""
    kind = layout_of(a).dtype
    if entry.result == "float" and category(kind) < FLOATING:
        a = cast(a, get_default_dtype())
    call = instruction(entry, (layout_of(a),))
    remember(call)
    tape = current_tape()
    tape.make_room()
    slot = tape.append(call, (operand(tape, a),))
    return finish(tape, call, slot)


# --------------------------------------------------------------------------- views and in-place writes
def view(
    entry: Op, tensor: TensorHandle, shape: Sequence[int], strides: Sequence[int], offset: Any = 0,
    kind: dtype | None = None,
) -> AnyTensor:  # fmt: skip
    """Record a view.

    Parameters
    ----------
    entry : Op
        A row of ops/view.py; it gives the name.
    tensor : Tensor
    shape, strides : sequence of int
        Of the result; strides in bytes.
    offset : int
        Bytes from the tensor's first element to the result's.
    kind : dtype, optional
        Of the result, if that is another one.
    """
    call = view_instruction(entry, layout_of(tensor), tuple(shape), tuple(strides), kind)
    tape = current_tape()
    tape.make_room()
    if type(offset) is Symbolic:  # on the tape of a rule (patterns.py)
        slot = tape.append_view(call, operand(tape, tensor), 0)
        offset.home.slots[slot] = offset
    else:
        slot = tape.append_view(call, operand(tape, tensor), offset)
    return new_tensor(tape, slot, call.out)


def in_place(entry: Op, target: TensorHandle, source: TensorHandle, named: str) -> int:
    """Append an in-place statement; return its slot."""
    call = instruction(entry, (layout_of(target), layout_of(source)), named=named)
    tape = current_tape()
    tape.make_room()
    slots, first = (operand(tape, target), operand(tape, source)), tape.count
    try:
        slot = tape.append(call, slots)
        versions.note_write(tape, slot)
    except BaseException:  # a write that is recorded and not noted would go unseen
        versions.note_missing(tape, first)
        raise
    if tape.mirrors:
        mirrors.refresh(tape, slot)
    if tape.state[nt.S_EAGER] and not tape.abstract:
        tape.evaluate()
    return slot


def write(target: TensorHandle, source: TensorHandle, named: str = "CopyBackwards") -> int:
    """Record that `source`, broadcast, overwrites `target`, under a node's name."""
    return in_place(TABLE["copy_"], target, source, named)


def accumulate(target: TensorHandle, source: TensorHandle, named: str = "AddBackward0") -> int:
    """Record that `source`, broadcast, is added to `target`, under a node's name."""
    return in_place(TABLE["accumulate_"], target, source, named)
