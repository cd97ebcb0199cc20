"""Elementary functions in float64, vectorised: the loop that they share.

A function is a formula without a branch, which LLVM vectorises, and where that holds. A block of numbers one
of which is outside goes to libm. Compiled functions have the same formulas in line
(ops/emitter.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...native.ufunc_loops import native_kernel
from ...native.words import Word, helper, p64, pf64

__all__ = ["Elementary", "vectorised"]

BLOCK = 256

#: open in `loop`: the formula, where it holds, and the function that takes the rest
formula: Any = None
reaches: Any = None
libm: Any = None


def loop(args, dims, strides, data):  # type: ignore[no-untyped-def]
    """An elementary function."""
    a, s, n = p64(args), p64(strides), p64(dims)[0]
    if s[0] == 8 and s[1] == 8:
        x, out = pf64(a[0]), pf64(a[1])
        start = 0
        while start < n:
            stop = min(start + BLOCK, n)
            inside = np.int64(1)
            for i in range(start, stop):
                inside &= np.int64(reaches(x[i]))
            if inside:
                for i in range(start, stop):
                    out[i] = formula(x[i])
            else:
                for i in range(start, stop):
                    out[i] = libm(x[i])
            start = stop
        return
    for i in range(n):
        value = pf64(a[0] + i * s[0])[0]
        result = formula(value) if reaches(value) else libm(value)
        pf64(a[1] + i * s[1])[0] = result


class Elementary(NamedTuple):
    """A function of a number that compiled functions have in line.

    Attributes
    ----------
    formula : helper
        What is computed: a few operations and words, and nothing that branches.
    reaches : helper
        Where it holds.
    libm : Word
        The function for the rest.
    """

    formula: helper
    reaches: helper
    libm: Word


def vectorised(name: str, formula: Any, reaches: Any, libm: Callable[[float], float]) -> str:
    """Register the kernel of a function; its name."""
    return native_kernel(loop, f"{name}_f64", formula=formula, reaches=reaches, libm=libm)
