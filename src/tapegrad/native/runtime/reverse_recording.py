"""Replay in native code: the reverse pass, recorded as statements.

Each statement's VJP is a segment for each operand (replay_table.py writes them into the table ``G_REPLAY``),
which is appended with the statement's slots in the place of its inputs. What is not that simple goes to
Python, statement by statement: in-place writes, hooks, a pair of layouts that was never added before.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from ..words import globals_address, helper, p8, p32, p64, stack_words
from .hash_tables import find_constant, find_pair
from .recording import append, has_room, layout_at
from .segments import append_rule, fits

#: ways to add a cotangent to an adjoint
SET, SUM, INTO_BUFFER, INTO_REGION = range(4)


@helper
def plan_sum(state, root, adjoint, buffer, slot, result, plan):  # type: ignore[no-untyped-def]
    """Plan how to add a cotangent of layout `result` to the adjoint of `slot`; 0 if a pair is unknown.

    `plan`: the way, then instructions (and a slot) for it.
    """
    g = p64(globals_address())
    owner = root[slot]
    sum_slot = adjoint[owner]
    whole, part = layout_at(state, owner), layout_at(state, slot)
    address = p64(p64(state)[nt.S_ADDRESS])
    if owner == slot or (whole == part and address[owner] == address[slot]):
        if sum_slot == 0:
            plan[0] = SET
            return 1
        op = nt.OP_ACCUMULATE if buffer[owner] else g[nt.G_ADD]
        pair = find_pair(op, layout_at(state, sum_slot), result)
        if pair == 0:
            return 0
        plan[0] = INTO_BUFFER if buffer[owner] else SUM
        plan[1] = p64(pair)[1]
        return 1
    region = find_pair(nt.OP_REGION, whole, part)
    if region == 0:
        return 0
    into = find_pair(nt.OP_ACCUMULATE, p64(region)[2], result)
    if into == 0:
        return 0
    plan[0], plan[1], plan[2] = INTO_REGION, p64(region)[1], p64(into)[1]
    if buffer[owner] == 0:
        zeros = find_pair(nt.OP_ZEROS, whole, 0)
        zero = find_constant(state, 0, np.int64(p8(g[nt.G_LAYOUT_DTYPE])[whole]))
        if zeros == 0 or zero == 0:
            return 0
        plan[3], plan[4], plan[5], plan[6] = p64(zeros)[1], p64(zeros)[2], zero, 0
        if sum_slot != 0:
            before = find_pair(nt.OP_ACCUMULATE, whole, layout_at(state, sum_slot))
            if before == 0:
                return 0
            plan[6] = p64(before)[1]
    return 1


@helper
def accumulate(state, instruction, target, source, args):  # type: ignore[no-untyped-def]
    """Append an in-place sum."""
    a = p32(args)
    a[0], a[1] = target, source
    append(state, instruction, args, 2)


@helper
def follow(state, root, adjoint, buffer, slot, ct, plan, args):  # type: ignore[no-untyped-def]
    """Add a cotangent to an adjoint as planned."""
    owner = root[slot]
    a = p32(args)
    if plan[0] == SET:
        adjoint[owner] = ct
        return
    if plan[0] == SUM:
        a[0], a[1] = adjoint[owner], ct
        adjoint[owner] = append(state, plan[1], args, 2)
        return
    if plan[0] == INTO_BUFFER:
        accumulate(state, plan[1], adjoint[owner], ct, args)
        return
    if buffer[owner] == 0:
        a[0], a[1], a[2] = plan[5], 0, 0
        a[0] = append(state, plan[3], args, 3)
        fresh = append(state, plan[4], args, 1)
        if plan[6] != 0:
            accumulate(state, plan[6], fresh, adjoint[owner], args)
        adjoint[owner] = fresh
        buffer[owner] = 1
    address = p64(p64(state)[nt.S_ADDRESS])
    offset = address[slot] - address[owner]
    a[0], a[1], a[2] = adjoint[owner], offset & 0xFFFFFFFF, offset >> 32
    accumulate(state, plan[2], append(state, plan[1], args, 3), ct, args)


@helper
def replay(state, request, adjoints, buffers, k, low):  # type: ignore[no-untyped-def]
    """Replay from statement `k` down to `low`; return a number below `low` when done.

    Else the statement, and times 2**32 its operand, where Python has to go on. `adjoints` is an int32 a
    root: the slot of its cotangent so far; `buffers` a uint8: it may be written in place. Such writes need
    no note: nobody keeps a part of a buffer as a residual before it is complete.
    """
    s, r = p64(state), p64(request)
    root, needed = p32(r[nt.R_ROOT]), p8(r[nt.R_NEEDED])
    adjoint, buffer = p32(adjoints), p8(buffers)
    flags = p8(s[nt.S_FLAGS])
    instructions, arg_start = p32(s[nt.S_INSTRUCTION]), p32(s[nt.S_ARG_START])
    g = p64(globals_address())
    itab = g[nt.G_ITAB]
    args, plan = stack_words(8), p64(stack_words(8))
    column = nt.I_REPLAY + (r[nt.R_VARIANT] >> 1)
    while k >= low:
        if needed[k] & nt.TARGET:
            return k
        owner = root[k]
        if adjoint[owner] == 0 or needed[owner] == 0:
            k -= 1
            continue
        row = p64(itab + 8 * nt.I_WIDTH * instructions[k])
        kind = row[nt.I_KIND]
        if flags[k] & nt.WATCHED:
            return k
        skipped = kind == nt.LEAF or kind == nt.OUTPUT or flags[k] & nt.STUB
        if skipped or (kind == nt.VIEW and owner != k):
            k -= 1
            continue
        if kind != nt.COMPUTE or row[column] < 0:
            return k
        ct = np.int64(adjoint[k])
        rules = g[nt.G_REPLAY] + 8 * nt.Q_WIDTH * row[column]
        layout = layout_at(state, ct)
        if layout != p64(rules)[nt.Q_CT]:
            pair = find_pair(g[nt.G_CLONE], layout, 0)
            if pair == 0 or not has_room(state, 1, 1):
                return k
            p32(args)[0] = ct
            ct = append(state, p64(pair)[1], args, 1)
            adjoint[k] = ct
        operands = p32(s[nt.S_ARG] + 4 * arg_start[k])
        for i in range(row[nt.I_NARGS]):
            slot = operands[i]
            rule = p64(rules + 8 * nt.Q_WIDTH * i)
            if rule[nt.Q_EXISTS] == 0 or needed[root[slot]] == 0:
                continue
            stop = k + (i << 32)
            segment = rule[nt.Q_SEGMENT]
            if segment == 0 or not fits(state, segment, 6, 16):
                return stop
            if plan_sum(state, root, adjoint, buffer, slot, rule[nt.Q_LAYOUT], plan) == 0:
                return stop
            result = append_rule(state, segment, rule[nt.Q_RESULT], k, ct, operands)
            if result == 0:
                return stop
            follow(state, root, adjoint, buffer, slot, result, plan, args)
        adjoint[k] = 0
        k -= 1
    return low - 1
