"""Memory of values and adjoints in native code.

Small buffers are bump-allocated from the blocks of an arena; larger ones come from malloc by way of
a pool that keeps a few for reuse. Scratch memory serves the temporaries of one program at a time.
"""

from __future__ import annotations

from .. import native as nt
from ..native import (
    A_BLOCK_CAPACITY,
    A_BLOCK_COUNT,
    A_BLOCKS,
    A_END,
    A_NEXT,
    A_USED,
    BLOCK,
    SMALL,
)  # fmt: skip
from . import intrinsics as it
from .intrinsics import helper, p64


@helper
def new_block(arena, size):  # type: ignore[no-untyped-def]
    """Go to the next block of an arena (kept or new); 0, or -1 without memory."""
    a = p64(arena)
    blocks = p64(a[A_BLOCKS])
    if size <= BLOCK and a[A_USED] < a[A_BLOCK_COUNT]:
        address = blocks[a[A_USED]]
    else:
        if a[A_BLOCK_COUNT] == a[A_BLOCK_CAPACITY]:
            capacity = 2 * a[A_BLOCK_CAPACITY] + 16
            larger = it.malloc(8 * capacity)
            if larger == 0:
                return -1
            if a[A_BLOCK_COUNT] > 0:
                it.memcpy(larger, a[A_BLOCKS], 8 * a[A_BLOCK_COUNT])
                it.free(a[A_BLOCKS])
            a[A_BLOCKS] = larger
            a[A_BLOCK_CAPACITY] = capacity
            blocks = p64(larger)
        address = it.malloc(BLOCK)
        if address == 0:
            return -1
        blocks[a[A_BLOCK_COUNT]] = address
        a[A_BLOCK_COUNT] += 1
    a[A_USED] += 1
    a[A_NEXT] = address
    a[A_END] = address + BLOCK
    return 0


@helper
def allocate_small(arena, size):  # type: ignore[no-untyped-def]
    """`size` (at most SMALL) bytes of an arena, or 0."""
    a = p64(arena)
    size = max((size + 7) & ~7, 8)  # also an empty value has an address
    if a[A_NEXT] + size > a[A_END] and new_block(arena, size) != 0:
        return 0
    address = a[A_NEXT]
    a[A_NEXT] = address + size
    return address


@helper
def reset_arena(arena):  # type: ignore[no-untyped-def]
    """Forget every buffer of an arena; keep one block, give the others back."""
    a = p64(arena)
    blocks = p64(a[A_BLOCKS])
    while a[A_BLOCK_COUNT] > 4:
        a[A_BLOCK_COUNT] -= 1
        it.free(blocks[a[A_BLOCK_COUNT]])
    a[A_USED] = 0
    a[A_NEXT] = 0
    a[A_END] = 0


@helper
def allocate_large(pool, size):  # type: ignore[no-untyped-def]
    """A buffer above SMALL: the last one of that size that was given back, or a new one."""
    p = p64(pool)
    i = p[0] - 1
    while i >= 0:
        if p[4 + 2 * i] == size:
            address = p[3 + 2 * i]
            p[0] -= 1
            p[3 + 2 * i] = p[3 + 2 * p[0]]
            p[4 + 2 * i] = p[4 + 2 * p[0]]
            p[1] -= size
            return address
        i -= 1
    address = it.malloc(size)
    while address == 0 and p[0] > 0:
        p[0] -= 1
        p[1] -= p[4 + 2 * p[0]]
        it.free(p[3 + 2 * p[0]])
        address = it.malloc(size)
    return address


@helper
def free_large(pool, address, size):  # type: ignore[no-untyped-def]
    """Give a buffer back; the pool keeps a few of each size, up to a limit."""
    p = p64(pool)
    if size > p[2]:
        it.free(address)
        return
    while p[0] > 0 and (p[0] >= 32 or p[1] + size > p[2]):
        p[1] -= p[4]
        it.free(p[3])
        p[0] -= 1
        for i in range(2 * p[0]):
            p[3 + i] = p[5 + i]
    p[3 + 2 * p[0]] = address
    p[4 + 2 * p[0]] = size
    p[0] += 1
    p[1] += size


@helper
def allocate(state, arena, size):  # type: ignore[no-untyped-def]
    if size <= SMALL:
        return allocate_small(state + 8 * arena, size)
    return allocate_large(state + 8 * nt.S_POOL, size)


@helper
def reserve_scratch(state, size):  # type: ignore[no-untyped-def]
    """Make the scratch memory at least `size` bytes; 0, or -1 without memory."""
    s = p64(state)
    if size <= s[nt.S_SCRATCH_SIZE]:
        return 0
    size = size + size // 4 + 65536
    memory = it.malloc(size)
    if memory == 0:
        return -1
    if s[nt.S_SCRATCH] != 0:
        it.free(s[nt.S_SCRATCH])
    s[nt.S_SCRATCH] = memory
    s[nt.S_SCRATCH_SIZE] = size
    return 0


@helper
def trim_scratch(state):  # type: ignore[no-untyped-def]
    """Give large scratch memory back at the end of a sweep."""
    s = p64(state)
    if s[nt.S_SCRATCH_SIZE] > 1 << 24:
        it.free(s[nt.S_SCRATCH])
        s[nt.S_SCRATCH] = 0
        s[nt.S_SCRATCH_SIZE] = 0
