"""Matrices and lists with a structure: Vandermonde's, block diagonals, products of sets, correlations."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ..arguments import as_int, tensor_list, wrap_dim
from ..registry import FUNCTIONS, declared, public
from ..signature import Ints, Number, Operand, Tensor
from .scanning import cumprod

__all__ = [
    "block_diag",
    "cartesian_prod",
    "combinations",
    "corrcoef",
    "nan_to_num",
    "rot90",
    "vander",
]


@declared(method=False)
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Powers of numbers, a row each.

    Parameters
    ----------
    x : Tensor
        Of one dimension.
    N : int, optional
        How many powers; as many as numbers by default.
    increasing : bool
        From the power 0 on.
    """
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = len(x)
    count = n if N is None else as_int("vander", "N", 2, N)
    if count < 0:
        raise RuntimeError("N must be non-negative.")
    parts = [FUNCTIONS["ones"]((n, min(count, 1)), dtype=x.dtype)]
    if count > 1:
        repeated = FUNCTIONS["broadcast_to"](x.reshape(-1, 1), (n, count - 1))
        parts.append(cumprod(repeated, 1))
    powers = FUNCTIONS["cat"](parts, 1)
    return powers if increasing else FUNCTIONS["flip"](powers, (1,))


@declared()
def corrcoef(input: Tensor) -> Tensor:
    """Correlations of variables, a row each, between -1 and 1."""
    if input.ndim > 2:
        raise RuntimeError("corrcoef(): expected input to have two or fewer dimensions but got an input "
                           f"with {input.ndim} dimensions")  # fmt: skip
    return correlations(FUNCTIONS["cov"](input))


def correlations(covariances: Any) -> Any:
    """Return the correlations that belong to covariances, their parts between -1 and 1."""
    if not covariances.ndim:
        return covariances / covariances
    scale = covariances.diagonal().real.sqrt()
    result = covariances / scale.reshape(-1, 1) / scale
    if not result.dtype.is_complex:
        return result.clamp(-1.0, 1.0)
    return FUNCTIONS["complex"](*[part.clamp(-1.0, 1.0) for part in (result.real, result.imag)])


@declared()
def nan_to_num(
    input: Tensor,
    nan: Number | None = None,
    posinf: Number | None = None,
    neginf: Number | None = None,
) -> Tensor:
    """Numbers in the place of NaN and infinities, where the derivative is 0.

    Parameters
    ----------
    input : Tensor
    nan : number, optional
        0 by default.
    posinf, neginf : number, optional
        The largest and the least number of the dtype by default.
    """
    if input.dtype.is_complex:
        parts = [nan_to_num(x, nan, posinf, neginf) for x in (input.real, input.imag)]
        return FUNCTIONS["complex"](*parts)
    if not input.dtype.is_floating_point:
        return input.clone()
    limits = np.finfo(input.dtype.np)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    where = FUNCTIONS["where"]
    result = where(input != input, 0.0 if nan is None else nan, input)
    result = where(result == float("inf"), high, result)
    return where(result == float("-inf"), low, result)


@declared()
def rot90(input: Tensor, k: int = 1, dims: Ints = (0, 1)) -> Tensor:
    """Turn by 90 degrees from the first towards the second of two dimensions, `k` times."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    first, second = (wrap_dim(d, input.ndim) for d in dims)
    if first == second:
        raise RuntimeError(
            f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}"
        )
    flip, turns = FUNCTIONS["flip"], k % 4
    if turns == 2:
        return flip(input, (first, second))
    if turns == 0:
        return input.clone()
    if turns == 1:
        return flip(input, (second,)).transpose(first, second)
    return flip(input, (first,)).transpose(first, second)


@public(out=False)
def block_diag(*tensors: Tensor) -> Tensor:
    """Matrix with matrices, vectors as rows and numbers along its diagonal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.block_diag(tg.tensor([[1.0, 2.0]]), tg.tensor(3.0))
    tensor([[1., 2., 0.],
            [0., 0., 3.]])
    """
    parts = [x.reshape(1, -1) if x.ndim < 2 else x for x in tensor_list(tensors)]
    for i, x in enumerate(parts):
        if x.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {x.ndim} "
                "dimensions"
            )
    if not parts:
        return FUNCTIONS["empty"]((1, 0))
    width = sum(x.shape[1] for x in parts)
    rows, start = [], 0
    for x in parts:
        rows.append(FUNCTIONS["pad"](x, (start, width - start - x.shape[1])))
        start += x.shape[1]
    return FUNCTIONS["cat"](rows, 0)


@public(out=False)
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All choices of one element of each vector, a row each.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cartesian_prod(tg.tensor([1, 2]), tg.tensor([3, 4]))
    tensor([[1, 3],
            [1, 4],
            [2, 3],
            [2, 4]])
    """
    vectors = tensor_list(tensors)
    for x in vectors:
        if x.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(x.shape)}")
    if len(vectors) == 1:
        return vectors[0]
    grids = FUNCTIONS["meshgrid"](*vectors, indexing="ij")
    return FUNCTIONS["stack"]([g.reshape(-1) for g in grids], 1)


@declared(method=True)
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of `r` elements of a vector, a row each.

    Parameters
    ----------
    input : Tensor
    r : int
    with_replacement : bool
        Whether an element may be taken more than once.
    """
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r > 2**20:
        raise RuntimeError(
            f"combinations(): choices of r = {r} elements of {len(input)} do not fit into memory"
        )
    if r > len(input) and not with_replacement:
        return FUNCTIONS["take"](input, FUNCTIONS["tensor"](np.empty((0, r), np.int64)))
    choose: Any = (
        itertools.combinations_with_replacement if with_replacement else itertools.combinations
    )
    places = np.array(list(choose(range(len(input)), r)), np.int64).reshape(-1, r)
    return FUNCTIONS["take"](input, FUNCTIONS["tensor"](places))


@declared()
def addr(
    input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Tensor:
    """Add the outer product of two vectors: ``beta * input + alpha * outer(vec1, vec2)``."""
    product = FUNCTIONS["outer"](vec1, vec2)
    scaled = product if alpha == 1 else product * alpha
    return scaled if beta == 0 else scaled + (input if beta == 1 else input * beta)


@declared(method=False)
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine of the angle between vectors along a dimension.

    Parameters
    ----------
    x1, x2 : Tensor
        They broadcast.
    dim : int
    eps : float
        The least length that a vector counts as.
    """
    a, b = FUNCTIONS["broadcast_tensors"](x1, x2)
    norm = FUNCTIONS["norm"]
    lengths = (norm(x, 2, dim=dim, keepdim=True).clamp(min=eps) for x in (a, b))
    u, v = (x / n for x, n in zip((a, b), lengths, strict=True))
    return (u * v).sum(dim)


@declared(method=False)
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """Distance of vectors along the last dimension; `eps` is added to their differences."""
    return FUNCTIONS["norm"](x1 - x2 + eps, p, dim=-1, keepdim=keepdim)


@declared()
def ldexp(input: Tensor, other: Operand) -> Tensor:
    """Multiply by a power of two: ``input * 2**other``."""
    if hasattr(other, "exp2"):
        return input * other.to(input.dtype).exp2()
    try:
        return input * 2.0**other
    except OverflowError:
        return input * math.inf


def _split_along(name: str, axis: int, least: int) -> None:
    @declared(
        "(int sections)", "(Ints indices)", out=False, name=name,
        doc=f"Split along dimension {axis} into equal parts, or before indices; see `tensor_split`.",
    )  # fmt: skip
    def split(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if input.ndim < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with "
                f"{input.ndim} dimensions!"
            )
        dim = min(axis, input.ndim - 1) if name == "hsplit" else axis
        n = input.shape[dim]
        if isinstance(indices_or_sections, int) and (
            indices_or_sections == 0 or n % indices_or_sections
        ):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension {n} "
                f"is not divisible by the split_size {indices_or_sections}!"
            )
        parts: tuple[Tensor, ...] = FUNCTIONS["tensor_split"](input, indices_or_sections, dim)
        return parts


for _name, _axis, _least in (("hsplit", 1, 1), ("vsplit", 0, 2), ("dsplit", 2, 3)):
    _split_along(_name, _axis, _least)
