"""Kernels that copy and add elements at positions, and put a value under a mask.

A kernel takes three operands: the *indexed* memory, the positions, and the *plain* values, which
run along with the iteration space. Positions become byte offsets through a table of length and
stride of each indexed dimension (`byte_offset`). Two families suffice: copying, either way, by
item size, and adding to the indexed memory by dtype. They trust their positions; ops/indexing.py says
who checks them.
"""

from __future__ import annotations

from ...native.ufunc_loops import native_kernel, native_kernels
from ...native.words import SIZE, element, helper, memcpy, p8, p64

__all__: list[str] = []


@helper
def byte_offset(position, data, count, stride):  # type: ignore[no-untyped-def]
    """Offset of a raveled position; `data`: direction, count, (length, stride) from the last on.

    The count and the first stride come as arguments too: a loop that writes memory would have to
    read them again for every element.
    """
    if count == 1:
        return position * stride
    d = p64(data)
    last = count - 1
    offset = 0
    for j in range(last):
        n = d[2 + 2 * j]
        rest = position // n
        offset += (position - rest * n) * d[3 + 2 * j]
        position = rest
    return offset + position * d[3 + 2 * last]


# Every kernel: operands (indexed, positions, plain), core dimension a run of elements that follow
# each other in both; its two strides stand behind the operands' three.
@native_kernels("16", "8", "4", "2", "1")
def index_copy(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Copy elements from (direction 0) or to (1) indexed memory."""
    a, s, n, m = p64(args), p64(strides), p64(dims)[0], p64(dims)[1]
    indexed, where, plain, si, sw, sp, ri, rp = a[0], a[1], a[2], s[0], s[1], s[2], s[3], s[4]
    writes, count, stride = p64(data)[0], p64(data)[1], p64(data)[3]
    if m == 1 and count == 1 and writes == 0:  # the usual case, kept tight
        for i in range(n):
            there = indexed + i * si + p64(where + i * sw)[0] * stride
            element(plain + i * sp)[0] = element(there)[0]
        return
    for i in range(n):
        there = indexed + i * si + byte_offset(p64(where + i * sw)[0], data, count, stride)
        here = plain + i * sp
        read, write, rs, ws = there, here, ri, rp
        if writes:
            read, write, rs, ws = here, there, rp, ri
        if m > 8 and rs == SIZE and ws == SIZE:
            memcpy(write, read, SIZE * m)
        else:
            for j in range(m):
                element(write + j * ws)[0] = element(read + j * rs)[0]


@native_kernels("f64", "f32", "i64", "i32", "i16", "i8", "u8")
def index_add(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Add values to indexed memory."""
    a, s, n, m = p64(args), p64(strides), p64(dims)[0], p64(dims)[1]
    indexed, where, plain, si, sw, sp, ri, rp = a[0], a[1], a[2], s[0], s[1], s[2], s[3], s[4]
    count, stride = p64(data)[1], p64(data)[3]
    if m == 1 and count == 1:
        for i in range(n):
            there = indexed + i * si + p64(where + i * sw)[0] * stride
            element(there)[0] += element(plain + i * sp)[0]
        return
    for i in range(n):
        there = indexed + i * si + byte_offset(p64(where + i * sw)[0], data, count, stride)
        here = plain + i * sp
        for j in range(m):
            element(there + j * ri)[0] += element(here + j * rp)[0]


@native_kernels("c128", "c64", name="index_add")
def index_add_parts(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Add complex values to indexed memory."""
    a, s, n, m = p64(args), p64(strides), p64(dims)[0], p64(dims)[1]
    indexed, where, plain, si, sw, sp, ri, rp = a[0], a[1], a[2], s[0], s[1], s[2], s[3], s[4]
    count, stride = p64(data)[1], p64(data)[3]
    for i in range(n):
        there = indexed + i * si + byte_offset(p64(where + i * sw)[0], data, count, stride)
        here = plain + i * sp
        for j in range(m):
            element(there + j * ri)[0] += element(here + j * rp)[0]
            element(there + j * ri)[1] += element(here + j * rp)[1]


@native_kernels("bool", name="index_add")
def index_or(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Or bool values into indexed memory."""
    a, s, n, m = p64(args), p64(strides), p64(dims)[0], p64(dims)[1]
    indexed, where, plain, si, sw, sp, ri, rp = a[0], a[1], a[2], s[0], s[1], s[2], s[3], s[4]
    count, stride = p64(data)[1], p64(data)[3]
    for i in range(n):
        there = indexed + i * si + byte_offset(p64(where + i * sw)[0], data, count, stride)
        here = plain + i * sp
        for j in range(m):
            element(there + j * ri)[0] |= element(here + j * rp)[0]


@native_kernels("16", "8", "4", "2", "1")
def masked_put(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Operands (mask, value, out): the value where the mask is set."""
    a, s = p64(args), p64(strides)
    for i in range(p64(dims)[0]):
        if p8(a[0] + i * s[0])[0]:
            element(a[2] + i * s[2])[0] = element(a[1] + i * s[1])[0]


def check_index(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Copy indices, negative ones wrapped; fail for one out of bounds. `data`: length, first allowed."""
    a, s = p64(args), p64(strides)
    n, low = p64(data)[0], p64(data)[1]
    for i in range(p64(dims)[0]):
        index = p64(a[0] + i * s[0])[0]
        if index < low or index >= n:
            return i + 1
        p64(a[1] + i * s[1])[0] = index + n if index < 0 else index
    return 0


native_kernel(check_index, checked=True)
