"""Recording in native code; see handle.py for what a handle is.

Start reading at `append` (what recording a statement means), then `binary`.
"""

from __future__ import annotations

import numpy as np

from .. import native as nt
from ..native import (
    ACTIVE,
    I_BYTES,
    I_DETACH,
    I_DIFF,
    I_KIND,
    I_LAYOUT,
    I_NARGS,
    I_USED,
    I_WIDTH,
    SILENT,
    VIEW,
    VISIBLE,
    WATCHED,
    WRITE,
)  # fmt: skip
from . import intrinsics as it
from .hashing import find_constant, find_pair
from .intrinsics import float_bits, globals_address, helper, p8, p32, p64, stack_words

_TYPE = nt.HEADER - 8  # where the header keeps the type
_STATE, _ID, _LAYOUT = nt.HEADER, nt.HEADER + 8, nt.HEADER + 12
_NEED_PYTHON = -1
_SELECT = nt.SELECT_CODE
NUMBER_PROTOCOL = nt.NUMBER_PROTOCOL


@helper
def append(state, instruction, args, count):  # type: ignore[no-untyped-def]
    """Append a statement; return its slot, or -1 if Python has to make room or evaluate first."""
    s = p64(state)
    n = s[nt.S_COUNT]
    start = s[nt.S_ARG_COUNT]
    if (
        n >= s[nt.S_CAPACITY]
        or start + count > s[nt.S_ARG_CAPACITY]
        or s[nt.S_PENDING_BYTES] > s[nt.S_PENDING_LIMIT]
    ):
        return _NEED_PYTHON
    row = p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * instruction)
    source, target = p32(args), p32(s[nt.S_ARG] + 4 * start)
    root, base, flags = p32(s[nt.S_ROOT]), p32(s[nt.S_BASE]), p8(s[nt.S_FLAGS])
    active = 0
    visible = 0
    for i in range(row[I_NARGS]):
        slot = source[i]
        active |= flags[root[slot]]
        visible |= flags[base[slot]]
    active &= ACTIVE
    if s[nt.S_GRAD_MODE] == 0 or row[I_DIFF] == 0:
        active = 0
    if visible & VISIBLE:
        s[nt.S_EAGER] = 1
    for i in range(count):
        target[i] = source[i]
    kind = row[I_KIND]
    own_root, own_base, own_flags = n, n, active
    if kind == VIEW or kind >= WRITE:
        parent = source[0]
        if kind < nt.OUTPUT:
            own_base = base[parent]
            own_flags |= flags[parent] & SILENT
            if kind == VIEW and root[parent] != parent:
                own_flags |= flags[parent] & WATCHED
            # A view that is made under no_grad has a root of its own, which tells that (views.py).
            aliases = s[nt.S_GRAD_MODE] != 0 or (kind != VIEW and flags[root[parent]] & ACTIVE == 0)
            if row[I_DETACH] == 0 and aliases:
                own_root = root[parent]
                own_flags &= ~ACTIVE
                if kind != VIEW and active:
                    flags[own_root] |= ACTIVE
            else:
                own_flags &= ~ACTIVE
            if row[I_DETACH] == 2:
                own_flags |= SILENT
    p32(s[nt.S_INSTRUCTION])[n] = instruction
    p32(s[nt.S_ARG_START])[n + 1] = start + count
    p64(s[nt.S_ADDRESS])[n] = 0
    root[n] = own_root
    base[n] = own_base
    flags[n] = own_flags
    s[nt.S_ARG_COUNT] = start + count
    if kind == nt.COMPUTE:
        s[nt.S_PENDING_BYTES] += row[I_BYTES]
    s[nt.S_COUNT] = n + 1
    row[I_USED] = 1
    return n


@helper
def layout_at(state, slot):  # type: ignore[no-untyped-def]
    """Layout id of a slot."""
    made = p32(p64(state)[nt.S_INSTRUCTION])[slot]
    return p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * made)[I_LAYOUT]


@helper
def bind(tensor, state, slot, layout):  # type: ignore[no-untyped-def]
    """Give an unbound handle a free id (there must be one) that refers to `slot`."""
    s = p64(state)
    free = s[nt.S_HANDLE_FREE]
    handles = p32(s[nt.S_HANDLES])
    s[nt.S_HANDLE_FREE] = -2 - handles[free]
    s[nt.S_HANDLE_COUNT] += 1
    handles[free] = slot
    p64(tensor + _STATE)[0] = state
    p32(tensor + _ID)[0] = free
    p32(tensor + _LAYOUT)[0] = layout


@helper
def unbind(tensor):  # type: ignore[no-untyped-def]
    """Give the id of a bound handle back to its tape."""
    s = p64(p64(tensor + _STATE)[0])
    handle = p32(tensor + _ID)[0]
    p32(s[nt.S_HANDLES])[handle] = -2 - s[nt.S_HANDLE_FREE]
    s[nt.S_HANDLE_FREE] = handle
    s[nt.S_HANDLE_COUNT] -= 1


@helper
def new_handle(state, slot, layout):  # type: ignore[no-untyped-def]
    """A Tensor for `slot`, or 0 with a Python error set (no memory) or unset (no handle id)."""
    if p64(state)[nt.S_HANDLE_FREE] < 0:
        return 0
    tensor = it.type_alloc(p64(globals_address())[nt.G_TENSOR], 0)
    if tensor != 0:
        bind(tensor, state, slot, layout)
    return tensor


@helper
def scalar_slot(state, scalar, layout):  # type: ignore[no-untyped-def]
    """Slot of a Python float or int as an operand of a floating tensor, or 0."""
    g = p64(globals_address())
    dtype = p8(g[nt.G_LAYOUT_DTYPE])[layout]
    if dtype > 1:
        return 0
    kind = p64(scalar + _TYPE)[0]
    if kind == g[nt.G_FLOAT]:
        value = it.float_as_double(scalar)
    elif kind == g[nt.G_LONG]:
        whole = it.long_as_longlong(scalar)
        if whole == -1 and it.error_occurred() != 0:
            it.error_clear()
            return 0
        if whole > (1 << 53) or whole < -(1 << 53):
            return 0
        value = float(whole)
    else:
        return 0
    return find_constant(state, float_bits(value), np.int64(dtype))


@helper
def own_state(tensor):  # type: ignore[no-untyped-def]
    """State of the tape a handle is on if this thread may record there, else 0."""
    state = p64(tensor + _STATE)[0]
    if state != 0:
        s = p64(state)
        if s[nt.S_OWNER] == it.thread_ident() and s[nt.S_BUSY] == 0:
            return state
    return 0


@helper
def slot_of(state, tensor):  # type: ignore[no-untyped-def]
    return p32(p64(state)[nt.S_HANDLES])[p32(tensor + _ID)[0]]


@helper
def finish(state, instruction, args, count, layout):  # type: ignore[no-untyped-def]
    """Record and make the handle, or return 0 where Python has to help."""
    s = p64(state)
    if s[nt.S_HANDLE_FREE] < 0 or s[nt.S_EAGER] != 0:
        return 0
    slot = append(state, instruction, args, count)
    if slot < 0:
        return 0
    tensor = new_handle(state, slot, layout)
    if tensor == 0 or s[nt.S_EAGER] != 0:  # undo: Python records it again and evaluates
        if tensor != 0:
            it.py_decref(tensor)
        s[nt.S_COUNT] -= 1
        s[nt.S_ARG_COUNT] -= count
        row = p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * instruction)
        if row[I_KIND] == nt.COMPUTE:
            s[nt.S_PENDING_BYTES] -= row[I_BYTES]
        s[nt.S_EAGER] = 0
        return 0
    return tensor


@helper
def try_binary(a, b, op):  # type: ignore[no-untyped-def]
    g = p64(globals_address())
    tensor = g[nt.G_TENSOR]
    if p64(a + _TYPE)[0] == tensor:
        state = own_state(a)
        if state == 0:
            return 0
        slot_a = np.int64(slot_of(state, a))
        layout_a = np.int64(p32(a + _LAYOUT)[0])
        if p64(b + _TYPE)[0] == tensor:
            if p64(b + _STATE)[0] != state:
                return 0
            slot_b = np.int64(slot_of(state, b))
            layout_b = np.int64(p32(b + _LAYOUT)[0])
        else:
            slot_b = scalar_slot(state, b, layout_a)
            layout_b = np.int64(p8(g[nt.G_LAYOUT_DTYPE])[layout_a]) + 1
    elif p64(b + _TYPE)[0] == tensor:
        state = own_state(b)
        if state == 0:
            return 0
        slot_b = np.int64(slot_of(state, b))
        layout_b = np.int64(p32(b + _LAYOUT)[0])
        slot_a = scalar_slot(state, a, layout_b)
        layout_a = np.int64(p8(g[nt.G_LAYOUT_DTYPE])[layout_b]) + 1
    else:
        return 0
    if slot_a == 0 or slot_b == 0:
        return 0
    row = find_pair(op, layout_a, layout_b)
    if row == 0:
        return 0
    args = stack_words(1)
    p32(args)[0] = slot_a
    p32(args)[1] = slot_b
    return finish(state, p64(row)[1], args, 2, p64(row)[2])


@helper
def try_unary(a, op):  # type: ignore[no-untyped-def]
    if p64(a + _TYPE)[0] != p64(globals_address())[nt.G_TENSOR]:
        return 0
    state = own_state(a)
    if state == 0:
        return 0
    row = find_pair(op, np.int64(p32(a + _LAYOUT)[0]), 0)
    if row == 0:
        return 0
    args = stack_words(1)
    p32(args)[0] = slot_of(state, a)
    return finish(state, p64(row)[1], args, 1, p64(row)[2])


@helper
def slow(op, args, count, names):  # type: ignore[no-untyped-def]
    return it.vectorcall(p64(p64(globals_address())[nt.G_SLOW])[op], args, count, names)


def binary(a, b, op):  # type: ignore[no-untyped-def]
    """Number protocol of an op with two operands."""
    result = try_binary(a, b, op)
    if result == 0 and it.error_occurred() == 0:
        args = stack_words(2)
        p64(args)[0] = a
        p64(args)[1] = b
        return slow(op + NUMBER_PROTOCOL, args, 2, 0)
    return result


def power(a, b, modulus, op):  # type: ignore[no-untyped-def]
    """Number protocol of ``a ** b``, which may come with a modulus."""
    if modulus != p64(globals_address())[nt.G_NONE]:
        args = stack_words(3)
        p64(args)[0] = a
        p64(args)[1] = b
        p64(args)[2] = modulus
        return slow(op + NUMBER_PROTOCOL, args, 3, 0)
    result = try_binary(a, b, op)
    if result == 0 and it.error_occurred() == 0:
        args = stack_words(2)
        p64(args)[0] = a
        p64(args)[1] = b
        return slow(op + NUMBER_PROTOCOL, args, 2, 0)
    return result


def unary(a, op):  # type: ignore[no-untyped-def]
    """Number protocol of an op with one operand."""
    result = try_unary(a, op)
    if result == 0 and it.error_occurred() == 0:
        args = stack_words(1)
        p64(args)[0] = a
        return slow(op + NUMBER_PROTOCOL, args, 1, 0)
    return result


def fastcall(args, count, names, op):  # type: ignore[no-untyped-def]
    """A function or method call of an op: ``tg.sin(x)``, ``x.add(y)``."""
    result = np.int64(0)
    if names == 0:
        if count == 2:
            result = try_binary(p64(args)[0], p64(args)[1], op)
        elif count == 1:
            result = try_unary(p64(args)[0], op)
    if result == 0 and it.error_occurred() == 0:
        return slow(op, args, count, names)
    return result


def dealloc(tensor):  # type: ignore[no-untyped-def]
    """Give the handle id back to the tape, then the memory to Python."""
    if p64(tensor + _STATE)[0] != 0:
        unbind(tensor)
    kind = p64(tensor + _TYPE)[0]
    it.call_void(it.type_slot(kind, 74), tensor)  # Py_tp_free
    it.py_decref(kind)


def append_entry(state, instruction, args, count):  # type: ignore[no-untyped-def]
    return append(state, instruction, args, count)


@helper
def append_leaf(state, instruction, address, active):  # type: ignore[no-untyped-def]
    """Append a leaf over memory at `address`; its slot, or -1 where there is no room."""
    s = p64(state)
    done = s[nt.S_DONE] == s[nt.S_COUNT]
    limit = s[nt.S_PENDING_LIMIT]
    s[nt.S_PENDING_LIMIT] = 1 << 62
    slot = append(state, instruction, state, 0)
    s[nt.S_PENDING_LIMIT] = limit
    if slot < 0:
        return slot
    p64(s[nt.S_ADDRESS])[slot] = address
    p8(s[nt.S_FLAGS])[slot] = nt.EXTERNAL | (ACTIVE if active else 0)
    s[nt.S_BOUND] += p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * instruction)[I_BYTES]
    if done:
        s[nt.S_DONE] = slot + 1
    return slot


def leaf_entry(state, instruction, address, active):  # type: ignore[no-untyped-def]
    return append_leaf(state, instruction, address, active)


def status_entry(tensor):  # type: ignore[no-untyped-def]
    """1 if a tensor is active, plus 2 if its statement is a leaf; -1 for an unbound handle.

    One call under the GIL, so it may look at the tape of another thread.
    """
    state = p64(tensor + _STATE)[0]
    if state == 0:
        return -1
    s = p64(state)
    slot = slot_of(state, tensor)
    row = p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * p32(s[nt.S_INSTRUCTION])[slot])
    active = p8(s[nt.S_FLAGS])[p32(s[nt.S_ROOT])[slot]] & ACTIVE
    return active + (2 if row[I_KIND] == nt.LEAF else 0)


def look_entry(state, items, count, places):  # type: ignore[no-untyped-def]
    """Find the slots of a tuple of tensors; 0 if all are active and on this tape, else 1.

    `places` has room for a slot and a layout of each.
    """
    tensor = p64(globals_address())[nt.G_TENSOR]
    s, out = p64(state), p64(places)
    for i in range(count):
        one = p64(items + nt.HEADER + 8 + 8 * i)[0]
        if p64(one + _TYPE)[0] != tensor or p64(one + _STATE)[0] != state:
            return 1
        slot = slot_of(state, one)
        if p8(s[nt.S_FLAGS])[p32(s[nt.S_ROOT])[slot]] & ACTIVE == 0:
            return 1
        out[2 * i] = slot
        out[2 * i + 1] = np.int64(p32(one + _LAYOUT)[0])
    return 0


def word_entry(address):  # type: ignore[no-untyped-def]
    """The word at an address."""
    return p64(address)[0]


def handle_entry(state, slot, layout):  # type: ignore[no-untyped-def]
    return new_handle(state, slot, layout)


def bind_entry(tensor, state, slot, layout):  # type: ignore[no-untyped-def]
    """Bind a handle, unbound or on any tape, to a slot; 0, or -1 where no handle id is free."""
    old = p64(tensor + _STATE)[0]
    if old != state and p64(state)[nt.S_HANDLE_FREE] < 0:
        return -1
    if old != 0:
        unbind(tensor)
    bind(tensor, state, slot, layout)
    return 0
