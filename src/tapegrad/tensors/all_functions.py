"""Imports every file of functions, so that all are registered, and gives them the common keywords."""

from ..functions import conversion, files, keywords, leaf, processors, questions, registry
from ..functions.creation import creation, random, ranges
from ..functions.indexing import gather_scatter as gathering
from ..functions.indexing import getitem as indexing
from ..functions.indexing import (
    inplace,
    inplace_fills,
    inplace_methods,
    scatter_reduction,
    view_scatters,
)
from ..functions.indexing import masks as masking
from ..functions.maths import (
    comparison,
    contraction,
    differences,
    distances,
    einsum,
    moments,
    ordering,
    pointwise,
    reduction,
    scanning,
)
from ..functions.maths import matmul as product
from ..functions.shape import diagonals as matrices
from ..functions.shape import joining, slicing
from ..functions.shape import reshape as shaping

__all__ = [
    "comparison",
    "contraction",
    "conversion",
    "creation",
    "differences",
    "distances",
    "einsum",
    "files",
    "gathering",
    "indexing",
    "inplace",
    "inplace_fills",
    "inplace_methods",
    "joining",
    "keywords",
    "leaf",
    "masking",
    "matrices",
    "moments",
    "ordering",
    "pointwise",
    "processors",
    "product",
    "questions",
    "random",
    "ranges",
    "reduction",
    "scanning",
    "scatter_reduction",
    "shaping",
    "slicing",
    "view_scatters",
]

for _name, _function in registry.FUNCTIONS.items():
    if not _name.startswith("_"):
        registry.FUNCTIONS[_name] = keywords.accept(
            _name, _function, out=_name not in registry.WITHOUT_OUT
        )
for _name, _function in registry.METHODS.items():
    registry.METHODS[_name] = keywords.accept(_name, _function, out=False, method=True)
