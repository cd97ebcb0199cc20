"""Imports every family, so that the table is complete."""

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
    strip,
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
    "strip",
    "view",
]
