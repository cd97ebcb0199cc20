"""Imports every family of ops, so that the table is complete but for strips (tensor_type.py adds theirs)."""

from . import (
    cast,
    elementwise,
    index,
    norms,
    order,
    product,
    python,
    reduce,
    scan,
    shape,
    softmax,
    sort,
    view,
)

__all__ = [
    "cast",
    "elementwise",
    "index",
    "norms",
    "order",
    "product",
    "python",
    "reduce",
    "scan",
    "shape",
    "softmax",
    "sort",
    "view",
]
