"""The kernel of square roots and logarithms of matrices: principal ones, of real matrices that have them.

Roots are found by Newton's iteration in the product form of Denman and Beavers (Cheng, Higham, Kenney and
Laub 2001), logarithms by roots until the matrix is near to one, and Pade's approximant of order 7 as a sum of
partial fractions (Higham 2008, chapter 11).
"""

from __future__ import annotations

import numpy as np

from ...native.ufunc_loops import native_kernel, typed_helpers
from ...native.words import KINDS, SIZE, call_loop, element, helper, memcpy, p64, pf64, stack_words
from .loops import INVALID, clear_flags, raised_flags
from .triangular import multiply

__all__: list[str] = []

#: distance from one up to which the approximant is exact to float64's precision
NEAR = 0.25
#: iterations after which a matrix has no principal root; roots after which it has no logarithm
MOST, ROOTS = 100, 64
#: squared from there, what is left of an iteration is below the precision of a dtype, by its size
CLOSE = 3e-8
CLOSE_SINGLE = 1e-3


@helper
def inverts(loop, x, out, n):  # type: ignore[no-untyped-def]
    """Invert a contiguous matrix by the loop of `inv`; return False if it is singular."""
    pointers, lengths, strides = stack_words(2), stack_words(2), stack_words(6)
    a, m, s = p64(pointers), p64(lengths), p64(strides)
    a[0], a[1] = x, out
    m[0], m[1] = 1, n
    s[0], s[1] = 0, 0
    s[2], s[3], s[4], s[5] = n * SIZE, SIZE, n * SIZE, SIZE
    clear_flags(INVALID)
    call_loop(p64(loop)[0], pointers, lengths, strides, p64(loop)[1])
    failed = raised_flags(INVALID)
    clear_flags(INVALID)
    return failed == 0


@helper
def distance_from_one(x, n):  # type: ignore[no-untyped-def]
    """Largest sum of absolute values in a row of a contiguous matrix less one; infinite if there is a NaN."""
    a, largest = element(x), 0.0
    for i in range(n):
        total = 0.0
        for j in range(n):
            total += abs(a[i * n + j] - (1.0 if i == j else 0.0))
        if not total <= largest:
            largest = total if total == total else np.inf
    return largest


@helper
def takes_root(loops, x, work, n):  # type: ignore[no-untyped-def]
    """Replace a contiguous matrix by its principal square root; return False if there is none.

    `work` has room for three matrices.
    """
    count, line, whole = n * n, n * SIZE, n * n * SIZE
    inverse, product = work + whole, work + 2 * whole
    y, m, w, p = element(x), element(work), element(inverse), element(product)
    memcpy(work, x, whole)
    last = False
    for _ in range(MOST):
        if not inverts(loops + 32, work, inverse, n):
            return False
        multiply(loops, x, inverse, product, n, n, n, line, SIZE, line, SIZE, line, SIZE)
        for i in range(count):
            y[i] = 0.5 * (y[i] + p[i])
            m[i] = 0.25 * (m[i] + w[i])
        for i in range(n):
            m[i * n + i] += 0.5
        if last:
            return True
        distance = distance_from_one(work, n)
        if not distance < 1e300:
            return False
        last = distance < (CLOSE if SIZE == 8 else CLOSE_SINGLE)
    return False


def root_or_logarithm(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """Square roots or logarithms of matrices: operand, result (contiguous), memory for five matrices.

    Core dimension n; core strides are those of both. `data`: see `_step` in matrix_functions.py.
    """
    n, s = p64(dims)[1], p64(strides)
    count, line, whole = n * n, n * SIZE, n * n * SIZE
    for batch in range(p64(dims)[0]):
        source, target = p64(args)[0] + batch * s[0], p64(args)[1] + batch * s[1]
        root = p64(args)[2] + batch * s[2]
        other = root + whole
        x, y, out = element(root), element(other), element(target)
        for i in range(n):
            for j in range(n):
                x[i * n + j] = element(source + i * s[3] + j * s[4])[0]
        if p64(data)[6] == 0:
            if not takes_root(data, root, other, n):
                return batch + 1
            memcpy(target, root, whole)
            continue
        scale, roots = 1.0, 0
        while not distance_from_one(root, n) <= NEAR:
            if roots == ROOTS or not takes_root(data, root, other, n):
                return batch + 1
            scale *= 2.0
            roots += 1
        for i in range(n):
            x[i * n + i] -= 1.0
        for i in range(count):
            out[i] = 0.0
        inverse, product = other + whole, other + 2 * whole
        p = element(product)
        for k in range(7):
            node, weight = pf64(data)[7 + k], pf64(data)[14 + k]
            for i in range(count):
                y[i] = node * x[i]
            for i in range(n):
                y[i * n + i] += 1.0
            if not inverts(data + 32, other, inverse, n):
                return batch + 1
            multiply(data, root, inverse, product, n, n, n, line, SIZE, line, SIZE, line, SIZE)
            for i in range(count):
                out[i] += weight * p[i]
        for i in range(count):
            out[i] *= scale
    return 0


for _kind in ("f64", "f32"):
    _helpers = typed_helpers(_kind, inverts, distance_from_one, takes_root)
    native_kernel(
        root_or_logarithm,
        f"matrix_root_{_kind}",
        checked=True,
        multiply=multiply,
        **KINDS[_kind],
        **_helpers,
    )
