"""Segments appended: a run of statements with relative references (tape/segment.py), in one call.

Nothing happens where there is no room or a number is not on the tape yet: then Python makes way. The slots of
the leaves stand behind the operands that the segment is about to get, in the room of `S_ARG` that it leaves.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from ..words import helper, inlined, p32, p64
from .hash_tables import find_constant
from .recording import CHARACTERS, has_room, put_in_place


@inlined
def fits(state, segment, statements, args):  # type: ignore[no-untyped-def]
    """Return True if there is room for a segment, and for more statements and operands."""
    h = p64(segment)
    args += h[nt.SEG_ARGS] + h[nt.SEG_LEAVES]
    return has_room(state, h[nt.SEG_STATEMENTS] + statements, args)


@inlined
def leaf_slots(state, segment):  # type: ignore[no-untyped-def]
    """Address of the slots of a segment's leaves; there is room."""
    s = p64(state)
    return s[nt.S_ARG] + 4 * (s[nt.S_ARG_COUNT] + p64(segment)[nt.SEG_ARGS])


@inlined
def bind_rule(state, segment, k, ct, operands):  # type: ignore[no-untyped-def]
    """Find the leaves of a rule's segment for statement `k` and its cotangent or tangent.

    False if a number is not on the tape.
    """
    leaves = p32(leaf_slots(state, segment))
    leaf = p64(segment + 8 * nt.SEG_HEADER)
    for i in range(p64(segment)[nt.SEG_LEAVES]):
        code, value = leaf[2 * i], leaf[2 * i + 1]
        if code == nt.SEG_INPUT:
            if value == nt.RULE_CT:
                leaves[i] = ct
            elif value == nt.RULE_OUT:
                leaves[i] = k
            else:
                leaves[i] = operands[value]
        else:
            slot = find_constant(state, value, code)
            if slot == 0:
                return False
            leaves[i] = slot
    return True


@inlined
def append_segment(state, segment):  # type: ignore[no-untyped-def]
    """Append the statements of a segment that `fits`, with its leaves at `leaf_slots`; the first slot."""
    s, h = p64(state), p64(segment)
    first, mode = s[nt.S_COUNT], s[nt.S_GRAD_MODE]
    leaves = p32(leaf_slots(state, segment))
    place = segment + 8 * (nt.SEG_HEADER + 2 * h[nt.SEG_LEAVES])
    for _ in range(h[nt.SEG_STATEMENTS]):
        step = p64(place)
        references, extra = step[2], step[3]
        address = s[nt.S_ARG] + 4 * s[nt.S_ARG_COUNT]
        args = p32(address)
        for i in range(references):
            reference = step[4 + i]
            args[i] = first + reference if reference >= 0 else leaves[~reference]
        for i in range(references, references + extra):
            args[i] = step[4 + i]
        s[nt.S_GRAD_MODE] = mode if step[1] < 0 else step[1]
        put_in_place(state, step[0], address, references + extra, 0)
        place += 8 * (4 + references + extra)
    s[nt.S_GRAD_MODE] = mode
    return first


@helper
def append_rule(state, segment, result, k, ct, operands):  # type: ignore[no-untyped-def]
    """Append a rule's segment that `fits`; the slot of reference `result`, 0 if a number is missing."""
    if not bind_rule(state, segment, k, ct, operands):
        return np.int64(0)
    leaves = p32(leaf_slots(state, segment))
    first = append_segment(state, segment)
    return first + result if result >= 0 else np.int64(leaves[~result])


def segment_entry(state, segment, inputs):  # type: ignore[no-untyped-def]
    """Append a segment; the first slot, or -1 where room or a number is missing.

    The inputs' slots come in a bytes object, made anew for each call.
    """
    if not fits(state, segment, 0, 0):
        return -1
    slots, leaves = p32(inputs + CHARACTERS), p32(leaf_slots(state, segment))
    leaf, number = p64(segment + 8 * nt.SEG_HEADER), 0
    for i in range(p64(segment)[nt.SEG_LEAVES]):
        code = leaf[2 * i]
        if code == nt.SEG_INPUT:
            leaves[i] = slots[number]
            number += 1
        else:
            slot = find_constant(state, leaf[2 * i + 1], code)
            if slot == 0:
                return -1
            leaves[i] = slot
    return append_segment(state, segment)
