"""Imports every file of functions, so that all are registered, and gives them the common keywords."""

from ..functions import (  # noqa: F401
    conversion,
    copies,
    files,
    interchange,
    keywords,
    leaf,
    processors,
    questions,
    registry,
)
from ..functions.creation import creation, random, ranges  # noqa: F401
from ..functions.indexing import (  # noqa: F401
    gather_scatter,
    getitem,
    inplace,
    inplace_fills,
    inplace_methods,
    masks,
    scatter_reduction,
    view_scatters,
)
from ..functions.linalg import (  # noqa: F401
    definite,
    determinants,
    factors,
    least_squares,
    norms,
    powers,
    systems,
    triangles,
)
from ..functions.maths import (  # noqa: F401
    comparison,
    complex_numbers,
    contraction,
    differences,
    distances,
    einsum,
    fourier,
    matmul,
    moments,
    ordering,
    pointwise,
    quantiles,
    ranking,
    reduction,
    scanning,
    sets,
    special,
    structured,
)
from ..functions.shape import diagonals, joining, reshape, slicing  # noqa: F401

__all__: list[str] = []

for _name, _function in registry.FUNCTIONS.items():
    if not _name.startswith("_"):
        registry.FUNCTIONS[_name] = keywords.accept(
            _name, _function, out=_name not in registry.WITHOUT_OUT
        )
for _name, _function in registry.METHODS.items():
    registry.METHODS[_name] = keywords.accept(_name, _function, out=False, method=True)
