"""The tape's garbage collector: mark what live handles need, then compact.

Handles (Tensors) are the roots. A handle keeps its value; if it is active it also keeps its graph:
the statements that a reverse sweep from it would visit, and the residuals of those. Everything else
goes: dropped results, the residuals of freed statements, the operands of passive values. What is
left moves to the front in the same order, small values move to a new arena, and handles find their
new slots through the tape's handle table. So a loop runs in constant memory whether or not it ever
calls ``backward``.

Marks are two bits a slot: VALUE (its memory is needed) and GRAPH (its statement is). The pass runs
backwards, so that every consumer is seen before its operands; an in-place write is kept as long as
the memory it wrote to is (`live_base`).
"""

from __future__ import annotations

from .. import abi as nt
from .. import words as it
from ..words import globals_address, helper, p8, p32, p64, stack_words
from .allocator import allocate_small, empty_pool, free_large, restart_pool, shrink_pool
from .reverse_marking import kept_residuals

VALUE, GRAPH = 1, 2
_GONE = 4


@helper
def keep(marks, live_base, root, base, slot, bits):  # type: ignore[no-untyped-def]
    marks[slot] |= bits
    live_base[base[slot]] = 1
    marks[base[slot]] |= VALUE if bits & VALUE else bits
    if bits & GRAPH:
        marks[root[slot]] |= GRAPH


@helper
def mark(state, marks_at, live_base_at, low):  # type: ignore[no-untyped-def]
    """Fill `marks` and `live_base` (uint8 a slot, zero on entry) for the slots above `low`."""
    s = p64(state)
    marks, live_base = p8(marks_at), p8(live_base_at)
    root, base = p32(s[nt.S_ROOT]), p32(s[nt.S_BASE])
    flags = p8(s[nt.S_FLAGS])
    instructions = p32(s[nt.S_INSTRUCTION])
    arg_start, args = p32(s[nt.S_ARG_START]), p32(s[nt.S_ARG])
    itab = p64(globals_address())[nt.G_ITAB]
    handles = p32(s[nt.S_HANDLES])
    for i in range(s[nt.S_HANDLE_CAPACITY]):
        slot = handles[i]
        if slot > 0:
            keep(marks, live_base, root, base, slot, VALUE | GRAPH)
    k = s[nt.S_COUNT] - 1
    while k > low:
        row = p64(itab + 8 * nt.I_WIDTH * instructions[k])
        kind = row[nt.I_KIND]
        pending = k >= s[nt.S_DONE] and flags[k] & nt.POISON == 0
        active = flags[root[k]] & nt.ACTIVE
        if kind >= nt.WRITE and kind < nt.OUTPUT and live_base[base[k]] and (pending or active):
            marks[k] |= VALUE | GRAPH
        if marks[k] == 0 or kind == nt.LEAF or flags[k] & nt.STUB:
            k -= 1
            continue
        first = arg_start[k]
        if kind == nt.COMPUTE:
            graph = marks[k] & GRAPH and active
            residuals = -1
            if flags[k] & nt.FREED:
                residuals = 0
            elif graph and row[nt.I_VJP] >= 0:
                residuals = kept_residuals(state, row, k)
            if graph and row[nt.I_PYTHON] == 2:  # a Function has saved its output
                residuals |= 1 << row[nt.I_NARGS]
            for i in range(row[nt.I_NARGS]):
                slot = args[first + i]
                bits = 0
                if pending or (graph and residuals >> i & 1):
                    bits |= VALUE
                if graph and flags[root[slot]] & nt.ACTIVE:
                    bits |= GRAPH
                if bits and slot != 0:  # 0 where it was dropped (`forget_operands`)
                    keep(marks, live_base, root, base, slot, bits)
            if graph and residuals >> row[nt.I_NARGS] & 1:
                marks[k] |= VALUE
            if pending:
                for i in range(1, row[nt.I_NOUT]):
                    marks[k + i] |= VALUE
        elif kind == nt.VIEW:
            # A passive view (`detach`) needs its operand's value, and not how that was computed.
            bits = marks[k] | VALUE if active else VALUE
            keep(marks, live_base, root, base, args[first], bits)
        elif kind == nt.OUTPUT:
            if pending:
                keep(marks, live_base, root, base, args[first], VALUE)
        else:
            keep(marks, live_base, root, base, args[first], marks[k] | VALUE)
            source = args[first + 1]
            if pending:
                keep(marks, live_base, root, base, source, VALUE)
            if flags[root[source]] & nt.ACTIVE:
                keep(marks, live_base, root, base, source, GRAPH)
        k -= 1
    return 0


def mark_entry(state, marks_at, live_base_at, expected):  # type: ignore[no-untyped-def]
    """Mark the slots of `expected` statements; 1, and nothing done, if there are more by now."""
    if p64(state)[nt.S_COUNT] != expected:
        return 1
    return mark(state, marks_at, live_base_at, 0)


def trim_entry(state, low, marks_at, expected):  # type: ignore[no-untyped-def]
    """Give back the large values above slot `low` that nobody needs, and leave the slots where they are.

    `marks_at` has room for two bytes a slot of `expected`; with more by now nothing is done.
    """
    s = p64(state)
    n = s[nt.S_COUNT]
    if n != expected:
        return 1
    it.memset(marks_at, 0, 2 * n)
    mark(state, marks_at, marks_at + n, low)
    marks, base, flags = p8(marks_at), p32(s[nt.S_BASE]), p8(s[nt.S_FLAGS])
    address, instructions = p64(s[nt.S_ADDRESS]), p32(s[nt.S_INSTRUCTION])
    itab = p64(globals_address())[nt.G_ITAB]
    for k in range(low + 1, s[nt.S_DONE]):
        if base[k] != k:
            if marks[base[k]] & _GONE:  # nobody needs the views of such a value either
                address[k] = 0
            continue
        row = p64(itab + 8 * nt.I_WIDTH * instructions[k])
        kind, size = row[nt.I_KIND], row[nt.I_BYTES]
        owns = (
            (kind == nt.COMPUTE or kind == nt.OUTPUT)
            and flags[k] & nt.EXTERNAL == 0
            and address[k] != 0
        )
        if owns and size > nt.SMALL and marks[k] & VALUE == 0:
            free_large(state + 8 * nt.S_POOL, address[k], size)
            s[nt.S_OWNED_BYTES] -= size
            address[k] = 0
            marks[k] |= _GONE
    return 0


def compact_entry(  # type: ignore[no-untyped-def]
    state, marks_at, old_address_at, expected, constants, constants_mask
):
    """Move the marked ones of `expected` statements to the front, in order.

    The table of constants becomes `constants`, made for the new numbers. Returns 1, and does nothing,
    if there are more statements than were marked by now.
    """
    s = p64(state)
    if s[nt.S_COUNT] != expected:
        return 1
    memory_of_new = it.malloc(4 * expected)
    if memory_of_new == 0:
        return 1
    shrink_pool(state + 8 * nt.S_POOL)
    s[nt.S_CONSTANTS] = constants
    s[nt.S_CONSTANTS_MASK] = constants_mask
    marks, new = p8(marks_at), p32(memory_of_new)
    old_address = p64(old_address_at)
    root, base = p32(s[nt.S_ROOT]), p32(s[nt.S_BASE])
    flags = p8(s[nt.S_FLAGS])
    instructions = p32(s[nt.S_INSTRUCTION])
    address = p64(s[nt.S_ADDRESS])
    arg_start, args = p32(s[nt.S_ARG_START]), p32(s[nt.S_ARG])
    itab = p64(globals_address())[nt.G_ITAB]
    arena = stack_words(6)
    for i in range(6):
        p64(arena)[i] = 0
    count, arg_count, done, leak = 1, 0, 1, 0
    new[0] = 0
    old_address[0] = 0
    for k in range(1, s[nt.S_COUNT]):
        row = p64(itab + 8 * nt.I_WIDTH * instructions[k])
        kind = row[nt.I_KIND]
        size = row[nt.I_BYTES]
        memory = address[k]
        old_address[k] = memory
        owns = (
            (kind == nt.COMPUTE or kind == nt.OUTPUT)
            and flags[k] & nt.EXTERNAL == 0
            and memory != 0
        )
        if owns and marks[k] & VALUE == 0:
            if size > nt.SMALL:
                free_large(state + 8 * nt.S_POOL, memory, size)
                s[nt.S_OWNED_BYTES] -= size
            memory = 0
            owns = False
        if marks[k] == 0:
            new[k] = -1
            continue
        pending = k >= s[nt.S_DONE]
        if owns and size <= nt.SMALL:
            moved = allocate_small(arena, max(size, 1))
            if moved == 0:
                leak = 1  # out of memory: values stay where they are, and so do their blocks
            else:
                it.memcpy(moved, memory, size)
                memory = moved
        start, stop = arg_start[k], arg_start[k + 1]
        stub = flags[k] & nt.STUB
        own_root = new[root[k]] if root[k] != k else k
        active = flags[own_root] & nt.ACTIVE if own_root >= 0 else 0
        if not pending and kind != nt.VIEW and kind != nt.LEAF:
            if not active or marks[k] & GRAPH == 0:
                stub = nt.STUB
        if not pending and base[k] != k and memory != 0:  # an alias follows its base
            owner = base[k]
            memory = memory - old_address[owner] + address[new[owner]]
        instructions[count] = instructions[k]
        target = arg_count
        if not stub:
            for i in range(start, stop):
                if i - start < row[nt.I_NARGS]:
                    slot = new[args[i]]
                    args[target] = slot if slot > 0 else 0
                else:
                    args[target] = args[i]
                target += 1
        flags[count] = flags[k] | stub
        address[count] = memory
        root[count] = own_root if own_root >= 0 and own_root != k else count
        base[count] = new[base[k]] if base[k] != k else count
        new[k] = count
        arg_start[count] = arg_count
        arg_count = target
        count += 1
        if not pending:
            done = count
    arg_start[count] = arg_count
    values = p64(state + 8 * nt.S_VALUES)
    blocks = p64(values[nt.A_BLOCKS])
    if not leak:
        for i in range(values[nt.A_BLOCK_COUNT]):
            it.free(blocks[i])
    if values[nt.A_BLOCKS] != 0:
        it.free(values[nt.A_BLOCKS])
    for i in range(6):
        values[i] = p64(arena)[i]
    handles = p32(s[nt.S_HANDLES])
    for i in range(s[nt.S_HANDLE_CAPACITY]):
        if handles[i] > 0:
            handles[i] = new[handles[i]]
    s[nt.S_COUNT] = count
    s[nt.S_ARG_COUNT] = arg_count
    s[nt.S_DONE] = done
    s[nt.S_BOUND] = 0
    restart_pool(state + 8 * nt.S_POOL)
    it.free(memory_of_new)
    return 0


def drop_entry(state, count, expected, constants, constants_mask):  # type: ignore[no-untyped-def]
    """Drop the statements from `count` on, with a table of constants that has none of them.

    1, and nothing done, if there are not `expected` statements, or a handle refers to one of those.
    """
    s = p64(state)
    if s[nt.S_COUNT] != expected:
        return 1
    handles = p32(s[nt.S_HANDLES])
    for i in range(s[nt.S_HANDLE_CAPACITY]):
        if handles[i] >= count:
            return 1
    s[nt.S_ARG_COUNT] = p32(s[nt.S_ARG_START])[count]
    s[nt.S_COUNT] = count
    s[nt.S_DONE] = min(s[nt.S_DONE], count)
    s[nt.S_CONSTANTS] = constants
    s[nt.S_CONSTANTS_MASK] = constants_mask
    return 0


def grow_entry(state, pointers, capacity, arg_capacity):  # type: ignore[no-untyped-def]
    """Copy a tape's arrays to larger ones (addresses in the order of S_INSTRUCTION ...) and use those.

    The order of `pointers`: instruction, arg_start, arg, address, root, base, flags.
    """
    s = p64(state)
    new = p64(pointers)
    count, args = s[nt.S_COUNT], s[nt.S_ARG_COUNT]
    if count > capacity or args > arg_capacity:
        return 1  # they grew meanwhile
    if s[nt.S_INSTRUCTION] != 0:
        it.memcpy(new[0], s[nt.S_INSTRUCTION], 4 * count)
        it.memcpy(new[1], s[nt.S_ARG_START], 4 * (count + 1))
        it.memcpy(new[2], s[nt.S_ARG], 4 * args)
        it.memcpy(new[3], s[nt.S_ADDRESS], 8 * count)
        it.memcpy(new[4], s[nt.S_ROOT], 4 * count)
        it.memcpy(new[5], s[nt.S_BASE], 4 * count)
        it.memcpy(new[6], s[nt.S_FLAGS], count)
    s[nt.S_INSTRUCTION], s[nt.S_ARG_START], s[nt.S_ARG] = new[0], new[1], new[2]
    s[nt.S_ADDRESS], s[nt.S_ROOT], s[nt.S_BASE], s[nt.S_FLAGS] = new[3], new[4], new[5], new[6]
    s[nt.S_CAPACITY] = capacity
    s[nt.S_ARG_CAPACITY] = arg_capacity
    return 0


def move_entry(state, base, block, span):  # type: ignore[no-untyped-def]
    """Copy the value of `base` to a block; what lies in it (and came later) lies there from now on."""
    s = p64(state)
    bases, address = p32(s[nt.S_BASE]), p64(s[nt.S_ADDRESS])
    moved = block - address[base]
    it.memcpy(block, address[base], span)
    for k in range(base, s[nt.S_COUNT]):
        if bases[k] == base and address[k] != 0:
            address[k] += moved
    return 0


def grow_handles_entry(state, table, capacity):  # type: ignore[no-untyped-def]
    """Move the handle table to a larger one and put the new ids on the free list."""
    s = p64(state)
    old = s[nt.S_HANDLE_CAPACITY]
    if old >= capacity:
        return 1  # it grew meanwhile
    if old > 0:
        it.memcpy(table, s[nt.S_HANDLES], 4 * old)
    handles = p32(table)
    free = s[nt.S_HANDLE_FREE]
    i = capacity - 1
    while i >= old:
        handles[i] = -2 - free
        free = i
        i -= 1
    s[nt.S_HANDLE_FREE] = free
    s[nt.S_HANDLES] = table
    s[nt.S_HANDLE_CAPACITY] = capacity
    return 0


def destroy_entry(state):  # type: ignore[no-untyped-def]
    """Give back all memory that native code allocated for a tape."""
    s = p64(state)
    flags = p8(s[nt.S_FLAGS])
    instructions, address = p32(s[nt.S_INSTRUCTION]), p64(s[nt.S_ADDRESS])
    itab = p64(globals_address())[nt.G_ITAB]
    for k in range(1, s[nt.S_COUNT]):
        row = p64(itab + 8 * nt.I_WIDTH * instructions[k])
        kind = row[nt.I_KIND]
        if (kind == nt.COMPUTE or kind == nt.OUTPUT) and flags[k] & nt.EXTERNAL == 0:
            if address[k] != 0 and row[nt.I_BYTES] > nt.SMALL:
                it.free(address[k])
    for which in range(2):
        a = p64(state + 8 * (nt.S_VALUES if which == 0 else nt.S_ADJOINTS))
        blocks = p64(a[nt.A_BLOCKS])
        for i in range(a[nt.A_BLOCK_COUNT]):
            it.free(blocks[i])
        if a[nt.A_BLOCKS] != 0:
            it.free(a[nt.A_BLOCKS])
    empty_pool(state + 8 * nt.S_POOL)
    if s[nt.S_SCRATCH] != 0:
        it.free(s[nt.S_SCRATCH])
    return 0


def used_entry(state, marks):  # type: ignore[no-untyped-def]
    """Mark the instructions that the statements of a tape are of."""
    s = p64(state)
    instructions, used = p32(s[nt.S_INSTRUCTION]), p8(marks)
    for k in range(1, s[nt.S_COUNT]):
        used[instructions[k]] = 1
    return 0


def give_back_entry(state, memory, size):  # type: ignore[no-untyped-def]
    """Give a large buffer to the pool."""
    free_large(state + 8 * nt.S_POOL, memory, size)
    return 0
