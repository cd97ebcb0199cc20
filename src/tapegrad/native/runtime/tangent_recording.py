"""Forward mode in native code: the tangents of a stretch of the tape, recorded as statements.

From the inputs up, each statement's tangent is the sum of what the segments of its operands
(forward_mode.py writes them, into the table that replay reads) make of the operands' tangents; a view's
is the same view of its operand's tangent. A tangent has the layout of its statement's result.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from ..words import globals_address, helper, p8, p32, p64, stack_words
from .hash_tables import find_pair
from .recording import append, has_room
from .segments import append_rule, bind_rule, fits


@helper
def copied(rule, is_written):  # type: ignore[no-untyped-def]
    """The pair that copies a rule's result out of memory that is written in place.

    0 where the result is computed, or the operand's tangent stays as it is; -1 if the pair is not known.
    """
    if is_written == 0:
        return np.int64(0)
    header = p64(rule[nt.Q_SEGMENT])
    place = rule[nt.Q_SEGMENT] + 8 * (nt.SEG_HEADER + 2 * header[nt.SEG_LEAVES])
    for _ in range(rule[nt.Q_RESULT]):
        place += 8 * (4 + p64(place)[2] + p64(place)[3])
    g = p64(globals_address())
    if rule[nt.Q_RESULT] >= 0:
        row = p64(g[nt.G_ITAB] + 8 * nt.I_WIDTH * p64(place)[0])
        if row[nt.I_KIND] != nt.VIEW:
            return np.int64(0)
    pair = find_pair(g[nt.G_CLONE], rule[nt.Q_LAYOUT], 0)
    return np.int64(-1) if pair == 0 else np.int64(pair)


@helper
def can_push(state, row, rules, k, operands, tangent, in_place):  # type: ignore[no-untyped-def]
    """Return True if native code can append a statement's tangent: segments, numbers, sums, and room."""
    g, root = p64(globals_address()), p32(p64(state)[nt.S_ROOT])
    layout = np.int64(-1)
    statements, args = 2, 8
    for i in range(row[nt.I_NARGS]):
        rule = p64(rules + 8 * nt.Q_WIDTH * i)
        if tangent[operands[i]] == 0 or rule[nt.Q_EXISTS] == 0:
            continue
        segment = rule[nt.Q_SEGMENT]
        if segment == 0 or not fits(state, segment, 0, 0):
            return False
        if not bind_rule(state, segment, k, np.int64(tangent[operands[i]]), operands):
            return False
        copy = copied(rule, in_place[root[operands[i]]])
        if copy < 0:
            return False
        part = p64(copy)[2] if copy > 0 else rule[nt.Q_LAYOUT]
        header = p64(segment)
        statements += header[nt.SEG_STATEMENTS] + 2
        args += header[nt.SEG_ARGS] + header[nt.SEG_LEAVES] + 3
        if layout == -1:
            layout = part
            continue
        pair = find_pair(g[nt.G_ADD], layout, part)
        if pair == 0:
            return False
        layout = p64(pair)[2]
    if layout not in (-1, row[nt.I_LAYOUT]):
        pair = find_pair(g[nt.G_CLONE], layout, 0)
        if pair == 0 or p64(pair)[2] != row[nt.I_LAYOUT]:
            return False
    return has_room(state, statements, args)


@helper
def push(state, request, tangents, written, k):  # type: ignore[no-untyped-def]
    """Append tangents from statement `k` up; -1 when done, else the statement that Python has to do.

    `tangents` is an int32 a statement: the slot of its tangent, or 0; `written` a byte: 1 where that may be
    written in place.
    """
    s, r = p64(state), p64(request)
    tangent, in_place, reached = p32(tangents), p8(written), p8(r[nt.R_REACHED])
    flags, root = p8(s[nt.S_FLAGS]), p32(s[nt.S_ROOT])
    instructions, arg_start = p32(s[nt.S_INSTRUCTION]), p32(s[nt.S_ARG_START])
    g = p64(globals_address())
    itab = g[nt.G_ITAB]
    args = stack_words(8)
    a = p32(args)
    high = r[nt.R_HIGH]
    while k <= high:
        owner = root[k]
        row = p64(itab + 8 * nt.I_WIDTH * instructions[k])
        kind = row[nt.I_KIND]
        passive = reached[owner] == 0 or flags[owner] & nt.ACTIVE == 0 or flags[k] & nt.STUB != 0
        if passive or kind == nt.LEAF or row[nt.I_DETACH] != 0 or tangent[k] != 0:
            k += 1
            continue
        operands = p32(s[nt.S_ARG] + 4 * arg_start[k])
        if kind == nt.VIEW:
            if tangent[operands[0]] != 0:
                if not has_room(state, 1, 3):
                    return k
                a[0], a[1], a[2] = tangent[operands[0]], operands[1], operands[2]
                tangent[k] = append(state, np.int64(instructions[k]), args, 3)
            k += 1
            continue
        if kind == nt.ACCUMULATE and (in_place[owner] != 0 or tangent[operands[1]] == 0):
            if tangent[operands[1]] != 0:
                if tangent[operands[0]] == 0 or not has_room(state, 1, 2):
                    return k
                a[0], a[1] = tangent[operands[0]], tangent[operands[1]]
                append(state, np.int64(instructions[k]), args, 2)
            tangent[k] = tangent[operands[0]]
            k += 1
            continue
        if kind != nt.COMPUTE or row[nt.I_NOUT] != 1 or row[nt.I_PYTHON] != 0:
            return k
        moves = False
        for i in range(row[nt.I_NARGS]):
            moves |= tangent[operands[i]] != 0
        if not moves:
            k += 1
            continue
        if row[nt.I_PUSH] < 0:
            return k
        rules = g[nt.G_REPLAY] + 8 * nt.Q_WIDTH * row[nt.I_PUSH]
        if not can_push(state, row, rules, k, operands, tangent, in_place):
            return k
        total, layout = np.int64(0), np.int64(0)
        for i in range(row[nt.I_NARGS]):
            rule = p64(rules + 8 * nt.Q_WIDTH * i)
            along = np.int64(tangent[operands[i]])
            if along == 0 or rule[nt.Q_EXISTS] == 0:
                continue
            part = append_rule(state, rule[nt.Q_SEGMENT], rule[nt.Q_RESULT], k, along, operands)
            part_layout = rule[nt.Q_LAYOUT]
            copy = copied(rule, in_place[root[operands[i]]])
            if copy > 0:
                a[0] = part
                part, part_layout = append(state, p64(copy)[1], args, 1), p64(copy)[2]
            if total == 0:
                total, layout = part, part_layout
                continue
            pair = p64(find_pair(g[nt.G_ADD], layout, part_layout))
            a[0], a[1] = total, part
            total, layout = append(state, pair[1], args, 2), pair[2]
        if total != 0 and layout != row[nt.I_LAYOUT]:
            a[0] = total
            total = append(state, p64(find_pair(g[nt.G_CLONE], layout, 0))[1], args, 1)
        tangent[k] = total
        k += 1
    return -1
