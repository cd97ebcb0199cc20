"""Variances, norms and distances, with PyTorch's arguments."""

from __future__ import annotations

import math
import warnings
from typing import Any

from .. import record
from ..dtypes import as_dtype
from ..layouts import Layout, broadcast_shapes
from ..ops.table import TABLE
from ..record import layout_of
from .arguments import check_bool, float_of
from .reduction import dims_of, no_overload, numpy_names, title
from .registry import public

__all__ = ["dist", "norm", "std", "std_mean", "var", "var_mean"]


# --------------------------------------------------------------------------- variances
_VAR_FORMS = (
    "(tuple of ints dim, bool unbiased = True, bool keepdim = False)",
    "(tuple of ints dim = None, *, Number correction = None, bool keepdim = False)",
    "(bool unbiased = True)",
)


def _deviation(
    row: str, input: Any, dim: Any, unbiased: Any, keepdim: Any, correction: Any
) -> tuple[Any, dict[str, Any]]:
    """Record the variance or deviation of a row; return it and its dimensions."""
    name = row.split("_")[0]
    record.check_tensors(row, (input,))
    x = layout_of(input)
    if not x.dtype.is_floating_point:
        subject = "std and var" if row == name else row
        raise RuntimeError(f"{subject} only support floating point and complex dtypes")
    if isinstance(dim, bool) and unbiased is None:
        dim, unbiased = None, dim
    if not isinstance(unbiased, bool | None):
        raise no_overload(row, _VAR_FORMS, dim, unbiased)
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    elif unbiased is not None:
        raise no_overload(row, _VAR_FORMS, correction=correction, unbiased=unbiased)
    elif not isinstance(correction, int | float):
        raise no_overload(row, _VAR_FORMS, correction=correction)
    check_bool(row, "keepdim", 3, keepdim)
    dims = dims_of(row, dim, x.ndim, _VAR_FORMS)
    results = math.prod(n for i, n in enumerate(x.shape) if i not in dims)
    if results and math.prod(x.shape[i] for i in dims) - correction <= 0:
        warnings.warn(
            f"{row}(): degrees of freedom is <= 0. Correction should be strictly less than the "
            "reduction factor (input numel divided by output numel).",
            stacklevel=4,
        )
    value = record.apply(TABLE[row], (input,), dim=dims, correction=correction, keepdim=keepdim)
    return value, {"dim": dims, "keepdim": keepdim}


@public(method=True)
@numpy_names
def var(
    input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
    correction: Any = None,
) -> Any:  # fmt: skip
    """Variance over dimensions.

    Parameters
    ----------
    input : Tensor
    dim : int or tuple of int, optional
        Dimensions to reduce; everything if not given.
    unbiased : bool
        Divide by n - 1, which is the default, or by n.
    keepdim : bool
        Keep the dimensions, with length 1.
    correction : float, optional
        Divide by n - correction, instead of `unbiased`.

    Returns
    -------
    Tensor
    """
    return _deviation("var", input, dim, unbiased, keepdim, correction)[0]


@public(method=True)
@numpy_names
def std(
    input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
    correction: Any = None,
) -> Any:  # fmt: skip
    """Take the standard deviation over dimensions; arguments as for `var`."""
    return _deviation("std", input, dim, unbiased, keepdim, correction)[0]


@public()
@numpy_names
def var_mean(
    input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
    correction: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """Variance and mean; arguments as for `var`."""
    value, attrs = _deviation("var_mean", input, dim, unbiased, keepdim, correction)
    return value, record.apply(TABLE["var_mean_mean"], (input,), **attrs)


@public()
@numpy_names
def std_mean(
    input: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, *,
    correction: Any = None,
) -> tuple[Any, Any]:  # fmt: skip
    """Take standard deviation and mean; arguments as for `var`."""
    value, attrs = _deviation("std_mean", input, dim, unbiased, keepdim, correction)
    return value, record.apply(TABLE["std_mean_mean"], (input,), **attrs)


# --------------------------------------------------------------------------- norms
def _check_norm(x: Layout, p: float, dims: tuple[int, ...], *, full: bool) -> None:
    if not x.dtype.is_floating_point:
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{title(x.dtype)}"
        )
    if p < 0 or math.isinf(p):
        empty = [d for d in dims if x.shape[d] == 0]
        if empty:
            where = "an empty tensor " if full else f"the dimension {empty[0]}"
            what = "the" if full else "this dimension is empty and the"
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {p:g} norm on {where}because {what} "
                "operation does not have an identity"
            )


@public(method=True)
@numpy_names
def norm(
    input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """Vector norm of all elements along dimensions; 2 by default.

    Parameters
    ----------
    input : Tensor
    p : float or str
        Order: any number, ``inf``, ``-inf``, or ``"fro"`` for 2.
    dim : int or tuple of int, optional
        Dimensions to reduce; everything if not given.
    keepdim : bool
        Keep them, with length 1.
    dtype : dtype, optional
        Convert first.

    Returns
    -------
    Tensor
    """
    record.check_tensors("norm", (input,))
    if isinstance(p, str):
        if p != "fro":
            raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
        p = 2
    order = float_of("linalg_vector_norm", "ord", 2, 2 if p is None else p)
    check_bool("linalg_vector_norm", "keepdim", 4, keepdim)
    x = input if dtype is None else record.cast(input, as_dtype(dtype))
    layout = layout_of(x)
    dims = dims_of("linalg_vector_norm", dim, layout.ndim)
    _check_norm(layout, order, dims, full=dim is None)
    return record.apply(TABLE["norm"], (x,), p=order, dim=dims, keepdim=keepdim)


@public(method=True)
def dist(input: Any, other: Any, p: float = 2) -> Any:
    """Take the `p`-norm of the difference of two tensors, which broadcast."""
    record.check_tensors("dist", (input, other))
    order = float_of("dist", "p", 3, p)
    kind = record.result_dtype((input, other))
    if not kind.is_floating_point:
        raise RuntimeError(
            "norm(): input dtype should be either floating point or complex. "
            f"Got {title(kind)} instead."
        )
    broadcast_shapes(input.shape, other.shape)  # raises where they do not
    return record.apply(
        TABLE["dist"], (record.cast(input, kind), record.cast(other, kind)), p=order
    )
