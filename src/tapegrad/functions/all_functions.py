"""Imports every file of functions, so that all are registered, and gives them the common keywords."""

from . import (
    comparison,
    contraction,
    conversion,
    creation,
    differences,
    distances,
    einsum,
    files,
    gathering,
    indexing,
    inplace,
    inplace_fills,
    inplace_methods,
    joining,
    keywords,
    leaf,
    masking,
    matrices,
    moments,
    ordering,
    pointwise,
    processors,
    product,
    random,
    ranges,
    reduction,
    registry,
    scanning,
    scatter_reduction,
    shaping,
    slicing,
    view_scatters,
)

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
            _name, _function, out=_name not in keywords.WITHOUT_OUT
        )
for _name, _function in registry.METHODS.items():
    registry.METHODS[_name] = keywords.accept(_name, _function, out=False)
