"""Strips in native code: the recorder that grows while a function runs, and what becomes of it.

A *recorder* is a few words (``W_*``) over growing arrays: values, operands (two numbers in a word),
opcodes and constants. `push` is what an operation in a `@tg.njit` function does. `transpose_entry` writes
the reverse pass of a strip as another one, from templates that strip_code.py lays out.
"""

from __future__ import annotations

from .. import native as nt
from ..native import I_BYTES, I_WIDTH, SMALL
from . import intrinsics as it
from . import strip_fields as sf
from .intrinsics import globals_address, helper, p16, p32, p64, pf64, stack_words
from .memory import allocate_large, allocate_small, buffer_bytes, free_large
from .recording import append
from .strip_fields import (
    B_COUNT,
    B_HEAD,
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

_MASK = 0xFFFFFFFF
_MOST = (1 << 31) - 1


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


def open_entry(recorder, state, head, count, room, table_room):  # type: ignore[no-untyped-def]
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
            constant = push_constant(recorder, v[i])
            if constant < 0:
                return -1
            number = push(recorder, v[i], constant, sf.CODE_CONSTANT)
        if number < 0:
            return -1
    return first


def results_entry(recorder, results, count, _):  # type: ignore[no-untyped-def]
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


def adopt_entry(state, recorder, what):  # type: ignore[no-untyped-def]
    """Hand a recorder's memory over to the tape; the slot of the strip (or of the last part of it).

    `what`: instructions of table, operands and opcodes, then of the strip (or -1) and the slot of its
    head. Slots go up from table to strip. -1 where Python has to make room or to evaluate first, -2
    without memory.
    """
    s, r, w = p64(state), p64(recorder), p64(what)
    if s[nt.S_DONE] != s[nt.S_COUNT] or s[nt.S_PENDING_BYTES] > s[nt.S_PENDING_LIMIT]:
        return -1
    if s[nt.S_COUNT] + 4 > s[nt.S_CAPACITY] or s[nt.S_ARG_COUNT] + 8 > s[nt.S_ARG_CAPACITY]:
        return -1
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
        a[0], a[1], a[2], a[3] = w[4], table_slot, args_slot, slot
        slot = adopt(state, w[3], words, 4, r[W_VALUES], 8 * r[W_COUNT])
        if slot < 0:
            return -2
        r[W_VALUES] = 0  # it is the tape's now
    return slot


# --------------------------------------------------------------------------- transposition
@helper
def as_statement(recorder, reference):  # type: ignore[no-untyped-def]
    """The number of a value; a constant (below 0) becomes a statement."""
    if reference >= 0:
        return reference
    return push(recorder, 0.0, -1 - reference, sf.CODE_CONSTANT)


@helper
def emit(recorder, t, a, b, c):  # type: ignore[no-untyped-def]
    """Append a template's statement on references; its number, or -1 without memory."""
    if t[sf.X_PARAMETERS]:
        if push(recorder, 0.0, t[sf.X_P] | t[sf.X_Q] << 32, sf.CODE_EXTRA) < 0:
            return -1
    if t[sf.X_ARITY] == 1:
        a = as_statement(recorder, a)
        return push(recorder, 0.0, a, t[sf.X_CODE])
    if t[sf.X_ARITY] == 2:
        if a < 0 and b < 0:
            a = as_statement(recorder, a)
        if a < 0:
            return push(recorder, 0.0, (-1 - a) | b << 32, t[sf.X_CODE + 2])
        if b < 0:
            return push(recorder, 0.0, a | (-1 - b) << 32, t[sf.X_CODE + 1])
        return push(recorder, 0.0, a | b << 32, t[sf.X_CODE])
    a, b, c = as_statement(recorder, a), as_statement(recorder, b), as_statement(recorder, c)
    if push(recorder, 0.0, c, sf.CODE_EXTRA) < 0:
        return -1
    return push(recorder, 0.0, a | b << 32, t[sf.X_CODE])


@helper
def look_up(reference, ct, out, x, made, constants, recorder):  # type: ignore[no-untyped-def]
    """What a reference of a template stands for: a number, or -1 - a constant's; -2**62 without memory."""
    if reference == nt.REF_CT:
        return ct
    if reference == nt.REF_OUT:
        return out
    if reference < nt.REF_STATEMENT:
        return x[reference - nt.REF_OPERAND]
    if reference < nt.REF_CONSTANT:
        return made[reference - nt.REF_STATEMENT]
    number = push_constant(recorder, pf64(constants)[reference - nt.REF_CONSTANT])
    return -1 - number if number >= 0 else -(1 << 62)


def transpose_entry(parts, cts, width, table, recorder):  # type: ignore[no-untyped-def]
    """Write the reverse pass of a strip; where the head's cotangent begins, or -1 without memory.

    `parts`: addresses of the strip's table, operands and opcodes. `recorder`'s head is the strip's vector
    of values, then that of cotangents, `width` each. `cts` are the cotangents, which say what is
    untouched. `table` has the addresses of rules, of templates and of constants. -2 for a derivative that
    there is none of.
    """
    b, bits = p64(p64(parts)[0]), p64(cts)
    n, m = b[B_COUNT], b[B_HEAD]
    k = pf64(p64(parts)[0])
    ab, codes = p64(p64(parts)[1]), p16(p64(parts)[2])
    tables = p64(table)
    memory = it.malloc(8 * n + 8)
    if memory == 0:
        return -1
    adjoint = p64(memory)
    for i in range(n):
        adjoint[i] = width + i if bits[i] != sf.UNTOUCHED else -1
    x, made, whose = p64(stack_words(4)), p64(stack_words(64)), p64(stack_words(4))
    own = p64(stack_words(16))
    answer = 0
    i = n - 1
    while i >= m and answer == 0:
        ct = adjoint[i]
        if ct < 0:
            i -= 1
            continue
        rule = p64(tables[0] + 8 * sf.RULE_WIDTH * codes[i - m])
        whose[0], whose[1], whose[2] = ab[i - m] & _MASK, ab[i - m] >> 32, 0
        p, q = 0, 0
        if rule[sf.RULE_EXTRA]:
            whose[2] = ab[i - m - 1] & _MASK
            p, q = whose[2], ab[i - m - 1] >> 32
        for j in range(3):
            x[j] = whose[j]
            if rule[sf.RULE_CONSTANTS] >> j & 1:
                number = push_constant(recorder, k[whose[j]])
                if number < 0:
                    answer = -1
                x[j] = -1 - number
        for j in range(rule[sf.RULE_COUNT]):
            t = p64(tables[1] + 8 * sf.X_WIDTH * (rule[sf.RULE_START] + j))
            a = look_up(t[sf.X_REF], ct, i, x, made, tables[2], recorder)
            c, d = 0, 0
            if t[sf.X_ARITY] > 1:
                c = look_up(t[sf.X_REF + 1], ct, i, x, made, tables[2], recorder)
            if t[sf.X_ARITY] > 2:
                d = look_up(t[sf.X_REF + 2], ct, i, x, made, tables[2], recorder)
            if a == -(1 << 62) or c == -(1 << 62) or d == -(1 << 62):
                answer = -1
                break
            if t[sf.X_PARAMETERS] > 1:  # they are counted from the statement's own
                for w in range(sf.X_WIDTH):
                    own[w] = t[w]
                own[sf.X_P] += p
                own[sf.X_Q] += q
                if own[sf.X_Q] > sf.MOST_EXPONENT_DERIVATIVES:
                    answer = -2
                    break
                made[j] = emit(recorder, own, a, c, d)
            else:
                made[j] = emit(recorder, t, a, c, d)
            if made[j] < 0:
                answer = -1
                break
        for j in range(3):
            if answer == 0 and rule[sf.RULE_RESULT + j] >= 0:
                reference = rule[sf.RULE_RESULT + j]
                part = look_up(reference, ct, i, x, made, tables[2], recorder)
                known = adjoint[whose[j]]
                if part == -(1 << 62):
                    answer = -1
                    break
                part = as_statement(recorder, part)
                if part >= 0 and known >= 0:
                    part = push(recorder, 0.0, known | part << 32, tables[3])
                adjoint[whose[j]] = part
                if part < 0:
                    answer = -1
        i -= 1
    first = p64(recorder)[W_COUNT]
    zero = -1
    if answer == 0:
        zero = push_constant(recorder, 0.0)
        if zero < 0:
            answer = -1
    for j in range(m):
        if answer != 0:
            break
        if adjoint[j] >= 0:
            number = push(recorder, 0.0, adjoint[j], tables[4])
        else:
            number = push(recorder, 0.0, zero, sf.CODE_CONSTANT)
        if number < 0:
            answer = -1
    it.free(memory)
    return first if answer == 0 else answer
