"""Imports every family of ops: the table is complete but for strips (scalar_tape/rows.py adds theirs)."""

from . import (
    cast,
    compiled,
    complex_numbers,
    custom_function,
    elementwise,
    indexing,
    linalg,
    matmul,
    norms,
    ordering,
    reduction,
    scan,
    shape,
    softmax,
    sort,
    view,
)

__all__ = [
    "cast",
    "compiled",
    "complex_numbers",
    "custom_function",
    "elementwise",
    "indexing",
    "linalg",
    "matmul",
    "norms",
    "ordering",
    "reduction",
    "scan",
    "shape",
    "softmax",
    "sort",
    "view",
]
