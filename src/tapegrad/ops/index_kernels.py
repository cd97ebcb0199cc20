"""Kernels that copy and add elements at positions, and put a value under a mask.

A kernel takes three operands: the *indexed* memory, the positions, and the *plain* values, which
run along with the iteration space. Positions become byte offsets through a table of length and
stride of each indexed dimension (`byte_offset`). Two families suffice: copying, either way, by
item size, and adding to the indexed memory by dtype. They trust their positions; ops/index.py says
who checks them.
"""

from __future__ import annotations

from ..kernels import native_kernel
from ..native import helper, memcpy, p8, p32, p64, pf32, pf64

__all__: list[str] = []


@helper
def byte_offset(position, data):  # type: ignore[no-untyped-def]
    """Offset of a raveled position; `data`: direction, count, (length, stride) from the last on."""
    d = p64(data)
    last = d[1] - 1
    offset = 0
    for j in range(last):
        n = d[2 + 2 * j]
        rest = position // n
        offset += (position - rest * n) * d[3 + 2 * j]
        position = rest
    return offset + position * d[3 + 2 * last]


# Every kernel: operands (indexed, positions, plain), core dimension a run of elements that follow
# each other in both; its two strides stand behind the operands' three.
@native_kernel
def index_copy_8(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Copy 8-byte elements from (direction 0) or to (1) indexed memory."""
    a, s, n, m = p64(args), p64(strides), p64(dims)[0], p64(dims)[1]
    for i in range(n):
        there = a[0] + i * s[0] + byte_offset(p64(a[1] + i * s[1])[0], data)
        here = a[2] + i * s[2]
        read, write, rs, ws = there, here, s[3], s[4]
        if p64(data)[0]:
            read, write, rs, ws = here, there, s[4], s[3]
        if m > 8 and rs == 8 and ws == 8:
            memcpy(write, read, 8 * m)
        else:
            for j in range(m):
                p64(write + j * ws)[0] = p64(read + j * rs)[0]


@native_kernel
def index_copy_4(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Copy 4-byte elements from (direction 0) or to (1) indexed memory."""
    a, s, n, m = p64(args), p64(strides), p64(dims)[0], p64(dims)[1]
    for i in range(n):
        there = a[0] + i * s[0] + byte_offset(p64(a[1] + i * s[1])[0], data)
        here = a[2] + i * s[2]
        read, write, rs, ws = there, here, s[3], s[4]
        if p64(data)[0]:
            read, write, rs, ws = here, there, s[4], s[3]
        if m > 8 and rs == 4 and ws == 4:
            memcpy(write, read, 4 * m)
        else:
            for j in range(m):
                p32(write + j * ws)[0] = p32(read + j * rs)[0]


@native_kernel
def index_copy_1(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Copy bytes from (direction 0) or to (1) indexed memory."""
    a, s, n, m = p64(args), p64(strides), p64(dims)[0], p64(dims)[1]
    for i in range(n):
        there = a[0] + i * s[0] + byte_offset(p64(a[1] + i * s[1])[0], data)
        here = a[2] + i * s[2]
        read, write, rs, ws = there, here, s[3], s[4]
        if p64(data)[0]:
            read, write, rs, ws = here, there, s[4], s[3]
        for j in range(m):
            p8(write + j * ws)[0] = p8(read + j * rs)[0]


@native_kernel
def index_add_f64(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Add float64 values to indexed memory."""
    a, s, n, m = p64(args), p64(strides), p64(dims)[0], p64(dims)[1]
    for i in range(n):
        there = a[0] + i * s[0] + byte_offset(p64(a[1] + i * s[1])[0], data)
        here = a[2] + i * s[2]
        for j in range(m):
            pf64(there + j * s[3])[0] += pf64(here + j * s[4])[0]


@native_kernel
def index_add_f32(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Add float32 values to indexed memory."""
    a, s, n, m = p64(args), p64(strides), p64(dims)[0], p64(dims)[1]
    for i in range(n):
        there = a[0] + i * s[0] + byte_offset(p64(a[1] + i * s[1])[0], data)
        here = a[2] + i * s[2]
        for j in range(m):
            pf32(there + j * s[3])[0] += pf32(here + j * s[4])[0]


@native_kernel
def index_add_i64(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Add int64 values to indexed memory."""
    a, s, n, m = p64(args), p64(strides), p64(dims)[0], p64(dims)[1]
    for i in range(n):
        there = a[0] + i * s[0] + byte_offset(p64(a[1] + i * s[1])[0], data)
        here = a[2] + i * s[2]
        for j in range(m):
            p64(there + j * s[3])[0] += p64(here + j * s[4])[0]


@native_kernel
def index_add_bool(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Or bool values into indexed memory."""
    a, s, n, m = p64(args), p64(strides), p64(dims)[0], p64(dims)[1]
    for i in range(n):
        there = a[0] + i * s[0] + byte_offset(p64(a[1] + i * s[1])[0], data)
        here = a[2] + i * s[2]
        for j in range(m):
            p8(there + j * s[3])[0] |= p8(here + j * s[4])[0]


@native_kernel
def masked_put_8(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Operands (mask, value, out): the 8-byte value where the mask is set."""
    a, s = p64(args), p64(strides)
    for i in range(p64(dims)[0]):
        if p8(a[0] + i * s[0])[0]:
            p64(a[2] + i * s[2])[0] = p64(a[1] + i * s[1])[0]


@native_kernel
def masked_put_4(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Operands (mask, value, out): the 4-byte value where the mask is set."""
    a, s = p64(args), p64(strides)
    for i in range(p64(dims)[0]):
        if p8(a[0] + i * s[0])[0]:
            p32(a[2] + i * s[2])[0] = p32(a[1] + i * s[1])[0]


@native_kernel
def masked_put_1(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Operands (mask, value, out): the byte where the mask is set."""
    a, s = p64(args), p64(strides)
    for i in range(p64(dims)[0]):
        if p8(a[0] + i * s[0])[0]:
            p8(a[2] + i * s[2])[0] = p8(a[1] + i * s[1])[0]
