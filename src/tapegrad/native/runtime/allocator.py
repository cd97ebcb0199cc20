"""Memory of values and adjoints in native code.

Small buffers are bump-allocated from the blocks of an arena; larger ones come from malloc by way of
a pool of free lists by size: what was written a moment ago is in the cache, and new memory costs a page
fault for each page. Scratch memory serves the temporaries of one program at a time.
"""

from __future__ import annotations

import numpy as np

from .. import abi as nt
from .. import words as it
from ..words import helper, p64


@helper
def new_block(arena, size):  # type: ignore[no-untyped-def]
    """Go to the next block of an arena (kept or new); 0, or -1 without memory."""
    a = p64(arena)
    blocks = p64(a[nt.A_BLOCKS])
    if size <= nt.BLOCK and a[nt.A_USED] < a[nt.A_BLOCK_COUNT]:
        address = blocks[a[nt.A_USED]]
    else:
        if a[nt.A_BLOCK_COUNT] == a[nt.A_BLOCK_CAPACITY]:
            capacity = 2 * a[nt.A_BLOCK_CAPACITY] + 16
            larger = it.malloc(8 * capacity)
            if larger == 0:
                return -1
            if a[nt.A_BLOCK_COUNT] > 0:
                it.memcpy(larger, a[nt.A_BLOCKS], 8 * a[nt.A_BLOCK_COUNT])
                it.free(a[nt.A_BLOCKS])
            a[nt.A_BLOCKS] = larger
            a[nt.A_BLOCK_CAPACITY] = capacity
            blocks = p64(larger)
        address = it.malloc(nt.BLOCK)
        if address == 0:
            return -1
        blocks[a[nt.A_BLOCK_COUNT]] = address
        a[nt.A_BLOCK_COUNT] += 1
    a[nt.A_USED] += 1
    a[nt.A_NEXT] = address
    a[nt.A_END] = address + nt.BLOCK
    return 0


@helper
def allocate_small(arena, size):  # type: ignore[no-untyped-def]
    """`size` (at most SMALL) bytes of an arena, or 0."""
    a = p64(arena)
    size = max((size + 7) & ~7, 8)  # also an empty value has an address
    if a[nt.A_NEXT] + size > a[nt.A_END] and new_block(arena, size) != 0:
        return 0
    address = a[nt.A_NEXT]
    a[nt.A_NEXT] = address + size
    return address


@helper
def reset_arena(arena):  # type: ignore[no-untyped-def]
    """Forget every buffer of an arena; keep one block, give the others back."""
    a = p64(arena)
    blocks = p64(a[nt.A_BLOCKS])
    while a[nt.A_BLOCK_COUNT] > 4:
        a[nt.A_BLOCK_COUNT] -= 1
        it.free(blocks[a[nt.A_BLOCK_COUNT]])
    a[nt.A_USED] = 0
    a[nt.A_NEXT] = 0
    a[nt.A_END] = 0


@helper
def size_class(size):  # type: ignore[no-untyped-def]
    """Number of the pool's list for buffers of `size` bytes, four between powers of two; -1 for none."""
    if size > nt.LARGEST:
        return -1
    power = 11
    while (size - 1) >> (power + 1) != 0:
        power += 1
    return 4 * (power - 11) + ((size - 1 - (1 << power)) >> (power - 2))


@helper
def class_bytes(number):  # type: ignore[no-untyped-def]
    """Bytes of the buffers in a list of the pool."""
    power = 11 + number // 4
    return (1 << power) + (number % 4 + 1) * (1 << (power - 2))


@helper
def buffer_bytes(size):  # type: ignore[no-untyped-def]
    """Bytes of memory that a buffer of `size` has at least, if the pool is to take it."""
    number = size_class(size) if size > nt.SMALL else np.int64(-1)
    return class_bytes(number) if number >= 0 else size


@helper
def empty_pool(pool):  # type: ignore[no-untyped-def]
    """Give all buffers of a pool back to the system; whether there were any."""
    p = p64(pool)
    freed = False
    for i in range(nt.CLASSES):
        while p[2 + i] != 0:
            memory = p[2 + i]
            p[2 + i] = p64(memory)[0]
            it.free(memory)
            freed = True
        p[nt.POOL_COUNTS + i] = p[nt.POOL_LEAST + i] = 0
    p[0] = 0
    return freed


@helper
def shrink_pool(pool):  # type: ignore[no-untyped-def]
    """Give back to the system what was not needed since `restart_pool`."""
    p = p64(pool)
    for i in range(nt.CLASSES):
        for _ in range(p[nt.POOL_LEAST + i]):
            memory = p[2 + i]
            p[2 + i] = p64(memory)[0]
            p[0] -= class_bytes(i)
            p[nt.POOL_COUNTS + i] -= 1
            it.free(memory)


@helper
def restart_pool(pool):  # type: ignore[no-untyped-def]
    """Count anew what is needed of a pool."""
    p = p64(pool)
    for i in range(nt.CLASSES):
        p[nt.POOL_LEAST + i] = p[nt.POOL_COUNTS + i]


@helper
def allocate_large(pool, size):  # type: ignore[no-untyped-def]
    """A buffer above SMALL: one of about that size that was given back, or a new one."""
    p = p64(pool)
    number = size_class(size)
    if number >= 0:
        size = class_bytes(number)
        memory = p[2 + number]
        if memory != 0:  # its first word is the address of the next
            p[2 + number] = p64(memory)[0]
            p[0] -= size
            count = p[nt.POOL_COUNTS + number] - 1
            p[nt.POOL_COUNTS + number] = count
            p[nt.POOL_LEAST + number] = min(p[nt.POOL_LEAST + number], count)
            return memory
    memory = it.malloc(size)
    if memory == 0 and empty_pool(pool):
        memory = it.malloc(size)
    return memory


@helper
def free_large(pool, address, size):  # type: ignore[no-untyped-def]
    """Give a buffer back; the pool keeps it, up to a limit of bytes."""
    p = p64(pool)
    number = size_class(size)
    if number < 0 or p[0] + class_bytes(number) > p[1]:
        it.free(address)
        return
    p64(address)[0] = p[2 + number]
    p[2 + number] = address
    p[0] += class_bytes(number)
    p[nt.POOL_COUNTS + number] += 1


@helper
def allocate(state, arena, size):  # type: ignore[no-untyped-def]
    if size <= nt.SMALL:
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
