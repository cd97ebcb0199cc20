"""One reverse pass, from its request to adjoints or to recorded cotangents, in one call where it can be.

Start reading at `run_pass`. It goes through the stages of a pass (``R_STAGE`` of native/abi.py) and stops
where Python has something to do, with the reason; the next call goes on there. Nothing changes before
`CHECKING` is through, so an error leaves no trace.

`lay_out` is the one place that knows where the arrays of a pass lie: behind the fields of its request, in the
block of memory that Python gives. Everybody else finds them by the addresses that it writes.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import globals_address, helper, p8, p32, p64, stack_words
from .adjoints import adjoint_bytes, seed, units
from .allocator import free_large, reset_arena, trim_scratch
from .forward_sweep import forward
from .hash_tables import find_pair
from .recording import _LAYOUT, _STATE, append, has_room, is_plain, layout_at, slot_of
from .reverse_marking import KEEPS_RESIDUALS, prepare
from .reverse_recording import replay
from .reverse_sweep import sweep_back
from .wanting import follow_separated, separate_late


@helper
def kind_of(state, slot):  # type: ignore[no-untyped-def]
    """Kind of the statement that defines a slot."""
    row = p32(p64(state)[nt.S_INSTRUCTION])[slot]
    return p64(p64(globals_address())[nt.G_ITAB] + 8 * nt.I_WIDTH * row)[nt.I_KIND]


# --------------------------------------------------------------------------- layout
def find_entry(  # type: ignore[no-untyped-def]
    state, request, tensors, size, options, outputs, targets, leaves, count, written, root, seeds
):
    """Begin a request, and find the places of a tuple of tensors; 0 if all are active and on this tape.

    See the fields that are written here for what the other arguments are.
    """
    s, r = p64(state), p64(request)
    r[nt.R_STAGE], r[nt.R_SIZE], r[nt.R_OPTIONS] = nt.LAYOUT, size, options
    r[nt.R_VARIANT], r[nt.R_LANES] = nt.MASKED if s[nt.S_MASKS_ZEROS] else 0, 1
    r[nt.R_OUTPUTS], r[nt.R_TARGETS], r[nt.R_LEAVES] = outputs, targets, leaves
    r[nt.R_COUNT], r[nt.R_WRITTEN], r[nt.R_ROOT], r[nt.R_RECORDED] = count, written, root, 0
    r[nt.R_SEEDS] = seeds
    places = p64(request + 8 * nt.R_PLACES)
    for i in range(p64(tensors + nt.HEADER)[0]):
        tensor = p64(tensors + nt.TUPLE_ITEMS + 8 * i)[0]
        if not is_plain(tensor) or p64(tensor + _STATE)[0] != state:
            return 1
        slot = slot_of(state, tensor)
        if p8(s[nt.S_FLAGS])[p32(s[nt.S_ROOT])[slot]] & nt.ACTIVE == 0:
            return 1
        places[2 * i], places[2 * i + 1] = slot, np.int64(p32(tensor + _LAYOUT)[0])
    return 0


@helper
def lay_out(state, request):  # type: ignore[no-untyped-def]
    """Lay out the arrays of a request for the statements that Python knows of; DONE, or why it cannot."""
    s, r = p64(state), p64(request)
    n, outputs, targets = r[nt.R_COUNT], r[nt.R_OUTPUTS], r[nt.R_TARGETS]
    detailed, records = r[nt.R_OPTIONS] & nt.DETAILED, r[nt.R_RECORDED] != 0
    if s[nt.S_COUNT] > n and detailed == 0:  # a signal handler or finalizer has recorded
        return nt.NEEDS_DETAILS
    captures = nt.R_PLACES + 2 * (outputs + targets)
    leaves = captures + (0 if detailed else 4 * targets)
    adjoint = leaves + 2 * r[nt.R_LEAVES]
    missing = adjoint + n
    last_write = missing + nt.MISSING // 2
    marks = last_write + ((n + 1) // 2 if detailed and r[nt.R_WRITE_COUNT] > 0 else 0)
    recording = marks + (2 * n + 7) // 8
    end = recording + ((5 * n + 7) // 8 if records else 0)
    if end > r[nt.R_SIZE]:
        r[nt.R_SIZE] = end
        return nt.NEEDS_ROOM
    it.memset(request + 8 * nt.R_OUTPUT, 0, 8 * (nt.R_WIDTH - nt.R_OUTPUT))
    it.memset(request + 8 * adjoint, 0, 8 * n)
    it.memset(request + 8 * last_write, 0, 8 * (recording - last_write))
    r[nt.R_LEAF_ROWS] = request + 8 * leaves
    r[nt.R_ADJOINT] = request + 8 * adjoint
    r[nt.R_MISSING] = request + 8 * missing
    r[nt.R_LAST_WRITE] = request + 8 * last_write
    r[nt.R_NEEDED] = request + 8 * marks
    r[nt.R_REACHED] = request + 8 * marks + n
    r[nt.R_RECORDING] = request + 8 * recording
    if detailed == 0:
        r[nt.R_CAPTURES] = request + 8 * captures
        return find_rows(state, request)
    return nt.DONE


@helper
def find_rows(state, request):  # type: ignore[no-untyped-def]
    """Find the rows of targets that are leaves, and where the pass begins; NEEDS_DETAILS for others.

    What is visited must not have been written in place.
    """
    r = p64(request)
    places, rows, outputs = p64(request + 8 * nt.R_PLACES), p64(r[nt.R_CAPTURES]), r[nt.R_OUTPUTS]
    high = np.int64(0)
    for i in range(outputs):
        high = max(high, places[2 * i])
    if high <= r[nt.R_WRITTEN]:
        return nt.NEEDS_DETAILS
    for i in range(r[nt.R_TARGETS]):
        slot, layout = places[2 * (outputs + i)], places[2 * (outputs + i) + 1]
        if kind_of(state, slot) != nt.LEAF:
            return nt.NEEDS_DETAILS
        rows[4 * i], rows[4 * i + 1], rows[4 * i + 2], rows[4 * i + 3] = slot, slot, 0, layout
    r[nt.R_HIGH], r[nt.R_WRITE_COUNT] = high, 0
    return nt.DONE


@helper
def want(state, request):  # type: ignore[no-untyped-def]
    """Mark the roots whose adjoints are wanted: the targets', or those of all active slots."""
    s, r = p64(state), p64(request)
    root, flags, shared = p32(r[nt.R_ROOT]), p8(s[nt.S_FLAGS]), p32(s[nt.S_ROOT])
    needed, rows, n = p8(r[nt.R_NEEDED]), p64(r[nt.R_CAPTURES]), r[nt.R_COUNT]
    r[nt.R_LOW] = r[nt.R_HIGH] + 1
    separated = r[nt.R_OPTIONS] & nt.SEPARATED
    if separated:
        separate_late(r)
        follow_separated(state, r, root, n)
    if r[nt.R_LEAVES] > 0:
        for k in range(n):
            needed[k] = flags[k] & nt.ACTIVE
        for k in range(n if separated else 0):
            if root[k] == k:
                needed[k] = flags[shared[k]] & nt.ACTIVE
    for i in range(r[nt.R_TARGETS]):
        position, slot = rows[4 * i], rows[4 * i + 1]
        if position > r[nt.R_HIGH] or flags[shared[slot]] & nt.ACTIVE == 0:
            continue  # the pass begins before its last write
        needed[root[slot]] |= nt.ACTIVE
        if r[nt.R_LEAVES] == 0:
            r[nt.R_LOW] = min(r[nt.R_LOW], slot)
        if position != slot or kind_of(state, slot) != nt.LEAF:
            needed[position] |= nt.TARGET


# --------------------------------------------------------------------------- marks
@helper
def mark(state, request):  # type: ignore[no-untyped-def]
    """Mark what the pass visits, from its outputs on; DONE, or what would stop it."""
    r = p64(request)
    reached, root, places = p8(r[nt.R_REACHED]), p32(r[nt.R_ROOT]), p64(request + 8 * nt.R_PLACES)
    it.memset(r[nt.R_REACHED], 0, r[nt.R_COUNT])
    r[nt.R_ROOT_COUNT] = 0
    for i in range(r[nt.R_OUTPUTS]):
        owner = root[places[2 * i]]
        r[nt.R_ROOT_COUNT] += reached[owner] == 0
        reached[owner] = 2  # the sweep has to come to it (see `reach`)
    answer = prepare(state, request)
    written = r[nt.R_WRITTEN] if r[nt.R_OPTIONS] & nt.DETAILED == 0 else 0
    if (
        answer != nt.NEEDS_PROGRAMS
        and written > 0
        and (answer != nt.DONE or r[nt.R_STOP] < written)
    ):
        return nt.NEEDS_DETAILS
    return answer


@helper
def is_inspected(state, request):  # type: ignore[no-untyped-def]
    """Return True if Python is to look at the marks: for views with hooks, or if it has asked to."""
    s, r = p64(state), p64(request)
    if r[nt.R_OPTIONS] & nt.INSPECTED or r[nt.R_SEPARABLE] > 0:
        return True
    flags, places = p8(s[nt.S_FLAGS]), p64(request + 8 * nt.R_PLACES)
    watched = 0
    for i in range(r[nt.R_OUTPUTS]):
        watched |= flags[places[2 * i]] & nt.WATCHED
    return watched != 0


@helper
def check_use(request):  # type: ignore[no-untyped-def]
    """Return IS_UNUSED if a target is not reached, else DONE."""
    r = p64(request)
    reached, root, rows = p8(r[nt.R_REACHED]), p32(r[nt.R_ROOT]), p64(r[nt.R_CAPTURES])
    for i in range(r[nt.R_TARGETS] if r[nt.R_OPTIONS] & nt.MAY_BE_UNUSED == 0 else 0):
        if rows[4 * i] > r[nt.R_HIGH] or reached[root[rows[4 * i + 1]]] == 0:
            r[nt.R_ERROR_ARG] = i
            return nt.IS_UNUSED
    return nt.DONE


# --------------------------------------------------------------------------- recording
@helper
def settle(state, ct, buffer):  # type: ignore[no-untyped-def]
    """A cotangent that is whole at its slot: a copy of one that was written in place; 0 for no room."""
    s = p64(state)
    base, copied = p32(s[nt.S_BASE]), buffer
    for k in range(ct + 1, s[nt.S_COUNT]):
        if base[k] == ct and kind_of(state, k) == nt.ACCUMULATE:
            copied = True
            break
    if not copied:
        return ct
    pair = find_pair(p64(globals_address())[nt.G_CLONE], layout_at(state, ct), 0)
    if pair == 0 or not has_room(state, 1, 1):
        return np.int64(0)
    args = stack_words(1)
    p32(args)[0] = ct
    return append(state, p64(pair)[1], args, 1)


@helper
def record(state, request):  # type: ignore[no-untyped-def]
    """Record the pass; DONE with the cotangents' slots in the targets' rows, else NEEDS_RECORDING.

    It may have appended statements then.
    """
    s, r = p64(state), p64(request)
    start = p64(request + 8 * nt.R_PLACES)[0]
    special = r[nt.R_WATCHED] > 0 or r[nt.R_OPTIONS] & (nt.DETAILED | nt.EVERY) != 0
    if r[nt.R_RECORDED] == 0 or special or p32(r[nt.R_ROOT])[start] != start:
        return nt.NEEDS_RECORDING
    n, adjoints = r[nt.R_COUNT], r[nt.R_RECORDING]
    buffers = adjoints + 4 * n
    it.memset(adjoints, 0, 5 * n)
    adjoint, buffer = p32(adjoints), p8(buffers)
    adjoint[start] = r[nt.R_RECORDED]
    low, answer = r[nt.R_STOP] + 1, nt.DONE
    mode, limit = s[nt.S_GRAD_MODE], s[nt.S_PENDING_LIMIT]
    s[nt.S_GRAD_MODE], s[nt.S_PENDING_LIMIT] = 1, 1 << 62
    if replay(state, request, adjoints, buffers, r[nt.R_HIGH], low) >= low:
        answer = nt.NEEDS_RECORDING
    for i in range(r[nt.R_TARGETS] if answer == nt.DONE else 0):
        row = p64(r[nt.R_CAPTURES] + 32 * i)
        leaf = row[1]
        row[2] = 0
        if adjoint[leaf] != 0:
            row[2] = settle(state, np.int64(adjoint[leaf]), buffer[leaf] != 0)
            if row[2] == 0:
                answer = nt.NEEDS_RECORDING
    s[nt.S_GRAD_MODE], s[nt.S_PENDING_LIMIT] = mode, limit
    return answer


def record_entry(state, request):  # type: ignore[no-untyped-def]
    """Run a pass that is recorded, as `run_pass` does."""
    answer = check_pass(state, request)
    return record(state, request) if answer == nt.DONE else answer


# --------------------------------------------------------------------------- the pass
@helper
def check_pass(state, request):  # type: ignore[no-untyped-def]
    """Go through the stages before anything changes; DONE, or a reason to stop."""
    s, r = p64(state), p64(request)
    if r[nt.R_STAGE] == nt.LAYOUT:
        if s[nt.S_DONE] != s[nt.S_COUNT] and r[nt.R_OPTIONS] & nt.UNEVALUATED == 0:
            if forward(state) != 0:  # Python finds the failure again, and raises it
                return nt.NEEDS_VALUES
            s[nt.S_EAGER] = 0
        answer = lay_out(state, request)
        if answer != nt.DONE:
            return answer
        want(state, request)
        r[nt.R_STAGE] = nt.MARKING
    if r[nt.R_STAGE] == nt.MARKING:
        answer = mark(state, request)
        if answer != nt.DONE:
            return answer
        r[nt.R_STAGE] = nt.CHECKING
        if is_inspected(state, request):
            return nt.NEEDS_INSPECTION
    if r[nt.R_STAGE] == nt.CHECKING:
        answer = check_use(request)
        if answer != nt.DONE:
            return answer
        r[nt.R_STAGE] = nt.SEEDING
    return nt.DONE


@helper
def seed_outputs(state, request):  # type: ignore[no-untyped-def]
    """Seed the outputs with their cotangents; 0, or -1 without memory."""
    r = p64(request)
    places, seeds = p64(request + 8 * nt.R_PLACES), p64(r[nt.R_SEEDS])
    for i in range(r[nt.R_OUTPUTS]):
        if seeds[2 * i] == 0:
            failed = units(state, request, places[2 * i], seeds[2 * i + 1])
        else:
            failed = seed(state, request, places[2 * i], seeds[2 * i], seeds[2 * i + 1])
        if failed != 0:
            return -1
    return 0


@helper
def find_adjoints(state, request):  # type: ignore[no-untyped-def]
    """Write the adjoints' addresses of leaves that are targets, and of all that are wanted, to their rows."""
    r = p64(request)
    adjoint, rows, leaves = p64(r[nt.R_ADJOINT]), p64(r[nt.R_CAPTURES]), p64(r[nt.R_LEAF_ROWS])
    for i in range(r[nt.R_TARGETS]):
        if rows[4 * i + 2] == 0:
            rows[4 * i + 2] = adjoint[rows[4 * i + 1]]
    reached, count = p8(r[nt.R_REACHED]), 0  # marks are bytes: faster to look over
    for k in range(1, r[nt.R_HIGH] + 1 if r[nt.R_LEAVES] > 0 else 0):
        if reached[k] == 0 or adjoint[k] == 0 or count >= r[nt.R_LEAVES]:
            continue
        if kind_of(state, k) == nt.LEAF:
            leaves[2 * count], leaves[2 * count + 1] = k, adjoint[k]
            count += 1
    r[nt.R_LEAF_COUNT] = count


@helper
def run_pass(state, request):  # type: ignore[no-untyped-def]
    """Run a pass on from the stage that it is at; DONE, or the reason for which it stops.

    When it is done, the rows of targets and of leaves say where adjoints are.
    """
    r = p64(request)
    if r[nt.R_STAGE] < nt.SEEDING:
        answer = check_pass(state, request)
        if answer != nt.DONE:
            return answer
    if r[nt.R_STAGE] == nt.SEEDING:
        r[nt.R_SEEN], r[nt.R_NEXT] = 0, r[nt.R_HIGH]
        r[nt.R_STAGE] = nt.SWEEPING
        if seed_outputs(state, request) != 0:
            return nt.HAS_FAILED
    answer = sweep_back(state, request)
    if answer == nt.DONE:
        find_adjoints(state, request)
        r[nt.R_STAGE] = nt.SWEPT
    return answer


@helper
def give_back(state, r, slot):  # type: ignore[no-untyped-def]
    """Give the memory of an adjoint back, if there is one."""
    adjoint = p64(r[nt.R_ADJOINT])
    if adjoint[slot] != 0:
        size = adjoint_bytes(state, r, slot)
        if size > nt.SMALL:
            free_large(state + 8 * nt.S_POOL, adjoint[slot], size)
        adjoint[slot] = 0


def release_entry(state, request, duties):  # type: ignore[no-untyped-def]
    """Give adjoints back after a sweep and, of `duties`, do FREES_RESIDUALS and EMPTIES_ARENA."""
    s, r = p64(state), p64(request)
    if r[nt.R_STAGE] < nt.CHECKING:
        return 0
    if r[nt.R_STAGE] == nt.SWEEPING:  # an error has ended it
        find_adjoints(state, request)
    reached, flags = p8(r[nt.R_REACHED]), p8(s[nt.S_FLAGS])
    for k in range(r[nt.R_HIGH], r[nt.R_STOP], -1):
        give_back(state, r, k)
        if duties & nt.FREES_RESIDUALS and reached[k] & KEEPS_RESIDUALS:
            flags[k] |= nt.FREED
    rows, leaves = p64(r[nt.R_CAPTURES]), p64(r[nt.R_LEAF_ROWS])  # of leaves, which may lie below
    for i in range(r[nt.R_TARGETS]):
        give_back(state, r, rows[4 * i + 1])
    for i in range(r[nt.R_LEAF_COUNT]):
        give_back(state, r, leaves[2 * i])
    if duties & nt.EMPTIES_ARENA:
        reset_arena(state + 8 * nt.S_ADJOINTS)
        trim_scratch(state)
    return 0
