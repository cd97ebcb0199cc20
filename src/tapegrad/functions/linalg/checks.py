"""Checks that functions of linear algebra share, with PyTorch's errors; and how they are declared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ...base.dtypes import dtype, int64, scalar_name
from ...tape.recording import layout_of
from ..registry import in_package

__all__ = [
    "adjoint_of", "check_floating", "check_floating_matrix", "check_matrix", "check_one_dtype",
    "check_square", "failures_of", "linalg_function", "rows_and_columns", "type_word",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


def linalg_function(*forms: str) -> Callable[[F], F]:
    """Register a function of ``tapegrad.linalg``."""
    return in_package("linalg", *forms)


def type_word(kind: dtype) -> str:
    """Return PyTorch's word for a dtype in these errors."""
    return scalar_name(kind)


def rows_and_columns(x: Any) -> tuple[int, int]:
    """Lengths of the last two dimensions."""
    rows, columns = layout_of(x).shape[-2:]
    return rows, columns


def check_matrix(name: str, x: Any, argument: str = "A") -> None:
    """Raise unless a tensor is a matrix, or a batch of them."""
    if layout_of(x).ndim < 2:
        raise RuntimeError(f"{name}: The input tensor {argument} must have at least 2 dimensions.")


def check_square(name: str, x: Any, argument: str = "A") -> None:
    """Raise unless a tensor is a square matrix, or a batch of them."""
    check_matrix(name, x, argument)
    rows, columns = rows_and_columns(x)
    if rows != columns:
        raise RuntimeError(
            f"{name}: {argument} must be batches of square matrices, but they are {rows} by {columns} "
            "matrices"
        )


def check_floating(name: str, x: Any) -> None:
    """Raise unless a tensor is of a dtype that is differentiated."""
    kind = layout_of(x).dtype
    if kind.is_floating_point and not kind.is_inexact:
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {type_word(kind)}")
    if not kind.is_inexact:
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {type_word(kind)}"
        )


def check_floating_matrix(name: str, x: Any, argument: str = "A", *, square: bool = False) -> None:
    """Raise unless a tensor is a (square) matrix of a floating dtype, or a batch of them."""
    (check_square if square else check_matrix)(name, x, argument)
    check_floating(name, x)


def check_one_dtype(name: str, a: Any, b: Any, words: Sequence[str] = ("A", "B")) -> None:
    """Raise unless two tensors have one dtype."""
    x, y = layout_of(a).dtype, layout_of(b).dtype
    if x is not y:
        raise RuntimeError(
            f"{name}: Expected {words[0]} and {words[1]} to have the same dtype, but found {words[0]} of "
            f"type {type_word(x)} and {words[1]} of type {type_word(y)} instead"
        )


def failures_of(value: Any, core: int = 2) -> Any:
    """Return 1 for each matrix of results that is NaN, as that of one that LAPACK refuses is, else 0."""
    return value.detach().isnan().any(tuple(range(-core, 0))).to(int64)


def adjoint_of(x: Any) -> Any:
    """Return the conjugate transposes of matrices."""
    return x.mH
