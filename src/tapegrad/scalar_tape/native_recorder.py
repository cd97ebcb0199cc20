"""Strips in native code: the recorder that grows while a function runs, and what becomes of it.

A *recorder* is a few words (``W_*``) over growing arrays: values, operands (two numbers in a word),
opcodes and constants. `push` is what an operation in a `@tg.njit` function does. native_transpose.py writes
the reverse pass of a strip as another one.
"""

from __future__ import annotations

import numpy as np

from ..native import abi as nt
from ..native import intrinsics as it
from ..native.abi import I_BYTES, I_WIDTH, SMALL
from ..native.intrinsics import (
    add_atomically,
    globals_address,
    helper,
    p16,
    p32,
    p64,
    pf64,
    stack_words,
)
from ..native.runtime.allocator import (
    allocate,
    allocate_large,
    allocate_small,
    buffer_bytes,
    free_large,
)
from ..native.runtime.recording import append, slot_of
from . import abi as sf
from .abi import (
    B_COUNT,
    B_HEAD,
    B_REPLAYED,
    B_RESULT_COUNT,
    B_RESULTS,
    B_WIDTH,
    W_ARGS,
    W_CAPACITY,
    W_CODES,
    W_COUNT,
    W_HEAD,
    W_SELF,
    W_STATE,
    W_TABLE,
    W_TABLE_CAPACITY,
    W_TABLE_COUNT,
    W_VALUELESS,
    W_VALUES,
)  # fmt: skip

_MOST = (1 << 31) - 1
MOST_JOINED = 64


# --------------------------------------------------------------------------- a recorder
@helper
def pooled(recorder, size):  # type: ignore[no-untyped-def]
    """A buffer: one that the tape's pool has, where it is large."""
    if size > SMALL:
        return allocate_large(p64(recorder)[W_STATE] + 8 * nt.S_POOL, size)
    return it.malloc(size)


@helper
def grow(recorder):  # type: ignore[no-untyped-def]
    """Make room for more statements; 0, or -1 without memory (or numbers)."""
    r = p64(recorder)
    head = r[W_HEAD]
    old = r[W_CAPACITY] - head
    room = min(2 * old, _MOST - head)
    if room <= old:
        return -1
    if r[W_VALUELESS] == 0:
        values = it.realloc(r[W_VALUES], buffer_bytes(8 * (head + room)))
        if values == 0:
            return -1
        r[W_VALUES] = values
    # Operands and opcodes have none for the head: their addresses are those of number 0.
    args = it.realloc(r[W_ARGS] + 8 * head, buffer_bytes(8 * room))
    if args == 0:
        return -1
    r[W_ARGS] = args - 8 * head
    codes = it.realloc(r[W_CODES] + 2 * head, buffer_bytes(2 * room))
    if codes == 0:
        return -1
    r[W_CODES] = codes - 2 * head
    r[W_CAPACITY] = head + room
    return 0


@helper
def grow_table(recorder):  # type: ignore[no-untyped-def]
    """Make room for more constants; 0, or -1 without memory."""
    r = p64(recorder)
    memory = it.realloc(r[W_TABLE], buffer_bytes(16 * r[W_TABLE_CAPACITY]))
    if memory == 0:
        return -1
    r[W_TABLE] = memory
    r[W_TABLE_CAPACITY] *= 2
    return 0


@helper
def push(recorder, value, word, code):  # type: ignore[no-untyped-def]
    """Append a scalar statement; its number, or -1 without memory."""
    r = p64(recorder)
    n = r[W_COUNT]
    if n >= r[W_CAPACITY]:
        if grow(recorder) != 0:
            return -1
    if r[W_VALUELESS] == 0:
        pf64(r[W_VALUES])[n] = value
    p64(r[W_ARGS])[n] = word
    p16(r[W_CODES])[n] = code
    r[W_COUNT] = n + 1
    return n


@helper
def push_constant(recorder, value):  # type: ignore[no-untyped-def]
    """Append a constant; its number, or -1 without memory."""
    r = p64(recorder)
    n = r[W_TABLE_COUNT]
    if n >= r[W_TABLE_CAPACITY]:
        if grow_table(recorder) != 0:
            return -1
    pf64(r[W_TABLE])[n] = value
    r[W_TABLE_COUNT] = n + 1
    return n


@helper
def open_recorder(recorder, state, head, count, room, table_room):  # type: ignore[no-untyped-def]
    """Start a recorder whose first `count` values are at `head`; 0, or -1 without memory.

    Without a head it takes no values, only what would compute them.
    """
    r = p64(recorder)
    for i in range(sf.W_WIDTH):
        r[i] = 0
    r[W_SELF], r[W_STATE] = recorder, state
    r[W_VALUELESS] = head == 0
    r[W_HEAD] = r[W_COUNT] = count
    r[W_CAPACITY], r[W_TABLE_CAPACITY], r[W_TABLE_COUNT] = count + room, table_room, B_WIDTH
    if head != 0:
        r[W_VALUES] = pooled(recorder, 8 * (count + room))
        if r[W_VALUES] == 0:
            return -1
        it.memcpy(r[W_VALUES], head, 8 * count)
    args = pooled(recorder, 8 * room)
    if args == 0:
        return -1
    r[W_ARGS] = args - 8 * count
    codes = pooled(recorder, 2 * room)
    if codes == 0:
        return -1
    r[W_CODES] = codes - 2 * count
    r[W_TABLE] = pooled(recorder, 8 * table_room)
    return 0 if r[W_TABLE] != 0 else -1


def open_entry(recorder, state, head, count, room, table_room):  # type: ignore[no-untyped-def]
    return open_recorder(recorder, state, head, count, room, table_room)


def begin_entry(state, recorder, items, count, made, rooms):  # type: ignore[no-untyped-def]
    """Start a recorder on a tuple of tensors that instruction `made` joins; the slot of the joined vector.

    One tensor alone needs no statement (`made` is below 0 then). -1 where Python has to look: something is
    pending, there is no room, or a tensor is another tape's; -2 without memory. `rooms`: statements, and
    times 2**32 constants.
    """
    s, tensor = p64(state), p64(globals_address())[nt.G_TENSOR]
    if s[nt.S_DONE] != s[nt.S_COUNT] or count > MOST_JOINED:
        return -1
    args = stack_words(MOST_JOINED)
    a, address = p32(args), p64(s[nt.S_ADDRESS])
    itab, instructions = p64(globals_address())[nt.G_ITAB], p32(s[nt.S_INSTRUCTION])
    for i in range(count):
        one = p64(items + nt.HEADER + 8 + 8 * i)[0]
        if p64(one + nt.HEADER - 8)[0] != tensor or p64(one + nt.HEADER)[0] != state:
            return -1
        a[i] = slot_of(state, one)
        if address[a[i]] == 0:
            return -1
    slot = np.int64(a[0])
    size = p64(itab + 8 * I_WIDTH * (made if made >= 0 else instructions[slot]))[I_BYTES]
    if made >= 0:
        if (
            s[nt.S_COUNT] + 1 >= s[nt.S_CAPACITY]
            or s[nt.S_ARG_COUNT] + count >= s[nt.S_ARG_CAPACITY]
        ):
            return -1
        memory = allocate(state, nt.S_VALUES, max(size, 1))
        if memory == 0:
            return -2
        at = memory
        for i in range(count):
            part = p64(itab + 8 * I_WIDTH * instructions[a[i]])[I_BYTES]
            it.memcpy(at, address[a[i]], part)
            at += part
        eager = s[nt.S_EAGER]
        slot = append(state, made, args, count)
        if slot < 0:
            if size > SMALL:
                free_large(state + 8 * nt.S_POOL, memory, size)
            return -1
        s[nt.S_EAGER] = eager  # its value is there
        if size > SMALL:
            s[nt.S_OWNED_BYTES] += size
        address[slot] = memory
        s[nt.S_DONE] = slot + 1
        s[nt.S_PENDING_BYTES] -= size
    if (
        open_recorder(recorder, state, address[slot], size >> 3, rooms & 0xFFFFFFFF, rooms >> 32)
        != 0
    ):
        return -2
    return slot


@helper
def give_back(recorder, address, size):  # type: ignore[no-untyped-def]
    """Free a recorder's buffer of `size` bytes."""
    if address != 0:
        if size > SMALL:
            free_large(p64(recorder)[W_STATE] + 8 * nt.S_POOL, address, size)
        else:
            it.free(address)


def close_entry(recorder):  # type: ignore[no-untyped-def]
    """Give a recorder's memory back."""
    r = p64(recorder)
    room = r[W_CAPACITY] - r[W_HEAD]
    give_back(recorder, r[W_VALUES], 8 * r[W_CAPACITY])
    if r[W_ARGS] != 0:
        give_back(recorder, r[W_ARGS] + 8 * r[W_HEAD], 8 * room)
    if r[W_CODES] != 0:
        give_back(recorder, r[W_CODES] + 2 * r[W_HEAD], 2 * room)
    give_back(recorder, r[W_TABLE], 8 * r[W_TABLE_CAPACITY])
    for i in range(sf.W_WIDTH):
        r[i] = 0
    return 0


def pack_entry(recorder, numbers, values, count, code):  # type: ignore[no-untyped-def]
    """Copy values to the end of a recorder, one behind the other; the first number, or -1.

    `code` is the opcode of `clone`; a number below 0 stands for a constant.
    """
    n, v = p64(numbers), pf64(values)
    first = p64(recorder)[W_COUNT]
    for i in range(count):
        if n[i] >= 0:
            number = push(recorder, v[i], n[i], code)
        else:
            number = push_passive(recorder, v[i])
        if number < 0:
            return -1
    return first


# What functions under njit call where it is rare: compiled into each of them it took a second.
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


def passive_entry(recorder, value):  # type: ignore[no-untyped-def]
    """Append a passive value as a statement, so that it has a number; that, or E_NO_MEMORY."""
    return push_passive(recorder, value)


def mixed_entry(recorder, value, a, x, b, y, code):  # type: ignore[no-untyped-def]
    """Record an op on two operands one of which may be passive; its number, -1 if both are, or E_NO_MEMORY.

    Numbers of the operands are `a` and `b`, their values `x` and `y`; `code` is that of kinds "ab".
    """
    if a < 0 and b < 0:
        return -1
    word = np.int64(0)
    if a >= 0 and b >= 0:
        word = a | b << 32
    else:
        constant = push_constant(recorder, x if a < 0 else y)
        if constant < 0:
            return sf.E_NO_MEMORY
        word, code = (constant | b << 32, code + 2) if a < 0 else (a | constant << 32, code + 1)
    number = push(recorder, value, word, code)
    return number if number >= 0 else sf.E_NO_MEMORY


def block_entry(function, description):  # type: ignore[no-untyped-def]
    """Enter a block into the table of this process; its number, or E_NO_MEMORY."""
    number = add_atomically(globals_address() + 8 * nt.G_BLOCK_COUNT, 1)
    if number >= sf.MOST_BLOCKS:
        return sf.E_NO_MEMORY
    row = p64(p64(globals_address())[nt.G_BLOCKS] + 16 * number)
    row[1] = description
    row[0] = function
    return number


def elements_entry(elements, values, first, count, recorder):  # type: ignore[no-untyped-def]
    """Fill an array with active scalars (njit_compiler/types.py) that have consecutive numbers."""
    e, v = p64(elements), p64(values)
    for i in range(count):
        e[3 * i], e[3 * i + 1], e[3 * i + 2] = v[i], ~(first + i), recorder
    return 0


@helper
def note_results(recorder, results, count):  # type: ignore[no-untyped-def]
    """Complete the table: where each result begins; 0, or -1 without memory."""
    r = p64(recorder)
    place = r[W_TABLE_COUNT]
    for i in range(count):
        n = push_constant(recorder, 0.0)
        if n < 0:
            return -1
        p64(r[W_TABLE])[n] = p64(results)[i]
    b = p64(r[W_TABLE])
    b[B_COUNT], b[B_HEAD], b[B_RESULTS], b[B_RESULT_COUNT] = r[W_COUNT], r[W_HEAD], place, count
    b[B_REPLAYED] = 0
    return 0


@helper
def adopt(state, instruction, args, count, memory, used):  # type: ignore[no-untyped-def]
    """Append a statement whose value is there, in memory of its own size or (where small) larger.

    There must be room, and nothing pending. Its slot, or -1 without memory.
    """
    s = p64(state)
    size = p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * instruction)[I_BYTES]
    if size <= SMALL:
        own = allocate_small(state + 8 * nt.S_VALUES, size)
        if own == 0:
            return -1
        it.memcpy(own, memory, used)
        it.free(memory)
        memory = own
    slot = append(state, instruction, args, count)
    p64(s[nt.S_ADDRESS])[slot] = memory
    s[nt.S_DONE] = slot + 1
    s[nt.S_PENDING_BYTES] -= size
    if size > SMALL:
        s[nt.S_OWNED_BYTES] += size
    return slot


@helper
def resized(address, old, new):  # type: ignore[no-untyped-def]
    """A buffer with another size, or 0 without memory."""
    return address if old == new else it.realloc(address, buffer_bytes(new))


@helper
def adopt_all(state, recorder, what, head_slot):  # type: ignore[no-untyped-def]
    """Make statements of a recorder's parts: table, operands, opcodes, strip; the slot of the last."""
    r, w = p64(recorder), p64(what)
    itab = p64(globals_address())[nt.G_ITAB]
    sizes = p64(stack_words(4))
    for i in range(4):
        sizes[i] = p64(itab + 8 * I_WIDTH * w[i])[I_BYTES] if w[i] >= 0 else 0
    head = r[W_HEAD]
    room, own = r[W_CAPACITY] - head, r[W_COUNT] - head
    table = resized(r[W_TABLE], 8 * r[W_TABLE_CAPACITY], max(sizes[0], 8 * r[W_TABLE_COUNT]))
    if table == 0:
        return -2
    r[W_TABLE], r[W_TABLE_CAPACITY] = table, max(sizes[0] >> 3, r[W_TABLE_COUNT])
    args = resized(r[W_ARGS] + 8 * head, 8 * room, sizes[1])
    if args == 0:
        return -2
    r[W_ARGS] = args - 8 * head
    codes = resized(r[W_CODES] + 2 * head, 2 * room, sizes[2])
    if codes == 0:
        return -2
    r[W_CODES] = codes - 2 * head
    if w[3] >= 0:
        values = resized(r[W_VALUES], 8 * r[W_CAPACITY], sizes[3])
        if values == 0:
            return -2
        r[W_VALUES] = values
    r[W_CAPACITY] = head + (sizes[1] >> 3)
    words = stack_words(2)
    a = p32(words)
    table_slot = adopt(state, w[0], words, 0, table, 8 * r[W_TABLE_COUNT])
    r[W_TABLE] = 0 if table_slot >= 0 else table
    args_slot = adopt(state, w[1], words, 0, args, 8 * own)
    r[W_ARGS] = 0 if args_slot >= 0 else r[W_ARGS]
    slot = adopt(state, w[2], words, 0, codes, 2 * own)
    r[W_CODES] = 0 if slot >= 0 else r[W_CODES]
    if table_slot < 0 or args_slot < 0 or slot < 0:
        return -2
    if w[3] >= 0:
        a[0], a[1], a[2], a[3] = head_slot, table_slot, args_slot, slot
        slot = adopt(state, w[3], words, 4, r[W_VALUES], 8 * r[W_COUNT])
        if slot < 0:
            return -2
        r[W_VALUES] = 0  # it is the tape's now
    return slot


def adopt_entry(state, recorder, what, places, head):  # type: ignore[no-untyped-def]
    """Hand a recorder's memory over to the tape; the slot of the strip (or of the last part of it).

    `what`: instructions of table, operands and opcodes, then of the strip (or -1), the number of results,
    and the instructions that copy them out (or -1). `places`: where each result begins. Slots go up from
    table to strip and results. -1 where Python has to make room or to evaluate first, -2 without memory.
    """
    s, w = p64(state), p64(what)
    count = w[4]
    if s[nt.S_DONE] != s[nt.S_COUNT] or s[nt.S_PENDING_BYTES] > s[nt.S_PENDING_LIMIT]:
        return -1
    if s[nt.S_COUNT] + 4 + count >= s[nt.S_CAPACITY]:
        return -1
    if s[nt.S_ARG_COUNT] + 8 + 2 * count >= s[nt.S_ARG_CAPACITY]:
        return -1
    if note_results(recorder, places, count) != 0:
        return -2
    slot = adopt_all(state, recorder, what, head)
    if slot < 0 or w[3] < 0:
        return slot
    words = stack_words(1)
    for i in range(count):
        p32(words)[0], p32(words)[1] = slot, slot - 3
        if append(state, w[5 + i], words, 2) < 0:
            return -2
    return slot
