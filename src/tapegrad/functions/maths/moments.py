"""Variances, norms and distances, with PyTorch's arguments."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ...base.dtypes import FLOATING, as_dtype, bool_, category, get_default_dtype, scalar_name
from ...ops.layout import Layout, broadcast_shapes
from ...ops.table import TABLE
from ...tape import readout
from ...tape import recording as record
from ...tape.recording import layout_of
from ..arguments import float_of
from ..keywords import checked
from ..registry import declared
from ..signature import Dims, Number, Tensor
from .reduction import dims_of

__all__ = ["cov", "dist", "norm", "std", "std_mean", "var", "var_mean", "vector_norm_of"]


# --------------------------------------------------------------------------- variances
_VAR_MEAN_FORMS = (
    "(Dims? dim, bool unbiased=True, bool keepdim=False)",
    "(Dims? dim=None, *, Number? correction=None, bool keepdim=False)",
    "(bool unbiased=True)",
)
_VAR_FORMS = (
    "(Dims? dim, bool unbiased=True, bool keepdim=False, *, Tensor? out=None)",
    "(Dims? dim=None, *, Number? correction=None, bool keepdim=False, Tensor? out=None)",
    "(bool unbiased=True)",
)


def _deviation(
    row: str, input: Any, dim: Any, unbiased: Any, keepdim: Any, correction: Any
) -> tuple[Any, dict[str, Any]]:
    """Record the variance or deviation of a row; return it and its dimensions."""
    name = row.split("_")[0]
    x = layout_of(input)
    if category(x.dtype) < FLOATING:
        subject = "std and var" if row == name else row
        raise RuntimeError(f"{subject} only support floating point and complex dtypes")
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    correction = (
        int(unbiased)
        if correction is None
        else readout.option(correction, f"{row}(correction=...)")
    )
    dims = dims_of(dim, x.ndim)
    results = math.prod(n for i, n in enumerate(x.shape) if i not in dims)
    if results and math.prod(x.shape[i] for i in dims) - correction <= 0:
        warnings.warn(
            f"{row}(): degrees of freedom is <= 0. Correction should be strictly less than the "
            "reduction factor (input numel divided by output numel).",
            stacklevel=4,
        )
    attrs: dict[str, Any] = {"dim": dims, "keepdim": keepdim}
    if not x.dtype.is_complex:
        return record.apply(TABLE[row], (input,), correction=correction, **attrs), attrs
    real, imag = (
        record.apply(TABLE["var"], (part,), correction=correction, **attrs)
        for part in (input.real, input.imag)
    )
    return (real + imag if name == "var" else (real + imag).sqrt()), attrs


def _mean_beside(row: str, input: Any, attrs: dict[str, Any]) -> Any:
    """The mean that comes with a variance or deviation."""
    return record.apply(TABLE["mean" if input.dtype.is_complex else row], (input,), **attrs)


@declared(*_VAR_FORMS)
def var(
    input: Tensor, dim: Dims | None = None, unbiased: bool = True, keepdim: bool = False, *,
    correction: Number | None = None,
) -> Tensor:  # fmt: skip
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


@declared(*_VAR_FORMS)
def std(
    input: Tensor, dim: Dims | None = None, unbiased: bool = True, keepdim: bool = False, *,
    correction: Number | None = None,
) -> Tensor:  # fmt: skip
    """Take the standard deviation over dimensions; arguments as for `var`."""
    return _deviation("std", input, dim, unbiased, keepdim, correction)[0]


@declared(*_VAR_MEAN_FORMS, method=False)
def var_mean(
    input: Tensor, dim: Dims | None = None, unbiased: bool = True, keepdim: bool = False, *,
    correction: Number | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Variance and mean; arguments as for `var`."""
    value, attrs = _deviation("var_mean", input, dim, unbiased, keepdim, correction)
    return value, _mean_beside("var_mean_mean", input, attrs)


@declared(*_VAR_MEAN_FORMS, method=False)
def std_mean(
    input: Tensor, dim: Dims | None = None, unbiased: bool = True, keepdim: bool = False, *,
    correction: Number | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Take standard deviation and mean; arguments as for `var`."""
    value, attrs = _deviation("std_mean", input, dim, unbiased, keepdim, correction)
    return value, _mean_beside("std_mean_mean", input, attrs)


# --------------------------------------------------------------------------- norms
def _check_norm(x: Layout, p: float, dims: tuple[int, ...], *, full: bool) -> None:
    if category(x.dtype) < FLOATING:
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{scalar_name(x.dtype)}"
        )
    if p < 0 or math.isinf(p):
        empty = [d for d in dims if x.shape[d] == 0]
        if empty:
            where = "an empty tensor " if full else f"the dimension {empty[0]}"
            subject = "the" if full else "this dimension is empty and the"
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {p:g} norm on {where}because {subject} "
                "operation does not have an identity"
            )


@declared()
def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: Any = False, *, dtype: Any = None
) -> Tensor:
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
    if isinstance(p, str):
        if p != "fro":
            raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
        p = 2
    x = input if dtype is None else record.cast(input, as_dtype(dtype))
    return vector_norm_of(x, 2 if p is None else p, dim, keepdim)


@declared(function=False, method=False)
def _norm(input: Tensor, ord: Number, dim: Dims | None, keepdim: bool) -> Tensor:
    layout, order = layout_of(input), float_of("linalg_vector_norm", "ord", 2, ord)
    dims = dims_of(dim, layout.ndim)
    _check_norm(layout, order, dims, full=dim is None)
    if input.dtype.is_complex:
        input = record.unary(TABLE["abs"], input)
    return record.apply(TABLE["norm"], (input,), p=order, dim=dims, keepdim=keepdim)


vector_norm_of = checked("linalg_vector_norm", _norm, method=False, out=False)


@declared()
def dist(input: Tensor, other: Tensor, p: Number = 2) -> Tensor:
    """Take the `p`-norm of the difference of two tensors, which broadcast."""
    order = float_of("dist", "p", 3, p)
    kind = record.result_dtype((input, other))
    if category(kind) < FLOATING:
        raise RuntimeError(
            "norm(): input dtype should be either floating point or complex. "
            f"Got {scalar_name(kind)} instead."
        )
    broadcast_shapes(input.shape, other.shape)  # raises where they do not
    if kind.is_complex:
        return vector_norm_of(record.binary(TABLE["sub"], input, other), order, None, False)
    return record.apply(
        TABLE["dist"], (record.cast(input, kind), record.cast(other, kind)), p=order
    )


# --------------------------------------------------------------------------- covariance
@declared()
def cov(
    input: Tensor,
    *,
    correction: int = 1,
    fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:
    """Covariance matrix of variables, which are rows, from observations, which are columns.

    Parameters
    ----------
    input : Tensor
        A matrix; a vector or number is one variable, whose result is a number.
    correction : int
        Subtracted from the number (or weight) of observations.
    fweights : Tensor, optional
        int64 vector: how often each observation occurred.
    aweights : Tensor, optional
        Floating vector: weights of observations.

    Returns
    -------
    Tensor

    Raises
    ------
    RuntimeError
        If there are more than two dimensions, or weights do not fit.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cov(tg.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    if input.ndim > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with "
            f"{input.ndim} dimensions"
        )
    if input.dtype is bool_:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input if input.ndim == 2 else input.reshape(1, -1)
    x = x if x.dtype.is_inexact else record.cast(x, get_default_dtype())
    count = x.shape[1]
    weights: Any = None
    for word, w, integral in (("fweights", fweights, True), ("aweights", aweights, False)):
        if w is None:
            continue
        if w.ndim > 1:
            raise RuntimeError(
                f"cov(): expected {word} to have one or fewer dimensions but got {word} with "
                f"{w.ndim} dimensions"
            )
        if w.dtype.is_floating_point == integral or w.dtype is bool_:
            kind = "integral" if integral else "floating point"
            raise RuntimeError(f"cov(): expected {word} to have {kind} dtype but got {word} with "
                               f"{scalar_name(w.dtype)} dtype")  # fmt: skip
        if w.numel() != count:
            raise RuntimeError(
                f"cov(): expected {word} to have the same numel as there are observations in the "
                f"input but got {w.numel()} != {count}"
            )
        if (w.detach() < 0).any():
            raise RuntimeError(f"cov(): {word} cannot be negative")
        weights = w.reshape(-1) if weights is None else weights * w.reshape(-1)
    if weights is None:
        total: Any = count
        mean = x.sum(1, keepdim=True) / count
    else:
        total = weights.sum()
        if total.item() == 0:
            raise RuntimeError("cov(): weights sum to zero, can't be normalized")
        mean = (x * weights).sum(1, keepdim=True) / total
    if aweights is None or correction == 0:
        norm = total - correction
    else:
        both = aweights.reshape(-1) * weights
        norm = total - correction * both.sum() / total
    if float(norm) <= 0:
        warnings.warn("cov(): degrees of freedom is <= 0", stacklevel=3)
        norm = 0.0 * norm
    apart = x - mean
    scaled = apart if weights is None else apart * weights
    product = (apart @ scaled.mH) / norm
    return product if len(x) != 1 else product.reshape(())
