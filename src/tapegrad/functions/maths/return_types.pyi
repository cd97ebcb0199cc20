"""Made by `tools/make_stubs.py`, which `tests/test_typing.py` runs: do not edit."""

from typing import NamedTuple

from ...tensors.tensor import Tensor

class aminmax(NamedTuple):
    min: Tensor
    max: Tensor
class max(NamedTuple):
    values: Tensor
    indices: Tensor
class median(NamedTuple):
    values: Tensor
    indices: Tensor
class min(NamedTuple):
    values: Tensor
    indices: Tensor
class nanmedian(NamedTuple):
    values: Tensor
    indices: Tensor
class sort(NamedTuple):
    values: Tensor
    indices: Tensor
class topk(NamedTuple):
    values: Tensor
    indices: Tensor

__all__ = ['aminmax', 'max', 'median', 'min', 'nanmedian', 'sort', 'topk']
