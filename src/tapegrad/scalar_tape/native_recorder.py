"""Strips in native code: the recorder that grows while a function runs, and its way onto the tape.

A *recorder* is a few words (``W_*``) over growing arrays: values, operands (two numbers in a word),
opcodes and constants. An operation in a `@tg.njit` function does what `push` does. native_transpose.py
writes the reverse pass of a strip as another one.
"""

from __future__ import annotations

import numpy as np

from ..native import abi as nt
from ..native import words as it
from ..native.runtime.allocator import (
    allocate,
    allocate_large,
    allocate_small,
    buffer_bytes,
    free_large,
)
from ..native.runtime.recording import append, is_plain, slot_of
from ..native.words import (
    add_atomically,
    globals_address,
    helper,
    p16,
    p32,
    p64,
    pf64,
    stack_words,
)
from . import abi as sf
from .called_kernels import call_kernels, row_of

_MOST = (1 << 31) - 1
MOST_JOINED = 64


# --------------------------------------------------------------------------- a recorder
@helper
def pack_word(low, high):  # type: ignore[no-untyped-def]
    """Two numbers as a word of operands."""
    return low | high << 32


@helper
def pooled(recorder, size):  # type: ignore[no-untyped-def]
    """A buffer; a large one comes from the tape's pool."""
    if size > nt.SMALL:
        return allocate_large(p64(recorder)[sf.W_STATE] + 8 * nt.S_POOL, size)
    return it.malloc(size)


@helper
def grow(recorder):  # type: ignore[no-untyped-def]
    """Make room for more statements; 0, or -1 without memory (or numbers)."""
    r = p64(recorder)
    head = r[sf.W_HEAD]
    old = r[sf.W_CAPACITY] - head
    room = min(2 * old, _MOST - head)
    if room <= old:
        return -1
    if r[sf.W_VALUELESS] == 0:
        values = it.realloc(r[sf.W_VALUES], buffer_bytes(8 * (head + room)))
        if values == 0:
            return -1
        r[sf.W_VALUES] = values
    # Operands and opcodes have none for the head: their addresses are those of number 0.
    args = it.realloc(r[sf.W_ARGS] + 8 * head, buffer_bytes(8 * room))
    if args == 0:
        return -1
    r[sf.W_ARGS] = args - 8 * head
    codes = it.realloc(r[sf.W_CODES] + 2 * head, buffer_bytes(2 * room))
    if codes == 0:
        return -1
    r[sf.W_CODES] = codes - 2 * head
    r[sf.W_CAPACITY] = head + room
    return 0


@helper
def grow_table(recorder):  # type: ignore[no-untyped-def]
    """Make room for more constants; 0, or -1 without memory."""
    r = p64(recorder)
    memory = it.realloc(r[sf.W_TABLE], buffer_bytes(16 * r[sf.W_TABLE_CAPACITY]))
    if memory == 0:
        return -1
    r[sf.W_TABLE] = memory
    r[sf.W_TABLE_CAPACITY] *= 2
    return 0


@helper
def push(recorder, value, word, code):  # type: ignore[no-untyped-def]
    """Append a scalar statement; its number, or -1 without memory."""
    r = p64(recorder)
    n = r[sf.W_COUNT]
    if n >= r[sf.W_CAPACITY]:
        if grow(recorder) != 0:
            return -1
    if r[sf.W_VALUELESS] == 0:
        pf64(r[sf.W_VALUES])[n] = value
    p64(r[sf.W_ARGS])[n] = word
    p16(r[sf.W_CODES])[n] = code
    r[sf.W_COUNT] = n + 1
    return n


@helper
def push_constant(recorder, value):  # type: ignore[no-untyped-def]
    """Append a constant; its number, or -1 without memory."""
    r = p64(recorder)
    n = r[sf.W_TABLE_COUNT]
    if n >= r[sf.W_TABLE_CAPACITY]:
        if grow_table(recorder) != 0:
            return -1
    pf64(r[sf.W_TABLE])[n] = value
    r[sf.W_TABLE_COUNT] = n + 1
    return n


@helper
def open_recorder(recorder, state, head, count, room, table_room):  # type: ignore[no-untyped-def]
    """Start a recorder whose first `count` values are at `head`; 0, or -1 without memory.

    Without a head it keeps no values, only statements.
    """
    r = p64(recorder)
    for i in range(sf.W_WIDTH):
        r[i] = 0
    r[sf.W_SELF], r[sf.W_STATE] = recorder, state
    r[sf.W_VALUELESS] = head == 0
    r[sf.W_HEAD] = r[sf.W_COUNT] = count
    r[sf.W_CAPACITY], r[sf.W_TABLE_CAPACITY], r[sf.W_TABLE_COUNT] = (
        count + room,
        table_room,
        sf.B_WIDTH,
    )
    if head != 0:
        r[sf.W_VALUES] = pooled(recorder, 8 * (count + room))
        if r[sf.W_VALUES] == 0:
            return -1
        it.memcpy(r[sf.W_VALUES], head, 8 * count)
    args = pooled(recorder, 8 * room)
    if args == 0:
        return -1
    r[sf.W_ARGS] = args - 8 * count
    codes = pooled(recorder, 2 * room)
    if codes == 0:
        return -1
    r[sf.W_CODES] = codes - 2 * count
    r[sf.W_TABLE] = pooled(recorder, 8 * table_room)
    return 0 if r[sf.W_TABLE] != 0 else -1


def begin_entry(state, recorder, items, count, joining, rooms):  # type: ignore[no-untyped-def]
    """Start a recorder on a tuple of tensors that instruction `joining` joins; the slot of the joined vector.

    One tensor alone needs no statement (`joining` is below 0 then). -1 where Python has to look: something is
    pending, there is no room, or a tensor is another tape's; -2 without memory. `rooms`, as `pack_word` gives
    it: statements and constants.
    """
    s = p64(state)
    if s[nt.S_DONE] != s[nt.S_COUNT] or count > MOST_JOINED:
        return -1
    args = stack_words(MOST_JOINED)
    a, address = p32(args), p64(s[nt.S_ADDRESS])
    itab, instructions = p64(globals_address())[nt.G_ITAB], p32(s[nt.S_INSTRUCTION])
    for i in range(count):
        tensor = p64(items + nt.TUPLE_ITEMS + 8 * i)[0]
        if not is_plain(tensor) or p64(tensor + nt.HEADER)[0] != state:
            return -1
        a[i] = slot_of(state, tensor)
        if address[a[i]] == 0:
            return -1
    slot = np.int64(a[0])
    size = p64(itab + 8 * nt.I_WIDTH * (joining if joining >= 0 else instructions[slot]))[
        nt.I_BYTES
    ]
    if joining >= 0:
        if (
            s[nt.S_COUNT] + 1 >= s[nt.S_CAPACITY]
            or s[nt.S_ARG_COUNT] + count >= s[nt.S_ARG_CAPACITY]
        ):
            return -1
        memory = allocate(state, nt.S_VALUES, max(size, 1))
        if memory == 0:
            return -2
        target = memory
        for i in range(count):
            part = p64(itab + 8 * nt.I_WIDTH * instructions[a[i]])[nt.I_BYTES]
            it.memcpy(target, address[a[i]], part)
            target += part
        eager = s[nt.S_EAGER]
        slot = append(state, joining, args, count)
        if slot < 0:
            if size > nt.SMALL:
                free_large(state + 8 * nt.S_POOL, memory, size)
            return -1
        s[nt.S_EAGER] = eager  # its value is there
        if size > nt.SMALL:
            s[nt.S_OWNED_BYTES] += size
        address[slot] = memory
        s[nt.S_DONE] = slot + 1
        s[nt.S_PENDING_BYTES] -= size
    room, table_room = rooms & 0xFFFFFFFF, rooms >> 32
    if open_recorder(recorder, state, address[slot], size >> 3, room, table_room) != 0:
        return -2
    return slot


@helper
def give_back(recorder, address, size):  # type: ignore[no-untyped-def]
    """Free a recorder's buffer of `size` bytes."""
    if address != 0:
        if size > nt.SMALL:
            free_large(p64(recorder)[sf.W_STATE] + 8 * nt.S_POOL, address, size)
        else:
            it.free(address)


def close_entry(recorder):  # type: ignore[no-untyped-def]
    """Give a recorder's memory back."""
    r = p64(recorder)
    room = r[sf.W_CAPACITY] - r[sf.W_HEAD]
    give_back(recorder, r[sf.W_VALUES], 8 * r[sf.W_CAPACITY])
    if r[sf.W_ARGS] != 0:
        give_back(recorder, r[sf.W_ARGS] + 8 * r[sf.W_HEAD], 8 * room)
    if r[sf.W_CODES] != 0:
        give_back(recorder, r[sf.W_CODES] + 2 * r[sf.W_HEAD], 2 * room)
    give_back(recorder, r[sf.W_TABLE], 8 * r[sf.W_TABLE_CAPACITY])
    for i in range(sf.W_WIDTH):
        r[i] = 0
    return 0


def pack_entry(recorder, numbers, values, count, code):  # type: ignore[no-untyped-def]
    """Copy values to the end of a recorder, one behind the other; the first number, or -1.

    `code` is the opcode of `clone`; a number below 0 stands for a constant.
    """
    n, v = p64(numbers), pf64(values)
    first = p64(recorder)[sf.W_COUNT]
    for i in range(count):
        if n[i] >= 0:
            number = push(recorder, v[i], n[i], code)
        else:
            number = push_passive(recorder, v[i])
        if number < 0:
            return -1
    return first


# Functions under njit call these, where it is rare: compiled into each of them they took a second.
def room_entry(recorder, table):  # type: ignore[no-untyped-def]
    """Make room for statements, or for constants; 0, or E_NO_MEMORY."""
    failed = grow_table(recorder) if table else grow(recorder)
    return sf.E_NO_MEMORY if failed else 0


@helper
def push_passive(recorder, value):  # type: ignore[no-untyped-def]
    """Append a passive value as a statement; its number, or E_NO_MEMORY."""
    constant = push_constant(recorder, value)
    number = push(recorder, value, constant, sf.CODE_CONSTANT) if constant >= 0 else constant
    return number if number >= 0 else sf.E_NO_MEMORY


def mixed_entry(recorder, value, a, x, b, y, code):  # type: ignore[no-untyped-def]
    """Record an op on two operands one of which may be passive; its number, -1 if both are, or E_NO_MEMORY.

    Numbers of the operands are `a` and `b`, their values `x` and `y`; `code` is that of kinds "ab".
    """
    if a < 0 and b < 0:
        return -1
    word = np.int64(0)
    if a >= 0 and b >= 0:
        word = pack_word(a, b)
    else:
        constant = push_constant(recorder, x if a < 0 else y)
        if constant < 0:
            return sf.E_NO_MEMORY
        if a < 0:
            word, code = pack_word(constant, b), code + 2
        else:
            word, code = pack_word(a, constant), code + 1
    number = push(recorder, value, word, code)
    return number if number >= 0 else sf.E_NO_MEMORY


def block_entry(function, description):  # type: ignore[no-untyped-def]
    """Enter a block into the table of this process; its number, or E_NO_MEMORY."""
    number = add_atomically(globals_address() + 8 * nt.G_BLOCK_COUNT, 1)
    if number >= sf.MOST_BLOCKS:
        return sf.E_NO_MEMORY
    row = p64(p64(globals_address())[nt.G_BLOCKS] + 16 * number)
    row[sf.BLOCK_DESCRIPTION] = description
    row[sf.BLOCK_CODE] = function
    return number


def called_entry(code, memory):  # type: ignore[no-untyped-def]
    """Compute a row by its opcode (called_rows.py) from the operands at the start of memory."""
    call_kernels(row_of(code), memory)
    return 0


def elements_entry(elements, values, first, count, recorder):  # type: ignore[no-untyped-def]
    """Fill an array with active scalars (njit_compiler/types.py) that have consecutive numbers."""
    numbers = p64(values)
    for i in range(count):
        element = p64(elements + 8 * sf.N_WIDTH * i)
        element[sf.N_VALUE], element[sf.N_MARK] = numbers[i], ~(first + i)
        element[sf.N_RECORDER] = recorder
    return 0


@helper
def note_results(recorder, results, count):  # type: ignore[no-untyped-def]
    """Complete the table by the numbers that results begin with; 0, or -1 without memory."""
    r = p64(recorder)
    place = r[sf.W_TABLE_COUNT]
    for i in range(count):
        n = push_constant(recorder, 0.0)
        if n < 0:
            return -1
        p64(r[sf.W_TABLE])[n] = p64(results)[i]
    b = p64(r[sf.W_TABLE])
    b[sf.B_COUNT], b[sf.B_HEAD], b[sf.B_REPLAYED] = r[sf.W_COUNT], r[sf.W_HEAD], 0
    b[sf.B_RESULTS], b[sf.B_RESULT_COUNT] = place, count
    return 0


@helper
def adopt(state, instruction, args, count, memory, used):  # type: ignore[no-untyped-def]
    """Append a statement whose value is there, in memory of its own size or (where small) larger.

    There must be room, and nothing pending. Its slot, or -1 without memory.
    """
    s = p64(state)
    size = p64(p64(globals_address())[nt.G_ITAB] + 8 * nt.I_WIDTH * instruction)[nt.I_BYTES]
    if size <= nt.SMALL:
        copy = allocate_small(state + 8 * nt.S_VALUES, size)
        if copy == 0:
            return -1
        it.memcpy(copy, memory, used)
        it.free(memory)
        memory = copy
    slot = append(state, instruction, args, count)
    p64(s[nt.S_ADDRESS])[slot] = memory
    s[nt.S_DONE] = slot + 1
    s[nt.S_PENDING_BYTES] -= size
    if size > nt.SMALL:
        s[nt.S_OWNED_BYTES] += size
    return slot


@helper
def resized(address, old, new):  # type: ignore[no-untyped-def]
    """A buffer with another size, or 0 without memory."""
    return address if old == new else it.realloc(address, buffer_bytes(new))


@helper
def adopt_all(state, recorder, request, head_slot):  # type: ignore[no-untyped-def]
    """Make statements of a recorder's parts: table, operands, opcodes, strip; the slot of the last."""
    r, instructions = p64(recorder), p64(request)
    itab = p64(globals_address())[nt.G_ITAB]
    sizes = p64(stack_words(4))
    for i in range(sf.A_STRIP + 1):
        known = instructions[i] >= 0
        sizes[i] = p64(itab + 8 * nt.I_WIDTH * instructions[i])[nt.I_BYTES] if known else 0
    head = r[sf.W_HEAD]
    room, recorded = r[sf.W_CAPACITY] - head, r[sf.W_COUNT] - head
    table_size = max(sizes[sf.A_TABLE], 8 * r[sf.W_TABLE_COUNT])
    table = resized(r[sf.W_TABLE], 8 * r[sf.W_TABLE_CAPACITY], table_size)
    if table == 0:
        return -2
    r[sf.W_TABLE], r[sf.W_TABLE_CAPACITY] = table, max(sizes[sf.A_TABLE] >> 3, r[sf.W_TABLE_COUNT])
    args = resized(r[sf.W_ARGS] + 8 * head, 8 * room, sizes[sf.A_ARGS])
    if args == 0:
        return -2
    r[sf.W_ARGS] = args - 8 * head
    codes = resized(r[sf.W_CODES] + 2 * head, 2 * room, sizes[sf.A_CODES])
    if codes == 0:
        return -2
    r[sf.W_CODES] = codes - 2 * head
    if instructions[sf.A_STRIP] >= 0:
        values = resized(r[sf.W_VALUES], 8 * r[sf.W_CAPACITY], sizes[sf.A_STRIP])
        if values == 0:
            return -2
        r[sf.W_VALUES] = values
    r[sf.W_CAPACITY] = head + (sizes[sf.A_ARGS] >> 3)
    words = stack_words(2)
    a = p32(words)
    table_slot = adopt(state, instructions[sf.A_TABLE], words, 0, table, 8 * r[sf.W_TABLE_COUNT])
    r[sf.W_TABLE] = 0 if table_slot >= 0 else table
    args_slot = adopt(state, instructions[sf.A_ARGS], words, 0, args, 8 * recorded)
    r[sf.W_ARGS] = 0 if args_slot >= 0 else r[sf.W_ARGS]
    slot = adopt(state, instructions[sf.A_CODES], words, 0, codes, 2 * recorded)
    r[sf.W_CODES] = 0 if slot >= 0 else r[sf.W_CODES]
    if table_slot < 0 or args_slot < 0 or slot < 0:
        return -2
    if instructions[sf.A_STRIP] >= 0:
        a[0], a[1], a[2], a[3] = head_slot, table_slot, args_slot, slot
        slot = adopt(state, instructions[sf.A_STRIP], words, 4, r[sf.W_VALUES], 8 * r[sf.W_COUNT])
        if slot < 0:
            return -2
        r[sf.W_VALUES] = 0  # it is the tape's now
    return slot


def adopt_entry(state, recorder, request, starts, head):  # type: ignore[no-untyped-def]
    """Hand a recorder's memory over to the tape; the slot of the strip (or of the last part of it).

    `request` has instructions (`A_*`), `starts` the number that each result begins with. Slots go up from
    table to strip and results. -1 where Python has to make room or to evaluate first, -2 without memory.
    """
    s, instructions = p64(state), p64(request)
    count = instructions[sf.A_RESULT_COUNT]
    if s[nt.S_DONE] != s[nt.S_COUNT] or s[nt.S_PENDING_BYTES] > s[nt.S_PENDING_LIMIT]:
        return -1
    if s[nt.S_COUNT] + 4 + count >= s[nt.S_CAPACITY]:
        return -1
    if s[nt.S_ARG_COUNT] + 8 + 2 * count >= s[nt.S_ARG_CAPACITY]:
        return -1
    if note_results(recorder, starts, count) != 0:
        return -2
    slot = adopt_all(state, recorder, request, head)
    if slot < 0 or instructions[sf.A_STRIP] < 0:
        return slot
    words = stack_words(1)
    for i in range(count):
        p32(words)[0], p32(words)[1] = slot, slot - 3
        if append(state, instructions[sf.A_RESULTS + i], words, 2) < 0:
            return -2
    return slot
