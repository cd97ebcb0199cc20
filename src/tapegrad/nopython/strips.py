"""Strips in native code: the recorder that grows while a function runs, and what becomes of it.

A *recorder* is a few words (``W_*``) over growing arrays: values, operands (two numbers in a word),
opcodes and constants. `push` is what an operation in a `@tg.njit` function does. `transpose_entry` writes
the reverse pass of a strip as another one, from templates that strip_code.py lays out.
"""

from __future__ import annotations

from .. import native as nt
from ..native import (
    B_ARGS,
    B_CODES,
    B_CONSTANTS,
    B_COUNT,
    B_HEAD,
    B_RESULTS,
    B_WIDTH,
    COMPUTE,
    I_BYTES,
    I_WIDTH,
    SMALL,
    W_ARGS,
    W_CAPACITY,
    W_CODES,
    W_CONSTANT_CAPACITY,
    W_CONSTANT_COUNT,
    W_CONSTANTS,
    W_COUNT,
    W_HEAD,
    W_SELF,
    W_VALUES,
)  # fmt: skip
from . import intrinsics as it
from .intrinsics import globals_address, helper, p16, p64, pf64, stack_words
from .memory import allocate_small
from .recording import append

_MASK = 0xFFFFFFFF
_MOST = 1 << 31


# --------------------------------------------------------------------------- a recorder
@helper
def grow(recorder):  # type: ignore[no-untyped-def]
    """Make room for more statements; 0, or -1 without memory (or numbers)."""
    r = p64(recorder)
    head = r[W_HEAD]
    room = r[W_CAPACITY] - head
    room = min(room + room // 2 + 1024, _MOST - head - 1)
    if head + room <= r[W_CAPACITY]:
        return -1
    values = it.realloc(r[W_VALUES], 8 * (head + room))
    if values == 0:
        return -1
    r[W_VALUES] = values
    # Operands and opcodes have none for the head: their addresses are those of number 0.
    args = it.realloc(r[W_ARGS] + 8 * head if r[W_ARGS] != 0 else 0, 8 * room)
    if args == 0:
        return -1
    r[W_ARGS] = args - 8 * head
    codes = it.realloc(r[W_CODES] + 2 * head if r[W_CODES] != 0 else 0, 2 * room + 8)
    if codes == 0:
        return -1
    r[W_CODES] = codes - 2 * head
    r[W_CAPACITY] = head + room
    return 0


@helper
def grow_constants(recorder):  # type: ignore[no-untyped-def]
    """Make room for more constants; 0, or -1 without memory."""
    r = p64(recorder)
    room = r[W_CONSTANT_CAPACITY] + r[W_CONSTANT_CAPACITY] // 2 + 256
    memory = it.realloc(r[W_CONSTANTS], 8 * room)
    if memory == 0:
        return -1
    r[W_CONSTANTS] = memory
    r[W_CONSTANT_CAPACITY] = room
    return 0


@helper
def push(recorder, value, word, code):  # type: ignore[no-untyped-def]
    """Append a scalar statement; its number, or -1 without memory."""
    r = p64(recorder)
    n = r[W_COUNT]
    if n >= r[W_CAPACITY]:
        if grow(recorder) != 0:
            return -1
    pf64(r[W_VALUES])[n] = value
    p64(r[W_ARGS])[n] = word
    p16(r[W_CODES])[n] = code
    r[W_COUNT] = n + 1
    return n


@helper
def push_constant(recorder, value):  # type: ignore[no-untyped-def]
    """Append a constant; its number, or -1 without memory."""
    r = p64(recorder)
    n = r[W_CONSTANT_COUNT]
    if n >= r[W_CONSTANT_CAPACITY]:
        if grow_constants(recorder) != 0:
            return -1
    pf64(r[W_CONSTANTS])[n] = value
    r[W_CONSTANT_COUNT] = n + 1
    return n


def open_entry(recorder, head, count, room):  # type: ignore[no-untyped-def]
    """Start a recorder whose first `count` values are at `head`; 0, or -1 without memory."""
    r = p64(recorder)
    for i in range(nt.W_WIDTH):
        r[i] = 0
    r[W_SELF] = recorder
    r[W_HEAD] = r[W_COUNT] = r[W_CAPACITY] = count
    if grow(recorder) != 0:
        return -1
    if room > 1024:
        r[W_CAPACITY] = count + room - room // 3
        if grow(recorder) != 0:
            return -1
    if head != 0:
        it.memcpy(r[W_VALUES], head, 8 * count)
    return 0


def close_entry(recorder):  # type: ignore[no-untyped-def]
    """Give a recorder's memory back."""
    r = p64(recorder)
    if r[W_VALUES] != 0:
        it.free(r[W_VALUES])
    if r[W_ARGS] != 0:
        it.free(r[W_ARGS] + 8 * r[W_HEAD])
    if r[W_CODES] != 0:
        it.free(r[W_CODES] + 2 * r[W_HEAD])
    if r[W_CONSTANTS] != 0:
        it.free(r[W_CONSTANTS])
    for i in range(nt.W_WIDTH):
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
            number = push(recorder, v[i], constant, nt.CODE_CONSTANT)
        if number < 0:
            return -1
    return first


def body_entry(recorder, body, results, count):  # type: ignore[no-untyped-def]
    """Write what was recorded to the memory of a body; `results`: where each begins."""
    r, b = p64(recorder), p64(body)
    own = r[W_COUNT] - r[W_HEAD]
    b[B_COUNT], b[B_HEAD] = r[W_COUNT], r[W_HEAD]
    at = 8 * (B_WIDTH + count)
    b[B_CONSTANTS] = at
    it.memcpy(body + at, r[W_CONSTANTS], 8 * r[W_CONSTANT_COUNT])
    at += 8 * r[W_CONSTANT_COUNT]
    b[B_ARGS] = at
    it.memcpy(body + at, r[W_ARGS] + 8 * r[W_HEAD], 8 * own)
    at += 8 * own
    b[B_CODES] = at
    it.memcpy(body + at, r[W_CODES] + 2 * r[W_HEAD], 2 * own)
    b[B_RESULTS] = count
    for i in range(count):
        b[B_WIDTH + i] = p64(results)[i]
    return 0


def adopt_entry(state, instruction, args, count, recorder):  # type: ignore[no-untyped-def]
    """Append a statement whose values are those of a recorder; its slot.

    -1 where Python has to make room or to evaluate first, -2 without memory.
    """
    s, r = p64(state), p64(recorder)
    if s[nt.S_DONE] != s[nt.S_COUNT]:
        return -1
    row = p64(p64(globals_address())[nt.G_ITAB] + 8 * I_WIDTH * instruction)
    size = row[I_BYTES]
    if s[nt.S_COUNT] >= s[nt.S_CAPACITY] or row[nt.I_KIND] != COMPUTE:
        return -1
    if size > SMALL:
        memory = it.realloc(r[W_VALUES], size)
        if memory == 0:
            return -2
        r[W_VALUES] = memory
    else:
        memory = allocate_small(state + 8 * nt.S_VALUES, size)
        if memory == 0:
            return -2
        it.memcpy(memory, r[W_VALUES], 8 * r[W_COUNT])
    slot = append(state, instruction, args, count)
    if slot < 0:
        return -1
    p64(s[nt.S_ADDRESS])[slot] = memory
    s[nt.S_DONE] = slot + 1
    s[nt.S_PENDING_BYTES] -= size
    if size > SMALL:
        s[nt.S_OWNED_BYTES] += size
        r[W_VALUES] = 0  # it is the tape's now
    return slot


# --------------------------------------------------------------------------- transposition
@helper
def as_statement(recorder, reference):  # type: ignore[no-untyped-def]
    """The number of a value; a constant (below 0) becomes a statement."""
    if reference >= 0:
        return reference
    return push(recorder, 0.0, -1 - reference, nt.CODE_CONSTANT)


@helper
def emit(recorder, t, a, b, c):  # type: ignore[no-untyped-def]
    """Append a template's statement on references; its number, or -1 without memory."""
    if t[nt.X_PARAMETERS]:
        if push(recorder, 0.0, t[nt.X_P] | t[nt.X_Q] << 32, nt.CODE_EXTRA) < 0:
            return -1
    if t[nt.X_ARITY] == 1:
        a = as_statement(recorder, a)
        return push(recorder, 0.0, a, t[nt.X_CODE])
    if t[nt.X_ARITY] == 2:
        if a < 0 and b < 0:
            a = as_statement(recorder, a)
        if a < 0:
            return push(recorder, 0.0, (-1 - a) | b << 32, t[nt.X_CODE + 2])
        if b < 0:
            return push(recorder, 0.0, a | (-1 - b) << 32, t[nt.X_CODE + 1])
        return push(recorder, 0.0, a | b << 32, t[nt.X_CODE])
    a, b, c = as_statement(recorder, a), as_statement(recorder, b), as_statement(recorder, c)
    if push(recorder, 0.0, c, nt.CODE_EXTRA) < 0:
        return -1
    return push(recorder, 0.0, a | b << 32, t[nt.X_CODE])


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


def transpose_entry(body, cts, width, table, recorder):  # type: ignore[no-untyped-def]
    """Write the reverse pass of a strip; where the head's cotangent begins, or -1 without memory.

    `recorder`'s head is the strip's vector of values, then that of cotangents, `width` each. `cts` are
    the cotangents, which say what is untouched. `table` has the addresses of rules, of templates and of
    constants. -2 for a derivative that there is none of.
    """
    b, bits = p64(body), p64(cts)
    n, m = b[B_COUNT], b[B_HEAD]
    k = pf64(body + b[B_CONSTANTS])
    ab, codes = p64(body + b[B_ARGS]), p16(body + b[B_CODES])
    tables = p64(table)
    memory = it.malloc(8 * n + 8)
    if memory == 0:
        return -1
    adjoint = p64(memory)
    for i in range(n):
        adjoint[i] = width + i if bits[i] != nt.UNTOUCHED else -1
    x, made, whose = p64(stack_words(4)), p64(stack_words(64)), p64(stack_words(4))
    own = p64(stack_words(16))
    answer = 0
    i = n - 1
    while i >= m and answer == 0:
        ct = adjoint[i]
        if ct < 0:
            i -= 1
            continue
        rule = p64(tables[0] + 8 * nt.RULE_WIDTH * codes[i - m])
        whose[0], whose[1], whose[2] = ab[i - m] & _MASK, ab[i - m] >> 32, 0
        p, q = 0, 0
        if rule[nt.RULE_EXTRA]:
            whose[2] = ab[i - m - 1] & _MASK
            p, q = whose[2], ab[i - m - 1] >> 32
        for j in range(3):
            x[j] = whose[j]
            if rule[nt.RULE_CONSTANTS] >> j & 1:
                number = push_constant(recorder, k[whose[j]])
                if number < 0:
                    answer = -1
                x[j] = -1 - number
        for j in range(rule[nt.RULE_COUNT]):
            t = p64(tables[1] + 8 * nt.X_WIDTH * (rule[nt.RULE_START] + j))
            a = look_up(t[nt.X_REF], ct, i, x, made, tables[2], recorder)
            c, d = 0, 0
            if t[nt.X_ARITY] > 1:
                c = look_up(t[nt.X_REF + 1], ct, i, x, made, tables[2], recorder)
            if t[nt.X_ARITY] > 2:
                d = look_up(t[nt.X_REF + 2], ct, i, x, made, tables[2], recorder)
            if a == -(1 << 62) or c == -(1 << 62) or d == -(1 << 62):
                answer = -1
                break
            if t[nt.X_PARAMETERS] > 1:  # they are counted from the statement's own
                for w in range(nt.X_WIDTH):
                    own[w] = t[w]
                own[nt.X_P] += p
                own[nt.X_Q] += q
                if own[nt.X_Q] > nt.MOST_EXPONENT_DERIVATIVES:
                    answer = -2
                    break
                made[j] = emit(recorder, own, a, c, d)
            else:
                made[j] = emit(recorder, t, a, c, d)
            if made[j] < 0:
                answer = -1
                break
        for j in range(3):
            if answer == 0 and rule[nt.RULE_RESULT + j] >= 0:
                reference = rule[nt.RULE_RESULT + j]
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
            number = push(recorder, 0.0, zero, nt.CODE_CONSTANT)
        if number < 0:
            answer = -1
    it.free(memory)
    return first if answer == 0 else answer
