"""Imports every family of ops, so that the table is complete but for strips (tensor.py adds theirs)."""

from . import cast, elementwise, norms, scan, shape, softmax, sort, view
from . import custom_function as python
from . import indexing as index
from . import matmul as product
from . import ordering as order
from . import reduction as reduce

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
