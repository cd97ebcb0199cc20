"""Made by `tools/make_stubs.py`, which `tests/test_typing.py` runs: do not edit."""

from typing import NamedTuple

from ...tensors.tensor import Tensor

class aminmax(NamedTuple):
    min: Tensor
    max: Tensor
class cummax(NamedTuple):
    values: Tensor
    indices: Tensor
class cummin(NamedTuple):
    values: Tensor
    indices: Tensor
class kthvalue(NamedTuple):
    values: Tensor
    indices: Tensor
class linalg_cholesky_ex(NamedTuple):
    L: Tensor
    info: Tensor
class linalg_eig(NamedTuple):
    eigenvalues: Tensor
    eigenvectors: Tensor
class linalg_eigh(NamedTuple):
    eigenvalues: Tensor
    eigenvectors: Tensor
class linalg_inv_ex(NamedTuple):
    inverse: Tensor
    info: Tensor
class linalg_lstsq(NamedTuple):
    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor
class linalg_qr(NamedTuple):
    Q: Tensor
    R: Tensor
class linalg_slogdet(NamedTuple):
    sign: Tensor
    logabsdet: Tensor
class linalg_solve_ex(NamedTuple):
    result: Tensor
    info: Tensor
class linalg_svd(NamedTuple):
    U: Tensor
    S: Tensor
    Vh: Tensor
class max(NamedTuple):
    values: Tensor
    indices: Tensor
class median(NamedTuple):
    values: Tensor
    indices: Tensor
class min(NamedTuple):
    values: Tensor
    indices: Tensor
class mode(NamedTuple):
    values: Tensor
    indices: Tensor
class nanmedian(NamedTuple):
    values: Tensor
    indices: Tensor
class qr(NamedTuple):
    Q: Tensor
    R: Tensor
class slogdet(NamedTuple):
    sign: Tensor
    logabsdet: Tensor
class sort(NamedTuple):
    values: Tensor
    indices: Tensor
class svd(NamedTuple):
    U: Tensor
    S: Tensor
    V: Tensor
class topk(NamedTuple):
    values: Tensor
    indices: Tensor
class triangular_solve(NamedTuple):
    solution: Tensor
    cloned_coefficient: Tensor

__all__ = ['aminmax', 'cummax', 'cummin', 'kthvalue', 'linalg_cholesky_ex', 'linalg_eig', 'linalg_eigh', 'linalg_inv_ex', 'linalg_lstsq', 'linalg_qr', 'linalg_slogdet', 'linalg_solve_ex', 'linalg_svd', 'max', 'median', 'min', 'mode', 'nanmedian', 'qr', 'slogdet', 'sort', 'svd', 'topk', 'triangular_solve']
