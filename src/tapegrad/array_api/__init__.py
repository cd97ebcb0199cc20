"""The Python array API standard, 2024.12, on Tensors: ``import tapegrad.array_api as xp``.

The functions have the standard's names and arguments, take Tensors, arrays, lists and numbers, return
Tensors, and record as all others do. They are a thin face: `elementwise.py` over the op table's rows, the
others over the functions of tapegrad.numpy. What of the standard is not met is written in docs/array_api.md.

Examples
--------
>>> import tapegrad as tg
>>> import tapegrad.array_api as xp
>>> x = xp.asarray([1.0, 2.0])
>>> x.__array_namespace__() is xp
True
>>> tg.grad(lambda x: xp.sum(xp.pow(x, 3)))(x)
tensor([ 3., 12.])
"""

from __future__ import annotations

from . import creation, data_types, elementwise, fft, linalg, manipulation, ordering, statistics
from .data_types import __array_namespace_info__

__array_api_version__ = "2024.12"
__version__ = __array_api_version__
#: versions of the standard whose functions are all here
VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")

_public = {
    name: getattr(part, name)
    for part in (data_types, creation, elementwise, manipulation, ordering, statistics)
    for name in part.__all__
}
_public.update({name: getattr(linalg, name) for name in ("matmul", "tensordot", "vecdot")})
globals().update(_public)
__all__ = [
    "__array_namespace_info__",
    "fft",
    "linalg",
    *sorted({*_public} - {"__array_namespace_info__"}),
]
del _public


def __dir__() -> list[str]:
    return [*__all__, "__array_api_version__", "__doc__", "__version__"]
