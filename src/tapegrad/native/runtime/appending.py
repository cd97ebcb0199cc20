"""Statements, leaves and handles by number, as Python appends them (tape/tape.py, tape/recording.py).

These get addresses and slots, and call nothing that runs Python code; but for `handle_entry`, which
allocates a handle first (runtime/recording.py says why) and then looks whether an id is free, and
`memory_entry`.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import globals_address, helper, p8, p32, p64, stack_words
from .recording import (
    _BASE,
    _NEED_PYTHON,
    _STATE,
    _TYPE,
    CHARACTERS,
    bind,
    blank_handle,
    has_room,
    put,
    slot_of,
    unbind,
)  # fmt: skip

#: PyBUF_WRITE of CPython
_WRITABLE = 0x200


def append_entry(state, instruction, packed, count, more):  # type: ignore[no-untyped-def]
    """Append a statement and those of its further results; the first slot, or -1 as `append`.

    Instructions of further results stand behind the `count` words of operands. `more` is twice their number,
    plus 1 where only room counts: what is pending may go above the limit. Words come in a bytes object, made
    anew for each call: a finalizer may make calls of its own between any two bytecodes.
    """
    s, further = p64(state), more >> 1
    args = packed + CHARACTERS
    if not has_room(state, 1 + further, count + further):
        return _NEED_PYTHON
    if more & 1 == 0 and s[nt.S_PENDING_BYTES] > s[nt.S_PENDING_LIMIT]:
        return _NEED_PYTHON
    slot = put(state, instruction, args, count, 0)
    first = stack_words(1)
    p32(first)[0] = slot
    for i in range(further):
        put(state, np.int64(p32(args)[count + i]), first, 1, 0)
    return slot


@helper
def append_leaf(state, instruction, address, active):  # type: ignore[no-untyped-def]
    """Append a leaf over memory at `address`; its slot, or -1 where there is no room."""
    s = p64(state)
    if not has_room(state, 1, 0):
        return _NEED_PYTHON
    done = s[nt.S_DONE] == s[nt.S_COUNT]
    slot = put(state, instruction, state, 0, 0)
    p64(s[nt.S_ADDRESS])[slot] = address
    p8(s[nt.S_FLAGS])[slot] = nt.EXTERNAL | (nt.ACTIVE if active else 0)
    s[nt.S_BOUND] += p64(p64(globals_address())[nt.G_ITAB] + 8 * nt.I_WIDTH * instruction)[
        nt.I_BYTES
    ]
    if done:
        s[nt.S_DONE] = slot + 1
    return slot


@helper
def state_of(value):  # type: ignore[no-untyped-def]
    """State of the tape that a tensor is on; 0 for an unbound handle, and for others.

    What is no Tensor comes here by methods that are called through the class: ``Tensor.numpy("a")``.
    """
    kind, wanted = p64(value + _TYPE)[0], p64(globals_address())[nt.G_TENSOR]
    while kind != wanted:
        kind = p64(kind + _BASE)[0]
        if kind == 0:
            return 0
    return p64(value + _STATE)[0]


def status_entry(tensor):  # type: ignore[no-untyped-def]
    """1 if a tensor is active, plus 2 if its statement is a leaf; -1 for an unbound handle, and for others.

    One call under the GIL, so it may look at the tape of another thread.
    """
    state = state_of(tensor)
    if state == 0:
        return -1
    s = p64(state)
    slot = slot_of(state, tensor)
    row = p64(p64(globals_address())[nt.G_ITAB] + 8 * nt.I_WIDTH * p32(s[nt.S_INSTRUCTION])[slot])
    active = p8(s[nt.S_FLAGS])[p32(s[nt.S_ROOT])[slot]] & nt.ACTIVE
    return active + (2 if row[nt.I_KIND] == nt.LEAF else 0)


def slot_entry(state, tensor):  # type: ignore[no-untyped-def]
    """Slot of a tensor on a tape; 0 if it is not there, by now (another thread may have moved it)."""
    return slot_of(state, tensor) if state_of(tensor) == state else 0


def room_left_entry(state, statements, args, most):  # type: ignore[no-untyped-def]
    """1 if statements, up to the number `most`, can be appended at once, and a handle be made."""
    s = p64(state)
    if s[nt.S_COUNT] + statements > most or not has_room(state, statements, args):
        return 0
    return 1 if s[nt.S_PENDING_BYTES] <= s[nt.S_PENDING_LIMIT] and s[nt.S_HANDLE_FREE] >= 0 else 0


def data_entry(array):  # type: ignore[no-untyped-def]
    """Address of the first element of an ndarray: NumPy's C API has it behind the object's header."""
    return p64(array + nt.HEADER)[0]


def handle_entry(state, slot, layout):  # type: ignore[no-untyped-def]
    """A Tensor for a slot, or None where no handle id is free."""
    tensor = blank_handle()
    if tensor == 0:
        return tensor
    if p64(state)[nt.S_HANDLE_FREE] < 0:
        it.py_decref(tensor)
        none = p64(globals_address())[nt.G_NONE]
        it.py_incref(none)
        return none
    bind(tensor, state, slot, layout)
    return tensor


def memory_entry(address, span):  # type: ignore[no-untyped-def]
    """A writable memoryview of the bytes at an address, in a fifth of ctypes' time for a new size."""
    return it.memory_view(address, span, _WRITABLE)


def bind_entry(tensor, state, slot, layout):  # type: ignore[no-untyped-def]
    """Bind a handle, unbound or on any tape, to a slot; 0, or -1 where no handle id is free."""
    old = p64(tensor + _STATE)[0]
    if old != state and p64(state)[nt.S_HANDLE_FREE] < 0:
        return -1
    if old != 0:
        unbind(tensor)
    bind(tensor, state, slot, layout)
    return 0
