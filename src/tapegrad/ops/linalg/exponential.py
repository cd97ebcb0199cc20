"""The kernel of exponentials of matrices, by scaling and squaring (Higham 2005)."""

from __future__ import annotations

import numpy as np

from ...native.ufunc_loops import native_kernels
from ...native.words import SIZE, call_loop, element, helper, memcpy, p64, stack_words
from .loops import INVALID, clear_flags
from .triangular import multiply

__all__: list[str] = []

#: up to this 1-norm the approximant of order 13 is exact to float64's precision
THETA = 5.371920351148152


@helper
def solve_matrices(loop, x, y, out, n, line, size):  # type: ignore[no-untyped-def]
    """Solve with the loop of `solve` whose address and data are at `loop`; matrices are contiguous."""
    pointers, lengths, strides = stack_words(3), stack_words(3), stack_words(9)
    a, m, s = p64(pointers), p64(lengths), p64(strides)
    a[0], a[1], a[2] = x, y, out
    m[0], m[1], m[2] = 1, n, n
    s[0], s[1], s[2] = 0, 0, 0
    s[3], s[4], s[5], s[6], s[7], s[8] = line, size, line, size, line, size
    call_loop(p64(loop)[0], pointers, lengths, strides, p64(loop)[1])


@native_kernels("f64", "f32", name="matrix_exp", words={"multiply": multiply})
def exponential(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Exponentials of matrices: operand, result (contiguous), memory for six matrices.

    Core dimension n; core strides are those of the operand. `data`: the loops of matmul and of solve.
    """
    n, s = p64(dims)[1], p64(strides)
    line, whole, count = n * SIZE, n * n * SIZE, n * n
    solver = data + 16
    for batch in range(p64(dims)[0]):
        source, target = p64(args)[0] + batch * s[0], p64(args)[1] + batch * s[1]
        work = p64(args)[2] + batch * s[2]
        place, second, fourth, sixth = (
            work,
            work + whole,
            work + 2 * whole,
            work + 3 * whole,
        )
        x, x2, x4, x6 = element(place), element(second), element(fourth), element(sixth)
        first_part, second_part = work + 4 * whole, work + 5 * whole
        p, q = element(first_part), element(second_part)
        norm = 0.0
        for j in range(n):
            total = 0.0
            for i in range(n):
                value = element(source + i * s[3] + j * s[4])[0]
                x[i * n + j] = value
                total += abs(value)
            if not total <= norm:
                norm = total
        if not norm < 1e300:
            for i in range(count):
                element(target)[i] = np.nan
            continue
        squarings, scale = 0, 1.0
        while norm > THETA:
            norm *= 0.5
            scale *= 0.5
            squarings += 1
        for i in range(count):
            x[i] *= scale
        multiply(data, place, place, second, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        multiply(data, second, second, fourth, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        multiply(data, fourth, second, sixth, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        # the odd part of the numerator to p, the even one to x
        for i in range(count):
            p[i] = 1.0 * x6[i] + 16380.0 * x4[i] + 40840800.0 * x2[i]
        multiply(data, sixth, first_part, second_part, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        for i in range(count):
            q[i] += 33522128640.0 * x6[i] + 10559470521600.0 * x4[i] + 1187353796428800.0 * x2[i]
        for i in range(n):
            q[i * n + i] += 32382376266240000.0
        multiply(data, place, second_part, first_part, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        for i in range(count):
            q[i] = 182.0 * x6[i] + 960960.0 * x4[i] + 1323241920.0 * x2[i]
        multiply(data, sixth, second_part, place, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        for i in range(count):
            x[i] += 670442572800.0 * x6[i] + 129060195264000.0 * x4[i] + 7771770303897600.0 * x2[i]
        for i in range(n):
            x[i * n + i] += 64764752532480000.0
        for i in range(count):
            q[i] = x[i] - p[i]
            x[i] += p[i]
        clear_flags(INVALID)
        solve_matrices(solver, second_part, place, first_part, n, line, SIZE)
        clear_flags(INVALID)
        for _ in range(squarings):
            multiply(
                data,
                first_part,
                first_part,
                second_part,
                n,
                n,
                n,
                line,
                SIZE,
                line,
                SIZE,
                line,
                SIZE,
            )
            first_part, second_part = second_part, first_part
        memcpy(target, first_part, whole)
