"""The reverse sweep.

`sweep_back` walks backwards over the statements that `prepare` (reverse_marking.py) marked; for each operand
that needs a derivative it runs the VJP program of (instruction, operand), which assigns to an *untouched*
adjoint and accumulates into any other (adjoints.py). A view's adjoint lies inside its root's, so a view costs
nothing here.

Start reading at `sweep_back`.
"""

from __future__ import annotations

from .. import abi as nt
from .. import words as it
from ..words import globals_address, helper, inlined, p8, p32, p64
from .adjoints import (
    adjoint_bytes,
    adjoint_of,
    run_rule,
    run_vjp,
    scratch_bytes,
    within,
)
from .allocator import free_large
from .appending import append_leaf
from .interpreter import pointer_table
from .reverse_marking import looked_at, vjp_row
from .wanting import is_late, leave, runs


# --------------------------------------------------------------------------- adjoints that are copied out
@helper
def copy_targets(state, r, k):  # type: ignore[no-untyped-def]
    """Copy the adjoints out that are taken at statement `k`; 0, or -1 without memory."""
    itab = p64(globals_address())[nt.G_ITAB]
    captures, owner = p64(r[nt.R_CAPTURES]), p32(r[nt.R_ROOT])[k]
    for i in range(r[nt.R_TARGETS]):
        if captures[4 * i] == k and captures[4 * i + 2] != 0:
            slot = captures[4 * i + 1]
            copy = p64(itab + 8 * nt.I_WIDTH * captures[4 * i + 3])
            table = pointer_table(state, copy, slot, scratch_bytes(r, copy))
            if table == 0:
                return -1
            v = vjp_row(copy, r[nt.R_VARIANT], 1)  # `copy_of` in program_table.py has it
            p64(table)[nt.T_CT] = p64(r[nt.R_ADJOINT])[owner] + within(state, r, slot)
            p64(table)[nt.T_ADJOINT] = captures[4 * i + 2]
            run_rule(r, v, v[nt.V_ASSIGN], table)
            captures[4 * i] = -1  # taken
    return 0


@helper
def take_late(state, r, k):  # type: ignore[no-untyped-def]
    """Copy the adjoints of late targets out at `k` and add them to their bases'; 0, or -1 without memory.

    From here down such a view lies in its base's adjoint again.
    """
    s = p64(state)
    itab, shared = p64(globals_address())[nt.G_ITAB], p32(s[nt.S_ROOT])
    captures, root, adjoint = p64(r[nt.R_CAPTURES]), p32(r[nt.R_ROOT]), p64(r[nt.R_ADJOINT])
    for i in range(r[nt.R_TARGETS]):
        if is_late(captures, i, k):
            slot = captures[4 * i + 1]
            captures[4 * i] = -2
            if adjoint[slot] != 0:
                copy = p64(itab + 8 * nt.I_WIDTH * (captures[4 * i + 3] & 0xFFFFFFFF))
                table = pointer_table(state, copy, slot, scratch_bytes(r, copy))
                if table == 0:
                    return -1
                v = vjp_row(copy, r[nt.R_VARIANT], 1)
                p64(table)[nt.T_CT], p64(table)[nt.T_ADJOINT] = adjoint[slot], captures[4 * i + 2]
                run_rule(r, v, v[nt.V_ASSIGN], table)
                captures[4 * i] = -1  # taken
    for i in range(r[nt.R_TARGETS]):
        slot = captures[4 * i + 1]
        if captures[4 * i] >= 0 or captures[4 * i + 3] >> 32 == 0 or root[slot] != slot:
            continue
        root[slot] = shared[slot]
        memory = adjoint[slot]
        adjoint[slot] = 0
        if memory != 0 and p8(r[nt.R_NEEDED])[root[slot]]:
            copy = p64(itab + 8 * nt.I_WIDTH * (captures[4 * i + 3] & 0xFFFFFFFF))
            table = pointer_table(state, copy, slot, scratch_bytes(r, copy))
            if table == 0 or run_vjp(state, r, copy, table, 0, slot, captures[4 * i + 2]) != 0:
                return -1
        if memory != 0 and adjoint_bytes(state, r, slot) > nt.SMALL:
            free_large(state + 8 * nt.S_POOL, memory, adjoint_bytes(state, r, slot))
    return 0


@inlined
def take_captures(state, r, row, k):  # type: ignore[no-untyped-def]
    """Copy the adjoints out that are taken at `k`, before Python looks at the adjoint there, or behind that.

    NEEDS_HOOKS where Python is to look now, DONE where there is nothing more, or HAS_FAILED.
    """
    flags, seen = p8(p64(state)[nt.S_FLAGS]), r[nt.R_SEEN]
    looks = looked_at(flags, row, k, p32(r[nt.R_ROOT])[k]) and seen != k and seen != -k
    goes_on = r[nt.R_OPTIONS] & nt.RAW and row[nt.I_KIND] != nt.LEAF and runs(state, r, row, k)
    if (goes_on or not looks) and copy_targets(state, r, k) != 0:
        return nt.HAS_FAILED
    if not looks:
        return nt.DONE
    r[nt.R_SEEN] = r[nt.R_NEXT] = k
    return nt.NEEDS_HOOKS


# --------------------------------------------------------------------------- the kinds of statements
@inlined
def operands(state, k):  # type: ignore[no-untyped-def]
    """Slots of the operands of statement `k`."""
    s = p64(state)
    return p32(s[nt.S_ARG] + 4 * p32(s[nt.S_ARG_START])[k])


@inlined
def give_back(state, r, row, k):  # type: ignore[no-untyped-def]
    """Give the memory of an adjoint back that is used up."""
    size, adjoint = row[nt.I_BYTES] * r[nt.R_LANES], p64(r[nt.R_ADJOINT])
    if size > nt.SMALL:
        free_large(state + 8 * nt.S_POOL, adjoint[k], size)
    adjoint[k] = 0


@inlined
def may_inherit(r, row, operand, slot):  # type: ignore[no-untyped-def]
    """Return True if an operand's adjoint can be the cotangent's own buffer, worth more than its copy."""
    if row[nt.I_BYTES] * r[nt.R_LANES] <= nt.SMALL or p32(r[nt.R_ROOT])[slot] != slot:
        return False
    return (
        p64(r[nt.R_ADJOINT])[slot] == 0
        and vjp_row(row, r[nt.R_VARIANT], operand)[nt.V_IDENTITY] != 0
    )


@inlined
def sweep_compute(state, r, row, k):  # type: ignore[no-untyped-def]
    """Run the VJPs of a statement; its adjoint is used up then."""
    root, needed, adjoint = p32(r[nt.R_ROOT]), p8(r[nt.R_NEEDED]), p64(r[nt.R_ADJOINT])
    args = operands(state, k)
    table = pointer_table(state, row, k, scratch_bytes(r, row))
    if table == 0:
        return -1
    heir = -1
    for i in range(row[nt.I_NARGS]):
        slot = args[i]
        if needed[root[slot]] == 0:
            continue
        if heir < 0 and may_inherit(r, row, i, slot):
            heir = i  # it may get the cotangent's buffer itself, once the others are done
        elif run_vjp(state, r, row, table, i, slot, adjoint[k]) != 0:
            return -1
    if heir >= 0:
        slot = args[heir]
        if adjoint[slot] == 0:
            adjoint[slot], adjoint[k] = adjoint[k], 0
            return 0
        if run_vjp(state, r, row, table, heir, slot, adjoint[k]) != 0:
            return -1
    give_back(state, r, row, k)
    return 0


@inlined
def sweep_view(state, r, row, k):  # type: ignore[no-untyped-def]
    """Add the adjoint of a view that has one of its own to that of its root, if that is wanted.

    A captured view has one. What is behind it may not be wanted; then `prepare` asked for no program either.
    """
    address, root, adjoint = p64(p64(state)[nt.S_ADDRESS]), p32(r[nt.R_ROOT]), p64(r[nt.R_ADJOINT])
    first = operands(state, k)[0]
    owner = root[first]
    if root[k] != k or row[nt.I_DETACH] != 0 or p8(r[nt.R_NEEDED])[owner] == 0:
        return 0
    if adjoint_of(state, r, first, False) == 0:
        return -1
    table = pointer_table(state, row, k, scratch_bytes(r, row))
    if table == 0:
        return -1
    v = vjp_row(row, r[nt.R_VARIANT], 0)
    p64(table)[nt.T_CT] = adjoint[k]
    p64(table)[nt.T_ADJOINT] = adjoint[owner] + r[nt.R_LANES] * (address[k] - address[owner])
    run_rule(r, v, v[nt.V_ACCUMULATE], table)
    give_back(state, r, row, k)
    return 0


@inlined
def sweep_write(state, r, row, k):  # type: ignore[no-untyped-def]
    """Pass the adjoint of what was written, or added in place, on to its source."""
    root, needed = p32(r[nt.R_ROOT]), p8(r[nt.R_NEEDED])
    source = operands(state, k)[1]
    if needed[k] & nt.ENDS and needed[root[source]] == 0:  # `prepare` asked for no programs
        return 0
    table = pointer_table(state, row, k, scratch_bytes(r, row))
    if table == 0:
        return -1
    ct = p64(r[nt.R_ADJOINT])[root[k]] + within(state, r, k)
    if needed[root[source]] and run_vjp(state, r, row, table, 1, source, ct) != 0:
        return -1
    if row[nt.I_KIND] == nt.WRITE:  # what was there before is overwritten: its adjoint is zero
        v = vjp_row(row, r[nt.R_VARIANT], 0)
        p64(table)[nt.T_CT] = ct
        p64(table)[nt.T_ADJOINT] = ct
        run_rule(r, v, v[nt.V_ASSIGN], table)
    return 0


# --------------------------------------------------------------------------- the sweep
@helper
def sweep_back(state, request):  # type: ignore[no-untyped-def]
    """Sweep backwards over what `prepare` marked; DONE, or a reason to stop, after which it goes on there.

    HAS_FAILED: the statement is in R_ERROR_SLOT, and in R_FAILURE the report of its kernel, or 0 if there was
    no memory. NEEDS_HOOKS, NEEDS_RULE: Python has something to do (python_steps.py) at statement R_NEXT.
    """
    s, r = p64(state), p64(request)
    root, needed, adjoint = p32(r[nt.R_ROOT]), p8(r[nt.R_NEEDED]), p64(r[nt.R_ADJOINT])
    flags, instructions = p8(s[nt.S_FLAGS]), p32(s[nt.S_INSTRUCTION])
    itab, options = p64(globals_address())[nt.G_ITAB], r[nt.R_OPTIONS]
    for k in range(r[nt.R_NEXT], r[nt.R_STOP], -1):
        leave(r, k + 1)
        if needed[k] & nt.TARGET and take_late(state, r, k) != 0:
            return nt.HAS_FAILED
        if adjoint[root[k]] == 0 or needed[root[k]] == 0:
            continue
        row = p64(itab + 8 * nt.I_WIDTH * instructions[k])
        kind, taken_over, answer = row[nt.I_KIND], options & nt.EVERY != 0, 0
        if flags[k] & nt.WATCHED or needed[k] & nt.TARGET:
            answer = take_captures(state, r, row, k)
            if answer != nt.DONE:
                return answer
            taken_over |= r[nt.R_SEEN] == -k
        if kind == nt.LEAF or flags[k] & nt.STUB:
            continue
        if kind == nt.COMPUTE and (row[nt.I_PYTHON] or taken_over):
            if options & nt.RAW and not runs(state, r, row, k):
                continue
            r[nt.R_NEXT] = k
            return nt.NEEDS_RULE
        if kind == nt.COMPUTE:
            answer = sweep_compute(state, r, row, k)
        elif kind == nt.VIEW:
            answer = sweep_view(state, r, row, k)
        elif kind == nt.WRITE or kind == nt.ACCUMULATE:
            answer = sweep_write(state, r, row, k)
        if answer != 0:
            r[nt.R_ERROR_SLOT] = k
            return nt.HAS_FAILED
    return nt.DONE


def gradient_entry(state, adjoint, size, instruction, address):  # type: ignore[no-untyped-def]
    """Copy an adjoint to `address` and append a leaf there; its slot, or -1."""
    it.memcpy(address, adjoint, size)
    return append_leaf(state, instruction, address, 0)
