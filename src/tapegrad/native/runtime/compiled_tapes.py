"""Native code of compiled tapes, and of calls of compiled functions.

`call_jitted` is the C function of a call with NumPy arrays: it compares the arguments with those that the
tape was recorded for, makes the results, runs the code and puts the results together. With tensors it records
statements (jit_compiler/routine.py). What is not as it was recorded is the business of a Python function,
which gets the arguments as they are.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import call_code, helper, inlined, p8, p32, p64, stack_words
from .interpreter import run_range
from .recording import _LAYOUT, _STATE, bind, blank_handle, is_plain, slot_of
from .segments import append_segment, fits, leaf_slots

_DATA, _DIMENSIONS, _LENGTHS = nt.HEADER, nt.HEADER + 8, nt.HEADER + 16
_DTYPE, _FLAGS = nt.HEADER + 40, nt.HEADER + 48
#: contiguous, and aligned
_PLAIN = 0x101


def run_steps(steps, table):  # type: ignore[no-untyped-def]
    """Run the steps of an instruction on a table of pointers, as `run_program` does."""
    return run_range(steps, table)


def run_tape(code, table):  # type: ignore[no-untyped-def]
    """Run a compiled tape, and return what it does."""
    return call_code(code, table)


@helper
def take_inputs(r, args):  # type: ignore[no-untyped-def]
    """Write the arguments' addresses into the table; 0 if one is not as it was recorded."""
    table, rows = p64(r[nt.J_TABLE]), r[nt.J_INPUT_ROWS]
    first = r[nt.J_FIRST_INPUT]
    for i in range(r[nt.J_INPUTS]):
        x, row = p64(args)[i], p64(rows + 8 * nt.J_INPUT * i)
        if p64(x + nt.HEADER - 8)[0] != r[nt.J_ARRAY_TYPE] or p64(x + _DTYPE)[0] != row[0]:
            return np.int64(0)
        if p32(x + _DIMENSIONS)[0] != row[1] or (p32(x + _FLAGS)[0] & _PLAIN) != _PLAIN:
            return np.int64(0)
        lengths = p64(p64(x + _LENGTHS)[0])
        for j in range(row[1]):
            if lengths[j] != row[2 + j]:
                return np.int64(0)
        table[first + i] = p64(x + _DATA)[0]
    return np.int64(1)


@helper
def surroundings_are_same(r):  # type: ignore[no-untyped-def]
    """Return whether the globals and variables that the function uses are the objects that they were."""
    for i in range(r[nt.J_PLACES]):
        row = p64(r[nt.J_PLACE_ROWS] + 8 * nt.J_PLACE * i)
        owner, value = row[1], np.int64(0)
        if row[0] == 0:
            value = it.dict_get(owner, row[2])
        elif row[0] == 1:  # a cell
            value = p64(owner + nt.HEADER)[0]
        elif row[0] == 3:  # a word
            value = p64(owner + row[2])[0]
        elif row[0] == 4:  # elements of an array
            if it.memcmp(p64(owner + _DATA)[0], row[3], row[2]) == 0:
                value = row[3]
        elif row[0] == 6:  # the items of a dict, in their order
            if entries_are_same(owner, row[2], row[3]):
                value = row[3]
        elif row[0] == 7:  # the items of a list
            if it.memcmp(p64(owner + nt.HEADER + 8)[0], row[3], row[2]) == 0:
                value = row[3]
        elif row[2] < p64(owner + nt.HEADER)[0]:  # a list: length, items
            value = p64(p64(owner + nt.HEADER + 8)[0] + 8 * row[2])[0]
        if value != row[3]:
            return np.int64(0)
    return np.int64(1)


@helper
def entries_are_same(owner, count, known):  # type: ignore[no-untyped-def]
    """Return whether a dict has `count` items, with the keys and values at `known`."""
    place = stack_words(3)
    p, k = p64(place), p64(known)
    p[0] = 0
    for i in range(count):
        if it.dict_next(owner, place, place + 8, place + 16) == 0:
            return False
        if p[1] != k[2 * i] or p[2] != k[2 * i + 1]:
            return False
    return it.dict_next(owner, place, place + 8, place + 16) == 0


@helper
def new_outputs(r, out):  # type: ignore[no-untyped-def]
    """Make arrays for the results, and write their addresses into the table; 0 without memory."""
    table = p64(r[nt.J_TABLE])
    for i in range(r[nt.J_OUTPUTS]):
        row = p64(r[nt.J_OUTPUT_ROWS] + 8 * nt.J_OUTPUT * i)
        array = row[5]
        if array != 0 and p64(array)[0] == 1:  # nobody but this function has it any more
            it.py_incref(array)
        else:
            array = it.call_array_new(
                r[nt.J_ARRAY_NEW], r[nt.J_ARRAY_TYPE], row[1], row[2], row[0], 0, 0, 0, 0, 0
            )
            if array == 0:
                drop(out, i)
                return np.int64(0)
            if row[4] != 0:
                if row[5] != 0:
                    it.py_decref(row[5])
                it.py_incref(array)
                row[5] = array
        p64(out)[i] = array
        table[row[3]] = p64(array + _DATA)[0]
    return np.int64(1)


@helper
def drop(objects, count):  # type: ignore[no-untyped-def]
    """Give references back."""
    for i in range(count):
        it.py_decref(p64(objects)[i])


@helper
def guards_hold(r):  # type: ignore[no-untyped-def]
    """Return whether the values that the function read are what they were."""
    for i in range(r[nt.J_GUARDS]):
        row = p64(r[nt.J_GUARD_ROWS] + 8 * nt.J_GUARD * i)
        if it.memcmp(row[0], row[1], row[2]) != 0:
            return np.int64(0)
    return np.int64(1)


@helper
def put_together(r, out):  # type: ignore[no-untyped-def]
    """Put the results together as the function returns them."""
    parts = stack_words(2 * nt.J_RESULTS)
    p, count = p64(parts), 0
    words = p64(r[nt.J_RESULT])
    for k in range(words[0]):
        word = words[1 + k]
        if word >= 0:
            p[count] = p64(out)[word]
            count += 1
        else:
            n = ~word
            group = it.tuple_new(n)
            if group == 0:
                drop(parts, count)
                return np.int64(0)
            for j in range(n):
                it.tuple_set(group, j, p[count - n + j])
            count -= n
            p[count] = group
            count += 1
    return p[0]


# --------------------------------------------------------------------------- tensors
@inlined
def tensor_at(r, args, i):  # type: ignore[no-untyped-def]
    """Tensor `i` of a call, an argument or an object of the surroundings."""
    row = p64(r[nt.J_TENSOR_ROWS] + 8 * nt.J_TENSOR * i)
    return p64(args)[row[0]] if row[0] >= 0 else row[1]


@helper
def tensors_are_same(r, args):  # type: ignore[no-untyped-def]
    """Return whether tensors are as recorded, and on the tape that they were on, which can be recorded on."""
    state = r[nt.J_STATE]
    s = p64(state)
    for i in range(r[nt.J_TENSORS]):
        x, row = tensor_at(r, args, i), p64(r[nt.J_TENSOR_ROWS] + 8 * nt.J_TENSOR * i)
        if not is_plain(x) or p64(x + _STATE)[0] != state or p32(x + _LAYOUT)[0] != row[2]:
            return np.int64(0)
        if i == 0:  # a tape with a tensor is there
            if s[nt.S_OWNER] != it.thread_ident() or s[nt.S_BUSY] != 0 or s[nt.S_EAGER] != 0:
                return np.int64(0)
            if s[nt.S_GRAD_MODE] != r[nt.J_MODE] or s[nt.S_PENDING_BYTES] > s[nt.S_PENDING_LIMIT]:
                return np.int64(0)
        slot, flags = slot_of(state, x), p8(s[nt.S_FLAGS])
        active = flags[p32(s[nt.S_ROOT])[slot]] & nt.ACTIVE if r[nt.J_MODE] != 0 else 0
        if active != row[3] or flags[p32(s[nt.S_BASE])[slot]] & nt.VISIBLE:
            return np.int64(0)
    return np.int64(1)


@helper
def has_handles(state, count):  # type: ignore[no-untyped-def]
    """Return whether so many handles can be bound."""
    free, handles = p64(state)[nt.S_HANDLE_FREE], p32(p64(state)[nt.S_HANDLES])
    for _ in range(count):
        if free < 0:
            return np.int64(0)
        free = -2 - handles[free]
    return np.int64(1)


@helper
def record_call(r, args):  # type: ignore[no-untyped-def]
    """Record a call with tensors as statements; 0, and nothing recorded, where Python has to help.

    Handles are made first, as that may run Python code (recording.py).
    """
    if tensors_are_same(r, args) == 0 or surroundings_are_same(r) == 0:
        return np.int64(0)
    out, count, fills = stack_words(nt.J_RESULTS), r[nt.J_OUTPUTS], r[nt.J_FILLS]
    for i in range(count):
        handle = blank_handle()
        if handle == 0:
            drop(out, i)
            return np.int64(0)
        p64(out)[i] = handle
    state, segment = r[nt.J_STATE], r[nt.J_SEGMENT]
    goes = r[nt.J_FILLS] == fills and tensors_are_same(r, args) != 0
    if not goes or has_handles(state, count) == 0 or not fits(state, segment, 0, 0):
        drop(out, count)
        return np.int64(0)
    leaves = p32(leaf_slots(state, segment))
    for i in range(r[nt.J_INPUTS]):
        leaves[i] = slot_of(state, tensor_at(r, args, i))
    first = append_segment(state, segment)
    for i in range(count):
        row = p64(r[nt.J_OUTPUT_ROWS] + 8 * nt.J_OUTPUT * i)
        bind(p64(out)[i], state, first + row[0], row[1])
    return put_together(r, out)


def call_jitted(record, args, count, names):  # type: ignore[no-untyped-def]
    """Call a compiled function; its Python function where something is not as it was."""
    r = p64(p64(record + _DATA)[0])
    if r[nt.J_READY] == nt.WITH_TENSORS and names == 0 and count == r[nt.J_ARGS]:
        result = record_call(r, args)
        if result != 0 or it.error_occurred() != 0:
            return result
    goes = names == 0 and count == r[nt.J_INPUTS] and r[nt.J_BUSY] == 0
    if (
        goes
        and r[nt.J_READY] == nt.WITH_ARRAYS
        and take_inputs(r, args)
        and surroundings_are_same(r)
    ):
        out = stack_words(nt.J_RESULTS)
        if new_outputs(r, out) == 0:
            return 0
        r[nt.J_BUSY] = 1
        table = p64(r[nt.J_TABLE])
        head = table[0]
        if r[nt.J_RELEASES]:
            thread = it.save_thread()
            failed = call_code(r[nt.J_CODE], r[nt.J_TABLE])
            it.restore_thread(thread)
        else:
            failed = call_code(r[nt.J_CODE], r[nt.J_TABLE])
        table[0] = head  # where it says which call has failed
        holds = failed == 0 and guards_hold(r) != 0
        r[nt.J_BUSY] = 0
        if holds:
            return put_together(r, out)
        drop(out, r[nt.J_OUTPUTS])
    return it.vectorcall(r[nt.J_SLOW], args, count, names)
