"""Named tuples of results, as ``torch.return_types``: ``x.max(0)`` is ``(values, indices)``."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "aminmax", "cummax", "cummin", "kthvalue", "linalg_cholesky_ex", "linalg_eig", "linalg_eigh",
    "linalg_inv_ex", "linalg_lstsq", "linalg_lu", "linalg_lu_factor", "linalg_qr", "linalg_slogdet",
    "linalg_solve_ex", "linalg_svd", "max", "median", "min", "mode", "nanmedian", "qr", "slogdet", "sort",
    "svd", "topk", "triangular_solve",
]  # fmt: skip


def _show(result: Any) -> str:
    fields = ",\n".join(f"{name}={value!r}" for name, value in result._asdict().items())
    return f"torch.return_types.{type(result).__name__}(\n{fields})"


class _ValuesAndIndices(NamedTuple):
    values: Any
    indices: Any

    def __repr__(self) -> str:
        return _show(self)


class max(_ValuesAndIndices):
    """Result of `max`."""

    __slots__ = ()


class min(_ValuesAndIndices):
    """Result of `min`."""

    __slots__ = ()


class median(_ValuesAndIndices):
    """Result of `median`."""

    __slots__ = ()


class nanmedian(_ValuesAndIndices):
    """Result of `nanmedian`."""

    __slots__ = ()


class sort(_ValuesAndIndices):
    """Result of `sort`."""

    __slots__ = ()


class cummax(_ValuesAndIndices):
    """Result of `cummax`."""

    __slots__ = ()


class cummin(_ValuesAndIndices):
    """Result of `cummin`."""

    __slots__ = ()


class kthvalue(_ValuesAndIndices):
    """Result of `kthvalue`."""

    __slots__ = ()


class mode(_ValuesAndIndices):
    """Result of `mode`."""

    __slots__ = ()


class topk(_ValuesAndIndices):
    """Result of `topk`."""

    __slots__ = ()


class aminmax(NamedTuple):
    """Result of `aminmax`."""

    min: Any
    max: Any

    __repr__ = _show


class linalg_cholesky_ex(NamedTuple):
    """Result of `linalg.cholesky_ex`."""

    L: Any
    info: Any

    __repr__ = _show


class linalg_eig(NamedTuple):
    """Result of `linalg.eig`."""

    eigenvalues: Any
    eigenvectors: Any

    __repr__ = _show


class linalg_eigh(NamedTuple):
    """Result of `linalg.eigh`."""

    eigenvalues: Any
    eigenvectors: Any

    __repr__ = _show


class linalg_inv_ex(NamedTuple):
    """Result of `linalg.inv_ex`."""

    inverse: Any
    info: Any

    __repr__ = _show


class linalg_lstsq(NamedTuple):
    """Result of `linalg.lstsq`."""

    solution: Any
    residuals: Any
    rank: Any
    singular_values: Any

    __repr__ = _show


class linalg_lu(NamedTuple):
    """Result of `linalg.lu`."""

    P: Any
    L: Any
    U: Any

    __repr__ = _show


class linalg_lu_factor(NamedTuple):
    """Result of `linalg.lu_factor`."""

    LU: Any
    pivots: Any

    __repr__ = _show


class linalg_qr(NamedTuple):
    """Result of `linalg.qr`."""

    Q: Any
    R: Any

    __repr__ = _show


class linalg_slogdet(NamedTuple):
    """Result of `linalg.slogdet`."""

    sign: Any
    logabsdet: Any

    __repr__ = _show


class linalg_solve_ex(NamedTuple):
    """Result of `linalg.solve_ex`."""

    result: Any
    info: Any

    __repr__ = _show


class linalg_svd(NamedTuple):
    """Result of `linalg.svd`."""

    U: Any
    S: Any
    Vh: Any

    __repr__ = _show


class qr(NamedTuple):
    """Result of `qr`."""

    Q: Any
    R: Any

    __repr__ = _show


class slogdet(NamedTuple):
    """Result of `slogdet`."""

    sign: Any
    logabsdet: Any

    __repr__ = _show


class svd(NamedTuple):
    """Result of `svd`."""

    U: Any
    S: Any
    V: Any

    __repr__ = _show


class triangular_solve(NamedTuple):
    """Result of `triangular_solve`."""

    solution: Any
    cloned_coefficient: Any

    __repr__ = _show
