"""Recording in native code; handle_type.py says what a handle is.

Start reading at `append` (the meaning of recording a statement), then `binary`. Entries that Python calls as
it records are in appending.py, runs of statements in segments.py.

**What runs Python code here, and when.** The allocation of a handle may run the garbage collector, and so
finalizers, which record, free, collect slots, grow tables, rebind operands, or run a backward pass of
their own. So every entry point that is called from Python with objects goes in this order:

1. it looks at types and at the tape, to see whether it may record at all (`own_state`);
2. it allocates the handle (`blank_handle`), unbound: whatever runs there finds the tape whole;
3. from the operands and the tape as they are by now it reads slots, converts numbers, finds the instruction,
   appends the statement and binds the handle (`finish`), without a call that could run Python code;
4. if anything is in the way, nothing has been appended: the handle goes, and Python takes over (`slow`).

`dealloc` gives the handle's id back first, and its memory last. Numbers are converted by functions of the
C API that set no error. Entry points that get addresses and slots alone call nothing of the C API.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import float_bits, globals_address, helper, inlined, p8, p32, p64, stack_words
from .hash_tables import find_constant, find_pair

_TYPE = nt.HEADER - 8  # where the header keeps the type
#: where a type keeps the type that it lays its objects out by (tp_base)
_BASE = nt.HEADER + 240
_STATE, _ID, _LAYOUT, _DICT = nt.HEADER, nt.HEADER + 8, nt.HEADER + 12, nt.HEADER + 16
#: where the characters of a bytes object are, behind its length and its hash
CHARACTERS = nt.HEADER + 16
_NEED_PYTHON = -1
_SELECT = nt.SELECT_CODE
NUMBER_PROTOCOL = nt.NUMBER_PROTOCOL
METHOD_CALL = nt.METHOD_CALL
NO_NUMBER = -(1 << 63)


@inlined
def has_room(state, statements, args):  # type: ignore[no-untyped-def]
    """Return True if the tape's arrays have room."""
    s = p64(state)
    return (
        s[nt.S_COUNT] + statements <= s[nt.S_CAPACITY]
        and s[nt.S_ARG_COUNT] + args <= s[nt.S_ARG_CAPACITY]
    )


@helper
def append(state, instruction, args, count):  # type: ignore[no-untyped-def]
    """Append a statement; return its slot, or -1 if Python has to make room or evaluate first."""
    s = p64(state)
    if not has_room(state, 1, count) or s[nt.S_PENDING_BYTES] > s[nt.S_PENDING_LIMIT]:
        return _NEED_PYTHON
    return put(state, instruction, args, count, 0)


@helper
def forget_operands(s, k):  # type: ignore[no-untyped-def]
    """Let a passive result that becomes active be like a leaf, from which no pass goes on."""
    row = p64(p64(globals_address())[nt.G_ITAB] + 8 * nt.I_WIDTH * p32(s[nt.S_INSTRUCTION])[k])
    if row[nt.I_KIND] == nt.COMPUTE and k < s[nt.S_DONE]:
        args, arg_start = p32(s[nt.S_ARG]), p32(s[nt.S_ARG_START])
        for i in range(arg_start[k], arg_start[k + 1]):  # none, where they were dropped before
            args[i] = 0


@inlined
def put(state, instruction, args, count, refused):  # type: ignore[no-untyped-def]
    """Append a statement for which there is room; its slot.

    -1, and nothing done, if the memory of an operand has one of the `refused` flags.
    """
    s = p64(state)
    source, target = p32(args), p32(s[nt.S_ARG] + 4 * s[nt.S_ARG_COUNT])
    for i in range(count):
        target[i] = source[i]
    return put_in_place(state, instruction, args, count, refused)


@inlined
def put_in_place(state, instruction, args, count, refused):  # type: ignore[no-untyped-def]
    """Append a statement whose operands stand where they will be; see `put`."""
    s = p64(state)
    n = s[nt.S_COUNT]
    start = s[nt.S_ARG_COUNT]
    row = p64(p64(globals_address())[nt.G_ITAB] + 8 * nt.I_WIDTH * instruction)
    source = p32(args)
    root, base, flags = p32(s[nt.S_ROOT]), p32(s[nt.S_BASE]), p8(s[nt.S_FLAGS])
    active = 0
    visible = 0
    for i in range(row[nt.I_NARGS]):
        slot = source[i]
        active |= flags[root[slot]]
        visible |= flags[base[slot]]
    active &= nt.ACTIVE
    if s[nt.S_GRAD_MODE] == 0 or row[nt.I_DIFF] == 0:
        active = 0
    if visible & refused:
        return _NEED_PYTHON
    if visible & nt.VISIBLE:
        s[nt.S_EAGER] = 1
    kind = row[nt.I_KIND]
    own_root, own_base, own_flags = n, n, active
    if kind == nt.VIEW or kind >= nt.WRITE:
        parent = source[0]
        if kind < nt.OUTPUT:
            own_base = base[parent]
            own_flags |= flags[parent] & nt.SILENT
            if kind == nt.VIEW and root[parent] != parent:
                own_flags |= flags[parent] & nt.WATCHED
            # A view that is made under no_grad has a root of its own, which tells that (views.py).
            aliases = s[nt.S_GRAD_MODE] != 0 or (
                kind != nt.VIEW and flags[root[parent]] & nt.ACTIVE == 0
            )
            if row[nt.I_DETACH] == 0 and aliases:
                own_root = root[parent]
                own_flags &= ~nt.ACTIVE
                if kind != nt.VIEW and active:
                    if flags[own_root] & nt.ACTIVE == 0:
                        forget_operands(s, own_root)
                    flags[own_root] |= nt.ACTIVE
            else:
                own_flags &= ~nt.ACTIVE
            if row[nt.I_DETACH] == 2:
                own_flags |= nt.SILENT
    p32(s[nt.S_INSTRUCTION])[n] = instruction
    p32(s[nt.S_ARG_START])[n + 1] = start + count
    p64(s[nt.S_ADDRESS])[n] = 0
    root[n] = own_root
    base[n] = own_base
    flags[n] = own_flags
    s[nt.S_ARG_COUNT] = start + count
    if kind == nt.COMPUTE:
        s[nt.S_PENDING_BYTES] += row[nt.I_BYTES]
    s[nt.S_COUNT] = n + 1
    row[nt.I_USED] = 1
    return n


@helper
def layout_at(state, slot):  # type: ignore[no-untyped-def]
    """Layout id of a slot."""
    instruction = p32(p64(state)[nt.S_INSTRUCTION])[slot]
    return p64(p64(globals_address())[nt.G_ITAB] + 8 * nt.I_WIDTH * instruction)[nt.I_LAYOUT]


@inlined
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


@inlined
def unbind(tensor):  # type: ignore[no-untyped-def]
    """Give the id of a bound handle back to its tape."""
    s = p64(p64(tensor + _STATE)[0])
    handle = p32(tensor + _ID)[0]
    p32(s[nt.S_HANDLES])[handle] = -2 - s[nt.S_HANDLE_FREE]
    s[nt.S_HANDLE_FREE] = handle
    s[nt.S_HANDLE_COUNT] -= 1


@inlined
def blank_handle():  # type: ignore[no-untyped-def]
    """A Tensor that is not bound, or 0 with a Python error set; this may run any Python code."""
    g = p64(globals_address())
    return it.call_alloc(g[nt.G_ALLOC], g[nt.G_TENSOR], 0)


@inlined
def whole_number(value):  # type: ignore[no-untyped-def]
    """A Python int of the exact type `int`; the largest int64 below 0 where it has no such number."""
    overflow = stack_words(1)
    number = it.long_as_longlong_and_overflow(value, overflow)
    return number if p32(overflow)[0] == 0 else NO_NUMBER


@inlined
def scalar_slot(state, scalar, layout):  # type: ignore[no-untyped-def]
    """Slot of a Python float or int as an operand of a floating or complex tensor, or 0."""
    g = p64(globals_address())
    dtype = p8(g[nt.G_LAYOUT_DTYPE])[layout]
    if dtype > nt.FLOAT32 and dtype != nt.COMPLEX128 and dtype != nt.COMPLEX64:
        return 0
    kind = p64(scalar + _TYPE)[0]
    if kind == g[nt.G_FLOAT]:
        value = it.float_as_double(scalar)
    elif kind == g[nt.G_LONG]:
        whole = whole_number(scalar)
        if whole > (1 << 53) or whole < -(1 << 53):
            return 0
        value = float(whole)
    else:
        return 0
    return find_constant(state, float_bits(value), np.int64(dtype))


@inlined
def is_plain(value):  # type: ignore[no-untyped-def]
    """Return True if an object is a Tensor, or of a class whose base that is (`nn.Parameter`)."""
    kind, wanted = p64(value + _TYPE)[0], p64(globals_address())[nt.G_TENSOR]
    return kind == wanted or p64(kind + _BASE)[0] == wanted


@inlined
def own_state(tensor):  # type: ignore[no-untyped-def]
    """State of the tape a plain tensor is on if this thread may record there, else 0."""
    state = p64(tensor + _STATE)[0]
    if state != 0:
        s = p64(state)
        if s[nt.S_OWNER] == it.thread_ident() and s[nt.S_BUSY] == 0:
            return state
    return 0


@inlined
def slot_of(state, tensor):  # type: ignore[no-untyped-def]
    return p32(p64(state)[nt.S_HANDLES])[p32(tensor + _ID)[0]]


@inlined
def still_there(tensor, state):  # type: ignore[no-untyped-def]
    """Return True if, since `own_state`, a handle stayed on its tape, and the tape free to record on."""
    return p64(tensor + _STATE)[0] == state and p64(state)[nt.S_BUSY] == 0


@inlined
def finish(handle, state, instruction, args, count, layout):  # type: ignore[no-untyped-def]
    """Append a statement and bind its handle; or neither, and 0: the handle goes, and Python has to help."""
    s = p64(state)
    if (
        s[nt.S_HANDLE_FREE] >= 0
        and s[nt.S_EAGER] == 0
        and has_room(state, 1, count)
        and s[nt.S_PENDING_BYTES] <= s[nt.S_PENDING_LIMIT]
    ):
        slot = put(state, instruction, args, count, nt.VISIBLE)  # such have to be evaluated at once
        if slot >= 0:
            bind(handle, state, slot, layout)
            return handle
    return forget(handle)


@inlined
def forget(handle):  # type: ignore[no-untyped-def]
    """Let a handle go that was not bound; 0."""
    it.py_decref(handle)
    return np.int64(0)


@inlined
def find_binary(state, first, a, b, op, args):  # type: ignore[no-untyped-def]
    """Address of the row for an op on two operands, whose slots go to `args`, or 0.

    `first` is the first operand, or the second if that alone is a plain tensor.
    """
    dtypes = p8(p64(globals_address())[nt.G_LAYOUT_DTYPE])
    if first == a:
        slot_a = np.int64(slot_of(state, a))
        layout_a = np.int64(p32(a + _LAYOUT)[0])
        if is_plain(b):
            if p64(b + _STATE)[0] != state:
                return 0
            slot_b = np.int64(slot_of(state, b))
            layout_b = np.int64(p32(b + _LAYOUT)[0])
        else:
            slot_b = scalar_slot(state, b, layout_a)
            layout_b = np.int64(dtypes[layout_a]) + 1
    else:
        slot_b = np.int64(slot_of(state, b))
        layout_b = np.int64(p32(b + _LAYOUT)[0])
        slot_a = scalar_slot(state, a, layout_b)
        layout_a = np.int64(dtypes[layout_b]) + 1
    if slot_a == 0 or slot_b == 0:
        return 0
    p32(args)[0] = slot_a
    p32(args)[1] = slot_b
    return find_pair(op, layout_a, layout_b)


@helper
def try_binary(a, b, op):  # type: ignore[no-untyped-def]
    first = a if is_plain(a) else b
    if not is_plain(first):
        return 0
    state = own_state(first)
    if state == 0:
        return 0
    handle = blank_handle()
    if handle == 0:
        return 0
    args = stack_words(1)
    row = np.int64(0)
    if still_there(first, state):
        row = find_binary(state, first, a, b, op, args)
    if row == 0:
        return forget(handle)
    return finish(handle, state, p64(row)[1], args, 2, p64(row)[2])


@helper
def try_unary(a, op):  # type: ignore[no-untyped-def]
    if not is_plain(a):
        return 0
    state = own_state(a)
    if state == 0:
        return 0
    handle = blank_handle()
    if handle == 0:
        return 0
    row = np.int64(0)
    if still_there(a, state):
        row = find_pair(op, np.int64(p32(a + _LAYOUT)[0]), 0)
    if row == 0:
        return forget(handle)
    args = stack_words(1)
    p32(args)[0] = slot_of(state, a)
    return finish(handle, state, p64(row)[1], args, 1, p64(row)[2])


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
    """A call of an op as a function, ``tg.sin(x)``, or, with `METHOD_CALL` in `op`, as a method."""
    result, code = np.int64(0), op & (METHOD_CALL - 1)
    if names == 0:
        if count == 2:
            result = try_binary(p64(args)[0], p64(args)[1], code)
        elif count == 1:
            result = try_unary(p64(args)[0], code)
    if result == 0 and it.error_occurred() == 0:
        return slow(op, args, count, names)
    return result


def dealloc(tensor):  # type: ignore[no-untyped-def]
    """Give the handle id back to the tape, then attributes and memory to Python."""
    if p64(tensor + _STATE)[0] != 0:
        unbind(tensor)
    attributes = p64(tensor + _DICT)[0]
    if attributes != 0:  # may run Python, which does not find the handle any more
        p64(tensor + _DICT)[0] = 0
        it.py_decref(attributes)
    kind = p64(tensor + _TYPE)[0]
    it.call_void(it.type_slot(kind, 74), tensor)  # Py_tp_free
    it.py_decref(kind)
